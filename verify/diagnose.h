/* diagnose.h: the dump against what is right, and where it differs, which known mistake explains the
 * difference. */
#ifndef VERIFY_DIAGNOSE_H
#define VERIFY_DIAGNOSE_H

#include "verify/judge.h"

/* Compares and diagnoses; quick: no search for pairs. ours: a file that our float build wrote for the same
 * dump, or NULL. */
bool report_make(Report *r, const Dump *d, const Policies *model, const char *ours, bool quick, Err *e);
void report_free(Report *r);
/* Right: every judged stage is right, or right as the declared dialect. Choice: no error, but at least one
 * stage as another program computes it on purpose. */
typedef enum { OUTCOME_RIGHT, OUTCOME_CHOICE, OUTCOME_WRONG } Outcome;
Outcome report_outcome(const Report *r);
void blind_counts(const Report *r, int *blind, int *all);       /* of those that were tried */

#endif
