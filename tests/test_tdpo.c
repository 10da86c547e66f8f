/* test_tdpo.c: the derivatives of both versions against differences, what is known of their values, and the
 * settings that do not go together. From sums to logits: test_model.c and the known answers. */
#include "baselines/tdpo.h"
#include "baselines/dpo.h"
#include "tests/test.h"

static const TdpoPair sums = {0.9, -1.3, 0.4, 2.1};
static const double beta = 0.7, alpha = 0.3;

/* The loss with kl_w of TDPO2 held where it was: its gradient stops there. */
static double loss_of(int version, const TdpoPair *x, TdpoPair *d) {
    TdpoPair held = *x, ignored;
    if (version == 1) return tdpo1_loss(d ? d : &ignored, x, beta);
    held.kl_w = sums.kl_w;
    return tdpo2_loss(d ? d : &ignored, &held, beta, alpha);
}

static void test_E204_derivative(void) {
    for (int version = 1; version <= 2; version++) {
        TdpoPair d, x = sums;
        loss_of(version, &x, &d);
        double *const at[] = {&x.m_w, &x.m_l, &x.kl_w, &x.kl_l};
        const double got[] = {d.m_w, d.m_l, d.kl_w, d.kl_l};
        for (int i = 0; i < 4; i++) {
            const double keep = *at[i], h = 1e-5;
            *at[i] = keep + h;
            const double up = loss_of(version, &x, NULL);
            *at[i] = keep - h;
            const double down = loss_of(version, &x, NULL);
            *at[i] = keep;
            CHECK_NEAR(got[i], (up - down) / (2 * h), 1e-10);
        }
    }
}

/* E202, E203 by hand: u = 2.2 - 1.7 = 0.5; 2.2 - 0.3 * 1.7 = 1.69. */
static void test_E202_E203_values(void) {
    TdpoPair d;
    CHECK_NEAR(tdpo1_loss(&d, &sums, beta), log(1 + exp(-0.7 * 0.5)), 1e-15);
    CHECK(d.kl_w == d.m_w && d.kl_l == d.m_l);          /* TDPO1 also raises the chosen reply's divergence */
    CHECK_NEAR(tdpo2_loss(&d, &sums, beta, alpha), log(1 + exp(-0.7 * 1.69)), 1e-15);
    CHECK(d.kl_w == 0 && d.kl_l > 0);                   /* TDPO2 lowers the rejected one's alone */
    /* without divergence, or with alpha 0, both are DPO */
    const TdpoPair none = {0.9, -1.3, 0, 0};
    const double dpo = log(1 + exp(-0.7 * 2.2));
    CHECK_NEAR(tdpo1_loss(&d, &none, beta), dpo, 1e-15);
    CHECK_NEAR(tdpo2_loss(&d, &none, beta, alpha), dpo, 1e-15);
    CHECK_NEAR(tdpo2_loss(&d, &sums, beta, 0), dpo, 1e-15);
    CHECK(d.kl_l == 0);
}

/* Through the losses of pairs: sums of tokens, the mean over pairs, the reported rewards beta (m + kl). */
static void test_pairs(void) {
    const real logp[] = {-1, -2, -3}, ref[] = {(real)-1.5, -2, -1}, kl[] = {(real)0.25, (real)0.5, 2};
    DpoConfig c;
    DpoPair p[2] = {{0}};
    double loss = 0;
    dpo_config_default(&c);
    c.loss_type[0] = DPO_TDPO2, c.tdpo_alpha = alpha, c.beta = beta;
    for (int i = 0; i < 2; i++) {                       /* chosen: two tokens, rejected: one */
        dpo_pair(&p[i], logp, ref, 2, logp + 2, ref + 2, 1, &c);
        dpo_pair_kl(&p[i], kl, kl + 2);
    }
    dpo_loss(&loss, p, 0, 1, 2, 2, &c, NULL);
    TdpoPair d;
    const double one = tdpo2_loss(&d, &(TdpoPair){0.5, -2, 0.75, 2}, beta, alpha);
    CHECK_NEAR(loss, one / 2, 1e-15);
    CHECK_NEAR(p[0].dx_w, d.m_w / 2, 1e-15);
    CHECK_NEAR(p[0].dx_l, d.m_l / 2, 1e-15);
    CHECK_NEAR(p[0].dkl_l, d.kl_l / 2, 1e-15);
    CHECK(p[0].dkl_w == 0 && p[1].dkl_l == 0);
    c.loss_type[0] = DPO_TDPO1;
    dpo_loss(&loss, p, 1, 1, 2, 2, &c, NULL);
    CHECK_NEAR(p[1].dkl_w, p[1].dx_w, 0);
    DpoMetrics m;
    dpo_metrics(&m, p, 2, &c);
    CHECK_NEAR(m.reward_chosen, beta * 1.25, 1e-15);
    CHECK_NEAR(m.reward_rejected, 0, 1e-15);
    CHECK_NEAR(m.kl_chosen, 0.75, 0);
    CHECK_NEAR(m.kl_rejected, 2, 0);
    CHECK_NEAR(m.kl_margin, -1.25, 0);
}

static void test_settings(void) {
    DpoConfig c;
    Err e = {""};
#define REFUSED(change, part) \
    do { \
        dpo_config_default(&c); \
        c.loss_type[0] = DPO_TDPO2; \
        change; \
        CHECK_ERROR(!dpo_config_check(&c, &e), e, part); \
    } while (0)
    REFUSED(c.tdpo_alpha = -0.1, "tdpo_alpha: found -0.1");
    REFUSED(c.f_divergence_type = F_JS, "f_divergence_type");
    REFUSED(c.use_weighting = true, "use_weighting");
    REFUSED(c.ld_alpha = 0.5, "ld_alpha");
    REFUSED((c.loss_type[1] = DPO_SFT, c.n_loss = 2), "without a second");
    dpo_config_default(&c);
    c.loss_type[0] = DPO_TDPO1;
    CHECK(dpo_config_check(&c, &e));
}

int main(void) {
    test_E204_derivative();
    test_E202_E203_values();
    test_pairs();
    test_settings();
    return test_end();
}
