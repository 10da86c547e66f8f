/* threads.h: how many threads a parallel loop gets, which one runs, and whether it is worth waking them.
 * Everything works without OpenMP. */
#ifndef THREADS_H
#define THREADS_H

#include <stdbool.h>
#include <stddef.h>

int thread_count(void);                 /* threads that a parallel loop started here would get */
int thread_index(void);
/* Whether so many elementary operations are worth more than one thread: below some thousand, waking the
 * others takes longer than the work. */
bool threads_worth(size_t work);
/* More threads than a few for each processor are of no use, and thousands end the program: so many are used.
 * *asked: how many were wanted; false: no fewer are used. */
bool threads_limit(int *asked);
void threads_use(int n);                /* for the parallel loops to come; nothing happens without OpenMP */

#endif
