/* gemm.h: matrix products whose every output element is one chain of fused multiply-adds, k ascending.
 *
 * Row-major everywhere; ld is the distance between rows, in elements. Blocking and threads only decide which
 * outputs are computed when, never the order inside one: the same bits for any shape, thread count, compiler
 * and vector width. Called from inside a parallel region (omp_in_parallel) they run on the calling thread
 * alone. Nothing is allocated: scratch for blocks of both factors is some 150 to 230 KiB of the thread's own
 * static memory. */
#ifndef GEMM_H
#define GEMM_H

#include "real.h"

#include <stdbool.h>

/* How a weight is stored; whatever it is, arithmetic is in real. */
typedef enum { STORE_REAL, STORE_F32, STORE_BF16, STORE_F16, STORE_F64 } Store;
size_t store_size(Store s);                                             /* bytes of one element */
void store_to_real(real *out, const void *in, Store s, size_t n);       /* exact except F64 -> float */
void store_from_real(void *out, const real *in, Store s, size_t n);     /* rounds to nearest even */

/* Rows of a product that are computed at once: a kernel's accumulators must all be registers, and one row too
 * many costs half the speed. Whoever cuts rows into pieces does well to cut at multiples of it. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define GEMM_ROWS 12
#else
#define GEMM_ROWS 6
#endif

/* A weight matrix W (n_out, n_in), re-laid for y = x W^T: panels of GEMM_PANEL output columns,
 * [panel][n_in][GEMM_PANEL], the last one filled up with zeros. A one-row product then reads memory once, in
 * order. */
enum { GEMM_PANEL = 16 };
/* elements that gemm_pack writes, stored as W is */
size_t gemm_packed_count(int n_out, int n_in);
void gemm_pack(void *packed, const void *w, Store store, int n_out, int n_in);

/* E5: y[t][o] = sum_k x[t][k] W[o][k]  (+ bias[o], added after the chain; NULL: none).  y [m, n_out], x [m,
 * n_in]. Numbers that are not stored as real become real block by block, so the bits are those of the same
 * matrix in real. */
void gemm_nt(real *y, int ldy, const real *x, int ldx, const void *packed, Store store, const real *bias,
             int m, int n_out, int n_in);

/* The same of one x (contiguous rows, as those of y are) for n <= GEMM_LIST weights at once, so that threads
 * meet only at the end. */
enum { GEMM_LIST = 8 };
typedef struct { real *y; const void *packed; Store store; const real *bias; int n_out; } GemmNt;
void gemm_nt_list(const GemmNt *list, int n, const real *x, int m, int n_in);

/* E6: dx[t][k] = sum_o dy[t][o] W[o][k], chain from 0, o ascending; overwrites dx. dx [m, n_in], dy [m,
 * n_out], W (n_out, n_in). */
void gemm_nn(real *dx, int lddx, const real *dy, int lddy, const void *w, Store store, int m, int n_out,
             int n_in);

/* E6: dW[o][k] += sum_t dy[t][o] x[t][k], the chain starts from what dW holds, t ascending. dW (n_out, n_in),
 * contiguous. */
void gemm_tn(real *dw, const real *dy, int lddy, const real *x, int ldx, int m, int n_out, int n_in);

/* The same for n <= GEMM_LIST weights of one layer at once; rows of dy and x are contiguous. */
typedef struct { real *dw; const real *dy, *x; int m, n_out, n_in; } GemmTn;
void gemm_tn_list(const GemmTn *list, int n);

/* E6: db[o] += sum_t dy[t][o], t ascending, plain additions. */
void gemm_bias_backward(real *db, const real *dy, int lddy, int m, int n_out);

/* The kernels alone, on the calling thread, for products that are small and many (attention): C (m, n) = A B,
 * or += unless from_zero. Element (i, k) of A is a[i row_step + k k_step]; B (n_k, n) lies in panels of
 * GEMM_PANEL columns, `stride` reals apart: [n_k][GEMM_PANEL] each, the last one filled up with anything
 * finite. */
void gemm_block(real *c, size_t ldc, const real *a, size_t row_step, size_t k_step, const real *panel,
                size_t stride, int m, int n, int n_k, bool from_zero);

/* The same for m <= GEMM_APART rows that each have one panel of their own: row i of C (m, GEMM_PANEL) is row
 * i of A times panel[i], [n_k][GEMM_PANEL]. A's rows are contiguous, row_step apart. */
enum { GEMM_APART = 4 };
void gemm_apart(real *c, size_t ldc, const real *a, size_t row_step, const real *const *panel, int m, int n_k,
                bool from_zero);

#endif
