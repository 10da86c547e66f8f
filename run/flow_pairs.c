/* run/flow_pairs.c: preference pairs as texts for the losses of flows. */
#include "run/flow_pairs.h"

/* ---- data ---- */

bool flow_texts(Dataset *d, int *left_out, Err *e) {
    int n = 0;
    for (int i = 0; i < d->n; i++) {
        Example *x = &d->row[i];
        if (!*x->chosen || !*x->rejected) { (*left_out)++; continue; }
        x->chosen_cut = x->rejected_cut = true;
        d->row[n++] = *x;
    }
    d->n = n;
    return n || fail(e, "%s: every pair has an empty reply, which is no text for a flow", d->path);
}

static bool flow_score(double *score, const Example *x, const char *column, const char *path, Err *e) {
    const Json *v = x->row ? json_get(x->row, column) : NULL;
    if (!v || v->type != JSON_NUMBER)
        return fail(e, "%s:%d: no \"%s\" (a number), as `grpo pairs` writes it; --flow-scores pair needs "
                       "none",
                    path, x->line, column);
    *score = v->number;
    return score_has_size(*score, x, column, e);
}

bool flow_scores(PairSet *p, double *lowest, const Dataset *d, FlowScores scores, Err *e) {
    for (int i = 0; i < p->n; i++) {
        PairTokens *s = &p->row[i];
        const Example *x = &d->row[i];
        s->open = 1;
        s->score[0] = FLOW_SCORE_CHOSEN, s->score[1] = FLOW_SCORE_REJECTED;
        if (scores == SCORES_COLUMN && (!flow_score(&s->score[0], x, "score_chosen", d->path, e) ||
                                        !flow_score(&s->score[1], x, "score_rejected", d->path, e)))
            return false;
        for (int k = 0; k < 2; k++) *lowest = s->score[k] < *lowest ? s->score[k] : *lowest;
    }
    return true;
}

/* ---- the loss ---- */

void flow_layout(FlowWork *f, Arena *a, size_t longest) {
    real **const part[] = {&f->next, &f->end, &f->dnext, &f->dend};
    for (int k = 0; k < 4; k++) *part[k] = arena_take(a, longest + 1, sizeof(real));
    for (int k = 0; k < 2; k++) f->level[k] = arena_take(a, longest + 1, sizeof(double));
}

/* The values of a text apart, */
static void values_apart(real *next, real *end, const real *value, size_t n) {
    for (size_t t = 0; t < n; t++) next[t] = value[2 * t], end[t] = value[2 * t + 1];
    end[n] = value[2 * n];
}

/* and together. */
static void values_together(real *value, const real *next, const real *end, size_t n) {
    for (size_t t = 0; t < n; t++) value[2 * t] = next[t], value[2 * t + 1] = end[t];
    value[2 * n] = end[n];
}

static double text_sum(const real *next, const real *end, size_t n) {
    double sum = 0;
    for (size_t t = 0; t < n; t++) sum += next[t];
    return sum + end[n];
}

/* The levels of one text; its sums under policy and reference. */
static void text_levels(double *level, double *logp, double *logp_ref, FlowWork *f, const real *value,
                        const real *ref, const real *sharp, size_t n, double score) {
    const FlowConfig *c = &f->config;
    values_apart(f->next, f->end, ref, n);
    *logp_ref = text_sum(f->next, f->end, n);
    if (c->reward == REWARD_THEORY)
        flow_reward_theory(level, f->next, f->end, n, c->alpha, f->lowest_score, score);
    else {
        values_apart(f->dnext, f->dend, sharp, n);      /* of which the end is read */
        flow_reward_program(level, f->next, f->end, f->dend, n, c->alpha, score);
    }
    values_apart(f->next, f->end, value, n);
    *logp = text_sum(f->next, f->end, n);
    flow_levels(level, level, f->next, f->end, n);
}

double flow_pair_loss(DpoPair *p, real *dvalue, FlowWork *f, const real *value, const real *ref,
                      const real *sharp, const size_t n[2], const double score[2], DpoLoss type,
                      double scale) {
    const size_t at[] = {0, 2 * n[0] + 1};
    double logp[2], logp_ref[2], loss = 0;
    for (int k = 0; k < 2; k++)
        text_levels(f->level[k], &logp[k], &logp_ref[k], f, value + at[k], ref + at[k],
                    sharp ? sharp + at[k] : NULL, n[k], score[k]);
    const double both = (f->level[0][n[0]] + f->level[1][n[1]]) / 2;    /* log F_0 of E238 */
    for (int k = 0; k < 2; k++) {
        const double *level = f->level[k];
        loss += type == DPO_FLOW_DB      ? flow_db(f->dnext, f->dend, level, n[k], scale)
                : type == DPO_FLOW_SUBTB ? flow_subtb(f->dnext, f->dend, level, n[k], f->config.lambda, scale)
                                         : flow_tb(f->dnext, f->dend, level[n[k]], both, n[k], scale);
        f->log_flow += type == DPO_FLOW_TB ? both : level[0];
        values_together(dvalue + at[k], f->dnext, f->dend, n[k]);
    }
    *p = (DpoPair){.n_w = (double)n[0] + 1, .n_l = (double)n[1] + 1, .logp_w = logp[0], .logp_l = logp[1],
                   .ref_w = logp_ref[0], .ref_l = logp_ref[1], .weight = 1};
    return scale * loss;
}
