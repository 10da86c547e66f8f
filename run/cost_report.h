/* cost_report.h: how a cost is told: as JSON, and in a few lines. */
#ifndef COST_REPORT_H
#define COST_REPORT_H

#include "run/cost.h"
#include "lib/json.h"

void cost_json(JsonWriter *w, const Cost *c);                   /* an object; keys as in docs/formats.md */
void costs_json(JsonWriter *w, const Costs *c);                 /* {"predicted": ..., "measured": ...} */
/* Predicted and counted operations and memory on stderr; in seconds, of all threads together, and bytes (NaN:
 * not known) of the process. */
void costs_say(const char *command, const Costs *c, double seconds, double cpu_seconds, double peak_bytes);
/* --cost of commands that make no run: the same JSON as the file's only line. */
bool costs_write(const char *path, const Costs *c, Err *e);

#endif
