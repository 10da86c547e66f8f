/* info.c: `grpo info`: what is in a folder, and what a run of it will need (section 8 of the mathematics). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/advice.h"
#include "cmd/commands.h"
#include "run/run.h"
#include "net/folder.h"
#include "run/rollout.h"
#include "text/chat.h"
#include "lib/say.h"

typedef struct {
    const char *model;
    AdapterOptions adapter;
    int prompt_length, completion_length, num_generations, prompts;
    bool json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"model", SET_STRING, AT(model), NULL, NULL, "folder of a model"},
    {"prompts", SET_INT, AT(prompts), "1", NULL, "prompts of a GRPO step"},
    {"num_generations", SET_INT, AT(num_generations), "8", NULL, "completions of each"},
    {"prompt_length", SET_INT, AT(prompt_length), "64", NULL, "tokens"},
    {"completion_length", SET_INT, AT(completion_length), "64", NULL, "tokens"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result on stdout as JSON"},
    SETTINGS_END};
const OptionTable *const run_tables[] = {&sft_table, &reward_table, &em_table, &train_table,
                                         &ppo_table, &aihf_table,   &dpo_table,
                                         NULL};

static const OptionTable table = {
    "info",
    "what is in a folder, and what a GRPO step of it will need; --run COMMAND and that command's options: "
    "memory, operations and time of that run, without making it; with --mean-completion-length N for "
    "completions of that length, not the longest",
    "grpo info --run train --config runs/grpo/config.json",
    .part = {{rows, 0}, {adapter_settings, AT(adapter)}}};

/* All that is told, as text or as JSON. */
typedef struct {
    ModelConfig shape;                  /* with the adapter that a run would add */
    FolderInfo info;
    size_t parameters, trained;
    char hex[65], template[160];
    int entries;                        /* of the tokenizer; -1: none */
    double bytes, generation, training; /* of a GRPO step: E190, E192 */
} Facts;

static bool check(const Config *o, Err *e) {
    if (!o->model) return fail(e, "--model: not given; expected the folder of a model");
    if (o->prompts < 1 || o->num_generations < 1 || o->prompt_length < 1 || o->completion_length < 1 ||
        (double)o->prompts * (o->prompt_length + (double)o->num_generations * o->completion_length) > 1e9)
        return fail(e,
                    "--prompts %d, --num-generations %d, --prompt-length %d, --completion-length %d: "
                    "expected at least 1 of each, and at most 1e9 tokens",
                    o->prompts, o->num_generations, o->prompt_length, o->completion_length);
    return true;
}

static bool collect(Facts *f, const Config *o, Err *e) {
    Err ignored = {{0}};
    char own[1024];
    Model *m = folder_config(&f->shape, &f->info, o->model, e) ? folder_load(o->model, &f->info, e) : NULL;
    if (!m) return false;
    folder_digest(m, f->hex);
    f->parameters = model_parameters(m);
    model_free(m);
    Tokenizer *t = folder_tokenizer(own, o->model, &ignored) ? tokenizer_load(own, &ignored) : NULL;
    f->entries = t ? tokenizer_vocab(t) : -1;
    Chat *chat = t ? chat_open(t, own, NULL, &ignored) : NULL;
    snprintf(f->template, sizeof f->template, "%.159s", chat ? chat_name(chat) : ignored.line);
    chat_free(chat);
    tokenizer_free(t);
    /* that it cannot be read is a fact of the folder; that there is no memory for it is none */
    if (fail_of_memory(&ignored)) return fail(e, "%s", ignored.line);
    if (!run_adapter(&f->shape, &f->info, &o->adapter, o->model, e)) return false;
    const double p = o->prompt_length, l = o->completion_length, g = o->num_generations,
                 slice = p + g * l > 1024 ? p + g * l : 1024;
    Texts one = {0}, all = {0};
    f->bytes = (double)trainer_bytes(&f->shape, (int)slice, (int)slice);
    f->trained = model_trainable(&f->shape);
    if (f->trained == SIZE_MAX || !(f->bytes < (double)(SIZE_MAX / 4)))
        return fail(e, "%s: no memory to tell what it takes, or its size overflows", o->model);
    texts_prompt(&one, p);
    for (int i = 0; i < o->num_generations; i++) texts_completion(&one, p, l);
    texts_add(&all, &one, o->prompts);
    f->generation = cost_forward(&f->shape, &all, all.scored);
    f->training =
        f->generation + cost_backward(&f->shape, &all, all.scored, !acts_keep_logits(&f->shape, (int)slice));
    return true;
}

static const char *const arch[] = {"Llama", "Qwen2", "Qwen3"};

static void put_facts(JsonWriter *w, const Facts *f, const Config *o) {
    const ModelConfig *c = &f->shape;
    const struct { const char *key; int value; } size[] = {
        {"layers", c->n_layer}, {"width", c->hidden}, {"heads", c->n_head}, {"key_value_heads", c->n_kv_head},
        {"head_dim", c->head_dim}, {"inner", c->ffn}, {"vocabulary", c->vocab}, {"context", c->context},
        {"tokenizer_entries", f->entries}};
    char names[96];
    json_begin(w, '{');
    json_put_string(w, "model", o->model);
    json_put_string(w, "architecture", arch[c->arch]);
    json_put_int(w, "parameters", (long long)f->parameters);
    json_put_int(w, "trained", (long long)f->trained);
    json_put_string(w, "sha256", f->hex);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) json_put_int(w, size[i].key, size[i].value);
    json_put_string(w, "head",
                    f->info.value_model ? "value"
                    : c->n_label        ? "regression"
                    : c->tied           ? "tied"
                                        : "own");
    json_put_string(w, "template", f->template);
    json_open(w, "labels", '{');        /* and what is added to their scores */
    for (int k = 0; k < c->n_label; k++) json_put(w, f->info.label[k], f->info.reward_mean[k]);
    json_end(w, '}');
    if (c->lora.r) {
        json_open(w, "adapter", '{');
        json_put_int(w, "rank", c->lora.r);
        json_put(w, "alpha", c->lora.alpha);
        json_put_bool(w, "rslora", c->lora.rslora);
        json_put_string(w, "beside", lora_targets_text(names, c->lora.target));
        json_put_string(w, "base", f->info.base);
        json_end(w, '}');
    }
    json_open(w, "options", '{');
    options_write(w, o, &table);
    json_end(w, '}');
    json_put(w, "training_bytes", f->bytes);
    json_put(w, "generation_flops", c->n_label ? NAN : f->generation);
    json_put(w, "training_flops", c->n_label ? NAN : f->training);
    json_end(w, '}');
}

static void tell_facts(const Json *v) {
    const Json *label = json_get(v, "labels");
    say(v, label->length ? "{model}: {architecture}, reward model"
                         : "{model}: {architecture}, language model");
    say(v, ", {parameters} parameters\n  layers {layers}, width {width}, heads {heads} (key/value "
           "{key_value_heads}) of {head_dim}, inner {inner}, vocabulary {vocabulary}, context {context}, "
           "{head} head\n");
    for (size_t k = 0; k < label->length; k++) {
        printf("  label %zu", k);
        say(&label->item[k], ": {@}, mean {%.4f}\n");
    }
    if (json_get(v, "adapter"))
        say(v, "  adapter of rank {adapter.rank}, alpha {adapter.alpha}, beside {adapter.beside} of "
               "{adapter.base}: {trained} parameters are trained\n");
    say(v, "  weights {sha256}\n  tokenizer: ");
    say(v, json_get(v, "tokenizer_entries")->number < 0
               ? "{template}\n"
               : "{tokenizer_entries} entries, template {template}\n");
    say(v, "one GRPO step, --prompts {options.prompts} of {options.prompt_length} tokens, --num-generations "
           "{options.num_generations} of {options.completion_length} tokens\n  memory to train: "
           "{training_bytes%B} (weights, gradient, two moments, activations of a slice)\n");
    if (!label->length)
        say(v, "  operations: generation {generation_flops%.3g}, training {training_flops%.3g} (E190, "
               "E192)\n");
}

static void put_plan(JsonWriter *w, const char *command, const RunPlan *p) {
    json_begin(w, '{');
    json_put_string(w, "command", command);
    json_put_int(w, "steps", p->n_step);
    json_put(w, "memory_bytes", p->memory);
    json_put(w, "step_seconds", p->step_seconds);
    json_put(w, "seconds", p->step_seconds * p->n_step);
    json_put_string(w, "seconds_from", p->how);
    json_put(w, "completion_length", p->length > 0 ? p->length : NAN);
    json_put_string(w, "completion_length_from",
                    p->length <= 0       ? "data"
                    : p->mean_length > 0 ? "given mean"
                                         : "maximum");
    json_key(w, "predicted"); cost_json(w, &p->cost);
    advice_put(w, p);
    json_end(w, '}');
}

static void tell_plan(const Json *v) {
    const Json *cost = json_get(v, "predicted"), *memory = json_get(cost, "memory"),
               *from = json_get(v, "completion_length_from");
    say(v, "{command}: {steps} updates\n  memory: {memory_bytes%B} at most\n");
    for (size_t k = 0; k < memory->length; k++)
        if (memory->item[k].number > 0) say(&memory->item[k], "    {@%-12s} {%10B}\n");
    say(v, "  time: {step_seconds%T} an update, {seconds%T} in all ({seconds_from})\n  lengths: ");
    say(v, *from->string == 'd' ? "those of the data\n"
           : *from->string == 'g'
               ? "completions of {completion_length%g} tokens, the mean that was given\n"
               : "completions of {completion_length%g} tokens, the most that they may have; "
                 "--mean-completion-length says what to expect\n");
    say(cost, "  tokens: {tokens.prompt%.0f} of prompts, {tokens.completion%.0f} of completions\n"
              "  operations: {total_flops%.4g}\n");
    printf("    %-12s %12s %12s %14s %14s\n", "", "forward", "backward", "rows forward", "rows backward");
    for (int k = 0; k < N_NET; k++) {
        const Json *flops = &json_get(cost, "flops")->item[k], *rows_of = &json_get(cost, "passes")->item[k];
        if (!(json_get(rows_of, "forward")->number > 0)) continue;
        say(flops, "    {@%-12s} {forward%12.4g} {backward%12.4g}");
        say(rows_of, " {forward%14.0f} {backward%14.0f}\n");
    }
    const Json *advice = json_get(json_get(v, "advice"), "text");
    for (size_t k = 0; advice && k < advice->length; k++) say(&advice->item[k], "  advice: {}\n");
}

/* Takes --mean-completion-length N out of the arguments: it is not the command's. */
static bool take_length(double *length, int *argc, char **argv, Err *e) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--mean-completion-length") && strcmp(argv[i], "--mean_completion_length"))
            continue;
        char *end = NULL;
        *length = i + 1 < *argc ? strtod(argv[i + 1], &end) : NAN;
        if (!end || *end || !(*length >= 1 && *length < 1e9))
            return fail(e,
                        "--mean-completion-length: found \"%.40s\", expected a number of tokens, at least 1",
                        i + 1 < *argc ? argv[i + 1] : "");
        for (int k = i; k + 2 <= *argc; k++) argv[k] = k + 2 < *argc ? argv[k + 2] : NULL;
        *argc -= 2;
        return true;
    }
    return true;
}

/* info --run COMMAND [its options]: memory and operations by formula, seconds from a few short steps. --json
 * and --mean-completion-length here are info's. */
static int plan_run(int argc, char **argv, Err *e) {
    static const struct {
        const char *name;
        int (*plan)(RunPlan *p, int argc, char **argv, Err *e);
        bool draws;
    } command[] = {{"sft", plan_sft, false},
                   {"reward", plan_reward, false},
                   {"em", plan_em, false},
                   {"train", plan_train, true},
                   {"ppo", plan_ppo, true},
                   {"aihf", plan_aihf, true},
                   {"dpo", plan_dpo, false}};
    enum { N = sizeof command / sizeof *command };
    RunPlan p = {.memory = -1};
    int i = 0, json = -1;
    while (i < N && strcmp(command[i].name, argv[0])) i++;
    if (i == N) {
        fail(e, "--run: found \"%.40s\", expected sft, reward, em, train, ppo, aihf or dpo, and then its "
             "options",
             argv[0]);
        return -1;
    }
    if (!take_length(&p.mean_length, &argc, argv, e)) return -1;
    if (p.mean_length > 0 && !command[i].draws) {
        fail(e, "--mean-completion-length: the lengths of %s are those of its data; leave it out",
             command[i].name);
        return -1;
    }
    for (int k = 1; k < argc; k++) if (!strcmp(argv[k], "--json")) json = k;
    const int r = command[i].plan(&p, argc, argv, e);
    if (r || p.memory < 0) return r;                            /* an error, or --help */
    JsonWriter w = {0};
    put_plan(&w, command[i].name, &p);
    return say_result(&w, json > 0, tell_plan, e) ? 0 : -1;
}

int cmd_info(int argc, char **argv, Err *e) {
    if (argc > 2 && !strcmp(argv[1], "--run")) return plan_run(argc - 2, argv + 2, e);
    Config o;
    Facts f = {.entries = -1};
    const int r = options_parse(&o, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    if (!check(&o, e) || !collect(&f, &o, e)) return -1;
    JsonWriter w = {.indent = 2};
    put_facts(&w, &f, &o);
    return say_result(&w, o.json, tell_facts, e) ? 0 : -1;
}
