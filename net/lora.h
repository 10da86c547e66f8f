/* lora.h: a low-rank adapter beside a frozen linear layer: y = W x + s B (A x). */
#ifndef LORA_H
#define LORA_H

#include "lib/base.h"
#include "lib/real.h"

/* The linear layers that may have one, in canonical order; names as PEFT's target_modules. */
typedef enum { LORA_Q, LORA_K, LORA_V, LORA_O, LORA_GATE, LORA_UP, LORA_DOWN, LORA_TARGETS } LoraTarget;
extern const char *const lora_target_names[];           /* [LORA_TARGETS], then NULL */

typedef struct {
    int r;                              /* 0: no adapter */
    double alpha;
    bool rslora;                        /* s = alpha/sqrt(r) instead of alpha/r */
    unsigned target;                    /* bit t: lora_target_names[t] has an adapter */
} Lora;

/* sizes and targets; r == 0 is an error */
bool lora_check(const Lora *c, const char *where, Err *e);
/* "q_proj,v_proj" or "all-linear" into the bits of target. where: names the option or the file in an error.
 */
bool lora_targets_parse(unsigned *target, const char *text, const char *where, Err *e);
/* and back, with commas; returns out */
const char *lora_targets_text(char out[96], unsigned target);
real lora_scale(const Lora *c);                         /* E290: s */

/* One layer's arrays: W is (n_out, n_in), A (r, n_in), B (n_out, r). */
typedef struct { int n_out, n_in, r; real s; } LoraShape;

/* E290: y [n, n_out], which holds W x and the bias, becomes fma(s, B u, y). u [n, r] = A x is kept for the
 * backward pass. a, b: as gemm_pack lays them. scratch [n, n_out]. */
void lora_forward(real *y, real *u, real *scratch, const real *a, const real *b, const real *x, int n,
                  const LoraShape *c);
/* E291, by the input: du [n, r] = s (chain over n_out of B dy) is written; dx, which holds W^T dy, gets
 * A^T du added. a, b: as they are. scratch [n, n_in]. */
void lora_backward(real *dx, real *du, real *scratch, const real *dy, const real *a, const real *b, int n,
                   const LoraShape *c);
/* E291, by the weights: dB += (chain over rows of dy (s u)), dA += (chain over rows of du x). su [n, r]:
 * scratch. */
void lora_backward_weights(real *da, real *db, real *su, const real *dy, const real *x, const real *u,
                           const real *du, int n, const LoraShape *c);
/* E292: W = fma(s, B A, W), each element of B A a chain over r. */
void lora_merge(real *w, const real *a, const real *b, const LoraShape *c);
/* E292: A uniform in +-1/sqrt(n_in), keyed by (seed, layer, target); B = 0: the adapted layer starts as the
 * layer itself. */
void lora_init(real *a, real *b, const LoraShape *c, uint64_t seed, int layer, LoraTarget t);

#endif
