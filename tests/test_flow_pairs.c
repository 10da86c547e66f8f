/* test_flow_pairs.c: which texts and scores a loss of flows reads, and its loss of a pair by hand. */
#include "run/flow_pairs.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/test.h"

static const char *const path = "build/test_flow_pairs.jsonl";
static const char text[] =
    "{\"prompt\": \"a\", \"chosen\": \"x\", \"score_chosen\": 3, \"rejected\": \"y\", \"score_rejected\":1}\n"
    "{\"prompt\": \"b\", \"chosen\": \"\", \"score_chosen\": 9, \"rejected\": \"y\", \"score_rejected\": 0}\n"
    "{\"prompt\": \"c\", \"chosen\": \"x\", \"score_chosen\": 2, \"rejected\": \"z\", \"score_rejected\": -1}"
    "\n{\"prompt\": \"d\", \"chosen\": \"x\", \"score_chosen\": 2, \"rejected\": \"z\"}\n";

static void test_texts_and_scores(void) {
    Err e = {""};
    Dataset d;
    int left_out = 0;
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
    CHECK(dataset_load(&d, path, NEED_PAIR, NULL, &e) && flow_texts(&d, &left_out, &e));
    CHECK_INT(left_out, 1);
    CHECK_INT(d.n, 3);
    CHECK_INT(d.row[1].line, 3);
    for (int i = 0; i < 3; i++) CHECK(d.row[i].chosen_cut && d.row[i].rejected_cut);
    PairTokens row[3] = {{.open = 0}};
    PairSet p = {.row = row, .n = 2};
    double lowest = 1.5;
    CHECK(flow_scores(&p, &lowest, &d, SCORES_COLUMN, &e));
    CHECK(row[0].open == 1 && row[0].score[0] == 3 && row[1].score[1] == -1);
    CHECK_NEAR(lowest, -1, 0);
    CHECK(flow_scores(&p, &lowest, &d, SCORES_PAIR, &e));
    CHECK(row[1].score[0] == 0 && row[1].score[1] == -8 && lowest == -8);
    p.n = 3;
    CHECK_ERROR(!flow_scores(&p, &lowest, &d, SCORES_COLUMN, &e), e, "jsonl:4: no \"score_rejected\"");
    d.n = 0;
    CHECK_ERROR(!flow_texts(&d, &left_out, &e), e, "every pair has an empty reply");
    remove(path);
}

/* Two texts, of two tokens and one. log F at every state is -1, -2, -3 and -1.5, -2.5 + alpha times a score:
 * values are next, end, next, end, end and next, end, end. */
static void test_E231_pair(void) {
    const real value[] = {-1, -2, -1, -3, -1, -2, -1, -1},
               ref[] = {-1, -3, -1, -4, -2, -2, (real)-2.5, (real)-1.5};
    const size_t n[] = {2, 1};
    const double score[] = {1, 0}, alpha = 0.5;
    real dvalue[8];
    Arena a = {0};
    FlowWork f = {.config = {.alpha = alpha, .lambda = 0.9}, .lowest_score = -2};
    DpoPair p;
    flow_layout(&f, &a, 2);
    a = (Arena){.base = malloc(a.used)};
    flow_layout(&f, &a, 2);
    /* levels log R - end - sum of next: -3 - 1 + 2, -1 - 4 - 1 + 3 + 1, -2 - 2 + .5 + 1 + 2; and
     * -2.5 - 1 + 1, -2 - 1.5 + 0 + 1 + 2 */
    const double w[] = {-2, -2, -0.5}, l[] = {-2.5, -0.5};
    CHECK_NEAR(flow_pair_loss(&p, dvalue, &f, value, ref, NULL, n, score, DPO_FLOW_DB, 0.25),
               0.25 * (0 + 1.5 * 1.5 + 4), 1e-12);
    CHECK_NEAR(f.log_flow, w[0] + l[0], 1e-12);
    CHECK_NEAR(p.logp_w, -3, 0);
    CHECK_NEAR(p.ref_l, -3.5, 1e-12);
    CHECK_NEAR(p.n_w, 3, 0);
    CHECK_NEAR(dvalue[2], 0.25 * 2 * (w[1] - w[2]), 1e-6);      /* the second token of the first text */
    CHECK_NEAR(dvalue[7], 0.25 * 2 * (l[0] - l[1]), 1e-6);      /* the end of the second */
    f.log_flow = 0;
    CHECK_NEAR(flow_pair_loss(&p, dvalue, &f, value, ref, NULL, n, score, DPO_FLOW_TB, 1), 0, 1e-12);
    CHECK_NEAR(f.log_flow, w[2] + l[1], 1e-12);
    free(a.base);
}

int main(void) {
    test_texts_and_scores();
    test_E231_pair();
    return test_end();
}
