/* test_dvpo.c: targets and advantages by hand and against E144, the loss's derivative against differences
 * (double build), and what a value behind the last token is for. */
#include "baselines/dvpo.h"
#include "baselines/ppo.h"
#include "tests/test.h"

static uint64_t state = 1;
static double unit(void) {                              /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

enum { REPLIES = 3, VALUES = 12 };
static const size_t of_value[REPLIES + 1] = { 0, 5, 6, 12 };            /* 4, 0 and 5 tokens */
#define TIGHT (sizeof(real) == 8 ? 1e-14 : 1e-6)

/* y = A + v, with A of E144 over the n + 1 values and the score as the last one's reward. */
static void test_E241_targets(void) {
    real value[VALUES], score[REPLIES], target[VALUES], reward[VALUES] = { 0 }, adv[VALUES], ret[VALUES];
    for (int t = 0; t < VALUES; t++) value[t] = (real)unit();
    for (int i = 0; i < REPLIES; i++) reward[of_value[i + 1] - 1] = score[i] = (real)(2 * unit());
    dvpo_targets(target, value, score, of_value, REPLIES, 0.9, 0.7);
    ppo_gae(adv, ret, reward, value, of_value, REPLIES, 0.9, 0.7);
    for (int t = 0; t < VALUES; t++) CHECK_NEAR(target[t], ret[t], TIGHT);
    CHECK(target[5] == score[1]);                       /* a text of one value: its score */
}

/* One step: the next value; all the way: the score. */
static void test_E240_targets(void) {
    real value[VALUES], score[REPLIES] = { 1, -1, (real)0.25 }, one[VALUES], whole[VALUES];
    for (int t = 0; t < VALUES; t++) value[t] = (real)unit();
    dvpo_targets(one, value, score, of_value, REPLIES, 1, 0);
    dvpo_targets(whole, value, score, of_value, REPLIES, 1, 1);
    for (int i = 0; i < REPLIES; i++)
        for (size_t t = of_value[i]; t < of_value[i + 1]; t++) {
            CHECK(one[t] == (t + 1 < of_value[i + 1] ? value[t + 1] : score[i]));
            CHECK(whole[t] == score[i]);
        }
}

static void test_E242_derivative(void) {
    real value[VALUES], target[VALUES], d[VALUES], scratch[VALUES];
    for (int t = 0; t < VALUES; t++) value[t] = (real)unit(), target[t] = (real)(2 * unit());
    double sum = 0, parts = 0;
    dvpo_value_loss(&sum, d, value, target, VALUES, VALUES);
    for (int t = 0; t < VALUES && sizeof(real) == 8; t++) {
        const real keep = value[t], h = (real)6e-6;
        double up = 0, down = 0;
        value[t] = keep + h;
        dvpo_value_loss(&up, scratch, value, target, VALUES, VALUES);
        value[t] = keep - h;
        dvpo_value_loss(&down, scratch, value, target, VALUES, VALUES);
        value[t] = keep;
        CHECK_NEAR(d[t], (up - down) / (2 * (double)h), 1e-9);
    }
    /* in two slices the same bits */
    dvpo_value_loss(&parts, scratch, value, target, 7, VALUES);
    dvpo_value_loss(&parts, scratch + 7, value + 7, target + 7, VALUES - 7, VALUES);
    for (int t = 0; t < VALUES; t++) CHECK(scratch[t] == d[t]);
    CHECK(parts == sum);
}

static void test_E243_E245_by_hand(void) {
    const size_t offset[] = { 0, 3, 4 };
    const real reward[] = { (real)-0.1, 0, (real)0.2, (real)-0.05 },
               value[] = { (real)0.3, (real)0.5, (real)0.1, (real)0.8, (real)-0.2, (real)0.4 };
    const double gamma = 0.9, lam = 0.5;
    double delta[4];
    real q[4], td[4];
    dvpo_advantages(q, reward, value, offset, 2, ADVANTAGE_Q, gamma, lam);
    dvpo_advantages(td, reward, value, offset, 2, ADVANTAGE_TD, gamma, lam);
    CHECK_NEAR(q[0], -0.1 + 0.9 * 0.5, TIGHT);
    CHECK_NEAR(q[1], 0.9 * 0.1, TIGHT);
    CHECK_NEAR(q[2], 0.2 + 0.9 * 0.8, TIGHT);
    CHECK_NEAR(q[3], -0.05 + 0.9 * 0.4, TIGHT);
    for (int t = 0; t < 4; t++) delta[t] = q[t] - (double)value[t < 3 ? t : 4];
    CHECK_NEAR(td[2], delta[2], TIGHT);
    CHECK_NEAR(td[1], delta[1] + gamma * lam * delta[2], TIGHT);
    CHECK_NEAR(td[0], delta[0] + gamma * lam * (delta[1] + gamma * lam * delta[2]), TIGHT);
    CHECK_NEAR(td[3], delta[3], TIGHT);
}

/* The policy's loss is PPO's: at ratio 1 a token's derivative is -A/N, and what comes after a token counts.
 */
static void test_E244_is_the_clipped_loss(void) {
    const size_t offset[] = { 0, 3 };
    const real reward[] = { 0, 0, 0 }, value[] = { 0, (real)0.25, (real)0.5, 1 }, logp[] = { -1, -2, -3 };
    real adv[3], dlogp[3];
    PpoPolicySums sums = { 0 };
    dvpo_advantages(adv, reward, value, offset, 1, ADVANTAGE_Q, 1, 0.95);
    ppo_policy_loss(&sums, dlogp, logp, logp, adv, 3, 3, 0.2);
    for (int t = 0; t < 3; t++) CHECK_NEAR(dlogp[t], -value[t + 1] / 3, TIGHT);
}

/* Why v_n is kept. Nothing happens in a reply whose value stays at v, so no token of it deserves an
 * advantage. With 0 behind the last token and no score there (E144 as it stands, the authors' program) the
 * last token gets -v, the first of 22 -.34 v; with v_n in place of the 0 all get nothing. At lambda 1, E245
 * is v_n - v_t. */
static void test_E245_keeps_the_last_value(void) {
    enum { N = 22 };
    const size_t offset[] = { 0, N };
    const double v = 0.7;
    real value[N + 1], reward[N] = { 0 }, adv[N], ret[N];
    for (int t = 0; t <= N; t++) value[t] = (real)v;
    ppo_gae(adv, ret, reward, value, offset, 1, 1, 0.95);
    CHECK_NEAR(adv[N - 1], -v, TIGHT);
    CHECK_NEAR(adv[0], -0.34 * v, 0.001 * v);
    for (int t = 1; t < N; t++) CHECK(adv[t] < adv[t - 1]);
    dvpo_advantages(adv, reward, value, offset, 1, ADVANTAGE_TD, 1, 0.95);
    for (int t = 0; t < N; t++) CHECK_NEAR(adv[t], 0, TIGHT);
    value[N] = (real)1.5;
    dvpo_advantages(adv, reward, value, offset, 1, ADVANTAGE_TD, 1, 0.95);
    CHECK_NEAR(adv[N - 1], 0.8, TIGHT);
    dvpo_advantages(adv, reward, value, offset, 1, ADVANTAGE_TD, 1, 1);
    for (int t = 0; t < N; t++) CHECK_NEAR(adv[t], 0.8, 10 * TIGHT);
}

int main(void) {
    test_E241_targets();
    test_E240_targets();
    test_E242_derivative();
    test_E243_E245_by_hand();
    test_E244_is_the_clipped_loss();
    test_E245_keeps_the_last_value();
    return test_end();
}
