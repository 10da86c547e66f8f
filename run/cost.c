/* cost.c: operations of each method, seconds, and memory by kind, from the sizes of networks and the lengths
 * of texts.
 *
 * In this order: lengths, one network's passes (E190, E192), the methods' (E194), seconds (E199), memory
 * (E195 to E198). Not here: what is counted while a network runs (model.c). */
#include "run/cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/files.h"
#include "lib/say.h"

const char *const net_names[] = {"policy", "reference", "reward", "value", NULL};
const char *const memory_names[] = {"weights",   "gradients", "optimizer", "cache", "activations",
                                    "reference", "reward",    "critic",    NULL};

static void pass_keep(Trainer *t, const char *whose, const char *net, const char *way, Pass *p) {
    double *const value[] = {&p->row, &p->seq, &p->flop};
    static const char *const name[] = {"row", "seq", "flop"};
    for (int i = 0; i < 3; i++) {
        char full[48];
        snprintf(full, sizeof full, "%s.%s.%s.%s", whose, net, way, name[i]);
        trainer_keep(t, full, value[i], 1);
    }
}

void costs_keep(Trainer *t, Costs *c) {
    for (int k = 0; k < N_NET; k++) {
        pass_keep(t, "measured", net_names[k], "forward", &c->measured.net[k].forward);
        pass_keep(t, "measured", net_names[k], "backward", &c->measured.net[k].backward);
    }
    trainer_keep(t, "measured.prompt", &c->measured.prompt, 1);
    trainer_keep(t, "measured.completion", &c->measured.completion, 1);
    trainer_keep(t, "measured.memory", c->measured.memory, N_MEM);
    pass_keep(t, "predicted", net_names[NET_REWARD], "forward", &c->predicted.net[NET_REWARD].forward);
    trainer_keep(t, "predicted.memory", c->predicted.memory, N_MEM);
}

double cost_flops(const Cost *c) {
    double sum = 0;
    for (int k = 0; k < N_NET; k++) sum += c->net[k].forward.flop + c->net[k].backward.flop;
    return sum;
}

double cost_memory(const Cost *c) {
    double sum = 0;
    for (int k = 0; k < N_MEM; k++) sum += c->memory[k];
    return sum;
}

void cost_memory_most(Cost *c, MemoryKind k, double bytes) {
    c->memory[k] = bytes > c->memory[k] ? bytes : c->memory[k];
}

/* ---- lengths ---- */

/* n rows that see `before` others and, each, those of them that stand before it and itself. */
static void stretch(Texts *t, double before, double n) {
    if (n <= 0) return;
    t->seq++;
    t->row += n;
    t->attended += n * before + n * (n + 1) / 2;
}

void texts_prompt(Texts *t, double p) {
    stretch(t, 0, p);
    t->prompt += p;
    t->scored++;
}

void texts_completion(Texts *t, double p, double length) {
    stretch(t, p, length - 1);
    t->token += length;
    t->scored += length - 1;
}

void texts_sequence(Texts *t, double p, double length, double read) {
    stretch(t, 0, p + length);
    t->prompt += p;
    t->token += length;
    t->scored += read;
}

void texts_reply_prompt(Texts *t, double p) { stretch(t, 0, p); }

void texts_reply(Texts *t, double p, double length) {
    stretch(t, p, length);
    t->scored++;
}

void texts_states(Texts *t, double p, double length) {
    stretch(t, p, length);
    t->token += length;
    t->scored += length + 1;
}

void texts_add(Texts *t, const Texts *more, double times) {
    t->prompt += times * more->prompt;
    t->token += times * more->token;
    t->seq += times * more->seq;
    t->row += times * more->row;
    t->attended += times * more->attended;
    t->scored += times * more->scored;
}

void texts_keep(Trainer *t, const char *name, Texts *x) {
    double *const value[] = {&x->prompt, &x->token, &x->seq, &x->row, &x->attended, &x->scored};
    static const char *const part[] = {"prompt", "token", "seq", "row", "attended", "scored"};
    for (int i = 0; i < 6; i++) {
        char full[48];
        snprintf(full, sizeof full, "%s.%s", name, part[i]);
        trainer_keep(t, full, value[i], 1);
    }
}

/* ---- E190, E192: one network ---- */

static double outputs(const ModelConfig *c) { return 2.0 * (c->n_label ? c->n_label : c->vocab) * c->hidden; }
static double attention_cost(const ModelConfig *c) { return 4.0 * c->n_head * c->head_dim * c->n_layer; }

/* Sums of r * in and of r * out over all adapters: their weights. */
static void adapter_weights(const ModelConfig *c, double *in, double *out) {
    const double h = c->hidden, q = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim,
                 f = c->ffn;
    const double n_in[LORA_TARGETS] = {h, h, h, q, h, h, f}, n_out[LORA_TARGETS] = {q, kv, kv, h, f, f, h};
    *in = *out = 0;
    for (int t = 0; t < LORA_TARGETS; t++)
        if (c->lora.r && c->lora.target >> t & 1)
            *in += (double)c->n_layer * c->lora.r * n_in[t],
                *out += (double)c->n_layer * c->lora.r * n_out[t];
}

double cost_forward(const ModelConfig *c, const Texts *t, double n_scored) {
    double in, out;
    adapter_weights(c, &in, &out);
    return model_forward_flops(c, t->row, t->attended, n_scored) + 2 * (in + out) * t->row;
}

/* Each matrix once for the derivative by its input and, if it is trained, once for that by itself. Attention
 * computes q k anew from the maximum and sum that it kept: five products where the forward pass has two. An
 * adapter: 4 r (in + out). Checkpointing: all layers but the last once more forward, without the last map
 * where no adapter stands beside it. */
double cost_backward(const ModelConfig *c, const Texts *t, double n_scored, bool logits_anew) {
    double in, out;
    adapter_weights(c, &in, &out);
    const bool full = !c->lora.r, head = full || c->n_label;
    const double layers = model_forward_flops(c, t->row, 0, 0);
    const double down =
        c->lora.r && c->lora.target >> LORA_DOWN & 1 ? 0 : 2.0 * c->n_layer * c->ffn * c->hidden * t->row;
    const double once_more = layers - down + attention_cost(c) * t->attended + 2 * (in + out) * t->row;
    const double again = c->checkpointing ? once_more / c->n_layer * (c->n_layer - 1) : 0;
    return again + (full ? 2 : 1) * layers + 2.5 * attention_cost(c) * t->attended +
           ((head ? 2 : 1) + (logits_anew ? 1 : 0)) * outputs(c) * n_scored + 4 * (in + out) * t->row;
}

static void add_pass(Pass *p, const Texts *t, double flops) {
    p->row += t->row;
    p->seq += t->seq;
    p->flop += flops;
}

static void forward(Cost *c, Net k, const ModelConfig *m, const Texts *t, double n_scored) {
    add_pass(&c->net[k].forward, t, cost_forward(m, t, n_scored));
}

static void forward_and_backward(Cost *c, Net k, const ModelConfig *m, const Texts *t, double n_scored,
                                 bool logits_anew) {
    forward(c, k, m, t, n_scored);
    add_pass(&c->net[k].backward, t, cost_backward(m, t, n_scored, logits_anew));
}

static void tokens(Cost *c, const Texts *t) {
    c->prompt += t->prompt;
    c->completion += t->token;
}

/* ---- E194: the methods ---- */

void cost_sft(Cost *c, const Networks *n, const Texts *trained) {
    tokens(c, trained);
    forward_and_backward(c, NET_POLICY, &n->policy, trained, trained->scored, n->logits_anew);
}

void cost_reward(Cost *c, const ModelConfig *reward, const Texts *trained) {
    tokens(c, trained);
    forward_and_backward(c, NET_REWARD, reward, trained, trained->scored, false);
}

void cost_read(Cost *c, Net net, const ModelConfig *config, const Texts *t) {
    forward(c, net, config, t, t->scored);
}

/* E193 is E190: a token that is decoded with a cache costs what its row costs in a forward pass. The
 * log-probabilities met on the way are the old ones (E81). */
static void generation(Cost *c, const Networks *n, const Texts *drawn) {
    tokens(c, drawn);
    forward(c, NET_POLICY, &n->policy, drawn, drawn->scored);
    if (n->has_reference) forward(c, NET_REFERENCE, &n->reference, drawn, drawn->scored);
}

static void policy_update(Cost *c, const Networks *n, const Texts *trained, int ahead) {
    for (int i = 0; i < ahead; i++) forward(c, NET_POLICY, &n->policy, trained, trained->scored);
    forward_and_backward(c, NET_POLICY, &n->policy, trained, trained->scored, n->logits_anew);
}

void cost_grpo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, int ahead) {
    generation(c, n, drawn);
    policy_update(c, n, trained, ahead);
}

/* A critic is read for every token: the row before a prompt's first tokens once for each completion. */
void cost_ppo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, const Texts *valued) {
    generation(c, n, drawn);
    forward(c, NET_VALUE, &n->value, drawn, drawn->token);
    policy_update(c, n, trained, 0);
    forward_and_backward(c, NET_VALUE, &n->value, valued, valued->token, false);
}

void cost_dvpo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, const Texts *valued) {
    generation(c, n, drawn);
    forward(c, NET_VALUE, &n->value, valued, valued->scored);
    policy_update(c, n, trained, 0);
}

void cost_dpo(Cost *c, const Networks *n, const Texts *referred, const Texts *trained, int ahead) {
    tokens(c, trained);
    forward(c, NET_REFERENCE, &n->reference, referred, referred->scored);
    policy_update(c, n, trained, ahead);
}

void cost_logits_again(Cost *c, const Networks *n, const Texts *trained) {
    c->net[NET_REFERENCE].forward.flop += outputs(&n->reference) * trained->scored;
}

/* ---- E199: seconds ---- */

double cost_seconds(const Cost *c, const Speed *v, const ModelConfig *policy, const Drawn *d,
                    double generations, double updated) {
    double forward = 0, backward = 0, decoding = 0;
    Texts one = {0};
    texts_completion(&one, d->prompt, d->length);
    const double drawn = cost_forward(policy, &one, one.scored);
    for (int k = 0; k < N_NET; k++)
        forward += c->net[k].forward.flop, backward += c->net[k].backward.flop;
    /* weights are read once a position for all completions, however few are left by then */
    if (one.row > 0)
        decoding = ((d->most - 1) * v->position + d->n * one.row * v->row) * drawn / one.row / v->row_flops;
    return (forward - generations * d->n * drawn) / v->forward + backward / v->backward +
           generations * decoding + updated * v->update;
}

/* ---- E195 to E198: memory ---- */

void cost_trainer(Cost *c, const ModelConfig *m, int max_row, int max_target) {
    const double trained = (double)(model_trainable(m) * sizeof(real));
    cost_memory_most(c, MEM_WEIGHTS, (double)model_bytes(m));
    cost_memory_most(c, MEM_GRADIENTS, trained);
    cost_memory_most(c, MEM_OPTIMIZER, 2 * trained);
    cost_memory_most(c, MEM_ACTIVATIONS,
                     (double)(acts_bytes(m, max_row, max_target, true) -
                              acts_thread_bytes(m, max_row, true)) +
                         (double)max_row * m->hidden * sizeof(real));
}

void cost_trainer_held(Cost *c, const Trainer *t) {
    cost_memory_most(c, MEM_WEIGHTS, (double)t->model->held);
    cost_memory_most(c, MEM_GRADIENTS, (double)t->grad_held);
    cost_memory_most(c, MEM_OPTIMIZER, (double)t->moments_held);
    cost_memory_most(c, MEM_ACTIVATIONS, (double)acts_held(t->acts) + (double)t->dhidden_held);
}

double cost_trained(const Cost *c) {
    return c->memory[MEM_WEIGHTS] + c->memory[MEM_GRADIENTS] + c->memory[MEM_OPTIMIZER] +
           c->memory[MEM_ACTIVATIONS];
}

/* Positions and elements of a head lie in whole panels. */
static double whole_panels(int n) { return (n + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL; }

double cost_cache(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq, int max_new) {
    double position = n_seq * whole_panels(max_new);
    for (int i = 0; i < n_prompt; i++) position += whole_panels(prompt_length[i]);
    return 2.0 * c->n_layer * c->n_kv_head * sizeof(real) *
           (whole_panels(c->head_dim) * position + n_seq * CACHE_APART);
}

double cost_asked(const ModelConfig *c, int max_row, int max_target) {
    return (double)model_bytes(c) +
           (double)(acts_bytes(c, max_row, max_target, false) - acts_thread_bytes(c, max_row, false));
}

/* ---- told ---- */

typedef enum { FLOP, ROW, SEQ } Quantity;

static double pass_part(const Pass *p, Quantity q) {
    return q == FLOP ? p->flop : q == ROW ? p->row : p->seq;
}

static void nets_json(JsonWriter *w, const char *key, const Cost *c, Quantity q) {
    json_open(w, key, '{');
    for (int k = 0; k < N_NET; k++) {
        json_open(w, net_names[k], '{');
        json_put(w, "forward", pass_part(&c->net[k].forward, q));
        json_put(w, "backward", pass_part(&c->net[k].backward, q));
        json_end(w, '}');
    }
    json_end(w, '}');
}

void cost_json(JsonWriter *w, const Cost *c) {
    json_begin(w, '{');
    nets_json(w, "flops", c, FLOP);
    json_put(w, "total_flops", cost_flops(c));
    nets_json(w, "passes", c, ROW);
    nets_json(w, "sequences", c, SEQ);
    json_open(w, "tokens", '{');
    json_put(w, "prompt", c->prompt);
    json_put(w, "completion", c->completion);
    json_end(w, '}');
    json_open(w, "memory", '{');
    for (int k = 0; k < N_MEM; k++) json_put(w, memory_names[k], c->memory[k]);
    json_end(w, '}');
    json_end(w, '}');
}

void costs_json(JsonWriter *w, const Costs *c) {
    json_begin(w, '{');
    json_key(w, "predicted"); cost_json(w, &c->predicted);
    json_key(w, "measured"); cost_json(w, &c->measured);
    json_end(w, '}');
}

void costs_say(const char *command, const Costs *c, double seconds, double cpu_seconds, double peak_bytes) {
    char planned[32], taken[32], peak[32];
    const double all = cost_flops(&c->measured);
    fprintf(stderr, "%s: operations: %.4g predicted, %.4g counted", command, cost_flops(&c->predicted), all);
    for (int k = 0, n = 0; k < N_NET; k++) {
        const Tally *t = &c->measured.net[k];
        if (t->forward.flop > 0)
            fprintf(stderr, "%s%s %.0f %%", n++ ? ", " : " (", net_names[k],
                    100 * (t->forward.flop + t->backward.flop) / all);
    }
    human_bytes(planned, cost_memory(&c->predicted));
    human_bytes(taken, cost_memory(&c->measured));
    human_bytes(peak, peak_bytes);
    fprintf(stderr,
            "%s\n%s: memory: %s predicted, %s taken by weights, gradients, moments, cache, activations",
            all > 0 ? ")" : "", command, planned, taken);
    if (!isnan(peak_bytes)) fprintf(stderr, "; the process held %s at most", peak);
    fprintf(stderr, "\n%s: time: %.3g s, %.3g s of CPU\n", command, seconds, cpu_seconds);
}

bool costs_write(const char *path, const Costs *c, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_key(&w, "cost"); costs_json(&w, c);
    json_end(&w, '}');
    json_raw(&w, "\n");
    const bool ok = json_save(path, &w, e);
    free(w.text);
    return ok;
}
