/* test.h: checks that print place, found and expected, and a verdict that a Makefile can add up.
 * One program a file: TEST(name) runs a function; test_end() prints "N passed, N failed" and gives the exit
 * code. */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long passed, failed;

#define CHECK(cond) do {                                                                                    \
    if (cond) { passed++; break; }                                                                          \
    failed++;                                                                                               \
    printf("%s:%d: %s: does not hold\n", __FILE__, __LINE__, #cond);                                        \
} while (0)

#define CHECK_NEAR(got, want, tol) do {                                                                     \
    const double g_ = (got), w_ = (want), e_ = fabs(g_ - w_);                                               \
    if (e_ <= (tol)) { passed++; break; }               /* so written, a NaN is a failure */                \
    failed++;                                                                                               \
    printf("%s:%d: %s = %.17g, expected %.17g, off by %.3g\n", __FILE__, __LINE__, #got, g_, w_, e_);       \
} while (0)

#define CHECK_INT(got, want) do {                                                                           \
    const long long g_ = (got), w_ = (want);                                                                \
    if (g_ == w_) { passed++; break; }                                                                      \
    failed++;                                                                                               \
    printf("%s:%d: %s = %lld, expected %lld\n", __FILE__, __LINE__, #got, g_, w_);                          \
} while (0)

#define CHECK_STRING(got, want) do {                                                                        \
    const char *g_ = (got), *w_ = (want);                                                                   \
    if (g_ && strcmp(g_, w_) == 0) { passed++; break; }                                                     \
    failed++;                                                                                               \
    printf("%s:%d: %s = \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #got, g_ ? g_ : "(null)", w_);      \
} while (0)

/* an error line must have been made and must contain `part` */
#define CHECK_ERROR(call_failed, err, part) do {                                                            \
    if ((call_failed) && strstr((err).line, (part))) { passed++; (err).line[0] = 0; break; }                \
    failed++;                                                                                               \
    printf("%s:%d: expected an error with \"%s\", found \"%s\"\n", __FILE__, __LINE__, (part), (err).line); \
    (err).line[0] = 0;                                                                                      \
} while (0)

static inline int test_end(void) {
    printf("%ld passed, %ld failed\n", passed, failed);
    return failed ? 1 : 0;
}

#endif
