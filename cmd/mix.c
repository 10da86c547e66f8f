/* mix.c: `grpo mix`: the weights with which finished policies of one goal each are mixed. The mathematics is
 * in baselines/mpo.c; `grpo sample --model A,B,C --mixture-weights FILE` speaks with them.
 *
 * The reference answers each prompt once, all policies read the replies, and the sums of their log-ratios are
 * all that is needed from there on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/mpo.h"
#include "cmd/commands.h"
#include "lib/files.h"
#include "lib/say.h"
#include "run/options.h"
#include "run/scorer.h"
#include "run/speaker.h"
#include "run/trainer.h"

typedef struct {
    const char *models, *reference, *dataset, *output, *system, *chat_template;
    ScorerOptions scorer;
    int num_generations, steps, prompts_per_step, max_new, seed, slice_rows;
    double step_size, beta;
    bool json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"models", SET_STRING, AT(models), NULL, NULL, "folders of the policies, with commas: one goal each"},
    {"reference", SET_STRING, AT(reference), NULL, NULL, "folder of the policy that all of them come from"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file of weights to write; must not exist"},
    {"num_generations", SET_INT, AT(num_generations), "24", NULL, "replies of the reference to a prompt"},
    {"steps", SET_INT, AT(steps), "200", NULL, "of mirror descent"},
    {"prompts_per_step", SET_INT, AT(prompts_per_step), "8", NULL, "prompts of a step"},
    {"step_size", SET_NUMBER, AT(step_size), "1", NULL, "of a step, divided by the root of their number"},
    {"beta", SET_NUMBER, AT(beta), NULL, NULL,
     "with --reward-weights: the coefficient of the KL that the mixture is to have"},
    {"max_completion_length", SET_INT, AT(max_new), "256", NULL, "tokens at most"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of the draws"},
    {"chat_template", SET_STRING, AT(chat_template), NULL, NULL,
     "template of the policies, if theirs is unknown"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens computed at once: memory only"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result as JSON on stdout"},
    SETTINGS_END};
static const Setting scores[] = {
    SETTINGS_HEADING("Given weights of goals, in place of mirror descent"),
    {"reward_weights", SET_STRING, AT(scorer.weights), NULL, NULL, "a weight for each goal"},
    {"reward_model", SET_STRING, AT(scorer.folders), NULL, NULL,
     "reward folder whose k-th label is the goal of the k-th policy"},
    {"reward_cmd", SET_STRING, AT(scorer.program), NULL, NULL, "program that scores JSON lines"},
    {"reward_timeout", SET_INT, AT(scorer.timeout), "120", NULL, "seconds that the program may be silent"},
    {"reward_chat_template", SET_STRING, AT(scorer.chat_template), NULL, NULL,
     "template of the reward models, if theirs is unknown"},
    SETTINGS_END};
static const OptionTable table = {
    "mix", "weights for a mixture of finished policies",
    "grpo mix --models runs/a/final,runs/b/final --reference runs/sft/final --dataset prompts.jsonl --output "
    "weights.json",
    .part = {{rows, 0}, {scores, 0}}};

enum { MAX_MIXED = 8 };
typedef struct {
    const Config *c;
    Speaker policy[MAX_MIXED], reference;
    int n, n_prompt;                    /* policies; prompts that are read */
    Dataset data;
    Scorer *scorer;                     /* NULL: mirror descent */
    double *log_ratio, *reward;         /* [n_prompt, n, m] L of E246, and the goals' scores */
    double weight[MAX_MIXED], coefficient[MAX_MIXED]; /* the result; E252's beta_k, as measured */
    double gradient[MAX_MIXED], mean_ratio[MAX_MIXED];          /* of the last step; mean exp(L) */
    double effective, goal[MAX_LABELS];
} Mix;

/* ---- replies of the reference under every policy ---- */

/* Prompts first .. first + n - 1: the reference's answers, side by side without gaps. */
typedef struct {
    Answers answers;
    int first, n, n_reply, *token, *place;
    size_t *offset;
    real *logp;
    double *sum, *base;
} Replies;

static bool replies_draw(Replies *r, Mix *x, int first, int n, Err *e) {
    const Config *c = x->c;
    const size_t max_new = (size_t)c->max_new, n_reply = (size_t)(n * c->num_generations);
    *r = (Replies){.first = first,
                   .n = n,
                   .n_reply = (int)n_reply,
                   .token = malloc(3 * n_reply * max_new * sizeof(int)),
                   .offset = calloc(n_reply + 1, sizeof(size_t)),
                   .logp = malloc(n_reply * max_new * sizeof(real)),
                   .sum = malloc(2 * n_reply * sizeof(double))};
    if (!r->token || !r->offset || !r->logp || !r->sum)
        return fail(e, "mix: no memory for %zu replies", n_reply);
    r->place = r->token + n_reply * max_new;
    r->base = r->sum + n_reply;
    if (!speaker_answer(&r->answers, &x->reference, &x->data.row[first], n, first, c->num_generations,
                        c->max_new, &(Sampling){1, 0, 1, 0}, c->seed, 0, x->data.path, e))
        return false;
    for (size_t j = 0; j < n_reply; j++) {
        const size_t length = (size_t)r->answers.out.length[j];
        memcpy(r->token + r->offset[j], r->answers.out.id + j * max_new, length * sizeof(int));
        r->offset[j + 1] = r->offset[j] + length;
    }
    return true;
}

static void replies_free(Replies *r) {
    answers_free(&r->answers);
    free(r->token), free(r->offset), free(r->logp), free(r->sum);
}

/* sum [n_reply]: of a reply's logp under m. */
static bool replies_logp(double *sum, Replies *r, const Model *m, int slice_rows, Err *e) {
    Window w = {0};
    const int group = r->answers.group;
    int *reply_of = r->place + r->offset[r->n_reply], max_row = slice_rows;
    Acts *a = NULL;
    bool ok = true;
    for (int p = 0, at = 0; ok && p < r->n; p++, at = w.n_row) {
        ok = window_group(&w, r->answers.prompt[p].id, r->answers.prompt[p].n, r->token, r->offset, p * group,
                          group, r->place, reply_of, e);
        max_row = w.n_row - at > max_row ? w.n_row - at : max_row;
    }
    ok = ok && (a = acts_new(m, max_row, max_row + group, false, e)) &&
         window_logp(r->logp, NULL, a, max_row, max_row + group, m, &w, 1, e);
    for (int i = 0; i < r->n_reply; i++) sum[i] = 0;
    for (int i = 0; ok && i < w.n_target; i++) sum[reply_of[i]] += r->logp[i];
    acts_free(a);
    window_free(&w);
    return ok;
}

/* The goals' scores of the replies, where goals have weights. */
static bool replies_score(Mix *x, Replies *r, Err *e) {
    const size_t n = (size_t)r->n_reply, k = (size_t)x->n;
    const size_t m = (size_t)r->answers.group;
    double *out = x->reward + (size_t)r->first * m * k;
    Completion *reply = calloc(n, sizeof *reply);
    real *score = malloc(n * k * sizeof(real));
    bool ok = (reply && score) || fail(e, "mix: no memory for %zu scores", n);
    for (int j = 0; ok && j < r->n_reply; j++) {
        reply[j] = (Completion){&x->data.row[r->first + j / r->answers.group],
                                answer_text(&r->answers, &x->reference, j, e), r->answers.out.ended[j]};
        ok = reply[j].completion != NULL;
    }
    ok = ok && scorer_score(x->scorer, score, reply, r->n_reply, e);
    for (size_t j = 0; ok && j < n; j++)
        for (size_t i = 0; i < k; i++) out[(j / m * k + i) * m + j % m] = score[j * k + i];
    for (size_t j = 0; reply && j < n; j++) free((char *)reply[j].completion);
    free(reply), free(score);
    return ok;
}

/* E246's L of some prompts, and their scores. */
static bool read_prompts(Mix *x, int first, int n, Err *e) {
    Replies r;
    bool ok =
        replies_draw(&r, x, first, n, e) && replies_logp(r.base, &r, x->reference.model, x->c->slice_rows, e);
    const size_t m = (size_t)x->c->num_generations, k = (size_t)x->n;
    double *out = x->log_ratio + (size_t)first * k * m;
    for (size_t i = 0; ok && i < k; i++) {
        ok = replies_logp(r.sum, &r, x->policy[i].model, x->c->slice_rows, e);
        for (size_t j = 0; ok && j < (size_t)r.n_reply; j++)
            out[(j / m * k + i) * m + j % m] = r.sum[j] - r.base[j];
    }
    ok = ok && (!x->scorer || replies_score(x, &r, e));
    replies_free(&r);
    return ok;
}

/* ---- weights ---- */

/* L of one prompt [n, m]. */
static const double *ratios_of(const Mix *x, size_t prompt) {
    return x->log_ratio + prompt * (size_t)x->n * (size_t)x->c->num_generations;
}

/* E246 to E249: each step looks at the next prompts in the order of the data, round and round. */
static void mirror_descent(Mix *x) {
    const Config *c = x->c;
    const double eta = c->step_size / sqrt(c->steps), per_step = c->prompts_per_step;
    double *share = malloc((size_t)c->num_generations * sizeof *share), lambda[MAX_MIXED];
    for (int k = 0; k < x->n; k++) lambda[k] = 1.0 / x->n;
    for (int s = 0; share && s < c->steps; s++) {
        memset(x->gradient, 0, sizeof x->gradient);
        for (int i = 0; i < c->prompts_per_step; i++) {
            const int p = (int)(((long long)s * c->prompts_per_step + i) % x->n_prompt);
            x->effective += mpo_gradient(x->gradient, share, ratios_of(x, (size_t)p), lambda, x->n,
                                         c->num_generations, 1 / per_step) /
                            (c->steps * per_step);
        }
        mpo_descend(lambda, x->gradient, x->n, eta);
        mpo_average(x->weight, lambda, x->n, s + 1);
    }
    free(share);
}

/* E252: lambda_k = w_k beta_k / beta. */
static bool given_weights(Mix *x, Err *e) {
    const int m = x->c->num_generations;
    for (int k = 0; k < x->n; k++) {
        MpoSlope slope = {0, 0};
        for (int p = 0; p < x->n_prompt; p++) {
            const size_t at = (size_t)k * (size_t)m;
            mpo_slope_add(&slope, x->reward + (size_t)p * (size_t)x->n * (size_t)m + at,
                          ratios_of(x, (size_t)p) + at, m);
        }
        const double beta = slope.rr / slope.rl;
        if (!(beta > 0))
            return fail(
                e,
                "--models: policy %d: its log-ratios do not rise with the scores of label %s (coefficient "
                "%g); it was not trained for it",
                k + 1, scorer_labels(x->scorer)[k], beta);
        x->coefficient[k] = beta;
        x->weight[k] = mpo_given_weight(x->goal[k], 1 / beta, x->c->beta);
    }
    return true;
}

/* Mean over prompts of mean_j exp(L_jk), which is 1 if the replies suffice to say what policy k does. */
static void mean_ratios(Mix *x) {
    const int m = x->c->num_generations;
    for (int k = 0; k < x->n; k++) {
        bool same = true;
        for (int p = 0; p < x->n_prompt; p++) {
            const double *l = ratios_of(x, (size_t)p) + (size_t)k * (size_t)m;
            x->mean_ratio[k] += mpo_mean_ratio(l, m) / x->n_prompt;
            for (int j = 0; j < m; j++) same = same && l[j] == 0;
        }
        if (same) fprintf(stderr, "mix: policy %d is the reference: its weight means nothing\n", k + 1);
    }
}

/* ---- the result ---- */

static void put_list(JsonWriter *w, const char *key, const double *x, int n) {
    json_open(w, key, '[');
    for (int k = 0; k < n; k++) json_number(w, x[k]);
    json_end(w, ']');
}

static bool mix_tell(const Mix *x, Err *e) {
    const Config *c = x->c;
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_open(&w, "models", '[');
    char dir[1024];
    for (const char *at = c->models; next_folder(dir, &at); )json_string(&w, dir);
    json_end(&w, ']');
    put_list(&w, "weights", x->weight, x->n);
    if (x->scorer) put_list(&w, "coefficients", x->coefficient, x->n);
    else {
        put_list(&w, "gradient", x->gradient, x->n);
        json_put(&w, "effective_replies", x->effective);
    }
    put_list(&w, "mean_ratio", x->mean_ratio, x->n);
    json_put_int(&w, "prompts", x->n_prompt);
    json_put_int(&w, "num_generations", c->num_generations);
    json_end(&w, '}');
    json_raw(&w, "\n");
    const bool ok = file_write(c->output, w.text, w.length, e);
    if (ok && c->json) fwrite(w.text, 1, w.length, stdout);
    free(w.text);
    if (!ok || c->json) return ok;
    printf("%-8s %9s %12s %13s\n", "policy", "lambda", x->scorer ? "coefficient" : "gradient", "mean exp(L)");
    for (int k = 0; k < x->n; k++)
        printf("%-8d %9.4f %12.4f %13.3f\n", k + 1, x->weight[k],
               x->scorer ? x->coefficient[k] : x->gradient[k], x->mean_ratio[k]);
    if (!x->scorer)
        printf(
            "effective replies a prompt: %.1f of %d%s\n", x->effective, c->num_generations,
            x->effective < 5
                ? "; so few that the weights say little: more --num-generations, or policies nearer to the "
                  "reference"
                : "");
    printf("%s: for grpo sample --mixture-weights\n", c->output);
    return true;
}

/* ---- the command ---- */

static bool mix_check(const Config *c, Err *e) {
    const bool given = c->scorer.weights != NULL;
    if (!c->models) return fail(e, "--models: not given; expected folders of policies, with commas");
    if (!c->reference)
        return fail(e, "--reference: not given; expected the policy that all of them come from");
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (!c->output) return fail(e, "--output: not given; expected a file to write the weights to");
    if (path_exists(c->output)) return fail(e, "%s: exists already; give another --output", c->output);
    if (given != (c->scorer.folders || c->scorer.program) || given == isnan(c->beta))
        return fail(e, "--reward-weights, --reward-model and --beta: give all three, or none of them for "
                       "mirror descent");
    if (given && !(c->beta > 0)) return fail(e, "--beta: found %g, expected more than 0", c->beta);
    if (!(c->step_size > 0)) return fail(e, "--step-size: found %g, expected more than 0", c->step_size);
    return (c->num_generations > 1 && c->steps > 0 && c->prompts_per_step > 0 && c->max_new > 0 &&
            c->slice_rows > 0) ||
           fail(e,
                "--num-generations %d, --steps %d, --prompts-per-step %d, --max-completion-length %d, "
                "--slice-rows %d: "
                "expected at least 2, 1, 1, 1 and 1",
                c->num_generations, c->steps, c->prompts_per_step, c->max_new, c->slice_rows);
}

static bool mix_scorer(Mix *x, Err *e) {
    if (!x->c->scorer.weights) return true;
    if (!(x->scorer = scorer_open(&x->c->scorer, x->c->slice_rows, e))) return false;
    const int n_label = scorer_n_label(x->scorer);
    if (n_label != x->n)
        return fail(e, "--reward-model: has %d labels, --models %d policies; expected a label for each",
                    n_label, x->n);
    if (!parse_weights(x->goal, x->c->scorer.weights, scorer_labels(x->scorer), n_label, "--reward-weights",
                       e))
        return false;
    for (int k = 0; k < n_label; k++)
        if (x->goal[k] < 0)
            return fail(e, "--reward-weights: found %g for %s, expected no number below 0", x->goal[k],
                        scorer_labels(x->scorer)[k]);
    return true;
}

static bool mix_open(Mix *x, Err *e) {
    const Config *c = x->c;
    char first[1024];
    const char *at = c->models;
    if (!mix_check(c, e) || !dataset_load(&x->data, c->dataset, NEED_PROMPT, c->system, e) ||
        !speakers_open(x->policy, &x->n, MAX_MIXED, c->models, c->chat_template, e))
        return false;
    if (x->n < 2) return fail(e, "--models: found one policy, expected at least two");
    if (!next_folder(first, &at) || !same_tokenizer(c->reference, first, e) ||
        !speaker_open(&x->reference, c->reference, c->chat_template, e) || !mix_scorer(x, e))
        return false;
    const double wanted = (double)c->steps * c->prompts_per_step;
    x->n_prompt = wanted < x->data.n ? (int)wanted : x->data.n;
    const size_t total = (size_t)x->n_prompt * (size_t)c->num_generations * (size_t)x->n;
    x->log_ratio = malloc(total * sizeof(double));
    x->reward = malloc(total * sizeof(double));
    return (x->log_ratio && x->reward) || fail(e, "mix: no memory for %zu log-ratios", total);
}

static bool mix_run(const Config *c, Err *e) {
    Mix *x = calloc(1, sizeof *x);
    if (!x) return fail(e, "mix: no memory");
    x->c = c;
    bool ok = mix_open(x, e);
    Progress p;
    progress_begin(&p, "mix", x->n_prompt);
    enum { TOGETHER = 16 };
    for (int i = 0, n; ok && i < x->n_prompt; i += n) {
        n = x->n_prompt - i < TOGETHER ? x->n_prompt - i : TOGETHER;
        ok = read_prompts(x, i, n, e);
        progress_at(&p, i + n, NULL);
    }
    progress_end(&p);
    if (ok) mean_ratios(x);
    if (ok && x->scorer) ok = given_weights(x, e);
    else if (ok) mirror_descent(x);
    ok = ok && mix_tell(x, e);
    for (int k = 0; k < MAX_MIXED; k++) speaker_close(&x->policy[k]);
    speaker_close(&x->reference);
    if (x->scorer) scorer_close(x->scorer);
    free(x->log_ratio);
    free(x->reward);
    free(x);
    return ok;
}

int cmd_mix(int argc, char **argv, Err *e) {
    Config c;
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return mix_run(&c, e) ? 0 : -1;
}
