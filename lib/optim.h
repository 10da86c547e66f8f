/* optim.h: AdamW, clipping by the global norm, learning-rate schedules. */
#ifndef OPTIM_H
#define OPTIM_H

#include "base.h"
#include "real.h"

/* E280 to E282 on one array of n. t counts from 1. weight_decay 0 for biases and norms (E283).
 * Pure element by element: any split over threads gives the same bits. Powers b^t come from d_pow. */
typedef struct { double lr, beta1, beta2, eps, weight_decay; } AdamW;
void adamw_update(real *param, real *m, real *v, const real *grad, size_t n, const AdamW *o, int64_t t);
/* The same of scale * grad (E284; grad_scale), after which grad is 0: block by block, so that memory is
 * passed once. On the calling thread, for one that goes on with the weights while they are in its cache. */
/* what all elements share at step t */
typedef struct { real keep, b1, b2, b2c, rate, root, eps; } AdamWStep;
AdamWStep adamw_step(const AdamW *o, int64_t t);
void adamw_consume(real *param, real *m, real *v, real *grad, double scale, size_t n, const AdamWStep *step);

/* E284: sum of squares of one array: blocks of 4096 elements (d_sum_squares), blocks ascending, in double.
 * The caller adds arrays in the model's canonical order and takes the root. */
double grad_square_sum(const real *grad, size_t n);
double clip_coefficient(double norm, double max_norm);  /* min(1, max_norm/(norm + 1e-6)); max_norm <= 0: 1 */
void grad_scale(real *grad, size_t n, double c);        /* g <- (real)c * g; c == 1: untouched */

typedef enum { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT, SCHEDULE_CONSTANT_WITH_WARMUP,
               SCHEDULE_COSINE_WITH_MIN_LR, SCHEDULE_LINEAR_WITH_MIN_LR } Schedule;
extern const char *const schedule_names[];      /* transformers', in the order of the enum, NULL at the end */
/* E286 to E288: factor on the base rate at optimiser step s = 0, 1, ... of n_step, with `warmup` steps.
 * min_ratio (0 by default): the decay ends at base * min_ratio instead of 0 (lr_scheduler_kwargs
 * min_lr_rate). */
double schedule_factor(Schedule kind, int64_t s, int64_t warmup, int64_t n_step, double min_ratio);

#endif
