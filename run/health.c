/* health.c: the rules by which a line of the log is looked at. */
#include "run/health.h"

#include <math.h>
#include <stdio.h>

enum { ZERO, ONE, MISSING, BELOW, ABOVE };
enum { DEAD, GROWN };                   /* rules that end the run when they hold for so many lines: */
static const int end_lines[] = {10, 20};

/* In so many lines in a row `key` is so; `beside` (NULL: nothing) is a key that has a value there. */
static const struct {
    const char *key, *beside;
    int kind;
    double limit;
    int lines;
    const char *told;
} rule[] = {
    {"grad_norm", NULL, ZERO, 0, 3,
     "the gradient is exactly 0: nothing is learned any more; a learning rate that is too high leaves such a "
     "network, and so do replies whose rewards are all the same"},
    {"loss", "entropy", ABOVE, 1e4, 3,
     "the loss has grown beyond all measure: the learning rate is too high"},
    {"loss", NULL, MISSING, 0, 1,
     "the loss is not a number: no token or label of this update counts (completions that were cut away, "
     "labels that are missing), or a score is not finite"},
    {"reward", "frac_reward_zero_std", MISSING, 0, 1,
     "no reply of this update has a reward: the scores are missing; look at what the reward program answers"},
    {"frac_reward_zero_std", NULL, ONE, 0, 10,
     "the rewards of a prompt's replies are all the same, in every group: there is nothing to prefer; the "
     "scores may be too coarse, the temperature too low or --num-generations too small"},
    {"reward_std", "objective/scores", ZERO, 0, 10,
     "the rewards never vary: there is nothing to prefer; look at what the reward model or program answers"},
    {"entropy", "reward", BELOW, 1e-3, 5,
     "the policy has collapsed: each token is nearly certain and the replies to a prompt are the same; lower "
     "the learning rate, raise --beta or --temperature, or start from an earlier policy"},
    {"policy/entropy_avg", "reward", BELOW, 1e-3, 5,
     "the policy has collapsed: each token is nearly certain and the replies to a prompt are the same; lower "
     "the learning rate, raise --kl-coef or --temperature, or start from an earlier policy"},
    {"kl", "reward", ABOVE, 10, 3,
     "the policy is far from its reference: more than 10 nats a token; lower the learning rate or raise "
     "--beta"},
    {"policy/approxkl_avg", NULL, ABOVE, 1, 3,
     "an update moves the policy by more than 1 nat a token: lower the learning rate or --num-ppo-epochs"}};
enum { N_RULE = sizeof rule / sizeof *rule };
_Static_assert((int)N_RULE <= (int)HEALTH_RULES, "a place for each rule");

static bool rule_holds(int i, const Json *line) {
    const Json *v = json_get(line, rule[i].key);
    const Json *beside = rule[i].beside ? json_get(line, rule[i].beside) : v;
    if (!v || !beside || (rule[i].beside && beside->type == JSON_NULL)) return false;
    if (rule[i].kind == MISSING) return v->type == JSON_NULL;
    if (v->type != JSON_NUMBER) return false;
    return rule[i].kind == ZERO    ? v->number == 0
           : rule[i].kind == ONE   ? v->number == 1
           : rule[i].kind == BELOW ? v->number < rule[i].limit
                                   : v->number > rule[i].limit;
}

/* A loss that is there though there is no gradient: not data that have been learned by heart, nor groups
 * whose rewards are the same; or a loss per token that no preference explains. */
static bool is_hopeless(const Json *line) {
    const Json *loss = json_get(line, "loss");
    return loss && loss->type == JSON_NUMBER && loss->number > 1e-3 && !json_get(line, "reward") &&
           !json_get(line, "rewards/accuracies");
}

bool health_look(Health *h, const char *command, const JsonWriter *text, Err *e) {
    Json *line = json_ok(text, e) ? json_parse(text->text, text->length, "the log", 1, e) : NULL;
    if (!line) return false;
    const Json *step = json_get(line, "step");
    bool ok = true;
    for (int i = 0; i < N_RULE; i++) {
        h->row[i] = rule_holds(i, line) ? h->row[i] + 1 : 0;
        if (h->row[i] < rule[i].lines || h->told[i]) continue;
        fprintf(stderr, "%s: step %.0f: %s\n", command, step->number, rule[i].told);
        h->told[i] = true;
    }
    for (int i = DEAD; i <= GROWN && ok; i++)
        if (h->row[i] >= end_lines[i] && is_hopeless(line))
            ok = fail(e, "step %.0f: for %d lines of the log %s", step->number, h->row[i], rule[i].told);
    json_free(line);
    return ok;
}

bool health_dying(const Health *h) { return h->row[DEAD] > 0 || h->row[GROWN] > 0; }
