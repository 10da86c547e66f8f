/* report_plots.c: the frontier of score against KL, and curves over steps: a line for each arm, the mean over
 * its seeds, in a band from the lowest to the highest. Which quantities of a log are shown is the table
 * `panels`. */
#include "report/report_plots.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stats.h"

enum { POINTS = 80 };                   /* of a curve, at most */

/* ---- the frontier --------------------------------------------------------------------------- */

static void keys(Page *p, const Section *s, const bool *with) {
    page_html(p, "<p class=\"keys\">");
    for (int a = 0; a < s->n_arm; a++)
        if (with[a]) page_key(p, a, s->arm[a].name);
    page_html(p, "</p>\n");
}

void report_frontier(Page *p, const Section *s) {
    const int x = section_find(s, OF_REPLY, "kl"), y = section_told_mean(s);
    if (x < 0 || y < 0 || !section_has(s, x) || !section_has(s, y)) return;
    Mark *mark = calloc((size_t)s->n_arm * MAX_RUNS, sizeof *mark);
    int n = 0;
    for (int a = 0; mark && a < s->n_arm; a++) {
        /* of its runs: the name stands there */
        int farthest = n;
        const int begin = n;
        for (int i = 0; i < s->arm[a].n_run; i++) {
            const Figure fx = run_figure(s, &s->arm[a].run[i], s->n_split, x),
                         fy = run_figure(s, &s->arm[a].run[i], s->n_split, y);
            if (isnan(fx.mean) || isnan(fy.mean)) continue;
            mark[n] = (Mark){NULL, a, fx.mean, fy.mean, fx.half, fy.half};
            if (fx.mean > mark[farthest].x) farthest = n;
            n++;
        }
        if (n > begin) mark[farthest].label = s->arm[a].name;
    }
    if (n > 1) {
        page_html(p,
                  "<figure class=\"single\">\n<figcaption><b>How far for how much.</b> KL to the reference "
                  "against the mean over the %s’s labels, over all prompts; "
                  "a marker for each run, bars: 95 %% intervals "
                  "over prompts.</figcaption>\n",
                  origin_name(section_told(s)));
        page_marks(p, "Mean score against KL to the reference", "KL to the reference, nats a reply",
                   "mean score",
                   "A marker for each run; its figures are in the tables of scores and conduct, row all.",
                   mark, n);
        page_html(p, "</figure>\n");
    }
    free(mark);
}

/* ---- curves --------------------------------------------------------------------------------- */

ArmClass arm_class(const Arm *a) {
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

/* Of one arm: windows of steps, in each the mean over seeds, the lowest and the highest seed. The memory
 * behind it is c->x's. */
static bool make_curve(Curve *c, const Arm *a, int style, const char *key, const char *other) {
    const JsonLines *log = &a->run[0].files.log;
    double *x = calloc((size_t)(log->n + 1) * (size_t)(a->n_run + 5), sizeof *x);
    int n = 0;
    *c = (Curve){.name = a->name, .style = style, .banded = a->n_run > 1};
    if (!x) return false;
    c->x = x, c->y = x + log->n, c->low = x + 2 * log->n, c->high = x + 3 * log->n;
    double *step = x + 4 * log->n, *value = x + 5 * log->n;                         /* value [n_run, n] */
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
        /* a seed that has not come so far */
        if (isnan(sum)) continue;
        c->x[c->n] = stats_of(step + from, m).mean, c->y[c->n] = sum / a->n_run, c->low[c->n] = low,
        c->high[c->n] = high;
        c->n++;
    }
    if (c->n) return true;
    free(x);
    return false;
}

static bool panel(Page *p, const Section *s, ArmClass class, const char *key, const char *other,
                  const char *title, bool *with) {
    Curve *curve = calloc((size_t)s->n_arm, sizeof *curve);
    char description[256] = "";
    int n = 0;
    for (int a = 0; curve && a < s->n_arm; a++) {
        if (arm_class(&s->arm[a]) != class || !make_curve(&curve[n], &s->arm[a], a, key, other)) continue;
        snprintf(description + strlen(description), sizeof description - strlen(description),
                 "%s%.60s: from %.4g to %.4g", n ? "; " : "", s->arm[a].name, curve[n].y[0],
                 curve[n].y[curve[n].n - 1]);
        with[a] = true;
        n++;
    }
    if (n) page_curves(p, title, key, description, curve, n);
    for (int i = 0; i < n; i++) free(curve[i].x);
    free(curve);
    return n > 0;
}

/* The keys of the class's logs that fit "HEAD*TAIL", each once, in the order of the first log that has them.
 */
static int keys_like(const char **out, int most, const Section *s, ArmClass class, const char *pattern) {
    const size_t head = strcspn(pattern, "*"), tail = strlen(pattern) - head - 1;
    int n = 0;
    for (int a = 0; a < s->n_arm; a++) {
        const JsonLines *log = &s->arm[a].run[0].files.log;
        const Json *line = arm_class(&s->arm[a]) == class && log->n ? log->line[0] : NULL;
        for (size_t i = 0; line && i < line->length && n < most; i++) {
            const char *key = line->item[i].key;
            bool known = strlen(key) <= head + tail || strncmp(key, pattern, head) ||
                         strcmp(key + strlen(key) - tail, pattern + head + 1);
            for (int k = 0; k < n && !known; k++) known = !strcmp(out[k], key);
            if (!known) out[n++] = key;
        }
    }
    return n;
}

static void label_panels(Page *p, const Section *s, ArmClass class, const char *pattern, const char *title,
                         bool *with) {
    const char *key[64];
    const size_t head = strcspn(pattern, "*"), tail = strlen(pattern) - head - 1;
    const int n = keys_like(key, 64, s, class, pattern);
    for (int i = 0; i < n; i++) {
        char full[160];
        snprintf(full, sizeof full, "%s%.*s", title, (int)(strlen(key[i]) - head - tail), key[i] + head);
        panel(p, s, class, key[i], NULL, full, with);
    }
}

void report_curves(Page *p, const Section *s) {
    for (int class = N_CLASS - 1; class >= 0; class--) {
        bool *with = calloc((size_t)s->n_arm, sizeof *with), *shown = calloc((size_t)s->n_arm, sizeof *shown),
             several = false, any = false;
        for (int a = 0; with && shown && a < s->n_arm; a++)
            if (arm_class(&s->arm[a]) == (ArmClass) class && s->arm[a].run[0].files.log.n)
                shown[a] = any = true, several = several || s->arm[a].n_run > 1;
        if (any) {
            page_html(p,
                      "<h3>Curves: %s</h3>\n<p class=\"note\">From the logs, under TRL’s names; of long runs "
                      "a point is the mean over a window of steps (at most %d points a line). %s</p>\n",
                      class_title[class], POINTS,
                      several ? "Lines: means over seeds; bands: from the lowest seed to the highest."
                              : "One seed an arm.");
            keys(p, s, shown);
            page_html(p, "<div class=\"plots\">\n");
            for (size_t i = 0; i < sizeof panels / sizeof *panels; i++) {
                if (panels[i].class != (ArmClass)class) continue;
                if (strchr(panels[i].key, '*'))
                    label_panels(p, s, (ArmClass) class, panels[i].key, panels[i].title, with);
                else panel(p, s, (ArmClass)class, panels[i].key, panels[i].other, panels[i].title, with);
            }
            page_html(p, "</div>\n");
        }
        free(with);
        free(shown);
    }
}
