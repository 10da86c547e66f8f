/* report.c: `grpo report`: runs side by side as one HTML page, and its tables as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/arms.h"
#include "cmd/commands.h"
#include "run/options.h"
#include "report/report_page.h"
#include "lib/files.h"

typedef struct { const char *output, *title; bool json; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"output", SET_STRING, AT(output), NULL, NULL, "HTML file to write; must not exist"},
    {"title", SET_STRING, AT(title), "Runs side by side", NULL, "of the page"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the tables as JSON on stdout"},
    SETTINGS_END};
static const OptionTable table = {
    "report",
    "[SECTION/][NAME=]RUN[,RUN...] ...: runs side by side on one page: curves, tables with 95 % intervals, "
    "costs, replies.\nAn arm is one run or, with commas, several that differ in their seed; the first arm "
    "of a section is what the others are compared with.\nRead are config.json, log.jsonl, timing.jsonl and, "
    "where they are, replies.jsonl and verdicts.json of each run's folder (docs/formats.md)",
    "grpo report SFT=runs/sft GRPO=runs/grpo-1,runs/grpo-2,runs/grpo-3 --output report.html",
    .part = {{rows, 0}}};

/* ---- JSON ----------------------------------------------------------------------------------- */

static void json_figure(JsonWriter *w, const char *key, const Figure *f, bool verdict) {
    json_open(w, key, '{');
    json_put(w, "mean", f->mean);
    json_key(w, "ci95");
    if (isnan(f->half)) json_null(w);
    else
        json_begin(w, '['), json_number(w, f->mean - f->half), json_number(w, f->mean + f->half),
            json_end(w, ']');
    json_open(w, "by_seed", '[');
    for (int i = 0; i < f->n; i++) json_number(w, f->by_run[i]);
    json_end(w, ']');
    if (verdict)
        json_put_string(w, "verdict",
                        figure_verdict(f) > 0   ? "rose"
                        : figure_verdict(f) < 0 ? "fell"
                                                : "not decided");
    json_end(w, '}');
}

static void json_labels(JsonWriter *w, const char *key, const Section *s, const Arm *a, int row,
                        Origin origin) {
    bool begun = false;
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != origin || quantity_is_mean(&s->quantity[q])) continue;
        if (!begun) json_open(w, key, '{');
        begun = true;
        const Figure f = arm_figure(s, a, row, q);
        json_figure(w, s->quantity[q].name, &f, false);
    }
    if (begun) json_end(w, '}');
}

static void json_row(JsonWriter *w, const Section *s, const Arm *a, int row) {
    json_open(w, s->split[row], '{');
    json_put_int(w, "n", section_n_reply(s, row));
    json_labels(w, "judge", s, a, row, OF_JUDGE);
    json_labels(w, "scores", s, a, row, OF_MODEL);
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != OF_REPLY && !quantity_is_mean(&s->quantity[q])) continue;
        const Figure f = arm_figure(s, a, row, q);
        json_figure(w, s->quantity[q].name, &f, false);
    }
    json_end(w, '}');
}

static void json_difference(JsonWriter *w, const Section *s, const Arm *a, int row) {
    json_open(w, s->split[row], '{');
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != OF_REPLY && s->quantity[q].origin != section_told(s)) continue;
        const Figure f = arm_difference(s, a, row, q);
        json_figure(w, s->quantity[q].name, &f, true);
    }
    json_end(w, '}');
}

static void json_kinds(JsonWriter *w, const char *key, const Arm *a, const char *part,
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

static void json_cost(JsonWriter *w, const Arm *a) {
    json_open(w, "cost", '{');
    json_put(w, "predicted_flops", arm_cost(a, "predicted.total_flops"));
    json_put(w, "measured_flops", arm_cost(a, "measured.total_flops"));
    json_kinds(w, "predicted_tokens", a, "predicted.tokens", token_kind);
    json_kinds(w, "tokens", a, "measured.tokens", token_kind);
    json_kinds(w, "predicted_memory", a, "predicted.memory", memory_kind);
    json_kinds(w, "memory", a, "measured.memory", memory_kind);
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

static void json_options(JsonWriter *w, const Arm *a) {
    const Json *o = json_get(a->run[0].files.config, "options");
    json_open(w, "options", '{');
    for (size_t i = 0; o && o->type == JSON_OBJECT && i < o->length; i++)
        if (arm_shares_option(o->item[i].key)) json_put_value(w, o->item[i].key, &o->item[i]);
    json_end(w, '}');
}

static void json_held_out(JsonWriter *w, const Arm *a) {
    const Json *label = a->run[0].held_out;
    if (!label) return;
    json_open(w, "held_out", '{');
    for (size_t k = 0; k < label->length; k++) {
        json_open(w, label->item[k].key, '{');
        for (size_t m = 0; m < label->item[k].length; m++) {
            const Figure f = arm_held_out(a, label->item[k].key, label->item[k].item[m].key);
            json_figure(w, label->item[k].item[m].key, &f, false);
        }
        json_end(w, '}');
    }
    json_end(w, '}');
}

static void json_arm(JsonWriter *w, const Section *s, const Arm *a) {
    json_begin(w, '{');
    json_put_string(w, "name", a->name);
    json_open(w, "runs", '[');
    for (int i = 0; i < a->n_run; i++) json_string(w, a->run[i].dir);
    json_end(w, ']');
    json_open(w, "seeds", '[');
    for (int i = 0; i < a->n_run; i++) json_number(w, a->run[i].seed);
    json_end(w, ']');
    json_put_string(w, "command", arm_command(a));
    json_options(w, a);
    json_held_out(w, a);
    json_open(w, "rows", '{');
    for (int row = 0; arm_has_replies(a) && row <= s->n_split; row++) json_row(w, s, a, row);
    json_end(w, '}');
    json_open(w, "difference", '{');
    for (int row = 0; a != s->arm && arm_has_replies(a) && arm_has_replies(s->arm) && row <= s->n_split;
         row++)
        json_difference(w, s, a, row);
    json_end(w, '}');
    json_cost(w, a);
    json_end(w, '}');
}

static void json_report(const Arms *arms) {
    JsonWriter w = {.indent = 2};
    json_begin(&w, '{');
    json_open(&w, "sections", '[');
    for (int i = 0; i < arms->n; i++) {
        const Section *s = &arms->section[i];
        json_begin(&w, '{');
        json_put_string(&w, "name", s->name);
        json_open(&w, "arms", '[');
        for (int k = 0; k < s->n_arm; k++) json_arm(&w, s, &s->arm[k]);
        json_end(&w, ']');
        json_end(&w, '}');
    }
    json_end(&w, ']');
    json_end(&w, '}');
    puts(w.text);
    free(w.text);
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool report(const Config *c, char **arm, int n_arm, Err *e) {
    Arms arms = {.tables = run_tables};
    bool ok = true;
    if (!n_arm)
        return fail(e, "no run given, expected [SECTION/][NAME=]RUN[,RUN...]; see grpo report --help");
    if (!c->output && !c->json)
        return fail(e, "--output: not given; expected the HTML file to write, or --json");
    if (c->output && path_exists(c->output))
        return fail(e, "%s: exists already; give another --output", c->output);
    for (int i = 0; ok && i < n_arm; i++) ok = arms_add(&arms, arm[i], e);
    if (ok && c->output) {
        Page page = {.length = 0};
        report_page(&page, &arms, c->title);
        ok = page.no_memory ? fail(e, "%s: no memory for the page", c->output)
                            : file_write(c->output, page.text, page.length, e);
        free(page.text);
    }
    if (ok && c->json) json_report(&arms);
    arms_free(&arms);
    return ok;
}

int cmd_report(int argc, char **argv, Err *e) {
    Config c;
    char **arm = calloc(2 * (size_t)argc + 2, sizeof *arm), **rest = arm ? arm + argc + 1 : NULL;
    int n_arm = 0, n_rest = 0;
    if (!arm) { fail(e, "no memory"); return -1; }
    /* runs and options in any order: an option but --json takes the word after it, unless it has its own = */
    for (int i = 0; i < argc; i++) {
        const bool option = i == 0 || argv[i][0] == '-';
        if (!option) { arm[n_arm++] = argv[i]; continue; }
        rest[n_rest++] = argv[i];
        if (i && !strchr(argv[i], '=') && strcmp(argv[i], "--json") && i + 1 < argc)
            rest[n_rest++] = argv[++i];
    }
    const int r = options_parse(&c, &table, n_rest, rest, e);
    const bool ok = r == 0 && report(&c, arm, n_arm, e);
    free(arm);
    return r > 0 || ok ? 0 : -1;
}
