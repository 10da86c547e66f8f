/* train.c: `grpo train`: GRPO, one generation step after the other (MATH section 5): the loop, the log, the run's folder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/eval.h"
#include "cmd/grpo_step.h"
#include "lib/files.h"

static const Option options[] = {STEP_OPTIONS};
static const OptionTable table = {"train", "GRPO: the policy is improved on weighted scores of its own completions",
                                  "grpo train --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final --output-dir runs/grpo --beta 0.08 --max-completion-length 64",
                                  options, sizeof options / sizeof *options};

/* ---- log --------------------------------------------------------------------------------- */

static void put(JsonWriter *w, const char *key, double x) { json_key(w, key); json_number(w, x); }

/* What is logged of a generation. An update that several generations feed logs their means, as TRL does; one that begins none repeats the last. */
enum { PER_RUN = 8, PER_LABEL = 3 };
typedef struct { double sum[PER_RUN + PER_LABEL * MAX_LABELS]; int n[PER_RUN + PER_LABEL * MAX_LABELS]; bool logged; } GenerationLog;

static void add(GenerationLog *l, int *at, double x) {
    if (!isnan(x)) l->sum[*at] += x, l->n[*at]++;
    ++*at;
}

static void add_generation(GenerationLog *l, const Step *s) {
    const Generation *g = &s->gen;
    double length = 0, min = INFINITY, max = 0, cut = 0;
    int at = 0;
    if (l->logged) memset(l, 0, sizeof *l);
    for (int i = 0; i < g->n_completion; i++) {
        const double n = g->out.length[i];
        length += n, cut += !g->out.ended[i];
        min = n < min ? n : min, max = n > max ? n : max;
    }
    const double run[PER_RUN] = {length / g->n_completion, min, max, cut / g->n_completion, g->stats.reward, g->stats.reward_std, g->stats.frac_reward_zero_std,
                                 g->out.truncation_bias};
    for (int i = 0; i < PER_RUN; i++) add(l, &at, run[i]);
    double *share = malloc((size_t)(g->n_prompt * g->n_label) * sizeof(double));
    if (share) reward_label_share(share, g->score, s->weight, (size_t)g->n_completion, (size_t)g->n_label, (size_t)s->group);
    for (int k = 0; k < g->n_label; k++) {
        double mean, sd, total = 0;
        int n = 0;
        reward_moments(&mean, &sd, g->score + k, (size_t)g->n_completion, (size_t)g->n_label, 1);
        for (int p = 0; share && p < g->n_prompt; p++)
            if (!isnan(share[p * g->n_label + k])) total += share[p * g->n_label + k], n++;
        add(l, &at, mean), add(l, &at, sd), add(l, &at, n ? total / n : NAN);
    }
    free(share);
}

static void log_generations(JsonWriter *w, const GenerationLog *l, const Step *s) {
    static const char *const run[PER_RUN] = {"completions/mean_length", "completions/min_length", "completions/max_length", "completions/clipped_ratio", "reward",
                                             "reward_std", "frac_reward_zero_std", "sampling/truncation_bias"};
    static const char *const of_label[PER_LABEL] = {"rewards/%s/mean", "rewards/%s/std", "label_share/%s"};
    const bool filtered = s->c->sampling.top_k || s->c->sampling.top_p < 1 || s->c->sampling.min_p > 0;
    for (int i = 0; i < PER_RUN + PER_LABEL * s->n_label; i++) {
        char key[96];
        if (i == PER_RUN - 1 && !filtered) continue;
        if (i < PER_RUN) snprintf(key, sizeof key, "%s", run[i]);
        else snprintf(key, sizeof key, of_label[(i - PER_RUN) % PER_LABEL], s->label[(i - PER_RUN) / PER_LABEL]);
        put(w, key, l->n[i] ? l->sum[i] / l->n[i] : NAN);
    }
}

static bool log_update(Step *s, Run *run, const GenerationLog *l, int64_t generation, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_key(&w, "step"); json_int(&w, s->trainer.step);
    put(&w, "loss", s->loss);
    put(&w, "grad_norm", s->trainer.grad_norm);
    put(&w, "learning_rate", s->trainer.lr);
    json_key(&w, "num_tokens"); json_int(&w, s->tokens);
    put(&w, "epoch", (double)(generation + 1) * s->gen.n_prompt / s->data.n);
    log_generations(&w, l, s);
    for (int i = 0; i < 9 && grpo_metric_names[i] && grpo_metric_names[i + 1]; i++)
        if (s->n_metric[i]) put(&w, grpo_metric_names[i + 1], s->metric[i] / s->n_metric[i]);
    if (s->c->grpo.entropy_coef != 0 || s->c->grpo.use_adaptive_entropy) put(&w, "entropy_coef", s->control.coef);
    json_end(&w, '}');
    const bool ok = run_log(run, &w, e);
    free(w.text);
    run_time(run, s->trainer.step, s->tokens);
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
        add_generation(&l, s);
        for (int i = 0; i < step_micro_batches(s) && t->step < t->n_step; i++) {
            if (!step_micro_batch(s, i, e)) return false;
            if (s->n_micro == s->accumulate && !update(s, run, &l, generation, e)) return false;
        }
        char detail[128];
        snprintf(detail, sizeof detail, "reward %.4f  kl %.4f  length %.1f  %.1f k tokens/s", s->gen.stats.reward, s->sums.n_token ? s->sums.kl / s->sums.n_token : 0,
                 (double)s->gen.offset[s->gen.n_completion] / s->gen.n_completion, run_rate(run, s->tokens));
        progress_at(&p, t->step, detail);
        if (s->n_micro == 0 && !run_checkpoint(run, &s->c->run, t, t->step == t->n_step, e)) return false;
    }
    progress_end(&p);
    return true;
}

/* ---- the end ------------------------------------------------------------------------------ */

/* The held-out prompts as a file, so that anybody can ask again: grpo eval --dataset. */
static bool write_held(const Step *s, Err *e) {
    char path[600];
    JsonWriter w = {0};
    for (int i = 0; i < s->held.n; i++) {
        const Example *x = &s->held.row[i];
        if (x->row) json_value(&w, x->row);
        else json_begin(&w, '{'), json_key(&w, "prompt"), json_string(&w, x->prompt[x->n_prompt - 1].content), json_end(&w, '}');
        json_raw(&w, "\n");
    }
    const bool ok = path_join(path, sizeof path, s->c->run.output_dir, "eval_prompts.jsonl", e) && file_write(path, w.text, w.length, e);
    free(w.text);
    return ok;
}

/* Before and after on the held-out prompts: eval.json, and on stdout or as a member of *w. */
static bool evaluate(const Step *s, JsonWriter *w, Err *e) {
    const StepConfig *c = s->c;
    char path[600], final[600];
    JsonWriter file = {.indent = 2};
    Speaker before = {.info = s->info, .language = s->language}, after = {.model = s->policy, .info = s->info, .language = s->language};
    const EvalPlan plan = {.data = &s->held, .scorer = s->scorer, .weight = s->weight, .clip_low = s->clip ? s->clip_low : NULL, .clip_high = s->clip_high,
                           .missing = c->grpo.missing_labels, .sampling = c->sampling, .num_generations = s->group, .max_completion_length = c->grpo.max_completion_length,
                           .seed = c->run.seed};
    Model base = s->base, *start = c->run.adapter.use_peft ? &base : s->copy ? s->copy : folder_load_as(c->run.model, &s->policy->config, 0, e);
    Eval *v = start ? eval_new(&plan, e) : NULL;
    before.model = start;
    speaker_stops(&before);
    speaker_stops(&after);
    bool ok = v && path_join(path, sizeof path, c->run.output_dir, "eval.json", e) && path_join(final, sizeof final, c->run.output_dir, "final", e) &&
              eval_add(v, c->run.model, &before, e) && eval_add(v, final, &after, e);
    if (ok) {
        eval_json(&file, v);
        json_raw(&file, "\n");
        ok = write_held(s, e) && file_write(path, file.text, file.length, e);
    }
    if (ok && w) json_key(w, "eval"), eval_json(w, v);
    else if (ok) {
        printf("\nbefore and after, on the prompts that --eval-split held out (%s/eval_prompts.jsonl); scores are those that training used\n", c->run.output_dir);
        eval_print(v);
    }
    free(file.text);
    eval_free(v);
    if (start != &base && start != s->copy) model_free(start);
    return ok;
}

static bool finish(Step *s, Err *e) {
    char final[600], hex[65];
    if (s->info.n_stop == 0) s->info.stop[s->info.n_stop++] = s->language.end_of_turn;
    if (!path_join(final, sizeof final, s->c->run.output_dir, "final", e) || !folder_save(final, s->policy, &s->info, s->c->run.model, run_store(&s->c->run), e)) return false;
    folder_digest(s->policy, hex);
    if (!s->c->run.json) {
        printf("%s: %lld steps, reward of the last %.4f, weights %.16s\n", final, (long long)s->trainer.step, s->gen.stats.reward, hex);
        return !s->held.n || evaluate(s, NULL, e);
    }
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_key(&w, "steps"); json_int(&w, s->trainer.step);
    json_key(&w, "reward"); json_number(&w, s->gen.stats.reward);
    json_key(&w, "final"); json_string(&w, final);
    json_key(&w, "sha256"); json_string(&w, hex);
    const bool ok = !s->held.n || evaluate(s, &w, e);
    json_end(&w, '}');
    if (ok) puts(w.text);
    free(w.text);
    return ok;
}

static bool train(Step *s, Run *run, const StepConfig *c, Err *e) {
    if (!run_options_check(&c->run, e)) return false;
    if (c->run.plan) return step_plan(c->run.plan, c, e);
    if (!c->run.resume && !folder_is_empty(c->run.output_dir)) return fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume", c->run.output_dir);
    if (!step_open(s, c, e) || !run_begin(run, &table, c, &c->run, &s->trainer, e)) return false;
    step_resume(s);
    run_tokens(run, s->tokens);
    return (loop(s, run, e) || run_failed(run, e)) && finish(s, e);
}

int plan_train(RunPlan *plan, int argc, char **argv, Err *e) {
    StepConfig c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.grpo);
    const int r = options_parse(&c, &table, argc, argv, e);
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
