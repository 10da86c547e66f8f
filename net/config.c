/* config.c: config.json to a network's shape.
 *
 * In this order: values that may be left out, the parts of config.json, what only the weights can tell,
 * generation_config.json. Files are read as if written by a liar; what would change the mathematics and is
 * not computed here is refused by name. */
#include "net/config.h"

#include <stdio.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/safetensors.h"
#include "net/hub.h"

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

/* A model of Mistral is Llama's mathematics, unless its windows are used. */
static bool config_architecture(ModelConfig *c, bool *classifier, bool *mistral, const Json *o,
                                const char *file, Err *e) {
    static const struct { const char *prefix, *model_type; Arch arch; } known[] = {
        {"Llama", "llama", ARCH_LLAMA}, {"Mistral", "mistral", ARCH_LLAMA}, {"Qwen2", "qwen2", ARCH_QWEN2},
        {"Qwen3", "qwen3", ARCH_QWEN3}};
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
        *mistral = known[i].prefix[0] == 'M';
        *classifier = name && strcmp(name + n, "ForSequenceClassification") == 0;
        return true;
    }
    if (!name) name = type && type->type == JSON_STRING ? type->string : "nothing";
    return fail(e, "%s: architectures: found \"%s\", expected Llama, Mistral, Qwen2 or Qwen3 with "
                "ForCausalLM or ForSequenceClassification; choose such a model", file, name);
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

/* Whether a layer sees less than the whole text, decided as transformers does: from the list of the layers,
 * or from the first layer that has a window. Llama has none, and Mistral no switch for them. */
static bool config_windows(const ModelConfig *c, bool mistral, const Json *o, const char *file, Err *e) {
    const Json *layers = json_get(o, "layer_types");
    const int default_width = json_get(o, "sliding_window") ? 0 : 4096;         /* null: none */
    bool on;
    int width, first;
    if (!config_bool(&on, o, "use_sliding_window", false, file, e) ||
        !config_int(&width, o, "sliding_window", default_width, file, e) ||
        !config_int(&first, o, "max_window_layers", 28, file, e))
        return false;
    if (mistral) on = true, first = 0;
    else if (c->arch == ARCH_LLAMA) on = false;
    bool slides = on && width > 0 && first < c->n_layer;
    if (layers && layers->type == JSON_ARRAY) slides = false;
    for (size_t i = 0; layers && layers->type == JSON_ARRAY && i < layers->length; i++) {
        const Json *type = &layers->item[i];
        const bool known = type->type == JSON_STRING;
        if (known && strcmp(type->string, "sliding_attention") == 0) slides = true;
        else if (!known || strcmp(type->string, "full_attention"))
            return fail(e, "%s:%d:%d: layer_types: found \"%.40s\", expected full_attention: other layers "
                        "are not computed here", file, type->line, type->column, known ? type->string : "");
    }
    if (!slides || (on && width >= c->context)) return true;
    return fail(e, "%s: sliding_window: layers that see %d tokens of max_position_embeddings %d are not "
                "computed here; choose a model without windows, or, where no text is longer than the window, "
                "write its width as max_position_embeddings", file, width, c->context);
}

/* An id or a list of ids; -1 stands for none, as in old folders of Llama. */
static bool config_ids(int *id, int *n, int max, const Json *o, const char *key, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    *n = 0;
    if (!v || v->type == JSON_NULL) return true;
    const Json *item = v->type == JSON_ARRAY ? v->item : v;
    const size_t count = v->type == JSON_ARRAY ? v->length : 1;
    for (size_t i = 0; i < count; i++) {
        if (item[i].type == JSON_NUMBER && item[i].number == -1) continue;
        if (item[i].type != JSON_NUMBER || item[i].number < 0 || item[i].number > 1e8 ||
            item[i].number != floor(item[i].number) || *n == max)
            return fail(e, "%s:%d:%d: %s: expected a token id or a list of at most %d", file, item[i].line,
                        item[i].column, key, max);
        id[(*n)++] = (int)item[i].number;
    }
    return true;
}

/* The scores of a reward model whose config.json names none, which transformers leaves out where they are
 * two: as many as the head has rows. 1 without weights. */
static int rows_of_head(const char *dir) {
    Err missing = {{0}};
    Safetensors *s = safetensors_open(dir, &missing);           /* who loads the weights says what is wrong */
    const Tensor *t = s ? safetensors_find(s, "score.weight") : NULL;
    const int n = t && t->n_dim == 2 && t->shape[0] <= MAX_LABELS ? (int)t->shape[0] : 1;
    safetensors_close(s);
    return n;
}

static bool config_labels(ModelConfig *c, FolderInfo *info, const Json *o, const char *dir, const char *file,
                          Err *e) {
    const Json *names = json_get(o, "id2label"), *means = json_get(o, "reward_mean");
    const bool named = names && names->type == JSON_OBJECT;
    int n;
    if (!config_int(&n, o, "num_labels", 0, file, e)) return false;
    if (!config_says(o, "num_labels")) n = named ? (int)names->length : rows_of_head(dir);
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

bool config_head_is_own(const char *path, const char *embed, const char *head) {
    Err missing = {{0}};
    Safetensors *s = safetensors_open(path, &missing);          /* who loads the weights says what is wrong */
    const Tensor *a = s ? safetensors_find(s, embed) : NULL, *b = s ? safetensors_find(s, head) : NULL;
    bool own = a && b && a->store != STORE_REAL && b->store != STORE_REAL;
    if (own && a->count == b->count) {
        const size_t in = store_size(a->store), out = store_size(b->store);
        real x[1024], y[1024];
        own = false;
        for (size_t j = 0, n; j < a->count && !own; j += n) {
            n = a->count - j < 1024 ? a->count - j : 1024;
            store_to_real(x, (const unsigned char *)a->data + j * in, a->store, n);
            store_to_real(y, (const unsigned char *)b->data + j * out, b->store, n);
            own = memcmp(x, y, n * sizeof *x) != 0;
        }
    }
    safetensors_close(s);
    return own;
}

static bool config_parse(ModelConfig *c, FolderInfo *info, const Json *o, const char *dir, const char *file,
                         Err *e) {
    bool classifier = false, mistral = false, attention_bias;
    memset(c, 0, sizeof *c);
    memset(info, 0, sizeof *info);
    if (o->type != JSON_OBJECT)
        return fail(e, "%s: found %s, expected an object", file, json_type_name(o->type));
    if (!config_architecture(c, &classifier, &mistral, o, file, e)) return false;
    if (!json_get_int(o, "vocab_size", &c->vocab, file, e) ||
        !json_get_int(o, "hidden_size", &c->hidden, file, e) ||
        !json_get_int(o, "intermediate_size", &c->ffn, file, e) ||
        !json_get_int(o, "num_hidden_layers", &c->n_layer, file, e) ||
        !json_get_int(o, "num_attention_heads", &c->n_head, file, e))
        return false;
    const int kv_head = mistral && !json_get(o, "num_key_value_heads") ? 8 : c->n_head;
    if (!config_int(&c->n_kv_head, o, "num_key_value_heads", kv_head, file, e)) return false;
    const Json *dim = json_get(o, "head_dim");
    if (c->n_head > 0 && (!dim || dim->type == JSON_NULL) && c->arch != ARCH_QWEN3 && c->hidden % c->n_head)
        return fail(e, "%s: hidden_size %d is no multiple of num_attention_heads %d and there is no "
                    "head_dim; mend the configuration", file, c->hidden, c->n_head);
    const int default_dim = c->arch == ARCH_QWEN3 ? 128 : c->n_head > 0 ? c->hidden / c->n_head : 0;
    if (!config_int(&c->head_dim, o, "head_dim", default_dim, file, e) ||
        !config_int(&c->context, o, "max_position_embeddings", mistral ? 131072 : 2048, file, e) ||
        !config_number(&c->norm_eps, o, "rms_norm_eps", 1e-6, file, e) ||
        !config_number(&c->init_std, o, "initializer_range", 0.02, file, e) ||
        !config_bool(&c->tied, o, "tie_word_embeddings", false, file, e) ||
        !config_bool(&attention_bias, o, "attention_bias", false, file, e) ||
        !config_bool(&c->mlp_bias, o, "mlp_bias", false, file, e) ||
        !config_number(&info->dropout, o, "attention_dropout", 0, file, e) || !config_rope(c, o, file, e) ||
        !config_windows(c, mistral, o, file, e))
        return false;
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
    if (classifier && !config_labels(c, info, o, dir, file, e)) return false;
    if (!classifier && config_head_is_own(dir, "model.embed_tokens.weight", "lm_head.weight"))
        c->tied = false;
    return model_config_check(c, file, e);
}

bool config_read(ModelConfig *c, FolderInfo *info, const char *dir, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, "config.json", e)) return false;
    if (!path_exists(path)) return hub_lacks(dir, "config.json", e);
    Json *o = json_read_file(path, e);
    if (!o) return false;
    bool ok = config_parse(c, info, o, dir, path, e);
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

