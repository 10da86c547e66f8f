/* run/pair_batch.h: a micro-batch of preference pairs side by side in one window: the log-probabilities of
 * its tokens under policy and reference, and the passes between which the loss of the pairs stands.
 *
 * In this order: pair_batch_lay, pair_batch_refer for pairs that do not keep the reference's values, and then
 * pair_batch_learn, which adds to the gradient, or pair_batch_forward, which does not. */
#ifndef PAIR_BATCH_H
#define PAIR_BATCH_H

#include "baselines/bmc.h"
#include "run/flow_pairs.h"
#include "run/groups.h"
#include "run/learner.h"
#include "run/pairs.h"

typedef struct {
    DpoConfig config;                   /* its weights are divided by the micro-batches of an update (E117) */
    BmcConfig bmc;                      /* with a delta the pairs know what is changed in them */
    FlowWork flow;                      /* of a loss of flows; config and lowest score are the caller's */
    Groups groups;                      /* of which every pair has one, if there are any */
    int size, accumulate;               /* pairs of a micro-batch, and micro-batches of an update, at most */
    int n_micro;                        /* of this update, as many as divide the weights; the caller's */
    bool ahead;                         /* the sums of all pairs are there before the first slice */
    Learner *l;                         /* its window is the micro-batch's */
    int n_pair;
    PairTokens **now;                   /* [size] the pairs of the micro-batch */
    /* sequence 2i is the chosen, 2i + 1 the rejected reply of pair i */
    size_t *offset;                     /* [2 size + 1] */
    int *token, *token_of, *sequence_of; /* [n_token]; [n_target] flat place and sequence of a target */
    real *logp, *reference, *dlogp, *by_target;         /* [n_token] three times; [n_target] */
    SecondModel second;                 /* the reference, if the loss wants KL; its values: [n_target] */
    real *kl, *dkl;                     /* [n_token]; [n_target] of the running slice */
    double n_chosen_token;
    /* With a loss of flows reply c has 2 n + 1 values (flow_pair_loss), from 2 offset[c] + c on; token_of,
     * logp, reference and dlogp are laid so, and the reference's values at E235's temperature: */
    real *sharp;                        /* [n_token] */
    DpoPair *pair, *micro;              /* [accumulate * size] of the update; its micro-batch */
    DpoRank *rank;
    double *ell, *dell;                 /* [size] each, with groups: losses of the pairs, and E215 */
    int *group;
    GroupSums sums[GROUPS_MOST];        /* of the update so far, as the next line */
    double loss, entropy_sum, n_token;  /* of the update so far */
} PairBatch;

/* Bytes of the reference's activations beside the policy (E201), which most losses do not need. */
double pair_batch_bytes(const PairBatch *b);
/* Memory for pairs of at most longest_tree tokens; config, size, accumulate and a loaded learner are set. To
 * be freed. */
bool pair_batch_new(PairBatch *b, int longest_tree, Err *e);
void pair_batch_free(PairBatch *b);
/* What that takes, beside what learner_hold says. */
void pair_batch_hold(Costs *c, const PairBatch *b);

/* Before the first micro-batch of an update: its sums are 0. */
void pair_batch_start(PairBatch *b);
/* Lays now[0 .. n - 1] side by side as the k-th micro-batch of the update: tokens and window, and what the
 * pairs keep of the reference. */
bool pair_batch_lay(PairBatch *b, int k, int n, Err *e);
/* E179: the reference's values of every token; keep: with the pairs too, which own them. */
bool pair_batch_refer(PairBatch *b, const Model *reference, bool keep, Err *e);
/* Forward only: the sums of all pairs under m, and their weights (E177) or KL (E201). */
bool pair_batch_forward(PairBatch *b, const Model *m, Err *e);
/* E217: what a forward pass says of the pairs is added to sums, by their groups. */
void pair_batch_by_group(GroupSums *sums, PairBatch *b);
/* E160 to E177, E206 to E208, E212 to E215: the loss is added to b->loss and its gradient to the trainer's.
 */
bool pair_batch_learn(PairBatch *b, Err *e);
/* The mean loss over the pairs, after a forward pass, is added to *loss. */
void pair_batch_loss(PairBatch *b, double *loss);

#endif
