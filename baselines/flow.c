/* flow.c: flow balance of texts: rewards (E235, E236), balance of every step (E231), of all sub-trajectories
 * (E233) and of the whole (E238). */
#include "baselines/flow.h"

const char *const flow_reward_names[] = {"theory", "program", NULL};
const char *const flow_scores_names[] = {"pair", "column", NULL};

bool flow_config_check(const FlowConfig *c, Err *e) {
    if (!(c->alpha > 0) || isinf(c->alpha))
        return fail(e, "flow_alpha: found %g, expected more than 0", c->alpha);
    if (!(c->gamma > 0) || isinf(c->gamma))
        return fail(e, "flow_gamma: found %g, expected a temperature above 0", c->gamma);
    if (!(c->lambda > 0) || isinf(c->lambda))
        return fail(e, "subtb_lambda: found %g, expected more than 0", c->lambda);
    return true;
}

/* ---- rewards ---- */

void flow_reward_theory(double *log_reward, const real *next, const real *end, size_t n, double alpha,
                        double prefix, double score) {
    double before = 0;
    for (size_t t = 0; t <= n; t++) {
        log_reward[t] = before + end[t] + alpha * (t < n ? prefix : score);
        if (t < n) before += next[t];
    }
}

void flow_reward_program(double *log_reward, const real *next, const real *end, const real *end_sharp,
                         size_t n, double alpha, double score) {
    for (size_t t = 0; t < n; t++) log_reward[t] = (double)next[t] + end_sharp[t];
    log_reward[n] = (double)end[n] + end_sharp[n] + alpha * score;
}

/* ---- losses ---- */

void flow_levels(double *level, const double *log_reward, const real *next, const real *end, size_t n) {
    double before = 0;
    for (size_t t = 0; t <= n; t++) {
        level[t] = log_reward[t] - end[t] - before;
        if (t < n) before += next[t];
    }
}

/* From pull[t] = d loss / d log F_t, one after the other: all that leaves s_0 .. s_t goes through token t. */
typedef struct { real *dnext, *dend; size_t n; double scale, sum; } Pulls;
static void pull_add(Pulls *p, size_t t, double pull) {
    p->dend[t] = (real)(-p->scale * pull);
    p->sum += pull;
    if (t < p->n) p->dnext[t] = (real)(p->scale * p->sum);
}

double flow_db(real *dnext, real *dend, const double *level, size_t n, double scale) {
    Pulls p = {dnext, dend, n, scale, 0};
    double loss = 0, before = 0;
    for (size_t t = 0; t <= n; t++) {
        const double off = t < n ? level[t] - level[t + 1] : 0;
        loss += off * off;
        pull_add(&p, t, 2 * off - 2 * before);
        before = off;
    }
    return loss;
}

double flow_subtb(real *dnext, real *dend, const double *level, size_t n, double lambda, double scale) {
    Pulls p = {dnext, dend, n, scale, 0};
    double loss = 0, weights = 0, power = 1;
    for (size_t d = 1; d <= n; d++) weights += (power *= lambda) * (double)(n + 1 - d);
    for (size_t t = 0; t <= n; t++) {
        double pull = 0, up = 1, down = 1;
        for (size_t a = t; a-- > 0; ) pull += (down *= lambda) * (level[t] - level[a]);
        for (size_t b = t + 1; b <= n; b++) {
            const double off = level[t] - level[b];
            pull += (up *= lambda) * off;
            loss += up * off * off;
        }
        pull_add(&p, t, 2 * pull / weights);
    }
    return loss / weights;
}

double flow_tb(real *dnext, real *dend, double level, double log_flow, size_t n, double scale) {
    const double off = log_flow - level;
    for (size_t t = 0; t < n; t++) dnext[t] = (real)(scale * 2 * off), dend[t] = 0;
    dend[n] = (real)(scale * 2 * off);
    return off * off;
}
