/* maxmin.c: MaxMin-RLHF: likelihoods of users (E218), the E-step (E219), the common scale (E222), the group
 * that is worst off (E221). Not here: the M-step (E220), which is E56 on the pairs of a model's users. */
#include "baselines/maxmin.h"

#include "reward.h"

void maxmin_likelihoods(double *likelihood, const real *margin, const int *user, size_t n_pair, size_t n_user,
                        size_t n_model) {
    for (size_t i = 0; i < n_user * n_model; i++) likelihood[i] = 0;
    for (size_t u = 0; u < n_model; u++)
        for (size_t j = 0; j < n_pair; j++)
            likelihood[(size_t)user[j] * n_model + u] += d_log_sigmoid(margin[u * n_pair + j]);
}

size_t maxmin_assign(int *member, const double *likelihood, size_t n_user, size_t n_model) {
    size_t moved = 0;
    for (size_t k = 0; k < n_user; k++) {
        const double *l = likelihood + k * n_model;
        int best = 0;
        for (int u = 1; u < (int)n_model; u++)
            if (l[u] > l[best]) best = u;
        moved += member[k] != best;
        member[k] = best;
    }
    return moved;
}

void maxmin_scale(double *factor, double *shift, const real *score, size_t n) {
    double mean, sd;
    reward_label_moments(&mean, &sd, score, n, 1);
    *factor = 1 / sd;
    *shift = -mean / sd;
}

size_t maxmin_worst(double *mean, const real *score, size_t n, size_t n_label) {
    size_t worst = 0;
    double lowest = NAN;
    for (size_t k = 0; k < n_label; k++) {
        double of;
        reward_moments(&of, NULL, score + k, n, n_label, 1);
        if (mean) mean[k] = of;
        if (isnan(lowest) ? !isnan(of) : of < lowest) worst = k, lowest = of;
    }
    return worst;
}

void maxmin_lowest(real *reward, const real *score, size_t n, size_t n_label) {
    for (size_t i = 0; i < n; i++) {
        real lowest = (real)NAN;
        for (const real *s = score + i * n_label; s < score + (i + 1) * n_label; s++)
            if (!(lowest <= *s) && !isnan(*s)) lowest = *s;
        reward[i] = lowest;
    }
}
