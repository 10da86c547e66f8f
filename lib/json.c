/* json.c: a strict JSON reader and a writer.
 *
 * In this order: UTF-8, the memory of a tree, the reader (one recursive descent, 64 deep at most), typed
 * access, the writer, lines and comparison. The reader keeps the unfinished containers' items on one growing
 * stack and copies them into the tree's memory when the bracket closes: a text of n bytes takes O(n) memory
 * and O(n log n) time, whatever it holds. A column counts bytes, from 1. strtod and printf are used as they
 * are in the C locale, which main() never leaves. */
#include "json.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- UTF-8 ---- */

/* Bytes of the character at s, of which `left` >= 1 remain; 0 if it is none: truncated, overlong, surrogate,
 * above U+10FFFF. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    const unsigned c = s[0];
    if (c < 0x80) return 1;
    const size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || n > left) return 0;
    for (size_t i = 1; i < n; i++) if ((s[i] & 0xc0) != 0x80) return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

bool utf8_valid(const char *s, size_t n, size_t *bad) {
    for (size_t i = 0; i < n; ) {
        const size_t step = utf8_length((const unsigned char *)s + i, n - i);
        if (!step) {
            if (bad) *bad = i;
            return false;
        }
        i += step;
    }
    return true;
}

static size_t utf8_put(char *out, unsigned c) {
    if (c < 0x80) { out[0] = (char)c; return 1; }
    if (c < 0x800) { out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)); return 2; }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)),
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)),
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* ---- the memory of a tree: a list of chunks ---- */

enum { CHUNK_FIRST = 4096, CHUNK_LARGEST = 1 << 20, DEPTH_MAX = 64 };

/* the bytes follow */
typedef struct Chunk { _Alignas(max_align_t) struct Chunk *next; size_t used, size; } Chunk;

/* json first: a root is its tree */
typedef struct { Json json; Chunk *chunks; } Tree;

typedef struct {
    const char *p, *end, *line_start;
    int line, depth;
    const char *file;
    Tree *tree;
    Json *stack;                        /* items of the containers still open */
    size_t n_stack, cap_stack;
    Err *e;
} Parser;

static void *tree_take(Parser *ps, size_t bytes, size_t align) {
    Chunk *c = ps->tree->chunks;
    size_t at = c ? (c->used + align - 1) / align * align : 0;
    if (!c || at > c->size || bytes > c->size - at) {
        size_t size = !c ? CHUNK_FIRST : c->size < CHUNK_LARGEST ? 2 * c->size : CHUNK_LARGEST;
        if (size < bytes) size = bytes;
        c = size > SIZE_MAX / 2 ? NULL : malloc(sizeof *c + size);
        if (!c) {
            fail(ps->e, "%s: %zu bytes could not be allocated", ps->file, size);
            return NULL;
        }
        c->next = ps->tree->chunks, c->used = 0, c->size = size;
        ps->tree->chunks = c;
        at = 0;
    }
    c->used = at + bytes;
    return (unsigned char *)(c + 1) + at;
}

void json_free(Json *root) {
    if (!root) return;
    Tree *tree = (Tree *)(void *)root;
    for (Chunk *c = tree->chunks, *next; c; c = next) next = c->next, free(c);
    free(tree);
}

/* ---- the reader ---- */

static int column_of(const Parser *ps, const char *at) {
    const ptrdiff_t column = at - ps->line_start + 1;
    return column > INT_MAX ? INT_MAX : (int)column;
}

/* "file:line:col: found X, expected Y", X being the word or byte at `at`. */
static bool wrong(Parser *ps, const char *at, const char *expected) {
    char found[48];
    const size_t left = (size_t)(ps->end - at);
    size_t n = 0;
    while (n < left && n < 24 &&
           ((at[n] >= '0' && at[n] <= '9') || (at[n] >= 'a' && at[n] <= 'z') ||
            (at[n] >= 'A' && at[n] <= 'Z') || (n && strchr("+-._", at[n]) && at[n])))
        n++;
    if (!left) snprintf(found, sizeof found, "the end of the text");
    else if (left >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        snprintf(found, sizeof found, "a byte order mark");
    else if (n) snprintf(found, sizeof found, "%.*s", (int)n, at);
    else if (*at > 0x20 && *at < 0x7f) snprintf(found, sizeof found, "'%c'", *at);
    else snprintf(found, sizeof found, "byte 0x%02x", (unsigned char)*at);
    return fail(ps->e, "%s:%d:%d: found %s, expected %s", ps->file, ps->line, column_of(ps, at), found,
                expected);
}

static void skip_space(Parser *ps) {
    for (; ps->p < ps->end; ps->p++) {
        if (*ps->p == '\n') {
            if (ps->line < INT_MAX) ps->line++;
            ps->line_start = ps->p + 1;
        } else if (*ps->p != ' ' && *ps->p != '\t' && *ps->p != '\r') return;
    }
}

/* Four hexadecimal digits at p, or -1. */
static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (d < 0) return -1;
        v = 16 * v + d;
    }
    return v;
}

/* The escape at p (behind the backslash), appended to out. Returns the position behind it, NULL after an
 * error. */
static const char *parse_escape(Parser *ps, const char *p, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *const at = p - 1;
    if (p == ps->end) { wrong(ps, p, "the rest of a string and '\"'"); return NULL; }
    if (*p != 'u') {
        const char *k = *p ? strchr(from, *p) : NULL;
        if (!k) { wrong(ps, p, "one of \" \\ / b f n r t u behind a backslash"); return NULL; }
        *(*out)++ = to[k - from];
        return p + 1;
    }
    int c = hex4(p + 1, ps->end);
    if (c < 0) { wrong(ps, p + 1, "four hexadecimal digits behind \\u"); return NULL; }
    p += 5;
    /* half a character: only a high one followed by a low one makes a whole */
    if (c >= 0xd800 && c <= 0xdfff) {
        const int low =
            c < 0xdc00 && ps->end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, ps->end) : -1;
        if (low < 0xdc00 || low > 0xdfff) {
            fail(ps->e, "%s:%d:%d: found \\u%04x alone, expected a pair of surrogates", ps->file, ps->line,
                 column_of(ps, at), (unsigned)c);
            return NULL;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *out += utf8_put(*out, (unsigned)c);
    return p;
}

/* The string at p, which is a '"'. *string: NUL-terminated, in the tree. */
static bool parse_string(Parser *ps, const char **string, size_t *length) {
    const char *p = ps->p + 1, *close = p;
    while (close < ps->end && *close != '"' && *close != '\\') close++;
    bool plain = close == ps->end || *close == '"';
    while (close < ps->end && *close != '"') close += *close == '\\' && close + 1 < ps->end ? 2 : 1;
    if (close > ps->end) close = ps->end;
    /* an escape never grows */
    char *const start = tree_take(ps, (size_t)(close - p) + 1, 1), *out = start;
    if (!start) return false;
    for (;;) {
        if (p == ps->end) return wrong(ps, p, "the rest of a string and '\"'");
        const unsigned char c = (unsigned char)*p;
        if (c == '"') break;
        if (c == '\\') {
            if (!(p = parse_escape(ps, p + 1, &out))) return false;
        } else if (c < 0x20) {
            return wrong(ps, p, "no control character in a string; write \\n, \\t or \\u00..");
        } else if (c < 0x80) {
            *out++ = *p++;
        } else {
            size_t n = utf8_length((const unsigned char *)p, (size_t)(ps->end - p));
            if (!n) return wrong(ps, p, "UTF-8");
            while (n--) *out++ = *p++;
        }
    }
    *out++ = 0;
    *string = start, *length = (size_t)(out - start) - 1;
    /* what the escapes saved */
    if (!plain) ps->tree->chunks->used -= (size_t)(close - ps->p - 1) - *length;
    ps->p = p + 1;
    return true;
}

static bool digit_at(const Parser *ps, const char *p) { return p < ps->end && *p >= '0' && *p <= '9'; }

static bool parse_number(Parser *ps, Json *v) {
    const char *p = ps->p;
    const bool minus = *p == '-';
    if (minus) p++;
    const char *const first = p;
    if (!digit_at(ps, p)) return wrong(ps, ps->p, minus ? "a number: a digit behind '-'" : "a number");
    if (*p == '0' && digit_at(ps, p + 1)) return wrong(ps, ps->p, "a number without a leading zero");
    while (digit_at(ps, p)) p++;
    const bool whole = p == ps->end || (*p != '.' && *p != 'e' && *p != 'E');
    if (p < ps->end && *p == '.') {
        if (!digit_at(ps, ++p)) return wrong(ps, p, "a digit behind the decimal point");
        while (digit_at(ps, p)) p++;
    }
    if (p < ps->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < ps->end && (*p == '+' || *p == '-')) p++;
        if (!digit_at(ps, p)) return wrong(ps, p, "a digit in the exponent");
        while (digit_at(ps, p)) p++;
    }
    if (whole && p - first <= 15) {             /* exact in a double; most numbers of a vocabulary are such */
        long long whole_number = 0;
        for (const char *q = first; q < p; q++) whole_number = 10 * whole_number + (*q - '0');
        v->number = minus ? -(double)whole_number : (double)whole_number;
    } else {                                    /* kept as written, and strtod wants the NUL */
        char *copy = tree_take(ps, (size_t)(p - ps->p) + 1, 1);
        if (!copy) return false;
        v->length = (size_t)(p - ps->p);
        memcpy(copy, ps->p, v->length), copy[v->length] = 0;
        v->string = copy;
        v->number = strtod(copy, NULL);
        if (!isfinite(v->number)) return wrong(ps, ps->p, "a number that a double can hold");
    }
    ps->p = p;
    return true;
}

static bool push(Parser *ps, const Json *v) {
    if (ps->n_stack == ps->cap_stack) {
        const size_t cap = ps->cap_stack ? 2 * ps->cap_stack : 64;
        Json *more = cap > SIZE_MAX / 2 / sizeof *more ? NULL : realloc(ps->stack, cap * sizeof *more);
        if (!more) return fail(ps->e, "%s: %zu items could not be allocated", ps->file, cap);
        ps->stack = more, ps->cap_stack = cap;
    }
    ps->stack[ps->n_stack++] = *v;
    return true;
}

/* Equal keys side by side, in the text's order. */
static int by_key(const void *a, const void *b) {
    const Json *const x = *(const Json *const *)a, *const y = *(const Json *const *)b;
    const int order = strcmp(x->key, y->key);
    return order ? order : (x > y) - (x < y);
}

/* No key twice. Sorted rather than hashed: no chosen set of keys makes it slow. Reports the first repetition.
 */
static bool keys_differ(Parser *ps, const Json *item, size_t n) {
    const Json *first = NULL, *again = NULL;
    if (n <= 8) {
        for (size_t i = 1; i < n && !again; i++)
            for (size_t j = 0; j < i && !again; j++)
                if (strcmp(item[i].key, item[j].key) == 0) first = &item[j], again = &item[i];
    } else {
        const Json **sorted = malloc(n * sizeof *sorted);
        if (!sorted) return fail(ps->e, "%s: %zu keys could not be sorted: out of memory", ps->file, n);
        for (size_t i = 0; i < n; i++) sorted[i] = &item[i];
        qsort(sorted, n, sizeof *sorted, by_key);
        for (size_t i = 1; i < n; i++)
            if (strcmp(sorted[i]->key, sorted[i - 1]->key) == 0 && (!again || sorted[i] < again))
                first = sorted[i - 1], again = sorted[i];
        free(sorted);
    }
    if (!again) return true;
    return fail(ps->e,
                "%s:%d:%d: found the key \"%.80s\" again, expected every key once; its first value is at "
                "%d:%d",
                ps->file, again->line, again->column, again->key, first->line, first->column);
}

static bool parse_value(Parser *ps, Json *v);

/* A '[' or '{' at p: its items, up to and with the closing bracket. */
static bool parse_items(Parser *ps, Json *v) {
    const bool object = v->type == JSON_OBJECT;
    const char close = object ? '}' : ']';
    const size_t bottom = ps->n_stack;
    if (++ps->depth > DEPTH_MAX)
        return fail(ps->e, "%s:%d:%d: found brackets %d deep, expected at most %d", ps->file, v->line,
                    v->column, ps->depth, DEPTH_MAX);
    ps->p++;
    skip_space(ps);
    if (ps->p < ps->end && *ps->p == close) ps->p++;
    else for (;;) {
        const char *key = NULL;
        if (object) {
            const char *const at = ps->p;
            size_t length = 0;
            if (at == ps->end || *at != '"')
                return wrong(ps, at,
                             ps->n_stack == bottom ? "a key in double quotes or '}'"
                                                   : "a key in double quotes");
            if (!parse_string(ps, &key, &length)) return false;
            if (strlen(key) != length)
                return fail(ps->e, "%s:%d:%d: found \\u0000 in a key, expected none", ps->file, ps->line,
                            column_of(ps, at));
            skip_space(ps);
            if (ps->p == ps->end || *ps->p != ':') return wrong(ps, ps->p, "':' behind a key");
            ps->p++;
            skip_space(ps);
        }
        Json item;
        if (!parse_value(ps, &item)) return false;
        item.key = key;
        if (!push(ps, &item)) return false;
        skip_space(ps);
        if (ps->p < ps->end && *ps->p == close) { ps->p++; break; }
        if (ps->p == ps->end || *ps->p != ',') return wrong(ps, ps->p, object ? "',' or '}'" : "',' or ']'");
        ps->p++;
        skip_space(ps);
    }
    v->length = ps->n_stack - bottom;
    if (v->length) {
        Json *items = tree_take(ps, v->length * sizeof *items, _Alignof(Json));
        if (!items) return false;
        memcpy(items, ps->stack + bottom, v->length * sizeof *items);
        ps->n_stack = bottom;
        v->item = items;
        if (object && !keys_differ(ps, items, v->length)) return false;
    }
    ps->depth--;
    return true;
}

/* The value at p, which is no blank; `key` is left NULL. */
static bool parse_value(Parser *ps, Json *v) {
    static const struct { const char *word; JsonType type; double number; } words[] = {
        {"null", JSON_NULL, 0}, {"true", JSON_BOOL, 1}, {"false", JSON_BOOL, 0}};
    *v = (Json){.type = JSON_NULL, .line = ps->line, .column = column_of(ps, ps->p)};
    if (ps->p == ps->end) return wrong(ps, ps->p, "a value");
    switch (*ps->p) {
    case '"': v->type = JSON_STRING; return parse_string(ps, &v->string, &v->length);
    case '[': v->type = JSON_ARRAY; return parse_items(ps, v);
    case '{': v->type = JSON_OBJECT; return parse_items(ps, v);
    default: break;
    }
    if (*ps->p == '-' || digit_at(ps, ps->p)) { v->type = JSON_NUMBER; return parse_number(ps, v); }
    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(words[i].word);
        if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, words[i].word, n) != 0) continue;
        v->type = words[i].type, v->number = words[i].number;
        ps->p += n;
        return true;
    }
    return wrong(ps, ps->p, "a value: {, [, a string in double quotes, a number, true, false or null");
}

Json *json_parse(const char *text, size_t n, const char *file, int first_line, Err *e) {
    if (!text) {
        fail(e, "%s: no memory for its text", file);
        return NULL;
    }
    Parser ps = {.p = text, .end = text + n, .line_start = text, .line = first_line, .file = file, .e = e};
    if (!(ps.tree = calloc(1, sizeof *ps.tree))) {
        fail(e, "%s: %zu bytes could not be allocated", file, sizeof *ps.tree);
        return NULL;
    }
    skip_space(&ps);
    bool ok = parse_value(&ps, &ps.tree->json);
    if (ok) {
        skip_space(&ps);
        if (ps.p < ps.end) ok = wrong(&ps, ps.p, "nothing more behind the value");
    }
    free(ps.stack);
    if (ok) return &ps.tree->json;
    json_free(&ps.tree->json);
    return NULL;
}

Json *json_read_file(const char *path, Err *e) {
    size_t n;
    char *text = file_read(path, &n, e);
    Json *root = text ? json_parse(text, n, path, 1, e) : NULL;
    free(text);
    return root;
}

/* ---- typed access ---- */

const char *json_type_name(JsonType t) {
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return (unsigned)t < sizeof names / sizeof *names ? names[t] : "unknown";
}

const Json *json_get(const Json *object, const char *key) {
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (size_t i = 0; i < object->length; i++)
        if (strcmp(object->item[i].key, key) == 0) return &object->item[i];
    return NULL;
}

/* Those that read back the same. */
static const char *fewest_digits(char out[40], double x) {
    for (int n = 15; n <= 17; n++) {
        snprintf(out, 40, "%.*g", n, x);
        if (strtod(out, NULL) == x) break;
    }
    return out;
}

static bool unexpected(const Json *o, const char *key, const Json *v, const char *expected, const char *file,
                       Err *e) {
    char found[96], digits[40];
    const Json *const at = v ? v : o;
    if (!v) snprintf(found, sizeof found, "nothing");
    else if (v->type == JSON_STRING) snprintf(found, sizeof found, "the string \"%.60s\"", v->string);
    else if (v->type == JSON_NUMBER)
        snprintf(found, sizeof found, "%.60s", v->string ? v->string : fewest_digits(digits, v->number));
    else if (v->type == JSON_BOOL) snprintf(found, sizeof found, "%s", v->number != 0 ? "true" : "false");
    else snprintf(found, sizeof found, "%s", json_type_name(v->type));
    return at ? fail(e, "%s:%d:%d: %s: found %s, expected %s", file, at->line, at->column, key, found,
                     expected)
              : fail(e, "%s: %s: found %s, expected %s", file, key, found, expected);
}

/* A string with a NUL inside is refused: as a C string it would silently be a shorter one. */
bool json_get_string(const Json *o, const char *key, const char **out, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    if (!v || v->type != JSON_STRING) return unexpected(o, key, v, "a string", file, e);
    if (strlen(v->string) != v->length) return unexpected(o, key, v, "a string without \\u0000", file, e);
    if (out) *out = v->string;
    return true;
}

bool json_get_number(const Json *o, const char *key, double *out, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    if (!v || v->type != JSON_NUMBER) return unexpected(o, key, v, "a number", file, e);
    if (out) *out = v->number;
    return true;
}

bool json_get_int(const Json *o, const char *key, int *out, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    if (!v || v->type != JSON_NUMBER || !(v->number >= INT_MIN && v->number <= INT_MAX) ||
        v->number != floor(v->number))
        return unexpected(o, key, v, "a whole number of at most 31 bits", file, e);
    if (out) *out = (int)v->number;
    return true;
}

bool json_get_bool(const Json *o, const char *key, bool *out, const char *file, Err *e) {
    const Json *v = json_get(o, key);
    if (!v || v->type != JSON_BOOL) return unexpected(o, key, v, "true or false", file, e);
    if (out) *out = v->number != 0;
    return true;
}

/* ---- the writer ---- */

/* Out of memory: the text is freed and stays NULL, later calls do nothing; the caller looks once, at the end.
 */
static void give_in(JsonWriter *w) {
    free(w->text);
    w->text = NULL, w->length = 0, w->capacity = SIZE_MAX;
}

bool json_ok(const JsonWriter *w, Err *e) {
    return w->capacity != SIZE_MAX || fail(e, "no memory for a text of JSON");
}

bool json_print(const JsonWriter *w, const char *behind, Err *e) {
    return json_ok(w, e) &&
           ((fwrite(w->text, 1, w->length, stdout) == w->length && fputs(behind, stdout) >= 0) ||
            fail(e, "standard output: could not be written: %s", strerror(errno)));
}

bool json_save(const char *path, const JsonWriter *w, Err *e) {
    return json_ok(w, e) && file_write(path, w->text, w->length, e);
}

static void json_append(JsonWriter *w, const char *s, size_t n) {
    if (w->capacity == SIZE_MAX) return;
    if (n >= w->capacity - w->length) {
        const size_t need = n < SIZE_MAX / 4 && w->length < SIZE_MAX / 4 ? w->length + n + 1 : SIZE_MAX;
        const size_t capacity = need > 256 ? need > SIZE_MAX / 2 ? SIZE_MAX : 2 * need : 256;
        char *more = capacity == SIZE_MAX ? NULL : realloc(w->text, capacity);
        if (!more) { give_in(w); return; }
        w->text = more, w->capacity = capacity;
    }
    memcpy(w->text + w->length, s, n);
    w->length += n;
    w->text[w->length] = 0;
}

static void append_line(JsonWriter *w) {
    json_append(w, "\n", 1);
    for (int i = 0; i < w->depth * w->indent; i++) json_append(w, " ", 1);
}

/* What stands before a value or key: nothing behind a key and outside all brackets, else comma and line. */
static void separate(JsonWriter *w) {
    if (w->after_key) { w->after_key = 0; return; }
    if (w->depth == 0) return;
    if (w->comma) json_append(w, ",", 1);
    if (w->indent > 0) append_line(w);
}

void json_begin(JsonWriter *w, char open) {
    separate(w);
    json_append(w, &open, 1);
    w->depth++;
    w->comma = false;
}

void json_end(JsonWriter *w, char close) {
    w->depth--;
    if (w->comma && w->indent > 0) append_line(w);
    json_append(w, &close, 1);
    w->comma = true;
}

static void append_string(JsonWriter *w, const char *s, size_t n) {
    size_t done = 0;                    /* s[done..i) is still to be copied as it is */
    json_append(w, "\"", 1);
    for (size_t i = 0; i < n; ) {
        const unsigned char c = (unsigned char)s[i];
        const size_t step = utf8_length((const unsigned char *)s + i, n - i);
        if (step && c >= 0x20 && c != '"' && c != '\\') { i += step; continue; }
        json_append(w, s + done, i - done);
        char escape[8];
        const char *const from = "\b\f\n\r\t\"\\", *const k = c ? strchr(from, c) : NULL;
        /* U+FFFD, one for each bad byte */
        if (!step) snprintf(escape, sizeof escape, "\xef\xbf\xbd");
        else if (k) snprintf(escape, sizeof escape, "\\%c", "bfnrt\"\\"[k - from]);
        else snprintf(escape, sizeof escape, "\\u%04x", c);
        json_append(w, escape, strlen(escape));
        done = ++i;
    }
    json_append(w, s + done, n - done);
    json_append(w, "\"", 1);
}

void json_key(JsonWriter *w, const char *key) {
    separate(w);
    append_string(w, key, strlen(key));
    json_append(w, ": ", w->indent > 0 ? 2 : 1);
    w->after_key = 1;
}

void json_string_n(JsonWriter *w, const char *s, size_t n) {
    separate(w);
    append_string(w, s, n);
    w->comma = true;
}

void json_string(JsonWriter *w, const char *s) {
    if (s) json_string_n(w, s, strlen(s));
    else json_null(w);
}

static void append_word(JsonWriter *w, const char *word) {
    separate(w);
    json_append(w, word, strlen(word));
    w->comma = true;
}

void json_number(JsonWriter *w, double x) {
    char digits[40];
    if (isfinite(x)) append_word(w, fewest_digits(digits, x));
    else json_null(w);
}

void json_int(JsonWriter *w, long long x) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", x);
    append_word(w, digits);
}

void json_bool(JsonWriter *w, bool x) { append_word(w, x ? "true" : "false"); }
void json_null(JsonWriter *w) { append_word(w, "null"); }

void json_raw(JsonWriter *w, const char *text) {
    if (text) append_word(w, text);
    else give_in(w);
}

void json_value(JsonWriter *w, const Json *v) {
    const bool object = v && v->type == JSON_OBJECT;
    switch (v ? v->type : JSON_NULL) {
    case JSON_NULL: json_null(w); break;
    case JSON_BOOL: json_bool(w, v->number != 0); break;
    case JSON_NUMBER:
        if (v->string) append_word(w, v->string);
        else json_number(w, v->number);
        break;
    case JSON_STRING: json_string_n(w, v->string, v->length); break;
    case JSON_ARRAY: case JSON_OBJECT:
        json_begin(w, object ? '{' : '[');
        for (size_t i = 0; i < v->length; i++) {
            if (object) json_key(w, v->item[i].key);
            json_value(w, &v->item[i]);
        }
        json_end(w, object ? '}' : ']');
    }
}

void json_put(JsonWriter *w, const char *key, double x) { json_key(w, key), json_number(w, x); }
void json_put_int(JsonWriter *w, const char *key, long long x) { json_key(w, key), json_int(w, x); }
void json_put_numbers(JsonWriter *w, const char *key, const double *x, size_t n) {
    json_open(w, key, '[');
    for (size_t i = 0; i < n; i++) json_number(w, x[i]);
    json_end(w, ']');
}

void json_put_string(JsonWriter *w, const char *key, const char *s) { json_key(w, key), json_string(w, s); }
void json_put_string_n(JsonWriter *w, const char *key, const char *s, size_t n) {
    json_key(w, key), json_string_n(w, s, n);
}
void json_put_bool(JsonWriter *w, const char *key, bool x) { json_key(w, key), json_bool(w, x); }
void json_put_null(JsonWriter *w, const char *key) { json_key(w, key), json_null(w); }
void json_put_value(JsonWriter *w, const char *key, const Json *v) { json_key(w, key), json_value(w, v); }
void json_put_raw(JsonWriter *w, const char *key, const char *text) { json_key(w, key), json_raw(w, text); }
void json_open(JsonWriter *w, const char *key, char open) { json_key(w, key), json_begin(w, open); }

/* ---- lines of JSON, comparison ---- */

bool json_lines_read(JsonLines *l, const char *path, bool growing, Err *e) {
    size_t n;
    char *text = file_read(path, &n, e);
    if (!text) return false;
    int lines = 1, number = 0;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    bool ok = (l->line = calloc((size_t)lines, sizeof *l->line)) ||
              fail(e, "%s: no memory for %d lines", path, lines);
    for (size_t at = 0; ok && at < n; ) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t length = end ? (size_t)(end - text) - at : n - at;
        number++;
        if (!end && growing) {
            l->torn = true;
            break;
        }
        if (length > 0 && !(length == 1 && text[at] == '\r')) {
            Json *line = json_parse(text + at, length, path, number, e);
            if (!line) ok = false;
            else l->line[l->n++] = line;
        }
        at += length + 1;
    }
    free(text);
    return ok;
}

void json_lines_free(JsonLines *l) {
    for (int i = 0; i < l->n; i++) json_free(l->line[i]);
    free(l->line);
    *l = (JsonLines){.n = 0};
}

char *json_text(const Json *v) {
    JsonWriter w = {0};
    if (v) json_value(&w, v);
    else json_raw(&w, "absent");
    return w.text;
}

bool json_same(const Json *a, const Json *b) {
    if (!a || !b) return a == b;
    if (a->type != b->type) return false;
    if (a->type == JSON_NUMBER || a->type == JSON_BOOL)
        return !memcmp(&a->number, &b->number, sizeof a->number);
    if (a->length != b->length) return false;
    if (a->type == JSON_STRING) return !memcmp(a->string, b->string, a->length);
    for (size_t i = 0; i < a->length; i++)
        if ((a->type == JSON_OBJECT && strcmp(a->item[i].key, b->item[i].key)) ||
            !json_same(&a->item[i], &b->item[i]))
            return false;
    return true;
}
