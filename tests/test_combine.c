/* test_combine.c: other ways from several scores to one, and pairs, from their definitions. */
#include "baselines/combine.h"

#include "grpo.h"
#include "reward.h"
#include "tests/test.h"

static const double tight = sizeof(real) == 4 ? 2e-6 : 1e-13;
#define NONE ((real)NAN)

static void test_E57_derivative(void) {
    real a[3] = { 1.2f, -0.3f, 0.5f }, b[3] = { 0.4f, 0.2f, -30 }, da[3], db[3];
    const real margin[3] = { 0.1f, 0, 0.3f };
    double accuracy, gap;
    combine_pair_loss(da, db, &accuracy, &gap, a, b, margin, 0.01, 3);
    CHECK_NEAR(accuracy, 2.0 / 3, 1e-15);
    for (int i = 0; i < 6 && sizeof(real) == 8; i++) {
        real *x = i < 3 ? &a[i] : &b[i - 3];
        const real keep = *x, h = (real)1e-5;
        *x = keep + h;
        const double up = combine_pair_loss(NULL, NULL, NULL, NULL, a, b, margin, 0.01, 3);
        *x = keep - h;
        const double down = combine_pair_loss(NULL, NULL, NULL, NULL, a, b, margin, 0.01, 3);
        *x = keep;
        CHECK_NEAR(i < 3 ? da[i] : db[i - 3], (up - down) / (2 * (double)h), 1e-9);
    }
    const real far[1] = { 2000 }, low[1] = { -2000 };                   /* log sigma(-4000) is finite */
    CHECK_NEAR(combine_pair_loss(NULL, NULL, NULL, NULL, low, far, NULL, 0, 1), 4000, 1e-9);
}

static void test_E66_E68_saw(void) {
    const real equal[6] = { 1, 2, 1, 2, 1, 2 };
    double w[2], cv[2];
    combine_saw_weights(w, cv, equal, NULL, 1e-8, 3, 2);         /* no label varies: equal weights */
    CHECK(w[0] == 0.5 && w[1] == 0.5 && cv[0] == 0);
    const real s[6] = { 1, 10, 2, 10, 3, 11 };
    real a[3];
    const double even[2] = { 0.5, 0.5 }, one[2] = { 1, 1 };
    real want[3];
    combine_saw_advantage(a, w, s, even, NULL, 3, 2, 3, 1e-4);              /* K w = 1: the same as GDPO */
    reward_gdpo(want, s, one, 3, 2, 3, 1e-4);
    for (int i = 0; i < 3; i++) CHECK_NEAR(a[i], want[i], tight);
}

static void test_E71_E74(void) {
    const real cost[4] = { 1, 0, 3, 0 };
    const double budget[2] = { 0.5, 0.5 };
    double lambda[2] = { 1, 0.1 };
    combine_multiplier_step(lambda, cost, budget, 1, 2, 2, 2);
    CHECK(lambda[0] == 2 && lambda[1] == 0);            /* at both ends */
    const double w[2] = { 1, 0.5 }, low[2] = { 0, 0 }, high[2] = { 2, 4 };
    real r[2], c[4] = { -1, 5, NONE, 1 };
    combine_chebyshev(r, c, w, low, high, 2, 2);
    CHECK_NEAR(r[0], -0.5, 0);
    CHECK_NEAR(r[1], 0.5, 0);
}

/* Two groups of three, two labels, a floor under the first; the second's last score is missing. All from the
 * definitions. */
static void test_E69_E71_floors(void) {
    const real score[12] = { 0, 4, 0.5, 1, 1, 1, 0.25, 2, 0.25, 7, 0, NONE };
    const double floor[2] = { 0.75, -INFINITY }, weight[2] = { 2, 1 };
    double multiplier[2] = { 0.5, 0 };
    real reward[6], plain[6], cost[12], a[6];
    GrpoConfig c;
    grpo_config_default(&c);
    grpo_score_advantage(plain, reward, NULL, score, weight, NULL, 6, 2, 3, &c);
    combine_floor_advantage(a, cost, multiplier, reward, score, floor, 0.25, 2, 6, 2, 3, 1e-4);
    double mean = 0;
    for (int g = 0; g < 6; g += 3) {
        double m[2] = { 0, 0 }, v[2] = { 0, 0 };        /* of the reward, of the label */
        for (int i = g; i < g + 3; i++)
            m[0] += reward[i] / 3.0, m[1] += score[2 * i] / 3.0, mean += score[2 * i] / 6.0;
        for (int i = g; i < g + 3; i++)
            v[0] += pow(reward[i] - m[0], 2) / 2, v[1] += pow(score[2 * i] - m[1], 2) / 2;
        for (int i = g; i < g + 3; i++)
            CHECK_NEAR(a[i],
                       (reward[i] - m[0]) / (sqrt(v[0]) + 1e-4) +
                           0.5 * (score[2 * i] - m[1]) / (sqrt(v[1]) + 1e-4),
                       tight);
    }
    CHECK_NEAR(mean, 1 / 3.0, 1e-15);
    /* the mean is too low: it rises */
    CHECK_NEAR(multiplier[0], 0.5 + 0.25 * (0.75 - 1 / 3.0), 1e-15);
    CHECK(multiplier[1] == 0);                          /* no floor */
    const double low[2] = { 0.25, -INFINITY };
    for (int i = 0; i < 20; i++)
        combine_floor_advantage(a, cost, multiplier, reward, score, low, 1, 2, 6, 2, 3, 1e-4);
    CHECK(multiplier[0] == 0);                          /* above its floor it falls, no further than to 0 */
    combine_floor_advantage(a, cost, multiplier, reward, score, floor, 100, 2, 6, 2, 3, 1e-4);
    CHECK(memcmp(a, plain, sizeof a) == 0);             /* at 0 E70 is E84, bit for bit */
    CHECK(multiplier[0] == 2);                          /* and rises no higher than this */
    const real none[12] = { NONE, 1, NONE, 2, NONE, 3, NONE, 4, NONE, 5, NONE, 6 };
    combine_floor_advantage(a, cost, multiplier, reward, none, floor, 1, 3, 6, 2, 3, 1e-4);
    /* nobody scored: nothing moves, nothing is added */
    CHECK(multiplier[0] == 2 && memcmp(a, plain, sizeof a) == 0);
}

int main(void) {
    test_E57_derivative();
    test_E66_E68_saw();
    test_E71_E74();
    test_E69_E71_floors();
    return test_end();
}
