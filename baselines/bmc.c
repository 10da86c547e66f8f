/* bmc.c: where two replies differ, and the weight of a token there: E206 to E209. */
#include "baselines/bmc.h"

#include <string.h>

const char *const bmc_reference_names[] = {"reference", "policy", NULL};

bool bmc_config_check(const BmcConfig *c, const DpoConfig *d, Err *e) {
    static const DpoLoss other[] = {DPO_IPO,   DPO_SIGMOID_NORM, DPO_SFT,        DPO_TDPO1,
                                    DPO_TDPO2, DPO_FLOW_DB,   DPO_FLOW_SUBTB, DPO_FLOW_TB};
    if (!(c->delta >= 0) || isinf(c->delta))
        return fail(e, "bmc_delta: found %g, expected 0 (no weights) or more", c->delta);
    if (c->delta == 0) return true;
    const char *found = dpo_loss_among(d, other, sizeof other / sizeof *other);
    if (found)
        return fail(e,
                    "bmc_delta: found %g, but loss_type %s is not made of plain sums over tokens; expected "
                    "one that is (sigmoid, ipo_sum)",
                    c->delta, found);
    if (!isnan(d->ld_alpha))
        return fail(e, "bmc_delta: found %g beside ld_alpha %g, but both weigh the tokens; leave one out",
                    c->delta, d->ld_alpha);
    return true;
}

/* ---- E209 ---- */

typedef struct { size_t w, l, n; } Block;

/* The longest block of w[w .. w_end) and l[l .. l_end). run[j]: length of the common run that ends at the
 * current token of l and at w[j]. */
static Block longest_block(const int *w, size_t w_first, size_t w_end, const int *l, size_t l_first,
                           size_t l_end, int *run) {
    Block best = {0, 0, 0};
    memset(run + w_first, 0, (w_end - w_first) * sizeof *run);
    for (size_t i = l_first; i < l_end; i++) {
        int before = 0;                 /* run[j - 1] of the token of l before */
        for (size_t j = w_first; j < w_end; j++) {
            const int above = run[j];
            run[j] = l[i] == w[j] ? before + 1 : 0;
            before = above;
            if ((size_t)run[j] > best.n) {
                best.n = (size_t)run[j];
                best.w = j + 1 - best.n, best.l = i + 1 - best.n;
            }
        }
    }
    return best;
}

static void match_blocks(unsigned char *changed_w, unsigned char *changed_l, const int *w, size_t w_first,
                         size_t w_end, const int *l, size_t l_first, size_t l_end, int *run) {
    if (w_first == w_end || l_first == l_end) return;
    const Block b = longest_block(w, w_first, w_end, l, l_first, l_end, run);
    if (!b.n) return;
    memset(changed_w + b.w, 0, b.n), memset(changed_l + b.l, 0, b.n);
    match_blocks(changed_w, changed_l, w, w_first, b.w, l, l_first, b.l, run);
    match_blocks(changed_w, changed_l, w, b.w + b.n, w_end, l, b.l + b.n, l_end, run);
}

void bmc_changed(unsigned char *changed_w, unsigned char *changed_l, const int *w, size_t n_w, const int *l,
                 size_t n_l, int *run) {
    memset(changed_w, 1, n_w), memset(changed_l, 1, n_l);
    match_blocks(changed_w, changed_l, w, 0, n_w, l, 0, n_l, run);
}

/* ---- weights ---- */

double bmc_weight(real logp, bool changed, double delta) {
    if (!changed) return 1;
    const double inverse = d_exp(-(double)logp);
    return 1 + (inverse < delta ? inverse : delta);
}

double bmc_sum(const real *x, const real *by, const unsigned char *changed, size_t n, double delta) {
    double sum = 0;
    for (size_t t = 0; t < n; t++) sum += bmc_weight(by[t], changed[t], delta) * x[t];
    return sum;
}

/* u = sum lambda_w logp_w - sum lambda_l logp_l - (the same with ref) */
void bmc_pair(DpoPair *p, const real *logp_w, const real *ref_w, const unsigned char *changed_w, size_t n_w,
              const real *logp_l, const real *ref_l, const unsigned char *changed_l, size_t n_l,
              const BmcConfig *c) {
    const bool own = c->reference == BMC_REFERENCE;
    p->logp_w = bmc_sum(logp_w, logp_w, changed_w, n_w, c->delta);
    p->logp_l = bmc_sum(logp_l, logp_l, changed_l, n_l, c->delta);
    p->ref_w = bmc_sum(ref_w, own ? ref_w : logp_w, changed_w, n_w, c->delta);
    p->ref_l = bmc_sum(ref_l, own ? ref_l : logp_l, changed_l, n_l, c->delta);
}

void bmc_derive(real *dlogp, const real *logp, const unsigned char *changed, size_t n, double delta) {
    for (size_t t = 0; t < n; t++) dlogp[t] = (real)(bmc_weight(logp[t], changed[t], delta) * dlogp[t]);
}
