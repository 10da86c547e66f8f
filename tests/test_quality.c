/* test_quality.c: errors, correlations and calibration of small sets worked by hand. */
#include "run/quality.h"

#include "tests/test.h"

#define NONE ((real)NAN)

static void test_E46_E51_metrics(void) {
    const real x[6] = { 1, 2, 2, 4, 9, 9 }, y[6] = { 2, 1, 4, 4, NONE, 5 };
    QualityPair scratch[6];
    QualityBin bin[2];
    Quality m;
    quality_of(&m, bin, 2, x, y, 6, 1, 0, scratch);
    CHECK_INT(m.n, 5);                                  /* x 1 2 2 4 9, y 2 1 4 4 5: bars 3.6 and 3.2 */
    CHECK_NEAR(m.mse, 22 / 5.0, 1e-14);
    CHECK_NEAR(m.mae, 8 / 5.0, 1e-14);
    CHECK_NEAR(m.bias, 0.4, 1e-14);
    CHECK_NEAR(m.r2, 1 - 22 / 10.8, 1e-14);
    CHECK_NEAR(m.pearson, 15.4 / sqrt(41.2 * 10.8), 1e-14);
    CHECK_NEAR(m.calibration_slope, 15.4 / 41.2, 1e-14);
    CHECK_NEAR(m.spearman, 7.25 / 9.5, 1e-14);          /* ranks 1 2.5 2.5 4 5 and 2 1 3.5 3.5 5 */
    CHECK_INT(bin[0].count, 2);
    CHECK_NEAR(bin[1].mean_score, 5, 1e-14);
    CHECK_NEAR(m.calibration_error, 0.4 * 0 + 0.6 * (5 - 13 / 3.0), 1e-14);
    /* too low, then too high: the gaps do not cancel */
    const real over[4] = { 1, 2, 11, 12 }, under[4] = { 3, 4, 9, 10 };
    quality_of(&m, NULL, 2, over, under, 4, 1, 0, scratch);
    CHECK_NEAR(m.calibration_error, 2, 1e-14);
    const real flat[3] = { 1, 1, 1 }, nothing[3] = { NONE, NONE, NONE };
    quality_of(&m, NULL, 2, x, flat, 3, 1, 0, scratch);
    CHECK(isnan(m.r2) && isnan(m.pearson) && isnan(m.spearman) && m.calibration_slope == 0);
    quality_of(&m, NULL, 2, x, nothing, 3, 1, 0, scratch);
    CHECK(m.n == 0 && isnan(m.mse) && isnan(m.bias));
}

int main(void) {
    test_E46_E51_metrics();
    return test_end();
}
