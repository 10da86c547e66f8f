/* run_files.c: the folder of a run, read back. */
#include "run/run_files.h"

#include <stdlib.h>
#include <string.h>

#include "net/folder.h"
#include "lib/files.h"

static const OptionTable *table_of(const Json *config, const OptionTable *const *tables) {
    const Json *command = json_get(config, "command");
    for (; command && command->type == JSON_STRING && *tables; tables++)
        if (!strcmp((*tables)->command, command->string)) return *tables;
    return NULL;
}

/* The configuration with the options that it lacks, which came later: each with its default. */
static bool complete(Json **config, const OptionTable *const *tables, const char *path, Err *e) {
    const OptionTable *t = table_of(*config, tables);
    Setting s;
    const Json *options = json_get(*config, "options");
    if (!t || !options || options->type != JSON_OBJECT) return true;
    JsonWriter w = {0};
    json_begin(&w, '{');
    for (size_t i = 0; i < (*config)->length; i++) {
        const Json *member = &(*config)->item[i];
        json_key(&w, member->key);
        if (member != options) { json_value(&w, member); continue; }
        json_begin(&w, '{');
        for (size_t k = 0; k < options->length; k++)
            json_put_value(&w, options->item[k].key, &options->item[k]);
        for (int k = 0; option_at(&s, t, k); k++)
            if (s.kind != SET_HEADING && !json_get(options, s.name))
                json_key(&w, s.name), options_write_default(&w, &s);
        json_end(&w, '}');
    }
    json_end(&w, '}');
    json_free(*config);
    *config = json_parse(w.text, w.length, path, 1, e);
    free(w.text);
    return *config != NULL;
}

bool run_files_read(RunFiles *r, const char *dir, const OptionTable *const *tables, Err *e) {
    char path[1024];
    r->dir = dir;
    if (!path_is_folder(dir)) return fail(e, "%s: found no folder, expected the --output-dir of a run", dir);
    if (!path_join(path, sizeof path, dir, "config.json", e) || !(r->config = json_read_file(path, e)) ||
        !complete(&r->config, tables, path, e))
        return false;
    if (!path_join(path, sizeof path, dir, "log.jsonl", e) || !json_lines_read(&r->log, path, true, e))
        return false;
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
    static const char *const none[] = {"output_dir", "resume",     "json",          "slice_rows",
                                       "save_steps", "save_dtype", "logging_steps", "report_to",
                                       "log_completions", "save_total_limit", NULL};
    for (int i = 0; none[i]; i++)
        if (!strcmp(none[i], name)) return false;
    return true;
}
