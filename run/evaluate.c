/* evaluate.c: what reward models or a program say of policies' answers to the same prompts, with 95 %
 * intervals. */
#include "run/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/say.h"
#include "lib/stats.h"

enum { BATCH = 64, MAX_POLICIES = 16 }; /* prompts at once: memory only */

/* value [n_quantity, n_prompt]: means over a prompt's completions */
typedef struct { char name[512]; double *value; char **text; } Policy;

struct Eval {
    EvalPlan plan;
    int n, n_label, n_quantity, n_group, n_policy;
    int *group_of;                      /* [n] */
    char **group;                       /* [n_group] */
    double *cell;                       /* [n] and [n * num_generations]: for the numbers of a cell and the */
    char **list;                        /* texts of a row, so that telling takes no memory */
    Policy policy[MAX_POLICIES];
    bool missing;
};

/* ---- quantities and groups ---- */

static const char *const own_quantity[] = {"reward", "length", "ended"};
enum { N_OWN = 3 };

static const char *quantity_name(const Eval *v, int q) {
    return q < v->n_label ? scorer_labels(v->plan.scorer)[q] : own_quantity[q - v->n_label];
}

static char *column(const Example *x, const char *key) {
    const Json *value = x->row ? json_get(x->row, key) : NULL;
    JsonWriter w = {0};
    if (value && value->type == JSON_STRING) return plain_text(value->string);
    if (value) json_value(&w, value);
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
    v->cell = calloc((size_t)v->n, sizeof *v->cell);
    v->list = calloc((size_t)v->n * (size_t)plan->num_generations, sizeof *v->list);
    if ((v->group_of && v->group && v->cell && v->list) || fail(e, "eval: no memory for %d prompts", v->n))
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
    free(v->cell);
    free(v->list);
    free(v);
}

/* ---- sampling and scoring ---- */

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

bool judged_new(Judged *j, const EvalPlan *plan, const Speaker *s, int first, int n, Err *e) {
    const size_t k = (size_t)scorer_n_label(plan->scorer), group = (size_t)plan->num_generations;
    const Example *row = &plan->data->row[first];
    *j = (Judged){.n = n * plan->num_generations};
    const size_t total = (size_t)j->n;
    j->text = calloc(total, sizeof *j->text);
    j->reply = calloc(total, sizeof *j->reply);
    j->score = malloc(total * k * sizeof(real));
    j->reward = malloc(total * sizeof(real));
    bool ok = speaker_answer(&j->answers, s, row, n, first, plan->num_generations,
                             plan->max_completion_length, &plan->sampling, plan->seed, 0, plan->data->path,
                             e) &&
              ((j->text && j->reply && j->score && j->reward) ||
               fail(e, "no memory for %zu completions", total));
    for (int i = 0; ok && i < j->n; i++) {
        ok = (j->text[i] = answer_text(&j->answers, s, i, e)) != NULL;
        j->reply[i] = (Completion){&row[i / plan->num_generations], j->text[i], j->answers.out.ended[i]};
    }
    ok = ok && scorer_score(plan->scorer, j->score, j->reply, j->n, e);
    if (ok && plan->clip_low) reward_clip(j->score, plan->clip_low, plan->clip_high, total, k);
    if (ok)
        j->missing = reward_weighted_sum(j->reward, j->score, plan->weight, total, k, group, plan->missing);
    return ok;
}

void judged_free(Judged *j) {
    for (int i = 0; j->text && i < j->n; i++) free(j->text[i]);
    free(j->text);
    free(j->reply);
    free(j->score);
    free(j->reward);
    answers_free(&j->answers);
}

static bool eval_put_replies(FileWriter *file, const Eval *v, const Judged *j, Err *e) {
    static const char *const more[] = {"scores", "reward"};
    JsonWriter w = {0};
    for (int i = 0; i < j->n; i++) {
        answer_put(&w, j->reply[i].prompt, j->text[i], j->reply[i].ended, j->answers.out.length[i],
                   answer_logp(&j->answers, i), NULL, more, 2);
        scores_put(&w, more[0], scorer_labels(v->plan.scorer), j->score + i * v->n_label, v->n_label);
        json_put(&w, more[1], j->reward[i]);
        json_end(&w, '}');
        json_raw(&w, "\n");
    }
    const bool ok = json_ok(&w, e) && file_append(file, w.text, w.length, e);
    free(w.text);
    return ok;
}

static bool add_batch(Eval *v, Policy *to, const Speaker *s, int first, int n, FileWriter *file, Err *e) {
    const int group = v->plan.num_generations;
    Judged j;
    bool ok = judged_new(&j, &v->plan, s, first, n, e);
    v->missing = v->missing || j.missing;
    for (int i = 0; ok && i < n; i++)
        ok = average(v, to->value, first + i, j.score + (size_t)(i * group) * (size_t)v->n_label,
                     j.reward + i * group, j.answers.out.length + i * group,
                     j.answers.out.ended + i * group, e);
    ok = ok && (!file || eval_put_replies(file, v, &j, e));
    for (int i = 0; ok && i < j.n; i++) to->text[first * group + i] = j.text[i], j.text[i] = NULL;
    judged_free(&j);
    return ok;
}

/* A label that no reply has would else be an empty column and no more. */
static void tell_unscored(const Eval *v, const Policy *p) {
    for (int k = 0; k < v->n_label; k++) {
        const double *x = p->value + (size_t)k * (size_t)v->n;
        int i = 0;
        while (i < v->n && isnan(x[i])) i++;
        if (i == v->n)
            fprintf(stderr, "eval: %s: no reply has a score for \"%s\": look at what gives the scores\n",
                    p->name, quantity_name(v, k));
    }
}

bool eval_add(Eval *v, const char *name, const Speaker *s, const char *replies, Err *e) {
    if (v->n_policy == MAX_POLICIES) return fail(e, "eval: more than %d policies", MAX_POLICIES);
    Policy *p = &v->policy[v->n_policy++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->value = malloc((size_t)v->n_quantity * (size_t)v->n * sizeof(double));
    p->text = calloc((size_t)v->n * (size_t)v->plan.num_generations, sizeof *p->text);
    if (!p->value || !p->text) return fail(e, "eval: no memory for %d prompts", v->n);
    const bool before = v->missing;
    FileWriter file;
    bool ok = !replies || file_begin(&file, replies, e);
    Progress progress;
    progress_begin(&progress, "eval", v->n);
    for (int first = 0; ok && first < v->n; first += BATCH) {
        const int n = v->n - first < BATCH ? v->n - first : BATCH;
        ok = add_batch(v, p, s, first, n, replies ? &file : NULL, e);
        progress_at(&progress, first + n, p->name);
    }
    progress_end(&progress);
    if (replies && !ok) file_abandon(&file);
    if (!ok || (replies && !file_commit(&file, e))) return false;
    if (v->missing && !before)
        fprintf(stderr,
                "eval: some labels are missing: they are left out of their means, and in the reward they "
                "count %s\n",
                missing_labels_names[v->plan.missing]);
    tell_unscored(v, p);
    return true;
}

/* ---- the table ---- */

/* Quantity q of the prompts of a group (-1: all), or its difference to the first policy. */
static Stats eval_cell(const Eval *v, int policy, int q, int group, bool difference) {
    const double *x = v->policy[policy].value + (size_t)q * (size_t)v->n,
                 *first = v->policy[0].value + (size_t)q * (size_t)v->n;
    double *y = v->cell;
    size_t n = 0;
    for (int i = 0; i < v->n; i++)
        if (group < 0 || v->group_of[i] == group) y[n++] = difference ? x[i] - first[i] : x[i];
    return stats_of(y, n);
}

static int eval_by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Different texts among all completions of a group, as a share; a property of the set, so it has no interval.
 */
static double distinct(const Eval *v, int policy, int group) {
    const int per = v->plan.num_generations;
    char **list = v->list;
    size_t n = 0, different = 0;
    for (int i = 0; i < v->n * per; i++)
        if (group < 0 || v->group_of[i / per] == group) list[n++] = v->policy[policy].text[i];
    qsort(list, n, sizeof *list, eval_by_text);
    for (size_t i = 0; i < n; i++) different += i == 0 || strcmp(list[i], list[i - 1]) != 0;
    return n ? (double)different / (double)n : NAN;
}

static int group_size(const Eval *v, int group) {
    int n = 0;
    for (int i = 0; i < v->n; i++) n += group < 0 || v->group_of[i] == group;
    return n;
}

static void print_cell(Stats s, bool difference) {
    char text[64], half[32] = "";
    const bool sure = difference && fabs(s.mean) > s.half_width;
    if (!isnan(s.half_width)) snprintf(half, sizeof half, " +-%.3f", s.half_width);
    if (isnan(s.mean)) snprintf(text, sizeof text, "-");
    else snprintf(text, sizeof text, difference ? "%+.3f%s" : "%.3f%s", s.mean, half);
    printf(" %17s%s", text, sure ? "*" : " ");
}

static void write_cell(JsonWriter *w, const char *name, Stats s) {
    json_open(w, name, '{');
    json_put(w, "mean", s.mean);
    json_put(w, "half_width_95", s.half_width);
    json_put(w, "std", s.sd);
    json_put_int(w, "n", (long long)s.n);
    json_end(w, '}');
}

/* A row for each group and one for all, which stands alone in the text where there is one group only. */
static void tell_block(JsonWriter *w, const Eval *v, int policy, bool difference) {
    if (!w) {
        printf("%-18.18s %7s", v->plan.group_by ? v->plan.group_by : "", "prompts");
        for (int q = 0; q < v->n_quantity; q++) printf(" %17.17s ", quantity_name(v, q));
        printf(" %9s\n", "distinct");
    }
    for (int k = 0; k <= v->n_group; k++) {
        const int group = k < v->n_group ? k : -1, n = group_size(v, group);
        const char *name = group < 0 ? NULL : v->group[group];
        const double share = distinct(v, policy, group) - (difference ? distinct(v, 0, group) : 0);
        if (w) json_begin(w, '{'), json_put_string(w, "group", name), json_put_int(w, "prompts", n);
        else if (v->n_group == 1 && group < 0) break;
        else printf("%-18.18s %7d", name ? name : "all", n);
        for (int q = 0; q < v->n_quantity; q++) {
            const Stats s = eval_cell(v, policy, q, group, difference);
            if (w) write_cell(w, quantity_name(v, q), s);
            else print_cell(s, difference);
        }
        if (w) json_put(w, "distinct", share), json_end(w, '}');
        else printf(difference ? " %+9.3f\n" : " %9.3f\n", share);
    }
    if (!w) putchar('\n');
}

void eval_print(const Eval *v) {
    const EvalPlan *p = &v->plan;
    printf("%s: %d prompts, %d completion%s each, at most %d tokens, temperature %g, seed %d; mean +- half "
           "of the 95 %% interval, over prompts\n\n",
           p->data->path, v->n, p->num_generations, p->num_generations > 1 ? "s" : "",
           p->max_completion_length, p->sampling.temperature, p->seed);
    if (p->left_out) printf("%d rows of the data set are left out\n\n", p->left_out);
    for (int k = 0; k < v->n_policy; k++) {
        printf("%s\n", v->policy[k].name);
        tell_block(NULL, v, k, false);
    }
    for (int k = 1; k < v->n_policy; k++) {
        printf("%s minus %s, paired by prompt; *: the interval does not hold 0\n", v->policy[k].name,
               v->policy[0].name);
        tell_block(NULL, v, k, true);
    }
}

void eval_json(JsonWriter *w, const Eval *v) {
    const EvalPlan *p = &v->plan;
    json_begin(w, '{');
    json_put_string(w, "dataset", p->data->path);
    json_put_int(w, "prompts", v->n);
    json_put_int(w, "left_out", p->left_out);
    json_put_int(w, "num_generations", p->num_generations);
    json_put_int(w, "max_completion_length", p->max_completion_length);
    json_put(w, "temperature", p->sampling.temperature);
    json_put_int(w, "seed", p->seed);
    json_put_string(w, "group_by", p->group_by);
    json_open(w, "weights", '{');
    for (int k = 0; k < v->n_label; k++) json_put(w, quantity_name(v, k), p->weight[k]);
    json_end(w, '}');
    json_open(w, "policies", '[');
    for (int k = 0; k < v->n_policy; k++) {
        json_begin(w, '{');
        json_put_string(w, "policy", v->policy[k].name);
        json_open(w, "groups", '['), tell_block(w, v, k, false), json_end(w, ']');
        if (k) json_open(w, "minus_first", '['), tell_block(w, v, k, true), json_end(w, ']');
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
}
