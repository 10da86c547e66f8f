/* diversity.h: how much several replies to one prompt differ. */
#ifndef DIVERSITY_H
#define DIVERSITY_H

/* E239: Jaccard similarity |A and B| / |A or B| of the sets of pairs of neighbouring words of two texts,
 * words being what blanks separate; 1 where neither text has a pair. */
double text_similarity(const char *a, const char *b);
/* E239: 1 less the mean similarity over all pairs of n texts; NaN for n < 2. */
double texts_diversity(const char *const *text, int n);

#endif
