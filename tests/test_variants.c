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
    CHECK_NEAR(variant_cispo(&g, 7, 2, -0.5, 5), 5, 0);
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
static void test_E118_overlong(void) { CHECK_NEAR(variant_overlong_penalty(85, 100, 20), -0.25, 0); }

int main(void) {
    test_E101_E107_edges();
    test_E102_E104_E107_far();
    test_E89_leave_one_out();
    test_E118_overlong();
    return test_end();
}
