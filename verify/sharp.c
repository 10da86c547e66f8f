/* sharp.c: tiny cases of our own in which every row of the catalogue gives a different number somewhere.
 *
 * One configuration cannot show all (a loss has one type), so it is a folder: three models, a dump a
 * configuration, and sharp.json, which says how to verify each. Batches have unequal lengths, cut
 * completions, missing labels, a group with one scored member, one without spread and one with hardly any,
 * ratios beyond both sides of the band and far beyond, a reference near and far, filters, a temperature. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/rng.h"
#include "verify/write.h"

enum {
    SHARP_ROWS = 12,
    SHARP_GROUP = 3,
    SHARP_COLUMNS = 6,
    SHARP_PROMPT = 3,
    SHARP_LABELS = 3,
    EOS = 2,
    VOCAB = 40
};
enum {
    SCORES = 1,
    TOKENS = 2,
    WHOLE_ROWS = 4,
    FAR_RATIO = 8,
    FAR_REFERENCE = 16,
    NEAR_REFERENCE = 32,
    SAMPLER = 64,
    MODEL = 128,
    PAD_IS_EOS = 256,
    HIGH_RATIO = 512,
    IN_TURN = 1024
};

static const struct { const char *name; int what; const char *config;
} cases[] = {
    {"scores-sum", SCORES | TOKENS, "\"scale_rewards\": \"group\""},
    {"scores-in-turn", SCORES | TOKENS | IN_TURN, "\"scale_rewards\": \"group\""},
    {"scores-batch", SCORES, "\"scale_rewards\": \"batch\""},
    {"scores-none", SCORES, "\"scale_rewards\": \"none\""},
    {"scores-gdpo", SCORES | TOKENS, "\"multi_objective_aggregation\": \"normalize_then_sum\""},
    {"scores-mo", SCORES, "\"multi_objective_aggregation\": \"mo_grpo\""},
    {"loss-grpo", TOKENS | WHOLE_ROWS,
     "\"loss_type\": \"grpo\", \"epsilon_high\": 0.28, \"beta\": 0.04, \"gradient_accumulation_steps\": 2, "
     "\"steps_per_generation\": 4, \"num_items_in_batch\": 170, "
     "\"top_entropy_quantile\": 0.5, \"entropy_coef\": 0.05, \"mask_truncated_completions\": true, "
     "\"max_completion_length\": 8"},
    {"loss-dapo", TOKENS | PAD_IS_EOS | HIGH_RATIO,
     "\"epsilon_high\": 0.28, \"beta\": 0.04, \"gradient_accumulation_steps\": 2, \"steps_per_generation\": "
     "4, \"num_items_in_batch\": 170, \"max_completion_length\": 8"},
    {"loss-masked", TOKENS, "\"loss_type\": \"bnpo\", \"mask_truncated_completions\": true"},
    {"loss-cispo", TOKENS, "\"loss_type\": \"cispo\", \"epsilon_high\": 0.3, \"beta\": 0.04"},
    {"loss-luspo", TOKENS, "\"loss_type\": \"luspo\", \"epsilon_high\": 0.3"},
    {"loss-sequence", TOKENS | FAR_RATIO,
     "\"loss_type\": \"grpo\", \"importance_sampling_level\": \"sequence\", \"beta\": 0.04"},
    {"loss-far", TOKENS | FAR_RATIO | FAR_REFERENCE,
     "\"loss_type\": \"bnpo\", \"beta\": 0.04, \"use_bias_correction_kl\": false"},
    {"loss-delta", TOKENS | HIGH_RATIO, "\"loss_type\": \"grpo\", \"delta\": 1.5"},
    {"near-reference", TOKENS | NEAR_REFERENCE,
     "\"loss_type\": \"grpo\", \"beta\": 0.04, \"use_bias_correction_kl\": false"},
    {"sampler-sequence", TOKENS | SAMPLER, "\"vllm_importance_sampling_mode\": \"sequence_truncate\""},
    {"sampler-token", TOKENS | SAMPLER, "\"vllm_importance_sampling_mode\": \"token_truncate\""},
    {"model", SCORES | MODEL,
     "\"loss_type\": \"dr_grpo\", \"max_completion_length\": 1000, \"beta\": 0.04, \"temperature\": 0.7, "
     "\"top_k\": 12, \"step\": 3, \"learning_rate\": 0.01, \"weight_decay\": 0.1, "
     "\"adam_epsilon\": 1e-4, \"max_grad_norm\": 1e-4, \"epsilon_high\": 0.28"},
};
enum { N_CASE = sizeof cases / sizeof *cases };

static double draw(uint64_t what, uint64_t a, uint64_t b) {
    return rng_uniform(20260101, RNG_INIT, what, a, b, 0);
}
static double between(double low, double high, uint64_t what, uint64_t a, uint64_t b) {
    return low + (high - low) * draw(what, a, b);
}

/* ---- models ---- */
/* A Qwen3 with biases, a tied head, scaled rotary positions, and settings that no default has. noise:
 * distance from the policy. */
static bool write_model(const char *dir, const char *name, double noise, Err *e) {
    const ModelConfig c = {.arch = ARCH_QWEN3, .vocab = VOCAB, .hidden = 16, .ffn = 24, .n_layer = 2,
                           .n_head = 4, .n_kv_head = 2, .head_dim = 8, .context = 64, .tied = true,
                           .qkv_bias = true, .o_bias = true, .qk_norm = true, .norm_eps = 1e-3,
                           .rope_theta = 5000, .init_std = 0.02, .rope = ROPE_LLAMA3, .rope_factor = 8,
                           .rope_low = 1, .rope_high = 4, .rope_original = 16, .bos = -1, .eos = EOS,
                           .pad = 0};
    FolderInfo info = {.stop = {EOS}, .n_stop = 1};
    char path[1200];
    Model *m = path_join(path, sizeof path, dir, name, e) ? model_new(&c, e) : NULL;
    for (int i = 0; m && i < m->n_param; i++)
        for (size_t j = 0; j < param_count(&m->param[i]); j++) {
            const bool norm = strstr(m->param[i].name, "norm.weight") != NULL;
            ((real *)m->param[i].data)[j] =
                (real)(float)((norm ? 1 : 0) + between(-0.5, 0.5, 1, (uint64_t)i, j) +
                              noise * between(-1, 1, 2, (uint64_t)i, j));
        }
    if (m) model_pack(m);
    const bool ok = m && folder_save(path, m, &info, NULL, STORE_F32, e);
    model_free(m);
    return ok;
}

/* ---- one batch of inputs ---- */
typedef struct {
    TensorOut t[160];
    int n;
    Pool p;
    Err *e;
} Inputs;

static void *input(Inputs *x, const char *name, const char *dtype, size_t size, size_t rows, size_t cols) {
    void *data = pool_take(&x->p, rows * (cols ? cols : 1), size, x->e);
    x->t[x->n++] = (TensorOut){.name = name, .store = sizeof(real) == 4 ? STORE_F32 : STORE_F64,
                               .n_dim = cols ? 2 : 1, .shape = {rows, cols}, .data = data, .from = STORE_REAL,
                               .dtype = dtype};
    return data;
}

static const int lengths[SHARP_ROWS] = {6, 3, 5, 1, 6, 2, 4, 6, 3, 2, 5, 4};
/* completions that end without a stop token */
static bool is_cut(int i) { return i == 4 || i == 7; }

static void put_ids(Inputs *x, int what) {
    const bool whole = what & WHOLE_ROWS;
    const size_t width = SHARP_COLUMNS + (whole ? SHARP_PROMPT : 0), start = whole ? SHARP_PROMPT : 0;
    int32_t *id = input(x, whole ? "input_ids" : "completion_ids", "I32", sizeof *id, SHARP_ROWS, width);
    unsigned char *mask = input(x, "completion_mask", "U8", 1, SHARP_ROWS, width),
                  *attention = whole ? input(x, "attention_mask", "U8", 1, SHARP_ROWS, width) : NULL;
    int32_t *prompt = whole ? NULL : input(x, "prompt_ids", "I32", sizeof *prompt, SHARP_ROWS, SHARP_PROMPT);
    unsigned char *prompt_mask = input(x, "prompt_mask", "U8", 1, SHARP_ROWS, whole ? width : SHARP_PROMPT);
    if (x->e->line[0]) return;
    for (int i = 0; i < SHARP_ROWS; i++) {
        const int group = what & IN_TURN ? i % (SHARP_ROWS / SHARP_GROUP) : i / SHARP_GROUP;
        /* one prompt is shorter: padding on its right, in whole rows on its left */
        for (size_t t = 0; t < SHARP_PROMPT; t++) {
            const bool real_token = group != 1 || (whole ? t > 0 : t + 1 < SHARP_PROMPT);
            const int token =
                real_token ? 3 + (int)(draw(3, (uint64_t)group, t) * (VOCAB - 3)) : 0;
            if (whole)
                id[(size_t)i * width + t] = token, attention[(size_t)i * width + t] =
                                                       prompt_mask[(size_t)i * width + t] = real_token;
            else
                prompt[i * SHARP_PROMPT + (int)t] = token,
                                          prompt_mask[i * SHARP_PROMPT + (int)t] = real_token;
        }
        for (size_t t = 0; t < SHARP_COLUMNS; t++) {
            const size_t j = (size_t)i * width + start + t;
            const bool real_token = (int)t < lengths[i], last = (int)t == lengths[i] - 1;
            id[j] = !real_token          ? what & PAD_IS_EOS ? EOS : 0
                    : last && !is_cut(i) ? EOS
                                         : 3 + (int)(draw(4, (uint64_t)i, t) * (VOCAB - 3));
            mask[j] = real_token;
            if (whole) attention[j] = real_token;
        }
    }
}

static void put_rewards(Inputs *x) {
    real *score = input(x, "rewards_per_func", NULL, sizeof(real), SHARP_ROWS, SHARP_LABELS);
    for (int i = 0; score && i < SHARP_ROWS; i++)
        for (int k = 0; k < SHARP_LABELS; k++) {
            real *s = &score[i * SHARP_LABELS + k];
            *s = (real)between(0.1, 0.9, 5, (uint64_t)i, (uint64_t)k);
            if (i == 1 && k == 2) *s = (real)NAN;                               /* one label of one member */
            if (i >= 3 && i < 6) *s = (real)(0.25 * (k + 1));                   /* no spread */
            if (i == 6 || i == 8) *s = (real)NAN;                               /* one scored member */
            if (i >= 9) *s = (real)(0.5 + 1e-5 * ((i + k) % 3) * (k + 1));      /* hardly any spread */
        }
}

static void put_tokens(Inputs *x, int what) {
    const bool whole = what & WHOLE_ROWS;
    const size_t width = SHARP_COLUMNS + (whole ? SHARP_PROMPT : 0);
    static const double tilt[SHARP_ROWS] = {1, -1, 1, -1, 0.5, 0, -1, 1, 0, 1, -0.2, -1};
    real *logp = input(x, "per_token_logps", NULL, sizeof *logp, SHARP_ROWS, width),
         *old = input(x, "old_per_token_logps", NULL, sizeof *old, SHARP_ROWS, width);
    real *ref = input(x, "ref_per_token_logps", NULL, sizeof *ref, SHARP_ROWS, width),
         *entropy = input(x, "entropies", NULL, sizeof *entropy, SHARP_ROWS, width);
    real *sampler = !(what & SAMPLER) ? NULL : input(x, "sampling_per_token_logps", NULL, sizeof *sampler,
                                                     SHARP_ROWS, width);
    if (x->e->line[0]) return;
    for (int i = 0; i < SHARP_ROWS; i++)
        for (size_t t = 0; t < width; t++) {
            const size_t j = (size_t)i * width + t;
            double lr = between(-0.4, 0.4, 6, (uint64_t)i, t) + 0.35 * tilt[i],
                   d = between(-0.5, 0.5, 7, (uint64_t)i, t);
            if (what & FAR_RATIO) lr = i == 0 ? 12 : i == 1 && t == 1 ? 22 : lr;
            if (what & HIGH_RATIO && t == 0) lr = 1.4;
            if (what & NEAR_REFERENCE) d *= 2e-3;
            if (what & FAR_REFERENCE && t == 0) d = 3;
            logp[j] = (real)between(-3, -0.5, 8, (uint64_t)i, t);
            old[j] = (real)(logp[j] - lr);
            ref[j] = (real)(logp[j] + d);
            entropy[j] = (real)between(0.1, 2.5, 9, (uint64_t)i, t);
            if (sampler) sampler[j] = (real)(old[j] - between(-0.2, 0.9, 10, (uint64_t)i, t));
        }
    if (what & SCORES) return;
    real *reward = input(x, "rewards", NULL, sizeof *reward, SHARP_ROWS, 0);
    for (int i = 0; reward && i < SHARP_ROWS; i++)
        reward[i] = (real)(i / SHARP_GROUP == 1 ? 0.5 : between(0, 1, 11, (uint64_t)i, 0));
}

/* Moments as two steps before have left them, for the third. */
static void put_moments(Inputs *x, const Model *m) {
    for (int i = 0; i < m->n_param; i++)
        for (int k = 0; k < 2; k++) {
            const Param *q = &m->param[i];
            char *name = pool_take(&x->p, 160, 1, x->e);
            if (!name) return;
            snprintf(name, 160, "%s%s", k ? "exp_avg_sq." : "exp_avg.", q->name);
            real *to = input(x, name, NULL, sizeof *to, q->is_matrix ? (size_t)q->rows : param_count(q),
                             q->is_matrix ? (size_t)q->cols : 0);
            for (size_t j = 0; to && j < param_count(q); j++) {
                const double g = 1e-5 * between(-1, 1, 12, (uint64_t)i, j);
                to[j] = (real)(k ? 2e-3 * g * g : 0.2 * g);
            }
        }
}

/* ---- the folder ---- */
static bool write_case(const char *dir, int k, const Policies *all, const FolderInfo *info, Err *e) {
    char path[1200], inputs[1220], file[80], config[1200];
    Inputs x = {.e = e};
    Pool p = {0};
    Dump d, from;
    Case c;
    snprintf(file, sizeof file, "%s.safetensors", cases[k].name);
    if (!path_join(path, sizeof path, dir, file, e)) return false;
    snprintf(inputs, sizeof inputs, "%s.inputs", path);
    snprintf(config, sizeof config, "{\"num_generations\": %d, \"eos_token_id\": %d, \"pad_token_id\": %d%s, "
             "%s}", SHARP_GROUP, EOS, cases[k].what & PAD_IS_EOS ? EOS : 0,
             cases[k].what & SCORES ? ", \"reward_weights\": [1.0, 0.5, 2.0]" : "", cases[k].config);
    put_ids(&x, cases[k].what);
    if (cases[k].what & SCORES) put_rewards(&x);
    if (cases[k].what & TOKENS) put_tokens(&x, cases[k].what);
    if (cases[k].what & MODEL) put_moments(&x, all->policy);
    const char *const metadata[] = {"format", "grpo-dump-1", "config", config, NULL};
    const Policies none = {NULL, NULL, NULL}, *model = cases[k].what & MODEL ? all : &none;
    bool ok =
        !e->line[0] && safetensors_write(inputs, x.t, x.n, metadata, e) && dump_open(&from, inputs, NULL, e);
    if (ok) {
        ok = !model->policy || dump_model(&from, &model->policy->config, info, dir, e);
        dump_inputs(&d, &from, model->policy != NULL, model->old != NULL, model->reference != NULL);
        ok = ok && case_open(&c, &d, model, &p, e) && write_golden(path, &c, e);
        pool_free(&p);
        dump_close(&from);
    }
    remove(inputs);
    pool_free(&x.p);
    return ok;
}

bool write_sharp(const char *dir, Err *e) {
    static const struct {
        const char *name;
        double noise;
    } models[] = {{"policy", 0}, {"old", 0.03}, {"reference", 0.1}};
    char path[1200];
    Model *m[3] = {NULL, NULL, NULL};
    FolderInfo info;
    if (!folder_is_empty(dir, NULL))
        return fail(e, "%s: found a folder with content, expected an empty or new one", dir);
    bool ok = folder_make(dir, e);
    for (int i = 0; ok && i < 3; i++)
        ok = write_model(dir, models[i].name, models[i].noise, e) &&
             path_join(path, sizeof path, dir, models[i].name, e) && (m[i] = folder_load(path, &info, e));
    const Policies all = {m[0], m[1], m[2]};
    JsonWriter w = {.indent = 1};
    json_begin(&w, '{');
    for (int k = 0; ok && k < N_CASE; k++) {
        char file[80];
        snprintf(file, sizeof file, "%s.safetensors", cases[k].name);
        ok = write_case(dir, k, &all, &info, e);
        json_open(&w, file, '{');
        json_key(&w, "model");
        if (cases[k].what & MODEL) json_string(&w, "policy");
        else json_null(&w);
        json_open(&w, "options", '[');
        if (cases[k].what & MODEL)
            json_string(&w, "--old-model"), json_string(&w, "old"), json_string(&w, "--ref-model"),
                json_string(&w, "reference");
        json_end(&w, ']');
        json_end(&w, '}');
    }
    json_end(&w, '}');
    json_raw(&w, "\n");
    ok = ok && path_join(path, sizeof path, dir, "sharp.json", e) && json_save(path, &w, e);
    free(w.text);
    for (int i = 0; i < 3; i++) model_free(m[i]);
    return ok;
}
