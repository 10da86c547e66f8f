/* test_cost.c: the formulas of section 8 on a case that is computed by hand, and against what networks count
 * and hold. */
#include "run/cost.h"

#include "tests/tiny.h"

/* ---- by hand ----------------------------------------------------------------------------- */

/* Layers of 4x4 (q), 4x2 (k), 4x2 (v), 4x4 (o) and three of 4x6: 120 weights, 360 in three layers; 4 H d L =
 * 48 a pair; a row of logits 2 x 10 x 4 = 80. */
static const ModelConfig small = {.vocab = 10, .hidden = 4, .ffn = 6, .n_layer = 3, .n_head = 2,
                                  .n_kv_head = 1, .head_dim = 2, .context = 32};

/* A prompt of 3 tokens with completions of 2, 3 and 1: rows 3 + 1 + 2 + 0; they see 1 + 2 + 3, 4, and 4 + 5;
 * logits of the prompt's last row and of the three others. */
static Texts texts(void) {
    Texts t = {0};
    texts_prompt(&t, 3);
    texts_completion(&t, 3, 2), texts_completion(&t, 3, 3), texts_completion(&t, 3, 1);
    return t;
}

static void test_E190_lengths(void) {
    const Texts t = texts();
    CHECK_NEAR(t.prompt, 3, 0);
    CHECK_NEAR(t.token, 6, 0);
    CHECK_NEAR(t.seq, 3, 0);
    CHECK_NEAR(t.row, 6, 0);
    CHECK_NEAR(t.attended, 19, 0);
    CHECK_NEAR(t.scored, 4, 0);
    Texts s = {0};
    texts_sequence(&s, 3, 2, 2);                                /* five rows, which see 1 + 2 + 3 + 4 + 5 */
    CHECK_NEAR(s.row, 5, 0);
    CHECK_NEAR(s.attended, 15, 0);
    CHECK_NEAR(s.scored, 2, 0);
    CHECK_NEAR(s.prompt, 3, 0);
    CHECK_NEAR(s.token, 2, 0);
    Texts r = {0};
    /* rows 3 + 2, which see 6 and 4 + 5; two scores */
    texts_reply_prompt(&r, 3), texts_reply(&r, 3, 2), texts_reply(&r, 3, 0);
    CHECK_NEAR(r.row, 5, 0);
    CHECK_NEAR(r.attended, 15, 0);
    CHECK_NEAR(r.scored, 2, 0);
    CHECK_NEAR(r.seq, 2, 0);
    Texts v = {0};
    /* a value before each of two tokens and after the last; of an empty reply, that of the prompt */
    texts_reply_prompt(&v, 3), texts_states(&v, 3, 2), texts_states(&v, 3, 0);
    CHECK_NEAR(v.row, 5, 0);
    CHECK_NEAR(v.attended, 15, 0);
    CHECK_NEAR(v.scored, 4, 0);
    CHECK_NEAR(v.token, 2, 0);
    texts_add(&r, &t, 2);
    CHECK_NEAR(r.row, 17, 0);
    CHECK_NEAR(r.attended, 53, 0);
    CHECK_NEAR(r.scored, 10, 0);
    CHECK_NEAR(r.seq, 8, 0);
    CHECK_NEAR(r.prompt, 6, 0);
    CHECK_NEAR(r.token, 12, 0);
}

/* Forward: 2 x 360 x 6 + 48 x 19 + 80 x 4 = 4320 + 912 + 320. Backward: twice the first and the last, 2.5
 * times attention. */
enum { FORWARD = 5552, BACKWARD = 2 * 4320 + 2280 + 2 * 320 };

static void test_E192_passes(void) {
    const Texts t = texts();
    CHECK_NEAR(cost_forward(&small, &t, t.scored), FORWARD, 0);
    CHECK_NEAR(cost_backward(&small, &t, t.scored, false), BACKWARD, 0);
    CHECK_NEAR(cost_backward(&small, &t, t.scored, true), BACKWARD + 320, 0);
    /* rank 1 beside q (4, 4) and v (4, 2): 8 numbers in and 6 out a layer, 24 and 18 in three; the frozen
     * matrices give the derivative by their input alone */
    ModelConfig adapted = small;
    adapted.lora = (Lora){.r = 1, .alpha = 1, .target = 1u << LORA_Q | 1u << LORA_V};
    CHECK_NEAR(cost_forward(&adapted, &t, t.scored), FORWARD + 2 * 42 * 6, 0);
    CHECK_NEAR(cost_backward(&adapted, &t, t.scored, false), 4320 + 2280 + 320 + 4 * (24 + 18) * 6, 0);
}

/* One prompt, two passes over its completions, a reference. The critic's and the reward model's layers cost
 * 4320 + 912; their outputs 8 each and one label. */
static void test_E194_methods(void) {
    const Texts t = texts(), none = {0};
    Texts twice = {0};
    texts_add(&twice, &t, 2);
    Networks n = {.policy = small, .reference = small, .value = small, .has_reference = true};
    n.value.n_label = 1;
    Cost c = {.prompt = 0};
    cost_grpo(&c, &n, &t, &twice, 0);
    CHECK_NEAR(c.net[NET_POLICY].forward.flop, 3 * FORWARD, 0);
    CHECK_NEAR(c.net[NET_POLICY].backward.flop, 2 * BACKWARD, 0);
    CHECK_NEAR(c.net[NET_REFERENCE].forward.flop, FORWARD, 0);
    CHECK_NEAR(c.net[NET_REFERENCE].backward.flop, 0, 0);
    CHECK_NEAR(c.net[NET_POLICY].forward.row, 18, 0);
    CHECK_NEAR(c.net[NET_POLICY].backward.row, 12, 0);
    CHECK_NEAR(c.net[NET_POLICY].forward.seq, 9, 0);
    CHECK_NEAR(cost_flops(&c), 4 * FORWARD + 2 * BACKWARD, 0);
    CHECK_NEAR(c.prompt, 3, 0); CHECK_NEAR(c.completion, 6, 0);
    cost_grpo(&c, &n, &none, &t, 1);                            /* a pass more, with the entropies first */
    CHECK_NEAR(cost_flops(&c), 6 * FORWARD + 3 * BACKWARD, 0); CHECK_NEAR(c.completion, 6, 0);

    Cost p = {.prompt = 0};
    /* of two epochs, one warms up the critic alone */
    cost_ppo(&p, &n, &t, &t, &twice);
    CHECK_NEAR(p.net[NET_POLICY].forward.flop, 2 * FORWARD, 0);
    CHECK_NEAR(p.net[NET_POLICY].backward.flop, BACKWARD, 0);
    CHECK_NEAR(p.net[NET_REFERENCE].forward.flop, FORWARD, 0);
    CHECK_NEAR(p.net[NET_VALUE].forward.flop, 3 * (4320 + 912 + 8 * 6), 0);
    CHECK_NEAR(p.net[NET_VALUE].backward.flop, 2 * (2 * 4320 + 2280 + 2 * 8 * 6), 0);
    CHECK_NEAR(p.completion, 6, 0);

    Cost f = {.prompt = 0};
    Texts states = {0};
    texts_reply_prompt(&states, 3), texts_states(&states, 3, 2);                /* rows 5, which see 15 */
    cost_dvpo(&f, &n, &t, &twice, &states);
    CHECK_NEAR(f.net[NET_POLICY].forward.flop, 3 * FORWARD, 0);
    CHECK_NEAR(f.net[NET_POLICY].backward.flop, 2 * BACKWARD, 0);
    CHECK_NEAR(f.net[NET_REFERENCE].forward.flop, FORWARD, 0);
    CHECK_NEAR(f.net[NET_VALUE].forward.flop, 2 * 360 * 5 + 48 * 15 + 8 * 3, 0);
    CHECK_NEAR(f.net[NET_VALUE].backward.flop, 0, 0);

    Cost d = {.prompt = 0};
    cost_dpo(&d, &n, &t, &twice, 0);
    CHECK_NEAR(d.net[NET_REFERENCE].forward.flop, FORWARD, 0);
    CHECK_NEAR(d.net[NET_POLICY].forward.flop, 2 * FORWARD, 0);
    CHECK_NEAR(d.net[NET_POLICY].backward.flop, 2 * BACKWARD, 0);
    CHECK_NEAR(d.prompt, 6, 0); CHECK_NEAR(d.completion, 12, 0);

    cost_logits_again(&d, &n, &t);                              /* tdpo's reference */
    CHECK_NEAR(d.net[NET_REFERENCE].forward.flop, FORWARD + 320, 0);

    Cost s = {.prompt = 0};
    cost_sft(&s, &n, &t);
    CHECK_NEAR(s.net[NET_POLICY].forward.flop, FORWARD, 0);
    CHECK_NEAR(s.net[NET_POLICY].backward.flop, BACKWARD, 0);
    CHECK_NEAR(cost_flops(&s), FORWARD + BACKWARD, 0);

    Texts read = {0};
    Cost r = {.prompt = 0};
    texts_reply_prompt(&read, 3), texts_reply(&read, 3, 2);     /* rows 5, which see 15 */
    cost_read(&r, NET_REWARD, &n.value, &read);
    CHECK_NEAR(r.net[NET_REWARD].forward.flop, 2 * 360 * 5 + 48 * 15 + 8, 0);
    CHECK_NEAR(cost_flops(&r), 4328, 0);
    /* and as training data, whole: 10 rows in all */
    texts_sequence(&read, 3, 2, 1);
    cost_reward(&r, &n.value, &read);
    CHECK_NEAR(r.net[NET_REWARD].backward.flop, 2 * 7200 + 2.5 * 48 * 30 + 2 * 16, 0);
}

/* ---- against what is counted ------------------------------------------------------------- */

static const Tree trees[] = {{9, 3, {8, 1, 3}}, {1, 2, {2, 1}}, {16, 1, {17}}, {5, 4, {1, 1, 2, 6}}};
enum { N_TREE = sizeof trees / sizeof *trees, MAX_TARGET = 300, ROWS = 100 };

static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    (void)to, (void)first, (void)entropy, (void)dentropy;
    for (int i = 0; i < n; i++) dlogp[i] = logp[i];
}

static void derive_scores(void *to, int first, int n, const real *score, real *dscore) {
    (void)to, (void)first;
    for (int i = 0; i < 3 * n; i++) dscore[i] = score[i];
}

/* Lengths of the window that tiny_window makes of the trees: every row of a continuation is run, and
 * predicts. */
static Texts window_texts(const Window *w) {
    Texts t = {0};
    for (int i = 0; i < N_TREE; i++) {
        texts_reply_prompt(&t, trees[i].prompt);
        for (int c = 0; c < trees[i].n_child; c++) texts_reply(&t, trees[i].prompt, trees[i].child[c]);
    }
    t.scored = t.token = 0;
    for (int i = 0; i < w->n_target; i++)
        t.scored += !i || w->target_row[i] != w->target_row[i - 1], t.token++;
    return t;
}

static void check_pass(const Pass *p, const Texts *t, double flops) {
    CHECK_NEAR(p->row, t->row, 0); CHECK_NEAR(p->seq, t->seq, 0); CHECK_NEAR(p->flop, flops, 0);
}

/* Completions of 3 tokens after prompts of 3: two rows, which see 4 and 5, 2 x 720 + 432 + 160 = 2032
 * operations. */
static void test_E199_seconds(void) {
    enum { ROW = 2032 / 2 };
    const Speed v = {.forward = 100, .backward = 50, .update = 0.001, .position = 0.5, .row = 0.25,
                     .row_flops = ROW / 2.0};
    Cost c = {.prompt = 0};
    c.net[NET_POLICY].forward.flop = 30000, c.net[NET_REFERENCE].forward.flop = 10000;
    c.net[NET_POLICY].backward.flop = 5000, c.net[NET_VALUE].backward.flop = 1000;
    /* four of them, up to 5 tokens: 4 positions and 8 rows, twice as dear as those timed; two generations */
    const Drawn four = {.n = 4, .prompt = 3, .length = 3, .most = 5};
    CHECK_NEAR(cost_seconds(&c, &v, &small, &four, 2, 7000),
               (40000 - 2 * 8 * ROW) / 100.0 + 120 + 2 * (4 * 0.5 + 8 * 0.25) * 2 + 7, 1e-9);
    /* one token is drawn from the prompt's last row: nothing is decoded */
    const Drawn short_ones = {.n = 4, .prompt = 3, .length = 1, .most = 1};
    CHECK_NEAR(cost_seconds(&c, &v, &small, &short_ones, 2, 7000), 400 + 120 + 7, 1e-9);
}

static void test_E192_counted(void) {
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG))
        for (int slices = 0; slices < 3; slices++) {        /* none, some, some with checkpointing */
            Model *m = tiny_model(k);
            m->config.checkpointing = slices == 2;
            Model base = model_base(m);
            Window w = {0};
            Tally of_policy = {.forward = {.row = 0}}, of_base = of_policy;
            int key[MAX_TARGET];
            real logp[MAX_TARGET];
            Trainer t;
            Err e = {{0}};
            ModelConfig off = m->config;
            off.lora.r = 0;
            tiny_window(&w, key, trees, N_TREE, m->config.vocab, true);
            const Texts texts = window_texts(&w);
            CHECK(w.n_target < MAX_TARGET && trainer_new(&t, m, slices ? 40 : ROWS, MAX_TARGET, &e));
            m->tally = &of_policy, base.tally = &of_base;
            CHECK(window_logp(logp, NULL, t.acts, t.max_row, t.max_target, &base, &w, 1, &e));
            check_pass(&of_base.forward, &texts, cost_forward(&off, &texts, texts.scored));
            CHECK_NEAR(of_policy.forward.flop, 0, 0);
            CHECK(accumulate(&t, &w, 1, derive, NULL, false, &e));
            check_pass(&of_policy.forward, &texts, cost_forward(&m->config, &texts, texts.scored));
            check_pass(&of_policy.backward, &texts,
                       cost_backward(&m->config, &texts, texts.scored,
                                     !acts_keep_logits(&m->config, MAX_TARGET)));
            CHECK_NEAR(of_base.backward.flop, 0, 0);
            Cost planned = {.prompt = 0}, held = planned;
            cost_trainer(&planned, &m->config, t.max_row, t.max_target);
            cost_trainer_held(&held, &t);
            for (int i = 0; i < N_MEM; i++) CHECK_NEAR(held.memory[i], planned.memory[i], 0);
            CHECK(cost_trained(&held) > 0 && cost_memory(&held) == cost_trained(&held));
            trainer_free(&t);
            window_free(&w);
            model_free(m);
        }
}

static void test_E194_critic_counted(int network) {
    Model *m = tiny_model(network);
    Window w = {0};
    Tally counted = {.forward = {.row = 0}};
    int key[MAX_TARGET];
    Trainer t;
    Err e = {{0}};
    tiny_window(&w, key, trees, N_TREE, m->config.vocab, true);
    const Texts texts = window_texts(&w);
    m->tally = &counted;
    CHECK(trainer_new(&t, m, ROWS, MAX_TARGET, &e) &&
          accumulate_scores(&t, &w, derive_scores, NULL, &e));
    check_pass(&counted.forward, &texts, cost_forward(&m->config, &texts, texts.token));
    check_pass(&counted.backward, &texts, cost_backward(&m->config, &texts, texts.token, false));
    trainer_free(&t);
    window_free(&w);
    model_free(m);
}

/* Decoding: every token that was drawn but each completion's last is run once, and a prompt once for its
 * group; and what a generation holds. */
static void test_E193_E198_generation_counted(void) {
    enum { PROMPTS = 4, GROUP = 3, NEW = 21, N = PROMPTS * GROUP };
    static const int length[PROMPTS] = {3, 17, 1, 33}, stop[] = {2, 11};
    for (int k = 0; k >= 0; k = tiny_next(k, TINY_BIG)) {
        Model *m = tiny_model(k);
        Tally counted = {.forward = {.row = 0}};
        Texts drawn = {0};
        Err e = {{0}};
        int id[PROMPTS][33], out_id[N * NEW], out_length[N];
        const int *prompt[PROMPTS];
        real logp[N * NEW];
        bool ended[N];
        for (int i = 0; i < PROMPTS; i++) {
            prompt[i] = id[i];
            for (int t = 0; t < length[i]; t++) id[i][t] = tiny_token(m->config.vocab, i, 0, t);
        }
        Rollout out = {.id = out_id, .logp = logp, .length = out_length, .ended = ended};
        const RolloutPlan plan = {.prompt = prompt, .prompt_length = length, .n_prompt = PROMPTS,
                                  .group_size = GROUP, .max_new = NEW, .stop = stop, .n_stop = 2,
                                  .sampling = {1, 0, 1, 0}, .seed = 9};
        m->tally = &counted;
        CHECK(rollout(&out, m, &plan, &e));
        for (int i = 0; i < N; i++) {
            if (i % GROUP == 0) texts_prompt(&drawn, length[i / GROUP]);
            texts_completion(&drawn, length[i / GROUP], out_length[i]);
        }
        check_pass(&counted.forward, &drawn, cost_forward(&m->config, &drawn, drawn.scored));
        CHECK_NEAR(counted.backward.flop, 0, 0);
        CHECK_NEAR((double)out.acts_held, (double)rollout_acts_bytes(&m->config, length, PROMPTS, N), 0);
        /* beside keys and values the cache has some lists of a few bytes a completion */
        const double keys = cost_cache(&m->config, length, PROMPTS, N, NEW);
        CHECK((double)out.cache_held >= keys &&
              (double)out.cache_held < keys + 1024 + 64 * m->config.n_layer);
        model_free(m);
    }
}

/* Of whole panels of 16 numbers and 16 positions: 2 x 3 layers x 1 head x 16 numbers a position; prompts of
 * 16 and 32, 5 completions of 16, each with 80 numbers between it and the next. */
static void test_E198_cache(void) {
    CHECK_NEAR(cost_cache(&small, (int[]){3, 17}, 2, 5, 16),
               2 * 3 * 1 * sizeof(real) * (16 * (16 + 32 + 5 * 16) + 5 * 80), 0);
}

/* E195: trained whole, as many gradients as weights and twice as many moments; of an adapter the adapter
 * alone. */
static void test_E195_E197_memory(void) {
    ModelConfig c = small;
    Cost full = {.prompt = 0}, lora = full;
    const double n = 360 + 10 * 4 * 2 + 3 * 2 * 4 + 4;          /* layers, embedding and head, norms */
    cost_trainer(&full, &c, 8, 8);
    CHECK_NEAR(full.memory[MEM_GRADIENTS], n * sizeof(real), 0);
    CHECK_NEAR(full.memory[MEM_OPTIMIZER], 2 * n * sizeof(real), 0);
    c.lora = (Lora){.r = 1, .alpha = 1, .target = 1u << LORA_Q | 1u << LORA_V};
    cost_trainer(&lora, &c, 8, 8);
    CHECK_NEAR(lora.memory[MEM_GRADIENTS], 42 * sizeof(real), 0);
    CHECK_NEAR(lora.memory[MEM_OPTIMIZER], 84 * sizeof(real), 0);
    c = small, c.tied = true;
    Cost tied = {.prompt = 0};
    cost_trainer(&tied, &c, 8, 8);
    CHECK_NEAR(tied.memory[MEM_GRADIENTS], (n - 40) * sizeof(real), 0);
    CHECK_NEAR(tied.memory[MEM_OPTIMIZER], 2 * (n - 40) * sizeof(real), 0);
    /* as they are, and packed */
    CHECK(full.memory[MEM_WEIGHTS] > 2 * 0.9 * n * sizeof(real));
    cost_memory_most(&full, MEM_CACHE, 7), cost_memory_most(&full, MEM_CACHE, 5);
    CHECK_NEAR(full.memory[MEM_CACHE], 7, 0);
    /* a row of logits is kept, not the whole vocabulary of every row: E197 */
    ModelConfig wide = small;
    wide.vocab = 1 << 20;
    CHECK(acts_keep_logits(&small, 100000) && acts_keep_logits(&wide, 32) && !acts_keep_logits(&wide, 193));
}

/* What a run has cost so far goes through its checkpoint; one without it, or of another length, is refused.
 */
static void test_counts_in_checkpoints(void) {
    const char *path =
        sizeof(real) == 4 ? "build/test_cost_f32.safetensors" : "build/test_cost_f64.safetensors";
    Model *m = tiny_model(0);
    Trainer t;
    Err e = {{0}};
    double counts[3] = {1, 0x1p60, 3.5};
    CHECK(trainer_new(&t, m, 8, 8, &e));
    trainer_keep(&t, "counts", counts, 3);
    CHECK(trainer_save(&t, path, NULL, &e));
    counts[0] = counts[1] = counts[2] = 0;
    CHECK(trainer_load(&t, path, &e));
    CHECK_NEAR(counts[0], 1, 0); CHECK_NEAR(counts[1], 0x1p60, 0); CHECK_NEAR(counts[2], 3.5, 0);
    t.kept[0].n = 2;
    CHECK_ERROR(!trainer_load(&t, path, &e), e,
                "counts: expected 2 numbers of type F64; the checkpoint is of another");
    t.n_kept = 0;
    CHECK(trainer_load(&t, path, &e) && trainer_save(&t, path, NULL, &e));
    t.n_kept = 1;
    CHECK_ERROR(!trainer_load(&t, path, &e), e, "counts: expected 2 numbers");
    trainer_free(&t);
    model_free(m);
    remove(path);
}

/* The bytes that are told do not depend on how many threads there are. */
static void test_threads_do_not_count(void) {
    double held[2], planned[2];
    for (int i = 0; i < 2; i++) {
        set_threads(i ? 3 : 1);
        Model *m = tiny_model(TINY_BIG);
        Err e = {{0}};
        Acts *a = acts_new(m, 50, 20, true, &e);
        held[i] = a ? (double)acts_held(a) : NAN;
        planned[i] = cost_asked(&m->config, 50, 20);
        acts_free(a);
        model_free(m);
    }
    CHECK_NEAR(held[1], held[0], 0); CHECK_NEAR(planned[1], planned[0], 0);
    set_threads(2);
}

int main(void) {
    test_E190_lengths();
    test_E192_passes();
    test_E194_methods();
    test_E199_seconds();
    test_E192_counted();
    test_E194_critic_counted(TINY_LABELS);
    test_E194_critic_counted(TINY_ADAPTED + TINY_LABELS);
    test_E193_E198_generation_counted();
    test_E198_cache();
    test_E195_E197_memory();
    test_counts_in_checkpoints();
    test_threads_do_not_count();
    return test_end();
}
