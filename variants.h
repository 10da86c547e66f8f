/* variants.h: what other papers put in the place of the paper's loss, and what a foreign sampler asks for.
 *
 * Numbers in, a loss and its derivative out: nothing here knows a struct of grpo.h, allocates, or knows the
 * model. Ragged arrays as in grpo.h: completion i owns tokens offset[i] .. offset[i+1]-1. Arrays are `real`,
 * values in between double. mask NULL: every token counts. */
#ifndef VARIANTS_H
#define VARIANTS_H

#include "lib/base.h"
#include "lib/real.h"

/* Each returns ell (to be minimised) of one token and sets *g: d ell / d log rho for the first three, d ell /
 * d logp for the others. low and high are epsilon and epsilon_high. */
/* E101: a ratio above delta is cut, also where the advantage is negative */
double variant_delta(double *g, double rho, double adv, double low, double high, double delta);
/* E107 */
double variant_dual_clip(double *g, double log_ratio, double adv, double low, double high, double c);
double variant_sapo(double *g, double rho, double adv, double temperature);     /* E103 */
double variant_cispo(double *g, double rho, double adv, double logp, double high);      /* E102 */
double variant_vespo(double *g, double phi, double adv, double logp);           /* E104 */

/* E104: log W of a completion of n tokens (unclipped sum of clipped terms), and its phi. old NULL: = logp;
 * isr_token [n] and isr_sequence [1] as of E110, NULL: 1. */
double variant_vespo_log_w(const real *logp, const real *old, const unsigned char *mask, size_t n,
                           const real *isr_token, const real *isr_sequence);
double variant_vespo_phi(double log_w, double k, double lambda);

/* E106: J of a completion of n tokens, the geometric mean of its clipped ratios; old NULL: = logp. Its loss
 * is -J A, and a token's *g is that loss again, or 0 where its ratio is clipped. */
double variant_gmpo_mean(const real *logp, const real *old, const unsigned char *mask, size_t n, double adv,
                         double low, double high);
double variant_gmpo(double *g, double mean, double log_ratio, double adv, double low, double high);

/* E108: 1, or 0 for a bad completion whose mean of sampler - logp is above the threshold (NaN: off). */
double variant_off_policy_mask(double adv, double mean_gap, double threshold);
/* E109: the q-quantile of x[n] by linear interpolation; sorts x; n 0: +infinity. */
double variant_quantile(double *x, size_t n, double q);

/* E110: a sampler that is not the trainer. ratio [n_token] in token modes, 1 where masked; [n_completion] in
 * sequence modes. sampler NaN: unknown, counts as old. stats may be NULL; differences are over loss tokens
 * whose sampler value is known, ratio_mean over loss tokens (completions in sequence modes); 0 if there are
 * none. clip_min, clip_max NaN: no bound. */
typedef enum { ISR_TOKEN_TRUNCATE, ISR_TOKEN_MASK, ISR_SEQUENCE_TRUNCATE, ISR_SEQUENCE_MASK } IsrMode;
extern const char *const importance_sampling_mode_names[];
typedef struct { double logp_difference_mean, logp_difference_max, ratio_mean; } IsrStats;
void variant_importance_ratio(real *ratio, IsrStats *stats, const real *old, const real *sampler,
                              const unsigned char *mask, const size_t *offset, size_t n_completion,
                              IsrMode mode, double clip_min, double clip_max);
bool variant_isr_per_token(IsrMode mode);

/* E89: leave-one-out over the scored members; NaN, and the only scored one of a group: 0. normalize: whitened
 * over the batch. adv must not be reward. */
void variant_rloo_advantage(real *adv, const real *reward, size_t n, size_t group_size, bool normalize,
                            double std_eps);
double variant_overlong_penalty(size_t length, size_t max_length, size_t cache);        /* E118 */

#endif
