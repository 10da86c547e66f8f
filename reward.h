/* reward.h: scores of K labels: their regression loss, and how they become one reward.
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

/* x's, as above; and sum_k weight_k z_ik of every completion, NaN terms left out. NaN only if every score is
 * missing: the only scored one of its group has z NaN, but sum 0, and counts in the whitening (as in TRL). */
double reward_z_score(double x, double mean, double std, double eps);
void reward_z_sum(real *sum, const real *score, const double *weight, size_t n, size_t n_label,
                  size_t group_size, int ddof, double eps);

/* E63, second line: a <- (a - mean) / (std + eps) over the n values that are not NaN, then NaN <- 0. Returns
 * std. */
double reward_whiten(real *a, size_t n, double eps);

/* E62, E63 (GDPO, TRL's normalize_then_sum): adv [n], 0 where every score is missing. Returns the batch
 * deviation of the sums. */
double reward_gdpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                   size_t group_size, double eps);

/* E64 (MO-GRPO): sum of weighted group z-scores; labels without spread and missing scores add 0. */
void reward_mo_grpo(real *adv, const real *score, const double *weight, size_t n, size_t n_label,
                    size_t group_size, int ddof, double eps);

/* E73: share [n / group_size, n_label]: weight_k Cov(r_k, R) / Var(R) in each group, over its rows without a
 * missing score; NaN if Var(R) = 0. */
void reward_label_share(double *share, const real *score, const double *weight, size_t n, size_t n_label,
                        size_t group_size);

#endif
