/* say.c: how numbers are told to people, a value of JSON told as text, and the progress line. The text goes
 * to stdout, the progress to stderr. */
#include "say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "words.h"

void human_bytes(char out[32], double bytes) {
    const char *unit = "kMGT";
    bytes /= 1000;
    while (bytes >= 1000 && unit[1]) bytes /= 1000, unit++;
    snprintf(out, 32, bytes < 10 ? "%.1f %cB" : "%.0f %cB", bytes, *unit);
}

void human_time(char out[32], double s) {
    if (s < 1) snprintf(out, 32, "%.3g ms", 1e3 * s);
    else if (s < 120) snprintf(out, 32, "%.3g s", s);
    else if (s < 7200) snprintf(out, 32, "%.3g minutes", s / 60);
    else snprintf(out, 32, "%.3g hours", s / 3600);
}

/* ---- a value as text ---- */

/* Text between tags or in an attribute: it can never become markup, nor hold what XML forbids. */
static void put_escaped(FILE *f, const char *s) {
    for (; *s; s++)
        switch (*s) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        case '"': fputs("&quot;", f); break;
        default: putc((unsigned char)*s < ' ' && *s != '\n' ? ' ' : *s, f);
        }
}

static bool incomplete;                 /* a value was not told: there was no memory for its text */

bool say_complete(Err *e) { return !incomplete || fail(e, "no memory for all that there is to say"); }

char *plain_text(const char *text) {
    char *out = malloc(6 * strlen(text) + 1), *to = out;
    if (!out) return NULL;
    for (const char *s = text; *s; s++) {
        const int n = *s == '\n' || *s == '\t' ? 0 : control_at(s);
        if (!n) { *to++ = *s; continue; }
        s += n - 1;                     /* the last byte is the character's number */
        to += snprintf(to, 7, "\\u%04x", (unsigned char)*s);
    }
    *to = 0;
    return out;
}

void put_plain(FILE *f, const char *text) {
    char *plain = plain_text(text);
    if (plain) fputs(plain, f);
    free(plain);
}

size_t text_within(const char *text, size_t room) {
    const size_t n = strlen(text);
    if (n <= room) return n;
    while (room && ((unsigned char)text[room] & 0xc0) == 0x80) room--;
    return room;
}

static void say_value(FILE *f, bool markup, const Json *v, const char *format) {
    const char kind = *format ? format[strlen(format) - 1] : 's', *point = strchr(format, '.');
    const JsonType type = v ? v->type : JSON_NULL;
    int width = *format ? atoi(format + 1 + (format[1] == '+')) : 0;
    char text[32], *written = NULL;
    const char *s = text;
    snprintf(text, sizeof text, width ? "-" : "none");
    if (type == JSON_NUMBER && strchr("efg", kind)) { fprintf(f, format, v->number); return; }
    if (type == JSON_NUMBER && kind == 'B') human_bytes(text, v->number);
    else if (type == JSON_NUMBER && kind == 'T') human_time(text, v->number);
    else if (type == JSON_STRING && kind != 'q') s = v->string;
    else if (type == JSON_BOOL) s = v->number != 0 ? "yes" : "no";
    else if (type != JSON_NULL && !(s = written = json_text(v))) {
        incomplete = true;
        return;
    }
    char *plain = markup ? NULL : plain_text(s);
    if (plain) s = plain;
    if (markup) put_escaped(f, s);
    else if (kind == 's' && point) fprintf(f, "%*.*s", width, atoi(point + 1), s);
    else {
        /* the continuation bytes of UTF-8 take no place */
        for (const char *c = s; width && *c; c++)
            if (((unsigned char)*c & 0xC0) == 0x80) width += width < 0 ? -1 : 1;
        fprintf(f, "%*s", width, s);
    }
    free(plain);
    free(written);
}

static void say_to(FILE *f, bool markup, const Json *o, const char *template) {
    for (const char *t = template; *t; t++) {
        if (*t != '{') { putc(*t, f); continue; }
        const Json *v = o;
        Json name = {.type = JSON_STRING, .string = o->key};
        char key[64], format[16];
        for (t++; !strchr("%}", *t); t += *t == '.') {
            const size_t n = strcspn(t, ".%}");
            snprintf(key, sizeof key, "%.*s", (int)n, t);
            v = strcmp(key, "@") ? json_get(v, key) : &name;
            t += n;
        }
        const size_t n = strcspn(t, "}");
        snprintf(format, sizeof format, "%.*s", (int)n, t);
        say_value(f, markup, v, format);
        t += n;
    }
}

void say(const Json *o, const char *template) { say_to(stdout, false, o, template); }
void say_html(FILE *f, const Json *o, const char *template) { say_to(f, true, o, template); }

bool say_result(JsonWriter *w, bool json, void (*tell)(const Json *), Err *e) {
    Json *v = json ? NULL : json_parse(w->text, w->length, "the result", 1, e);
    const bool printed = json && json_print(w, "\n", e);
    if (v) tell(v);
    json_free(v);
    free(w->text);
    return printed || v;
}

/* ---- progress ---- */

static void show(Progress *p, double now) {
    const bool terminal = isatty(STDERR_FILENO);
    if (terminal) fprintf(stderr, "\r%s\033[K", p->line);
    else fprintf(stderr, "%s\n", p->line);
    fflush(stderr);
    p->last = now;
    p->shown = true;
}

/* quiet is false afterwards; set it to print nothing. total <= 0: not known. */
void progress_begin(Progress *p, const char *what, long long total) {
    *p = (Progress){.what = what, .total = total, .start = clock_seconds(), .shown = true};
    p->last = p->start - 3600;
}

/* "1:12" or "2:03:04". */
static void put_time(char *out, size_t size, double seconds) {
    const long long s = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (s < 3600) snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
    else snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

/* On a terminal the detail is cut so that the line fits into 80 columns: a wrapped line could not be
 * rewritten. */
void progress_at(Progress *p, long long done, const char *detail) {
    const bool finished = p->total > 0 && done >= p->total, terminal = isatty(STDERR_FILENO);
    const double now = clock_seconds(), spent = now - p->start;
    char count[48], time[24], rest[40] = "";
    if (p->quiet) return;
    if (p->total > 0) snprintf(count, sizeof count, "%6lld/%lld", done, p->total);
    else snprintf(count, sizeof count, "%6lld", done);
    if (finished || p->total <= 0) {
        put_time(time, sizeof time, spent);
        snprintf(rest, sizeof rest, "  %s", time);
    } else if (done > 0) {
        put_time(time, sizeof time, spent / (double)done * (double)(p->total - done));
        snprintf(rest, sizeof rest, "  %s left", time);
    }
    const size_t fixed = strlen(p->what) + 1 + strlen(count) + 2 + strlen(rest);
    const size_t room = terminal ? (fixed < 79 ? 79 - fixed : 0) : sizeof p->line;
    const size_t n = detail ? text_within(detail, room) : 0;
    snprintf(p->line, sizeof p->line, "%s %s%s%.*s%s", p->what, count, n ? "  " : "", (int)n, n ? detail : "",
             rest);
    p->shown = false;
    if (finished || now - p->last >= (terminal ? 0.1 : 5)) show(p, now);
}

/* What was held back is shown now. */
void progress_end(Progress *p) {
    if (p->quiet) return;
    if (!p->shown) show(p, clock_seconds());
    if (p->line[0] && isatty(STDERR_FILENO)) fputc('\n', stderr);
    p->line[0] = 0;
}
