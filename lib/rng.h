/* rng.h: random numbers that are a function of their place, not of a history (E308).
 *
 * Each draw is keyed by (seed, a, b, c, d), e.g. (seed, step, prompt, completion, position): no state, any
 * order, any number of threads, and a resumed run continues exactly. Philox4x32-10 (Salmon et al. 2011). */
#ifndef RNG_H
#define RNG_H

#include <stddef.h>
#include <stdint.h>

/* Ten rounds on a 128-bit counter under a 64-bit key, words from the lowest on: everything below comes from
 * this. */
void rng_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* Streams: the first coordinate of a key says what the number is for, so that two uses never share numbers.
 */
typedef enum {
    RNG_SAMPLE = 1, RNG_INIT, RNG_SHUFFLE, RNG_WORLD, RNG_SPLIT, RNG_BOOTSTRAP, RNG_ADAPTER, RNG_MINIBATCH,
    RNG_REPLAY
} RngStream;

uint64_t rng_u64(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* [0,1), 53 bits */
double rng_uniform(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* mean 0, sd 1 */
double rng_normal(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* perm[0..n): a permutation of 0..n-1 drawn with (seed, stream, a): Fisher-Yates from the end. */
void rng_permutation(int *perm, int n, uint64_t seed, RngStream stream, uint64_t a);

/* A small sequential generator on top, for generators of data: each call advances `at`. */
typedef struct { uint64_t seed, stream, a, at; } Rng;
double rng_next(Rng *r);                /* [0,1) */
int rng_below(Rng *r, int n);           /* 0 .. n-1, unbiased enough: floor(u n) */

#endif
