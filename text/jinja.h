/* jinja.h: templates in the part of Jinja's language that chat templates use, as jinja2 renders them in
 * transformers (trim_blocks and lstrip_blocks on, loop controls, {% generation %}, its tojson). Strict: what
 * is not known here is refused by name and line, and so is a template that works, nests or writes without
 * end. Parse once, render often; a parsed template is read only. */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "lib/json.h"

typedef struct Jinja Jinja;
/* n bytes of a template; name stands in front of messages ("FOLDER: chat template"). NULL: an error that
 * names the line. Freed by jinja_free. */
Jinja *jinja_parse(const char *text, size_t n, const char *name, Err *e);
void jinja_free(Jinja *j);
/* whether the template marks the assistant's turns with {% generation %} */
bool jinja_marks_generation(const Jinja *j);

/* A variable as the template sees it. The texts of one that is `data` are marked in what is written. */
typedef struct { const char *name; const Json *value; bool data; } JinjaVariable;
/* n bytes, NUL-terminated, and as many marks: where a byte came from. One block: freed by free(text). */
enum { JINJA_DATA = 1, JINJA_GENERATION = 2 };
typedef struct { char *text; unsigned char *mark; size_t n; } JinjaText;
/* date: what strftime_now writes, as YYYY-MM-DD; NULL: the template may not ask for it. On an error *out is
 * left alone. A text under the key "role" is not marked: it names a kind of turn. */
bool jinja_render(JinjaText *out, const Jinja *j, const JinjaVariable *variable, int n, const char *date,
                  Err *e);

#endif
