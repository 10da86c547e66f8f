/* test_model.c: derivatives against differences, prefix sharing, the same bits in any batch and with any
 * number of threads, heads, one row of logits, cost, what is refused. Whole networks against other programs'
 * numbers: test_known_answers.c. */
#include "net/flops.h"
#include "tests/tiny.h"

static const Tree trees[] = {{19, 3, {18, 1, 3}}, {1, 2, {2, 1}}, {4, 0, {0}}, {16, 1, {17}}};
enum { N_TREE = sizeof trees / sizeof *trees, MAX_TARGET = 2000 };
static const double tau = 0.7;

static real weight_of(int key, int which) { return (real)tiny_number((uint64_t)(key + 7777777 * which), 5); }

typedef struct {
    Model *m;
    Acts *a;
    Window w;
    int key[MAX_TARGET];
    Batch b;
    real *logp, *entropy, *dlogp, *dentropy, *logp_other, *kl, *dkl, *grad, *dhidden;
    SecondModel second;                 /* model NULL: none */
} Run;

static void run_open(Run *r, Model *m, const Tree *tree, int n_tree, bool shared) {
    Err e = {{0}};
    *r = (Run){.m = m};
    tiny_window(&r->w, r->key, tree, n_tree, m->config.vocab, shared);
    r->b = tiny_batch(&r->w);
    CHECK(batch_check(&r->b, &m->config, &e));
    r->a = acts_new(m, r->b.n_row, r->b.n_target, true, &e);
    real **list[] = {&r->logp, &r->entropy, &r->dlogp, &r->dentropy, &r->kl, &r->dkl,
                     &r->logp_other};
    for (int i = 0; i < 7; i++) *list[i] = calloc((size_t)r->b.n_target, sizeof(real));
    r->grad = calloc(m->n_trainable, sizeof(real));
    r->dhidden = calloc((size_t)r->b.n_row * (size_t)m->config.hidden, sizeof(real));
    for (int i = 0; i < r->b.n_target; i++)
        r->dlogp[i] = weight_of(r->key[i], 1), r->dentropy[i] = weight_of(r->key[i], 2),
        r->dkl[i] = weight_of(r->key[i], 3);
}

/* The same with a second model beside it, which may be the same model. */
static void run_second(Run *r, const Model *m) {
    Err e = {{0}};
    r->second = (SecondModel){.model = m, .acts = acts_new(m, r->b.n_row, r->b.n_target, false, &e),
                              .logp = r->logp_other, .kl = r->kl, .dkl = r->dkl};
    r->second.hidden = model_forward(r->second.acts, m, &r->b);
}

static void run_close(Run *r) {
    acts_free(r->a);
    window_free(&r->w);
    acts_free(r->second.acts);
    free(r->logp), free(r->entropy), free(r->dlogp), free(r->dentropy), free(r->kl), free(r->dkl);
    free(r->logp_other), free(r->grad), free(r->dhidden);
}

static const real *run_forward(Run *r) {
    const real *hidden = model_forward(r->a, r->m, &r->b);
    head_logp(r->logp, r->entropy, r->a, r->m, &r->b, hidden, tau, r->second.model ? &r->second : NULL);
    return hidden;
}

static void run_backward(Run *r) {
    const real *hidden = run_forward(r);
    memset(r->grad, 0, r->m->n_trainable * sizeof(real));
    head_logp_backward(r->dhidden, r->grad, r->a, r->m, &r->b, hidden, tau, r->dlogp, r->dentropy,
                       r->second.model ? &r->second : NULL);
    model_backward(r->grad, r->a, r->m, &r->b, r->dhidden);
    model_grad_finish(r->grad, r->a, r->m);
}

/* ---- derivatives ------------------------------------------------------------------------- */

static double run_loss(void *to) {
    Run *r = to;
    double loss = 0;
    model_pack(r->m);
    run_forward(r);
    for (int i = 0; i < r->b.n_target; i++)
        loss += (double)r->dlogp[i] * r->logp[i] + (double)r->dentropy[i] * r->entropy[i] +
                (double)r->dkl[i] * r->kl[i];                   /* kl is 0 without a second model */
    return loss;
}

/* d loss / ds of w + s direction, by five points: the error is of order h^4. */
static double slope(double (*loss)(void *), void *to, real *w, const real *direction, size_t n) {
    static const double at[] = {-2, -1, 1, 2}, factor[] = {1, -8, 8, -1};
    const double h = 2e-4;
    real *keep = malloc(n * sizeof(real));
    double sum = 0;
    memcpy(keep, w, n * sizeof(real));
    for (int k = 0; k < 4; k++) {
        for (size_t j = 0; j < n; j++) w[j] = keep[j] + (real)(at[k] * h) * direction[j];
        sum += factor[k] * loss(to) / (12 * h);
    }
    memcpy(w, keep, n * sizeof(real));
    free(keep);
    return sum;
}

/* Some elements of each tensor, then a random direction through all of them: an error in any one element
 * shows there. */
static void check_gradient(double (*loss)(void *), void *to, const Model *m, const real *grad) {
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        const size_t n = param_count(p);
        if (!p->trainable) continue;
        const real *g = grad + p->offset;
        real *direction = calloc(n, sizeof(real)), *w = p->data;
        double largest = 0, length = 0, along = 0;
        for (size_t j = 0; j < n; j++)
            largest = fmax(largest, fabs((double)g[j])), length += (double)g[j] * g[j];
        for (size_t k = 0; k < 4 && k < n; k++) {
            const size_t j = n <= 4   ? k
                             : k == 0 ? 0
                             : k == 1 ? n - 1
                                      : (size_t)((tiny_number((uint64_t)i, k) + 1) / 2 * (double)n);
            direction[j] = 1;
            CHECK_NEAR(slope(loss, to, w, direction, n), g[j], 1e-8 * largest);
            direction[j] = 0;
        }
        for (size_t j = 0; j < n; j++)
            direction[j] = (real)tiny_number(99, j), along += (double)g[j] * direction[j];
        const long before = failed;
        CHECK_NEAR(slope(loss, to, w, direction, n), along, 1e-8 * sqrt(length));
        CHECK(length > 0);                              /* no tensor is left out */
        if (failed != before)
            printf("    %s of network %d: gradient of length %g\n", p->name, m->config.arch, sqrt(length));
        free(direction);
    }
}

static void test_E6_to_E26_differences(void) {
    if (sizeof(real) == 4) return;                      /* differences of floats see nothing */
    set_threads(1);
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG - 1)) {
        Model *m = tiny_model(k);
        Run r;
        run_open(&r, m, trees, N_TREE, true);
        run_backward(&r);
        check_gradient(run_loss, &r, m, r.grad);
        run_close(&r);
        model_free(m);
    }
}

typedef struct { Run r; const int *row; const real *dscore; real *score; int n; } ScoreRun;

static double score_loss(void *to) {
    ScoreRun *s = to;
    double loss = 0;
    model_pack(s->r.m);
    head_linear(s->score, s->r.m, model_forward(s->r.a, s->r.m, &s->r.b), s->row, s->n);
    for (int i = 0; i < s->n * s->r.m->config.n_label; i++) loss += (double)s->dscore[i] * s->score[i];
    return loss;
}

static void test_E41_head_linear(int network) {
    Model *m = tiny_model(network);
    /* one row is read twice */
    const int k = m->config.n_label, h = m->config.hidden, row[] = {36, 18, 18, 42, 3};
    enum { N = 5 };
    real dscore[N * 3], score[N * 3], alone[3];
    for (int i = 0; i < N * k; i++) dscore[i] = weight_of(i, 3);
    ScoreRun s = {.row = row, .dscore = dscore, .score = score, .n = N};
    run_open(&s.r, m, trees, N_TREE, true);
    const real *hidden = model_forward(s.r.a, m, &s.r.b);
    head_linear(score, m, hidden, row, N);
    for (int i = 0; i < N; i++) {
        head_linear(alone, m, hidden, row + i, 1);
        CHECK_INT(tiny_differ(alone, score + i * k, (size_t)k), 0);
        for (int j = 0; j < k; j++) {
            double sum = 0;
            for (int x = 0; x < h; x++)
                sum += (double)hidden[row[i] * h + x] * ((real *)m->head->data)[j * h + x];
            CHECK_NEAR(score[i * k + j], sum, sizeof(real) == 4 ? 1e-5 : 1e-14);
        }
    }
    head_linear_backward(s.r.dhidden, s.r.grad, m, hidden, s.r.b.n_row, row, N, dscore);
    for (int t = 0; t < s.r.b.n_row; t++) {
        bool read = false;
        for (int i = 0; i < N; i++) read = read || row[i] == t;
        for (int x = 0; x < h && !read; x++) CHECK_NEAR(s.r.dhidden[t * h + x], 0, 0);
    }
    model_backward(s.r.grad, s.r.a, m, &s.r.b, s.r.dhidden);
    if (sizeof(real) == 8) check_gradient(score_loss, &s, m, s.r.grad);
    run_close(&s.r);
    model_free(m);
}

/* ---- E31: a shared prefix is as if it were copied ---------------------------------------- */

static void test_E30_E31_prefix(void) {
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        Run a, b;
        run_open(&a, m, trees, N_TREE, true);
        run_open(&b, m, trees, N_TREE, false);
        CHECK_INT(a.b.n_target, b.b.n_target);
        CHECK(a.b.n_row < b.b.n_row);
        run_backward(&a);
        run_backward(&b);
        int found = 0;
        for (int i = 0; i < a.b.n_target; i++)
            for (int j = 0; j < b.b.n_target; j++)
                if (a.key[i] == b.key[j]) {
                    found++;
                    CHECK_INT(tiny_differ(a.logp + i, b.logp + j, 1) +
                                  tiny_differ(a.entropy + i, b.entropy + j, 1),
                              0);
                }
        CHECK_INT(found, a.b.n_target);
        for (int i = 0; i < m->n_param; i++) {
            const Param *p = &m->param[i];
            double largest = 0, off = 0;
            if (!p->trainable) continue;
            for (size_t j = p->offset; j < p->offset + param_count(p); j++)
                largest = fmax(largest, fabs((double)a.grad[j])),
                off = fmax(off, fabs((double)a.grad[j] - b.grad[j]));
            CHECK_NEAR(off / largest, 0, sizeof(real) == 4 ? 2e-5 : 1e-12);
        }
        run_close(&a);
        run_close(&b);
        model_free(m);
    }
}

/* ---- the same bits ----------------------------------------------------------------------- */

/* Each sequence alone, on one thread, against all of them in a batch, forwards and backwards, on 1, 2, 3
 * threads. */
static void test_same_bits_in_any_batch(void) {
    static const int length[] = {1, 5, 16, 17, 33, 40, 63, 2};
    enum { N = sizeof length / sizeof *length };
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        const size_t h = (size_t)m->config.hidden;
        const int copies = k == TINY_BIG ? 4 : 1;       /* 708 rows of 64: every loop is parallel */
        real *alone = calloc(64 * N * h, sizeof(real)), *logp_alone = calloc(64 * N, sizeof(real)),
             *entropy_alone = calloc(64 * N, sizeof(real));
        set_threads(1);
        for (int i = 0; i < N; i++) {
            const Tree one = {length[i], 0, {0}};
            Run r;
            run_open(&r, m, &one, 1, true);
            const real *hidden = run_forward(&r);
            memcpy(alone + (size_t)i * 64 * h, hidden, (size_t)length[i] * h * sizeof(real));
            memcpy(logp_alone + i * 64, r.logp, (size_t)r.b.n_target * sizeof(real));
            memcpy(entropy_alone + i * 64, r.entropy, (size_t)r.b.n_target * sizeof(real));
            run_close(&r);
        }
        for (int threads = 1; threads <= 3; threads++)
            for (int order = 0; order < 2; order++) {
                Err e = {{0}};
                Window w = {0};
                int id[64], of[4 * N], n = 0;
                set_threads(threads);
                for (int copy = 0; copy < copies; copy++)
                    for (int i = 0; i < N; i++) {
                        const int s = order ? N - 1 - i : i;
                        for (int t = 0; t < length[s]; t++) id[t] = tiny_token(m->config.vocab, 0, 0, t);
                        of[n++] = s;
                        const int start = w.n_row;
                        window_add(&w, id, length[s], -1, &e);
                        for (int t = 0; t + 1 < length[s]; t += 2)
                            window_target(&w, start + t, tiny_token(m->config.vocab, 0, 0, t + 1), &e);
                        window_target(&w, w.n_row - 1, tiny_token(m->config.vocab, 0, 0, length[s]), &e);
                    }
                const Batch b = tiny_batch(&w);
                if (threads == 3) set_threads(2);       /* activations made for two, used by three */
                Acts *a = acts_new(m, b.n_row, b.n_target, order, &e);
                set_threads(threads);
                real *logp = calloc((size_t)b.n_target, sizeof(real)),
                     *entropy = calloc((size_t)b.n_target, sizeof(real));
                const real *hidden = model_forward(a, m, &b);
                head_logp(logp, entropy, a, m, &b, hidden, tau, NULL);
                for (int i = 0, target = 0; i < n; i++) {
                    CHECK_INT(tiny_differ(hidden + (size_t)b.seg[i].start * h, alone + (size_t)of[i] * 64 * h,
                                          (size_t)b.seg[i].n_row * h),
                              0);
                    const int count = length[of[i]] / 2 + 1;
                    CHECK_INT(tiny_differ(logp + target, logp_alone + of[i] * 64, (size_t)count), 0);
                    CHECK_INT(tiny_differ(entropy + target, entropy_alone + of[i] * 64, (size_t)count), 0);
                    target += count;
                }
                free(logp), free(entropy);
                acts_free(a);
                window_free(&w);
            }
        free(alone), free(logp_alone), free(entropy_alone);
        model_free(m);
    }
    set_threads(2);
}

static void test_same_gradient_with_any_threads(void) {
    static const Tree large[] = {{60, 4, {40, 1, 60, 33}},
                                 {100, 2, {90, 50}},
                                 {7, 4, {3, 17, 16, 15}},
                                 {120, 3, {5, 6, 64}},
                                 {150, 0, {0}}};
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        Run r;
        real *first = calloc(m->n_trainable, sizeof(real));
        for (int threads = 1; threads <= 3; threads++) {
            set_threads(threads);
            model_pack(m);
            if (k == TINY_BIG) run_open(&r, m, large, 5, true);
            else run_open(&r, m, trees, N_TREE, true);
            run_backward(&r);
            if (threads == 1) memcpy(first, r.grad, m->n_trainable * sizeof(real));
            CHECK_INT(tiny_differ(first, r.grad, m->n_trainable), 0);
            run_close(&r);
        }
        free(first);
        model_free(m);
    }
    set_threads(2);
}

/* ---- E23 to E27: one row of logits ------------------------------------------------------- */

static void test_E23_to_E27_logits(void) {
    enum { V = 9001, N = 70 };                          /* three blocks; more targets than any group has */
    static real z[V], dlogp[N], dentropy[N];
    static double want[V];
    static int target[N];
    for (int pass = 0; pass < 3; pass++) {
        const double temperature = pass == 1 ? 1 : 0.6;
        double max = -1e300, sum = 0, entropy = 0, c_sum = 0, h_sum = 0;
        for (int v = 0; v < V; v++) {
            z[v] = (real)(8 * tiny_number(1, (uint64_t)v) + (pass == 2 ? 300 : 0));
            max = fmax(max, (double)z[v]);
        }
        for (int i = 0; i < N; i++)
            target[i] = i % 3 ? i * 128 : 4096, dlogp[i] = weight_of(i, 1),
            dentropy[i] = pass == 1 ? 0 : weight_of(i, 2);
        for (int v = 0; v < V; v++) sum += exp((z[v] - max) / temperature);
        for (int v = 0; v < V; v++)
            entropy -= exp((z[v] - max) / temperature) / sum * ((z[v] - max) / temperature - log(sum));
        for (int i = 0; i < N; i++) c_sum += dlogp[i], h_sum += dentropy[i];
        for (int v = 0; v < V; v++) {
            const double logp = (z[v] - max) / temperature - log(sum);
            want[v] = (-exp(logp) * c_sum - h_sum * exp(logp) * (logp + entropy)) / temperature;
        }
        for (int i = 0; i < N; i++) want[target[i]] += dlogp[i] / temperature;
        const double first = (z[4096] - max) / temperature - log(sum);
        const LogitStats s = logits_stats(z, V, temperature, true);
        const double scale = sizeof(real) == 4 ? 1e-5 : 1e-13;
        CHECK_NEAR(z[4096] - s.max - s.log_sum, first, 20 * scale);
        CHECK_NEAR(s.entropy, entropy, 10 * scale);
        logits_backward(z, V, temperature, &s, target, dlogp, pass == 1 ? NULL : dentropy, N);
        double off = 0;
        for (int v = 0; v < V; v++) off = fmax(off, fabs(z[v] - want[v]));
        CHECK_NEAR(off, 0, 10 * scale);
    }
}

/* ---- E9 to E12: frequencies (llama3's are a known answer) -------------------------------- */

/* head_logp_backward goes on from the logits that head_logp kept, or computes them anew: after the first call
 * they are gone. */
static void test_logits_kept_or_anew(void) {
    Model *m = tiny_model(0);
    Run r;
    run_open(&r, m, trees, N_TREE, true);
    const size_t n = (size_t)r.b.n_row * (size_t)m->config.hidden;
    const real *hidden = run_forward(&r);
    real *dhidden = calloc(n, sizeof(real)), *grad = calloc(m->n_trainable, sizeof(real));
    head_logp_backward(r.dhidden, r.grad, r.a, m, &r.b, hidden, tau, r.dlogp, r.dentropy, NULL);
    head_logp_backward(dhidden, grad, r.a, m, &r.b, hidden, tau, r.dlogp, r.dentropy, NULL);
    CHECK(memcmp(dhidden, r.dhidden, n * sizeof(real)) == 0);
    CHECK(memcmp(grad, r.grad, m->n_trainable * sizeof(real)) == 0);
    free(dhidden), free(grad);
    run_close(&r);
    model_free(m);
}

/* Another model of the same shape. */
static Model *model_beside(int k) {
    Model *m = tiny_model(k);
    for (size_t j = 0; j < m->n_trainable; j++) m->weights[j] += (real)(0.05 * tiny_number(31, j));
    model_pack(m);
    return m;
}

/* E28, E201, E204: a second model at every target's row. Several chunks of rows. */
static void test_E28_second_model(void) {
    static const Tree large[] = {{60, 4, {40, 1, 60, 33}}, {100, 2, {90, 50}}, {7, 3, {3, 17, 16}}};
    Model *m = tiny_model(TINY_BIG), *other = model_beside(TINY_BIG);
    const int vocab = m->config.vocab;
    real *z = calloc(2 * (size_t)vocab, sizeof(real));
    Run r, alone;
    run_open(&r, m, large, 3, true);
    run_open(&alone, m, large, 3, true);
    run_backward(&alone);
    run_second(&r, other);
    run_backward(&r);
    CHECK(tiny_differ(r.logp, alone.logp, (size_t)r.b.n_target) == 0);
    CHECK(tiny_differ(r.grad, alone.grad, m->n_trainable) > 0);
    const real *hidden = run_forward(&r);
    for (int i = 0; i < r.b.n_target; i++) {            /* from the definition */
        const size_t at = (size_t)r.b.target_row[i] * (size_t)m->config.hidden;
        double kl = 0, sum[2] = {0, 0};
        head_logits(z, m, hidden + at, 1);
        head_logits(z + vocab, other, r.second.hidden + at, 1);
        for (int v = 0; v < vocab; v++)
            for (int k = 0; k < 2; k++) sum[k] += exp(z[k * vocab + v] / tau);
        for (int v = 0; v < vocab; v++)
            kl += exp(z[vocab + v] / tau) / sum[1] *
                  (z[vocab + v] / tau - log(sum[1]) - z[v] / tau + log(sum[0]));
        CHECK_NEAR(r.kl[i], kl, (sizeof(real) == 4 ? 1e-6 : 1e-14) * (1 + kl));
    }
    r.second.dkl = NULL;                                /* no derivative: the bits of one model alone */
    run_backward(&r);
    CHECK_INT(tiny_differ(r.grad, alone.grad, m->n_trainable), 0);
    run_close(&r);
    run_open(&r, m, large, 3, true);
    run_second(&r, m);                                  /* itself: both are 0 to the bit */
    run_backward(&r);
    for (int i = 0; i < r.b.n_target; i++) CHECK_NEAR(r.kl[i], 0, 0);
    CHECK_INT(tiny_differ(r.logp_other, r.logp, (size_t)r.b.n_target), 0);
    CHECK_INT(tiny_differ(r.grad, alone.grad, m->n_trainable), 0);
    run_close(&r), run_close(&alone);
    free(z);
    model_free(m), model_free(other);
}

static void test_E204_differences(void) {
    if (sizeof(real) == 4) return;
    Model *m = tiny_model(0), *other = model_beside(0);
    Run r;
    set_threads(1);
    run_open(&r, m, trees, N_TREE, true);
    run_second(&r, other);
    run_backward(&r);
    check_gradient(run_loss, &r, m, r.grad);
    run_close(&r);
    model_free(m), model_free(other);
}

static void test_E9_linear_scaling(void) {
    ModelConfig c = {.head_dim = 6, .rope_theta = 1000, .rope_factor = 2};
    double plain[3], linear[3];
    rope_frequencies(plain, &c);
    c.rope = ROPE_LINEAR;
    rope_frequencies(linear, &c);
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(plain[i], pow(10, -i), 1e-15);
        CHECK_NEAR(linear[i], plain[i] / 2, 0);
    }
    real cos6[3], sin6[3];
    rope_table(cos6, sin6, plain, 3, 100000);           /* E307: the angle in double, also far out */
    CHECK_NEAR(cos6[1], cos(10000.0), sizeof(real) == 4 ? 6e-8 : 1e-11);
    CHECK_NEAR(sin6[2], sin(1000.0), sizeof(real) == 4 ? 6e-8 : 1e-12);
}

/* ---- sizes, cost, initial weights -------------------------------------------------------- */

static void test_E33_counts(void) {
    const ModelConfig smollm2 = {.vocab = 49152, .hidden = 576, .ffn = 1536, .n_layer = 30, .n_head = 9,
                                 .n_kv_head = 3, .head_dim = 64, .context = 8192, .tied = true};
    CHECK_INT(model_trainable(&smollm2), 134515008);    /* as its model card counts */
    for (int k = 0; k < TINY_COUNT; k++) {
        Model *m = tiny_model(k);
        CHECK_INT(model_trainable(&m->config), m->n_trainable);
        CHECK_INT(model_parameters(m), m->n_trainable);
        model_free(m);
    }
}

static void test_E190_flops(void) {
    const ModelConfig c =
        {.vocab = 10, .hidden = 4, .ffn = 6, .n_layer = 3, .n_head = 2, .n_kv_head = 1, .head_dim = 2};
    const double N = 3 * (4 * (4 + 2 * 2) + 4 * 4 + 3 * 4 * 6);
    CHECK_NEAR(model_forward_flops(&c, 7, 28, 5), 2 * N * 7 + 4 * 2 * 2 * 3 * 28 + 2 * 10 * 4 * 5, 0);
}

/* What one more row takes in one more layer; differences of differences leave all else out. */
static void test_E196_activations(void) {
    const int h = 32, d = 16, H = 4, Hk = 2, I = 48, n = 64;
    for (int arch = ARCH_LLAMA; arch <= ARCH_QWEN3; arch++) {
        ModelConfig c = {.arch = (Arch)arch, .qk_norm = arch == ARCH_QWEN3, .vocab = 50, .hidden = h,
                         .ffn = I, .n_layer = 2, .n_head = H, .n_kv_head = Hk, .head_dim = d,
                         .context = 8 * n, .tied = true};
        const size_t two = acts_bytes(&c, 2 * n, 0, true) - acts_bytes(&c, n, 0, true);
        c.n_layer = 3;
        const size_t three = acts_bytes(&c, 2 * n, 0, true) - acts_bytes(&c, n, 0, true);
        /* x, q, k, v, o, mid, gate, up; of the softmax maximum and sum; two norms' factors; Qwen3: raw q, k
         * and their factors */
        const int reals =
            2 * h + (2 * H + 2 * Hk) * d + 2 * I + 2 * H + 2 + (c.qk_norm ? (H + Hk) * (d + 1) : 0);
        CHECK_INT(three - two, (size_t)n * (size_t)reals * sizeof(real));
        /* without a backward pass one layer's worth serves all */
        c.n_layer = 2;
        const size_t forward = acts_bytes(&c, 2 * n, 0, false);
        c.n_layer = 3;
        CHECK(acts_bytes(&c, 2 * n, 0, false) - forward < 1024);
        c.checkpointing = true;                         /* with checkpointing a layer's input alone */
        const size_t again = acts_bytes(&c, 2 * n, 0, true) - acts_bytes(&c, n, 0, true);
        c.n_layer = 4;
        CHECK_INT(acts_bytes(&c, 2 * n, 0, true) - acts_bytes(&c, n, 0, true) - again,
                  (size_t)n * (size_t)h * sizeof(real));
        CHECK(acts_bytes(&c, 2 * n, 0, false) - forward < 1024);
    }
}

static void test_E40_last_row(void) {
    const int id[] = {5, 0, 7, 0, 0};
    CHECK_INT(head_last_row(id, 5, 0), 2);
    CHECK_INT(head_last_row(id, 3, 0), 2);
    CHECK_INT(head_last_row(id, 5, -1), 4);
    CHECK_INT(head_last_row(id, 2, 5), 1);
    CHECK_INT(head_last_row(id + 3, 2, 0), -1);
}

static void test_init_and_copy(void) {
    Model *a = tiny_model(1), *b = tiny_model(1), *c = tiny_model(3);
    model_init(a, 5);
    model_init(b, 5);
    CHECK_INT(tiny_differ(a->weights, b->weights, a->n_trainable), 0);
    model_init(b, 6);
    CHECK(tiny_differ(a->embed->data, b->embed->data, param_count(a->embed)) > 90);
    double sum = 0, square = 0;
    for (size_t j = 0; j < param_count(a->embed); j++)
        sum += ((real *)a->embed->data)[j], square += pow(((real *)a->embed->data)[j], 2);
    const double n = (double)param_count(a->embed);
    CHECK_NEAR(sum / n, 0, 4 * 0.02 / sqrt(n));
    CHECK_NEAR(sqrt(square / n), 0.02, 4 * 0.02 / sqrt(2 * n));
    CHECK_NEAR(((real *)a->norm->data)[3], 1, 0);
    CHECK_NEAR(((real *)a->layer[1][P_OB]->data)[3], 0, 0);
    model_copy(c, a);                                   /* qwen2: other k and v, no bias of o */
    CHECK_INT(tiny_differ(c->embed->data, a->embed->data, param_count(a->embed)), 0);
    CHECK(tiny_differ(c->layer[0][P_K]->data, a->layer[0][P_K]->data, param_count(c->layer[0][P_K])) > 0);
    CHECK(model_find(c, "model.layers.1.self_attn.k_proj.bias") == c->layer[1][P_KB]);
    CHECK(!model_find(c, "model.layers.1.self_attn.o_proj.bias"));
    model_free(a), model_free(b), model_free(c);
}

/* ---- what is refused --------------------------------------------------------------------- */

static void test_refused(void) {
    Err e = {{0}};
    const ModelConfig good = tiny_config(0);
    ModelConfig c;
#define REFUSE(change, part) \
    do { \
        c = good; \
        change; \
        CHECK_ERROR(!model_config_check(&c, "file", &e), e, part); \
        CHECK_ERROR(!model_new(&c, &e), e, part); \
    } while (0)
    CHECK(model_config_check(&good, "file", &e));
    REFUSE(c.vocab = 0, "vocab_size");
    REFUSE(c.hidden = 1 << 25, "hidden_size");
    REFUSE(c.n_kv_head = 3, "multiple");
    REFUSE(c.head_dim = 5, "even");
    REFUSE(c.n_head = c.n_kv_head = 1 << 20; c.head_dim = 1 << 12, "head_dim");
    REFUSE(c.n_layer = 1 << 20, "num_hidden_layers");
    REFUSE(c.n_label = -1, "num_labels");
    REFUSE(c.norm_eps = 0, "rms_norm_eps");
    REFUSE(c.rope_theta = NAN, "rope_theta");
#undef REFUSE
    int id[80] = {0}, row[2] = {0, 3}, target[2] = {1, 12};
    Segment seg[4] = {{0, 3, -1}, {3, 2, 0}, {5, 2, 0}, {7, 1, -1}};
    const Batch fine =
        {.n_row = 8, .n_seg = 4, .n_target = 2, .id = id, .seg = seg, .target_row = row, .target_id = target};
    Batch b;
    CHECK(batch_check(&fine, &good, &e));
#define REFUSE(place, value, part) \
    do { \
        const int keep_ = place; \
        place = value; \
        b = fine; \
        CHECK_ERROR(!batch_check(&b, &good, &e), e, part); \
        place = keep_; \
    } while (0)
    REFUSE(id[4], 13, "token id");
    REFUSE(id[4], -1, "token id");
    REFUSE(seg[1].start, 4, "segment 1");
    REFUSE(seg[1].n_row, 0, "segment 1");
    REFUSE(seg[2].prefix, 1, "segment 2");
    REFUSE(seg[2].prefix, 2, "segment 2");
    REFUSE(seg[3].n_row, 2, "segments hold");
    REFUSE(row[1], 8, "target 1");
    REFUSE(row[0], 4, "target 1");
    REFUSE(target[1], 13, "target 1");
    REFUSE(target[0], -1, "target 0");
#undef REFUSE
    Segment apart[4] = {{0, 3, -1}, {3, 2, 0}, {5, 2, -1}, {7, 1, 0}};
    b = fine, b.seg = apart;
    CHECK_ERROR(!batch_check(&b, &good, &e), e, "beside");
    Segment longer[2] = {{0, 40, -1}, {40, 25, 0}};
    b = (Batch){.n_row = 65, .n_seg = 2, .id = id, .seg = longer};
    CHECK_ERROR(!batch_check(&b, &good, &e), e, "65 tokens");
}

int main(void) {
    test_E6_to_E26_differences();
    test_E41_head_linear(TINY_LABELS);
    test_E41_head_linear(TINY_ADAPTED + TINY_LABELS);
    test_E30_E31_prefix();
    test_same_bits_in_any_batch();
    test_same_gradient_with_any_threads();
    test_E23_to_E27_logits();
    test_logits_kept_or_anew();
    test_E28_second_model();
    test_E204_differences();
    test_E9_linear_scaling();
    test_E33_counts();
    test_E190_flops();
    test_E196_activations();
    test_E40_last_row();
    test_init_and_copy();
    test_refused();
    return test_end();
}
