/* pairs.c: `grpo pairs`: preference pairs, the best and the worst of several scored replies to a prompt:
 * replies sampled here, or read with their rewards (what `sample` and `score` write); or pairs that are given
 * and bridged by a program. The lines are what `dpo` reads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/evaluate.h"
#include "run/options.h"
#include "run/program.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "lib/say.h"
#include "lib/words.h"
#include "text/fit.h"

typedef struct {
    const char *model, *dataset, *output, *cost, *bridge;
    ScorerOptions scorer;
    SpeakerOptions speak;
    int batch, slice_rows;
    double margin;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"model", SET_STRING, AT(model), NULL, NULL,
     "folder of the policy that answers; none: the data set holds scored replies"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL,
     "JSONL or text file of prompts; or of replies with \"reward\" or \"scores\", those to one prompt side "
     "by side; or, with --bridge-cmd, of pairs"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file to write; must not exist; else stdout"},
    {"margin", SET_NUMBER, AT(margin), "0", NULL, "a pair needs rewards that differ by more than this"},
    {"bridge_cmd", SET_STRING, AT(bridge), NULL, NULL,
     "program that answers each pair with a new chosen reply: the rejected one, put right where it is wrong"},
    {"batch", SET_INT, AT(batch), "16", NULL, "prompts at once: memory only, no bit changes"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens scored at once: memory only"},
    {"cost", SET_STRING, AT(cost), NULL, NULL,
     "file to write operations, tokens and memory to, as the log of a run has them"},
    SETTINGS_END};
static const OptionTable table = {
    "pairs", "preference pairs: the best and the worst of several scored replies to a prompt",
    "grpo pairs --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final "
    "--max-completion-length 64 --output preferences.jsonl",
    .part = {{rows, 0}, {scorer_settings, AT(scorer)}, {speaker_settings, AT(speak)}},
    .own = {{"num_generations", "8"}}};

typedef struct {
    Config c;
    FileWriter file;
    bool begun;
    int n_prompt, n_pair, n_tied;       /* tied: prompts, or bridged pairs, without a difference */
    Costs costs;
    Program program;
} Pairs;

static void pairs_prompt(JsonWriter *w, const Example *x) {
    const Json *given = x->row ? json_get(x->row, "prompt") : NULL;
    json_key(w, "prompt");
    /* a text beside conversations says less than what they share */
    if (given && (x->n_prompt == 1 || given->type == JSON_ARRAY)) { json_value(w, given); return; }
    json_begin(w, '[');
    for (int i = 0; i < x->n_prompt; i++) {
        json_begin(w, '{');
        json_put_string(w, "role", x->prompt[i].role);
        json_put_string(w, "content", x->prompt[i].content);
        json_end(w, '}');
    }
    json_end(w, ']');
}

static bool write_line(Pairs *p, JsonWriter *w, Err *e) {
    json_end(w, '}');
    json_raw(w, "\n");
    const bool ok = json_ok(w, e) && file_or_stdout(p->c.output ? &p->file : NULL, w->text, w->length, e);
    free(w->text);
    return ok;
}

/* The best and the worst of n replies to one prompt, the first of equals; nothing where they do not differ by
 * more than the margin. */
static bool write_pair(Pairs *p, const Completion *reply, const real *reward, int n, Err *e) {
    int best = -1, worst = -1;
    for (int i = 0; i < n; i++) {
        if (isnan(reward[i])) continue;
        if (best < 0 || reward[i] > reward[best]) best = i;
        if (worst < 0 || reward[i] < reward[worst]) worst = i;
    }
    p->n_prompt++;
    if (best < 0 || !((double)reward[best] - reward[worst] > p->c.margin)) { p->n_tied++; return true; }
    p->n_pair++;
    JsonWriter w = {0};
    json_begin(&w, '{');
    pairs_prompt(&w, reply->prompt);
    json_put_string(&w, "chosen", reply[best].completion);
    json_put_string(&w, "rejected", reply[worst].completion);
    json_put_string(&w, "chosen_finish_reason", reply[best].ended ? "stop" : "length");
    json_put_string(&w, "rejected_finish_reason", reply[worst].ended ? "stop" : "length");
    json_put(&w, "score_chosen", reward[best]);
    json_put(&w, "score_rejected", reward[worst]);
    return write_line(p, &w, e);
}

/* ---- replies sampled here ---- */

static bool some_prompts(Pairs *p, const Speaker *s, const EvalPlan *plan, int first, int n, Err *e) {
    const int group = plan->num_generations;
    Judged j;
    bool ok = judged_new(&j, plan, s, first, n, e);
    if (ok) answers_cost(&p->costs, &j.answers, s, NULL);
    for (int i = 0; ok && i < n; i++) ok = write_pair(p, j.reply + i * group, j.reward + i * group, group, e);
    judged_free(&j);
    return ok;
}

static bool sampled(Pairs *p, Dataset *d, Err *e) {
    const Config *c = &p->c;
    Speaker s = {0};
    double weight[MAX_LABELS];
    if (c->speak.num_generations < 2)
        return fail(e, "--num-generations: found %d, expected at least 2: a pair compares replies",
                    c->speak.num_generations);
    if (c->speak.max_completion_length < 1 || c->batch < 1)
        return fail(e, "--max-completion-length %d, --batch %d: expected at least 1",
                    c->speak.max_completion_length, c->batch);
    if (!(c->speak.sampling.temperature > 0))
        return fail(e,
                    "--temperature: found %g, expected more than 0: greedy replies to one prompt are all "
                    "equal",
                    c->speak.sampling.temperature);
    if (!sampling_check(&c->speak.sampling, e)) return false;
    Scorer *scorer = scorer_open(&c->scorer, c->slice_rows, d, e);
    bool ok = scorer &&
              parse_weights(weight, c->scorer.weights, scorer_labels(scorer), scorer_n_label(scorer),
                            "--reward-weights", e) &&
              speaker_open(&s, c->model, &c->speak.chat, e) &&
              fit_prompts(d, &s.language, c->speak.max_completion_length, NULL, e) &&
              scorer_check(scorer, d, false, NULL, e);
    if (ok) {
        s.model->tally = &p->costs.measured.net[NET_POLICY];
        scorer_count(scorer, &p->costs);
    }
    const EvalPlan plan = {.data = d, .scorer = scorer, .weight = weight, .missing = MISSING_MEAN,
                           .sampling = c->speak.sampling, .num_generations = c->speak.num_generations,
                           .max_completion_length = c->speak.max_completion_length, .seed = c->speak.seed};
    const double start = clock_seconds();
    Progress progress;
    progress_begin(&progress, "pairs", d->n);
    for (int first = 0; ok && first < d->n; first += c->batch) {
        const int n = d->n - first < c->batch ? d->n - first : c->batch;
        ok = some_prompts(p, &s, &plan, first, n, e);
        progress_at(&progress, first + n, NULL);
    }
    progress_end(&progress);
    if (ok)
        costs_say("pairs", &p->costs, clock_seconds() - start, machine_cpu_seconds(), machine_memory_most());
    speaker_close(&s);
    scorer_close(scorer);
    return ok;
}

/* ---- replies that come with their rewards ---- */

/* "reward"; or with --reward-weights the weighted sum of "scores" (E60), NaN where one that has a weight is
 * missing. */
static bool reward_of(real *out, const Example *x, const double *weight, const char (*label)[64], int n_label,
                      const char *path, Err *e) {
    const Json *reward = json_get(x->row, "reward"), *scores = json_get(x->row, "scores");
    if (!weight) {
        if (!reward || (reward->type != JSON_NUMBER && reward->type != JSON_NULL))
            return fail(e, "%s:%d: no \"reward\" (a number); let grpo score write it, or give --model", path,
                        x->line);
        *out = reward->type == JSON_NULL ? (real)NAN : (real)reward->number;
        return reward->type == JSON_NULL || score_has_size(reward->number, x, "reward", e);
    }
    double sum = 0;
    for (int k = 0; k < n_label; k++) {
        const Json *v = scores ? json_get(scores, label[k]) : NULL;
        if (weight[k] != 0) sum += weight[k] * (v && v->type == JSON_NUMBER ? v->number : NAN);
    }
    *out = (real)sum;
    return isnan(sum) || score_has_size(sum, x, "scores, weighed", e);
}

static bool score_labels(char (*label)[64], int *n, const Dataset *d, Err *e) {
    const Json *scores = json_get(d->row[0].row, "scores");
    *n = 0;
    if (!scores || scores->type != JSON_OBJECT || !scores->length)
        return fail(e, "%s:%d: no \"scores\", which --reward-weights weighs; let grpo score write them",
                    d->path, d->row[0].line);
    for (size_t i = 0; i < scores->length && *n < MAX_LABELS; i++)
        snprintf(label[(*n)++], 64, "%.63s", scores->item[i].key);
    return true;
}

static bool same_prompt(const Example *a, const Example *b) {
    if (a->n_prompt != b->n_prompt) return false;
    for (int i = 0; i < a->n_prompt; i++)
        if (strcmp(a->prompt[i].role, b->prompt[i].role) ||
            strcmp(a->prompt[i].content, b->prompt[i].content))
            return false;
    return true;
}

static bool scored(Pairs *p, const Dataset *d, Err *e) {
    const Config *c = &p->c;
    double weight[MAX_LABELS];
    char label[MAX_LABELS][64];
    int n_label = 0;
    Completion *reply = malloc((size_t)d->n * sizeof *reply);
    real *reward = malloc((size_t)d->n * sizeof(real));
    bool ok = (reply && reward) || fail(e, "pairs: no memory for %d replies", d->n);
    if (ok && c->scorer.weights)
        ok = score_labels(label, &n_label, d, e) &&
             parse_weights(weight, c->scorer.weights, (const char(*)[64])label, n_label, "--reward-weights",
                           e);
    for (int i = 0; ok && i < d->n; i++) {
        const Example *x = &d->row[i];
        reply[i] = (Completion){x, x->completion, !x->finish_reason || strcmp(x->finish_reason, "length")};
        ok = reward_of(&reward[i], x, c->scorer.weights ? weight : NULL, (const char(*)[64])label, n_label,
                       d->path, e);
    }
    for (int i = 0, end; ok && i < d->n; i = end) {
        for (end = i + 1; end < d->n && same_prompt(&d->row[i], &d->row[end]); ) end++;
        ok = write_pair(p, reply + i, reward + i, end - i, e);
    }
    free(reply);
    free(reward);
    return ok;
}

/* ---- E210: pairs that are bridged ---- */

/* A pair with the bridged reply as its chosen one, or nothing where that is the rejected reply as it was.
 * What was known of the former chosen reply is left out. */
static bool bridge_pair(Pairs *p, const Example *x, Err *e) {
    static const char *const known[] = {"prompt", "chosen", "rejected", "messages", "chosen_finish_reason",
                                        "score_chosen"};
    const Told told[] = {{"chosen", x->chosen}, {"rejected", x->rejected}};
    Json *answer = program_ask(&p->program, x, told, 2, "chosen", JSON_STRING, "\"text\"", e);
    if (!answer) return false;
    const char *bridged = json_get(answer, "chosen")->string;
    JsonWriter w = {0};
    bool ok = *bridged || fail(e, "--bridge-cmd: answered line %lld with an empty text; expected a reply",
                               p->program.next_id - 1) || program_wrong(&p->program, x, e);
    p->n_prompt++;
    if (ok && !strcmp(bridged, x->rejected)) p->n_tied++;
    else if (ok) {
        p->n_pair++;
        json_begin(&w, '{');
        pairs_prompt(&w, x);
        json_put_string(&w, "chosen", bridged);
        json_put_string(&w, "rejected", x->rejected);
        for (size_t i = 0; i < x->row->length; i++)
            if (!name_among(x->row->item[i].key, known, sizeof known / sizeof *known))
                json_put_value(&w, x->row->item[i].key, &x->row->item[i]);
        ok = write_line(p, &w, e);
    }
    json_free(answer);
    return ok;
}

static bool bridged(Pairs *p, const Dataset *d, Err *e) {
    if (!program_start(&p->program, "--bridge-cmd", p->c.bridge, p->c.scorer.timeout, e)) {
        program_stop(&p->program);
        return false;
    }
    bool ok = true;
    for (int i = 0; ok && i < d->n; i++) ok = bridge_pair(p, &d->row[i], e);
    program_stop(&p->program);
    if (ok && !p->n_pair)
        ok = fail(e, "--bridge-cmd: gave back each of %d rejected replies as it was", p->n_prompt);
    if (ok)
        fprintf(stderr, "pairs: %d of %d pairs were bridged, %d rejected replies came back as they were\n",
                p->n_pair, p->n_prompt, p->n_tied);
    return ok;
}

/* What became of the prompts; an error if no pair did. */
static bool pairs_told(const Pairs *p, Err *e) {
    if (!p->n_pair)
        return fail(e,
                    "%s: of %d prompts none gave a pair: their rewards differ by %g at most; more "
                    "--num-generations, a lower --margin",
                    p->c.dataset, p->n_prompt, p->c.margin);
    fprintf(stderr,
            "pairs: %d of %d prompts gave a pair, %d had rewards that do not differ by more than %g\n",
            p->n_pair, p->n_prompt, p->n_tied, p->c.margin);
    return true;
}

static bool pairs(Pairs *p, Err *e) {
    const Config *c = &p->c;
    Dataset d;
    if (!c->dataset)
        return fail(e, "--dataset: not given; expected a JSONL file of prompts, or of scored replies");
    if (!(c->margin >= 0)) return fail(e, "--margin: found %g, expected at least 0", c->margin);
    if (!c->model && (c->scorer.folders || c->scorer.program))
        return fail(e, "--reward-model, --reward-cmd: score replies of --model, which is not given; score "
                       "given replies with grpo score first");
    if (c->cost && !c->model)
        return fail(e, "--cost: replies that are given cost nothing here; leave it out, or give --model");
    if (c->cost && path_exists(c->cost)) return fail(e, "%s: exists already; give another --cost", c->cost);
    if (c->output && path_exists(c->output))
        return fail(e, "%s: exists already; give another --output", c->output);
    if (c->bridge && (c->model || c->margin != 0))
        return fail(e,
                    "--bridge-cmd: bridges pairs that the data set holds; make them first, without it, and "
                    "leave out %s here",
                    c->model ? "--model" : "--margin");
    if (!dataset_load(&d, c->dataset, c->bridge  ? NEED_PAIR
                                      : c->model ? NEED_PROMPT
                                                 : NEED_COMPLETION, c->speak.system, e))
        return false;
    if (c->output && !(p->begun = file_begin(&p->file, c->output, e))) return false;
    if (!(c->bridge  ? bridged(p, &d, e)
          : c->model ? sampled(p, &d, e) && pairs_told(p, e)
                     : scored(p, &d, e) && pairs_told(p, e)))
        return false;
    if (c->cost && !costs_write(c->cost, &p->costs, e)) return false;
    if (!c->output) return true;
    p->begun = false;
    return file_commit(&p->file, e);
}

int cmd_pairs(int argc, char **argv, Err *e) {
    Pairs p = {.begun = false};
    const int r = options_parse(&p.c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    const bool ok = pairs(&p, e);
    if (p.begun) file_keep(&p.file, e);
    return ok ? 0 : -1;
}
