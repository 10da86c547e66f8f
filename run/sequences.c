/* run/sequences.c: prompts with their completions as tokens, and the supervised loss on them. */
#include "run/sequences.h"

#include <stdlib.h>
#include <string.h>

#include "text/fit.h"

/* One row, encoded in *ids, which is overwritten. */
static bool sequence_encode(Sequence *s, Ids *ids, const Example *x, const Language *l, bool turns,
                            int max_length, int *cut, Err *e) {
    ids->n = 0;
    if (turns ? !encode_turns(ids, &s->learned, l, x, e) : !encode_example(ids, &s->n_prompt, l, x, e))
        return false;
    while (turns && s->n_prompt < ids->n && !s->learned[s->n_prompt]) s->n_prompt++;
    if (!fit_ids(ids, l, x, e) || !fit_reply(x, s->n_prompt, max_length, e)) return false;
    s->n = ids->n;
    if (s->n > max_length) s->n = max_length, (*cut)++;
    for (int i = s->n_prompt; i < s->n; i++) s->n_target += i > 0 && (!turns || s->learned[i]);
    if (!(s->id = malloc((size_t)s->n * sizeof(int)))) return fail(e, "no memory for %d tokens", s->n);
    memcpy(s->id, ids->id, (size_t)s->n * sizeof(int));
    return true;
}

bool sequences_encode(SequenceSet *s, const Dataset *d, const Language *l, bool turns, int max_length,
                      int *cut, Err *e) {
    Ids ids = {0};
    bool ok = true;
    s->n = 0;
    if (!(s->row = calloc((size_t)d->n, sizeof *s->row))) return fail(e, "no memory for %d examples", d->n);
    for (; ok && s->n < d->n; s->n++)
        ok = sequence_encode(&s->row[s->n], &ids, &d->row[s->n], l, turns, max_length, cut, e);
    free(ids.id);
    return ok;
}

void sequences_free(SequenceSet *s) {
    for (int i = 0; i < s->n; i++) free(s->row[i].id), free(s->row[i].learned);
    free(s->row);
    *s = (SequenceSet){0};
}

void sequence_texts(Texts *t, const void *rows, int i) {
    const Sequence *x = (const Sequence *)rows + i;
    texts_sequence(t, x->n - x->n_target, x->n_target, x->n_target);
}

bool sequence_lay(Window *w, const Sequence *s, Err *e) {
    const int row = w->n_row;
    bool ok = window_add(w, s->id, s->n, -1, e) >= 0;
    for (int i = s->n_prompt ? s->n_prompt : 1; ok && i < s->n; i++)
        if (!s->learned || s->learned[i]) ok = window_target(w, row + i - 1, s->id[i], e);
    return ok;
}

/* L = weight * -(1/N) sum logp,  dlogp = -weight/N */
bool sequences_learn(SequenceSums *sums, Trainer *t, const Window *w, double weight, Err *e) {
    int more;
    *sums = (SequenceSums){.n = w->n_target};
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_forward(t, &x, 1);
        for (int i = 0; i < x.batch.n_target; i++) {
            sums->loss -= t->logp[i];
            sums->entropy += t->entropy[i];
            t->dlogp[i] = (real)(-weight / sums->n);
        }
        slice_backward(t, &x, 1, false);
    }
    return more == 0;
}
