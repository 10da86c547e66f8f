/* rewrite.h: the steps in which a tokenizer.json rewrites a text before its tokens are looked for, and the
 * texts of tokens before they are joined, as `tokenizers` takes them. */
#ifndef REWRITE_H
#define REWRITE_H

#include "lib/base.h"

typedef enum {
    REWRITE_NFC,                        /* normal form C */
    REWRITE_PREPEND,                    /* `to` before every piece that is not empty */
    REWRITE_REPLACE,                    /* `from` becomes `to` */
    REWRITE_BYTES,                      /* pieces <0xE4> in a row: their bytes as text, or U+FFFD for each */
    REWRITE_FUSE,                       /* all pieces become one */
    REWRITE_STRIP,                      /* of each piece up to `first` and `last` `from`s at its ends */
    REWRITE_MARKS                       /* the mark `from` becomes a blank; `first`: is left out of piece 0 */
} RewriteKind;

enum { REWRITE_LONGEST = 32, REWRITE_STEPS = 8 };
typedef struct {
    RewriteKind kind;
    char from[REWRITE_LONGEST], to[REWRITE_LONGEST];
    int n_from, n_to, first, last;      /* bytes; how often */
} Rewrite;

/* Texts one after the other: piece i ends at end[i]. Start from {0}, free with pieces_free. */
typedef struct {
    char *s;
    size_t n, capacity, *end;
    int n_piece, piece_capacity;
    bool failed;                        /* no memory: told by rewrite */
} Pieces;
void pieces_add(Pieces *p, const char *s, size_t n);    /* to the piece that is not closed yet */
void pieces_close(Pieces *p);
void pieces_free(Pieces *p);

/* Takes the steps one after the other. The text of all pieces is p->s[0 .. p->n), not ended by NUL. */
bool rewrite(Pieces *p, const Rewrite *step, int n_step, Err *e);

#endif
