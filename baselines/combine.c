/* combine.c: other ways from several scores to one.
 *
 * In this order: scores from pairs (E56, E57), GDPO by token (E63), weights by spread (E66 to E68),
 * constraints (E69 to E71), worst label (E74). */
#include "baselines/combine.h"

#include "reward.h"

/* ---- E56, E57: pairs ---- */
double combine_pair_loss(real *dchosen, real *drejected, double *accuracy, double *margin_mean,
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

/* ---- E63: GDPO by token ---- */
void combine_gdpo_by_token(real *adv, real *sum_out, const real *score, const double *weight,
                           const double *length, size_t n, size_t n_label, size_t group_size,
                           double eps_group, double eps_var) {
    reward_z_sum(adv, score, weight, n, n_label, group_size, 1, eps_group);
    double count = 0, sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) count += length[i], sum += adv[i] * length[i];
    const double mean = sum / count;
    for (size_t i = 0; i < n; i++) square += (adv[i] - mean) * (adv[i] - mean) * length[i];
    for (size_t i = 0; i < n; i++) {
        if (sum_out) sum_out[i] = adv[i];
        adv[i] = (real)((adv[i] - mean) / sqrt(square / (count - 1) + eps_var));
    }
}

/* ---- E66 to E68: SAW ---- */
void combine_saw_weights(double *weight_out, double *cv, const real *score, const double *shift, double delta,
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

void combine_saw_reward(real *reward, const real *score, const double *saw_weight, const double *alpha,
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

void combine_saw_advantage(real *adv, double *scratch, const real *score, const double *saw_weight,
                           const double *alpha, size_t n, size_t n_label, size_t group_size, double eps) {
    for (size_t k = 0; k < n_label; k++)
        scratch[k] = (double)n_label * saw_weight[k] * (alpha ? alpha[k] : 1);
    reward_gdpo(adv, score, scratch, n, n_label, group_size, eps);
}

/* ---- E69 to E71: constraints ---- */
void combine_lagrangian(real *out, const real *reward, const real *cost, const double *multiplier, size_t n,
                        size_t n_cost) {
    for (size_t i = 0; i < n; i++) {
        double r = reward[i];
        for (size_t k = 0; k < n_cost; k++) r -= multiplier[k] * cost[i * n_cost + k];
        out[i] = (real)r;
    }
}

void combine_constrained_advantage(real *adv, const real *reward, const real *cost, double reward_multiplier,
                                   const double *multiplier, size_t n, size_t n_cost, size_t group_size,
                                   double eps) {
    for (size_t i = 0; i < n; i++) {
        const size_t g = i / group_size * group_size;
        double mean, std;
        reward_moments(&mean, &std, reward + g, group_size, 1, 1);
        double z = reward_z_score(reward[i], mean, std, eps), a = isnan(z) ? 0 : reward_multiplier * z;
        for (size_t k = 0; k < n_cost; k++) {
            reward_moments(&mean, &std, cost + g * n_cost + k, group_size, n_cost, 1);
            z = reward_z_score(cost[i * n_cost + k], mean, std, eps);
            if (!isnan(z)) a -= multiplier[k] * z;
        }
        adv[i] = (real)a;
    }
}

void combine_multiplier_step(double *multiplier, const real *cost, const double *budget, double eta,
                             double max, size_t n, size_t n_cost) {
    for (size_t k = 0; k < n_cost; k++) {
        double mean;
        if (!reward_moments(&mean, NULL, cost + k, n, n_cost, 1)) continue;
        const double x = multiplier[k] + eta * (mean - budget[k]);
        multiplier[k] = x < 0 ? 0 : x > max ? max : x;
    }
}

void combine_floor_advantage(real *adv, real *cost, double *multiplier, const real *reward, const real *score,
                             const double *floor, double eta, double max, size_t n, size_t n_label,
                             size_t group_size, double eps) {
    for (size_t i = 0; i < n * n_label; i++) cost[i] = -score[i];
    combine_constrained_advantage(adv, reward, cost, 1, multiplier, n, n_label, group_size, eps);
    /* eta (mean cost - budget), both signs turned */
    combine_multiplier_step(multiplier, score, floor, -eta, max, n, n_label);
}

/* ---- E74 ---- */
void combine_chebyshev(real *reward, const real *score, const double *weight, const double *low,
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
