/* utf8.c: UTF-8 read, written and repaired; normal form C over the tables of unicode.c. */
#include "unicode.h"

#include <stdlib.h>
#include <string.h>

/* ---- UTF-8 ---- */

uint32_t utf8_next(const char *s, size_t n, size_t *used) {
    const unsigned char *u = (const unsigned char *)s;
    *used = 1;
    if (u[0] < 0x80) return u[0];
    const int more = u[0] >= 0xC2 && u[0] <= 0xDF   ? 1
                     : (u[0] & 0xF0) == 0xE0        ? 2
                     : u[0] >= 0xF0 && u[0] <= 0xF4 ? 3
                                                    : 0;
    if (!more) return 0xFFFD;
    uint32_t c = u[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        unsigned low = 0x80, high = 0xBF;
        /* no overlong forms, no surrogates, none above U+10FFFF */
        if (i == 1) {
            if (u[0] == 0xE0) low = 0xA0;
            if (u[0] == 0xED) high = 0x9F;
            if (u[0] == 0xF0) low = 0x90;
            if (u[0] == 0xF4) high = 0x8F;
        }
        if ((size_t)i >= n || u[i] < low || u[i] > high) return 0xFFFD;
        c = c << 6 | (u[i] & 0x3F);
        *used = (size_t)i + 1;
    }
    return c;
}

size_t utf8_put(char out[4], uint32_t c) {
    if (c < 0x80) { out[0] = (char)c; return 1; }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

char *utf8_repair(const char *s, size_t n, size_t *length) {
    if (n > SIZE_MAX / 4) return NULL;
    size_t k = 0, used;
    while (k < n && utf8_next(s + k, n - k, &used) != 0xFFFD) k += used;
    char *out = malloc(k < n ? 3 * n + 1 : n + 1);              /* a bad byte becomes three */
    if (!out) return NULL;
    memcpy(out, s, k);
    for (size_t i = k; i < n; i += used) {
        const bool bad = utf8_next(s + i, n - i, &used) == 0xFFFD;
        memcpy(out + k, bad ? "\xEF\xBF\xBD" : s + i, bad ? 3 : used);
        k += bad ? 3 : used;
    }
    out[*length = k] = 0;
    return out;
}

/* ---- normal form C: decompose, put marks in order, compose (Unicode 3.11) ---- */

enum {
    S_BASE = 0xAC00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11A7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    /* Hangul syllables: leading, vowel, trailing */
    S_COUNT = L_COUNT * V_COUNT * T_COUNT
};

/* Writes the full decomposition of c to out; at most 4 characters. */
static size_t decompose(uint32_t *out, uint32_t c) {
    if (c - S_BASE < S_COUNT) {
        const uint32_t s = c - S_BASE, trailing = s % T_COUNT;
        out[0] = L_BASE + s / (V_COUNT * T_COUNT), out[1] = V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT;
        if (trailing) out[2] = T_BASE + trailing;
        return trailing ? 3 : 2;
    }
    uint32_t to[2];
    const int n = unicode_decompose(c, to);
    if (n == 0) { out[0] = c; return 1; }
    size_t k = decompose(out, to[0]);
    if (n == 2) k += decompose(out + k, to[1]);
    return k;
}

static uint32_t compose(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + b - V_BASE) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + b - T_BASE;
    return unicode_compose(a, b);
}

/* A character in its place: order in the upper 8 bits, then the place (31), then the character (21): whole
 * numbers, all different, so that any sort is stable. */
typedef uint64_t Mark;
static int mark_order(const void *a, const void *b) {
    const Mark x = *(const Mark *)a, y = *(const Mark *)b;
    return (x > y) - (x < y);
}

char *unicode_nfc(const char *s, size_t n, size_t *length) {
    size_t i = 0, used, k = 0;
    /* two characters a byte must fit into 31 bits */
    if (n >= (size_t)1 << 30) return NULL;
    while (i < n && (unsigned char)s[i] < 0xCC) i++;            /* below U+0300 all is as it should be */
    const bool as_it_is = i == n;
    /* U+0390, two bytes, becomes three characters */
    uint32_t *c = as_it_is ? NULL : malloc((2 * n + 4) * sizeof *c);
    Mark *mark = as_it_is ? NULL : malloc((2 * n + 4) * sizeof *mark);
    char *out = malloc(as_it_is ? n + 1 : 4 * (2 * n + 4) + 1);
    if (!out || (!as_it_is && (!c || !mark))) {
        free(out), free(c), free(mark);
        return NULL;
    }
    if (as_it_is) {
        memcpy(out, s, n);
        out[*length = n] = 0;
        return out;
    }
    for (i = 0; i < n; i += used) k += decompose(c + k, utf8_next(s + i, n - i, &used));
    for (size_t from = 0, to; from < k; from = to) {            /* runs of marks */
        for (to = from; to < k; to++) {
            const int order = unicode_order(c[to]);
            if (order == 0) break;
            mark[to - from] = (Mark)order << 56 | (Mark)(to - from) << 21 | c[to];
        }
        if (to - from > 1) qsort(mark, to - from, sizeof *mark, mark_order);
        for (size_t j = from; j < to; j++) c[j] = (uint32_t)(mark[j - from] & 0x1FFFFF);
        if (to == from) to++;
    }
    /* start: the last character that begins anew */
    size_t kept = 0, start = SIZE_MAX;
    /* order of the last mark kept since; -1: none */
    int before = -1;
    for (size_t j = 0; j < k; j++) {
        const int order = unicode_order(c[j]);
        const uint32_t one = start != SIZE_MAX && before < order ? compose(c[start], c[j]) : 0;
        if (one) { c[start] = one; continue; }
        if (order == 0) start = kept, before = -1;
        else before = order;
        c[kept++] = c[j];
    }
    size_t bytes = 0;
    for (size_t j = 0; j < kept; j++) bytes += utf8_put(out + bytes, c[j]);
    out[*length = bytes] = 0;
    free(c), free(mark);
    return out;
}
