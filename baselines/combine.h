/* combine.h: other ways from several scores to one reward or advantage, and from pairs to a score.
 *
 * Arrays as in reward.h: [n, n_label], one row a completion, NaN = missing, completions of one prompt side by
 * side. */
#ifndef COMBINE_H
#define COMBINE_H

#include "lib/real.h"

/* E56, E57: pairwise loss of n pairs; margin NULL: 0; center: kappa, 0 = off. dchosen, drejected are
 * overwritten (NULL: not wanted). accuracy: share of chosen > rejected; margin_mean: mean of chosen -
 * rejected. Returns the loss. */
double combine_pair_loss(real *dchosen, real *drejected, double *accuracy, double *margin_mean,
                         const real *chosen, const real *rejected, const real *margin, double center,
                         size_t n);

/* The same as verl has it (D7): groups' deviations + eps_group, each completion counted length_i times in
 * mean and variance, sqrt(var + eps_var). sum_out [n] may be NULL. All scores must be there. */
void combine_gdpo_by_token(real *adv, real *sum_out, const real *score, const double *weight,
                           const double *length, size_t n, size_t n_label, size_t group_size,
                           double eps_group, double eps_var);

/* E66, E67 (SAW): cv [n_label] (NULL: not wanted) and weights out [n_label] from n completions; shift NULL:
 * 0. A label nobody scored has cv 0. */
void combine_saw_weights(double *weight_out, double *cv, const real *score, const double *shift, double delta,
                         size_t n, size_t n_label);
/* E67, reward level: multiplier * sum_k alpha_k w_k r_ik; alpha NULL: 1. Missing scores count 0. */
void combine_saw_reward(real *reward, const real *score, const double *saw_weight, const double *alpha,
                        double multiplier, size_t n, size_t n_label);
/* E68, advantage level: sum_k K w_k alpha_k z_ik, then E63's whitening. scratch [n_label]. */
void combine_saw_advantage(real *adv, double *scratch, const real *score, const double *saw_weight,
                           const double *alpha, size_t n, size_t n_label, size_t group_size, double eps);

/* E69: out_i = reward_i - sum_k multiplier_k cost_ik. out may be reward. cost [n, n_cost]. */
void combine_lagrangian(real *out, const real *reward, const real *cost, const double *multiplier, size_t n,
                        size_t n_cost);
/* E70: adv_i = reward_multiplier z(reward)_i - sum_k multiplier_k z(cost_k)_i; NaN terms add 0. */
void combine_constrained_advantage(real *adv, const real *reward, const real *cost, double reward_multiplier,
                                   const double *multiplier, size_t n, size_t n_cost, size_t group_size,
                                   double eps);
/* E71: multiplier_k <- clip(multiplier_k + eta (mean cost_k - budget_k), 0, max). A cost nobody scored moves
 * nothing. */
void combine_multiplier_step(double *multiplier, const real *cost, const double *budget, double eta,
                             double max, size_t n, size_t n_cost);
/* E69 to E71 for lower bounds: the mean of label k's scores shall reach floor_k (-INFINITY: no floor, and its
 * multiplier stays 0), so that -score_ik is a cost with the budget -floor_k. adv by E70 with lambda_R 1: with
 * all multipliers 0 that of E84, bit for bit; then they move by E71, over all n rows. eta > 0; cost [n,
 * n_label] is scratch. */
void combine_floor_advantage(real *adv, real *cost, double *multiplier, const real *reward, const real *score,
                             const double *floor, double eta, double max, size_t n, size_t n_label,
                             size_t group_size, double eps);

/* E74 (Chebyshev): reward_i = min_k ((r_ik - low_k) / (high_k - low_k)) / weight_k over the scores that are
 * there. */
void combine_chebyshev(real *reward, const real *score, const double *weight, const double *low,
                       const double *high, size_t n, size_t n_label);

#endif
