/* files.c: whole files in, whole files out.
 *
 * In this order: reading and mapping, the atomic writer, folders and paths, a file's SHA-256. */
#define _DEFAULT_SOURCE                 /* flock */
#define _DARWIN_C_SOURCE
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20, FOLDER_DEPTH_MAX = 64 };

/* ---- reading ---- */

/* What a shell makes of <(COMMAND), and standard input: pipes that somebody writes to. */
static bool is_own_pipe(const char *path) {
    return !strncmp(path, "/dev/fd/", 8) || !strncmp(path, "/proc/self/fd/", 14) ||
           !strcmp(path, "/dev/stdin");
}

/* A file open for reading, or -1 with the line filled in. A pipe in a folder is none: nobody may ever write
 * to it; nor is a device, which may never end. */
static int open_for_reading(const char *path, struct stat *st, Err *e) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) != 0) fail(e, "%s: could not be read: %s", path, strerror(errno));
    else if (S_ISDIR(st->st_mode)) fail(e, "%s: found a folder, expected a file", path);
    else if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) && strcmp(path, "/dev/null"))
        fail(e, "%s: found a device, expected a file", path);
    else if (S_ISFIFO(st->st_mode) && !is_own_pipe(path))
        fail(e, "%s: found a named pipe, expected a file; write what comes out of it to a file first", path);
    else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
        fail(e, "%s: could not be read: %s", path, strerror(errno));
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
    size_t used = 0,
           capacity = st.st_size > 0 && (uintmax_t)st.st_size < SIZE_MAX / 2 ? (size_t)st.st_size + 2 : 4096;
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
    else if (st.st_size < 0 || (uintmax_t)st.st_size > SIZE_MAX / 2)
        ok = fail(e, "%s: too large for this machine's addresses", path);
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

/* ---- the atomic writer ---- */

void file_abandon(FileWriter *w) {
    if (w->fd < 0) return;
    close(w->fd);
    unlink(w->tmp);
    w->fd = -1;
}

void file_keep(FileWriter *w, Err *e) {
    char partial[sizeof w->path + 16];
    if (w->fd < 0) return;
    snprintf(partial, sizeof partial, "%s.partial", w->path);
    if (lseek(w->fd, 0, SEEK_CUR) <= 0 || rename(w->tmp, partial) != 0) { file_abandon(w); return; }
    close(w->fd);
    w->fd = -1;
    fail_also(e, "; what was written until then is in %s", partial);
}

/* What errno says, then the .tmp is gone. */
static bool give_up(FileWriter *w, const char *what, Err *e) {
    fail(e, "%s: %s: %s; what was there before is unchanged", w->path, what, strerror(errno));
    file_abandon(w);
    return false;
}

/* A target that exists must be a file: a device would be replaced by one. The .tmp never goes through a link.
 */
bool file_begin(FileWriter *w, const char *path, Err *e) {
    struct stat st;
    w->fd = -1, w->sum = NULL;
    const size_t n = strlen(path);
    if (n >= sizeof w->path)
        return fail(e, "%.60s...: a path of %zu bytes, expected at most %zu", path, n, sizeof w->path - 1);
    memcpy(w->path, path, n + 1);
    memcpy(w->tmp, path, n), memcpy(w->tmp + n, ".tmp", 5);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(e, "%s: found a %s, expected a file or nothing", path,
                    S_ISDIR(st.st_mode) ? "folder" : "pipe or device");
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    return w->fd >= 0 || fail(e, "%s: could not be created: %s", w->tmp, strerror(errno));
}

bool file_append(FileWriter *w, const void *bytes, size_t n, Err *e) {
    const unsigned char *p = bytes;
    if (w->fd < 0) return fail(e, "%s: is not open for writing", w->path);
    if (w->sum) sha256_add(w->sum, bytes, n);
    while (n > 0) {
        const ssize_t done = write(w->fd, p, n < 1u << 30 ? n : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = ENOSPC;
        if (done <= 0) return give_up(w, "could not be written", e);
        p += done, n -= (size_t)done;
    }
    return true;
}

bool file_or_stdout(FileWriter *w, const void *bytes, size_t n, Err *e) {
    return w ? file_append(w, bytes, n, e)
             : fwrite(bytes, 1, n, stdout) == n || fail(e, "standard output: could not be written");
}

/* The rename reaches the disk with the folder. File systems that cannot sync one say EINVAL: nothing is lost
 * by going on. */
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
        fail(e, "%s: could not be replaced: %s; what was there before is unchanged", w->path,
             strerror(errno));
        unlink(w->tmp);
        return false;
    }
    return folder_sync(w->path, e);
}

bool file_write(const char *path, const void *bytes, size_t n, Err *e) {
    FileWriter w;
    return file_begin(&w, path, e) && file_append(&w, bytes, n, e) && file_commit(&w, e);
}

bool file_replace(const char *from, const char *to, const char *before, Err *e) {
    /* a link, so that `to` is there all the time; where the file system has none it is moved */
    if (before && path_exists(to)) {
        unlink(before);
        if (link(to, before) != 0 && rename(to, before) != 0)
            return fail(e, "%s: could not be kept as %s: %s", to, before, strerror(errno));
    }
    if (rename(from, to) != 0) return fail(e, "%s: could not become %s: %s", from, to, strerror(errno));
    return folder_sync(to, e);
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

/* ---- folders and paths ---- */

bool path_exists(const char *path) { struct stat st; return stat(path, &st) == 0; }
bool path_is_folder(const char *path) { struct stat st; return stat(path, &st) == 0 && S_ISDIR(st.st_mode); }

bool path_join(char *out, size_t size, const char *dir, const char *name, Err *e) {
    const size_t n = strlen(dir);
    const int length = snprintf(out, size, "%s%s%s", dir, n && dir[n - 1] != '/' ? "/" : "", name);
    if (length >= 0 && (size_t)length < size) return true;
    return fail(e, "%.60s.../%.60s: a path of %d bytes, expected at most %zu", dir, name, length,
                size ? size - 1 : 0);
}

bool folder_make(const char *path, Err *e) {
    char part[1024];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return fail(e, "%.60s: a path of %zu bytes, expected 1 to %zu", path, n, sizeof part - 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(part, path, i), part[i] = 0;
        if (mkdir(part, 0777) == 0) continue;
        const int reason = errno;       /* EEXIST, but also EROFS and EACCES where the folder is there */
        if (path_is_folder(part)) continue;
        return fail(e, "%s: could not be made: %s", part,
                    reason == EEXIST ? "a file has that name" : strerror(reason));
    }
    return true;
}

static bool is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

bool folder_lock(int *lock, const char *path, Err *e) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    *lock = 0;
    if (fd < 0) return fail(e, "%s: could not be opened: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) { *lock = fd; return true; }
    const bool taken = errno == EWOULDBLOCK;
    close(fd);
    return !taken ||
           fail(e, "%s: another process is at work in this folder: wait for its end or stop it", path);
}

bool folder_is_empty(const char *path, const char *but) {
    DIR *d = opendir(path);
    if (!d) return errno == ENOENT;
    const struct dirent *entry;
    while ((entry = readdir(d)) && (is_dots(entry->d_name) || (but && !strcmp(entry->d_name, but)))) { }
    closedir(d);
    return !entry;
}

/* What the folder behind fd holds; closes fd. Through descriptors, so that no link put in the way leads
 * elsewhere. */
static bool empty_folder(int fd, const char *path, int depth, Err *e) {
    DIR *d = depth < FOLDER_DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!d) {
        fail(e, "%s: could not be removed: %s", path,
             depth < FOLDER_DEPTH_MAX ? strerror(errno) : "folders nested too deeply");
        close(fd);
        return false;
    }
    bool ok = true, found = true;
    /* again from the start: some systems skip entries while others are removed */
    while (ok && found) {
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

/* Nothing there: nothing to do. Refuses "/", ".", ".." however they are written, the current folder by its
 * name, and links. */
bool folder_remove(const char *path, Err *e) {
    struct stat st, root, here;
    if (lstat(path, &st) != 0)
        return errno == ENOENT || fail(e, "%s: could not be removed: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(e, "%s: found a %s, expected a folder to remove", path,
                    S_ISLNK(st.st_mode) ? "link" : "file");
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    size_t start = n;
    while (start && path[start - 1] != '/') start--;
    const bool dots = (n - start == 1 && path[start] == '.') ||
                      (n - start == 2 && path[start] == '.' && path[start + 1] == '.');
    if (n == 0 || dots || stat("/", &root) != 0 || stat(".", &here) != 0 ||
        (st.st_dev == root.st_dev && st.st_ino == root.st_ino) ||
        (st.st_dev == here.st_dev && st.st_ino == here.st_ino))
        return fail(e, "%s: is not removed: expected a folder below or beside the current one", path);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail(e, "%s: could not be removed: %s", path, strerror(errno));
    if (!empty_folder(fd, path, 0, e)) return false;
    return rmdir(path) == 0 || fail(e, "%s: could not be removed: %s", path, strerror(errno));
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

/* What a model is read from. */
static int of_a_model(const struct dirent *entry) {
    const char *const name = entry->d_name, *const end = strrchr(name, '.');
    return (end && !strcmp(end, ".safetensors")) || !strcmp(name, "config.json") ||
           !strcmp(name, "tokenizer.json");
}

bool sha256_path(const char *path, char hex[65], Err *e) {
    struct stat st;
    char file[1024], one[65];
    struct dirent **entry = NULL;
    Sha256 all;
    hex[0] = 0;
    if (stat(path, &st) != 0) return true;
    if (S_ISREG(st.st_mode)) return sha256_file(path, hex, e);
    const int n = S_ISDIR(st.st_mode) ? scandir(path, &entry, of_a_model, alphasort) : 0;
    bool ok = n >= 0 || fail(e, "%s: could not be read: %s", path, strerror(errno));
    sha256_begin(&all);
    for (int i = 0; i < n; i++) {
        ok = ok && path_join(file, sizeof file, path, entry[i]->d_name, e) && sha256_file(file, one, e);
        if (ok) sha256_add(&all, entry[i]->d_name, strlen(entry[i]->d_name) + 1), sha256_add(&all, one, 64);
        free(entry[i]);
    }
    free(entry);
    if (ok && n > 0) sha256_end(&all, hex);
    return ok;
}

/* ---- the standard streams ---- */

void standard_begin(void) {
    for (int fd = 0; fd < 3; fd++)      /* open takes the lowest number that is free */
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY);
    signal(SIGXFSZ, SIG_IGN);
}

bool standard_end(Err *e) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return fail(e, "standard output: could not be written%s%s: what it holds is not whole", errno ? ": " : "",
                errno ? strerror(errno) : "");
}
