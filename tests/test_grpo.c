/* test_grpo.c: derivatives of every loss against differences (double build), properties, slices, edge cases.
 * That the formulas themselves are right is what test_known_answers shows. */
#include "grpo.h"
#include "tests/test.h"
#include "lib/words.h"

static uint64_t state = 1;
static double unit(void) {                              /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

#define N 5
#define T 17
static const size_t offset[N + 1] = { 0, 6, 6, 10, 13, T };      /* the second is empty */
static real logp[T], old[T], ref[T], smp[T], isr[T], entropy[T], adv[N];
static unsigned char mask[T];

static GrpoIn batch(void) {
    for (int t = 0; t < T; t++) {
        logp[t] = (real)(-1.5 + unit());
        old[t] = (real)(logp[t] + 0.4 * unit());
        ref[t] = (real)(logp[t] + 0.8 * unit());
        smp[t] = (real)(old[t] + 0.1 * unit());
        isr[t] = (real)(1 + 0.3 * unit());
        entropy[t] = (real)(1 + unit());
        mask[t] = t != 2 && !(t >= 10 && t < 13);       /* a hole, and the fourth masked entirely */
    }
    const double a[N] = { 1.1, 0.7, -0.9, -0.3, 0.4 };
    for (int i = 0; i < N; i++) adv[i] = (real)a[i];
    return (GrpoIn){.n_completion = N, .offset = offset, .logp = logp, .old = old, .ref = ref, .sampler = smp,
                    .mask = mask, .entropy = entropy, .advantage = adv};
}

static const GrpoWindow window = {31, 2, 4, 2, true, 0.02, 9};

static double loss_of(const GrpoIn *in, const GrpoConfig *c, real *dlogp, real *dentropy) {
    GrpoMicro m;
    GrpoSums s;
    double scratch[T];
    grpo_micro(&m, in, c, scratch);
    grpo_sums_start(&s);
    grpo_loss(&s, dlogp, dentropy, in, c, &window, &m);
    return grpo_loss_value(&s, &window, &m);
}

static void check_gradient(const GrpoIn *in, const GrpoConfig *c) {
    real d[T], dh[T];
    loss_of(in, c, d, dh);
    const long before = failed;
    for (int t = 0; t < T; t++) {
        const real keep = logp[t], h = (real)6e-6;
        logp[t] = keep + h;
        const double up = loss_of(in, c, NULL, NULL);
        logp[t] = keep - h;
        const double down = loss_of(in, c, NULL, NULL);
        logp[t] = keep;
        CHECK_NEAR(d[t], (up - down) / (2 * (double)h), 1e-9);
        if (c->top_entropy_quantile < 1) continue;      /* the threshold itself would move */
        const real was = entropy[t];
        entropy[t] = was + h;
        const double more = loss_of(in, c, NULL, NULL);
        entropy[t] = was - h;
        const double less = loss_of(in, c, NULL, NULL);
        entropy[t] = was;
        CHECK_NEAR(dh[t], (more - less) / (2 * (double)h), 1e-9);
    }
    if (failed > before)
        printf("  with loss_type %s, level %s, beta %g, bias correction %d, delta %g\n",
               loss_type_names[c->loss_type], importance_sampling_level_names[c->importance_sampling_level],
               c->beta, c->use_bias_correction_kl, c->delta);
}

/* E99 to E103, E106, E107, E111 to E115 */
static void test_E113_E114_derivative(void) {
    if (sizeof(real) == 4) return;
    static const LossType differentiable[] = {LOSS_GRPO, LOSS_BNPO,  LOSS_DR_GRPO, LOSS_DAPO,
                                              LOSS_SAPO, LOSS_LUSPO, LOSS_GMPO};
    for (size_t j = 0; j < sizeof differentiable / sizeof *differentiable; j++)
        for (int variant = 0; variant < 32; variant++) {
            GrpoIn in = batch();
            GrpoConfig c;
            grpo_config_default(&c);
            c.loss_type = differentiable[j];
            c.epsilon_high = 0.28;
            c.beta = variant & 1 ? 0.3 : 0;
            c.use_bias_correction_kl = variant & 2;
            const bool gmpo = c.loss_type == LOSS_GMPO;
            if (variant & 4 && !gmpo) c.importance_sampling_level = LEVEL_SEQUENCE;
            if (variant & 8 && !gmpo)
                in.isr_token = isr, c.top_entropy_quantile = 0.6, c.off_policy_mask_threshold = 0.3;
            if (variant & 16 && !gmpo && c.loss_type != LOSS_SAPO) c.delta = 1.35;
            if (variant == 24 && !gmpo && c.loss_type != LOSS_SAPO) c.delta = NAN, c.dual_clip = 1.2;
            check_gradient(&in, &c);
        }
}

/* What other trainers do otherwise: E130, E133, E135, E137, E138, E139, each at both levels. */
static void test_E130_to_E139_derivative(void) {
    if (sizeof(real) == 4) return;
    static unsigned char chosen[T];
    static const double row_weight[N] = {1, 0.5, 2, 0, 1.5};
    for (int variant = 0; variant < 4 * 4 * 6 * 3; variant++) {
        GrpoIn in = batch();
        GrpoConfig c;
        grpo_config_default(&c);
        const int sum = variant / 16 % 6, scope = variant / 96;
        c.loss_type = LOSS_GRPO;
        c.beta = 0.3;
        c.kl_estimator = (KlLoss)(variant % 4);
        c.use_bias_correction_kl = variant & 4;
        if (variant & 8) c.importance_sampling_level = LEVEL_SEQUENCE;
        c.policy_term = (PolicyTerm)(variant % 3);      /* as loss_type says, ratio, unclipped */
        if (variant % 5 == 0) c.policy_term = TERM_LOGP;
        if (variant % 7 == 0) c.kl_clamp = 0.2, c.kl_clamp_log_ratio = 0.5;
        if (variant % 7 == 1) c.log_ratio_max = 0.25;
        if (variant % 7 == 2 && c.policy_term != TERM_LOGP) c.sequence_log_ratio_max = 0.01;
        if (variant % 7 == 3 && c.policy_term < TERM_UNCLIPPED) c.dual_clip = 1.1;
        if (variant % 7 == 4 && !(variant & 8)) {
            for (int t = 0; t < T; t++) chosen[t] = t % 3 == 0;
            in.kl_cov = chosen, c.kl_cov_coef = 0.4;
        }
        c.loss_aggregation = (TokenSum)sum;
        c.kl_aggregation = (TokenSum)((sum + variant) % 6);
        c.entropy_aggregation = (TokenSum)((sum + variant / 2) % 6);
        c.aggregation_scope = (SumScope)scope;
        c.aggregation_length = 20;
        c.count_empty_rows = variant % 3 == 0;
        if (variant % 4 == 1) in.row_weight = row_weight;
        check_gradient(&in, &c);
        if (failed) { printf("  variant %d\n", variant); return; }
    }
}

/* E135: no completion's ratio is above the bound, and one is at it. */
static void test_E135_bound(void) {
    GrpoIn in = batch();
    GrpoConfig c;
    GrpoMicro m;
    GrpoTold whole;
    GrpoToken token[T];
    double scratch[T], most = 0;
    grpo_config_default(&c);
    c.importance_sampling_level = LEVEL_SEQUENCE;
    c.sequence_log_ratio_max = 0.01;
    grpo_micro(&m, &in, &c, scratch);
    for (size_t i = 0; i < N; i++) {
        grpo_tell(&whole, token, &in, i, &c, &window, &m);
        if (whole.rho > most) most = whole.rho;
    }
    CHECK_NEAR(most, d_exp(0.01), 1e-15);
}

/* E138 by hand: 13 loss tokens in 3 of 5 completions, GA 4, S 2, N 31 on 2 processes, 9 completions a
 * generation. */
static void test_E138_E139_weights(void) {
    GrpoIn in = batch();
    GrpoConfig c;
    GrpoMicro m;
    double scratch[T];
    grpo_config_default(&c);
    grpo_micro(&m, &in, &c, scratch);
    CHECK_NEAR(m.n_nonempty, 3, 0);
    c.max_completion_length = 40;
    static const double micro[] = {1 / 13.0, 1 / (5 * 7.0), 1 / 5.0, 1 / (5 * 40.0), 1 / 40.0},
                        update[] = {1 / 62.0, 1 / (18 * 7.0), 1 / 18.0, 1 / (18 * 40.0), 1 / 40.0};
    CHECK_NEAR(m.n_token, 13, 0);
    for (int s = 0; s < 5; s++) {
        c.loss_aggregation = (TokenSum)(s + 1);
        c.aggregation_scope = SCOPE_MICRO;
        CHECK_NEAR(grpo_token_weight(&c, &window, &m, 7), micro[s] / 4, 1e-17);
        CHECK_NEAR(grpo_kl_weight(&c, &window, &m, 7), micro[s] / 4, 1e-17);
        c.aggregation_scope = SCOPE_UPDATE;
        CHECK_NEAR(grpo_token_weight(&c, &window, &m, 7), update[s], 1e-17);
        c.aggregation_scope = SCOPE_RANKS;
        CHECK_NEAR(grpo_token_weight(&c, &window, &m, 7), 2 * update[s], 1e-17);
    }
    c.aggregation_scope = SCOPE_MICRO;
    c.count_empty_rows = false;
    c.loss_aggregation = SUM_SEQUENCE;
    CHECK_NEAR(grpo_token_weight(&c, &window, &m, 7), 1 / 12.0, 1e-17);
    c.kl_aggregation = SUM_FIXED_TOTAL;
    CHECK_NEAR(grpo_kl_weight(&c, &window, &m, 7), 1 / 160.0, 1e-17);
    CHECK(isnan(grpo_entropy_weight(&c, &window, &m, 7)));              /* E115 */
    c.entropy_aggregation = SUM_DEFAULT;
    CHECK_NEAR(grpo_entropy_weight(&c, &window, &m, 7), 1 / 12.0, 1e-17);
}

/* E102, E104, E93: weights are constants, so differences do not apply; with beta 0 the first two are linear
 * in logp. */
static void test_E102_E104_constant_weight(void) {
    for (int v = 0; v < 4; v++) {
        GrpoIn in = batch();
        GrpoConfig c;
        grpo_config_default(&c);
        c.loss_type = v & 1 ? LOSS_VESPO : LOSS_CISPO;
        c.epsilon_high = 1.1;
        if (v & 2) in.isr_token = isr;
        in.entropy = NULL;
        real d[T];
        const double loss = loss_of(&in, &c, d, NULL);
        double sum = 0;
        for (int t = 0; t < T; t++) sum += (double)d[t] * logp[t];
        CHECK_NEAR(loss, sum, sizeof(real) == 4 ? 1e-6 : 1e-14);
        CHECK(fabs(loss) > 1e-3);
    }
}

/* Against differences of the formula itself on both sides of each edge; a boundary counts as inside. */
static void test_E99_E100_edges(void) {
    double g;
    grpo_clipped(&g, 1.25, 1, 0.25, 0.25);     CHECK_NEAR(g, -1.25, 0);
    grpo_clipped(&g, 0.75, -1, 0.25, 0.25);    CHECK_NEAR(g, 0.75, 0);
    grpo_clipped(&g, 1.26, 1, 0.25, 0.25);     CHECK_NEAR(g, 0, 0);
    grpo_clipped(&g, 0.74, -1, 0.25, 0.25);    CHECK_NEAR(g, 0, 0);
    grpo_clipped(&g, 1.26, -1, 0.25, 0.5);     CHECK_NEAR(g, 1.26, 0);
    grpo_clipped(&g, 1, 0, 0.25, 0.25);        CHECK_NEAR(g, 0, 0);
    CHECK_NEAR(grpo_clipped(&g, 2, 1, 0.25, 0.5), -1.5, 0);     /* high, not low, above */
    for (double rho = 0.3; rho < 4; rho += 0.0937)
        for (int s = -1; s <= 1; s += 2) {
            const double h = 1e-6, a = 1.3 * s;
            double unused;
            grpo_clipped(&g, rho, a, 0.2, 0.3);
            const double up = grpo_clipped(&unused, rho * d_exp(h), a, 0.2, 0.3);
            const double down = grpo_clipped(&unused, rho * d_exp(-h), a, 0.2, 0.3);
            CHECK_NEAR(g, (up - down) / (2 * h), 1e-8);
        }
}

static void test_E94_E302_kl(void) {
    for (double d = -8; d < 3; d += 0.173) {
        double k[3], dk[3], up[3], down[3], unused[3];
        const double lp = -1.5, h = 6e-6;
        grpo_kl(k, dk, lp, lp + d);
        grpo_kl(up, unused, lp + h, lp + d);
        grpo_kl(down, unused, lp - h, lp + d);
        for (int j = 0; j < 3; j++) CHECK_NEAR(dk[j], (up[j] - down[j]) / (2 * h), 1e-8);
    }
    CHECK_NEAR(grpo_k3(1e-9) / 5.000000001666667e-19, 1, 1e-14);    /* exp(d) - d - 1 gives 0 here */
    CHECK_NEAR(grpo_k3(0.0199999) / grpo_k3(0.0200001), 0.9999799, 1e-6);
    CHECK(grpo_k3(0) == 0);
}

/* On policy rho is 1 bit for bit: loss = - weighted advantages, dlogp = - c A; nothing is clipped. */
static void test_E81_E90_on_policy(void) {
    GrpoIn in = batch();
    GrpoConfig c;
    grpo_config_default(&c);
    c.loss_type = LOSS_GRPO;
    in.old = NULL;
    in.entropy = NULL;
    real d[T];
    const double loss = loss_of(&in, &c, d, NULL);
    double want = 0;
    for (int i = 0; i < N; i++) {
        double n = 0;
        for (size_t t = offset[i]; t < offset[i + 1]; t++) n += mask[t];
        if (n > 0) want -= adv[i] / (N * 4.0);
        for (size_t t = offset[i]; t < offset[i + 1]; t++)
            CHECK_NEAR(d[t], mask[t] ? -adv[i] / (N * 4.0 * n) : 0, 1e-8);
    }
    CHECK_NEAR(loss, want, 1e-15);
    CHECK(grpo_aligned(8, 4, 2) && !grpo_aligned(4, 4, 2));
}

/* E304: nothing cuts the ratio; when it overflows the loss says so. */
static void test_E304_overflow(void) {
    const real far[2] = { 0, 0 }, old[2] = { -2000, -2000 }, minus[1] = { -1 };
    const size_t two[2] = { 0, 2 };
    const GrpoIn in = { .n_completion = 1, .offset = two, .logp = far, .old = old, .advantage = minus };
    GrpoConfig c;
    grpo_config_default(&c);
    CHECK(loss_of(&in, &c, NULL, NULL) == INFINITY);
}

/* Any cut between completions gives the same bits. */
static void test_E117_slices(void) {
    for (int type = 0; type <= LOSS_GMPO; type++)
        for (size_t cut = 0; cut <= N; cut++) {
            const GrpoIn in = batch(), first = grpo_slice(&in, 0, cut),
                         second = grpo_slice(&in, cut, N - cut);
            GrpoConfig c;
            grpo_config_default(&c);
            c.loss_type = (LossType)type;
            c.beta = 0.1;
            real d[T], e[T], dh[T], eh[T];
            double scratch[T];
            GrpoMicro m;
            GrpoSums a, b;
            grpo_micro(&m, &in, &c, scratch);
            grpo_sums_start(&a);
            grpo_sums_start(&b);
            grpo_loss(&a, d, dh, &in, &c, &window, &m);
            grpo_loss(&b, e, eh, &first, &c, &window, &m);
            grpo_loss(&b, e, eh, &second, &c, &window, &m);
            CHECK(memcmp(&a, &b, sizeof a) == 0 || (isnan(a.low_min) && a.policy == b.policy));
            CHECK(memcmp(d, e, sizeof d) == 0 && memcmp(dh, eh, sizeof dh) == 0);
        }
}

static void test_E88_E303_advantage_facts(void) {
    real r[8], a[8], b[8];
    for (int i = 0; i < 8; i++) r[i] = (real)unit();
    GrpoRewardStats stats;
    grpo_advantage(a, &stats, r, 8, 4, SCALE_GROUP, 1e-4);
    for (int g = 0; g < 2; g++) {
        double sum = 0, square = 0, std;
        for (int i = 4 * g; i < 4 * g + 4; i++) sum += a[i], square += (double)a[i] * a[i];
        reward_moments(NULL, &std, r + 4 * g, 4, 1, 1);
        CHECK_NEAR(sum, 0, 1e-6);
        CHECK_NEAR(square, 3 * std * std / ((std + 1e-4) * (std + 1e-4)), 1e-5);
    }
    for (int i = 0; i < 8; i++) r[i] = 4 * r[i] + 2;
    grpo_advantage(b, NULL, r, 8, 4, SCALE_GROUP, 4e-4);
    for (int i = 0; i < 8; i++) CHECK_NEAR(b[i], a[i], 2e-6);
    /* equal rewards: exactly 0, though 0.1 has no finite binary form */
    for (int i = 0; i < 8; i++) r[i] = (real)0.1f;
    grpo_advantage(a, &stats, r, 8, 4, SCALE_GROUP, 1e-4);
    for (int i = 0; i < 8; i++) CHECK(a[i] == 0);
    CHECK_NEAR(stats.frac_reward_zero_std, 1, 0);
    /* a small spread is one: only what is below 1e-8 counts as none */
    for (int i = 0; i < 8; i++) r[i] = (real)(1 + 1e-3 * (i % 2));
    grpo_advantage(a, &stats, r, 8, 4, SCALE_GROUP, 1e-4);
    CHECK_NEAR(stats.frac_reward_zero_std, 0, 0);
    real z[4] = { (real)0.9, (real)NAN, (real)NAN, (real)NAN };
    grpo_advantage(a, &stats, z, 4, 4, SCALE_GROUP, 1e-4);          /* E87, and not "zero spread" */
    for (int i = 0; i < 4; i++) CHECK(a[i] == 0);
    CHECK_NEAR(stats.frac_reward_zero_std, 0, 0);
    z[0] = (real)NAN;
    grpo_advantage(a, &stats, z, 4, 4, SCALE_BATCH, 1e-4);
    for (int i = 0; i < 4; i++) CHECK(a[i] == 0);
    CHECK(isnan(stats.reward));
}

static void test_E112_nothing_counts(void) {
    for (int type = 0; type <= LOSS_GMPO; type++)
        for (int level = 0; level < 3; level++) {
            const GrpoIn in = batch();
            memset(mask, 0, sizeof mask);
            GrpoConfig c;
            grpo_config_default(&c);
            c.loss_type = (LossType)type;
            c.importance_sampling_level = (ImportanceLevel)level;
            c.beta = 0.1;
            c.top_entropy_quantile = 0.5;
            real d[T];
            /* gmpo: J of no tokens is 1, so a constant stays in the value (E106, TRL) */
            CHECK(loss_of(&in, &c, d, NULL) == 0 || type == LOSS_GMPO);
            for (int t = 0; t < T; t++) CHECK(d[t] == 0);
        }
}

static void test_E108_E109_masks(void) {
    GrpoIn in = batch();
    GrpoConfig c;
    grpo_config_default(&c);
    for (int t = 6; t < 10; t++) smp[t] = logp[t] + 1;  /* third: A < 0, kbar = 1 */
    for (int t = 0; t < 6; t++) smp[t] = logp[t] + 1;   /* first: A > 0: stays */
    c.off_policy_mask_threshold = 0.5;
    real d[T];
    loss_of(&in, &c, d, NULL);
    for (int t = 6; t < 10; t++) CHECK(d[t] == 0);
    CHECK(d[0] != 0 || d[1] != 0 || d[3] != 0);
    for (int t = 6; t < 10; t++) smp[t] = (real)NAN;    /* unknown: no evidence, stays */
    loss_of(&in, &c, d, NULL);
    CHECK(d[6] != 0 || d[7] != 0 || d[8] != 0 || d[9] != 0);
    double x[4] = { 3, 1, 4, 2 };
    CHECK_NEAR(variant_quantile(x, 4, 0.5), 2.5, 0);
    CHECK_NEAR(variant_quantile(x, 4, 1), 4, 0);
    CHECK_NEAR(variant_quantile(x, 1, 0.3), 1, 0);
}

/* Every number of the window and the micro-batch is another, so that none can stand for another. */
static void test_E105_E112_weights(void) {
    const double want[] = {1 / (3 * 7.0 * 4),          1 / (11.0 * 4),
                           1 / (3 * 50.0 * 4),         1 / (31 / 2.0 * (4 / 2.0)),
                           1 / (31 / 2.0 * (4 / 2.0)), 1 / (3 * 7.0 * 4),
                           1 / (31 / 2.0 * (4 / 2.0)), 1 / (3 * 4.0),
                           1 / (3 * 7.0 * 4)};
    const GrpoMicro m = {3, 11, -INFINITY, 11, 3};
    GrpoWindow w = window;
    GrpoConfig c;
    grpo_config_default(&c);
    c.max_completion_length = 50;
    for (int type = 0; type <= LOSS_GMPO; type++) {
        c.loss_type = (LossType)type;
        CHECK_NEAR(grpo_token_weight(&c, &w, &m, 7), want[type], 1e-16);
    }
    w.training = false;                                 /* in evaluation GA and GA/S count as 1 */
    c.loss_type = LOSS_DAPO;
    CHECK_NEAR(grpo_token_weight(&c, &w, &m, 7), 2 / 31.0, 1e-16);
    c.loss_type = LOSS_LUSPO;
    CHECK_NEAR(grpo_token_weight(&c, &w, &m, 7), 1 / 3.0, 1e-16);
}

static void test_E64_aggregation(void) { /* through the settings: the deviation of MO-GRPO divides by n - 1 */
    const real s[3] = { 1, 2, 3 };
    const double one[1] = { 1 };
    real a[3], r[3];
    GrpoConfig c;
    grpo_config_default(&c);
    c.multi_objective_aggregation = MO_GRPO;
    grpo_score_advantage(a, r, NULL, s, one, NULL, 3, 1, 3, &c);
    CHECK_NEAR(a[2], 1 / 1.0001, 1e-7);
}

/* Far out, where clamps are constants. */
static void test_E104_far(void) {
    /* W = 20 - 20, not 30 - 25 */
    const real lp[2] = { 0, 0 }, o[2] = { -30, 25 }, a[1] = { 1 };
    const size_t at[2] = { 0, 2 };
    const GrpoIn in = { .n_completion = 1, .offset = at, .logp = lp, .old = o, .advantage = a };
    const GrpoMicro m = {1, 2, -INFINITY, 2, 1};
    GrpoConfig c;
    GrpoTold told;
    GrpoToken token[2];
    grpo_config_default(&c);
    c.loss_type = LOSS_VESPO;
    grpo_tell(&told, token, &in, 0, &c, &window, &m);
    CHECK_NEAR(told.phi, 1, 1e-12);
    /* whose weight is cut at 0.2, and whose gradient flows all the same */
    c.loss_type = LOSS_CISPO;
    grpo_tell(&told, token, &in, 0, &c, &window, &m);
    CHECK(token[0].clipped && !token[1].clipped && token[0].g != 0);
}

/* A log ratio on the edge counts as inside, on both sides; quarters, so that nothing is rounded. */
static void test_E106_edges(void) {
    const real lp[4] = { (real)-0.75, -1, (real)-1.25, -1 }, o[4] = { -1, -1, -1, -1 }, a[2] = { 1, -1 };
    const size_t at[3] = { 0, 2, 4 };
    const GrpoIn in = { .n_completion = 2, .offset = at, .logp = lp, .old = o, .advantage = a };
    GrpoConfig c;
    real d[4];
    grpo_config_default(&c);
    c.loss_type = LOSS_GMPO;
    c.epsilon = 0.25;
    loss_of(&in, &c, d, NULL);
    for (int t = 0; t < 4; t++) CHECK(d[t] != 0);
}

/* One group of two: in the first completion one of two tokens lies below the band, in the second two of four
 * above it. */
static void test_E122_metrics(void) {
    const real lp[7] = {-2, -1, -1, 0, 0, -1, -1}, o[7] = {-1, -1, -1, -1, -1, -1, -1},
               h[7] = {1, 2, 3, 4, 5, 6, 7}, a[3] = {-1, 1, -1};
    const size_t at[4] = { 0, 2, 6, 7 };
    const GrpoIn in = { .n_completion = 3, .offset = at, .logp = lp, .old = o, .entropy = h, .advantage = a };
    GrpoMicro m;
    GrpoSums s;
    GrpoMetrics x;
    GrpoConfig c;
    double scratch[7];
    grpo_config_default(&c);
    grpo_micro(&m, &in, &c, scratch);
    grpo_sums_start(&s);
    grpo_loss(&s, NULL, NULL, &in, &c, &window, &m);
    grpo_metrics(&x, &s, &c, &window);
    CHECK_NEAR(x.entropy, 4, 1e-15);
    CHECK_NEAR(x.clip_low_mean, 1 / 7.0, 1e-15);
    CHECK_NEAR(x.clip_high_mean, 2 / 7.0, 1e-15);
    CHECK_NEAR(x.clip_region_mean, 3 / 7.0, 1e-15);
    CHECK_NEAR(x.clip_low_min, 0, 0);
    CHECK_NEAR(x.clip_high_max, 0.5, 0);
    CHECK(isnan(x.kl) && isnan(x.cispo_clip_ratio) && isnan(x.vespo_phi_seq_mean));
    const real flat[7] = { 1, 1, 1, 1, 1, 1, 1 };       /* E109: what equals the threshold is kept */
    GrpoIn same = in;
    same.entropy = flat;
    c.top_entropy_quantile = 0.2;
    grpo_micro(&m, &same, &c, scratch);
    CHECK_NEAR(m.n_entropy_token, 7, 0);
}

static void test_E116_E119(void) {
    GrpoConfig c;
    grpo_config_default(&c);
    c.use_adaptive_entropy = true;
    c.entropy_coef = 0.004;
    GrpoEntropyControl s;
    grpo_entropy_start(&s, &c);
    CHECK(grpo_entropy_coef(&s, &c) == 0);              /* nothing measured yet */
    grpo_entropy_step(&s, &c, 1.0, 10);                 /* 0.1 <= 0.2: acts now, and rises */
    CHECK_NEAR(grpo_entropy_coef(&s, &c), 0.009, 1e-15);
    grpo_entropy_step(&s, &c, 9.0, 10);
    grpo_entropy_step(&s, &c, 9.0, 10);
    CHECK(s.coef == 0 && grpo_entropy_coef(&s, &c) == 0);
    unsigned char m[T];
    const unsigned char ended[N] = { 1, 0, 0, 1, 1 };
    memset(m, 1, sizeof m);
    grpo_mask_truncated(m, offset, ended, N);
    for (int t = 0; t < T; t++) CHECK_INT(m[t], !(t >= 6 && t < 10));
}

static void test_settings(void) {
    GrpoConfig c;
    Err e = { "" };
    int k = -1;
    grpo_config_default(&c);
    CHECK(grpo_config_check(&c, &e));
    CHECK_NEAR(grpo_epsilon_high(&c), 0.2, 0);
    CHECK(choice_parse(&k, loss_type_names, "luspo", "loss_type", &e) && k == LOSS_LUSPO);
    CHECK_ERROR(!choice_parse(&k, loss_type_names, "dappo", "loss_type", &e), e, "dapo");
    c.num_generations = 1;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "num_generations");
    grpo_config_default(&c);
    c.delta = 0.5;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "delta");
    c.delta = NAN;
    c.kl_clamp = -1;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "kl_clamp: found -1, expected a number > 0");
    c.kl_clamp = NAN;
    c.cispo_clip_min = 2, c.cispo_clip_max = 1;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "cispo_clip_min: found 2, expected at most");
    c.cispo_clip_min = c.cispo_clip_max = NAN;
    c.std_ddof = 2;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "std_ddof: found 2");
    c.std_ddof = 1;
    c.loss_type = LOSS_VESPO, c.policy_term = TERM_LOGP;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "policy_term logp: found loss_type vespo");
    c.policy_term = TERM_LOSS_TYPE;
    c.beta = NAN;
    CHECK_ERROR(!grpo_config_check(&c, &e), e, "beta");
}

/* What grpo_tell shows is what grpo_loss adds up, in the same order: the same bits. A clipped token has no
 * policy gradient. */
static void test_E111_told_is_the_loss(void) {
    GrpoConfig c;
    grpo_config_default(&c);
    c.beta = 0.3;
    for (int type = 0; type < LOSS_GMPO; type++)
        for (int level = 0; level < 3; level++) {
            c.loss_type = (LossType)type;
            c.importance_sampling_level = (ImportanceLevel)level;
            const GrpoIn in = batch();
            GrpoMicro m;
            GrpoSums s;
            GrpoTold told;
            GrpoToken token[T];
            real dlogp[T];
            int clipped = 0, counted = 0;
            double sum = 0;
            grpo_micro(&m, &in, &c, NULL);
            grpo_sums_start(&s);
            grpo_loss(&s, dlogp, NULL, &in, &c, &window, &m);
            for (size_t i = 0; i < N; i++) {
                grpo_tell(&told, token, &in, i, &c, &window, &m);
                CHECK_NEAR(told.adv, in.advantage[i], 0);
                for (size_t t = offset[i]; t < offset[i + 1]; t++) {
                    const GrpoToken *k = &token[t - offset[i]];
                    CHECK_INT(k->counts, mask[t]);
                    if (k->counts) sum += k->weight * k->loss;
                    counted += k->counts;
                    clipped += k->clipped && type != LOSS_CISPO;
                    /* only the KL term is left: E97 */
                    if (level == LEVEL_TOKEN && k->counts && type != LOSS_CISPO && k->clipped)
                        CHECK_NEAR(dlogp[t], k->weight * c.beta * k->ratio * (in.logp[t] - in.ref[t]), 1e-6);
                }
            }
            CHECK_NEAR(sum, s.policy, 0);
            CHECK_INT(counted, (int)s.n_token);
            if (level == LEVEL_TOKEN && (type == LOSS_GRPO || type == LOSS_DAPO))
                CHECK_INT(clipped, (int)s.region);
        }
}

int main(void) {
    test_E111_told_is_the_loss();
    test_E113_E114_derivative();
    test_E130_to_E139_derivative();
    test_E135_bound();
    test_E138_E139_weights();
    test_E102_E104_constant_weight();
    test_E99_E100_edges();
    test_E94_E302_kl();
    test_E81_E90_on_policy();
    test_E304_overflow();
    test_E117_slices();
    test_E88_E303_advantage_facts();
    test_E112_nothing_counts();
    test_E108_E109_masks();
    test_E105_E112_weights();
    test_E64_aggregation();
    test_E104_far();
    test_E106_edges();
    test_E122_metrics();
    test_E116_E119();
    test_settings();
    return test_end();
}
