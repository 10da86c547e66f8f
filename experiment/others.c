/* others.c: the page of the nine other methods, computed from the report's figures and from what their runs
 * left.
 *
 *   others page REPORT.json SEARCH.json FOLDER [REDUCED]     docs/results/others.md on stdout
 *
 * And small commands on replies, those to one prompt side by side:
 *
 *   others ranks A B            of scored replies on stdin the A-th and the B-th to each prompt, by reward
 *   others best PROMPTS AGENTS  the best to each prompt, where the replies on stdin are those of one agent to
 *                               all prompts, then those of the next
 *   others coefficient FILE     of scored replies with kl: the KL's coefficient as it shows (E252)
 *   others found USERS.json PREFERENCES.jsonl EVAL.json
 *                               of two groups that em found: the share of users that are where they belong,
 *                               and how well each group's network says the pairs of its users
 *   others tokens FILE          of a decoding's replies: how many plain replies take as many tokens as one
 *
 * A verdict is a function of figures, never written by hand: each method's says what "holds" was to mean
 * before the runs were made. In this order: figures, verdicts, tables, one function a method, the search, the
 * small commands. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/mpo.h"
#include "experiment/reading.h"
#include "lib/files.h"

/* ---- figures ---- */

typedef struct { const Json *report, *search; const char *folder; } Page;

/* Weights of politeness, meaningfulness, actionability, safety: the experiment's, and the two groups' of
 * raters. */
static const double EXPERIMENT_WEIGHTS[] = {.15, .2, .15, .5}, DOERS[] = {.1, .2, .7, 0},
                    GUARDS[] = {.1, .2, 0, .7};

/* The judge's score by weights, over all rows. */
static Seeds weighed(const Json *arm, const double weight[WORLD_LABELS]) {
    Seeds sum = judged(arm, "all", 0);
    for (size_t i = 0; i < sum.n; i++) sum.x[i] *= weight[0];
    for (int k = 1; k < WORLD_LABELS; k++) {
        const Seeds label = judged(arm, "all", k);
        for (size_t i = 0; i < sum.n; i++) sum.x[i] += weight[k] * label.x[i];
    }
    return sum;
}
static Seeds score_of(const Json *arm) { return weighed(arm, EXPERIMENT_WEIGHTS); }
static Seeds doers_of(const Json *arm) { return weighed(arm, DOERS); }
static Seeds guards_of(const Json *arm) { return weighed(arm, GUARDS); }
static Seeds mean_of(const Json *arm) { return judged(arm, "all", WORLD_LABELS); }
static Seeds kl_of(const Json *arm) { return plain(arm, "all", "kl"); }
static Seeds length_of(const Json *arm) { return plain(arm, "all", "completion_length"); }
static Seeds diversity_of(const Json *arm) { return plain(arm, "all", "diversity"); }
static Seeds safety_of(const Json *arm) { return judged(arm, "all", WORLD_LABELS - 1); }
static Seeds target_of(const Json *arm) { return plain(arm, "all", "mean_scores"); }
static Seeds refusal_of(const Json *arm) { return plain(arm, "all", "refusal"); }

/* A number that an arm's runs left, by seed: FOLDER/0.25M/SEED/NAME/FILE, at a path of keys with blanks in
 * between. */
static Seeds left(const Page *p, const Json *arm, const char *name, const char *file, const char *keys) {
    Seeds s = score_of(arm);
    for (size_t i = 0; i < s.n; i++) {
        char path[1024], key[64];
        Err e;
        snprintf(path, sizeof path, "%s/0.25M/%g/%s/%s", p->folder, s.seed[i], name, file);
        Json *root = path_exists(path) ? json_read_file(path, &e) : NULL;
        const Json *at = root;
        for (const char *k = keys; at && *k; k += strcspn(k, " "), k += strspn(k, " ")) {
            snprintf(key, sizeof key, "%.*s", (int)strcspn(k, " "), k);
            at = json_get(at, key);
        }
        s.x[i] = number_of(at);
        json_free(root);
    }
    return s;
}

static double mean(Seeds s) { return stats_of(s.x, s.n).mean; }
static Seeds lesser_of(Seeds a, Seeds b) {                /* the lesser of two, seed by seed */
    Seeds s = shared(a, b), other = shared(b, a);
    for (size_t i = 0; i < s.n; i++) s.x[i] = fmin(s.x[i], other.x[i]);
    return s;
}
static Seeds share(Seeds a, Seeds b) {                  /* a / b */
    Seeds s = shared(a, b), other = shared(b, a);
    for (size_t i = 0; i < s.n; i++) s.x[i] /= other.x[i];
    return s;
}

/* ---- verdicts ---- */

typedef enum { OPEN, NO, YES } Held;
/* In every seed the figure is at least so much. */
static Held always(Seeds d, double least) {
    Held h = d.n ? YES : OPEN;
    for (size_t i = 0; i < d.n && h != OPEN; i++) h = isnan(d.x[i]) ? OPEN : d.x[i] < least ? NO : h;
    return h;
}
static Held rose(Seeds d) { return change(d) == NOT_RUN ? OPEN : change(d) == ROSE ? YES : NO; }
static Held both(Held a, Held b) { return a == OPEN || b == OPEN ? OPEN : a == YES && b == YES ? YES : NO; }
static Held either(Held a, Held b) { return a == YES || b == YES ? YES : a == OPEN || b == OPEN ? OPEN : NO; }

static void told(const char *what, Seeds d, Held h) {
    printf("- %s: ", what);
    print_figure(d, true);
    printf(" (%s)\n", h == OPEN ? "not run" : h == YES ? "yes" : "no");
}
static void say_verdict(Held h, const char *in_part) {
    printf("\n**Verdict: %s.**\n", h == OPEN ? "open: not all of it was run"
                                   : h == YES ? "holds here"
                                   : *in_part ? in_part
                                              : "does not hold here");
}

/* ---- tables ---- */

typedef struct { const char *title; Seeds (*of)(const Json *arm); } Column;

static const Json *arms_of(const Page *p, const char *section) {
    const Json *s = named(json_get(p->report, "sections"), section);
    return s ? json_get(s, "arms") : NULL;
}

static void show_table(const Page *p, const char *section, const Column *column, int n) {
    const Json *arms = arms_of(p, section);
    if (!arms) { printf("\nNothing of this was run.\n"); return; }
    printf("\n| arm |");
    for (int k = 0; k < n; k++) printf(" %s |", column[k].title);
    printf("\n|---|");
    for (int k = 0; k < n; k++) printf("---|");
    printf("\n");
    for (size_t i = 0; i < arms->length; i++) {
        printf("| %s |", json_get(&arms->item[i], "name")->string);
        for (int k = 0; k < n; k++) {
            printf(" ");
            print_figure(column[k].of(&arms->item[i]), false);
            printf(" |");
        }
        printf("\n");
    }
    printf("\n");
}
#define TABLE(section, ...)                                                                                  \
    show_table(p, section, (const Column[]){__VA_ARGS__},                                                    \
               (int)(sizeof((Column[]){__VA_ARGS__}) / sizeof(Column)))
#define MEAN {"judge's mean", mean_of}
#define SCORE {"weighted score", score_of}
#define KL {"KL", kl_of}

/* ---- TDPO ---- */

static const char *const beta_name[] = {"0.03", "0.1", "0.3", "1"};
enum { BETAS = 4 };
static const Json *by_beta(const Page *p, const char *method, int b) {
    char name[32];
    const bool dpo = !strcmp(method, "DPO");
    snprintf(name, sizeof name, "%s-%s%s", method, dpo ? "beta-" : "", beta_name[b]);
    return arm_of(p->report, "TDPO", dpo && b == 2 ? "DPO" : name);
}

/* What TDPO2's line through its points of KL and score gives at this KL, in one seed; beyond its ends, the
 * end. */
static double line_at(const Page *p, double kl, size_t seed) {
    double x[BETAS], y[BETAS];
    for (int b = 0; b < BETAS; b++) { /* KL falls as beta rises: descending from the first on */
        const Seeds k = kl_of(by_beta(p, "TDPO2", b)), s = score_of(by_beta(p, "TDPO2", b));
        if (seed >= k.n) return NAN;
        x[b] = k.x[seed], y[b] = s.x[seed];
    }
    for (int b = 0; b + 1 < BETAS; b++)
        if (kl <= x[b] && kl >= x[b + 1])
            return y[b + 1] + (y[b] - y[b + 1]) * (x[b] > x[b + 1] ? (kl - x[b + 1]) / (x[b] - x[b + 1]) : 0);
    return kl > x[0] ? y[0] : y[BETAS - 1];
}

static void tdpo(const Page *p) {
    printf("\n## TDPO: token-level DPO\n\nFrom the authors' code (arXiv 2404.11999). **The claim:** less "
           "divergence from the reference than DPO at equal reward, and TDPO2 better than TDPO1. **It "
           "holds here if** in every seed TDPO2 at beta 0.1 has at most 0.7 of DPO's KL and no lower score "
           "(by more than .01), and no point of DPO lies above TDPO2's line of score against KL by more "
           "than its interval. The score is the judge's by the weights .15, .2, .15, .5; KL is in nats a "
           "reply. We expected the first and left the second open.\n");
    TABLE("TDPO", SCORE, MEAN, KL, {"safety", safety_of});
    const Json *dpo = by_beta(p, "DPO", 1), *own = by_beta(p, "TDPO2", 1);
    const Seeds kl = share(kl_of(own), kl_of(dpo)), d = minus(score_of(own), score_of(dpo));
    Seeds less = kl;
    for (size_t i = 0; i < less.n; i++) less.x[i] = 0.7 - kl.x[i];
    const Held nearer = always(less, 0), level = always(d, -0.01);
    told("TDPO2's KL as a share of DPO's, both at beta 0.1, at most .7", kl, nearer);
    told("TDPO2's score minus DPO's there, at least -.01", d, level);
    Held frontier = YES;
    for (int b = 0; b < BETAS; b++) {
        char what[80];
        Seeds above = score_of(by_beta(p, "DPO", b)), at = kl_of(by_beta(p, "DPO", b));
        for (size_t i = 0; i < above.n; i++) above.x[i] -= line_at(p, at.x[i], i);
        const Held h = change(above) == NOT_RUN || isnan(mean(above)) ? OPEN
                       : change(above) == ROSE                        ? NO
                                                                      : YES;
        snprintf(what, sizeof what, "DPO at beta %s is not above TDPO2's line", beta_name[b]);
        told(what, above, h);
        frontier = both(frontier, h);
    }
    const Held first = both(nearer, level);
    say_verdict(both(first, frontier), first == YES
                                       ? "holds at one beta, not as a frontier: TDPO's beta is another beta, "
                                         "and raising DPO's does the same"
                                       : "");
}

/* ---- BMC ---- */

static void bmc_pairs(const Page *p, const char *near, const char *what, Held *holds) {
    char name[5][24];
    static const char *const arm[] = {"DPO", "control", "BC", "MC", "BMC"};
    Seeds s[5];
    for (int i = 0; i < 5; i++) {
        snprintf(name[i], sizeof name[i], "%s%s", near, i || !*near ? arm[i] : "");
        if (!i && *near) snprintf(name[i], sizeof name[i], "near");
        s[i] = mean_of(arm_of(p->report, "BMC", name[i]));
    }
    printf("- %s:\n", what);
    const Held dpo = rose(minus(s[4], s[0])), control = rose(minus(s[4], s[1]));
    Held halves = YES;
    printf("  ");
    told("both halves minus DPO, above its interval", minus(s[4], s[0]), dpo);
    printf("  ");
    told("both halves minus the control, above its interval", minus(s[4], s[1]), control);
    for (int i = 2; i < 4; i++) {
        const Seeds d = minus(s[i], s[0]);
        const Held h = change(d) == NOT_RUN ? OPEN : change(d) == FELL ? NO : YES;
        printf("  ");
        told(i == 2 ? "bridging alone does not fall below DPO" : "weights alone do not fall below DPO", d, h);
        halves = both(halves, h);
    }
    *holds = both(both(dpo, control), halves);
}

static void bmc(const Page *p) {
    Held best, near;
    printf("\n## BMC: bridged pairs and weighted tokens\n\nFrom the authors' code (arXiv 2408.07471); in "
           "the place of GPT-4, which edits there, stands the world's editor (data/README.md). **The "
           "claim:** bridging and weights each beat DPO, and both together most. **It holds here if** the "
           "judge's mean of both exceeds DPO's and the control's outside the intervals over seeds, and "
           "neither half alone falls. The control lets the same editor loose on the chosen reply: the same "
           "knowledge, not bridged. The names with `near` are of pairs of the second and the fourth of "
           "eight replies, which share more words. We expected that it does not hold on the best against "
           "the worst.\n");
    TABLE("BMC", MEAN, SCORE, KL, {"length", length_of});
    bmc_pairs(p, "", "the best against the worst", &best);
    bmc_pairs(p, "near-", "the second against the fourth", &near);
    say_verdict(both(best, near),
                either(best, near) == YES ? "holds here on one of the two kinds of pairs" : "");
}

/* ---- group-robust DPO ---- */

static Seeds held_loss(const Page *p, const char *arm, int group) {
    char key[32];
    snprintf(key, sizeof key, "after loss/%d", group);
    return left(p, arm_of(p->report, "GR", arm), arm, "run/eval.json", key);
}
static Seeds held_accuracy(const Page *p, const char *arm, int group) {
    char key[32];
    snprintf(key, sizeof key, "after accuracy/%d", group);
    return left(p, arm_of(p->report, "GR", arm), arm, "run/eval.json", key);
}
static Seeds worst_loss(const Page *p, const char *arm) {
    Seeds a = held_loss(p, arm, 0), b = held_loss(p, arm, 1);
    for (size_t i = 0; i < a.n; i++) a.x[i] = fmax(a.x[i], b.x[i]);
    return a;
}

static void robust(const Page *p) {
    const Json *arms = arms_of(p, "GR");
    printf("\n## GR-DPO and GR-IPO: the worst group of raters\n\nFrom the authors' code (arXiv 2405.20304; "
           "the paper calls itself GRPO, which is another thing). **The claim:** the loss of the worst "
           "group on held-out pairs falls, its accuracy rises, the gap shrinks. **It holds here if** the "
           "worst group's loss is below DPO's and below that of fixed weights, which count every group "
           "alike, in every seed. Four fifths of the raters want actionable replies, one fifth safe ones. "
           "`rated` is DPO on these pairs; `-fixed` balances the groups; `-mean` and `-sum` adapt, by "
           "means and by the authors' batch sums; `-ipo` is GR-IPO, whose loss is another unit. We "
           "expected balancing to do nearly all of it.\n\n| arm | loss, majority | loss, minority | "
           "accuracy, majority | accuracy, minority | weighted score | utility, majority | utility, "
           "minority |\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; arms && i < arms->length; i++) {
        const char *name = json_get(&arms->item[i], "name")->string;
        const Seeds figure[] = {held_loss(p, name, 0), held_loss(p, name, 1), held_accuracy(p, name, 0),
                                held_accuracy(p, name, 1), score_of(&arms->item[i]), doers_of(&arms->item[i]),
                                guards_of(&arms->item[i])};
        printf("| %s |", name);
        for (size_t k = 0; k < sizeof figure / sizeof *figure; k++) {
            printf(" ");
            print_figure(figure[k], false);
            printf(" |");
        }
        printf("\n");
    }
    printf("\n");
    const Seeds dpo = minus(worst_loss(p, "rated"), worst_loss(p, "rated-mean")),
                fixed = minus(worst_loss(p, "rated-fixed"), worst_loss(p, "rated-mean"));
    const Held first = always(dpo, 1e-9), second = always(fixed, 1e-9);
    told("the worst group's loss under DPO minus that under adaptive weights, above 0 in every seed", dpo,
         first);
    told("under fixed weights minus under adaptive ones, above 0 in every seed", fixed, second);
    say_verdict(both(first, second),
            first == YES ? "holds against DPO only: it is balancing, not robustness" : "");
}

/* ---- GDPO by flows ---- */

static void flow(const Page *p) {
    static const char *const flows[] = {"flow-2.5", "flow-5",    "flow-10",
                                        "flow-20",  "flow-pair", "flow-program"},
                             *const dpos[] = {"DPO-beta-0.03", "DPO-beta-0.1", "DPO", "DPO-beta-1"};
    const Json *best = NULL, *own = NULL;
    Held holds = NO;
    printf("\n## GDPO: generative flow networks\n\nThe loss is from the authors' code (arXiv 2410.15096), "
           "the reward of a state from the theory, which their program does not follow "
           "(docs/derivation.md). It is not the GDPO of decoupled normalisation. **The claim:** much more "
           "diverse than DPO, and aligned. **It holds here if** an arm that is no worse than DPO's best by "
           ".02 has a diversity that is higher by .05 in every seed. Diversity is 1 minus the mean "
           "similarity of eight replies to a prompt (Jaccard, of sets of token pairs). The numbers are "
           "alpha, on the reward model's scores; `pair` has the authors' scores 0 and -8; `program` is the "
           "authors' reward. We expected the claim to fail with the authors' settings.\n");
    TABLE("FLOW", MEAN, {"diversity", diversity_of}, KL, {"length", length_of}, SCORE);
    for (int i = 0; i < 4; i++) {
        const Json *arm = arm_of(p->report, "FLOW", dpos[i]);
        if (arm && (!best || mean(mean_of(arm)) > mean(mean_of(best)))) best = arm;
    }
    for (int i = 0; i < 6 && best; i++) {
        const Json *arm = arm_of(p->report, "FLOW", flows[i]);
        const Held level = always(minus(mean_of(arm), mean_of(best)), -0.02),
                   wide = always(minus(diversity_of(arm), diversity_of(best)), 0.05);
        if (both(level, wide) == YES) holds = YES;
        if (arm && (!own || mean(mean_of(arm)) > mean(mean_of(own)))) own = arm;
    }
    if (!best || !own) { say_verdict(OPEN, ""); return; }
    printf("DPO's best is %s, the flows' best by the same figure %s.\n\n", json_get(best, "name")->string,
           json_get(own, "name")->string);
    const Seeds d = minus(mean_of(own), mean_of(best)), v = minus(diversity_of(own), diversity_of(best));
    told("its judge's mean minus DPO's, at least -.02 in every seed", d, always(d, -0.02));
    told("its diversity minus DPO's, at least +.05 in every seed", v, always(v, 0.05));
    say_verdict(holds, "");
}

/* ---- MaxMin-RLHF ---- */

static void maxmin(const Page *p) {
    const Json *sft = arm_of(p->report, "MAXMIN", "SFT"), *one = arm_of(p->report, "MAXMIN", "one-model"),
               *own = arm_of(p->report, "MAXMIN", "max-min");
    printf(
        "\n## MaxMin-RLHF: a reward model for each group of users\n\nThe paper's algorithm (arXiv "
        "2402.08925); the common scale of the networks is ours. **The claim:** the minority is served "
        "better than with one reward model, the majority not much worse. **It holds here if** the "
        "minority's utility is above one model's outside the interval and the majority's stays above the "
        "supervised policy's. Forty users, a fifth of them the minority, with 250 pairs each; "
        "`known-groups` has a network for each group that is told, the upper bound; `-weak` has 60 pairs a "
        "user, too few for the minority's network: a warning. A utility is the judge's score by a group's "
        "weights.\n");
    TABLE("MAXMIN", {"utility, majority", doers_of}, {"utility, minority", guards_of}, SCORE,
          {"safety", safety_of}, KL, {"refusals", refusal_of});
    const Seeds minority = minus(guards_of(own), guards_of(one)),
                majority = minus(doers_of(own), doers_of(sft)), lost = minus(doers_of(own), doers_of(one));
    Seeds sum = minority;
    for (size_t i = 0; i < sum.n; i++) sum.x[i] += i < lost.n ? lost.x[i] : NAN;
    const Held first = rose(minority), second = rose(majority);
    told("the minority's utility, max-min minus one model", minority, first);
    told("the majority's utility, max-min minus SFT", majority, second);
    printf("- the majority's utility, max-min minus one model: ");
    print_figure(lost, true);
    printf("; the sum of both utilities, max-min minus one model: ");
    print_figure(sum, true);
    printf("\n");
    static const char *const em[] = {"em-250", "em-60"};
    for (int i = 0; i < 2; i++) {
        printf("- %s: users placed right ", em[i]);
        print_figure(left(p, sft, em[i], "found.json", "users"), false);
        printf(", accuracy of the majority's network on the majority's held-out pairs ");
        print_figure(left(p, sft, em[i], "found.json", "accuracy_0"), false);
        printf(", of the minority's on the minority's ");
        print_figure(left(p, sft, em[i], "found.json", "accuracy_1"), false);
        printf("\n");
    }
    say_verdict(both(first, second), "");
}

/* ---- AIHF ---- */

static void aihf(const Page *p) {
    static const char *const amount[] = {"100", "400", "1600"};
    Held few = OPEN;
    printf(
        "\n## AIHF: demonstrations and preferences at once\n\nA reconstruction but for its structure, "
        "which is the paper's (arXiv 2406.06874). **The claim:** better than SFT, then a reward model, "
        "then RL on the same data, most when preferences are few. **It holds here if** it exceeds the "
        "three stages outside the interval at 100 preferences. All start from SFT on 500 demonstrations of "
        "quality .6 (`demonstrated`); `stages` is a reward model and then GRPO, `together` AIHF with as many "
        "replies drawn, `direct` its form without a reward network, which is DPO on the preferences with SFT "
        "on the demonstrations in one loss; the number is that of the preferences. We expected it above the "
        "stages at 100 and level with them at 1,600.\n");
    TABLE("AIHF", SCORE, MEAN, KL, {"safety", safety_of});
    for (int i = 0; i < 3; i++) {
        char a[32], b[32], what[80];
        snprintf(b, sizeof b, "stages-%s", amount[i]);
        for (int direct = 0; direct < 2; direct++) {
            snprintf(a, sizeof a, "%s-%s", direct ? "direct" : "together", amount[i]);
            const Seeds d =
                minus(score_of(arm_of(p->report, "AIHF", a)), score_of(arm_of(p->report, "AIHF", b)));
            snprintf(what, sizeof what, "%s minus the stages at %s preferences, above its interval",
                     direct ? "the direct form" : "AIHF", amount[i]);
            told(what, d, rose(d));
            if (!i && !direct) few = rose(d);
        }
    }
    say_verdict(few, "");
}

/* ---- DVPO ---- */

static void dvpo(const Page *p) {
    static const char *const arm[] = {"dvpo-q", "dvpo-td"};
    const Json *ppo = arm_of(p->report, "DVPO", "PPO");
    Held holds = NO;
    printf("\n## DVPO: a value model made beforehand\n\nFrom the paper and the authors' code (arXiv "
           "2502.16944), which differ; `td` keeps the value of the finished text, which is ours. **The "
           "claim:** PPO's quality at about 35 %% less time and 40 %% less memory. **It holds here if** an "
           "arm takes at most .75 of PPO's operations and its judge's mean is within .03. No reward model "
           "is asked and no critic trained in this stage. We expected the saving, and a quality somewhat "
           "below PPO's.\n");
    TABLE("DVPO", MEAN, SCORE, KL, {"refusals", refusal_of});
    for (int i = 0; i < 2; i++) {
        const Json *own = arm_of(p->report, "DVPO", arm[i]);
        const Seeds d = minus(mean_of(own), mean_of(ppo));
        const double flops = cost(own, "measured_flops") / cost(ppo, "measured_flops");
        const Held h = !d.n || isnan(flops) ? OPEN : flops <= 0.75 && fabs(mean(d)) <= 0.03 ? YES : NO;
        printf("- %s, as shares of PPO's: operations %.2f, CPU seconds %.2f, peak memory %.2f; its judge's "
               "mean minus PPO's: ",
               arm[i], flops, cost(own, "cpu_seconds") / cost(ppo, "cpu_seconds"),
               cost(own, "peak_rss_bytes") / cost(ppo, "peak_rss_bytes"));
        print_figure(d, true);
        printf(" (%s)\n", h == OPEN ? "not run" : h == YES ? "yes" : "no");
        holds = either(holds, h);
    }
    static const char *const place[] = {"quarter", "half", "end"};
    printf("- the value's correlation with the final score on held-out replies:");
    for (int i = 0; i < 3; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s pearson", place[i]);
        printf("%s at the %s ", i ? "," : "", place[i]);
        print_figure(left(p, ppo, "value", "run/eval.json", key), false);
    }
    printf("\n");
    say_verdict(holds, "");
}

/* ---- MPO ---- */

/* The lowest of the four gains over SFT, each as a share of what the policy of that goal gains. */
static Seeds lowest_gain(const Page *p, const Json *arm) {
    const Json *sft = arm_of(p->report, "MPO", "SFT");
    Seeds low = {.n = 0};
    for (int k = 0; k < WORLD_LABELS; k++) {
        char name[40];
        snprintf(name, sizeof name, "goal-%s", world_label_name[k]);
        const Seeds base = judged(sft, "all", k),
                    own = minus(judged(arm_of(p->report, "MPO", name), "all", k), base),
                    gain = share(minus(judged(arm, "all", k), base), own);
        low = k ? lesser_of(low, gain) : gain;
    }
    return low;
}

static void mpo(const Page *p) {
    const Json *grpo = arm_of(p->report, "MPO", "GRPO-equal"),
               *worst = arm_of(p->report, "MPO", "mixture-worst"), *arms = arms_of(p, "MPO");
    printf("\n## MPO: mixing finished policies\n\nThe paper's formulas (arXiv 2502.18699); the weights for "
           "given goals are derived (E252). **The claims:** with given weights the mixture equals "
           "multi-objective GRPO without its training; and max-min weights give a better worst goal than "
           "any single policy. **They hold here if** (1) the judge's mean is within .05 of GRPO's in every "
           "seed, and (2) the lowest of the four gains, each as a share of what its own policy gains, is "
           "above that of every single policy in every seed. `naive` takes the goals' weights as they are, "
           "`given` divides by the coefficients in force, `worst` is mirror descent. Decoding a mixture "
           "runs four policies for every token. We expected (1) with `given` and left (2) open.\n");
    TABLE("MPO", MEAN, SCORE, KL, {"safety", safety_of});
    double trained = 0;
    for (int k = 0; k < WORLD_LABELS; k++) {
        char goal[40];
        snprintf(goal, sizeof goal, "goal-%s", world_label_name[k]);
        trained += cost(arm_of(p->report, "MPO", goal), "measured_flops") / cost(grpo, "measured_flops");
    }
    printf("Training the four policies took %.1f times the operations of GRPO on the weighted sum; where "
           "they are at hand, the mixture takes none.\n\n",
           trained);
    printf("| arm | lowest gain |\n|---|---|\n");
    Held second = YES;
    for (size_t i = 0; arms && i < arms->length; i++) {
        const char *name = json_get(&arms->item[i], "name")->string;
        const Seeds low = lowest_gain(p, &arms->item[i]);
        printf("| %s | ", name);
        print_figure(low, true);
        printf(" |\n");
        if (!strncmp(name, "goal-", 5))
            second = both(second, always(minus(lowest_gain(p, worst), low), 1e-9));
    }
    printf("\n");
    Held first = OPEN;
    static const char *const mixture[] = {"mixture-naive", "mixture-given"};
    for (int i = 0; i < 2; i++) {
        Seeds d = minus(mean_of(arm_of(p->report, "MPO", mixture[i])), mean_of(grpo)), off = d;
        for (size_t k = 0; k < off.n; k++) off.x[k] = 0.05 - fabs(d.x[k]);
        first = always(off, 0);                         /* of the last: given */
        told(i ? "(1) with E252's weights, within .05 of GRPO in every seed"
               : "with the goals' weights, within .05",
             d, first);
    }
    told("(2) the lowest gain of max-min weights, above every single policy's", lowest_gain(p, worst),
         arms ? second : OPEN);
    say_verdict(arms ? both(first, second) : OPEN, first == YES    ? "(1) holds here, (2) does not"
                                              : second == YES ? "(2) holds here, (1) does not"
                                                              : "");
}

/* ---- Collab ---- */

static void collab(const Page *p) {
    static const char *const agent[] = {"agent-actionability", "agent-safety"};
    const Json *own = arm_of(p->report, "COLLAB", "collab"), *better = NULL;
    printf(
        "\n## Collab: choosing the policy token by token\n\nThe paper's algorithm (arXiv 2503.21720). "
        "**The claim:** a higher target reward than any single agent or best-of-n, and judges agree. **It "
        "holds here if** the judge's weighted score with top-p .7 exceeds the better agent's and "
        "best-of-n's outside the intervals. The target is the sum of the reward model's four scores; "
        "best-of-n draws as many replies as take the same tokens. `collab-wide` searches the five most "
        "probable tokens however improbable they are: the reward rises, and the judge's score does not "
        "follow. We expected that.\n");
    TABLE("COLLAB", {"target reward", target_of}, SCORE, MEAN, {"safety", safety_of}, {"length", length_of},
          KL);
    for (int i = 0; i < 2; i++) {
        const Json *arm = arm_of(p->report, "COLLAB", agent[i]);
        if (arm && (!better || mean(score_of(arm)) > mean(score_of(better)))) better = arm;
    }
    const Seeds a = minus(score_of(own), score_of(better)),
                b = minus(score_of(own), score_of(arm_of(p->report, "COLLAB", "best-of-n")));
    told("the score minus the better agent's, above its interval", a, rose(a));
    told("the score minus best-of-n's, above its interval", b, rose(b));
    say_verdict(both(rose(a), rose(b)), "");
}

/* ---- the search ---- */

/* What a method's six settings were chosen by. */
typedef struct { const char *method, *what; Seeds (*of)(const Json *arm); } Criterion;
static Seeds lesser_utility(const Json *arm) { return lesser_of(doers_of(arm), guards_of(arm)); }
static const Criterion criteria[] = {{"TDPO", "weighted score", score_of},
                                     {"BMC", "judge's mean", mean_of},
                                     {"GR", "the lesser of both groups' utilities", lesser_utility},
                                     {"FLOW", "judge's mean", mean_of},
                                     {"MAXMIN", "the lesser of both groups' utilities", lesser_utility},
                                     {"AIHF", "weighted score", score_of},
                                     {"DVPO", "judge's mean", mean_of},
                                     {"MPO", "judge's mean", mean_of},
                                     {"COLLAB", "weighted score", score_of}};

/* The options of experiment/others.mk for an arm of the search, which the runs were called with. */
static void settings(const Page *p, const char *name) {
    char path[1024], *text;
    size_t n;
    Err e;
    snprintf(path, sizeof path, "%s/search/1/%s/stage.txt", p->folder, name);
    if (!path_exists(path) || !(text = file_read(path, &n, &e))) { printf("-"); return; }
    char *end = strstr(text, ", draw ");                        /* behind the options */
    text[end ? (size_t)(end - text) : strcspn(text, "\n")] = 0;
    printf("`%s`", text);
    free(text);
}

static void search(const Page *p) {
    const Json *list = json_get(p->search, "sections");
    printf("\n## The search\n\nSix settings of each method, one seed, development draw 98. The best by the "
           "criterion is marked; where the arms above stand at another, it is because the claim names the "
           "setting, or because one seed does not tell them apart.\n\n| setting | options | criterion | "
           "its value | KL |\n|---|---|---|---|---|\n");
    for (size_t c = 0; c < sizeof criteria / sizeof *criteria; c++) {
        const Json *best = NULL, *section = named(list, criteria[c].method),
                   *arms = section ? json_get(section, "arms") : NULL;
        for (size_t i = 0; arms && i < arms->length; i++)
            if (strcmp(json_get(&arms->item[i], "name")->string, "SFT") &&
                (!best || mean(criteria[c].of(&arms->item[i])) > mean(criteria[c].of(best))))
                best = &arms->item[i];
        if (!arms) printf("| %s | not searched | %s | - | - |\n", criteria[c].method, criteria[c].what);
        for (size_t i = 0; arms && i < arms->length; i++) {
            const Json *arm = &arms->item[i];
            const char *name = json_get(arm, "name")->string;
            if (!strcmp(name, "SFT")) continue;
            printf("| %s%s | ", name, arm == best ? " (best)" : "");
            settings(p, name);
            printf(" | %s | ", criteria[c].what);
            print_figure(criteria[c].of(arm), false);
            printf(" | ");
            print_figure(kl_of(arm), false);
            printf(" |\n");
        }
    }
}

static int page(const char *const *file, const char *folder, const char *reduced) {
    Err e;
    Page p = {json_read_file(file[0], &e), NULL, folder};
    if (!p.report || !(p.search = json_read_file(file[1], &e))) { fprintf(stderr, "%s\n", e.line); return 2; }
    printf("# The nine other methods, each beside its authors' claim\n\n`make others` writes this page and "
           "computes every verdict. All of it speaks of a toy world (data/README.md), of that world's "
           "judge and of policies of 0.25 M parameters; experiment/others.mk has the arms. The figures are "
           "means over seeds with Student's 95 %% interval, of the six kinds of evaluation prompts "
           "together, from a draw that nothing was chosen on. A difference is taken seed by seed. The pair "
           "losses stand at the rate and the passes that the search of docs/results/README.md found best "
           "for DPO.\n");
    what_was_run(p.report, reduced);
    tdpo(&p), bmc(&p), robust(&p), flow(&p), maxmin(&p), aihf(&p), dvpo(&p), mpo(&p), collab(&p);
    search(&p);
    json_free((Json *)p.report);
    json_free((Json *)p.search);
    return 0;
}

/* ---- small commands on replies ---- */

typedef struct { const char *prompt; double reward, kl; const Json *row; } Reply;
typedef struct { Reply *reply; size_t n; JsonLines lines; } Replies;

static bool replies_read(Replies *r, const char *path, Err *e) {
    *r = (Replies){.n = 0};
    if (!json_lines_read(&r->lines, path, false, e)) return false;
    if (!r->lines.n) return fail(e, "%s: found no replies", path);
    r->n = (size_t)r->lines.n;
    if (!(r->reply = calloc(r->n, sizeof *r->reply))) return fail(e, "%s: no memory for its replies", path);
    for (size_t i = 0; i < r->n; i++) {
        const Json *row = r->lines.line[i], *prompt = json_get(row, "prompt");
        r->reply[i] = (Reply){.prompt = prompt && prompt->type == JSON_STRING ? prompt->string : "",
                              .reward = number_of(json_get(row, "reward")),
                              .kl = number_of(json_get(row, "kl")),
                              .row = row};
    }
    return true;
}

static void put(const Reply *x) {
    char *text = json_text(x->row);
    puts(text ? text : "");
    free(text);
}

/* How many replies from `first` on are to its prompt. */
static size_t prompt_replies(const Replies *r, size_t first) {
    size_t n = 1;
    while (first + n < r->n && !strcmp(r->reply[first].prompt, r->reply[first + n].prompt)) n++;
    return n;
}

/* Among n replies the one of this rank by reward, 1 the best; of equals the first. */
static const Reply *ranked(const Reply *x, size_t n, size_t rank) {
    for (size_t i = 0; i < n; i++) {
        size_t before = 0;
        for (size_t k = 0; k < n; k++)
            before += x[k].reward > x[i].reward || (x[k].reward == x[i].reward && k < i);
        if (before + 1 == rank) return &x[i];
    }
    return NULL;
}

static void ranks(const Replies *r, size_t a, size_t b) {
    for (size_t first = 0, n; first < r->n; first += n) {
        n = prompt_replies(r, first);
        const Reply *x = ranked(r->reply + first, n, a), *y = ranked(r->reply + first, n, b);
        if (x && y) put(x), put(y);
    }
}

static void best(const Replies *r, size_t prompts, size_t agents) {
    const size_t n = r->n / (prompts * agents);
    for (size_t p = 0; p < prompts; p++) {
        const Reply *top = NULL;
        for (size_t a = 0; a < agents; a++)
            for (size_t i = 0; i < n; i++) {
                const Reply *x = &r->reply[(a * prompts + p) * n + i];
                if (!top || x->reward > top->reward) top = x;
            }
        put(top);
    }
}

static bool coefficient(const Replies *r, Err *e) {
    double *kl = malloc(2 * r->n * sizeof *kl), *reward = kl ? kl + r->n : NULL;
    MpoSlope slope = {0, 0};
    if (!kl) return fail(e, "no memory for %zu replies", r->n);
    for (size_t i = 0; i < r->n; i++) kl[i] = r->reply[i].kl, reward[i] = r->reply[i].reward;
    for (size_t first = 0, n; first < r->n; first += n) {
        n = prompt_replies(r, first);
        mpo_slope_add(&slope, reward + first, kl + first, (int)n);
    }
    printf("%.6f\n", slope.rr / slope.rl);
    free(kl);
    return true;
}

static void decoded_tokens(const Replies *r) {
    double decoded = 0, length = 0;
    for (size_t i = 0; i < r->n; i++) {
        decoded += number_of(json_get(r->reply[i].row, "decoded_tokens"));
        length += number_of(json_get(r->reply[i].row, "completion_length"));
    }
    printf("%.0f\n", decoded / length);
}

/* The groups have no names: of both ways to name them, the one that places more users right. */
static bool found(const char *users_file, const char *preferences, const char *eval_file, Err *e) {
    Replies r;
    Json *users = json_read_file(users_file, e), *eval = users ? json_read_file(eval_file, e) : NULL;
    double right = 0, n = 0;
    if (!eval || !replies_read(&r, preferences, e)) return false;
    for (size_t i = 0; i < r.n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.0f", number_of(json_get(r.reply[i].row, "user")));
        const Json *user = json_get(users, name);
        if (!user) continue;
        n++;
        right += number_of(json_get(user, "group")) == number_of(json_get(r.reply[i].row, "group"));
    }
    const bool swapped = right < n - right;
    printf("{\"users\":%.4f", (swapped ? n - right : right) / n);
    for (int g = 0; g < 2; g++)
        printf(",\"accuracy_%d\":%.4f", g,
               number_of(json_get(json_get(eval, g != swapped ? "group_1" : "group_0"), "accuracy")));
    printf("}\n");
    return true;
}

static int others_usage(void) {
    fprintf(
        stderr,
        "others: expected page REPORT.json SEARCH.json FOLDER [REDUCED], ranks A B, best PROMPTS AGENTS, "
        "or tokens or coefficient FILE\n");
    return 2;
}

/* What the replies of stdin, or of a file, are asked for. */
static int of_replies(const char *what, char **argv, bool two) {
    Err e = {{0}};
    Replies r;
    bool ok = replies_read(&r, two ? "/dev/stdin" : argv[2], &e);
    const size_t a = two ? strtoul(argv[2], NULL, 10) : 0, b = two ? strtoul(argv[3], NULL, 10) : 0;
    if (ok && two && (!a || !b || (*what == 'b' && r.n % (a * b)))) return others_usage();
    if (ok && *what == 'r') ranks(&r, a, b);
    if (ok && *what == 'b') best(&r, a, b);
    if (ok && *what == 'c') ok = coefficient(&r, &e);
    if (ok && *what == 't') decoded_tokens(&r);
    if (!ok) fprintf(stderr, "others: %s\n", e.line);
    return ok ? 0 : 2;
}

int main(int argc, char **argv) {
    Err e = {{0}};
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "page") && (argc == 5 || argc == 6))
        return page((const char *const *)argv + 2, argv[4], argc == 6 ? argv[5] : "");
    if (!strcmp(what, "found") && argc == 5) {
        if (found(argv[2], argv[3], argv[4], &e)) return 0;
        fprintf(stderr, "others: %s\n", e.line);
        return 2;
    }
    const bool two = argc == 4 && (!strcmp(what, "ranks") || !strcmp(what, "best")),
               one = argc == 3 && (!strcmp(what, "tokens") || !strcmp(what, "coefficient"));
    return two || one ? of_replies(what, argv, two) : others_usage();
}
