/* optim.c: AdamW (E280 to E283), the global norm (E284), schedules (E286 to E288). */
#include "optim.h"

#include <string.h>

/* The coefficients in double, the elements in real: every element gets the same few operations in the order of E280 to
 * E282. */
void adamw_update(real *param, real *m, real *v, const real *grad, size_t n, const AdamW *o, int64_t t) {
    const double c1 = 1 - d_pow(o->beta1, (double)t), c2 = 1 - d_pow(o->beta2, (double)t);
    const real keep = (real)(1 - o->lr * o->weight_decay), b1 = (real)(1 - o->beta1), b2 = (real)o->beta2, b2c = (real)(1 - o->beta2);
    const real rate = (real)(o->lr / c1), root = (real)sqrt(c2), eps = (real)o->eps;
#pragma omp parallel for schedule(static) if (n > 16384)
    for (size_t i = 0; i < n; i++) {
        const real g = grad[i];
        m[i] += b1 * (g - m[i]);
        v[i] = b2 * v[i] + b2c * (g * g);
        param[i] = param[i] * keep - rate * m[i] / (r_sqrt(v[i]) / root + eps);
    }
}

double grad_square_sum(const real *grad, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i += 4096) sum += d_sum_squares(grad + i, n - i < 4096 ? n - i : 4096);
    return sum;
}

double clip_coefficient(double norm, double max_norm) {
    const double c = max_norm / (norm + 1e-6);
    return max_norm > 0 && c < 1 ? c : 1;
}

void grad_scale(real *grad, size_t n, double c) {
    if (c == 1) return;
    const real factor = (real)c;
#pragma omp parallel for schedule(static) if (n > 65536)
    for (size_t i = 0; i < n; i++) grad[i] *= factor;
}

/* In the order of the enum; transformers' names. */
static const char *const names[] = {"linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", "linear_with_min_lr"};
enum { N_SCHEDULE = sizeof names / sizeof *names };

double schedule_factor(Schedule kind, int64_t s, int64_t warmup, int64_t n_step, double min_ratio) {
    if (kind == SCHEDULE_CONSTANT) return 1;
    if (s < warmup) return (double)s / (double)(warmup > 1 ? warmup : 1);
    if (kind == SCHEDULE_CONSTANT_WITH_WARMUP) return 1;
    const double left = (double)(n_step - warmup > 1 ? n_step - warmup : 1);
    double f;
    if (kind == SCHEDULE_LINEAR || kind == SCHEDULE_LINEAR_WITH_MIN_LR) f = (double)(n_step - s) / left;
    else f = (1 + d_cos(3.14159265358979323846 * (double)(s - warmup) / left)) / 2;
    f = f > 0 ? f : 0;
    return f * (1 - min_ratio) + min_ratio;
}

bool schedule_parse(Schedule *kind, const char *name, Err *e) {
    for (int i = 0; i < N_SCHEDULE; i++)
        if (!strcmp(names[i], name)) { *kind = (Schedule)i; return true; }
    const char *near = nearest_name(name, names, N_SCHEDULE);
    return fail(e, "lr_scheduler_type: found \"%.40s\"%s%s; expected linear, cosine, constant or constant_with_warmup", name,
                near ? ", did you mean " : "", near ? near : "");
}

const char *schedule_name(Schedule kind) { return names[kind]; }
