/* test_rollout.c: the sampler on distributions made by hand; decoding against the forward pass, bit for bit.
 */
#include "run/rollout.h"

#include "net/flops.h"
#include "tests/tiny.h"

/* ---- E23, E29, E308: the sampler --------------------------------------------------------- */

enum { V = 6 };
static const double p6[V] = {0.1, 0.4, 0.2, 0.2, 0.06, 0.04};           /* 2 and 3 are equal */

static int draw(const Sampling *s, double u, real *logp, real *kept) {
    real z[V];
    int order[V];
    for (int v = 0; v < V; v++)
        z[v] = (real)(s->temperature == 0 ? log(p6[v]) + 3 : s->temperature * log(p6[v]) + 3);
    z[3] = z[2];
    return sampler_draw(z, V, s, u, logp, kept, order);
}

/* u over a grid: which tokens come, how often, with which log-probabilities. kept: the share of each token
 * that may come. */
static void check_draws(Sampling s, const double kept[V]) {
    enum { N = 10000 };
    int count[V] = {0};
    double total = 0;
    const double tol = sizeof(real) == 4 ? 1e-5 : 1e-13;
    for (int v = 0; v < V; v++) total += kept[v];
    int before = 0;
    for (int i = 0; i < N; i++) {
        real logp, kept_logp;
        const int v = draw(&s, (i + 0.5) / N, &logp, &kept_logp);
        CHECK(v >= before);                             /* cumulative in the order of ids */
        before = v;
        count[v]++;
        if (i % 100) continue;
        CHECK_NEAR(logp, log(p6[v]), tol);              /* over all of the vocabulary, at the temperature */
        CHECK_NEAR(kept_logp, log(kept[v] / total), tol);
    }
    for (int v = 0; v < V; v++) CHECK_NEAR(count[v], N * kept[v] / total, 1.01);
    real logp;
    int first = 0, last = V - 1;
    while (kept[first] == 0) first++;
    while (kept[last] == 0) last--;
    CHECK_INT(draw(&s, 0, &logp, NULL), first);
    CHECK_INT(draw(&s, 1 - 0x1p-53, &logp, NULL), last);
}

static void test_E29_E308_sampler(void) {
    check_draws((Sampling){1, 0, 1, 0}, p6);
    check_draws((Sampling){0.7, 0, 1, 0}, p6);
    check_draws((Sampling){1, V, 1, 0}, p6);
    /* a tie: the lower id stays */
    check_draws((Sampling){1, 2, 1, 0}, (double[V]){0, 0.4, 0.2, 0, 0, 0});
    check_draws((Sampling){0.7, 3, 1, 0}, (double[V]){0, 0.4, 0.2, 0.2, 0, 0});
    check_draws((Sampling){1, 1, 1, 0}, (double[V]){0, 1e-9 + 0.4, 0, 0, 0, 0});
    check_draws((Sampling){1, 0, 0.01, 0}, (double[V]){0, 0.4, 0, 0, 0, 0});            /* at least one */
    check_draws((Sampling){1, 0, 0.39, 0}, (double[V]){0, 0.4, 0, 0, 0, 0});
    check_draws((Sampling){1, 0, 0.41, 0}, (double[V]){0, 0.4, 0.2, 0, 0, 0});
    check_draws((Sampling){0.5, 0, 0.79, 0}, (double[V]){0, 0.4, 0.2, 0.2, 0, 0});
    check_draws((Sampling){1, 0, 0.81, 0}, (double[V]){0.1, 0.4, 0.2, 0.2, 0, 0});
    check_draws((Sampling){1, 0, 1, 0.45}, (double[V]){0, 0.4, 0.2, 0.2, 0, 0});
    check_draws((Sampling){1, 0, 1, 0.55}, (double[V]){0, 0.4, 0, 0, 0, 0});
    check_draws((Sampling){1, 0, 1, 1}, (double[V]){0, 0.4, 0, 0, 0, 0});
    check_draws((Sampling){1, 0, 1, 0.12}, (double[V]){0.1, 0.4, 0.2, 0.2, 0.06, 0});
    /* 0.75 of what top_k left, 0.6 of all */
    check_draws((Sampling){1, 3, 0.7, 0}, (double[V]){0, 0.4, 0.2, 0, 0, 0});
    check_draws((Sampling){1, 5, 0.9, 0.2}, (double[V]){0.1, 0.4, 0.2, 0.2, 0, 0});
}

/* min_p keeps what is exactly at its bound, as transformers does: at 1, all that share the maximum. */
static void test_min_p_bound(void) {
    const Sampling s = {1, 0, 1, 1};
    real logp, kept;
    for (int i = 0; i < 2; i++) {
        real z[3] = {0.5, 2, 2};
        int order[3];
        CHECK_INT(sampler_draw(z, 3, &s, i ? 0.51 : 0.49, &logp, &kept, order), 1 + i);
        CHECK_NEAR(kept, -log(2), 1e-6);
    }
}

static void test_greedy(void) {
    const Sampling greedy = {0, 0, 1, 0};
    real z[5] = {1, 3, 2, 3, 3}, logp, kept;
    /* the lowest id among equals */
    CHECK_INT(sampler_draw(z, 5, &greedy, 0.9, &logp, &kept, NULL), 1);
    CHECK_NEAR(logp, -log(3 + exp(-1.0) + exp(-2.0)), sizeof(real) == 4 ? 1e-6 : 1e-14);
    CHECK_NEAR(kept, 0, 0);
}

/* Numbers of transformers' RepetitionPenaltyLogitsProcessor(1.3), then its warpers for temperature 0.7, top_k
 * 5, top_p 0.9, in double. Tokens 1 and 3 stand there twice and are penalised once; what is above 0 is
 * divided, what is below multiplied, 0 stays. */
static void test_repetition_penalty(void) {
    enum { N = 8, DRAWS = 10000 };
    static const real plain[N] = {1.5, -0.75, 0, 2.25, -3, 0.5, 2, -0.25};
    static const int id[] = {3, 1, 3, 2, 6, 1};
    static const double want[N] = {1.5, -0.975, 0, 1.7307692307692306, -3, 0.5, 1.5384615384615383, -0.25};
    static const double share[N] = {0.29010799553405386, 0, 0, 0.4033979653365967, 0, 0,
                                    0.3064940391293495,  0};
    const double tol = sizeof(real) == 4 ? 3e-7 : 1e-15;
    const Sampling s = {0.7, 5, 0.9, 0};
    int count[N] = {0}, order[N];
    for (int i = 0; i < DRAWS; i++) {
        real z[N], logp, kept;
        memcpy(z, plain, sizeof z);
        sampler_penalise(z, plain, id, 6, 1.3);
        for (int v = 0; i == 0 && v < N; v++) CHECK_NEAR(z[v], want[v], tol);
        const int v = sampler_draw(z, N, &s, (i + 0.5) / DRAWS, &logp, &kept, order);
        count[v]++;
        if (i % 500 == 0) CHECK_NEAR(kept, log(share[v]), sizeof(real) == 4 ? 1e-6 : 1e-14);
    }
    for (int v = 0; v < N; v++) CHECK_NEAR(count[v], DRAWS * share[v], 1.01);
}

/* The first whose sum exceeds u times the total, not the first that reaches it. */
static void test_E308_boundaries(void) {
    const Sampling s = {1, 0, 1, 0};
    const double u[] = {0, 0.25 - 0x1p-54, 0.25, 0.5, 0.75, 1 - 0x1p-53};
    const int want[] = {0, 0, 1, 2, 3, 3};
    for (int i = 0; i < 6; i++) {
        real z[4] = {2, 2, 2, 2}, logp;
        CHECK_INT(sampler_draw(z, 4, &s, u[i], &logp, NULL, NULL), want[i]);
    }
    real z[4] = {-2000, 0, -2000, -2000}, logp;         /* exp is 0: never drawn, not even with u = 0 */
    CHECK_INT(sampler_draw(z, 4, &s, 0, &logp, NULL, NULL), 1);
    CHECK_NEAR(logp, 0, 0);
}

/* E308 as written, one id after the other, where sums over blocks of ids are kept: at every block's edge and
 * between. */
static void test_E308_many_ids(void) {
    enum { N = 3 * LOGITS_BLOCK + 700 };
    static real z[N], weight[N], copy[N];
    const Sampling s = {0.8, 0, 1, 0};
    for (int v = 0; v < N; v++) z[v] = (real)(6 * tiny_number(7, (uint64_t)v));
    for (int v = 0; v < N; v++) copy[v] = z[v] / (real)s.temperature;
    r_exp_array(weight, copy, r_max(copy, N), N);
    double total = 0, edge = 0;
    for (int v = 0; v < N; v++) total += weight[v];
    for (int i = 0; i < 300; i++) {
        if (i % 100 == 0)
            for (int v = i / 100 * LOGITS_BLOCK; v < (i / 100 + 1) * LOGITS_BLOCK; v++) edge += weight[v];
        const double u = i % 100 == 1 ? edge / total : i % 100 == 2 ? edge / total + 1e-9 : (i + 0.5) / 300;
        double at = 0;
        int want = -1;
        while (!(at > u * total)) at += weight[++want];
        real logp;
        memcpy(copy, z, sizeof z);
        CHECK_INT(sampler_draw(copy, N, &s, u, &logp, NULL, NULL), want);
    }
}

/* Filters against sorting by hand, among many equal logits. */
static void test_filters_large(void) {
    enum { N = 700 };
    static real z[N], copy[N];
    static int order[N], rank[N];
    for (int pass = 0; pass < 20; pass++) {
        for (int v = 0; v < N; v++) z[v] = (real)floor(20 * tiny_number((uint64_t)pass, (uint64_t)v)) / 4;
        const Sampling s = {1, pass % 2 ? 1 + pass * 30 : 0, pass % 3 ? 0.05 * pass : 1, pass % 5 ? 0 : 0.01};
        if (sampling_check(&s, &(Err){{0}}) == false) continue;
        for (int v = 0; v < N; v++) {
            rank[v] = 0;
            for (int u = 0; u < N; u++) rank[v] += z[u] > z[v] || (z[u] == z[v] && u < v);
        }
        int n = s.top_k > 0 && s.top_k < N ? s.top_k : N, by_rank[N];
        for (int v = 0; v < N; v++) by_rank[rank[v]] = v;
        double total = 0, mass = 0;
        for (int i = 0; i < n; i++) total += exp(z[by_rank[i]]);
        int k = 0;
        while (s.top_p < 1 && k < n && mass < s.top_p * total) mass += exp(z[by_rank[k++]]);
        if (s.top_p < 1) n = k;
        for (k = 0; s.min_p > 0 && k < n && exp(z[by_rank[k]] - z[by_rank[0]]) >= s.min_p; k++) { }
        if (s.min_p > 0) n = k;
        int lowest = N, highest = 0;
        for (int i = 0; i < n; i++)
            lowest = by_rank[i] < lowest ? by_rank[i] : lowest,
            highest = by_rank[i] > highest ? by_rank[i] : highest;
        real logp;
        for (int i = 0; i <= 200; i++) {
            memcpy(copy, z, sizeof z);
            const int v = sampler_draw(copy, N, &s, i == 200 ? 1 - 0x1p-53 : i / 200.0, &logp, NULL, order);
            CHECK(rank[v] < n);
            if (i == 0) CHECK_INT(v, lowest);
            if (i == 200) CHECK_INT(v, highest);
        }
    }
}

/* What 16 more tokens take in one more sequence; and in one more prompt of 16 tokens. */
static void test_E198_cache(void) {
    const ModelConfig c = {.vocab = 50, .hidden = 32, .ffn = 48, .n_layer = 3, .n_head = 4, .n_kv_head = 2,
                           .head_dim = 16, .context = 512, .tied = true};
    const int prompt[3] = {32, 32, 32};
    const size_t position = 2 * 3 * 2 * 16 * sizeof(real);
    const size_t one = cache_bytes(&c, prompt, 1, 16, 32) - cache_bytes(&c, prompt, 1, 16, 16),
                 two = cache_bytes(&c, prompt, 1, 32, 32) - cache_bytes(&c, prompt, 1, 32, 16);
    CHECK_INT(two - one, 16 * 16 * position);
    const size_t prompts = cache_bytes(&c, prompt, 2, 16, 16) - cache_bytes(&c, prompt, 1, 16, 16);
    /* its keys and values, and its places in some lists */
    CHECK(prompts >= 32 * position && prompts < 32 * position + 1024);
}

static void test_sampling_check(void) {
    Err e = {{0}};
    CHECK(sampling_check(&(Sampling){0, 0, 1, 0}, &e));
    CHECK_ERROR(!sampling_check(&(Sampling){-1, 0, 1, 0}, &e), e, "--temperature");
    CHECK_ERROR(!sampling_check(&(Sampling){NAN, 0, 1, 0}, &e), e, "--temperature");
    CHECK_ERROR(!sampling_check(&(Sampling){1, -1, 1, 0}, &e), e, "--top-k");
    CHECK_ERROR(!sampling_check(&(Sampling){1, 0, 0, 0}, &e), e, "--top-p");
    CHECK_ERROR(!sampling_check(&(Sampling){1, 0, 1.5, 0}, &e), e, "--top-p");
    CHECK_ERROR(!sampling_check(&(Sampling){1, 0, 1, 2}, &e), e, "--min-p");
}

/* ---- decoding is the forward pass, row by row -------------------------------------------- */

enum { N_PROMPT = 5, MAX_GROUP = 4, MAX_NEW = 21, MAX_ID = N_PROMPT * MAX_GROUP * MAX_NEW };
static const int prompt_length[N_PROMPT] = {3, 17, 16, 1, 33};
static int prompt_id[N_PROMPT][33];
static const int *prompt[N_PROMPT];

typedef struct {
    int id[MAX_ID], length[N_PROMPT * MAX_GROUP];
    real logp[MAX_ID];
    bool ended[N_PROMPT * MAX_GROUP];
    double bias;
} Result;

static RolloutPlan plan_of(int vocab, Sampling s) {
    static const int stop[] = {2, 11};
    for (int i = 0; i < N_PROMPT; i++) {
        prompt[i] = prompt_id[i];
        for (int t = 0; t < prompt_length[i]; t++) prompt_id[i][t] = tiny_token(vocab, i, 0, t);
    }
    return (RolloutPlan){.prompt = prompt, .prompt_length = prompt_length, .n_prompt = N_PROMPT,
                         .group_size = 3, .max_new = MAX_NEW, .stop = stop, .n_stop = 2, .sampling = s,
                         .seed = 9, .step = 4, .first_prompt = 100};
}

static Result run(const Model *m, const RolloutPlan *p) {
    Result r = {.bias = -1};
    Err e = {{0}};
    Rollout out = {.id = r.id, .logp = r.logp, .length = r.length, .ended = r.ended};
    CHECK(rollout(&out, m, p, &e));
    if (e.line[0]) printf("%s\n", e.line);
    r.bias = out.truncation_bias;
    return r;
}

/* Every completion's log-probabilities from one forward pass over trees. */
static void check_recomputed(const Model *m, const RolloutPlan *p, const Result *r) {
    Err e = {{0}};
    Window w = {0};
    static int at[MAX_ID];
    static real logp[MAX_ID];
    for (int i = 0; i < p->n_prompt; i++) {
        const int root = window_add(&w, p->prompt[i], p->prompt_length[i], -1, &e), last = w.n_row - 1;
        for (int g = 0; g < p->group_size; g++) {
            const int q = (i * p->group_size + g) * p->max_new;
            at[w.n_target] = q;
            window_target(&w, last, r->id[q], &e);
        }
        for (int g = 0; g < p->group_size; g++) {
            const int c = i * p->group_size + g, q = c * p->max_new, start = w.n_row;
            if (r->length[c] < 2) continue;
            window_add(&w, r->id + q, r->length[c] - 1, root, &e);
            for (int t = 1; t < r->length[c]; t++) {
                at[w.n_target] = q + t;
                window_target(&w, start + t - 1, r->id[q + t], &e);
            }
        }
    }
    Acts *a = acts_new(m, w.n_row, w.n_target, false, &e);
    CHECK(window_logp(logp, NULL, a, w.n_row, w.n_target, m, &w,
                      p->sampling.temperature == 0 ? 1 : p->sampling.temperature, &e));
    long differ = 0;
    for (int i = 0; i < w.n_target; i++) differ += tiny_differ(logp + i, r->logp + at[i], 1);
    CHECK_INT(differ, 0);
    CHECK(w.n_target > p->n_prompt * p->group_size);
    acts_free(a);
    window_free(&w);
}

static void check_ends(const RolloutPlan *p, const Result *r) {
    for (int c = 0; c < p->n_prompt * p->group_size; c++)
        for (int t = 0; t < r->length[c]; t++) {
            const int id = r->id[c * p->max_new + t];
            const bool stop = id == 2 || id == 11, last = t + 1 == r->length[c];
            CHECK(stop ? last && r->ended[c] : !last || (r->length[c] == p->max_new && !r->ended[c]));
        }
}

static void test_decoding_is_the_forward_pass(void) {
    static const Sampling sampling[] = {{1, 0, 1, 0},
                                        {0.7, 8, 0.9, 0.02},
                                        {0.7, 0, 0.8, 0},
                                        {1.3, 0, 1, 0},
                                        {0, 0, 1, 0}};
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        for (size_t i = 0; i < sizeof sampling / sizeof *sampling; i++) {
            RolloutPlan p = plan_of(m->config.vocab, sampling[i]);
            Result first;
            for (int threads = 1; threads <= 3; threads++) {
                set_threads(threads);
                const Result r = run(m, &p);
                if (threads == 1) first = r;
                CHECK(memcmp(r.id, first.id, sizeof r.id) == 0 &&
                      memcmp(r.length, first.length, sizeof r.length) == 0);
                CHECK_INT(tiny_differ(r.logp, first.logp, MAX_ID), 0);
                CHECK(r.bias == first.bias);
            }
            set_threads(2);
            check_recomputed(m, &p, &first);
            check_ends(&p, &first);
            /* every member of a group draws for itself; greedy ones are equal */
            long alike = 0;
            for (int c = 0; c < N_PROMPT * p.group_size; c++) {
                const int to = c / p.group_size * p.group_size;
                alike += first.length[c] == first.length[to] &&
                         !memcmp(first.id + c * MAX_NEW, first.id + to * MAX_NEW,
                                 (size_t)first.length[c] * sizeof(int));
            }
            if (p.sampling.temperature == 0) CHECK_INT(alike, N_PROMPT * p.group_size);
            else CHECK(alike < N_PROMPT * p.group_size);
            if (i == 0 || i == 3) CHECK_NEAR(first.bias, 0, 0);
            else CHECK(first.bias > 0);

            /* smaller groups, fewer prompts: the same completions */
            p.group_size = 2;
            p.prompt++, p.prompt_length++, p.n_prompt -= 2, p.first_prompt++;
            const Result part = run(m, &p);
            for (int c = 0; c < 6; c++) {
                const int same = (c / 2 + 1) * 3 + c % 2;
                CHECK_INT(part.length[c], first.length[same]);
                CHECK(part.ended[c] == first.ended[same]);
                CHECK(memcmp(part.id + c * MAX_NEW, first.id + same * MAX_NEW,
                             (size_t)part.length[c] * sizeof(int)) == 0);
                CHECK_INT(tiny_differ(part.logp + c * MAX_NEW, first.logp + same * MAX_NEW,
                                      (size_t)part.length[c]),
                          0);
            }
            if (sampling[i].temperature == 0) continue;
            p.step++;
            const Result later = run(m, &p);
            CHECK(memcmp(later.id, part.id, sizeof later.id) != 0);
        }
        model_free(m);
    }
}

/* With a penalty: logp speaks of the model's own distribution; greedy takes the best of the penalised logits,
 * over the completion's own prompt and tokens so far; a penalty of 1 is none. */
static void test_penalised_rollout(void) {
    Err e = {{0}};
    Model *m = tiny_model(TINY_BIG);
    enum { LONGEST = 33 + MAX_NEW };
    const int vocab = m->config.vocab;
    RolloutPlan p = plan_of(vocab, (Sampling){0, 0, 1, 0});
    const Result plain = run(m, &p);
    p.repetition_penalty = 1;
    const Result one = run(m, &p);
    CHECK(memcmp(one.id, plain.id, sizeof one.id) == 0 && one.bias == plain.bias);
    p.repetition_penalty = 1.1;
    const Result r = run(m, &p);
    CHECK(memcmp(r.id, plain.id, sizeof r.id) != 0);
    check_recomputed(m, &p, &r);
    check_ends(&p, &r);
    real *z = malloc((size_t)LONGEST * (size_t)vocab * sizeof *z);
    Acts *a = acts_new(m, LONGEST, 0, false, &e);
    long wrong = 0, repeated = 0;
    for (int c = 0; c < N_PROMPT * p.group_size; c++) {
        int id[LONGEST + 1], n = prompt_length[c / p.group_size];
        memcpy(id, prompt[c / p.group_size], (size_t)n * sizeof(int));
        memcpy(id + n, r.id + c * MAX_NEW, (size_t)r.length[c] * sizeof(int));
        const int rows = n + r.length[c] - 1;
        const Segment seg = {.start = 0, .n_row = rows, .prefix = -1};
        const Batch b = {.n_row = rows, .n_seg = 1, .id = id, .seg = &seg};
        head_logits(z, m, model_forward(a, m, &b), rows);
        for (int t = n; t <= rows; t++) {
            const real *row = z + (size_t)(t - 1) * (size_t)vocab;
            double best = -INFINITY;
            int token = -1;
            for (int v = 0; v < vocab; v++) {
                bool seen = false;
                for (int u = 0; u < t; u++) seen = seen || id[u] == v;
                const double x = !seen ? row[v] : row[v] > 0 ? row[v] / (real)1.1 : row[v] * (real)1.1;
                if (x > best) best = x, token = v;
            }
            wrong += token != id[t];
            for (int u = 0; u < t; u++) if (id[u] == id[t]) { repeated++; break; }
        }
    }
    CHECK_INT(wrong, 0);
    CHECK(repeated > 0);                        /* a penalty, no ban */
    free(z);
    acts_free(a);
    p.sampling = (Sampling){0.7, 8, 0.9, 0.02};
    const Result drawn = run(m, &p);
    check_recomputed(m, &p, &drawn);
    p.repetition_penalty = -1;
    CHECK_ERROR(!rollout(&(Rollout){0}, m, &p, &e), e, "repetition penalty -1");
    model_free(m);
}

/* Prompts that do not fit into one prefill together. */
static void test_long_prompts(void) {
    ModelConfig c = tiny_config(5);
    c.context = 800;
    Err e = {{0}};
    Model *m = model_new(&c, &e);
    tiny_fill(m, 3, false);
    static int id[3][700];
    const int *const list[3] = {id[0], id[1], id[2]}, length[3] = {700, 650, 90};
    for (int i = 0; i < 3; i++) for (int t = 0; t < length[i]; t++) id[i][t] = tiny_token(c.vocab, i, 0, t);
    const RolloutPlan p = {.prompt = list, .prompt_length = length, .n_prompt = 3, .group_size = 2,
                           .max_new = MAX_NEW, .sampling = {0.7, 0, 0.9, 0}, .seed = 1};
    const Result r = run(m, &p);
    check_recomputed(m, &p, &r);
    CHECK_INT(r.length[5], MAX_NEW);
    model_free(m);
}

/* Sequences that advance at different times, as mixtures and the terminal do. */
static void test_decode_step(void) {
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        Err e = {{0}};
        const size_t h = (size_t)m->config.hidden;
        const int length[2] = {5, 18}, of[3] = {0, 1, 0};
        int id[2][18], next[3][4];
        const int *const list[2] = {id[0], id[1]};
        for (int i = 0; i < 2; i++)
            for (int t = 0; t < length[i]; t++) id[i][t] = tiny_token(m->config.vocab, i, 0, t);
        for (int s = 0; s < 3; s++)
            for (int t = 0; t < 4; t++) next[s][t] = tiny_token(m->config.vocab, 6, s, t + 1);
        Cache *cache = cache_new(m, length, 2, of, 3, 4, &e);
        real *last = calloc(2 * h, sizeof(real)), *got = calloc(3 * 4 * h, sizeof(real));
        CHECK(cache && cache_prefill(cache, last, m, list, &e));
        /* count, sequences */
        static const int step[][4] = {{2, 0, 2}, {1, 1}, {3, 0, 1, 2}, {1, 0}, {2, 1, 2}, {2, 0, 1}, {1, 2}};
        int done[3] = {0};
        for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
            int feed[3];
            for (int j = 0; j < step[i][0]; j++) feed[j] = next[step[i][1 + j]][done[step[i][1 + j]]];
            const real *hidden = decode_step(cache, m, step[i] + 1, feed, step[i][0]);
            for (int j = 0; j < step[i][0]; j++) {
                const int s = step[i][1 + j];
                memcpy(got + (size_t)(s * 4 + done[s]++) * h, hidden + (size_t)j * h, h * sizeof(real));
            }
        }
        for (int s = 0; s < 3; s++) {
            int all[22];
            const int n = length[of[s]];
            memcpy(all, id[of[s]], (size_t)n * sizeof(int));
            memcpy(all + n, next[s], (size_t)done[s] * sizeof(int));
            const Segment seg = {0, n + done[s], -1};
            const Batch b = {.n_row = n + done[s], .n_seg = 1, .id = all, .seg = &seg};
            Acts *a = acts_new(m, b.n_row, 0, false, &e);
            const real *want = model_forward(a, m, &b);
            CHECK_INT(tiny_differ(last + (size_t)of[s] * h, want + (size_t)(n - 1) * h, h), 0);
            CHECK_INT(tiny_differ(got + (size_t)s * 4 * h, want + (size_t)n * h, (size_t)done[s] * h), 0);
            acts_free(a);
        }
        CHECK_INT(done[0] + done[1] + done[2], 12);
        free(last), free(got);
        cache_free(cache);
        model_free(m);
    }
}

static void note_progress(void *to, int done, int active) {
    int *seen = to;
    CHECK_INT(done, seen[0] + 1);
    CHECK(active <= seen[1]);
    seen[0] = done, seen[1] = active;
}

static void test_progress_and_refused(void) {
    Model *m = tiny_model(0);
    Err e = {{0}};
    RolloutPlan p = plan_of(13, (Sampling){1, 0, 1, 0});
    int seen[2] = {0, 99};
    p.progress = note_progress, p.to = seen;
    run(m, &p);
    CHECK(seen[0] > 1 && seen[1] == 0);
    Result r;
    Rollout out = {.id = r.id, .logp = r.logp, .length = r.length, .ended = r.ended};
    const int *wrong[] = {(int[]){1, 13}}, two[] = {2}, none[] = {0}, many[] = {44};
    RolloutPlan bad = p;
    bad.prompt = wrong, bad.prompt_length = two, bad.n_prompt = 1, bad.progress = NULL;
    CHECK_ERROR(!rollout(&out, m, &bad, &e), e, "token id 13");
    bad.prompt_length = none;
    CHECK_ERROR(!rollout(&out, m, &bad, &e), e, "prompt 1: 0 tokens");
    bad.prompt = prompt + 4, bad.prompt_length = many;
    CHECK_ERROR(!rollout(&out, m, &bad, &e), e, "the context holds 64");
    bad = p, bad.max_new = 0;
    CHECK_ERROR(!rollout(&out, m, &bad, &e), e, "at least 1");
    model_free(m);
}

/* The prompt and the completion's first t tokens, and the logits after them. */
static void logits_after(real *z, const Model *m, const int *id, int n) {
    Err e = {{0}};
    Acts *a = acts_new(m, n, 0, false, &e);
    const Segment seg = {0, n, -1};
    const Batch b = {.n_row = n, .n_seg = 1, .id = id, .seg = &seg};
    head_logits(z, m, model_forward(a, m, &b) + (size_t)(n - 1) * (size_t)m->config.hidden, 1);
    acts_free(a);
}

/* E250: a mixture with weights 1 and 0 is its first policy, bit for bit; with others its logp are what every
 * next token's product of probabilities, normalised over all of them, says. Networks of different shapes. */
static void test_E250_mixture(void) {
    enum { VOCAB = 13 };
    Err e = {{0}};
    Model *a = tiny_model(0), *b = tiny_model(3), *big = tiny_model(TINY_BIG);
    const Model *const pair[] = {a, b, a}, *const wrong[] = {a, big};
    const Sampling sampling[] = {{1, 0, 1, 0}, {.7, 5, 1, 0}, {0, 0, 1, 0}};
    for (int i = 0; i < 3; i++) {
        RolloutPlan p = plan_of(VOCAB, sampling[i]);
        const double tau = i == 2 ? 1 : sampling[i].temperature;
        const Result alone = run(a, &p);
        const double first[] = {1, 0}, both[] = {.75, .75, -.5};
        p.mixture = &(const Mixture){pair, first, 1};
        const Result one = run(a, &p);
        p.mixture = &(const Mixture){pair, first, 2};
        const Result same = run(a, &p);
        CHECK(memcmp(same.id, alone.id, sizeof same.id) == 0 && memcmp(one.id, alone.id, sizeof one.id) == 0);
        CHECK_INT(tiny_differ(same.logp, alone.logp, MAX_ID) + tiny_differ(one.logp, alone.logp, MAX_ID), 0);
        p.mixture = &(const Mixture){pair, both, 3};
        const Result r = run(a, &p);
        CHECK(memcmp(r.id, alone.id, sizeof r.id) != 0);
        set_threads(1);
        const Result thread = run(a, &p);
        set_threads(2);
        CHECK(memcmp(thread.id, r.id, sizeof r.id) == 0 && !tiny_differ(thread.logp, r.logp, MAX_ID));
        int at[64];
        for (int c = 0; c < N_PROMPT * p.group_size; c++)
            for (int t = 0; t < r.length[c]; t++) {
                const int n = prompt_length[c / p.group_size], *id = r.id + c * MAX_NEW;
                real z[2][VOCAB];
                double sum = 0, own = 0, best = 0;
                memcpy(at, prompt[c / p.group_size], (size_t)n * sizeof(int));
                memcpy(at + n, id, (size_t)t * sizeof(int));
                for (int k = 0; k < 2; k++) logits_after(z[k], pair[k], at, n + t);
                for (int v = 0; v < VOCAB; v++) {
                    const double x = exp((.25 * z[0][v] + .75 * z[1][v]) / tau);
                    sum += x;
                    if (v == id[t]) own = x;
                    best = x > best ? x : best;
                }
                CHECK_NEAR(r.logp[c * MAX_NEW + t], log(own / sum), sizeof(real) == 4 ? 2e-5 : 1e-12);
                if (i == 2) CHECK_NEAR(own / best, 1, 1e-5);
            }
    }
    RolloutPlan p = plan_of(VOCAB, sampling[0]);
    p.mixture = &(const Mixture){wrong, (const double[]){.5, .5}, 2};
    CHECK_ERROR(!rollout(&(Rollout){0}, a, &p, &e), e, "policy 2 has a vocabulary of 301");
    model_free(a), model_free(b), model_free(big);
}

/* The first token of all completions of a prompt comes from one row of logits, also where 64 rows at a time
 * would cut a group apart: it was computed once more then, and counted, but not predicted. */
static void test_first_row_once(void) {
    enum { GROUP = 13, N = N_PROMPT * GROUP };
    Err e = {{0}};
    Model *m = tiny_model(0);
    int id[N], length[N];
    real logp[N];
    bool ended[N];
    Rollout out = {.id = id, .logp = logp, .length = length, .ended = ended};
    RolloutPlan p = plan_of(m->config.vocab, (Sampling){1, 0, 1, 0});
    p.max_new = 1;
    double flop[2];
    for (int i = 0; i < 2; i++) {
        Tally t = {.forward = {0}};
        m->tally = &t;
        p.group_size = i ? GROUP : 1;
        CHECK(rollout(&out, m, &p, &e));
        flop[i] = t.forward.flop;
    }
    CHECK_NEAR(flop[1], flop[0], 0);
    model_free(m);
}

int main(void) {
    test_E29_E308_sampler();
    test_min_p_bound();
    test_greedy();
    test_repetition_penalty();
    test_E308_boundaries();
    test_E308_many_ids();
    test_filters_large();
    test_E198_cache();
    test_sampling_check();
    test_decoding_is_the_forward_pass();
    test_penalised_rollout();
    test_long_prompts();
    test_decode_step();
    test_progress_and_refused();
    test_E250_mixture();
    test_first_row_once();
    return test_end();
}
