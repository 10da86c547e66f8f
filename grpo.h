/* grpo.h: GRPO itself: advantages, ratio, clip, KL, normalisations, the loss with its derivative, metrics.
 *
 * Ragged arrays: completion i owns tokens offset[i] .. offset[i+1]-1 of the flat [n_token] arrays. Arrays are
 * `real`, everything in between is double, one rounding at the end. Nothing here allocates or knows the
 * model.
 *
 * One optimiser step ("window") has GA micro-batches. For each: grpo_micro once (what the normalisation needs
 * of the whole micro-batch), then grpo_loss over all its completions or slice by slice, any cut between
 * completions, with the same GrpoSums carried on: the bits do not depend on the cut. Then grpo_loss_value and
 * grpo_metrics. The window's loss is the sum of the micro-batches' (E117); metrics are averaged, NaN left
 * out, as TRL logs them. */
#ifndef GRPO_H
#define GRPO_H

#include "lib/base.h"
#include "lib/real.h"
#include "grpo_config.h"

/* ---- E82 to E87: advantages ---- */
typedef struct { double reward, reward_std, frac_reward_zero_std; } GrpoRewardStats;    /* E122 */

/* E82 to E87. reward, adv [n], n a multiple of group_size; NaN = unscored, adv 0 there. adv may be reward.
 * stats may be NULL. frac_reward_zero_std with "batch" looks at the batch's deviation, as TRL's code does. */
void grpo_advantage(real *adv, GrpoRewardStats *stats, const real *reward, size_t n, size_t group_size,
                    ScaleRewards scale, double std_eps);

/* Whether the advantage is made of the reward alone (E84 to E86), not of the labels' own z-scores. */
bool grpo_from_reward(const GrpoConfig *c);
/* Whether the weights of the labels count (E60 to E64). */
bool grpo_weighs(const GrpoConfig *c);
/* The reward [n] of n completions: E60, the scores of the label that is worst off in the n (E221), or the
 * lowest of each completion. Returns what reward_weighted_sum does. */
bool grpo_reward(real *reward, const real *score, const double *weight, size_t n, size_t n_label,
                 size_t group_size, const GrpoConfig *c);
/* E126 to E128 as configured. */
AdvantageRule grpo_advantage_rule(const GrpoConfig *c);
/* Whether the advantage of a reward is E82 to E87 and nothing else. */
bool grpo_advantage_is_plain(const GrpoConfig *c);
/* Scores [n, n_label] to reward [n] (E60) and adv [n] by the configured aggregation, missing-label rule and
 * scaling. length [n]: loss tokens, where baseline or whitening ask for them, else may be NULL. */
void grpo_score_advantage(real *adv, real *reward, GrpoRewardStats *stats, const real *score,
                          const double *weight, const double *length, size_t n, size_t n_label,
                          size_t group_size, const GrpoConfig *c);

/* E129 as configured; length as above. */
void grpo_whiten_advantage(real *adv, const double *length, size_t n, const GrpoConfig *c);

/* ---- E94 to E100: one token ---- */
/* E99, E100: ell (to be minimised) and *g = d ell / d log rho; low, high: epsilon, epsilon_high */
double grpo_clipped(double *g, double rho, double adv, double low, double high);
/* E94, E302: expm1(d) - d with d = ref - logp, no cancellation */
double grpo_k3(double d);
/* E94, E95: k[3] and dk[3] (by logp) for k1, k2, k3. */
void grpo_kl(double k[3], double dk[3], double logp, double ref);
/* E130, E131: the configured estimate and what is trained on as its derivative by logp; ratio apart (E96). */
double grpo_kl_estimate(double *dk, double logp, double ref, const GrpoConfig *c);

/* ---- the batch ---- */
typedef struct {
    size_t n_completion;
    const size_t *offset;               /* [n_completion + 1] */
    const real *logp;                   /* [n_token] the policy being trained */
    const real *old;                    /* [n_token], NULL: = logp (E81) */
    const real *ref;                    /* [n_token], may be NULL if beta = 0 */
    const real *sampler; /* [n_token] as the sampler reported, NaN = unknown; NULL: = old (E108) */
    const real *isr_token;              /* [n_token] or */
    const real *isr_sequence;           /* [n_completion]: E110; both NULL: 1 */
    const unsigned char *mask;          /* [n_token] 1 = loss token; NULL: all 1 */
    const real *entropy; /* [n_token]; NULL if no bonus, no entropy mask and no metric is wanted */
    const real *advantage;              /* [n_completion] */
    const real *advantage_token;        /* [n_token], NULL: the completion's */
    const double *row_weight;           /* [n_completion] times c_it (E139), NULL: 1 */
    const unsigned char *policy_mask;   /* [n_token] 0: no policy term (E136), NULL: all have it */
    const unsigned char *kl_cov;        /* [n_token] 1: those that E137 holds back; NULL: none */
} GrpoIn;

/* Completions first .. first + n - 1 of a batch, as a batch of their own: a view; token arrays keep their
 * indices. */
GrpoIn grpo_slice(const GrpoIn *in, size_t first, size_t n);

typedef struct {                        /* of the whole window; the caller fills it in */
    double n_item;                      /* N: loss tokens of the generation batch over all processes (E112) */
    int n_process;                      /* P: 1 */
    int gradient_accumulation_steps, steps_per_generation;      /* GA, S */
    bool training;                      /* false: GA and GA/S count as 1 */
    double entropy_coef;                /* that acts in this step: grpo_entropy_coef */
    double n_sequence;                  /* completions, as n_item; 0: the micro-batch's (E139) */
} GrpoWindow;

typedef struct {                        /* of one micro-batch; grpo_micro fills it in */
    size_t n_completion;                /* B */
    double n_token;                     /* sum m */
    double entropy_threshold;           /* E109; -infinity without */
    double n_entropy_token;             /* sum m em */
    double n_nonempty;                  /* completions with n_i > 0 */
} GrpoMicro;

/* Of a whole micro-batch: needs mask, and entropy if top_entropy_quantile < 1; then scratch holds one double
 * a token, else it may be NULL. */
void grpo_micro(GrpoMicro *m, const GrpoIn *in, const GrpoConfig *c, double *scratch);

/* E112, E138: c_it for a completion with n_i loss tokens; of its KL. */
double grpo_token_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i);
double grpo_kl_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i);
/* Of the entropy bonus; NaN: E115's mean over what E109 keeps. */
double grpo_entropy_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i);

typedef struct {                        /* carried from slice to slice; grpo_sums_start makes it empty */
    double policy, entropy_bonus;       /* sum c m l;  sum m em H */
    double weighed_bonus;               /* the same with weights of its own (E139), coef included */
    double n_token, n_completion, kl, entropy, n_entropy;
    double low, high, region, cispo, n_ratio, phi;
    double low_min, high_max;           /* NaN as long as no completion counted */
} GrpoSums;
void grpo_sums_start(GrpoSums *s);

/* E99 to E117: adds the completions of `in` to sums, and overwrites dlogp and dentropy at their tokens (0
 * where masked). dlogp, dentropy [n_token] may be NULL. dlogp = d loss / d logp, dentropy = d loss / d
 * entropy (E115). A ratio that overflows gives an infinite or NaN loss: the caller looks at grpo_loss_value
 * before it steps (E304). */
void grpo_loss(GrpoSums *sums, real *dlogp, real *dentropy, const GrpoIn *in, const GrpoConfig *c,
               const GrpoWindow *w, const GrpoMicro *m);
double grpo_loss_value(const GrpoSums *s, const GrpoWindow *w, const GrpoMicro *m);     /* E112, E115 */

/* What grpo_loss works with, for those who want to see it too: completion i of `in`, and token[0 ..] its
 * tokens. */
typedef struct {
    bool counts, clipped;               /* m_it; E100's act = 0 (cispo: the weight is cut) */
    double log_ratio, ratio;            /* E90; E91, or the completion's of E92 */
    double ell, g;                      /* E99 to E107; NaN in gmpo, whose loss belongs to the completion */
    double factor;                      /* opm em isr of E111 */
    double k3, kl;                      /* E94, and as it enters the loss (E96); NaN if beta = 0 */
    double loss, weight;                /* E111: l_it; E112: c_it */
    double term;                        /* what c_it multiplies: l_it with the KL in its own weight (E139) */
} GrpoToken;
typedef struct {                        /* what the tokens of a completion share */
    double adv, n, weight;              /* A_i, n_i, c_it */
    double kl_share, entropy_weight;    /* c_it of the KL over that; of the entropy, NaN: E115 */
    double mean_log_ratio, rho;         /* E92: s_i, rho_i */
    bool cut;                           /* E135: rho_i is a constant */
    double keep, phi, gmpo, isr;        /* E108: opm_i; E104; E106: J_i; E110, sequence modes, else 1 */
} GrpoTold;
void grpo_tell(GrpoTold *whole, GrpoToken *token, const GrpoIn *in, size_t i, const GrpoConfig *c,
               const GrpoWindow *w, const GrpoMicro *m);

/* E122 of one micro-batch: field and TRL's name. NaN: does not exist for these settings. policy_loss stands
 * before the division by GA, as TRL logs it. */
#define GRPO_METRICS(X) \
    X(policy_loss, "policy_loss") X(kl, "kl") X(entropy, "entropy") \
    X(clip_low_mean, "clip_ratio/low_mean") X(clip_low_min, "clip_ratio/low_min") \
    X(clip_high_mean, "clip_ratio/high_mean") X(clip_high_max, "clip_ratio/high_max") \
    X(clip_region_mean, "clip_ratio/region_mean") X(cispo_clip_ratio, "cispo_clip_ratio") \
    X(vespo_phi_seq_mean, "vespo/phi_seq_mean")
#define GRPO_FIELD(field, name) double field;
typedef struct { GRPO_METRICS(GRPO_FIELD) } GrpoMetrics;
extern const char *const grpo_metric_names[];           /* in this order, NULL at the end */
#define GRPO_ONE(field, name) + 1
enum { GRPO_N_METRIC = 0 GRPO_METRICS(GRPO_ONE) };
double grpo_metric(const GrpoMetrics *m, int i);        /* that of grpo_metric_names[i] */
void grpo_metrics(GrpoMetrics *out, const GrpoSums *s, const GrpoConfig *c, const GrpoWindow *w);

/* ---- E116, E119, E81 ---- */
/* E116: the controller's state; saved in checkpoints. */
typedef struct { double coef, last_window_entropy; } GrpoEntropyControl;
void grpo_entropy_start(GrpoEntropyControl *s, const GrpoConfig *c);            /* entropy_coef, +infinity */
/* what acts in the coming step */
double grpo_entropy_coef(const GrpoEntropyControl *s, const GrpoConfig *c);
/* after a step */
void grpo_entropy_step(GrpoEntropyControl *s, const GrpoConfig *c, double entropy_sum, double n_token);

/* E119: mask 0 for every token of a completion that did not end with eos (or pad). ended [n_completion]. */
void grpo_mask_truncated(unsigned char *mask, const size_t *offset, const unsigned char *ended,
                         size_t n_completion);
/* E81: true if TRL would take old = logp from the same pass. */
bool grpo_aligned(int gradient_accumulation_steps, int steps_per_generation, int num_iterations);

#endif
