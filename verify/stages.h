/* stages.h: each stage of a GRPO step computed again, from the dump's own numbers before it where it has
 * them.
 *
 * So one wrong stage does not make the following ones wrong. Every right value comes from the functions that
 * training uses (model.c, reward.c, grpo.c, lib/optim.c). What runs the model is network.c. */
#ifndef VERIFY_STAGES_H
#define VERIFY_STAGES_H

#include "verify/advantages.h"
#include "verify/network.h"

/* The right case. Inputs that the dump lacks are computed; memory from p. */
bool case_open(Case *c, const Dump *d, const Policies *model, Pool *p, Err *e);
/* NULL if the stage can be computed; else why not, in a few words. */
const char *stage_obstacle(const Case *c, Stage s);
/* The stage's value: [n, width], [n], [1], or [n_trainable] for the two families; logits [count, width,
 * vocab]. What is not computed stays. */
bool stage_compute(real *out, const Case *c, Stage s, Pool *p, Err *e);
size_t stage_size(const Case *c, Stage s);
/* Whether the stage has a value per completion ([n]) under these settings. */
bool stage_per_row(const Case *c, Stage s);

double *case_row_weights(const Case *c, Pool *p, Err *e);       /* [n] c_i that this case uses */
/* How large the numbers are that an element of a stage is the difference of, in units in which 4 rounding
 * errors of the dump's type are noise: [n] for advantages, else [n, width]. */
bool case_noise(double *noise, const Case *c, Stage s, Pool *p, Err *e);
/* sum |c_it m_it l_it| of our own token losses, or the dump's, and the entropy bonus: how large the terms are
 * that the loss is the sum of. */
bool case_loss_scale(double *scale, const Case *c, Pool *p, Err *e);
GrpoMicro case_micro(const Case *c, Pool *p, Err *e);
GrpoWindow case_window(const Case *c);
void case_input(GrpoIn *in, size_t *offset, const Case *c);     /* offset: [n + 1] of the caller */
bool case_on_policy(const Case *c);                             /* E81: old is the policy itself */

#endif
