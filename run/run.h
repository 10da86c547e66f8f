/* run.h: what the training commands share: their common options, the run's folder, its log and its
 * checkpoint.
 *
 * A run's folder: config.json as resolved, log.jsonl (a line a step, and last what the run cost; the same
 * bits whenever the run is repeated), timing.jsonl (seconds and tokens per second, which are not),
 * checkpoint.safetensors and those before it (run/checkpoint.h), final/ as a Hugging Face folder. A folder
 * that already holds a run is refused unless --resume, and so is one in which another process is at work. */
#ifndef RUN_H
#define RUN_H

#include "text/chat.h"
#include "run/options.h"
#include "run/cost.h"
#include "net/folder.h"
#include "run/checkpoint.h"

/* What TRL's ModelConfig says of adapters, and how the weights beside them are kept. */
typedef struct {
    bool use_peft, use_rslora;
    int lora_r;
    double lora_alpha, lora_dropout;
    const char *lora_target_modules;
    int base_dtype;
} AdapterOptions;

typedef struct {
    const char *model, *dataset, *output_dir, *system, *report_to;
    ChatChoice chat;
    int per_device_train_batch_size, gradient_accumulation_steps, max_steps, seed, slice_rows,
        save_total_limit;
    double warmup_steps, logging_steps, save_steps;
    double num_train_epochs, learning_rate, warmup_ratio, min_lr_ratio, adam_beta1, adam_beta2, adam_epsilon,
        weight_decay, max_grad_norm;
    int lr_scheduler_type, save_dtype;
    AdapterOptions adapter;
    bool resume, json, gradient_checkpointing, drop_long;
    struct RunPlan *plan;               /* no option: NULL, or only a plan is wanted */
} RunOptions;

extern const char *const save_dtype_names[], *const base_dtype_names[];

extern const Setting run_settings[], adapter_settings[];         /* of RunOptions, of AdapterOptions */

/* `grpo info --run COMMAND`: the command goes as far as its plan, times a few short steps, and fills this in
 * instead of making the run. */
typedef struct RunPlan {
    double mean_length; /* given: of completions that will be drawn; 0: count with the longest */
    double memory, step_seconds;        /* bytes at most; seconds of an update */
    int n_step;
    const char *how;                    /* where the seconds come from, and what they leave out */
    Cost cost;                          /* of the whole run, by formula */
    double length; /* of completions, that it counts with; 0: lengths are those of the data */
    struct {
        double parameters, rate, beta;
        bool adapter;
    } asked;            /* of `train`, which has advice (cmd/advice.h): the whole model's, and its options */
} RunPlan;

bool run_options_check(const RunOptions *o, Err *e);
Store save_store(int save_dtype);       /* save_dtype_names[save_dtype] */
Store run_store(const RunOptions *o);

/* The configuration of a model becomes that of the run: with --use-peft it has an adapter, whose base is the
 * model; --base-dtype says how the base is kept. */
bool run_adapter(ModelConfig *c, FolderInfo *info, const AdapterOptions *o, const char *model, Err *e);

/* Updates of the run: max_steps, or epochs over n examples in units of `per_step`. */
int run_steps(const RunOptions *o, double steps_per_epoch);
/* The trainer's rates and schedule from the options. */
void run_trainer(Trainer *t, const RunOptions *o, int n_step);

/* saved: step of the checkpoint, -1: none; lock: of the folder */
typedef struct {
    const char *command;
    char dir[512], *identity;
    GrowingFile log, timing;
    Checkpoints checkpoints;
    int lock;
    struct Events *events;              /* --report-to tensorboard, or NULL */
    double started, last;
    int64_t first_tokens, last_tokens, saved;
} Run;
/* Whether a new run may be made in its folder; with --resume the folder is this process's from then on. */
bool run_claim(Run *r, const RunOptions *o, Err *e);
/* Makes the folder and writes config.json, or with --resume reads it back, refuses differing options and
 * data, loads the checkpoint into t (if there is one) and drops log lines after it. */
bool run_begin(Run *r, const OptionTable *table, const void *config, const RunOptions *o, Trainer *t, Err *e);
bool run_log(Run *r, const JsonWriter *line, Err *e);           /* one JSON object */
/* A line of timing.jsonl: seconds since the last one, and tokens per second of it; tokens counts from the
 * start of the run. */
bool run_time(Run *r, int64_t step, int64_t tokens, Err *e);
/* The end: what the run cost, as the last line of log.jsonl, its seconds as that of timing.jsonl, and both on
 * stderr. The seconds are those since it began or was resumed. */
bool run_cost(Run *r, int64_t step, const Costs *c, Err *e);
void run_tokens(Run *r, int64_t tokens);                /* a resumed run has these behind it */
/* tokens a second since it began or was resumed */
double run_rate(const Run *r, int64_t tokens);
bool run_checkpoint(Run *r, const RunOptions *o, const Trainer *t, bool force, Err *e);
/* Adds to the line of a failure what the run can go on from; returns false. */
bool run_failed(const Run *r, Err *e);
void run_end(Run *r);

/* Prints what the run will take on stderr (what NULL: does not) and refuses it when the machine has less. */
bool memory_plan(const char *what, double bytes, Err *e);
/* The same for a run, into its plan where only that is wanted; what NULL: silently. */
bool run_memory(const RunOptions *o, const char *what, double bytes, Err *e);
/* of the program itself, its libraries, and the small things that no plan counts */
enum { PROGRAM_BYTES = 6 << 20 };

/* The sequence of examples: epoch after epoch, each a permutation keyed by (seed, epoch). */
typedef struct { int *order, n; uint64_t seed; int64_t epoch; } Order;
bool order_new(Order *o, int n, uint64_t seed, Err *e);     /* o->order is to be freed */
int order_at(Order *o, int64_t at);     /* index of the at-th example drawn */
/* Lengths of draws at .. at + n - 1 together; `of` adds those of example i. */
typedef void TextsOf(Texts *t, const void *data, int i);
Texts order_texts(Order *o, int64_t at, int64_t n, TextsOf *of, const void *data);

#endif
