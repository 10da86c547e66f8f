/* params.c: the table of parameters and what follows from it: memory, packing, start values, merging.
 *
 * In this order: checking a configuration, the table, the table of rotary angles, memory, start, packing.
 * Not here: what is computed (model.c), files (folder.c), what a pass costs (flops.c). */
#include "net/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"

/* ---- the table of parameters ---- */

size_t param_count(const Param *p) { return (size_t)p->rows * (size_t)p->cols; }

bool model_config_check(const ModelConfig *c, const char *file, Err *e) {
    const struct { const char *name; int value; } size[] = {
        {"vocab_size", c->vocab}, {"hidden_size", c->hidden}, {"intermediate_size", c->ffn},
        {"num_hidden_layers", c->n_layer}, {"num_attention_heads", c->n_head},
        {"num_key_value_heads", c->n_kv_head}, {"head_dim", c->head_dim},
        {"max_position_embeddings", c->context}};
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
        return fail(e, "%s: num_attention_heads %d is no multiple of num_key_value_heads %d; mend the "
                    "configuration", file, c->n_head, c->n_kv_head);
    if (c->head_dim % 2)
        return fail(e, "%s: head_dim: found %d, expected an even number (rotary pairs); mend the "
                    "configuration", file, c->head_dim);
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

/* Of each linear map of a layer: its place in the layer, its bias's, and the module that it is part of. */
static const struct { LayerParam weight, bias; const char *module; } linear[LORA_TARGETS] = {
    {P_Q, P_QB, "self_attn"}, {P_K, P_KB, "self_attn"}, {P_V, P_VB, "self_attn"}, {P_O, P_OB, "self_attn"},
    {P_GATE, P_GATEB, "mlp"}, {P_UP, P_UPB, "mlp"}, {P_DOWN, P_DOWNB, "mlp"}};

/* A row for linear map t of layer l; format: its name, with places for module, map and what kind it is. */
static Param *table_linear(Table *t, int rows, int cols, const char *format, LoraTarget map, const char *kind,
                           int l) {
    char name[96];
    snprintf(name, sizeof name, format, linear[map].module, lora_target_names[map], kind);
    return table_add(t, rows, cols, strcmp(kind, "bias") != 0, name, l);
}

static void model_table(Table *t, Model *m, const ModelConfig *c) {
    static const char layer[] = "model.layers.%%d.%s.%s.%s",
                      adapter[] = "base_model.model.model.layers.%%d.%s.%s.%s.weight";
    const int h = c->hidden, q = c->n_head * c->head_dim, kv = c->n_kv_head * c->head_dim, f = c->ffn;
    const int n_in[LORA_TARGETS] = {h, h, h, q, h, h, f}, n_out[LORA_TARGETS] = {q, kv, kv, h, f, f, h};
    const bool qkv = c->qkv_bias, mlp = c->mlp_bias,
               biased[LORA_TARGETS] = {qkv, qkv, qkv, c->o_bias, mlp, mlp, mlp};
    m->embed = table_add(t, c->vocab, h, true, "model.embed_tokens.weight", 0);
    for (int l = 0; l < c->n_layer; l++) {
        Param *none[LAYER_PARAMS], **p = m->layer ? m->layer[l] : none;
        p[P_NORM_IN] = table_add(t, 1, h, false, "model.layers.%d.input_layernorm.weight", l);
        for (LoraTarget i = 0; i < LORA_TARGETS; i++) {
            if (i == LORA_O && c->qk_norm) {
                p[P_QN] = table_add(t, 1, c->head_dim, false, "model.layers.%d.self_attn.q_norm.weight", l);
                p[P_KN] = table_add(t, 1, c->head_dim, false, "model.layers.%d.self_attn.k_norm.weight", l);
            }
            if (i == LORA_GATE)
                p[P_NORM_POST] = table_add(t, 1, h, false,
                                           "model.layers.%d.post_attention_layernorm.weight", l);
            p[linear[i].weight] = table_linear(t, n_out[i], n_in[i], layer, i, "weight", l);
            if (biased[i]) p[linear[i].bias] = table_linear(t, 1, n_out[i], layer, i, "bias", l);
        }
    }
    m->norm = table_add(t, 1, h, false, "model.norm.weight", 0);
    /* the scores of a reward model are learned beside its adapter (PEFT's modules_to_save) */
    t->frozen = t->frozen && !c->n_label;
    if (c->n_label) m->head = table_add(t, c->n_label, h, true, "score.weight", 0);
    else m->head = c->tied ? m->embed : table_add(t, c->vocab, h, true, "lm_head.weight", 0);
    m->n_base = t->n;
    t->frozen = false;
    for (int l = 0; l < c->n_layer && c->lora.r; l++)
        for (LoraTarget i = 0; i < LORA_TARGETS; i++) {
            Param *none[2], **ab = m->adapter ? m->adapter[l][i] : none;
            if (!(c->lora.target >> i & 1)) continue;
            ab[0] = table_linear(t, c->lora.r, n_in[i], adapter, i, "lora_A", l);
            ab[1] = table_linear(t, n_out[i], c->lora.r, adapter, i, "lora_B", l);
        }
}

/* ---- E9, E12, E307: angles of rotary positions ---- */

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

/* ---- memory ---- */

/* Which matrices gemm_nt reads: all but an embedding that is not also the head. */
static bool param_is_packed(const Model *m, const Param *p) {
    return p->is_matrix && (p != m->embed || m->head == m->embed);
}

const unsigned char *param_packed(const Model *m, const Param *p) {
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
        packed += (gemm_packed_count(m->param[i].rows, m->param[i].cols) * store_size(m->param[i].store) + 63)
                  / 64 * 64;
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

bool model_base_is_frozen(const ModelConfig *c) { return c->lora.r > 0 || c->base_store != STORE_REAL; }

static Model *model_table_new(const ModelConfig *c, Err *e) {
    Model *m = calloc(1, sizeof *m);
    if (!m) { fail(e, "model: no memory for its table"); return NULL; }
    const Table start = {.frozen = model_base_is_frozen(c), .store = c->base_store};
    Table t = start;
    m->config = *c;
    model_table(&t, m, c);
    m->n_param = t.n;
    m->param = calloc((size_t)t.n, sizeof *m->param);
    m->layer = calloc((size_t)c->n_layer, sizeof *m->layer);
    m->adapter = calloc((size_t)c->n_layer, sizeof *m->adapter);
    m->packed_at = calloc((size_t)t.n, sizeof *m->packed_at);
    if (!m->param || !m->layer || !m->adapter || !m->packed_at) {
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

const Param *model_linear(const Model *m, int l, LoraTarget t) { return m->layer[l][linear[t].weight]; }
const Param *model_bias(const Model *m, int l, LoraTarget t) { return m->layer[l][linear[t].bias]; }

Param *const *model_adapter(const Model *m, int l, LoraTarget t) {
    return m->adapter_off || !m->adapter[l][t][0] ? NULL : m->adapter[l][t];
}

LoraShape model_adapter_shape(const Model *m, Param *const ab[2]) {
    return (LoraShape){.n_out = ab[1]->rows, .n_in = ab[0]->cols, .r = ab[0]->rows,
                       .s = lora_scale(&m->config.lora)};
}

/* ---- start ---- */


static void init_param(Model *m, int i, uint64_t seed) {
    const Param *p = &m->param[i];
    const size_t size = store_size(p->store);
    const bool bias = strstr(p->name, ".bias") != NULL;
    #pragma omp parallel for schedule(static)
    for (size_t j = 0; j < param_count(p); j++) {
        const real w = !p->is_matrix ? !bias
                     : (real)(m->config.init_std * rng_normal(seed, RNG_INIT, (uint64_t)i, j, 0, 0));
        store_from_real((unsigned char *)p->data + j * size, &w, p->store, 1);
    }
}

void model_init_new(Model *m, uint64_t seed) {
    if (m->config.n_label) init_param(m, (int)(m->head - m->param), seed);
    for (int l = 0; l < m->config.n_layer; l++)
        for (LoraTarget t = 0; t < LORA_TARGETS; t++) {
            Param *const *ab = model_adapter(m, l, t);
            if (!ab) continue;
            const LoraShape shape = model_adapter_shape(m, ab);
            lora_init(ab[0]->data, ab[1]->data, &shape, seed, l, t);
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

void model_merge(Model *m) {
    for (int l = 0; l < m->config.n_layer; l++)
        for (LoraTarget t = 0; t < LORA_TARGETS; t++) {
            Param *const *ab = model_adapter(m, l, t);
            if (!ab) continue;
            const LoraShape shape = model_adapter_shape(m, ab);
            lora_merge(model_linear(m, l, t)->data, ab[0]->data, ab[1]->data, &shape);
        }
    m->adapter_off = true;
    model_pack(m);
}

/* ---- packing ---- */

void model_pack_rows(Model *m, const Param *p, int first, int n) {
    const size_t at = (size_t)first * (size_t)p->cols * store_size(p->store);
    if (param_is_packed(m, p))
        gemm_pack(m->packed + m->packed_at[p - m->param] + at, (const unsigned char *)p->data + at, p->store,
                  n, p->cols);
}

void model_pack(Model *m) {
    for (int i = 0; i < m->n_param; i++) model_pack_rows(m, &m->param[i], 0, m->param[i].rows);
}

void model_pack_trainable(Model *m) {
    for (int i = 0; i < m->n_param; i++)
        if (m->param[i].trainable) model_pack_rows(m, &m->param[i], 0, m->param[i].rows);
}
