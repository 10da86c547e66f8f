/* folder.c: Hugging Face folders: config.json to ModelConfig and back, tensors by name and shape, tokenizer
 * files copied; adapters as PEFT writes them (E294).
 *
 * Files are read as if written by a liar; what would change the mathematics and is not computed here is
 * refused by name. */
#include "net/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/rng.h"
#include "lib/safetensors.h"
#include "net/adapter.h"

enum { CHUNK = 4096 };                  /* numbers converted at once */

/* ---- config.json, reading ---- */

static bool config_says(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type != JSON_NULL;
}

static bool config_int(int *out, const Json *o, const char *key, int otherwise, const char *file, Err *e) {
    *out = otherwise;
    return !config_says(o, key) || json_get_int(o, key, out, file, e);
}

static bool config_number(double *out, const Json *o, const char *key, double otherwise, const char *file,
                          Err *e) {
    *out = otherwise;
    return !config_says(o, key) || json_get_number(o, key, out, file, e);
}

static bool config_bool(bool *out, const Json *o, const char *key, bool otherwise, const char *file, Err *e) {
    *out = otherwise;
    return !config_says(o, key) || json_get_bool(o, key, out, file, e);
}

static bool config_architecture(ModelConfig *c, bool *classifier, const Json *o, const char *file, Err *e) {
    static const struct { const char *prefix, *model_type; Arch arch; } known[] = {
        {"Llama", "llama", ARCH_LLAMA}, {"Qwen2", "qwen2", ARCH_QWEN2}, {"Qwen3", "qwen3", ARCH_QWEN3}};
    const Json *list = json_get(o, "architectures"), *type = json_get(o, "model_type");
    const char *name = list && list->type == JSON_ARRAY && list->length && list->item[0].type == JSON_STRING
                           ? list->item[0].string
                           : NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t n = strlen(known[i].prefix);
        if (name ? strncmp(name, known[i].prefix, n) != 0 ||
                       (strcmp(name + n, "ForCausalLM") && strcmp(name + n, "ForSequenceClassification"))
                 : !type || type->type != JSON_STRING || strcmp(type->string, known[i].model_type))
            continue;
        c->arch = known[i].arch;
        *classifier = name && strcmp(name + n, "ForSequenceClassification") == 0;
        return true;
    }
    if (!name) name = type && type->type == JSON_STRING ? type->string : "nothing";
    return fail(e, "%s: architectures: found \"%s\", expected Llama, Qwen2 or Qwen3 with ForCausalLM or "
                "ForSequenceClassification; choose such a model", file, name);
}

static bool config_rope(ModelConfig *c, const Json *o, const char *file, Err *e) {
    const Json *both = json_get(o, "rope_parameters"),
               *scaling = both && both->type == JSON_OBJECT ? both : json_get(o, "rope_scaling");
    const Json *theta = both && both->type == JSON_OBJECT && json_get(both, "rope_theta") ? both : o;
    if (!config_number(&c->rope_theta, theta, "rope_theta", 10000, file, e)) return false;
    c->rope = ROPE_PLAIN;
    const Json *part = json_get(scaling, "partial_rotary_factor") ? json_get(scaling, "partial_rotary_factor")
                                                                  : json_get(o, "partial_rotary_factor");
    if (part && part->type != JSON_NULL && part->number != 1)
        return fail(e, "%s:%d:%d: partial_rotary_factor: expected 1: heads that turn in part are not "
                    "computed here", file, part->line, part->column);
    if (!scaling || scaling->type != JSON_OBJECT) return true;
    const char *type = "default";
    if (json_get(scaling, "factor") && !json_get(scaling, "rope_type") && !json_get(scaling, "type"))
        return fail(e, "%s:%d:%d: rope_scaling has a factor but no rope_type; expected linear or llama3",
                    file, scaling->line, scaling->column);
    if (json_get(scaling, "rope_type")
            ? !json_get_string(scaling, "rope_type", &type, file, e)
            : json_get(scaling, "type") && !json_get_string(scaling, "type", &type, file, e))
        return false;
    if (strcmp(type, "default") == 0) return true;
    if (strcmp(type, "linear") == 0) c->rope = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0) c->rope = ROPE_LLAMA3;
    else
        return fail(e, "%s: rope_type: found \"%s\", expected default, linear or llama3; this scaling is not "
                    "computed here", file, type);
    if (!json_get_number(scaling, "factor", &c->rope_factor, file, e)) return false;
    if (c->rope == ROPE_LINEAR)
        return c->rope_factor > 0 ||
               fail(e, "%s: rope factor: found %g, expected more than 0", file, c->rope_factor);
    if (!json_get_number(scaling, "low_freq_factor", &c->rope_low, file, e) ||
        !json_get_number(scaling, "high_freq_factor", &c->rope_high, file, e) ||
        !json_get_number(scaling, "original_max_position_embeddings", &c->rope_original, file, e))
        return false;
    if (!(c->rope_factor > 0 && c->rope_low > 0 && c->rope_high > c->rope_low && c->rope_original > 0))
        return fail(e, "%s: rope_scaling: factor %g, low %g, high %g, original %g contradict each other",
                    file, c->rope_factor, c->rope_low, c->rope_high, c->rope_original);
    return true;
}

/* The first of an id or a list of ids. */
static bool config_ids(int *id, int *n, int max, const Json *o, const char *key, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *n = 0;
    if (!v || v->type == JSON_NULL) return true;
    const Json *item = v->type == JSON_ARRAY ? v->item : v;
    const size_t count = v->type == JSON_ARRAY ? v->length : 1;
    for (size_t i = 0; i < count; i++) {
        if (item[i].type != JSON_NUMBER || item[i].number < 0 || item[i].number > 1e8 ||
            item[i].number != floor(item[i].number) || *n == max)
            return fail(e, "%s:%d:%d: %s: expected a token id or a list of at most %d", file, item[i].line,
                        item[i].column, key, max);
        id[(*n)++] = (int)item[i].number;
    }
    return true;
}

static bool config_labels(ModelConfig *c, FolderInfo *info, const Json *o, const char *file, Err *e) {
    const Json *names = json_get(o, "id2label"), *means = json_get(o, "reward_mean");
    int n = names && names->type == JSON_OBJECT ? (int)names->length : 1;
    if (!config_int(&n, o, "num_labels", n, file, e)) return false;
    if (n < 1 || n > MAX_LABELS)
        return fail(e, "%s: num_labels: found %d, expected 1 to %d", file, n, MAX_LABELS);
    const Json *problem = json_get(o, "problem_type");
    if (problem && problem->type == JSON_STRING && strcmp(problem->string, "regression"))
        return fail(e, "%s: problem_type: found \"%s\", expected \"regression\"; a classifier's logits are "
                    "no scores", file, problem->string);
    c->n_label = n;
    if (!config_bool(&info->value_model, o, "value_model", false, file, e)) return false;
    for (int k = 0; k < n; k++) {
        char key[16];
        snprintf(key, sizeof key, "%d", k);
        const Json *name = names ? json_get(names, key) : NULL;
        if (name && name->type == JSON_STRING)
            snprintf(info->label[k], sizeof info->label[k], "%.63s", name->string);
        else snprintf(info->label[k], sizeof info->label[k], "label_%d", k);
        info->reward_mean[k] = 0;
    }
    if (!means || means->type == JSON_NULL) return true;
    if (means->type != JSON_ARRAY || (int)means->length != n)
        return fail(e, "%s: reward_mean: expected a list of %d numbers", file, n);
    for (int k = 0; k < n; k++) {
        if (means->item[k].type != JSON_NUMBER)
            return fail(e, "%s: reward_mean: expected a list of %d numbers", file, n);
        info->reward_mean[k] = means->item[k].number;
    }
    return true;
}

static bool config_read(ModelConfig *c, FolderInfo *info, const Json *o, const char *file, Err *e) {
    bool classifier = false, window, attention_bias;
    double dropout;
    memset(c, 0, sizeof *c);
    memset(info, 0, sizeof *info);
    if (o->type != JSON_OBJECT)
        return fail(e, "%s: found %s, expected an object", file, json_type_name(o->type));
    if (!config_architecture(c, &classifier, o, file, e)) return false;
    if (!json_get_int(o, "vocab_size", &c->vocab, file, e) ||
        !json_get_int(o, "hidden_size", &c->hidden, file, e) ||
        !json_get_int(o, "intermediate_size", &c->ffn, file, e) ||
        !json_get_int(o, "num_hidden_layers", &c->n_layer, file, e) ||
        !json_get_int(o, "num_attention_heads", &c->n_head, file, e))
        return false;
    if (!config_int(&c->n_kv_head, o, "num_key_value_heads", c->n_head, file, e)) return false;
    const Json *dim = json_get(o, "head_dim");
    if (c->n_head > 0 && (!dim || dim->type == JSON_NULL) && c->arch != ARCH_QWEN3 && c->hidden % c->n_head)
        return fail(e, "%s: hidden_size %d is no multiple of num_attention_heads %d and there is no "
                    "head_dim; mend the configuration", file, c->hidden, c->n_head);
    const int default_dim = c->arch == ARCH_QWEN3 ? 128 : c->n_head > 0 ? c->hidden / c->n_head : 0;
    if (!config_int(&c->head_dim, o, "head_dim", default_dim, file, e) ||
        !config_int(&c->context, o, "max_position_embeddings", 2048, file, e) ||
        !config_number(&c->norm_eps, o, "rms_norm_eps", 1e-6, file, e) ||
        !config_number(&c->init_std, o, "initializer_range", 0.02, file, e) ||
        !config_bool(&c->tied, o, "tie_word_embeddings", false, file, e) ||
        !config_bool(&window, o, "use_sliding_window", false, file, e) ||
        !config_bool(&attention_bias, o, "attention_bias", false, file, e) ||
        !config_bool(&c->mlp_bias, o, "mlp_bias", false, file, e) ||
        !config_number(&dropout, o, "attention_dropout", 0, file, e) || !config_rope(c, o, file, e))
        return false;
    const Json *layers = json_get(o, "layer_types");
    for (size_t i = 0; layers && layers->type == JSON_ARRAY && i < layers->length; i++)
        window =
            window || layers->item[i].type != JSON_STRING || strcmp(layers->item[i].string, "full_attention");
    if (window)
        return fail(e, "%s: use_sliding_window or layer_types: sliding windows are not computed here; choose "
                    "a model without them", file);
    if (dropout != 0)
        return fail(e, "%s: attention_dropout: found %g, expected 0: dropout is not computed here", file,
                    dropout);
    const Json *act = json_get(o, "hidden_act");
    if (act && (act->type != JSON_STRING || strcmp(act->string, "silu")))
        return fail(e, "%s: hidden_act: found \"%s\", expected \"silu\"", file,
                    act->type == JSON_STRING ? act->string : json_type_name(act->type));
    c->qkv_bias = c->arch == ARCH_QWEN2 || attention_bias;
    c->o_bias = c->arch != ARCH_QWEN2 && attention_bias;
    c->mlp_bias = c->arch == ARCH_LLAMA && c->mlp_bias;
    c->qk_norm = c->arch == ARCH_QWEN3;
    int bos[1], n_bos, pad[1], n_pad;
    if (!config_ids(info->stop, &info->n_stop, MAX_STOPS, o, "eos_token_id", file, e) ||
        !config_ids(bos, &n_bos, 1, o, "bos_token_id", file, e) ||
        !config_ids(pad, &n_pad, 1, o, "pad_token_id", file, e))
        return false;
    c->eos = info->n_stop ? info->stop[0] : -1;
    c->bos = n_bos ? bos[0] : -1;
    c->pad = n_pad ? pad[0] : -1;
    if (classifier && !config_labels(c, info, o, file, e)) return false;
    return model_config_check(c, file, e);
}

/* ---- an adapter and its base ---- */

bool folder_is_adapter(const char *dir) {
    char path[1024];
    Err e = {{0}};
    return path_join(path, sizeof path, dir, adapter_config_name, &e) && path_exists(path);
}

bool folder_base(char out[1024], const char *dir, Err *e) {
    AdapterConfig adapter;
    snprintf(out, 1024, "%s", dir);
    if (!folder_is_adapter(dir)) return true;
    if (!adapter_read(&adapter, dir, e)) return false;
    snprintf(out, 1024, "%s", adapter.base);
    if (*out != '/' && !path_is_folder(out) && !path_join(out, 1024, dir, adapter.base, e)) return false;
    if (!path_is_folder(out))
        return fail(e, "%s/%s: base_model_name_or_path: there is no folder \"%s\"; write the base model's "
                    "folder there", dir, adapter_config_name, adapter.base);
    return !folder_is_adapter(out) ||
           fail(e, "%s: its base %s is an adapter itself; make a whole model of that first with grpo merge",
                dir, out);
}

bool folder_tokenizer(char out[1024], const char *dir, Err *e) {
    char path[1024];
    snprintf(out, 1024, "%s", dir);
    if (!folder_is_adapter(dir)) return true;
    return path_join(path, sizeof path, dir, "tokenizer.json", e) &&
           (path_exists(path) || folder_base(out, dir, e));
}

bool folder_same_tokenizer(bool *same, const char *a, const char *b, Err *e) {
    const char *const dir[] = {a, b};
    char home[1024], path[1100], *text[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    bool ok = true;
    for (int k = 0; ok && k < 2; k++)
        ok = folder_tokenizer(home, dir[k], e) && path_join(path, sizeof path, home, "tokenizer.json", e) &&
             (text[k] = file_read(path, &n[k], e));
    *same = ok && n[0] == n[1] && !memcmp(text[0], text[1], n[0]);
    free(text[0]);
    free(text[1]);
    return ok;
}

/* ---- a folder's configuration ---- */

static bool config_of_folder(ModelConfig *c, FolderInfo *info, const char *dir, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, "config.json", e)) return false;
    Json *o = json_read_file(path, e);
    if (!o) return false;
    bool ok = config_read(c, info, o, path, e);
    json_free(o);
    if (!ok || !path_join(path, sizeof path, dir, "generation_config.json", e) || !path_exists(path))
        return ok;
    Json *g = json_read_file(path, e);
    if (!g) return false;
    int stop[MAX_STOPS], n_stop, pad[1], n_pad;
    ok = config_ids(stop, &n_stop, MAX_STOPS, g, "eos_token_id", path, e) &&
         config_ids(pad, &n_pad, 1, g, "pad_token_id", path, e);
    if (ok && n_stop) memcpy(info->stop, stop, sizeof stop), info->n_stop = n_stop;
    if (ok && n_pad && c->pad < 0) c->pad = pad[0];
    json_free(g);
    return ok;
}

/* PEFT says nowhere how many scores there are: the tensor does. */
static bool adapter_label_count(int *n, const char *dir, Err *e) {
    char path[1024];
    Safetensors *s =
        path_join(path, sizeof path, dir, adapter_tensors_name, e) ? safetensors_open(path, e) : NULL;
    if (!s) return false;
    const Tensor *t = safetensors_find(s, adapter_head_name);
    const bool ok = t && t->n_dim == 2 && t->shape[0] >= 1 && t->shape[0] <= MAX_LABELS;
    if (ok) *n = (int)t->shape[0];
    else fail(e, "%s: %s: expected 1 to %d rows, one a score: task_type is SEQ_CLS", path, adapter_head_name,
              MAX_LABELS);
    safetensors_close(s);
    return ok;
}

bool folder_config(ModelConfig *c, FolderInfo *info, const char *dir, Err *e) {
    char base[1024], own[1024];
    FolderInfo unused;
    AdapterConfig adapter;
    if (!info) info = &unused;
    if (!folder_is_adapter(dir)) return config_of_folder(c, info, dir, e);
    if (!adapter_read(&adapter, dir, e) || !folder_base(base, dir, e) ||
        !path_join(own, sizeof own, dir, "config.json", e))
        return false;
    /* own: written by us, has the labels' names */
    if (!config_of_folder(c, info, adapter.classifier && path_exists(own) ? dir : base, e)) return false;
    if (adapter.classifier && !c->n_label) {
        if (!adapter_label_count(&c->n_label, dir, e)) return false;
        for (int k = 0; k < c->n_label; k++) snprintf(info->label[k], sizeof info->label[k], "label_%d", k);
    }
    if (!adapter.classifier) c->n_label = 0;
    memcpy(info->base, adapter.base, sizeof info->base);
    c->lora = adapter.lora;
    return true;
}

/* ---- tensors ---- */

/* Tensors that a file may hold although no parameter of ours has the name. */
static bool tensor_is_harmless(const Model *m, const char *name) {
    return (strcmp(name, "lm_head.weight") == 0 && (m->head == m->embed || m->config.n_label)) ||
           strstr(name, "rotary_emb.inv_freq") || (strcmp(name, "score.weight") == 0 && !m->config.n_label);
}

static void tensor_shape_text(char *out, size_t size, const size_t *shape, int n_dim) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < n_dim && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%zu", i ? ", " : "", shape[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

static bool tensor_has_shape(const Tensor *t, const Param *p) {
    return p->is_matrix ? t->n_dim == 2 && t->shape[0] == (size_t)p->rows && t->shape[1] == (size_t)p->cols
                        : t->n_dim == 1 && t->shape[0] == (size_t)p->cols;
}

/* The remedy, if shapes do not agree. */
static const char *const base_mixed = "config.json and weights do not belong together",
                         *const adapter_mixed = "the adapter belongs to another base";

/* Frozen numbers are rounded to base_store, also the vectors, which are kept in real. */
static bool tensor_load(Param *p, const Tensor *t, Store base_store, const char *file, const char *mixed,
                        Err *e) {
    if (!tensor_has_shape(t, p)) {
        char found[64], expected[64];
        tensor_shape_text(found, sizeof found, t->shape, t->n_dim);
        const size_t shape[] = {(size_t)p->rows, (size_t)p->cols};
        tensor_shape_text(expected, sizeof expected, shape + !p->is_matrix, p->is_matrix ? 2 : 1);
        return fail(e, "%s: tensor %s: found shape %s, expected %s; %s", file, t->name, found, expected,
                    mixed);
    }
    if (strcmp(t->dtype, "F32") && strcmp(t->dtype, "F16") && strcmp(t->dtype, "BF16") &&
        strcmp(t->dtype, "F64"))
        return fail(e, "%s: tensor %s: found dtype %s, expected F32, F16, BF16 or F64", file, t->name,
                    t->dtype);
    real x[CHUNK];
    double rounded[CHUNK];                              /* room for any store */
    const size_t in = store_size(t->store), out = store_size(p->store);
    for (size_t j = 0, n; j < t->count; j += n) {
        n = t->count - j < CHUNK ? t->count - j : CHUNK;
        store_to_real(x, (const unsigned char *)t->data + j * in, t->store, n);
        if (!p->trainable && base_store != STORE_REAL)
            store_from_real(rounded, x, base_store, n), store_to_real(x, rounded, base_store, n);
        for (size_t i = 0; i < n; i++)
            if (!isfinite((double)x[i]))
                return fail(e, "%s: tensor %s: element %zu is not finite; the file is damaged", file, t->name,
                            j + i);
        store_from_real((unsigned char *)p->data + j * out, x, p->store, n);
    }
    return true;
}

/* The network's own parameters. A reward model's head may be absent, or be another model's: it stays as it is
 * then. */
static bool folder_load_base(Model *m, const char *dir, bool need_head, Err *e) {
    Safetensors *s = safetensors_open(dir, e);
    if (!s) return false;
    bool ok = true;
    for (int i = 0; ok && i < m->n_base; i++) {
        Param *p = &m->param[i];
        const Tensor *t = safetensors_find(s, p->name);
        if (p == m->head && !need_head && (!t || !tensor_has_shape(t, p))) continue;
        ok = t ? tensor_load(p, t, m->config.base_store, dir, base_mixed, e)
               : fail(e, "%s: tensor %s is missing, which config.json asks for; %s", dir, p->name,
                      base_mixed);
    }
    for (int i = 0; ok && i < safetensors_count(s); i++) {
        const char *name = safetensors_at(s, i)->name;
        if (!model_find(m, name) && !tensor_is_harmless(m, name))
            ok = fail(e, "%s: unknown tensor %s; %s", dir, name, base_mixed);
    }
    safetensors_close(s);
    return ok;
}

static bool folder_load_adapter(Model *m, const char *dir, bool need_head, Err *e) {
    static const char prefix[] = "base_model.model.";
    char path[1024];
    Safetensors *s =
        path_join(path, sizeof path, dir, adapter_tensors_name, e) ? safetensors_open(path, e) : NULL;
    if (!s) return false;
    bool ok = true;
    int n_found = 0;
    for (int i = 0; ok && i < m->n_param; i++) {
        Param *p = &m->param[i];
        const bool head = p == m->head && m->config.n_label;
        if (i < m->n_base && !head) continue;
        const Tensor *t = safetensors_find(s, head ? adapter_head_name : p->name);
        n_found += t != NULL;
        if (head && !need_head && (!t || !tensor_has_shape(t, p))) continue;
        ok = t ? tensor_load(p, t, m->config.base_store, path, adapter_mixed, e)
               : fail(e, "%s: tensor %s is missing; %s, or not every layer is adapted alike", path,
                      head ? adapter_head_name : p->name, adapter_mixed);
    }
    for (int i = 0; ok && i < safetensors_count(s) && n_found < safetensors_count(s); i++) {
        const char *name = safetensors_at(s, i)->name;
        const bool head = strcmp(name, adapter_head_name) == 0 && (m->config.n_label || !need_head);
        const Param *p = model_find(m, name);
        if (!head && (!p || strncmp(name, prefix, sizeof prefix - 1)))
            ok = fail(e, "%s: unknown tensor %s; %s", path, name, adapter_mixed);
    }
    safetensors_close(s);
    return ok;
}

/* strict: the folder has to hold everything. Else what it may lack has been drawn from seed. */
static Model *folder_open(const char *dir, const ModelConfig *c, bool strict, uint64_t seed, Err *e) {
    char base[1024];
    const bool adapter = folder_is_adapter(dir), need_head = strict || !c->n_label;
    Model *m = folder_base(base, dir, e) ? model_new(c, e) : NULL;
    if (!m) return NULL;
    if (!strict) model_init_new(m, seed);
    if (folder_load_base(m, base, need_head && !(adapter && c->n_label), e) &&
        (!adapter || folder_load_adapter(m, dir, need_head, e))) {
        model_pack(m);
        return m;
    }
    model_free(m);
    return NULL;
}

Model *folder_load(const char *dir, FolderInfo *info, Err *e) {
    ModelConfig c;
    return folder_config(&c, info, dir, e) ? folder_open(dir, &c, true, 0, e) : NULL;
}

Model *folder_load_as(const char *dir, const ModelConfig *c, uint64_t seed, Err *e) {
    return folder_open(dir, c, false, seed, e);
}

/* ---- writing ---- */

static void config_write_ids(JsonWriter *w, const char *key, const int *id, int n) {
    json_key(w, key);
    if (n == 0) json_null(w);
    else if (n == 1) json_int(w, id[0]);
    else {
        json_begin(w, '[');
        for (int i = 0; i < n; i++) json_int(w, id[i]);
        json_end(w, ']');
    }
}

static void config_write(JsonWriter *w, const ModelConfig *c, const FolderInfo *info, Store store) {
    static const char *const prefix[] = {"Llama", "Qwen2", "Qwen3"}, *const type[] = {"llama", "qwen2",
                                                                                      "qwen3"};
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix[c->arch],
             c->n_label ? "ForSequenceClassification" : "ForCausalLM");
    json_begin(w, '{');
    json_open(w, "architectures", '['); json_string(w, name); json_end(w, ']');
    json_put_string(w, "model_type", type[c->arch]);
    json_put_int(w, "vocab_size", c->vocab);
    json_put_int(w, "hidden_size", c->hidden);
    json_put_int(w, "intermediate_size", c->ffn);
    json_put_int(w, "num_hidden_layers", c->n_layer);
    json_put_int(w, "num_attention_heads", c->n_head);
    json_put_int(w, "num_key_value_heads", c->n_kv_head);
    json_put_int(w, "head_dim", c->head_dim);
    json_put_int(w, "max_position_embeddings", c->context);
    json_put_string(w, "hidden_act", "silu");
    json_put(w, "rms_norm_eps", c->norm_eps);
    json_put(w, "initializer_range", c->init_std);
    json_put(w, "rope_theta", c->rope_theta);
    json_key(w, "rope_scaling");
    if (c->rope == ROPE_PLAIN) json_null(w);
    else {
        json_begin(w, '{');
        json_put_string(w, "rope_type", c->rope == ROPE_LINEAR ? "linear" : "llama3");
        json_put(w, "factor", c->rope_factor);
        if (c->rope == ROPE_LLAMA3) {
            json_put(w, "low_freq_factor", c->rope_low);
            json_put(w, "high_freq_factor", c->rope_high);
            json_put_int(w, "original_max_position_embeddings", (long long)c->rope_original);
        }
        json_end(w, '}');
    }
    json_put_bool(w, "attention_bias", c->arch != ARCH_QWEN2 && c->qkv_bias);
    if (c->arch == ARCH_LLAMA) json_put_bool(w, "mlp_bias", c->mlp_bias);
    json_put(w, "attention_dropout", 0);
    if (c->arch != ARCH_LLAMA) json_put_bool(w, "use_sliding_window", false);
    json_put_bool(w, "tie_word_embeddings", c->tied);
    config_write_ids(w, "bos_token_id", &c->bos, c->bos >= 0);
    config_write_ids(w, "eos_token_id", info->stop, info->n_stop);
    config_write_ids(w, "pad_token_id", &c->pad, c->pad >= 0);
    if (c->n_label) {
        json_put_int(w, "num_labels", c->n_label);
        json_put_string(w, "problem_type", "regression");
        json_open(w, "id2label", '{');
        for (int k = 0; k < c->n_label; k++) {
            char key[16];
            snprintf(key, sizeof key, "%d", k);
            json_put_string(w, key, info->label[k]);
        }
        json_end(w, '}');
        json_open(w, "label2id", '{');
        for (int k = 0; k < c->n_label; k++) json_put_int(w, info->label[k], k);
        json_end(w, '}');
        json_open(w, "reward_mean", '[');
        for (int k = 0; k < c->n_label; k++) json_number(w, info->reward_mean[k]);
        json_end(w, ']');
        if (info->value_model) json_put_bool(w, "value_model", true);
    }
    json_put_string(w, "torch_dtype", store == STORE_BF16 ? "bfloat16"
                                    : store == STORE_F32 || sizeof(real) == 4 ? "float32" : "float64");
    json_end(w, '}');
}

static bool folder_write_json(const char *dir, const char *name, JsonWriter *w, Err *e) {
    char path[1024];
    json_raw(w, "\n");
    const bool ok = path_join(path, sizeof path, dir, name, e) && file_write(path, w->text, w->length, e);
    free(w->text);
    return ok;
}

static void tensor_declare(TensorOut *t, const Param *p, const char *name, Store store) {
    *t = (TensorOut){.name = name,
                     .store = store == STORE_REAL ? (sizeof(real) == 4 ? STORE_F32 : STORE_F64) : store,
                     .data = p->data, .from = p->store};
    t->n_dim = p->is_matrix ? 2 : 1;
    t->shape[0] = (size_t)(p->is_matrix ? p->rows : p->cols);
    t->shape[1] = (size_t)p->cols;
}

/* The network's own tensors, or those of its adapter and with them a reward model's head. */
static bool folder_write_tensors(const char *dir, const Model *m, bool adapter, Store store, Err *e) {
    char path[1024];
    TensorOut *t = calloc((size_t)m->n_param, sizeof *t);
    if (!t) return fail(e, "%s: no memory for the list of tensors", dir);
    int n = 0;
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        if (adapter && p == m->head && m->config.n_label)
            tensor_declare(&t[n++], p, adapter_head_name, store);
        else if (adapter == (i >= m->n_base)) tensor_declare(&t[n++], p, p->name, store);
    }
    const bool ok =
        path_join(path, sizeof path, dir, adapter ? adapter_tensors_name : "model.safetensors", e) &&
        safetensors_write(path, t, n, (const char *const[]){NULL}, e);
    free(t);
    return ok;
}

static bool folder_copy_tokenizer(const char *dir, const char *from_dir, Err *e) {
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja"};
    char source[1024], from[1024], to[1024];
    if (!folder_tokenizer(source, from_dir, e)) return false;
    for (size_t i = 0; strcmp(source, dir) && i < sizeof files / sizeof *files; i++) {
        if (!path_join(from, sizeof from, source, files[i], e) || !path_join(to, sizeof to, dir, files[i], e))
            return false;
        if (path_exists(from) && !file_copy(from, to, e)) return false;
    }
    return true;
}

/* Our ids, and whatever else from_dir says about how to draw. One that cannot be read is no reason to lose a
 * trained model. */
static void config_write_generation(JsonWriter *w, const Model *m, const FolderInfo *info,
                                    const char *from_dir) {
    char base[1024], path[1024];
    Err e = {{0}};
    Json *from = from_dir && folder_base(base, from_dir, &e) &&
                         path_join(path, sizeof path, base, "generation_config.json", &e)
                     ? json_read_file(path, &e)
                     : NULL;
    json_begin(w, '{');
    config_write_ids(w, "bos_token_id", &m->config.bos, m->config.bos >= 0);
    config_write_ids(w, "eos_token_id", info->stop, info->n_stop);
    config_write_ids(w, "pad_token_id", &m->config.pad, m->config.pad >= 0);
    for (size_t i = 0; from && from->type == JSON_OBJECT && i < from->length; i++) {
        const char *key = from->item[i].key;
        if (!strcmp(key, "bos_token_id") || !strcmp(key, "eos_token_id") || !strcmp(key, "pad_token_id"))
            continue;
        json_put_value(w, key, &from->item[i]);
    }
    json_end(w, '}');
    json_free(from);
}

bool folder_save(const char *dir, const Model *m, const FolderInfo *info, const char *tokenizer_dir,
                 Store store, Err *e) {
    const bool adapter = m->config.lora.r && !m->adapter_off;
    if (!folder_make(dir, e)) return false;
    JsonWriter w = {.indent = 2};
    if (adapter) {
        AdapterConfig a = {.lora = m->config.lora, .classifier = m->config.n_label > 0};
        snprintf(a.base, sizeof a.base, "%s", info->base);
        adapter_write(&w, &a);
        if (!folder_write_json(dir, adapter_config_name, &w, e)) return false;
        w = (JsonWriter){.indent = 2};
    }
    if (!adapter || m->config.n_label) {
        config_write(&w, &m->config, info, store);
        if (!folder_write_json(dir, "config.json", &w, e)) return false;
    }
    char generation[1024];
    if (!path_join(generation, sizeof generation, dir, "generation_config.json", e)) return false;
    /* a former language model's: its pad would be read as ours */
    if (m->config.n_label) remove(generation);
    else if (!adapter) {
        JsonWriter g = {.indent = 2};
        config_write_generation(&g, m, info, tokenizer_dir);
        if (!folder_write_json(dir, "generation_config.json", &g, e)) return false;
    }
    return (!tokenizer_dir || folder_copy_tokenizer(dir, tokenizer_dir, e)) &&
           folder_write_tensors(dir, m, adapter, store, e);
}

void folder_digest(const Model *m, char hex[65]) {
    Sha256 s;
    real x[CHUNK];
    sha256_begin(&s);
    for (int i = 0; i < m->n_param; i++) {
        const Param *p = &m->param[i];
        char shape[64];
        const int n = snprintf(shape, sizeof shape, "[%d, %d]", p->rows, p->cols);
        sha256_add(&s, p->name, strlen(p->name) + 1);
        sha256_add(&s, shape, (size_t)n + 1);
        for (size_t j = 0, part; j < param_count(p); j += part) {
            part = param_count(p) - j < CHUNK ? param_count(p) - j : CHUNK;
            store_to_real(x, (const unsigned char *)p->data + j * store_size(p->store), p->store, part);
            sha256_add(&s, x, part * sizeof(real));
        }
    }
    sha256_end(&s, hex);
}
