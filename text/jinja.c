/* jinja.c: a template is run: values are computed, text is written.
 *
 * In this order: names, calls, expressions, statements, the whole. The tree is made by jinja_parse.c; what
 * values do is in jinja_values.c, what templates call in jinja_filters.c. */
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

#include "text/jinja_parse.h"

/* ---- names ---- */

typedef struct Entry { const char *name; Value value; struct Entry *next; } Entry;
typedef struct Scope { struct Scope *outer; Entry *first; } Scope;
typedef struct { Items *items; size_t at; int depth; } Loop;
typedef struct { const Node *node; Scope *scope; } Macro;
typedef enum { GO_ON, LEAVE, NEXT } Flow;

static Scope *scope_new(Machine *m, Scope *outer) {
    Scope *s = jinja_take(m, sizeof *s);
    s->outer = outer;
    return s;
}

static Value *lookup(Scope *s, const char *name) {
    for (; s; s = s->outer) for (Entry *k = s->first; k; k = k->next) if (k->name == name) return &k->value;
    return NULL;
}

static void assign(Machine *m, Scope *s, const char *name, Value v) {
    for (Entry *k = s->first; k; k = k->next) if (k->name == name) { k->value = v; return; }
    Entry *k = jinja_take(m, sizeof *k);
    *k = (Entry){name, v, s->first};
    s->first = k;
}

static Value jinja_value(Machine *m, Scope *s, const Node *n);
static Flow run(Machine *m, Scope *s, const Node *n);

/* ---- calls ---- */

/* The values of a call; *list stands for all of its items. */
static Arguments arguments(Machine *m, Scope *s, const Node *first) {
    Arguments a = {0};
    const Value value = value_list(m, LIST), name = value_list(m, LIST);
    for (const Node *n = first; n; n = n->next) {
        const Value v = jinja_value(m, s, n->a), all = n->op ? value_items(m, v) : v;
        for (size_t i = 0; i < (n->op ? all.items->n : 1); i++) {
            list_add(m, value, n->op ? all.items->at[i] : v);
            list_add(m, name, value_string(n->name ? n->name : ""));
            a.n_place += !n->name;
        }
    }
    a.n = (int)value.items->n, a.at = value.items->at;
    a.name = jinja_take(m, ((size_t)a.n + 1) * sizeof *a.name);
    for (int i = 0; i < a.n; i++) a.name[i] = name.items->at[i].s;
    return a;
}

/* What a body writes. */
static Value captured(Machine *m, Scope *s, const Node *first) {
    Written w = {0}, *to = m->to;
    m->to = &w;
    run(m, s, first);
    m->to = to;
    return written_value(&w);
}

static Value call_macro(Machine *m, const Macro *c, Arguments *a) {
    Scope *inner = scope_new(m, c->scope);
    int k = 0;
    for (const Node *n = c->node->a; n; n = n->next, k++) {
        const Value none = value_undefined(n->name);
        Value v = argument(a, k, n->name, none);
        if (v.type == UNDEFINED && v.s == n->name && n->a) v = jinja_value(m, inner, n->a);
        assign(m, inner, n->name, v);
    }
    arguments_used(m, c->node->name, a);
    return captured(m, inner, c->node->body);
}

static Value range(Machine *m, Arguments *a) {
    long long part[3] = {0, 0, 1};
    for (int i = 0; i < a->n && i < 3; i++) {
        if (a->at[i].type != INT) jinja_stop(m, "range: found a %s", value_kind(a->at[i]));
        part[i] = a->at[i].i;
    }
    if (a->n < 1 || a->n > 3 || a->n_place < a->n || !part[2])
        jinja_stop(m, "range: expected 1 to 3 numbers");
    if (a->n == 1) part[1] = part[0], part[0] = 0;
    const Value l = value_list(m, LIST);
    for (long long i = part[0]; part[2] > 0 ? i < part[1] : i > part[1]; i += part[2]) {
        if (l.items->n == 100000) jinja_stop(m, "range: expected at most 100000 numbers");
        list_add(m, l, value_int(i));
    }
    return l;
}

static Value mapping(Machine *m, Arguments *a, Type type) {
    const Value d = value_list(m, type);
    for (int i = 0; i < a->n; i++) {
        if (i >= a->n_place) { dict_put(m, d, value_string(a->name[i]), a->at[i]); continue; }
        if (a->at[i].type != DICT) jinja_stop(m, "dict or namespace: found a %s", value_kind(a->at[i]));
        for (size_t k = 0; k < a->at[i].items->n; k += 2)
            dict_put(m, d, a->at[i].items->at[k], a->at[i].items->at[k + 1]);
    }
    return d;
}

static const char *const functions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};
static Value call_function(Machine *m, const char *const *f, Arguments *a) {
    const Value none = value_string("");
    switch (f - functions) {
    case 0: return range(m, a);
    case 1: return mapping(m, a, NAMESPACE);
    case 2: return mapping(m, a, DICT);
    case 3: {
        const Value v = value_text(m, argument(a, 0, "message", none));
        jinja_stop(m, "the template refuses this conversation: %.*s", v.n > 400 ? 400 : (int)v.n, v.s);
    }
    default: return date_written(m, argument(a, 0, "format", none));
    }
}

static Value call(Machine *m, Scope *s, const Node *n) {
    const Value f = jinja_value(m, s, n->a);
    Arguments a = arguments(m, s, n->b);
    m->line = n->line;
    switch (f.type) {
    case MACRO: return call_macro(m, f.of, &a);
    case FUNCTION: return call_function(m, f.of, &a);
    case METHOD: {
        const Bound *b = f.of;
        return operation_call(m, b->method, b->self, &a);
    }
    case UNDEFINED: jinja_stop(m, "%.60s(): not known here", f.s);
    default: jinja_stop(m, "a %s is called", value_kind(f));
    }
}

/* ---- expressions ---- */

static Value loop_member(Machine *m, const Loop *l, const char *name) {
    static const char *const members[] = {"index", "index0", "revindex", "revindex0", "first", "last",
                                          "length", "depth", "depth0", "previtem", "nextitem"};
    const long long i = (long long)l->at, n = (long long)l->items->n;
    const long long number[] = {i + 1, i, n - i, n - i - 1, i == 0, i + 1 == n, n, l->depth, l->depth - 1};
    for (int k = 0; k < 11; k++)
        if (strcmp(name, members[k]) == 0) {
            if (k < 9) return k == 4 || k == 5 ? value_bool(number[k]) : value_int(number[k]);
            const long long other = k == 9 ? i - 1 : i + 1;
            return other >= 0 && other < n ? l->items->at[other] : value_undefined(name);
        }
    jinja_stop(m, "loop.%.40s: not known here", name);
}

static bool compared(Machine *m, int op, Value a, Value b) {
    switch (op) {
    case 0: return value_equal(m, a, b);
    case 1: return !value_equal(m, a, b);
    case 2: return value_order(m, a, b) < 0;
    case 3: return value_order(m, a, b) <= 0;
    case 4: return value_order(m, a, b) > 0;
    case 5: return value_order(m, a, b) >= 0;
    default: return value_in(m, a, b) == (op == 6);
    }
}

static Value comparisons(Machine *m, Scope *s, const Node *n) {
    Value a = jinja_value(m, s, n->a);
    bool yes = true;
    for (const Node *k = n->b; yes && k; k = k->next) {
        const Value b = jinja_value(m, s, k->a);
        yes = compared(m, k->op, a, b);
        a = b;
    }
    return value_bool(yes);
}

static Value name_value(Scope *s, const Node *n) {
    const Value *v = lookup(s, n->name);
    if (v) return *v;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i], n->name) == 0) return (Value){.type = FUNCTION, .of = &functions[i]};
    return value_undefined(n->name);
}

static Value literal(Machine *m, Scope *s, const Node *n) {
    const Value l = value_list(m, n->kind == MAPPED ? DICT : (Type)n->op);
    for (const Node *k = n->a; k; k = k->next) {
        if (n->kind == LISTED) { list_add(m, l, jinja_value(m, s, k)); continue; }
        const Value key = jinja_value(m, s, k->a);
        dict_put(m, l, key, jinja_value(m, s, k->b));
    }
    return l;
}

static Value negative(Machine *m, Value v) {
    if (v.type == FLOAT) return (Value){.type = FLOAT, .f = -v.f};
    return value_binary(m, '-', value_int(0), v);
}

static Value sliced(Machine *m, Scope *s, const Node *n) {
    const Value none = {.type = NONE}, of = jinja_value(m, s, n->a),
                from = n->b ? jinja_value(m, s, n->b) : none,
                to = n->c ? jinja_value(m, s, n->c) : none, by = n->d ? jinja_value(m, s, n->d) : none;
    return value_slice(m, of, &from, &to, &by);
}

static Value member(Machine *m, Value of, Value key) {
    if (of.type == LOOP && key.type == STRING) return loop_member(m, of.of, key.s);
    return value_item(m, of, key);
}

static Value evaluated(Machine *m, Scope *s, const Node *n) {
    Value a, b;
    Arguments given;
    switch (n->kind) {
    case CONSTANT: return n->value;
    case NAME: return name_value(s, n);
    case ATTRIBUTE:
        a = jinja_value(m, s, n->a);
        return a.type == LOOP ? loop_member(m, a.of, n->name) : value_member(m, a, n->name);
    case ITEM: a = jinja_value(m, s, n->a); return member(m, a, jinja_value(m, s, n->b));
    case SLICE: return sliced(m, s, n);
    case CALL: return call(m, s, n);
    case FILTER:
        if (!n->filter) jinja_refuse_name(m, n);
        a = jinja_value(m, s, n->a), given = arguments(m, s, n->b);
        return operation_call(m, n->filter, a, &given);
    case TEST:
        if (n->op < 0) jinja_refuse_name(m, n);
        a = jinja_value(m, s, n->a), given = arguments(m, s, n->b);
        return value_bool(test_call(m, n->op, a, &given));
    case NOT: return value_bool(!value_true(jinja_value(m, s, n->a)));
    case NEGATIVE: return negative(m, jinja_value(m, s, n->a));
    case BINARY:
        a = jinja_value(m, s, n->a), b = jinja_value(m, s, n->b);
        m->line = n->line;
        return value_binary(m, n->op, a, b);
    case AND: a = jinja_value(m, s, n->a); return value_true(a) ? jinja_value(m, s, n->b) : a;
    case OR: a = jinja_value(m, s, n->a); return value_true(a) ? a : jinja_value(m, s, n->b);
    case COMPARE: return comparisons(m, s, n);
    case CHOICE:
        if (value_true(jinja_value(m, s, n->b))) return jinja_value(m, s, n->a);
        return n->c ? jinja_value(m, s, n->c) : value_undefined("the inline if without else");
    default: return literal(m, s, n);
    }
}

static Value jinja_value(Machine *m, Scope *s, const Node *n) {
    jinja_enter(m);
    m->line = n->line;
    const Value v = evaluated(m, s, n);
    m->depth--;
    return v;
}

/* ---- statements ---- */

static void store(Machine *m, Scope *s, const Node *to, Value v) {
    if (!to->next && to->kind == NAME) { assign(m, s, to->name, v); return; }
    if (!to->next) {
        const Value *space = lookup(s, to->a->name);
        if (!space || space->type != NAMESPACE)
            jinja_stop(m, "%s.%s = ...: expected a namespace", to->a->name, to->name);
        dict_put(m, *space, value_string(to->name), v);
        return;
    }
    const Value l = value_items(m, v);
    size_t i = 0;
    for (; to; to = to->next, i++) {
        if (to->kind != NAME || i >= l.items->n) break;
        assign(m, s, to->name, l.items->at[i]);
    }
    if (to || i != l.items->n) jinja_stop(m, "found %zu values, expected as many as names", l.items->n);
}

static Flow run_for(Machine *m, Scope *s, const Node *n) {
    Value l = value_items(m, jinja_value(m, s, n->b));
    if (n->c) {
        const Value all = l;
        l = value_list(m, LIST);
        for (size_t i = 0; i < all.items->n; i++) {
            Scope *inner = scope_new(m, s);
            store(m, inner, n->a, all.items->at[i]);
            if (value_true(jinja_value(m, inner, n->c))) list_add(m, l, all.items->at[i]);
        }
    }
    if (!l.items->n) return n->otherwise ? run(m, s, n->otherwise) : GO_ON;
    Loop *loop = jinja_take(m, sizeof *loop);
    *loop = (Loop){l.items, 0, 1};
    for (; loop->at < l.items->n; loop->at++) {
        Scope *inner = scope_new(m, s);
        assign(m, inner, n->name, (Value){.type = LOOP, .of = loop});
        store(m, inner, n->a, l.items->at[loop->at]);
        if (run(m, inner, n->body) == LEAVE) break;
    }
    return GO_ON;
}

static void run_generation(Machine *m, Scope *s, const Node *n) {
    const size_t from = m->to->n;
    run(m, scope_new(m, s), n->body);
    for (size_t i = from; i < m->to->n; i++) m->to->mark[i] |= JINJA_GENERATION;
}

/* The filters that stand behind {% set x | ...: their innermost value is what was written. */
static Value through(Machine *m, Scope *s, const Node *n, Value v) {
    if (n->kind != FILTER) return v;
    jinja_enter(m);
    v = through(m, s, n->a, v);
    m->depth--;
    Arguments a = arguments(m, s, n->b);
    if (!n->filter) jinja_refuse_name(m, n);
    return operation_call(m, n->filter, v, &a);
}

static Flow run_one(Machine *m, Scope *s, const Node *n) {
    switch (n->kind) {
    case TEXT: written_add(m, m->to, n->value.s, NULL, n->value.n); return GO_ON;
    case OUTPUT: {
        const Value v = value_text(m, jinja_value(m, s, n->a));
        written_add(m, m->to, v.s, v.mark, v.n);
        return GO_ON;
    }
    case IF:
        for (const Node *k = n; k; k = k->b)
            if (value_true(jinja_value(m, s, k->a))) return run(m, s, k->body);
        return n->otherwise ? run(m, s, n->otherwise) : GO_ON;
    case FOR: return run_for(m, s, n);
    case SET: store(m, s, n->a, jinja_value(m, s, n->b)); return GO_ON;
    case SET_BLOCK: {
        const Value v = captured(m, scope_new(m, s), n->body);
        store(m, s, n->a, through(m, s, n->b, v));
        return GO_ON;
    }
    case MACRO_BLOCK: {
        Macro *c = jinja_take(m, sizeof *c);
        *c = (Macro){n, s};
        assign(m, s, n->name, (Value){.type = MACRO, .of = c});
        return GO_ON;
    }
    case GENERATION: run_generation(m, s, n); return GO_ON;
    case BREAK: return LEAVE;
    default: return NEXT;
    }
}

static Flow run(Machine *m, Scope *s, const Node *n) {
    Flow f = GO_ON;
    for (; n && f == GO_ON; n = n->next) {
        jinja_enter(m);
        m->line = n->line;
        f = run_one(m, s, n);
        m->depth--;
    }
    return f;
}

/* ---- the whole ---- */

Jinja *jinja_parse(const char *text, size_t n, const char *name, Err *e) {
    Jinja *j = calloc(1, sizeof *j + strlen(name) + 1);
    if (!j) { fail(e, "%s: no memory for a template", name); return NULL; }
    strcpy(j->name, name);
    if (jinja_tree(j, text, n, e)) return j;
    jinja_free(j);
    return NULL;
}

void jinja_free(Jinja *j) {
    if (!j) return;
    Machine m = {.chunk = j->chunk};
    jinja_release(&m);
    free(j);
}

bool jinja_marks_generation(const Jinja *j) { return j->generation; }

bool jinja_render(JinjaText *out, const Jinja *j, const JinjaVariable *variable, int n, const char *date,
                  Err *e) {
    struct { Machine m; Written w; Scope s; char *volatile made; } *r = calloc(1, sizeof *r);
    if (!r) return fail(e, "%s: no memory to render", j->name);
    r->m = (Machine){.name = j->name, .date = date, .line = 1, .e = e, .to = &r->w};
    if (setjmp(r->m.refused) == 0) {
        for (int i = 0; i < n; i++)
            for (const Name *k = j->names; k; k = k->next)
                if (strcmp(k->text, variable[i].name) == 0)
                    assign(&r->m, &r->s, k->text,
                           value_from_json(&r->m, variable[i].value, variable[i].data ? JINJA_DATA : 0));
        run(&r->m, &r->s, j->body);
        if (!(r->made = malloc(2 * r->w.n + 2))) jinja_stop(&r->m, "no memory for %zu bytes", r->w.n);
        if (r->w.n) memcpy(r->made, r->w.s, r->w.n), memcpy(r->made + r->w.n + 1, r->w.mark, r->w.n);
        r->made[r->w.n] = 0;
        *out = (JinjaText){r->made, (unsigned char *)r->made + r->w.n + 1, r->w.n};
    }
    const bool ok = r->made != NULL;
    jinja_release(&r->m);
    free(r);
    return ok;
}
