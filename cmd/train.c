/* train.c: `grpo train`: GRPO, one generation step after the other (MATH section 5): the loop, the log, the run's folder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/grpo_step.h"
#include "lib/files.h"

static const Option options[] = {STEP_OPTIONS};
static const OptionTable table = {"train", "GRPO: the policy is improved on weighted scores of its own completions",
                                  "grpo train --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final --output-dir runs/grpo --beta 0.08",
                                  options, sizeof options / sizeof *options};

/* ---- log --------------------------------------------------------------------------------- */

static void put(JsonWriter *w, const char *key, double x) { json_key(w, key); json_number(w, x); }

static void log_generation(JsonWriter *w, const Step *s) {
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

static bool log_update(Step *s, Run *run, int64_t generation, Err *e) {
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
    const bool ok = run_log(run, &w, e);
    free(w.text);
    return ok;
}

static void say(Step *s) {
    if (s->trainer.step == 1)
        fprintf(stderr, "train: a loss near 0 is right while every ratio is 1 (one update per generation): its gradient carries the signal.\n"
                        "train: progress shows in reward and rewards/*/mean; kl tells how far the policy has moved.\n");
    if (s->gen.stats.frac_reward_zero_std > 0.9)
        fprintf(stderr, "train: step %lld: %.0f %% of the groups have equal rewards: there is nothing to learn from; look at the scores or raise the temperature\n",
                (long long)s->trainer.step, 100 * s->gen.stats.frac_reward_zero_std);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static bool update(Step *s, Run *run, int64_t generation, Err *e) {
    if (!step_update(s, e)) return false;
    if (s->trainer.step % s->c->run.logging_steps == 0 && !log_update(s, run, generation, e)) return false;
    say(s);
    step_clear(s);
    return true;
}

static bool loop(Step *s, Run *run, Err *e) {
    Trainer *t = &s->trainer;
    Progress p;
    progress_begin(&p, "train", t->n_step);
    /* a checkpoint falls where an update ends a generation: with several updates a generation, only there */
    for (int64_t generation = step_first_generation(s); t->step < t->n_step; generation++) {
        if (!step_generation(s, generation, e)) return false;
        for (int i = 0; i < step_micro_batches(s) && t->step < t->n_step; i++) {
            if (!step_micro_batch(s, i, e)) return false;
            if (s->n_micro == s->accumulate && !update(s, run, generation, e)) return false;
        }
        char detail[128];
        snprintf(detail, sizeof detail, "reward %.4f  kl %.4f  length %.1f  %.1f k tokens/s", s->gen.stats.reward, s->sums.n_token ? s->sums.kl / s->sums.n_token : 0,
                 (double)s->gen.offset[s->gen.n_completion] / s->gen.n_completion, (double)s->tokens / 1000 / (clock_seconds() - run->started));
        progress_at(&p, t->step, detail);
        if (s->n_micro == 0 && !run_checkpoint(run, &s->c->run, t, t->step == t->n_step, e)) return false;
    }
    progress_end(&p);
    return true;
}

static bool finish(Step *s, Err *e) {
    char final[600], hex[65];
    if (s->info.n_stop == 0) s->info.stop[s->info.n_stop++] = s->language.end_of_turn;
    if (!path_join(final, sizeof final, s->c->run.output_dir, "final", e) || !folder_save(final, s->policy, &s->info, s->c->run.model, run_store(&s->c->run), e)) return false;
    folder_digest(s->policy, hex);
    if (s->c->run.json) printf("{\"steps\": %lld, \"reward\": %.6f, \"final\": \"%s\", \"sha256\": \"%s\"}\n", (long long)s->trainer.step, s->gen.stats.reward, final, hex);
    else printf("%s: %lld steps, reward of the last %.4f, weights %.16s\n", final, (long long)s->trainer.step, s->gen.stats.reward, hex);
    return true;
}

static bool train(Step *s, Run *run, const StepConfig *c, Err *e) {
    if (!run_options_check(&c->run, e)) return false;
    if (!c->run.resume && !folder_is_empty(c->run.output_dir)) return fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume", c->run.output_dir);
    if (!step_open(s, c, e) || !run_begin(run, &table, c, &c->run, &s->trainer, e)) return false;
    step_resume(s);
    s->checkpoint = run->checkpoint;
    return loop(s, run, e) && finish(s, e);
}

int cmd_train(int argc, char **argv, Err *e) {
    StepConfig c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.grpo);
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    Step s = {.c = &c};
    Run run = {.log = NULL};
    const bool ok = train(&s, &run, &c, e);
    run_end(&run);
    step_close(&s);
    return ok ? 0 : -1;
}
