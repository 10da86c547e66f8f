/* overlap.c: how many prompts two data sets share. */
#include "text/overlap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int overlap_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *overlap_text(const Example *x) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    example_put_messages(&w, x);
    json_end(&w, '}');
    return w.text;
}

static int overlap_count(const Dataset *train, const Dataset *held) {
    char **text = held->n ? calloc((size_t)train->n, sizeof *text) : NULL;
    int shared = 0;
    bool ok = text != NULL;             /* only a warning depends on it: without memory there is none */
    for (int i = 0; ok && i < train->n; i++) ok = (text[i] = overlap_text(&train->row[i])) != NULL;
    if (ok) qsort(text, (size_t)train->n, sizeof *text, overlap_order);
    for (int i = 0; ok && i < held->n; i++) {
        char *own = overlap_text(&held->row[i]);
        shared += own && bsearch(&own, text, (size_t)train->n, sizeof *text, overlap_order) != NULL;
        free(own);
    }
    for (int i = 0; text && i < train->n; i++) free(text[i]);
    free(text);
    return shared;
}

void overlap_tell(const char *command, const Dataset *train, const Dataset *held) {
    const int shared = overlap_count(train, held);
    if (shared)
        fprintf(stderr,
                "%s: %d of %d held-out prompts are among those of training: what they say of new ones is too "
                "good\n",
                command, shared, held->n);
}
