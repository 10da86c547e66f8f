/* dump.h: what another program computed for one batch, read as if a liar had written it (docs/verify.md).
 *
 * Arrays keep the file's columns: [n, width] with width = C for completion_ids and T for input_ids; what
 * counts is said by masks. */
#ifndef VERIFY_DUMP_H
#define VERIFY_DUMP_H

#include "net/folder.h"
#include "lib/json.h"
#include "lib/safetensors.h"
#include "verify/declared.h"

/* Memory that lives as long as its pool; a pool starts as {0}. NULL and the line filled in when there is none
 * left. */
enum { POOL_MODELS = 8 };
typedef struct { void **block; size_t n, capacity; Model *model[POOL_MODELS]; int n_model; } Pool;
void *pool_take(Pool *p, size_t count, size_t size, Err *e);    /* zeroed */
Model *pool_model(Pool *p, const ModelConfig *c, Err *e);
void pool_free(Pool *p);

/* One tensor each but for the last two, which are families. In the order in which data flows. */
typedef enum {
    STAGE_MASK, STAGE_LOSS_MASK, STAGE_LOGITS, STAGE_LOGPS, STAGE_OLD, STAGE_REF, STAGE_SAMPLER,
    STAGE_ENTROPIES, STAGE_REWARDS, STAGE_ADVANTAGES, STAGE_ISR, STAGE_RATIO, STAGE_KL, STAGE_TOKEN_LOSS,
    STAGE_LOSS, STAGE_DLOGP, STAGE_GRAD_NORM, STAGE_GRAD, STAGE_STEP, N_STAGE
} Stage;
typedef enum {
    SHAPE_MASK, SHAPE_TOKENS, SHAPE_LOGITS, SHAPE_ROWS, SHAPE_TOKENS_OR_ROWS, SHAPE_ONE, SHAPE_PARAMETERS
} StageShape;
/* tensor: of a family, its prefix */
typedef struct { const char *name, *tensor, *equation; StageShape shape; } StageInfo;
extern const StageInfo stage_info[N_STAGE];

typedef struct {
    char path[1024];
    Safetensors *file;
    Pool pool;
    DumpSettings set, plain;            /* plain: with TRL's newest defaults in place of the profile's */
    bool whole_rows;                    /* input_ids: a row holds prompt and completion */
    size_t n, width, n_label, prompt_width;
    int *id;                            /* [n, width], NULL: none */
    unsigned char *real_token;          /* [n, width] whole rows only: attention_mask */
    int *prompt_id;                     /* [n, prompt_width], and its mask; NULL: none */
    unsigned char *prompt_mask;
    unsigned char *completion_mask, *loss_mask;     /* as the file has them, NULL: none */
    real *score;                        /* [n, n_label], NaN missing; NULL: none */
    double *weight;                     /* [n_label] */
    int *group;                         /* [n] group_ids as 0 .. n_group - 1; NULL: there are none */
    size_t n_group;
    const real *advantage;              /* [n] of each completion, also where the file has one a token */
    bool advantage_varies;              /* and they differ within one */
    double *row_weight;                 /* [n] row_weights, NULL: none */
    unsigned char *policy_mask;         /* [n, width], NULL: none */
    char (*label)[64];
    real *
        value[N_STAGE]; /* [n, width], [n] or [1]; NULL: not in the file. Not of masks, logits and families */
    const Tensor *tensor[N_STAGE];      /* NULL: not in the file */
    bool per_row[N_STAGE];              /* [n, 1] or [n] where the stage may be either */
    bool inputs_only;                   /* dump_inputs: results are computed anew */
    char unused_keys[256], unused_tensors[256];     /* told, for a slip of the pen would else go unnoticed */
    const char *producer;
} Dump;

/* profile NULL: the file's own. On failure nothing is kept. */
bool dump_open(Dump *d, const char *path, const char *profile, Err *e);
void dump_close(Dump *d);
/* Stop and pad ids from a folder, where the dump gives none. Ids must be below vocab. */
bool dump_model(Dump *d, const ModelConfig *c, const FolderInfo *info, const char *dir, Err *e);
/* Value j of a floating-point tensor. */
void tensor_reals(real *out, const Tensor *t, size_t first, size_t n);
Precision tensor_precision(const Tensor *t);
/* What a dump's results are made from: a view of `from` without those that can be computed. */
void dump_inputs(Dump *to, const Dump *from, bool policy, bool old, bool reference);
/* The settings as the metadata's `config`, for files that we write. */
void dump_write_settings(JsonWriter *w, const Dump *d);

#endif
