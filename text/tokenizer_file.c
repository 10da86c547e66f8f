/* tokenizer_file.c: a Hugging Face tokenizer.json and the files beside it to the tables of a tokenizer.
 *
 * In this order: byte letters, what is refused, the tables, the small files beside them. Whatever a
 * tokenizer.json asks for that is not done here is refused by its name. */
#include "tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/unicode.h"

/* ---- byte letters: GPT-2's characters for bytes ---- */

void tokenizer_letters(uint32_t letter[256]) {
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; b++)
        letter[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
}

static void bytes_of_letters(int byte[512]) {
    uint32_t letter[256];
    tokenizer_letters(letter);
    for (int i = 0; i < 512; i++) byte[i] = -1;
    for (int b = 0; b < 256; b++) byte[letter[b]] = b;
}

/* The bytes that n bytes of letters stand for, to out[0..n); their number, or -1 where a character is none of
 * the letters. byte NULL: they stand for themselves. */
static int spelt(char *out, const char *s, size_t n, const int *byte) {
    int k = 0;
    if (!byte) { memcpy(out, s, n); return (int)n; }
    for (size_t i = 0, used; i < n; i += used) {
        const uint32_t c = utf8_next(s + i, n - i, &used);
        if (c >= 512 || byte[c] < 0) return -1;
        out[k++] = (char)byte[c];
    }
    return k;
}

/* ---- what is refused ---- */

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

static bool refuse_part(const Json *v, const char *file, const char *part, const char *expected, Err *e) {
    const char *type = v ? string_of(v, "type") : NULL;
    return fail(e, "%s:%d: %s: found %s, which is not supported; expected %s", file, v ? v->line : 1, part,
                type ? type : absent(v) ? "none" : "no type", expected);
}

static bool read_split(Tokenizer *t, const Json *v, const char *file, Err *e) {
    const char *pattern = string_of(json_get(v, "pattern"), "Regex"), *behavior = string_of(v, "behavior");
    if (!behavior || strcmp(behavior, "Isolated") || is_true(v, "invert"))
        return fail(e, "%s:%d: pre_tokenizer: Split: behavior %.40s%s, expected Isolated", file, v->line,
                    behavior ? behavior : "not given", is_true(v, "invert") ? ", inverted" : "");
    for (int i = 0; pattern && i < N_SPLIT; i++)
        if (strcmp(pattern, tokenizer_pattern[i]) == 0) { t->split = (Split)i; return true; }
    return fail(e,
                "%s:%d: pre_tokenizer: Split: found the pattern %.300s, expected the text of GPT-2's, "
                "Llama-3's or Qwen's",
                file, v->line, pattern ? pattern : "(not a Regex)");
}

/* A text that is short enough to stand in a step. */
static bool short_text(char out[REWRITE_LONGEST], int *n, const Json *v, const char *file, const char *what,
                       Err *e) {
    if (!v || v->type != JSON_STRING || v->length == 0 || v->length >= REWRITE_LONGEST)
        return fail(e, "%s:%d: %s: expected a text of 1 to %d bytes", file, v ? v->line : 1, what,
                    REWRITE_LONGEST - 1);
    memcpy(out, v->string, v->length);
    *n = (int)v->length;
    return true;
}

/* {"pattern": {"String": ...}, "content": ...} */
static bool read_replace(Rewrite *r, const Json *v, const char *file, const char *what, Err *e) {
    const Json *to = json_get(v, "content");
    *r = (Rewrite){.kind = REWRITE_REPLACE};
    if (!short_text(r->from, &r->n_from, json_get(json_get(v, "pattern"), "String"), file, what, e))
        return false;
    return (to && to->type == JSON_STRING && to->length == 0) ||
           short_text(r->to, &r->n_to, to, file, what, e);
}

/* Blanks to marks, a mark before the text by `prepend_scheme` (formerly by add_prefix_space), words that
 * begin with marks unless `split` is false. */
static bool read_metaspace(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const char *const scheme[] = {"never", "first", "always"};
    const char *name = string_of(v, "prepend_scheme");
    Rewrite *blank = &t->mark[0], *first = &t->mark[1];
    *blank = (Rewrite){.kind = REWRITE_REPLACE, .from = " ", .n_from = 1};
    if (!short_text(blank->to, &blank->n_to, json_get(v, "replacement"), file, "Metaspace: replacement", e))
        return false;
    *first = *blank;
    first->kind = REWRITE_PREPEND;
    t->metaspace = true;
    t->scheme = is_false(v, "add_prefix_space") ? MARK_NEVER : MARK_ALWAYS;
    for (int i = 0; name && i < 3; i++)
        if (strcmp(name, scheme[i]) == 0) t->scheme = (MarkScheme)i, name = NULL;
    if (name)
        return fail(e, "%s:%d: pre_tokenizer: prepend_scheme: found %.40s, expected never, first or always",
                    file, v->line, name);
    if (is_false(v, "split")) return true;
    memcpy(t->cut, blank->to, sizeof t->cut), t->n_cut = blank->n_to;
    return true;
}

/* What stands before the merging of characters: none, Metaspace, or words that end with a text (Gemma's, with
 * a blank, of which its normalizer leaves none). */
static bool read_marks(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const char expected[] = "none, Metaspace, or Split at a text (MergedWithPrevious) where the "
                                   "decoder is not ByteLevel";
    const Json *p;
    const size_t n = items_of(v, "pretokenizers", &p);
    if (n == 0) return true;
    if (n > 1) return refuse_part(&p[1], file, "pre_tokenizer", expected, e);
    if (is_type(p, "Metaspace")) return read_metaspace(t, p, file, e);
    const char *behavior = string_of(p, "behavior");
    if (!is_type(p, "Split") || !behavior || strcmp(behavior, "MergedWithPrevious") || is_true(p, "invert"))
        return refuse_part(p, file, "pre_tokenizer", expected, e);
    t->cut_behind = true;
    return short_text(t->cut, &t->n_cut, json_get(json_get(p, "pattern"), "String"), file,
                      "pre_tokenizer: Split: String", e);
}

static bool read_pre_tokenizer(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const char expected[] = "[Digits (individual),] ByteLevel (use_regex), or Split, ByteLevel (no "
                                   "use_regex), without prefix space";
    const Json *p;
    const size_t n = items_of(v, "pretokenizers", &p);
    if (n == 0 || n > 2) return refuse_part(v, file, "pre_tokenizer", expected, e);
    const Json *last = &p[n - 1];
    if (!is_type(last, "ByteLevel") || !is_false(last, "add_prefix_space"))
        return refuse_part(last, file, "pre_tokenizer", expected, e);
    t->split = SPLIT_GPT2;
    const bool own = n == 2 && is_type(&p[0], "Split");
    if (own == !is_false(last, "use_regex")) return refuse_part(last, file, "pre_tokenizer", expected, e);
    if (own) return read_split(t, &p[0], file, e);
    if (n == 2 && !(is_type(&p[0], "Digits") && is_true(&p[0], "individual_digits")))
        return refuse_part(&p[0], file, "pre_tokenizer", expected, e);
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
        return refuse_part(&p[i], file, "post_processor",
                           "none, ByteLevel, or TemplateProcessing that only puts one token first", e);
    }
    return true;
}

static bool too_many_steps(const char *file, const Json *v, const char *part, Err *e) {
    return fail(e, "%s:%d: %s: found more than %d steps, expected fewer", file, v->line, part, REWRITE_STEPS);
}

static bool read_normalizer(Tokenizer *t, const Json *v, const char *file, Err *e) {
    const Json *p;
    const size_t n = items_of(v, "normalizers", &p);
    if (n > REWRITE_STEPS) return too_many_steps(file, v, "normalizer", e);
    for (size_t i = 0; i < n; i++) {
        Rewrite *r = &t->normalizer[t->n_normalizer++];
        if (is_type(&p[i], "NFC")) *r = (Rewrite){.kind = REWRITE_NFC};
        else if (is_type(&p[i], "Prepend")) {
            *r = (Rewrite){.kind = REWRITE_PREPEND};
            if (!short_text(r->to, &r->n_to, json_get(&p[i], "prepend"), file, "normalizer: Prepend", e))
                return false;
        } else if (is_type(&p[i], "Replace")) {
            if (!read_replace(r, &p[i], file, "normalizer: Replace", e)) return false;
        } else return refuse_part(&p[i], file, "normalizer", "none, NFC, Prepend, Replace or a Sequence", e);
    }
    return true;
}

/* Of tokens of characters: what makes their spellings a text again. */
static bool read_decoder(Tokenizer *t, const Json *v, const char *file, Err *e) {
    static const char expected[] = "ByteLevel, or Replace, ByteFallback, Fuse, Strip or Metaspace, or a "
                                   "Sequence of these";
    const Json *p;
    const size_t n = items_of(v, "decoders", &p);
    if (n == 0) return refuse_part(NULL, file, "decoder", expected, e);
    if (n > REWRITE_STEPS) return too_many_steps(file, v, "decoder", e);
    for (size_t i = 0; i < n; i++) {
        Rewrite *r = &t->decoder[t->n_decoder++];
        *r = (Rewrite){.kind = REWRITE_FUSE};
        if (is_type(&p[i], "Fuse")) continue;
        if (is_type(&p[i], "ByteFallback")) r->kind = REWRITE_BYTES;
        else if (is_type(&p[i], "Replace")) {
            if (!read_replace(r, &p[i], file, "decoder: Replace", e)) return false;
        } else if (is_type(&p[i], "Strip")) {
            r->kind = REWRITE_STRIP;
            if (!short_text(r->from, &r->n_from, json_get(&p[i], "content"), file, "decoder: Strip", e) ||
                !json_get_int(&p[i], "start", &r->first, file, e) ||
                !json_get_int(&p[i], "stop", &r->last, file, e))
                return false;
        } else if (is_type(&p[i], "Metaspace")) {
            const char *scheme = string_of(&p[i], "prepend_scheme");
            r->kind = REWRITE_MARKS;
            r->first = scheme ? strcmp(scheme, "never") != 0 : !is_false(&p[i], "add_prefix_space");
            if (!short_text(r->from, &r->n_from, json_get(&p[i], "replacement"), file, "decoder: Metaspace",
                            e))
                return false;
        } else return refuse_part(&p[i], file, "decoder", expected, e);
    }
    return true;
}

/* A kind of model whose mathematics is another. */
static bool refuse_model(const Json *model, const char *file, Err *e) {
    static const char *const other[][2] = {
        {"Unigram", "the likeliest pieces by their scores"},
        {"WordPiece", "the longest pieces first"},
        {"WordLevel", "whole words"}};
    for (size_t i = 0; model && i < sizeof other / sizeof *other; i++)
        if (is_type(model, other[i][0]))
            return fail(e, "%s:%d: model: found %s, expected BPE: it takes %s, where BPE merges pairs, and "
                        "that is not computed here; choose a model whose tokenizer is BPE", file, model->line,
                        other[i][0], other[i][1]);
    return refuse_part(model, file, "model", "BPE", e);
}

static bool read_shape(Tokenizer *t, const Json *root, const char *file, Err *e) {
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const Json *model = json_get(root, "model"), *before = json_get(root, "pre_tokenizer"),
               *after = json_get(root, "decoder"), *v;
    if (!model || !(is_type(model, "BPE") || !json_get(model, "type"))) return refuse_model(model, file, e);
    if (!read_normalizer(t, json_get(root, "normalizer"), file, e)) return false;
    for (int i = 0; i < 2; i++) {
        v = json_get(model, empty[i]);
        if (!absent(v) && !(v->type == JSON_STRING && v->length == 0))
            return fail(e, "%s:%d: model: %s: not supported, expected null or an empty text", file, v->line,
                        empty[i]);
    }
    v = json_get(model, "dropout");
    if (!absent(v) && !(v->type == JSON_NUMBER && v->number == 0))
        return fail(e, "%s:%d: model: dropout: not supported, expected null", file, v->line);
    t->whole_words = is_true(model, "ignore_merges");
    const size_t n = items_of(after, "decoders", &v);
    t->characters = n != 1 || !is_type(v, "ByteLevel");
    if (!t->characters && is_true(model, "byte_fallback"))
        return fail(e, "%s:%d: model: byte_fallback: found true, expected false with the decoder ByteLevel",
                    file, model->line);
    return (t->characters ? read_decoder(t, after, file, e) && read_marks(t, before, file, e)
                          : read_pre_tokenizer(t, before, file, e)) &&
           check_post_processor(json_get(root, "post_processor"), file, e);
}

/* ---- the tables ---- */

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
    t->added = calloc(n_added, sizeof *t->added), t->sorted = malloc(n_added * sizeof *t->sorted);
    if (!t->text || !t->start || !t->length || !t->flags || !t->name || !t->merge || !t->added ||
        !t->sorted)
        return fail(e, "%s: tables for %zu tokens could not be allocated", file, n);
    for (size_t i = 0; i < names; i++) t->name[i] = -1;
    for (size_t i = 0; i < merges; i++) t->merge[i].rank = -1;
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;
    hash_key(&t->key);
    return true;
}

static bool read_vocab(Tokenizer *t, const Json *v, size_t *used, bool *taken, const char *file, Err *e) {
    int letters[512], id = 0;
    const int *byte = t->characters ? NULL : letters;
    bytes_of_letters(letters);
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
        if (k == 1 && byte) t->byte_id[(unsigned char)t->text[t->start[id]]] = id;
    }
    /* those in letters first: theirs are the bytes that words have */
    for (int raw = 0; raw < 2; raw++)
        for (size_t i = 0; i < v->length; i++) {
            id = (int)v->item[i].number;
            if (!(t->flags[id] & TOKEN_RAW) == !!raw) continue;
            int *slot = tokenizer_name(t, t->text + t->start[id], (size_t)t->length[id]);
            if (*slot < 0) *slot = id;
        }
    return true;
}

/* bytes of a token's spelling; real ones have some 300 */
enum { LONGEST = 4096 };

/* The id of the vocabulary's entry that is spelt so; -1 if there is none. */
static int id_of_key(const Tokenizer *t, const char *key, size_t n) {
    int letters[512];
    char text[LONGEST];
    if (n > LONGEST) return -1;
    bytes_of_letters(letters);
    const int k = spelt(text, key, n, t->characters ? NULL : letters);
    const int id = k < 0 ? *tokenizer_name(t, key, n) : *tokenizer_name(t, text, (size_t)k);
    return id >= 0 && !(t->flags[id] & TOKEN_RAW) == (k >= 0) ? id : -1;
}

/* "a b" or ["a", "b"], in letters; the later of two equal pairs counts, as in `tokenizers`. */
static bool read_merges(Tokenizer *t, const Json *m, const char *file, Err *e) {
    int letters[512], id[3];
    const int *byte = t->characters ? NULL : letters;
    bytes_of_letters(letters);
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
            id[k] = n[k] > 0 ? *tokenizer_name(t, k ? text + n[0] : text, (size_t)n[k]) : -1;
            if (id[k] < 0 || (t->flags[id[k]] & TOKEN_RAW))
                return fail(e, "%s:%d: merges: item %zu: %.*s: not in the vocabulary", file, x->line, i,
                            (int)(size[k] < 60 ? size[k] : 60), part[k]);
        }
        id[2] = *tokenizer_name(t, text, (size_t)(n[0] + n[1]));
        if (id[2] < 0 || (t->flags[id[2]] & TOKEN_RAW))
            return fail(e, "%s:%d: merges: item %zu, %.20s...: both parts together are not in the vocabulary",
                        file, x->line, i, part[0]);
        *tokenizer_merge(t, id[0], id[1]) = (Merge){id[0], id[1], (int)i, id[2]};
    }
    return true;
}

/* Of two added tokens whose numbers stand in the list: those that are cut out of the raw text first, then by
 * their bytes, equal ones in the file's order. */
static bool stands_before(const Tokenizer *t, int i, int j) {
    const Added *a = &t->added[i], *b = &t->added[j];
    if (a->normalized != b->normalized) return b->normalized;
    const int c = memcmp(a->text, b->text, (size_t)(a->n < b->n ? a->n : b->n));
    return c < 0 || (c == 0 && (a->n < b->n || (a->n == b->n && i < j)));
}

/* By merging, since a file may hold them in any order. */
static bool sort_added(Tokenizer *t, const char *file, Err *e) {
    const int n = t->n_added;
    int *from = malloc((size_t)(n ? n : 1) * sizeof *from);
    if (!from) return fail(e, "%s: a list of %d added tokens could not be allocated", file, n);
    t->n_raw = 0;
    for (int i = 0; i < n; i++) t->sorted[i] = i, t->n_raw += !t->added[i].normalized;
    for (int width = 1; width < n; width *= 2) {
        memcpy(from, t->sorted, (size_t)n * sizeof *from);
        for (int first = 0; first < n; first += 2 * width) {
            const int middle = first + width < n ? first + width : n,
                      end = first + 2 * width < n ? first + 2 * width : n;
            for (int a = first, b = middle, to = first; to < end; to++)
                t->sorted[to] = b == end || (a < middle && stands_before(t, from[a], from[b])) ? from[a++]
                                                                                               : from[b++];
        }
    }
    free(from);
    return true;
}

/* A token that is cut out of texts whole. */
static bool add_token(Tokenizer *t, int id, const char *text, size_t n, Added with, const char *file,
                      Err *e) {
    Added *a = &t->added[t->n_added];
    *a = with;
    const bool changed = with.normalized && t->n_normalizer;
    a->text = changed ? tokenizer_normalize(t, text, n, false, &n, e) : malloc(n);
    if (!a->text) return fail(e, "%s: added token %.60s: no memory for it", file, text);
    if (n == 0) return fail(e, "%s: added token %.60s: is empty once it is normalised", file, text);
    if (!changed) memcpy(a->text, text, n);
    a->id = id, a->n = (int)n;
    t->flags[id] |= TOKEN_ADDED | (changed ? TOKEN_CHANGED : 0);
    t->begins_added[with.normalized][(unsigned char)a->text[0]] = true;
    t->n_added++;
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
                                read_added(t, added, v->length, &used, taken, file, e) &&
                                sort_added(t, file, e)
                          : fail(e, "%s: out of memory", file);
    free(taken);
    t->unk = -1;
    if (ok && t->characters && is_true(model, "byte_fallback"))
        for (int b = 0; b < 256; b++) {
            char key[8];
            t->byte_id[b] = id_of_key(t, key, (size_t)snprintf(key, sizeof key, "<0x%02X>", (unsigned)b));
        }
    if (!ok || absent(json_get(model, "unk_token"))) return ok;
    const char *unk = string_of(model, "unk_token");
    id = unk ? id_of_key(t, unk, strlen(unk)) : -1;
    if (t->characters) {
        t->unk = id, t->fuse_unk = is_true(model, "fuse_unk");
        return id >= 0 || fail(e, "%s:%d: model: unk_token: not in the vocabulary", file, model->line);
    }
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

/* ---- the small files ---- */

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
    return add_token(t, found, v->string, v->length, (Added){0}, file, e) && sort_added(t, file, e);
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

static bool read_small_file(Tokenizer *t, const char *path, Err *e) {
    Json *c = json_read_file(path, e);
    const bool ok = c && check_decoder(t, json_get(c, "added_tokens_decoder"), path, e) &&
                    read_named(&t->bos, t, c, "bos_token", path, e) &&
                    read_named(&t->eos, t, c, "eos_token", path, e) &&
                    read_named(&t->pad, t, c, "pad_token", path, e);
    json_free(c);
    return ok;
}

void tokenizer_free(Tokenizer *t) {
    if (!t) return;
    for (int i = 0; i < t->n_added; i++) free(t->added[i].text);
    free(t->text), free(t->start), free(t->length), free(t->flags), free(t->merge), free(t->name),
        free(t->added), free(t->sorted), free(t);
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
        if (ok && path_exists(path)) ok = read_small_file(t, path, e);
    }
    if (ok) return t;
    tokenizer_free(t);
    return NULL;
}
