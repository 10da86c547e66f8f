/* model.h: the transformer: tokens to hidden rows, hidden rows to values, and both derivatives.
 *
 * The trunk knows no targets: model_forward gives the hidden rows after the final norm, model_backward takes
 * their derivative. Heads map hidden rows to values and back. Gradients are added (+=) to one array that the
 * caller zeroes. What a pass costs is counted by whoever makes it (net/flops.h). */
#ifndef MODEL_H
#define MODEL_H

#include "net/attention.h"
#include "net/batch.h"
#include "net/logits.h"
#include "net/params.h"

/* ---- trunk ---- */

/* Activations of up to max_row rows and max_target targets; `keep`: all that backward needs (E196; with
 * checkpointing the layers' inputs and one layer's worth), else one layer's worth. */
typedef struct Acts Acts;
Acts *acts_new(const Model *m, int max_row, int max_target, bool keep, Err *e);
size_t acts_bytes(const ModelConfig *c, int max_row, int max_target, bool keep);
/* the part of it that grows with the threads: attention's panels */
size_t acts_thread_bytes(const ModelConfig *c, int max_row, bool keep);
/* Whether logits of max_target rows are kept, so that the backward pass need not compute them again; and of
 * so many scored rows those that it does compute again. */
bool acts_keep_logits(const ModelConfig *c, int max_target);
int acts_logits_again(const Acts *a, int n_scored);
/* bytes really taken (or reserved, of E20's rows for a tied embedding), without that part */
size_t acts_held(const Acts *a);
void acts_free(Acts *a);

/* E1 to E16: hidden rows after the final norm, [n_row, hidden], valid until the next call with these acts. */
const real *model_forward(Acts *a, const Model *m, const Batch *b);
/* The same for a caller who keeps keys and values: sink gets k, v [n_row, n_kv_head * head_dim] of every
 * layer (k rotated). */
typedef void KeySink(void *to, int layer, const real *k, const real *v);
const real *model_forward_keys(Acts *a, const Model *m, const Batch *b, KeySink *sink, void *to);
/* And for one who owns what rows attend to (decoding): n rows with their positions; attention writes o from
 * q, k, v. */
typedef void Attention(void *context, int layer, const AttentionRows *rows);
const real *model_rows(Acts *a, const Model *m, const int *id, const int *position, int n,
                       Attention *attention, void *context);
/* Backward through everything below the hidden rows: grad [n_trainable] += ; dhidden [n_row, hidden].
 * Activations are used up: once for each forward. */
void model_backward(real *grad, Acts *a, const Model *m, const Batch *b, const real *dhidden);
/* Once a step, before the norm (E284): what a tied embedding got as such, which a has kept apart since the
 * last time, is added to the head's gradient. */
void model_grad_finish(real *grad, Acts *a, const Model *m);

/* ---- heads ---- */

/* A second model of the same vocabulary that reads the same batch: at every target's row its distribution p~
 * beside this one's p. Its logits are made in its own activations chunk by chunk, also once more for the
 * derivative, and never kept. */
typedef struct {
    const Model *model;
    Acts *acts;                         /* for as many rows and targets; they need keep nothing */
    const real *hidden;                 /* model_forward of these two */
    real *logp, *kl;                    /* [n_target] out: log p~ of the target; KL(p~ || p) at its row */
    const real *dkl;                    /* [n_target] E204: the loss's derivative by kl; NULL: none */
} SecondModel;

/* E23, E25: logp and entropy (NULL: not wanted) of each target at the temperature; logits in chunks of rows.
 * With a second model (NULL: none) also its values; kl is 0 to the bit where both models are the same. */
void head_logp(real *logp, real *entropy, Acts *a, const Model *m, const Batch *b, const real *hidden,
               double temperature, const SecondModel *second);
/* E24, E26: dhidden [n_row, hidden] is written (zero where nothing is scored), grad += ; dentropy may be
 * NULL. grad NULL: head frozen. Must follow head_logp on the same batch and hidden rows: it goes on from the
 * logits, or, where they were too many to keep, computes them anew. E204: a second model's dkl is read, if
 * there is one; nothing is derived by the second model. */
void head_logp_backward(real *dhidden, real *grad, Acts *a, const Model *m, const Batch *b,
                        const real *hidden, double temperature, const real *dlogp, const real *dentropy,
                        const SecondModel *second);
/* z [n, vocab] = hidden rows times the head: E4. */
void head_logits(real *z, const Model *m, const real *hidden, int n);
/* E40: the last of n ids that is not pad; -1 if there is none. pad -1: the last. */
int head_last_row(const int *id, int n, int pad);
/* E41: scores [n, n_label] of the given rows; and back: dhidden [n_row, hidden] is written, grad += . A row
 * may be read more than once. */
void head_linear(real *score, const Model *m, const real *hidden, const int *row, int n);
void head_linear_backward(real *dhidden, real *grad, const Model *m, const real *hidden, int n_row,
                          const int *row, int n, const real *dscore);

/* ---- pieces, public because they are tested alone and used by decoding ---- */

/* E10; back: E11 */
void rope_apply(real *x, int n_head, int head_dim, const real *cos, const real *sin, bool back);
/* E7, one row; r may be NULL */
void rms_norm(real *y, real *r, const real *x, const real *w, int n, double eps);
/* E8, dx += */
void rms_norm_backward(real *dx, const real *dy, const real *x, const real *w, real r, int n);
/* E8, dw += ; rows ascending, r [n_vec] */
void rms_norm_weight_backward(real *dw, const real *dy, const real *x, const real *r, size_t n_vec, int n);
#endif
