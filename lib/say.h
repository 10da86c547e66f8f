/* say.h: how numbers are told to people, a value of JSON told as text, and the progress line. */
#ifndef SAY_H
#define SAY_H

#include <stdio.h>

#include "json.h"

void human_bytes(char out[32], double bytes);           /* "123 MB", "4.5 GB" */
void human_time(char out[32], double seconds);          /* "12 s", "4.5 h" */

/* A text that comes from a file or a model, for people: what would steer a terminal, the control characters
 * but line feed and tab, is written as \u001b. To be freed; NULL: no memory. */
char *plain_text(const char *text);
void put_plain(FILE *f, const char *text);
/* Bytes of what `room` bytes hold of a text in UTF-8, without half a character. */
size_t text_within(const char *text, size_t room);

/* Prints the template on stdout, with members of o in it: {KEY} or, deeper, {KEY.KEY}; {} is o itself, {@}
 * its own name. {KEY%FORMAT} is printed as printf does with %e, %f, %g and %s; %B and %T stand for
 * human_bytes and human_time, as in {bytes%9B}, %q for a string as JSON writes it. Without a format a number
 * is written as JSON writes it. What is absent or null is "none", and "-" where the format has a width; true
 * and false are yes and no. */
void say(const Json *o, const char *template);
/* The same into a page of HTML: the template is markup, and what the members say can never become markup. */
void say_html(FILE *f, const Json *o, const char *template);
/* Whether everything was told: false where memory ran out on the way. */
bool say_complete(Err *e);
/* What a command found: w's text on stdout if JSON is wanted, else what `tell` prints of it. Frees the text.
 * False, with the line filled in, where the text is no JSON. */
bool say_result(JsonWriter *w, bool json, void (*tell)(const Json *), Err *e);

/* Progress on stderr: on a terminal one line rewritten, in a pipe a plain line at most every few seconds (and
 * at the end): "sft   1200/4500  loss 1.234  8.1 k tokens/s  1:12 left". `detail` may be NULL. After
 * progress_begin `quiet` may be set. */
typedef struct {
    const char *what;
    double start, last;
    long long total;
    bool quiet, shown;
    char line[256];
} Progress;
void progress_begin(Progress *p, const char *what, long long total);
void progress_at(Progress *p, long long done, const char *detail);
void progress_end(Progress *p);

#endif
