/* batch.h: rows of tokens without padding, a tree of depth two (E30, E31), and the targets they predict. */
#ifndef BATCH_H
#define BATCH_H

#include "net/params.h"

typedef struct {
    int start, n_row;                   /* rows [start, start + n_row) of the batch */
    int prefix;                         /* an earlier segment, without prefix itself, whose rows come first;
                                           -1: none */
} Segment;                              /* the segments that share a prefix follow it at once */

typedef struct {
    int n_row, n_seg, n_target;
    const int *id;                      /* [n_row] */
    const Segment *seg;                 /* [n_seg], rows side by side, ascending */
    const int *target_row, *target_id;  /* [n_target], target_row ascending; a row may have several targets */
} Batch;

/* Fails when segments, ids or targets are not as described, or a sequence exceeds the context. */
bool batch_check(const Batch *b, const ModelConfig *c, Err *e);
int batch_scored_rows(const Batch *b);  /* distinct rows of its targets */

#endif
