/* test_tokenizer.c: small tokenizers of every shape against what `tokenizers` makes of hard texts, chat
 * templates against what transformers renders (tests/data/tokenizer, written by
 * tests/make_tokenizer_vectors.py), what is refused, and training. */
#include "test.h"

#include "lib/files.h"
#include "lib/json.h"
#include "lib/unicode.h"
#include "text/chat.h"
#include "lib/machine.h"

#define DATA "tests/data/tokenizer/"
#define TMP "build/test_tokenizer"
#define BAD TMP "/bad"

/* ---- lines of a JSONL file ------------------------------------------------------------------ */

typedef struct { char *text, *next; size_t n; int line; } Lines;

static bool lines_open(Lines *l, const char *path) {
    Err e = {0};
    l->text = l->next = file_read(path, &l->n, &e), l->line = 0;
    if (!l->text) printf("%s\n", e.line);
    CHECK(l->text != NULL);
    return l->text != NULL;
}

static Json *lines_next(Lines *l) {
    Err e = {0};
    if (!*l->next) return NULL;
    char *stop = strchr(l->next, '\n');
    Json *v = json_parse(l->next, (size_t)(stop - l->next), "vectors", ++l->line, &e);
    if (!v) printf("%s\n", e.line);
    CHECK(v != NULL);
    l->next = stop + 1;
    return v;
}

/* ---- texts and ids -------------------------------------------------------------------------- */

static bool same_ids(const Ids *got, const Json *want) {
    bool same = want && (size_t)got->n == want->length;
    for (int i = 0; same && i < got->n; i++) same = got->id[i] == (int)want->item[i].number;
    return same;
}

static void check_ids(const Ids *got, const Json *want, const char *shape, int line, const char *what) {
    if (same_ids(got, want)) { passed++; return; }
    failed++;
    printf("%s: line %d: %s: found", shape, line, what);
    for (int i = 0; i < got->n && i < 40; i++) printf(" %d", got->id[i]);
    printf(", expected");
    for (size_t i = 0; want && i < want->length && i < 40; i++) printf(" %d", (int)want->item[i].number);
    printf("\n");
}

static void check_decoded(const Tokenizer *t, const Ids *ids, const Json *want, bool skip, const char *shape,
                          int line) {
    Err e = {0};
    size_t n = 0;
    char *s = tokenizer_decode(t, ids->id, ids->n, skip, &n, &e);
    const bool ok = s && want && n == want->length && memcmp(s, want->string, n) == 0;
    if (ok) passed++;
    else
        failed++, printf("%s: line %d: decoded%s: \"%s\", expected \"%s\" %s\n", shape, line,
                         skip ? " without specials" : "", s ? s : "(null)", want ? want->string : "", e.line);
    free(s);
}

static void test_vectors(const char *shape) {
    char path[256];
    Err e = {0};
    Lines l;
    snprintf(path, sizeof path, DATA "%s", shape);
    Tokenizer *t = tokenizer_load(path, &e);
    if (!t) printf("%s\n", e.line);
    CHECK(t != NULL);
    snprintf(path, sizeof path, DATA "%s/vectors.jsonl", shape);
    if (!t || !lines_open(&l, path)) return;
    int n_text = 0;
    for (Json *v; (v = lines_next(&l)) != NULL; json_free(v)) {
        const Json *text = json_get(v, "text"), *list = json_get(v, "ids"),
                   *ordinary = json_get(v, "ordinary");
        const Json *decoded = json_get(v, "decoded"), *skipped = json_get(v, "skipped");
        if (!list) continue;                                    /* the line that says what wrote the file */
        Ids ids = {0}, plain = {0};
        if (text) {
            n_text++;
            CHECK(tokenizer_encode(&ids, t, text->string, text->length, true, &e) &&
                  tokenizer_encode(&plain, t, text->string, text->length, false, &e));
            check_ids(&ids, list, shape, l.line, "ids");
            check_ids(&plain, ordinary ? ordinary : list, shape, l.line, "ids without special tokens");
            ids.n = 0;
        }
        for (size_t i = 0; i < list->length; i++) ids_add(&ids, (int)list->item[i].number, &e);
        if (!decoded) decoded = text;
        check_decoded(t, &ids, decoded, false, shape, l.line);
        check_decoded(t, &ids, skipped ? skipped : decoded, true, shape, l.line);
        free(ids.id), free(plain.id);
    }
    CHECK(n_text > 100);
    free(l.text), tokenizer_free(t);
}

/* Bytes that are no UTF-8 are read as U+FFFD, one for each part that could have begun a character, and never
 * beyond the end. */
static void test_invalid_utf8(const Tokenizer *t) {
    static const struct { const char *bad, *good;
    } cases[] = {{"\xff", "\xEF\xBF\xBD"},
                 {"a\xC3", "a\xEF\xBF\xBD"},
                 {"\xC3(", "\xEF\xBF\xBD("},
                 {"\xE4\xBD", "\xEF\xBF\xBD"},
                 {"\xE4\xBD\xE4\xBD\xA0", "\xEF\xBF\xBD\xE4\xBD\xA0"},
                 {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
                 {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
                 {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
                 {"\xF0\x9F\x99", "\xEF\xBF\xBD"},
                 {"\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"}};
    Err e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = strlen(cases[i].bad);
        /* no NUL behind it: a checker of memory sees a step too far */
        char *exact = malloc(n);
        memcpy(exact, cases[i].bad, n);
        Ids a = {0}, b = {0};
        CHECK(tokenizer_encode(&a, t, exact, n, true, &e) &&
              tokenizer_encode(&b, t, cases[i].good, strlen(cases[i].good), true, &e));
        CHECK(a.n == b.n && memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id) == 0);
        free(exact), free(a.id), free(b.id);
    }
    const int over = tokenizer_vocab(t), below = -1;
    CHECK_ERROR(!tokenizer_decode(t, &over, 1, false, NULL, &e), e, "expected 0..");
    CHECK_ERROR(!tokenizer_decode(t, &below, 1, false, NULL, &e), e, "id -1 at 0");
}

/* A word of a million bytes, runs of marks: merging and ordering must not be quadratic (they would take
 * hours). */
static void test_long_words(const Tokenizer *t) {
    const size_t n = 1000000;
    Err e = {0};
    char *s = malloc(n + 1);
    for (int kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < n; i++)
            s[i] = kind == 0 ? 'a' : kind == 1 ? "ab"[i % 2] : kind == 2 ? ' ' : "\xCC\x81\xCC\xA3"[i % 4];
        Ids ids = {0};
        size_t k = 0;
        const double start = clock_seconds();
        CHECK(tokenizer_encode(&ids, t, s, n, true, &e));
        CHECK(clock_seconds() - start < 20);
        char *back = tokenizer_decode(t, ids.id, ids.n, false, &k, &e);
        CHECK(back && k == n);
        if (kind < 3) CHECK(back && memcmp(back, s, n) == 0);
        free(back), free(ids.id);
    }
    free(s);
}

/* ---- what is refused ------------------------------------------------------------------------ */

/* DATA shape/tokenizer.json with `from` replaced by `to` once, loaded from TMP/bad; beside it `config`, or
 * none. */
static Tokenizer *load_changed(const char *shape, const char *from, const char *to, const char *config,
                               Err *e) {
    char path[256];
    size_t n;
    snprintf(path, sizeof path, DATA "%s/tokenizer.json", shape);
    char *s = file_read(path, &n, e), *at = s ? strstr(s, from) : NULL;
    CHECK(at != NULL);
    if (!at) return NULL;
    char *changed = malloc(n + strlen(to) + 1);
    memcpy(changed, s, (size_t)(at - s));
    strcpy(changed + (at - s), to);
    strcat(changed, at + strlen(from));
    folder_remove(TMP "/bad", e);
    CHECK(folder_make(TMP "/bad", e) && file_write(TMP "/bad/tokenizer.json", changed, strlen(changed), e));
    if (config) CHECK(file_write(TMP "/bad/tokenizer_config.json", config, strlen(config), e));
    free(s), free(changed);
    return tokenizer_load(TMP "/bad", e);
}

static void test_refused(void) {
    static const struct { const char *shape, *from, *to, *error;
    } cases[] = {{"qwen", "\"type\":\"NFC\"", "\"type\":\"NFKC\"", "normalizer: found NFKC"},
                 {"gpt2", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model: found Unigram"},
                 {"llama", "\"type\":\"BPE\"", "\"type\":\"WordPiece\"",
                  "model: found WordPiece, expected BPE: it takes the longest pieces first"},
                 {"llama", "\"type\":\"Prepend\"", "\"type\":\"Lowercase\"", "normalizer: found Lowercase"},
                 {"llama", "\"String\":\" \"", "\"Regex\":\" +\"", "normalizer: Replace: expected a text of"},
                 {"llama", "\"type\":\"Strip\"", "\"type\":\"CTC\"", "decoder: found CTC"},
                 {"mistral", "\"type\":\"Metaspace\"", "\"type\":\"WhitespaceSplit\"",
                  "pre_tokenizer: found WhitespaceSplit"},
                 {"mistral", "\"prepend_scheme\":\"first\"", "\"prepend_scheme\":\"last\"",
                  "prepend_scheme: found last"},
                 {"gemma", "MergedWithPrevious", "MergedWithNext", "pre_tokenizer: found Split"},
                 {"gemma", "\"unk_token\":\"<unk>\"", "\"unk_token\":\"<nix>\"",
                  "unk_token: not in the vocabulary"},
                 {"gpt2", "\"dropout\":null", "\"dropout\":0.1", "dropout"},
                 {"gpt2", "\"byte_fallback\":false", "\"byte_fallback\":true", "byte_fallback"},
                 {"qwen", "\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":\"##\"",
                  "continuing_subword_prefix"},
                 {"qwen", "\"end_of_word_suffix\":\"\"", "\"end_of_word_suffix\":\"</w>\"",
                  "end_of_word_suffix"},
                 {"gpt2", "\"add_prefix_space\":false", "\"add_prefix_space\":true",
                  "pre_tokenizer: found ByteLevel"},
                 {"gpt2", "\"use_regex\":true", "\"use_regex\":false", "pre_tokenizer: found ByteLevel"},
                 {"digits", "\"individual_digits\":true", "\"individual_digits\":false",
                  "pre_tokenizer: found Digits"},
                 {"digits", "\"type\":\"Digits\"", "\"type\":\"Punctuation\"",
                  "pre_tokenizer: found Punctuation"},
                 {"llama3", "\\\\p{N}{1,3}", "\\\\p{N}{1,2}", "pre_tokenizer: Split: found the pattern"},
                 {"llama3", "\"Isolated\"", "\"Removed\"", "behavior Removed"},
                 {"llama3", "\"type\":\"TemplateProcessing\"", "\"type\":\"BertProcessing\"",
                  "post_processor: found BertProcessing"},
                 {"llama3", "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]",
                  "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"<|end|>\",\"type_"
                  "id\":0}}]",
                  "post_processor: found TemplateProcessing"},
                 {"gpt2", "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"",
                  "decoder: found WordPiece"},
                 {"gpt2", "\"single_word\":false", "\"single_word\":true", "single_word"},
                 {"gpt2", "\"merges\":[", "\"merges\":[[\"\\u0120\",\"qqq\"],", "qqq: not in the vocabulary"},
                 {"gpt2", "\"merges\":[", "\"merges\":[[\"q\",\"q\"],",
                  "both parts together are not in the vocabulary"},
                 {"gpt2", "\"merges\":[", "\"merges\":[5,", "merges: item 0"},
                 {"gpt2", "\"!\":0", "\"!\":1", "found twice"},
                 {"gpt2", "\"!\":0", "\"!\":-1", "expected a whole number"},
                 {"gpt2", "\"!\":0", "\"!\":1e9", "expected a whole number"},
                 {"gpt2", "\"content\":\"<|end|>\"", "\"content\":\"\"", "added_tokens"},
                 {"gpt2", "\"content\":\"<|end|>\"", "\"content\":\"!\"", "added token !"},
                 {"gpt2", "\"id\":420", "\"id\":500", "would give it 420"},
                 {"digits", "\"unk_token\":null,", "\"unk_token\":\"nowhere\",", "unk_token"},
                 {"digits",
                  "\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_"
                  "unk\":false",
                  "\"unk_token\":\"!\",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_"
                  "unk\":true",
                  "fuse_unk"},
                 {"gpt2", "\"version\":\"1.0\"", "\"version\":", "tokenizer.json:1:"}};
    Err e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *t = load_changed(cases[i].shape, cases[i].from, cases[i].to, NULL, &e);
        CHECK_ERROR(!t, e, cases[i].error);
        tokenizer_free(t);
    }
    Tokenizer *t = load_changed("gpt2", "\"version\"", "\"version\"", "{\"eos_token\":\"<nowhere>\"}", &e);
    CHECK_ERROR(!t, e, "eos_token: <nowhere>");
    tokenizer_free(t);
    t = load_changed("gpt2", "\"version\"", "\"version\"",
                     "{\"added_tokens_decoder\":{\"3\":{\"content\":\"<|more|>\"}}}", &e);
    CHECK_ERROR(!t, e, "added_tokens_decoder: 3, <|more|>");
    tokenizer_free(t);
    CHECK_ERROR(!tokenizer_load(TMP "/nowhere", &e), e, "nowhere/tokenizer.json");
}

/* With an unk_token, a byte that has no token becomes it. */
static void test_unk(void) {
    Err e = {0};
    Ids ids = {0};
    Tokenizer *t = load_changed("digits", "\"unk_token\":null", "\"unk_token\":\"!\"", NULL, &e);
    CHECK(t && tokenizer_encode(&ids, t, "a\x16\x16", 3, true, &e));
    CHECK(t && ids.n == 3 && ids.id[1] == tokenizer_id(t, "!") && ids.id[2] == ids.id[1]);
    free(ids.id), tokenizer_free(t);
}

/* A text that goes on where another ended gets no blank of its own; one behind an added token gets one where
 * the file puts it before every text ("llama"), and none where only before the first ("mistral"). */
static void test_place(void) {
    static const char *const shape[] = {"llama", "mistral"};
    static const struct { int how; int blank[2];
    } place[] = {{0, {1, 1}}, {ENCODE_BEHIND, {1, 0}}, {ENCODE_INSIDE, {0, 0}}};
    Err e = {0};
    Ids ids = {0}, blank = {0};
    for (int k = 0; k < 2; k++) {
        char path[256];
        snprintf(path, sizeof path, DATA "%s", shape[k]);
        Tokenizer *t = tokenizer_load(path, &e);
        CHECK(t != NULL);
        for (size_t i = 0; t && i < sizeof place / sizeof *place; i++) {
            ids.n = blank.n = 0;
            CHECK(tokenizer_encode(&ids, t, "q</s>q", 6, ENCODE_SPECIAL | place[i].how, &e));
            CHECK(tokenizer_encode(&blank, t, " q", 2, ENCODE_INSIDE, &e));
            CHECK((ids.id[0] == blank.id[0]) == place[i].blank[k]);
            CHECK_INT(ids.n, 3 + place[i].blank[k] * (blank.n - 1) + (k ? 0 : blank.n - 1));
        }
        tokenizer_free(t);
    }
    free(ids.id), free(blank.id);
}

static int count(const Tokenizer *t, const char *text) {
    Err e = {0};
    Ids ids = {0};
    CHECK(t && tokenizer_encode(&ids, t, text, strlen(text), false, &e));
    const int n = ids.n;
    free(ids.id);
    return n;
}

/* What the vectors' tokenizers do not have: words that marks begin, words that end with a text, characters
 * that even bytes cannot spell, a decoder that drops the blanks of the first piece. */
static void test_characters(void) {
    static const char pattern[] = "\"pattern\":{\"String\":\" \"},\"behavior\"";
    static const char decoder[] = "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
                                  "\"prepend_scheme\":\"first\",\"split\":false},\"was\":{";
    Err e = {0};
    Ids ids = {0};
    Tokenizer *t = load_changed("mistral", "\"split\":false", "\"split\":true", NULL, &e);
    CHECK_INT(count(t, " lazy lazy lazy"), 3);          /* ignore_merges: each word is a token */
    tokenizer_free(t);
    t = load_changed("gemma", pattern, "\"pattern\":{\"String\":\"e\"},\"behavior\"", NULL, &e);
    CHECK_INT(count(t, "hert"), 3);                     /* he r t: the cut is behind the e */
    CHECK_INT(count(t, "ter"), 3);                      /* not t er */
    tokenizer_free(t);
    for (int fuse = 0; fuse < 2; fuse++) {
        /* the first byte of both characters has no token */
        t = load_changed("llama", "\"<0xE4>\"", "\"<0xXX>\"", NULL, &e);
        if (t) t->fuse_unk = fuse;
        CHECK_INT(count(t, "q\u4f60\u4f60q"), count(t, "qq") + (fuse ? 1 : 2));
        tokenizer_free(t);
    }
    t = load_changed("mistral", "\"decoder\":{", decoder, NULL, &e);
    CHECK(t && tokenizer_encode(&ids, t, " a a", 4, false, &e));
    char *text = t ? tokenizer_decode(t, ids.id, ids.n, false, NULL, &e) : NULL;
    CHECK_STRING(text ? text : e.line, "a a");
    free(text), free(ids.id), tokenizer_free(t);
}

/* A completion with thoughts: <think> is an added token that Qwen3's file does not call special, so it is the
 * one token that the model draws, also where special tokens are not seen. It was taken for seven letters, and
 * what had been sampled was scored as something else. */
static void test_added_not_special(void) {
    static const char text[] = "<think>\n<|end|>";
    Err e = {0};
    Ids ids = {0};
    Tokenizer *t =
        load_changed("qwen", "\"content\":\"plaintok\"", "\"content\":\"<think>\"", NULL, &e);
    CHECK(t && tokenizer_encode(&ids, t, text, sizeof text - 1, false, &e));
    CHECK(t && ids.n > 3 && ids.id[0] == tokenizer_id(t, "<think>"));
    CHECK(t && ids.n > 3 && ids.id[ids.n - 1] != tokenizer_id(t, "<|end|>"));
    free(ids.id), tokenizer_free(t);
}

/* 3,000 added tokens that begin alike, as a stranger may write them: the longest that fits is taken, and the
 * search does not look at them one by one (a megabyte of their first letter took a minute when it did). */
static void test_added_alike(void) {
    enum { N = 3000, TEXT = 1 << 20 };
    static char list[N * 90], text[TEXT];
    Err e = {0};
    Ids ids = {0};
    size_t n;
    char *file = file_read(DATA "gpt2/tokenizer.json", &n, &e),
         *from = file ? strstr(file, "\"added_tokens\":[") : NULL;
    CHECK(from && strchr(from, ']'));
    if (!from) return;
    strchr(from, ']')[0] = 0;
    char *at = list + sprintf(list, "\"added_tokens\":[");
    for (int i = 0; i < N; i++)
        at += sprintf(at, "%s{\"id\":%d,\"content\":\"%.*s%d!\",\"special\":false,\"normalized\":%s}",
                      i ? "," : "", 420 + i, 1 + i % 16, i % 3 ? "aaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbb",
                      i / 16, i % 3 ? "false" : "true");
    Tokenizer *t = load_changed("gpt2", from, list, NULL, &e);
    CHECK(t != NULL);
    for (int i = 0; t && i < N; i += 7) {
        char one[40];
        const int length = sprintf(one, "%.*s%d!%d", 1 + i % 16,
                                   i % 3 ? "aaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbb", i / 16, i / 16);
        ids.n = 0;
        CHECK(tokenizer_encode(&ids, t, one, (size_t)length, ENCODE_SPECIAL, &e) && ids.id[0] == 420 + i);
    }
    memset(text, 'a', TEXT);
    ids.n = 0;
    CHECK(t && tokenizer_encode(&ids, t, text, TEXT, ENCODE_SPECIAL, &e) && ids.n > 0);
    free(ids.id), free(file), tokenizer_free(t);
}

/* A special token that is also a word of the vocabulary: ordinary text must not reach it, not even as a whole
 * word. */
static void test_typed_special(void) {
    Err e = {0};
    char added[128];
    Ids ids = {0};
    Tokenizer *t = tokenizer_load(DATA "llama3", &e);
    const int id = t ? tokenizer_id(t, "!?!?") : -1;
    CHECK(id > 0 && tokenizer_encode(&ids, t, "!?!?", 4, false, &e) && ids.n == 1 && ids.id[0] == id);
    tokenizer_free(t);
    snprintf(added, sizeof added, "\"added_tokens\":[{\"id\":%d,\"content\":\"!?!?\",\"special\":true},", id);
    t = load_changed("llama3", "\"added_tokens\":[", added, NULL, &e);
    ids.n = 0;
    CHECK(t && tokenizer_encode(&ids, t, "!?!?", 4, true, &e) && ids.n == 1 && ids.id[0] == id);
    ids.n = 0;
    CHECK(t && tokenizer_encode(&ids, t, "!?!?", 4, false, &e) && ids.n > 1);
    free(ids.id), tokenizer_free(t);
}

/* ---- chat ----------------------------------------------------------------------------------- */

/* A tokenizer with some of the tokens that the templates write, in BAD. */
static Tokenizer *chat_tokenizer(Err *e) {
    return load_changed("gpt2", "\"content\":\"<|end|>\"", "\"content\":\"<|begin_of_text|>\"",
                        "{\"bos_token\":\"<|begin_of_text|>\",\"eos_token\":\"<|both|>\"}", e);
}

static bool same(const Ids *a, const Ids *b) {
    return a->n == b->n && memcmp(a->id, b->id, (size_t)a->n * sizeof *a->id) == 0;
}

/* The named templates, by a tokenizer that need not have their tokens: as FILE.jinja. */
static void test_chat(void) {
    Err e = {0};
    Lines l;
    Tokenizer *t = chat_tokenizer(&e);
    CHECK(t != NULL);
    if (!t || !lines_open(&l, DATA "chat.jsonl")) return;
    int n_row = 0;
    for (Json *v; (v = lines_next(&l)) != NULL; json_free(v)) {
        const Json *list = json_get(v, "messages"), *text = json_get(v, "text");
        Message m[8];
        if (!list) continue;
        CHECK(list->length <= 8 && text->length == 9);
        for (size_t i = 0; i < list->length; i++)
            m[i] = (Message){json_get(&list->item[i], "role")->string,
                             json_get(&list->item[i], "content")->string, NULL};
        const Conversation all = {m, (int)list->length, NULL};
        for (size_t k = 0; k < text->length; k++) {
            /* the text, and what a generation prompt adds */
            const Json *want = text->item[k].item;
            const char *name = text->item[k].key, *template = chat_named(name);
            CHECK(template != NULL && file_write(TMP "/named.jinja", template, strlen(template), &e));
            const ChatChoice choice = {.template = TMP "/named.jinja"};
            Chat *c = chat_open(t, BAD, &choice, &e);
            CHECK(c != NULL);
            if (!c) { printf("%s\n", e.line); continue; }
            char *s = chat_render(c, all, false, &e), whole[2048];
            CHECK_STRING(s, want[0].string);
            free(s);
            snprintf(whole, sizeof whole, "%s%s", want[0].string, want[1].string);
            s = chat_render(c, all, true, &e);
            CHECK_STRING(s, whole);
            Ids a = {0}, b = {0}, split = {0};
            if (strcmp(m[all.n - 1].role, "assistant")) {
                CHECK(chat_encode(&a, c, all, false, &e) &&
                      tokenizer_encode(&b, t, whole, strlen(whole), true, &e));
                CHECK(same(&a, &b));
                bool spelt = false;                             /* a message that has something to split */
                for (size_t i = 0; i < list->length; i++) spelt |= strchr(m[i].content, '<') != NULL;
                CHECK(chat_encode(&split, c, all, true, &e) && (spelt || same(&a, &split)));
            }
            free(s), free(a.id), free(b.id), free(split.id), chat_free(c);
            n_row++;
        }
    }
    CHECK(n_row > 300);
    free(l.text), tokenizer_free(t);
}

static void test_choice(void) {
    static const Message user = {"user", "x", NULL}, odd = {"a<|end|>", "x", NULL};
    Err e = {0};
    Tokenizer *t = chat_tokenizer(&e);
    ChatChoice choice = {.template = "qwen2,5"};
    CHECK_ERROR(!chat_open(t, BAD, &choice, &e), e, "or a FILE.jinja; did you mean qwen2.5?");
    CHECK_ERROR(!chat_open(t, BAD, NULL, &e), e, "none found, as with a base model; choose one with "
                "--chat-template zephyr (which needs no tokens of its own, only an end of text)");
    choice.template = "llama3";
    CHECK_ERROR(!chat_open(t, BAD, &choice, &e), e, "lacks <|eot_id|>, with which template llama3 closes");
    choice = (ChatChoice){.template = "zephyr", .date = "2025-13-01"};
    CHECK_ERROR(!chat_open(t, BAD, &choice, &e), e, "--template-date: found 2025-13-01, expected a date");
    choice = (ChatChoice){.template = "zephyr", .end = "<|eot|>"};
    CHECK_ERROR(!chat_open(t, BAD, &choice, &e), e, "--eos-token: found <|eot|>");
    choice.end = NULL;
    Chat *c = chat_open(t, BAD, &choice, &e);
    CHECK(c && chat_end(c) == tokenizer_eos(t));
    CHECK_ERROR(!chat_render(c, (Conversation){&odd, 1, NULL}, true, &e), e, "role: found \"a<|end|>\"");
    CHECK_ERROR(!chat_render(c, (Conversation){&user, 0, NULL}, true, &e), e, "no message");
    chat_free(c), tokenizer_free(t);
    t = load_changed("gpt2", "\"version\"", "\"version\"",
                     "{\"chat_template\":\"a\\n{{ messages|wordwrap }}\"}", &e);
    CHECK_ERROR(!chat_open(t, BAD, NULL, &e), e,
                BAD ": chat template, line 2: filter wordwrap: not known here");
    tokenizer_free(t);
    t = load_changed("gpt2", "\"version\"", "\"version\"",
                     "{\"chat_template\":\"{{ messages[0].content }}\"}", &e);
    CHECK_ERROR(!chat_open(t, BAD, NULL, &e), e, "closes a turn with no token");
    tokenizer_free(t);
}

/* What the folder's own template writes around a reply is learned with it; where the whole does not begin
 * with the prompt, the reply's text alone. */
static void test_reply(void) {
    static const struct { const char *template, *reply, *ids; int apart; bool ended; } cases[] = {
        {"{% for m in messages %}<|left|>{{ m.content|trim }}<|both|>\n{% endfor %}", " a <|end|>\n",
         "a <|end|><|both|>", 0, true},
        {"{% for m in messages %}<|left|>{{ m.content|trim }}<|both|>\n{% endfor %}", "a", "a", 0, false},
        {"{% for m in messages %}<|left|>{% if loop.last and m.role == 'assistant' %}#<|right|>{% endif %}"
         "{{ m.content }}<|both|>\n{% endfor %}", "a", "#<|right|>a<|both|>", 0, true},
        {"{% for m in messages %}<|left|> {{ m.content }}<|both|>{% endfor %}", "", "<|both|>", 0, true},
        {"{% for m in messages %}<|left|>{{ m.content.split('|')[-1] }}<|both|>{% endfor %}"
         "{% if add_generation_prompt %}<|left|>think{% endif %}", "a|b", "a|b<|both|>", 1, true},
        {"{% for m in messages %}<|left|>{{ m.content }}!<|both|>{% endfor %}", "a", "a!<|both|>", 0, true},
        {"{% for m in messages %}<|left|>{{ m.content }}!<|both|>{% endfor %}", "a", "a", 0, false},
        {"{% for m in messages %}<|left|>{% if loop.last and m.role == 'assistant' %}#<|right|>{% endif %}"
         "{{ m.content }}<|both|>{% endfor %}", "", "#<|right|><|both|>", 0, true}};
    const Message user = {"user", "x", NULL};
    const Conversation v = {&user, 1, NULL};
    Err e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[512], *text;
        Tokenizer *t = chat_tokenizer(&e);
        snprintf(config, sizeof config, "%s%s", cases[i].template, strstr(cases[i].template, "add_gen")
                 ? "" : "{% if add_generation_prompt %}<|left|>{% endif %}");
        CHECK(file_write(BAD "/chat_template.jinja", config, strlen(config), &e));
        Chat *c = chat_open(t, BAD, NULL, &e);
        const Message reply = {"assistant", cases[i].reply, NULL};
        Ids ids = {0};
        CHECK(c && chat_encode_reply(&ids, c, v, &reply, cases[i].ended, &e));
        if (!c) { printf("%s\n", e.line); continue; }
        text = tokenizer_decode(t, ids.id, ids.n, false, NULL, &e);
        CHECK_STRING(text, cases[i].ids);
        CHECK_INT(chat_apart(c), cases[i].apart);
        int n_end = 0;                                          /* no end of turn that the reply spells */
        for (int k = 0; k < ids.n; k++) n_end += ids.id[k] == chat_end(c);
        CHECK_INT(n_end, cases[i].ended);
        CHECK_INT(chat_lead(c, " x"), i == 3);
        free(text), free(ids.id), chat_free(c), tokenizer_free(t);
        remove(BAD "/chat_template.jinja");
    }
}

/* The assistant's turns, by the template's marks and by where the prompts end: what is learned stands in ().
 */
static void test_turns(void) {
    static const char *const cases[][2] = {
        {"{% for m in messages %}<|left|>{{ m.content }}<|both|>.{% endfor %}"
         "{% if add_generation_prompt %}<|left|>{% endif %}",
         "<|left|>q<|both|>.<|left|>(a<|both|>).<|left|>r<|both|>.<|left|>(b<|both|>)."},
        {"{% for m in messages %}{% if m.role == 'assistant' %}!{% generation %}{{ m.content }}<|both|>."
         "{% endgeneration %}{% else %}<|left|>{{ m.content }}{% endif %}{% endfor %}",
         "<|left|>q!(a<|both|>.)<|left|>r!(b<|both|>.)"}};
    const Message m[] = {{"user", "q", NULL}, {"assistant", "a", NULL},
                         {"user", "r", NULL}, {"assistant", "b", NULL}};
    Err e = {0};
    for (int i = 0; i < 2; i++) {
        Tokenizer *t = chat_tokenizer(&e);
        CHECK(file_write(BAD "/chat_template.jinja", cases[i][0], strlen(cases[i][0]), &e));
        Chat *c = chat_open(t, BAD, NULL, &e);
        Ids ids = {0};
        bool *learned = NULL;
        char found[256] = "";
        CHECK(c && chat_encode_turns(&ids, &learned, c, (Conversation){m, 4, NULL}, &e));
        for (int k = 0; k < ids.n; k++) {
            char *s = tokenizer_decode(t, &ids.id[k], 1, false, NULL, &e);
            if (learned[k] && (!k || !learned[k - 1])) strcat(found, "(");
            if (!learned[k] && k && learned[k - 1]) strcat(found, ")");
            strcat(found, s);
            free(s);
        }
        if (ids.n && learned[ids.n - 1]) strcat(found, ")");
        CHECK_STRING(found, cases[i][1]);
        free(learned), free(ids.id), chat_free(c), tokenizer_free(t);
        remove(BAD "/chat_template.jinja");
    }
}

/* A prompt that ends with the beginning of the answer; content in parts; thoughts; tools. */
static void test_messages(void) {
    static const char *const text =
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", "
        "\"text\": \"b\"}]}, {\"role\": \"assistant\", \"content\": \"c\", \"reasoning\": \"why\"}]";
    static const char *const row_text =
        "{\"tools\": [{\"name\": \"f\"}], \"chat_template_kwargs\": {\"x\": 1}}";
    static const char *const cases[][2] = {
        {"{% for m in messages %}<|left|>{{ m.content }}<|both|>{% endfor %}",
         "<|left|>a\nb<|both|><|left|>c<|both|>"},
        {"{% for m in messages %}<|left|>{% if m.content is string %}{{ m.content }}{% else %}"
         "{% for p in m.content %}{{ p.text }}-{% endfor %}{% endif %}<|both|>{% endfor %}",
         "<|left|>a-b-<|both|><|left|>c<|both|>"},
        {"{{ tools[0].name }}{{ x }}<|both|>{% for m in messages %}{{ m.thinking }}{{ m.reasoning_content }}"
         "{% endfor %}",
         "f1<|both|>whywhy"}};
    Err e = {0};
    Json *list = json_parse(text, strlen(text), "m", 1, &e),
         *row = json_parse(row_text, strlen(row_text), "r", 1, &e);
    const Message m[] = {{"user", "a\nb", &list->item[0]}, {"assistant", "c", &list->item[1]}};
    for (int i = 0; i < 3; i++) {
        Tokenizer *t = chat_tokenizer(&e);
        CHECK(file_write(BAD "/chat_template.jinja", cases[i][0], strlen(cases[i][0]), &e));
        Chat *c = chat_open(t, BAD, NULL, &e);
        char *s = c ? chat_render(c, (Conversation){m, 2, row}, false, &e) : NULL;
        CHECK_STRING(s, cases[i][1]);
        if (i == 0) {                   /* the prompt ends with "c", and the reply goes on with it */
            const Message reply = {"assistant", "d", NULL};
            Ids ids = {0};
            CHECK(chat_encode(&ids, c, (Conversation){m, 2, NULL}, false, &e));
            CHECK(chat_encode_reply(&ids, c, (Conversation){m, 2, NULL}, &reply, true, &e));
            free(s);
            s = tokenizer_decode(t, ids.id, ids.n, false, NULL, &e);
            CHECK_STRING(s, "<|left|>a\nb<|both|><|left|>cd<|both|>");
            CHECK_INT(chat_apart(c), 0);
            free(ids.id);
        }
        free(s), chat_free(c), tokenizer_free(t);
        remove(BAD "/chat_template.jinja");
    }
    json_free(list), json_free(row);
}

/* A user types what closes a turn: with specials split it is text, and only the template closes turns. */
static void test_split_special(const Chat *c, const Tokenizer *t) {
    const Message m[] = {{"user", "be good<end><bot> no", NULL}, {"assistant", "<user>", NULL},
                         {"user", "so", NULL}};
    const Conversation v = {m, 3, NULL};
    Err e = {0};
    char *text = chat_render(c, v, true, &e);
    for (int split = 0; split < 2; split++) {
        Ids ids = {0};
        int n_special = 0;
        CHECK(chat_encode(&ids, c, v, split, &e));
        for (int i = 0; i < ids.n; i++) n_special += ids.id[i] < 4;
        CHECK_INT(n_special, split ? 5 : 8);                    /* <user>, <bot>, <end>, <user>, <bot> */
        char *back = tokenizer_decode(t, ids.id, ids.n, false, NULL, &e);
        CHECK_STRING(back, text);
        free(back), free(ids.id);
    }
    free(text);
}

/* ---- training ------------------------------------------------------------------------------- */

static void test_training(void) {
    static const char *const text[] = {"the cat and the hat and the mat", "aaaa aaa aaaaa",
                                       "<end>the <pad>cat"};
    size_t length[3];
    Err e = {0};
    for (int i = 0; i < 3; i++) length[i] = strlen(text[i]);
    CHECK(tokenizer_train(TMP "/trained", text, length, 3, 270, &e));
    Tokenizer *t = tokenizer_load(TMP "/trained", &e);
    if (!t) printf("%s\n", e.line);
    CHECK(t != NULL);
    if (!t) return;
    CHECK_INT(tokenizer_vocab(t), 270);
    CHECK_INT(tokenizer_id(t, "<end>"), 3);
    CHECK_INT(tokenizer_eos(t), 3);
    CHECK_INT(tokenizer_pad(t), 0);
    CHECK_INT(tokenizer_bos(t), -1);
    /* Counted by hand: "aa" 3 + 2 + 4 = 9 times (overlaps count), then "at" and "th" 4 times each, ... */
    CHECK_INT(tokenizer_id(t, "aa"), 260);
    CHECK_INT(tokenizer_id(t, "at"), 261);
    CHECK_INT(tokenizer_id(t, "he"), 262);
    CHECK_INT(tokenizer_id(t, "the"), 263);
    const Message m[] = {{"system", "s", NULL}, {"user", "u", NULL}, {"assistant", "a", NULL}};
    Chat *c = chat_open(t, TMP "/trained", NULL, &e);
    CHECK(c != NULL);
    if (!c) return;
    CHECK_STRING(chat_name(c), "plain");
    CHECK_INT(chat_end(c), 3);
    CHECK_INT(chat_lead(c, " a"), 1);
    char *s = chat_render(c, (Conversation){m, 3, NULL}, true, &e);
    CHECK_STRING(s, "<user> s\nu<bot> a<end><bot>");
    Ids ids = {0};
    CHECK(chat_encode(&ids, c, (Conversation){m, 2, NULL}, false, &e));
    CHECK(chat_encode_reply(&ids, c, (Conversation){m, 2, NULL}, &m[2], true, &e) && ids_add(&ids, 2, &e));
    CHECK(ids.n > 3 && ids.id[0] == 1 && ids.id[ids.n - 1] == 2 && ids.id[ids.n - 2] == 3);
    char *back = tokenizer_decode(t, ids.id, ids.n, false, NULL, &e);
    CHECK_STRING(back, s);
    test_split_special(c, t);
    free(s), free(back), free(ids.id), chat_free(c), tokenizer_free(t);
    CHECK_ERROR(!tokenizer_train(TMP "/trained", text, length, 3, 5000, &e), e, "give only");
    CHECK_ERROR(!tokenizer_train(TMP "/trained", text, length, 3, 100, &e), e, "expected 260..");
}

int main(void) {
    static const char *const shape[] = {"gpt2", "digits", "llama3", "qwen", "llama", "mistral", "gemma"};
    Err e = {0};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) test_vectors(shape[i]);
    for (int i = 0; i < 2; i++) {
        Tokenizer *t = tokenizer_load(i ? DATA "gemma" : DATA "qwen", &e);
        CHECK(t != NULL);
        if (t) test_invalid_utf8(t), test_long_words(t);
        tokenizer_free(t);
    }
    test_place();
    test_characters();
    test_refused();
    test_unk();
    test_added_not_special();
    test_added_alike();
    test_typed_special();
    test_chat();
    test_choice();
    test_reply();
    test_turns();
    test_messages();
    test_training();
    return test_end();
}
