/* words.c: names that people type: "did you mean", choices, lists with commas, patterns. */
#include "words.h"

#include <stdio.h>
#include <string.h>

/* ---- did you mean ---- */

enum { NAME_MAX_LENGTH = 63 };

static size_t fewer(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; both at most
 * NAME_MAX_LENGTH long. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[3][NAME_MAX_LENGTH + 1];
    const size_t na = strlen(a), nb = strlen(b);
    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *before2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = fewer(fewer(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = fewer(now[j], before2[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

/* Near: at most one edit, and one more for every three letters. The first of equals wins. */
const char *nearest_name(const char *found, const char *const *names, int n) {
    const size_t length = strlen(found);
    const char *best = NULL;
    size_t best_distance = 2 + length / 3;
    if (length == 0 || length > NAME_MAX_LENGTH) return NULL;
    for (int i = 0; i < n; i++) {
        if (!names[i] || strlen(names[i]) > NAME_MAX_LENGTH) continue;
        const size_t d = edit_distance(found, names[i]);
        /* d == length: nothing in common */
        if (d < best_distance && d < length) best = names[i], best_distance = d;
    }
    return best;
}

/* ---- choices and lists ---- */

bool choice_parse(int *out, const char *const *names, const char *found, const char *option, Err *e) {
    char list[256] = "";
    int n = 0;
    for (; names[n]; n++) {
        if (strcmp(names[n], found) == 0) { *out = n; return true; }
        if (strlen(list) + strlen(names[n]) + 3 < sizeof list) {
            if (n) strcat(list, ", ");
            strcat(list, names[n]);
        }
    }
    const char *near = nearest_name(found, names, n);
    return near ? fail(e, "%s: found \"%.60s\", expected one of %s; did you mean \"%s\"?", option, found,
                       list, near)
                : fail(e, "%s: found \"%.60s\", expected one of %s", option, found, list);
}

bool list_next(char *word, size_t size, const char **at) {
    const size_t n = strcspn(*at, ",");
    if (!**at) return false;
    snprintf(word, size, "%.*s", (int)n, *at);
    *at += n + ((*at)[n] == ',');
    return true;
}

bool name_among(const char *name, const char *const *pattern, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const size_t stem = strcspn(pattern[i], "*");
        if (pattern[i][stem] ? !strncmp(pattern[i], name, stem) : !strcmp(pattern[i], name)) return true;
    }
    return false;
}

int control_at(const char *s) {
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] == 0xc2) return u[1] >= 0x80 && u[1] < 0xa0 ? 2 : 0;
    return u[0] < ' ' || u[0] == 0x7f;
}

bool label_printable(const char *label, const char *source, Err *e) {
    for (const char *s = label; *s; s++)
        if (control_at(s))
            return fail(e,
                        "%s: label \"%.40s\": holds a control character, expected a name that can be printed",
                        source, label);
    return true;
}
