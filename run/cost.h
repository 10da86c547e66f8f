/* cost.h: what a run does and takes, predicted by formula from the lengths of its texts.
 *
 * The other half of a Cost, what was really done and taken, comes from elsewhere: networks count their passes
 * (net/flops.h), and objects know the bytes that they hold. Everything is a double, exact as far as
 * whole numbers are. */
#ifndef COST_H
#define COST_H

#include "lib/json.h"
#include "net/flops.h"
#include "run/rollout.h"
#include "run/trainer.h"

typedef enum { NET_POLICY, NET_REFERENCE, NET_REWARD, NET_VALUE, N_NET } Net;
typedef enum {
    MEM_WEIGHTS, MEM_GRADIENTS, MEM_OPTIMIZER, MEM_CACHE, MEM_ACTIVATIONS, MEM_REFERENCE, MEM_REWARD,
    MEM_CRITIC, N_MEM
} MemoryKind;
extern const char *const net_names[], *const memory_names[];                   /* each ends with NULL */

typedef struct {
    Tally net[N_NET];
    double prompt,
        completion; /* tokens: of prompts, each once however many completions share it; of completions */
    double memory[N_MEM]; /* bytes at most, each kind by itself; without what grows with the threads */
} Cost;
typedef struct { Cost predicted, measured; } Costs;

/* What was measured so far, and what a source of scores was predicted to read, goes into t's checkpoints;
 * texts likewise. */
void costs_keep(Trainer *t, Costs *c);
double cost_flops(const Cost *c);       /* of all networks, forward and backward */
double cost_memory(const Cost *c);
void cost_memory_most(Cost *c, MemoryKind k, double bytes);     /* memory[k] becomes bytes, if that is more */

/* ---- lengths ---- */

/* Sums over texts, in the terms of E190. scored: rows that logits are computed of; token: completions'
 * tokens, each of which a critic's output is read for. */
typedef struct { double prompt, token, seq, row, attended, scored; } Texts;
/* A prompt of p tokens, and a completion that comes after it: its last token predicts nothing and is not run.
 */
void texts_prompt(Texts *t, double p);
void texts_completion(Texts *t, double p, double length);
/* A prompt and its completion run as one sequence, whole (sft); `read` of its rows give an output (reward:
 * 1). */
void texts_sequence(Texts *t, double p, double length, double read);
/* A reply of that many tokens to a prompt of p, run whole and read once (a reward model); and its prompt. */
void texts_reply_prompt(Texts *t, double p);
void texts_reply(Texts *t, double p, double length);
/* The same, read before each of its tokens and after the last. */
void texts_states(Texts *t, double p, double length);
void texts_add(Texts *t, const Texts *more, double times);      /* t += times * more */

void texts_keep(Trainer *t, const char *name, Texts *texts);

/* ---- operations ---- */

/* E190 with adapters, E192: operations of a forward pass over the texts with n_scored outputs, and of the
 * backward pass: full, or with adapters whose base is frozen. logits_anew: the logits were too many to keep
 * and are computed again. */
double cost_forward(const ModelConfig *c, const Texts *t, double n_scored);
double cost_backward(const ModelConfig *c, const Texts *t, double n_scored, bool logits_anew);

/* The networks that a method holds; those it does not are left out. */
typedef struct {
    ModelConfig policy, reference, value;
    bool has_reference, logits_anew;
} Networks;

/* E194. What a method does with texts is added to c: drawn (sampled, read by the reference and the critic)
 * once, those learned from once for each pass over them; all is linear in the texts, so a run may add them
 * piece by piece. ahead: forward passes of the policy that a loss needs before its gradient can begin. */
void cost_sft(Cost *c, const Networks *n, const Texts *trained);
void cost_reward(Cost *c, const ModelConfig *reward, const Texts *trained);
void cost_grpo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, int ahead);
void cost_ppo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, const Texts *valued);
/* valued: what the frozen critic reads, which is no more than what was drawn. */
void cost_dvpo(Cost *c, const Networks *n, const Texts *drawn, const Texts *trained, const Texts *valued);
void cost_dpo(Cost *c, const Networks *n, const Texts *referred, const Texts *trained, int ahead);
/* E201: a reference that reads beside the policy computes its logits once more for the derivative. */
void cost_logits_again(Cost *c, const Networks *n, const Texts *trained);
/* A network that only reads or writes these texts. */
void cost_read(Cost *c, Net net, const ModelConfig *config, const Texts *t);

/* ---- seconds ---- */

/* What this machine was seen to do: operations a second of a forward and of a backward pass; seconds of an
 * update, for each number that it changes; seconds of decoding one position of a batch, and more of them for
 * each completion in it, where a row has row_flops operations. */
typedef struct { double forward, backward, update, position, row, row_flops; } Speed;
/* A generation: n completions of `length` tokens in the mean and `most` at most, after prompts of `prompt`.
 */
typedef struct { double n, prompt, length, most; } Drawn;

/* E199: seconds of what c counts, with so many generations of the policy's, and updates that change so many
 * numbers, counted each time. */
double cost_seconds(const Cost *c, const Speed *v, const ModelConfig *policy, const Drawn *d,
                    double generations, double updated);

/* ---- memory ---- */

/* E195 to E197: what a trainer and its network take: weights, gradients, optimizer, activations. Predicted,
 * and as it holds them. */
void cost_trainer(Cost *c, const ModelConfig *m, int max_row, int max_target);
void cost_trainer_held(Cost *c, const Trainer *t);
/* these four together: of a critic, one kind */
double cost_trained(const Cost *c);
/* E198: the cache of a generation. */
double cost_cache(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq, int max_new);
/* A network that is only asked: weights; and its activations, for slices of that many rows. */
double cost_asked(const ModelConfig *c, int max_row, int max_target);

/* ---- told ---- */

/* an object; keys as in docs/formats.md */
void cost_json(JsonWriter *w, const Cost *c);                   /* an object; keys as in docs/formats.md */
void costs_json(JsonWriter *w, const Costs *c);                 /* {"predicted": ..., "measured": ...} */
/* Predicted and counted operations and memory on stderr; in seconds, of all threads together, and bytes (NaN:
 * not known) of the process. */
void costs_say(const char *command, const Costs *c, double seconds, double cpu_seconds, double peak_bytes);
/* --cost of commands that make no run: the same JSON as the file's only line. */
bool costs_write(const char *path, const Costs *c, Err *e);

#endif
