/* rewrite.c: normalizers and decoders of a tokenizer.json, as `tokenizers` computes them.
 *
 * In this order: growing pieces, one function for each kind of step, the steps in a row. */
#include "text/rewrite.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unicode.h"

/* ---- pieces ---- */

void pieces_add(Pieces *p, const char *s, size_t n) {
    if (p->failed || n == 0) return;
    if (n > p->capacity - p->n) {
        const size_t more = 2 * (p->n + n) + 64;
        char *grown = realloc(p->s, more);
        if (!grown) { p->failed = true; return; }
        p->s = grown, p->capacity = more;
    }
    memcpy(p->s + p->n, s, n);
    p->n += n;
}

void pieces_close(Pieces *p) {
    if (p->n_piece == p->piece_capacity) {
        const int more = p->piece_capacity > INT_MAX / 4 ? 0 : 2 * p->piece_capacity + 16;
        size_t *grown = more ? realloc(p->end, (size_t)more * sizeof *grown) : NULL;
        if (!grown) { p->failed = true; return; }
        p->end = grown, p->piece_capacity = more;
    }
    p->end[p->n_piece++] = p->n;
}

void pieces_free(Pieces *p) { free(p->s), free(p->end); }

/* ---- the steps ---- */

static void put_nfc(Pieces *to, const char *s, size_t n) {
    char *c = n ? unicode_nfc(s, n, &n) : NULL;
    if (c) pieces_add(to, c, n);
    else to->failed = to->failed || n > 0;
    free(c);
}

static bool stands_at(const char *s, size_t n, const char *what, int length) {
    return n >= (size_t)length && memcmp(s, what, (size_t)length) == 0;
}

static void put_replaced(Pieces *to, const char *s, size_t n, const Rewrite *r) {
    size_t from = 0;
    for (size_t i = 0; i < n; ) {
        if (!stands_at(s + i, n - i, r->from, r->n_from)) { i++; continue; }
        pieces_add(to, s + from, i - from), pieces_add(to, r->to, (size_t)r->n_to);
        from = i += (size_t)r->n_from;
    }
    pieces_add(to, s + from, n - from);
}

static void put_stripped(Pieces *to, const char *s, size_t n, const Rewrite *r) {
    const size_t k = (size_t)r->n_from;
    for (int i = 0; i < r->first && stands_at(s, n, r->from, r->n_from); i++) s += k, n -= k;
    for (int i = 0; i < r->last && n >= k && stands_at(s + n - k, k, r->from, r->n_from); i++) n -= k;
    pieces_add(to, s, n);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The byte that a piece <0xE4> stands for, -1 if it is none. */
static int byte_of(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex_digit(s[3]) < 0 || hex_digit(s[4]) < 0) return -1;
    return 16 * hex_digit(s[3]) + hex_digit(s[4]);
}

static size_t begin_of(const Pieces *p, int i) { return i ? p->end[i - 1] : 0; }

/* The bytes of pieces i, i + 1 ... as text, which is no text at all if one of its characters is broken;
 * returns the piece behind them. */
static int put_bytes(Pieces *to, const Pieces *from, int i) {
    Pieces bytes = {.s = NULL};
    for (int b; i < from->n_piece; i++) {
        const size_t at = begin_of(from, i);
        if ((b = byte_of(from->s + at, from->end[i] - at)) < 0) break;
        pieces_add(&bytes, &(char){(char)b}, 1);
    }
    bool whole = true;
    for (size_t k = 0, used; whole && k < bytes.n; k += used)
        whole = utf8_next(bytes.s + k, bytes.n - k, &used) != 0xFFFD ||
                stands_at(bytes.s + k, bytes.n - k, "\xEF\xBF\xBD", 3);
    if (whole) pieces_add(to, bytes.s, bytes.n), pieces_close(to);
    for (size_t k = 0; !whole && k < bytes.n; k++) pieces_add(to, "\xEF\xBF\xBD", 3), pieces_close(to);
    to->failed = to->failed || bytes.failed;
    pieces_free(&bytes);
    return i;
}

static void take_step(Pieces *to, const Pieces *from, const Rewrite *r) {
    const Rewrite blank = {.n_from = r->n_from, .to = " ", .n_to = 1}, nothing = {.n_from = r->n_from};
    Rewrite mark;
    for (int i = 0; i < from->n_piece; ) {
        const size_t at = begin_of(from, i), n = from->end[i] - at;
        const char *s = from->s + at;
        switch (r->kind) {
        case REWRITE_NFC: put_nfc(to, s, n); break;
        case REWRITE_PREPEND:
            if (n) pieces_add(to, r->to, (size_t)r->n_to);
            pieces_add(to, s, n);
            break;
        case REWRITE_REPLACE: put_replaced(to, s, n, r); break;
        case REWRITE_FUSE: pieces_add(to, s, n); break;
        case REWRITE_STRIP: put_stripped(to, s, n, r); break;
        case REWRITE_MARKS:
            mark = r->first && i == 0 ? nothing : blank;
            memcpy(mark.from, r->from, sizeof mark.from);
            put_replaced(to, s, n, &mark);
            break;
        case REWRITE_BYTES:
            if (byte_of(s, n) >= 0) { i = put_bytes(to, from, i); continue; }
            pieces_add(to, s, n);
            break;
        }
        i++;
        if (r->kind != REWRITE_FUSE || i == from->n_piece) pieces_close(to);
    }
}

bool rewrite(Pieces *p, const Rewrite *step, int n_step, Err *e) {
    for (int k = 0; k < n_step && !p->failed; k++) {
        Pieces to = {.s = NULL};
        take_step(&to, p, &step[k]);
        pieces_free(p);
        *p = to;
    }
    return !p->failed || fail(e, "tokenizer: a text of %zu bytes could not be rewritten: no memory", p->n);
}
