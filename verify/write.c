/* write.c: right values in the form of a dump. */
#include "verify/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beyond these sizes a golden file leaves logits, or gradients and parameters, out. */
enum { LOGITS_WRITTEN = 1 << 22, PARAMETERS_WRITTEN = 20000000 };

typedef struct { TensorOut *out; int n, capacity; Pool *p; const Case *c; } Writer;

static TensorOut *add_tensor(Writer *w, const char *name, const void *data, int n_dim, size_t a, size_t b,
                          size_t c, Err *e) {
    if (w->n == w->capacity) { fail(e, "verify: more tensors to write than planned"); return NULL; }
    TensorOut *t = &w->out[w->n++];
    char *own = pool_take(w->p, strlen(name) + 1, 1, e);
    if (!own) return NULL;
    strcpy(own, name);
    *t = (TensorOut){.name = own, .store = sizeof(real) == 4 ? STORE_F32 : STORE_F64, .n_dim = n_dim,
                     .shape = {a, b, c}, .data = data, .from = STORE_REAL};
    return t;
}

static bool declare_whole(Writer *w, const char *name, const void *data, const char *dtype, size_t rows,
                          size_t cols, Err *e) {
    TensorOut *t = data ? add_tensor(w, name, data, cols ? 2 : 1, rows, cols, 0, e) : NULL;
    if (t) t->dtype = dtype;
    return !data || t;
}

/* The parameters of a family, out of one array laid out like the model. */
static bool declare_family(Writer *w, const char *prefix, const real *base, bool only_present, Err *e) {
    const Model *m = w->c->model.policy;
    for (int i = 0; i < m->n_param; i++) {
        const Param *q = &m->param[i];
        char name[160];
        snprintf(name, sizeof name, "%s%s", prefix, q->name);
        if (!q->trainable || (only_present && !safetensors_find(w->c->d->file, name))) continue;
        if (!add_tensor(w, name, base + q->offset, q->is_matrix ? 2 : 1,
                     q->is_matrix ? (size_t)q->rows : param_count(q), (size_t)q->cols, 0, e))
            return false;
    }
    return true;
}

static bool declare_stage(Writer *w, Stage s, bool only_present, Err *e) {
    const Case *c = w->c;
    const Dump *d = c->d;
    const size_t v = c->model.policy ? (size_t)c->model.policy->config.vocab : 0;
    if (stage_obstacle(c, s) || (only_present && !d->tensor[s])) return true;
    if (!only_present && ((s == STAGE_KL && c->s.grpo.beta == 0) || (s == STAGE_REF && !c->model.reference) ||
                          ((s == STAGE_OLD || s == STAGE_SAMPLER) && !c->model.old)))
        return true;
    if (s == STAGE_LOGITS && d->n * d->width * v > LOGITS_WRITTEN) return true;
    if (!only_present && stage_info[s].shape == SHAPE_PARAMETERS &&
        c->model.policy->n_trainable > PARAMETERS_WRITTEN)
        return true;
    real *x = pool_take(w->p, stage_size(c, s), sizeof *x, e);
    if (!x || !stage_compute(x, c, s, w->p, e)) return false;
    const StageInfo *info = &stage_info[s];
    switch (info->shape) {
    case SHAPE_PARAMETERS: return declare_family(w, info->tensor, x, only_present, e);
    case SHAPE_ONE: return add_tensor(w, info->tensor, x, 0, 0, 0, 0, e);
    case SHAPE_ROWS: return add_tensor(w, info->tensor, x, 1, d->n, 0, 0, e);
    case SHAPE_LOGITS: return add_tensor(w, info->tensor, x, 3, d->n, d->width, v, e);
    case SHAPE_TOKENS_OR_ROWS:
        if (s == STAGE_ADVANTAGES && stage_per_row(c, s))
            return add_tensor(w, info->tensor, x, 1, d->n, 0, 0, e);
        return add_tensor(w, info->tensor, x, 2, d->n, stage_per_row(c, s) ? 1 : d->width, 0, e);
    case SHAPE_MASK: return true;
    case SHAPE_TOKENS: return add_tensor(w, info->tensor, x, 2, d->n, d->width, 0, e);
    }
    return true;
}

static bool declare_weights(Writer *w, Err *e) {
    const size_t n = w->c->d->n;
    real *x = pool_take(w->p, n, sizeof *x, e);
    for (size_t i = 0; x && i < n; i++) x[i] = (real)w->c->d->row_weight[i];
    return x && add_tensor(w, "row_weights", x, 1, n, 0, 0, e);
}

static bool declare_value(Writer *w, Stage s, Err *e) {
    const Dump *d = w->c->d;
    return !d->value[s] || add_tensor(w, stage_info[s].tensor, d->value[s], 2, d->n, d->width, 0, e);
}

static bool write_dump(const char *path, const Case *c, bool only_present, Err *e) {
    Pool p = {0};
    Writer w = {.capacity = 64 + (c->model.policy ? 4 * c->model.policy->n_param : 0), .p = &p, .c = c};
    const Dump *d = c->d;
    JsonWriter config = {0};
    bool ok = (w.out = pool_take(&p, (size_t)w.capacity, sizeof *w.out, e)) != NULL;
    if (ok && !only_present) {
        if (d->whole_rows)
            ok = declare_whole(&w, "input_ids", d->id, "I32", d->n, d->width, e) &&
                 declare_whole(&w, "attention_mask", d->real_token, "U8", d->n, d->width, e) &&
                 declare_whole(&w, "prompt_mask", d->prompt_mask, "U8", d->n, d->width, e);
        else
            ok = declare_whole(&w, "completion_ids", d->id, "I32", d->n, d->width, e) &&
                 declare_whole(&w, "prompt_ids", d->prompt_id, "I32", d->n, d->prompt_width, e) &&
                 declare_whole(&w, "prompt_mask", d->prompt_mask, "U8", d->n, d->prompt_width, e);
        if (ok && d->width)
            ok = declare_whole(&w, "completion_mask", d->completion_mask ? d->completion_mask : c->real_token,
                               "U8", d->n, d->width, e);
        if (ok && d->width &&
            memcmp(c->mask, d->completion_mask ? d->completion_mask : c->real_token, d->n * d->width))
            ok = declare_whole(&w, "loss_mask", c->mask, "U8", d->n, d->width, e);
        ok = ok && (!d->group || declare_whole(&w, "group_ids", d->group, "I32", d->n, 0, e)) &&
             declare_whole(&w, "policy_mask", d->policy_mask, "U8", d->n, d->width, e) &&
             (!d->row_weight || declare_weights(&w, e));
        ok = ok && (!d->score || add_tensor(&w, "rewards_per_func", d->score, 2, d->n, d->n_label, 0, e));
        ok = ok && declare_value(&w, STAGE_LOGPS, e) && declare_value(&w, STAGE_OLD, e) &&
             declare_value(&w, STAGE_REF, e) && declare_value(&w, STAGE_SAMPLER, e) &&
             declare_value(&w, STAGE_ENTROPIES, e);
        ok = ok &&
             (!d->value[STAGE_REWARDS] ||
              add_tensor(&w, "rewards", d->value[STAGE_REWARDS], 1, d->n, 0, 0, e));
        ok = ok && (!d->value[STAGE_ADVANTAGES] ||
                    add_tensor(&w, "advantages", d->value[STAGE_ADVANTAGES],
                               d->per_row[STAGE_ADVANTAGES] ? 1 : 2, d->n, d->width, 0, e));
    }
    /* AdamW's moments before the step */
    for (int i = 0; ok && !only_present && i < safetensors_count(d->file); i++) {
        const Tensor *t = safetensors_at(d->file, i);
        if (strncmp(t->name, "exp_avg", 7)) continue;
        TensorOut *to = add_tensor(&w, t->name, t->data, t->n_dim, t->shape[0], t->shape[1], 0, e);
        if ((ok = to != NULL)) to->store = to->from = t->store;
    }
    for (int s = STAGE_LOGITS; ok && s < N_STAGE; s++)
        if (only_present || !d->value[s]) ok = declare_stage(&w, (Stage)s, only_present, e);
    if (ok && w.n == 0 && !only_present)
        ok = fail(e, "%s: nothing can be computed from it: give completions and a model, or arrays of "
                  "docs/verify.md", d->path);
    dump_write_settings(&config, d);
    const char *const metadata[] = {"format",   "grpo-dump-1",
                                    "producer", sizeof(real) == 4 ? "grpo.c, float" : "grpo.c, double",
                                    "config",   config.text ? config.text : "{}",
                                    NULL};
    ok = ok && safetensors_write(path, w.out, w.n, metadata, e);
    free(config.text);
    pool_free(&p);
    return ok;
}

bool write_golden(const char *path, const Case *c, Err *e) { return write_dump(path, c, false, e); }
bool write_values(const char *path, const Case *c, Err *e) { return write_dump(path, c, true, e); }
