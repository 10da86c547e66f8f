/* vector.h: the machine's vectors as GNU C has them, for the inner loops. Lanes are independent outputs, so
 * that the width changes no bit. Loads and stores need no alignment. Functions are static inline: a call
 * would cost more than they do. */
#ifndef VECTOR_H
#define VECTOR_H

#include "real.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define VECTOR_LANES ((int)(VECTOR_BYTES / sizeof(real)))
typedef real Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real VectorLoose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline Vector vector_load(const real *p) { return *(const VectorLoose *)p; }
static inline void vector_store(real *p, Vector v) { *(VectorLoose *)p = v; }

/* c + a * b, fused, lane by lane */
static inline Vector vector_fma(real a, Vector b, Vector c) {
    Vector y = c;               /* not c itself: gcc without FMA then takes it for uninitialised */
    for (int l = 0; l < VECTOR_LANES; l++) y[l] = r_fma(a, b[l], c[l]);
    return y;
}

/* Asks for n reals that will soon be read, line by line: for streams too short for a processor to foresee. */
static inline void vector_fetch(const real *p, size_t n) {
    for (size_t i = 0; i < n; i += 64 / sizeof(real)) __builtin_prefetch(p + i);
}

#endif
