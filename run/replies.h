/* run/replies.h: stored replies as tokens, with their labels or one score each: what reward and value models
 * learn from. */
#ifndef RUN_REPLIES_H
#define RUN_REPLIES_H

#include "lib/real.h"
#include "net/window.h"
#include "run/cost.h"
#include "text/data.h"

typedef struct { int *id, n, n_prompt; } ReplyTokens;
typedef struct {
    ReplyTokens *seq;
    real *label;                        /* [n, n_label], NaN where missing */
    int n, n_label, cut;                /* cut: how many were longer than max_length */
    bool states; /* read before every token of a reply and after the last (E241); else only
                    after the last (E40) */
} ReplySet;

/* The rows of d, loaded with NEED_COMPLETION and NEED_LABELS: the n_label labels of these names. Longer ones
 * than max_length tokens are cut at the end; a prompt that leaves no room for a reply is an error. The set is
 * the caller's to free, also after a failure. */
bool replies_labelled(ReplySet *out, const Dataset *d, const Language *l, const char (*name)[64], int n_label,
                      int max_length, Err *e);
/* One score each, for read states. Of pairs: 1 for the chosen reply, -1 for the rejected one. Else the
 * weighted sum of the labels (E60) or, without weights, "reward". */
bool replies_scored(ReplySet *out, const Dataset *d, const Language *l, const double *weight,
                    const char (*name)[64], int n_label, int max_length, Err *e);
/* Moves the last `share` of a keyed permutation into held. */
bool replies_split(ReplySet *all, ReplySet *held, double share, uint64_t seed, Err *e);
void replies_free(ReplySet *s);

/* How many values are read of reply i; and the reply in the window, with a target for each of them. Without
 * states it is read at the last token that is not padding, which is not the last one where the end token is
 * the padding token too. */
int replies_values(const ReplySet *s, int i);
bool replies_lay(Window *w, const ReplySet *s, int i, int pad, Err *e);
void replies_texts(Texts *t, const void *set, int i);           /* a TextsOf */

#endif
