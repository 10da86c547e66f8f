/* reading.h: what the pages of the experiment read from `grpo report --json`: figures by section, arm and
 * seed.
 *
 * Everything points into the report, which the caller keeps. What is not there is NULL, NaN or no seeds. */
#ifndef READING_H
#define READING_H

#include "data/world.h"
#include "lib/json.h"
#include "lib/stats.h"

enum { MAX_SEEDS = 64 };
/* One number a seed. */
typedef struct { double x[MAX_SEEDS], seed[MAX_SEEDS]; size_t n; } Seeds;

/* The object of a list whose "name" this is; an arm of a section of a report. */
const Json *named(const Json *list, const char *name);
const Json *arm_of(const Json *report, const char *section, const char *arm);
/* A figure of an arm's row: metric "judge" or "scores" with a label, or a plain one ("harmful") with label
 * NULL. */
const Json *cell(const Json *arm, const char *row, const char *metric, const char *label);

double number_of(const Json *v);
/* A figure of an arm by its seeds. */
Seeds seeds_of(const Json *arm, const Json *figure);
Seeds plain(const Json *arm, const char *row, const char *metric);
/* One label of the judge, or the mean of all four (label WORLD_LABELS). */
Seeds judged(const Json *arm, const char *row, int label);
/* Of a, the seeds that b has too; and a - b, seed by seed: what only one of them has is left out. */
Seeds shared(Seeds a, Seeds b);
Seeds minus(Seeds a, Seeds b);
/* Whether a difference's interval leaves out 0. One seed has no interval and decides nothing. */
typedef enum { NOT_RUN, FELL, NOT_DECIDED, ROSE } Change;
Change change(Seeds d);
/* Of an arm's costs: "measured_flops", "cpu_seconds" ... */
double cost(const Json *arm, const char *key);

/* ".49", "+.37", "-.08 ± .03": two places, no leading zero. */
const char *number(char out[16], double x, bool sign);
void print_figure(Seeds s, bool sign);
/* "0.25M, 3 seeds: SFT, GRPO, PPO (2)." of every section; reduced: what was set otherwise, "": nothing. */
void what_was_run(const Json *report, const char *reduced);
/* The head of a table with the judge's four labels. */
void labels_head(const char *first);

#endif
