/* aihf.c: `grpo aihf`: a reward model and a policy that learn in turns, from demonstrations and preferences
 * (AIHF): options, the loop, the folders. The reward model's half is in run/aihf.c, the policy's in step.c,
 * the mathematics in baselines/aihf.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "run/aihf.h"

typedef struct {
    StepConfig step;
    DemoLoss demo_loss;
    const char *demonstrations, *preferences;
    double demo_weight, preference_weight, reward_learning_rate, center_rewards_coefficient;
    int reward_steps, policy_steps, rounds;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("The reward model that learns meanwhile"),
    {"demonstrations", SET_STRING, AT(demonstrations), NULL, NULL, "JSONL of prompts with good completions"},
    {"preferences", SET_STRING, AT(preferences), NULL, NULL, "JSONL of prompt, chosen, rejected"},
    {"demo_loss", SET_CHOICE, AT(demo_loss), "pair", demo_loss_names,
     "pair: a demonstration wins over the policy's replies to its prompt, those of earlier rounds too; "
     "difference: its mean reward over theirs, of this round alone"},
    {"demo_weight", SET_NUMBER, AT(demo_weight), "1", NULL, "of the demonstrations' loss; 0: none are read"},
    {"preference_weight", SET_NUMBER, AT(preference_weight), "1", NULL,
     "of the preferences' loss; 0: none are read"},
    {"reward_learning_rate", SET_NUMBER, AT(reward_learning_rate), "none", NULL,
     "of the reward model; none: learning-rate"},
    {"reward_steps", SET_INT, AT(reward_steps), "20", NULL,
     "updates of the reward model in a round; each takes as many demonstrations, and as many preferences, "
     "as a generation has prompts"},
    {"policy_steps", SET_INT, AT(policy_steps), "10", NULL, "updates of the policy in a round"},
    {"rounds", SET_INT, AT(rounds), "20", NULL,
     "rounds: first the reward model's updates, then the policy's"},
    {"center_rewards_coefficient", SET_NUMBER, AT(center_rewards_coefficient), "0.01", NULL,
     "weight of the squared sum of a pair's scores (difference: of each score's square), which keeps them "
     "around 0"},
    SETTINGS_END};
const OptionTable aihf_table = {
    "aihf",
    "a reward model and a policy that learn in turns, from demonstrations and preferences together (AIHF)",
    "grpo aihf --model runs/sft/final --dataset prompts.jsonl --demonstrations shown.jsonl --preferences "
    "pairs.jsonl --reward-model none --beta 0.04 --output-dir runs/aihf",
    .part = {{run_settings, AT(step.run)}, {adapter_settings, AT(step.run.adapter)},
             {scorer_settings, AT(step.scorer)}, {generation_settings, AT(step)},
             {grpo_group_settings, AT(step.grpo)}, {step_settings, AT(step)},
             {grpo_settings, AT(step.grpo)}, {watch_settings, AT(step.watch)}, {rows, 0}}};

enum { PLAN_LENGTH = 32 };              /* tokens of completions that a plan is timed with */

typedef struct {
    Training t;                         /* stands first; its trainer is the policy's, whose partner is the */
    const Config *c;                    /* reward model's */
    StepConfig step_config;             /* the given one, as Step takes it */
    Step s;
    Aihf a;
    char start[1024];                   /* folder that the reward model starts from */
} AihfRun;

/* ---- opening ---- */

static bool weights_check(const Config *c, Err *e) {
    const struct { const char *name, *file; double weight; } part[] = {
        {"demo", c->demonstrations, c->demo_weight}, {"preference", c->preferences, c->preference_weight}};
    for (int i = 0; i < 2; i++) {
        const char *file = i ? "preferences" : "demonstrations";
        if (!(part[i].weight >= 0) || isinf(part[i].weight))
            return fail(e, "--%s-weight: found %g, expected 0 (none) or more", part[i].name, part[i].weight);
        if (part[i].weight > 0 && !part[i].file)
            return fail(e, "--%s: is missing; give a file, or --%s-weight 0", file, part[i].name);
        if (part[i].weight == 0 && part[i].file)
            return fail(e, "--%s: has no effect with --%s-weight 0; leave one of them out", file,
                        part[i].name);
    }
    return part[0].weight + part[1].weight > 0 ||
           fail(e, "--demo-weight 0, --preference-weight 0: the reward model has nothing to learn from; give "
                   "one of them a weight");
}

static bool aihf_check(const Config *c, Err *e) {
    const struct { const char *name; int value; } whole[] = {
        {"reward-steps", c->reward_steps}, {"policy-steps", c->policy_steps}, {"rounds", c->rounds}};
    for (int i = 0; i < 3; i++)
        if (whole[i].value < 1)
            return fail(e, "--%s: found %d, expected at least 1", whole[i].name, whole[i].value);
    if ((double)c->policy_steps * c->rounds > 1e9 || (double)c->reward_steps * c->rounds > 1e9)
        return fail(e, "--rounds %d: more than 1e9 updates; lower it", c->rounds);
    if (c->step.run.max_steps > 0)
        return fail(e,
                    "--max-steps: has no effect here, the run takes --rounds times --policy-steps; leave it "
                    "out");
    if (!isnan(c->reward_learning_rate) && !(c->reward_learning_rate >= 0))
        return fail(e, "--reward-learning-rate: found %g, expected at least 0, or none",
                    c->reward_learning_rate);
    if (c->demo_loss == DEMO_DIFFERENCE && !(c->center_rewards_coefficient > 0))
        return fail(e, "--demo-loss difference with --center-rewards-coefficient 0: has no lower bound: the "
                       "rewards would grow without end; give a coefficient, or --demo-loss pair");
    if (c->demo_loss == DEMO_DIFFERENCE && !(c->step.grpo.beta > 0))
        return fail(e, "--demo-loss difference: divides by --beta, found %g, expected more than 0",
                    c->step.grpo.beta);
    if (c->step.scorer.program)
        return fail(e, "--reward-cmd: has no effect here, the reward model that learns is the only source of "
                       "scores; leave it out");
    if (!c->step.scorer.folders)
        return fail(e, "--reward-model: is missing; expected a reward folder to start from, or none: a new "
                       "head on a copy of --model");
    return pair_reward_center_check(c->center_rewards_coefficient, e) && weights_check(c, e);
}

/* The reward model as it starts: the folder's, or a new head on a copy of the policy. */
static bool reward_shape(AihfRun *r, RunOptions *o, Err *e) {
    const Config *c = r->c;
    Learner *l = &r->a.reward;
    const bool fresh = !strcmp(c->step.scorer.folders, "none");
    snprintf(r->start, sizeof r->start, "%s", fresh ? c->step.run.model : c->step.scorer.folders);
    *o = c->step.run;
    o->model = r->start;
    o->adapter.use_peft = false;
    if (!isnan(c->reward_learning_rate)) o->learning_rate = c->reward_learning_rate;
    if (!learner_shape(l, o, fresh, e)) return false;
    if (l->shape.lora.r)
        return fail(e, "--reward-model %s: is an adapter, but it is trained whole here: merge it first (grpo "
                       "merge)", r->start);
    if (!fresh && l->shape.n_label != 1)
        return fail(e, "--reward-model %s: has %d labels, expected one: demonstrations and preferences teach "
                       "one score; or give none", r->start, l->shape.n_label);
    if (fresh) snprintf(l->info.label[0], sizeof l->info.label[0], "reward");
    l->shape.n_label = 1;
    return true;
}

/* The reward model comes first, since the policy's opening asks it for its label. */
static bool aihf_open(void *self, Err *e) {
    AihfRun *r = self;
    const Config *c = r->c = r->t.config;
    const int max_new = c->step.grpo.max_completion_length;
    Aihf *a = &r->a;
    RunOptions o;
    Learner policy = {.rows = 0};
    if (!aihf_check(c, e) || !reward_shape(r, &o, e) || !learner_shape(&policy, &c->step.run, true, e))
        return false;
    *a = (Aihf){.loss = c->demo_loss,
                .demo_weight = c->demo_weight,
                .preference_weight = c->preference_weight,
                .center = c->center_rewards_coefficient,
                .beta = c->step.grpo.beta,
                .n_round = c->rounds,
                .n_update = c->reward_steps,
                .seed = (uint64_t)c->step.run.seed,
                .reward = a->reward};
    StepConfig *s = &r->step_config;
    *s = c->step;
    s->run.max_steps = c->rounds * c->policy_steps;
    s->scorer.folders = NULL;
    s->learns = &a->reward;
    if (c->step.run.plan && max_new > PLAN_LENGTH) s->grpo.max_completion_length = PLAN_LENGTH;
    bool ok = aihf_data(a, c->demonstrations, c->preferences, c->step.run.system, &policy.language,
                        c->step.run.drop_long, max_new, c->step.run.slice_rows, e);
    learner_close(&policy);
    ok = ok && memory_plan(c->step.run.plan ? NULL : "aihf, the reward model",
                           learner_bytes(&a->reward, &o, false), e) &&
         learner_load(&a->reward, &o, false, e) && step_open(&r->s, s, &r->t.cost, e);
    if (!ok) return false;
    a->batch = r->s.gen.n_prompt;
    run_trainer(&a->reward.trainer, &o, c->rounds * c->reward_steps);
    if (!aihf_new(a, s->grpo.max_completion_length, e)) return false;
    Trainer *t = r->t.trainer = &r->s.learner.trainer;
    t->partner = &a->reward.trainer;
    step_keep(&r->s, t);
    aihf_keep(a, t);
    r->t.watch = &r->s.watch;
    return step_watch(&r->s, t, e);
}

static void aihf_hold(void *self) {
    AihfRun *r = self;
    learner_hold(&r->t.cost, &r->s.learner);
    step_seek(&r->s);
}

/* ---- the run ---- */

/* E227. */
static bool aihf_update(void *self, Err *e) {
    AihfRun *r = self;
    Step *s = &r->s;
    const Learner *l = &s->learner;
    const double before = s->tokens;
    const int64_t step = r->t.trainer->step;
    if (step % r->c->policy_steps == 0) {
        if (!aihf_round(&r->a, step / r->c->policy_steps, l, &s->c->sampling, &r->t.cost, e))
            return false;
        if (r->a.demos.n)
            generation_hold(&r->t.cost, &r->a.drawn, &l->shape, s->acts_planned, s->acts_held);
        r->t.tokens += r->a.n_token;
    }
    if (!grpo_step(s, e)) return false;
    r->t.tokens += s->tokens - before;
    r->t.inside = s->at != 0;
    return true;
}

static void aihf_line(JsonWriter *w, void *self) {
    AihfRun *r = self;
    step_log(w, &r->s, r->t.tokens);
    json_put_int(w, "round", (r->t.trainer->step - 1) / r->c->policy_steps + 1);
    aihf_log(w, &r->a);
}

static void aihf_detail(char text[128], void *self) { step_detail(text, &((AihfRun *)self)->s); }

static bool aihf_evaluate(void *self, Err *e) { return step_evaluate(&((AihfRun *)self)->s, e); }

static void aihf_cost(Cost *c, const AihfRun *r, const Networks *net, const Texts *drawn,
                      const Texts *trained, const Texts *answered, const Texts *taught) {
    cost_grpo(c, net, drawn, trained, r->s.c->grpo.top_entropy_quantile < 1);
    cost_read(c, NET_POLICY, &net->policy, answered);
    c->prompt += answered->prompt, c->completion += answered->token;
    cost_reward(c, &r->a.reward.shape, taught);
}

static bool aihf_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    const AihfRun *r = self;
    (void)n_step, (void)e;              /* the ledgers have the lengths */
    const Networks net = step_networks(&r->s);
    aihf_cost(c, r, &net, &r->s.drawn, &r->s.trained, &r->a.answered, &r->a.taught);
    return true;
}

/* A short round to warm up and a timed one: an update of the reward model and one of the policy, with short
 * completions; the time of the run is to theirs as the operations are. Where that would take long, parts of
 * it are timed (step_seconds). */
static bool aihf_plan(RunPlan *to, void *self, Err *e) {
    AihfRun *r = self;
    const Config *c = r->t.config;
    Step *s = &r->s;
    const int full = c->step.grpo.max_completion_length;
    const double length = to->mean_length > 0 ? to->mean_length : full;
    double seconds = 0, operations = 0;
    if (!aihf_open(self, e)) return false;
    aihf_hold(self);
    r->a.n_update = 1;
    const bool dear = step_dear(s);
    for (int i = 0; i < 2 && !dear; i++) {
        const double start = clock_seconds(), before = cost_flops(&r->t.cost.measured);
        r->t.trainer->step = 0;
        if (!aihf_update(self, e)) return false;
        seconds = clock_seconds() - start, operations = cost_flops(&r->t.cost.measured) - before;
    }
    r->a.n_update = c->reward_steps;
    const double n_step = (double)r->t.trainer->n_step,
                 passes = n_step * s->accumulate / s->per_generation,
                 generations = ceil(passes / c->step.grpo.num_iterations);
    const Texts one = step_planned_drawn(s, length), pass = step_planned_pass(s, length),
                scored = step_planned_replies(s, length, generations);
    Texts drawn = {0}, trained = {0}, answered, taught;
    texts_add(&drawn, &one, generations), texts_add(&trained, &pass, passes);
    aihf_planned(&answered, &taught, &r->a, length);
    const Networks net = step_networks(s);
    StepConfig config = r->step_config;
    config.grpo.max_completion_length = full;
    s->c = &config;
    to->n_step = (int)n_step;
    to->length = length;
    to->how =
        dear ? STEP_PARTS "; without checkpoints"
             : "a short round was timed on this machine, the rest is counted (E194); without checkpoints";
    aihf_cost(&to->cost, r, &net, &drawn, &trained, &answered, &taught);
    cost_read(&to->cost, NET_REWARD, &r->a.reward.shape, &scored);
    /* replies to demonstrations are drawn as those of a generation are */
    const double drawings = generations + answered.token / one.token,
                 updated = n_step * (double)model_trainable(&s->learner.shape) +
                           (double)c->rounds * c->reward_steps * (double)model_trainable(&r->a.reward.shape);
    const bool ok = step_planned_rest(&to->cost, s, length, generations, e) &&
                    (!dear || step_seconds(&seconds, &to->cost, s, length, drawings, updated, e));
    s->c = &r->step_config;
    cost_memory_most(&to->cost, MEM_REWARD, scorer_asked_bytes(s->rewards.scorer, s->gen.n_completion));
    to->memory = cost_memory(&to->cost) + PROGRAM_BYTES;
    to->step_seconds = (dear ? seconds : seconds / operations * cost_flops(&to->cost)) / n_step;
    return ok;
}

static bool aihf_finish(JsonWriter *w, void *self, Err *e) {
    AihfRun *r = self;
    char path[600];
    return path_join(path, sizeof path, r->t.o->output_dir, "reward", e) &&
           folder_save(path, r->a.reward.model, &r->a.reward.info, r->start, run_store(r->t.o), e) &&
           step_finish(w, &r->t, &r->s, e);
}

static void aihf_close(void *self) {
    AihfRun *r = self;
    step_close(&r->s);
    aihf_free(&r->a);
}

static void aihf_defaults(void *config) { grpo_config_default(&((Config *)config)->step.grpo); }

static const Method method = {.table = &aihf_table,
                              .config_size = sizeof(Config),
                              .run_at = AT(step.run),
                              .state_size = sizeof(AihfRun),
                              .defaults = aihf_defaults,
                              .open = aihf_open,
                              .hold = aihf_hold,
                              .update = aihf_update,
                              .log = aihf_line,
                              .detail = aihf_detail,
                              .evaluate = aihf_evaluate,
                              .predict = aihf_predict,
                              .plan = aihf_plan,
                              .finish = aihf_finish,
                              .close = aihf_close};

int plan_aihf(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_aihf(int argc, char **argv, Err *e) { return plan_aihf(NULL, argc, argv, e); }
