/* test_aihf.c: AIHF's loss of a reward model (E224 to E228) by hand and by finite differences. */
#include "baselines/aihf.h"

#include "tests/test.h"

static const real demo[3] = {(real).5, (real)-.25, 1}, sample[2] = {(real).75, (real)-.5};

static void test_E224_difference(void) {
    real dd[3], ds[2];
    /* means 1.25/3 and .125, of the squares .4375 and .40625 */
    CHECK_NEAR(aihf_difference(dd, ds, demo, 3, sample, 2, .5, 0, 2), -4 * (1.25 / 3 - .125), 1e-7);
    for (int i = 0; i < 3; i++) CHECK_NEAR(dd[i], -4 / 3.0, 1e-6);
    for (int i = 0; i < 2; i++) CHECK_NEAR(ds[i], 2, 1e-6);
    CHECK_NEAR(aihf_difference(dd, ds, demo, 3, sample, 2, .5, .3, 2),
               -4 * (1.25 / 3 - .125) + 2 * .3 * (.4375 + .40625), 1e-7);
    for (int i = 0; i < 5; i++) {                       /* E226 */
        real up[5], down[5], scratch[3], more[2];
        for (int k = 0; k < 5; k++) up[k] = down[k] = k < 3 ? demo[k] : sample[k - 3];
        up[i] += (real)1e-3, down[i] -= (real)1e-3;
        const double slope = (aihf_difference(scratch, more, up, 3, up + 3, 2, .5, .3, 2) -
                              aihf_difference(scratch, more, down, 3, down + 3, 2, .5, .3, 2)) /
                             ((double)up[i] - down[i]);
        CHECK_NEAR(slope, i < 3 ? dd[i] : ds[i - 3], sizeof(real) == 4 ? 1e-4 : 1e-9);
    }
}

static void test_E225_E228_pairs(void) {
    const real w[2] = {(real).5, -1}, l[2] = {(real).25, (real).5};
    real dw[2], dl[2], a[2], b[2];
    double loss = aihf_pairs(dw, dl, w, l, 2, 0, 3);
    CHECK_NEAR(loss, 3 * (log1p(exp(-.25)) + log1p(exp(1.5))) / 2, sizeof(real) == 4 ? 1e-6 : 1e-14);
    for (int i = 0; i < 2; i++) CHECK_NEAR(dw[i], -dl[i], 0);
    loss = aihf_pairs(dw, dl, w, l, 2, .2, 3) - loss;   /* kappa of the sums .75 and -.5 */
    CHECK_NEAR(loss, 3 * .2 * (.5625 + .25) / 2, sizeof(real) == 4 ? 1e-6 : 1e-14);
    for (int i = 0; i < 2; i++) {
        real up[2] = {w[0], w[1]}, down[2] = {w[0], w[1]};
        up[i] += (real)1e-3, down[i] -= (real)1e-3;
        CHECK_NEAR((aihf_pairs(a, b, up, l, 2, .2, 3) - aihf_pairs(a, b, down, l, 2, .2, 3)) /
                       ((double)up[i] - down[i]),
                   dw[i], sizeof(real) == 4 ? 1e-3 : 1e-6);
    }
}

int main(void) {
    test_E224_difference();
    test_E225_E228_pairs();
    return test_end();
}
