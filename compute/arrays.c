/* arrays.c: inputs of `grpo compute` into flat arrays, arrays into outputs. */
#include "compute/arrays.h"
#include "grpo.h"
#include "lib/words.h"
#include <stdio.h>
#include <string.h>

/* ---- inputs ---- */
void kind_wrong(Call *c, const char *key, const Json *at, const char *expected) {
    if (c->ok)
        fail(c->e, "stdin:%d:%d: inputs.%s: found %s, expected %s", at ? at->line : c->in->line,
             at ? at->column : c->in->column, key, at ? json_type_name(at->type) : "nothing", expected);
    c->ok = false;
}

void kind_refuse(Call *c, bool wrong, const char *key, const char *expected) {
    if (c->ok && wrong) kind_wrong(c, key, json_get(c->in, key), expected);
}

void *kind_take(Call *c, size_t n, size_t size) {
    void *p = c->n_owned < MAX_OWNED ? memory_new((n ? n : 1) * size, "compute", c->e) : NULL;
    if (!p) { c->ok = false; return NULL; }
    return c->owned[c->n_owned++] = p;
}

real *kind_reals(Call *c, size_t n) { return kind_take(c, n, sizeof(real)); }

bool kind_finish(Call *c) {
    while (c->n_owned) memory_free(c->owned[--c->n_owned]);
    return c->ok;
}

const Json *kind_given(const Call *c, const char *key) {      /* NULL: absent or null */
    const Json *v = json_get(c->in, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

static real number_or_nan(Call *c, const char *key, const Json *v) {
    if (v->type == JSON_NULL) return (real)NAN;
    if (v->type != JSON_NUMBER && v->type != JSON_BOOL) kind_wrong(c, key, v, "a number or null");
    return (real)v->number;
}

/* A list of numbers or of lists of numbers. Absent: x is NULL (an error unless optional). */
Rows kind_rows(Call *c, const char *key, bool optional) {
    Rows r = { 0, 0, 0, NULL, NULL };
    const Json *v = kind_given(c, key);
    if (!c->ok || (!v && optional)) return r;
    if (!v || v->type != JSON_ARRAY) { kind_wrong(c, key, v, "a list of numbers"); return r; }
    r.n_row = v->length;
    r.offset = kind_take(c, r.n_row + 1, sizeof *r.offset);
    if (!c->ok) return r;
    for (size_t i = 0; i < r.n_row; i++) {
        const size_t width = v->item[i].type == JSON_ARRAY ? v->item[i].length : 1;
        r.width = i == 0 || r.width == width ? width : 0;
        r.offset[i + 1] = r.n += width;
    }
    r.x = kind_reals(c, r.n);
    if (!c->ok) return r;
    for (size_t i = 0, at = 0; i < r.n_row; i++) {
        const Json *row = &v->item[i];
        if (row->type != JSON_ARRAY) r.x[at++] = number_or_nan(c, key, row);
        else for (size_t j = 0; j < row->length; j++) r.x[at++] = number_or_nan(c, key, &row->item[j]);
    }
    return r;
}

/* [n_row][width], every row alike. */
Rows kind_matrix(Call *c, const char *key) {
    Rows r = kind_rows(c, key, false);
    if (c->ok && (r.n_row == 0 || r.width == 0))
        kind_wrong(c, key, json_get(c->in, key), "rows of equal length, at least one");
    return r;
}

/* The shape of `like`; x is NULL if optional and not there. */
Rows kind_same_shape(Call *c, const char *key, const Rows *like, bool optional) {
    Rows r = kind_rows(c, key, optional);
    if (!c->ok || !r.x) return r;
    bool same = r.n_row == like->n_row;
    for (size_t i = 0; same && i < r.n_row; i++) same = r.offset[i + 1] == like->offset[i + 1];
    if (!same) kind_wrong(c, key, json_get(c->in, key), "the same shape as the first input");
    return r;
}

/* n doubles; NULL if optional and not there. */
double *kind_doubles(Call *c, const char *key, size_t n, bool optional) {
    const Json *v = kind_given(c, key);
    if (!c->ok || (!v && optional)) return NULL;
    char expected[64];
    snprintf(expected, sizeof expected, "a list of %zu numbers", n);
    if (!v || v->type != JSON_ARRAY || v->length != n) { kind_wrong(c, key, v, expected); return NULL; }
    double *x = kind_take(c, n, sizeof *x);
    for (size_t i = 0; c->ok && i < n; i++) {
        if (v->item[i].type != JSON_NUMBER && v->item[i].type != JSON_BOOL)
            kind_wrong(c, key, &v->item[i], "a number");
        x[i] = v->item[i].number;
    }
    return x;
}

double *kind_weights(Call *c, const char *key, size_t n) {    /* given, or all 1 */
    double *x = kind_doubles(c, key, n, true);
    if (x || !c->ok) return x;
    x = kind_take(c, n, sizeof *x);
    for (size_t i = 0; x && i < n; i++) x[i] = 1;
    return x;
}

double kind_number(Call *c, const char *key) {
    const Json *v = kind_given(c, key);
    if (!v || v->type != JSON_NUMBER) { kind_wrong(c, key, v, "a number"); return NAN; }
    return v->number;
}

double kind_number_or(Call *c, const char *key, double otherwise) {
    return kind_given(c, key) ? kind_number(c, key) : otherwise;
}

size_t kind_whole(Call *c, const char *key, size_t least) {
    const Json *v = kind_given(c, key);
    if (!v || v->type != JSON_NUMBER || v->number < (double)least || v->number > 1e9 ||
        v->number != floor(v->number)) {
        char expected[64];
        snprintf(expected, sizeof expected, "a whole number, at least %zu", least);
        kind_wrong(c, key, v, expected);
        return least;
    }
    return (size_t)v->number;
}

const char *kind_word(Call *c, const char *key) {
    const Json *v = kind_given(c, key);
    if (!v || v->type != JSON_STRING) { kind_wrong(c, key, v, "a string"); return ""; }
    return v->string;
}

int kind_choice(Call *c, const char *key, const char *const *names) {
    int k = 0;
    const char *found = kind_word(c, key);
    if (c->ok && !choice_parse(&k, names, found, key, c->e)) c->ok = false;
    return k;
}

size_t kind_group_size(Call *c, size_t n) {
    const size_t g = kind_whole(c, "num_generations", 1);
    if (c->ok && n % g) {
        fail(c->e, "stdin:%d: inputs.num_generations: found %zu, expected a divisor of the %zu completions",
             c->in->line, g, n);
        c->ok = false;
    }
    return g;
}

/* One level of a nested list whose shape is known. */
static const char *fill_tensor(real **to, const Json *v, const size_t *shape, int n_dim) {
    if (n_dim == 0) {
        if (v->type != JSON_NUMBER) return "a number";
        *(*to)++ = (real)v->number;
        return NULL;
    }
    if (v->type != JSON_ARRAY || v->length != *shape)
        return "lists of equal length, nested as deep as the shape says";
    const char *expected = NULL;
    for (size_t i = 0; !expected && i < v->length; i++)
        expected = fill_tensor(to, &v->item[i], shape + 1, n_dim - 1);
    return expected;
}

real *kind_tensor(Call *c, const char *key, size_t *shape, int n_dim) {
    const Json *v = kind_given(c, key), *at = v;
    size_t n = 1;
    if (!v) kind_wrong(c, key, v, "a nested list");
    for (int k = 0; k < n_dim; k++, at = at && at->type == JSON_ARRAY && at->length ? at->item : NULL) {
        if (!shape[k] && at && at->type == JSON_ARRAY) shape[k] = at->length;
        if (c->ok && (!shape[k] || n > SIZE_MAX / sizeof(real) / shape[k]))
            kind_wrong(c, key, v, "a nested list without empty lists");
        if (!c->ok) return NULL;
        n *= shape[k];
    }
    real *x = kind_take(c, n, sizeof *x), *to = x;
    const char *expected = x ? fill_tensor(&to, v, shape, n_dim) : NULL;
    if (expected) kind_wrong(c, key, v, expected);
    return c->ok ? x : NULL;
}

static bool whole_list(Call *c, int *to, const char *key, const Json *v) {
    for (size_t i = 0; c->ok && i < v->length; i++) {
        const Json *x = &v->item[i];
        if (x->type != JSON_NUMBER || x->number < 0 || x->number > 1e9 || x->number != floor(x->number))
            kind_wrong(c, key, x, "a whole number, at least 0");
        else to[i] = (int)x->number;
    }
    return c->ok;
}

IntRows kind_int_rows(Call *c, const char *key) {
    IntRows r = { 0, 0, NULL, NULL };
    const Json *v = kind_given(c, key);
    if (!c->ok) return r;
    if (!v || v->type != JSON_ARRAY) { kind_wrong(c, key, v, "a list"); return r; }
    const bool flat = v->length && v->item[0].type != JSON_ARRAY;
    r.n_row = flat ? 1 : v->length;
    r.offset = kind_take(c, r.n_row + 1, sizeof *r.offset);
    for (size_t i = 0; c->ok && i < r.n_row; i++) {
        const Json *row = flat ? v : &v->item[i];
        if (row->type != JSON_ARRAY) kind_wrong(c, key, row, "a list");
        else r.offset[i + 1] = r.n += row->length;
    }
    r.x = c->ok ? kind_take(c, r.n, sizeof *r.x) : NULL;
    for (size_t i = 0; c->ok && i < r.n_row; i++)
        whole_list(c, r.x + r.offset[i], key, flat ? v : &v->item[i]);
    return r;
}

/* ---- outputs ---- */

void kind_put_list(JsonWriter *w, const char *key, const real *x, size_t n) {
    json_open(w, key, '[');
    for (size_t i = 0; i < n; i++) json_number(w, x[i]);
    json_end(w, ']');
}

void kind_put_rows(JsonWriter *w, const char *key, const real *x, const size_t *offset, size_t n_row) {
    json_open(w, key, '[');
    for (size_t i = 0; i < n_row; i++) {
        json_begin(w, '[');
        for (size_t t = offset[i]; t < offset[i + 1]; t++) json_number(w, x[t]);
        json_end(w, ']');
    }
    json_end(w, ']');
}

static void put_level(JsonWriter *w, const real **x, const size_t *shape, int n_dim) {
    if (n_dim == 0) { json_number(w, *(*x)++); return; }
    json_begin(w, '[');
    for (size_t i = 0; i < *shape; i++) put_level(w, x, shape + 1, n_dim - 1);
    json_end(w, ']');
}

void kind_put_tensor(JsonWriter *w, const char *key, const real *x, const size_t *shape, int n_dim) {
    json_key(w, key);
    put_level(w, &x, shape, n_dim);
}
