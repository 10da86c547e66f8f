/* report_page.h: what `grpo report` shows: arms side by side as a page. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "report/arms.h"
#include "report/page.h"

/* p->no_memory tells whether it is whole */
void report_page(Page *p, const Arms *arms, const char *title);

#endif
