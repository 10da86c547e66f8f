/* run/child.h: a command with pipes to it and from it, of which nothing is left in the end: neither the
 * command nor what it started, whether this process ends it, ends by an error, or is killed. */
#ifndef RUN_CHILD_H
#define RUN_CHILD_H

#include <sys/types.h>

#include "lib/base.h"

typedef struct {
    int to, from;                       /* its standard input and output; writing to it does not block */
    int life;                           /* to the guard */
    pid_t guard;                        /* 0: none was started */
} Child;

/* By /bin/sh. option: the one that named the command, for messages. */
bool child_start(Child *c, const char *command, const char *option, Err *e);
/* Its input ends; after two seconds, or at once, it is asked to go (SIGTERM), two later it is killed, with
 * all that it started. *status: as waitpid tells it. True if it went by itself. */
bool child_end(Child *c, int *status, bool at_once);

#endif
