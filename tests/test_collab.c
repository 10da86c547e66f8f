/* test_collab.c: candidates, divergence and choice of Collab (E254 to E257) by hand; the whole step against
 * an independent program is among the known answers. */
#include "baselines/collab.h"

#include "tests/test.h"

int main(void) {
    const real p[5] = {(real)log(.4), (real)log(.1), (real)log(.2), (real)log(.2), (real)log(.1)},
               even[5] = {(real)log(.2), (real)log(.2), (real)log(.2), (real)log(.2), (real)log(.2)};
    int token[5];
    /* E254: .4 log 2 + 2 * .1 log .5 */
    CHECK_NEAR(collab_kl(p, even, 5), .4 * log(2.0) - .2 * log(2.0), sizeof(real) == 4 ? 1e-7 : 1e-15);
    CHECK_NEAR(collab_kl(even, even, 5), 0, 0);
    /* E256: by probability, of equals the lower id first; as many as the mass takes */
    CHECK_INT(collab_candidates(token, p, 5, 5, 1), 5);
    const int order[5] = {0, 2, 3, 1, 4};
    for (int k = 0; k < 5; k++) CHECK_INT(token[k], order[k]);
    CHECK_INT(collab_candidates(token, p, 5, 3, 1), 3);
    CHECK_INT(collab_candidates(token, p, 5, 9, 1), 5);
    CHECK_INT(collab_candidates(token, p, 5, 5, .3), 1);
    CHECK_INT(collab_candidates(token, p, 5, 5, .55), 2);
    CHECK_INT(collab_candidates(token, p, 5, 5, .75), 3);
    CHECK_INT(collab_candidates(token, p, 5, 1, 1e-9), 1);
    CHECK_NEAR(collab_promise(.5, .1, 2), .3, 1e-15);
    /* E257 */
    const double promise[4] = {.1, .7, .7, .2};
    CHECK_INT((int)collab_choose(promise, 4), 1);
    CHECK_INT((int)collab_choose(promise, 1), 0);
    return test_end();
}
