/* unicode.h: the character classes a pre-tokenizer asks for, as the `tokenizers` library's regex engine answers. */
#ifndef UNICODE_H
#define UNICODE_H
#include <stdbool.h>
#include <stdint.h>
bool unicode_letter(uint32_t c);        /* \p{L} */
bool unicode_number(uint32_t c);        /* \p{N} */
bool unicode_space(uint32_t c);         /* \s */
#endif
