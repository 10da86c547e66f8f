/* test_maxmin.c: MaxMin-RLHF by hand: whom a user joins, when nobody moves, the common scale, who is worst
 * off. */
#include "baselines/maxmin.h"

#include "grpo.h"
#include "reward.h"
#include "tests/test.h"

#define TIGHT (sizeof(real) == 8 ? 1e-14 : 1e-6)
#define NONE ((real)NAN)

static void test_E218_E219_users(void) {
    /* user 0 has pairs 0 and 2, user 1 none, user 2 pair 1 */
    const real margin[6] = { 1, 2, (real)-0.5, (real)0.25, 2, 0 };
    const int user[3] = { 0, 2, 0 };
    double likelihood[6];
    int member[3] = { 0, 1, 1 };
    maxmin_likelihoods(likelihood, margin, user, 3, 3, 2);
    CHECK_NEAR(likelihood[0], -log1p(exp(-1)) - log1p(exp(0.5)), 1e-15);
    CHECK_NEAR(likelihood[1], -log1p(exp(-0.25)) - log(2), 1e-15);
    CHECK(likelihood[2] == 0 && likelihood[3] == 0);
    CHECK(likelihood[4] == likelihood[5]);
    CHECK(maxmin_assign(member, likelihood, 3, 2) == 3);                /* equals: the lowest */
    CHECK(member[0] == 1 && member[1] == 0 && member[2] == 0);
    CHECK(maxmin_assign(member, likelihood, 3, 2) == 0);                /* settled */
}

static void test_E222_scale(void) {
    const real score[4] = { 1, 3, 5, 7 }, flat[2] = { 2, 2 };
    double factor, shift, mean = 0, square = 0;
    maxmin_scale(&factor, &shift, score, 4);
    for (int i = 0; i < 4; i++) mean += factor * score[i] + shift;
    for (int i = 0; i < 4; i++) square += pow(factor * score[i] + shift, 2);
    CHECK_NEAR(mean, 0, 1e-14);
    CHECK_NEAR(square / 4, 1, 1e-14);
    maxmin_scale(&factor, &shift, flat, 2);
    CHECK(isfinite(factor) && isfinite(shift));
}

static void test_E221_worst(void) {
    const real score[9] = { 1, 0, NONE, 1, 4, NONE, NONE, -1, NONE };
    double mean[3];
    real lowest[3];
    CHECK(maxmin_worst(mean, score, 3, 3) == 0);                        /* equal means: the first */
    CHECK(mean[0] == 1 && mean[1] == 1 && isnan(mean[2]));
    maxmin_lowest(lowest, score, 3, 3);
    CHECK(lowest[0] == 0 && lowest[1] == 1 && lowest[2] == -1);
    const real unscored[4] = { NONE, 3, NONE, 4 };
    CHECK(maxmin_worst(mean, unscored, 2, 2) == 1);
    maxmin_lowest(lowest, score + 2, 1, 1);
    CHECK(isnan(lowest[0]));
}

/* Through the settings of GRPO: the step's rewards are one label's, whatever the weights; the lowest of each
 * reply's is another step. */
static void test_E221_through_the_settings(void) {
    const real score[8] = { 3, 0, 1, 2, 5, (real)-1, 4, (real)0.5 }, want[4] = { 0, 2, (real)-1, (real)0.5 },
               least[4] = { 0, 1, (real)-1, (real)0.5 };
    const double weight[2] = { 1, 100 };
    GrpoConfig c;
    real adv[4], reward[4], by_hand[4];
    grpo_config_default(&c);
    c.multi_objective_aggregation = WORST_GROUP;
    grpo_score_advantage(adv, reward, NULL, score, weight, NULL, 4, 2, 2, &c);
    CHECK(memcmp(reward, want, sizeof want) == 0);
    grpo_advantage(by_hand, NULL, want, 4, 2, c.scale_rewards, c.std_eps);
    CHECK(memcmp(adv, by_hand, sizeof adv) == 0);
    c.multi_objective_aggregation = MIN_LABEL;
    grpo_score_advantage(adv, reward, NULL, score, weight, NULL, 4, 2, 2, &c);
    CHECK(memcmp(reward, least, sizeof least) == 0);
    grpo_advantage(by_hand, NULL, least, 4, 2, c.scale_rewards, c.std_eps);
    CHECK(memcmp(adv, by_hand, sizeof adv) == 0);
}

int main(void) {
    test_E218_E219_users();
    test_E222_scale();
    test_E221_worst();
    test_E221_through_the_settings();
    return test_end();
}
