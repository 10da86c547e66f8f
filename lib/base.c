/* base.c: the error line, the arena, zeroed memory, and "did you mean". */
#ifdef __linux__
#define _DEFAULT_SOURCE                 /* madvise */
#include <sys/mman.h>
#endif
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

/* One line whatever the input holds: control characters become '?', so that a hostile file can neither break
 * the line nor steer the terminal. */
static bool line_add(Err *e, size_t at, const char *format, va_list args) {
    if (vsnprintf(e->line + at, sizeof e->line - at, format, args) < 0) e->line[at] = 0;
    for (unsigned char *p = (unsigned char *)e->line; *p; p++) if (*p < 0x20 || *p == 0x7f) *p = '?';
    return false;
}

/* Fills e->line unless an earlier error stands there, and returns false. e may be NULL. */
bool fail(Err *e, const char *format, ...) {
    if (!e || e->line[0]) return false;
    va_list args;
    va_start(args, format);
    line_add(e, 0, format, args);
    va_end(args);
    if (!e->line[0]) memcpy(e->line, "error", 6);       /* an empty line would read as no error */
    return false;
}

bool fail_also(Err *e, const char *format, ...) {
    if (!e || !e->line[0]) return false;
    va_list args;
    va_start(args, format);
    line_add(e, strlen(e->line), format, args);
    va_end(args);
    return false;
}

bool fail_of_memory(const Err *e) {
    return strstr(e->line, "could not be allocated") || strstr(e->line, "no memory") ||
           strstr(e->line, "out of memory");
}

/* ---- memory ---- */

void *arena_take(Arena *a, size_t count, size_t size) {
    const size_t start = a->used, limit = SIZE_MAX / 2;         /* two of these cannot overflow */
    if (start > limit || (size && count > (limit - 63) / size)) { a->used = SIZE_MAX; return NULL; }
    a->used = start + (count * size + 63) / 64 * 64;
    return a->base ? a->base + start : NULL;
}

enum { LARGE_PAGE = 2 << 20 };

/* Caches, weights and activations are read all over, and a walk through the page table costs more than a line
 * from memory. A wish: what comes of it changes no number. */
static void ask_for_large_pages(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const size_t skip = (LARGE_PAGE - (uintptr_t)p % LARGE_PAGE) % LARGE_PAGE;
    if (bytes >= skip + LARGE_PAGE)
        (void)madvise((unsigned char *)p + skip, (bytes - skip) / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    (void)p, (void)bytes;
}

/* Written to, not only reserved: a machine without the memory says so here and not in the middle of a step.
 * By all threads, because what takes time is the kernel's handing out of pages. */
void *memory_new(size_t bytes, const char *what, Err *e) {
    void *p = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&p, 64, bytes ? bytes : 1)) {
        fail(e, "%s: %zu bytes could not be allocated", what, bytes);
        return NULL;
    }
    ask_for_large_pages(p, bytes);
    #pragma omp parallel for schedule(static) if (bytes > 4 * (size_t)LARGE_PAGE)
    for (size_t at = 0; at < bytes; at += LARGE_PAGE)
        memset((unsigned char *)p + at, 0, bytes - at < LARGE_PAGE ? bytes - at : LARGE_PAGE);
    return p;
}

void memory_free(void *p) { free(p); }
