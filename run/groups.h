/* run/groups.h: groups of preference pairs by a column of their data set. */
#ifndef RUN_GROUPS_H
#define RUN_GROUPS_H

#include "baselines/robust.h"
#include "run/pairs.h"

typedef struct {
    RobustConfig config;
    int n;                              /* 0: pairs have no groups */
    char name[GROUPS_MOST][64];         /* in the order of first appearance in the training part */
    double count[GROUPS_MOST], q[GROUPS_MOST];  /* training pairs of a group; its weight */
} Groups;

/* The groups of all pairs, those of the training part first: *train and *held were made from the rows of data
 * and held_data. A group is a text or a number, and has at least 2 training pairs. The weights are those to
 * start with. */
bool groups_read(Groups *g, const char *column, PairSet *train, const Dataset *data, PairSet *held,
                 const Dataset *held_data, Err *e);

/* loss/GROUP, accuracy/GROUP and weight/GROUP as members of *w; null for a group without pairs. */
void groups_log(JsonWriter *w, const Groups *g, const GroupSums *sums);
/* What is told of held-out pairs is a list of rows: loss/GROUP and accuracy/GROUP of each, then of the worst
 * (E217). True with the name and value of row k, NaN for a group without pairs; false behind the last. */
bool groups_row(char name[96], double *value, const Groups *g, const GroupSums *sums, int k);

#endif
