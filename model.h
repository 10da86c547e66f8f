/* model.h: the transformer, tokens to hidden rows, hidden rows to values, and both
 * derivatives.
 *
 * The trunk knows no targets: model_forward gives the hidden rows after the final norm, model_backward takes
 * their derivative. Heads map hidden rows to values and back. Gradients are added (+=) to one array that the
 * caller zeroes. */
#ifndef MODEL_H
#define MODEL_H

#include "lib/base.h"
#include "lib/gemm.h"
#include "lib/real.h"
#include "net/lora.h"

typedef enum { ARCH_LLAMA, ARCH_QWEN2, ARCH_QWEN3 } Arch;
typedef enum { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 } RopeKind;

typedef struct {
    Arch arch;
    int vocab, hidden, ffn, n_layer, n_head, n_kv_head, head_dim, context;
    bool tied, qkv_bias, o_bias, mlp_bias, qk_norm;
    double norm_eps, rope_theta, init_std;
    RopeKind rope;
    double rope_factor, rope_low, rope_high, rope_original;
    int n_label;                        /* 0: vocabulary head; K: score.weight (K, hidden) instead (E41) */
    int bos, eos, pad;                  /* -1: none */
    Lora lora; /* lora.r > 0: adapters (E290), and all other weights but score.weight are frozen */
    bool checkpointing; /* backward keeps each layer's input alone and computes the rest anew (E196): the same
                           bits in less memory */
    Store base_store; /* how frozen matrices are kept; another than STORE_REAL freezes all weights but those
                         above */
} ModelConfig;

/* One row of the table from which arenas, gradients, optimiser state and files follow. Canonical order:
 * embedding, layers (each: a fixed list), final norm, head; then the adapters, layer by layer in the order of
 * lora_target_names, A before B. */
typedef struct {
    char name[96];                      /* Hugging Face's, or PEFT's */
    int rows, cols;                     /* a vector has rows == 1 and is_matrix false */
    bool is_matrix;                     /* weight decay applies (E283) */
    bool trainable;
    Store store;                        /* STORE_REAL when trainable; a frozen matrix may be bf16, f16 ... */
    void *data;
    size_t offset;                      /* of its gradient and moments, in reals; SIZE_MAX when frozen */
} Param;
size_t param_count(const Param *p);

enum { LAYER_PARAMS = 16 };             /* slots of one layer in Model.layer; absent ones are NULL */
typedef enum {
    P_NORM_IN, P_Q, P_K, P_V, P_O, P_QB, P_KB, P_VB, P_OB, P_QN, P_KN, P_NORM_POST, P_GATE, P_UP, P_DOWN,
    P_MLPB
} LayerParam;

/* What a network has done, counted where it is done, outside of parallel regions: rows through the layers;
 * prompts and completions that they belong to, each once however it is cut; operations of matrix products and
 * attention, a multiply-add being two (E190, E192). */
typedef struct { double row, seq, flop; } Pass;
typedef struct { Pass forward, backward; } Tally;

typedef struct {
    ModelConfig config;
    int n_param, n_base;                /* param [0, n_base) are the network's own, the rest are adapters */
    Param *param;                       /* [n_param], canonical order */
    Param *embed, *norm, *head;         /* head: lm_head, or the embedding when tied, or score.weight */
    Param *(*layer)[LAYER_PARAMS];      /* [n_layer] */
    Param *(*mlp_bias)[3];              /* [n_layer] gate, up, down; NULLs without mlp_bias */
    Param *(*adapter)[LORA_TARGETS][2]; /* [n_layer] A and B; NULLs where a layer has none */
    bool adapter_off;                   /* E293: the branch is not computed; see model_base */
    size_t n_trainable;                 /* reals of one gradient */
    real *weights;                      /* owned: all trainable parameters, in canonical order */
    unsigned char
        *packed; /* owned: matrices re-laid for gemm_nt, stored as they are, valid after model_pack */
    size_t *packed_at;                  /* [n_param] offset of a matrix in packed, in bytes */
    real *rope_cos, *rope_sin;          /* owned: [context, head_dim/2], E307 */
    unsigned char *memory;              /* owned: all of these */
    size_t held;                        /* bytes of it */
    Tally *tally; /* the caller's: where what is done with this network is added; NULL: nowhere */
} Model;

/* The table of parameters and memory for it, all zero. Owned by the caller: model_free. Fails on
 * contradictory sizes. */
Model *model_new(const ModelConfig *c, Err *e);
void model_free(Model *m);
bool model_config_check(const ModelConfig *c, const char *file, Err *e);
size_t model_bytes(const ModelConfig *c);               /* what model_new takes */
size_t model_trainable(const ModelConfig *c);           /* n_trainable, without the model's memory */
size_t model_parameters(const Model *m);                /* E33, adapters included */
/* E190: FLOPs of a forward pass over n_row rows that attend to sum_attended positions together, without
 * adapters; E191: TRL's count for training. */
double model_forward_flops(const ModelConfig *c, double n_row, double sum_attended, double n_scored);
double model_trl_flops_per_token(const ModelConfig *c, double length);
/* normal(0, init_std), norms 1, biases 0, keyed by place; adapters by E292 */
void model_init(Model *m, uint64_t seed);
/* the same, of what a language model does not bring: score.weight and adapters */
void model_init_new(Model *m, uint64_t seed);
/* the parameters that both have under the same name, stored alike */
void model_copy(Model *to, const Model *from);
void model_pack(Model *m);                              /* after every change of weights */
void model_pack_trainable(Model *m);                    /* after a change of the trainable ones only */
/* after a change of these rows only; first: a multiple of GEMM_PANEL */
void model_pack_rows(Model *m, const Param *p, int first, int n);
const Param *model_find(const Model *m, const char *name);
/* E293: the same weights with the adapter off, for one call or many: a view, not to be freed, valid as long
 * as m. */
Model model_base(const Model *m);
/* E292: W = W + s B A in every adapted layer, for a base_store of STORE_REAL; from here on m is a network
 * without adapter, whose adapters are off. */
void model_merge(Model *m);

/* ---- a batch: rows without padding, a tree of depth two (E30, E31) ---------------------- */

typedef struct {
    int start, n_row;                   /* rows [start, start + n_row) of the batch */
    int prefix; /* an earlier segment, without prefix itself, whose rows come first; -1: none */
} Segment;                              /* the segments that share a prefix follow it at once */

typedef struct {
    int n_row, n_seg, n_target;
    const int *id;                      /* [n_row] */
    const Segment *seg;                 /* [n_seg], rows side by side, ascending */
    const int *target_row, *target_id;  /* [n_target], target_row ascending; a row may have several targets */
} Batch;
bool batch_check(const Batch *b, const ModelConfig *c, Err *e);

/* ---- trunk ------------------------------------------------------------------------------ */

/* Activations of up to max_row rows and max_target targets; `keep`: all that backward needs (E196; with
 * checkpointing the layers' inputs and one layer's worth), else one layer's worth. */
typedef struct Acts Acts;
Acts *acts_new(const Model *m, int max_row, int max_target, bool keep, Err *e);
size_t acts_bytes(const ModelConfig *c, int max_row, int max_target, bool keep);
/* the part of it that grows with the threads: attention's panels */
size_t acts_thread_bytes(const ModelConfig *c, int max_row, bool keep);
/* those of max_target rows, so that the backward pass need not compute them again */
bool acts_keep_logits(const ModelConfig *c, int max_target);
/* bytes really taken (or reserved, of E20's rows for a tied embedding), without that part */
size_t acts_held(const Acts *a);
void acts_free(Acts *a);

/* E1 to E16: hidden rows after the final norm, [n_row, hidden], valid until the next call with the same acts.
 */
const real *model_forward(Acts *a, const Model *m, const Batch *b);
/* The same for a caller who keeps keys and values: sink gets k, v [n_row, n_kv_head * head_dim] of every
 * layer (k rotated). */
typedef void KeySink(void *to, int layer, const real *k, const real *v);
const real *model_forward_keys(Acts *a, const Model *m, const Batch *b, KeySink *sink, void *to);
/* And for one who owns what rows attend to (decoding): n rows with their positions; attention writes o from
 * q, k, v. */
typedef struct { int n_row; const real *q, *k, *v; real *o, *max, *sum; } AttentionRows;
typedef void Attention(void *context, int layer, const AttentionRows *rows);
const real *model_rows(Acts *a, const Model *m, const int *id, const int *position, int n,
                       Attention *attention, void *context);
/* Backward through everything below the hidden rows: grad [n_trainable] += . dhidden [n_row, hidden] is
 * overwritten, activations are used up: once for each forward. */
void model_backward(real *grad, Acts *a, const Model *m, const Batch *b, real *dhidden);
/* Once a step, before the norm (E284): what a tied embedding got as such, which a has kept apart since the
 * last time, is added to the head's gradient. */
void model_grad_finish(real *grad, Acts *a, const Model *m);

/* ---- heads ------------------------------------------------------------------------------ */

/* E23, E25: logp and entropy (NULL: not wanted) of each target at the temperature; logits in chunks of rows.
 */
void head_logp(real *logp, real *entropy, Acts *a, const Model *m, const Batch *b, const real *hidden,
               double temperature);
/* E24, E26: dhidden [n_row, hidden] is written (zero where nothing is scored), grad += ; dentropy may be
 * NULL. grad NULL: head frozen. Must follow head_logp on the same batch and hidden rows: it goes on from the
 * logits, or, where they were too many to keep, computes them anew. */
void head_logp_backward(real *dhidden, real *grad, Acts *a, const Model *m, const Batch *b,
                        const real *hidden, double temperature, const real *dlogp, const real *dentropy);
/* z [n, vocab] = hidden rows times the head: E4. */
void head_logits(real *z, const Model *m, const real *hidden, int n);
/* E40: the last of n ids that is not pad; -1 if there is none. pad -1: the last. */
int head_last_row(const int *id, int n, int pad);
/* E41: scores [n, n_label] of the given rows; and back: dhidden [n_row, hidden] is written, grad += . A row
 * may be read more than once. */
void head_linear(real *score, const Model *m, const real *hidden, const int *row, int n);
void head_linear_backward(real *dhidden, real *grad, const Model *m, const real *hidden, int n_row,
                          const int *row, int n, const real *dscore);

/* Counts attention over so many pairs of a row and a position that it sees, in every layer: for one who owns
 * what rows attend to. */
void model_tally_attention(const Model *m, double attended);

/* ---- pieces, public because they are tested alone and used by decoding ------------------- */

/* E9, E12: [head_dim/2] */
void rope_frequencies(double *inv_freq, const ModelConfig *c);
/* E307: one position, [half] each */
void rope_table(real *cos, real *sin, const double *inv_freq, int half, int position);
/* E10; back: E11 */
void rope_apply(real *x, int n_head, int head_dim, const real *cos, const real *sin, bool back);
/* E7, one row; r may be NULL */
void rms_norm(real *y, real *r, const real *x, const real *w, int n, double eps);
/* E8, dx += */
void rms_norm_backward(real *dx, const real *dy, const real *x, const real *w, real r, int n);
/* E8, dw += ; rows ascending, r [n_vec] */
void rms_norm_weight_backward(real *dw, const real *dy, const real *x, const real *r, size_t n_vec, int n);
/* E23, E25, E27: one row of logits; z is divided by tau in place. The sum goes over blocks of LOGITS_BLOCK in
 * ascending order. */
/* lse = max + log_sum; log p_v = (z_v - max) - log_sum */
typedef struct { real max, sum, log_sum, entropy; } LogitStats;
LogitStats logits_stats(real *z, int vocab, double temperature, bool want_entropy);
/* The same without entropy, for E308: total_at [blocks of LOGITS_BLOCK ids]: the sum of exp(z - max) over all
 * ids up to a block's end, one by one in double. */
enum { LOGITS_BLOCK = 4096 };
LogitStats logits_totals(real *z, int vocab, double temperature, double *total_at);
/* E24, E26: z [vocab] (as left by logits_stats) becomes dz, for n targets of this row with derivatives dlogp
 * and (or NULL) dentropy. */
void logits_backward(real *z, int vocab, double temperature, const LogitStats *s, const int *target,
                     const real *dlogp, const real *dentropy, int n);
/* E5 */
void linear_forward(real *y, const Model *m, const Param *w, const Param *bias, const real *x, int n_row);

#endif
