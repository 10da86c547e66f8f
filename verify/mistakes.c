/* mistakes.c: the catalogue: other settings, changed inputs, a changed model; another formula only where
 * nothing else reaches.
 *
 * In this order: rewards and advantages, masks, the model, sampler and ratio, KL, the token's loss,
 * aggregation, gradients and the step, the table, the dialects. */
#include "verify/mistakes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* value: of the row in the table */
#define MAYBE __attribute__((unused))
#define APPLY(name) \
    static bool name(Case *c MAYBE, Stage s MAYBE, Pool *p MAYBE, Err *e MAYBE, double value MAYBE)

/* ---- rewards -------------------------------------------------------------------------------- */
APPLY(missing_mean) { c->s.grpo.missing_labels = MISSING_MEAN; return true; }

static double *own_weights(Case *c, Pool *p, Err *e) {
    double *w = c->score ? pool_take(p, c->d->n_label, sizeof *w, e) : NULL;
    if (!w) return NULL;
    memcpy(w, c->weight, c->d->n_label * sizeof *w);
    c->weight = w;
    return w;
}

APPLY(first_label) {
    double *w = own_weights(c, p, e);
    for (size_t k = 1; w && k < c->d->n_label; k++) w[k] = 0;
    return w;
}

APPLY(weights_normalised) {
    double *w = own_weights(c, p, e), sum = 0;
    for (size_t k = 0; w && k < c->d->n_label; k++) sum += w[k];
    for (size_t k = 0; w && k < c->d->n_label; k++) w[k] /= sum;
    return w && sum != 0;
}

APPLY(weights_ignored) {
    double *w = own_weights(c, p, e);
    for (size_t k = 0; w && k < c->d->n_label; k++) w[k] = 1;
    return w;
}

/* ---- advantages ----------------------------------------------------------------------------- */
static bool sums_first(const Case *c) { return c->s.grpo.multi_objective_aggregation == SUM_THEN_NORMALIZE; }

/* E82 to E86 with the case's statistics: another divisor, epsilon, or set of rewards. */
static void other_statistics(real *adv, const Case *c) {
    const size_t n = c->d->n, group = (size_t)c->s.grpo.num_generations;
    const ScaleRewards scale = c->s.grpo.scale_rewards;
    const bool batch_std = c->statistics.batch_std || scale == SCALE_BATCH;
    for (size_t g = 0; g < n; g += group) {
        double mean, sd;
        const size_t scored = reward_moments(&mean, NULL, c->reward + g, group, 1, 1);
        if (c->statistics.batch_mean) reward_moments(&mean, NULL, c->reward, n, 1, 1);
        reward_moments(NULL, &sd, batch_std ? c->reward : c->reward + g, batch_std ? n : group, 1,
                       c->statistics.ddof);
        double divisor =
            c->statistics.eps_in_root ? sqrt(sd * sd + c->statistics.eps) : sd + c->statistics.eps;
        if (scale == SCALE_NONE && !c->statistics.batch_std) divisor = 1;
        const bool alone = c->statistics.single_scored && scored == 1 && scale == SCALE_GROUP;
        for (size_t i = g; i < g + group; i++) {
            double a = c->reward[i] - (c->statistics.no_mean || alone ? 0 : mean);
            a /= alone ? 1 + c->statistics.eps : divisor;
            adv[i] = isnan(a) ? 0 : (real)a;
        }
    }
}

/* E63 where NaN became 0 before the z-scores, or each completion counts as often as it has tokens (D7). */
static bool other_gdpo(real *adv, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, k = c->d->n_label;
    real *z = pool_take(p, n * k, sizeof *z, e);
    if (!z) return false;
    for (size_t j = 0; j < n * k; j++)
        z[j] = c->statistics.nan_to_zero && isnan(c->score[j]) ? 0 : c->score[j];
    reward_group_z(z, z, n, k, (size_t)c->s.grpo.num_generations, 1, c->statistics.label_eps);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        bool scored = false;
        for (size_t l = 0; l < k; l++) {
            scored = scored || !isnan(c->score[i * k + l]);
            if (!isnan(z[i * k + l])) sum += c->weight[l] * z[i * k + l];
        }
        adv[i] = scored ? (real)sum : (real)NAN;
    }
    if (!c->statistics.by_token) { reward_whiten(adv, n, c->s.grpo.std_eps); return true; }
    double count = 0, sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        count += case_row_count(c, i);
        if (!isnan(adv[i])) sum += case_row_count(c, i) * adv[i];
    }
    for (size_t i = 0; i < n; i++)
        if (!isnan(adv[i])) square += case_row_count(c, i) * (adv[i] - sum / count) * (adv[i] - sum / count);
    for (size_t i = 0; i < n; i++)
        adv[i] = isnan(adv[i]) ? 0 : (real)((adv[i] - sum / count) / sqrt(square / (count - 1) + 1e-8));
    return true;
}

static AdvantageFormula other_advantages;

/* Member j of group g stands at j n_group + g: put in our order, computed, put back. */
static bool interleaved_advantages(real *adv, const Case *from, Pool *p, Err *e) {
    Case c = *from;
    const size_t n = c.d->n, group = (size_t)c.s.grpo.num_generations, n_group = n / group, k = c.d->n_label;
    real *reward = pool_take(p, n, sizeof *reward, e), *score = pool_take(p, n * k, sizeof *score, e),
         *own = pool_take(p, n, sizeof *own, e);
    if (!reward || !score || !own) return false;
    for (size_t g = 0; g < n_group; g++)
        for (size_t j = 0; j < group; j++) {
            if (c.reward) reward[g * group + j] = c.reward[j * n_group + g];
            if (c.score)
                memcpy(score + (g * group + j) * k, c.score + (j * n_group + g) * k, k * sizeof *score);
        }
    if (c.reward) c.reward = reward;
    if (c.score) c.score = score;
    c.statistics.interleaved = false;
    if (!other_advantages(own, &c, p, e)) return false;
    for (size_t g = 0; g < n_group; g++)
        for (size_t j = 0; j < group; j++) adv[j * n_group + g] = own[g * group + j];
    return true;
}

static bool other_advantages(real *adv, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, group = (size_t)c->s.grpo.num_generations;
    if (c->statistics.interleaved) return interleaved_advantages(adv, c, p, e);
    switch (c->s.grpo.multi_objective_aggregation) {
    case SUM_THEN_NORMALIZE:
        if (c->statistics.rloo) variant_rloo_advantage(adv, c->reward, n, group, false, 0);
        else other_statistics(adv, c);
        return true;
    case NORMALIZE_THEN_SUM: return other_gdpo(adv, c, p, e);
    case MO_GRPO:
        reward_mo_grpo(adv, c->score, c->weight, n, c->d->n_label, group, c->statistics.ddof,
                       c->statistics.label_eps);
        return true;
    }
    return true;
}

static bool statistics(Case *c) {
    if (!c->advantage_formula) {
        c->advantage_formula = other_advantages;
        c->statistics.ddof = 1;
        c->statistics.eps = c->statistics.label_eps = c->s.grpo.std_eps;
    }
    return true;
}

static bool spread(Case *c) { return sums_first(c) && statistics(c); }
APPLY(other_eps) { return spread(c) && (c->statistics.eps = value, true); }
APPLY(population) {
    if (!spread(c)) return false;
    c->statistics.ddof = 0;
    return isnan(value) || other_eps(c, s, p, e, value);
}
APPLY(eps_in_root) { return spread(c) && (c->statistics.eps_in_root = true); }
APPLY(single_scored) { return spread(c) && (c->statistics.single_scored = true); }
APPLY(nan_to_zero) {
    return c->s.grpo.multi_objective_aggregation == NORMALIZE_THEN_SUM && statistics(c) &&
           (c->statistics.nan_to_zero = true);
}
APPLY(batch_mean) {
    return spread(c) && c->s.grpo.scale_rewards == SCALE_BATCH && (c->statistics.batch_mean = true);
}
APPLY(batch_statistics) {
    return spread(c) && c->s.grpo.scale_rewards == SCALE_GROUP &&
           (c->statistics.batch_mean = c->statistics.batch_std = true);
}
APPLY(no_baseline) { return spread(c) && (c->statistics.no_mean = true); }
APPLY(rloo) { return spread(c) && (c->statistics.rloo = true); }
APPLY(interleaved) { return statistics(c) && (c->statistics.interleaved = true); }
APPLY(nan_without_spread) { return c->statistics.nan_without_spread = true; }

APPLY(other_scale) {
    const ScaleRewards was = c->s.grpo.scale_rewards;
    c->s.grpo.scale_rewards = (ScaleRewards)value;
    return sums_first(c) && was != c->s.grpo.scale_rewards;
}

APPLY(other_aggregation) {
    const Aggregation was = c->s.grpo.multi_objective_aggregation;
    c->s.grpo.multi_objective_aggregation = (Aggregation)value;
    return was != c->s.grpo.multi_objective_aggregation && !stage_obstacle(c, STAGE_ADVANTAGES);
}
APPLY(mo_population) {
    if (c->s.grpo.multi_objective_aggregation != MO_GRPO) return false;
    statistics(c);
    c->statistics.ddof = 0;
    return true;
}
APPLY(mo_eps_0) {
    if (c->s.grpo.multi_objective_aggregation != MO_GRPO) return false;
    statistics(c);
    c->statistics.label_eps = 0;
    return true;
}
APPLY(token_whitening) {
    if (c->s.grpo.multi_objective_aggregation != NORMALIZE_THEN_SUM || !c->d->width) return false;
    statistics(c);
    c->statistics.label_eps = 1e-6;
    return c->statistics.by_token = true;
}

APPLY(kl_in_reward) {
    const size_t n = c->d->n, width = c->d->width;
    if (c->s.grpo.beta == 0) return false;
    /* all that is left of it in the loss */
    if (s != STAGE_ADVANTAGES && c->d->value[STAGE_ADVANTAGES]) { c->s.grpo.beta = 0; return true; }
    if (!sums_first(c) || !c->reward || !c->logp || !c->ref) return false;
    real *reward = pool_take(p, n, sizeof *reward, e);
    if (!reward) return false;
    for (size_t i = 0; i < n; i++) {
        double kl = 0;
        for (size_t j = i * width; j < (i + 1) * width; j++)
            if (c->mask[j]) kl += (double)(c->old ? c->old[j] : c->logp[j]) - c->ref[j];
        reward[i] = (real)(c->reward[i] - c->s.grpo.beta * kl);
    }
    c->reward = reward;
    if (s == STAGE_ADVANTAGES) return true;
    real *adv = pool_take(p, n, sizeof *adv, e);
    if (!adv || !stage_compute(adv, c, STAGE_ADVANTAGES, p, e)) return false;
    c->advantage = adv;
    c->s.grpo.beta = 0;
    return true;
}

/* ---- masks: the tensor itself, or the mask that the loss is formed with --------------------- */
static unsigned char *own_mask(Case *c, Stage s, Pool *p, Err *e) {
    const unsigned char **field = s == STAGE_MASK        ? &c->real_token
                                  : s == STAGE_LOSS_MASK ? &c->loss_token
                                                         : &c->mask;
    unsigned char *m = pool_take(p, c->d->n * c->d->width, 1, e);
    if (!m) return NULL;
    memcpy(m, *field, c->d->n * c->d->width);
    *field = m;
    return m;
}

APPLY(no_stop) {
    if (!c->d->id || !c->s.n_stop) return false;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t j = 0; m && j < c->d->n * c->d->width; j++)
        for (int k = 0; k < c->s.n_stop; k++) if (c->d->id[j] == c->s.stop[k]) m[j] = 0;
    return m;
}

APPLY(no_first) {
    const size_t width = c->d->width;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t i = 0; m && i < c->d->n; i++)
        for (size_t t = 0; t < width; t++)
            if (m[i * width + t]) { m[i * width + t] = 0; break; }
    return m;
}

/* Columns of a row's prompt, its last `most` real tokens. */
static bool with_prompt_tokens(Case *c, Stage s, size_t most, Pool *p, Err *e) {
    const size_t width = c->d->width;
    if (!c->d->whole_rows) return false;
    const unsigned char *token = c->real_token;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t i = 0; m && i < c->d->n; i++) {
        size_t start = 0, n = 0;
        while (start < width && !token[i * width + start]) start++;
        for (size_t t = start; t-- > 0 && n < most;)
            if (row_prompt_token(c->d, i, t)) m[i * width + t] = 1, n++;
    }
    return m;
}
APPLY(with_prompt_last) { return with_prompt_tokens(c, s, 1, p, e); }
APPLY(with_prompt) { return with_prompt_tokens(c, s, SIZE_MAX, p, e); }

APPLY(with_padding) {
    const size_t width = c->d->width;
    const unsigned char *token = c->real_token;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t i = 0; m && i < c->d->n; i++) {
        size_t t = 0;
        if (c->d->whole_rows) while (t < width && !token[i * width + t]) t++;
        for (; t < width; t++) m[i * width + t] = 1;
    }
    return m;
}

APPLY(pad_is_stop) {
    if (!c->d->id || c->s.pad < 0) return false;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t j = 0; m && j < c->d->n * c->d->width; j++) if (c->d->id[j] == c->s.pad) m[j] = 0;
    return m;
}

/* ---- the model ------------------------------------------------------------------------------ */
APPLY(no_temperature) { c->s.sampling.temperature = 1; return true; }
APPLY(temperature_twice) { c->s.sampling.temperature *= c->s.sampling.temperature; return true; }
APPLY(temperature_eps) { c->s.sampling.temperature += 1e-7; return true; }
APPLY(shifted) { return c->shift = true; }
APPLY(kept_only) {
    return (c->s.sampling.top_k > 0 || c->s.sampling.top_p < 1 || c->s.sampling.min_p > 0) &&
           (c->kept_only = true);
}
APPLY(round_logits) { c->round_logits = (int)value; return true; }
APPLY(round_logps) { c->round_logp = (int)value; return true; }
APPLY(head_zero) { return c->zero_logits = true; }
APPLY(padded_positions) { return c->pad_positions = true; }

/* Where the case keeps the model that stage s runs. */
static const Model **model_slot(Case *c, Stage s) {
    if (s == STAGE_REF) return &c->model.reference;
    return (s == STAGE_OLD || s == STAGE_SAMPLER) && c->model.old ? &c->model.old : &c->model.policy;
}

/* A copy of it under another configuration; weights of the same name and size are kept. NULL: no model, or no
 * memory. */
static Model *changed_model(Case *c, Stage s, const ModelConfig *config, Pool *p, Err *e) {
    const Model **slot = model_slot(c, s);
    Model *m = pool_model(p, config, e);
    if (!m) return NULL;
    model_copy(m, *slot);
    *slot = m;
    return m;
}

static bool other_config(Case *c, Stage s, ModelConfig config, Pool *p, Err *e) {
    Model *m = changed_model(c, s, &config, p, e);
    if (m) model_pack(m);
    return m;
}

#define HAS_MODEL \
    if (!*model_slot(c, s)) return false; \
    const ModelConfig config = (*model_slot(c, s))->config; \
    ModelConfig other = config; \
    (void)other

/* Pairs (2i, 2i+1) instead of (i, i+d/2): the same as our rotation on rows of q and k in another order. */
static void permute_heads(real *x, int n_head, int head_dim, size_t cols, bool back) {
    real *copy = malloc((size_t)head_dim * cols * sizeof *copy);
    for (int h = 0; copy && h < n_head; h++) {
        real *rows = x + (size_t)h * (size_t)head_dim * cols;
        memcpy(copy, rows, (size_t)head_dim * cols * sizeof *copy);
        for (int i = 0; i < head_dim; i++) {
            const int pair = i < head_dim / 2 ? 2 * i : 2 * (i - head_dim / 2) + 1;
            memcpy(rows + (size_t)(back ? pair : i) * cols, copy + (size_t)(back ? i : pair) * cols,
                   cols * sizeof *copy);
        }
    }
    free(copy);
}

/* Each of q, k and what stands beside them; base NULL: the parameters themselves, else an array laid out like
 * them. */
static void each_qk(const Model *m, real *base, bool keys,
                    void (*f)(real *x, int n_head, int head_dim, size_t cols, bool back), bool back) {
    const ModelConfig *g = &m->config;
    for (int l = 0; l < g->n_layer; l++)
        for (int k = 0; k < (keys ? 2 : 1); k++) {
            const int heads = k ? g->n_kv_head : g->n_head;
            const Param *const part[] = {m->layer[l][k ? P_K : P_Q], m->layer[l][k ? P_KB : P_QB],
                                         m->layer[l][k ? P_KN : P_QN]};
            for (int j = 0; j < 3; j++)
                if (part[j])
                    f(base ? base + part[j]->offset : part[j]->data, j == 2 ? 1 : heads, g->head_dim,
                      j == 0 ? (size_t)g->hidden : 1, back);
        }
}

static void interleaved_back(real *grad, const Model *m) { each_qk(m, grad, true, permute_heads, true); }

APPLY(interleaved_pairs) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    each_qk(m, NULL, true, permute_heads, false);
    model_pack(m);
    c->grad_back = interleaved_back;
    return true;
}

static void scale_head(real *x, int n_head, int head_dim, size_t cols, bool back) {
    (void)back;
    for (size_t j = 0; j < (size_t)n_head * (size_t)head_dim * cols; j++)
        x[j] *= (real)sqrt((double)head_dim);
}

/* With q-norm the weights before it do not matter: its own weight is scaled, and theirs with it do no harm.
 */
static void unscaled_back(real *grad, const Model *m) {
    const ModelConfig *g = &m->config;
    for (int l = 0; l < g->n_layer; l++) {
        const Param *const part[] = {g->qk_norm ? m->layer[l][P_QN] : m->layer[l][P_Q],
                                     g->qk_norm ? NULL : m->layer[l][P_QB]};
        for (int j = 0; j < 2; j++)
            for (size_t k = 0; part[j] && k < param_count(part[j]); k++)
                grad[part[j]->offset + k] *= (real)sqrt((double)g->head_dim);
    }
}

APPLY(unscaled_attention) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    if (config.qk_norm)
        for (int l = 0; l < config.n_layer; l++)
            scale_head(m->layer[l][P_QN]->data, 1, config.head_dim, 1, false);
    else each_qk(m, NULL, false, scale_head, false);
    model_pack(m);
    c->grad_back = unscaled_back;
    return true;
}

APPLY(no_qkv_bias) {
    HAS_MODEL;
    if (!config.qkv_bias) return false;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    for (int l = 0; l < config.n_layer; l++) {
        const Param *const part[] = {m->layer[l][P_QB], m->layer[l][P_KB], m->layer[l][P_VB]};
        for (int j = 0; j < 3; j++)
            if (part[j]) memset(part[j]->data, 0, param_count(part[j]) * sizeof(real));
    }
    model_pack(m);
    return true;
}

APPLY(no_qk_norm) {
    HAS_MODEL;
    other.qk_norm = false;
    return config.qk_norm && s != STAGE_GRAD && other_config(c, s, other, p, e);
}
APPLY(theta_10000) {
    HAS_MODEL;
    other.rope_theta = 10000;
    return config.rope_theta != 10000 && other_config(c, s, other, p, e);
}
APPLY(no_rope_scaling) {
    HAS_MODEL;
    other.rope = ROPE_PLAIN;
    return config.rope != ROPE_PLAIN && other_config(c, s, other, p, e);
}
APPLY(norm_eps) {
    HAS_MODEL;
    other.norm_eps = value;
    return config.norm_eps != value && other_config(c, s, other, p, e);
}

/* Weights, the last hidden row, logits and log-probabilities rounded: errors of the size that the type
 * causes, not its very bits. */
APPLY(throughout) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    for (int i = 0; i < m->n_param; i++)
        for (size_t j = 0; j < param_count(&m->param[i]); j++)
            ((real *)m->param[i].data)[j] = round_to(((real *)m->param[i].data)[j], (Precision)value);
    model_pack(m);
    c->round_hidden = c->round_logits = (int)value;
    return true;
}

/* The policy of param.NAME. */
APPLY(after_update) {
    HAS_MODEL;
    Model *m =
        c->d->tensor[STAGE_STEP] && c->model.policy ? pool_model(p, &c->model.policy->config, e) : NULL;
    if (!m) return false;
    for (int i = 0; i < m->n_param; i++) {
        char name[160];
        snprintf(name, sizeof name, "param.%s", m->param[i].name);
        const Tensor *t = safetensors_find(c->d->file, name);
        if (!t || t->count != param_count(&m->param[i])) return false;
        tensor_reals(m->param[i].data, t, 0, t->count);
    }
    model_pack(m);
    c->model.old = m;
    return true;
}

/* ---- sampler and ratio ---------------------------------------------------------------------- */
static real *own_tokens(const real **field, const Case *c, Pool *p, Err *e) {
    real *x = pool_take(p, c->d->n * c->d->width, sizeof *x, e);
    if (!x) return NULL;
    if (*field) memcpy(x, *field, c->d->n * c->d->width * sizeof *x);
    *field = x;
    return x;
}

APPLY(isr_mean) {
    if (variant_isr_per_token(c->s.grpo.importance_sampling_mode)) return false;
    const real *old = c->old ? c->old : c->logp;
    real *sampler = own_tokens(&c->sampler, c, p, e);
    for (size_t j = 0; sampler && j < c->d->n * c->d->width; j++) {
        const double n = case_row_count(c, j / c->d->width);
        sampler[j] = (real)(old[j] - ((double)old[j] - sampler[j]) / (n > 1 ? n : 1));
    }
    return sampler;
}

APPLY(isr_truncate_2) {
    GrpoConfig *g = &c->s.grpo;
    if (g->importance_sampling_mode == ISR_TOKEN_MASK) g->importance_sampling_mode = ISR_TOKEN_TRUNCATE;
    if (g->importance_sampling_mode == ISR_SEQUENCE_MASK) g->importance_sampling_mode = ISR_SEQUENCE_TRUNCATE;
    g->importance_sampling_clip_max = 2;
    return true;
}

APPLY(isr_none) { c->sampler = c->old ? c->old : c->logp; return true; }

/* log ratio of every token -> another, by moving old; slope: d of the other by logp, in units of the right
 * one. */
static bool other_ratio(Case *c, real **old, double **slope, Pool *p, Err *e) {
    const size_t all = c->d->n * c->d->width;
    if (!c->logp) return false;
    if (!c->old) c->old = c->logp;
    if (!(*old = own_tokens(&c->old, c, p, e)) || !(*slope = pool_take(p, all, sizeof **slope, e)))
        return false;
    for (size_t j = 0; j < all; j++) (*slope)[j] = c->ratio_slope ? c->ratio_slope[j] : 1;
    c->ratio_slope = *slope;
    return true;
}

static double mean_log_ratio(const Case *c, size_t i) {
    double sum = 0;
    const double n = case_row_count(c, i);
    for (size_t j = i * c->d->width; j < (i + 1) * c->d->width; j++)
        if (c->mask[j]) sum += (double)c->logp[j] - c->old[j];
    return sum / (n > 1 ? n : 1);
}

static bool per_completion(const Case *c) { return c->s.grpo.importance_sampling_level != LEVEL_TOKEN; }

APPLY(ratio_sum) {
    real *old;
    double *slope;
    if (!per_completion(c) || !other_ratio(c, &old, &slope, p, e)) return false;
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        const double n = case_row_count(c, j / c->d->width);
        old[j] = (real)(c->logp[j] - ((double)c->logp[j] - old[j]) * (n > 1 ? n : 1));
        slope[j] *= c->s.grpo.importance_sampling_level == LEVEL_SEQUENCE && n > 1 ? n : 1;
    }
    return true;
}

APPLY(ratio_clamp_10) {
    real *old;
    double *slope;
    if (!per_completion(c) || !other_ratio(c, &old, &slope, p, e)) return false;
    for (size_t i = 0; i < c->d->n; i++) {
        const double mean = mean_log_ratio(c, i);
        for (size_t j = i * c->d->width; mean > 10 && j < (i + 1) * c->d->width; j++) {
            old[j] = (real)(c->logp[j] - ((double)c->logp[j] - old[j]) * 10 / mean);
            slope[j] = 0;
        }
    }
    return true;
}

APPLY(clamp_20) {
    real *old;
    double *slope;
    if (!other_ratio(c, &old, &slope, p, e)) return false;
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        const double lr = (double)c->logp[j] - old[j];
        if (!(fabs(lr) > 20)) continue;
        old[j] = (real)(c->logp[j] - (lr > 0 ? 20 : -20));
        slope[j] = 0;
    }
    return true;
}

APPLY(inverted) {
    real *old;
    double *slope;
    if (!other_ratio(c, &old, &slope, p, e)) return false;
    for (size_t j = 0; j < c->d->n * c->d->width; j++)
        old[j] = (real)(2 * (double)c->logp[j] - old[j]), slope[j] = -slope[j];
    return true;
}

APPLY(other_level) {
    const ImportanceLevel was = c->s.grpo.importance_sampling_level;
    c->s.grpo.importance_sampling_level = (ImportanceLevel)value;
    return was != c->s.grpo.importance_sampling_level;
}

/* E81: rounding noise where the very numbers ought to stand; verdict by size (diagnose.c). */
APPLY(recomputed_old) { return false; }

/* ---- KL ------------------------------------------------------------------------------------- */
static void k1(double *k, double *dk, double logp, double ref) { *k = logp - ref, *dk = 1; }
static void k2(double *k, double *dk, double logp, double ref) {
    *k = (ref - logp) * (ref - logp) / 2, *dk = logp - ref;
}
static void k3_swapped(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(logp - ref), *dk = d_expm1(logp - ref);
}
static void k3_clamped(double *k, double *dk, double logp, double ref) {
    const double d = ref - logp, cut = d > 20 ? 20 : d < -20 ? -20 : d, k3 = grpo_k3(cut);
    *k = k3 > 10 ? 10 : k3;
    *dk = k3 > 10 || cut != d ? 0 : -d_expm1(d);
}
static void k3_plus(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(ref - logp), *dk = logp - ref;
}
static void k3_naive(double *k, double *dk, double logp, double ref) {
    const float d = (float)ref - (float)logp, e = (float)d_exp(d), less = e - d;
    *k = (float)(less - 1);
    *dk = -d_expm1(ref - logp);
}

enum { K1, K2, K3_SWAPPED, K3_CLAMPED, K3_PLUS, K3_NAIVE };
APPLY(other_kl) {
    static KlFormula *const formula[] = {k1, k2, k3_swapped, k3_clamped, k3_plus, k3_naive};
    if (!c->ref || (c->s.grpo.beta == 0 && s != STAGE_KL) || c->s.grpo.loss_type == LOSS_GMPO) return false;
    c->kl_formula = formula[(int)value];
    return true;
}
APPLY(bias_correction) {
    const bool was = c->s.grpo.use_bias_correction_kl;
    c->s.grpo.use_bias_correction_kl = value != 0;
    return was != c->s.grpo.use_bias_correction_kl;
}

/* ---- the token's loss ----------------------------------------------------------------------- */
static bool may_clip(const Case *c) {
    const LossType t = c->s.grpo.loss_type;
    return t == LOSS_GRPO || t == LOSS_BNPO || t == LOSS_DR_GRPO || t == LOSS_DAPO || t == LOSS_LUSPO;
}

/* cispo's constant weight stands where the sampler's correction does: in front of the policy term, without a
 * gradient. */
APPLY(cispo_paper) {
    const size_t n = c->d->n, width = c->d->width;
    const double low = 1 - c->s.grpo.epsilon, ceiling = grpo_epsilon_high(&c->s.grpo), high = 1 + ceiling;
    if (c->s.grpo.loss_type != LOSS_CISPO || !c->logp) return false;
    const bool own = c->ratio && s != STAGE_DLOGP && s != STAGE_GRAD,
               per_row = own ? c->ratio_per_row : stage_per_row(c, STAGE_RATIO);
    real *ratio = pool_take(p, n * width, sizeof *ratio, e), *isr = pool_take(p, n * width, sizeof *isr, e);
    if (!ratio || !isr || (!own && !stage_compute(ratio, c, STAGE_RATIO, p, e))) return false;
    for (size_t j = 0; j < n * width; j++) {
        const double rho = (own ? c->ratio : ratio)[per_row ? j / width : j],
                     ours = rho < ceiling ? rho : ceiling,
                     theirs = rho < low    ? low
                              : rho > high ? high
                                           : rho;
        const double already = c->isr && c->s.grpo.importance_sampling_correction
                                   ? (double)c->isr[c->isr_per_row ? j / width : j]
                                   : 1;
        isr[j] = (real)(already * (theirs / ours));
    }
    c->isr = isr;
    c->isr_per_row = false;
    c->s.grpo.importance_sampling_correction = true;
    return true;
}

APPLY(clip_swapped) {
    const double low = c->s.grpo.epsilon;
    c->s.grpo.epsilon = grpo_epsilon_high(&c->s.grpo);
    c->s.grpo.epsilon_high = low;
    return may_clip(c) || c->s.grpo.loss_type == LOSS_CISPO || c->s.grpo.loss_type == LOSS_GMPO;
}
APPLY(clip_low_as_high) {
    c->s.grpo.epsilon_high = NAN;
    return may_clip(c) || c->s.grpo.loss_type == LOSS_CISPO || c->s.grpo.loss_type == LOSS_GMPO;
}
APPLY(dual_clip_3) {
    if (!may_clip(c) || !isnan(c->s.grpo.delta) || !isnan(c->s.grpo.dual_clip)) return false;
    /* for A < 0 the same as E107 with c = 3, for A > 0 the band is narrower */
    c->s.grpo.delta = 3;
    return true;
}
APPLY(delta_missing) { if (isnan(c->s.grpo.delta)) return false; c->s.grpo.delta = NAN; return true; }
APPLY(kl_sign) {
    c->s.grpo.beta = -c->s.grpo.beta;
    return c->s.grpo.beta != 0;
}
APPLY(kl_missing) { const bool was = c->s.grpo.beta != 0; c->s.grpo.beta = 0; return was; }
APPLY(loss_sign) { c->policy_sign = c->policy_sign != 0 ? -c->policy_sign : -1; return true; }

/* ---- aggregation ---------------------------------------------------------------------------- */
/* Every aggregation is a weight per completion, c_i of E112. */
typedef struct { double *w, n, n_micro, ga, n_item, window_ga; } Weights;

static bool other_weights(Weights *x, Case *c, Pool *p, Err *e) {
    const GrpoWindow w = case_window(c);
    double *own = case_row_weights(c, p, e);
    *x = (Weights){.w = own, .n = (double)c->d->n, .ga = w.training ? w.gradient_accumulation_steps : 1,
                   .n_item = (w.n_item > 1 ? w.n_item : 1) / w.n_process};
    for (size_t i = 0; i < c->d->n; i++) x->n_micro += case_row_count(c, i);
    c->row_weight = own;
    return own;
}
static double least_1(double x) { return x > 1 ? x : 1; }
#define WEIGHTS(name, value) \
    APPLY(name) { \
        Weights x; \
        if (!other_weights(&x, c, p, e)) return false; \
        for (size_t i = 0; i < c->d->n; i++) { \
            const double n_i = least_1(case_row_count(c, i)); \
            (void)n_i; \
            x.w[i] = (value); \
        } \
        return true; \
    }
static bool by_window(const Case *c) {
    return c->s.grpo.loss_type == LOSS_DAPO || c->s.grpo.loss_type == LOSS_CISPO ||
           c->s.grpo.loss_type == LOSS_VESPO;
}
WEIGHTS(sequence_mean, 1 / (x.n * n_i * x.ga))
WEIGHTS(token_mean, 1 / (least_1(x.n_micro) * x.ga))
WEIGHTS(global_token_mean, 1 / x.n_item)
WEIGHTS(dr_grpo_sum, 1 / (x.n * x.ga))
WEIGHTS(fixed_length, 1 / (x.n * c->s.grpo.max_completion_length * x.ga))
WEIGHTS(ga_missing, x.w[i] * x.ga)
APPLY(window_without_ga) { return by_window(c) && global_token_mean(c, s, p, e, 0); }
APPLY(window_by_micro) { return by_window(c) && token_mean(c, s, p, e, 0); }

APPLY(group_token_mean) {
    Weights x;
    const size_t group = (size_t)c->s.grpo.num_generations;
    if (c->d->n % group || !other_weights(&x, c, p, e)) return false;
    for (size_t g = 0; g < c->d->n; g += group) {
        double n = 0;
        for (size_t i = g; i < g + group; i++) n += case_row_count(c, i);
        for (size_t i = g; i < g + group; i++) x.w[i] = 1 / (least_1(n) * (x.n / (double)group) * x.ga);
    }
    return true;
}

APPLY(nonempty) {
    Weights x;
    double there = 0;
    if (!other_weights(&x, c, p, e)) return false;
    for (size_t i = 0; i < c->d->n; i++) there += case_row_count(c, i) > 0;
    for (size_t i = 0; i < c->d->n; i++) x.w[i] = 1 / (least_1(there) * least_1(case_row_count(c, i)) * x.ga);
    return true;
}

/* Mean over B x T of n_i l_it, padding included. */
APPLY(luspo_110) {
    Weights x;
    if (c->s.grpo.loss_type != LOSS_LUSPO || (!c->token_loss && per_completion(c)) ||
        !other_weights(&x, c, p, e))
        return false;
    for (size_t i = 0; i < c->d->n; i++) x.w[i] = case_row_count(c, i) / (x.n * (double)c->d->width * x.ga);
    return with_padding(c, s, p, e, 0);
}

APPLY(dropped) {
    const size_t group = (size_t)c->s.grpo.num_generations, width = c->d->width;
    if (!c->reward || c->d->n % group || c->row_weight) return false;
    unsigned char *m = own_mask(c, s, p, e);
    double live = 0;
    if (!m) return false;
    for (size_t g = 0; g < c->d->n; g += group) {
        double sd;
        reward_moments(NULL, &sd, c->reward + g, group, 1, 1);
        if (sd == 0) memset(m + g * width, 0, group * width);
        else live += (double)group;
    }
    GrpoMicro micro = case_micro(c, p, e);
    const GrpoWindow window = case_window(c);
    double *w = pool_take(p, c->d->n, sizeof *w, e);
    if (!w || live == 0) return false;
    micro.n_completion = (size_t)live;
    for (size_t i = 0; i < c->d->n; i++)
        w[i] = grpo_token_weight(&c->s.grpo, &window, &micro, case_row_count(c, i));
    c->row_weight = w;
    return true;
}

APPLY(kept_denominator) {
    if (!(c->s.grpo.top_entropy_quantile < 1) || !c->entropy || c->row_weight) return false;
    GrpoMicro micro = case_micro(c, p, e);
    GrpoWindow window = case_window(c);
    double *w = pool_take(p, c->d->n, sizeof *w, e);
    if (!w) return false;
    micro.n_token = micro.n_entropy_token;
    if (isnan(c->s.window.n_item)) window.n_item = micro.n_entropy_token;
    for (size_t i = 0; i < c->d->n; i++) {
        double n = 0;
        for (size_t j = i * c->d->width; j < (i + 1) * c->d->width; j++)
            n += c->mask[j] && c->entropy[j] >= micro.entropy_threshold;
        w[i] = grpo_token_weight(&c->s.grpo, &window, &micro, n);
    }
    c->row_weight = w;
    return true;
}

APPLY(bonus_by_n) {
    if (c->s.window.entropy_coef == 0 || !c->entropy) return false;
    const GrpoMicro micro = case_micro(c, p, e);
    const GrpoWindow w = case_window(c);
    c->s.window.entropy_coef *= least_1(micro.n_entropy_token) / (least_1(w.n_item) / w.n_process);
    return true;
}

/* ---- gradients and the step ----------------------------------------------------------------- */
static bool tied(const Case *c) { return c->model.policy && c->model.policy->head == c->model.policy->embed; }
APPLY(untied_head) { return tied(c) && (c->drop_head_grad = true); }
APPLY(untied_embedding) { return tied(c) && (c->drop_embed_grad = true); }
APPLY(adam_l2) { return c->s.adamw.weight_decay != 0 && (c->adam_l2 = true); }
APPLY(adam_eps_inside) { c->adam_eps_factor = 1; return true; }
APPLY(adam_decay_all) { return c->s.adamw.weight_decay != 0 && (c->adam_decay_all = true); }
APPLY(adam_no_clip) { const bool was = c->s.max_grad_norm > 0; c->s.max_grad_norm = 0; return was; }
APPLY(clip_eps_0) { c->clip_max_factor = 1; return c->s.max_grad_norm > 0; }
APPLY(adam_no_correction) { c->s.step = (int64_t)1 << 40; return true; }

/* ---- the table ------------------------------------------------------------------------------ */
#define BIT(s) (1u << STAGE_##s)
enum {
    REWARDS = BIT(REWARDS),
    ADVANTAGES = BIT(ADVANTAGES),
    SCORES = BIT(REWARDS) | BIT(ADVANTAGES),
    MASKS = BIT(MASK) | BIT(LOSS_MASK) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    VALUES = BIT(LOGPS) | BIT(OLD) | BIT(REF) | BIT(SAMPLER),
    HEAT = VALUES | BIT(ENTROPIES) | BIT(GRAD),
    ROWS = HEAT | BIT(LOGITS),
    ISR = BIT(ISR),
    RATIO = BIT(RATIO) | BIT(KL) | BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    KL = BIT(KL) | BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    TOKEN = BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    SUMS = BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    SLOPE = BIT(DLOGP) | BIT(GRAD),
    STEP = BIT(STEP)
};

/* M: a mistake; V: one with a value; S: one that is known by the size of its errors */
#define M(...) {__VA_ARGS__, 0, false}
#define V(...) {__VA_ARGS__, false}
#define S(...) {__VA_ARGS__, true}
/* why several do not show */
#define SMALL_EPS "the deviation is large against 1e-4 in this precision, or not used"
#define EQUAL_LENGTHS "equal lengths hide the normalisation, or that is declared"
#define NO_KL "beta is 0, or there is no reference"
#define TOO_COARSE "the dump's own precision hides it"
#define MODELS_EPS "that is the model's, or below this precision"
#define ONE_RATIO "that is declared, or all ratios are 1"
const Mistake mistakes[] = {
    M("D3-missing-mean", REWARDS, "E61", "a missing score is replaced by the group's mean of that label "
      "instead of counting 0", "no score is missing", missing_mean),
    M("D4-first-label", SCORES, "E60", "only label 0 is used, as TRL reads logits[:, 0] of a reward network",
      "there is no rewards_per_func, one label only, or the sum is not used", first_label),
    M("weights-normalised", SCORES, "E60", "the label weights are divided by their sum",
      "there is no rewards_per_func, the weights sum to 1, or normalising hides it", weights_normalised),
    M("weights-ignored", SCORES, "E60", "all label weights are 1", "there is no rewards_per_func, or the "
      "weights are 1", weights_ignored),

    V("D1-population", ADVANTAGES, "E83", "the deviation divides by n instead of n - 1 (NumPy's default)",
      "rewards are not divided by a group's deviation", population, NAN),
    V("D1-eps-0", ADVANTAGES, "E84", "no epsilon beside the deviation (the papers)", SMALL_EPS, other_eps, 0),
    V("D1-eps-1e-6", ADVANTAGES, "E84", "epsilon 1e-6 instead of 1e-4 (verl)", SMALL_EPS, other_eps, 1e-6),
    V("D1-eps-1e-8", ADVANTAGES, "E84", "epsilon 1e-8 instead of 1e-4", SMALL_EPS, other_eps, 1e-8),
    V("D1-eps-1e-9", ADVANTAGES, "E84", "epsilon 1e-9 instead of 1e-4 (OpenRLHF)", SMALL_EPS, other_eps,
      1e-9),
    V("D1-population-1e-8", ADVANTAGES, "E83", "the deviation divides by n, and epsilon is 1e-8",
      "rewards are not divided by a group's deviation", population, 1e-8),
    M("D1-eps-in-root", ADVANTAGES, "E84", "epsilon stands inside the root: sqrt(var + 1e-4)",
      "rewards are not divided by a deviation", eps_in_root),
    M("D2-single-scored", ADVANTAGES, "E87", "the only scored member of a group keeps its score as advantage "
      "(verl: mean 0, deviation 1)", "no group has a single scored member", single_scored),
    M("D3-nan-to-zero", ADVANTAGES, "E62", "missing scores become 0 before the labels are normalised "
      "(NVIDIA's program)", "no score is missing, or labels are not normalised", nan_to_zero),
    M("D5-batch-mean", ADVANTAGES, "E85", "scale_rewards batch takes the mean from the batch too",
      "scale_rewards is not batch", batch_mean),
    M("batch-statistics", ADVANTAGES, "E82", "mean and deviation of the whole batch instead of the group's",
      "one group only, or labels are normalised apart", batch_statistics),
    V("scale-none", ADVANTAGES, "E86", "not divided by any deviation",
      "scale_rewards is none, or without effect", other_scale, SCALE_NONE),
    V("scale-batch", ADVANTAGES, "E85", "divided by the batch's deviation",
      "scale_rewards is batch, or without effect", other_scale, SCALE_BATCH),
    V("scale-group", ADVANTAGES, "E84", "divided by the group's deviation",
      "scale_rewards is group, or without effect", other_scale, SCALE_GROUP),
    M("no-baseline", ADVANTAGES, "E84", "the group's mean is not subtracted",
      "means are 0, or labels are normalised apart", no_baseline),
    M("rloo", ADVANTAGES, "E89", "leave-one-out baseline, no division", "labels are normalised apart", rloo),
    M("groups-interleaved", ADVANTAGES, "E82", "member j of group g is looked for at j * n_group + g: groups "
      "interleaved instead of side by side", "one group only", interleaved),
    V("aggregation-sum", ADVANTAGES, "E60", "labels are summed, then normalised",
      "that is declared, or there are no rewards", other_aggregation, SUM_THEN_NORMALIZE),
    V("aggregation-gdpo", ADVANTAGES, "E63", "each label is normalised, the sum whitened over the batch "
      "(normalize_then_sum)", "that is declared, or there is no rewards_per_func", other_aggregation,
      NORMALIZE_THEN_SUM),
    V("aggregation-mo", ADVANTAGES, "E64", "z-scores of the labels are summed without whitening (mo_grpo)",
      "that is declared, or there is no rewards_per_func", other_aggregation, MO_GRPO),
    M("D6-population", ADVANTAGES, "E64", "mo_grpo with the population deviation",
      "the aggregation is not mo_grpo", mo_population),
    M("D6-eps-0", ADVANTAGES, "E64", "mo_grpo without epsilon", "the aggregation is not mo_grpo, or "
      "deviations are large against 1e-4", mo_eps_0),
    M("D7-token-whitening", ADVANTAGES, "E63", "the sum is whitened over tokens, not completions (verl)",
      "the aggregation is not normalize_then_sum, or lengths are unknown", token_whitening),
    M("D38-nan", ADVANTAGES, "E84", "a group without spread gives 0/0 = NaN instead of 0",
      "every group has spread", nan_without_spread),
    M("D15-in-reward", ADVANTAGES | TOKEN, "E125", "beta times the summed k1 is taken off the reward, as in "
      "PPO and RLOO, instead of a term of the loss", "beta is 0, or there are no reference log-probabilities",
      kl_in_reward),

    M("D9-no-stop", MASKS, "E22", "the stop token is left out of the mask",
      "no completion ends with a stop token", no_stop),
    M("D9-no-first", MASKS, "E22", "the first token of every completion is left out of the mask",
      "there are no masks", no_first),
    M("D9-with-prompt", MASKS, "E22", "the prompt's last token counts as well", "prompt and completion are "
      "apart in this dump", with_prompt_last),
    M("mask-with-prompt", MASKS, "E22", "the prompt's tokens count as well", "prompt and completion are "
      "apart in this dump", with_prompt),
    M("mask-with-padding", MASKS, "E22", "padding counts as well",
      "no completion is shorter than the longest", with_padding),
    M("D9-pad-is-eos", MASKS, "E22", "every token equal to pad_token_id is masked away, the stop token too",
      "pad and stop token differ", pad_is_stop),

    M("D8-no-temperature", HEAT, "E23", "logits are not divided by the temperature", "the temperature is 1",
      no_temperature),
    M("temperature-twice", HEAT, "E23", "logits are divided by the temperature twice", "the temperature is 1",
      temperature_twice),
    M("D8-temperature-eps", HEAT, "E23", "logits are divided by the temperature + 1e-7 (TRL's PPO)",
      "that is below this precision", temperature_eps),
    M("D10-shift", ROWS, "E22", "the row of the token itself instead of the one before it", "", shifted),
    M("D11-positions", ROWS, "E30", "positions count the padding", "no prompt is padded on its right, and "
      "rotary positions are relative", padded_positions),
    M("D13-interleaved", ROWS, "E10", "rotary pairs are (2i, 2i+1) instead of (i, i + d/2)", "",
      interleaved_pairs),
    M("D13-theta-10000", ROWS, "E9", "rotary base 10000 whatever rope_theta says", "rope_theta is 10000",
      theta_10000),
    M("D13-no-scaling", ROWS, "E12", "rope_scaling is ignored", "the model has none", no_rope_scaling),
    M("D14-head-zero", ROWS & ~BIT(GRAD), "E4", "the head's weights are 0: a tied lm_head that was not in "
      "the file", "", head_zero),
    M("qkv-bias-missing", ROWS, "E13", "the biases of q, k and v are left out", "the model has none",
      no_qkv_bias),
    M("qk-norm-missing", ROWS & ~BIT(GRAD), "E13", "q_norm and k_norm are left out", "the model has none",
      no_qk_norm),
    V("norm-eps-1e-5", ROWS, "E7", "rms_norm_eps 1e-5", MODELS_EPS, norm_eps, 1e-5),
    V("norm-eps-1e-6", ROWS, "E7", "rms_norm_eps 1e-6", MODELS_EPS, norm_eps, 1e-6),
    V("norm-eps-1e-8", ROWS, "E7", "rms_norm_eps 1e-8", MODELS_EPS, norm_eps, 1e-8),
    M("attention-scale-missing", ROWS, "E14", "q.k is not divided by sqrt(d)", "", unscaled_attention),
    M("D27-kept-only", VALUES & ~BIT(SAMPLER), "E29", "log-probabilities over what top_k, top_p and min_p "
      "kept, instead of all of the vocabulary", "no filter is on, or it drops nothing", kept_only),
    V("D28-logits-bf16", VALUES | BIT(LOGITS) | BIT(ENTROPIES), "E4", "logits are rounded to bfloat16",
      TOO_COARSE, round_logits, PRECISION_BF16),
    V("D28-logits-fp16", VALUES | BIT(LOGITS) | BIT(ENTROPIES), "E4", "logits are rounded to float16",
      TOO_COARSE, round_logits, PRECISION_F16),
    V("logps-bf16", VALUES, "E23", "log-probabilities are rounded to bfloat16", TOO_COARSE, round_logps,
      PRECISION_BF16),
    V("logps-fp16", VALUES, "E23", "log-probabilities are rounded to float16", TOO_COARSE, round_logps,
      PRECISION_F16),
    S("throughout-bf16", ROWS & ~(BIT(GRAD) | BIT(OLD)), "E4", "the model ran in bfloat16: errors have the "
      "size that rounding weights, hidden rows and logits to it causes", TOO_COARSE, throughout,
      PRECISION_BF16),
    S("throughout-fp16", ROWS & ~(BIT(GRAD) | BIT(OLD)), "E4", "the model ran in float16: errors have the "
      "size that rounding weights, hidden rows and logits to it causes", TOO_COARSE, throughout,
      PRECISION_F16),
    M("old-after-update", BIT(OLD), "E81", "old log-probabilities are those of the updated policy",
      "the dump has no param.NAME", after_update),
    S(RECOMPUTED_OLD, BIT(OLD), "E81", "old log-probabilities were computed again: rounding noise makes the "
      "ratio differ from 1 on policy", "old is not the policy's own", recomputed_old, 0),

    M("D24-token-mean", ISR, "E110", "the sequence's correction is a mean over tokens instead of a sum",
      "the mode is per token, or sampler and trainer agree", isr_mean),
    M("D24-truncate-2", ISR, "E110", "truncated at 2", "nothing exceeds 2", isr_truncate_2),
    M("D24-none", ISR, "E110", "no correction for the sampler: all 1", "sampler and trainer agree", isr_none),

    M("D19-sum", RATIO, "E92", "the sequence's ratio is exp(sum) instead of exp(mean)",
      "the level is token, or all ratios are 1", ratio_sum),
    M("D19-clamp-10", RATIO, "E93", "the sequence's log ratio is cut at 10 (verl)",
      "no log ratio exceeds 10, or the level is token", ratio_clamp_10),
    M("lr-clamp-20", RATIO, "E304", "log ratios are cut to +-20 (verl, OpenRLHF)", "no log ratio exceeds 20",
      clamp_20),
    M("ratio-inverted", RATIO, "E91", "old over new", "all ratios are 1", inverted),
    V("level-token", RATIO, "E91", "a ratio per token", ONE_RATIO, other_level, LEVEL_TOKEN),
    V("level-sequence", RATIO, "E92", "a ratio per completion", ONE_RATIO, other_level, LEVEL_SEQUENCE),
    V("level-sequence-token", RATIO, "E93", "the completion's ratio with the token's gradient", ONE_RATIO,
      other_level, LEVEL_SEQUENCE_TOKEN),

    V("D15-k1", KL, "E94", "k1 = -D instead of k3", NO_KL, other_kl, K1),
    V("D15-k2", KL, "E94", "k2 = D^2/2 instead of k3", NO_KL, other_kl, K2),
    V("D15-swapped", KL, "E94", "reference and policy are swapped in k3", NO_KL, other_kl, K3_SWAPPED),
    V("D15-clamp", KL, "E94", "D is cut to +-20 and k3 to +-10 (verl)", "no k3 exceeds 10", other_kl,
      K3_CLAMPED),
    V("D15-no-bias-correction", KL, "E96", "k3 is not multiplied by the ratio (TRL before 1.16)",
      "beta is 0, off by configuration, or all ratios are 1 and no gradient is there", bias_correction,
      false),
    V("D15-bias-correction", KL, "E96", "k3 is multiplied by the ratio although switched off",
      "beta is 0, on by configuration, or all ratios are 1 and no gradient is there", bias_correction, true),
    V("D15-naive-k3", BIT(KL), "E302", "exp(D) - D - 1 in float32: near the reference it is noise",
      "D is large, or there is no reference", other_kl, K3_NAIVE),
    V("D15-k3-plus", SLOPE, "E95", "value of k3, gradient of k2", "beta is 0, or no derivative is there",
      other_kl, K3_PLUS),

    M("D18-paper", TOKEN, "E102", "cispo's weight is clip(ratio, 1 - eps_l, 1 + eps_h), as in the paper, "
      "instead of min(ratio, eps_h)", "the loss is not cispo", cispo_paper),
    M("clip-swapped", TOKEN, "E99", "epsilon and epsilon_high are swapped",
      "they are equal, or nothing is clipped", clip_swapped),
    M("clip-low-as-high", TOKEN, "E99", "epsilon_high is ignored: epsilon on both sides",
      "they are equal, or nothing is clipped above", clip_low_as_high),
    M("dual-clip-3", TOKEN, "E107", "dual clip with c = 3 although none is declared (verl)",
      "no ratio exceeds 3 where the advantage is negative", dual_clip_3),
    M("delta-missing", TOKEN, "E101", "the declared delta is not applied", "no delta is declared, or no "
      "ratio exceeds it", delta_missing),
    M("kl-sign", TOKEN, "E111", "beta times KL is subtracted", "beta is 0", kl_sign),
    M("kl-missing", TOKEN, "E111", "the KL term is left out", "beta is 0", kl_missing),
    M("loss-sign", TOKEN, "E99", "the policy term has the wrong sign: rewards are minimised",
      "all advantages are 0", loss_sign),

    M("D16-sequence-mean", SUMS, "E112", "mean over a completion's tokens, then over completions (grpo's)",
      EQUAL_LENGTHS, sequence_mean),
    M("D16-token-mean", SUMS, "E112", "sum over the micro-batch's tokens, divided by their number (bnpo's)",
      EQUAL_LENGTHS, token_mean),
    M("D16-group-token-mean", SUMS, "E112", "token mean within each group, then the mean of the groups (the "
      "DAPO paper)", "equal lengths hide the normalisation", group_token_mean),
    M("D16-dr-grpo-sum", SUMS, "E112", "sum over tokens, divided by completions only (Dr. GRPO without its "
      "constant)", "the loss is 0", dr_grpo_sum),
    M("D16-nonempty", SUMS, "E112", "mean over completions that have tokens only (verl, OpenRLHF)",
      "no completion is empty", nonempty),
    M("D16-global-token-mean", SUMS, "E112", "sum divided by all tokens of the generation batch (dapo's, "
      "without GA/S)", EQUAL_LENGTHS, global_token_mean),
    M("D16-fixed-length", SUMS, "E112", "divided by completions times max_completion_length (dr_grpo's)",
      "that is declared", fixed_length),
    M("D36-no-ga", SUMS, "E112", "dapo, cispo, vespo without the factor GA/S (TRL 1.10)",
      "the loss has no such factor, or gradient_accumulation_steps equals steps_per_generation",
      window_without_ga),
    M("D37-micro-mean", SUMS, "E112", "the micro-batch's token mean over GA instead of the window's tokens",
      "the loss has no window, or it is one micro-batch", window_by_micro),
    M("ga-missing", SUMS, "E112", "not divided by gradient_accumulation_steps",
      "gradient_accumulation_steps is 1", ga_missing),
    M("luspo-110", SUMS, "E105", "luspo's mean over B x T, padding included (TRL 1.10)",
      "the loss is not luspo", luspo_110),
    M("D38-dropped", SUMS, "E112", "completions of groups without spread leave the loss and its denominators",
      "every group has spread, or there are no rewards", dropped),
    M("D25-kept-denominator", SUMS, "E109", "with the entropy mask, denominators count the kept tokens only",
      "top_entropy_quantile is 1", kept_denominator),
    M("D26-n-item", SUMS, "E115", "the entropy bonus is divided by the tokens of the generation batch (TRL "
      "1.10)", "there is no entropy bonus, or that number is the micro-batch's own", bonus_by_n),

    M("D14-untied-head", BIT(GRAD), "E20", "the tied head is a copy of its own: its part of the embedding's "
      "gradient is missing", "the head is not tied, or its gradient not there", untied_head),
    M("D14-untied-embedding", BIT(GRAD), "E20", "the embedding's own part of the tied gradient is missing",
      "the head is not tied, or its gradient not there", untied_embedding),
    M("D29-l2", STEP, "E280", "weight decay is added to the gradient (L2) instead of being decoupled",
      "weight_decay is 0", adam_l2),
    M("D29-eps-inside", STEP, "E282", "epsilon is added before the bias correction",
      "gradients are large against epsilon", adam_eps_inside),
    M("D29-decay-all", STEP, "E283", "weight decay on norms and biases too", "weight_decay is 0",
      adam_decay_all),
    M("D29-no-clip", STEP, "E284", "the gradient's norm is not clipped", "the norm is below max_grad_norm, "
      "or AdamW's first step hides its length", adam_no_clip),
    M("clip-norm-eps-0", STEP, "E284", "clipped by max_norm/n without + 1e-6", "nothing is clipped, or that "
      "is below this precision", clip_eps_0),
    M("D29-no-bias-correction", STEP, "E282", "AdamW without bias correction", "the step's number is large",
      adam_no_correction),
};
const int n_mistake = sizeof mistakes / sizeof *mistakes;
bool mistake_apply(const Mistake *m, Case *c, Stage s, Pool *p, Err *e) {
    return m->apply(c, s, p, e, m->value);
}

const Absent absent_mistakes[] =
    {{"D12-pooling", "the reward is read at another token (pad = eos, left padding)",
      "scores come into a dump as numbers; compare them with grpo score"},
     {"D20-score-place", "PPO: the score stands one token late",
      "belongs to PPO, which has values per token"},
     {"D21-whitening", "PPO: other masks and whitening", "belongs to PPO"},
     {"D22-ipo", "IPO: per-token means or sums", "belongs to DPO and its kin"},
     {"D23-dpo-options", "DPO: label smoothing, shifts, scores", "belongs to DPO and its kin"},
     {"D31-saw-scale", "SAW: its factor and shifts", "weights come into a dump as numbers"},
     {"D32-bmc", "BMC: the reference's weights", "belongs to BMC"},
     {"D33-maxmin", "MaxMin: worst group or worst model", "belongs to MaxMin-RLHF"},
     {"D34-dvpo", "DVPO: which advantage", "belongs to DVPO"},
     {"D35-gflownet", "GFlowNet: an extra position", "belongs to GDPO of GFlowNets"},
     {"D30-alpha", "LoRA: scaled by alpha instead of alpha / r",
      "a dump holds whole parameters; merge the adapter and compare"},
     {"D30-reference-adapter", "LoRA: the reference has the adapter on",
      "give the base as --ref-model: it shows in ref"},
     {NULL, NULL, NULL}};

/* ---- dialects ------------------------------------------------------------------------------- */
static const struct { Dialect dialect; const char *name;
} dialects[] = {
    {DIALECT_TRL_110, "D15-no-bias-correction"},
    {DIALECT_TRL_110, "D36-no-ga"},
    {DIALECT_TRL_110, "luspo-110"},
    {DIALECT_TRL_110, "D26-n-item"},
    {DIALECT_VERL, "D1-eps-1e-6"},
    {DIALECT_VERL, "D2-single-scored"},
    {DIALECT_VERL, "D7-token-whitening"},
    {DIALECT_VERL, "D15-clamp"},
    {DIALECT_VERL, "D18-paper"},
    {DIALECT_VERL, "D16-nonempty"},
    {DIALECT_VERL, "lr-clamp-20"},
    {DIALECT_VERL, "dual-clip-3"},
    {DIALECT_VERL, "D15-no-bias-correction"},
    {DIALECT_VERL, "level-sequence-token"},
    {DIALECT_VERL, "D19-clamp-10"},
    {DIALECT_OPENRLHF, "D1-eps-1e-9"},
    {DIALECT_OPENRLHF, "D15-no-bias-correction"},
    {DIALECT_OPENRLHF, "D16-nonempty"},
    {DIALECT_OPENRLHF, "lr-clamp-20"},
    {DIALECT_DR_GRPO, "scale-none"},
    {DIALECT_DR_GRPO, "D16-dr-grpo-sum"},
    {DIALECT_DR_GRPO, "D16-fixed-length"},
    {DIALECT_PAPER, "D1-eps-0"},
    {DIALECT_PAPER, "D1-population"},
    {DIALECT_PAPER, "D15-no-bias-correction"},
    {DIALECT_PAPER, "D18-paper"},
};

bool dialect_has(Dialect d, const char *mistake) {
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (dialects[i].dialect == d && !strcmp(dialects[i].name, mistake)) return true;
    return false;
}

bool mistake_changes_model(const Mistake *m) {
    static MistakeApply *const all[] = {interleaved_pairs, unscaled_attention, no_qkv_bias, no_qk_norm,
                                        theta_10000, no_rope_scaling, norm_eps, throughout, after_update,
                                        padded_positions};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) if (m->apply == all[i]) return true;
    return false;
}
