/* collab.c: decoding by several policies (E254 to E257). Not here: the continuations that q is the reward of
 * (run/collab.c). */
#include "baselines/collab.h"

#include <stdbool.h>

double collab_kl(const real *logp, const real *reference, int vocab) {
    double sum = 0;
    /* sum p d, d = log p/r, with sum r - sum p, which is 0: so that no term is negative and rounding cannot
     * win */
    for (int v = 0; v < vocab; v++) {
        const double d = (double)logp[v] - reference[v];
        sum += d_exp(logp[v]) * (d + d_expm1(-d));
    }
    return sum;
}

/* Whether token a comes before b among the candidates. */
static bool more_probable(const real *logp, int a, int b) {
    return logp[a] != logp[b] ? logp[a] > logp[b] : a < b;
}

int collab_candidates(int *token, const real *logp, int vocab, int top_k, double top_p) {
    double mass = 0;
    int n = 0;
    while (n < top_k && n < vocab && (n == 0 || mass < top_p)) {
        int best = -1;                  /* the next in order: the first of those behind the last one taken */
        for (int v = 0; v < vocab; v++)
            if ((n == 0 || more_probable(logp, token[n - 1], v)) &&
                (best < 0 || more_probable(logp, v, best)))
                best = v;
        token[n++] = best;
        mass += d_exp(logp[best]);
    }
    return n;
}

double collab_promise(double q, double alpha, double kl) { return q - alpha * kl; }

size_t collab_choose(const double *promise, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (promise[i] > promise[best]) best = i;
    return best;
}
