/* step.c: one step of GRPO on multi-objective rewards.
 *
 * Algorithm: for each update, prompts are taken in order and the policy draws G completions of each
 * (E81). A reward model gives each completion K scores; their weighted sum is its reward (E60). The rewards
 * of one prompt's completions are compared with each other: the advantage is the distance from their mean, by
 * their deviation (E82 to E84). Then, micro-batch by micro-batch and slice by slice, the policy reads the
 * completions again (E1 to E25), the clipped loss turns log-probabilities into their derivatives (E99 to
 * E115), and these go back through the network. Once the gradients of an update are gathered, their norm is
 * cut and AdamW makes the step (E280 to E284).
 *
 * Where this departs from the paper: the deviation has the divisor n - 1 and 1e-4 beside it, as in TRL (E84);
 * a group's rewards may be compared under several labels (E63, E64); the log-probabilities met while sampling
 * are the old ones, so that no second pass is needed (E81); there are no iterations of the reference: it
 * stays the policy that the run starts from; with lower bounds of mean scores, multipliers add what a label
 * lacks (E70, E71). Other losses than the paper's are settings. Not here: options and memory before a run
 * (cmd/step_open.c), what is logged (run/generation.c, cmd/train.c). */
#include "step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/combine.h"
#include "lib/rng.h"

/* ---- draw ---- */

static bool make_up_prompts(Step *s, int64_t generation, Err *e) {
    for (int i = 0; i < s->gen.n_prompt; i++) {
        Ids *p = &s->gen.prompt[i];
        if (!p->id && !(p->id = malloc((size_t)s->prompts.synthetic * sizeof(int))))
            return fail(e, "no memory for a prompt of %d tokens", s->prompts.synthetic);
        p->n = s->prompts.synthetic;
        for (int t = 0; t < p->n; t++)
            p->id[t] = (int)(rng_uniform(0, RNG_SAMPLE, (uint64_t)generation, (uint64_t)i, 0, (uint64_t)t) *
                             s->learner.model->config.vocab);
    }
    return true;
}

static bool step_prompts(Step *s, int64_t generation, Err *e) {
    Generation *g = &s->gen;
    if (s->prompts.synthetic) return make_up_prompts(s, generation, e);
    for (int i = 0; i < g->n_prompt; i++) {
        const int at = order_at(&s->prompts.order, generation * g->n_prompt + i);
        g->example[i] = &s->prompts.train.row[at];
        g->prompt[i].n = 0;
        if (!encode_prompt(&g->prompt[i], &s->learner.language, g->example[i], e)) return false;
    }
    return true;
}

Texts step_texts(const Step *s, int first, int n) {
    const Generation *g = &s->gen;
    Texts t = {0};
    for (int i = first; i < first + n; i++) {           /* a micro-batch may begin within a group */
        const double prompt = g->prompt[i / s->group].n;
        if (i == first || i % s->group == 0) texts_prompt(&t, prompt);
        texts_completion(&t, prompt, g->out.length[i]);
    }
    return t;
}

/* What was drawn, into the ledger and the memory's record. */
static void note_drawn(Step *s) {
    const Generation *g = &s->gen;
    const Texts drawn = step_texts(s, 0, g->n_completion);
    texts_add(&s->drawn, &drawn, 1);
    s->cost->measured.prompt += drawn.prompt;
    s->cost->measured.completion += drawn.token;
    s->tokens += drawn.prompt * s->group + drawn.token;
    generation_hold(s->cost, g, &s->learner.shape, s->acts_planned, s->acts_held);
}

/* E81: the policy's completions of the next prompts. */
static bool step_draw(Step *s, int64_t generation, Err *e) {
    const Learner *l = &s->learner;
    const int n_stop = s->prompts.synthetic ? 0 : l->info.n_stop;
    if (!step_prompts(s, generation, e) ||
        !generation_draw(&s->gen, l->model, l->info.stop, n_stop, &s->c->sampling, (uint64_t)s->c->run.seed,
                         generation, e))
        return false;
    note_drawn(s);
    return true;
}

/* ---- score, advantage, reference ---- */

static void warn_missing(Step *s) {
    const Generation *g = &s->gen;
    if (s->rewards.warned_missing || s->c->grpo.missing_labels != MISSING_ZERO) return;
    for (int i = 0; i < g->n_completion * g->n_label && !s->rewards.warned_missing; i++)
        s->rewards.warned_missing = isnan(g->score[i]);
    if (s->rewards.warned_missing)
        fprintf(stderr,
                "grpo: some scores are missing and count 0 in the reward, as in TRL, which is not neutral; "
                "--missing-labels mean counts the group's mean\n");
}

/* E40, E41, E77: K scores of every completion. */
static bool step_score(Step *s, Err *e) {
    Generation *g = &s->gen;
    const Rewards *r = &s->rewards;
    for (int i = 0; s->prompts.synthetic && i < g->n_completion; i++) g->score[i] = (real)(i % 7) / 7;
    if (!s->prompts.synthetic && !generation_score(g, &s->learner.language, r->scorer, e)) return false;
    if (r->clip)
        reward_clip(g->score, r->clip_low, r->clip_high, (size_t)g->n_completion, (size_t)g->n_label);
    warn_missing(s);
    return true;
}

/* E60 to E64, E82 to E87: rewards and advantages; E70, E71: what floors add; E119: completions that count. */
static void step_advantage(Step *s) {
    Generation *g = &s->gen;
    Rewards *r = &s->rewards;
    const size_t n = (size_t)g->n_completion, n_label = (size_t)g->n_label, group = (size_t)s->group;
    double *length = g->scratch;
    for (size_t i = 0; i < n; i++) length[i] = (double)(g->offset[i + 1] - g->offset[i]);
    grpo_score_advantage(g->adv, g->reward, &g->stats, g->score, r->weight, length, n, n_label, group,
                         &s->c->grpo);
    memcpy(g->multiplier, r->multiplier, sizeof g->multiplier);
    if (r->floors)
        combine_floor_advantage(g->adv, g->cost, r->multiplier, g->reward, g->score, r->floor,
                                s->c->multiplier_learning_rate, s->c->multiplier_max, n, n_label, group,
                                s->c->grpo.std_eps);
    if (s->c->grpo.mask_truncated_completions) grpo_mask_truncated(g->mask, g->offset, g->ended, n);
    g->n_item = 0;
    for (size_t t = 0; t < g->offset[n]; t++) g->n_item += g->mask[t];
}

/* The tree of a prompt and those of its completions that are first .. first + n - 1, into the window. */
static bool add_tree(Step *s, int first, int n, Err *e) {
    const Generation *g = &s->gen;
    const Ids *prompt = &g->prompt[first / s->group];
    return window_group(&s->learner.window, prompt->id, prompt->n, g->token, g->offset, first, n,
                        s->micro.token_of, s->micro.completion_of, e);
}

/* Completions first .. first + n - 1 as a window: each prompt once, then those of its completions. */
static bool step_lay(Step *s, int first, int n, Err *e) {
    window_clear(&s->learner.window);
    for (int i = first, end; i < first + n; i = end) {
        end = (i / s->group + 1) * s->group < first + n ? (i / s->group + 1) * s->group : first + n;
        if (!add_tree(s, i, end - i, e)) return false;
    }
    return true;
}

bool step_window(Step *s, const int *prompt, int n, Err *e) {
    if (!prompt) return step_lay(s, 0, n * s->group, e);
    window_clear(&s->learner.window);
    for (int i = 0; i < n; i++)
        if (!add_tree(s, prompt[i] * s->group, s->group, e)) return false;
    return true;
}

/* Values of the window's targets under m, to their flat places; entropy NULL: not wanted. */
static bool read_window(real *logp, real *entropy, Step *s, const Model *m, Err *e) {
    const Window *w = &s->learner.window;
    const int rows = s->learner.rows;
    real *by_target = s->gen.by_target, *entropy_by_target = by_target + w->n_target;
    if (!window_logp(by_target, entropy ? entropy_by_target : NULL, s->learner.trainer.acts, rows, rows, m, w,
                     s->c->sampling.temperature, e))
        return false;
    for (int i = 0; i < w->n_target; i++) {
        if (logp) logp[s->micro.token_of[i]] = by_target[i];
        if (entropy) entropy[s->micro.token_of[i]] = entropy_by_target[i];
    }
    return true;
}

bool step_generation(Step *s, int64_t generation, Err *e) {
    if (!step_draw(s, generation, e) || (!s->c->unscored && !step_score(s, e))) return false;
    if (s->c->unscored) s->gen.stats = (GrpoRewardStats){NAN, NAN, NAN};
    else step_advantage(s);
    if (s->learner.reference && /* E23 under the reference */
        (!step_lay(s, 0, s->gen.n_completion, e) ||
         !read_window(s->gen.ref, NULL, s, s->learner.reference, e)))
        return false;
    generation_log_add(&s->log, &s->gen, grpo_weighs(&s->c->grpo) ? s->rewards.weight : NULL);
    return true;
}

/* ---- slices, forward, loss, backward ---- */

GrpoIn step_input(const Step *s, int first, int n) {
    const Generation *g = &s->gen;
    const GrpoIn all = {.n_completion = (size_t)g->n_completion, .offset = g->offset, .logp = g->logp,
                        .old = g->old, .ref = s->learner.reference ? g->ref : NULL, .mask = g->mask,
                        .entropy = g->entropy,
                        .advantage = g->adv};
    return grpo_slice(&all, (size_t)first, (size_t)n);
}

/* E99 to E115: from the values of a slice's targets to their derivatives, by the completions that they belong
 * to. */
static void slice_loss(Step *s, const Slice *x) {
    Generation *g = &s->gen;
    Trainer *t = &s->learner.trainer;
    const int n = x->batch.n_target, *token_of = s->micro.token_of + x->first_target,
              *completion_of = s->micro.completion_of + x->first_target;
    int low = g->n_completion, high = -1;
    for (int i = 0; i < n; i++) {
        g->logp[token_of[i]] = t->logp[i];
        g->entropy[token_of[i]] = t->entropy[i];
        low = completion_of[i] < low ? completion_of[i] : low;
        high = completion_of[i] > high ? completion_of[i] : high;
    }
    const GrpoIn in = step_input(s, low, high - low + 1);
    grpo_loss(&s->micro.sums, g->dlogp, g->dentropy, &in, &s->c->grpo, &s->micro.window, &s->micro.whole);
    for (int i = 0; i < n; i++)
        t->dlogp[i] = g->dlogp[token_of[i]], t->dentropy[i] = g->dentropy[token_of[i]];
}

int step_micro_batches(const Step *s) { return s->per_generation * s->c->grpo.num_iterations; }
int step_first_completion(const Step *s, int i) { return i % s->per_generation * s->batch; }

/* Loss and metrics of the micro-batch, into those of the update. */
static bool add_sums(Step *s, Err *e) {
    UpdateSums *u = &s->update;
    GrpoMetrics m;
    const double loss = grpo_loss_value(&s->micro.sums, &s->micro.window, &s->micro.whole);
    if (!isfinite(loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied",
                    (long long)s->learner.trainer.step + 1, loss);
    grpo_metrics(&m, &s->micro.sums, &s->c->grpo, &s->micro.window);
    for (int i = 0; i < GRPO_N_METRIC; i++)
        if (!isnan(grpo_metric(&m, i))) u->metric[i] += grpo_metric(&m, i), u->n_metric[i]++;
    u->loss += loss;
    u->entropy_sum += s->micro.sums.entropy;
    u->entropy_tokens += s->micro.sums.n_token;
    u->n_micro++;
    return true;
}

bool step_micro_batch(Step *s, int i, Err *e) {
    const GrpoConfig *c = &s->c->grpo;
    Learner *l = &s->learner;
    Trainer *t = &l->trainer;
    Acts *acts = t->acts;
    real *grad = t->grad, *dhidden = t->dhidden;
    const Model *policy = l->model;
    MicroBatch *b = &s->micro;
    const double temperature = s->c->sampling.temperature;
    const int first = step_first_completion(s, i);
    int more;
    if (!step_lay(s, first, s->batch, e)) return false;
    /* E109's threshold needs the entropies of the whole micro-batch before any loss */
    if (c->top_entropy_quantile < 1 && !read_window(NULL, s->gen.entropy, s, l->model, e)) return false;
    const GrpoIn in = step_input(s, first, s->batch);
    b->window = (GrpoWindow){.n_item = s->gen.n_item, .n_process = 1,
                             .gradient_accumulation_steps = s->accumulate,
                             .steps_per_generation = s->per_generation, .training = true,
                             .entropy_coef = grpo_entropy_coef(&s->control, c),
                             .n_sequence = s->gen.n_completion};
    const real *dentropy = b->window.entropy_coef != 0 ? t->dentropy : NULL;
    /* E109, E112 */
    grpo_micro(&b->whole, &in, c, s->gen.scratch);
    grpo_sums_start(&b->sums);
    Slice x = trainer_slices(t);
    /* slice_next: 1, there is one; 0, no more; -1, e is filled in */
    while ((more = slice_next(&x, &l->window, &policy->config, e)) > 0) {
        const real *hidden = model_forward(acts, policy, &x.batch);                     /* E1 to E16 */
        head_logp(t->logp, t->entropy, acts, policy, &x.batch, hidden, temperature, NULL);  /* E23, E25 */
        slice_loss(s, &x);                                                              /* E99 to E115 */
        head_logp_backward(dhidden, grad, acts, policy, &x.batch, hidden, temperature, t->dlogp, dentropy,
                           NULL);
        model_backward(grad, acts, policy, &x.batch, dhidden);                          /* E24 to E6 */
        slice_count(t, &x);
    }
    if (more < 0) return false;
    const Texts trained = step_texts(s, first, s->batch);
    texts_add(&s->trained, &trained, 1);
    return add_sums(s, e);
}

/* ---- update ---- */

bool step_update(Step *s, Err *e) {
    if (!trainer_update(&s->learner.trainer, e)) return false;
    grpo_entropy_step(&s->control, &s->c->grpo, s->update.entropy_sum, s->update.entropy_tokens);
    return true;
}

void step_clear(Step *s) {
    s->update = (UpdateSums){.n_micro = 0};
    s->log.logged = true;               /* the next generation begins its means anew */
}

/* ---- the step ---- */

bool grpo_step(Step *s, Err *e) {
    step_clear(s);
    while (s->update.n_micro < s->accumulate) {
        if (s->at == 0 && !step_generation(s, s->generation, e)) return false;  /* draw, score, advantage */
        if (!step_micro_batch(s, s->at, e)) return false;                       /* forward, loss, backward */
        if (++s->at == step_micro_batches(s)) s->at = 0, s->generation++;
    }
    return step_update(s, e);                                                   /* clip the norm, AdamW */
}
