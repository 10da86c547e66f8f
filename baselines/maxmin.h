/* maxmin.h: MaxMin-RLHF: users who disagree get several reward models, found by a hard EM, and the policy
 * follows the group that is worst off.
 *
 * U = n_model reward models, at most MAXMIN_MODELS. Arrays are real, values in between double, sums
 * ascending. Nothing here allocates or knows the model. */
#ifndef MAXMIN_H
#define MAXMIN_H

#include "lib/base.h"
#include "lib/real.h"

enum { MAXMIN_MODELS = 8 };

/* E218: likelihood [n_user, n_model] = sum over pairs j of user k of log sigma(margin_uj); margin [n_model,
 * n_pair] is what model u scores the chosen reply of a pair above the rejected one, user [n_pair] whose pair
 * it is. A user without pairs has 0. */
void maxmin_likelihoods(double *likelihood, const real *margin, const int *user, size_t n_pair, size_t n_user,
                        size_t n_model);
/* E219: member [n_user] <- the model under which the user's pairs are likeliest, the lowest among equals.
 * Returns how many moved; 0: the EM has settled (E220). */
size_t maxmin_assign(int *member, const double *likelihood, size_t n_user, size_t n_model);

/* E222: what puts a model on the common scale: r <- factor r + shift has mean 0 and (divisor n) deviation 1
 * over the n scores; a deviation below 1e-6 counts as that. */
void maxmin_scale(double *factor, double *shift, const real *score, size_t n);

/* E221: mean [n_label] of each label's scores [n, n_label] over the whole batch, NaN left out, and the label
 * with the lowest, the first among equals; a label without scores has mean NaN and is never the worst. mean
 * may be NULL. */
size_t maxmin_worst(double *mean, const real *score, size_t n, size_t n_label);
/* D33: reward_i = the lowest score of the row, NaN left out; NaN if all are. */
void maxmin_lowest(real *reward, const real *score, size_t n, size_t n_label);

#endif
