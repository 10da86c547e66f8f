/* hash.c: SipHash (Aumasson and Bernstein, 2012) with one round a word and three at the end. */
#define _DEFAULT_SOURCE                 /* getentropy */
#define _DARWIN_C_SOURCE
#include "hash.h"

#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

void hash_key(HashKey *key) {
    if (getentropy(key, sizeof *key) == 0) return;
    key->k[0] = (uint64_t)time(NULL) << 32 ^ (uint64_t)clock(); /* an old kernel: better than nothing */
    key->k[1] = (uint64_t)(uintptr_t)key ^ (uint64_t)getpid() << 40;
}

static uint64_t rotated(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[2] += v[3];
    v[1] = rotated(v[1], 13) ^ v[0], v[3] = rotated(v[3], 16) ^ v[2];
    v[0] = rotated(v[0], 32);
    v[2] += v[1], v[0] += v[3];
    v[1] = rotated(v[1], 17) ^ v[2], v[3] = rotated(v[3], 21) ^ v[0];
    v[2] = rotated(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t sip_end(uint64_t v[4]) {
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void sip_begin(uint64_t v[4], const HashKey *key) {
    v[0] = key->k[0] ^ 0x736f6d6570736575u, v[1] = key->k[1] ^ 0x646f72616e646f6du;
    v[2] = key->k[0] ^ 0x6c7967656e657261u, v[3] = key->k[1] ^ 0x7465646279746573u;
}

uint64_t hash_bytes(const HashKey *key, const void *bytes, size_t n) {
    const unsigned char *s = bytes;
    uint64_t v[4], last = (uint64_t)n << 56;
    sip_begin(v, key);
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++) word |= (uint64_t)s[i] << 8 * i;
        sip_word(v, word);
    }
    for (size_t i = 0; i < n; i++) last |= (uint64_t)s[i] << 8 * i;
    sip_word(v, last);
    return sip_end(v);
}

/* A pair is mixed with both keys: cheaper than SipHash, for the inner loop of merging. */
uint64_t hash_pair(const HashKey *key, uint32_t a, uint32_t b) {
    uint64_t x = ((uint64_t)a << 32 | b) ^ key->k[0];
    x = (x ^ x >> 32) * (key->k[1] | 1);
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}
