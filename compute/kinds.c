/* kinds.c: `grpo compute`: JSON lines {"kind": ..., "inputs": {...}} in, {"outputs": {...}} out.
 *
 * In this order: one function a kind (rewards, advantages, losses, optimiser), the table, the command.
 * Reading and writing is in arrays.c, the kinds of PPO and DPO are in baselines.c, those that need the
 * network in model.c. */
#include "compute/kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/combine.h"
#include "lib/optim.h"
#include "lib/words.h"
#include "run/quality.h"

/* The field of that setting from inputs; null and absent leave it as it is. */
static void kind_setting(Call *c, void *config, const Setting *s) {
    void *field = (char *)config + s->at;
    const Json *v = kind_given(c, s->name);
    if (s->kind == SET_CHOICE) {
        if (v || json_get(c->in, s->name)) *(int *)field = kind_choice(c, s->name, s->choice);
    } else if (s->kind == SET_BOOL) {
        if (v && v->type != JSON_BOOL) kind_wrong(c, s->name, v, "true or false");
        else if (v) *(bool *)field = v->number != 0;
    } else if (s->kind == SET_INT) {
        if (v) *(int *)field = (int)kind_whole(c, s->name, 1);
    } else *(double *)field = kind_number_or(c, s->name, *(double *)field);
}

/* ---- rewards ---- */
static bool regression_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows s = kind_matrix(c, "scores"), y = kind_same_shape(c, "labels", &s, false);
    const double *w = c->ok ? kind_doubles(c, "label_weights", s.width, true) : NULL;
    real *ds = kind_reals(c, s.n);
    KIND_OPEN;
    double loss = 0;
    reward_regression_loss(&loss, ds, s.x, y.x, w, s.n_row, s.width,
                           reward_label_weight_sum(y.x, w, s.n_row, s.width));
    json_put(out, "loss", loss);
    kind_put_rows(out, "dscores", ds, s.offset, s.n_row);
    KIND_FINISH;
}

static bool regression_metrics(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows s = kind_matrix(c, "scores"), y = kind_same_shape(c, "labels", &s, false);
    const double n_bin = kind_number_or(c, "bins", 10);
    QualityPair *scratch = kind_take(c, s.n_row, sizeof *scratch);
    Quality *m = kind_take(c, s.width, sizeof *m);
    double *column = kind_take(c, s.width, sizeof *column);
    KIND_OPEN;
    for (size_t k = 0; k < s.width; k++)
        quality_of(&m[k], NULL, n_bin >= 1 && n_bin < 1e6 ? (int)n_bin : 0, s.x, y.x, s.n_row, s.width, k,
                       scratch);
#define COLUMN(field) \
    for (size_t k = 0; k < s.width; k++) column[k] = (double)m[k].field; \
    json_put_numbers(out, #field, column, s.width);
    COLUMN(n) COLUMN(mse) COLUMN(rmse) COLUMN(mae) COLUMN(bias) COLUMN(r2) COLUMN(pearson) COLUMN(spearman)
    COLUMN(calibration_slope) COLUMN(calibration_intercept) COLUMN(calibration_error)
#undef COLUMN
    KIND_FINISH;
}

static bool reward_bt_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows a = kind_rows(c, "chosen", false), b = kind_same_shape(c, "rejected", &a, false),
               m = kind_same_shape(c, "margins", &a, true);
    const double center = kind_number_or(c, "center_rewards_coefficient", 0);
    real *da = kind_reals(c, a.n), *db = kind_reals(c, a.n);
    KIND_OPEN;
    double accuracy, margin;
    json_put(out, "loss", combine_pair_loss(da, db, &accuracy, &margin, a.x, b.x, m.x, center, a.n));
    kind_put_list(out, "dchosen", da, a.n);
    kind_put_list(out, "drejected", db, a.n);
    json_put(out, "accuracy", accuracy);
    json_put(out, "margin", margin);
    KIND_FINISH;
}

static bool saw_weights(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *shift = kind_doubles(c, "shift", r.width, true),
                 *alpha = kind_doubles(c, "reward_weights", r.width, true);
    const double delta = kind_number_or(c, "delta", 1e-8), multiplier = kind_number_or(c, "multiplier", 1);
    double *w = kind_take(c, r.width, sizeof *w), *cv = kind_take(c, r.width, sizeof *cv);
    real *reward = kind_reals(c, 2 * r.n_row), *adv = reward + r.n_row;
    const size_t g = kind_given(c, "num_generations") ? kind_group_size(c, r.n_row) : 0;
    KIND_OPEN;
    combine_saw_weights(w, cv, r.x, shift, delta, r.n_row, r.width);
    combine_saw_reward(reward, r.x, w, alpha, multiplier, r.n_row, r.width);
    json_put_numbers(out, "cv", cv, r.width);
    json_put_numbers(out, "weights", w, r.width);
    kind_put_list(out, "rewards", reward, r.n_row);
    if (g) {
        combine_saw_advantage(adv, cv, r.x, w, alpha, r.n_row, r.width, g, 1e-4);
        kind_put_list(out, "advantages", adv, r.n_row);
    }
    KIND_FINISH;
}

static bool chebyshev_rewards(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *w = kind_weights(c, "reward_weights", r.width),
                 *low = kind_doubles(c, "low", r.width, false),
                 *high = kind_doubles(c, "high", r.width, false);
    real *reward = kind_reals(c, r.n_row);
    KIND_OPEN;
    combine_chebyshev(reward, r.x, w, low, high, r.n_row, r.width);
    kind_put_list(out, "rewards", reward, r.n_row);
    KIND_FINISH;
}

static bool label_shares(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *w = kind_weights(c, "reward_weights", r.width);
    const size_t g = kind_group_size(c, r.n_row), n_group = r.n_row / g;
    double *share = kind_take(c, n_group * r.width, sizeof *share);
    KIND_OPEN;
    reward_label_share(share, r.x, w, r.n_row, r.width, g);
    json_open(out, "shares", '[');
    for (size_t i = 0; i < n_group; i++) {
        json_begin(out, '[');
        for (size_t k = 0; k < r.width; k++) json_number(out, share[i * r.width + k]);
        json_end(out, ']');
    }
    json_end(out, ']');
    KIND_FINISH;
}

/* ---- advantages ---- */
static bool grpo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    static const char *const name[] = {"scale_rewards", "multi_objective_aggregation", "missing_labels"};
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *w = kind_weights(c, "reward_weights", r.width);
    const size_t g = kind_group_size(c, r.n_row);
    GrpoConfig config;
    grpo_config_default(&config);
    for (int j = 0; j < 3; j++)
        if (kind_given(c, name[j]))
            kind_setting(c, &config, setting_find(j < 2 ? grpo_settings : grpo_group_settings, name[j]));
    real *adv = kind_reals(c, r.n_row), *reward = kind_reals(c, r.n_row);
    double *mean = kind_take(c, r.width, sizeof *mean), *std = kind_take(c, r.width, sizeof *std);
    KIND_OPEN;
    GrpoRewardStats stats;
    grpo_score_advantage(adv, reward, &stats, r.x, w, NULL, r.n_row, r.width, g, &config);
    for (size_t k = 0; k < r.width; k++) reward_moments(&mean[k], &std[k], r.x + k, r.n_row, r.width, 1);
    kind_put_list(out, "advantages", adv, r.n_row);
    kind_put_list(out, "rewards", reward, r.n_row);
    json_put(out, "reward", stats.reward);
    json_put(out, "reward_std", stats.reward_std);
    json_put(out, "frac_reward_zero_std", stats.frac_reward_zero_std);
    json_put_numbers(out, "reward_means", mean, r.width);
    json_put_numbers(out, "reward_stds", std, r.width);
    KIND_FINISH;
}

static bool mogrpo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *w = kind_weights(c, "reward_weights", r.width), eps = kind_number_or(c, "eps", 1e-4),
                 ddof = kind_number_or(c, "ddof", 1);
    const size_t g = kind_group_size(c, r.n_row);
    kind_refuse(c, ddof != 0 && ddof != 1, "ddof", "0 or 1");
    real *adv = kind_reals(c, r.n_row);
    KIND_OPEN;
    reward_mo_grpo(adv, r.x, w, r.n_row, r.width, g, (int)ddof, eps);
    kind_put_list(out, "advantages", adv, r.n_row);
    KIND_FINISH;
}

static bool gdpo_token_weighted(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_matrix(c, "rewards_per_func");
    const double *w = kind_weights(c, "reward_weights", r.width),
                 *length = kind_doubles(c, "lengths", r.n_row, false);
    const double eps_group = kind_number_or(c, "eps_group", 1e-6),
                 eps_var = kind_number_or(c, "eps_var", 1e-8);
    const size_t g = kind_group_size(c, r.n_row);
    real *adv = kind_reals(c, r.n_row), *sum = kind_reals(c, r.n_row);
    KIND_OPEN;
    combine_gdpo_by_token(adv, sum, r.x, w, length, r.n_row, r.width, g, eps_group, eps_var);
    kind_put_list(out, "sums", sum, r.n_row);
    kind_put_list(out, "advantages", adv, r.n_row);
    KIND_FINISH;
}

static bool constrained_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows cost = kind_matrix(c, "costs"), r = kind_rows(c, "reward", false);
    double *lambda = kind_doubles(c, "multipliers", cost.width, false),
           *budget = kind_doubles(c, "budgets", cost.width, false);
    const double eta = kind_number(c, "eta"), max = kind_number(c, "max_multiplier"),
                 eps = kind_number_or(c, "eps", 1e-4);
    const size_t n = cost.n_row, g = kind_group_size(c, n);
    kind_refuse(c, r.n != n, "reward", "as many numbers as costs has rows");
    real *adv = kind_reals(c, n), *scalar = kind_reals(c, n);
    KIND_OPEN;
    combine_lagrangian(scalar, r.x, cost.x, lambda, n, cost.width);
    grpo_advantage(adv, NULL, scalar, n, g, SCALE_GROUP, eps);
    kind_put_list(out, "advantages_reward_level", adv, n);
    combine_constrained_advantage(adv, r.x, cost.x, 1, lambda, n, cost.width, g, eps);
    kind_put_list(out, "advantages_component_level", adv, n);
    combine_multiplier_step(lambda, cost.x, budget, eta, max, n, cost.width);
    json_put_numbers(out, "multipliers", lambda, cost.width);
    KIND_FINISH;
}

static bool rloo_advantages(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows r = kind_rows(c, "rewards", false);
    const size_t g = kind_group_size(c, r.n);
    const Json *normalize = kind_given(c, "normalize");
    real *adv = kind_reals(c, r.n);
    KIND_OPEN;
    variant_rloo_advantage(adv, r.x, r.n, g, normalize && normalize->number != 0, 1e-4);
    kind_put_list(out, "advantages", adv, r.n);
    KIND_FINISH;
}

static bool overlong_penalty(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows n = kind_rows(c, "lengths", false);
    const size_t longest = kind_whole(c, "max_completion_len", 1),
                 cache = kind_whole(c, "soft_punish_cache", 1);
    double *p = kind_take(c, n.n, sizeof *p);
    for (size_t i = 0; c->ok && i < n.n; i++) {
        if (!(n.x[i] >= 0 && n.x[i] < 1e9))
            kind_wrong(c, "lengths", json_get(inputs, "lengths"), "whole numbers >= 0");
        else p[i] = variant_overlong_penalty((size_t)n.x[i], longest, cache);
    }
    KIND_OPEN;
    json_put_numbers(out, "penalties", p, n.n);
    KIND_FINISH;
}

/* ---- losses ---- */
static bool kl_estimators(JsonWriter *out, const Json *inputs, Err *e) {
    static const char *const name[] = { "k1", "k2", "k3" }, *const dname[] = { "dk1", "dk2", "dk3" };
    KIND_START;
    const Rows logp = kind_rows(c, "logps", false), ref = kind_same_shape(c, "ref_logps", &logp, false);
    double *value = kind_take(c, logp.n, sizeof *value);
    KIND_OPEN;
    for (int j = 0; j < 6; j++) {
        for (size_t t = 0; t < logp.n; t++) {
            double k[3], dk[3];
            grpo_kl(k, dk, logp.x[t], ref.x[t]);
            value[t] = j < 3 ? k[j] : dk[j - 3];
        }
        json_put_numbers(out, j < 3 ? name[j] : dname[j - 3], value, logp.n);
    }
    KIND_FINISH;
}

#define AT(member) offsetof(LossSettings, member)
static const Setting window_settings[] = {
    {"num_items_in_batch", SET_NUMBER, AT(n_item), "none", NULL, NULL},
    {"num_processes", SET_INT, AT(window.n_process), "1", NULL, NULL},
    {"gradient_accumulation_steps", SET_INT, AT(window.gradient_accumulation_steps), "1", NULL, NULL},
    {"steps_per_generation", SET_INT, AT(window.steps_per_generation), "1", NULL, NULL},
    {"training", SET_BOOL, AT(window.training), "true", NULL, NULL},
    {"last_world_entropy", SET_NUMBER, AT(last_world_entropy), "0", NULL, NULL},
    SETTINGS_END};

static const Setting *const loss_rows[] = {grpo_settings, grpo_other_settings, grpo_group_settings,
                                           window_settings, NULL};

/* The row of a setting that a loss depends on. */
static const Setting *loss_setting(const char *key) {
    static const char *const none_of[] = {"scale_rewards", "multi_objective_aggregation", "num_iterations",
                                          "mask_truncated_completions", "missing_labels", "num_generations",
                                          "std_eps", "std_ddof", "baseline", "zero_std", "single_reply",
                                          "advantage_whitening"};
    const Setting *found = NULL;
    for (int j = 0; !found && loss_rows[j]; j++) found = setting_find(loss_rows[j], key);
    return found && !strcmp(found->name, key) && !name_among(key, none_of, 12) ? found : NULL;
}

void compute_loss_settings(Call *c, LossSettings *s, const char *name) {
    *s = (LossSettings){0};
    settings_default(s, window_settings);
    grpo_config_default(&s->config);
    const Json *config = kind_given(c, name);
    if (config && config->type != JSON_OBJECT) { kind_wrong(c, name, config, "an object"); return; }
    Call inner = { config, c->e, { NULL }, 0, c->ok };
    for (size_t j = 0; config && inner.ok && j < config->length; j++) {
        const Json *v = &config->item[j];
        const Setting *row = loss_setting(v->key);
        if (row) kind_setting(&inner, s, row);
        else inner.ok = fail(c->e, "stdin:%d:%d: inputs.%s.%s: unknown setting; `grpo compute --list` names "
                             "them", v->line, v->column, name, v->key);
    }
    c->ok = inner.ok;
}

static bool run_loss(JsonWriter *out, Call *c, LossSettings *s) {
    const Rows logp = kind_rows(c, "logps", false), old = kind_same_shape(c, "old_logps", &logp, true),
               ref = kind_same_shape(c, "ref_logps", &logp, true),
               mask = kind_same_shape(c, "mask", &logp, true),
               sampler = kind_same_shape(c, "sampling_logps", &logp, true),
               entropy = kind_same_shape(c, "entropies", &logp, true),
               isr = kind_rows(c, "importance_sampling_ratio", true), adv = kind_rows(c, "advantages", false);
    kind_refuse(c, adv.n != logp.n_row, "advantages", "one number a completion");
    if (c->ok && s->config.beta != 0 && !ref.x)
        kind_wrong(c, "ref_logps", NULL, "numbers, since beta is not 0");
    kind_refuse(c, isr.x && isr.n != logp.n && !(isr.n == logp.n_row && isr.n_row == logp.n_row),
                "importance_sampling_ratio", "one number a token or a completion");
    if (c->ok && !grpo_config_check(&s->config, c->e)) c->ok = false;
    unsigned char *m = kind_take(c, logp.n, 1);
    double *scratch = kind_take(c, logp.n, sizeof *scratch);
    real *dlogp = kind_reals(c, logp.n), *dentropy = kind_reals(c, logp.n);
    if (!c->ok) return false;
    double n_token = 0;
    for (size_t t = 0; t < logp.n; t++) n_token += m[t] = !mask.x || mask.x[t] != 0;
    const bool by_token = isr.x && isr.n == logp.n && isr.n != logp.n_row;
    const GrpoIn in = {.n_completion = logp.n_row, .offset = logp.offset, .logp = logp.x, .old = old.x,
                       .ref = ref.x, .sampler = sampler.x, .isr_token = by_token ? isr.x : NULL,
                       .isr_sequence = by_token ? NULL : isr.x, .mask = m, .entropy = entropy.x,
                       .advantage = adv.x};
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
    json_begin(out, '{');
    json_put(out, "loss", grpo_loss_value(&sums, &s->window, &micro));
    kind_put_rows(out, "dlogps", dlogp, logp.offset, logp.n_row);
    if (entropy.x) kind_put_rows(out, "dentropies", dentropy, logp.offset, logp.n_row);
    for (int j = 0; grpo_metric_names[j]; j++)
        if (!isnan(grpo_metric(&metrics, j)) && (entropy.x || strcmp(grpo_metric_names[j], "entropy")))
            json_put(out, grpo_metric_names[j], grpo_metric(&metrics, j));
    if (s->config.use_adaptive_entropy) {
        if (s->window.training) grpo_entropy_step(&control, &s->config, sums.entropy_bonus, sums.n_entropy);
        json_put(out, "entropy_coef", control.coef);
    }
    json_end(out, '}');
    return true;
}

static bool grpo_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    LossSettings s;
    compute_loss_settings(c, &s, "config");
    if (c->ok) run_loss(out, c, &s);
    return kind_finish(c);
}

static bool gmpo_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    LossSettings s;
    compute_loss_settings(c, &s, "config");
    s.config.loss_type = LOSS_GMPO;
    if (c->ok) run_loss(out, c, &s);
    return kind_finish(c);
}

static bool gspo_token_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    LossSettings s;
    compute_loss_settings(c, &s, "config");
    s.config.loss_type = LOSS_GRPO;
    s.config.importance_sampling_level = LEVEL_SEQUENCE_TOKEN;
    s.config.epsilon = kind_number_or(c, "epsilon", s.config.epsilon);
    s.config.epsilon_high = kind_number_or(c, "epsilon_high", s.config.epsilon_high);
    if (c->ok) run_loss(out, c, &s);
    return kind_finish(c);
}

static bool dual_clip_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    LossSettings s;
    compute_loss_settings(c, &s, "config");
    s.config.loss_type = LOSS_BNPO;                     /* mean over all tokens */
    s.config.epsilon = kind_number_or(c, "epsilon", s.config.epsilon);
    s.config.epsilon_high = kind_number_or(c, "epsilon_high", s.config.epsilon_high);
    s.config.dual_clip = kind_number_or(c, "clip_c", 3);
    if (c->ok) run_loss(out, c, &s);
    return kind_finish(c);
}

static bool importance_sampling_ratio(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows old = kind_rows(c, "old_logps", false),
               smp = kind_same_shape(c, "sampling_logps", &old, false),
               mask = kind_same_shape(c, "mask", &old, true);
    const IsrMode mode = (IsrMode)kind_choice(c, "mode", importance_sampling_mode_names);
    const double low = kind_number_or(c, "clip_min", NAN), high = kind_number_or(c, "clip_max", NAN);
    unsigned char *m = kind_take(c, old.n, 1);
    real *ratio = kind_reals(c, old.n + old.n_row);
    KIND_OPEN;
    for (size_t t = 0; t < old.n; t++) m[t] = !mask.x || mask.x[t] != 0;
    IsrStats stats;
    variant_importance_ratio(ratio, &stats, old.x, smp.x, m, old.offset, old.n_row, mode, low, high);
    if (variant_isr_per_token(mode)) kind_put_rows(out, "ratio", ratio, old.offset, old.n_row);
    else {
        json_open(out, "ratio", '[');
        for (size_t i = 0; i < old.n_row; i++) {
            json_begin(out, '[');
            json_number(out, ratio[i]);
            json_end(out, ']');
        }
        json_end(out, ']');
    }
    json_put(out, "logp_difference_mean", stats.logp_difference_mean);
    json_put(out, "logp_difference_max", stats.logp_difference_max);
    json_put(out, "ratio_mean", stats.ratio_mean);
    KIND_FINISH;
}

/* ---- optimiser ---- */
static bool adamw(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows p = kind_rows(c, "params", false), g = kind_matrix(c, "grads");
    const double *lr = kind_doubles(c, "lrs", g.n_row, false), *beta = kind_doubles(c, "betas", 2, false);
    AdamW o = { 0, 0, 0, kind_number(c, "eps"), kind_number(c, "weight_decay") };
    kind_refuse(c, g.width != p.n, "grads", "rows as long as params");
    real *m = kind_reals(c, p.n), *v = kind_reals(c, p.n), *history = kind_reals(c, g.n);
    KIND_OPEN;
    o.beta1 = beta[0];
    o.beta2 = beta[1];
    for (size_t t = 0; t < g.n_row; t++) {
        o.lr = lr[t];
        adamw_update(p.x, m, v, g.x + g.offset[t], p.n, &o, (int64_t)t + 1);
        memcpy(history + t * p.n, p.x, p.n * sizeof *p.x);
    }
    kind_put_rows(out, "params", history, g.offset, g.n_row);
    kind_put_list(out, "exp_avg", m, p.n);
    kind_put_list(out, "exp_avg_sq", v, p.n);
    KIND_FINISH;
}

static bool clip_grad_norm(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows g = kind_rows(c, "grads", false);
    const double max_norm = kind_number(c, "max_norm");
    KIND_OPEN;
    double square = 0;
    for (size_t i = 0; i < g.n_row; i++)
        square += grad_square_sum(g.x + g.offset[i], g.offset[i + 1] - g.offset[i]);
    const double norm = sqrt(square);
    grad_scale(g.x, g.n, clip_coefficient(norm, max_norm));
    json_put(out, "total_norm", norm);
    kind_put_rows(out, "grads", g.x, g.offset, g.n_row);
    KIND_FINISH;
}

static bool lr_schedule(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Schedule kind = (Schedule)kind_choice(c, "lr_scheduler_type", schedule_names);
    const double base = kind_number(c, "learning_rate"), min_ratio = kind_number_or(c, "min_lr_rate", 0);
    const size_t warmup = kind_whole(c, "warmup_steps", 0), n = kind_whole(c, "max_steps", 1);
    double *lr = c->ok ? kind_take(c, n, sizeof *lr) : NULL;
    KIND_OPEN;
    for (size_t s = 0; s < n; s++)
        lr[s] = base * schedule_factor(kind, (int64_t)s, (int64_t)warmup, (int64_t)n, min_ratio);
    json_put_numbers(out, "lrs", lr, n);
    KIND_FINISH;
}

/* ---- the table ---- */
#define BATCH \
    "logps[B][T], old_logps?[B][T], ref_logps?[B][T], mask?[B][T], advantages[B], sampling_logps?[B][T], " \
    "entropies?[B][T], importance_sampling_ratio?[B][T] or [B][1]"
const ComputeKind compute_kinds[] = {
    {"regression_loss", "E42 E43", "scores[B][K], labels[B][K], label_weights?[K]", regression_loss},
    {"regression_metrics", "E46 E47 E48 E49 E50 E51", "scores[n][K], labels[n][K], bins? 10",
     regression_metrics},
    {"reward_bt_loss", "E56 E57", "chosen[n], rejected[n], margins?[n], center_rewards_coefficient?",
     reward_bt_loss},
    {"grpo_advantages", "E60 E61 E62 E63 E64 E82 E83 E84 E85 E86 E87",
     "rewards_per_func[n][K], reward_weights?[K], num_generations, "
     "scale_rewards? group|batch|none, multi_objective_aggregation? "
     "sum_then_normalize|normalize_then_sum|mo_grpo, "
     "missing_labels? zero|mean",
     grpo_advantages},
    {"mogrpo_advantages", "E64",
     "rewards_per_func[n][K], reward_weights?[K], num_generations, ddof? 1, eps? 1e-4", mogrpo_advantages},
    {"gdpo_token_weighted", "E63",
     "rewards_per_func[n][K], reward_weights?[K], num_generations, lengths[n], eps_group? 1e-6, "
     "eps_var? 1e-8",
     gdpo_token_weighted},
    {"saw_weights", "E66 E67 E68",
     "rewards_per_func[n][K], shift?[K], reward_weights?[K], delta? 1e-8, multiplier? 1, num_generations?",
     saw_weights},
    {"chebyshev_rewards", "E74", "rewards_per_func[n][K], reward_weights?[K], low[K], high[K]",
     chebyshev_rewards},
    {"constrained_advantages", "E69 E70 E71",
     "reward[n], costs[n][K], multipliers[K], budgets[K], eta, max_multiplier, "
     "num_generations, eps? 1e-4",
     constrained_advantages},
    {"label_shares", "E73", "rewards_per_func[n][K], reward_weights?[K], num_generations", label_shares},
    {"rloo_advantages", "E89", "rewards[n], num_generations, normalize? false", rloo_advantages},
    {"kl_estimators", "E94 E95", "logps[n], ref_logps[n]", kl_estimators},
    {"grpo_loss", "E81 E90 E91 E92 E94 to E97 E99 to E105 E108 E109 E111 to E117 E122",
     BATCH ", config? {", grpo_loss_kind},           /* list() goes on with the names */
    {"gmpo_loss", "E106", BATCH ", config? as grpo_loss", gmpo_loss},
    {"gspo_token_loss", "E93", BATCH ", epsilon?, epsilon_high?", gspo_token_loss},
    {"dual_clip_loss", "E107", BATCH ", epsilon?, epsilon_high?, clip_c? 3", dual_clip_loss},
    {"importance_sampling_ratio", "E110",
     "old_logps[B][T], sampling_logps[B][T], mask?[B][T], mode, clip_min?, clip_max?",
     importance_sampling_ratio},
    {"overlong_penalty", "E118", "lengths[n], max_completion_len, soft_punish_cache", overlong_penalty},
    {"adamw", "E280 E281 E282", "params[n], grads[steps][n], lrs[steps], betas[2], eps, weight_decay", adamw},
    {"clip_grad_norm", "E284", "grads[tensors][any], max_norm", clip_grad_norm},
    {"lr_schedule", "E286 E287 E288",
     "lr_scheduler_type, learning_rate, warmup_steps, max_steps, min_lr_rate?", lr_schedule},
    {NULL, NULL, NULL, NULL},
};

const ComputeKind *const compute_tables[] = {compute_kinds, compute_baseline_kinds, compute_logit_kinds,
                                             compute_model_kinds, NULL};

const ComputeKind *compute_find(const char *kind) {
    for (int j = 0; compute_tables[j]; j++)
        for (const ComputeKind *k = compute_tables[j]; k->kind; k++)
            if (!strcmp(k->kind, kind)) return k;
    return NULL;
}

bool compute_case(JsonWriter *out, const char *kind, const Json *inputs, Err *e) {
    const ComputeKind *k = compute_find(kind);
    if (!k)
        return fail(e, "kind: found \"%.60s\", which is not known; `grpo compute --list` names them all",
                    kind);
    if (!inputs || inputs->type != JSON_OBJECT)
        return fail(e, "inputs: found %s, expected an object",
                    inputs ? json_type_name(inputs->type) : "nothing");
    return k->run(out, inputs, e);
}

void compute_inputs(char *out, size_t size, const ComputeKind *k) {
    size_t n = (size_t)snprintf(out, size, "%s", k->inputs);
    if (k->run != grpo_loss_kind) return;
    const char *between = "";
    for (int j = 0; loss_rows[j]; j++)
        for (const Setting *r = loss_rows[j]; r->name && n < size; r++)
            if (r->kind != SET_HEADING && loss_setting(r->name)) {
                n += (size_t)snprintf(out + n, size - n, "%s%s", between, r->name);
                between = ", ";
            }
    if (n < size) snprintf(out + n, size - n, "}");
}
