/* tokenizer_tables.h: what the three files of the tokenizer share: its tables and how they are searched. */
#ifndef TEXT_TOKENIZER_TABLES_H
#define TEXT_TOKENIZER_TABLES_H

#include "lib/base.h"

/* TOKEN_RAW: in the vocabulary, but not spelt in byte letters. */
enum { TOKEN_SPECIAL = 1, TOKEN_ADDED = 2, TOKEN_RAW = 4 };
typedef enum { SPLIT_GPT2, SPLIT_LLAMA3, SPLIT_QWEN, N_SPLIT } Split;
/* next: the one with the same first byte that is as long or shorter, -1: none. */
typedef struct { char *text; int n, id, next; bool normalized, lstrip, rstrip; } Added;
typedef struct { int a, b, rank, id; } Merge;                   /* rank < 0: an empty slot */

typedef struct Tokenizer {
    char *text; size_t *start; int *length;                     /* by id: the bytes that a token stands for */
    unsigned char *flags; int vocab;
    Merge *merge; size_t merge_mask;                            /* open addressing by (a, b) */
    int *name; size_t name_mask;                                /* open addressing by bytes: ids, -1: empty */
    Added *added; int n_added;
    int first_added[2][256];                                    /* [normalized][first byte]: the longest */
    int byte_id[256], bos, eos, pad;                            /* byte_id -1: the byte is left out */
    Split split;
    bool digits, nfc, whole_words;                              /* Digits before split; NFC; ignore_merges */
    char template_hash[65];
} Tokenizer;

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
size_t tokenizer_hash(const char *s, size_t n);

#endif
