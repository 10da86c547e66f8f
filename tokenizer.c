/* tokenizer.c: byte-level BPE as a Hugging Face tokenizer.json describes it, and the training of one.
 *
 * In this order: lists of ids, byte letters, the tables and their look-up, splitting into words, merging,
 * encoding, decoding, loading (first what is refused, then the tables, then the small files beside them),
 * training. Encoding is a pipeline, as in `tokenizers`: bad UTF-8 repaired; added tokens cut out of the raw
 * text; normal form C where asked for; added tokens cut out of the normalised text; words; merges. Whatever
 * else a tokenizer.json asks for is refused by its name. Not here: chat templates (chat.c), Unicode
 * (lib/utf8.c, lib/unicode.c). */
#include "tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat.h"
#include "lib/files.h"
#include "lib/json.h"
#include "lib/unicode.h"

/* raw: in the vocabulary, but not spelt in byte letters */
enum { TOKEN_SPECIAL = 1, TOKEN_ADDED = 2, TOKEN_RAW = 4 };
typedef enum { SPLIT_GPT2, SPLIT_LLAMA3, SPLIT_QWEN } Split;
/* next: same first byte, not longer */
typedef struct { char *text; int n, id, next; bool normalized, lstrip, rstrip; } Added;
typedef struct { int a, b, rank, id; } Merge;                   /* rank < 0: an empty slot */

struct Tokenizer {
    char *text;
    size_t *start;
    int *length;
    unsigned char *flags;
    int vocab; /* by id: the bytes that a token stands for */
    Merge *merge; size_t merge_mask;                            /* open addressing by (a, b) */
    int *name; size_t name_mask;                                /* open addressing by bytes: ids, -1: empty */
    Added *added; int n_added;
    /* [normalized][first byte]: the longest, -1: none */
    int first_added[2][256];
    int byte_id[256], bos, eos, pad;                            /* byte_id -1: the byte is left out */
    Split split;
    bool digits, nfc, whole_words; /* Digits before the split; NFC; ignore_merges */
    char template_hash[65];
};

bool ids_add(Ids *ids, int id, Err *e) {
    if (ids->n == ids->capacity) {
        const int more = ids->capacity > INT_MAX / 2 ? INT_MAX : ids->capacity ? 2 * ids->capacity : 64;
        int *p = more > ids->capacity ? realloc(ids->id, (size_t)more * sizeof *p) : NULL;
        if (!p) return fail(e, "tokenizer: %d ids could not be allocated", more);
        ids->id = p, ids->capacity = more;
    }
    ids->id[ids->n++] = id;
    return true;
}

/* ---- byte letters: GPT-2's characters for bytes ---- */

static void letters_of_bytes(uint32_t letter[256]) {
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; b++)
        letter[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
}

static void bytes_of_letters(int byte[512]) {
    uint32_t letter[256];
    letters_of_bytes(letter);
    for (int i = 0; i < 512; i++) byte[i] = -1;
    for (int b = 0; b < 256; b++) byte[letter[b]] = b;
}

/* The bytes that n bytes of letters stand for, to out[0..n); their number, or -1 where a character is none of
 * the letters. */
static int spelt(char *out, const char *s, size_t n, const int byte[512]) {
    int k = 0;
    for (size_t i = 0, used; i < n; i += used) {
        const uint32_t c = utf8_next(s + i, n - i, &used);
        if (c >= 512 || byte[c] < 0) return -1;
        out[k++] = (char)byte[c];
    }
    return k;
}

/* ---- look-up -------------------------------------------------------------------------------- */

/* The slot of the pair: its merge, or the empty one where it would stand. */
static Merge *merge_of(const Tokenizer *t, int a, int b) {
    const uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 24) & t->merge_mask;
    while (t->merge[i].rank >= 0 && (t->merge[i].a != a || t->merge[i].b != b)) i = (i + 1) & t->merge_mask;
    return &t->merge[i];
}

static size_t bytes_hash(const char *s, size_t n) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

/* The slot of the vocabulary's token with these bytes, or the empty one where it would stand. */
static int *name_of(const Tokenizer *t, const char *s, size_t n) {
    size_t i = bytes_hash(s, n) & t->name_mask;
    for (; t->name[i] >= 0; i = (i + 1) & t->name_mask) {
        const int id = t->name[i];
        if ((size_t)t->length[id] == n && memcmp(t->text + t->start[id], s, n) == 0) break;
    }
    return &t->name[i];
}

int tokenizer_id(const Tokenizer *t, const char *token) {
    const size_t n = strlen(token);
    for (int i = 0; i < t->n_added; i++) {
        const int id = t->added[i].id;
        if ((size_t)t->length[id] == n && memcmp(t->text + t->start[id], token, n) == 0) return id;
    }
    return *name_of(t, token, n);
}

int tokenizer_vocab(const Tokenizer *t) { return t->vocab; }
int tokenizer_bos(const Tokenizer *t) { return t->bos; }
int tokenizer_eos(const Tokenizer *t) { return t->eos; }
int tokenizer_pad(const Tokenizer *t) { return t->pad; }
const char *tokenizer_template_hash(const Tokenizer *t) { return t->template_hash; }

/* ---- words: one matcher for each regular expression, found by its exact text ---------------- */

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                                     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                   "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef enum { SPACE, LETTER, NUMBER, OTHER } Class;

/* The class of the character at s, of which n >= 1 bytes remain, and the bytes it takes. */
static Class class_at(const char *s, size_t n, size_t *used) {
    const unsigned char b = (unsigned char)s[0];
    if (b < 0x80) {
        *used = 1;
        if ((b | 32) >= 'a' && (b | 32) <= 'z') return LETTER;
        return b >= '0' && b <= '9' ? NUMBER : b == ' ' || (b >= 9 && b <= 13) ? SPACE : OTHER;
    }
    const uint32_t c = utf8_next(s, n, used);
    return unicode_letter(c) ? LETTER : unicode_space(c) ? SPACE : unicode_number(c) ? NUMBER : OTHER;
}

/* Where the run of one class that begins at i ends. */
static size_t run_end(const char *s, size_t n, size_t i, Class class) {
    for (size_t used; i < n && class_at(s + i, n - i, &used) == class; ) i += used;
    return i;
}

/* Blanks from 0: all of them at the end of the text, else all but the last, which belongs to the next word:
 * \s+(?!\S)|\s+ */
static size_t blanks(const char *s, size_t n) {
    size_t i = 0, last = 0;
    for (size_t used; i < n && class_at(s + i, n - i, &used) == SPACE; i += used) last = i;
    return i < n && last > 0 ? last : i;
}

/* The length of 's, 't, 're, 've, 'm, 'll or 'd at s; 0 if none stands there. */
static size_t contraction(const char *s, size_t n, bool any_case) {
    if (n < 2 || s[0] != '\'') return 0;
    /* long s: the other lower case of S */
    if (any_case && n > 2 && memcmp(s + 1, "\xC5\xBF", 2) == 0) return 3;
    const int fold = any_case ? 32 : 0;
    const char a = (char)(s[1] | fold), b = (char)(n > 2 ? s[2] | fold : 0);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

static size_t gpt2_word(const char *s, size_t n) {
    size_t used, i = contraction(s, n, false);
    if (i) return i;
    Class class = class_at(s, n, &used);
    if (s[0] == ' ' && n > 1 && (class = class_at(s + 1, n - 1, &used)) != SPACE) i = 1;
    return class == SPACE ? blanks(s, n) : run_end(s, n, i, class);
}

/* Llama-3's and Qwen's differ in the digits that make one word: up to 3, or 1. */
static size_t llama3_word(const char *s, size_t n, int most_digits) {
    size_t used, next, i = contraction(s, n, true);
    if (i) return i;
    const Class class = class_at(s, n, &used);
    if (class == LETTER) return run_end(s, n, used, LETTER);
    if (class == NUMBER) {
        for (i = used; --most_digits > 0 && i < n && class_at(s + i, n - i, &used) == NUMBER; ) i += used;
        return i;
    }
    const bool newline = s[0] == '\r' || s[0] == '\n';
    if (!newline && used < n && class_at(s + used, n - used, &next) == LETTER)
        return run_end(s, n, used, LETTER);
    if (class == OTHER || (s[0] == ' ' && n > 1 && class_at(s + 1, n - 1, &next) == OTHER)) {
        i = run_end(s, n, class == OTHER ? 0 : 1, OTHER);
        while (i < n && (s[i] == '\r' || s[i] == '\n')) i++;
        return i;
    }
    /* \s*[\r\n]+: up to the last line end among the blanks */
    size_t end = 0;
    for (i = 0; i < n && class_at(s + i, n - i, &used) == SPACE; i += used)
        if (s[i] == '\r' || s[i] == '\n') end = i + 1;
    return end ? end : blanks(s, n);
}

/* Bytes of the word at s, of which n >= 1 remain: at least 1. */
static size_t word_length(const Tokenizer *t, const char *s, size_t n) {
    switch (t->split) {
    case SPLIT_LLAMA3: return llama3_word(s, n, 3);
    case SPLIT_QWEN: return llama3_word(s, n, 1);
    default: return gpt2_word(s, n);
    }
}

/* ---- merging -------------------------------------------------------------------------------- */

/* a linked list within an array; id < 0: merged away */
typedef struct { int id, before, after; } Symbol;
typedef struct { int rank, at, a, b; } Candidate;               /* the pair (a, b) whose first symbol is at */
typedef struct { /* one encoding's memory, as large as its longest word */
    Symbol *symbol;
    Candidate *heap;                                            /* the lowest rank above, then the leftmost */
    size_t n_heap, capacity;
} Work;

static bool sooner(const Candidate *x, const Candidate *y) {
    return x->rank < y->rank || (x->rank == y->rank && x->at < y->at);
}

static void heap_push(Work *w, Candidate c) {
    size_t i = w->n_heap++;
    for (; i > 0 && sooner(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static Candidate heap_pop(Work *w) {
    const Candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < w->n_heap; i = k) {
        if (k + 1 < w->n_heap && sooner(&w->heap[k + 1], &w->heap[k])) k++;
        if (!sooner(&w->heap[k], &last)) break;
        w->heap[i] = w->heap[k];
    }
    w->heap[i] = last;
    return top;
}

static void propose(Work *w, const Tokenizer *t, int at) {
    if (at < 0 || w->symbol[at].after < 0) return;
    const int a = w->symbol[at].id, b = w->symbol[w->symbol[at].after].id;
    const Merge *m = merge_of(t, a, b);
    if (m->rank >= 0) heap_push(w, (Candidate){m->rank, at, a, b});
}

/* The lowest rank first, the leftmost of equals, until no pair has a rank. A word of n bytes proposes fewer
 * than 2 n pairs. */
static bool encode_word(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Err *e) {
    if (t->whole_words) {
        const int id = *name_of(t, s, n);
        if (id >= 0 && !(t->flags[id] & (TOKEN_SPECIAL | TOKEN_RAW))) return ids_add(out, id, e);
    }
    if (n > w->capacity) {
        const size_t more = n < 256 ? 256 : 2 * n;
        free(w->symbol), free(w->heap);
        w->symbol = malloc(more * sizeof *w->symbol), w->heap = malloc(2 * more * sizeof *w->heap),
        w->capacity = more;
        if (!w->symbol || !w->heap) {
            w->capacity = 0;
            return fail(e, "tokenizer: a word of %zu bytes: the memory to merge it could not be allocated",
                        n);
        }
    }
    int k = 0;
    for (size_t i = 0; i < n; i++) {
        const int id = t->byte_id[(unsigned char)s[i]];
        if (id >= 0) w->symbol[k] = (Symbol){id, k - 1, k + 1}, k++;
    }
    if (k == 0) return true;
    w->symbol[k - 1].after = -1;
    w->n_heap = 0;
    for (int i = 0; i < k; i++) propose(w, t, i);
    while (w->n_heap) {
        const Candidate c = heap_pop(w);
        Symbol *x = &w->symbol[c.at];
        /* one of them merged meanwhile */
        if (x->id != c.a || x->after < 0 || w->symbol[x->after].id != c.b) continue;
        Symbol *y = &w->symbol[x->after];
        x->id = merge_of(t, c.a, c.b)->id, y->id = -1;
        x->after = y->after;
        if (x->after >= 0) w->symbol[x->after].before = c.at;
        propose(w, t, x->before);
        propose(w, t, c.at);
    }
    for (int i = 0; i >= 0; i = w->symbol[i].after) if (!ids_add(out, w->symbol[i].id, e)) return false;
    return true;
}

/* ---- encoding ------------------------------------------------------------------------------- */

static bool encode_words(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Err *e) {
    for (size_t i = 0, end; i < n; ) {
        end = n;
        /* each digit alone, and what lies between them */
        if (t->digits) {
            size_t used;
            for (end = i; end < n && !unicode_digit(utf8_next(s + end, n - end, &used)); ) end += used;
            if (end == i) end += used;
        }
        for (size_t k; i < end; i += k)
            if (!encode_word(out, t, w, s + i, k = word_length(t, s + i, end - i), e)) return false;
    }
    return true;
}

static bool encode_pieces(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, int pass, Err *e);

/* Text between the added tokens that stand in the raw text. */
static bool encode_raw(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, bool special, Err *e) {
    if (n == 0) return true;
    char *c = t->nfc ? unicode_nfc(s, n, &n) : NULL;
    if (t->nfc && !c) return fail(e, "tokenizer: a text of %zu bytes could not be normalised", n);
    if (c) s = c;
    const bool ok = special ? encode_pieces(out, t, w, s, n, 1, e) : encode_words(out, t, w, s, n, e);
    free(c);
    return ok;
}

/* Cuts added tokens out (pass 0: of the raw text, pass 1: of the normalised), the leftmost first, the longest
 * of those, and encodes what lies between. */
static bool encode_pieces(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, int pass, Err *e) {
    size_t from = 0, used;
    for (size_t i = 0; i < n; ) {
        const Added *hit = NULL;
        for (int k = t->first_added[pass][(unsigned char)s[i]]; k >= 0 && !hit; k = t->added[k].next)
            if ((size_t)t->added[k].n <= n - i && memcmp(t->added[k].text, s + i, (size_t)t->added[k].n) == 0)
                hit = &t->added[k];
        if (!hit) { i++; continue; }
        size_t start = i, end = i + (size_t)hit->n, k = from;
        if (hit->lstrip)                                        /* it takes the blanks before it */
            for (start = from; k < i; k += used) if (class_at(s + k, i - k, &used) != SPACE) start = k + used;
        if (hit->rstrip) end = run_end(s, n, end, SPACE);
        if (pass == 0 ? !encode_raw(out, t, w, s + from, start - from, true, e)
                      : !encode_words(out, t, w, s + from, start - from, e))
            return false;
        if (!ids_add(out, hit->id, e)) return false;
        from = i = end;
    }
    return pass == 0 ? encode_raw(out, t, w, s + from, n - from, true, e)
                     : encode_words(out, t, w, s + from, n - from, e);
}

bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, bool special, Err *e) {
    if (n >= (size_t)1 << 28)
        return fail(e, "tokenizer: a text of %zu bytes, expected less than %d; cut it", n, 1 << 28);
    char *s = utf8_repair(text, n, &n);
    if (!s) return fail(e, "tokenizer: a text of %zu bytes could not be copied", n);
    Work w = {0};
    const bool ok = special ? encode_pieces(out, t, &w, s, n, 0, e) : encode_raw(out, t, &w, s, n, false, e);
    free(w.symbol), free(w.heap), free(s);
    return ok;
}

/* An added token gives its own text. `tokenizers` takes it as spelt in byte letters where every character is
 * one, so that there an added "café" ends in half a character. */
char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e) {
    size_t size = 0, k = 0;
    for (int i = 0; i < n; i++) {
        if (id[i] < 0 || id[i] >= t->vocab) {
            fail(e, "tokenizer: id %d at %d: expected 0..%d", id[i], i, t->vocab - 1);
            return NULL;
        }
        size += (size_t)t->length[id[i]];
    }
    char *s = malloc(size + 1), *out = NULL;
    for (int i = 0; s && i < n; i++) {
        if (skip_special && (t->flags[id[i]] & TOKEN_SPECIAL)) continue;
        memcpy(s + k, t->text + t->start[id[i]], (size_t)t->length[id[i]]);
        k += (size_t)t->length[id[i]];
    }
    if (s) out = utf8_repair(s, k, &k);
    free(s);
    if (!out) fail(e, "tokenizer: a text of %zu bytes could not be allocated", size);
    else if (length) *length = k;
    return out;
}

/* ---- loading: what is refused --------------------------------------------------------------- */

static bool absent(const Json *v) { return !v || v->type == JSON_NULL; }
static bool is_true(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type == JSON_BOOL && v->number != 0;
}
static bool is_false(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type == JSON_BOOL && v->number == 0;
}
static const char *string_of(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : NULL;
}
static bool is_type(const Json *o, const char *type) {
    const char *s = string_of(o, "type");
    return s && strcmp(s, type) == 0;
}

/* A Sequence's items, or the thing itself as a sequence of one; its number is returned, 0 for null. */
static size_t items_of(const Json *v, const char *list, const Json **item) {
    *item = v;
    if (absent(v)) return 0;
    const Json *of = is_type(v, "Sequence") ? json_get(v, list) : NULL;
    if (!of || of->type != JSON_ARRAY) return 1;
    *item = of->item;
    return of->length;
}

static bool refuse(const Json *v, const char *file, const char *part, const char *expected, Err *e) {
    const char *type = v ? string_of(v, "type") : NULL;
    return fail(e, "%s:%d: %s: found %s, which is not supported; expected %s", file, v ? v->line : 1, part,
                type ? type : absent(v) ? "none" : "no type", expected);
}

static bool read_split(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const struct { const char *pattern; Split split; } known[] = {
        {gpt2_pattern, SPLIT_GPT2}, {llama3_pattern, SPLIT_LLAMA3}, {qwen_pattern, SPLIT_QWEN}};
    const char *pattern = string_of(json_get(v, "pattern"), "Regex"), *behavior = string_of(v, "behavior");
    if (!behavior || strcmp(behavior, "Isolated") || is_true(v, "invert"))
        return fail(e, "%s:%d: pre_tokenizer: Split: behavior %.40s%s, expected Isolated", file, v->line,
                    behavior ? behavior : "not given", is_true(v, "invert") ? ", inverted" : "");
    for (size_t i = 0; pattern && i < sizeof known / sizeof *known; i++)
        if (strcmp(pattern, known[i].pattern) == 0) { t->split = known[i].split; return true; }
    return fail(e,
                "%s:%d: pre_tokenizer: Split: found the pattern %.300s, expected the text of GPT-2's, "
                "Llama-3's or Qwen's",
                file, v->line, pattern ? pattern : "(not a Regex)");
}

static bool read_pre_tokenizer(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const char expected[] = "[Digits (individual),] ByteLevel (use_regex), or Split, ByteLevel (no "
                                   "use_regex), without prefix space";
    const Json *p;
    const size_t n = items_of(v, "pretokenizers", &p);
    if (n == 0 || n > 2) return refuse(v, file, "pre_tokenizer", expected, e);
    const Json *last = &p[n - 1];
    if (!is_type(last, "ByteLevel") || !is_false(last, "add_prefix_space"))
        return refuse(last, file, "pre_tokenizer", expected, e);
    t->split = SPLIT_GPT2;
    const bool own = n == 2 && is_type(&p[0], "Split");
    if (own == !is_false(last, "use_regex")) return refuse(last, file, "pre_tokenizer", expected, e);
    if (own) return read_split(t, &p[0], file, e);
    if (n == 2 && !(is_type(&p[0], "Digits") && is_true(&p[0], "individual_digits")))
        return refuse(&p[0], file, "pre_tokenizer", expected, e);
    t->digits = n == 2;
    return true;
}

/* What encodes nothing, since no bos is added here: ByteLevel (offsets only), and a template of one token
 * before the text. */
static bool check_post_processor(const Json *v, const char *file, Err *e) {
    const Json *p;
    const size_t n = items_of(v, "processors", &p);
    for (size_t i = 0; i < n; i++) {
        const Json *single = json_get(&p[i], "single");
        if (is_type(&p[i], "ByteLevel")) continue;
        if (is_type(&p[i], "TemplateProcessing") && single && single->type == JSON_ARRAY &&
            single->length >= 1 && single->length <= 2 &&
            json_get(&single->item[single->length - 1], "Sequence"))
            continue;
        return refuse(&p[i], file, "post_processor",
                      "none, ByteLevel, or TemplateProcessing that only puts one token first", e);
    }
    return true;
}

static bool read_shape(Tokenizer *t, const Json *root, const char *file, Err *e) {
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const Json *model = json_get(root, "model"), *v;
    size_t n = items_of(json_get(root, "normalizer"), "normalizers", &v);
    for (size_t i = 0; i < n; i++) {
        if (!is_type(&v[i], "NFC")) return refuse(&v[i], file, "normalizer", "none or NFC", e);
        t->nfc = true;
    }
    if (!model || !(is_type(model, "BPE") || !json_get(model, "type")))
        return refuse(model, file, "model", "BPE", e);
    for (int i = 0; i < 2; i++) {
        v = json_get(model, empty[i]);
        if (!absent(v) && !(v->type == JSON_STRING && v->length == 0))
            return fail(e, "%s:%d: model: %s: not supported, expected null or an empty text", file, v->line,
                        empty[i]);
    }
    v = json_get(model, "dropout");
    if (!absent(v) && !(v->type == JSON_NUMBER && v->number == 0))
        return fail(e, "%s:%d: model: dropout: not supported, expected null", file, v->line);
    if (is_true(model, "byte_fallback"))
        return fail(e, "%s:%d: model: byte_fallback: found true, expected false", file, model->line);
    t->whole_words = is_true(model, "ignore_merges");
    n = items_of(json_get(root, "decoder"), "decoders", &v);
    if (n != 1 || !is_type(v, "ByteLevel")) return refuse(n ? v : NULL, file, "decoder", "ByteLevel", e);
    return read_pre_tokenizer(t, json_get(root, "pre_tokenizer"), file, e) &&
           check_post_processor(json_get(root, "post_processor"), file, e);
}

/* ---- loading: the tables -------------------------------------------------------------------- */

enum { ID_LARGEST = 9999999 };

static bool read_id(int *id, const Json *v, const char *file, Err *e) {
    if (!v || v->type != JSON_NUMBER || !(v->number >= 0 && v->number <= ID_LARGEST) ||
        v->number != (int)v->number)
        return fail(e, "%s:%d: the id of %.60s: expected a whole number, 0..%d", file, v ? v->line : 1,
                    v && v->key ? v->key : "a token", ID_LARGEST);
    *id = (int)v->number;
    return true;
}

/* Memory for what the file holds: `bytes` of text, ids below t->vocab, n_word tokens by name, n_merge,
 * n_added. */
static bool tables_new(Tokenizer *t, size_t bytes, size_t n_word, size_t n_merge, size_t n_added,
                       const char *file, Err *e) {
    const size_t n = (size_t)t->vocab + 1;
    size_t names = 16, merges = 16;
    while (names < 2 * n_word) names *= 2;
    while (merges < 2 * n_merge) merges *= 2;
    t->text = malloc(bytes + 1), t->start = calloc(n, sizeof *t->start),
    t->length = calloc(n, sizeof *t->length);
    t->flags = calloc(n, 1), t->name = malloc(names * sizeof *t->name), t->name_mask = names - 1;
    t->merge = malloc(merges * sizeof *t->merge), t->merge_mask = merges - 1,
    t->added = calloc(n_added, sizeof *t->added);
    if (!t->text || !t->start || !t->length || !t->flags || !t->name || !t->merge || !t->added)
        return fail(e, "%s: tables for %zu tokens could not be allocated", file, n);
    for (size_t i = 0; i < names; i++) t->name[i] = -1;
    for (size_t i = 0; i < merges; i++) t->merge[i].rank = -1;
    for (int i = 0; i < 256; i++) t->first_added[0][i] = t->first_added[1][i] = t->byte_id[i] = -1;
    return true;
}

static bool read_vocab(Tokenizer *t, const Json *v, size_t *used, bool *taken, const char *file, Err *e) {
    int byte[512], id = 0;
    bytes_of_letters(byte);
    for (size_t i = 0; i < v->length; i++) {
        const char *key = v->item[i].key;
        const size_t n = strlen(key);
        if (!read_id(&id, &v->item[i], file, e)) return false;
        if (taken[id])
            return fail(e, "%s:%d: vocab: id %d: found twice, the second time for %.60s", file,
                        v->item[i].line, id, key);
        taken[id] = true;
        t->start[id] = *used;
        const int k = spelt(t->text + *used, key, n, byte);
        if (k < 0) memcpy(t->text + *used, key, n), t->flags[id] = TOKEN_RAW;
        t->length[id] = k < 0 ? (int)n : k;
        *used += (size_t)t->length[id];
        if (k == 1) t->byte_id[(unsigned char)t->text[t->start[id]]] = id;
    }
    /* those in letters first: theirs are the bytes that words have */
    for (int raw = 0; raw < 2; raw++)
        for (size_t i = 0; i < v->length; i++) {
            id = (int)v->item[i].number;
            if (!(t->flags[id] & TOKEN_RAW) == !!raw) continue;
            int *slot = name_of(t, t->text + t->start[id], (size_t)t->length[id]);
            if (*slot < 0) *slot = id;
        }
    return true;
}

/* bytes of a token's spelling; real ones have some 300 */
enum { LONGEST = 4096 };

/* The id of the vocabulary's entry that is spelt so; -1 if there is none. */
static int id_of_key(const Tokenizer *t, const char *key, size_t n) {
    int byte[512];
    char text[LONGEST];
    if (n > LONGEST) return -1;
    bytes_of_letters(byte);
    const int k = spelt(text, key, n, byte), id = k < 0 ? *name_of(t, key, n) : *name_of(t, text, (size_t)k);
    return id >= 0 && !(t->flags[id] & TOKEN_RAW) == (k >= 0) ? id : -1;
}

/* "a b" or ["a", "b"], in letters; the later of two equal pairs counts, as in `tokenizers`. */
static bool read_merges(Tokenizer *t, const Json *m, const char *file, Err *e) {
    int byte[512], id[3];
    bytes_of_letters(byte);
    char text[2 * LONGEST];
    for (size_t i = 0; i < m->length; i++) {
        const Json *x = &m->item[i], *pair = x->item;
        const char *blank = x->type == JSON_STRING ? memchr(x->string, ' ', x->length) : NULL;
        const bool list = x->type == JSON_ARRAY && x->length == 2 && pair[0].type == JSON_STRING &&
                          pair[1].type == JSON_STRING;
        if (!blank && !list)
            return fail(e, "%s:%d: merges: item %zu: expected \"a b\" or [\"a\", \"b\"]", file, x->line, i);
        const char *const part[2] = {list ? pair[0].string : x->string, list ? pair[1].string : blank + 1};
        const size_t size[2] = {list ? pair[0].length : (size_t)(blank - x->string),
                                list ? pair[1].length : x->length - (size_t)(blank - x->string) - 1};
        int n[2];
        for (int k = 0; k < 2; k++) {
            n[k] = size[k] <= LONGEST ? spelt(k ? text + n[0] : text, part[k], size[k], byte) : -1;
            id[k] = n[k] > 0 ? *name_of(t, k ? text + n[0] : text, (size_t)n[k]) : -1;
            if (id[k] < 0 || (t->flags[id[k]] & TOKEN_RAW))
                return fail(e, "%s:%d: merges: item %zu: %.*s: not in the vocabulary", file, x->line, i,
                            (int)(size[k] < 60 ? size[k] : 60), part[k]);
        }
        id[2] = *name_of(t, text, (size_t)(n[0] + n[1]));
        if (id[2] < 0 || (t->flags[id[2]] & TOKEN_RAW))
            return fail(e, "%s:%d: merges: item %zu, %.20s...: both parts together are not in the vocabulary",
                        file, x->line, i, part[0]);
        *merge_of(t, id[0], id[1]) = (Merge){id[0], id[1], (int)i, id[2]};
    }
    return true;
}

/* A token that is cut out of texts whole. Those with the same first byte are chained, the longest first. */
static bool add_token(Tokenizer *t, int id, const char *text, size_t n, Added with, const char *file,
                      Err *e) {
    Added *a = &t->added[t->n_added];
    *a = with;
    a->text = with.normalized && t->nfc ? unicode_nfc(text, n, &n) : malloc(n + 1);
    if (!a->text) return fail(e, "%s: %zu bytes could not be allocated", file, n + 1);
    if (!(with.normalized && t->nfc)) memcpy(a->text, text, n), a->text[n] = 0;
    a->id = id, a->n = (int)n;
    t->flags[id] |= TOKEN_ADDED;
    int *link = &t->first_added[with.normalized][(unsigned char)a->text[0]];
    while (*link >= 0 && t->added[*link].n >= a->n) link = &t->added[*link].next;
    a->next = *link, *link = t->n_added++;
    return true;
}

/* `next`: the id that `tokenizers` gives to an added token which the vocabulary lacks, whatever the file
 * says. */
static bool read_added(Tokenizer *t, const Json *list, size_t next, size_t *used, bool *taken,
                       const char *file, Err *e) {
    for (size_t i = 0; i < list->length; i++) {
        const Json *x = &list->item[i], *content = json_get(x, "content");
        int id = 0;
        if (!json_get_string(x, "content", NULL, file, e) || !read_id(&id, json_get(x, "id"), file, e))
            return false;
        const char *s = content->string;
        const size_t n = content->length;
        if (n == 0 || n > LONGEST || strlen(s) != n)
            return fail(e, "%s:%d: added_tokens: a token of %zu bytes, expected 1..%d without NUL", file,
                        x->line, n, LONGEST);
        if (is_true(x, "single_word"))
            return fail(e, "%s:%d: added token %.60s: single_word is not supported, expected false", file,
                        x->line, s);
        if (t->flags[id] & TOKEN_ADDED)
            return fail(e, "%s:%d: added token %.60s: id %d: found twice", file, x->line, s, id);
        const int known = id_of_key(t, s, n);
        if (taken[id] ? known != id : known >= 0)
            return fail(e, "%s:%d: added token %.60s: its id is %d here, but in the vocabulary %s", file,
                        x->line, s, id, taken[id] ? "another's" : "it has another");
        if (!taken[id] && (size_t)id != next)
            return fail(e, "%s:%d: added token %.60s: its id is %d here, but `tokenizers` would give it %zu",
                        file, x->line, s, id, next);
        if ((size_t)id >= next) next = (size_t)id + 1;
        if (!taken[id]) {
            memcpy(t->text + *used, s, n);
            t->start[id] = *used, t->length[id] = (int)n, taken[id] = true, *used += n;
        }
        if (is_true(x, "special")) t->flags[id] |= TOKEN_SPECIAL;
        const Added with = {.normalized = is_true(x, "normalized"), .lstrip = is_true(x, "lstrip"),
                            .rstrip = is_true(x, "rstrip")};
        if (!add_token(t, id, s, n, with, file, e)) return false;
    }
    return true;
}

static bool read_tables(Tokenizer *t, const Json *root, const char *file, Err *e) {
    static const Json none = {.type = JSON_ARRAY};
    const Json *model = json_get(root, "model"), *v = json_get(model, "vocab"),
               *m = json_get(model, "merges"), *added = json_get(root, "added_tokens");
    if (!v || v->type != JSON_OBJECT || !m || m->type != JSON_ARRAY)
        return fail(e, "%s:%d: model: expected vocab {...} and merges [...]", file, model->line);
    if (absent(added)) added = &none;
    if (added->type != JSON_ARRAY)
        return fail(e, "%s:%d: added_tokens: found %s, expected an array", file, added->line,
                    json_type_name(added->type));
    size_t bytes = 0, used = 0;
    int id = 0;
    for (size_t i = 0; i < v->length; i++) {
        if (!read_id(&id, &v->item[i], file, e)) return false;
        if (id >= t->vocab) t->vocab = id + 1;
        bytes += strlen(v->item[i].key);
    }
    for (size_t i = 0; i < added->length; i++) {
        if (!json_get_string(&added->item[i], "content", NULL, file, e) ||
            !read_id(&id, json_get(&added->item[i], "id"), file, e))
            return false;
        if (id >= t->vocab) t->vocab = id + 1;
        bytes += json_get(&added->item[i], "content")->length;
    }
    if (m->length > INT_MAX / 4) return fail(e, "%s:%d: merges: %zu are too many", file, m->line, m->length);
    /* + bos, eos, pad of two files */
    if (!tables_new(t, bytes, v->length, m->length, added->length + 6, file, e)) return false;
    bool *taken = calloc((size_t)t->vocab + 1, sizeof *taken);
    const bool ok = taken ? read_vocab(t, v, &used, taken, file, e) && read_merges(t, m, file, e) &&
                                read_added(t, added, v->length, &used, taken, file, e)
                          : fail(e, "%s: out of memory", file);
    free(taken);
    if (!ok || absent(json_get(model, "unk_token"))) return ok;
    const char *unk = string_of(model, "unk_token");
    id = unk ? id_of_key(t, unk, strlen(unk)) : -1;
    for (int b = 0; b < 256; b++) {
        if (t->byte_id[b] >= 0) continue;
        if (id < 0)
            return fail(e, "%s:%d: model: unk_token: not in the vocabulary, and byte %d has no token", file,
                        model->line, b);
        if (is_true(model, "fuse_unk"))
            return fail(e, "%s:%d: model: fuse_unk: not supported where byte %d has no token", file,
                        model->line, b);
        t->byte_id[b] = id;
    }
    return true;
}

/* ---- loading: the small files --------------------------------------------------------------- */

/* A token that a configuration names, as a text or as {"content": ...}. It becomes an added token if it was
 * none, as transformers makes it; one that the vocabulary lacks would get a new id there, beyond the model's
 * rows: an error. */
static bool read_named(int *id, Tokenizer *t, const Json *config, const char *key, const char *file, Err *e) {
    const Json *v = json_get(config, key);
    if (v && v->type == JSON_OBJECT) v = json_get(v, "content");
    if (absent(v)) return true;
    if (v->type != JSON_STRING)
        return fail(e, "%s:%d: %s: found %s, expected a token", file, v->line, key, json_type_name(v->type));
    const int found = tokenizer_id(t, v->string);
    if (found < 0)
        return fail(e, "%s:%d: %s: %.60s is not among the tokens of tokenizer.json", file, v->line, key,
                    v->string);
    *id = found;
    if (t->flags[found] & TOKEN_ADDED) return true;
    t->flags[found] |= TOKEN_SPECIAL;
    return add_token(t, found, v->string, v->length, (Added){0}, file, e);
}

/* added_tokens_decoder repeats tokenizer.json's added tokens; where it has others, transformers would encode
 * otherwise. */
static bool check_decoder(const Tokenizer *t, const Json *d, const char *file, Err *e) {
    for (size_t i = 0; d && d->type == JSON_OBJECT && i < d->length; i++) {
        const char *content = string_of(&d->item[i], "content");
        char *end;
        const long id = strtol(d->item[i].key, &end, 10);
        if (!content || *end || id < 0 || id >= t->vocab || !(t->flags[id] & TOKEN_ADDED) ||
            strlen(content) != (size_t)t->length[id] ||
            memcmp(content, t->text + t->start[id], (size_t)t->length[id]))
            return fail(e,
                        "%s:%d: added_tokens_decoder: %.20s, %.60s: is not so among the added_tokens of "
                        "tokenizer.json",
                        file, d->item[i].line, d->item[i].key, content ? content : "without content");
    }
    return true;
}

static void hash_template(char hex[65], const char *s, size_t n) {
    Sha256 h;
    /* one line end more or less is the same template to Jinja */
    if (n && s[n - 1] == '\n') n--;
    sha256_begin(&h), sha256_add(&h, s, n), sha256_end(&h, hex);
}

/* A text, or a list of named ones, of which "default" counts. */
static void read_template(Tokenizer *t, const Json *v) {
    for (size_t i = 0; v && v->type == JSON_ARRAY && i < v->length; i++) {
        const char *name = string_of(&v->item[i], "name");
        if (name && strcmp(name, "default") == 0) { v = json_get(&v->item[i], "template"); break; }
    }
    if (v && v->type == JSON_STRING) hash_template(t->template_hash, v->string, v->length);
}

static bool read_config(Tokenizer *t, const char *path, Err *e) {
    Json *c = json_read_file(path, e);
    const bool ok = c && check_decoder(t, json_get(c, "added_tokens_decoder"), path, e) &&
                    read_named(&t->bos, t, c, "bos_token", path, e) &&
                    read_named(&t->eos, t, c, "eos_token", path, e) &&
                    read_named(&t->pad, t, c, "pad_token", path, e);
    if (ok) read_template(t, json_get(c, "chat_template"));
    json_free(c);
    return ok;
}

void tokenizer_free(Tokenizer *t) {
    if (!t) return;
    for (int i = 0; i < t->n_added; i++) free(t->added[i].text);
    free(t->text), free(t->start), free(t->length), free(t->flags), free(t->merge), free(t->name),
        free(t->added), free(t);
}

Tokenizer *tokenizer_load(const char *dir, Err *e) {
    /* the latter counts */
    static const char *const config[] = {"special_tokens_map.json", "tokenizer_config.json"};
    char path[1024];
    Tokenizer *t = calloc(1, sizeof *t);
    if (!t) { fail(e, "%s: a tokenizer could not be allocated", dir); return NULL; }
    t->bos = t->eos = t->pad = -1;
    Json *root = path_join(path, sizeof path, dir, "tokenizer.json", e) ? json_read_file(path, e) : NULL;
    bool ok = root && read_shape(t, root, path, e) && read_tables(t, root, path, e);
    json_free(root);
    for (int i = 0; ok && i < 2; i++) {
        ok = path_join(path, sizeof path, dir, config[i], e);
        if (ok && path_exists(path)) ok = read_config(t, path, e);
    }
    if (ok && (ok = path_join(path, sizeof path, dir, "chat_template.jinja", e)) && path_exists(path)) {
        size_t n;
        char *s = file_read(path, &n, e);
        ok = s != NULL;
        if (ok) hash_template(t->template_hash, s, n);
        free(s);
    }
    if (ok) return t;
    tokenizer_free(t);
    return NULL;
}

/* ---- training ------------------------------------------------------------------------------- */

static const char *const trained_special[] = {"<pad>", "<user>", "<bot>", "<end>"};
enum { N_SPECIAL = 4, N_FIRST = N_SPECIAL + 256, TRAINED_LONGEST = 500, VOCAB_MOST = 65536 };

/* start: its ids in Trainer.id */
typedef struct { const char *s; size_t n, start; int n_id; long long count; } Word;
/* word: those that (once) held the pair */
typedef struct { int a, b; long long count; int *word, n_word, capacity; } Pair;
/* a pair's count when it was put on the heap */
typedef struct { long long count; int a, b; } Claim;
typedef struct {
    Word *word; size_t n_word, cap_word; int *word_slot; size_t word_mask;
    int *id;
    Pair *pair; size_t n_pair, cap_pair; int *pair_slot; size_t pair_mask;
    Claim *heap; size_t n_heap, cap_heap;
    char **text; int *length; int (*merge)[2];                  /* by id */
} Trainer;

/* Room for one more item in an array that grows by doubling. */
static bool grow(void **items, size_t n, size_t *capacity, size_t size, Err *e) {
    if (n < *capacity) return true;
    const size_t more = *capacity ? 2 * *capacity : 1024;
    void *p = more <= INT_MAX ? realloc(*items, more * size) : NULL;
    if (!p) return fail(e, "tokenizer: training: %zu items of %zu bytes could not be allocated", more, size);
    *items = p, *capacity = more;
    return true;
}

/* An empty table of slots for n items. */
static bool new_slots(int **slot, size_t *mask, size_t n, Err *e) {
    size_t slots = 1024;
    while (slots < 2 * n) slots *= 2;
    free(*slot);
    *slot = malloc(slots * sizeof **slot), *mask = slots - 1;
    if (!*slot) return fail(e, "tokenizer: training: a table of %zu slots could not be allocated", slots);
    for (size_t i = 0; i < slots; i++) (*slot)[i] = -1;
    return true;
}

static int *word_slot(const Trainer *r, const char *s, size_t n) {
    size_t i = bytes_hash(s, n) & r->word_mask;
    for (int k; (k = r->word_slot[i]) >= 0 && (r->word[k].n != n || memcmp(r->word[k].s, s, n));)
        i = (i + 1) & r->word_mask;
    return &r->word_slot[i];
}

static bool count_word(Trainer *r, const char *s, size_t n, Err *e) {
    int *slot = word_slot(r, s, n);
    if (*slot >= 0) { r->word[*slot].count++; return true; }
    void *items = r->word;
    const bool ok = grow(&items, r->n_word, &r->cap_word, sizeof *r->word, e);
    r->word = items;
    if (!ok) return false;
    r->word[r->n_word] = (Word){.s = s, .n = n, .count = 1};
    *slot = (int)r->n_word++;
    if (2 * r->n_word <= r->word_mask) return true;
    if (!new_slots(&r->word_slot, &r->word_mask, 2 * r->n_word, e)) return false;
    for (size_t i = 0; i < r->n_word; i++) *word_slot(r, r->word[i].s, r->word[i].n) = (int)i;
    return true;
}

/* A special's text is no material for merges: words are what lies between. */
static bool count_text(Trainer *r, const char *s, size_t n, Err *e) {
    for (size_t i = 0, end; i < n; ) {
        size_t skip = 0;
        for (end = i; end < n; end++) {
            if (s[end] != '<') continue;
            for (int k = 0; k < N_SPECIAL && !skip; k++) {
                const size_t m = strlen(trained_special[k]);
                if (m <= n - end && memcmp(s + end, trained_special[k], m) == 0) skip = m;
            }
            if (skip) break;
        }
        for (size_t k; i < end; i += k)
            if (!count_word(r, s + i, k = gpt2_word(s + i, end - i), e)) return false;
        i += skip;
    }
    return true;
}

static int *pair_slot(const Trainer *r, int a, int b) {
    size_t i =
        (size_t)(((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9E3779B97F4A7C15u >> 24) & r->pair_mask;
    for (int k; (k = r->pair_slot[i]) >= 0 && (r->pair[k].a != a || r->pair[k].b != b);)
        i = (i + 1) & r->pair_mask;
    return &r->pair_slot[i];
}

/* Adds `by` to the count of (a, b), which word w holds. */
static bool count_pair(Trainer *r, int a, int b, long long by, int w, Err *e) {
    int *slot = pair_slot(r, a, b);
    if (*slot < 0) {
        void *items = r->pair;
        const bool ok = grow(&items, r->n_pair, &r->cap_pair, sizeof *r->pair, e);
        r->pair = items;
        if (!ok) return false;
        r->pair[r->n_pair] = (Pair){.a = a, .b = b};
        *slot = (int)r->n_pair++;
        if (2 * r->n_pair > r->pair_mask) {
            if (!new_slots(&r->pair_slot, &r->pair_mask, 2 * r->n_pair, e)) return false;
            for (size_t i = 0; i < r->n_pair; i++) *pair_slot(r, r->pair[i].a, r->pair[i].b) = (int)i;
            slot = pair_slot(r, a, b);
        }
    }
    Pair *p = &r->pair[*slot];
    p->count += by;
    if (by < 0 || (p->n_word && p->word[p->n_word - 1] == w)) return true;
    if (p->n_word == p->capacity) {
        const int more = p->capacity > INT_MAX / 2 ? INT_MAX : p->capacity ? 2 * p->capacity : 4;
        int *word = more > p->capacity ? realloc(p->word, (size_t)more * sizeof *word) : NULL;
        if (!word) return fail(e, "tokenizer: training: %d words of a pair could not be allocated", more);
        p->word = word, p->capacity = more;
    }
    p->word[p->n_word++] = w;
    return true;
}

/* The most frequent first, of equals the lower pair of ids. */
static bool claim_before(const Claim *x, const Claim *y) {
    return x->count != y->count ? x->count > y->count : x->a != y->a ? x->a < y->a : x->b < y->b;
}

static bool claim_push(Trainer *r, Claim c, Err *e) {
    void *items = r->heap;
    const bool ok = grow(&items, r->n_heap, &r->cap_heap, sizeof *r->heap, e);
    r->heap = items;
    if (!ok) return false;
    size_t i = r->n_heap++;
    for (; i > 0 && claim_before(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
    return true;
}

static Claim claim_pop(Trainer *r) {
    const Claim top = r->heap[0], last = r->heap[--r->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < r->n_heap; i = k) {
        if (k + 1 < r->n_heap && claim_before(&r->heap[k + 1], &r->heap[k])) k++;
        if (!claim_before(&r->heap[k], &last)) break;
        r->heap[i] = r->heap[k];
    }
    r->heap[i] = last;
    return top;
}

static bool count_pairs_of(Trainer *r, int w, long long by, Err *e) {
    const Word *x = &r->word[w];
    const int *id = r->id + x->start;
    for (int k = 0; k + 1 < x->n_id; k++) if (!count_pair(r, id[k], id[k + 1], by, w, e)) return false;
    return true;
}

/* Puts `id` wherever the pair stands, in the words that hold it, and counts their pairs anew. */
static bool merge_everywhere(Trainer *r, Claim c, int id, Err *e) {
    /* a copy: the array may move; its words stay where they are */
    const Pair p = r->pair[*pair_slot(r, c.a, c.b)];
    const size_t old = r->n_pair;
    for (int i = 0; i < p.n_word; i++) {
        Word *x = &r->word[p.word[i]];
        int *at = r->id + x->start, k = 0;
        bool held = false;
        for (int j = 0; j + 1 < x->n_id && !held; j++) held = at[j] == c.a && at[j + 1] == c.b;
        if (!held) continue;
        if (!count_pairs_of(r, p.word[i], -x->count, e)) return false;
        for (int j = 0; j < x->n_id; j++)
            if (j + 1 < x->n_id && at[j] == c.a && at[j + 1] == c.b) at[k++] = id, j++;
            else at[k++] = at[j];
        x->n_id = k;
        if (!count_pairs_of(r, p.word[i], x->count, e)) return false;
    }
    /* only pairs with the new id can have grown: they are the new ones */
    for (size_t i = old; i < r->n_pair; i++)
        if (!claim_push(r, (Claim){r->pair[i].count, r->pair[i].a, r->pair[i].b}, e)) return false;
    return true;
}

static void write_letters(char *out, const char *s, int n, const uint32_t letter[256]) {
    for (int i = 0; i < n; i++) out += utf8_put(out, letter[(unsigned char)s[i]]);
    *out = 0;
}

static bool write_text(JsonWriter *w, const char *dir, const char *name, Err *e) {
    char path[1024];
    const bool ok =
        w->text ? path_join(path, sizeof path, dir, name, e) && file_write(path, w->text, w->length, e)
                : fail(e, "%s/%s: no memory for its text", dir, name);
    free(w->text);
    *w = (JsonWriter){.indent = 1};
    return ok;
}

static bool write_trained(const Trainer *r, const char *dir, int vocab, Err *e) {
    static const char byte_level[] =
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}";
    static const char *const no[] = {"single_word", "lstrip", "rstrip", "normalized"};
    JsonWriter w = {.indent = 1};
    char a[2 * TRAINED_LONGEST + 1], b[2 * TRAINED_LONGEST + 1];
    uint32_t letter[256];
    letters_of_bytes(letter);
    json_begin(&w, '{'), json_put_string(&w, "version", "1.0"), json_put_null(&w, "truncation"),
        json_put_null(&w, "padding");
    json_open(&w, "added_tokens", '[');
    for (int i = 0; i < N_SPECIAL; i++) {
        json_begin(&w, '{'), json_put_int(&w, "id", i), json_put_string(&w, "content", trained_special[i]);
        for (int k = 0; k < 4; k++) json_put_bool(&w, no[k], false);
        json_put_bool(&w, "special", true), json_end(&w, '}');
    }
    json_end(&w, ']'), json_put_null(&w, "normalizer"), json_put_raw(&w, "pre_tokenizer", byte_level);
    json_put_null(&w, "post_processor"), json_put_raw(&w, "decoder", byte_level);
    json_open(&w, "model", '{'), json_put_string(&w, "type", "BPE"), json_open(&w, "vocab", '{');
    for (int i = 0; i < vocab; i++) {
        if (i >= N_SPECIAL) write_letters(a, r->text[i], r->length[i], letter);
        json_put_int(&w, i < N_SPECIAL ? trained_special[i] : a, i);
    }
    json_end(&w, '}'), json_open(&w, "merges", '[');
    for (int i = N_FIRST; i < vocab; i++) {
        write_letters(a, r->text[r->merge[i][0]], r->length[r->merge[i][0]], letter);
        write_letters(b, r->text[r->merge[i][1]], r->length[r->merge[i][1]], letter);
        json_begin(&w, '['), json_string(&w, a), json_string(&w, b), json_end(&w, ']');
    }
    json_end(&w, ']'), json_end(&w, '}'), json_end(&w, '}');
    if (!folder_make(dir, e) || !write_text(&w, dir, "tokenizer.json", e)) return false;
    for (int i = 0; i < 2; i++) {
        json_begin(&w, '{'), json_put_string(&w, "eos_token", trained_special[3]),
            json_put_string(&w, "pad_token", trained_special[0]);
        if (i)
            json_put_string(&w, "tokenizer_class", "PreTrainedTokenizerFast"),
                json_put_string(&w, "chat_template", chat_plain_template);
        json_end(&w, '}');
        if (!write_text(&w, dir, i ? "tokenizer_config.json" : "special_tokens_map.json", e)) return false;
    }
    return true;
}

/* Words are counted once; then each merge touches only the words that hold its pair. Counts are whole numbers
 * and ties are decided by ids, so the order in which words are met leaves no trace. */
static bool train(Trainer *r, const char *const *text, const size_t *length, int n_text, int vocab, Err *e) {
    const size_t v = (size_t)vocab;
    r->text = calloc(v, sizeof *r->text), r->length = calloc(v, sizeof *r->length),
    r->merge = calloc(v, sizeof *r->merge);
    if (!r->text || !r->length || !r->merge)
        return fail(e, "tokenizer: training: tables for %d entries could not be allocated", vocab);
    if (!new_slots(&r->word_slot, &r->word_mask, 0, e) || !new_slots(&r->pair_slot, &r->pair_mask, 0, e))
        return false;
    for (int i = 0; i < n_text; i++) if (!count_text(r, text[i], length[i], e)) return false;
    size_t total = 0;
    for (size_t i = 0; i < r->n_word; i++) r->word[i].start = total, total += r->word[i].n;
    if (total >= INT_MAX)
        return fail(e, "tokenizer: training: %zu bytes of different words, expected less than %d", total,
                    INT_MAX);
    if (!(r->id = malloc((total + 1) * sizeof *r->id)))
        return fail(e, "tokenizer: training: %zu ids could not be allocated", total);
    for (int i = N_SPECIAL; i < N_FIRST; i++) {
        if (!(r->text[i] = malloc(1))) return fail(e, "tokenizer: training: no memory");
        r->text[i][0] = (char)(i - N_SPECIAL), r->length[i] = 1;
    }
    for (size_t i = 0; i < r->n_word; i++) {
        Word *x = &r->word[i];
        x->n_id = (int)x->n;
        for (size_t k = 0; k < x->n; k++) r->id[x->start + k] = N_SPECIAL + (unsigned char)x->s[k];
        if (!count_pairs_of(r, (int)i, x->count, e)) return false;
    }
    for (size_t i = 0; i < r->n_pair; i++)
        if (!claim_push(r, (Claim){r->pair[i].count, r->pair[i].a, r->pair[i].b}, e)) return false;
    for (int id = N_FIRST; id < vocab; ) {
        if (!r->n_heap)
            return fail(e, "tokenizer: the texts give only %d entries, expected %d; train a smaller one", id,
                        vocab);
        Claim c = claim_pop(r);
        const long long now = r->pair[*pair_slot(r, c.a, c.b)].count;
        /* it has shrunk since: once more, with what it has */
        if (now != c.count) {
            c.count = now;
            if (now > 0 && !claim_push(r, c, e)) return false;
            continue;
        }
        const int n = r->length[c.a] + r->length[c.b];
        if (n > TRAINED_LONGEST) continue;
        char *s = malloc((size_t)n);
        if (!s) return fail(e, "tokenizer: training: no memory");
        memcpy(s, r->text[c.a], (size_t)r->length[c.a]),
            memcpy(s + r->length[c.a], r->text[c.b], (size_t)r->length[c.b]);
        /* "ab" "c" after "a" "bc": a second token of the same text */
        bool known = false;
        for (int i = N_FIRST; i < id && !known; i++)
            known = r->length[i] == n && memcmp(r->text[i], s, (size_t)n) == 0;
        if (known) { free(s); continue; }
        r->text[id] = s, r->length[id] = n, r->merge[id][0] = c.a, r->merge[id][1] = c.b;
        if (!merge_everywhere(r, c, id, e)) return false;
        id++;
    }
    return true;
}

bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab,
                     Err *e) {
    if (vocab < N_FIRST || vocab > VOCAB_MOST)
        return fail(e, "tokenizer: vocab: found %d, expected %d..%d (4 specials, 256 bytes, merges)", vocab,
                    N_FIRST, VOCAB_MOST);
    Trainer r = {0};
    const bool ok = train(&r, text, length, n_text, vocab, e) && write_trained(&r, dir, vocab, e);
    for (int i = 0; r.text && i < vocab; i++) free(r.text[i]);
    for (size_t i = 0; i < r.n_pair; i++) free(r.pair[i].word);
    free(r.word), free(r.word_slot), free(r.id), free(r.pair), free(r.pair_slot), free(r.heap), free(r.text),
        free(r.length), free(r.merge);
    return ok;
}
