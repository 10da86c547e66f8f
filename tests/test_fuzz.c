/* test_fuzz.c: every reader of tests/parsers.h is given thousands of damaged files: each is refused with a
 * line, or what was read can be used.
 *
 *     build/f32/tests/test_fuzz [ROUNDS [SEED [READER]]]
 *
 * A file of tests/fuzz/READER is read as it is, then damaged in a few places (bits, bytes, cut and doubled
 * spans, numbers made absurd). `make fuzz` looks for damage by what it reaches in the code (tests/fuzz.c). */
#include <dirent.h>
#include <unistd.h>

#include "tests/parsers.h"

static uint64_t seed;
static size_t below(size_t n) {                 /* SplitMix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return n ? (size_t)((z ^ (z >> 31)) % n) : 0;
}

typedef struct { char *at; size_t n; } Text;
static Text text_of(const char *bytes, size_t n) {
    Text t = {malloc(n + 1), n};
    if (!t.at) exit(2);
    memcpy(t.at, bytes, n);
    t.at[n] = 0;
    return t;
}

/* Replaces `cut` bytes at `at` by `n` others. */
static void splice(Text *t, size_t at, size_t cut, const char *bytes, size_t n) {
    char *made = malloc(t->n - cut + n + 1);
    if (!made) exit(2);
    memcpy(made, t->at, at);
    memcpy(made + at, bytes, n);
    memcpy(made + at + n, t->at + at + cut, t->n - at - cut + 1);
    free(t->at);
    *t = (Text){made, t->n - cut + n};
}

static Text damaged(const char *bytes, size_t n) {
    static const char *const odd[] = {"0",
                                      "-1",
                                      "1e999",
                                      "-0",
                                      "4294967296",
                                      "18446744073709551615",
                                      "9223372036854775807",
                                      "2147483648",
                                      "1e308",
                                      "0.5",
                                      "null",
                                      "true",
                                      "\"\"",
                                      "[]",
                                      "{}",
                                      "[[[[",
                                      "{\"a\":",
                                      "\\u0000",
                                      "\\ud800",
                                      "\\udc00",
                                      "\xff",
                                      "\xc0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\n",
                                      "\"",
                                      ",",
                                      ":",
                                      "]",
                                      "}",
                                      "{{",
                                      "{%-",
                                      "|list",
                                      "*",
                                      "%}"};
    Text t = text_of(bytes, n);
    for (size_t k = 1 + below(3); k > 0 && t.n; k--) {
        const size_t at = below(t.n), left = t.n - at, span = 1 + below(left < 40 ? left : 40);
        char copy[64];
        switch (below(6)) {
        case 0: t.at[at] = (char)(t.at[at] ^ (1 << below(8))); break;
        case 1: t.at[at] = (char)below(256); break;
        case 2: splice(&t, at, span, "", 0); break;
        case 3: memcpy(copy, t.at + at, span); splice(&t, below(t.n), 0, copy, span); break;
        case 4: {                               /* a number, or what stands here, becomes odd */
            size_t from = at;
            while (from < t.n && !strchr("0123456789", t.at[from])) from++;
            const char *o = odd[below(sizeof odd / sizeof *odd)];
            splice(&t, from < t.n && below(3) ? from : at, from < t.n ? 1 : 0, o, strlen(o));
            break;
        }
        default: if (below(4) == 0) splice(&t, at, left, "", 0); break;
        }
    }
    return t;
}

/* ---- the files of a folder, by name ---- */

enum { MOST_SEEDS = 400 };
typedef struct { Text text[MOST_SEEDS]; int n; } Seeds;

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void seeds_read(Seeds *s, const char *parser) {
    char folder[200], path[600], *name[MOST_SEEDS];
    snprintf(folder, sizeof folder, "tests/fuzz/%s", parser);
    DIR *d = opendir(folder);
    s->n = 0;
    for (const struct dirent *entry; d && s->n < MOST_SEEDS && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && !(name[s->n++] = strdup(entry->d_name))) exit(2);
    if (d) closedir(d);
    qsort(name, (size_t)s->n, sizeof *name, by_name);
    for (int i = 0; i < s->n; i++) {
        Err e = {{0}};
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        s->text[i].at = file_read(path, &s->text[i].n, &e);
        if (!s->text[i].at) { printf("%s\n", e.line); exit(2); }
        free(name[i]);
    }
}

static void read_damaged(const Parser *p, const Seeds *s, long rounds) {
    for (int i = 0; i < s->n; i++) p->read(s->text[i].at, s->text[i].n);
    for (long i = 0; i < rounds; i++) {
        const Text *from = &s->text[below((size_t)s->n)];
        Text t = damaged(from->at, from->n);
        p->read(t.at, t.n);
        free(t.at);
    }
}

int main(int argc, char **argv) {
    static Seeds seeds;
    const double rounds = argc > 1 ? atof(argv[1]) : 300;
    const char *only = argc > 3 ? argv[3] : NULL;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    Err e = {{0}};
    if (!parsers_open(sizeof(real) == 4 ? "build/test_fuzz_f32" : "build/test_fuzz_f64", &e)) {
        printf("%s\n", e.line);
        return 2;
    }
    for (int i = 0; i < N_PARSER; i++) {
        const Parser *p = &parsers[i];
        if (only && strcmp(only, p->name)) continue;
        const long read_before = read_ones, refused_before = refused;
        seeds_read(&seeds, p->name);
        CHECK(seeds.n > 0);
        if (seeds.n) read_damaged(p, &seeds, (long)(rounds * (p->weight > 0 ? p->weight : 0.25)));
        for (int k = 0; k < seeds.n; k++) free(seeds.text[k].at);
        /* the damage must be of both sorts, or the test tests nothing */
        const bool both = read_ones > read_before && refused > refused_before;
        if (both) passed++;
        else { failed++; printf("%s: all were read, or all were refused\n", p->name); }
    }
    return test_end();
}
