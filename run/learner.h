/* learner.h: the network that a run trains, with its language, its trainer, its window and, where a method
 * wants one, the frozen reference that the run starts from. */
#ifndef LEARNER_H
#define LEARNER_H

#include "run/run.h"
#include "run/trainer.h"
#include "text/data.h"

typedef struct {
    Language language;
    FolderInfo info;
    ModelConfig shape;                  /* of the folder, with the adapter that the run adds */
    Model *model, base, *copy;
    const Model *reference; /* a new adapter's base (E293), or a second copy of the weights; NULL: none */
    Trainer trainer;
    Window window;
    int rows;                           /* of a slice */
} Learner;

/* Language and shape, nothing heavy. A policy must be a language model; a reward model's head is the caller's
 * to set in shape.n_label. */
bool learner_shape(Learner *l, const RunOptions *o, bool policy, Err *e);
/* Bytes of model, trainer and reference, for slices of l->rows. */
double learner_bytes(const Learner *l, const RunOptions *o, bool reference);
bool learner_load(Learner *l, const RunOptions *o, bool reference, Err *e);
/* A reward model's scores become sd_k score_k + mean_k, in the head and in the folder that will be written
 * (E45, E222). */
void learner_head(Learner *l, const double *sd, const double *mean);
/* The token that a policy learns to end with becomes the first of those that end its texts, as TRL saves it,
 * if it is none of them. */
void learner_stop(FolderInfo *info, int end);
/* The folder of the model as it is now; a template that was chosen for the run goes with it. */
bool learner_save(const Learner *l, const RunOptions *o, const char *dir, Err *e);
void learner_close(Learner *l);

/* What it holds: as the formulas say and as it was taken; a critic's are one kind, NET_VALUE. */
void learner_hold(Costs *c, const Learner *l);
/* As the cost's formulas see it, with or without a reference. */
Networks learner_networks(const Learner *l, const RunOptions *o, bool reference);

#endif
