/* overlap.h: held-out prompts that are among those of training. */
#ifndef OVERLAP_H
#define OVERLAP_H

#include "text/data.h"

/* Their number, if there are any, on stderr under the command's name. Without memory nothing is said. */
void overlap_tell(const char *command, const Dataset *train, const Dataset *held);

#endif
