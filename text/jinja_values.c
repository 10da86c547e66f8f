/* jinja_values.c: Python's values as templates see them: how they compare, print and are taken apart.
 *
 * In this order: memory and limits, strings, values, printing, members and slices, arithmetic. Everything
 * does what Python does, or stops with a line. Not here: the language (jinja.c), what templates call
 * (jinja_filters.c). */
#include "text/jinja_values.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unicode.h"

/* ---- memory, limits, errors ---- */

struct Chunk { Chunk *next; size_t n, used; };

void jinja_stop(Machine *m, const char *format, ...) {
    char line[700];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (char *p = line; *p; p++) if (*p == '\n' || *p == '\r') *p = ' ';
    fail(m->e, "%s, line %d: %s", m->name, m->line, line);
    longjmp(m->refused, 1);
}

void jinja_spend(Machine *m, size_t work) {
    m->work += work;
    if (m->work > JINJA_WORK) jinja_stop(m, "works without end: stopped after %d steps", JINJA_WORK);
}

void jinja_enter(Machine *m) {
    jinja_spend(m, 1);
    if (++m->depth > JINJA_DEPTH) jinja_stop(m, "nests too deep: expected at most %d levels", JINJA_DEPTH);
}

void *jinja_take(Machine *m, size_t bytes) {
    const size_t head = (sizeof(Chunk) + 15) / 16 * 16;
    if (bytes > JINJA_MEMORY || m->held + bytes > JINJA_MEMORY)
        jinja_stop(m, "builds too much: expected at most %d bytes in all", JINJA_MEMORY);
    bytes = (bytes + 15) / 16 * 16;
    jinja_spend(m, bytes / 256);
    if (!m->chunk || m->chunk->n - m->chunk->used < bytes) {
        const size_t least = m->held < 65536 ? 4096 : 65536, n = bytes > least ? bytes : least;
        Chunk *c = calloc(1, head + n);
        if (!c) jinja_stop(m, "no memory for %zu bytes", n);
        *c = (Chunk){m->chunk, n, 0};
        m->chunk = c;
        m->held += n;
    }
    m->chunk->used += bytes;
    return (char *)m->chunk + head + m->chunk->used - bytes;
}

void jinja_release(Machine *m) {
    for (Chunk *c = m->chunk, *next; c; c = next) next = c->next, free(c);
    m->chunk = NULL;
}

/* ---- strings: bytes of UTF-8 with a mark each ---- */

void written_add(Machine *m, Written *w, const char *s, const unsigned char *mark, size_t n) {
    if (n >= w->capacity - w->n) {                              /* a place for a NUL too */
        const size_t capacity = 2 * (w->n + n) + 64;
        char *p = jinja_take(m, 2 * capacity);
        if (w->n) memcpy(p, w->s, w->n), memcpy(p + capacity, w->mark, w->n);
        *w = (Written){p, (unsigned char *)p + capacity, w->n, capacity};
    }
    if (!n) return;
    memcpy(w->s + w->n, s, n);
    if (mark) memcpy(w->mark + w->n, mark, n);
    else memset(w->mark + w->n, 0, n);
    w->s[w->n += n] = 0;
}

static void written_text(Machine *m, Written *w, const char *s) { written_add(m, w, s, NULL, strlen(s)); }
void written_string(Machine *m, Written *w, Value v) { written_add(m, w, v.s, v.mark, v.n); }

Value written_value(const Written *w) {
    return (Value){.type = STRING, .s = w->s ? w->s : "", .mark = w->mark, .n = w->n};
}

Value string_part(Value v, size_t from, size_t to) {
    return (Value){.type = STRING, .s = v.s + from, .mark = v.mark ? v.mark + from : NULL,
                   .n = to > from ? to - from : 0};
}

size_t string_length(Value v) {
    size_t k = 0;
    for (size_t i = 0; i < v.n; i++) k += (v.s[i] & 0xC0) != 0x80;
    return k;
}
size_t string_char_end(Value v, size_t at) {
    do at++; while (at < v.n && (v.s[at] & 0xC0) == 0x80);
    return at;
}
static size_t char_offset(Value v, size_t k) {
    size_t at = 0;
    while (k-- > 0 && at < v.n) at = string_char_end(v, at);
    return at;
}
uint32_t string_char(Value v, size_t at) {
    size_t used;
    return utf8_next(v.s + at, v.n - at, &used);
}

bool string_space(uint32_t c) { return unicode_space(c) || (c >= 0x1C && c <= 0x1F); }

size_t string_find(Machine *m, Value v, Value what, size_t from) {
    jinja_spend(m, v.n / 64 + 1);
    for (const char *p = v.s + from; what.n <= v.n && p <= v.s + v.n - what.n; p++) {
        if (!what.n) return (size_t)(p - v.s);
        if (!(p = memchr(p, *what.s, (size_t)(v.s + v.n - what.n - p) + 1))) break;
        jinja_spend(m, what.n / 64);
        if (memcmp(p, what.s, what.n) == 0) return (size_t)(p - v.s);
    }
    return NOWHERE;
}

bool string_letter(uint32_t c) { return unicode_letter(c); }

/* A letter in the other case: of ASCII, Latin, Greek and Cyrillic; of other scripts with cases it stops. */
static uint32_t char_cased(Machine *m, uint32_t c, bool upper) {
    const uint32_t other = upper ? c - 32 : c + 32;
    if (c < 0x80) return (upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') ? other : c;
    if (c < 0x100 && c != 0xDF && c != 0xB5 && c != 0xFF)
        return c >= 0xC0 && c != 0xD7 && c != 0xF7 && (upper == (c >= 0xE0)) ? other : c;
    if (c >= 0x391 && c <= 0x3C9 && c != 0x3A2 && c != 0x3C2 && (c <= 0x3A9 || c >= 0x3B1) &&
        (upper || c != 0x3A3))
        return upper == (c >= 0x3B1) ? other : c;
    if (c >= 0x400 && c <= 0x45F) {
        if (upper) return c >= 0x450 ? c - 80 : c >= 0x430 ? other : c;
        return c < 0x410 ? c + 80 : c < 0x430 ? other : c;
    }
    if ((c >= 0x100 && c <= 0x12F) || (c >= 0x14A && c <= 0x177) || (c >= 0x460 && c <= 0x481) ||
        (c >= 0x4D0 && c <= 0x52F))
        return upper == (c & 1) ? (upper ? c - 1 : c + 1) : c;
    const bool caseless = !unicode_letter(c) || (c >= 0x590 && c < 0x10A0) || (c >= 0x1100 && c < 0x13A0) ||
                          (c >= 0x2E80 && c < 0xA640) || (c >= 0xAC00 && c < 0xFB00) ||
                          (c >= 0x20000 && c < 0x323B0);
    if (!caseless || (c >= 0x2160 && c <= 0x2188) || (c >= 0x24B6 && c <= 0x24E9) || c == 0x345)
        jinja_stop(m, "upper or lower case of U+%04X: not known here", (unsigned)c);
    return c;
}

Value string_cased(Machine *m, Value v, int how) {
    Written w = {0};
    bool first = true;
    for (size_t at = 0, end; at < v.n; at = end) {
        end = string_char_end(v, at);
        const uint32_t c = string_char(v, at);
        char to[4];
        const uint32_t made = char_cased(m, c, how == UPPER || (how != LOWER && first));
        const size_t n = utf8_put(to, made);
        unsigned char mark[4];
        memset(mark, v.mark ? v.mark[at] : 0, sizeof mark);
        written_add(m, &w, to, mark, n);
        if (how == CAPITALIZE) first = false;
        if (how == TITLE) first = !unicode_letter(c);
        if (how == TITLE_FILTER) first = string_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
    }
    return written_value(&w);
}

/* ---- values ---- */

Value value_undefined(const char *name) { return (Value){.type = UNDEFINED, .s = name}; }
Value value_bool(bool b) { return (Value){.type = BOOL, .i = b}; }
Value value_int(long long i) { return (Value){.type = INT, .i = i}; }
Value value_string(const char *s) { return (Value){.type = STRING, .s = s, .n = strlen(s)}; }
Value value_list(Machine *m, Type type) {
    return (Value){.type = type, .items = jinja_take(m, sizeof(Items))};
}

void list_add(Machine *m, Value list, Value v) {
    Items *l = list.items;
    if (l->n == l->capacity) {
        Value *at = jinja_take(m, (l->capacity = 2 * l->capacity + 4) * sizeof *at);
        if (l->n) memcpy(at, l->at, l->n * sizeof *at);
        l->at = at;
    }
    l->at[l->n++] = v;
}

const Value *dict_find(Machine *m, Value dict, Value key) {
    const Items *d = dict.items;
    jinja_spend(m, d->n / 8);
    for (size_t i = 0; i < d->n; i += 2) if (value_equal(m, d->at[i], key)) return &d->at[i + 1];
    return NULL;
}

void dict_put(Machine *m, Value dict, Value key, Value v) {
    const Value *old = dict_find(m, dict, key);
    if (key.type > TUPLE || key.type == LIST || key.type == UNDEFINED)
        jinja_stop(m, "a %s is no key", value_kind(key));
    if (old) { dict.items->at[old - dict.items->at] = v; return; }
    list_add(m, dict, key), list_add(m, dict, v);
}

static Value marked_string(Machine *m, const char *s, size_t n, unsigned char mark) {
    Value v = {.type = STRING, .s = s, .n = n};
    if (mark && n) v.mark = memset(jinja_take(m, n), mark, n);
    return v;
}

/* 2 is a whole number and 2.0 is none, as in Python. */
static Value number_from_json(const Json *j) {
    const bool whole = j->string ? !strpbrk(j->string, ".eE") : j->number == floor(j->number);
    if (!whole || fabs(j->number) >= 9.2e18) return (Value){.type = FLOAT, .f = j->number};
    return value_int(j->string ? strtoll(j->string, NULL, 10) : (long long)j->number);
}

Value value_from_json(Machine *m, const Json *j, unsigned char mark) {
    switch (j->type) {
    case JSON_NULL: return (Value){.type = NONE};
    case JSON_BOOL: return value_bool(j->number != 0);
    case JSON_NUMBER: return number_from_json(j);
    case JSON_STRING: return marked_string(m, j->string, j->length, mark);
    default: break;
    }
    const Value v = value_list(m, j->type == JSON_ARRAY ? LIST : DICT);
    for (size_t i = 0; i < j->length; i++) {
        const char *key = j->type == JSON_OBJECT ? j->item[i].key : NULL;
        if (key) list_add(m, v, marked_string(m, key, strlen(key), mark));
        list_add(m, v, value_from_json(m, &j->item[i], key && strcmp(key, "role") == 0 ? 0 : mark));
    }
    return v;
}

bool value_is_number(Value v) { return v.type == INT || v.type == BOOL || v.type == FLOAT; }
bool value_is_listed(Value v) { return v.type == LIST || v.type == TUPLE || v.type == LAZY; }
double value_double(Value v) { return v.type == FLOAT ? v.f : (double)v.i; }

const char *value_kind(Value v) {
    static const char *const kind[] = {"undefined value", "none", "boolean", "integer", "float", "string",
                                       "list", "tuple", "iterator", "mapping", "namespace", "loop", "macro",
                                       "method", "function"};
    return kind[v.type];
}

void refuse_kind(Machine *m, Value v, const char *what) {
    if (v.type == UNDEFINED) jinja_stop(m, "'%.60s' is undefined", v.s);
    jinja_stop(m, "%s: found %s %s", what, strchr("ui", *value_kind(v)) ? "an" : "a", value_kind(v));
}

Value need_string(Machine *m, Value v) {
    if (v.type != STRING) refuse_kind(m, v, m->called);
    return v;
}
long long need_int(Machine *m, Value v) {
    if (v.type != INT && v.type != BOOL) refuse_kind(m, v, m->called);
    return v.i;
}

bool value_true(Value v) {
    switch (v.type) {
    case UNDEFINED: case NONE: return false;
    case BOOL: case INT: return v.i != 0;
    case FLOAT: return v.f != 0;
    case STRING: return v.n != 0;
    case LIST: case TUPLE: case DICT: return v.items->n != 0;
    default: return true;
    }
}

bool value_equal(Machine *m, Value a, Value b) {
    if (value_is_number(a) && value_is_number(b))
        return a.type != FLOAT && b.type != FLOAT ? a.i == b.i : value_double(a) == value_double(b);
    if (a.type != b.type) return false;
    if (a.type == STRING && a.n == b.n) jinja_spend(m, a.n / 64);
    if (a.type == STRING) return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
    if (a.type == UNDEFINED || a.type == NONE) return true;
    if (a.type != LIST && a.type != TUPLE && a.type != DICT) return a.of == b.of;
    if (a.items == b.items || a.items->n != b.items->n) return a.items == b.items;
    bool same = true;
    jinja_enter(m);
    for (size_t i = 0; same && i < a.items->n; i += a.type == DICT ? 2 : 1) {
        const Value *at = &a.items->at[i], *other = a.type == DICT ? dict_find(m, b, *at) : &b.items->at[i];
        same = other && value_equal(m, a.type == DICT ? at[1] : *at, *other);
    }
    m->depth--;
    return same;
}

int value_order(Machine *m, Value a, Value b) {
    jinja_spend(m, 1);
    if (value_is_number(a) && value_is_number(b)) {
        if (a.type != FLOAT && b.type != FLOAT) return (a.i > b.i) - (a.i < b.i);
        return (value_double(a) > value_double(b)) - (value_double(a) < value_double(b));
    }
    if (a.type == STRING && b.type == STRING) {
        jinja_spend(m, a.n / 64);
        const int c = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
        return c ? c : (a.n > b.n) - (a.n < b.n);
    }
    if (a.type != b.type || (a.type != LIST && a.type != TUPLE)) {
        if (a.type == UNDEFINED || b.type == UNDEFINED) refuse_kind(m, a.type == UNDEFINED ? a : b, "order");
        jinja_stop(m, "no order between %s and %s", value_kind(a), value_kind(b));
    }
    jinja_enter(m);
    int c = 0;
    for (size_t i = 0; !c && i < a.items->n && i < b.items->n; i++)
        if (!value_equal(m, a.items->at[i], b.items->at[i]))
            c = value_order(m, a.items->at[i], b.items->at[i]);
    m->depth--;
    return c ? c : (a.items->n > b.items->n) - (a.items->n < b.items->n);
}

bool value_in(Machine *m, Value v, Value where) {
    if (where.type == UNDEFINED) return false;
    if (where.type == STRING && v.type != STRING) refuse_kind(m, v, "in a string");
    if (where.type == STRING) return string_find(m, where, v, 0) != NOWHERE;
    if (where.type == DICT) return dict_find(m, where, v) != NULL;
    if (!value_is_listed(where)) refuse_kind(m, where, "in");
    for (size_t i = 0; i < where.items->n; i++) {
        jinja_spend(m, 1);
        if (value_equal(m, where.items->at[i], v)) return true;
    }
    return false;
}

Value value_items(Machine *m, Value v) {
    if (value_is_listed(v)) return v;
    if (v.type != UNDEFINED && v.type != STRING && v.type != DICT) refuse_kind(m, v, "a loop over");
    const Value l = value_list(m, LIST);
    for (size_t at = 0, end; v.type == STRING && at < v.n; at = end)
        list_add(m, l, string_part(v, at, end = string_char_end(v, at)));
    for (size_t i = 0; v.type == DICT && i < v.items->n; i += 2) list_add(m, l, v.items->at[i]);
    return l;
}

/* ---- printing: str(), repr() and json.dumps() ---- */

/* repr() of a float: the fewest digits that read back the same. */
static void put_double(Machine *m, Written *w, double x, bool json) {
    char s[40], digits[20];
    if (isnan(x)) { written_text(m, w, json ? "NaN" : "nan"); return; }
    if (isinf(x)) {
        written_text(m, w, x < 0 ? (json ? "-Infinity" : "-inf") : (json ? "Infinity" : "inf"));
        return;
    }
    int n = 0, exponent;
    do snprintf(s, sizeof s, "%.*e", n, x); while (strtod(s, NULL) != x && ++n < 17);
    const char *p = s;
    if (*p == '-') written_text(m, w, "-"), p++;
    digits[0] = *p;
    memcpy(digits + 1, p + 2, (size_t)n);
    exponent = atoi(strchr(p, 'e') + 1), n++;
    if (exponent < -4 || exponent >= 16) {
        snprintf(s, sizeof s, "%c%s%.*se%+03d", digits[0], n > 1 ? "." : "", n - 1, digits + 1, exponent);
    } else if (exponent < 0) snprintf(s, sizeof s, "0.%.*s%.*s", -exponent - 1, "0000", n, digits);
    else if (n <= exponent + 1)
        snprintf(s, sizeof s, "%.*s%.*s.0", n, digits, exponent + 1 - n, "0000000000000000");
    else snprintf(s, sizeof s, "%.*s.%.*s", exponent + 1, digits, n - exponent - 1, digits + exponent + 1);
    written_text(m, w, s);
}

/* What Python's repr() writes as an escape; of the characters that it does not print, those that occur. */
static bool unprintable(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || (c > 0x7F && string_space(c)) ||
           (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) ||
           (c >= 0xE000 && c <= 0xF8FF) || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFB) ||
           c == 0xFFFE || c == 0xFFFF || c >= 0xE0000;
}

/* A string in quotes: JSON's, or Python's with the quote that needs no escape. */
static void put_quoted(Machine *m, Written *w, Value v, bool json, bool ascii) {
    static const char plain[] = "\n\r\t\b\f", letter[] = "nrtbf";
    const char quote = !json && memchr(v.s, '\'', v.n) && !memchr(v.s, '"', v.n) ? '"' : json ? '"' : '\'';
    char s[32];
    written_add(m, w, &quote, NULL, 1);
    for (size_t at = 0, end; at < v.n; at = end) {
        const uint32_t c = string_char(v, at);
        const char *escape = c && c < 0x80 ? strchr(plain, (int)c) : NULL;
        end = string_char_end(v, at);
        *s = 0;
        if (c == '\\' || c == (uint32_t)quote) snprintf(s, sizeof s, "\\%c", (int)c);
        else if (escape && (json || escape < plain + 3))
            snprintf(s, sizeof s, "\\%c", letter[escape - plain]);
        else if (json && (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000))) {
            if (c != 0x7F) snprintf(s, sizeof s, "\\u%04x", (unsigned)c);
        } else if (json && ascii && c >= 0x10000)
            snprintf(s, sizeof s, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (c >> 10)),
                     (unsigned)(0xDC00 + (c & 0x3FF)));
        else if (!json && unprintable(c))
            snprintf(s, sizeof s, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        unsigned char mark[32];
        memset(mark, v.mark ? v.mark[at] : 0, sizeof mark);
        if (*s) written_add(m, w, s, mark, strlen(s));
        else written_add(m, w, v.s + at, mark, end - at);
    }
    written_add(m, w, &quote, NULL, 1);
}

static void put_break(Machine *m, Written *w, const Style *s, int level) {
    if (s->broken) written_text(m, w, "\n");
    for (; s->broken && level > 0; level--) written_string(m, w, s->indent);
}

static int by_first(const void *a, const void *b) {
    const Value *x = a, *y = b;
    const int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static void put_dict(Machine *m, Written *w, Value v, const Style *s, int level) {
    const size_t n = v.items->n / 2;
    Value (*pair)[2] = jinja_take(m, (n + 1) * sizeof *pair);
    if (n) memcpy(pair, v.items->at, n * sizeof *pair);
    for (size_t i = 0; s->sorted && i < n; i++)
        if (pair[i][0].type != STRING) refuse_kind(m, pair[i][0], "sort_keys");
    if (s->sorted) qsort(pair, n, sizeof *pair, by_first);
    written_text(m, w, "{");
    for (size_t i = 0; i < n; i++) {
        const Value *key = &pair[i][0];
        const bool quoted = s->json && key->type != STRING;
        if (i) written_string(m, w, s->comma);
        put_break(m, w, s, level + 1);
        if (quoted) written_text(m, w, "\"");
        written_as(m, w, *key, s, level);
        if (quoted) written_text(m, w, "\"");
        written_string(m, w, s->colon), written_as(m, w, pair[i][1], s, level + 1);
    }
    if (n) put_break(m, w, s, level);
    written_text(m, w, "}");
}

static void put_list(Machine *m, Written *w, Value v, const Style *s, int level) {
    const bool tuple = v.type == TUPLE && !s->json;
    written_text(m, w, tuple ? "(" : "[");
    for (size_t i = 0; i < v.items->n; i++) {
        if (i) written_string(m, w, s->comma);
        put_break(m, w, s, level + 1);
        written_as(m, w, v.items->at[i], s, level + 1);
    }
    if (v.items->n) put_break(m, w, s, level);
    written_text(m, w, !tuple ? "]" : v.items->n == 1 ? ",)" : ")");
}

void written_as(Machine *m, Written *w, Value v, const Style *s, int level) {
    char number[32];
    jinja_enter(m);
    switch (v.type) {
    case NONE: written_text(m, w, s->json ? "null" : "None"); break;
    case BOOL: written_text(m, w, s->json ? (v.i ? "true" : "false") : v.i ? "True" : "False"); break;
    case INT:
        snprintf(number, sizeof number, "%lld", v.i);
        written_text(m, w, number);
        break;
    case FLOAT: put_double(m, w, v.f, s->json); break;
    case STRING: put_quoted(m, w, v, s->json, s->ascii); break;
    case LIST: case TUPLE: put_list(m, w, v, s, level); break;
    case DICT: put_dict(m, w, v, s, level); break;
    default:
        if (s->json || v.type != UNDEFINED) refuse_kind(m, v, s->json ? "tojson" : "as text");
        written_text(m, w, "Undefined");
    }
    m->depth--;
}

Value value_text(Machine *m, Value v) {
    const Style python = {.comma = value_string(", "), .colon = value_string(": ")};
    Written w = {0};
    if (v.type == STRING) return v;
    if (v.type != UNDEFINED) written_as(m, &w, v, &python, 0);
    return written_value(&w);
}

/* ---- members, items, slices ---- */

static Value method_of(Machine *m, Value v, const char *name) {
    const Operation *f = method_find(v.type, name);
    if (!f) return value_undefined(name);
    Bound *b = jinja_take(m, sizeof *b);
    *b = (Bound){v, f};
    return (Value){.type = METHOD, .of = b};
}

Value value_member(Machine *m, Value v, const char *name) {
    if (v.type == UNDEFINED) jinja_stop(m, "'%.60s' is undefined", v.s);
    const Value method = method_of(m, v, name);
    if (method.type == METHOD || (v.type != DICT && v.type != NAMESPACE)) return method;
    const Value *found = dict_find(m, v, value_string(name));
    return found ? *found : value_undefined(name);
}

const char *value_name(Machine *m, Value key) {             /* of an item, NUL-terminated */
    Written w = {0};
    written_string(m, &w, value_text(m, key));
    written_add(m, &w, "", NULL, 0);
    return w.s;
}

Value value_item(Machine *m, Value v, Value key) {
    const bool place = key.type == INT || key.type == BOOL;
    if (v.type == STRING) jinja_spend(m, v.n / 64);
    if (v.type == UNDEFINED) jinja_stop(m, "'%.60s' is undefined", v.s);
    if (v.type == DICT || v.type == NAMESPACE) {
        const Value *found = dict_find(m, v, key);
        if (found) return *found;
    } else if (place && (v.type == LIST || v.type == TUPLE || v.type == STRING)) {
        const long long n = (long long)(v.type == STRING ? string_length(v) : v.items->n),
                        i = key.i < 0 ? key.i + n : key.i;
        if (i >= 0 && i < n) {
            if (v.type != STRING) return v.items->at[i];
            const size_t at = char_offset(v, (size_t)i);
            return string_part(v, at, string_char_end(v, at));
        }
    }
    return key.type == STRING ? value_member(m, v, value_name(m, key)) : value_undefined("item");
}

/* Python's slice.indices() */
static long long slice_bound(Machine *m, const Value *v, long long n, long long step, bool last) {
    const long long lower = step < 0 ? -1 : 0, upper = step < 0 ? n - 1 : n;
    if (!v || v->type == NONE) return (step > 0) == last ? upper : lower;
    long long i = need_int(m, *v);
    if (i < 0) i += n;
    return i < lower ? lower : i > upper ? upper : i;
}

Value value_slice(Machine *m, Value v, const Value *from, const Value *to, const Value *by) {
    m->called = "slice";
    if (v.type == STRING) jinja_spend(m, v.n / 64);
    if (v.type != STRING && v.type != LIST && v.type != TUPLE) refuse_kind(m, v, "slice of");
    const long long n = (long long)(v.type == STRING ? string_length(v) : v.items->n),
                    step = by && by->type != NONE ? need_int(m, *by) : 1;
    if (!step) jinja_stop(m, "slice: found step 0");
    const long long first = slice_bound(m, from, n, step, false), last = slice_bound(m, to, n, step, true);
    if (v.type == STRING && step == 1)
        return string_part(v, char_offset(v, (size_t)first),
                           char_offset(v, (size_t)(last > first ? last : first)));
    const Value chars = value_items(m, v), l = value_list(m, v.type == TUPLE ? TUPLE : LIST);
    for (long long i = first; step > 0 ? i < last : i > last; i += step) {
        list_add(m, l, chars.items->at[i]);
        if (step > n || step < -n) break;
    }
    if (v.type != STRING) return l;
    Written w = {0};
    for (size_t i = 0; i < l.items->n; i++) written_string(m, &w, l.items->at[i]);
    return written_value(&w);
}

/* ---- arithmetic ---- */

static Value string_repeated(Machine *m, Value v, long long times) {
    Written w = {0};
    const Value l = value_list(m, v.type);
    for (long long k = 0; k < times; k++) {
        jinja_spend(m, 1);
        if (v.type == STRING) written_string(m, &w, v);
        else for (size_t i = 0; i < v.items->n; i++) list_add(m, l, v.items->at[i]);
    }
    return v.type == STRING ? written_value(&w) : l;
}

static Value int_binary(Machine *m, int op, long long a, long long b) {
    long long r = 0;
    if ((op == '%' || op == 'f') && (b == 0 || (b == -1 && a == LLONG_MIN)))
        jinja_stop(m, "division by zero, or of too large a number");
    if (op == '%') r = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
    else if (op == 'f') r = a / b - (a % b != 0 && (a < 0) != (b < 0));
    else if (op == '+' ? __builtin_add_overflow(a, b, &r)
             : op == '-' ? __builtin_sub_overflow(a, b, &r) : __builtin_mul_overflow(a, b, &r))
        jinja_stop(m, "a whole number of more than 64 bits");
    return value_int(r);
}

static void put_for_html(Machine *m, Written *w, Value v, bool escape) {
    static const char special[] = "&<>'\"", *const name[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    for (size_t i = 0; escape && i < v.n; i++) {
        const char *k = v.s[i] ? strchr(special, v.s[i]) : NULL;
        if (k) written_text(m, w, name[k - special]);
        else written_string(m, w, string_part(v, i, i + 1));
    }
    if (!escape) written_string(m, w, v);
}

Value value_binary(Machine *m, int op, Value a, Value b) {
    Written w = {0};
    if (op == '~') {
        written_string(m, &w, value_text(m, a)), written_string(m, &w, value_text(m, b));
        return written_value(&w);
    }
    if (a.type == UNDEFINED || b.type == UNDEFINED) refuse_kind(m, a.type == UNDEFINED ? a : b, "");
    if (value_is_number(a) && value_is_number(b)) {
        if (op != '/' && a.type != FLOAT && b.type != FLOAT) return int_binary(m, op, a.i, b.i);
        const double x = value_double(a), y = value_double(b);
        if (y == 0 && (op == '/' || op == '%' || op == 'f')) jinja_stop(m, "division by zero");
        return (Value){.type = FLOAT, .f = op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y
                                         : op == '/' ? x / y : op == 'f' ? floor(x / y)
                                         : x - y * floor(x / y)};
    }
    if (op == '+' && a.type == STRING && b.type == STRING) {
        const bool safe = a.safe || b.safe;
        put_for_html(m, &w, a, safe && !a.safe), put_for_html(m, &w, b, safe && !b.safe);
        a = written_value(&w);
        a.safe = safe;
        return a;
    }
    if (op == '+' && a.type == b.type && (a.type == LIST || a.type == TUPLE)) {
        const Value l = value_list(m, a.type);
        for (size_t i = 0; i < a.items->n; i++) list_add(m, l, a.items->at[i]);
        for (size_t i = 0; i < b.items->n; i++) list_add(m, l, b.items->at[i]);
        return l;
    }
    const bool times_first = a.type == INT || a.type == BOOL;
    const Value many = times_first ? b : a, times = times_first ? a : b;
    if (op == '*' && (many.type == STRING || many.type == LIST || many.type == TUPLE) &&
        (times.type == INT || times.type == BOOL))
        return string_repeated(m, many, times.i);
    jinja_stop(m, "%s of %s and %s", op == 'f' ? "//" : (char[]){(char)op, 0}, value_kind(a), value_kind(b));
}

