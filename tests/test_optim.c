/* test_optim.c: AdamW, clipping and schedules against the numbers of PyTorch and transformers (KA-105 to
 * KA-111). */
#include "lib/optim.h"
#include "tests/test.h"

#ifdef REAL_IS_DOUBLE
#define TOLERANCE 1e-10
#else
#define TOLERANCE 3e-7
#endif

/* KA-105: torch.optim.AdamW in float64, four steps with changing rate */
static void test_E280_E281_E282_adamw(void) {
    static const double grads[4][3] = {{0.1, -0.2, 0.3},
                                       {0.0, 0.4, -0.1},
                                       {1e-09, 0.0, 5.0},
                                       {-0.3, 0.2, 0.1}};
    static const double rates[4] = { 0.01, 0.02, 0.02, 0.01 };
    static const double want[4][3] = { { 0.4895000009999999, -0.9890000004999999, 1.9880000003333334 },
                                       { 0.475119837810954, -0.9943440708082073, 1.9760196292516161 },
                                       { 0.46381046035288925, -0.9980153641969762, 1.958926570125149 },
                                       { 0.46752066739405784, -1.0015077606555831, 1.9514705252665194 } };
    static const double want_m[3] = { -0.022709999909999994, 0.03782, 0.4737699999999999 };
    static const double want_v[3] = { 9.997002999000009e-05, 0.00023956027996000027, 0.025084710279910022 };
    real p[3] = { (real)0.5, (real)-1.0, (real)2.0 }, m[3] = { 0 }, v[3] = { 0 }, g[3];
    AdamW o = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1 };
    for (int t = 0; t < 4; t++) {
        o.lr = rates[t];
        for (int i = 0; i < 3; i++) g[i] = (real)grads[t][i];
        adamw_update(p, m, v, g, 3, &o, t + 1);
        for (int i = 0; i < 3; i++) CHECK_NEAR(p[i], want[t][i], TOLERANCE);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(m[i], want_m[i], TOLERANCE);
        CHECK_NEAR(v[i], want_v[i], TOLERANCE);
    }
}

/* A rate of 0 (the first step of a warm-up) moves the moments only; element by element, pieces give the same
 * bits. */
static void test_adamw_pieces(void) {
    enum { N = 40000 };
    static real p[2][N], m[2][N], v[2][N], g[N];
    for (int i = 0; i < N; i++)
        p[0][i] = p[1][i] = (real)(i % 97) / 50 - 1, g[i] = (real)(i % 89) / 700 - (real)0.05;
    AdamW o = { 0, 0.9, 0.999, 1e-8, 0.1 };
    adamw_update(p[0], m[0], v[0], g, N, &o, 1);
    CHECK_INT(memcmp(p[0], p[1], sizeof p[0]), 0);
    CHECK(m[0][0] != 0 && v[0][0] != 0);
    memcpy(m[1], m[0], sizeof m[0]), memcpy(v[1], v[0], sizeof v[0]);
    o.lr = 1e-3;
    adamw_update(p[0], m[0], v[0], g, N, &o, 2);
    for (int i = 0; i < N; i += 1234)
        adamw_update(p[1] + i, m[1] + i, v[1] + i, g + i, (size_t)(N - i < 1234 ? N - i : 1234), &o, 2);
    CHECK_INT(memcmp(p[0], p[1], sizeof p[0]), 0);
    CHECK_INT(memcmp(m[0], m[1], sizeof m[0]), 0);
    CHECK_INT(memcmp(v[0], v[1], sizeof v[0]), 0);
    CHECK(p[0][0] != (real)-1);
}

/* In one pass what grad_scale, adamw_update and clearing do one after the other, bit for bit, with and
 * without clipping. */
static void test_E280_to_E284_in_one_pass(void) {
    enum { N = 40000 };
    static real p[2][N], m[2][N], v[2][N], g[2][N];
    const AdamW o = { 1e-3, 0.9, 0.999, 1e-8, 0.1 };
    for (int i = 0; i < N; i++) p[0][i] = p[1][i] = (real)(i % 97) / 50 - 1;
    for (int t = 1; t < 3; t++) {
        const double scale = t == 1 ? 0.37 : 1;
        for (int i = 0; i < N; i++) g[0][i] = g[1][i] = (real)(i % 89) / 700 - (real)0.05;
        grad_scale(g[0], N, scale);
        adamw_update(p[0], m[0], v[0], g[0], N, &o, t);
        const AdamWStep step = adamw_step(&o, t);
        adamw_consume(p[1], m[1], v[1], g[1], scale, N, &step);
        CHECK_INT(memcmp(p[0], p[1], sizeof p[0]) || memcmp(m[0], m[1], sizeof m[0]) ||
                      memcmp(v[0], v[1], sizeof v[0]),
                  0);
        for (int i = 0; i < N; i++) g[0][i] = 0;
        CHECK_INT(memcmp(g[0], g[1], sizeof g[0]), 0);
    }
}

/* KA-106 and KA-107: torch.nn.utils.clip_grad_norm_ of two parameters, above and below the limit of 1 */
static void test_E284_clip(void) {
    static const double start[2][3] = { { 3, -4, 12 }, { 0.03, -0.04, 0.12 } }, norm[2] = { 13, 0.13 };
    static const double want[2][3] = {{0.23076921301775288, -0.3076922840236705, 0.9230768520710115},
                                      {0.03, -0.04, 0.12}};
    for (int c = 0; c < 2; c++) {
        real g[3];
        for (int i = 0; i < 3; i++) g[i] = (real)start[c][i];
        const double n = sqrt(grad_square_sum(g, 2) + grad_square_sum(g + 2, 1)),
                     coefficient = clip_coefficient(n, 1);
        CHECK_NEAR(n, norm[c], c ? TOLERANCE : 0);
        grad_scale(g, 3, coefficient);
        for (int i = 0; i < 3; i++) CHECK_NEAR(g[i], want[c][i], TOLERANCE);
        if (c) CHECK(coefficient == 1 && g[0] == (real)start[c][0]);
    }
    CHECK(clip_coefficient(5, 0) == 1 && clip_coefficient(5, -1) == 1);
    CHECK(clip_coefficient(0, 1) == 1);
    CHECK_NEAR(clip_coefficient(4, 2), 2 / (4 + 1e-6), 1e-16);
}

/* Blocks of 4096 ascending, in a block 16 lanes and a tree: the bits, not only the sum. */
static void test_E284_order(void) {
    enum { N = 4096 * 600 + 77 };       /* more blocks than are kept at once */
    static real g[N];
    uint32_t s = 1;
    for (int i = 0; i < N; i++) s = s * 1664525u + 1013904223u, g[i] = (real)s / (real)4e9 - (real)0.3;
    double want = 0;
    for (int b = 0; b < N; b += 4096) {
        double lane[16] = { 0 };
        for (int i = b; i < N && i < b + 4096; i++)
            lane[(i - b) % 16] = fma((double)g[i], (double)g[i], lane[(i - b) % 16]);
        for (int half = 8; half; half /= 2)
            for (int l = 0; l < half; l++) lane[l] += lane[l + half];
        want += lane[0];
    }
    CHECK(grad_square_sum(g, N) == want);
    CHECK(grad_square_sum(g, 0) == 0);
}

/* KA-108 to KA-111: rates of transformers for 10 steps at 0.001 */
static void test_E286_E287_E288_schedules(void) {
    static const struct { Schedule kind; int64_t warmup; double want[10];
    } known[] = {
        {SCHEDULE_LINEAR,
         3,
         {0.0, 0.0003333333333333333, 0.0006666666666666666, 0.001, 0.0008571428571428571,
          0.0007142857142857143, 0.0005714285714285714, 0.00042857142857142855, 0.0002857142857142857,
          0.00014285714285714284}},
        {SCHEDULE_COSINE,
         3,
         {0.0, 0.0003333333333333333, 0.0006666666666666666, 0.001, 0.0009504844339512095,
          0.0008117449009293668, 0.0006112604669781572, 0.00038873953302184284, 0.00018825509907063325,
          4.9515566048790485e-05}},
        {SCHEDULE_CONSTANT, 0, {0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001}},
        {SCHEDULE_CONSTANT_WITH_WARMUP,
         3,
         {0.0, 0.0003333333333333333, 0.0006666666666666666, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001,
          0.001}},
    };
    for (size_t c = 0; c < sizeof known / sizeof *known; c++)
        for (int s = 0; s < 10; s++)
            CHECK_NEAR(0.001 * schedule_factor(known[c].kind, s, known[c].warmup, 10, 0), known[c].want[s],
                       1e-13);
    /* no warm-up, whatever it says */
    CHECK(schedule_factor(SCHEDULE_CONSTANT, 0, 3, 10, 0) == 1);
    /* beyond the end: not negative */
    CHECK(schedule_factor(SCHEDULE_LINEAR, 12, 3, 10, 0) == 0);
    CHECK(schedule_factor(SCHEDULE_LINEAR, 0, 0, 10, 0) == 1);
    /* nothing but warm-up: no 0/0 */
    CHECK(schedule_factor(SCHEDULE_COSINE, 5, 5, 5, 0) == 1);
    /* the decay's share is 1 - min_ratio */
    for (int s = 0; s < 10; s++) {
        const double f = schedule_factor(SCHEDULE_COSINE, s, 3, 10, 0),
                     h = schedule_factor(SCHEDULE_LINEAR, s, 3, 10, 0);
        CHECK_NEAR(schedule_factor(SCHEDULE_COSINE_WITH_MIN_LR, s, 3, 10, 0.1), s < 3 ? f : 0.1 + 0.9 * f,
                   1e-15);
        CHECK_NEAR(schedule_factor(SCHEDULE_LINEAR_WITH_MIN_LR, s, 3, 10, 0.1), s < 3 ? h : 0.1 + 0.9 * h,
                   1e-15);
    }
}

static void test_schedule_names(void) {               /* in the order of the enum, and all of them */
    static const char *const names[] =
        {"linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", "linear_with_min_lr"};
    for (int k = 0; k < 6; k++) CHECK_STRING(schedule_names[k], names[k]);
    CHECK(!schedule_names[6] && !strcmp(schedule_names[SCHEDULE_COSINE_WITH_MIN_LR], "cosine_with_min_lr"));
}

int main(void) {
    test_E280_E281_E282_adamw();
    test_adamw_pieces();
    test_E280_to_E284_in_one_pass();
    test_E284_clip();
    test_E284_order();
    test_E286_E287_E288_schedules();
    test_schedule_names();
    return test_end();
}
