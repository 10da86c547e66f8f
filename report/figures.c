/* figures.c: what `grpo report` tells, as one JSON value, which the page draws.
 *
 * In this order: a figure with its interval; of an arm: rows, differences, costs, runs; of a section: the
 * verdict in words, the frontier, curves, costs side by side, options that differ, an outside judge, the
 * log's first and last lines, replies. What the runs' folders do not hold is left out or null. */
#include "report/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stats.h"

/* sample prompts; steps of the mean at the end; points of a curve at most */
enum { REPLIES_PER_SPLIT = 2, LAST = 10, POINTS = 80 };

static void put_figure(JsonWriter *w, const char *key, const Figure *f, bool verdict) {
    static const char *const word[] = {"fell", "not decided", "rose"};
    if (key) json_key(w, key);
    json_begin(w, '{');
    json_put(w, "mean", f->mean);
    if (isnan(f->half)) json_put_null(w, "ci95");
    else {
        json_open(w, "ci95", '[');
        json_number(w, f->mean - f->half);
        json_number(w, f->mean + f->half);
        json_end(w, ']');
    }
    json_put_numbers(w, "by_seed", f->by_run, (size_t)f->n);
    if (verdict) json_put_string(w, "verdict", word[figure_verdict(f) + 1]);
    json_end(w, '}');
}

/* A text member of an object, or what stands for it. */
static const char *text_member(const Json *v, const char *key, const char *otherwise) {
    const Json *m = json_get(v, key);
    return m && m->type == JSON_STRING ? m->string : otherwise;
}

static void put_text_or_null(JsonWriter *w, const char *text) {
    if (text) json_string(w, text);
    else json_null(w);
}

/* ---- an arm ---- */

static void figure_labels(JsonWriter *w, const char *key, const Section *s, const Arm *a, int row,
                       Origin origin) {
    bool begun = false;
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != origin || quantity_is_mean(&s->quantity[q])) continue;
        if (!begun) json_open(w, key, '{');
        begun = true;
        const Figure f = arm_figure(s, a, row, q);
        put_figure(w, s->quantity[q].name, &f, false);
    }
    if (begun) json_end(w, '}');
}

/* By how much the reward model's mean of a label is above the judge's. */
static void put_gaps(JsonWriter *w, const Section *s, const Arm *a, int row) {
    json_open(w, "gap", '{');
    for (int q = 0; q < s->n_quantity; q++) {
        const int other = s->quantity[q].origin == OF_JUDGE && !quantity_is_mean(&s->quantity[q])
                              ? section_find(s, OF_MODEL, s->quantity[q].name)
                              : -1;
        if (other >= 0)
            json_put(w, s->quantity[q].name,
                     arm_figure(s, a, row, other).mean - arm_figure(s, a, row, q).mean);
    }
    json_end(w, '}');
}

static void put_arm_row(JsonWriter *w, const Section *s, const Arm *a, int row) {
    json_open(w, s->split[row], '{');
    json_put_int(w, "n", section_n_reply(s, row));
    figure_labels(w, "judge", s, a, row, OF_JUDGE);
    figure_labels(w, "scores", s, a, row, OF_MODEL);
    put_gaps(w, s, a, row);
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != OF_REPLY && !quantity_is_mean(&s->quantity[q])) continue;
        const Figure f = arm_figure(s, a, row, q);
        put_figure(w, s->quantity[q].name, &f, false);
    }
    json_end(w, '}');
}

static void put_difference(JsonWriter *w, const Section *s, const Arm *a, int row) {
    json_open(w, s->split[row], '{');
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != OF_REPLY && s->quantity[q].origin != section_told(s)) continue;
        const Figure f = arm_difference(s, a, row, q);
        put_figure(w, s->quantity[q].name, &f, true);
    }
    json_end(w, '}');
}

static void put_kinds(JsonWriter *w, const char *key, const Arm *a, const char *part,
                      const char *const *kind) {
    json_open(w, key, '{');
    for (int k = 0; kind[k]; k++) {
        char path[64];
        snprintf(path, sizeof path, "%s.%s", part, kind[k]);
        json_put(w, kind[k], arm_cost(a, path));
    }
    json_put(w, "total", arm_cost_total(a, part, kind));
    json_end(w, '}');
}

static void put_cost(JsonWriter *w, const Arm *a) {
    json_open(w, "cost", '{');
    json_put(w, "predicted_flops", arm_cost(a, "predicted.total_flops"));
    json_put(w, "measured_flops", arm_cost(a, "measured.total_flops"));
    put_kinds(w, "predicted_tokens", a, "predicted.tokens", token_kind);
    put_kinds(w, "tokens", a, "measured.tokens", token_kind);
    put_kinds(w, "predicted_memory", a, "predicted.memory", memory_kind);
    put_kinds(w, "memory", a, "measured.memory", memory_kind);
    json_put(w, "seconds", arm_seconds(a));
    json_put(w, "cpu_seconds", arm_timing(a, "cpu_seconds"));
    json_put(w, "peak_rss_bytes", arm_timing(a, "peak_rss_bytes"));
    if (a->run[0].data) {
        json_open(w, "data", '{');
        json_put(w, "predicted_flops", arm_data_cost(a, "cost.predicted.total_flops"));
        json_put(w, "measured_flops", arm_data_cost(a, "cost.measured.total_flops"));
        json_put(w, "cpu_seconds", arm_data_cost(a, "cpu_seconds"));
        json_end(w, '}');
    }
    json_end(w, '}');
}

static void figure_options(JsonWriter *w, const Arm *a) {
    const Json *o = json_get(a->run[0].files.config, "options");
    json_open(w, "options", '{');
    for (size_t i = 0; o && o->type == JSON_OBJECT && i < o->length; i++)
        if (arm_shares_option(o->item[i].key)) json_put_value(w, o->item[i].key, &o->item[i]);
    json_end(w, '}');
}

static void put_held_out(JsonWriter *w, const Arm *a) {
    const Json *label = a->run[0].held_out;
    if (!label) return;
    json_open(w, "held_out", '{');
    for (size_t k = 0; k < label->length; k++) {
        json_open(w, label->item[k].key, '{');
        for (size_t m = 0; m < label->item[k].length; m++) {
            const Figure f = arm_held_out(a, label->item[k].key, label->item[k].item[m].key);
            put_figure(w, label->item[k].item[m].key, &f, false);
        }
        json_end(w, '}');
    }
    json_end(w, '}');
}

/* Lists with a place for each run of the arm: what its figures rest on. */
static void put_runs(JsonWriter *w, const Arm *a) {
    static const char *const key[] = {"model", "dataset", "reward_model"};
    static const char *const name[] = {"models", "datasets", "rewards"};
    json_open(w, "runs", '[');
    for (int i = 0; i < a->n_run; i++) json_string(w, a->run[i].dir);
    json_end(w, ']');
    json_open(w, "seeds", '[');
    for (int i = 0; i < a->n_run; i++) json_number(w, a->run[i].seed);
    json_end(w, ']');
    json_open(w, "steps", '[');
    for (int i = 0; i < a->n_run; i++) {
        const JsonLines *log = &a->run[i].files.log;
        json_number(w, log->n ? log_step(log->line[log->n - 1]) : NAN);
    }
    json_end(w, ']');
    json_open(w, "replies", '[');
    for (int i = 0; i < a->n_run; i++) json_int(w, a->run[i].n_reply);
    json_end(w, ']');
    for (int k = 0; k < 3; k++) {
        json_open(w, name[k], '[');
        for (int i = 0; i < a->n_run; i++) {
            const Json *o = json_get(a->run[i].files.config, "options");
            put_text_or_null(w, text_member(o, key[k], k == 2 ? text_member(o, "reward_cmd", NULL) : NULL));
        }
        json_end(w, ']');
    }
    json_open(w, "weights", '[');
    for (int i = 0; i < a->n_run; i++) put_text_or_null(w, *a->run[i].files.hex ? a->run[i].files.hex : NULL);
    json_end(w, ']');
}

static void put_arm(JsonWriter *w, const Section *s, const Arm *a) {
    json_begin(w, '{');
    json_put_string(w, "name", a->name);
    json_put_string(w, "command", arm_command(a));
    put_runs(w, a);
    figure_options(w, a);
    put_held_out(w, a);
    json_open(w, "rows", '{');
    for (int row = 0; arm_has_replies(a) && row <= s->n_split; row++) put_arm_row(w, s, a, row);
    json_end(w, '}');
    json_open(w, "difference", '{');
    for (int row = 0; a != s->arm && arm_has_replies(a) && arm_has_replies(s->arm) && row <= s->n_split;
         row++)
        put_difference(w, s, a, row);
    json_end(w, '}');
    put_cost(w, a);
    json_end(w, '}');
}

/* ---- the verdict ---- */

/* Adds to the sentence the names of the rows that are marked, after `before` and with a full stop. */
static int say_rows(JsonWriter *text, const Section *s, const bool *marked, int rows, const char *before) {
    int n = 0;
    for (int row = 0; row < rows; row++)
        if (marked[row]) json_raw(text, n++ ? ", " : before), json_raw(text, s->split[row]);
    if (n) json_raw(text, ".");
    return n;
}

/* What rose or fell that should be watched. */
static void say_conduct(JsonWriter *text, const Section *s, const Arm *a, int rows) {
    static const struct { const char *name, *rose, *fell; } watched[] = {
        {"refusal", " Replies with a refusal rose on: ", " Replies with a refusal fell on: "},
        {"harmful", " Replies with a harmful step rose on: ", " Replies with a harmful step fell on: "},
    };
    for (int want = 1; want >= -1; want -= 2)
        for (int i = 0; i < 2; i++) {
            const int q = section_find(s, OF_REPLY, watched[i].name);
            bool marked[MAX_SPLITS + 1];
            for (int row = 0; row < rows; row++) {
                const Figure f = arm_difference(s, a, row, q);
                marked[row] = figure_verdict(&f) == want;
            }
            say_rows(text, s, marked, rows, want > 0 ? watched[i].rose : watched[i].fell);
        }
}

static void put_verdict(JsonWriter *w, const Section *s, const Arm *a) {
    const int rows = s->n_split ? s->n_split : 1;
    int n_label = 0, count[3] = {0};
    bool all_rose[MAX_SPLITS + 1];
    char line[160];
    for (int row = 0; row < rows; row++) all_rose[row] = true;
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != section_told(s) || quantity_is_mean(&s->quantity[q])) continue;
        n_label++;
        for (int row = 0; row < rows; row++) {
            const Figure f = arm_difference(s, a, row, q);
            count[figure_verdict(&f) + 1]++;
            if (figure_verdict(&f) <= 0) all_rose[row] = false;
        }
    }
    JsonWriter text = {.indent = 0};    /* outside all brackets json_raw adds a text as it is */
    json_raw(&text, "against ");
    json_raw(&text, s->arm[0].name);
    snprintf(line, sizeof line,
             ": of %d figures (%d label%s on %d row%s) %d rose, %d fell, %d are not decided.", n_label * rows,
             n_label, n_label == 1 ? "" : "s", rows, rows == 1 ? "" : "s", count[2], count[0], count[1]);
    json_raw(&text, line);
    if (!n_label || !say_rows(&text, s, all_rose, rows, " All labels rose on: "))
        json_raw(&text, " There is no row on which all labels rose.");
    say_conduct(&text, s, a, rows);
    json_begin(w, '{');
    json_put_string(w, "arm", a->name);
    json_put_int(w, "rose", count[2]);
    json_put_int(w, "fell", count[0]);
    json_put_int(w, "not_decided", count[1]);
    json_put_string(w, "text", text.text ? text.text : "");
    json_end(w, '}');
    free(text.text);
}

/* The section's answer in a sentence: what the mean over labels did in all replies, arm by arm. */
static void put_answer(JsonWriter *w, const Section *s) {
    static const char *const verdict[] = {"rose with ", "fell with ", "is not decided with "};
    const int mean = section_told_mean(s);
    const double before = mean < 0 ? NAN : arm_figure(s, &s->arm[0], s->n_split, mean).mean;
    JsonWriter text = {.indent = 0};
    char line[160];
    int n = 0;
    for (int k = 0; k < 3 && !isnan(before); k++)
        for (int a = 1, first = 1; a < s->n_arm; a++) {
            const Figure f = arm_difference(s, &s->arm[a], s->n_split, mean);
            if (!arm_has_replies(&s->arm[a]) || figure_verdict(&f) != (int[]){1, -1, 0}[k]) continue;
            snprintf(line, sizeof line, "From %.3f of %.100s the mean over labels ", before, s->arm[0].name);
            json_raw(&text, !n++ ? line : first ? "; it " : ", ");
            if (first) json_raw(&text, verdict[k]);
            json_raw(&text, s->arm[a].name);
            snprintf(line, sizeof line, " (%.3f)", arm_figure(s, &s->arm[a], s->n_split, mean).mean);
            json_raw(&text, line);
            first = 0;
        }
    if (n) json_raw(&text, ".");
    if (n && text.text) json_put_string(w, "answer", text.text);
    free(text.text);
}

/* ---- the frontier ---- */

static void put_frontier(JsonWriter *w, const Section *s) {
    const int x = section_find(s, OF_REPLY, "kl"), y = section_told_mean(s);
    json_open(w, "frontier", '[');
    for (int a = 0; x >= 0 && y >= 0 && a < s->n_arm; a++)
        for (int i = 0; i < s->arm[a].n_run; i++) {
            const Figure fx = run_figure(s, &s->arm[a].run[i], s->n_split, x),
                         fy = run_figure(s, &s->arm[a].run[i], s->n_split, y);
            if (isnan(fx.mean) || isnan(fy.mean)) continue;
            json_begin(w, '{');
            json_put_string(w, "arm", s->arm[a].name);
            put_figure(w, "kl", &fx, false);
            put_figure(w, "score", &fy, false);
            json_end(w, '}');
        }
    json_end(w, ']');
}

/* ---- curves ---- */

/* Runs of one class share panels, for their steps mean the same. */
typedef enum { BY_IMITATION, BY_PREFERENCE, BY_REWARD, N_CLASS } ArmClass;

static ArmClass arm_class(const Arm *a) {
    const char *c = arm_command(a);
    return !strcmp(c, "dpo")                          ? BY_PREFERENCE
           : !strcmp(c, "train") || !strcmp(c, "ppo") ? BY_REWARD
                                                      : BY_IMITATION;
}

static const char *const class_title[N_CLASS] = {"supervised training", "training on preferences",
                                                 "training on rewards"};

/* A key with * stands for each key of the log that fits; a second key is taken of runs that log the same
 * under it. */
static const struct { ArmClass class; const char *key, *other, *title; } panels[] = {
    {BY_REWARD, "reward", NULL, "Reward"},
    {BY_REWARD, "rewards/*/mean", NULL, "Score: "},
    {BY_REWARD, "multiplier/*", NULL, "Multiplier: "},
    {BY_REWARD, "kl", NULL, "KL to the reference, a token"},
    {BY_REWARD, "objective/kl", NULL, "KL to the reference, a reply"},
    {BY_REWARD, "entropy", "policy/entropy_avg", "Entropy, nats a token"},
    {BY_REWARD, "completions/mean_length", NULL, "Length, tokens"},
    {BY_REWARD, "completions/clipped_ratio", NULL, "Share of replies cut off"},
    {BY_REWARD, "clip_ratio/region_mean", "policy/clipfrac_avg", "Share of tokens clipped"},
    {BY_REWARD, "grad_norm", NULL, "Norm of the gradient"},
    {BY_PREFERENCE, "loss", NULL, "Loss"},
    {BY_PREFERENCE, "rewards/accuracies", NULL, "Pairs ranked as given, share"},
    {BY_PREFERENCE, "rewards/margins", NULL, "Margin of implicit rewards"},
    {BY_PREFERENCE, "entropy", NULL, "Entropy, nats a token"},
    {BY_PREFERENCE, "grad_norm", NULL, "Norm of the gradient"},
    {BY_IMITATION, "loss", NULL, "Loss"},
    {BY_IMITATION, "entropy", NULL, "Entropy, nats a token"},
    {BY_IMITATION, "grad_norm", NULL, "Norm of the gradient"},
};

static double value_at(const Json *line, const char *key, const char *other) {
    const double v = json_member(line, key);
    return isnan(v) && other && !json_get(line, key) ? json_member(line, other) : v;
}

/* Values of one run at the steps of `step` [n]; NaN where it has none. */
static void values_at(double *out, const double *step, int n, const JsonLines *log, const char *key,
                      const char *other) {
    for (int i = 0, k = 0; i < n; i++) {
        out[i] = NAN;
        while (k < log->n && log_step(log->line[k]) < step[i]) k++;
        for (int j = k; j < log->n && log_step(log->line[j]) == step[i] && isnan(out[i]); j++)
            out[i] = value_at(log->line[j], key, other);
    }
}

/* A list on one line; six digits are more than a plot shows. */
static void put_points(JsonWriter *w, const char *key, const double *x, int n) {
    char text[POINTS * 16 + 2] = "[";
    size_t at = 1;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.6g", i ? "," : "", x[i]);
    snprintf(text + at, sizeof text - at, "]");
    json_put_raw(w, key, text);
}

/* Of one arm: windows of steps, in each x, the mean over seeds, the lowest and the highest seed. Their
 * number; 0 where the logs hold nothing under the key, -1 without memory. */
static int make_curve(double point[4][POINTS], const Arm *a, const char *key, const char *other) {
    const JsonLines *log = &a->run[0].files.log;
    double *step = calloc((size_t)(log->n + 1) * (size_t)(a->n_run + 1), sizeof *step),
           *value = step ? step + log->n : NULL;                                    /* value [n_run, n] */
    int n = 0, n_point = 0;
    if (!step) return -1;
    for (int i = 0; i < log->n; i++)
        if (!isnan(value_at(log->line[i], key, other)) && (!n || log_step(log->line[i]) > step[n - 1]))
            step[n++] = log_step(log->line[i]);
    for (int r = 0; r < a->n_run; r++)
        values_at(value + (size_t)r * (size_t)n, step, n, &a->run[r].files.log, key, other);
    const int window = (n + POINTS - 1) / POINTS;
    for (int from = 0; from < n; from += window) {
        const size_t m = (size_t)(n - from < window ? n - from : window);
        double low = NAN, high = NAN, sum = 0;
        for (int r = 0; r < a->n_run; r++) {
            const double v = stats_of(value + (size_t)r * (size_t)n + from, m).mean;
            sum += v;
            if (!(low <= v)) low = v;
            if (!(high >= v)) high = v;
        }
        if (isnan(sum)) continue;       /* a seed that has not come so far */
        point[0][n_point] = stats_of(step + from, m).mean;
        point[1][n_point] = sum / a->n_run, point[2][n_point] = low, point[3][n_point] = high;
        n_point++;
    }
    free(step);
    return n_point;
}

static void put_panel(JsonWriter *w, const Section *s, ArmClass class, const char *key, const char *other,
                      const char *title, const char *label, int n_label) {
    static const char *const part[] = {"x", "y", "low", "high"};
    bool begun = false;
    for (int a = 0; a < s->n_arm; a++) {
        double point[4][POINTS];
        const int n = arm_class(&s->arm[a]) == class ? make_curve(point, &s->arm[a], key, other) : 0;
        if (n < 0) json_raw(w, NULL);
        if (n <= 0) continue;
        if (!begun) {
            char whole[160];
            snprintf(whole, sizeof whole, "%s%.*s", title, n_label, label);
            json_begin(w, '{');
            json_put_string(w, "title", whole);
            json_put_string(w, "key", key);
            json_open(w, "lines", '[');
        }
        begun = true;
        json_begin(w, '{');
        json_put_string(w, "arm", s->arm[a].name);
        for (int k = 0; k < (s->arm[a].n_run > 1 ? 4 : 2); k++) put_points(w, part[k], point[k], n);
        json_end(w, '}');
    }
    if (begun) json_end(w, ']'), json_end(w, '}');
}

/* A panel for each key of the class's logs that fits "HEAD*TAIL", in the order of the first that has it. */
static void put_label_panels(JsonWriter *w, const Section *s, ArmClass class, const char *pattern,
                             const char *title) {
    const size_t head = strcspn(pattern, "*"), tail = strlen(pattern) - head - 1;
    const char *shown[64];
    int n = 0;
    for (int a = 0; a < s->n_arm; a++) {
        const JsonLines *log = &s->arm[a].run[0].files.log;
        const Json *line = arm_class(&s->arm[a]) == class && log->n ? log->line[0] : NULL;
        for (size_t i = 0; line && i < line->length && n < 64; i++) {
            const char *key = line->item[i].key;
            bool known = strlen(key) <= head + tail || strncmp(key, pattern, head) ||
                         strcmp(key + strlen(key) - tail, pattern + head + 1);
            for (int k = 0; k < n && !known; k++) known = !strcmp(shown[k], key);
            if (known) continue;
            shown[n++] = key;
            put_panel(w, s, class, key, NULL, title, key + head, (int)(strlen(key) - head - tail));
        }
    }
}

static void put_curves(JsonWriter *w, const Section *s) {
    json_open(w, "curves", '[');
    for (int class = N_CLASS - 1; class >= 0; class--) {
        bool any = false;
        for (int a = 0; a < s->n_arm; a++)
            any = any || (arm_class(&s->arm[a]) == (ArmClass)class && s->arm[a].run[0].files.log.n);
        if (!any) continue;
        json_begin(w, '{');
        json_put_string(w, "of", class_title[class]);
        json_open(w, "panels", '[');
        for (size_t i = 0; i < sizeof panels / sizeof *panels; i++) {
            if (panels[i].class != (ArmClass)class) continue;
            if (strchr(panels[i].key, '*'))
                put_label_panels(w, s, panels[i].class, panels[i].key, panels[i].title);
            else put_panel(w, s, panels[i].class, panels[i].key, panels[i].other, panels[i].title, "", 0);
        }
        json_end(w, ']');
        json_end(w, '}');
    }
    json_end(w, ']');
}

/* ---- costs side by side ---- */

/* The arm that costs are given in units of: the first that was trained otherwise than by imitation, else the
 * first with a log. */
static const Arm *unit_arm(const Section *s) {
    const Arm *any = NULL;
    for (int a = 0; a < s->n_arm; a++) {
        if (!s->arm[a].run[0].files.log.n) continue;
        if (arm_class(&s->arm[a]) != BY_IMITATION) return &s->arm[a];
        if (!any) any = &s->arm[a];
    }
    return any;
}

static double cost_in_row(const Arm *a, int row) {
    switch (row) {
    case 0: return arm_cost(a, "predicted.total_flops");
    case 1: return arm_cost(a, "measured.total_flops");
    case 2: return arm_cost(a, "measured.tokens.prompt");
    case 3: return arm_cost(a, "measured.tokens.completion");
    case 4: return arm_cost_total(a, "predicted.memory", memory_kind);
    case 5: return arm_cost_total(a, "measured.memory", memory_kind);
    case 6: return arm_timing(a, "peak_rss_bytes");
    case 7: return arm_seconds(a);
    default: return arm_timing(a, "cpu_seconds");
    }
}

static void put_costs(JsonWriter *w, const Section *s) {
    static const char *const name[] = {
        "operations, predicted", "operations, counted", "prompt tokens", "completion tokens",
        "memory, predicted", "memory, measured", "largest resident size", "seconds", "CPU seconds"};
    const Arm *unit = unit_arm(s);
    if (!unit) return;
    json_open(w, "costs", '{');
    json_put_string(w, "unit", unit->name);
    json_open(w, "rows", '[');
    for (int row = 0; row < (int)(sizeof name / sizeof *name); row++) {
        bool any = false;
        for (int a = 0; a < s->n_arm; a++) any = any || !isnan(cost_in_row(&s->arm[a], row));
        if (!any) continue;
        json_begin(w, '{');
        json_put_string(w, "cost", name[row]);
        json_put_bool(w, "bytes", row >= 4 && row <= 6);
        json_open(w, "arms", '[');
        for (int a = 0; a < s->n_arm; a++) {
            if (!s->arm[a].run[0].files.log.n) continue;
            const double x = cost_in_row(&s->arm[a], row), one = cost_in_row(unit, row);
            json_begin(w, '{');
            json_put_string(w, "arm", s->arm[a].name);
            json_put(w, "mean", x);
            json_put(w, "ratio", one > 0 ? x / one : NAN);
            json_end(w, '}');
        }
        json_end(w, ']');
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
}

/* ---- options that differ ---- */

/* NULL of an arm that was only taught by imitation: it is not compared. */
static const Json *compared_option(const Arm *a, const char *name) {
    return arm_class(a) == BY_IMITATION ? NULL : json_get(json_get(a->run[0].files.config, "options"), name);
}

static bool arms_differ_in(const Section *s, const char *name) {
    const Json *first = NULL;
    for (int a = 0; a < s->n_arm; a++) {
        const Json *v = compared_option(&s->arm[a], name);
        if (v && first && !json_same(first, v)) return true;
        if (v && !first) first = v;
    }
    return false;
}

static void put_differing_options(JsonWriter *w, const Section *s) {
    json_open(w, "differing_options", '{');
    for (int a = 0; a < s->n_arm; a++) {
        const Json *o = json_get(s->arm[a].run[0].files.config, "options");
        for (size_t i = 0; o && i < o->length && arm_class(&s->arm[a]) != BY_IMITATION; i++) {
            const char *name = o->item[i].key;
            bool known = !run_option_has_effect(name) || !strcmp(name, "seed") || !arms_differ_in(s, name);
            for (int b = 0; b < a && !known; b++) known = compared_option(&s->arm[b], name);
            if (known) continue;
            json_open(w, name, '{');
            for (int b = 0; b < s->n_arm; b++) {
                const Json *v = compared_option(&s->arm[b], name);
                if (v) json_put_value(w, s->arm[b].name, v);
            }
            json_end(w, '}');
        }
    }
    json_end(w, '}');
}

/* ---- an outside judge ---- */

/* An arm's figure for one metric of verdicts.json: over seeds, or the file's own interval where there is one
 * run. */
static Figure outside_figure(const Arm *a, const char *split, const char *metric) {
    double mean[MAX_RUNS] = {0};
    const Json *own = NULL;
    for (int i = 0; i < a->n_run; i++) {
        own = json_get(json_get(json_get(a->run[i].verdicts, "rows"), split), metric);
        mean[i] = json_path(own, "mean");
    }
    Figure f = figure_of(mean, a->n_run);
    const Json *ci = json_get(own, "ci95");
    if (a->n_run == 1 && ci && ci->type == JSON_ARRAY && ci->length == 2)
        f.half = (ci->item[1].number - ci->item[0].number) / 2;
    return f;
}

static void put_outside_judge(JsonWriter *w, const Section *s) {
    const Json *first = NULL;
    for (int a = 0; a < s->n_arm && !first; a++) first = s->arm[a].run[0].verdicts;
    const Json *rows = json_get(first, "rows");
    if (!rows || rows->type != JSON_OBJECT || !rows->length) return;
    json_open(w, "outside_judge", '{');
    json_put_string(w, "judge", text_member(first, "judge", "not named"));
    json_put_string(w, "what", text_member(first, "what", ""));
    json_open(w, "rows", '[');
    for (size_t r = 0; r < rows->length; r++)
        for (int a = 0; a < s->n_arm; a++) {
            if (!s->arm[a].run[0].verdicts) continue;
            json_begin(w, '{');
            json_put_string(w, "split", rows->item[r].key);
            json_put_string(w, "arm", s->arm[a].name);
            json_open(w, "metrics", '{');
            for (size_t k = 0; k < rows->item[0].length; k++) {
                const char *metric = rows->item[0].item[k].key;
                const Figure f = outside_figure(&s->arm[a], rows->item[r].key, metric);
                put_figure(w, metric, &f, false);
            }
            json_end(w, '}');
            json_end(w, '}');
        }
    json_end(w, ']');
    json_end(w, '}');
}

/* ---- the log's first and last lines ---- */

static void put_first_and_last(JsonWriter *w, const Section *s) {
    const JsonLines *log = &s->arm[0].run[0].files.log;
    if (s->n_arm > 1 || s->arm[0].n_run > 1 || !log->n) return;
    json_open(w, "log", '[');
    for (size_t i = 0; i < log->line[0]->length; i++) {
        const char *key = log->line[0]->item[i].key;
        double tail[LAST];
        int n = 0;
        for (int k = log->n - 1; k >= 0 && n < LAST; k--) {
            const double v = json_member(log->line[k], key);
            if (!isnan(v)) tail[n++] = v;
        }
        if (!n || !strcmp(key, "step")) continue;
        json_begin(w, '{');
        json_put_string(w, "quantity", key);
        json_put(w, "first", json_member(log->line[0], key));
        json_put(w, "last", tail[0]);
        json_put(w, "mean_of_last_10", stats_of(tail, (size_t)n).mean);
        json_end(w, '}');
    }
    json_end(w, ']');
}

/* ---- replies ---- */

static void put_replies_to(JsonWriter *w, const Section *s, const ArmReply *asked, size_t i) {
    const int mean = section_told_mean(s);
    json_begin(w, '{');
    json_put_string(w, "split", asked->split < 0 ? "" : s->split[asked->split]);
    json_put_string(w, "prompt", asked->prompt);
    json_open(w, "replies", '[');
    for (int a = 0; a < s->n_arm; a++) {
        if (!arm_has_replies(&s->arm[a])) continue;
        const ArmReply *r = &s->arm[a].run[0].reply[i];
        json_begin(w, '{');
        json_put_string(w, "arm", s->arm[a].name);
        json_put_string(w, "completion", r->completion);
        json_put(w, "mean_score", mean < 0 ? NAN : r->value[mean]);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
}

/* To the first prompt of each row and to the one in its middle, of each arm's first run. */
static void put_replies(JsonWriter *w, const Section *s) {
    const ArmRun *r = section_pattern(s);
    json_open(w, "replies", '[');
    for (int row = 0; r && row < (s->n_split ? s->n_split : 1); row++) {
        const int n = section_n_reply(s, s->n_split ? row : s->n_split);
        for (int k = 0; k < REPLIES_PER_SPLIT && k < n; k++) {
            int left = k * (n / REPLIES_PER_SPLIT), i = 0;
            for (; i < r->n_reply; i++)
                if ((!s->n_split || r->reply[i].split == row) && left-- == 0) break;
            put_replies_to(w, s, &r->reply[i], (size_t)i);
        }
    }
    json_end(w, ']');
}

/* ---- a section, the whole ---- */

static void put_names(JsonWriter *w, const char *key, const Section *s, Origin origin) {
    json_open(w, key, '[');
    for (int q = 0; q < s->n_quantity; q++)
        if (s->quantity[q].origin == origin && !quantity_is_mean(&s->quantity[q]))
            json_string(w, s->quantity[q].name);
    json_end(w, ']');
}

static void put_section(JsonWriter *w, const Section *s) {
    json_begin(w, '{');
    json_put_string(w, "name", s->name);
    json_put_string(w, "told", section_told(s) == OF_JUDGE ? "judge" : "scores");
    json_open(w, "labels", '{');
    put_names(w, "judge", s, OF_JUDGE);
    put_names(w, "scores", s, OF_MODEL);
    json_end(w, '}');
    json_open(w, "splits", '[');
    for (int row = 0; section_pattern(s) && row <= s->n_split; row++) json_string(w, s->split[row]);
    json_end(w, ']');
    if (arm_has_replies(s->arm)) put_answer(w, s);
    json_open(w, "verdicts", '[');
    for (int a = 1; a < s->n_arm; a++)
        if (arm_has_replies(s->arm) && arm_has_replies(&s->arm[a])) put_verdict(w, s, &s->arm[a]);
    json_end(w, ']');
    json_open(w, "arms", '[');
    for (int a = 0; a < s->n_arm; a++) put_arm(w, s, &s->arm[a]);
    json_end(w, ']');
    put_frontier(w, s);
    put_curves(w, s);
    put_costs(w, s);
    put_differing_options(w, s);
    put_outside_judge(w, s);
    put_first_and_last(w, s);
    put_replies(w, s);
    json_end(w, '}');
}

char *report_figures(const Arms *arms, const char *title, int watch, int indent) {
    JsonWriter w = {.indent = indent};
    json_begin(&w, '{');
    json_put_string(&w, "title", title);
    if (watch) json_put_int(&w, "watch", watch);
    json_open(&w, "sections", '[');
    for (int i = 0; i < arms->n; i++) put_section(&w, &arms->section[i]);
    json_end(&w, ']');
    json_end(&w, '}');
    return w.text;
}
