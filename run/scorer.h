/* scorer.h: where scores come from: reward folders, an external program, or both side by side. */
#ifndef SCORER_H
#define SCORER_H

#include "text/data.h"
#include "run/cost.h"
#include "run/learner.h"
#include "net/folder.h"
#include "lib/real.h"
#include "lib/settings.h"

typedef struct { const Example *prompt; const char *completion; bool ended; } Completion;

/* Comma-separated reward folders (NULL: none); a command line for /bin/sh (NULL: none), given up after
 * `timeout` seconds of silence; a template for folders whose own is unknown; the weights of E60 as text. */
typedef struct { const char *folders, *program, *weights; ChatChoice chat; int timeout; } ScorerOptions;
extern const Setting scorer_settings[];

typedef struct Scorer Scorer;
/* The program is asked for its labels by two trial lines, about rows of data, before anything heavy is
 * loaded. */
Scorer *scorer_open(const ScorerOptions *o, int slice_rows, const Dataset *data, Err *e);
/* A reward model of one label that a run trains, as it is when it is asked (AIHF); it stays the caller's. */
Scorer *scorer_open_learner(const Learner *l, int slice_rows, Err *e);
/* Rows that a folder cannot read, the prompt or with `replies` also the row's own reply, are refused, or left
 * out of d (NULL: refused), before anything is scored. */
bool scorer_check(const Scorer *s, Dataset *d, bool replies, LeftOut *out, Err *e);
double scorer_learner_bytes(const Learner *l, int slice_rows);  /* with its trainer */
/* The next of comma-separated folders: true, and *at behind it, until none is left. */
bool next_folder(char dir[1024], const char **at);
/* What the folders will take, from their config.json alone, for slices of slice_rows rows. */
bool scorer_bytes(double *bytes, const char *folders, int slice_rows, Err *e);
/* What the folders of an open one take while they are asked about n replies. */
double scorer_asked_bytes(const Scorer *s, int n);
void scorer_close(Scorer *s);
int scorer_n_label(const Scorer *s);
const char (*scorer_labels(const Scorer *s))[64];
/* A member of w: {label: number}, null for NaN; x [n_label]. */
void scores_put(JsonWriter *w, const char *key, const char (*label)[64], const real *x, int n_label);
/* From here on, what the folders read and hold is added to c, their passes as predicted (E194) and as
 * counted. */
void scorer_count(Scorer *s, Costs *c);
/* score [n, n_label], in the labels' units, NaN where unscored. Replies to the same prompt side by side share
 * its computation (E31). */
bool scorer_score(Scorer *s, real *score, const Completion *reply, int n, Err *e);

#endif
