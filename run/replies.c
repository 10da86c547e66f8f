/* run/replies.c: stored replies as tokens. */
#include "run/replies.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"
#include "text/fit.h"
#include "model.h"
#include "net/folder.h"

/* ---- tokens ---- */

static bool set_new(ReplySet *s, int n, int n_label, bool states, Err *e) {
    *s = (ReplySet){.n_label = n_label, .states = states};
    s->seq = calloc((size_t)n, sizeof *s->seq);
    s->label = malloc((size_t)n * (size_t)n_label * sizeof(real));
    return (s->seq && s->label) || fail(e, "no memory for %d examples", n);
}

/* One more: the place of its labels, or NULL with the reason; ids is overwritten. */
static real *set_add(ReplySet *s, Ids *ids, const Language *l, const Example *x, const char *reply, bool cut,
                     int max_length, Err *e) {
    ids->n = 0;
    if (!encode_prompt(ids, l, x, e)) return NULL;
    const int n_prompt = ids->n;
    if (!encode_completion(ids, l, x, reply, !cut, e) || !fit_ids(ids, l, x, e) ||
        !fit_reply(x, n_prompt, max_length, e))
        return NULL;
    ReplyTokens *to = &s->seq[s->n];
    s->cut += ids->n > max_length;
    to->n = ids->n < max_length ? ids->n : max_length;
    to->n_prompt = n_prompt;
    if (!s->states && head_last_row(ids->id, to->n, l->pad) < 0) {
        fail(e, "%s:%d: holds nothing but pad_token_id %d; expected another token", x->path, x->line, l->pad);
        return NULL;
    }
    if (!(to->id = malloc((size_t)to->n * sizeof(int)))) {
        fail(e, "no memory for %d tokens", ids->n);
        return NULL;
    }
    memcpy(to->id, ids->id, (size_t)to->n * sizeof(int));
    return s->label + s->n++ * s->n_label;
}

static bool add_scored(ReplySet *s, double score, Ids *ids, const Language *l, const Example *x,
                       const char *reply, bool cut, int max_length, Err *e) {
    real *to = set_add(s, ids, l, x, reply, cut, max_length, e);
    if (to) *to = (real)score;
    return to != NULL;
}

static bool completion_cut(const Example *x) {
    const Json *ended = json_get(x->row, "ended");
    return (x->finish_reason && !strcmp(x->finish_reason, "length")) ||
           (ended && ended->type == JSON_BOOL && ended->number == 0);
}

bool replies_labelled(ReplySet *out, const Dataset *d, const Language *l, const char (*name)[64], int n_label,
                      int max_length, Err *e) {
    Ids ids = {0};
    bool ok = set_new(out, d->n, n_label, false, e);
    for (int i = 0; ok && i < d->n; i++) {
        const Example *x = &d->row[i];
        double label[MAX_LABELS];
        real *to = set_add(out, &ids, l, x, x->completion, completion_cut(x), max_length, e);
        ok = to && example_labels(label, x, name, n_label, d->path, e);
        for (int k = 0; ok && k < n_label; k++) to[k] = (real)label[k];
    }
    free(ids.id);
    return ok;
}

static bool stored_score(double *score, const Example *x, const double *weight, const char (*name)[64],
                     int n_label, const char *path, Err *e) {
    double label[MAX_LABELS];
    const Json *reward = json_get(x->row, "reward");
    if (!weight) {
        if (!reward || reward->type != JSON_NUMBER)
            return fail(e, "%s:%d: no \"reward\" (a number); let grpo score write it, or weigh labels with "
                           "--reward-weights", path, x->line);
        *score = reward->number;
        return score_has_size(*score, x, "reward", e);
    }
    if (!example_labels(label, x, name, n_label, path, e)) return false;
    *score = 0;
    for (int k = 0; k < n_label; k++) {
        if (weight[k] != 0 && isnan(label[k]))
            return fail(e, "%s:%d: label %s is missing, which --reward-weights weighs %g", path, x->line,
                        name[k], weight[k]);
        *score += weight[k] != 0 ? weight[k] * label[k] : 0;
    }
    return true;
}

bool replies_scored(ReplySet *out, const Dataset *d, const Language *l, const double *weight,
                    const char (*name)[64], int n_label, int max_length, Err *e) {
    Ids ids = {0};
    const bool pairs = d->row[0].chosen;
    bool ok = set_new(out, pairs ? 2 * d->n : d->n, 1, true, e);
    for (int i = 0; ok && i < d->n; i++) {
        const Example *x = &d->row[i];
        double score;
        if (pairs ? !x->chosen || !x->rejected : !x->completion)
            ok = fail(e, "%s:%d: expected %s, as in the lines before it", d->path, x->line,
                      pairs ? "\"chosen\" and \"rejected\"" : "a \"completion\"");
        else if (pairs)
            ok = add_scored(out, 1, &ids, l, x, x->chosen, x->chosen_cut, max_length, e) &&
                 add_scored(out, -1, &ids, l, x, x->rejected, x->rejected_cut, max_length, e);
        else
            ok = stored_score(&score, x, weight, name, n_label, d->path, e) &&
                 add_scored(out, score, &ids, l, x, x->completion, completion_cut(x), max_length, e);
    }
    free(ids.id);
    return ok;
}

bool replies_split(ReplySet *all, ReplySet *held, double share, uint64_t seed, Err *e) {
    const int n_held = (int)floor(share * all->n), n = all->n - n_held, k = all->n_label;
    if (n_held < 2 || n < 1)
        return fail(e, "--eval-split %g: leaves %d for training and %d held out; expected at least 1 and 2",
                    share, n, n_held);
    int *order = malloc((size_t)all->n * sizeof(int));
    ReplySet out = {0};
    bool ok = (order || fail(e, "no memory to split %d examples", all->n)) &&
              set_new(&out, n, k, all->states, e) && set_new(held, n_held, k, all->states, e);
    if (ok) {
        rng_permutation(order, all->n, seed, RNG_SPLIT, 0);
        for (int i = 0; i < all->n; i++) {
            ReplySet *to = i < n ? &out : held;
            memcpy(to->label + to->n * k, all->label + order[i] * k, (size_t)k * sizeof(real));
            to->seq[to->n++] = all->seq[order[i]];
        }
        free(all->seq);
        free(all->label);
        *all = out;
    }
    free(order);
    return ok;
}

void replies_free(ReplySet *s) {
    for (int i = 0; s->seq && i < s->n; i++) free(s->seq[i].id);
    free(s->seq);
    free(s->label);
}

/* ---- rows ---- */

int replies_values(const ReplySet *s, int i) { return s->states ? s->seq[i].n - s->seq[i].n_prompt + 1 : 1; }

bool replies_lay(Window *w, const ReplySet *s, int i, int pad, Err *e) {
    const ReplyTokens *x = &s->seq[i];
    const int row = w->n_row, last = s->states ? x->n - 1 : head_last_row(x->id, x->n, pad);
    if (last < 0) return fail(e, "an example holds nothing but pad_token_id %d; expected another token", pad);
    bool ok = window_add(w, x->id, x->n, -1, e) >= 0;
    for (int at = last - replies_values(s, i) + 1; ok && at <= last; at++)
        ok = window_target(w, row + at, 0, e);
    return ok;
}

void replies_texts(Texts *t, const void *set, int i) {
    const ReplySet *s = set;
    const ReplyTokens *x = &s->seq[i];
    texts_sequence(t, x->n_prompt, x->n - x->n_prompt, replies_values(s, i));
}
