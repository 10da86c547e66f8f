/* attention.c: E14 to E17 over tiles: every step is a small matrix product (gemm_block) or a row of softmax.
 *
 * In this order: layouts, forward, backward, and both over a batch. Not here: attention to a cache
 * (rollout.c). */
#include "net/attention.h"

#include <string.h>

#include "lib/threads.h"
#include "lib/vector.h"

enum { LANES = 16, FORWARD_TILE = GEMM_ROWS };

static size_t round16(size_t n) { return (n + LANES - 1) / LANES * LANES; }

/* ---- layouts ---- */

size_t attention_panels(int n, int head_dim) { return round16((size_t)n) * round16((size_t)head_dim); }

void attention_transpose_one(real *panel, int u, const real *row, int head_dim) {
    real *to = panel + (size_t)(u / LANES) * (size_t)(head_dim * LANES) + u % LANES;
    for (int j = 0; j < head_dim; j++) to[j * LANES] = row[j];
}

void attention_transpose(real *panel, const real *row, int n, int ld, int head_dim) {
    for (int u = 0; u < n; u += LANES, panel += head_dim * LANES, row += (size_t)LANES * (size_t)ld) {
        if (n - u < LANES) {
            memset(panel, 0, (size_t)(head_dim * LANES) * sizeof(real));
            for (int i = 0; i < n - u; i++)
                attention_transpose_one(panel, i, row + (size_t)i * (size_t)ld, head_dim);
        } else
            for (int j = 0; j < head_dim; j++)
                for (int i = 0; i < LANES; i++)
                    panel[j * LANES + i] = row[(size_t)i * (size_t)ld + (size_t)j];
    }
}

void attention_columns_one(real *panel, size_t stride, int u, const real *row, int head_dim) {
    real *to = panel + (size_t)u * LANES;
    int j = 0;
    for (; j + LANES <= head_dim; j += LANES, to += stride) memcpy(to, row + j, LANES * sizeof(real));
    for (int i = j; i < head_dim; i++) to[i - j] = row[i];
    for (int i = head_dim; j < head_dim && i < j + LANES; i++) to[i - j] = 0;
}

void attention_columns(real *panel, size_t stride, const real *row, int n, int ld, int head_dim) {
    for (int u = 0; u < n; u++)
        attention_columns_one(panel, stride, u, row + (size_t)u * (size_t)ld, head_dim);
}

size_t attention_scratch(size_t n_key, int head_dim) {
    return ATTENTION_TILE * (round16(n_key) + LANES) + 2 * ATTENTION_TILE * round16((size_t)head_dim);
}

/* ---- E14 to E16 ---- */

/* Positions that the last of n_row queries sees. */
static int seen(const KeySpan *span, int n_span, int first, int n_row) {
    int n = first + n_row;
    for (int i = 0; i + 1 < n_span; i++) n += span[i].n;
    return n;
}

/* Distance of rows of scores: a span is computed up to whole panels, and what is too much then reaches no
 * other row. */
static size_t score_ld(size_t width, int n_span) { return n_span > 1 ? width + LANES : width; }

/* Products with K^T (or V^T) of all spans: s [n_row, ld] = x times it, for the positions that the last query
 * sees and some more. */
static void dots(real *s, size_t ld, const real *x, int x_ld, int n_row, const KeySpan *span, int n_span,
                 int first, int head_dim, bool values) {
    for (int i = 0; i < n_span; i++) {
        const int n = i + 1 < n_span ? span[i].n : first + n_row;
        gemm_block(s, ld, x, (size_t)x_ld, 1, values ? span[i].value_t : span[i].key_t,
                   (size_t)(head_dim * LANES), n_row, (int)round16((size_t)n), head_dim, true);
        s += n;
    }
}

/* y [n_row, y_ld] = p times the rows of V (or K) of all spans, chains going on from span to span. */
static void mix(real *y, int y_ld, const real *p, size_t ld, int n_row, const KeySpan *span, int n_span,
                int first, int head_dim, bool keys) {
    for (int i = 0; i < n_span; i++) {
        const int n = i + 1 < n_span ? span[i].n : first + n_row;
        gemm_block(y, (size_t)y_ld, p, ld, 1, keys ? span[i].key : span[i].value, span[i].value_stride, n_row,
                   head_dim, n, i == 0);
        p += n;
    }
}

/* What query `row` of the tile does not see, up to whole lanes, becomes -infinity: exp gives 0 there,
 * exactly. */
static void hide(real *s, int n, size_t end) {
    for (size_t u = (size_t)n; u < end; u++) s[u] = -INFINITY;
}

void attend(real *o, real *max, real *sum, int stat_ld, real *score, const real *q, int ld, int n_row,
            const KeySpan *span, int n_span, int first, int head_dim) {
    const real scale = (real)(1 / sqrt((double)head_dim));
    for (int t = 0, rows; t < n_row; t += rows) {
        rows = n_row - t < FORWARD_TILE ? n_row - t : FORWARD_TILE;
        const int n = seen(span, n_span, first + t, rows);
        const size_t width = round16((size_t)n), s_ld = score_ld(width, n_span);
        dots(score, s_ld, q + (size_t)t * (size_t)ld, ld, rows, span, n_span, first + t, head_dim, false);
        for (int i = 0; i < rows; i++) {
            real *s = score + (size_t)i * s_ld, row_max, row_sum;
            hide(s, n - rows + i + 1, width);
            r_softmax(s, scale, &row_max, &row_sum, width);
            const size_t stat = (size_t)(t + i) * (size_t)stat_ld;
            if (max) max[stat] = row_max, sum[stat] = row_sum;
        }
        mix(o + (size_t)t * (size_t)ld, ld, score, s_ld, rows, span, n_span, first + t, head_dim, false);
    }
}

/* A cache of many sequences is larger than a processor's: what is read next is asked for ahead. */
static void fetch_values(const KeySpan *own, int head_dim) {
    for (int j = 0; j < head_dim; j += LANES)
        vector_fetch(own->value + (size_t)(j / LANES) * own->value_stride, (size_t)own->n * LANES);
}

void attend_apart(real *o, real *score, const real *q, int ld, int n_row, const KeySpan *common,
                  const KeySpan *own, int head_dim) {
    const real scale = (real)(1 / sqrt((double)head_dim)), *panel[GEMM_APART];
    const size_t n = (size_t)common->n, n_own = (size_t)own->n, width = round16(n + n_own),
                 s_ld = score_ld(width, 2), d = (size_t)head_dim;
    for (int i = 0; i < n_row; i++) vector_fetch(own[i].key_t, round16(n_own) * d);
    gemm_block(score, s_ld, q, (size_t)ld, 1, common->key_t, d * LANES, n_row, (int)round16(n), head_dim,
               true);
    for (size_t u = 0; u < n_own; u += LANES) {
        for (int i = 0; i < n_row; i++) panel[i] = own[i].key_t + u * d;
        gemm_apart(score + n + u, s_ld, q, (size_t)ld, panel, n_row, head_dim, true);
    }
    for (int i = 0; i < n_row; i++) {
        real *s = score + (size_t)i * s_ld, max, sum;
        fetch_values(&own[i], head_dim);
        hide(s, (int)(n + n_own), width);
        r_softmax(s, scale, &max, &sum, width);
    }
    gemm_block(o, (size_t)ld, score, s_ld, 1, common->value, common->value_stride, n_row, head_dim, common->n,
               true);
    size_t j = 0;
    for (; j + LANES <= d; j += LANES) {
        for (int i = 0; i < n_row; i++) panel[i] = own[i].value + j / LANES * own[i].value_stride;
        gemm_apart(o + j, (size_t)ld, score + n, s_ld, panel, n_row, own->n, false);
    }
    /* what is left of a head whose dimension is no multiple of 16 */
    for (int i = 0; i < n_row && j < d; i++)
        gemm_block(o + (size_t)i * (size_t)ld + j, (size_t)ld, score + (size_t)i * s_ld + n, s_ld, 1,
                   own[i].value + j / LANES * own[i].value_stride, own[i].value_stride, 1, (int)(d - j),
                   own->n, false);
}

/* ---- E17 ---- */

/* drow_u += sum over the tile's queries, ascending, of w_tu x_t: dk from ds and q, dv from p and do. x in
 * panels of columns. */
static void add_by_key(real *drow, int kv_ld, const real *w, size_t ld, const real *x_panel, int n, int n_row,
                   int head_dim) {
    gemm_block(drow, (size_t)kv_ld, w, 1, ld, x_panel, ATTENTION_TILE * LANES, n, head_dim, n_row, false);
}

void attend_backward(real *dq, real *p, real *ds, const real *q, const real *o, const real *d_o, int ld,
                     const real *max, const real *sum, int stat_ld, int n_row, const KeySpan *span,
                     int n_span, int first, int head_dim, int kv_ld) {
    const real scale = (real)(1 / sqrt((double)head_dim));
    const size_t panels = ATTENTION_TILE * round16((size_t)head_dim);
    real *q_panel = p, *d_o_panel = p + panels;         /* at the head of p's scratch */
    p += 2 * panels;
    for (int t = 0, rows; t < n_row; t += rows) {
        rows = n_row - t < ATTENTION_TILE ? n_row - t : ATTENTION_TILE;
        const int n = seen(span, n_span, first + t, rows);
        const size_t width = round16((size_t)n), s_ld = score_ld(width, n_span), at = (size_t)t * (size_t)ld;
        dots(p, s_ld, q + at, ld, rows, span, n_span, first + t, head_dim, false);
        dots(ds, s_ld, d_o + at, ld, rows, span, n_span, first + t, head_dim, true);
        for (int i = 0; i < rows; i++) {
            real *p_row = p + (size_t)i * s_ld, *ds_row = ds + (size_t)i * s_ld;
            const size_t row = at + (size_t)i * (size_t)ld, stat = (size_t)(t + i) * (size_t)stat_ld;
            hide(p_row, n - rows + i + 1, width);
            for (size_t u = (size_t)n; u < width; u++) ds_row[u] = 0;
            r_softmax_backward(p_row, ds_row, scale, max[stat], sum[stat],
                               r_dot(d_o + row, o + row, (size_t)head_dim), width);
        }
        mix(dq + at, ld, ds, s_ld, rows, span, n_span, first + t, head_dim, true);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < head_dim; j++) dq[at + (size_t)i * (size_t)ld + (size_t)j] *= scale;
        attention_columns(q_panel, ATTENTION_TILE * LANES, q + at, rows, ld, head_dim);
        attention_columns(d_o_panel, ATTENTION_TILE * LANES, d_o + at, rows, ld, head_dim);
        for (int i = 0, u = 0; i < n_span; i++) {
            const int keys = i + 1 < n_span ? span[i].n : first + t + rows;
            add_by_key(span[i].dk, kv_ld, ds + u, s_ld, q_panel, keys, rows, head_dim);
            add_by_key(span[i].dv, kv_ld, p + u, s_ld, d_o_panel, keys, rows, head_dim);
            u += keys;
        }
    }
}

/* ---- a batch ---- */

AttentionScratch attention_sizes(int max_path) {
    return (AttentionScratch){.n_thread = thread_count(), .key_cap = round16((size_t)max_path) + 2 * LANES};
}

void attention_layout(AttentionScratch *s, Arena *a, int head_dim, bool backward) {
    const size_t threads = (size_t)s->n_thread,
                 panels = s->key_cap * round16((size_t)head_dim) * sizeof(real),
                 scratch = attention_scratch(s->key_cap, head_dim) * sizeof(real);
    s->key_t = arena_take(a, threads, panels);
    s->value = arena_take(a, threads, panels);
    s->score = arena_take(a, threads, scratch);
    if (!backward) return;
    s->value_t = arena_take(a, threads, panels);
    s->key = arena_take(a, threads, panels);
    s->dscore = arena_take(a, threads, scratch);
}

/* The keys and values of a segment for key/value head g, laid out in the calling thread's panels from
 * position `at` on. */
static KeySpan lay_out(const AttentionScratch *s, const ModelConfig *c, const Segment *seg, int g, size_t at,
                       const real *k, const real *v, bool backward) {
    const int d = c->head_dim, ld = c->n_kv_head * d;
    const size_t from = ((size_t)thread_index() * s->key_cap + at) * round16((size_t)d),
                 first = (size_t)seg->start * (size_t)ld + (size_t)(g * d);
    KeySpan span = {.n = seg->n_row, .key_t = s->key_t + from, .value_stride = (size_t)seg->n_row * LANES};
    attention_transpose(span.key_t, k + first, seg->n_row, ld, d);
    if (!backward) {
        span.value = s->value + from;
        attention_columns(span.value, span.value_stride, v + first, seg->n_row, ld, d);
        return span;
    }
    span.value_t = s->value_t + from;
    span.key = s->key + from;
    attention_transpose(span.value_t, v + first, seg->n_row, ld, d);
    attention_columns(span.key, span.value_stride, k + first, seg->n_row, ld, d);
    return span;
}

void attend_batch(const AttentionRows *y, AttentionScratch *s, const ModelConfig *c, const Batch *b) {
    const int d = c->head_dim, q_ld = c->n_head * d, per = c->n_head / c->n_kv_head;
    #pragma omp parallel for schedule(dynamic, 1) num_threads(s->n_thread) \
                if (threads_worth((size_t)b->n_row * (size_t)q_ld * s->key_cap / 16))
    for (int unit = 0; unit < b->n_seg * c->n_kv_head; unit++) {
        const Segment *seg = &b->seg[unit / c->n_kv_head];
        const int g = unit % c->n_kv_head;
        real *score = s->score + (size_t)thread_index() * attention_scratch(s->key_cap, d);
        KeySpan span[2];
        int n_span = 0;
        if (seg->prefix >= 0) span[n_span++] = lay_out(s, c, &b->seg[seg->prefix], g, 0, y->k, y->v, false);
        span[n_span] = lay_out(s, c, seg, g, n_span ? round16((size_t)span[0].n) : 0, y->k, y->v, false);
        for (int j = g * per; j < (g + 1) * per; j++) {
            const size_t q = (size_t)seg->start * (size_t)q_ld + (size_t)(j * d),
                         stat = (size_t)seg->start * (size_t)c->n_head + (size_t)j;
            attend(y->o + q, y->max + stat, y->sum + stat, c->n_head, score, y->q + q, q_ld, seg->n_row, span,
                   n_span + 1, 0, d);
        }
    }
}

/* A thread owns dk and dv of all rows of its tree, and takes heads, then segments, then rows in ascending
 * order: one chain for each key row. */
void attend_batch_backward(real *dq, real *dk, real *dv, const real *d_o, const AttentionRows *y,
                           AttentionScratch *s, const ModelConfig *c, const Batch *b) {
    const int d = c->head_dim, kv_ld = c->n_kv_head * d, q_ld = c->n_head * d, per = c->n_head / c->n_kv_head;
    const size_t scratch = attention_scratch(s->key_cap, d);
    const real scale = (real)(1 / sqrt((double)d));
    #pragma omp parallel for schedule(dynamic, 1) num_threads(s->n_thread) \
                if (threads_worth((size_t)b->n_row * (size_t)q_ld * s->key_cap / 16))
    for (int unit = 0; unit < b->n_seg * c->n_kv_head; unit++) {
        const int root = unit / c->n_kv_head, g = unit % c->n_kv_head;
        if (b->seg[root].prefix >= 0) continue;
        int end = root + 1;
        while (end < b->n_seg && b->seg[end].prefix == root) end++;
        const int row_end = b->seg[end - 1].start + b->seg[end - 1].n_row;
        real *p = s->score + (size_t)thread_index() * scratch,
             *ds = s->dscore + (size_t)thread_index() * scratch;
        for (int t = b->seg[root].start; t < row_end; t++) {
            memset(dk + (size_t)t * (size_t)kv_ld + g * d, 0, (size_t)d * sizeof(real));
            memset(dv + (size_t)t * (size_t)kv_ld + g * d, 0, (size_t)d * sizeof(real));
        }
        KeySpan span[2];                                        /* the prompt's panels stay */
        for (int j = g * per; j < (g + 1) * per; j++)
            for (int i = root; i < end; i++) {
                const Segment *seg = &b->seg[i];
                KeySpan *own = &span[i > root];
                if (i > root || j == g * per) {
                    *own = lay_out(s, c, seg, g, i > root ? round16((size_t)span[0].n) : 0, y->k, y->v, true);
                    own->dk = dk + (size_t)seg->start * (size_t)kv_ld + (size_t)(g * d);
                    own->dv = dv + (size_t)seg->start * (size_t)kv_ld + (size_t)(g * d);
                }
                const size_t q = (size_t)seg->start * (size_t)q_ld + (size_t)(j * d),
                             stat = (size_t)seg->start * (size_t)c->n_head + (size_t)j;
                attend_backward(dq + q, p, ds, y->q + q, y->o + q, d_o + q, q_ld, y->max + stat,
                                y->sum + stat, c->n_head, seg->n_row, span, i == root ? 1 : 2, 0, d, kv_ld);
            }
        for (int t = b->seg[root].start; t < row_end; t++)
            for (int j = 0; j < d; j++) dk[(size_t)t * (size_t)kv_ld + (size_t)(g * d + j)] *= scale;
    }
}
