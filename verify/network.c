/* network.c: the stages that run the model: its values for the tokens of a dump, and its gradient.
 *
 * In this order: windows of the dump's rows, logits and log-probabilities, the gradient. */
#include "verify/network.h"

#include <stdlib.h>
#include <string.h>

#include "net/attention.h"
#include "run/trainer.h"

bool row_prompt_token(const Dump *d, size_t i, size_t t) {
    const size_t j = i * d->width + t;
    return d->prompt_mask ? d->prompt_mask[j] : !d->real_token || d->real_token[j];
}

/* ---- windows of the dump's rows ---- */
/* place [n_target]: flat index of the token */
typedef struct { Window w; size_t *place; int *row_of_token; int max_row, max_target; } DumpWindow;

/* Prompt and completion of row i as plain lists. */
static int row_ids(int *out, int *n_prompt, size_t *place, const Case *c, size_t i) {
    const Dump *d = c->d;
    int n = 0;
    if (!d->whole_rows) {
        for (size_t t = 0; t < d->prompt_width; t++)
            if (d->prompt_mask[i * d->prompt_width + t]) out[n++] = d->prompt_id[i * d->prompt_width + t];
    } else {
        for (size_t t = 0; t < d->width && !c->real_token[i * d->width + t]; t++)
            if (row_prompt_token(d, i, t)) out[n++] = d->id[i * d->width + t];
    }
    *n_prompt = n;
    for (size_t t = 0; t < d->width; t++)
        if (c->real_token[i * d->width + t])
            place[n - *n_prompt] = i * d->width + t, out[n++] = d->id[i * d->width + t];
    return n;
}

static void window_close(DumpWindow *x) { window_free(&x->w); }

/* Rows [first, first + count) of the case; completions with the same prompt side by side share it when
 * `share`. The target of a token is the row before it, or with shift its own. */
static bool window_open(DumpWindow *x, const Case *c, bool share, Pool *p, Err *e) {
    const Dump *d = c->d;
    const size_t longest = d->width + d->prompt_width;
    *x = (DumpWindow){.max_row = 1, .max_target = 1};
    int *id = pool_take(p, longest * 2, sizeof *id, e), *before = id ? id + longest : NULL;
    size_t *place = pool_take(p, d->width, sizeof *place, e);
    x->place = pool_take(p, c->count * d->width, sizeof *x->place, e);
    int *n_prompt = pool_take(p, c->count + 1, 2 * sizeof(int), e),
        *n_all = n_prompt ? n_prompt + c->count : NULL;
    if (!id || !place || !x->place || !n_prompt) return false;
    bool ok = true;
    for (size_t k = 0; ok && k < c->count;) {
        size_t end = k;
        for (; end < c->count; end++) {                 /* a tree: rows k .. end - 1 */
            n_all[end] = row_ids(end == k ? before : id, &n_prompt[end], place, c, c->first + end);
            if (end == k && n_prompt[k] == 0)
                return fail(e, "%s: completion %zu: found no prompt token, expected at least one: its last "
                            "row predicts the first token", d->path, c->first + k);
            if (end > k && (!share || n_prompt[end] != n_prompt[k] ||
                            memcmp(id, before, (size_t)n_prompt[k] * sizeof *id)))
                break;
        }
        const int root = window_add(&x->w, before, n_prompt[k], -1, e), last = x->w.n_row - 1,
                  row0 = x->w.n_row - n_prompt[k];
        ok = root >= 0;
        const int target0 = x->w.n_target;
        /* the prompt's last row predicts every first token */
        for (size_t i = k; ok && i < end && !c->shift; i++)
            if (n_all[i] > n_prompt[i]) {
                row_ids(id, &n_prompt[i], place, c, c->first + i);
                x->place[x->w.n_target] = place[0];
                ok = window_target(&x->w, last, id[n_prompt[i]], e);
            }
        for (size_t i = k; ok && i < end; i++) {
            const int start = x->w.n_row, n = n_all[i] - n_prompt[i];
            row_ids(id, &n_prompt[i], place, c, c->first + i);
            if (n == 0) continue;
            ok = window_add(&x->w, id + n_prompt[i], n, root, e) >= 0;
            for (int t = c->shift ? 0 : 1; ok && t < n; t++) {
                x->place[x->w.n_target] = place[t];
                ok = window_target(&x->w, start + t - (c->shift ? 0 : 1), id[n_prompt[i] + t], e);
            }
        }
        const int rows = x->w.n_row - row0, targets = x->w.n_target - target0;
        if (rows > x->max_row) x->max_row = rows;
        if (targets > x->max_target) x->max_target = targets;
        k = end;
    }
    return ok;
}

/* ---- values ---- */
real round_to(real x, Precision to) {
    if (to == PRECISION_F64 || isnan(x)) return x;
    const Store store = to == PRECISION_BF16 ? STORE_BF16 : to == PRECISION_F16 ? STORE_F16 : STORE_F32;
    unsigned char bits[8];
    store_from_real(bits, &x, store, 1);
    store_to_real(&x, bits, store, 1);
    return x;
}

/* From one row of logits (overwritten) to logp and entropy; what differs from logits_stats is a mistake. */
static bool row_values(real *logp, real *entropy, real *z, int vocab, int target, const Case *c, Pool *p,
                       Err *e) {
    if (c->zero_logits) memset(z, 0, (size_t)vocab * sizeof *z);
    for (int v = 0; c->round_logits && v < vocab; v++) z[v] = round_to(z[v], (Precision)c->round_logits);
    const LogitStats t = logits_stats(z, vocab, c->s.sampling.temperature, entropy != NULL);
    *logp = z[target] - t.max - t.log_sum;
    if (entropy) *entropy = t.entropy;
    if (c->kept_only) {                                 /* E29 */
        int *order = pool_take(p, (size_t)vocab, sizeof *order, e);
        real *copy = pool_take(p, (size_t)vocab, sizeof *copy, e), all, kept;
        if (!order || !copy) return false;
        Sampling s = c->s.sampling;
        s.temperature = 1;                              /* z is divided already */
        memcpy(copy, z, (size_t)vocab * sizeof *z);
        sampler_draw(copy, vocab, &s, 0, &all, &kept, order);
        *logp += kept - all;                            /* the same for every kept token */
    }
    if (c->round_logp) *logp = round_to(*logp, (Precision)c->round_logp);
    return true;
}

/* Attention over one sequence whose positions are ours to choose; with a precision, what goes in and comes
 * out is rounded to it. */
typedef struct { const ModelConfig *config; Precision round; } PlainAttention;

static void plain_attention(void *to, int layer, const AttentionRows *r) {
    const PlainAttention *x = to;
    const ModelConfig *c = x->config;
    const int d = c->head_dim, share = c->n_head / c->n_kv_head, n = r->n_row, kv_ld = c->n_kv_head * d,
              q_ld = c->n_head * d;
    const size_t panels = attention_panels(n, d), stride = (size_t)n * GEMM_PANEL,
                 nq = (size_t)n * (size_t)q_ld, nk = (size_t)n * (size_t)kv_ld;
    real *q = calloc(nq + 2 * nk + 2 * panels + attention_scratch((size_t)n, d), sizeof *q), *k = q + nq,
         *v = k + nk, *key = v + nk, *value = key + panels, *score = value + panels;
    (void)layer;
    for (size_t i = 0; q && i < nq; i++) q[i] = round_to(r->q[i], x->round);
    for (size_t i = 0; q && i < nk; i++)
        k[i] = round_to(r->k[i], x->round), v[i] = round_to(r->v[i], x->round);
    for (int g = 0; q && g < c->n_kv_head; g++) {
        attention_transpose(key, k + (size_t)(g * d), n, kv_ld, d);
        attention_columns(value, stride, v + (size_t)(g * d), n, kv_ld, d);
        const KeySpan span = {.n = n, .key_t = key, .value = value, .value_stride = stride};
        for (int j = g * share; j < (g + 1) * share; j++)
            attend(r->o + (size_t)(j * d), r->max + j, r->sum + j, c->n_head, score, q + (size_t)(j * d),
                   q_ld, n, &span, 1, 0, d);
    }
    for (size_t i = 0; q && i < nq; i++) r->o[i] = round_to(r->o[i], x->round);
    free(q);
}

/* Positions of row i's tokens: their number, or (D11) their column, padding counted, in one row of P + C
 * columns. */
static void row_positions(int *position, const Case *c, size_t i) {
    const Dump *d = c->d;
    int n = 0;
    for (size_t t = 0; !d->whole_rows && t < d->prompt_width; t++)
        if (d->prompt_mask[i * d->prompt_width + t]) position[n++] = (int)t;
    for (size_t t = 0; d->whole_rows && t < d->width && !c->real_token[i * d->width + t]; t++)
        if (row_prompt_token(d, i, t)) position[n++] = (int)t;
    for (size_t t = 0; t < d->width; t++)
        if (c->real_token[i * d->width + t]) position[n++] = (int)((d->whole_rows ? 0 : d->prompt_width) + t);
    for (int t = 0; !c->pad_positions && t < n; t++) position[t] = t;
}

/* Each target of a slice with its hidden row, some at once. */
static bool slice_values(real *logp, real *entropy, real *logits, const Case *c, const Model *m,
                         const Batch *b, const size_t *place, const real *hidden, Pool *p, Err *e) {
    enum { AT_ONCE = 32 };
    const size_t h = (size_t)m->config.hidden, v = (size_t)m->config.vocab;
    real *all = pool_take(p, AT_ONCE * (v + h), sizeof *all, e), *rows = all ? all + AT_ONCE * v : NULL;
    if (!all) return false;
    for (int first = 0; first < b->n_target; first += AT_ONCE) {
        const int n = b->n_target - first < AT_ONCE ? b->n_target - first : AT_ONCE;
        for (int i = 0; i < n; i++)
            memcpy(rows + (size_t)i * h, hidden + (size_t)b->target_row[first + i] * h, h * sizeof *rows);
        for (size_t j = 0; c->round_hidden && j < (size_t)n * h; j++)
            rows[j] = round_to(rows[j], (Precision)c->round_hidden);
        head_logits(all, m, rows, n);
        for (int i = 0; i < n; i++) {
            const int k = first + i;
            real *z = all + (size_t)i * v,
                 *to = logits ? logits + (place[k] - c->first * c->d->width) * v : NULL, value, spread;
            for (size_t j = 0; to && j < v; j++)
                to[j] = c->zero_logits ? 0 : round_to(z[j], (Precision)c->round_logits);
            if (!logp && !entropy) continue;
            if (!row_values(&value, entropy ? &spread : NULL, z, (int)v, b->target_id[k], c, p, e))
                return false;
            if (logp) logp[place[k]] = value;
            if (entropy) entropy[place[k]] = spread;
        }
    }
    return true;
}

bool network_values(real *logp, real *entropy, real *logits, const Case *c, const Model *m, Pool *p,
                         Err *e) {
    DumpWindow x;
    Pool scratch = {0};
    const bool plain =
        !logits && !c->kept_only && !c->zero_logits && !c->round_logits && !c->round_logp && !c->round_hidden;
    const bool by_row = c->pad_positions || c->round_hidden;
    bool ok = window_open(&x, c, !by_row, p, e);
    if (ok && x.w.n_target == 0) { window_close(&x); return true; }
    Acts *a = ok ? acts_new(m, x.max_row, x.max_target, false, e) : NULL;
    Slice s = {.max_row = x.max_row, .max_target = x.max_target};
    int more = 0;
    ok = a != NULL;
    if (ok && plain && !by_row) {
        real *value = pool_take(&scratch, (size_t)x.w.n_target * 2, sizeof *value, e);
        ok = value && window_logp(value, entropy ? value + x.w.n_target : NULL, a, x.max_row, x.max_target, m,
                                  &x.w, c->s.sampling.temperature, e);
        for (int k = 0; ok && k < x.w.n_target; k++) {
            if (logp) logp[x.place[k]] = value[k];
            if (entropy) entropy[x.place[k]] = value[x.w.n_target + k];
        }
    } else if (ok) {
        size_t tree = c->first;
        int *position = pool_take(&scratch, (size_t)x.max_row + 1, sizeof *position, e);
        ok = position != NULL;
        while (ok && (more = slice_next(&s, &x.w, &m->config, e)) > 0) {
            const real *hidden = NULL;
            /* one completion a tree; several trees may share a slice */
            if (by_row) {
                for (int g = 0; ok && g < s.batch.n_seg;) {
                    int end = g + 1, rows = s.batch.seg[g].n_row;
                    while (end < s.batch.n_seg && s.batch.seg[end].prefix >= 0)
                        rows += s.batch.seg[end++].n_row;
                    row_positions(position, c, tree++);
                    for (int t = 0; t < rows; t++)
                        if (position[t] >= m->config.context)
                            ok = fail(e, "%s: positions with padding exceed the model's context", c->d->path);
                    if (!ok) break;
                    const int row0 = s.batch.seg[g].start;
                    hidden = model_rows(a, m, s.batch.id + row0, position, rows, plain_attention,
                                        &(PlainAttention){&m->config, (Precision)c->round_hidden});
                    int k = 0;
                    while (k < s.batch.n_target && s.batch.target_row[k] < row0) k++;
                    int last = k, *target_row = s.target_row;
                    while (last < s.batch.n_target && s.batch.target_row[last] < row0 + rows)
                        target_row[last++] -= row0;
                    const Batch part = {.n_row = rows, .n_target = last - k, .target_row = target_row + k,
                                        .target_id = s.batch.target_id + k};
                    ok = slice_values(logp, entropy, logits, c, m, &part, x.place + s.first_target + k,
                                      hidden, &scratch, e);
                    for (int j = k; j < last; j++) target_row[j] += row0;
                    g = end;
                }
            } else {
                hidden = model_forward(a, m, &s.batch);
                ok = slice_values(logp, entropy, logits, c, m, &s.batch, x.place + s.first_target, hidden,
                                  &scratch, e);
            }
            pool_free(&scratch);
            position = pool_take(&scratch, (size_t)x.max_row + 1, sizeof *position, e);
            ok = ok && position;
        }
        ok = ok && more == 0;
    }
    slice_free(&s);
    acts_free(a);
    pool_free(&scratch);
    window_close(&x);
    return ok;
}

bool logits_values(real *logp, real *entropy, const Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const Tensor *t = d->tensor[STAGE_LOGITS];
    const size_t v = t->shape[2];
    Pool scratch = {0};
    real *z = pool_take(p, v, sizeof *z, e), value, spread;
    bool ok = z != NULL;
    for (size_t j = c->first * d->width; ok && j < (c->first + c->count) * d->width; j++) {
        if (!c->real_token[j]) continue;
        if (d->id[j] < 0 || (size_t)d->id[j] >= v)
            return fail(e, "%s: completion %zu, column %zu: found token id %d, expected one below the %zu of "
                        "logits", d->path, j / d->width, j % d->width, d->id[j], v);
        size_t row = j;
        if (c->shift) {                                 /* the row one later; the last token has none */
            if (j % d->width + 1 == d->width || !c->real_token[j + 1]) continue;
            row = j + 1;
        }
        tensor_reals(z, t, row * v, v);
        ok = row_values(&value, entropy ? &spread : NULL, z, (int)v, d->id[j], c, &scratch, e);
        pool_free(&scratch);
        if (logp) logp[j] = value;
        if (entropy) entropy[j] = spread;
    }
    return ok;
}

/* ---- the gradient ---- */
bool network_gradient(real *grad, const real *dlogp, const real *dentropy, const Case *c, Pool *p, Err *e) {
    const Model *m = c->model.policy;
    real *sum = pool_take(p, m->n_trainable, sizeof *sum, e);
    if (!sum) return false;
    DumpWindow x;
    if (!window_open(&x, c, true, p, e)) { window_close(&x); return false; }
    /* less at once: a completion with a prompt of its own */
    if (acts_bytes(&m->config, x.max_row, x.max_target, true) > (size_t)2 << 30) {
        window_close(&x);
        if (!window_open(&x, c, false, p, e)) { window_close(&x); return false; }
    }
    Acts *a = acts_new(m, x.max_row, x.max_target, true, e);
    real *dhidden = pool_take(p, (size_t)x.max_row * (size_t)m->config.hidden, sizeof *dhidden, e),
         *value = pool_take(p, (size_t)x.max_target * 4, sizeof *value, e);
    bool ok = a && dhidden && value;
    real *logp = value, *entropy = ok ? value + x.max_target : NULL, *dl = ok ? entropy + x.max_target : NULL,
         *dh = ok ? dl + x.max_target : NULL;
    const bool with_entropy = c->s.window.entropy_coef != 0;
    Slice s = {.max_row = x.max_row, .max_target = x.max_target};
    int more = 0;
    while (ok && (more = slice_next(&s, &x.w, &m->config, e)) > 0) {
        const real *hidden = model_forward(a, m, &s.batch);
        head_logp(logp, entropy, a, m, &s.batch, hidden, c->s.sampling.temperature, NULL);
        for (int k = 0; k < s.batch.n_target; k++)
            {
            dl[k] = dlogp[x.place[s.first_target + k]];
            if (with_entropy) dh[k] = dentropy[x.place[s.first_target + k]];
        }
        head_logp_backward(dhidden, sum, a, m, &s.batch, hidden, c->s.sampling.temperature, dl,
                           with_entropy ? dh : NULL, NULL);
        model_backward(sum, a, m, &s.batch, dhidden);
    }
    ok = ok && more == 0;
    if (ok) {
        if (m->head == m->embed && c->drop_head_grad)
            memset(sum + m->embed->offset, 0, param_count(m->embed) * sizeof *sum);
        if (!c->drop_embed_grad) model_grad_finish(sum, a, m);
        if (c->grad_back) c->grad_back(sum, m);
        memcpy(grad, sum, m->n_trainable * sizeof *sum);
    }
    slice_free(&s);
    acts_free(a);
    window_close(&x);
    return ok;
}
