/* jinja_filters.c: what templates call: filters, tests, methods of strings, lists and mappings, the date.
 *
 * In this order: arguments, texts, lists, choosing, numbers, JSON, methods, the date, the tables. What is not
 * in the tables is refused by its name. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_values.h"

static const Value none = {.type = NONE};

/* ---- arguments ---- */

Value argument(Arguments *a, int place, const char *name, Value otherwise) {
    for (int i = 0; i < a->n; i++)
        if (i < a->n_place ? i == place : strcmp(a->name[i], name) == 0) {
            a->used |= 1ull << (i & 63);
            return a->at[i];
        }
    return otherwise;
}

static bool true_argument(Arguments *a, int place, const char *name) {
    return value_true(argument(a, place, name, value_bool(false)));
}

static Value only_argument(Machine *m, Arguments *a) {
    if (!a->n_place) jinja_stop(m, "%s: found no argument, expected one", m->called);
    return argument(a, 0, "", none);
}
static Value text_argument(Machine *m, Arguments *a) { return need_string(m, only_argument(m, a)); }

/* What stands behind the first k. Without any argument there is no array to step into. */
static Arguments arguments_from(const Arguments *a, int k) {
    if (!a->n) return (Arguments){0};
    if (k > a->n_place) k = a->n_place;
    return (Arguments){.at = a->at + k, .name = a->name + k, .n = a->n - k, .n_place = a->n_place - k};
}

void arguments_used(Machine *m, const char *what, const Arguments *a) {
    for (int i = 0; i < a->n; i++)
        if (!(a->used >> (i & 63) & 1))
            jinja_stop(m, "%.60s: argument %d%s%.60s is not known here", what, i + 1,
                       i < a->n_place ? "" : ", ", i < a->n_place ? "" : a->name[i]);
}

Value operation_call(Machine *m, const Operation *o, Value v, Arguments *a) {
    m->called = o->name;
    a->which = o->which;
    const Value r = o->call(m, v, a);
    arguments_used(m, o->name, a);
    return r;
}

/* ---- texts ---- */

static Value f_string(Machine *m, Value v, Arguments *a) {      /* which: 1 safe */
    v = value_text(m, v);
    v.safe = v.safe || a->which;
    return v;
}
static Value f_cased(Machine *m, Value v, Arguments *a) {
    return string_cased(m, value_text(m, v), a->which);
}

/* Without blanks, or without the characters of the argument, at the left (1), the right (2) or both (3). */
static Value f_strip(Machine *m, Value v, Arguments *a) {
    const Value set = argument(a, 0, "chars", none);
    size_t from = 0, end = 0;
    v = value_text(m, v);
    jinja_spend(m, v.n / 16);
    for (size_t at = 0, next; at < v.n; at = next) {
        next = string_char_end(v, at);
        if (set.type == NONE ? !string_space(string_char(v, at))
                             : string_find(m, need_string(m, set), string_part(v, at, next), 0) == NOWHERE)
            end = next;
        else if (from == at) from = next;
    }
    return string_part(v, a->which & 1 ? from : 0, a->which & 2 ? end : v.n);
}

static Value f_replace(Machine *m, Value v, Arguments *a) {
    const Value old = value_text(m, argument(a, 0, "old", none)),
                new = value_text(m, argument(a, 1, "new", none)), count = argument(a, 2, "count", none);
    long long left = count.type == NONE ? -1 : need_int(m, count);
    Written w = {0};
    size_t from = 0, at;
    v = value_text(m, v);
    if (!old.n) jinja_stop(m, "replace: found an empty text to replace");
    for (; left-- != 0 && (at = string_find(m, v, old, from)) != NOWHERE; from = at + old.n)
        written_string(m, &w, string_part(v, from, at)), written_string(m, &w, new);
    written_string(m, &w, string_part(v, from, v.n));
    return written_value(&w);
}

/* so many blanks, or the text itself */
static Value blanks_of(Machine *m, Value width) {
    if (width.type == STRING) return width;
    return value_binary(m, '*', value_string(" "), value_int(need_int(m, width)));
}
static Value f_indent(Machine *m, Value v, Arguments *a) {
    const Value width = argument(a, 0, "width", value_int(4));
    const bool first = true_argument(a, 1, "first"), blank = true_argument(a, 2, "blank");
    const Value by = blanks_of(m, width);
    Written w = {0};
    v = value_text(m, v);
    for (size_t from = 0, end; from <= v.n; from = end + 1) {
        if ((end = string_find(m, v, value_string("\n"), from)) == NOWHERE) end = v.n;
        if (from ? blank || end > from : first) written_string(m, &w, by);
        written_string(m, &w, string_part(v, from, end < v.n ? end + 1 : end));
    }
    return written_value(&w);
}

/* ---- lists ---- */

static Value f_length(Machine *m, Value v, Arguments *a) {
    (void)a;
    if (v.type == UNDEFINED) return value_int(0);
    if (v.type != STRING && v.type != LIST && v.type != TUPLE && v.type != DICT) refuse_kind(m, v, m->called);
    if (v.type == STRING) jinja_spend(m, v.n / 64);
    if (v.type == STRING) return value_int((long long)string_length(v));
    return value_int((long long)v.items->n / (v.type == DICT ? 2 : 1));
}

static Value f_default(Machine *m, Value v, Arguments *a) {
    const Value other = argument(a, 0, "default_value", value_string(""));
    const bool falsy = true_argument(a, 1, "boolean");
    (void)m;
    return v.type == UNDEFINED || (falsy && !value_true(v)) ? other : v;
}

/* Its items (step 1), or those from behind (-1), as a list or, of the kind that jinja2 makes of it, LAZY. */
static Value items_in_order(Machine *m, Value v, Type type, int step) {
    const Value from = value_items(m, v), l = value_list(m, type);
    const size_t n = from.items->n;
    for (size_t i = 0; i < n; i++) list_add(m, l, from.items->at[step > 0 ? i : n - 1 - i]);
    return l;
}
static Value f_list(Machine *m, Value v, Arguments *a) { (void)a; return items_in_order(m, v, LIST, 1); }
static Value f_reverse(Machine *m, Value v, Arguments *a) {
    const Value by = value_int(-1);
    (void)a;
    return v.type == STRING ? value_slice(m, v, NULL, NULL, &by) : items_in_order(m, v, LAZY, -1);
}
static Value f_end(Machine *m, Value v, Arguments *a) {         /* which: 0 first, 1 last */
    const Value l = value_items(m, v);
    return l.items->n ? l.items->at[a->which ? l.items->n - 1 : 0] : value_undefined(m->called);
}

/* A mapping's keys (0), values (1) or pairs (2); as a filter (3) pairs that jinja2 gives one by one. */
static Value f_pairs(Machine *m, Value v, Arguments *a) {
    const Value l = value_list(m, a->which == 3 ? LAZY : LIST);
    if (v.type == UNDEFINED && a->which == 3) return l;
    if (v.type != DICT) refuse_kind(m, v, m->called);
    for (size_t i = 0; i < v.items->n; i += 2) {
        if (a->which < 2) { list_add(m, l, v.items->at[i + (size_t)a->which]); continue; }
        const Value two = value_list(m, TUPLE);
        list_add(m, two, v.items->at[i]), list_add(m, two, v.items->at[i + 1]);
        list_add(m, l, two);
    }
    return l;
}
static Value pairs_of(Machine *m, Value v, int which) {
    Arguments a = {.which = which};
    return f_pairs(m, v, &a);
}

/* A member by a path with dots, as attribute= names it. */
static Value attribute_of(Machine *m, Value v, Value path) {
    if (path.type == NONE) return v;
    if (path.type != STRING) return value_item(m, v, path);
    for (size_t at = 0, dot; at <= path.n; at = dot + 1) {
        if ((dot = string_find(m, path, value_string("."), at)) == NOWHERE) dot = path.n;
        const Value key = string_part(path, at, dot);
        const char *name = value_name(m, key);
        v = value_item(m, v, key.n && strspn(name, "0123456789") == key.n ? value_int(atoi(name)) : key);
    }
    return v;
}

static Value f_join(Machine *m, Value v, Arguments *a) {
    const Value between = value_text(m, argument(a, 0, "d", value_string(""))),
                path = argument(a, 1, "attribute", none), l = value_items(m, v);
    Written w = {0};
    for (size_t i = 0; i < l.items->n; i++) {
        if (i) written_string(m, &w, between);
        written_string(m, &w, value_text(m, attribute_of(m, l.items->at[i], path)));
    }
    return written_value(&w);
}

/* What a list is ordered by: each item, or a member of it; without `exact` texts lose their case. */
static Value *keys_of(Machine *m, Value l, Value path, bool exact) {
    Value *key = jinja_take(m, (l.items->n + 1) * sizeof *key);
    for (size_t i = 0; i < l.items->n; i++) {
        key[i] = attribute_of(m, l.items->at[i], path);
        if (!exact && key[i].type == STRING) key[i] = string_cased(m, key[i], LOWER);
    }
    return key;
}

static Value list_sorted(Machine *m, Value from, Value *key, bool reverse) {        /* stable */
    const Value l = items_in_order(m, from, LIST, 1);
    Value *at = l.items->at;
    for (size_t i = 1; i < l.items->n; i++) {
        const Value k = key[i], x = at[i];
        size_t to = i;
        for (; to && (reverse ? value_order(m, key[to - 1], k) : value_order(m, k, key[to - 1])) < 0; to--)
            key[to] = key[to - 1], at[to] = at[to - 1];
        key[to] = k, at[to] = x;
    }
    return l;
}

static Value f_sort(Machine *m, Value v, Arguments *a) {
    const Value l = value_items(m, v);
    const bool reverse = true_argument(a, 0, "reverse"), exact = true_argument(a, 1, "case_sensitive");
    return list_sorted(m, l, keys_of(m, l, argument(a, 2, "attribute", none), exact), reverse);
}
static Value f_dictsort(Machine *m, Value v, Arguments *a) {
    const bool exact = true_argument(a, 0, "case_sensitive"), reverse = true_argument(a, 2, "reverse"),
               by_value = value_equal(m, argument(a, 1, "by", none), value_string("value"));
    const Value l = pairs_of(m, v, 2);
    return list_sorted(m, l, keys_of(m, l, value_int(by_value), exact), reverse);
}
static Value f_extreme(Machine *m, Value v, Arguments *a) {     /* which: 0 min, 1 max */
    const Value l = value_items(m, v), path = argument(a, 1, "attribute", none),
                s = list_sorted(m, l, keys_of(m, l, path, true_argument(a, 0, "case_sensitive")), a->which);
    return s.items->n ? s.items->at[0] : value_undefined(m->called);
}
static Value f_unique(Machine *m, Value v, Arguments *a) {
    const Value from = value_items(m, v), seen = value_list(m, LIST), l = value_list(m, LAZY);
    const bool exact = true_argument(a, 0, "case_sensitive");
    const Value *key = keys_of(m, from, argument(a, 1, "attribute", none), exact);
    for (size_t i = 0; i < from.items->n; i++)
        if (!value_in(m, key[i], seen)) list_add(m, seen, key[i]), list_add(m, l, from.items->at[i]);
    return l;
}
static Value f_sum(Machine *m, Value v, Arguments *a) {
    const Value l = value_items(m, v), path = argument(a, 0, "attribute", none);
    Value all = argument(a, 1, "start", value_int(0));
    for (size_t i = 0; i < l.items->n; i++)
        all = value_binary(m, '+', all, attribute_of(m, l.items->at[i], path));
    return all;
}

/* ---- choosing ---- */

static Value f_map(Machine *m, Value v, Arguments *a) {
    const Value l = value_list(m, LAZY), path = a->n_place ? none : argument(a, -1, "attribute", none),
                other = a->n_place ? none : argument(a, -1, "default", none);
    const char *name = a->n_place ? value_name(m, text_argument(m, a)) : NULL;
    const Operation *f = name ? filter_find(name) : NULL;
    if (name ? !f : path.type == NONE) jinja_stop(m, "map: filter %.60s: not known here", name ? name : "");
    for (size_t i = 0; value_true(v) && i < value_items(m, v).items->n; i++) {
        Arguments rest = arguments_from(a, 1);
        Value x = value_items(m, v).items->at[i];
        if (f) x = operation_call(m, f, x, &rest);
        else if ((x = attribute_of(m, x, path)).type == UNDEFINED && other.type != NONE) x = other;
        list_add(m, l, x);
    }
    a->used = ~0ull;
    return l;
}

/* Items that pass a test (1), or that do not (0); by a member of theirs (2 more). */
static Value f_choose(Machine *m, Value v, Arguments *a) {
    const Value l = value_list(m, LAZY);
    const bool wanted = a->which & 1;
    const int skip = a->which >= 2;
    const Value path = skip ? only_argument(m, a) : none,
                from = value_true(v) ? value_items(m, v) : value_list(m, LIST);
    const char *name = a->n_place > skip ? value_name(m, a->at[skip]) : NULL;
    const int test = name ? test_find(name) : -1;
    if (name && test < 0) jinja_stop(m, "test %.60s: not known here", name);
    for (size_t i = 0; i < from.items->n; i++) {
        Arguments rest = arguments_from(a, skip + 1);
        const Value x = attribute_of(m, from.items->at[i], path);
        jinja_spend(m, 1);
        const bool passes = name ? test_call(m, test, x, &rest) : value_true(x);
        if (passes == wanted) list_add(m, l, from.items->at[i]);
    }
    a->used = ~0ull;
    return l;
}

/* ---- numbers ---- */

/* A number, or a text that holds one: as float (which 0) or int (1); else the default. */
static Value f_number(Machine *m, Value v, Arguments *a) {
    const bool whole = a->which;
    const Value other = argument(a, 0, "default", whole ? value_int(0) : (Value){.type = FLOAT});
    if (whole && (v.type == INT || v.type == BOOL)) return value_int(v.i);
    Arguments both = {.which = 3};
    const char *s = v.type == STRING ? value_name(m, f_strip(m, v, &both)) : "";
    char *end;
    const double x = value_is_number(v) ? value_double(v) : strtod(s, &end);
    if (!value_is_number(v) && (!*s || *end || strpbrk(s, "xX("))) return other;
    if (!whole) return (Value){.type = FLOAT, .f = x};
    if (!(fabs(x) < 9007199254740992.0)) jinja_stop(m, "int: a number of more than 53 bits");
    return value_int((long long)x);
}
static Value f_abs(Machine *m, Value v, Arguments *a) {
    (void)a;
    if (v.type == FLOAT) return (Value){.type = FLOAT, .f = fabs(v.f)};
    return need_int(m, v) < 0 ? value_binary(m, '-', value_int(0), v) : value_int(v.i);
}

/* ---- JSON ---- */

static Value f_tojson(Machine *m, Value v, Arguments *a) {
    const bool ascii = true_argument(a, 0, "ensure_ascii"), order = true_argument(a, 3, "sort_keys");
    const Value indent = argument(a, 1, "indent", none), separators = argument(a, 2, "separators", none);
    Style s = {.json = true, .ascii = ascii, .sorted = order, .comma = value_string(", "),
               .colon = value_string(": ")};
    Written w = {0};
    if (indent.type != NONE) {
        s.broken = true, s.comma = value_string(",");
        s.indent = blanks_of(m, indent);
    }
    if (separators.type != NONE) {
        if (!value_is_listed(separators) || separators.items->n != 2)
            jinja_stop(m, "tojson: separators: expected two texts");
        s.comma = need_string(m, separators.items->at[0]), s.colon = need_string(m, separators.items->at[1]);
    }
    written_as(m, &w, v, &s, 0);
    return written_value(&w);
}

/* ---- methods ---- */

/* Whether a text, or one of a tuple of them, stands at the beginning (0) or the end (1). */
static Value s_touches(Machine *m, Value v, Arguments *a) {
    const Value with = only_argument(m, a);
    const Value *each = with.type == TUPLE ? with.items->at : &with;
    bool any = false;
    for (size_t i = 0; i < (with.type == TUPLE ? with.items->n : 1); i++) {
        const Value x = need_string(m, each[i]);
        any = any || (x.n <= v.n && memcmp(v.s + (a->which ? v.n - x.n : 0), x.s, x.n) == 0);
    }
    return value_bool(any);
}

/* At blanks: words are what stands between them. */
static Value split_at_blanks(Machine *m, Value v, long long most) {
    const Value l = value_list(m, LIST);
    size_t from = NOWHERE;
    for (size_t at = 0; at < v.n; at = string_char_end(v, at)) {
        const bool blank = string_space(string_char(v, at));
        if (blank && from != NOWHERE) list_add(m, l, string_part(v, from, at)), from = NOWHERE;
        if (blank || from != NOWHERE) continue;
        from = at;
        if (most >= 0 && (long long)l.items->n == most) break;
    }
    if (from != NOWHERE) list_add(m, l, string_part(v, from, v.n));
    return l;
}
static Value s_split(Machine *m, Value v, Arguments *a) {
    const Value by = argument(a, 0, "sep", none), max = argument(a, 1, "maxsplit", value_int(-1));
    long long most = need_int(m, max);
    if (by.type == NONE) return split_at_blanks(m, v, most);
    const Value l = value_list(m, LIST);
    size_t from = 0, at;
    if (!need_string(m, by).n) jinja_stop(m, "split: found an empty text to split at");
    for (; most-- != 0 && (at = string_find(m, v, by, from)) != NOWHERE; from = at + by.n)
        list_add(m, l, string_part(v, from, at));
    list_add(m, l, string_part(v, from, v.n));
    return l;
}
static size_t find_last(Machine *m, Value v, Value what) {
    size_t at = NOWHERE;
    for (size_t k = 0, next; (next = string_find(m, v, what, k)) != NOWHERE; k = next + 1) at = next;
    return at;
}
static Value s_rsplit(Machine *m, Value v, Arguments *a) {      /* once, or without a bound */
    const Value by = text_argument(m, a), max = argument(a, 1, "maxsplit", value_int(-1)),
                l = value_list(m, LIST);
    if (!by.n || (max.i != 1 && max.i != -1)) jinja_stop(m, "rsplit: expected a text, and 1 as maxsplit");
    if (max.i == -1) return s_split(m, v, a);
    const size_t at = find_last(m, v, by);
    if (at != NOWHERE) list_add(m, l, string_part(v, 0, at));
    list_add(m, l, string_part(v, at == NOWHERE ? 0 : at + by.n, v.n));
    return l;
}
static Value s_partition(Machine *m, Value v, Arguments *a) {
    const Value by = text_argument(m, a), l = value_list(m, TUPLE);
    if (!by.n) jinja_stop(m, "partition: found an empty text to part at");
    const size_t found = string_find(m, v, by, 0), at = found == NOWHERE ? v.n : found,
                 end = found == NOWHERE ? v.n : at + by.n;
    list_add(m, l, string_part(v, 0, at)), list_add(m, l, string_part(v, at, end));
    list_add(m, l, string_part(v, end, v.n));
    return l;
}
static Value s_splitlines(Machine *m, Value v, Arguments *a) {
    const Value l = value_list(m, LIST);
    const bool keep = true_argument(a, 0, "keepends");
    for (size_t from = 0, at = 0, end; at < v.n; at = end) {
        const uint32_t c = string_char(v, at);
        end = string_char_end(v, at);
        if (c == '\r' && end < v.n && v.s[end] == '\n') end++;
        const bool line_end = (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                              c == 0x2028 || c == 0x2029;
        if (!line_end && end < v.n) continue;
        list_add(m, l, string_part(v, from, line_end && !keep ? at : end));
        from = end;
    }
    return l;
}
static Value s_find(Machine *m, Value v, Arguments *a) {        /* which: 0 find, 1 index, 2 rfind */
    const Value what = text_argument(m, a);
    const size_t at = a->which == 2 ? find_last(m, v, what) : string_find(m, v, what, 0);
    if (at == NOWHERE && a->which == 1) jinja_stop(m, "index: the text is not there");
    return value_int(at == NOWHERE ? -1 : (long long)string_length(string_part(v, 0, at)));
}
static Value s_count(Machine *m, Value v, Arguments *a) {
    const Value what = text_argument(m, a);
    long long n = 0;
    if (!what.n) return value_int((long long)string_length(v) + 1);
    for (size_t k = 0, at; (at = string_find(m, v, what, k)) != NOWHERE; k = at + what.n) n++;
    return value_int(n);
}
static Value s_join(Machine *m, Value v, Arguments *a) {
    Arguments between = {.at = &v, .n = 1, .n_place = 1};
    return f_join(m, only_argument(m, a), &between);
}
static Value s_remove(Machine *m, Value v, Arguments *a) {      /* which: 0 a prefix, 1 a suffix */
    const Value what = text_argument(m, a);
    if (!s_touches(m, v, a).i) return v;
    return a->which ? string_part(v, 0, v.n - what.n) : string_part(v, what.n, v.n);
}
/* {} in turn, {0} by place, {name}; {{ and }} are brackets. */
static Value s_format(Machine *m, Value v, Arguments *a) {
    Written w = {0};
    for (size_t i = 0, end, next = 0; i < v.n; i = end + 1) {
        end = i;
        if (v.s[i] != '{' && v.s[i] != '}') { written_string(m, &w, string_part(v, i, i + 1)); continue; }
        if (i + 1 < v.n && v.s[i + 1] == v.s[i]) {
            written_string(m, &w, string_part(v, i, ++end));
            continue;
        }
        while (end < v.n && v.s[end] != '}') end++;
        const char *name = value_name(m, string_part(v, i + 1, end));
        const bool place = strspn(name, "0123456789") == strlen(name);
        const Value found = argument(a, !place ? -1 : *name ? atoi(name) : (int)next++, place ? "" : name,
                                     value_undefined(name));
        if (found.type == UNDEFINED) jinja_stop(m, "format: {%.40s}: not known here", name);
        written_string(m, &w, value_text(m, found));
    }
    a->used = ~0ull;
    return written_value(&w);
}
static Value s_all(Machine *m, Value v, Arguments *a) {         /* which: 0 digits, 1 blanks, 2 letters */
    bool all = v.n > 0;
    (void)m;
    for (size_t at = 0; all && at < v.n; at = string_char_end(v, at)) {
        const uint32_t c = string_char(v, at);
        all = a->which == 1 ? string_space(c) : a->which ? string_letter(c) : c >= '0' && c <= '9';
    }
    return value_bool(all);
}
static bool in_case(Machine *m, Value s, bool upper) {
    return value_equal(m, s, string_cased(m, s, upper ? UPPER : LOWER)) &&
           !value_equal(m, s, string_cased(m, s, upper ? LOWER : UPPER));
}
static Value s_in_case(Machine *m, Value v, Arguments *a) { return value_bool(in_case(m, v, a->which)); }

static Value d_get(Machine *m, Value v, Arguments *a) {
    const Value *found = dict_find(m, v, only_argument(m, a)), other = argument(a, 1, "", none);
    return found ? *found : other;
}
static Value d_copy(Machine *m, Value v, Arguments *a) {
    const Value d = value_list(m, v.type);
    (void)a;
    for (size_t i = 0; i < v.items->n; i++) list_add(m, d, v.items->at[i]);
    return d;
}
static Value l_find(Machine *m, Value v, Arguments *a) {        /* which: 0 count, 1 index */
    const Value what = only_argument(m, a);
    long long n = 0;
    for (size_t i = 0; i < v.items->n; i++)
        if (value_equal(m, v.items->at[i], what)) {
            if (a->which) return value_int((long long)i);
            n++;
        }
    if (a->which) jinja_stop(m, "index: the value is not in the list");
    return value_int(n);
}

/* ---- the date ---- */

Value date_written(Machine *m, Value format) {
    static const char *const month[] = {"January", "February", "March", "April", "May", "June", "July",
                                        "August", "September", "October", "November", "December"};
    static const char *const weekday[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
                                          "Saturday"};
    int y = 0, mo = 0, d = 0;
    Written w = {0};
    if (!m->date || sscanf(m->date, "%4d-%2d-%2d", &y, &mo, &d) != 3 || y < 1 || mo < 1 || mo > 12)
        jinja_stop(m, "the template asks for the date, and none was given");
    m->called = "strftime_now";
    need_string(m, format);
    /* Sakamoto's rule: January and February belong to the year before */
    const int shift = (int[]){0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4}[mo - 1], year = y - (mo < 3),
              day = (year + year / 4 - year / 100 + year / 400 + shift + d) % 7;
    for (size_t i = 0; i < format.n; i++) {
        char s[32];
        if (format.s[i] != '%' || i + 1 == format.n) {
            written_string(m, &w, string_part(format, i, i + 1));
            continue;
        }
        const bool bare = format.s[++i] == '-' && i + 1 < format.n;
        i += bare;
        switch (format.s[i]) {
        case 'Y': snprintf(s, sizeof s, "%04d", y); break;
        case 'y': snprintf(s, sizeof s, "%02d", y % 100); break;
        case 'm': snprintf(s, sizeof s, bare ? "%d" : "%02d", mo); break;
        case 'd': snprintf(s, sizeof s, bare ? "%d" : "%02d", d); break;
        case 'e': snprintf(s, sizeof s, "%2d", d); break;
        case 'B': snprintf(s, sizeof s, "%s", month[mo - 1]); break;
        case 'b': snprintf(s, sizeof s, "%.3s", month[mo - 1]); break;
        case 'A': snprintf(s, sizeof s, "%s", weekday[day]); break;
        case 'a': snprintf(s, sizeof s, "%.3s", weekday[day]); break;
        case 'F': snprintf(s, sizeof s, "%04d-%02d-%02d", y, mo, d); break;
        case 'H': case 'M': case 'S': snprintf(s, sizeof s, "00"); break;
        case '%': snprintf(s, sizeof s, "%%"); break;
        default: jinja_stop(m, "strftime_now: %%%c is not known here", format.s[i]);
        }
        written_string(m, &w, value_string(s));
    }
    return written_value(&w);
}

/* ---- the tables ---- */

static const Operation filters[] = {
    {"abs", 0, f_abs, 0}, {"capitalize", 0, f_cased, CAPITALIZE}, {"count", 0, f_length, 0},
    {"d", 0, f_default, 0}, {"default", 0, f_default, 0}, {"dictsort", 0, f_dictsort, 0},
    {"first", 0, f_end, 0},
    {"float", 0, f_number, 0}, {"indent", 0, f_indent, 0}, {"int", 0, f_number, 1}, {"items", 0, f_pairs, 3},
    {"join", 0, f_join, 0}, {"last", 0, f_end, 1}, {"length", 0, f_length, 0}, {"list", 0, f_list, 0},
    {"lower", 0, f_cased, LOWER}, {"map", 0, f_map, 0}, {"max", 0, f_extreme, 1}, {"min", 0, f_extreme, 0},
    {"reject", 0, f_choose, 0}, {"rejectattr", 0, f_choose, 2}, {"replace", 0, f_replace, 0},
    {"reverse", 0, f_reverse, 0}, {"safe", 0, f_string, 1}, {"select", 0, f_choose, 1},
    {"selectattr", 0, f_choose, 3}, {"sort", 0, f_sort, 0}, {"string", 0, f_string, 0}, {"sum", 0, f_sum, 0},
    {"title", 0, f_cased, TITLE_FILTER}, {"tojson", 0, f_tojson, 0}, {"trim", 0, f_strip, 3},
    {"unique", 0, f_unique, 0}, {"upper", 0, f_cased, UPPER}};

const Operation *filter_find(const char *name) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (strcmp(filters[i].name, name) == 0) return &filters[i];
    return NULL;
}

enum { OF_STRING = 1u << STRING, OF_LIST = 1u << LIST | 1u << TUPLE, OF_DICT = 1u << DICT };
static const Operation methods[] = {
    {"capitalize", OF_STRING, f_cased, CAPITALIZE}, {"copy", OF_DICT | 1u << LIST, d_copy, 0},
    {"count", OF_LIST, l_find, 0}, {"count", OF_STRING, s_count, 0}, {"endswith", OF_STRING, s_touches, 1},
    {"find", OF_STRING, s_find, 0}, {"format", OF_STRING, s_format, 0}, {"get", OF_DICT, d_get, 0},
    {"index", OF_LIST, l_find, 1}, {"index", OF_STRING, s_find, 1}, {"isalpha", OF_STRING, s_all, 2},
    {"isdigit", OF_STRING, s_all, 0}, {"islower", OF_STRING, s_in_case, 0},
    {"isspace", OF_STRING, s_all, 1}, {"isupper", OF_STRING, s_in_case, 1}, {"items", OF_DICT, f_pairs, 2},
    {"join", OF_STRING, s_join, 0}, {"keys", OF_DICT, f_pairs, 0}, {"lower", OF_STRING, f_cased, LOWER},
    {"lstrip", OF_STRING, f_strip, 1}, {"partition", OF_STRING, s_partition, 0},
    {"removeprefix", OF_STRING, s_remove, 0}, {"removesuffix", OF_STRING, s_remove, 1},
    {"replace", OF_STRING, f_replace, 0}, {"rfind", OF_STRING, s_find, 2},
    {"rsplit", OF_STRING, s_rsplit, 0}, {"rstrip", OF_STRING, f_strip, 2}, {"split", OF_STRING, s_split, 0},
    {"splitlines", OF_STRING, s_splitlines, 0}, {"startswith", OF_STRING, s_touches, 0},
    {"strip", OF_STRING, f_strip, 3}, {"title", OF_STRING, f_cased, TITLE},
    {"upper", OF_STRING, f_cased, UPPER}, {"values", OF_DICT, f_pairs, 1}};

const Operation *method_find(Type type, const char *name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].types & 1u << type && strcmp(methods[i].name, name) == 0) return &methods[i];
    return NULL;
}

/* In the order of the switch below; the first 18 have an argument. */
static const char *const tests[] = {
    "==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=",
    "ge", "in", "sameas", "divisibleby", "even", "odd", "lower", "upper", "defined", "undefined", "none",
    "true", "false", "boolean", "integer", "float", "number", "string", "mapping", "callable", "iterable",
    "sequence"};

int test_find(const char *name) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) if (strcmp(tests[i], name) == 0) return (int)i;
    return -1;
}

static bool test_one(Machine *m, int test, Value v, Value other) {
    const bool iterable = value_is_listed(v) || v.type == DICT || v.type == STRING || v.type == UNDEFINED;
    switch (test) {
    case 0: case 1: case 2: return value_equal(m, v, other);
    case 3: case 4: return !value_equal(m, v, other);
    case 5: case 6: case 7: return value_order(m, v, other) < 0;
    case 8: case 9: return value_order(m, v, other) <= 0;
    case 10: case 11: case 12: return value_order(m, v, other) > 0;
    case 13: case 14: return value_order(m, v, other) >= 0;
    case 15: return value_in(m, v, other);
    case 16: return v.type == other.type && value_equal(m, v, other);
    case 17: return !value_true(value_binary(m, '%', v, other));
    case 18: return need_int(m, v) % 2 == 0;
    case 19: return need_int(m, v) % 2 != 0;
    case 20: return in_case(m, value_text(m, v), false);
    case 21: return in_case(m, value_text(m, v), true);
    case 22: return v.type != UNDEFINED;
    case 23: return v.type == UNDEFINED;
    case 24: return v.type == NONE;
    case 25: return v.type == BOOL && v.i;
    case 26: return v.type == BOOL && !v.i;
    case 27: return v.type == BOOL;
    case 28: return v.type == INT;
    case 29: return v.type == FLOAT;
    case 30: return value_is_number(v);
    case 31: return v.type == STRING;
    case 32: return v.type == DICT;
    case 33: return v.type == MACRO || v.type == METHOD || v.type == FUNCTION || v.type == UNDEFINED;
    case 34: return iterable || v.type == LOOP;
    default: return iterable && v.type != LAZY;
    }
}

bool test_call(Machine *m, int test, Value v, Arguments *a) {
    m->called = tests[test];
    const bool r = test_one(m, test, v, test < 18 ? only_argument(m, a) : none);
    arguments_used(m, tests[test], a);
    return r;
}
