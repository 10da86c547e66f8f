/* run/idle.h: options that were given and have no effect beside the others. */
#ifndef RUN_IDLE_H
#define RUN_IDLE_H

#include "run/options.h"

/* A line on standard error for each of them, with what it would need. */
void idle_tell(const OptionTable *table, const void *config);

#endif
