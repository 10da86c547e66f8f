/* base.h: what every file needs: one-line errors and an arena. */
#ifndef BASE_H
#define BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#else
#define PRINTF_LIKE(f, a)
#endif

/* Library code neither prints nor exits: it fills one line (file, place, found, expected, remedy) and returns
 * false or NULL; main() prints the line and exits with 2. The first error stays: a second fail() keeps the
 * line. */
typedef struct { char line[1024]; } Err;
bool fail(Err *e, const char *format, ...) PRINTF_LIKE(2, 3);
/* More to the line of an error, which stands already; false. */
bool fail_also(Err *e, const char *format, ...) PRINTF_LIKE(2, 3);
/* Whether the line tells of memory that ran out: where another failure is a fact to be shown, this is none.
 */
bool fail_of_memory(const Err *e);

/* Memory whose layout is one function, run twice: once with base == NULL to count, once to point. */
typedef struct { unsigned char *base; size_t used; } Arena;

/* The next count elements of size bytes, aligned to 64. On overflow `used` becomes SIZE_MAX: the plan is
 * refused. */
void *arena_take(Arena *a, size_t count, size_t size);

/* Zeroed memory aligned to 64, or NULL with the line filled in: "WHAT: N bytes could not be allocated". */
void *memory_new(size_t bytes, const char *what, Err *e);
void memory_free(void *p);

#endif
