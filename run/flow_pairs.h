/* run/flow_pairs.h: preference pairs as texts for the losses of flows, each text by itself. */
#ifndef FLOW_PAIRS_H
#define FLOW_PAIRS_H

#include "baselines/dpo.h"
#include "baselines/flow.h"
#include "run/pairs.h"

/* Before d is encoded: a pair with an empty reply is taken out, and counted in *left_out; all other replies
 * lose their closing token, because the state after the last token is one of theirs. False if none is left.
 */
bool flow_texts(Dataset *d, int *left_out, Err *e);
/* After that: the scores of the rows of d, which p was made from; *lowest becomes the lowest of them, if that
 * is lower: it stands for what texts cut short would get (E236). */
bool flow_scores(PairSet *p, double *lowest, const Dataset *d, FlowScores scores, Err *e);

typedef struct {
    FlowConfig config;
    double lowest_score;
    double log_flow;                    /* the sum of log F_0 over texts */
    real *next, *end, *dnext, *dend;    /* of one text; level: of both texts of a pair */
    double *level[2];
} FlowWork;
/* for texts of at most `longest` tokens */
void flow_layout(FlowWork *f, Arena *a, size_t longest);

/* E230 to E238 of the two texts of a pair, of n[0] and n[1] tokens: the sum of their losses times scale, and
 * its derivatives in dvalue. A text has 2 n + 1 values, side by side with the other's: log pi of next token
 * and of the end at each state in turn, and of the end at the last. ref: under the reference; sharp (E235
 * only): the same at the temperature gamma. The sums of *p are those of E200, the end included. */
double flow_pair_loss(DpoPair *p, real *dvalue, FlowWork *f, const real *value, const real *ref,
                      const real *sharp, const size_t n[2], const double score[2], DpoLoss type,
                      double scale);

#endif
