/* grpo.h: GRPO itself: advantages, ratios, KL, every loss type with its derivative, metrics.
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
#include "lib/settings.h"
#include "reward.h"

typedef enum { LOSS_GRPO, LOSS_BNPO, LOSS_DR_GRPO, LOSS_DAPO, LOSS_CISPO, LOSS_SAPO, LOSS_VESPO, LOSS_LUSPO,
               LOSS_GMPO } LossType;                            /* gmpo: TRL's own trainer for it (E106) */
/* E91, E92, E93 (ours) */
typedef enum { LEVEL_TOKEN, LEVEL_SEQUENCE, LEVEL_SEQUENCE_TOKEN } ImportanceLevel;
typedef enum { SCALE_GROUP, SCALE_BATCH, SCALE_NONE } ScaleRewards;                     /* E84, E85, E86 */
/* E60, E63, E64 (ours) */
typedef enum { SUM_THEN_NORMALIZE, NORMALIZE_THEN_SUM, MO_GRPO } Aggregation;
/* E110 */
typedef enum { ISR_TOKEN_TRUNCATE, ISR_TOKEN_MASK, ISR_SEQUENCE_TRUNCATE, ISR_SEQUENCE_MASK } IsrMode;

/* Option values as TRL spells them, in the order of the enums, NULL at the end. */
extern const char *const loss_type_names[], *const importance_sampling_level_names[],
                                                *const scale_rewards_names[],
                                                    *const multi_objective_aggregation_names[],
                                                        *const importance_sampling_mode_names[];

/* Names and defaults of TRL 1.16's GRPOConfig; NaN = None. What only the program's loop uses is elsewhere. */
typedef struct {
    LossType loss_type;                         /* dapo */
    ImportanceLevel importance_sampling_level;  /* token */
    double epsilon, epsilon_high, delta;        /* 0.2, NaN = epsilon, NaN = off */
    double dual_clip;                           /* NaN = off; E107's c (ours; verl's default is 3) */
    double beta;                                /* 0 */
    bool use_bias_correction_kl;                /* true: E96 */
    double top_entropy_quantile;                /* 1 */
    double off_policy_mask_threshold;           /* NaN = off */
    double sapo_temperature_pos, sapo_temperature_neg;                      /* 1, 1.05 */
    double vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg;    /* 2, 3, 3, 2 */
    double entropy_coef;                        /* 0 */
    bool use_adaptive_entropy;                  /* false */
    double entropy_target, entropy_coef_delta, entropy_coef_min, entropy_coef_max;      /* 0.2, 0.005, 0, 1 */
    ScaleRewards scale_rewards;                 /* group */
    Aggregation multi_objective_aggregation;    /* sum_then_normalize */
    MissingLabels missing_labels;               /* zero (ours) */
    double std_eps;                             /* 1e-4 (TRL has it fixed) */
    int num_generations, num_iterations;        /* 8, 1 */
    int max_completion_length;                  /* 512 */
    bool mask_truncated_completions;            /* false */
    bool importance_sampling_correction;        /* true; TRL writes vllm_ before these four */
    IsrMode importance_sampling_mode;           /* sequence_mask */
    double importance_sampling_clip_min, importance_sampling_clip_max;      /* NaN = none, 3 */
} GrpoConfig;
/* The rows of a GrpoConfig: what generations need, what the loss needs, and what only a foreign sampler
 * needs. */
extern const Setting grpo_group_settings[], grpo_settings[], grpo_sampler_settings[];
void grpo_config_default(GrpoConfig *c);
/* ranges, and settings that exclude each other */
bool grpo_config_check(const GrpoConfig *c, Err *e);
double grpo_epsilon_high(const GrpoConfig *c);                  /* epsilon_high, or epsilon if not given */

/* ---- E82 to E89: advantages ---- */
typedef struct { double reward, reward_std, frac_reward_zero_std; } GrpoRewardStats;    /* E122 */

/* E82 to E87. reward, adv [n], n a multiple of group_size; NaN = unscored, adv 0 there. adv may be reward.
 * stats may be NULL. frac_reward_zero_std with "batch" looks at the batch's deviation, as TRL's code does. */
void grpo_advantage(real *adv, GrpoRewardStats *stats, const real *reward, size_t n, size_t group_size,
                    ScaleRewards scale, double std_eps);

/* Scores [n, n_label] to reward [n] (E60) and adv [n] by the configured aggregation, missing-label rule and
 * scaling. */
void grpo_score_advantage(real *adv, real *reward, GrpoRewardStats *stats, const real *score,
                          const double *weight, size_t n, size_t n_label, size_t group_size,
                          const GrpoConfig *c);

/* E89: leave-one-out over the scored members; NaN, and the only scored one of a group: 0. normalize: whitened
 * over the batch. adv must not be reward. */
void grpo_rloo_advantage(real *adv, const real *reward, size_t n, size_t group_size, bool normalize,
                         double std_eps);

/* ---- E90 to E110: one token, or one completion ---- */
/* E94, E302: expm1(d) - d with d = ref - logp, no cancellation */
double grpo_k3(double d);
/* E94, E95: k[3] and dk[3] (by logp) for k1, k2, k3. */
void grpo_kl(double k[3], double dk[3], double logp, double ref);

/* Each returns ell (to be minimised) and sets *g: d ell / d log rho for the first three, d ell / d logp for
 * the last two. */
/* E99 to E101; delta NaN: off */
double grpo_clipped(double *g, double rho, double adv, double low, double high, double delta);
/* E107 */
double grpo_dual_clip(double *g, double log_ratio, double adv, double low, double high, double c);
/* E103 */
double grpo_sapo(double *g, double rho, double adv, double temperature);
/* E102 */
double grpo_cispo(double *g, double rho, double adv, double logp, double high);
/* E104 */
double grpo_vespo(double *g, double phi, double adv, double logp);
double grpo_vespo_phi(double log_w, double k, double lambda);   /* E104: phi of the unclipped sum W */

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
} GrpoWindow;

typedef struct {                        /* of one micro-batch; grpo_micro fills it in */
    size_t n_completion;                /* B */
    double n_token;                     /* sum m */
    double entropy_threshold;           /* E109; -infinity without */
    double n_entropy_token;             /* sum m em */
} GrpoMicro;

/* Of a whole micro-batch: needs mask, and entropy if top_entropy_quantile < 1; then scratch holds one double
 * a token, else it may be NULL. */
void grpo_micro(GrpoMicro *m, const GrpoIn *in, const GrpoConfig *c, double *scratch);

/* E109: the q-quantile of x[n] by linear interpolation; sorts x; n 0: +infinity. */
double grpo_quantile(double *x, size_t n, double q);

/* E112: c_it for a completion with n_i loss tokens. */
double grpo_token_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i);

typedef struct {                        /* carried from slice to slice; grpo_sums_start makes it empty */
    double policy, entropy_bonus;       /* sum c m l;  sum m em H */
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

/* What grpo_loss works with, for those who want to see it: completion i of `in`, and token[0 ..] its tokens.
 * Same functions, same values. */
typedef struct {
    bool counts,
        clipped; /* m_it; E100's act = 0 (cispo: the weight is cut): the policy term gives no gradient here */
    double log_ratio, ratio;            /* E90; E91, or the completion's of E92 */
    double ell, g; /* E99 to E107 and its derivative; NaN in gmpo, whose loss belongs to the completion */
    double factor;                      /* opm em isr of E111 */
    double k3, kl;                      /* E94, and as it enters the loss (E96); NaN if beta = 0 */
    double loss, weight;                /* E111: l_it; E112: c_it */
} GrpoToken;
/* A_i, n_i, c_it, E92, E108, E104 */
typedef struct { double adv, n, weight, mean_log_ratio, rho, keep, phi; } GrpoTold;
void grpo_tell(GrpoTold *whole, GrpoToken *token, const GrpoIn *in, size_t i, const GrpoConfig *c,
               const GrpoWindow *w, const GrpoMicro *m);

/* E122 of one micro-batch. NaN: does not exist for these settings. */
typedef struct {
    double policy_loss;                 /* before the division by GA, as TRL logs it */
    double kl, entropy;
    double clip_low_mean, clip_low_min, clip_high_mean, clip_high_max, clip_region_mean;
    double cispo_clip_ratio, vespo_phi_seq_mean;
} GrpoMetrics;
/* in the order of the struct, NULL at the end */
enum { GRPO_N_METRIC = 10 };
double grpo_metric(const GrpoMetrics *m, int i);                /* its i-th member */
extern const char *const grpo_metric_names[];
void grpo_metrics(GrpoMetrics *out, const GrpoSums *s, const GrpoConfig *c, const GrpoWindow *w);

/* ---- E110, E116, E118, E119, E81 ---- */
typedef struct { double logp_difference_mean, logp_difference_max, ratio_mean; } GrpoSamplerStats;
/* E110: ratio [n_token] in token modes, [n_completion] in sequence modes; needs offset, old, sampler, mask of
 * in. In token modes 1 where masked. stats may be NULL; differences are over loss tokens whose sampler value
 * is known, ratio_mean over loss tokens (completions in sequence modes); 0 if there are none. */
void grpo_importance_ratio(real *ratio, GrpoSamplerStats *stats, const GrpoIn *in, IsrMode mode,
                           double clip_min, double clip_max);
bool grpo_isr_per_token(IsrMode mode);

/* E116: the controller's state; saved in checkpoints. */
typedef struct { double coef, last_window_entropy; } GrpoEntropyControl;
void grpo_entropy_start(GrpoEntropyControl *s, const GrpoConfig *c);            /* entropy_coef, +infinity */
/* what acts in the coming step */
double grpo_entropy_coef(const GrpoEntropyControl *s, const GrpoConfig *c);
/* after a step */
void grpo_entropy_step(GrpoEntropyControl *s, const GrpoConfig *c, double entropy_sum, double n_token);

double grpo_overlong_penalty(size_t length, size_t max_length, size_t cache);   /* E118 */
/* E119: mask 0 for every token of a completion that did not end with eos (or pad). ended [n_completion]. */
void grpo_mask_truncated(unsigned char *mask, const size_t *offset, const unsigned char *ended,
                         size_t n_completion);
/* E81: true if TRL would take old = logp from the same pass. */
bool grpo_aligned(int gradient_accumulation_steps, int steps_per_generation, int num_iterations);

#endif
