/* stages.h: each stage of a GRPO step computed again, from the dump's own numbers before it where it has
 * them.
 *
 * So one wrong stage does not make the following ones wrong. Every right value comes from the functions that
 * training uses (model.c, reward.c, grpo.c, lib/optim.c). A Case is a set of inputs and settings;
 * verify/mistakes.c changes a copy of it, and the fields at its end are for that only. */
#ifndef VERIFY_STAGES_H
#define VERIFY_STAGES_H

#include "verify/dump.h"

typedef struct Case Case;
typedef bool AdvantageFormula(real *adv, const Case *c, Pool *p, Err *e);
typedef void KlFormula(double *k, double *dk, double logp, double ref);

typedef struct { const Model *policy, *old, *reference; } Policies;                /* NULL: not given */

struct Case {
    const Dump *d;
    DumpSettings s;
    Policies model;
    size_t first, count; /* completions that the model stages compute: others are left as they are */
    const unsigned char *real_token; /* [n, width] tokens of the completions, as the ids say where they do */
    const unsigned char *loss_token;    /* [n, width] those of them that ought to take part in the loss */
    const unsigned char *mask;          /* [n, width] those that do: the dump's own mask where it has one */
    const real
        *score; /* what stands before each stage, [n, width] or [n]; NULL: neither there nor to be had */
    const double *weight;
    const real *reward, *advantage, *logp, *old, *ref, *sampler, *entropy, *isr, *ratio, *kl, *token_loss,
        *dlogp;
    bool isr_per_row, ratio_per_row;
    const real *grad;                   /* [n_trainable] what the step is made of, before clipping */
    double grad_norm;                   /* NaN: to be computed */

    /* ---- what no setting reaches; all 0 in a right case ---- */
    AdvantageFormula *advantage_formula;
    struct {
        int ddof;
        double eps, label_eps;
        bool eps_in_root, batch_mean, batch_std, no_mean, single_scored, rloo, interleaved, nan_to_zero,
            by_token, nan_without_spread;
    } statistics;
    KlFormula *kl_formula;              /* also: dump's own KL is not used */
    double policy_sign;                 /* of the policy term; 0: 1 */
    const double *row_weight;           /* [n] c_i instead of E112's */
    const double
        *ratio_slope; /* [n, width] d log ratio by its own logp, in units of the right one; NULL: 1 */
    bool shift, kept_only, pad_positions, zero_logits;          /* kept_only is right for the sampler alone */
    int round_logits, round_logp;       /* a Precision; 0 (F64): none */
    int round_hidden;
    bool drop_head_grad, drop_embed_grad;
    void (*grad_back)(real *grad, const Model *m); /* from the changed model's parameters to the file's */
    bool adam_l2, adam_decay_all;
    double adam_eps_factor, clip_max_factor;            /* 0: 1 */
};

/* The right case. Inputs that the dump lacks are computed; memory from p. */
bool case_open(Case *c, const Dump *d, const Policies *model, Pool *p, Err *e);
/* NULL if the stage can be computed; else why not, in a few words. */
const char *stage_obstacle(const Case *c, Stage s);
/* The stage's value: [n, width], [n], [1], or [n_trainable] for the two families; logits [count, width,
 * vocab]. What is not computed stays. */
bool stage_compute(real *out, const Case *c, Stage s, Pool *p, Err *e);
size_t stage_size(const Case *c, Stage s);
/* Whether the stage has a value per completion ([n]) under these settings. */
bool stage_per_row(const Case *c, Stage s);

/* whole rows: may column t, before the completion, be a token of the prompt */
bool row_prompt_token(const Dump *d, size_t i, size_t t);
double case_row_count(const Case *c, size_t i);                 /* n_i */
double *case_row_weights(const Case *c, Pool *p, Err *e);       /* [n] c_i that this case uses */
/* sum |c_it m_it l_it| of our own token losses, or the dump's, and the entropy bonus: how large the terms are
 * that the loss is the sum of. */
bool case_loss_scale(double *scale, const Case *c, Pool *p, Err *e);
GrpoMicro case_micro(const Case *c, Pool *p, Err *e);
GrpoWindow case_window(const Case *c);
void case_input(GrpoIn *in, size_t *offset, const Case *c);     /* offset: [n + 1] of the caller */
real round_to(real x, Precision to);
bool case_on_policy(const Case *c);                             /* E81: old is the policy itself */

#endif
