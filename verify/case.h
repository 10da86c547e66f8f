/* case.h: a set of inputs and settings from which the stages of a dump are computed.
 *
 * verify/mistakes.c changes a copy of it, and the fields at its end are for that only. */
#ifndef VERIFY_CASE_H
#define VERIFY_CASE_H

#include "verify/dump.h"

typedef struct Case Case;
typedef void KlFormula(double *k, double *dk, double logp, double ref);

typedef struct { const Model *policy, *old, *reference; } Policies;                /* NULL: not given */

struct Case {
    const Dump *d;
    DumpSettings s;
    Policies model;
    const int *group;                   /* [n] 0 .. n_group - 1: group_ids, or prompts; NULL: side by side */
    size_t n_group;
    bool by_prompt;                     /* group says so: prompts stand in another order than side by side */
    size_t group_found;                 /* num_generations by the numbers, for the config has none; else 0 */
    size_t first, count; /* completions that the model stages compute: others are left as they are */
    const unsigned char *real_token; /* [n, width] tokens of the completions, as the ids say where they do */
    const unsigned char *loss_token;    /* [n, width] those of them that ought to take part in the loss */
    const unsigned char *mask;          /* [n, width] those that do: the dump's own mask where it has one */
    const real
        *score; /* what stands before each stage, [n, width] or [n]; NULL: neither there nor to be had */
    const double *weight;
    const real *reward, *advantage, *logp, *old, *ref, *sampler, *entropy, *isr, *ratio, *kl, *token_loss,
        *dlogp;
    const real *advantage_token;        /* [n, width] where they differ within a completion, else NULL */
    const unsigned char *policy_mask, *kl_cov;          /* [n, width] E136, E137; NULL: none */
    bool isr_per_row, ratio_per_row;
    const real *grad;                   /* [n_trainable] what the step is made of, before clipping */
    double grad_norm;                   /* NaN: to be computed */

    /* ---- what no setting reaches; all 0 in a right case ---- */
    struct { bool eps_in_root, interleaved, nan_to_zero, nan_without_spread; } statistics;
    KlFormula *kl_formula;              /* also: dump's own KL is not used */
    double policy_sign;                 /* of the policy term; 0: 1 */
    const double *row_weight;           /* [n] c_i instead of E112's */
    const double
        *ratio_slope; /* [n, width] d log ratio by its own logp, in units of the right one; NULL: 1 */
    const double *policy_slope;         /* [n, width] factor of the policy term's derivative alone; NULL: 1 */
    bool shift, kept_only, pad_positions, zero_logits;          /* kept_only is right for the sampler alone */
    int round_logits, round_logp;       /* a Precision; 0 (F64): none */
    int round_hidden;
    bool drop_head_grad, drop_embed_grad;
    void (*grad_back)(real *grad, const Model *m); /* from the changed model's parameters to the file's */
    bool adam_l2, adam_decay_all;
    double adam_eps_factor, clip_max_factor;            /* 0: 1 */
};

double case_row_count(const Case *c, size_t i);                 /* n_i */

#endif
