/* tokenizer.c: text to tokens and back: byte-level BPE as `tokenizers` does it.
 *
 * In this order: lists of ids, look-up, splitting into words, merging, encoding, decoding. Encoding is a
 * pipeline, as in `tokenizers`: bad UTF-8 repaired; added tokens cut out of the raw text; normal form C where
 * asked for; added tokens cut out of the normalised text; words; merges. Not here: reading of tokenizer.json
 * (text/tokenizer_file.c), training (text/tokenizer_training.c), chat templates (text/chat.c), Unicode
 * (lib/utf8.c, lib/unicode.c). */
#include "tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unicode.h"

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

/* ---- look-up ---- */

Merge *tokenizer_merge(const Tokenizer *t, int a, int b) {
    const uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 24) & t->merge_mask;
    while (t->merge[i].rank >= 0 && (t->merge[i].a != a || t->merge[i].b != b)) i = (i + 1) & t->merge_mask;
    return &t->merge[i];
}

size_t tokenizer_hash(const char *s, size_t n) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

int *tokenizer_name(const Tokenizer *t, const char *s, size_t n) {
    size_t i = tokenizer_hash(s, n) & t->name_mask;
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
    return *tokenizer_name(t, token, n);
}

int tokenizer_vocab(const Tokenizer *t) { return t->vocab; }
int tokenizer_bos(const Tokenizer *t) { return t->bos; }
int tokenizer_eos(const Tokenizer *t) { return t->eos; }
int tokenizer_pad(const Tokenizer *t) { return t->pad; }
const char *tokenizer_template_hash(const Tokenizer *t) { return t->template_hash; }

/* ---- words: one matcher for each regular expression, found by its exact text ---- */

const char *const tokenizer_pattern[N_SPLIT] = {
    [SPLIT_GPT2] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    [SPLIT_LLAMA3] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    [SPLIT_QWEN] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};

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
static size_t letters_end(const char *s, size_t n, size_t i, Class class) {
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

size_t tokenizer_gpt2_word(const char *s, size_t n) {
    size_t used, i = contraction(s, n, false);
    if (i) return i;
    Class class = class_at(s, n, &used);
    if (s[0] == ' ' && n > 1 && (class = class_at(s + 1, n - 1, &used)) != SPACE) i = 1;
    return class == SPACE ? blanks(s, n) : letters_end(s, n, i, class);
}

/* Llama-3's and Qwen's differ in the digits that make one word: up to 3, or 1. */
static size_t llama3_word(const char *s, size_t n, int most_digits) {
    size_t used, next, i = contraction(s, n, true);
    if (i) return i;
    const Class class = class_at(s, n, &used);
    if (class == LETTER) return letters_end(s, n, used, LETTER);
    if (class == NUMBER) {
        for (i = used; --most_digits > 0 && i < n && class_at(s + i, n - i, &used) == NUMBER; ) i += used;
        return i;
    }
    const bool newline = s[0] == '\r' || s[0] == '\n';
    if (!newline && used < n && class_at(s + used, n - used, &next) == LETTER)
        return letters_end(s, n, used, LETTER);
    if (class == OTHER || (s[0] == ' ' && n > 1 && class_at(s + 1, n - 1, &next) == OTHER)) {
        i = letters_end(s, n, class == OTHER ? 0 : 1, OTHER);
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
    default: return tokenizer_gpt2_word(s, n);
    }
}

/* ---- merging ---- */

/* a linked list within an array; id < 0: merged away */
typedef struct { int id, before, after; } Symbol;
typedef struct { int rank, at, a, b; } Candidate;               /* the pair (a, b) whose first symbol is at */
typedef struct { /* one encoding's memory, as large as its longest word */
    Symbol *symbol;
    Candidate *heap;                                            /* the lowest rank above, then the leftmost */
    size_t n_heap, capacity;
    bool special;                                               /* special tokens are seen in the text */
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
    const Merge *m = tokenizer_merge(t, a, b);
    if (m->rank >= 0) heap_push(w, (Candidate){m->rank, at, a, b});
}

/* The lowest rank first, the leftmost of equals, until no pair has a rank. A word of n bytes proposes fewer
 * than 2 n pairs. */
static bool encode_word(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Err *e) {
    if (t->whole_words) {
        const int id = *tokenizer_name(t, s, n);
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
        x->id = tokenizer_merge(t, c.a, c.b)->id, y->id = -1;
        x->after = y->after;
        if (x->after >= 0) w->symbol[x->after].before = c.at;
        propose(w, t, x->before);
        propose(w, t, c.at);
    }
    for (int i = 0; i >= 0; i = w->symbol[i].after) if (!ids_add(out, w->symbol[i].id, e)) return false;
    return true;
}

/* ---- encoding ---- */

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
static bool encode_raw(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Err *e) {
    if (n == 0) return true;
    char *c = t->nfc ? unicode_nfc(s, n, &n) : NULL;
    if (t->nfc && !c) return fail(e, "tokenizer: a text of %zu bytes could not be normalised", n);
    if (c) s = c;
    const bool ok = encode_pieces(out, t, w, s, n, 1, e);
    free(c);
    return ok;
}

/* Cuts added tokens out (pass 0: of the raw text, pass 1: of the normalised), the leftmost first, the longest
 * of those, and encodes what lies between. A special one that is not to be seen is passed over as text. */
static bool encode_pieces(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, int pass, Err *e) {
    size_t from = 0, used;
    for (size_t i = 0; i < n; ) {
        const Added *hit = NULL;
        for (int k = t->first_added[pass][(unsigned char)s[i]]; k >= 0 && !hit; k = t->added[k].next)
            if ((size_t)t->added[k].n <= n - i && memcmp(t->added[k].text, s + i, (size_t)t->added[k].n) == 0)
                hit = &t->added[k];
        if (!hit) { i++; continue; }
        if (!w->special && (t->flags[hit->id] & TOKEN_SPECIAL)) { i += (size_t)hit->n; continue; }
        size_t start = i, end = i + (size_t)hit->n, k = from;
        if (hit->lstrip)                                        /* it takes the blanks before it */
            for (start = from; k < i; k += used) if (class_at(s + k, i - k, &used) != SPACE) start = k + used;
        if (hit->rstrip) end = letters_end(s, n, end, SPACE);
        if (pass == 0 ? !encode_raw(out, t, w, s + from, start - from, e)
                      : !encode_words(out, t, w, s + from, start - from, e))
            return false;
        if (!ids_add(out, hit->id, e)) return false;
        from = i = end;
    }
    return pass == 0 ? encode_raw(out, t, w, s + from, n - from, e)
                     : encode_words(out, t, w, s + from, n - from, e);
}

bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, bool special, Err *e) {
    if (n >= (size_t)1 << 28)
        return fail(e, "tokenizer: a text of %zu bytes, expected less than %d; cut it", n, 1 << 28);
    char *s = utf8_repair(text, n, &n);
    if (!s) return fail(e, "tokenizer: a text of %zu bytes could not be copied", n);
    Work w = {.special = special};
    const bool ok = encode_pieces(out, t, &w, s, n, 0, e);
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
