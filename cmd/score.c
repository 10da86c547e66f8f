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
    int slice_rows;
    bool summary, json;
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
    {"chat_template", SET_STRING, AT(scorer.chat_template), NULL, NULL,
     "template of the reward models, if theirs is unknown"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
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
    json_open(w, "scores", '{');
    for (int k = 0; k < n_label; k++) json_put(w, label[k], score[k]);
    json_end(w, '}');
    json_put(w, "reward", reward);
    json_end(w, '}');
    json_raw(w, "\n");
}

static bool emit(FileWriter *file, const Config *c, const Dataset *d, const real *score, const real *reward,
                 const char (*label)[64], int n_label, Err *e) {
    double mean, sd;
    if (c->summary) {
        JsonWriter j = {0};
        json_begin(&j, '{');
        for (int k = 0; k <= n_label; k++) {
            const char *name = k < n_label ? label[k] : "reward";
            const size_t n = k < n_label
                                 ? reward_moments(&mean, &sd, score + k, (size_t)d->n, (size_t)n_label, 1)
                                 : reward_moments(&mean, &sd, reward, (size_t)d->n, 1, 1);
            json_open(&j, name, '{');
            json_put_int(&j, "n", (long long)n);
            json_put(&j, "mean", mean);
            json_put(&j, "std", sd);
            json_end(&j, '}');
            if (!c->json) printf("%-16s n %zu  mean %.4f  std %.4f\n", name, n, mean, sd);
        }
        json_end(&j, '}');
        if (c->json) puts(j.text);
        free(j.text);
        return true;
    }
    JsonWriter w = {0};
    for (int i = 0; i < d->n; i++)
        write_row(&w, &d->row[i], score + (size_t)i * (size_t)n_label, label, n_label, reward[i]);
    const bool ok = file_or_stdout(c->output ? file : NULL, w.text, w.length, e) &&
                    (!c->output || file_commit(file, e));
    free(w.text);
    return ok;
}

static bool score_all(const Config *c, Err *e) {
    Dataset d;
    double weight[MAX_LABELS];
    if (!c->dataset)
        return fail(e, "--dataset: not given; expected a JSONL file of prompts with completions");
    if (c->slice_rows < 1) return fail(e, "--slice-rows: found %d, expected at least 1", c->slice_rows);
    if (c->output && path_exists(c->output))
        return fail(e, "%s: exists already; give another --output", c->output);
    if (!dataset_load(&d, c->dataset, NEED_COMPLETION, c->system, e)) return false;
    FileWriter file;
    /* before the work, not after it */
    if (c->output && !file_begin(&file, c->output, e)) return false;
    Scorer *s = scorer_open(&c->scorer, c->slice_rows, &d, e);
    if (!s) {
        if (c->output) file_abandon(&file);
        return false;
    }
    const int n_label = scorer_n_label(s);
    Completion *reply = malloc((size_t)d.n * sizeof *reply);
    real *value = malloc((size_t)d.n * (size_t)n_label * sizeof(real)),
         *reward = malloc((size_t)d.n * sizeof(real));
    bool ok = (reply && value && reward) || fail(e, "score: no memory for %d replies", d.n);
    for (int i = 0; ok && i < d.n; i++)
        reply[i] = (Completion){&d.row[i], d.row[i].completion,
                           !d.row[i].finish_reason || strcmp(d.row[i].finish_reason, "length")};
    ok = ok && parse_weights(weight, c->scorer.weights, scorer_labels(s), n_label, "--reward-weights", e);
    enum { CHUNK = 256 };
    Progress p;
    progress_begin(&p, "score", d.n);
    for (int i = 0; ok && i < d.n; i += CHUNK) {
        ok = scorer_score(s, value + (size_t)i * (size_t)n_label, reply + i,
                          d.n - i < CHUNK ? d.n - i : CHUNK, e);
        progress_at(&p, i + CHUNK < d.n ? i + CHUNK : d.n, NULL);
    }
    progress_end(&p);
    if (ok) {
        if (reward_weighted_sum(reward, value, weight, (size_t)d.n, (size_t)n_label, 1, MISSING_ZERO))
            fprintf(stderr, "score: some labels are missing and count 0 in the reward\n");
        ok = emit(&file, c, &d, value, reward, scorer_labels(s), n_label, e);
    }
    if (c->output && (!ok || c->summary)) file_abandon(&file);
    free(reply);
    free(value);
    free(reward);
    scorer_close(s);
    return ok;
}

int cmd_score(int argc, char **argv, Err *e) {
    Config c;
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return score_all(&c, e) ? 0 : -1;
}
