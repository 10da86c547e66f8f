/* judge.c: which numbers of a dump are compared, by what tolerance, how far they lie from what a case gives,
 * and whether that case explains them. */
#include "verify/judge.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is compared ---- */
static const unsigned char *completion_tokens(const Report *r) {
    return r->d->completion_mask ? r->d->completion_mask : r->right.real_token;
}

/* Whether element j of the stage (index in ours) takes part. Padding is never read. */
static bool is_judged(const Report *r, Stage s, size_t j) {
    const Case *c = &r->right;
    switch (s) {
    case STAGE_LOGITS: return c->real_token[j] && completion_tokens(r)[j];
    case STAGE_LOGPS:
    case STAGE_OLD:
    case STAGE_REF:
    case STAGE_SAMPLER:
    case STAGE_ENTROPIES: return c->real_token[j] && completion_tokens(r)[j];
    case STAGE_ADVANTAGES:
    case STAGE_RATIO:
    case STAGE_KL:
    case STAGE_TOKEN_LOSS:
    case STAGE_ISR: return c->mask[j];
    case STAGE_DLOGP: return completion_tokens(r)[j];
    default: return true;
    }
}

/* Element j of an item: where the stage's own array has it, or SIZE_MAX where it is not looked at. */
size_t item_right_index(const Report *r, const Item *x, bool right_per_row, size_t j) {
    const Dump *d = r->d;
    const size_t row = stage_info[x->stage].shape == SHAPE_LOGITS
                           ? j / d->tensor[STAGE_LOGITS]->shape[2] / d->width
                       : x->given_per_row ? j
                       : d->width         ? j / d->width
                                          : 0;
    if (r->only_row != SIZE_MAX && stage_info[x->stage].shape != SHAPE_PARAMETERS && row != r->only_row)
        return SIZE_MAX;
    if (stage_info[x->stage].shape == SHAPE_LOGITS) {
        const size_t v = d->tensor[STAGE_LOGITS]->shape[2];
        return is_judged(r, x->stage, j / v) ? j : SIZE_MAX;
    }
    if (stage_info[x->stage].shape != SHAPE_TOKENS && stage_info[x->stage].shape != SHAPE_TOKENS_OR_ROWS)
        return is_judged(r, x->stage, j) ? x->at + j : SIZE_MAX;
    if (x->given_per_row && right_per_row && x->stage == STAGE_ADVANTAGES) return j;   /* needs no token */
    if (x->given_per_row) {                             /* [n, 1]: any token of the row tells ours */
        if (case_row_count(&r->right, j) == 0) return SIZE_MAX;
        if (right_per_row) return j;
        for (size_t t = j * d->width; t < (j + 1) * d->width; t++) if (r->right.mask[t]) return t;
        return SIZE_MAX;
    }
    if (!is_judged(r, x->stage, j)) return SIZE_MAX;
    return right_per_row ? j / d->width : j;
}

/* Elements [*first, *last) of an item that can take part: those of one completion while a search looks at
 * one. */
static void item_range(size_t *first, size_t *last, const Report *r, const Item *x) {
    *first = 0;
    *last = x->count;
    if (r->only_row == SIZE_MAX || stage_info[x->stage].shape == SHAPE_PARAMETERS || x->count < r->d->n)
        return;
    const size_t row = stage_info[x->stage].shape == SHAPE_LOGITS
                           ? r->d->width * r->d->tensor[STAGE_LOGITS]->shape[2]
                       : x->given_per_row ? 1
                                          : r->d->width;
    *first = r->only_row * row;
    *last = *first + row < x->count ? *first + row : x->count;
}

/* ---- tolerances (docs/numerics.md) ---- */
/* |error| <= absolute + relative |value| + scaled * (largest or mean magnitude of the tensor). By F64, F32,
 * F16, BF16. */
typedef struct { double absolute[4], relative[4], scaled[4]; bool by_mean; } Tolerance;

static const Tolerance tolerances[N_STAGE] = {
    [STAGE_LOGITS] = {{1e-12, 0, 0, 0}, {0}, {1e-10, 3e-5, 6e-3, 3e-2}, false},
    [STAGE_LOGPS] = {{1e-10, 3e-5, 2e-2, 1e-1}, {0}, {0}, false},
    [STAGE_OLD] = {{1e-10, 3e-5, 2e-2, 1e-1}, {0}, {0}, false},
    [STAGE_REF] = {{1e-10, 3e-5, 2e-2, 1e-1}, {0}, {0}, false},
    [STAGE_SAMPLER] = {{1e-10, 3e-5, 2e-2, 1e-1}, {0}, {0}, false},
    [STAGE_ENTROPIES] = {{1e-10, 3e-5, 2e-2, 1e-1}, {0}, {0}, false},
    [STAGE_REWARDS] = {{0}, {0}, {1e-12, 1e-6, 4e-3, 2e-2}, false},
    [STAGE_ADVANTAGES] = {{0}, {0}, {1e-10, 2e-6, 4e-3, 2e-2}, false},
    [STAGE_ISR] = {{1e-12, 1e-7, 1e-4, 1e-3}, {1e-10, 5e-6, 1e-2, 5e-2}, {0}, false},
    [STAGE_RATIO] = {{1e-12, 1e-7, 1e-4, 1e-3}, {1e-10, 5e-6, 1e-2, 5e-2}, {0}, false},
    [STAGE_KL] = {{1e-13, 1e-8, 1e-3, 1e-2}, {1e-10, 5e-6, 1e-2, 5e-2}, {0}, false},
    [STAGE_TOKEN_LOSS] = {{0}, {1e-10, 5e-6, 1e-2, 5e-2}, {1e-10, 2e-6, 1e-3, 1e-2}, true},
    [STAGE_LOSS] = {{0}, {0}, {1e-10, 4e-6, 1e-2, 5e-2}, false},
    [STAGE_DLOGP] = {{0}, {1e-10, 5e-6, 1e-2, 5e-2}, {1e-10, 2e-6, 1e-3, 1e-2}, true},
    [STAGE_GRAD_NORM] = {{0}, {1e-9, 2e-5, 1e-2, 1e-1}, {0}, false},
    [STAGE_GRAD] = {{0}, {0}, {1e-9, 5e-5, 2e-2, 1e-1}, false},
};

static Precision coarser(Precision a, Precision b) { return a > b ? a : b; }

/* The precision that an item is judged by: the tensor's, or the program's where it runs the model. */
static Precision judged_precision(const Report *r, const Item *x) {
    const bool model =
        (x->stage >= STAGE_LOGITS && x->stage <= STAGE_ENTROPIES) || x->stage >= STAGE_GRAD_NORM;
    if (x->stage == STAGE_SAMPLER)
        return r->d->set.sampler_given ? coarser(x->precision, r->d->set.sampler) : x->precision;
    return model && r->d->set.compute_given ? coarser(x->precision, r->d->set.compute) : x->precision;
}

bool judged_half(const Report *r, const Item *x) { return judged_precision(r, x) >= PRECISION_F16; }

static int mantissa(Precision p) {
    return p == PRECISION_F64 ? 53 : p == PRECISION_F32 ? 24 : p == PRECISION_F16 ? 11 : 8;
}

/* Distance between neighbouring numbers of that type at x. */
static double ulp_of(double x, Precision p) {
    int exponent;
    const int least = p == PRECISION_F64 ? -1021 : p == PRECISION_F16 ? -13 : -125;
    if (!isfinite(x)) return NAN;
    frexp(x, &exponent);
    if (x == 0 || exponent < least) exponent = least;
    return ldexp(1, exponent - mantissa(p));
}

/* Rounding adds up over layers: the table's limits are for ten. */
static double depth_factor(const Report *r, Stage s) {
    const Policies *p = &r->right.model;
    const Model *m = p->policy ? p->policy : p->reference ? p->reference : p->old;
    const bool runs = (s >= STAGE_LOGITS && s <= STAGE_ENTROPIES) || s == STAGE_GRAD;
    return runs && m && m->config.n_layer > 10 ? m->config.n_layer / 10.0 : 1;
}

/* What "scaled" is a multiple of, for values `ours` of the item's stage. */
double item_scale(const Report *r, const Item *x, const real *ours, bool per_row) {
    /* its terms may cancel, and on policy they do; a NaN is no scale */
    if (x->stage == STAGE_LOSS) {
        const double sum = fabs((double)ours[0]);
        return r->loss_scale > sum ? r->loss_scale : sum;
    }
    double max = 0, sum = 0, n = 0;
    size_t first, last;
    item_range(&first, &last, r, x);
    for (size_t j = first; j < last; j++) {
        const size_t k = item_right_index(r, x, per_row, j);
        const double v = k == SIZE_MAX ? 0 : fabs((double)ours[k]);
        if (k == SIZE_MAX || !isfinite(v)) continue;
        max = v > max ? v : max;
        sum += v;
        n++;
    }
    /* a tensor whose gradient is 0 but for rounding (the bias of k) is judged beside the others */
    if (x->stage == STAGE_GRAD) {
        double all = 0;
        const Model *m = r->right.model.policy;
        for (size_t j = 0; j < m->n_trainable; j++)
            all = fabs((double)ours[j]) > all ? fabs((double)ours[j]) : all;
        if (max < 1e-3 * all) max = 1e-3 * all;
    }
    return tolerances[x->stage].by_mean ? n > 0 ? sum / n : 0 : max;
}

/* What rounding of numbers larger than the result leaves in element j: E84 of equal rewards, E302. */
static double noise_at(const Report *r, const Item *x, size_t j, Precision p) {
    static const double unit[] = {0x1p-53, 0x1p-24, 0x1p-11, 0x1p-8};
    const double *noise = r->noise[x->stage];
    if (!noise || j == SIZE_MAX || (x->given_per_row && x->stage != STAGE_ADVANTAGES)) return 0;
    const size_t row = x->given_per_row || !r->d->width ? j : j / r->d->width;
    return 4 * unit[p] * noise[x->stage == STAGE_ADVANTAGES ? row : j];
}

double item_tolerance(const Report *r, const Item *x, size_t j, double value, double scale) {
    const Precision p = judged_precision(r, x);
    const Tolerance *t = &tolerances[x->stage];
    if (stage_info[x->stage].shape == SHAPE_MASK) return 0;
    if (x->stage == STAGE_STEP) {
        const double lr = r->d->set.adamw.lr, unit[] = {1e-6, 1e-2, 1e-1, 1e-1};
        return lr * unit[p] + 2 * ulp_of(value, x->precision);
    }
    const double tol =
        (t->absolute[p] + t->relative[p] * fabs(value) + t->scaled[p] * scale) * depth_factor(r, x->stage);
    return tol + noise_at(r, x, j, p) + ulp_of(value, x->precision) * (p == PRECISION_F64 ? 4 : 1);
}

/* ---- errors ---- */
double value_gap(double given, double right) {
    if (isnan(given) && isnan(right)) return 0;
    if (given == right) return 0;
    const double d = fabs(given - right);
    return isnan(d) ? INFINITY : d;
}

/* AdamW's first steps follow signs: where the gradient is ours and below its tolerance, nothing can be said
 * of the step. */
static bool step_is_noise(const Report *r, const Item *x, size_t at, double grad_scale) {
    if (x->stage != STAGE_STEP || r->d->tensor[STAGE_GRAD]) return false;
    return fabs((double)r->right.grad[at]) <=
           tolerances[STAGE_GRAD].scaled[judged_precision(r, x)] * grad_scale;
}

/* How far an item lies from `ours`; details into x. */
static Distance item_distance(const Report *r, Item *x, const real *ours, bool per_row, bool details) {
    const double scale = item_scale(r, x, ours, per_row);
    double grad_scale = 0;
    if (x->stage == STAGE_STEP)
        for (size_t j = 0; j < r->right.model.policy->n_trainable; j++)
            grad_scale =
                fabs((double)r->right.grad[j]) > grad_scale ? fabs((double)r->right.grad[j]) : grad_scale;
    Distance out = {0, 0, 0};
    double n = 0, within = 0, sum = 0;
    size_t first, last;
    item_range(&first, &last, r, x);
    if (details)
        x->max_abs = x->mean_abs = x->max_rel = x->ulps = x->tolerance = 0, x->worst = 0,
        x->worst_given = x->worst_right = NAN;
    for (size_t j = first; j < last; j++) {
        const size_t k = item_right_index(r, x, per_row, j);
        if (k == SIZE_MAX || step_is_noise(r, x, k, grad_scale)) continue;
        const double given = x->given[j], right = ours[k];
        if (x->stage == STAGE_SAMPLER && isnan(given)) continue;                /* unknown */
        const double error = value_gap(given, right), tol = item_tolerance(r, x, j, right, scale),
                     over = error == 0 ? 0
                            : tol > 0  ? error / tol
                                       : INFINITY;
        n++;
        sum += error;
        within += over <= 1;
        if (over > out.excess || (details && n == 1)) {
            if (over > out.excess) out.excess = over;
            if (details) x->worst = j, x->worst_given = given, x->worst_right = right, x->tolerance = tol;
        }
        if (!details) continue;
        if (error > x->max_abs) x->max_abs = error;
        if (right != 0 && error / fabs(right) > x->max_rel) x->max_rel = error / fabs(right);
        const double ulps = error == 0 ? 0 : error / ulp_of(right, x->precision);
        if (ulps > x->ulps) x->ulps = ulps;
    }
    out.mean = n > 0 ? sum / n : 0;
    out.share = n > 0 ? within / n : 1;
    if (details) x->mean_abs = out.mean, x->n_judged = (size_t)n, x->within = out.excess <= 1;
    return out;
}

Distance stage_distance(Report *r, Stage s, const real *ours, bool per_row, bool details) {
    Distance all = {0, 0, 1};
    for (int i = 0; i < r->stage[s].n; i++) {
        const Distance one = item_distance(r, &r->item[r->stage[s].first + i], ours, per_row, details);
        all.excess = one.excess > all.excess ? one.excess : all.excess;
        all.mean += one.mean / r->stage[s].n;
        all.share = one.share < all.share ? one.share : all.share;
    }
    return all;
}

/* ---- the items ---- */
static bool add_item(Report *r, Stage s, const char *name, const Tensor *t, size_t first, size_t count,
                     size_t at, Err *e) {
    Item *x = &r->item[r->n_item];
    real *given = pool_take(&r->pool, count, sizeof *given, e);
    if (!given) return false;
    *x = (Item){.stage = s, .precision = tensor_precision(t), .given = given, .count = count, .at = at,
                .given_per_row = r->d->per_row[s], .ours = NAN};
    snprintf(x->name, sizeof x->name, "%.127s", name);
    if (stage_info[s].shape == SHAPE_MASK) {
        const unsigned char *mask = s == STAGE_MASK ? r->d->completion_mask : r->d->loss_mask;
        for (size_t j = 0; j < count; j++) given[j] = mask[j];
        x->precision = PRECISION_F64;
    } else tensor_reals(given, t, first, count);
    if (r->stage[s].n++ == 0) r->stage[s].first = r->n_item;
    r->n_item++;
    return true;
}

static bool add_family(Report *r, Stage s, Err *e) {
    const Model *m = r->right.model.policy;
    const char *prefix = stage_info[s].tensor;
    for (int i = 0; i < safetensors_count(r->d->file); i++) {
        const Tensor *t = safetensors_at(r->d->file, i);
        if (strncmp(t->name, prefix, strlen(prefix))) continue;
        const Param *q = model_find(m, t->name + strlen(prefix));
        /* a tied head, written twice */
        if (!q && !strcmp(t->name + strlen(prefix), "lm_head.weight")) continue;
        if (!q)
            return fail(e, "%s: tensor %.160s: found the parameter %.100s, which the model does not have",
                        r->d->path, t->name, t->name + strlen(prefix));
        if (t->count != param_count(q) || t->n_dim < 1 || t->n_dim > 2 ||
            (t->n_dim == 2 && t->shape[1] != (size_t)q->cols))
            return fail(e, "%s: tensor %.160s: found %zu numbers, expected (%d,%d) as the model has",
                        r->d->path, t->name, t->count, q->rows, q->cols);
        if (!add_item(r, s, t->name, t, 0, t->count, q->offset, e)) return false;
    }
    return true;
}

enum { LOGITS_MOST = 1 << 24 };

bool report_items(Report *r, Err *e) {
    const Dump *d = r->d;
    r->item = pool_take(&r->pool, (size_t)safetensors_count(d->file) + 1, sizeof *r->item, e);
    if (!r->item) return false;
    for (int k = 0; k < N_STAGE; k++) {
        const Stage s = (Stage)k;
        StageReport *x = &r->stage[s];
        const Tensor *t = d->tensor[s];
        x->present = t != NULL;
        if (!t) continue;
        if ((x->obstacle = stage_obstacle(&r->right, s)) != NULL) continue;
        x->judged = true;
        x->count_rows = d->n;
        size_t count = t->count;
        if (s == STAGE_LOGITS) {
            const size_t row = d->width * t->shape[2];
            if (x->count_rows * row > LOGITS_MOST) x->count_rows = row > LOGITS_MOST ? 1 : LOGITS_MOST / row;
            count = x->count_rows * row;
        }
        if (stage_info[s].shape == SHAPE_PARAMETERS ? !add_family(r, s, e)
                                                    : !add_item(r, s, t->name, t, 0, count, 0, e))
            return false;
        if (x->n == 0) x->judged = false, x->obstacle = "only a tied head's copy";
    }
    return true;
}

/* ---- one stage under one case ---- */
/* From the right values, so that what a case does not compute (other completions) counts as unchanged. */
bool stage_under(real *out, const Report *r, const Case *c, Stage s, Err *e) {
    Pool p = {0};
    Case x = *c;
    const size_t size = stage_size(&r->right, s);
    if (s == STAGE_LOGITS && x.count > r->stage[s].count_rows) x.first = 0, x.count = r->stage[s].count_rows;
    if (r->stage[s].right && s != STAGE_LOGITS) memcpy(out, r->stage[s].right, size * sizeof *out);
    const size_t at =
        s == STAGE_LOGITS ? x.first * r->d->width * (size_t)r->right.model.policy->config.vocab : 0;
    const bool ok = stage_compute(out + at, &x, s, &p, e);
    pool_free(&p);
    return ok;
}

size_t stage_out_size(const Report *r, Stage s) {
    size_t n = stage_size(&r->right, s);
    if (s == STAGE_LOGITS)
        n = r->stage[s].count_rows * r->d->width * (size_t)r->right.model.policy->config.vocab;
    return n;
}

bool stage_runs_model(Stage s) { return (s >= STAGE_LOGITS && s <= STAGE_ENTROPIES) || s == STAGE_GRAD; }

/* Multiply-adds of one forward pass over completion i, or over all. */
double model_work(const Report *r, bool all) {
    const Model *m = r->right.model.policy      ? r->right.model.policy
                     : r->right.model.reference ? r->right.model.reference
                                                : r->right.model.old;
    if (!m) return 0;
    return (double)model_parameters(m) * (double)(r->d->width + r->d->prompt_width) *
           (all ? (double)r->d->n : 1);
}

/* ---- what a case explains ---- */
void stage_name(StageReport *x, const char *name, const char *line, bool choice) {
    for (int i = 0; i < x->n_name; i++) if (!strcmp(x->name[i], name)) return;
    if (x->n_name == MAX_NAMES) return;
    snprintf(x->text[x->n_name], sizeof x->text[0], "%s", line);
    x->choice[x->n_name] = choice;
    snprintf(x->name[x->n_name++], sizeof x->name[0], "%s", name);
}

/* Whether values that a case gave explain the dump, and whether they differ from ours at all. */
bool stage_explains(Report *r, Stage s, const Case *c, const real *out, const Distance *ours) {
    const Distance d = stage_distance(r, s, out, stage_per_row(c, s), false);
    if (stage_info[s].shape == SHAPE_ONE && isnan(out[0])) return false;        /* any NaN would do */
    if (d.excess <= 1) return true;
    /* a value that lies between two roundings may fall to either side */
    return (c->round_logits || c->round_logp) && d.share >= 0.9 && d.mean <= 0.1 * ours->mean;
}

/* Does `out` differ from the right values beyond the tolerance, as a dump would show it? */
bool stage_shows(const Report *r, Stage s, const Case *c, const real *out) {
    const StageReport *x = &r->stage[s];
    const bool per_row = stage_per_row(c, s), right_per_row = stage_per_row(&r->right, s);
    for (int i = 0; i < x->n; i++) {
        const Item *it = &r->item[x->first + i];
        const double scale = item_scale(r, it, x->right, right_per_row);
        size_t first, last;
        item_range(&first, &last, r, it);
        for (size_t j = first; j < last; j++) {
            const size_t a = item_right_index(r, it, right_per_row, j),
                         b = item_right_index(r, it, per_row, j);
            if (a != SIZE_MAX && b != SIZE_MAX &&
                value_gap(out[b], x->right[a]) > item_tolerance(r, it, j, x->right[a], scale))
                return true;
        }
    }
    return false;
}

void item_place(long *row, long *position, const Report *r, const Item *x, size_t j) {
    const Dump *d = r->d;
    *row = *position = -1;
    size_t at = j;
    switch (stage_info[x->stage].shape) {
    case SHAPE_PARAMETERS: case SHAPE_ONE: return;
    case SHAPE_ROWS: *row = (long)j; return;
    case SHAPE_LOGITS: at = j / d->tensor[STAGE_LOGITS]->shape[2]; break;
    case SHAPE_TOKENS_OR_ROWS: if (x->given_per_row) { *row = (long)j; return; } break;
    case SHAPE_MASK: case SHAPE_TOKENS: break;
    }
    *row = (long)(at / d->width);
    long before = 0;
    for (size_t t = *row * (long)d->width; t < at; t++) before += r->right.real_token[t];
    *position = before;
}
