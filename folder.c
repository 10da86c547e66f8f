/* folder.c: Hugging Face folders: config.json to ModelConfig and back, tensors by name and shape, tokenizer files copied.
 *
 * Files are read as if written by a liar; what would change the mathematics and is not computed here is refused by name. */
#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/rng.h"
#include "lib/safetensors.h"

/* ---- config.json, reading ---------------------------------------------------------------- */

static bool optional_int(int *out, const Json *o, const char *key, int otherwise, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *out = otherwise;
    return !v || v->type == JSON_NULL || json_get_int(o, key, out, file, e);
}

static bool optional_number(double *out, const Json *o, const char *key, double otherwise, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *out = otherwise;
    return !v || v->type == JSON_NULL || json_get_number(o, key, out, file, e);
}

static bool optional_bool(bool *out, const Json *o, const char *key, bool otherwise, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *out = otherwise;
    return !v || v->type == JSON_NULL || json_get_bool(o, key, out, file, e);
}

static bool read_architecture(ModelConfig *c, bool *classifier, const Json *o, const char *file, Err *e) {
    static const struct { const char *prefix, *model_type; Arch arch; } known[] = {
        {"Llama", "llama", ARCH_LLAMA}, {"Qwen2", "qwen2", ARCH_QWEN2}, {"Qwen3", "qwen3", ARCH_QWEN3}};
    const Json *list = json_get(o, "architectures"), *type = json_get(o, "model_type");
    const char *name = list && list->type == JSON_ARRAY && list->length && list->item[0].type == JSON_STRING ? list->item[0].string : NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t n = strlen(known[i].prefix);
        if (name ? strncmp(name, known[i].prefix, n) != 0 || (strcmp(name + n, "ForCausalLM") && strcmp(name + n, "ForSequenceClassification"))
                 : !type || type->type != JSON_STRING || strcmp(type->string, known[i].model_type)) continue;
        c->arch = known[i].arch;
        *classifier = name && strcmp(name + n, "ForSequenceClassification") == 0;
        return true;
    }
    return fail(e, "%s: architectures: found \"%s\", expected Llama, Qwen2 or Qwen3 with ForCausalLM or ForSequenceClassification; choose such a model",
                file, name ? name : type && type->type == JSON_STRING ? type->string : "nothing");
}

static bool read_rope(ModelConfig *c, const Json *o, const char *file, Err *e) {
    const Json *both = json_get(o, "rope_parameters"), *scaling = both && both->type == JSON_OBJECT ? both : json_get(o, "rope_scaling");
    const Json *theta = both && both->type == JSON_OBJECT && json_get(both, "rope_theta") ? both : o;
    if (!optional_number(&c->rope_theta, theta, "rope_theta", 10000, file, e)) return false;
    c->rope = ROPE_PLAIN;
    const Json *part = json_get(scaling, "partial_rotary_factor") ? json_get(scaling, "partial_rotary_factor") : json_get(o, "partial_rotary_factor");
    if (part && part->type != JSON_NULL && part->number != 1)
        return fail(e, "%s:%d:%d: partial_rotary_factor: expected 1: heads that turn in part are not computed here", file, part->line, part->column);
    if (!scaling || scaling->type != JSON_OBJECT) return true;
    const char *type = "default";
    if (json_get(scaling, "factor") && !json_get(scaling, "rope_type") && !json_get(scaling, "type"))
        return fail(e, "%s:%d:%d: rope_scaling has a factor but no rope_type; expected linear or llama3", file, scaling->line, scaling->column);
    if (json_get(scaling, "rope_type") ? !json_get_string(scaling, "rope_type", &type, file, e)
                                       : json_get(scaling, "type") && !json_get_string(scaling, "type", &type, file, e)) return false;
    if (strcmp(type, "default") == 0) return true;
    if (strcmp(type, "linear") == 0) c->rope = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0) c->rope = ROPE_LLAMA3;
    else return fail(e, "%s: rope_type: found \"%s\", expected default, linear or llama3; this scaling is not computed here", file, type);
    if (!json_get_number(scaling, "factor", &c->rope_factor, file, e)) return false;
    if (c->rope == ROPE_LINEAR) return c->rope_factor > 0 || fail(e, "%s: rope factor: found %g, expected more than 0", file, c->rope_factor);
    if (!json_get_number(scaling, "low_freq_factor", &c->rope_low, file, e) || !json_get_number(scaling, "high_freq_factor", &c->rope_high, file, e) ||
        !json_get_number(scaling, "original_max_position_embeddings", &c->rope_original, file, e)) return false;
    if (!(c->rope_factor > 0 && c->rope_low > 0 && c->rope_high > c->rope_low && c->rope_original > 0))
        return fail(e, "%s: rope_scaling: factor %g, low %g, high %g, original %g contradict each other", file, c->rope_factor, c->rope_low, c->rope_high, c->rope_original);
    return true;
}

/* The first of an id or a list of ids. */
static bool read_ids(int *id, int *n, int max, const Json *o, const char *key, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *n = 0;
    if (!v || v->type == JSON_NULL) return true;
    const Json *item = v->type == JSON_ARRAY ? v->item : v;
    const size_t count = v->type == JSON_ARRAY ? v->length : 1;
    for (size_t i = 0; i < count; i++) {
        if (item[i].type != JSON_NUMBER || item[i].number < 0 || item[i].number > 1e8 || item[i].number != floor(item[i].number) || *n == max)
            return fail(e, "%s:%d:%d: %s: expected a token id or a list of at most %d", file, item[i].line, item[i].column, key, max);
        id[(*n)++] = (int)item[i].number;
    }
    return true;
}

static bool read_labels(ModelConfig *c, FolderInfo *info, const Json *o, const char *file, Err *e) {
    const Json *names = json_get(o, "id2label"), *means = json_get(o, "reward_mean");
    int n = names && names->type == JSON_OBJECT ? (int)names->length : 1;
    if (!optional_int(&n, o, "num_labels", n, file, e)) return false;
    if (n < 1 || n > MAX_LABELS) return fail(e, "%s: num_labels: found %d, expected 1 to %d", file, n, MAX_LABELS);
    const Json *problem = json_get(o, "problem_type");
    if (problem && problem->type == JSON_STRING && strcmp(problem->string, "regression"))
        return fail(e, "%s: problem_type: found \"%s\", expected \"regression\"; a classifier's logits are no scores", file, problem->string);
    c->n_label = n;
    for (int k = 0; k < n; k++) {
        char key[16];
        snprintf(key, sizeof key, "%d", k);
        const Json *name = names ? json_get(names, key) : NULL;
        if (name && name->type == JSON_STRING) snprintf(info->label[k], sizeof info->label[k], "%.63s", name->string);
        else snprintf(info->label[k], sizeof info->label[k], "label_%d", k);
        info->reward_mean[k] = 0;
    }
    if (!means || means->type == JSON_NULL) return true;
    if (means->type != JSON_ARRAY || (int)means->length != n) return fail(e, "%s: reward_mean: expected a list of %d numbers", file, n);
    for (int k = 0; k < n; k++) {
        if (means->item[k].type != JSON_NUMBER) return fail(e, "%s: reward_mean: expected a list of %d numbers", file, n);
        info->reward_mean[k] = means->item[k].number;
    }
    return true;
}

static bool read_config(ModelConfig *c, FolderInfo *info, const Json *o, const char *file, Err *e) {
    bool classifier = false, window, attention_bias;
    double dropout;
    memset(c, 0, sizeof *c);
    memset(info, 0, sizeof *info);
    if (o->type != JSON_OBJECT) return fail(e, "%s: found %s, expected an object", file, json_type_name(o->type));
    if (!read_architecture(c, &classifier, o, file, e)) return false;
    if (!json_get_int(o, "vocab_size", &c->vocab, file, e) || !json_get_int(o, "hidden_size", &c->hidden, file, e) ||
        !json_get_int(o, "intermediate_size", &c->ffn, file, e) || !json_get_int(o, "num_hidden_layers", &c->n_layer, file, e) ||
        !json_get_int(o, "num_attention_heads", &c->n_head, file, e)) return false;
    if (!optional_int(&c->n_kv_head, o, "num_key_value_heads", c->n_head, file, e)) return false;
    const Json *dim = json_get(o, "head_dim");
    if (c->n_head > 0 && (!dim || dim->type == JSON_NULL) && c->arch != ARCH_QWEN3 && c->hidden % c->n_head)
        return fail(e, "%s: hidden_size %d is no multiple of num_attention_heads %d and there is no head_dim; mend the configuration", file, c->hidden, c->n_head);
    const int default_dim = c->arch == ARCH_QWEN3 ? 128 : c->n_head > 0 ? c->hidden / c->n_head : 0;
    if (!optional_int(&c->head_dim, o, "head_dim", default_dim, file, e) || !optional_int(&c->context, o, "max_position_embeddings", 2048, file, e) ||
        !optional_number(&c->norm_eps, o, "rms_norm_eps", 1e-6, file, e) || !optional_number(&c->init_std, o, "initializer_range", 0.02, file, e) ||
        !optional_bool(&c->tied, o, "tie_word_embeddings", false, file, e) || !optional_bool(&window, o, "use_sliding_window", false, file, e) ||
        !optional_bool(&attention_bias, o, "attention_bias", false, file, e) || !optional_bool(&c->mlp_bias, o, "mlp_bias", false, file, e) ||
        !optional_number(&dropout, o, "attention_dropout", 0, file, e) || !read_rope(c, o, file, e)) return false;
    const Json *layers = json_get(o, "layer_types");
    for (size_t i = 0; layers && layers->type == JSON_ARRAY && i < layers->length; i++)
        window = window || layers->item[i].type != JSON_STRING || strcmp(layers->item[i].string, "full_attention");
    if (window) return fail(e, "%s: use_sliding_window or layer_types: sliding windows are not computed here; choose a model without them", file);
    if (dropout != 0) return fail(e, "%s: attention_dropout: found %g, expected 0: dropout is not computed here", file, dropout);
    const Json *act = json_get(o, "hidden_act");
    if (act && (act->type != JSON_STRING || strcmp(act->string, "silu")))
        return fail(e, "%s: hidden_act: found \"%s\", expected \"silu\"", file, act->type == JSON_STRING ? act->string : json_type_name(act->type));
    c->qkv_bias = c->arch == ARCH_QWEN2 || attention_bias;
    c->o_bias = c->arch != ARCH_QWEN2 && attention_bias;
    c->mlp_bias = c->arch == ARCH_LLAMA && c->mlp_bias;
    c->qk_norm = c->arch == ARCH_QWEN3;
    int bos[1], n_bos, pad[1], n_pad;
    if (!read_ids(info->stop, &info->n_stop, MAX_STOPS, o, "eos_token_id", file, e) || !read_ids(bos, &n_bos, 1, o, "bos_token_id", file, e) ||
        !read_ids(pad, &n_pad, 1, o, "pad_token_id", file, e)) return false;
    c->eos = info->n_stop ? info->stop[0] : -1;
    c->bos = n_bos ? bos[0] : -1;
    c->pad = n_pad ? pad[0] : -1;
    if (classifier && !read_labels(c, info, o, file, e)) return false;
    return model_config_check(c, file, e);
}

bool folder_config(ModelConfig *c, FolderInfo *info, const char *dir, Err *e) {
    char path[1024];
    FolderInfo unused;
    if (!info) info = &unused;
    if (!path_join(path, sizeof path, dir, "config.json", e)) return false;
    Json *o = json_read_file(path, e);
    if (!o) return false;
    bool ok = read_config(c, info, o, path, e);
    json_free(o);
    if (!ok || !path_join(path, sizeof path, dir, "generation_config.json", e) || !path_exists(path)) return ok;
    Json *g = json_read_file(path, e);
    if (!g) return false;
    int stop[MAX_STOPS], n_stop, pad[1], n_pad;
    ok = read_ids(stop, &n_stop, MAX_STOPS, g, "eos_token_id", path, e) && read_ids(pad, &n_pad, 1, g, "pad_token_id", path, e);
    if (ok && n_stop) memcpy(info->stop, stop, sizeof stop), info->n_stop = n_stop;
    if (ok && n_pad && c->pad < 0) c->pad = pad[0];
    json_free(g);
    return ok;
}

/* ---- tensors ----------------------------------------------------------------------------- */

/* Tensors that a file may hold although no parameter of ours has the name. */
static bool is_harmless(const Model *m, const char *name) {
    return (strcmp(name, "lm_head.weight") == 0 && (m->head == m->embed || m->config.n_label)) || strstr(name, "rotary_emb.inv_freq") ||
           (strcmp(name, "score.weight") == 0 && !m->config.n_label);
}

static void shape_text(char *out, size_t size, const size_t *shape, int n_dim) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < n_dim && n < size; i++) n += (size_t)snprintf(out + n, size - n, "%s%zu", i ? ", " : "", shape[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

static bool load_tensors(Model *m, const char *dir, bool need_head, Err *e) {
    Safetensors *s = safetensors_open(dir, e);
    if (!s) return false;
    bool ok = true;
    for (int i = 0; ok && i < m->n_param; i++) {
        Param *p = &m->param[i];
        const Tensor *t = safetensors_find(s, p->name);
        if (!t && p == m->head && !need_head) continue;
        if (!t) { ok = fail(e, "%s: tensor %s is missing, which config.json asks for; config.json and weights do not belong together", dir, p->name); break; }
        const bool shape = p->is_matrix ? t->n_dim == 2 && t->shape[0] == (size_t)p->rows && t->shape[1] == (size_t)p->cols
                                        : t->n_dim == 1 && t->shape[0] == (size_t)p->cols;
        if (!shape && p == m->head && !need_head) continue;
        if (!shape) {
            char found[64], expected[64];
            shape_text(found, sizeof found, t->shape, t->n_dim);
            shape_text(expected, sizeof expected, p->is_matrix ? (size_t[]){(size_t)p->rows, (size_t)p->cols} : (size_t[]){(size_t)p->cols}, p->is_matrix ? 2 : 1);
            ok = fail(e, "%s: tensor %s: found shape %s, expected %s; config.json and weights do not belong together", dir, p->name, found, expected);
            break;
        }
        if (strcmp(t->dtype, "F32") && strcmp(t->dtype, "F16") && strcmp(t->dtype, "BF16") && strcmp(t->dtype, "F64")) {
            ok = fail(e, "%s: tensor %s: found dtype %s, expected F32, F16, BF16 or F64", dir, p->name, t->dtype);
            break;
        }
        store_to_real(p->data, t->data, t->store, t->count);
        for (size_t j = 0; ok && j < t->count; j++)
            if (!isfinite((double)((real *)p->data)[j])) ok = fail(e, "%s: tensor %s: element %zu is not finite; the file is damaged", dir, p->name, j);
    }
    for (int i = 0; ok && i < safetensors_count(s); i++) {
        const char *name = safetensors_at(s, i)->name;
        if (!model_find(m, name) && !is_harmless(m, name)) ok = fail(e, "%s: unknown tensor %s; config.json and weights do not belong together", dir, name);
    }
    safetensors_close(s);
    return ok;
}

Model *folder_load(const char *dir, FolderInfo *info, Err *e) {
    ModelConfig c;
    if (!folder_config(&c, info, dir, e)) return NULL;
    Model *m = model_new(&c, e);
    if (m && load_tensors(m, dir, true, e)) { model_pack(m); return m; }
    model_free(m);
    return NULL;
}

Model *folder_load_trunk(const char *dir, int n_label, uint64_t seed, Err *e) {
    ModelConfig c;
    if (!folder_config(&c, NULL, dir, e)) return NULL;
    c.n_label = n_label;
    Model *m = model_new(&c, e);
    if (!m) return NULL;
    model_init(m, seed);
    if (load_tensors(m, dir, false, e)) { model_pack(m); return m; }
    model_free(m);
    return NULL;
}

/* ---- writing ----------------------------------------------------------------------------- */

static void write_ids(JsonWriter *w, const char *key, const int *id, int n) {
    json_key(w, key);
    if (n == 0) json_null(w);
    else if (n == 1) json_int(w, id[0]);
    else {
        json_begin(w, '[');
        for (int i = 0; i < n; i++) json_int(w, id[i]);
        json_end(w, ']');
    }
}

static void write_config(JsonWriter *w, const ModelConfig *c, const FolderInfo *info, Store store) {
    static const char *const prefix[] = {"Llama", "Qwen2", "Qwen3"}, *const type[] = {"llama", "qwen2", "qwen3"};
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix[c->arch], c->n_label ? "ForSequenceClassification" : "ForCausalLM");
    json_begin(w, '{');
    json_key(w, "architectures"); json_begin(w, '['); json_string(w, name); json_end(w, ']');
    json_key(w, "model_type"); json_string(w, type[c->arch]);
    const struct { const char *key; int value; } size[] = {
        {"vocab_size", c->vocab}, {"hidden_size", c->hidden}, {"intermediate_size", c->ffn}, {"num_hidden_layers", c->n_layer},
        {"num_attention_heads", c->n_head}, {"num_key_value_heads", c->n_kv_head}, {"head_dim", c->head_dim}, {"max_position_embeddings", c->context}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) json_key(w, size[i].key), json_int(w, size[i].value);
    json_key(w, "hidden_act"); json_string(w, "silu");
    json_key(w, "rms_norm_eps"); json_number(w, c->norm_eps);
    json_key(w, "initializer_range"); json_number(w, c->init_std);
    json_key(w, "rope_theta"); json_number(w, c->rope_theta);
    json_key(w, "rope_scaling");
    if (c->rope == ROPE_PLAIN) json_null(w);
    else {
        json_begin(w, '{');
        json_key(w, "rope_type"); json_string(w, c->rope == ROPE_LINEAR ? "linear" : "llama3");
        json_key(w, "factor"); json_number(w, c->rope_factor);
        if (c->rope == ROPE_LLAMA3) {
            json_key(w, "low_freq_factor"); json_number(w, c->rope_low);
            json_key(w, "high_freq_factor"); json_number(w, c->rope_high);
            json_key(w, "original_max_position_embeddings"); json_int(w, (long long)c->rope_original);
        }
        json_end(w, '}');
    }
    json_key(w, "attention_bias"); json_bool(w, c->arch != ARCH_QWEN2 && c->qkv_bias);
    if (c->arch == ARCH_LLAMA) json_key(w, "mlp_bias"), json_bool(w, c->mlp_bias);
    json_key(w, "attention_dropout"); json_number(w, 0);
    if (c->arch != ARCH_LLAMA) json_key(w, "use_sliding_window"), json_bool(w, false);
    json_key(w, "tie_word_embeddings"); json_bool(w, c->tied);
    write_ids(w, "bos_token_id", &c->bos, c->bos >= 0);
    write_ids(w, "eos_token_id", info->stop, info->n_stop);
    write_ids(w, "pad_token_id", &c->pad, c->pad >= 0);
    if (c->n_label) {
        json_key(w, "num_labels"); json_int(w, c->n_label);
        json_key(w, "problem_type"); json_string(w, "regression");
        json_key(w, "id2label"); json_begin(w, '{');
        for (int k = 0; k < c->n_label; k++) { char key[16]; snprintf(key, sizeof key, "%d", k); json_key(w, key); json_string(w, info->label[k]); }
        json_end(w, '}');
        json_key(w, "label2id"); json_begin(w, '{');
        for (int k = 0; k < c->n_label; k++) json_key(w, info->label[k]), json_int(w, k);
        json_end(w, '}');
        json_key(w, "reward_mean"); json_begin(w, '[');
        for (int k = 0; k < c->n_label; k++) json_number(w, info->reward_mean[k]);
        json_end(w, ']');
    }
    json_key(w, "torch_dtype"); json_string(w, store == STORE_BF16 ? "bfloat16" : store == STORE_F32 || sizeof(real) == 4 ? "float32" : "float64");
    json_end(w, '}');
}

static bool write_json(const char *dir, const char *name, JsonWriter *w, Err *e) {
    char path[1024];
    json_raw(w, "\n");
    const bool ok = path_join(path, sizeof path, dir, name, e) && file_write(path, w->text, w->length, e);
    free(w->text);
    return ok;
}

static bool write_tensors(const char *dir, const Model *m, Store store, Err *e) {
    char path[1024];
    TensorOut *t = calloc((size_t)m->n_param, sizeof *t);
    if (!t) return fail(e, "%s: no memory for the list of tensors", dir);
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        t[i] = (TensorOut){.name = p->name, .store = store == STORE_REAL ? (sizeof(real) == 4 ? STORE_F32 : STORE_F64) : store, .data = p->data, .from = p->store};
        t[i].n_dim = p->is_matrix ? 2 : 1;
        t[i].shape[0] = (size_t)(p->is_matrix ? p->rows : p->cols);
        t[i].shape[1] = (size_t)p->cols;
    }
    const bool ok = path_join(path, sizeof path, dir, "model.safetensors", e) && safetensors_write(path, t, m->n_param, (const char *const[]){NULL}, e);
    free(t);
    return ok;
}

bool folder_save(const char *dir, const Model *m, const FolderInfo *info, const char *tokenizer_dir, Store store, Err *e) {
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};
    if (!folder_make(dir, e)) return false;
    JsonWriter w = {.indent = 2};
    write_config(&w, &m->config, info, store);
    if (!write_json(dir, "config.json", &w, e)) return false;
    char generation[1024];
    if (!path_join(generation, sizeof generation, dir, "generation_config.json", e)) return false;
    if (m->config.n_label) remove(generation);          /* a former language model's: its pad would be read as ours */
    else {
        JsonWriter g = {.indent = 2};
        json_begin(&g, '{');
        write_ids(&g, "bos_token_id", &m->config.bos, m->config.bos >= 0);
        write_ids(&g, "eos_token_id", info->stop, info->n_stop);
        write_ids(&g, "pad_token_id", &m->config.pad, m->config.pad >= 0);
        json_end(&g, '}');
        if (!write_json(dir, "generation_config.json", &g, e)) return false;
    }
    for (size_t i = 0; tokenizer_dir && strcmp(tokenizer_dir, dir) && i < sizeof files / sizeof *files; i++) {
        char from[1024], to[1024];
        if (!path_join(from, sizeof from, tokenizer_dir, files[i], e) || !path_join(to, sizeof to, dir, files[i], e)) return false;
        if (path_exists(from) && !file_copy(from, to, e)) return false;
    }
    return write_tensors(dir, m, store, e);
}

void folder_digest(const Model *m, char hex[65]) {
    Sha256 s;
    sha256_begin(&s);
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        char shape[64];
        const int n = snprintf(shape, sizeof shape, "[%d, %d]", p->rows, p->cols);
        sha256_add(&s, p->name, strlen(p->name) + 1);
        sha256_add(&s, shape, (size_t)n + 1);
        sha256_add(&s, p->data, param_count(p) * store_size(p->store));
    }
    sha256_end(&s, hex);
}
