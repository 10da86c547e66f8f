/* net/logits.c: one row of logits: log-probabilities, entropy, divergence from another row, and back. */
#include "net/logits.h"

static LogitStats row_stats(real *z, int vocab, double temperature, bool want_entropy, double *total_at) {
    real block[LOGITS_BLOCK], shifted[LOGITS_BLOCK];
    if (temperature != 1)
        for (int v = 0; v < vocab; v++) z[v] /= (real)temperature;
    const real max = r_max(z, (size_t)vocab);
    double sum = 0, mean = 0, total = 0;
    for (int v = 0; v < vocab; v += LOGITS_BLOCK) {
        const size_t n = (size_t)(vocab - v < LOGITS_BLOCK ? vocab - v : LOGITS_BLOCK);
        r_exp_array(block, z + v, max, n);
        sum += r_sum(block, n);
        if (total_at) {
            for (size_t i = 0; i < n; i++) total += block[i];
            total_at[v / LOGITS_BLOCK] = total;
        }
        if (!want_entropy) continue;
        for (size_t i = 0; i < n; i++) shifted[i] = z[(size_t)v + i] - max;
        mean += r_dot(block, shifted, n);
    }
    const double log_sum = d_log(sum);
    return (LogitStats){.max = max, .sum = (real)sum, .log_sum = (real)log_sum,
                        .entropy = (real)(log_sum - mean / sum)};
}

LogitStats logits_stats(real *z, int vocab, double temperature, bool want_entropy) {
    return row_stats(z, vocab, temperature, want_entropy, NULL);
}

void logits_logp(real *z, int vocab) {
    const LogitStats s = logits_stats(z, vocab, 1, false);
    for (int v = 0; v < vocab; v++) z[v] = z[v] - s.max - s.log_sum;
}

LogitStats logits_totals(real *z, int vocab, double temperature, double *total_at) {
    return row_stats(z, vocab, temperature, false, total_at);
}

void logits_backward(real *z, int vocab, double temperature, const LogitStats *s, const int *target,
                     const real *dlogp, const real *dentropy, int n) {
    const real tau = (real)temperature;
    real c_sum = 0, h_sum = 0;
    for (int i = 0; i < n; i++) {
        c_sum += dlogp[i];
        if (dentropy) h_sum += dentropy[i];
    }
    for (int v0 = 0; v0 < vocab; v0 += LOGITS_BLOCK) {
        real p[LOGITS_BLOCK];
        const int m = vocab - v0 < LOGITS_BLOCK ? vocab - v0 : LOGITS_BLOCK;
        r_exp_array(p, z + v0, s->max, (size_t)m);
        for (int v = 0; v < m; v++) {
            p[v] /= s->sum;
            const real logp = z[v0 + v] - s->max - s->log_sum;
            z[v0 + v] = -(p[v] * c_sum);
            if (h_sum != 0) z[v0 + v] -= h_sum * p[v] * (logp + s->entropy);
        }
    }
    /* c_y of equal targets is summed first, ascending, on the first of them */
    for (int i = 0; i < n; i++) {
        bool first = true;
        for (int k = 0; first && k < i; k++) first = target[k] != target[i];
        if (!first) continue;
        real c = dlogp[i];
        for (int k = i + 1; k < n; k++) if (target[k] == target[i]) c += dlogp[k];
        z[target[i]] += c;
    }
    if (temperature != 1)
        for (int v = 0; v < vocab; v++) z[v] /= tau;
}

real logits_kl(const real *other, const LogitStats *of_other, const real *z, const LogitStats *s, int vocab) {
    real p[LOGITS_BLOCK], gap[LOGITS_BLOCK];
    double sum = 0;
    for (int v0 = 0; v0 < vocab; v0 += LOGITS_BLOCK) {
        const size_t n = (size_t)(vocab - v0 < LOGITS_BLOCK ? vocab - v0 : LOGITS_BLOCK);
        r_exp_array(p, other + v0, of_other->max, n);
        for (size_t i = 0, v = (size_t)v0; i < n; i++, v++)
            gap[i] = (other[v] - of_other->max - of_other->log_sum) - (z[v] - s->max - s->log_sum);
        sum += r_dot(p, gap, n);
    }
    return (real)(sum / of_other->sum);
}

void logits_kl_backward(real *other, const LogitStats *of_other, const real *z, const LogitStats *s,
                        int vocab, double temperature, real c) {
    real p[LOGITS_BLOCK], q[LOGITS_BLOCK];
    for (int v0 = 0; v0 < vocab; v0 += LOGITS_BLOCK) {
        const size_t n = (size_t)(vocab - v0 < LOGITS_BLOCK ? vocab - v0 : LOGITS_BLOCK);
        r_exp_array(p, z + v0, s->max, n);
        r_exp_array(q, other + v0, of_other->max, n);
        for (size_t i = 0; i < n; i++)
            other[(size_t)v0 + i] = c * (p[i] / s->sum - q[i] / of_other->sum) / (real)temperature;
    }
}
