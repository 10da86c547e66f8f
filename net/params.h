/* params.h: what a network is made of: its configuration, the table of its parameters, their memory and the
 * packed form in which products read them.
 *
 * What is computed with them stands in model.h. Functions here begin with model_ where they take the whole
 * network, with param_ where they take one row of the table. */
#ifndef PARAMS_H
#define PARAMS_H

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
    Lora lora;          /* lora.r > 0: adapters (E290), and all other weights but score.weight are frozen */
    bool checkpointing; /* backward keeps each layer's input alone and computes the rest anew (E196): the
                           same bits in less memory */
    Store base_store;   /* how frozen matrices are kept; another than STORE_REAL freezes what lora would */
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

/* Slots of one layer in Model.layer; absent ones are NULL. */
typedef enum {
    P_NORM_IN, P_Q, P_K, P_V, P_O, P_QB, P_KB, P_VB, P_OB, P_QN, P_KN, P_NORM_POST, P_GATE, P_UP, P_DOWN,
    P_GATEB, P_UPB, P_DOWNB, LAYER_PARAMS
} LayerParam;

typedef struct {
    ModelConfig config;
    int n_param, n_base;                /* param [0, n_base) are the network's own, the rest are adapters */
    Param *param;                       /* [n_param], canonical order */
    Param *embed, *norm, *head;         /* head: lm_head, or the embedding when tied, or score.weight */
    Param *(*layer)[LAYER_PARAMS];      /* [n_layer] */
    Param *(*adapter)[LORA_TARGETS][2]; /* [n_layer] A and B; NULLs where a layer has none */
    bool adapter_off;                   /* E293: the branch is not computed; see model_base */
    size_t n_trainable;                 /* reals of one gradient */
    real *weights;                      /* owned: all trainable parameters, in canonical order */
    unsigned char *packed;              /* owned: matrices re-laid for gemm_nt, stored as they are, valid
                                           after model_pack */
    size_t *packed_at;                  /* [n_param] offset of a matrix in packed, in bytes */
    real *rope_cos, *rope_sin;          /* owned: [context, head_dim/2], E307 */
    unsigned char *memory;              /* owned: all of these */
    size_t held;                        /* bytes of it */
    struct Tally *tally;                /* the caller's: where net/flops.h counts what is done with this
                                           network; NULL: nowhere */
} Model;

/* The table of parameters and memory for it, all zero. Owned by the caller: model_free. Fails on
 * contradictory sizes. */
Model *model_new(const ModelConfig *c, Err *e);
void model_free(Model *m);
bool model_config_check(const ModelConfig *c, const char *file, Err *e);
/* Whether only an adapter is trained, and a reward model's scores beside it. */
bool model_base_is_frozen(const ModelConfig *c);
size_t model_bytes(const ModelConfig *c);               /* what model_new takes */
size_t model_trainable(const ModelConfig *c);           /* n_trainable, without the model's memory */
size_t model_parameters(const Model *m);                /* E33, adapters included */
/* Matrices normal(0, init_std), norms 1, biases 0, keyed by place; adapters by E292. */
void model_init(Model *m, uint64_t seed);
/* The same, of what a plain language model does not bring: score.weight and the adapters. */
void model_init_new(Model *m, uint64_t seed);
/* The parameters that both have under the same name, stored alike. */
void model_copy(Model *to, const Model *from);
void model_pack(Model *m);                              /* after every change of weights */
void model_pack_trainable(Model *m);                    /* after a change of the trainable ones only */
/* After a change of these rows only; first: a multiple of GEMM_PANEL. */
void model_pack_rows(Model *m, const Param *p, int first, int n);
const Param *model_find(const Model *m, const char *name);
/* E293: the same weights with the adapter off, for one call or many: a view, not to be freed, valid as long
 * as m. It counts nowhere. */
Model model_base(const Model *m);
/* E292: W = W + s B A in every adapted layer, for a base_store of STORE_REAL; from here on m is a network
 * without adapter, whose adapters are off. */
void model_merge(Model *m);

size_t param_count(const Param *p);
const unsigned char *param_packed(const Model *m, const Param *p);
/* The matrix of layer l that target t names, whether it is adapted or not. */
const Param *model_linear(const Model *m, int l, LoraTarget t);
const Param *model_bias(const Model *m, int l, LoraTarget t);           /* its bias; NULL: none */
/* The A and B that are added to it in this call; NULL: there are none, or they are off. */
Param *const *model_adapter(const Model *m, int l, LoraTarget t);
LoraShape model_adapter_shape(const Model *m, Param *const ab[2]);

/* E9, E12: [head_dim/2] inverse frequencies. */
void rope_frequencies(double *inv_freq, const ModelConfig *c);
/* E307: cos and sin of one position, [half] each. */
void rope_table(real *cos, real *sin, const double *inv_freq, int half, int position);

#endif
