/* test_elementary.c: our exp, log, sin ... against long double and libm, special values, fixed bits, and the
 * order of sums.
 *
 * Errors are in units of the last place of the true value. The limits are those that real.h promises; each
 * was measured over some 10^7 arguments, r_exp over all floats. */
#include "lib/real.h"
#include "tests/test.h"

#include <float.h>
#include <stdbool.h>

static uint64_t state = 88172645463325252u;
static double unit(void) {                      /* [0, 1) */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}
static double between(double a, double b) { return a + (b - a) * unit(); }
static double any_size(int from, int to) {
    return ldexp(1 + unit(), (int)between(from, to)) * (unit() < 0.5 ? -1 : 1);
}

/* ---- double ------------------------------------------------------------------------------ */

/* Where long double is double (Windows, AArch64's macOS), the reference itself is off by about one. */
static const double reference = LDBL_MANT_DIG > DBL_MANT_DIG ? 0 : 1.5;

static double ulps(double got, long double want) {
    const double w = (double)want;
    if (w != w || got != got || isinf(w) || isinf(got)) return (w != w && got != got) || w == got ? 0 : 1e9;
    int e;
    (void)frexpl(want, &e);
    if (want == 0 || e < -1021) e = -1021;
    return (double)(fabsl((long double)got - want) / ldexpl(1, e - 53));
}

static void worst(const char *name, double (*f)(double), long double (*exact)(long double), double from,
                  double to, double limit) {
    double most = 0, at = 0;
    for (int i = 0; i < 20000; i++) {           /* from == to: any size, the exponents -1070 to from */
        const double x = from == to ? any_size(-1070, (int)from) : between(from, to),
                     u = ulps(f(x), exact((long double)x));
        if (u > most) most = u, at = x;
    }
    if (!(most <= limit + reference)) printf("%s is off by %.3f at %.17g\n", name, most, at);
    CHECK_NEAR(most, 0, limit + reference);
}

static void test_E306_double(void) {
    worst("exp", d_exp, expl, -1, 1, 1);
    worst("exp", d_exp, expl, -747, 711, 1);
    worst("exp tiny", d_exp, expl, 0, 0, 1);
    worst("expm1", d_expm1, expm1l, -1, 1, 1);
    worst("expm1", d_expm1, expm1l, -50, 100, 1);
    worst("expm1 at the end of the range", d_expm1, expm1l, 700, 709.78, 1);
    worst("expm1 tiny", d_expm1, expm1l, 0, 0, 1);
    worst("log", d_log, logl, 0.5, 2, 1);
    worst("log", d_log, logl, 0, 1e4, 1);
    worst("log1p", d_log1p, log1pl, -1, 1, 1.5);
    worst("log1p", d_log1p, log1pl, 1, 1e6, 1.5);
    worst("log1p tiny", d_log1p, log1pl, -2, -2, 1.5);
    worst("sin", d_sin, sinl, -7, 7, 1);
    worst("sin far", d_sin, sinl, -1e9, 1e9, 1);
    worst("sin tiny", d_sin, sinl, 0, 0, 1);
    worst("cos", d_cos, cosl, -7, 7, 1);
    worst("cos far", d_cos, cosl, -1e9, 1e9, 1);
    worst("tanh", d_tanh, tanhl, -2, 2, 2.5);
    worst("tanh far", d_tanh, tanhl, -25, 25, 2.5);
    worst("tanh tiny", d_tanh, tanhl, 0, 0, 2.5);
    double most = 0, turns = 0, powers = 0, decay = 0;
    for (int i = 0; i < 20000; i++) {
        const double x = fabs(any_size(-1070, 1020)), turn = rint(between(0, 6e8)) * 1.5707963267948966;
        const double y = between(-744, 709) / log(x), b = between(0.5, 1), t = rint(between(0, 60 / -log(b)));
        most = fmax(most, ulps(d_log(x), logl(x)));
        /* one of them is nearly 0 */
        turns = fmax(turns, fmax(ulps(d_sin(turn), sinl(turn)), ulps(d_cos(turn), cosl(turn))));
        powers = fmax(powers, ulps(d_pow(x, y), powl(x, y)));
        decay = fmax(decay, ulps(d_pow(b, t), powl(b, t)));
    }
    CHECK_NEAR(most, 0, 1 + reference);
    CHECK_NEAR(turns, 0, 1.5 + reference);
    CHECK_NEAR(powers, 0, 1 + reference);
    CHECK_NEAR(decay, 0, 1 + reference);
}

static bool same(double got, double want) {
    return (got != got && want != want) || (got == want && !signbit(got) == !signbit(want));
}

static void test_special_values(void) {
    static const double x[] = {0.0,   -0.0,   INFINITY, -INFINITY, NAN,
                               1e300, -1e300, DBL_MIN,  0x1p-1074, -0x1p-1074};
    static double (*const ours[])(double) = { d_exp, d_expm1, d_log, d_log1p, d_tanh };
    static double (*const theirs[])(double) = { exp, expm1, log, log1p, tanh };
    for (int f = 0; f < 5; f++)
        for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
            const double got = ours[f](x[i]), want = theirs[f](x[i]);
            const bool near = isfinite(want) && want != 0 && fabs(got - want) <= 2e-16 * fabs(want);
            if (!near && !same(got, want)) printf("function %d of %g: %g, expected %g\n", f, x[i], got, want);
            CHECK(near || same(got, want));
        }
    CHECK(d_log(1) == 0 && d_exp(0) == 1 && d_cos(0) == 1 && same(d_sin(-0.0), -0.0) &&
          d_log1p(-1) == -INFINITY && d_log(-1) != d_log(-1));
    CHECK(d_log1p(-2) != d_log1p(-2) && d_sin(INFINITY) != d_sin(INFINITY) && d_cos(NAN) != d_cos(NAN));
    CHECK(d_sin(2e9) != d_sin(2e9));                            /* beyond the promise: not a wrong number */
    CHECK(d_exp(709.78) < INFINITY && d_exp(709.79) == INFINITY && d_exp(-745.13) == 0x1p-1074 &&
          d_exp(-745.14) == 0);
    static const double p[] = { 0, 1, INFINITY, NAN, 0.5, 2, 1e300, 0x1p-1074, 0.999, 1e-300 };
    static const double q[] = {0,     1,      INFINITY, -INFINITY, NAN,   0.5,   -2,
                               1e300, -1e300, 3,        1074,      -1074, 1023.9};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++)
        for (size_t j = 0; j < sizeof q / sizeof *q; j++) {
            const double got = d_pow(p[i], q[j]), want = pow(p[i], q[j]);
            const bool near = isfinite(want) && want != 0 && fabs(got - want) <= 4e-16 * fabs(want);
            if (!near && !same(got, want)) printf("%g to the %g: %g, expected %g\n", p[i], q[j], got, want);
            CHECK(near || same(got, want));
        }
    CHECK(d_pow(-1, 2) != d_pow(-1, 2));                        /* outside the promise */
}

/* ---- real -------------------------------------------------------------------------------- */

#ifndef REAL_IS_DOUBLE
static float float_of(uint64_t bits) {
    const uint32_t u = (uint32_t)bits;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static double float_ulps(float got, double want) {
    const float w = (float)want;
    if (w != w || got != got || isinf(w) || isinf(got)) return (w != w && got != got) || w == got ? 0 : 1e9;
    int e;
    (void)frexp(want, &e);
    if (want == 0 || e < -125) e = -125;
    return fabs((double)got - want) / ldexp(1, e - 24);
}
static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double log_sigmoid(double x) { return (x < 0 ? x : 0) - log1p(exp(-fabs(x))); }
#endif

/* Every 1009th of all floats, special ones among them. */
static void test_E301_E306_float(void) {
#ifndef REAL_IS_DOUBLE
    static const struct {
        const char *name;
        float (*f)(float);
        double (*exact)(double);
        double limit;
        uint64_t step;
    } all[] = {{"exp", r_exp, exp, 0.78, 1009},
               {"expm1", r_expm1, expm1, 0.501, 10007},
               {"log", r_log, log, 0.501, 10007},
               {"log1p", r_log1p, log1p, 0.501, 10007},
               {"tanh", r_tanh, tanh, 0.501, 10007},
               {"sigmoid", r_sigmoid, sigmoid, 2.5, 10007},
               {"log_sigmoid", r_log_sigmoid, log_sigmoid, 0.501, 10007}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double most = 0;
        float at = 0;
        for (uint64_t u = 0; u < 1ull << 32; u += all[i].step) {
            const float x = float_of(u);
            const double off = float_ulps(all[i].f(x), all[i].exact(x));
            if (off > most) most = off, at = x;
        }
        if (!(most <= all[i].limit)) printf("%s is off by %.3f at %a\n", all[i].name, most, (double)at);
        CHECK_NEAR(most, 0, all[i].limit);
    }
    CHECK(r_exp(88.72f) < INFINITY && r_exp(88.73f) == INFINITY && r_exp(-103.97f) == 0x1p-149f &&
          r_exp(-103.98f) == 0);
#endif
    CHECK(r_exp(0) == 1 && r_exp((real)INFINITY) == (real)INFINITY && r_exp(-(real)INFINITY) == 0 &&
          r_exp((real)NAN) != r_exp((real)NAN));
    CHECK(r_sigmoid(0) == (real)0.5 && r_sigmoid((real)INFINITY) == 1 && r_sigmoid(-(real)INFINITY) == 0);
    CHECK(r_log_sigmoid((real)-1e6) == (real)-1e6 && r_log_sigmoid((real)INFINITY) == 0);
#ifdef REAL_IS_DOUBLE
    for (int i = 0; i < 20000; i++) {
        const double x = between(-747, 711);
        CHECK(r_exp(x) == d_exp(x));            /* one function in two forms: the one without branches, too */
    }
#endif
}

/* Bits, summed up: another compiler, CPU or option that changes one of them is found here. */
static uint64_t hash_of(uint64_t h, const void *p, size_t n) {
    const unsigned char *b = p;
    while (n--) h = (h ^ *b++) * 1099511628211u;
    return h;
}
static void test_fixed_bits(void) {
    uint64_t h = 14695981039346656037u;
    state = 1234567;
    for (int i = 0; i < 20000; i++) {
        const double a = between(-30, 30), b = between(0.001, 5), c = between(-1e5, 1e5);
        const double y[] = {d_exp(a), d_expm1(a), d_log(b),  d_log1p(b),
                            d_sin(c), d_cos(c),   d_tanh(a), d_pow(b, a)};
        h = hash_of(h, y, sizeof y);
    }
    CHECK(h == 0x8e258d575ff3f70u);
    h = 14695981039346656037u;
    for (int i = 0; i < 20000; i++) {
        const real a = (real)between(-90, 90), b = (real)between(-3, 3);
        const real y[] = {r_exp(a),  r_expm1(b),   r_log(r_fabs(a)), r_log1p(r_fabs(b)),
                          r_tanh(b), r_sigmoid(a), r_log_sigmoid(a)};
        h = hash_of(h, y, sizeof y);
    }
#ifdef REAL_IS_DOUBLE
    CHECK(h == 0xfdcd077247eccedcu);
#else
    CHECK(h == 0xbbc8a007ffb7f1a9u);
#endif
}

/* ---- loops ------------------------------------------------------------------------------- */

enum { N = 1000 };
static real x[N], y[N], z[N], out[N], other[N];
static void fill(real *p, double from, double to) {
    for (int i = 0; i < N; i++) p[i] = (real)between(from, to);
}

/* The loops have the scalar's bits at every length, in place too, and leave the rest alone. */
static void test_exp_array(void) {
    fill(x, -110, 95);
    x[3] = (real)NAN, x[4] = (real)INFINITY, x[5] = -(real)INFINITY, x[6] = 0;
    const real shift = (real)0.37;
    for (size_t n = 0; n < N; n = n < 70 ? n + 1 : n + 311) {
        memcpy(out, y, sizeof out), memcpy(other, x, sizeof other);
        r_exp_array(out, x, shift, n);
        r_exp_array(other, other, shift, n);
        long bad = 0;
        for (size_t i = 0; i < N; i++) {
            const real want = i < n ? r_exp(x[i] - shift) : y[i], in_place = i < n ? want : x[i];
            bad += !same(out[i], want) + !same(other[i], in_place);
        }
        CHECK_INT(bad, 0);
    }
}

static void test_E18_E19_swiglu(void) {
    fill(x, -12, 12), fill(y, -3, 3), fill(z, -2, 2);
    static real dgate[N], dup[N], again[N];
    r_swiglu(out, x, y, N);
    memcpy(again, z, sizeof z), memcpy(dgate, x, sizeof x), memcpy(dup, y, sizeof y);
    r_swiglu_backward(again, dgate, dup, N);
    CHECK_INT(memcmp(again, out, sizeof out), 0);
    long bad = 0;
    for (int i = 0; i < N; i++) {
        const real s = r_sigmoid(x[i]), silu = x[i] * s;
        bad += out[i] != silu * y[i];
        bad += dup[i] != z[i] * silu || dgate[i] != z[i] * y[i] * s * (1 + x[i] * (1 - s));
    }
    CHECK_INT(bad, 0);
#ifdef REAL_IS_DOUBLE
    for (int i = 0; i < N; i += 7) {
        const real h = 6e-6 * (1 + fabs(x[i])), g[2] = { x[i] + h, x[i] - h }, u[2] = { y[i], y[i] };
        real a[2];
        r_swiglu(a, g, u, 2);
        CHECK_NEAR(dgate[i], z[i] * (a[0] - a[1]) / (2 * h), 1e-8);
        CHECK_NEAR(dup[i], z[i] * out[i] / y[i], 1e-12);
    }
#endif
    const real far[4] = { 1000, -1000, (real)INFINITY, 0 }, one[4] = { 1, 1, 1, 1 };
    r_swiglu(out, far, one, 4);
    CHECK(out[0] == 1000 && out[1] == 0 && out[2] == (real)INFINITY && out[3] == 0);
}

/* ---- sums -------------------------------------------------------------------------------- */

static void test_lanes(void) {
    fill(x, -1, 2), fill(y, -2, 1);
    for (size_t n = 0; n < N; n = n < 100 ? n + 1 : n + 97) {
        real sum[16] = { 0 }, dot[16] = { 0 };
        double square[16] = { 0 };
        for (size_t i = 0; i < n; i++) {
            sum[i % 16] += x[i];
            dot[i % 16] = r_fma(x[i], y[i], dot[i % 16]);
            square[i % 16] = fma((double)x[i], (double)x[i], square[i % 16]);
        }
        for (int half = 8; half; half /= 2)
            for (int l = 0; l < half; l++)
                sum[l] += sum[l + half], dot[l] += dot[l + half], square[l] += square[l + half];
        CHECK(r_sum(x, n) == sum[0] && r_dot(x, y, n) == dot[0] && d_sum_squares(x, n) == square[0]);
    }
    CHECK(r_sum(x + 1, 33) != r_sum(x, 33));
}

static void test_max(void) {
    fill(x, -5, -1);
    for (int n = 1; n < 120; n++)
        for (int at = 0; at < n; at++) {
            const real keep = x[at];
            x[at] = (real)-0.5;
            const real most = r_max(x, (size_t)n);
            x[at] = (real)NAN;
            const real lost = r_max(x, (size_t)n);
            x[at] = keep;
            if (most != (real)-0.5 || lost == lost) CHECK(!"the maximum, or NaN");
        }
    CHECK(r_max(x, 1) == x[0]);
    x[40] = -(real)INFINITY;
    CHECK(r_max(x + 40, 1) == -(real)INFINITY);
}

int main(void) {
    test_fixed_bits();                          /* first: it sets the sequence of arguments */
    test_E306_double();
    test_special_values();
    test_E301_E306_float();
    test_exp_array();
    test_E18_E19_swiglu();
    test_lanes();
    test_max();
    return test_end();
}
