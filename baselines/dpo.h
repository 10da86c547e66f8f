/* dpo.h: direct preference optimisation: the loss of pairs and its derivative by the
 * log-probabilities.
 *
 * A pair is a chosen (w) and a rejected (l) completion of one prompt; arrays hold their loss tokens only, in
 * nats at temperature 1. In this order: dpo_pair sums each pair's tokens, dpo_loss goes from the sums to the
 * loss and its derivatives by them, dpo_derive to the tokens. Values in between are double. Nothing here
 * allocates or knows the model. */
#ifndef DPO_H
#define DPO_H

#include "lib/base.h"
#include "lib/real.h"

typedef enum {
    DPO_SIGMOID, DPO_HINGE, DPO_IPO, DPO_EXO_PAIR, DPO_NCA_PAIR, DPO_ROBUST, DPO_BCO_PAIR, DPO_SPPO_HARD,
    DPO_AOT, DPO_AOT_UNPAIRED, DPO_APO_ZERO, DPO_APO_DOWN, DPO_DISCOPOP, DPO_SFT, DPO_SIGMOID_NORM,
    DPO_IPO_SUM, DPO_TDPO1, DPO_TDPO2, DPO_FLOW_DB, DPO_FLOW_SUBTB, DPO_FLOW_TB,
    N_DPO_LOSS
} DpoLoss;
typedef enum { F_REVERSE_KL, F_FORWARD_KL, F_JS, F_ALPHA } FDivergence;
/* TRL's and, for what TRL has not, the authors', in the order of the enums, NULL at the end */
extern const char *const dpo_loss_names[], *const f_divergence_names[];

/* Names and defaults of TRL 1.16's DPOConfig; NaN = None. */
typedef struct {
    DpoLoss loss_type[N_DPO_LOSS];      /* sigmoid */
    double loss_weight[N_DPO_LOSS];     /* 1 each */
    int n_loss;
    double beta, label_smoothing, discopop_tau, ld_alpha;       /* 0.1, 0, 0.05, NaN */
    FDivergence f_divergence_type;      /* reverse_kl */
    double f_alpha_divergence_coef;     /* 0.5 */
    bool use_weighting;                 /* false */
    double tdpo_alpha;                  /* 0.5; the authors' */
} DpoConfig;
void dpo_config_default(DpoConfig *c);
/* ranges, and settings that exclude each other */
bool dpo_config_check(const DpoConfig *c, Err *e);
/* The name of one of these n losses that is asked for; NULL: none is. */
const char *dpo_loss_among(const DpoConfig *c, const DpoLoss *type, size_t n);
/* E171: a pair's derivative needs the sums of all pairs */
bool dpo_ranked(const DpoConfig *c);
/* E201: the loss sees both models' distributions at every position */
bool dpo_wants_kl(const DpoConfig *c);
/* a loss of flow.h, which takes each text by itself: dpo_pair, dpo_loss and dpo_derive have no part in it */
bool dpo_is_flow(const DpoConfig *c);

typedef struct {                        /* one pair */
    double n_w, n_l;                    /* loss tokens */
    double logp_w, logp_l, ref_w, ref_l;        /* sums over them, with E176's weights */
    double nll_w;                       /* - sum of logp over the chosen tokens, unweighted (E175) */
    double weight;                      /* E177; 1 */
    double kl_w, kl_l;                  /* E201: sums over the loss tokens; 0 */
    double dx_w, dx_l;                  /* dpo_loss: d loss / d x of E160 */
    double dkl_w, dkl_l;                /* dpo_loss: d loss / d kl, of every token alike */
    double ranked_loss, ranked_dx_w, ranked_dx_l;       /* E171's share in the pair; dpo_loss uses it */
} DpoPair;

/* E160, E176: the sums of one pair. */
void dpo_pair(DpoPair *p, const real *logp_w, const real *ref_w, size_t n_w, const real *logp_l,
              const real *ref_l, size_t n_l, const DpoConfig *c);
/* E201: the sums of the KL at the loss tokens; after dpo_pair. */
void dpo_pair_kl(DpoPair *p, const real *kl_w, const real *kl_l);
/* E177: p->weight from the tokens' logp and log sum_v p_v^2; a constant. */
void dpo_weight(DpoPair *p, const real *logp_w, const real *square_w, size_t n_w, const real *logp_l,
                const real *square_l, size_t n_l);

/* E161 to E175, E202 to E204 for pairs first .. first + n - 1 of a micro-batch of n_pair: *loss += their part
 * of the mean, term by term, ascending (carried over slices), and dx, dkl of each. n_chosen_token: M of E175,
 * of the whole micro-batch. With E171 all n_pair sums must be there, and rank holds 2 n_pair entries; else it
 * may be NULL. */
typedef struct { double value; size_t at; } DpoRank;
void dpo_loss(double *loss, DpoPair *pair, size_t first, size_t n, size_t n_pair, double n_chosen_token,
              const DpoConfig *c, DpoRank *rank);
/* E161, E175, E176: from a pair's dx to its tokens; overwrites dlogp_w [n_w], dlogp_l [n_l]. */
void dpo_derive(real *dlogp_w, real *dlogp_l, const DpoPair *p, double n_chosen_token, const DpoConfig *c);

/* E178 over n pairs: field and TRL's name; and the means of E201, which only a loss that wants them has.
 * There the rewards are beta (m + kl). */
#define DPO_METRICS(X) \
    X(reward_chosen, "rewards/chosen") X(reward_rejected, "rewards/rejected") \
    X(accuracy, "rewards/accuracies") X(margin, "rewards/margins") \
    X(logp_chosen, "logps/chosen") X(logp_rejected, "logps/rejected")
#define DPO_KL_METRICS(X) \
    X(kl_chosen, "kl/chosen") X(kl_rejected, "kl/rejected") X(kl_margin, "kl/margin")
#define DPO_FIELD(field, name) double field;
typedef struct { DPO_METRICS(DPO_FIELD) DPO_KL_METRICS(DPO_FIELD) } DpoMetrics;
const char *const *dpo_metric_names(const DpoConfig *c);        /* in this order, NULL at the end */
double dpo_metric(const DpoMetrics *m, int i);                  /* that of the i-th name */
void dpo_metrics(DpoMetrics *out, const DpoPair *pair, size_t n, const DpoConfig *c);

#endif
