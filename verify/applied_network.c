/* applied_network.c: the mistakes made on purpose that change the network, its inputs or its precision. */
#include "verify/applied.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/network.h"

#define MAYBE __attribute__((unused))
#undef APPLY
#define APPLY(name) \
    bool apply_##name(Case *c MAYBE, Stage s MAYBE, Pool *p MAYBE, Err *e MAYBE, double value MAYBE)

APPLY(no_temperature) { c->s.sampling.temperature = 1; return true; }
APPLY(temperature_twice) { c->s.sampling.temperature *= c->s.sampling.temperature; return true; }
APPLY(temperature_multiplied) { c->s.sampling.temperature = 1 / c->s.sampling.temperature; return true; }
APPLY(temperature_eps) { c->s.sampling.temperature += 1e-7; return true; }
APPLY(shifted) { return c->shift = true; }
APPLY(kept_only) {
    return (c->s.sampling.top_k > 0 || c->s.sampling.top_p < 1 || c->s.sampling.min_p > 0) &&
           (c->kept_only = true);
}
APPLY(round_logits) { c->round_logits = (int)value; return true; }
APPLY(round_logps) { c->round_logp = (int)value; return true; }
APPLY(head_zero) { return c->zero_logits = true; }
APPLY(padded_positions) { return c->pad_positions = true; }

/* Where the case keeps the model that stage s runs. */
static const Model **model_slot(Case *c, Stage s) {
    if (s == STAGE_REF) return &c->model.reference;
    return (s == STAGE_OLD || s == STAGE_SAMPLER) && c->model.old ? &c->model.old : &c->model.policy;
}

/* A copy of it under another configuration; weights of the same name and size are kept. NULL: no model, or no
 * memory. */
static Model *changed_model(Case *c, Stage s, const ModelConfig *config, Pool *p, Err *e) {
    const Model **slot = model_slot(c, s);
    Model *m = pool_model(p, config, e);
    if (!m) return NULL;
    model_copy(m, *slot);
    *slot = m;
    return m;
}

static bool other_config(Case *c, Stage s, ModelConfig config, Pool *p, Err *e) {
    Model *m = changed_model(c, s, &config, p, e);
    if (m) model_pack(m);
    return m;
}

#define HAS_MODEL \
    if (!*model_slot(c, s)) return false; \
    const ModelConfig config = (*model_slot(c, s))->config; \
    ModelConfig other = config; \
    (void)other

static int permuted_from(int i, int half, bool back) {
    if (back) return i % 2 ? half + i / 2 : i / 2;
    return i < half ? 2 * i : 2 * (i - half) + 1;
}

static void swap_rows(real *a, real *b, size_t n) {
    for (size_t k = 0; k < n; k++) {
        const real x = a[k];
        a[k] = b[k], b[k] = x;
    }
}

/* Pairs (2i, 2i+1) instead of (i, i+d/2): the same as our rotation on rows of q and k in another order. In
 * place: what row i needs has been swapped on by the rows before it, as often as its place is among them. */
static void permute_heads(real *x, int n_head, int head_dim, size_t cols, bool back) {
    for (int h = 0; h < n_head; h++, x += (size_t)head_dim * cols)
        for (int i = 0; i < head_dim; i++) {
            int from = permuted_from(i, head_dim / 2, back);
            while (from < i) from = permuted_from(from, head_dim / 2, back);
            swap_rows(x + (size_t)i * cols, x + (size_t)from * cols, cols);
        }
}

/* Each of q, k and what stands beside them; base NULL: the parameters themselves, else an array laid out like
 * them. */
static void each_qk(const Model *m, real *base, bool keys,
                    void (*f)(real *x, int n_head, int head_dim, size_t cols, bool back), bool back) {
    const ModelConfig *g = &m->config;
    for (int l = 0; l < g->n_layer; l++)
        for (int k = 0; k < (keys ? 2 : 1); k++) {
            const int heads = k ? g->n_kv_head : g->n_head;
            const Param *const part[] = {m->layer[l][k ? P_K : P_Q], m->layer[l][k ? P_KB : P_QB],
                                         m->layer[l][k ? P_KN : P_QN]};
            for (int j = 0; j < 3; j++)
                if (part[j])
                    f(base ? base + part[j]->offset : part[j]->data, j == 2 ? 1 : heads, g->head_dim,
                      j == 0 ? (size_t)g->hidden : 1, back);
        }
}

static void interleaved_back(real *grad, const Model *m) { each_qk(m, grad, true, permute_heads, true); }

APPLY(interleaved_pairs) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    each_qk(m, NULL, true, permute_heads, false);
    model_pack(m);
    c->grad_back = interleaved_back;
    return true;
}

static void scale_head(real *x, int n_head, int head_dim, size_t cols, bool back) {
    (void)back;
    for (size_t j = 0; j < (size_t)n_head * (size_t)head_dim * cols; j++)
        x[j] *= (real)sqrt((double)head_dim);
}

/* With q-norm the weights before it do not matter: its own weight is scaled, and theirs with it do no harm.
 */
static void unscaled_back(real *grad, const Model *m) {
    const ModelConfig *g = &m->config;
    for (int l = 0; l < g->n_layer; l++) {
        const Param *const part[] = {g->qk_norm ? m->layer[l][P_QN] : m->layer[l][P_Q],
                                     g->qk_norm ? NULL : m->layer[l][P_QB]};
        for (int j = 0; j < 2; j++)
            for (size_t k = 0; part[j] && k < param_count(part[j]); k++)
                grad[part[j]->offset + k] *= (real)sqrt((double)g->head_dim);
    }
}

APPLY(unscaled_attention) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    if (config.qk_norm)
        for (int l = 0; l < config.n_layer; l++)
            scale_head(m->layer[l][P_QN]->data, 1, config.head_dim, 1, false);
    else each_qk(m, NULL, false, scale_head, false);
    model_pack(m);
    c->grad_back = unscaled_back;
    return true;
}

APPLY(no_qkv_bias) {
    HAS_MODEL;
    if (!config.qkv_bias) return false;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    for (int l = 0; l < config.n_layer; l++) {
        const Param *const part[] = {m->layer[l][P_QB], m->layer[l][P_KB], m->layer[l][P_VB]};
        for (int j = 0; j < 3; j++)
            if (part[j]) memset(part[j]->data, 0, param_count(part[j]) * sizeof(real));
    }
    model_pack(m);
    return true;
}

APPLY(no_qk_norm) {
    HAS_MODEL;
    other.qk_norm = false;
    return config.qk_norm && s != STAGE_GRAD && other_config(c, s, other, p, e);
}
APPLY(theta_10000) {
    HAS_MODEL;
    other.rope_theta = 10000;
    return config.rope_theta != 10000 && other_config(c, s, other, p, e);
}
APPLY(no_rope_scaling) {
    HAS_MODEL;
    other.rope = ROPE_PLAIN;
    return config.rope != ROPE_PLAIN && other_config(c, s, other, p, e);
}
APPLY(norm_eps) {
    HAS_MODEL;
    other.norm_eps = value;
    return config.norm_eps != value && other_config(c, s, other, p, e);
}

/* Weights, the last hidden row, logits and log-probabilities rounded: errors of the size that the type
 * causes, not its very bits. */
APPLY(throughout) {
    HAS_MODEL;
    Model *m = changed_model(c, s, &config, p, e);
    if (!m) return false;
    for (int i = 0; i < m->n_param; i++)
        for (size_t j = 0; j < param_count(&m->param[i]); j++)
            ((real *)m->param[i].data)[j] = round_to(((real *)m->param[i].data)[j], (Precision)value);
    model_pack(m);
    c->round_hidden = c->round_logits = (int)value;
    return true;
}

/* The policy of param.NAME. */
APPLY(after_update) {
    HAS_MODEL;
    Model *m =
        c->d->tensor[STAGE_STEP] && c->model.policy ? pool_model(p, &c->model.policy->config, e) : NULL;
    if (!m) return false;
    for (int i = 0; i < m->n_param; i++) {
        char name[160];
        snprintf(name, sizeof name, "param.%s", m->param[i].name);
        const Tensor *t = safetensors_find(c->d->file, name);
        if (!t || t->count != param_count(&m->param[i])) return false;
        tensor_reals(m->param[i].data, t, 0, t->count);
    }
    model_pack(m);
    c->model.old = m;
    return true;
}
