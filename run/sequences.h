/* run/sequences.h: prompts with their completions as tokens, and the supervised loss on them (E32). */
#ifndef RUN_SEQUENCES_H
#define RUN_SEQUENCES_H

#include "run/cost.h"
#include "run/trainer.h"
#include "text/data.h"

typedef struct { int *id, n, n_prompt; } Sequence;              /* prompt and completion, n tokens in all */
typedef struct { Sequence *row; int n; } SequenceSet;

/* The rows of d, loaded with NEED_COMPLETION, in their order; longer ones are cut to max_length tokens, *cut
 * of them. The set is the caller's to free, also after a failure. */
bool sequences_encode(SequenceSet *s, const Dataset *d, const Language *l, int max_length, int *cut, Err *e);
void sequences_free(SequenceSet *s);
void sequence_texts(Texts *t, const void *rows, int i);         /* the lengths of rows[i] */

typedef struct { double loss, entropy, n; } SequenceSums;       /* over n completion tokens */
/* E32: the gradient of weight times the mean of -logp over the targets of the window is added to the
 * trainer's. *sums: without the weight. */
bool sequences_learn(SequenceSums *sums, Trainer *t, const Window *w, double weight, Err *e);

#endif
