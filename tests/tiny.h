/* tiny.h: small networks and windows for the tests of model.c, rollout.c, train.c and folder.c. */
#ifndef TINY_H
#define TINY_H

#include "model.h"
#include "run/trainer.h"
#include "tests/test.h"
#ifdef _OPENMP
#include <omp.h>
#endif

static inline void set_threads(int n) {
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* A number in [-1, 1) that depends on its place only. */
static inline double tiny_number(uint64_t a, uint64_t b) {
    uint64_t z = a * 0x9e3779b97f4a7c15u + b * 0xd1b54a32d192ed03u + 0x632be59bd9b4e019u;
    for (int i = 0; i < 3; i++) z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u + 0x94d049bb133111ebu;
    return (double)(int64_t)(z ^ (z >> 31)) * 0x1p-63;
}

/* Every architecture, bias, rotary scaling and kind of head; head sizes on both sides of 16. The last has
 * labels, TINY_BIG is large enough for every parallel loop to have more than one thread. */
enum { TINY_BIG = 7, TINY_LABELS = 8, TINY_COUNT = 9 };
/* TINY_ADAPTED + k: network k with an adapter beside every layer that can have one, its other weights frozen.
 */
enum { TINY_ADAPTED = 100 };
static inline ModelConfig tiny_config(int k) {
    if (k >= TINY_ADAPTED) {
        ModelConfig c = tiny_config(k - TINY_ADAPTED);
        c.lora = (Lora){.r = 3, .alpha = 5, .rslora = k % 2, .target = (1u << LORA_TARGETS) - 1};
        return c;
    }
    ModelConfig c = {.arch = ARCH_LLAMA, .vocab = 13, .hidden = 8, .ffn = 12, .n_layer = 2, .n_head = 4,
                     .n_kv_head = 2, .head_dim = 6, .context = 64, .norm_eps = 1e-5, .rope_theta = 10000,
                     .init_std = 0.02, .bos = -1, .eos = -1, .pad = -1};
    switch (k) {
    case 0: c.tied = true; break;
    case 1: c.qkv_bias = c.o_bias = c.mlp_bias = true; c.rope = ROPE_LINEAR; c.rope_factor = 2; break;
    case 2:
        c.tied = true;
        c.n_head = 2;
        c.n_kv_head = 1;
        c.head_dim = 20;
        c.rope = ROPE_LLAMA3;
        c.rope_theta = 500000;
        c.rope_factor = 8;
        c.rope_low = 1;
        c.rope_high = 4;
        c.rope_original = 32;
        break;
    case 3: c.arch = ARCH_QWEN2; c.qkv_bias = true; c.n_head = 2; c.n_kv_head = 1; c.head_dim = 4; break;
    case 4:
        c.arch = ARCH_QWEN2;
        c.qkv_bias = true;
        c.tied = true;
        c.n_head = 3;
        c.n_kv_head = 3;
        c.head_dim = 4;
        c.hidden = 12;
        break;
    case 5: c.arch = ARCH_QWEN3; c.qk_norm = true; c.tied = true; break;
    case 6:
        c.arch = ARCH_QWEN3;
        c.qk_norm = true;
        c.qkv_bias = c.o_bias = true;
        c.n_kv_head = 1;
        c.head_dim = 18;
        break;
    case TINY_BIG:
        c.tied = true;
        c.vocab = 301;
        c.hidden = 64;
        c.ffn = 150;
        c.head_dim = 16;
        c.context = 200;
        break;
    case TINY_LABELS:
        c.arch = ARCH_QWEN2;
        c.qkv_bias = true;
        c.n_head = 2;
        c.n_kv_head = 1;
        c.head_dim = 4;
        c.n_label = 3;
        break;
    }
    return c;
}

/* Networks 0 .. last, then the same with adapters: for (int k = 0; k >= 0; k = tiny_next(k, last)). */
static inline int tiny_next(int k, int last) {
    return k == last ? TINY_ADAPTED : k == TINY_ADAPTED + last ? -1 : k + 1;
}

/* Weights in which nothing is special: biases and norms are neither 0 nor 1. Frozen ones stay if only the
 * trainable are asked for. */
static inline void tiny_fill(Model *m, uint64_t seed, bool trainable_only) {
    for (int i = 0; i < m->n_param; i++)
        for (size_t j = 0; j < param_count(&m->param[i]) && (m->param[i].trainable || !trainable_only); j++) {
            const double x = tiny_number(seed + (uint64_t)i, j);
            ((real *)m->param[i].data)[j] =
                (real)(strstr(m->param[i].name, "norm.weight") ? 1 + 0.2 * x : 0.4 * x);
        }
    model_pack(m);
}

static inline Model *tiny_model(int k) {
    Err e = {{0}};
    const ModelConfig c = tiny_config(k);
    Model *m = model_new(&c, &e);
    if (!m) { printf("%s\n", e.line); exit(1); }
    tiny_fill(m, 100 * (uint64_t)(k % TINY_ADAPTED) + 1, false);
    return m;
}

/* A prompt and its continuations. */
typedef struct { int prompt, n_child, child[4]; } Tree;

static inline int tiny_token(int vocab, int tree, int part, int t) {
    if (part && t == 0) part = 1 + part % 2;                    /* some continuations begin alike */
    return (int)((tiny_number((uint64_t)(tree * 8 + part), (uint64_t)t) + 1) / 2 * vocab);
}

/* Trees as a window, each prompt once (shared) or copied before each of its continuations. Targets: every
 * second row of a prompt, the first token of each continuation, every row of a continuation. key names a
 * target, whatever the window's shape. */
static inline void tiny_window(Window *w, int *key, const Tree *tree, int n_tree, int vocab, bool shared) {
    Err e = {{0}};
    window_clear(w);
    for (int i = 0; i < n_tree; i++) {
        const Tree *t = &tree[i];
        const int copies = shared || !t->n_child ? 1 : t->n_child;
        for (int copy = 0; copy < copies; copy++) {
            int id[400], n = 0, start = w->n_row;
#define TARGET(row, part, at) \
    (key[w->n_target] = i * 10000 + (part)*1000 + (at), \
     window_target(w, row, tiny_token(vocab, i, part, at), &e))
            for (int r = 0; r < t->prompt; r++) id[n++] = tiny_token(vocab, i, 0, r);
            if (!shared && t->n_child)
                for (int r = 0; r < t->child[copy]; r++) id[n++] = tiny_token(vocab, i, 1 + copy, r);
            const int root = window_add(w, id, n, -1, &e);
            for (int r = 0; r + 1 < t->prompt; r += 2) if (copy == 0) TARGET(start + r, 0, r + 1);
            if (!t->n_child) TARGET(start + t->prompt - 1, 0, t->prompt);
            for (int c = shared ? 0 : copy; c < (shared ? t->n_child : copy + 1) && t->n_child; c++)
                TARGET(start + t->prompt - 1, 1 + c, 0);
            for (int c = shared ? 0 : copy; c < (shared ? t->n_child : copy + 1) && t->n_child; c++) {
                start = shared ? w->n_row : start + t->prompt;
                for (int r = 0; r < t->child[c]; r++) id[r] = tiny_token(vocab, i, 1 + c, r);
                if (shared) window_add(w, id, t->child[c], root, &e);
                for (int r = 0; r < t->child[c]; r++) TARGET(start + r, 1 + c, r + 1);
            }
#undef TARGET
        }
    }
    if (e.line[0]) { printf("%s\n", e.line); exit(1); }
}

/* The whole window as one batch. */
static inline Batch tiny_batch(const Window *w) {
    return (Batch){.n_row = w->n_row, .n_seg = w->n_seg, .n_target = w->n_target, .id = w->id, .seg = w->seg,
                   .target_row = w->target_row, .target_id = w->target_id};
}

static inline long tiny_differ(const void *a, const void *b, size_t n) { /* reals whose bits differ */
    long d = 0;
    for (size_t i = 0; i < n; i++) d += memcmp((const real *)a + i, (const real *)b + i, sizeof(real)) != 0;
    return d;
}

/* A pass over a window whose derivatives a function gives, slice by slice: what the methods write out as a
 * loop. */
typedef void Derive(void *to, int first_target, int n, const real *logp, const real *entropy, real *dlogp,
                    real *dentropy);
static inline bool accumulate(Trainer *t, const Window *w, double temperature, Derive *derive, void *to,
                                    bool want_dentropy, Err *e) {
    Slice x = trainer_slices(t);
    int more;
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_forward(t, &x, temperature);
        derive(to, x.first_target, x.batch.n_target, t->logp, t->entropy, t->dlogp,
               want_dentropy ? t->dentropy : NULL);
        slice_backward(t, &x, temperature, want_dentropy);
    }
    return more == 0;
}

typedef void DeriveScores(void *to, int first_target, int n, const real *score, real *dscore);
static inline bool accumulate_scores(Trainer *t, const Window *w, DeriveScores *derive, void *to, Err *e) {
    Slice x = trainer_slices(t);
    int more;
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_scores(t, &x);
        derive(to, x.first_target, x.batch.n_target, t->score, t->dscore);
        slice_scores_backward(t, &x);
    }
    return more == 0;
}

#endif
