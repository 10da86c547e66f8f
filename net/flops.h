/* flops.h: what a pass through the network costs (E190 to E192): by formula, and counted by whoever makes it.
 *
 * Whoever runs a pass says so once, outside of parallel regions. Counted are rows through the layers; prompts
 * and completions that they belong to, each once however it is cut; operations of matrix products and of
 * attention, a multiply-add being two. */
#ifndef FLOPS_H
#define FLOPS_H

#include "net/batch.h"

typedef struct { double row, seq, flop; } Pass;
typedef struct Tally { Pass forward, backward; } Tally;

/* Each adds to *m->tally, if there is one. */

/* A forward pass over the batch and the head on n_scored rows. */
void tally_forward(const Model *m, const Batch *b, double n_scored);
/* A backward pass that gathers the gradient: its head on n_scored rows, of which n_again (acts_logits_again)
 * have their logits computed once more. With checkpointing all layers but the last are run again. */
void tally_backward(const Model *m, const Batch *b, double n_scored, double n_again);
/* Forward, for one who owns what rows attend to: n_row rows, n_seq sequences that begin with them, and the
 * pairs of a row and a position that it sees. */
void tally_rows(const Model *m, double n_row, double n_seq, double attended);
/* The head alone, forward. */
void tally_head(const Model *m, double n_row);

/* E190: operations of a forward pass over n_row rows that attend to sum_attended positions together, without
 * adapters; E191: TRL's count for training. */
double model_forward_flops(const ModelConfig *c, double n_row, double sum_attended, double n_scored);
double model_trl_flops_per_token(const ModelConfig *c, double length);

#endif
