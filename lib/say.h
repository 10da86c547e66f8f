/* say.h: how numbers are told to people, and the progress line. */
#ifndef SAY_H
#define SAY_H

#include "base.h"

void human_bytes(char out[32], double bytes);           /* "123 MB", "4.5 GB" */
void human_time(char out[32], double seconds);          /* "12 s", "4.5 h" */

/* Progress on stderr: on a terminal one line rewritten, in a pipe a plain line at most every few seconds (and
 * at the end): "sft   1200/4500  loss 1.234  8.1 k tokens/s  1:12 left". `detail` may be NULL. After
 * progress_begin `quiet` may be set. */
typedef struct {
    const char *what;
    double start, last;
    long long total;
    bool quiet, shown;
    char line[256];
} Progress;
void progress_begin(Progress *p, const char *what, long long total);
void progress_at(Progress *p, long long done, const char *detail);
void progress_end(Progress *p);

#endif
