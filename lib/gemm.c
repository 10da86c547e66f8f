/* gemm.c: weights in their stored formats, and the three matrix products of a linear layer.
 *
 * In this order: conversion of stored numbers, packing into panels, the kernels that compute a few rows of
 * some vectors' columns, the cutting of a product into tiles for threads, and the public products on top (E5,
 * E6).
 *
 * Speed comes from three things, none of which touches the order inside an output. GNU vector types with a
 * loop of r_fma over the lanes: compilers turn that into vector instructions, which they do not for an array
 * of scalars. As many accumulators as there are registers. And k in blocks that fit the first cache: between
 * blocks the chains rest in the output, which holds a real exactly, so a block continues the chain as if it
 * had not been interrupted. */
#include "gemm.h"
#include "threads.h"
#include "vector.h"

#include <string.h>

/* ---- stored numbers ---- */

size_t store_size(Store s) {
    switch (s) {
    case STORE_REAL: return sizeof(real);
    case STORE_F32: return 4;
    case STORE_BF16: case STORE_F16: return 2;
    case STORE_F64: return 8;
    }
    return 0;
}

static inline float f32_of(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline uint32_t f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float f32_of_bf16(uint16_t h) { return f32_of((uint32_t)h << 16); }

/* Selects instead of branches, so that a loop of it is vectorised. A subnormal half is 2^-14 (1 + m) - 2^-14:
 * written so, no subnormal float occurs, which some processors treat a hundred times more slowly. */
static inline float f32_of_f16(uint16_t h) {
    const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t normal = magnitude + (112u << 23), huge = magnitude | 0x7f800000u;
    const uint32_t tiny = f32_bits(f32_of(magnitude + (113u << 23)) - f32_of(113u << 23));
    const uint32_t finite = magnitude < (1u << 23) ? tiny : normal;
    return f32_of(sign | (magnitude >= (31u << 23) ? huge : finite));
}

static inline uint16_t bf16_of_float(float f) {
    const uint32_t u = f32_bits(f), rounded = u + 0x7fff + ((u >> 16) & 1);
    /* a NaN stays one */
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? (u >> 16) | 0x40 : rounded >> 16);
}

static inline uint16_t f16_of_float(float f) {
    const uint32_t u = f32_bits(f), magnitude = u & 0x7fffffff, sign = (u >> 16) & 0x8000;
    uint32_t h;
    if (magnitude > 0x7f800000) h = 0x7e00 | ((magnitude >> 13) & 0x3ff);
    else if (magnitude >= (143u << 23)) h = 0x7c00;                                 /* 65536 and more */
    else if (magnitude < (113u << 23))
        h = f32_bits(f32_of(magnitude) + 0.5f) - f32_bits(0.5f); /* 0.5 has ulp 2^-24 */
    else h = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    return (uint16_t)(sign | h);
}

/* To a float on the way to 16 bits. From double to nearest would round twice; rounding to odd instead (an
 * inexact result takes the neighbour whose last bit is 1) leaves the second rounding all it needs. */
static inline float float_before_rounding(real x) {
#ifdef REAL_IS_DOUBLE
    const float f = (float)x;
    if ((double)f == x || x != x) return f;
    uint32_t u = f32_bits(f);
    if (fabs((double)f) > fabs(x)) u--;
    return f32_of(u | 1);
#else
    return x;
#endif
}

void store_to_real(real *out, const void *in, Store s, size_t n) {
    switch (s) {
    case STORE_REAL: memmove(out, in, n * sizeof(real)); break;
    case STORE_F32: { const float *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)p[i]; break; }
    case STORE_F64: { const double *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)p[i]; break; }
    case STORE_BF16: {
        const uint16_t *p = in;
        for (size_t i = 0; i < n; i++) out[i] = (real)f32_of_bf16(p[i]);
        break;
    }
    case STORE_F16: {
        const uint16_t *p = in;
        for (size_t i = 0; i < n; i++) out[i] = (real)f32_of_f16(p[i]);
        break;
    }
    }
}

void store_from_real(void *out, const real *in, Store s, size_t n) {
    switch (s) {
    case STORE_REAL: memmove(out, in, n * sizeof(real)); break;
    case STORE_F32: { float *p = out; for (size_t i = 0; i < n; i++) p[i] = (float)in[i]; break; }
    case STORE_F64: { double *p = out; for (size_t i = 0; i < n; i++) p[i] = (double)in[i]; break; }
    case STORE_BF16: {
        uint16_t *p = out;
        for (size_t i = 0; i < n; i++) p[i] = bf16_of_float(float_before_rounding(in[i]));
        break;
    }
    case STORE_F16: {
        uint16_t *p = out;
        for (size_t i = 0; i < n; i++) p[i] = f16_of_float(float_before_rounding(in[i]));
        break;
    }
    }
}

/* ---- threads ---- */

/* Below some multiply-adds, waking the other threads takes longer than the product. */
static int gemm_threads(size_t work) { return work >= 100000 ? thread_count() : 1; }

/* ---- panels ---- */

static int panel_count(int n) { return n / GEMM_PANEL + (n % GEMM_PANEL != 0); }

size_t gemm_packed_count(int n_out, int n_in) {
    return (size_t)panel_count(n_out) * GEMM_PANEL * (size_t)n_in;
}

/* One panel: 16 rows of W become 16 columns, by blocks of k that stay in the first cache while they are
 * turned. Elements are moved as they are, whatever they mean: only their size counts. */
#define PACK_PANEL(name, Element) \
    static void name(void *to, const void *from, int n_row, int n_in) { \
        enum { BLOCK = 64 }; \
        Element block[GEMM_PANEL][BLOCK] = {{0}}, *panel = to; \
        const Element *w = from; \
        for (int k0 = 0; k0 < n_in; k0 += BLOCK) { \
            const int n = n_in - k0 < BLOCK ? n_in - k0 : BLOCK; \
            for (int c = 0; c < n_row; c++) \
                memcpy(block[c], w + (size_t)c * (size_t)n_in + (size_t)k0, (size_t)n * sizeof(Element)); \
            for (int k = 0; k < n; k++, panel += GEMM_PANEL) \
                for (int c = 0; c < GEMM_PANEL; c++) panel[c] = block[c][k]; \
        } \
    }
PACK_PANEL(pack_panel_2, uint16_t)
PACK_PANEL(pack_panel_4, float)
PACK_PANEL(pack_panel_8, double)

void gemm_pack(void *packed, const void *w, Store store, int n_out, int n_in) {
    const int n_panel = panel_count(n_out), n_thread = gemm_threads((size_t)n_out * (size_t)n_in);
    /* of a panel, and of its rows of W */
    const size_t size = store_size(store), stride = (size_t)GEMM_PANEL * (size_t)n_in * size;
    (void)n_thread;
#pragma omp parallel for schedule(static) num_threads(n_thread) if (n_thread > 1)
    for (int p = 0; p < n_panel; p++) {
        const int left = n_out - p * GEMM_PANEL;
        (size == 2   ? pack_panel_2
         : size == 4 ? pack_panel_4
                     : pack_panel_8)((unsigned char *)packed + (size_t)p * stride,
                                     (const unsigned char *)w + (size_t)p * stride,
                                     left < GEMM_PANEL ? left : GEMM_PANEL, n_in);
    }
}

/* ---- the kernels ---- */

enum {
    LANES = VECTOR_LANES,
    VECTORS = GEMM_ROWS == 12 ? 4 : 2, /* of a kernel: one panel's, or neighbours'. Two vectors times ROWS
                                          rows, or four times WIDE_ROWS: */
    ROWS = GEMM_ROWS,
    WIDE_ROWS = 6, /* the same accumulators, but less is read and decoded for each multiply-add */
    WIDTH = VECTORS * LANES, /* columns of a kernel */
    LONE = 8 * LANES, /* columns of the kernel for one row: eight chains hide the latency */
    WIDE = WIDTH > GEMM_PANEL ? WIDTH : GEMM_PANEL, /* columns packed at once */
    HALF = WIDE / 2 > GEMM_PANEL ? WIDE / 2 : GEMM_PANEL, /* columns by which tiles may differ */
    TILE_ROWS = 192 * 4 /
                (int)sizeof(real), /* rows of a tile: a block of A fills half of a second cache of 512 KiB */
    K_BLOCK = WIDE * (int)sizeof(real) > 128
                  ? 128
                  : 256, /* so many rows of B's block are 16 or 32 KiB, in the first cache */
    COPY_COLUMNS = 128 /* so many columns pay for a copy of A's block */
};

/* What kernels will read next, to be fetched while they compute: n lines, a step apart, of each panel. A
 * processor foresees long streams by itself, but a panel or six rows are short ones. */
typedef struct { const unsigned char *line; size_t step, panel_step; int n, panels; } Ahead;

static inline void fetch(Ahead *ahead, int n) {
    for (; n > 0 && ahead->n > 0; n--, ahead->n--, ahead->line += ahead->step)
        for (int i = 0; i < ahead->panels; i++)
            __builtin_prefetch(ahead->line + (size_t)i * ahead->panel_step);
}

/* Groups of rows, one below the other, times up to VECTORS vectors of columns: c[i][j] = chain from c[i][j]
 * (or 0) over k of a[i row_step + k k_step] * column j, of which vector v lies in b[v], a panel apart from
 * one k to the next. */
typedef struct {
    const real *a;
    size_t row_step, k_step, group_step;    /* group_step: from one group's rows of A to the next one's */
    const real *b[VECTORS];
    int n_k, groups;
    real *c;
    size_t ldc;
    bool from_zero, fetch_a; /* fetch_a: nothing has brought the rows of A into the cache yet */
    Ahead ahead;                            /* so much of it with each group: */
    int share;
} Block;

/* Accumulators have names, because gcc keeps part of an array of them in memory. `vectors` is a constant:
 * what it excludes costs nothing. */
#define ROW_START(i) \
    const real *a##i = a + i * row_step, *c_row##i = c + i * ldc; \
    Vector p##i = from_zero ? zero : vector_load(c_row##i), \
           q##i = vectors < 2 || from_zero ? zero : vector_load(c_row##i + LANES), \
           r##i = vectors < 3 || from_zero ? zero : vector_load(c_row##i + 2 * LANES), \
           s##i = vectors < 4 || from_zero ? zero : vector_load(c_row##i + 3 * LANES);
#define ROW_STEP(i) \
    { \
        const real x = a##i[at]; \
        p##i = vector_fma(x, w0, p##i); \
        if (vectors > 1) { q##i = vector_fma(x, w1, q##i); } \
        if (vectors > 2) { r##i = vector_fma(x, w2, r##i); } \
        if (vectors > 3) { s##i = vector_fma(x, w3, s##i); } \
    }
#define ROW_END(i) \
    vector_store(c + i * ldc, p##i); \
    if (vectors > 1) { vector_store(c + i * ldc + LANES, q##i); } \
    if (vectors > 2) { vector_store(c + i * ldc + 2 * LANES, r##i); } \
    if (vectors > 3) { vector_store(c + i * ldc + 3 * LANES, s##i); }
#define ROW_AHEAD(i) __builtin_prefetch(c + i * ldc, 1);
#define KERNEL(name, EACH, N, V) \
    static void name(Block *block) { \
        enum { vectors = V }; \
        const size_t row_step = block->row_step, k_step = block->k_step, ldc = block->ldc, \
                     k_end = (size_t)block->n_k * GEMM_PANEL; \
        const real *b0 = block->b[0], *b1 = block->b[vectors > 1], *b2 = block->b[vectors > 2 ? 2 : 0], \
                   *b3 = block->b[vectors > 3 ? 3 : 0], *a = block->a; \
        const bool from_zero = block->from_zero; \
        const Vector zero = {0}; \
        real *c = block->c; \
        for (int g = block->groups; g > 0; g--) { \
            for (size_t r = 0; block->fetch_a && g > 1 && r < N; r++) \
                vector_fetch(a + block->group_step + r * row_step, (size_t)block->n_k); \
            fetch(&block->ahead, block->share); \
            EACH(ROW_START) \
            for (size_t k = 0, at = 0; k < k_end; k += GEMM_PANEL, at += k_step) { \
                const Vector w0 = vector_load(b0 + k), w1 = vectors > 1 ? vector_load(b1 + k) : zero, \
                             w2 = vectors > 2 ? vector_load(b2 + k) : zero, \
                             w3 = vectors > 3 ? vector_load(b3 + k) : zero; \
                EACH(ROW_STEP) \
            } \
            EACH(ROW_END) \
            a += block->group_step; \
            c += N * ldc; \
            if (g > 1) { EACH(ROW_AHEAD) } \
        } \
    }
#define EACH_1(X)  X(0)
#define EACH_2(X)  X(0) X(1)
#define EACH_3(X)  EACH_2(X) X(2)
#define EACH_4(X)  EACH_3(X) X(3)
#define EACH_5(X)  EACH_4(X) X(4)
#define EACH_6(X)  EACH_5(X) X(5)
#define EACH_7(X)  EACH_6(X) X(6)
#define EACH_8(X)  EACH_7(X) X(7)
#define EACH_9(X)  EACH_8(X) X(8)
#define EACH_10(X) EACH_9(X) X(9)
#define EACH_11(X) EACH_10(X) X(10)
#define EACH_12(X) EACH_11(X) X(11)

#define SIX_KERNELS(V) \
    KERNEL(kernel_1_##V, EACH_1, 1, V) \
    KERNEL(kernel_2_##V, EACH_2, 2, V) KERNEL(kernel_3_##V, EACH_3, 3, V) KERNEL(kernel_4_##V, EACH_4, 4, V) \
        KERNEL(kernel_5_##V, EACH_5, 5, V) KERNEL(kernel_6_##V, EACH_6, 6, V)
#define TWELVE_KERNELS(V) \
    KERNEL(kernel_7_##V, EACH_7, 7, V) \
    KERNEL(kernel_8_##V, EACH_8, 8, V) KERNEL(kernel_9_##V, EACH_9, 9, V) \
        KERNEL(kernel_10_##V, EACH_10, 10, V) KERNEL(kernel_11_##V, EACH_11, 11, V) \
            KERNEL(kernel_12_##V, EACH_12, 12, V)
#define SIX_NAMES(V) NULL, kernel_1_##V, kernel_2_##V, kernel_3_##V, kernel_4_##V, kernel_5_##V, kernel_6_##V
#define TWELVE_NAMES(V) kernel_7_##V, kernel_8_##V, kernel_9_##V, kernel_10_##V, kernel_11_##V, kernel_12_##V
typedef void Kernel(Block *block);
SIX_KERNELS(1)
SIX_KERNELS(2)
#if GEMM_ROWS == 12
TWELVE_KERNELS(1)
TWELVE_KERNELS(2)
SIX_KERNELS(3)
SIX_KERNELS(4)
static Kernel *const kernel_of[VECTORS][1 + ROWS] = {{SIX_NAMES(1), TWELVE_NAMES(1)},
                                                     {SIX_NAMES(2), TWELVE_NAMES(2)},
                                                     {SIX_NAMES(3)},
                                                     {SIX_NAMES(4)}};
#else
static Kernel *const kernel_of[VECTORS][1 + ROWS] = { { SIX_NAMES(1) }, { SIX_NAMES(2) } };
#endif

/* How many of `left` rows the next kernel takes: as many as it can, but one more than that as two halves: few
 * rows are few chains, which wait for each other. */
static int gemm_rows(int left, int most) {
    if (left == most || left >= 2 * most) return most;
    const int kernels = (left + most - 1) / most;
    return (left + kernels - 1) / kernels;
}

/* How many kernels of `most` rows come one after the other. */
static int whole_groups(int left, int most) {
    return left < 2 * most ? 1 : left % most ? left / most - 1 : left / most;
}

/* Groups of `rows` rows of `width` <= WIDTH columns. What is no whole number of vectors is computed in a
 * copy, which starts and ends in c. */
static void kernel(int rows, Block *block, int width) {
    Kernel *const run = kernel_of[(width - 1) / LANES][rows];
    if (width % LANES == 0) {
        run(block);
        return;
    }
    for (int g = 0; g < block->groups; g++) {
        real copy[ROWS * WIDTH], *c = block->c + (size_t)(g * rows) * block->ldc;
        Block one = *block;
        if (!one.from_zero) memset(copy, 0, sizeof copy);
        for (int i = 0; i < rows && !one.from_zero; i++)
            memcpy(copy + i * WIDTH, c + (size_t)i * block->ldc, (size_t)width * sizeof(real));
        one.a += (size_t)g * block->group_step;
        one.groups = 1;
        one.c = copy;
        one.ldc = WIDTH;
        run(&one);
        for (int i = 0; i < rows; i++)
            memcpy(c + (size_t)i * block->ldc, copy + i * WIDTH, (size_t)width * sizeof(real));
    }
}

/* One row of many columns: column l of panel l / GEMM_PANEL lies at b + l / GEMM_PANEL * stride + l %
 * GEMM_PANEL. */
#define LONE_START(i) const real *b##i = b + i * LANES / GEMM_PANEL * stride + i * LANES % GEMM_PANEL; \
                      Vector p##i = from_zero ? zero : vector_load(c + i * LANES);
#define LONE_STEP(i)  p##i = vector_fma(x, vector_load(b##i + k), p##i);
#define LONE_END(i)   vector_store(c + i * LANES, p##i);
#define LONE_KERNEL(name, EACH) \
    static void name(const real *a, size_t k_step, const real *b, size_t stride, int n_k, real *c, \
                     bool from_zero) { \
        const Vector zero = {0}; \
        EACH(LONE_START) \
        for (size_t k = 0; k < (size_t)n_k * GEMM_PANEL; k += GEMM_PANEL, a += k_step) { \
            const real x = *a; \
            EACH(LONE_STEP) \
        } \
        EACH(LONE_END) \
    }
LONE_KERNEL(kernel_lone, EACH_8)
LONE_KERNEL(kernel_lone_half, EACH_4)

/* Rows that each have a matrix of their own: 16 columns of it, which begin at b[i]. */
/* vectors of a row in one kernel: two, where one is not the whole panel */
enum { TWO = (int)LANES < GEMM_PANEL };
#define APART_START(i) \
    const real *a##i = a + i * row_step, *b##i = b[i] + j; \
    real *c##i = c + i * ldc + j; \
    Vector p##i = from_zero ? zero : vector_load(c##i), \
           q##i = from_zero || !TWO ? zero : vector_load(c##i + TWO * LANES);
#define APART_STEP(i)  { const real x = a##i[k]; p##i = vector_fma(x, vector_load(b##i + at), p##i); \
                         if (TWO) q##i = vector_fma(x, vector_load(b##i + at + TWO * LANES), q##i); }
#define APART_END(i)   vector_store(c##i, p##i); if (TWO) vector_store(c##i + TWO * LANES, q##i);
#define APART_KERNEL(name, EACH) \
    static void name(const real *a, size_t row_step, const real *const *b, int n_k, real *c, size_t ldc, \
                     bool from_zero) { \
        const Vector zero = {0}; \
        for (int j = 0; j < GEMM_PANEL; j += (1 + TWO) * LANES) { \
            EACH(APART_START) \
            for (size_t k = 0, at = 0; k < (size_t)n_k; k++, at += GEMM_PANEL) { EACH(APART_STEP) } \
            EACH(APART_END) \
        } \
    }
APART_KERNEL(kernel_apart_1, EACH_1)
APART_KERNEL(kernel_apart_2, EACH_2)
APART_KERNEL(kernel_apart_3, EACH_3)
APART_KERNEL(kernel_apart_4, EACH_4)

void gemm_apart(real *c, size_t ldc, const real *a, size_t row_step, const real *const *panel, int m, int n_k,
                bool from_zero) {
    static void (*const kernel_of_rows[])(const real *, size_t, const real *const *, int, real *, size_t,
                                          bool) = {kernel_apart_1, kernel_apart_2, kernel_apart_3,
                                                   kernel_apart_4};
    kernel_of_rows[m - 1](a, row_step, panel, n_k, c, ldc, from_zero);
}

/* ---- tiles ---- */

/* C (m, n) = A B, or += : A's element (i, k) is a[i row_step + k k_step]; B (n_k, n) is either packed or has
 * rows of ldb numbers, which are then packed block by block as they are needed. store: of either. */
typedef struct {
    const real *a;
    size_t row_step, k_step;
    const void *packed;
    const unsigned char *b;
    size_t ldb;
    Store store;
    real *c;
    size_t ldc;
    bool from_zero;             /* chains start from 0, else from what C holds */
    const real *bias;
    int m, n, n_k;
    int tile_rows, tile_columns;
} Product;

/* A thread's own block of A and block of B, in the order in which kernels read them. */
static _Thread_local real a_scratch[TILE_ROWS * K_BLOCK], b_scratch[K_BLOCK * WIDE];

/* Columns [column, column + n) of rows [k0, k0 + n_k) of B as panels of n_k rows, `stride` reals apart. */
static void pack_rows(real *panel, size_t stride, const Product *p, int column, int n, int k0, int n_k) {
    const size_t size = store_size(p->store);
    for (int j = 0; j < n; j += GEMM_PANEL, panel += stride) {
        const unsigned char *row = p->b + ((size_t)k0 * p->ldb + (size_t)(column + j)) * size;
        if (n - j < GEMM_PANEL) memset(panel, 0, (size_t)n_k * GEMM_PANEL * sizeof(real));
        /* a length known to the compiler: plain moves */
        if (n - j >= GEMM_PANEL && p->store == STORE_REAL)
            for (int k = 0; k < n_k; k++, row += p->ldb * size)
                memcpy(panel + k * GEMM_PANEL, row, GEMM_PANEL * sizeof(real));
        else
            for (int k = 0; k < n_k; k++, row += p->ldb * size)
                store_to_real(panel + k * GEMM_PANEL, row, p->store,
                              (size_t)(n - j < GEMM_PANEL ? n - j : GEMM_PANEL));
    }
}

/* Columns [column, column + n) of rows [k0, k0 + n_k) of panels that are not stored as real, as reals. */
static void expand_panels(real *panel, size_t stride, const Product *p, int column, int n, int k0, int n_k) {
    const size_t size = store_size(p->store);
    for (int j = 0; j < n; j += GEMM_PANEL, panel += stride) {
        const size_t at = ((size_t)((column + j) / GEMM_PANEL) * (size_t)p->n_k + (size_t)k0) * GEMM_PANEL;
        store_to_real(panel, (const unsigned char *)p->packed + at * size, p->store,
                      (size_t)n_k * GEMM_PANEL);
    }
}

/* A block of A whose rows lie side by side (k_step > 1): for each kernel its n_k columns of n rows. A few k
 * at a time, so that what is read is read in order. */
static void copy_columns(real *to, const real *a, size_t k_step, int rows, int n_k) {
    enum { FEW = 16 };
    for (int k0 = 0, n_few; k0 < n_k; k0 += n_few) {
        n_few = n_k - k0 < FEW ? n_k - k0 : FEW;
        for (int i = 0, n; i < rows; i += n) {
            const real *from = a + i + (size_t)k0 * k_step;
            n = gemm_rows(rows - i, WIDE_ROWS);
            real *block = to + (size_t)i * (size_t)n_k + (size_t)k0 * (size_t)n;
            if (n == WIDE_ROWS)                                       /* a length known to the compiler */
                for (int k = 0; k < n_few; k++, from += k_step)
                    memcpy(block + k * WIDE_ROWS, from, WIDE_ROWS * sizeof(real));
            else
                for (int k = 0; k < n_few; k++, from += k_step)
                    memcpy(block + k * n, from, (size_t)n * sizeof(real));
        }
    }
}

static void copy_rows(real *to, const real *a, size_t row_step, int rows, int n_k) {
    for (int i = 0; i < rows; i++)
        memcpy(to + (size_t)i * (size_t)n_k, a + (size_t)i * row_step, (size_t)n_k * sizeof(real));
}

/* The block of B that the panels after columns [.., column) will be made of. */
static Ahead ahead_of(const Product *p, int column, int column_end, int k0, int n_k) {
    const size_t size = store_size(p->store), line = GEMM_PANEL * size;
    if (column >= column_end) return (Ahead){ 0 };
    const int panels = panel_count(column_end - column < WIDE ? column_end - column : WIDE);
    if (!p->packed)
        return (Ahead){.line = p->b + ((size_t)k0 * p->ldb + (size_t)column) * size, .step = p->ldb * size,
                       .panel_step = line, .n = n_k, .panels = panels};
    const size_t panel = (size_t)p->n_k * line;
    return (Ahead){.line = (const unsigned char *)p->packed + (size_t)(column / GEMM_PANEL) * panel +
                           (size_t)k0 * line,
                   .step = line,
                   .panel_step = panel,
                   .n = n_k,
                   .panels = panels};
}

/* Columns [column, column + n) of the tile's rows, for one block of k: `a` as the product has it, or copied
 * to a_scratch. first: no earlier panel has brought the rows of `a` into the cache. */
static void tile_panel(const Product *p, const real *a, bool copied, bool first, int row, int row_end,
                       int column, int n, const real *b, size_t stride, int n_k, bool from_zero,
                       Ahead ahead) {
    Block block = {.row_step = p->row_step, .k_step = p->k_step, .n_k = n_k, .ldc = p->ldc,
                   .from_zero = from_zero, .fetch_a = first && !copied && p->k_step == 1, .ahead = ahead,
                   .share = ahead.n / ((row_end - row) / ROWS + 1) + 1};
    for (int h = 0; h < n; h += WIDTH) {
        const int width = n - h < WIDTH ? n - h : WIDTH,
                  most = width > 2 * (int)LANES || (copied && p->k_step > 1) ? WIDE_ROWS : ROWS;
        for (int v = 0; v < VECTORS; v++) {
            /* no such vector: the first again, unused */
            const int at = h + v * LANES < n ? h + v * LANES : h;
            block.b[v] = b + (size_t)(at / GEMM_PANEL) * stride + at % GEMM_PANEL;
        }
        for (int i = row, rows; i < row_end; i += rows * block.groups) {
            rows = gemm_rows(row_end - i, most);
            block.groups = rows == most ? whole_groups(row_end - i, most) : 1;
            block.a = a + (size_t)(i - row) * p->row_step;
            if (copied) {
                block.a = a_scratch + (size_t)(i - row) * (size_t)n_k;
                if (p->k_step == 1) block.row_step = (size_t)n_k;
                else block.row_step = 1, block.k_step = (size_t)rows;
            }
            block.group_step = copied ? (size_t)(rows * n_k) : (size_t)rows * p->row_step;
            block.c = p->c + (size_t)i * p->ldc + column + h;
            kernel(rows, &block, width);
        }
    }
}

/* A tile of one row: LONE columns from panels. So many columns of a whole block would not fit into b_scratch.
 */
static void tile_lone(const Product *p, const real *a, real *c, int column, int k0, int n_k, bool from_zero) {
    enum { PART = K_BLOCK * WIDE / LONE };
    if (p->store == STORE_REAL) {
        const size_t stride = (size_t)p->n_k * GEMM_PANEL;
        kernel_lone(a, p->k_step,
                    (const real *)p->packed + (size_t)(column / GEMM_PANEL) * stride +
                        (size_t)k0 * GEMM_PANEL,
                    stride, n_k, c, from_zero);
        return;
    }
    for (int k = 0, part; k < n_k; k += part) {
        part = n_k - k < PART ? n_k - k : PART;
        expand_panels(b_scratch, (size_t)PART * GEMM_PANEL, p, column, LONE, k0 + k, part);
        kernel_lone(a + (size_t)k * p->k_step, p->k_step, b_scratch, (size_t)PART * GEMM_PANEL, part, c,
                    from_zero && k == 0);
    }
}

static void tile(const Product *p, int row, int column) {
    const int row_end = p->m - row < p->tile_rows ? p->m : row + p->tile_rows;
    const int column_end = p->n - column < p->tile_columns ? p->n : column + p->tile_columns;
    /* elements of A that a kernel reads together should lie together; rows whose distance is a power of two
     * push each other out of a cache */
    const bool copied =
        p->k_step == 1 ? p->n_k > K_BLOCK && column_end - column >= COPY_COLUMNS : p->k_step > K_BLOCK;
    for (int k0 = 0; k0 == 0 || k0 < p->n_k; k0 += K_BLOCK) {
        const int n_k = p->n_k - k0 < K_BLOCK ? p->n_k - k0 : K_BLOCK;
        const bool from_zero = p->from_zero && k0 == 0;
        const real *a = p->a + (size_t)row * p->row_step + (size_t)k0 * p->k_step;
        if (copied && p->k_step == 1) copy_rows(a_scratch, a, p->row_step, row_end - row, n_k);
        else if (copied) copy_columns(a_scratch, a, p->k_step, row_end - row, n_k);
        for (int j = column, n; j < column_end; j += n) {
            const real *b = b_scratch;
            size_t stride = (size_t)n_k * GEMM_PANEL;
            n = column_end - j < WIDE ? column_end - j : WIDE;
            if (p->packed && row_end - row == 1 && column_end - j >= LONE) {
                n = LONE;
                tile_lone(p, a, p->c + (size_t)row * p->ldc + j, j, k0, n_k, from_zero);
                continue;
            }
            if (!p->packed) pack_rows(b_scratch, stride, p, j, n, k0, n_k);
            else if (p->store != STORE_REAL) expand_panels(b_scratch, stride, p, j, n, k0, n_k);
            else {
                stride = (size_t)p->n_k * GEMM_PANEL;
                b = (const real *)p->packed + (size_t)(j / GEMM_PANEL) * stride + (size_t)k0 * GEMM_PANEL;
            }
            tile_panel(p, a, copied, j == column, row, row_end, j, n, b, stride, n_k, from_zero,
                       ahead_of(p, j + n, column_end, k0, n_k));
        }
    }
    for (int i = row; i < row_end && p->bias; i++)
        for (int j = column; j < column_end; j++) p->c[(size_t)i * p->ldc + j] += p->bias[j];
}

static int divide_up(int n, int by) { return (n - 1) / by + 1; }

/* Columns of a tile, where each of n_row_tile rows of tiles is cut into pieces for the threads: as few as
 * possible for the thread that has most; of cuts that are as good, the finest, which lets threads make up for
 * each other. Pieces are whole kernels, or halves of them. */
static int tile_width(int n, int n_row_tile, int n_thread, int unit) {
    int width = divide_up(n, unit) * unit, least = divide_up(n_row_tile, n_thread) * width;
    for (int each = 1; each <= 4; each++) {
        const int piece = divide_up(divide_up(n, divide_up(each * n_thread, n_row_tile)), unit) * unit;
        const int most = divide_up(n_row_tile * divide_up(n, piece), n_thread) * piece;
        if (most <= least) least = most, width = piece;
    }
    return width;
}

/* Cut into tiles of up to TILE_ROWS rows; of as many columns as keep all threads busy. Returns how many. */
static long cut(Product *p, int n_thread) {
    if (p->m <= 0 || p->n <= 0) return 0;
    int n_row_tile = divide_up(p->m, TILE_ROWS);
    if (n_thread > 1 && n_row_tile >= 2 * n_thread) n_row_tile = divide_up(n_row_tile, n_thread) * n_thread;
    p->tile_rows = divide_up(divide_up(p->m, n_row_tile), ROWS) * ROWS;
    if (p->tile_rows > TILE_ROWS) p->tile_rows = TILE_ROWS;
    n_row_tile = divide_up(p->m, p->tile_rows);
    const int unit = p->m == 1 && (int)LONE > (int)WIDE ? (int)LONE : (int)HALF;
    p->tile_columns = n_thread > 1 && n_row_tile < 2 * n_thread ? tile_width(p->n, n_row_tile, n_thread, unit)
                                                                : divide_up(p->n, unit) * unit;
    return (long)n_row_tile * divide_up(p->n, p->tile_columns);
}

static size_t multiply_adds(const Product *p) {
    return (size_t)p->m * (size_t)p->n * (size_t)(p->n_k > 0 ? p->n_k : 1);
}

/* n <= GEMM_LIST products, whose tiles the threads take in one go. Each is cut for all threads, or for one
 * where many are tiles enough. */
static void products(Product *p, int n, bool cut_each) {
    long end[GEMM_LIST], n_tile = 0;
    size_t work = 0;
    for (int i = 0; i < n; i++) work += multiply_adds(&p[i]);
    const int n_thread = gemm_threads(work);
    for (int i = 0; i < n; i++) end[i] = n_tile += cut(&p[i], cut_each || n <= n_thread ? n_thread : 1);
    #pragma omp parallel for schedule(dynamic) num_threads(n_thread) if (n_thread > 1)
    for (long t = 0; t < n_tile; t++) {
        int i = 0;
        while (t >= end[i]) i++;
        const long at = t - (i ? end[i - 1] : 0);
        const int n_column_tile = divide_up(p[i].n, p[i].tile_columns);
        tile(&p[i], (int)(at / n_column_tile) * p[i].tile_rows,
             (int)(at % n_column_tile) * p[i].tile_columns);
    }
}

static void perform(Product p) { products(&p, 1, true); }

void gemm_block(real *c, size_t ldc, const real *a, size_t row_step, size_t k_step, const real *panel,
                size_t stride, int m, int n, int n_k, bool from_zero) {
    const Product p = { .c = c, .ldc = ldc, .row_step = row_step, .k_step = k_step };
    for (int j = 0, width; j < n; j += width) {
        const real *b = panel + (size_t)(j / GEMM_PANEL) * stride;
        width = n - j < WIDE ? n - j : WIDE;
        if (m == 1 && n - j >= (int)LONE && LONE % GEMM_PANEL == 0)
            kernel_lone(a, k_step, b, stride, n_k, c + j, from_zero), width = LONE;
        else if (m == 1 && n - j >= LONE / 2 && LONE / 2 % GEMM_PANEL == 0)
            kernel_lone_half(a, k_step, b, stride, n_k, c + j, from_zero), width = LONE / 2;
        else tile_panel(&p, a, false, false, 0, m, j, width, b, stride, n_k, from_zero, (Ahead){ 0 });
    }
}

/* ---- E5, E6: a linear layer forward and backward ---- */

void gemm_nt(real *y, int ldy, const real *x, int ldx, const void *packed, Store store, const real *bias,
             int m, int n_out, int n_in) {
    perform((Product){.a = x, .row_step = (size_t)ldx, .k_step = 1, .packed = packed, .store = store, .c = y,
                      .ldc = (size_t)ldy, .from_zero = true, .bias = bias, .m = m, .n = n_out, .n_k = n_in});
}

void gemm_nt_list(const GemmNt *list, int n, const real *x, int m, int n_in) {
    Product p[GEMM_LIST];
    for (int i = 0; i < n; i++)
        p[i] = (Product){.a = x, .row_step = (size_t)n_in, .k_step = 1, .packed = list[i].packed,
                         .store = list[i].store, .c = list[i].y, .ldc = (size_t)list[i].n_out,
                         .from_zero = true, .bias = list[i].bias, .m = m, .n = list[i].n_out, .n_k = n_in};
    products(p, n, true);
}

void gemm_nn(real *dx, int lddx, const real *dy, int lddy, const void *w, Store store, int m, int n_out,
             int n_in) {
    perform((Product){.a = dy, .row_step = (size_t)lddy, .k_step = 1, .b = w, .ldb = (size_t)n_in,
                      .store = store, .c = dx, .ldc = (size_t)lddx, .from_zero = true, .m = m, .n = n_in,
                      .n_k = n_out});
}

static Product weight_gradient(const real *dy, int lddy, const real *x, int ldx, real *dw, int m, int n_out,
                               int n_in) {
    return (Product){.a = dy, .row_step = 1, .k_step = (size_t)lddy, .b = (const unsigned char *)x,
                     .ldb = (size_t)ldx, .store = STORE_REAL, .c = dw, .ldc = (size_t)n_in, .m = n_out,
                     .n = n_in, .n_k = m};
}

void gemm_tn(real *dw, const real *dy, int lddy, const real *x, int ldx, int m, int n_out, int n_in) {
    perform(weight_gradient(dy, lddy, x, ldx, dw, m, n_out, n_in));
}

void gemm_tn_list(const GemmTn *list, int n) {
    Product p[GEMM_LIST];
    for (int i = 0; i < n; i++)
        p[i] = weight_gradient(list[i].dy, list[i].n_out, list[i].x, list[i].n_in, list[i].dw, list[i].m,
                               list[i].n_out, list[i].n_in);
    products(p, n, false);
}

/* Blocks of columns, each summed from top to bottom: the chains stay in registers and rows are read in order.
 */
void gemm_bias_backward(real *db, const real *dy, int lddy, int m, int n_out) {
    enum { BLOCK = 64 };
    const int n_thread = gemm_threads((size_t)m * (size_t)n_out);
    (void)n_thread;
#pragma omp parallel for schedule(static) num_threads(n_thread) if (n_thread > 1)
    for (int o = 0; o < n_out; o += BLOCK) {
        const int n = n_out - o < BLOCK ? n_out - o : BLOCK;
        real sum[BLOCK];
        memcpy(sum, db + o, (size_t)n * sizeof(real));
        for (int t = 0; t < m; t++) {
            const real *row = dy + (size_t)t * (size_t)lddy + o;
            for (int j = 0; j < n; j++) sum[j] += row[j];
        }
        memcpy(db + o, sum, (size_t)n * sizeof(real));
    }
}
