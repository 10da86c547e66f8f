/* test_flow.c: flows: derivatives against differences, and what the losses lead to, by minimising them over a
 * table of all texts of up to three tokens over three symbols. */
#include <string.h>

#include "baselines/flow.h"
#include "tests/test.h"

static uint64_t state = 1;
static double unit(void) {                              /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

/* ---- derivatives ------------------------------------------------------------------------- */

enum { N = 4 };
static double reward[N + 1];

static double loss_of(FlowLoss type, const real *x, real *dnext, real *dend) {
    real a[N], b[N + 1];
    double level[N + 1];
    if (!dnext) dnext = a, dend = b;
    flow_levels(level, reward, x, x + N, N);
    if (type == FLOW_DB) return 0.5 * flow_db(dnext, dend, level, N, 0.5);
    if (type == FLOW_SUBTB) return 0.5 * flow_subtb(dnext, dend, level, N, 0.9, 0.5);
    return 0.5 * flow_tb(dnext, dend, level[N], 0.3, N, 0.5);
}

static void test_E234_derivative(void) {
    if (sizeof(real) == 4) return;
    for (int type = 0; type < 3; type++) {
        real x[2 * N + 1], d[2 * N + 1];
        for (int i = 0; i <= 2 * N; i++) x[i] = (real)(-1.5 + unit());
        for (int t = 0; t <= N; t++) reward[t] = 3 * unit();
        loss_of((FlowLoss)type, x, d, d + N);
        for (int i = 0; i <= 2 * N; i++) {
            const real keep = x[i], h = (real)1e-5;
            x[i] = keep + h;
            const double up = loss_of((FlowLoss)type, x, NULL, NULL);
            x[i] = keep - h;
            const double down = loss_of((FlowLoss)type, x, NULL, NULL);
            x[i] = keep;
            CHECK_NEAR(d[i], (up - down) / (2 * (double)h), 1e-8);
        }
    }
}

static void test_E235_E236_rewards(void) {
    const real next[] = {-1, -2}, end[] = {-3, -4, -5}, sharp[] = {-6, -7, -8};
    const double theory[] = {-3 - 0.5, -1 - 4 - 0.5, -1 - 2 - 5 + 1},
                 program[] = {-1 - 6, -2 - 7, -5 - 8 + 1};
    double r[3];
    flow_reward_theory(r, next, end, 2, 0.5, -1, 2);
    for (int t = 0; t < 3; t++) CHECK_NEAR(r[t], theory[t], 0);
    flow_reward_program(r, next, end, sharp, 2, 0.5, 2);
    for (int t = 0; t < 3; t++) CHECK_NEAR(r[t], program[t], 0);
}

/* Sub-trajectories of one step alone are detailed balance. */
static void test_E233_of_one_step(void) {
    const double level[] = {0.5, -0.25};
    real next[2], end[4], next2[2], end2[4];
    CHECK_NEAR(flow_db(next, end, level, 1, 1), 0.5625, 0);
    CHECK_NEAR(flow_subtb(next2, end2, level, 1, 0.7, 1), 0.5625, 1e-15);
    CHECK_NEAR(next[0], 1.5, 0);                        /* 2 e: the first state's flow is to fall */
    CHECK_NEAR(end[0], -1.5, 0);
    CHECK_NEAR(end[1], 1.5, 0);
    for (int i = 0; i < 2; i++) CHECK_NEAR(end2[i], end[i], sizeof(real) == 4 ? 1e-6 : 1e-15);
}

/* E238: with log F_0 the mean of both, trajectory balance of a pair is IPO with sums and 1/(2 beta) =
 * alpha (score_w - score_l): half its loss, and half its derivative. */
static void test_E238_is_ipo(void) {
    enum { N_W = 3, N_L = 2 };
    for (int trial = 0; trial < 20; trial++) {
        const double alpha = 1 + unit(), score[] = {unit(), unit()};
        const size_t n[] = {N_W, N_L};
        double m[2], last[2];
        real dnext[2][N_W], dend[2][N_W + 1];
        for (int s = 0; s < 2; s++) {
            real next[N_W], end[N_W + 1], ref_next[N_W], ref_end[N_W + 1];
            double log_reward[N_W + 1];
            m[s] = 0;
            for (size_t t = 0; t <= n[s]; t++) {
                if (t < n[s]) next[t] = (real)(-1.5 + unit()), ref_next[t] = (real)(-1.5 + unit());
                end[t] = (real)(-1.5 + unit()), ref_end[t] = (real)(-1.5 + unit());
                if (t < n[s]) m[s] += (double)next[t] - ref_next[t];
            }
            m[s] += (double)end[n[s]] - ref_end[n[s]];
            flow_reward_theory(log_reward, ref_next, ref_end, n[s], alpha, -3, score[s]);
            flow_levels(log_reward, log_reward, next, end, n[s]);
            last[s] = log_reward[n[s]];
        }
        double loss = 0;
        for (int s = 0; s < 2; s++)
            loss += flow_tb(dnext[s], dend[s], last[s], (last[0] + last[1]) / 2, n[s], 1);
        const double off = m[0] - m[1] - alpha * (score[0] - score[1]);         /* e of E165 */
        CHECK_NEAR(loss, off * off / 2, 1e-12);
        for (size_t t = 0; t < N_W; t++) CHECK_NEAR(dnext[0][t], off, sizeof(real) == 4 ? 1e-5 : 1e-12);
        CHECK_NEAR(dend[0][N_W], off, sizeof(real) == 4 ? 1e-5 : 1e-12);
        CHECK_NEAR(dend[1][N_L], -off, sizeof(real) == 4 ? 1e-5 : 1e-12);
        CHECK(dend[0][0] == 0 && dend[1][0] == 0);
    }
}

/* ---- all texts --------------------------------------------------------------------------- */

enum { SYMBOLS = 3, LONGEST = 3, INNER = 1 + 3 + 9, TEXTS = INNER + 27 };
/* A text is its number in order of length: the empty one 0, text i followed by symbol v 3 i + 1 + v.
 * Those shorter than LONGEST have a row of logits: three symbols and the end; the longest ones must end. */
typedef real Table[INNER][SYMBOLS + 1];

static int path_of(int *from, int text) {               /* states from the empty text on; returns n */
    int n = 0;
    for (int i = text; i; i = (i - 1) / SYMBOLS) n++;
    for (int i = text, t = n; t >= 0; t--, i = (i - 1) / SYMBOLS) from[t] = i;
    return n;
}

static void logps_of(double *logp, const real *z, double temperature) {         /* of a row */
    double sum = 0;
    for (int v = 0; v <= SYMBOLS; v++) sum += exp((double)z[v] / temperature);
    for (int v = 0; v <= SYMBOLS; v++) logp[v] = (double)z[v] / temperature - log(sum);
}

/* next and end of a text, and end at a temperature. */
static void values_of(real *next, real *end, Table z, int text, double temperature) {
    int s[LONGEST + 1];
    const int n = path_of(s, text);
    for (int t = 0; t <= n; t++) {
        double logp[SYMBOLS + 1], sharp[SYMBOLS + 1];
        end[t] = 0;
        if (s[t] >= INNER) continue;
        logps_of(logp, z[s[t]], 1), logps_of(sharp, z[s[t]], temperature);
        end[t] = (real)sharp[SYMBOLS];
        if (t < n) next[t] = (real)logp[(s[t + 1] - 1) % SYMBOLS];
    }
}

static double text_logp(Table z, int text) {
    int s[LONGEST + 1];
    real next[LONGEST], end[LONGEST + 1];
    double sum = 0;
    const int n = path_of(s, text);
    values_of(next, end, z, text, 1);
    for (int t = 0; t < n; t++) sum += next[t];
    return sum + end[n];
}

/* The mean loss of all texts, and its gradient. */
static double table_loss(Table dz, Table z, double (*log_reward)[LONGEST + 1]) {
    double loss = 0;
    memset(dz, 0, sizeof(Table));
    for (int text = 0; text < TEXTS; text++) {
        int s[LONGEST + 1];
        real next[LONGEST], end[LONGEST + 1], dnext[LONGEST], dend[LONGEST + 1];
        double level[LONGEST + 1];
        const int n = path_of(s, text);
        values_of(next, end, z, text, 1);
        flow_levels(level, log_reward[text], next, end, (size_t)n);
        loss += flow_db(dnext, dend, level, (size_t)n, 1.0 / TEXTS) / TEXTS;
        for (int t = 0; t <= n && s[t] < INNER; t++) {
            double logp[SYMBOLS + 1];
            logps_of(logp, z[s[t]], 1);
            const real c = t < n ? dnext[t] : 0;
            for (int v = 0; v <= SYMBOLS; v++) dz[s[t]][v] -= (real)exp(logp[v]) * (c + dend[t]);
            dz[s[t]][SYMBOLS] += dend[t];
            if (t < n) dz[s[t]][(s[t + 1] - 1) % SYMBOLS] += c;
        }
    }
    return loss;
}

/* Descent with momentum from the reference on. */
static double minimise(Table z, Table start, double (*log_reward)[LONGEST + 1], int steps) {
    static Table dz, v;
    double loss = 0;
    memset(v, 0, sizeof v);
    memcpy(z, start, sizeof(Table));
    for (int k = 0; k < steps; k++) {
        loss = table_loss(dz, z, log_reward);
        for (int i = 0; i < INNER; i++)
            for (int j = 0; j <= SYMBOLS; j++)
                v[i][j] = (real)0.98 * v[i][j] - (real)0.05 * dz[i][j], z[i][j] += v[i][j];
    }
    return loss;
}

typedef struct { double good, kl, entropy; } Summary;   /* kl of the tilted reference's distribution to z's */
static Summary summary(Table z, Table ref, const double *score, double alpha) {
    Summary s = {0, 0, 0};
    double mass = 0;
    for (int i = 0; i < TEXTS; i++) mass += exp(text_logp(ref, i) + alpha * score[i]);
    for (int i = 0; i < TEXTS; i++) {
        const double tilted = text_logp(ref, i) + alpha * score[i] - log(mass), logp = text_logp(z, i);
        s.good += score[i] == 0 ? exp(logp) : 0;
        s.kl += exp(tilted) * (tilted - logp);
        s.entropy -= exp(logp) * logp;
    }
    return s;
}

typedef enum { EVERY_STATE_SCORED, LAST_STATE_SCORED, PROGRAM } Reward;

/* Where the loss of detailed balance leads to from the reference on. */
static Summary minimum(Table z, Table ref, const double *score, double alpha, Reward reward) {
    static double log_reward[TEXTS][LONGEST + 1];
    for (int text = 0; text < TEXTS; text++) {
        int s[LONGEST + 1];
        real next[LONGEST], end[LONGEST + 1], sharp[LONGEST + 1];
        double *r = log_reward[text];
        const int n = path_of(s, text);
        values_of(next, sharp, ref, text, 0.1);
        values_of(next, end, ref, text, 1);
        if (reward == PROGRAM) flow_reward_program(r, next, end, sharp, (size_t)n, alpha, score[text]);
        else flow_reward_theory(r, next, end, (size_t)n, alpha, -8, score[text]);
        for (int t = 0; t < n && reward == EVERY_STATE_SCORED; t++) r[t] += alpha * (score[s[t]] + 8);
    }
    minimise(z, ref, log_reward, 6000);
    return summary(z, ref, score, alpha);
}

/* E236 with a score for every text ends at the reference tilted by exp(alpha score): E237. The lowest score
 * for all prefixes keeps near it. E235 has its minimum elsewhere, nats away; on the first of these tables it
 * takes mass away from good texts, which the reward was to raise. */
static void test_E237_minimum(void) {
    static const uint64_t seed[] = {58, 14, 21};
    const double alpha = 0.1;
    for (int k = 0; k < 3; k++) {
        static Table ref, z;
        double score[TEXTS], mass = 0, good = 0;
        state = seed[k];
        for (int i = 0; i < 8; i++) unit();
        for (int i = 0; i < INNER; i++)
            for (int v = 0; v <= SYMBOLS; v++) ref[i][v] = (real)(2.5 * unit() + (v == SYMBOLS ? 1 : 0));
        for (int i = 0; i < TEXTS; i++) score[i] = unit() > -0.4 ? FLOW_SCORE_CHOSEN : FLOW_SCORE_REJECTED;
        const Summary start = summary(ref, ref, score, alpha);
        for (int i = 0; i < TEXTS; i++) {
            const double p = exp(text_logp(ref, i) + alpha * score[i]);
            mass += p, good += score[i] == 0 ? p : 0;
        }
        const Summary theory = minimum(z, ref, score, alpha, EVERY_STATE_SCORED),
                      last = minimum(z, ref, score, alpha, LAST_STATE_SCORED),
                      program = minimum(z, ref, score, alpha, PROGRAM);
        CHECK(theory.kl < (sizeof(real) == 4 ? 1e-6 : 1e-8));
        CHECK_NEAR(theory.good, good / mass, 1e-4);
        CHECK(theory.good > start.good + 0.05);
        CHECK(last.kl > 0.01 && last.kl < 0.3);
        CHECK(program.kl > 3);
        if (k == 0) CHECK(start.good > 0.8 && theory.good > 0.9 && program.good < 0.6);
        if (failed)
            printf("  table %d: good texts %.3f, tilted %.3f; kl and good: %.2g %.3f, %.2g %.3f, %.2g %.3f\n",
                   k,
                   start.good, good / mass, theory.kl, theory.good, last.kl, last.good, program.kl,
                   program.good);
    }
}

static void test_settings(void) {
    Err e = {""};
    const FlowConfig right = {.alpha = 0.1, .gamma = 0.1, .lambda = 0.9};
    FlowConfig c = right;
    CHECK(flow_config_check(&c, &e));
    c.alpha = 0;
    CHECK_ERROR(!flow_config_check(&c, &e), e, "flow_alpha: found 0");
    c = right, c.gamma = -1;
    CHECK_ERROR(!flow_config_check(&c, &e), e, "flow_gamma: found -1");
    c = right, c.lambda = 0;
    CHECK_ERROR(!flow_config_check(&c, &e), e, "subtb_lambda: found 0");
}

int main(void) {
    test_settings();
    test_E234_derivative();
    test_E235_E236_rewards();
    test_E233_of_one_step();
    test_E238_is_ipo();
    test_E237_minimum();
    return test_end();
}
