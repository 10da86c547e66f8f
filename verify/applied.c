/* applied.c: each mistake made on purpose: other settings, changed inputs, a changed model; another formula
 * only where nothing else reaches.
 *
 * In this order: rewards and advantages, masks, sampler and ratio, KL, the token's loss,
 * aggregation, gradients and the step. What changes the network is
 * in applied_network.c, the table that names them mistakes.c. */
#include "verify/applied.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAYBE __attribute__((unused))
#undef APPLY
#define APPLY(name) \
    bool apply_##name(Case *c MAYBE, Stage s MAYBE, Pool *p MAYBE, Err *e MAYBE, double value MAYBE)

/* ---- rewards ---- */
static bool sums_first(const Case *c) { return grpo_from_reward(&c->s.grpo); }

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

/* A completion that nobody scored, with the score 0. */
APPLY(unscored_as_zero) {
    real *reward = c->reward ? pool_take(p, c->d->n, sizeof *reward, e) : NULL;
    bool any = false;
    for (size_t i = 0; reward && i < c->d->n; i++) {
        any = any || isnan(c->reward[i]);
        reward[i] = isnan(c->reward[i]) ? 0 : c->reward[i];
    }
    c->reward = reward;
    return any && sums_first(c);
}

/* ---- advantages ---- */
APPLY(other_eps) {
    const double was = c->s.grpo.std_eps;
    c->s.grpo.std_eps = value;
    return sums_first(c) && was != value;
}
APPLY(population) {
    const int was = c->s.grpo.std_ddof;
    c->s.grpo.std_ddof = 0;
    if (!sums_first(c) || was == 0) return false;
    if (!isnan(value)) c->s.grpo.std_eps = value;
    return true;
}
APPLY(eps_in_root) { return sums_first(c) && (c->statistics.eps_in_root = true); }
APPLY(single_scored) {
    c->s.grpo.single_reply = SINGLE_SCORE;
    return sums_first(c) && c->s.grpo.scale_rewards == SCALE_GROUP;
}
APPLY(nan_to_zero) {
    return c->s.grpo.multi_objective_aggregation == NORMALIZE_THEN_SUM && (c->statistics.nan_to_zero = true);
}

static bool other_baseline(Case *c, Baseline baseline) {
    const Baseline was = c->s.grpo.baseline;
    c->s.grpo.baseline = baseline;
    return sums_first(c) && was != baseline;
}
APPLY(batch_mean) { return c->s.grpo.scale_rewards == SCALE_BATCH && other_baseline(c, BASELINE_BATCH); }
APPLY(batch_statistics) {
    const bool group = c->s.grpo.scale_rewards == SCALE_GROUP;
    c->s.grpo.scale_rewards = SCALE_BATCH;
    return group && other_baseline(c, BASELINE_BATCH);
}
APPLY(no_baseline) { return other_baseline(c, BASELINE_NONE); }
APPLY(rloo) {
    const ScaleRewards was = c->s.grpo.scale_rewards;
    c->s.grpo.scale_rewards = SCALE_NONE;
    return other_baseline(c, BASELINE_LEAVE_ONE_OUT) || (sums_first(c) && was != SCALE_NONE);
}
APPLY(interleaved) { return !c->group && (c->statistics.interleaved = true); }
APPLY(side_by_side) {
    if (!c->by_prompt) return false;
    c->group = NULL;
    return true;
}
/* NeMo-RL's: of the others in the group, both. */
APPLY(leave_one_out) {
    c->s.grpo.scale_rewards = SCALE_LEAVE_ONE_OUT;
    c->s.grpo.zero_std = ZERO_STD_KEEP;
    c->s.grpo.std_eps = 1e-6;
    return other_baseline(c, BASELINE_LEAVE_ONE_OUT);
}
/* value: a Baseline; nothing divides */
APPLY(baseline_alone) {
    c->s.grpo.scale_rewards = SCALE_NONE;
    return other_baseline(c, (Baseline)value);
}
APPLY(whitened) {
    const bool was = c->s.grpo.advantage_whitening != WHITEN_NONE;
    c->s.grpo.advantage_whitening = (Whitening)value;
    return sums_first(c) && !was && (value == WHITEN_COMPLETIONS || c->d->width);
}
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
static bool is_mo(const Case *c) { return c->s.grpo.multi_objective_aggregation == MO_GRPO; }
APPLY(mo_population) { c->s.grpo.std_ddof = 0; return is_mo(c); }
APPLY(mo_eps_0) { c->s.grpo.std_eps = 0; return is_mo(c); }
APPLY(token_whitening) {
    if (c->s.grpo.multi_objective_aggregation != NORMALIZE_THEN_SUM || !c->d->width) return false;
    c->s.grpo.std_eps = 1e-6;
    c->s.grpo.advantage_whitening = WHITEN_TOKENS;
    return true;
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

/* ---- masks: the tensor itself, or the mask that the loss is formed with ---- */
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

static bool row_stops(const Case *c, size_t i) {
    for (size_t j = i * c->d->width; j < (i + 1) * c->d->width; j++)
        for (int k = 0; c->real_token[j] && k < c->s.n_stop; k++)
            if (c->d->id[j] == c->s.stop[k]) return true;
    return false;
}

static bool with_padding_of(Case *c, Stage s, Pool *p, Err *e, bool stopped) {
    const size_t width = c->d->width;
    const unsigned char *token = c->real_token;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t i = 0; m && i < c->d->n; i++) {
        size_t t = 0;
        if (c->d->whole_rows) while (t < width && !token[i * width + t]) t++;
        if (stopped || !row_stops(c, i)) for (; t < width; t++) m[i * width + t] = 1;
    }
    return m;
}

APPLY(with_padding) { return with_padding_of(c, s, p, e, true); }
APPLY(padding_without_stop) {
    return c->d->id && c->s.n_stop && with_padding_of(c, s, p, e, false);
}

APPLY(truncated_left_out) {
    if (!c->d->id || !c->s.n_stop || c->s.grpo.mask_truncated_completions) return false;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t i = 0; m && i < c->d->n; i++)
        if (!row_stops(c, i)) memset(m + i * c->d->width, 0, c->d->width);
    return m;
}

APPLY(truncated_counted) {
    if (!c->s.grpo.mask_truncated_completions) return false;
    unsigned char *m = own_mask(c, s, p, e);
    if (m) memcpy(m, c->real_token, c->d->n * c->d->width);
    return m;
}

APPLY(loss_mask_ignored) {
    const unsigned char *all = c->d->completion_mask ? c->d->completion_mask : c->real_token;
    if (!c->d->loss_mask) return false;
    unsigned char *m = own_mask(c, s, p, e);
    if (m) memcpy(m, all, c->d->n * c->d->width);
    return m;
}

/* value: where the token of column t finds its mask, at t + value. */
APPLY(mask_moved) {
    const size_t width = c->d->width;
    const unsigned char *from = s == STAGE_MASK        ? c->real_token
                                : s == STAGE_LOSS_MASK ? c->loss_token
                                                       : c->mask;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t j = 0; m && j < c->d->n * width; j++) {
        const long t = (long)(j % width) + (long)value;
        m[j] = t >= 0 && t < (long)width ? from[j / width * width + (size_t)t] : 0;
    }
    return m;
}

APPLY(pad_is_stop) {
    if (!c->d->id || c->s.pad < 0) return false;
    unsigned char *m = own_mask(c, s, p, e);
    for (size_t j = 0; m && j < c->d->n * c->d->width; j++) if (c->d->id[j] == c->s.pad) m[j] = 0;
    return m;
}

/* ---- sampler and ratio ---- */
static real *own_tokens(const real **field, const Case *c, Pool *p, Err *e) {
    real *x = pool_take(p, c->d->n * c->d->width, sizeof *x, e);
    if (!x) return NULL;
    if (*field) memcpy(x, *field, c->d->n * c->d->width * sizeof *x);
    *field = x;
    return x;
}

/* The correction from the case's own sampler, where a later stage than the correction itself asks for it. */
static bool isr_again(Case *c, Stage s, Pool *p, Err *e) {
    if (s == STAGE_ISR) return true;
    if (!c->isr || c->d->value[STAGE_ISR] || !c->s.grpo.importance_sampling_correction) return false;
    real *isr = pool_take(p, stage_size(c, STAGE_ISR), sizeof *isr, e);
    if (!isr || !stage_compute(isr, c, STAGE_ISR, p, e)) return false;
    c->isr = isr;
    c->isr_per_row = stage_per_row(c, STAGE_ISR);
    return true;
}

APPLY(isr_mean) {
    if (variant_isr_per_token(c->s.grpo.importance_sampling_mode)) return false;
    const real *old = c->old ? c->old : c->logp;
    real *sampler = own_tokens(&c->sampler, c, p, e);
    for (size_t j = 0; sampler && j < c->d->n * c->d->width; j++) {
        const double n = case_row_count(c, j / c->d->width);
        sampler[j] = (real)(old[j] - ((double)old[j] - sampler[j]) / (n > 1 ? n : 1));
    }
    return sampler && isr_again(c, s, p, e);
}

APPLY(isr_truncate_2) {
    GrpoConfig *g = &c->s.grpo;
    if (g->importance_sampling_mode == ISR_TOKEN_MASK) g->importance_sampling_mode = ISR_TOKEN_TRUNCATE;
    if (g->importance_sampling_mode == ISR_SEQUENCE_MASK) g->importance_sampling_mode = ISR_SEQUENCE_TRUNCATE;
    g->importance_sampling_clip_max = 2;
    return isr_again(c, s, p, e);
}

/* The mean's place is taken by the sum of the tokens' ratios instead of their product. */
APPLY(isr_sum) {
    if (variant_isr_per_token(c->s.grpo.importance_sampling_mode)) return false;
    const real *old = c->old ? c->old : c->logp;
    const size_t width = c->d->width;
    real *sampler = own_tokens(&c->sampler, c, p, e);
    for (size_t i = 0; sampler && i < c->d->n; i++) {
        double sum = 0, n = 0;
        for (size_t j = i * width; j < (i + 1) * width; j++)
            if (c->mask[j] && !isnan(sampler[j])) sum += d_exp((double)old[j] - sampler[j]), n++;
        for (size_t j = i * width; n > 0 && j < (i + 1) * width; j++)
            if (!isnan(sampler[j])) sampler[j] = (real)(old[j] - d_log(sum) / n);
    }
    return sampler && isr_again(c, s, p, e);
}

APPLY(isr_missing) {
    const bool was = c->isr && c->s.grpo.importance_sampling_correction;
    c->isr = NULL;
    c->s.grpo.importance_sampling_correction = false;
    return was;
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

APPLY(level_sum) {
    const bool token = c->s.grpo.importance_sampling_level == LEVEL_TOKEN;
    c->s.grpo.importance_sampling_level = LEVEL_SEQUENCE;
    return token && apply_ratio_sum(c, s, p, e, 0);
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

APPLY(ratio_one) {
    if (!c->old) return false;
    c->old = c->logp;
    return true;
}

APPLY(ratio_to_reference) {
    if (!c->ref || !c->logp) return false;
    c->old = c->ref;
    return true;
}

APPLY(ratio_to_sampler) {
    if (!c->sampler || !c->logp) return false;
    real *old = own_tokens(&c->old, c, p, e);
    for (size_t j = 0; old && j < c->d->n * c->d->width; j++)
        if (!isnan(c->sampler[j])) old[j] = c->sampler[j];
    return old;
}

APPLY(other_level) {
    const ImportanceLevel was = c->s.grpo.importance_sampling_level;
    c->s.grpo.importance_sampling_level = (ImportanceLevel)value;
    return was != c->s.grpo.importance_sampling_level;
}

/* E81: rounding noise where the very numbers ought to stand; verdict by size (diagnose.c). */
APPLY(recomputed_old) { return false; }

/* ---- KL ---- */
static void k1(double *k, double *dk, double logp, double ref) { *k = logp - ref, *dk = 1; }
static void k2(double *k, double *dk, double logp, double ref) {
    *k = (ref - logp) * (ref - logp) / 2, *dk = logp - ref;
}
static void k3_swapped(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(logp - ref), *dk = d_expm1(logp - ref);
}
static void k3_plus(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(ref - logp), *dk = logp - ref;
}
static void k_abs(double *k, double *dk, double logp, double ref) {
    *k = fabs(ref - logp), *dk = logp > ref ? 1 : logp < ref ? -1 : 0;
}
/* a constant, also where E96 makes its derivative ratio (dk + k) */
static void k3_constant(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(ref - logp), *dk = 0;
}
static void k3_constant_corrected(double *k, double *dk, double logp, double ref) {
    *k = grpo_k3(ref - logp), *dk = -*k;
}

APPLY(kl_score_function) {
    const bool was = c->s.grpo.kl_gradient == KL_GRADIENT_SCORE;
    c->s.grpo.kl_gradient = KL_GRADIENT_SCORE;
    return c->ref && c->s.grpo.beta != 0 && !was && !c->s.grpo.use_bias_correction_kl;
}

/* A setting, so that it goes together with others. */
APPLY(kl_clamped) {
    GrpoConfig *g = &c->s.grpo;
    const bool was = g->kl_clamp_log_ratio == 20 && g->kl_clamp == 10;
    if (!c->ref || (g->beta == 0 && s != STAGE_KL) || g->loss_type == LOSS_GMPO || was) return false;
    g->kl_clamp_log_ratio = 20;
    g->kl_clamp = 10;
    c->kl = NULL;
    return true;
}

/* value: a TokenSum */
APPLY(kl_sum) {
    const TokenSum was = c->s.grpo.kl_aggregation;
    c->s.grpo.kl_aggregation = (TokenSum)value;
    return c->s.grpo.beta != 0 && was != (TokenSum)value && !c->row_weight;
}

APPLY(kl_detached) {
    if (!c->ref || c->s.grpo.beta == 0 || c->s.grpo.loss_type == LOSS_GMPO) return false;
    c->kl_formula = c->s.grpo.use_bias_correction_kl ? k3_constant_corrected : k3_constant;
    return true;
}

/* D = ref - old, by a reference that is moved as far as old lies from the policy. */
APPLY(kl_of_old) {
    if (!c->logp || !c->old || !c->ref || (c->s.grpo.beta == 0 && s != STAGE_KL) ||
        c->s.grpo.loss_type == LOSS_GMPO)
        return false;
    const real *from = c->ref;
    real *ref = own_tokens(&c->ref, c, p, e);
    for (size_t j = 0; ref && j < c->d->n * c->d->width; j++)
        ref[j] = (real)((double)from[j] + c->logp[j] - c->old[j]);
    c->kl_formula = c->s.grpo.use_bias_correction_kl ? k3_constant_corrected : k3_constant;
    return ref;
}

APPLY(other_kl) {
    static KlFormula *const formula[] = {k1, k2, k3_swapped, k3_plus, k_abs};
    if (!c->ref || (c->s.grpo.beta == 0 && s != STAGE_KL) || c->s.grpo.loss_type == LOSS_GMPO) return false;
    c->kl_formula = formula[(int)value];
    return true;
}
APPLY(bias_correction) {
    const bool was = c->s.grpo.use_bias_correction_kl;
    c->s.grpo.use_bias_correction_kl = value != 0;
    return was != c->s.grpo.use_bias_correction_kl;
}

/* ---- the token's loss ---- */
static bool may_clip(const Case *c) {
    const LossType t = c->s.grpo.loss_type;
    return t == LOSS_GRPO || t == LOSS_BNPO || t == LOSS_DR_GRPO || t == LOSS_DAPO || t == LOSS_LUSPO;
}

/* cispo's constant weight stands where the sampler's correction does: in front of the policy term, without a
 * gradient. */
APPLY(cispo_paper) {
    const size_t n = c->d->n, width = c->d->width;
    const double low = 1 - c->s.grpo.epsilon, ceiling = grpo_epsilon_high(&c->s.grpo), high = 1 + ceiling;
    if (c->s.grpo.loss_type != LOSS_CISPO || !isnan(c->s.grpo.cispo_clip_max) || !c->logp) return false;
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

APPLY(logp_term) {
    const PolicyTerm was = c->s.grpo.policy_term;
    c->s.grpo.policy_term = TERM_LOGP;
    return was != TERM_LOGP && may_clip(c);
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
/* value: 1 nothing below is clipped, 2 nothing above, 3 neither */
APPLY(clip_missing) {
    const double high = grpo_epsilon_high(&c->s.grpo), none = 1e30;
    c->s.grpo.epsilon_high = (int)value & 2 ? none : high;
    if ((int)value & 1) c->s.grpo.epsilon = none;
    return may_clip(c);
}

APPLY(clip_in_log) {
    const double low = c->s.grpo.epsilon, high = grpo_epsilon_high(&c->s.grpo);
    c->s.grpo.epsilon = -d_expm1(-low);
    c->s.grpo.epsilon_high = d_expm1(high);
    return may_clip(c);
}

/* The ratio of every token that is not NULL in the dump, or ours; [n, width]. */
static const real *token_ratio(const Case *c, Stage s, Pool *p, Err *e) {
    const size_t all = c->d->n * c->d->width;
    const bool own = c->ratio && s != STAGE_DLOGP && s != STAGE_GRAD,
               per_row = own ? c->ratio_per_row : stage_per_row(c, STAGE_RATIO);
    real *x = pool_take(p, all, sizeof *x, e), *out = pool_take(p, all, sizeof *out, e);
    if (!x || !out || !c->logp || (!own && !stage_compute(x, c, STAGE_RATIO, p, e))) return NULL;
    for (size_t j = 0; j < all; j++) out[j] = (own ? c->ratio : x)[per_row ? j / c->d->width : j];
    return out;
}

/* In front of the unclipped policy term: a factor of its value, and one of its derivative. */
static bool in_front(Case *c, real **factor, double **slope, Pool *p, Err *e) {
    const size_t all = c->d->n * c->d->width;
    *factor = pool_take(p, all, sizeof **factor, e);
    *slope = pool_take(p, all, sizeof **slope, e);
    if (!*factor || !*slope) return false;
    for (size_t j = 0; j < all; j++) {
        const bool there = c->isr && c->s.grpo.importance_sampling_correction;
        (*factor)[j] = there ? c->isr[c->isr_per_row ? j / c->d->width : j] : 1;
        (*slope)[j] = 1;
    }
    c->isr = *factor;
    c->isr_per_row = false;
    c->s.grpo.importance_sampling_correction = true;
    c->policy_slope = *slope;
    return true;
}

/* Of ratio A and clip(ratio) A another than the lower: 0 the clipped one always, 1 the higher one. */
APPLY(clip_other) {
    const double low = 1 - c->s.grpo.epsilon, high = 1 + grpo_epsilon_high(&c->s.grpo);
    const bool two = may_clip(c) && isnan(c->s.grpo.delta) && isnan(c->s.grpo.dual_clip);
    const real *ratio = two && c->advantage ? token_ratio(c, s, p, e) : NULL;
    real *factor;
    double *slope;
    if (!ratio || !in_front(c, &factor, &slope, p, e)) return false;
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        const double rho = ratio[j], cut = rho < low ? low : rho > high ? high : rho,
                     adv = c->advantage[j / c->d->width];
        if (cut == rho || (value == 1 && rho * adv >= cut * adv)) continue;
        factor[j] = (real)(factor[j] * (cut / rho));
        slope[j] = 0;
    }
    return apply_clip_missing(c, s, p, e, 3);
}

APPLY(gradient_detached) {
    double *slope = pool_take(p, c->d->n * c->d->width, sizeof *slope, e);
    c->policy_slope = slope;
    return slope;
}

APPLY(gradient_without_ratio) {
    const real *ratio = c->s.grpo.loss_type != LOSS_GMPO ? token_ratio(c, s, p, e) : NULL;
    double *slope = ratio ? pool_take(p, c->d->n * c->d->width, sizeof *slope, e) : NULL;
    for (size_t j = 0; slope && j < c->d->n * c->d->width; j++) slope[j] = 1 / (double)ratio[j];
    c->policy_slope = slope;
    return slope && may_clip(c);
}

APPLY(dual_clip_3) {
    if (!may_clip(c) || !isnan(c->s.grpo.delta) || !isnan(c->s.grpo.dual_clip)) return false;
    /* for A < 0 the same as E107 with c = 3, for A > 0 the band is narrower */
    c->s.grpo.delta = 3;
    return true;
}
APPLY(delta_missing) { if (isnan(c->s.grpo.delta)) return false; c->s.grpo.delta = NAN; return true; }
APPLY(entropy_sign) { c->s.window.entropy_coef = -c->s.window.entropy_coef; return c->entropy; }
APPLY(entropy_missing) {
    const bool was = c->s.window.entropy_coef != 0;
    c->s.window.entropy_coef = 0;
    return was;
}
APPLY(kl_sign) {
    c->s.grpo.beta = -c->s.grpo.beta;
    return c->s.grpo.beta != 0;
}
APPLY(kl_missing) { const bool was = c->s.grpo.beta != 0; c->s.grpo.beta = 0; return was; }
APPLY(loss_sign) { c->policy_sign = c->policy_sign != 0 ? -c->policy_sign : -1; return true; }

/* ---- aggregation ---- */
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
WEIGHTS(mean_over_padding, 1 / (x.n * (double)c->d->width * x.ga))
WEIGHTS(not_divided, 1 / x.ga)
WEIGHTS(ga_missing, x.w[i] * x.ga)
APPLY(window_without_ga) { return by_window(c) && apply_global_token_mean(c, s, p, e, 0); }
APPLY(window_by_micro) { return by_window(c) && apply_token_mean(c, s, p, e, 0); }

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

APPLY(fixed_total) {
    const TokenSum was = c->s.grpo.loss_aggregation;
    c->s.grpo.loss_aggregation = SUM_FIXED_TOTAL;
    return was != SUM_FIXED_TOTAL && !c->row_weight;
}

/* The right weights, with the tokens of the numerator counted by one mask and those of the denominator by
 * another: value 0: padding is added up but not counted; 1: every token of the completions is counted, also
 * where the loss mask leaves it out. */
APPLY(other_denominator) {
    const unsigned char *own = c->mask,
                        *all = c->d->completion_mask ? c->d->completion_mask : c->real_token;
    if (c->row_weight || (value == 1 && !memcmp(own, all, c->d->n * c->d->width))) return false;
    if (value == 1) c->mask = all;
    const double *w = case_row_weights(c, p, e);
    c->mask = own;
    c->row_weight = w;
    return w && (value == 1 || apply_with_padding(c, s, p, e, 0));
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
    return apply_with_padding(c, s, p, e, 0);
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
    if (c->s.window.entropy_coef == 0 || !c->entropy || c->s.grpo.entropy_aggregation != SUM_TOKEN_MEAN)
        return false;
    const GrpoMicro micro = case_micro(c, p, e);
    const GrpoWindow w = case_window(c);
    c->s.window.entropy_coef *= least_1(micro.n_entropy_token) / (least_1(w.n_item) / w.n_process);
    return true;
}

/* ---- gradients and the step ---- */
static bool tied(const Case *c) { return c->model.policy && c->model.policy->head == c->model.policy->embed; }
APPLY(untied_head) { return tied(c) && (c->drop_head_grad = true); }
APPLY(untied_embedding) { return tied(c) && (c->drop_embed_grad = true); }
APPLY(adam_l2) { return c->s.adamw.weight_decay != 0 && (c->adam_l2 = true); }
APPLY(adam_eps_inside) { c->adam_eps_factor = 1; return true; }
APPLY(adam_decay_all) { return c->s.adamw.weight_decay != 0 && (c->adam_decay_all = true); }
APPLY(adam_no_clip) { const bool was = c->s.max_grad_norm > 0; c->s.max_grad_norm = 0; return was; }
APPLY(clip_eps_0) { c->clip_max_factor = 1; return c->s.max_grad_norm > 0; }
APPLY(adam_no_correction) { c->s.step = (int64_t)1 << 40; return true; }
