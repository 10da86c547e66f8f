/* test_variants.c: losses of other papers at their edges, and what else is not the paper's. Their derivatives
 * within a batch are in test_grpo.c. */
#include "variants.h"

#include "tests/test.h"

/* Differences of the formulas themselves on both sides of each edge. */
static void test_E101_E107_edges(void) {
    double g;
    CHECK_NEAR(variant_delta(&g, 5, -1, 0.25, 0.25, 3), 3, 0);
    CHECK_NEAR(g, 0, 0);
    for (double rho = 0.3; rho < 4; rho += 0.0937)
        for (int s = -1; s <= 1; s += 2)
            for (int how = 0; how < 2; how++) {
                const double h = 1e-6, a = 1.3 * s, delta = how ? 1.1 : 2;
                double unused;
                const double ell = variant_delta(&g, rho, a, 0.2, 0.3, delta);
                const double up = variant_delta(&unused, rho * d_exp(h), a, 0.2, 0.3, delta);
                const double down = variant_delta(&unused, rho * d_exp(-h), a, 0.2, 0.3, delta);
                CHECK_NEAR(g, (up - down) / (2 * h), 1e-8);
                if (how == 0 && s < 0) {                /* E107: for A < 0 it is E101 with delta = c */
                    double g2;
                    CHECK_NEAR(variant_dual_clip(&g2, d_log(rho), a, 0.2, 0.3, 2), ell, 1e-14);
                    CHECK_NEAR(g2, g, 1e-14);
                }
            }
}

/* Far out, where clamps are constants. */
static void test_E102_E104_E107_far(void) {
    double g = 1;
    CHECK_NEAR(variant_dual_clip(&g, -25, 1, 0.2, 0.2, 3), -exp(-20.0), 1e-20);
    CHECK(g == 0);
    CHECK_NEAR(variant_dual_clip(&g, -25, -1, 0.2, 0.2, 3), 0.8, 1e-15);
    /* lambda is at least 1e-4 */
    CHECK_NEAR(variant_vespo_phi(1, 1, 0), exp(1e-4 + 1 - 1e-4 * exp(1.0)), 1e-14);
    CHECK(variant_vespo_phi(20, 1e6, 1e-4) == 0);          /* overflows */
    CHECK_NEAR(variant_cispo(&g, 7, 2, -0.5, -INFINITY, 5), 5, 0);
    CHECK_NEAR(g, -10, 0);
    CHECK_NEAR(variant_vespo_phi(0, 2, 3), 1, 1e-15);
    CHECK_NEAR(variant_vespo_phi(100, 2, 3), 0, 1e-300);
}

static void test_E89_leave_one_out(void) {
    const real r[3] = { 1, 0, (real)0.5 }, one[3] = { 1, (real)NAN, (real)NAN };
    real a[3];
    variant_rloo_advantage(a, r, 3, 3, false, 1e-4);
    CHECK_NEAR(a[0], 0.75, 1e-7);
    CHECK_NEAR(a[1], -0.75, 1e-7);
    CHECK_NEAR(a[2], 0, 1e-7);
    variant_rloo_advantage(a, one, 3, 3, false, 1e-4);
    for (int i = 0; i < 3; i++) CHECK(a[i] == 0);
}

/* A micro-batch in which nothing counts: no derivative, and zero, for every loss type. */
/* E126, E127, E128. Known answers: NumPy 2.4, np.delete(r, i).mean() and so on. */
static void test_E126_to_E128_advantages(void) {
    const real r[4] = {1, 0, (real)0.5, 2}, one[3] = {(real)NAN, 2, (real)NAN};
    const double length[4] = {3, 1, 2, 4};
    const struct { AdvantageRule rule; double want[4]; } known[] = {
        {{BASELINE_LEAVE_ONE_OUT, SCALE_NONE, 0, 0, 1, 1e-4, false}, {1.0 / 6, -7.0 / 6, -0.5, 1.5}},
        {{BASELINE_LEAVE_ONE_OUT, SCALE_LEAVE_ONE_OUT, 0, 0, 1, 1e-6, false},
         {0.16012799995908109, -1.5275232316545655, -0.49999950000050003, 2.999994000012}},
        {{BASELINE_LENGTH, SCALE_GROUP, 0, 0, 0, 1e-6, false},
         {-0.27044899579933407, -1.6226939747960045, -0.9465714852976693, 1.0817959831973365}},
        {{BASELINE_BATCH, SCALE_BATCH, 0, 0, 1, 1e-4, false},
         {0.3332963004110655, -0.7776913676258193, -0.2221975336073769, 1.4442839684479503}},
        {{BASELINE_NONE, SCALE_GROUP, 0, 0, 1, 1e-4, false},
         {1.1709429607397432, 0, 0.5854714803698716, 2.3418859214794865}}};
    const double near = sizeof(real) == 4 ? 4e-7 : 1e-14;
    real a[4];
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        variant_advantage(a, r, length, 4, 0.7, 0.9, &known[k].rule);
        for (int i = 0; i < 4; i++) CHECK_NEAR(a[i], known[k].want[i], near);
    }
    AdvantageRule rule = {BASELINE_GROUP, SCALE_GROUP, ZERO_STD_DIVIDE, SINGLE_SCORE, 1, 0.25, false};
    variant_advantage(a, one, NULL, 3, 9, 9, &rule);    /* E128: 2 / (1 + eps) */
    CHECK(a[0] == 0 && a[2] == 0);
    CHECK_NEAR(a[1], 1.6, 1e-7);
    real plain[4], others[4];                           /* of several it says nothing */
    variant_advantage(others, r, NULL, 4, 9, 9, &rule);
    rule.single = SINGLE_ZERO;
    variant_advantage(plain, r, NULL, 4, 9, 9, &rule);
    for (int i = 0; i < 4; i++) CHECK(plain[i] == others[i]);
    variant_advantage(a, one, NULL, 3, 9, 9, &rule);
    CHECK(a[1] == 0);
    const real same[3] = {1, 1, 4};                     /* the others of the third have no spread */
    rule = (AdvantageRule){BASELINE_LEAVE_ONE_OUT, SCALE_LEAVE_ONE_OUT, ZERO_STD_KEEP, 0, 1, 0.5, false};
    variant_advantage(a, same, NULL, 3, 0, 0, &rule);
    CHECK_NEAR(a[2], 3, 0);
    rule.zero_std = ZERO_STD_DIVIDE;
    variant_advantage(a, same, NULL, 3, 0, 0, &rule);
    CHECK_NEAR(a[2], 6, 0);
    rule = (AdvantageRule){BASELINE_GROUP, SCALE_GROUP, 0, 0, 1, 7, true};
    const real two[2] = {0, 2};                         /* var 2: sqrt(2 + 7) */
    variant_advantage(a, two, NULL, 2, 0, 0, &rule);
    CHECK_NEAR(a[1], 1 / 3.0, 1e-7);
}

static void test_E129_whitening(void) {
    const double length[3] = {2, 1, 3}, near = sizeof(real) == 4 ? 4e-7 : 1e-14;
    const double sample[3] = {1.107018589560122, -1.5498260253841705, -0.22140371791202437},
                 all[3] = {1.212678125181665, -1.697749375254331, -0.24253562503633297};
    for (int population = 0; population < 2; population++) {
        real a[3] = {1, (real)-0.5, (real)0.25};
        variant_whiten_tokens(a, length, 3, population);
        for (int i = 0; i < 3; i++) CHECK_NEAR(a[i], (population ? all : sample)[i], near);
    }
}

static void test_E130_E131_kl(void) {
    const double k3 = 0.31375270747047646, slope = -1.0137527074704766;         /* of D = 0.7 */
    double dk = slope;
    CHECK_NEAR(variant_kl_cut(&dk, k3, 0.7, NAN, KL_GRADIENT_OWN), k3, 0);
    CHECK_NEAR(dk, slope, 0);
    CHECK_NEAR(variant_kl_cut(&dk, k3, 0.7, NAN, KL_GRADIENT_SCORE), k3, 0);
    CHECK_NEAR(dk, -0.7, 1e-15);                        /* 1 - exp(D) + exp(D) - 1 - D */
    CHECK_NEAR(variant_kl_cut(&dk, k3, 0.7, 0.25, KL_GRADIENT_SCORE), 0.25, 0);
    CHECK(dk == 0);
    CHECK_NEAR(variant_kl_cut(&dk, -k3, 0.7, 0.25, KL_GRADIENT_K2), -0.25, 0);
    CHECK_NEAR(dk, -0.7, 0);
    variant_kl_cut(&dk, k3, 0.7, NAN, KL_GRADIENT_NONE);
    CHECK(dk == 0);
}

static void test_E133_E134_terms(void) {
    double g;
    CHECK_NEAR(variant_plain(&g, 1.5, -2), 3, 0);
    CHECK_NEAR(g, 3, 0);
    CHECK_NEAR(variant_logp(&g, -2, -0.5), -1, 0);
    CHECK_NEAR(g, 2, 0);
    CHECK_NEAR(variant_cispo(&g, 0.25, 2, -0.5, 0.5, 1.5), 0.5, 0);     /* the weight is 0.5 */
    CHECK_NEAR(g, -1, 0);
    CHECK_NEAR(variant_cispo(&g, 7, 2, -0.5, 0.5, 1.5), 1.5, 0);
}

static void test_E136_E137_covariance(void) {
    const real adv[5] = {1, 1, 9, -2, -1}, logp[5] = {(real)-0.5, -2, 9, -1, -3};
    const unsigned char mask[5] = {1, 1, 0, 1, 1};
    const double want[5] = {1.40625, -0.46875, 0, -1.09375, 1.03125},
                 ratio[5] = {1, 1, 1, 1, 0.5};          /* the band has the last */
    double cov[5], scratch[5], g = 0.5;
    unsigned char chosen[5];
    CHECK_INT(variant_covariance(cov, adv, logp, mask, 5), 4);
    for (int t = 0; t < 5; t++) CHECK(t == 2 ? isnan(cov[t]) : fabs(cov[t] - want[t]) < 1e-6);
    variant_kl_cov_tokens(chosen, cov, 5, 4, 0.5, scratch);
    CHECK(chosen[0] && !chosen[1] && !chosen[2] && !chosen[3] && chosen[4]);
    variant_kl_cov_tokens(chosen, cov, 5, 4, 0.1, scratch);            /* at least one */
    CHECK(chosen[0] && !chosen[4]);
    CHECK_INT(variant_clip_cov(chosen, cov, adv, ratio, 5, 1, 5, 0.2, 0.2), 1);
    CHECK(chosen[0] && !chosen[4]);
    CHECK_INT(variant_clip_cov(chosen, cov, adv, ratio, 5, 1, 1.40625, 0.2, 0.2), 0);
    CHECK_NEAR(variant_kl_cov(&g, -0.5, 3), 1.5, 0);
    CHECK_NEAR(g, -2.5, 0);
}

static void test_E138_sums(void) {
    const double want[] = {1 / 40.0, 1 / (8 * 5.0), 1 / 8.0, 1 / (8 * 16.0), 1 / 16.0};
    for (int s = SUM_TOKEN_MEAN; s <= SUM_FIXED_TOTAL; s++)
        CHECK_NEAR(variant_token_weight((TokenSum)s, 5, 40, 8, 16), want[s - 1], 1e-17);
    CHECK_NEAR(variant_token_weight(SUM_SEQUENCE_MEAN, 0, 0, 0, 16), 1, 0);
}

static void test_E180_geometric(void) {
    const real old[4] = {-1, -1, -1, -1}, sampler[4] = {(real)-1.3, (real)-0.9, (real)-1.4, 7};
    const unsigned char mask[4] = {1, 1, 1, 0};
    const size_t offset[2] = {0, 4}, halves[3] = {0, 1, 4};
    real isr[2];
    variant_importance_ratio(isr, NULL, old, sampler, mask, offset, 1, ISR_GEOMETRIC_TRUNCATE, NAN, 3);
    CHECK_NEAR(isr[0], 1.2214027581601699, 2e-7);
    variant_importance_ratio(isr, NULL, old, sampler, mask, halves, 2, ISR_GEOMETRIC_TRUNCATE, NAN, 3);
    CHECK_NEAR(isr[0], 1.3498588075760032, 2e-7);       /* exp(0.3), exp(0.15) */
    CHECK_NEAR(isr[1], 1.1618342427282831, 2e-7);
    variant_importance_ratio(isr, NULL, old, sampler, mask, offset, 1, ISR_GEOMETRIC_MASK, NAN, 1.2);
    CHECK(isr[0] == 0);
    variant_importance_ratio(isr, NULL, old, sampler, mask, offset, 1, ISR_GEOMETRIC_TRUNCATE, NAN, 1.125);
    CHECK_NEAR(isr[0], 1.125, 0);
}

static void test_E118_overlong(void) { CHECK_NEAR(variant_overlong_penalty(85, 100, 20), -0.25, 0); }

int main(void) {
    test_E101_E107_edges();
    test_E102_E104_E107_far();
    test_E89_leave_one_out();
    test_E118_overlong();
    test_E126_to_E128_advantages();
    test_E129_whitening();
    test_E130_E131_kl();
    test_E133_E134_terms();
    test_E136_E137_covariance();
    test_E138_sums();
    test_E180_geometric();
    return test_end();
}
