/* applied.h: what makes each mistake of the catalogue on purpose; for mistakes.c alone. */
#ifndef VERIFY_APPLIED_H
#define VERIFY_APPLIED_H

#include "verify/stages.h"

/* value: of the row in the table */
#define APPLY(name) bool apply_##name(Case *c, Stage s, Pool *p, Err *e, double value)
APPLY(missing_mean); APPLY(first_label); APPLY(weights_normalised); APPLY(weights_ignored); APPLY(other_eps);
APPLY(population); APPLY(eps_in_root); APPLY(single_scored); APPLY(nan_to_zero); APPLY(batch_mean);
APPLY(batch_statistics); APPLY(no_baseline); APPLY(rloo); APPLY(interleaved); APPLY(nan_without_spread);
APPLY(other_scale); APPLY(other_aggregation); APPLY(mo_population); APPLY(mo_eps_0); APPLY(token_whitening);
APPLY(kl_in_reward); APPLY(no_stop); APPLY(no_first); APPLY(with_prompt_last); APPLY(with_prompt);
APPLY(with_padding); APPLY(pad_is_stop); APPLY(no_temperature); APPLY(temperature_twice);
APPLY(temperature_eps); APPLY(shifted); APPLY(kept_only); APPLY(round_logits); APPLY(round_logps);
APPLY(head_zero); APPLY(padded_positions); APPLY(interleaved_pairs); APPLY(unscaled_attention);
APPLY(no_qkv_bias); APPLY(no_qk_norm); APPLY(theta_10000); APPLY(no_rope_scaling); APPLY(norm_eps);
APPLY(throughout); APPLY(after_update); APPLY(isr_mean); APPLY(isr_truncate_2); APPLY(isr_none);
APPLY(ratio_sum); APPLY(ratio_clamp_10); APPLY(clamp_20); APPLY(inverted); APPLY(other_level);
APPLY(recomputed_old); APPLY(other_kl); APPLY(bias_correction); APPLY(cispo_paper); APPLY(clip_swapped);
APPLY(clip_low_as_high); APPLY(dual_clip_3); APPLY(delta_missing); APPLY(kl_sign); APPLY(kl_missing);
APPLY(loss_sign); APPLY(window_without_ga); APPLY(window_by_micro); APPLY(group_token_mean); APPLY(nonempty);
APPLY(luspo_110); APPLY(dropped); APPLY(kept_denominator); APPLY(bonus_by_n); APPLY(untied_head);
APPLY(untied_embedding); APPLY(adam_l2); APPLY(adam_eps_inside); APPLY(adam_decay_all); APPLY(adam_no_clip);
APPLY(clip_eps_0); APPLY(adam_no_correction);

APPLY(sequence_mean);
APPLY(token_mean);
APPLY(global_token_mean);
APPLY(dr_grpo_sum);
APPLY(fixed_length);
APPLY(ga_missing);
APPLY(padding_without_stop);
APPLY(truncated_left_out);
APPLY(truncated_counted);
APPLY(loss_mask_ignored);
APPLY(mask_moved);
APPLY(unscored_as_zero);
APPLY(temperature_multiplied);
APPLY(clip_in_log);
APPLY(side_by_side);
APPLY(leave_one_out);
APPLY(baseline_alone);
APPLY(whitened);
APPLY(kl_clamped);
APPLY(kl_sum);
APPLY(logp_term);
APPLY(fixed_total);
APPLY(ratio_one);
APPLY(level_sum);
APPLY(isr_sum);
APPLY(isr_missing);
APPLY(ratio_to_reference);
APPLY(ratio_to_sampler);
APPLY(kl_score_function);
APPLY(kl_detached);
APPLY(kl_of_old);
APPLY(clip_missing);
APPLY(clip_other);
APPLY(gradient_detached);
APPLY(gradient_without_ratio);
APPLY(entropy_sign);
APPLY(entropy_missing);
APPLY(mean_over_padding);
APPLY(not_divided);
APPLY(other_denominator);

/* What kl_k makes of the KL, as value says. */
enum { K1, K2, K3_SWAPPED, K3_PLUS, K_ABS };

#endif
