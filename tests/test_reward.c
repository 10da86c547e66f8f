/* test_reward.c: the derivative of the regression loss, standardisation, combination with missing scores,
 * shares. */
#include "reward.h"
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

static void test_E73_E77(void) {
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
    real c[4] = { -1, 5, NONE, 1 };
    reward_clip(c, low, high, 2, 2);
    CHECK(c[0] == 0 && c[1] == 4 && isnan(c[2]) && c[3] == 1);
}

int main(void) {
    test_E43_derivative();
    test_E45_standardise();
    test_E60_E61_missing();
    test_E62_E63_E64();
    test_E73_E77();
    return test_end();
}
