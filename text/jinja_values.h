/* jinja_values.h: what the interpreter's files share: its memory and limits, its values, and what templates
 * call. Not for others. */
#ifndef TEXT_JINJA_VALUES_H
#define TEXT_JINJA_VALUES_H

#include <setjmp.h>

#include "lib/json.h"

/* ---- memory, limits, errors ---- */

typedef struct Chunk Chunk;
typedef struct { char *s; unsigned char *mark; size_t n, capacity; } Written;
/* One parsing or one rendering. All that it makes lives in chunks that are freed together; an error jumps to
 * `refused` with the line filled in. */
typedef struct {
    const char *name, *date, *called;           /* called: the filter or test at work, for messages */
    int line, depth;
    Err *e;
    jmp_buf refused;
    Chunk *chunk;
    size_t held, work;
    Written *to;                        /* where output goes */
} Machine;

enum { JINJA_DEPTH = 800, JINJA_MEMORY = 1 << 28, JINJA_WORK = 50000000 };
_Noreturn void jinja_stop(Machine *m, const char *format, ...) PRINTF_LIKE(2, 3);
void *jinja_take(Machine *m, size_t bytes);             /* zeroed */
void jinja_release(Machine *m);
void jinja_spend(Machine *m, size_t work);              /* stops what works without end */
void jinja_enter(Machine *m);                           /* one level deeper; left by m->depth-- */

/* ---- values ---- */

/* LAZY is what jinja2 makes an iterator of: always true, without a length. */
typedef enum { UNDEFINED, NONE, BOOL, INT, FLOAT, STRING, LIST, TUPLE, LAZY, DICT, NAMESPACE, LOOP, MACRO,
               METHOD, FUNCTION } Type;
typedef struct Value Value;
typedef struct { Value *at; size_t n, capacity; } Items;        /* of a dict: key, value, key, value, ... */
struct Value {
    Type type;
    bool safe;                          /* a string behind |safe: what is added to it is escaped for HTML */
    union {
        long long i;
        double f;
        const char *s;                  /* n bytes; of UNDEFINED: its name */
        Items *items;
        const void *of;                 /* LOOP, MACRO, METHOD, FUNCTION: what it stands for */
    };
    const unsigned char *mark;          /* of a string's bytes; NULL: none is marked */
    size_t n;
};
/* Arguments of a call: the first n_place without a name; which: of the things that one function does. */
typedef struct { Value *at; const char **name; int n, n_place, which; unsigned long long used; } Arguments;
/* A filter or a method: of which types (bits), and what is called for it. */
typedef struct { const char *name; unsigned types; Value (*call)(Machine *, Value, Arguments *); int which;
} Operation;
typedef struct { Value self; const Operation *method; } Bound;

Value value_undefined(const char *name);
Value value_bool(bool b);
Value value_int(long long i);
Value value_string(const char *s);                      /* not copied */
Value value_list(Machine *m, Type type);
void list_add(Machine *m, Value list, Value v);
const Value *dict_find(Machine *m, Value dict, Value key);      /* NULL: not there */
void dict_put(Machine *m, Value dict, Value key, Value v);
/* each byte of its texts, but not of those under the key "role", has the mark */
Value value_from_json(Machine *m, const Json *j, unsigned char mark);

bool value_true(Value v);
bool value_equal(Machine *m, Value a, Value b);
int value_order(Machine *m, Value a, Value b);          /* < 0, 0, > 0; stops where Python has no order */
bool value_in(Machine *m, Value v, Value where);
const char *value_kind(Value v);                        /* for messages */
Value value_text(Machine *m, Value v);                  /* str(v) */
Value value_items(Machine *m, Value v);                 /* what a loop goes over, as a list */
Value value_item(Machine *m, Value v, Value key);       /* v[key] */
Value value_member(Machine *m, Value v, const char *name);      /* v.name */
Value value_slice(Machine *m, Value v, const Value *from, const Value *to, const Value *step);
Value value_binary(Machine *m, int op, Value a, Value b);       /* + - * / % ~, and 'f' for // */

bool value_is_number(Value v);
bool value_is_listed(Value v);
double value_double(Value v);
const char *value_name(Machine *m, Value v);            /* as text, NUL-terminated */
_Noreturn void refuse_kind(Machine *m, Value v, const char *what);
Value need_string(Machine *m, Value v);                 /* or stops, in the name of m->called */
long long need_int(Machine *m, Value v);

/* ---- strings ---- */

/* TITLE: a letter behind none is upper; TITLE_FILTER: the first of each word, parted by blanks - ( { [ < */
enum { LOWER, UPPER, CAPITALIZE, TITLE, TITLE_FILTER };
#define NOWHERE SIZE_MAX
Value string_part(Value v, size_t from, size_t to);     /* bytes */
size_t string_length(Value v);                          /* characters */
size_t string_char_end(Value v, size_t at);
uint32_t string_char(Value v, size_t at);
bool string_space(uint32_t c);                          /* what str.strip() removes */
bool string_letter(uint32_t c);
size_t string_find(Machine *m, Value v, Value what, size_t from);       /* or NOWHERE */
Value string_cased(Machine *m, Value v, int how);

/* How a value is written: as repr() writes it, or as json.dumps() does. */
typedef struct { bool json, ascii, sorted, broken; Value indent, comma, colon; } Style;
void written_as(Machine *m, Written *w, Value v, const Style *s, int level);
void written_add(Machine *m, Written *w, const char *s, const unsigned char *mark, size_t n);
void written_string(Machine *m, Written *w, Value v);
Value written_value(const Written *w);

/* ---- what templates call (jinja_filters.c) ---- */

const Operation *filter_find(const char *name);         /* NULL: not known */
const Operation *method_find(Type type, const char *name);
int test_find(const char *name);                        /* -1: not known */
Value operation_call(Machine *m, const Operation *o, Value v, Arguments *a);
bool test_call(Machine *m, int test, Value v, Arguments *a);
Value argument(Arguments *a, int place, const char *name, Value otherwise);
/* stops where an argument was not asked for */
void arguments_used(Machine *m, const char *what, const Arguments *a);
Value date_written(Machine *m, Value format);           /* strftime of the machine's date */

#endif
