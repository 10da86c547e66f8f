/* tokenizer.c: text to tokens and back: byte-pair encoding as `tokenizers` does it.
 *
 * In this order: lists of ids, look-up, splitting into words, merging, encoding, decoding. Encoding is a
 * pipeline, as in `tokenizers`: bad UTF-8 repaired; added tokens cut out of the raw text; the text normalised
 * where asked for; added tokens cut out of the normalised text; words; merges. A word is merged from its
 * bytes, or, with the tokenizers of SentencePiece's kin, from its characters. Not here: reading of
 * tokenizer.json (text/tokenizer_file.c), training (text/tokenizer_training.c), chat templates (text/chat.c),
 * normalizers and decoders (text/rewrite.c), Unicode (lib/utf8.c, lib/unicode.c). */
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
    size_t i = (size_t)hash_pair(&t->key, (uint32_t)a, (uint32_t)b) & t->merge_mask;
    while (t->merge[i].rank >= 0 && (t->merge[i].a != a || t->merge[i].b != b)) i = (i + 1) & t->merge_mask;
    return &t->merge[i];
}

int *tokenizer_name(const Tokenizer *t, const char *s, size_t n) {
    size_t i = (size_t)hash_bytes(&t->key, s, n) & t->name_mask;
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
/* The first of the sorted added tokens from `low` on, below `high`, whose byte `at` is at least c; all are
 * longer. */
static int first_with(const Tokenizer *t, int low, int high, size_t at, int c) {
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if ((unsigned char)t->added[t->sorted[middle]].text[at] < c) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The longest added token that the n bytes begin with, of those that are cut out in a pass; NULL: none. The
 * candidates stand side by side in the sorted list, and each byte leaves fewer of them. */
static const Added *added_prefix(const Tokenizer *t, int pass, const char *s, size_t n) {
    int low = pass ? t->n_raw : 0, high = pass ? t->n_added : t->n_raw;
    const Added *best = NULL;
    for (size_t at = 0; low < high; at++) {
        for (bool first = true; low < high && (size_t)t->added[t->sorted[low]].n == at; low++, first = false)
            if (first) best = &t->added[t->sorted[low]];        /* of equal ones the first */
        if (at == n) break;
        low = first_with(t, low, high, at, (unsigned char)s[at]);
        high = first_with(t, low, high, at, (unsigned char)s[at] + 1);
    }
    return best;
}

int tokenizer_added_at(const Tokenizer *t, const char *s, size_t n, size_t *length) {
    const Added *raw = added_prefix(t, 0, s, n), *normal = added_prefix(t, 1, s, n);
    const Added *best = !raw || (normal && normal->n > raw->n) ? normal : raw;
    *length = best ? (size_t)best->n : 0;
    return best ? best->id : -1;
}

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

/* Up to the next mark that words begin with, or with the next that they end with. */
static size_t marked_word(const Tokenizer *t, const char *s, size_t n) {
    const size_t k = (size_t)t->n_cut;
    for (size_t i = t->cut_behind ? 0 : 1; k && i + k <= n; i++)
        if (memcmp(s + i, t->cut, k) == 0) return t->cut_behind ? i + k : i;
    return n;
}

/* Bytes of the word at s, of which n >= 1 remain: at least 1. */
static size_t word_length(const Tokenizer *t, const char *s, size_t n) {
    if (t->characters) return marked_word(t, s, n);
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

static int put_symbol(Work *w, int k, int id) {
    w->symbol[k] = (Symbol){id, k - 1, k + 1};
    return k + 1;
}

/* What a word is merged from: returns how many symbols. */
static int symbols_of_bytes(Work *w, const Tokenizer *t, const char *s, size_t n) {
    int k = 0;
    for (size_t i = 0; i < n; i++) {
        const int id = t->byte_id[(unsigned char)s[i]];
        if (id >= 0) k = put_symbol(w, k, id);
    }
    return k;
}

/* A character without a token becomes those of its bytes, if there are all of them, else the unknown token;
 * with fuse_unk one for several in a row. It is put down only when the next known character comes, as
 * there. */
static int symbols_of_characters(Work *w, const Tokenizer *t, const char *s, size_t n) {
    int k = 0;
    bool unknown = false;
    for (size_t i = 0, used, b; i < n; i += used) {
        utf8_next(s + i, n - i, &used);
        const int id = *tokenizer_name(t, s + i, used);
        if (id < 0) {
            for (b = 0; b < used && t->byte_id[(unsigned char)s[i + b]] >= 0; ) b++;
            if (b == used) {
                for (b = 0; b < used; b++) k = put_symbol(w, k, t->byte_id[(unsigned char)s[i + b]]);
                continue;
            }
        }
        if (unknown && (id >= 0 || !t->fuse_unk)) k = put_symbol(w, k, t->unk);
        unknown = id < 0 && t->unk >= 0;
        if (id >= 0) k = put_symbol(w, k, id);
    }
    return unknown ? put_symbol(w, k, t->unk) : k;
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
    const int k = t->characters ? symbols_of_characters(w, t, s, n) : symbols_of_bytes(w, t, s, n);
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

/* A piece of text is the beginning of the whole, stands behind an added token, or goes on where other text
 * ended. */
typedef enum { BEGINS, BEHIND, INSIDE, MARKED } Place;          /* MARKED: its marks are there */

/* n bytes after the steps, to be freed. */
static char *rewritten(const Rewrite *step, int n_step, const char *s, size_t n, size_t *length, Err *e) {
    Pieces p = {.s = NULL};
    pieces_add(&p, s, n), pieces_close(&p);
    if (!rewrite(&p, step, n_step, e)) { pieces_free(&p); return NULL; }
    free(p.end);
    *length = p.n;
    return p.s || (p.s = calloc(1, 1)) ? p.s : (fail(e, "tokenizer: no memory"), NULL);
}

char *tokenizer_normalize(const Tokenizer *t, const char *s, size_t n, bool inside, size_t *length, Err *e) {
    Rewrite step[REWRITE_STEPS];
    int k = 0;
    for (int i = 0; i < t->n_normalizer; i++)
        if (!inside || t->normalizer[i].kind != REWRITE_PREPEND) step[k++] = t->normalizer[i];
    return rewritten(step, k, s, n, length, e);
}

/* Metaspace: blanks become marks, and one is put before the text, by its place, if it does not begin with
 * one. */
static char *with_marks(const Tokenizer *t, const char *s, size_t n, Place place, size_t *length, Err *e) {
    const size_t k = (size_t)t->mark[1].n_to;
    const bool has_one = s[0] == ' ' || (n >= k && memcmp(s, t->mark[1].to, k) == 0);
    const bool first = place != INSIDE && (t->scheme == MARK_ALWAYS || (t->scheme == MARK_FIRST && !place));
    return rewritten(t->mark, !has_one && first ? 2 : 1, s, n, length, e);
}

static bool encode_words(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Place place,
                         Err *e) {
    if (n && t->metaspace && place != MARKED) {
        char *marked = with_marks(t, s, n, place, &n, e);
        const bool ok = marked && encode_words(out, t, w, marked, n, MARKED, e);
        free(marked);
        return ok;
    }
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

static bool encode_pieces(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, int pass,
                          Place place, Err *e);

/* Text between the added tokens that stand in the raw text. */
static bool encode_raw(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, Place place, Err *e) {
    if (n == 0) return true;
    char *normal = t->n_normalizer ? tokenizer_normalize(t, s, n, place == INSIDE, &n, e) : NULL;
    if (t->n_normalizer && !normal) return false;
    const bool ok = encode_pieces(out, t, w, normal ? normal : s, n, 1, place, e);
    free(normal);
    return ok;
}

/* Cuts added tokens out (pass 0: of the raw text, pass 1: of the normalised), the leftmost first, the longest
 * of those, and encodes what lies between. A special one that is not to be seen is passed over as text. */
static bool encode_pieces(Ids *out, const Tokenizer *t, Work *w, const char *s, size_t n, int pass,
                          Place place, Err *e) {
    bool (*const encode)(Ids *, const Tokenizer *, Work *, const char *, size_t, Place, Err *) =
        pass == 0 ? encode_raw : encode_words;
    size_t from = 0, used;
    for (size_t i = 0; i < n; ) {
        const Added *hit =
            t->begins_added[pass][(unsigned char)s[i]] ? added_prefix(t, pass, s + i, n - i) : NULL;
        if (!hit) { i++; continue; }
        if (!w->special && (t->flags[hit->id] & TOKEN_SPECIAL)) { i += (size_t)hit->n; continue; }
        size_t start = i, end = i + (size_t)hit->n, k = from;
        if (hit->lstrip)                                        /* it takes the blanks before it */
            for (start = from; k < i; k += used) if (class_at(s + k, i - k, &used) != SPACE) start = k + used;
        if (hit->rstrip) end = letters_end(s, n, end, SPACE);
        if (!encode(out, t, w, s + from, start - from, place, e) || !ids_add(out, hit->id, e)) return false;
        from = i = end;
        place = BEHIND;
    }
    return encode(out, t, w, s + from, n - from, place, e);
}

bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, int how, Err *e) {
    if (n >= (size_t)1 << 28)
        return fail(e, "tokenizer: a text of %zu bytes, expected less than %d; cut it", n, 1 << 28);
    char *s = utf8_repair(text, n, &n);
    if (!s) return fail(e, "tokenizer: a text of %zu bytes could not be copied", n);
    Work w = {.special = how & ENCODE_SPECIAL};
    const Place place = how & ENCODE_INSIDE ? INSIDE : how & ENCODE_BEHIND ? BEHIND : BEGINS;
    const bool ok = encode_pieces(out, t, &w, s, n, 0, place, e);
    free(w.symbol), free(w.heap), free(s);
    return ok;
}

/* An added token gives its own text. `tokenizers` takes it as spelt in byte letters where every character is
 * one, so that there an added "café" ends in half a character; and it keeps a special token that the
 * normalizer changes where special ones are to be left out. */
char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e) {
    Pieces p = {.s = NULL};
    char *out = NULL;
    size_t k = 0;
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        if (id[i] < 0 || id[i] >= t->vocab)
            ok = fail(e, "tokenizer: id %d at %d: expected 0..%d", id[i], i, t->vocab - 1);
        else if (!skip_special || !(t->flags[id[i]] & TOKEN_SPECIAL)) {
            const Added *a = t->flags[id[i]] & TOKEN_CHANGED ? t->added : NULL;
            while (a && a->id != id[i]) a++;
            pieces_add(&p, a ? a->text : t->text + t->start[id[i]], (size_t)(a ? a->n : t->length[id[i]]));
            if (t->n_decoder) pieces_close(&p);
        }
    }
    ok = ok && rewrite(&p, t->decoder, t->n_decoder, e);
    if (ok && !(out = utf8_repair(p.n ? p.s : "", p.n, &k)))
        fail(e, "tokenizer: a text of %zu bytes could not be allocated", p.n);
    pieces_free(&p);
    if (out && length) *length = k;
    return out;
}
