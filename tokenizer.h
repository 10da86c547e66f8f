/* tokenizer.h: text to tokens and back: byte-level BPE from a Hugging Face tokenizer.json, and chat
 * templates. */
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
 * default, when `special`; else they are ordinary text (user content: nobody can type an end-of-turn). No bos
 * is added here. Invalid UTF-8 is read as U+FFFD per maximal bad part (what Python's errors="replace" gives).
 * A byte for which the vocabulary has no token (SmolLM2: some control characters, planes 4 to 16) is left
 * out, as `tokenizers` does, unless there is an unk_token. O(n log n) whatever the text. */
bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, bool special, Err *e);

/* The text of n ids, NUL-terminated, to be freed by the caller; *length may be NULL. Special tokens are left
 * out when skip_special. Bytes are given as they are: a cut multi-byte character is replaced by U+FFFD. */
char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e);

/* ---- chat templates --------------------------------------------------------------------- */

typedef struct { const char *role, *content; } Message;         /* roles: system, user, assistant */

/* Known families; found by the SHA-256 of the template's text, or named by --chat-template. */
typedef enum { CHAT_PLAIN, CHAT_CHATML_SMOLLM2, CHAT_QWEN2, CHAT_QWEN25, CHAT_QWEN3, CHAT_QWEN3_NO_THINK,
               CHAT_QWEN3_2507, CHAT_LLAMA3, CHAT_LLAMA3_OPEN, CHAT_UNKNOWN } ChatTemplate;
bool chat_template_parse(ChatTemplate *c, const char *name, Err *e);    /* names the nearest on error */
const char *chat_template_name(ChatTemplate c);
/* The folder's own template. Unknown text: an error that says so and names --chat-template. */
bool chat_template_find(ChatTemplate *c, const Tokenizer *t, Err *e);

/* Appends the ids of a conversation as transformers' apply_chat_template(messages, tokenize=True) gives them;
 * with `generation_prompt` the opening of the assistant's turn follows. Without a system message the family's
 * default is used. The content of messages is encoded with the template around it, in one text, so that
 * merges agree with transformers. */
bool chat_encode(Ids *out, const Tokenizer *t, ChatTemplate c, const Message *m, int n_message,
                 bool generation_prompt, Err *e);
/* The same as text (caller frees). */
char *chat_render(ChatTemplate c, const Tokenizer *t, const Message *m, int n_message, bool generation_prompt,
                  Err *e);
/* The token that closes an assistant's turn (<|im_end|>, <|eot_id|>, <end>); -1 if the tokenizer lacks it. */
int chat_end_of_turn(ChatTemplate c, const Tokenizer *t);

/* ---- training --------------------------------------------------------------------------- */

/* Trains a byte-level BPE (GPT-2 pre-tokenizer) of `vocab` entries on the given texts and writes
 * tokenizer.json, tokenizer_config.json (chat template: plain) and special_tokens_map.json into dir. Ids:
 * specials <pad> <user> <bot> <end> first (0..3), then the 256 bytes, then merges, most frequent pair first,
 * ties by the lower pair of ids: the same file on every machine. */
bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab,
                     Err *e);

#endif
