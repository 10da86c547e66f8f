/* ulp_tool.c: the error of every elementary function of lib/real.h, in units of the last place of the true
 * value (`make ulps`; docs/numerics.md has its output).
 *
 * In the float build exhaustively: all 2^32 floats (or every STEP-th), against libm's double functions, whose
 * own error is some 2^-29 of a float's last place; sin and cos of the model are double, rounded once. In the
 * double build at N arguments a function (2e7 by default), keyed by their number, against libm's long double
 * functions. NaN and infinity must come where libm has them. NAME: this function only.
 *
 *     build/f32/tests/ulp_tool [STEP [NAME]]        build/f64/tests/ulp_tool [N [NAME]] */
#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/real.h"

/* inexact: not the nearest; special: NaN or infinity missed */
typedef struct { double most; double at; double sum; uint64_t n, inexact, special; } Worst;

/* Called in any order of blocks. */
static void join(Worst *to, const Worst *w) {
    if (w->most > to->most || (w->most == to->most && w->at < to->at)) to->most = w->most, to->at = w->at;
    to->sum += w->sum, to->n += w->n, to->inexact += w->inexact, to->special += w->special;
}

static bool wanted(int argc, char **argv, const char *name) { return argc < 3 || !strcmp(argv[2], name); }
static void heading(void) {
    printf("%-14s %-30s %7s  %-23s %7s  %11s  %s\n", "function", "arguments", "worst", "at", "mean",
           "not nearest", "NaN, infinity missed");
}

static void report(const char *name, const char *over, const Worst *w) {
    printf("%-14s %-30s %7.4f  %-23a %7.4f  %9.4f %%  %llu\n", name, over, w->most, w->at,
           w->sum / (double)w->n, 100.0 * (double)w->inexact / (double)w->n, (unsigned long long)w->special);
    fflush(stdout);
}

#ifndef REAL_IS_DOUBLE

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double log_sigmoid(double x) { return (x < 0 ? x : 0) - log1p(exp(-fabs(x))); }
static float sin_rounded(float x) { return (float)d_sin((double)x); }
static float cos_rounded(float x) { return (float)d_cos((double)x); }

static float float_of(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

/* |got - want| in units of the last place that a float has at want; in the range of denormals that of the
 * denormals */
static void measure(Worst *w, float x, float got, double want) {
    const float nearest = (float)want;
    w->n++;
    if (nearest != nearest || got != got || isinf(nearest) || isinf(got)) {
        w->special += !((nearest != nearest && got != got) || nearest == got);
        return;
    }
    uint64_t bits; /* 2^24 / 2^e with |want| in [2^(e-1), 2^e), by the exponent's bits */
    memcpy(&bits, &want, sizeof bits);
    int64_t e = (int64_t)(bits >> 52 & 0x7ff) - 1022;
    if (e < -125) e = -125;
    bits = (uint64_t)(1023 + 24 - e) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    const double off = fabs((double)got - want) * scale;
    w->sum += off;
    w->inexact += got != nearest;
    if (off > w->most) w->most = off, w->at = (double)x;
}

typedef struct { const char *name, *over; float (*f)(float); double (*exact)(double); double limit; } Case;

int main(int argc, char **argv) {
    static const Case all[] = {{"r_exp", "all floats", r_exp, exp, 0},
                               {"r_expm1", "all floats", r_expm1, expm1, 0},
                               {"r_log", "all floats", r_log, log, 0},
                               {"r_log1p", "all floats", r_log1p, log1p, 0},
                               {"r_tanh", "all floats", r_tanh, tanh, 0},
                               {"r_sigmoid", "all floats", r_sigmoid, sigmoid, 0},
                               {"r_log_sigmoid", "all floats", r_log_sigmoid, log_sigmoid, 0},
                               {"(float)d_sin", "all floats up to 1e9", sin_rounded, sin, 1e9},
                               {"(float)d_cos", "all floats up to 1e9", cos_rounded, cos, 1e9}};
    enum { BLOCK = 1 << 20 };
    const double given = argc > 1 ? strtod(argv[1], NULL) : 1;
    const uint64_t step = given >= 1 ? (uint64_t)given : 1;
    heading();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        Worst worst = {0};
        if (!wanted(argc, argv, all[i].name)) continue;
        #pragma omp parallel for schedule(dynamic, 1)
        for (int64_t block = 0; block < (1ll << 32) / BLOCK; block++) {
            Worst w = {0};
            for (uint64_t u = (uint64_t)block * BLOCK; u < (uint64_t)(block + 1) * BLOCK; u += step) {
                const float x = float_of((uint32_t)u);
                if (all[i].limit > 0 && !(fabs((double)x) <= all[i].limit)) continue;
                measure(&w, x, all[i].f(x), all[i].exact((double)x));
            }
            #pragma omp critical
            join(&worst, &w);
        }
        report(all[i].name, all[i].over, &worst);
    }
    return 0;
}

#else

/* [0, 1), keyed by its number */
static double unit(uint64_t i) {
    uint64_t z = i * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u, z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void measure(Worst *w, double x, double got, long double want) {
    const double nearest = (double)want;
    w->n++;
    if (nearest != nearest || got != got || isinf(nearest) || isinf(got)) {
        w->special += !((nearest != nearest && got != got) || nearest == got);
        return;
    }
    int e;
    (void)frexpl(want, &e);
    if (want == 0 || e < -1021) e = -1021;
    const double off = (double)(fabsl((long double)got - want) / ldexpl(1, e - 53));
    w->sum += off;
    w->inexact += got != nearest;
    if (off > w->most) w->most = off, w->at = x;
}

/* from == to: any size */
typedef struct {
    const char *name, *over;
    double (*f)(double);
    long double (*exact)(long double);
    double from, to;
} Case;

static double sigmoid_of(double x) { return r_sigmoid(x); }
static double log_sigmoid_of(double x) { return r_log_sigmoid(x); }
static double exp_of(double x) { return r_exp(x); }
static long double sigmoid(long double x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
static long double log_sigmoid(long double x) { return (x < 0 ? x : 0) - log1pl(expl(-fabsl(x))); }

int main(int argc, char **argv) {
    static const Case all[] = {{"d_exp", "-747 to 711", d_exp, expl, -747, 711},
                               {"d_exp", "-1 to 1", d_exp, expl, -1, 1},
                               {"r_exp", "-747 to 711", exp_of, expl, -747, 711},
                               {"d_expm1", "-50 to 100", d_expm1, expm1l, -50, 100},
                               {"d_expm1", "-1 to 1", d_expm1, expm1l, -1, 1},
                               {"d_expm1", "of any size below 1", d_expm1, expm1l, 0, 0},
                               {"d_log", "0 to 2", d_log, logl, 0, 2},
                               {"d_log", "0 to 1e6", d_log, logl, 0, 1e6},
                               {"d_log1p", "-1 to 1", d_log1p, log1pl, -1, 1},
                               {"d_log1p", "0 to 1e6", d_log1p, log1pl, 0, 1e6},
                               {"d_log1p", "of any size below 1", d_log1p, log1pl, 0, 0},
                               {"d_sin", "-7 to 7", d_sin, sinl, -7, 7},
                               {"d_sin", "-1e9 to 1e9", d_sin, sinl, -1e9, 1e9},
                               {"d_cos", "-7 to 7", d_cos, cosl, -7, 7},
                               {"d_cos", "-1e9 to 1e9", d_cos, cosl, -1e9, 1e9},
                               {"d_tanh", "-2 to 2", d_tanh, tanhl, -2, 2},
                               {"d_tanh", "-25 to 25", d_tanh, tanhl, -25, 25},
                               {"r_sigmoid", "-40 to 40", sigmoid_of, sigmoid, -40, 40},
                               {"r_log_sigmoid", "-40 to 40", log_sigmoid_of, log_sigmoid, -40, 40}};
    enum { BLOCK = 1 << 16 };
    const int64_t n = (int64_t)(argc > 1 ? strtod(argv[1], NULL) : 2e7);
    if (LDBL_MANT_DIG <= DBL_MANT_DIG)
        printf("long double is double here: the reference itself is off by about one\n");
    heading();
    for (size_t i = 0; i <= sizeof all / sizeof *all; i++) {
        const bool power = i == sizeof all / sizeof *all;
        const Case *c = &all[power ? 0 : i];
        Worst worst = {0};
        if (!wanted(argc, argv, power ? "d_pow" : c->name)) continue;
        #pragma omp parallel for schedule(dynamic, 1)
        for (int64_t block = 0; block < (n - 1) / BLOCK + 1; block++) {
            Worst w = {0};
            for (int64_t j = block * BLOCK; j < (block + 1) * BLOCK && j < n; j++) {
                const double u = unit(2 * (uint64_t)j), v = unit(2 * (uint64_t)j + 1);
                if (power) {                            /* base of any size, result of any size */
                    const double b = ldexp(1 + u, (int)(v * 2000) - 1000),
                                 y = (unit((uint64_t)j + 0x100000000u) * 1400 - 700) / log(b);
                    if (isfinite(y)) measure(&w, b, d_pow(b, y), powl((long double)b, (long double)y));
                    continue;
                }
                const double x = c->from < c->to ? c->from + (c->to - c->from) * u
                                                 : ldexp(1 + u, -1 - (int)(v * 1060)) * (j % 2 ? -1 : 1);
                measure(&w, x, c->f(x), c->exact((long double)x));
            }
            #pragma omp critical
            join(&worst, &w);
        }
        report(power ? "d_pow" : c->name, power ? "results from e^-700 to e^700" : c->over, &worst);
    }
    return 0;
}
#endif
