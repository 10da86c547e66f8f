/* options.c: defaults, --config, command line, --help, and the resolved configuration as JSON. */
#include "run/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/words.h"

/* Keys of TRL's configurations that change nothing here: how it logs, shards, loads, saves and talks to hubs;
 * other samplers; speed. A name that ends with * stands for all that begin so. */
static const char *const without_effect[] = {"accelerator_config",
                                             "activation_checkpointing*",
                                             "activation_offloading",
                                             "average_tokens_across_devices",
                                             "batch_eval_metrics",
                                             "bf16*",
                                             "cache_implementation",
                                             "cast_lm_head_to_fp32",
                                             "dataloader_*",
                                             "dataset_num_proc",
                                             "dataset_text_field",
                                             "ddp_*",
                                             "debug",
                                             "disable_dropout",
                                             "disable_tqdm",
                                             "do_eval",
                                             "do_predict",
                                             "do_train",
                                             "ds3_gather_for_generation",
                                             "enable_jit_checkpoint",
                                             "eval_accumulation_steps",
                                             "eval_delay",
                                             "eval_do_concat_batches",
                                             "eval_on_start",
                                             "eval_packing",
                                             "eval_steps",
                                             "eval_strategy",
                                             "eval_use_gather_object",
                                             "fp16*",
                                             "full_determinism",
                                             "gradient_checkpointing_kwargs",
                                             "greater_is_better",
                                             "hub_*",
                                             "ignore_data_skip",
                                             "include_*",
                                             "label_names",
                                             "length_column_name",
                                             "liger_kernel_config",
                                             "local_rank",
                                             "log_completions*",
                                             "log_level*",
                                             "log_multimodal",
                                             "log_on_each_node",
                                             "log_unique_prompts",
                                             "logging_dir",
                                             "logging_first_step",
                                             "logging_nan_inf_filter",
                                             "logging_strategy",
                                             "metric_for_best_model",
                                             "no_cuda",
                                             "num_completions_to_print",
                                             "num_generations_eval",
                                             "output_hub_model_id",
                                             "overwrite_output_dir",
                                             "packing_strategy",
                                             "pad_to_multiple_of",
                                             "padding_free",
                                             "per_device_eval_batch_size",
                                             "precompute_ref_batch_size",
                                             "prediction_loss_only",
                                             "project",
                                             "push_to_hub*",
                                             "ref_model_*",
                                             "remove_unused_columns",
                                             "report_to",
                                             "restore_callback_states_from_checkpoint",
                                             "run_name",
                                             "save_on_each_node",
                                             "save_only_model",
                                             "save_safetensors",
                                             "save_strategy",
                                             "save_total_limit",
                                             "skip_memory_metrics",
                                             "tf32",
                                             "torch_*",
                                             "trackio_*",
                                             "transformers_continuous_batching_config",
                                             "trust_remote_code",
                                             "use_cache",
                                             "use_cpu",
                                             "use_liger_kernel",
                                             "use_transformers_*",
                                             "use_vllm",
                                             "vllm_*"};

/* Keys that would change the mathematics: read if their value is one that does not, else refused by name.
 * null is always such a value. */
static const struct { const char *name, *harmless, *instead; } refused[] = {
    {"assistant_only_loss", "false", "completions are learned, prompts are not"},
    {"auto_find_batch_size", "false", "give --per-device-train-batch-size"},
    {"center_rewards_coefficient", "", "the regression head has no such term"},
    {"chat_template_kwargs", "", "choose the variant with --chat-template"},
    {"chat_template_path", "", "name it with --chat-template"},
    {"completion_only_loss", "true", "completions are learned, prompts are not"},
    {"data_seed", "", "one --seed serves all"},
    {"dataset_kwargs", "", "data are read as they are"},
    {"deepspeed", "", "one process computes all"},
    {"eos_token", "<EOS_TOKEN>", "the folder of the model says it"},
    {"fsdp", "", "one process computes all"},
    {"fsdp_config", "", "one process computes all"},
    {"generation_kwargs", "", "give --temperature, --top-k, --top-p, --min-p"},
    {"group_by_length", "false", "examples are drawn at random"},
    {"label_smoothing_factor", "0", "labels are not smoothed here"},
    {"load_best_model_at_end", "false", "the last weights are the result"},
    {"loss_type", "nll", "the negative log-likelihood is the only loss here"},
    {"lr_scheduler_kwargs", "", "give --min-lr-ratio"},
    {"max_prompt_length", "", "prompts are never cut"},
    {"max_tool_calling_iterations", "", "there are no tools here"},
    {"model_init_kwargs", "", "the folder of the model says all"},
    {"neftune_noise_alpha", "", "no noise is added to embeddings"},
    {"optim", "adamw_torch,adamw_torch_fused", "AdamW is the only optimiser"},
    {"optim_args", "", "give --adam-beta1 and its kin"},
    {"optim_target_modules", "", "AdamW trains all"},
    {"packing", "false", "rows need no packing here"},
    {"pad_token", "<PAD_TOKEN>", "the folder of the model says it"},
    {"parallelism_config", "", "one process computes all"},
    {"repetition_penalty", "1", "it would bias the ratio"},
    {"resume_from_checkpoint", "false", "give --resume"},
    {"router_aux_loss_coef", "", "there are no mixtures of experts here"},
    {"shuffle_dataset", "true,false", "examples are drawn at random"},
    {"sync_ref_model", "false", "the reference stays the starting policy"},
    {"train_sampling_strategy", "random", "examples are drawn at random"},
    {"truncation_mode", "keep_start", "long examples are cut at the end"}};

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
    return fail(e, "%s: unknown option \"%.80s\"%s%s%s; see grpo %s --help", where, name,
                near ? ", did you mean \"" : "", near ? near : "", near ? "\"" : "", t->command);
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
        for (int i = 0; i < n; i++)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", o->choice[i]);
        const char *near = nearest_name(text, o->choice, n);
        return fail(e, "%s: %s: found \"%.40s\", expected one of %s%s%s", where, o->name, text, all,
                    near ? "; did you mean " : "", near ? near : "");
    }
    const double v = strtod(text, &end);
    if (o->kind == OPT_NUMBER && (!o->fallback || !strcmp(o->fallback, "none")) && (!strcmp(text, "none") || !strcmp(text, "null"))) {
        *(double *)field = NAN;
        return true;
    }
    if (end == text || *end || !isfinite(v))
        return fail(e, "%s: %s: found \"%.40s\", expected a number", where, o->name, text);
    if (o->kind == OPT_NUMBER) {
        *(double *)field = v;
        return true;
    }
    if (v != floor(v) || fabs(v) > 2e9)
        return fail(e, "%s: %s: found \"%.40s\", expected a whole number", where, o->name, text);
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

static bool is_word_of(const char *list, const char *word) {        /* a list with commas */
    const size_t n = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == n && !strncmp(at, word, n)) return true;
    return false;
}

/* A value of a JSON file as text, a list as its items with commas: kept, for strings point into it. NULL: no
 * such value. */
static const char *value_text(const Json *v) {
    if (v->type == JSON_STRING) return v->string;
    if (v->type == JSON_BOOL) return v->number != 0 ? "true" : "false";
    if (v->type == JSON_OBJECT || v->type == JSON_NULL) return NULL;
    JsonWriter w = {0};
    if (v->type == JSON_NUMBER) json_number(&w, v->number);
    for (size_t i = 0; v->type == JSON_ARRAY && i < v->length; i++) {
        const char *item = v->item[i].type == JSON_ARRAY ? NULL : value_text(&v->item[i]);
        if (!item) return NULL;
        if (i) json_raw(&w, ",");
        json_raw(&w, item);
    }
    return w.text ? w.text : "";
}

/* A key of TRL's that is no option here: fine without effect (*listed tells), or with a value that is the
 * only one here; else an error. */
static bool from_trl(bool *listed, const OptionTable *t, const Json *v, const char *where, Err *e) {
    *listed = name_among(v->key, without_effect, sizeof without_effect / sizeof *without_effect);
    if (*listed) return true;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(refused[i].name, v->key)) continue;
        const char *text = value_text(v);
        if (v->type == JSON_NULL || ((v->type == JSON_ARRAY || v->type == JSON_OBJECT) && !v->length) ||
            (text && is_word_of(refused[i].harmless, text)))
            return true;
        return fail(e, "%s: %s: found %.60s, expected %s%s: %s; take it out", where, v->key,
                    text ? text : json_type_name(v->type), refused[i].harmless,
                    *refused[i].harmless ? " or null" : "null", refused[i].instead);
    }
    return unknown(t, v->key, where, e);
}

static bool from_file(void *config, const OptionTable *t, const char *path, Err *e) {
    Json *root = json_read_file(path, e);           /* kept: strings point into it */
    if (!root) return false;
    if (root->type != JSON_OBJECT)
        return fail(e, "%s: found %s, expected an object of options", path, json_type_name(root->type));
    /* one file may hold a recipe: an object per command; or it is a run's own config.json */
    const Json *own = json_get(root, t->command), *of_run = json_get(root, "options"),
               *command = json_get(root, "command");
    const bool tells = !strcmp(t->command, "trace");        /* a step of `train` */
    if (!own && tells) own = json_get(root, "train");
    if (of_run && command && command->type == JSON_STRING &&
        strcmp(command->string, tells ? "train" : t->command))
        return fail(e, "%s: is of a run of grpo %.20s; expected one of grpo %s", path, command->string,
                    tells ? "train" : t->command);
    const Json *o = own && own->type == JSON_OBJECT         ? own
                    : of_run && of_run->type == JSON_OBJECT ? of_run
                                                            : root;
    int n_listed = 0;
    for (size_t i = 0; i < o->length; i++) {
        const Json *v = &o->item[i];
        const Option *option = find(t, v->key);
        char where[1200];
        snprintf(where, sizeof where, "%s:%d:%d", path, v->line, v->column);
        if (!option) {
            bool listed;
            if (!from_trl(&listed, t, v, where, e)) break;
            if (listed && v->type != JSON_NULL)
                fprintf(stderr, n_listed++ ? ", %s" : "grpo: accepted without effect: %s", v->key);
            continue;
        }
        if (v->type == JSON_NULL) continue;
        const char *text = v->type == JSON_ARRAY && option->kind != OPT_STRING ? NULL : value_text(v);
        if (!text)
            fail(e, "%s: %s: found %s, expected a single value", where, v->key, json_type_name(v->type));
        if (!text || !set(config, option, text, where, e)) break;
    }
    if (n_listed) fputc('\n', stderr);
    return !e->line[0];
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
    printf("  --%-30s %s\n", "config FILE",
           "options from a JSON file: an object of them, or its member named like the command, or a run's "
           "config.json");
    printf("\nexample: %s\n", t->example);
}

/* The value of a long option on the command line, NULL if it is not there. */
static const char *given(int argc, char **argv, const char *name) {
    const size_t n = strlen(name);
    const char *last = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2)) continue;
        char plain[64];
        snprintf(plain, sizeof plain, "%.*s", (int)strcspn(argv[i] + 2, "="), argv[i] + 2);
        if (!same_name(plain, name)) continue;
        if (argv[i][2 + n] == '=') last = argv[i] + 3 + n;
        else last = i + 1 < argc && strncmp(argv[i + 1], "--", 2) ? argv[i + 1] : "true";
    }
    return last;
}

int options_parse(void *config, const OptionTable *t, int argc, char **argv, Err *e) {
    const char *file = given(argc, argv, "config");
    for (int i = 0; i < t->n; i++) set_default(config, &t->option[i]);
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) { help(t); return 1; }
    if (file && (!*file || !strcmp(file, "true"))) {
        fail(e, "--config: expected the name of a JSON file (YAML is not read)");
        return -1;
    }
    static char of_run[1100];                       /* --resume takes the run's own configuration */
    const char *resume = given(argc, argv, "resume"), *dir = given(argc, argv, "output_dir");
    if (!file && find(t, "resume") && resume && dir && (!strcmp(resume, "true") || !strcmp(resume, "1"))) {
        snprintf(of_run, sizeof of_run, "%.1000s/config.json", dir);
        if (path_exists(of_run)) file = of_run;
    }
    if (file && !from_file(config, t, file, e)) return -1;
    for (int i = 1; i < argc; i++) {
        char name[128];
        const char *value = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2)) {
            fail(e, "found \"%.80s\", expected an option; see grpo %s --help", argv[i], t->command);
            return -1;
        }
        snprintf(name, sizeof name, "%.*s", (int)(value ? value - argv[i] - 2 : (long)strlen(argv[i]) - 2),
                 argv[i] + 2);
        if (!strcmp(name, "config")) { if (!value) i++; continue; }
        const Option *o = find(t, name);
        if (!o) { unknown(t, name, "command line", e); return -1; }
        if (value) value++;
        else if (o->kind == OPT_BOOL && (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))) value = "true";
        else if (i + 1 < argc && strncmp(argv[i + 1], "--", 2)) value = argv[++i];
        else {
            fail(e, "--%s: expected a value; write --%s=VALUE if it begins with --", name, name);
            return -1;
        }
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

void options_write_default(JsonWriter *w, const Option *o) {
    union { const char *string; int i; double number; bool b; } value;
    Option alone = *o;
    alone.offset = 0;
    set_default(&value, &alone);
    options_write_value(w, &value, &alone);
}

bool options_agree(const void *config, const OptionTable *t, const Json *saved, const char *const *free_names,
                   const char *file, Err *e) {
    for (int i = 0; i < t->n; i++) {
        bool is_free = false;
        for (int k = 0; free_names[k]; k++) is_free = is_free || !strcmp(free_names[k], t->option[i].name);
        if (is_free) continue;
        JsonWriter a = {0}, b = {0};
        options_write_value(&a, config, &t->option[i]);
        const Json *v = json_get(saved, t->option[i].name);
        if (v) json_value(&b, v);
        else options_write_default(&b, &t->option[i]);
        const bool same = !strcmp(a.text, b.text);
        if (!same)
            fail(e,
                 "%s: %s: the run was started with %.60s, now it is %.60s; resume with the same options or "
                 "start a new run",
                 file, t->option[i].name, b.text, a.text);
        free(a.text);
        free(b.text);
        if (!same) return false;
    }
    return true;
}

/* A number for each label, `absent` for those that are not named; what: "weight". */
static bool parse_labelled(double *value, const char *text, double absent, const char *what,
                           const char (*label)[64], int n_label, const char *option, Err *e) {
    const bool named = strchr(text, '=') != NULL;
    bool given[64] = {false};
    for (int k = 0; k < n_label; k++) value[k] = absent;
    int n = 0;
    for (const char *at = text; *at; n++) {
        const size_t length = strcspn(at, ",");
        char item[128], *end;
        snprintf(item, sizeof item, "%.*s", (int)(length < 127 ? length : 127), at);
        int k = n;
        char *number = item;
        if (named) {
            number = strchr(item, '=');
            if (!number) return fail(e, "%s: found \"%s\", expected LABEL=NUMBER", option, item);
            *number++ = 0;
            const char *names[64];
            for (int i = 0; i < n_label && i < 64; i++) names[i] = label[i];
            for (k = 0; k < n_label && strcmp(label[k], item); k++) {}
            if (k == n_label) {
                const char *near = nearest_name(item, names, n_label);
                return fail(e, "%s: unknown label \"%s\"%s%s", option, item,
                            near ? ", did you mean " : ", the scores have other labels", near ? near : "");
            }
        }
        if (named && given[k]) return fail(e, "%s: label \"%s\" stands there twice", option, item);
        if (k >= n_label)
            return fail(e, "%s: found more than %d %ss, expected one for each label", option, n_label, what);
        if (k < 64) given[k] = true;
        value[k] = strtod(number, &end);
        if (end == number || *end || !isfinite(value[k]))
            return fail(e, "%s: found \"%s\", expected a number", option, number);
        at += length + (at[length] == ',');
    }
    return named || n == n_label ||
           fail(e, "%s: found %d %ss, expected %d, one for each label", option, n, what, n_label);
}

bool parse_weights(double *weight, const char *text, const char (*label)[64], int n_label, const char *option,
                   Err *e) {
    for (int k = 0; k < n_label; k++) weight[k] = 1;
    if (text && !parse_labelled(weight, text, 0, "weight", label, n_label, option, e)) return false;
    for (int k = 0; k < n_label; k++)
        if (weight[k] != 0) return true;
    return fail(e, "%s: all weights are 0: there would be no reward; give at least one label a weight",
                option);
}

bool parse_floors(double *floor, const char *text, const char (*label)[64], int n_label, const char *option,
                  Err *e) {
    return parse_labelled(floor, text, -INFINITY, "floor", label, n_label, option, e);
}

bool parse_range(double *low, double *high, const char *text, const char *option, Err *e) {
    char *end, *last = NULL;
    *low = strtod(text, &end);
    if (end != text && *end == ',') *high = strtod(end + 1, &last);
    if (!last || last == end + 1 || *last || !(*low < *high))
        return fail(e, "%s: found \"%.60s\", expected LOW,HIGH such as 0,1", option, text);
    return true;
}
