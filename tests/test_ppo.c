/* test_ppo.c: derivatives of the two losses against differences (double build), slices, whitening, moments,
 * edge cases. That the formulas themselves are right is what test_known_answers shows. */
#include "baselines/ppo.h"
#include "tests/test.h"

static uint64_t state = 1;
static double unit(void) {                              /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

#define T 200
static real logp[T], old[T], adv[T], value[T], old_value[T], ret[T];

static void fill(void) {
    for (int t = 0; t < T; t++) {
        logp[t] = (real)(-1.5 + unit()), old[t] = (real)(logp[t] + 0.5 * unit()), adv[t] = (real)(2 * unit());
        value[t] = (real)unit(), old_value[t] = (real)(value[t] + 0.5 * unit()), ret[t] = (real)(2 * unit());
    }
}

static void test_E147_derivative(void) {
    real d[T], scratch[T];
    int clipped = 0;
    fill();
    PpoPolicySums s = { 0 };
    ppo_policy_loss(&s, d, logp, old, adv, T, T, 0.2);
    for (int t = 0; t < T && sizeof(real) == 8; t++) {
        const real keep = logp[t], h = (real)6e-6;
        PpoPolicySums up = { 0 }, down = { 0 };
        logp[t] = keep + h;
        ppo_policy_loss(&up, scratch, logp, old, adv, T, T, 0.2);
        logp[t] = keep - h;
        ppo_policy_loss(&down, scratch, logp, old, adv, T, T, 0.2);
        logp[t] = keep;
        CHECK_NEAR(d[t], (up.loss - down.loss) / T / (2 * (double)h), 1e-9);
        clipped += d[t] == 0;
    }
    if (sizeof(real) == 8) CHECK(clipped > 10 && clipped < T / 2);      /* both branches were seen */
    CHECK(s.clipped > 10 && s.clipped < T / 2 && s.n == T);
}

static void test_E149_derivative(void) {
    real d[T], scratch[T];
    int silent = 0;
    fill();
    PpoValueSums s = { 0 };
    ppo_value_loss(&s, d, value, old_value, ret, T, T, 0.2, 0.1);
    for (int t = 0; t < T && sizeof(real) == 8; t++) {
        const real keep = value[t], h = (real)6e-6;
        PpoValueSums up = { 0 }, down = { 0 };
        value[t] = keep + h;
        ppo_value_loss(&up, scratch, value, old_value, ret, T, T, 0.2, 0.1);
        value[t] = keep - h;
        ppo_value_loss(&down, scratch, value, old_value, ret, T, T, 0.2, 0.1);
        value[t] = keep;
        CHECK_NEAR(d[t], 0.1 * (up.loss - down.loss) / T / (2 * (double)h), 1e-9);
        silent += d[t] == 0;
    }
    if (sizeof(real) == 8) CHECK(silent > 10 && silent < T / 2);
    CHECK(s.clipped > 10 && s.clipped < T / 2);
}

/* The clip acts upwards for a positive advantage and downwards for a negative one, never the other way. */
static void test_E146_sides(void) {
    const real lp[4] = {-1, -1, -1, -1}, far[4] = {(real)-1.5, (real)-0.5, (real)-1.5, (real)-0.5},
               a[4] = {1, 1, -1, -1};
    real d[4];
    PpoPolicySums s = { 0 };
    ppo_policy_loss(&s, d, lp, far, a, 4, 4, 0.2);
    CHECK(d[0] == 0 && d[1] < 0 && d[2] > 0 && d[3] == 0);
    CHECK_NEAR(s.loss, -1.2 - exp(-0.5) + exp(0.5) + 0.8, 1e-6);
    CHECK_NEAR(s.ratio, 2 * (exp(0.5) + exp(-0.5)), 1e-6);
    CHECK_NEAR(s.approxkl, 4 * 0.5 * 0.25, 1e-6);
}

static void test_slices(void) {
    real whole[T], cut[T];
    PpoPolicySums a = { 0 }, b = { 0 };
    PpoValueSums v = { 0 }, u = { 0 };
    fill();
    ppo_policy_loss(&a, whole, logp, old, adv, T, T, 0.2);
    for (int t = 0, n = 1; t < T; t += n, n = n % 7 + 1)
        ppo_policy_loss(&b, cut + t, logp + t, old + t, adv + t, (size_t)(t + n > T ? T - t : n), T, 0.2);
    CHECK(!memcmp(&a, &b, sizeof a) && !memcmp(whole, cut, sizeof whole));
    ppo_value_loss(&v, whole, value, old_value, ret, T, T, 0.2, 0.1);
    for (int t = 0, n = 1; t < T; t += n, n = n % 7 + 1)
        ppo_value_loss(&u, cut + t, value + t, old_value + t, ret + t, (size_t)(t + n > T ? T - t : n), T,
                       0.2, 0.1);
    CHECK(!memcmp(&v, &u, sizeof v) && !memcmp(whole, cut, sizeof whole));
}

/* lambda = 1, gamma = 1: advantage is what is still to come minus the value; lambda = 0: one step's surprise.
 * The empty completion is skipped. */
static void test_E143_E144_limits(void) {
    const size_t offset[] = { 0, 3, 3, 5 };
    const real reward[5] = { 1, 0, 2, (real)0.5, -1 }, v[5] = { (real)0.5, 1, (real)0.25, 2, (real)-0.5 };
    real a[5], r[5];
    ppo_gae(a, r, reward, v, offset, 3, 1, 1);
    const double to_come[] = { 3, 2, 2, -0.5, -1 };
    for (int t = 0; t < 5; t++) {
        CHECK_NEAR(r[t], to_come[t], 1e-6);
        CHECK_NEAR(a[t], to_come[t] - v[t], 1e-6);
    }
    ppo_gae(a, r, reward, v, offset, 3, 0.9, 0);
    CHECK_NEAR(a[0], 1 + 0.9 * 1 - 0.5, 1e-6);
    CHECK_NEAR(a[2], 2 - 0.25, 1e-6);
    CHECK_NEAR(a[3], 0.5 + 0.9 * -0.5 - 2, 1e-6);
}

static void test_E145_whiten(void) {
    real x[4] = { 1, 2, 3, 6 }, y[4] = { 1, 2, 3, 6 }, one[1] = { 5 }, equal[3] = { 2, 2, 2 };
    ppo_whiten(x, 4, false);
    const double sd = sqrt(14.0 / 3);
    for (int i = 0; i < 4; i++) CHECK_NEAR(x[i], (y[i] - 3) / sd, 1e-6);
    ppo_whiten(y, 4, true);
    for (int i = 0; i < 4; i++) CHECK_NEAR(y[i], x[i] + 3, 1e-6);
    ppo_whiten(one, 1, false);
    CHECK_NEAR(one[0], 5, 0);
    ppo_whiten(equal, 3, false);
    CHECK_NEAR(equal[0], 0, 0);
}

/* Batch after batch or all at once: the same mean and deviation. */
static void test_E152_E153(void) {
    const real all[6] = { 1, 2, 4, 0, 10, -3 };
    PpoMoments a, b;
    ppo_moments_start(&a), ppo_moments_start(&b);
    CHECK_NEAR(ppo_moments_std(&a), 0, 0);
    ppo_moments_add(&a, all, 6);
    ppo_moments_add(&b, all, 1), ppo_moments_add(&b, all + 1, 0), ppo_moments_add(&b, all + 1, 3),
        ppo_moments_add(&b, all + 4, 2);
    CHECK_NEAR(b.mean, 14.0 / 6, 1e-12);
    CHECK_NEAR(b.mean, a.mean, 1e-12);
    CHECK_NEAR(ppo_moments_std(&a), sqrt((130 - 6 * 14.0 / 6 * 14 / 6) / 5), 1e-12);
    CHECK_NEAR(ppo_moments_std(&b), ppo_moments_std(&a), 1e-12);
    real out[6];
    ppo_normalise(out, all, 6, &a, SCORES_SCALED, NAN);
    CHECK_NEAR(out[4], 10 / ppo_moments_std(&a), 1e-6);
    ppo_normalise(out, all, 6, &a, SCORES_STANDARDISED, 0.5);
    CHECK_NEAR(out[4], 0.5, 0);
    CHECK_NEAR(out[5], -0.5, 0);
    CHECK_NEAR(out[1], (2 - a.mean) / ppo_moments_std(&a), 1e-6);
    ppo_normalise(out, all, 6, &a, SCORES_AS_THEY_ARE, NAN);
    CHECK(!memcmp(out, all, sizeof all));
}

static void test_E142(void) {
    real s[3] = { 1, 2, 3 };
    const unsigned char ended[3] = { 1, 0, 1 };
    ppo_missing_eos(s, ended, 3, NAN);
    CHECK(s[1] == 2);
    ppo_missing_eos(s, ended, 3, 1.5);
    CHECK(s[0] == 1 && s[1] == (real)0.5 && s[2] == 3);
}

static void test_settings(void) {
    PpoConfig c;
    Err e = { "" };
#define REFUSED(change, part) \
    do { \
        ppo_config_default(&c); \
        change; \
        CHECK_ERROR(!ppo_config_check(&c, &e), e, part); \
    } while (0)
    REFUSED(c.kl_coef = -1, "kl_coef: found -1");
    REFUSED(c.gamma = 1.5, "gamma 1.5");
    REFUSED(c.lam = NAN, "lam");
    REFUSED(c.cliprange = 0, "cliprange: found 0");
    REFUSED(c.cliprange_value = 0, "cliprange_value: found 0");
    REFUSED(c.vf_coef = 0, "vf_coef: found 0");
    REFUSED(c.num_ppo_epochs = 0, "num_ppo_epochs 0");
    REFUSED(c.score_clip = 0, "score_clip: found 0");
    REFUSED(c.missing_eos_penalty = -1, "missing_eos_penalty: found -1");
    REFUSED(c.ptx_coef = -1, "ptx_coef");
    ppo_config_default(&c);
    CHECK(ppo_config_check(&c, &e));
}

int main(void) {
    test_E147_derivative();
    test_E149_derivative();
    test_E146_sides();
    test_slices();
    test_E143_E144_limits();
    test_E145_whiten();
    test_E152_E153();
    test_E142();
    test_settings();
    return test_end();
}
