/* step_report.c: what a run of `train` or `ppo` says of its generations, and how it ends: final/, and before
 * and after on held-out prompts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/eval.h"
#include "step.h"
#include "lib/files.h"

/* ---- a generation ------------------------------------------------------------------------- */

static void add(GenerationLog *l, int *at, double x) {
    if (!isnan(x)) l->sum[*at] += x, l->n[*at]++;
    ++*at;
}

void generation_log_add(GenerationLog *l, const Step *s) {
    const Generation *g = &s->gen;
    double length = 0, min = INFINITY, max = 0, cut = 0;
    int at = 0;
    if (l->logged) memset(l, 0, sizeof *l);
    for (int i = 0; i < g->n_completion; i++) {
        const double n = g->out.length[i];
        length += n, cut += !g->out.ended[i];
        min = n < min ? n : min, max = n > max ? n : max;
    }
    const double run[LOG_PER_RUN] = {length / g->n_completion,
                                     min,
                                     max,
                                     cut / g->n_completion,
                                     g->stats.reward,
                                     g->stats.reward_std,
                                     g->stats.frac_reward_zero_std,
                                     g->out.truncation_bias};
    for (int i = 0; i < LOG_PER_RUN; i++) add(l, &at, run[i]);
    double *share = malloc((size_t)(g->n_prompt * g->n_label) * sizeof(double));
    if (share)
        reward_label_share(share, g->score, s->weight, (size_t)g->n_completion, (size_t)g->n_label,
                           (size_t)s->group);
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

void generation_log_write(JsonWriter *w, const GenerationLog *l, const Step *s) {
    static const char *const run[LOG_PER_RUN] = {"completions/mean_length",
                                                 "completions/min_length",
                                                 "completions/max_length",
                                                 "completions/clipped_ratio",
                                                 "reward",
                                                 "reward_std",
                                                 "frac_reward_zero_std",
                                                 "sampling/truncation_bias"};
    static const char *const of_label[LOG_PER_LABEL] = {"rewards/%s/mean", "rewards/%s/std",
                                                        "label_share/%s"};
    const bool filtered = s->c->sampling.top_k || s->c->sampling.top_p < 1 || s->c->sampling.min_p > 0;
    for (int i = 0; i < LOG_PER_RUN + LOG_PER_LABEL * s->n_label; i++) {
        char key[96];
        if (i == LOG_PER_RUN - 1 && !filtered) continue;
        if (i < LOG_PER_RUN) snprintf(key, sizeof key, "%s", run[i]);
        else
            snprintf(key, sizeof key, of_label[(i - LOG_PER_RUN) % LOG_PER_LABEL],
                     s->label[(i - LOG_PER_RUN) / LOG_PER_LABEL]);
        json_put(w, key, l->n[i] ? l->sum[i] / l->n[i] : NAN);
    }
    for (int k = 0; s->floors && k < s->n_label; k++) {
        char key[96];
        snprintf(key, sizeof key, "multiplier/%s", s->label[k]);
        if (s->floor[k] > -INFINITY) json_put(w, key, s->multiplier[k]);
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

/* The held-out prompts as a file, so that anybody can ask again: grpo eval --dataset. */
static bool write_held(const Step *s, Err *e) {
    char path[600];
    JsonWriter w = {0};
    for (int i = 0; i < s->held.n; i++) {
        const Example *x = &s->held.row[i];
        if (x->row) json_value(&w, x->row);
        else
            json_begin(&w, '{'), json_put_string(&w, "prompt", x->prompt[x->n_prompt - 1].content),
                json_end(&w, '}');
        json_raw(&w, "\n");
    }
    const bool ok = path_join(path, sizeof path, s->c->run.output_dir, "eval_prompts.jsonl", e) &&
                    file_write(path, w.text, w.length, e);
    free(w.text);
    return ok;
}

/* Before and after on the held-out prompts: eval.json, and on stdout or as a member of *w. */
static bool evaluate(const Step *s, JsonWriter *w, Err *e) {
    const StepConfig *c = s->c;
    char path[600], final[600];
    JsonWriter file = {.indent = 2};
    Speaker before = {.info = s->info, .language = s->language},
            after = {.model = s->policy, .info = s->info, .language = s->language};
    const EvalPlan plan = {.data = &s->held, .scorer = s->scorer, .weight = s->weight,
                           .clip_low = s->clip ? s->clip_low : NULL, .clip_high = s->clip_high,
                           .missing = c->grpo.missing_labels, .sampling = c->sampling,
                           .num_generations = s->group,
                           .max_completion_length = c->grpo.max_completion_length,
                           .seed = c->run.seed};
    Model base = s->base, *start = c->run.adapter.use_peft ? &base
                                   : s->copy               ? s->copy
                                             : folder_load_as(c->run.model, &s->policy->config, 0, e);
    Eval *v = start ? eval_new(&plan, e) : NULL;
    before.model = start;
    speaker_stops(&before);
    speaker_stops(&after);
    bool ok = v && path_join(path, sizeof path, c->run.output_dir, "eval.json", e) &&
              path_join(final, sizeof final, c->run.output_dir, "final", e) &&
              eval_add(v, c->run.model, &before, e) && eval_add(v, final, &after, e);
    if (ok) {
        eval_json(&file, v);
        json_raw(&file, "\n");
        ok = write_held(s, e) && file_write(path, file.text, file.length, e);
    }
    if (ok && w) json_key(w, "eval"), eval_json(w, v);
    else if (ok) {
        printf("\nbefore and after, on the prompts that --eval-split held out (%s/eval_prompts.jsonl); "
               "scores are those that training used\n",
               c->run.output_dir);
        eval_print(v);
    }
    free(file.text);
    eval_free(v);
    if (start != &base && start != s->copy) model_free(start);
    return ok;
}

bool step_finish(Step *s, Err *e) {
    char final[600], hex[65];
    if (s->info.n_stop == 0) s->info.stop[s->info.n_stop++] = s->language.end_of_turn;
    if (!path_join(final, sizeof final, s->c->run.output_dir, "final", e) ||
        !folder_save(final, s->policy, &s->info, s->c->run.model, run_store(&s->c->run), e))
        return false;
    folder_digest(s->policy, hex);
    if (!s->c->run.json) {
        printf("%s: %lld steps, reward of the last %.4f, weights %.16s\n", final, (long long)s->trainer.step,
               s->gen.stats.reward, hex);
        return !s->held.n || evaluate(s, NULL, e);
    }
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_int(&w, "steps", s->trainer.step);
    json_put(&w, "reward", s->gen.stats.reward);
    json_put_string(&w, "final", final);
    json_put_string(&w, "sha256", hex);
    const bool ok = !s->held.n || evaluate(s, &w, e);
    json_end(&w, '}');
    if (ok) puts(w.text);
    free(w.text);
    return ok;
}
