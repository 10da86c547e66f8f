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

/* ---- errors -------------------------------------------------------------------------------------------------------- */

/* Fills e->line unless an earlier error stands there, and returns false. It is one line whatever the input holds:
 * control characters become '?', so that a hostile file can neither break the line nor steer the terminal. e may be NULL. */
bool fail(Err *e, const char *format, ...) {
    if (!e || e->line[0]) return false;
    va_list args;
    va_start(args, format);
    if (vsnprintf(e->line, sizeof e->line, format, args) < 0) e->line[0] = 0;
    va_end(args);
    if (!e->line[0]) memcpy(e->line, "error", 6);       /* an empty line would read as no error */
    for (unsigned char *p = (unsigned char *)e->line; *p; p++) if (*p < 0x20 || *p == 0x7f) *p = '?';
    return false;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

void *arena_take(Arena *a, size_t count, size_t size) {
    const size_t start = a->used, limit = SIZE_MAX / 2;         /* two of these cannot overflow */
    if (start > limit || (size && count > (limit - 63) / size)) { a->used = SIZE_MAX; return NULL; }
    a->used = start + (count * size + 63) / 64 * 64;
    return a->base ? a->base + start : NULL;
}

enum { LARGE_PAGE = 2 << 20 };

/* Caches, weights and activations are read all over, and a walk through the page table costs more than a line from memory. A wish: what comes of it
 * changes no number. */
static void ask_for_large_pages(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const size_t skip = (LARGE_PAGE - (uintptr_t)p % LARGE_PAGE) % LARGE_PAGE;
    if (bytes >= skip + LARGE_PAGE) (void)madvise((unsigned char *)p + skip, (bytes - skip) / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    (void)p, (void)bytes;
}

/* Written to, not only reserved: a machine without the memory says so here and not in the middle of a step. By all threads, because what takes time
 * is the kernel's handing out of pages. */
void *memory_new(size_t bytes, const char *what, Err *e) {
    void *p = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&p, 64, bytes ? bytes : 1)) {
        fail(e, "%s: %zu bytes could not be allocated", what, bytes);
        return NULL;
    }
    ask_for_large_pages(p, bytes);
    #pragma omp parallel for schedule(static) if (bytes > 4 * (size_t)LARGE_PAGE)
    for (size_t at = 0; at < bytes; at += LARGE_PAGE) memset((unsigned char *)p + at, 0, bytes - at < LARGE_PAGE ? bytes - at : LARGE_PAGE);
    return p;
}

void memory_free(void *p) { free(p); }

/* ---- did you mean -------------------------------------------------------------------------------------------------- */

enum { NAME_MAX_LENGTH = 63 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; both at most NAME_MAX_LENGTH long. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[3][NAME_MAX_LENGTH + 1];
    const size_t na = strlen(a), nb = strlen(b);
    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *before2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = least(now[j], before2[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

/* Near: at most one edit, and one more for every three letters. The first of equals wins. */
const char *nearest_name(const char *found, const char *const *names, int n) {
    const size_t length = strlen(found);
    const char *best = NULL;
    size_t best_distance = 2 + length / 3;
    if (length == 0 || length > NAME_MAX_LENGTH) return NULL;
    for (int i = 0; i < n; i++) {
        if (!names[i] || strlen(names[i]) > NAME_MAX_LENGTH) continue;
        const size_t d = edit_distance(found, names[i]);
        if (d < best_distance && d < length) best = names[i], best_distance = d;        /* d == length: nothing in common */
    }
    return best;
}
