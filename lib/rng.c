/* rng.c: Philox4x32-10, and draws keyed by their place. */
#include "rng.h"

#include <math.h>

#include "real.h"

typedef struct { uint32_t w[4]; } Block;

/* Ten rounds on a 128-bit counter under a 64-bit key (Salmon et al., Parallel random numbers: as easy as 1, 2, 3). */
static Block philox(uint64_t key, uint64_t high, uint64_t low) {
    Block c = {{(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32)}};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c.w[0], b = (uint64_t)0xCD9E8D57u * c.w[2];
        c = (Block){{(uint32_t)(b >> 32) ^ c.w[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c.w[3] ^ k1, (uint32_t)a}};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

static uint64_t first(Block b) { return (uint64_t)b.w[1] << 32 | b.w[0]; }

/* Six coordinates are more than a counter holds: each block's output is the next one's key. */
uint64_t rng_u64(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t one = first(philox(seed, (uint64_t)stream, a));
    return first(philox(first(philox(one, b, c)), d, 0));
}

double rng_uniform(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (double)(rng_u64(seed, stream, a, b, c, d) >> 11) * 0x1p-53;
}

/* Box and Muller; both uniforms come from one 64-bit draw's two neighbours, keyed by 2d and 2d+1. */
double rng_normal(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const double u = 1 - rng_uniform(seed, stream, a, b, c, 2 * d), v = rng_uniform(seed, stream, a, b, c, 2 * d + 1);     /* u in (0,1] */
    return sqrt(-2 * d_log(u)) * d_cos(6.283185307179586 * v);
}

void rng_permutation(int *perm, int n, uint64_t seed, RngStream stream, uint64_t a) {
    for (int i = 0; i < n; i++) perm[i] = i;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)(rng_uniform(seed, stream, a, (uint64_t)i, 0, 0) * (i + 1)), keep = perm[i];
        perm[i] = perm[j];
        perm[j] = keep;
    }
}

double rng_next(Rng *r) { return rng_uniform(r->seed, (RngStream)r->stream, r->a, r->at++, 0, 0); }

int rng_below(Rng *r, int n) { return (int)(rng_next(r) * n); }
