/* run/pair_batch.c: a micro-batch of preference pairs: window, reference, passes. */
#include "run/pair_batch.h"

#include <stdlib.h>
#include <string.h>

double pair_batch_bytes(const PairBatch *b) {
    const Learner *l = b->l;
    return dpo_wants_kl(&b->config) ? (double)(acts_bytes(&l->shape, l->rows, l->rows, false) -
                                               acts_thread_bytes(&l->shape, l->rows, false))
                                    : 0;
}

bool pair_batch_new(PairBatch *b, int longest_tree, Err *e) {
    /* the targets of any micro-batch */
    const size_t n = (size_t)b->size, n_token = n * (size_t)(longest_tree + 2);
    Arena a = {0};
    do {                                /* once to count, once to point */
        if (a.used && !(a.base = memory_new(a.used, "pairs", e))) return false;
        a.used = 0;
        b->offset = arena_take(&a, 2 * n + 1, sizeof *b->offset);
        b->token = arena_take(&a, n_token, sizeof(int));
        b->token_of = arena_take(&a, n_token, sizeof(int));
        b->sequence_of = arena_take(&a, n_token, sizeof(int));
        b->logp = arena_take(&a, n_token, sizeof(real));
        b->reference = arena_take(&a, n_token, sizeof(real));
        b->dlogp = arena_take(&a, n_token, sizeof(real));
        b->by_target = arena_take(&a, n_token, sizeof(real));
        b->now = arena_take(&a, n, sizeof *b->now);
        b->pair = arena_take(&a, n * (size_t)b->accumulate, sizeof *b->pair);
        b->rank = arena_take(&a, 2 * n, sizeof *b->rank);
        if (b->groups.n) {
            b->ell = arena_take(&a, n, sizeof *b->ell);
            b->dell = arena_take(&a, n, sizeof *b->dell);
            b->group = arena_take(&a, n, sizeof *b->group);
        }
        if (!dpo_wants_kl(&b->config)) continue;
        b->kl = arena_take(&a, n_token, sizeof(real));
        b->second.logp = arena_take(&a, n_token, sizeof(real));
        b->second.kl = arena_take(&a, n_token, sizeof(real));
        b->dkl = arena_take(&a, n_token, sizeof(real));
    } while (!a.base);
    if (!dpo_wants_kl(&b->config)) return true;
    const int rows = b->l->rows;
    b->second.model = b->l->reference, b->second.dkl = b->dkl;
    b->l->trainer.second = &b->second;
    return (b->second.acts = acts_new(b->l->reference, rows, rows, false, e)) != NULL;
}

void pair_batch_free(PairBatch *b) {
    memory_free(b->offset);             /* and all that lies behind it */
    acts_free(b->second.acts);
}

void pair_batch_start(PairBatch *b) {
    b->loss = b->entropy_sum = b->n_token = 0;
    memset(b->sums, 0, sizeof b->sums);
}

bool pair_batch_lay(PairBatch *b, int k, int n, Err *e) {
    Window *w = &b->l->window;
    window_clear(w);
    b->micro = b->pair + k * b->size;
    b->n_pair = n;
    b->n_chosen_token = 0;
    for (int i = 0; i < n; i++) {
        const PairTokens *s = b->now[i];
        const size_t at = b->offset[2 * i], n_w = (size_t)s->n_w, n_l = (size_t)s->n_l;
        memcpy(b->token + at, s->id + s->n_prompt, (n_w + n_l) * sizeof(int));
        if (s->reference) memcpy(b->reference + at, s->reference, (n_w + n_l) * sizeof(real));
        b->offset[2 * i + 1] = at + n_w;
        b->offset[2 * i + 2] = at + n_w + n_l;
        b->n_chosen_token += (double)n_w;
        if (!window_group(w, s->id, s->n_prompt, b->token, b->offset, 2 * i, 2, b->token_of, b->sequence_of,
                          e))
            return false;
    }
    return true;
}

void pair_batch_hold(Costs *c, const PairBatch *b) {
    const Model *copy = b->l->copy;
    if (!b->second.acts) return;
    cost_memory_most(&c->predicted, MEM_REFERENCE,
                     pair_batch_bytes(b) + (copy ? (double)model_bytes(&b->l->shape) : 0));
    cost_memory_most(&c->measured, MEM_REFERENCE,
                     (double)acts_held(b->second.acts) + (copy ? (double)copy->held : 0));
}

/* E23 of every token of the micro-batch under m, to its flat place. */
static bool pair_logps(real *out, PairBatch *b, const Model *m, double temperature, Err *e) {
    const Learner *l = b->l;
    if (!window_kl(b->by_target, b->second.model ? &b->second : NULL, l->trainer.acts, l->rows, l->rows, m,
                   &l->window, temperature, e))
        return false;
    for (int i = 0; i < l->window.n_target; i++) out[b->token_of[i]] = b->by_target[i];
    return true;
}

bool pair_batch_refer(PairBatch *b, const Model *reference, bool keep, Err *e) {
    if (!pair_logps(b->reference, b, reference, 1, e)) return false;
    for (int i = 0; keep && i < b->n_pair; i++) {
        const size_t at = b->offset[2 * i], bytes = (b->offset[2 * i + 2] - at) * sizeof(real);
        if (!(b->now[i]->reference = malloc(bytes)))
            return fail(e, "no memory for the reference's values of %d pairs", b->n_pair);
        memcpy(b->now[i]->reference, b->reference + at, bytes);
    }
    return true;
}

/* E160, or E207, of pairs first .. first + n - 1 from their tokens. */
static void pair_sums(PairBatch *b, int first, int n) {
    for (int i = first; i < first + n; i++) {
        const size_t w = b->offset[2 * i], l = b->offset[2 * i + 1], end = b->offset[2 * i + 2];
        dpo_pair(&b->micro[i], b->logp + w, b->reference + w, l - w, b->logp + l, b->reference + l, end - l,
                 &b->config);
        if (b->second.model) dpo_pair_kl(&b->micro[i], b->kl + w, b->kl + l);
        if (!b->bmc.delta) continue;
        const unsigned char *changed = b->now[i]->changed;
        bmc_pair(&b->micro[i], b->logp + w, b->reference + w, changed, l - w, b->logp + l, b->reference + l,
                 changed + (l - w), end - l, &b->bmc);
    }
}

/* E201: what the second model says of n targets, to their flat places. */
static void pair_seconds(PairBatch *b, const int *token_of, int n) {
    for (int i = 0; i < n && b->second.model; i++)
        b->reference[token_of[i]] = b->second.logp[i], b->kl[token_of[i]] = b->second.kl[i];
}

/* E177: log sum_v p_v^2 = 2 logp - logp at temperature 1/2, whatever the token. */
static bool pair_weights(PairBatch *b, const Model *m, Err *e) {
    const size_t n = b->offset[2 * b->n_pair];
    real *square = b->dlogp;
    if (!pair_logps(square, b, m, 0.5, e)) return false;
    for (size_t t = 0; t < n; t++) square[t] = (real)(2.0 * b->logp[t] - square[t]);
    for (int i = 0; i < b->n_pair; i++) {
        const size_t w = b->offset[2 * i], l = b->offset[2 * i + 1];
        dpo_weight(&b->micro[i], b->logp + w, square + w, l - w, b->logp + l, square + l,
                   b->offset[2 * i + 2] - l);
    }
    return true;
}

bool pair_batch_forward(PairBatch *b, const Model *m, Err *e) {
    if (!pair_logps(b->logp, b, m, 1, e)) return false;
    pair_seconds(b, b->token_of, b->l->window.n_target);
    pair_sums(b, 0, b->n_pair);
    return !b->config.use_weighting || pair_weights(b, m, e);
}

void pair_batch_by_group(GroupSums *sums, PairBatch *b) {
    for (int i = 0; i < b->n_pair; i++) {
        DpoPair p = b->micro[i];        /* by itself: a mean over one pair, and no other micro-batch */
        double ell = 0;
        dpo_loss(&ell, &p, 0, 1, 1, p.n_w, &b->config, NULL);
        b->ell[i] = ell * b->accumulate;
        b->group[i] = b->now[i]->group;
        GroupSums *s = &sums[b->group[i]];
        s->n++;
        s->loss += b->ell[i];
        s->right += p.logp_w - p.ref_w > p.logp_l - p.ref_l;
    }
}

/* E212 to E215: the groups' weights take a step, and each pair gets what its loss counts; the micro-batch's
 * loss stays a mean over its pairs, so that sums are divided by their number. */
static void pair_groups(PairBatch *b) {
    Groups *g = &b->groups;
    const size_t n = (size_t)b->n_pair;
    double loss[GROUPS_MOST];
    pair_batch_by_group(b->sums, b);
    robust_group_losses(loss, b->ell, b->group, n, g->count, g->n, g->config.loss);
    if (g->config.weights == GROUP_ADAPTIVE) robust_step(g->q, loss, g->n, g->config.step_size);
    robust_loss(b->dell, loss, b->group, n, g->q, g->count, g->n, g->config.loss);
    for (int i = 0; i < b->n_pair; i++)
        b->micro[i].weight *= b->dell[i] * (g->config.loss == GROUP_SUM ? 1 : b->n_pair);
}

/* From the values of a slice to their derivatives: E160 to E177. Targets belong to pairs low .. high. */
static void pair_slice_loss(PairBatch *b, const Slice *x) {
    Trainer *t = &b->l->trainer;
    const int n = x->batch.n_target, *token_of = b->token_of + x->first_target,
              *sequence_of = b->sequence_of + x->first_target;
    int low = b->n_pair, high = -1;
    for (int i = 0; i < n; i++) {
        const int p = sequence_of[i] / 2;
        b->logp[token_of[i]] = t->logp[i];
        b->entropy_sum += t->entropy[i];
        low = p < low ? p : low, high = p > high ? p : high;
    }
    b->n_token += n;
    pair_seconds(b, token_of, n);
    if (!b->ahead) pair_sums(b, low, high - low + 1);
    dpo_loss(&b->loss, b->micro, (size_t)low, (size_t)(high - low + 1), (size_t)b->n_pair, b->n_chosen_token,
             &b->config, b->rank);
    for (int i = low; i <= high; i++) {
        const size_t w = b->offset[2 * i], l = b->offset[2 * i + 1], end = b->offset[2 * i + 2];
        dpo_derive(b->dlogp + w, b->dlogp + l, &b->micro[i], b->n_chosen_token, &b->config);
        if (b->bmc.delta)
            bmc_derive(b->dlogp + w, b->logp + w, b->now[i]->changed, end - w, b->bmc.delta);
    }
    for (int i = 0; i < n; i++) {
        const DpoPair *p = &b->micro[sequence_of[i] / 2];
        t->dlogp[i] = b->dlogp[token_of[i]];
        if (b->second.model) b->dkl[i] = (real)(sequence_of[i] % 2 ? p->dkl_l : p->dkl_w);
    }
}

bool pair_batch_learn(PairBatch *b, Err *e) {
    Trainer *t = &b->l->trainer;
    int more;
    if (b->ahead && !pair_batch_forward(b, b->l->model, e)) return false;
    const bool weighed = b->groups.n && b->groups.config.weights != GROUP_NONE;
    if (weighed) pair_groups(b);
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, &b->l->window, &t->model->config, e)) > 0) {
        slice_forward(t, &x, 1);
        pair_slice_loss(b, &x);
        slice_backward(t, &x, 1, false);
    }
    if (b->groups.n && !weighed) pair_batch_by_group(b->sums, b);
    return more == 0;
}
