/* test_enumeration.c: what our update is on average, found by listing everything that can be drawn.
 *
 * The policy is a table: four tokens, two positions, a softmax at the first and one after each first token.
 * So all 16 replies and all groups of two or three of them can be listed with their probabilities. The
 * functions under test are the program's own: scores to advantages, advantages to dlogp. The exact gradients
 * stand beside them, written from the values of J and of the two divergences without any score function.
 *
 * Lines that begin with a bar are the figures of docs/derivation.md (tests/test_derivation.sh compares). */
#include "grpo.h"
#include "variants.h"
#include "tests/test.h"

enum { V = 4, REPLIES = V * V, PARAMS = V + V * V, LABELS = 2, MOST = 8, LUCKY = 2 };
static const double weight[LABELS] = {1, 0.5};
static double tolerance(void) { return sizeof(real) == 8 ? 1e-12 : 2e-6; }

/* ---- a policy that is a table: logits z[0 .. 3] of the first token, z[4 + 4 a + b] of b after a ---- */
typedef struct { double first[V], then[V][V]; } Policy;

static void softmax(double *p, const double *z) {
    double sum = 0;
    for (int k = 0; k < V; k++) sum += p[k] = d_exp(z[k]);
    for (int k = 0; k < V; k++) p[k] /= sum;
}

static Policy policy_of(const double *z) {
    Policy p;
    softmax(p.first, z);
    for (int a = 0; a < V; a++) softmax(p.then[a], z + V + V * a);
    return p;
}

static double chance(const Policy *p, int reply) {
    return p->first[reply / V] * p->then[reply / V][reply % V];
}

/* to += d * the gradient of log pi(token at this position) by the logits: 1[token] - p */
static void add_score(double *to, double d, const Policy *p, int reply, int position) {
    const double *q = position ? p->then[reply / V] : p->first;
    double *row = position ? to + V + V * (reply / V) : to;
    for (int k = 0; k < V; k++) row[k] += d * ((k == (position ? reply % V : reply / V)) - q[k]);
}

/* ---- exact gradients, by the chain rule through the tables ---- */

/* dJ/dz of J = sum over replies of pi(reply) value[reply]; a softmax p with values v has p_k (v_k - mean). */
static void exact_gradient(double *to, const Policy *p, const double *value) {
    double of_first[V], j = 0;
    for (int a = 0; a < V; a++) {
        of_first[a] = 0;
        for (int b = 0; b < V; b++) of_first[a] += p->then[a][b] * value[V * a + b];
        j += p->first[a] * of_first[a];
    }
    for (int a = 0; a < V; a++) {
        to[a] = p->first[a] * (of_first[a] - j);
        for (int b = 0; b < V; b++)
            to[V + V * a + b] = p->first[a] * p->then[a][b] * (value[V * a + b] - of_first[a]);
    }
}

static double kl_row(const double *p, const double *q) {
    double kl = 0;
    for (int k = 0; k < V; k++) kl += p[k] * d_log(p[k] / q[k]);
    return kl;
}

/* by the logits of p: of KL(p || q), p_k (log p_k/q_k - KL); of KL(q || p), p_k - q_k */
static void add_kl_row(double *to, double scale, const double *p, const double *q, bool reverse) {
    const double kl = kl_row(p, q);
    for (int k = 0; k < V; k++) to[k] += scale * (reverse ? p[k] * (d_log(p[k] / q[k]) - kl) : p[k] - q[k]);
}

/* Of the divergence of whole replies, KL(p || ref) (reverse) or KL(ref || p), through both positions. */
static void kl_gradient(double *to, const Policy *p, const Policy *ref, bool reverse) {
    memset(to, 0, PARAMS * sizeof *to);
    add_kl_row(to, 1, p->first, ref->first, reverse);
    double later[V], mean = 0;
    for (int a = 0; a < V; a++) {
        add_kl_row(to + V + V * a, reverse ? p->first[a] : ref->first[a], p->then[a], ref->then[a], reverse);
        mean += p->first[a] * (later[a] = kl_row(p->then[a], ref->then[a]));
    }
    /* KL(p || ref) at the second position also depends on which first token p draws */
    for (int a = 0; a < V && reverse; a++) to[a] += p->first[a] * (later[a] - mean);
}

/* Token by token, the beginning of the reply held constant as it was drawn from `from`. */
static void kl_by_token(double *to, const Policy *p, const Policy *ref, const Policy *from, bool reverse) {
    memset(to, 0, PARAMS * sizeof *to);
    add_kl_row(to, 1, p->first, ref->first, reverse);
    for (int a = 0; a < V; a++)
        add_kl_row(to + V + V * a, from->first[a], p->then[a], ref->then[a], reverse);
}

/* ---- our update, by the functions of the program ---- */

/* The expected -d loss/d z of a group, over all groups of `size` replies drawn from `old`. With score
 * NULL all advantages are 0 and the KL alone is left. rloo: the advantage of E89. */
static void expected_update(double *to, const Policy *p, const Policy *old, const Policy *ref,
                            const real *score, int size, bool rloo, const GrpoConfig *c) {
    memset(to, 0, PARAMS * sizeof *to);
    size_t offset[MOST + 1];
    for (int i = 0; i <= size; i++) offset[i] = 2 * (size_t)i;
    int groups = 1;
    for (int i = 0; i < size; i++) groups *= REPLIES;
    for (int g = 0; g < groups; g++) {
        real s[MOST * LABELS], reward[MOST], adv[MOST] = {0}, logp[2 * MOST], was[2 * MOST], base[2 * MOST],
            dlogp[2 * MOST];
        int reply[MOST];
        double probability = 1;
        for (int i = 0, rest = g; i < size; i++, rest /= REPLIES) {
            const int a = (reply[i] = rest % REPLIES) / V, b = reply[i] % V;
            probability *= chance(old, reply[i]);
            logp[2 * i] = (real)d_log(p->first[a]), logp[2 * i + 1] = (real)d_log(p->then[a][b]);
            was[2 * i] = (real)d_log(old->first[a]), was[2 * i + 1] = (real)d_log(old->then[a][b]);
            base[2 * i] = (real)d_log(ref->first[a]), base[2 * i + 1] = (real)d_log(ref->then[a][b]);
            for (int k = 0; k < LABELS; k++) s[LABELS * i + k] = score ? score[LABELS * reply[i] + k] : 0;
        }
        grpo_score_advantage(adv, reward, NULL, s, weight, NULL, (size_t)size, LABELS, (size_t)size, c);
        if (rloo) variant_rloo_advantage(adv, reward, (size_t)size, (size_t)size, false, 0);
        const GrpoIn in = {.n_completion = (size_t)size, .offset = offset, .logp = logp, .old = was,
                           .ref = base, .advantage = adv};
        const GrpoWindow window = {.n_item = 2 * size, .n_process = 1, .gradient_accumulation_steps = 1,
                                   .steps_per_generation = 1, .training = true};
        GrpoMicro micro;
        GrpoSums sums;
        grpo_micro(&micro, &in, c, NULL);
        grpo_sums_start(&sums);
        grpo_loss(&sums, dlogp, NULL, &in, c, &window, &micro);
        for (int i = 0; i < size; i++)
            for (int t = 0; t < 2; t++)     /* times 2: replies have two tokens, every c_it divides by 2 */
                add_score(to, -2 * probability * dlogp[2 * i + t], p, reply[i], t);
    }
}

static void check_all(const double *got, const double *want, double scale) {
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(got[k], scale * want[k], tolerance());
}
static double dot(const double *a, const double *b) {
    double sum = 0;
    for (int k = 0; k < PARAMS; k++) sum += a[k] * b[k];
    return sum;
}
static double cosine(const double *a, const double *b) { return dot(a, b) / sqrt(dot(a, a) * dot(b, b)); }
/* how long a is in the direction of b, in units of b */
static double along(const double *a, const double *b) { return dot(a, b) / dot(b, b); }

/* ---- the example: fixed numbers, none of them special ---- */
static double z[PARAMS], z_old[PARAMS], z_ref[PARAMS], value[REPLIES];
static real score[REPLIES * LABELS];
static Policy policy, old_policy, reference;

static void example(void) {
    for (int k = 0; k < PARAMS; k++) {
        z[k] = 0.1 * ((7 * k + 3) % 11) - 0.5;
        z_old[k] = z[k] + 0.05 * ((5 * k + 1) % 7) - 0.15;
        z_ref[k] = 0.3 * ((3 * k + 5) % 13) - 1.8;
    }
    policy = policy_of(z), old_policy = policy_of(z_old), reference = policy_of(z_ref);
    for (int r = 0; r < REPLIES; r++) {
        score[LABELS * r] = (real)(0.125 * ((5 * r + 2) % 8));
        score[LABELS * r + 1] = (real)(0.25 * ((3 * r + 1) % 5));
        value[r] = weight[0] * score[LABELS * r] + weight[1] * score[LABELS * r + 1];
    }
}

static GrpoConfig settings(LossType type, ScaleRewards scale) {
    GrpoConfig c;
    grpo_config_default(&c);
    c.loss_type = type, c.scale_rewards = scale, c.max_completion_length = 2;
    return c;
}

/* ---- E86, E89, E113: without the deviation the direction is exact, the length is (G-1)/G ---- */
static void test_E86_expectation(void) {
    double exact[PARAMS], update[PARAMS];
    exact_gradient(exact, &policy, value);
    static const LossType types[] = {LOSS_GRPO, LOSS_BNPO, LOSS_DR_GRPO, LOSS_DAPO};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const GrpoConfig c = settings(types[k], SCALE_NONE);
        expected_update(update, &policy, &policy, &reference, score, 2, false, &c);
        check_all(update, exact, 1.0 / 2);
    }
    for (int size = 2; size <= 3; size++) {
        const GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
        expected_update(update, &policy, &policy, &reference, score, size, false, &c);
        check_all(update, exact, (size - 1.0) / size);
        printf("| G = %d, nothing divided out:   expected update / exact gradient = %.6f, cosine %.6f\n",
               size, along(update, exact), cosine(update, exact));
    }
    for (int size = 2; size <= 3; size++) {
        const GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
        expected_update(update, &policy, &policy, &reference, score, size, true, &c);
        check_all(update, exact, 1);
    }
    printf("| G = 3, the mean of the others: expected update / exact gradient = %.6f, cosine %.6f\n",
           along(update, exact), cosine(update, exact));
}

/* ---- E84: with the deviation the direction is another one ---- */
static void test_E84_bias(void) {
    double exact[PARAMS], update[PARAMS], win[REPLIES], of_win[PARAMS];
    exact_gradient(exact, &policy, value);
    for (int size = 2; size <= 3; size++) {
        const GrpoConfig c = settings(LOSS_GRPO, SCALE_GROUP);
        expected_update(update, &policy, &policy, &reference, score, size, false, &c);
        CHECK(cosine(update, exact) < 0.9999);
        printf("| G = %d, deviation divided out: expected update / exact gradient = %.6f, cosine %.6f\n",
               size, along(update, exact), cosine(update, exact));
    }
    /* One reply of the sixteen, seldom drawn, is worth far more than all others: J's gradient is its own. */
    real rare[REPLIES * LABELS];
    double rare_value[REPLIES];
    memcpy(rare, score, sizeof rare);
    rare[LABELS * LUCKY] += 20;
    for (int r = 0; r < REPLIES; r++)
        rare_value[r] = weight[0] * rare[LABELS * r] + weight[1] * rare[LABELS * r + 1];
    exact_gradient(exact, &policy, rare_value);
    const GrpoConfig group = settings(LOSS_GRPO, SCALE_GROUP);
    expected_update(update, &policy, &policy, &reference, rare, 2, false, &group);
    printf("| G = 2, one reply of 16 worth 20 more, drawn with %.3f: deviation divided out, cosine %.6f\n",
           chance(&policy, LUCKY), cosine(update, exact));
    /* A pair's advantages are +-1/sqrt 2 whatever the distance: J has become the chance to win against
     * oneself. Exact without epsilon. */
    GrpoConfig c = settings(LOSS_GRPO, SCALE_GROUP);
    c.std_eps = 0;
    expected_update(update, &policy, &policy, &reference, score, 2, false, &c);
    for (int r = 0; r < REPLIES; r++) {
        win[r] = 0;
        for (int q = 0; q < REPLIES; q++)
            win[r] += chance(&policy, q) * ((value[r] > value[q]) - (value[r] < value[q]));
    }
    exact_gradient(of_win, &policy, win);
    check_all(update, of_win, 1 / sqrt(2));
    printf("| G = 2, no epsilon: cosine with the gradient of the chance to win against another draw %.6f\n",
           cosine(update, of_win));
}

/* ---- E82 to E84, E89: one lucky reply among eight ---- */
static void lucky(double prize) {
    real reward[8] = {(real)prize}, adv[8], plain[8];
    GrpoConfig c = settings(LOSS_GRPO, SCALE_GROUP);
    grpo_advantage(adv, NULL, reward, 8, 8, SCALE_GROUP, c.std_eps);
    grpo_advantage(plain, NULL, reward, 8, 8, SCALE_NONE, c.std_eps);
    const double std = prize / sqrt(8);
    CHECK_NEAR(adv[0], prize * 7 / 8 / (std + c.std_eps), 1e-6);
    CHECK_NEAR(plain[1], -prize / 8, 1e-7);
    printf("| one of eight scores %.2f, the others 0: advantages %.4f and %.4f; divided: %.4f and %.4f\n",
           prize, (double)plain[0], (double)plain[1], (double)adv[0], (double)adv[1]);
}

/* ---- E94 to E97: whose gradient the estimators have ---- */
static void kl_update(double *to, bool corrected, const Policy *from) {
    GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
    c.beta = 1, c.use_bias_correction_kl = corrected;
    expected_update(to, &policy, from, &reference, NULL, 2, false, &c);
    for (int k = 0; k < PARAMS; k++) to[k] = -to[k];        /* the update goes down this gradient */
}

static void test_E95_E97_directions(void) {
    double reverse[PARAMS], forward[PARAMS], token[PARAMS], plain[PARAMS], corrected[PARAMS];
    double k1[PARAMS] = {0}, k2[PARAMS] = {0};
    double mean[3] = {0}, kl = kl_row(policy.first, reference.first);
    for (int a = 0; a < V; a++) kl += policy.first[a] * kl_row(policy.then[a], reference.then[a]);
    kl_gradient(reverse, &policy, &reference, true);
    kl_gradient(forward, &policy, &reference, false);
    kl_update(plain, false, &policy);
    kl_update(corrected, true, &policy);

    kl_by_token(token, &policy, &reference, &policy, false);
    check_all(plain, token, 1);                             /* k3: KL(ref || pi) of every token */
    kl_by_token(token, &policy, &reference, &policy, true);
    check_all(corrected, token, 1);                         /* k3 rho: KL(pi || ref) of every token */
    for (int k = 0; k < V; k++) CHECK_NEAR(plain[k], forward[k], tolerance());           /* the first token */
    for (int k = V; k < PARAMS; k++) CHECK_NEAR(corrected[k], reverse[k], tolerance());  /* the last one */

    for (int r = 0; r < REPLIES; r++)
        for (int t = 0; t < 2; t++) {
            const double p = t ? policy.then[r / V][r % V] : policy.first[r / V],
                         q = t ? reference.then[r / V][r % V] : reference.first[r / V];
            double k[3], dk[3];
            grpo_kl(k, dk, d_log(p), d_log(q));
            for (int m = 0; m < 3; m++) mean[m] += chance(&policy, r) * k[m];
            add_score(k1, chance(&policy, r) * dk[0], &policy, r, t);
            add_score(k2, chance(&policy, r) * dk[1], &policy, r, t);
        }
    CHECK_NEAR(mean[0], kl, 1e-12);
    CHECK_NEAR(mean[2], kl, 1e-12);
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(k1[k], 0, 1e-12);
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(k2[k], token[k], 1e-12);

    /* tokens of older weights: E96's ratio mends the token, the beginning stays as it was drawn */
    double off[PARAMS];
    kl_by_token(token, &policy, &reference, &old_policy, true);
    kl_update(off, true, &old_policy);
    check_all(off, token, 1);

    printf("| KL(pi || ref) = %.6f; mean of k1 %.6f, of k2 %.6f, of k3 %.6f\n", kl, mean[0], mean[1],
           mean[2]);
    printf("| gradient of k3:     cosine with that of KL(pi || ref) %.6f, of KL(ref || pi) %.6f\n",
           cosine(plain, reverse), cosine(plain, forward));
    printf("| gradient of k3 rho: cosine with that of KL(pi || ref) %.6f, of KL(ref || pi) %.6f\n",
           cosine(corrected, reverse), cosine(corrected, forward));
}

/* ---- E125: k1 as a part of the reward has the gradient of whole replies' KL(pi || ref) ---- */
static void test_E125_kl_in_reward(void) {
    const double beta = 0.3;
    double exact[PARAMS], reverse[PARAMS], update[PARAMS];
    real less[REPLIES * LABELS];
    memcpy(less, score, sizeof less);
    for (int r = 0; r < REPLIES; r++)
        less[LABELS * r] -= (real)(beta * d_log(chance(&policy, r) / chance(&reference, r)));
    exact_gradient(exact, &policy, value);
    kl_gradient(reverse, &policy, &reference, true);
    for (int k = 0; k < PARAMS; k++) exact[k] -= beta * reverse[k];
    const GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
    expected_update(update, &policy, &policy, &reference, less, 3, false, &c);
    check_all(update, exact, 2.0 / 3);
}

/* ---- a reward with an error ---- */
static void test_E86_reward_error(void) {
    double exact[PARAMS], wrong[PARAMS], of_error[PARAMS], update[PARAMS], error[REPLIES], both[REPLIES];
    real mistaken[REPLIES * LABELS];
    for (int r = 0; r < REPLIES; r++) {
        error[r] = r / V == 2 ? 0.5 : 0;                /* replies that begin with token 2 are overrated */
        mistaken[LABELS * r] = (real)(score[LABELS * r] + error[r]);
        mistaken[LABELS * r + 1] = score[LABELS * r + 1];
        both[r] = value[r] + error[r];
    }
    const GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
    exact_gradient(exact, &policy, value);
    exact_gradient(of_error, &policy, error);
    exact_gradient(wrong, &policy, both);
    expected_update(update, &policy, &policy, &reference, mistaken, 2, false, &c);
    check_all(update, wrong, 1.0 / 2);
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(update[k], (exact[k] + of_error[k]) / 2, tolerance());
    printf("| four replies overrated: cosine with the gradient of J %.6f, ", cosine(update, exact));
    for (int r = 0; r < REPLIES; r++)                   /* all of them: the error is common to the group */
        mistaken[LABELS * r] = (real)(score[LABELS * r] + 0.5);
    expected_update(update, &policy, &policy, &reference, mistaken, 2, false, &c);
    check_all(update, exact, 1.0 / 2);
    printf("all overrated alike: %.6f\n", cosine(update, exact));
}

/* ---- E60, E63, E73: the weighted sum ---- */
static void test_E73_sum(void) {
    const real two[8] = {0.9f, 0.50f, 0.1f, 0.55f, 0.8f, 0.45f, 0.2f, 0.60f};       /* [4, 2] */
    real reward[4], adv[4], apart[4];
    double share[2];
    const double equal[2] = {0.5, 0.5};
    GrpoConfig c = settings(LOSS_GRPO, SCALE_GROUP);
    grpo_score_advantage(adv, reward, NULL, two, equal, NULL, 4, 2, 4, &c);
    reward_label_share(share, two, equal, 4, 2, 4);
    c.multi_objective_aggregation = NORMALIZE_THEN_SUM;
    grpo_score_advantage(apart, reward, NULL, two, equal, NULL, 4, 2, 4, &c);
    CHECK_NEAR(share[0] + share[1], 1, 1e-6);
    printf("| weights 0.5 and 0.5, shares %.4f and %.4f\n", share[0], share[1]);
    for (int which = 0; which < 2; which++) {
        const real *a = which ? apart : adv;
        printf("| %s advantages %.4f %.4f %.4f %.4f\n", which ? "normalise first:" : "sum first:      ",
               (double)a[0], (double)a[1], (double)a[2], (double)a[3]);
    }
}

/* ---- E112: the same batch, four gradients ---- */
static void test_E112_lengths(void) {
    static const double length[4] = {1, 3, 4, 8};           /* two micro-batches of two replies */
    static const LossType types[] = {LOSS_GRPO, LOSS_BNPO, LOSS_DR_GRPO, LOSS_DAPO};
    for (int k = 0; k < 4; k++) {
        GrpoConfig c = settings(types[k], SCALE_NONE);
        c.max_completion_length = 8;
        const GrpoWindow w = {.n_item = 16, .n_process = 1, .gradient_accumulation_steps = 2,
                              .steps_per_generation = 2, .training = true};
        double of[4], whole = 0;
        for (int i = 0; i < 4; i++) {
            const GrpoMicro m = {.n_completion = 2, .n_token = i < 2 ? 4 : 12};
            of[i] = grpo_token_weight(&c, &w, &m, length[i]);
            whole += of[i] * length[i];
        }
        CHECK_NEAR(whole, types[k] == LOSS_DR_GRPO ? 0.5 : 1, 1e-12);
        printf("| %-8s c = %.4f %.4f %.4f %.4f for a token of the replies of 1, 3, 4, 8 tokens\n",
               loss_type_names[types[k]], of[0], of[1], of[2], of[3]);
    }
}

/* ---- the fixed point, with one position: there the divergence of tokens is that of replies ---- */
static void test_E96_fixed_point(void) {
    const int size = 2;
    const double beta = 0.25, acts = beta * size / (size - 1);      /* a mean that includes oneself */
    double tilted[PARAMS], k3[PARAMS], update[PARAMS];
    real first[REPLIES * LABELS] = {0};                     /* the reward sees the first token alone */
    double r[V];
    for (int a = 0; a < V; a++) {
        r[a] = 0.25 * ((3 * a + 1) % 4);
        for (int b = 0; b < V; b++) first[LABELS * (V * a + b)] = (real)r[a];
    }
    memcpy(tilted, z_ref, sizeof tilted);
    for (int a = 0; a < V; a++) tilted[a] += r[a] / acts;           /* pi = ref exp(R/beta) / Z */
    memcpy(k3, z_ref, sizeof k3);
    double low = 0, high = 1;       /* pi = ref / (1 - (R - J)/beta), and J makes the sum 1 */
    for (int n = 0; n < 200; n++) {
        const double j = (low + high) / 2;
        double sum = 0;
        for (int a = 0; a < V; a++)
            sum += (r[a] - j) / acts < 1 ? reference.first[a] / (1 - (r[a] - j) / acts) : INFINITY;
        if (sum > 1) low = j;
        else high = j;
    }
    for (int a = 0; a < V; a++) k3[a] = d_log(reference.first[a] / (1 - (r[a] - high) / acts));
    GrpoConfig c = settings(LOSS_GRPO, SCALE_NONE);
    c.beta = beta;
    const Policy best = policy_of(tilted), other = policy_of(k3);
    expected_update(update, &best, &best, &reference, first, size, false, &c);
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(update[k], 0, tolerance());
    c.use_bias_correction_kl = false;
    expected_update(update, &other, &other, &reference, first, size, false, &c);
    for (int k = 0; k < PARAMS; k++) CHECK_NEAR(update[k], 0, tolerance());
    printf("| beta 0.25, G = 2, rewards %.2f %.2f %.2f %.2f\n", r[0], r[1], r[2], r[3]);
    const double *row[] = {reference.first, best.first, other.first};
    static const char *const name[] = {"the reference is ", "k3 rho rests at", "k3 rests at    "};
    for (int k = 0; k < 3; k++)
        printf("| %-16s %.4f %.4f %.4f %.4f\n", name[k], row[k][0], row[k][1], row[k][2], row[k][3]);
}

int main(void) {
    example();
    test_E86_expectation();
    test_E84_bias();
    lucky(1);
    lucky(0.02);
    test_E95_E97_directions();
    test_E125_kl_in_reward();
    test_E112_lengths();
    test_E73_sum();
    test_E86_reward_error();
    test_E96_fixed_point();
    return test_end();
}
