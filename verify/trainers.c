/* trainers.c: what each trainer does, one row a stretch of releases, and its options, one row each.
 *
 * Every row was written from the program's public source, which it names. profiles.c reads the rows. */
#include "verify/profiles.h"

/* ---- the trainers ---- */
#define NO_CORRECTION ", use_bias_correction_kl false, vllm_importance_sampling_correction false"
#define TRL(since, until, read, settings, note) \
    {"trl", since, until, read, \
     "trl/trainer/grpo_trainer.py: _compute_loss, _generate_and_score_completions; grpo_config.py", \
     settings, note}
#define VERL(since, until, read, settings, note) \
    {"verl", since, until, read, \
     "verl/trainer/ppo/core_algos.py: compute_grpo_outcome_advantage, compute_policy_loss, kl_penalty, " \
     "agg_loss; trainer/config/actor/actor.yaml", "loss_type bnpo, std_eps 1e-6, single_reply score, " \
     "use_bias_correction_kl false, kl_clamp 10, entropy_aggregation policy, weight_decay 0.01, " \
     "weight_decay_all true, vllm_importance_sampling_correction false" settings, note}
#define OPENRLHF(since, until, read, settings, note) \
    {"openrlhf", since, until, read, \
     "openrlhf/models/loss.py: PolicyLoss, aggregate_loss; models/utils.py: compute_approx_kl; " \
     "trainer/ppo_utils/experience_maker.py: compute_advantages_and_returns; trainer/ray/ppo_actor.py", \
     "std_eps 1e-9, use_bias_correction_kl false, kl_aggregation token_mean, entropy_aggregation policy, " \
     "vllm_importance_sampling_correction false" settings, note}
#define NEMO(since, until, read, settings, note) \
    {"nemo-rl", since, until, read, \
     "nemo_rl/algorithms/loss/loss_functions.py: ClippedPGLossFn; algorithms/utils.py: calculate_kl, " \
     "calculate_baseline_and_std_per_prompt; advantage_estimator.py: GRPOAdvantageEstimator; " \
     "examples/configs/grpo_math_1B.yaml", \
     "loss_type bnpo, aggregation_scope update, baseline leave_one_out, scale_rewards leave_one_out, " \
     "zero_std keep, beta 0.01, learning_rate 5e-6, weight_decay 0.01, weight_decay_all true" \
     NO_CORRECTION settings, note}
#define LIGER(since, until, read, settings, note) \
    {"liger-kernel", since, until, read, \
     "liger_kernel/chunked_loss/grpo_loss.py: LigerFusedLinearGRPOFunction.ppo_loss_fn", \
     "beta 0.04, use_bias_correction_kl false, vllm_importance_sampling_correction false" settings, note}

const Profile profiles[] = {
    TRL("0.15.0", "0.15.2", "0.15.2",
        "loss_type grpo, policy_term unclipped, beta 0.04, temperature 0.9, max_completion_length 256"
        NO_CORRECTION, "on policy only: the ratio is 1, and there is no clip"),
    TRL("0.16.0", "0.17.0", "0.17.0",
        "loss_type bnpo, beta 0.04, temperature 0.9, max_completion_length 256" NO_CORRECTION, NULL),
    TRL("0.18.0", "0.18.2", "0.18.2", "loss_type bnpo, beta 0.04, max_completion_length 256" NO_CORRECTION,
        NULL),
    TRL("0.19.0", "0.21.0", "0.21.0", "loss_type bnpo, max_completion_length 256" NO_CORRECTION, NULL),
    TRL("0.22.0", "0.22.2", "0.22.2", "max_completion_length 256" NO_CORRECTION,
        "dapo divides by the tokens of the generation batch, whatever the accumulation"),
    TRL("0.23.0", "0.25.1", "0.25.1",
        "max_completion_length 256, use_bias_correction_kl false, "
        "vllm_importance_sampling_mode token_truncate, vllm_importance_sampling_clip_max 2",
        "dapo divides by the tokens of the generation batch, whatever the accumulation"),
    TRL("0.26.0", "1.7.1", "1.7.1", "max_completion_length 256, use_bias_correction_kl false",
        "dapo and cispo as in 0.22; in 0.27 the off-policy mask looks at the old policy, not at the sampler; "
        "luspo from 0.28 on averages over columns too, unless its level is the sequence"),
    TRL("1.8.0", "1.9.0", "1.9.0", "max_completion_length 256, use_bias_correction_kl false",
        "the entropy bonus of dapo, cispo and vespo is divided as their loss is"),
    TRL("1.9.1", "1.9.2", "1.9.2", "max_completion_length 256, use_bias_correction_kl false",
        "as 1.9.0, but dapo, cispo and vespo are divided by the tokens of an update"),
    TRL("1.10.0", "1.16", "1.10.0 to 1.16.0", "",
        "the loss of these releases is one; from 1.11 on a token that the sampler could not score is left "
        "out"),

    VERL("0.3.0", "0.3.0", "0.3.0.post1", "", "clip_ratio on both sides, no dual clip"),
    VERL("0.4.0", "0.4.1", "0.4.0", ", dual_clip 3", NULL),
    VERL("0.5.0", "0.5.0", "0.5.0", ", dual_clip 3, kl_clamp_log_ratio 20, log_ratio_max 20", NULL),
    VERL("0.6.0", "0.7.0", "0.7.0 and b178a3cd5",
         ", dual_clip 3, kl_clamp_log_ratio 20, log_ratio_max 20, count_empty_rows false",
         "seq-mean-token-sum-norm divides the sum by the width alone, not by replies"),
    VERL("0.7.1", "0.9.1", "0.9.1",
         ", dual_clip 3, kl_clamp_log_ratio 20, log_ratio_max 20, count_empty_rows false",
         "KL is off unless use_kl_loss (low_var_kl, 0.001) or use_kl_in_reward; no KL of verl is weighted by "
         "the ratio"),

    OPENRLHF("0.6.0", "0.6.4", "0.6.4", ", loss_type grpo", NULL),
    OPENRLHF("0.7.0", "0.8.6", "0.8.3", ", loss_type bnpo", NULL),
    OPENRLHF("0.8.7", "0.10.2", "0.9.10", ", loss_type bnpo, kl_clamp 10", NULL),
    OPENRLHF("0.10.3", "0.11.2", "0.11.2 and 3c3be623",
             ", loss_type bnpo, kl_clamp 10, log_ratio_max 20, count_empty_rows false",
             "group_norm is GRPO's advantage; without use_kl_loss the KL is taken off the reward token by "
             "token; with it, k2 or k3 is recommended"),

    NEMO("0.2.0", "0.3.1", "0.3.1", ", std_ddof 0, std_eps 0", NULL),
    NEMO("0.4.0", "0.4.0", "0.4.0", ", std_eps 1e-6", NULL),
    NEMO("0.5.0", "0.6.0", "0.6.0", ", std_eps 1e-6, kl_clamp_log_ratio 20, kl_clamp 10", NULL),
    NEMO("0.7.0", "0.7.0", "0.7.0 and 7ea279abf",
         ", std_eps 1e-6, kl_clamp_log_ratio 20, kl_clamp 10, kl_gradient score_function",
         "the KL has its score-function term, so that its gradient is that of the expectation"),

    LIGER("0.5.6", "0.6.3", "0.6.2", ", loss_type bnpo", "a loss only: advantages come from the caller"),
    LIGER("0.6.4", "0.8.5", "0.8.5 and ead96b61", "",
          "a loss only: advantages come from the caller; dapo divides by the tokens of the generation batch"),

    {"unsloth", "2026.8", "2026.8", "015bdef0d9, unsloth-zoo ce232d6c",
     "unsloth_zoo/rl_replacements.py: grpo_compute_loss; unsloth/models/rl.py: defaults; the rest is TRL's",
     "loss_type bnpo, beta 0.001" NO_CORRECTION,
     "dapo divides by the tokens of the generation batch; a config with dapo gets epsilon_high 0.28"},

    {"torchtune", NULL, NULL, "bd2a0fc7c",
     "torchtune/dev/grpo/loss.py: GRPOSimpleLoss; recipes/dev/grpo_full_finetune_distributed.py; "
     "recipes/configs/dev/3B_full_grpo.yaml",
     "loss_type grpo, policy_term unclipped, beta 0.01, learning_rate 1e-5, weight_decay 0.01, "
     "weight_decay_all true" NO_CORRECTION,
     "on policy only; its GRPOLoss clips and averages over tokens"},

    {"torchforge", NULL, NULL, "6e77f0b3",
     "apps/grpo/main.py: simple_grpo_loss, ComputeAdvantages; src/forge/losses/grpo_loss.py: SimpleGRPOLoss",
     "loss_type grpo, policy_term unclipped, beta 0.1" NO_CORRECTION, "on policy only: the ratio is 1"},

    {"areal", "1.0.1", "1.0.4", "4aef98d8d",
     "areal/utils/functional/functional.py: ppo_actor_loss_fn; utils/data.py: Normalization, KLEstimator; "
     "trainer/ppo/actor.py: compute_advantages; examples/math/gsm8k_grpo.yaml",
     "loss_type bnpo, aggregation_scope update, std_eps 1e-5, kl_estimator k1, kl_clamp 10" NO_CORRECTION,
     "reward_norm by group is an example's; kl_ctl puts the KL into the reward, token by token; adv_norm "
     "whitens the advantages once more, and mean_leave1out changes the deviation too: a config of ours "
     "cannot say these two"},

    {"roll", "0.2.0", "0.3.0", "8eb27cc2",
     "roll/pipeline/rlvr/actor_worker.py: loss_func; roll/utils/functionals.py: agg_loss, compute_approx_kl, "
     "reward_norm",
     "loss_type grpo, std_eps 1e-6, kl_clamp 10, count_empty_rows false, entropy_aggregation policy"
     NO_CORRECTION, "norm_mean_type and norm_std_type \"group\" make it GRPO"},

    {"slime", "0.2.1", "0.3.1", "624b824a8",
     "slime/utils/ppo_utils.py: compute_policy_loss, compute_approx_kl; backends/megatron_utils/loss.py: "
     "policy_loss_function; ray/rollout.py: _post_process_rewards",
     "loss_type grpo, std_eps 1e-6, kl_estimator k1, entropy_aggregation policy, weight_decay 0.01"
     NO_CORRECTION,
     "KL is off unless use_kl_loss; low_var_kl is k3, cut at 10; with gspo, use_unbiased_kl weighs the KL by "
     "the token's ratio, which is not computed here"},

    {"skyrl", NULL, NULL, "a9564572e",
     "skyrl/backends/skyrl_train/utils/ppo_utils.py: compute_grpo_outcome_advantage, ppo_policy_loss, "
     "apply_loss_reduction_to_advantages_minibatch; skyrl_train/workers/worker.py",
     "loss_type bnpo, std_eps 1e-6, single_reply score, beta 0.001, kl_clamp_log_ratio 20, kl_clamp 10, "
     "kl_aggregation sequence_mean, log_ratio_max 20" NO_CORRECTION,
     "the policy term is divided in the advantages of the mini-batch; the KL is a mean of rows"},

    {"prime-rl", "0.7.0", "0.8.0", "559b44772",
     "src/prime_rl/trainer/rl/loss.py: default_loss_fn; src/prime_rl/orchestrator/algo/grpo.py: score_group",
     "loss_type bnpo, aggregation_scope update, scale_rewards none, policy_term unclipped, kl_estimator k2, "
     "beta 0.002" NO_CORRECTION,
     "the ratio is to the sampler, and so is kl_tau times its square: dump the sampler's numbers as old "
     "and as ref, and what its mask by probabilities keeps as policy_mask"},

    {"art", "0.3.11", "0.3.11", "779559f",
     "src/art/local/train.py: compute_loss; src/art/local/tokenize.py: tokenize_trajectory_groups",
     "loss_type bnpo, std_ddof 0, std_eps 1e-6, learning_rate 5e-6" NO_CORRECTION,
     "replies whose advantage is 0 are left out of the batch: say group_ids"},

    {"ms-swift", "4.4.0", "4.5.2", "3602360a5",
     "swift/rl_core/advantage.py: compute_advantages; swift/rlhf_trainers/grpo_trainer.py: _compute_loss",
     "loss_type grpo, beta 0.04, kl_clamp_log_ratio 20, kl_clamp 10, temperature 0.9" NO_CORRECTION,
     "dapo and cispo divide by the tokens of the generation batch"},

    {"simple-grpo", NULL, NULL, "4ab94c6", "grpo_vllm_one.py and simple_grpo_v1/grpo_ref_split.py: GRPO_step",
     "loss_type grpo, beta 0.04, temperature 0.9" NO_CORRECTION, NULL},

    {"nano-aha-moment", NULL, NULL, "6cd0306", "nano_r1_script.py: create_training_episodes, compute_pg_loss",
     "loss_type bnpo, aggregation_scope update, std_ddof 0, policy_term logp, beta 0.001" NO_CORRECTION,
     "NumPy's deviation; the loss is -A log p, so there is no ratio and no clip"},

    {"tiny-grpo", NULL, NULL, "eafedd7", "loss.py: GRPOLoss; train.py: group_advantages",
     "loss_type grpo, std_eps 1e-8, beta 0.01, learning_rate 5e-6" NO_CORRECTION, NULL},

    {"grpo-zero", NULL, NULL, "d41bb48", "grpo.py: normalize_rewards_per_group, update_policy",
     "loss_type bnpo, aggregation_scope update, std_ddof 0, policy_term logp" NO_CORRECTION,
     "NumPy's deviation; the loss is -A log p, so there is no ratio and no clip"},

    {"understand-r1-zero", NULL, NULL, "dfca49d, oat c1a074c",
     "train_zero_math.py: compute_monte_carlo_advantages; oat/algorithms/ppo.py: learning_step",
     "loss_type dr_grpo, loss_aggregation fixed_length, scale_rewards none, kl_clamp_log_ratio 40"
     NO_CORRECTION,
     "Dr. GRPO: a reply's sum over generate_max_length; critic_type grpo is the other"},

    {"dr_grpo", NULL, NULL, "arXiv 2503.20783", "the paper",
     "loss_type dr_grpo, scale_rewards none" NO_CORRECTION, NULL},
    {"paper", NULL, NULL, "arXiv 2402.03300", "the paper that named GRPO",
     "loss_type grpo, std_eps 0" NO_CORRECTION, NULL},
};
const int n_profile = sizeof profiles / sizeof *profiles;

/* ---- their options ---- */
/* "%" is the option's value, "%0" and "%1" are the items of a list or a pair of bounds, "@OPTION" is another
 * option's value if the config has it, "1/" its inverse. "1+1*epsilon" is computed when everything else is
 * known. Rows of a program apply in this order; those whose option is a name of ours look at the setting that
 * came out. */
#define REJECTED \
    "rejection_max @rollout_rs_threshold, rejection_min 1/@rollout_rs_threshold, rejection_min " \
    "@rollout_rs_threshold_lower"
#define CORRECTION "vllm_importance_sampling_correction true, vllm_importance_sampling_mode "
/* dapo, cispo and vespo over the generation batch's tokens, without E112's factor GA / S */
#define GENERATION_TOKENS "steps_per_generation 0+1*gradient_accumulation_steps"
#define CISPO_1 \
    "policy_term cispo, cispo_clip_min 1-1*epsilon, cispo_clip_max 1+1*epsilon_high, dual_clip none"
#define EACH_SUM(sum) "loss_aggregation " sum ", kl_aggregation " sum ", entropy_aggregation " sum
#define SINCE(name, option, since) {name, option, since, NULL, NULL, NULL}

const ProfileOption profile_options[] = {
    SINCE("trl", "num_iterations", "0.16"), SINCE("trl", "epsilon", "0.16"),
    SINCE("trl", "epsilon_high", "0.16"), SINCE("trl", "scale_rewards", "0.16"),
    SINCE("trl", "mask_truncated_completions", "0.17"), SINCE("trl", "delta", "0.18"),
    SINCE("trl", "steps_per_generation", "0.18"), SINCE("trl", "importance_sampling_level", "0.20"),
    SINCE("trl", "top_entropy_quantile", "0.20"), SINCE("trl", "vllm_importance_sampling_correction", "0.23"),
    SINCE("trl", "vllm_importance_sampling_cap", "0.23"),
    SINCE("trl", "vllm_importance_sampling_mode", "0.26"), SINCE("trl", "use_bias_correction_kl", "0.26"),
    SINCE("trl", "sapo_temperature_pos", "0.26"), SINCE("trl", "sapo_temperature_neg", "0.26"),
    SINCE("trl", "off_policy_mask_threshold", "0.27"), SINCE("trl", "multi_objective_aggregation", "0.27"),
    SINCE("trl", "vespo_k_pos", "1.0"), SINCE("trl", "vespo_lambda_pos", "1.0"),
    SINCE("trl", "vespo_k_neg", "1.0"), SINCE("trl", "vespo_lambda_neg", "1.0"),
    SINCE("trl", "vllm_importance_sampling_clip_max", "1.6"),
    SINCE("trl", "vllm_importance_sampling_clip_min", "1.6"), SINCE("trl", "entropy_coef", "1.8"),
    {"trl", "loss_type", "0.17", NULL, "grpo", ""},
    {"trl", "loss_type", "0.17", NULL, "bnpo", ""},
    {"trl", "loss_type", "0.17", NULL, "dr_grpo", ""},
    {"trl", "loss_type", "0.22", "1.9.0", "dapo", GENERATION_TOKENS},
    {"trl", "loss_type", "0.26", "1.9.0", "cispo", GENERATION_TOKENS},
    {"trl", "loss_type", "1.0", "1.9.0", "vespo", GENERATION_TOKENS},
    {"trl", "loss_type", "1.8", "1.9.2", "dapo", "entropy_aggregation policy"},
    {"trl", "loss_type", "1.8", "1.9.2", "cispo", "entropy_aggregation policy"},
    {"trl", "loss_type", "1.8", "1.9.2", "vespo", "entropy_aggregation policy"},
    {"trl", "loss_type", "1.9.1", NULL, "dapo", ""},
    {"trl", "loss_type", "1.9.1", NULL, "cispo", ""},
    {"trl", "loss_type", "1.9.1", NULL, "vespo", ""},
    {"trl", "loss_type", "0.26", NULL, "sapo", ""},
    {"trl", "loss_type", "0.28", NULL, "luspo", ""},
    {"trl", "loss_type", "1.0", NULL, "gmpo", ""},

    {"verl", "clip_ratio", NULL, "0.3.0", NULL, "epsilon %, epsilon_high %"},
    {"verl", "clip_ratio", "0.4", NULL, NULL, ""}, /* acts only where the two others are null */
    {"verl", "clip_ratio_low", "0.4", NULL, "null", "epsilon @clip_ratio"},
    {"verl", "clip_ratio_low", "0.4", NULL, NULL, "epsilon %"},
    {"verl", "clip_ratio_high", "0.4", NULL, "null", "epsilon_high @clip_ratio"},
    {"verl", "clip_ratio_high", "0.4", NULL, NULL, "epsilon_high %"},
    {"verl", "clip_ratio_c", "0.4", NULL, NULL, "dual_clip %"},
    /* sapo's and gspo's policy terms have a sum of their own (below), KL and entropy have loss_agg_mode's */
    {"verl", "loss_mode", "0.7", NULL, "sapo", EACH_SUM("token_mean")},
    {"verl", "loss_mode", "0.6", "0.9.0", "gspo", EACH_SUM("token_mean")},
    {"verl", "loss_agg_mode", "0.4", NULL, "token-mean", EACH_SUM("token_mean")},
    {"verl", "loss_agg_mode", "0.4", NULL, "seq-mean-token-mean", EACH_SUM("sequence_mean")},
    {"verl", "loss_agg_mode", "0.4", NULL, "seq-mean-token-sum", EACH_SUM("sequence_sum")},
    {"verl", "loss_agg_mode", "0.4", "0.7.0", "seq-mean-token-sum-norm", EACH_SUM("fixed_total")},
    {"verl", "loss_agg_mode", "0.7.1", NULL, "seq-mean-token-sum-norm", EACH_SUM("fixed_length")},
    {"verl", "loss_agg_mode", "0.9", NULL, "token-sum", EACH_SUM("fixed_total") ", aggregation_length 1"},
    {"verl", "loss_scale_factor", "0.7", NULL, NULL, "aggregation_length %"},
    {"verl", "batch_num_tokens", "0.7", NULL, NULL, "num_items_in_batch %, aggregation_scope ranks"},
    {"verl", "global_batch_size", "0.7", NULL, NULL, "num_sequences_in_batch %, aggregation_scope ranks"},
    {"verl", "dp_size", "0.7", NULL, NULL, "world_size %"},
    {"verl", "kl_loss_coef", NULL, NULL, NULL, "beta %"},
    {"verl", "use_kl_loss", NULL, NULL, "true", "beta 0.001, beta @kl_loss_coef"},
    {"verl", "use_kl_loss", NULL, NULL, "false", "beta 0"},
    {"verl", "kl_loss_type", NULL, NULL, "low_var_kl", "kl_estimator k3"},
    {"verl", "kl_loss_type", "0.4", NULL, "k3", "kl_estimator k3"},
    {"verl", "kl_loss_type", NULL, NULL, "kl", "kl_estimator k1"},
    {"verl", "kl_loss_type", "0.4", NULL, "k1", "kl_estimator k1"},
    {"verl", "kl_loss_type", NULL, NULL, "mse", "kl_estimator k2"},
    {"verl", "kl_loss_type", "0.4", NULL, "k2", "kl_estimator k2"},
    {"verl", "kl_loss_type", NULL, NULL, "abs", "kl_estimator abs"},
    {"verl", "kl_loss_type", "0.8", NULL, "low_var_kl+", "kl_estimator k3, kl_gradient k2"},
    {"verl", "kl_loss_type", "0.8", NULL, "k3+", "kl_estimator k3, kl_gradient k2"},
    {"verl", "kl_loss_type", "0.8", NULL, "kl+", "kl_estimator k1, kl_gradient k2"},
    {"verl", "kl_loss_type", "0.8", NULL, "k1+", "kl_estimator k1, kl_gradient k2"},
    {"verl", "kl_loss_type", "0.8", NULL, "abs+", "kl_estimator abs, kl_gradient k2"},
    {"verl", "use_kl_in_reward", "0.4", NULL, "true",
     "kl_reward sequence, kl_estimator k1, kl_reward_coef 0.001, kl_reward_coef @kl_coef"},
    {"verl", "use_kl_in_reward", "0.4", NULL, "false", ""},
    {"verl", "kl_coef", NULL, NULL, NULL, ""},
    {"verl", "norm_adv_by_std_in_grpo", "0.4", NULL, "false", "scale_rewards none"},
    {"verl", "norm_adv_by_std_in_grpo", "0.4", NULL, "true", ""},
    {"verl", "adv_estimator", NULL, NULL, "grpo", ""},
    {"verl", "adv_estimator", NULL, NULL, "rloo", "baseline leave_one_out, scale_rewards none"},
    {"verl", "adv_estimator", "0.4", NULL, "opo", "baseline length_weighted, scale_rewards none"},
    {"verl", "adv_estimator", NULL, NULL, "reinforce_plus_plus_baseline",
     "scale_rewards none, advantage_whitening tokens"},
    {"verl", "adv_estimator", "0.7.1", NULL, "gdpo",
     "multi_objective_aggregation normalize_then_sum, advantage_whitening tokens"},
    {"verl", "loss_mode", "0.5", NULL, "vanilla", ""},
    {"verl", "loss_mode", "0.6", "0.9.0", "gspo",
     "importance_sampling_level sequence_token, loss_aggregation sequence_mean"},
    {"verl", "loss_mode", "0.9.1", NULL, "gspo", "importance_sampling_level sequence_token"},
    {"verl", "loss_mode", "0.5", NULL, "gpg", "policy_term logp, dual_clip none"},
    {"verl", "loss_mode", "0.7", NULL, "cispo", CISPO_1},
    {"verl", "loss_mode", "0.7", NULL, "sapo", "loss_type sapo, sapo_temperature_pos @tau_pos, "
     "sapo_temperature_neg @tau_neg, loss_aggregation sequence_mean, dual_clip none"},
    {"verl", "loss_mode", "0.5", NULL, "clip_cov", "clip_cov_ratio 0.0002, clip_cov_ratio @clip_cov_ratio, "
     "clip_cov_min @clip_cov_lb, clip_cov_max @clip_cov_ub, dual_clip none, log_ratio_max none"},
    {"verl", "loss_mode", "0.5", NULL, "kl_cov", "policy_term unclipped, kl_cov_ratio 0.0002, "
     "kl_cov_ratio @kl_cov_ratio, kl_cov_coef 0.1, kl_cov_coef @ppo_kl_coef, dual_clip none, "
     "log_ratio_max none"},
    {"verl", "rollout_is", "0.6", NULL, "null", ""},
    {"verl", "rollout_is", "0.6", NULL, "token", CORRECTION "token_truncate, "
     "vllm_importance_sampling_clip_max 2, vllm_importance_sampling_clip_max @rollout_is_threshold"},
    {"verl", "rollout_is", "0.6", NULL, "sequence", CORRECTION "sequence_truncate, "
     "vllm_importance_sampling_clip_max 2, vllm_importance_sampling_clip_max @rollout_is_threshold"},
    {"verl", "rollout_is_threshold", "0.7.1", NULL, "LOWER_UPPER",
     "vllm_importance_sampling_mode token_mask, "
     "vllm_importance_sampling_clip_min %0, vllm_importance_sampling_clip_max %1"},
    {"verl", "rollout_is_threshold", "0.6", NULL, NULL, ""},
    {"verl", "rollout_rs", "0.6", NULL, "null", ""},
    {"verl", "rollout_rs", "0.6", "0.7.0", "token", "rejection_mode token, " REJECTED},
    {"verl", "rollout_rs", "0.6", "0.7.0", "sequence", "rejection_mode sequence, " REJECTED},
    {"verl", "rollout_rs", "0.6", "0.7.0", "geometric", "rejection_mode geometric, " REJECTED},
    {"verl", "rollout_rs", "0.7.1", NULL, "token_k1", "rejection_mode token"},
    {"verl", "rollout_rs", "0.7.1", NULL, "seq_sum_k1", "rejection_mode sequence"},
    {"verl", "rollout_rs", "0.7.1", NULL, "seq_mean_k1", "rejection_mode geometric"},
    {"verl", "rollout_rs_threshold", "0.7.1", NULL, "LOWER_UPPER", "rejection_min 1/%1, rejection_max 1/%0"},
    {"verl", "rollout_rs_threshold", "0.6", NULL, NULL, ""},
    {"verl", "tis_imp_ratio_cap", "0.5", "0.5.0", NULL,
     CORRECTION "token_truncate, vllm_importance_sampling_clip_max %"},
    {"verl", "entropy_coeff", NULL, NULL, NULL, "entropy_coef %"},
    {"verl", "rollout.n", NULL, NULL, NULL, "num_generations %"},
    {"verl", "actor.optim.lr", NULL, NULL, NULL, "learning_rate %"},
    {"verl", "actor.optim.weight_decay", NULL, NULL, NULL, "weight_decay %"},
    {"verl", "importance_sampling_level", NULL, NULL, "sequence", "importance_sampling_level sequence_token"},
    {"verl", "importance_sampling_level", NULL, NULL, "sequence_token",
     "sequence_log_ratio_max 10, dual_clip none, log_ratio_max none"},
    {"verl", "loss_type", NULL, NULL, "cispo", CISPO_1 ", loss_aggregation token_mean"},
    {"verl", "multi_objective_aggregation", NULL, NULL, "normalize_then_sum", "advantage_whitening tokens"},
    {"verl", "kl_estimator", NULL, NULL, "k1", "kl_clamp none, kl_clamp_log_ratio none"},
    {"verl", "kl_estimator", NULL, NULL, "k2", "kl_clamp none, kl_clamp_log_ratio none"},
    {"verl", "kl_estimator", NULL, NULL, "abs", "kl_clamp none, kl_clamp_log_ratio none"},

    {"openrlhf", "eps_clip", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"openrlhf", "eps_clip_low_high", "0.8.3", NULL, NULL, "epsilon %0, epsilon_high %1"},
    {"openrlhf", "init_kl_coef", NULL, NULL, NULL, "kl_reward to_go, kl_estimator k1, kl_reward_coef %"},
    {"openrlhf", "use_kl_loss", NULL, NULL, "true",
     "kl_reward_coef 0, kl_estimator k1, beta 0.01, beta @init_kl_coef"},
    {"openrlhf", "use_kl_loss", NULL, NULL, "false", "beta 0"},
    {"openrlhf", "kl.init_coef", "0.10.2", NULL, NULL, "kl_reward to_go, kl_estimator k1, kl_reward_coef %"},
    {"openrlhf", "kl.use_loss", "0.10.2", NULL, "true",
     "kl_reward_coef 0, kl_estimator k1, beta 0.01, beta @kl.init_coef"},
    {"openrlhf", "kl.use_loss", "0.10.2", NULL, "false", "beta 0"},
    {"openrlhf", "kl.estimator", "0.10.2", NULL, NULL, "kl_estimator %"},
    {"openrlhf", "advantage_estimator", NULL, NULL, "group_norm", ""},
    {"openrlhf", "advantage_estimator", NULL, NULL, "dr_grpo", "scale_rewards none"},
    {"openrlhf", "advantage_estimator", NULL, NULL, "rloo", "baseline leave_one_out, scale_rewards none"},
    {"openrlhf", "advantage_estimator", NULL, NULL, "reinforce_baseline",
     "scale_rewards none, advantage_whitening tokens_population"},
    {"openrlhf", "advantage.estimator", "0.10.2", NULL, "group_norm", ""},
    {"openrlhf", "advantage.estimator", "0.10.2", NULL, "dr_grpo", "scale_rewards none"},
    {"openrlhf", "advantage.estimator", "0.10.2", NULL, "rloo", "baseline leave_one_out, scale_rewards none"},
    {"openrlhf", "advantage.estimator", "0.10.2", NULL, "reinforce_baseline",
     "scale_rewards none, advantage_whitening tokens_population"},
    {"openrlhf", "policy_loss_type", "0.8.9", NULL, "ppo", ""},
    {"openrlhf", "policy_loss_type", "0.8.9", NULL, "gspo",
     "importance_sampling_level sequence, loss_aggregation sequence_mean"},
    /* PolicyLoss's own argument, which its caller then gives the KL too */
    {"openrlhf", "token_level_loss", "0.7", NULL, "true", "loss_aggregation token_mean"},
    {"openrlhf", "token_level_loss", "0.7", NULL, "false",
     "loss_aggregation sequence_mean, kl_aggregation policy"},
    {"openrlhf", "enable_vllm_is_correction", "0.8.11", NULL, "true", CORRECTION "token_truncate, "
     "vllm_importance_sampling_clip_min 0.5, vllm_importance_sampling_clip_max 5"},
    {"openrlhf", "enable_vllm_is_correction", "0.8.11", NULL, "false", ""},
    {"openrlhf", "vllm_is_truncated_threshold", "0.8.11", NULL, NULL,
     "vllm_importance_sampling_clip_min %0, vllm_importance_sampling_clip_max %1"},
    {"openrlhf", "vllm_is_correction_type", "0.9.8", NULL, "tis", ""},
    {"openrlhf", "vllm_is_correction_type", "0.9.8", NULL, "icepop",
     "vllm_importance_sampling_mode token_mask"},
    {"openrlhf", "is_correction_enable", "0.10.2", NULL, "true", CORRECTION "token_truncate, "
     "vllm_importance_sampling_clip_min 0.5, vllm_importance_sampling_clip_max 5"},
    {"openrlhf", "is_correction_enable", "0.10.2", NULL, "false", ""},
    {"openrlhf", "is_correction_threshold", "0.10.2", NULL, NULL,
     "vllm_importance_sampling_clip_min %0, vllm_importance_sampling_clip_max %1"},
    {"openrlhf", "is_correction_type", "0.10.2", NULL, "tis", ""},
    {"openrlhf", "is_correction_type", "0.10.2", NULL, "icepop", "vllm_importance_sampling_mode token_mask"},
    {"openrlhf", "entropy_loss_coef", NULL, NULL, NULL, "entropy_coef %"},
    {"openrlhf", "n_samples_per_prompt", NULL, NULL, NULL, "num_generations %"},
    {"openrlhf", "batch_num_tokens", "0.10.3", NULL, NULL, "num_items_in_batch %, aggregation_scope ranks"},
    {"openrlhf", "global_batch_size", "0.10.3", NULL, NULL,
     "num_sequences_in_batch %, aggregation_scope ranks"},
    {"openrlhf", "dp_size", "0.10.3", NULL, NULL, "world_size %"},
    {"openrlhf", "loss_type", NULL, NULL, "grpo", "kl_aggregation policy"},
    {"openrlhf", "importance_sampling_level", NULL, NULL, "sequence", "log_ratio_max none"},

    {"nemo-rl", "reference_policy_kl_penalty", NULL, NULL, NULL, "beta %"},
    {"nemo-rl", "reference_policy_kl_type", "0.5", NULL, NULL, "kl_estimator %"},
    {"nemo-rl", "kl_input_clamp_value", "0.5", NULL, NULL, "kl_clamp_log_ratio %"},
    {"nemo-rl", "kl_output_clamp_value", "0.5", NULL, NULL, "kl_clamp %"},
    {"nemo-rl", "use_kl_in_reward", NULL, NULL, "true",
     "kl_reward token, kl_reward_coef 0.01, kl_reward_coef @reference_policy_kl_penalty, beta 0"},
    {"nemo-rl", "use_kl_in_reward", NULL, NULL, "false", ""},
    {"nemo-rl", "ratio_clip_min", NULL, NULL, NULL, "epsilon %"},
    {"nemo-rl", "ratio_clip_max", NULL, NULL, NULL, "epsilon_high %"},
    {"nemo-rl", "ratio_clip_c", NULL, NULL, NULL, "dual_clip %"},
    {"nemo-rl", "token_level_loss", NULL, NULL, "true", "loss_aggregation token_mean"},
    {"nemo-rl", "token_level_loss", NULL, NULL, "false", "loss_aggregation sequence_mean"},
    {"nemo-rl", "disable_ppo_ratio", NULL, NULL, "true", "policy_term logp"},
    {"nemo-rl", "disable_ppo_ratio", NULL, NULL, "false", ""},
    {"nemo-rl", "use_cispo", "0.7", NULL, "true", CISPO_1},
    {"nemo-rl", "use_cispo", "0.7", NULL, "false", ""},
    {"nemo-rl", "use_importance_sampling_correction", NULL, NULL, "true",
     CORRECTION "token_truncate, vllm_importance_sampling_clip_max none"},
    {"nemo-rl", "use_importance_sampling_correction", NULL, NULL, "false", ""},
    {"nemo-rl", "truncated_importance_sampling_type", "0.6", NULL, "null", ""},
    {"nemo-rl", "truncated_importance_sampling_type", "0.6", NULL, "tis", ""},
    {"nemo-rl", "truncated_importance_sampling_type", "0.6", NULL, "icepop",
     "vllm_importance_sampling_mode token_mask"},
    {"nemo-rl", "truncated_importance_sampling_ratio", "0.4", NULL, NULL,
     "vllm_importance_sampling_clip_max %"},
    {"nemo-rl", "truncated_importance_sampling_ratio_min", "0.6", NULL, NULL,
     "vllm_importance_sampling_clip_min %"},
    {"nemo-rl", "sequence_level_importance_ratios", "0.4", NULL, "true",
     "importance_sampling_level sequence, vllm_importance_sampling_mode sequence_truncate"},
    {"nemo-rl", "sequence_level_importance_ratios", "0.4", NULL, "false", ""},
    {"nemo-rl", "use_leave_one_out_baseline", NULL, NULL, "true", ""},
    {"nemo-rl", "use_leave_one_out_baseline", NULL, NULL, "false", "baseline group, scale_rewards group"},
    {"nemo-rl", "normalize_rewards", NULL, NULL, "true", ""},
    {"nemo-rl", "normalize_rewards", NULL, NULL, "false", "scale_rewards none"},
    {"nemo-rl", "num_generations_per_prompt", NULL, NULL, NULL, "num_generations %"},
    {"nemo-rl", "global_valid_toks", NULL, NULL, NULL, "num_items_in_batch %"},
    {"nemo-rl", "global_valid_seqs", NULL, NULL, NULL, "num_sequences_in_batch %"},

    {"liger-kernel", "epsilon_low", NULL, NULL, NULL, "epsilon %"},
    {"liger-kernel", "use_bias_correction_kl", "0.8", NULL, NULL, NULL},
    {"liger-kernel", "delta", "0.8", NULL, NULL, NULL},
    {"liger-kernel", "importance_sampling_level", "0.6.3", NULL, NULL, NULL},
    {"liger-kernel", "loss_type", NULL, NULL, "dapo", GENERATION_TOKENS},
    {"liger-kernel", "loss_type", NULL, NULL, "cispo", GENERATION_TOKENS},
    {"liger-kernel", "loss_type", NULL, NULL, "vespo", GENERATION_TOKENS},

    {"unsloth", "loss_type", NULL, NULL, "dapo", GENERATION_TOKENS},
    {"unsloth", "loss_type", NULL, NULL, "cispo", GENERATION_TOKENS},
    {"unsloth", "loss_type", NULL, NULL, "vespo", GENERATION_TOKENS},

    {"torchtune", "kl_coeff", NULL, NULL, NULL, "beta %"},
    {"torchtune", "grpo_size", NULL, NULL, NULL, "num_generations %"},
    {"torchtune", "loss._component_", NULL, NULL, "torchtune.dev.grpo.loss.GRPOSimpleLoss", ""},
    {"torchtune", "loss._component_", NULL, NULL, "torchtune.dev.grpo.loss.GRPOLoss",
     "policy_term ratio, loss_aggregation token_mean"},

    {"torchforge", "group_size", NULL, NULL, NULL, "num_generations %"},

    {"areal", "eps_clip", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"areal", "eps_clip_higher", NULL, NULL, "null", ""},
    {"areal", "eps_clip_higher", NULL, NULL, NULL, "epsilon_high %"},
    {"areal", "c_clip", NULL, NULL, NULL, "dual_clip %"},
    {"areal", "kl_ctl", NULL, NULL, NULL, "kl_reward to_go, kl_reward_coef %"},
    {"areal", "reward_norm.mean_level", NULL, NULL, "group", ""},
    {"areal", "reward_norm.mean_level", NULL, NULL, "batch", "baseline batch"},
    {"areal", "reward_norm.mean_level", NULL, NULL, "null", "baseline none"},
    {"areal", "reward_norm.mean_leave1out", NULL, NULL, "true", "baseline leave_one_out"},
    {"areal", "reward_norm.mean_leave1out", NULL, NULL, "false", ""},
    {"areal", "reward_norm.std_level", NULL, NULL, "group", ""},
    {"areal", "reward_norm.std_level", NULL, NULL, "batch", "scale_rewards batch"},
    {"areal", "reward_norm.std_level", NULL, NULL, "null", "scale_rewards none"},
    {"areal", "reward_norm.std_unbiased", NULL, NULL, "true", ""},
    {"areal", "reward_norm.std_unbiased", NULL, NULL, "false", "std_ddof 0"},
    {"areal", "reward_norm.eps", NULL, NULL, NULL, "std_eps %"},
    {"areal", "n_samples", NULL, NULL, NULL, "num_generations %"},

    {"roll", "pg_clip", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"roll", "dual_clip_loss", NULL, NULL, "true", "dual_clip 1+2*epsilon"},
    {"roll", "dual_clip_loss", NULL, NULL, "false", ""},
    {"roll", "use_pg_clip_range", NULL, NULL, "true",
     "epsilon 0.2, epsilon_high 0.2, epsilon @pg_clip_low, epsilon_high @pg_clip_high"},
    {"roll", "use_pg_clip_range", NULL, NULL, "false", ""},
    {"roll", "kl_loss_coef", NULL, NULL, NULL, "beta %"},
    {"roll", "use_kl_loss", NULL, NULL, "true", "beta 0, beta @kl_loss_coef"},
    {"roll", "use_kl_loss", NULL, NULL, "false", "beta 0"},
    {"roll", "loss_agg_mode", NULL, NULL, "token-mean", "loss_aggregation token_mean"},
    {"roll", "loss_agg_mode", NULL, NULL, "seq-mean-token-mean", "loss_aggregation sequence_mean"},
    {"roll", "loss_agg_mode", NULL, NULL, "seq-mean-token-sum", "loss_aggregation sequence_sum"},
    {"roll", "loss_agg_mode", NULL, NULL, "seq-mean-token-sum-norm", "loss_aggregation fixed_total"},
    {"roll", "importance_sampling", NULL, NULL, "token", ""},
    {"roll", "importance_sampling", NULL, NULL, "seq", "importance_sampling_level sequence"},
    {"roll", "norm_mean_type", NULL, NULL, "group", ""},
    {"roll", "norm_mean_type", NULL, NULL, "batch", "baseline batch"},
    {"roll", "norm_mean_type", NULL, NULL, "null", "baseline none"},
    {"roll", "norm_std_type", NULL, NULL, "group", ""},
    {"roll", "norm_std_type", NULL, NULL, "batch", "scale_rewards batch"},
    {"roll", "norm_std_type", NULL, NULL, "null", "scale_rewards none"},
    {"roll", "batch_num_tokens", NULL, NULL, NULL, "num_items_in_batch %, aggregation_scope ranks"},
    {"roll", "global_valid_samples", NULL, NULL, NULL, "num_sequences_in_batch %, aggregation_scope ranks"},
    {"roll", "entropy_loss_coef", NULL, NULL, NULL, "entropy_coef %"},
    {"roll", "num_return_sequences_in_group", NULL, NULL, NULL, "num_generations %"},

    {"slime", "eps_clip", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"slime", "eps_clip_high", NULL, NULL, "null", ""},
    {"slime", "eps_clip_high", NULL, NULL, NULL, "epsilon_high %"},
    {"slime", "eps_clip_c", NULL, NULL, NULL, "dual_clip %"},
    {"slime", "kl_loss_coef", NULL, NULL, NULL, "beta %"},
    {"slime", "use_kl_loss", NULL, NULL, "true", "beta 0, beta @kl_loss_coef"},
    {"slime", "use_kl_loss", NULL, NULL, "false", "beta 0"},
    {"slime", "kl_loss_type", NULL, NULL, "k1", "kl_estimator k1"},
    {"slime", "kl_loss_type", NULL, NULL, "k2", "kl_estimator k2"},
    {"slime", "kl_loss_type", NULL, NULL, "k3", "kl_estimator k3"},
    {"slime", "kl_loss_type", NULL, NULL, "low_var_kl", "kl_estimator k3, kl_clamp 10"},
    {"slime", "use_unbiased_kl", NULL, NULL, "true", "use_bias_correction_kl true"},
    {"slime", "use_unbiased_kl", NULL, NULL, "false", ""},
    {"slime", "calculate_per_token_loss", NULL, NULL, "true", "loss_aggregation token_mean"},
    {"slime", "calculate_per_token_loss", NULL, NULL, "false", ""},
    {"slime", "advantage_estimator", NULL, NULL, "grpo", ""},
    {"slime", "advantage_estimator", NULL, NULL, "gspo", "importance_sampling_level sequence"},
    {"slime", "advantage_estimator", "0.3.1", NULL, "cispo", CISPO_1},
    {"slime", "grpo_std_normalization", NULL, NULL, "true", ""},
    {"slime", "grpo_std_normalization", NULL, NULL, "false", "scale_rewards none"},
    {"slime", "disable_grpo_std_normalization", NULL, NULL, "true", "scale_rewards none"},
    {"slime", "disable_grpo_std_normalization", NULL, NULL, "false", ""},
    {"slime", "use_tis", NULL, NULL, "true", CORRECTION "token_truncate, "
     "vllm_importance_sampling_clip_min 0, vllm_importance_sampling_clip_max 2, "
     "vllm_importance_sampling_clip_min @tis_clip_low, "
     "vllm_importance_sampling_clip_max @tis_clip"},
    {"slime", "use_tis", NULL, NULL, "false", ""},
    {"slime", "n_samples_per_prompt", NULL, NULL, NULL, "num_generations %"},

    {"skyrl", "eps_clip_low", NULL, NULL, NULL, "epsilon %"},
    {"skyrl", "eps_clip_high", NULL, NULL, NULL, "epsilon_high %"},
    {"skyrl", "policy_loss_type", NULL, NULL, "regular", ""},
    {"skyrl", "policy_loss_type", NULL, NULL, "dual_clip", "dual_clip 3, dual_clip @clip_ratio_c"},
    {"skyrl", "policy_loss_type", NULL, NULL, "gspo",
     "importance_sampling_level sequence_token, sequence_log_ratio_max 10, log_ratio_max none"},
    {"skyrl", "policy_loss_type", NULL, NULL, "cispo",
     "policy_term cispo, cispo_clip_min 0, cispo_clip_max 5, cispo_clip_min 1-1*cispo_eps_clip_low, "
     "cispo_clip_max 1+1*cispo_eps_clip_high"},
    {"skyrl", "kl_loss_coef", NULL, NULL, NULL, "beta %"},
    {"skyrl", "use_kl_loss", NULL, NULL, "true", "beta 0.001, beta @kl_loss_coef"},
    {"skyrl", "use_kl_loss", NULL, NULL, "false", "beta 0"},
    {"skyrl", "kl_estimator_type", NULL, NULL, NULL, "kl_estimator %"},
    {"skyrl", "loss_reduction", NULL, NULL, "token_mean", "loss_aggregation token_mean"},
    {"skyrl", "loss_reduction", NULL, NULL, "token_mean_legacy", "loss_aggregation token_mean"},
    {"skyrl", "loss_reduction", NULL, NULL, "sequence_mean", "loss_aggregation sequence_mean"},
    {"skyrl", "loss_reduction", NULL, NULL, "seq_mean_token_sum_norm", "loss_aggregation fixed_length"},
    {"skyrl", "max_seq_len", NULL, NULL, NULL, "aggregation_length %"},
    {"skyrl", "grpo_norm_by_std", NULL, NULL, "true", ""},
    {"skyrl", "grpo_norm_by_std", NULL, NULL, "false", "scale_rewards none"},
    {"skyrl", "advantage_estimator", NULL, NULL, "grpo", ""},
    {"skyrl", "advantage_estimator", NULL, NULL, "rloo", "baseline leave_one_out, scale_rewards none"},
    {"skyrl", "use_entropy_loss", NULL, NULL, "true", "entropy_coef 0.01, entropy_coef @entropy_loss_coef"},
    {"skyrl", "use_entropy_loss", NULL, NULL, "false", ""},
    {"skyrl", "n_samples_per_prompt", NULL, NULL, NULL, "num_generations %"},
    {"skyrl", "kl_estimator", NULL, NULL, "k1", "kl_clamp none, kl_clamp_log_ratio none"},
    {"skyrl", "kl_estimator", NULL, NULL, "k2", "kl_clamp none, kl_clamp_log_ratio none"},
    {"skyrl", "kl_estimator", NULL, NULL, "abs", "kl_clamp none, kl_clamp_log_ratio none"},

    {"prime-rl", "kl_tau", NULL, NULL, NULL, "beta 0+2*kl_tau"},

    {"ms-swift", "tau_pos", NULL, NULL, NULL, "sapo_temperature_pos %"},
    {"ms-swift", "tau_neg", NULL, NULL, NULL, "sapo_temperature_neg %"},
    {"ms-swift", "advantage_estimator", NULL, NULL, "grpo", ""},
    {"ms-swift", "advantage_estimator", NULL, NULL, "rloo", "baseline leave_one_out"},
    {"ms-swift", "kl_in_reward", NULL, NULL, "true", "kl_reward sequence, kl_estimator k1, kl_clamp none, "
     "kl_clamp_log_ratio none, kl_reward_coef 0.04, kl_reward_coef @beta"},
    {"ms-swift", "kl_in_reward", NULL, NULL, "false", ""},
    {"ms-swift", "overlong_filter", NULL, NULL, NULL, "mask_truncated_completions %"},
    {"ms-swift", "rollout_importance_sampling_mode", NULL, NULL, "null", ""},
    {"ms-swift", "rollout_importance_sampling_mode", NULL, NULL, NULL, CORRECTION "%, "
     "vllm_importance_sampling_clip_max 2, vllm_importance_sampling_clip_max "
     "@rollout_importance_sampling_threshold"},
    {"ms-swift", "loss_type", NULL, NULL, "dapo", GENERATION_TOKENS},
    {"ms-swift", "loss_type", NULL, NULL, "cispo", GENERATION_TOKENS},

    {"simple-grpo", "clip_param", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"simple-grpo", "num_pre_Q", NULL, NULL, NULL, "num_generations %"},

    {"nano-aha-moment", "kl_coeff", NULL, NULL, NULL, "beta %"},
    {"nano-aha-moment", "total_response_len", NULL, NULL, NULL, "num_items_in_batch %"},

    {"tiny-grpo", "kl_weight", NULL, NULL, NULL, "beta %"},
    {"tiny-grpo", "clip_eps", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"tiny-grpo", "group_size", NULL, NULL, NULL, "num_generations %"},

    {"grpo-zero", "num_target_tokens", NULL, NULL, NULL, "num_items_in_batch %"},
    {"grpo-zero", "num_answers_per_question", NULL, NULL, NULL, "num_generations %"},

    {"understand-r1-zero", "critic_type", NULL, NULL, "drgrpo", ""},
    {"understand-r1-zero", "critic_type", NULL, NULL, "grpo",
     "loss_aggregation sequence_mean, scale_rewards group, std_eps 1e-8"},
    {"understand-r1-zero", "cliprange", NULL, NULL, NULL, "epsilon %, epsilon_high %"},
    {"understand-r1-zero", "generate_max_length", NULL, NULL, NULL, "aggregation_length %"},
    {"understand-r1-zero", "num_samples", NULL, NULL, NULL, "num_generations %"},

    {"paper", "loss_type", NULL, NULL, "cispo", CISPO_1},
    {"dr_grpo", "loss_type", NULL, NULL, "cispo", CISPO_1},
};
const int n_profile_option = sizeof profile_options / sizeof *profile_options;
