/* run_files.h: a run's folder read back: its options, its log, the hash of its weights; for commands that
 * tell of finished runs. */
#ifndef RUN_FILES_H
#define RUN_FILES_H

#include "lib/json.h"
#include "run/options.h"

typedef struct {
    const char *dir;
    Json *config;
    JsonLines log;                      /* at least one line, each with a number "step" */
    char hex[65]; /* SHA-256 of the weights in final/, as `grpo info` tells it; "" without final/ or unread */
} RunFiles;
/* config.json and log.jsonl of the --output-dir of a run. An option that did not exist when the run was made
 * stands there with its default, by the table of its command (tables: NULL at the end). */
bool run_files_read(RunFiles *r, const char *dir, const OptionTable *const *tables, Err *e);
bool run_files_digest(RunFiles *r, Err *e);
void run_files_free(RunFiles *r);

/* Whether an option of a run, by its name in config.json, can change a number of it. */
bool run_option_has_effect(const char *name);

#endif
