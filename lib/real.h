/* real.h: the number type of the build and the elementary functions whose bits are the same on every machine.
 *
 * The same sources are built twice: real is float in `grpo`, double in `grpo64` (-DREAL_IS_DOUBLE). No other
 * file knows which. libm's exp, log, sin ... differ between machines in the last bit, so these are ours
 * (E306): they use
 * + - * / and bit operations only, and fma where it is written, so that no instruction set changes a bit. In
 * float at most 1 ulp (sigmoid 2.5); in double 1.5 (tanh, sigmoid, log_sigmoid 2.5): docs/numerics.md has
 * them over all floats. */
#ifndef REAL_H
#define REAL_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "grpo.c gives the same bits everywhere; -ffast-math and -Ofast break that. Build without them."
#endif

#if FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2 || FLT_EVAL_METHOD < 0
#error \
    "float must be computed in float; this target uses a wider type (x87?). Use -msse2 -mfpmath=sse."
#endif

#ifdef REAL_IS_DOUBLE
typedef double real;
#define REAL_DTYPE "F64"                /* as safetensors names it */
#define r_fma fma
#define r_sqrt sqrt
#define r_fabs fabs
#else
typedef float real;
#define REAL_DTYPE "F32"
#define r_fma fmaf
#define r_sqrt sqrtf
#define r_fabs fabsf
#endif

/* Always double, in both builds: statistics, schedules, rotary angles. Special values as C's math.h gives
 * them. */
double d_exp(double x);
double d_expm1(double x);
double d_log(double x);
double d_log1p(double x);
double d_sin(double x);                 /* |x| <= 1e9 */
double d_cos(double x);
double d_tanh(double x);
double d_pow(double x, double y);       /* x >= 0 */
double d_sigmoid(double x);             /* E301 */
double d_log_sigmoid(double x);         /* E301 */
static inline double d_clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

/* The same in real; in the double build these are the d_ functions. */
real r_exp(real x);
real r_expm1(real x);
real r_log(real x);
real r_log1p(real x);
real r_tanh(real x);
real r_sigmoid(real x);                 /* E301, each operation rounded once: at most 2.5 ulp */
real r_log_sigmoid(real x);             /* E301 */

/* y[i] = r_exp(x[i] - shift): the same bits as the scalar, written so that compilers vectorise it. y may be
 * x. */
void r_exp_array(real *y, const real *x, real shift, size_t n);

/* E18: act = silu(gate) * up. E19: from d act in act, gate and up become their own derivatives and act what
 * E18 made of them. All arrays of n. */
void r_swiglu(real *act, const real *gate, const real *up, size_t n);
void r_swiglu_backward(real *act, real *gate, real *up, size_t n);

/* E15: s = exp(scale s - max) / sum with *max and *sum of the row, sum as r_sum; n a multiple of 16,
 * -infinity where there is no score. E17: scores in p become the same weights from a known max and sum, and
 * products do v in ds become ds = p (ds - drow). */
void r_softmax(real *s, real scale, real *max, real *sum, size_t n);
void r_softmax_backward(real *p, real *ds, real scale, real max, real sum, real drow, size_t n);

/* Sums in 16 lanes (element i goes to lane i % 16, lanes filled in ascending i) and then a fixed tree
 * (lane j += lane j+8, then +4, +2, +1). dot multiplies and adds with one fma a term. n may be 0. */
real r_sum(const real *x, size_t n);
real r_dot(const real *x, const real *y, size_t n);
real r_dot3(const real *x, const real *w, const real *y, size_t n);      /* of (x w) and y */
double d_sum_squares(const real *x, size_t n);          /* the same lanes in double; term = fma(x, x, lane) */
real r_max(const real *x, size_t n);                    /* n >= 1; NaN in x gives NaN */

#endif
