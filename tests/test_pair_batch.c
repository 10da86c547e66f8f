/* test_pair_batch.c: the gradient of a micro-batch of pairs in a whole network against differences of its
 * loss (double build), for every loss and modifier; slices, which change no bit. */
#include "run/pair_batch.h"

#include "tests/tiny.h"

enum { N = 3, PROMPT = 3, MAX = 12, LONGEST = PROMPT + MAX };
static const int length[N][2] = {{4, 2}, {1, 5}, {3, 3}};
static int token[N][LONGEST];
static unsigned char changed[N][MAX];
static PairTokens pairs[N];

/* Pairs whose values under the reference are near those of any network; other: the reference of a loss that
 * reads it beside the policy. */
static void pairs_make(PairBatch *b, Learner *l, Model *m, const Model *other, int rows) {
    static real reference[N][2 * MAX + 4];
    const int vocab = m->config.vocab, open = dpo_is_flow(&b->config);
    Err e = {{0}};
    for (int i = 0; i < N; i++) {
        pairs[i] = (PairTokens){.id = token[i], .n_prompt = PROMPT, .n_w = length[i][0], .n_l = length[i][1],
                                .open = open, .score = {i, -2}, .reference = reference[i],
                                .changed = changed[i], .group = i == 1};
        for (int t = 0; t < PROMPT + length[i][0] + length[i][1]; t++)
            token[i][t] = (int)((tiny_number((uint64_t)i, (uint64_t)t) + 1) / 2 * vocab);
        for (int t = 0; t < 2 * MAX + 4; t++)
            reference[i][t] = (real)(-2.5 + 0.4 * tiny_number((uint64_t)i + 50, (uint64_t)t));
        for (int t = 0; t < MAX; t++) changed[i][t] = t % 3 != 1;
    }
    *l = (Learner){.model = m, .reference = other, .rows = rows, .language = {.end_of_turn = 5}};
    b->flow = (FlowWork){.config = {.alpha = 0.3, .gamma = 0.1, .lambda = 0.9}, .lowest_score = -2};
    b->l = l, b->size = N, b->accumulate = b->n_micro = 1;
    CHECK(trainer_new(&l->trainer, m, rows, rows, &e));
    CHECK(pair_batch_new(b, 2 * LONGEST, &e));
    for (int i = 0; i < N; i++) b->now[i] = &pairs[i];
}

/* The loss, and its gradient in the trainer. */
static double loss_of(PairBatch *b) {
    Err e = {{0}};
    b->loss = 0;
    memset(b->l->trainer.grad, 0, b->l->model->n_trainable * sizeof(real));
    CHECK(pair_batch_lay(b, 0, N, &e) && pair_batch_learn(b, &e));
    model_grad_finish(b->l->trainer.grad, b->l->trainer.acts, b->l->model);
    return b->loss;
}

static void batch_close(PairBatch *b) {
    pair_batch_free(b);
    trainer_free(&b->l->trainer);
    window_free(&b->l->window);
}

/* A few weights of every tensor. */
static void check_gradient(PairBatch *b, const char *what) {
    Learner *l = b->l;
    Model *m = l->model;
    const long before = failed;
    real *grad = malloc(m->n_trainable * sizeof(real));
    loss_of(b);
    memcpy(grad, l->trainer.grad, m->n_trainable * sizeof(real));
    size_t at = 0;
    for (int i = 0; i < m->n_param; i++) {
        const size_t n = param_count(&m->param[i]);
        for (size_t j = 0; j < n; j += n / 2 + 1) {
            real *x = (real *)m->param[i].data + j, keep = *x, h = (real)1e-5;
            *x = keep + h, model_pack(m);
            const double up = loss_of(b);
            *x = keep - h, model_pack(m);
            const double down = loss_of(b);
            *x = keep, model_pack(m);
            CHECK_NEAR(grad[at + j], (up - down) / (2 * (double)h), 1e-7);
        }
        at += n;
    }
    CHECK(at == m->n_trainable);
    free(grad);
    if (failed > before) printf("  with %s\n", what);
}

/* With delta 1 BMC's weights are constants: 1/p is never less. tdpo2's derivative is no gradient: it stops at
 * K_w. */
static void test_gradient(void) {
    if (sizeof(real) == 4) return;
    Model *m = tiny_model(3), *other = tiny_model(3);
    for (size_t j = 0; j < other->n_trainable; j++) other->weights[j] += (real)(0.1 * tiny_number(31, j));
    model_pack(other);
    for (int loss = 0; loss < N_DPO_LOSS; loss++)
        for (int bmc = 0; bmc < 2; bmc++) {
            Err e;
            Learner l;
            PairBatch b = {.bmc = {.delta = bmc}};
            dpo_config_default(&b.config);
            b.config.loss_type[0] = (DpoLoss)loss;
            b.config.label_smoothing = 0.1, b.config.discopop_tau = 0.4;
            b.ahead = dpo_ranked(&b.config);
            if (loss == DPO_TDPO2 || !bmc_config_check(&b.bmc, &b.config, &e)) continue;
            pairs_make(&b, &l, m, other, LONGEST);
            check_gradient(&b, dpo_loss_names[loss]);
            batch_close(&b);
        }
    model_free(m), model_free(other);
}

/* Groups of unlike weight and size; the weights stay, as E214's derivative has them. */
static void test_E214_gradient(void) {
    static const DpoLoss type[] = {DPO_SIGMOID, DPO_IPO_SUM};
    if (sizeof(real) == 4) return;
    Model *m = tiny_model(3);
    for (int k = 0; k < 4; k++) {
        PairBatch b = {.ahead = true,
                       .groups = {.config = {.loss = (GroupLoss)(k / 2), .weights = GROUP_FIXED},
                                  .n = 2, .count = {5, 3}, .q = {0.3, 0.7}}};
        Learner l;
        dpo_config_default(&b.config);
        b.config.loss_type[0] = type[k % 2];
        pairs_make(&b, &l, m, NULL, LONGEST);
        /* by hand: sums are divided by the number of pairs, means are not; one of two micro-batches */
        b.accumulate = b.n_micro = 2, b.config.loss_weight[0] = 0.5;
        double of[2] = {0, 0};
        const double loss = loss_of(&b);
        for (int i = 0; i < N; i++) of[i == 1] += b.ell[i];
        const double sums = (0.3 * of[0] * 8 / 5 + 0.7 * of[1] * 8 / 3) / 3,
                     means = 0.3 * of[0] / 2 + 0.7 * of[1];
        CHECK_NEAR(loss, (k / 2 ? means : sums) / 2, 1e-12);
        check_gradient(&b, group_loss_names[k / 2]);
        batch_close(&b);
    }
    model_free(m);
}

static void test_E117_slices(DpoLoss type) {
    Model *m = tiny_model(3), *other = tiny_model(3);
    double loss[2];
    real *grad[2];
    for (int k = 0; k < 2; k++) {
        PairBatch b = {.bmc = {.delta = type == DPO_SIGMOID ? 2 : 0}};
        Learner l;
        dpo_config_default(&b.config);
        b.config.loss_type[0] = type;
        pairs_make(&b, &l, m, other, k ? LONGEST : N * LONGEST);
        loss[k] = loss_of(&b);
        grad[k] = malloc(m->n_trainable * sizeof(real));
        memcpy(grad[k], l.trainer.grad, m->n_trainable * sizeof(real));
        batch_close(&b);
    }
    CHECK(loss[0] == loss[1]);
    CHECK_INT(tiny_differ(grad[0], grad[1], m->n_trainable), 0);
    free(grad[0]), free(grad[1]);
    model_free(m), model_free(other);
}

int main(void) {
    test_gradient();
    test_E214_gradient();
    test_E117_slices(DPO_SIGMOID);
    test_E117_slices(DPO_TDPO1);
    test_E117_slices(DPO_FLOW_SUBTB);
    return test_end();
}
