/* policy_mix.h: policies that write as one (E250): their folders and weights, given or as `grpo mix` wrote
 * them. */
#ifndef POLICY_MIX_H
#define POLICY_MIX_H

#include "run/speaker.h"

enum { MAX_POLICIES = 8 };
typedef struct {
    Speaker policy[MAX_POLICIES + 1];   /* policy[0] answers for all */
    int n;                              /* of them */
    bool with_reference;                /* the last of them is the reference, with what weight is left */
    const Model *model[MAX_POLICIES + 1];
    double weight[MAX_POLICIES + 1];
    Mixture mixture;
} PolicyMix;

/* weights NULL: one folder, as speaker_open takes it. Else folders with commas, and as many weights, none
 * below 0, as "0.5,0.5" or in a file of `grpo mix`; where they do not sum to 1 the reference (else not
 * looked at) is one more policy of weight 1 - sum. *x is zero before, does not move after, and is to be
 * closed also after a failure. */
bool policy_mix_open(PolicyMix *x, const char *folders, const char *weights, const char *reference,
                     const ChatChoice *chat, Err *e);
void policy_mix_close(PolicyMix *x);
void policy_mix_count(PolicyMix *x, Tally *t);          /* all their passes from here on */

#endif
