/* mix.c: replies of the reference, read by every policy, and the weights that follow (E246 to E253). */
#include "run/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/mpo.h"

enum { TOGETHER = 16 };                 /* prompts */

/* ---- replies and sums ---- */

static double *of_prompt(double *x, const MixSums *s, int i) {
    return x + (size_t)i * (size_t)s->n_policy * (size_t)s->n;
}

void mix_free(MixSums *s) {
    free(s->ratio);
    free(s->reward);
    *s = (MixSums){.n = 0};
}

/* L_jk of the answers; kl is scratch [answers]: the reference's logp less the policy's. */
static bool read_ratios(MixSums *s, Costs *c, const MixPlan *p, const Answers *a, int first, double *kl,
                        Err *e) {
    double planned = 0, held = 0;
    const Texts t = answers_texts(a);
    for (int k = 0; k < s->n_policy; k++) {
        const Model *m = p->policy[k].model;
        Costs one = {.predicted = {.prompt = 0}};
        if (!answers_kl(kl, &one, m, a, p->slice_rows, 1, e)) return false;
        for (int i = 0; i < a->n; i++)
            for (int j = 0; j < s->n; j++)
                of_prompt(s->ratio, s, first + i)[k * s->n + j] = -kl[i * s->n + j];
        cost_read(&c->predicted, NET_POLICY, &m->config, &t);
        planned += one.predicted.memory[MEM_REFERENCE], held += one.measured.memory[MEM_REFERENCE];
    }
    cost_memory_most(&c->predicted, MEM_REFERENCE, planned);
    cost_memory_most(&c->measured, MEM_REFERENCE, held);
    return true;
}

static bool keep_rewards(MixSums *s, const MixPlan *p, const Judged *j, int first, Err *e) {
    for (int i = 0; i < j->n; i++)
        for (int k = 0; k < s->n_policy; k++) {
            const double r = j->score[i * s->n_policy + k];
            if (isnan(r))
                return fail(e, "mix: a reply has no score of \"%s\"; slopes need all of them",
                            scorer_labels(p->scorer)[k]);
            of_prompt(s->reward, s, first + i / s->n)[k * s->n + i % s->n] = r;
        }
    return true;
}

static bool gather_batch(MixSums *s, Costs *c, const MixPlan *p, int first, int n, Err *e) {
    const Speaker *ref = &p->policy[p->n_policy];
    const Sampling plain = {1, 0, 1, 0};
    const EvalPlan plan = {.data = p->data, .scorer = p->scorer, .weight = p->weight, .sampling = plain,
                           .num_generations = s->n, .max_completion_length = p->max_new, .seed = p->seed};
    Judged j = {.n = 0};
    double *kl = malloc((size_t)n * (size_t)s->n * sizeof *kl);
    bool ok = kl || fail(e, "mix: no memory for %d prompts", n);
    ok = ok && (p->scorer ? judged_new(&j, &plan, ref, first, n, e) && keep_rewards(s, p, &j, first, e)
                          : speaker_answer(&j.answers, ref, &p->data->row[first], n, first, s->n, p->max_new,
                                           &plain, p->seed, 0, p->data->path, e));
    if (ok) answers_cost(c, &j.answers, ref, NULL);
    ok = ok && read_ratios(s, c, p, &j.answers, first, kl, e);
    judged_free(&j);
    free(kl);
    return ok;
}

bool mix_gather(MixSums *s, Costs *c, const MixPlan *p, Progress *progress, Err *e) {
    const double visits = (double)p->steps * p->prompts_per_step;
    *s = (MixSums){.n_prompt = visits < p->data->n ? (int)visits : p->data->n, .n_policy = p->n_policy,
                   .n = p->num_generations};
    const size_t total = (size_t)s->n_prompt * (size_t)s->n_policy * (size_t)s->n;
    s->ratio = malloc(total * sizeof(double));
    s->reward = p->scorer ? malloc(total * sizeof(double)) : NULL;
    bool ok = (s->ratio && (!p->scorer || s->reward)) || fail(e, "mix: no memory for %zu sums", total);
    for (int k = 0; k <= p->n_policy; k++) p->policy[k].model->tally = &c->measured.net[NET_POLICY];
    if (p->scorer) scorer_count(p->scorer, c);
    progress_begin(progress, "mix", s->n_prompt);
    for (int first = 0, n; ok && first < s->n_prompt; first += n) {
        n = s->n_prompt - first < TOGETHER ? s->n_prompt - first : TOGETHER;
        ok = gather_batch(s, c, p, first, n, e);
        progress_at(progress, first + n, NULL);
    }
    progress_end(progress);
    return ok;
}

/* ---- weights ---- */

static void descend(MixResult *r, double *share, const MixSums *s, const MixPlan *p) {
    double lambda[MAX_POLICIES];
    const double visits = (double)p->steps * p->prompts_per_step;
    int at = 0;
    for (int k = 0; k < s->n_policy; k++) lambda[k] = 1.0 / s->n_policy;
    for (int step = 1; step <= p->steps; step++) {
        memset(r->gradient, 0, sizeof r->gradient);
        for (int i = 0; i < p->prompts_per_step; i++, at = (at + 1) % s->n_prompt)
            r->effective += mpo_gradient(r->gradient, share, of_prompt(s->ratio, s, at), lambda, s->n_policy,
                                         s->n, 1.0 / p->prompts_per_step) /
                            visits;
        mpo_descend(lambda, r->gradient, s->n_policy, p->step_size / sqrt(p->steps));
        mpo_average(r->weight, lambda, s->n_policy, step);
    }
}

static bool weights_given(MixResult *r, const MixSums *s, const MixPlan *p, Err *e) {
    for (int k = 0; k < s->n_policy; k++) {
        MpoSlope sums = {0};
        for (int i = 0; i < s->n_prompt; i++)
            mpo_slope_add(&sums, of_prompt(s->reward, s, i) + k * s->n, of_prompt(s->ratio, s, i) + k * s->n,
                          s->n);
        const double beta = r->coefficient[k] = sums.rr / sums.rl;
        if (!(beta > 0))
            return fail(
                e,
                "--models: policy %d: its log-ratios do not rise with the scores of label %s (coefficient "
                "%g); it was not trained for it",
                k + 1, scorer_labels(p->scorer)[k], beta);
        r->weight[k] = mpo_given_weight(p->weight[k], 1 / beta, p->beta);
    }
    return true;
}

bool mix_weights(MixResult *r, const MixSums *s, const MixPlan *p, Err *e) {
    double *share = malloc((size_t)s->n * sizeof *share);
    if (!share) return fail(e, "mix: no memory for %d shares", s->n);
    *r = (MixResult){.effective = 0};
    for (int k = 0; k < s->n_policy; k++) {
        r->equal[k] = true;
        for (int i = 0; i < s->n_prompt; i++) {
            const double *l = of_prompt(s->ratio, s, i) + k * s->n;
            r->mean_ratio[k] += mpo_mean_ratio(l, s->n) / s->n_prompt;
            for (int j = 0; j < s->n; j++) r->equal[k] = r->equal[k] && l[j] == 0;
        }
    }
    const bool ok = !p->weight || weights_given(r, s, p, e);
    if (!p->weight) descend(r, share, s, p);
    free(share);
    return ok;
}
