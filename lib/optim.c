/* optim.c: AdamW (E280 to E283), the global norm (E284), schedules (E286 to E288). */
#include "optim.h"
#include "threads.h"

#include <string.h>

enum { BLOCK = 4096 };                  /* of the norm by E284; four arrays of it fit a second cache */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The coefficients in double, the elements in real: every element gets the same few operations in the order
 * of E280 to E282. */
AdamWStep adamw_step(const AdamW *o, int64_t t) {
    const double c1 = 1 - d_pow(o->beta1, (double)t), c2 = 1 - d_pow(o->beta2, (double)t);
    return (AdamWStep){.keep = (real)(1 - o->lr * o->weight_decay), .b1 = (real)(1 - o->beta1),
                       .b2 = (real)o->beta2, .b2c = (real)(1 - o->beta2), .rate = (real)(o->lr / c1),
                       .root = (real)sqrt(c2), .eps = (real)o->eps};
}

static void adamw_block(real *restrict param, real *restrict m, real *restrict v, const real *restrict grad,
                        size_t n, const AdamWStep c) {
    for (size_t i = 0; i < n; i++) {
        const real g = grad[i];
        m[i] += c.b1 * (g - m[i]);
        v[i] = c.b2 * v[i] + c.b2c * (g * g);
        param[i] = param[i] * c.keep - c.rate * m[i] / (r_sqrt(v[i]) / c.root + c.eps);
    }
}

void adamw_update(real *param, real *m, real *v, const real *grad, size_t n, const AdamW *o, int64_t t) {
    const AdamWStep c = adamw_step(o, t);
    #pragma omp parallel for schedule(static) if (threads_worth(n))
    for (size_t i = 0; i < n; i += BLOCK)
        adamw_block(param + i, m + i, v + i, grad + i, least(n - i, BLOCK), c);
}

void adamw_consume(real *param, real *m, real *v, real *grad, double scale, size_t n, const AdamWStep *step) {
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t width = least(n - i, BLOCK);
        for (size_t j = i; scale != 1 && j < i + width; j++) grad[j] *= (real)scale;
        adamw_block(param + i, m + i, v + i, grad + i, width, *step);
        memset(grad + i, 0, width * sizeof(real));
    }
}

double grad_square_sum(const real *grad, size_t n) {
    enum { BLOCKS = 512 };
    double sum = 0, part[BLOCKS];
    for (size_t first = 0; first < n; first += (size_t)BLOCKS * BLOCK) {
        const size_t end = least(n, first + (size_t)BLOCKS * BLOCK),
                     blocks = (end - first + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (blocks > 8)
        for (size_t b = 0; b < blocks; b++)
            part[b] = d_sum_squares(grad + first + b * BLOCK, least(end - first - b * BLOCK, BLOCK));
        for (size_t b = 0; b < blocks; b++) sum += part[b];
    }
    return sum;
}

double clip_coefficient(double norm, double max_norm) {
    const double c = max_norm / (norm + 1e-6);
    return max_norm > 0 && c < 1 ? c : 1;
}

void grad_scale(real *grad, size_t n, double c) {
    if (c == 1) return;
    const real factor = (real)c;
#pragma omp parallel for schedule(static) if (threads_worth(n))
    for (size_t i = 0; i < n; i++) grad[i] *= factor;
}

const char *const schedule_names[] = {"linear", "cosine", "constant", "constant_with_warmup",
                                      "cosine_with_min_lr", "linear_with_min_lr", NULL};

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
