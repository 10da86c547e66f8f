/* robust.h: group-robust preference optimisation (GR-DPO, GR-IPO): losses of pairs gathered by group, and a
 * weight for each group that grows where the loss is large.
 *
 * A micro-batch in this order: robust_group_losses, robust_step where the weights adapt, robust_loss. Groups
 * are numbered from 0; count[g] is the number of training pairs of group g. All values are double. Nothing
 * here allocates or knows what a pair is. */
#ifndef ROBUST_H
#define ROBUST_H

#include "lib/base.h"
#include "lib/real.h"

enum { GROUPS_MOST = 64 };
typedef enum { GROUP_SUM, GROUP_MEAN } GroupLoss;       /* E212, and its variant */
/* E213; the controls of E216; and no weights: DPO, of which groups are told */
typedef enum { GROUP_ADAPTIVE, GROUP_FIXED, GROUP_COUNTS, GROUP_NONE } GroupWeights;
extern const char *const group_loss_names[], *const group_weights_names[];      /* NULL at the end */
typedef struct { double step_size; GroupLoss loss; GroupWeights weights; } RobustConfig;
bool robust_config_check(const RobustConfig *c, Err *e);

/* The weights before the first step: 1/D each; by counts (E216) in proportion to 1/N_g; none: to N_g, which
 * is what groups have in a mean over pairs. They sum to 1. */
void robust_start(double *q, const double *count, int n_group, GroupWeights weights);

/* E212: group_loss [n_group] of a micro-batch of n pairs with losses ell and groups group. */
void robust_group_losses(double *group_loss, const double *ell, const int *group, size_t n,
                         const double *count, int n_group, GroupLoss loss);
/* E213: q [n_group] in place. */
void robust_step(double *q, const double *group_loss, int n_group, double step_size);
/* E214, E215: the loss, whose derivative by ell [n] is dell; q is a constant. */
double robust_loss(double *dell, const double *group_loss, const int *group, size_t n, const double *q,
                   const double *count, int n_group, GroupLoss loss);

/* E217: pairs of a group, their losses, and how many of them have x_w > x_l, summed. */
typedef struct { double n, loss, right; } GroupSums;
/* The largest mean loss and the lowest share among groups that have pairs. */
void robust_worst(double *loss, double *accuracy, const GroupSums *sums, int n_group);

#endif
