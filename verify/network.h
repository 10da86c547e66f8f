/* network.h: the stages of a dump that run the model, and those that read the dump's own logits. */
#ifndef VERIFY_NETWORK_H
#define VERIFY_NETWORK_H

#include "verify/case.h"

/* logp, entropy [n, width] and logits [count, width, vocab] (each may be NULL) of the case's rows under model
 * m. */
bool network_values(real *logp, real *entropy, real *logits, const Case *c, const Model *m, Pool *p, Err *e);
/* The same from the dump's own logits. */
bool logits_values(real *logp, real *entropy, const Case *c, Pool *p, Err *e);
/* grad [n_trainable]: derivative of the loss by the parameters, from those by log-probabilities and, if there
 * is a bonus, entropies, [n, width]; 0 where a token does not count. */
bool network_gradient(real *grad, const real *dlogp, const real *dentropy, const Case *c, Pool *p, Err *e);
/* whole rows: may column t, before the completion, be a token of the prompt */
bool row_prompt_token(const Dump *d, size_t i, size_t t);
real round_to(real x, Precision to);

#endif
