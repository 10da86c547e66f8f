/* run/changed.h: where the two replies of each pair differ (E209), for losses that weigh those tokens. */
#ifndef RUN_CHANGED_H
#define RUN_CHANGED_H

#include "run/pairs.h"

enum { CHANGED_MOST = 4096 };           /* tokens of a reply: the search takes time by their product */

/* Fills in `changed` of every pair; d holds the rows that p was made from, for messages. stop_words: a file
 * with a word on each line, NULL: none; a token is one if its text without blanks around it is such a word,
 * in small or large ASCII letters. */
bool pairs_changed(PairSet *p, const Dataset *d, const Language *l, const char *stop_words, Err *e);

#endif
