/* mistakes.c: the catalogue: a row for each mistake, what a dump cannot hold, and which mistakes a dialect
 * means to make. */
#include "verify/mistakes.h"

#include <string.h>

#include "verify/applied.h"

/* ---- the table ---- */
#define BIT(s) (1u << STAGE_##s)
enum {
    REWARDS = BIT(REWARDS),
    ADVANTAGES = BIT(ADVANTAGES),
    SCORES = BIT(REWARDS) | BIT(ADVANTAGES),
    MASKS = BIT(MASK) | BIT(LOSS_MASK) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    VALUES = BIT(LOGPS) | BIT(OLD) | BIT(REF) | BIT(SAMPLER),
    HEAT = VALUES | BIT(ENTROPIES) | BIT(GRAD),
    ROWS = HEAT | BIT(LOGITS),
    ISR = BIT(ISR),
    RATIO = BIT(RATIO) | BIT(KL) | BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    KL = BIT(KL) | BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    TOKEN = BIT(TOKEN_LOSS) | BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    SUMS = BIT(LOSS) | BIT(DLOGP) | BIT(GRAD),
    SLOPE = BIT(DLOGP) | BIT(GRAD),
    STEP = BIT(STEP)
};

/* M: a mistake; V: one with a value; S: one that is known by the size of its errors */
#define M(...) {__VA_ARGS__, 0, false}
#define V(...) {__VA_ARGS__, false}
#define S(...) {__VA_ARGS__, true}
/* why several do not show */
#define SMALL_EPS "the deviation is large against 1e-4 in this precision, or not used"
#define EQUAL_LENGTHS "equal lengths hide the normalisation, or that is declared"
#define NO_KL "beta is 0, or there is no reference"
#define TOO_COARSE "the dump's own precision hides it"
#define MODELS_EPS "that is the model's, or below this precision"
#define ONE_RATIO "that is declared, or all ratios are 1"
const Mistake mistakes[] = {
    M("D3-missing-mean", REWARDS, "E61",
      "a missing score is replaced by the group's mean of that label "
      "instead of counting 0",
      "no score is missing", apply_missing_mean),
    M("D4-first-label", SCORES, "E60", "only label 0 is used, as TRL reads logits[:, 0] of a reward network",
      "there is no rewards_per_func, one label only, or the sum is not used", apply_first_label),
    M("weights-normalised", SCORES, "E60", "the label weights are divided by their sum",
      "there is no rewards_per_func, the weights sum to 1, or normalising hides it",
      apply_weights_normalised),
    M("weights-ignored", SCORES, "E60", "all label weights are 1",
      "there is no rewards_per_func, or the "
      "weights are 1",
      apply_weights_ignored),

    V("D1-population", ADVANTAGES, "E83", "the deviation divides by n instead of n - 1 (NumPy's default)",
      "rewards are not divided by a group's deviation", apply_population, NAN),
    V("D1-eps-0", ADVANTAGES, "E84", "no epsilon beside the deviation (the papers)", SMALL_EPS,
      apply_other_eps, 0),
    V("D1-eps-1e-6", ADVANTAGES, "E84", "epsilon 1e-6 instead of 1e-4 (verl)", SMALL_EPS, apply_other_eps,
      1e-6),
    V("D1-eps-1e-8", ADVANTAGES, "E84", "epsilon 1e-8 instead of 1e-4", SMALL_EPS, apply_other_eps, 1e-8),
    V("D1-eps-1e-9", ADVANTAGES, "E84", "epsilon 1e-9 instead of 1e-4 (OpenRLHF)", SMALL_EPS, apply_other_eps,
      1e-9),
    V("D1-population-1e-8", ADVANTAGES, "E83", "the deviation divides by n, and epsilon is 1e-8",
      "rewards are not divided by a group's deviation", apply_population, 1e-8),
    M("D1-eps-in-root", ADVANTAGES, "E84", "epsilon stands inside the root: sqrt(var + 1e-4)",
      "rewards are not divided by a deviation", apply_eps_in_root),
    M("D2-single-scored", ADVANTAGES, "E87",
      "the only scored member of a group keeps its score as advantage "
      "(verl: mean 0, deviation 1)",
      "no group has a single scored member", apply_single_scored),
    M("D3-nan-to-zero", ADVANTAGES, "E62",
      "missing scores become 0 before the labels are normalised "
      "(NVIDIA's program)",
      "no score is missing, or labels are not normalised", apply_nan_to_zero),
    M("D5-batch-mean", ADVANTAGES, "E85", "scale_rewards batch takes the mean from the batch too",
      "scale_rewards is not batch", apply_batch_mean),
    M("batch-statistics", ADVANTAGES, "E82", "mean and deviation of the whole batch instead of the group's",
      "one group only, or labels are normalised apart", apply_batch_statistics),
    V("scale-none", ADVANTAGES, "E86", "not divided by any deviation",
      "scale_rewards is none, or without effect", apply_other_scale, SCALE_NONE),
    V("scale-batch", ADVANTAGES, "E85", "divided by the batch's deviation",
      "scale_rewards is batch, or without effect", apply_other_scale, SCALE_BATCH),
    V("scale-group", ADVANTAGES, "E84", "divided by the group's deviation",
      "scale_rewards is group, or without effect", apply_other_scale, SCALE_GROUP),
    M("no-baseline", ADVANTAGES, "E84", "the group's mean is not subtracted",
      "means are 0, or labels are normalised apart", apply_no_baseline),
    M("rloo", ADVANTAGES, "E89", "leave-one-out baseline, no division", "labels are normalised apart",
      apply_rloo),
    M("groups-interleaved", ADVANTAGES, "E82",
      "member j of group g is looked for at j * n_group + g: groups "
      "interleaved instead of side by side",
      "one group only", apply_interleaved),
    V("aggregation-sum", ADVANTAGES, "E60", "labels are summed, then normalised",
      "that is declared, or there are no rewards", apply_other_aggregation, SUM_THEN_NORMALIZE),
    V("aggregation-gdpo", ADVANTAGES, "E63",
      "each label is normalised, the sum whitened over the batch "
      "(normalize_then_sum)",
      "that is declared, or there is no rewards_per_func", apply_other_aggregation, NORMALIZE_THEN_SUM),
    V("aggregation-mo", ADVANTAGES, "E64", "z-scores of the labels are summed without whitening (mo_grpo)",
      "that is declared, or there is no rewards_per_func", apply_other_aggregation, MO_GRPO),
    M("D6-population", ADVANTAGES, "E64", "mo_grpo with the population deviation",
      "the aggregation is not mo_grpo", apply_mo_population),
    M("D6-eps-0", ADVANTAGES, "E64", "mo_grpo without epsilon",
      "the aggregation is not mo_grpo, or "
      "deviations are large against 1e-4",
      apply_mo_eps_0),
    M("D7-token-whitening", ADVANTAGES, "E63", "the sum is whitened over tokens, not completions (verl)",
      "the aggregation is not normalize_then_sum, or lengths are unknown", apply_token_whitening),
    M("D38-nan", ADVANTAGES, "E84", "a group without spread gives 0/0 = NaN instead of 0",
      "every group has spread", apply_nan_without_spread),
    M("D15-in-reward", ADVANTAGES | TOKEN, "E125",
      "beta times the summed k1 is taken off the reward, as in "
      "PPO and RLOO, instead of a term of the loss",
      "beta is 0, or there are no reference log-probabilities", apply_kl_in_reward),

    M("D9-no-stop", MASKS, "E22", "the stop token is left out of the mask",
      "no completion ends with a stop token", apply_no_stop),
    M("D9-no-first", MASKS, "E22", "the first token of every completion is left out of the mask",
      "there are no masks", apply_no_first),
    M("D9-with-prompt", MASKS, "E22", "the prompt's last token counts as well",
      "prompt and completion are "
      "apart in this dump",
      apply_with_prompt_last),
    M("mask-with-prompt", MASKS, "E22", "the prompt's tokens count as well",
      "prompt and completion are "
      "apart in this dump",
      apply_with_prompt),
    M("mask-with-padding", MASKS, "E22", "padding counts as well",
      "no completion is shorter than the longest", apply_with_padding),
    M("D9-pad-is-eos", MASKS, "E22", "every token equal to pad_token_id is masked away, the stop token too",
      "pad and stop token differ", apply_pad_is_stop),

    M("D8-no-temperature", HEAT, "E23", "logits are not divided by the temperature", "the temperature is 1",
      apply_no_temperature),
    M("temperature-twice", HEAT, "E23", "logits are divided by the temperature twice", "the temperature is 1",
      apply_temperature_twice),
    M("D8-temperature-eps", HEAT, "E23", "logits are divided by the temperature + 1e-7 (TRL's PPO)",
      "that is below this precision", apply_temperature_eps),
    M("D10-shift", ROWS, "E22", "the row of the token itself instead of the one before it", "",
      apply_shifted),
    M("D11-positions", ROWS, "E30", "positions count the padding",
      "no prompt is padded on its right, and "
      "rotary positions are relative",
      apply_padded_positions),
    M("D13-interleaved", ROWS, "E10", "rotary pairs are (2i, 2i+1) instead of (i, i + d/2)", "",
      apply_interleaved_pairs),
    M("D13-theta-10000", ROWS, "E9", "rotary base 10000 whatever rope_theta says", "rope_theta is 10000",
      apply_theta_10000),
    M("D13-no-scaling", ROWS, "E12", "rope_scaling is ignored", "the model has none", apply_no_rope_scaling),
    M("D14-head-zero", ROWS & ~BIT(GRAD), "E4",
      "the head's weights are 0: a tied lm_head that was not in "
      "the file",
      "", apply_head_zero),
    M("qkv-bias-missing", ROWS, "E13", "the biases of q, k and v are left out", "the model has none",
      apply_no_qkv_bias),
    M("qk-norm-missing", ROWS & ~BIT(GRAD), "E13", "q_norm and k_norm are left out", "the model has none",
      apply_no_qk_norm),
    V("norm-eps-1e-5", ROWS, "E7", "rms_norm_eps 1e-5", MODELS_EPS, apply_norm_eps, 1e-5),
    V("norm-eps-1e-6", ROWS, "E7", "rms_norm_eps 1e-6", MODELS_EPS, apply_norm_eps, 1e-6),
    V("norm-eps-1e-8", ROWS, "E7", "rms_norm_eps 1e-8", MODELS_EPS, apply_norm_eps, 1e-8),
    M("attention-scale-missing", ROWS, "E14", "q.k is not divided by sqrt(d)", "", apply_unscaled_attention),
    M("D27-kept-only", VALUES & ~BIT(SAMPLER), "E29",
      "log-probabilities over what top_k, top_p and min_p "
      "kept, instead of all of the vocabulary",
      "no filter is on, or it drops nothing", apply_kept_only),
    V("D28-logits-bf16", VALUES | BIT(LOGITS) | BIT(ENTROPIES), "E4", "logits are rounded to bfloat16",
      TOO_COARSE, apply_round_logits, PRECISION_BF16),
    V("D28-logits-fp16", VALUES | BIT(LOGITS) | BIT(ENTROPIES), "E4", "logits are rounded to float16",
      TOO_COARSE, apply_round_logits, PRECISION_F16),
    V("logps-bf16", VALUES, "E23", "log-probabilities are rounded to bfloat16", TOO_COARSE, apply_round_logps,
      PRECISION_BF16),
    V("logps-fp16", VALUES, "E23", "log-probabilities are rounded to float16", TOO_COARSE, apply_round_logps,
      PRECISION_F16),
    S("throughout-bf16", ROWS & ~(BIT(GRAD) | BIT(OLD)), "E4",
      "the model ran in bfloat16: errors have the "
      "size that rounding weights, hidden rows and logits to it causes",
      TOO_COARSE, apply_throughout, PRECISION_BF16),
    S("throughout-fp16", ROWS & ~(BIT(GRAD) | BIT(OLD)), "E4",
      "the model ran in float16: errors have the "
      "size that rounding weights, hidden rows and logits to it causes",
      TOO_COARSE, apply_throughout, PRECISION_F16),
    M("old-after-update", BIT(OLD), "E81", "old log-probabilities are those of the updated policy",
      "the dump has no param.NAME", apply_after_update),
    S(RECOMPUTED_OLD, BIT(OLD), "E81",
      "old log-probabilities were computed again: rounding noise makes the "
      "ratio differ from 1 on policy",
      "old is not the policy's own", apply_recomputed_old, 0),

    M("D24-token-mean", ISR, "E110", "the sequence's correction is a mean over tokens instead of a sum",
      "the mode is per token, or sampler and trainer agree", apply_isr_mean),
    M("D24-truncate-2", ISR, "E110", "truncated at 2", "nothing exceeds 2", apply_isr_truncate_2),
    M("D24-none", ISR, "E110", "no correction for the sampler: all 1", "sampler and trainer agree",
      apply_isr_none),

    M("D19-sum", RATIO, "E92", "the sequence's ratio is exp(sum) instead of exp(mean)",
      "the level is token, or all ratios are 1", apply_ratio_sum),
    M("D19-clamp-10", RATIO, "E93", "the sequence's log ratio is cut at 10 (verl)",
      "no log ratio exceeds 10, or the level is token", apply_ratio_clamp_10),
    M("lr-clamp-20", RATIO, "E304", "log ratios are cut to +-20 (verl, OpenRLHF)", "no log ratio exceeds 20",
      apply_clamp_20),
    M("ratio-inverted", RATIO, "E91", "old over new", "all ratios are 1", apply_inverted),
    V("level-token", RATIO, "E91", "a ratio per token", ONE_RATIO, apply_other_level, LEVEL_TOKEN),
    V("level-sequence", RATIO, "E92", "a ratio per completion", ONE_RATIO, apply_other_level, LEVEL_SEQUENCE),
    V("level-sequence-token", RATIO, "E93", "the completion's ratio with the token's gradient", ONE_RATIO,
      apply_other_level, LEVEL_SEQUENCE_TOKEN),

    V("D15-k1", KL, "E94", "k1 = -D instead of k3", NO_KL, apply_other_kl, K1),
    V("D15-k2", KL, "E94", "k2 = D^2/2 instead of k3", NO_KL, apply_other_kl, K2),
    V("D15-swapped", KL, "E94", "reference and policy are swapped in k3", NO_KL, apply_other_kl, K3_SWAPPED),
    V("D15-clamp", KL, "E94", "D is cut to +-20 and k3 to +-10 (verl)", "no k3 exceeds 10", apply_other_kl,
      K3_CLAMPED),
    V("D15-no-bias-correction", KL, "E96", "k3 is not multiplied by the ratio (TRL before 1.16)",
      "beta is 0, off by configuration, or all ratios are 1 and no gradient is there", apply_bias_correction,
      false),
    V("D15-bias-correction", KL, "E96", "k3 is multiplied by the ratio although switched off",
      "beta is 0, on by configuration, or all ratios are 1 and no gradient is there", apply_bias_correction,
      true),
    V("D15-k3-plus", SLOPE, "E95", "value of k3, gradient of k2", "beta is 0, or no derivative is there",
      apply_other_kl, K3_PLUS),

    M("D18-paper", TOKEN, "E102",
      "cispo's weight is clip(ratio, 1 - eps_l, 1 + eps_h), as in the paper, "
      "instead of min(ratio, eps_h)",
      "the loss is not cispo", apply_cispo_paper),
    M("clip-swapped", TOKEN, "E99", "epsilon and epsilon_high are swapped",
      "they are equal, or nothing is clipped", apply_clip_swapped),
    M("clip-low-as-high", TOKEN, "E99", "epsilon_high is ignored: epsilon on both sides",
      "they are equal, or nothing is clipped above", apply_clip_low_as_high),
    M("dual-clip-3", TOKEN, "E107", "dual clip with c = 3 although none is declared (verl)",
      "no ratio exceeds 3 where the advantage is negative", apply_dual_clip_3),
    M("delta-missing", TOKEN, "E101", "the declared delta is not applied",
      "no delta is declared, or no "
      "ratio exceeds it",
      apply_delta_missing),
    M("kl-sign", TOKEN, "E111", "beta times KL is subtracted", "beta is 0", apply_kl_sign),
    M("kl-missing", TOKEN, "E111", "the KL term is left out", "beta is 0", apply_kl_missing),
    M("loss-sign", TOKEN, "E99", "the policy term has the wrong sign: rewards are minimised",
      "all advantages are 0", apply_loss_sign),

    M("D16-sequence-mean", SUMS, "E112", "mean over a completion's tokens, then over completions (grpo's)",
      EQUAL_LENGTHS, apply_sequence_mean),
    M("D16-token-mean", SUMS, "E112", "sum over the micro-batch's tokens, divided by their number (bnpo's)",
      EQUAL_LENGTHS, apply_token_mean),
    M("D16-group-token-mean", SUMS, "E112",
      "token mean within each group, then the mean of the groups (the "
      "DAPO paper)",
      "equal lengths hide the normalisation", apply_group_token_mean),
    M("D16-dr-grpo-sum", SUMS, "E112",
      "sum over tokens, divided by completions only (Dr. GRPO without its "
      "constant)",
      "the loss is 0", apply_dr_grpo_sum),
    M("D16-nonempty", SUMS, "E112", "mean over completions that have tokens only (verl, OpenRLHF)",
      "no completion is empty", apply_nonempty),
    M("D16-global-token-mean", SUMS, "E112",
      "sum divided by all tokens of the generation batch (dapo's, "
      "without GA/S)",
      EQUAL_LENGTHS, apply_global_token_mean),
    M("D16-fixed-length", SUMS, "E112", "divided by completions times max_completion_length (dr_grpo's)",
      "that is declared", apply_fixed_length),
    M("D36-no-ga", SUMS, "E112", "dapo, cispo, vespo without the factor GA/S (TRL 1.10)",
      "the loss has no such factor, or gradient_accumulation_steps equals steps_per_generation",
      apply_window_without_ga),
    M("D37-micro-mean", SUMS, "E112", "the micro-batch's token mean over GA instead of the window's tokens",
      "the loss has no window, or it is one micro-batch", apply_window_by_micro),
    M("ga-missing", SUMS, "E112", "not divided by gradient_accumulation_steps",
      "gradient_accumulation_steps is 1", apply_ga_missing),
    M("luspo-110", SUMS, "E105", "luspo's mean over B x T, padding included (TRL 1.10)",
      "the loss is not luspo", apply_luspo_110),
    M("D38-dropped", SUMS, "E112", "completions of groups without spread leave the loss and its denominators",
      "every group has spread, or there are no rewards", apply_dropped),
    M("D25-kept-denominator", SUMS, "E109", "with the entropy mask, denominators count the kept tokens only",
      "top_entropy_quantile is 1", apply_kept_denominator),
    M("D26-n-item", SUMS, "E115",
      "the entropy bonus is divided by the tokens of the generation batch (TRL "
      "1.10)",
      "there is no entropy bonus, or that number is the micro-batch's own", apply_bonus_by_n),

    M("D14-untied-head", BIT(GRAD), "E20",
      "the tied head is a copy of its own: its part of the embedding's "
      "gradient is missing",
      "the head is not tied, or its gradient not there", apply_untied_head),
    M("D14-untied-embedding", BIT(GRAD), "E20", "the embedding's own part of the tied gradient is missing",
      "the head is not tied, or its gradient not there", apply_untied_embedding),
    M("D29-l2", STEP, "E280", "weight decay is added to the gradient (L2) instead of being decoupled",
      "weight_decay is 0", apply_adam_l2),
    M("D29-eps-inside", STEP, "E282", "epsilon is added before the bias correction",
      "gradients are large against epsilon", apply_adam_eps_inside),
    M("D29-decay-all", STEP, "E283", "weight decay on norms and biases too", "weight_decay is 0",
      apply_adam_decay_all),
    M("D29-no-clip", STEP, "E284", "the gradient's norm is not clipped",
      "the norm is below max_grad_norm, "
      "or AdamW's first step hides its length",
      apply_adam_no_clip),
    M("clip-norm-eps-0", STEP, "E284", "clipped by max_norm/n without + 1e-6",
      "nothing is clipped, or that "
      "is below this precision",
      apply_clip_eps_0),
    M("D29-no-bias-correction", STEP, "E282", "AdamW without bias correction", "the step's number is large",
      apply_adam_no_correction),
};
const int n_mistake = sizeof mistakes / sizeof *mistakes;
bool mistake_apply(const Mistake *m, Case *c, Stage s, Pool *p, Err *e) {
    return m->apply(c, s, p, e, m->value);
}

const Absent absent_mistakes[] =
    {{"D12-pooling", "the reward is read at another token (pad = eos, left padding)",
      "scores come into a dump as numbers; compare them with grpo score"},
     {"D20-score-place", "PPO: the score stands one token late",
      "belongs to PPO, which has values per token"},
     {"D21-whitening", "PPO: other masks and whitening", "belongs to PPO"},
     {"D22-ipo", "IPO: per-token means or sums", "belongs to DPO and its kin"},
     {"D23-dpo-options", "DPO: label smoothing, shifts, scores", "belongs to DPO and its kin"},
     {"D31-saw-scale", "SAW: its factor and shifts", "weights come into a dump as numbers"},
     {"D32-bmc", "BMC: the reference's weights", "belongs to BMC"},
     {"D33-maxmin", "MaxMin: worst group or worst model", "belongs to MaxMin-RLHF"},
     {"D34-dvpo", "DVPO: which advantage", "belongs to DVPO"},
     {"D35-gflownet", "GFlowNet: an extra position", "belongs to GDPO of GFlowNets"},
     {"D30-alpha", "LoRA: scaled by alpha instead of alpha / r",
      "a dump holds whole parameters; merge the adapter and compare"},
     {"D30-reference-adapter", "LoRA: the reference has the adapter on",
      "give the base as --ref-model: it shows in ref"},
     {NULL, NULL, NULL}};

/* ---- dialects ---- */
static const struct { Dialect dialect; const char *name;
} dialects[] = {
    {DIALECT_TRL_110, "D15-no-bias-correction"},
    {DIALECT_TRL_110, "D36-no-ga"},
    {DIALECT_TRL_110, "luspo-110"},
    {DIALECT_TRL_110, "D26-n-item"},
    {DIALECT_VERL, "D1-eps-1e-6"},
    {DIALECT_VERL, "D2-single-scored"},
    {DIALECT_VERL, "D7-token-whitening"},
    {DIALECT_VERL, "D15-clamp"},
    {DIALECT_VERL, "D18-paper"},
    {DIALECT_VERL, "D16-nonempty"},
    {DIALECT_VERL, "lr-clamp-20"},
    {DIALECT_VERL, "dual-clip-3"},
    {DIALECT_VERL, "D15-no-bias-correction"},
    {DIALECT_VERL, "level-sequence-token"},
    {DIALECT_VERL, "D19-clamp-10"},
    {DIALECT_OPENRLHF, "D1-eps-1e-9"},
    {DIALECT_OPENRLHF, "D15-no-bias-correction"},
    {DIALECT_OPENRLHF, "D16-nonempty"},
    {DIALECT_OPENRLHF, "lr-clamp-20"},
    {DIALECT_DR_GRPO, "scale-none"},
    {DIALECT_DR_GRPO, "D16-dr-grpo-sum"},
    {DIALECT_DR_GRPO, "D16-fixed-length"},
    {DIALECT_PAPER, "D1-eps-0"},
    {DIALECT_PAPER, "D1-population"},
    {DIALECT_PAPER, "D15-no-bias-correction"},
    {DIALECT_PAPER, "D18-paper"},
};

bool dialect_has(Dialect d, const char *mistake) {
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (dialects[i].dialect == d && !strcmp(dialects[i].name, mistake)) return true;
    return false;
}

bool mistake_changes_model(const Mistake *m) {
    static MistakeApply *const all[] = {apply_interleaved_pairs, apply_unscaled_attention,
                                        apply_no_qkv_bias,       apply_no_qk_norm,
                                        apply_theta_10000,       apply_no_rope_scaling,
                                        apply_norm_eps,          apply_throughout,
                                        apply_after_update,      apply_padded_positions};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) if (m->apply == all[i]) return true;
    return false;
}
