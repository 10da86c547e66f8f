/* aihf.h: one loss of a reward model from demonstrations and preferences together (AIHF).
 *
 * All are rewards of whole replies: of demonstrations, of the policy's own replies to their prompts, and of
 * the chosen and the rejected reply of pairs. Values in between are double. Nothing here allocates or knows
 * the model. */
#ifndef AIHF_H
#define AIHF_H

#include <stddef.h>

#include "lib/real.h"

/* E224: -(1/beta) (mean of the demonstrations - mean of the policy's replies) + center (mean of the
 * demonstrations' squares + mean of the replies'), times `weight`; ddemo [n_demo] and dsample [n_sample] are
 * overwritten with its derivatives (E226). Without the squares it has no lower bound: where the policy lags
 * behind, the rewards grow without end. The sum's square of E56 would not do, since the two means run apart.
 * Returns the loss with its weight. */
double aihf_difference(real *ddemo, real *dsample, const real *demo, size_t n_demo, const real *sample,
                       size_t n_sample, double beta, double center, double weight);
/* E225, and E228 with a demonstration as the chosen and the policy's reply as the rejected one: E56 without a
 * margin and with `center` for kappa, times `weight`, and its derivatives (E57). Returns the loss with its
 * weight. */
double aihf_pairs(real *dchosen, real *drejected, const real *chosen, const real *rejected, size_t n,
                  double center, double weight);

#endif
