/* collab.h: replies that several policies write together, a token from one at a time (E254 to E259). */
#ifndef RUN_COLLAB_H
#define RUN_COLLAB_H

#include "lib/say.h"
#include "run/scorer.h"
#include "run/speaker.h"

enum { MAX_AGENTS = 8 };
typedef struct {
    const Speaker *agent;               /* [n_agent] of one tokenizer */
    int n_agent;
    const Model *reference;             /* NULL: none, and alpha is 0 */
    Scorer *scorer;
    const double *weight; /* [labels of the scorer] E60: q is this sum, a missing score counts 0 */
    int top_k, max_new;
    double top_p, alpha;
    Costs *cost;                        /* what is done is predicted and measured there; or NULL */
} CollabPlan;

typedef struct {
    int *token, *agent;                 /* [n] and whose token it was */
    double *q, *logp,
        *kl; /* [n] the reward of the text that was promised; its agent's logp; that less the reference's */
    int n;
    bool ended;
    long long decoded;                  /* tokens of candidates and their continuations */
} CollabReply;

/* E257 for n prompts in step; out [n], each to be freed by collab_free, also after a failure. The bits of a
 * reply depend on its prompt alone. path: for messages; progress: told each token. */
bool collab(CollabReply *out, const CollabPlan *p, const Example *x, int n, const char *path,
            Progress *progress, Err *e);
void collab_free(CollabReply *r);

#endif
