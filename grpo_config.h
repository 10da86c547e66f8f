/* grpo_config.h: GRPO's settings: names, defaults and ranges. */
#ifndef GRPO_CONFIG_H
#define GRPO_CONFIG_H

#include "lib/base.h"
#include "lib/settings.h"
#include "reward.h"
#include "variants.h"

typedef enum { LOSS_GRPO, LOSS_BNPO, LOSS_DR_GRPO, LOSS_DAPO, LOSS_CISPO, LOSS_SAPO, LOSS_VESPO, LOSS_LUSPO,
               LOSS_GMPO } LossType;                            /* gmpo: TRL's own trainer for it (E106) */
/* E91, E92, E93 (ours) */
typedef enum { LEVEL_TOKEN, LEVEL_SEQUENCE, LEVEL_SEQUENCE_TOKEN } ImportanceLevel;
/* E60, E63, E64 (ours), E221 (ours): one label's scores, or of each completion the lowest */
typedef enum { SUM_THEN_NORMALIZE, NORMALIZE_THEN_SUM, MO_GRPO, WORST_GROUP, MIN_LABEL } Aggregation;
/* Option values as TRL spells them, in the order of the enums, NULL at the end. */
extern const char *const loss_type_names[], *const importance_sampling_level_names[],
    *const multi_objective_aggregation_names[];

/* Names of TRL 1.16's GRPOConfig (before the last four it writes vllm_); NaN = None. Defaults and meaning:
 * the rows below. What only the program's loop uses is elsewhere. */
typedef struct {
    LossType loss_type;
    ImportanceLevel importance_sampling_level;
    double epsilon, epsilon_high, delta, dual_clip, beta;
    bool use_bias_correction_kl;
    double top_entropy_quantile, off_policy_mask_threshold;
    double sapo_temperature_pos, sapo_temperature_neg;
    double vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg;
    double entropy_coef;
    bool use_adaptive_entropy;
    double entropy_target, entropy_coef_delta, entropy_coef_min, entropy_coef_max;
    ScaleRewards scale_rewards;
    Aggregation multi_objective_aggregation;
    MissingLabels missing_labels;
    /* what other trainers do otherwise: grpo_other_settings */
    double std_eps;                     /* TRL has it fixed */
    int std_ddof;
    Baseline baseline;
    ZeroStd zero_std;
    SingleReply single_reply;
    Whitening advantage_whitening;
    KlLoss kl_estimator;
    double kl_clamp_log_ratio, kl_clamp;
    KlGradient kl_gradient;
    PolicyTerm policy_term;
    double cispo_clip_min, cispo_clip_max, log_ratio_max, sequence_log_ratio_max;
    TokenSum loss_aggregation, kl_aggregation, entropy_aggregation;
    SumScope aggregation_scope;
    double aggregation_length;
    bool count_empty_rows;
    double clip_cov_ratio, clip_cov_min, clip_cov_max, kl_cov_ratio, kl_cov_coef;       /* E136, E137 */
    int num_generations, num_iterations, max_completion_length;
    bool mask_truncated_completions, importance_sampling_correction;
    IsrMode importance_sampling_mode;
    double importance_sampling_clip_min, importance_sampling_clip_max;
} GrpoConfig;
/* The rows of a GrpoConfig: what generations need, what the loss needs, what other trainers do otherwise, and
 * what only a foreign sampler needs. */
extern const Setting grpo_group_settings[], grpo_settings[], grpo_other_settings[], grpo_sampler_settings[];
void grpo_config_default(GrpoConfig *c);
/* ranges, and settings that exclude each other */
bool grpo_config_check(const GrpoConfig *c, Err *e);
double grpo_epsilon_high(const GrpoConfig *c);                  /* epsilon_high, or epsilon if not given */
bool grpo_clips(const GrpoConfig *c);                           /* whether the policy term is E99's */
bool grpo_term_is(const GrpoConfig *c, LossType t);             /* whether it is that loss type's own */

#endif
