/* json.h: a strict JSON reader (RFC 8259) and a writer.
 *
 * Reader: one tree a text, owned by the root, freed by json_free. Strict: no comments, no trailing commas, no
 * NaN or Infinity, no duplicate keys (an error, for they mean two things at once), valid UTF-8 only, depth at
 * most 64. Errors say file:line:column, found, expected. Numbers are doubles that keep their text;
 * json_get_int checks that one is whole and in range. */
#ifndef JSON_H
#define JSON_H

#include "base.h"

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

typedef struct Json {
    JsonType type;
    int line, column;           /* where the value begins, from 1 */
    const char *key;            /* its name when it is a member of an object, else NULL */
    const char *string;         /* JSON_STRING: UTF-8, NUL-terminated; may hold NULs: length counts.
                                 * JSON_NUMBER: as it was written; NULL: as json_number writes it */
    size_t length;              /* bytes of string; items of an array or object */
    double number;              /* JSON_NUMBER; JSON_BOOL: 0 or 1 */
    const struct Json *item;    /* length items, in the text's order */
} Json;

/* file and first_line are for messages only (a line of a JSONL file passes its own number). NULL on error,
 * also where text is NULL, that of a writer out of memory. */
Json *json_parse(const char *text, size_t n, const char *file, int first_line, Err *e);
Json *json_read_file(const char *path, Err *e);
void json_free(Json *root);

const Json *json_get(const Json *object, const char *key);      /* NULL if absent or not an object */
const char *json_type_name(JsonType t);

/* Typed access to a member, with the error line made here: "file:line:col: key: found X, expected Y". A NULL
 * out skips. Return false and fill e when the key is absent or of another type. */
bool json_get_string(const Json *o, const char *key, const char **out, const char *file, Err *e);
bool json_get_number(const Json *o, const char *key, double *out, const char *file, Err *e);
bool json_get_int(const Json *o, const char *key, int *out, const char *file, Err *e);
bool json_get_bool(const Json *o, const char *key, bool *out, const char *file, Err *e);

/* Writer: appends to a growing text; the caller calls free(w.text). `indent` > 0: pretty; 0: one line.
 * Doubles are written with the fewest digits that read back the same (15, 16 or 17); NaN and infinities as
 * null. */
typedef struct {
    char *text;
    size_t length, capacity;
    int depth, indent;
    bool comma;
    char after_key;
} JsonWriter;
void json_begin(JsonWriter *w, char open);                      /* '{' or '[' */
void json_end(JsonWriter *w, char close);                       /* '}' or ']' */
void json_key(JsonWriter *w, const char *key);
void json_string(JsonWriter *w, const char *s);                 /* NULL: null */
void json_string_n(JsonWriter *w, const char *s, size_t n);     /* invalid UTF-8 is written as U+FFFD */
void json_number(JsonWriter *w, double x);
void json_int(JsonWriter *w, long long x);
void json_bool(JsonWriter *w, bool x);
void json_null(JsonWriter *w);
void json_value(JsonWriter *w, const Json *v);  /* a whole tree, numbers as they were written; NULL: null */
/* already JSON, or "\n" between JSONL lines; NULL, the text of a writer out of memory, makes w one */
void json_raw(JsonWriter *w, const char *text);

/* Every output of a text looks here: false with the line filled in where memory ran out; text is then NULL.
 */
bool json_ok(const JsonWriter *w, Err *e);
bool json_print(const JsonWriter *w, const char *behind, Err *e);       /* on stdout */
bool json_save(const char *path, const JsonWriter *w, Err *e);          /* as a file, atomically */

/* A member of an object: its key, then its value; json_open begins one that is an object or a list itself. */
void json_put(JsonWriter *w, const char *key, double x);
void json_put_int(JsonWriter *w, const char *key, long long x);
void json_put_numbers(JsonWriter *w, const char *key, const double *x, size_t n);
void json_put_string(JsonWriter *w, const char *key, const char *s);
void json_put_string_n(JsonWriter *w, const char *key, const char *s, size_t n);
void json_put_bool(JsonWriter *w, const char *key, bool x);
void json_put_null(JsonWriter *w, const char *key);
void json_put_value(JsonWriter *w, const char *key, const Json *v);
void json_put_raw(JsonWriter *w, const char *key, const char *text);
void json_open(JsonWriter *w, const char *key, char open);

/* Every line of a JSONL file, parsed; empty lines are passed over. */
/* torn: the last line had no end and is left out */
typedef struct { Json **line; int n; bool torn; } JsonLines;
/* False with "file:line:column: ..." where a line is no JSON. A last line without its newline is parsed too,
 * but where `growing` (a log that a run may be writing) it is left out. The lines' texts live until
 * json_lines_free. */
bool json_lines_read(JsonLines *l, const char *path, bool growing, Err *e);
void json_lines_free(JsonLines *l);

/* Two values of JSON are the same: numbers bit for bit, however they are written, members in the same order;
 * absent (NULL) is only itself. */
bool json_same(const Json *a, const Json *b);
char *json_text(const Json *v);         /* on one line, "absent" for NULL; to be freed */

bool utf8_valid(const char *s, size_t n, size_t *bad);          /* *bad: offset of the first bad byte */

#endif
