/* score.c: `grpo score`: what reward models or a program say of given replies: per label, and weighted (E60).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "text/data.h"
#include "run/options.h"
#include "run/scorer.h"
#include "lib/files.h"
#include "reward.h"
#include "lib/say.h"

typedef struct {
    const char *dataset, *output, *system;
    ScorerOptions scorer;
    int slice_rows, limit;
    bool summary, json, skip_errors;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL of prompts with completions"},
    {"reward_model", SET_STRING, AT(scorer.folders), NULL, NULL, "reward folders, with commas"},
    {"reward_cmd", SET_STRING, AT(scorer.program), NULL, NULL, "program that scores JSON lines"},
    {"reward_timeout", SET_INT, AT(scorer.timeout), "120", NULL, "seconds that the program may be silent"},
    {"reward_weights", SET_STRING, AT(scorer.weights), NULL, NULL,
     "e.g. politeness=0.4,safety=0.6; none: 1 each"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file to write; must not exist; else stdout"},
    {"summary", SET_BOOL, AT(summary), "false", NULL, "means instead of lines"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the summary as JSON (lines are JSON anyway)"},
    {"chat_template", SET_STRING, AT(scorer.chat.template), NULL, NULL,
     "template of the reward models by name, or a FILE.jinja, in place of theirs"},
    {"template_date", SET_STRING, AT(scorer.chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    ROWS_SETTINGS(AT(limit), AT(skip_errors)),
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens computed at once: memory only"},
    SETTINGS_END};
static const OptionTable table = {
    "score", "scores of given replies, a JSON line each",
    "grpo score --dataset samples.jsonl --reward-model runs/reward/final --summary",
    .part = {{rows, 0}}};

static void write_row(JsonWriter *w, const Example *x, const real *score, const char (*label)[64],
                      int n_label, double reward) {
    json_begin(w, '{');
    for (size_t i = 0; x->row && i < x->row->length; i++)
        if (strcmp(x->row->item[i].key, "scores") && strcmp(x->row->item[i].key, "reward"))
            json_put_value(w, x->row->item[i].key, &x->row->item[i]);
    scores_put(w, "scores", label, score, n_label);
    json_put(w, "reward", reward);
    json_end(w, '}');
    json_raw(w, "\n");
}

enum { SCORE_CHUNK = 64 };              /* rows at once */
typedef struct {
    const Config *c;
    Dataset d;
    Scorer *scorer;
    int n_label;
    double weight[MAX_LABELS];
    real *value, *reward;               /* [d.n, n_label], [d.n] */
    LeftOut out;
    FileWriter file;
    bool missing;
} Score;

static bool summary(const Score *s, Err *e) {
    double mean, sd;
    JsonWriter j = {0};
    json_begin(&j, '{');
    for (int k = 0; k <= s->n_label; k++) {
        const char *name = k < s->n_label ? scorer_labels(s->scorer)[k] : "reward";
        const size_t n = k < s->n_label ? reward_moments(&mean, &sd, s->value + k, (size_t)s->d.n,
                                                         (size_t)s->n_label, 1)
                                        : reward_moments(&mean, &sd, s->reward, (size_t)s->d.n, 1, 1);
        json_open(&j, name, '{');
        json_put_int(&j, "n", (long long)n);
        json_put(&j, "mean", mean);
        json_put(&j, "std", sd);
        json_end(&j, '}');
        if (!s->c->json) printf("%-16s n %zu  mean %.4f  std %.4f\n", name, n, mean, sd);
    }
    if (s->out.n) json_put_int(&j, "left_out", s->out.n);
    json_end(&j, '}');
    const bool ok = !s->c->json || json_print(&j, "\n", e);
    free(j.text);
    return ok;
}

/* Rows first .. first + n - 1: scored, weighed and, without --summary, written. */
static bool score_some(Score *s, int first, int n, Err *e) {
    Completion reply[SCORE_CHUNK];
    const size_t k = (size_t)s->n_label;
    real *value = s->value + (size_t)first * k, *reward = s->reward + first;
    JsonWriter w = {0};
    for (int i = 0; i < n; i++) {
        const Example *x = &s->d.row[first + i];
        reply[i] = (Completion){x, x->completion, !x->finish_reason || strcmp(x->finish_reason, "length")};
    }
    if (!scorer_score(s->scorer, value, reply, n, e)) return false;
    const bool missing = reward_weighted_sum(reward, value, s->weight, (size_t)n, k, 1, MISSING_ZERO);
    s->missing = s->missing || missing;
    for (int i = 0; !s->c->summary && i < n; i++)
        write_row(&w, &s->d.row[first + i], value + (size_t)i * k, scorer_labels(s->scorer), s->n_label,
                  reward[i]);
    const bool ok = s->c->summary ||
                    (json_ok(&w, e) && file_or_stdout(s->c->output ? &s->file : NULL, w.text, w.length, e));
    free(w.text);
    return ok;
}

static bool score_rows(Score *s, Err *e) {
    const Config *c = s->c;
    if (!(s->scorer = scorer_open(&c->scorer, c->slice_rows, &s->d, e)) ||
        !scorer_check(s->scorer, &s->d, true, &s->out, e))
        return false;
    const int n = s->d.n;
    left_out_tell(&s->out, n);
    s->n_label = scorer_n_label(s->scorer);
    s->value = malloc((size_t)n * (size_t)s->n_label * sizeof(real));
    s->reward = malloc((size_t)n * sizeof(real));
    bool ok = ((s->value && s->reward) || fail(e, "score: no memory for %d replies", n)) &&
              parse_weights(s->weight, c->scorer.weights, scorer_labels(s->scorer), s->n_label,
                            "--reward-weights", e);
    Progress p;
    progress_begin(&p, "score", n);
    for (int i = 0; ok && i < n; i += SCORE_CHUNK) {
        const int some = n - i < SCORE_CHUNK ? n - i : SCORE_CHUNK;
        ok = score_some(s, i, some, e);
        progress_at(&p, i + some, NULL);
    }
    progress_end(&p);
    if (ok && s->missing) fprintf(stderr, "score: some labels are missing and count 0 in the reward\n");
    return ok && (!c->summary || summary(s, e));
}

static bool score_all(const Config *c, Err *e) {
    Score s = {.c = c, .out = {.command = "score", .skip = c->skip_errors}};
    if (!c->dataset)
        return fail(e, "--dataset: not given; expected a JSONL file of prompts with completions");
    if (c->slice_rows < 1) return fail(e, "--slice-rows: found %d, expected at least 1", c->slice_rows);
    if (c->output && path_exists(c->output))
        return fail(e, "%s: exists already; give another --output", c->output);
    if (!dataset_load_some(&s.d, c->dataset, NEED_COMPLETION, c->system, c->limit, &s.out, e)) return false;
    /* before the work, not after it */
    const bool begun = c->output && file_begin(&s.file, c->output, e);
    bool ok = (begun || !c->output) && score_rows(&s, e);
    if (begun && c->summary) file_abandon(&s.file);
    else if (begun && ok) ok = file_commit(&s.file, e);
    else if (begun) file_keep(&s.file, e);
    free(s.value);
    free(s.reward);
    scorer_close(s.scorer);
    return ok;
}

int cmd_score(int argc, char **argv, Err *e) {
    Config c = {0};
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return score_all(&c, e) ? 0 : -1;
}
