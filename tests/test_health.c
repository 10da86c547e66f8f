/* test_health.c: every rule about the numbers of a log: after how many lines it is told, once, and what ends
 * a run. */
#include "lib/files.h"
#include "lib/real.h"
#include "run/health.h"
#include "tests/test.h"

/* float and double may run at once */
static const char *const said = sizeof(real) == 4 ? "build/test_health_f32.txt" : "build/test_health_f64.txt";

/* How often stderr has this text so far. */
static int times(const char *part) {
    Err e = {{0}};
    size_t n;
    int found = 0;
    fflush(stderr);
    char *text = file_read(said, &n, &e);
    for (char *at = text; at && (at = strstr(at, part)); at++) found++;
    free(text);
    return found;
}

static bool look(Health *h, const char *line, Err *e) {
    JsonWriter w = {0};
    json_raw(&w, line);
    const bool ok = health_look(h, "train", &w, e);
    free(w.text);
    return ok;
}

typedef struct { const char *line, *not_so; int lines; const char *told; } Rule;
static const Rule rules[] = {
    {"{\"step\":7,\"grad_norm\":0}", "{\"step\":7,\"grad_norm\":1e-30}", 3, "the gradient is exactly 0"},
    {"{\"step\":7,\"loss\":10001,\"entropy\":2}", "{\"step\":7,\"loss\":9999,\"entropy\":2}", 3,
     "the loss has grown beyond all measure"},
    {"{\"step\":7,\"loss\":null}", "{\"step\":7,\"loss\":0}", 1, "the loss is not a number"},
    {"{\"step\":7,\"reward\":null,\"frac_reward_zero_std\":0.5}",
     "{\"step\":7,\"reward\":1,\"frac_reward_zero_std\":0.5}", 1, "no reply of this update has a reward"},
    {"{\"step\":7,\"reward\":1,\"frac_reward_zero_std\":1}",
     "{\"step\":7,\"reward\":1,\"frac_reward_zero_std\":0.9}", 10,
     "the rewards of a prompt's replies are all the same"},
    {"{\"step\":7,\"reward_std\":0,\"objective/scores\":1}",
     "{\"step\":7,\"reward_std\":0.1,\"objective/scores\":1}", 10, "the rewards never vary"},
    {"{\"step\":7,\"entropy\":0.0009,\"reward\":1}", "{\"step\":7,\"entropy\":0.0011,\"reward\":1}", 5,
     "raise --beta or --temperature, or start from"},
    {"{\"step\":7,\"policy/entropy_avg\":0.0009,\"reward\":1}",
     "{\"step\":7,\"policy/entropy_avg\":0.0011,\"reward\":1}", 5, "raise --kl-coef or --temperature"},
    {"{\"step\":7,\"kl\":10.5,\"reward\":1}", "{\"step\":7,\"kl\":9.5,\"reward\":1}", 3,
     "the policy is far from its reference"},
    {"{\"step\":7,\"policy/approxkl_avg\":1.1}", "{\"step\":7,\"policy/approxkl_avg\":0.9}", 3,
     "an update moves the policy by more than 1 nat a token"}};

/* Not before its line, then once; and not where a line in between is well. */
static void test_rule(const Rule *r) {
    Err e = {{0}};
    Health h = {0};
    const int before = times(r->told);
    for (int i = 1; i < r->lines; i++) CHECK(look(&h, r->line, &e));
    CHECK(look(&h, r->not_so, &e));
    for (int i = 1; i < r->lines; i++) CHECK(look(&h, r->line, &e));
    CHECK_INT(times(r->told), before);
    CHECK(look(&h, r->line, &e));
    CHECK_INT(times(r->told), before + 1);
    for (int i = 0; i < 3; i++) look(&h, r->line, &e);
    CHECK_INT(times(r->told), before + 1);
    CHECK(times("train: step 7: ") > 0);
}

/* The line of a run that has died, for so many lines; then it is refused. */
static void ends(const char *line, int lines, const char *why) {
    Err e = {{0}};
    Health h = {0};
    for (int i = 1; i < lines; i++) {
        CHECK(look(&h, line, &e));
        CHECK(health_dying(&h));
    }
    CHECK_ERROR(!look(&h, line, &e), e, why);
}

int main(void) {
    Err e = {{0}};
    if (!folder_make("build", &e) || !freopen(said, "w", stderr)) return 2;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) test_rule(&rules[i]);
    ends("{\"step\":7,\"loss\":3,\"grad_norm\":0}", 10, "for 10 lines of the log the gradient is exactly 0");
    ends("{\"step\":7,\"loss\":20000,\"entropy\":2}", 20, "for 20 lines of the log the loss has grown");

    /* no end: a gradient of 0 is in order where groups or preferences have nothing to say, or there is no
     * loss */
    static const char *const alive[] = {"{\"step\":7,\"loss\":3,\"grad_norm\":0,\"reward\":1}",
                                        "{\"step\":7,\"loss\":3,\"grad_norm\":0,\"rewards/accuracies\":1}",
                                        "{\"step\":7,\"loss\":0,\"grad_norm\":0}"};
    for (size_t k = 0; k < sizeof alive / sizeof *alive; k++) {
        Health h = {0};
        for (int i = 0; i < 40; i++) CHECK(look(&h, alive[k], &e));
        CHECK(health_dying(&h));
    }
    Health h = {0};
    CHECK(look(&h, "{\"step\":7,\"loss\":3,\"grad_norm\":1}", &e) && !health_dying(&h));
    /* without what stands beside it, a number is another one: sft's entropy is no policy's */
    for (int i = 0; i < 40; i++) CHECK(look(&h, "{\"step\":7,\"entropy\":0,\"kl\":99,\"grad_norm\":1}", &e));
    CHECK_INT(h.told[6] || h.told[8], 0);
    return test_end();
}
