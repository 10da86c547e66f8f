/* judge.h: a dump's numbers beside ours: the material of every verdict. */
#ifndef VERIFY_JUDGE_H
#define VERIFY_JUDGE_H

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
    char name[MAX_NAMES][96];           /* mistakes that explain it, "A + B" for two together */
    char text[MAX_NAMES][200];          /* of each: what is done instead */
    bool choice[MAX_NAMES];             /* some program does so on purpose */
    int n_name;
    char note[160];
} StageReport;

/* Sampler against trainer, each against the oracle: E110's material. */
typedef struct { size_t n; double mean, sd, p95, max, outside; } Gap;
typedef struct { bool there, oracle; Gap both, trainer, sampler; double low, high; } SamplerTable;

enum { SHOWS = 1, HIDDEN, UNTRIED };

/* Settings that stages were found to have, other than the config says. */
typedef struct { const char *key[MAX_NAMES]; double value[MAX_NAMES]; int n; } Fitted;

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
    double *noise[N_STAGE];             /* case_noise of advantages, kl, per_token_loss, dlogp; else NULL */
    double loss_scale;                  /* sum |c_it m_it l_it|: what the loss's tolerance is a share of */
    Fitted fitted;
    double work;                        /* tokens that searches for causes have computed */
    size_t only_row;                    /* while a search looks at one completion; SIZE_MAX: all */
} Report;

/* Fills in the items and which stages are judged; the right case must stand in r. */
bool report_items(Report *r, Err *e);
size_t stage_out_size(const Report *r, Stage s);                /* numbers that stage_under writes */
bool stage_runs_model(Stage s);
/* Multiply-adds of one forward pass over a completion, or over all; 0 without a model. */
double model_work(const Report *r, bool all);
/* The stage as a case has it; what the case does not compute (other completions) is ours. */
bool stage_under(real *out, const Report *r, const Case *c, Stage s, Err *e);

bool judged_half(const Report *r, const Item *x);               /* in a type of 16 bits */
double value_gap(double given, double right);                   /* two NaN are the same */
/* Element j of an item: where the stage's own array has it, or SIZE_MAX where it is not looked at. */
size_t item_right_index(const Report *r, const Item *x, bool right_per_row, size_t j);
/* What a tolerance is a share of, and the tolerance at element j (SIZE_MAX: any) of right value `value`. */
double item_scale(const Report *r, const Item *x, const real *ours, bool per_row);
double item_tolerance(const Report *r, const Item *x, size_t j, double value, double scale);
/* How far a stage's tensors lie from `ours`: the largest error over its tolerance (at most 1: within), the
 * mean error, the share of elements within. details: written into the items. */
typedef struct { double excess, mean, share; } Distance;
Distance stage_distance(Report *r, Stage s, const real *ours, bool per_row, bool details);
/* Whether `out`, which a case gave, is what the dump has, where `ours` is how far the right values lie. */
bool stage_explains(Report *r, Stage s, const Case *c, const real *out, const Distance *ours);
/* Whether it differs from the right values beyond the tolerance, as a dump would show it. */
bool stage_shows(const Report *r, Stage s, const Case *c, const real *out);
/* Names what explains a stage; once. */
void stage_name(StageReport *x, const char *name, const char *line, bool choice);

/* Completion and position of an element of an item; position -1: of the completion as a whole, row -1: of no
 * completion. */
void item_place(long *row, long *position, const Report *r, const Item *x, size_t j);

#endif
