/* test_rng.c: Philox against its authors' vectors, draws against fixed bits, and what statistics can see. */
#include "lib/rng.h"
#include "tests/test.h"

/* Random123's kat_vectors, philox 4x32 10. */
static void test_philox(void) {
    static const struct { uint32_t counter[4], key[2], want[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        rng_philox(out, known[i].counter, known[i].key);
        for (int w = 0; w < 4; w++) CHECK_INT(out[w], known[i].want[w]);
    }
}

static uint64_t first(uint64_t key, uint64_t high, uint64_t low) {
    const uint32_t c[4] = { (uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32) };
    const uint32_t k[2] = { (uint32_t)key, (uint32_t)(key >> 32) };
    uint32_t out[4];
    rng_philox(out, c, k);
    return out[0] | (uint64_t)out[1] << 32;
}

/* Every coordinate counts, its high half too; and the bits stay: a run of last year can be continued. */
static void test_E308_keys(void) {
    const uint64_t base = rng_u64(7, RNG_SAMPLE, 1, 2, 3, 4), high = 1ull << 40;
    CHECK(base == first(first(first(7, RNG_SAMPLE, 1), 2, 3), 4, 0));
    const uint64_t other[] = {base,
                              rng_u64(8, RNG_SAMPLE, 1, 2, 3, 4),
                              rng_u64(7, RNG_INIT, 1, 2, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 2, 2, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 3, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 2, 4, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 2, 3, 5),
                              rng_u64(7 + high, RNG_SAMPLE, 1, 2, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 1 + high, 2, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 2 + high, 3, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 2, 3 + high, 4),
                              rng_u64(7, RNG_SAMPLE, 1, 2, 3, 4 + high),
                              rng_u64(7, RNG_SAMPLE, 1, 3, 2, 4)};
    const int n = sizeof other / sizeof *other;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) CHECK(other[i] != other[j]);
    CHECK(base == 0x4da159b751311013ull);
    CHECK(rng_uniform(7, RNG_SAMPLE, 1, 2, 3, 4) == (double)(base >> 11) / 9007199254740992.0);
    CHECK(rng_normal(7, RNG_INIT, 1, 2, 3, 4) == -0x1.f0a3a193bdf7cp-6);
}

/* n draws: mean, variance, correlation of neighbours in each coordinate, each within 5 standard errors. */
static void test_moments(void) {
    enum { N = 40000 };
    static double u[N], z[N];
    for (int way = 0; way < 3; way++) {
        double mean = 0, var = 0, neighbours = 0, zm = 0, zv = 0, z4 = 0;
        for (int i = 0; i < N; i++) {
            const uint64_t a = way == 0 ? (uint64_t)i : 5, b = way == 1 ? (uint64_t)i : 6,
                           d = way == 2 ? (uint64_t)i : 0;
            u[i] = rng_uniform(3, RNG_SAMPLE, a, b, 0, d);
            z[i] = rng_normal(3, RNG_INIT, a, b, 0, d);
            if (!(u[i] >= 0 && u[i] < 1)) CHECK(!"in [0,1)");
            mean += u[i] / N, zm += z[i] / N;
        }
        for (int i = 0; i < N; i++) {
            var += (u[i] - 0.5) * (u[i] - 0.5) / N, zv += z[i] * z[i] / N,
                z4 += z[i] * z[i] * z[i] * z[i] / N;
            if (i) neighbours += 12 * (u[i] - 0.5) * (u[i - 1] - 0.5) / N;
        }
        CHECK_NEAR(mean, 0.5, 5 * sqrt(1.0 / 12 / N));
        CHECK_NEAR(var, 1.0 / 12, 5 * sqrt(1.0 / 180 / N));
        CHECK_NEAR(neighbours, 0, 5 * sqrt(1.0 / N));
        CHECK_NEAR(zm, 0, 5 * sqrt(1.0 / N));
        CHECK_NEAR(zv, 1, 5 * sqrt(2.0 / N));
        CHECK_NEAR(z4, 3, 5 * sqrt(96.0 / N));
    }
}

/* All 24 orders of 4, each in its share; and a permutation it is. */
static void test_permutation(void) {
    enum { N = 24000 };
    int count[256] = { 0 }, seen = 0;
    for (uint64_t a = 0; a < N; a++) {
        int p[4];
        rng_permutation(p, 4, 11, RNG_SHUFFLE, a);
        count[p[0] | p[1] << 2 | p[2] << 4 | p[3] << 6]++;
    }
    double square = 0;
    for (int i = 0; i < 256; i++)
        if (count[i]) seen++, square += (count[i] - N / 24.0) * (count[i] - N / 24.0) / (N / 24.0);
    CHECK_INT(seen, 24);
    CHECK(square < 58);                         /* chi squared, 23 degrees: one in 10^4 */
    int big[1000], sum = 0, fixed = 0;
    char have[1000] = { 0 };
    rng_permutation(big, 1000, 1, RNG_SHUFFLE, 2);
    for (int i = 0; i < 1000; i++) {
        if (big[i] >= 0 && big[i] < 1000) sum += !have[big[i]]++;
        fixed += big[i] == i;
    }
    CHECK_INT(sum, 1000);
    CHECK(fixed < 10);
    rng_permutation(big, 0, 1, RNG_SHUFFLE, 2);
    rng_permutation(big, 1, 1, RNG_SHUFFLE, 2);
    CHECK_INT(big[0], 0);
}

static void test_sequence(void) {
    Rng r = { 5, RNG_WORLD, 9, 0 }, again = { 5, RNG_WORLD, 9, 3 };
    double u[5];
    for (int i = 0; i < 5; i++) u[i] = rng_next(&r);
    CHECK_INT(r.at, 5);
    /* the place is all the state there is */
    CHECK(rng_next(&again) == u[3] && rng_next(&again) == u[4]);
    CHECK(u[2] == rng_uniform(5, RNG_WORLD, 9, 2, 0, 0));
    int count[7] = { 0 };
    for (int i = 0; i < 7000; i++) {
        const int k = rng_below(&r, 7);
        if (k < 0 || k > 6) CHECK(!"below 7");
        else count[k]++;
    }
    for (int k = 0; k < 7; k++) CHECK_NEAR(count[k], 1000, 5 * sqrt(1000 * 6.0 / 7));
    CHECK_INT(rng_below(&r, 1), 0);
}

int main(void) {
    test_philox();
    test_E308_keys();
    test_moments();
    test_permutation();
    test_sequence();
    return test_end();
}
