/* mistakes.h: the catalogue: what other programs do instead, one row each, and how to do it on purpose. */
#ifndef VERIFY_MISTAKES_H
#define VERIFY_MISTAKES_H

#include "verify/stages.h"

/* Changes the case so that stage s comes out as with the mistake; false and no error line: it has no meaning
 * for these settings. */
typedef bool MistakeApply(Case *c, Stage s, Pool *p, Err *e, double value);
typedef struct {
    const char *name;
    unsigned stages;                    /* bit s: stage s is computed otherwise */
    const char *equation, *line;        /* line: what is done instead */
    const char *hidden;                 /* why a dump may not show it */
    MistakeApply *apply;
    double value;                       /* what apply makes of it */
    bool by_size;                       /* cannot be reproduced bit by bit; known by the size of its errors */
} Mistake;
#define RECOMPUTED_OLD "D17-recomputed-old"             /* which diagnose.c finds by itself */
extern const Mistake mistakes[];
extern const int n_mistake;
bool mistake_apply(const Mistake *m, Case *c, Stage s, Pool *p, Err *e);
/* What a GRPO dump cannot hold, with the reason; ends with name NULL. */
typedef struct { const char *name, *line, *reason; } Absent;
extern const Absent absent_mistakes[];

/* Whether it runs a copy of the network with other weights or settings, which costs as much as the network.
 */
bool mistake_changes_model(const Mistake *m);

#endif
