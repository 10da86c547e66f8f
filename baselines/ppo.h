/* ppo.h: PPO with a critic: scores and values to token rewards, advantages and returns, and
 * the two losses.
 *
 * Ragged arrays as in grpo.h: completion i owns tokens offset[i] .. offset[i+1]-1; value t is that of the row
 * that predicts token t. Arrays are real, values in between double, sums ascending. Nothing here allocates or
 * knows the model. */
#ifndef PPO_H
#define PPO_H

#include "lib/base.h"
#include "lib/real.h"

typedef enum { KL_K1, KL_K3 } KlEstimator;
typedef enum { SCORES_AS_THEY_ARE, SCORES_STANDARDISED, SCORES_SCALED } ScoreNorm;      /* E153 */
/* in the order of the enums, NULL at the end */
extern const char *const kl_estimator_names[], *const score_norm_names[];

/* Names and defaults of TRL 1.10's PPOConfig, which later versions lack; NaN = None. The last four are ours.
 */
typedef struct {
    double kl_coef;                     /* 0.05 */
    KlEstimator kl_estimator;           /* k1 */
    double missing_eos_penalty;         /* NaN */
    double gamma, lam;                  /* 1, 0.95 */
    bool whiten_rewards;                /* false */
    double cliprange, cliprange_value, vf_coef;         /* 0.2, 0.2, 0.1 */
    int num_ppo_epochs, num_mini_batches;               /* 4, 1 */
    ScoreNorm score_norm;               /* off */
    double score_clip;                  /* NaN: c_s of E153 */
    bool whiten_advantages;             /* true; TRL has it fixed */
    double ptx_coef;                    /* 0: E155 */
} PpoConfig;
void ppo_config_default(PpoConfig *c);
bool ppo_config_check(const PpoConfig *c, Err *e);

/* E152: mean and deviation of all scores so far. */
typedef struct { double mean, var, n; } PpoMoments;
void ppo_moments_start(PpoMoments *m);                                          /* 0, 1, 0 */
void ppo_moments_add(PpoMoments *m, const real *score, size_t n);               /* n 0: nothing happens */
/* sqrt(var n/(n-1)); 0 for n < 2 */
double ppo_moments_std(const PpoMoments *m);
/* E153: score may be out. clip NaN: not clipped. */
void ppo_normalise(real *out, const real *score, size_t n, const PpoMoments *m, ScoreNorm norm, double clip);

/* E142: score_i -= penalty where ended[i] is 0; penalty NaN: nothing happens. */
void ppo_missing_eos(real *score, const unsigned char *ended, size_t n, double penalty);
/* E140, E141: kl and reward of every token, and the score added at each completion's last token. */
void ppo_token_rewards(real *reward, real *kl, const real *old, const real *ref, const real *score,
                       const size_t *offset, size_t n_completion, const PpoConfig *c);
/* E145: x <- (x - mean)/sqrt(var + 1e-8), var with n - 1; keep_mean: + mean. n < 2: unchanged. */
void ppo_whiten(real *x, size_t n, bool keep_mean);
/* E143, E144: backwards from each completion's last token. */
void ppo_gae(real *adv, real *ret, const real *reward, const real *value, const size_t *offset,
             size_t n_completion, double gamma, double lam);

/* Carried from slice to slice; all zero at first. Divide by n. */
typedef struct { double loss, clipped, n, approxkl, ratio; } PpoPolicySums;
typedef struct { double loss, clipped, n; } PpoValueSums;
/* E146, E147 for n tokens of a minibatch of n_valid: adds to sums, overwrites dlogp. */
void ppo_policy_loss(PpoPolicySums *sums, real *dlogp, const real *logp, const real *old, const real *adv,
                     size_t n, double n_valid, double cliprange);
/* E148, E149: dvalue carries vf_coef, sums->loss does not (E150). */
void ppo_value_loss(PpoValueSums *sums, real *dvalue, const real *value, const real *old_value,
                    const real *ret, size_t n, double n_valid, double cliprange_value, double vf_coef);

#endif
