/* quality.c: errors, correlations and calibration of scores against labels. */
#include "run/quality.h"

#include <stdlib.h>

static int by_x(const void *a, const void *b) {
    const QualityPair *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->at > q->at) - (p->at < q->at);
}
static int by_y(const void *a, const void *b) {
    const QualityPair *p = a, *q = b;
    return p->y != q->y ? (p->y > q->y) - (p->y < q->y) : (p->at > q->at) - (p->at < q->at);
}
static int by_place(const void *a, const void *b) {
    const QualityPair *p = a, *q = b;
    return (p->at > q->at) - (p->at < q->at);
}

static double midrank(size_t first, size_t last) { return (double)(first + last) / 2 + 1; }

void quality_of(Quality *out, QualityBin *bin, int n_bin, const real *score, const real *label, size_t n,
                size_t n_label, size_t k, QualityPair *p) {
    size_t m = 0;
    double sum_x = 0, sum_y = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = score[i * n_label + k], y = label[i * n_label + k];
        if (isnan(y)) continue;
        p[m] = (QualityPair){ x, y, 0, m };
        m++;
        sum_x += x;
        sum_y += y;
    }
    *out = (Quality){ m, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN };
    for (int b = 0; bin && b < n_bin; b++) bin[b] = (QualityBin){ NAN, NAN, 0 };
    if (m == 0) return;
    const double count = (double)m, mean_x = sum_x / count, mean_y = sum_y / count;
    double error = 0, absolute = 0, sxx = 0, syy = 0, sxy = 0;
    for (size_t i = 0; i < m; i++) {
        const double d = p[i].x - p[i].y, x = p[i].x - mean_x, y = p[i].y - mean_y;
        error += d * d;
        absolute += fabs(d);
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    out->mse = error / count;
    out->rmse = sqrt(out->mse);
    out->mae = absolute / count;
    out->bias = mean_x - mean_y;
    out->r2 = syy > 0 ? 1 - error / syy : NAN;                                                  /* E47 */
    out->pearson = sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;                            /* E48 */
    out->calibration_slope = sxx > 0 ? sxy / sxx : NAN;                                         /* E50 */
    out->calibration_intercept = mean_y - out->calibration_slope * mean_x;

    qsort(p, m, sizeof *p, by_x);
    double gap = 0;
    for (int b = 0; b < n_bin; b++) {                                                           /* E51 */
        const size_t first = m * (size_t)b / (size_t)n_bin, end = m * ((size_t)b + 1) / (size_t)n_bin;
        double x = 0, y = 0;
        for (size_t i = first; i < end; i++) x += p[i].x, y += p[i].y;
        if (end == first) continue;
        const double c = (double)(end - first);
        if (bin) bin[b] = (QualityBin){ x / c, y / c, end - first };
        gap += c / count * fabs(x / c - y / c);
    }
    if (n_bin > 0) out->calibration_error = gap;

    /* E49: ranks, equal values share the mean of theirs. The ranks of x wait in .rank, those of y
     * replace .y */
    for (size_t a = 0, b; a < m; a = b + 1) {
        for (b = a; b + 1 < m && p[b + 1].x == p[a].x; b++) {}
        for (size_t i = a; i <= b; i++) p[i].rank = midrank(a, b);
    }
    qsort(p, m, sizeof *p, by_y);
    for (size_t a = 0, b; a < m; a = b + 1) {
        const double y = p[a].y;
        for (b = a; b + 1 < m && p[b + 1].y == y; b++) {}
        for (size_t i = a; i <= b; i++) p[i].y = midrank(a, b);
    }
    qsort(p, m, sizeof *p, by_place);
    const double mid = (count + 1) / 2;
    sxx = syy = sxy = 0;
    for (size_t i = 0; i < m; i++) {
        const double x = p[i].rank - mid, y = p[i].y - mid;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    out->spearman = sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;
}
