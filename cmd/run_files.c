/* run_files.c: the folder of a run, read back. */
#include "run_files.h"

#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "lib/files.h"

bool run_files_read(RunFiles *r, const char *dir, Err *e) {
    char path[1024];
    r->dir = dir;
    if (!path_is_folder(dir)) return fail(e, "%s: found no folder, expected the --output-dir of a run", dir);
    if (!path_join(path, sizeof path, dir, "config.json", e) || !(r->config = json_read_file(path, e))) return false;
    if (!path_join(path, sizeof path, dir, "log.jsonl", e) || !json_lines_read(&r->log, path, true, e)) return false;
    for (int i = 0; i < r->log.n; i++)
        if (!json_get_number(r->log.line[i], "step", NULL, path, e)) return false;
    return r->log.n > 0 || fail(e, "%s: holds no complete line", path);
}

bool run_files_digest(RunFiles *r, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, r->dir, "final", e)) return false;
    if (!path_is_folder(path)) return true;
    Model *m = folder_load(path, NULL, e);
    if (!m) return false;
    folder_digest(m, r->hex);
    model_free(m);
    return true;
}

void run_files_free(RunFiles *r) {
    json_lines_free(&r->log);
    json_free(r->config);
    r->config = NULL;
}

bool run_option_has_effect(const char *name) {
    static const char *const none[] = {"output_dir", "resume", "json", "slice_rows", "save_steps", "save_dtype", "logging_steps", NULL};
    for (int i = 0; none[i]; i++)
        if (!strcmp(none[i], name)) return false;
    return true;
}
