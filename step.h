/* step.h: one step of GRPO on multi-objective rewards: draw, score, advantage, slices, loss, backward,
 * update.
 *
 * `train` goes through it again and again, `trace` once, telling everything; `ppo` takes the generations from
 * it and makes its own updates. All mathematics is called from grpo.c and reward.c. */
#ifndef STEP_H
#define STEP_H

#include "grpo.h"
#include "run/generation.h"
#include "run/learner.h"
#include "run/scorer.h"
#include "run/watch.h"

typedef struct {
    RunOptions run;
    GrpoConfig grpo;
    Sampling sampling;
    ScorerOptions scorer;
    const char *reward_clip, *reward_floors;
    int steps_per_generation, generation_batch_size;
    WatchOptions watch;
    const char *eval_dataset;
    double eval_split, multiplier_learning_rate, multiplier_max;
    bool critic; /* PPO: a prompt may have one completion, and there always is a reference; no option */
    const Learner *learns; /* AIHF: the reward model, which learns too, in the place of the options' */
    bool unscored; /* DVPO: nobody is asked for scores, so a generation has no reward; no option */
} StepConfig;

typedef struct {
    Dataset train, held;                /* held: what --eval-split took out, or --eval-dataset */
    Order order;                        /* of train */
    Texts lengths;                      /* of train */
    int longest;                        /* tokens, of all */
    int synthetic; /* tokens of a made-up prompt (step_open_synthetic); 0: prompts from the data set */
} Prompts;

typedef struct {
    Scorer *scorer;
    int n_label;
    const char (*label)[64];
    double weight[MAX_LABELS], clip_low[MAX_LABELS], clip_high[MAX_LABELS];
    bool clip, floors, warned_missing;
    double floor[MAX_LABELS];           /* E71; -INFINITY: none */
    double multiplier[MAX_LABELS];      /* of the coming generation, kept in checkpoints */
} Rewards;

typedef struct {
    int *token_of, *completion_of; /* [n_target] of the window: flat place of the token, and its completion */
    GrpoMicro whole;                    /* what the normalisation needs of all of it */
    GrpoWindow window;
    GrpoSums sums;
} MicroBatch;

typedef struct {                        /* sums over the micro-batches of the running update */
    double loss, entropy_sum, entropy_tokens, metric[GRPO_N_METRIC];
    int n_metric[GRPO_N_METRIC], n_micro;
} UpdateSums;

typedef struct {
    const StepConfig *c;
    int group;                          /* completions of a prompt */
    int batch, accumulate;              /* completions of a micro-batch, micro-batches of an update */
    int per_generation;                 /* micro-batches of a generation */
    Prompts prompts;
    Rewards rewards;
    Learner learner; /* the policy and its reference, which is NULL if beta is 0 unless there is a critic */
    Generation gen;
    MicroBatch micro;
    UpdateSums update;
    GrpoEntropyControl control;
    int64_t generation;                 /* the coming one, or with at > 0 the present one: */
    int at;                             /* its next micro-batch */
    GenerationLog log;
    Costs *cost;                        /* the caller's: what is done is counted there */
    double acts_planned, acts_held;     /* bytes of the trainer's activations, which stay while it draws */
    Texts drawn, trained;               /* the ledger of lengths that the prediction is made from */
    Watch watch;                        /* of a run that is watched (step_watch) */
    double tokens;                      /* drawn so far, with their prompts as often as they were answered */
} Step;

/* One update of the policy: generations and micro-batches as many as it needs. */
bool grpo_step(Step *s, Err *e);

/* Its parts, for those who look between them. E60, E81 to E87, with floors E70 and E71: fills s->gen. */
bool step_generation(Step *s, int64_t generation, Err *e);
/* E99 to E117 of the generation's i-th micro-batch, forward and backward. After s->accumulate of them
 * step_update is due. */
bool step_micro_batch(Step *s, int i, Err *e);
/* E280 to E284, E116. step_clear forgets the sums of the update. */
bool step_update(Step *s, Err *e);
void step_clear(Step *s);

/* Micro-batches made of one generation, the first completion of its i-th, and completions as grpo.c sees
 * them. */
int step_micro_batches(const Step *s);
int step_first_completion(const Step *s, int i);
GrpoIn step_input(const Step *s, int first, int n);
/* Completions first .. first + n - 1 with their prompts, as lengths. */
Texts step_texts(const Step *s, int first, int n);
/* The window of the completions of n prompts (NULL: the first n); token_of and completion_of are filled in.
 */
bool step_window(Step *s, const int *prompt, int n, Err *e);

#endif
