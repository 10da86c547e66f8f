/* step_report.c: what a run of `train` or `ppo` logs of its generations, and how it ends: final/, before and
 * after on held-out prompts, and a page of all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "report/run_page.h"
#include "run/evaluate.h"
#include "lib/files.h"

void step_log_generation(JsonWriter *w, Step *s) {
    const Rewards *r = &s->rewards;
    const Sampling *p = &s->c->sampling;
    generation_log_write(w, &s->log, r->n_label, r->label, p->top_k || p->top_p < 1 || p->min_p > 0,
                         s->c->grpo.multi_objective_aggregation == WORST_GROUP);
    for (int k = 0; r->floors && k < r->n_label; k++) {
        char key[96];
        snprintf(key, sizeof key, "multiplier/%s", r->label[k]);
        if (r->floor[k] > -INFINITY) json_put(w, key, r->multiplier[k]);
    }
    s->log.logged = true;
}

void step_log(JsonWriter *w, Step *s, double tokens) {
    const UpdateSums *u = &s->update;
    const Trainer *trainer = &s->learner.trainer;
    const int64_t generations = s->at ? s->generation + 1 : s->generation;
    json_put(w, "loss", u->loss);
    json_put(w, "grad_norm", trainer->grad_norm);
    json_put(w, "learning_rate", trainer->lr);
    json_put_int(w, "num_tokens", (long long)tokens);
    json_put(w, "epoch", (double)generations * s->gen.n_prompt / s->prompts.train.n);
    step_log_generation(w, s);
    for (int i = 1; i < GRPO_N_METRIC; i++)             /* the first is the loss again */
        if (u->n_metric[i]) json_put(w, grpo_metric_names[i], u->metric[i] / u->n_metric[i]);
    if (s->c->grpo.entropy_coef != 0 || s->c->grpo.use_adaptive_entropy)
        json_put(w, "entropy_coef", s->control.coef);
}

void step_detail(char text[128], const Step *s) {
    const GrpoSums *sums = &s->micro.sums;
    snprintf(text, 128, "reward %.4f  kl %.4f  length %.1f", s->gen.stats.reward,
             sums->n_token ? sums->kl / sums->n_token : 0,
             (double)s->gen.offset[s->gen.n_completion] / s->gen.n_completion);
}

/* ---- while it goes on ---- */

bool step_watch(Step *s, Trainer *t, Err *e) {
    const StepConfig *c = s->c;
    if (!watch_open(&s->watch, &c->watch, &s->learner, &c->run, &s->gen, s->rewards.label, e))
        return false;
    watch_keep(&s->watch, t);
    return true;
}

/* How the held-out prompts are answered, `group` times each. */
static EvalPlan held_plan(const Step *s, int group) {
    const StepConfig *c = s->c;
    return (EvalPlan){.data = &s->prompts.held, .scorer = s->rewards.scorer, .weight = s->rewards.weight,
                      .clip_low = s->rewards.clip ? s->rewards.clip_low : NULL,
                      .clip_high = s->rewards.clip_high, .missing = c->grpo.missing_labels,
                      .sampling = c->sampling, .num_generations = group,
                      .max_completion_length = c->grpo.max_completion_length, .seed = c->run.seed};
}

typedef struct { double sum, n; } HeldMean;

static void held_add(HeldMean *m, double x) {
    if (!isnan(x)) m->sum += x, m->n++;
}

/* The answers to some of the held-out prompts, one to each, into the means in the order of the watch's names;
 * kl NULL: there is no reference. */
static void held_answers(HeldMean *m, const Judged *j, const double *kl, int n_label) {
    for (int i = 0; i < j->n; i++) {
        const int length = j->answers.out.length[i];
        HeldMean *at = m;
        held_add(at++, j->reward[i]);
        held_add(at++, length);
        held_add(at++, !j->answers.out.ended[i]);
        if (kl) at->sum += kl[i], at++->n += length;    /* the mean over tokens */
        for (int k = 0; k < n_label; k++) held_add(at++, j->score[i * n_label + k]);
    }
}

/* What it takes is no part of the run's cost. */
bool step_evaluate(Step *s, Err *e) {
    enum { BATCH = 64 };                /* prompts at once: memory only */
    const EvalPlan plan = held_plan(s, 1);
    const Model *ref = s->learner.reference;
    const int n = s->prompts.held.n, rows = s->c->run.slice_rows;
    Speaker policy = {.model = s->learner.model, .info = s->learner.info, .language = s->learner.language};
    HeldMean mean[WATCH_NUMBERS] = {{0}};
    Costs apart = {.predicted = {.prompt = 0}};
    double kl[BATCH];
    bool ok = true;
    speaker_stops(&policy);
    step_count(s, &apart);
    for (int first = 0; ok && first < n; first += BATCH) {
        Judged j;
        ok = judged_new(&j, &plan, &policy, first, n - first < BATCH ? n - first : BATCH, e) &&
             (!ref || answers_kl(kl, &apart, ref, &j.answers, rows, plan.sampling.temperature, e));
        if (ok) held_answers(mean, &j, ref ? kl : NULL, s->rewards.n_label);
        judged_free(&j);
    }
    step_count(s, s->cost);
    for (int i = 0; i < s->watch.n; i++) s->watch.value[i] = mean[i].n ? mean[i].sum / mean[i].n : NAN;
    return ok;
}

/* ---- the end ---- */

/* The held-out prompts as a file, so that anybody can ask again: grpo eval --dataset. */
static bool write_held(const Step *s, Err *e) {
    char path[600];
    JsonWriter w = {0};
    for (int i = 0; i < s->prompts.held.n; i++) {
        const Example *x = &s->prompts.held.row[i];
        if (x->row) json_value(&w, x->row);
        else
            json_begin(&w, '{'), json_put_string(&w, "prompt", x->prompt[x->n_prompt - 1].content),
                json_end(&w, '}');
        json_raw(&w, "\n");
    }
    const bool ok = path_join(path, sizeof path, s->c->run.output_dir, "eval_prompts.jsonl", e) &&
                    json_save(path, &w, e);
    free(w.text);
    return ok;
}

/* The policy's answers to the held-out prompts, into the table and into the folder's replies.jsonl. */
static bool add_policy(Eval *v, const char *name, const Speaker *policy, const Step *s, const char *folder,
                       Err *e) {
    char dir[600], path[640];
    return path_join(dir, sizeof dir, s->c->run.output_dir, folder, e) && folder_make(dir, e) &&
           path_join(path, sizeof path, dir, "replies.jsonl", e) && eval_add(v, name, policy, path, e);
}

/* Before and after on the held-out prompts: eval.json, and on stdout or as a member of *w. */
static bool before_and_after(const Step *s, JsonWriter *w, Err *e) {
    const StepConfig *c = s->c;
    char path[600], final[600];
    JsonWriter file = {.indent = 2};
    Speaker before = {.info = s->learner.info, .language = s->learner.language},
            after = {.model = s->learner.model, .info = s->learner.info, .language = s->learner.language};
    const EvalPlan plan = held_plan(s, s->group);
    Model base = s->learner.base, *copy = s->learner.copy;
    Model *start = c->run.adapter.use_peft ? &base
                   : copy                  ? copy
                                           : folder_load_as(c->run.model, &s->learner.model->config, 0, e);
    Eval *v = start ? eval_new(&plan, e) : NULL;
    before.model = start;
    speaker_stops(&before);
    speaker_stops(&after);
    bool ok = v && path_join(path, sizeof path, c->run.output_dir, "eval.json", e) &&
              path_join(final, sizeof final, c->run.output_dir, "final", e) &&
              add_policy(v, c->run.model, &before, s, "eval_before", e) &&
              add_policy(v, final, &after, s, "eval_after", e);
    if (ok) {
        eval_json(&file, v);
        json_raw(&file, "\n");
        ok = write_held(s, e) && json_save(path, &file, e);
    }
    if (ok) json_key(w, "eval"), eval_json(w, v);
    if (ok && !c->run.json) {
        printf("\nbefore and after, on the prompts that --eval-split held out (%s/eval_prompts.jsonl); "
               "scores are those that training used\n",
               c->run.output_dir);
        eval_print(v);
    }
    free(file.text);
    eval_free(v);
    if (start != &base && start != copy) model_free(start);
    return ok;
}

static bool finish_page(JsonWriter *w, const Step *s, Err *e) {
    char path[600];
    bool written;
    const RunOptions *o = &s->c->run;
    if (!path_join(path, sizeof path, o->output_dir, "report.html", e) ||
        !run_page(&written, path, o->output_dir, run_tables, e))
        return false;
    if (written) json_put_string(w, "page", path);
    if (written && !o->json) printf("%s: curves, tables, and replies before and after\n", path);
    return true;
}

bool step_finish(JsonWriter *w, Training *t, Step *s, Err *e) {
    char told[64];
    if (!training_final(w, t, &s->learner, "reward", s->gen.stats.reward, e)) return false;
    snprintf(told, sizeof told, "reward of the last %.4f", s->gen.stats.reward);
    training_tell(t, told, "");
    return !s->prompts.held.n || (before_and_after(s, w, e) && finish_page(w, s, e)) ||
           fail_also(e, "; %s is written: mend the cause, then --resume makes the table", t->final);
}
