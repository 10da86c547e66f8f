/* hash.h: hashes for tables whose keys come from files, under a key that no file can know: whoever chose
 * names that collide would make a table slow. The key is another one in every process; what a table is asked
 * for does not depend on it. */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct { uint64_t k[2]; } HashKey;
void hash_key(HashKey *key);            /* drawn by the system */
uint64_t hash_bytes(const HashKey *key, const void *bytes, size_t n);       /* SipHash-1-3 */
uint64_t hash_pair(const HashKey *key, uint32_t a, uint32_t b);

#endif
