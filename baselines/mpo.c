/* mpo.c: weights of policies, found (E246 to E249) or given (E252), and their mixture (E250). Not here: the
 * replies and their log-probabilities (run/mix.c), decoding (run/rollout.c). */
#include "baselines/mpo.h"

/* ---- E246 to E249, E253: mirror descent ---- */

double mpo_gradient(double *gradient, double *share, const double *log_ratio, const double *lambda,
                    int n_policy, int n_reply, double scale) {
    double max = -INFINITY, sum = 0, square = 0;
    for (int j = 0; j < n_reply; j++) {
        share[j] = 0;
        for (int k = 0; k < n_policy; k++) share[j] += lambda[k] * log_ratio[k * n_reply + j];
        if (share[j] > max) max = share[j];
    }
    for (int j = 0; j < n_reply; j++) sum += share[j] = d_exp(share[j] - max);
    for (int j = 0; j < n_reply; j++) share[j] /= sum, square += share[j] * share[j];
    for (int k = 0; k < n_policy; k++) {
        double v = 0;
        for (int j = 0; j < n_reply; j++) v += share[j] * log_ratio[k * n_reply + j];
        gradient[k] += v * scale;
    }
    return 1 / square;
}

void mpo_descend(double *lambda, const double *gradient, int n_policy, double eta) {
    double least = INFINITY, sum = 0;
    for (int k = 0; k < n_policy; k++) if (gradient[k] < least) least = gradient[k];
    for (int k = 0; k < n_policy; k++) sum += lambda[k] *= d_exp(-eta * (gradient[k] - least));
    for (int k = 0; k < n_policy; k++) lambda[k] /= sum;
}

void mpo_average(double *average, const double *lambda, int n_policy, int step) {
    for (int k = 0; k < n_policy; k++) average[k] += (lambda[k] - average[k]) / step;
}

double mpo_mean_ratio(const double *log_ratio, int n_reply) {
    double sum = 0;
    for (int j = 0; j < n_reply; j++) sum += d_exp(log_ratio[j]);
    return sum / n_reply;
}

/* ---- E252: weights given ---- */

void mpo_slope_add(MpoSlope *s, const double *reward, const double *log_ratio, int n_reply) {
    double r = 0, l = 0;
    for (int j = 0; j < n_reply; j++) r += reward[j], l += log_ratio[j];
    r /= n_reply, l /= n_reply;
    for (int j = 0; j < n_reply; j++) {
        s->rr += (reward[j] - r) * (reward[j] - r);
        s->rl += (reward[j] - r) * (log_ratio[j] - l);
    }
}

double mpo_given_weight(double w, double slope, double beta) { return w / slope / beta; }

/* ---- E250: the mixture ---- */

void mpo_mixture(real *z, const real *const *logits, const double *lambda, int n_policy, int vocab) {
    for (int v = 0; v < vocab; v++) {
        double sum = 0;
        for (int k = 0; k < n_policy; k++) sum += lambda[k] * logits[k][v];
        z[v] = (real)sum;
    }
}
