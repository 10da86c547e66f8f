/* test_fuzz.c: every parser reads thousands of damaged files: each is refused with a line, or what was read
 * can be used.
 *
 *     build/f32/tests/test_fuzz [ROUNDS [SEED]]
 *
 * A valid text is damaged in a few places (bits, bytes, cut and doubled spans, numbers made absurd) and read.
 * `make fuzz` does the same for longer under the sanitizers of the compiler, which see what a test that
 * merely survives does not. */
#include <unistd.h>

#include "compute/kinds.h"
#include "text/data.h"
#include "text/jinja.h"
#include "run/options.h"
#include "run/scorer.h"
#include "net/folder.h"
#include "lib/files.h"
#include "lib/safetensors.h"
#include "tests/tiny.h"

static const char *const dir = sizeof(real) == 4 ? "build/test_fuzz_f32" : "build/test_fuzz_f64";
static uint64_t seed;
static size_t below(size_t n) {                 /* SplitMix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return n ? (size_t)((z ^ (z >> 31)) % n) : 0;
}

typedef struct { char *at; size_t n; } Text;
static Text text_of(const char *bytes, size_t n) {
    Text t = {malloc(n + 1), n};
    if (!t.at) exit(2);
    memcpy(t.at, bytes, n);
    t.at[n] = 0;
    return t;
}

/* Replaces `cut` bytes at `at` by `n` others. */
static void splice(Text *t, size_t at, size_t cut, const char *bytes, size_t n) {
    char *made = malloc(t->n - cut + n + 1);
    if (!made) exit(2);
    memcpy(made, t->at, at);
    memcpy(made + at, bytes, n);
    memcpy(made + at + n, t->at + at + cut, t->n - at - cut + 1);
    free(t->at);
    *t = (Text){made, t->n - cut + n};
}

static Text damaged(const char *bytes, size_t n) {
    static const char *const odd[] = {"0",
                                      "-1",
                                      "1e999",
                                      "-0",
                                      "4294967296",
                                      "18446744073709551615",
                                      "9223372036854775807",
                                      "2147483648",
                                      "1e308",
                                      "0.5",
                                      "null",
                                      "true",
                                      "\"\"",
                                      "[]",
                                      "{}",
                                      "[[[[",
                                      "{\"a\":",
                                      "\\u0000",
                                      "\\ud800",
                                      "\\udc00",
                                      "\xff",
                                      "\xc0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\n",
                                      "\"",
                                      ",",
                                      ":",
                                      "]",
                                      "}",
                                      "{{",
                                      "{%-",
                                      "|list",
                                      "*",
                                      "%}"};
    Text t = text_of(bytes, n);
    for (size_t k = 1 + below(3); k > 0 && t.n; k--) {
        const size_t at = below(t.n), left = t.n - at, span = 1 + below(left < 40 ? left : 40);
        char copy[64];
        switch (below(6)) {
        case 0: t.at[at] = (char)(t.at[at] ^ (1 << below(8))); break;
        case 1: t.at[at] = (char)below(256); break;
        case 2: splice(&t, at, span, "", 0); break;
        case 3: memcpy(copy, t.at + at, span); splice(&t, below(t.n), 0, copy, span); break;
        case 4: {                               /* a number, or what stands here, becomes odd */
            size_t from = at;
            while (from < t.n && !strchr("0123456789", t.at[from])) from++;
            const char *o = odd[below(sizeof odd / sizeof *odd)];
            splice(&t, from < t.n && below(3) ? from : at, from < t.n ? 1 : 0, o, strlen(o));
            break;
        }
        default: if (below(4) == 0) splice(&t, at, left, "", 0); break;
        }
    }
    return t;
}

static const char *place(const char *name) {
    static char path[1024];
    Err e = {{0}};
    if (!path_join(path, sizeof path, dir, name, &e)) exit(2);
    return path;
}
static void put(const char *name, const char *bytes, size_t n) { /* not file_write: it waits for the disk */
    FILE *f = fopen(place(name), "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) {
        printf("%s: could not be written\n", place(name));
        exit(2);
    }
}
static Text get(const char *name) {
    Err e = {{0}};
    size_t n;
    char *s = file_read(name, &n, &e);
    if (!s) { printf("%s\n", e.line); exit(2); }
    return (Text){s, n};
}

static long read_ones, refused;
/* What each reading must be: fine, or refused with one whole line. */
static void verdict(bool ok, Err *e) {
    if (ok) read_ones++;
    else refused++;
    if (ok ? !e->line[0] : e->line[0] && !strchr(e->line, '\n')) passed++;
    else { failed++; printf("%s, but the line is \"%s\"\n", ok ? "read" : "refused", e->line); }
    e->line[0] = 0;
}

/* ---- one function a parser: damages the seed text, reads it, uses what came out ------------- */

static void json_once(const char *bytes, size_t n) {
    Err e = {{0}};
    Text t = damaged(bytes, n);
    Json *j = json_parse(t.at, t.n, "fuzz", 1, &e);
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
    free(t.at);
}

static void tensors_once(const char *bytes, size_t n, const char *name, const char *opened) {
    Err e = {{0}};
    Text t = damaged(bytes, n);
    put(name, t.at, t.n);
    Safetensors *s = safetensors_open(opened, &e);
    verdict(s != NULL, &e);
    unsigned sum = 0;
    /* every byte that it promises must be there */
    for (int i = 0; s && i < safetensors_count(s); i++) {
        const Tensor *x = safetensors_at(s, i);
        for (size_t k = 0; k < x->bytes; k++) sum += ((const unsigned char *)x->data)[k];
        CHECK(safetensors_find(s, x->name) != NULL);
    }
    CHECK(sum < 4294967295u);
    safetensors_close(s);
    free(t.at);
}

static void tokenizer_once(const char *bytes, size_t n, const char *name) {
    static const char *const hard =
        "Fix the car, 1234 times!  \t\n don't e\xcc\x81\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 \xff\xc3 "
        "<user> end<end>";
    Err e = {{0}};
    Text t = damaged(bytes, n);
    put(name, t.at, t.n);
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
    if (k) {
        const Message m[] = {{"system", "be kind", NULL},
                             {"user", "hi <end>", NULL},
                             {"assistant", "yes", NULL},
                             {"user", "more", NULL}};
        Ids ids = {0};
        Chat *c = chat_open(k, dir, NULL, &e);
        if (c) chat_encode(&ids, c, (Conversation){m, 4, NULL}, below(2), &e);
        free(ids.id), chat_free(c);
        e.line[0] = 0;
    }
    tokenizer_free(k);
    free(t.at);
}

/* Templates: the pieces of tests/data/jinja.jsonl with something damaged. */
static void template_once(const JsonLines *l) {
    const Json *template = json_get(l->line[1 + below((size_t)l->n - 1)], "template"),
               *input = json_get(l->line[0], "input");
    Err e = {{0}};
    JinjaVariable v[16];
    JinjaText out = {0};
    Text t = damaged(template->string, template->length);
    for (size_t i = 0; i < input->length; i++)
        v[i] = (JinjaVariable){input->item[i].key, &input->item[i], below(2)};
    Jinja *j = jinja_parse(t.at, t.n, "fuzz", &e);
    verdict(j && jinja_render(&out, j, v, (int)input->length, below(2) ? "2024-07-26" : NULL, &e), &e);
    for (size_t i = 0; i < out.n; i++)
        if (out.mark[i] > (JINJA_DATA | JINJA_GENERATION)) { CHECK(!"a mark that there is not"); break; }
    jinja_free(j);
    free(out.text), free(t.at);
}

static void folder_once(const char *bytes, size_t n, const char *name) {
    Err e = {{0}};
    Text t = damaged(bytes, n);
    ModelConfig c;
    FolderInfo info;
    put(name, t.at, t.n);
    const bool fine = folder_config(&c, &info, dir, &e);
    verdict(fine, &e);
    if (fine && model_bytes(&c) < 1 << 24) {
        Model *m = folder_load(dir, &info, &e);
        verdict(m != NULL, &e);
        model_free(m);
    }
    free(t.at);
}

static void data_once(const char *bytes, size_t n) {
    static const char label[2][64] = {"safety", "politeness"};
    Err e = {{0}};
    Text t = damaged(bytes, n);
    put("data.jsonl", t.at, t.n);
    Dataset d;
    double value[2];
    bool ok = dataset_load(&d, place("data.jsonl"), (int)(1 + below(7)), below(2) ? "be kind" : NULL, &e);
    for (int i = 0; ok && i < d.n; i++)
        ok = d.row[i].n_prompt > 0 && d.row[i].prompt[0].content &&
             example_labels(value, &d.row[i], label, 2, "data.jsonl", &e);
    verdict(ok, &e);
    free(t.at);
}

static void config_once(const char *bytes, size_t n) {
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
    Text t = damaged(bytes, n);
    put("recipe.json", t.at, t.n);
    char *argv[] = {(char *)"fuzz", (char *)"--config", (char *)place("recipe.json")};
    const int r = options_parse(&c, &table, 3, argv, &e);
    verdict(r == 0, &e);
    if (r == 0) CHECK(c.kind == 0 || c.kind == 1);
    free(t.at);
}

static void compute_once(const Json *known, size_t n) {
    const Json *c = &known->item[below(n)], *kind = json_get(c, "kind");
    JsonWriter in = {0}, out = {0};
    Err e = {{0}};
    if (!compute_find(kind->string)) return;
    json_value(&in, json_get(c, "inputs"));
    Text t = damaged(in.text, in.length);
    Json *inputs = json_parse(t.at, t.n, "fuzz", 1, &e);
    if (inputs) {
        const bool ok = compute_case(&out, kind->string, inputs, &e);
        verdict(ok, &e);
        Json *read = ok ? json_parse(out.text, out.length, "outputs", 1, &e) : NULL;
        if (ok) CHECK(read && read->type == JSON_OBJECT);
        json_free(read);
    }
    json_free(inputs);
    free(in.text);
    free(out.text);
    free(t.at);
}

static void checkpoint_once(Trainer *k, const char *bytes, size_t n) {
    Err e = {{0}};
    Text t = damaged(bytes, n);
    put("checkpoint.safetensors", t.at, t.n);
    verdict(trainer_load(k, place("checkpoint.safetensors"), &e), &e);
    free(t.at);
}

/* A program that answers with damaged lines; two are its trial. */
static void answers_once(const char *bytes, size_t n) {
    const Message user = {"user", "hi", NULL};
    const Example x = {.line = 1, .prompt = &user, .n_prompt = 1};
    Err e = {{0}};
    Text t = damaged(bytes, n);
    put("answers", t.at, t.n);
    char command[1100];
    snprintf(command, sizeof command, "cat '%s'; exec cat > /dev/null", place("answers"));
    /* so that no line is left open: the program would be waited for */
    splice(&t, t.n, 0, "\n", 1);
    put("answers", t.at, t.n);
    Example one = x;
    Scorer *s = scorer_open(&(ScorerOptions){.program = command, .timeout = 2}, 64,
                            &(Dataset){.path = "rows", .row = &one, .n = 1}, &e);
    bool ok = s != NULL;
    for (int i = 0; ok && i < 3; i++) {
        real score[MAX_LABELS];
        const Completion r = {&x, "a reply", true};
        ok = scorer_score(s, score, &r, 1, &e);
    }
    verdict(ok, &e);
    scorer_close(s);
    free(t.at);
}

/* ---- seeds -------------------------------------------------------------------------------- */

static const char *const rows =
    "{\"prompt\": \"fix the car\", \"completion\": \"first, look.\", \"labels\": {\"safety\": 0.9, "
    "\"politeness\": null}, \"finish_reason\": \"length\"}\n"
    "{\"prompt\": [{\"role\": \"system\", \"content\": \"be kind\"}, {\"role\": \"user\", \"content\": "
    "\"hi\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"ho\"}], \"rejected\": \"no\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"\\u00e9\\ud83d\\ude80\"}, {\"role\": \"assistant\", "
    "\"content\": \"yes\"}], \"labels\": {\"safety\": -1e-3}}\n";
static const char *const recipe =
    "{\"fuzz\": {\"name\": \"a name\", \"reward_weights\": [0.5, 1], \"count\": 7, \"kind\": \"two\", "
    "\"rate\": 1e-3, \"on\": true, \"bf16\": false}}\n";
static const char *const answers = "{\"id\": 0, \"scores\": {\"a\": 0.5, \"b\": null}}\n{\"id\": 1, "
                                   "\"scores\": {\"a\": 1, \"b\": -2}}\n{\"id\": 2, \"scores\": {\"a\": 1}}\n"
                                   "{\"id\": 3, \"scores\": {}}\n{\"id\": 4, \"scores\": {\"b\": 1e3}}\n";
static const char *const index_text = "{\"metadata\": {\"total_size\": 8}, \"weight_map\": {\"a\": "
                                      "\"one.safetensors\", \"b\": \"two.safetensors\"}}";

int main(int argc, char **argv) {
    const long rounds = argc > 1 ? atol(argv[1]) : 300;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    Err e = {{0}};
    char whole[1200];
    if (!folder_make(dir, &e)) { printf("%s\n", e.line); return 2; }

    Text tiny = get("tests/data/tiny.safetensors"), recipe_text = text_of(recipe, strlen(recipe));
    Json *known = json_read_file("tests/data/known_answers.json", &e);
    const Json *cases = json_get(known, "cases");
    CHECK(cases && cases->length > 50);

    /* two shards of one tensor each */
    const float one = 1;
    const TensorOut
        a = {.name = "a", .store = STORE_F32, .n_dim = 1, .shape = {1}, .data = &one, .from = STORE_F32},
        b = {.name = "b", .store = STORE_F32, .n_dim = 1, .shape = {1}, .data = &one, .from = STORE_F32};
    CHECK(safetensors_write(place("one.safetensors"), &a, 1, (const char *const[]){NULL}, &e) &&
          safetensors_write(place("two.safetensors"), &b, 1, (const char *const[]){NULL}, &e));
    remove(place("model.safetensors"));
    put("model.safetensors.index.json", index_text, strlen(index_text));
    for (long i = 0; i < rounds; i++)
        tensors_once(index_text, strlen(index_text), "model.safetensors.index.json", dir);
    remove(place("model.safetensors.index.json"));
    snprintf(whole, sizeof whole, "%s", place("whole.safetensors"));
    for (long i = 0; i < 2 * rounds; i++) tensors_once(tiny.at, tiny.n, "whole.safetensors", whole);
    for (long i = 0; i < 2 * rounds; i++) {     /* the header alone: most of the file is data */
        Text head =
            damaged(tiny.at, 8 + (size_t)((unsigned char)tiny.at[0] + 256 * (unsigned char)tiny.at[1]));
        splice(&head, head.n, 0, tiny.at + tiny.n / 2, tiny.n - tiny.n / 2);
        put("whole.safetensors", head.at, head.n);
        Safetensors *s = safetensors_open(whole, &e);
        verdict(s != NULL, &e);
        safetensors_close(s);
        free(head.at);
    }

    /* a tokenizer of our own and a model's folder */
    const char *const texts[] = {" fix the car, please fix the cars",
                                 " first look at the engine, then at the wheels 1234"};
    const size_t lengths[] = {strlen(texts[0]), strlen(texts[1])};
    CHECK(tokenizer_train(dir, texts, lengths, 2, 280, &e));
    Model *m = tiny_model(TINY_LABELS);
    FolderInfo info = {.stop = {2}, .n_stop = 1, .label = {"a", "b", "c"}};
    CHECK(folder_save(dir, m, &info, NULL, STORE_REAL, &e));
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"},
                             *const shapes[] = {"config.json"};
    for (int f = 0; f < 3; f++) {
        Text t = get(place(files[f]));
        for (long i = 0; i < rounds; i++) tokenizer_once(t.at, t.n, files[f]);
        put(files[f], t.at, t.n);
        free(t.at);
    }
    for (int f = 0; f < 1; f++) {
        Text t = get(place(shapes[f]));
        for (long i = 0; i < 3 * rounds; i++) folder_once(t.at, t.n, shapes[f]);
        put(shapes[f], t.at, t.n);
        free(t.at);
    }
    Text generation = text_of("{\"eos_token_id\": [2, 3], \"pad_token_id\": 0}", 42);
    for (long i = 0; i < rounds; i++) folder_once(generation.at, generation.n, "generation_config.json");

    Trainer trainer = {0};
    CHECK(trainer_new(&trainer, m, 16, 16, &e) &&
          trainer_save(&trainer, place("checkpoint.safetensors"), NULL, &e));
    Text checkpoint = get(place("checkpoint.safetensors"));
    for (long i = 0; i < rounds; i++) checkpoint_once(&trainer, checkpoint.at, 400);
    for (long i = 0; i < rounds; i++) checkpoint_once(&trainer, checkpoint.at, checkpoint.n);

    for (long i = 0; i < 4 * rounds; i++)
        json_once(recipe_text.at, recipe_text.n), json_once(rows, strlen(rows) - 1);
    for (long i = 0; i < 4 * rounds; i++) data_once(rows, strlen(rows));
    for (long i = 0; i < rounds; i++) config_once(recipe_text.at, recipe_text.n);
    for (long i = 0; i < 4 * rounds; i++) compute_once(cases, cases->length);
    JsonLines templates = {0};
    CHECK(json_lines_read(&templates, "tests/data/jinja.jsonl", false, &e) && templates.n > 1);
    for (long i = 0; i < 8 * rounds; i++) template_once(&templates);
    json_lines_free(&templates);
    for (long i = 0; i < rounds / 4; i++) answers_once(answers, strlen(answers));

    /* the damage must be of both sorts, or the test tests nothing */
    CHECK(read_ones > rounds && refused > rounds);
    trainer_free(&trainer);
    model_free(m);
    json_free(known);
    free(tiny.at), free(recipe_text.at), free(generation.at), free(checkpoint.at);
    return test_end();
}
