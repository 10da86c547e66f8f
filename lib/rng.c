/* rng.c: Philox4x32-10, and draws keyed by their place. */
#include "rng.h"

#include "real.h"

/* Two products of 32 by 32 bits a round; their halves change places and meet the other words and the key. */
void rng_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t c[4] = { counter[0], counter[1], counter[2], counter[3] }, k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++) out[i] = c[i];
}

static uint64_t first(uint64_t key, uint64_t high, uint64_t low) {
    const uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                                 (uint32_t)(high >> 32)};
    const uint32_t halves[2] = { (uint32_t)key, (uint32_t)(key >> 32) };
    uint32_t out[4];
    rng_philox(out, counter, halves);
    return (uint64_t)out[1] << 32 | out[0];
}

/* Six coordinates are more than a counter holds: each block's output is the next one's key. */
uint64_t rng_u64(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return first(first(first(seed, (uint64_t)stream, a), b, c), d, 0);
}

double rng_uniform(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (double)(rng_u64(seed, stream, a, b, c, d) >> 11) * 0x1p-53;
}

/* Box and Muller, from the uniforms of 2d and 2d + 1. */
double rng_normal(uint64_t seed, RngStream stream, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    /* (0,1]: its logarithm is finite */
    const double u = 1 - rng_uniform(seed, stream, a, b, c, 2 * d);
    const double v = rng_uniform(seed, stream, a, b, c, 2 * d + 1);
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
