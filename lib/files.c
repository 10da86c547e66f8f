/* files.c: whole files in, whole files out.
 *
 * In this order: reading and mapping, the atomic writer, folders and paths, SHA-256, the clock and the progress line.
 * Only the progress line prints, on stderr. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20, FOLDER_DEPTH_MAX = 64 };

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* A file open for reading, or -1 with the line filled in. */
static int open_for_reading(const char *path, struct stat *st, Err *e) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st) != 0) fail(e, "%s: could not be read: %s", path, strerror(errno));
    else if (S_ISDIR(st->st_mode)) fail(e, "%s: found a folder, expected a file", path);
    else return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* At most n bytes; -1 after an error. A signal in between is none. */
static ssize_t read_some(int fd, void *to, size_t n) {
    ssize_t got;
    do got = read(fd, to, n < SSIZE_MAX / 2 ? n : SSIZE_MAX / 2); while (got < 0 && errno == EINTR);
    return got;
}

/* Also pipes and files that grow meanwhile: the size of the folder entry is a first guess only. */
char *file_read(const char *path, size_t *n, Err *e) {
    struct stat st;
    const int fd = open_for_reading(path, &st, e);
    if (fd < 0) return NULL;
    size_t used = 0, capacity = st.st_size > 0 && (uintmax_t)st.st_size < SIZE_MAX / 2 ? (size_t)st.st_size + 2 : 4096;
    char *text = malloc(capacity);
    ssize_t got = 1;
    while (text && got > 0) {
        if (used + 1 == capacity) {
            char *more = capacity > SIZE_MAX / 2 ? NULL : realloc(text, 2 * capacity);
            if (!more) { free(text), text = NULL; break; }
            text = more, capacity *= 2;
        }
        got = read_some(fd, text + used, capacity - used - 1);
        if (got > 0) used += (size_t)got;
    }
    if (!text) fail(e, "%s: %zu bytes could not be allocated", path, capacity);
    else if (got < 0) fail(e, "%s: could not be read: %s", path, strerror(errno)), free(text), text = NULL;
    close(fd);
    if (!text) return NULL;
    text[used] = 0;
    *n = used;
    return text;
}

/* Whoever shortens a mapped file takes its pages away: we replace files, we never shorten them. */
bool file_map(FileMap *m, const char *path, Err *e) {
    struct stat st;
    *m = (FileMap){.base = (const unsigned char *)""};
    const int fd = open_for_reading(path, &st, e);
    if (fd < 0) return false;
    bool ok = true;
    if (!S_ISREG(st.st_mode)) ok = fail(e, "%s: found a pipe or device, expected a file", path);
    else if (st.st_size < 0 || (uintmax_t)st.st_size > SIZE_MAX / 2) ok = fail(e, "%s: too large for this machine's addresses", path);
    else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) ok = fail(e, "%s: could not be mapped: %s", path, strerror(errno));
        else m->base = p, m->n = (size_t)st.st_size;
    }
    close(fd);
    return ok;
}

void file_unmap(FileMap *m) {
    if (m->n) munmap((void *)(uintptr_t)m->base, m->n);
    *m = (FileMap){.base = (const unsigned char *)""};
}

/* ---- the atomic writer --------------------------------------------------------------------------------------------- */

void file_abandon(FileWriter *w) {
    if (w->fd < 0) return;
    close(w->fd);
    unlink(w->tmp);
    w->fd = -1;
}

/* What errno says, then the .tmp is gone. */
static bool give_up(FileWriter *w, const char *what, Err *e) {
    fail(e, "%s: %s: %s; what was there before is unchanged", w->path, what, strerror(errno));
    file_abandon(w);
    return false;
}

/* A target that exists must be a file: a device would be replaced by one. The .tmp never goes through a link. */
bool file_begin(FileWriter *w, const char *path, Err *e) {
    struct stat st;
    w->fd = -1;
    const size_t n = strlen(path);
    if (n >= sizeof w->path) return fail(e, "%.60s...: a path of %zu bytes, expected at most %zu", path, n, sizeof w->path - 1);
    memcpy(w->path, path, n + 1);
    memcpy(w->tmp, path, n), memcpy(w->tmp + n, ".tmp", 5);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(e, "%s: found a %s, expected a file or nothing", path, S_ISDIR(st.st_mode) ? "folder" : "pipe or device");
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    return w->fd >= 0 || fail(e, "%s: could not be created: %s", w->tmp, strerror(errno));
}

bool file_append(FileWriter *w, const void *bytes, size_t n, Err *e) {
    const unsigned char *p = bytes;
    if (w->fd < 0) return fail(e, "%s: is not open for writing", w->path);
    while (n > 0) {
        const ssize_t done = write(w->fd, p, n < 1u << 30 ? n : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = ENOSPC;
        if (done <= 0) return give_up(w, "could not be written", e);
        p += done, n -= (size_t)done;
    }
    return true;
}

/* The rename reaches the disk with the folder. File systems that cannot sync one say EINVAL: nothing is lost by going on. */
static bool folder_sync(const char *file, Err *e) {
    char dir[1024];
    const char *slash = strrchr(file, '/');
    const size_t n = slash ? (slash == file ? 1 : (size_t)(slash - file)) : 1;
    memcpy(dir, slash ? file : ".", n), dir[n] = 0;
    const int fd = open(dir, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return true;            /* a folder may be written but not read */
    const bool ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EBADF || errno == EROFS;
    if (!ok) fail(e, "%s: was replaced, but its folder could not be synced: %s", file, strerror(errno));
    close(fd);
    return ok;
}

bool file_commit(FileWriter *w, Err *e) {
    if (w->fd < 0) return fail(e, "%s: is not open for writing", w->path);
    if (fsync(w->fd) != 0 && errno != EINVAL) return give_up(w, "could not be synced", e);
    const int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0 || rename(w->tmp, w->path) != 0) {
        fail(e, "%s: could not be replaced: %s; what was there before is unchanged", w->path, strerror(errno));
        unlink(w->tmp);
        return false;
    }
    return folder_sync(w->path, e);
}

bool file_write(const char *path, const void *bytes, size_t n, Err *e) {
    FileWriter w;
    return file_begin(&w, path, e) && file_append(&w, bytes, n, e) && file_commit(&w, e);
}

bool file_copy(const char *from, const char *to, Err *e) {
    struct stat st;
    FileWriter w;
    const int fd = open_for_reading(from, &st, e);
    if (fd < 0) return false;
    unsigned char *piece = malloc(PIECE);
    bool ok = piece ? file_begin(&w, to, e) : fail(e, "%s: %d bytes could not be allocated", from, PIECE);
    for (ssize_t got = 1; ok && got > 0; ) {
        got = read_some(fd, piece, PIECE);
        if (got < 0) {
            ok = fail(e, "%s: could not be read: %s", from, strerror(errno));
            file_abandon(&w);
        } else ok = file_append(&w, piece, (size_t)got, e);
    }
    ok = ok && file_commit(&w, e);
    free(piece);
    close(fd);
    return ok;
}

/* ---- folders and paths --------------------------------------------------------------------------------------------- */

bool path_exists(const char *path) { struct stat st; return stat(path, &st) == 0; }
bool path_is_folder(const char *path) { struct stat st; return stat(path, &st) == 0 && S_ISDIR(st.st_mode); }

bool path_join(char *out, size_t size, const char *dir, const char *name, Err *e) {
    const size_t n = strlen(dir);
    const int length = snprintf(out, size, "%s%s%s", dir, n && dir[n - 1] != '/' ? "/" : "", name);
    if (length >= 0 && (size_t)length < size) return true;
    return fail(e, "%.60s.../%.60s: a path of %d bytes, expected at most %zu", dir, name, length, size ? size - 1 : 0);
}

bool folder_make(const char *path, Err *e) {
    char part[1024];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return fail(e, "%.60s: a path of %zu bytes, expected 1 to %zu", path, n, sizeof part - 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(part, path, i), part[i] = 0;
        if (mkdir(part, 0777) == 0) continue;
        const int reason = errno;       /* EEXIST, but also EROFS and EACCES where the folder is there */
        if (path_is_folder(part)) continue;
        return fail(e, "%s: could not be made: %s", part, reason == EEXIST ? "a file has that name" : strerror(reason));
    }
    return true;
}

static bool is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

bool folder_is_empty(const char *path) {
    DIR *d = opendir(path);
    if (!d) return errno == ENOENT;
    const struct dirent *entry;
    while ((entry = readdir(d)) && is_dots(entry->d_name)) { }
    closedir(d);
    return !entry;
}

/* What the folder behind fd holds; closes fd. Through descriptors, so that no link put in the way leads elsewhere. */
static bool empty_folder(int fd, const char *path, int depth, Err *e) {
    DIR *d = depth < FOLDER_DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!d) {
        fail(e, "%s: could not be removed: %s", path, depth < FOLDER_DEPTH_MAX ? strerror(errno) : "folders nested too deeply");
        close(fd);
        return false;
    }
    bool ok = true, found = true;
    while (ok && found) {               /* again from the start: some systems skip entries while others are removed */
        const struct dirent *entry;
        found = false;
        rewinddir(d);
        while (ok && (entry = readdir(d))) {
            struct stat st;
            const char *name = entry->d_name;
            if (is_dots(name)) continue;
            found = true;
            ok = fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
            if (ok && S_ISDIR(st.st_mode)) {
                const int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                ok = inner >= 0;
                if (ok && !empty_folder(inner, path, depth + 1, e)) { closedir(d); return false; }
                ok = ok && unlinkat(fd, name, AT_REMOVEDIR) == 0;
            } else ok = ok && unlinkat(fd, name, 0) == 0;
            if (!ok) fail(e, "%s: %s in it could not be removed: %s", path, name, strerror(errno));
        }
    }
    closedir(d);
    return ok;
}

/* Nothing there: nothing to do. Refuses "/", ".", ".." however they are written, the current folder by its name, and links. */
bool folder_remove(const char *path, Err *e) {
    struct stat st, root, here;
    if (lstat(path, &st) != 0) return errno == ENOENT || fail(e, "%s: could not be removed: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return fail(e, "%s: found a %s, expected a folder to remove", path, S_ISLNK(st.st_mode) ? "link" : "file");
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    size_t start = n;
    while (start && path[start - 1] != '/') start--;
    const bool dots = (n - start == 1 && path[start] == '.') || (n - start == 2 && path[start] == '.' && path[start + 1] == '.');
    if (n == 0 || dots || stat("/", &root) != 0 || stat(".", &here) != 0 || (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
        || (st.st_dev == here.st_dev && st.st_ino == here.st_ino))
        return fail(e, "%s: is not removed: expected a folder below or beside the current one", path);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail(e, "%s: could not be removed: %s", path, strerror(errno));
    if (!empty_folder(fd, path, 0, e)) return false;
    return rmdir(path) == 0 || fail(e, "%s: could not be removed: %s", path, strerror(errno));
}

/* ---- SHA-256 (FIPS 180-4) ------------------------------------------------------------------------------------------ */

static const uint32_t sha_k[64] = {     /* section 4.2.2: fractional parts of the cube roots of the first 64 primes */
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* Section 6.2.2, one block; letters as there. */
static void sha_block(uint32_t h[8], const unsigned char *p) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++, p += 4) w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (int t = 16; t < 64; t++) {
        const uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        const uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    uint32_t v[8];
    memcpy(v, h, sizeof v);
    for (int t = 0; t < 64; t++) {
        const uint32_t a = v[0], e = v[4];
        const uint32_t t1 = v[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + sha_k[t] + w[t];
        const uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        for (int i = 7; i > 0; i--) v[i] = v[i - 1];
        v[4] += t1, v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

void sha256_begin(Sha256 *s) {
    static const uint32_t first[8] = {  /* section 5.3.3: square roots of the first eight primes */
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->state, first, sizeof first);
    s->length = 0;
}

void sha256_add(Sha256 *s, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    size_t used = s->length % 64;
    s->length += n;
    while (n > 0) {
        if (used == 0 && n >= 64) { sha_block(s->state, p); p += 64, n -= 64; continue; }
        const size_t take = n < 64 - used ? n : 64 - used;
        memcpy(s->block + used, p, take);
        p += take, n -= take, used += take;
        if (used == 64) { sha_block(s->state, s->block); used = 0; }
    }
}

void sha256_end(Sha256 *s, char hex[65]) {
    static const unsigned char pad[64] = {0x80};
    const uint64_t bits = s->length * 8;
    unsigned char last[8];
    for (int i = 0; i < 8; i++) last[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(s, pad, 1 + (119 - s->length % 64) % 64);        /* up to 8 bytes before the end of a block */
    sha256_add(s, last, 8);
    for (int i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = 0;
}

bool sha256_file(const char *path, char hex[65], Err *e) {
    struct stat st;
    const int fd = open_for_reading(path, &st, e);
    if (fd < 0) return false;
    unsigned char *piece = malloc(PIECE);
    ssize_t got = 0;
    Sha256 s;
    sha256_begin(&s);
    if (piece) while ((got = read_some(fd, piece, PIECE)) > 0) sha256_add(&s, piece, (size_t)got);
    const bool ok = !piece ? fail(e, "%s: %d bytes could not be allocated", path, PIECE)
                  : got < 0 ? fail(e, "%s: could not be read: %s", path, strerror(errno)) : true;
    if (ok) sha256_end(&s, hex);
    free(piece);
    close(fd);
    return ok;
}

/* ---- clock and progress -------------------------------------------------------------------------------------------- */

double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void show(Progress *p, double now) {
    const bool terminal = isatty(STDERR_FILENO);
    if (terminal) fprintf(stderr, "\r%s\033[K", p->line);
    else fprintf(stderr, "%s\n", p->line);
    fflush(stderr);
    p->last = now;
    p->shown = true;
}

/* quiet is false afterwards; set it to print nothing. total <= 0: not known. */
void progress_begin(Progress *p, const char *what, long long total) {
    *p = (Progress){.what = what, .total = total, .start = clock_seconds(), .shown = true};
    p->last = p->start - 3600;
}

/* "1:12" or "2:03:04". */
static void put_time(char *out, size_t size, double seconds) {
    const long long s = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (s < 3600) snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
    else snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

/* On a terminal the detail is cut so that the line fits into 80 columns: a wrapped line could not be rewritten. */
void progress_at(Progress *p, long long done, const char *detail) {
    const bool finished = p->total > 0 && done >= p->total, terminal = isatty(STDERR_FILENO);
    const double now = clock_seconds(), spent = now - p->start;
    char count[48], time[24], rest[40] = "";
    if (p->quiet) return;
    if (p->total > 0) snprintf(count, sizeof count, "%6lld/%lld", done, p->total);
    else snprintf(count, sizeof count, "%6lld", done);
    if (finished || p->total <= 0) {
        put_time(time, sizeof time, spent);
        snprintf(rest, sizeof rest, "  %s", time);
    } else if (done > 0) {
        put_time(time, sizeof time, spent / (double)done * (double)(p->total - done));
        snprintf(rest, sizeof rest, "  %s left", time);
    }
    const size_t fixed = strlen(p->what) + 1 + strlen(count) + 2 + strlen(rest);
    const size_t room = terminal ? (fixed < 79 ? 79 - fixed : 0) : sizeof p->line;
    size_t n = detail ? strlen(detail) : 0;
    if (n > room) for (n = room; n && ((unsigned char)detail[n] & 0xc0) == 0x80; n--) { }       /* no half character */
    snprintf(p->line, sizeof p->line, "%s %s%s%.*s%s", p->what, count, n ? "  " : "", (int)n, n ? detail : "", rest);
    p->shown = false;
    if (finished || now - p->last >= (terminal ? 0.1 : 5)) show(p, now);
}

/* What was held back is shown now. */
void progress_end(Progress *p) {
    if (p->quiet) return;
    if (!p->shown) show(p, clock_seconds());
    if (p->line[0] && isatty(STDERR_FILENO)) fputc('\n', stderr);
    p->line[0] = 0;
}
