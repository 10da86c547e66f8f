/* evaluate.h: policies side by side on the same prompts: `grpo eval`, and the table at the end of `train
 * --eval-split`. */
#ifndef EVALUATE_H
#define EVALUATE_H

#include "run/scorer.h"
#include "run/speaker.h"
#include "reward.h"

typedef struct {
    const Dataset *data;
    Scorer *scorer;
    const double *weight;               /* [n_label] E60 */
    const double *clip_low, *clip_high; /* [n_label] E77; NULL: off */
    MissingLabels missing;
    Sampling sampling;
    int num_generations, max_completion_length, seed;
    const char *group_by;               /* a column of the data set; NULL: no groups */
    int left_out;                       /* rows of the data set, for the table */
} EvalPlan;

/* Replies of `s` to the plan's prompts first .. first + n - 1, num_generations to each side by side, with
 * their scores [n, n_label] and rewards [n] (E60). judged_free also after a failure. */
typedef struct {
    Answers answers;
    int n;                              /* of replies */
    Completion *reply;
    char **text;                        /* of reply: the strings that it points to */
    real *score, *reward;
    bool missing;                       /* some label is */
} Judged;
bool judged_new(Judged *j, const EvalPlan *plan, const Speaker *s, int first, int n, Err *e);
void judged_free(Judged *j);

/* Every quantity is first averaged over the completions of a prompt; intervals are over prompts (completions
 * of one prompt are not independent), differences are paired by prompt. */
typedef struct Eval Eval;
Eval *eval_new(const EvalPlan *plan, Err *e);
void eval_free(Eval *v);
/* Samples and scores; the first policy added is the one that differences are taken against. replies: a file
 * to write them to, a line a reply as `grpo sample` and `grpo score` have it, or NULL. */
bool eval_add(Eval *v, const char *name, const Speaker *s, const char *replies, Err *e);
void eval_print(const Eval *v);                         /* text on stdout */
void eval_json(JsonWriter *w, const Eval *v);           /* one object */

#endif
