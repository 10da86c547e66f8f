/* run/pairs.h: preference pairs as tokens, for all methods that learn from a chosen and a rejected reply. */
#ifndef RUN_PAIRS_H
#define RUN_PAIRS_H

#include "lib/real.h"
#include "text/data.h"

typedef struct {
    int *id, n_prompt, n_w, n_l;        /* prompt, chosen, rejected side by side; no part is empty */
    int group;                          /* the caller's */
    int open;                           /* 1: replies without closing token whose last rows are run (flows) */
    double score[2];                    /* of chosen and rejected, where the loss reads one (flows) */
    real *reference; /* what the replies' tokens are under a reference, if the caller keeps it; or NULL */
    unsigned char *changed; /* [n_w + n_l] E209, where the caller wants it; or NULL */
} PairTokens;
typedef struct { PairTokens *row; int n; } PairSet;

/* The rows of d, loaded with NEED_PAIR, in their order. A reply is cut where prompt and reply would exceed
 * max_length tokens, and *cut += the number of pairs that this happened to. An error is a prompt that leaves
 * no room, or a reply without tokens. The set is the caller's to free, also after a failure. */
bool pairs_encode(PairSet *p, const Dataset *d, const Language *l, int max_length, int *cut, Err *e);
void pairs_free(PairSet *p);
/* Tokens of the longest pair: prompt, chosen and rejected together. */
int pairs_longest(const PairSet *p);

#endif
