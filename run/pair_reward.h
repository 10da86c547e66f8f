/* run/pair_reward.h: a reward model that learns from pairs: which rows of a pair are read, and what becomes
 * of the two scores (E56, E57). */
#ifndef PAIR_REWARD_H
#define PAIR_REWARD_H

#include "run/cost.h"
#include "run/pairs.h"

/* Over pairs, first as sums and then as means: the loss, whether the chosen reply scores higher, and by how
 * much it does. */
typedef struct { double loss, accuracy, margin; } PairReward;

/* A prompt with its two replies (E31), each read at its last token that is not padding: two targets. */
bool pair_reward_lay(Window *w, const PairTokens *s, int pad, Err *e);
void pair_reward_texts(Texts *t, const void *rows, int i);      /* a TextsOf of PairTokens */

/* E56, E57: the n_pair pairs whose scores stand side by side in score [2 n_pair] are added to the sums in
 * *sum, and dscore of the mean over `all` pairs is overwritten (NULL: not wanted). center: kappa. The same
 * bits however the pairs are cut into slices. */
void pair_reward_loss(PairReward *sum, real *dscore, const real *score, int n_pair, double center,
                      double all);
PairReward pair_reward_means(PairReward sum, double n);
/* The scores [2 n] of all pairs, forward only. */
bool pair_reward_scores(real *score, const Trainer *t, const PairSet *p, Err *e);
/* --center-rewards-coefficient */
bool pair_reward_center_check(double center, Err *e);
/* A table of held-out pairs: its head, and a row of n pairs, whose numbers are also members of *w. */
void pair_reward_head(void);
void pair_reward_row(JsonWriter *w, const char *name, int n, const PairReward *r, bool print);

#endif
