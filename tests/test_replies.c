/* test_replies.c: which rows of a stored reply are read, and what becomes of its labels when some are held
 * out. */
#include <stdlib.h>

#include "run/replies.h"
#include "tests/test.h"

static int first[] = {5, 6, 7, 8, 9}, second[] = {5, 6, 0}, third[] = {4};

/* Prompts of two, two and one tokens; replies of three, one and none. */
static ReplySet three(ReplyTokens *seq, real *label, bool states) {
    seq[0] = (ReplyTokens){first, 5, 2}, seq[1] = (ReplyTokens){second, 3, 2},
    seq[2] = (ReplyTokens){third, 1, 1};
    return (ReplySet){.seq = seq, .label = label, .n = 3, .n_label = 1, .states = states};
}

static void rows_are(const ReplySet *s, const int *row, int n) {
    Window w = {0};
    Err e = {{0}};
    Texts t = {0};
    int values = 0;
    for (int i = 0; i < s->n; i++) {
        CHECK(replies_lay(&w, s, i, 0, &e));
        values += replies_values(s, i);
        replies_texts(&t, s, i);
    }
    CHECK(w.n_seg == 3 && w.n_row == 9 && w.n_target == n && values == n);
    for (int i = 0; i < n && i < w.n_target; i++) CHECK(w.target_row[i] == row[i]);
    CHECK_NEAR(t.scored, n, 0);
    CHECK_NEAR(t.row, 9, 0);
    window_free(&w);
}

/* Once, at the last token that is not padding (0 here); or before each token of the reply and after the last.
 */
static void test_E40_E241_rows(void) {
    ReplyTokens seq[3];
    ReplySet last = three(seq, NULL, false);
    rows_are(&last, (int[]){4, 6, 8}, 3);
    last.states = true;
    rows_are(&last, (int[]){1, 2, 3, 4, 6, 7, 8}, 7);
    Window w = {0};
    Err e = {{0}};
    last.states = false, second[0] = second[1] = 0;
    CHECK(!replies_lay(&w, &last, 1, 0, &e) && strstr(e.line, "nothing but pad_token_id 0"));
    window_free(&w);
}

/* A label goes where its reply goes, and nothing is lost. */
static void test_split(void) {
    enum { N = 20 };
    ReplySet all = {.n = N, .n_label = 2, .states = true}, held = {0};
    Err e = {{0}};
    bool seen[N] = {false};
    all.seq = calloc(N, sizeof *all.seq);
    all.label = malloc(2 * N * sizeof(real));
    for (int i = 0; i < N; i++) {
        all.seq[i] = (ReplyTokens){malloc(sizeof(int)), i + 1, 1};
        all.label[2 * i] = (real)i, all.label[2 * i + 1] = (real)(-i);
    }
    CHECK(replies_split(&all, &held, 0.25, 1, &e));
    CHECK(all.n == 15 && held.n == 5 && held.n_label == 2 && all.states && held.states);
    const ReplySet *const part[] = {&all, &held};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < part[k]->n; i++) {
            const int of = part[k]->seq[i].n - 1;
            CHECK(!seen[of] && part[k]->label[2 * i] == of && part[k]->label[2 * i + 1] == -of);
            seen[of] = true;
        }
    replies_free(&held);
    CHECK(!replies_split(&all, &held, 0.01, 1, &e) && strstr(e.line, "--eval-split 0.01"));
    replies_free(&all);
}

int main(void) {
    test_E40_E241_rows();
    test_split();
    return test_end();
}
