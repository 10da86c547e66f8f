/* model.c: from tokens to log-probabilities, and back.
 *
 * In this order: the table of parameters, the pieces (norm, rotation, logits) with each backward below its
 * forward, the trunk, the heads. Not here: attention of a few rows (attention.c), files (folder.c), decoding
 * with a cache (rollout.c), losses (grpo.c). Order of sums: docs/numerics.md; where a loop is parallel,
 * each thread owns its outputs. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/attention.h"
#include "lib/rng.h"
#include "lib/threads.h"

enum { LANES = 16, CHUNK_ROWS = 192, KEPT_LOGITS = 1 << 25 };

static size_t round16(size_t n) { return (n + LANES - 1) / LANES * LANES; }

/* ---- the table of parameters ------------------------------------------------------------- */

size_t param_count(const Param *p) { return (size_t)p->rows * (size_t)p->cols; }

bool model_config_check(const ModelConfig *c, const char *file, Err *e) {
    const struct { const char *name; int value;
    } size[] = {{"vocab_size", c->vocab},           {"hidden_size", c->hidden},
                {"intermediate_size", c->ffn},      {"num_hidden_layers", c->n_layer},
                {"num_attention_heads", c->n_head}, {"num_key_value_heads", c->n_kv_head},
                {"head_dim", c->head_dim},          {"max_position_embeddings", c->context}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > 1 << 24)
            return fail(e, "%s: %s: found %d, expected 1 to %d; mend the configuration", file, size[i].name,
                        size[i].value, 1 << 24);
    if ((long long)c->n_head * c->head_dim > 1 << 24)
        return fail(e, "%s: num_attention_heads %d times head_dim %d is more than %d; mend the configuration",
                    file, c->n_head, c->head_dim, 1 << 24);
    if (c->n_layer > 1 << 14)
        return fail(e, "%s: num_hidden_layers: found %d, expected 1 to %d; mend the configuration", file,
                    c->n_layer, 1 << 14);
    if (c->n_head % c->n_kv_head)
        return fail(e,
                    "%s: num_attention_heads %d is no multiple of num_key_value_heads %d; mend the "
                    "configuration",
                    file, c->n_head, c->n_kv_head);
    if (c->head_dim % 2)
        return fail(e,
                    "%s: head_dim: found %d, expected an even number (rotary pairs); mend the configuration",
                    file, c->head_dim);
    if (c->n_label < 0) return fail(e, "%s: num_labels: found %d, expected at least 1", file, c->n_label);
    if (!(c->norm_eps > 0) || !(c->rope_theta > 0))
        return fail(e, "%s: rms_norm_eps %g and rope_theta %g must be positive; mend the configuration", file,
                    c->norm_eps, c->rope_theta);
    return true;
}

/* The one list of parameters, run twice: out == NULL counts. */
typedef struct { Param *out; int n; bool frozen; Store store; } Table;         /* store: of frozen matrices */

static Param *table_add(Table *t, int rows, int cols, bool matrix, const char *format, int layer) {
    Param *p = t->out ? &t->out[t->n] : NULL;
    t->n++;
    if (!p) return NULL;
    *p = (Param){.rows = rows, .cols = cols, .is_matrix = matrix, .trainable = !t->frozen,
                 .store = t->frozen && matrix ? t->store : STORE_REAL};
    snprintf(p->name, sizeof p->name, format, layer);
    return p;
}

/* The adapters of the linear layer `module` of layer l, if it is a target. */
static void table_adapter(Table *t, Model *m, int l, LoraTarget target, const char *module, int n_out,
                          int n_in) {
    const Lora *c = &m->config.lora;
    if (!c->r || !(c->target >> target & 1)) return;
    Param *none[2], **p = m->adapter ? m->adapter[l][target] : none;
    char format[96];
    for (int b = 0; b < 2; b++) {
        snprintf(format, sizeof format, "base_model.model.model.layers.%%d.%s.%s.lora_%c.weight", module,
                 lora_target_names[target], b ? 'B' : 'A');
        p[b] = table_add(t, b ? n_out : c->r, b ? c->r : n_in, true, format, l);
    }
}

static void model_table(Table *t, Model *m, const ModelConfig *c) {
    const int q = c->n_head * c->head_dim, kv = c->n_kv_head * c->head_dim;
    m->embed = table_add(t, c->vocab, c->hidden, true, "model.embed_tokens.weight", 0);
    for (int l = 0; l < c->n_layer; l++) {
        Param *none[LAYER_PARAMS], **p = m->layer ? m->layer[l] : none;
        Param *none_bias[3], **b = m->mlp_bias ? m->mlp_bias[l] : none_bias;
#define LAYER(slot, rows, cols, matrix, name) \
    p[slot] = table_add(t, rows, cols, matrix, "model.layers.%d." name, l)
        LAYER(P_NORM_IN, 1, c->hidden, false, "input_layernorm.weight");
        LAYER(P_Q, q, c->hidden, true, "self_attn.q_proj.weight");
        if (c->qkv_bias) LAYER(P_QB, 1, q, false, "self_attn.q_proj.bias");
        LAYER(P_K, kv, c->hidden, true, "self_attn.k_proj.weight");
        if (c->qkv_bias) LAYER(P_KB, 1, kv, false, "self_attn.k_proj.bias");
        LAYER(P_V, kv, c->hidden, true, "self_attn.v_proj.weight");
        if (c->qkv_bias) LAYER(P_VB, 1, kv, false, "self_attn.v_proj.bias");
        if (c->qk_norm) LAYER(P_QN, 1, c->head_dim, false, "self_attn.q_norm.weight");
        if (c->qk_norm) LAYER(P_KN, 1, c->head_dim, false, "self_attn.k_norm.weight");
        LAYER(P_O, c->hidden, q, true, "self_attn.o_proj.weight");
        if (c->o_bias) LAYER(P_OB, 1, c->hidden, false, "self_attn.o_proj.bias");
        LAYER(P_NORM_POST, 1, c->hidden, false, "post_attention_layernorm.weight");
        LAYER(P_GATE, c->ffn, c->hidden, true, "mlp.gate_proj.weight");
        if (c->mlp_bias) b[0] = table_add(t, 1, c->ffn, false, "model.layers.%d.mlp.gate_proj.bias", l);
        LAYER(P_UP, c->ffn, c->hidden, true, "mlp.up_proj.weight");
        if (c->mlp_bias) b[1] = table_add(t, 1, c->ffn, false, "model.layers.%d.mlp.up_proj.bias", l);
        LAYER(P_DOWN, c->hidden, c->ffn, true, "mlp.down_proj.weight");
        if (c->mlp_bias) b[2] = table_add(t, 1, c->hidden, false, "model.layers.%d.mlp.down_proj.bias", l);
#undef LAYER
    }
    m->norm = table_add(t, 1, c->hidden, false, "model.norm.weight", 0);
    /* the scores of a reward model are learned beside its adapter (PEFT's modules_to_save) */
    t->frozen = t->frozen && !c->n_label;
    if (c->n_label) m->head = table_add(t, c->n_label, c->hidden, true, "score.weight", 0);
    else m->head = c->tied ? m->embed : table_add(t, c->vocab, c->hidden, true, "lm_head.weight", 0);
    m->n_base = t->n;
    t->frozen = false;
    for (int l = 0; l < c->n_layer; l++) {
        table_adapter(t, m, l, LORA_Q, "self_attn", q, c->hidden);
        table_adapter(t, m, l, LORA_K, "self_attn", kv, c->hidden);
        table_adapter(t, m, l, LORA_V, "self_attn", kv, c->hidden);
        table_adapter(t, m, l, LORA_O, "self_attn", c->hidden, q);
        table_adapter(t, m, l, LORA_GATE, "mlp", c->ffn, c->hidden);
        table_adapter(t, m, l, LORA_UP, "mlp", c->ffn, c->hidden);
        table_adapter(t, m, l, LORA_DOWN, "mlp", c->hidden, c->ffn);
    }
}

/* Which matrices gemm_nt reads: all but an embedding that is not also the head. */
static bool param_is_packed(const Model *m, const Param *p) {
    return p->is_matrix && (p != m->embed || m->head == m->embed);
}

static unsigned char *packed_of(const Model *m, const Param *p) {
    return m->packed + m->packed_at[p - m->param];
}

static void model_layout(Model *m, Arena *a) {
    const ModelConfig *c = &m->config;
    size_t weights = 0, packed = 0;
    for (int i = 0; i < m->n_param; i++) {
        m->param[i].offset = m->param[i].trainable ? weights : SIZE_MAX;
        if (m->param[i].trainable) weights += param_count(&m->param[i]);
        if (!param_is_packed(m, &m->param[i])) continue;
        m->packed_at[i] = packed;
        packed +=
            (gemm_packed_count(m->param[i].rows, m->param[i].cols) * store_size(m->param[i].store) + 63) /
            64 * 64;
    }
    m->n_trainable = weights;
    m->weights = arena_take(a, weights, sizeof(real));
    for (int i = 0; i < m->n_param; i++) {
        Param *p = &m->param[i];
        void *frozen = p->trainable ? NULL : arena_take(a, param_count(p), store_size(p->store));
        if (a->base) p->data = p->trainable ? m->weights + p->offset : frozen;
    }
    m->packed = arena_take(a, packed, 1);
    m->rope_cos = arena_take(a, (size_t)c->context * (size_t)c->head_dim / 2, sizeof(real));
    m->rope_sin = arena_take(a, (size_t)c->context * (size_t)c->head_dim / 2, sizeof(real));
}

/* Whether only an adapter is trained (and a reward model's scores beside it). */
static bool base_is_frozen(const ModelConfig *c) { return c->lora.r > 0 || c->base_store != STORE_REAL; }

static Model *model_table_new(const ModelConfig *c, Err *e) {
    Model *m = calloc(1, sizeof *m);
    if (!m) { fail(e, "model: no memory for its table"); return NULL; }
    const Table start = {.frozen = base_is_frozen(c), .store = c->base_store};
    Table t = start;
    m->config = *c;
    model_table(&t, m, c);
    m->n_param = t.n;
    m->param = calloc((size_t)t.n, sizeof *m->param);
    m->layer = calloc((size_t)c->n_layer, sizeof *m->layer);
    m->mlp_bias = calloc((size_t)c->n_layer, sizeof *m->mlp_bias);
    m->adapter = calloc((size_t)c->n_layer, sizeof *m->adapter);
    m->packed_at = calloc((size_t)t.n, sizeof *m->packed_at);
    if (!m->param || !m->layer || !m->mlp_bias || !m->adapter || !m->packed_at) {
        fail(e, "model: no memory for its table");
        model_free(m);
        return NULL;
    }
    t = start;
    t.out = m->param;
    model_table(&t, m, c);
    return m;
}

Model *model_new(const ModelConfig *c, Err *e) {
    if (!model_config_check(c, "model", e) || (c->lora.r && !lora_check(&c->lora, "adapter", e))) return NULL;
    Model *m = model_table_new(c, e);
    if (!m) return NULL;
    Arena count = {0};
    model_layout(m, &count);
    Arena a = {.base = memory_new(count.used, "model weights", e)};
    if (!a.base) { model_free(m); return NULL; }
    m->memory = a.base;
    m->held = count.used;
    model_layout(m, &a);
    const int half = c->head_dim / 2;
    double *inv_freq = memory_new((size_t)half * sizeof(double), "rotary frequencies", e);
    if (!inv_freq) { model_free(m); return NULL; }
    rope_frequencies(inv_freq, c);
    #pragma omp parallel for schedule(static)
    for (int p = 0; p < c->context; p++)
        rope_table(m->rope_cos + (size_t)p * half, m->rope_sin + (size_t)p * half, inv_freq, half, p);
    memory_free(inv_freq);
    return m;
}

void model_free(Model *m) {
    if (!m) return;
    memory_free(m->memory);
    free(m->param);
    free(m->layer);
    free(m->mlp_bias);
    free(m->adapter);
    free(m->packed_at);
    free(m);
}

size_t model_bytes(const ModelConfig *c) {
    Err e = {{0}};
    Model *m = model_table_new(c, &e);
    if (!m) return SIZE_MAX;
    Arena a = {0};
    model_layout(m, &a);
    model_free(m);
    return a.used;
}

size_t model_trainable(const ModelConfig *c) {
    Err e = {{0}};
    Model *m = model_table_new(c, &e);
    Arena a = {0};
    if (!m) return SIZE_MAX;
    model_layout(m, &a);
    const size_t n = m->n_trainable;
    model_free(m);
    return n;
}

size_t model_parameters(const Model *m) {
    size_t n = 0;
    for (int i = 0; i < m->n_param; i++) n += param_count(&m->param[i]);
    return n;
}

static double layer_weights(const ModelConfig *c) {    /* N of section 8 */
    const double h = c->hidden, q = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim;
    return c->n_layer * (h * (q + 2 * kv) + q * h + 3 * h * c->ffn);
}

double model_forward_flops(const ModelConfig *c, double n_row, double sum_attended, double n_scored) {
    const double outputs = c->n_label ? c->n_label : c->vocab;
    return 2 * layer_weights(c) * n_row + 4 * (double)c->n_head * c->head_dim * c->n_layer * sum_attended +
           2 * outputs * c->hidden * n_scored;
}

double model_trl_flops_per_token(const ModelConfig *c, double length) {
    return 3 * model_forward_flops(c, 1, length, 1);
}

static LoraShape adapter_shape(const Model *m, Param *const p[2]) {
    return (LoraShape){.n_out = p[1]->rows, .n_in = p[0]->cols, .r = p[0]->rows,
                       .s = lora_scale(&m->config.lora)};
}

static void init_param(Model *m, int i, uint64_t seed) {
    const Param *p = &m->param[i];
    const size_t size = store_size(p->store);
    const bool bias = strstr(p->name, ".bias") != NULL;
    #pragma omp parallel for schedule(static)
    for (size_t j = 0; j < param_count(p); j++) {
        const real w = p->is_matrix
                           ? (real)(m->config.init_std * rng_normal(seed, RNG_INIT, (uint64_t)i, j, 0, 0))
                       : bias ? 0
                              : 1;
        store_from_real((unsigned char *)p->data + j * size, &w, p->store, 1);
    }
}

void model_init_new(Model *m, uint64_t seed) {
    if (m->config.n_label) init_param(m, (int)(m->head - m->param), seed);
    for (int l = 0; l < m->config.n_layer; l++)
        for (int t = 0; t < LORA_TARGETS; t++) {
            Param *const *p = m->adapter[l][t];
            if (!p[0]) continue;
            const LoraShape shape = adapter_shape(m, p);
            lora_init(p[0]->data, p[1]->data, &shape, seed, l, (LoraTarget)t);
        }
}

void model_init(Model *m, uint64_t seed) {
    for (int i = 0; i < m->n_base; i++) init_param(m, i, seed);
    model_init_new(m, seed);
}

const Param *model_find(const Model *m, const char *name) {
    for (int i = 0; i < m->n_param; i++)
        if (strcmp(m->param[i].name, name) == 0) return &m->param[i];
    return NULL;
}

void model_copy(Model *to, const Model *from) {
    for (int i = 0; i < to->n_param; i++) {
        const Param *p = model_find(from, to->param[i].name);
        if (p && param_count(p) == param_count(&to->param[i]) && p->store == to->param[i].store)
            memcpy(to->param[i].data, p->data, param_count(p) * store_size(p->store));
    }
}

Model model_base(const Model *m) {
    Model base = *m;
    base.adapter_off = true;
    base.tally = NULL;
    return base;
}

/* The linear layer beside which an adapter stands. */
static const LayerParam adapted_layer[LORA_TARGETS] = {P_Q, P_K, P_V, P_O, P_GATE, P_UP, P_DOWN};

void model_merge(Model *m) {
    for (int l = 0; l < m->config.n_layer; l++)
        for (int t = 0; t < LORA_TARGETS; t++) {
            Param *const *p = m->adapter[l][t];
            if (!p[0]) continue;
            const LoraShape shape = adapter_shape(m, p);
            lora_merge(m->layer[l][adapted_layer[t]]->data, p[0]->data, p[1]->data, &shape);
        }
    m->adapter_off = true;
    model_pack(m);
}

void model_pack_rows(Model *m, const Param *p, int first, int n) {
    const size_t at = (size_t)first * (size_t)p->cols * store_size(p->store);
    if (param_is_packed(m, p))
        gemm_pack(packed_of(m, p) + at, (const unsigned char *)p->data + at, p->store, n, p->cols);
}

void model_pack(Model *m) {
    for (int i = 0; i < m->n_param; i++) model_pack_rows(m, &m->param[i], 0, m->param[i].rows);
}

void model_pack_trainable(Model *m) {
    for (int i = 0; i < m->n_param; i++)
        if (m->param[i].trainable) model_pack_rows(m, &m->param[i], 0, m->param[i].rows);
}

/* ---- E190, E192: what is counted ----------------------------------------------------------- */

static void tally_product(Pass *p, const Param *w, double n_row) {
    p->flop += 2 * (double)param_count(w) * n_row;
}

/* The linear maps of all layers. */
static void tally_rows(const Model *m, int n, bool backward, bool weights) {
    if (!m->tally) return;
    Pass *p = backward ? &m->tally->backward : &m->tally->forward;
    p->row += n;
    for (int l = 0; l < m->config.n_layer; l++)
        for (int t = 0; t < LORA_TARGETS; t++) {
            const Param *w = m->layer[l][adapted_layer[t]], *const *ab =
                                                                (const Param *const *)m->adapter[l][t];
            tally_product(p, w, n);
            if (backward && weights && w->trainable) tally_product(p, w, n);
            if (!ab[0] || m->adapter_off) continue;
            for (int i = 0; i < 2; i++) tally_product(p, ab[i], (backward && weights ? 2 : 1) * (double)n);
        }
}

/* Of one pair forward: q k and p v; backward those of q k again, dO v, and into dv, dq, dk. */
static double attention_flops(const ModelConfig *c, double attended, bool backward) {
    return (backward ? 10.0 : 4.0) * c->n_head * c->head_dim * c->n_layer * attended;
}

void model_tally_attention(const Model *m, double attended) {
    if (m->tally) m->tally->forward.flop += attention_flops(&m->config, attended, false);
}

static double attended_pairs(const Batch *b) {
    double attended = 0;
    for (int i = 0; i < b->n_seg; i++) {
        const double n = b->seg[i].n_row, before = b->seg[i].prefix < 0 ? 0 : b->seg[b->seg[i].prefix].n_row;
        attended += n * before + n * (n + 1) / 2;
    }
    return attended;
}

static void tally_batch(const Model *m, const Batch *b, bool backward) {
    if (!m->tally) return;
    Pass *p = backward ? &m->tally->backward : &m->tally->forward;
    p->seq += b->n_seg;
    p->flop += attention_flops(&m->config, attended_pairs(b), backward);
}

/* What layer_again computes of layer l. */
static void tally_again(const Model *m, int l, const Batch *b) {
    if (!m->tally) return;
    Pass *p = &m->tally->backward;
    for (int t = 0; t < LORA_TARGETS; t++) {
        const Param *const *ab = (const Param *const *)m->adapter[l][t];
        if (t == LORA_DOWN && !ab[0]) continue;
        tally_product(p, m->layer[l][adapted_layer[t]], b->n_row);
        if (ab[0]) tally_product(p, ab[0], b->n_row), tally_product(p, ab[1], b->n_row);
    }
    p->flop += attention_flops(&m->config, attended_pairs(b), false) / m->config.n_layer;
}

static void tally_head(const Model *m, double n_row, bool backward) {
    if (m->tally) tally_product(backward ? &m->tally->backward : &m->tally->forward, m->head, n_row);
}

/* ---- E5, E7, E8: linear layers and norms ------------------------------------------------- */

void linear_forward(real *y, const Model *m, const Param *w, const Param *bias, const real *x, int n_row) {
    gemm_nt(y, w->rows, x, w->cols, packed_of(m, w), w->store, bias ? bias->data : NULL, n_row, w->rows,
            w->cols);
}

/* E6: dW and db are added to. */
static void linear_weight_backward(real *grad, const Param *w, const Param *bias, const real *dy,
                                   const real *x, int n_row) {
    if (grad && w->trainable) gemm_tn(grad + w->offset, dy, w->rows, x, w->cols, n_row, w->rows, w->cols);
    if (grad && bias && bias->trainable) gemm_bias_backward(grad + bias->offset, dy, w->rows, n_row, w->rows);
}

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

static void add(real *y, const real *a, const real *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void norm_rows(real *y, real *r, const real *x, const Param *w, size_t n_vec, double eps) {
    #pragma omp parallel for schedule(static) if (threads_worth(n_vec * (size_t)w->cols))
    for (size_t t = 0; t < n_vec; t++)
        rms_norm(y + t * (size_t)w->cols, r + t, x + t * (size_t)w->cols, w->data, w->cols, eps);
}

/* E7 of sum = x + more. A row at a time: it stays in the cache. */
static void add_rows_norm(real *y, real *r, real *sum, const real *x, const real *more, const Param *w,
                          size_t n_vec, double eps) {
    const size_t n = (size_t)w->cols;
    #pragma omp parallel for schedule(static) if (threads_worth(n_vec * n))
    for (size_t t = 0; t < n_vec; t++) {
        add(sum + t * n, x + t * n, more + t * n, n);
        rms_norm(y + t * n, r + t, sum + t * n, w->data, w->cols, eps);
    }
}

static void norm_rows_backward(real *dx, const real *dy, const real *x, const real *r, const Param *w,
                               size_t n_vec) {
#pragma omp parallel for schedule(static) if (threads_worth(n_vec * (size_t)w->cols))
    for (size_t t = 0; t < n_vec; t++)
        rms_norm_backward(dx + t * (size_t)w->cols, dy + t * (size_t)w->cols, x + t * (size_t)w->cols,
                          w->data, r[t], w->cols);
}

/* E8 where dy is a sum of two parts, or three, which goes to the first of them, and dx starts from `begin`
 * (dx may be more2); and E7 once more, for the gradient of what reads the norm. */
static void sum_rows_norm_backward(real *dx, const real *begin, real *dy, const real *more, const real *more2,
                                   real *normed, const real *x, const real *r, const Param *w, size_t n_vec) {
    const size_t n = (size_t)w->cols;
    const real *weight = w->data;
    #pragma omp parallel for schedule(static) if (threads_worth(n_vec * n))
    for (size_t t = 0; t < n_vec; t++) {
        const size_t at = t * n;
        add(dy + at, dy + at, more + at, n);
        if (more2) add(dy + at, dy + at, more2 + at, n);
        memcpy(dx + at, begin + at, n * sizeof(real));
        rms_norm_backward(dx + at, dy + at, x + at, weight, r[t], w->cols);
        rms_norm_known(normed + at, x + at, weight, r[t], w->cols);
    }
}

static void norm_weight_backward(real *grad, const real *dy, const real *x, const real *r, const Param *w,
                                 size_t n_vec) {
    if (grad && w->trainable) rms_norm_weight_backward(grad + w->offset, dy, x, r, n_vec, w->cols);
}

/* ---- E9 to E12: rotary positions --------------------------------------------------------- */

void rope_frequencies(double *inv_freq, const ModelConfig *c) {
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < c->head_dim / 2; i++) {
        double f = 1 / d_pow(c->rope_theta, 2.0 * i / c->head_dim);
        const double wavelength = 2 * pi / f;
        if (c->rope == ROPE_LINEAR) f /= c->rope_factor;
        if (c->rope == ROPE_LLAMA3 && wavelength >= c->rope_original / c->rope_high) {
            if (wavelength > c->rope_original / c->rope_low) f /= c->rope_factor;
            else {
                const double s = (c->rope_original / wavelength - c->rope_low) / (c->rope_high - c->rope_low);
                f = (1 - s) * f / c->rope_factor + s * f;
            }
        }
        inv_freq[i] = f;
    }
}

void rope_table(real *cos, real *sin, const double *inv_freq, int half, int position) {
    for (int i = 0; i < half; i++) {
        cos[i] = (real)d_cos(position * inv_freq[i]);
        sin[i] = (real)d_sin(position * inv_freq[i]);
    }
}

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

/* ---- E23 to E27: one row of logits ------------------------------------------------------- */

static LogitStats row_stats(real *z, int vocab, double temperature, bool want_entropy, double *total_at) {
    real block[LOGITS_BLOCK], shifted[LOGITS_BLOCK];
    if (temperature != 1)
        for (int v = 0; v < vocab; v++) z[v] /= (real)temperature;
    const real max = r_max(z, (size_t)vocab);
    double sum = 0, mean = 0, total = 0;
    for (int v = 0; v < vocab; v += LOGITS_BLOCK) {
        const size_t n = (size_t)(vocab - v < LOGITS_BLOCK ? vocab - v : LOGITS_BLOCK);
        r_exp_array(block, z + v, max, n);
        sum += r_sum(block, n);
        if (total_at) {
            for (size_t i = 0; i < n; i++) total += block[i];
            total_at[v / LOGITS_BLOCK] = total;
        }
        if (!want_entropy) continue;
        for (size_t i = 0; i < n; i++) shifted[i] = z[(size_t)v + i] - max;
        mean += r_dot(block, shifted, n);
    }
    const double log_sum = d_log(sum);
    return (LogitStats){.max = max, .sum = (real)sum, .log_sum = (real)log_sum,
                        .entropy = (real)(log_sum - mean / sum)};
}

LogitStats logits_stats(real *z, int vocab, double temperature, bool want_entropy) {
    return row_stats(z, vocab, temperature, want_entropy, NULL);
}

LogitStats logits_totals(real *z, int vocab, double temperature, double *total_at) {
    return row_stats(z, vocab, temperature, false, total_at);
}

void logits_backward(real *z, int vocab, double temperature, const LogitStats *s, const int *target,
                     const real *dlogp, const real *dentropy, int n) {
    const real tau = (real)temperature;
    real c_sum = 0, h_sum = 0;
    for (int i = 0; i < n; i++) {
        c_sum += dlogp[i];
        if (dentropy) h_sum += dentropy[i];
    }
    for (int v0 = 0; v0 < vocab; v0 += LOGITS_BLOCK) {
        real p[LOGITS_BLOCK];
        const int m = vocab - v0 < LOGITS_BLOCK ? vocab - v0 : LOGITS_BLOCK;
        r_exp_array(p, z + v0, s->max, (size_t)m);
        for (int v = 0; v < m; v++) {
            p[v] /= s->sum;
            const real logp = z[v0 + v] - s->max - s->log_sum;
            z[v0 + v] = -(p[v] * c_sum);
            if (h_sum != 0) z[v0 + v] -= h_sum * p[v] * (logp + s->entropy);
        }
    }
    /* c_y of equal targets is summed first, ascending, on the first of them */
    for (int i = 0; i < n; i++) {
        bool first = true;
        for (int k = 0; first && k < i; k++) first = target[k] != target[i];
        if (!first) continue;
        real c = dlogp[i];
        for (int k = i + 1; k < n; k++) if (target[k] == target[i]) c += dlogp[k];
        z[target[i]] += c;
    }
    if (temperature != 1)
        for (int v = 0; v < vocab; v++) z[v] /= tau;
}

/* ---- activations ------------------------------------------------------------------------- */

typedef struct {                        /* of one layer; E196 */
    real *x, *r_in, *q, *k, *v, *q_raw, *k_raw, *r_q, *r_k, *o, *max, *sum, *mid, *r_mid, *gate, *up;
    real *low[LORA_TARGETS];            /* A x of each adapter */
} LayerActs;

struct Acts {
    int max_row, max_target,
        n_thread; /* scratch is per thread: no loop that needs it takes more, whatever OpenMP says later */
    bool keep, checkpoint;              /* checkpoint: layers share all but x */
    size_t key_cap;                     /* keys (in whole blocks) of the longest path */
    size_t held, thread_bytes;          /* of base; the part that grows with n_thread */
    LayerActs *layer;                   /* [n_layer]; without keep all the same, with checkpoint all but x */
    real *x_last, *r_last, *hidden;
    real *normed, *normed_mid;          /* of the running layer */
    real *act, *wide, *row_h, *dx, *dx_next, *d_mid, *dnormed_mid, *dq, *dk, *dv, *d_o, *dk_raw;
    size_t
        lora_width; /* of a row of lora_wide, whatever the layer: threads are at different layers at a time */
    /* an adapter's B u or A^T du, s u, du of the running layer */
    real *lora_wide, *lora_low, *lora_dlow[LORA_TARGETS];
    int *position;                      /* [max_row] */
    const int *id;                      /* of the running call */
    real *key_t, *value, *value_t, *key, *score,
        *dscore; /* [n_thread][...]: a unit of attention's panels and scratch */
    int logit_rows; /* of logits: a chunk, or all targets of a slice where KEPT_LOGITS allows */
    bool logits_kept; /* head_logp left those of all scored rows in logits, divided by the temperature */
    real *logits, *scored_hidden, *dscored;     /* the last two: one chunk of rows */
    int *scored_row, *scored_at; /* [max_target], [max_target + 1]: distinct rows and their first target */
    LogitStats *stats;                  /* [max_target] */
    bool tied; /* E20 of a trainable tied embedding goes to rows of its own (docs/numerics.md) until
                  model_grad_finish: */
    int n_embed, *embed_id, *embed_slot, *embed_at; /* ids that occurred; [vocab] their row + 1, or 0;
                                                       [max_row] the row that each row adds to */
    real *embed_row; /* [vocab, hidden], owned, zero; memory only where an id has occurred */
    unsigned char *base;
};

bool acts_keep_logits(const ModelConfig *c, int max_target) {
    return max_target <= CHUNK_ROWS || max_target <= KEPT_LOGITS / c->vocab;
}

static void acts_layout(Acts *s, Arena *a, const ModelConfig *c) {
    const size_t n = (size_t)s->max_row, h = (size_t)c->hidden, q = (size_t)c->n_head * (size_t)c->head_dim;
    const size_t kv = (size_t)c->n_kv_head * (size_t)c->head_dim, f = (size_t)c->ffn, d = (size_t)c->head_dim;
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
        if (c->qk_norm) {
            TAKE(q_raw, n, q);
            TAKE(k_raw, n, kv);
            TAKE(r_q, n, (size_t)c->n_head);
            TAKE(r_k, n, (size_t)c->n_kv_head);
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
    TAKE(normed, n, h); TAKE(normed_mid, n, h); TAKE(act, n, f); TAKE(row_h, n, h);
    s->lora_width = q > f ? (q > h ? q : h) : f > h ? f : h;
    if (c->lora.r) TAKE(lora_wide, n, s->lora_width);
    if (c->lora.r && s->keep) TAKE(lora_low, n, (size_t)c->lora.r);
    for (int i = 0; i < LORA_TARGETS && s->keep; i++)
        if (c->lora.r && c->lora.target >> i & 1) TAKE(lora_dlow[i], n, (size_t)c->lora.r);
    const size_t threads = (size_t)s->n_thread;
    const size_t panels = s->key_cap * round16(d), scratch = attention_scratch(s->key_cap, c->head_dim),
                 before = a->used;
    TAKE(key_t, threads, panels); TAKE(value, threads, panels); TAKE(score, threads, scratch);
    if (s->keep) {
        TAKE(value_t, threads, panels);
        TAKE(key, threads, panels);
        TAKE(dscore, threads, scratch);
    }
    s->thread_bytes = a->used - before;
    if (s->keep) {
        TAKE(wide, n, h); TAKE(dx, n, h); TAKE(dx_next, n, h); TAKE(d_mid, n, h); TAKE(dnormed_mid, n, h);
        TAKE(dq, n, q); TAKE(dk, n, kv); TAKE(dv, n, kv); TAKE(d_o, n, q);
        if (c->qk_norm) TAKE(dk_raw, n, kv);
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

static bool has_tied_gradient(const ModelConfig *c) { return c->tied && !c->n_label && !base_is_frozen(c); }

static size_t embed_row_bytes(const Acts *s, const ModelConfig *c) {
    return s->tied ? (size_t)c->vocab * (size_t)c->hidden * sizeof(real) : 0;
}

static Acts acts_sizes(const ModelConfig *c, int max_row, int max_target, bool keep) {
    const int path = max_row < c->context ? max_row : c->context;
    return (Acts){.max_row = max_row, .max_target = max_target, .keep = keep,
                  .tied = keep && has_tied_gradient(c), .checkpoint = keep && c->checkpointing,
                  .n_thread = thread_count(), .key_cap = round16((size_t)path) + 2 * LANES};
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

/* ---- the trunk --------------------------------------------------------------------------- */

bool batch_check(const Batch *b, const ModelConfig *c, Err *e) {
    int row = 0;
    for (int i = 0; i < b->n_seg; i++) {
        const Segment *s = &b->seg[i];
        if (s->start != row || s->n_row < 1)
            return fail(e, "batch: segment %d has %d rows from row %d, expected to start at row %d", i,
                        s->n_row, s->start, row);
        if (s->prefix >= i || s->prefix < -1 || (s->prefix >= 0 && b->seg[s->prefix].prefix != -1))
            return fail(e,
                        "batch: segment %d names segment %d as its prefix, expected an earlier one without "
                        "prefix",
                        i, s->prefix);
        if (s->prefix >= 0 && i && s->prefix != i - 1 && b->seg[i - 1].prefix != s->prefix)
            return fail(e, "batch: segment %d does not stand beside the others of prefix %d", i, s->prefix);
        const int length = s->n_row + (s->prefix >= 0 ? b->seg[s->prefix].n_row : 0);
        if (length > c->context)
            return fail(e,
                        "batch: a sequence of %d tokens, but the context holds %d; shorten the prompt or "
                        "max_completion_length",
                        length, c->context);
        row += s->n_row;
    }
    if (row != b->n_row) return fail(e, "batch: segments hold %d rows, the batch %d", row, b->n_row);
    for (int t = 0; t < b->n_row; t++)
        if (b->id[t] < 0 || b->id[t] >= c->vocab)
            return fail(e, "batch: token id %d at row %d, expected 0 to %d", b->id[t], t, c->vocab - 1);
    for (int i = 0; i < b->n_target; i++)
        if (b->target_row[i] < (i ? b->target_row[i - 1] : 0) || b->target_row[i] >= b->n_row ||
            b->target_id[i] < 0 || b->target_id[i] >= c->vocab)
            return fail(e, "batch: target %d is token %d at row %d: out of range or out of order", i,
                        b->target_id[i], b->target_row[i]);
    return true;
}

typedef struct { Acts *a; const ModelConfig *c; const Batch *b; KeySink *sink; void *to; } BatchAttention;

/* The keys and values of a segment for key/value head g, laid out in the calling thread's panels from
 * position `at` on. */
static KeySpan lay_out(const Acts *a, const ModelConfig *c, const Segment *s, int g, size_t at, const real *k,
                       const real *v, bool backward) {
    const int d = c->head_dim, ld = c->n_kv_head * d;
    const size_t from = ((size_t)thread_index() * a->key_cap + at) * round16((size_t)d),
                 first = (size_t)s->start * (size_t)ld + (size_t)(g * d);
    KeySpan span = {.n = s->n_row, .key_t = a->key_t + from, .value_stride = (size_t)s->n_row * LANES};
    attention_transpose(span.key_t, k + first, s->n_row, ld, d);
    if (!backward) {
        span.value = a->value + from;
        attention_columns(span.value, span.value_stride, v + first, s->n_row, ld, d);
        return span;
    }
    span.value_t = a->value_t + from;
    span.key = a->key + from;
    span.dk = a->dk + first;
    span.dv = a->dv + first;
    attention_transpose(span.value_t, v + first, s->n_row, ld, d);
    attention_columns(span.key, span.value_stride, k + first, s->n_row, ld, d);
    return span;
}

/* E13 to E16 over the batch; parallel over (segment, key/value head). */
static void batch_attention(void *context, int layer, const AttentionRows *y) {
    const BatchAttention *f = context;
    Acts *a = f->a;
    const ModelConfig *c = f->c;
    const Batch *b = f->b;
    if (f->sink) f->sink(f->to, layer, y->k, y->v);
    const int d = c->head_dim, q_ld = c->n_head * d, per = c->n_head / c->n_kv_head;
    const size_t work = (size_t)b->n_row * (size_t)q_ld * a->key_cap / 16;
    #pragma omp parallel for schedule(dynamic, 1) num_threads(a->n_thread) if (threads_worth(work))
    for (int unit = 0; unit < b->n_seg * c->n_kv_head; unit++) {
        const Segment *s = &b->seg[unit / c->n_kv_head];
        const int g = unit % c->n_kv_head;
        KeySpan span[2];
        int n_span = 0;
        if (s->prefix >= 0) span[n_span++] = lay_out(a, c, &b->seg[s->prefix], g, 0, y->k, y->v, false);
        span[n_span] = lay_out(a, c, s, g, n_span ? round16((size_t)span[0].n) : 0, y->k, y->v, false);
        for (int j = g * per; j < (g + 1) * per; j++) {
            const size_t q = (size_t)s->start * (size_t)q_ld + (size_t)(j * d),
                         stat = (size_t)s->start * (size_t)c->n_head + (size_t)j;
            attend(y->o + q, y->max + stat, y->sum + stat, c->n_head,
                   a->score + (size_t)thread_index() * attention_scratch(a->key_cap, d), y->q + q, q_ld,
                   s->n_row, span, n_span + 1, 0, d);
        }
    }
}

/* E17; parallel over (tree, key/value head): a thread owns dk and dv of all rows of its tree, and takes
 * heads, then segments, then rows in ascending order: one chain for each key row. */
static void attention_backward(Acts *a, const LayerActs *y, const ModelConfig *c, const Batch *b) {
    const int d = c->head_dim, kv_ld = c->n_kv_head * d, q_ld = c->n_head * d, per = c->n_head / c->n_kv_head;
    const size_t scratch = attention_scratch(a->key_cap, d);
    const real scale = (real)(1 / sqrt((double)d));
    const size_t work = (size_t)b->n_row * (size_t)q_ld * a->key_cap / 16;
    #pragma omp parallel for schedule(dynamic, 1) num_threads(a->n_thread) if (threads_worth(work))
    for (int unit = 0; unit < b->n_seg * c->n_kv_head; unit++) {
        const int root = unit / c->n_kv_head, g = unit % c->n_kv_head;
        if (b->seg[root].prefix >= 0) continue;
        int end = root + 1;
        while (end < b->n_seg && b->seg[end].prefix == root) end++;
        const int row_end = b->seg[end - 1].start + b->seg[end - 1].n_row;
        for (int t = b->seg[root].start; t < row_end; t++) {
            memset(a->dk + (size_t)t * (size_t)kv_ld + g * d, 0, (size_t)d * sizeof(real));
            memset(a->dv + (size_t)t * (size_t)kv_ld + g * d, 0, (size_t)d * sizeof(real));
        }
        /* the prompt's panels stay */
        KeySpan span[2] = {lay_out(a, c, &b->seg[root], g, 0, y->k, y->v, true)};
        for (int j = g * per; j < (g + 1) * per; j++)
            for (int i = root; i < end; i++) {
                const Segment *s = &b->seg[i];
                if (i > root) span[1] = lay_out(a, c, s, g, round16((size_t)span[0].n), y->k, y->v, true);
                const size_t q = (size_t)s->start * (size_t)q_ld + (size_t)(j * d),
                             stat = (size_t)s->start * (size_t)c->n_head + (size_t)j;
                attend_backward(a->dq + q, a->score + (size_t)thread_index() * scratch,
                                a->dscore + (size_t)thread_index() * scratch, y->q + q, y->o + q, a->d_o + q,
                                q_ld, y->max + stat, y->sum + stat, c->n_head, s->n_row, span,
                                i == root ? 1 : 2, 0, d, kv_ld);
            }
        for (int t = b->seg[root].start; t < row_end; t++)
            for (int j = 0; j < d; j++) a->dk[(size_t)t * (size_t)kv_ld + (size_t)(g * d + j)] *= scale;
    }
}

/* E10 on q and k of rows [from, from + n) (E11 when back). */
static void rope_rows(const Acts *a, const Model *m, real *q, real *k, int from, int n, bool back) {
    const ModelConfig *c = &m->config;
    const size_t half = (size_t)c->head_dim / 2;
    const size_t n_pair = (size_t)n * half * (size_t)(c->n_head + c->n_kv_head);
    #pragma omp parallel for schedule(static) if (threads_worth(n_pair))
    for (int t = from; t < from + n; t++) {
        const real *cos = m->rope_cos + (size_t)a->position[t] * half,
                   *sin = m->rope_sin + (size_t)a->position[t] * half;
        rope_apply(q + (size_t)t * (size_t)(c->n_head * c->head_dim), c->n_head, c->head_dim, cos, sin, back);
        rope_apply(k + (size_t)t * (size_t)(c->n_kv_head * c->head_dim), c->n_kv_head, c->head_dim, cos, sin,
                   back);
    }
}

static void add_rows(real *y, const real *a, const real *b, size_t n) {
    #pragma omp parallel for simd schedule(static) if (threads_worth(n / 4))
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void swiglu_rows(real *act, const real *gate, const real *up, int n_row, int ffn) {
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n_row * (size_t)ffn))
    for (int t = 0; t < n_row; t++)
        r_swiglu(act + (size_t)t * (size_t)ffn, gate + (size_t)t * (size_t)ffn, up + (size_t)t * (size_t)ffn,
                 (size_t)ffn);
}

/* ---- a layer's linear maps, each with its adapter if it has one (E290, E291) --------------- */

/* y = W x for rows [from, from + n) of x and y; n_y maps of the same x, for which threads meet once. */
typedef struct { real *y; LoraTarget target; const Param *bias; } Projection;
static void project(const Projection *y, int n_y, Acts *a, const Model *m, int l, const real *x, int from,
                    int n) {
    GemmNt list[GEMM_LIST];
    const size_t at = (size_t)from;
    const int n_in = m->layer[l][adapted_layer[y->target]]->cols;
    x += at * (size_t)n_in;
    for (int i = 0; i < n_y; i++) {
        const Param *w = m->layer[l][adapted_layer[y[i].target]];
        list[i] = (GemmNt){.y = y[i].y + at * (size_t)w->rows, .packed = packed_of(m, w), .store = w->store,
                           .bias = y[i].bias ? y[i].bias->data : NULL, .n_out = w->rows};
    }
    gemm_nt_list(list, n_y, x, n, n_in);
    for (int i = 0; i < n_y; i++) {
        const LoraTarget t = y[i].target;
        Param *const *p = m->adapter[l][t];
        if (!p[0] || m->adapter_off) continue;
        const LoraShape shape = adapter_shape(m, p);
        lora_forward(list[i].y, a->layer[l].low[t] + at * (size_t)shape.r, a->lora_wide + at * a->lora_width,
                     (const real *)packed_of(m, p[0]), (const real *)packed_of(m, p[1]), x, n, &shape);
    }
}

/* dx = W^T dy for rows [from, from + n). */
static void project_back(real *dx, Acts *a, const Model *m, int l, LoraTarget t, const real *dy, int from,
                         int n) {
    const Param *w = m->layer[l][adapted_layer[t]];
    Param *const *p = m->adapter[l][t];
    const size_t at = (size_t)from;
    dx += at * (size_t)w->cols;
    dy += at * (size_t)w->rows;
    gemm_nn(dx, w->cols, dy, w->rows, w->data, w->store, n, w->rows, w->cols);
    if (!p[0] || m->adapter_off) return;
    const LoraShape shape = adapter_shape(m, p);
    const size_t low = at * (size_t)shape.r;
    lora_backward(dx, NULL, NULL, NULL, a->lora_dlow[t] + low, a->lora_wide + at * a->lora_width, dy, NULL,
                  a->layer[l].low[t] + low, p[0]->data, p[1]->data, n, &shape);
}

/* dW += of all rows goes to the list, the rest is done at once. */
static void project_weights(GemmTn *list, int *n_list, real *grad, Acts *a, const Model *m, int l,
                            LoraTarget t, const Param *bias, const real *dy, const real *x, int n) {
    const Param *w = m->layer[l][adapted_layer[t]];
    Param *const *p = m->adapter[l][t];
    if (w->trainable)
        list[(*n_list)++] =
            (GemmTn){.dw = grad + w->offset, .dy = dy, .x = x, .m = n, .n_out = w->rows, .n_in = w->cols};
    if (bias && bias->trainable) gemm_bias_backward(grad + bias->offset, dy, w->rows, n, w->rows);
    if (!p[0] || m->adapter_off) return;
    const LoraShape shape = adapter_shape(m, p);
    lora_backward(NULL, grad + p[0]->offset, grad + p[1]->offset, a->lora_low, a->lora_dlow[t], a->lora_wide,
                  dy, x, a->layer[l].low[t], p[0]->data, p[1]->data, n, &shape);
}

/* ---- layers ------------------------------------------------------------------------------- */

/* All of a layer but attention concerns each row alone. So a thread takes a block of rows through it, whose
 * activations stay in its cache, and threads meet only where attention begins and ends. Few rows are one
 * block, computed by all threads together, operation by operation: a block must repay reading the weights. */
static int block_count(const Acts *a, const Model *m, int n) {
    enum { MOST = 192, CACHED = 1 << 18 };
    const int threads = a->n_thread < thread_count() ? a->n_thread : thread_count();
    const int least = layer_weights(&m->config) / m->config.n_layer < CACHED ? 32 : 96;
    return n < least * threads ? 1 : ((n - 1) / MOST / threads + 1) * threads;
}

/* Where block i of n rows begins: all but the last hold whole kernels. */
static int block_start(int n, int i, int blocks) {
    return i == blocks ? n : (int)((long long)n * i / blocks / GEMM_ROWS * GEMM_ROWS);
}

/* E2 up to attention, for rows [from, from + n): q, k, v. */
static void before_attention(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t at = (size_t)from, h = (size_t)c->hidden, heads = (size_t)c->n_head,
                 kv_heads = (size_t)c->n_kv_head, d = (size_t)c->head_dim;
    real *q = c->qk_norm ? y->q_raw : y->q, *k = c->qk_norm ? y->k_raw : y->k;
    norm_rows(a->normed + at * h, y->r_in + at, y->x + at * h, p[P_NORM_IN], (size_t)n, c->norm_eps);
    project((Projection[]){{q, LORA_Q, p[P_QB]}, {k, LORA_K, p[P_KB]}, {y->v, LORA_V, p[P_VB]}}, 3, a, m, l,
            a->normed, from, n);
    if (c->qk_norm) {
        norm_rows(y->q + at * heads * d, y->r_q + at * heads, q + at * heads * d, p[P_QN], (size_t)n * heads,
                  c->norm_eps);
        norm_rows(y->k + at * kv_heads * d, y->r_k + at * kv_heads, k + at * kv_heads * d, p[P_KN],
                  (size_t)n * kv_heads, c->norm_eps);
    }
    rope_rows(a, m, y->q, y->k, from, n, false);
}

/* The rest of E2, and E3 up to its last map: from o to act. */
static void after_attention_to_act(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l], *const *mb = m->mlp_bias[l];
    const size_t h = (size_t)c->hidden, f = (size_t)c->ffn, at = (size_t)from * h, wide = (size_t)from * f;
    project(&(Projection){a->row_h, LORA_O, p[P_OB]}, 1, a, m, l, y->o, from, n);
    add_rows_norm(a->normed_mid + at, y->r_mid + from, y->mid + at, y->x + at, a->row_h + at, p[P_NORM_POST],
                  (size_t)n, c->norm_eps);
    project((Projection[]){{y->gate, LORA_GATE, mb[0]}, {y->up, LORA_UP, mb[1]}}, 2, a, m, l, a->normed_mid,
            from, n);
    swiglu_rows(a->act + wide, y->gate + wide, y->up + wide, n, c->ffn);
}

/* From o to the next layer's x. */
static void after_attention(Acts *a, const Model *m, int l, int from, int n, real *x_next) {
    const size_t h = (size_t)m->config.hidden, at = (size_t)from * h;
    after_attention_to_act(a, m, l, from, n);
    project(&(Projection){a->row_h, LORA_DOWN, m->mlp_bias[l][2]}, 1, a, m, l, a->act, from, n);
    add_rows(x_next + at, a->layer[l].mid + at, a->row_h + at, (size_t)n * h);
}

/* Backward of after_attention: from a->dx to d_mid (by `mid`), d_o (E21), and dgate and dup, which take the
 * place of gate and up. */
static void back_to_attention(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t h = (size_t)c->hidden, f = (size_t)c->ffn, at = (size_t)from * h;
    project_back(a->act, a, m, l, LORA_DOWN, a->dx, from, n);               /* act holds dact for a moment */
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * f))
    for (int t = from; t < from + n; t++) {
        const size_t row = (size_t)t * f;
        r_swiglu_backward(a->act + row, y->gate + row, y->up + row, f);
    }
    project_back(a->dnormed_mid, a, m, l, LORA_GATE, y->gate, from, n);
    project_back(a->wide, a, m, l, LORA_UP, y->up, from, n);
    sum_rows_norm_backward(a->d_mid + at, a->dx + at, a->dnormed_mid + at, a->wide + at, NULL,
                           a->normed_mid + at, y->mid + at, y->r_mid + from, p[P_NORM_POST], (size_t)n);
    project_back(a->d_o, a, m, l, LORA_O, a->d_mid, from, n);
}

/* Backward of before_attention: from dq, dk, dv to a->dx_next, the derivative by the layer's input. With
 * qk_norm, d_o is free again and holds dq of before the norm, dk_raw that of k. */
static void back_to_input(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l];
    const size_t h = (size_t)c->hidden, at = (size_t)from * h, heads = (size_t)c->n_head,
                 kv_heads = (size_t)c->n_kv_head, d = (size_t)c->head_dim;
    const size_t q_at = (size_t)from * heads * d, k_at = (size_t)from * kv_heads * d;
    rope_rows(a, m, a->dq, a->dk, from, n, true);
    if (c->qk_norm) {
        memset(a->d_o + q_at, 0, (size_t)n * heads * d * sizeof(real));
        memset(a->dk_raw + k_at, 0, (size_t)n * kv_heads * d * sizeof(real));
        norm_rows_backward(a->d_o + q_at, a->dq + q_at, y->q_raw + q_at, y->r_q + (size_t)from * heads,
                           p[P_QN], (size_t)n * heads);
        norm_rows_backward(a->dk_raw + k_at, a->dk + k_at, y->k_raw + k_at, y->r_k + (size_t)from * kv_heads,
                           p[P_KN], (size_t)n * kv_heads);
    }
    project_back(a->row_h, a, m, l, LORA_Q, c->qk_norm ? a->d_o : a->dq, from, n);
    project_back(a->wide, a, m, l, LORA_K, c->qk_norm ? a->dk_raw : a->dk, from, n);
    project_back(a->dx_next, a, m, l, LORA_V, a->dv, from, n);
    sum_rows_norm_backward(a->dx_next + at, a->d_mid + at, a->row_h + at, a->wide + at, a->dx_next + at,
                           a->normed + at, y->x + at, y->r_in + from, p[P_NORM_IN], (size_t)n);
}

/* Gradients of the layer's weights: chains over all rows, which a thread therefore never shares. */
static void layer_weights_backward(real *grad, Acts *a, const Model *m, int l, int n) {
    const ModelConfig *c = &m->config;
    const LayerActs *y = &a->layer[l];
    Param *const *p = m->layer[l], *const *mb = m->mlp_bias[l];
    const size_t rows = (size_t)n;
    GemmTn list[LORA_TARGETS];
    int n_list = 0;
    project_weights(list, &n_list, grad, a, m, l, LORA_DOWN, mb[2], a->dx, a->act, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_GATE, mb[0], y->gate, a->normed_mid, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_UP, mb[1], y->up, a->normed_mid, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_O, p[P_OB], a->d_mid, y->o, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_Q, p[P_QB], c->qk_norm ? a->d_o : a->dq, a->normed, n);
    project_weights(list, &n_list, grad, a, m, l, LORA_K, p[P_KB], c->qk_norm ? a->dk_raw : a->dk, a->normed,
                    n);
    project_weights(list, &n_list, grad, a, m, l, LORA_V, p[P_VB], a->dv, a->normed, n);
    gemm_tn_list(list, n_list);
    norm_weight_backward(grad, a->dnormed_mid, y->mid, y->r_mid, p[P_NORM_POST], rows);
    norm_weight_backward(grad, a->row_h, y->x, y->r_in, p[P_NORM_IN], rows);
    if (!c->qk_norm) return;
    norm_weight_backward(grad, a->dq, y->q_raw, y->r_q, p[P_QN], rows * (size_t)c->n_head);
    norm_weight_backward(grad, a->dk, y->k_raw, y->r_k, p[P_KN], rows * (size_t)c->n_kv_head);
}

/* ---- the trunk ---------------------------------------------------------------------------- */

/* Part of a layer for rows [from, from + n); and for all rows, block by block. One block is no parallel
 * region: in a region of one thread, those that the operations open would have to make their threads anew
 * each time. */
typedef void LayerRows(Acts *a, const Model *m, int l, int from, int n);
static void by_blocks(LayerRows *part, Acts *a, const Model *m, int l, int n) {
    const int blocks = block_count(a, m, n);
    if (blocks == 1) { part(a, m, l, 0, n); return; }
    #pragma omp parallel for schedule(dynamic, 1) num_threads(a->n_thread)
    for (int i = 0; i < blocks; i++) {
        const int from = block_start(n, i, blocks), end = block_start(n, i + 1, blocks);
        if (end > from) part(a, m, l, from, end - from);
    }
}

/* What rows need between the attention of layer l - 1 and that of layer l. */
static void between_attentions(Acts *a, const Model *m, int l, int from, int n) {
    const ModelConfig *c = &m->config;
    const size_t h = (size_t)c->hidden, at = (size_t)from * h;
    const unsigned char *embed = m->embed->data;
    const size_t embed_row = h * store_size(m->embed->store);
    if (l == 0)
        /* E1 */
        for (int t = from; t < from + n; t++)
            store_to_real(a->layer[0].x + (size_t)t * h, embed + (size_t)a->id[t] * embed_row,
                          m->embed->store, h);
    else after_attention(a, m, l - 1, from, n, l < c->n_layer ? a->layer[l].x : a->x_last);
    if (l < c->n_layer) before_attention(a, m, l, from, n);
    else norm_rows(a->hidden + at, a->r_last + from, a->x_last + at, m->norm, (size_t)n, c->norm_eps);
}

const real *model_rows(Acts *a, const Model *m, const int *id, const int *position, int n,
                       Attention *attention, void *context) {
    if (position != a->position) memcpy(a->position, position, (size_t)n * sizeof(int));
    a->id = id;
    tally_rows(m, n, false, false);
    for (int l = 0; l <= m->config.n_layer; l++) {
        by_blocks(between_attentions, a, m, l, n);
        if (l == m->config.n_layer) break;
        const LayerActs *y = &a->layer[l];
        attention(context, l,
                  &(AttentionRows){.n_row = n, .q = y->q, .k = y->k, .v = y->v, .o = y->o, .max = y->max,
                                   .sum = y->sum});
    }
    return a->hidden;
}

const real *model_forward_keys(Acts *a, const Model *m, const Batch *b, KeySink *sink, void *to) {
    for (int i = 0; i < b->n_seg; i++) {        /* E30, E31 */
        const int before = b->seg[i].prefix < 0 ? 0 : b->seg[b->seg[i].prefix].n_row;
        for (int t = 0; t < b->seg[i].n_row; t++) a->position[b->seg[i].start + t] = before + t;
    }
    tally_batch(m, b, false);
    BatchAttention f = {.a = a, .c = &m->config, .b = b, .sink = sink, .to = to};
    return model_rows(a, m, b->id, a->position, b->n_row, batch_attention, &f);
}

/* E196 with checkpointing: what forward once left of layer l, from its input. Of the last map only the
 * adapter's part is wanted again. */
static void after_attention_again(Acts *a, const Model *m, int l, int from, int n) {
    after_attention_to_act(a, m, l, from, n);
    if (m->adapter[l][LORA_DOWN][0])
        project(&(Projection){a->row_h, LORA_DOWN, m->mlp_bias[l][2]}, 1, a, m, l, a->act, from, n);
}

static void layer_again(Acts *a, const Model *m, int l, const Batch *b) {
    const LayerActs *y = &a->layer[l];
    BatchAttention f = {.a = a, .c = &m->config, .b = b};
    tally_again(m, l, b);
    by_blocks(before_attention, a, m, l, b->n_row);
    batch_attention(&f, l,
                    &(AttentionRows){.n_row = b->n_row, .q = y->q, .k = y->k, .v = y->v, .o = y->o,
                                     .max = y->max, .sum = y->sum});
    by_blocks(after_attention_again, a, m, l, b->n_row);
}

const real *model_forward(Acts *a, const Model *m, const Batch *b) {
    return model_forward_keys(a, m, b, NULL, NULL);
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

void model_backward(real *grad, Acts *a, const Model *m, const Batch *b, real *dhidden) {
    const ModelConfig *c = &m->config;
    const int n = b->n_row;
    tally_rows(m, n, true, grad != NULL);
    tally_batch(m, b, true);
    memset(a->dx, 0, (size_t)n * (size_t)c->hidden * sizeof(real));
    norm_rows_backward(a->dx, dhidden, a->x_last, a->r_last, m->norm, (size_t)n);
    norm_weight_backward(grad, dhidden, a->x_last, a->r_last, m->norm, (size_t)n);
    for (int l = c->n_layer - 1; l >= 0; l--) {
        /* the last layer's are still there */
        if (a->checkpoint && l < c->n_layer - 1) layer_again(a, m, l, b);
        by_blocks(back_to_attention, a, m, l, n);
        attention_backward(a, &a->layer[l], c, b);
        by_blocks(back_to_input, a, m, l, n);
        if (grad) layer_weights_backward(grad, a, m, l, n);
        real *dx = a->dx;
        a->dx = a->dx_next;
        a->dx_next = dx;
    }
    if (!grad || !m->embed->trainable) return;
    if (a->tied) embedding_backward(a->embed_row, a->dx, embed_rows(a, b->id, n), n, c->hidden);
    else embedding_backward(grad + m->embed->offset, a->dx, b->id, n, c->hidden);
}

/* ---- heads ------------------------------------------------------------------------------- */

void model_grad_finish(real *grad, Acts *a, const Model *m) {
    const size_t h = (size_t)m->config.hidden;
    #pragma omp parallel for schedule(static) if (threads_worth((size_t)a->n_embed * h))
    for (int i = 0; i < a->n_embed; i++) {
        real *row = a->embed_row + (size_t)i * h, *sum = grad + m->embed->offset + (size_t)a->embed_id[i] * h;
        add(sum, row, sum, h);
        memset(row, 0, h * sizeof(real));
        a->embed_slot[a->embed_id[i]] = 0;
    }
    a->n_embed = 0;
}

void head_logits(real *z, const Model *m, const real *hidden, int n) {
    tally_head(m, n, false);
    linear_forward(z, m, m->head, NULL, hidden, n);
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

void head_logp(real *logp, real *entropy, Acts *a, const Model *m, const Batch *b, const real *hidden,
               double temperature) {
    const int vocab = m->config.vocab, n_scored = scored_rows(a, b);
    a->logits_kept = a->keep && n_scored <= a->logit_rows;
    for (int first = 0, n; first < n_scored; first += n) {
        real *logits = chunk(a, m, hidden, first, n_scored, a->logits_kept, &n);
        head_logits(logits, m, a->scored_hidden, n);
        #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (size_t)vocab))
        for (int i = 0; i < n; i++) {
            real *z = logits + (size_t)i * (size_t)vocab;
            const LogitStats s = a->stats[first + i] = logits_stats(z, vocab, temperature, true);
            for (int k = a->scored_at[first + i]; k < a->scored_at[first + i + 1]; k++) {
                logp[k] = z[b->target_id[k]] - s.max - s.log_sum;
                if (entropy) entropy[k] = s.entropy;
            }
        }
    }
}

void head_logp_backward(real *dhidden, real *grad, Acts *a, const Model *m, const Batch *b,
                        const real *hidden, double temperature, const real *dlogp, const real *dentropy) {
    const int vocab = m->config.vocab, n_scored = scored_rows(a, b);
    const size_t h = (size_t)m->config.hidden;
    const bool kept = a->logits_kept && n_scored <= a->logit_rows;
    a->logits_kept = false;                     /* they become their own derivatives */
    tally_head(m, (kept ? 1 : 2) * (double)n_scored, true);
    if (grad && m->head->trainable) tally_head(m, n_scored, true);
    memset(dhidden, 0, (size_t)b->n_row * h * sizeof(real));
    for (int first = 0, n; first < n_scored; first += n) {
        real *logits = chunk(a, m, hidden, first, n_scored, kept, &n);
        if (!kept) linear_forward(logits, m, m->head, NULL, a->scored_hidden, n);
        #pragma omp parallel for schedule(static) if (threads_worth((size_t)n * (size_t)vocab))
        for (int i = 0; i < n; i++) {
            real *z = logits + (size_t)i * (size_t)vocab;
            const int at = a->scored_at[first + i], count = a->scored_at[first + i + 1] - at;
            if (temperature != 1 && !kept)
                for (int v = 0; v < vocab; v++) z[v] /= (real)temperature;
            logits_backward(z, vocab, temperature, &a->stats[first + i], b->target_id + at, dlogp + at,
                            dentropy ? dentropy + at : NULL, count);
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
    tally_head(m, n, false);
    for (int i = 0; i < n; i++)
        linear_forward(score + (size_t)i * (size_t)m->head->rows, m, m->head, NULL,
                       hidden + (size_t)row[i] * (size_t)m->config.hidden, 1);
}

void head_linear_backward(real *dhidden, real *grad, const Model *m, const real *hidden, int n_row,
                          const int *row, int n, const real *dscore) {
    const size_t h = (size_t)m->config.hidden;
    const int k = m->head->rows;
    tally_head(m, (grad && m->head->trainable ? 2 : 1) * (double)n, true);
    memset(dhidden, 0, (size_t)n_row * h * sizeof(real));
    /* a row that is read twice gets both: its chain over k goes on */
    for (int i = 0; i < n; i++) {
        gemm_tn(dhidden + (size_t)row[i] * h, dscore + (size_t)i * (size_t)k, 1, m->head->data, (int)h, k, 1,
                (int)h);
        linear_weight_backward(grad, m->head, NULL, dscore + (size_t)i * (size_t)k,
                               hidden + (size_t)row[i] * h, 1);
    }
}
