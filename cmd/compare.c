/* compare.c: `grpo compare RUN RUN`: where two runs first differ in a bit, which options differ, their
 * metrics side by side. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/options.h"
#include "run/run_files.h"
#include "lib/stats.h"

typedef struct { bool json; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"json", SET_BOOL, AT(json), "false", NULL, "the result as JSON"},
    SETTINGS_END};
static const OptionTable table = {
    "compare",
    "RUN RUN: where two runs first differ, and their metrics side by side; exit code 0: the same bits, 1: "
    "not",
    "grpo compare runs/grpo runs/grpo-again",
    .part = {{rows, 0}}};

enum { LAST = 10 };                     /* log lines of the mean at the end */

/* What a run cost is no step: slices and threads change its memory, and no number of the run. */
static bool drop_cost(RunFiles *r, Err *e) {
    int n = 0;
    for (int i = 0; i < r->log.n; i++)
        if (json_get(r->log.line[i], "cost")) json_free(r->log.line[i]);
        else r->log.line[n++] = r->log.line[i];
    r->log.n = n;
    return n > 0 || fail(e, "%s/log.jsonl: holds no complete line of a step", r->dir);
}

static bool open_run(RunFiles *r, const char *dir, Err *e) {
    if (!run_files_read(r, dir, run_tables, e) || !drop_cost(r, e)) return false;
    if (r->log.torn)
        fprintf(stderr, "compare: %s/log.jsonl: the last line is half-written and left out\n", dir);
    return run_files_digest(r, e);
}

static double step_of(const Json *line) { return json_get(line, "step")->number; }

/* ---- comparing ---------------------------------------------------------------------------- */

/* The first member after `key` (NULL: from the beginning), in a's order and then b's own, whose value
 * differs; NULL if none. */
static const char *next_key(const Json *a, const Json *b, const char *key) {
    bool begun = !key;
    for (size_t i = 0; i < a->length; i++) {
        if (begun && !json_same(&a->item[i], json_get(b, a->item[i].key))) return a->item[i].key;
        begun = begun || !strcmp(a->item[i].key, key);
    }
    for (size_t i = 0; i < b->length; i++) {
        if (begun && !json_get(a, b->item[i].key)) return b->item[i].key;
        begun = begun || !strcmp(b->item[i].key, key);
    }
    return NULL;
}

/* a, b: the lines that differ; common: steps in both logs */
typedef struct { const Json *a, *b; const char *key; int common; bool same; } Verdict;

/* Steps that only one log has (other --logging-steps, a longer run) are passed over. */
static Verdict judge(const RunFiles *a, const RunFiles *b) {
    Verdict v = {.key = NULL};
    for (int i = 0, j = 0; i < a->log.n && j < b->log.n; ) {
        const double s = step_of(a->log.line[i]), t = step_of(b->log.line[j]);
        if (s == t && !v.key)
            v.key = next_key(a->log.line[i], b->log.line[j], NULL), v.a = a->log.line[i],
            v.b = b->log.line[j];
        v.common += s == t;
        i += s <= t;
        j += t <= s;
    }
    const bool same_end = a->hex[0] || b->hex[0]
                              ? !strcmp(a->hex, b->hex)
                              : step_of(a->log.line[a->log.n - 1]) == step_of(b->log.line[b->log.n - 1]);
    v.same = v.common && !v.key && same_end;
    return v;
}

/* ---- telling ------------------------------------------------------------------------------ */

static void tell_option(JsonWriter *w, const char *key, const Json *a, const Json *b) {
    if (json_same(a, b)) return;
    char *x = json_text(a), *y = json_text(b);
    if (w) {
        json_open(w, key, '[');
        json_raw(w, a ? x : "null"), json_raw(w, b ? y : "null");
        json_end(w, ']');
    } else
        printf("  %-30s %-28s %-28s%s\n", key, x, y,
               run_option_has_effect(key) ? "" : " no effect on the numbers");
    free(x);
    free(y);
}

static void tell_options(JsonWriter *w, const RunFiles *a, const RunFiles *b) {
    const Json *x = json_get(a->config, "options"), *y = json_get(b->config, "options");
    static const char *const about[] = {"command", "real"};
    if (w) json_open(w, "options", '{');
    else printf("options that differ\n");
    for (int i = 0; i < 2; i++)
        tell_option(w, about[i], json_get(a->config, about[i]), json_get(b->config, about[i]));
    for (size_t i = 0; x && i < x->length; i++)
        tell_option(w, x->item[i].key, &x->item[i], json_get(y, x->item[i].key));
    for (size_t i = 0; y && i < y->length; i++)
        if (!json_get(x, y->item[i].key)) tell_option(w, y->item[i].key, NULL, &y->item[i]);
    if (w) json_end(w, '}');
}

/* Of one quantity in one log: first, last, mean over the last lines. */
typedef struct { double first, last, mean; } Course;

static double value_of(const Json *line, const char *key) {
    const Json *v = json_get(line, key);
    return v && v->type == JSON_NUMBER ? v->number : NAN;
}

static Course course_of(const RunFiles *r, const char *key) {
    double x[LAST];
    const int from = r->log.n > LAST ? r->log.n - LAST : 0;
    for (int i = from; i < r->log.n; i++) x[i - from] = value_of(r->log.line[i], key);
    return (Course){value_of(r->log.line[0], key), value_of(r->log.line[r->log.n - 1], key),
                    stats_of(x, (size_t)(r->log.n - from)).mean};
}

static void json_course(JsonWriter *w, const char *name, Course c) {
    json_open(w, name, '{');
    json_put(w, "first", c.first);
    json_put(w, "last", c.last);
    json_put(w, "mean_last_10", c.mean);
    json_end(w, '}');
}

static void tell_metric(JsonWriter *w, const RunFiles *a, const RunFiles *b, const char *key) {
    const Course x = course_of(a, key), y = course_of(b, key);
    if (!strcmp(key, "step")) return;
    if (w) {
        json_open(w, key, '{');
        json_course(w, "a", x);
        json_course(w, "b", y);
        json_end(w, '}');
    } else
        printf("  %-30s %12.6g %12.6g %12.6g   %12.6g %12.6g %12.6g\n", key, x.first, x.last, x.mean, y.first,
               y.last, y.mean);
}

static void tell_metrics(JsonWriter *w, const RunFiles *a, const RunFiles *b) {
    if (w) json_open(w, "metrics", '{');
    else
        printf("%-32s %12s %12s %12s   %12s %12s %12s\n", "metrics", "A: first", "last", "mean of 10",
               "B: first", "last", "mean of 10");
    const Json *first = a->log.line[0], *other = b->log.line[0];
    for (size_t i = 0; i < first->length; i++) tell_metric(w, a, b, first->item[i].key);
    for (size_t i = 0; i < other->length; i++)
        if (!json_get(first, other->item[i].key)) tell_metric(w, a, b, other->item[i].key);
    if (w) json_end(w, '}');
}

static void tell_text(const RunFiles *a, const RunFiles *b, const Verdict *v) {
    printf("A: %s, %d log lines to step %g\nB: %s, %d log lines to step %g\n", a->dir, a->log.n,
           step_of(a->log.line[a->log.n - 1]), b->dir, b->log.n, step_of(b->log.line[b->log.n - 1]));
    tell_options(NULL, a, b);
    tell_metrics(NULL, a, b);
    if (v->key) {
        const Json *p = json_get(v->a, v->key), *q = json_get(v->b, v->key);
        char *x = json_text(p), *y = json_text(q);
        printf("first difference: step %g, %s: %s against %s", step_of(v->a), v->key, x, y);
        if (p && q && p->type == JSON_NUMBER && q->type == JSON_NUMBER)
            printf(" (by %.3g)", fabs(p->number - q->number));
        const char *more = next_key(v->a, v->b, v->key);
        for (const char *key = more; key; key = next_key(v->a, v->b, key))
            printf("%s%s", key == more ? "\n  and in the same step: " : ", ", key);
        putchar('\n');
        free(x);
        free(y);
    } else if (v->common) printf("first difference: none in the %d steps that both logs have\n", v->common);
    else printf("first difference: the logs have no step in common\n");
    if (a->hex[0] && b->hex[0] && !strcmp(a->hex, b->hex))
        printf("final weights: the same, SHA-256 %s\n", a->hex);
    else if (a->hex[0] && b->hex[0])
        printf("final weights: different, SHA-256 %.16s... and %.16s...\n", a->hex, b->hex);
    else if (a->hex[0] || b->hex[0]) printf("final weights: only %s has them\n", a->hex[0] ? "A" : "B");
    else printf("final weights: neither run has them yet\n");
    printf("%s\n", v->same ? "the same bits" : "not the same bits");
}

static void tell_json(const RunFiles *a, const RunFiles *b, const Verdict *v) {
    JsonWriter w = {.indent = 2};
    const RunFiles *run[] = {a, b};
    static const char *const name[] = {"a", "b"};
    json_begin(&w, '{');
    json_put_bool(&w, "same", v->same);
    json_put_int(&w, "common_steps", v->common);
    json_key(&w, "first_difference");
    if (v->key) {
        char *x = json_text(json_get(v->a, v->key)), *y = json_text(json_get(v->b, v->key));
        json_begin(&w, '{');
        json_put(&w, "step", step_of(v->a));
        json_put_string(&w, "quantity", v->key);
        json_put_raw(&w, "a", json_get(v->a, v->key) ? x : "null");
        json_put_raw(&w, "b", json_get(v->b, v->key) ? y : "null");
        json_end(&w, '}');
        free(x);
        free(y);
    } else json_null(&w);
    for (int i = 0; i < 2; i++) {
        json_open(&w, name[i], '{');
        json_put_string(&w, "run", run[i]->dir);
        json_put_int(&w, "log_lines", run[i]->log.n);
        json_put(&w, "last_step", step_of(run[i]->log.line[run[i]->log.n - 1]));
        json_key(&w, "sha256");
        if (run[i]->hex[0]) json_string(&w, run[i]->hex);
        else json_null(&w);
        json_end(&w, '}');
    }
    tell_options(&w, a, b);
    tell_metrics(&w, a, b);
    json_end(&w, '}');
    puts(w.text);
    free(w.text);
}

int cmd_compare(int argc, char **argv, Err *e) {
    Config c = {0};
    RunFiles run[2] = {{.dir = NULL}, {.dir = NULL}};
    const char *dir[2] = {NULL, NULL};
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    int n_dir = 0, n_rest = 0;
    if (!rest) { fail(e, "no memory"); return -1; }
    /* folders and options in any order: no option here takes a separate value */
    for (int i = 0; i < argc; i++) {
        if (i == 0 || argv[i][0] == '-') rest[n_rest++] = argv[i];
        else if (n_dir < 2) dir[n_dir++] = argv[i];
        else {
            fail(e, "found \"%.80s\", expected no more than two folders of runs", argv[i]);
            n_dir = 3;
            break;
        }
    }
    const int r = n_dir == 3 ? -1 : options_parse(&c, &table, n_rest, rest, e);
    free(rest);
    if (r) return r < 0 ? -1 : 0;
    if (n_dir < 2) {
        fail(e, "found %d folder%s, expected two: grpo compare RUN RUN", n_dir, n_dir == 1 ? "" : "s");
        return -1;
    }
    int code = -1;
    if (open_run(&run[0], dir[0], e) && open_run(&run[1], dir[1], e)) {
        const Verdict v = judge(&run[0], &run[1]);
        if (c.json) tell_json(&run[0], &run[1], &v);
        else tell_text(&run[0], &run[1], &v);
        code = v.same ? 0 : 1;
    }
    run_files_free(&run[0]);
    run_files_free(&run[1]);
    return code;
}
