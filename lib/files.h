/* files.h: whole files in, whole files out. A file is replaced only when its successor is complete and on disk. */
#ifndef FILES_H
#define FILES_H

#include "base.h"

/* The file's bytes plus a NUL; the caller frees. NULL with the line filled in (missing, a directory, unreadable). */
char *file_read(const char *path, size_t *n, Err *e);

/* A read-only map of a file; n == 0 gives base "" and no map. */
typedef struct { const unsigned char *base; size_t n; } FileMap;
bool file_map(FileMap *m, const char *path, Err *e);
void file_unmap(FileMap *m);

/* Atomic replacement: writes PATH.tmp, fsync, rename, fsync of the folder. On failure (disk full) the former file is whole and
 * the .tmp removed. For large content: begin, append as often as needed, commit or abandon. */
typedef struct { int fd; char path[1024], tmp[1040]; } FileWriter;
bool file_begin(FileWriter *w, const char *path, Err *e);
bool file_append(FileWriter *w, const void *bytes, size_t n, Err *e);
bool file_commit(FileWriter *w, Err *e);
void file_abandon(FileWriter *w);
bool file_write(const char *path, const void *bytes, size_t n, Err *e);

bool folder_make(const char *path, Err *e);             /* with parents; fine if it is there */
bool folder_is_empty(const char *path);                 /* true also when it does not exist */
bool folder_remove(const char *path, Err *e);           /* with content; refuses "/" and "." */
bool path_exists(const char *path);
bool path_is_folder(const char *path);
/* dir + "/" + name into a static-free caller buffer; false (fail) when it does not fit */
bool path_join(char *out, size_t size, const char *dir, const char *name, Err *e);
bool file_copy(const char *from, const char *to, Err *e);       /* atomic on the target side */

/* SHA-256 (FIPS 180-4). hex: 65 bytes with the NUL. */
typedef struct { uint32_t state[8]; uint64_t length; unsigned char block[64]; } Sha256;
void sha256_begin(Sha256 *s);
void sha256_add(Sha256 *s, const void *bytes, size_t n);
void sha256_end(Sha256 *s, char hex[65]);
bool sha256_file(const char *path, char hex[65], Err *e);

double clock_seconds(void);                             /* monotonic */

/* Progress on stderr: on a terminal one line rewritten, in a pipe a plain line at most every few seconds (and at the end):
 * "sft   1200/4500  loss 1.234  8.1 k tokens/s  1:12 left". `detail` may be NULL. After progress_begin `quiet` may be set. */
typedef struct { const char *what; double start, last; long long total; bool quiet, shown; char line[256]; } Progress;
void progress_begin(Progress *p, const char *what, long long total);
void progress_at(Progress *p, long long done, const char *detail);
void progress_end(Progress *p);

#endif
