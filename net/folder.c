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
#include "net/hub.h"

enum { CHUNK = 4096 };                  /* numbers converted at once */

/* ---- an adapter and its base ---- */

bool folder_is_adapter(const char *name) {
    char path[1024], dir[1024];
    Err e = {{0}};
    hub_folder(dir, name);
    return path_join(path, sizeof path, dir, adapter_config_name, &e) && path_exists(path);
}

bool folder_base(char out[1024], const char *name, Err *e) {
    AdapterConfig adapter;
    char dir[1024], fetch[700];
    hub_folder(out, name);
    if (!folder_is_adapter(out)) return true;
    memcpy(dir, out, sizeof dir);
    if (!adapter_read(&adapter, dir, e)) return false;
    hub_folder(out, adapter.base);
    if (*out != '/' && !path_is_folder(out) && !path_join(out, 1024, dir, adapter.base, e)) return false;
    if (!path_is_folder(out))
        return fail(e, "%s/%s: base_model_name_or_path: there is no folder \"%s\"; write the base model's "
                    "folder there%s", dir, adapter_config_name, adapter.base, hub_fetch(fetch, adapter.base));
    return !folder_is_adapter(out) ||
           fail(e, "%s: its base %s is an adapter itself; make a whole model of that first with grpo merge",
                dir, out);
}

bool folder_tokenizer(char out[1024], const char *dir, Err *e) {
    char path[1024];
    hub_folder(out, dir);
    if (!folder_is_adapter(out)) return true;
    return path_join(path, sizeof path, out, "tokenizer.json", e) &&
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

/* PEFT says nowhere how many scores there are: the tensor does. */
static bool adapter_label_count(int *n, const char *dir, Err *e) {
    Safetensors *s = adapter_open(dir, e);
    if (!s) return false;
    const Tensor *t = safetensors_find(s, adapter_head_name);
    const bool ok = t && t->n_dim == 2 && t->shape[0] >= 1 && t->shape[0] <= MAX_LABELS;
    if (ok) *n = (int)t->shape[0];
    else fail(e, "%s/%s: %s: expected 1 to %d rows, one a score: task_type is SEQ_CLS", dir,
              adapter_tensors_name, adapter_head_name, MAX_LABELS);
    safetensors_close(s);
    return ok;
}

static const char adapter_prefix[] = "base_model.model.",
                  adapter_embed_name[] = "base_model.model.model.embed_tokens.weight",
                  adapter_lm_head_name[] = "base_model.model.lm_head.weight";

/* An adapter may bring an embedding and a head in place of the base's. Where these are tied, one alone, or
 * two that differ, are tied no more. */
static bool adapter_matrices(ModelConfig *c, FolderInfo *info, const AdapterConfig *a, const char *dir,
                             Err *e) {
    char path[1024];
    Safetensors *s = path_join(path, sizeof path, dir, adapter_tensors_name, e) ? adapter_open(dir, e) : NULL;
    if (!s) return false;
    const Tensor *embed = safetensors_find(s, adapter_embed_name),
                 *head = safetensors_find(s, adapter_lm_head_name);
    info->whole_matrices = a->saves || embed || head;
    if (!c->n_label && (!embed != !head ||
                        config_head_is_own(path, adapter_embed_name, adapter_lm_head_name)))
        c->tied = false;
    /* a vocabulary that was made larger for it */
    if (embed && head && embed->n_dim == 2 && embed->shape[0] > (size_t)c->vocab && embed->shape[0] < 1 << 24)
        c->vocab = (int)embed->shape[0];
    safetensors_close(s);
    return true;
}

bool folder_config(ModelConfig *c, FolderInfo *info, const char *name, Err *e) {
    char dir[1024], base[1024], own[1024];
    hub_folder(dir, name);
    FolderInfo unused;
    AdapterConfig adapter;
    if (!info) info = &unused;
    if (!folder_is_adapter(dir)) return config_read(c, info, dir, e);
    if (!adapter_read(&adapter, dir, e) || !folder_base(base, dir, e) ||
        !path_join(own, sizeof own, dir, "config.json", e))
        return false;
    /* own: written by us, has the labels' names */
    if (!config_read(c, info, adapter.classifier && path_exists(own) ? dir : base, e)) return false;
    if (adapter.classifier && !c->n_label) {
        if (!adapter_label_count(&c->n_label, dir, e)) return false;
        for (int k = 0; k < c->n_label; k++) snprintf(info->label[k], sizeof info->label[k], "label_%d", k);
    }
    if (!adapter.classifier) c->n_label = 0;
    if (!adapter_matrices(c, info, &adapter, dir, e)) return false;
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
                         *const adapter_mixed = "the adapter belongs to another base",
                         *const adapter_resized = "the base had another size when the adapter was trained "
                                                  "(its vocabulary, say); merge the adapter into its base "
                                                  "with PEFT";

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

/* The network's own parameters; of: as config.json of dir has it, whatever an adapter makes of it. A head
 * that is not needed may be absent, or be another model's: it stays as it is then. */
static bool folder_load_base(Model *m, const char *dir, const ModelConfig *of, bool need_head, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, "model.safetensors.index.json", e)) return false;
    if (!path_exists(path) && path_join(path, sizeof path, dir, "model.safetensors", e) && !path_exists(path))
        return hub_lacks(dir, "model.safetensors", e);
    Safetensors *s = safetensors_open(dir, e);
    if (!s) return false;
    bool ok = true;
    for (int i = 0; ok && i < m->n_base; i++) {
        Param *p = &m->param[i];
        const Tensor *t = safetensors_find(s, p->name);
        /* a tied matrix stands there once, by either name */
        if (!t && of->tied && p == m->embed) t = safetensors_find(s, "lm_head.weight");
        if (!t && of->tied && p == m->head && !m->config.n_label) t = safetensors_find(s, m->embed->name);
        /* the adapter brings larger ones */
        if (of->vocab < m->config.vocab && (p == m->embed || p == m->head)) continue;
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

/* Whether the adapter has neither A nor B for the module of p, one of the two. */
static bool adapter_leaves_out(const Safetensors *s, const Model *m, const Param *p) {
    for (int l = 0; l < m->config.n_layer; l++)
        for (int t = 0; t < LORA_TARGETS; t++) {
            Param *const *ab = m->adapter[l][t];
            if (ab[0] != p && ab[1] != p) continue;
            return !safetensors_find(s, ab[0]->name) && !safetensors_find(s, ab[1]->name);
        }
    return false;
}

static bool folder_load_adapter(Model *m, const char *dir, bool need_head, Err *e) {
    char path[1024], saved[sizeof adapter_prefix + sizeof m->param->name];
    AdapterConfig a;
    Safetensors *s = adapter_read(&a, dir, e) && path_join(path, sizeof path, dir, adapter_tensors_name, e)
                         ? adapter_open(dir, e)
                         : NULL;
    if (!s) return false;
    bool ok = true;
    int n_saved = 0;
    for (int i = 0; ok && i < m->n_param; i++) {
        Param *p = &m->param[i];
        const bool head = p == m->head && m->config.n_label;
        if (i < m->n_base && !head) {                           /* a matrix that stands for the base's */
            snprintf(saved, sizeof saved, "%s%s", adapter_prefix, p->name);
            const Tensor *t = safetensors_find(s, saved);
            n_saved += t != NULL;
            ok = !t || tensor_load(p, t, m->config.base_store, path, adapter_resized, e);
            continue;
        }
        const Tensor *t = safetensors_find(s, head ? adapter_head_name : p->name);
        if (head && !need_head && (!t || !tensor_has_shape(t, p))) continue;
        if (!t && a.partial && adapter_leaves_out(s, m, p)) {   /* a branch of zeros is none, and stays so */
            memset(p->data, 0, param_count(p) * store_size(p->store));
            continue;
        }
        ok = t ? tensor_load(p, t, m->config.base_store, path, adapter_mixed, e)
               : fail(e, "%s: tensor %s is missing; %s, or not every layer is adapted alike", path,
                      head ? adapter_head_name : p->name, adapter_mixed);
    }
    if (ok && a.saves && !n_saved)
        ok = fail(e, "%s: holds none of the modules that modules_to_save names", path);
    for (int i = 0; ok && i < safetensors_count(s); i++) {
        const char *name = safetensors_at(s, i)->name;
        const size_t n = sizeof adapter_prefix - 1;
        const bool ours = strncmp(name, adapter_prefix, n) == 0,
                   head = strcmp(name, adapter_head_name) == 0 && (m->config.n_label || !need_head),
                   copy = strcmp(name, adapter_lm_head_name) == 0 && m->config.tied;
        if (!head && !copy && !(ours && (model_find(m, name) || model_find(m, name + n))))
            ok = fail(e, "%s: unknown tensor %s; %s", path, name, adapter_mixed);
    }
    safetensors_close(s);
    return ok;
}

/* The matrices that config.json asks for must be in the file before much memory is taken for them: a config
 * of few bytes can ask for terabytes. What else may be wrong is told when they are read. */
static bool weights_suffice(const char *dir, const ModelConfig *c, Err *e) {
    const double hidden = c->hidden, head = c->head_dim, many = 1e8,
                 layer = hidden * head * (2.0 * c->n_head + 2.0 * c->n_kv_head) + 3 * hidden * c->ffn,
                 asked = c->vocab * hidden + c->n_layer * layer;
    double there = 0;
    Err other = {{0}};
    Safetensors *s = asked > many ? safetensors_open(dir, &other) : NULL;
    if (!s) return true;
    for (int i = 0; i < safetensors_count(s); i++) there += (double)safetensors_at(s, i)->count;
    safetensors_close(s);
    return asked <= there || fail(e, "%s: config.json asks for %.0f weights, but the file has %.0f; %s", dir,
                                  asked, there, base_mixed);
}

/* strict: the folder has to hold everything. Else what it may lack has been drawn from seed. */
static Model *folder_open(const char *name, const ModelConfig *c, bool strict, uint64_t seed, Err *e) {
    char dir[1024], base[1024];
    hub_folder(dir, name);
    const bool adapter = folder_is_adapter(dir), need_head = strict || !c->n_label;
    ModelConfig of = *c;
    FolderInfo unused;
    if (!folder_base(base, dir, e) || (adapter && !config_read(&of, &unused, base, e))) return NULL;
    Model *m = weights_suffice(base, c, e) ? model_new(c, e) : NULL;
    if (!m) return NULL;
    if (!strict) model_init_new(m, seed);
    if (folder_load_base(m, base, &of, need_head && !(adapter && c->n_label), e) &&
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
    json_put(w, "attention_dropout", info->dropout);
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
    const bool ok = path_join(path, sizeof path, dir, name, e) && json_save(path, w, e);
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
