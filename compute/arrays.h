/* arrays.h: what every kind of `grpo compute` does: read its inputs into flat arrays, write its outputs.
 *
 * A Call remembers the first error and owns what kind_take gave; after an error every reader returns
 * something harmless (NULL, 0, an empty list), so a kind reads all its inputs and looks at c->ok once:
 *
 *     KIND_START;  ... inputs, memory ...  KIND_OPEN;  ... json_put(out, "name", value) ...  KIND_FINISH;
 *
 * In lists null is a missing number (NaN), elsewhere "not given". */
#ifndef ARRAYS_H
#define ARRAYS_H

#include "lib/base.h"
#include "lib/json.h"
#include "lib/real.h"

enum { MAX_OWNED = 32 };
typedef struct { const Json *in; Err *e; void *owned[MAX_OWNED]; int n_owned; bool ok; } Call;

/* Rows of numbers, one after the other; row i is x[offset[i]] .. x[offset[i+1]-1]. A plain list has rows of
 * one. */
/* width: of every row, 0 if they differ */
typedef struct { size_t n_row, n, width; real *x; size_t *offset; } Rows;
/* the same of whole numbers */
typedef struct { size_t n_row, n; int *x; size_t *offset; } IntRows;

/* the error line; c->ok = false */
void kind_wrong(Call *c, const char *key, const Json *at, const char *expected);
void kind_refuse(Call *c, bool wrong, const char *key, const char *expected);  /* the same if wrong */
void *kind_take(Call *c, size_t n, size_t size);        /* zeroed; freed by kind_finish */
real *kind_reals(Call *c, size_t n);
bool kind_finish(Call *c);                              /* returns c->ok */
const Json *kind_given(const Call *c, const char *key); /* NULL: absent or null */

Rows kind_rows(Call *c, const char *key,
               bool optional); /* a list of numbers or of lists of numbers; absent: x NULL */
Rows kind_matrix(Call *c, const char *key); /* [n_row][width], every row alike, at least one */
Rows kind_same_shape(Call *c, const char *key, const Rows *like, bool optional);
IntRows kind_int_rows(Call *c, const char *key); /* a list of lists, or one list as the only row */
/* A nested list of n_dim levels, flat; shape[k] 0: filled in, else demanded. NULL on error. */
real *kind_tensor(Call *c, const char *key, size_t *shape, int n_dim);
double *kind_doubles(Call *c, const char *key, size_t n, bool optional);
double *kind_weights(Call *c, const char *key, size_t n);       /* given, or all 1 */
double kind_number(Call *c, const char *key);
double kind_number_or(Call *c, const char *key, double otherwise);
size_t kind_whole(Call *c, const char *key, size_t least);
const char *kind_word(Call *c, const char *key);
int kind_choice(Call *c, const char *key, const char *const *names);   /* place in names */
size_t kind_group_size(Call *c, size_t n);                      /* num_generations, a divisor of n */

void kind_put_list(JsonWriter *w, const char *key, const real *x, size_t n);
void kind_put_rows(JsonWriter *w, const char *key, const real *x, const size_t *offset, size_t n_row);
void kind_put_tensor(JsonWriter *w, const char *key, const real *x, const size_t *shape, int n_dim);

#define KIND_START Call call = { inputs, e, { NULL }, 0, true }, *const c = &call
#define KIND_OPEN do { if (!c->ok) return kind_finish(c); json_begin(out, '{'); } while (0)
#define KIND_FINISH do { if (c->ok) json_end(out, '}'); return kind_finish(c); } while (0)

#endif
