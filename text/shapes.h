/* shapes.h: what people bring in place of a data set, and the command that makes one of it. */
#ifndef TEXT_SHAPES_H
#define TEXT_SHAPES_H

#include "lib/json.h"

/* What a command reads of a row (text/data.h). */
typedef enum { NEED_PROMPT = 1, NEED_COMPLETION = 2, NEED_LABELS = 4, NEED_PAIR = 8 } Need;

/* False where path is no file but may be the name of a data set on a hub: the line has what fetches it. */
bool shapes_missing(const char *path, Err *e);
/* True where the n bytes of a file may be JSON Lines. Else, for a JSON array, a table with commas, Parquet, a
 * compressed file, UTF-16, the line says what it is and what converts it. */
bool shapes_file(const char *path, const char *text, size_t n, Err *e);
/* False, for a row that lacks what is needed: the line says what it lacks, and where its columns are known
 * under other names (Alpaca's, ShareGPT's, questions and answers) how jq writes it. */
bool shapes_row(const Json *row, int need, const char *path, int line, Err *e);

#endif
