/* net/logits.h: one row of logits over the vocabulary: log-probabilities and entropy (E23 to E27), its
 * divergence from a second row (E28), and the derivatives of all by the logits. Nothing here knows the model.
 */
#ifndef LOGITS_H
#define LOGITS_H

#include "lib/base.h"
#include "lib/real.h"

/* E23, E25, E27: one row of logits; z is divided by tau in place. The sum goes over blocks of LOGITS_BLOCK in
 * ascending order. */
/* lse = max + log_sum; log p_v = (z_v - max) - log_sum */
typedef struct { real max, sum, log_sum, entropy; } LogitStats;
LogitStats logits_stats(real *z, int vocab, double temperature, bool want_entropy);
/* E23 of every token: z becomes log p at temperature 1. */
void logits_logp(real *z, int vocab);
/* The same without entropy, for E308: total_at [blocks of LOGITS_BLOCK ids]: the sum of exp(z - max) over all
 * ids up to a block's end, one by one in double. */
enum { LOGITS_BLOCK = 4096 };
LogitStats logits_totals(real *z, int vocab, double temperature, double *total_at);
/* E24, E26: z [vocab] (as left by logits_stats) becomes dz, for n targets of this row with derivatives dlogp
 * and (or NULL) dentropy. */
void logits_backward(real *z, int vocab, double temperature, const LogitStats *s, const int *target,
                     const real *dlogp, const real *dentropy, int n);
/* E28: KL(p~ || p) of the rows other and z, both as left by logits_stats; sums as there. And back: other
 * becomes c times the derivative by the logits of p before the temperature. */
real logits_kl(const real *other, const LogitStats *of_other, const real *z, const LogitStats *s, int vocab);
void logits_kl_backward(real *other, const LogitStats *of_other, const real *z, const LogitStats *s,
                        int vocab, double temperature, real c);

#endif
