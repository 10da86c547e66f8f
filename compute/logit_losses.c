/* logit_losses.c: the kinds of `grpo compute` for losses that want more of a row of logits than the
 * log-probability of its token: TDPO, flows. */
#include <string.h>

#include "baselines/flow.h"
#include "baselines/tdpo.h"
#include "compute/kinds.h"
#include "net/logits.h"

/* ---- TDPO ---- */

/* A reply: its logits under policy and reference, E200 and E201 of it, and place for a derivative. */
typedef struct { Rows z, ref; IntRows y; double m, kl; real *dz; } TdpoSide;

static TdpoSide tdpo_side(Call *c, const char *logits, const char *ref, const char *targets) {
    TdpoSide s = {.z = kind_matrix(c, logits), .y = kind_int_rows(c, targets)};
    s.ref = kind_same_shape(c, ref, &s.z, false);
    kind_refuse(c, s.y.n != s.z.n_row, targets, "one id a row of logits");
    for (size_t t = 0; c->ok && t < s.y.n; t++)
        if (s.y.x[t] < 0 || s.y.x[t] >= (int)s.z.width)
            kind_wrong(c, targets, json_get(c->in, targets), "ids within a row of logits");
    s.dz = kind_reals(c, s.z.n);
    return s;
}

/* With dm NULL the sums, else dz from *d's derivatives by them, each row by its own values. */
static void tdpo_rows(TdpoSide *s, real *row, real *other, const real *dm, const real *dkl) {
    const int vocab = (int)s->z.width;
    if (!dm) s->m = s->kl = 0;
    for (size_t t = 0; t < s->y.n; t++) {
        const size_t at = t * s->z.width;
        memcpy(row, s->z.x + at, s->z.width * sizeof(real));
        memcpy(other, s->ref.x + at, s->z.width * sizeof(real));
        const LogitStats p = logits_stats(row, vocab, 1, false), q = logits_stats(other, vocab, 1, false);
        const int y = s->y.x[t];
        if (!dm) {
            s->m += ((double)row[y] - p.max - p.log_sum) - ((double)other[y] - q.max - q.log_sum);
            s->kl += logits_kl(other, &q, row, &p, vocab);
            continue;
        }
        logits_kl_backward(other, &q, row, &p, vocab, 1, *dkl);
        logits_backward(row, vocab, 1, &p, &y, dm, NULL, 1);
        for (int v = 0; v < vocab; v++) s->dz[at + (size_t)v] = row[v] + other[v];
    }
}

static bool tdpo_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    TdpoSide w = tdpo_side(c, "chosen_logits", "ref_chosen_logits", "chosen_targets"),
             l = tdpo_side(c, "rejected_logits", "ref_rejected_logits", "rejected_targets");
    const double alpha = kind_number_or(c, "alpha", 0.5), beta = kind_number_or(c, "beta", 0.1);
    const size_t width = w.z.width > l.z.width ? w.z.width : l.z.width;
    real *row = kind_reals(c, width), *other = kind_reals(c, width);
    KIND_OPEN;
    tdpo_rows(&w, row, other, NULL, NULL);
    tdpo_rows(&l, row, other, NULL, NULL);
    const TdpoPair x = {w.m, l.m, w.kl, l.kl};
    json_put(out, "margin_chosen", x.m_w);
    json_put(out, "margin_rejected", x.m_l);
    json_put(out, "kl_chosen", x.kl_w);
    json_put(out, "kl_rejected", x.kl_l);
    for (int version = 1; version <= 2; version++) {
        TdpoPair d;
        json_open(out, version == 1 ? "tdpo1" : "tdpo2", '{');
        json_put(out, "loss", version == 1 ? tdpo1_loss(&d, &x, beta) : tdpo2_loss(&d, &x, beta, alpha));
        tdpo_rows(&w, row, other, &(real){(real)d.m_w}, &(real){(real)d.kl_w});
        tdpo_rows(&l, row, other, &(real){(real)d.m_l}, &(real){(real)d.kl_l});
        kind_put_rows(out, "dchosen_logits", w.dz, w.z.offset, w.z.n_row);
        kind_put_rows(out, "drejected_logits", l.dz, l.z.offset, l.z.n_row);
        json_end(out, '}');
    }
    KIND_FINISH;
}

/* ---- flows ---- */

/* From dnext, dend to the logits: E24 of the two targets of a row. dz: place for them. */
static void put_flow_rows(JsonWriter *out, const char *key, real *dz, const Rows *z, const IntRows *token,
                          int eos, const real *dnext, const real *dend) {
    memcpy(dz, z->x, z->n * sizeof(real));
    for (size_t t = 0; t <= token->n; t++) {
        const int more = t < token->n, target[] = {eos, more ? token->x[t] : eos};
        const real dlogp[] = {dend[t], more ? dnext[t] : 0};
        real *row = dz + t * z->width;
        const LogitStats s = logits_stats(row, (int)z->width, 1, false);
        logits_backward(row, (int)z->width, 1, &s, target, dlogp, NULL, 1 + more);
    }
    kind_put_rows(out, key, dz, z->offset, z->n_row);
}

static bool gflownet_loss_kind(JsonWriter *out, const Json *inputs, Err *e) {
    KIND_START;
    const Rows z = kind_matrix(c, "logits"), log_reward = kind_rows(c, "log_rewards", false);
    const IntRows token = kind_int_rows(c, "tokens");
    const int eos = (int)kind_whole(c, "eos", 0);
    const double lambda = kind_number_or(c, "subtb_lambda", 0.9);
    const size_t n = token.n;
    kind_refuse(c, z.n_row != n + 1 || log_reward.n != n + 1, "logits",
                "a row, and a reward, more than tokens");
    for (size_t t = 0; c->ok && t < n; t++)
        kind_refuse(c, token.x[t] < 0 || token.x[t] >= (int)z.width, "tokens", "ids within a row of logits");
    kind_refuse(c, c->ok && eos >= (int)z.width, "eos", "an id within a row of logits");
    real *next = kind_reals(c, n + 1), *end = kind_reals(c, n + 1), *dz = kind_reals(c, z.n);
    double *level = kind_take(c, n + 1, sizeof *level), *flow = kind_take(c, n + 1, sizeof *flow),
           *off = kind_take(c, n + 1, sizeof *off);
    KIND_OPEN;
    for (size_t t = 0; t <= n; t++) {
        const real *row = memcpy(dz, z.x + t * z.width, z.width * sizeof(real));
        const LogitStats s = logits_stats(dz, (int)z.width, 1, false);
        if (t < n) next[t] = row[token.x[t]] - s.max - s.log_sum;
        end[t] = row[eos] - s.max - s.log_sum;
        level[t] = log_reward.x[t];
        flow[t] = level[t] - end[t];
    }
    flow_levels(level, level, next, end, n);
    for (size_t t = 0; t < n; t++) off[t] = level[t] - level[t + 1];
    json_put_numbers(out, "log_flows", flow, n + 1);
    json_put_numbers(out, "residuals", off, n);
    json_put(out, "loss_db", flow_db(next, end, level, n, 1));
    put_flow_rows(out, "dlogits_db", dz, &z, &token, eos, next, end);
    json_put(out, "loss_subtb", flow_subtb(next, end, level, n, lambda, 1));
    put_flow_rows(out, "dlogits_subtb", dz, &z, &token, eos, next, end);
    KIND_FINISH;
}

const ComputeKind compute_logit_kinds[] = {
    {"gflownet_loss", "E230 to E234",
     "logits[n + 1][V], tokens[n], eos, log_rewards[n + 1], subtb_lambda? 0.9", gflownet_loss_kind},
    {"tdpo_loss", "E200 to E205",
     "chosen_logits[t][V], ref_chosen_logits[t][V], chosen_targets[t], rejected_logits[s][V], "
     "ref_rejected_logits[s][V], rejected_targets[s], alpha?, beta?", tdpo_loss_kind},
    {NULL, NULL, NULL, NULL}};
