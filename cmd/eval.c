/* eval.c: `grpo eval`: what reward models or a program say of policies' answers to the same prompts, with 95
 * % intervals. */
#include "cmd/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/options.h"
#include "lib/files.h"
#include "lib/stats.h"
#include "lib/say.h"

enum { BATCH = 64, MAX_POLICIES = 16 }; /* prompts at once: memory only */

/* value [n_quantity, n_prompt]: means over a prompt's completions */
typedef struct { char name[512]; double *value; char **text; } Policy;

struct Eval {
    EvalPlan plan;
    int n, n_label, n_quantity, n_group, n_policy;
    int *group_of;                      /* [n] */
    char **group;                       /* [n_group] */
    Policy policy[MAX_POLICIES];
    bool missing;
};

/* ---- quantities and groups ---------------------------------------------------------------- */

static const char *const own_quantity[] = {"reward", "length", "ended"};
enum { N_OWN = 3 };

static const char *quantity_name(const Eval *v, int q) {
    return q < v->n_label ? scorer_labels(v->plan.scorer)[q] : own_quantity[q - v->n_label];
}

static char *column(const Example *x, const char *key) {
    const Json *value = x->row ? json_get(x->row, key) : NULL;
    JsonWriter w = {0};
    if (value && value->type == JSON_STRING) json_raw(&w, value->string);
    else if (value) json_value(&w, value);
    else json_raw(&w, "(none)");
    return w.text;
}

static bool find_groups(Eval *v, Err *e) {
    const char *key = v->plan.group_by;
    bool any = !key;
    for (int i = 0; i < v->n; i++) {
        char *name = key ? column(&v->plan.data->row[i], key) : NULL;
        int g = 0;
        if (!key) continue;
        if (!name) return fail(e, "eval: no memory");
        any = any || (v->plan.data->row[i].row && json_get(v->plan.data->row[i].row, key));
        while (g < v->n_group && strcmp(v->group[g], name)) g++;
        if (g == v->n_group) v->group[v->n_group++] = name;
        else free(name);
        v->group_of[i] = g;
    }
    return any || fail(e, "%s: no row has the column \"%.60s\" of --group-by", v->plan.data->path, key);
}

Eval *eval_new(const EvalPlan *plan, Err *e) {
    Eval *v = calloc(1, sizeof *v);
    if (!v) { fail(e, "eval: no memory"); return NULL; }
    v->plan = *plan;
    v->n = plan->data->n;
    v->n_label = scorer_n_label(plan->scorer);
    v->n_quantity = v->n_label + N_OWN;
    v->group_of = calloc((size_t)v->n, sizeof(int));
    v->group = calloc((size_t)v->n, sizeof *v->group);
    if ((v->group_of && v->group) || fail(e, "eval: no memory for %d prompts", v->n))
        if (find_groups(v, e)) return v;
    eval_free(v);
    return NULL;
}

void eval_free(Eval *v) {
    if (!v) return;
    for (int p = 0; p < v->n_policy; p++) {
        for (int i = 0; v->policy[p].text && i < v->n * v->plan.num_generations; i++)
            free(v->policy[p].text[i]);
        free(v->policy[p].text);
        free(v->policy[p].value);
    }
    for (int g = 0; v->group && g < v->n_group; g++) free(v->group[g]);
    free(v->group);
    free(v->group_of);
    free(v);
}

/* ---- sampling and scoring ------------------------------------------------------------------ */

/* Means over the completions of prompt i, from rows of scores, rewards, lengths and ends that begin with its
 * first completion. */
static bool average(Eval *v, double *value, int i, const real *score, const real *reward, const int *length,
                    const bool *ended, Err *e) {
    const int group = v->plan.num_generations, k = v->n_label;
    double *x = malloc((size_t)group * sizeof(double));
    if (!x) return fail(e, "eval: no memory");
    for (int q = 0; q < v->n_quantity; q++) {
        for (int c = 0; c < group; c++)
            x[c] = q < k ? score[c * k + q] : q == k ? reward[c] : q == k + 1 ? length[c] : ended[c];
        value[(size_t)q * (size_t)v->n + (size_t)i] = stats_of(x, (size_t)group).mean;
    }
    free(x);
    return true;
}

static bool add_batch(Eval *v, Policy *to, const Speaker *s, int first, int n, Err *e) {
    const EvalPlan *plan = &v->plan;
    const int group = plan->num_generations, total = n * group, k = v->n_label;
    char **text = to->text + (size_t)first * (size_t)group;
    Answers a;
    Reply *reply = malloc((size_t)total * sizeof *reply);
    real *score = malloc((size_t)total * (size_t)k * sizeof(real)),
         *reward = malloc((size_t)total * sizeof(real));
    bool ok = speaker_answer(&a, s, &plan->data->row[first], n, first, group, plan->max_completion_length,
                             &plan->sampling, plan->seed, 0, plan->data->path, e);
    if (ok && (!reply || !score || !reward)) ok = fail(e, "eval: no memory for %d completions", total);
    for (int i = 0; ok && i < total; i++) {
        text[i] = answer_text(&a, s, i, e);
        reply[i] = (Reply){&plan->data->row[first + i / group], text[i], a.out.ended[i]};
        ok = text[i] != NULL;
    }
    ok = ok && scorer_score(plan->scorer, score, reply, total, e);
    if (ok) {
        if (plan->clip_low) reward_clip(score, plan->clip_low, plan->clip_high, (size_t)total, (size_t)k);
        if (reward_weighted_sum(reward, score, plan->weight, (size_t)total, (size_t)k, (size_t)group,
                                plan->missing))
            v->missing = true;
    }
    for (int i = 0; ok && i < n; i++)
        ok = average(v, to->value, first + i, score + (size_t)(i * group) * (size_t)k, reward + i * group,
                     a.out.length + i * group, a.out.ended + i * group, e);
    answers_free(&a);
    free(reply);
    free(score);
    free(reward);
    return ok;
}

bool eval_add(Eval *v, const char *name, const Speaker *s, Err *e) {
    if (v->n_policy == MAX_POLICIES) return fail(e, "eval: more than %d policies", MAX_POLICIES);
    Policy *p = &v->policy[v->n_policy++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->value = malloc((size_t)v->n_quantity * (size_t)v->n * sizeof(double));
    p->text = calloc((size_t)v->n * (size_t)v->plan.num_generations, sizeof *p->text);
    if (!p->value || !p->text) return fail(e, "eval: no memory for %d prompts", v->n);
    const bool before = v->missing;
    Progress progress;
    progress_begin(&progress, "eval", v->n);
    for (int first = 0; first < v->n; first += BATCH) {
        const int n = v->n - first < BATCH ? v->n - first : BATCH;
        if (!add_batch(v, p, s, first, n, e)) return false;
        progress_at(&progress, first + n, p->name);
    }
    progress_end(&progress);
    if (v->missing && !before)
        fprintf(stderr,
                "eval: some labels are missing: they are left out of their means, and in the reward they "
                "count %s\n",
                missing_labels_names[v->plan.missing]);
    return true;
}

/* ---- the table ----------------------------------------------------------------------------- */

/* Quantity q of the prompts of a group (-1: all), or its difference to the first policy. */
static Stats cell(const Eval *v, int policy, int q, int group, bool difference) {
    const double *x = v->policy[policy].value + (size_t)q * (size_t)v->n,
                 *first = v->policy[0].value + (size_t)q * (size_t)v->n;
    double *y = malloc((size_t)v->n * sizeof(double));
    Stats s = {0, NAN, NAN, NAN};
    if (!y) return s;
    size_t n = 0;
    for (int i = 0; i < v->n; i++)
        if (group < 0 || v->group_of[i] == group) y[n++] = difference ? x[i] - first[i] : x[i];
    s = stats_of(y, n);
    free(y);
    return s;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Different texts among all completions of a group, as a share; a property of the set, so it has no interval.
 */
static double distinct(const Eval *v, int policy, int group) {
    const int per = v->plan.num_generations;
    char **list = malloc((size_t)v->n * (size_t)per * sizeof *list);
    size_t n = 0, different = 0;
    if (!list) return NAN;
    for (int i = 0; i < v->n * per; i++)
        if (group < 0 || v->group_of[i / per] == group) list[n++] = v->policy[policy].text[i];
    qsort(list, n, sizeof *list, by_text);
    for (size_t i = 0; i < n; i++) different += i == 0 || strcmp(list[i], list[i - 1]) != 0;
    free(list);
    return n ? (double)different / (double)n : NAN;
}

static int group_size(const Eval *v, int group) {
    int n = 0;
    for (int i = 0; i < v->n; i++) n += group < 0 || v->group_of[i] == group;
    return n;
}

static const char *group_name(const Eval *v, int group) { return group < 0 ? "all" : v->group[group]; }

static void print_cell(Stats s, bool difference) {
    char text[64], half[32] = "";
    const bool sure = difference && fabs(s.mean) > s.half_width;
    if (!isnan(s.half_width)) snprintf(half, sizeof half, " +-%.3f", s.half_width);
    if (isnan(s.mean)) snprintf(text, sizeof text, "-");
    else snprintf(text, sizeof text, difference ? "%+.3f%s" : "%.3f%s", s.mean, half);
    printf(" %17s%s", text, sure ? "*" : " ");
}

static void print_block(const Eval *v, int policy, bool difference) {
    printf("%-18.18s %7s", v->plan.group_by ? v->plan.group_by : "", "prompts");
    for (int q = 0; q < v->n_quantity; q++) printf(" %17.17s ", quantity_name(v, q));
    printf(" %9s\n", "distinct");
    for (int k = 0; k <= v->n_group; k++) {
        const int group = k < v->n_group ? k : -1;
        if (v->n_group == 1 && group < 0) break;        /* the only group is all */
        printf("%-18.18s %7d", group_name(v, group), group_size(v, group));
        for (int q = 0; q < v->n_quantity; q++) print_cell(cell(v, policy, q, group, difference), difference);
        printf(difference ? " %+9.3f\n" : " %9.3f\n",
               distinct(v, policy, group) - (difference ? distinct(v, 0, group) : 0));
    }
    putchar('\n');
}

void eval_print(const Eval *v) {
    const EvalPlan *p = &v->plan;
    printf("%s: %d prompts, %d completion%s each, at most %d tokens, temperature %g, seed %d; mean +- half "
           "of the 95 %% interval, over prompts\n\n",
           p->data->path, v->n, p->num_generations, p->num_generations > 1 ? "s" : "",
           p->max_completion_length, p->sampling.temperature, p->seed);
    for (int k = 0; k < v->n_policy; k++) {
        printf("%s\n", v->policy[k].name);
        print_block(v, k, false);
    }
    for (int k = 1; k < v->n_policy; k++) {
        printf("%s minus %s, paired by prompt; *: the interval does not hold 0\n", v->policy[k].name,
               v->policy[0].name);
        print_block(v, k, true);
    }
}

static void json_block(JsonWriter *w, const Eval *v, int policy, bool difference) {
    json_begin(w, '[');
    for (int k = 0; k <= v->n_group; k++) {
        const int group = k < v->n_group ? k : -1;
        json_begin(w, '{');
        json_key(w, "group");
        if (group < 0) json_null(w);
        else json_string(w, group_name(v, group));
        json_put_int(w, "prompts", group_size(v, group));
        for (int q = 0; q < v->n_quantity; q++) {
            const Stats s = cell(v, policy, q, group, difference);
            json_open(w, quantity_name(v, q), '{');
            json_put(w, "mean", s.mean);
            json_put(w, "half_width_95", s.half_width);
            json_put(w, "std", s.sd);
            json_put_int(w, "n", (long long)s.n);
            json_end(w, '}');
        }
        json_put(w, "distinct", distinct(v, policy, group) - (difference ? distinct(v, 0, group) : 0));
        json_end(w, '}');
    }
    json_end(w, ']');
}

void eval_json(JsonWriter *w, const Eval *v) {
    const EvalPlan *p = &v->plan;
    json_begin(w, '{');
    json_put_string(w, "dataset", p->data->path);
    json_put_int(w, "prompts", v->n);
    json_put_int(w, "num_generations", p->num_generations);
    json_put_int(w, "max_completion_length", p->max_completion_length);
    json_put(w, "temperature", p->sampling.temperature);
    json_put_int(w, "seed", p->seed);
    json_key(w, "group_by");
    if (p->group_by) json_string(w, p->group_by);
    else json_null(w);
    json_open(w, "weights", '{');
    for (int k = 0; k < v->n_label; k++) json_put(w, quantity_name(v, k), p->weight[k]);
    json_end(w, '}');
    json_open(w, "policies", '[');
    for (int k = 0; k < v->n_policy; k++) {
        json_begin(w, '{');
        json_put_string(w, "policy", v->policy[k].name);
        json_key(w, "groups"); json_block(w, v, k, false);
        if (k) json_key(w, "minus_first"), json_block(w, v, k, true);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
}

/* ---- the command --------------------------------------------------------------------------- */

typedef struct {
    const char *policies, *dataset, *reward_clip, *group_by;
    ScorerOptions scorer;
    SpeakerOptions speak;
    int slice_rows, missing;
    bool json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"policies", SET_STRING, AT(policies), NULL, NULL,
     "folders of language models, with commas; differences are to the first"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"reward_clip", SET_STRING, AT(reward_clip), NULL, NULL, "LOW,HIGH: scores are cut to it first (E77)"},
    {"missing_labels", SET_CHOICE, AT(missing), "zero", missing_labels_names,
     "what an unscored label counts in the reward"},
    {"group_by", SET_STRING, AT(group_by), NULL, NULL,
     "column of the data set, such as split: a row for each of its values"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens scored at once: memory only"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the tables as JSON"},
    SETTINGS_END};
static const OptionTable table = {
    "eval", "policies side by side on the same prompts, with 95 % intervals",
    "grpo eval --policies runs/sft/final,runs/grpo/final --dataset eval.jsonl --reward-model "
    "runs/reward/final --group-by split --max-completion-length 64",
    .part = {{rows, 0}, {scorer_settings, AT(scorer)}, {speaker_settings, AT(speak)}},
    .own = {{"num_generations", "1"}}};

static bool add_policies(Eval *v, const Config *c, Err *e) {
    for (const char *at = c->policies; *at; ) {
        char dir[1024];
        const size_t n = strcspn(at, ",");
        Speaker s = {0};
        if (n >= sizeof dir)
            return fail(e, "--policies: a name of %zu bytes, expected at most %zu", n, sizeof dir - 1);
        snprintf(dir, sizeof dir, "%.*s", (int)n, at);
        const bool ok = speaker_open(&s, dir, c->speak.chat_template, e) && eval_add(v, dir, &s, e);
        speaker_close(&s);
        if (!ok) return false;
        at += n + (at[n] == ',');
    }
    return true;
}

static bool eval(const Config *c, Err *e) {
    Dataset d;
    double weight[MAX_LABELS], low[MAX_LABELS], high[MAX_LABELS];
    if (!c->policies || !*c->policies)
        return fail(e, "--policies: not given; expected folders of models, with commas");
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (c->speak.num_generations < 1 || c->speak.max_completion_length < 1 || c->slice_rows < 1)
        return fail(e,
                    "--num-generations %d, --max-completion-length %d, --slice-rows %d: expected at least 1",
                    c->speak.num_generations, c->speak.max_completion_length, c->slice_rows);
    if (!sampling_check(&c->speak.sampling, e) ||
        !dataset_load(&d, c->dataset, NEED_PROMPT, c->speak.system, e))
        return false;
    if (c->reward_clip && !parse_range(&low[0], &high[0], c->reward_clip, "--reward-clip", e)) return false;
    for (int k = 1; c->reward_clip && k < MAX_LABELS; k++) low[k] = low[0], high[k] = high[0];
    Scorer *s =
        scorer_open(&c->scorer, c->slice_rows, e);
    if (!s) return false;
    const EvalPlan plan = {.data = &d, .scorer = s, .weight = weight, .clip_low = c->reward_clip ? low : NULL,
                           .clip_high = high, .missing = (MissingLabels)c->missing,
                           .sampling = c->speak.sampling,
                           .num_generations = c->speak.num_generations,
                           .max_completion_length = c->speak.max_completion_length,
                           .seed = c->speak.seed,
                           .group_by = c->group_by};
    Eval *v =
        parse_weights(weight, c->scorer.weights, scorer_labels(s), scorer_n_label(s), "--reward-weights", e)
            ? eval_new(&plan, e)
            : NULL;
    const bool ok = v && add_policies(v, c, e);
    if (ok && c->json) {
        JsonWriter w = {.indent = 2};
        eval_json(&w, v);
        puts(w.text);
        free(w.text);
    } else if (ok) eval_print(v);
    eval_free(v);
    scorer_close(s);
    return ok;
}

int cmd_eval(int argc, char **argv, Err *e) {
    Config c;
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return eval(&c, e) ? 0 : -1;
}
