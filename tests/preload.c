/* preload.c: a library for LD_PRELOAD (glibc) that makes one allocation or one call about files go wrong.
 *
 *   FAULT_MALLOC=N   the N-th allocation gives NULL
 *   FAULT_FROM=N     that one and all later ones
 *   FAULT_KILL=N     SIGKILL before the N-th call about files that are written
 *   FAULT_CALL=N     that call fails with ENOSPC
 *   FAULT_COUNT=FILE "ALLOCATIONS CALLS" of a run that ended by itself
 *
 * Calls: write, fsync, rename, link, unlink, ftruncate, mkdir, an open that creates, and fflush and fclose of
 * a file, which is when stdio writes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static atomic_long n_allocation, n_call;
static long fail_at = -1, fail_from = -1, kill_at = -1, call_at = -1;
static atomic_int ready, ended;

static long number_of(const char *name) { return getenv(name) ? atol(getenv(name)) : -1; }

static void begin(void) {
    if (ready) return;
    ready = 1;
    fail_at = number_of("FAULT_MALLOC"), fail_from = number_of("FAULT_FROM");
    kill_at = number_of("FAULT_KILL"), call_at = number_of("FAULT_CALL");
}

static int no_memory(void) {
    begin();
    const long n = ++n_allocation;
    if (ended || !(n == fail_at || (fail_from > 0 && n >= fail_from))) return 0;
    errno = ENOMEM;
    return 1;
}

static int call_fails(void) {
    begin();
    const long n = ++n_call;
    if (ended) return 0;
    if (n == kill_at) raise(SIGKILL);
    if (n != call_at) return 0;
    errno = ENOSPC;
    return 1;
}

__attribute__((destructor)) static void end(void) {
    const char *to = getenv("FAULT_COUNT");
    char line[64];
    ended = 1;
    if (!to) return;
    const int n = snprintf(line, sizeof line, "%ld %ld\n", (long)n_allocation, (long)n_call),
              fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0) {
        if (write(fd, line, (size_t)n) != n) _exit(3);
        close(fd);
    }
}

void *malloc(size_t n) { return no_memory() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return no_memory() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return no_memory() ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t to, size_t n) { return no_memory() ? NULL : __libc_memalign(to, n); }
int posix_memalign(void **p, size_t to, size_t n) {
    void *const q = no_memory() ? NULL : __libc_memalign(to, n);
    if (!q) return ENOMEM;
    *p = q;
    return 0;
}

/* POSIX lets dlsym's pointer become a function, which ISO C does not: hence __extension__. */
#define REAL(type, name, ...) (__extension__ (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))
ssize_t write(int fd, const void *p, size_t n) {
    return fd > 2 && call_fails() ? -1 : REAL(ssize_t, "write", int, const void *, size_t)(fd, p, n);
}
int fsync(int fd) { return call_fails() ? -1 : REAL(int, "fsync", int)(fd); }
int rename(const char *a, const char *b) {
    return call_fails() ? -1 : REAL(int, "rename", const char *, const char *)(a, b);
}
int link(const char *a, const char *b) {
    return call_fails() ? -1 : REAL(int, "link", const char *, const char *)(a, b);
}
int unlink(const char *a) { return call_fails() ? -1 : REAL(int, "unlink", const char *)(a); }
int ftruncate(int fd, off_t n) { return call_fails() ? -1 : REAL(int, "ftruncate", int, off_t)(fd, n); }
int mkdir(const char *a, mode_t mode) {
    return call_fails() ? -1 : REAL(int, "mkdir", const char *, mode_t)(a, mode);
}
int open(const char *a, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = flags & O_CREAT ? (mode_t)va_arg(rest, int) : 0;
    va_end(rest);
    if (flags & O_CREAT && call_fails()) return -1;
    return REAL(int, "open", const char *, int, ...)(a, flags, mode);
}
int fflush(FILE *f) {
    return f && fileno(f) > 2 && call_fails() ? EOF : REAL(int, "fflush", FILE *)(f);
}
int fclose(FILE *f) {
    if (fileno(f) > 2 && call_fails()) {
        REAL(int, "fclose", FILE *)(f);
        return EOF;
    }
    return REAL(int, "fclose", FILE *)(f);
}
