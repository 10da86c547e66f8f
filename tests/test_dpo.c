/* test_dpo.c: derivatives of every loss of pairs against differences (double build), slices, ties, settings
 * that exclude each other. That the formulas themselves are right is what test_known_answers shows. */
#include "baselines/dpo.h"
#include "tests/test.h"

static uint64_t state = 1;
static double unit(void) {                              /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

#define N 4                                             /* pairs */
#define T 26
/* chosen, rejected, chosen ...; the last pair's chosen is empty */
static const size_t offset[2 * N + 1] = { 0, 3, 8, 12, 13, 17, 21, 21, T };
static real logp[T], ref[T], square[T];

static void fill(void) {
    for (int t = 0; t < T; t++) {
        logp[t] = (real)(-1.5 + unit());
        ref[t] = (real)(logp[t] + 0.8 * unit());
        square[t] = (real)(0.6 * logp[t] + 0.1 * unit());
    }
}

static const double n_chosen_token = 11;                /* 3 + 4 + 4 + 0 */

static void sums(DpoPair *pair, size_t first, size_t n, const DpoConfig *c) {
    for (size_t i = first; i < first + n; i++) {
        const size_t w = offset[2 * i], l = offset[2 * i + 1], end = offset[2 * i + 2];
        dpo_pair(&pair[i], logp + w, ref + w, l - w, logp + l, ref + l, end - l, c);
    }
}

static void weigh(DpoPair *pair) {
    for (size_t i = 0; i < N; i++) {
        const size_t w = offset[2 * i], l = offset[2 * i + 1], end = offset[2 * i + 2];
        dpo_weight(&pair[i], logp + w, square + w, l - w, logp + l, square + l, end - l);
    }
}

/* weight: constants that do not follow logp (E177); NULL: none */
static double loss_of(const DpoConfig *c, const double *weight, real *dlogp) {
    DpoPair pair[N] = { { 0 } };
    DpoRank rank[2 * N];
    double loss = 0;
    sums(pair, 0, N, c);
    for (int i = 0; weight && i < N; i++) pair[i].weight = weight[i];
    dpo_loss(&loss, pair, 0, N, N, n_chosen_token, c, rank);
    for (int i = 0; dlogp && i < N; i++)
        dpo_derive(dlogp + offset[2 * i], dlogp + offset[2 * i + 1], &pair[i], n_chosen_token, c);
    return loss;
}

static void check_gradient(const DpoConfig *c) {
    real d[T];
    double weight[N];
    if (c->use_weighting) {
        DpoPair pair[N] = { { 0 } };
        sums(pair, 0, N, c);
        weigh(pair);
        for (int i = 0; i < N; i++) weight[i] = pair[i].weight;
    }
    const double *constant = c->use_weighting ? weight : NULL;
    loss_of(c, constant, d);
    const long before = failed;
    for (int t = 0; t < T; t++) {
        const real keep = logp[t], h = (real)6e-6;
        logp[t] = keep + h;
        const double up = loss_of(c, constant, NULL);
        logp[t] = keep - h;
        const double down = loss_of(c, constant, NULL);
        logp[t] = keep;
        CHECK_NEAR(d[t], (up - down) / (2 * (double)h), 2e-9);
    }
    if (failed > before)
        printf("  with loss_type %s, f_divergence_type %s, ld_alpha %g\n", dpo_loss_names[c->loss_type[0]],
               f_divergence_names[c->f_divergence_type], c->ld_alpha);
}

static void test_E161_derivative(void) {
    if (sizeof(real) == 4) return;
    for (int type = 0; type < N_DPO_LOSS; type++)
        for (int variant = 0; variant < 16; variant++) {
            Err e;
            DpoConfig c;
            dpo_config_default(&c);
            c.loss_type[0] = (DpoLoss)type;
            c.beta = variant & 8 ? 1.7 : 0.3;
            c.label_smoothing = 0.1;
            c.discopop_tau = 0.4;                       /* 0.05 is too steep for differences */
            c.f_divergence_type = (FDivergence)(variant & 3);
            if (variant & 4) c.ld_alpha = 0.4, c.use_weighting = true;
            fill();
            if (dpo_config_check(&c, &e)) check_gradient(&c);
        }
}

/* By hand: s_w = 0.5 + 0.5, s_l = -0.25; (1.25 - 1 / (2 0.5))^2. */
static void test_ipo_of_sums(void) {
    const real logp_w[] = { -1, -2 }, ref_w[] = { -1.5, -2.5 }, logp_l[] = { -3 }, ref_l[] = { -2.75 };
    real d_w[2], d_l[1];
    DpoPair pair = { 0 };
    DpoConfig c;
    double loss = 0;
    dpo_config_default(&c);
    c.loss_type[0] = DPO_IPO_SUM;
    c.beta = 0.5;
    dpo_pair(&pair, logp_w, ref_w, 2, logp_l, ref_l, 1, &c);
    dpo_loss(&loss, &pair, 0, 1, 1, 2, &c, NULL);
    dpo_derive(d_w, d_l, &pair, 2, &c);
    CHECK_NEAR(loss, 0.0625, 1e-15);
    CHECK_NEAR(d_w[0], 0.5, 1e-15);
    CHECK_NEAR(d_w[1], 0.5, 1e-15);
    CHECK_NEAR(d_l[0], -0.5, 1e-15);
}

static void test_several_losses(void) {
    DpoConfig c;
    dpo_config_default(&c);
    const DpoLoss type[] = { DPO_SIGMOID, DPO_SFT, DPO_AOT, DPO_AOT_UNPAIRED, DPO_IPO };
    const double weight[] = { 1, 0.5, 0.25, 2, 0.125 };
    double one_by_one = 0;
    fill();
    for (int j = 0; j < 5; j++) {
        dpo_config_default(&c);
        c.loss_type[0] = type[j];
        one_by_one += weight[j] * loss_of(&c, NULL, NULL);
    }
    c.n_loss = 5;
    for (int j = 0; j < 5; j++) c.loss_type[j] = type[j], c.loss_weight[j] = weight[j];
    CHECK_NEAR(loss_of(&c, NULL, NULL), one_by_one, 1e-12);
    if (sizeof(real) == 8) check_gradient(&c);
}

/* A hinge that is satisfied gives no gradient; one that is not, a constant one. */
static void test_E164_hinge(void) {
    DpoConfig c;
    Err e;
    DpoPair p = { 0 };
    double loss = 0;
    const real w[1] = { (real)-0.5 }, l[1] = { (real)-3 }, zero[1] = { 0 };
    dpo_config_default(&c);
    c.loss_type[0] = DPO_HINGE;
    c.beta = 1;
    CHECK(dpo_config_check(&c, &e));
    dpo_pair(&p, w, zero, 1, l, zero, 1, &c);
    dpo_loss(&loss, &p, 0, 1, 1, 1, &c, NULL);
    CHECK_NEAR(loss, 0, 0);
    CHECK_NEAR(p.dx_w, 0, 0);
    dpo_pair(&p, l, zero, 1, w, zero, 1, &c);
    dpo_loss(&loss, &p, 0, 1, 1, 1, &c, NULL);
    CHECK_NEAR(loss, 3.5, 1e-12);
    CHECK_NEAR(p.dx_w, -1, 0);
    CHECK_NEAR(p.dx_l, 1, 0);
}

/* Where policy and reference agree, every loss of the difference is that of delta 0: -log sigma(0) = log 2.
 */
static void test_start(void) {
    DpoConfig c;
    real d[T];
    dpo_config_default(&c);
    fill();
    memcpy(ref, logp, sizeof ref);
    CHECK_NEAR(loss_of(&c, NULL, d), log(2), 1e-12);
    CHECK_NEAR(d[0], -0.1 * 0.5 / N, 1e-8);
    CHECK_NEAR(d[offset[1]], 0.1 * 0.5 / N, 1e-8);
}

/* Any cut between pairs gives the same bits. */
static void test_slices(void) {
    for (int type = 0; type < N_DPO_LOSS; type++) {
        DpoConfig c;
        DpoPair whole[N] = { { 0 } }, cut[N] = { { 0 } };
        DpoRank rank[2 * N];
        double a = 0, b = 0;
        dpo_config_default(&c);
        c.loss_type[0] = (DpoLoss)type;
        c.label_smoothing = 0.1;
        fill();
        sums(whole, 0, N, &c);
        dpo_loss(&a, whole, 0, N, N, n_chosen_token, &c, rank);
        if (dpo_ranked(&c)) sums(cut, 0, N, &c);
        for (size_t i = 0; i < N; i++) {
            if (!dpo_ranked(&c)) sums(cut, i, 1, &c);
            dpo_loss(&b, cut, i, 1, N, n_chosen_token, &c, rank);
        }
        CHECK(a == b && isfinite(a));
        for (int i = 0; i < N; i++) CHECK(whole[i].dx_w == cut[i].dx_w && whole[i].dx_l == cut[i].dx_l);
    }
}

/* Equal differences: the lower number holds the lower rank, and the sum of derivatives does not depend on it.
 */
static void test_E171_ties(void) {
    DpoConfig c;
    DpoPair pair[3] = {{.logp_w = -1, .logp_l = -2, .ref_w = -1, .ref_l = -1},
                       {.logp_w = -1, .logp_l = -2, .ref_w = -3, .ref_l = -1},
                       {.logp_w = -4, .logp_l = -2, .ref_w = -1, .ref_l = -1}};
    DpoRank rank[6];
    double loss = 0, total = 0;
    dpo_config_default(&c);
    c.loss_type[0] = DPO_AOT;
    for (int i = 0; i < 3; i++) pair[i].n_w = pair[i].n_l = pair[i].weight = 1;
    dpo_loss(&loss, pair, 0, 3, 3, 3, &c, rank);
    for (int i = 0; i < 3; i++) total += pair[i].dx_w + pair[i].dx_l;
    CHECK_NEAR(total, 0, 1e-15);
    /* a sorted: -2 (pair 2), 1 (pair 0), 1 (pair 1); b sorted: -2, 0, 0: differences 0, 1, 1 */
    CHECK_NEAR(loss, (log(2) + 2 * log(1 + exp(-0.1))) / 3, 1e-12);
    CHECK_NEAR(pair[2].dx_w, -0.1 * 0.5 / 3, 1e-12);
}

/* A divergence's exponent is limited: no infinity, and no gradient beyond. */
static void test_E162_limit(void) {
    DpoConfig c;
    DpoPair p = { .logp_w = -900, .logp_l = -1, .ref_w = -1, .ref_l = -1, .n_w = 1, .n_l = 1, .weight = 1 };
    double loss = 0;
    dpo_config_default(&c);
    c.f_divergence_type = F_ALPHA;
    dpo_loss(&loss, &p, 0, 1, 1, 1, &c, NULL);
    CHECK(isfinite(loss));
    CHECK_NEAR(p.dx_w, 0, 0);
}

static void test_settings(void) {
    DpoConfig c;
    Err e = { "" };
#define REFUSED(change, part) \
    do { \
        dpo_config_default(&c); \
        change; \
        CHECK_ERROR(!dpo_config_check(&c, &e), e, part); \
    } while (0)
    REFUSED(c.beta = 0, "beta: found 0");
    REFUSED(c.beta = NAN, "beta: found");
    REFUSED(c.label_smoothing = 0.5, "label_smoothing: found 0.5");
    REFUSED(c.loss_type[0] = DPO_EXO_PAIR, "exo_pair");
    REFUSED(c.ld_alpha = 1.5, "ld_alpha: found 1.5");
    REFUSED(c.discopop_tau = 0, "discopop_tau");
    REFUSED(c.n_loss = 0, "loss_type: found none");
    REFUSED((c.loss_type[0] = DPO_SFT, c.use_weighting = true), "use_weighting");
    REFUSED((c.loss_type[0] = DPO_NCA_PAIR, c.f_divergence_type = F_JS),
            "nca_pair is defined for reverse_kl only");
    dpo_config_default(&c);
    CHECK(dpo_config_check(&c, &e));
}

int main(void) {
    test_E161_derivative();
    test_ipo_of_sums();
    test_several_losses();
    test_E164_hinge();
    test_start();
    test_slices();
    test_E171_ties();
    test_E162_limit();
    test_settings();
    return test_end();
}
