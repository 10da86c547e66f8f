/* flops.c: E190 to E192: what a pass costs by formula, and the same counted from the table of parameters. */
#include "net/flops.h"

/* ---- E190, E191: by formula ---- */

static double layer_weights(const ModelConfig *c) {     /* N of E190 */
    const double h = c->hidden, q = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim;
    return c->n_layer * (h * (q + 2 * kv) + q * h + 3 * h * c->ffn);
}

double model_forward_flops(const ModelConfig *c, double n_row, double sum_attended, double n_scored) {
    const double outputs = c->n_label ? c->n_label : c->vocab;
    return 2 * layer_weights(c) * n_row + 4 * (double)c->n_head * c->head_dim * c->n_layer * sum_attended +
           2 * outputs * c->hidden * n_scored;
}

double model_trl_flops_per_token(const ModelConfig *c, double length) {
    return 3 * model_forward_flops(c, 1, length, 1);
}

/* ---- E192: counted ---- */

static double product_flops(const Param *w, double n_row) { return 2 * (double)param_count(w) * n_row; }

/* One layer's linear map t with its adapter, forward. */
static double linear_flops(const Model *m, int l, LoraTarget t, double n_row) {
    Param *const *ab = model_adapter(m, l, t);
    return product_flops(model_linear(m, l, t), n_row) +
           (ab ? product_flops(ab[0], n_row) + product_flops(ab[1], n_row) : 0);
}

/* The same backward: dx of both, dW of what is trained. */
static double linear_backward_flops(const Model *m, int l, LoraTarget t, double n_row) {
    const Param *w = model_linear(m, l, t);
    const double dx = product_flops(w, n_row), all = linear_flops(m, l, t, n_row);
    return all + (w->trainable ? dx : 0) + (all - dx);
}

/* One layer's attention. Of one pair forward: q k and p v; backward those of q k again, dO v, and into dv,
 * dq, dk. */
static double attention_flops(const ModelConfig *c, double attended, bool backward) {
    return (backward ? 10.0 : 4.0) * c->n_head * c->head_dim * attended;
}

static double attended_pairs(const Batch *b) {
    double attended = 0;
    for (int i = 0; i < b->n_seg; i++) {
        const double n = b->seg[i].n_row, before = b->seg[i].prefix < 0 ? 0 : b->seg[b->seg[i].prefix].n_row;
        attended += n * before + n * (n + 1) / 2;
    }
    return attended;
}

void tally_rows(const Model *m, double n_row, double n_seq, double attended) {
    if (!m->tally) return;
    Pass *p = &m->tally->forward;
    p->row += n_row;
    p->seq += n_seq;
    for (int l = 0; l < m->config.n_layer; l++) {
        p->flop += attention_flops(&m->config, attended, false);
        for (LoraTarget t = 0; t < LORA_TARGETS; t++) p->flop += linear_flops(m, l, t, n_row);
    }
}

void tally_head(const Model *m, double n_row) {
    if (m->tally) m->tally->forward.flop += product_flops(m->head, n_row);
}

void tally_forward(const Model *m, const Batch *b, double n_scored) {
    tally_rows(m, b->n_row, b->n_seg, attended_pairs(b));
    tally_head(m, n_scored);
}

void tally_backward(const Model *m, const Batch *b, double n_scored, double n_again) {
    if (!m->tally) return;
    Pass *p = &m->tally->backward;
    const double n = b->n_row, attended = attended_pairs(b);
    p->row += n;
    p->seq += b->n_seg;
    p->flop += product_flops(m->head, n_again + (m->head->trainable ? 2 : 1) * n_scored);
    for (int l = 0; l < m->config.n_layer; l++) {
        /* what a checkpoint lacks; of the last linear map only the adapter's part is wanted again */
        const bool again = m->config.checkpointing && l < m->config.n_layer - 1;
        p->flop += attention_flops(&m->config, attended, true);
        if (again) p->flop += attention_flops(&m->config, attended, false);
        for (LoraTarget t = 0; t < LORA_TARGETS; t++) {
            p->flop += linear_backward_flops(m, l, t, n);
            if (again && (t != LORA_DOWN || m->adapter[l][t][0]))
                p->flop += linear_flops(m, l, t, n);
        }
    }
}
