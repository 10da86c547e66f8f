/* step.c: completions, scores, advantages, micro-batches, update: the order of things, shared by `train` and
 * `trace`. */
#include "step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/combine.h"
#include "lib/files.h"
#include "lib/rng.h"
#include "lib/machine.h"

#define AT(member) offsetof(StepConfig, member)
const Setting generation_settings[] = {
    SETTINGS_HEADING("Completions and what is asked of them"),
    {"temperature", SET_NUMBER, AT(sampling.temperature), "1", NULL,
     "of sampling and of every log-probability"},
    {"top_k", SET_INT, AT(sampling.top_k), "0", NULL, "draw from the k most likely tokens; 0: off"},
    {"top_p", SET_NUMBER, AT(sampling.top_p), "1", NULL,
     "draw from the most likely tokens of this mass; 1: off"},
    {"min_p", SET_NUMBER, AT(sampling.min_p), "0", NULL,
     "draw from tokens at least this share as likely as the first; 0: off"},
    {"reward_clip", SET_STRING, AT(reward_clip), NULL, NULL, "LOW,HIGH: scores are cut to it first"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL,
     "this share of the prompts is held out; the run ends with a table of before and after on them"},
    SETTINGS_END};
const Setting step_settings[] = {
    SETTINGS_HEADING("Generations and updates"),
    {"steps_per_generation", SET_INT, AT(steps_per_generation), "0", NULL,
     "micro-batches of a generation; 0: gradient-accumulation-steps"},
    {"generation_batch_size", SET_INT, AT(generation_batch_size), "0", NULL,
     "the same in completions; 0: by steps-per-generation"},
    SETTINGS_HEADING("Lower bounds of mean scores"),
    {"reward_floors", SET_STRING, AT(reward_floors), NULL, NULL,
     "LABEL=SCORE,... (or a number for every label), kept by multipliers that weigh a label more while it "
     "is too low"},
    {"multiplier_learning_rate", SET_NUMBER, AT(multiplier_learning_rate), "0.1", NULL,
     "0.1: a mean that is 0.1 too low for 100 generations comes to weigh as much as the whole reward"},
    {"multiplier_max", SET_NUMBER, AT(multiplier_max), "4", NULL,
     "4: a floor that is out of reach leaves the reward a fifth of the signal"},
    SETTINGS_END};

/* ---- one generation ---------------------------------------------------------------------- */

static bool generation_new(Generation *g, int n_prompt, int group, int max_new, int n_label, Err *e) {
    const size_t n = (size_t)n_prompt * (size_t)group, tokens = n * (size_t)max_new;
    *g = (Generation){.n_prompt = n_prompt, .n_completion = (int)n, .n_label = n_label, .max_new = max_new};
    g->example = memory_new((size_t)n_prompt * sizeof *g->example, "examples", e);
    g->prompt = memory_new((size_t)n_prompt * sizeof *g->prompt, "prompts", e);
    g->out = (Rollout){.id = memory_new(tokens * sizeof(int), "completions", e),
                       .logp = memory_new(tokens * sizeof(real), "completions", e),
                       .length = memory_new(n * sizeof(int), "completions", e),
                       .ended = memory_new(n * sizeof(bool), "completions", e)};
    g->offset = memory_new((n + 1) * sizeof(size_t), "completions", e);
    g->text = memory_new(n * sizeof *g->text, "completions", e);
    g->token = memory_new(tokens * sizeof(int), "completions", e);
    real **list[] = {&g->logp, &g->old, &g->ref, &g->entropy, &g->dlogp, &g->dentropy};
    bool ok = g->example && g->prompt && g->out.id && g->out.logp && g->out.length && g->out.ended &&
              g->offset && g->text && g->token;
    for (int i = 0; i < 6; i++) ok = (*list[i] = memory_new(tokens * sizeof(real), "completions", e)) && ok;
    g->mask = memory_new(tokens, "completions", e);
    g->ended = memory_new(n, "completions", e);
    g->scratch = memory_new(tokens * sizeof(double), "completions", e);
    g->score = memory_new(n * (size_t)n_label * sizeof(real), "scores", e);
    g->reward = memory_new(n * sizeof(real), "rewards", e);
    g->adv = memory_new(n * sizeof(real), "advantages", e);
    g->cost = memory_new(n * (size_t)n_label * sizeof(real), "costs", e);
    return ok && g->mask && g->ended && g->scratch && g->score && g->reward && g->adv && g->cost;
}

static void generation_free(Generation *g) {
    for (int i = 0; g->prompt && i < g->n_prompt; i++) free(g->prompt[i].id);
    for (int i = 0; g->text && i < g->n_completion; i++) free(g->text[i]);
    void *list[] = {g->text,      g->example, g->prompt,   g->out.id, g->out.logp, g->out.length,
                    g->out.ended, g->offset,  g->token,    g->logp,   g->old,      g->ref,
                    g->entropy,   g->dlogp,   g->dentropy, g->mask,   g->ended,    g->scratch,
                    g->score,     g->reward,  g->adv,      g->cost};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) memory_free(list[i]);
}

/* Completions first .. first + n - 1 as a window: each prompt once, then its completions; token_of[target] is
 * the flat place of the token, completion_of its completion. */
static bool build_window(Window *w, const Generation *g, int group, int first, int n, int *token_of,
                         int *completion_of, Err *e) {
    window_clear(w);
    for (int i = first; i < first + n; ) {
        const int p = i / group, end = (p + 1) * group < first + n ? (p + 1) * group : first + n;
        if (!window_group(w, g->prompt[p].id, g->prompt[p].n, g->token, g->offset, i, end - i, token_of,
                          completion_of, e))
            return false;
        i = end;
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

/* ---- completions, scores, advantages ------------------------------------------------------ */

static bool make_up_prompts(Step *s, int64_t generation, Err *e) {
    for (int i = 0; i < s->gen.n_prompt; i++) {
        Ids *p = &s->gen.prompt[i];
        if (!p->id && !(p->id = malloc((size_t)s->synthetic * sizeof(int))))
            return fail(e, "no memory for a prompt of %d tokens", s->synthetic);
        p->n = s->synthetic;
        for (int t = 0; t < p->n; t++)
            p->id[t] = (int)(rng_uniform(0, RNG_SAMPLE, (uint64_t)generation, (uint64_t)i, 0, (uint64_t)t) *
                             s->policy->config.vocab);
    }
    return true;
}

static bool encode_prompts(Step *s, int64_t generation, Err *e) {
    Generation *g = &s->gen;
    if (s->synthetic) return make_up_prompts(s, generation, e);
    for (int i = 0; i < g->n_prompt; i++) {
        const Example *x = g->example[i] = &s->data.row[order_at(&s->order, generation * g->n_prompt + i)];
        g->prompt[i].n = 0;
        if (!encode_prompt(&g->prompt[i], &s->language, x, e)) return false;
    }
    return true;
}

/* The trainer's activations stay while completions are made. */
static void generation_memory(Step *s, const int *prompt_length) {
    const Generation *g = &s->gen;
    const ModelConfig *c = &s->policy->config;
    Cost *p = &s->cost.predicted, *m = &s->cost.measured;
    cost_memory_most(p, MEM_CACHE, cost_cache(c, prompt_length, g->n_prompt, g->n_completion, g->max_new));
    cost_memory_most(p, MEM_ACTIVATIONS,
                     s->planned_acts +
                         (double)rollout_acts_bytes(c, prompt_length, g->n_prompt, g->n_completion));
    cost_memory_most(m, MEM_CACHE, (double)g->out.cache_held);
    cost_memory_most(m, MEM_ACTIVATIONS, s->held_acts + (double)g->out.acts_held);
}

static bool generate(Step *s, int64_t generation, Err *e) {
    Generation *g = &s->gen;
    const int **prompt = malloc((size_t)g->n_prompt * sizeof *prompt);
    int *length = malloc((size_t)g->n_prompt * sizeof(int)), stop[MAX_STOPS + 1], n_stop = 0;
    bool ok = prompt && length && encode_prompts(s, generation, e);
    for (int i = 0; ok && i < g->n_prompt; i++) prompt[i] = g->prompt[i].id, length[i] = g->prompt[i].n;
    for (int i = 0; i < s->info.n_stop; i++) stop[n_stop++] = s->info.stop[i];
    stop[n_stop++] = s->language.end_of_turn;
    if (s->synthetic) n_stop = 0;
    const RolloutPlan plan = {.prompt = prompt, .prompt_length = length, .n_prompt = g->n_prompt,
                              .group_size = s->group, .max_new = g->max_new, .stop = stop, .n_stop = n_stop,
                              .sampling = s->c->sampling, .seed = (uint64_t)s->c->run.seed,
                              .step = (uint64_t)generation};
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
    if (ok) generation_memory(s, length);
    free(prompt);
    free(length);
    return ok;
}

static bool ask_scorer(Step *s, Err *e) {
    Generation *g = &s->gen;
    Reply *reply = calloc((size_t)g->n_completion, sizeof *reply);
    bool ok = reply || fail(e, "no memory for %d replies", g->n_completion);
    for (int i = 0; ok && i < g->n_completion; i++) {
        free(g->text[i]);
        g->text[i] = decode_completion(&s->language, g->token + g->offset[i], g->out.length[i], e);
        reply[i] = (Reply){g->example[i / s->group], g->text[i], g->out.ended[i]};
        ok = g->text[i] != NULL;
    }
    ok = ok && scorer_score(s->scorer, g->score, reply, g->n_completion, e);
    free(reply);
    return ok;
}

static bool score(Step *s, Err *e) {
    Generation *g = &s->gen;
    for (int i = 0; s->synthetic && i < g->n_completion; i++) g->score[i] = (real)(i % 7) / 7;
    if (!s->synthetic && !ask_scorer(s, e)) return false;
    if (s->clip)
        reward_clip(g->score, s->clip_low, s->clip_high, (size_t)g->n_completion, (size_t)g->n_label);
    if (!s->warned_missing && s->c->grpo.missing_labels == MISSING_ZERO)
        for (int i = 0; i < g->n_completion * g->n_label && !s->warned_missing; i++)
            if (isnan(g->score[i])) {
                s->warned_missing = true;
                fprintf(stderr, "grpo: some scores are missing and count 0 in the reward, as in TRL, which "
                                "is not neutral; --missing-labels mean counts the group's mean\n");
            }
    const size_t n = (size_t)g->n_completion, n_label = (size_t)g->n_label, group = (size_t)s->group;
    grpo_score_advantage(g->adv, g->reward, &g->stats, g->score, s->weight, n, n_label, group, &s->c->grpo);
    memcpy(g->multiplier, s->multiplier, sizeof g->multiplier);
    if (s->floors)
        combine_floor_advantage(g->adv, g->cost, s->multiplier, g->reward, g->score, s->floor,
                                s->c->multiplier_learning_rate, s->c->multiplier_max, n, n_label, group,
                                s->c->grpo.std_eps);
    if (s->c->grpo.mask_truncated_completions)
        grpo_mask_truncated(g->mask, g->offset, g->ended, (size_t)g->n_completion);
    g->n_item = 0;
    for (size_t t = 0; t < g->offset[g->n_completion]; t++) g->n_item += g->mask[t];
    return true;
}

static bool reference_logp(Step *s, Err *e) {
    Generation *g = &s->gen;
    if (!s->reference) return true;
    if (!build_window(&s->window, g, s->group, 0, g->n_completion, s->token_of, s->completion_of, e))
        return false;
    real *logp = malloc((size_t)s->window.n_target * sizeof(real));
    const bool ok = logp ? window_logp(logp, NULL, s->trainer.acts, s->rows, s->rows, s->reference,
                                       &s->window, s->c->sampling.temperature, e)
                         : fail(e, "no memory");
    for (int i = 0; ok && i < s->window.n_target; i++) g->ref[s->token_of[i]] = logp[i];
    free(logp);
    return ok;
}

bool step_generation(Step *s, int64_t generation, Err *e) {
    if (!generate(s, generation, e) || !score(s, e) || !reference_logp(s, e)) return false;
    for (int i = 0; i < s->gen.n_prompt; i++) s->tokens += s->gen.prompt[i].n * s->group;
    s->tokens += (int64_t)s->gen.offset[s->gen.n_completion];
    for (int i = 0; i < s->gen.n_prompt; i++) s->cost.measured.prompt += s->gen.prompt[i].n;
    s->cost.measured.completion += (double)s->gen.offset[s->gen.n_completion];
    const Texts drawn = step_texts(s, 0, s->gen.n_completion);
    if (!s->c->critic) cost_grpo(&s->cost.predicted, &s->net, &drawn, &(Texts){0}, 0);
    return true;
}

/* ---- one micro-batch --------------------------------------------------------------------- */

GrpoIn step_input(const Step *s, int first, int n) {
    const Generation *g = &s->gen;
    const GrpoIn all = {.n_completion = (size_t)g->n_completion, .offset = g->offset, .logp = g->logp,
                        .old = g->old, .ref = s->reference ? g->ref : NULL, .mask = g->mask,
                        .entropy = g->entropy, .advantage = g->adv};
    return grpo_slice(&all, (size_t)first, (size_t)n);
}

/* From the values of one slice to their derivatives: E99 to E115, in grpo.c. */
static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Step *s = to;
    Generation *g = &s->gen;
    int low = s->gen.n_completion, high = -1;
    for (int i = 0; i < n; i++) {
        const int t = s->token_of[first + i], c = s->completion_of[first + i];
        g->logp[t] = logp[i];
        g->entropy[t] = entropy[i];
        low = c < low ? c : low;
        high = c > high ? c : high;
    }
    const GrpoIn in = step_input(s, low, high - low + 1);
    grpo_loss(&s->sums, g->dlogp, dentropy ? g->dentropy : NULL, &in, &s->c->grpo, &s->grpo_window,
              &s->micro);
    for (int i = 0; i < n; i++) {
        dlogp[i] = g->dlogp[s->token_of[first + i]];
        if (dentropy) dentropy[i] = g->dentropy[s->token_of[first + i]];
    }
}

/* E109's threshold needs the entropies of the whole micro-batch before any loss. */
static bool entropies_first(Step *s, Err *e) {
    if (s->c->grpo.top_entropy_quantile >= 1) return true;
    real *value = malloc((size_t)s->window.n_target * 2 * sizeof(real));
    const bool ok = value ? window_logp(value, value + s->window.n_target, s->trainer.acts, s->rows, s->rows,
                                        s->policy, &s->window, s->c->sampling.temperature, e)
                          : fail(e, "no memory");
    for (int i = 0; ok && i < s->window.n_target; i++)
        s->gen.entropy[s->token_of[i]] = value[s->window.n_target + i];
    free(value);
    return ok;
}

int step_micro_batches(const Step *s) { return s->per_generation * s->c->grpo.num_iterations; }
int64_t step_first_generation(const Step *s) {
    return s->trainer.step * s->accumulate / step_micro_batches(s);
}
int step_first_completion(const Step *s, int i) { return i % s->per_generation * s->batch; }

bool step_micro_batch(Step *s, int i, Err *e) {
    const GrpoConfig *c = &s->c->grpo;
    const int first = step_first_completion(s, i);
    if (!build_window(&s->window, &s->gen, s->group, first, s->batch, s->token_of, s->completion_of, e) ||
        !entropies_first(s, e))
        return false;
    const GrpoIn in = step_input(s, first, s->batch);
    s->grpo_window = (GrpoWindow){.n_item = s->gen.n_item, .n_process = 1,
                                  .gradient_accumulation_steps = s->accumulate,
                                  .steps_per_generation = s->per_generation, .training = true,
                                  .entropy_coef = grpo_entropy_coef(&s->control, c)};
    grpo_micro(&s->micro, &in, c, s->gen.scratch);
    grpo_sums_start(&s->sums);
    if (!trainer_accumulate(&s->trainer, &s->window, s->c->sampling.temperature, derive, s,
                            s->grpo_window.entropy_coef != 0, e))
        return false;
    const Texts trained = step_texts(s, first, s->batch);
    cost_grpo(&s->cost.predicted, &s->net, &(Texts){0}, &trained, c->top_entropy_quantile < 1);
    const double loss = grpo_loss_value(&s->sums, &s->grpo_window, &s->micro);
    if (!isfinite(loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied", (long long)s->trainer.step + 1,
                    loss);
    GrpoMetrics m;
    grpo_metrics(&m, &s->sums, c, &s->grpo_window);
    for (int i = 0; grpo_metric_names[i] && i < 9; i++)
        if (!isnan(grpo_metric(&m, i + 1))) s->metric[i] += grpo_metric(&m, i + 1), s->n_metric[i]++;
    s->loss += loss;
    s->entropy_sum += s->sums.entropy;
    s->entropy_tokens += s->sums.n_token;
    s->n_micro++;
    return true;
}

/* ---- the update --------------------------------------------------------------------------- */

bool step_update(Step *s, Err *e) {
    Trainer *t = &s->trainer;
    if (!trainer_update(t, e)) return false;
    grpo_entropy_step(&s->control, &s->c->grpo, s->entropy_sum, s->entropy_tokens);
    t->extra[0] = s->control.coef;
    t->extra[1] = s->control.last_window_entropy;
    t->extra[2] = (double)s->tokens;
    return true;
}

void step_clear(Step *s) {
    s->loss = s->entropy_sum = s->entropy_tokens = 0;
    s->n_micro = 0;
    memset(s->metric, 0, sizeof s->metric);
    memset(s->n_metric, 0, sizeof s->n_metric);
}

/* ---- opening ------------------------------------------------------------------------------ */

static bool parse_clip(Step *s, Err *e) {
    double low, high;
    if (!s->c->reward_clip) return true;
    if (!parse_range(&low, &high, s->c->reward_clip, "--reward-clip", e)) return false;
    for (int k = 0; k < s->n_label; k++) s->clip_low[k] = low, s->clip_high[k] = high;
    return s->clip = true;
}

/* E70 adds z-scores within a group to that of the weighted reward. */
static bool floors_check(const StepConfig *c, Err *e) {
    const GrpoConfig *g = &c->grpo;
    if (!c->reward_floors)
        return (c->multiplier_learning_rate == 0.1 && c->multiplier_max == 4) || /* the table's defaults */
               fail(e, "--multiplier-learning-rate, --multiplier-max: have no effect without "
                       "--reward-floors; add it, or leave them out");
    if (g->multi_objective_aggregation != SUM_THEN_NORMALIZE)
        return fail(e,
                    "--reward-floors with --multi-objective-aggregation %s: expected sum_then_normalize: a "
                    "floor stands beside the weighted reward (E70)",
                    multi_objective_aggregation_names[g->multi_objective_aggregation]);
    if (g->scale_rewards != SCALE_GROUP)
        return fail(e,
                    "--reward-floors with --scale-rewards %s: expected group: a multiplier weighs z-scores "
                    "of a group (E70)",
                    scale_rewards_names[g->scale_rewards]);
    if (!(c->multiplier_learning_rate > 0 && isfinite(c->multiplier_learning_rate)))
        return fail(e, "--multiplier-learning-rate: found %g, expected a number above 0",
                    c->multiplier_learning_rate);
    return (c->multiplier_max > 0 && isfinite(c->multiplier_max)) ||
           fail(e, "--multiplier-max: found %g, expected a number above 0", c->multiplier_max);
}

static bool open_floors(Step *s, Err *e) {
    const char *text = s->c->reward_floors;
    if (!text) return true;
    if (!parse_floors(s->floor, text, s->label, s->n_label, "--reward-floors", e)) return false;
    for (int k = 0; s->clip && k < s->n_label; k++)
        if (s->floor[k] > s->clip_high[k])
            return fail(e,
                        "--reward-floors: %s=%g is above the upper end of --reward-clip, %g: no mean can "
                        "reach it",
                        s->label[k], s->floor[k], s->clip_high[k]);
    return s->floors = true;
}

static bool sizes(Step *s, Err *e) {
    const StepConfig *c = s->c;
    s->group = c->grpo.num_generations;
    s->batch = c->run.per_device_train_batch_size;
    s->accumulate = c->run.gradient_accumulation_steps;
    s->per_generation = c->steps_per_generation ? c->steps_per_generation : s->accumulate;
    if (c->generation_batch_size) {
        if (c->generation_batch_size < 0 || c->generation_batch_size % s->batch ||
            (c->steps_per_generation && c->steps_per_generation != c->generation_batch_size / s->batch))
            return fail(e,
                        "--generation-batch-size %d: expected per-device-train-batch-size %d times "
                        "steps-per-generation%s; give one of them",
                        c->generation_batch_size, s->batch, c->steps_per_generation ? " as given" : "");
        s->per_generation = c->generation_batch_size / s->batch;
    }
    if (c->steps_per_generation < 0)
        return fail(e,
                    "--steps-per-generation: found %d, expected at least 1, or 0 for "
                    "gradient-accumulation-steps",
                    c->steps_per_generation);
    if ((double)s->batch * s->per_generation * c->grpo.max_completion_length > 1e9)
        return fail(e,
                    "--per-device-train-batch-size %d, --steps-per-generation %d, --max-completion-length "
                    "%d: more than 1e9 tokens a generation; lower them",
                    s->batch, s->per_generation, c->grpo.max_completion_length);
    if (s->group < (c->critic ? 1 : 2))
        return fail(e, "--num-generations: found %d, expected at least 2: an advantage compares completions",
                    s->group);
    if ((s->batch * s->per_generation) % s->group)
        return fail(e,
                    "--num-generations %d does not divide the %d completions of a generation "
                    "(per-device-train-batch-size %d times steps-per-generation %d)",
                    s->group, s->batch * s->per_generation, s->batch, s->per_generation);
    if ((s->per_generation * c->grpo.num_iterations) % s->accumulate &&
        s->accumulate % (s->per_generation * c->grpo.num_iterations))
        return fail(e,
                    "--gradient-accumulation-steps %d and the %d micro-batches of a generation: expected one "
                    "to divide the other",
                    s->accumulate, s->per_generation * c->grpo.num_iterations);
    return c->sampling.temperature > 0 || fail(e,
                                               "--temperature: found %g, expected more than 0: greedy "
                                               "completions of one prompt are all equal",
                                               c->sampling.temperature);
}

static bool open_data(Step *s, Err *e) {
    const StepConfig *c = s->c;
    if (!language_load(&s->language, c->run.model, c->run.chat_template, e) ||
        !dataset_load(&s->data, c->run.dataset, NEED_PROMPT, c->run.system, e))
        return false;
    if (c->eval_split != 0 && !dataset_hold_out(&s->data, &s->held, c->eval_split, (uint64_t)c->run.seed, e))
        return false;
    s->order = (Order){.n = s->data.n, .seed = (uint64_t)c->run.seed};
    return true;
}

/* Every prompt must leave room for its completions, before anything is computed. */
static bool longest_prompt(Step *s, int context, Err *e) {
    const Dataset *const part[] = {&s->data, &s->held};
    const int max_new = s->c->grpo.max_completion_length;
    Ids ids = {0};
    bool ok = true;
    s->longest = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; ok && i < part[k]->n; i++) {
            ids.n = 0;
            ok = encode_prompt(&ids, &s->language, &part[k]->row[i], e) &&
                 (ids.n + max_new <= context ||
                  fail(e,
                       "%s:%d: prompt of %d tokens and --max-completion-length %d exceed the context of %d; "
                       "shorten one of them",
                       part[k]->path, part[k]->row[i].line, ids.n, max_new, context));
            s->longest = ids.n > s->longest ? ids.n : s->longest;
            if (k == 0) texts_prompt(&s->prompts, ids.n);
        }
    free(ids.id);
    return ok;
}

static bool has_reference(const StepConfig *c) { return c->grpo.beta != 0 || c->critic; }
/* A reference of its own: with adapters it is the policy without them (E293). */
static bool has_copy(const StepConfig *c) { return has_reference(c) && !c->run.adapter.use_peft; }

/* Rows computed at once: --slice-rows, or what a generation has if that is less; but a group is never cut: a
 * slice holds the longest prompt with all its completions. */
static double tree_rows(const Step *s) {
    return s->longest + (double)s->group * s->c->grpo.max_completion_length;
}
static int rows_at_once(const Step *s) {
    const double tree = tree_rows(s), all = s->batch * s->per_generation / s->group * tree;
    return (int)fmax(tree, fmin(all, s->c->run.slice_rows));
}

/* What all will take, told before anything of it is taken. */
static bool plan(Step *s, const ModelConfig *shape, Err *e) {
    const StepConfig *c = s->c;
    const int n_completion = s->batch * s->per_generation, max_new = c->grpo.max_completion_length;
    double scorer;
    if (s->synthetic) s->longest = s->synthetic;
    else if (!longest_prompt(s, shape->context, e)) return false;
    if (tree_rows(s) > 1e9)
        return fail(e,
                    "--num-generations %d times --max-completion-length %d: more than 1e9 tokens to one "
                    "prompt; lower them",
                    s->group, max_new);
    s->rows = rows_at_once(s);
    if (s->rows > c->run.slice_rows && !s->synthetic)
        fprintf(stderr,
                "grpo: slices of %d rows, more than --slice-rows %d: a prompt (%d tokens at most) and its %d "
                "completions (%d each) stay together\n",
                s->rows, c->run.slice_rows, s->longest, s->group, max_new);
    if (!scorer_bytes(&scorer, c->scorer.folders, c->run.slice_rows, e)) return false;
    const double tokens = (double)n_completion * max_new;
    double need = (double)trainer_bytes(shape, s->rows, s->rows) + scorer +
                  tokens * (9 * sizeof(real) + 4 * sizeof(int) + sizeof(double));
    need += (double)rollout_bytes(shape, s->longest, n_completion / s->group, s->group, max_new);
    if (has_copy(c)) need += (double)model_bytes(shape);
    s->memory = need + PROGRAM_BYTES;
    return memory_plan(s->synthetic || c->run.plan ? NULL : "grpo", s->memory, e);
}

static bool open_scorer(Step *s, Err *e) {
    const StepConfig *c = s->c;
    if (!(s->scorer = scorer_open(&c->scorer, c->run.slice_rows, e)))
        return false;
    s->n_label = scorer_n_label(s->scorer);
    s->label = scorer_labels(s->scorer);
    return parse_weights(s->weight, c->scorer.weights, s->label, s->n_label, "--reward-weights", e) &&
           parse_clip(s, e) && open_floors(s, e);
}

static bool open_shape(ModelConfig *shape, Step *s, Err *e) {
    const StepConfig *c = s->c;
    if (!folder_config(shape, &s->info, c->run.model, e)) return false;
    if (shape->n_label) return fail(e, "%s: is a reward model; expected a language model", c->run.model);
    shape->checkpointing = c->run.gradient_checkpointing;
    if (!run_adapter(shape, &s->info, &c->run.adapter, c->run.model, e)) return false;
    return c->grpo.max_completion_length + s->synthetic < shape->context ||
           fail(e, "--max-completion-length %d: the context of %s holds %d tokens, prompt included; lower it",
                c->grpo.max_completion_length, c->run.model, shape->context);
}

static void describe_networks(Step *s, const ModelConfig *shape) {
    s->net = (Networks){.policy = *shape, .reference = *shape, .has_reference = has_reference(s->c),
                        .logits_anew = !acts_keep_logits(shape, s->rows)};
    if (s->c->run.adapter.use_peft) s->net.reference.lora.r = 0;       /* E293 */
}

/* From here on the networks count what they do. */
static void watch(Step *s, const ModelConfig *shape) {
    describe_networks(s, shape);
    s->policy->tally = &s->cost.measured.net[NET_POLICY];
    s->base.tally = &s->cost.measured.net[NET_REFERENCE];
    if (s->copy) s->copy->tally = s->base.tally;
    if (s->scorer) scorer_count(s->scorer, &s->cost);
    s->trainer.counts = (double *)&s->cost;
    s->trainer.n_counts = sizeof s->cost / sizeof(double);
    s->trainer.multipliers = s->floors ? s->multiplier : NULL;
    s->trainer.n_multipliers = (size_t)s->n_label;
}

/* In this order, so that what fails fails early: sizes, memory, the program that scores, networks. */
static bool open_model(Step *s, Err *e) {
    const StepConfig *c = s->c;
    ModelConfig shape;
    if (!open_shape(&shape, s, e) || !plan(s, &shape, e) || (!s->synthetic && !open_scorer(s, e)))
        return false;
    const int n_completion = s->batch * s->per_generation;
    if (!(s->policy = folder_load_as(c->run.model, &shape, (uint64_t)c->run.seed, e)) ||
        !trainer_new(&s->trainer, s->policy, s->rows, s->rows, e))
        return false;
    if (has_copy(c) && !(s->copy = folder_load_as(c->run.model, &shape, 0, e))) return false;
    s->base = model_base(s->policy);
    s->reference = s->copy ? s->copy : has_reference(c) ? &s->base : NULL;
    watch(s, &shape);
    if (!generation_new(&s->gen, n_completion / s->group, s->group, c->grpo.max_completion_length, s->n_label,
                        e))
        return false;
    s->token_of = malloc((size_t)n_completion * (size_t)c->grpo.max_completion_length * sizeof(int));
    s->completion_of = malloc((size_t)n_completion * (size_t)c->grpo.max_completion_length * sizeof(int));
    if (!s->token_of || !s->completion_of) return fail(e, "no memory");
    grpo_entropy_start(&s->control, &c->grpo);
    const double updates =
        (double)s->data.n / s->gen.n_prompt * s->per_generation * c->grpo.num_iterations / s->accumulate;
    run_trainer(&s->trainer, &c->run, run_steps(&c->run, updates));
    s->trainer.extra[0] = s->control.coef;
    s->trainer.extra[1] = s->control.last_window_entropy;
    return true;
}

bool step_open(Step *s, const StepConfig *c, Err *e) {
    *s = (Step){.c = c};
    return (c->critic || (grpo_config_check(&c->grpo, e) && floors_check(c, e))) &&
           sampling_check(&c->sampling, e) && sizes(s, e) && open_data(s, e) && open_model(s, e);
}

bool step_open_synthetic(Step *s, const StepConfig *c, int prompt_length, Err *e) {
    *s = (Step){.c = c, .synthetic = prompt_length, .n_label = 1, .weight = {1}};
    return grpo_config_check(&c->grpo, e) && sampling_check(&c->sampling, e) && sizes(s, e) &&
           open_model(s, e);
}

/* ---- what a run will take ------------------------------------------------------------------ */

Texts step_planned_drawn(const Step *s, double length) {
    const int n = s->batch * s->per_generation, n_prompt = n / s->group;
    Texts t = {0}, one = {0};
    texts_add(&t, &s->prompts, (double)n_prompt / s->data.n);
    /* linear in the prompt's length: the mean will do */
    texts_completion(&one, s->prompts.prompt / s->data.n, length);
    texts_add(&t, &one, n);
    return t;
}

/* A micro-batch that begins or ends within a group runs its prompt again. */
Texts step_planned_pass(const Step *s, double length) {
    const int n_prompt = s->batch * s->per_generation / s->group;
    int trees = 0;
    for (int first = 0; first < s->batch * s->per_generation; first += s->batch)
        trees += (first + s->batch - 1) / s->group - first / s->group + 1;
    Texts t = step_planned_drawn(s, length);
    texts_add(&t, &s->prompts, (double)(trees - n_prompt) / s->data.n);
    return t;
}

bool step_planned_rest(Cost *c, const Step *s, double length, double read, Err *e) {
    const StepConfig *o = s->c;
    const int n = s->batch * s->per_generation, n_prompt = n / s->group,
              max_new = o->grpo.max_completion_length;
    const double prompt = s->prompts.prompt / s->data.n;
    const int rows = rows_at_once(s);
    int *lengths = malloc((size_t)n_prompt * sizeof(int));
    if (!lengths) return fail(e, "no memory for %d prompts", n_prompt);
    for (int i = 0; i < n_prompt; i++) lengths[i] = s->longest;
    cost_trainer(c, &s->net.policy, rows, rows);
    c->memory[MEM_ACTIVATIONS] += (double)rollout_acts_bytes(&s->net.policy, lengths, n_prompt, n);
    cost_memory_most(c, MEM_CACHE, cost_cache(&s->net.policy, lengths, n_prompt, n, max_new));
    if (has_copy(o)) cost_memory_most(c, MEM_REFERENCE, (double)model_bytes(&s->net.reference));
    free(lengths);
    Texts replies = {0}, reply = {0};
    texts_add(&replies, &s->prompts, read * n_prompt / s->data.n);
    replies.scored = 0;
    texts_reply(&reply, prompt, length);
    texts_add(&replies, &reply, read * n);
    const char *at = o->scorer.folders;
    char dir[1024];
    ModelConfig reward;
    while (at && next_folder(dir, &at)) {
        if (!folder_config(&reward, NULL, dir, e)) return false;
        cost_scoring(c, &reward, &replies);
        c->memory[MEM_REWARD] += cost_asked(&reward, o->run.slice_rows, n);
    }
    return true;
}

/* Operations of one generation and all updates on it, without scores. */
static double cycle_flops(const Step *s, double length) {
    Cost c = {.prompt = 0};
    const Texts drawn = step_planned_drawn(s, length), pass = step_planned_pass(s, length);
    Texts trained = {0};
    texts_add(&trained, &pass, s->c->grpo.num_iterations);
    cost_grpo(&c, &s->net, &drawn, &trained, s->c->grpo.top_entropy_quantile < 1);
    return cost_flops(&c);
}

/* Seconds of a whole generation like the run's, but with completions of `length` made-up tokens; *rate:
 * operations per second of a forward pass over its last micro-batch. */
static bool timed_cycle(double *seconds, double *rate, const StepConfig *like, int prompt, int length,
                        Err *e) {
    StepConfig c = *like;
    Step s;
    c.grpo.max_completion_length = length;
    bool ok = step_open_synthetic(&s, &c, prompt, e);
    for (int i = 0; ok && i < 2; i++) {         /* the first warms up */
        const double start = clock_seconds();
        ok = step_generation(&s, i, e);
        for (int k = 0; ok && k < step_micro_batches(&s); k++) {
            ok = step_micro_batch(&s, k, e) && (s.n_micro < s.accumulate || step_update(&s, e));
            if (s.n_micro == s.accumulate) step_clear(&s);
        }
        *seconds = clock_seconds() - start;
    }
    real *logp = ok ? malloc((size_t)s.window.n_target * sizeof(real)) : NULL;
    if (ok && (ok = logp || fail(e, "no memory"))) {
        const double start = clock_seconds(), before = s.policy->tally->forward.flop;
        ok = window_logp(logp, NULL, s.trainer.acts, s.rows, s.rows, s.policy, &s.window, 1, e);
        *rate = (s.policy->tally->forward.flop - before) / (clock_seconds() - start);
    }
    free(logp);
    step_close(&s);
    return ok;
}

bool step_plan(RunPlan *p, const StepConfig *c, Err *e) {
    enum { SHORT = 8, LONG = 32 };
    Step s = {.c = c};
    ModelConfig shape;
    const int full = c->grpo.max_completion_length, b = full < LONG ? full : LONG, a = b > SHORT ? SHORT : b;
    bool ok = grpo_config_check(&c->grpo, e) && floors_check(c, e) && sampling_check(&c->sampling, e) &&
              sizes(&s, e) && open_data(&s, e) && open_shape(&shape, &s, e) && plan(&s, &shape, e);
    if (ok) describe_networks(&s, &shape);
    const int prompt = ok ? (int)(s.prompts.prompt / s.data.n + 0.5) : 1;
    const double mean = p->mean_length > 0 ? p->mean_length : full;
    double short_seconds = 0, long_seconds = 0, rate = 1;
    Cost once = {.prompt = 0};
    StepConfig measured = *c;
    measured.run.max_steps = 1;
    measured.eval_split = 0;
    ok = ok && (a == b || timed_cycle(&short_seconds, &rate, &measured, prompt, a, e)) &&
         timed_cycle(&long_seconds, &rate, &measured, prompt, b, e) &&
         step_planned_rest(&once, &s, mean, 1, e);
    if (ok) {
        double cycle = long_seconds + cost_flops(&once) / rate;
        /* what grows, grows with the operations: from a to b measured, from there on counted */
        if (full > b)
            cycle += (long_seconds - short_seconds) * (cycle_flops(&s, mean) - cycle_flops(&s, b)) /
                     (cycle_flops(&s, b) - cycle_flops(&s, a));
        const double per_update = (double)step_micro_batches(&s) / s.accumulate;
        const int n_completion = s.batch * s.per_generation;
        *p = (RunPlan){.mean_length = p->mean_length, .length = mean, .memory = s.memory,
                       .step_seconds = cycle / per_update,
                       .n_step = run_steps(&c->run, (double)s.data.n * s.group / n_completion * per_update),
                       .how = c->scorer.program
                                  ? "short steps were timed on this machine, the rest is counted (E194); "
                                    "without the time of --reward-cmd"
                                  : "short steps were timed on this machine, the rest is counted (E194)"};
        const double passes = (double)p->n_step * s.accumulate / s.per_generation,
                     generations = ceil(passes / c->grpo.num_iterations);
        const Texts one = step_planned_drawn(&s, mean), pass = step_planned_pass(&s, mean);
        Texts drawn = {0}, trained = {0};
        texts_add(&drawn, &one, generations);
        texts_add(&trained, &pass, passes);
        cost_grpo(&p->cost, &s.net, &drawn, &trained, c->grpo.top_entropy_quantile < 1);
        ok = step_planned_rest(&p->cost, &s, mean, generations, e);
    }
    step_close(&s);
    return ok;
}

void step_resume(Step *s) {
    s->control = (GrpoEntropyControl){s->trainer.extra[0], s->trainer.extra[1]};
    s->tokens = (int64_t)s->trainer.extra[2];
    Cost planned = {.memory = {0}}, held = planned;
    cost_trainer(&planned, &s->policy->config, s->rows, s->rows);
    cost_trainer_held(&held, &s->trainer);
    for (int k = 0; k < N_MEM; k++)
        cost_memory_most(&s->cost.predicted, (MemoryKind)k, planned.memory[k]),
            cost_memory_most(&s->cost.measured, (MemoryKind)k, held.memory[k]);
    s->planned_acts = planned.memory[MEM_ACTIVATIONS];
    s->held_acts = held.memory[MEM_ACTIVATIONS];
    if (!s->copy) return;
    cost_memory_most(&s->cost.predicted, MEM_REFERENCE, (double)model_bytes(&s->net.reference));
    cost_memory_most(&s->cost.measured, MEM_REFERENCE, (double)s->copy->held);
}

void step_close(Step *s) {
    trainer_free(&s->trainer);
    model_free(s->copy);
    model_free(s->policy);
    window_free(&s->window);
    generation_free(&s->gen);
    scorer_close(s->scorer);
    language_free(&s->language);
    free(s->token_of);
    free(s->completion_of);
    free(s->order.order);
}
