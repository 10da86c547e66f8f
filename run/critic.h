/* critic.h: the network that says what a text is worth so far (E151): one output, read at the row that
 * predicts a token. PPO trains it beside the policy; a frozen one is only read, after the last token too
 * (DVPO). */
#ifndef CRITIC_H
#define CRITIC_H

#include "run/cost.h"
#include "net/folder.h"

typedef struct {
    bool frozen;                        /* the caller's, as the sizes of a slice are: */
    int max_row, max_target;
    char dir[1024];                     /* where it starts from */
    ModelConfig shape;
    FolderInfo info;
    Model *model;
    Trainer trainer;                    /* of one that learns */
    Acts *acts;                         /* of a frozen one */
} Critic;

/* Shape, nothing heavy: the folder must read the tokens of the policy in policy_dir, whose shape is given.
 * One that is to learn must not be an adapter, a frozen one must have one label. */
bool critic_shape(Critic *c, const char *dir, const char *policy_dir, const ModelConfig *policy, Err *e);
double critic_bytes(const Critic *c);
/* E154: of a reward model that is to learn the output is its weighted score, R of E60 without the constant,
 * by the weights of the n_label labels that it shares (none shared: 1 each); a language model's is drawn. */
bool critic_load(Critic *c, const char (*label)[64], const double *weight, int n_label, uint64_t seed,
                 Err *e);
void critic_close(Critic *c);

/* v [n_target] of the window's targets; a frozen one's with its constant (E45). */
bool critic_values(real *value, const Critic *c, const Window *w, Err *e);
/* Bytes in slices of that size, and what it holds: as the formulas say and as it was taken. */
double critic_planned(const Critic *c, int max_row, int max_target);
void critic_hold(Costs *to, const Critic *c);

#endif
