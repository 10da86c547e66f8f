/* test_bmc.c: weights of tokens where two replies differ: the blocks by hand, the derivative against
 * differences (double build), settings that exclude each other. */
#include "baselines/bmc.h"
#include "tests/test.h"

/* Letters for tokens; the outcome as a text of . (the same) and x (changed). */
static bool blocks_are(const char *w, const char *l, const char *want_w, const char *want_l) {
    int a[32] = {0}, b[32] = {0}, run[32];
    unsigned char changed_w[32], changed_l[32];
    const size_t n_w = strlen(w), n_l = strlen(l);
    bool ok = true;
    for (size_t i = 0; i < n_w; i++) a[i] = w[i];
    for (size_t i = 0; i < n_l; i++) b[i] = l[i];
    bmc_changed(changed_w, changed_l, a, n_w, b, n_l, run);
    for (size_t i = 0; i < n_w; i++) ok = ok && changed_w[i] == (want_w[i] == 'x');
    for (size_t i = 0; i < n_l; i++) ok = ok && changed_l[i] == (want_l[i] == 'x');
    return ok;
}

static void test_E209_blocks(void) {
    CHECK(blocks_are("abxc", "abyc", "..x.", "..x."));         /* first "ab", then "c" to its right */
    CHECK(blocks_are("axcdy", "abcd", ".x..x", ".x.."));        /* first "cd", then "a" to its left */
    CHECK(blocks_are("abc", "abc", "...", "..."));
    CHECK(blocks_are("abc", "def", "xxx", "xxx"));
    CHECK(blocks_are("", "ab", "", "xx"));
    /* of the equals "ab" and "cd" the first in l is taken, and what stands across it is lost */
    CHECK(blocks_are("cdab", "abcd", "xx..", "..xx"));
    CHECK(blocks_are("abcd", "cdab", "xx..", "..xx"));
    /* "ab" occurs twice in w: the first */
    CHECK(blocks_are("abxab", "ab", "..xxx", ".."));
    /* a run that was broken does not go on where another token of l matches */
    CHECK(blocks_are("aab", "ab", "x..", ".."));
}

enum { W = 4, L = 3 };
static real logp[W + L] = {(real)-0.2, (real)-2.0, (real)-0.1, (real)-0.9,
                           (real)-0.3, (real)-0.6, (real)-1.1};
static const real ref[W + L] = {(real)-0.4, (real)-1, (real)-0.2, (real)-0.3, (real)-0.2, (real)-1.5, -1};
static const unsigned char changed[W + L] = {0, 1, 1, 0, 1, 0, 1};

/* The loss with E206's weights held at those of `at`: what the derivative, whose weights are constants, is
 * the derivative of. */
static double loss_at(const real *at, const BmcConfig *c, const DpoConfig *d, real *dlogp) {
    DpoPair p;
    double loss = 0, sum[4] = {0};
    dpo_pair(&p, logp, ref, W, logp + W, ref + W, L, d);
    for (int t = 0; t < W + L; t++) {
        const double own = bmc_weight(at[t], changed[t], c->delta),
                     other = c->reference == BMC_POLICY ? own : bmc_weight(ref[t], changed[t], c->delta);
        sum[t >= W] += own * logp[t], sum[2 + (t >= W)] += other * ref[t];
    }
    if (dlogp) bmc_pair(&p, logp, ref, changed, W, logp + W, ref + W, changed + W, L, c);
    else p.logp_w = sum[0], p.logp_l = sum[1], p.ref_w = sum[2], p.ref_l = sum[3];
    dpo_loss(&loss, &p, 0, 1, 1, W, d, NULL);
    if (dlogp) {
        dpo_derive(dlogp, dlogp + W, &p, W, d);
        bmc_derive(dlogp, logp, changed, W, c->delta);
        bmc_derive(dlogp + W, logp + W, changed + W, L, c->delta);
    }
    return loss;
}

static void test_E208_derivative(void) {
    static const DpoLoss type[] = {DPO_SIGMOID, DPO_HINGE, DPO_ROBUST, DPO_NCA_PAIR, DPO_SPPO_HARD};
    if (sizeof(real) == 4) return;
    for (int k = 0; k < 10; k++) {
        const BmcConfig c = {.delta = 3, .reference = (BmcReference)(k & 1)};
        DpoConfig d;
        real at[W + L], slope[W + L];
        dpo_config_default(&d);
        d.loss_type[0] = type[k / 2];
        memcpy(at, logp, sizeof at);
        CHECK_NEAR(loss_at(at, &c, &d, slope), loss_at(at, &c, &d, NULL), 1e-14);
        for (int t = 0; t < W + L; t++) {
            logp[t] = at[t] + (real)6e-6;
            const double up = loss_at(at, &c, &d, NULL);
            logp[t] = at[t] - (real)6e-6;
            const double down = loss_at(at, &c, &d, NULL);
            logp[t] = at[t];
            CHECK_NEAR(slope[t], (up - down) / 12e-6, 1e-8);
        }
    }
}

static void test_E206_weight(void) {
    CHECK_NEAR(bmc_weight((real)-0.5, true, 3), 1 + exp(0.5), 1e-6);
    CHECK_NEAR(bmc_weight((real)-2, true, 3), 4, 0);
    CHECK_NEAR(bmc_weight((real)-0.5, false, 3), 1, 0);
}

/* Where nothing is changed the loss is DPO's, bit for bit. */
static void test_E207_alike(void) {
    static const unsigned char none[W + L] = {0};
    DpoConfig d;
    DpoPair plain, weighed;
    dpo_config_default(&d);
    dpo_pair(&plain, logp, ref, W, logp + W, ref + W, L, &d);
    weighed = plain;
    bmc_pair(&weighed, logp, ref, none, W, logp + W, ref + W, none + W, L, &(BmcConfig){.delta = 2});
    CHECK(!memcmp(&plain, &weighed, sizeof plain));
}

static void test_settings(void) {
    static const DpoLoss refused[] = {DPO_IPO, DPO_SIGMOID_NORM, DPO_SFT};
    Err e;
    DpoConfig d;
    dpo_config_default(&d);
    CHECK(bmc_config_check(&(BmcConfig){.delta = 2}, &d, &e));
    CHECK(!bmc_config_check(&(BmcConfig){.delta = -1}, &d, &e));
    CHECK(!bmc_config_check(&(BmcConfig){.delta = NAN}, &d, &e));
    for (int k = 0; k < 3; k++) {
        d.loss_type[0] = refused[k];
        CHECK(!bmc_config_check(&(BmcConfig){.delta = 2}, &d, &e));
        CHECK(bmc_config_check(&(BmcConfig){.delta = 0}, &d, &e));
    }
    dpo_config_default(&d);
    d.ld_alpha = 0.5;
    CHECK(!bmc_config_check(&(BmcConfig){.delta = 2}, &d, &e));
}

int main(void) {
    test_E209_blocks();
    test_E206_weight();
    test_E208_derivative();
    test_E207_alike();
    test_settings();
    return test_end();
}
