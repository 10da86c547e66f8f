/* stats.c: mean, deviation and the 95 % interval of a mean. */
#include "stats.h"

#include <math.h>

double student_t_975(size_t df) {
    static const double table[30] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
                                     2.364624,  2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
                                     2.160369,  2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
                                     2.093024,  2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
                                     2.059539,  2.055529, 2.051831, 2.048407, 2.045230, 2.042272};
    const double z = 1.959963984540054, z2 = z * z, v = (double)df;
    if (df < 1) return NAN;
    if (df <= 30) return table[df - 1];
    /* expansion about the normal quantile in 1/v (Cornish and Fisher) */
    return z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
           z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v);
}

Stats stats_of(const double *x, size_t n) {
    Stats s = {.mean = 0, .sd = 0};
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i])) s.mean += x[i], s.n++;
    s.mean = s.n ? s.mean / (double)s.n : NAN;
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i])) s.sd += (x[i] - s.mean) * (x[i] - s.mean);
    s.sd = s.n > 1 ? sqrt(s.sd / (double)(s.n - 1)) : NAN;
    s.half_width = s.n > 1 ? student_t_975(s.n - 1) * s.sd / sqrt((double)s.n) : NAN;
    return s;
}
