/* parsers.h: every reader of what a stranger may have made, each as a function of the bytes alone: they are
 * read, and what comes out is used. test_fuzz.c gives them damaged seeds, fuzz.c what libFuzzer makes up; the
 * seeds, and every input that once was a finding, are the files of tests/fuzz/NAME. */
#ifndef PARSERS_H
#define PARSERS_H

#include "compute/kinds.h"
#include "lib/files.h"
#include "lib/safetensors.h"
#include "net/adapter.h"
#include "net/folder.h"
#include "run/checkpoint.h"
#include "run/options.h"
#include "run/scorer.h"
#include "tests/tiny.h"
#include "text/data.h"
#include "text/jinja.h"
#include "verify/diagnose.h"
#include "verify/stages.h"
#include "verify/write.h"

static const char *parsers_dir;         /* a folder for the files that readers of files are given */
static long read_ones, refused;

static const char *place(const char *name) {
    static char path[1024];
    Err e = {{0}};
    if (!path_join(path, sizeof path, parsers_dir, name, &e)) exit(2);
    return path;
}
static void put(const char *name, const char *bytes, size_t n) { /* not file_write: it waits for the disk */
    FILE *f = fopen(place(name), "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) {
        printf("%s: could not be written\n", place(name));
        exit(2);
    }
}

/* What each reading must be: fine, or refused with one whole line. */
static void verdict(bool ok, Err *e) {
    if (ok) read_ones++;
    else refused++;
    if (ok ? !e->line[0] : e->line[0] && !strchr(e->line, '\n')) passed++;
    else { failed++; printf("%s, but the line is \"%s\"\n", ok ? "read" : "refused", e->line); }
    e->line[0] = 0;
}

/* ---- one function a reader ---- */

static void read_json(const char *bytes, size_t n) {
    Err e = {{0}};
    Json *j = json_parse(bytes, n, "fuzz", 1, &e);
    verdict(j != NULL, &e);
    if (j) {                                    /* what was read is written and read again: the same text */
        JsonWriter a = {0}, b = {0};
        json_value(&a, j);
        Json *again = json_parse(a.text, a.length, "again", 1, &e);
        if (again) json_value(&b, again);
        CHECK(again && a.length == b.length && !memcmp(a.text, b.text, a.length));
        free(a.text);
        free(b.text);
        json_free(again);
    }
    json_free(j);
}

/* Every byte that an open file promises must be there. */
static void use_tensors(const char *opened) {
    Err e = {{0}};
    Safetensors *s = safetensors_open(opened, &e);
    unsigned sum = 0;
    verdict(s != NULL, &e);
    for (int i = 0; s && i < safetensors_count(s); i++) {
        const Tensor *x = safetensors_at(s, i);
        for (size_t k = 0; k < x->bytes; k++) sum += ((const unsigned char *)x->data)[k];
        CHECK(safetensors_find(s, x->name) != NULL);
    }
    CHECK(sum < 4294967295u);
    safetensors_close(s);
}
static void read_safetensors(const char *bytes, size_t n) {
    put("whole.safetensors", bytes, n);
    use_tensors(place("whole.safetensors"));
}

/* A reader of one file of a folder that has its name; the folder's other files are as they should be. */
#define READ_IN_FOLDER(name, file, use)                             \
    static void read_##name(const char *bytes, size_t n) {          \
        put(#name "/" file, bytes, n);                              \
        use(place(#name));                                          \
    }
READ_IN_FOLDER(shards, "model.safetensors.index.json", use_tensors)

static void use_tokenizer(const char *dir) {
    static const char *const hard =
        "Fix the car, 1234 times!  \t\n don't e\xcc\x81\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 \xff\xc3 "
        "<user> end<end>";
    static const Message m[] = {{"system", "be kind", NULL},
                                {"user", "hi <end>", NULL},
                                {"assistant", "yes", NULL},
                                {"user", "more", NULL}};
    Err e = {{0}};
    Tokenizer *k = tokenizer_load(dir, &e);
    verdict(k != NULL, &e);
    for (int special = 0; k && special < 2; special++) {
        Ids ids = {0};
        char *back = NULL;
        const bool ok = tokenizer_encode(&ids, k, hard, strlen(hard), special, &e) &&
                        (back = tokenizer_decode(k, ids.id, ids.n, special, NULL, &e)) != NULL;
        verdict(ok, &e);
        for (int i = 0; i < ids.n; i++)
            if (ids.id[i] < 0 || ids.id[i] >= tokenizer_vocab(k)) {
                CHECK(!"an id outside of the vocabulary");
                break;
            }
        free(ids.id);
        free(back);
    }
    Chat *c = k ? chat_open(k, dir, NULL, &e) : NULL;
    for (int open = 0; c && open < 2; open++) {
        Ids ids = {0};
        chat_encode(&ids, c, (Conversation){m, 4, NULL}, open, &e);
        free(ids.id);
    }
    chat_free(c);
    tokenizer_free(k);
}
READ_IN_FOLDER(tokenizer, "tokenizer.json", use_tokenizer)
READ_IN_FOLDER(tokenizer_config, "tokenizer_config.json", use_tokenizer)
READ_IN_FOLDER(special_tokens, "special_tokens_map.json", use_tokenizer)

/* A chat template, with the variables that tests/data/jinja.jsonl begins with, as text and as data. */
static JsonLines template_lines;
static void read_template(const char *bytes, size_t n) {
    const Json *input = json_get(template_lines.line[0], "input");
    Err e = {{0}};
    JinjaVariable v[16];
    Jinja *j = jinja_parse(bytes, n, "fuzz", &e);
    verdict(j != NULL, &e);
    for (int marked = 0; j && marked < 2; marked++) {
        JinjaText out = {0};
        for (size_t i = 0; i < input->length; i++)
            v[i] = (JinjaVariable){input->item[i].key, &input->item[i], marked};
        verdict(jinja_render(&out, j, v, (int)input->length, marked ? "2024-07-26" : NULL, &e), &e);
        for (size_t i = 0; i < out.n; i++)
            if (out.mark[i] > (JINJA_DATA | JINJA_GENERATION)) { CHECK(!"a mark that there is not"); break; }
        free(out.text);
    }
    jinja_free(j);
}

static void use_folder(const char *dir) {
    Err e = {{0}};
    ModelConfig c;
    FolderInfo info;
    const bool fine = folder_config(&c, &info, dir, &e);
    verdict(fine, &e);
    if (fine && model_bytes(&c) < 1 << 24) {
        Model *m = folder_load(dir, &info, &e);
        verdict(m != NULL, &e);
        model_free(m);
    }
}
READ_IN_FOLDER(config, "config.json", use_folder)
READ_IN_FOLDER(generation_config, "generation_config.json", use_folder)
READ_IN_FOLDER(adapter_config, "adapter_config.json", use_folder)

/* Rows, for every need of Need together with others. */
static void read_data(const char *bytes, size_t n) {
    static const char label[2][64] = {"safety", "politeness"};
    put("data.jsonl", bytes, n);
    for (int need = 1; need < 8; need++) {
        Err e = {{0}};
        Dataset d;
        double value[2];
        bool ok = dataset_load(&d, place("data.jsonl"), need, need % 2 ? "be kind" : NULL, &e);
        for (int i = 0; ok && i < d.n; i++)
            ok = d.row[i].n_prompt > 0 && d.row[i].prompt[0].content &&
                 example_labels(value, &d.row[i], label, 2, "data.jsonl", &e);
        verdict(ok, &e);
    }
}

static void read_recipe(const char *bytes, size_t n) {
    typedef struct { const char *name, *list; int count, kind; double rate; bool on; } Config;
    static const char *const kinds[] = {"one", "two", NULL};
    static const Setting rows[] = {
        {"name", SET_STRING, offsetof(Config, name), NULL, NULL, ""},
        {"reward_weights", SET_STRING, offsetof(Config, list), NULL, NULL, ""},
        {"count", SET_INT, offsetof(Config, count), "3", NULL, ""},
        {"kind", SET_CHOICE, offsetof(Config, kind), "one", kinds, ""},
        {"rate", SET_NUMBER, offsetof(Config, rate), "none", NULL, ""},
        {"on", SET_BOOL, offsetof(Config, on), "false", NULL, ""},
        SETTINGS_END};
    static const OptionTable table = {"fuzz", "", "", .part = {{rows, 0}}};
    Err e = {{0}};
    Config c;
    put("recipe.json", bytes, n);
    char *argv[] = {(char *)"fuzz", (char *)"--config", (char *)place("recipe.json")};
    const int r = options_parse(&c, &table, 3, argv, &e);
    verdict(r == 0, &e);
    if (r == 0) CHECK(c.kind == 0 || c.kind == 1);
}

/* A line of `grpo compute`. */
static void read_compute(const char *bytes, size_t n) {
    Err e = {{0}};
    JsonWriter out = {0};
    const char *kind;
    Json *line = json_parse(bytes, n, "fuzz", 1, &e), *read = NULL;
    const bool ok = line && json_get_string(line, "kind", &kind, "fuzz", &e) &&
                    compute_case(&out, kind, json_get(line, "inputs"), &e);
    verdict(ok, &e);
    if (ok) CHECK((read = json_parse(out.text, out.length, "outputs", 1, &e)) && read->type == JSON_OBJECT);
    json_free(read);
    json_free(line);
    free(out.text);
}

/* Beneath the seal, which damage would not pass. */
static Trainer parsers_trainer;
static void read_checkpoint(const char *bytes, size_t n) {
    Err e = {{0}};
    put("checkpoint.safetensors", bytes, n);
    Safetensors *sealed = checkpoint_open(place("checkpoint.safetensors"), &e);
    if (!sealed) verdict(false, &e);
    safetensors_close(sealed);
    verdict(trainer_load(&parsers_trainer, place("checkpoint.safetensors"), &e), &e);
}

/* A dump, judged without a model; and the right values by a model where its ids are that model's. */
static Model *dump_policy;
static FolderInfo dump_policy_info;
static void read_dump(const char *bytes, size_t n) {
    const Policies none = {0}, model = {.policy = dump_policy};
    Err e = {{0}};
    Dump d;
    Report r;
    Case c;
    Pool p = {0};
    put("dump.safetensors", bytes, n);
    const bool ok = dump_open(&d, place("dump.safetensors"), NULL, &e);
    verdict(ok, &e);
    if (!ok) return;
    verdict(report_make(&r, &d, &none, NULL, true, &e), &e);
    report_free(&r);
    if (dump_model(&d, &dump_policy->config, &dump_policy_info, "policy", &e) &&
        d.width + d.prompt_width <= (size_t)dump_policy->config.context)
        verdict(case_open(&c, &d, &model, &p, &e) && write_values(place("values"), &c, &e), &e);
    pool_free(&p);
    dump_close(&d);
}

/* A scoring program that answers with these lines; two are its trial. */
static void read_answers(const char *bytes, size_t n) {
    const Message user = {"user", "hi", NULL};
    Example x = {.line = 1, .prompt = &user, .n_prompt = 1};
    Err e = {{0}};
    char command[1100];
    snprintf(command, sizeof command, "cat '%s'; echo; exec cat > /dev/null", place("answers"));
    put("answers", bytes, n);
    Scorer *s = scorer_open(&(ScorerOptions){.program = command, .timeout = 2}, 64,
                            &(Dataset){.path = "rows", .row = &x, .n = 1}, &e);
    bool ok = s != NULL;
    for (int i = 0; ok && i < 3; i++) {
        real score[MAX_LABELS];
        const Completion r = {&x, "a reply", true};
        ok = scorer_score(s, score, &r, 1, &e);
    }
    verdict(ok, &e);
    scorer_close(s);
}

/* weight: its share of the rounds; 0: it starts a process for each reading, which libFuzzer leaves out. */
typedef struct { const char *name; void (*read)(const char *bytes, size_t n); double weight; } Parser;
static const Parser parsers[] = {
    {"json", read_json, 8}, {"safetensors", read_safetensors, 4}, {"shards", read_shards, 1},
    {"tokenizer", read_tokenizer, 1}, {"tokenizer_config", read_tokenizer_config, 1},
    {"special_tokens", read_special_tokens, 1}, {"template", read_template, 8}, {"config", read_config, 3},
    {"generation_config", read_generation_config, 1}, {"adapter_config", read_adapter_config, 2},
    {"data", read_data, 2}, {"recipe", read_recipe, 1}, {"compute", read_compute, 4},
    {"checkpoint", read_checkpoint, 2}, {"dump", read_dump, 0.5}, {"answers", read_answers, 0}};
enum { N_PARSER = sizeof parsers / sizeof *parsers };

/* ---- what they stand on ---- */

static bool parsers_folder(const char *name, const Model *m, const FolderInfo *info, Err *e) {
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", place(name));
    return folder_make(dir, e) && (!m || folder_save(dir, m, info, NULL, STORE_F32, e));
}

/* Fills the folder `dir` with what the readers need beside the bytes that they are given. */
static bool parsers_open(const char *dir, Err *e) {
    static const char *const texts[] = {" fix the car, please fix the cars",
                                        " first look at the engine, then at the wheels 1234"};
    const size_t lengths[] = {strlen(texts[0]), strlen(texts[1])};
    const float one = 1;
    const TensorOut
        a = {.name = "a", .store = STORE_F32, .n_dim = 1, .shape = {1}, .data = &one, .from = STORE_F32},
        b = {.name = "b", .store = STORE_F32, .n_dim = 1, .shape = {1}, .data = &one, .from = STORE_F32};
    static const char *const tokenizers[] = {"tokenizer", "tokenizer_config", "special_tokens"};
    FolderInfo scores = {.stop = {2}, .n_stop = 1, .label = {"a", "b", "c"}},
               speaks = {.stop = {2}, .n_stop = 1}, adapted = speaks;
    Model *scorer = tiny_model(TINY_LABELS), *policy = tiny_model(0), *adapter = tiny_model(TINY_ADAPTED);
    parsers_dir = dir;
    snprintf(adapted.base, sizeof adapted.base, "../base");
    bool ok = folder_make(dir, e) && parsers_folder("shards", NULL, NULL, e) &&
              safetensors_write(place("shards/one.safetensors"), &a, 1, (const char *const[]){NULL}, e) &&
              safetensors_write(place("shards/two.safetensors"), &b, 1, (const char *const[]){NULL}, e) &&
              parsers_folder("config", scorer, &scores, e) &&
              parsers_folder("generation_config", policy, &speaks, e) &&
              parsers_folder("base", policy, &speaks, e) &&
              parsers_folder("adapter_config", adapter, &adapted, e);
    for (size_t i = 0; ok && i < sizeof tokenizers / sizeof *tokenizers; i++)
        ok = parsers_folder(tokenizers[i], NULL, NULL, e) &&
             tokenizer_train(place(tokenizers[i]), texts, lengths, 2, 280, e);
    ok = ok && trainer_new(&parsers_trainer, scorer, 16, 16, e) &&
         json_lines_read(&template_lines, "tests/data/jinja.jsonl", false, e) &&
         (dump_policy = folder_load("tests/golden/llama", &dump_policy_info, e)) != NULL;
    model_free(policy);
    model_free(adapter);
    return ok;
}

#endif
