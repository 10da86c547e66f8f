/* batch.c: whether a batch is what model.c relies on. */
#include "net/batch.h"

bool batch_check(const Batch *b, const ModelConfig *c, Err *e) {
    int row = 0;
    for (int i = 0; i < b->n_seg; i++) {
        const Segment *s = &b->seg[i];
        if (s->start != row || s->n_row < 1)
            return fail(e, "batch: segment %d has %d rows from row %d, expected to start at row %d", i,
                        s->n_row, s->start, row);
        if (s->prefix >= i || s->prefix < -1 || (s->prefix >= 0 && b->seg[s->prefix].prefix != -1))
            return fail(e, "batch: segment %d names segment %d as its prefix, expected an earlier one "
                        "without prefix", i, s->prefix);
        if (s->prefix >= 0 && i && s->prefix != i - 1 && b->seg[i - 1].prefix != s->prefix)
            return fail(e, "batch: segment %d does not stand beside the others of prefix %d", i, s->prefix);
        const int length = s->n_row + (s->prefix >= 0 ? b->seg[s->prefix].n_row : 0);
        if (length > c->context)
            return fail(e, "batch: a sequence of %d tokens, but the context holds %d; shorten the prompt or "
                        "max_completion_length", length, c->context);
        row += s->n_row;
    }
    if (row != b->n_row) return fail(e, "batch: segments hold %d rows, the batch %d", row, b->n_row);
    for (int t = 0; t < b->n_row; t++)
        if (b->id[t] < 0 || b->id[t] >= c->vocab)
            return fail(e, "batch: token id %d at row %d, expected 0 to %d", b->id[t], t, c->vocab - 1);
    for (int i = 0; i < b->n_target; i++)
        if (b->target_row[i] < (i ? b->target_row[i - 1] : 0) || b->target_row[i] >= b->n_row ||
            b->target_id[i] < 0 || b->target_id[i] >= c->vocab)
            return fail(e, "batch: target %d is token %d at row %d: out of range or out of order", i,
                        b->target_id[i], b->target_row[i]);
    return true;
}
int batch_scored_rows(const Batch *b) {
    int n = 0;
    for (int i = 0; i < b->n_target; i++) n += !i || b->target_row[i] != b->target_row[i - 1];
    return n;
}
