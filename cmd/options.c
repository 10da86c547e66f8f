/* options.c: defaults, --config, command line, --help, and the resolved configuration as JSON. */
#include "options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of TRL's configurations that change nothing here: how it logs, shards, loads and talks to hubs. */
static const char *const without_effect[] = {
    "report_to", "run_name", "output_hub_model_id", "push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "dataloader_num_workers",
    "dataloader_pin_memory", "dataloader_drop_last", "disable_tqdm", "log_level", "logging_dir", "logging_first_step", "logging_strategy", "save_strategy", "eval_strategy",
    "save_safetensors", "overwrite_output_dir", "do_train", "do_eval", "gradient_checkpointing", "gradient_checkpointing_kwargs", "remove_unused_columns", "use_vllm",
    "use_cpu", "no_cuda", "torch_compile", "ddp_find_unused_parameters", "log_completions", "num_completions_to_print", "ds3_gather_for_generation", "bf16", "fp16", "tf32", "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_min", "vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap"};

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return *a == *b;
}

static const Option *find(const OptionTable *t, const char *name) {
    for (int i = 0; i < t->n; i++)
        if (same_name(t->option[i].name, name)) return &t->option[i];
    return NULL;
}

static bool unknown(const OptionTable *t, const char *name, const char *where, Err *e) {
    const char *names[128];
    char plain[128];
    int n = 0;
    for (int i = 0; i < t->n && n < 128; i++) names[n++] = t->option[i].name;
    snprintf(plain, sizeof plain, "%.120s", name);
    for (char *c = plain; *c; c++)
        if (*c == '-') *c = '_';
    const char *near = nearest_name(plain, names, n);
    return fail(e, "%s: unknown option \"%.80s\"%s%s%s; see grpo %s --help", where, name, near ? ", did you mean \"" : "", near ? near : "", near ? "\"" : "", t->command);
}

static bool set(void *config, const Option *o, const char *text, const char *where, Err *e) {
    void *field = (char *)config + o->offset;
    char *end;
    if (o->kind == OPT_STRING) {
        *(const char **)field = text;
        return true;
    }
    if (o->kind == OPT_BOOL) {
        if (!strcmp(text, "true") || !strcmp(text, "1")) return *(bool *)field = true;
        if (!strcmp(text, "false") || !strcmp(text, "0")) { *(bool *)field = false; return true; }
        return fail(e, "%s: %s: found \"%.40s\", expected true or false", where, o->name, text);
    }
    if (o->kind == OPT_CHOICE) {
        int n = 0;
        for (; o->choice[n]; n++)
            if (!strcmp(o->choice[n], text)) { *(int *)field = n; return true; }
        char all[256] = "";
        for (int i = 0; i < n; i++) snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", o->choice[i]);
        const char *near = nearest_name(text, o->choice, n);
        return fail(e, "%s: %s: found \"%.40s\", expected one of %s%s%s", where, o->name, text, all, near ? "; did you mean " : "", near ? near : "");
    }
    const double v = strtod(text, &end);
    if (o->kind == OPT_NUMBER && (!o->fallback || !strcmp(o->fallback, "none")) && (!strcmp(text, "none") || !strcmp(text, "null"))) {
        *(double *)field = NAN;
        return true;
    }
    if (end == text || *end || !isfinite(v)) return fail(e, "%s: %s: found \"%.40s\", expected a number", where, o->name, text);
    if (o->kind == OPT_NUMBER) {
        *(double *)field = v;
        return true;
    }
    if (v != floor(v) || fabs(v) > 2e9) return fail(e, "%s: %s: found \"%.40s\", expected a whole number", where, o->name, text);
    *(int *)field = (int)v;
    return true;
}

static void set_default(void *config, const Option *o) {
    void *field = (char *)config + o->offset;
    Err e = {{0}};
    if (o->fallback) { set(config, o, o->fallback, "default", &e); return; }
    if (o->kind == OPT_STRING) *(const char **)field = NULL;
    else if (o->kind == OPT_NUMBER) *(double *)field = NAN;
    else if (o->kind == OPT_BOOL) *(bool *)field = false;
    else *(int *)field = 0;
}

/* ["a", "b"] as "a,b", kept like all of a file; NULL: holds something else than words and numbers. */
static const char *joined(const Json *list) {
    JsonWriter w = {0};
    for (size_t i = 0; i < list->length; i++) {
        if (i) json_raw(&w, ",");
        if (list->item[i].type == JSON_STRING) json_raw(&w, list->item[i].string);
        else if (list->item[i].type == JSON_NUMBER) json_number(&w, list->item[i].number);
        else return NULL;
    }
    return w.text ? w.text : "";
}

static bool from_file(void *config, const OptionTable *t, const char *path, Err *e) {
    Json *root = json_read_file(path, e);           /* kept: strings point into it */
    if (!root) return false;
    if (root->type != JSON_OBJECT) return fail(e, "%s: found %s, expected an object of options", path, json_type_name(root->type));
    /* one file may hold a recipe: an object per command; or it is a run's own config.json */
    const Json *own = json_get(root, t->command), *of_run = json_get(root, "options");
    if (!own && !strcmp(t->command, "trace")) own = json_get(root, "train");        /* it tells a step of that */
    const Json *o = own && own->type == JSON_OBJECT ? own : of_run && of_run->type == JSON_OBJECT ? of_run : root;
    int ignored = 0;
    for (size_t i = 0; i < o->length; i++) {
        const Json *v = &o->item[i];
        const Option *option = find(t, v->key);
        char where[1100];
        const char *text;
        snprintf(where, sizeof where, "%s:%d:%d", path, v->line, v->column);
        if (!option) {
            bool known = false;
            for (size_t k = 0; k < sizeof without_effect / sizeof *without_effect; k++) known = known || !strcmp(without_effect[k], v->key);
            if (!known) return unknown(t, v->key, where, e);
            fprintf(stderr, ignored++ ? ", %s" : "grpo: accepted without effect: %s", v->key);
            continue;
        }
        if (v->type == JSON_NULL) continue;
        if (v->type == JSON_STRING) text = v->string;
        else if (v->type == JSON_BOOL) text = v->number != 0 ? "true" : "false";
        else if (v->type == JSON_NUMBER) {
            JsonWriter w = {0};
            json_number(&w, v->number);
            text = w.text;
        } else if (v->type != JSON_ARRAY || option->kind != OPT_STRING || !(text = joined(v)))
            return fail(e, "%s: %s: found %s, expected a single value", where, v->key, json_type_name(v->type));
        if (!set(config, option, text, where, e)) return false;
    }
    if (ignored) fputc('\n', stderr);
    return true;
}

static void help(const OptionTable *t) {
    printf("grpo %s: %s\n\n", t->command, t->summary);
    for (int i = 0; i < t->n; i++) {
        const Option *o = &t->option[i];
        char name[64];
        snprintf(name, sizeof name, "%s", o->name);
        for (char *c = name; *c; c++)
            if (*c == '_') *c = '-';
        printf("  --%-30s %s", name, o->help);
        if (o->kind == OPT_CHOICE)
            for (int k = 0; o->choice[k]; k++) printf("%s%s", k ? " | " : ": ", o->choice[k]);
        if (o->fallback) printf(" [%s]", o->fallback);
        putchar('\n');
    }
    printf("  --%-30s %s\n", "config FILE", "options from a JSON object (or its member named like the command), or from a run's config.json");
    printf("\nexample: %s\n", t->example);
}

int options_parse(void *config, const OptionTable *t, int argc, char **argv, Err *e) {
    const char *file = NULL;
    for (int i = 0; i < t->n; i++) set_default(config, &t->option[i]);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) { help(t); return 1; }
        if (!strcmp(argv[i], "--config")) {
            if (i + 1 >= argc) { fail(e, "--config: expected the name of a JSON file"); return -1; }
            file = argv[i + 1];
        }
    }
    if (file && !from_file(config, t, file, e)) return -1;
    for (int i = 1; i < argc; i++) {
        char name[128];
        const char *value = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2)) { fail(e, "found \"%.80s\", expected an option; see grpo %s --help", argv[i], t->command); return -1; }
        snprintf(name, sizeof name, "%.*s", (int)(value ? value - argv[i] - 2 : (long)strlen(argv[i]) - 2), argv[i] + 2);
        if (!strcmp(name, "config")) { if (!value) i++; continue; }
        const Option *o = find(t, name);
        if (!o) { unknown(t, name, "command line", e); return -1; }
        if (value) value++;
        else if (o->kind == OPT_BOOL && (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))) value = "true";
        else if (i + 1 < argc) value = argv[++i];
        else { fail(e, "--%s: expected a value", name); return -1; }
        char where[160];
        snprintf(where, sizeof where, "command line");
        if (!set(config, o, value, where, e)) return -1;
    }
    return 0;
}

void options_write_value(JsonWriter *w, const void *config, const Option *o) {
    const void *field = (const char *)config + o->offset;
    if (o->kind == OPT_STRING) {
        if (*(const char *const *)field) json_string(w, *(const char *const *)field);
        else json_null(w);
    } else if (o->kind == OPT_INT) json_int(w, *(const int *)field);
    else if (o->kind == OPT_NUMBER) json_number(w, *(const double *)field);
    else if (o->kind == OPT_BOOL) json_bool(w, *(const bool *)field);
    else json_string(w, o->choice[*(const int *)field]);
}

void options_write(JsonWriter *w, const void *config, const OptionTable *t) {
    for (int i = 0; i < t->n; i++) {
        json_key(w, t->option[i].name);
        options_write_value(w, config, &t->option[i]);
    }
}

bool options_agree(const void *config, const OptionTable *t, const Json *saved, const char *const *free_names, const char *file, Err *e) {
    for (int i = 0; i < t->n; i++) {
        bool is_free = false;
        for (int k = 0; free_names[k]; k++) is_free = is_free || !strcmp(free_names[k], t->option[i].name);
        if (is_free) continue;
        JsonWriter a = {0}, b = {0};
        options_write_value(&a, config, &t->option[i]);
        const Json *v = json_get(saved, t->option[i].name);
        if (v) json_value(&b, v);
        else json_null(&b);
        const bool same = !strcmp(a.text, b.text);
        if (!same) fail(e, "%s: %s: the run was started with %.60s, now it is %.60s; resume with the same options or start a new run", file, t->option[i].name, b.text, a.text);
        free(a.text);
        free(b.text);
        if (!same) return false;
    }
    return true;
}

bool parse_weights(double *weight, const char *text, const char (*label)[64], int n_label, const char *option, Err *e) {
    const bool named = text && strchr(text, '=') != NULL;
    bool given[64] = {false};
    for (int k = 0; k < n_label; k++) weight[k] = text ? 0 : 1;
    int n = 0;
    for (const char *at = text; at && *at; n++) {
        const size_t length = strcspn(at, ",");
        char item[128], *end;
        snprintf(item, sizeof item, "%.*s", (int)(length < 127 ? length : 127), at);
        int k = n;
        char *number = item;
        if (named) {
            number = strchr(item, '=');
            if (!number) return fail(e, "%s: found \"%s\", expected LABEL=WEIGHT", option, item);
            *number++ = 0;
            const char *names[64];
            for (int i = 0; i < n_label && i < 64; i++) names[i] = label[i];
            for (k = 0; k < n_label && strcmp(label[k], item); k++) {}
            if (k == n_label) {
                const char *near = nearest_name(item, names, n_label);
                return fail(e, "%s: unknown label \"%s\"%s%s", option, item, near ? ", did you mean " : ", the scores have other labels", near ? near : "");
            }
        }
        if (named && given[k]) return fail(e, "%s: label \"%s\" stands there twice", option, item);
        if (k >= n_label) return fail(e, "%s: found more than %d weights, expected one for each label", option, n_label);
        if (k < 64) given[k] = true;
        weight[k] = strtod(number, &end);
        if (end == number || *end || !isfinite(weight[k])) return fail(e, "%s: found \"%s\", expected a number", option, number);
        at += length + (at[length] == ',');
    }
    if (text && !named && n != n_label) return fail(e, "%s: found %d weights, expected %d, one for each label", option, n, n_label);
    for (int k = 0; k < n_label; k++)
        if (weight[k] != 0) return true;
    return fail(e, "%s: all weights are 0: there would be no reward; give at least one label a weight", option);
}

bool parse_range(double *low, double *high, const char *text, const char *option, Err *e) {
    char *end, *last = NULL;
    *low = strtod(text, &end);
    if (end != text && *end == ',') *high = strtod(end + 1, &last);
    if (!last || last == end + 1 || *last || !(*low < *high)) return fail(e, "%s: found \"%.60s\", expected LOW,HIGH such as 0,1", option, text);
    return true;
}
