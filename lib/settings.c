/* settings.c: fields of a struct from text, by the rows of a table. */
#include "settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

bool setting_same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return *a == *b;
}

const Setting *setting_find(const Setting *rows, const char *name) {
    for (; rows->name; rows++)
        if (rows->kind != SET_HEADING && setting_same_name(rows->name, name)) return rows;
    return NULL;
}

static bool has_none(const Setting *s) {
    int i = 0;
    while (s->choice[i] && strcmp(s->choice[i], "none")) i++;
    return s->choice[i] != NULL;
}

int64_t settings_steps(double steps, int64_t n) {
    return (int64_t)(steps > 0 && steps < 1 ? ceil(steps * (double)n) : steps);
}

bool setting_set(void *config, const Setting *s, const char *text, const char *where, Err *e) {
    void *field = (char *)config + s->at;
    char *end;
    if (s->kind == SET_STRING) {
        *(const char **)field = text;
        return true;
    }
    if (s->kind == SET_BOOL) {
        if (!strcmp(text, "true") || !strcmp(text, "1")) return *(bool *)field = true;
        if (!strcmp(text, "false") || !strcmp(text, "0")) { *(bool *)field = false; return true; }
        return fail(e, "%s: %s: found \"%.40s\", expected true or false", where, s->name, text);
    }
    if (s->kind == SET_CHOICE) {
        int n = 0;
        for (; s->choice[n]; n++)
            if (!strcmp(s->choice[n], text)) { *(int *)field = n; return true; }
        /* what was a switch in TRL once: true is the default, false is none */
        const bool was_switch = s->fallback && strcmp(s->fallback, "none");
        for (int i = 0; was_switch && i < n; i++) {
            const bool off = !strcmp(s->choice[i], "none"), on = !strcmp(s->choice[i], s->fallback);
            if ((off && !strcmp(text, "false")) || (on && has_none(s) && !strcmp(text, "true"))) {
                *(int *)field = i;
                return true;
            }
        }
        char all[256] = "";
        for (int i = 0; i < n; i++)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", s->choice[i]);
        const char *near = nearest_name(text, s->choice, n);
        return fail(e, "%s: %s: found \"%.40s\", expected one of %s%s%s", where, s->name, text, all,
                    near ? "; did you mean " : "", near ? near : "");
    }
    const double v = strtod(text, &end);
    const bool may_be_none = s->kind == SET_NUMBER && (!s->fallback || !strcmp(s->fallback, "none"));
    if (may_be_none && (!strcmp(text, "none") || !strcmp(text, "null"))) {
        *(double *)field = NAN;
        return true;
    }
    if (end == text || *end || !isfinite(v))
        return fail(e, "%s: %s: found \"%.40s\", expected a number", where, s->name, text);
    if (s->kind == SET_STEPS && (v < 0 || v > 2e9 || (v > 1 && v != floor(v))))
        return fail(e, "%s: %s: found %.40s, expected a whole number of steps, or a share of all below 1",
                    where, s->name, text);
    if (s->kind == SET_NUMBER || s->kind == SET_STEPS) {
        *(double *)field = v;
        return true;
    }
    if (v != floor(v) || fabs(v) > 2e9)
        return fail(e, "%s: %s: found \"%.40s\", expected a whole number", where, s->name, text);
    *(int *)field = (int)v;
    return true;
}

void setting_default(void *config, const Setting *s) {
    void *field = (char *)config + s->at;
    Err e = {{0}};
    if (s->fallback) { setting_set(config, s, s->fallback, "default", &e); return; }
    if (s->kind == SET_STRING) *(const char **)field = NULL;
    else if (s->kind == SET_NUMBER) *(double *)field = NAN;
    else if (s->kind == SET_STEPS) *(double *)field = 0;
    else if (s->kind == SET_BOOL) *(bool *)field = false;
    else *(int *)field = 0;
}

void settings_default(void *config, const Setting *rows) {
    for (; rows->name; rows++)
        if (rows->kind != SET_HEADING) setting_default(config, rows);
}
