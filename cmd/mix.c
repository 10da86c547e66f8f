/* mix.c: `grpo mix`: the weights with which finished policies of one goal each are mixed. The work is
 * run/mix.c's; `grpo sample --model A,B,C --mixture-weights FILE` speaks with them. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "run/mix.h"
#include "text/fit.h"

typedef struct {
    const char *models, *reference, *dataset, *output, *cost, *system;
    ChatChoice chat;
    ScorerOptions scorer;
    MixPlan plan;
    bool json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"models", SET_STRING, AT(models), NULL, NULL, "folders of the policies, with commas: one goal each"},
    {"reference", SET_STRING, AT(reference), NULL, NULL, "folder of the policy that all of them come from"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file of weights to write; must not exist"},
    {"num_generations", SET_INT, AT(plan.num_generations), "24", NULL,
     "replies of the reference to a prompt"},
    {"steps", SET_INT, AT(plan.steps), "200", NULL, "of mirror descent"},
    {"prompts_per_step", SET_INT, AT(plan.prompts_per_step), "8", NULL, "prompts of a step"},
    {"step_size", SET_NUMBER, AT(plan.step_size), "1", NULL,
     "of a step, divided by the root of their number"},
    {"beta", SET_NUMBER, AT(plan.beta), NULL, NULL,
     "with --reward-weights: the coefficient of the KL that the mixture is to have"},
    {"max_completion_length", SET_INT, AT(plan.max_new), "256", NULL, "tokens at most"},
    {"seed", SET_INT, AT(plan.seed), "42", NULL, "of the draws"},
    {"chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template of the policies by name, or a FILE.jinja, in place of theirs"},
    {"template_date", SET_STRING, AT(chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    {"slice_rows", SET_INT, AT(plan.slice_rows), "1024", NULL, "tokens computed at once: memory only"},
    {"cost", SET_STRING, AT(cost), NULL, NULL,
     "file to write operations, tokens and memory to, as the log of a run has them"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result as JSON on stdout"},
    SETTINGS_END};
static const Setting scores[] = {
    SETTINGS_HEADING("Given weights of goals, in place of mirror descent"),
    {"reward_weights", SET_STRING, AT(scorer.weights), NULL, NULL, "a weight for each goal"},
    {"reward_model", SET_STRING, AT(scorer.folders), NULL, NULL,
     "reward folder whose k-th label is the goal of the k-th policy"},
    {"reward_cmd", SET_STRING, AT(scorer.program), NULL, NULL, "program that scores JSON lines"},
    {"reward_timeout", SET_INT, AT(scorer.timeout), "120", NULL, "seconds that the program may be silent"},
    {"reward_chat_template", SET_STRING, AT(scorer.chat.template), NULL, NULL,
     "template of the reward models by name, or a FILE.jinja, in place of theirs"},
    SETTINGS_END};
static const OptionTable table = {
    "mix", "weights for a mixture of finished policies",
    "grpo mix --models runs/a/final,runs/b/final --reference runs/sft/final --dataset prompts.jsonl --output "
    "weights.json",
    .part = {{rows, 0}, {scores, 0}}};

/* ---- the result ---- */

static void mix_json(JsonWriter *w, const Config *c, const MixPlan *p, const MixSums *s, const MixResult *r) {
    const size_t n = (size_t)s->n_policy;
    char dir[1024];
    json_begin(w, '{');
    json_open(w, "models", '[');
    for (const char *at = c->models; next_folder(dir, &at); ) json_string(w, dir);
    json_end(w, ']');
    json_put_numbers(w, "weights", r->weight, n);
    if (p->weight) json_put_numbers(w, "coefficients", r->coefficient, n);
    else {
        json_put_numbers(w, "gradient", r->gradient, n);
        json_put(w, "effective_replies", r->effective);
    }
    json_put_numbers(w, "mean_ratio", r->mean_ratio, n);
    json_put_int(w, "prompts", s->n_prompt);
    json_put_int(w, "num_generations", s->n);
    json_end(w, '}');
    json_raw(w, "\n");
}

static void mix_print(const Config *c, const MixPlan *p, const MixSums *s, const MixResult *r) {
    printf("%-8s %9s %12s %13s\n", "policy", "lambda", p->weight ? "coefficient" : "gradient", "mean exp(L)");
    for (int k = 0; k < s->n_policy; k++)
        printf("%-8d %9.4f %12.4f %13.3f\n", k + 1, r->weight[k],
               p->weight ? r->coefficient[k] : r->gradient[k], r->mean_ratio[k]);
    if (!p->weight)
        printf(
            "effective replies a prompt: %.1f of %d%s\n", r->effective, s->n,
            r->effective < 5
                ? "; so few that the weights say little: more --num-generations, or policies nearer to the "
                  "reference"
                : "");
    printf("%s: for grpo sample --mixture-weights\n", c->output);
}

static bool mix_run(const Config *c, const MixPlan *p, Err *e) {
    MixSums s = {.n = 0};
    MixResult r;
    Costs cost = {.predicted = {.prompt = 0}};
    Progress progress;
    JsonWriter w = {0};
    const double start = clock_seconds();
    bool ok = mix_gather(&s, &cost, p, &progress, e) && mix_weights(&r, &s, p, e);
    for (int k = 0; ok && k < s.n_policy; k++)
        if (r.equal[k]) fprintf(stderr, "mix: policy %d is the reference: its weight means nothing\n", k + 1);
    if (ok) mix_json(&w, c, p, &s, &r);
    ok = ok && json_save(c->output, &w, e) && (!c->cost || costs_write(c->cost, &cost, e));
    if (ok) costs_say("mix", &cost, clock_seconds() - start, machine_cpu_seconds(), machine_memory_most());
    if (ok && c->json) ok = json_print(&w, "", e);
    else if (ok) mix_print(c, p, &s, &r);
    free(w.text);
    mix_free(&s);
    return ok;
}

/* ---- the command ---- */

static bool mix_check(const Config *c, Err *e) {
    const MixPlan *p = &c->plan;
    const bool given = c->scorer.weights != NULL;
    if (!c->models) return fail(e, "--models: not given; expected folders of policies, with commas");
    if (!c->reference)
        return fail(e, "--reference: not given; expected the policy that all of them come from");
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (!c->output) return fail(e, "--output: not given; expected a file to write the weights to");
    if (path_exists(c->output)) return fail(e, "%s: exists already; give another --output", c->output);
    if (c->cost && path_exists(c->cost)) return fail(e, "%s: exists already; give another --cost", c->cost);
    if (given != (c->scorer.folders || c->scorer.program) || given == isnan(p->beta))
        return fail(e, "--reward-weights, --reward-model and --beta: give all three, or none of them for "
                       "mirror descent");
    if (given && !(p->beta > 0)) return fail(e, "--beta: found %g, expected more than 0", p->beta);
    if (!(p->step_size > 0)) return fail(e, "--step-size: found %g, expected more than 0", p->step_size);
    return (p->num_generations > 1 && p->steps > 0 && p->prompts_per_step > 0 && p->max_new > 0 &&
            p->slice_rows > 0) ||
           fail(e,
                "--num-generations %d, --steps %d, --prompts-per-step %d, --max-completion-length %d, "
                "--slice-rows %d: "
                "expected at least 2, 1, 1, 1 and 1",
                p->num_generations, p->steps, p->prompts_per_step, p->max_new, p->slice_rows);
}

static bool goals_open(MixPlan *p, Dataset *d, double weight[MAX_LABELS], const ScorerOptions *o, Err *e) {
    if (!(p->scorer = scorer_open(o, p->slice_rows, d, e))) return false;
    const int n_label = scorer_n_label(p->scorer);
    if (n_label != p->n_policy)
        return fail(e, "--reward-model: has %d labels, --models %d policies; expected a label for each",
                    n_label, p->n_policy);
    if (!parse_weights(weight, o->weights, scorer_labels(p->scorer), n_label, "--reward-weights", e))
        return false;
    for (int k = 0; k < n_label; k++)
        if (weight[k] < 0)
            return fail(e, "--reward-weights: found %g for %s, expected no number below 0", weight[k],
                        scorer_labels(p->scorer)[k]);
    p->weight = weight;
    return scorer_check(p->scorer, d, false, NULL, e);
}

static bool mix_open(const Config *c, Err *e) {
    Speaker policy[MAX_POLICIES + 1] = {{0}};
    double weight[MAX_LABELS];
    char all[8192];
    Dataset d;
    int n = 0;
    MixPlan p = c->plan;
    p.policy = policy, p.data = &d;
    bool ok = mix_check(c, e) && dataset_load(&d, c->dataset, NEED_PROMPT, c->system, e);
    if (ok && snprintf(all, sizeof all, "%s,%s", c->models, c->reference) >= (int)sizeof all)
        ok = fail(e, "--models: expected at most %zu bytes", sizeof all - 1);
    ok = ok && speakers_open(policy, &n, MAX_POLICIES + 1, all, &c->chat, e);
    if (ok && (p.n_policy = n - 1) < 2) ok = fail(e, "--models: found one policy, expected at least two");
    for (int k = 0; ok && k < n; k++) ok = fit_prompts(&d, &policy[k].language, p.max_new, NULL, e);
    ok = ok && (!c->scorer.weights || goals_open(&p, &d, weight, &c->scorer, e)) && mix_run(c, &p, e);
    for (int k = 0; k <= MAX_POLICIES; k++) speaker_close(&policy[k]);
    if (p.scorer) scorer_close(p.scorer);
    return ok;
}

int cmd_mix(int argc, char **argv, Err *e) {
    Config c = {0};
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return mix_open(&c, e) ? 0 : -1;
}
