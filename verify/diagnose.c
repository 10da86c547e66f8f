/* diagnose.c: errors against tolerances, verdicts, and the search for what explains them.
 *
 * In this order: what is compared, tolerances, errors, dialects, the search, the sampler's table,
 * the whole. */
#include "verify/diagnose.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/known.h"

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
    case STAGE_RATIO: case STAGE_KL: case STAGE_TOKEN_LOSS: case STAGE_ISR: return c->mask[j];
    case STAGE_DLOGP: return completion_tokens(r)[j];
    default: return true;
    }
}

/* Element j of an item: where the stage's own array has it, or SIZE_MAX where it is not looked at. */
static size_t right_index(const Report *r, const Item *x, bool right_per_row, size_t j) {
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
    /* absolute: what exp(D) - 1 - D loses near D = 0 (E302) */
    [STAGE_KL] = {{1e-13, 2.5e-7, 1e-3, 1e-2}, {1e-10, 5e-6, 1e-2, 5e-2}, {0}, false},
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
static double scale_of(const Report *r, const Item *x, const real *ours, bool per_row) {
    /* its terms may cancel, and on policy they do; a NaN is no scale */
    if (x->stage == STAGE_LOSS) {
        const double sum = fabs((double)ours[0]);
        return r->loss_scale > sum ? r->loss_scale : sum;
    }
    double max = 0, sum = 0, n = 0;
    size_t first, last;
    item_range(&first, &last, r, x);
    for (size_t j = first; j < last; j++) {
        const size_t k = right_index(r, x, per_row, j);
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

static double tolerance_at(const Report *r, const Item *x, double value, double scale) {
    const Precision p = judged_precision(r, x);
    const Tolerance *t = &tolerances[x->stage];
    if (stage_info[x->stage].shape == SHAPE_MASK) return 0;
    if (x->stage == STAGE_STEP) {
        const double lr = r->d->set.adamw.lr, unit[] = {1e-6, 1e-2, 1e-1, 1e-1};
        return lr * unit[p] + 2 * ulp_of(value, x->precision);
    }
    const double tol =
        (t->absolute[p] + t->relative[p] * fabs(value) + t->scaled[p] * scale) * depth_factor(r, x->stage);
    return tol + ulp_of(value, x->precision) * (p == PRECISION_F64 ? 4 : 1);
}

/* ---- errors ---- */
static double value_gap(double given, double right) {
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

/* How far an item lies from `ours`: the largest error over its tolerance, the share of elements within, the
 * mean error; details into x. */
typedef struct { double excess, mean, share; } Distance;

static Distance item_distance(const Report *r, Item *x, const real *ours, bool per_row, bool details) {
    const double scale = scale_of(r, x, ours, per_row);
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
        const size_t k = right_index(r, x, per_row, j);
        if (k == SIZE_MAX || step_is_noise(r, x, k, grad_scale)) continue;
        const double given = x->given[j], right = ours[k];
        if (x->stage == STAGE_SAMPLER && isnan(given)) continue;                /* unknown */
        const double error = value_gap(given, right), tol = tolerance_at(r, x, right, scale),
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

static Distance stage_distance(Report *r, Stage s, const real *ours, bool per_row, bool details) {
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

static bool add_items(Report *r, Err *e) {
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
static bool stage_under(real *out, const Report *r, const Case *c, Stage s, Err *e) {
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

static size_t out_size(const Report *r, Stage s) {
    size_t n = stage_size(&r->right, s);
    if (s == STAGE_LOGITS)
        n = r->stage[s].count_rows * r->d->width * (size_t)r->right.model.policy->config.vocab;
    return n;
}

static bool runs_model(Stage s) { return (s >= STAGE_LOGITS && s <= STAGE_ENTROPIES) || s == STAGE_GRAD; }

/* Multiply-adds of one forward pass over completion i, or over all. */
static double model_work(const Report *r, bool all) {
    const Model *m = r->right.model.policy      ? r->right.model.policy
                     : r->right.model.reference ? r->right.model.reference
                                                : r->right.model.old;
    if (!m) return 0;
    return (double)model_parameters(m) * (double)(r->d->width + r->d->prompt_width) *
           (all ? (double)r->d->n : 1);
}

/* ---- dialects ---- */
static bool fits_dialect(const Report *r, const char *name) {
    const GrpoConfig *g = &r->d->set.grpo;
    if (!strcmp(name, "level-sequence-token")) return g->importance_sampling_level == LEVEL_SEQUENCE;
    if (!strcmp(name, "D16-nonempty")) return g->loss_type == LOSS_GRPO || g->loss_type == LOSS_SAPO;
    if (!strcmp(name, "D16-dr-grpo-sum") || !strcmp(name, "D16-fixed-length"))
        return g->loss_type == LOSS_DR_GRPO;
    if (!strcmp(name, "D36-no-ga"))
        return g->loss_type == LOSS_DAPO || g->loss_type == LOSS_CISPO || g->loss_type == LOSS_VESPO;
    return true;
}

/* The case as the declared dialect has it at stage s; alternative: which of two ways where a dialect leaves
 * it open. False: as ours. */
static bool dialect_case(Case *c, const Report *r, Stage s, int alternative, Pool *p, Err *e) {
    bool other = false;
    *c = r->right;
    for (int i = 0; i < n_mistake && !e->line[0]; i++) {
        const Mistake *m = &mistakes[i];
        if (!(m->stages >> s & 1) || !dialect_has(r->d->set.dialect, m->name) || !fits_dialect(r, m->name))
            continue;
        if (!strcmp(m->name, "D16-fixed-length") && alternative == 0) continue;
        if (!strcmp(m->name, "D16-dr-grpo-sum") && alternative == 1) continue;
        if (!strcmp(m->name, "D1-population") && alternative == 0) continue;
        Case x = *c;
        if (mistake_apply(m, &x, s, p, e)) *c = x, other = true;
    }
    return other;
}

/* ---- the search ---- */
static void add_name(StageReport *x, const char *name, const char *line) {
    for (int i = 0; i < x->n_name; i++) if (!strcmp(x->name[i], name)) return;
    if (x->n_name == MAX_NAMES) return;
    snprintf(x->text[x->n_name], sizeof x->text[0], "%s", line);
    snprintf(x->name[x->n_name++], sizeof x->name[0], "%s", name);
}

static bool any_choice(const StageReport *x) {
    for (int i = 0; i < x->n_name; i++) if (name_is_choice(x->name[i])) return true;
    return false;
}

static size_t worst_row(const Report *r, Stage s) {
    const StageReport *x = &r->stage[s];
    if (!x->n) return 0;
    const Item *it = &r->item[x->first];
    long row, position;
    item_place(&row, &position, r, it, it->worst);
    return row < 0 ? 0 : (size_t)row;
}

static size_t shortest_row(const Report *r) {
    size_t best = 0;
    double least = INFINITY;
    for (size_t i = 0; i < r->d->n; i++) {
        double n = 0;
        for (size_t t = 0; t < r->d->width; t++) n += r->right.real_token[i * r->d->width + t];
        if (n > 0 && n < least) least = n, best = i;
    }
    return best;
}

/* Whether values that a case gave explain the dump, and whether they differ from ours at all. */
static bool explains(Report *r, Stage s, const Case *c, const real *out, const Distance *ours) {
    StageReport *x = &r->stage[s];
    const Distance d = stage_distance(r, s, out, stage_per_row(c, s), false);
    (void)x;
    if (d.excess <= 1) return true;
    /* a value that lies between two roundings may fall to either side */
    return (c->round_logits || c->round_logp) && d.share >= 0.9 && d.mean <= 0.1 * ours->mean;
}

/* Does `out` differ from the right values beyond the tolerance, as a dump would show it? */
static bool shows(const Report *r, Stage s, const Case *c, const real *out) {
    const StageReport *x = &r->stage[s];
    const bool per_row = stage_per_row(c, s), right_per_row = stage_per_row(&r->right, s);
    for (int i = 0; i < x->n; i++) {
        const Item *it = &r->item[x->first + i];
        const double scale = scale_of(r, it, x->right, right_per_row);
        size_t first, last;
        item_range(&first, &last, r, it);
        for (size_t j = first; j < last; j++) {
            const size_t a = right_index(r, it, right_per_row, j), b = right_index(r, it, per_row, j);
            if (a != SIZE_MAX && b != SIZE_MAX &&
                value_gap(out[b], x->right[a]) > tolerance_at(r, it, x->right[a], scale))
                return true;
        }
    }
    return false;
}

/* By the size of the errors (throughout-bf16): how far apart, as a logarithm, the dump's mean error and that
 * of ours with everything rounded are; infinite where the dump errs by little more than its own precision. */
static double size_apart(const Report *r, Stage s, const real *out, const Distance *ours) {
    const Item *it = &r->item[r->stage[s].first];
    double sum = 0, n = 0;
    for (size_t j = 0; j < it->count; j++) {
        const size_t k = right_index(r, it, false, j);
        if (k == SIZE_MAX) continue;
        sum += value_gap(out[k], r->stage[s].right[k]);
        n++;
    }
    if (!(sum > 0) || !(ours->mean > 0) || !isfinite(ours->mean) || ours->excess < 10) return INFINITY;
    return fabs(d_log(ours->mean / (sum / n)));
}

/* Multiply-adds of a pass over one completion from which on a network is not changed only to see whether the
 * dump would show it. */
#define WORK_UNTRIED 1e9

typedef struct { const Mistake *m[80]; int n; } Candidates;    /* those that change something on this dump */

static bool search_singles(Report *r, Stage s, const Case *base, bool want_names, Candidates *found, Err *e) {
    StageReport *x = &r->stage[s];
    const bool wrong = x->verdict == VERDICT_UNKNOWN, model = runs_model(s);
    const double work = model_work(r, true);
    real *out = malloc(out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    const bool one_row = model && s != STAGE_GRAD && work > 2e9;
    r->only_row = one_row ? wrong ? worst_row(r, s) : shortest_row(r) : SIZE_MAX;
    Distance ours = stage_distance(r, s, x->right, stage_per_row(&r->right, s), false);
    const Mistake *by_size = NULL;
    double closest = INFINITY;
    for (int i = 0; i < n_mistake && !e->line[0]; i++) {
        const Mistake *m = &mistakes[i];
        if (!(m->stages >> s & 1)) continue;
        /* the dump's own dlogp says it already */
        if (s == STAGE_GRAD && !(m->stages == 1u << STAGE_GRAD) &&
            (r->right.dlogp && !(m->stages >> STAGE_LOGPS & 1)))
            continue;
        if (s == STAGE_GRAD && !wrong && m->stages != 1u << STAGE_GRAD && work > 3e7) continue;
        if (!wrong && r->visible[i] == SHOWS) continue;
        if (!wrong && model && work / (double)r->d->n > WORK_UNTRIED && mistake_changes_model(m)) {
            if (!r->visible[i]) r->visible[i] = UNTRIED;
            continue;
        }
        if (r->visible[i] != SHOWS) r->visible[i] = HIDDEN;
        Pool p = {0};
        Case c = *base;
        /* a backward pass only to see that it shows: the tied gradient does */
        if (s == STAGE_GRAD && !wrong && work > 3e7) {
            const Model *net = r->right.model.policy;
            for (int k = 0; k < x->n && mistake_apply(m, &c, s, &p, e); k++)
                if (r->item[x->first + k].at == net->embed->offset) r->visible[i] = SHOWS;
            continue;
        }
        if (one_row) c.first = r->only_row, c.count = 1;
        if (mistake_apply(m, &c, s, &p, e) && !e->line[0]) {
            if (stage_obstacle(&c, s)) { pool_free(&p); continue; }
            if (stage_under(out, r, &c, s, e)) {
                if (shows(r, s, &c, out)) {
                    r->visible[i] = SHOWS;
                    if (found && !m->by_size && found->n < 80) found->m[found->n++] = m;
                }
                if (wrong && want_names && m->by_size) {
                    const double apart = size_apart(r, s, out, &ours);
                    /* the two types are a factor of 8 apart */
                    if (apart < 1.4 && apart < closest) by_size = m, closest = apart;
                } else if (wrong && want_names && explains(r, s, &c, out, &ours))
                    add_name(x, m->name, m->line);
            }
        }
        pool_free(&p);
    }
    if (wrong && want_names && x->n_name == 0 && by_size) add_name(x, by_size->name, by_size->line);
    r->only_row = SIZE_MAX;
    free(out);
    return !e->line[0];
}

static bool search_pairs(Report *r, Stage s, const Case *base, const Candidates *found, Err *e) {
    StageReport *x = &r->stage[s];
    real *out = malloc(out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    if (runs_model(s)) r->only_row = worst_row(r, s);
    Distance ours = stage_distance(r, s, x->right, stage_per_row(&r->right, s), false);
    for (int i = 0; i < found->n; i++)
        for (int j = i + 1; j < found->n && !e->line[0]; j++) {
            if (!strcmp(found->m[i]->name, found->m[j]->name)) continue;
            Pool p = {0};
            Case c = *base;
            if (runs_model(s)) c.first = r->only_row, c.count = 1;
            if (mistake_apply(found->m[i], &c, s, &p, e) && mistake_apply(found->m[j], &c, s, &p, e) &&
                !stage_obstacle(&c, s) && stage_under(out, r, &c, s, e) && explains(r, s, &c, out, &ours)) {
                char both[64];
                snprintf(both, sizeof both, "%.30s + %.30s", found->m[i]->name, found->m[j]->name);
                add_name(x, both, "two of them together");
            }
            pool_free(&p);
        }
    r->only_row = SIZE_MAX;
    free(out);
    return !e->line[0];
}

#define NOISE_MOST 2e-2                 /* what another kernel or batch does to a log-probability */

/* Its place among the mistakes, which is seen here and not by the search. */
static int recomputed(void) {
    int i = 0;
    while (strcmp(mistakes[i].name, RECOMPUTED_OLD)) i++;
    return i;
}
static void name_recomputed(Report *r) {
    add_name(&r->stage[STAGE_OLD], RECOMPUTED_OLD, mistakes[recomputed()].line);
}

/* E81: old beside the policy's own, on policy: the very same numbers, rounding noise, or another policy. */
static void judge_old(Report *r) {
    StageReport *x = &r->stage[STAGE_OLD];
    const Dump *d = r->d;
    if (x->judged && case_on_policy(&r->right)) r->visible[recomputed()] = SHOWS;
    if (!x->present || x->judged || !d->value[STAGE_LOGPS] || !case_on_policy(&r->right)) return;
    const Item probe = {.stage = STAGE_LOGPS, .precision = tensor_precision(d->tensor[STAGE_OLD])};
    double most = 0, sum = 0;
    size_t n = 0;
    for (size_t j = 0; j < d->n * d->width; j++)
        if (r->right.mask[j]) {
            const double gap = value_gap(d->value[STAGE_OLD][j], d->value[STAGE_LOGPS][j]);
            most = gap > most ? gap : most;
            sum += gap;
            n++;
        }
    const double noise = fmax(NOISE_MOST, tolerance_at(r, &probe, 1, 0));
    if (n == 0 || most > noise) return;                 /* another policy's, and so it may be */
    x->judged = true;
    x->obstacle = NULL;
    x->verdict = most == 0 ? VERDICT_RIGHT : VERDICT_DIFFERS;
    snprintf(x->note, sizeof x->note,
             most == 0 ? "the policy's own numbers, bit for bit"
                       : "off from per_token_logps by %.3g at most, %.3g on average",
             most, sum / (double)n);
    r->visible[recomputed()] = SHOWS;
    if (most != 0) name_recomputed(r);
}

/* The dialect's own ways that would show at this stage, but for those that the dump was found to have. */
static bool name_missing_ways(Report *r, Stage s, Err *e) {
    StageReport *x = &r->stage[s];
    StageReport before = *x;
    real *out = malloc(out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    x->n_name = 0;
    for (int i = 0; i < n_mistake && !e->line[0]; i++) {
        const Mistake *m = &mistakes[i];
        bool has = false;
        for (int k = 0; k < before.n_name; k++) has = has || !strcmp(before.name[k], m->name);
        if (has || !(m->stages >> s & 1) || !dialect_has(r->d->set.dialect, m->name) ||
            !fits_dialect(r, m->name))
            continue;
        Pool p = {0};
        Case c = r->right;
        if (mistake_apply(m, &c, s, &p, e) && !e->line[0] && stage_under(out, r, &c, s, e) &&
            shows(r, s, &c, out))
            add_name(x, m->name, m->line);
        pool_free(&p);
    }
    free(out);
    x->lacks = x->n_name > 0;
    if (x->n_name == 0) *x = before;
    return !e->line[0];
}

/* A loss mask that leaves out some of the tokens that it might have, as an agent's does with what its tools
 * answered; none of them is a stop token or the first of all completions, which the search has looked at. */
static bool leaves_out(Report *r) {
    const size_t all = r->d->n * r->d->width;
    size_t left = 0;
    for (size_t j = 0; j < all; j++) {
        if (r->d->loss_mask[j] > r->right.loss_token[j]) return false;
        left += r->d->loss_mask[j] < r->right.loss_token[j];
    }
    StageReport *x = &r->stage[STAGE_LOSS_MASK];
    x->verdict = VERDICT_RIGHT;
    snprintf(x->note, sizeof x->note, "leaves %zu of the completions' tokens out of the loss", left);
    return true;
}

/* Where log-probabilities of the sampler lie beyond the tolerance by no more than a coarser type explains,
 * that is its type: it need not be the trainer's. */
static void excuse_sampler(Report *r) {
    StageReport *x = &r->stage[STAGE_SAMPLER];
    for (int i = 0; i < x->n_name; i++)
        if (!strstr(x->name[i], "bf16") && !strstr(x->name[i], "fp16")) return;
    if (x->n_name == 0 || r->d->set.sampler_given) return;
    snprintf(x->note, sizeof x->note, "as %s has it; sampler_dtype says so beforehand", x->name[0]);
    x->verdict = VERDICT_RIGHT;
    x->n_name = 0;
}

static bool judge_stage(Report *r, Stage s, bool quick, Err *e) {
    StageReport *x = &r->stage[s];
    const bool right_per_row = stage_per_row(&r->right, s);
    const Distance ours = stage_distance(r, s, x->right, right_per_row, true);
    Pool p = {0};
    Case dialect = r->right;
    const bool declared = r->d->set.dialect != DIALECT_TRL_116;
    bool other = false, as_dialect = false, differs = false;
    real *out = declared ? malloc(out_size(r, s) * sizeof *out) : NULL;
    x->verdict = ours.excess <= 1 ? VERDICT_RIGHT : VERDICT_UNKNOWN;
    for (int k = 0; declared && out && k < 2 && !as_dialect && !e->line[0]; k++) {
        other = dialect_case(&dialect, r, s, k, &p, e);
        if (!other || e->line[0] || !stage_under(out, r, &dialect, s, e)) break;
        differs = shows(r, s, &dialect, out);
        as_dialect = stage_distance(r, s, out, stage_per_row(&dialect, s), false).excess <= 1;
    }
    if (as_dialect && ours.excess > 1) x->verdict = VERDICT_RIGHT_AS;
    /* ours, but not what it says that it is */
    if (other && !as_dialect && ours.excess <= 1 && differs) {
        x->verdict = VERDICT_DIFFERS;
        name_missing_ways(r, s, e);
    }
    free(out);
    Candidates found = {.n = 0};
    unsigned char visible[256] = {0};
    memcpy(visible, r->visible, n_mistake < 256 ? (size_t)n_mistake : 256);
    bool ok = !e->line[0];
    if (ok && x->verdict == VERDICT_UNKNOWN && other) {                         /* beside the dialect first */
        ok = search_singles(r, s, &dialect, true, &found, e);
        if (x->n_name) x->verdict = any_choice(x) ? VERDICT_DIFFERS : VERDICT_WRONG;
    }
    if (ok && (x->verdict == VERDICT_UNKNOWN || x->n_name == 0)) {
        found.n = 0;
        ok = search_singles(r, s, &r->right, x->verdict == VERDICT_UNKNOWN, &found, e);
    } else if (ok) ok = search_singles(r, s, &r->right, false, NULL, e);
    if (s == STAGE_LOSS_MASK && x->verdict == VERDICT_UNKNOWN && x->n_name == 0) leaves_out(r);
    if (s == STAGE_SAMPLER && x->verdict == VERDICT_UNKNOWN) excuse_sampler(r);
    if (ok && x->verdict == VERDICT_UNKNOWN && x->n_name == 0 && !quick && s != STAGE_GRAD &&
        s != STAGE_STEP && !(runs_model(s) && model_work(r, true) > 1e8))
        ok = search_pairs(r, s, other ? &dialect : &r->right, &found, e);
    if (x->verdict == VERDICT_UNKNOWN && x->n_name == 0 && s == STAGE_OLD && case_on_policy(&r->right) &&
        r->item[x->first].max_abs <= NOISE_MOST)
        name_recomputed(r);
    if (x->verdict == VERDICT_UNKNOWN && x->n_name == 0 &&
        (((s == STAGE_OLD || s == STAGE_SAMPLER) && !r->right.model.old) ||
         (s == STAGE_REF && !r->right.model.reference))) {
        x->judged = false;                              /* another policy's numbers are no mistake */
        x->obstacle = s == STAGE_REF ? "not --model's; give --ref-model" : "not --model's; give --old-model";
        memcpy(r->visible, visible, n_mistake < 256 ? (size_t)n_mistake : 256);
    }
    if (x->verdict == VERDICT_UNKNOWN && x->n_name) {
        bool own = true;                                /* the declared one's, but not all of them */
        for (int i = 0; i < x->n_name; i++) own = own && dialect_has(r->d->set.dialect, x->name[i]);
        x->verdict = any_choice(x) ? VERDICT_DIFFERS : VERDICT_WRONG;
        if (own && declared) ok = ok && name_missing_ways(r, s, e);
    }
    pool_free(&p);
    return ok;
}

/* ---- sampler against trainer ---- */
static void gap_of(Gap *g, const Case *c, const real *a, const real *b, double low, double high,
                   double *scratch) {
    size_t n = 0, outside = 0;
    double sum = 0, square = 0;
    *g = (Gap){0};
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        const double d = c->mask[j] ? (double)a[j] - b[j] : NAN;
        if (isnan(d)) continue;
        scratch[n++] = d;
        sum += d;
        const double ratio = d_exp(d);
        outside += ratio < low || ratio > high;
    }
    if (n == 0) return;
    g->n = n;
    g->mean = sum / (double)n;
    for (size_t k = 0; k < n; k++)
        square += (scratch[k] - g->mean) * (scratch[k] - g->mean), scratch[k] = fabs(scratch[k]);
    g->sd = n > 1 ? sqrt(square / (double)(n - 1)) : NAN;
    g->p95 = variant_quantile(scratch, n, 0.95);        /* which sorts */
    g->max = scratch[n - 1];
    g->outside = (double)outside / (double)n;
}

static bool sampler_table(Report *r, Err *e) {
    const Case *c = &r->right;
    const real *trainer = r->d->value[STAGE_OLD] ? r->d->value[STAGE_OLD] : r->d->value[STAGE_LOGPS];
    if (!c->sampler || !trainer) return true;
    double *scratch = pool_take(&r->pool, r->d->n * r->d->width, sizeof *scratch, e);
    if (!scratch) return false;
    SamplerTable *t = &r->table;
    t->there = true;
    t->low = 1 - c->s.grpo.epsilon;
    t->high = 1 + grpo_epsilon_high(&c->s.grpo);
    gap_of(&t->both, c, trainer, c->sampler, t->low, t->high, scratch);
    const real *oracle = r->stage[STAGE_SAMPLER].right;
    if (!oracle) return true;
    t->oracle = true;
    gap_of(&t->trainer, c, trainer, oracle, t->low, t->high, scratch);
    gap_of(&t->sampler, c, c->sampler, oracle, t->low, t->high, scratch);
    return true;
}

/* ---- the whole ---- */
static bool compare_ours(Report *r, const char *path, Err *e) {
    Safetensors *f = safetensors_open(path, e);
    if (!f) return false;
    for (int i = 0; i < r->n_item; i++) {
        Item *x = &r->item[i];
        const Tensor *t = safetensors_find(f, x->name);
        const bool per_row = stage_per_row(&r->right, x->stage),
                   family = stage_info[x->stage].shape == SHAPE_PARAMETERS;
        const size_t size = family                     ? x->count
                            : x->stage == STAGE_LOGITS ? x->count
                            : per_row                  ? r->d->n
                                                       : stage_size(&r->right, x->stage);
        if (!t || t->store == STORE_REAL || t->count < size || stage_info[x->stage].shape == SHAPE_MASK)
            continue;
        real *ours = malloc(size * sizeof *ours);
        if (!ours) continue;
        tensor_reals(ours, t, 0, size);
        x->ours = 0;
        for (size_t j = 0; j < x->count; j++) {
            const size_t k = right_index(r, x, per_row, j);
            if (k == SIZE_MAX) continue;
            const double error = value_gap(ours[family ? k - x->at : k], r->stage[x->stage].right[k]);
            x->ours = error > x->ours ? error : x->ours;
        }
        free(ours);
    }
    safetensors_close(f);
    return true;
}

bool report_make(Report *r, const Dump *d, const Policies *model, const char *ours, bool quick, Err *e) {
    *r = (Report){.d = d, .only_row = SIZE_MAX};
    if (!case_open(&r->right, d, model, &r->pool, e) || !add_items(r, e) ||
        !(r->visible = pool_take(&r->pool, (size_t)n_mistake, 1, e)))
        return false;
    for (int k = 0; k < N_STAGE; k++) {
        StageReport *x = &r->stage[k];
        if (!x->judged) continue;
        if (!(x->right = pool_take(&r->pool, out_size(r, (Stage)k), sizeof(real), e))) return false;
        Case c = r->right;
        Pool p = {0};
        if (k == STAGE_LOGITS) c.count = x->count_rows;
        const bool ok = stage_compute(x->right, &c, (Stage)k, &p, e);
        pool_free(&p);
        if (!ok) return false;
    }
    if (r->stage[STAGE_LOSS].judged && !case_loss_scale(&r->loss_scale, &r->right, &r->pool, e)) return false;
    for (int k = 0; k < N_STAGE; k++)
        if (r->stage[k].judged && !judge_stage(r, (Stage)k, quick, e)) return false;
    judge_old(r);
    return sampler_table(r, e) && (!ours || compare_ours(r, ours, e));
}

void report_free(Report *r) { pool_free(&r->pool); }

Outcome report_outcome(const Report *r) {
    Outcome worst = OUTCOME_RIGHT;
    for (int k = 0; k < N_STAGE; k++) {
        const StageReport *x = &r->stage[k];
        if (!x->judged || x->verdict == VERDICT_RIGHT || x->verdict == VERDICT_RIGHT_AS) continue;
        if (x->verdict != VERDICT_DIFFERS) return OUTCOME_WRONG;
        worst = OUTCOME_CHOICE;
    }
    return worst;
}

/* ---- words ---- */
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

void blind_counts(const Report *r, int *blind, int *all) {
    *blind = *all = 0;
    for (int i = 0; i < n_mistake; i++) {
        *all += r->visible[i] == SHOWS || r->visible[i] == HIDDEN;
        *blind += r->visible[i] == HIDDEN;
    }
}
