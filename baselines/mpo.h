/* mpo.h: several policies as one (E246 to E253): weights of the policies by mirror descent or from given
 * weights of their goals, and the mixture itself.
 *
 * log_ratio [n_policy, n_reply] holds L_jk = log pi_k(y_j|x) - log pi_ref(y_j|x), whole replies of the
 * reference to one prompt, in nats. All values are double, sums ascending. Nothing here allocates or knows
 * the model. */
#ifndef MPO_H
#define MPO_H

#include <stddef.h>

#include "lib/real.h"

/* E246, E247: share [n_reply] = softmax_j( sum_k lambda_k L_jk ), to which `gradient` [n_policy] adds
 * v_k = sum_j share_j L_jk times `scale`: 1 over the number of prompts. Returns E253, the effective number of
 * replies. */
double mpo_gradient(double *gradient, double *share, const double *log_ratio, const double *lambda,
                    int n_policy, int n_reply, double scale);
/* E248: lambda [n_policy] becomes lambda exp(-eta v), normalised. */
void mpo_descend(double *lambda, const double *gradient, int n_policy, double eta);
/* E249: average is that of `step` - 1 vectors, and becomes that of these and lambda. */
void mpo_average(double *average, const double *lambda, int n_policy, int step);
/* mean_j exp(L_jk) of one policy: near 1 where the replies show enough of it, for it estimates a sum of
 * probabilities. */
double mpo_mean_ratio(const double *log_ratio, int n_reply);

/* E252: sums over prompts for the slope of L_jk on the reward r_j, both less their prompt's mean; all zero at
 * first. The coefficient in force is 1 / slope. */
typedef struct { double rr, rl; } MpoSlope;
void mpo_slope_add(MpoSlope *s, const double *reward, const double *log_ratio, int n_reply);
/* E252: the weight of a policy whose goal weighs w, where the whole is to pay beta for divergence. */
double mpo_given_weight(double w, double slope, double beta);

/* E250 without its normalisation: z [vocab] = sum_k lambda_k logits_k, logits [n_policy] rows of raw logits;
 * z may be the first of them. One policy of weight 1 keeps its bits, whatever others of weight 0 say. The
 * weights sum to 1 (the reference is one of the policies where the others' do not). */
void mpo_mixture(real *z, const real *const *logits, const double *lambda, int n_policy, int vocab);

#endif
