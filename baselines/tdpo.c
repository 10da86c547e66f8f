/* tdpo.c: token-level DPO: E202 to E204. The sums of a pair (E200, E201) are dpo.c's, from its tokens to the
 * logits goes net/logits.c. */
#include "baselines/tdpo.h"

double tdpo1_loss(TdpoPair *d, const TdpoPair *x, double beta) {
    const double u = x->m_w - x->m_l - (x->kl_l - x->kl_w), c = -beta * d_sigmoid(-beta * u);
    *d = (TdpoPair){.m_w = c, .m_l = -c, .kl_w = c, .kl_l = -c};
    return -d_log_sigmoid(beta * u);
}

double tdpo2_loss(TdpoPair *d, const TdpoPair *x, double beta, double alpha) {
    const double u = x->m_w - x->m_l - alpha * (x->kl_l - x->kl_w), c = -beta * d_sigmoid(-beta * u);
    *d = (TdpoPair){.m_w = c, .m_l = -c, .kl_w = 0, .kl_l = -alpha * c};
    return -d_log_sigmoid(beta * u);
}
