/* unicode.h: UTF-8, the character classes a pre-tokenizer asks for, and normal form C, all as the
 * `tokenizers` library sees them: the tables (unicode.c) are written by asking it (unicode.py); utf8.c holds
 * what is computed. */
#ifndef UNICODE_H
#define UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool unicode_letter(uint32_t c);        /* \p{L} of its regex engine */
bool unicode_number(uint32_t c);        /* \p{N} */
bool unicode_space(uint32_t c);         /* \s */
bool unicode_digit(uint32_t c);         /* what its pre-tokenizer Digits cuts out: \p{N} of a newer Unicode */

/* Canonical order of marks: 0 for a character that begins anew, else marks of a lower number go first (the
 * combining classes, numbered anew). */
int unicode_order(uint32_t c);
/* One step of canonical decomposition, without Hangul: how many characters c becomes (0: it stands for
 * itself, 1, 2). */
int unicode_decompose(uint32_t c, uint32_t to[2]);
uint32_t unicode_compose(uint32_t first,
                         uint32_t second); /* 0 if the two do not become one; without Hangul */

/* The character at s, of which n >= 1 bytes remain; *used of them. Invalid: U+FFFD for each maximal part that
 * could have begun a character (Unicode 3.9, U+FFFD substitution of maximal subparts; Python's
 * errors="replace"). */
uint32_t utf8_next(const char *s, size_t n, size_t *used);
size_t utf8_put(char out[4], uint32_t c);                       /* bytes written */
/* n bytes with every bad part as U+FFFD, NUL-terminated; the caller frees. NULL: no memory. */
char *utf8_repair(const char *s, size_t n, size_t *length);
/* Normal form C of n bytes of valid UTF-8, NUL-terminated; the caller frees. NULL: no memory. O(n log n). */
char *unicode_nfc(const char *s, size_t n, size_t *length);

#endif
