/* mix.h: weights of policies that are to write as one: found by mirror descent (E246 to E249), or from given
 * weights of their goals (E252). */
#ifndef RUN_MIX_H
#define RUN_MIX_H

#include "lib/say.h"
#include "run/evaluate.h"
#include "run/policy_mix.h"

typedef struct {
    const Speaker *policy;              /* [n_policy], and policy[n_policy] is the reference */
    int n_policy;
    const Dataset *data;                /* prompts in the order in which steps take them, round and round */
    Scorer *scorer;                     /* E252: label k is what policy k was trained for; else NULL */
    const double *weight;               /* [n_policy] E252; NULL: mirror descent */
    double beta, step_size;
    int steps, prompts_per_step, num_generations, max_new, seed, slice_rows;
} MixPlan;

/* What is kept of n replies of the reference to each prompt: L_jk and, with a scorer, r_k(y_j), both
 * [n_prompt][n_policy][n]. */
typedef struct { int n_prompt, n_policy, n; double *ratio, *reward; } MixSums;

/* Draws and reads them, for as many prompts as the steps take, each once; slice_rows: memory
 * only. What it took is added to c. */
bool mix_gather(MixSums *s, Costs *c, const MixPlan *p, Progress *progress, Err *e);
void mix_free(MixSums *s);

typedef struct {
    double weight[MAX_POLICIES];        /* E249, or E252 */
    double coefficient[MAX_POLICIES];   /* E252's beta_k, as measured */
    double gradient[MAX_POLICIES];      /* E247 of the last step */
    double effective;                   /* E253, the mean over all steps and their prompts */
    double mean_ratio[MAX_POLICIES];    /* the mean of exp(L_jk), near 1 if the replies suffice */
    bool equal[MAX_POLICIES];           /* all L_jk are 0: the policy is the reference */
} MixResult;
/* Fails where a policy's log-ratio does not rise with its goal. */
bool mix_weights(MixResult *r, const MixSums *s, const MixPlan *p, Err *e);

#endif
