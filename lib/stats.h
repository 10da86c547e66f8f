/* stats.h: means with their uncertainty, for reports. */
#ifndef STATS_H
#define STATS_H

#include <stddef.h>

/* Of x[0..n), NaN left out, two passes, index order: mean, sample deviation (divisor count - 1) and the
 * half-width of the 95 % interval of the mean, t(count - 1) * sd / sqrt(count). What does not exist (count 0;
 * count 1 for the last two) is NaN. */
typedef struct { size_t n; double mean, sd, half_width; } Stats;
Stats stats_of(const double *x, size_t n);

/* The 0.975 quantile of Student's t with df >= 1 degrees of freedom, to 1e-6 relative. */
double student_t_975(size_t df);

#endif
