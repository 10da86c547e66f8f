/* baselines.c: the kinds of `grpo compute` for the methods that GRPO is compared with: PPO, DPO, DVPO.
 *
 * baselines/ knows loss tokens only: masked places are left out on the way in and come back as 0. */
#include <stdlib.h>
#include <string.h>

#include "baselines/bmc.h"
#include "baselines/aihf.h"
#include "baselines/collab.h"
#include "baselines/dpo.h"
#include "baselines/dvpo.h"
#include "baselines/maxmin.h"
#include "baselines/mpo.h"
#include "baselines/ppo.h"
#include "baselines/robust.h"
#include "compute/kinds.h"
#include "lib/words.h"
#include "net/logits.h"

/* ---- masks ---- */

/* The places of the loss tokens, row by row. mask NULL: all. */
typedef struct { size_t n, n_row, *at, *offset; } KeptPairs;

static KeptPairs kept_of(Call *c, const Rows *shape, const real *mask) {
    KeptPairs k = {0, shape->n_row, kind_take(c, shape->n, sizeof(size_t)),
              kind_take(c, shape->n_row + 1, sizeof(size_t))};
    if (!c->ok) return k;
    for (size_t i = 0; i < shape->n_row; i++) {
        for (size_t t = shape->offset[i]; t < shape->offset[i + 1]; t++)
            if (!mask || mask[t] != 0) k.at[k.n++] = t;
        k.offset[i + 1] = k.n;
    }
    return k;
}

static void keep_only(Call *c, Rows *x, const KeptPairs *k) {
    for (size_t j = 0; c->ok && x->x && j < k->n; j++) x->x[j] = x->x[k->at[j]];
}

/* KeptPairs values as rows of the shape that came in. */
static void put_kept(JsonWriter *out, const char *key, const real *x, const Rows *shape, const KeptPairs *k) {
    size_t j = 0;
    json_open(out, key, '[');
    for (size_t i = 0; i < shape->n_row; i++) {
        json_begin(out, '[');
        for (size_t t = shape->offset[i]; t < shape->offset[i + 1]; t++) {
            const bool there = j < k->n && k->at[j] == t;
            json_number(out, there ? (double)x[j] : 0);
            j += there;
        }
        json_end(out, ']');
    }
    json_end(out, ']');
}

/* ---- PPO ---- */

static bool ppo_token_rewards_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    Rows old = kind_rows(c, "logps", false), ref = kind_same_shape(c, "ref_logps", &old, false);
    const Rows mask = kind_same_shape(c, "mask", &old, true), score = kind_rows(c, "scores", false),
               eos = kind_rows(c, "has_eos", true);
    PpoConfig config;
    ppo_config_default(&config);
    config.kl_coef = kind_number_or(c, "kl_coef", config.kl_coef);
    config.missing_eos_penalty = kind_number_or(c, "missing_eos_penalty", NAN);
    if (kind_given(c, "kl_estimator"))
        config.kl_estimator = (KlEstimator)kind_choice(c, "kl_estimator", kl_estimator_names);
    kind_refuse(c, score.n != old.n_row, "scores", "one number a completion");
    kind_refuse(c, !isnan(config.missing_eos_penalty) && eos.n != old.n_row,
                "has_eos", "one number a completion");
    const KeptPairs k = kept_of(c, &old, mask.x);
    unsigned char *ended = kind_take(c, old.n_row, 1);
    real *reward = kind_reals(c, old.n), *kl = kind_reals(c, old.n);
    KIND_OPEN;
    keep_only(c, &old, &k), keep_only(c, &ref, &k);
    for (size_t i = 0; i < eos.n; i++) ended[i] = eos.x[i] != 0;
    ppo_missing_eos(score.x, ended, old.n_row, config.missing_eos_penalty);
    ppo_token_rewards(reward, kl, old.x, ref.x, score.x, k.offset, k.n_row, &config);
    put_kept(out, "rewards", reward, &old, &k);
    put_kept(out, "kl", kl, &old, &k);
    KIND_FINISH;
}

static bool gae(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    Rows reward = kind_rows(c, "rewards", false), value = kind_same_shape(c, "values", &reward, false);
    const Rows mask = kind_same_shape(c, "mask", &reward, true);
    const double gamma = kind_number_or(c, "gamma", 1), lam = kind_number_or(c, "lam", 0.95);
    const KeptPairs k = kept_of(c, &reward, mask.x);
    real *adv = kind_reals(c, reward.n), *ret = kind_reals(c, reward.n);
    KIND_OPEN;
    keep_only(c, &reward, &k), keep_only(c, &value, &k);
    ppo_gae(adv, ret, reward.x, value.x, k.offset, k.n_row, gamma, lam);
    put_kept(out, "advantages", adv, &reward, &k);
    put_kept(out, "returns", ret, &reward, &k);
    ppo_whiten(adv, k.n, false);
    put_kept(out, "whitened", adv, &reward, &k);
    KIND_FINISH;
}

static bool ppo_loss(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    Rows logp = kind_rows(c, "logps", false), old = kind_same_shape(c, "old_logps", &logp, false),
         adv = kind_same_shape(c, "advantages", &logp, false),
         value = kind_same_shape(c, "values", &logp, false),
         old_value = kind_same_shape(c, "old_values", &logp, false),
         ret = kind_same_shape(c, "returns", &logp, false);
    const Rows mask = kind_same_shape(c, "mask", &logp, true);
    const double clip = kind_number_or(c, "cliprange", 0.2),
                 clip_value = kind_number_or(c, "cliprange_value", 0.2),
                 vf_coef = kind_number_or(c, "vf_coef", 0.1);
    const KeptPairs k = kept_of(c, &logp, mask.x);
    real *dlogp = kind_reals(c, logp.n), *dvalue = kind_reals(c, logp.n);
    kind_refuse(c, !k.n, "mask", "at least one loss token");
    KIND_OPEN;
    Rows *const all[] = { &logp, &old, &adv, &value, &old_value, &ret };
    for (int j = 0; j < 6; j++) keep_only(c, all[j], &k);
    PpoPolicySums p = { 0 };
    PpoValueSums v = { 0 };
    const double n = (double)k.n;
    ppo_policy_loss(&p, dlogp, logp.x, old.x, adv.x, k.n, n, clip);
    ppo_value_loss(&v, dvalue, value.x, old_value.x, ret.x, k.n, n, clip_value, vf_coef);
    json_put(out, "loss", p.loss / n + vf_coef * v.loss / n);           /* E150 */
    json_put(out, "pg_loss", p.loss / n);
    json_put(out, "vf_loss", v.loss / n);
    put_kept(out, "dlogps", dlogp, &logp, &k);
    put_kept(out, "dvalues", dvalue, &logp, &k);
    KIND_FINISH;
}

static bool running_moments(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows batch = kind_rows(c, "batches", false);
    const double clip = kind_number_or(c, "clip", NAN);
    const ScoreNorm norm = kind_given(c, "score_norm")
                               ? (ScoreNorm)kind_choice(c, "score_norm", score_norm_names)
                               : SCORES_STANDARDISED;
    real *score = kind_reals(c, batch.n);
    KIND_OPEN;
    PpoMoments m;
    ppo_moments_start(&m);
    json_open(out, "steps", '[');
    for (size_t i = 0; i < batch.n_row; i++) {
        const size_t at = batch.offset[i], n = batch.offset[i + 1] - at;
        ppo_moments_add(&m, batch.x + at, n);
        ppo_normalise(score, batch.x + at, n, &m, norm, clip);
        json_begin(out, '{');
        json_put(out, "mean", m.mean);
        json_put(out, "std", ppo_moments_std(&m));
        kind_put_list(out, "normalized", score, n);
        json_end(out, '}');
    }
    json_end(out, ']');
    KIND_FINISH;
}

/* ---- DVPO ---- */

static bool dvpo_targets_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    Rows value = kind_rows(c, "values", false);
    const Rows mask = kind_same_shape(c, "mask", &value, true),
               score = kind_rows(c, "terminal_rewards", false);
    const double gamma = kind_number_or(c, "gamma", 1), lam = kind_number_or(c, "lam", 0.95);
    kind_refuse(c, score.n != value.n_row, "terminal_rewards", "one number a reply");
    const KeptPairs k = kept_of(c, &value, mask.x);
    real *target = kind_reals(c, value.n), *dvalue = kind_reals(c, value.n);
    kind_refuse(c, !k.n, "mask", "at least one value");
    double loss = 0;
    KIND_OPEN;
    keep_only(c, &value, &k);
    dvpo_targets(target, value.x, score.x, k.offset, k.n_row, gamma, lam);
    dvpo_value_loss(&loss, dvalue, value.x, target, k.n, (double)k.n);
    put_kept(out, "targets", target, &value, &k);
    json_put(out, "loss", loss);
    put_kept(out, "dvalues", dvalue, &value, &k);
    KIND_FINISH;
}

/* ---- MaxMin ---- */

static bool maxmin_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows margin = kind_matrix(c, "margins"), reward = kind_matrix(c, "sample_rewards");
    const IntRows user = kind_int_rows(c, "pair_users");
    kind_refuse(c, reward.n_row != margin.n_row, "sample_rewards", "one list a reward model");
    kind_refuse(c, user.n != margin.width, "pair_users", "one user a pair");
    const size_t n_model = margin.n_row, n = reward.width;
    size_t n_user = 0;
    for (size_t j = 0; c->ok && j < user.n; j++) {
        if (user.x[j] < 0 || user.x[j] >= (int)user.n)
            kind_wrong(c, "pair_users", json_get(c->in, "pair_users"), "users from 0 on");
        n_user = user.x[j] >= (int)n_user ? (size_t)user.x[j] + 1 : n_user;
    }
    double *likelihood = kind_take(c, n_user * n_model, sizeof *likelihood),
           *mean = kind_take(c, n_model, sizeof *mean);
    int *member = kind_take(c, n_user, sizeof *member);
    real *score = kind_reals(c, n * n_model), *lowest = kind_reals(c, n);
    KIND_OPEN;
    for (size_t i = 0; i < n * n_model; i++) score[i] = reward.x[i % n_model * n + i / n_model];
    maxmin_likelihoods(likelihood, margin.x, user.x, user.n, n_user, n_model);
    maxmin_assign(member, likelihood, n_user, n_model);
    const size_t worst = maxmin_worst(mean, score, n, n_model);
    maxmin_lowest(lowest, score, n, n_model);
    json_open(out, "log_likelihoods", '[');
    for (size_t k = 0; k < n_user; k++) {
        json_begin(out, '[');
        for (size_t u = 0; u < n_model; u++) json_number(out, likelihood[k * n_model + u]);
        json_end(out, ']');
    }
    json_end(out, ']');
    json_open(out, "assignment", '[');
    for (size_t k = 0; k < n_user; k++) json_number(out, member[k]);
    json_end(out, ']');
    json_put_numbers(out, "group_utilities", mean, n_model);
    json_put_int(out, "worst_group", (long long)worst);
    kind_put_list(out, "rewards_worst_group", reward.x + worst * n, n);
    kind_put_list(out, "rewards_min_per_sample", lowest, n);
    KIND_FINISH;
}

/* ---- DPO ---- */

static void loss_types(Call *c, DpoConfig *d) {
    const Json *type = kind_given(c, "loss_type"), *weight = kind_given(c, "loss_weights");
    if (type && type->type == JSON_STRING)
        d->loss_type[0] = (DpoLoss)kind_choice(c, "loss_type", dpo_loss_names);
    else if (type && type->type == JSON_ARRAY && type->length >= 1 && type->length <= N_DPO_LOSS) {
        d->n_loss = (int)type->length;
        for (int j = 0; c->ok && j < d->n_loss; j++) {
            int k = 0;
            if (type->item[j].type != JSON_STRING) kind_wrong(c, "loss_type", &type->item[j], "a string");
            else if (!choice_parse(&k, dpo_loss_names, type->item[j].string, "loss_type", c->e))
                c->ok = false;
            d->loss_type[j] = (DpoLoss)k;
            d->loss_weight[j] = 1;
        }
    } else if (type) kind_wrong(c, "loss_type", type, "a name or a list of names");
    const double *w = weight ? kind_doubles(c, "loss_weights", (size_t)d->n_loss, false) : NULL;
    for (int j = 0; w && j < d->n_loss; j++) d->loss_weight[j] = w[j];
}

static void dpo_settings(Call *c, DpoConfig *d) {
    static const char *const known[] = {"loss_type",
                                        "loss_weights",
                                        "beta",
                                        "label_smoothing",
                                        "discopop_tau",
                                        "ld_alpha",
                                        "f_divergence_type",
                                        "f_alpha_divergence_coef",
                                        "use_weighting",
                                        NULL};
    const Json *config = kind_given(c, "config");
    dpo_config_default(d);
    if (!config) return;
    if (config->type != JSON_OBJECT) { kind_wrong(c, "config", config, "an object"); return; }
    Call inner = { config, c->e, { NULL }, 0, c->ok };
    int k;
    for (size_t j = 0; inner.ok && j < config->length; j++)
        inner.ok = choice_parse(&k, known, config->item[j].key, "config", c->e);
    if (inner.ok) loss_types(&inner, d);
    d->beta = kind_number_or(&inner, "beta", d->beta);
    d->label_smoothing = kind_number_or(&inner, "label_smoothing", d->label_smoothing);
    d->discopop_tau = kind_number_or(&inner, "discopop_tau", d->discopop_tau);
    d->ld_alpha = kind_number_or(&inner, "ld_alpha", d->ld_alpha);
    d->f_alpha_divergence_coef =
        kind_number_or(&inner, "f_alpha_divergence_coef", d->f_alpha_divergence_coef);
    if (kind_given(&inner, "f_divergence_type"))
        d->f_divergence_type = (FDivergence)kind_choice(&inner, "f_divergence_type", f_divergence_names);
    const Json *weighting = kind_given(&inner, "use_weighting");
    if (weighting && weighting->type != JSON_BOOL)
        kind_wrong(&inner, "use_weighting", weighting, "true or false");
    else d->use_weighting = weighting && weighting->number != 0;
    const DpoLoss other[] = {DPO_TDPO1, DPO_TDPO2, DPO_FLOW_DB, DPO_FLOW_SUBTB, DPO_FLOW_TB};
    if (inner.ok && dpo_loss_among(d, other, sizeof other / sizeof *other))
        kind_wrong(&inner, "loss_type", kind_given(&inner, "loss_type"),
                   "a loss of log-probabilities; tdpo_loss and gflownet_loss are kinds of their own");
    c->ok = kind_finish(&inner) && dpo_config_check(d, c->e);
}

/* One side of all pairs: its loss tokens under policy and reference, and (E177) the log of the sum of squared
 * probabilities. */
typedef struct { Rows shape, logp, ref, square; KeptPairs kept; real *dlogp; } Side;

static Side side_of(Call *c, const char *logp, const char *mask, const char *ref, const char *square,
                    bool use_weighting) {
    Side s = { .logp = kind_rows(c, logp, false) };
    const Rows m = kind_same_shape(c, mask, &s.logp, true);
    s.ref = kind_same_shape(c, ref, &s.logp, false);
    if (use_weighting) s.square = kind_same_shape(c, square, &s.logp, false);
    s.shape = s.logp;
    s.kept = kept_of(c, &s.shape, m.x);
    s.dlogp = kind_take(c, s.shape.n, sizeof *s.dlogp);
    keep_only(c, &s.logp, &s.kept), keep_only(c, &s.ref, &s.kept), keep_only(c, &s.square, &s.kept);
    return s;
}

static bool dpo_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    DpoConfig d;
    dpo_settings(c, &d);
    const Side w = side_of(c, "chosen_logps", "chosen_mask", "ref_chosen_logps", "chosen_log_sum_sq_probs",
                           d.use_weighting),
               l = side_of(c, "rejected_logps", "rejected_mask", "ref_rejected_logps",
                           "rejected_log_sum_sq_probs", d.use_weighting);
    const size_t n = w.shape.n_row;
    kind_refuse(c, n < 1 || l.shape.n_row != n,
                "rejected_logps", "as many rows as chosen_logps, at least one");
    DpoPair *pair = kind_take(c, n, sizeof *pair);
    DpoRank *rank = kind_take(c, 2 * n, sizeof *rank);
    KIND_OPEN;
    for (size_t i = 0; i < n; i++) {
        const size_t a = w.kept.offset[i], n_w = w.kept.offset[i + 1] - a, b = l.kept.offset[i],
                     n_l = l.kept.offset[i + 1] - b;
        dpo_pair(&pair[i], w.logp.x + a, w.ref.x + a, n_w, l.logp.x + b, l.ref.x + b, n_l, &d);
        if (d.use_weighting)
            dpo_weight(&pair[i], w.logp.x + a, w.square.x + a, n_w, l.logp.x + b, l.square.x + b, n_l);
    }
    double loss = 0;
    dpo_loss(&loss, pair, 0, n, n, (double)w.kept.n, &d, rank);
    for (size_t i = 0; i < n; i++)
        dpo_derive(w.dlogp + w.kept.offset[i], l.dlogp + l.kept.offset[i], &pair[i], (double)w.kept.n, &d);
    DpoMetrics m;
    dpo_metrics(&m, pair, n, &d);
    json_put(out, "loss", loss);
    put_kept(out, "dchosen_logps", w.dlogp, &w.shape, &w.kept);
    put_kept(out, "drejected_logps", l.dlogp, &l.shape, &l.kept);
    const char *const *name = dpo_metric_names(&d);
    for (int j = 0; name[j]; j++) json_put(out, name[j], dpo_metric(&m, j));
    KIND_FINISH;
}

/* ---- BMC ---- */

/* 0 and 1 of every token of a reply as bytes. */
static unsigned char *changed_of(Call *c, const char *key, const Rows *like) {
    const Rows given = kind_same_shape(c, key, like, false);
    unsigned char *changed = kind_take(c, like->n, 1);
    for (size_t t = 0; c->ok && t < like->n; t++) changed[t] = given.x[t] != 0;
    return changed;
}

static void put_weights(JsonWriter *out, const char *key, const real *logp, const unsigned char *changed,
                        size_t n, double delta) {
    json_open(out, key, '[');
    for (size_t t = 0; t < n; t++) json_number(out, bmc_weight(logp[t], changed[t], delta));
    json_end(out, ']');
}

static bool bmc_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows w = kind_rows(c, "chosen_logps", false),
               ref_w = kind_same_shape(c, "ref_chosen_logps", &w, false),
               l = kind_rows(c, "rejected_logps", false),
               ref_l = kind_same_shape(c, "ref_rejected_logps", &l, false);
    const unsigned char *changed_w = changed_of(c, "chosen_changed", &w),
                        *changed_l = changed_of(c, "rejected_changed", &l);
    BmcConfig config = {.delta = kind_number_or(c, "delta", 2)};
    DpoConfig d;
    dpo_config_default(&d);
    d.beta = kind_number_or(c, "beta", d.beta);
    if (kind_given(c, "reference_weights"))
        config.reference = (BmcReference)kind_choice(c, "reference_weights", bmc_reference_names);
    c->ok = c->ok && dpo_config_check(&d, e) && bmc_config_check(&config, &d, e);
    real *dw = kind_reals(c, w.n), *dl = kind_reals(c, l.n);
    KIND_OPEN;
    DpoPair p;
    double loss = 0;
    dpo_pair(&p, w.x, ref_w.x, w.n, l.x, ref_l.x, l.n, &d);
    bmc_pair(&p, w.x, ref_w.x, changed_w, w.n, l.x, ref_l.x, changed_l, l.n, &config);
    dpo_loss(&loss, &p, 0, 1, 1, (double)w.n, &d, NULL);
    dpo_derive(dw, dl, &p, (double)w.n, &d);
    bmc_derive(dw, w.x, changed_w, w.n, config.delta), bmc_derive(dl, l.x, changed_l, l.n, config.delta);
    json_put(out, "loss", loss);
    put_weights(out, "chosen_weights", w.x, changed_w, w.n, config.delta);
    put_weights(out, "rejected_weights", l.x, changed_l, l.n, config.delta);
    kind_put_list(out, "dchosen_logps", dw, w.n);
    kind_put_list(out, "drejected_logps", dl, l.n);
    KIND_FINISH;
}

/* ---- Collab ---- */

static bool collab_step_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows reference = kind_rows(c, "ref_logits", false), policy = kind_matrix(c, "policy_logits"),
               q = kind_same_shape(c, "q_values", &policy, false);
    const double alpha = kind_number_or(c, "alpha", 0), top_p = kind_number_or(c, "top_p", 1);
    const size_t top_k = kind_whole(c, "top_k", 1), vocab = reference.n;
    kind_refuse(c, policy.width != vocab, "policy_logits", "rows as long as ref_logits");
    int *token = kind_take(c, top_k, sizeof *token), *of = kind_take(c, policy.n_row * top_k, sizeof *of),
        *who = kind_take(c, policy.n_row * top_k, sizeof *who);
    double *promise = kind_take(c, policy.n_row * top_k, sizeof *promise);
    KIND_OPEN;
    size_t n = 0;
    logits_logp(reference.x, (int)vocab);
    for (size_t j = 0; j < policy.n_row; j++) {
        real *logp = policy.x + j * vocab;
        logits_logp(logp, (int)vocab);
        const double kl = collab_kl(logp, reference.x, (int)vocab);
        const int found = collab_candidates(token, logp, (int)vocab, (int)top_k, top_p);
        for (int k = 0; k < found; k++, n++) {
            who[n] = (int)j, of[n] = token[k];
            promise[n] = collab_promise(q.x[j * vocab + (size_t)token[k]], alpha, kl);
        }
    }
    json_open(out, "candidates", '[');
    for (size_t i = 0; i < n; i++) {
        json_begin(out, '[');
        json_number(out, who[i]), json_number(out, of[i]), json_number(out, promise[i]);
        json_end(out, ']');
    }
    json_end(out, ']');
    const size_t best = collab_choose(promise, n);
    json_put_int(out, "policy", who[best]);
    json_put_int(out, "token", of[best]);
    json_put(out, "score", promise[best]);
    KIND_FINISH;
}

/* ---- groups of pairs ---- */

static bool gr_dpo_step(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows ell = kind_rows(c, "losses", false), given = kind_rows(c, "group_counts", false);
    const IntRows group = kind_int_rows(c, "groups");
    const size_t n = ell.n, n_group = given.n;
    kind_refuse(c, n_group < 1 || n_group > GROUPS_MOST, "group_counts", "1 to 64 numbers");
    double *q = kind_doubles(c, "weights", n_group, false);
    double *count = kind_doubles(c, "group_counts", n_group, false), *x = kind_doubles(c, "losses", n, false);
    const RobustConfig config = {.step_size = kind_number_or(c, "step_size", 0.01),
                                 .loss = kind_number_or(c, "divide_by_totalcount", 1) ? GROUP_SUM
                                                                                      : GROUP_MEAN};
    kind_refuse(c, group.n != n, "groups", "as many numbers as losses");
    for (size_t i = 0; c->ok && i < n; i++)
        kind_refuse(c, group.x[i] < 0 || (size_t)group.x[i] >= n_group, "groups", "places in group_counts");
    for (size_t g = 0; c->ok && g < n_group; g++)
        kind_refuse(c, !(count[g] > 0), "group_counts", "numbers of pairs above 0");
    c->ok = c->ok && robust_config_check(&config, e);
    double *group_loss = kind_take(c, n_group, sizeof *group_loss), *dell = kind_take(c, n, sizeof *dell);
    KIND_OPEN;
    robust_group_losses(group_loss, x, group.x, n, count, (int)n_group, config.loss);
    robust_step(q, group_loss, (int)n_group, config.step_size);
    const double loss = robust_loss(dell, group_loss, group.x, n, q, count, (int)n_group, config.loss);
    json_put_numbers(out, "group_losses", group_loss, n_group);
    json_put_numbers(out, "weights", q, n_group);
    json_put(out, "loss", loss);
    json_put_numbers(out, "dlosses", dell, n);
    KIND_FINISH;
}

/* ---- MPO ---- */

static bool mpo_weights_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows initial = kind_rows(c, "initial", false);
    const size_t K = initial.n;
    size_t shape[3] = {0, 0, K};
    const double eta = kind_number(c, "eta");
    kind_refuse(c, !K, "initial", "a weight for each policy");
    const real *given = kind_tensor(c, "log_ratios", shape, 3);
    const size_t n = shape[1];
    double *ratio = kind_take(c, K * n, sizeof *ratio), *share = kind_take(c, n, sizeof *share),
           *v = kind_take(c, K, sizeof *v), *lambda = kind_take(c, K, sizeof *lambda),
           *average = kind_take(c, K, sizeof *average);
    KIND_OPEN;
    for (size_t k = 0; k < K; k++) lambda[k] = initial.x[k];
    json_open(out, "steps", '[');
    for (size_t i = 0; i < shape[0]; i++) {
        for (size_t j = 0; j < K * n; j++) ratio[j % K * n + j / K] = given[i * K * n + j];
        memset(v, 0, K * sizeof *v);
        mpo_gradient(v, share, ratio, lambda, (int)K, (int)n, 1);
        mpo_descend(lambda, v, (int)K, eta);
        mpo_average(average, lambda, (int)K, (int)i + 1);
        json_begin(out, '{');
        json_put_numbers(out, "sample_weights", share, n);
        json_put_numbers(out, "gradient", v, K);
        json_put_numbers(out, "weights", lambda, K);
        json_end(out, '}');
    }
    json_end(out, ']');
    json_put_numbers(out, "average", average, K);
    KIND_FINISH;
}

static bool mixture_policy_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows logits = kind_matrix(c, "logits");
    const double *lambda = kind_doubles(c, "weights", logits.n_row, false);
    const real **row = kind_take(c, logits.n_row, sizeof *row);
    real *z = kind_reals(c, logits.width);
    KIND_OPEN;
    for (size_t k = 0; k < logits.n_row; k++) row[k] = logits.x + k * logits.width;
    mpo_mixture(z, row, lambda, (int)logits.n_row, (int)logits.width);
    logits_logp(z, (int)logits.width);
    kind_put_list(out, "logps", z, logits.width);
    KIND_FINISH;
}

/* ---- AIHF ---- */

static bool aihf_reward_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows demo = kind_rows(c, "demo_rewards", false), sample = kind_rows(c, "policy_rewards", false),
               w = kind_rows(c, "chosen_rewards", false),
               l = kind_same_shape(c, "rejected_rewards", &w, false);
    const double beta = kind_number_or(c, "beta", 1), w_demo = kind_number_or(c, "w_demo", 1),
                 w_pref = kind_number_or(c, "w_pref", 1);
    real *dd = kind_reals(c, demo.n), *ds = kind_reals(c, sample.n), *dw = kind_reals(c, w.n),
         *dl = kind_reals(c, w.n);
    kind_refuse(c, !demo.n || !sample.n || !w.n, "demo_rewards",
                "at least one demonstration, one reply and one pair");
    KIND_OPEN;
    const double first = aihf_difference(dd, ds, demo.x, demo.n, sample.x, sample.n, beta, 0, w_demo),
                 second = aihf_pairs(dw, dl, w.x, l.x, w.n, 0, w_pref);
    json_put(out, "loss", first + second);
    json_put(out, "loss_demo", w_demo != 0 ? first / w_demo : 0);
    json_put(out, "loss_pref", w_pref != 0 ? second / w_pref : 0);
    kind_put_list(out, "ddemo_rewards", dd, demo.n);
    kind_put_list(out, "dpolicy_rewards", ds, sample.n);
    kind_put_list(out, "dchosen_rewards", dw, w.n);
    kind_put_list(out, "drejected_rewards", dl, l.n);
    KIND_FINISH;
}

/* ---- the table ---- */
const ComputeKind compute_baseline_kinds[] = {
    {"ppo_token_rewards", "E140 E141 E142",
     "logps[B][T], ref_logps[B][T], mask?[B][T], scores[B], has_eos?[B], kl_coef? 0.05, kl_estimator? k1|k3, "
     "missing_eos_penalty?",
     ppo_token_rewards_kind},
    {"gae", "E143 E144 E145", "rewards[B][T], values[B][T], mask?[B][T], gamma? 1, lam? 0.95", gae},
    {"ppo_loss", "E146 E147 E148 E149 E150",
     "logps[B][T], old_logps[B][T], advantages[B][T], values[B][T], old_values[B][T], returns[B][T], "
     "mask?[B][T], cliprange? 0.2, "
     "cliprange_value? 0.2, vf_coef? 0.1",
     ppo_loss},
    {"running_moments", "E152 E153", "batches[steps][any], clip?, score_norm? off|standardise|scale",
     running_moments},
    {"dvpo_targets", "E240 E241 E242", "values[B][T], mask?[B][T], terminal_rewards[B], gamma? 1, lam? 0.95",
     dvpo_targets_kind},
    {"maxmin_em", "E218 E219 E221", "margins[U][pairs], pair_users[pairs], sample_rewards[U][B]",
     maxmin_kind},
    {"dpo_loss", "E160 to E178",
     "chosen_logps[B][T], rejected_logps[B][T], chosen_mask?[B][T], rejected_mask?[B][T], "
     "ref_chosen_logps[B][T], ref_rejected_logps[B][T], "
     "chosen_log_sum_sq_probs?[B][T], rejected_log_sum_sq_probs?[B][T], config? {loss_type, loss_weights, "
     "beta, label_smoothing, discopop_tau, ld_alpha, f_divergence_type, "
     "f_alpha_divergence_coef, use_weighting}",
     dpo_loss_kind},
    {"bmc_loss", "E206 E207 E208",
     "chosen_logps[T], ref_chosen_logps[T], chosen_changed[T], rejected_logps[T], ref_rejected_logps[T], "
     "rejected_changed[T], delta? 2, beta? 0.1, reference_weights? reference|policy",
     bmc_loss_kind},
    {"collab_step", "E254 E255 E256 E257",
     "ref_logits[V], policy_logits[policies][V], q_values[policies][V], alpha? 0, top_k, top_p? 1",
     collab_step_kind},
    {"gr_dpo_step", "E212 E213 E214 E215",
     "losses[B], groups[B], weights[D], group_counts[D], step_size? 0.01, divide_by_totalcount? 1 (sums)|0 "
     "(means)",
     gr_dpo_step},
    {"mpo_weights", "E246 E247 E248 E249", "initial[policies], eta, log_ratios[steps][n][policies]",
     mpo_weights_kind},
    {"mixture_policy", "E250", "logits[policies][V], weights[policies]", mixture_policy_kind},
    {"aihf_reward_loss", "E224 E225 E226",
     "demo_rewards[n], policy_rewards[m], chosen_rewards[p], rejected_rewards[p], beta? 1, w_demo? 1, "
     "w_pref? 1",
     aihf_reward_loss_kind},
    {NULL, NULL, NULL, NULL},
};
