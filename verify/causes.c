/* causes.c: a setting fitted to the numbers, and a constant factor and what it equals. */
#include "verify/causes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that a stage may be computed over before a search gives up: some tenths of a second. */
#define WORK_MOST 3e6

/* The stage of `c` into out, and how far the dump lies from it; false: too costly by now, or no such case. */
static bool distance_under(Distance *to, real *out, Report *r, const Case *c, Stage s, Err *e) {
    const double cost = s == STAGE_STEP ? 20.0 * (double)stage_out_size(r, s)
                                        : (double)(r->d->n * (r->d->width + 1));
    r->work += stage_runs_model(s) ? cost + model_work(r, true) / 30 : cost;
    if (r->work > WORK_MOST || stage_obstacle(c, s) || !stage_under(out, r, c, s, e)) return false;
    *to = stage_distance(r, s, out, stage_per_row(c, s), false);
    return true;
}

/* ---- a setting fitted ---- */
#define BIT(s) (1u << STAGE_##s)
enum {
    HEAT = BIT(LOGPS) | BIT(OLD) | BIT(REF) | BIT(SAMPLER) | BIT(ENTROPIES) | BIT(GRAD),
    TOKEN = BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP),
    SUMS = BIT(LOSS) | BIT(DLOGP)
};
typedef enum { KNOB_DOUBLE, KNOB_INT } KnobKind;
/* What people set it to, most usual first, 0 at the end; then any value between low and high is tried. */
typedef struct {
    const char *key;
    unsigned stages;
    KnobKind kind;
    size_t at;                          /* in DumpSettings */
    double low, high, usual[14];
} Knob;
#define AT(member) offsetof(DumpSettings, member)
static const Knob knobs[] = {
    {"std_eps", BIT(ADVANTAGES), KNOB_DOUBLE, AT(grpo.std_eps), 1e-12, 1,
     {1e-4, 1e-5, 1e-6, 1e-8, 1e-9, 1e-3, 1e-2, 1e-7, 1e-10, 1e-12}},
    {"num_generations", BIT(ADVANTAGES), KNOB_INT, AT(grpo.num_generations), 0, 0,
     {8, 4, 16, 2, 6, 5, 3, 7, 12, 10, 32, 64, 1}},
    {"epsilon", TOKEN, KNOB_DOUBLE, AT(grpo.epsilon), 1e-4, 1,
     {0.2, 0.1, 0.15, 0.3, 0.05, 0.25, 0.02, 0.01, 3e-4, 0.28, 0.4, 0.5, 1}},
    {"epsilon_high", TOKEN, KNOB_DOUBLE, AT(grpo.epsilon_high), 1e-4, 10,
     {0.28, 0.2, 0.3, 0.25, 0.272, 0.24, 0.22, 0.4, 4e-4, 0.1, 1, 2, 5}},
    {"delta", TOKEN, KNOB_DOUBLE, AT(grpo.delta), 1, 100, {2, 3, 4, 1.5, 5, 10}},
    {"dual_clip", TOKEN, KNOB_DOUBLE, AT(grpo.dual_clip), 1, 100, {3, 2, 10, 5, 20}},
    {"beta", TOKEN, KNOB_DOUBLE, AT(grpo.beta), 1e-6, 10,
     {0.04, 0.001, 0.01, 0.1, 0.02, 0.05, 0.005, 0.003, 0.002, 1, 1e-4}},
    {"entropy_coef", BIT(LOSS), KNOB_DOUBLE, AT(window.entropy_coef), 1e-6, 1,
     {0.01, 0.001, 0.02, 0.05, 0.005, 0.1, 1e-4}},
    {"max_completion_length", SUMS, KNOB_INT, AT(grpo.max_completion_length), 1, 1e6,
     {256, 512, 1024, 2048, 3000, 4096, 8192, 16384, 32768}},
    {"num_items_in_batch", SUMS, KNOB_DOUBLE, AT(window.n_item), 1, 1e9, {0}},
    {"gradient_accumulation_steps", SUMS, KNOB_INT, AT(window.gradient_accumulation_steps), 0, 0,
     {1, 2, 4, 8, 16, 32, 64, 3, 6, 12}},
    {"world_size", SUMS, KNOB_INT, AT(window.n_process), 0, 0, {1, 2, 4, 8, 16, 32, 64, 3, 6}},
    {"temperature", HEAT, KNOB_DOUBLE, AT(sampling.temperature), 0.05, 10,
     {1, 0.7, 0.9, 0.6, 0.8, 0.5, 1.2, 0.95, 1.1, 0.3, 1.5, 2}},
    {"vllm_importance_sampling_clip_max", BIT(ISR) | TOKEN, KNOB_DOUBLE,
     AT(grpo.importance_sampling_clip_max), 0.1, 100, {2, 3, 5, 10, 1, 1.5, 4}},
    {"learning_rate", BIT(STEP), KNOB_DOUBLE, AT(adamw.lr), 1e-9, 1,
     {1e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 2e-6, 3e-6, 2e-5, 5e-5, 5e-7, 2e-3}},
    {"weight_decay", BIT(STEP), KNOB_DOUBLE, AT(adamw.weight_decay), 1e-6, 10, {0.01, 0.1, 0.001, 0.05}},
};

static double knob_value(const Knob *k, const DumpSettings *s) {
    const char *at = (const char *)s + k->at;
    return k->kind == KNOB_INT ? *(const int *)at : *(const double *)at;
}

static void knob_set(const Knob *k, DumpSettings *s, double value) {
    char *at = (char *)s + k->at;
    if (k->kind == KNOB_INT) *(int *)at = (int)(value + 0.5);
    else *(double *)at = value;
}

/* What is being fitted: the stage under `base` with another value of the knob. */
typedef struct { Report *r; Stage s; const Case *base; const Knob *knob; real *out; Err *e; } Fit;

/* NULL in *d: that value is none. */
static bool try_value(Distance *d, const Fit *f, double value) {
    Case c = *f->base;
    if (f->knob->kind == KNOB_INT && !strcmp(f->knob->key, "num_generations") &&
        (value < 1 || f->r->d->n % (size_t)value))
        return false;
    knob_set(f->knob, &c.s, value);
    if (!c.entropy && value != 0 && f->knob->at == AT(window.entropy_coef))
        c.entropy = c.d->value[STAGE_ENTROPIES];
    return distance_under(d, f->out, f->r, &c, f->s, f->e);
}

static bool value_explains(const Fit *f, double value) {
    Distance d;
    return try_value(&d, f, value) && d.excess <= 1;
}

/* To so many digits. */
static double rounded_to(double x, int digits) {
    char text[40];
    snprintf(text, sizeof text, "%.*e", digits - 1, x);
    return strtod(text, NULL);
}

/* The value of the smallest mean error, by a grid and golden section on the logarithm. */
static bool best_value(double *value, const Fit *f) {
    enum { GRID = 24, STEPS = 44 };
    const double low = d_log(f->knob->low), high = d_log(f->knob->high), step = (high - low) / GRID,
                 golden = 0.6180339887498949;
    double at = NAN, least = INFINITY;
    Distance d, e;
    for (int i = 0; i <= GRID; i++)
        if (try_value(&d, f, d_exp(low + i * step)) && d.mean < least) least = d.mean, at = low + i * step;
    if (isnan(at)) return false;
    double a = at - step, b = at + step;
    for (int i = 0; i < STEPS; i++) {
        const double x = b - golden * (b - a), y = a + golden * (b - a);
        if (!try_value(&d, f, d_exp(x)) || !try_value(&e, f, d_exp(y))) return false;
        if (d.mean < e.mean) b = y;
        else a = x;
    }
    *value = d_exp((a + b) / 2);
    return true;
}

/* Whether the gradient is wrong too, so that what explains both has more than one number to tell it. */
static bool gradient_wrong(Report *r) {
    const StageReport *x = &r->stage[STAGE_DLOGP];
    return x->judged && stage_distance(r, STAGE_DLOGP, x->right, false, false).excess > 1;
}

/* One number is fitted by one setting, whatever was done: only a value that people write down counts, and
 * its neighbours must lie far off. (The bonus is small, and its coefficient comes in steps of two.) */
static bool told_by_one_number(const Fit *f, double value) {
    const bool bonus = f->knob->at == AT(window.entropy_coef),
               beside = f->knob->stages >> STAGE_DLOGP & 1 && gradient_wrong(f->r);
    const double least = bonus ? value / 2 : fabs(rounded_to(value, 1)) / 100,
                 unit = f->knob->kind == KNOB_INT && least < 1 ? 1 : least,
                 far = beside ? 5 : bonus ? 100 : 500;
    Distance above, below, own;
    return try_value(&above, f, value + unit) && try_value(&below, f, value - unit) &&
           try_value(&own, f, value) && own.excess <= 1 && above.excess > far && below.excess > far;
}

/* Whether the other of loss and gradient, where it can be judged too, agrees that the setting is another. */
static bool other_agrees(const Fit *f, double value) {
    Report *r = f->r;
    Fit g = *f;
    g.s = f->s == STAGE_LOSS ? STAGE_DLOGP : STAGE_LOSS;
    if ((f->s != STAGE_LOSS && f->s != STAGE_DLOGP) || !r->stage[g.s].judged || !(f->knob->stages >> g.s & 1))
        return true;
    g.out = malloc(stage_out_size(r, g.s) * sizeof *g.out);
    const bool agrees = g.out && value_explains(&g, value);
    free(g.out);
    return agrees;
}

/* Whether the value is pinned down, and not one of many that do. */
static bool is_pinned(const Fit *f, double value) {
    if (f->knob->kind == KNOB_INT && f->s == STAGE_ADVANTAGES) return true;
    if (!other_agrees(f, value)) return false;
    if (f->s == STAGE_LOSS) return told_by_one_number(f, value);
    return !value_explains(f, value * 1.5) && !value_explains(f, value / 1.5);
}

/* What an earlier stage was found to have. */
static bool fitted_before(double *value, const Fit *f) {
    const Fitted *before = &f->r->fitted;
    for (int i = 0; i < before->n; i++)
        if (!strcmp(before->key[i], f->knob->key) && value_explains(f, *value = before->value[i]))
            return true;
    return false;
}

/* Values that people write down. */
static bool fit_usual(double *value, const Fit *f) {
    const double now = knob_value(f->knob, &f->base->s);
    if (f->s == STAGE_GRAD) return false;               /* a pass of the model for each value */
    for (int i = 0; i < 14 && f->knob->usual[i] != 0; i++)
        if (f->knob->usual[i] != now && value_explains(f, *value = f->knob->usual[i]))
            return is_pinned(f, *value);
    return false;
}

/* Any value in the range, told with as few digits as explain the numbers. */
static bool fit_any(double *value, const Fit *f) {
    const bool one = f->s == STAGE_LOSS;
    Distance here, low, high;
    if (fitted_before(value, f)) return false;          /* it has its name */
    if (f->knob->high == 0 || f->s == STAGE_GRAD || !try_value(&here, f, knob_value(f->knob, &f->base->s)) ||
        !try_value(&low, f, f->knob->low) || !try_value(&high, f, f->knob->high) ||
        (low.mean == here.mean && high.mean == here.mean) || !best_value(value, f))
        return false;
    const double best = *value;
    for (int digits = 1; digits <= (one ? 2 : 5); digits++)
        if (value_explains(f, *value = rounded_to(best, digits))) return is_pinned(f, *value);
    *value = best;
    return !one && value_explains(f, best) && is_pinned(f, best);
}

/* Whether the config says something of a key itself, right or wrong. */
static bool settings_say(const Report *r, const char *key) {
    char quoted[80];
    const char *config = safetensors_metadata(r->d->file, "config");
    snprintf(quoted, sizeof quoted, "\"%.70s\"", key);
    return config && strstr(config, quoted);
}

static void name_fitted(Report *r, Stage s, const Case *base, const Knob *knob, double value, bool said) {
    char name[96], text[200], now[32];
    const double was = knob_value(knob, &base->s);
    snprintf(name, sizeof name, "%s=%.6g", knob->key, value);
    snprintf(now, sizeof now, isnan(was) ? "none" : "%.6g", was);
    snprintf(text, sizeof text,
             said ? "your config says %s %s; these numbers fit %.6g"
                  : "your config does not say %s (then it is %s); these numbers fit %.6g",
             knob->key, now, value);
    stage_name(&r->stage[s], name, text, !said);
}

typedef bool Fitting(double *value, const Fit *f);

/* Names every setting to which `how` gives a value that explains the stage. */
static bool fit_knobs(Report *r, Stage s, const Case *base, Fitting *how, Err *e) {
    real *out = malloc(stage_out_size(r, s) * sizeof *out);
    const int first = r->stage[s].n_name;
    bool any_said = false;
    if (!out) return fail(e, "verify: no memory");
    for (int i = 0; i < first; i++) any_said = any_said || !r->stage[s].choice[i];
    for (size_t k = 0; k < sizeof knobs / sizeof *knobs && !e->line[0]; k++) {
        const Fit f = {r, s, base, &knobs[k], out, e};
        const bool said = settings_say(r, knobs[k].key);
        double value;
        if (!(knobs[k].stages >> s & 1) || !how(&value, &f)) continue;
        if (how != fitted_before && r->fitted.n < MAX_NAMES)
            r->fitted.key[r->fitted.n] = knobs[k].key, r->fitted.value[r->fitted.n++] = value;
        any_said = any_said || said;
        name_fitted(r, s, base, &knobs[k], value, said);
    }
    /* what the config says itself comes first */
    for (int i = first; any_said && i < r->stage[s].n_name; i++) r->stage[s].choice[i] = false;
    free(out);
    return !e->line[0];
}

bool causes_before(Report *r, Stage s, const Case *base, Err *e) {
    return r->fitted.n == 0 || fit_knobs(r, s, base, fitted_before, e);
}

bool causes_fit(Report *r, Stage s, const Case *base, Err *e) {
    const StageReport *x = &r->stage[s];
    const bool large = r->d->n * r->d->width > 5000;    /* then one name has to do */
    return causes_before(r, s, base, e) && (x->n_name || fit_knobs(r, s, base, fit_usual, e)) &&
           ((x->n_name && large) || fit_knobs(r, s, base, fit_any, e));
}

/* ---- a constant factor ---- */
typedef struct { const char *name; double value; } Quantity;

static int quantities(Quantity q[24], const Case *c) {
    const Dump *d = c->d;
    const GrpoWindow w = case_window(c);
    double tokens = 0, longest = 0, there = 0;
    int n = 0;
    for (size_t i = 0; i < d->n; i++) {
        const double own = case_row_count(c, i);
        tokens += own;
        longest = own > longest ? own : longest;
        there += own > 0;
    }
    const double all = (double)d->n, group = c->s.grpo.num_generations, ga = w.gradient_accumulation_steps,
                 ranks = w.n_process, width = (double)d->width;
    const Quantity list[] = {{"completions", all}, {"gradient_accumulation_steps", ga}, {"world_size", ranks},
                             {"gradient_accumulation_steps * world_size", ga * ranks}, {"tokens", tokens},
                             {"columns", width}, {"completions * columns", all * width},
                             {"num_generations", group}, {"num_items_in_batch", w.n_item},
                             {"longest completion", longest},
                             {"tokens / completions", tokens / all}, {"completions with tokens", there},
                             {"max_completion_length", c->s.grpo.max_completion_length},
                             {"prompt and completion columns", width + (double)d->prompt_width},
                             {"labels", (double)d->n_label}, {"temperature", c->s.sampling.temperature},
                             {"2", 2}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!(list[i].value > 0) || list[i].value == 1) continue;
        if (!strcmp(list[i].name, "prompt and completion columns") && d->prompt_width == 0) continue;
        if (!strcmp(list[i].name, "num_items_in_batch") && w.n_item == tokens) continue;
        if (strchr(list[i].name, '*') && (ga == 1 || ranks == 1) && list[i].value == ga * ranks) continue;
        if (!strcmp(list[i].name, "longest completion") && longest == width) continue;
        if (!strcmp(list[i].name, "completions with tokens") && there == all) continue;
        q[n++] = list[i];
    }
    return n;
}

/* f where every number of the stage is f times that of out, within |f| times the tolerance; its own relative
 * error in *error. */
static bool factor_of(double *f, double *error, const Report *r, Stage s, const real *out, bool per_row) {
    const StageReport *x = &r->stage[s];
    double product = 0, square = 0, count = 0, worst = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < x->n; i++) {
            const Item *it = &r->item[x->first + i];
            const double scale = item_scale(r, it, out, per_row);
            for (size_t j = 0; j < it->count; j++) {
                const size_t k = item_right_index(r, it, per_row, j);
                if (k == SIZE_MAX) continue;
                const double given = it->given[j], ours = out[k], tol = item_tolerance(r, it, j, ours, scale);
                if (!isfinite(given) || !isfinite(ours)) return false;
                if (pass == 0) product += given * ours, square += ours * ours, count += ours != 0;
                else if (fabs(given - *f * ours) > fabs(*f) * tol) return false;
                else if (fabs(ours) > 0 && tol / fabs(ours) > worst && count == 1) worst = tol / fabs(ours);
            }
            if (pass == 0) *f = square > 0 ? product / square : 0;
            *error = judged_half(r, it) ? 1e-2 : 1e-4;
        }
    /* one number: its own tolerance, if that tells factors apart at all */
    if (count == 1) *error = worst;
    return count > 0 && *error < 2e-2 && (count > 1 || worst < 1e-3);
}

static void name_factor(Report *r, Stage s, const Case *c, const Mistake *row, double f, double error) {
    Quantity q[24];
    const int n = quantities(q, c);
    const double size = fabs(f);
    char name[96], text[200];
    if (size == 0 || fabs(size - 1) <= error) {
        if (f > 0) return;
        snprintf(name, sizeof name, "%s%s%s", row ? row->name : "", row ? " + " : "",
                 f < 0 ? "factor -1" : "all-zero");
        snprintf(text, sizeof text, "%s%s%s", row ? row->line : "", row ? "; and " : "",
                 f < 0 ? "the opposite sign" : "all 0: nothing comes through");
        stage_name(&r->stage[s], name, text, false);
        return;
    }
    for (int i = 0; i < n; i++)
        for (int over = 0; over < 2; over++) {
            const double value = over ? 1 / q[i].value : q[i].value;
            if (fabs(size / value - 1) > error) continue;
            if (!strcmp(q[i].name, "2") && r->stage[s].n_name) continue;        /* it has a better name */
            snprintf(name, sizeof name, "%.30s%sfactor %s%s%s", row ? row->name : "", row ? " + " : "",
                     f < 0 ? "-" : "", over ? "1/" : "", q[i].name);
            snprintf(text, sizeof text, "%.90s%s%.6g times too %s%s", row ? row->line : "",
                     row ? "; and " : "", over ? q[i].value : size, over ? "small" : "large",
                     f < 0 ? " and of the opposite sign" : "");
            if (strcmp(q[i].name, "2"))
                snprintf(text + strlen(text), sizeof text - strlen(text), ": %.6g = %s", q[i].value,
                         q[i].name);
            stage_name(&r->stage[s], name, text, false);
        }
}

/* Whether the gradient by log-probability, where it can be judged, has the factor of the loss. */
static bool gradient_has_factor(Report *r, const Case *base, const Mistake *row, double f, Err *e) {
    if (!r->stage[STAGE_DLOGP].judged) return true;
    real *out = malloc(stage_out_size(r, STAGE_DLOGP) * sizeof *out);
    Case c = *base;
    Pool p = {0};
    Distance d;
    double other, error;
    const bool has = out && mistake_apply(row, &c, STAGE_DLOGP, &p, e) &&
                     distance_under(&d, out, r, &c, STAGE_DLOGP, e) &&
                     factor_of(&other, &error, r, STAGE_DLOGP, out, false) && fabs(other / f - 1) <= error;
    pool_free(&p);
    free(out);
    return has;
}

bool causes_factor(Report *r, Stage s, const Case *base, const Mistake *row, Err *e) {
    if (stage_info[s].shape == SHAPE_MASK || (stage_runs_model(s) && s != STAGE_GRAD)) return true;
    real *out = malloc(stage_out_size(r, s) * sizeof *out);
    Case c = *base;
    Pool p = {0};
    Distance d;
    double f, error;
    if (!out) return fail(e, "verify: no memory");
    if ((!row || mistake_apply(row, &c, s, &p, e)) && !e->line[0] && distance_under(&d, out, r, &c, s, e) &&
        factor_of(&f, &error, r, s, out, stage_per_row(&c, s)) &&
        (!row || s != STAGE_LOSS || gradient_has_factor(r, base, row, f, e)))
        name_factor(r, s, &c, row, f, error);
    pool_free(&p);
    free(out);
    return !e->line[0];
}

bool causes_any_factor(Report *r, Stage s, Err *e) {
    double f, error;
    char text[200];
    (void)e;
    if (stage_info[s].shape == SHAPE_MASK || stage_info[s].shape == SHAPE_ONE ||
        !factor_of(&f, &error, r, s, r->stage[s].right, stage_per_row(&r->right, s)))
        return true;
    snprintf(text, sizeof text,
             "every number is %.6g times what is right: a constant factor, but none that the dump tells", f);
    stage_name(&r->stage[s], "factor unknown", text, false);
    return true;
}
