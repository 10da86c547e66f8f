/* test_robust.c: losses of groups and their weights: by hand, and the derivative against differences. */
#include "baselines/robust.h"
#include "tests/test.h"

enum { N = 6, D = 3 };
static double ell[N] = {0.7, 0.9, 0.2, 1.4, 0.5, 0.1};
static const int group[N] = {0, 1, 0, 2, 1, 0};
static const double count[D] = {100, 40, 10};

static void test_E216_start(void) {
    double q[D];
    robust_start(q, count, D, GROUP_FIXED);
    for (int g = 0; g < D; g++) CHECK_NEAR(q[g], 1.0 / 3, 1e-15);
    robust_start(q, count, D, GROUP_COUNTS);            /* 1/100, 1/40, 1/10 by their sum, 27/200 */
    CHECK_NEAR(q[0], 2.0 / 27, 1e-15);
    CHECK_NEAR(q[1], 5.0 / 27, 1e-15);
    CHECK_NEAR(q[2], 20.0 / 27, 1e-15);
    robust_start(q, count, D, GROUP_NONE);
    CHECK_NEAR(q[0], 2.0 / 3, 1e-15);
    CHECK_NEAR(q[2], 1.0 / 15, 1e-15);
}

static void test_E212_losses(void) {
    double loss[D];
    robust_group_losses(loss, ell, group, N, count, D, GROUP_SUM);
    CHECK_NEAR(loss[0], 1.5, 1e-14);                    /* (0.7 + 0.2 + 0.1) 150/100 */
    CHECK_NEAR(loss[1], 5.25, 1e-14);
    CHECK_NEAR(loss[2], 21, 1e-13);
    robust_group_losses(loss, ell, group, N, count, D, GROUP_MEAN);
    CHECK_NEAR(loss[0], 1.0 / 3, 1e-15);
    CHECK_NEAR(loss[1], 0.7, 1e-15);
    robust_group_losses(loss, ell, group, 3, count, D, GROUP_MEAN);
    CHECK_NEAR(loss[2], 0, 0);                          /* no pair of it is there */
}

/* With one group E214 by sums is n times the mean, whatever the step. */
static void test_E214_one_group(void) {
    static const int alone[N] = {0};
    double q[1] = {1}, loss[1], dell[N];
    robust_group_losses(loss, ell, alone, N, count, 1, GROUP_SUM);
    robust_step(q, loss, 1, 5);
    CHECK_NEAR(q[0], 1, 0);
    CHECK_NEAR(robust_loss(dell, loss, alone, N, q, count, 1, GROUP_SUM), 3.8, 1e-14);
    for (int i = 0; i < N; i++) CHECK_NEAR(dell[i], 1, 0);
}

static void test_E213_step(void) {
    double q[2] = {0.25, 0.75}, loss[2] = {0.3, 0.3 + log(3) / 2};
    robust_step(q, loss, 2, 2);                         /* 1/4 : 9/4 */
    CHECK_NEAR(q[0], 0.1, 1e-12);
    CHECK_NEAR(q[1], 0.9, 1e-12);
    loss[0] = 1e5, loss[1] = 0;                         /* no infinity */
    robust_step(q, loss, 2, 1);
    CHECK_NEAR(q[0], 1, 0);
    CHECK_NEAR(q[1], 0, 0);
}

static void test_E215_derivative(void) {
    const double q[D] = {0.5, 0.3, 0.2};
    for (int k = 0; k < 2; k++) {
        double loss[D], dell[N], other[N];
        robust_group_losses(loss, ell, group, N, count, D, (GroupLoss)k);
        robust_loss(dell, loss, group, N, q, count, D, (GroupLoss)k);
        for (int i = 0; i < N; i++) {
            double value[2];
            for (int up = 0; up < 2; up++) {
                ell[i] += up ? 1e-5 : -1e-5;
                robust_group_losses(loss, ell, group, N, count, D, (GroupLoss)k);
                value[up] = robust_loss(other, loss, group, N, q, count, D, (GroupLoss)k);
                ell[i] -= up ? 1e-5 : -1e-5;
            }
            CHECK_NEAR(dell[i], (value[1] - value[0]) / 2e-5, 1e-9);
        }
    }
}

static void test_E217_worst(void) {
    const GroupSums sums[D] = {{4, 2, 3}, {0, 0, 0}, {2, 3, 1}};
    double loss, accuracy;
    robust_worst(&loss, &accuracy, sums, D);
    CHECK_NEAR(loss, 1.5, 0);
    CHECK_NEAR(accuracy, 0.5, 0);
    robust_worst(&loss, &accuracy, sums, 2);            /* a group without pairs is not the worst */
    CHECK_NEAR(loss, 0.5, 0);
    CHECK_NEAR(accuracy, 0.75, 0);
    robust_worst(&loss, &accuracy, sums + 1, 1);
    CHECK(isnan(loss) && isnan(accuracy));
}

int main(void) {
    Err e;
    CHECK(robust_config_check(&(RobustConfig){.step_size = 0}, &e));
    CHECK(!robust_config_check(&(RobustConfig){.step_size = -1}, &e));
    CHECK(!robust_config_check(&(RobustConfig){.step_size = NAN}, &e));
    test_E216_start();
    test_E212_losses();
    test_E214_one_group();
    test_E213_step();
    test_E215_derivative();
    test_E217_worst();
    return test_end();
}
