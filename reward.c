/* reward.c: from scores of K labels to their loss, their quality, and one reward.
 *
 * In this order: statistics that leave NaN out, regression loss with missing labels (E42 to E45), metrics
 * (E46 to E51), pairwise loss (E56, E57), clip and weighted sum (E60, E61, E77), group z-scores and what is
 * built on them (E62 to E64), weights by spread (E66 to E68), constraints (E69 to E71), label shares (E73),
 * worst label (E74). Not here: the network and its head (model.c), advantages from one reward (grpo.c). */
#include "reward.h"
#include <stdlib.h>

/* ---- statistics (E303) ---------------------------------------------------------------------- */
size_t reward_moments(double *mean, double *std, const real *x, size_t n, size_t stride, int ddof) {
    double sum = 0, square = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) if (!isnan(x[i * stride])) sum += x[i * stride], count++;
    const double m = count ? sum / (double)count : NAN;
    for (size_t i = 0; i < n; i++) {
        const double d = x[i * stride] - m;
        if (!isnan(x[i * stride])) square += d * d;
    }
    if (mean) *mean = m;
    if (std) *std = count > (size_t)ddof ? sqrt(square / (double)(count - (size_t)ddof)) : NAN;
    return count;
}

/* ---- E42 to E45: training the regressor ----------------------------------------------------- */
double reward_label_weight_sum(const real *label, const double *label_weight, size_t n, size_t n_label) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_label; k++)
            if (!isnan(label[i * n_label + k])) sum += label_weight ? label_weight[k] : 1;
    return sum;
}

void reward_regression_loss(double *loss, real *dscore, const real *score, const real *label,
                            const double *label_weight, size_t n, size_t n_label, double weight_sum) {
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_label; k++) {
            const size_t at = i * n_label + k;
            const double u = isnan(label[at]) || !(weight_sum > 0) ? 0 : label_weight ? label_weight[k] : 1;
            const double d = u > 0 ? (double)score[at] - label[at] : 0;
            if (u > 0) *loss += u * d * d / weight_sum;
            if (dscore) dscore[at] = u > 0 ? (real)(2 * u * d / weight_sum) : 0;
        }
}

void reward_label_moments(double *mean, double *sd, const real *label, size_t n, size_t n_label) {
    for (size_t k = 0; k < n_label; k++) {
        if (!reward_moments(&mean[k], &sd[k], label + k, n, n_label, 0)) mean[k] = 0, sd[k] = 1;
        if (sd[k] < 1e-6) sd[k] = 1e-6;
    }
}

void reward_standardise(real *label, const double *mean, const double *sd, size_t n, size_t n_label) {
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_label; k++)
            label[i * n_label + k] = (real)((label[i * n_label + k] - mean[k]) / sd[k]);
}

/* ---- E46 to E51: metrics -------------------------------------------------------------------- */
static int by_x(const void *a, const void *b) {
    const RewardPair *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->at > q->at) - (p->at < q->at);
}
static int by_y(const void *a, const void *b) {
    const RewardPair *p = a, *q = b;
    return p->y != q->y ? (p->y > q->y) - (p->y < q->y) : (p->at > q->at) - (p->at < q->at);
}
static int by_place(const void *a, const void *b) {
    const RewardPair *p = a, *q = b;
    return (p->at > q->at) - (p->at < q->at);
}

static double midrank(size_t first, size_t last) { return (double)(first + last) / 2 + 1; }

void reward_metrics(RewardMetrics *out, RewardBin *bin, int n_bin, const real *score, const real *label,
                    size_t n, size_t n_label, size_t k, RewardPair *p) {
    size_t m = 0;
    double sum_x = 0, sum_y = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = score[i * n_label + k], y = label[i * n_label + k];
        if (isnan(y)) continue;
        p[m] = (RewardPair){ x, y, 0, m };
        m++;
        sum_x += x;
        sum_y += y;
    }
    *out = (RewardMetrics){ m, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN };
    for (int b = 0; bin && b < n_bin; b++) bin[b] = (RewardBin){ NAN, NAN, 0 };
    if (m == 0) return;
    const double count = (double)m, mean_x = sum_x / count, mean_y = sum_y / count;
    double error = 0, absolute = 0, sxx = 0, syy = 0, sxy = 0;
    for (size_t i = 0; i < m; i++) {
        const double d = p[i].x - p[i].y, x = p[i].x - mean_x, y = p[i].y - mean_y;
        error += d * d;
        absolute += fabs(d);
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    out->mse = error / count;
    out->rmse = sqrt(out->mse);
    out->mae = absolute / count;
    out->bias = mean_x - mean_y;
    out->r2 = syy > 0 ? 1 - error / syy : NAN;                                                  /* E47 */
    out->pearson = sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;                            /* E48 */
    out->calibration_slope = sxx > 0 ? sxy / sxx : NAN;                                         /* E50 */
    out->calibration_intercept = mean_y - out->calibration_slope * mean_x;

    qsort(p, m, sizeof *p, by_x);
    double gap = 0;
    for (int b = 0; b < n_bin; b++) {                                                           /* E51 */
        const size_t first = m * (size_t)b / (size_t)n_bin, end = m * ((size_t)b + 1) / (size_t)n_bin;
        double x = 0, y = 0;
        for (size_t i = first; i < end; i++) x += p[i].x, y += p[i].y;
        if (end == first) continue;
        const double c = (double)(end - first);
        if (bin) bin[b] = (RewardBin){ x / c, y / c, end - first };
        gap += c / count * fabs(x / c - y / c);
    }
    if (n_bin > 0) out->calibration_error = gap;

    /* E49: ranks, equal values share the mean of theirs. The ranks of x wait in .rank, those of y replace .y
     */
    for (size_t a = 0, b; a < m; a = b + 1) {
        for (b = a; b + 1 < m && p[b + 1].x == p[a].x; b++) {}
        for (size_t i = a; i <= b; i++) p[i].rank = midrank(a, b);
    }
    qsort(p, m, sizeof *p, by_y);
    for (size_t a = 0, b; a < m; a = b + 1) {
        const double y = p[a].y;
        for (b = a; b + 1 < m && p[b + 1].y == y; b++) {}
        for (size_t i = a; i <= b; i++) p[i].y = midrank(a, b);
    }
    qsort(p, m, sizeof *p, by_place);
    const double mid = (count + 1) / 2;
    sxx = syy = sxy = 0;
    for (size_t i = 0; i < m; i++) {
        const double x = p[i].rank - mid, y = p[i].y - mid;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    out->spearman = sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;
}

/* ---- E56, E57: pairs ------------------------------------------------------------------------ */
double reward_pair_loss(real *dchosen, real *drejected, double *accuracy, double *margin_mean,
                        const real *chosen, const real *rejected, const real *margin, double center,
                        size_t n) {
    double loss = 0, right = 0, margin_sum = 0;
    const double b = (double)n;
    for (size_t i = 0; i < n; i++) {
        const double gap = (double)chosen[i] - rejected[i], x = gap - (margin ? margin[i] : 0),
                     sum = (double)chosen[i] + rejected[i];
        const double e = d_exp(-fabs(x));
        /* sigma(-x) / B */
        const double g = (x >= 0 ? e / (1 + e) : 1 / (1 + e)) / b;
        loss += ((x < 0 ? -x : 0) + d_log1p(e)) / b + center * sum * sum / b;                   /* E301 */
        if (dchosen) dchosen[i] = (real)(-g + 2 * center * sum / b);
        if (drejected) drejected[i] = (real)(g + 2 * center * sum / b);
        right += gap > 0;
        margin_sum += gap;
    }
    if (accuracy) *accuracy = n ? right / b : NAN;
    if (margin_mean) *margin_mean = n ? margin_sum / b : NAN;
    return n ? loss : NAN;
}

/* ---- E60, E61, E77 -------------------------------------------------------------------------- */
const char *const missing_labels_names[] = { "zero", "mean", NULL };

void reward_clip(real *score, const double *low, const double *high, size_t n, size_t n_label) {
    for (size_t i = 0; i < n * n_label; i++) {
        const size_t k = i % n_label;
        if (score[i] < low[k]) score[i] = (real)low[k];
        else if (score[i] > high[k]) score[i] = (real)high[k];
    }
}

bool reward_weighted_sum(real *reward, const real *score, const double *weight, size_t n, size_t n_label,
                         size_t group_size, MissingLabels missing) {
    bool some_missing = false;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t there = 0;
        for (size_t k = 0; k < n_label; k++) {
            double r = score[i * n_label + k];
            if (!isnan(r)) there++;
            else if (missing == MISSING_MEAN)
                reward_moments(&r, NULL, score + i / group_size * group_size * n_label + k, group_size,
                               n_label, 1);
            if (!isnan(r)) sum += weight[k] * r;
        }
        if (there && there < n_label) some_missing = true;
        reward[i] = there ? (real)sum : (real)NAN;
    }
    return some_missing;
}

/* ---- E62 to E64 ----------------------------------------------------------------------------- */
static double z_score(double x, double mean, double std, double eps) {
    return std == 0 ? 0 * x : (x - mean) / (std + eps);         /* 0 * x: a missing score stays NaN */
}

void reward_group_z(real *z, const real *score, size_t n, size_t n_label, size_t group_size, int ddof,
                    double eps) {
    for (size_t g = 0; g + group_size <= n; g += group_size)
        for (size_t k = 0; k < n_label; k++) {
            double mean, std;
            reward_moments(&mean, &std, score + g * n_label + k, group_size, n_label, ddof);
            for (size_t i = g; i < g + group_size; i++)
                z[i * n_label + k] = (real)z_score(score[i * n_label + k], mean, std, eps);
        }
}

double reward_whiten(real *a, size_t n, double eps) {
    double mean, std;
    reward_moments(&mean, &std, a, n, 1, 1);
    for (size_t i = 0; i < n; i++) {
        const double x = (a[i] - mean) / (std + eps);
        a[i] = isnan(x) ? 0 : (real)x;
    }
    return std;
}

/* sum_k weight_k z_ik of every completion, NaN terms left out. NaN only if every score is missing: the only
 * scored one of its group has z NaN, but sum 0, and counts in the whitening (as in TRL). */
static void z_sum(real *sum, const real *score, const double *weight, size_t n, size_t n_label,
                  size_t group_size, int ddof, double eps) {
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        bool any = false;
        for (size_t k = 0; k < n_label; k++) {
            double mean, std;
            reward_moments(&mean, &std, score + i / group_size * group_size * n_label + k, group_size,
                           n_label, ddof);
            const double z = z_score(score[i * n_label + k], mean, std, eps);
            any |= !isnan(score[i * n_label + k]);
            if (!isnan(z)) s += weight[k] * z;
        }
        sum[i] = any ? (real)s : (real)NAN;
    }
}

double reward_gdpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                   size_t group_size, double eps) {
    z_sum(adv, score, weight, n, n_label, group_size, 1, eps);
    return reward_whiten(adv, n, eps);
}

void reward_gdpo_by_token(real *adv, real *sum_out, const real *score, const double *weight,
                          const double *length, size_t n, size_t n_label, size_t group_size, double eps_group,
                          double eps_var) {
    z_sum(adv, score, weight, n, n_label, group_size, 1, eps_group);
    double count = 0, sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) count += length[i], sum += adv[i] * length[i];
    const double mean = sum / count;
    for (size_t i = 0; i < n; i++) square += (adv[i] - mean) * (adv[i] - mean) * length[i];
    for (size_t i = 0; i < n; i++) {
        if (sum_out) sum_out[i] = adv[i];
        adv[i] = (real)((adv[i] - mean) / sqrt(square / (count - 1) + eps_var));
    }
}

void reward_mo_grpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                    size_t group_size, int ddof, double eps) {
    z_sum(adv, score, weight, n, n_label, group_size, ddof, eps);
    for (size_t i = 0; i < n; i++) if (isnan(adv[i])) adv[i] = 0;
}

/* ---- E66 to E68: SAW ------------------------------------------------------------------------ */
void reward_saw_weights(double *weight_out, double *cv, const real *score, const double *shift, double delta,
                        size_t n, size_t n_label) {
    double sum = 0;
    bool any = false;
    for (size_t k = 0; k < n_label; k++) {
        double mean, std;
        reward_moments(&mean, &std, score + k, n, n_label, 1);
        /* a shift leaves std alone */
        const double c = std / (fabs(mean + (shift ? shift[k] : 0)) + delta);
        weight_out[k] = isnan(c) ? 0 : c;
        if (cv) cv[k] = weight_out[k];
        sum += weight_out[k];
        any |= weight_out[k] > delta;
    }
    for (size_t k = 0; k < n_label; k++)
        weight_out[k] = any ? weight_out[k] / (sum + delta) : 1 / (double)n_label;
}

void reward_saw_reward(real *reward, const real *score, const double *saw_weight, const double *alpha,
                       double multiplier, size_t n, size_t n_label) {
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t there = 0;
        for (size_t k = 0; k < n_label; k++) {
            const double r = score[i * n_label + k];
            if (isnan(r)) continue;
            there++;
            sum += (alpha ? alpha[k] : 1) * saw_weight[k] * r;
        }
        reward[i] = there ? (real)(multiplier * sum) : (real)NAN;
    }
}

void reward_saw_advantage(real *adv, const real *score, const double *saw_weight, const double *alpha,
                          size_t n, size_t n_label, size_t group_size, double eps) {
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        bool any = false;
        for (size_t k = 0; k < n_label; k++) {
            double mean, std;
            reward_moments(&mean, &std, score + i / group_size * group_size * n_label + k, group_size,
                           n_label, 1);
            const double z = z_score(score[i * n_label + k], mean, std, eps);
            any |= !isnan(score[i * n_label + k]);
            if (!isnan(z)) s += (double)n_label * saw_weight[k] * (alpha ? alpha[k] : 1) * z;
        }
        adv[i] = any ? (real)s : (real)NAN;
    }
    reward_whiten(adv, n, eps);
}

/* ---- E69 to E71: constraints ---------------------------------------------------------------- */
void reward_lagrangian(real *out, const real *reward, const real *cost, const double *multiplier, size_t n,
                       size_t n_cost) {
    for (size_t i = 0; i < n; i++) {
        double r = reward[i];
        for (size_t k = 0; k < n_cost; k++) r -= multiplier[k] * cost[i * n_cost + k];
        out[i] = (real)r;
    }
}

void reward_constrained_advantage(real *adv, const real *reward, const real *cost, double reward_multiplier,
                                  const double *multiplier, size_t n, size_t n_cost, size_t group_size,
                                  double eps) {
    for (size_t i = 0; i < n; i++) {
        const size_t g = i / group_size * group_size;
        double mean, std;
        reward_moments(&mean, &std, reward + g, group_size, 1, 1);
        double z = z_score(reward[i], mean, std, eps), a = isnan(z) ? 0 : reward_multiplier * z;
        for (size_t k = 0; k < n_cost; k++) {
            reward_moments(&mean, &std, cost + g * n_cost + k, group_size, n_cost, 1);
            z = z_score(cost[i * n_cost + k], mean, std, eps);
            if (!isnan(z)) a -= multiplier[k] * z;
        }
        adv[i] = (real)a;
    }
}

void reward_multiplier_step(double *multiplier, const real *cost, const double *budget, double eta,
                            double max, size_t n, size_t n_cost) {
    for (size_t k = 0; k < n_cost; k++) {
        double mean;
        if (!reward_moments(&mean, NULL, cost + k, n, n_cost, 1)) continue;
        const double x = multiplier[k] + eta * (mean - budget[k]);
        multiplier[k] = x < 0 ? 0 : x > max ? max : x;
    }
}

void reward_floor_advantage(real *adv, real *cost, double *multiplier, const real *reward, const real *score,
                            const double *floor, double eta, double max, size_t n, size_t n_label,
                            size_t group_size, double eps) {
    for (size_t i = 0; i < n * n_label; i++) cost[i] = -score[i];
    reward_constrained_advantage(adv, reward, cost, 1, multiplier, n, n_label, group_size, eps);
    /* eta (mean cost - budget), both signs turned */
    reward_multiplier_step(multiplier, score, floor, -eta, max, n, n_label);
}

/* ---- E73, E74 ------------------------------------------------------------------------------- */
void reward_label_share(double *share, const real *score, const double *weight, size_t n, size_t n_label,
                        size_t group_size) {
    for (size_t g = 0; g + group_size <= n; g += group_size) {
        const real *r = score + g * n_label;
        double *out = share + g / group_size * n_label;
        double count = 0, var = 0;
        for (size_t k = 0; k < n_label; k++) out[k] = 0;
        for (size_t i = 0; i < group_size; i++) {               /* pass 1: means, kept in out */
            bool whole = true;
            for (size_t k = 0; k < n_label; k++) whole &= !isnan(r[i * n_label + k]);
            if (!whole) continue;
            count++;
            for (size_t k = 0; k < n_label; k++) out[k] += r[i * n_label + k];
        }
        /* Cov(r_k, R) = sum_j w_j Cov(r_k, r_j): per label one more pass, means recomputed from the kept sums
         */
        double mean_reward = 0;
        for (size_t k = 0; k < n_label; k++) mean_reward += weight[k] * (out[k] / count);
        for (size_t k = 0; k < n_label; k++) {
            const double mean = out[k] / count;
            double cov = 0;
            var = 0;
            for (size_t i = 0; i < group_size; i++) {
                double reward = 0;
                for (size_t j = 0; j < n_label; j++) reward += weight[j] * r[i * n_label + j];
                if (isnan(reward)) continue;
                cov += (r[i * n_label + k] - mean) * (reward - mean_reward);
                var += (reward - mean_reward) * (reward - mean_reward);
            }
            out[k] = var > 0 ? weight[k] * cov / var : NAN;
        }
    }
}

void reward_chebyshev(real *reward, const real *score, const double *weight, const double *low,
                      const double *high, size_t n, size_t n_label) {
    for (size_t i = 0; i < n; i++) {
        double worst = NAN;
        for (size_t k = 0; k < n_label; k++) {
            const double x = (score[i * n_label + k] - low[k]) / (high[k] - low[k]) / weight[k];
            if (!isnan(x) && !(worst <= x)) worst = x;
        }
        reward[i] = (real)worst;
    }
}
