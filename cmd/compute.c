/* compute.c: `grpo compute`: JSON lines {"kind": ..., "inputs": {...}} in, {"outputs": {...}} out.
 *
 * In this order: reading of inputs into flat arrays, writing of outputs, one function a kind (rewards, advantages, losses,
 * optimiser), the table, the command. The mathematics is in reward.c, grpo.c and lib/optim.c; the kinds that need the
 * network are in compute_model.c. In lists null is a missing number, elsewhere "not given". */
#include "cmd/compute.h"
#include "grpo.h"
#include "lib/optim.h"
#include "reward.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs ---------------------------------------------------------------------------------------------------------- */
#define MAX_OWNED 32
typedef struct { const Json *in; Err *e; void *owned[MAX_OWNED]; int n_owned; bool ok; } Call;

/* Rows of numbers, one after the other; row i is x[offset[i]] .. x[offset[i+1]-1]. A plain list has rows of one. */
typedef struct { size_t n_row, n, width; real *x; size_t *offset; } Rows;       /* width: of every row, 0 if they differ */

static void wrong(Call *c, const char *key, const Json *at, const char *expected) {
    if (c->ok) fail(c->e, "stdin:%d:%d: inputs.%s: found %s, expected %s", at ? at->line : c->in->line, at ? at->column : c->in->column,
                    key, at ? json_type_name(at->type) : "nothing", expected);
    c->ok = false;
}

static void *take(Call *c, size_t n, size_t size) {
    void *p = c->n_owned < MAX_OWNED ? memory_new((n ? n : 1) * size, "compute", c->e) : NULL;
    if (!p) { c->ok = false; return NULL; }
    return c->owned[c->n_owned++] = p;
}

static bool finish(Call *c) {
    while (c->n_owned) memory_free(c->owned[--c->n_owned]);
    return c->ok;
}

static const Json *given(const Call *c, const char *key) {      /* NULL: absent or null */
    const Json *v = json_get(c->in, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

static real number_or_nan(Call *c, const char *key, const Json *v) {
    if (v->type == JSON_NULL) return (real)NAN;
    if (v->type != JSON_NUMBER && v->type != JSON_BOOL) wrong(c, key, v, "a number or null");
    return (real)v->number;
}

/* A list of numbers or of lists of numbers. Absent: x is NULL (an error unless optional). */
static Rows rows(Call *c, const char *key, bool optional) {
    Rows r = { 0, 0, 0, NULL, NULL };
    const Json *v = given(c, key);
    if (!c->ok || (!v && optional)) return r;
    if (!v || v->type != JSON_ARRAY) { wrong(c, key, v, "a list of numbers"); return r; }
    r.n_row = v->length;
    r.offset = take(c, r.n_row + 1, sizeof *r.offset);
    if (!c->ok) return r;
    for (size_t i = 0; i < r.n_row; i++) {
        const size_t width = v->item[i].type == JSON_ARRAY ? v->item[i].length : 1;
        r.width = i == 0 || r.width == width ? width : 0;
        r.offset[i + 1] = r.n += width;
    }
    r.x = take(c, r.n, sizeof *r.x);
    if (!c->ok) return r;
    for (size_t i = 0, at = 0; i < r.n_row; i++) {
        const Json *row = &v->item[i];
        if (row->type != JSON_ARRAY) r.x[at++] = number_or_nan(c, key, row);
        else for (size_t j = 0; j < row->length; j++) r.x[at++] = number_or_nan(c, key, &row->item[j]);
    }
    return r;
}

/* [n_row][width], every row alike. */
static Rows matrix(Call *c, const char *key) {
    Rows r = rows(c, key, false);
    if (c->ok && (r.n_row == 0 || r.width == 0)) wrong(c, key, json_get(c->in, key), "rows of equal length, at least one");
    return r;
}

/* The shape of `like`; x is NULL if optional and not there. */
static Rows same_shape(Call *c, const char *key, const Rows *like, bool optional) {
    Rows r = rows(c, key, optional);
    if (!c->ok || !r.x) return r;
    bool same = r.n_row == like->n_row;
    for (size_t i = 0; same && i < r.n_row; i++) same = r.offset[i + 1] == like->offset[i + 1];
    if (!same) wrong(c, key, json_get(c->in, key), "the same shape as the first input");
    return r;
}

/* n doubles; NULL if optional and not there. */
static double *doubles(Call *c, const char *key, size_t n, bool optional) {
    const Json *v = given(c, key);
    if (!c->ok || (!v && optional)) return NULL;
    char expected[64];
    snprintf(expected, sizeof expected, "a list of %zu numbers", n);
    if (!v || v->type != JSON_ARRAY || v->length != n) { wrong(c, key, v, expected); return NULL; }
    double *x = take(c, n, sizeof *x);
    for (size_t i = 0; c->ok && i < n; i++) {
        if (v->item[i].type != JSON_NUMBER && v->item[i].type != JSON_BOOL) wrong(c, key, &v->item[i], "a number");
        x[i] = v->item[i].number;
    }
    return x;
}

static double *weights(Call *c, const char *key, size_t n) {    /* given, or all 1 */
    double *x = doubles(c, key, n, true);
    if (x || !c->ok) return x;
    x = take(c, n, sizeof *x);
    for (size_t i = 0; x && i < n; i++) x[i] = 1;
    return x;
}

static double number(Call *c, const char *key) {
    const Json *v = given(c, key);
    if (!v || v->type != JSON_NUMBER) { wrong(c, key, v, "a number"); return NAN; }
    return v->number;
}

static double number_or(Call *c, const char *key, double otherwise) { return given(c, key) ? number(c, key) : otherwise; }

static size_t whole(Call *c, const char *key, size_t least) {
    const Json *v = given(c, key);
    if (!v || v->type != JSON_NUMBER || v->number < (double)least || v->number > 1e9 || v->number != floor(v->number)) {
        char expected[64];
        snprintf(expected, sizeof expected, "a whole number, at least %zu", least);
        wrong(c, key, v, expected);
        return least;
    }
    return (size_t)v->number;
}

static const char *word(Call *c, const char *key) {
    const Json *v = given(c, key);
    if (!v || v->type != JSON_STRING) { wrong(c, key, v, "a string"); return ""; }
    return v->string;
}

static int choice(Call *c, const char *key, const char *const *names) {
    int k = 0;
    const char *found = word(c, key);
    if (c->ok && !grpo_name(&k, names, found, key, c->e)) c->ok = false;
    return k;
}

static size_t group_size(Call *c, size_t n) {
    const size_t g = whole(c, "num_generations", 1);
    if (c->ok && n % g) {
        fail(c->e, "stdin:%d: inputs.num_generations: found %zu, expected a divisor of the %zu completions", c->in->line, g, n);
        c->ok = false;
    }
    return g;
}

/* ---- outputs ---------------------------------------------------------------------------------------------------------- */
static void put(JsonWriter *w, const char *key, double x) { json_key(w, key); json_number(w, x); }

static void put_list(JsonWriter *w, const char *key, const real *x, size_t n) {
    json_key(w, key);
    json_begin(w, '[');
    for (size_t i = 0; i < n; i++) json_number(w, x[i]);
    json_end(w, ']');
}

static void put_doubles(JsonWriter *w, const char *key, const double *x, size_t n) {
    json_key(w, key);
    json_begin(w, '[');
    for (size_t i = 0; i < n; i++) json_number(w, x[i]);
    json_end(w, ']');
}

static void put_rows(JsonWriter *w, const char *key, const real *x, const size_t *offset, size_t n_row) {
    json_key(w, key);
    json_begin(w, '[');
    for (size_t i = 0; i < n_row; i++) {
        json_begin(w, '[');
        for (size_t t = offset[i]; t < offset[i + 1]; t++) json_number(w, x[t]);
        json_end(w, ']');
    }
    json_end(w, ']');
}

#define START Call call = { inputs, e, { NULL }, 0, true }, *const c = &call
#define FINISH do { if (c->ok) json_end(out, '}'); return finish(c); } while (0)
#define OPEN do { if (!c->ok) return finish(c); json_begin(out, '{'); } while (0)

/* ---- rewards ------------------------------------------------------------------------------------------------------------ */
static bool regression_loss(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows s = matrix(c, "scores"), y = same_shape(c, "labels", &s, false);
    const double *w = c->ok ? doubles(c, "label_weights", s.width, true) : NULL;
    real *ds = take(c, s.n, sizeof *ds);
    OPEN;
    double loss = 0;
    reward_regression_loss(&loss, ds, s.x, y.x, w, s.n_row, s.width, reward_label_weight_sum(y.x, w, s.n_row, s.width));
    put(out, "loss", loss);
    put_rows(out, "dscores", ds, s.offset, s.n_row);
    FINISH;
}

static bool regression_metrics(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows s = matrix(c, "scores"), y = same_shape(c, "labels", &s, false);
    const double n_bin = number_or(c, "bins", 10);
    RewardPair *scratch = take(c, s.n_row, sizeof *scratch);
    RewardMetrics *m = take(c, s.width, sizeof *m);
    double *column = take(c, s.width, sizeof *column);
    OPEN;
    for (size_t k = 0; k < s.width; k++)
        reward_metrics(&m[k], NULL, n_bin >= 1 && n_bin < 1e6 ? (int)n_bin : 0, s.x, y.x, s.n_row, s.width, k, scratch);
#define COLUMN(name, field) do {                                                                        \
        for (size_t k = 0; k < s.width; k++) column[k] = (double)m[k].field;                            \
        put_doubles(out, name, column, s.width);                                                        \
    } while (0)
    COLUMN("n", n);
    COLUMN("mse", mse);
    COLUMN("rmse", rmse);
    COLUMN("mae", mae);
    COLUMN("bias", bias);
    COLUMN("r2", r2);
    COLUMN("pearson", pearson);
    COLUMN("spearman", spearman);
    COLUMN("calibration_slope", calibration_slope);
    COLUMN("calibration_intercept", calibration_intercept);
    COLUMN("calibration_error", calibration_error);
#undef COLUMN
    FINISH;
}

static bool reward_bt_loss(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows a = rows(c, "chosen", false), b = same_shape(c, "rejected", &a, false), m = same_shape(c, "margins", &a, true);
    const double center = number_or(c, "center_rewards_coefficient", 0);
    real *da = take(c, a.n, sizeof *da), *db = take(c, a.n, sizeof *db);
    OPEN;
    double accuracy, margin;
    put(out, "loss", reward_pair_loss(da, db, &accuracy, &margin, a.x, b.x, m.x, center, a.n));
    put_list(out, "dchosen", da, a.n);
    put_list(out, "drejected", db, a.n);
    put(out, "accuracy", accuracy);
    put(out, "margin", margin);
    FINISH;
}

static bool saw_weights(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = matrix(c, "rewards_per_func");
    const double *shift = doubles(c, "shift", r.width, true), *alpha = doubles(c, "reward_weights", r.width, true);
    const double delta = number_or(c, "delta", 1e-8), multiplier = number_or(c, "multiplier", 1);
    double *w = take(c, r.width, sizeof *w), *cv = take(c, r.width, sizeof *cv);
    real *reward = take(c, r.n_row, sizeof *reward);
    OPEN;
    reward_saw_weights(w, cv, r.x, shift, delta, r.n_row, r.width);
    reward_saw_reward(reward, r.x, w, alpha, multiplier, r.n_row, r.width);
    put_doubles(out, "cv", cv, r.width);
    put_doubles(out, "weights", w, r.width);
    put_list(out, "rewards", reward, r.n_row);
    FINISH;
}

static bool label_shares(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = matrix(c, "rewards_per_func");
    const double *w = weights(c, "reward_weights", r.width);
    const size_t g = group_size(c, r.n_row), n_group = r.n_row / g;
    double *share = take(c, n_group * r.width, sizeof *share);
    OPEN;
    reward_label_share(share, r.x, w, r.n_row, r.width, g);
    json_key(out, "shares");
    json_begin(out, '[');
    for (size_t i = 0; i < n_group; i++) {
        json_begin(out, '[');
        for (size_t k = 0; k < r.width; k++) json_number(out, share[i * r.width + k]);
        json_end(out, ']');
    }
    json_end(out, ']');
    FINISH;
}

/* ---- advantages -------------------------------------------------------------------------------------------------------- */
static bool grpo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = matrix(c, "rewards_per_func");
    const double *w = weights(c, "reward_weights", r.width);
    const size_t g = group_size(c, r.n_row);
    GrpoConfig config;
    grpo_config_default(&config);
    if (given(c, "scale_rewards")) config.scale_rewards = (ScaleRewards)choice(c, "scale_rewards", scale_rewards_names);
    if (given(c, "multi_objective_aggregation"))
        config.multi_objective_aggregation = (Aggregation)choice(c, "multi_objective_aggregation", multi_objective_aggregation_names);
    if (given(c, "missing_labels")) config.missing_labels = (MissingLabels)choice(c, "missing_labels", missing_labels_names);
    real *adv = take(c, r.n_row, sizeof *adv), *reward = take(c, r.n_row, sizeof *reward);
    double *mean = take(c, r.width, sizeof *mean), *std = take(c, r.width, sizeof *std);
    OPEN;
    GrpoRewardStats stats;
    grpo_score_advantage(adv, reward, &stats, r.x, w, r.n_row, r.width, g, &config);
    for (size_t k = 0; k < r.width; k++) reward_moments(&mean[k], &std[k], r.x + k, r.n_row, r.width, 1);
    put_list(out, "advantages", adv, r.n_row);
    put_list(out, "rewards", reward, r.n_row);
    put(out, "reward", stats.reward);
    put(out, "reward_std", stats.reward_std);
    put(out, "frac_reward_zero_std", stats.frac_reward_zero_std);
    put_doubles(out, "reward_means", mean, r.width);
    put_doubles(out, "reward_stds", std, r.width);
    FINISH;
}

static bool mogrpo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = matrix(c, "rewards_per_func");
    const double *w = weights(c, "reward_weights", r.width), eps = number_or(c, "eps", 1e-4), ddof = number_or(c, "ddof", 1);
    const size_t g = group_size(c, r.n_row);
    if (c->ok && ddof != 0 && ddof != 1) wrong(c, "ddof", json_get(inputs, "ddof"), "0 or 1");
    real *adv = take(c, r.n_row, sizeof *adv);
    OPEN;
    reward_mo_grpo(adv, r.x, w, r.n_row, r.width, g, (int)ddof, eps);
    put_list(out, "advantages", adv, r.n_row);
    FINISH;
}

static bool gdpo_token_weighted(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = matrix(c, "rewards_per_func");
    const double *w = weights(c, "reward_weights", r.width), *length = doubles(c, "lengths", r.n_row, false);
    const double eps_group = number_or(c, "eps_group", 1e-6), eps_var = number_or(c, "eps_var", 1e-8);
    const size_t g = group_size(c, r.n_row);
    real *adv = take(c, r.n_row, sizeof *adv), *sum = take(c, r.n_row, sizeof *sum);
    OPEN;
    reward_gdpo_by_token(adv, sum, r.x, w, length, r.n_row, r.width, g, eps_group, eps_var);
    put_list(out, "sums", sum, r.n_row);
    put_list(out, "advantages", adv, r.n_row);
    FINISH;
}

static bool constrained_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows cost = matrix(c, "costs"), r = rows(c, "reward", false);
    double *lambda = doubles(c, "multipliers", cost.width, false), *budget = doubles(c, "budgets", cost.width, false);
    const double eta = number(c, "eta"), max = number(c, "max_multiplier"), eps = number_or(c, "eps", 1e-4);
    const size_t n = cost.n_row, g = group_size(c, n);
    if (c->ok && r.n != n) wrong(c, "reward", json_get(inputs, "reward"), "as many numbers as costs has rows");
    real *adv = take(c, n, sizeof *adv), *scalar = take(c, n, sizeof *scalar);
    OPEN;
    reward_lagrangian(scalar, r.x, cost.x, lambda, n, cost.width);
    grpo_advantage(adv, NULL, scalar, n, g, SCALE_GROUP, eps);
    put_list(out, "advantages_reward_level", adv, n);
    reward_constrained_advantage(adv, r.x, cost.x, 1, lambda, n, cost.width, g, eps);
    put_list(out, "advantages_component_level", adv, n);
    reward_multiplier_step(lambda, cost.x, budget, eta, max, n, cost.width);
    put_doubles(out, "multipliers", lambda, cost.width);
    FINISH;
}

static bool rloo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows r = rows(c, "rewards", false);
    const size_t g = group_size(c, r.n);
    const Json *normalize = given(c, "normalize");
    real *adv = take(c, r.n, sizeof *adv);
    OPEN;
    grpo_rloo_advantage(adv, r.x, r.n, g, normalize && normalize->number != 0, 1e-4);
    put_list(out, "advantages", adv, r.n);
    FINISH;
}

static bool overlong_penalty(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows n = rows(c, "lengths", false);
    const size_t longest = whole(c, "max_completion_len", 1), cache = whole(c, "soft_punish_cache", 1);
    double *p = take(c, n.n, sizeof *p);
    for (size_t i = 0; c->ok && i < n.n; i++) {
        if (!(n.x[i] >= 0 && n.x[i] < 1e9)) wrong(c, "lengths", json_get(inputs, "lengths"), "whole numbers >= 0");
        else p[i] = grpo_overlong_penalty((size_t)n.x[i], longest, cache);
    }
    OPEN;
    put_doubles(out, "penalties", p, n.n);
    FINISH;
}

/* ---- losses ------------------------------------------------------------------------------------------------------------ */
static bool kl_estimators(JsonWriter *out, const Json *inputs, Err *e) {
    static const char *const name[] = { "k1", "k2", "k3" }, *const dname[] = { "dk1", "dk2", "dk3" };
    START;
    const Rows logp = rows(c, "logps", false), ref = same_shape(c, "ref_logps", &logp, false);
    double *value = take(c, logp.n, sizeof *value);
    OPEN;
    for (int j = 0; j < 6; j++) {
        for (size_t t = 0; t < logp.n; t++) {
            double k[3], dk[3];
            grpo_kl(k, dk, logp.x[t], ref.x[t]);
            value[t] = j < 3 ? k[j] : dk[j - 3];
        }
        put_doubles(out, j < 3 ? name[j] : dname[j - 3], value, logp.n);
    }
    FINISH;
}

typedef struct { GrpoConfig config; GrpoWindow window; double n_item, last_world_entropy; } LossSettings;

/* One setting; false: no such key. null leaves the default, which for these keys is "not given". */
static bool loss_setting(Call *c, LossSettings *s, const char *key) {
    GrpoConfig *g = &s->config;
    GrpoWindow *w = &s->window;
    const struct { const char *key; double *to; } real_key[] = {
        { "epsilon", &g->epsilon }, { "epsilon_high", &g->epsilon_high }, { "delta", &g->delta }, { "dual_clip", &g->dual_clip },
        { "beta", &g->beta }, { "top_entropy_quantile", &g->top_entropy_quantile },
        { "off_policy_mask_threshold", &g->off_policy_mask_threshold }, { "sapo_temperature_pos", &g->sapo_temperature_pos },
        { "sapo_temperature_neg", &g->sapo_temperature_neg }, { "vespo_k_pos", &g->vespo_k_pos },
        { "vespo_lambda_pos", &g->vespo_lambda_pos }, { "vespo_k_neg", &g->vespo_k_neg },
        { "vespo_lambda_neg", &g->vespo_lambda_neg }, { "entropy_coef", &g->entropy_coef },
        { "entropy_target", &g->entropy_target }, { "entropy_coef_delta", &g->entropy_coef_delta },
        { "entropy_coef_min", &g->entropy_coef_min }, { "entropy_coef_max", &g->entropy_coef_max },
        { "num_items_in_batch", &s->n_item }, { "last_world_entropy", &s->last_world_entropy },
    };
    const struct { const char *key; int *to; } int_key[] = {
        { "max_completion_length", &g->max_completion_length }, { "num_processes", &w->n_process },
        { "gradient_accumulation_steps", &w->gradient_accumulation_steps }, { "steps_per_generation", &w->steps_per_generation },
    };
    const struct { const char *key; bool *to; } bool_key[] = {
        { "use_bias_correction_kl", &g->use_bias_correction_kl }, { "use_adaptive_entropy", &g->use_adaptive_entropy },
        { "training", &w->training },
    };
    for (size_t j = 0; j < sizeof real_key / sizeof *real_key; j++)
        if (!strcmp(key, real_key[j].key)) { *real_key[j].to = number_or(c, key, *real_key[j].to); return true; }
    for (size_t j = 0; j < sizeof int_key / sizeof *int_key; j++)
        if (!strcmp(key, int_key[j].key)) { if (given(c, key)) *int_key[j].to = (int)whole(c, key, 1); return true; }
    for (size_t j = 0; j < sizeof bool_key / sizeof *bool_key; j++)
        if (!strcmp(key, bool_key[j].key)) {
            const Json *v = given(c, key);
            if (v && v->type != JSON_BOOL) wrong(c, key, v, "true or false");
            else if (v) *bool_key[j].to = v->number != 0;
            return true;
        }
    if (!strcmp(key, "loss_type")) g->loss_type = (LossType)choice(c, key, loss_type_names);
    else if (!strcmp(key, "importance_sampling_level"))
        g->importance_sampling_level = (ImportanceLevel)choice(c, key, importance_sampling_level_names);
    else return false;
    return true;
}

static void loss_settings(Call *c, LossSettings *s) {
    grpo_config_default(&s->config);
    s->window = (GrpoWindow){ .n_process = 1, .gradient_accumulation_steps = 1, .steps_per_generation = 1, .training = true };
    s->n_item = NAN;
    s->last_world_entropy = 0;
    const Json *config = given(c, "config");
    if (config && config->type != JSON_OBJECT) { wrong(c, "config", config, "an object"); return; }
    Call inner = { config, c->e, { NULL }, 0, c->ok };
    for (size_t j = 0; config && inner.ok && j < config->length; j++)
        if (!loss_setting(&inner, s, config->item[j].key)) {
            fail(c->e, "stdin:%d:%d: inputs.config.%s: unknown setting; `grpo compute --list` names them", config->item[j].line,
                 config->item[j].column, config->item[j].key);
            inner.ok = false;
        }
    c->ok = inner.ok;
}

static bool run_loss(JsonWriter *out, Call *c, LossSettings *s) {
    const Rows logp = rows(c, "logps", false), old = same_shape(c, "old_logps", &logp, true),
               ref = same_shape(c, "ref_logps", &logp, true), mask = same_shape(c, "mask", &logp, true),
               sampler = same_shape(c, "sampling_logps", &logp, true), entropy = same_shape(c, "entropies", &logp, true),
               isr = rows(c, "importance_sampling_ratio", true), adv = rows(c, "advantages", false);
    if (c->ok && adv.n != logp.n_row) wrong(c, "advantages", json_get(c->in, "advantages"), "one number a completion");
    if (c->ok && s->config.beta != 0 && !ref.x) wrong(c, "ref_logps", NULL, "numbers, since beta is not 0");
    if (c->ok && isr.x && isr.n != logp.n && !(isr.n == logp.n_row && isr.n_row == logp.n_row))
        wrong(c, "importance_sampling_ratio", json_get(c->in, "importance_sampling_ratio"), "one number a token or a completion");
    if (c->ok && !grpo_config_check(&s->config, c->e)) c->ok = false;
    unsigned char *m = take(c, logp.n, 1);
    double *scratch = take(c, logp.n, sizeof *scratch);
    real *dlogp = take(c, logp.n, sizeof *dlogp), *dentropy = take(c, logp.n, sizeof *dentropy);
    if (!c->ok) return false;
    double n_token = 0;
    for (size_t t = 0; t < logp.n; t++) n_token += m[t] = !mask.x || mask.x[t] != 0;
    const bool by_token = isr.x && isr.n == logp.n && isr.n != logp.n_row;
    const GrpoIn in = { logp.n_row, logp.offset, logp.x, old.x, ref.x, sampler.x, by_token ? isr.x : NULL,
                        by_token ? NULL : isr.x, m, entropy.x, adv.x };
    GrpoEntropyControl control = { s->config.entropy_coef, s->last_world_entropy };
    s->window.n_item = isnan(s->n_item) ? n_token : s->n_item;
    s->window.entropy_coef = grpo_entropy_coef(&control, &s->config);
    GrpoMicro micro;
    GrpoSums sums;
    grpo_micro(&micro, &in, &s->config, scratch);
    grpo_sums_start(&sums);
    grpo_loss(&sums, dlogp, dentropy, &in, &s->config, &s->window, &micro);
    GrpoMetrics metrics;
    grpo_metrics(&metrics, &sums, &s->config, &s->window);
    const double value[] = { metrics.policy_loss, metrics.kl, metrics.entropy, metrics.clip_low_mean, metrics.clip_low_min,
        metrics.clip_high_mean, metrics.clip_high_max, metrics.clip_region_mean, metrics.cispo_clip_ratio, metrics.vespo_phi_seq_mean };
    json_begin(out, '{');
    put(out, "loss", grpo_loss_value(&sums, &s->window, &micro));
    put_rows(out, "dlogps", dlogp, logp.offset, logp.n_row);
    if (entropy.x) put_rows(out, "dentropies", dentropy, logp.offset, logp.n_row);
    for (int j = 0; grpo_metric_names[j]; j++)
        if (!isnan(value[j]) && (entropy.x || strcmp(grpo_metric_names[j], "entropy"))) put(out, grpo_metric_names[j], value[j]);
    if (s->config.use_adaptive_entropy) {
        if (s->window.training) grpo_entropy_step(&control, &s->config, sums.entropy_bonus, sums.n_entropy);
        put(out, "entropy_coef", control.coef);
    }
    json_end(out, '}');
    return true;
}

static bool grpo_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    LossSettings s;
    loss_settings(c, &s);
    if (c->ok) run_loss(out, c, &s);
    return finish(c);
}

static bool gmpo_loss(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    LossSettings s;
    loss_settings(c, &s);
    s.config.loss_type = LOSS_GMPO;
    if (c->ok) run_loss(out, c, &s);
    return finish(c);
}

static bool gspo_token_loss(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    LossSettings s;
    loss_settings(c, &s);
    s.config.loss_type = LOSS_GRPO;
    s.config.importance_sampling_level = LEVEL_SEQUENCE_TOKEN;
    s.config.epsilon = number_or(c, "epsilon", s.config.epsilon);
    s.config.epsilon_high = number_or(c, "epsilon_high", s.config.epsilon_high);
    if (c->ok) run_loss(out, c, &s);
    return finish(c);
}

static bool dual_clip_loss(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    LossSettings s;
    loss_settings(c, &s);
    s.config.loss_type = LOSS_BNPO;                     /* mean over all tokens */
    s.config.epsilon = number_or(c, "epsilon", s.config.epsilon);
    s.config.epsilon_high = number_or(c, "epsilon_high", s.config.epsilon_high);
    s.config.dual_clip = number_or(c, "clip_c", 3);
    if (c->ok) run_loss(out, c, &s);
    return finish(c);
}

static bool importance_sampling_ratio(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows old = rows(c, "old_logps", false), smp = same_shape(c, "sampling_logps", &old, false),
               mask = same_shape(c, "mask", &old, true);
    const IsrMode mode = (IsrMode)choice(c, "mode", importance_sampling_mode_names);
    const double low = number_or(c, "clip_min", NAN), high = number_or(c, "clip_max", NAN);
    unsigned char *m = take(c, old.n, 1);
    real *ratio = take(c, old.n + old.n_row, sizeof *ratio);
    OPEN;
    for (size_t t = 0; t < old.n; t++) m[t] = !mask.x || mask.x[t] != 0;
    const GrpoIn in = { .n_completion = old.n_row, .offset = old.offset, .logp = old.x, .old = old.x, .sampler = smp.x, .mask = m };
    GrpoSamplerStats stats;
    grpo_importance_ratio(ratio, &stats, &in, mode, low, high);
    if (grpo_isr_per_token(mode)) put_rows(out, "ratio", ratio, old.offset, old.n_row);
    else {
        json_key(out, "ratio");
        json_begin(out, '[');
        for (size_t i = 0; i < old.n_row; i++) { json_begin(out, '['); json_number(out, ratio[i]); json_end(out, ']'); }
        json_end(out, ']');
    }
    put(out, "logp_difference_mean", stats.logp_difference_mean);
    put(out, "logp_difference_max", stats.logp_difference_max);
    put(out, "ratio_mean", stats.ratio_mean);
    FINISH;
}

/* ---- optimiser ----------------------------------------------------------------------------------------------------------- */
static bool adamw(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows p = rows(c, "params", false), g = matrix(c, "grads");
    const double *lr = doubles(c, "lrs", g.n_row, false), *beta = doubles(c, "betas", 2, false);
    AdamW o = { 0, 0, 0, number(c, "eps"), number(c, "weight_decay") };
    if (c->ok && g.width != p.n) wrong(c, "grads", json_get(inputs, "grads"), "rows as long as params");
    real *m = take(c, p.n, sizeof *m), *v = take(c, p.n, sizeof *v), *history = take(c, g.n, sizeof *history);
    OPEN;
    o.beta1 = beta[0];
    o.beta2 = beta[1];
    for (size_t t = 0; t < g.n_row; t++) {
        o.lr = lr[t];
        adamw_update(p.x, m, v, g.x + g.offset[t], p.n, &o, (int64_t)t + 1);
        memcpy(history + t * p.n, p.x, p.n * sizeof *p.x);
    }
    put_rows(out, "params", history, g.offset, g.n_row);
    put_list(out, "exp_avg", m, p.n);
    put_list(out, "exp_avg_sq", v, p.n);
    FINISH;
}

static bool clip_grad_norm(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    const Rows g = rows(c, "grads", false);
    const double max_norm = number(c, "max_norm");
    OPEN;
    double square = 0;
    for (size_t i = 0; i < g.n_row; i++) square += grad_square_sum(g.x + g.offset[i], g.offset[i + 1] - g.offset[i]);
    const double norm = sqrt(square);
    grad_scale(g.x, g.n, clip_coefficient(norm, max_norm));
    put(out, "total_norm", norm);
    put_rows(out, "grads", g.x, g.offset, g.n_row);
    FINISH;
}

static bool lr_schedule(JsonWriter *out, const Json *inputs, Err *e) {
    START;
    Schedule kind = SCHEDULE_LINEAR;
    const char *name = word(c, "lr_scheduler_type");
    if (c->ok && !schedule_parse(&kind, name, e)) c->ok = false;
    const double base = number(c, "learning_rate"), min_ratio = number_or(c, "min_lr_rate", 0);
    const size_t warmup = whole(c, "warmup_steps", 0), n = whole(c, "max_steps", 1);
    double *lr = c->ok ? take(c, n, sizeof *lr) : NULL;
    OPEN;
    for (size_t s = 0; s < n; s++) lr[s] = base * schedule_factor(kind, (int64_t)s, (int64_t)warmup, (int64_t)n, min_ratio);
    put_doubles(out, "lrs", lr, n);
    FINISH;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */
#define BATCH "logps[B][T], old_logps?[B][T], ref_logps?[B][T], mask?[B][T], advantages[B], sampling_logps?[B][T], " \
              "entropies?[B][T], importance_sampling_ratio?[B][T] or [B][1]"
const ComputeKind compute_kinds[] = {
    { "regression_loss", "E42 E43", "scores[B][K], labels[B][K], label_weights?[K]", regression_loss },
    { "regression_metrics", "E46 E47 E48 E49 E50 E51", "scores[n][K], labels[n][K], bins? 10", regression_metrics },
    { "reward_bt_loss", "E56 E57", "chosen[n], rejected[n], margins?[n], center_rewards_coefficient?", reward_bt_loss },
    { "grpo_advantages", "E60 E61 E62 E63 E64 E82 E83 E84 E85 E86 E87", "rewards_per_func[n][K], reward_weights?[K], num_generations, "
      "scale_rewards? group|batch|none, multi_objective_aggregation? sum_then_normalize|normalize_then_sum|mo_grpo, "
      "missing_labels? zero|mean", grpo_advantages },
    { "mogrpo_advantages", "E64", "rewards_per_func[n][K], reward_weights?[K], num_generations, ddof? 1, eps? 1e-4", mogrpo_advantages },
    { "gdpo_token_weighted", "E63", "rewards_per_func[n][K], reward_weights?[K], num_generations, lengths[n], eps_group? 1e-6, "
      "eps_var? 1e-8", gdpo_token_weighted },
    { "saw_weights", "E66 E67", "rewards_per_func[n][K], shift?[K], reward_weights?[K], delta? 1e-8, multiplier? 1", saw_weights },
    { "constrained_advantages", "E69 E70 E71", "reward[n], costs[n][K], multipliers[K], budgets[K], eta, max_multiplier, "
      "num_generations, eps? 1e-4", constrained_advantages },
    { "label_shares", "E73", "rewards_per_func[n][K], reward_weights?[K], num_generations", label_shares },
    { "rloo_advantages", "E89", "rewards[n], num_generations, normalize? false", rloo_advantages },
    { "kl_estimators", "E94 E95", "logps[n], ref_logps[n]", kl_estimators },
    { "grpo_loss", "E81 E91 E92 E94 to E97 E99 to E105 E108 E109 E111 to E117", BATCH ", config? {loss_type, importance_sampling_level, "
      "epsilon, epsilon_high, delta, dual_clip, beta, use_bias_correction_kl, top_entropy_quantile, off_policy_mask_threshold, "
      "sapo_temperature_pos, sapo_temperature_neg, vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg, "
      "max_completion_length, num_items_in_batch, num_processes, gradient_accumulation_steps, steps_per_generation, entropy_coef, "
      "use_adaptive_entropy, entropy_target, entropy_coef_delta, entropy_coef_min, entropy_coef_max, last_world_entropy, training}",
      grpo_loss_kind },
    { "gmpo_loss", "E106", BATCH ", config? as grpo_loss", gmpo_loss },
    { "gspo_token_loss", "E93", BATCH ", epsilon?, epsilon_high?", gspo_token_loss },
    { "dual_clip_loss", "E107", BATCH ", epsilon?, epsilon_high?, clip_c? 3", dual_clip_loss },
    { "importance_sampling_ratio", "E110", "old_logps[B][T], sampling_logps[B][T], mask?[B][T], mode, clip_min?, clip_max?",
      importance_sampling_ratio },
    { "overlong_penalty", "E118", "lengths[n], max_completion_len, soft_punish_cache", overlong_penalty },
    { "adamw", "E280 E281 E282", "params[n], grads[steps][n], lrs[steps], betas[2], eps, weight_decay", adamw },
    { "clip_grad_norm", "E284", "grads[tensors][any], max_norm", clip_grad_norm },
    { "lr_schedule", "E286 E287 E288", "lr_scheduler_type, learning_rate, warmup_steps, max_steps, min_lr_rate?", lr_schedule },
    { NULL, NULL, NULL, NULL },
};

const ComputeKind *compute_find(const char *kind) {
    const ComputeKind *const table[] = { compute_kinds, compute_model_kinds };
    for (int j = 0; j < 2; j++)
        for (const ComputeKind *k = table[j]; k->kind; k++) if (!strcmp(k->kind, kind)) return k;
    return NULL;
}

bool compute_case(JsonWriter *out, const char *kind, const Json *inputs, Err *e) {
    const ComputeKind *k = compute_find(kind);
    if (!k) return fail(e, "kind: found \"%.60s\", which is not known; `grpo compute --list` names them all", kind);
    if (!inputs || inputs->type != JSON_OBJECT)
        return fail(e, "inputs: found %s, expected an object", inputs ? json_type_name(inputs->type) : "nothing");
    return k->run(out, inputs, e);
}

/* ---- the command ----------------------------------------------------------------------------------------------------------- */
static bool one_line(const char *text, size_t n, int line_no, Err *e) {
    Json *root = json_parse(text, n, "stdin", line_no, e);
    if (!root) return false;
    JsonWriter w = { 0 };
    const char *kind;
    bool ok = json_get_string(root, "kind", &kind, "stdin", e);
    json_begin(&w, '{');
    json_key(&w, "outputs");
    ok = ok && compute_case(&w, kind, json_get(root, "inputs"), e);
    if (ok) {
        json_end(&w, '}');
        fwrite(w.text, 1, w.length, stdout);
        fputc('\n', stdout);
        fflush(stdout);
    }
    free(w.text);
    json_free(root);
    return ok;
}

static int list(void) {
    const ComputeKind *const table[] = { compute_kinds, compute_model_kinds };
    for (int j = 0; j < 2; j++)
        for (const ComputeKind *k = table[j]; k->kind; k++) printf("%s\n    %s\n    inputs: %s\n", k->kind, k->equations, k->inputs);
    return 0;
}

int cmd_compute(int argc, char **argv) {
    for (int a = 1; a < argc; a++) {
        if (!strcmp(argv[a], "--list")) return list();
        if (!strcmp(argv[a], "--help") || !strcmp(argv[a], "-h")) {
            puts("grpo compute [--list] < CASES.jsonl\n"
                 "Each line {\"kind\": ..., \"inputs\": {...}} gives a line {\"outputs\": {...}}. --list: kinds, inputs, equations.\n\n"
                 "    echo '{\"kind\": \"rloo_advantages\", \"inputs\": {\"rewards\": [1, 0, 0.5], \"num_generations\": 3}}' | grpo compute");
            return 0;
        }
        fprintf(stderr, "grpo compute: unknown option \"%s\", expected --list or --help\n", argv[a]);
        return 2;
    }
    Err e = { "" };
    char *line = NULL;
    size_t n = 0, capacity = 0;
    int line_no = 1, status = 0;
    for (int ch = 0; ch != EOF && status == 0; ) {
        ch = getchar();
        if (n + 1 >= capacity) {
            char *more = realloc(line, capacity = 2 * capacity + 4096);
            if (!more) { fail(&e, "stdin:%d: %zu bytes for a line could not be allocated", line_no, capacity); status = 2; break; }
            line = more;
        }
        if (ch != '\n' && ch != EOF) { line[n++] = (char)ch; continue; }
        line[n] = 0;
        if (strspn(line, " \t\r") < n && !one_line(line, n, line_no, &e)) status = 2;
        n = 0;
        line_no++;
    }
    free(line);
    if (status) {
        /* errors of grpo.c and lib name no line of the input */
        if (strncmp(e.line, "stdin:", 6)) fprintf(stderr, "grpo compute: stdin:%d: %s\n", line_no - 1, e.line);
        else fprintf(stderr, "grpo compute: %s\n", e.line);
    }
    return status;
}
