/* fit.c: rows that a model cannot read, found before the first step. */
#include "text/fit.h"

#include <stdio.h>
#include <stdlib.h>

bool fit_ids(const Ids *ids, const Language *l, const Example *x, Err *e) {
    for (int i = 0; i < ids->n; i++)
        if (ids->id[i] >= l->vocab)
            return fail(e,
                        "%s:%d: has token %d of the tokenizer, but the model's vocabulary has only %d; take "
                        "it out of the text, or give the model more rows (transformers: "
                        "resize_token_embeddings(len(tokenizer)))",
                        x->path, x->line, ids->id[i], l->vocab);
    return true;
}

bool fit_reply(const Example *x, int n_prompt, int max_length, Err *e) {
    return n_prompt < max_length ||
           fail(e,
                "%s:%d: the prompt alone has %d tokens, expected fewer than --max-length %d; shorten it, or "
                "leave such rows out with --drop-long",
                x->path, x->line, n_prompt, max_length);
}

bool fit_prompt(Ids *ids, const Language *l, const Example *x, int max_new, Err *e) {
    ids->n = 0;
    return encode_prompt(ids, l, x, e) && fit_ids(ids, l, x, e) &&
           (ids->n + max_new <= l->context ||
            fail(e,
                 "%s:%d: prompt of %d tokens and --max-completion-length %d exceed the context of %d; "
                 "shorten one of them",
                 x->path, x->line, ids->n, max_new, l->context));
}

bool fit_rows(Dataset *d, RowTest *test, void *self, LeftOut *out, Err *e) {
    const int n = d->n;
    d->n = 0;
    for (int i = 0; i < n; i++) {
        if (test(self, &d->row[i], e)) d->row[d->n++] = d->row[i];
        else if (!leave_out(out, e)) return false;
    }
    return d->n > 0 || fail(e, "%s: none of %d rows can be used", d->path, n);
}

typedef struct { const Language *l; int max_new; Ids ids; } Fit;

static bool row_fits(void *self, const Example *x, Err *e) {
    Fit *f = self;
    return fit_prompt(&f->ids, f->l, x, f->max_new, e);
}

bool fit_prompts(Dataset *d, const Language *l, int max_new, LeftOut *out, Err *e) {
    Fit f = {.l = l, .max_new = max_new};
    const bool ok = fit_rows(d, row_fits, &f, out, e);
    free(f.ids.id);
    return ok;
}

bool fit_drop_long(Dataset *d, const Language *l, int most, const char *command, Err *e) {
    Ids ids = {0};
    const int n = d->n;
    int first = 0;
    bool ok = true;
    d->n = 0;
    for (int i = 0; ok && i < n; i++) {
        ids.n = 0;
        ok = encode_prompt(&ids, l, &d->row[i], e);
        if (ids.n > most && !first) first = d->row[i].line;
        if (ids.n <= most) d->row[d->n++] = d->row[i];
    }
    free(ids.id);
    if (!ok || !first) return ok;
    fprintf(stderr, "%s: %d of %d rows are left out: their prompts have more than %d tokens (line %d is the "
                    "first)\n", command, n - d->n, n, most, first);
    return d->n > 0 || fail(e, "%s: all %d prompts have more than %d tokens", d->path, n, most);
}
