/* step_open.c: what stands before a step of GRPO: its options, sizes, data, memory, networks, and the plan of
 * a run. */
#include "cmd/step_open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/machine.h"
#include "text/fit.h"
#include "text/overlap.h"

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
    {"eval_dataset", SET_STRING, AT(eval_dataset), NULL, NULL, "held-out prompts, for the same table"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL,
     "this share of the prompts is held out; the run ends with a table of before and after on them, and with "
     "a page of it, report.html"},
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

/* ---- checks ---- */

static bool parse_clip(Step *s, Err *e) {
    double low, high;
    if (!s->c->reward_clip) return true;
    if (!parse_range(&low, &high, s->c->reward_clip, "--reward-clip", e)) return false;
    for (int k = 0; k < s->rewards.n_label; k++) s->rewards.clip_low[k] = low, s->rewards.clip_high[k] = high;
    return s->rewards.clip = true;
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
    if (!parse_floors(s->rewards.floor, text, s->rewards.label, s->rewards.n_label, "--reward-floors", e))
        return false;
    for (int k = 0; s->rewards.clip && k < s->rewards.n_label; k++)
        if (s->rewards.floor[k] > s->rewards.clip_high[k])
            return fail(e,
                        "--reward-floors: %s=%g is above the upper end of --reward-clip, %g: no mean can "
                        "reach it",
                        s->rewards.label[k], s->rewards.floor[k], s->rewards.clip_high[k]);
    return s->rewards.floors = true;
}

static bool step_sizes(Step *s, Err *e) {
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

/* ---- opening ---- */

static bool open_prompts(Step *s, Err *e) {
    const RunOptions *o = &s->c->run;
    Prompts *p = &s->prompts;
    const Language *l = &s->learner.language;
    const int most = s->learner.shape.context - s->c->grpo.max_completion_length;
    if (!dataset_load(&p->train, o->dataset, NEED_PROMPT, o->system, e) ||
        (o->drop_long && !fit_drop_long(&p->train, l, most, "grpo", e)))
        return false;
    if (s->c->eval_dataset && s->c->eval_split != 0)
        return fail(e, "--eval-dataset and --eval-split %g: both hold data out; give one of them",
                    s->c->eval_split);
    if (s->c->eval_dataset ? !dataset_load(&p->held, s->c->eval_dataset, NEED_PROMPT, o->system, e) ||
                                 (o->drop_long && !fit_drop_long(&p->held, l, most, "grpo", e))
                           : s->c->eval_split != 0 && !dataset_hold_out(&p->train, &p->held, s->c->eval_split,
                                                                        (uint64_t)o->seed, e))
        return false;
    if (!o->plan) overlap_tell("grpo", &p->train, &p->held);
    return order_new(&p->order, p->train.n, (uint64_t)o->seed, e);
}

/* Every prompt must leave room for its completions, before anything is computed. */
static bool longest_prompt(Step *s, Err *e) {
    const Dataset *const part[] = {&s->prompts.train, &s->prompts.held};
    const int max_new = s->c->grpo.max_completion_length;
    Ids ids = {0};
    bool ok = true;
    s->prompts.longest = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; ok && i < part[k]->n; i++) {
            ok = fit_prompt(&ids, &s->learner.language, &part[k]->row[i], max_new, e) ||
                 fail_also(e, ", or leave such rows out with --drop-long");
            s->prompts.longest = ids.n > s->prompts.longest ? ids.n : s->prompts.longest;
            if (k == 0) texts_prompt(&s->prompts.lengths, ids.n);
        }
    free(ids.id);
    return ok;
}

static bool has_reference(const StepConfig *c) { return c->grpo.beta != 0 || c->critic; }

/* Rows computed at once: --slice-rows, or what a generation has if that is less; but a group is never cut: a
 * slice holds the longest prompt with all its completions. */
static double tree_rows(const Step *s) {
    return s->prompts.longest + (double)s->group * s->c->grpo.max_completion_length;
}
static int rows_at_once(const Step *s) {
    const double tree = tree_rows(s), all = s->batch * s->per_generation / s->group * tree;
    return (int)fmax(tree, fmin(all, s->c->run.slice_rows));
}

/* What all will take, told before anything of it is taken. */
static bool plan_memory(Step *s, Err *e) {
    const StepConfig *c = s->c;
    Learner *l = &s->learner;
    const int n_completion = s->batch * s->per_generation, max_new = c->grpo.max_completion_length;
    double scorer;
    if (s->prompts.synthetic) s->prompts.longest = s->prompts.synthetic;
    else if (!longest_prompt(s, e)) return false;
    if (tree_rows(s) > 1e9)
        return fail(e,
                    "--num-generations %d times --max-completion-length %d: more than 1e9 tokens to one "
                    "prompt; lower them",
                    s->group, max_new);
    l->rows = rows_at_once(s);
    if (l->rows > c->run.slice_rows && !s->prompts.synthetic)
        fprintf(stderr,
                "grpo: slices of %d rows, more than --slice-rows %d: a prompt (%d tokens at most) and its %d "
                "completions (%d each) stay together\n",
                l->rows, c->run.slice_rows, s->prompts.longest, s->group, max_new);
    if (!scorer_bytes(&scorer, c->scorer.folders, c->run.slice_rows, e)) return false;
    if (c->learns) scorer = scorer_learner_bytes(c->learns, c->run.slice_rows);
    const int n_prompt = n_completion / s->group;
    const double need =
        learner_bytes(l, &c->run, has_reference(c)) + scorer +
        generation_bytes(n_prompt, s->group, max_new, s->rewards.n_label ? s->rewards.n_label : 1) +
        (double)rollout_bytes(&l->shape, s->prompts.longest, n_prompt, s->group, max_new);
    return run_memory(&c->run, s->prompts.synthetic ? NULL : "grpo", need, e);
}

static bool open_scorer(Step *s, Err *e) {
    const StepConfig *c = s->c;
    Rewards *r = &s->rewards;
    r->scorer = c->learns ? scorer_open_learner(c->learns, c->run.slice_rows, e)
                          : scorer_open(&c->scorer, c->run.slice_rows, &s->prompts.train, e);
    if (!r->scorer || !scorer_check(r->scorer, &s->prompts.train, false, NULL, e) ||
        (s->prompts.held.n && !scorer_check(r->scorer, &s->prompts.held, false, NULL, e)))
        return false;
    r->n_label = scorer_n_label(r->scorer);
    r->label = scorer_labels(r->scorer);
    if (!grpo_weighs(&c->grpo) && (r->n_label < 2 || c->scorer.weights))
        return fail(e, "--multi-objective-aggregation %s: %s",
                    multi_objective_aggregation_names[c->grpo.multi_objective_aggregation],
                    r->n_label < 2 ? "found one label, expected two or more, to find the worst among"
                                   : "the labels have no weights: leave --reward-weights out");
    return parse_weights(r->weight, c->scorer.weights, r->label, r->n_label, "--reward-weights", e) &&
           parse_clip(s, e) && open_floors(s, e);
}

static bool open_shape(Step *s, Err *e) {
    const StepConfig *c = s->c;
    const ModelConfig *shape = &s->learner.shape;
    if (!learner_shape(&s->learner, &c->run, true, e)) return false;
    return c->grpo.max_completion_length + s->prompts.synthetic < shape->context ||
           fail(e, "--max-completion-length %d: the context of %s holds %d tokens, prompt included; lower it",
                c->grpo.max_completion_length, c->run.model, shape->context);
}

Networks step_networks(const Step *s) {
    return learner_networks(&s->learner, &s->c->run, has_reference(s->c));
}

void step_count(Step *s, Costs *c) {
    Learner *l = &s->learner;
    l->model->tally = &c->measured.net[NET_POLICY];
    l->base.tally = &c->measured.net[NET_REFERENCE];
    if (l->copy) l->copy->tally = l->base.tally;
    if (s->rewards.scorer) scorer_count(s->rewards.scorer, c);
}

/* In this order, so that what fails fails early: memory, the program that scores, networks. */
static bool open_networks(Step *s, Err *e) {
    const StepConfig *c = s->c;
    Learner *l = &s->learner;
    const int n_completion = s->batch * s->per_generation, max_new = c->grpo.max_completion_length;
    if (!plan_memory(s, e) || (!s->prompts.synthetic && !c->unscored && !open_scorer(s, e)) ||
        !learner_load(l, &c->run, has_reference(c), e) ||
        !generation_new(&s->gen, n_completion / s->group, s->group, max_new, s->rewards.n_label, e))
        return false;
    step_count(s, s->cost);
    Cost planned = {.prompt = 0}, held = planned;
    cost_trainer(&planned, &l->shape, l->rows, l->rows);
    cost_trainer_held(&held, &l->trainer);
    s->acts_planned = planned.memory[MEM_ACTIVATIONS], s->acts_held = held.memory[MEM_ACTIVATIONS];
    const size_t n_target = (size_t)n_completion * ((size_t)max_new + 1);       /* last rows too */
    if (!(s->micro.token_of = memory_new(2 * n_target * sizeof(int), "targets", e))) return false;
    s->micro.completion_of = s->micro.token_of + n_target;
    grpo_entropy_start(&s->control, &c->grpo);
    const double updates =
        (double)s->prompts.train.n / s->gen.n_prompt * step_micro_batches(s) / s->accumulate;
    run_trainer(&l->trainer, &c->run, run_steps(&c->run, updates));
    return true;
}

static bool settings_check(const StepConfig *c, Err *e) {
    return (c->critic || (grpo_config_check(&c->grpo, e) && floors_check(c, e) &&
                           watch_check(&c->watch, c->eval_dataset || c->eval_split != 0, e))) &&
           sampling_check(&c->sampling, e);
}

bool step_open(Step *s, const StepConfig *c, Costs *cost, Err *e) {
    *s = (Step){.c = c, .cost = cost};
    return settings_check(c, e) && step_sizes(s, e) && open_shape(s, e) && open_prompts(s, e) &&
           open_networks(s, e);
}

bool step_open_synthetic(Step *s, const StepConfig *c, int prompt_length, Costs *cost, Err *e) {
    *s = (Step){.c = c, .cost = cost, .prompts = {.synthetic = prompt_length},
                .rewards = {.n_label = 1, .weight = {1}}};
    return grpo_config_check(&c->grpo, e) && sampling_check(&c->sampling, e) && step_sizes(s, e) &&
           open_shape(s, e) && open_networks(s, e);
}

void step_keep(Step *s, Trainer *t) {
    texts_keep(t, "drawn", &s->drawn);
    texts_keep(t, "trained", &s->trained);
    trainer_keep(t, "reward", &s->gen.stats.reward, 1);         /* of the last generation, told at the end */
    trainer_keep(t, "entropy_coef", &s->control.coef, 1);
    trainer_keep(t, "last_window_entropy", &s->control.last_window_entropy, 1);
    if (s->rewards.floors) trainer_keep(t, "multipliers", s->rewards.multiplier, (size_t)s->rewards.n_label);
}

void step_seek(Step *s) {
    s->generation = s->learner.trainer.step * s->accumulate / step_micro_batches(s);
    s->at = 0;
}

void step_close(Step *s) {
    memory_free(s->micro.token_of);
    generation_free(&s->gen);
    scorer_close(s->rewards.scorer);
    free(s->prompts.order.order);
    learner_close(&s->learner);
}

/* ---- what a run will take ---- */

Texts step_planned_drawn(const Step *s, double length) {
    const int n = s->batch * s->per_generation, n_prompt = n / s->group;
    Texts t = {0}, one = {0};
    texts_add(&t, &s->prompts.lengths, (double)n_prompt / s->prompts.train.n);
    /* linear in the prompt's length: the mean will do */
    texts_completion(&one, s->prompts.lengths.prompt / s->prompts.train.n, length);
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
    texts_add(&t, &s->prompts.lengths, (double)(trees - n_prompt) / s->prompts.train.n);
    return t;
}

/* `read` generations of completions that are run whole, with their prompts. */
static Texts planned_replies(const Step *s, void (*reply)(Texts *, double, double), double length,
                             double read) {
    const int n = s->batch * s->per_generation, n_prompt = n / s->group;
    Texts all = {0}, one = {0};
    texts_add(&all, &s->prompts.lengths, read * n_prompt / s->prompts.train.n);
    all.scored = 0;
    reply(&one, s->prompts.lengths.prompt / s->prompts.train.n, length);
    texts_add(&all, &one, read * n);
    return all;
}

Texts step_planned_replies(const Step *s, double length, double read) {
    return planned_replies(s, texts_reply, length, read);
}

Texts step_planned_states(const Step *s, double length, double read) {
    return planned_replies(s, texts_states, length, read);
}

bool step_planned_rest(Cost *c, const Step *s, double length, double read, Err *e) {
    const StepConfig *o = s->c;
    const int n = s->batch * s->per_generation, n_prompt = n / s->group,
              max_new = o->grpo.max_completion_length;
    const int rows = rows_at_once(s);
    int *lengths = malloc((size_t)n_prompt * sizeof(int));
    if (!lengths) return fail(e, "no memory for %d prompts", n_prompt);
    for (int i = 0; i < n_prompt; i++) lengths[i] = s->prompts.longest;
    cost_trainer(c, &s->learner.shape, rows, rows);
    c->memory[MEM_ACTIVATIONS] += (double)rollout_acts_bytes(&s->learner.shape, lengths, n_prompt, n);
    cost_memory_most(c, MEM_CACHE, cost_cache(&s->learner.shape, lengths, n_prompt, n, max_new));
    if (has_reference(o) && !o->run.adapter.use_peft)
        cost_memory_most(c, MEM_REFERENCE, (double)model_bytes(&s->learner.shape));
    free(lengths);
    const Texts replies = step_planned_replies(s, length, read);
    const char *at = o->scorer.folders;
    char dir[1024];
    ModelConfig reward;
    while (at && next_folder(dir, &at)) {
        if (!folder_config(&reward, NULL, dir, e)) return false;
        cost_read(c, NET_REWARD, &reward, &replies);
        c->memory[MEM_REWARD] += cost_asked(&reward, o->run.slice_rows, n);
    }
    return true;
}

double step_planned_flops(const Step *s, double length) {
    Cost c = {.prompt = 0};
    const Texts drawn = step_planned_drawn(s, length), pass = step_planned_pass(s, length);
    const Networks net = step_networks(s);
    Texts trained = {0};
    texts_add(&trained, &pass, s->c->grpo.num_iterations);
    cost_grpo(&c, &net, &drawn, &trained, s->c->grpo.top_entropy_quantile < 1);
    return cost_flops(&c);
}

/* A cycle that takes so many seconds is timed once, and needs fewer tokens to tell. */
static const double LONG_CYCLE = 1;

/* Seconds of a whole generation like the run's, but with completions of `length` made-up tokens; *rate:
 * operations per second of a forward pass over its last micro-batch. */
static bool timed_cycle(double *seconds, double *rate, const StepConfig *like, int prompt, int length,
                        Err *e) {
    StepConfig c = *like;
    Step s;
    Costs cost = {.predicted = {.prompt = 0}};
    c.grpo.max_completion_length = length;
    bool ok = step_open_synthetic(&s, &c, prompt, &cost, e);
    *seconds = 0;
    fprintf(stderr, "info: timing a step with completions of %d tokens\n", length);
    for (int i = 0; ok && i < 2 && *seconds < LONG_CYCLE; i++) { /* a short one warms up and is made again */
        const double start = clock_seconds();
        ok = step_generation(&s, i, e);
        for (int k = 0; ok && k < step_micro_batches(&s); k++) {
            ok = step_micro_batch(&s, k, e) && (s.update.n_micro < s.accumulate || step_update(&s, e));
            if (s.update.n_micro == s.accumulate) step_clear(&s);
        }
        *seconds = clock_seconds() - start;
    }
    if (ok) {
        const double start = clock_seconds(), before = s.learner.model->tally->forward.flop;
        const int rows = s.learner.rows;
        ok = window_logp(s.gen.by_target, NULL, s.learner.trainer.acts, rows, rows, s.learner.model,
                         &s.learner.window, 1, e);
        *rate = (s.learner.model->tally->forward.flop - before) / (clock_seconds() - start);
    }
    step_close(&s);
    return ok;
}

/* Seconds of a generation and its updates with completions of `length` tokens: short ones timed, the rest
 * counted. */
static bool cycle_seconds(double *seconds, const Step *s, double length, Err *e) {
    enum { SHORT = 8, LONG = 32, LESS = 16 };
    const int full = s->c->grpo.max_completion_length, a = full < SHORT ? full : SHORT;
    const int prompt = (int)(s->prompts.lengths.prompt / s->prompts.train.n + 0.5);
    double short_seconds = 0, long_seconds = 0, rate = 1;
    Cost once = {.prompt = 0};
    StepConfig measured = *s->c;
    measured.run.max_steps = 1;
    measured.run.plan = NULL;           /* whose memory is the run's, not that of short steps */
    measured.eval_split = 0;
    if (a < full && !timed_cycle(&short_seconds, &rate, &measured, prompt, a, e)) return false;
    const int longer = short_seconds < LONG_CYCLE ? LONG : LESS, b = full < longer ? full : longer;
    if (!timed_cycle(&long_seconds, &rate, &measured, prompt, b, e) ||
        !step_planned_rest(&once, s, length, 1, e))
        return false;
    *seconds = long_seconds + cost_flops(&once) / rate;
    /* what grows, grows with the operations: from a to b measured, from there on counted */
    if (full > b) {
        const double short_flops = step_planned_flops(s, a), long_flops = step_planned_flops(s, b);
        *seconds += (long_seconds - short_seconds) * (step_planned_flops(s, length) - long_flops) /
                    (long_flops - short_flops);
    }
    return true;
}

static const char *plan_how(bool dear, bool program) {
    static const char *const how[2][2] = {
        {"short steps were timed on this machine, the rest is counted (E194)",
         "short steps were timed on this machine, the rest is counted (E194); without the time of "
         "--reward-cmd"},
        {STEP_PARTS, STEP_PARTS "; without the time of --reward-cmd"}};
    return how[dear][program];
}

static void plan_asked(RunPlan *p, const StepConfig *c, const ModelConfig *shape) {
    ModelConfig whole = *shape;
    whole.lora.r = 0;
    p->asked.parameters = (double)model_trainable(&whole);
    p->asked.adapter = shape->lora.r > 0;
    p->asked.rate = c->run.learning_rate;
    p->asked.beta = c->grpo.beta;
}

bool step_plan(RunPlan *p, const StepConfig *c, Err *e) {
    Costs cost = {.predicted = {.prompt = 0}};
    Step s = {.c = c, .cost = &cost};
    double cycle = 0;
    bool ok = settings_check(c, e) && step_sizes(&s, e) && open_shape(&s, e) && open_prompts(&s, e) &&
              plan_memory(&s, e);
    const double length = p->mean_length > 0 ? p->mean_length : c->grpo.max_completion_length;
    const bool dear = ok && step_dear(&s);
    if (ok && (ok = dear || cycle_seconds(&cycle, &s, length, e))) {
        const double per_update = (double)step_micro_batches(&s) / s.accumulate;
        const int n_completion = s.batch * s.per_generation;
        p->length = length;
        p->step_seconds = cycle / per_update;
        p->n_step = run_steps(&c->run, (double)s.prompts.train.n * s.group / n_completion * per_update);
        p->how = plan_how(dear, c->scorer.program != NULL);
        plan_asked(p, c, &s.learner.shape);
        const double passes = (double)p->n_step * s.accumulate / s.per_generation,
                     generations = ceil(passes / c->grpo.num_iterations);
        const Texts one = step_planned_drawn(&s, length), pass = step_planned_pass(&s, length);
        const Networks net = step_networks(&s);
        Texts drawn = {0}, trained = {0};
        texts_add(&drawn, &one, generations);
        texts_add(&trained, &pass, passes);
        cost_grpo(&p->cost, &net, &drawn, &trained, c->grpo.top_entropy_quantile < 1);
        ok = step_planned_rest(&p->cost, &s, length, generations, e);
        if (ok && dear) {
            const double updated = (double)p->n_step * (double)model_trainable(&s.learner.shape);
            ok = step_seconds(&p->step_seconds, &p->cost, &s, length, generations, updated, e);
            p->step_seconds /= p->n_step;
        }
    }
    step_close(&s);
    return ok;
}
