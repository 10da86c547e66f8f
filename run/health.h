/* health.h: numbers of the log that say that a run goes wrong: each told once, with the step and the likely
 * cause. A gradient that stays exactly 0 while there is a loss, or a loss that has grown
 * beyond all measure, ends the run: going on cannot help. */
#ifndef HEALTH_H
#define HEALTH_H

#include "lib/json.h"

enum { HEALTH_RULES = 16 };
typedef struct {
    int row[HEALTH_RULES];
    bool told[HEALTH_RULES];
} Health; /* lines in a row; zero at first */

/* Looks at a line of the log, and tells on stderr under the command's name. False, with the line of the error
 * filled in, where the run cannot go on. */
bool health_look(Health *h, const char *command, const JsonWriter *line, Err *e);
/* Whether the weights are of no use as a checkpoint: one of the rules that end a run holds. */
bool health_dying(const Health *h);

#endif
