/* report.c: `grpo report`: runs side by side as one HTML page, and its figures as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/arms.h"
#include "cmd/commands.h"
#include "run/options.h"
#include "report/csv.h"
#include "report/figures.h"
#include "report/page.h"
#include "lib/files.h"

typedef struct { const char *output, *title; int watch; bool json, csv; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"output", SET_STRING, AT(output), NULL, NULL, "HTML file to write; must not exist"},
    {"title", SET_STRING, AT(title), "Runs side by side", NULL, "of the page"},
    {"json", SET_BOOL, AT(json), "false", NULL, "every figure as JSON on stdout"},
    {"csv", SET_BOOL, AT(csv), "false", NULL,
     "the logs as one table on stdout: a row a line, a column a number"},
    {"watch", SET_INT, AT(watch), "0", NULL,
     "seconds: make the page anew as often, until every run is over; 0: once"},
    SETTINGS_END};
static const OptionTable table = {
    "report",
    "[SECTION/][NAME=]RUN[,RUN...] ...: runs side by side on one page: curves, tables with 95 % intervals, "
    "costs, replies.\nAn arm is one run or, with commas, several that differ in their seed; the first arm "
    "of a section is what the others are compared with.\nRead are config.json, log.jsonl, timing.jsonl and, "
    "where they are, replies.jsonl and verdicts.json of each run's folder (docs/formats.md)",
    "grpo report SFT=runs/sft GRPO=runs/grpo-1,runs/grpo-2,runs/grpo-3 --output report.html",
    .part = {{rows, 0}}};

static bool output_check(const Config *c, int n_arm, Err *e) {
    if (!n_arm)
        return fail(e, "no run given, expected [SECTION/][NAME=]RUN[,RUN...]; see grpo report --help");
    if (!c->output && !c->json && !c->csv)
        return fail(e, "--output: not given; expected the HTML file to write, or --json, or --csv");
    if (c->json && c->csv) return fail(e, "--json and --csv: both are for stdout; give one of them");
    if (c->watch < 0) return fail(e, "--watch: found %d, expected seconds", c->watch);
    if (c->watch && (!c->output || c->json || c->csv))
        return fail(e, "--watch: is for a page; give --output, and neither --json nor --csv");
    return !c->output || !path_exists(c->output) ||
           fail(e, "%s: exists already; give another --output", c->output);
}

/* Everything once. *over: none of the runs goes on. */
static bool report(const Config *c, char **arm, int n_arm, bool *over, Err *e) {
    Arms arms = {.tables = run_tables};
    bool ok = true;
    for (int i = 0; ok && i < n_arm; i++) ok = arms_add(&arms, arm[i], e);
    *over = ok && arms_are_over(&arms);
    for (int json = 0; ok && json < 2; json++) {
        if (!(json ? c->json : c->output != NULL)) continue;
        char *figures = report_figures(&arms, c->title, *over ? 0 : c->watch, 2 * json);
        if (!figures) ok = fail(e, "no memory for the figures");
        else if (json) puts(figures);
        else ok = page_write(c->output, figures, e);
        free(figures);
    }
    if (ok && c->csv) {
        char *text = report_csv(&arms);
        ok = text ? file_or_stdout(NULL, text, strlen(text), e) : fail(e, "no memory for the table");
        free(text);
    }
    arms_free(&arms);
    return ok;
}

/* The files of a run that goes on may be away at this moment: what fails is tried again. */
static void watch(const Config *c, char **arm, int n_arm) {
    for (bool over = false; !over; ) {
        Err why = {{0}};
        sleep((unsigned)c->watch);
        if (!report(c, arm, n_arm, &over, &why)) fprintf(stderr, "report: %s; trying again\n", why.line);
    }
}

int cmd_report(int argc, char **argv, Err *e) {
    Config c;
    char **arm = calloc(2 * (size_t)argc + 2, sizeof *arm), **rest = arm ? arm + argc + 1 : NULL;
    int n_arm = 0, n_rest = 0;
    if (!arm) { fail(e, "no memory"); return -1; }
    /* runs and options in any order: an option but --json and --csv takes the word after it, unless it has
     * its own = */
    for (int i = 0; i < argc; i++) {
        const bool option = i == 0 || argv[i][0] == '-';
        if (!option) { arm[n_arm++] = argv[i]; continue; }
        rest[n_rest++] = argv[i];
        if (i && !strchr(argv[i], '=') && strcmp(argv[i], "--json") && strcmp(argv[i], "--csv") &&
            i + 1 < argc)
            rest[n_rest++] = argv[++i];
    }
    const int r = options_parse(&c, &table, n_rest, rest, e);
    bool over = true;
    const bool ok = r == 0 && output_check(&c, n_arm, e) && report(&c, arm, n_arm, &over, e);
    if (ok && c.watch && !over) watch(&c, arm, n_arm);
    free(arm);
    return r > 0 || ok ? 0 : -1;
}
