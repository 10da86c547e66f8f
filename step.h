/* step.h: one GRPO step as the commands see it: its options, the completions of a generation, micro-batches
 * and the update.
 *
 * `train` goes through it again and again, `trace` once, telling everything; `ppo` takes the generations from
 * it and makes its own updates. All mathematics is called from grpo.c and reward.c. */
#ifndef STEP_H
#define STEP_H

#include "text/data.h"
#include "run/run.h"
#include "run/scorer.h"
#include "grpo.h"
#include "run/rollout.h"

typedef struct {
    RunOptions run;
    GrpoConfig grpo;
    Sampling sampling;
    ScorerOptions scorer;
    const char *reward_clip, *reward_floors;
    int steps_per_generation, generation_batch_size;
    double eval_split, multiplier_learning_rate, multiplier_max;
    bool critic; /* PPO: a prompt may have one completion, and there always is a reference; no option */
} StepConfig;

/* of a StepConfig, beside those of its parts */
extern const Setting generation_settings[], step_settings[];

/* ---- one generation: completions and all that is known about them ------------------------ */

typedef struct {
    int n_prompt, n_completion, n_label;
    const Example **example;            /* [n_prompt] */
    Ids *prompt;                        /* [n_prompt] */
    Rollout out;
    size_t *offset;                     /* [n_completion + 1] */
    char **text;                        /* [n_completion] without the closing token */
    int *token;                         /* [n_token] and, same shape: */
    real *logp, *old, *ref, *entropy, *dlogp, *dentropy;
    unsigned char *mask, *ended;        /* [n_token], [n_completion] */
    double *scratch;                    /* [n_token] */
    real *score, *reward, *adv,
        *cost; /* [n_completion, n_label], [n_completion] twice, as score: scratch of E70 */
    double multiplier[MAX_LABELS];      /* that acted in adv (E70) */
    GrpoRewardStats stats;
    double n_item;                      /* N of E112 */
    int max_new;
} Generation;

/* ---- the state ---------------------------------------------------------------------------- */

typedef struct {
    const StepConfig *c;
    Language language;
    Dataset data, held;                 /* held: what --eval-split took out of it */
    Model *policy;
    const Model
        *reference; /* the policy that the run starts from; NULL if beta is 0, unless there is a critic */
    Model base,
        *copy; /* what reference points to: a new adapter's base (E293), or a second copy of the weights */
    FolderInfo info;
    Scorer *scorer;
    int n_label, group, batch, accumulate, per_generation, rows;
    Texts prompts;                      /* the prompts that are trained on, as lengths */
    int longest;                        /* of all prompts */
    double memory;                      /* bytes by the plan */
    const char (*label)[64];
    double weight[MAX_LABELS], clip_low[MAX_LABELS], clip_high[MAX_LABELS];
    bool clip, warned_missing, floors;
    double floor[MAX_LABELS], multiplier[MAX_LABELS]; /* E71; floor -INFINITY: none; multipliers of the coming
                                                         generation, kept in checkpoints */
    int synthetic; /* tokens of a prompt of step_open_synthetic; 0: prompts from the data set */
    Generation gen;
    Window window;
    int *token_of, *completion_of; /* [n_target] of the window: flat place of the token, and its completion */
    Trainer trainer;
    Networks net;                       /* as the cost's formulas see them */
    Costs cost; /* of the run so far: generations and updates, without the table of --eval-split */
    double planned_acts, held_acts;     /* the trainer's, predicted and taken */
    Order order;
    GrpoEntropyControl control;
    /* of the micro-batch just done */
    GrpoMicro micro;
    GrpoSums sums;
    GrpoWindow grpo_window;
    /* of the running update */
    double loss, entropy_sum, entropy_tokens, metric[9];
    int n_metric[9], n_micro;
    int64_t tokens;
} Step;

/* Checks all options but those of the run (run_options_check) and loads everything; writes nothing. On
 * failure too, step_close frees what there is. */
bool step_open(Step *s, const StepConfig *c, Err *e);
/* The same for measurements of any model folder: prompts of prompt_length made-up tokens, made-up scores for
 * one label, completions that no token ends. Only the model is read; the options of data and scores are not
 * looked at. */
bool step_open_synthetic(Step *s, const StepConfig *c, int prompt_length, Err *e);
/* All completions of a generation, and those of a pass over it in micro-batches, as lengths, if prompts are
 * as the data's and completions have `length` tokens. */
Texts step_planned_drawn(const Step *s, double length);
Texts step_planned_pass(const Step *s, double length);
/* Memory by kind (E195 to E198), and the reward models' passes over `read` generations of completions as long
 * as the policy's, added to c. */
bool step_planned_rest(Cost *c, const Step *s, double length, double read, Err *e);
/* What a run will take, nothing loaded but the data: memory by the plan that the run itself makes; seconds of
 * an update from generations like the run's with few tokens, made-up and timed on this machine, and by E190
 * from there to completions of full length. */
bool step_plan(RunPlan *p, const StepConfig *c, Err *e);
/* Takes controller and token count from the trainer, after it may have been loaded from a checkpoint; from
 * here on the cost has all that is held. */
void step_resume(Step *s);
void step_close(Step *s);

/* Micro-batches made of one generation, and the generation that the coming update begins with. */
int step_micro_batches(const Step *s);
int64_t step_first_generation(const Step *s);

/* E60, E81 to E87, with floors E70 and E71: completions, scores, advantages, reference log-probabilities:
 * fills s->gen. */
bool step_generation(Step *s, int64_t generation, Err *e);
/* E99 to E117 of the generation's i-th micro-batch, forward and backward. When s->n_micro reaches
 * s->accumulate, step_update is due. */
bool step_micro_batch(Step *s, int i, Err *e);
/* The first completion of that micro-batch, and its completions as grpo.c sees them. */
int step_first_completion(const Step *s, int i);
/* Completions first .. first + n - 1 with their prompts, as lengths. */
Texts step_texts(const Step *s, int first, int n);
GrpoIn step_input(const Step *s, int first, int n);
/* E280 to E284, E116. step_clear forgets the sums of the update once they are logged. */
bool step_update(Step *s, Err *e);
void step_clear(Step *s);

/* ---- step_report.c: what a run says of its generations, and how it ends ------------------- */

/* What is logged of a generation. An update that several generations feed logs their means, as TRL does; one
 * that begins none repeats the last. */
enum { LOG_PER_RUN = 8, LOG_PER_LABEL = 3, LOG_NUMBERS = LOG_PER_RUN + LOG_PER_LABEL * MAX_LABELS };
typedef struct { double sum[LOG_NUMBERS]; int n[LOG_NUMBERS]; bool logged; } GenerationLog;
void generation_log_add(GenerationLog *l, const Step *s);
/* members of an object */
void generation_log_write(JsonWriter *w, const GenerationLog *l, const Step *s);

/* final/, the digest of its weights on stdout, and with held-out prompts eval.json and the table of before
 * and after. */
bool step_finish(Step *s, Err *e);

#endif
