/* model_tool.c: one forward and backward pass of a model folder, for tests/parity: JSON in, safetensors out,
 * in the build's real.
 *
 *     model_tool MODEL CASE.json OUT.safetensors
 *
 * CASE of a language model: {"input_ids": [[ids], ...], "prompt_ids": [ids]?, "temperature": 1?, "dlogps":
 * [[...], ...], "dentropies": [[...], ...]?}. Without prompt_ids each list stands alone and its tokens 1, 2,
 * ... are targets; with them every list continues the prompt and all its tokens are (E31: the prompt's rows
 * are shared). OUT: logits of every row, logps and entropies (flat, list after list), and the gradient of sum
 * dlogps * logp + sum dentropies * H under each parameter's name. CASE of a reward model: {"input_ids": ...,
 * "dscores": [[...], ...]}. OUT: scores, and the gradient of sum dscores * score. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/folder.h"
#include "lib/json.h"
#include "lib/safetensors.h"
#include "run/trainer.h"

enum { MAX_LIST = 256 };

typedef struct { int *id, n; } List;
typedef struct { List prompt, list[MAX_LIST]; int n_list, *flat, n_flat; double temperature; } Case;

static bool read_list(List *out, const Json *v, Err *e) {
    if (!v || v->type != JSON_ARRAY) return fail(e, "input_ids, prompt_ids: expected lists of ids");
    if (!(out->id = malloc((v->length + 1) * sizeof(int))))
        return fail(e, "no memory for %zu ids", v->length);
    for (size_t i = 0; i < v->length; i++) out->id[out->n++] = (int)v->item[i].number;
    return true;
}

/* Numbers of a list of lists, flat; all zero when the key is absent. */
static bool read_numbers(real *out, size_t n, const Json *o, const char *key, Err *e) {
    const Json *v = json_get(o, key);
    size_t at = 0;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; v && i < v->length; i++)
        for (size_t k = 0; k < v->item[i].length; k++, at++) {
            if (at == n)
                return fail(e, "%s: more than the %zu numbers that the lists of ids have targets for", key,
                            n);
            out[at] = (real)v->item[i].item[k].number;
        }
    return !v || at == n || fail(e, "%s: found %zu numbers, expected %zu", key, at, n);
}

static bool read_case(Case *c, const Json *o, Err *e) {
    const Json *ids = json_get(o, "input_ids");
    *c = (Case){.temperature = 1};
    if (!ids || ids->type != JSON_ARRAY || ids->length > MAX_LIST)
        return fail(e, "input_ids: expected at most %d lists of ids", MAX_LIST);
    for (; c->n_list < (int)ids->length; c->n_list++)
        if (!read_list(&c->list[c->n_list], &ids->item[c->n_list], e)) return false;
    if (json_get(o, "prompt_ids") && !read_list(&c->prompt, json_get(o, "prompt_ids"), e)) return false;
    return !json_get(o, "temperature") || json_get_number(o, "temperature", &c->temperature, "case", e);
}

/* flat[target]: the target's place in dlogps. */
static bool build_window(Window *w, Case *c, Err *e) {
    const bool tree = c->prompt.n > 0;
    int total = 0, at = 0;
    for (int i = 0; i < c->n_list; i++) total += c->list[i].n;
    if (!(c->flat = malloc((size_t)(total + 1) * sizeof(int))))
        return fail(e, "no memory for %d targets", total);
    const int root = tree ? window_add(w, c->prompt.id, c->prompt.n, -1, e) : -1, last = w->n_row - 1;
    if (tree && root < 0) return false;
    /* E22: the prompt's last row predicts every first token */
    for (int i = 0; tree && i < c->n_list; at += c->list[i++].n) {
        c->flat[w->n_target] = at;
        if (!window_target(w, last, c->list[i].id[0], e)) return false;
    }
    at = 0;
    for (int i = 0; i < c->n_list; i++) {
        const List *l = &c->list[i];
        const int row = w->n_row, rows = tree ? l->n - 1 : l->n;
        if (rows > 0 && window_add(w, l->id, rows, root, e) < 0) return false;
        for (int t = 1; t < l->n; t++) {
            c->flat[w->n_target] = at + t - !tree;
            if (!window_target(w, row + t - 1, l->id[t], e)) return false;
        }
        at += l->n - !tree;
    }
    c->n_flat = at;
    return true;
}

static bool build_reward_window(Window *w, Case *c, int pad, Err *e) {
    for (int i = 0; i < c->n_list; i++) {
        const int row = w->n_row, last = head_last_row(c->list[i].id, c->list[i].n, pad);
        if (last < 0) return fail(e, "input_ids: list %d has no token but padding", i);
        if (window_add(w, c->list[i].id, c->list[i].n, -1, e) < 0 || !window_target(w, row + last, 0, e))
            return false;
    }
    return true;
}

typedef struct { TensorOut list[8192]; int n; } Out;
static void put(Out *o, const char *name, const void *data, size_t rows, size_t cols, bool matrix) {
    TensorOut t = {.name = name, .store = sizeof(real) == 4 ? STORE_F32 : STORE_F64, .n_dim = matrix ? 2 : 1,
                   .shape = {matrix ? rows : cols, cols}, .data = data, .from = STORE_REAL};
    o->list[o->n++] = t;
}

static bool run(const char *dir, const char *case_path, const char *out_path, Err *e) {
    static Case c;
    static Out out;
    Window w = {0};
    Slice s = {.max_row = 1 << 30, .max_target = 1 << 30};
    Json *o = json_read_file(case_path, e);
    Model *m = o ? folder_load(dir, NULL, e) : NULL;
    if (!m || !read_case(&c, o, e)) return false;
    const bool reward = m->config.n_label > 0;
    if (!(reward ? build_reward_window(&w, &c, m->config.pad, e) : build_window(&w, &c, e)) ||
        slice_next(&s, &w, &m->config, e) <= 0)
        return false;
    const size_t n = (size_t)w.n_target, rows = (size_t)w.n_row, k = reward ? (size_t)m->config.n_label : 1,
                 vocab = (size_t)m->config.vocab;
    Acts *a = acts_new(m, w.n_row, w.n_target, true, e);
    real *value = calloc(8 * (n * k + 1), sizeof *value), *logits = calloc(rows * vocab, sizeof *logits),
         *grad = calloc(m->n_trainable, sizeof *grad);
    real *dhidden = calloc(rows * (size_t)m->config.hidden, sizeof *dhidden);
    if (!a || !value || !logits || !grad || !dhidden) return fail(e, "no memory");
    real *logp = value, *entropy = logp + n * k, *dlogp = entropy + n * k, *dentropy = dlogp + n * k,
         *flat = dentropy + n * k, *flat2 = flat + n * k;
    const real *hidden = model_forward(a, m, &s.batch);
    if (reward) {
        if (!read_numbers(dlogp, n * k, o, "dscores", e)) return false;
        head_linear(logp, m, hidden, s.batch.target_row, w.n_target);
        head_linear_backward(dhidden, grad, m, hidden, w.n_row, s.batch.target_row, w.n_target, dlogp);
        put(&out, "scores", logp, n, k, true);
    } else {
        if (!read_numbers(flat, n, o, "dlogps", e) || !read_numbers(flat2, n, o, "dentropies", e))
            return false;
        for (size_t i = 0; i < n; i++) dlogp[i] = flat[c.flat[i]], dentropy[i] = flat2[c.flat[i]];
        head_logits(logits, m, hidden, w.n_row);
        head_logp(logp, entropy, a, m, &s.batch, hidden, c.temperature, NULL);
        head_logp_backward(dhidden, grad, a, m, &s.batch, hidden, c.temperature, dlogp,
                           json_get(o, "dentropies") ? dentropy : NULL, NULL);
        for (size_t i = 0; i < n; i++) flat[c.flat[i]] = logp[i], flat2[c.flat[i]] = entropy[i];
        put(&out, "logits", logits, rows, vocab, true);
        put(&out, "logps", flat, 1, n, false);
        put(&out, "entropies", flat2, 1, n, false);
    }
    model_backward(grad, a, m, &s.batch, dhidden);
    model_grad_finish(grad, a, m);
    if (m->n_param > 8000) return fail(e, "%s: more than 8000 parameters", dir);
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        if (p->trainable)
            put(&out, p->name, grad + p->offset, (size_t)p->rows, (size_t)p->cols, p->is_matrix);
    }
    return safetensors_write(out_path, out.list, out.n, (const char *const[]){NULL}, e);
}

int main(int argc, char **argv) {
    Err e = {{0}};
    if (argc != 4) return fprintf(stderr, "model_tool MODEL CASE.json OUT.safetensors\n"), 2;
    if (run(argv[1], argv[2], argv[3], &e)) return 0;
    fprintf(stderr, "%s\n", e.line);
    return 2;
}
