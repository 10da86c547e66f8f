/* test_diversity.c: similarity of replies by their pairs of words (E239), by hand. */
#include "report/diversity.h"

#include <math.h>

#include "tests/test.h"

int main(void) {
    /* {ab, bc} and {ab, bd}: one of three */
    CHECK_NEAR(text_similarity("a b c", "a b d"), 1 / 3.0, 1e-15);
    const char *const two[] = {"a b c", "a b d"};
    CHECK_NEAR(texts_diversity(two, 2), 2 / 3.0, 1e-15);
    CHECK_NEAR(text_similarity("a b  c", " a b c "), 1, 0);            /* blanks do not count */
    CHECK_NEAR(text_similarity("a b a b a b", "a b a"), 1, 0);         /* sets: {ab, ba} */
    CHECK_NEAR(text_similarity("a b a b c", "c b"), 0, 0);
    CHECK_NEAR(text_similarity("ab c", "a bc"), 0, 0);                 /* words, not letters */
    CHECK_NEAR(text_similarity("a", ""), 1, 0);                        /* neither has a pair */
    CHECK_NEAR(text_similarity("a", "a b"), 0, 0);
    /* similarities 1/3, 0, 0 */
    const char *const three[] = {"a b c", "a b d", "x y"};
    CHECK_NEAR(texts_diversity(three, 3), 1 - 1 / 9.0, 1e-15);
    CHECK(isnan(texts_diversity(three, 1)));
    return test_end();
}
