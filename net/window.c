/* net/window.c: trees of rows with their targets, and the slices in which they are computed. */
#include "net/window.h"

#include <stdlib.h>
#include <string.h>

/* ---- window ---- */

static bool window_grow(void *list, int *cap, int n, size_t size, Err *e) {
    if (n <= *cap) return true;
    const int wanted = n > 2 * *cap ? n + 64 : 2 * *cap;
    void *p = realloc(*(void **)list, (size_t)wanted * size);
    if (!p) return fail(e, "window: no memory for %d entries", wanted);
    *(void **)list = p;
    *cap = wanted;
    return true;
}

void window_clear(Window *w) { w->n_row = w->n_seg = w->n_target = 0; }

void window_free(Window *w) {
    free(w->id);
    free(w->seg);
    free(w->target_row);
    free(w->target_id);
    *w = (Window){0};
}

int window_add(Window *w, const int *id, int n, int prefix, Err *e) {
    if (!window_grow(&w->id, &w->row_cap, w->n_row + n, sizeof(int), e) ||
        !window_grow(&w->seg, &w->seg_cap, w->n_seg + 1, sizeof(Segment), e))
        return -1;
    memcpy(w->id + w->n_row, id, (size_t)n * sizeof(int));
    w->seg[w->n_seg] = (Segment){.start = w->n_row, .n_row = n, .prefix = prefix};
    w->n_row += n;
    return w->n_seg++;
}

bool window_target(Window *w, int row, int id, Err *e) {
    int cap = w->target_cap;
    if (!window_grow(&w->target_row, &cap, w->n_target + 1, sizeof(int), e) ||
        !window_grow(&w->target_id, &w->target_cap, w->n_target + 1, sizeof(int), e))
        return false;
    w->target_row[w->n_target] = row;
    w->target_id[w->n_target++] = id;
    return true;
}

bool window_sequence(Window *w, const int *id, int n, int first, Err *e) {
    const int row = w->n_row;
    if (window_add(w, id, n, -1, e) < 0) return false;
    for (int k = first; k < n; k++)
        if (!window_target(w, row + k - 1, id[k], e)) return false;
    return true;
}

/* The targets of the state before the token at place `at` of completion c, or after its last one. */
static bool state_targets(Window *w, int row, const int *token, int at, bool ended, int c, int *token_of,
                          int *completion_of, Err *e) {
    for (int extra = w->extra && ended; extra <= w->extra; extra++) {
        token_of[w->n_target] = extra ? ~at : at;
        completion_of[w->n_target] = c;
        if (!window_target(w, row, extra ? w->extra_id : token[at - ended], e)) return false;
    }
    return true;
}

bool window_group(Window *w, const int *prompt, int n_prompt, const int *token, const size_t *offset,
                  int first, int n, int *token_of, int *completion_of, Err *e) {
    const int root = window_add(w, prompt, n_prompt, -1, e), last = w->n_row - 1;
    if (root < 0) return false;
    /* E22: the prompt's last row predicts every first token */
    for (int c = first; c < first + n; c++)
        if (!state_targets(w, last, token, (int)offset[c], false, c, token_of, completion_of, e))
            return false;
    for (int c = first; c < first + n; c++) {
        const int at = (int)offset[c], end = (int)offset[c + 1], start = w->n_row,
                  n_row = end - at - 1 + w->last_row;
        if (!n_row) continue;
        if (window_add(w, token + at, n_row, root, e) < 0) return false;
        for (int t = at + 1; t <= at + n_row; t++)
            if (!state_targets(w, start + t - at - 1, token, t, t == end, c, token_of, completion_of, e))
                return false;
    }
    return true;
}

/* ---- slices ---- */

void slice_free(Slice *s) {
    free(s->seg);
    free(s->target_row);
    *s = (Slice){.max_row = s->max_row, .max_target = s->max_target};
}

static int slice_end(Slice *s, int code) {
    slice_free(s);
    return code;
}

/* The end of as many trees from segment `first` on as fit, and the end of their targets, which begin at
 * `target`. */
static int slice_trees(int *last_target, const Slice *s, const Window *w, int first, int target) {
    const int row0 = w->seg[first].start;
    int end = first;
    *last_target = target;
    while (end < w->n_seg) {                    /* one more tree, if it fits */
        int next = end + 1, t = *last_target;
        while (next < w->n_seg && w->seg[next].prefix >= 0) next++;
        const int rows_end = w->seg[next - 1].start + w->seg[next - 1].n_row;
        while (t < w->n_target && w->target_row[t] < rows_end) t++;
        if (rows_end - row0 > s->max_row || t - target > s->max_target) break;
        end = next;
        *last_target = t;
    }
    return end;
}

int slice_next(Slice *s, const Window *w, const ModelConfig *c, Err *e) {
    const int first = s->next_seg, target = s->first_target + s->batch.n_target;
    int last_target;
    if (first >= w->n_seg) return slice_end(s, 0);
    const int row0 = w->seg[first].start, end = slice_trees(&last_target, s, w, first, target);
    if (end == first) {
        fail(e, "a prompt with its completions does not fit into a slice of %d rows and %d targets; raise "
                "--slice-rows", s->max_row, s->max_target);
        return slice_end(s, -1);
    }
    Segment *seg = realloc(s->seg, (size_t)(end - first) * sizeof *seg);
    if (seg) s->seg = seg;
    int *row = realloc(s->target_row, (size_t)(last_target - target + 1) * sizeof *row);
    if (row) s->target_row = row;
    if (!seg || !row) { fail(e, "slice: no memory"); return slice_end(s, -1); }
    for (int i = first; i < end; i++) {
        const Segment *from = &w->seg[i];
        seg[i - first] = (Segment){.start = from->start - row0, .n_row = from->n_row,
                                   .prefix = from->prefix < 0 ? -1 : from->prefix - first};
    }
    for (int i = target; i < last_target; i++) row[i - target] = w->target_row[i] - row0;
    s->batch = (Batch){.n_row = w->seg[end - 1].start + w->seg[end - 1].n_row - row0, .n_seg = end - first,
                       .n_target = last_target - target, .id = w->id + row0, .seg = seg, .target_row = row,
                       .target_id = w->target_id + target};
    s->first_target = target;
    s->next_seg = end;
    return batch_check(&s->batch, c, e) ? 1 : slice_end(s, -1);
}
