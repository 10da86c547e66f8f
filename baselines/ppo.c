/* ppo.c: PPO with a critic.
 *
 * In this order: settings, scores (E142, E152, E153), token rewards (E140, E141), advantages and returns
 * (E143 to E145), the two losses (E146 to E150). E146 is GRPO's clipped surrogate (E99), so it is that
 * function. Not here: critic and rollout, cmd/ppo.c. */
#include "baselines/ppo.h"

#include "grpo.h"

const char *const kl_estimator_names[] = { "k1", "k3", NULL };
const char *const score_norm_names[] = { "off", "standardise", "scale", NULL };

void ppo_config_default(PpoConfig *c) {
    *c = (PpoConfig){.kl_coef = 0.05, .missing_eos_penalty = NAN, .gamma = 1, .lam = 0.95, .cliprange = 0.2,
                     .cliprange_value = 0.2, .vf_coef = 0.1, .num_ppo_epochs = 4, .num_mini_batches = 1,
                     .score_clip = NAN, .whiten_advantages = true};
}

bool ppo_config_check(const PpoConfig *c, Err *e) {
    if (!(c->kl_coef >= 0) || isinf(c->kl_coef))
        return fail(e, "kl_coef: found %g, expected at least 0", c->kl_coef);
    if (!(c->gamma >= 0 && c->gamma <= 1) || !(c->lam >= 0 && c->lam <= 1))
        return fail(e, "gamma %g, lam %g: expected 0 to 1", c->gamma, c->lam);
    if (!(c->cliprange > 0 && c->cliprange < 1))
        return fail(e, "cliprange: found %g, expected between 0 and 1", c->cliprange);
    if (!(c->cliprange_value > 0))
        return fail(e, "cliprange_value: found %g, expected more than 0", c->cliprange_value);
    if (!(c->vf_coef > 0) || isinf(c->vf_coef))
        return fail(e, "vf_coef: found %g, expected more than 0", c->vf_coef);
    if (c->num_ppo_epochs < 1 || c->num_mini_batches < 1)
        return fail(e, "num_ppo_epochs %d, num_mini_batches %d: expected at least 1", c->num_ppo_epochs,
                    c->num_mini_batches);
    if (!isnan(c->score_clip) && !(c->score_clip > 0))
        return fail(e, "score_clip: found %g, expected more than 0, or none", c->score_clip);
    if (!(c->ptx_coef >= 0) || isinf(c->ptx_coef))
        return fail(e, "ptx_coef: found %g, expected at least 0", c->ptx_coef);
    return isnan(c->missing_eos_penalty) || c->missing_eos_penalty >= 0 ||
           fail(e, "missing_eos_penalty: found %g, expected at least 0, or none", c->missing_eos_penalty);
}

/* ---- scores ---- */

void ppo_moments_start(PpoMoments *m) { *m = (PpoMoments){ 0, 1, 0 }; }

void ppo_moments_add(PpoMoments *m, const real *score, size_t n) {
    double mean = 0, var = 0;
    if (!n) return;
    const double nb = (double)n;
    for (size_t i = 0; i < n; i++) mean += score[i];
    mean /= nb;
    for (size_t i = 0; i < n; i++) var += (score[i] - mean) * (score[i] - mean);
    var /= nb;
    const double d = mean - m->mean, total = m->n + nb;
    m->mean += d * nb / total;
    m->var = (m->var * m->n + var * nb + d * d * m->n * nb / total) / total;
    m->n = total;
}

double ppo_moments_std(const PpoMoments *m) { return m->n < 2 ? 0 : sqrt(m->var * m->n / (m->n - 1)); }

void ppo_normalise(real *out, const real *score, size_t n, const PpoMoments *m, ScoreNorm norm, double clip) {
    const double sd = ppo_moments_std(m);
    for (size_t i = 0; i < n; i++) {
        double s = score[i];
        if (norm == SCORES_STANDARDISED) s = (s - m->mean) / (sd + 1e-8);
        if (norm == SCORES_SCALED) s = s / (sd + 1e-8);
        out[i] = (real)(isnan(clip) ? s : d_clamp(s, -clip, clip));
    }
}

void ppo_missing_eos(real *score, const unsigned char *ended, size_t n, double penalty) {
    for (size_t i = 0; i < n && !isnan(penalty); i++) if (!ended[i]) score[i] = (real)(score[i] - penalty);
}

/* ---- token rewards, advantages, returns ---- */

void ppo_token_rewards(real *reward, real *kl, const real *old, const real *ref, const real *score,
                       const size_t *offset, size_t n_completion, const PpoConfig *c) {
    for (size_t i = 0; i < n_completion; i++)
        for (size_t t = offset[i]; t < offset[i + 1]; t++) {
            const double log_ratio = (double)ref[t] - old[t],
                         k = c->kl_estimator == KL_K3 ? grpo_k3(log_ratio) : -log_ratio;
            kl[t] = (real)k;
            reward[t] = (real)(-c->kl_coef * k + (t + 1 == offset[i + 1] ? score[i] : 0));
        }
}

void ppo_whiten(real *x, size_t n, bool keep_mean) {
    double mean = 0, var = 0;
    if (n < 2) return;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
    var /= (double)(n - 1);
    for (size_t i = 0; i < n; i++) x[i] = (real)((x[i] - mean) / sqrt(var + 1e-8) + (keep_mean ? mean : 0));
}

void ppo_gae(real *adv, real *ret, const real *reward, const real *value, const size_t *offset,
             size_t n_completion, double gamma, double lam) {
    for (size_t i = 0; i < n_completion; i++) {
        double a = 0, next = 0;                 /* A and v after the last token */
        for (size_t t = offset[i + 1]; t-- > offset[i]; next = value[t]) {
            a = (reward[t] + gamma * next - value[t]) + gamma * lam * a;
            adv[t] = (real)a;
            ret[t] = (real)(a + value[t]);
        }
    }
}

/* ---- losses ---- */

void ppo_policy_loss(PpoPolicySums *sums, real *dlogp, const real *logp, const real *old, const real *adv,
                     size_t n, double n_valid, double cliprange) {
    for (size_t t = 0; t < n; t++) {
        double g;
        const double log_ratio = (double)logp[t] - old[t], ratio = d_exp(log_ratio), a = adv[t];
        const double ell = grpo_clipped(&g, ratio, a, cliprange, cliprange);
        dlogp[t] = (real)(g / n_valid);
        sums->loss += ell;
        sums->clipped += -a * d_clamp(ratio, 1 - cliprange, 1 + cliprange) > -a * ratio;
        sums->approxkl += 0.5 * log_ratio * log_ratio;
        sums->ratio += ratio;
        sums->n++;
    }
}

void ppo_value_loss(PpoValueSums *sums, real *dvalue, const real *value, const real *old_value,
                    const real *ret, size_t n, double n_valid, double cliprange_value, double vf_coef) {
    for (size_t t = 0; t < n; t++) {
        const double v = value[t], low = old_value[t] - cliprange_value,
                     high = old_value[t] + cliprange_value, vc = d_clamp(v, low, high);
        const double plain = (v - ret[t]) * (v - ret[t]), clipped = (vc - ret[t]) * (vc - ret[t]);
        /* else |v - v_old| > c_v: the clipped value is a constant */
        const double g = plain >= clipped ? v - ret[t] : 0;
        dvalue[t] = (real)(vf_coef * g / n_valid);
        sums->loss += 0.5 * (plain >= clipped ? plain : clipped);
        sums->clipped += clipped > plain;
        sums->n++;
    }
}
