/* test_folder.c: folders written and read back, and what is refused on reading. */
#include "net/folder.h"

#include "lib/files.h"
#include "lib/safetensors.h"
#include "tests/tiny.h"

static const char *const dir = sizeof(real) == 4 ? "build/test_folder_f32" : "build/test_folder_f64";

static FolderInfo info_of(const Model *m) {
    FolderInfo info = {.stop = {2, 11}, .n_stop = 2};
    for (int k = 0; k < m->config.n_label; k++) {
        snprintf(info.label[k], sizeof info.label[k], "label %c\"%d", 'a' + k, k);
        info.reward_mean[k] = 0.1 * k - 1.0 / 3;
    }
    return info;
}

static const char *path_of(const char *name) {
    static char path[1024];
    Err e = {{0}};
    CHECK(path_join(path, sizeof path, dir, name, &e));
    return path;
}

/* ---- written and read back --------------------------------------------------------------- */

static void test_round_trip(void) {
    for (int k = 0; k < TINY_COUNT; k++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            Model *m = tiny_model(k);
            Err e = {{0}};
            m->config.bos = 1, m->config.eos = 2, m->config.pad = k % 2 ? 0 : -1;
            FolderInfo info = info_of(m), got;
            CHECK(folder_save(dir, m, &info, NULL, bf16 ? STORE_BF16 : STORE_REAL, &e));
            Model *r = folder_load(dir, &got, &e);
            CHECK(r != NULL);
            if (!r) { printf("%s\n", e.line); model_free(m); continue; }
            CHECK(path_exists(path_of("generation_config.json")) == !m->config.n_label);
            const ModelConfig a = m->config, b = r->config;
            CHECK(a.arch == b.arch && a.vocab == b.vocab && a.hidden == b.hidden && a.ffn == b.ffn &&
                  a.n_layer == b.n_layer && a.n_head == b.n_head);
            CHECK(a.n_kv_head == b.n_kv_head && a.head_dim == b.head_dim && a.context == b.context &&
                  a.n_label == b.n_label);
            CHECK(a.tied == b.tied && a.qkv_bias == b.qkv_bias && a.o_bias == b.o_bias &&
                  a.mlp_bias == b.mlp_bias && a.qk_norm == b.qk_norm);
            CHECK(a.norm_eps == b.norm_eps && a.rope_theta == b.rope_theta && a.init_std == b.init_std &&
                  a.rope == b.rope && a.rope_factor == b.rope_factor);
            CHECK(a.rope_low == b.rope_low && a.rope_high == b.rope_high &&
                  a.rope_original == b.rope_original);
            CHECK_INT(b.bos, 1);
            CHECK_INT(b.eos, 2);
            CHECK_INT(b.pad, a.pad);
            CHECK_INT(got.n_stop, 2);
            CHECK_INT(got.stop[1], 11);
            for (int l = 0; l < a.n_label; l++) {
                CHECK_STRING(got.label[l], info.label[l]);
                CHECK(got.reward_mean[l] == info.reward_mean[l]);
            }
            CHECK_INT(r->n_trainable, m->n_trainable);
            if (!bf16) CHECK_INT(tiny_differ(r->weights, m->weights, m->n_trainable), 0);
            else {
                double off = 0;
                for (size_t j = 0; j < m->n_trainable; j++)
                    off =
                        fmax(off, fabs((double)m->weights[j] - r->weights[j]) / fabs((double)m->weights[j]));
                CHECK(off > 0.0005 && off < 0.004);     /* half a bit of eight */
            }
            /* ready to compute: the packed copies are there */
            const int id[3] = {3, 1, 4};
            const Segment seg = {0, 3, -1};
            const Batch batch = {.n_row = 3, .n_seg = 1, .id = id, .seg = &seg};
            Acts *x = acts_new(m, 3, 0, false, &e), *y = acts_new(r, 3, 0, false, &e);
            const real *hm = model_forward(x, m, &batch), *hr = model_forward(y, r, &batch);
            if (!bf16) CHECK_INT(tiny_differ(hm, hr, 3 * (size_t)a.hidden), 0);
            else CHECK_NEAR(hr[a.hidden], hm[a.hidden], 0.1);
            char before[65], after[65];
            folder_digest(m, before), folder_digest(r, after);
            CHECK((strcmp(before, after) == 0) == !bf16);
            acts_free(x), acts_free(y);
            model_free(r), model_free(m);
        }
}

static void test_trunk_under_new_head(void) {
    for (int k = 0; k < 4; k++) {
        Model *m = tiny_model(k);
        Err e = {{0}};
        FolderInfo info = info_of(m);
        CHECK(folder_save(dir, m, &info, NULL, STORE_REAL, &e));
        ModelConfig c;
        CHECK(folder_config(&c, NULL, dir, &e));
        c.n_label = 4;
        Model *a = folder_load_as(dir, &c, 7, &e), *b = folder_load_as(dir, &c, 8, &e);
        CHECK(a && b);
        CHECK_INT(a->config.n_label, 4);
        CHECK_STRING(a->head->name, "score.weight");
        CHECK_INT(tiny_differ(a->embed->data, m->embed->data, param_count(m->embed)), 0);
        CHECK_INT(tiny_differ(a->layer[1][P_DOWN]->data, m->layer[1][P_DOWN]->data,
                              param_count(m->layer[1][P_DOWN])),
                  0);
        CHECK(tiny_differ(a->head->data, b->head->data, param_count(a->head)) > 20);
        CHECK(!model_find(a, "lm_head.weight"));
        model_free(a), model_free(b), model_free(m);
    }
}

static void test_tokenizer_files(void) {
    Model *m = tiny_model(0);
    Err e = {{0}};
    FolderInfo info = info_of(m);
    char from[1024], file[1100];
    snprintf(from, sizeof from, "%s_tokenizer", dir);
    CHECK(folder_make(from, &e));
    snprintf(file, sizeof file, "%s/tokenizer.json", from);
    CHECK(file_write(file, "{}\n", 3, &e));
    CHECK(folder_save(dir, m, &info, from, STORE_REAL, &e));
    CHECK(path_exists(path_of("tokenizer.json")) && !path_exists(path_of("tokenizer_config.json")));
    CHECK(folder_save(dir, m, &info, dir, STORE_REAL, &e));             /* itself: stays */
    CHECK(path_exists(path_of("tokenizer.json")));
    CHECK(folder_remove(from, &e));
    model_free(m);
}

/* ---- what is refused --------------------------------------------------------------------- */

/* The folder of network k, with the first `found` of config.json replaced. */
static void write_folder(int k, const char *found, const char *instead) {
    Model *m = tiny_model(k);
    Err e = {{0}};
    FolderInfo info = info_of(m);
    CHECK(folder_save(dir, m, &info, NULL, STORE_REAL, &e));
    model_free(m);
    if (!found) return;
    size_t n;
    char *text = file_read(path_of("config.json"), &n, &e), *at = text ? strstr(text, found) : NULL;
    CHECK(at != NULL);
    if (!at) { printf("    %s is not in config.json\n", found); return; }
    char *changed = malloc(n + strlen(instead) + 1);
    const int length = sprintf(changed, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(found));
    CHECK(file_write(path_of("config.json"), changed, (size_t)length, &e));
    free(changed);
    free(text);
}

static void refuse(int k, const char *found, const char *instead, const char *part) {
    Err e = {{0}};
    write_folder(k, found, instead);
    Model *m = folder_load(dir, NULL, &e);
    if (!m) CHECK(strstr(e.line, dir) != NULL);         /* names the file */
    CHECK_ERROR(!m, e, part);
    model_free(m);
}

static ModelConfig accept(int k, const char *found, const char *instead) {
    Err e = {{0}};
    ModelConfig c = {0};
    write_folder(k, found, instead);
    Model *m = folder_load(dir, NULL, &e);
    CHECK(m != NULL);
    if (m) c = m->config;
    else printf("%s\n", e.line);
    model_free(m);
    return c;
}

static void test_configurations_refused(void) {
    refuse(0, "LlamaForCausalLM", "MixtralForCausalLM", "MixtralForCausalLM");
    refuse(0, "LlamaForCausalLM", "LlamaForTokenClassification", "LlamaForTokenClassification");
    /* twice the same key */
    refuse(0, "\"architectures\"", "\"other\": [], \"model_type\": \"gpt2\", \"x\"", "model_type");
    refuse(0, "\"silu\"", "\"gelu\"", "hidden_act");
    refuse(3, "\"use_sliding_window\": false",
           "\"use_sliding_window\": true, \"max_window_layers\": 1, \"sliding_window\": 4", "sliding");
    refuse(0, "\"architectures\": [",
           "\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": 4, \"x\": [", "sliding");
    refuse(5, "\"use_sliding_window\": false", "\"layer_types\": [\"full_attention\", \"chunked_attention\"]",
           "chunked_attention");
    refuse(5, "\"use_sliding_window\": false", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
           "sliding");
    refuse(0, "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2}", "yarn");
    refuse(0, "\"rope_scaling\": null", "\"rope_scaling\": {\"factor\": 2}", "no rope_type");
    refuse(0, "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}", "factor");
    refuse(0, "\"rope_scaling\": null", "\"partial_rotary_factor\": 0.5", "partial_rotary_factor");
    refuse(2, "\"low_freq_factor\": 1", "\"low_freq_factor\": 4", "contradict");
    refuse(0, "\"num_attention_heads\": 4", "\"num_attention_heads\": 3", "multiple");
    refuse(0, "\"head_dim\": 6", "\"head_dim\": 5", "even");
    refuse(0, "\"hidden_size\": 8", "\"hidden_size\": -8", "hidden_size");
    refuse(0, "\"hidden_size\": 8", "\"hidden_size\": 8.5", "hidden_size");
    refuse(0, "\"hidden_size\": 8", "\"hidden_sizes\": 8", "hidden_size");
    refuse(0, "\"vocab_size\": 13", "\"vocab_size\": 1e300", "vocab_size");
    refuse(0, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 100000", "num_hidden_layers");
    refuse(0, "\"num_attention_heads\": 4", "\"num_attention_heads\": 4000000", "head_dim");
    refuse(0, "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", "rms_norm_eps");
    refuse(0, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": \"yes\"", "tie_word_embeddings");
    /* 128 million weights of few bytes, which could as well be terabytes: refused before memory is taken */
    refuse(0, "\"vocab_size\": 13", "\"vocab_size\": 16000000", "config.json asks for 128");
    refuse(0, "{", "[{", "config.json");
    refuse(TINY_LABELS, "\"num_labels\": 3", "\"num_labels\": 0", "num_labels");
    refuse(TINY_LABELS, "\"num_labels\": 3", "\"num_labels\": 33", "num_labels");
    refuse(TINY_LABELS, "\"num_labels\": 3", "\"num_labels\": 2", "reward_mean");
    refuse(TINY_LABELS, "\"regression\"", "\"single_label_classification\"", "problem_type");
    Err e = {{0}};
    CHECK_ERROR(!folder_load("build/no_such_folder", NULL, &e), e, "build/no_such_folder");
}

/* Other ways to say the same. */
static void test_configurations_accepted(void) {
    ModelConfig c = accept(0, "\"rope_theta\": 10000,", "");
    CHECK(c.rope_theta == 10000);
    c = accept(0, "\"rope_theta\": 10000,",
               "\"rope_parameters\": {\"rope_theta\": 5000, \"rope_type\": \"default\"},");
    CHECK(c.rope_theta == 5000 && c.rope == ROPE_PLAIN);
    c = accept(0, "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}");
    CHECK(c.rope == ROPE_LINEAR && c.rope_factor == 4);
    c = accept(0, "\"rope_theta\": 10000,",
               "\"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"llama3\", \"factor\": 8, "
               "\"low_freq_factor\": 1, "
               "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32},");
    CHECK(c.rope == ROPE_LLAMA3 && c.rope_theta == 7 && c.rope_high == 4 && c.rope_original == 32);
    c = accept(0, "\"architectures\"", "\"archs\"");                    /* model_type is enough */
    CHECK(c.arch == ARCH_LLAMA);
    c = accept(3, "\"head_dim\": 4,", "");
    CHECK_INT(c.head_dim, 4);
    c = accept(3, "\"head_dim\": 4,", "\"head_dim\": null,");
    CHECK_INT(c.head_dim, 4);
    /* windows that no layer uses: as many full layers as there are, no width, or one that spans the text */
    accept(3, "\"use_sliding_window\": false", "\"use_sliding_window\": true, \"sliding_window\": 4");
    accept(3, "\"use_sliding_window\": false",
           "\"use_sliding_window\": true, \"sliding_window\": null, \"max_window_layers\": 0");
    accept(3, "\"use_sliding_window\": false",
           "\"use_sliding_window\": true, \"sliding_window\": 4096, \"max_window_layers\": 0");
    accept(5, "\"use_sliding_window\": false", "\"use_sliding_window\": true, \"sliding_window\": 4, "
           "\"layer_types\": [\"full_attention\", \"full_attention\"]");
    c = accept(0, "\"architectures\": [",
               "\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": null, \"x\": [");
    CHECK(c.arch == ARCH_LLAMA);
    c = accept(0, "\"pad_token_id\": null", "\"pad_token_id\": -1");
    CHECK_INT(c.pad, -1);
    /* only who trains minds it */
    accept(0, "\"attention_dropout\": 0", "\"attention_dropout\": 0.1");
    c = accept(0, "\"eos_token_id\"", "\"transformers_version\": \"5.0\", \"something_new\"");
    CHECK_INT(c.eos, -1);
}

static bool write_weights(const Model *m, const char *leave_out, const char *extra, const char *turned,
                          Err *e) {
    TensorOut out[64];
    int n = 0;
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        if (leave_out && !strcmp(p->name, leave_out)) continue;
        out[n] = (TensorOut){.name = p->name, .store = STORE_F32, .n_dim = p->is_matrix ? 2 : 1,
                             .data = p->data, .from = STORE_REAL};
        const bool turn = turned && !strcmp(p->name, turned);
        out[n].shape[0] = (size_t)(p->is_matrix && !turn ? p->rows : p->cols);
        out[n].shape[1] = (size_t)(turn ? p->rows : p->cols);
        if (turn && !p->is_matrix) out[n].n_dim = 2;
        n++;
    }
    if (extra)
        out[n++] = (TensorOut){.name = extra, .store = STORE_F32, .n_dim = 1, .shape = {3},
                               .data = m->weights, .from = STORE_REAL};
    return safetensors_write(path_of("model.safetensors"), out, n, (const char *const[]){NULL}, e);
}

/* The weights of a tied model with a head beside the embedding, or in its place. */
static bool write_tied(const Model *m, bool embed, const real *head, Err *e) {
    TensorOut out[64];
    int n = 0;
    for (int i = embed ? 0 : 1; i < m->n_param + 1; i++) {
        const Param *p = &m->param[i % m->n_param];
        out[n] = (TensorOut){.name = i == m->n_param ? "lm_head.weight" : p->name, .store = STORE_REAL,
                             .n_dim = p->is_matrix ? 2 : 1, .from = STORE_REAL};
        out[n].store = sizeof(real) == 4 ? STORE_F32 : STORE_F64;
        out[n].data = i == m->n_param ? head : p->data;
        out[n].shape[0] = (size_t)(p->is_matrix ? p->rows : p->cols);
        out[n++].shape[1] = (size_t)p->cols;
    }
    return safetensors_write(path_of("model.safetensors"), out, n, (const char *const[]){NULL}, e);
}

/* tie_word_embeddings is true, and the file holds an lm_head.weight: a copy is nothing new; other numbers are
 * the head, as in transformers 5 (they were dropped without a word once); alone it is the embedding too. */
static void test_tied_head_in_the_file(void) {
    Err e = {{0}};
    Model *m = tiny_model(0);
    CHECK(m->config.tied && m->head == m->embed);
    const size_t n = param_count(m->embed), size = n * sizeof(real);
    real *own = malloc(size);
    memcpy(own, m->embed->data, size);
    write_folder(0, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        const bool embed = i != 1, apart = i == 2;
        if (apart) own[n - 1] += (real)0.5;
        CHECK(write_tied(m, embed, own, &e));
        Model *r = folder_load(dir, NULL, &e);
        CHECK(r != NULL);
        if (!r) { printf("%s\n", e.line); break; }
        CHECK(r->config.tied == !apart && (r->head == r->embed) == !apart);
        CHECK_INT(tiny_differ(r->embed->data, m->embed->data, n), 0);
        CHECK_INT(tiny_differ(r->head->data, own, n), 0);
        model_free(r);
    }
    free(own), model_free(m);
}

/* transformers writes neither num_labels nor id2label of two labels. */
static void test_unnamed_labels(void) {
    Err e = {{0}};
    FolderInfo info;
    size_t n;
    write_folder(TINY_LABELS, "\"num_labels\": 3,", "");
    char *text = file_read(path_of("config.json"), &n, &e), *from = strstr(text, "\"id2label\""),
         *to = strstr(text, "\"torch_dtype\"");
    CHECK(from && to);
    if (from && to) memmove(from, to, strlen(to) + 1);
    CHECK(file_write(path_of("config.json"), text, strlen(text), &e));
    Model *r = folder_load(dir, &info, &e);
    CHECK(r && r->config.n_label == 3);
    CHECK_STRING(info.label[2], "label_2");
    free(text), model_free(r);
}

static void refuse_weights(int k, const char *leave_out, const char *extra, const char *turned,
                           const char *part) {
    Err e = {{0}};
    Model *m = tiny_model(k);
    write_folder(k, NULL, NULL);
    CHECK(write_weights(m, leave_out, extra, turned, &e));
    Model *r = folder_load(dir, NULL, &e);
    if (part) CHECK_ERROR(!r, e, part);
    else CHECK(r != NULL);
    model_free(r), model_free(m);
}

static void test_weights_refused(void) {
    refuse_weights(3, NULL, NULL, NULL, NULL);          /* the writer of this test itself */
    refuse_weights(3, "model.layers.1.self_attn.k_proj.bias", NULL, NULL,
                   "model.layers.1.self_attn.k_proj.bias is missing");
    refuse_weights(3, "lm_head.weight", NULL, NULL, "lm_head.weight is missing");
    refuse_weights(3, "model.norm.weight", NULL, NULL, "model.norm.weight is missing");
    refuse_weights(3, NULL, "model.layers.2.self_attn.k_proj.bias", NULL,
                   "unknown tensor model.layers.2.self_attn.k_proj.bias");
    refuse_weights(3, NULL, NULL, "model.layers.0.mlp.up_proj.weight",
                   "found shape [8, 12], expected [12, 8]");
    refuse_weights(3, NULL, NULL, "model.norm.weight", "found shape [8, 1], expected [8]");
    refuse_weights(3, NULL, "model.layers.0.self_attn.rotary_emb.inv_freq", NULL, NULL);
    refuse_weights(0, NULL, "lm_head.weight", NULL, "lm_head.weight: found shape [3], expected");
    refuse_weights(TINY_LABELS, "score.weight", NULL, NULL, "score.weight is missing");
    Err e = {{0}};
    Model *m = tiny_model(5);
    ((real *)m->layer[1][P_QN]->data)[2] = (real)INFINITY;
    write_folder(5, NULL, NULL);
    CHECK(write_weights(m, NULL, NULL, NULL, &e));
    CHECK_ERROR(!folder_load(dir, NULL, &e), e,
                "model.layers.1.self_attn.q_norm.weight: element 2 is not finite");
    model_free(m);
    CHECK(file_write(path_of("model.safetensors"), "short", 5, &e));
    CHECK_ERROR(!folder_load(dir, NULL, &e), e, "model.safetensors");
    remove(path_of("model.safetensors"));
    CHECK_ERROR(!folder_load(dir, NULL, &e), e, dir);
    remove(path_of("config.json"));
    CHECK_ERROR(!folder_load(dir, NULL, &e), e, "config.json");
    /* the weights of one network, the configuration of another */
    write_folder(0, NULL, NULL);
    m = tiny_model(4);
    CHECK(write_weights(m, NULL, NULL, NULL, &e));
    CHECK_ERROR(!folder_load(dir, NULL, &e), e, "expected");
    model_free(m);
}

static void test_stop_ids(void) {
    Err e = {{0}};
    ModelConfig c;
    FolderInfo info;
    write_folder(0, NULL, NULL);
    static const char one[] = "{\"eos_token_id\": 7, \"pad_token_id\": 5}",
                      bad[] = "{\"eos_token_id\": [1, -2]}",
                      many[] = "{\"eos_token_id\": [1,2,3,4,5,6,7,8,9]}";
    CHECK(file_write(path_of("generation_config.json"), one, sizeof one - 1, &e) &&
          folder_config(&c, &info, dir, &e));
    CHECK_INT(info.n_stop, 1);
    CHECK_INT(info.stop[0], 7);
    CHECK_INT(c.pad, 5);
    CHECK(file_write(path_of("generation_config.json"), bad, sizeof bad - 1, &e));
    CHECK_ERROR(!folder_config(&c, &info, dir, &e), e, "eos_token_id");
    CHECK(file_write(path_of("generation_config.json"), many, sizeof many - 1, &e));
    CHECK_ERROR(!folder_config(&c, &info, dir, &e), e, "at most 8");
    remove(path_of("generation_config.json"));
    CHECK(folder_config(&c, &info, dir, &e));
    CHECK_INT(info.n_stop, 2);                          /* config.json's */
}

/* A changed bit, name or shape changes the digest. */
static void test_digest(void) {
    Model *a = tiny_model(4);
    char first[65], now[65];
    folder_digest(a, first);
    CHECK_INT(strlen(first), 64);
    ((real *)a->layer[0][P_V]->data)[5] = -((real *)a->layer[0][P_V]->data)[5];
    folder_digest(a, now);
    CHECK(strcmp(first, now) != 0);
    ((real *)a->layer[0][P_V]->data)[5] = -((real *)a->layer[0][P_V]->data)[5];
    a->layer[0][P_GATE]->rows = 24, a->layer[0][P_GATE]->cols = 6;
    folder_digest(a, now);
    CHECK(strcmp(first, now) != 0);
    model_free(a);
}

int main(void) {
    Err e = {{0}};
    CHECK(folder_remove(dir, &e) || !path_exists(dir));
    e.line[0] = 0;
    test_round_trip();
    test_trunk_under_new_head();
    test_tokenizer_files();
    test_configurations_refused();
    test_configurations_accepted();
    test_weights_refused();
    test_tied_head_in_the_file();
    test_unnamed_labels();
    test_stop_ids();
    test_digest();
    CHECK(folder_remove(dir, &e));
    return test_end();
}
