/* generation.h: the completions of one generation and all that is known about them, and what is logged of it.
 */
#ifndef GENERATION_H
#define GENERATION_H

#include "grpo.h"
#include "lib/json.h"
#include "run/rollout.h"
#include "run/scorer.h"
#include "text/data.h"

typedef struct {
    int n_prompt, n_completion, n_label, max_new;
    const Example **example;            /* [n_prompt] */
    Ids *prompt;                        /* [n_prompt] */
    const int **prompt_id;              /* [n_prompt] and, same shape, as rollout wants them: */
    int *prompt_length;
    Rollout out;
    size_t *offset;                     /* [n_completion + 1] */
    char **text;                        /* [n_completion] without the closing token */
    int *token;                         /* [n_token] and, same shape: */
    real *logp, *old, *ref, *entropy, *dlogp, *dentropy;
    real *by_target;                    /* [n_token, 2] values in the order of a window's targets */
    unsigned char *mask, *ended;        /* [n_token], [n_completion] */
    double *scratch;                    /* [n_token] */
    real *score, *reward, *adv,
        *cost; /* [n_completion, n_label], [n_completion] twice, as score: scratch of E70 */
    double *share;                      /* [n_prompt, n_label] E73 */
    double multiplier[MAX_LABELS];      /* that acted in adv (E70) */
    GrpoRewardStats stats;
    double n_item;                      /* N of E112 */
    void *memory;                       /* of all arrays */
} Generation;
bool generation_new(Generation *g, int n_prompt, int group, int max_new, int n_label, Err *e);
void generation_free(Generation *g);
/* The completions of g->prompt, whose memory was taken by generation_new: token, old, offset, mask, ended. An
 * empty list of stops: none ends early. */
bool generation_draw(Generation *g, const Model *m, const int *stop, int n_stop, const Sampling *sampling,
                     uint64_t seed, int64_t generation, Err *e);
/* Texts and scores of the completions; NaN where unscored. */
bool generation_score(Generation *g, const Language *l, Scorer *scorer, Err *e);
/* Memory into c: the cache, and the activations of drawing beside `acts` bytes that the trainer holds
 * meanwhile (predicted, measured). */
void generation_hold(Costs *c, const Generation *g, const ModelConfig *shape, double acts_predicted,
                     double acts_measured);
/* Bytes that generation_new takes. */
double generation_bytes(int n_prompt, int group, int max_new, int n_label);

/* An update that several generations feed logs their means, as TRL does; one that begins none repeats the
 * last. */
enum { LOG_PER_RUN = 8, LOG_PER_LABEL = 4, LOG_NUMBERS = LOG_PER_RUN + LOG_PER_LABEL * MAX_LABELS };
typedef struct { double sum[LOG_NUMBERS]; int n[LOG_NUMBERS]; bool logged; } GenerationLog;
/* weight [n_label] of E60; NULL: the reward is another one (E221), and labels have no share in it. */
void generation_log_add(GenerationLog *l, Generation *g, const double *weight);
/* Members of an object; label [n_label] names; filtered: the sampler had filters, whose bias is told too;
 * worst_off: in how many of the generations each label was the one with the lowest mean (E221) as well. */
void generation_log_write(JsonWriter *w, const GenerationLog *l, int n_label, const char (*label)[64],
                          bool filtered, bool worst_off);

#endif
