/* attention.h: causal attention forward and backward (E14 to E17): of a few queries of one head, and of a
 * whole batch.
 *
 * Keys are all positions of one span, or of two: a prompt's and then a completion's. The order of every sum
 * is fixed: scores by ascending dimension, mixtures by ascending position, softmax in 16 lanes by position,
 * dk and dv by ascending query. How many queries share a tile changes no bit: a position that a query does
 * not see counts as a term of 0, which leaves a sum as it is (but for the sign of a sum that underflowed to
 * zero, which no later operation can tell). */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "lib/gemm.h"
#include "net/batch.h"

enum { ATTENTION_TILE = 12 };           /* queries that backward takes at once */

/* One span of n positions of a key/value head. key_t: K in panels of 16 positions; value: V in panels of 16
 * columns. The rest is for backward alone: V as key_t, K as value; dk, dv: rows at distance ld, added to (dk
 * without its 1/sqrt d, which the caller brings in once). */
typedef struct {
    int n;
    real *key_t, *value;
    size_t value_stride;                /* from panel to panel, of value and key */
    real *value_t, *key, *dk, *dv;
} KeySpan;

/* Reals of n positions laid out either way. */
size_t attention_panels(int n, int head_dim);
/* Rows [n, head_dim] at distance ld: into panels of 16 positions, and into panels of 16 columns,
 * attention_stride(n) apart. */
void attention_transpose(real *panel, const real *row, int n, int ld, int head_dim);
void attention_columns(real *panel, size_t stride, const real *row, int n, int ld, int head_dim);
/* The same for position u alone, as a cache fills up; what lies beyond must be finite. */
void attention_transpose_one(real *panel, int u, const real *row, int head_dim);
void attention_columns_one(real *panel, size_t stride, int u, const real *row, int head_dim);

/* E14 to E16 for n_row queries, of which query i sees all of the spans before the last and positions 0 ..
 * first + i of the last one.
 *   o, q       [n_row, head_dim] at distance ld (in and out alike); o is written
 *   max, sum   [n_row] at distance stat_ld; of the scaled scores and of their exponentials; NULL: not wanted
 *   score      scratch, attention_scratch(positions of all spans) reals */
void attend(real *o, real *max, real *sum, int stat_ld, real *score, const real *q, int ld, int n_row,
            const KeySpan *span, int n_span, int first, int head_dim);

/* The same for up to GEMM_APART queries that see all of one common span and then each all of its own:
 * decoding. own [n_row], all of one length. */
void attend_apart(real *o, real *score, const real *q, int ld, int n_row, const KeySpan *common,
                  const KeySpan *own, int head_dim);

/* E17: dq is written; dk and dv of the spans are added to. max, sum from attend. p, ds: scratch like score.
 * dq, q, o, d_o at distance ld; dk, dv at distance kv_ld. */
void attend_backward(real *dq, real *p, real *ds, const real *q, const real *o, const real *d_o, int ld,
                     const real *max, const real *sum, int stat_ld, int n_row, const KeySpan *span,
                     int n_span, int first, int head_dim, int kv_ld);
size_t attention_scratch(size_t n_key, int head_dim);

/* ---- a batch ---- */

/* What one layer's attention reads and writes: q, o [n_row, n_head * head_dim], k, v [n_row, n_kv_head *
 * head_dim], q and k rotated; max, sum [n_row, n_head], kept for backward. */
typedef struct { int n_row; const real *q, *k, *v; real *o, *max, *sum; } AttentionRows;

/* Panels and scratch of each thread, so that no loop that needs them takes more threads than n_thread,
 * whatever OpenMP says later. */
typedef struct {
    int n_thread;
    size_t key_cap;                     /* keys (in whole blocks) of the longest path */
    real *key_t, *value, *value_t, *key, *score, *dscore;               /* [n_thread][...] */
} AttentionScratch;
/* For paths of at most max_path rows; then the memory of it, more of it for a backward pass. */
AttentionScratch attention_sizes(int max_path);
void attention_layout(AttentionScratch *s, Arena *a, int head_dim, bool backward);

/* E14 to E16 over the batch; parallel over (segment, key/value head). */
void attend_batch(const AttentionRows *y, AttentionScratch *s, const ModelConfig *c, const Batch *b);
/* E17: dq, dk and dv are written, from d_o and what forward left in y; parallel over (tree, key/value
 * head). */
void attend_batch_backward(real *dq, real *dk, real *dv, const real *d_o, const AttentionRows *y,
                           AttentionScratch *s, const ModelConfig *c, const Batch *b);

#endif
