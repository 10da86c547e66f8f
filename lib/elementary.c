/* elementary.c: exp, log, sin ... from + - * / and bit operations (E306), so that every machine gives the
 * same bits.
 *
 * In this order: double functions, their real counterparts, loops over arrays, sums in lanes. fma appears
 * only where the header's contract says so (r_dot, d_sum_squares) and in d_pow, which is never in an inner
 * loop. Series are Taylor's, cut where the next term is below the last bit on the reduced interval. */
#include "real.h"
#include "vector.h"

#include <stdbool.h>
#include <string.h>

static uint64_t bits_of(double x) { uint64_t u; memcpy(&u, &x, sizeof u); return u; }
static double double_of(uint64_t u) { double x; memcpy(&x, &u, sizeof x); return x; }

/* ---- double: exp, expm1 ---- */

#define LN2_HIGH 0x1.62e42fee00000p-1           /* 32 bits: n * LN2_HIGH is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define INV_LN2 0x1.71547652b82fep+0
#define ROUND_DOUBLE 0x1.8p+52 /* adding it rounds to a whole number, which then stands in the low bits */

/* exp(r) - 1 - r = r^2 q(r) for |r| <= ln2/2; returns r^2 q */
static inline double exp_tail(double r) {
    double q = 1.0 / 6227020800.0;              /* 1/13! */
    q = q * r + 1.0 / 479001600.0;
    q = q * r + 1.0 / 39916800.0;
    q = q * r + 1.0 / 3628800.0;
    q = q * r + 1.0 / 362880.0;
    q = q * r + 1.0 / 40320.0;
    q = q * r + 1.0 / 5040.0;
    q = q * r + 1.0 / 720.0;
    q = q * r + 1.0 / 120.0;
    q = q * r + 1.0 / 24.0;
    q = q * r + 1.0 / 6.0;
    q = q * r + 0.5;
    return r * r * q;
}

/* a + b without loss: a + b = sum + *low */
static inline double two_sum(double a, double b, double *low) {
    const double sum = a + b, rest = sum - a;
    *low = (a - (sum - rest)) + (b - rest);
    return sum;
}

/* exp(x) = 2^n (1 + high + low), |high| <= ln2/2 and exact; low carries all that would be lost beside 1 +
 * high. */
static inline double exp_parts(double x, double n, double *low) {
    const double high = x - n * LN2_HIGH, tail = n * LN2_LOW, r = high - tail;
    *low = (exp_tail(r) + r * ((high - r) - tail)) - tail;
    return high;
}

static double whole_ln2(double x) { return (x * INV_LN2 + ROUND_DOUBLE) - ROUND_DOUBLE; }
/* -1022 <= n <= 1023 */
static double power_of_two(int n) { return double_of((uint64_t)(n + 1023) << 52); }

/* exp(x + extra) with extra below one bit of x */
static double exp_of_two(double x, double extra) {
    if (x > 710) return INFINITY;
    if (x < -746) return 0;
    const double n = whole_ln2(x);
    double low, lost;
    const double high = exp_parts(x, n, &low), sum = two_sum(1, high, &lost);
    const double y = sum + (lost + (low + extra * (sum + low)));
    /* in two steps: 2^n itself may leave the range; the last one rounds */
    const int half = (int)n / 2;
    return y * power_of_two(half) * power_of_two((int)n - half);
}

double d_exp(double x) { return x != x ? x : exp_of_two(x, 0); }

/* 2^n (1 + high + low) - 1 = (2^n - 1) + 2^n high + 2^n low, the first two added without loss */
double d_expm1(double x) {
    if (x != x || x == 0) return x;
    if (x > 710) return INFINITY;
    if (x < -40) return -1;
    const double n = whole_ln2(x);
    if (n > 60) return d_exp(x);                /* 1 is far below the last bit */
    double low, lost, lost_one;
    const double high = exp_parts(x, n, &low), t = power_of_two((int)n);
    const double sum = two_sum(two_sum(t, -1, &lost_one), t * high, &lost);
    return sum + ((lost + lost_one) + t * low);
}

/* ---- double: log, log1p ---- */

/* x = 2^k m with sqrt(1/2) <= m < sqrt(2), for finite x > 0 */
static double log_reduce(double x, double *k) {
    int shift = 0;
    if (x < 0x1p-1022) x *= 0x1p54, shift = -54;
    uint64_t u = bits_of(x) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    *k = (double)((int)(u >> 52) - 1023 + shift);
    u = (u & 0xfffffffffffffull) + 0x3fe6a09e667f3bcdull;
    return double_of(u);
}

/* log((1+s)/(1-s)) = 2s + s R, R = z 2/3 + z^2 (2/5 + z (2/7 + ...)), z = s^2 <= 0.0295; returns R without
 * its first term */
static double log_tail(double z) {
    double q = 2.0 / 25;
    q = q * z + 2.0 / 23;
    q = q * z + 2.0 / 21;
    q = q * z + 2.0 / 19;
    q = q * z + 2.0 / 17;
    q = q * z + 2.0 / 15;
    q = q * z + 2.0 / 13;
    q = q * z + 2.0 / 11;
    q = q * z + 2.0 / 9;
    q = q * z + 2.0 / 7;
    q = q * z + 2.0 / 5;
    return q * z * z;
}

double d_log(double x) {
    if (x != x || x == INFINITY) return x;
    if (x == 0) return -INFINITY;
    if (x < 0) return NAN;
    double k;
    const double f = log_reduce(x, &k) - 1, s = f / (2 + f), half = 0.5 * f * f;
    const double z = s * s, r = z * (2.0 / 3) + log_tail(z);
    return k * LN2_HIGH - ((half - (s * (half + r) + k * LN2_LOW)) - f);
}

double d_log1p(double x) {
    if (x != x || x == 0 || x == INFINITY) return x;
    const double u = 1 + x;
    if (!(u > 0)) return u == 0 ? -INFINITY : NAN;
    return d_log(u) + (x - (u - 1)) / u;        /* what rounding 1 + x took away */
}

/* ---- double: sin, cos ---- */

/* pi/2 in three parts of 23 bits, whose products with n < 2^30 are exact, and a rest */
#define PIO2_A 0x1.921fb4p+0
#define PIO2_B 0x1.4442dp-24
#define PIO2_C 0x1.846988p-48
#define PIO2_D 0x1.8cc51701b839ap-72

static double quarter_turns(double x, double *low, int *quadrant) {
    const double n = (x * 0x1.45f306dc9c883p-1 + ROUND_DOUBLE) - ROUND_DOUBLE;
    const double a = (x - n * PIO2_A) - n * PIO2_B, c = n * PIO2_C, b = a - c;
    const double lost = (a - b) - c, d = n * PIO2_D, r = b + (lost - d);
    *low = (b - r) + (lost - d);
    *quadrant = (int)((int64_t)n & 3);
    return r;
}

static double sin_kernel(double r, double low) {
    const double z = r * r;
    double q = 1.0 / 355687428096000.0;         /* 1/17! */
    q = q * z - 1.0 / 1307674368000.0;
    q = q * z + 1.0 / 6227020800.0;
    q = q * z - 1.0 / 39916800.0;
    q = q * z + 1.0 / 362880.0;
    q = q * z - 1.0 / 5040.0;
    q = q * z + 1.0 / 120.0;
    q = q * z - 1.0 / 6.0;
    return r + (r * z * q + low * (1 - 0.5 * z));
}

static double cos_kernel(double r, double low) {
    const double z = r * r, half = 0.5 * z, w = 1 - half;
    double q = -1.0 / 6402373705728000.0;       /* 1/18! */
    q = q * z + 1.0 / 20922789888000.0;
    q = q * z - 1.0 / 87178291200.0;
    q = q * z + 1.0 / 479001600.0;
    q = q * z - 1.0 / 3628800.0;
    q = q * z + 1.0 / 40320.0;
    q = q * z - 1.0 / 720.0;
    q = q * z + 1.0 / 24.0;
    return w + (((1 - w) - half) + (z * z * q - r * low));
}

static double turned(double x, int ahead) {
    if (!(fabs(x) <= 1e9)) return NAN;
    if (x == 0 && !ahead) return x;
    double low;
    int quadrant;
    const double r = quarter_turns(x, &low, &quadrant);
    quadrant = (quadrant + ahead) & 3;
    const double y = quadrant & 1 ? cos_kernel(r, low) : sin_kernel(r, low);
    return quadrant & 2 ? -y : y;
}

double d_sin(double x) { return turned(x, 0); }
double d_cos(double x) { return turned(x, 1); }

/* ---- double: tanh, pow ---- */

double d_tanh(double x) {
    const double a = fabs(x);
    double y;
    if (a != a || a < 0x1p-28) return x;
    if (a > 20) y = 1;
    else if (a >= 1) y = 1 - 2 / (d_expm1(2 * a) + 2);
    else { const double t = d_expm1(-2 * a); y = -t / (t + 2); }
    return x < 0 ? -y : y;
}

/* exp(y log x) with log x in two doubles: an error in the exponent is multiplied by its size, up to 745. The
 * series is d_log's with its first term, z/3, in two doubles as well. What is small enough to need only one
 * keeps 64 bits. */
double d_pow(double x, double y) {
    if (y == 0 || x == 1) return 1;
    if (x != x || y != y || x < 0) return NAN;
    if (x == 0) return y > 0 ? 0 : INFINITY;
    if (x == INFINITY) return y > 0 ? INFINITY : 0;
    double k, sum_low, all_low;
    const double f = log_reduce(x, &k) - 1, t = 2 + f, t_low = f - (t - 2);
    const double s = f / t, s_low = (fma(-s, t, f) - s * t_low) / t;                /* f / (2 + f) */
    const double z = s * s, z_low = fma(s, s, -z) + 2 * s * s_low, third = z / 3;
    const double u_low = (fma(-third, 3, z) + z_low) / 3 + log_tail(z) / 2;
    /* log m = 2 (s + s u) */
    const double su = s * third, su_low = fma(s, third, -su) + s_low * third + s * u_low;
    const double m = two_sum(s, su, &sum_low), m_low = sum_low + (s_low + su_low);
    const double ln2 = k * LN2_LOW, ln2_low = fma(k, LN2_LOW, -ln2);
    const double part = two_sum(k * LN2_HIGH, 2 * m, &all_low),
                 rest = (all_low + ln2) + (ln2_low + 2 * m_low);
    const double high = part + rest, low = (part - high) + rest;
    const double p = y * high;
    if (!(fabs(p) <= 750)) return p > 0 ? INFINITY : 0;
    return exp_of_two(p, fma(y, high, -p) + y * low);
}

/* ---- real ---- */

/* exp of the loops: no branch, no call, so that compilers vectorise what uses it. */
#ifdef REAL_IS_DOUBLE
static inline double exp_inline(double x) {
    x = x > 710 ? 710 : x;
    x = x < -746 ? -746 : x;
    const double shifted = x * INV_LN2 + ROUND_DOUBLE, n = shifted - ROUND_DOUBLE;
    double low;
    const double high = exp_parts(x, n, &low), sum = 1 + high, y = sum + ((high - (sum - 1)) + low);
    int64_t k;
    memcpy(&k, &shifted, sizeof k);
    k -= 0x4338000000000000;
    const int64_t half = k >> 1, rest = k - half;
    return y * double_of((uint64_t)(half + 1023) << 52) * double_of((uint64_t)(rest + 1023) << 52);
}
real r_exp(real x) { return exp_inline(x); }
real r_expm1(real x) { return d_expm1(x); }
real r_log(real x) { return d_log(x); }
real r_log1p(real x) { return d_log1p(x); }
real r_tanh(real x) { return d_tanh(x); }
#else
static inline float float_of(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

static inline float exp_inline(float x) {
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float shifted = x * 0x1.715476p+0f + 0x1.8p+23f, n = shifted - 0x1.8p+23f;
    const float high = x - n * 0x1.62e4p-1f, tail = n * 0x1.7f7d1cp-20f, r = high - tail;
    float q = 1.0f / 5040;
    q = q * r + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    /* 1 + high without loss */
    const float sum = 1 + high, y = sum + ((high - (sum - 1)) + (r * r * q - tail));
    int32_t k;
    memcpy(&k, &shifted, sizeof k);
    k -= 0x4b400000;
    const int32_t half = k >> 1, rest = k - half;       /* in two steps: 2^k itself may leave the range */
    return y * float_of((uint32_t)(half + 127) << 23) * float_of((uint32_t)(rest + 127) << 23);
}
real r_exp(real x) { return exp_inline(x); }
real r_expm1(real x) { return (real)d_expm1(x); }
real r_log(real x) { return (real)d_log(x); }
real r_log1p(real x) { return (real)d_log1p(x); }
real r_tanh(real x) { return (real)d_tanh(x); }
#endif

static inline real sigmoid_inline(real x) {
    const real e = exp_inline(x < 0 ? x : -x);
    return (x < 0 ? e : 1) / (1 + e);
}

real r_sigmoid(real x) { return sigmoid_inline(x); }
/* In double also for float: two roundings instead of one would cost the last bit. */
real r_log_sigmoid(real x) { return (real)d_log_sigmoid(x); }

double d_sigmoid(double x) {
    const double e = d_exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}
double d_log_sigmoid(double x) { return (x < 0 ? x : 0) - d_log1p(d_exp(-fabs(x))); }

/* ---- loops ---- */

/* An element reads nothing that another one writes. Compilers that are not told test for overlap and take the
 * slow way where output and input are the same array. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

void r_exp_array(real *y, const real *x, real shift, size_t n) {
    INDEPENDENT
    for (size_t i = 0; i < n; i++) y[i] = exp_inline(x[i] - shift);
}

void r_swiglu(real *act, const real *gate, const real *up, size_t n) {
    INDEPENDENT
    for (size_t i = 0; i < n; i++) act[i] = gate[i] * sigmoid_inline(gate[i]) * up[i];
}

void r_swiglu_backward(real *act, real *gate, real *up, size_t n) {
    INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        const real d = act[i], g = gate[i], s = sigmoid_inline(g);
        const real silu = g * s, u = up[i];
        act[i] = silu * u;
        up[i] = d * silu;
        gate[i] = d * u * s * (1 + g * (1 - s));
    }
}

/* ---- sums: 16 lanes, whatever the machine's vectors are ---- */

enum { LANES = 16, PARTS = LANES * (int)sizeof(real) / VECTOR_BYTES };
#define UNROLL _Pragma("GCC unroll 8")          /* or the accumulators live in memory */

static real lanes_tree(real *lane) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

real r_sum(const real *x, size_t n) {
    Vector acc[PARTS] = { { 0 } };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        UNROLL
        for (int p = 0; p < PARTS; p++) acc[p] += vector_load(x + i + p * VECTOR_LANES);
    real lane[LANES];
    UNROLL
    for (int p = 0; p < PARTS; p++) vector_store(lane + p * VECTOR_LANES, acc[p]);
    for (size_t k = 0; i + k < n; k++) lane[k] += x[i + k];
    return lanes_tree(lane);
}

/* Of (x w) and y, or of x and y: `weighted` is a constant where it is called, so that the choice costs
 * nothing. */
static inline real dot_lanes(const real *x, const real *w, const real *y, size_t n, bool weighted) {
    Vector acc[PARTS] = { { 0 } };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        UNROLL
        for (int p = 0; p < PARTS; p++) {
            const size_t at = i + (size_t)(p * VECTOR_LANES);
            const Vector a = weighted ? vector_load(x + at) * vector_load(w + at) : vector_load(x + at),
                         b = vector_load(y + at);
            Vector c = acc[p];
            for (int l = 0; l < VECTOR_LANES; l++) c[l] = r_fma(a[l], b[l], c[l]);
            acc[p] = c;
        }
    real lane[LANES];
    UNROLL
    for (int p = 0; p < PARTS; p++) vector_store(lane + p * VECTOR_LANES, acc[p]);
    for (size_t k = 0; i + k < n; k++)
        lane[k] = r_fma(weighted ? x[i + k] * w[i + k] : x[i + k], y[i + k], lane[k]);
    return lanes_tree(lane);
}

real r_dot(const real *x, const real *y, size_t n) { return dot_lanes(x, NULL, y, n, false); }

real r_dot3(const real *x, const real *w, const real *y, size_t n) { return dot_lanes(x, w, y, n, true); }

/* The same steps as above, whole rows of lanes, one pass for each: what a pass writes is in the first cache
 * for the next. */
void r_softmax(real *s, real scale, real *max, real *sum, size_t n) {
    INDEPENDENT
    for (size_t i = 0; i < n; i++) s[i] *= scale;
    const real most = r_max(s, n);
    r_exp_array(s, s, most, n);
    const real total = r_sum(s, n);
    INDEPENDENT
    for (size_t i = 0; i < n; i++) s[i] /= total;
    *max = most;
    *sum = total;
}

void r_softmax_backward(real *p, real *ds, real scale, real max, real sum, real drow, size_t n) {
    INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        p[i] = exp_inline(p[i] * scale - max) / sum;
        ds[i] = p[i] * (ds[i] - drow);
    }
}

double d_sum_squares(const real *x, size_t n) {
    double lane[LANES] = { 0 };
    const size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        UNROLL for (size_t k = 0; k < LANES; k++) lane[k] = fma((double)x[i + k], (double)x[i + k], lane[k]);
    for (size_t k = 0; whole + k < n; k++) lane[k] = fma((double)x[whole + k], (double)x[whole + k], lane[k]);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static inline real larger(real a, real b) { return b > a || b != b ? b : a; }      /* a NaN wins and stays */

real r_max(const real *x, size_t n) {
    real most = x[0];
    size_t i = 0;
    if (n >= LANES) {
        Vector acc[PARTS];
        UNROLL
        for (int p = 0; p < PARTS; p++) acc[p] = vector_load(x + p * VECTOR_LANES);
        for (i = LANES; i + LANES <= n; i += LANES)
            UNROLL
            for (int p = 0; p < PARTS; p++) {
                const Vector b = vector_load(x + i + p * VECTOR_LANES);
                Vector c = acc[p];
                for (int l = 0; l < VECTOR_LANES; l++) c[l] = larger(c[l], b[l]);
                acc[p] = c;
            }
        real lane[LANES];
        UNROLL
        for (int p = 0; p < PARTS; p++) vector_store(lane + p * VECTOR_LANES, acc[p]);
        for (int half = LANES / 2; half; half /= 2)
            for (int k = 0; k < half; k++) lane[k] = larger(lane[k], lane[k + half]);
        most = lane[0];
    }
    for (; i < n; i++) most = larger(most, x[i]);
    return most;
}
