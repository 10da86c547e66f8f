/* trainer.h: the training step shared by every method: a window of sequences, computed slice by slice, and
 * one update.
 *
 * A Window holds all that an optimiser step sees: trees of rows (a prompt and its completions) and the
 * targets whose log-probabilities count. It is built first, whole; slices (as many whole trees as fit into
 * max_row) change no bit. A method is only the step from values to their derivatives, done between
 * window_logp and trainer_accumulate. */
#ifndef TRAINER_H
#define TRAINER_H

#include "lib/optim.h"
#include "model.h"

typedef struct {
    int *id, *target_row, *target_id;
    Segment *seg;
    int n_row, n_seg, n_target, row_cap, seg_cap, target_cap;
} Window;
void window_clear(Window *w);           /* keeps its memory */
void window_free(Window *w);
/* Adds a segment of n tokens after segment `prefix` (-1: a new tree); returns its index, or -1 with e filled
 * in. */
int window_add(Window *w, const int *id, int n, int prefix, Err *e);
bool window_target(Window *w, int row, int id, Err *e);         /* rows ascending */
/* E31: one tree: a prompt and its completions first .. first + n - 1, completion c being token[offset[c]] ..
 * token[offset[c + 1] - 1], none of them empty. Every token of theirs is a target; token_of[target] is its
 * place in token, completion_of[target] its completion. */
bool window_group(Window *w, const int *prompt, int n_prompt, const int *token, const size_t *offset,
                  int first, int n, int *token_of, int *completion_of, Err *e);

typedef struct Trainer {
    Model *model;
    Acts *acts;
    int max_row, max_target;
    real *grad, *m, *v, *dhidden;       /* [n_trainable] three times, [max_row, hidden] */
    AdamW adamw;                        /* lr is the base rate */
    double max_grad_norm;
    Schedule schedule;
    int64_t step, warmup, n_step;       /* step: updates made so far */
    double min_lr_ratio;
    double grad_norm, lr;               /* of the last update */
    double extra[4];                    /* what a method wants kept in checkpoints */
    double *counts; /* [n_counts] the caller's, kept in checkpoints too: what the run has cost so far; NULL:
                       none */
    size_t n_counts;
    double *multipliers;                /* [n_multipliers] the caller's, kept likewise: E71's; NULL: none */
    size_t n_multipliers;
    size_t grad_held, moments_held, dhidden_held;           /* bytes taken */
    struct Trainer *partner; /* in the same checkpoint, under "partner." (PPO: the policy beside its critic);
                                NULL: none */
} Trainer;

/* What the model and trainer_new will take, for the plan printed before a run; n_step etc. are the caller's
 * to fill. */
size_t trainer_bytes(const ModelConfig *c, int max_row, int max_target);
bool trainer_new(Trainer *t, Model *m, int max_row, int max_target, Err *e);
void trainer_free(Trainer *t);

/* The next slice of the window from tree *seg on (0 at first): whole trees of at most max_row rows and
 * max_target targets. False when none is left; a tree that is larger than a slice is an error (e filled in).
 * The batch's lists live in the window and scratch. */
typedef struct { Batch batch; Segment *seg; int *target_row; int first_target, next_seg; } Slice;
bool slice_next(Slice *s, const Window *w, int max_row, int max_target, const ModelConfig *c, Err *e);
void slice_free(Slice *s);

/* Forward only: logp and entropy (NULL: not wanted) of every target of the window under model m. */
bool window_logp(real *logp, real *entropy, Acts *a, int max_row, int max_target, const Model *m,
                 const Window *w, double temperature, Err *e);

/* Forward and backward of the whole window. For each slice, after its logp and entropy are known, `derive`
 * writes dlogp and dentropy for targets [first, first + n) of the window. Gradients are added to t->grad. */
typedef void Derive(void *to, int first_target, int n, const real *logp, const real *entropy, real *dlogp,
                    real *dentropy);
bool trainer_accumulate(Trainer *t, const Window *w, double temperature, Derive *derive, void *to,
                        bool want_dentropy, Err *e);

/* The same for a reward head: the window's targets name the rows that are read (their ids do not matter),
 * score and dscore are [n, n_label]. */
typedef void DeriveScores(void *to, int first_target, int n, const real *score, real *dscore);
bool trainer_accumulate_scores(Trainer *t, const Window *w, DeriveScores *derive, void *to, Err *e);
bool window_scores(real *score, Acts *a, int max_row, int max_target, const Model *m, const Window *w,
                   Err *e);

/* E284, E280 to E283: one update from the gathered gradient, which is then zero. False with the line filled
 * in, and nothing changed, when the gradient is not finite. */
bool trainer_update(Trainer *t, Err *e);

/* Weights and optimiser state, the partner's too, to and from FILE.safetensors (real precision), for
 * --resume. */
bool trainer_save(const Trainer *t, const char *path, Err *e);
bool trainer_load(Trainer *t, const char *path, Err *e);

#endif
