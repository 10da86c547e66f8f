/* run/changed.c: where the two replies of each pair differ. */
#include "run/changed.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "baselines/bmc.h"
#include "lib/files.h"

/* Cuts blanks off both ends of a text, in place. */
static char *word_trim(char *s) {
    static const char blank[] = " \t\r\n";
    s += strspn(s, blank);
    size_t n = strlen(s);
    while (n && strchr(blank, s[n - 1])) n--;
    s[n] = 0;
    return s;
}

/* Sets stop[id] for every token whose text is the word. */
static void stop_word(unsigned char *stop, char *const *token, int vocab, const char *word) {
    for (int id = 0; id < vocab; id++)
        if (!strcasecmp(token[id], word)) stop[id] = 1;
}

/* stop [vocab]: 1 for the tokens that are stop-words; to be freed. */
static unsigned char *stop_tokens(const Language *l, const char *path, Err *e) {
    const int vocab = tokenizer_vocab(l->tokenizer);
    size_t n;
    char *words = file_read(path, &n, e), **token = calloc((size_t)vocab, sizeof *token);
    unsigned char *stop = calloc((size_t)vocab, 1);
    bool ok = words != NULL;
    if (ok && (!token || !stop)) ok = fail(e, "no memory for stop-words of %d tokens", vocab);
    for (int id = 0; ok && id < vocab; id++) {
        char *text = tokenizer_decode(l->tokenizer, &id, 1, true, NULL, e);
        ok = text && ((token[id] = strdup(word_trim(text))) != NULL ||
                      fail(e, "no memory for the text of a token"));
        free(text);
    }
    for (char *at = words; ok && at && *at;) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        const char *word = word_trim(at);
        if (*word) stop_word(stop, token, vocab, word);
        at = end ? end + 1 : NULL;
    }
    for (int id = 0; token && id < vocab; id++) free(token[id]);
    free(token);
    free(words);
    if (ok) return stop;
    free(stop);
    return NULL;
}

bool pairs_changed(PairSet *p, const Dataset *d, const Language *l, const char *stop_words, Err *e) {
    int run[CHANGED_MOST];
    unsigned char *stop = NULL;
    if (stop_words && !(stop = stop_tokens(l, stop_words, e))) return false;
    bool ok = true;
    for (int i = 0; ok && i < p->n; i++) {
        PairTokens *s = &p->row[i];
        const int *w = s->id + s->n_prompt, longer = s->n_w > s->n_l ? s->n_w : s->n_l;
        if (longer > CHANGED_MOST)
            ok = fail(e, "%s:%d: a reply of %d tokens, but --bmc-delta compares replies of at most %d; lower "
                         "--max-length",
                      d->path, d->row[i].line, longer, CHANGED_MOST);
        else if (!(s->changed = malloc((size_t)(s->n_w + s->n_l))))
            ok = fail(e, "no memory for %d tokens", s->n_w + s->n_l);
        if (!ok) break;
        bmc_changed(s->changed, s->changed + s->n_w, w, (size_t)s->n_w, w + s->n_w, (size_t)s->n_l, run);
        for (int t = 0; stop && t < s->n_w + s->n_l; t++) s->changed[t] &= !stop[w[t]];
    }
    free(stop);
    return ok;
}
