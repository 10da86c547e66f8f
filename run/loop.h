/* loop.h: the frame of every command that trains: options, plan, folder, the loop with its log, checkpoints
 * and progress, the cost, the end. A method says what an update is, what is logged of it, and how a run ends.
 */
#ifndef LOOP_H
#define LOOP_H

#include "run/health.h"
#include "run/learner.h"

typedef struct Watch Watch;             /* run/watch.h */

/* What every method's state begins with. The method sets trainer and, for updates from the examples of a data
 * set, the fields below it; the rest is the frame's. */
typedef struct {
    const void *config;                 /* the command's options, of which *o are those of the run */
    const RunOptions *o;
    Run run;
    Costs cost;                         /* measured as it happens; predicted when it is told */
    double tokens;                      /* rows read so far */
    Trainer *trainer;                   /* counts the updates */
    int unit;                           /* updates from one line of the log to the next; 0: 1 */
    bool inside;                        /* in the middle of a generation: no checkpoint now */
    Order order;                        /* of the examples: */
    int batch;                          /* taken by an update */
    TextsOf *texts_of;
    const void *texts;
    Watch *watch;                       /* the method's, or NULL: nothing is watched */
    double smooth;                      /* a running mean of the loss, for the progress line */
    char final[600], hex[65];           /* once it is written, after so many updates of what it holds: */
    int64_t updates;
    int signal;                         /* that ended the run, 0: none */
    Health health;
} Training;

typedef struct {
    const OptionTable *table;
    size_t config_size, run_at,
        state_size; /* bytes of the options, place of RunOptions in them, bytes of the state */
    void (*defaults)(void *config);     /* of what no option says; NULL: nothing */
    bool (*open)(void *self,
                 Err *e); /* options checked, data and networks loaded, memory told before it is taken */
    void (*hold)(void *self);           /* memory into cost, predicted and measured */
    bool (*update)(void *self, Err *e); /* one update; or all that stands between two lines of the log */
    void (*log)(JsonWriter *w, void *self);             /* members of the line, behind "step" */
    bool (*evaluate)(void *self, Err *e);       /* the held-out data, into the watch; NULL: it has none */
    void (*detail)(char text[128], void *self);         /* for the progress line, without the rate */
    bool (*predict)(Cost *c, void *self, int64_t n_step, Err *e);       /* E194: what n_step updates take */
    bool (*plan)(RunPlan *p, void *self,
                 Err *e); /* in place of open and a run; NULL: some updates are timed */
    bool (*finish)(JsonWriter *w, void *self,
                   Err *e); /* the result: on stdout, or with --json as members of *w */
    void (*close)(void *self);          /* also after a failure */
} Method;

/* Runs the command; plan: as `grpo info --run` wants it, else NULL. Exit code, or -1 with e filled in.
 * SIGINT, SIGTERM and SIGHUP end a run after the update, or generation, under way, with a checkpoint and the
 * exit code 128 + signal; a second one ends it at once. */
int loop_command(const Method *m, RunPlan *plan, int argc, char **argv, Err *e);

/* For methods: the loss into the running mean; an example's place in the
 * data. */
void training_smooth(Training *t, double loss);
/* An update takes `batch` examples, the last one of an epoch those that are left: none is of two epochs. */
int64_t training_per_epoch(const Training *t);          /* updates */
int64_t training_read(const Training *t, int64_t step); /* examples, before so many updates */
int training_count(const Training *t);                  /* examples of the coming update */
int training_example(Training *t, int i);               /* the i-th of them */
Texts training_texts(Training *t, int64_t n_step);      /* of all that so many updates take */
double training_epoch(const Training *t); /* passes over the data so far, in micro-batches as TRL counts */
/* Writes final/, and steps, key: value, final and sha256 as members of *w; training_tell then prints, unless
 * --json is given, "DIR: N steps, TOLD, weights HEX" and `behind`. */
bool training_final(JsonWriter *w, Training *t, Learner *l, const char *key, double value, Err *e);
void training_tell(const Training *t, const char *told, const char *behind);
/* Ends the object *table, which tells of held-out data: it becomes eval.json of the run and the member
 * "held_out" of *w, and its memory is freed. */
bool training_held(JsonWriter *w, const Training *t, JsonWriter *table, Err *e);

#endif
