/* run/program.h: an external program that reads JSON lines and answers each with one. */
#ifndef RUN_PROGRAM_H
#define RUN_PROGRAM_H

#include "lib/json.h"
#include "run/child.h"
#include "text/data.h"

/* It is trusted with nothing: its answers are bounded and checked, and what it does wrong is one line. */
typedef struct {
    const char *option, *command;       /* the option that named it, for messages */
    bool hangs;                         /* it did not answer: no use in waiting for its end */
    const char *trial;                  /* what the question is while it is tried out; else NULL */
    Child child;
    int timeout;
    char *buffer;
    size_t n;
    long long next_id;
} Program;

/* Started by /bin/sh; given up when an answer takes longer than `timeout` seconds. program_stop also after a
 * failure, then and later. */
bool program_start(Program *p, const char *option, const char *command, int timeout, Err *e);
void program_stop(Program *p);

typedef struct { const char *key, *text; } Told;
/* Asks with one line: id, the prompt of x, what is told, the other columns of x's row; and waits for its
 * answer, which has the same id and a member of that type, to be freed. An answer's line names its question,
 * and an error the row. shape: of the member, for the error's line. */
Json *program_ask(Program *p, const Example *x, const Told *told, int n_told, const char *member,
                  JsonType type, const char *shape, Err *e);
/* An error that one of its answers is: the line gets the question and its row. */
bool program_wrong(const Program *p, const Example *x, Err *e);

#endif
