/* declared.h: the settings that a dump declares, by TRL's names and by ours.
 *
 * Rows of the tables in grpo.h, and rows of its own for what a program's loop has. */
#ifndef VERIFY_DECLARED_H
#define VERIFY_DECLARED_H

#include "grpo.h"
#include "lib/optim.h"
#include "net/config.h"
#include "run/rollout.h"

typedef enum { PRECISION_F64, PRECISION_F32, PRECISION_F16, PRECISION_BF16 } Precision;
extern const char *const precision_names[];

typedef enum { KL_REWARD_SEQUENCE, KL_REWARD_TO_GO, KL_REWARD_TOKEN } KlReward;
typedef enum { REJECT_NONE, REJECT_TOKEN, REJECT_SEQUENCE, REJECT_GEOMETRIC } Rejection;

typedef struct {
    GrpoConfig grpo;
    GrpoWindow window;                  /* n_item NaN: not given */
    Sampling sampling;
    AdamW adamw;                        /* lr: of this very step */
    double max_grad_norm;
    double kl_reward_coef;              /* E132 */
    KlReward kl_reward;
    int advantage_level;                /* 1: the advantages may differ within a completion */
    Rejection rejection;                /* E181 */
    double rejection_min, rejection_max;
    int64_t step;
    bool weight_decay_all;              /* E283: norms and biases too */
    int weights_after;                  /* 1: the folder's weights are those after the step */
    int stop[MAX_STOPS], n_stop, pad;   /* n_stop 0, pad -1: not given */
    const struct Profile *profile;      /* what the program means to be; newest TRL if nobody says */
    bool profile_given;
    char label[48];                     /* its name and release, as --profile takes it */
    Precision compute;                  /* of the program, where its tensors do not say less */
    bool compute_given;
    Precision sampler;                  /* the same of the program that sampled; compute's if not given */
    bool sampler_given;
    bool group_given;                   /* num_generations stands in the config */
} DumpSettings;

/* The i-th row of all that a dump's config may hold, its `at` in a DumpSettings, and its name there: before
 * the sampler's TRL writes vllm_. False: there are no more. */
bool declared_at(Setting *s, char name[64], int i);
bool declared_setting(Setting *s, const char *name);    /* by its name; false: there is none */
void declared_default(DumpSettings *s);     /* TRL's newest */

#endif
