/* page.h: the page of `grpo report`: the template page.html with the figures inside. */
#ifndef PAGE_H
#define PAGE_H

#include "lib/base.h"

/* Writes the page to `path`, which is one file that fetches nothing. figures: a JSON value as text. It is
 * embedded so that no text in it can end the element that it stands in (<, >, & and the two line ends of
 * JavaScript are escaped), and the page's policy lets no script run but the template's own. */
bool page_write(const char *path, const char *figures, Err *e);
/* Whether the file is a page of this version of the program, with that title, which needs no escapes. */
bool page_is(const char *path, const char *title);

#endif
