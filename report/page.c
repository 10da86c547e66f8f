/* page.c: the figures put into page.html, which the Makefile turns into build/page_html.h. */
#include "report/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/sha256.h"

static const unsigned char template[] = {
#include "build/page_html.h"
    0};

/* In JSON these characters stand in strings alone, where \u.... says the same. */
static void embed(JsonWriter *w, const char *json) {
    for (const char *c = json; *c; c++) {
        char piece[16] = {*c};
        if (strchr("<>&", *c)) snprintf(piece, sizeof piece, "\\u%04x", (unsigned)*c);
        else if (!strncmp(c, "\xe2\x80\xa8", 3) || !strncmp(c, "\xe2\x80\xa9", 3))
            snprintf(piece, sizeof piece, "\\u20%x", (unsigned char)*(c += 2) & 0x3fu);
        json_raw(w, piece);
    }
}

bool page_write(const char *path, const char *figures, Err *e) {
    JsonWriter w = {.indent = 0};       /* outside all brackets json_raw adds a text as it is */
    Sha256 hash;
    char nonce[65];                     /* follows from the figures, so that no text among them can know it */
    sha256_begin(&hash);
    sha256_add(&hash, figures, strlen(figures));
    sha256_end(&hash, nonce);
    for (const char *c = (const char *)template; *c; c++) {
        const char piece[2] = {*c};
        if (!strncmp(c, "{{figures}}", 11)) embed(&w, figures), c += 10;
        else if (!strncmp(c, "{{nonce}}", 9)) json_raw(&w, nonce), c += 8;
        else json_raw(&w, piece);
    }
    const bool ok = json_save(path, &w, e);
    free(w.text);
    return ok;
}

bool page_is(const char *path, const char *title) {
    char begin[128];
    size_t n = 0;
    Err e = {{0}};
    char *text = file_read(path, &n, &e);
    const char *c = (const char *)template, *at = text;
    bool same = text != NULL;
    for (; same && strncmp(c, "{{figures}}", 11); c++) {
        if (strncmp(c, "{{nonce}}", 9)) same = *at++ == *c;
        else if ((same = (size_t)(at - text) + 64 <= n)) at += 64, c += 8;
    }
    snprintf(begin, sizeof begin, "{\"title\":\"%s\",", title);
    same = same && !strncmp(at, begin, strlen(begin));
    free(text);
    return same;
}
