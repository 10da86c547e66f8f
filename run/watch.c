/* watch.c: what one sees of a run while it goes on. */
#include "run/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/say.h"
#include "lib/words.h"

static const char *const greater_names[] = {"none", "true", "false", NULL};

#define AT(member) offsetof(WatchOptions, member)
const Setting watch_settings[] = {
    SETTINGS_HEADING("What is seen while it trains"),
    {"eval_steps", SET_STEPS, AT(eval_steps), "0", NULL,
     "every so many updates, or every such share of all, the held-out prompts are answered, once each, and "
     "what comes of it is logged; 0: never"},
    {"metric_for_best_model", SET_STRING, AT(metric_for_best_model), NULL, NULL,
     "a name of the log that begins with eval_, such as eval_reward: the policy that was best by it is kept "
     "in best/"},
    {"greater_is_better", SET_CHOICE, AT(greater_is_better), "none", greater_names,
     "none: yes, but for eval_kl"},
    {"load_best_model_at_end", SET_BOOL, AT(load_best_model_at_end), "false", NULL,
     "final/ is the best policy, not the last"},
    {"early_stopping_patience", SET_INT, AT(early_stopping_patience), "0", NULL,
     "the run ends after so many evaluations that were not better than the best; 0: never"},
    {"log_completions", SET_BOOL, AT(log_completions), "false", NULL,
     "at every line of the log: completions, scores and advantages into completions.jsonl, and a prompt's on "
     "stderr"},
    SETTINGS_END};

/* ---- held-out prompts ---- */

static void watch_name(Watch *w, const char *pattern, const char *label) {
    snprintf(w->name[w->n++], sizeof w->name[0], pattern, label);
}

static bool find_metric(Watch *w, const char *metric, Err *e) {
    const char *name[WATCH_NUMBERS], *own = strncmp(metric, "eval_", 5) ? metric : metric + 5;
    char list[640] = "";
    for (int i = 0; i < w->n; i++) {
        name[i] = w->name[i];
        if (!strcmp(own, w->name[i])) w->metric = i;
        const size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%seval_%s", i ? ", " : "", w->name[i]);
    }
    if (w->metric >= 0) return true;
    const char *near = nearest_name(own, name, w->n);
    return fail(e, "--metric-for-best-model: no line of the log has \"%.80s\"%s%s; they have %s", metric,
                near ? ", did you mean eval_" : "", near ? near : "", list);
}

bool watch_check(const WatchOptions *o, bool held_out, Err *e) {
    if (o->early_stopping_patience < 0)
        return fail(e, "--early-stopping-patience: found %d, expected at least 1, or 0: never",
                    o->early_stopping_patience);
    if (o->eval_steps && !held_out)
        return fail(e, "--eval-steps: nothing is held out; give --eval-dataset FILE or --eval-split SHARE");
    if (!o->eval_steps && o->metric_for_best_model)
        return fail(e, "--metric-for-best-model: has no effect without --eval-steps; give both or neither");
    if (!o->metric_for_best_model && (o->load_best_model_at_end || o->early_stopping_patience))
        return fail(e, "--%s: needs --metric-for-best-model, which says what is best",
                    o->load_best_model_at_end ? "load-best-model-at-end" : "early-stopping-patience");
    return true;
}

bool watch_open(Watch *w, const WatchOptions *o, Learner *learner, const RunOptions *run,
                const Generation *drawn, const char (*label)[64], Err *e) {
    *w = (Watch){.o = o, .learner = learner, .run = run, .drawn = drawn, .label = label, .metric = -1,
                 .best_step = -1};
    watch_name(w, "reward", "");
    watch_name(w, "completions/mean_length", "");
    watch_name(w, "completions/clipped_ratio", "");
    if (learner->reference) watch_name(w, "kl", "");
    for (int k = 0; k < drawn->n_label; k++) watch_name(w, "rewards/%s/mean", label[k]);
    if (o->metric_for_best_model && !find_metric(w, o->metric_for_best_model, e)) return false;
    w->greater = o->greater_is_better == GREATER_TRUE ||
                 (o->greater_is_better == GREATER_AUTO && w->metric >= 0 && strcmp(w->name[w->metric], "kl"));
    return true;
}

void watch_keep(Watch *w, Trainer *t) {
    if (w->metric < 0) return;
    trainer_keep(t, "best", &w->best, 1);
    trainer_keep(t, "best_step", &w->best_step, 1);
    trainer_keep(t, "worse", &w->worse, 1);
}

static bool best_path(char path[600], const Watch *w, Err *e) {
    return path_join(path, 600, w->run->output_dir, "best", e);
}

static bool keep_best(Watch *w, int64_t step, Err *e) {
    char path[600];
    w->best = w->value[w->metric], w->best_step = (double)step, w->worse = 0;
    return best_path(path, w, e) && learner_save(w->learner, w->run, path, e);
}

bool watch_over(const Watch *w) {
    return w->o->early_stopping_patience && w->worse >= w->o->early_stopping_patience;
}

bool watch_tell(JsonWriter *line, bool *stop, Watch *w, int64_t step, Err *e) {
    char key[104];
    for (int i = 0; i < w->n; i++) {
        snprintf(key, sizeof key, "eval_%s", w->name[i]);
        json_put(line, key, w->value[i]);
    }
    if (w->metric < 0) return true;
    const double x = w->value[w->metric];
    const bool better = !isnan(x) && (w->best_step < 0 || (w->greater ? x > w->best : x < w->best));
    if (better ? !keep_best(w, step, e) : w->worse++ < 0) return false;
    *stop = watch_over(w);
    if (*stop)
        fprintf(stderr,
                "early stopping: the last %g evaluations were not better than step %g, whose eval_%s is %g\n",
                w->worse, w->best_step, w->name[w->metric], w->best);
    return true;
}

bool watch_load_best(const Watch *w, Err *e) {
    char path[600];
    if (!w->o || !w->o->load_best_model_at_end) return true;
    if (w->best_step < 0) {
        fprintf(stderr, "final/ is the last policy: no evaluation had a number for eval_%s\n",
                w->name[w->metric]);
        return true;
    }
    if (!best_path(path, w, e)) return false;
    Model *m = folder_load_as(path, &w->learner->model->config, 0, e);
    if (!m) {
        const size_t n = strlen(e->line);
        snprintf(e->line + n, sizeof e->line - n,
                 "; the best model of step %g was kept there: put it back, or --resume without "
                 "--load-best-model-at-end",
                 w->best_step);
        return false;
    }
    model_copy(w->learner->model, m);
    model_pack(w->learner->model);
    model_free(m);
    fprintf(stderr, "final/ is the policy of step %g, whose eval_%s is %g\n", w->best_step,
            w->name[w->metric], w->best);
    return true;
}

/* ---- completions ---- */

static bool completions_path(char path[600], const Watch *w, Err *e) {
    return path_join(path, 600, w->run->output_dir, "completions.jsonl", e);
}

bool watch_resume(const Watch *w, int64_t step, Err *e) {
    char path[600];
    size_t n, keep = 0;
    if (!completions_path(path, w, e)) return false;
    if (!w->o->log_completions || !path_exists(path)) return true;
    char *text = file_read(path, &n, e);
    if (!text) return false;
    for (char *end; (end = strchr(text + keep, '\n')); keep = (size_t)(end + 1 - text))
        if (strncmp(text + keep, "{\"step\":", 8) || strtoll(text + keep + 8, NULL, 10) > step) break;
    const bool ok = file_write(path, text, keep, e);
    free(text);
    return ok;
}

static void put_drawn(JsonWriter *j, int64_t step, const Watch *w, int i) {
    const Generation *g = w->drawn;
    json_begin(j, '{');
    json_put_int(j, "step", step);
    example_put_messages(j, g->example[i / (g->n_completion / g->n_prompt)]);
    json_put_string(j, "completion", g->text[i]);
    json_put_string(j, "finish_reason", g->ended[i] ? "stop" : "length");
    scores_put(j, "scores", w->label, g->score + i * g->n_label, g->n_label);
    json_put(j, "reward", g->reward[i]);
    json_put(j, "advantage", g->adv[i]);
    json_end(j, '}');
    json_raw(j, "\n");
}

/* As much of a text as a line has room for, whole characters; what would move the cursor becomes a blank. */
static void one_line(char out[81], const char *text) {
    const size_t n = text_within(text, 80);
    memcpy(out, text, n);
    out[n] = 0;
    for (size_t i = 0; i < n; i++)
        for (int k = control_at(out + i); k > 0; k--) out[i + (size_t)k - 1] = ' ';
}

static void tell_first(int64_t step, const Generation *g) {
    const Example *x = g->example[0];
    char told[81];
    one_line(told, x->prompt[x->n_prompt - 1].content);
    fprintf(stderr, "step %lld: %s\n", (long long)step, told);
    for (int i = 0; i < g->n_completion / g->n_prompt; i++) {
        one_line(told, g->text[i]);
        fprintf(stderr, "  reward %8.4f  advantage %8.4f  %s\n", (double)g->reward[i], (double)g->adv[i],
                told);
    }
}

bool watch_completions(const Watch *w, int64_t step, Err *e) {
    const Generation *g = w->drawn;
    char path[600];
    JsonWriter j = {0};
    if (!completions_path(path, w, e)) return false;
    for (int i = 0; i < g->n_completion; i++) put_drawn(&j, step, w, i);
    FILE *file = fopen(path, "ab");
    bool ok = file && fwrite(j.text, 1, j.length, file) == j.length;
    ok = (!file || fclose(file) == 0) && ok;
    free(j.text);
    if (ok) tell_first(step, g);
    return ok || fail(e, "%s: could not be written", path);
}
