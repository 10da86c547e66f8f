/* grpo_config.c: names, defaults and ranges of GRPO's settings.
 *
 * In this order: names, the rows of settings, what excludes each other. */
#include "grpo_config.h"

#include <float.h>

const char *const loss_type_names[] = {"grpo", "bnpo",  "dr_grpo", "dapo", "cispo",
                                       "sapo", "vespo", "luspo",   "gmpo", NULL};
const char *const importance_sampling_level_names[] = { "token", "sequence", "sequence_token", NULL };
const char *const multi_objective_aggregation_names[] = {"sum_then_normalize", "normalize_then_sum",
                                                         "mo_grpo", "worst_group", "min", NULL};

#define AT(member) offsetof(GrpoConfig, member)
const Setting grpo_group_settings[] = {
    {"num_generations", SET_INT, AT(num_generations), "8", NULL,
     "completions of one prompt, which are compared with each other"},
    {"max_completion_length", SET_INT, AT(max_completion_length), "512", NULL,
     "tokens of a completion at most"},
    {"missing_labels", SET_CHOICE, AT(missing_labels), "zero", missing_labels_names,
     "what an unscored label counts in the reward"},
    SETTINGS_END};
const Setting grpo_settings[] = {
    SETTINGS_HEADING("From scores to advantages"),
    {"scale_rewards", SET_CHOICE, AT(scale_rewards), "group", scale_rewards_names,
     "the deviation that divides the advantage"},
    {"multi_objective_aggregation", SET_CHOICE, AT(multi_objective_aggregation), "sum_then_normalize",
     multi_objective_aggregation_names,
     "how several labels become one advantage; worst_group: the label with the lowest mean of the generation "
     "is the reward, min: of each completion the lowest score (MaxMin)"},
    {"mask_truncated_completions", SET_BOOL, AT(mask_truncated_completions), "false", NULL,
     "completions that did not end give no gradient"},
    SETTINGS_HEADING("Loss"),
    {"loss_type", SET_CHOICE, AT(loss_type), "dapo", loss_type_names,
     "how token losses are made and averaged"},
    {"num_iterations", SET_INT, AT(num_iterations), "1", NULL, "passes over the completions of a generation"},
    {"epsilon", SET_NUMBER, AT(epsilon), "0.2", NULL,
     "the ratio to the sampling policy is clipped below 1 - epsilon"},
    {"epsilon_high", SET_NUMBER, AT(epsilon_high), "none", NULL, "and above 1 + epsilon_high; none: epsilon"},
    {"delta", SET_NUMBER, AT(delta), "none", NULL,
     "a ratio above it is cut even where the advantage is negative; none: off"},
    {"dual_clip", SET_NUMBER, AT(dual_clip), "none", NULL,
     "the loss of a negative advantage is at most this many times it (ours; verl: 3); none: off"},
    {"importance_sampling_level", SET_CHOICE, AT(importance_sampling_level), "token",
     importance_sampling_level_names,
     "whether each token or the completion has a ratio"},
    {"off_policy_mask_threshold", SET_NUMBER, AT(off_policy_mask_threshold), "none", NULL,
     "bad completions that the policy has moved further away from than this count nothing; none: off"},
    {"top_entropy_quantile", SET_NUMBER, AT(top_entropy_quantile), "1", NULL,
     "share of tokens, those of highest entropy, that count"},
    SETTINGS_HEADING("Staying near the starting policy"),
    {"beta", SET_NUMBER, AT(beta), "0", NULL,
     "weight of the KL to the starting policy; 0: there is no reference"},
    {"use_bias_correction_kl", SET_BOOL, AT(use_bias_correction_kl), "true", NULL,
     "the KL is weighted by the ratio, so that its gradient is right for old completions too"},
    SETTINGS_HEADING("Entropy"),
    {"entropy_coef", SET_NUMBER, AT(entropy_coef), "0", NULL, "weight of the entropy bonus"},
    {"use_adaptive_entropy", SET_BOOL, AT(use_adaptive_entropy), "false", NULL,
     "the weight follows the entropy: it acts and grows while the entropy is below the target"},
    {"entropy_target", SET_NUMBER, AT(entropy_target), "0.2", NULL,
     "entropy per token, in nats, below which the adaptive bonus acts"},
    {"entropy_coef_delta", SET_NUMBER, AT(entropy_coef_delta), "0.005", NULL,
     "by how much the adaptive weight changes after an update"},
    {"entropy_coef_min", SET_NUMBER, AT(entropy_coef_min), "0", NULL, "least adaptive weight"},
    {"entropy_coef_max", SET_NUMBER, AT(entropy_coef_max), "1", NULL, "largest adaptive weight"},
    SETTINGS_HEADING("Losses of other papers"),
    {"sapo_temperature_pos", SET_NUMBER, AT(sapo_temperature_pos), "1", NULL,
     "sapo: steepness of its soft clip for good completions"},
    {"sapo_temperature_neg", SET_NUMBER, AT(sapo_temperature_neg), "1.05", NULL,
     "sapo: the same for bad ones"},
    {"vespo_k_pos", SET_NUMBER, AT(vespo_k_pos), "2", NULL, "vespo: power of the weight of good completions"},
    {"vespo_lambda_pos", SET_NUMBER, AT(vespo_lambda_pos), "3", NULL, "vespo: its decay"},
    {"vespo_k_neg", SET_NUMBER, AT(vespo_k_neg), "3", NULL, "vespo: power of the weight of bad completions"},
    {"vespo_lambda_neg", SET_NUMBER, AT(vespo_lambda_neg), "2", NULL, "vespo: its decay"},
    SETTINGS_END};
const Setting grpo_other_settings[] = {
    SETTINGS_HEADING("What other trainers do otherwise"),
    {"std_eps", SET_NUMBER, AT(std_eps), "1e-4", NULL, "added to the deviation"},
    {"std_ddof", SET_INT, AT(std_ddof), "1", NULL,
     "the deviation divides by the number of rewards less this, 1 or 0"},
    {"baseline", SET_CHOICE, AT(baseline), "group", baseline_names,
     "what is subtracted from a reward: the group's mean, that of the others in it, that in which longer "
     "replies count more, the batch's, or nothing"},
    {"zero_std", SET_CHOICE, AT(zero_std), "divide", zero_std_names,
     "where the deviation is 0: divide by std_eps all the same, or keep the difference as it is"},
    {"single_reply", SET_CHOICE, AT(single_reply), "zero", single_reply_names,
     "advantage of the only scored reply of a group: 0, or its reward"},
    {"advantage_whitening", SET_CHOICE, AT(advantage_whitening), "none", advantage_whitening_names,
     "advantages less their mean over their deviation, over the completions or the tokens of the batch"},
    {"policy_term", SET_CHOICE, AT(policy_term), "loss_type", policy_term_names,
     "what stands before the advantage: as loss_type says, the clipped ratio, the plain ratio, the "
     "log-probability, or that with a bounded ratio as its weight"},
    {"cispo_clip_min", SET_NUMBER, AT(cispo_clip_min), "none", NULL, "cispo: least weight; none: 0"},
    {"cispo_clip_max", SET_NUMBER, AT(cispo_clip_max), "none", NULL,
     "cispo: largest weight; none: epsilon_high, or without bound if cispo_clip_min is given"},
    {"log_ratio_max", SET_NUMBER, AT(log_ratio_max), "none", NULL,
     "a token's log ratio is cut to this on both sides; none: off"},
    {"sequence_log_ratio_max", SET_NUMBER, AT(sequence_log_ratio_max), "none", NULL,
     "a completion's mean log ratio is cut above this; none: off"},
    {"kl_estimator", SET_CHOICE, AT(kl_estimator), "k3", kl_loss_names, "how a token's KL is estimated"},
    {"kl_clamp_log_ratio", SET_NUMBER, AT(kl_clamp_log_ratio), "none", NULL,
     "the log ratio in it is cut to this on both sides; none: off"},
    {"kl_clamp", SET_NUMBER, AT(kl_clamp), "none", NULL,
     "the estimate is cut to this on both sides; none: off"},
    {"kl_gradient", SET_CHOICE, AT(kl_gradient), "estimator", kl_gradient_names,
     "gradient of the KL: the estimate's, that and the score function's, k2's, or none"},
    {"loss_aggregation", SET_CHOICE, AT(loss_aggregation), "loss_type", loss_aggregation_names,
     "how token losses become the loss, whatever loss_type says: over tokens, over completions' means or "
     "sums, or over a fixed length"},
    {"kl_aggregation", SET_CHOICE, AT(kl_aggregation), "policy", other_aggregation_names,
     "the same of the KL"},
    {"entropy_aggregation", SET_CHOICE, AT(entropy_aggregation), "token_mean", other_aggregation_names,
     "the same of the entropy bonus"},
    {"aggregation_scope", SET_CHOICE, AT(aggregation_scope), "micro", aggregation_scope_names,
     "whose tokens and completions these divide by: the micro-batch's, the update's, those of all processes"},
    {"aggregation_length", SET_NUMBER, AT(aggregation_length), "none", NULL,
     "the fixed length; none: max_completion_length"},
    {"count_empty_rows", SET_BOOL, AT(count_empty_rows), "true", NULL,
     "completions without a token that counts are counted"},
    SETTINGS_END};
const Setting grpo_sampler_settings[] = {
    {"importance_sampling_correction", SET_BOOL, AT(importance_sampling_correction), "true", NULL,
     "the loss is corrected for a sampler that is not the trainer"},
    {"importance_sampling_mode", SET_CHOICE, AT(importance_sampling_mode), "sequence_mask",
     importance_sampling_mode_names,
     "how"},
    {"importance_sampling_clip_min", SET_NUMBER, AT(importance_sampling_clip_min), "none", NULL,
     "lower bound of the correction"},
    {"importance_sampling_clip_max", SET_NUMBER, AT(importance_sampling_clip_max), "3", NULL,
     "upper bound of the correction"},
    SETTINGS_END};

void grpo_config_default(GrpoConfig *c) {
    settings_default(c, grpo_group_settings);
    settings_default(c, grpo_settings);
    settings_default(c, grpo_other_settings);
    settings_default(c, grpo_sampler_settings);
}

double grpo_epsilon_high(const GrpoConfig *c) {
    return isnan(c->epsilon_high) ? c->epsilon : c->epsilon_high;
}

bool grpo_clips(const GrpoConfig *c) {
    const LossType t = c->loss_type;
    if (c->policy_term != TERM_LOSS_TYPE) return c->policy_term == TERM_RATIO;
    return t == LOSS_GRPO || t == LOSS_BNPO || t == LOSS_DR_GRPO || t == LOSS_DAPO || t == LOSS_LUSPO;
}

bool grpo_term_is(const GrpoConfig *c, LossType t) {
    return c->policy_term == TERM_LOSS_TYPE && c->loss_type == t;
}

/* Bounds that other trainers have: more than 0, where they are given. */
static bool check_bounds(const GrpoConfig *c, Err *e) {
    const struct { const char *name; double x; } bound[] = {
        {"log_ratio_max", c->log_ratio_max},
        {"sequence_log_ratio_max", c->sequence_log_ratio_max},
        {"kl_clamp_log_ratio", c->kl_clamp_log_ratio},
        {"kl_clamp", c->kl_clamp},
        {"cispo_clip_max", c->cispo_clip_max},
        {"aggregation_length", c->aggregation_length}};
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++)
        if (!isnan(bound[i].x) && !(bound[i].x > 0))
            return fail(e, "%s: found %g, expected a number > 0, or none", bound[i].name, bound[i].x);
    if (c->cispo_clip_min > c->cispo_clip_max)
        return fail(e, "cispo_clip_min: found %g, expected at most cispo_clip_max = %g", c->cispo_clip_min,
                    c->cispo_clip_max);
    if (c->std_ddof != 0 && c->std_ddof != 1)
        return fail(e, "std_ddof: found %d, expected 0 or 1", c->std_ddof);
    return true;
}

bool grpo_config_check(const GrpoConfig *c, Err *e) {
    if (!check_bounds(c, e)) return false;
    if (!(c->epsilon > 0 && c->epsilon < 1) && grpo_clips(c))
        return fail(e, "epsilon: found %g, expected a number between 0 and 1", c->epsilon);
    if (!(grpo_epsilon_high(c) > 0))
        return fail(e, "epsilon_high: found %g, expected a number > 0", c->epsilon_high);
    if (!(c->beta >= 0 && c->beta <= DBL_MAX))
        return fail(e, "beta: found %g, expected a number >= 0", c->beta);
    if (!isnan(c->delta) && !(c->delta >= 1 - c->epsilon))
        return fail(e, "delta: found %g, expected at least 1 - epsilon = %g; it is meant to exceed 1 + "
                    "epsilon_high", c->delta, 1 - c->epsilon);
    if (!isnan(c->delta) && !isnan(c->dual_clip))
        return fail(e, "delta: %g together with dual_clip: both bound the ratio of negative advantages; give "
                    "one of them", c->delta);
    if (!isnan(c->dual_clip) && !(c->dual_clip > 1))
        return fail(e, "dual_clip: found %g, expected a number > 1", c->dual_clip);
    if (!(isnan(c->delta) && isnan(c->dual_clip)) && !grpo_clips(c))
        return fail(e, "delta, dual_clip: have no effect with loss_type %s; leave them out",
                    loss_type_names[c->loss_type]);
    if (!(c->top_entropy_quantile >= 0 && c->top_entropy_quantile <= 1))
        return fail(e, "top_entropy_quantile: found %g, expected a number from 0 to 1",
                    c->top_entropy_quantile);
    if (!(c->sapo_temperature_pos > 0 && c->sapo_temperature_neg > 0))
        return fail(e, "sapo_temperature_pos, sapo_temperature_neg: found %g and %g, expected numbers > 0",
                    c->sapo_temperature_pos, c->sapo_temperature_neg);
    if (c->policy_term != TERM_LOSS_TYPE &&
        (c->loss_type == LOSS_GMPO || c->loss_type == LOSS_SAPO || c->loss_type == LOSS_VESPO))
        return fail(e, "policy_term %s: found loss_type %s, which is a policy term itself",
                    policy_term_names[c->policy_term], loss_type_names[c->loss_type]);
    if (c->loss_type == LOSS_GMPO &&
        (c->importance_sampling_level != LEVEL_TOKEN || c->top_entropy_quantile < 1 ||
         !isnan(c->off_policy_mask_threshold) || c->entropy_coef != 0 || c->use_adaptive_entropy))
        return fail(e, "loss_type gmpo: importance_sampling_level, top_entropy_quantile, "
                    "off_policy_mask_threshold and the entropy bonus are not part of it; leave them at their "
                    "defaults");
    if (c->num_generations < 2)
        return fail(e, "num_generations: found %d, expected at least 2: an advantage compares replies to one "
                    "prompt", c->num_generations);
    if (c->num_iterations < 1)
        return fail(e, "num_iterations: found %d, expected at least 1", c->num_iterations);
    if (c->max_completion_length < 1)
        return fail(e, "max_completion_length: found %d, expected at least 1", c->max_completion_length);
    if (!(c->std_eps >= 0)) return fail(e, "std_eps: found %g, expected a number >= 0", c->std_eps);
    return true;
}
