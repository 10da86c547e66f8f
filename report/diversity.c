/* diversity.c: how much several replies to one prompt differ (E239). */
#include "report/diversity.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const char blanks[] = " \t\r\n";

/* Two neighbouring words of a text: where they begin, and their bytes. */
typedef struct { const char *word[2]; size_t length[2]; } WordPair;

/* The pair that begins with the word at *at, which then moves to the next word; false: there is none. */
static bool next_pair(WordPair *p, const char **at) {
    const char *s = *at + strspn(*at, blanks);
    p->word[0] = s, p->length[0] = strcspn(s, blanks);
    s += p->length[0];
    s += strspn(s, blanks);
    p->word[1] = *at = s, p->length[1] = strcspn(s, blanks);
    return p->length[0] && p->length[1];
}

static bool has_pair(const char *from, const char *until, const WordPair *p) {
    WordPair q;
    while (from != until && next_pair(&q, &from))
        if (q.length[0] == p->length[0] && q.length[1] == p->length[1] &&
            !memcmp(q.word[0], p->word[0], p->length[0]) && !memcmp(q.word[1], p->word[1], p->length[1]))
            return true;
    return false;
}

/* Distinct pairs of a text, and how many of them the other text has. */
static int count_pairs(int *common, const char *text, const char *other) {
    WordPair p;
    int n = 0;
    *common = 0;
    const char *first = text + strspn(text, blanks);
    for (const char *at = first, *here = at; next_pair(&p, &at); here = at) {
        if (has_pair(first, here, &p)) continue;
        n++;
        *common += has_pair(other, NULL, &p);
    }
    return n;
}

double text_similarity(const char *a, const char *b) {
    int common, same;
    const int n_a = count_pairs(&common, a, b), n_b = count_pairs(&same, b, a);
    return n_a + n_b ? (double)common / (n_a + n_b - common) : 1;
}

double texts_diversity(const char *const *text, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++) sum += text_similarity(text[i], text[k]);
    return n < 2 ? NAN : 1 - sum / (0.5 * n * (n - 1));
}
