/* tokenizer.h: text to tokens and back: byte-pair encoding from a Hugging Face tokenizer.json. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "lib/base.h"
#include "lib/hash.h"
#include "text/rewrite.h"

/* A growing list of token ids; start from {0}, free with free(ids.id). */
typedef struct { int *id; int n, capacity; } Ids;
bool ids_add(Ids *ids, int id, Err *e);

typedef struct Tokenizer Tokenizer;

/* dir/tokenizer.json and, where present, tokenizer_config.json and special_tokens_map.json.
 * What is read: BPE of bytes (GPT-2, SmolLM2, Llama-3, Qwen2 to Qwen3 and their kin) and
 * BPE of characters with bytes to fall back on, as SentencePiece's models are written there (Llama-2,
 * TinyLlama, Mistral, Gemma); anything else is refused by its name. */
Tokenizer *tokenizer_load(const char *dir, Err *e);
void tokenizer_free(Tokenizer *t);
int tokenizer_vocab(const Tokenizer *t);                        /* largest id + 1 */
int tokenizer_bos(const Tokenizer *t);                          /* -1 if none; likewise below */
int tokenizer_eos(const Tokenizer *t);
int tokenizer_pad(const Tokenizer *t);
/* of an exact token or added token, -1 if there is none */
int tokenizer_id(const Tokenizer *t, const char *token);

/* The id of the added token with which n bytes begin, the longest if several, and its bytes; -1: none. */
int tokenizer_added_at(const Tokenizer *t, const char *s, size_t n, size_t *length);

/* Appends the ids of n bytes of text. Added tokens inside the text are recognised as `tokenizers` does; those
 * that the file calls special only with ENCODE_SPECIAL (its encode_special_tokens is the opposite), else they
 * are ordinary text: a completion has <think> of Qwen3 as the one token that the model draws, and never an
 * end of turn. What a user typed is encoded with it by chat_encode, so that a typed end-of-turn ends the
 * turn, unless it is told to split specials. Tokenizers of SentencePiece's kin put a blank before a text; one
 * that goes on where another ended gets none (ENCODE_INSIDE), and one that follows an added token gets one
 * where the file says so (ENCODE_BEHIND). No bos is added here. Invalid UTF-8 is read as U+FFFD per maximal
 * bad part (what Python's errors="replace" gives). A byte for which the vocabulary has no token (SmolLM2:
 * some control characters, planes 4 to 16) is left out, as `tokenizers` does, unless there is an unk_token.
 * O(n log n) whatever the text. */
enum { ENCODE_SPECIAL = 1, ENCODE_BEHIND = 2, ENCODE_INSIDE = 4 };
bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, int how, Err *e);

/* The text of n ids, NUL-terminated, to be freed by the caller; *length may be NULL. Special tokens are left
 * out when skip_special. Bytes are given as they are: a cut multi-byte character is replaced by U+FFFD. The
 * decoder of the file decides what becomes of blanks: Llama's leave out the one that a text begins with. */
char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e);

/* ---- training ---- */

/* Trains a byte-level BPE (GPT-2 pre-tokenizer) of `vocab` entries on the given texts and writes
 * tokenizer.json, tokenizer_config.json (chat template: plain) and special_tokens_map.json into dir. Ids:
 * specials <pad> <user> <bot> <end> first (0..3), then the 256 bytes, then merges, most frequent pair first,
 * ties by the lower pair of ids: the same file on every machine. */
bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab,
                     Err *e);

/* ---- the tables, for the reader of files and the trainer in text/ ---- */

/* TOKEN_RAW: in the vocabulary, but not spelt in byte letters. TOKEN_CHANGED: an added token that the
 * normalizer changes, so that its text is that of its Added. */
enum { TOKEN_SPECIAL = 1, TOKEN_ADDED = 2, TOKEN_RAW = 4, TOKEN_CHANGED = 8 };
typedef enum { SPLIT_GPT2, SPLIT_LLAMA3, SPLIT_QWEN, N_SPLIT } Split;
/* Metaspace: blanks become marks, and a mark is put before a text that has none. */
typedef enum { MARK_NEVER, MARK_FIRST, MARK_ALWAYS } MarkScheme;
typedef struct { char *text; int n, id; bool normalized, lstrip, rstrip; } Added;
typedef struct { int a, b, rank, id; } Merge;                   /* rank < 0: an empty slot */

struct Tokenizer {
    char *text; size_t *start; int *length;                     /* by id: the bytes that a token stands for */
    unsigned char *flags; int vocab;
    Merge *merge; size_t merge_mask;                            /* open addressing by (a, b) */
    int *name; size_t name_mask;                                /* open addressing by bytes: ids, -1: empty */
    Added *added; int n_added;
    int *sorted, n_raw;                 /* [n_added] those not normalized first, then by their bytes */
    bool begins_added[2][256];                                  /* [normalized][first byte] */
    HashKey key;                                                /* of both tables */
    int byte_id[256], bos, eos, pad;                            /* byte_id -1: the byte is left out */
    bool whole_words;                                           /* ignore_merges */
    Rewrite normalizer[REWRITE_STEPS];
    int n_normalizer;
    /* tokens of bytes */
    Split split;
    bool digits;                                                /* Digits before split */
    /* tokens of characters; byte_id: what stands for the bytes of one that has none */
    bool characters, fuse_unk;
    int unk;                                                    /* -1: such a character is left out */
    bool metaspace;                                             /* mark: its two steps */
    MarkScheme scheme;
    Rewrite mark[2];
    char cut[REWRITE_LONGEST];                                  /* with this words begin, or end; "": one */
    int n_cut;
    bool cut_behind;
    Rewrite decoder[REWRITE_STEPS];
    int n_decoder;
};

/* The regular expression of each way to split, by which a tokenizer.json names it. */
extern const char *const tokenizer_pattern[N_SPLIT];
/* The bytes of the first word of n >= 1 bytes by GPT-2's pattern: at least 1. */
size_t tokenizer_gpt2_word(const char *s, size_t n);

/* GPT-2's characters for the 256 bytes. */
void tokenizer_letters(uint32_t letter[256]);
/* The slot of the pair: its merge, or the empty one where it would stand. */
Merge *tokenizer_merge(const Tokenizer *t, int a, int b);
/* The slot of the vocabulary's token with these bytes, or the empty one where it would stand. */
int *tokenizer_name(const Tokenizer *t, const char *s, size_t n);
/* n >= 1 bytes as the normalizer leaves them, to be freed; inside: what it puts before a text is left out.
 * NULL with the line filled in: no memory. */
char *tokenizer_normalize(const Tokenizer *t, const char *s, size_t n, bool inside, size_t *length, Err *e);

#endif
