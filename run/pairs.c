/* run/pairs.c: preference pairs as tokens. */
#include "run/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "text/fit.h"

/* One pair, laid out in *ids, which is overwritten. */
static bool pair_encode(PairTokens *s, Ids *ids, const Example *x, const Language *l,
                        int max_length, int *cut, Err *e) {
    ids->n = 0;
    if (!encode_prompt(ids, l, x, e)) return false;
    s->n_prompt = ids->n;
    if (!fit_reply(x, s->n_prompt, max_length, e)) return false;
    const int room = max_length - s->n_prompt;
    bool long_pair = false;
    if (!encode_completion(ids, l, x, x->chosen, !x->chosen_cut, e)) return false;
    s->n_w = ids->n - s->n_prompt;
    if (s->n_w > room) s->n_w = room, ids->n = max_length, long_pair = true;
    const int before = ids->n;
    if (!encode_completion(ids, l, x, x->rejected, !x->rejected_cut, e)) return false;
    s->n_l = ids->n - before;
    if (s->n_l > room) s->n_l = room, ids->n = before + room, long_pair = true;
    if (!s->n_w || !s->n_l)
        return fail(e, "%s:%d: %s: is empty and was cut; expected at least one token", x->path, x->line,
                    s->n_w ? "rejected" : "chosen");
    if (!fit_ids(ids, l, x, e)) return false;
    *cut += long_pair;
    if (!(s->id = malloc((size_t)ids->n * sizeof(int)))) return fail(e, "no memory for %d tokens", ids->n);
    memcpy(s->id, ids->id, (size_t)ids->n * sizeof(int));
    return true;
}

bool pairs_encode(PairSet *p, const Dataset *d, const Language *l, int max_length, int *cut, Err *e) {
    Ids ids = {0};
    p->n = 0;
    if (!(p->row = calloc((size_t)d->n, sizeof *p->row))) return fail(e, "no memory for %d pairs", d->n);
    bool ok = true;
    for (; ok && p->n < d->n; p->n++)
        ok = pair_encode(&p->row[p->n], &ids, &d->row[p->n], l, max_length, cut, e);
    free(ids.id);
    return ok;
}

void pairs_free(PairSet *p) {
    for (int i = 0; i < p->n; i++) {
        free(p->row[i].id);
        free(p->row[i].reference);
        free(p->row[i].changed);
    }
    free(p->row);
    *p = (PairSet){0};
}

int pairs_longest(const PairSet *p) {
    int longest = 0;
    for (int i = 0; i < p->n; i++) {
        const int rows = p->row[i].n_prompt + p->row[i].n_w + p->row[i].n_l;
        longest = rows > longest ? rows : longest;
    }
    return longest;
}
