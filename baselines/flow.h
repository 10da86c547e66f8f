/* flow.h: generative flow networks: losses that make the probability of a finished text proportional to its
 * reward, instead of the reward as large as possible.
 *
 * The states of a text are s_0, the prompt alone, to s_n, all its n tokens without the closing one; every
 * state may end. next[t], t < n, is log pi of the text's token after s_t, end[t], t <= n, log pi of the
 * closing token there; under the reference likewise. Arrays are real, values in between double, sums
 * ascending. Nothing here allocates or knows the model. */
#ifndef FLOW_H
#define FLOW_H

#include "lib/base.h"
#include "lib/real.h"

typedef enum { FLOW_DB, FLOW_SUBTB, FLOW_TB } FlowLoss;
typedef enum { REWARD_THEORY, REWARD_PROGRAM } FlowReward;
typedef enum { SCORES_PAIR, SCORES_COLUMN } FlowScores;
extern const char *const flow_reward_names[], *const flow_scores_names[];       /* NULL at the end */
enum { FLOW_SCORE_CHOSEN = 0, FLOW_SCORE_REJECTED = -8 };       /* the authors', of SCORES_PAIR */

typedef struct {
    FlowReward reward;                  /* theory */
    FlowScores scores;                  /* pair */
    double alpha, gamma;                /* 0.1 each: weight of the score; E235's temperature */
    double lambda;                      /* 0.9: E233 */
} FlowConfig;
bool flow_config_check(const FlowConfig *c, Err *e);

/* E236: log R of all n + 1 states: the reference's log-probability of the text that ends there, and alpha
 * times its score: `score` of the whole text, `prefix` of what comes before. */
void flow_reward_theory(double *log_reward, const real *next, const real *end, size_t n, double alpha,
                        double prefix, double score);
/* E235, the authors' program: the reference's next token alone and the closing token at temperature gamma,
 * end_sharp; alpha times the score at the last state. */
void flow_reward_program(double *log_reward, const real *next, const real *end, const real *end_sharp,
                         size_t n, double alpha, double score);

/* E230, written so that E231 and E233 are differences: log F_t - log pi(first t tokens), t <= n: what state t
 * says of the flow of all texts. level may be log_reward. */
void flow_levels(double *level, const double *log_reward, const real *next, const real *end, size_t n);

/* Losses of one text, and back: dnext [n] and dend [n + 1] are overwritten with scale times the derivative
 * (E234). E231, E232: detailed balance. */
double flow_db(real *dnext, real *dend, const double *level, size_t n, double scale);
/* E233: sub-trajectories, in time n^2. */
double flow_subtb(real *dnext, real *dend, const double *level, size_t n, double lambda, double scale);
/* E238: the longest sub-trajectory alone, with log_flow in place of log F_0: level is that of the last state.
 * For both texts of a pair log_flow is the mean of theirs, which makes the sum of both losses least. */
double flow_tb(real *dnext, real *dend, double level, double log_flow, size_t n, double scale);

#endif
