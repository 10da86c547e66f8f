/* fit.h: rows that a model cannot read: found before the first step, with file and line. */
#ifndef TEXT_FIT_H
#define TEXT_FIT_H

#include "text/data.h"

/* True where all ids are the model's: a tokenizer may have more tokens than the model has rows. */
bool fit_ids(const Ids *ids, const Language *l, const Example *x, Err *e);
/* A prompt of so many tokens must leave room for a reply in max_length. */
bool fit_reply(const Example *x, int n_prompt, int max_length, Err *e);
/* The prompt into ids, which is overwritten; it must leave room for max_new tokens in the context. */
bool fit_prompt(Ids *ids, const Language *l, const Example *x, int max_new, Err *e);

/* Whether a command can use a row; false with the line filled in. */
typedef bool RowTest(void *self, const Example *x, Err *e);
/* The rows of d that pass; others are refused, or left out of d (NULL: refused). One at least must pass. */
bool fit_rows(Dataset *d, RowTest *test, void *self, LeftOut *out, Err *e);
/* fit_prompt of every row. */
bool fit_prompts(Dataset *d, const Language *l, int max_new, LeftOut *out, Err *e);
/* Rows whose prompt has more than `most` tokens are left out of d; how many is told on standard error. */
bool fit_drop_long(Dataset *d, const Language *l, int most, const char *command, Err *e);

#endif
