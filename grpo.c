/* grpo.c: rewards become advantages, advantages become a weight for every token.
 *
 * In this order: settings, advantages (E82 to E87), the paper's policy term (E99, E100), KL of a token (E94,
 * E95), what a micro-batch must know of itself (E109, E112), the loss with its derivative (E90 to E115),
 * metrics (E122), the entropy controller (E116), long replies (E119). Not here: losses of other papers
 * (variants.c), several scores into one (reward.c), the transformer that turns dlogp into gradients
 * (model.c), the optimiser (lib/optim.c).
 *
 * Departures from the paper are TRL's: n-1 and + 1e-4 in E84. */
#include "grpo.h"

#include "baselines/maxmin.h"

#include <float.h>

/* ---- settings ---- */
const char *const loss_type_names[] = {"grpo", "bnpo",  "dr_grpo", "dapo", "cispo",
                                       "sapo", "vespo", "luspo",   "gmpo", NULL};
const char *const importance_sampling_level_names[] = { "token", "sequence", "sequence_token", NULL };
const char *const scale_rewards_names[] = { "group", "batch", "none", NULL };
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
const Setting grpo_sampler_settings[] = {
    {"std_eps", SET_NUMBER, AT(std_eps), "1e-4", NULL, "added to the deviation"},
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
    settings_default(c, grpo_sampler_settings);
}

double grpo_epsilon_high(const GrpoConfig *c) {
    return isnan(c->epsilon_high) ? c->epsilon : c->epsilon_high;
}

static bool loss_clips(LossType t) {                         /* the loss types of E99 */
    return t == LOSS_GRPO || t == LOSS_BNPO || t == LOSS_DR_GRPO || t == LOSS_DAPO || t == LOSS_LUSPO;
}

bool grpo_config_check(const GrpoConfig *c, Err *e) {
    if (!(c->epsilon > 0 && c->epsilon < 1) && loss_clips(c->loss_type))
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
    if (!(isnan(c->delta) && isnan(c->dual_clip)) && !loss_clips(c->loss_type))
        return fail(e, "delta, dual_clip: have no effect with loss_type %s; leave them out",
                    loss_type_names[c->loss_type]);
    if (!isnan(c->dual_clip) && c->importance_sampling_level != LEVEL_TOKEN)
        return fail(e, "dual_clip: found importance_sampling_level %s, expected token",
                    importance_sampling_level_names[c->importance_sampling_level]);
    if (!(c->top_entropy_quantile >= 0 && c->top_entropy_quantile <= 1))
        return fail(e, "top_entropy_quantile: found %g, expected a number from 0 to 1",
                    c->top_entropy_quantile);
    if (!(c->sapo_temperature_pos > 0 && c->sapo_temperature_neg > 0))
        return fail(e, "sapo_temperature_pos, sapo_temperature_neg: found %g and %g, expected numbers > 0",
                    c->sapo_temperature_pos, c->sapo_temperature_neg);
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

/* ---- E82 to E89: advantages ---- */
/* a NaN is not zero: a group with one scored member has no deviation */
static bool zero_std(double s) { return s <= 1e-8; }

void grpo_advantage(real *adv, GrpoRewardStats *stats, const real *reward, size_t n, size_t group_size,
                    ScaleRewards scale, double std_eps) {
    double batch_mean, batch_std;
    reward_moments(&batch_mean, &batch_std, reward, n, 1, 1);
    if (n == 1) batch_std = 0;
    size_t zero = 0;
    for (size_t g = 0; g + group_size <= n; g += group_size) {
        double mean, std;
        reward_moments(&mean, &std, reward + g, group_size, 1, 1);                              /* E82, E83 */
        if (group_size == 1) std = 0;
        if (scale == SCALE_BATCH) std = batch_std;                                              /* E85 */
        if (zero_std(std)) zero += group_size;
        for (size_t i = g; i < g + group_size; i++) {
            double a = reward[i] - mean;
            /* E84; E86 leaves it out */
            if (scale != SCALE_NONE) a /= std + std_eps;
            adv[i] = isnan(a) ? 0 : (real)a;                                                    /* E87 */
        }
    }
    if (stats) *stats = (GrpoRewardStats){ batch_mean, batch_std, n ? (double)zero / (double)n : NAN };
}

bool grpo_from_reward(const GrpoConfig *c) {
    return c->multi_objective_aggregation != NORMALIZE_THEN_SUM && c->multi_objective_aggregation != MO_GRPO;
}

bool grpo_weighs(const GrpoConfig *c) { return c->multi_objective_aggregation <= MO_GRPO; }

bool grpo_reward(real *reward, const real *score, const double *weight, size_t n, size_t n_label,
                 size_t group_size, const GrpoConfig *c) {
    if (c->multi_objective_aggregation == WORST_GROUP) {                                        /* E221 */
        const size_t worst = maxmin_worst(NULL, score, n, n_label);
        for (size_t i = 0; i < n; i++) reward[i] = score[i * n_label + worst];
    } else if (c->multi_objective_aggregation == MIN_LABEL)
        maxmin_lowest(reward, score, n, n_label);
    else
        return reward_weighted_sum(reward, score, weight, n, n_label, group_size, c->missing_labels);
    return false;
}

void grpo_score_advantage(real *adv, real *reward, GrpoRewardStats *stats, const real *score,
                          const double *weight, size_t n, size_t n_label, size_t group_size,
                          const GrpoConfig *c) {
    grpo_reward(reward, score, weight, n, n_label, group_size, c);                              /* E60 */
    grpo_advantage(adv, stats, reward, n, group_size, c->scale_rewards, c->std_eps);
    if (c->multi_objective_aggregation == NORMALIZE_THEN_SUM) {
        const double std = reward_gdpo(adv, score, weight, n, n_label, group_size, c->std_eps); /* E63 */
        if (stats) stats->frac_reward_zero_std = zero_std(std) ? 1 : 0;
    } else if (c->multi_objective_aggregation == MO_GRPO) {
        reward_mo_grpo(adv, score, weight, n, n_label, group_size, 1, c->std_eps);              /* E64 */
    }
}

/* ---- E99, E100: the paper's policy term ---- */
double grpo_clipped(double *g, double rho, double adv, double low, double high) {
    const double plain = rho * adv, band = d_clamp(rho, 1 - low, 1 + high) * adv;
    const bool inside = adv > 0 ? rho <= 1 + high : adv < 0 && rho >= 1 - low;
    *g = inside ? -adv * rho : 0;       /* beyond the edge the smaller one is the band's, a constant */
    return -(band < plain ? band : plain);
}

/* ---- E94, E95: KL of one token ---- */
double grpo_k3(double d) {
    /* E302: near 0, expm1(d) - d loses all digits that matter; the series to d^8 is exact to a double there
     */
    if (fabs(d) < 0.02)
        return d * d *
               (1.0 / 2 +
                d * (1.0 / 6 +
                     d * (1.0 / 24 + d * (1.0 / 120 + d * (1.0 / 720 + d * (1.0 / 5040 + d / 40320))))));
    return d_expm1(d) - d;
}

void grpo_kl(double k[3], double dk[3], double logp, double ref) {
    const double d = ref - logp;
    k[0] = -d;            dk[0] = 1;
    k[1] = d * d / 2;     dk[1] = -d;
    k[2] = grpo_k3(d);    dk[2] = -d_expm1(d);
}

/* ---- E109, E112: what a micro-batch must know of itself ---- */
GrpoIn grpo_slice(const GrpoIn *in, size_t first, size_t n) {
    GrpoIn s = *in;
    s.n_completion = n;
    s.offset += first;
    s.advantage += first;
    if (s.isr_sequence) s.isr_sequence += first;
    return s;
}

static bool masked_in(const GrpoIn *in, size_t t) { return !in->mask || in->mask[t]; }

void grpo_micro(GrpoMicro *m, const GrpoIn *in, const GrpoConfig *c, double *scratch) {
    const bool by_entropy = c->top_entropy_quantile < 1 && in->entropy;
    size_t n = 0;
    for (size_t i = 0; i < in->n_completion; i++)
        for (size_t t = in->offset[i]; t < in->offset[i + 1]; t++)
            if (masked_in(in, t)) {
                if (by_entropy) scratch[n] = in->entropy[t];
                n++;
            }
    *m = (GrpoMicro){ in->n_completion, (double)n, -INFINITY, (double)n };
    if (!by_entropy) return;
    m->entropy_threshold = variant_quantile(scratch, n, 1 - c->top_entropy_quantile);
    size_t kept = 0;
    for (size_t j = 0; j < n; j++) kept += scratch[j] >= m->entropy_threshold;
    m->n_entropy_token = (double)kept;
}

static double at_least_1(double n) { return n > 1 ? n : 1; }
static double accumulation(const GrpoWindow *w) { return w->training ? w->gradient_accumulation_steps : 1; }

double grpo_token_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i) {
    const double b = (double)m->n_completion, ga = accumulation(w);
    switch (c->loss_type) {
    case LOSS_GRPO: case LOSS_SAPO: case LOSS_GMPO: return 1 / (b * at_least_1(n_i) * ga);
    case LOSS_BNPO:    return 1 / (at_least_1(m->n_token) * ga);
    case LOSS_DR_GRPO: return 1 / (b * c->max_completion_length * ga);
    case LOSS_LUSPO:   return 1 / (b * ga);
    case LOSS_DAPO: case LOSS_CISPO: case LOSS_VESPO: break;
    }
    return 1 / (at_least_1(w->n_item) / w->n_process * (w->training ? ga / w->steps_per_generation : 1));
}

/* ---- E90 to E115: the loss and its derivative ---- */
void grpo_sums_start(GrpoSums *s) {
    *s = (GrpoSums){ .low_min = NAN, .high_max = NAN };
}

static double old_at(const GrpoIn *in, size_t t) { return in->old ? in->old[t] : in->logp[t]; }
/* E90 */
static double log_ratio_at(const GrpoIn *in, size_t t) { return (double)in->logp[t] - old_at(in, t); }

static bool by_sequence(const GrpoConfig *c) { return c->importance_sampling_level == LEVEL_SEQUENCE; }

/* Whether every token's ratio is the completion's and has a gradient: E114. */
static bool shares_ratio(const GrpoConfig *c) {
    return by_sequence(c) && c->loss_type != LOSS_CISPO && c->loss_type != LOSS_VESPO;
}

static GrpoTold completion_of(const GrpoIn *in, size_t i, const GrpoConfig *c, const GrpoWindow *w,
                              const GrpoMicro *m) {
    const size_t at = in->offset[i], n = in->offset[i + 1] - at;
    const real *logp = in->logp + at, *old = in->old ? in->old + at : NULL,
               *isr = in->isr_token ? in->isr_token + at : NULL, *whole = in->isr_sequence;
    const unsigned char *mask = in->mask ? in->mask + at : NULL;
    GrpoTold r = {.adv = in->advantage[i], .phi = 1, .isr = whole ? whole[i] : 1};
    double log_ratio = 0, gap = 0;
    for (size_t t = at; t < at + n; t++) {
        if (!masked_in(in, t)) continue;
        const double d = (in->sampler ? (double)in->sampler[t] : old_at(in, t)) - in->logp[t];
        r.n += 1;
        log_ratio += log_ratio_at(in, t);
        gap += isnan(d) ? 0 : d;
    }
    r.weight = grpo_token_weight(c, w, m, r.n);
    r.mean_log_ratio = log_ratio / at_least_1(r.n);
    r.rho = d_exp(r.mean_log_ratio);
    r.keep = variant_off_policy_mask(r.adv, gap / at_least_1(r.n), c->off_policy_mask_threshold);
    if (c->loss_type == LOSS_VESPO)
        r.phi = variant_vespo_phi(variant_vespo_log_w(logp, old, mask, n, isr, whole ? whole + i : NULL),
                                  r.adv >= 0 ? c->vespo_k_pos : c->vespo_k_neg,
                                  r.adv >= 0 ? c->vespo_lambda_pos : c->vespo_lambda_neg);
    if (c->loss_type == LOSS_GMPO)
        r.gmpo = variant_gmpo_mean(logp, old, mask, n, r.adv, c->epsilon, grpo_epsilon_high(c));
    return r;
}

/* E99 to E107: ell, g and clipped of one token. */
static void policy_term(GrpoToken *r, double logp, const GrpoTold *q, const GrpoConfig *c) {
    const double low = c->epsilon, high = grpo_epsilon_high(c), adv = q->adv;
    switch (c->loss_type) {
    case LOSS_SAPO:
        r->ell = variant_sapo(&r->g, r->ratio, adv,
                              adv > 0 ? c->sapo_temperature_pos : c->sapo_temperature_neg);
        return;
    case LOSS_VESPO: r->ell = variant_vespo(&r->g, q->phi, adv, logp); return;
    case LOSS_CISPO:
        r->ell = variant_cispo(&r->g, r->ratio, adv, logp, high);
        r->clipped = r->ratio > high;
        return;
    case LOSS_GMPO:
        r->ell = variant_gmpo(&r->g, q->gmpo, r->log_ratio, adv, low, high);
        r->clipped = adv > 0 ? r->log_ratio > high : r->log_ratio < -low;
        return;
    case LOSS_GRPO: case LOSS_BNPO: case LOSS_DR_GRPO: case LOSS_DAPO: case LOSS_LUSPO: break;
    }
    r->ell = !isnan(c->dual_clip) ? variant_dual_clip(&r->g, r->log_ratio, adv, low, high, c->dual_clip)
             : !isnan(c->delta)   ? variant_delta(&r->g, r->ratio, adv, low, high, c->delta)
                                  : grpo_clipped(&r->g, r->ratio, adv, low, high);
    r->clipped = adv != 0 && r->g == 0;
}

/* E94 to E97: the KL of one token, and the derivative of beta kappa by its logp; at sequence level without
 * what the ratio gives, which the completion shares (E114). */
static double kl_term(GrpoToken *r, double gap, const GrpoConfig *c) {
    const bool times_ratio = c->use_bias_correction_kl && c->loss_type != LOSS_GMPO;
    r->k3 = grpo_k3(gap);
    r->kl = times_ratio ? r->k3 * r->ratio : r->k3;                                         /* E96, E94 */
    if (!times_ratio) return c->beta * -d_expm1(gap);                                           /* E95 */
    return by_sequence(c) ? c->beta * r->ratio * -d_expm1(gap) : c->beta * (-r->ratio * gap);   /* E97 */
}

/* One token of a completion: everything that its loss is made of, and *own, its derivative by this token's
 * logp alone, without what the completion shares (E114). */
static GrpoToken token_at(double *own, const GrpoIn *in, size_t t, const GrpoTold *q, const GrpoConfig *c,
                          const GrpoMicro *m) {
    GrpoToken r = {.counts = true, .log_ratio = log_ratio_at(in, t), .k3 = NAN, .kl = NAN,
                   .weight = q->weight};
    /* E91; E92, E93 */
    r.ratio = c->importance_sampling_level == LEVEL_TOKEN ? d_exp(r.log_ratio) : q->rho;
    policy_term(&r, in->logp[t], q, c);
    /* VESPO's phi holds isr already, GMPO has none */
    const double em = !in->entropy || in->entropy[t] >= m->entropy_threshold ? 1 : 0;
    const bool no_isr = c->loss_type == LOSS_VESPO || c->loss_type == LOSS_GMPO;
    r.factor = q->keep * em * (no_isr ? 1 : in->isr_token ? (double)in->isr_token[t] : q->isr);
    r.loss = r.factor * r.ell;                                  /* E111: l = opm em isr ell + beta kappa */
    *own = shares_ratio(c) ? 0 : r.factor * r.g;
    if (c->beta != 0) {
        *own += kl_term(&r, (double)in->ref[t] - in->logp[t], c);
        r.loss += c->beta * r.kl;
    }
    if (c->loss_type == LOSS_GMPO) r.ell = r.g = r.loss = NAN;          /* the loss is the completion's */
    return r;
}

/* E122: what a ratio, at sequence level the completion's, adds to the metrics; n[0], n[1]: those below and
 * above the band on the side that clips. */
static void count_ratio(GrpoSums *s, double n[2], double log_ratio, double ratio, double adv,
                        const GrpoConfig *c) {
    const bool gmpo = c->loss_type == LOSS_GMPO;
    const double high = grpo_epsilon_high(c), x = gmpo ? log_ratio : ratio > c->delta ? c->delta : ratio,
                 shift = gmpo ? 0 : 1;
    const bool below = x < shift - c->epsilon && adv < 0, above = x > shift + high && adv > 0;
    s->low += below;
    s->high += above;
    s->region += below || above;
    s->cispo += ratio > high && adv > 0;
    n[0] += below;
    n[1] += above;
}

static void count_share(GrpoSums *s, const double clipped[2], double n) {       /* extremes of completions */
    s->n_ratio += n;
    if (n == 0) return;
    if (!(s->low_min <= clipped[0] / n)) s->low_min = clipped[0] / n;
    if (!(s->high_max >= clipped[1] / n)) s->high_max = clipped[1] / n;
}

/* E111 to E114: a completion's terms of the loss, and their derivative. */
static void completion_loss(GrpoSums *s, real *dlogp, const GrpoIn *in, size_t i, const GrpoTold *q,
                            const GrpoConfig *c, const GrpoMicro *m) {
    const bool sequence = by_sequence(c);
    const bool shares_kl = sequence && c->use_bias_correction_kl && c->beta != 0;
    double clipped[2] = {0, 0}, shared = 0;             /* shared: Y_i of E114 */
    if (c->loss_type == LOSS_GMPO) s->policy += q->weight * at_least_1(q->n) * (-q->gmpo * q->adv);
    for (size_t t = in->offset[i]; t < in->offset[i + 1]; t++) {
        if (!masked_in(in, t)) {
            if (dlogp) dlogp[t] = 0;
            continue;
        }
        double own;
        const GrpoToken r = token_at(&own, in, t, q, c, m);
        if (shares_ratio(c)) shared += q->weight * r.factor * r.g;
        if (shares_kl) shared += c->beta * q->weight * r.k3 * r.ratio;                          /* E114 */
        if (c->beta != 0) s->kl += r.kl;
        if (c->loss_type != LOSS_GMPO) s->policy += q->weight * r.loss;                         /* E112 */
        else if (c->beta != 0) s->policy += q->weight * c->beta * r.k3;
        if (dlogp) dlogp[t] = (real)(q->weight * own);                                          /* E113 */
        if (!sequence) count_ratio(s, clipped, r.log_ratio, r.ratio, q->adv, c);
    }
    if (sequence) {
        for (size_t t = in->offset[i]; dlogp && t < in->offset[i + 1]; t++)                     /* E114 */
            if (masked_in(in, t)) dlogp[t] = (real)(dlogp[t] + shared / at_least_1(q->n));
        count_ratio(s, clipped, q->mean_log_ratio, q->rho, q->adv, c);
    }
    count_share(s, clipped, sequence ? 1 : q->n);
}

void grpo_tell(GrpoTold *whole, GrpoToken *token, const GrpoIn *in, size_t i, const GrpoConfig *c,
               const GrpoWindow *w, const GrpoMicro *m) {
    double own;
    *whole = completion_of(in, i, c, w, m);
    for (size_t t = in->offset[i]; t < in->offset[i + 1]; t++)
        token[t - in->offset[i]] = masked_in(in, t) ? token_at(&own, in, t, whole, c, m)
                                                    : (GrpoToken){.weight = whole->weight};
}

void grpo_loss(GrpoSums *s, real *dlogp, real *dentropy, const GrpoIn *in, const GrpoConfig *c,
               const GrpoWindow *w, const GrpoMicro *m) {
    const double dbonus =
        w->entropy_coef == 0 ? 0 : -w->entropy_coef / (at_least_1(m->n_entropy_token) * accumulation(w));
    for (size_t i = 0; i < in->n_completion; i++) {
        const GrpoTold q = completion_of(in, i, c, w, m);
        completion_loss(s, dlogp, in, i, &q, c, m);
        s->n_completion += 1;
        s->n_token += q.n;
        s->phi += q.phi;
        for (size_t t = in->offset[i]; t < in->offset[i + 1]; t++) {
            double dh = 0;
            if (in->entropy && masked_in(in, t)) {
                s->entropy += in->entropy[t];
                if (in->entropy[t] >= m->entropy_threshold) {
                    s->entropy_bonus += in->entropy[t];
                    s->n_entropy += 1;
                    dh = dbonus;                                                                /* E115 */
                }
            }
            if (dentropy) dentropy[t] = (real)dh;
        }
    }
}

double grpo_loss_value(const GrpoSums *s, const GrpoWindow *w, const GrpoMicro *m) {
    if (w->entropy_coef == 0) return s->policy;
    return s->policy -
           w->entropy_coef * (s->entropy_bonus / at_least_1(m->n_entropy_token)) / accumulation(w);
}

/* ---- E122: metrics ---- */
#define GRPO_NAME(field, name) name,
#define GRPO_VALUE(field, name) m->field,
const char *const grpo_metric_names[] = {GRPO_METRICS(GRPO_NAME) NULL};
double grpo_metric(const GrpoMetrics *m, int i) { return ((const double[]){GRPO_METRICS(GRPO_VALUE)})[i]; }

void grpo_metrics(GrpoMetrics *out, const GrpoSums *s, const GrpoConfig *c, const GrpoWindow *w) {
    const bool by_item =
        c->loss_type == LOSS_DAPO || c->loss_type == LOSS_CISPO || c->loss_type == LOSS_VESPO;
    const bool clip = loss_clips(c->loss_type) || c->loss_type == LOSS_GMPO;
    const double n = at_least_1(s->n_ratio);
    *out = (GrpoMetrics){
        .policy_loss = by_item ? s->policy : s->policy * accumulation(w),
        .kl = c->beta != 0 ? s->kl / at_least_1(s->n_token) : NAN,
        .entropy = s->entropy / at_least_1(s->n_token),
        .clip_low_mean = clip ? s->low / n : NAN,       .clip_low_min = clip ? s->low_min : NAN,
        .clip_high_mean = clip ? s->high / n : NAN,     .clip_high_max = clip ? s->high_max : NAN,
        .clip_region_mean = clip ? s->region / n : NAN,
        .cispo_clip_ratio = c->loss_type == LOSS_CISPO ? s->cispo / n : NAN,
        .vespo_phi_seq_mean = c->loss_type == LOSS_VESPO ? s->phi / at_least_1(s->n_completion) : NAN,
    };
}

/* ---- E116: the entropy controller ---- */
void grpo_entropy_start(GrpoEntropyControl *s, const GrpoConfig *c) {
    *s = (GrpoEntropyControl){ c->entropy_coef, INFINITY };
}

double grpo_entropy_coef(const GrpoEntropyControl *s, const GrpoConfig *c) {
    if (!c->use_adaptive_entropy) return s->coef;
    return s->last_window_entropy <= c->entropy_target ? s->coef : 0;
}

void grpo_entropy_step(GrpoEntropyControl *s, const GrpoConfig *c, double entropy_sum, double n_token) {
    if (!c->use_adaptive_entropy) return;
    const double mean = entropy_sum / at_least_1(n_token);
    if (mean <= c->entropy_target) {
        s->coef += c->entropy_coef_delta;
        if (s->coef > c->entropy_coef_max) s->coef = c->entropy_coef_max;
    } else {
        s->coef -= c->entropy_coef_delta;
        if (s->coef < c->entropy_coef_min) s->coef = c->entropy_coef_min;
    }
    s->last_window_entropy = mean;
}

/* ---- E119, E81 ---- */
void grpo_mask_truncated(unsigned char *mask, const size_t *offset, const unsigned char *ended,
                         size_t n_completion) {
    for (size_t i = 0; i < n_completion; i++)
        for (size_t t = offset[i]; !ended[i] && t < offset[i + 1]; t++) mask[t] = 0;
}

bool grpo_aligned(int gradient_accumulation_steps, int steps_per_generation, int num_iterations) {
    return gradient_accumulation_steps % (steps_per_generation * num_iterations) == 0;
}
