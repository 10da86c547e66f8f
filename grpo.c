/* grpo.c: rewards become advantages, advantages become a weight for every token.
 *
 * In this order: advantages (E82 to E87), the paper's policy term (E99, E100), KL of a token (E94, E95), what
 * a micro-batch must know of itself (E109, E112), the loss with its derivative (E90 to E115), metrics (E122),
 * the entropy controller (E116), long replies (E119). Not here: the settings (grpo_config.c), losses of other
 * papers (variants.c), several scores into one (reward.c), the transformer that turns dlogp into gradients
 * (model.c), the optimiser (lib/optim.c).
 *
 * Departures from the paper are TRL's: n-1 and + 1e-4 in E84. */
#include "grpo.h"

#include "baselines/maxmin.h"

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

AdvantageRule grpo_advantage_rule(const GrpoConfig *c) {
    return (AdvantageRule){.baseline = c->baseline, .scale = c->scale_rewards, .zero_std = c->zero_std,
                           .single = c->single_reply, .ddof = c->std_ddof, .eps = c->std_eps};
}

bool grpo_advantage_is_plain(const GrpoConfig *c) {
    return c->baseline == BASELINE_GROUP && c->scale_rewards != SCALE_LEAVE_ONE_OUT &&
           c->zero_std == ZERO_STD_DIVIDE && c->single_reply == SINGLE_ZERO && c->std_ddof == 1;
}

void grpo_score_advantage(real *adv, real *reward, GrpoRewardStats *stats, const real *score,
                          const double *weight, const double *length, size_t n, size_t n_label,
                          size_t group_size, const GrpoConfig *c) {
    const bool by_token = c->advantage_whitening >= WHITEN_TOKENS;
    grpo_reward(reward, score, weight, n, n_label, group_size, c);                              /* E60 */
    grpo_advantage(adv, stats, reward, n, group_size, c->scale_rewards, c->std_eps);
    if (c->multi_objective_aggregation == NORMALIZE_THEN_SUM && !by_token) {
        const double std = reward_gdpo(adv, score, weight, n, n_label, group_size, c->std_eps); /* E63 */
        if (stats) stats->frac_reward_zero_std = zero_std(std) ? 1 : 0;
    } else if (!grpo_from_reward(c))
        reward_mo_grpo(adv, score, weight, n, n_label, group_size, c->std_ddof, c->std_eps);    /* E64 */
    else if (!grpo_advantage_is_plain(c)) {                                                     /* E126 */
        const AdvantageRule rule = grpo_advantage_rule(c);
        double mean, std;
        reward_moments(&mean, &std, reward, n, 1, c->std_ddof);
        for (size_t g = 0; g + group_size <= n; g += group_size)
            variant_advantage(adv + g, reward + g, length ? length + g : NULL, group_size, mean, std, &rule);
    }
    grpo_whiten_advantage(adv, length, n, c);
}

void grpo_whiten_advantage(real *adv, const double *length, size_t n, const GrpoConfig *c) {    /* E129 */
    if (c->advantage_whitening == WHITEN_COMPLETIONS) reward_whiten(adv, n, c->std_eps);
    else if (c->advantage_whitening != WHITEN_NONE)
        variant_whiten_tokens(adv, length, n, c->advantage_whitening == WHITEN_TOKENS_POPULATION);
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

double grpo_kl_estimate(double *dk, double logp, double ref, const GrpoConfig *c) {
    const double gap = ref - logp, most = c->kl_clamp_log_ratio,
                 d = fabs(gap) > most ? d_clamp(gap, -most, most) : gap;
    double k[3], slope[3];
    grpo_kl(k, slope, 0, d);
    const int of = c->kl_estimator == KL_LOSS_K3 ? 2 : c->kl_estimator == KL_LOSS_K2 ? 1 : 0;
    const double sign = c->kl_estimator == KL_LOSS_ABS && d > 0 ? -1 : 1;
    *dk = d != gap || (c->kl_estimator == KL_LOSS_ABS && d == 0) ? 0 : sign * slope[of];        /* E130 */
    return variant_kl_cut(dk, sign * k[of], gap, c->kl_clamp, c->kl_gradient);                  /* E131 */
}

/* ---- E109, E112: what a micro-batch must know of itself ---- */
GrpoIn grpo_slice(const GrpoIn *in, size_t first, size_t n) {
    GrpoIn s = *in;
    s.n_completion = n;
    s.offset += first;
    s.advantage += first;
    if (s.row_weight) s.row_weight += first;
    if (s.isr_sequence) s.isr_sequence += first;
    return s;
}

static bool masked_in(const GrpoIn *in, size_t t) { return !in->mask || in->mask[t]; }

void grpo_micro(GrpoMicro *m, const GrpoIn *in, const GrpoConfig *c, double *scratch) {
    const bool by_entropy = c->top_entropy_quantile < 1 && in->entropy;
    size_t n = 0, nonempty = 0;
    for (size_t i = 0; i < in->n_completion; i++) {
        const size_t before = n;
        for (size_t t = in->offset[i]; t < in->offset[i + 1]; t++)
            if (masked_in(in, t)) {
                if (by_entropy) scratch[n] = in->entropy[t];
                n++;
            }
        nonempty += n > before;
    }
    *m = (GrpoMicro){ in->n_completion, (double)n, -INFINITY, (double)n, (double)nonempty };
    if (!by_entropy) return;
    m->entropy_threshold = variant_quantile(scratch, n, 1 - c->top_entropy_quantile);
    size_t kept = 0;
    for (size_t j = 0; j < n; j++) kept += scratch[j] >= m->entropy_threshold;
    m->n_entropy_token = (double)kept;
}

static double at_least_1(double n) { return n > 1 ? n : 1; }
static double accumulation(const GrpoWindow *w) { return w->training ? w->gradient_accumulation_steps : 1; }

static double row_count(const GrpoConfig *c, const GrpoMicro *m) {
    return c->count_empty_rows ? (double)m->n_completion : at_least_1(m->n_nonempty);
}

/* What the update has of what the generation has. */
static double window_share(const GrpoWindow *w) {
    return w->training ? accumulation(w) / w->steps_per_generation : 1;
}

/* E138, E139: c_it by a sum of its own. */
static double weight_by(TokenSum sum, const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m,
                        double n_i) {
    const double length = isnan(c->aggregation_length) ? c->max_completion_length : c->aggregation_length;
    if (c->aggregation_scope == SCOPE_MICRO)
        return variant_token_weight(sum, n_i, m->n_token, row_count(c, m), length) / accumulation(w);
    const double share = window_share(w), ranks = c->aggregation_scope == SCOPE_RANKS ? w->n_process : 1,
                 rows = w->n_sequence > 0 ? w->n_sequence : row_count(c, m);
    return ranks * variant_token_weight(sum, n_i, w->n_item * share, rows * share, length);
}

double grpo_kl_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i) {
    return c->kl_aggregation == SUM_DEFAULT ? grpo_token_weight(c, w, m, n_i)
                                            : weight_by(c->kl_aggregation, c, w, m, n_i);
}

double grpo_entropy_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i) {
    if (c->entropy_aggregation == SUM_TOKEN_MEAN && c->aggregation_scope == SCOPE_MICRO) return NAN;
    return c->entropy_aggregation == SUM_DEFAULT ? grpo_token_weight(c, w, m, n_i)
                                                 : weight_by(c->entropy_aggregation, c, w, m, n_i);
}

double grpo_token_weight(const GrpoConfig *c, const GrpoWindow *w, const GrpoMicro *m, double n_i) {
    const double b = row_count(c, m), ga = accumulation(w);
    if (c->loss_aggregation != SUM_DEFAULT) return weight_by(c->loss_aggregation, c, w, m, n_i);
    switch (c->loss_type) {
    case LOSS_GRPO: case LOSS_SAPO: case LOSS_GMPO: return 1 / (b * at_least_1(n_i) * ga);
    case LOSS_BNPO:    return 1 / (at_least_1(m->n_token) * ga);
    case LOSS_DR_GRPO: return 1 / (b * c->max_completion_length * ga);
    case LOSS_LUSPO:   return 1 / (b * ga);
    case LOSS_DAPO: case LOSS_CISPO: case LOSS_VESPO: break;
    }
    return 1 / (at_least_1(w->n_item) / w->n_process * window_share(w));
}

/* ---- E90 to E115: the loss and its derivative ---- */
void grpo_sums_start(GrpoSums *s) {
    *s = (GrpoSums){ .low_min = NAN, .high_max = NAN };
}

static double old_at(const GrpoIn *in, size_t t) { return in->old ? in->old[t] : in->logp[t]; }
/* E90, E135: cut to +-most, NaN: not */
static double log_ratio_at(const GrpoIn *in, size_t t, double most) {
    const double lr = (double)in->logp[t] - old_at(in, t);
    return fabs(lr) > most ? d_clamp(lr, -most, most) : lr;
}

/* E135: a log ratio that is cut is a constant. */
static bool ratio_is_cut(const GrpoIn *in, size_t t, const GrpoConfig *c) {
    return fabs((double)in->logp[t] - old_at(in, t)) > c->log_ratio_max;
}

static bool by_sequence(const GrpoConfig *c) { return c->importance_sampling_level == LEVEL_SEQUENCE; }

/* Whether a token's policy term moves with its ratio. */
static bool through_ratio(const GrpoConfig *c) {
    return !grpo_term_is(c, LOSS_CISPO) && !grpo_term_is(c, LOSS_VESPO) && c->policy_term != TERM_CISPO &&
           c->policy_term != TERM_LOGP;
}

/* Whether every token's ratio is the completion's and has a gradient: E114. */
static bool shares_ratio(const GrpoConfig *c) {
    return by_sequence(c) && through_ratio(c);
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
        log_ratio += log_ratio_at(in, t, c->log_ratio_max);
        gap += isnan(d) ? 0 : d;
    }
    r.weight = grpo_token_weight(c, w, m, r.n);
    r.kl_share = c->kl_aggregation == SUM_DEFAULT ? 1 : grpo_kl_weight(c, w, m, r.n) / r.weight;
    r.entropy_weight = grpo_entropy_weight(c, w, m, r.n);
    if (in->row_weight) r.weight *= in->row_weight[i], r.entropy_weight *= in->row_weight[i];
    r.mean_log_ratio = log_ratio / at_least_1(r.n);
    r.cut = r.mean_log_ratio > c->sequence_log_ratio_max;                                       /* E135 */
    if (r.cut) r.mean_log_ratio = c->sequence_log_ratio_max;
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

/* E102, E134: the weight's bounds as they are, or TRL's. */
static void cispo_term(GrpoToken *r, double logp, double adv, const GrpoConfig *c) {
    const bool own = !isnan(c->cispo_clip_min) || !isnan(c->cispo_clip_max);
    const double low = isnan(c->cispo_clip_min) ? -INFINITY : c->cispo_clip_min,
                 high = !own ? grpo_epsilon_high(c) : isnan(c->cispo_clip_max) ? INFINITY : c->cispo_clip_max;
    r->ell = variant_cispo(&r->g, r->ratio, adv, logp, low, high);
    r->clipped = r->ratio > high || r->ratio < low;
}

/* E99 to E107, E133: ell, g and clipped of one token. */
static void policy_term(GrpoToken *r, double logp, double adv, const GrpoTold *q, const GrpoConfig *c) {
    const double low = c->epsilon, high = grpo_epsilon_high(c);
    if (grpo_term_is(c, LOSS_SAPO))
        r->ell = variant_sapo(&r->g, r->ratio, adv,
                              adv > 0 ? c->sapo_temperature_pos : c->sapo_temperature_neg);
    else if (grpo_term_is(c, LOSS_VESPO)) r->ell = variant_vespo(&r->g, q->phi, adv, logp);
    else if (grpo_term_is(c, LOSS_CISPO) || c->policy_term == TERM_CISPO) cispo_term(r, logp, adv, c);
    else if (c->policy_term == TERM_UNCLIPPED) r->ell = variant_plain(&r->g, r->ratio, adv);
    else if (c->policy_term == TERM_LOGP) r->ell = variant_logp(&r->g, adv, logp);
    else if (grpo_term_is(c, LOSS_GMPO)) {
        r->ell = variant_gmpo(&r->g, q->gmpo, r->log_ratio, adv, low, high);
        r->clipped = adv > 0 ? r->log_ratio > high : r->log_ratio < -low;
    } else {
        const double lr = c->importance_sampling_level == LEVEL_TOKEN ? r->log_ratio : q->mean_log_ratio;
        r->ell = !isnan(c->dual_clip) ? variant_dual_clip(&r->g, lr, adv, low, high, c->dual_clip)
                 : !isnan(c->delta)   ? variant_delta(&r->g, r->ratio, adv, low, high, c->delta)
                                      : grpo_clipped(&r->g, r->ratio, adv, low, high);
        r->clipped = adv != 0 && r->g == 0;
    }
}

/* E94 to E97, E130: the KL of one token, and the derivative of beta kappa by its logp; at sequence level
 * without what the ratio gives, which the completion shares (E114). cut: the ratio is a constant. */
static double kl_term(GrpoToken *r, double logp, double ref, bool cut, const GrpoConfig *c) {
    const bool times_ratio = c->use_bias_correction_kl && c->loss_type != LOSS_GMPO;
    double dk;
    r->k3 = grpo_kl_estimate(&dk, logp, ref, c);
    r->kl = times_ratio ? r->k3 * r->ratio : r->k3;                                         /* E96, E94 */
    if (!times_ratio) return c->beta * dk;                                                      /* E95 */
    if (by_sequence(c) || cut) return c->beta * r->ratio * dk;
    const bool plain = c->kl_estimator == KL_LOSS_K3 && c->kl_gradient == KL_GRADIENT_OWN &&
                       isnan(c->kl_clamp_log_ratio) && isnan(c->kl_clamp);
    return c->beta * (plain ? -r->ratio * (ref - logp) : r->ratio * (dk + r->k3));              /* E97 */
}

/* One token of a completion: everything that its loss is made of, and *own, its derivative by this token's
 * logp alone, without what the completion shares (E114). */
static GrpoToken token_at(double *own, const GrpoIn *in, size_t t, const GrpoTold *q, const GrpoConfig *c,
                          const GrpoMicro *m) {
    GrpoToken r = {.counts = true, .log_ratio = log_ratio_at(in, t, c->log_ratio_max), .k3 = NAN, .kl = NAN,
                   .weight = q->weight};
    const double adv = in->advantage_token ? (double)in->advantage_token[t] : q->adv;
    const bool by_token = c->importance_sampling_level == LEVEL_TOKEN,
               cut = by_token ? ratio_is_cut(in, t, c) : q->cut;
    /* E91; E92, E93 */
    r.ratio = by_token ? d_exp(r.log_ratio) : q->rho;
    policy_term(&r, in->logp[t], adv, q, c);
    if (in->kl_cov && in->kl_cov[t]) r.ell += variant_kl_cov(&r.g, r.log_ratio, c->kl_cov_coef);
    if (cut && through_ratio(c)) r.g = 0;                                                       /* E135 */
    /* VESPO's phi holds isr already, GMPO has none */
    const double em = !in->entropy || in->entropy[t] >= m->entropy_threshold ? 1 : 0;
    const bool no_isr = c->loss_type == LOSS_VESPO || c->loss_type == LOSS_GMPO;
    r.factor = q->keep * em * (no_isr ? 1 : in->isr_token ? (double)in->isr_token[t] : q->isr);
    if (in->policy_mask && !in->policy_mask[t]) r.factor = 0;                                   /* E136 */
    r.loss = r.term = r.factor * r.ell;                         /* E111: l = opm em isr ell + beta kappa */
    *own = shares_ratio(c) ? 0 : r.factor * r.g;
    if (c->beta != 0) {
        *own += q->kl_share * kl_term(&r, in->logp[t], in->ref[t], cut, c);
        r.loss += c->beta * r.kl;
        r.term += q->kl_share * (c->beta * r.kl);
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
    const bool shares_kl = sequence && c->use_bias_correction_kl && c->beta != 0 && !q->cut;
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
        if (shares_kl) shared += q->kl_share * (c->beta * q->weight * r.k3 * r.ratio);          /* E114 */
        if (c->beta != 0) s->kl += r.kl;
        if (c->loss_type != LOSS_GMPO) s->policy += q->weight * r.term;                         /* E112 */
        else if (c->beta != 0) s->policy += q->kl_share * (q->weight * c->beta * r.k3);
        if (dlogp) dlogp[t] = (real)(q->weight * own);                                          /* E113 */
        if (!sequence) count_ratio(s, clipped, r.log_ratio, r.ratio, q->adv, c);
    }
    if (sequence) {
        for (size_t t = in->offset[i]; dlogp && t < in->offset[i + 1]; t++)                     /* E114 */
            if (masked_in(in, t) && !ratio_is_cut(in, t, c))
                dlogp[t] = (real)(dlogp[t] + shared / at_least_1(q->n));
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
                    const bool plain = isnan(q.entropy_weight);
                    const double weight = w->entropy_coef * q.entropy_weight;                   /* E139 */
                    if (plain) s->entropy_bonus += in->entropy[t];
                    else s->weighed_bonus += weight * in->entropy[t];
                    s->n_entropy += 1;
                    dh = plain ? dbonus : -weight;                                              /* E115 */
                }
            }
            if (dentropy) dentropy[t] = (real)dh;
        }
    }
}

double grpo_loss_value(const GrpoSums *s, const GrpoWindow *w, const GrpoMicro *m) {
    if (w->entropy_coef == 0) return s->policy;
    return s->policy - s->weighed_bonus -
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
    const bool clip = grpo_clips(c) || grpo_term_is(c, LOSS_GMPO);
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
