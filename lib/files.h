/* files.h: whole files in, whole files out. A file is replaced only when its successor is complete and on
 * disk. */
#ifndef FILES_H
#define FILES_H

#include "base.h"
#include "sha256.h"

/* The file's bytes plus a NUL; the caller frees. NULL with the line filled in (missing, a directory,
 * unreadable). */
char *file_read(const char *path, size_t *n, Err *e);

/* A read-only map of a file; n == 0 gives base "" and no map. */
typedef struct { const unsigned char *base; size_t n; } FileMap;
bool file_map(FileMap *m, const char *path, Err *e);
void file_unmap(FileMap *m);

/* Atomic replacement: writes PATH.tmp, fsync, rename, fsync of the folder. On failure (disk full) the former
 * file is whole and the .tmp removed. For large content: begin, append as often as needed, commit or abandon.
 */
typedef struct {
    int fd;
    char path[1024], tmp[1040];
    Sha256 *sum;                        /* NULL, or the caller's: what is appended is added to it */
} FileWriter;
bool file_begin(FileWriter *w, const char *path, Err *e);
bool file_append(FileWriter *w, const void *bytes, size_t n, Err *e);
/* The same to stdout where w is NULL. */
bool file_or_stdout(FileWriter *w, const void *bytes, size_t n, Err *e);
bool file_commit(FileWriter *w, Err *e);
/* After an error in the midst of the work: what was appended so far becomes PATH.partial, and e's line tells
 * so; nothing is kept of nothing. */
void file_keep(FileWriter *w, Err *e);
void file_abandon(FileWriter *w);
bool file_write(const char *path, const void *bytes, size_t n, Err *e);

/* The file `from` becomes `to`; what was there stays as `before`. Afterwards both are on disk; a kill at any
 * moment leaves at least one of them whole. before NULL: what was there goes. */
bool file_replace(const char *from, const char *to, const char *before, Err *e);

bool folder_make(const char *path, Err *e);             /* with parents; fine if it is there */
/* Only one process has the folder until it closes *lock or ends, however it ends. A file system that knows
 * no locks gives none, and *lock is 0. */
bool folder_lock(int *lock, const char *path, Err *e);
/* Also when it does not exist; a file of the name `but` (NULL: none) does not count. */
bool folder_is_empty(const char *path, const char *but);
bool folder_remove(const char *path, Err *e);           /* with content; refuses "/" and "." */
bool path_exists(const char *path);
bool path_is_folder(const char *path);
/* dir + "/" + name into a static-free caller buffer; false (fail) when it does not fit */
bool path_join(char *out, size_t size, const char *dir, const char *name, Err *e);
bool file_copy(const char *from, const char *to, Err *e);       /* atomic on the target side */

/* Before anything else: where standard input, output or error is closed, no file that is opened later may
 * take its number. What is read from such an input, or written to such an output, fails. A write beyond the
 * limit on a file's size fails, too, instead of ending the program. */
void standard_begin(void);
/* Whether all that was written to stdout got there. */
bool standard_end(Err *e);

bool sha256_file(const char *path, char hex[65], Err *e);        /* hex: 65 bytes with the NUL */
/* Of a file; of a model's folder its weights, config.json and tokenizer.json, by name. What is neither file
 * nor folder, or a folder without these, gives "". */
bool sha256_path(const char *path, char hex[65], Err *e);

#endif
