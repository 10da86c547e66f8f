/* test_reward.c: derivatives of the reward losses, metrics on small sets worked by hand, combination with
 * missing scores. */
#include "reward.h"
#include "grpo.h"
#include "tests/test.h"

static const double tight = sizeof(real) == 4 ? 2e-6 : 1e-13;
#define NONE ((real)NAN)

static void test_E43_derivative(void) {
    real s[6] = { 0.1f, 0.5f, -0.2f, 0.9f, 0.3f, 0.4f }, d[6];
    const real y[6] = { 0, 1, NONE, 0.5f, 0.25f, NONE };
    const double w[3] = { 1, 2, 0.5 }, sum = reward_label_weight_sum(y, w, 2, 3);
    CHECK_NEAR(sum, 6, 0);
    double loss = 0, in_two = 0;
    reward_regression_loss(&loss, d, s, y, w, 2, 3, sum);
    reward_regression_loss(&in_two, NULL, s, y, w, 1, 3, sum);          /* E44: slices carry on */
    reward_regression_loss(&in_two, NULL, s + 3, y + 3, w, 1, 3, sum);
    CHECK(loss == in_two);
    CHECK(d[2] == 0 && d[5] == 0);
    for (int i = 0; i < 6 && sizeof(real) == 8; i++) {
        const real keep = s[i], h = (real)1e-5;
        double up = 0, down = 0;
        s[i] = keep + h;
        reward_regression_loss(&up, NULL, s, y, w, 2, 3, sum);
        s[i] = keep - h;
        reward_regression_loss(&down, NULL, s, y, w, 2, 3, sum);
        s[i] = keep;
        CHECK_NEAR(d[i], (up - down) / (2 * (double)h), 1e-9);
    }
    const real nothing[3] = { NONE, NONE, NONE };                       /* no label at all: 0, not 0/0 */
    loss = 0;
    reward_regression_loss(&loss, d, s, nothing, NULL, 1, 3, 0);
    CHECK(loss == 0 && d[0] == 0);
}

static void test_E57_derivative(void) {
    real a[3] = { 1.2f, -0.3f, 0.5f }, b[3] = { 0.4f, 0.2f, -30 }, da[3], db[3];
    const real margin[3] = { 0.1f, 0, 0.3f };
    double accuracy, gap;
    reward_pair_loss(da, db, &accuracy, &gap, a, b, margin, 0.01, 3);
    CHECK_NEAR(accuracy, 2.0 / 3, 1e-15);
    for (int i = 0; i < 6 && sizeof(real) == 8; i++) {
        real *x = i < 3 ? &a[i] : &b[i - 3];
        const real keep = *x, h = (real)1e-5;
        *x = keep + h;
        const double up = reward_pair_loss(NULL, NULL, NULL, NULL, a, b, margin, 0.01, 3);
        *x = keep - h;
        const double down = reward_pair_loss(NULL, NULL, NULL, NULL, a, b, margin, 0.01, 3);
        *x = keep;
        CHECK_NEAR(i < 3 ? da[i] : db[i - 3], (up - down) / (2 * (double)h), 1e-9);
    }
    const real far[1] = { 2000 }, low[1] = { -2000 };                   /* log sigma(-4000) is finite */
    CHECK_NEAR(reward_pair_loss(NULL, NULL, NULL, NULL, low, far, NULL, 0, 1), 4000, 1e-9);
}

static void test_E45_standardise(void) {
    real y[8] = { 1, 5, 3, NONE, NONE, 5, 5, NONE };
    double mean[2], sd[2];
    reward_label_moments(mean, sd, y, 4, 2);
    CHECK_NEAR(mean[0], 3, 0);
    CHECK_NEAR(sd[0], sqrt(8.0 / 3), 1e-15);            /* population */
    CHECK_NEAR(sd[1], 1e-6, 0);                         /* constant label: the floor */
    reward_standardise(y, mean, sd, 4, 2);
    CHECK_NEAR(y[0], -2 / sqrt(8.0 / 3), tight);
    CHECK(isnan(y[3]));
    const real none[2] = { NONE, NONE };
    reward_label_moments(mean, sd, none, 2, 1);
    CHECK(mean[0] == 0 && sd[0] == 1);
}

static void test_E46_E51_metrics(void) {
    const real x[6] = { 1, 2, 2, 4, 9, 9 }, y[6] = { 2, 1, 4, 4, NONE, 5 };
    RewardPair scratch[6];
    RewardBin bin[2];
    RewardMetrics m;
    reward_metrics(&m, bin, 2, x, y, 6, 1, 0, scratch);
    CHECK_INT(m.n, 5);                                  /* x 1 2 2 4 9, y 2 1 4 4 5: bars 3.6 and 3.2 */
    CHECK_NEAR(m.mse, 22 / 5.0, 1e-14);
    CHECK_NEAR(m.mae, 8 / 5.0, 1e-14);
    CHECK_NEAR(m.bias, 0.4, 1e-14);
    CHECK_NEAR(m.r2, 1 - 22 / 10.8, 1e-14);
    CHECK_NEAR(m.pearson, 15.4 / sqrt(41.2 * 10.8), 1e-14);
    CHECK_NEAR(m.calibration_slope, 15.4 / 41.2, 1e-14);
    CHECK_NEAR(m.spearman, 7.25 / 9.5, 1e-14);          /* ranks 1 2.5 2.5 4 5 and 2 1 3.5 3.5 5 */
    CHECK_INT(bin[0].count, 2);
    CHECK_NEAR(bin[1].mean_score, 5, 1e-14);
    CHECK_NEAR(m.calibration_error, 0.4 * 0 + 0.6 * (5 - 13 / 3.0), 1e-14);
    /* too low, then too high: the gaps do not cancel */
    const real over[4] = { 1, 2, 11, 12 }, under[4] = { 3, 4, 9, 10 };
    reward_metrics(&m, NULL, 2, over, under, 4, 1, 0, scratch);
    CHECK_NEAR(m.calibration_error, 2, 1e-14);
    const real flat[3] = { 1, 1, 1 }, nothing[3] = { NONE, NONE, NONE };
    reward_metrics(&m, NULL, 2, x, flat, 3, 1, 0, scratch);
    CHECK(isnan(m.r2) && isnan(m.pearson) && isnan(m.spearman) && m.calibration_slope == 0);
    reward_metrics(&m, NULL, 2, x, nothing, 3, 1, 0, scratch);
    CHECK(m.n == 0 && isnan(m.mse) && isnan(m.bias));
}

static void test_E60_E61_missing(void) {
    const real s[8] = { 1, 4, NONE, 2, NONE, NONE, 3, NONE };           /* one group of four, two labels */
    const double w[2] = { 1, 0.5 };
    real r[4];
    CHECK(reward_weighted_sum(r, s, w, 4, 2, 4, MISSING_ZERO));
    CHECK_NEAR(r[0], 3, 0);
    CHECK_NEAR(r[1], 1, 0);
    CHECK(isnan(r[2]));
    CHECK_NEAR(r[3], 3, 0);
    reward_weighted_sum(r, s, w, 4, 2, 4, MISSING_MEAN);
    CHECK_NEAR(r[1], 3, 0);                             /* mean of label 0 is 2 */
    CHECK(isnan(r[2]));
    CHECK_NEAR(r[3], 4.5, 0);
    const real whole[4] = { 1, 2, 3, 4 };
    CHECK(!reward_weighted_sum(r, whole, w, 2, 2, 2, MISSING_ZERO));
}

static void test_E62_E63_E64(void) {
    /* label 1 has no spread; the last is unscored */
    const real s[8] = { 1, 7, 2, 7, 3, 7, NONE, NONE };
    const double w[2] = { 1, 1 };
    real z[8], a[4];
    reward_group_z(z, s, 4, 2, 4, 1, 0);
    CHECK_NEAR(z[0], -1, tight);
    CHECK_NEAR(z[4], 1, tight);
    CHECK(z[1] == 0 && isnan(z[6]) && isnan(z[7]));
    CHECK_NEAR(reward_gdpo(a, s, w, 4, 2, 4, 1e-4), 1 / 1.0001, 1e-6);
    CHECK_NEAR(a[0], -(1 / 1.0001) / (1 / 1.0001 + 1e-4), 1e-6);
    CHECK(a[1] == 0 && a[3] == 0);
    reward_mo_grpo(a, s, w, 4, 2, 4, 0, 0);
    CHECK_NEAR(a[2], sqrt(1.5), 1e-6);                  /* population */
    CHECK(a[3] == 0);
    const real empty[4] = { NONE, NONE, NONE, NONE };
    reward_gdpo(a, empty, w, 2, 2, 2, 1e-4);
    CHECK(a[0] == 0 && a[1] == 0);
}

static void test_E66_E68_saw(void) {
    const real equal[6] = { 1, 2, 1, 2, 1, 2 };
    double w[2], cv[2];
    reward_saw_weights(w, cv, equal, NULL, 1e-8, 3, 2);                 /* no label varies: equal weights */
    CHECK(w[0] == 0.5 && w[1] == 0.5 && cv[0] == 0);
    const real s[6] = { 1, 10, 2, 10, 3, 11 };
    real a[3];
    const double even[2] = { 0.5, 0.5 }, one[2] = { 1, 1 };
    real want[3];
    reward_saw_advantage(a, s, even, NULL, 3, 2, 3, 1e-4);              /* K w = 1: the same as GDPO */
    reward_gdpo(want, s, one, 3, 2, 3, 1e-4);
    for (int i = 0; i < 3; i++) CHECK_NEAR(a[i], want[i], tight);
}

static void test_E69_E74_E77(void) {
    const real cost[4] = { 1, 0, 3, 0 };
    const double budget[2] = { 0.5, 0.5 };
    double lambda[2] = { 1, 0.1 };
    reward_multiplier_step(lambda, cost, budget, 1, 2, 2, 2);
    CHECK(lambda[0] == 2 && lambda[1] == 0);            /* at both ends */
    const real s[8] = { 1, 0, 2, 2, 3, 1, 4, 3 };
    const double w[2] = { 1, 0.5 };
    double share[2];
    reward_label_share(share, s, w, 4, 2, 4);
    CHECK_NEAR(share[0] + share[1], 1, 1e-14);
    /* sums of squares 5, 5; of products 4: (5 + 2) / (5 + 4 + 1.25) */
    CHECK_NEAR(share[0], 7 / 10.25, 1e-14);
    const real flat[4] = { 1, 1, 1, 1 };
    reward_label_share(share, flat, w, 2, 2, 2);
    CHECK(isnan(share[0]));
    const double low[2] = { 0, 0 }, high[2] = { 2, 4 };
    real r[2], c[4] = { -1, 5, NONE, 1 };
    reward_chebyshev(r, c, w, low, high, 2, 2);
    CHECK_NEAR(r[0], -0.5, 0);
    CHECK_NEAR(r[1], 0.5, 0);
    reward_clip(c, low, high, 2, 2);
    CHECK(c[0] == 0 && c[1] == 4 && isnan(c[2]) && c[3] == 1);
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
    grpo_score_advantage(plain, reward, NULL, score, weight, 6, 2, 3, &c);
    reward_floor_advantage(a, cost, multiplier, reward, score, floor, 0.25, 2, 6, 2, 3, 1e-4);
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
        reward_floor_advantage(a, cost, multiplier, reward, score, low, 1, 2, 6, 2, 3, 1e-4);
    CHECK(multiplier[0] == 0);                          /* above its floor it falls, no further than to 0 */
    reward_floor_advantage(a, cost, multiplier, reward, score, floor, 100, 2, 6, 2, 3, 1e-4);
    CHECK(memcmp(a, plain, sizeof a) == 0);             /* at 0 E70 is E84, bit for bit */
    CHECK(multiplier[0] == 2);                          /* and rises no higher than this */
    const real none[12] = { NONE, 1, NONE, 2, NONE, 3, NONE, 4, NONE, 5, NONE, 6 };
    reward_floor_advantage(a, cost, multiplier, reward, none, floor, 1, 3, 6, 2, 3, 1e-4);
    /* nobody scored: nothing moves, nothing is added */
    CHECK(multiplier[0] == 2 && memcmp(a, plain, sizeof a) == 0);
}

int main(void) {
    test_E43_derivative();
    test_E57_derivative();
    test_E45_standardise();
    test_E46_E51_metrics();
    test_E60_E61_missing();
    test_E62_E63_E64();
    test_E66_E68_saw();
    test_E69_E74_E77();
    test_E69_E71_floors();
    return test_end();
}
