/* test_pair_reward.c: scores of pairs become a mean over all pairs of an update, whatever the slices; and
 * which rows of a pair are read. */
#include "run/pair_reward.h"
#include "tests/test.h"

enum { PAIRS = 4 };

static void test_E57_over_the_update(void) {
    real score[2 * PAIRS] = { (real)1.2, (real)0.4, (real)-0.3, (real)0.2, (real)0.5, -3, 2, (real)2.5 },
         d[2 * PAIRS], parts[2 * PAIRS], scratch[2 * PAIRS];
    PairReward sum = { 0 }, sliced = { 0 };
    pair_reward_loss(&sum, d, score, PAIRS, 0.1, PAIRS);
    for (int i = 0; i < 2 * PAIRS && sizeof(real) == 8; i++) {
        const real keep = score[i], h = (real)1e-5;
        PairReward up = { 0 }, down = { 0 };
        score[i] = keep + h;
        pair_reward_loss(&up, scratch, score, PAIRS, 0.1, PAIRS);
        score[i] = keep - h;
        pair_reward_loss(&down, NULL, score, PAIRS, 0.1, PAIRS);
        score[i] = keep;
        CHECK_NEAR(d[i], (up.loss - down.loss) / PAIRS / (2 * (double)h), 1e-9);
    }
    pair_reward_loss(&sliced, parts, score, 1, 0.1, PAIRS);
    pair_reward_loss(&sliced, parts + 2, score + 2, PAIRS - 1, 0.1, PAIRS);
    CHECK(memcmp(d, parts, sizeof d) == 0 && memcmp(&sum, &sliced, sizeof sum) == 0);
    PairReward plain = { 0 };
    pair_reward_loss(&plain, NULL, score, PAIRS, 0, PAIRS);
    CHECK_NEAR(sum.loss - plain.loss, 0.1 * (1.6 * 1.6 + 0.1 * 0.1 + 2.5 * 2.5 + 4.5 * 4.5), 1e-5);
    const PairReward mean = pair_reward_means(sum, PAIRS);
    CHECK(mean.accuracy == 0.5);
    CHECK_NEAR(mean.margin, (0.8 - 0.5 + 3.5 - 0.5) / 4, 1e-6);
}

/* The end token is the padding token here: it is not read. */
static void test_E40_rows_of_a_pair(void) {
    enum { PAD = 9 };
    int id[] = { 1, 2, 3, 4, PAD, 5, 6, 7 }, empty[] = { 1, 2, PAD, 5 };
    const PairTokens pair = { .id = id, .n_prompt = 2, .n_w = 3, .n_l = 3 },
                     nothing = { .id = empty, .n_prompt = 2, .n_w = 1, .n_l = 1 };
    Window w = { 0 };
    Err e = { { 0 } };
    Texts t = { 0 };
    CHECK(pair_reward_lay(&w, &pair, PAD, &e) && pair_reward_lay(&w, &pair, -1, &e));
    CHECK(w.n_row == 16 && w.n_seg == 6 && w.n_target == 4);
    CHECK(w.target_row[0] == 3 && w.target_row[1] == 7 && w.target_row[2] == 12 && w.target_row[3] == 15);
    CHECK(!pair_reward_lay(&w, &nothing, PAD, &e) && strstr(e.line, "chosen reply holds nothing but"));
    pair_reward_texts(&t, &pair, 0);
    CHECK(t.prompt == 2 && t.token == 6 && t.row == 8 && t.scored == 2);
    window_free(&w);
}

int main(void) {
    test_E57_over_the_update();
    test_E40_rows_of_a_pair();
    return test_end();
}
