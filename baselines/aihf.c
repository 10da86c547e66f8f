/* aihf.c: demonstrations and preferences in one loss of a reward model (E224 to E228). The form without a
 * reward model (E229) is DPO with SFT on the demonstrations (cmd/dpo.c). */
#include "baselines/aihf.h"

#include "baselines/combine.h"

static double mean_reward(const real *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

double aihf_difference(real *ddemo, real *dsample, const real *demo, size_t n_demo, const real *sample,
                       size_t n_sample, double beta, double weight) {
    for (size_t i = 0; i < n_demo; i++) ddemo[i] = (real)(-weight / (beta * (double)n_demo));
    for (size_t i = 0; i < n_sample; i++) dsample[i] = (real)(weight / (beta * (double)n_sample));
    return -weight / beta * (mean_reward(demo, n_demo) - mean_reward(sample, n_sample));
}

double aihf_pairs(real *dchosen, real *drejected, const real *chosen, const real *rejected, size_t n,
                  double weight) {
    double accuracy, margin;
    const double loss =
        combine_pair_loss(dchosen, drejected, &accuracy, &margin, chosen, rejected, NULL, 0, n);
    for (size_t i = 0; i < n; i++) dchosen[i] *= (real)weight, drejected[i] *= (real)weight;
    return weight * loss;
}
