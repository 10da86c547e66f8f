/* variants.h: what other papers put in the place of the paper's loss, and what a foreign sampler asks for.
 *
 * Numbers in, a loss and its derivative out: nothing here knows a struct of grpo.h, allocates, or knows the
 * model. Ragged arrays as in grpo.h: completion i owns tokens offset[i] .. offset[i+1]-1. Arrays are `real`,
 * values in between double. mask NULL: every token counts. */
#ifndef VARIANTS_H
#define VARIANTS_H

#include "lib/base.h"
#include "lib/real.h"

/* Each returns ell (to be minimised) of one token and sets *g: d ell / d log rho for the first three, d ell /
 * d logp for the others. low and high are epsilon and epsilon_high. */
/* E101: a ratio above delta is cut, also where the advantage is negative */
double variant_delta(double *g, double rho, double adv, double low, double high, double delta);
/* E107 */
double variant_dual_clip(double *g, double log_ratio, double adv, double low, double high, double c);
double variant_sapo(double *g, double rho, double adv, double temperature);     /* E103 */
/* E102 with low -infinity; E134: the weight is the ratio between low and high */
double variant_cispo(double *g, double rho, double adv, double logp, double low, double high);
double variant_plain(double *g, double rho, double adv);        /* E133: the ratio without a clip */
double variant_logp(double *g, double adv, double logp);        /* E133: no ratio at all */
double variant_vespo(double *g, double phi, double adv, double logp);           /* E104 */

typedef enum { KL_LOSS_K3, KL_LOSS_K1, KL_LOSS_K2, KL_LOSS_ABS } KlLoss;                       /* E94, E130 */
/* E131 */
typedef enum { KL_GRADIENT_OWN, KL_GRADIENT_SCORE, KL_GRADIENT_K2, KL_GRADIENT_NONE } KlGradient;
/* E133 */
typedef enum { TERM_LOSS_TYPE, TERM_RATIO, TERM_UNCLIPPED, TERM_LOGP, TERM_CISPO } PolicyTerm;
/* E138; the first: as loss_type says (E112), or for KL and entropy as the policy term */
typedef enum {
    SUM_DEFAULT, SUM_TOKEN_MEAN, SUM_SEQUENCE_MEAN, SUM_SEQUENCE, SUM_FIXED_LENGTH, SUM_FIXED_TOTAL
} TokenSum;
typedef enum { SCOPE_MICRO, SCOPE_UPDATE, SCOPE_RANKS } SumScope;                /* E139 */
extern const char *const kl_loss_names[], *const kl_gradient_names[], *const policy_term_names[],
    *const loss_aggregation_names[], *const other_aggregation_names[], *const aggregation_scope_names[];
/* E138: c_it without what accumulation makes of it, of a completion with n_i loss tokens among n_token in
 * n_row completions; length: the fixed one. */
double variant_token_weight(TokenSum sum, double n_i, double n_token, double n_row, double length);
/* E130, E131: an estimate k of the KL with its derivative *dk by logp, cut to +-most (NaN: not); *dk becomes
 * that of what is trained on; d: ref - logp before it was cut. */
double variant_kl_cut(double *dk, double k, double d, double most, KlGradient gradient);

/* E136, E137: for each loss token (A - mean A)(logp - mean logp), means over the tokens that mask counts; NaN
 * elsewhere. adv [n_token]. Returns how many count. */
size_t variant_covariance(double *cov, const real *adv, const real *logp, const unsigned char *mask,
                          size_t n_token);
/* E136: 1 for tokens from which Clip-Cov draws: cov strictly between low and high, and the band does not clip
 * them. Returns how many. */
size_t variant_clip_cov(unsigned char *eligible, const double *cov, const real *adv, const double *ratio,
                        size_t n_token, double low, double high, double epsilon, double epsilon_high);
/* E137: 1 for the share of the n counted tokens, at least one, whose cov is largest; scratch [n_token]. */
void variant_kl_cov_tokens(unsigned char *chosen, const double *cov, size_t n_token, size_t n, double share,
                           double *scratch);
double variant_kl_cov(double *g, double log_ratio, double coef);        /* E137: adds to *g */

/* E104: log W of a completion of n tokens (unclipped sum of clipped terms), and its phi. old NULL: = logp;
 * isr_token [n] and isr_sequence [1] as of E110, NULL: 1. */
double variant_vespo_log_w(const real *logp, const real *old, const unsigned char *mask, size_t n,
                           const real *isr_token, const real *isr_sequence);
double variant_vespo_phi(double log_w, double k, double lambda);

/* E106: J of a completion of n tokens, the geometric mean of its clipped ratios; old NULL: = logp. Its loss
 * is -J A, and a token's *g is that loss again, or 0 where its ratio is clipped. */
double variant_gmpo_mean(const real *logp, const real *old, const unsigned char *mask, size_t n, double adv,
                         double low, double high);
double variant_gmpo(double *g, double mean, double log_ratio, double adv, double low, double high);

/* E108: 1, or 0 for a bad completion whose mean of sampler - logp is above the threshold (NaN: off). */
double variant_off_policy_mask(double adv, double mean_gap, double threshold);
/* E109: the q-quantile of x[n] by linear interpolation; sorts x; n 0: +infinity. */
double variant_quantile(double *x, size_t n, double q);

/* E110: a sampler that is not the trainer. ratio [n_token] in token modes, 1 where masked; [n_completion] in
 * sequence modes. sampler NaN: unknown, counts as old. stats may be NULL; differences are over loss tokens
 * whose sampler value is known, ratio_mean over loss tokens (completions in sequence modes); 0 if there are
 * none. clip_min, clip_max NaN: no bound. */
typedef enum {
    ISR_TOKEN_TRUNCATE, ISR_TOKEN_MASK, ISR_SEQUENCE_TRUNCATE, ISR_SEQUENCE_MASK,
    ISR_GEOMETRIC_TRUNCATE, ISR_GEOMETRIC_MASK          /* E180: the completion's mean instead of its sum */
} IsrMode;
extern const char *const importance_sampling_mode_names[];
typedef struct { double logp_difference_mean, logp_difference_max, ratio_mean; } IsrStats;
void variant_importance_ratio(real *ratio, IsrStats *stats, const real *old, const real *sampler,
                              const unsigned char *mask, const size_t *offset, size_t n_completion,
                              IsrMode mode, double clip_min, double clip_max);
bool variant_isr_per_token(IsrMode mode);

/* E89: leave-one-out over the scored members; NaN, and the only scored one of a group: 0. normalize: whitened
 * over the batch. adv must not be reward. */
void variant_rloo_advantage(real *adv, const real *reward, size_t n, size_t group_size, bool normalize,
                            double std_eps);
double variant_overlong_penalty(size_t length, size_t max_length, size_t cache);        /* E118 */

/* ---- E126 to E129: advantages as other trainers form them ---- */
/* E84 to E86, E127 */
typedef enum { SCALE_GROUP, SCALE_BATCH, SCALE_NONE, SCALE_LEAVE_ONE_OUT } ScaleRewards;
typedef enum {
    BASELINE_GROUP, BASELINE_LEAVE_ONE_OUT, BASELINE_LENGTH, BASELINE_BATCH, BASELINE_NONE
} Baseline;
typedef enum { ZERO_STD_DIVIDE, ZERO_STD_KEEP } ZeroStd;
typedef enum { SINGLE_ZERO, SINGLE_SCORE } SingleReply;
typedef enum { WHITEN_NONE, WHITEN_COMPLETIONS, WHITEN_TOKENS, WHITEN_TOKENS_POPULATION } Whitening;
extern const char *const scale_rewards_names[], *const baseline_names[], *const zero_std_names[],
    *const single_reply_names[], *const advantage_whitening_names[];
typedef struct {
    Baseline baseline;
    ScaleRewards scale;
    ZeroStd zero_std;
    SingleReply single;
    int ddof;
    double eps;
    bool eps_in_root;                   /* sqrt(var + eps), which nobody means */
} AdvantageRule;
/* E126 to E128: adv [n] from reward [n] of one group of any size (NaN: unscored, adv 0). length [n]: loss
 * tokens, for BASELINE_LENGTH alone, else may be NULL. adv must not be reward. */
void variant_advantage(real *adv, const real *reward, const double *length, size_t n, double batch_mean,
                       double batch_std, const AdvantageRule *rule);
/* E129: every completion counts as often as it has tokens; NaN adds nothing to the sums
 * and becomes 0. */
void variant_whiten_tokens(real *adv, const double *length, size_t n, bool population);

#endif
