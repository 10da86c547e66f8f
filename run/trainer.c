/* trainer.c: passes over slices, the gathered gradient, the update (E117, E280 to E285), and checkpoints. */
#include "run/trainer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/threads.h"
#include "net/flops.h"

size_t trainer_bytes(const ModelConfig *c, int max_row, int max_target) {
    const size_t model = model_bytes(c), trained = model_trainable(c);
    if (model == SIZE_MAX || trained == SIZE_MAX) return SIZE_MAX;      /* no memory to find it out */
    return model + (3 * trained + (size_t)max_row * (size_t)c->hidden) * sizeof(real) +
           acts_bytes(c, max_row, max_target, true);
}

bool trainer_new(Trainer *t, Model *m, int max_row, int max_target, Err *e) {
    const size_t weights = m->n_trainable * sizeof(real), k = (size_t)m->config.n_label,
                 n = (size_t)max_target * (k ? 2 * k : 4);
    *t = (Trainer){.model = m, .max_row = max_row, .max_target = max_target, .max_grad_norm = 1,
                   .adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, .grad_held = weights,
                   .moments_held = 2 * weights,
                   .dhidden_held = (size_t)max_row * (size_t)m->config.hidden * sizeof(real)};
    t->grad = memory_new(weights, "gradients", e);
    t->m = memory_new(weights, "first moments", e);
    t->v = memory_new(weights, "second moments", e);
    t->dhidden = memory_new(t->dhidden_held, "gradients of hidden rows", e);
    real *value = memory_new(n * sizeof(real), "values of a slice", e);
    if (value && k) t->score = value, t->dscore = value + (size_t)max_target * k;
    if (value && !k)
        t->logp = value, t->entropy = value + max_target, t->dlogp = t->entropy + max_target,
        t->dentropy = t->dlogp + max_target;
    t->acts =
        t->grad && t->m && t->v && t->dhidden && value ? acts_new(m, max_row, max_target, true, e) : NULL;
    if (t->acts) return true;
    trainer_free(t);
    return false;
}

void trainer_free(Trainer *t) {
    memory_free(t->grad);
    memory_free(t->m);
    memory_free(t->v);
    memory_free(t->dhidden);
    memory_free(t->score ? t->score : t->logp);
    acts_free(t->acts);
    t->grad = t->m = t->v = t->dhidden = t->score = t->logp = NULL;
    t->acts = NULL;
}

/* ---- passes ---- */

Slice trainer_slices(const Trainer *t) { return (Slice){.max_row = t->max_row, .max_target = t->max_target}; }

/* The second model reads a slice, too. */
static void second_forward(SecondModel *second, const Batch *b) {
    second->hidden = model_forward(second->acts, second->model, b);
    tally_forward(second->model, b, batch_scored_rows(b));
}

void slice_forward(Trainer *t, const Slice *x, double temperature) {
    t->hidden = model_forward(t->acts, t->model, &x->batch);
    if (t->second) second_forward(t->second, &x->batch);
    head_logp(t->logp, t->entropy, t->acts, t->model, &x->batch, t->hidden, temperature, t->second);
}

void slice_backward(Trainer *t, const Slice *x, double temperature, bool want_dentropy) {
    head_logp_backward(t->dhidden, t->grad, t->acts, t->model, &x->batch, t->hidden, temperature, t->dlogp,
                       want_dentropy ? t->dentropy : NULL, t->second);
    model_backward(t->grad, t->acts, t->model, &x->batch, t->dhidden);
    slice_count(t, x);
    if (t->second && t->second->dkl) tally_head(t->second->model, batch_scored_rows(&x->batch));
}

void slice_count(const Trainer *t, const Slice *x) {
    const int scored = batch_scored_rows(&x->batch);
    tally_forward(t->model, &x->batch, scored);
    tally_backward(t->model, &x->batch, scored, acts_logits_again(t->acts, scored));
}

void slice_scores(Trainer *t, const Slice *x) {
    t->hidden = model_forward(t->acts, t->model, &x->batch);
    head_linear(t->score, t->model, t->hidden, x->batch.target_row, x->batch.n_target);
}

void slice_scores_backward(Trainer *t, const Slice *x) {
    const Batch *b = &x->batch;
    head_linear_backward(t->dhidden, t->grad, t->model, t->hidden, b->n_row, b->target_row, b->n_target,
                         t->dscore);
    model_backward(t->grad, t->acts, t->model, b, t->dhidden);
    tally_forward(t->model, b, b->n_target);
    tally_backward(t->model, b, b->n_target, 0);
}

static bool window_pass(real *logp, real *entropy, const SecondModel *second, Acts *a, int max_row,
                        int max_target, const Model *m, const Window *w, double temperature, Err *e) {
    Slice x = {.max_row = max_row, .max_target = max_target};
    SecondModel part = second ? *second : (SecondModel){0};
    int more;
    while ((more = slice_next(&x, w, &m->config, e)) > 0) {
        const real *hidden = model_forward(a, m, &x.batch);
        if (second) {
            second_forward(&part, &x.batch);
            part.logp = second->logp + x.first_target, part.kl = second->kl + x.first_target;
        }
        head_logp(logp + x.first_target, entropy ? entropy + x.first_target : NULL, a, m, &x.batch, hidden,
                  temperature, second ? &part : NULL);
        tally_forward(m, &x.batch, batch_scored_rows(&x.batch));
    }
    return more == 0;
}

bool window_logp(real *logp, real *entropy, Acts *a, int max_row, int max_target, const Model *m,
                 const Window *w, double temperature, Err *e) {
    return window_pass(logp, entropy, NULL, a, max_row, max_target, m, w, temperature, e);
}

bool window_kl(real *logp, const SecondModel *second, Acts *a, int max_row, int max_target, const Model *m,
               const Window *w, double temperature, Err *e) {
    return window_pass(logp, NULL, second, a, max_row, max_target, m, w, temperature, e);
}

bool window_scores(real *score, Acts *a, int max_row, int max_target, const Model *m, const Window *w,
                   Err *e) {
    Slice x = {.max_row = max_row, .max_target = max_target};
    int more;
    while ((more = slice_next(&x, w, &m->config, e)) > 0) {
        head_linear(score + (size_t)x.first_target * (size_t)m->config.n_label, m,
                    model_forward(a, m, &x.batch), x.batch.target_row, x.batch.n_target);
        tally_forward(m, &x.batch, x.batch.n_target);
    }
    return more == 0;
}

/* ---- the update ---- */

/* E280 to E282 on one parameter, by the rows of a panel: they are packed while they are in the cache. */
static void param_update(Trainer *t, const Param *p, double scale, const AdamWStep *step) {
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
                    "step %lld: the gradient's norm is %s: the step is not applied; lower the learning rate "
                    "or look at the scores of this step",
                    (long long)t->step + 1, isnan(t->grad_norm) ? "nan" : "infinite");
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
        param_update(t, p, scale, &step);
    }
    return true;
}

/* ---- checkpoints ---- */

enum { PARTS = 3 };                     /* of a trainer: weights and both moments, with names and data: */
static const char *const part_name[PARTS] = {"weights", "exp_avg", "exp_avg_sq"};
static void trainer_parts(real *data[PARTS], const Trainer *t) {
    data[0] = t->model->weights, data[1] = t->m, data[2] = t->v;
}

void trainer_keep(Trainer *t, const char *name, double *value, size_t n) {
    assert(t->n_kept < MAX_KEPT);
    Kept *k = &t->kept[t->n_kept++];
    k->value = value, k->n = n;
    snprintf(k->name, sizeof k->name, "%s", name);
}

typedef struct {
    TensorOut out[2 * (MAX_KEPT + PARTS + 1)];
    char name[2 * (MAX_KEPT + PARTS + 1)][64];
    int n;
} Tensors;

static void tensor_add(Tensors *all, const char *prefix, const char *name, const void *data, size_t n,
                       Store store) {
    char *full = all->name[all->n];
    snprintf(full, sizeof all->name[0], "%s%s", prefix, name);
    const Store from = store == STORE_F64 ? STORE_F64 : STORE_REAL;
    all->out[all->n++] =
        (TensorOut){.name = full, .store = store, .n_dim = 1, .shape = {n}, .data = data, .from = from};
}

static void trainer_tensors(Tensors *all, const Trainer *t, double *step, const char *prefix) {
    real *data[PARTS];
    trainer_parts(data, t);
    *step = (double)t->step;
    for (int i = 0; i < PARTS; i++)
        tensor_add(all, prefix, part_name[i], data[i], t->model->n_trainable,
                   sizeof(real) == 4 ? STORE_F32 : STORE_F64);
    tensor_add(all, prefix, "step", step, 1, STORE_F64);
    for (int i = 0; i < t->n_kept; i++)
        tensor_add(all, prefix, t->kept[i].name, t->kept[i].value, t->kept[i].n, STORE_F64);
}

/* Of the n-th in the row of partners. */
static void partner_prefix(char prefix[24], int n) {
    if (n == 1) strcpy(prefix, "partner.");
    else snprintf(prefix, 24, "partner%d.", n);
}

static bool all_finite(const real *x, size_t n) {
    int bad = 0;
    for (size_t i = 0; i < n; i++) bad |= !isfinite(x[i]);
    return !bad;
}

static bool trainer_finite(const Trainer *t, Err *e) {
    real *data[PARTS];
    trainer_parts(data, t);
    for (int i = 0; i < PARTS; i++)
        if (!all_finite(data[i], t->model->n_trainable))
            return fail(e,
                        "step %lld: not every number of the %s is finite any more: lower the learning rate "
                        "(now %g) or look at the data of the steps before",
                        (long long)t->step, i ? "optimiser's moments" : "weights", t->adamw.lr);
    return !t->partner || trainer_finite(t->partner, e);
}

bool trainer_save(const Trainer *t, const char *path, const char *const *metadata, Err *e) {
    double step[1 + MAX_PARTNERS];
    char prefix[24];
    int n = 0;
    if (!trainer_finite(t, e)) return false;
    Tensors *all = calloc(1, sizeof *all);
    if (!all) return fail(e, "%s: no memory for a list of tensors", path);
    trainer_tensors(all, t, &step[0], "");
    for (const Trainer *p = t->partner; p; p = p->partner) {
        assert(n < MAX_PARTNERS && !(n && p->n_kept));
        partner_prefix(prefix, ++n);
        trainer_tensors(all, p, &step[n], prefix);
    }
    all->out[all->n++] = (TensorOut){.name = "sha256", .n_dim = 1, .shape = {32}, .dtype = "U8"};
    const bool ok = safetensors_write(path, all->out, all->n, metadata, e);
    free(all);
    return ok;
}

/* n numbers of a checkpoint, by their name. */
static bool load_numbers(double *to, size_t n, const Safetensors *s, const char *prefix, const char *name,
                         const char *path, Err *e) {
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const Tensor *x = safetensors_find(s, full);
    if (!x || x->count != n || strcmp(x->dtype, "F64"))
        return fail(e,
                    "%s: %s: expected %zu number%s of type F64; the checkpoint is of another version of the "
                    "program "
                    "or of a run with other options: start the run again",
                    path, full, n, n == 1 ? "" : "s");
    memcpy(to, x->data, n * sizeof(double));
    return true;
}

static bool load_trainer(Trainer *t, const Safetensors *s, const char *prefix, const char *path, Err *e) {
    real *to[PARTS];
    double step;
    trainer_parts(to, t);
    for (int i = 0; i < PARTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, part_name[i]);
        const Tensor *x = safetensors_find(s, name);
        if (!x || x->count != t->model->n_trainable || strcmp(x->dtype, REAL_DTYPE))
            return fail(e,
                        "%s: %s: expected %zu numbers of type %s; the checkpoint is of another model or of "
                        "the other "
                        "build",
                        path, name, t->model->n_trainable, REAL_DTYPE);
        store_to_real(to[i], x->data, x->store, x->count);
    }
    if (!load_numbers(&step, 1, s, prefix, "step", path, e)) return false;
    if (!(step >= 0 && step < 1e15))
        return fail(e, "%s: %sstep: found %g; the file is damaged", path, prefix, step);
    t->step = (int64_t)step;
    for (int i = 0; i < t->n_kept; i++)
        if (!load_numbers(t->kept[i].value, t->kept[i].n, s, prefix, t->kept[i].name, path, e)) return false;
    model_pack_trainable(t->model);
    return true;
}

bool trainer_read(Trainer *t, const Safetensors *s, const char *path, Err *e) {
    bool ok = load_trainer(t, s, "", path, e);
    char prefix[24];
    int n = 0;
    for (Trainer *p = t->partner; ok && p; p = p->partner) {
        partner_prefix(prefix, ++n);
        ok = load_trainer(p, s, prefix, path, e);
    }
    return ok;
}

bool trainer_load(Trainer *t, const char *path, Err *e) {
    Safetensors *s = safetensors_open(path, e);
    const bool ok = s && trainer_read(t, s, path, e);
    safetensors_close(s);
    return ok;
}
