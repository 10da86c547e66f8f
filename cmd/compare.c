/* compare.c: `grpo compare RUN RUN`: where two runs first differ in a bit, which options differ, their
 * metrics side by side. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/options.h"
#include "run/run_files.h"
#include "lib/say.h"
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

/* ---- comparing ---- */

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
static Verdict compare_runs(const RunFiles *a, const RunFiles *b) {
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

/* ---- the value of all that was found ---- */

static void put_option(JsonWriter *w, const char *key, const Json *a, const Json *b) {
    if (json_same(a, b)) return;
    json_open(w, key, '[');
    json_value(w, a), json_value(w, b);
    json_end(w, ']');
}

static void put_options(JsonWriter *w, const RunFiles *a, const RunFiles *b) {
    const Json *x = json_get(a->config, "options"), *y = json_get(b->config, "options");
    static const char *const about[] = {"command", "real"};
    for (int i = 0; i < 2; i++)
        put_option(w, about[i], json_get(a->config, about[i]), json_get(b->config, about[i]));
    for (size_t i = 0; x && i < x->length; i++)
        put_option(w, x->item[i].key, &x->item[i], json_get(y, x->item[i].key));
    for (size_t i = 0; y && i < y->length; i++)
        if (!json_get(x, y->item[i].key)) put_option(w, y->item[i].key, NULL, &y->item[i]);
}

static double value_of(const Json *line, const char *key) {
    const Json *v = json_get(line, key);
    return v && v->type == JSON_NUMBER ? v->number : NAN;
}

/* Of one quantity in one log: first, last, mean over the last lines. */
static void put_course(JsonWriter *w, const char *name, const RunFiles *r, const char *key) {
    double x[LAST];
    const int from = r->log.n > LAST ? r->log.n - LAST : 0;
    for (int i = from; i < r->log.n; i++) x[i - from] = value_of(r->log.line[i], key);
    json_open(w, name, '{');
    json_put(w, "first", value_of(r->log.line[0], key));
    json_put(w, "last", value_of(r->log.line[r->log.n - 1], key));
    json_put(w, "mean_last_10", stats_of(x, (size_t)(r->log.n - from)).mean);
    json_end(w, '}');
}

static void put_metric(JsonWriter *w, const RunFiles *a, const RunFiles *b, const char *key) {
    if (!strcmp(key, "step")) return;
    json_open(w, key, '{');
    put_course(w, "a", a, key);
    put_course(w, "b", b, key);
    json_end(w, '}');
}

static void put_run(JsonWriter *w, const char *name, const RunFiles *r) {
    json_open(w, name, '{');
    json_put_string(w, "run", r->dir);
    json_put_int(w, "log_lines", r->log.n);
    json_put(w, "last_step", step_of(r->log.line[r->log.n - 1]));
    json_put_string(w, "sha256", r->hex[0] ? r->hex : NULL);
    json_end(w, '}');
}

static void put_all(JsonWriter *w, const RunFiles *a, const RunFiles *b, const Verdict *v) {
    const Json *first = a->log.line[0], *other = b->log.line[0];
    json_begin(w, '{');
    json_put_bool(w, "same", v->same);
    json_put_int(w, "common_steps", v->common);
    if (v->key) {
        json_open(w, "first_difference", '{');
        json_put(w, "step", step_of(v->a));
        json_put_string(w, "quantity", v->key);
        json_put_value(w, "a", json_get(v->a, v->key));
        json_put_value(w, "b", json_get(v->b, v->key));
        json_open(w, "also", '[');
        for (const char *key = v->key; (key = next_key(v->a, v->b, key)); ) json_string(w, key);
        json_end(w, ']');
        json_end(w, '}');
    } else json_put_null(w, "first_difference");
    put_run(w, "a", a);
    put_run(w, "b", b);
    json_open(w, "options", '{');
    put_options(w, a, b);
    json_end(w, '}');
    json_open(w, "metrics", '{');
    for (size_t i = 0; i < first->length; i++) put_metric(w, a, b, first->item[i].key);
    for (size_t i = 0; i < other->length; i++)
        if (!json_get(first, other->item[i].key)) put_metric(w, a, b, other->item[i].key);
    json_end(w, '}');
    json_end(w, '}');
}

static void tell_compare(const Json *v) {
    const Json *options = json_get(v, "options"), *metrics = json_get(v, "metrics"),
               *first = json_get(v, "first_difference"), *also = json_get(first, "also");
    const char *a = json_get(json_get(v, "a"), "sha256")->string,
               *b = json_get(json_get(v, "b"), "sha256")->string;
    say(v, "A: {a.run}, {a.log_lines} log lines to step {a.last_step}\n"
           "B: {b.run}, {b.log_lines} log lines to step {b.last_step}\noptions that differ\n");
    for (size_t i = 0; i < options->length; i++) {
        const Json *o = &options->item[i];
        say(o, "  {@%-30s} ");
        say(&o->item[0], "{%-28s} ");
        say(&o->item[1], "{%-28s}");
        puts(run_option_has_effect(o->key) ? "" : " no effect on the numbers");
    }
    printf("%-32s %12s %12s %12s   %12s %12s %12s\n", "metrics", "A: first", "last", "mean of 10",
           "B: first", "last", "mean of 10");
    for (size_t i = 0; i < metrics->length; i++)
        say(&metrics->item[i], "  {@%-30s} {a.first%12.6g} {a.last%12.6g} {a.mean_last_10%12.6g}   "
                               "{b.first%12.6g} {b.last%12.6g} {b.mean_last_10%12.6g}\n");
    printf("first difference: ");
    if (also) {
        say(first, "step {step}, {quantity}: {a} against {b}");
        if (!isnan(value_of(first, "a") - value_of(first, "b")))
            printf(" (by %.3g)", fabs(value_of(first, "a") - value_of(first, "b")));
        for (size_t i = 0; i < also->length; i++)
            printf("%s%s", i ? ", " : "\n  and in the same step: ", also->item[i].string);
    } else say(v, value_of(v, "common_steps") > 0 ? "none in the {common_steps} steps that both logs have"
                                                  : "the logs have no step in common");
    say(v, a && b && !strcmp(a, b) ? "\nfinal weights: the same, SHA-256 {a.sha256}\n"
           : a && b ? "\nfinal weights: different, SHA-256 {a.sha256%.16s}... and {b.sha256%.16s}...\n"
           : a      ? "\nfinal weights: only A has them\n"
           : b      ? "\nfinal weights: only B has them\n"
                    : "\nfinal weights: neither run has them yet\n");
    puts(json_get(v, "same")->number != 0 ? "the same bits" : "not the same bits");
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
        const Verdict v = compare_runs(&run[0], &run[1]);
        JsonWriter w = {.indent = 2};
        put_all(&w, &run[0], &run[1], &v);
        if (say_result(&w, c.json, tell_compare, e)) code = v.same ? 0 : 1;
    }
    run_files_free(&run[0]);
    run_files_free(&run[1]);
    return code;
}
