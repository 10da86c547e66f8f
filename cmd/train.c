/* train.c: `grpo train`: GRPO: completions, scores, advantages, updates (MATH section 5), one generation step after the other.
 *
 * All mathematics is called from grpo.c and reward.c; here stand the order of things, the options, the log. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/data.h"
#include "cmd/run.h"
#include "cmd/scorer.h"
#include "grpo.h"
#include "lib/files.h"
#include "rollout.h"

typedef struct {
    RunOptions run;
    GrpoConfig grpo;
    Sampling sampling;
    const char *reward_model, *reward_cmd, *reward_template, *reward_weights, *reward_clip;
    int steps_per_generation;
} Config;

#define G(name) offsetof(Config, grpo.name)
static const Option options[] = {
    RUN_OPTIONS(Config, "1e-6", "3"),
    {"reward_model", OPT_STRING, offsetof(Config, reward_model), NULL, "reward folders, with commas", NULL},
    {"reward_cmd", OPT_STRING, offsetof(Config, reward_cmd), NULL, "program that scores JSON lines", NULL},
    {"reward_chat_template", OPT_STRING, offsetof(Config, reward_template), NULL, "template of the reward models, if theirs is unknown", NULL},
    {"reward_weights", OPT_STRING, offsetof(Config, reward_weights), NULL, "e.g. politeness=0.4,safety=0.6, or in the labels' order; none: 1 each", NULL},
    {"reward_clip", OPT_STRING, offsetof(Config, reward_clip), NULL, "LOW,HIGH: scores are cut to it first (E77)", NULL},
    {"missing_labels", OPT_CHOICE, G(missing_labels), "zero", "what an unscored label counts", missing_labels_names},
    {"num_generations", OPT_INT, G(num_generations), "8", "completions of one prompt", NULL},
    {"max_completion_length", OPT_INT, G(max_completion_length), "512", "tokens of a completion at most", NULL},
    {"temperature", OPT_NUMBER, offsetof(Config, sampling.temperature), "1", "of sampling and of every log-probability", NULL},
    {"top_k", OPT_INT, offsetof(Config, sampling.top_k), "0", "0: off", NULL},
    {"top_p", OPT_NUMBER, offsetof(Config, sampling.top_p), "1", "1: off", NULL},
    {"min_p", OPT_NUMBER, offsetof(Config, sampling.min_p), "0", "0: off", NULL},
    {"steps_per_generation", OPT_INT, offsetof(Config, steps_per_generation), "0", "micro-batches of a generation; 0: gradient-accumulation-steps", NULL},
    {"num_iterations", OPT_INT, G(num_iterations), "1", "passes over the completions (mu)", NULL},
    {"loss_type", OPT_CHOICE, G(loss_type), "dapo", "loss", loss_type_names},
    {"importance_sampling_level", OPT_CHOICE, G(importance_sampling_level), "token", "ratio", importance_sampling_level_names},
    {"scale_rewards", OPT_CHOICE, G(scale_rewards), "group", "deviation that divides the advantage", scale_rewards_names},
    {"multi_objective_aggregation", OPT_CHOICE, G(multi_objective_aggregation), "sum_then_normalize", "how labels become one advantage", multi_objective_aggregation_names},
    {"epsilon", OPT_NUMBER, G(epsilon), "0.2", "clip half-width", NULL},
    {"epsilon_high", OPT_NUMBER, G(epsilon_high), "none", "upper half-width; none: epsilon", NULL},
    {"delta", OPT_NUMBER, G(delta), "none", "two-sided clip", NULL},
    {"dual_clip", OPT_NUMBER, G(dual_clip), "none", "dual clip's c (ours; verl: 3)", NULL},
    {"beta", OPT_NUMBER, G(beta), "0", "weight of the KL to the starting policy", NULL},
    {"use_bias_correction_kl", OPT_BOOL, G(use_bias_correction_kl), "true", "E96", NULL},
    {"top_entropy_quantile", OPT_NUMBER, G(top_entropy_quantile), "1", "share of tokens with the highest entropy that count", NULL},
    {"off_policy_mask_threshold", OPT_NUMBER, G(off_policy_mask_threshold), "none", "E108", NULL},
    {"sapo_temperature_pos", OPT_NUMBER, G(sapo_temperature_pos), "1", "sapo", NULL},
    {"sapo_temperature_neg", OPT_NUMBER, G(sapo_temperature_neg), "1.05", "sapo", NULL},
    {"vespo_k_pos", OPT_NUMBER, G(vespo_k_pos), "2", "vespo", NULL},
    {"vespo_lambda_pos", OPT_NUMBER, G(vespo_lambda_pos), "3", "vespo", NULL},
    {"vespo_k_neg", OPT_NUMBER, G(vespo_k_neg), "3", "vespo", NULL},
    {"vespo_lambda_neg", OPT_NUMBER, G(vespo_lambda_neg), "2", "vespo", NULL},
    {"entropy_coef", OPT_NUMBER, G(entropy_coef), "0", "entropy bonus", NULL},
    {"use_adaptive_entropy", OPT_BOOL, G(use_adaptive_entropy), "false", "E116", NULL},
    {"entropy_target", OPT_NUMBER, G(entropy_target), "0.2", "E116", NULL},
    {"entropy_coef_delta", OPT_NUMBER, G(entropy_coef_delta), "0.005", "E116", NULL},
    {"entropy_coef_min", OPT_NUMBER, G(entropy_coef_min), "0", "E116", NULL},
    {"entropy_coef_max", OPT_NUMBER, G(entropy_coef_max), "1", "E116", NULL},
    {"mask_truncated_completions", OPT_BOOL, G(mask_truncated_completions), "false", "completions that did not end give no gradient", NULL},
};
#undef G
static const OptionTable table = {"train", "GRPO: the policy is improved on weighted scores of its own completions",
                                  "grpo train --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final --output-dir runs/grpo --beta 0.08",
                                  options, sizeof options / sizeof *options};

/* ---- one generation: completions and all that is known about them ------------------------ */

typedef struct {
    int n_prompt, n_completion, n_label;
    const Example **example;            /* [n_prompt] */
    Ids *prompt;                        /* [n_prompt] */
    Rollout out;
    size_t *offset;                     /* [n_completion + 1] */
    int *token;                         /* [n_token] and, same shape: */
    real *logp, *old, *ref, *entropy, *dlogp, *dentropy;
    unsigned char *mask, *ended;        /* [n_token], [n_completion] */
    double *scratch;                    /* [n_token] */
    real *score, *reward, *adv;         /* [n_completion, n_label], [n_completion] twice */
    GrpoRewardStats stats;
    double n_item;                      /* N of E112 */
    int max_new;
} Generation;

static bool generation_new(Generation *g, int n_prompt, int group, int max_new, int n_label, Err *e) {
    const size_t n = (size_t)n_prompt * (size_t)group, tokens = n * (size_t)max_new;
    *g = (Generation){.n_prompt = n_prompt, .n_completion = (int)n, .n_label = n_label, .max_new = max_new};
    g->example = memory_new((size_t)n_prompt * sizeof *g->example, "examples", e);
    g->prompt = memory_new((size_t)n_prompt * sizeof *g->prompt, "prompts", e);
    g->out = (Rollout){.id = memory_new(tokens * sizeof(int), "completions", e), .logp = memory_new(tokens * sizeof(real), "completions", e),
                       .length = memory_new(n * sizeof(int), "completions", e), .ended = memory_new(n * sizeof(bool), "completions", e)};
    g->offset = memory_new((n + 1) * sizeof(size_t), "completions", e);
    g->token = memory_new(tokens * sizeof(int), "completions", e);
    real **list[] = {&g->logp, &g->old, &g->ref, &g->entropy, &g->dlogp, &g->dentropy};
    bool ok = g->example && g->prompt && g->out.id && g->out.logp && g->out.length && g->out.ended && g->offset && g->token;
    for (int i = 0; i < 6; i++) ok = (*list[i] = memory_new(tokens * sizeof(real), "completions", e)) && ok;
    g->mask = memory_new(tokens, "completions", e);
    g->ended = memory_new(n, "completions", e);
    g->scratch = memory_new(tokens * sizeof(double), "completions", e);
    g->score = memory_new(n * (size_t)n_label * sizeof(real), "scores", e);
    g->reward = memory_new(n * sizeof(real), "rewards", e);
    g->adv = memory_new(n * sizeof(real), "advantages", e);
    return ok && g->mask && g->ended && g->scratch && g->score && g->reward && g->adv;
}

static void generation_free(Generation *g) {
    for (int i = 0; g->prompt && i < g->n_prompt; i++) free(g->prompt[i].id);
    void *list[] = {g->example, g->prompt, g->out.id, g->out.logp, g->out.length, g->out.ended, g->offset, g->token, g->logp, g->old, g->ref, g->entropy,
                    g->dlogp, g->dentropy, g->mask, g->ended, g->scratch, g->score, g->reward, g->adv};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) memory_free(list[i]);
}

/* Completions first .. first + n - 1 as a window: each prompt once, then its completions; token_of[target] is the flat place of the token,
 * completion_of its completion. */
static bool build_window(Window *w, const Generation *g, int group, int first, int n, int *token_of, int *completion_of, Err *e) {
    window_clear(w);
    for (int i = first; i < first + n; ) {
        const int p = i / group, end = (p + 1) * group < first + n ? (p + 1) * group : first + n;
        const int root = window_add(w, g->prompt[p].id, g->prompt[p].n, -1, e), last = w->n_row - 1;
        if (root < 0) return false;
        for (int c = i; c < end; c++) {
            token_of[w->n_target] = (int)g->offset[c];
            completion_of[w->n_target] = c;
            if (!window_target(w, last, g->token[g->offset[c]], e)) return false;
        }
        for (int c = i; c < end; c++) {
            const int length = g->out.length[c], start = w->n_row, *id = g->token + g->offset[c];
            if (length < 2) continue;
            if (window_add(w, id, length - 1, root, e) < 0) return false;
            for (int t = 1; t < length; t++) {
                token_of[w->n_target] = (int)g->offset[c] + t;
                completion_of[w->n_target] = c;
                if (!window_target(w, start + t - 1, id[t], e)) return false;
            }
        }
        i = end;
    }
    return true;
}

/* ---- the trainer's state ----------------------------------------------------------------- */

typedef struct {
    const Config *c;
    Language language;
    Dataset data;
    Model *policy, *reference;          /* reference: NULL if beta is 0 */
    Acts *ref_acts;
    FolderInfo info;
    Scorer *scorer;
    int n_label, group, batch, accumulate, per_generation, rows;
    const char (*label)[64];
    double weight[MAX_LABELS], clip_low[MAX_LABELS], clip_high[MAX_LABELS];
    bool clip;
    Generation gen;
    Window window;
    int *token_of, *completion_of;
    Trainer trainer;
    Run run;
    Order order;
    GrpoEntropyControl control;
    /* of the running update */
    GrpoMicro micro;
    GrpoSums sums;
    GrpoWindow grpo_window;
    double loss, entropy_sum, entropy_tokens, metric[9];
    int n_metric[9], n_micro;
    int64_t tokens;
} State;

static bool encode_prompts(State *s, int64_t generation, Err *e) {
    Generation *g = &s->gen;
    for (int i = 0; i < g->n_prompt; i++) {
        const Example *x = g->example[i] = &s->data.row[order_at(&s->order, generation * g->n_prompt + i)];
        g->prompt[i].n = 0;
        if (!encode_prompt(&g->prompt[i], &s->language, x, e)) return false;
        if (g->prompt[i].n + g->max_new > s->policy->config.context)
            return fail(e, "%s:%d: prompt of %d tokens and --max-completion-length %d exceed the context of %d; shorten one of them", s->data.path, x->line,
                        g->prompt[i].n, g->max_new, s->policy->config.context);
    }
    return true;
}

static bool generate(State *s, int64_t generation, Err *e) {
    Generation *g = &s->gen;
    const int **prompt = malloc((size_t)g->n_prompt * sizeof *prompt);
    int *length = malloc((size_t)g->n_prompt * sizeof(int)), stop[MAX_STOPS + 1], n_stop = 0;
    bool ok = prompt && length && encode_prompts(s, generation, e);
    for (int i = 0; ok && i < g->n_prompt; i++) prompt[i] = g->prompt[i].id, length[i] = g->prompt[i].n;
    for (int i = 0; i < s->info.n_stop; i++) stop[n_stop++] = s->info.stop[i];
    stop[n_stop++] = s->language.end_of_turn;
    const RolloutPlan plan = {.prompt = prompt, .prompt_length = length, .n_prompt = g->n_prompt, .group_size = s->group, .max_new = g->max_new, .stop = stop,
                              .n_stop = n_stop, .sampling = s->c->sampling, .seed = (uint64_t)s->c->run.seed, .step = (uint64_t)generation};
    ok = ok && rollout(&g->out, s->policy, &plan, e);
    g->offset[0] = 0;
    for (int i = 0; ok && i < g->n_completion; i++) {
        const size_t n = (size_t)g->out.length[i], at = g->offset[i], from = (size_t)i * (size_t)g->max_new;
        memcpy(g->token + at, g->out.id + from, n * sizeof(int));
        memcpy(g->old + at, g->out.logp + from, n * sizeof(real));
        memset(g->mask + at, 1, n);
        g->ended[i] = g->out.ended[i];
        g->offset[i + 1] = at + n;
    }
    free(prompt);
    free(length);
    return ok;
}

static bool score(State *s, Err *e) {
    Generation *g = &s->gen;
    Reply *reply = calloc((size_t)g->n_completion, sizeof *reply);
    bool ok = reply != NULL;
    for (int i = 0; ok && i < g->n_completion; i++) {
        char *text = decode_completion(&s->language, g->token + g->offset[i], g->out.length[i], e);
        reply[i] = (Reply){g->example[i / s->group], text, g->out.ended[i]};
        ok = text != NULL;
    }
    ok = ok && scorer_score(s->scorer, g->score, reply, g->n_completion, e);
    for (int i = 0; reply && i < g->n_completion; i++) free((char *)reply[i].completion);
    free(reply);
    if (!ok) return false;
    if (s->clip) reward_clip(g->score, s->clip_low, s->clip_high, (size_t)g->n_completion, (size_t)g->n_label);
    grpo_score_advantage(g->adv, g->reward, &g->stats, g->score, s->weight, (size_t)g->n_completion, (size_t)g->n_label, (size_t)s->group, &s->c->grpo);
    if (s->c->grpo.mask_truncated_completions) grpo_mask_truncated(g->mask, g->offset, g->ended, (size_t)g->n_completion);
    g->n_item = 0;
    for (size_t t = 0; t < g->offset[g->n_completion]; t++) g->n_item += g->mask[t];
    return true;
}

static bool reference_logp(State *s, Err *e) {
    Generation *g = &s->gen;
    if (!s->reference) return true;
    if (!build_window(&s->window, g, s->group, 0, g->n_completion, s->token_of, s->completion_of, e)) return false;
    real *logp = malloc((size_t)s->window.n_target * sizeof(real));
    const bool ok = logp ? window_logp(logp, NULL, s->ref_acts, s->rows, s->rows, s->reference, &s->window, s->c->sampling.temperature, e) : fail(e, "no memory");
    for (int i = 0; ok && i < s->window.n_target; i++) g->ref[s->token_of[i]] = logp[i];
    free(logp);
    return ok;
}

/* ---- one micro-batch --------------------------------------------------------------------- */

static GrpoIn whole_batch(const State *s) {
    const Generation *g = &s->gen;
    return (GrpoIn){.n_completion = (size_t)g->n_completion, .offset = g->offset, .logp = g->logp, .old = g->old, .ref = s->reference ? g->ref : NULL,
                    .mask = g->mask, .entropy = g->entropy, .advantage = g->adv};
}

/* From the values of one slice to their derivatives: E99 to E115, in grpo.c. */
static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp, real *dentropy) {
    State *s = to;
    Generation *g = &s->gen;
    int low = s->gen.n_completion, high = -1;
    for (int i = 0; i < n; i++) {
        const int t = s->token_of[first + i], c = s->completion_of[first + i];
        g->logp[t] = logp[i];
        g->entropy[t] = entropy[i];
        low = c < low ? c : low;
        high = c > high ? c : high;
    }
    const GrpoIn all = whole_batch(s), in = grpo_slice(&all, (size_t)low, (size_t)(high - low + 1));
    grpo_loss(&s->sums, g->dlogp, dentropy ? g->dentropy : NULL, &in, &s->c->grpo, &s->grpo_window, &s->micro);
    for (int i = 0; i < n; i++) {
        dlogp[i] = g->dlogp[s->token_of[first + i]];
        if (dentropy) dentropy[i] = g->dentropy[s->token_of[first + i]];
    }
}

/* E109's threshold needs the entropies of the whole micro-batch before any loss. */
static bool entropies_first(State *s, Err *e) {
    if (s->c->grpo.top_entropy_quantile >= 1) return true;
    real *value = malloc((size_t)s->window.n_target * 2 * sizeof(real));
    const bool ok = value ? window_logp(value, value + s->window.n_target, s->trainer.acts, s->rows, s->rows, s->policy, &s->window, s->c->sampling.temperature, e) : fail(e, "no memory");
    for (int i = 0; ok && i < s->window.n_target; i++) s->gen.entropy[s->token_of[i]] = value[s->window.n_target + i];
    free(value);
    return ok;
}

static bool micro_batch(State *s, int first, Err *e) {
    const GrpoConfig *c = &s->c->grpo;
    if (!build_window(&s->window, &s->gen, s->group, first, s->batch, s->token_of, s->completion_of, e) || !entropies_first(s, e)) return false;
    const GrpoIn all = whole_batch(s), in = grpo_slice(&all, (size_t)first, (size_t)s->batch);
    s->grpo_window = (GrpoWindow){.n_item = s->gen.n_item, .n_process = 1, .gradient_accumulation_steps = s->accumulate, .steps_per_generation = s->per_generation,
                                  .training = true, .entropy_coef = grpo_entropy_coef(&s->control, c)};
    grpo_micro(&s->micro, &in, c, s->gen.scratch);
    grpo_sums_start(&s->sums);
    if (!trainer_accumulate(&s->trainer, &s->window, s->c->sampling.temperature, derive, s, s->grpo_window.entropy_coef != 0, e)) return false;
    const double loss = grpo_loss_value(&s->sums, &s->grpo_window, &s->micro);
    if (!isfinite(loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied; the last good checkpoint is %s", (long long)s->trainer.step + 1, loss,
                    path_exists(s->run.checkpoint) ? s->run.checkpoint : "not written yet");
    GrpoMetrics m;
    grpo_metrics(&m, &s->sums, c, &s->grpo_window);
    const double *value = (const double *)&m;
    for (int i = 0; grpo_metric_names[i] && i < 9; i++)
        if (!isnan(value[i + 1])) s->metric[i] += value[i + 1], s->n_metric[i]++;
    s->loss += loss;
    s->entropy_sum += s->sums.entropy;
    s->entropy_tokens += s->sums.n_token;
    s->n_micro++;
    return true;
}

/* ---- log --------------------------------------------------------------------------------- */

static void put(JsonWriter *w, const char *key, double x) { json_key(w, key); json_number(w, x); }

static void log_generation(JsonWriter *w, const State *s) {
    const Generation *g = &s->gen;
    double mean = 0, min = INFINITY, max = 0, cut = 0;
    for (int i = 0; i < g->n_completion; i++) {
        const double n = g->out.length[i];
        mean += n, cut += !g->out.ended[i];
        min = n < min ? n : min, max = n > max ? n : max;
    }
    put(w, "completions/mean_length", mean / g->n_completion);
    put(w, "completions/min_length", min);
    put(w, "completions/max_length", max);
    put(w, "completions/clipped_ratio", cut / g->n_completion);
    put(w, "reward", g->stats.reward);
    put(w, "reward_std", g->stats.reward_std);
    put(w, "frac_reward_zero_std", g->stats.frac_reward_zero_std);
    double *share = malloc((size_t)(g->n_prompt * g->n_label) * sizeof(double));
    if (share) reward_label_share(share, g->score, s->weight, (size_t)g->n_completion, (size_t)g->n_label, (size_t)s->group);
    for (int k = 0; k < g->n_label; k++) {
        double m, sd, total = 0;
        char key[96];
        int n = 0;
        reward_moments(&m, &sd, g->score + k, (size_t)g->n_completion, (size_t)g->n_label, 1);
        snprintf(key, sizeof key, "rewards/%s/mean", s->label[k]), put(w, key, m);
        snprintf(key, sizeof key, "rewards/%s/std", s->label[k]), put(w, key, sd);
        for (int p = 0; share && p < g->n_prompt; p++)
            if (!isnan(share[p * g->n_label + k])) total += share[p * g->n_label + k], n++;
        snprintf(key, sizeof key, "label_share/%s", s->label[k]), put(w, key, n ? total / n : NAN);
    }
    free(share);
    if (s->c->sampling.top_k || s->c->sampling.top_p < 1 || s->c->sampling.min_p > 0) put(w, "sampling/truncation_bias", g->out.truncation_bias);
}

static bool log_update(State *s, int64_t generation, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_key(&w, "step"); json_int(&w, s->trainer.step);
    put(&w, "loss", s->loss);
    put(&w, "grad_norm", s->trainer.grad_norm);
    put(&w, "learning_rate", s->trainer.lr);
    json_key(&w, "num_tokens"); json_int(&w, s->tokens);
    put(&w, "epoch", (double)(generation + 1) * s->gen.n_prompt / s->data.n);
    log_generation(&w, s);
    for (int i = 0; i < 9 && grpo_metric_names[i] && grpo_metric_names[i + 1]; i++)
        if (s->n_metric[i]) put(&w, grpo_metric_names[i + 1], s->metric[i] / s->n_metric[i]);
    if (s->c->grpo.entropy_coef != 0 || s->c->grpo.use_adaptive_entropy) put(&w, "entropy_coef", s->control.coef);
    json_end(&w, '}');
    const bool ok = run_log(&s->run, &w, e);
    free(w.text);
    return ok;
}

static void say(State *s) {
    if (s->trainer.step == 1)
        fprintf(stderr, "train: a loss near 0 is right while every ratio is 1 (one update per generation): its gradient carries the signal.\n"
                        "train: progress shows in reward and rewards/*/mean; kl tells how far the policy has moved.\n");
    if (s->gen.stats.frac_reward_zero_std > 0.9)
        fprintf(stderr, "train: step %lld: %.0f %% of the groups have equal rewards: there is nothing to learn from; look at the scores or raise the temperature\n",
                (long long)s->trainer.step, 100 * s->gen.stats.frac_reward_zero_std);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static bool update(State *s, int64_t generation, Err *e) {
    Trainer *t = &s->trainer;
    if (!trainer_update(t, e)) return false;
    grpo_entropy_step(&s->control, &s->c->grpo, s->entropy_sum, s->entropy_tokens);
    t->extra[0] = s->control.coef;
    t->extra[1] = s->control.last_window_entropy;
    t->extra[2] = (double)s->tokens;
    if (t->step % s->c->run.logging_steps == 0 && !log_update(s, generation, e)) return false;
    say(s);
    s->loss = s->entropy_sum = s->entropy_tokens = 0;
    s->n_micro = 0;
    memset(s->metric, 0, sizeof s->metric);
    memset(s->n_metric, 0, sizeof s->n_metric);
    return true;
}

static bool loop(State *s, Err *e) {
    const Config *c = s->c;
    Trainer *t = &s->trainer;
    const int per = s->per_generation * c->grpo.num_iterations;         /* micro-batches made of one generation */
    Progress p;
    progress_begin(&p, "train", t->n_step);
    /* a checkpoint falls where an update ends a generation: with several updates a generation, only there */
    for (int64_t generation = t->step * s->accumulate / per; t->step < t->n_step; generation++) {
        if (!generate(s, generation, e) || !score(s, e) || !reference_logp(s, e)) return false;
        for (int i = 0; i < s->gen.n_prompt; i++) s->tokens += s->gen.prompt[i].n * s->group;
        s->tokens += (int64_t)s->gen.offset[s->gen.n_completion];
        for (int i = 0; i < per && t->step < t->n_step; i++) {
            if (!micro_batch(s, i % s->per_generation * s->batch, e)) return false;
            if (s->n_micro == s->accumulate && !update(s, generation, e)) return false;
        }
        char detail[128];
        snprintf(detail, sizeof detail, "reward %.4f  kl %.4f  length %.1f  %.1f k tokens/s", s->gen.stats.reward, s->sums.n_token ? s->sums.kl / s->sums.n_token : 0,
                 (double)s->gen.offset[s->gen.n_completion] / s->gen.n_completion, (double)s->tokens / 1000 / (clock_seconds() - s->run.started));
        progress_at(&p, t->step, detail);
        if (s->n_micro == 0 && !run_checkpoint(&s->run, &c->run, t, t->step == t->n_step, e)) return false;
    }
    progress_end(&p);
    return true;
}

static bool parse_clip(State *s, Err *e) {
    if (!s->c->reward_clip) return true;
    char *end, *end2;
    const double low = strtod(s->c->reward_clip, &end), high = *end == ',' ? strtod(end + 1, &end2) : low;
    if (*end != ',' || *end2 || !(low < high)) return fail(e, "--reward-clip: found \"%s\", expected LOW,HIGH such as 0,1", s->c->reward_clip);
    for (int k = 0; k < s->n_label; k++) s->clip_low[k] = low, s->clip_high[k] = high;
    return s->clip = true;
}

static bool sizes(State *s, Err *e) {
    const Config *c = s->c;
    s->group = c->grpo.num_generations;
    s->batch = c->run.per_device_train_batch_size;
    s->accumulate = c->run.gradient_accumulation_steps;
    s->per_generation = c->steps_per_generation ? c->steps_per_generation : s->accumulate;
    if (s->group < 2) return fail(e, "--num-generations: found %d, expected at least 2: an advantage compares completions", s->group);
    if ((s->batch * s->per_generation) % s->group)
        return fail(e, "--num-generations %d does not divide the %d completions of a generation (per-device-train-batch-size %d times steps-per-generation %d)", s->group,
                    s->batch * s->per_generation, s->batch, s->per_generation);
    if ((s->per_generation * c->grpo.num_iterations) % s->accumulate && s->accumulate % (s->per_generation * c->grpo.num_iterations))
        return fail(e, "--gradient-accumulation-steps %d and the %d micro-batches of a generation: expected one to divide the other", s->accumulate, s->per_generation * c->grpo.num_iterations);
    return c->sampling.temperature > 0 || fail(e, "--temperature: found %g, expected more than 0: greedy completions of one prompt are all equal", c->sampling.temperature);
}

static bool open_all(State *s, Err *e) {
    const Config *c = s->c;
    ModelConfig shape;
    if (!run_options_check(&c->run, e) || !grpo_config_check(&c->grpo, e) || !sampling_check(&c->sampling, e) || !sizes(s, e)) return false;
    if (!c->run.resume && !folder_is_empty(c->run.output_dir)) return fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume", c->run.output_dir);
    if (!(s->scorer = scorer_open(c->reward_model, c->reward_cmd, c->reward_template, c->run.slice_rows, e))) return false;
    s->n_label = scorer_n_label(s->scorer);
    s->label = scorer_labels(s->scorer);
    if (!parse_weights(s->weight, c->reward_weights, s->label, s->n_label, "--reward-weights", e) || !parse_clip(s, e)) return false;
    if (!language_load(&s->language, c->run.model, c->run.chat_template, e) || !dataset_load(&s->data, c->run.dataset, NEED_PROMPT, c->run.system, e)) return false;
    if (!folder_config(&shape, NULL, c->run.model, e)) return false;
    if (shape.n_label) return fail(e, "%s: is a reward model; expected a language model", c->run.model);
    const int n_completion = s->batch * s->per_generation, tree = shape.context + s->group * c->grpo.max_completion_length;
    s->rows = c->run.slice_rows > tree ? c->run.slice_rows : tree;
    const double need = (double)trainer_bytes(&shape, s->rows, s->rows) + (c->grpo.beta != 0 ? (double)model_bytes(&shape) + (double)acts_bytes(&shape, s->rows, s->rows, false) : 0);
    if (!memory_plan("train", need, e)) return false;
    if (!(s->policy = folder_load(c->run.model, &s->info, e)) || !trainer_new(&s->trainer, s->policy, s->rows, s->rows, e)) return false;
    if (c->grpo.beta != 0 && (!(s->reference = folder_load(c->run.model, NULL, e)) || !(s->ref_acts = acts_new(s->reference, s->rows, s->rows, false, e)))) return false;
    if (!generation_new(&s->gen, n_completion / s->group, s->group, c->grpo.max_completion_length, s->n_label, e)) return false;
    s->token_of = malloc((size_t)n_completion * (size_t)c->grpo.max_completion_length * sizeof(int));
    s->completion_of = malloc((size_t)n_completion * (size_t)c->grpo.max_completion_length * sizeof(int));
    if (!s->token_of || !s->completion_of) return fail(e, "no memory");
    grpo_entropy_start(&s->control, &c->grpo);
    const double updates = (double)s->data.n / s->gen.n_prompt * s->per_generation * c->grpo.num_iterations / s->accumulate;
    run_trainer(&s->trainer, &c->run, run_steps(&c->run, updates));
    s->trainer.extra[0] = s->control.coef;
    s->trainer.extra[1] = s->control.last_window_entropy;
    if (!run_begin(&s->run, &table, c, &c->run, &s->trainer, e)) return false;
    s->control = (GrpoEntropyControl){s->trainer.extra[0], s->trainer.extra[1]};
    s->tokens = (int64_t)s->trainer.extra[2];
    s->order = (Order){.n = s->data.n, .seed = (uint64_t)c->run.seed};
    return true;
}

static bool finish(State *s, Err *e) {
    char final[600], hex[65];
    if (s->info.n_stop == 0) s->info.stop[s->info.n_stop++] = s->language.end_of_turn;
    if (!path_join(final, sizeof final, s->c->run.output_dir, "final", e) || !folder_save(final, s->policy, &s->info, s->c->run.model, run_store(&s->c->run), e)) return false;
    folder_digest(s->policy, hex);
    if (s->c->run.json) printf("{\"steps\": %lld, \"reward\": %.6f, \"final\": \"%s\", \"sha256\": \"%s\"}\n", (long long)s->trainer.step, s->gen.stats.reward, final, hex);
    else printf("%s: %lld steps, reward of the last %.4f, weights %.16s\n", final, (long long)s->trainer.step, s->gen.stats.reward, hex);
    return true;
}

int cmd_train(int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.grpo);
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    State *s = calloc(1, sizeof *s);
    if (!s) { fail(e, "no memory"); return -1; }
    s->c = &c;
    const bool ok = open_all(s, e) && loop(s, e) && finish(s, e);
    run_end(&s->run);
    trainer_free(&s->trainer);
    acts_free(s->ref_acts);
    model_free(s->reference);
    model_free(s->policy);
    window_free(&s->window);
    generation_free(&s->gen);
    scorer_close(s->scorer);
    language_free(&s->language);
    free(s->token_of);
    free(s->completion_of);
    free(s);
    return ok ? 0 : -1;
}
