/* words.h: what verify found, in words for somebody who has never seen this program. */
#ifndef VERIFY_WORDS_H
#define VERIFY_WORDS_H

#include "verify/diagnose.h"

/* "another choice: ... [D16-token-mean], as OpenRLHF does (loss.py: PolicyLoss)": the words of a verdict. */
void report_verdict(char *out, size_t size, const Report *r, Stage s);
/* "verl-0.9.1 does: aggregation token mean of an update (core_algos.py: agg_loss)": what the declared program
 * computes there; empty where there is no choice. */
void report_declared(char *out, size_t size, const Report *r, Stage s);
/* The whole report in one line: "right", "wrong: loss: ...", "right, but as another trainer does: ...". */
void report_answer(char *out, size_t size, const Report *r);

#endif
