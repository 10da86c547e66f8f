/* model.c: from tokens to log-probabilities, and back.
 *
 * In this order: the pieces (norm, rotation), the memory of a pass, the linear maps of a layer, its two
 * halves, the trunk, the heads; each backward stands below its forward, and each of its lines below the
 * forward line that it undoes. Not here: parameters (net/params.c), attention (net/attention.c), one row of
 * logits (net/logits.c), files (net/folder.c), decoding with a cache (run/rollout.c), losses (grpo.c). The
 * order of every sum is promised (docs/numerics.md); where a loop is parallel, each thread owns its outputs.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "lib/threads.h"
#include "net/flops.h"

enum { CHUNK_ROWS = 192, KEPT_LOGITS = 1 << 25 };

/* ---- E7, E8: norms ---- */

/* E7 once r is known. */
static void rms_norm_known(real *y, const real *x, const real *w, real r, int n) {
    for (int j = 0; j < n; j++) y[j] = w[j] * (x[j] * r);
}

void rms_norm(real *y, real *r, const real *x, const real *w, int n, double eps) {
    const real scale = 1 / r_sqrt(r_dot(x, x, (size_t)n) / (real)n + (real)eps);
    rms_norm_known(y, x, w, scale, n);
    if (r) *r = scale;
}

void rms_norm_backward(real *dx, const real *dy, const real *x, const real *w, real r, int n) {
    const real pull = r_dot3(dy, w, x, (size_t)n) / (real)n * r * r;
    for (int j = 0; j < n; j++) dx[j] += r * (dy[j] * w[j] - x[j] * pull);
}

/* Blocks of columns, each summed from top to bottom. */
void rms_norm_weight_backward(real *dw, const real *dy, const real *x, const real *r, size_t n_vec, int n) {
    enum { BLOCK = 32 };
    #pragma omp parallel for schedule(static) if (threads_worth(n_vec * (size_t)n))
    for (int first = 0; first < n; first += BLOCK) {
        const int width = n - first < BLOCK ? n - first : BLOCK;
        real sum[BLOCK];
        memcpy(sum, dw + first, (size_t)width * sizeof(real));
        for (size_t t = 0; t < n_vec; t++) {
            const real *d = dy + t * (size_t)n + first, *v = x + t * (size_t)n + first;
            for (int j = 0; j < width; j++) sum[j] += d[j] * v[j] * r[t];
        }
        memcpy(dw + first, sum, (size_t)width * sizeof(real));
    }
}

static void sum_of(real *y, const real *a, const real *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

/* The same for many rows: those that follow the first `from` of every array here. */
static void norm_rows(real *y, real *r, const real *x, const Param *w, size_t from, size_t n_row,
                      double eps) {
    const size_t h = (size_t)w->cols;
    #pragma omp parallel for schedule(static) if (threads_worth(n_row * h))
    for (size_t t = from; t < from + n_row; t++)
        rms_norm(y + t * h, r + t, x + t * h, w->data, w->cols, eps);
}

static void norm_rows_backward(real *dx, const real *dy, const real *x, const real *r, const Param *w,
                               size_t from, size_t n_row) {
    const size_t h = (size_t)w->cols;
    #pragma omp parallel for schedule(static) if (threads_worth(n_row * h))
    for (size_t t = from; t < from + n_row; t++) {
        memset(dx + t * h, 0, h * sizeof(real));
        rms_norm_backward(dx + t * h, dy + t * h, x + t * h, w->data, r[t], w->cols);
    }
}

/* sum = x + more, y = norm(sum). A row at a time: it stays in the cache. */
static void add_norm_rows(real *y, real *r, real *sum, const real *x, const real *more, const Param *w,
                          size_t from, size_t n_row, double eps) {
    const size_t h = (size_t)w->cols;
    #pragma omp parallel for schedule(static) if (threads_worth(n_row * h))
    for (size_t t = from; t < from + n_row; t++) {
        sum_of(sum + t * h, x + t * h, more + t * h, h);
        rms_norm(y + t * h, r + t, sum + t * h, w->data, w->cols, eps);
    }
}

/* Backward of y = norm(x) where y is read by several maps and x goes on beside it: dy becomes the sum of its
 * parts dy, dy2 and (or NULL) dy3, and dx = dx_beside + norm'(dy); dx may be dy3. y is computed anew, for the
 * gradients of the maps that read it. */
static void add_norm_rows_backward(real *dx, const real *dx_beside, real *dy, const real *dy2,
                                   const real *dy3, real *y, const real *x, const real *r, const Param *w,
                                   size_t from, size_t n_row) {
    const size_t h = (size_t)w->cols;
    const real *weight = w->data;
    #pragma omp parallel for schedule(static) if (threads_worth(n_row * h))
    for (size_t t = from; t < from + n_row; t++) {
        const size_t at = t * h;
        sum_of(dy + at, dy + at, dy2 + at, h);
        if (dy3) sum_of(dy + at, dy + at, dy3 + at, h);
        memcpy(dx + at, dx_beside + at, h * sizeof(real));
        rms_norm_backward(dx + at, dy + at, x + at, weight, r[t], w->cols);
        rms_norm_known(y + at, x + at, weight, r[t], w->cols);
    }
}

static void norm_weight_backward(real *grad, const real *dy, const real *x, const real *r, const Param *w,
                                 size_t n_vec) {
    if (grad && w->trainable) rms_norm_weight_backward(grad + w->offset, dy, x, r, n_vec, w->cols);
}

/* ---- E10, E11: rotation by position ---- */

void rope_apply(real *x, int n_head, int head_dim, const real *cos, const real *sin, bool back) {
    const int half = head_dim / 2;
    for (int j = 0; j < n_head; j++, x += head_dim)
        #pragma omp simd
        for (int i = 0; i < half; i++) {
            const real a = x[i], b = x[i + half], s = back ? -sin[i] : sin[i];
            x[i] = a * cos[i] - b * s;
            x[i + half] = b * cos[i] + a * s;
        }
}

/* ---- the memory of a pass ---- */

/* Values of one layer that its backward pass reads (E196), and derivatives that take their place in it. */
typedef struct {
    real *x, *r_in, *q, *k, *v, *o, *max, *sum, *mid, *r_mid;
    real *q_raw, *k_raw, *r_q, *r_k;    /* before the norm of heads; without one q_raw is q, k_raw is k */
    union { real *gate, *dgate; };      /* r_swiglu_backward writes dgate and dup over gate and up */
    union { real *up, *dup; };
    real *low[LORA_TARGETS];            /* A x of each adapter */
} LayerActs;

struct Acts {
    int max_row, max_target;
    bool keep, checkpoint;              /* checkpoint: layers share all but x */
    size_t held, thread_bytes;          /* of base; the part that grows with the threads */
    LayerActs *layer;                   /* [n_layer]; without keep all the same, with checkpoint all but x */
    real *x_last, *r_last, *hidden;     /* x_last: what the last layer gives */

    /* Of the running layer. Where two names stand in a union, they are two values in one memory, of which
     * the second is written when the first has been read for the last time. */
    real *normed, *normed_mid;
    union { real *dact, *act; };        /* r_swiglu_backward turns dact into act again, for dW_down */
    union { real *branch, *dnormed; };  /* what attention, then the MLP, adds to the stream; backward only */
    union { real *dnormed_mid_up, *dnormed_k; };            /* parts of dnormed_mid and of dnormed */
    union { real *dnormed_v, *dx; };
    real *dx_next, *d_mid, *dnormed_mid, *d_o, *dq, *dk, *dv;
    real *dq_raw, *dk_raw;              /* dq_raw: d_o's memory, once attention's backward has read it;
                                           without a norm of heads it is dq, and dk_raw is dk */
    size_t lora_width;                  /* of a row of lora_wide, whatever the layer: threads are at
                                           different layers at a time */
    real *lora_wide, *lora_low, *lora_dlow[LORA_TARGETS];   /* B u or A^T du; s u; du */

    int *position;                      /* [max_row] */
    const int *id;                      /* of the running call */
    AttentionScratch scratch;
    int logit_rows;                     /* of logits: a chunk, or all targets of a slice where KEPT_LOGITS
                                           allows */
    bool logits_kept;                   /* head_logp left those of all scored rows in logits, divided by the
                                           temperature */
    real *logits, *scored_hidden, *dscored;                 /* the last two: one chunk of rows */
    int *scored_row, *scored_at;        /* [max_target + 1] distinct rows, and the first target of each */
    LogitStats *stats;                  /* [max_target] */

    /* E20 of a trainable tied embedding goes to rows of its own until model_grad_finish. */
    bool tied;
    int n_embed, *embed_id;             /* ids that occurred */
    int *embed_slot, *embed_at;         /* [vocab] their row + 1, or 0; [max_row] the row each row adds to */
    real *embed_row;                    /* [vocab, hidden], owned, zero; memory only where an id occurred */
    unsigned char *base;
};

bool acts_keep_logits(const ModelConfig *c, int max_target) {
    return max_target <= CHUNK_ROWS || max_target <= KEPT_LOGITS / c->vocab;
}

int acts_logits_again(const Acts *a, int n_scored) {
    return a->keep && n_scored <= a->logit_rows ? 0 : n_scored;
}

static void acts_layout(Acts *s, Arena *a, const ModelConfig *c) {
    const size_t n = (size_t)s->max_row, h = (size_t)c->hidden, q = (size_t)c->n_head * (size_t)c->head_dim;
    const size_t kv = (size_t)c->n_kv_head * (size_t)c->head_dim, f = (size_t)c->ffn;
    s->layer = arena_take(a, (size_t)c->n_layer, sizeof *s->layer);
    for (int l = 0; l < c->n_layer; l++) {
        LayerActs t = {0};
        if (l && (!s->keep || s->checkpoint)) {
            if (a->base) t = s->layer[0];
            if (s->checkpoint) t.x = arena_take(a, n, h * sizeof(real));
            if (a->base) s->layer[l] = t;
            continue;
        }
#define TAKE(field, rows, cols) t.field = arena_take(a, (rows), (cols) * sizeof(real))
        TAKE(x, n, h); TAKE(r_in, n, 1);
        TAKE(q, n, q); TAKE(k, n, kv); TAKE(v, n, kv);
        t.q_raw = t.q, t.k_raw = t.k;
        if (c->qk_norm) {
            TAKE(q_raw, n, q); TAKE(k_raw, n, kv);
            TAKE(r_q, n, (size_t)c->n_head); TAKE(r_k, n, (size_t)c->n_kv_head);
        }
        TAKE(o, n, q); TAKE(max, n, (size_t)c->n_head); TAKE(sum, n, (size_t)c->n_head);
        TAKE(mid, n, h); TAKE(r_mid, n, 1);
        TAKE(gate, n, f); TAKE(up, n, f);
        for (int i = 0; i < LORA_TARGETS; i++)
            if (c->lora.r && c->lora.target >> i & 1) TAKE(low[i], n, (size_t)c->lora.r);
#undef TAKE
        if (a->base) s->layer[l] = t;
    }
#define TAKE(field, rows, cols) s->field = arena_take(a, (rows), (cols) * sizeof(real))
    TAKE(x_last, n, h); TAKE(r_last, n, 1); TAKE(hidden, n, h);
    TAKE(normed, n, h); TAKE(normed_mid, n, h); TAKE(act, n, f); TAKE(branch, n, h);
    s->lora_width = q > f ? (q > h ? q : h) : f > h ? f : h;
    if (c->lora.r) TAKE(lora_wide, n, s->lora_width);
    if (c->lora.r && s->keep) TAKE(lora_low, n, (size_t)c->lora.r);
    for (int i = 0; i < LORA_TARGETS && s->keep; i++)
        if (c->lora.r && c->lora.target >> i & 1) TAKE(lora_dlow[i], n, (size_t)c->lora.r);
    const size_t before = a->used;
    attention_layout(&s->scratch, a, c->head_dim, s->keep);
    s->thread_bytes = a->used - before;
    if (s->keep) {
        TAKE(dnormed_k, n, h); TAKE(dx, n, h); TAKE(dx_next, n, h);
        TAKE(d_mid, n, h); TAKE(dnormed_mid, n, h);
        TAKE(dq, n, q); TAKE(dk, n, kv); TAKE(dv, n, kv); TAKE(d_o, n, q);
        s->dq_raw = s->dq, s->dk_raw = s->dk;
        if (c->qk_norm) { s->dq_raw = s->d_o; TAKE(dk_raw, n, kv); }
    }
    if (s->max_target) {
        s->logit_rows = s->max_target < CHUNK_ROWS ? s->max_target : CHUNK_ROWS;
        if (s->keep && acts_keep_logits(c, s->max_target)) s->logit_rows = s->max_target;
        TAKE(logits, (size_t)s->logit_rows, (size_t)c->vocab);
        TAKE(scored_hidden, CHUNK_ROWS, h);
        TAKE(dscored, CHUNK_ROWS, h);
        s->scored_row = arena_take(a, (size_t)s->max_target, sizeof(int));
        s->scored_at = arena_take(a, (size_t)s->max_target + 1, sizeof(int));
        s->stats = arena_take(a, (size_t)s->max_target, sizeof(LogitStats));
    }
#undef TAKE
    s->position = arena_take(a, n, sizeof(int));
    if (!s->tied) return;
    s->embed_id = arena_take(a, (size_t)c->vocab, sizeof(int));
    s->embed_slot = arena_take(a, (size_t)c->vocab, sizeof(int));
    s->embed_at = arena_take(a, n, sizeof(int));
}

static size_t embed_row_bytes(const Acts *s, const ModelConfig *c) {
    return s->tied ? (size_t)c->vocab * (size_t)c->hidden * sizeof(real) : 0;
}

static Acts acts_sizes(const ModelConfig *c, int max_row, int max_target, bool keep) {
    return (Acts){.max_row = max_row, .max_target = max_target, .keep = keep,
                  .tied = keep && c->tied && !c->n_label && !model_base_is_frozen(c),
                  .checkpoint = keep && c->checkpointing,
                  .scratch = attention_sizes(max_row < c->context ? max_row : c->context)};
}

size_t acts_bytes(const ModelConfig *c, int max_row, int max_target, bool keep) {
    Acts s = acts_sizes(c, max_row, max_target, keep);
    Arena a = {0};
    acts_layout(&s, &a, c);
    return a.used + embed_row_bytes(&s, c);
}

size_t acts_thread_bytes(const ModelConfig *c, int max_row, bool keep) {
    Acts s = acts_sizes(c, max_row, 0, keep);
    Arena a = {0};
    acts_layout(&s, &a, c);
    return s.thread_bytes;
}

size_t acts_held(const Acts *a) { return a->held - a->thread_bytes; }

Acts *acts_new(const Model *m, int max_row, int max_target, bool keep, Err *e) {
    Acts *s = calloc(1, sizeof *s);
    if (!s) { fail(e, "activations: no memory"); return NULL; }
    *s = acts_sizes(&m->config, max_row, max_target, keep);
    Arena count = {0};
    acts_layout(s, &count, &m->config);
    Arena a = {.base = memory_new(count.used, "activations", e)};
    if (!a.base) { free(s); return NULL; }
    s->base = a.base;
    acts_layout(s, &a, &m->config);
    s->held = a.used + embed_row_bytes(s, &m->config);
    /* not memory_new: pages come as they are touched */
    if (s->tied && !(s->embed_row = calloc(embed_row_bytes(s, &m->config), 1))) {
        fail(e, "activations: no memory for the gradients of embeddings");
        acts_free(s);
        return NULL;
    }
    return s;
}

void acts_free(Acts *a) {
    if (!a) return;
    memory_free(a->base);
    free(a->embed_row);
    free(a);
}

/* ---- the linear maps of a layer, each with its adapter if it has one (E290, E291) ---- */

/* y = W x + b for rows [from, from + n) of x and y; n_y maps of the same x, for which threads meet once. */
typedef struct { real *y; LoraTarget map; } Projection;
static void project(const Projection *y, int n_y, Acts *a, const Model *m, int l, const real *x, int from,
                    int n) {
    GemmNt list[GEMM_LIST];
    const size_t at = (size_t)from;
    const int n_in = model_linear(m, l, y->map)->cols;
    x += at * (size_t)n_in;
    for (int i = 0; i < n_y; i++) {
        const Param *w = model_linear(m, l, y[i].map), *bias = model_bias(m, l, y[i].map);
        list[i] = (GemmNt){.y = y[i].y + at * (size_t)w->rows, .packed = param_packed(m, w),
                           .store = w->store, .bias = bias ? bias->data : NULL, .n_out = w->rows};
    }
    gemm_nt_list(list, n_y, x, n, n_in);
    for (int i = 0; i < n_y; i++) {
        Param *const *ab = model_adapter(m, l, y[i].map);
        if (!ab) continue;
        const LoraShape shape = model_adapter_shape(m, ab);
        lora_forward(list[i].y, a->layer[l].low[y[i].map] + at * (size_t)shape.r,
                     a->lora_wide + at * a->lora_width, (const real *)param_packed(m, ab[0]),
                     (const real *)param_packed(m, ab[1]), x, n, &shape);
    }
}

/* dx = W^T dy for rows [from, from + n). */
static void project_backward(real *dx, Acts *a, const Model *m, int l, LoraTarget map, const real *dy,
                             int from, int n) {
    const Param *w = model_linear(m, l, map);
    Param *const *ab = model_adapter(m, l, map);
    const size_t at = (size_t)from;
    dx += at * (size_t)w->cols;
    dy += at * (size_t)w->rows;
    gemm_nn(dx, w->cols, dy, w->rows, w->data, w->store, n, w->rows, w->cols);
    if (!ab) return;
    const LoraShape shape = model_adapter_shape(m, ab);
    lora_backward(dx, a->lora_dlow[map] + at * (size_t)shape.r, a->lora_wide + at * a->lora_width, dy,
                  ab[0]->data, ab[1]->data, n, &shape);
}

/* dW += sum_t dy_t x_t of all rows goes to the list, db, dA and dB are added to at once. */
static void project_weights(GemmTn *list, int *n_list, real *grad, Acts *a, const Model *m, int l,
                            LoraTarget map, const real *dy, const real *x, int n) {
    const Param *w = model_linear(m, l, map), *bias = model_bias(m, l, map);
    Param *const *ab = model_adapter(m, l, map);
    if (w->trainable)
        list[(*n_list)++] = (GemmTn){.dw = grad + w->offset, .dy = dy, .x = x, .m = n, .n_out = w->rows,
                                     .n_in = w->cols};
    if (bias && bias->trainable) gemm_bias_backward(grad + bias->offset, dy, w->rows, n, w->rows);
    if (!ab) return;
    const LoraShape shape = model_adapter_shape(m, ab);
    lora_backward_weights(grad + ab[0]->offset, grad + ab[1]->offset, a->lora_low, dy, x,
                          a->layer[l].low[map], a->lora_dlow[map], n, &shape);
}

/* ---- a layer: its two halves, for rows [from, from + n) ---- */

/* Turns q and k by their position (E10), or a derivative by those back (E11). */
static void rope_rows(real *q, real *k, const Acts *a, const Model *m, int from, int n, bool back) {
    const ModelConfig *c = &m->config;
    const size_t half = (size_t)c->head_dim / 2, q_ld = 2 * half * (size_t)c->n_head,
                 k_ld = 2 * half * (size_t)c->n_kv_head;
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (q_ld + k_ld) / 2))
    for (int t = from; t < from + n; t++) {
        const size_t angle = (size_t)a->position[t] * half, row = (size_t)t;
        rope_apply(q + row * q_ld, c->n_head, c->head_dim, m->rope_cos + angle, m->rope_sin + angle, back);
        rope_apply(k + row * k_ld, c->n_kv_head, c->head_dim, m->rope_cos + angle, m->rope_sin + angle, back);
    }
}

/* The first half up to attention: x to q, k, v (E2, E13). */
static void layer_qkv(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t at = (size_t)from, rows = (size_t)n, heads = (size_t)c->n_head, kv = (size_t)c->n_kv_head;
    norm_rows(a->normed, y->r_in, y->x, p[P_NORM_IN], at, rows, c->norm_eps);
    project((Projection[]){{y->q_raw, LORA_Q}, {y->k_raw, LORA_K}, {y->v, LORA_V}}, 3, a, m, l, a->normed,
            from, n);
    if (c->qk_norm) {
        norm_rows(y->q, y->r_q, y->q_raw, p[P_QN], at * heads, rows * heads, c->norm_eps);
        norm_rows(y->k, y->r_k, y->k_raw, p[P_KN], at * kv, rows * kv, c->norm_eps);
    }
    rope_rows(y->q, y->k, a, m, from, n, false);
}

/* From dq, dk, dv to dx. */
static void layer_qkv_backward(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t at = (size_t)from, rows = (size_t)n, heads = (size_t)c->n_head, kv = (size_t)c->n_kv_head;
    /* forward: q and k are turned by their position */
    rope_rows(a->dq, a->dk, a, m, from, n, true);
    /* forward: q = norm(q_raw), k = norm(k_raw), head by head */
    if (c->qk_norm) {
        norm_rows_backward(a->dq_raw, a->dq, y->q_raw, y->r_q, p[P_QN], at * heads, rows * heads);
        norm_rows_backward(a->dk_raw, a->dk, y->k_raw, y->r_k, p[P_KN], at * kv, rows * kv);
    }
    /* forward: q_raw = Wq normed, k_raw = Wk normed, v = Wv normed */
    project_backward(a->dnormed, a, m, l, LORA_Q, a->dq_raw, from, n);
    project_backward(a->dnormed_k, a, m, l, LORA_K, a->dk_raw, from, n);
    project_backward(a->dnormed_v, a, m, l, LORA_V, a->dv, from, n);
    /* forward: normed = norm(x), and mid = x + ... (E21) */
    add_norm_rows_backward(a->dx, a->d_mid, a->dnormed, a->dnormed_k, a->dnormed_v, a->normed, y->x, y->r_in,
                           p[P_NORM_IN], at, rows);
}

static AttentionRows layer_attention(const LayerActs *y, int n) {
    return (AttentionRows){.n_row = n, .q = y->q, .k = y->k, .v = y->v, .o = y->o, .max = y->max,
                           .sum = y->sum};
}

/* The rest of the first half, and the second one (E3) up to its last map. */
static void layer_mid_and_act(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    const size_t f = (size_t)c->ffn;
    project(&(Projection){a->branch, LORA_O}, 1, a, m, l, y->o, from, n);
    add_norm_rows(a->normed_mid, y->r_mid, y->mid, y->x, a->branch, m->layer[l][P_NORM_POST], (size_t)from,
                  (size_t)n, c->norm_eps);
    project((Projection[]){{y->gate, LORA_GATE}, {y->up, LORA_UP}}, 2, a, m, l, a->normed_mid, from, n);
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * f))
    for (size_t row = (size_t)from * f; row < (size_t)(from + n) * f; row += f)
        r_swiglu(a->act + row, y->gate + row, y->up + row, f);
}

/* From o to x of the next layer. */
static void layer_out(Acts *a, const Model *m, int l, int from, int n) {
    const real *mid = a->layer[l].mid, *branch = a->branch;
    real *x_next = l + 1 < m->config.n_layer ? a->layer[l + 1].x : a->x_last;
    const size_t h = (size_t)m->config.hidden, end = (size_t)(from + n) * h;
    layer_mid_and_act(a, m, l, from, n);
    project(&(Projection){a->branch, LORA_DOWN}, 1, a, m, l, a->act, from, n);
    #pragma omp parallel for simd schedule(static) if (threads_worth((size_t)n * h / 4))
    for (size_t i = (size_t)from * h; i < end; i++) x_next[i] = mid[i] + branch[i];
}

/* From dx_next to d_mid and d_o. */
static void layer_out_backward(Acts *a, const Model *m, int l, int from, int n) {
    const LayerActs *y = &a->layer[l];
    const size_t f = (size_t)m->config.ffn;
    /* forward: x_next = mid + Wd act */
    project_backward(a->dact, a, m, l, LORA_DOWN, a->dx_next, from, n);
    /* forward: act = silu(gate) * up */
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * f))
    for (size_t row = (size_t)from * f; row < (size_t)(from + n) * f; row += f)
        r_swiglu_backward(a->dact + row, y->gate + row, y->up + row, f);
    /* forward: gate = Wg normed_mid, up = Wu normed_mid */
    project_backward(a->dnormed_mid, a, m, l, LORA_GATE, y->dgate, from, n);
    project_backward(a->dnormed_mid_up, a, m, l, LORA_UP, y->dup, from, n);
    /* forward: normed_mid = norm(mid), and x_next = mid + ... (E21) */
    add_norm_rows_backward(a->d_mid, a->dx_next, a->dnormed_mid, a->dnormed_mid_up, NULL, a->normed_mid,
                           y->mid, y->r_mid, m->layer[l][P_NORM_POST], (size_t)from, (size_t)n);
    /* forward: mid = x + Wo o */
    project_backward(a->d_o, a, m, l, LORA_O, a->d_mid, from, n);
}

/* Gradients of the layer's weights: chains over all rows, which a thread therefore never shares. */
static void layer_weights_backward(real *grad, Acts *a, const Model *m, int l, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t rows = (size_t)n;
    GemmTn list[LORA_TARGETS];
    int n_list = 0;
    project_weights(list, &n_list, grad, a, m, l, LORA_DOWN, a->dx_next, a->act, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_GATE, y->dgate, a->normed_mid, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_UP, y->dup, a->normed_mid, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_O, a->d_mid, y->o, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_Q, a->dq_raw, a->normed, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_K, a->dk_raw, a->normed, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_V, a->dv, a->normed, n);
    gemm_tn_list(list, n_list);
    norm_weight_backward(grad, a->dnormed_mid, y->mid, y->r_mid, p[P_NORM_POST], rows);
    norm_weight_backward(grad, a->dnormed, y->x, y->r_in, p[P_NORM_IN], rows);
    if (!c->qk_norm) return;
    norm_weight_backward(grad, a->dq, y->q_raw, y->r_q, p[P_QN], rows * (size_t)c->n_head);
    norm_weight_backward(grad, a->dk, y->k_raw, y->r_k, p[P_KN], rows * (size_t)c->n_kv_head);
}

/* ---- the trunk ---- */

/* All of a layer but attention concerns each row alone. So a thread takes a block of rows through it, whose
 * activations stay in its cache, and threads meet only where attention begins and ends. Few rows are one
 * block, computed by all threads together, operation by operation: a block must repay reading the weights. */
static int block_count(const Acts *a, const Model *m, int n) {
    enum { MOST = 192, CACHED = 1 << 18 };
    const int threads = a->scratch.n_thread < thread_count() ? a->scratch.n_thread : thread_count();
    const double weights = model_forward_flops(&m->config, 1, 0, 0) / 2 / m->config.n_layer;
    return n < (weights < CACHED ? 32 : 96) * threads ? 1 : ((n - 1) / MOST / threads + 1) * threads;
}

/* Where block i of n rows begins: all but the last hold whole kernels. */
static int block_start(int n, int i, int blocks) {
    return i == blocks ? n : (int)((long long)n * i / blocks / GEMM_ROWS * GEMM_ROWS);
}

/* Part of a layer for all rows, block by block. One block is no parallel region: in a region of one thread,
 * those that the operations open would have to make their threads anew each time. */
typedef void LayerRows(Acts *a, const Model *m, int l, int from, int n);
static void by_blocks(LayerRows *part, Acts *a, const Model *m, int l, int n) {
    const int blocks = block_count(a, m, n);
    if (blocks == 1) { part(a, m, l, 0, n); return; }
    #pragma omp parallel for schedule(dynamic, 1) num_threads(a->scratch.n_thread)
    for (int i = 0; i < blocks; i++) {
        const int from = block_start(n, i, blocks), end = block_start(n, i + 1, blocks);
        if (end > from) part(a, m, l, from, end - from);
    }
}

/* What a block of rows goes through in one piece: the way to the first attention, ... */
static void embed_qkv(Acts *a, const Model *m, int l, int from, int n) {
    const Param *w = m->embed;
    const size_t h = (size_t)w->cols, bytes = h * store_size(w->store);
    for (int t = from; t < from + n; t++)                       /* E1: x_0 = W_E[id] */
        store_to_real(a->layer[0].x + (size_t)t * h,
                      (const unsigned char *)w->data + (size_t)a->id[t] * bytes, w->store, h);
    layer_qkv(a, m, l, from, n);
}

/* ... from that of layer l to the next, ... */
static void layer_out_next_qkv(Acts *a, const Model *m, int l, int from, int n) {
    layer_out(a, m, l, from, n);
    layer_qkv(a, m, l + 1, from, n);
}

/* ... and from the last to the hidden rows. */
static void layer_out_hidden(Acts *a, const Model *m, int l, int from, int n) {
    layer_out(a, m, l, from, n);
    norm_rows(a->hidden, a->r_last, a->x_last, m->norm, (size_t)from, (size_t)n, m->config.norm_eps);
}

const real *model_rows(Acts *a, const Model *m, const int *id, const int *position, int n,
                       Attention *attention, void *context) {
    if (position != a->position) memcpy(a->position, position, (size_t)n * sizeof(int));
    a->id = id;
    by_blocks(embed_qkv, a, m, 0, n);
    for (int l = 0; l < m->config.n_layer; l++) {
        const AttentionRows rows = layer_attention(&a->layer[l], n);
        attention(context, l, &rows);
        by_blocks(l + 1 < m->config.n_layer ? layer_out_next_qkv : layer_out_hidden, a, m, l, n);
    }
    return a->hidden;
}

typedef struct { Acts *a; const Model *m; const Batch *b; KeySink *sink; void *to; } BatchAttention;

static void batch_attention(void *context, int layer, const AttentionRows *rows) {
    const BatchAttention *f = context;
    if (f->sink) f->sink(f->to, layer, rows->k, rows->v);
    attend_batch(rows, &f->a->scratch, &f->m->config, f->b);
}

const real *model_forward_keys(Acts *a, const Model *m, const Batch *b, KeySink *sink, void *to) {
    for (int i = 0; i < b->n_seg; i++) {        /* E30, E31 */
        const int before = b->seg[i].prefix < 0 ? 0 : b->seg[b->seg[i].prefix].n_row;
        for (int t = 0; t < b->seg[i].n_row; t++) a->position[b->seg[i].start + t] = before + t;
    }
    BatchAttention f = {.a = a, .m = m, .b = b, .sink = sink, .to = to};
    return model_rows(a, m, b->id, a->position, b->n_row, batch_attention, &f);
}

const real *model_forward(Acts *a, const Model *m, const Batch *b) {
    return model_forward_keys(a, m, b, NULL, NULL);
}

/* E196 with checkpointing: what forward once left of layer l, from its input. Of the last map only the
 * adapter's part is wanted again. */
static void layer_out_again(Acts *a, const Model *m, int l, int from, int n) {
    layer_mid_and_act(a, m, l, from, n);
    if (m->adapter[l][LORA_DOWN][0])
        project(&(Projection){a->branch, LORA_DOWN}, 1, a, m, l, a->act, from, n);
}

static void layer_again(Acts *a, const Model *m, int l, const Batch *b) {
    const AttentionRows rows = layer_attention(&a->layer[l], b->n_row);
    by_blocks(layer_qkv, a, m, l, b->n_row);
    attend_batch(&rows, &a->scratch, &m->config, b);
    by_blocks(layer_out_again, a, m, l, b->n_row);
}

/* E20: rows ascending, row t to row at[t] of de; a thread owns columns. */
static void embedding_backward(real *de, const real *dx, const int *at, int n, int h) {
    enum { BLOCK = 64 };
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (size_t)h))
    for (int first = 0; first < h; first += BLOCK) {
        const int end = h - first < BLOCK ? h : first + BLOCK;
        for (int t = 0; t < n; t++) {
            real *to = de + (size_t)at[t] * (size_t)h;
            const real *from = dx + (size_t)t * (size_t)h;
            for (int j = first; j < end; j++) to[j] += from[j];
        }
    }
}

/* The row of embed_row that each row's id has, or now gets. */
static const int *embed_rows(Acts *a, const int *id, int n) {
    for (int t = 0; t < n; t++) {
        int *slot = &a->embed_slot[id[t]];
        if (!*slot) a->embed_id[a->n_embed] = id[t], *slot = ++a->n_embed;
        a->embed_at[t] = *slot - 1;
    }
    return a->embed_at;
}

void model_backward(real *grad, Acts *a, const Model *m, const Batch *b, const real *dhidden) {
    const ModelConfig *c = &m->config;
    const int n = b->n_row;
    /* forward: hidden = norm(x_last) */
    norm_rows_backward(a->dx, dhidden, a->x_last, a->r_last, m->norm, 0, (size_t)n);
    norm_weight_backward(grad, dhidden, a->x_last, a->r_last, m->norm, (size_t)n);
    for (int l = c->n_layer - 1; l >= 0; l--) {
        const AttentionRows rows = layer_attention(&a->layer[l], n);
        real *dx = a->dx_next;                  /* dx of the layer above is dx_next of this one */
        a->dx_next = a->dx;
        a->dx = dx;
        if (a->checkpoint && l < c->n_layer - 1) layer_again(a, m, l, b);       /* the last is still there */
        by_blocks(layer_out_backward, a, m, l, n);
        attend_batch_backward(a->dq, a->dk, a->dv, a->d_o, &rows, &a->scratch, c, b);
        by_blocks(layer_qkv_backward, a, m, l, n);
        if (grad) layer_weights_backward(grad, a, m, l, n);
    }
    /* forward: x_0 = W_E[id] */
    if (!grad || !m->embed->trainable) return;
    if (a->tied) embedding_backward(a->embed_row, a->dx, embed_rows(a, b->id, n), n, c->hidden);
    else embedding_backward(grad + m->embed->offset, a->dx, b->id, n, c->hidden);
}

/* ---- heads ---- */

void model_grad_finish(real *grad, Acts *a, const Model *m) {
    const size_t h = (size_t)m->config.hidden;
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)a->n_embed * h))
    for (int i = 0; i < a->n_embed; i++) {
        real *row = a->embed_row + (size_t)i * h, *sum = grad + m->embed->offset + (size_t)a->embed_id[i] * h;
        sum_of(sum, row, sum, h);
        memset(row, 0, h * sizeof(real));
        a->embed_slot[a->embed_id[i]] = 0;
    }
    a->n_embed = 0;
}

void head_logits(real *z, const Model *m, const real *hidden, int n) {
    const Param *w = m->head;
    gemm_nt(z, w->rows, hidden, w->cols, param_packed(m, w), w->store, NULL, n, w->rows, w->cols);
}

/* The distinct rows of the target list, and where each one's targets begin. */
static int scored_rows(Acts *a, const Batch *b) {
    int n = 0;
    for (int i = 0; i < b->n_target; i++)
        if (!i || b->target_row[i] != b->target_row[i - 1]) {
            a->scored_row[n] = b->target_row[i];
            a->scored_at[n++] = i;
        }
    a->scored_at[n] = b->n_target;
    return n;
}

/* Scored rows [first, first + n) of the batch side by side; where their logits are, or go. */
static real *chunk(Acts *a, const Model *m, const real *hidden, int first, int n_scored, bool kept, int *n) {
    const size_t h = (size_t)m->config.hidden;
    *n = n_scored - first < CHUNK_ROWS ? n_scored - first : CHUNK_ROWS;
    for (int i = 0; i < *n; i++)
        memcpy(a->scored_hidden + (size_t)i * h, hidden + (size_t)a->scored_row[first + i] * h,
               h * sizeof(real));
    return a->logits + (kept ? (size_t)first * (size_t)m->config.vocab : 0);
}

/* The second model's logits of the same chunk of scored rows. */
static real *second_chunk(const SecondModel *second, const Batch *b, int first) {
    int n;
    real *logits = chunk(second->acts, second->model, second->hidden, first, scored_rows(second->acts, b),
                         false, &n);
    head_logits(logits, second->model, second->acts->scored_hidden, n);
    return logits;
}

/* Its values of the targets of the i-th scored row, whose own logits are z. */
static void second_values(const SecondModel *second, const Acts *a, const Batch *b, int i, real *other,
                          const real *z, int vocab, double temperature) {
    const LogitStats s = logits_stats(other, vocab, temperature, false);
    const real kl = logits_kl(other, &s, z, &a->stats[i], vocab);
    for (int k = a->scored_at[i]; k < a->scored_at[i + 1]; k++) {
        second->logp[k] = other[b->target_id[k]] - s.max - s.log_sum;
        second->kl[k] = kl;
    }
}

void head_logp(real *logp, real *entropy, Acts *a, const Model *m, const Batch *b, const real *hidden,
               double temperature, const SecondModel *second) {
    const int vocab = m->config.vocab, n_scored = scored_rows(a, b);
    a->logits_kept = !acts_logits_again(a, n_scored);
    for (int first = 0, n; first < n_scored; first += n) {
        real *logits = chunk(a, m, hidden, first, n_scored, a->logits_kept, &n);
        head_logits(logits, m, a->scored_hidden, n);
        real *other = second ? second_chunk(second, b, first) : NULL;
        #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (size_t)vocab))
        for (int i = 0; i < n; i++) {
            const size_t at = (size_t)i * (size_t)vocab;
            real *z = logits + at;
            const LogitStats s = a->stats[first + i] = logits_stats(z, vocab, temperature, true);
            for (int k = a->scored_at[first + i]; k < a->scored_at[first + i + 1]; k++) {
                logp[k] = z[b->target_id[k]] - s.max - s.log_sum;
                if (entropy) entropy[k] = s.entropy;
            }
            if (second) second_values(second, a, b, first + i, other + at, z, vocab, temperature);
        }
    }
}

void head_logp_backward(real *dhidden, real *grad, Acts *a, const Model *m, const Batch *b,
                        const real *hidden, double temperature, const real *dlogp, const real *dentropy,
                        const SecondModel *second) {
    const int vocab = m->config.vocab, n_scored = scored_rows(a, b);
    const size_t h = (size_t)m->config.hidden;
    const bool kept = a->logits_kept && !acts_logits_again(a, n_scored);
    a->logits_kept = false;                     /* they become their own derivatives */
    memset(dhidden, 0, (size_t)b->n_row * h * sizeof(real));
    for (int first = 0, n; first < n_scored; first += n) {
        real *logits = chunk(a, m, hidden, first, n_scored, kept, &n);
        if (!kept) head_logits(logits, m, a->scored_hidden, n);
        real *others = second && second->dkl ? second_chunk(second, b, first) : NULL;
        #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (size_t)vocab))
        for (int i = 0; i < n; i++) {
            real *z = logits + (size_t)i * (size_t)vocab, dkl = 0;
            const int at = a->scored_at[first + i], count = a->scored_at[first + i + 1] - at;
            if (temperature != 1 && !kept)
                for (int v = 0; v < vocab; v++) z[v] /= (real)temperature;
            real *other = others ? others + (size_t)i * (size_t)vocab : NULL;
            for (int k = 0; other && k < count; k++) dkl += second->dkl[at + k];
            if (dkl != 0) {
                const LogitStats s = logits_stats(other, vocab, temperature, false);
                logits_kl_backward(other, &s, z, &a->stats[first + i], vocab, temperature, dkl);
            }
            logits_backward(z, vocab, temperature, &a->stats[first + i], b->target_id + at, dlogp + at,
                            dentropy ? dentropy + at : NULL, count);
            if (dkl != 0) sum_of(z, z, other, (size_t)vocab);
        }
        gemm_nn(a->dscored, (int)h, logits, vocab, m->head->data, m->head->store, n, vocab, (int)h);
        for (int i = 0; i < n; i++)
            memcpy(dhidden + (size_t)a->scored_row[first + i] * h, a->dscored + (size_t)i * h,
                   h * sizeof(real));
        if (grad && m->head->trainable)
            gemm_tn(grad + m->head->offset, logits, vocab, a->scored_hidden, (int)h, n, vocab, (int)h);
    }
}

int head_last_row(const int *id, int n, int pad) {
    while (n > 0 && id[n - 1] == pad) n--;
    return n - 1;
}

void head_linear(real *score, const Model *m, const real *hidden, const int *row, int n) {
    for (int i = 0; i < n; i++)
        head_logits(score + (size_t)i * (size_t)m->head->rows, m,
                    hidden + (size_t)row[i] * (size_t)m->config.hidden, 1);
}

void head_linear_backward(real *dhidden, real *grad, const Model *m, const real *hidden, int n_row,
                          const int *row, int n, const real *dscore) {
    const size_t h = (size_t)m->config.hidden;
    const int k = m->head->rows;
    memset(dhidden, 0, (size_t)n_row * h * sizeof(real));
    /* a row that is read twice gets both: its chain over k goes on */
    for (int i = 0; i < n; i++) {
        const real *ds = dscore + (size_t)i * (size_t)k;
        const size_t at = (size_t)row[i] * h;
        gemm_tn(dhidden + at, ds, 1, m->head->data, (int)h, k, 1, (int)h);
        if (grad && m->head->trainable)
            gemm_tn(grad + m->head->offset, ds, k, hidden + at, (int)h, 1, k, (int)h);
    }
}
