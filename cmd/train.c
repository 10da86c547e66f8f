/* train.c: `grpo train`: GRPO, one step after the other (step.c): options, log, the run. */
#include <math.h>
#include <stdio.h>

#include "cmd/commands.h"
#include "cmd/step_open.h"

#define AT(member) offsetof(StepConfig, member)
const OptionTable train_table = {
    "train", "GRPO: the policy is improved on weighted scores of its own completions",
    "grpo train --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final "
    "--output-dir runs/grpo --beta 0.08 --max-completion-length 64",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {scorer_settings, AT(scorer)},
             {generation_settings, 0}, {grpo_group_settings, AT(grpo)}, {step_settings, 0},
             {grpo_settings, AT(grpo)}, {grpo_other_settings, AT(grpo)}, {watch_settings, AT(watch)}}};

typedef struct {
    Training t;                         /* stands first */
    Step s;
} Train;

static void train_defaults(void *config) { grpo_config_default(&((StepConfig *)config)->grpo); }

static bool train_open(void *self, Err *e) {
    Train *t = self;
    if (!step_open(&t->s, t->t.config, &t->t.cost, e)) return false;
    t->t.trainer = &t->s.learner.trainer;
    step_keep(&t->s, t->t.trainer);
    t->t.watch = &t->s.watch;
    return step_watch(&t->s, t->t.trainer, e);
}

static void train_hold(void *self) {
    Train *t = self;
    learner_hold(&t->t.cost, &t->s.learner);
    step_seek(&t->s);
}

static void train_say(const Step *s) {
    const int64_t step = s->learner.trainer.step;
    if (step == 1)
        fprintf(stderr, "train: a loss near 0 is right while every ratio is 1 (one update per generation): "
                        "its gradient "
                        "carries the signal.\n"
                        "train: progress shows in reward and rewards/*/mean; kl tells how far the policy has "
                        "moved.\n");
    if (s->gen.stats.frac_reward_zero_std > 0.9)
        fprintf(stderr,
                "train: step %lld: %.0f %% of the groups have equal rewards: there is nothing to learn from; "
                "look "
                "at the scores or raise the temperature\n",
                (long long)step, 100 * s->gen.stats.frac_reward_zero_std);
}

/* A checkpoint falls where an update ends a generation: with several updates a generation, only there. */
static bool train_update(void *self, Err *e) {
    Train *t = self;
    const double before = t->s.tokens;
    if (!grpo_step(&t->s, e)) return false;
    t->t.tokens += t->s.tokens - before;
    t->t.inside = t->s.at != 0;
    train_say(&t->s);
    return true;
}

static void train_log(JsonWriter *w, void *self) {
    step_log(w, &((Train *)self)->s, ((Train *)self)->t.tokens);
}
static void train_detail(char text[128], void *self) { step_detail(text, &((Train *)self)->s); }

static bool train_evaluate(void *self, Err *e) { return step_evaluate(&((Train *)self)->s, e); }

static bool train_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    const Step *s = &((Train *)self)->s;
    (void)n_step, (void)e;              /* the ledger has the lengths of what was drawn */
    const Networks net = step_networks(s);
    cost_grpo(c, &net, &s->drawn, &s->trained, s->c->grpo.top_entropy_quantile < 1);
    return true;
}

static bool train_plan(RunPlan *p, void *self, Err *e) { return step_plan(p, ((Train *)self)->t.config, e); }
static bool train_finish(JsonWriter *w, void *self, Err *e) {
    Train *t = self;
    return step_finish(w, &t->t, &t->s, e);
}
static void train_close(void *self) { step_close(&((Train *)self)->s); }

static const Method method = {.table = &train_table,
                              .config_size = sizeof(StepConfig),
                              .run_at = AT(run),
                              .state_size = sizeof(Train),
                              .defaults = train_defaults,
                              .open = train_open,
                              .hold = train_hold,
                              .update = train_update,
                              .log = train_log,
                              .detail = train_detail,
                              .evaluate = train_evaluate,
                              .predict = train_predict,
                              .plan = train_plan,
                              .finish = train_finish,
                              .close = train_close};

int plan_train(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_train(int argc, char **argv, Err *e) { return plan_train(NULL, argc, argv, e); }
