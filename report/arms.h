/* arms.h: runs side by side: sections of arms, an arm being one or several runs that differ in their seed;
 * what they replied, and the figures of it.
 *
 * An arm is compared with the first of its section, its baseline. Figures are means over runs with Student's
 * 95 % interval; of a single run the interval is over prompts. A difference is taken run by run, from the
 * baseline's run of the same seed (or its only one), and of a single run prompt by prompt. */
#ifndef ARMS_H
#define ARMS_H

#include "run/run_files.h"

enum { MAX_RUNS = 32, MAX_QUANTITIES = 160, MAX_SPLITS = 64, NAME_SIZE = 128 };

/* "judge", "scores", or the reply's own columns */
typedef enum { OF_JUDGE, OF_MODEL, OF_REPLY } Origin;
/* the mean over labels is named mean_judge, mean_scores */
typedef struct { Origin origin; char name[64]; } Quantity;

typedef struct {
    const char *prompt, *completion;
    int split;
    double *value;                      /* [n_quantity]; NaN: not there */
} ArmReply;

typedef struct {
    char dir[1024];
    RunFiles files;                     /* files.config NULL: a folder with replies alone */
    JsonLines timing, reply_lines;
    Json *verdicts, *data,
        *held_out; /* verdicts.json, data.json, of a reward model eval.json; NULL without */
    double seed;                        /* NaN without config.json */
    ArmReply *reply;
    int n_reply;
    double distinct[MAX_SPLITS + 1];    /* by row: share of completions that differ from all before them */
} ArmRun;

typedef struct { char name[NAME_SIZE]; ArmRun *run; int n_run; } Arm;

typedef struct {
    char name[NAME_SIZE];               /* "" for the unnamed one */
    Arm *arm;                           /* arm[0]: the baseline */
    int n_arm;
    Quantity quantity[MAX_QUANTITIES]; /* of the replies: judge's labels and their mean, reward model's, then
                                          the reply's own columns, "distinct" last */
    int n_quantity;
    const char *split[MAX_SPLITS + 1];  /* names of the rows in order of appearance, then "all" */
    int n_split;                        /* row n_split is "all" */
} Section;

/* tables: the options of the commands that make runs, NULL at the end; the caller's. */
typedef struct { Section *section; int n; const OptionTable *const *tables; } Arms;

/* Adds the arm that "[SECTION/][NAME=]RUN[,RUN...]" says, and reads its folders: config.json, log.jsonl,
 * timing.jsonl, replies.jsonl, verdicts.json, data.json, and of a reward model eval.json. A folder without
 * config.json and log.jsonl is fine if it has replies. False: no run, a broken line, seeds whose options
 * differ, another set of labels, other prompts or another outside judge than the section's arms before. */
bool arms_add(Arms *a, const char *text, Err *e);
/* The same for one run of the unnamed section, whose folder may have any name. */
bool arms_add_folder(Arms *a, const char *name, const char *dir, Err *e);
void arms_free(Arms *a);
/* Whether none of the runs goes on, by their logs. */
bool arms_are_over(const Arms *a);

/* "train", "sft", ...; "" for a folder with replies alone. */
const char *arm_command(const Arm *a);
bool arm_has_replies(const Arm *a);
int section_n_reply(const Section *s, int row);                             /* of one run */
/* index of a quantity, -1: there is none */
int section_find(const Section *s, Origin origin, const char *name);

bool quantity_is_mean(const Quantity *q);                                   /* over labels */
/* What differences are told of: the judge's labels, or the reward model's where no judge was asked. */
Origin section_told(const Section *s);

/* index of the mean over its labels, -1 */
int section_told_mean(const Section *s);
/* the first run with replies, which all others are paired with; NULL: no arm has replies */
const ArmRun *section_pattern(const Section *s);

/* mean +- half over n values; by_run[i] belongs to the arm's run i. half is NaN where there is no interval.
 */
typedef struct { double mean, half; int n; bool over_prompts; double by_run[MAX_RUNS]; } Figure;
Figure arm_figure(const Section *s, const Arm *a, int row, int quantity);
Figure arm_difference(const Section *s, const Arm *a, int row, int quantity);   /* from s->arm[0] */
Figure figure_of(const double *by_run, int n);
/* One run's own mean, its interval over prompts. */
Figure run_figure(const Section *s, const ArmRun *r, int row, int quantity);
/* +1 rose, -1 fell: the interval leaves out 0; 0: not decided. */
int figure_verdict(const Figure *f);

/* Of a reward model's held-out rows: a metric of a label, as eval.json names both; over seeds. */
Figure arm_held_out(const Arm *a, const char *label, const char *metric);

/* Whether an option can change a number of a run, and is the same in all runs of an arm (no seed, no file).
 */
bool arm_shares_option(const char *name);

double log_step(const Json *line);
double json_member(const Json *v, const char *key);     /* a number by its key, dots and all; NaN without */
/* a number by its path, such as "measured.tokens.prompt"; NaN without */
double json_path(const Json *v, const char *path);

/* Means over an arm's runs; NaN where none has it. */
double arm_cost(const Arm *a, const char *path);        /* of the log's cost line, by its path */
/* Its sum over kinds (NULL at the end) of one part, such as "measured.memory". */
double arm_cost_total(const Arm *a, const char *part, const char *const *kind);
double arm_timing(const Arm *a, const char *key);       /* of the last line of timing.jsonl that has it */
/* of data.json: the part of the costs that the data took, by its path */
double arm_data_cost(const Arm *a, const char *path);
double arm_seconds(const Arm *a);                       /* train_runtime, or the sum of step_time */
extern const char *const token_kind[], *const memory_kind[];

#endif
