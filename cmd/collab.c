/* collab.c: `grpo collab`: replies that several policies write together, a token from one at a time. The
 * search is in run/collab.c. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "lib/say.h"
#include "run/collab.h"
#include "run/options.h"
#include "text/fit.h"

typedef struct {
    const char *models, *reference, *dataset, *output, *cost, *system;
    ChatChoice chat;
    ScorerOptions scorer;
    int top_k, max_new, batch, slice_rows;
    double top_p, alpha;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"models", SET_STRING, AT(models), NULL, NULL, "folders of the policies, with commas"},
    {"reference", SET_STRING, AT(reference), NULL, NULL,
     "folder of the policy that they come from: adds kl to each line; needed with --alpha"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file to write; must not exist; else stdout"},
    {"cost", SET_STRING, AT(cost), NULL, NULL,
     "file to write: operations and memory, predicted and counted; must not exist"},
    {"top_k", SET_INT, AT(top_k), "5", NULL, "most candidates of a policy for a token, the likeliest"},
    {"top_p", SET_NUMBER, AT(top_p), "0.7", NULL, "no more candidates once their probabilities sum to this"},
    {"alpha", SET_NUMBER, AT(alpha), "0", NULL, "weight of a policy's divergence from the reference"},
    {"max_completion_length", SET_INT, AT(max_new), "256", NULL, "tokens at most"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    {"chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template of the policies by name, or a FILE.jinja, in place of theirs"},
    {"template_date", SET_STRING, AT(chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"batch", SET_INT, AT(batch), "64", NULL, "prompts at once: memory only, no bit changes"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens scored at once: memory only"},
    SETTINGS_END};
static const OptionTable table = {
    "collab", "replies by several policies, each token from whichever promises the highest reward",
    "grpo collab --models runs/a/final,runs/b/final --reward-model runs/reward/final --dataset prompts.jsonl "
    "--max-completion-length 44",
    .part = {{rows, 0}, {scorer_settings, AT(scorer)}}};

static bool options_check(const Config *c, Err *e) {
    if (!c->models) return fail(e, "--models: not given; expected folders of policies, with commas");
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (!c->scorer.folders && !c->scorer.program)
        return fail(
            e, "--reward-model: not given; expected the reward that the policies are to reach together, or "
               "--reward-cmd");
    if (c->top_k < 1 || c->top_k > 256) return fail(e, "--top-k: found %d, expected 1 to 256", c->top_k);
    if (!(c->top_p > 0 && c->top_p <= 1))
        return fail(e, "--top-p: found %g, expected more than 0 and at most 1", c->top_p);
    if (!(c->alpha >= 0))
        return fail(e, "--alpha: found %g, expected a number that is not negative", c->alpha);
    if (c->alpha > 0 && !c->reference)
        return fail(e, "--alpha %g: weighs the divergence from --reference, which is not given", c->alpha);
    if (c->max_new < 1 || c->batch < 1 || c->slice_rows < 1)
        return fail(e, "--max-completion-length %d, --batch %d, --slice-rows %d: expected at least 1 of each",
                    c->max_new, c->batch, c->slice_rows);
    if (c->cost && path_exists(c->cost)) return fail(e, "%s: exists already; give another --cost", c->cost);
    return !c->output || !path_exists(c->output) ||
           fail(e, "%s: exists already; give another --output", c->output);
}

static void put_reply(JsonWriter *w, const Example *x, const CollabReply *r, const char *text, bool kl) {
    static const char *const more[] = {"policy_used", "q", "decoded_tokens"};
    double logp = 0, ratio = 0;
    for (int t = 0; t < r->n; t++) logp += r->logp[t], ratio += r->kl[t];
    answer_put(w, x, text, r->ended, r->n, logp, kl ? &ratio : NULL, more, sizeof more / sizeof *more);
    json_open(w, "policy_used", '[');
    for (int t = 0; t < r->n; t++) json_number(w, r->agent[t]);
    json_end(w, ']');
    json_put_numbers(w, "q", r->q, (size_t)r->n);
    json_put_int(w, "decoded_tokens", r->decoded);
    json_end(w, '}');
    json_raw(w, "\n");
}

/* The replies to n prompts, written to the file or to stdout. */
static bool collab_batch(FileWriter *file, const CollabPlan *p, const Example *x, int n, const char *path,
                         Progress *progress, double *decoded, Err *e) {
    JsonWriter w = {0};
    CollabReply *r = calloc((size_t)n, sizeof *r);
    bool ok = r ? collab(r, p, x, n, path, progress, e) : fail(e, "collab: no memory for %d prompts", n);
    for (int i = 0; ok && i < n; i++) {
        char *text = decode_completion(&p->agent[0].language, r[i].token, r[i].n, e);
        if ((ok = text != NULL)) put_reply(&w, &x[i], &r[i], text, p->reference != NULL);
        *decoded += (double)r[i].decoded;
        free(text);
    }
    ok = ok && json_ok(&w, e) && file_or_stdout(file, w.text, w.length, e);
    for (int i = 0; r && i < n; i++) collab_free(&r[i]);
    free(r);
    free(w.text);
    return ok;
}

static bool collab_write(const Config *c, const CollabPlan *p, const Dataset *d, Err *e) {
    FileWriter file;
    double decoded = 0;
    Progress progress;
    if (c->output && !file_begin(&file, c->output, e)) return false;
    if (c->scorer.program)
        fprintf(stderr, "collab: the program will be asked for up to %.0f replies\n",
                (double)d->n * p->n_agent * c->top_k * c->max_new);
    bool ok = true;
    for (int first = 0; ok && first < d->n; first += c->batch) {
        const int n = d->n - first < c->batch ? d->n - first : c->batch;
        char what[48];
        snprintf(what, sizeof what, "collab %d-%d of %d", first + 1, first + n, d->n);
        progress_begin(&progress, what, c->max_new);
        ok = collab_batch(c->output ? &file : NULL, p, &d->row[first], n, d->path, &progress, &decoded, e);
        progress_end(&progress);
    }
    if (ok) fprintf(stderr, "collab: %.0f tokens decoded for a reply\n", decoded / d->n);
    if (c->output && !ok) file_keep(&file, e);
    return ok && (!c->output || file_commit(&file, e));
}

static bool collab_run(const Config *c, Err *e) {
    Speaker agent[MAX_AGENTS] = {{0}};
    double weight[MAX_LABELS];
    Model *reference = NULL;
    Dataset d;
    Costs cost = {.predicted = {.prompt = 0}};
    const double start = clock_seconds();
    CollabPlan p = {.agent = agent,
                    .cost = &cost,
                    .weight = weight,
                    .top_k = c->top_k,
                    .max_new = c->max_new,
                    .top_p = c->top_p,
                    .alpha = c->alpha};
    bool ok = options_check(c, e) && dataset_load(&d, c->dataset, NEED_PROMPT, c->system, e) &&
              speakers_open(agent, &p.n_agent, MAX_AGENTS, c->models, &c->chat, e);
    if (ok && c->reference) ok = (p.reference = reference = folder_load(c->reference, NULL, e)) != NULL;
    if (ok && reference && reference->config.vocab != agent[0].model->config.vocab)
        ok = fail(e, "%s: has a vocabulary of %d, the policies one of %d", c->reference,
                  reference->config.vocab, agent[0].model->config.vocab);
    for (int k = 0; ok && k < p.n_agent; k++) ok = fit_prompts(&d, &agent[k].language, c->max_new, NULL, e);
    ok = ok && (p.scorer = scorer_open(&c->scorer, c->slice_rows, &d, e)) &&
         parse_weights(weight, c->scorer.weights, scorer_labels(p.scorer), scorer_n_label(p.scorer),
                       "--reward-weights", e);
    for (int k = 0; ok && k < p.n_agent; k++) agent[k].model->tally = &cost.measured.net[NET_POLICY];
    if (ok && reference) reference->tally = &cost.measured.net[NET_REFERENCE];
    if (ok) scorer_count(p.scorer, &cost);
    ok = ok && collab_write(c, &p, &d, e) && (!c->cost || costs_write(c->cost, &cost, e));
    if (ok) costs_say("collab", &cost, clock_seconds() - start, machine_cpu_seconds(), machine_memory_most());
    for (int k = 0; k < MAX_AGENTS; k++) speaker_close(&agent[k]);
    model_free(reference);
    if (p.scorer) scorer_close(p.scorer);
    return ok;
}

int cmd_collab(int argc, char **argv, Err *e) {
    Config c = {0};
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return collab_run(&c, e) ? 0 : -1;
}
