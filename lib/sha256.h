/* sha256.h: SHA-256 (FIPS 180-4). */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

/* hex: 65 bytes with the NUL. */
typedef struct { uint32_t state[8]; uint64_t length; unsigned char block[64]; } Sha256;
void sha256_begin(Sha256 *s);
void sha256_add(Sha256 *s, const void *bytes, size_t n);
void sha256_end(Sha256 *s, char hex[65]);

#endif
