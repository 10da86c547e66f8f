/* reward.h: scores of K labels: their regression loss, their quality, and how they become one reward.
 *
 * Arrays of scores and labels are [n, n_label], one row a completion; NaN = missing. Completions of one
 * prompt lie side by side: row i belongs to group i / group_size. Statistics are in double, two passes,
 * ascending (E303); n-1 divides unless said. Nothing here allocates, and nothing knows the model. */
#ifndef REWARD_H
#define REWARD_H

#include "lib/base.h"
#include "lib/real.h"

/* ---- statistics that leave NaN out ---- */

/* Mean and standard deviation (divisor count - ddof) of x[0], x[stride], ... (n values), NaN left out.
 * Returns the count; mean is NaN if it is 0, std NaN if it is <= ddof. mean, std may be NULL. */
size_t reward_moments(double *mean, double *std, const real *x, size_t n, size_t stride, int ddof);

/* ---- E42 to E45: training the regressor ---- */

/* E42: sum of u_ik = label_weight_k * 1[label_ik is there] over n rows; label_weight NULL: all 1. Over the
 * rows of the whole optimiser step this is the denominator of E42 (E44). */
double reward_label_weight_sum(const real *label, const double *label_weight, size_t n, size_t n_label);

/* E42, E43: *loss += u (s - y)^2 / weight_sum term by term, ascending (carried over slices), and
 * dscore_ik = 2 u (s - y) / weight_sum, 0 where the label is missing; dscore may be NULL. weight_sum 0: loss
 * unchanged, dscore 0. */
void reward_regression_loss(double *loss, real *dscore, const real *score, const real *label,
                            const double *label_weight, size_t n, size_t n_label, double weight_sum);

/* E45: mean and population deviation (at least 1e-6) of each label that is there; a label never there: 0
 * and 1. */
void reward_label_moments(double *mean, double *sd, const real *label, size_t n, size_t n_label);
/* y <- (y-mu)/sd */
void reward_standardise(real *label, const double *mean, const double *sd, size_t n, size_t n_label);

/* ---- E46 to E51: how good the scores of one label are ---- */
typedef struct {
    size_t n;                                           /* rows where the label is there */
    double mse, rmse, mae, bias;                        /* E46, in the label's units */
    double r2, pearson, spearman;                       /* E47 to E49; NaN where undefined */
    double calibration_slope, calibration_intercept;    /* E50 */
    double calibration_error;                           /* E51 */
} RewardMetrics;
typedef struct { double x, y, rank; size_t at; } RewardPair;                    /* scratch */
typedef struct { double mean_score, mean_label; size_t count; } RewardBin;      /* E51 */

/* Label k of score and label [n, n_label]. scratch: n RewardPair. bin: n_bin entries, or NULL with n_bin > 0
 * still used for calibration_error. With nothing there every number but n is NaN. */
void reward_metrics(RewardMetrics *out, RewardBin *bin, int n_bin, const real *score, const real *label,
                    size_t n, size_t n_label, size_t k, RewardPair *scratch);

/* E56, E57: pairwise loss of n pairs; margin NULL: 0; center: kappa, 0 = off. dchosen, drejected are
 * overwritten (NULL: not wanted). accuracy: share of chosen > rejected; margin_mean: mean of chosen -
 * rejected. Returns the loss. */
double reward_pair_loss(real *dchosen, real *drejected, double *accuracy, double *margin_mean,
                        const real *chosen, const real *rejected, const real *margin, double center,
                        size_t n);

/* ---- E60 to E77: K scores into one reward ---- */
typedef enum { MISSING_ZERO, MISSING_MEAN } MissingLabels;
extern const char *const missing_labels_names[];        /* "zero", "mean", NULL */

/* E77: score_ik <- clip(score_ik, low_k, high_k); NaN stays. */
void reward_clip(real *score, const double *low, const double *high, size_t n, size_t n_label);

/* E60, E61: reward_i = sum_k weight_k score_ik. MISSING_ZERO: a missing score counts 0 (TRL's rule).
 * MISSING_MEAN: it counts the group's mean of that label (0 if nobody in the group has it). Every label
 * missing: NaN. Returns true if some but not all labels of some completion were missing: the caller warns,
 * since 0 is not neutral (D3). */
bool reward_weighted_sum(real *reward, const real *score, const double *weight, size_t n, size_t n_label,
                         size_t group_size, MissingLabels missing);

/* E62: z-score of each label within its group: (r - mean) / (std + eps); 0 if the deviation is 0; NaN if the
 * score is missing or fewer than ddof + 1 are there. z may be score. */
void reward_group_z(real *z, const real *score, size_t n, size_t n_label, size_t group_size, int ddof,
                    double eps);

/* E63, second line: a <- (a - mean) / (std + eps) over the n values that are not NaN, then NaN <- 0. Returns
 * std. */
double reward_whiten(real *a, size_t n, double eps);

/* E62, E63 (GDPO, TRL's normalize_then_sum): adv [n]. The sum is NaN (adv 0) where every score is missing; a
 * completion that is scored but alone in its group has sum 0 and counts in the whitening. Returns the batch
 * deviation of the sums. */
double reward_gdpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                   size_t group_size, double eps);

/* The same as verl has it (D7): groups' deviations + eps_group, each completion counted length_i times in
 * mean and variance, sqrt(var + eps_var). sum_out [n] may be NULL. All scores must be there. */
void reward_gdpo_by_token(real *adv, real *sum_out, const real *score, const double *weight,
                          const double *length, size_t n, size_t n_label, size_t group_size, double eps_group,
                          double eps_var);

/* E64 (MO-GRPO): sum of weighted group z-scores; labels without spread and missing scores add 0. */
void reward_mo_grpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                    size_t group_size, int ddof, double eps);

/* E66, E67 (SAW): cv [n_label] (NULL: not wanted) and weights out [n_label] from n completions; shift NULL:
 * 0. A label nobody scored has cv 0. */
void reward_saw_weights(double *weight_out, double *cv, const real *score, const double *shift, double delta,
                        size_t n, size_t n_label);
/* E67, reward level: multiplier * sum_k alpha_k w_k r_ik; alpha NULL: 1. Missing scores count 0. */
void reward_saw_reward(real *reward, const real *score, const double *saw_weight, const double *alpha,
                       double multiplier, size_t n, size_t n_label);
/* E68, advantage level: sum_k K w_k alpha_k z_ik, then E63's whitening. */
void reward_saw_advantage(real *adv, const real *score, const double *saw_weight, const double *alpha,
                          size_t n, size_t n_label, size_t group_size, double eps);

/* E69: out_i = reward_i - sum_k multiplier_k cost_ik. out may be reward. cost [n, n_cost]. */
void reward_lagrangian(real *out, const real *reward, const real *cost, const double *multiplier, size_t n,
                       size_t n_cost);
/* E70: adv_i = reward_multiplier z(reward)_i - sum_k multiplier_k z(cost_k)_i; NaN terms add 0. */
void reward_constrained_advantage(real *adv, const real *reward, const real *cost, double reward_multiplier,
                                  const double *multiplier, size_t n, size_t n_cost, size_t group_size,
                                  double eps);
/* E71: multiplier_k <- clip(multiplier_k + eta (mean cost_k - budget_k), 0, max). A cost nobody scored moves
 * nothing. */
void reward_multiplier_step(double *multiplier, const real *cost, const double *budget, double eta,
                            double max, size_t n, size_t n_cost);
/* E69 to E71 for lower bounds: the mean of label k's scores shall reach floor_k (-INFINITY: no floor, and its
 * multiplier stays 0), so that -score_ik is a cost with the budget -floor_k. adv by E70 with lambda_R 1: with
 * all multipliers 0 that of E84, bit for bit; then they move by E71, over all n rows. eta > 0; cost [n,
 * n_label] is scratch. */
void reward_floor_advantage(real *adv, real *cost, double *multiplier, const real *reward, const real *score,
                            const double *floor, double eta, double max, size_t n, size_t n_label,
                            size_t group_size, double eps);

/* E73: share [n / group_size, n_label]: weight_k Cov(r_k, R) / Var(R) in each group, over its rows without a
 * missing score; NaN if Var(R) = 0. */
void reward_label_share(double *share, const real *score, const double *weight, size_t n, size_t n_label,
                        size_t group_size);

/* E74 (Chebyshev): reward_i = min_k ((r_ik - low_k) / (high_k - low_k)) / weight_k over the scores that are
 * there. */
void reward_chebyshev(real *reward, const real *score, const double *weight, const double *low,
                      const double *high, size_t n, size_t n_label);

#endif
