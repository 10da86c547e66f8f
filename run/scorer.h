/* scorer.h: where scores come from: reward folders, an external program, or both side by side. */
#ifndef SCORER_H
#define SCORER_H

#include "text/data.h"
#include "run/cost.h"
#include "net/folder.h"
#include "lib/real.h"

typedef struct { const Example *prompt; const char *completion; bool ended; } Reply;

/* Rows of an option table (cmd/options.h) for a struct with these members. */
#define SCORER_OPTIONS(Struct) \
    {"reward_model", OPT_STRING, offsetof(Struct, reward_model), NULL, "reward folders, with commas", NULL}, \
        {"reward_cmd", OPT_STRING, offsetof(Struct, reward_cmd), NULL, "program that scores JSON lines", \
         NULL}, \
        {"reward_timeout", \
         OPT_INT, \
         offsetof(Struct, reward_timeout), \
         "120", \
         "seconds that the program may be silent", \
         NULL}, \
        {"reward_chat_template", \
         OPT_STRING, \
         offsetof(Struct, reward_template), \
         NULL, \
         "template of the reward models, if theirs is unknown", \
         NULL}, \
    { \
        "reward_weights", OPT_STRING, offsetof(Struct, reward_weights), NULL, \
            "e.g. politeness=0.4,safety=0.6, or in the labels' order; none: 1 each", NULL \
    }

typedef struct Scorer Scorer;
/* folders: comma-separated reward folders (NULL: none); program: a command line for /bin/sh (NULL: none),
 * asked for its labels by two trial lines before anything heavy is loaded; silent for more than `timeout`
 * seconds it is given up. template: for folders whose own is unknown. */
Scorer *scorer_open(const char *folders, const char *program, const char *chat_template, int slice_rows,
                    int timeout, Err *e);
/* The next of comma-separated folders: true, and *at behind it, until none is left. */
bool next_folder(char dir[1024], const char **at);
/* What the folders will take, from their config.json alone, for slices of slice_rows rows. */
bool scorer_bytes(double *bytes, const char *folders, int slice_rows, Err *e);
void scorer_close(Scorer *s);
int scorer_n_label(const Scorer *s);
const char (*scorer_labels(const Scorer *s))[64];
/* From here on, what the folders read and hold is added to c, their passes as predicted (E194) and as
 * counted. */
void scorer_count(Scorer *s, Costs *c);
/* score [n, n_label], in the labels' units, NaN where unscored. Replies to the same prompt side by side share
 * its computation (E31). */
bool scorer_score(Scorer *s, real *score, const Reply *reply, int n, Err *e);

#endif
