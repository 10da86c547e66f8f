/* dvpo.h: DVPO: a value model trained once on stored replies, then frozen; the policy alone is trained by
 * what it says of the policy's own replies. No reward model is asked, no critic learns.
 *
 * A reply of n tokens has n + 1 values v_0 .. v_n: v_t, t < n, is that of the row that predicts token t, v_n
 * that of the row of the last token, when the text is finished. Ragged arrays as in ppo.h; of values, reply i
 * owns n + 1. Arrays are real, values in between double, sums ascending. Nothing here allocates or knows the
 * model. */
#ifndef DVPO_H
#define DVPO_H

#include "lib/base.h"
#include "lib/real.h"

typedef enum { ADVANTAGE_Q, ADVANTAGE_TD } DvpoAdvantage;
extern const char *const dvpo_advantage_names[];        /* q, td; NULL at the end */

/* E240, E241: targets of all values value[offset[i]] .. value[offset[i + 1] - 1] of reply i, whose score
 * stands at the last of them. Constants: target must not be value. */
void dvpo_targets(real *target, const real *value, const real *score, const size_t *offset, size_t n_reply,
                  double gamma, double lam);
/* E242 of n values of n_valid: adds to *loss; overwrites dvalue. */
void dvpo_value_loss(double *loss, real *dvalue, const real *value, const real *target, size_t n,
                     double n_valid);
/* E243, E245, before they are whitened (E145): adv and reward per token, offset that of the tokens; reward is
 * E140's, without a score. */
void dvpo_advantages(real *adv, const real *reward, const real *value, const size_t *offset, size_t n_reply,
                     DvpoAdvantage advantage, double gamma, double lam);

#endif
