/* page.h: one self-contained HTML page: escaped text, tables, line and marker plots as SVG. Every element is
 * closed, also those that HTML leaves open, so that an XML reader takes the page too; numbers have fixed
 * decimals, so that the same figures give the same bytes.
 *
 * Lines and markers are told apart by colour (Okabe and Ito's, which colour-blind readers tell apart too),
 * dashes and shape: three ways. */
#ifndef PAGE_H
#define PAGE_H

#include "lib/base.h"

typedef struct { char *text; size_t length, capacity; int n_plot; bool no_memory; } Page;
void page_html(Page *p, const char *format, ...) PRINTF_LIKE(2, 3);     /* as it is */
/* escaped; control characters as U+FFFD */
void page_text(Page *p, const char *text);
void page_begin(Page *p, const char *title);
void page_end(Page *p);

/* "-0.12" with a minus sign and never "-0.00"; an en dash for NaN. plus: a sign before positive numbers too.
 */
void page_number(Page *p, double x, int decimals, bool plus);
/* 1234567 as 1 234 567, with thin spaces; 1.23 x 10^12 from 10^9 on. */
void page_count(Page *p, double x);

/* A sample of a style with its name, for a legend. style >= 0. */
void page_key(Page *p, int style, const char *name);

/* A line with its band from low to high (drawn where banded). */
typedef struct { const char *name; int style, n; bool banded; double *x, *y, *low, *high; } Curve;
/* x, y and the half-widths of their intervals (NaN: none); label NULL: none beside the marker. */
typedef struct { const char *label; int style; double x, y, half_x, half_y; } Mark;
/* description: for readers who do not see the plot. */
void page_curves(Page *p, const char *title, const char *name, const char *description, const Curve *curve,
                 int n);
void page_marks(Page *p, const char *title, const char *x_name, const char *y_name, const char *description,
                const Mark *mark, int n);

#endif
