/* bmc.h: tokens weighted by where two replies differ (BMC), a modifier of the losses of pairs that sum
 * tokens.
 *
 * Per pair: bmc_changed once, from the tokens alone; then bmc_sum in place of the plain sums of dpo_pair, and
 * bmc_derive behind dpo_derive. A token's weight is a constant of its log-probability, in nats at temperature
 * 1: no gradient flows through it. Nothing here allocates. */
#ifndef BMC_H
#define BMC_H

#include "baselines/dpo.h"

/* Whose probabilities weigh the tokens under the reference: its own, as in the authors' program, or those of
 * the policy, which makes the difference of sums a weighted log-ratio. */
typedef enum { BMC_REFERENCE, BMC_POLICY } BmcReference;
extern const char *const bmc_reference_names[];         /* in this order, NULL at the end */
typedef struct { double delta; BmcReference reference; } BmcConfig;     /* delta: of E206; 0: no weights */
/* The range of delta, and losses that it has no meaning for. */
bool bmc_config_check(const BmcConfig *c, const DpoConfig *d, Err *e);

/* E209: 1 where a token lies outside the matching blocks of the two replies, else 0. A block is the longest
 * run of tokens that both have, of equals the first in l and then the first in w; then the same to its left
 * and to its right. run: n_w entries that are overwritten. O(n_w n_l) for each level of blocks. */
void bmc_changed(unsigned char *changed_w, unsigned char *changed_l, const int *w, size_t n_w, const int *l,
                 size_t n_l, int *run);

/* E206: a token's weight, 1 + changed min(1/p, delta). */
double bmc_weight(real logp, bool changed, double delta);
/* E207: sum_t lambda_t x_t over n tokens, their weights by the probabilities `by`. */
double bmc_sum(const real *x, const real *by, const unsigned char *changed, size_t n, double delta);
/* E207: a pair's sums of policy and reference, in place of E160's; the rest of *p stays. */
void bmc_pair(DpoPair *p, const real *logp_w, const real *ref_w, const unsigned char *changed_w, size_t n_w,
              const real *logp_l, const real *ref_l, const unsigned char *changed_l, size_t n_l,
              const BmcConfig *c);
/* E208: dlogp_t *= lambda_t. */
void bmc_derive(real *dlogp, const real *logp, const unsigned char *changed, size_t n, double delta);

#endif
