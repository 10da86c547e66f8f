/* watch.h: what one sees of a run while it goes on: the policy on held-out prompts every so many updates, the
 * best of these policies, when to stop, and completions as they are drawn. */
#ifndef WATCH_H
#define WATCH_H

#include "run/generation.h"
#include "run/learner.h"

typedef enum { GREATER_AUTO, GREATER_TRUE, GREATER_FALSE } GreaterIsBetter;
typedef struct {
    double eval_steps;
    int early_stopping_patience;
    const char *metric_for_best_model;
    GreaterIsBetter greater_is_better;
    bool load_best_model_at_end, log_completions;
} WatchOptions;
extern const Setting watch_settings[];

/* One evaluation: numbers with the names that the log's line has them under, after "eval_". */
enum { WATCH_NUMBERS = MAX_LABELS + 4 };
typedef struct Watch {
    const WatchOptions *o;
    Learner *learner;                   /* the policy */
    const RunOptions *run;
    char name[WATCH_NUMBERS][96];
    double value[WATCH_NUMBERS];
    int n, metric;                      /* metric: the place of --metric-for-best-model; -1: none */
    const Generation *drawn;            /* what --log-completions tells of, with the labels' names */
    const char (*label)[64];
    bool greater;
    double best, best_step, worse;      /* so far; worse: evaluations since then */
} Watch;

/* Options that contradict each other; held_out: whether something is. */
bool watch_check(const WatchOptions *o, bool held_out, Err *e);
/* The names are reward, completions/mean_length, completions/clipped_ratio, with a reference kl, and
 * rewards/LABEL/mean; the metric must be one of them. */
bool watch_open(Watch *w, const WatchOptions *o, Learner *learner, const RunOptions *run,
                const Generation *drawn, const char (*label)[64], Err *e);
void watch_keep(Watch *w, Trainer *t);
/* Members of the line of a step that was evaluated. The best model so far is written to best/ of the run;
 * *stop: it is time, --early-stopping-patience says. */
bool watch_tell(JsonWriter *line, bool *stop, Watch *w, int64_t step, Err *e);
/* Whether a run that goes on from here is over already. */
bool watch_over(const Watch *w);
/* --load-best-model-at-end: the policy becomes that of best/. */
bool watch_load_best(const Watch *w, Err *e);

/* --log-completions: completions.jsonl of the run gets a line for each of the last generation, and stderr
 * those of its first prompt. A run that goes on from a step drops what is behind it. */
bool watch_completions(const Watch *w, int64_t step, Err *e);
bool watch_resume(const Watch *w, int64_t step, Err *e);

#endif
