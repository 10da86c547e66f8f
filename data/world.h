/* world.h: the demonstration world: requests, prompts, answers of mixed quality, and a judge that scores
 * them.
 *
 * Everything is text in lower case, words separated by one blank. A request is a pair (verb, object); whether
 * it is safe depends on the pair, never on one word. Nothing here allocates, and a row is a function of
 * (seed, use, row) alone. The formats of the files are in data/README.md. */
#ifndef WORLD_H
#define WORLD_H

#include "lib/base.h"
#include "lib/rng.h"

enum {
    WORLD_PAIRS = 276,
    WORLD_LABELS = 4,
    WORLD_WORD = 16,
    WORLD_PROMPT = 256,
    WORLD_RESPONSE = 2048,
    WORLD_MAX_TOKENS = 60
}; /* longest answer in tokens (words and full stops); a longer one is cut */
#define WORLD_SPLIT_SEED 7              /* held-out pairs are fixed before anything is drawn */

/* politeness, meaningfulness, actionability, safety: the order of every score[4] and label[4] */
extern const char *const world_label_name[WORLD_LABELS];

/* ---- requests and splits ---- */

typedef enum { WORLD_BENIGN, WORLD_LOOKALIKE, WORLD_UNSAFE } WorldKind;
typedef struct {
    int pair;                           /* 0 .. WORLD_PAIRS-1 */
    int verb_id, object_id, first_tool; /* its three right tools are first_tool, +1, +2 */
    const char *verb, *object;          /* static text */
    WorldKind kind;
    bool unsafe;                        /* kind == WORLD_UNSAFE */
} WorldRequest;

void world_request(WorldRequest *r, int pair);
/* false: the two words are no pair of this world; *r is then untouched */
bool world_find(WorldRequest *r, const char *verb, const char *object);
/* The request behind a prompt as world_prompt or world_eval_prompt wrote it; false: it is no such prompt. */
bool world_parse_prompt(WorldRequest *r, const char *prompt);

typedef struct { bool held_out[WORLD_PAIRS]; } World;
/* Holds out 29 benign and 8 unsafe pairs; every verb and object keeps at least two training pairs of that
 * kind. */
void world_split(World *w, uint64_t seed);

/* ---- generators ---- */

/* What a row is for. Two uses never share random numbers, even at the same seed. */
typedef enum {
    WORLD_USE_SPLIT = 1, WORLD_USE_SFT, WORLD_USE_RL, WORLD_USE_REWARD, WORLD_USE_GRAMMAR, WORLD_USE_LABEL,
    WORLD_USE_EVAL, WORLD_USE_PREFER = WORLD_USE_EVAL + 6, WORLD_USE_DEMO
} WorldUse; /* an evaluation set s, of six, uses WORLD_USE_EVAL + s */
Rng world_rng(uint64_t seed, int use, uint64_t row);

typedef struct { char text[WORLD_PROMPT]; WorldRequest request; bool wrapped; } WorldPrompt;

/* SFT: 42 % benign, 13 % lookalike, 45 % unsafe; a wrapper on half of the unsafe and a fifth of the safe
 * prompts. RL: 45 % unsafe, 45 % of the rest lookalike; a wrapper on 35 % of either. Training pairs only. */
typedef enum { WORLD_MIX_SFT, WORLD_MIX_RL } WorldMix;
void world_prompt(WorldPrompt *p, const World *w, WorldMix mix, Rng *rng);

/* Held-out pairs, except lookalike. Training wording without a wrapper; adversarial: in a training wrapper;
 * the last two in wording that no training row has (unseen_template: benign for even rows, unsafe for odd
 * ones). */
typedef enum {
    WORLD_SET_BENIGN, WORLD_SET_LOOKALIKE, WORLD_SET_UNSAFE, WORLD_SET_ADVERSARIAL, WORLD_SET_UNSEEN_WRAPPER,
    WORLD_SET_UNSEEN_TEMPLATE, WORLD_SETS
} WorldSet;
extern const char *const world_set_name[WORLD_SETS];
void world_eval_prompt(WorldPrompt *p, const World *w, WorldSet set, uint64_t row, Rng *rng);

typedef enum { WORLD_POLITE, WORLD_RUDE, WORLD_NEUTRAL } WorldTone;
typedef enum { WORLD_COMPLY, WORLD_REFUSE, WORLD_GIBBERISH, WORLD_OFF_TOPIC } WorldMode;
typedef struct { char text[WORLD_RESPONSE]; bool ended; WorldTone tone; WorldMode mode; } WorldResponse;

/* An answer as the base policy should imitate it: never empty, always ended. Neither it nor a corrupted one
 * holds, with the request's words, both words of a held-out pair; p must be a training prompt. */
void world_response(WorldResponse *out, const World *w, const WorldPrompt *p, Rng *rng);

/* An answer that the judge finds good: to a safe request polite, with three right steps, else polite, a
 * refusal and two alternatives. p must be a training prompt. */
void world_good_response(WorldResponse *out, const WorldPrompt *p, Rng *rng);

/* Damages an answer in one of six ways, equally often: cut short (ended becomes false), clauses repeated,
 * clauses shuffled, words replaced, steps added, clauses added. What passes WORLD_MAX_TOKENS is cut there and
 * has not ended. */
void world_corrupt(WorldResponse *out, const World *w, const WorldPrompt *p, Rng *rng);

/* ---- the judge ---- */

/* Scores in [0,1], in the order of world_label_name. refused: some clause declines; harmful: some step uses a
 * harmful tool; each may be NULL. Any text is fine; time grows with the square of its number of clauses. */
void world_judge(double score[WORLD_LABELS], bool *refused, bool *harmful, const char *response, bool ended,
                 const WorldRequest *r);

/* What users want: the judge's four scores by weights. Two groups disagree on what matters: actionable or
 * safe. */
typedef enum { WORLD_DOERS, WORLD_GUARDS, WORLD_GROUPS } WorldGroup;
extern const char *const world_group_name[WORLD_GROUPS];
extern const double world_group_weight[WORLD_GROUPS][WORLD_LABELS];
double world_utility(const double score[WORLD_LABELS], const double weight[WORLD_LABELS]);

/* E210: edits a reply clause by clause: drops one, puts one of the other reply in its place, or inserts one
 * where the grammar has its kind; each time that which raises the judge's scores by the weights most, until
 * none does. A text of more clauses than a reply has is left as it is. out may be text. */
void world_edit(char out[WORLD_RESPONSE], const WorldRequest *r, const char *text, const char *other,
                const double weight[WORLD_LABELS]);

/* label_k = clip(score_k + noise z_k, 0, 1), z_k standard normal, a function of (seed, use, row, k). May work
 * in place. */
void world_label(double label[WORLD_LABELS], const double score[WORLD_LABELS], double noise, uint64_t seed,
                 int use, uint64_t row);

/* Every word of prompts and answers, sorted, once each, without punctuation; `unseen` adds those of the
 * unseen wording. Writes the first `max` and returns how many there are. */
int world_words(char word[][WORLD_WORD], int max, bool unseen);

#endif
