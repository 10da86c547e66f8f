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
        if (dpo_is_flow(&b->config)) {
            flow_layout(&b->flow, &a, (size_t)longest_tree);
            if (b->flow.config.reward == REWARD_PROGRAM) b->sharp = arena_take(&a, n_token, sizeof(real));
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
    b->loss = b->entropy_sum = b->n_token = b->flow.log_flow = 0;
    memset(b->sums, 0, sizeof b->sums);
}

/* Where the values of pair i lie, and how many they are. */
static size_t pair_values(const PairBatch *b, int i, size_t *n) {
    const size_t at = b->offset[2 * i];
    *n = b->offset[2 * i + 2] - at;
    if (!dpo_is_flow(&b->config)) return at;
    *n = 2 * *n + 2;
    return 2 * at + 2 * (size_t)i;
}

/* From places and ~ places of tokens, as window_group gives them, to those of states' values. */
static void state_values(PairBatch *b) {
    for (int i = 0; i < b->l->window.n_target; i++) {
        const int c = b->sequence_of[i], at = b->token_of[i], place = at < 0 ? ~at : at;
        b->token_of[i] = 2 * place + c + (at < 0 && place < (int)b->offset[c + 1]);
    }
}

bool pair_batch_lay(PairBatch *b, int k, int n, Err *e) {
    Window *w = &b->l->window;
    window_clear(w);
    w->last_row = w->extra = dpo_is_flow(&b->config);
    w->extra_id = b->l->language.end_of_turn;
    b->micro = b->pair + k * b->size;
    b->n_pair = n;
    b->n_chosen_token = 0;
    for (int i = 0; i < n; i++) {
        const PairTokens *s = b->now[i];
        const size_t at = b->offset[2 * i], n_w = (size_t)s->n_w, n_l = (size_t)s->n_l;
        memcpy(b->token + at, s->id + s->n_prompt, (n_w + n_l) * sizeof(int));
        b->offset[2 * i + 1] = at + n_w;
        b->offset[2 * i + 2] = at + n_w + n_l;
        b->n_chosen_token += (double)n_w;
        if (!window_group(w, s->id, s->n_prompt, b->token, b->offset, 2 * i, 2, b->token_of, b->sequence_of,
                          e))
            return false;
        size_t n_value, from = pair_values(b, i, &n_value);
        if (s->reference) memcpy(b->reference + from, s->reference, n_value * sizeof(real));
        if (s->reference && b->sharp)
            memcpy(b->sharp + from, s->reference + n_value, n_value * sizeof(real));
    }
    if (dpo_is_flow(&b->config)) state_values(b);
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
    if (b->sharp && !pair_logps(b->sharp, b, reference, b->flow.config.gamma, e)) return false;
    for (int i = 0; keep && i < b->n_pair; i++) {
        size_t n, at = pair_values(b, i, &n);
        real *to = b->now[i]->reference = malloc((b->sharp ? 2 : 1) * n * sizeof(real));
        if (!to) return fail(e, "no memory for the reference's values of %d pairs", b->n_pair);
        memcpy(to, b->reference + at, n * sizeof(real));
        if (b->sharp) memcpy(to + n, b->sharp + at, n * sizeof(real));
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
    if (!dpo_is_flow(&b->config)) pair_sums(b, 0, b->n_pair);
    return !b->config.use_weighting || pair_weights(b, m, e);
}

void pair_batch_by_group(GroupSums *sums, PairBatch *b) {
    for (int i = 0; i < b->n_pair; i++) {
        DpoPair p = b->micro[i];        /* by itself: a mean over one pair, and no other micro-batch */
        double ell = 0;
        dpo_loss(&ell, &p, 0, 1, 1, p.n_w, &b->config, NULL);
        b->ell[i] = ell * b->n_micro;
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

/* E232, E238: texts of pairs low .. high, of which the loss is the mean. */
static void flows_derive(PairBatch *b, double *loss, int low, int high) {
    const double scale = b->config.loss_weight[0] / (2.0 * b->n_pair);
    for (int i = low; i <= high; i++) {
        const size_t *o = b->offset + 2 * i, n[] = {o[1] - o[0], o[2] - o[1]};
        size_t n_value, at = pair_values(b, i, &n_value);
        *loss += flow_pair_loss(&b->micro[i], b->dlogp + at, &b->flow, b->logp + at, b->reference + at,
                                b->sharp ? b->sharp + at : NULL, n, b->now[i]->score, b->config.loss_type[0],
                                scale);
    }
}

void pair_batch_loss(PairBatch *b, double *loss) {
    const size_t n = (size_t)b->n_pair;
    if (dpo_is_flow(&b->config)) flows_derive(b, loss, 0, b->n_pair - 1);
    else dpo_loss(loss, b->micro, 0, n, n, b->n_chosen_token, &b->config, b->rank);
}

/* The loss of pairs low .. high and its derivatives by their tokens: E160 to E177. */
static void pairs_derive(PairBatch *b, int low, int high) {
    if (!b->ahead) pair_sums(b, low, high - low + 1);
    dpo_loss(&b->loss, b->micro, (size_t)low, (size_t)(high - low + 1), (size_t)b->n_pair, b->n_chosen_token,
             &b->config, b->rank);
    for (int i = low; i <= high; i++) {
        const size_t w = b->offset[2 * i], l = b->offset[2 * i + 1], end = b->offset[2 * i + 2];
        dpo_derive(b->dlogp + w, b->dlogp + l, &b->micro[i], b->n_chosen_token, &b->config);
        if (b->bmc.delta)
            bmc_derive(b->dlogp + w, b->logp + w, b->now[i]->changed, end - w, b->bmc.delta);
    }
}

/* From the values of a slice to their derivatives. Targets belong to pairs low .. high. */
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
    if (dpo_is_flow(&b->config)) flows_derive(b, &b->loss, low, high);
    else pairs_derive(b, low, high);
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
