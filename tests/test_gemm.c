/* test_gemm.c: stored numbers exhaustively, and the three products bit for bit against one plain chain of
 * r_fma. */
#include "lib/gemm.h"
#include "tests/test.h"
#ifdef _OPENMP
#include <omp.h>
#endif

static uint32_t state = 1;
static real unit(void) {                                            /* (-1, 1), full mantissa */
    state = state * 1664525u + 1013904223u;
    const double high = state;
    state = state * 1664525u + 1013904223u;
    return (real)((high + state / 4294967296.0) / 2147483648.0 - 1);
}
static real *numbers(size_t n) {
    /* malloc's 16 bytes: products must not want 64 */
    real *p = malloc((n + 1) * sizeof(real));
    for (size_t i = 0; i < n; i++) p[i] = unit();
    return p;
}
static void *stored(const real *x, Store s, size_t n) {
    void *p = malloc((n + 1) * store_size(s));
    store_from_real(p, x, s, n);
    return p;
}
static long differing(const real *a, const real *b, size_t n) {
    long d = 0;
    for (size_t i = 0; i < n; i++) d += memcmp(&a[i], &b[i], sizeof(real)) != 0;
    return d;
}
static float float_of(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

/* ---- stored numbers ------------------------------------------------------------------------- */

static double value_of_f16(uint16_t h) {                            /* as IEEE 754 writes it, finite h */
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}
static double value_of_bf16(uint16_t h) {
    const int exponent = h >> 7 & 255, fraction = h & 127;
    const double magnitude = exponent ? ldexp(128 + fraction, exponent - 134) : ldexp(fraction, -133);
    return h & 0x8000 ? -magnitude : magnitude;
}

/* All 65536 codes: to real, and back to the same code. Between neighbours: to the nearer one, halfway to the
 * even one. */
static void test_16_bits(Store s, double (*value_of)(uint16_t), uint16_t infinity) {
    long bad_value = 0, bad_return = 0, bad_round = 0, bad_nan = 0;
    for (uint32_t c = 0; c < 65536; c++) {
        const uint16_t code = (uint16_t)c, magnitude = code & 0x7fff;
        uint16_t back;
        real x;
        store_to_real(&x, &code, s, 1);
        store_from_real(&back, &x, s, 1);
        if (magnitude > infinity) { bad_nan += !(x != x) || (back & 0x7fff) <= infinity; continue; }
        bad_return += back != code;
        if (magnitude == infinity) { bad_value += !(isinf(x) && !!signbit(x) == code >> 15); continue; }
        bad_value += !((double)x == value_of(code) && !!signbit(x) == code >> 15);
        const double here = value_of(code);
        const double next =
            magnitude + 1 == infinity ? here + (here - value_of(code - 1)) : value_of((uint16_t)(code + 1));
        const double middle = (here + next) / 2;                    /* exact in float too: one bit more */
        const struct { double x; uint16_t want; } near[3] = {
            { middle, (uint16_t)(code + (code & 1)) },
#ifdef REAL_IS_DOUBLE
            { nextafter(middle, here), code }, { nextafter(middle, 2 * next - here), (uint16_t)(code + 1) } };
#else
                      {nextafterf((float)middle, (float)here), code},
                      {nextafterf((float)middle, (float)(2 * next - here)), (uint16_t)(code + 1)}};
#endif
        for (int i = 0; i < 3; i++) {
            const real r = (real)near[i].x;
            store_from_real(&back, &r, s, 1);
            bad_round += back != near[i].want;
        }
    }
    CHECK_INT(bad_value, 0);
    CHECK_INT(bad_return, 0);
    CHECK_INT(bad_round, 0);
    CHECK_INT(bad_nan, 0);
}

static void test_store(void) {
    test_16_bits(STORE_F16, value_of_f16, 0x7c00);
    test_16_bits(STORE_BF16, value_of_bf16, 0x7f80);
    const real x[5] = { (real)1.1, (real)-1e30, 0, (real)INFINITY, (real)-0.0 };
    float f[5]; double d[5]; real back[5];
    store_from_real(f, x, STORE_F32, 5);
    store_from_real(d, x, STORE_F64, 5);
    CHECK(f[0] == (float)x[0] && d[0] == (double)x[0] && f[1] == (float)x[1] && isinf(f[3]) && signbit(d[4]));
    store_to_real(back, d, STORE_F64, 5);
    CHECK_INT(differing(back, x, 5), 0);
    store_to_real(back, f, STORE_F32, 5);
    CHECK(back[0] == (real)f[0] && back[1] == (real)f[1]);
    const uint16_t many[3] = { 0x7f7f, 0x3f80, 0x0001 };            /* bf16: largest, 1, smallest */
    store_to_real(back, many, STORE_BF16, 3);
    CHECK(back[1] == 1 && back[2] == (real)float_of(0x10000) && back[0] == (real)float_of(0x7f7f0000));
    CHECK_INT(store_size(STORE_REAL), sizeof(real));
    CHECK_INT(store_size(STORE_F16) + store_size(STORE_BF16) + store_size(STORE_F32) + store_size(STORE_F64),
              16);
}

/* ---- the products --------------------------------------------------------------------------- */

static void plain_nt(real *y, int ldy, const real *x, int ldx, const real *w, const real *bias, int m,
                     int n_out, int n_in) {
    for (int t = 0; t < m; t++)
        for (int o = 0; o < n_out; o++) {
            real s = 0;
            for (int k = 0; k < n_in; k++) s = r_fma(x[t * ldx + k], w[o * n_in + k], s);
            y[t * ldy + o] = bias ? s + bias[o] : s;
        }
}
static void plain_nn(real *dx, int lddx, const real *dy, int lddy, const real *w, int m, int n_out,
                     int n_in) {
    for (int t = 0; t < m; t++)
        for (int k = 0; k < n_in; k++) {
            real s = 0;
            for (int o = 0; o < n_out; o++) s = r_fma(dy[t * lddy + o], w[o * n_in + k], s);
            dx[t * lddx + k] = s;
        }
}
static void plain_tn(real *dw, const real *dy, int lddy, const real *x, int ldx, int m, int n_out, int n_in) {
    for (int o = 0; o < n_out; o++)
        for (int k = 0; k < n_in; k++)
            for (int t = 0; t < m; t++)
                dw[o * n_in + k] = r_fma(dy[t * lddy + o], x[t * ldx + k], dw[o * n_in + k]);
}

/* All products of one shape, rows `gap` apart; what lies in the gaps must stay. Returns the number of
 * differing reals. */
static long products_differ(int m, int n_out, int n_in, int gap, Store store) {
    const int ldx = n_in + gap, ldy = n_out + gap;
    const size_t nx = (size_t)m * (size_t)ldx, ny = (size_t)m * (size_t)ldy,
                 nw = (size_t)n_out * (size_t)n_in;
    real *x = numbers(nx), *dy = numbers(ny), *w = numbers(nw), *bias = numbers((size_t)n_out);
    void *kept = stored(w, store, nw);
    void *packed = malloc((gemm_packed_count(n_out, n_in) + 1) * store_size(store));
    long bad = 0;
    store_to_real(w, kept, store, nw);                              /* what the stored weights mean */
    gemm_pack(packed, kept, store, n_out, n_in);

    real *got = numbers(nx > ny ? nx : ny), *want = malloc((nx + ny + nw + 1) * sizeof(real));
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        memcpy(want, got, ny * sizeof(real));
        gemm_nt(got, ldy, x, ldx, packed, store, with_bias ? bias : NULL, m, n_out, n_in);
        plain_nt(want, ldy, x, ldx, w, with_bias ? bias : NULL, m, n_out, n_in);
        bad += differing(got, want, ny);
    }
    memcpy(want, got, nx < ny ? nx * sizeof(real) : ny * sizeof(real));
    if (nx > ny) memcpy(want + ny, got + ny, (nx - ny) * sizeof(real));
    gemm_nn(got, ldx, dy, ldy, kept, store, m, n_out, n_in);
    plain_nn(want, ldx, dy, ldy, w, m, n_out, n_in);
    bad += differing(got, want, nx);

    real *dw = numbers(nw), *db = numbers((size_t)n_out);
    memcpy(want, dw, nw * sizeof(real));
    gemm_tn(dw, dy, ldy, x, ldx, m, n_out, n_in);
    plain_tn(want, dy, ldy, x, ldx, m, n_out, n_in);
    bad += differing(dw, want, nw);
    memcpy(want, db, (size_t)n_out * sizeof(real));
    gemm_bias_backward(db, dy, ldy, m, n_out);
    for (int o = 0; o < n_out; o++)
        for (int t = 0; t < m; t++) want[o] += dy[t * ldy + o];
    bad += differing(db, want, (size_t)n_out);
    free(x), free(dy), free(w), free(bias), free(kept), free(packed), free(got), free(want), free(dw),
        free(db);
    return bad;
}

static void test_E5_E6_bits(void) {
    static const int shape[][4] = {
        /* m, n_out, n_in, gap */
        {1, 1, 1, 0},     {1, 16, 5, 0},     {1, 300, 40, 0},   {1, 129, 300, 3}, {2, 17, 9, 1},
        {3, 15, 31, 2},   {5, 33, 16, 0},    {6, 32, 64, 0},    {7, 31, 17, 5},   {11, 47, 65, 0},
        {12, 64, 64, 0},  {13, 64, 48, 16},  {29, 100, 257, 0}, {193, 20, 30, 1}, {200, 64, 64, 0},
        {70, 300, 33, 0}, {300, 40, 520, 0}, {24, 1, 700, 0},   {600, 3, 2, 0},   {4, 5, 0, 2},
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        const int *s = shape[i];
        const long bad = products_differ(s[0], s[1], s[2], s[3], STORE_REAL);
        if (bad) printf("shape %d %d %d ld + %d\n", s[0], s[1], s[2], s[3]);
        CHECK_INT(bad, 0);
    }
    static const Store all[] = { STORE_F32, STORE_BF16, STORE_F16, STORE_F64 };
    for (int i = 0; i < 4; i++) {
        CHECK_INT(products_differ(1, 70, 90, 0, all[i]), 0);
        CHECK_INT(products_differ(33, 70, 91, 2, all[i]), 0);
        /* one row: panels become real in parts of a block */
        CHECK_INT(products_differ(1, 413, 601, 0, all[i]), 0);
        CHECK_INT(products_differ(7, 35, 270, 1, all[i]), 0);
    }
    CHECK_INT(gemm_packed_count(17, 3), 96);
}

/* Every kernel: all numbers of rows that one takes, and one more than twice as many, times widths about each
 * whole number of vectors. */
static void test_E5_E6_every_kernel(void) {
    for (int m = 1; m <= 2 * GEMM_ROWS + 1; m++)
        for (int n = 3; n <= 67; n += n % 4 == 3 ? 1 : n % 4 == 1 ? 2 : 1) {
            const long bad =
                products_differ(m, n, 19, 0, STORE_REAL) + products_differ(19, m, n, 0, STORE_REAL);
            if (bad) printf("%d rows, %d columns\n", m, n);
            CHECK_INT(bad, 0);
        }
}

/* A row of a batch has the bits that it has alone, whatever kernel computes it. */
static void test_row_alone(void) {
    enum { M = 40, OUT = 150, IN = 300 };
    real *x = numbers(M * IN), *w = numbers(OUT * IN), *packed = numbers(gemm_packed_count(OUT, IN)),
         *y = numbers(M * OUT), one[OUT];
    gemm_pack(packed, w, STORE_REAL, OUT, IN);
    gemm_nt(y, OUT, x, IN, packed, STORE_REAL, NULL, M, OUT, IN);
    long bad = 0;
    for (int t = 0; t < M; t++) {
        gemm_nt(one, OUT, x + t * IN, IN, packed, STORE_REAL, NULL, 1, OUT, IN);
        bad += differing(one, y + t * OUT, OUT);
    }
    CHECK_INT(bad, 0);
    free(x), free(w), free(packed), free(y);
}

/* Products in one list are those that come one after the other, whatever threads share the tiles. */
static void check_lists(int m, int n_in) {
    static const int n_out[] = { 300, 40, 96, 1 };
    enum { N = sizeof n_out / sizeof *n_out, ALL = 300 + 40 + 96 + 1 };
    real *x = numbers((size_t)(m * n_in)), *w[N], *packed[N], *bias = numbers(ALL),
         *y = numbers((size_t)(m * ALL)), *want = numbers((size_t)(m * ALL));
    real *dw = numbers((size_t)(n_in * ALL)), *dw_want = malloc((size_t)(n_in * ALL) * sizeof(real)),
         *dy = numbers((size_t)(m * ALL));
    GemmNt nt[N];
    GemmTn tn[N];
    memcpy(dw_want, dw, (size_t)(n_in * ALL) * sizeof(real));
    for (int i = 0, at = 0; i < N; at += n_out[i++]) {
        w[i] = numbers((size_t)(n_out[i] * n_in)), packed[i] = numbers(gemm_packed_count(n_out[i], n_in));
        gemm_pack(packed[i], w[i], STORE_REAL, n_out[i], n_in);
        const real *b = i % 2 ? bias + at : NULL;
        nt[i] =
            (GemmNt){.y = y + m * at, .packed = packed[i], .store = STORE_REAL, .bias = b, .n_out = n_out[i]};
        tn[i] = (GemmTn){.dw = dw + n_in * at, .dy = dy + m * at, .x = x, .m = m, .n_out = n_out[i],
                         .n_in = n_in};
        plain_nt(want + m * at, n_out[i], x, n_in, w[i], b, m, n_out[i], n_in);
        gemm_tn(dw_want + n_in * at, dy + m * at, n_out[i], x, n_in, m, n_out[i], n_in);
    }
    gemm_nt_list(nt, N, x, m, n_in);
    gemm_tn_list(tn, N);
    CHECK_INT(differing(y, want, m * ALL), 0);
    CHECK_INT(differing(dw, dw_want, n_in * ALL), 0);
    for (int i = 0; i < N; i++) free(w[i]), free(packed[i]);
    free(x), free(bias), free(y), free(want), free(dw), free(dw_want), free(dy);
}

static void test_lists(void) {
    static const int rows[] = { 1, 7, 64, 200 };
    for (int i = 0; i < 4; i++) check_lists(rows[i], 130);
}

static void test_threads(void) {
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    for (int n = 1; n <= 3; n++) {
        omp_set_num_threads(n);
        CHECK_INT(products_differ(1, 700, 300, 0, STORE_REAL), 0);
        CHECK_INT(products_differ(200, 90, 65, 1, STORE_REAL), 0);
        CHECK_INT(products_differ(64, 80, 272, 0, STORE_BF16), 0);
        CHECK_INT(products_differ(1, 700, 300, 0, STORE_BF16), 0);
        test_lists();
    }
    omp_set_num_threads(3);
    long bad[3] = { 0 };
    real *x = numbers(100 * 70), *w = numbers(90 * 70), *packed = numbers(gemm_packed_count(90, 70)),
         *want = numbers(100 * 90);
    gemm_pack(packed, w, STORE_REAL, 90, 70);
    plain_nt(want, 90, x, 70, w, NULL, 100, 90, 70);
#pragma omp parallel for
    for (int i = 0; i < 3; i++) {
        real *y = malloc(100 * 90 * sizeof(real));
        gemm_nt(y, 90, x, 70, packed, STORE_REAL, NULL, 100, 90, 70);
        bad[i] = differing(y, want, 100 * 90);
        free(y);
    }
    CHECK_INT(bad[0] + bad[1] + bad[2], 0);
    free(x), free(w), free(packed), free(want);
    omp_set_num_threads(before);
#endif
}

int main(void) {
    test_store();
    test_E5_E6_bits();
    test_E5_E6_every_kernel();
    test_row_alone();
    test_lists();
    test_threads();
    return test_end();
}
