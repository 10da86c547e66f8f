/* model.c: the kinds of `grpo compute` that need the network.
 *
 * In this order: single pieces (norm, rotation, attention, SwiGLU, an adapted layer, logits), whole networks
 * (lm, reward_model), cost, a whole GRPO step. Networks have weights that any language can reproduce: element
 * j of tensor n, in canonical order, is 0.3 sin(0.5 + 1.3 j + 0.37 n); norm weights are 1 + 0.1 sin(the
 * same). */
#include <string.h>

#include "compute/kinds.h"
#include "compute/arrays.h"
#include "model.h"
#include "net/flops.h"
#include "run/trainer.h"

static bool flag(Call *c, const char *key) {
    const Json *v = kind_given(c, key);
    if (v && v->type != JSON_BOOL) kind_wrong(c, key, v, "true or false");
    return v && v->number != 0;
}

/* ---- pieces ---- */
static bool rms_norm_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows x = kind_matrix(c, "x"), dy = kind_same_shape(c, "dy", &x, false);
    const Rows w = kind_rows(c, "weight", false);
    const double eps = kind_number(c, "eps");
    kind_refuse(c, w.n != x.width, "weight", "as many numbers as a row of x has");
    real *y = kind_reals(c, x.n), *dx = kind_reals(c, x.n), *dw = kind_reals(c, w.n),
         *r = kind_reals(c, x.n_row);
    KIND_OPEN;
    const int n = (int)x.width;
    for (size_t t = 0; t < x.n_row; t++) {
        const size_t at = x.offset[t];
        rms_norm(y + at, r + t, x.x + at, w.x, n, eps);
        rms_norm_backward(dx + at, dy.x + at, x.x + at, w.x, r[t], n);
    }
    rms_norm_weight_backward(dw, dy.x, x.x, r, x.n_row, n);
    kind_put_rows(out, "y", y, x.offset, x.n_row);
    kind_put_rows(out, "dx", dx, x.offset, x.n_row);
    kind_put_list(out, "dweight", dw, w.n);
    KIND_FINISH;
}

/* rope_theta and rope_scaling of c->in; a scaling without rope_type is llama3's if it has low_freq_factor,
 * else linear. */
static void kind_rope(Call *c, ModelConfig *m) {
    m->rope_theta = kind_number(c, "rope_theta");
    const Json *scaling = kind_given(c, "rope_scaling");
    if (!c->ok || !scaling) return;
    if (scaling->type != JSON_OBJECT) { kind_wrong(c, "rope_scaling", scaling, "an object"); return; }
    Call inner = { scaling, c->e, { NULL }, 0, true };
    m->rope_factor = kind_number(&inner, "factor");
    m->rope = json_get(scaling, "low_freq_factor") ? ROPE_LLAMA3 : ROPE_LINEAR;
    if (m->rope == ROPE_LLAMA3) {
        m->rope_low = kind_number(&inner, "low_freq_factor");
        m->rope_high = kind_number(&inner, "high_freq_factor");
        m->rope_original = kind_number(&inner, "original_max_position_embeddings");
    }
    c->ok = inner.ok;
}

static int small_whole(Call *c, const char *key, size_t least) {
    const size_t n = kind_whole(c, key, least);
    if (c->ok && n > 1 << 24) kind_wrong(c, key, json_get(c->in, key), "a whole number, at most 16777216");
    return c->ok ? (int)n : (int)least;
}

static bool rope_inv_freq(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    ModelConfig m = { .head_dim = small_whole(c, "head_dim", 2) };
    kind_rope(c, &m);
    double *f = kind_take(c, (size_t)m.head_dim / 2, sizeof *f);
    KIND_OPEN;
    rope_frequencies(f, &m);
    json_put_numbers(out, "inv_freq", f, (size_t)m.head_dim / 2);
    KIND_FINISH;
}

static bool rope_apply_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    size_t shape[3] = { 0 };
    real *x = kind_tensor(c, "x", shape, 3), *dy = kind_tensor(c, "dy", shape, 3);
    const IntRows p = kind_int_rows(c, "positions");
    ModelConfig m = { .head_dim = (int)shape[2] };
    kind_rope(c, &m);
    kind_refuse(c, p.n != shape[0], "positions", "as many numbers as x has rows");
    if (c->ok && shape[2] % 2) kind_wrong(c, "x", json_get(inputs, "x"), "heads of an even size");
    const size_t half = shape[2] / 2;
    double *f = kind_take(c, half, sizeof *f);
    real *cos = kind_reals(c, half), *sin = kind_reals(c, half);
    KIND_OPEN;
    rope_frequencies(f, &m);
    for (size_t t = 0; t < shape[0]; t++) {
        const size_t at = t * shape[1] * shape[2];
        rope_table(cos, sin, f, (int)half, p.x[t]);
        rope_apply(x + at, (int)shape[1], (int)shape[2], cos, sin, false);
        rope_apply(dy + at, (int)shape[1], (int)shape[2], cos, sin, true);
    }
    kind_put_tensor(out, "y", x, shape, 3);
    kind_put_tensor(out, "dx", dy, shape, 3);
    KIND_FINISH;
}

/* q [T][H][d], k and v [T][Hk][d], causal; in the order of the trunk: heads, then rows. */
static bool attention_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    size_t shape[3] = { 0 };
    const real *q = kind_tensor(c, "q", shape, 3), *d_o = kind_tensor(c, "do", shape, 3);
    const size_t T = shape[0], H = shape[1], d = shape[2];
    size_t kv_shape[3] = { T, 0, d };
    const real *k = kind_tensor(c, "k", kv_shape, 3), *v = kind_tensor(c, "v", kv_shape, 3);
    const size_t Hk = kv_shape[1], panels = attention_panels((int)T, (int)d),
                 scratch = attention_scratch(T, (int)d);
    if (c->ok && H % Hk) kind_wrong(c, "q", json_get(inputs, "q"), "a multiple of k's heads");
    real *o = kind_reals(c, T * H * d), *dq = kind_reals(c, T * H * d), *dk = kind_reals(c, T * Hk * d),
         *dv = kind_reals(c, T * Hk * d), *key_t = kind_reals(c, panels), *value_t = kind_reals(c, panels),
         *key = kind_reals(c, panels), *value = kind_reals(c, panels), *p = kind_reals(c, scratch),
         *ds = kind_reals(c, scratch), *max = kind_reals(c, T), *sum = kind_reals(c, T);
    KIND_OPEN;
    for (size_t j = 0; j < H; j++) {
        const size_t g = j / (H / Hk), ld = Hk * d, stride = 16 * T;
        attention_transpose(key_t, k + g * d, (int)T, (int)ld, (int)d);
        attention_transpose(value_t, v + g * d, (int)T, (int)ld, (int)d);
        attention_columns(key, stride, k + g * d, (int)T, (int)ld, (int)d);
        attention_columns(value, stride, v + g * d, (int)T, (int)ld, (int)d);
        const KeySpan span = {.n = (int)T, .key_t = key_t, .value = value, .value_stride = stride,
                              .value_t = value_t, .key = key, .dk = dk + g * d, .dv = dv + g * d};
        attend(o + j * d, max, sum, 1, p, q + j * d, (int)(H * d), (int)T, &span, 1, 0, (int)d);
        attend_backward(dq + j * d, p, ds, q + j * d, o + j * d, d_o + j * d, (int)(H * d), max, sum, 1,
                        (int)T, &span, 1, 0, (int)d, (int)ld);
    }
    for (size_t i = 0; i < T * Hk * d; i++) dk[i] *= (real)(1 / sqrt((double)d));
    kind_put_tensor(out, "o", o, shape, 3);
    kind_put_tensor(out, "dq", dq, shape, 3);
    kind_put_tensor(out, "dk", dk, kv_shape, 3);
    kind_put_tensor(out, "dv", dv, kv_shape, 3);
    KIND_FINISH;
}

/* E290 to E292: one linear layer with its adapter: r is the number of rows of lora_A. */
static bool lora_linear(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows w = kind_matrix(c, "weight"), a = kind_matrix(c, "lora_A"), b = kind_matrix(c, "lora_B"),
               x = kind_matrix(c, "x"), dy = kind_matrix(c, "dy");
    const Lora lora = {.r = (int)a.n_row, .alpha = kind_number(c, "lora_alpha"),
                       .rslora = flag(c, "use_rslora"), .target = 1};
    const LoraShape l = {.n_out = (int)w.n_row, .n_in = (int)w.width, .r = lora.r,
                         .s = c->ok ? lora_scale(&lora) : 0};
    const int n = (int)x.n_row;
    kind_refuse(c, a.width != w.width, "lora_A", "rows as long as weight's");
    kind_refuse(c, b.n_row != w.n_row || b.width != a.n_row,
                "lora_B", "a row for each of weight's, as long as lora_A has rows");
    kind_refuse(c, x.width != w.width, "x", "rows as long as weight's");
    kind_refuse(c, dy.n_row != x.n_row || dy.width != w.n_row,
                "dy", "a row for each of x's, a number for each of weight's rows");
    real *packed = kind_reals(c, gemm_packed_count(l.n_out, l.n_in)),
         *packed_a = kind_reals(c, gemm_packed_count(l.r, l.n_in)),
         *packed_b = kind_reals(c, gemm_packed_count(l.n_out, l.r)),
         *u = kind_reals(c, 3 * x.n_row * a.n_row), *su = u + x.n_row * a.n_row, *du = su + x.n_row * a.n_row,
         *wide = kind_reals(c, x.n_row * (w.width + w.n_row)), *y = kind_reals(c, dy.n),
         *dx = kind_reals(c, x.n), *da = kind_reals(c, a.n), *db = kind_reals(c, b.n),
         *merged = kind_reals(c, w.n);
    KIND_OPEN;
    gemm_pack(packed, w.x, STORE_REAL, l.n_out, l.n_in);
    gemm_pack(packed_a, a.x, STORE_REAL, l.r, l.n_in);
    gemm_pack(packed_b, b.x, STORE_REAL, l.n_out, l.r);
    gemm_nt(y, l.n_out, x.x, l.n_in, packed, STORE_REAL, NULL, n, l.n_out, l.n_in);
    lora_forward(y, u, wide, packed_a, packed_b, x.x, n, &l);
    gemm_nn(dx, l.n_in, dy.x, l.n_out, w.x, STORE_REAL, n, l.n_out, l.n_in);
    lora_backward(dx, du, wide, dy.x, a.x, b.x, n, &l);
    lora_backward_weights(da, db, su, dy.x, x.x, u, du, n, &l);
    memcpy(merged, w.x, w.n * sizeof *merged);
    lora_merge(merged, a.x, b.x, &l);
    kind_put_rows(out, "y", y, dy.offset, dy.n_row);
    kind_put_rows(out, "dx", dx, x.offset, x.n_row);
    kind_put_rows(out, "dlora_A", da, a.offset, a.n_row);
    kind_put_rows(out, "dlora_B", db, b.offset, b.n_row);
    kind_put_rows(out, "merged_weight", merged, w.offset, w.n_row);
    KIND_FINISH;
}

static bool swiglu(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows g = kind_rows(c, "gate", false), u = kind_same_shape(c, "up", &g, false),
               dy = kind_same_shape(c, "dy", &g, false);
    real *y = kind_reals(c, g.n);
    KIND_OPEN;
    r_swiglu(y, g.x, u.x, g.n);
    r_swiglu_backward(dy.x, g.x, u.x, g.n);
    kind_put_list(out, "y", y, g.n);
    kind_put_list(out, "dgate", g.x, g.n);
    kind_put_list(out, "dup", u.x, g.n);
    KIND_FINISH;
}

static bool logp_entropy(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows z = kind_matrix(c, "logits"), dlogp = kind_rows(c, "dlogps", false),
               dentropy = kind_rows(c, "dentropies", true);
    const IntRows y = kind_int_rows(c, "targets");
    const double tau = kind_number_or(c, "temperature", 1);
    kind_refuse(c, y.n != z.n_row || dlogp.n != z.n_row || (dentropy.x && dentropy.n != z.n_row),
                "logits", "as many rows as targets, dlogps and dentropies");
    for (size_t t = 0; c->ok && t < y.n; t++)
        if (y.x[t] >= (int)z.width)
            kind_wrong(c, "targets", json_get(inputs, "targets"), "ids within a row of logits");
    kind_refuse(c, !(tau > 0), "temperature", "a number above 0");
    real *logp = kind_reals(c, z.n_row), *entropy = kind_reals(c, z.n_row);
    KIND_OPEN;
    for (size_t t = 0; t < z.n_row; t++) {
        real *row = z.x + z.offset[t];
        const LogitStats s = logits_stats(row, (int)z.width, tau, true);
        logp[t] = row[y.x[t]] - s.max - s.log_sum;
        entropy[t] = s.entropy;
        logits_backward(row, (int)z.width, tau, &s, &y.x[t], &dlogp.x[t], dentropy.x ? &dentropy.x[t] : NULL,
                        1);
    }
    kind_put_list(out, "logps", logp, z.n_row);
    kind_put_list(out, "entropies", entropy, z.n_row);
    kind_put_rows(out, "dlogits", z.x, z.offset, z.n_row);
    KIND_FINISH;
}

/* ---- networks ---- */
/* inputs.config, with room for sequences of `context` tokens. without_type: the sizes alone, as flops has
 * them. */
static ModelConfig kind_config(Call *c, size_t context, bool without_type) {
    static const char *const type[] = { "llama", "qwen2", "qwen3", NULL };
    ModelConfig m = {.context = context < 1 << 24 ? (int)context : 1 << 24, .norm_eps = 1e-6,
                     .rope_theta = 10000, .bos = -1, .eos = -1, .pad = -1};
    const Json *config = kind_given(c, "config");
    if (!c->ok) return m;
    if (!config || config->type != JSON_OBJECT) { kind_wrong(c, "config", config, "an object"); return m; }
    Call inner = { config, c->e, { NULL }, 0, true }, *const i = &inner;
    m.vocab = small_whole(i, "vocab_size", 1);
    m.hidden = small_whole(i, "hidden_size", 1);
    m.ffn = small_whole(i, "intermediate_size", 1);
    m.n_layer = small_whole(i, "num_hidden_layers", 1);
    m.n_head = small_whole(i, "num_attention_heads", 1);
    m.n_kv_head = small_whole(i, "num_key_value_heads", 1);
    m.head_dim = small_whole(i, "head_dim", 2);
    m.tied = flag(i, "tie_word_embeddings");
    m.n_label = kind_given(i, "num_labels") ? small_whole(i, "num_labels", 1) : 0;
    m.pad = kind_given(i, "pad_token_id") ? small_whole(i, "pad_token_id", 0) : -1;
    if (!without_type) {
        m.arch = (Arch)kind_choice(i, "model_type", type);
        m.norm_eps = kind_number(i, "rms_norm_eps");
        kind_rope(i, &m);
        const bool bias = flag(i, "attention_bias");
        m.qkv_bias = m.arch == ARCH_QWEN2 || bias;
        m.o_bias = m.arch != ARCH_QWEN2 && bias;
        m.mlp_bias = m.arch == ARCH_LLAMA && flag(i, "mlp_bias");
        m.qk_norm = m.arch == ARCH_QWEN3;
    }
    c->ok = inner.ok;
    if (c->ok && !model_config_check(&m, "stdin: inputs.config", c->e)) c->ok = false;
    return m;
}

static void fill_weights(Model *m) {
    for (int n = 0; n < m->n_param; n++) {
        const Param *p = &m->param[n];
        const bool norm = strstr(p->name, "norm.weight") != NULL;
        real *w = p->data;
        for (size_t j = 0; j < param_count(p); j++) {
            const double s = d_sin(0.5 + 1.3 * (double)j + 0.37 * n);
            w[j] = (real)(norm ? 1 + 0.1 * s : 0.3 * s);
        }
    }
    model_pack(m);
}

/* Per parameter {"sum", "l2", "first"} of x, which lies like a gradient. */
static void put_summary(JsonWriter *out, const char *key, const Model *m, const real *x) {
    json_open(out, key, '{');
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        const real *g = x + p->offset;
        const size_t n = param_count(p);
        double sum = 0, square = 0;
        for (size_t j = 0; j < n; j++) sum += g[j], square += (double)g[j] * g[j];
        json_open(out, p->name, '{');
        json_put(out, "sum", sum);
        json_put(out, "l2", sqrt(square));
        kind_put_list(out, "first", g, n < 3 ? n : 3);
        json_end(out, '}');
    }
    json_end(out, '}');
}

/* The window's only slice, checked. */
static bool whole_window(Slice *s, Call *c, const Window *w, const ModelConfig *m) {
    *s = (Slice){ .max_row = w->n_row, .max_target = w->n_target };
    c->ok = c->ok && slice_next(s, w, m, c->e) > 0;
    return c->ok;
}

static bool lm(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const IntRows id = kind_int_rows(c, "input_ids");
    const size_t n = id.n;
    kind_refuse(c, n < 2 || id.n_row != 1, "input_ids", "one list of at least two ids");
    const ModelConfig config = kind_config(c, n, false);
    const double tau = kind_number_or(c, "temperature", 1);
    const Rows dlogp = kind_rows(c, "dlogps", false);
    kind_refuse(c, dlogp.n != n - 1, "dlogps", "one number less than input_ids");
    kind_refuse(c, config.n_label, "config", "no num_labels");
    Window w = { 0 };
    Slice s = { 0 };
    c->ok = c->ok && window_sequence(&w, id.x, (int)n, 1, e);
    Model *m = c->ok && whole_window(&s, c, &w, &config) ? model_new(&config, e) : NULL;
    Acts *a = m ? acts_new(m, (int)n, (int)n, true, e) : NULL;
    c->ok = c->ok && a;
    const size_t vocab = (size_t)config.vocab, shape[2] = { n, vocab };
    real *grad = c->ok ? kind_reals(c, m->n_trainable) : NULL,
         *logp = kind_reals(c, n);
    real *z = c->ok ? kind_reals(c, n * vocab) : NULL,
         *dhidden = c->ok ? kind_reals(c, n * (size_t)config.hidden) : NULL;
    if (c->ok) {
        fill_weights(m);
        const real *hidden = model_forward(a, m, &s.batch);
        head_logits(z, m, hidden, (int)n);
        head_logp(logp, NULL, a, m, &s.batch, hidden, tau, NULL);
        head_logp_backward(dhidden, grad, a, m, &s.batch, hidden, tau, dlogp.x, NULL, NULL);
        model_backward(grad, a, m, &s.batch, dhidden);
        model_grad_finish(grad, a, m);
        json_begin(out, '{');
        kind_put_tensor(out, "logits", z, shape, 2);
        kind_put_list(out, "logps", logp, n - 1);
        put_summary(out, "grads", m, grad);
        json_end(out, '}');
    }
    acts_free(a);
    model_free(m);
    slice_free(&s);
    window_free(&w);
    return kind_finish(c);
}

static bool reward_model(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const IntRows id = kind_int_rows(c, "input_ids");
    const ModelConfig config = kind_config(c, id.n, false);
    const Rows y = kind_matrix(c, "labels");
    const size_t k = (size_t)config.n_label;
    kind_refuse(c, y.n_row != id.n_row || y.width != k,
                "labels", "num_labels numbers for each row of input_ids");
    Window w = { 0 };
    Slice s = { 0 };
    for (size_t i = 0; c->ok && i < id.n_row; i++) {
        const int *row = id.x + id.offset[i],
                  last = head_last_row(row, (int)(id.offset[i + 1] - id.offset[i]), config.pad);
        if (last < 0)
            kind_wrong(c, "input_ids", json_get(inputs, "input_ids"),
                       "rows with a token that is not pad_token_id");
        else
            c->ok = window_add(&w, row, last + 1, -1, e) >= 0 && window_target(&w, w.n_row - 1, row[last], e);
    }
    Model *m = c->ok && whole_window(&s, c, &w, &config) ? model_new(&config, e) : NULL;
    Acts *a = m ? acts_new(m, w.n_row, 0, true, e) : NULL;
    c->ok = c->ok && a;
    real *grad = c->ok ? kind_reals(c, m->n_trainable) : NULL,
         *score = kind_reals(c, y.n), *dscore = kind_reals(c, y.n);
    real *dhidden = c->ok ? kind_reals(c, (size_t)w.n_row * (size_t)config.hidden) : NULL;
    if (c->ok) {
        fill_weights(m);
        const Batch *b = &s.batch;
        const real *hidden = model_forward(a, m, b);
        double loss = 0;
        head_linear(score, m, hidden, b->target_row, b->n_target);
        reward_regression_loss(&loss, dscore, score, y.x, NULL, y.n_row, k,
                               reward_label_weight_sum(y.x, NULL, y.n_row, k));
        head_linear_backward(dhidden, grad, m, hidden, b->n_row, b->target_row, b->n_target, dscore);
        model_backward(grad, a, m, b, dhidden);
        json_begin(out, '{');
        kind_put_rows(out, "scores", score, y.offset, y.n_row);
        json_put(out, "loss", loss);
        put_summary(out, "grads", m, grad);
        json_end(out, '}');
    }
    acts_free(a);
    model_free(m);
    slice_free(&s);
    window_free(&w);
    return kind_finish(c);
}

/* ---- cost ---- */
static bool flops(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const double length = (double)kind_whole(c, "seq_len", 1);
    const ModelConfig config = kind_config(c, 1, true);
    KIND_OPEN;
    json_put(out, "train_flops_per_token", model_trl_flops_per_token(&config, length));
    json_put(out, "forward_flops", model_forward_flops(&config, length, length * (length + 1) / 2, length));
    KIND_FINISH;
}

/* ---- one GRPO step ---- */

static void put_padded_rows(JsonWriter *out, const char *key, const real *x, const IntRows *row) {
    size_t longest = 0;
    for (size_t i = 0; i < row->n_row; i++)
        longest =
            row->offset[i + 1] - row->offset[i] > longest ? row->offset[i + 1] - row->offset[i] : longest;
    json_open(out, key, '[');
    for (size_t i = 0; i < row->n_row; i++) {
        json_begin(out, '[');
        for (size_t t = 0; t < longest; t++)
            json_number(out, row->offset[i] + t < row->offset[i + 1] ? x[row->offset[i] + t] : 0);
        json_end(out, ']');
    }
    json_end(out, ']');
}

/* The reference is the policy plus 0.05 sin(0.9 + 0.7 j + 0.53 n); old log-probabilities are the policy's
 * own. */
static bool grpo_step(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const IntRows prompt = kind_int_rows(c, "prompts"), completion = kind_int_rows(c, "completions");
    const Rows score = kind_matrix(c, "rewards_per_func");
    const double *weight = c->ok ? kind_weights(c, "reward_weights", score.width) : NULL,
                 tau = kind_number_or(c, "temperature", 1);
    const size_t n = completion.n_row, group = c->ok ? kind_group_size(c, n) : 1, tokens = completion.n;
    const double lr = kind_number(c, "learning_rate"), decay = kind_number_or(c, "weight_decay", 0),
                 max_norm = kind_number_or(c, "max_grad_norm", 1);
    const ModelConfig config = kind_config(c, prompt.n + tokens, false);
    LossSettings loss;
    compute_loss_settings(c, &loss, "train");
    kind_refuse(c, score.n_row != n || n != prompt.n_row * group,
                "completions", "num_generations for each prompt, with a row of scores each");
    for (size_t i = 0; c->ok && i < n; i++)
        if (completion.offset[i] == completion.offset[i + 1])
            kind_wrong(c, "completions", json_get(inputs, "completions"), "no empty completion");
    if (c->ok && !grpo_config_check(&loss.config, e)) c->ok = false;
    kind_refuse(c, loss.config.entropy_coef != 0 || loss.config.use_adaptive_entropy,
                "train", "no entropy bonus");
    int *token_of = kind_take(c, 2 * tokens, sizeof *token_of), *completion_of = token_of + tokens;
    unsigned char *mask = kind_take(c, tokens, 1);
    real *logp = kind_reals(c, 5 * tokens), *ref = logp + tokens, *by_target = ref + tokens,
         *entropy = by_target + tokens, *dlogp = entropy + tokens;
    real *entropy_by_target = kind_reals(c, tokens);
    real *reward = kind_reals(c, 2 * n), *adv = reward + n;
    double *scratch = kind_take(c, tokens, sizeof *scratch);
    Window w = { 0 };
    Slice s = { 0 };
    for (size_t p = 0; c->ok && p < prompt.n_row; p++)
        c->ok = window_group(&w, prompt.x + prompt.offset[p], (int)(prompt.offset[p + 1] - prompt.offset[p]),
                             completion.x, completion.offset, (int)(p * group), (int)group, token_of,
                             completion_of, e);
    c->ok = c->ok && whole_window(&s, c, &w, &config);
    Model *m = c->ok ? model_new(&config, e) : NULL, *other = m ? model_new(&config, e) : NULL;
    Trainer t = { 0 };
    c->ok = c->ok && other && trainer_new(&t, m, w.n_row, w.n_target, e);
    real *grad = c->ok ? kind_reals(c, m->n_trainable) : NULL;
    if (!c->ok) goto done;

    fill_weights(m);
    fill_weights(other);
    for (int i = 0; i < other->n_param; i++)
        for (size_t j = 0; j < param_count(&other->param[i]); j++)
            ((real *)other->param[i].data)[j] += (real)(0.05 * d_sin(0.9 + 0.7 * (double)j + 0.53 * i));
    model_pack(other);
    c->ok = window_logp(by_target, NULL, t.acts, t.max_row, t.max_target, other, &w, tau, e);
    for (int i = 0; i < w.n_target; i++) ref[token_of[i]] = by_target[i];
    c->ok =
        c->ok && window_logp(by_target, entropy_by_target, t.acts, t.max_row, t.max_target, m, &w, tau, e);
    for (int i = 0; i < w.n_target; i++)
        logp[token_of[i]] = by_target[i], entropy[token_of[i]] = entropy_by_target[i];

    memset(mask, 1, tokens);
    grpo_score_advantage(adv, reward, NULL, score.x, weight, NULL, n, score.width, group, &loss.config);
    const GrpoIn in = {.n_completion = n, .offset = completion.offset, .logp = logp, .ref = ref, .mask = mask,
                       .entropy = entropy, .advantage = adv};
    loss.window.n_item = isnan(loss.n_item) ? (double)tokens : loss.n_item;
    GrpoMicro micro;
    GrpoSums sums;
    GrpoMetrics metrics;
    grpo_micro(&micro, &in, &loss.config, scratch);
    grpo_sums_start(&sums);
    grpo_loss(&sums, dlogp, NULL, &in, &loss.config, &loss.window, &micro);
    grpo_metrics(&metrics, &sums, &loss.config, &loss.window);

    t.adamw.lr = lr;
    t.adamw.weight_decay = decay;
    t.max_grad_norm = max_norm;
    t.schedule = SCHEDULE_CONSTANT;
    t.n_step = 1;
    if (!c->ok) goto done;
    slice_forward(&t, &s, tau);
    for (int i = 0; i < w.n_target; i++) t.dlogp[i] = dlogp[token_of[i]];
    slice_backward(&t, &s, tau, false);
    model_grad_finish(t.grad, t.acts, m);
    memcpy(grad, t.grad, m->n_trainable * sizeof *grad);
    c->ok = trainer_update(&t, e);
    if (!c->ok) goto done;
    json_begin(out, '{');
    put_padded_rows(out, "logps", logp, &completion);
    put_padded_rows(out, "ref_logps", ref, &completion);
    kind_put_list(out, "advantages", adv, n);
    json_put(out, "loss", grpo_loss_value(&sums, &loss.window, &micro));
    json_put(out, "kl", metrics.kl);
    put_summary(out, "grads", m, grad);
    json_put(out, "grad_norm", t.grad_norm);
    put_summary(out, "params_after", m, m->weights);
    json_end(out, '}');
done:
    trainer_free(&t);
    model_free(other);
    model_free(m);
    slice_free(&s);
    window_free(&w);
    return kind_finish(c);
}

/* ---- the table ---- */
#define CONFIG \
    "config {model_type llama|qwen2|qwen3, vocab_size, hidden_size, intermediate_size, num_hidden_layers, " \
    "num_attention_heads, " \
    "num_key_value_heads, head_dim, rms_norm_eps, rope_theta, rope_scaling?, tie_word_embeddings?, " \
    "attention_bias?, mlp_bias?}"
const ComputeKind compute_model_kinds[] = {
    {"rms_norm", "E7 E8", "x[n][h], weight[h], eps, dy[n][h]", rms_norm_kind},
    {"rope_inv_freq", "E9 E12",
     "head_dim, rope_theta, rope_scaling? {factor, low_freq_factor?, high_freq_factor?, "
     "original_max_position_embeddings?}",
     rope_inv_freq},
    {"rope_apply", "E10 E11", "x[T][H][d], positions[T], rope_theta, rope_scaling?, dy[T][H][d]",
     rope_apply_kind},
    {"attention", "E14 E15 E16 E17", "q[T][H][d], k[T][Hk][d], v[T][Hk][d], do[T][H][d]", attention_kind},
    {"swiglu", "E18 E19", "gate[n], up[n], dy[n]", swiglu},
    {"lora_linear", "E290 E291 E292",
     "weight[out][in], lora_A[r][in], lora_B[out][r], x[n][in], dy[n][out], lora_alpha, use_rslora? false",
     lora_linear},
    {"logp_entropy", "E23 E24 E25 E26", "logits[n][V], targets[n], temperature? 1, dlogps[n], dentropies?[n]",
     logp_entropy},
    {"lm", "E1 to E26", CONFIG ", input_ids[T], temperature? 1, dlogps[T-1]", lm},
    {"reward_model", "E40 E41 E42 E43",
     CONFIG " and num_labels, pad_token_id?, input_ids[B][any], labels[B][K]", reward_model},
    {"flops", "E190 E191", "config {sizes as in lm}, seq_len", flops},
    {"grpo_step", "E22 E24 E60 E84 E99 to E117 E280 to E285",
     CONFIG ", prompts[Q][any], completions[Q*G][any], rewards_per_func[Q*G][K], "
            "reward_weights?[K], num_generations, temperature? 1, train? as config of grpo_loss, "
            "learning_rate, weight_decay? 0, max_grad_norm? 1",
     grpo_step},
    {NULL, NULL, NULL, NULL},
};
