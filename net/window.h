/* net/window.h: all that an update sees, and the slices in which it is computed.
 *
 * A Window holds trees of rows (a prompt and its completions) and the targets whose log-probabilities count.
 * It is built first, whole; slices (as many whole trees as fit) change no bit. */
#ifndef WINDOW_H
#define WINDOW_H

#include "net/batch.h"

typedef struct {
    int *id, *target_row, *target_id;
    Segment *seg;
    int n_row, n_seg, n_target, row_cap, seg_cap, target_cap;
    bool last_row, extra;               /* what window_group adds */
    int extra_id;
} Window;
void window_clear(Window *w);           /* keeps its memory, and what window_group adds */
void window_free(Window *w);
/* Adds a segment of n tokens after segment `prefix` (-1: a new tree); returns its index, or -1 with e filled
 * in. */
int window_add(Window *w, const int *id, int n, int prefix, Err *e);
bool window_target(Window *w, int row, int id, Err *e);         /* rows ascending */
/* One sequence of n tokens, of which those from `first` on are targets (E22). */
bool window_sequence(Window *w, const int *id, int n, int first, Err *e);
/* E31: one tree: a prompt and its completions first .. first + n - 1, completion c being token[offset[c]] ..
 * token[offset[c + 1] - 1], none of them empty. Every token of theirs is a target; token_of[target] is its
 * place in token, completion_of[target] its completion.
 *
 * Two switches of the window, both off by default, for those who look at the states before each token and
 * after the last. last_row: a completion's last token gets its row too, with a target (of that token's id)
 * whose token_of is offset[c + 1]. extra: at every row of a completion extra_id is one more target, whose
 * token_of is ~ that of the row's token; with both switches the last row has no other. */
bool window_group(Window *w, const int *prompt, int n_prompt, const int *token, const size_t *offset,
                  int first, int n, int *token_of, int *completion_of, Err *e);

/* Whole trees of at most max_row rows and max_target targets, which the caller sets; all else is
 * slice_next's. Targets first_target .. first_target + batch.n_target - 1 of the window are the batch's. */
typedef struct {
    int max_row, max_target, first_target;
    Batch batch;
    int next_seg, *target_row;
    Segment *seg;
} Slice;
/* 1: the next slice is there; 0: there are no more; -1: e is filled in, for a tree larger than a slice, say.
 * After 0 and -1 the slice holds no memory and may begin anew. */
int slice_next(Slice *s, const Window *w, const ModelConfig *c, Err *e);
void slice_free(Slice *s);              /* for those who leave before the last */

#endif
