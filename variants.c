/* variants.c: losses of other papers, each beside its derivative, and corrections for a foreign sampler.
 *
 * In this order: losses of one token (E101 to E104, E107, E133, E134), of a completion (E106), what a
 * completion or a token must have to count (E108, E109), the sampler's ratio (E110), other advantages and
 * rewards (E89, E118, E126 to E129).
 * Departures from the papers are TRL's: no lower bound in CISPO, sums in VESPO's W and E110. */
#include "variants.h"

#include <stdlib.h>

#include "reward.h"

/* ---- E101 to E107: the policy term ---- */
double variant_delta(double *g, double rho, double adv, double low, double high, double delta) {
    const double floor = 1 - low, ceiling = 1 + high, cut = rho > delta ? delta : rho;
    const double a = cut * adv, b = d_clamp(rho, floor, ceiling) * adv;
    const bool act = (adv > 0 && rho <= (delta < ceiling ? delta : ceiling)) ||
                     (adv < 0 && rho >= floor && rho <= (delta > ceiling ? delta : ceiling));
    *g = act ? -adv * rho : 0;
    return -(b < a ? b : a);
}

double variant_dual_clip(double *g, double log_ratio, double adv, double low, double high, double c) {
    const double rho = d_exp(d_clamp(log_ratio, -20, 20)), plain = -adv * rho,
                 band = -adv * d_clamp(rho, 1 - low, 1 + high), worse = band > plain ? band : plain;
    const bool act = adv > 0 ? rho <= 1 + high : adv < 0 && rho >= 1 - low && rho <= c;
    *g = act && fabs(log_ratio) <= 20 ? plain : 0;      /* the first clamp is a constant far out */
    return adv < 0 && -adv * c < worse ? -adv * c : worse;
}

double variant_sapo(double *g, double rho, double adv, double temperature) {
    const double x = temperature * (rho - 1), e = d_exp(-fabs(x));
    const double u = x >= 0 ? 1 / (1 + e) : e / (1 + e);                                        /* E301 */
    *g = u == 1 ? 0 : -4 * u * (1 - u) * rho * adv;     /* far out 1 - u is 0, even where rho is infinite */
    return -(4 / temperature) * u * adv;
}

double variant_cispo(double *g, double rho, double adv, double logp, double low, double high) {
    double weight = rho < high ? rho : high;            /* TRL: no "1 +", no lower bound (D18) */
    if (weight < low) weight = low;
    *g = -weight * adv;
    return -weight * adv * logp;
}

double variant_plain(double *g, double rho, double adv) { return *g = -rho * adv; }

double variant_logp(double *g, double adv, double logp) {
    *g = -adv;
    return -adv * logp;
}

double variant_vespo(double *g, double phi, double adv, double logp) {
    *g = -phi * adv;
    return -phi * adv * logp;
}

static int by_number(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool counts(const unsigned char *mask, size_t t) { return !mask || mask[t]; }
static double log_ratio_of(const real *logp, const real *old, size_t t) {
    return (double)logp[t] - (old ? old : logp)[t];
}

static double vespo_log(double isr) { return d_clamp(d_log(isr), d_log(1e-8), 20); }

double variant_vespo_log_w(const real *logp, const real *old, const unsigned char *mask, size_t n,
                           const real *isr_token, const real *isr_sequence) {
    double w = 0;
    for (size_t t = 0; t < n; t++) {
        if (!counts(mask, t)) continue;
        w += d_clamp(log_ratio_of(logp, old, t), -20, 20);
        if (isr_token) w += vespo_log(isr_token[t]);
    }
    return isr_sequence ? w + vespo_log(*isr_sequence) : w;
}

double variant_vespo_phi(double log_w, double k, double lambda) {
    const double w = d_clamp(log_w, d_log(1e-8), 20);
    if (lambda < 1e-4) lambda = 1e-4;
    const double phi = d_exp(lambda + k * w - lambda * d_exp(w));
    return isfinite(phi) ? phi : 0;
}

/* ---- E130, E131, E138: another KL, other sums ---- */
const char *const kl_loss_names[] = {"k3", "k1", "k2", "abs", NULL};
const char *const kl_gradient_names[] = {"estimator", "score_function", "k2", "none", NULL};
const char *const policy_term_names[] = {"loss_type", "ratio", "unclipped", "logp", "cispo", NULL};
const char *const loss_aggregation_names[] = {"loss_type",    "token_mean",   "sequence_mean",
                                              "sequence_sum", "fixed_length", "fixed_total", NULL};
const char *const other_aggregation_names[] = {"policy",       "token_mean",   "sequence_mean",
                                               "sequence_sum", "fixed_length", "fixed_total", NULL};
const char *const aggregation_scope_names[] = {"micro", "update", "ranks", NULL};

double variant_kl_cut(double *dk, double k, double d, double most, KlGradient gradient) {
    if (gradient == KL_GRADIENT_SCORE) *dk += k;        /* of k exp(logp - sg(logp)) */
    if (fabs(k) > most) k = k > 0 ? most : -most, *dk = 0;
    if (gradient == KL_GRADIENT_K2) *dk = -d;
    if (gradient == KL_GRADIENT_NONE) *dk = 0;
    return k;
}

double variant_token_weight(TokenSum sum, double n_i, double n_token, double n_row, double length) {
    if (n_i < 1) n_i = 1;
    if (n_token < 1) n_token = 1;
    if (n_row < 1) n_row = 1;
    switch (sum) {
    case SUM_TOKEN_MEAN: return 1 / n_token;
    case SUM_SEQUENCE_MEAN: return 1 / (n_row * n_i);
    case SUM_SEQUENCE: return 1 / n_row;
    case SUM_FIXED_LENGTH: return 1 / (n_row * length);
    case SUM_FIXED_TOTAL: return 1 / length;
    case SUM_DEFAULT: break;
    }
    return NAN;
}

/* ---- E136, E137: tokens whose log-probability goes with their advantage ---- */
size_t variant_covariance(double *cov, const real *adv, const real *logp, const unsigned char *mask,
                          size_t n_token) {
    double a = 0, l = 0, n = 0;
    for (size_t t = 0; t < n_token; t++) if (counts(mask, t)) a += adv[t], l += logp[t], n++;
    for (size_t t = 0; t < n_token; t++)
        cov[t] = counts(mask, t) ? (adv[t] - a / n) * (logp[t] - l / n) : NAN;
    return (size_t)n;
}

size_t variant_clip_cov(unsigned char *eligible, const double *cov, const real *adv, const double *ratio,
                        size_t n_token, double low, double high, double epsilon, double epsilon_high) {
    size_t n = 0;
    for (size_t t = 0; t < n_token; t++) {
        const bool band = d_clamp(ratio[t], 1 - epsilon, 1 + epsilon_high) * adv[t] < ratio[t] * adv[t];
        eligible[t] = cov[t] > low && cov[t] < high && !band;
        n += eligible[t];
    }
    return n;
}

void variant_kl_cov_tokens(unsigned char *chosen, const double *cov, size_t n_token, size_t n, double share,
                           double *scratch) {
    size_t k = 0, most = (size_t)((double)n * share);
    if (most < 1) most = 1;
    for (size_t t = 0; t < n_token; t++) if (!isnan(cov[t])) scratch[k++] = cov[t];
    qsort(scratch, k, sizeof *scratch, by_number);
    for (size_t t = 0; t < n_token; t++) chosen[t] = k >= most && cov[t] >= scratch[k - most];
}

double variant_kl_cov(double *g, double log_ratio, double coef) {
    *g += log_ratio > 0 ? coef : log_ratio < 0 ? -coef : 0;
    return coef * fabs(log_ratio);
}

/* ---- E106: a loss of the whole completion ---- */
static double gmpo_cut(double log_ratio, double adv, double low, double high) {
    return adv > 0 ? (log_ratio < high ? log_ratio : high) : (log_ratio > -low ? log_ratio : -low);
}

double variant_gmpo_mean(const real *logp, const real *old, const unsigned char *mask, size_t n, double adv,
                         double low, double high) {
    double sum = 0, count = 0;
    for (size_t t = 0; t < n; t++)
        if (counts(mask, t)) sum += gmpo_cut(log_ratio_of(logp, old, t), adv, low, high), count++;
    return d_exp(sum / (count > 1 ? count : 1));
}

double variant_gmpo(double *g, double mean, double log_ratio, double adv, double low, double high) {
    *g = gmpo_cut(log_ratio, adv, low, high) == log_ratio ? -mean * adv : 0;
    return -mean * adv;
}

/* ---- E108, E109: what counts ---- */
double variant_off_policy_mask(double adv, double mean_gap, double threshold) {
    return isnan(threshold) || adv >= 0 || mean_gap <= threshold ? 1 : 0;
}

double variant_quantile(double *x, size_t n, double q) {
    if (n == 0) return INFINITY;
    qsort(x, n, sizeof *x, by_number);
    const double pos = q * (double)(n - 1);
    const size_t below = (size_t)floor(pos);
    if (below + 1 >= n) return x[n - 1];
    return x[below] + (pos - (double)below) * (x[below + 1] - x[below]);
}

/* ---- E110: a sampler that is not the trainer ---- */
const char *const importance_sampling_mode_names[] = {"token_truncate",    "token_mask",
                                                      "sequence_truncate", "sequence_mask",
                                                      "geometric_truncate", "geometric_mask", NULL};

bool variant_isr_per_token(IsrMode mode) { return mode == ISR_TOKEN_TRUNCATE || mode == ISR_TOKEN_MASK; }

static double bounded(double x, bool truncate, double low, double high) {
    if (!isnan(low) && x < low) return truncate ? low : 0;
    if (!isnan(high) && x > high) return truncate ? high : 0;
    return x;
}

void variant_importance_ratio(real *ratio, IsrStats *stats, const real *old, const real *sampler,
                              const unsigned char *mask, const size_t *offset, size_t n_completion,
                              IsrMode mode, double clip_min, double clip_max) {
    const bool by_token = variant_isr_per_token(mode),
               truncate = mode != ISR_TOKEN_MASK && mode != ISR_SEQUENCE_MASK && mode != ISR_GEOMETRIC_MASK,
               geometric = mode == ISR_GEOMETRIC_TRUNCATE || mode == ISR_GEOMETRIC_MASK;
    double n = 0, n_known = 0, gap = 0, gap_max = 0, ratio_sum = 0;
    for (size_t i = 0; i < n_completion; i++) {
        const double before = n;
        double sum = 0;
        for (size_t t = offset[i]; t < offset[i + 1]; t++) {
            if (!counts(mask, t)) {
                if (by_token) ratio[t] = 1;
                continue;
            }
            double d = (double)old[t] - sampler[t];
            n += 1;
            if (isnan(d)) d = 0;
            else n_known += 1;
            sum += d;
            gap += fabs(d);
            if (fabs(d) > gap_max) gap_max = fabs(d);
            if (!by_token) continue;
            const double r = bounded(d_exp(d), truncate, clip_min, clip_max);
            ratio[t] = (real)r;
            ratio_sum += r;
        }
        if (by_token) continue;
        if (geometric && n > before) sum /= n - before;                                         /* E180 */
        const double r = bounded(d_exp(sum), truncate, clip_min, clip_max);
        ratio[i] = (real)r;
        ratio_sum += r;
    }
    const double n_ratio = by_token ? n : (double)n_completion;
    if (stats) *stats = (IsrStats){gap / (n_known > 1 ? n_known : 1), gap_max,
                                       ratio_sum / (n_ratio > 1 ? n_ratio : 1)};
}

/* ---- E89, E118: another baseline, a reward for brevity ---- */
void variant_rloo_advantage(real *adv, const real *reward, size_t n, size_t group_size, bool normalize,
                            double std_eps) {
    for (size_t g = 0; g + group_size <= n; g += group_size) {
        double sum = 0, count = 0;
        for (size_t i = g; i < g + group_size; i++) if (!isnan(reward[i])) sum += reward[i], count++;
        for (size_t i = g; i < g + group_size; i++) {
            const double a = reward[i] - (sum - reward[i]) / (count - 1);
            adv[i] = count > 1 ? (real)a : (real)NAN;
        }
    }
    if (normalize) { reward_whiten(adv, n, std_eps); return; }
    for (size_t i = 0; i < n; i++) if (isnan(adv[i])) adv[i] = 0;
}

double variant_overlong_penalty(size_t length, size_t max_length, size_t cache) {
    if (length > max_length) return -1;
    if (length + cache <= max_length) return 0;
    return ((double)max_length - (double)cache - (double)length) / (double)cache;
}

/* ---- E126 to E129: other baselines, deviations, groups ---- */
const char *const scale_rewards_names[] = {"group", "batch", "none", "leave_one_out", NULL};
const char *const baseline_names[] = {"group", "leave_one_out", "length_weighted", "batch", "none", NULL};
const char *const zero_std_names[] = {"divide", "keep", NULL};
const char *const single_reply_names[] = {"zero", "score", NULL};
const char *const advantage_whitening_names[] = {"none", "completions", "tokens", "tokens_population", NULL};

/* Mean and deviation of the others of a group of n; NaN where there are too few. */
static void without_one(double *mean, double *std, const real *reward, size_t n, size_t left_out, int ddof) {
    double sum = 0, square = 0, count = 0;
    for (size_t i = 0; i < n; i++) if (i != left_out && !isnan(reward[i])) sum += reward[i], count++;
    *mean = count > 0 ? sum / count : NAN;
    for (size_t i = 0; i < n; i++)
        if (i != left_out && !isnan(reward[i])) square += (reward[i] - *mean) * (reward[i] - *mean);
    *std = count > ddof ? sqrt(square / (count - ddof)) : NAN;
}

/* The mean in which a reply of n tokens counts n times. */
static double mean_by_length(const real *reward, const double *length, size_t n) {
    double sum = 0, tokens = 0;
    for (size_t i = 0; i < n; i++) if (!isnan(reward[i])) sum += length[i] * reward[i], tokens += length[i];
    return sum / tokens;
}

void variant_advantage(real *adv, const real *reward, const double *length, size_t n, double batch_mean,
                       double batch_std, const AdvantageRule *r) {
    double mean, std, others_mean = NAN, others_std = NAN;
    const size_t scored = reward_moments(&mean, &std, reward, n, 1, r->ddof);
    if (r->baseline == BASELINE_LENGTH) mean = mean_by_length(reward, length, n);
    const bool alone = scored == 1 && r->single == SINGLE_SCORE,                                /* E128 */
        by_others = r->baseline == BASELINE_LEAVE_ONE_OUT || r->scale == SCALE_LEAVE_ONE_OUT;
    for (size_t i = 0; i < n; i++) {
        if (by_others) without_one(&others_mean, &others_std, reward, n, i, r->ddof);
        const double baseline = alone || r->baseline == BASELINE_NONE   ? 0
                                : r->baseline == BASELINE_LEAVE_ONE_OUT ? others_mean
                                : r->baseline == BASELINE_BATCH         ? batch_mean
                                                                        : mean,
                     deviation = r->scale == SCALE_BATCH             ? batch_std
                                 : alone                             ? 1
                                 : r->scale == SCALE_LEAVE_ONE_OUT   ? others_std
                                                                     : std;
        double a = reward[i] - baseline;                                                        /* E126 */
        if (r->scale != SCALE_NONE && !(deviation == 0 && r->zero_std == ZERO_STD_KEEP))        /* E127 */
            a /= r->eps_in_root ? sqrt(deviation * deviation + r->eps) : deviation + r->eps;
        adv[i] = isnan(a) ? 0 : (real)a;                                                        /* E87 */
    }
}

void variant_whiten_tokens(real *adv, const double *length, size_t n, bool population) {
    double count = 0, sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        count += length[i];
        if (!isnan(adv[i])) sum += length[i] * adv[i];
    }
    const double mean = sum / count;
    for (size_t i = 0; i < n; i++)
        if (!isnan(adv[i])) square += length[i] * (adv[i] - mean) * (adv[i] - mean);
    const double var = square / (population ? count : count - 1),
                 std = population ? sqrt(var > 1e-8 ? var : 1e-8) : sqrt(var + 1e-8);
    for (size_t i = 0; i < n; i++) adv[i] = isnan(adv[i]) ? 0 : (real)((adv[i] - mean) / std);
}
