/* tokenizer.h: text to tokens and back: byte-level BPE from a Hugging Face tokenizer.json. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "lib/base.h"

/* A growing list of token ids; start from {0}, free with free(ids.id). */
typedef struct { int *id; int n, capacity; } Ids;
bool ids_add(Ids *ids, int id, Err *e);

typedef struct Tokenizer Tokenizer;

/* dir/tokenizer.json and, where present, tokenizer_config.json, special_tokens_map.json and
 * chat_template.jinja. What is read: byte-level BPE (GPT-2, SmolLM2, Llama-3, Qwen2 to Qwen3 and their kin);
 * anything else is refused by its name. */
Tokenizer *tokenizer_load(const char *dir, Err *e);
void tokenizer_free(Tokenizer *t);
int tokenizer_vocab(const Tokenizer *t);                        /* largest id + 1 */
int tokenizer_bos(const Tokenizer *t);                          /* -1 if none; likewise below */
int tokenizer_eos(const Tokenizer *t);
int tokenizer_pad(const Tokenizer *t);
/* of an exact token or added token, -1 if there is none */
int tokenizer_id(const Tokenizer *t, const char *token);

/* SHA-256 of the folder's chat template, "" if it has none */
const char *tokenizer_template_hash(const Tokenizer *t);

/* Appends the ids of n bytes of text. Added tokens inside the text are recognised, as `tokenizers` does by
 * default, when `special`; else they are ordinary text. What a user typed is encoded with `special` by
 * chat_encode, so that a typed end-of-turn ends the turn, unless it is told to split specials. No bos is
 * added here. Invalid UTF-8 is read as U+FFFD per maximal bad part (what Python's errors="replace" gives).
 * A byte for which the vocabulary has no token (SmolLM2: some control characters, planes 4 to 16) is left
 * out, as `tokenizers` does, unless there is an unk_token. O(n log n) whatever the text. */
bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, bool special, Err *e);

/* The text of n ids, NUL-terminated, to be freed by the caller; *length may be NULL. Special tokens are left
 * out when skip_special. Bytes are given as they are: a cut multi-byte character is replaced by U+FFFD. */
char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e);

/* ---- training ---- */

/* Trains a byte-level BPE (GPT-2 pre-tokenizer) of `vocab` entries on the given texts and writes
 * tokenizer.json, tokenizer_config.json (chat template: plain) and special_tokens_map.json into dir. Ids:
 * specials <pad> <user> <bot> <end> first (0..3), then the 256 bytes, then merges, most frequent pair first,
 * ties by the lower pair of ids: the same file on every machine. */
bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab,
                     Err *e);

#endif
