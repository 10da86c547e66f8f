/* step_speed.c: the seconds of a run whose generations take too long to be timed for a plan: parts of a step
 * are timed, each with as little as shows its speed, and put together by what the run does of each (E199).
 * Not here: how cheaper runs are timed (cmd/step_open.c, cmd/ppo.c, cmd/aihf.c). */
#include "cmd/step_open.h"

#include <stdio.h>

#include "lib/machine.h"

/* Some five seconds on two cores; the plan of a cheaper run times that much two or three times over. */
static const double DEAR = 5e11;

enum {
    SHORT = 32,                         /* tokens of the completions that a plan would time */
    FEW = 8,                            /* tokens of those that are timed */
    LEARNED = 16,                       /* completions that are learned from; 8 show a tenth less speed */
    MOST_ROWS = 64,                     /* completions that are decoded; more take as much more time */
    MOST_PROMPT = 64                    /* tokens */
};

bool step_dear(const Step *s) {
    const int full = s->c->grpo.max_completion_length;
    return step_planned_flops(s, full < SHORT ? full : SHORT) > DEAR;
}

/* From the second token on: the first one that is decoded finds the cache cold. */
typedef struct { double start, last; int from, n; } Clock;

static void clock_position(void *to, int done, int active) {
    Clock *t = to;
    (void)active;
    t->last = clock_seconds();
    if (done <= t->from) t->start = t->last, t->n = 0;
    else t->n++;
}

/* Seconds in which n completions of s's first prompt get one token more. */
static bool speed_decoding(double *seconds, const Step *s, int n, Err *e) {
    Generation g;
    const int few = s->gen.max_new;
    Clock t = {.from = few > 2 ? 2 : 1};
    if (!generation_new(&g, 1, n, few, 1, e)) return false;
    const int *const prompt = s->gen.prompt[0].id;
    const RolloutPlan plan = {.prompt = &prompt, .prompt_length = &s->gen.prompt[0].n, .n_prompt = 1,
                              .group_size = n, .max_new = few, .sampling = s->c->sampling,
                              .progress = clock_position, .to = &t};
    const bool ok = rollout(&g.out, s->learner.model, &plan, e);
    generation_free(&g);
    *seconds = t.n ? (t.last - t.start) / t.n : 0;
    return ok;
}

/* A run of n completions: what a position of the batch takes, and each completion in it. */
static bool speed_draw(Speed *v, const Step *s, int n, Err *e) {
    const int rows = n < MOST_ROWS ? n : MOST_ROWS;
    double alone, all;
    Texts one = {0};
    if (!speed_decoding(&alone, s, 1, e) || !speed_decoding(&all, s, rows, e)) return false;
    v->row = rows > 1 && all > alone ? (all - alone) / (rows - 1) : 0;
    v->position = all - rows * v->row;
    texts_completion(&one, s->prompts.synthetic, s->gen.max_new);
    v->row_flops = one.row > 0 ? cost_forward(&s->learner.shape, &one, one.scored) / one.row : 1;
    return true;
}

/* The same micro-batch and update twice, as the first touches fresh memory, then its forward pass alone. */
static bool speed_train(Speed *v, Step *s, Err *e) {
    const Tally *tally = &s->cost->measured.net[NET_POLICY];
    double begun = 0, passed = 0, updated = 0;
    Pass forward = {0}, backward = {0};
    for (int i = 0; i < 2; i++) {
        forward = tally->forward, backward = tally->backward;
        begun = clock_seconds();
        if (!step_micro_batch(s, 0, e)) return false;
        passed = clock_seconds();
        if (!step_update(s, e)) return false;
        updated = clock_seconds();
        step_clear(s);
    }
    const double ahead = tally->forward.flop - forward.flop;
    const int rows = s->learner.rows;
    if (!window_logp(s->gen.by_target, NULL, s->learner.trainer.acts, rows, rows, s->learner.model,
                     &s->learner.window, s->c->sampling.temperature, e))
        return false;
    const double alone = clock_seconds() - updated, both = passed - begun;
    /* on a busy machine the forward pass may seem to take as long as both */
    const double rest = both - alone > both / 4 ? both - alone : both / 4;
    v->forward = ahead / alone;
    v->backward = (tally->backward.flop - backward.flop) / rest;
    v->update = (updated - passed) / (double)model_trainable(&s->learner.shape);
    return true;
}

/* n: completions of a generation; prompt: tokens of one. */
static bool speed_measure(Speed *v, const StepConfig *like, int n, int prompt, Err *e) {
    StepConfig c = {.run = like->run, .sampling = like->sampling};
    Step s;
    Costs cost = {.predicted = {.prompt = 0}};
    grpo_config_default(&c.grpo);
    c.grpo.num_generations = c.run.per_device_train_batch_size = LEARNED;
    c.grpo.max_completion_length =
        like->grpo.max_completion_length < FEW ? like->grpo.max_completion_length : FEW;
    c.run.gradient_accumulation_steps = c.run.max_steps = 1;
    c.run.learning_rate = 0;            /* weights stay, so nothing can run away */
    c.run.plan = NULL;                  /* whose memory is the run's */
    fprintf(stderr, "info: timing parts of a step: a whole one would take long\n");
    const bool ok = step_open_synthetic(&s, &c, prompt < MOST_PROMPT ? prompt : MOST_PROMPT, &cost, e) &&
                    step_generation(&s, 0, e) && speed_train(v, &s, e) && speed_draw(v, &s, n, e);
    step_close(&s);
    return ok;
}

bool step_seconds(double *seconds, const Cost *c, const Step *s, double length, double generations,
                  double updated, Err *e) {
    const int n = s->batch * s->per_generation;
    const double prompt = s->prompts.lengths.prompt / s->prompts.train.n;
    const Drawn d = {.n = n, .prompt = prompt, .length = length, .most = s->c->grpo.max_completion_length};
    Speed v;
    if (!speed_measure(&v, s->c, n, (int)(prompt + 0.5), e)) return false;
    *seconds = cost_seconds(c, &v, &s->learner.shape, &d, generations, updated);
    return true;
}
