/* rollout.h: decoding with a key/value cache, sampling, and the completions of one generation step.
 *
 * What decode_step gives for a token is bit for bit what model_forward gives for the same row: the
 * log-probabilities met while sampling are the old log-probabilities. */
#ifndef ROLLOUT_H
#define ROLLOUT_H

#include "model.h"

/* ---- the sampler: one row of logits to one token ---- */

/* 0, 1, 0 switch the filters off; temperature 0: greedy */
typedef struct { double temperature; int top_k; double top_p, min_p; } Sampling;
bool sampling_check(const Sampling *s, Err *e);

/* transformers' repetition penalty: of every token of id [n], once however often it stands there, z becomes
 * plain / penalty where that is above 0, plain * penalty where not. plain [vocab]: the logits as the model
 * gave them; z [vocab] a copy of them. penalty > 0. Comes before all of Sampling. */
void sampler_penalise(real *z, const real *plain, const int *id, int n, double penalty);

/* E23 and E29, E308: z [vocab] raw logits (overwritten), u in [0,1). *logp over all of the vocabulary at the
 * temperature (greedy: at 1); *kept_logp (NULL: not wanted) over what the filters kept. order: scratch
 * [vocab], NULL if nothing is filtered. */
int sampler_draw(real *z, int vocab, const Sampling *s, double u, real *logp, real *kept_logp, int *order);

/* ---- the cache ---- */

/* Keys and values of n_prompt prompts and n_seq sequences of up to max_new tokens, each after its prompt
 * (E198). */
typedef struct Cache Cache;
enum {
    CACHE_APART = 80
}; /* reals between the caches of a completion's heads: at distances that are powers of two they would push
      each other out */
Cache *cache_new(const Model *m, const int *prompt_length, int n_prompt, const int *prompt_of, int n_seq,
                 int max_new, Err *e);
size_t cache_bytes(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq, int max_new);
void cache_free(Cache *c);
/* Runs the prompts once. last [n_prompt, hidden]: the row that predicts the first token. */
bool cache_prefill(Cache *c, real *last, const Model *m, const int *const *prompt, Err *e);
/* One token for each of n sequences (seq ascending, distinct); hidden rows [n, hidden], valid until the next
 * call. */
const real *decode_step(Cache *c, const Model *m, const int *seq, const int *id, int n);

/* ---- a generation step ---- */

/* E250: n policies of one vocabulary that write a text together, and their weights. */
typedef struct { const Model *const *model; const double *weight; int n; } Mixture;

typedef struct {
    const Mixture *mixture; /* NULL: the model that rollout is given writes alone; else its first */
    const int *const *prompt;           /* [n_prompt] token lists */
    const int *prompt_length;
    int n_prompt, group_size, max_new;
    const int *stop;                    /* token ids that end a completion; the token belongs to it */
    int n_stop;
    Sampling sampling;
    double repetition_penalty; /* over prompt and completion; 1 and 0: off, as in training: it would bias the
                                  ratio */
    uint64_t seed, step,
        first_prompt; /* numbers are keyed by (seed, step, first_prompt + prompt, completion, position) */
    void (*progress)(void *to, int done, int active);   /* NULL: none; after each position */
    void *to;
} RolloutPlan;

typedef struct {                        /* caller's memory; completion i = prompt * group_size + member */
    int *id;                            /* [n_completion, max_new] */
    real *logp; /* [n_completion, max_new] E23: over all of the vocabulary, before penalty and filters */
    int *length;                        /* [n_completion] */
    bool *ended;                        /* [n_completion] by a stop token */
    double truncation_bias;             /* mean of E29 - E23 over all tokens; 0 without filters and penalty */
    size_t cache_held, acts_held; /* bytes taken of cache, and of activations and logits at once; without what
                                     grows with the threads */
} Rollout;
/* A mixture's logp are its own, and its policies keep a cache each. One policy of weight 1 gives the bits of
 * that policy alone. */
bool rollout(Rollout *out, const Model *m, const RolloutPlan *p, Err *e);
/* What it takes beside the model, for prompts of at most `longest` tokens. */
size_t rollout_bytes(const ModelConfig *c, int longest, int n_prompt, int group_size, int max_new);
/* Of these, activations and logits, for prompts of these lengths; without what grows with the threads. */
size_t rollout_acts_bytes(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq);
/* What one more policy of a mixture adds to these. */
size_t rollout_more_bytes(const ModelConfig *c, int n_seq);

#endif
