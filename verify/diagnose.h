/* diagnose.h: the dump against what is right, and where it differs, which known mistake explains the
 * difference. */
#ifndef VERIFY_DIAGNOSE_H
#define VERIFY_DIAGNOSE_H

#include "verify/mistakes.h"

typedef enum { VERDICT_RIGHT, VERDICT_RIGHT_AS, VERDICT_DIFFERS, VERDICT_WRONG, VERDICT_UNKNOWN } Verdict;

/* One tensor of the dump beside ours. */
typedef struct {
    Stage stage;
    char name[128];
    Precision precision;                /* of the tensor */
    const real *given;                  /* [count] */
    size_t at, count;                   /* given[j] answers to right[at + j] of the stage */
    bool given_per_row;
    size_t n_judged;
    double max_abs, mean_abs, max_rel, ulps,
        tolerance; /* tolerance at the worst element; max_abs may be infinite (NaN against a number) */
    size_t worst;                       /* index in given */
    double worst_given, worst_right;
    bool within;
    double ours; /* our float build against double, largest difference; NaN: not known */
} Item;

enum { MAX_NAMES = 16 };
typedef struct {
    bool present, judged;
    const char *obstacle;               /* present but not judged: why */
    int first, n;                       /* its items */
    real *right;                        /* stage_size numbers */
    size_t count_rows;                  /* logits: completions that were compared */
    Verdict verdict;
    char name[MAX_NAMES][64];           /* mistakes that explain it, "A + B" for two together */
    char text[MAX_NAMES][200];          /* of each: what is done instead */
    int n_name;
    bool lacks;                         /* the names are what the declared program does, and this does not */
    char note[160];
} StageReport;

/* Sampler against trainer, each against the oracle: E110's material. */
typedef struct { size_t n; double mean, sd, p95, max, outside; } Gap;
typedef struct { bool there, oracle; Gap both, trainer, sampler; double low, high; } SamplerTable;

enum { SHOWS = 1, HIDDEN, UNTRIED };

typedef struct {
    const Dump *d;
    Case right;
    Pool pool;
    Item *item;
    int n_item;
    StageReport stage[N_STAGE];
    unsigned char *visible; /* [n_mistake] SHOWS, HIDDEN: has a stage here but changes nothing, or UNTRIED:
                               too costly to say */
    SamplerTable table;
    double loss_scale;                  /* sum |c_it m_it l_it|: what the loss's tolerance is a share of */
    size_t only_row;                    /* while a search looks at one completion; SIZE_MAX: all */
} Report;

/* Compares and diagnoses; quick: no search for pairs. ours: a file that our float build wrote for the same
 * dump, or NULL. */
bool report_make(Report *r, const Dump *d, const Policies *model, const char *ours, bool quick, Err *e);
void report_free(Report *r);
/* Right: every judged stage is right, or right as the declared dialect. Choice: no error, but at least one
 * stage as another program computes it on purpose. */
typedef enum { OUTCOME_RIGHT, OUTCOME_CHOICE, OUTCOME_WRONG } Outcome;
Outcome report_outcome(const Report *r);
/* Completion and position of an element of an item; position -1: of the completion as a whole, row -1: of no
 * completion. */
void item_place(long *row, long *position, const Report *r, const Item *x, size_t j);
void blind_counts(const Report *r, int *blind, int *all);       /* of those that were tried */

#endif
