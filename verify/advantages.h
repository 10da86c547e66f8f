/* advantages.h: rewards and advantages of a dump, whose groups may have any size and stand in any order. */
#ifndef VERIFY_ADVANTAGES_H
#define VERIFY_ADVANTAGES_H

#include "verify/case.h"

/* Group g has the rows member[start[g]] .. member[start[g + 1] - 1]. */
typedef struct { size_t n_group, *start, *member; } Groups;
/* Into the case: the dump's group_ids, or else, where replies to different prompts stand side by side and
 * every prompt has num_generations of them (as many as the others, where the config does not say that), the
 * prompts. */
bool groups_by_prompt(Case *c, Pool *p, Err *e);
/* By the case's groups, else num_generations rows side by side; the last group may be smaller. */
bool groups_of(Groups *g, const Case *c, Pool *p, Err *e);

/* reward [n] from the scores: E60, E61, E221. */
bool compute_rewards(real *reward, const Case *c, Pool *p, Err *e);
/* adv [n] from rewards or scores: E62 to E64, E82 to E87, E126 to E129; [n, width] where E132 makes them the
 * tokens'. */
bool compute_advantages(real *adv, const Case *c, Pool *p, Err *e);
/* case_noise of advantages: noise [n]. */
bool advantage_noise(double *noise, const Case *c, Pool *p, Err *e);

#endif
