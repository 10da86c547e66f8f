/* aihf.c: demonstrations and preferences in one loss of a reward model (E224 to E228). The form without a
 * reward model (E229) is DPO with SFT on the demonstrations (cmd/dpo.c). */
#include "baselines/aihf.h"

#include "baselines/combine.h"

/* *square: the mean of the squares */
static double mean_reward(double *square, const real *x, size_t n) {
    double sum = 0;
    *square = 0;
    for (size_t i = 0; i < n; i++) sum += x[i], *square += (double)x[i] * x[i] / (double)n;
    return sum / (double)n;
}

double aihf_difference(real *ddemo, real *dsample, const real *demo, size_t n_demo, const real *sample,
                       size_t n_sample, double beta, double center, double weight) {
    const double n = (double)n_demo, m = (double)n_sample;
    double demo_square, sample_square;
    for (size_t i = 0; i < n_demo; i++) ddemo[i] = (real)(weight * (-1 / beta + 2 * center * demo[i]) / n);
    for (size_t i = 0; i < n_sample; i++)
        dsample[i] = (real)(weight * (1 / beta + 2 * center * sample[i]) / m);
    const double apart =
        mean_reward(&demo_square, demo, n_demo) - mean_reward(&sample_square, sample, n_sample);
    return weight * (-apart / beta + center * (demo_square + sample_square));
}

double aihf_pairs(real *dchosen, real *drejected, const real *chosen, const real *rejected, size_t n,
                  double center, double weight) {
    double accuracy, margin;
    const double loss =
        combine_pair_loss(dchosen, drejected, &accuracy, &margin, chosen, rejected, NULL, center, n);
    for (size_t i = 0; i < n; i++) dchosen[i] *= (real)weight, drejected[i] *= (real)weight;
    return weight * loss;
}
