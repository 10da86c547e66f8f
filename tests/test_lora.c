/* test_lora.c: the branch beside a linear layer, its derivatives, start and merging; the network with the
 * adapter on and off; what stays frozen; PEFT folders in and out, and what is refused. Whole networks against
 * differences, in slices, batches and on more threads: test_model.c, test_train.c, test_rollout.c, which run
 * with adapters too; against PEFT: tests/parity/test_lora.py. */
#include "net/lora.h"

#include "net/folder.h"
#include "lib/files.h"
#include "lib/json.h"
#include "lib/safetensors.h"
#include "tests/tiny.h"

static const char *const dir = sizeof(real) == 4 ? "build/test_lora_f32" : "build/test_lora_f64";
enum { N = 23, OUT = 37, IN = 19, R = 5 };

static real *numbers(size_t n, uint64_t which) {
    real *p = malloc(n * sizeof(real));
    for (size_t j = 0; j < n; j++) p[j] = (real)tiny_number(which, j);
    return p;
}

/* ---- E290, E291 -------------------------------------------------------------------------- */

typedef struct { real *a, *b, *x, *y0, *y, *u, *dy; LoraShape shape; } Branch;

static Branch branch_new(void) {
    return (Branch){.a = numbers(R * IN, 1), .b = numbers(OUT * R, 2), .x = numbers(N * IN, 3),
                    .y0 = numbers(N * OUT, 4), .y = numbers(N * OUT, 4), .u = numbers(N * R, 5),
                    .dy = numbers(N * OUT, 6), .shape = {OUT, IN, R, (real)1.7}};
}

static void branch_free(Branch *t) {
    free(t->a), free(t->b), free(t->x), free(t->y0), free(t->y), free(t->u), free(t->dy);
}

static double branch_loss(void *to) {
    Branch *t = to;
    real *a = malloc(gemm_packed_count(R, IN) * sizeof(real)),
         *b = malloc(gemm_packed_count(OUT, R) * sizeof(real)), *scratch = malloc(N * OUT * sizeof(real));
    double loss = 0;
    gemm_pack(a, t->a, STORE_REAL, R, IN);
    gemm_pack(b, t->b, STORE_REAL, OUT, R);
    memcpy(t->y, t->y0, N * OUT * sizeof(real));
    lora_forward(t->y, t->u, scratch, a, b, t->x, N, &t->shape);
    for (int i = 0; i < N * OUT; i++) loss += (double)t->dy[i] * t->y[i];
    free(a), free(b), free(scratch);
    return loss;
}

/* The written order: each of A x and B u a chain from 0, then one fused multiply-add onto what is there. */
static void test_E290_order(void) {
    Branch t = branch_new();
    branch_loss(&t);
    long wrong = 0;
    for (int i = 0; i < N; i++) {
        real u[R];
        for (int j = 0; j < R; j++) {
            u[j] = 0;
            for (int k = 0; k < IN; k++) u[j] = r_fma(t.x[i * IN + k], t.a[j * IN + k], u[j]);
        }
        wrong += tiny_differ(u, t.u + i * R, R);
        for (int o = 0; o < OUT; o++) {
            real bu = 0;
            for (int j = 0; j < R; j++) bu = r_fma(u[j], t.b[o * R + j], bu);
            const real y = r_fma((real)1.7, bu, t.y0[i * OUT + o]);
            wrong += tiny_differ(&y, t.y + i * OUT + o, 1);
        }
    }
    CHECK_INT(wrong, 0);
    branch_free(&t);
}

static void test_E291_differences(void) {
    Branch t = branch_new();
    real *da = numbers(R * IN, 7), *db = numbers(OUT * R, 8), *dx = numbers(N * IN, 9),
         *low = malloc(2 * N * R * sizeof(real)), *scratch = malloc(N * IN * sizeof(real));
    branch_loss(&t);
    lora_backward(dx, low + N * R, scratch, t.dy, t.a, t.b, N, &t.shape);
    lora_backward_weights(da, db, low, t.dy, t.x, t.u, low + N * R, N, &t.shape);
    struct { real *w, *got; size_t n; uint64_t start; } part[] = {
        {t.a, da, R * IN, 7}, {t.b, db, OUT * R, 8}, {t.x, dx, N * IN, 9}};
    for (int i = 0; i < 3 && sizeof(real) == 8; i++)
        for (size_t j = 0; j < part[i].n; j++) {
            const real keep = part[i].w[j], h = (real)1e-4;
            part[i].w[j] = keep + h; const double up = branch_loss(&t);
            part[i].w[j] = keep - h; const double down = branch_loss(&t);
            part[i].w[j] = keep;
            /* added to what was there */
            CHECK_NEAR(part[i].got[j] - tiny_number(part[i].start, j), (up - down) / (2 * (double)h), 1e-8);
        }
    free(da), free(db), free(dx), free(low), free(scratch);
    branch_free(&t);
}

static void test_E290_scale(void) {
    CHECK_NEAR(lora_scale(&(Lora){.r = 8, .alpha = 16}), 2, 0);
    CHECK_NEAR(lora_scale(&(Lora){.r = 16, .alpha = 12, .rslora = true}), 3, 0);
}

static void test_targets(void) {
    unsigned t;
    Err e = {{0}};
    CHECK(lora_targets_parse(&t, "all-linear", "o", &e) && t == 127);
    CHECK(lora_targets_parse(&t, "down_proj,q_proj", "o", &e) && t == (1u << LORA_DOWN | 1u << LORA_Q));
    char text[96];
    CHECK_STRING(lora_targets_text(text, t), "q_proj,down_proj");
    CHECK_STRING(lora_targets_text(text, 127), "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj");
    CHECK_ERROR(!lora_targets_parse(&t, "q_proj,kproj", "--lora-target-modules", &e), e,
                "--lora-target-modules: target module \"kproj\", did you mean k_proj");
    CHECK_ERROR(!lora_targets_parse(&t, "lm_head", "o", &e), e, "target module \"lm_head\"");
    CHECK_ERROR(!lora_targets_parse(&t, "", "o", &e), e, "no target module");
    CHECK_ERROR(!lora_check(&(Lora){.r = 0, .alpha = 1, .target = 1}, "o", &e), e, "rank r: found 0");
    CHECK_ERROR(!lora_check(&(Lora){.r = 1, .alpha = 0, .target = 1}, "o", &e), e, "lora_alpha: found 0");
    CHECK_ERROR(!lora_check(&(Lora){.r = 1, .alpha = 1}, "o", &e), e, "target_modules: none");
}

/* ---- the network ------------------------------------------------------------------------- */

static const Tree trees[] = {{9, 3, {8, 1, 3}}, {4, 0, {0}}, {16, 1, {17}}};
enum { MAX_TARGET = 200, MAX_ROW = 100 };

static void logp_of(real *logp, const Model *m) {
    Window w = {0};
    int key[MAX_TARGET];
    Err e = {{0}};
    tiny_window(&w, key, trees, 3, m->config.vocab, true);
    Acts *a = acts_new(m, MAX_ROW, MAX_TARGET, false, &e);
    CHECK(a && w.n_target <= MAX_TARGET && window_logp(logp, NULL, a, MAX_ROW, MAX_TARGET, m, &w, 1, &e));
    acts_free(a);
    window_free(&w);
}

enum { N_LOGP = 44 };                   /* targets of that window */

static double furthest(const real *a, const real *b) {
    double d = 0;
    for (int i = 0; i < N_LOGP; i++) d = fmax(d, fabs((double)a[i] - b[i]));
    return d;
}

/* E293: off, it is the network without adapter, bit for bit; E292: merged, it is the adapted network up to
 * rounding; a new adapter changes no value at all. */
static void test_E292_E293_on_off_merged(void) {
    for (int k = 0; k < TINY_LABELS; k++) {
        Model *plain = tiny_model(k), *m = tiny_model(TINY_ADAPTED + k);
        real on[MAX_TARGET] = {0}, off[MAX_TARGET] = {0}, without[MAX_TARGET] = {0}, merged[MAX_TARGET] = {0},
             fresh[MAX_TARGET] = {0};
        CHECK_INT(m->n_base, plain->n_param);
        CHECK_INT(m->n_param - m->n_base, 2 * 2 * LORA_TARGETS);
        const Model base = model_base(m);
        logp_of(on, m);
        logp_of(off, &base);
        logp_of(without, plain);
        CHECK_INT(tiny_differ(off, without, N_LOGP), 0);
        CHECK(furthest(on, off) > 0.01);
        model_merge(m);
        logp_of(merged, m);
        CHECK_NEAR(furthest(on, merged), 0, sizeof(real) == 4 ? 2e-5 : 1e-13);
        model_free(m);
        m = tiny_model(TINY_ADAPTED + k);
        model_init_new(m, 5);
        model_pack(m);
        logp_of(fresh, m);
        /* fma(s, 0, y): -0 may become 0 */
        for (int i = 0; i < N_LOGP; i++) CHECK(fresh[i] == without[i]);
        model_free(m), model_free(plain);
    }
}

static void test_E292_start(void) {
    Model *a = tiny_model(TINY_ADAPTED + TINY_BIG), *b = tiny_model(TINY_ADAPTED + TINY_BIG);
    model_init_new(a, 5), model_init_new(b, 5);
    CHECK_INT(tiny_differ(a->weights, b->weights, a->n_trainable), 0);
    model_init_new(b, 6);
    double low = 1, high = -1, sum = 0;
    const Param *q = a->adapter[0][LORA_Q][0], *down = a->adapter[1][LORA_DOWN][0];
    for (size_t j = 0; j < param_count(q); j++) {
        const double x = ((real *)q->data)[j] * sqrt(64.0);
        low = fmin(low, x), high = fmax(high, x), sum += x;
    }
    CHECK(low >= -1 && low < -0.95 && high <= 1 && high > 0.95 && fabs(sum / (double)param_count(q)) < 0.15);
    high = 0;
    for (size_t j = 0; j < param_count(down); j++)
        high = fmax(high, fabs((double)((real *)down->data)[j] * sqrt(150.0)));
    CHECK(high <= 1 && high > 0.95);                    /* by the inputs of its own layer */
    CHECK(tiny_differ(q->data, a->adapter[1][LORA_Q][0]->data, param_count(q)) > 180);
    CHECK(tiny_differ(q->data, a->adapter[0][LORA_K][0]->data, param_count(q)) > 180);
    CHECK(tiny_differ(q->data, b->adapter[0][LORA_Q][0]->data, param_count(q)) > 180);
    for (size_t j = 0; j < param_count(a->adapter[0][LORA_UP][1]); j++)
        CHECK(((real *)a->adapter[0][LORA_UP][1]->data)[j] == 0);
    model_free(a), model_free(b);
}

/* Only the targets have one; nothing but A, B (and the scores of a reward model) is trained, has a gradient
 * or moments. */
static void test_what_is_trained(void) {
    for (unsigned target = 1; target < 128; target += 9)
        for (int k = 0; k < TINY_COUNT; k++) {
            ModelConfig c = tiny_config(k);
            c.lora = (Lora){.r = 2, .alpha = 4, .target = target};
            Err e = {{0}};
            Model *m = model_new(&c, &e);
            size_t count = k == TINY_LABELS ? param_count(m->head) : 0;
            const int q = c.n_head * c.head_dim, kv = c.n_kv_head * c.head_dim;
            const int sum[LORA_TARGETS] = {q + c.hidden,     kv + c.hidden,    kv + c.hidden,   q + c.hidden,
                                           c.ffn + c.hidden, c.ffn + c.hidden, c.hidden + c.ffn};
            for (int t = 0; t < LORA_TARGETS; t++) {
                CHECK((m->adapter[1][t][0] != NULL) == (target >> t & 1));
                if (target >> t & 1) count += (size_t)(2 * 2 * sum[t]);
            }
            CHECK_INT(m->n_trainable, count);
            CHECK_INT(model_trainable(&c), count);
            for (int i = 0; i < m->n_param; i++) {
                const Param *p = &m->param[i];
                CHECK(p->trainable == (i >= m->n_base || (p == m->head && c.n_label)));
                CHECK(p->trainable ? (real *)p->data == m->weights + p->offset : p->offset == SIZE_MAX);
            }
            model_free(m);
        }
}

static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    (void)to, (void)logp, (void)entropy, (void)dentropy;
    for (int i = 0; i < n; i++) dlogp[i] = (real)tiny_number(11, (uint64_t)(first + i));
}

/* After some steps of AdamW with weight decay every frozen weight has the bits it had, and every trained one
 * has moved. */
static void test_base_stays(void) {
    for (int k = 0; k < TINY_BIG; k++) {
        Model *m = tiny_model(TINY_ADAPTED + k), *before = tiny_model(TINY_ADAPTED + k),
              *plain = tiny_model(k);
        real off[MAX_TARGET] = {0}, without[MAX_TARGET] = {0};
        int key[MAX_TARGET];
        Window w = {0};
        Trainer t;
        Err e = {{0}};
        tiny_window(&w, key, trees, 3, m->config.vocab, true);
        CHECK(trainer_new(&t, m, MAX_ROW, MAX_TARGET, &e));
        t.adamw.lr = 0.01, t.adamw.weight_decay = 0.1, t.schedule = SCHEDULE_CONSTANT;
        for (int i = 0; i < 3; i++)
            CHECK(accumulate(&t, &w, 1, derive, NULL, false, &e) && trainer_update(&t, &e));
        for (int i = 0; i < m->n_param; i++) {
            const size_t n = param_count(&m->param[i]);
            const long moved = tiny_differ(m->param[i].data, before->param[i].data, n);
            if (i < m->n_base) CHECK_INT(moved, 0);
            else CHECK(moved > (long)(0.9 * (double)n));
        }
        const Model base = model_base(m);
        logp_of(off, &base);
        logp_of(without, plain);
        CHECK_INT(tiny_differ(off, without, N_LOGP), 0);        /* the packed copies too */
        trainer_free(&t);
        window_free(&w);
        model_free(m), model_free(before), model_free(plain);
    }
}

/* ---- a base in 16 bits ------------------------------------------------------------------- */

static const char *path_of(const char *name) {
    static char path[4][1024];
    static int next;
    Err e = {{0}};
    char *p = path[next++ % 4];
    CHECK(path_join(p, 1024, dir, name, &e));
    return p;
}

typedef struct { real logp[MAX_TARGET]; real *grad; } Values;

static Values values_of(Model *m) {
    Values v = {.grad = NULL};
    Window w = {0};
    int key[MAX_TARGET];
    Trainer t;
    Err e = {{0}};
    tiny_window(&w, key, trees, 3, m->config.vocab, true);
    CHECK(trainer_new(&t, m, MAX_ROW, MAX_TARGET, &e) &&
          window_logp(v.logp, NULL, t.acts, MAX_ROW, MAX_TARGET, m, &w, 1, &e));
    CHECK(accumulate(&t, &w, 1, derive, NULL, false, &e));
    v.grad = malloc((m->n_trainable + 1) * sizeof(real));
    memcpy(v.grad, t.grad, m->n_trainable * sizeof(real));
    trainer_free(&t);
    window_free(&w);
    return v;
}

/* Kept in bf16, a base computes what the same folder saved in bf16 computes when it is kept in real: every
 * value and gradient, bit for bit. */
static void test_bf16_base(void) {
    for (int k = 0; k <= TINY_BIG; k++) {
        Model *m = tiny_model(k);
        const FolderInfo info = {.n_stop = 0};
        Err e = {{0}};
        CHECK(folder_remove(dir, &e) && folder_save(path_of("real"), m, &info, NULL, STORE_REAL, &e) &&
              folder_save(path_of("bf16"), m, &info, NULL, STORE_BF16, &e));
        ModelConfig c;
        CHECK(folder_config(&c, NULL, path_of("bf16"), &e));
        c.lora = (Lora){.r = 3, .alpha = 5, .target = 127};
        Model *rounded = folder_load_as(path_of("bf16"), &c, 1, &e),
              *unrounded = folder_load_as(path_of("real"), &c, 1, &e);
        c.base_store = STORE_BF16;
        Model *kept = folder_load_as(path_of("real"), &c, 1, &e);
        CHECK(rounded && unrounded && kept);
        CHECK(kept->embed->store == STORE_BF16 && kept->layer[1][P_UP]->store == STORE_BF16 &&
              kept->norm->store == STORE_REAL && kept->adapter[0][LORA_Q][0]->store == STORE_REAL);
        Model *const list[] = {rounded, kept, unrounded};
        for (int i = 0; i < 3; i++) tiny_fill(list[i], 9, true);
        Values v[3];
        for (int i = 0; i < 3; i++) v[i] = values_of(list[i]);
        CHECK_INT(tiny_differ(v[0].logp, v[1].logp, N_LOGP), 0);
        CHECK_INT(tiny_differ(v[0].grad, v[1].grad, kept->n_trainable), 0);
        CHECK(furthest(v[0].logp, v[2].logp) > 1e-4);
        char a[65], b[65];
        folder_digest(rounded, a), folder_digest(kept, b);
        CHECK_STRING(a, b);
        CHECK(model_bytes(&kept->config) < model_bytes(&rounded->config) * 4 / 5 || k != TINY_BIG);
        for (int i = 0; i < 3; i++) free(v[i].grad), model_free(list[i]);
        model_free(m);
    }
    Err e = {{0}};
    CHECK(folder_remove(dir, &e));
}

/* ---- E294: folders ----------------------------------------------------------------------- */

/* The base of network k as build/.../base, its adapter as build/.../adapter. A reward model's base is the
 * language model without its scores. */
static Model *write_pair(int k, FolderInfo *info) {
    Err e = {{0}};
    CHECK(folder_remove(dir, &e));
    ModelConfig c = tiny_config(k);
    c.n_label = 0;
    Model *base = model_new(&c, &e), *m = tiny_model(TINY_ADAPTED + k);
    tiny_fill(base, 100 * (uint64_t)k + 1, false);      /* as tiny_model fills what both have */
    *info = (FolderInfo){.stop = {2}, .n_stop = 1};
    CHECK(folder_save(path_of("base"), base, info, NULL, STORE_REAL, &e));
    for (int i = 0; i < m->config.n_label; i++)
        snprintf(info->label[i], sizeof info->label[i], "name %d", i), info->reward_mean[i] = 0.25 * i - 1;
    snprintf(info->base, sizeof info->base, "%s", path_of("base"));
    CHECK(folder_save(path_of("adapter"), m, info, NULL, STORE_REAL, &e));
    model_free(base);
    return m;
}

static void test_E294_round_trip(void) {
    for (int k = 0; k < TINY_COUNT; k++) {
        FolderInfo info, got;
        Err e = {{0}};
        Model *m = write_pair(k, &info), *r = folder_load(path_of("adapter"), &got, &e);
        if (!r) { printf("%s\n", e.line); failed++; model_free(m); continue; }
        CHECK(path_exists(path_of("adapter/adapter_model.safetensors")) &&
              !path_exists(path_of("adapter/model.safetensors")));
        CHECK(folder_is_adapter(path_of("adapter")) && !folder_is_adapter(path_of("base")));
        CHECK(r->config.lora.r == 3 && r->config.lora.alpha == 5 && r->config.lora.rslora == (k % 2) &&
              r->config.lora.target == 127);
        CHECK_STRING(got.base, info.base);
        CHECK_INT(got.n_stop, 1);
        for (int i = 0; i < m->config.n_label; i++) {
            CHECK_STRING(got.label[i], info.label[i]);
            CHECK(got.reward_mean[i] == info.reward_mean[i]);
        }
        char before[65], after[65];
        folder_digest(m, before), folder_digest(r, after);
        CHECK_STRING(after, before);
        /* merged: a whole folder, without an adapter */
        model_merge(r);
        CHECK(folder_save(path_of("merged"), r, &got, NULL, STORE_REAL, &e) &&
              !folder_is_adapter(path_of("merged")));
        Model *w = folder_load(path_of("merged"), NULL, &e);
        CHECK(w && w->config.lora.r == 0 && w->n_param == m->n_base);
        CHECK_INT(tiny_differ(w->layer[1][P_UP]->data, r->layer[1][P_UP]->data,
                              param_count(w->layer[1][P_UP])),
                  0);
        CHECK(tiny_differ(w->layer[1][P_UP]->data, m->layer[1][P_UP]->data, param_count(w->layer[1][P_UP])) >
              90);
        model_free(m), model_free(r), model_free(w);
    }
}

/* A folder that PEFT wrote: names of layers in full, task SEQ_CLS without our config.json, a base that is
 * named as seen from the adapter. */
static void test_E294_as_peft_writes(void) {
    FolderInfo info, got;
    Err e = {{0}};
    Model *m = write_pair(TINY_LABELS, &info);
    const char *const config =
        "{\"peft_type\": \"LORA\", \"task_type\": \"SEQ_CLS\", "
        "\"base_model_name_or_path\": \"../adapter/../base\", "
        "\"r\": 3, \"lora_alpha\": 5.0, \"use_rslora\": false,"
        "\"lora_dropout\": 0.05, \"bias\": \"none\", \"alpha_pattern\": {}, \"loftq_config\": {}, "
        "\"eva_config\": null, \"lora_bias\": false, \"init_lora_weights\": true,"
        "\"megatron_core\": \"megatron.core\", \"peft_version\": \"0.21.2\", \"qalora_group_size\": 16, "
        "\"modules_to_save\": [\"classifier\", \"score\"],"
        "\"target_modules\": [\"model.layers.0.self_attn.q_proj\", \"model.layers.1.self_attn.q_proj\", "
        "\"mlp.up_proj\", \"k_proj\", \"v_proj\", \"o_proj\", \"gate_proj\", \"down_proj\"]}";
    CHECK(file_write(path_of("adapter/adapter_config.json"), config, strlen(config), &e));
    CHECK(remove(path_of("adapter/config.json")) == 0);
    Model *r = folder_load(path_of("adapter"), &got, &e);
    CHECK(r != NULL);
    if (!r) { printf("%s\n", e.line); model_free(m); return; }
    CHECK_INT(r->config.n_label, 3);
    CHECK_STRING(got.label[2], "label_2");
    CHECK(got.reward_mean[0] == 0);
    CHECK_INT(tiny_differ(r->weights, m->weights, m->n_trainable), 0);
    model_free(r), model_free(m);
}

/* In adapter_config.json, the first `from`. */
static void replace(const char *from, const char *to) {
    size_t n;
    Err e = {{0}};
    char *text = file_read(path_of("adapter/adapter_config.json"), &n, &e),
         *at = text ? strstr(text, from) : NULL;
    CHECK(at != NULL);
    JsonWriter w = {0};
    if (at) {
        *at = 0;
        json_raw(&w, text), json_raw(&w, to), json_raw(&w, at + strlen(from));
        CHECK(file_write(path_of("adapter/adapter_config.json"), w.text, w.length, &e));
    }
    free(w.text), free(text);
}

static void refuse(const char *from, const char *to, const char *part) {
    Err e = {{0}};
    FolderInfo info;
    Model *m = write_pair(0, &info);
    replace(from, to);
    CHECK_ERROR(!folder_load(path_of("adapter"), NULL, &e), e, part);
    model_free(m);
}

/* The adapter's tensors without those whose names hold `without`, and with two more (NULL: none) of more rows
 * than the base's. */
static void write_adapter(const Model *m, const char *without, const real *embed, const real *head,
                          int more_rows) {
    TensorOut out[128];
    Err e = {{0}};
    int n = 0;
    for (int i = m->n_base - 2; i < m->n_param; i++) {
        const bool more = i < m->n_base;
        const Param *p = more ? m->embed : &m->param[i];
        const real *data = !more ? p->data : i == m->n_base - 2 ? embed : head;
        if (!data || (without && strstr(p->name, without))) continue;
        out[n] = (TensorOut){.name = p->name, .store = sizeof(real) == 4 ? STORE_F32 : STORE_F64, .n_dim = 2,
                             .shape = {(size_t)p->rows, (size_t)p->cols}, .data = data, .from = STORE_REAL};
        if (more) out[n].shape[0] += (size_t)more_rows;
        if (more) out[n].name = data == head ? "base_model.model.lm_head.weight"
                                             : "base_model.model.model.embed_tokens.weight";
        n++;
    }
    CHECK(safetensors_write(path_of("adapter/adapter_model.safetensors"), out, n, (const char *const[]){NULL},
                            &e));
}

/* A text as target_modules is a regular expression of PEFT's: what it matched is what was saved. A module
 * that it did not match stays the base's own. */
static void test_E294_pattern(void) {
    FolderInfo info;
    Err e = {{0}};
    Model *m = write_pair(0, &info);
    write_adapter(m, "layers.1.self_attn.q_proj", NULL, NULL, 0);
    CHECK_ERROR(!folder_load(path_of("adapter"), NULL, &e), e,
                "layers.1.self_attn.q_proj.lora_A.weight is missing");
    replace("\"target_modules\": [",
            "\"target_modules\": \".*(layers\\\\.0.*|[kvo]_proj|gate_proj|up_proj|down_proj)\", "
            "\"layers_pattern\": [");
    Model *r = folder_load_as(path_of("adapter"), &m->config, 7, &e);
    CHECK(r != NULL);
    if (!r) printf("%s\n", e.line);
    for (int l = 0; r && l < 2; l++)
        for (int k = 0; k < 2; k++) {
            const Param *p = r->adapter[l][LORA_Q][k];
            int n_zero = 0;
            for (size_t i = 0; i < param_count(p); i++) n_zero += ((real *)p->data)[i] == 0;
            CHECK_INT(n_zero, l ? (int)param_count(p) : 0);
        }
    model_free(r);
    write_adapter(m, "mlp.", NULL, NULL, 0);
    r = folder_load(path_of("adapter"), NULL, &e);
    CHECK(r && r->config.lora.target == 15);
    model_free(r), model_free(m);
}

/* PEFT saves an embedding that was trained, and with it a head that is tied; or one of the two alone. */
static void test_E294_saved_embeddings(void) {
    FolderInfo info, got;
    Err e = {{0}};
    Model *m = write_pair(0, &info);
    const size_t n = param_count(m->embed);
    CHECK(m->config.tied);
    const size_t larger = n + 2 * (size_t)m->config.hidden;
    real *embed = malloc(larger * sizeof *embed), *head = malloc(larger * sizeof *head);
    for (size_t i = 0; i < larger; i++) embed[i] = head[i] = (real)i / 8;
    for (int apart = 0; apart < 2; apart++) {
        head[1] += (real)apart;
        write_adapter(m, NULL, embed, head, 0);
        Model *r = folder_load(path_of("adapter"), &got, &e);
        CHECK(r && got.whole_matrices);
        if (!r) { printf("%s\n", e.line); break; }
        CHECK(r->config.tied == !apart);
        CHECK_INT(tiny_differ(r->embed->data, embed, n), 0);
        CHECK_INT(tiny_differ(r->head->data, head, n), 0);
        model_free(r);
    }
    for (int i = 0; i < 2; i++) {                       /* one alone: the other is the base's */
        write_adapter(m, NULL, i ? NULL : embed, i ? head : NULL, 0);
        Model *r = folder_load(path_of("adapter"), &got, &e);
        CHECK(r && !r->config.tied);
        if (!r) { printf("%s\n", e.line); break; }
        CHECK_INT(tiny_differ(r->embed->data, i ? m->embed->data : embed, n), 0);
        CHECK_INT(tiny_differ(r->head->data, i ? head : m->embed->data, n), 0);
        model_free(r);
    }
    head[1] = embed[1];
    write_adapter(m, NULL, embed, head, 2);
    Model *r = folder_load(path_of("adapter"), &got, &e);
    CHECK(r && r->config.tied && r->config.vocab == m->config.vocab + 2);
    if (r) CHECK_INT(tiny_differ(r->embed->data, embed, larger), 0);
    else printf("%s\n", e.line);
    model_free(r);
    write_adapter(m, NULL, embed, NULL, 2);
    CHECK_ERROR(!folder_load(path_of("adapter"), NULL, &e), e, "the base had another size when the adapter");
    free(embed), free(head), model_free(m);
}

static void test_refused(void) {
    refuse("\"r\": 3", "\"r\": 0", "rank r: found 0");
    refuse("\"r\": 3", "\"r\": 4",
           "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight: found shape [3, 8], expected [4, "
           "8]; the adapter belongs to another base");
    refuse("\"LORA\"", "\"LOHA\"", "peft_type: found \"LOHA\", expected \"LORA\"");
    refuse("\"bias\": \"none\"", "\"bias\": \"lora_only\"", "bias: found \"lora_only\"");
    refuse("\"use_dora\": false", "\"use_dora\": true",
           "use_dora: this kind of adapter is not computed here");
    refuse("\"fan_in_fan_out\": false", "\"rank_pattern\": {\"q_proj\": 4}", "rank_pattern: this kind");
    refuse("\"fan_in_fan_out\": false", "\"something_new\": 1", "something_new: this kind");
    refuse("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"",
           "init_lora_weights: found \"pissa\", which changes the base");
    refuse("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]",
           "holds none of the modules that modules_to_save names");
    refuse("\"CAUSAL_LM\"", "\"SEQ_2_SEQ_LM\"", "task_type: found \"SEQ_2_SEQ_LM\"");
    refuse("\"q_proj\"", "\"lm_head\"", "target module \"lm_head\"");
    refuse("\"q_proj\",", "",
           "unknown tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight; the adapter "
           "belongs to another base");
    char base[1024], adapter[1024];
    snprintf(base, sizeof base, "%s", path_of("base")),
        snprintf(adapter, sizeof adapter, "%s", path_of("adapter"));
    refuse(base, "nowhere", "there is no folder \"nowhere\"");
    refuse(base, adapter, "is an adapter itself");

    /* another base: fewer layers, and another width */
    Err e = {{0}};
    FolderInfo info;
    for (int i = 0; i < 2; i++) {
        Model *m = write_pair(0, &info);
        ModelConfig c = tiny_config(0);
        if (i) c.n_layer = 3;
        else c.hidden = 10;
        Model *other = model_new(&c, &e);
        tiny_fill(other, 1, false);
        CHECK(folder_save(path_of("base"), other, &info, NULL, STORE_REAL, &e));
        CHECK_ERROR(!folder_load(path_of("adapter"), NULL, &e), e,
                    i ? "tensor base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight is missing"
                      : "found shape [3, 8], expected [3, 10]; the adapter belongs to another base");
        model_free(other), model_free(m);
    }
    Model *m = write_pair(0, &info);
    CHECK(remove(path_of("adapter/adapter_model.safetensors")) == 0);
    CHECK_ERROR(!folder_load(path_of("adapter"), NULL, &e), e, "adapter_model.safetensors");
    model_free(m);
    CHECK(folder_remove(dir, &e));
}

int main(void) {
    test_E290_order();
    test_E291_differences();
    test_E290_scale();
    test_targets();
    test_E292_E293_on_off_merged();
    test_E292_start();
    test_what_is_trained();
    test_base_stays();
    test_bf16_base();
    test_E294_round_trip();
    test_E294_as_peft_writes();
    test_E294_pattern();
    test_E294_saved_embeddings();
    test_refused();
    return test_end();
}
