/* trainer.h: a network in training: its gradient, moments and activations, the passes over a window's slices,
 * the update, and the checkpoint. A method is only the step from values to their derivatives, between two
 * passes. */
#ifndef TRAINER_H
#define TRAINER_H

#include "lib/optim.h"
#include "lib/safetensors.h"
#include "model.h"
#include "net/window.h"

enum { MAX_KEPT = 80, MAX_PARTNERS = 7 };
typedef struct { char name[48]; double *value; size_t n; } Kept;

typedef struct Trainer {
    Model *model;
    Acts *acts;
    int max_row, max_target;
    real *grad, *m, *v;                 /* [n_trainable] each */
    const real *hidden;                 /* [n_row, hidden] of the running slice, and its derivative: */
    real *dhidden;                      /* [max_row, hidden] */
    real *logp, *entropy, *dlogp, *dentropy;    /* [max_target] of the running slice, of a language model; */
    real *score, *dscore;                       /* [max_target, n_label], of a reward model or a critic */
    SecondModel *second;                /* NULL, or the caller's: it reads each slice too */
    AdamW adamw;                        /* lr is the base rate */
    double max_grad_norm;
    Schedule schedule;
    int64_t step, warmup, n_step;       /* step: updates made so far */
    double min_lr_ratio;
    double grad_norm, lr;               /* of the last update */
    Kept kept[MAX_KEPT];                /* what goes into checkpoints beside weights, moments and step */
    int n_kept;
    size_t grad_held, moments_held, dhidden_held;           /* bytes taken */
    struct Trainer
        *partner; /* in the same checkpoint, under "partner." (PPO: the policy beside its critic); its own
                     partner follows under "partner2." (groups of users), and so on */
} Trainer;

/* What the model and trainer_new will take, for the plan printed before a run; n_step etc. are the caller's
 * to fill. */
size_t trainer_bytes(const ModelConfig *c, int max_row, int max_target);
bool trainer_new(Trainer *t, Model *m, int max_row, int max_target, Err *e);
void trainer_free(Trainer *t);

/* ---- passes ---- */

/* The slices of a window as the trainer computes them: while ((more = slice_next(&x, w, config, e)) > 0) ...
 */
Slice trainer_slices(const Trainer *t);
/* E1 to E25: t->logp and t->entropy of the slice's targets; and back: from t->dlogp (and t->dentropy, if
 * wanted), which the caller has written in between, gradients are added to t->grad. With a second model also
 * its kl (E201), and back from its dkl (E204). */
void slice_forward(Trainer *t, const Slice *x, double temperature);
void slice_backward(Trainer *t, const Slice *x, double temperature, bool want_dentropy);
/* Counts both passes of a slice where the model keeps a tally; slice_backward has done so. */
void slice_count(const Trainer *t, const Slice *x);
/* The same with a head of n_label outputs (E41): the targets name the rows that are read, their ids do not
 * matter. */
void slice_scores(Trainer *t, const Slice *x);
void slice_scores_backward(Trainer *t, const Slice *x);

/* Forward only, of a whole window under any model: logp and entropy (NULL: not wanted) of its targets, or
 * scores [n_target, n_label]; rows: of a slice. */
bool window_logp(real *logp, real *entropy, Acts *a, int max_row, int max_target, const Model *m,
                 const Window *w, double temperature, Err *e);
/* The same with a second model (NULL: none), whose values are of all targets of the window. */
bool window_kl(real *logp, const SecondModel *second, Acts *a, int max_row, int max_target, const Model *m,
               const Window *w, double temperature, Err *e);
bool window_scores(real *score, Acts *a, int max_row, int max_target, const Model *m, const Window *w,
                   Err *e);

/* E284, E280 to E283: one update from the gathered gradient, which is then zero. False with the line filled
 * in, and nothing changed, when the gradient is not finite. */
bool trainer_update(Trainer *t, Err *e);

/* ---- checkpoints ---- */

/* These n numbers, which stay the caller's, are saved under this name and read back. */
void trainer_keep(Trainer *t, const char *name, double *value, size_t n);
/* Weights, optimiser state, step and what is kept, the partner's too, to and from FILE.safetensors (real
 * precision). */
bool trainer_load(Trainer *t, const char *path, Err *e);
/* The same, sealed (lib/safetensors.h) and with metadata; false, and nothing written, where a weight or a
 * moment is not finite. */
bool trainer_save(const Trainer *t, const char *path, const char *const *metadata, Err *e);
bool trainer_read(Trainer *t, const Safetensors *s, const char *path, Err *e);

#endif
