/* run/sequences.h: prompts with their completions as tokens, and the supervised loss on them (E32). */
#ifndef RUN_SEQUENCES_H
#define RUN_SEQUENCES_H

#include "run/cost.h"
#include "run/trainer.h"
#include "text/data.h"

/* Prompt and completion, n tokens in all, of which n_target are learned: those from n_prompt on, or, where
 * learned is there, those of which it is true. */
typedef struct { int *id, n, n_prompt, n_target; bool *learned; } Sequence;
typedef struct { Sequence *row; int n; } SequenceSet;

/* The rows of d, loaded with NEED_COMPLETION, in their order; longer ones are cut to max_length tokens, *cut
 * of them. turns: all turns of the assistant are learned, not the last alone. The set is the caller's to
 * free, also after a failure. */
bool sequences_encode(SequenceSet *s, const Dataset *d, const Language *l, bool turns, int max_length,
                      int *cut, Err *e);
bool sequence_lay(Window *w, const Sequence *s, Err *e);        /* its rows and targets (E22) */
void sequences_free(SequenceSet *s);
void sequence_texts(Texts *t, const void *rows, int i);         /* the lengths of rows[i] */

typedef struct { double loss, entropy, n; } SequenceSums;       /* over n completion tokens */
/* E32: the gradient of weight times the mean of -logp over the targets of the window is added to the
 * trainer's. *sums: without the weight. */
bool sequences_learn(SequenceSums *sums, Trainer *t, const Window *w, double weight, Err *e);

#endif
