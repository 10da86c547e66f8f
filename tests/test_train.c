/* test_train.c: windows and slices, the gathered gradient, the update, and state that is saved and read back.
 */
#include "run/trainer.h"

#include <string.h>

#include "lib/safetensors.h"
#include "net/flops.h"
#include "tests/tiny.h"

static const Tree trees[] = {{9, 3, {8, 1, 3}}, {1, 2, {2, 1}},       {4, 0, {0}},
                             {16, 1, {17}},     {5, 4, {1, 1, 2, 6}}, {33, 0, {0}}};
enum { N_TREE = sizeof trees / sizeof *trees, MAX_TARGET = 500, MAX_ROW = 200 };
static const char *const path =
    sizeof(real) == 4 ? "build/test_train_f32.safetensors" : "build/test_train_f64.safetensors";

static real weight_of(int key, int which) { return (real)tiny_number((uint64_t)(key + 7777777 * which), 5); }

static Window window_of(const Model *m, int *key) {
    Window w = {0};
    tiny_window(&w, key, trees, N_TREE, m->config.vocab, true);
    CHECK(w.n_target < MAX_TARGET && w.n_row <= MAX_ROW);
    return w;
}

typedef struct { const int *key; int next; double sum; } Weights;

static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Weights *w = to;
    CHECK_INT(first, w->next);                          /* slices come in order, without a gap */
    w->next = first + n;
    for (int i = 0; i < n; i++) {
        dlogp[i] = weight_of(w->key[first + i], 1);
        if (dentropy) dentropy[i] = weight_of(w->key[first + i], 2);
        w->sum += logp[i] + entropy[i];
    }
}

/* ---- slices ------------------------------------------------------------------------------ */

static void test_E117_slices_change_no_bit(void) {
    static const int slice[][2] = {{MAX_ROW, MAX_TARGET}, {36, 40}, {33, 33}, {50, 30}, {70, 45}};
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG))
        for (int with_entropy = 0; with_entropy < 2; with_entropy++) {
            Model *m = tiny_model(k);
            int key[MAX_TARGET];
            Window w = window_of(m, key);
            real *first = calloc(m->n_trainable, sizeof(real)), *logp = calloc(2 * MAX_TARGET, sizeof(real)),
                 *again = calloc(2 * MAX_TARGET, sizeof(real));
            double sum = 0;
            const Batch whole = tiny_batch(&w);         /* without slices, and so without their renumbering */
            Err none = {{0}};
            Acts *acts = acts_new(m, w.n_row, w.n_target, false, &none);
            real *direct = calloc(MAX_TARGET, sizeof(real));
            head_logp(direct, NULL, acts, m, &whole, model_forward(acts, m, &whole), 0.7, NULL);
            acts_free(acts);
            for (size_t i = 0; i < sizeof slice / sizeof *slice; i++) {
                Trainer t;
                Err e = {{0}};
                Weights weights = {.key = key};
                CHECK(trainer_new(&t, m, slice[i][0], slice[i][1], &e));
                CHECK(accumulate(&t, &w, 0.7, derive, &weights, with_entropy, &e));
                model_grad_finish(t.grad, t.acts, m);
                CHECK_INT(weights.next, w.n_target);
                real *values = i ? again : logp;
                CHECK(window_logp(values, values + MAX_TARGET, t.acts, t.max_row, t.max_target, m, &w, 0.7,
                                  &e));
                if (i == 0) memcpy(first, t.grad, m->n_trainable * sizeof(real)), sum = weights.sum;
                else {
                    CHECK_INT(tiny_differ(first, t.grad, m->n_trainable), 0);
                    CHECK_INT(tiny_differ(logp, again, 2 * MAX_TARGET), 0);
                    CHECK(weights.sum == sum);
                }
                trainer_free(&t);
            }
            double largest = 0;
            for (size_t j = 0; j < m->n_trainable; j++) largest = fmax(largest, fabs((double)first[j]));
            CHECK(largest > 0.1);
            CHECK_INT(tiny_differ(direct, logp, (size_t)w.n_target), 0);
            free(direct), free(first), free(logp), free(again);
            window_free(&w);
            model_free(m);
        }
}

/* The same with a second model: here an adapter's base, on the same weights. */
static void test_E201_slices_change_no_bit(void) {
    static const int slice[][2] = {{MAX_ROW, MAX_TARGET}, {36, 40}};
    Model *m = tiny_model(TINY_ADAPTED);
    Model base = model_base(m);
    Tally tally[2] = {{.forward = {.row = 0}}};
    int key[MAX_TARGET];
    Window w = window_of(m, key);
    Trainer t[2];
    real kl[2][MAX_TARGET] = {{0}}, again[2][MAX_TARGET], logp[MAX_TARGET], dkl[MAX_TARGET],
         running[MAX_TARGET];
    for (int i = 0; i < MAX_TARGET; i++) dkl[i] = (real)0.3;
    for (int i = 0; i < 2; i++) {
        Err e = {{0}};
        Weights weights = {.key = key};
        base.tally = &tally[i];
        CHECK(trainer_new(&t[i], m, slice[i][0], slice[i][1], &e));
        Acts *acts = acts_new(&base, slice[i][0], slice[i][1], false, &e);
        SecondModel second = {.model = &base, .acts = acts, .logp = again[i], .kl = kl[i]};
        CHECK(window_kl(logp, &second, t[i].acts, slice[i][0], slice[i][1], m, &w, 0.7, &e));
        CHECK(kl[i][w.n_target - 1] > 0);
        CHECK(window_logp(logp, NULL, t[i].acts, slice[i][0], slice[i][1], &base, &w, 0.7, &e));
        CHECK_INT(tiny_differ(logp, again[i], (size_t)w.n_target), 0);
        tally[i] = (Tally){.forward = {.row = 0}};
        second.kl = running, second.dkl = dkl;
        t[i].second = &second;
        CHECK(accumulate(&t[i], &w, 0.7, derive, &weights, false, &e));
        CHECK(i || !tiny_differ(running, kl[i], (size_t)w.n_target));
        acts_free(acts);
    }
    CHECK_INT(tiny_differ(kl[0], kl[1], MAX_TARGET), 0);
    CHECK_INT(tiny_differ(t[0].grad, t[1].grad, m->n_trainable), 0);
    /* a pass, and the head once more for the derivative */
    CHECK_NEAR(tally[0].forward.row, w.n_row, 0);
    CHECK_NEAR(tally[0].forward.flop, tally[1].forward.flop, 0);
    Tally head = {.forward = {.row = 0}};
    base.tally = &head;
    const Batch whole = tiny_batch(&w);
    tally_forward(&base, &whole, batch_scored_rows(&whole));
    tally_head(&base, batch_scored_rows(&whole));
    CHECK_NEAR(tally[0].forward.flop, head.forward.flop, 0);
    trainer_free(&t[0]), trainer_free(&t[1]);
    window_free(&w);
    model_free(m);
}

/* Gradients and values with all activations kept, and with each layer's input alone (twice, since a pass must
 * leave nothing that the next needs). */
static void test_E196_checkpointing_changes_no_bit(void) {
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        int key[MAX_TARGET];
        Window w = window_of(m, key);
        Trainer t[2];
        for (int i = 0; i < 2; i++) {
            Err e = {{0}};
            m->config.checkpointing = i;
            CHECK(trainer_new(&t[i], m, 50, 40, &e));
            for (int pass = 0; pass < 2; pass++) {
                Weights weights = {.key = key};
                CHECK(accumulate(&t[i], &w, 0.7, derive, &weights, true, &e));
            }
            model_grad_finish(t[i].grad, t[i].acts, m);
        }
        CHECK_INT(tiny_differ(t[0].grad, t[1].grad, m->n_trainable), 0);
        trainer_free(&t[0]), trainer_free(&t[1]);
        window_free(&w);
        model_free(m);
    }
}

static void derive_scores(void *to, int first, int n, const real *score, real *dscore) {
    Weights *w = to;
    CHECK_INT(first, w->next);
    w->next = first + n;
    for (int i = 0; i < 3 * n; i++) dscore[i] = score[i] - weight_of(3 * first + i, 3);
}

static void test_E44_slices_of_scores(int network) {
    Model *m = tiny_model(network);
    int key[MAX_TARGET];
    Window w = window_of(m, key);
    real *first = calloc(m->n_trainable, sizeof(real)), *score = calloc(2 * 3 * MAX_TARGET, sizeof(real)),
         *again = score + 3 * MAX_TARGET;
    for (int i = 0; i < 3; i++) {
        Trainer t;
        Err e = {{0}};
        Weights weights = {.key = key};
        CHECK(trainer_new(&t, m, i ? 30 + 6 * i : MAX_ROW, i ? 60 : MAX_TARGET, &e));
        CHECK(accumulate_scores(&t, &w, derive_scores, &weights, &e));
        CHECK_INT(weights.next, w.n_target);
        CHECK(window_scores(i ? again : score, t.acts, t.max_row, t.max_target, m, &w, &e));
        if (i == 0) memcpy(first, t.grad, m->n_trainable * sizeof(real));
        CHECK_INT(tiny_differ(first, t.grad, m->n_trainable), 0);
        CHECK_INT(i ? tiny_differ(score, again, 3 * (size_t)w.n_target) : 0, 0);
        trainer_free(&t);
    }
    free(first), free(score);
    window_free(&w);
    model_free(m);
}

static void test_slice_that_does_not_fit(void) {
    Model *m = tiny_model(0);
    int key[MAX_TARGET];
    Window w = window_of(m, key);
    Trainer t;
    Err e = {{0}};
    Weights weights = {.key = key};
    CHECK(trainer_new(&t, m, 32, MAX_TARGET, &e));      /* the fourth tree has 33 rows */
    CHECK_ERROR(!accumulate(&t, &w, 1, derive, &weights, true, &e), e, "--slice-rows");
    trainer_free(&t);
    CHECK(trainer_new(&t, m, MAX_ROW, 10, &e));         /* the first has 19 targets */
    weights.next = 0;
    CHECK_ERROR(!accumulate(&t, &w, 1, derive, &weights, true, &e), e, "--slice-rows");
    w.id[3] = 13;
    CHECK_ERROR(!window_logp(NULL, NULL, t.acts, MAX_ROW, MAX_TARGET, m, &w, 1, &e), e, "token id 13");
    trainer_free(&t);
    window_clear(&w);
    CHECK_INT(w.n_row + w.n_seg + w.n_target, 0);
    window_free(&w);
    model_free(m);
}

static void test_window_grows(void) {
    Window w = {0};
    Err e = {{0}};
    int id[3];
    for (int i = 0; i < 3000; i++) {
        for (int t = 0; t < 3; t++) id[t] = 3 * i + t;
        CHECK_INT(window_add(&w, id, 3, i % 2 ? i - 1 : -1, &e), i);
        CHECK(window_target(&w, 3 * i, i, &e));
    }
    long wrong = 0;
    for (int i = 0; i < 9000; i++) wrong += w.id[i] != i;
    for (int i = 0; i < 3000; i++)
        wrong +=
            w.seg[i].start != 3 * i || w.seg[i].n_row != 3 || w.target_row[i] != 3 * i || w.target_id[i] != i;
    CHECK_INT(wrong, 0);
    window_free(&w);
}

/* ---- E280 to E285: the update ------------------------------------------------------------ */

static void settings(Trainer *t) {
    t->adamw = (AdamW){.lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1};
    t->schedule = SCHEDULE_LINEAR;
    t->n_step = 6, t->warmup = 1, t->max_grad_norm = 0.5;
}

static void one_step(Trainer *t, const Window *w, const int *key) {
    Err e = {{0}};
    Weights weights = {.key = key};
    CHECK(accumulate(t, w, 1, derive, &weights, true, &e));
    CHECK(trainer_update(t, &e));
}

/* The norm over all parameters, the tied head's gradient counted once in the embedding; decay of matrices
 * only. */
static void test_E283_to_E285_update(void) {
    for (int k = 0; k < 2; k++) {                       /* tied, own head and biases */
        Model *m = tiny_model(k), *before = tiny_model(k);
        int key[MAX_TARGET];
        Window w = window_of(m, key);
        Trainer t, twin; /* twin: whose gradient can be looked at before the update */
        Err e = {{0}};
        Weights weights = {.key = key}, again = weights;
        CHECK(trainer_new(&t, m, MAX_ROW, MAX_TARGET, &e) && trainer_new(&twin, m, MAX_ROW, MAX_TARGET, &e));
        settings(&t);
        t.step = 1;                                     /* the second step: no bias correction hides a slip */
        for (size_t j = 0; j < m->n_trainable; j++)
            t.m[j] = (real)(0.01 * tiny_number(1, j)), t.v[j] = (real)(0.001 * (1.1 + tiny_number(2, j)));
        CHECK(accumulate(&t, &w, 1, derive, &weights, true, &e) &&
              accumulate(&twin, &w, 1, derive, &again, true, &e));
        model_grad_finish(twin.grad, twin.acts, m);
        double *g = calloc(m->n_trainable, sizeof *g), square = 0;
        for (size_t j = 0; j < m->n_trainable; j++) g[j] = twin.grad[j];
        for (size_t j = 0; j < m->n_trainable; j++) square += g[j] * g[j];
        real *m1 = malloc(m->n_trainable * sizeof(real)), *v1 = malloc(m->n_trainable * sizeof(real));
        memcpy(m1, t.m, m->n_trainable * sizeof(real)), memcpy(v1, t.v, m->n_trainable * sizeof(real));
        CHECK(trainer_update(&t, &e));
        /* warm-up over, no decay yet */
        const double tol = sizeof(real) == 4 ? 1e-5 : 1e-12, lr = 0.01 * 1;
        CHECK_NEAR(t.grad_norm / sqrt(square), 1, tol);
        CHECK(t.grad_norm > 0.5);
        CHECK_NEAR(t.lr, lr, 1e-17);
        CHECK_INT(t.step, 2);
        double off = 0;
        for (int i = 0; i < m->n_param; i++)
            for (size_t j = 0, at = m->param[i].offset; j < param_count(&m->param[i]); j++, at++) {
                const double c = g[at] * 0.5 / (sqrt(square) + 1e-6), mm = 0.9 * m1[at] + 0.1 * c,
                             vv = 0.99 * v1[at] + 0.01 * c * c;
                const bool decays = strstr(m->param[i].name, "proj.weight") || m->param[i].is_matrix;
                const double p = before->weights[at] * (1 - (decays ? lr * 0.1 : 0)) -
                                 lr / (1 - 0.81) * mm / (sqrt(vv) / sqrt(1 - 0.99 * 0.99) + 1e-8);
                off = fmax(off, fabs(p - m->weights[at]));
            }
        CHECK_NEAR(off, 0, sizeof(real) == 4 ? 1e-6 : 1e-14);
        for (int i = 0; i < m->n_param; i++)
            CHECK(m->param[i].is_matrix ==
                  !(strstr(m->param[i].name, "norm") || strstr(m->param[i].name, "bias")));
        long left = 0;
        for (size_t j = 0; j < m->n_trainable; j++) left += t.grad[j] != 0;
        CHECK_INT(left, 0);
        free(g), free(m1), free(v1);
        trainer_free(&t), trainer_free(&twin);
        window_free(&w);
        model_free(m), model_free(before);
    }
}

static void test_gradient_that_is_not_finite(void) {
    Model *m = tiny_model(0), *before = tiny_model(0);
    int key[MAX_TARGET];
    Window w = window_of(m, key);
    Trainer t;
    Err e = {{0}};
    CHECK(trainer_new(&t, m, MAX_ROW, MAX_TARGET, &e));
    settings(&t);
    t.grad[17] = (real)NAN;
    CHECK_ERROR(!trainer_update(&t, &e), e, "step 1: the gradient's norm is");
    CHECK_INT(tiny_differ(m->weights, before->weights, m->n_trainable), 0);
    CHECK_INT(t.step, 0);
    CHECK(t.m[17] == 0 && t.grad[17] == 0);
    one_step(&t, &w, key);                              /* and the run can go on */
    one_step(&t, &w, key);
    CHECK_INT(t.step, 2);
    CHECK(tiny_differ(m->weights, before->weights, m->n_trainable) > 300);
    trainer_free(&t);
    window_free(&w);
    model_free(m), model_free(before);
}

/* ---- state ------------------------------------------------------------------------------- */

static void test_resume_is_the_same_run(void) {
    for (int i = 0; i < 6; i++) {
        const int k = i < 3 ? 3 * i : TINY_ADAPTED + 3 * (i - 3);
        Model *whole = tiny_model(k), *part = tiny_model(k), *resumed = tiny_model(k);
        int key[MAX_TARGET];
        Window w = window_of(whole, key);
        Trainer a, b, c;
        double saved[2] = {0.1, -INFINITY}, read[2] = {0, 0};
        Err e = {{0}};
        CHECK(trainer_new(&a, whole, MAX_ROW, MAX_TARGET, &e) &&
              trainer_new(&b, part, MAX_ROW, MAX_TARGET, &e));
        settings(&a), settings(&b);
        for (int s = 0; s < 5; s++) one_step(&a, &w, key);
        for (int s = 0; s < 2; s++) one_step(&b, &w, key);
        trainer_keep(&b, "numbers", saved, 2);
        CHECK(trainer_save(&b, path, NULL, &e));
        tiny_fill(resumed, 777, true);                  /* nothing of it may survive */
        CHECK(trainer_new(&c, resumed, 40, 60, &e));    /* nor do other slices matter */
        settings(&c);
        trainer_keep(&c, "numbers", read, 2);
        CHECK(trainer_load(&c, path, &e));
        CHECK_INT(c.step, 2);
        CHECK(read[0] == 0.1 && read[1] == -INFINITY);
        for (int s = 0; s < 3; s++) one_step(&c, &w, key);
        CHECK_INT(tiny_differ(whole->weights, resumed->weights, whole->n_trainable), 0);
        CHECK_INT(tiny_differ(a.m, c.m, whole->n_trainable) + tiny_differ(a.v, c.v, whole->n_trainable), 0);
        CHECK(a.grad_norm == c.grad_norm && a.lr == c.lr);
        CHECK(tiny_differ(whole->weights, part->weights, whole->n_trainable) > 100);

        Model *other = tiny_model(k % TINY_ADAPTED == 3 ? 0 : 3);
        Trainer d;
        CHECK(trainer_new(&d, other, MAX_ROW, MAX_TARGET, &e));
        CHECK_ERROR(!trainer_load(&d, path, &e), e, "checkpoint is of another model");
        const double broken = -1;
        TensorOut out[4] = {{.name = "weights", .store = STORE_F64, .n_dim = 1, .shape = {whole->n_trainable},
                             .data = whole->weights, .from = STORE_REAL},
                            {.name = "exp_avg", .store = STORE_F64, .n_dim = 1, .shape = {whole->n_trainable},
                             .data = a.m, .from = STORE_REAL},
                            {.name = "exp_avg_sq", .store = STORE_F64, .n_dim = 1,
                             .shape = {whole->n_trainable}, .data = a.v, .from = STORE_REAL},
                            {.name = "step", .store = STORE_F64, .n_dim = 1, .shape = {1}, .data = &broken,
                             .from = STORE_F64}};
        const Store right = sizeof(real) == 4 ? STORE_F32 : STORE_F64;
        CHECK(safetensors_write(path, out, 4, (const char *const[]){NULL}, &e));
        /* the other build's */
        CHECK_ERROR(!trainer_load(&c, path, &e), e, sizeof(real) == 4 ? "of type F32" : "step: found -1");
        for (int i = 0; i < 3; i++) out[i].store = right;
        CHECK(safetensors_write(path, out, 4, (const char *const[]){NULL}, &e));
        CHECK_ERROR(!trainer_load(&c, path, &e), e, "step: found -1");
        CHECK(safetensors_write(path, out, 3, (const char *const[]){NULL}, &e));
        CHECK_ERROR(!trainer_load(&c, path, &e), e, "step: expected 1 number");
        CHECK(safetensors_write(path, out + 1, 3, (const char *const[]){NULL}, &e));
        CHECK_ERROR(!trainer_load(&c, path, &e), e, "weights: expected");
        trainer_free(&a), trainer_free(&b), trainer_free(&c), trainer_free(&d);
        window_free(&w);
        model_free(whole), model_free(part), model_free(resumed), model_free(other);
    }
    remove(path);
    Model *m = tiny_model(0);
    Trainer t;
    Err e = {{0}};
    CHECK(trainer_new(&t, m, 10, 10, &e));
    CHECK_ERROR(!trainer_load(&t, path, &e), e, path);
    trainer_free(&t);
    model_free(m);
}

/* What the plan says is what is taken. */
static void test_trainer_bytes(void) {
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_COUNT - 1)) {
        Model *m = tiny_model(k);
        CHECK_INT(trainer_bytes(&m->config, 50, 20),
                  model_bytes(&m->config) + acts_bytes(&m->config, 50, 20, true) +
                      (3 * m->n_trainable + 50 * (size_t)m->config.hidden) * sizeof(real));
        model_free(m);
    }
}

/* Two trainers in one file; neither goes into the other's place, and a file that holds one alone is refused.
 */
static void test_partner_in_the_same_checkpoint(void) {
    Model *m[4] = {tiny_model(0), tiny_model(3), tiny_model(0), tiny_model(3)};
    Trainer t[4];
    Err e = {{0}};
    for (int i = 0; i < 4; i++) {
        CHECK(trainer_new(&t[i], m[i], MAX_ROW, MAX_TARGET, &e));
        for (size_t j = 0; j < m[i]->n_trainable; j++)
            t[i].m[j] = (real)(i < 2 ? i + 1 : 9), t[i].v[j] = (real)(i < 2 ? 3 + i : 9);
        t[i].step = i < 2 ? 10 + i : 0;
    }
    tiny_fill(m[2], 777, true), tiny_fill(m[3], 778, true);
    t[0].partner = &t[1], t[2].partner = &t[3];
    double kept = 5, read = 0;
    trainer_keep(&t[1], "kept", &kept, 1), trainer_keep(&t[3], "kept", &read, 1);
    CHECK(trainer_save(&t[0], path, NULL, &e) && trainer_load(&t[2], path, &e));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(tiny_differ(m[i]->weights, m[i + 2]->weights, m[i]->n_trainable), 0);
        CHECK_INT(tiny_differ(t[i].m, t[i + 2].m, m[i]->n_trainable) +
                      tiny_differ(t[i].v, t[i + 2].v, m[i]->n_trainable),
                  0);
        CHECK_INT(t[i + 2].step, 10 + i);
    }
    CHECK(read == 5);
    t[0].partner = NULL;
    CHECK(trainer_save(&t[0], path, NULL, &e));
    CHECK_ERROR(!trainer_load(&t[2], path, &e), e, "partner.weights: expected");
    remove(path);
    for (int i = 0; i < 4; i++) trainer_free(&t[i]), model_free(m[i]);
}

/* E22, E31: the prompt's last row predicts every first token, and a completion's last token has no row. */
static void test_window_group(void) {
    const int prompt[] = {5, 6, 7}, token[] = {9, 1, 2, 3, 4};
    const size_t offset[] = {0, 1, 2, 4, 5};            /* completions: 9; 1; 2 3; 4 */
    Window w = {0};
    int token_of[8], completion_of[8];
    Err e = {{0}};
    CHECK(window_group(&w, prompt, 3, token, offset, 2, 2, token_of, completion_of, &e));
    /* rows: 5 6 7 | 2; targets: 2 and 4 at the prompt's last row, 3 at the row of 2 */
    const int id[] = {5, 6, 7, 2}, row[] = {2, 2, 3}, target[] = {2, 4, 3}, of[] = {2, 4, 3},
              completion[] = {2, 3, 2};
    CHECK_INT(w.n_row, 4);
    CHECK_INT(w.n_seg, 2);
    CHECK_INT(w.n_target, 3);
    CHECK(!memcmp(w.id, id, sizeof id) && !memcmp(w.target_row, row, sizeof row) &&
          !memcmp(w.target_id, target, sizeof target));
    CHECK(!memcmp(token_of, of, sizeof of) && !memcmp(completion_of, completion, sizeof completion));
    CHECK(w.seg[0].prefix == -1 && w.seg[1].prefix == 0 && w.seg[1].start == 3);
    /* one more tree; its only completion has no row */
    CHECK(window_group(&w, prompt, 2, token, offset, 0, 1, token_of, completion_of, &e));
    CHECK(w.n_row == 6 && w.n_seg == 3 && w.n_target == 4 && w.target_row[3] == 5 && w.target_id[3] == 9 &&
          token_of[3] == 0 && completion_of[3] == 0);
    window_free(&w);
}

/* The same two completions, seen as states: with the row of each last token, and with one more target. */
static void test_window_group_states(void) {
    const int prompt[] = {5, 6, 7}, token[] = {2, 3, 4, 1};
    const size_t offset[] = {0, 2, 3};                  /* completions: 2 3; 4 */
    static const struct {
        bool last_row, extra;
        int n_row, n_target, row[10], id[10], token_of[10], completion_of[10];
    } want[] = {
        {true, false, 6, 5, {2, 2, 3, 4, 5}, {2, 4, 3, 3, 4}, {0, 2, 1, 2, 3}, {0, 1, 0, 0, 1}},
        {false, true, 4, 6, {2, 2, 2, 2, 3, 3}, {2, 8, 4, 8, 3, 8}, {0, ~0, 2, ~2, 1, ~1},
         {0, 0, 1, 1, 0, 0}},
        {true, true, 6, 8, {2, 2, 2, 2, 3, 3, 4, 5}, {2, 8, 4, 8, 3, 8, 8, 8},
         {0, ~0, 2, ~2, 1, ~1, ~2, ~3}, {0, 0, 1, 1, 0, 0, 0, 1}}};
    for (int k = 0; k < 3; k++) {
        Window w = {.last_row = want[k].last_row, .extra = want[k].extra, .extra_id = 8};
        int token_of[10], completion_of[10];
        Err e = {{0}};
        CHECK(window_group(&w, prompt, 3, token, offset, 0, 2, token_of, completion_of, &e));
        CHECK_INT(w.n_row, want[k].n_row);
        CHECK_INT(w.n_target, want[k].n_target);
        const size_t n = (size_t)w.n_target * sizeof(int);
        CHECK(!memcmp(w.target_row, want[k].row, n) && !memcmp(w.target_id, want[k].id, n));
        CHECK(!memcmp(token_of, want[k].token_of, n) && !memcmp(completion_of, want[k].completion_of, n));
        window_free(&w);
    }
}

int main(void) {
    test_E117_slices_change_no_bit();
    test_E201_slices_change_no_bit();
    test_E196_checkpointing_changes_no_bit();
    test_E44_slices_of_scores(TINY_LABELS);
    test_E44_slices_of_scores(TINY_ADAPTED + TINY_LABELS);
    test_slice_that_does_not_fit();
    test_window_grows();
    test_E283_to_E285_update();
    test_gradient_that_is_not_finite();
    test_resume_is_the_same_run();
    test_partner_in_the_same_checkpoint();
    test_window_group();
    test_window_group_states();
    test_trainer_bytes();
    return test_end();
}
