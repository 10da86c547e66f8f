/* adapter.c: PEFT's adapter_config.json: read as if written by a liar, and written as PEFT writes it. */
#include "net/adapter.h"

#include <stdio.h>
#include <string.h>

#include "lib/files.h"
#include "lib/words.h"
#include "net/hub.h"

const char adapter_config_name[] = "adapter_config.json",
           adapter_tensors_name[] = "adapter_model.safetensors",
           adapter_head_name[] = "base_model.model.score.weight";

static bool is_neutral(const Json *v) {
    return v->type == JSON_NULL || (v->type == JSON_BOOL && v->number == 0) ||
           ((v->type == JSON_ARRAY || v->type == JSON_OBJECT) && v->length == 0);
}

/* Everything else that PEFT can do stands in keys of its own, unset while unused: a key that says something
 * and is not known here would change the mathematics. */
static bool adapter_only_lora(const Json *o, const char *file, Err *e) {
    static const char *const known[] = {
        "peft_type", "base_model_name_or_path", "task_type", "r", "lora_alpha", "use_rslora",
        "target_modules", "bias", "modules_to_save", "init_lora_weights", "lora_dropout", "inference_mode",
        "peft_version", "revision", "auto_mapping", "megatron_core", "qalora_group_size",
        "layers_to_transform", "layers_pattern"};
    for (size_t i = 0; i < o->length; i++) {
        const Json *v = &o->item[i];
        if (!name_among(v->key, known, sizeof known / sizeof *known) && !is_neutral(v))
            return fail(e, "%s:%d:%d: %s: this kind of adapter is not computed here; merge it into its base "
                        "with PEFT", file, v->line, v->column, v->key);
    }
    const char *type, *bias = "none";
    if (!json_get_string(o, "peft_type", &type, file, e) ||
        (json_get(o, "bias") && !json_get_string(o, "bias", &bias, file, e)))
        return false;
    if (strcmp(type, "LORA"))
        return fail(e, "%s: peft_type: found \"%s\", expected \"LORA\"; merge the adapter into its base with "
                    "PEFT", file, type);
    if (strcmp(bias, "none"))
        return fail(e, "%s: bias: found \"%s\", expected \"none\": trained biases are not computed here; "
                    "merge the adapter into its base with PEFT", file, bias);
    const Json *start = json_get(o, "init_lora_weights");
    if (start && start->type == JSON_STRING && strcmp(start->string, "gaussian") &&
        strcmp(start->string, "orthogonal") && strcmp(start->string, "eva"))
        return fail(e, "%s: init_lora_weights: found \"%s\", which changes the base's weights; convert the "
                    "adapter with PEFT", file, start->string);
    return true;
}

Safetensors *adapter_open(const char *dir, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, adapter_tensors_name, e)) return NULL;
    if (path_exists(path)) return safetensors_open(path, e);
    hub_lacks(dir, adapter_tensors_name, e);
    return NULL;
}

/* Of a regular expression: PEFT saved a tensor for each module whose name it matched. */
static bool targets_of_tensors(unsigned *target, const char *dir, const Json *pattern, Err *e) {
    static const char ending[] = ".lora_A.weight";
    Safetensors *s = adapter_open(dir, e);
    if (!s) return false;
    bool ok = true;
    for (int i = 0; ok && i < safetensors_count(s); i++) {
        char module[1024];
        const char *name = safetensors_at(s, i)->name;
        const size_t n = strlen(name), tail = sizeof ending - 1;
        if (n <= tail || n - tail >= sizeof module || strcmp(name + n - tail, ending)) continue;
        snprintf(module, sizeof module, "%.*s", (int)(n - tail), name);
        const char *last = strrchr(module, '.');
        unsigned one;
        ok = lora_targets_parse(&one, last ? last + 1 : module, dir, e);
        if (ok) *target |= one;
    }
    safetensors_close(s);
    return ok && (*target || fail(e, "%s: target_modules: \"%.60s\" matched no module: the file holds no "
                                  "tensor ...%s", dir, pattern->string, ending));
}

/* PEFT writes names of layers, of all of them alike, or their endings ("q_proj",
 * "model.layers.0.self_attn.q_proj"), or one text: "all-linear" or a regular expression. */
static bool adapter_read_targets(AdapterConfig *a, const Json *o, const char *dir, const char *file,
                                 Err *e) {
    const Json *list = json_get(o, "target_modules"), *some = json_get(o, "layers_to_transform");
    if (!list || (list->type != JSON_ARRAY && list->type != JSON_STRING))
        return fail(e, "%s: target_modules: found %s, expected a list of names", file,
                    list ? json_type_name(list->type) : "nothing");
    a->partial = list->type == JSON_STRING || (some && !is_neutral(some));
    if (list->type == JSON_STRING) return targets_of_tensors(&a->lora.target, dir, list, e);
    for (size_t i = 0; i < list->length; i++) {
        const Json *name = &list->item[i];
        unsigned target;
        char where[1100];
        snprintf(where, sizeof where, "%s:%d:%d", file, name->line, name->column);
        if (name->type != JSON_STRING)
            return fail(e, "%s: target_modules: found %s, expected a name", where,
                        json_type_name(name->type));
        const char *end = strrchr(name->string, '.');
        if (!lora_targets_parse(&target, end ? end + 1 : name->string, where, e)) return false;
        a->lora.target |= target;
        if (strstr(name->string, "layers.")) a->partial = true;
    }
    return true;
}

bool adapter_read(AdapterConfig *a, const char *dir, Err *e) {
    char file[1024];
    const char *task = "CAUSAL_LM";
    if (!path_join(file, sizeof file, dir, adapter_config_name, e)) return false;
    Json *o = json_read_file(file, e);
    if (!o) return false;
    Lora *c = &a->lora;
    *a = (AdapterConfig){.classifier = false};
    bool ok = o->type == JSON_OBJECT ||
              fail(e, "%s: found %s, expected an object", file, json_type_name(o->type));
    ok = ok && adapter_only_lora(o, file, e) && json_get_int(o, "r", &c->r, file, e) &&
         json_get_number(o, "lora_alpha", &c->alpha, file, e);
    const Json *rslora = ok ? json_get(o, "use_rslora") : NULL;
    if (rslora && rslora->type != JSON_NULL) ok = json_get_bool(o, "use_rslora", &c->rslora, file, e);
    ok = ok && adapter_read_targets(a, o, dir, file, e) && lora_check(c, file, e);
    const Json *type = ok ? json_get(o, "task_type") : NULL;
    if (type && type->type == JSON_STRING) task = type->string;
    a->classifier = strcmp(task, "SEQ_CLS") == 0;
    if (ok && !a->classifier && strcmp(task, "CAUSAL_LM"))
        ok = fail(e, "%s: task_type: found \"%s\", expected CAUSAL_LM or SEQ_CLS", file, task);
    const Json *save = ok ? json_get(o, "modules_to_save") : NULL;
    for (size_t i = 0; ok && save && save->type == JSON_ARRAY && i < save->length; i++) {
        const char *name = save->item[i].type == JSON_STRING ? save->item[i].string : "";
        a->saves = a->saves || !a->classifier || (strcmp(name, "score") && strcmp(name, "classifier"));
    }
    const Json *name = ok ? json_get(o, "base_model_name_or_path") : NULL;
    if (ok && (!name || name->type != JSON_STRING || !*name->string))
        ok = fail(e, "%s: base_model_name_or_path: expected the folder of the base model; write it there",
                  file);
    if (ok) snprintf(a->base, sizeof a->base, "%s", name->string);
    json_free(o);
    return ok;
}

void adapter_write(JsonWriter *w, const AdapterConfig *a) {
    json_begin(w, '{');
    json_put_string(w, "peft_type", "LORA");
    json_put_string(w, "task_type", a->classifier ? "SEQ_CLS" : "CAUSAL_LM");
    json_put_string(w, "base_model_name_or_path", a->base);
    json_put_int(w, "r", a->lora.r);
    json_put(w, "lora_alpha", a->lora.alpha);
    json_put_bool(w, "use_rslora", a->lora.rslora);
    json_open(w, "target_modules", '[');
    for (int t = 0; t < LORA_TARGETS; t++)
        if (a->lora.target >> t & 1) json_string(w, lora_target_names[t]);
    json_end(w, ']');
    json_key(w, "modules_to_save");
    if (a->classifier) json_begin(w, '['), json_string(w, "score"), json_end(w, ']');
    else json_null(w);
    json_put(w, "lora_dropout", 0);
    json_put_string(w, "bias", "none");
    json_put_bool(w, "fan_in_fan_out", false);
    json_put_bool(w, "use_dora", false);
    json_put_bool(w, "init_lora_weights", true);
    json_put_bool(w, "inference_mode", true);
    json_end(w, '}');
}
