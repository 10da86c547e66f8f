/* eval.h: policies side by side on the same prompts: `grpo eval`, and the table at the end of `train
 * --eval-split`. */
#ifndef EVAL_H
#define EVAL_H

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
} EvalPlan;

/* Every quantity is first averaged over the completions of a prompt; intervals are over prompts (completions
 * of one prompt are not independent), differences are paired by prompt. */
typedef struct Eval Eval;
Eval *eval_new(const EvalPlan *plan, Err *e);
void eval_free(Eval *v);
/* Samples and scores; the first policy added is the one that differences are taken against. */
bool eval_add(Eval *v, const char *name, const Speaker *s, Err *e);
void eval_print(const Eval *v);                         /* text on stdout */
void eval_json(JsonWriter *w, const Eval *v);           /* one object */

#endif
