/* run/aihf.h: the reward model of AIHF, which learns from demonstrations and preferences between steps of the
 * policy (E227): the policy's replies to the demonstrations' prompts, and the updates of a round. */
#ifndef RUN_AIHF_H
#define RUN_AIHF_H

#include "run/generation.h"
#include "run/learner.h"
#include "run/pair_reward.h"

typedef enum { DEMO_PAIR, DEMO_DIFFERENCE } DemoLoss;           /* E228, E224 */
extern const char *const demo_loss_names[];
/* loss, accuracy and margin of E56 over the demonstrations and over the preferences, means of a round */
enum { AIHF_DEMO, AIHF_PREFERENCE, AIHF_PARTS };

typedef struct {
    /* the caller's */
    DemoLoss loss;
    double demo_weight, preference_weight, center, beta;
    int batch, n_update, n_round;       /* pairs of a kind in an update, updates of a round, rounds */
    uint64_t seed;
    Learner reward; /* shape known (learner_shape); loaded by the caller after aihf_data */

    Dataset demos;                      /* none: the weight is 0, as for the pairs */
    PairSet preferences;
    Order demo_order, preference_order;
    int max_length;                     /* tokens of a prompt and a reply, as the reward model reads them */
    Texts lengths;                      /* of the demonstrations' prompts, as the policy reads them */
    int longest;                        /* of them, in tokens */

    Generation drawn;                   /* replies to one update's demonstrations */
    int kept_rounds; /* replies that are kept, [kept_rounds n_update batch] of max_new tokens: */
    double *token, *length, *ended;
    double tells[3 * AIHF_PARTS + 2];   /* what the log says of the last round; grad_norm, learning_rate */
    Texts answered, taught;             /* the ledger: replies to demonstrations, and what was learned from */
    double n_token;                     /* tokens drawn and rows read in the last round */
} Aihf;

/* The data, encoded and checked: every demonstration has a reply, and its prompt leaves room for a reply of
 * the policy, whose language and context are given. A path may be NULL. Sets a->reward.rows too. */
bool aihf_data(Aihf *a, const char *demonstrations, const char *preferences, const char *system,
               const Language *policy, bool drop_long, int max_new, int slice_rows, Err *e);
/* Memory for the replies; and what a run keeps in its checkpoints. */
bool aihf_new(Aihf *a, int max_new, Err *e);
void aihf_keep(Aihf *a, Trainer *t);
void aihf_free(Aihf *a);

/* Round number `round`: the policy replies to the demonstrations that the round's updates come to, and the
 * reward model takes these updates (E226). What is drawn and read is counted in *c. */
bool aihf_round(Aihf *a, int64_t round, const Learner *policy, const Sampling *sampling, Costs *c, Err *e);
/* The reward model's learning: members of the log's line. */
void aihf_log(JsonWriter *w, const Aihf *a);
/* What n_round rounds read and learn, by the data's mean lengths and replies of `length` tokens. */
void aihf_planned(Texts *answered, Texts *taught, const Aihf *a, double length);

#endif
