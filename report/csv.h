/* csv.h: the logs of the runs of `grpo report` as one table, for a spreadsheet. */
#ifndef CSV_H
#define CSV_H

#include "report/arms.h"

/* A row a line of a run's log: section, arm, run, seed, step, and a column for each number that some line
 * has, in the order of their first appearance; what a line lacks is empty. Texts are quoted where they must
 * be (RFC 4180). The caller frees it; NULL: no memory. */
char *report_csv(const Arms *arms);

#endif
