/* gemm.c: weights in their stored formats, and the three matrix products of a linear layer.
 *
 * In this order: conversion of stored numbers, packing into panels, the kernel that computes a few rows of a panel or
 * two, the cutting of a product into tiles for threads, and the public products on top (E5, E6).
 *
 * Speed comes from three things, none of which touches the order inside an output. GNU vector types with a loop of
 * r_fma over the lanes: compilers turn that into vector instructions, which they do not for an array of scalars. As many
 * accumulators as there are registers. And k in blocks that fit the first cache: between blocks the chains rest in the
 * output, which holds a real exactly, so a block continues the chain as if it had not been interrupted. */
#include "gemm.h"

#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- stored numbers -------------------------------------------------------------------------------------------- */

size_t store_size(Store s) {
    switch (s) {
    case STORE_REAL: return sizeof(real);
    case STORE_F32: return 4;
    case STORE_BF16: case STORE_F16: return 2;
    case STORE_F64: return 8;
    }
    return 0;
}

static inline float float_of(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline uint32_t bits_of(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float float_of_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }

/* Selects instead of branches, so that a loop of it is vectorised. A subnormal half is 2^-14 (1 + m) - 2^-14: written
 * so, no subnormal float occurs, which some processors treat a hundred times more slowly. */
static inline float float_of_f16(uint16_t h) {
    const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t normal = magnitude + (112u << 23), huge = magnitude | 0x7f800000u;
    const uint32_t tiny = bits_of(float_of(magnitude + (113u << 23)) - float_of(113u << 23));
    const uint32_t finite = magnitude < (1u << 23) ? tiny : normal;
    return float_of(sign | (magnitude >= (31u << 23) ? huge : finite));
}

static inline uint16_t bf16_of_float(float f) {
    const uint32_t u = bits_of(f), rounded = u + 0x7fff + ((u >> 16) & 1);
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? (u >> 16) | 0x40 : rounded >> 16);    /* a NaN stays one */
}

static inline uint16_t f16_of_float(float f) {
    const uint32_t u = bits_of(f), magnitude = u & 0x7fffffff, sign = (u >> 16) & 0x8000;
    uint32_t h;
    if (magnitude > 0x7f800000) h = 0x7e00 | ((magnitude >> 13) & 0x3ff);
    else if (magnitude >= (143u << 23)) h = 0x7c00;                                 /* 65536 and more */
    else if (magnitude < (113u << 23)) h = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);  /* 0.5 has ulp 2^-24 */
    else h = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    return (uint16_t)(sign | h);
}

/* To a float on the way to 16 bits. From double to nearest would round twice; rounding to odd instead (an inexact result
 * takes the neighbour whose last bit is 1) leaves the second rounding all it needs. */
static inline float float_before_rounding(real x) {
#ifdef REAL_IS_DOUBLE
    const float f = (float)x;
    if ((double)f == x || x != x) return f;
    uint32_t u = bits_of(f);
    if (fabs((double)f) > fabs(x)) u--;
    return float_of(u | 1);
#else
    return x;
#endif
}

void store_to_real(real *out, const void *in, Store s, size_t n) {
    switch (s) {
    case STORE_REAL: memmove(out, in, n * sizeof(real)); break;
    case STORE_F32: { const float *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)p[i]; break; }
    case STORE_F64: { const double *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)p[i]; break; }
    case STORE_BF16: { const uint16_t *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)float_of_bf16(p[i]); break; }
    case STORE_F16: { const uint16_t *p = in; for (size_t i = 0; i < n; i++) out[i] = (real)float_of_f16(p[i]); break; }
    }
}

void store_from_real(void *out, const real *in, Store s, size_t n) {
    switch (s) {
    case STORE_REAL: memmove(out, in, n * sizeof(real)); break;
    case STORE_F32: { float *p = out; for (size_t i = 0; i < n; i++) p[i] = (float)in[i]; break; }
    case STORE_F64: { double *p = out; for (size_t i = 0; i < n; i++) p[i] = (double)in[i]; break; }
    case STORE_BF16: { uint16_t *p = out; for (size_t i = 0; i < n; i++) p[i] = bf16_of_float(float_before_rounding(in[i])); break; }
    case STORE_F16: { uint16_t *p = out; for (size_t i = 0; i < n; i++) p[i] = f16_of_float(float_before_rounding(in[i])); break; }
    }
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

/* Below some multiply-adds, waking the other threads takes longer than the product. */
static int thread_count(size_t work) {
#ifdef _OPENMP
    if (work >= 100000 && !omp_in_parallel()) return omp_get_max_threads();
#endif
    (void)work;
    return 1;
}

/* ---- panels ---------------------------------------------------------------------------------------------------- */

static int panel_count(int n) { return n / GEMM_PANEL + (n % GEMM_PANEL != 0); }

size_t gemm_packed_count(int n_out, int n_in) { return (size_t)panel_count(n_out) * GEMM_PANEL * (size_t)n_in; }

/* One panel: 16 rows of W become 16 columns, by blocks of k that stay in the first cache while they are turned. */
static void pack_panel(real *panel, const unsigned char *w, Store store, int n_row, int n_in) {
    enum { BLOCK = 64 };
    real block[GEMM_PANEL][BLOCK];
    const size_t size = store_size(store);
    memset(block, 0, sizeof block);
    for (int k0 = 0; k0 < n_in; k0 += BLOCK) {
        const int n = n_in - k0 < BLOCK ? n_in - k0 : BLOCK;
        for (int c = 0; c < n_row; c++)
            store_to_real(block[c], w + ((size_t)c * (size_t)n_in + (size_t)k0) * size, store, (size_t)n);
        for (int k = 0; k < n; k++, panel += GEMM_PANEL)
            for (int c = 0; c < GEMM_PANEL; c++) panel[c] = block[c][k];
    }
}

void gemm_pack(real *packed, const void *w, Store store, int n_out, int n_in) {
    const int n_panel = panel_count(n_out), n_thread = thread_count((size_t)n_out * (size_t)n_in);
    const size_t stride = (size_t)GEMM_PANEL * (size_t)n_in;
    (void)n_thread;
#pragma omp parallel for schedule(static) num_threads(n_thread) if (n_thread > 1)
    for (int p = 0; p < n_panel; p++) {
        const int left = n_out - p * GEMM_PANEL;
        pack_panel(packed + (size_t)p * stride, (const unsigned char *)w + (size_t)p * stride * store_size(store), store,
                   left < GEMM_PANEL ? left : GEMM_PANEL, n_in);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------------------------ */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, REGISTERS = 24 };         /* REGISTERS: as many accumulators as leave room for operands */
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, REGISTERS = 12 };
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, REGISTERS = 24 };
#else
enum { VECTOR_BYTES = 16, REGISTERS = 16 };
#endif
enum {
    LANES = VECTOR_BYTES / (int)sizeof(real),
    VECTORS = GEMM_PANEL / LANES,                   /* a panel's width in vectors */
    PAIR = VECTORS == 1 ? 2 : 1,                    /* panels side by side: at least two vectors share a broadcast */
    ROWS = REGISTERS / (VECTORS * PAIR),            /* rows of a full kernel */
    LONE = VECTORS >= 4 ? 2 : 4,                    /* panels of a one-row kernel: hides the latency of a chain */
    K_BLOCK = 256
};
typedef real Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real Loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));    /* any real's address */

static inline Vector vector_fma(real a, Vector b, Vector c) {
    for (int l = 0; l < LANES; l++) c[l] = r_fma(a, b[l], c[l]);
    return c;
}

/* What a kernel does at its ends: chains start from 0 or from the output; at the last block of k a bias may be added. */
typedef struct { real *c; size_t ldc; bool from_zero; const real *bias; } Output;

/* rows x (n_panel panels) outputs over n_k steps. a[i row_step + k k_step]; panels lie `stride` reals apart; `width` of
 * the columns exist. rows and n_panel are constants at every call: inlined, the accumulators become registers. */
static inline __attribute__((always_inline)) void kernel(int rows, int n_panel, const real *a, size_t row_step, size_t k_step,
                                                         const real *b, size_t stride, int n_k, Output out, int width) {
    Vector acc[ROWS][LONE * VECTORS];                 /* LONE >= PAIR */
    const int n_vector = n_panel * VECTORS;
    const bool whole = width == n_panel * GEMM_PANEL;
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < n_vector; v++) acc[i][v] = (Vector){ 0 };
    if (!out.from_zero) {
        if (whole)
            for (int i = 0; i < rows; i++)
                for (int v = 0; v < n_vector; v++) acc[i][v] = *(const Loose *)(out.c + (size_t)i * out.ldc + v * LANES);
        else
            for (int i = 0; i < rows; i++) {
                Vector edge[LONE * VECTORS] = { 0 };
                memcpy(edge, out.c + (size_t)i * out.ldc, (size_t)width * sizeof(real));
                for (int v = 0; v < n_vector; v++) acc[i][v] = edge[v];
            }
    }
    for (int k = 0; k < n_k; k++) {
        Vector column[LONE * VECTORS];
        for (int v = 0; v < n_vector; v++)
            column[v] = *(const Loose *)(b + (size_t)(v / VECTORS) * stride + (size_t)k * GEMM_PANEL + v % VECTORS * LANES);
        for (int i = 0; i < rows; i++) {
            const real x = a[(size_t)i * row_step + (size_t)k * k_step];
            for (int v = 0; v < n_vector; v++) acc[i][v] = vector_fma(x, column[v], acc[i][v]);
        }
    }
    for (int i = 0; i < rows; i++) {
        real *c = out.c + (size_t)i * out.ldc;
        Vector edge[LONE * VECTORS] = { 0 };
        if (out.bias) {
            memcpy(edge, out.bias, (size_t)width * sizeof(real));
            for (int v = 0; v < n_vector; v++) acc[i][v] += edge[v];
        }
        if (whole)
            for (int v = 0; v < n_vector; v++) *(Loose *)(c + v * LANES) = acc[i][v];
        else {
            for (int v = 0; v < n_vector; v++) edge[v] = acc[i][v];
            memcpy(c, edge, (size_t)width * sizeof(real));
        }
    }
}

#define KERNEL(rows, n_panel) kernel(rows, n_panel, a, row_step, k_step, b, stride, n_k, out, width)

static void kernel_full(const real *a, size_t row_step, size_t k_step, const real *b, size_t stride, int n_k, Output out, int width) {
    KERNEL(ROWS, PAIR);
}

/* One row, from one panel to LONE of them. */
static void kernel_lone(int n_panel, const real *a, size_t row_step, size_t k_step, const real *b, size_t stride, int n_k, Output out,
                        int width) {
    switch (n_panel) {
    case 1: KERNEL(1, 1); break;
    case LONE: KERNEL(1, LONE); break;
    default: KERNEL(1, PAIR); break;
    }
}

/* What is left at the lower and right edge: up to ROWS rows, one panel or PAIR of them. */
static void kernel_edge(int rows, int n_panel, const real *a, size_t row_step, size_t k_step, const real *b, size_t stride, int n_k,
                        Output out, int width) {
    while (rows > 0) {
        const int n = rows >= 8 && ROWS >= 8 ? 8 : rows >= 4 && ROWS >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (n * 4 + n_panel) {
        case 8 * 4 + 1: KERNEL(ROWS >= 8 ? 8 : 1, 1); break;
        case 4 * 4 + 1: KERNEL(ROWS >= 4 ? 4 : 1, 1); break;
        case 2 * 4 + 1: KERNEL(2, 1); break;
        case 1 * 4 + 1: KERNEL(1, 1); break;
        case 8 * 4 + 2: KERNEL(ROWS >= 8 ? 8 : 1, PAIR); break;
        case 4 * 4 + 2: KERNEL(ROWS >= 4 ? 4 : 1, PAIR); break;
        case 2 * 4 + 2: KERNEL(2, PAIR); break;
        case 1 * 4 + 2: KERNEL(1, PAIR); break;
        }
        a += (size_t)n * row_step;
        out.c += (size_t)n * out.ldc;
        rows -= n;
    }
}

/* ---- tiles ----------------------------------------------------------------------------------------------------- */

/* C (m, n) = A B, or += : A's element (i, k) is a[i row_step + k k_step]; B (n_k, n) is either packed or has rows of ldb
 * numbers stored as `store`, which are then packed block by block as they are needed. */
typedef struct {
    const real *a;
    size_t row_step, k_step;
    const real *packed;
    const unsigned char *b;
    size_t ldb;
    Store store;
    Output out;
    int m, n, n_k;
    int tile_rows, tile_panels;
} Product;

/* Columns [column, column + n) of rows [k0, k0 + n_k) of B as one panel. */
static void pack_rows(real *panel, const Product *p, int column, int k0, int n_k) {
    const size_t size = store_size(p->store), n = (size_t)(p->n - column < GEMM_PANEL ? p->n - column : GEMM_PANEL);
    const unsigned char *row = p->b + ((size_t)k0 * p->ldb + (size_t)column) * size;
    if (n < GEMM_PANEL) memset(panel, 0, (size_t)n_k * GEMM_PANEL * sizeof(real));
    for (int k = 0; k < n_k; k++, panel += GEMM_PANEL, row += p->ldb * size) {
        if (n < GEMM_PANEL) store_to_real(panel, row, p->store, n);
        else if (p->store == STORE_REAL) memcpy(panel, row, GEMM_PANEL * sizeof(real));
        else store_to_real(panel, row, p->store, GEMM_PANEL);
    }
}

static void tile(const Product *p, int row, int panel) {
    const int row_end = p->m - row < p->tile_rows ? p->m : row + p->tile_rows, n_panel = panel_count(p->n);
    const int panel_end = n_panel - panel < p->tile_panels ? n_panel : panel + p->tile_panels;
    const int together = row_end - row == 1 && p->packed ? LONE : PAIR;
    real scratch[K_BLOCK * GEMM_PANEL * PAIR];
    for (int k0 = 0; k0 == 0 || k0 < p->n_k; k0 += K_BLOCK) {
        const int n_k = p->n_k - k0 < K_BLOCK ? p->n_k - k0 : K_BLOCK;
        const bool last = p->n_k - k0 <= K_BLOCK;
        for (int q = panel, n; q < panel_end; q += n) {
            n = panel_end - q >= together ? together : panel_end - q >= PAIR ? PAIR : 1;
            const int column = q * GEMM_PANEL, width = p->n - column < n * GEMM_PANEL ? p->n - column : n * GEMM_PANEL;
            const real *b = scratch;
            size_t stride = (size_t)K_BLOCK * GEMM_PANEL;
            if (p->packed) {
                stride = (size_t)p->n_k * GEMM_PANEL;
                b = p->packed + (size_t)q * stride + (size_t)k0 * GEMM_PANEL;
            } else
                for (int j = 0; j < n; j++) pack_rows(scratch + (size_t)j * stride, p, column + j * GEMM_PANEL, k0, n_k);
            Output out = p->out;
            out.from_zero = out.from_zero && k0 == 0;
            out.bias = last && out.bias ? out.bias + column : NULL;
            int i = row;
            for (; n == PAIR && row_end - i >= ROWS; i += ROWS) {
                out.c = p->out.c + (size_t)i * out.ldc + column;
                kernel_full(p->a + (size_t)i * p->row_step + (size_t)k0 * p->k_step, p->row_step, p->k_step, b, stride, n_k, out, width);
            }
            out.c = p->out.c + (size_t)i * out.ldc + column;
            const real *a = p->a + (size_t)i * p->row_step + (size_t)k0 * p->k_step;
            if (row_end - row == 1) kernel_lone(n, a, p->row_step, p->k_step, b, stride, n_k, out, width);
            else kernel_edge(row_end - i, n, a, p->row_step, p->k_step, b, stride, n_k, out, width);
        }
    }
}

/* Tiles of up to some 200 rows, so that a block of A stays in the second cache, and of as many panels as leave a few
 * tiles to every thread. */
static void product(Product p) {
    if (p.m <= 0 || p.n <= 0) return;
    const int n_thread = thread_count((size_t)p.m * (size_t)p.n * (size_t)(p.n_k > 0 ? p.n_k : 1));
    const int n_panel = panel_count(p.n), most = (192 / ROWS) * ROWS, wanted = n_thread == 1 ? 1 : 4 * n_thread;
    p.tile_rows = p.m < most ? p.m : most;
    int n_row_tile = (p.m - 1) / p.tile_rows + 1;
    int n_panel_tile = (wanted - 1) / n_row_tile + 1;
    p.tile_panels = n_panel / n_panel_tile / LONE * LONE;
    if (p.tile_panels < PAIR) p.tile_panels = PAIR;
    n_panel_tile = (n_panel - 1) / p.tile_panels + 1;
    const long n_tile = (long)n_row_tile * n_panel_tile;
#pragma omp parallel for schedule(dynamic) num_threads(n_thread) if (n_thread > 1)
    for (long t = 0; t < n_tile; t++)
        tile(&p, (int)(t / n_panel_tile) * p.tile_rows, (int)(t % n_panel_tile) * p.tile_panels);
}

/* ---- E5, E6: a linear layer forward and backward ---------------------------------------------------------------- */

void gemm_nt(real *y, int ldy, const real *x, int ldx, const real *packed, const real *bias, int m, int n_out, int n_in) {
    product((Product){ .a = x, .row_step = (size_t)ldx, .k_step = 1, .packed = packed, .m = m, .n = n_out, .n_k = n_in,
                       .out = { .c = y, .ldc = (size_t)ldy, .from_zero = true, .bias = bias } });
}

void gemm_nn(real *dx, int lddx, const real *dy, int lddy, const void *w, Store store, int m, int n_out, int n_in) {
    product((Product){ .a = dy, .row_step = (size_t)lddy, .k_step = 1, .b = w, .ldb = (size_t)n_in, .store = store,
                       .m = m, .n = n_in, .n_k = n_out, .out = { .c = dx, .ldc = (size_t)lddx, .from_zero = true } });
}

void gemm_tn(real *dw, const real *dy, int lddy, const real *x, int ldx, int m, int n_out, int n_in) {
    product((Product){ .a = dy, .row_step = 1, .k_step = (size_t)lddy, .b = (const unsigned char *)x, .ldb = (size_t)ldx,
                       .store = STORE_REAL, .m = n_out, .n = n_in, .n_k = m, .out = { .c = dw, .ldc = (size_t)n_in } });
}

/* Blocks of columns, each summed from top to bottom: the chains stay in registers and rows are read in order. */
void gemm_bias_backward(real *db, const real *dy, int lddy, int m, int n_out) {
    enum { BLOCK = 64 };
    const int n_thread = thread_count((size_t)m * (size_t)n_out);
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
