/* trainer.c: windows, slices, the gathered gradient and the update (E117, E285). */
#include "run/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/safetensors.h"
#include "lib/threads.h"

/* ---- window ------------------------------------------------------------------------------ */

static bool grow(void *list, int *cap, int n, size_t size, Err *e) {
    if (n <= *cap) return true;
    const int wanted = n > 2 * *cap ? n + 64 : 2 * *cap;
    void *p = realloc(*(void **)list, (size_t)wanted * size);
    if (!p) return fail(e, "window: no memory for %d entries", wanted);
    *(void **)list = p;
    *cap = wanted;
    return true;
}

void window_clear(Window *w) { w->n_row = w->n_seg = w->n_target = 0; }

void window_free(Window *w) {
    free(w->id);
    free(w->seg);
    free(w->target_row);
    free(w->target_id);
    *w = (Window){0};
}

int window_add(Window *w, const int *id, int n, int prefix, Err *e) {
    if (!grow(&w->id, &w->row_cap, w->n_row + n, sizeof(int), e) ||
        !grow(&w->seg, &w->seg_cap, w->n_seg + 1, sizeof(Segment), e))
        return -1;
    memcpy(w->id + w->n_row, id, (size_t)n * sizeof(int));
    w->seg[w->n_seg] = (Segment){.start = w->n_row, .n_row = n, .prefix = prefix};
    w->n_row += n;
    return w->n_seg++;
}

bool window_target(Window *w, int row, int id, Err *e) {
    int cap = w->target_cap;
    if (!grow(&w->target_row, &cap, w->n_target + 1, sizeof(int), e) ||
        !grow(&w->target_id, &w->target_cap, w->n_target + 1, sizeof(int), e))
        return false;
    w->target_row[w->n_target] = row;
    w->target_id[w->n_target++] = id;
    return true;
}

bool window_group(Window *w, const int *prompt, int n_prompt, const int *token, const size_t *offset,
                  int first, int n, int *token_of, int *completion_of, Err *e) {
    const int root = window_add(w, prompt, n_prompt, -1, e), last = w->n_row - 1;
    if (root < 0) return false;
    /* E22: the prompt's last row predicts every first token */
    for (int c = first; c < first + n; c++) {
        token_of[w->n_target] = (int)offset[c];
        completion_of[w->n_target] = c;
        if (!window_target(w, last, token[offset[c]], e)) return false;
    }
    for (int c = first; c < first + n; c++) {
        const int *id = token + offset[c], length = (int)(offset[c + 1] - offset[c]), start = w->n_row;
        if (length < 2) continue;
        if (window_add(w, id, length - 1, root, e) < 0) return false;
        for (int t = 1; t < length; t++) {
            token_of[w->n_target] = (int)offset[c] + t;
            completion_of[w->n_target] = c;
            if (!window_target(w, start + t - 1, id[t], e)) return false;
        }
    }
    return true;
}

/* ---- slices ------------------------------------------------------------------------------ */

bool slice_next(Slice *s, const Window *w, int max_row, int max_target, const ModelConfig *c, Err *e) {
    const int first = s->next_seg;
    int target = s->first_target + s->batch.n_target, end = first, last_target = target;
    if (first >= w->n_seg) return false;
    const int row0 = w->seg[first].start;
    while (end < w->n_seg) {                    /* one more tree, if it fits */
        int next = end + 1, t = last_target;
        while (next < w->n_seg && w->seg[next].prefix >= 0) next++;
        const int rows_end = w->seg[next - 1].start + w->seg[next - 1].n_row;
        while (t < w->n_target && w->target_row[t] < rows_end) t++;
        if (rows_end - row0 > max_row || t - target > max_target) break;
        end = next;
        last_target = t;
    }
    if (end == first)
        return fail(e,
                    "a prompt with its completions does not fit into a slice of %d rows and %d targets; "
                    "raise --slice-rows",
                    max_row, max_target);
    Segment *seg = realloc(s->seg, (size_t)(end - first) * sizeof *seg);
    if (seg) s->seg = seg;
    int *row = realloc(s->target_row, (size_t)(last_target - target + 1) * sizeof *row);
    if (row) s->target_row = row;
    if (!seg || !row) return fail(e, "slice: no memory");
    for (int i = first; i < end; i++)
        seg[i - first] = (Segment){.start = w->seg[i].start - row0, .n_row = w->seg[i].n_row,
                                   .prefix = w->seg[i].prefix < 0 ? -1 : w->seg[i].prefix - first};
    for (int i = target; i < last_target; i++) row[i - target] = w->target_row[i] - row0;
    s->batch = (Batch){.n_row = w->seg[end - 1].start + w->seg[end - 1].n_row - row0, .n_seg = end - first,
                       .n_target = last_target - target, .id = w->id + row0, .seg = seg, .target_row = row,
                       .target_id = w->target_id + target};
    s->first_target = target;
    s->next_seg = end;
    return batch_check(&s->batch, c, e);
}

void slice_free(Slice *s) {
    free(s->seg);
    free(s->target_row);
    *s = (Slice){0};
}

bool window_logp(real *logp, real *entropy, Acts *a, int max_row, int max_target, const Model *m,
                 const Window *w, double temperature, Err *e) {
    Slice s = {0};
    while (slice_next(&s, w, max_row, max_target, &m->config, e))
        head_logp(logp + s.first_target, entropy ? entropy + s.first_target : NULL, a, m, &s.batch,
                  model_forward(a, m, &s.batch), temperature);
    slice_free(&s);
    return !e->line[0];
}

bool window_scores(real *score, Acts *a, int max_row, int max_target, const Model *m, const Window *w,
                   Err *e) {
    Slice s = {0};
    while (slice_next(&s, w, max_row, max_target, &m->config, e))
        head_linear(score + (size_t)s.first_target * (size_t)m->config.n_label, m,
                    model_forward(a, m, &s.batch), s.batch.target_row, s.batch.n_target);
    slice_free(&s);
    return !e->line[0];
}

/* ---- trainer ----------------------------------------------------------------------------- */

size_t trainer_bytes(const ModelConfig *c, int max_row, int max_target) {
    return model_bytes(c) + (3 * model_trainable(c) + (size_t)max_row * (size_t)c->hidden) * sizeof(real) +
           acts_bytes(c, max_row, max_target, true);
}

bool trainer_new(Trainer *t, Model *m, int max_row, int max_target, Err *e) {
    *t = (Trainer){.model = m, .max_row = max_row, .max_target = max_target, .max_grad_norm = 1,
                   .adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
    t->grad = memory_new(m->n_trainable * sizeof(real), "gradients", e);
    t->m = memory_new(m->n_trainable * sizeof(real), "first moments", e);
    t->v = memory_new(m->n_trainable * sizeof(real), "second moments", e);
    t->dhidden =
        memory_new((size_t)max_row * (size_t)m->config.hidden * sizeof(real), "gradients of hidden rows", e);
    t->grad_held = m->n_trainable * sizeof(real);
    t->moments_held = 2 * m->n_trainable * sizeof(real);
    t->dhidden_held = (size_t)max_row * (size_t)m->config.hidden * sizeof(real);
    t->acts = t->grad && t->m && t->v && t->dhidden ? acts_new(m, max_row, max_target, true, e) : NULL;
    if (t->acts) return true;
    trainer_free(t);
    return false;
}

void trainer_free(Trainer *t) {
    memory_free(t->grad);
    memory_free(t->m);
    memory_free(t->v);
    memory_free(t->dhidden);
    acts_free(t->acts);
    t->grad = t->m = t->v = t->dhidden = NULL;
    t->acts = NULL;
}

bool trainer_accumulate(Trainer *t, const Window *w, double temperature, Derive *derive, void *to,
                        bool want_dentropy, Err *e) {
    real *value = memory_new((size_t)t->max_target * 4 * sizeof(real), "values of a slice", e);
    if (!value) return false;
    real *logp = value, *entropy = value + t->max_target, *dlogp = entropy + t->max_target,
         *dentropy = dlogp + t->max_target;
    Slice s = {0};
    while (slice_next(&s, w, t->max_row, t->max_target, &t->model->config, e)) {
        const real *hidden = model_forward(t->acts, t->model, &s.batch);
        head_logp(logp, entropy, t->acts, t->model, &s.batch, hidden, temperature);
        derive(to, s.first_target, s.batch.n_target, logp, entropy, dlogp, want_dentropy ? dentropy : NULL);
        head_logp_backward(t->dhidden, t->grad, t->acts, t->model, &s.batch, hidden, temperature, dlogp,
                           want_dentropy ? dentropy : NULL);
        model_backward(t->grad, t->acts, t->model, &s.batch, t->dhidden);
    }
    slice_free(&s);
    memory_free(value);
    return !e->line[0];
}

bool trainer_accumulate_scores(Trainer *t, const Window *w, DeriveScores *derive, void *to, Err *e) {
    const size_t k = (size_t)t->model->config.n_label;
    real *score = memory_new((size_t)t->max_target * 2 * k * sizeof(real), "scores of a slice", e);
    if (!score) return false;
    real *dscore = score + (size_t)t->max_target * k;
    Slice s = {0};
    while (slice_next(&s, w, t->max_row, t->max_target, &t->model->config, e)) {
        const Batch *b = &s.batch;
        const real *hidden = model_forward(t->acts, t->model, b);
        head_linear(score, t->model, hidden, b->target_row, b->n_target);
        derive(to, s.first_target, b->n_target, score, dscore);
        head_linear_backward(t->dhidden, t->grad, t->model, hidden, b->n_row, b->target_row, b->n_target,
                             dscore);
        model_backward(t->grad, t->acts, t->model, b, t->dhidden);
    }
    slice_free(&s);
    memory_free(score);
    return !e->line[0];
}

/* E280 to E282 on one parameter, by the rows of a panel: they are packed while they are in the cache. */
static void update(Trainer *t, const Param *p, double scale, const AdamWStep *step) {
    const size_t cols = (size_t)p->cols;
    #pragma omp parallel for schedule(static) if (threads_worth(param_count(p)))
    for (int row = 0; row < p->rows; row += GEMM_PANEL) {
        const int n = p->rows - row < GEMM_PANEL ? p->rows - row : GEMM_PANEL;
        const size_t at = (size_t)row * cols, all = p->offset + at;
        adamw_consume((real *)p->data + at, t->m + all, t->v + all, t->grad + all, scale, (size_t)n * cols,
                      step);
        model_pack_rows(t->model, p, row, n);
    }
}

bool trainer_update(Trainer *t, Err *e) {
    Model *m = t->model;
    model_grad_finish(t->grad, t->acts, m);
    double sum = 0;
    for (int i = 0; i < m->n_param; i++)
        if (m->param[i].trainable)
            sum += grad_square_sum(t->grad + m->param[i].offset, param_count(&m->param[i]));
    t->grad_norm = sqrt(sum);
    if (!isfinite(t->grad_norm)) {
        memset(t->grad, 0, m->n_trainable * sizeof(real));
        return fail(e,
                    "step %lld: the gradient's norm is %g: the step is not applied; lower the learning rate "
                    "or look at the scores of this step",
                    (long long)t->step + 1, t->grad_norm);
    }
    AdamW o = t->adamw;
    o.lr = t->lr = t->adamw.lr * schedule_factor(t->schedule, t->step, t->warmup, t->n_step, t->min_lr_ratio);
    const double scale = clip_coefficient(t->grad_norm, t->max_grad_norm);
    t->step++;
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        if (!p->trainable) continue;
        o.weight_decay = p->is_matrix ? t->adamw.weight_decay : 0;              /* E283 */
        const AdamWStep step = adamw_step(&o, t->step);
        update(t, p, scale, &step);
    }
    return true;
}

/* ---- state ------------------------------------------------------------------------------- */

/* The tensors of one trainer; state [5] must live as long as they are used. */
static void describe(TensorOut out[4], char name[4][32], double state[5], const Trainer *t,
                     const char *prefix) {
    static const char *const part[] = {"weights", "exp_avg", "exp_avg_sq", "state"};
    const Store store = sizeof(real) == 4 ? STORE_F32 : STORE_F64;
    const void *const data[] = {t->model->weights, t->m, t->v, state};
    state[0] = (double)t->step;
    memcpy(state + 1, t->extra, sizeof t->extra);
    for (int i = 0; i < 4; i++) {
        snprintf(name[i], 32, "%s%s", prefix, part[i]);
        out[i] = (TensorOut){.name = name[i], .store = i < 3 ? store : STORE_F64, .n_dim = 1,
                             .shape = {i < 3 ? t->model->n_trainable : 5}, .data = data[i],
                             .from = i < 3 ? STORE_REAL : STORE_F64};
    }
}

bool trainer_save(const Trainer *t, const char *path, Err *e) {
    TensorOut out[10];
    char name[8][32];
    double state[2][5];
    int n = 4;
    describe(out, name, state[0], t, "");
    if (t->partner) describe(out + 4, name + 4, state[1], t->partner, "partner."), n = 8;
    if (t->counts)
        out[n++] = (TensorOut){.name = "counts", .store = STORE_F64, .n_dim = 1, .shape = {t->n_counts},
                               .data = t->counts, .from = STORE_F64};
    if (t->multipliers)
        out[n++] = (TensorOut){.name = "multipliers", .store = STORE_F64, .n_dim = 1,
                               .shape = {t->n_multipliers}, .data = t->multipliers, .from = STORE_F64};
    return safetensors_write(path, out, n, (const char *const[]){NULL}, e);
}

static bool load(Trainer *t, const Safetensors *s, const char *prefix, const char *path, Err *e) {
    const char *const part[] = {"weights", "exp_avg", "exp_avg_sq"};
    real *const to[] = {t->model->weights, t->m, t->v};
    char name[32];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, part[i]);
        const Tensor *x = safetensors_find(s, name);
        if (!x || x->count != t->model->n_trainable || strcmp(x->dtype, REAL_DTYPE))
            return fail(e,
                        "%s: %s: expected %zu numbers of type %s; the checkpoint is of another model or of "
                        "the other build",
                        path, name, t->model->n_trainable, REAL_DTYPE);
        store_to_real(to[i], x->data, x->store, x->count);
    }
    snprintf(name, sizeof name, "%sstate", prefix);
    const Tensor *state = safetensors_find(s, name);
    if (!state || state->count != 5 || strcmp(state->dtype, "F64"))
        return fail(e, "%s: %s: expected five numbers of type F64", path, name);
    double value[5];
    memcpy(value, state->data, sizeof value);
    if (!(value[0] >= 0 && value[0] < 1e15))
        return fail(e, "%s: %s: found step %g; the file is damaged", path, name, value[0]);
    t->step = (int64_t)value[0];
    memcpy(t->extra, value + 1, sizeof t->extra);
    model_pack_trainable(t->model);
    return true;
}

/* The caller's n numbers of that name; to NULL: not wanted. */
static bool load_numbers(double *to, size_t n, const Safetensors *s, const char *name, const char *of,
                         const char *path, Err *e) {
    const Tensor *x = safetensors_find(s, name);
    if (!to) return true;
    if (!x || x->count != n || strcmp(x->dtype, "F64"))
        return fail(e,
                    "%s: %s: expected %zu numbers of type F64; the checkpoint is of %s: start the run again",
                    path, name, n, of);
    memcpy(to, x->data, n * sizeof(double));
    return true;
}

bool trainer_load(Trainer *t, const char *path, Err *e) {
    Safetensors *s = safetensors_open(path, e);
    const bool ok = s && load(t, s, "", path, e) &&
                    (!t->partner || load(t->partner, s, "partner.", path, e)) &&
                    load_numbers(t->counts, t->n_counts, s, "counts", "an earlier version", path, e) &&
                    load_numbers(t->multipliers, t->n_multipliers, s, "multipliers",
                                 "a run without --reward-floors", path, e);
    safetensors_close(s);
    return ok;
}
