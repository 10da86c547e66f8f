/* tdpo.h: token-level DPO: the loss of DPO with the KL of reference and policy at every position of both
 * replies, which keeps the policy near the reference on the rejected one. Plain numbers; nothing here knows
 * the model. */
#ifndef TDPO_H
#define TDPO_H

#include "lib/base.h"
#include "lib/real.h"

/* Of one pair: log-ratios of policy and reference (E200) and KL(reference || policy) (E201), each the sum
 * over a reply's positions; or the derivatives by them. */
typedef struct { double m_w, m_l, kl_w, kl_l; } TdpoPair;

/* Both: -log sigma(beta u) of one pair, and in *d its derivatives (E204). beta > 0, alpha >= 0.
 * E202, TDPO1: u = m_w - m_l - (kl_l - kl_w). */
double tdpo1_loss(TdpoPair *d, const TdpoPair *x, double beta);
/* E203, TDPO2: u = m_w - m_l - alpha (kl_l - kl_w), where kl_w is a constant. */
double tdpo2_loss(TdpoPair *d, const TdpoPair *x, double beta, double alpha);

#endif
