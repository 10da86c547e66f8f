/* collab.h: decoding by several policies, one token at a time from whichever of them promises most.
 *
 * A row of logp holds all log-probabilities [vocab] of one state; values in between are double. Nothing here
 * allocates or knows the model. */
#ifndef COLLAB_H
#define COLLAB_H

#include <stddef.h>

#include "lib/real.h"

/* E254: KL(policy || reference) of two rows. */
double collab_kl(const real *logp, const real *reference, int vocab);
/* E256: the candidates of a row, most probable first, of equals the lower id first: at most top_k, and no
 * more once their mass has reached top_p. token [top_k]; returns how many, at least 1. */
int collab_candidates(int *token, const real *logp, int vocab, int top_k, double top_p);
/* E256: what a candidate promises: the reward q of the text that its policy ends it with, less alpha times
 * the policy's divergence. */
double collab_promise(double q, double alpha, double kl);
/* E257: the place of the highest promise, of equals the first. n > 0. */
size_t collab_choose(const double *promise, size_t n);

#endif
