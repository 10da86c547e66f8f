/* data.h: a data set of prompts, completions and scores as the inputs of a dump. */
#ifndef VERIFY_DATA_H
#define VERIFY_DATA_H

#include "lib/base.h"

/* Writes the dump `path` from JSONL lines as docs/verify.md has them, those of one prompt side by side, with
 * the language of the folder `model`. settings: a JSON file with the object that the metadata's `config` will
 * be; NULL: defaults. num_generations, if not given, is how often the first prompt stands there. */
bool verify_data(const char *path, const char *dataset, const char *settings, const char *model, Err *e);

#endif
