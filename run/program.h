/* run/program.h: an external program that reads JSON lines and answers each with one. */
#ifndef RUN_PROGRAM_H
#define RUN_PROGRAM_H

#include <sys/types.h>

#include "lib/json.h"
#include "text/data.h"

typedef struct {
    const char *option, *command;       /* the option that named it, for messages */
    pid_t pid;
    int to, from, timeout;
    char *buffer;
    size_t n, capacity;
    long long next_id;
} Program;

/* Started by /bin/sh; given up after `timeout` seconds of silence. program_stop also after a failure later.
 */
bool program_start(Program *p, const char *option, const char *command, int timeout, Err *e);
void program_stop(Program *p);

typedef struct { const char *key, *text; } Told;
/* Asks with one line: id, the prompt of x, what is told, the other columns of x's row; and waits for its
 * answer, which has the same id and a member of that type, to be freed. One line at a time: no deadlock of
 * full pipes, and an answer's line names its question. shape: of the member, for the error's line. */
Json *program_ask(Program *p, const Example *x, const Told *told, int n_told, const char *member,
                  JsonType type, const char *shape, Err *e);

#endif
