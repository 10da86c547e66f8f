/* csv.c: logs as one table. */
#include "report/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char **key; size_t n, capacity; bool full; } Columns;

static void columns_add(Columns *c, const char *key) {
    for (size_t i = 0; i < c->n; i++) if (!strcmp(c->key[i], key)) return;
    if (c->n == c->capacity) {
        const size_t more = c->n ? 2 * c->n : 64;
        const char **grown = realloc(c->key, more * sizeof *grown);
        if (!grown) { c->full = true; return; }
        c->key = grown, c->capacity = more;
    }
    c->key[c->n++] = key;
}

static void put_cell(JsonWriter *w, const char *text) {
    if (!strpbrk(text, "\",\r\n")) { json_raw(w, text); return; }
    json_raw(w, "\"");
    for (const char *p = text; *p; p++) json_raw(w, *p == '"' ? "\"\"" : (char[]){*p, 0});
    json_raw(w, "\"");
}

static void put_value(JsonWriter *w, double x) {
    JsonWriter number = {0};
    json_raw(w, ",");
    if (isnan(x)) return;
    json_number(&number, x);
    json_raw(w, number.text ? number.text : "");
    free(number.text);
}

static void put_rows(JsonWriter *w, const Section *s, const Arm *a, const ArmRun *r, const Columns *c) {
    for (int i = 0; i < r->files.log.n; i++) {
        const Json *line = r->files.log.line[i];
        if (json_get(line, "cost")) continue;
        put_cell(w, s->name), json_raw(w, ",");
        put_cell(w, a->name), json_raw(w, ",");
        put_cell(w, r->dir);
        put_value(w, r->seed);
        for (size_t k = 0; k < c->n; k++) put_value(w, json_member(line, c->key[k]));
        json_raw(w, "\n");
    }
}

/* What is to be done with every run, in their order. */
static void each_run(JsonWriter *w, const Arms *arms, Columns *c) {
    for (int s = 0; s < arms->n; s++)
        for (int a = 0; a < arms->section[s].n_arm; a++)
            for (int k = 0; k < arms->section[s].arm[a].n_run; k++) {
                const ArmRun *r = &arms->section[s].arm[a].run[k];
                if (w) { put_rows(w, &arms->section[s], &arms->section[s].arm[a], r, c); continue; }
                for (int i = 0; i < r->files.log.n; i++) {
                    const Json *line = r->files.log.line[i];
                    for (size_t j = 0; j < line->length; j++)
                        if (line->item[j].type == JSON_NUMBER) columns_add(c, line->item[j].key);
                }
            }
}

char *report_csv(const Arms *arms) {
    Columns c = {0};
    JsonWriter w = {0};
    each_run(NULL, arms, &c);
    json_raw(&w, "section,arm,run,seed");
    for (size_t i = 0; i < c.n; i++) json_raw(&w, ","), put_cell(&w, c.key[i]);
    json_raw(&w, "\n");
    each_run(&w, arms, &c);
    if (c.full) free(w.text), w.text = NULL;
    free(c.key);
    return w.text;
}
