/* dpo.c: direct preference optimisation: from the log-probabilities of pairs to a loss and
 * its derivative.
 *
 * In this order: settings, sums of a pair (E160, E176, E177), the f-divergence (E162), the losses of one pair
 * (E163 to E174), the ranked ones (E171), all together (E161), tokens, metrics (E178). Not here: the network,
 * the reference's values (E179), cmd/dpo.c. */
#include "baselines/dpo.h"

#include <stdlib.h>
#include <string.h>

#include "baselines/tdpo.h"

const char *const dpo_loss_names[] = {"sigmoid",  "hinge",        "ipo",          "exo_pair",
                                      "nca_pair", "robust",       "bco_pair",     "sppo_hard",
                                      "aot",      "aot_unpaired", "apo_zero",     "apo_down",
                                      "discopop", "sft",          "sigmoid_norm", "ipo_sum",
                                      "tdpo1",    "tdpo2",        "flow_db",      "flow_subtb",
                                      "flow_tb",  NULL};
const char *const f_divergence_names[] = {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence",
                                          NULL};

/* ---- settings ---- */

void dpo_config_default(DpoConfig *c) {
    *c = (DpoConfig){.loss_type = {DPO_SIGMOID},
                     .loss_weight = {1},
                     .n_loss = 1,
                     .beta = 0.1,
                     .discopop_tau = 0.05,
                     .ld_alpha = NAN,
                     .f_alpha_divergence_coef = 0.5,
                     .tdpo_alpha = 0.5};
}

static bool has(const DpoConfig *c, DpoLoss type) {
    for (int j = 0; j < c->n_loss; j++) if (c->loss_type[j] == type) return true;
    return false;
}

const char *dpo_loss_among(const DpoConfig *c, const DpoLoss *type, size_t n) {
    for (size_t i = 0; i < n; i++) if (has(c, type[i])) return dpo_loss_names[type[i]];
    return NULL;
}

bool dpo_ranked(const DpoConfig *c) { return has(c, DPO_AOT) || has(c, DPO_AOT_UNPAIRED); }

bool dpo_wants_kl(const DpoConfig *c) { return has(c, DPO_TDPO1) || has(c, DPO_TDPO2); }

bool dpo_is_flow(const DpoConfig *c) {
    return has(c, DPO_FLOW_DB) || has(c, DPO_FLOW_SUBTB) || has(c, DPO_FLOW_TB);
}

bool dpo_config_check(const DpoConfig *c, Err *e) {
    static const DpoLoss alone[] = {DPO_TDPO1, DPO_TDPO2, DPO_FLOW_DB, DPO_FLOW_SUBTB, DPO_FLOW_TB};
    static const DpoLoss by_ratio[] = {DPO_NCA_PAIR,     DPO_BCO_PAIR, DPO_SPPO_HARD, DPO_AOT,
                                       DPO_AOT_UNPAIRED, DPO_APO_ZERO, DPO_APO_DOWN};
    if (c->n_loss < 1) return fail(e, "loss_type: found none, expected one or more");
    if (!(c->beta > 0) || isinf(c->beta)) return fail(e, "beta: found %g, expected more than 0", c->beta);
    if (!(c->label_smoothing >= 0 && c->label_smoothing < 0.5))
        return fail(e, "label_smoothing: found %g, expected 0 <= eps < 0.5", c->label_smoothing);
    if (has(c, DPO_EXO_PAIR) && c->label_smoothing == 0)
        return fail(e, "label_smoothing: found 0, but loss_type exo_pair takes its logarithm; the paper "
                       "recommends 1e-3");
    if (!(c->discopop_tau > 0))
        return fail(e, "discopop_tau: found %g, expected more than 0", c->discopop_tau);
    if (!isnan(c->ld_alpha) && !(c->ld_alpha >= 0 && c->ld_alpha <= 1))
        return fail(e, "ld_alpha: found %g, expected 0 to 1, or none", c->ld_alpha);
    if (!(c->tdpo_alpha >= 0) || isinf(c->tdpo_alpha))
        return fail(e, "tdpo_alpha: found %g, expected 0 or more", c->tdpo_alpha);
    const char *found = dpo_loss_among(c, alone, sizeof alone / sizeof *alone);
    if (found && (c->n_loss > 1 || c->use_weighting || !isnan(c->ld_alpha) ||
                  c->f_divergence_type != F_REVERSE_KL))
        return fail(e, "loss_type: %s stands alone: it goes without a second loss, f_divergence_type, "
                       "use_weighting and ld_alpha",
                    found);
    if (c->use_weighting && (has(c, DPO_SFT) || dpo_ranked(c)))
        return fail(e, "use_weighting: has no meaning for loss_type sft, aot and aot_unpaired, which are no "
                       "sums over pairs");
    found = dpo_loss_among(c, by_ratio, sizeof by_ratio / sizeof *by_ratio);
    if (found && c->f_divergence_type != F_REVERSE_KL)
        return fail(e, "f_divergence_type: found \"%s\", but loss_type %s is defined for reverse_kl only",
                    f_divergence_names[c->f_divergence_type], found);
    return true;
}

/* ---- sums of a pair ---- */

/* E176: weight 1 for the first `shared` tokens, alpha for the rest; alpha NaN: 1 for all. */
static double sum(const real *x, size_t n, size_t shared, double alpha) {
    double head = 0, tail = 0;
    const size_t cut = isnan(alpha) || n < shared ? n : shared;
    for (size_t t = 0; t < cut; t++) head += x[t];
    for (size_t t = cut; t < n; t++) tail += x[t];
    return cut < n ? head + alpha * tail : head;
}

void dpo_pair(DpoPair *p, const real *logp_w, const real *ref_w, size_t n_w, const real *logp_l,
              const real *ref_l, size_t n_l, const DpoConfig *c) {
    const size_t shared = n_w < n_l ? n_w : n_l;
    p->n_w = (double)n_w, p->n_l = (double)n_l;
    p->logp_w = sum(logp_w, n_w, shared, c->ld_alpha), p->logp_l = sum(logp_l, n_l, shared, c->ld_alpha);
    p->ref_w = sum(ref_w, n_w, shared, c->ld_alpha), p->ref_l = sum(ref_l, n_l, shared, c->ld_alpha);
    p->nll_w = -sum(logp_w, n_w, n_w, NAN);
    p->weight = 1;
    p->kl_w = p->kl_l = p->dkl_w = p->dkl_l = 0;
    p->dx_w = p->dx_l = p->ranked_loss = p->ranked_dx_w = p->ranked_dx_l = 0;
}

void dpo_pair_kl(DpoPair *p, const real *kl_w, const real *kl_l) {
    const size_t n_w = (size_t)p->n_w, n_l = (size_t)p->n_l;
    p->kl_w = sum(kl_w, n_w, n_w, NAN), p->kl_l = sum(kl_l, n_l, n_l, NAN);
}

static double mean_excess(const real *logp, const real *square, size_t n) {
    double s = 0;
    for (size_t t = 0; t < n; t++) s += (double)logp[t] - (double)square[t];
    return s / (double)(n ? n : 1);
}

void dpo_weight(DpoPair *p, const real *logp_w, const real *square_w, size_t n_w, const real *logp_l,
                const real *square_l, size_t n_l) {
    p->weight = d_exp(mean_excess(logp_w, square_w, n_w)) * d_exp(mean_excess(logp_l, square_l, n_l));
}

/* ---- one pair ---- */

/* E162: s(x) and s'(x). */
static double f_score(double *slope, double x, const DpoConfig *c) {
    const double a = c->f_alpha_divergence_coef - 1;
    switch (c->f_divergence_type) {
    case F_FORWARD_KL: *slope = d_exp(-x); return 1 - *slope;
    case F_JS: *slope = d_sigmoid(-x); return 0.69314718055994530942 + d_log_sigmoid(x);
    case F_ALPHA:
        if (fabs(a) < 1e-6) break;
        if (a * x > 80) { *slope = 0; return (d_exp(80) - 1) / a; }     /* the limit is a constant */
        *slope = d_exp(a * x);
        return (*slope - 1) / a;
    case F_REVERSE_KL: break;
    }
    *slope = 1;
    return x;
}

typedef struct { double w, l; } Two;            /* of the chosen and the rejected: d ell / dx */

/* E163 to E170, E172 to E174: ell of one pair, and *d its derivative by x_w and x_l. */
static double pair_loss(Two *d, DpoLoss type, const DpoPair *p, const DpoConfig *c) {
    const double beta = c->beta, eps = c->label_smoothing, x_w = p->logp_w - p->ref_w,
                 x_l = p->logp_l - p->ref_l, u = beta * x_w, y = beta * x_l;
    double slope_w, slope_l;
    const double s_w = f_score(&slope_w, x_w, c), s_l = f_score(&slope_l, x_l, c), a = beta * (s_w - s_l);
    const double n_w = p->n_w > 1 ? p->n_w : 1, n_l = p->n_l > 1 ? p->n_l : 1;
    double ell, g;                              /* g: d ell / d delta_s */
    switch (type) {
    case DPO_SIGMOID:                           /* E163 */
        ell = -d_log_sigmoid(a), g = -beta * d_sigmoid(-a);
        break;
    case DPO_HINGE:                             /* E164 */
        ell = a < 1 ? 1 - a : 0, g = a < 1 ? -beta : 0;
        break;
    case DPO_IPO: {                             /* E165 */
        const double off = s_w / n_w - s_l / n_l - 1 / (2 * beta);
        *d = (Two){ 2 * off * slope_w / n_w, -2 * off * slope_l / n_l };
        return off * off;
    }
    case DPO_IPO_SUM: {                         /* E165 of sums, as the paper has it */
        const double off = s_w - s_l - 1 / (2 * beta);
        ell = off * off, g = 2 * off;
        break;
    }
    case DPO_ROBUST:                            /* E166 */
        ell = (-(1 - eps) * d_log_sigmoid(a) + eps * d_log_sigmoid(-a)) / (1 - 2 * eps);
        g = -beta * ((1 - eps) * d_sigmoid(-a) + eps * d_sigmoid(a)) / (1 - 2 * eps);
        break;
    case DPO_EXO_PAIR: {                        /* E167 */
        const double q = d_sigmoid(a), r = d_sigmoid(-a), log_p = d_log1p(-eps), log_eps = d_log(eps);
        ell = q * (d_log_sigmoid(a) - log_p) + r * (d_log_sigmoid(-a) - log_eps),
        g = beta * q * r * (a - (log_p - log_eps));
        break;
    }
    case DPO_NCA_PAIR:                          /* E168 */
        *d = (Two){ beta * (d_sigmoid(u) / 2 - d_sigmoid(-u)), beta * d_sigmoid(y) / 2 };
        return -d_log_sigmoid(u) - d_log_sigmoid(-u) / 2 - d_log_sigmoid(-y) / 2;
    case DPO_BCO_PAIR:                          /* E169 */
        *d = (Two){ -beta * d_sigmoid(-u), beta * d_sigmoid(y) };
        return -d_log_sigmoid(u) - d_log_sigmoid(-y);
    case DPO_SPPO_HARD: {                       /* E170 */
        const double off_w = x_w - 1 / (2 * beta), off_l = x_l + 1 / (2 * beta);
        *d = (Two){ 2 * off_w, 2 * off_l };
        return off_w * off_w + off_l * off_l;
    }
    case DPO_APO_ZERO:                          /* E172 */
        *d = (Two){ -beta * d_sigmoid(u) * d_sigmoid(-u), beta * d_sigmoid(y) * d_sigmoid(-y) };
        return d_sigmoid(-u) + d_sigmoid(y);
    case DPO_APO_DOWN: {
        const double both = d_sigmoid(u - y) * d_sigmoid(y - u);
        *d = (Two){ beta * (d_sigmoid(u) * d_sigmoid(-u) - both), beta * both };
        return d_sigmoid(u) + d_sigmoid(y - u);
    }
    case DPO_DISCOPOP: {                        /* E173 */
        const double mu = d_sigmoid(a / c->discopop_tau), other = d_sigmoid(-a / c->discopop_tau),
                     power = d_exp(-a), log_sigma = d_log_sigmoid(a);
        ell = -other * log_sigma + mu * power;
        g = beta * (-other * d_sigmoid(-a) - mu * power + mu * other / c->discopop_tau * (power + log_sigma));
        break;
    }
    case DPO_SIGMOID_NORM: {                    /* E174 */
        const double b = beta * (s_w / n_w - s_l / n_l), k = -beta * d_sigmoid(-b);
        *d = (Two){ k * slope_w / n_w, -k * slope_l / n_l };
        return -d_log_sigmoid(b);
    }
    default:                                    /* of the batch, not of a pair: E171, E175 */
        *d = (Two){ 0, 0 };
        return 0;
    }
    *d = (Two){ g * slope_w, -g * slope_l };    /* E162 */
    return ell;
}

/* E202, E203, with the derivative by the KL left in the pair. */
static double pair_tdpo(Two *d, DpoPair *p, double scale, const DpoConfig *c) {
    const TdpoPair x = {p->logp_w - p->ref_w, p->logp_l - p->ref_l, p->kl_w, p->kl_l};
    TdpoPair dx;
    const double ell = has(c, DPO_TDPO1) ? tdpo1_loss(&dx, &x, c->beta)
                                         : tdpo2_loss(&dx, &x, c->beta, c->tdpo_alpha);
    *d = (Two){dx.m_w, dx.m_l};
    p->dkl_w = scale * dx.kl_w, p->dkl_l = scale * dx.kl_l;
    return ell;
}

/* ---- E171: ranked ---- */

static int by_value(const void *a, const void *b) {
    const DpoRank *x = a, *y = b;
    return x->value != y->value ? (x->value > y->value) - (x->value < y->value)
                                : (x->at > y->at) - (x->at < y->at);
}

/* Sorts the two sides of all pairs; rank[j] and rank[n + j] hold rank j of each. */
static void sort_sides(DpoRank *rank, const DpoPair *pair, size_t n, DpoLoss type) {
    for (size_t i = 0; i < n; i++) {
        const DpoPair *p = &pair[i];
        const bool unpaired = type == DPO_AOT_UNPAIRED;
        rank[i] = (DpoRank){ unpaired ? p->logp_w - p->ref_w : p->logp_w - p->logp_l, i };
        rank[n + i] = (DpoRank){ unpaired ? p->logp_l - p->ref_l : p->ref_w - p->ref_l, i };
    }
    qsort(rank, n, sizeof *rank, by_value);
    qsort(rank + n, n, sizeof *rank, by_value);
}

/* E171 of all pairs: adds to each pair what it holds: a rank's loss counts with the holder of its first side.
 */
static void add_ranked(DpoPair *pair, size_t n, DpoLoss type, double scale, const DpoConfig *c,
                       DpoRank *rank) {
    const double beta = c->beta, eps = c->label_smoothing;
    sort_sides(rank, pair, n, type);
    for (size_t j = 0; j < n; j++) {
        DpoPair *a = &pair[rank[j].at], *b = type == DPO_AOT ? a : &pair[rank[n + j].at];
        const double x = beta * (rank[j].value - rank[n + j].value),
                     k = scale * beta * (eps * d_sigmoid(x) - (1 - eps) * d_sigmoid(-x));
        a->ranked_loss += scale * (-(1 - eps) * d_log_sigmoid(x) - eps * d_log_sigmoid(-x));
        a->ranked_dx_w += k;
        b->ranked_dx_l -= k;
    }
}

/* ---- all together ---- */

void dpo_loss(double *loss, DpoPair *pair, size_t first, size_t n, size_t n_pair, double n_chosen_token,
              const DpoConfig *c, DpoRank *rank) {
    for (size_t i = 0; i < n_pair && dpo_ranked(c); i++)
        pair[i].ranked_loss = pair[i].ranked_dx_w = pair[i].ranked_dx_l = 0;
    for (int j = 0; j < c->n_loss; j++)
        if (c->loss_type[j] == DPO_AOT || c->loss_type[j] == DPO_AOT_UNPAIRED)
            add_ranked(pair, n_pair, c->loss_type[j], c->loss_weight[j] / (double)n_pair, c, rank);
    for (size_t i = first; i < first + n; i++) {
        DpoPair *p = &pair[i];
        p->dx_w = p->ranked_dx_w, p->dx_l = p->ranked_dx_l;
        *loss += p->ranked_loss;
        for (int j = 0; j < c->n_loss; j++) {
            Two d;
            const double scale = c->loss_weight[j] * p->weight / (double)n_pair;
            /* E175 */
            if (c->loss_type[j] == DPO_SFT) *loss += c->loss_weight[j] * p->nll_w / n_chosen_token;
            *loss += scale * (dpo_wants_kl(c) ? pair_tdpo(&d, p, scale, c)
                                              : pair_loss(&d, c->loss_type[j], p, c));
            p->dx_w += scale * d.w;
            p->dx_l += scale * d.l;
        }
    }
}

void dpo_derive(real *dlogp_w, real *dlogp_l, const DpoPair *p, double n_chosen_token, const DpoConfig *c) {
    const size_t n_w = (size_t)p->n_w, n_l = (size_t)p->n_l,
                 shared = isnan(c->ld_alpha) ? n_w + n_l
                          : n_w < n_l        ? n_w
                                             : n_l;
    double sft = 0;
    for (int j = 0; j < c->n_loss; j++)
        if (c->loss_type[j] == DPO_SFT) sft -= c->loss_weight[j] / n_chosen_token;
    for (size_t t = 0; t < n_w; t++)
        dlogp_w[t] = (real)((t < shared ? p->dx_w : c->ld_alpha * p->dx_w) + sft);
    for (size_t t = 0; t < n_l; t++) dlogp_l[t] = (real)(t < shared ? p->dx_l : c->ld_alpha * p->dx_l);
}

/* ---- E178 ---- */

#define DPO_NAME(field, name) name,
#define DPO_VALUE(field, name) m->field,
const char *const *dpo_metric_names(const DpoConfig *c) {
    static const char *const plain[] = {DPO_METRICS(DPO_NAME) NULL},
                             *const all[] = {DPO_METRICS(DPO_NAME) DPO_KL_METRICS(DPO_NAME) NULL};
    return dpo_wants_kl(c) ? all : plain;
}
double dpo_metric(const DpoMetrics *m, int i) {
    return ((const double[]){DPO_METRICS(DPO_VALUE) DPO_KL_METRICS(DPO_VALUE)})[i];
}

void dpo_metrics(DpoMetrics *out, const DpoPair *pair, size_t n, const DpoConfig *c) {
    double x_w = 0, x_l = 0, right = 0, logp_w = 0, logp_l = 0, kl_w = 0, kl_l = 0, b = (double)n;
    for (size_t i = 0; i < n; i++) {
        const DpoPair *p = &pair[i];
        const double w = p->logp_w - p->ref_w + p->kl_w, l = p->logp_l - p->ref_l + p->kl_l;
        x_w += w;
        x_l += l;
        right += w > l;
        logp_w += p->logp_w;
        logp_l += p->logp_l;
        kl_w += p->kl_w;
        kl_l += p->kl_l;
    }
    *out = (DpoMetrics){c->beta * x_w / b, c->beta * x_l / b, right / b,         c->beta * (x_w - x_l) / b,
                        logp_w / b,        logp_l / b,        kl_w / b,          kl_l / b,
                        (kl_w - kl_l) / b};
}
