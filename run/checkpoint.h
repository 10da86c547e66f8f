/* checkpoint.h: what a run is, and the files that it goes on from.
 *
 * A run's identity stands in its config.json and in each of its checkpoints: command, build, options, the
 * SHA-256 of every file and model that an option names, and the updates planned. A checkpoint also says how
 * long log.jsonl was, with its SHA-256 and lines, and ends with the seal of lib/safetensors.h.
 * The last one is checkpoint.safetensors, the one before it checkpoint.before.safetensors, and those before
 * these, where more are kept, checkpoint.before.STEP.safetensors. */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "lib/sha256.h"
#include "run/options.h"
#include "run/trainer.h"

/* A file that grows by lines, and the sum of what is in it. */
typedef struct { void *file; char path[600]; size_t bytes; int64_t lines; Sha256 sum; } GrowingFile;
bool growing_open(GrowingFile *g, Err *e);              /* path, bytes and sum are there */
bool growing_put(GrowingFile *g, const JsonWriter *line, Err *e);
void growing_close(GrowingFile *g);

/* The identity as the text of an object, to be freed; NULL with the line filled in. former: the run's own one
 * so far, or NULL; its plans of updates stand before n_step. */
char *identity_new(const OptionTable *t, const void *config, const Json *former, int64_t n_step, int indent,
                   Err *e);
/* Whether a saved identity is that of `now`. Only spellings of paths may differ, how the run is computed and
 * shown, and how long it is. file: for messages. */
bool identity_agrees(const Json *saved, const Json *now, const OptionTable *t, const void *config,
                     const char *file, Err *e);
int64_t identity_steps(const Json *identity);           /* the last plan of updates; 0: none */

/* limit: how many are kept, at least 1; step: of the last good one, -1: there is none; spoiled: the last one
 * is not good, so the next one takes its place and not that of the one before */
typedef struct {
    char dir[600], path[600], before[600], fresh[620];
    int limit;
    int64_t step;
    bool spoiled;
} Checkpoints;
bool checkpoints_at(Checkpoints *c, const char *dir, int limit, Err *e);
/* Brings log and timing to the disk, then the checkpoint that speaks of them; only then the oldest go. A kill
 * at any moment leaves one to go on from. */
bool checkpoint_save(Checkpoints *c, const Trainer *t, const char *identity, GrowingFile *log,
                     GrowingFile *timing, Err *e);
/* Into t from the last good one, and both files are cut to what they were then. What is wrong with the last
 * one, or with the files, is told on stderr under the command's name. *step: that of the checkpoint, -1:
 * there is none. False where none is good, or where it is another run's. */
bool checkpoint_load(int64_t *step, Checkpoints *c, Trainer *t, const OptionTable *table, const void *config,
                     const Json *identity, GrowingFile *log, GrowingFile *timing, Err *e);
/* An open checkpoint whose seal holds. */
Safetensors *checkpoint_open(const char *path, Err *e);

#endif
