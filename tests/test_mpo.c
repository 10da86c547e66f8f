/* test_mpo.c: MPO's weights and mixture (E246 to E253) by hand, by finite differences, and against a table of
 * all replies; two steps of another program are among the known answers. */
#include "baselines/mpo.h"
#include "run/mix.h"

#include "tests/test.h"

enum { K = 2, N = 3 };
static const double ratio[K * N] = {.3, -.5, .2, -.1, .4, -.7};

/* log mean_j exp( sum_k lambda_k L_jk ), whose derivative E247 is */
static double log_mean(const double *lambda) {
    double sum = 0;
    for (int j = 0; j < N; j++) sum += exp(lambda[0] * ratio[j] + lambda[1] * ratio[N + j]);
    return log(sum / N);
}

static void test_E246_E247_gradient(void) {
    double share[N], v[K] = {1, 2}, total = 0;
    const double lambda[K] = {.7, .3};
    const double effective = mpo_gradient(v, share, ratio, lambda, K, N, .25);
    double square = 0;
    for (int j = 0; j < N; j++) total += share[j], square += share[j] * share[j];
    CHECK_NEAR(total, 1, 1e-15);
    CHECK_NEAR(effective, 1 / square, 1e-14);                   /* E253 */
    for (int k = 0; k < K; k++) {
        double up[K] = {.7, .3}, down[K] = {.7, .3};
        up[k] += 1e-5, down[k] -= 1e-5;
        CHECK_NEAR(v[k], 1 + k + .25 * (log_mean(up) - log_mean(down)) / 2e-5, 1e-9);   /* is added to */
    }
    /* far-away replies: a share of one reply, no overflow */
    double far[K * N] = {0};
    far[1] = 5000;
    CHECK_NEAR(mpo_gradient(v, share, far, lambda, K, N, 1), 1, 1e-15);
}

static void test_E248_E249_E252(void) {
    double lambda[K] = {.5, .5}, average[K] = {0};
    const double v[K] = {log(2), 0};
    mpo_descend(lambda, v, K, 1);                               /* .25 : .5 */
    CHECK_NEAR(lambda[0], 1. / 3, 1e-15);
    mpo_average(average, lambda, K, 1);
    CHECK_NEAR(average[1], 2. / 3, 1e-15);
    mpo_descend(lambda, v, K, 2);                               /* 1/12 : 2/3 */
    CHECK_NEAR(lambda[0], 1. / 9, 1e-15);
    mpo_average(average, lambda, K, 2);
    CHECK_NEAR(average[0], 2. / 9, 1e-15);
    const double steep[K] = {1000, 2000};                       /* exp(-1000) is 0, their ratio is not */
    mpo_descend(lambda, steep, K, .001);
    CHECK_NEAR(lambda[0], 1 / (1 + 8 * exp(-1)), 1e-14);
    CHECK_NEAR(mpo_mean_ratio((double[]){log(.5), log(1.5)}, 2), 1, 1e-15);
    /* E252: a policy that maximises r - beta_k KL has L = r / beta_k + a constant of the prompt */
    MpoSlope s = {0};
    const double r[4] = {.1, .4, .9, .2}, a[4] = {.2 + 7, .8 + 7, 1.8 + 7, .4 + 7},
                 b[4] = {.2, .8, 1.8, .4};
    mpo_slope_add(&s, r, a, 4);
    mpo_slope_add(&s, r, b, 4);
    CHECK_NEAR(s.rl / s.rr, 2, 1e-14);
    CHECK_NEAR(mpo_given_weight(.25, s.rl / s.rr, .1), 1.25, 1e-14);     /* w beta_k / beta */
}

/* The optimum of sum_k w_k r_k - beta KL is pi_ref prod_k (pi_k/pi_ref)^lambda_k (E252): a table of four
 * replies, policies with different coefficients; the mixture has the reference as one more policy. */
static void test_E250_E252_table(void) {
    enum { V = 4 };
    const double ref[V] = {.4, .3, .2, .1}, r[2][V] = {{0, 1, .2, .5}, {.7, .1, .9, 0}}, w[2] = {.6, .4},
                 beta_k[2] = {.5, .25}, beta = .3;
    real logits[3][V], z[V];
    double lambda[3], best[V], sum = 0, mixed = 0;
    for (int k = 0; k < 2; k++) {
        lambda[k] = mpo_given_weight(w[k], 1 / beta_k[k], beta);
        for (int v = 0; v < V; v++) logits[k][v] = (real)(log(ref[v]) + r[k][v] / beta_k[k] + k);
    }
    lambda[2] = 1 - lambda[0] - lambda[1];
    CHECK(lambda[2] < -.3);                                     /* 1, 1/3 and what is left */
    for (int v = 0; v < V; v++) logits[2][v] = (real)log(ref[v]);
    mpo_mixture(z, (const real *const[]){logits[0], logits[1], logits[2]}, lambda, 3, V);
    for (int v = 0; v < V; v++) {
        sum += best[v] = ref[v] * exp((w[0] * r[0][v] + w[1] * r[1][v]) / beta);
        mixed += exp(z[v]);
    }
    for (int v = 0; v < V; v++)
        
        CHECK_NEAR(exp(z[v]) / mixed, best[v] / sum, sizeof(real) == 4 ? 1e-6 : 1e-14);
    /* weights 1 and 0: the first policy's bits, in place too */
    mpo_mixture(logits[1], (const real *const[]){logits[1], logits[0]}, (double[]){1, 0}, 2, V);
    for (int v = 0; v < V; v++) CHECK_NEAR(logits[1][v], (real)(log(ref[v]) + r[1][v] / beta_k[1] + 1), 0);
}

/* run/mix.c on sums made by hand: ten replies to each of two prompts, as often as the reference would write
 * them, and policies that are its best answers to two rewards. The weights of mirror descent are those of
 * max-min: both policies' goals are worth the same to the mixture. */
static void test_mix_weights(void) {
    enum { R = 10 };
    Err e = {{0}};
    const double reward[2][R] = {{.1, .9, .4, .4, .7, 0, .2, .5, .3, .6},
                                 {.8, .1, .2, .9, .3, .7, .6, 0, .5, .4}},
                 beta_k[2] = {.5, 1}, w[2] = {.75, .25};
    double ratio[2 * 2 * R], r[2 * 2 * R];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            double sum = 0;
            double *to = ratio + (i * 2 + k) * R, *rk = r + (i * 2 + k) * R;
            for (int j = 0; j < R; j++) rk[j] = reward[k][(j + 3 * i * k) % R];
            for (int j = 0; j < R; j++) sum += exp(to[j] = rk[j] / beta_k[k]);
            for (int j = 0; j < R; j++) to[j] -= log(sum / R);
        }
    const MixSums s = {.n_prompt = 2, .n_policy = 2, .n = R, .ratio = ratio, .reward = r};
    MixPlan p = {.n_policy = 2, .steps = 4000, .prompts_per_step = 2, .step_size = 4};
    MixResult got;
    CHECK(mix_weights(&got, &s, &p, &e));
    CHECK_NEAR(got.weight[0] + got.weight[1], 1, 1e-12);
    CHECK(got.weight[0] > .1 && got.weight[1] > .1);
    CHECK_NEAR(got.gradient[0], got.gradient[1], 2e-3);
    for (int k = 0; k < 2; k++) CHECK_NEAR(got.mean_ratio[k], 1, 1e-12);
    CHECK(got.effective > 5 && got.effective < R);
    CHECK(!got.equal[0] && !got.equal[1]);
    p.prompts_per_step = 3;                             /* from the first again after the last */
    MixResult other;
    CHECK(mix_weights(&other, &s, &p, &e));
    CHECK_NEAR(other.weight[0], got.weight[0], .02);
    CHECK(other.weight[0] != got.weight[0]);
    /* four steps of eta 1, from equal weights */
    MixPlan few = {.n_policy = 2, .steps = 4, .prompts_per_step = 1, .step_size = 2};
    double share[R], lambda[2] = {.5, .5}, mean[2] = {0};
    CHECK(mix_weights(&other, &s, &few, &e));
    for (int i = 0; i < 4; i++) {
        double v[2] = {0};
        mpo_gradient(v, share, ratio + i % 2 * 2 * R, lambda, 2, R, 1);
        mpo_descend(lambda, v, 2, 1);
        mpo_average(mean, lambda, 2, i + 1);
        for (int k = 0; i == 3 && k < 2; k++) CHECK_NEAR(other.gradient[k], v[k], 1e-15);
    }
    for (int k = 0; k < 2; k++) CHECK_NEAR(other.weight[k], mean[k], 1e-15);
    /* E252 */
    p.weight = w, p.beta = .2;
    CHECK(mix_weights(&got, &s, &p, &e));
    for (int k = 0; k < 2; k++) CHECK_NEAR(got.weight[k], w[k] * beta_k[k] / .2, 1e-12);
    CHECK_NEAR(got.coefficient[0], .5, 1e-12);
}

int main(void) {
    test_E246_E247_gradient();
    test_E248_E249_E252();
    test_E250_E252_table();
    test_mix_weights();
    return test_end();
}
