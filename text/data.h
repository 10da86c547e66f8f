/* data.h: data sets in the shapes that TRL documents, and conversations as tokens. */
#ifndef TEXT_DATA_H
#define TEXT_DATA_H

#include "lib/json.h"
#include "text/chat.h"
#include "text/shapes.h"

/* One line: {"prompt": text or messages, "completion": ..., "chosen", "rejected", "labels": {...}} or
 * {"messages": [...]} whose last turn is the assistant's; a line of a file that ends with .txt is a prompt. A
 * prompt that is a text is one user turn. Where a completion is needed, "messages" are read before a prompt
 * that has none. chosen and rejected may be whole conversations instead: the turns that they share are the
 * prompt, which a "prompt" beside them repeats. */
typedef struct {
    const char *path;                   /* of the file, and the row's place there */
    int line;
    const Message *prompt;              /* n_prompt messages */
    int n_prompt;
    const char *completion, *chosen, *rejected;     /* NULL if absent */
    const char *finish_reason;          /* "length": the completion was cut; NULL: it ended */
    bool chosen_cut, rejected_cut;      /* chosen_finish_reason, rejected_finish_reason say "length" */
    const Json *row;                    /* all columns; NULL for a text file */
    const Json *completion_row, *chosen_row, *rejected_row;     /* a reply's whole message; NULL: a text */
} Example;
typedef struct { const char *path; Example *row; int n; void *memory; } Dataset;

/* In size, of a label or score: so that weighted sums and squares of them stay finite in float too. */
#define SCORE_MOST 1e30

/* Rows that cannot be used are refused, or left out, counted and named on standard error. */
typedef struct { const char *command; bool skip; int n; } LeftOut;
/* Rows of a table of settings (lib/settings.h) for these two. */
#define ROWS_SETTINGS(at_limit, at_skip_errors)                                                  \
    {"limit", SET_INT, at_limit, "0", NULL, "rows of the data set, from the first on; 0: all"},  \
    {"skip_errors", SET_BOOL, at_skip_errors, "false", NULL,                                     \
     "rows that cannot be used are left out, counted and named; otherwise one ends the command"}
/* True where the row that the line is about may be left out (not so with NULL): it is told, and e is empty
 * again. */
bool leave_out(LeftOut *out, Err *e);
/* How many were left out, if any, and how many are used. */
void left_out_tell(const LeftOut *out, int used);

/* need: of Need. system (NULL: none): a system message put before prompts that have none. */
bool dataset_load(Dataset *d, const char *path, int need, const char *system, Err *e);
/* The first `limit` rows (0: all) that can be used: others are refused, or left out. */
bool dataset_load_some(Dataset *d, const char *path, int need, const char *system, int limit, LeftOut *out,
                       Err *e);
/* The last rows of a permutation keyed by seed are held out: floor(share n) of them; both parts keep the
 * order of the file. */
bool dataset_hold_out(Dataset *d, Dataset *held, double share, uint64_t seed, Err *e);
/* Whether a label or score is no larger than SCORE_MOST. */
bool score_has_size(double score, const Example *x, const char *what, Err *e);
/* label [K] of one row; missing or null: NaN. Unknown labels are an error that names the nearest. */
bool example_labels(double *label, const Example *x, const char (*name)[64], int n_label, const char *path,
                    Err *e);
/* What a column of the row names: its text, or its number as text. `what` says to the user why it is needed.
 */
bool example_name(char name[64], const Example *x, const char *column, const char *what, const char *path,
                  Err *e);
/* The labels that occur in the data set, in order of first appearance; at most max. */
int dataset_labels(const Dataset *d, char (*name)[64], int max);

/* Member "messages": the prompt's, with role and content. */
void example_put_messages(JsonWriter *w, const Example *x);

/* A policy's or a reward model's language: its tokenizer and template, and what its model can read;
 * split_special: as in chat_encode. */
typedef struct {
    Tokenizer *tokenizer;
    Chat *chat;
    int end_of_turn, vocab, context, pad;
    bool split_special;
} Language;
/* choice NULL: the folder's */
bool language_load(Language *l, const char *dir, const ChatChoice *choice, Err *e);
void language_free(Language *l);
/* Prompt with the opening of the assistant's turn; and the tokens of a completion to it, as the template
 * writes it, with the closing token if it ended. */
bool encode_prompt(Ids *out, const Language *l, const Example *x, Err *e);
bool encode_completion(Ids *out, const Language *l, const Example *x, const char *text, bool ended, Err *e);
/* Both, and how many tokens are the prompt's. */
bool encode_example(Ids *out, int *n_prompt, const Language *l, const Example *x, Err *e);
/* A conversation with all of the assistant's turns: learned (to be freed) says of each token whether it is of
 * one. Of a row with a "completion" that is its only one. */
bool encode_turns(Ids *out, bool **learned, const Language *l, const Example *x, Err *e);
/* The text of a sampled completion, without its closing token; to be freed. */
char *decode_completion(const Language *l, const int *id, int n, Err *e);

#endif
