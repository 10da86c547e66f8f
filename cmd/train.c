/* train.c: `grpo train`: GRPO, one generation step after the other: the loop, the log, the
 * run's folder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "step.h"
#include "lib/files.h"
#include "lib/say.h"

#define AT(member) offsetof(StepConfig, member)
const OptionTable train_table =
    {"train", "GRPO: the policy is improved on weighted scores of its own completions",
     "grpo train --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final "
     "--output-dir runs/grpo --beta 0.08 --max-completion-length 64",
     .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {scorer_settings, AT(scorer)},
             {generation_settings, 0}, {grpo_group_settings, AT(grpo)}, {step_settings, 0},
             {grpo_settings, AT(grpo)}}};

/* ---- log --------------------------------------------------------------------------------- */

static bool log_update(Step *s, Run *run, const GenerationLog *l, int64_t generation, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_int(&w, "step", s->trainer.step);
    json_put(&w, "loss", s->loss);
    json_put(&w, "grad_norm", s->trainer.grad_norm);
    json_put(&w, "learning_rate", s->trainer.lr);
    json_put_int(&w, "num_tokens", s->tokens);
    json_put(&w, "epoch", (double)(generation + 1) * s->gen.n_prompt / s->data.n);
    generation_log_write(&w, l, s);
    for (int i = 0; i < 9 && grpo_metric_names[i] && grpo_metric_names[i + 1]; i++)
        if (s->n_metric[i]) json_put(&w, grpo_metric_names[i + 1], s->metric[i] / s->n_metric[i]);
    if (s->c->grpo.entropy_coef != 0 || s->c->grpo.use_adaptive_entropy)
        json_put(&w, "entropy_coef", s->control.coef);
    json_end(&w, '}');
    const bool ok = run_log(run, &w, e);
    free(w.text);
    run_time(run, s->trainer.step, s->tokens);
    return ok;
}

static void say(Step *s) {
    if (s->trainer.step == 1)
        fprintf(stderr, "train: a loss near 0 is right while every ratio is 1 (one update per generation): "
                        "its gradient carries the signal.\n"
                        "train: progress shows in reward and rewards/*/mean; kl tells how far the policy has "
                        "moved.\n");
    if (s->gen.stats.frac_reward_zero_std > 0.9)
        fprintf(stderr,
                "train: step %lld: %.0f %% of the groups have equal rewards: there is nothing to learn from; "
                "look at the scores or raise the temperature\n",
                (long long)s->trainer.step, 100 * s->gen.stats.frac_reward_zero_std);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static bool update(Step *s, Run *run, GenerationLog *l, int64_t generation, Err *e) {
    if (!step_update(s, e)) return false;
    if (s->trainer.step % s->c->run.logging_steps == 0 && !log_update(s, run, l, generation, e)) return false;
    l->logged = true;
    say(s);
    step_clear(s);
    return true;
}

static bool loop(Step *s, Run *run, Err *e) {
    Trainer *t = &s->trainer;
    GenerationLog l = {.logged = false};
    Progress p;
    progress_begin(&p, "train", t->n_step);
    /* a checkpoint falls where an update ends a generation: with several updates a generation, only there */
    for (int64_t generation = step_first_generation(s); t->step < t->n_step; generation++) {
        if (!step_generation(s, generation, e)) return false;
        generation_log_add(&l, s);
        for (int i = 0; i < step_micro_batches(s) && t->step < t->n_step; i++) {
            if (!step_micro_batch(s, i, e)) return false;
            if (s->n_micro == s->accumulate && !update(s, run, &l, generation, e)) return false;
        }
        char detail[128];
        snprintf(detail, sizeof detail, "reward %.4f  kl %.4f  length %.1f  %.1f k tokens/s",
                 s->gen.stats.reward, s->sums.n_token ? s->sums.kl / s->sums.n_token : 0,
                 (double)s->gen.offset[s->gen.n_completion] / s->gen.n_completion, run_rate(run, s->tokens));
        progress_at(&p, t->step, detail);
        if (s->n_micro == 0 && !run_checkpoint(run, &s->c->run, t, t->step == t->n_step, e)) return false;
    }
    progress_end(&p);
    return true;
}

/* ---- the run ------------------------------------------------------------------------------ */

static bool train(Step *s, Run *run, const StepConfig *c, Err *e) {
    if (!run_options_check(&c->run, e)) return false;
    if (c->run.plan) return step_plan(c->run.plan, c, e);
    if (!c->run.resume && !folder_is_empty(c->run.output_dir))
        return fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume",
                    c->run.output_dir);
    if (!step_open(s, c, e) || !run_begin(run, &train_table, c, &c->run, &s->trainer, e)) return false;
    step_resume(s);
    run_tokens(run, s->tokens);
    return (loop(s, run, e) || run_failed(run, e)) && run_cost(run, s->trainer.step, &s->cost, e) &&
           step_finish(s, e);
}

int plan_train(RunPlan *plan, int argc, char **argv, Err *e) {
    StepConfig c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.grpo);
    const int r = options_parse(&c, &train_table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    c.run.plan = plan;
    Step s = {.c = &c};
    Run run = {.log = NULL};
    const bool ok = train(&s, &run, &c, e);
    run_end(&run);
    step_close(&s);
    return ok ? 0 : -1;
}

int cmd_train(int argc, char **argv, Err *e) { return plan_train(NULL, argc, argv, e); }
