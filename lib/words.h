/* words.h: names that people type: choices, lists with commas, "did you mean". */
#ifndef WORDS_H
#define WORDS_H

#include "base.h"

/* The name in names[0..n) nearest to `found` by edit distance, for "did you mean"; NULL if none is near. */
const char *nearest_name(const char *found, const char *const *names, int n);

/* *out = place of `found` in names, or an error line that names the option, the values and the nearest. */
bool choice_parse(int *out, const char *const *names, const char *found, const char *option, Err *e);
/* The next word of a list with commas: true, *at behind it and its comma, cut to size - 1 bytes; false where
 * nothing is left. */
bool list_next(char *word, size_t size, const char **at);

/* Bytes of the control character that begins at s, U+0000 to U+001F or U+007F to U+009F in UTF-8; 0: none
 * does. */
int control_at(const char *s);

/* A label is told in tables and logs: an error where it holds a control character. source: for the message.
 */
bool label_printable(const char *label, const char *source, Err *e);

/* Whether name is one of n patterns; one that ends with * stands for all names that begin so. */
bool name_among(const char *name, const char *const *pattern, size_t n);

#endif
