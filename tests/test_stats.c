/* test_stats.c: against SciPy 1.x: x.std(ddof=1), stats.t.ppf(0.975, df). */
#include "lib/stats.h"
#include "tests/test.h"

static void test_interval(void) {
    const double x[] = { 5.1, 4.9, NAN, 6.2, 5.6, 5.0 };
    const Stats s = stats_of(x, 6);
    CHECK_INT((int)s.n, 5);
    CHECK_NEAR(s.mean, 5.36, 1e-12);
    CHECK_NEAR(s.sd, 0.54129474410897431, 1e-12);
    CHECK_NEAR(s.half_width, 0.6721061962, 1e-7);         /* 2.776445105 * sd / sqrt(5) */
}

static void test_too_few(void) {
    const double x[] = { NAN, 3 };
    const Stats none = stats_of(x, 1), one = stats_of(x, 2);
    CHECK(none.n == 0 && isnan(none.mean) && isnan(none.sd) && isnan(none.half_width));
    CHECK(one.n == 1 && one.mean == 3 && isnan(one.sd) && isnan(one.half_width));
}

static void test_quantile(void) {
    const struct {
        size_t df;
        double t;
    } known[] = {{1, 12.7062047362}, {4, 2.7764451052},   {30, 2.0422724563},    {31, 2.0395134464},
                 {40, 2.0210753904}, {100, 1.9839715185}, {100000, 1.9599877075}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK_NEAR(student_t_975(known[i].df) / known[i].t, 1, 1e-6);
    for (size_t df = 1; df < 200; df++) CHECK(student_t_975(df) > student_t_975(df + 1));
    CHECK(isnan(student_t_975(0)));
}

int main(void) {
    test_interval();
    test_too_few();
    test_quantile();
    return test_end();
}
