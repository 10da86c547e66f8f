/* reward.c: from scores of K labels to their loss, and to one reward or advantage.
 *
 * In this order: statistics that leave NaN out, regression loss with missing labels (E42 to E45), clip and
 * weighted sum (E60, E61, E77), group z-scores and what is built on them (E62 to E64), label shares (E73).
 * Not here: how good scores are (run/quality.c), other ways from several scores to one
 * (baselines/combine.c), the network and its head (model.c), advantages from one reward (grpo.c). */
#include "reward.h"

/* ---- statistics (E303) ---- */
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

/* ---- E42 to E45: training the regressor ---- */
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

/* ---- E60, E61, E77 ---- */
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

/* ---- E62 to E64 ---- */
double reward_z_score(double x, double mean, double std, double eps) {
    return std == 0 ? 0 * x : (x - mean) / (std + eps);         /* 0 * x: a missing score stays NaN */
}

void reward_group_z(real *z, const real *score, size_t n, size_t n_label, size_t group_size, int ddof,
                    double eps) {
    for (size_t g = 0; g + group_size <= n; g += group_size)
        for (size_t k = 0; k < n_label; k++) {
            double mean, std;
            reward_moments(&mean, &std, score + g * n_label + k, group_size, n_label, ddof);
            for (size_t i = g; i < g + group_size; i++)
                z[i * n_label + k] = (real)reward_z_score(score[i * n_label + k], mean, std, eps);
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

void reward_z_sum(real *sum, const real *score, const double *weight, size_t n, size_t n_label,
                  size_t group_size, int ddof, double eps) {
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        bool any = false;
        for (size_t k = 0; k < n_label; k++) {
            double mean, std;
            reward_moments(&mean, &std, score + i / group_size * group_size * n_label + k, group_size,
                           n_label, ddof);
            const double z = reward_z_score(score[i * n_label + k], mean, std, eps);
            any |= !isnan(score[i * n_label + k]);
            if (!isnan(z)) s += weight[k] * z;
        }
        sum[i] = any ? (real)s : (real)NAN;
    }
}

double reward_gdpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                   size_t group_size, double eps) {
    reward_z_sum(adv, score, weight, n, n_label, group_size, 1, eps);
    return reward_whiten(adv, n, eps);
}

void reward_mo_grpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                    size_t group_size, int ddof, double eps) {
    reward_z_sum(adv, score, weight, n, n_label, group_size, ddof, eps);
    for (size_t i = 0; i < n; i++) if (isnan(adv[i])) adv[i] = 0;
}

/* ---- E73 ---- */
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
