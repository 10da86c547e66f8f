/* page.c: HTML and SVG.
 *
 * In this order: text, numbers, the page's frame and style, styles of lines, axes with ticks at round
 * numbers, the two plots. */
#include "report/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ----------------------------------------------------------------------------------- */

static void add(Page *p, const char *text, size_t n) {
    if (p->length + n + 1 > p->capacity) {
        const size_t capacity = 2 * (p->length + n + 1) + 4096;
        char *more = realloc(p->text, capacity);
        if (!more) { p->no_memory = true; return; }
        p->text = more;
        p->capacity = capacity;
    }
    memcpy(p->text + p->length, text, n);
    p->length += n;
    p->text[p->length] = 0;
}

void page_html(Page *p, const char *format, ...) {
    char line[8192];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) add(p, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void page_text(Page *p, const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        const char *escaped = *c == '&'                                               ? "&amp;"
                              : *c == '<'                                             ? "&lt;"
                              : *c == '>'                                             ? "&gt;"
                              : *c == '"'                                             ? "&quot;"
                              : *c == '\''                                            ? "&#39;"
                              : (*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f ? "\xef\xbf\xbd"
                                                                                      : NULL;
        if (escaped) add(p, escaped, strlen(escaped));
        else add(p, (const char *)c, 1);
    }
}

/* ---- numbers -------------------------------------------------------------------------------- */

void page_number(Page *p, double x, int decimals, bool plus) {
    char digits[64];
    if (isnan(x)) { page_html(p, "–"); return; }
    snprintf(digits, sizeof digits, "%.*f", decimals, fabs(x));
    const bool zero = strspn(digits, "0.") == strlen(digits);
    page_html(p, "%s%s", zero ? "" : x < 0 ? "−" : plus ? "+" : "", digits);
}

void page_count(Page *p, double x) {
    char digits[64];
    int power = 0;
    if (isnan(x)) { page_html(p, "–"); return; }
    if (fabs(x) >= 1e9) {
        for (; fabs(x) >= 9.995; power++) x /= 10;
        page_html(p, "%.2f × 10<sup>%d</sup>", x, power);
        return;
    }
    snprintf(digits, sizeof digits, "%.0f", x);
    for (size_t i = 0, n = strlen(digits); i < n; i++) {
        if (i && (n - i) % 3 == 0 && digits[i - 1] != '-') page_html(p, " ");
        page_html(p, "%c", digits[i]);
    }
}

/* ---- the frame ------------------------------------------------------------------------------ */

static const char style_sheet[] =
    ":root{color-scheme:light}\n"
    "body{margin:0;background:#fff;color:#1a1a1a;font:16px/1.5 'Iowan Old Style','Palatino "
    "Linotype',Palatino,'Book Antiqua','URW Palladio L',P052,Georgia,serif;"
    "font-variant-numeric:lining-nums tabular-nums}\n"
    "main{max-width:66rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}\n"
    "h1{font-size:1.9rem;line-height:1.2;font-weight:500;margin:0 0 .6rem}\n"
    "h2{font-size:1.4rem;font-weight:500;margin:3.2rem 0 .8rem;padding-top:.7rem;border-top:1px solid "
    "#1a1a1a}\n"
    "h3{font-size:1.1rem;font-weight:600;margin:2.2rem 0 .4rem}\n"
    "p,ul{max-width:44rem;margin:.5rem 0}\n"
    "ul{padding-left:1.2rem}\n"
    ".wide{overflow-x:auto;margin:1rem 0 1.6rem}\n"
    "table{border-collapse:collapse;border-bottom:1.5px solid #1a1a1a;font-size:.86rem;line-height:1.35}\n"
    "caption{caption-side:top;text-align:left;font-size:.92rem;max-width:50rem;padding:0 0 .5rem}\n"
    "caption b,figcaption b{font-weight:600}\n"
    "th,td{padding:.22rem "
    ".7rem;text-align:right;vertical-align:baseline;white-space:nowrap;font-weight:400}\n"
    "thead th{border-top:1.5px solid #1a1a1a;border-bottom:.75px solid #1a1a1a;font-weight:600}\n"
    "tbody+tbody tr:first-child th,tbody+tbody tr:first-child td{border-top:.75px solid #bbb}\n"
    "tbody th,td.text,th.text{text-align:left}\n"
    "thead tr:first-child th:first-child,tbody th.head{padding-left:.15rem}\n"
    "th.group{text-align:center}thead tr+tr th{border-top:0;font-weight:400}thead "
    "th[rowspan]{vertical-align:bottom}\n"
    "tbody th{font-weight:600}\n"
    "tbody th.arm{font-weight:400}\n"
    "td.path,td.reply{white-space:normal;overflow-wrap:anywhere;text-align:left}td.run{min-width:6.5rem}td."
    "hash{text-align:left}sup{line-height:0}\n"
    "td.path,td.hash,code{font:.85em/1.4 ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}\n"
    "td.reply{white-space:pre-wrap;max-width:38rem}\n"
    "td.prompt{text-align:left;white-space:pre-wrap;font-style:italic;max-width:50rem}\n"
    ".half{color:#555}\n"
    ".rose{color:#0072b2}.fell{color:#b84a00}.open{color:#767676}\n"
    ".note{color:#555;font-size:.9rem}\n"
    ".keys{display:flex;flex-wrap:wrap;gap:.2rem 1.5rem;font-size:.9rem;margin:.4rem 0 "
    ".6rem;max-width:none}\n"
    ".keys svg{width:46px;height:12px;vertical-align:middle;margin-right:.45rem}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem "
    "1.6rem;margin:.6rem 0 1.6rem}\n"
    "figure{margin:0}\n"
    "figure svg{display:block;width:100%;height:auto;overflow:visible}\n"
    "figure.single{max-width:40rem;margin:.6rem 0 1.6rem}\n"
    "figcaption{font-size:.86rem;line-height:1.3}\n"
    "svg text{font:11px 'Helvetica Neue',Helvetica,Arial,'Liberation "
    "Sans',sans-serif;fill:#333;font-variant-numeric:tabular-nums}\n"
    "@media "
    "print{@page{margin:14mm}html{font-size:10pt}body{font-size:10pt}main{max-width:none;padding:0}table{"
    "font-size:7.6pt}th,td{padding:.15rem .4rem}"
    "figure,tbody,.keys{break-inside:avoid}h2,h3,caption{break-after:avoid}.wide{overflow:visible}.plots{"
    "grid-template-columns:repeat(3,1fr)}"
    "td.reply{max-width:none}}\n";

void page_begin(Page *p, const char *title) {
    page_html(p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta "
                 "name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>");
    page_text(p, title);
    page_html(p, "</title>\n<style>\n");
    add(p, style_sheet, sizeof style_sheet - 1);
    page_html(p, "</style>\n</head>\n<body>\n<main>\n<h1>");
    page_text(p, title);
    page_html(p, "</h1>\n");
}

void page_end(Page *p) { page_html(p, "</main>\n</body>\n</html>\n"); }

/* ---- styles --------------------------------------------------------------------------------- */

/* 7 colours and 6 dashes: 42 pairs before one comes again. Yellow is left out: it is lost on white. */
static const char *const colour_of[] = {"#000000", "#0072b2", "#d55e00", "#009e73",
                                        "#cc79a7", "#e69f00", "#56b4e9"};
static const char *const dash_of[] = {"none", "none", "7 3", "2 2.5", "9 3 2 3", "4 2"};
static const char *colour(int style) { return colour_of[style % 7]; }
static const char *dash(int style) { return dash_of[style % 6]; }

static void marker(Page *p, int style, double x, double y) {
    static const char *const shape[] = {"M-3.2 0A3.2 3.2 0 1 0 3.2 0A3.2 3.2 0 1 0 -3.2 0Z",
                                        "M-3-3H3V3H-3Z",
                                        "M0-3.8L3.6 2.8H-3.6Z",
                                        "M0-4L4 0L0 4L-4 0Z",
                                        "M0 3.8L3.6-2.8H-3.6Z",
                                        "M-3.4 0H3.4M0-3.4V3.4"};
    page_html(p,
              "<path transform=\"translate(%.1f %.1f)\" d=\"%s\" fill=\"%s\" stroke=\"%s\" "
              "stroke-width=\"1\"/>\n",
              x, y, shape[style % 6], style % 2 || style % 6 == 0 ? colour(style) : "#fff", colour(style));
}

void page_key(Page *p, int style, const char *name) {
    page_html(p,
              "<span><svg viewBox=\"0 0 46 12\" aria-hidden=\"true\"><path d=\"M1 6H45\" fill=\"none\" "
              "stroke=\"%s\" stroke-width=\"1.6\" stroke-dasharray=\"%s\"/>",
              colour(style), dash(style));
    marker(p, style, 23, 6);
    page_html(p, "</svg>");
    page_text(p, name);
    page_html(p, "</span>\n");
}

/* ---- axes ----------------------------------------------------------------------------------- */

/* data low..high lie at from..to on the page; whole: ticks at whole numbers */
typedef struct { double low, high, from, to; bool whole; } Scale;
static double at(const Scale *s, double v) {
    return s->from + (v - s->low) / (s->high - s->low) * (s->to - s->from);
}

static void include(Scale *s, double v) {
    if (isnan(v)) return;
    if (!(s->low <= v)) s->low = v;
    if (!(s->high >= v)) s->high = v;
}

static void widen(Scale *s) { /* room at both ends; and a range where there is none */
    double room = (s->high - s->low) * 0.04;
    if (!(room > 1e-9 * fabs(s->high))) room = fabs(s->high) > 0 ? fabs(s->high) * 0.1 : 0.1;
    s->low -= room;
    s->high += room;
}

/* Ticks at multiples of digit x 10^power, digit 1, 2 or 5: at most `most` of them. */
typedef struct { int digit, power; } Step;
static double multiple(Step s, double k) {
    double ten = 1;
    for (int i = 0; i < (s.power < 0 ? -s.power : s.power); i++) ten *= 10;
    return s.power < 0 ? k * s.digit / ten : k * s.digit * ten;
}

static Step step_for(const Scale *s, int most) {
    const double wanted = (s->high - s->low) / most;
    Step step = {1, 0};
    while (step.power > -12 && multiple(step, 1) > wanted) step.power--;
    while (step.power < 15 && multiple(step, 10) <= wanted) step.power++;
    const int digits[] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        step.digit = digits[i];
        if (multiple(step, 1) >= wanted) return s->whole && step.power < 0 ? (Step){1, 0} : step;
    }
    return (Step){1, step.power + 1};
}

/* The number at tick k: with decimals, or as 5e-7 where it would have more than five of them. */
static void tick_text(char out[64], Step s, double k) {
    if (s.power >= -5) snprintf(out, 64, "%.*f", s.power < 0 ? -s.power : 0, fabs(multiple(s, k)));
    else if (k == 0) snprintf(out, 64, "0");
    else snprintf(out, 64, "%.0fe−%d", fabs(k * s.digit), -s.power);
}

static void axis(Page *p, const Scale *s, bool horizontal, double other, double across) {
    const Step step = step_for(s, horizontal ? 6 : 5);
    for (double k = ceil(s->low / multiple(step, 1)); multiple(step, k) <= s->high; k++) {
        const double x = at(s, multiple(step, k));
        char text[64];
        tick_text(text, step, k);
        if (horizontal)
            page_html(p,
                      "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#333\" stroke-width=\".8\"/><text x=\"%.1f\" "
                      "y=\"%.1f\" text-anchor=\"middle\">",
                      x, other, other + 4, x, other + 15);
        else
            page_html(p,
                      "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#e4e4e4\" stroke-width=\".8\"/><text x=\"%.1f\" "
                      "y=\"%.1f\" text-anchor=\"end\">",
                      other, x, across, other - 5, x + 3.8);
        page_html(p, "%s%s</text>\n", k < 0 ? "−" : "", text);
    }
}

/* Room for the numbers of a vertical axis: where the horizontal one begins. */
static double left_of(const Scale *y) {
    const Step step = step_for(y, 5);
    size_t longest = 0;
    for (double k = ceil(y->low / multiple(step, 1)); multiple(step, k) <= y->high; k++) {
        char text[64];
        tick_text(text, step, k);
        if (strlen(text) + (k < 0) > longest) longest = strlen(text) + (k < 0);
    }
    return 10 + 6.2 * (double)longest;
}

static void plot_begin(Page *p, double width, double height, const char *title, const char *description,
                       const Scale *x, const Scale *y) {
    p->n_plot++;
    page_html(p,
              "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"plot%d-title "
              "plot%d-desc\">\n<title id=\"plot%d-title\">",
              width, height, p->n_plot, p->n_plot, p->n_plot);
    page_text(p, title);
    page_html(p, "</title>\n<desc id=\"plot%d-desc\">", p->n_plot);
    page_text(p, description);
    page_html(p, "</desc>\n");
    axis(p, y, false, x->from, x->to);
    axis(p, x, true, y->from, 0);
    page_html(p, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#333\" stroke-width=\".8\"/>\n", x->from, y->from,
              x->to);
}

static void axis_names(Page *p, const Scale *x, const Scale *y, const char *x_name, const char *y_name) {
    page_html(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", x->to, y->from + 29);
    page_text(p, x_name);
    page_html(p, "</text>\n");
    if (y_name) {
        page_html(p, "<text x=\"%.1f\" y=\"%.1f\">", 2.0, y->to - 8);
        page_text(p, y_name);
        page_html(p, "</text>\n");
    }
}

/* ---- curves --------------------------------------------------------------------------------- */

static void draw_curve(Page *p, const Curve *c, const Scale *x, const Scale *y) {
    if (c->banded) {
        page_html(p, "<path d=\"");
        for (int i = 0; i < c->n; i++)
            page_html(p, "%c%.1f %.1f", i ? 'L' : 'M', at(x, c->x[i]), at(y, c->high[i]));
        for (int i = c->n - 1; i >= 0; i--) page_html(p, "L%.1f %.1f", at(x, c->x[i]), at(y, c->low[i]));
        page_html(p, "Z\" fill=\"%s\" fill-opacity=\".16\"/>\n", colour(c->style));
    }
    page_html(p, "<path d=\"");
    for (int i = 0; i < c->n; i++) page_html(p, "%c%.1f %.1f", i ? 'L' : 'M', at(x, c->x[i]), at(y, c->y[i]));
    page_html(p,
              "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" stroke-linejoin=\"round\" "
              "stroke-dasharray=\"%s\"/>\n",
              colour(c->style), dash(c->style));
    marker(p, c->style, at(x, c->x[c->n - 1]), at(y, c->y[c->n - 1]));
}

void page_curves(Page *p, const char *title, const char *name, const char *description, const Curve *curve,
                 int n) {
    const double width = 320, height = 190;
    Scale x = {NAN, NAN, 0, width - 8, true}, y = {NAN, NAN, height - 34, 8, false};
    for (int i = 0; i < n; i++)
        for (int k = 0; k < curve[i].n; k++) {
            include(&x, curve[i].x[k]);
            include(&y, curve[i].y[k]);
            if (curve[i].banded) include(&y, curve[i].low[k]), include(&y, curve[i].high[k]);
        }
    widen(&x);
    widen(&y);
    x.from = left_of(&y);
    page_html(p, "<figure>\n<figcaption><b>");
    page_text(p, title);
    page_html(p, "</b> <code>");
    page_text(p, name);
    page_html(p, "</code></figcaption>\n");
    plot_begin(p, width, height, title, description, &x, &y);
    axis_names(p, &x, &y, "step", NULL);
    for (int i = 0; i < n; i++) draw_curve(p, &curve[i], &x, &y);
    page_html(p, "</svg>\n</figure>\n");
}

/* ---- markers -------------------------------------------------------------------------------- */

void page_marks(Page *p, const char *title, const char *x_name, const char *y_name, const char *description,
                const Mark *mark, int n) {
    const double width = 560, height = 360;
    /* labels stand at the right */
    Scale x = {NAN, NAN, 0, width - 100, false}, y = {NAN, NAN, height - 36, 24, false};
    for (int i = 0; i < n; i++) {
        const double dx = isnan(mark[i].half_x) ? 0 : mark[i].half_x,
                     dy = isnan(mark[i].half_y) ? 0 : mark[i].half_y;
        include(&x, mark[i].x - dx), include(&x, mark[i].x + dx);
        include(&y, mark[i].y - dy), include(&y, mark[i].y + dy);
    }
    widen(&x);
    widen(&y);
    x.from = left_of(&y);
    plot_begin(p, width, height, title, description, &x, &y);
    axis_names(p, &x, &y, x_name, y_name);
    for (int i = 0; i < n; i++) {
        const Mark *m = &mark[i];
        const double cx = at(&x, m->x), cy = at(&y, m->y);
        if (!isnan(m->half_x))
            page_html(p, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\" stroke-width=\"1\"/>\n",
                      at(&x, m->x - m->half_x), cy, at(&x, m->x + m->half_x), colour(m->style));
        if (!isnan(m->half_y))
            page_html(p, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-width=\"1\"/>\n", cx,
                      at(&y, m->y - m->half_y), at(&y, m->y + m->half_y), colour(m->style));
        marker(p, m->style, cx, cy);
        if (!m->label) continue;
        page_html(p, "<text x=\"%.1f\" y=\"%.1f\">", (isnan(m->half_x) ? cx : at(&x, m->x + m->half_x)) + 7,
                  cy + 4);
        page_text(p, m->label);
        page_html(p, "</text>\n");
    }
    page_html(p, "</svg>\n");
}
