/* run_page.h: the page that a run with held-out prompts ends with. */
#ifndef RUN_PAGE_H
#define RUN_PAGE_H

#include "run/options.h"

/* The page of `grpo report before=DIR/eval_before after=DIR/eval_after training=DIR`, written to `path`. A
 * file that is there and is no such page stays, and columns of the data that a page cannot be made of make
 * none: stderr says so, and *written is false. tables: as in report/arms.h. False: out of memory, or the file
 * could not be written. */
bool run_page(bool *written, const char *path, const char *dir, const OptionTable *const *tables, Err *e);

#endif
