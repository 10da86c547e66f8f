/* figures.h: every figure of `grpo report` as one JSON value. */
#ifndef FIGURES_H
#define FIGURES_H

#include "report/arms.h"

/* The value that docs/formats.md describes, as text; indent 0: on one line. The caller frees it; NULL: no
 * memory. The same runs give the same bytes. watch: seconds until the page is read anew; 0: it is not. */
char *report_figures(const Arms *arms, const char *title, int watch, int indent);

#endif
