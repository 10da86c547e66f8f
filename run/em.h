/* run/em.h: users who disagree, and a reward model for each group of them: MaxMin's hard EM (E218 to E222).
 *
 * A round: every model takes the same number of updates, each on as many pairs of its own users (E220); then
 * every user joins the model that finds their pairs likeliest (E219). */
#ifndef RUN_EM_H
#define RUN_EM_H

#include "baselines/maxmin.h"
#include "run/learner.h"
#include "run/pair_reward.h"

typedef struct {
    int n_model, batch;                 /* the caller's: models, pairs of an update of each, */
    double center;                      /* and kappa of E56 */
    PairSet pairs, held;                /* group: the pair's user */
    int n_user;
    char (*user)[64];                   /* in the order of first appearance */
    double *likelihood;                 /* [n_user, n_model] E218; at first it says how they start */
    int *member;                        /* [n_user] */
    Learner l[MAXMIN_MODELS];
    int *own, first[MAXMIN_MODELS + 1]; /* the pairs of model u: own[first[u]] .. own[first[u + 1] - 1] */
    Order order[MAXMIN_MODELS];
    real *score;                        /* [n_model, 2 pairs] of the last E-step */
    PairReward now[MAXMIN_MODELS];      /* of the last update; of a model without users: zeros */
    Texts trained;
    double n_token, n_round;            /* rows read in training; E-steps made */
    double n_moved;                     /* in the last of them; -1: there was none */
} Em;

/* The users of the pairs by a column, those of the training part first: pairs and held were made from the
 * rows of data and held_data. Fewer users than models are refused, a user with one pair is told. */
bool em_users(Em *s, const char *column, const Dataset *data, const Dataset *held_data, Err *e);
/* With the models loaded: what they keep in a checkpoint; after one is loaded, or none: who belongs where. */
bool em_new(Em *s, Err *e);
void em_keep(Em *s, Trainer *t);
void em_regroup(Em *s);
void em_free(Em *s);

/* One update of every model; a model without users stays as it is, though its step counts. */
bool em_update(Em *s, Costs *c, Err *e);
/* The E-step: users move. */
bool em_expect(Em *s, Err *e);
/* E222: folds the common scale over the replies of all pairs into the heads; the last thing done to the
 * models before they are written. */
bool em_scale(Em *s, Err *e);
/* Of the held-out pairs of a model's users; NaN where there are none, *n pairs. */
bool em_held(PairReward *out, int *n, Em *s, int u, Err *e);
/* loss, accuracy, margin and users of every model, and what the last E-step did. */
void em_log(JsonWriter *w, const Em *s);
/* users.json: of every user the group, the number of pairs, and how likely each model finds them. */
bool em_write_users(const Em *s, const char *path, Err *e);

#endif
