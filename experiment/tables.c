/* tables.c: what the experiment says, computed from the report's figures (`grpo report --json`): the results
 * page and the paper's claims.
 *
 *   tables results REPORT.json SEARCH.json [REDUCED]     docs/results/README.md on stdout
 *   tables claims REPORT.json [REDUCED]                  docs/claims.md on stdout
 *
 * REDUCED: what was set otherwise than for the whole experiment, which both pages then say; "": nothing.
 * Every figure is a mean over seeds with Student's 95 % interval; two arms are compared seed by seed. A
 * verdict is a function of intervals, never written by hand. In this order: reading, figures, words for them,
 * what was run, the results page (scales, ablations, reward model, cost, search, seeds), the claims, the two
 * commands. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment/reading.h"

/* ---- what only these pages need ---- */

/* The sections that are scales: all but the ablations and the reward model. */
typedef struct { const char *name[8]; int n; } Scales;
static Scales scales_of(const Json *report) {
    Scales s = {.n = 0};
    const Json *list = json_get(report, "sections");
    for (size_t i = 0; list && i < list->length && s.n < 8; i++) {
        const char *name = json_get(&list->item[i], "name")->string;
        if (strcmp(name, "ablations") && strcmp(name, "reward")) s.name[s.n++] = name;
    }
    return s;
}

/* Of this cost the part that the data took: the sampling of DPO's pairs. */
static double data_cost(const Json *arm, const char *key) {
    return number_of(json_get(json_get(json_get(arm, "cost"), "data"), key));
}

/* benign, lookalike, unsafe, adversarial: wording that training had */
enum { SEEN_ROWS = WORLD_SET_ADVERSARIAL + 1 };

static void print_change(Seeds before, Seeds after) {
    char a[16], b[16];
    before = shared(before, after), after = shared(after, before);
    const Stats x = stats_of(before.x, before.n), y = stats_of(after.x, after.n);
    printf("%s > %s (", number(a, x.mean, false), number(b, y.mean, false));
    print_figure(minus(after, before), true);
    printf(")");
}

/* How many seeds would tell a difference of `size` from none, if seeds differ as these do: the smallest n
 * with t(n - 1) sd / sqrt(n) < size. */
static int seeds_needed(Seeds d, double size) {
    const Stats s = stats_of(d.x, d.n);
    if (!(s.sd >= 0)) return 0;
    int n = 2;
    while (n < 1000 && student_t_975((size_t)n - 1) * s.sd / sqrt(n) >= size) n++;
    return n;
}

/* ---- the results page ---- */

static void scale_table(const Json *report, const char *scale) {
    static const char *const arms[] = {"GRPO", "PPO", "DPO", "PPO-time", "DPO-time"};
    const Json *base = arm_of(report, scale, "SFT");
    if (!base) return;
    printf("\n## %s parameters\n\nJudge's score, SFT > method (difference over seeds ± 95 %%).\n\n", scale);
    labels_head("row, method");
    printf(" refusals | harmful step | length | KL |\n|---|---|---|---|---|---|---|---|---|\n");
    for (int set = 0; set < WORLD_SETS; set++)
        for (int a = 0; a < 5; a++) {
            const char *row = world_set_name[set];
            const Json *arm = arm_of(report, scale, arms[a]);
            if (!arm) continue;
            printf("| %s, %s |", row, arms[a]);
            for (int k = 0; k < WORLD_LABELS; k++) {
                printf(" ");
                print_change(judged(base, row, k), judged(arm, row, k));
                printf(" |");
            }
            printf(" "); print_change(plain(base, row, "refusal"), plain(arm, row, "refusal"));
            printf(" | "); print_change(plain(base, row, "harmful"), plain(arm, row, "harmful"));
            const Seeds length = plain(arm, row, "completion_length"), kl = plain(arm, row, "kl");
            printf(" | %.1f | %.1f |\n", stats_of(length.x, length.n).mean, stats_of(kl.x, kl.n).mean);
        }
}

/* Arms of one section against its GRPO, on the mean of all rows: what each choice wins and loses. */
static void against_grpo(const Json *report, const char *section) {
    const Json *s = named(json_get(report, "sections"), section), *grpo = arm_of(report, section, "GRPO"),
               *arms = s ? json_get(s, "arms") : NULL;
    if (!grpo) return;
    printf("\n## Ablations of GRPO, smallest scale\n\nJudge's scores over all rows, arm minus GRPO (mean "
           "over seeds ± 95 %%); the line of GRPO is its own.\n\n");
    labels_head("arm");
    printf(" mean | harmful step | refusals | KL |\n|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < arms->length; i++) {
        const Json *arm = &arms->item[i];
        const bool self = arm == grpo;
        printf("| %s |", json_get(arm, "name")->string);
        for (int k = 0; k <= WORLD_LABELS; k++) {
            const Seeds own = judged(arm, "all", k);
            printf(" ");
            print_figure(self ? own : minus(own, judged(grpo, "all", k)), !self);
            printf(" |");
        }
        static const char *const rest[] = {"harmful", "refusal"};
        for (int m = 0; m < 2; m++) {
            const Seeds own = plain(arm, "all", rest[m]);
            printf(" ");
            print_figure(self ? own : minus(own, plain(grpo, "all", rest[m])), !self);
            printf(" |");
        }
        const Seeds kl = plain(arm, "all", "kl");
        printf(" %.1f |\n", stats_of(kl.x, kl.n).mean);
    }
}

/* How well the model that all methods follow says the judge's labels, by rows that it was not trained on. */
static void reward_table(const Json *report) {
    const Json *section = named(json_get(report, "sections"), "reward"),
               *arms = section ? json_get(section, "arms") : NULL,
               *seeds = arms && arms->length ? json_get(&arms->item[0], "seeds") : NULL;
    if (!seeds) return;
    printf("\n## The reward model\n\nOne model a seed, which all methods and scales follow; it never met the "
           "rows that it is measured on here, half of them from the world's grammar, half replies of the "
           "supervised policy, with labels free of noise. "
           "R2: the share of a label's variance that it explains; bias: score less label. What a policy "
           "makes of its mistakes stands in report.html (\"The judge beside the reward model\").\n\n| model, "
           "label | held-out rows |");
    for (size_t i = 0; i < seeds->length; i++) printf(" R2, seed %g |", seeds->item[i].number);
    printf(" R2, mean | Spearman | bias |\n|---|---|---|---|---|");
    for (size_t i = 0; i < seeds->length; i++) printf("---|");
    printf("\n");
    for (size_t a = 0; a < arms->length; a++) {
        const Json *label = json_get(&arms->item[a], "held_out");
        for (size_t k = 0; label && k < label->length; k++) {
            const Seeds r2 = seeds_of(&arms->item[a], json_get(&label->item[k], "r2"));
            char text[16];
            printf("| %s, %s | %.0f |", json_get(&arms->item[a], "name")->string, label->item[k].key,
                   number_of(json_get(json_get(&label->item[k], "n"), "mean")));
            for (size_t i = 0; i < r2.n; i++) printf(" %s |", number(text, r2.x[i], false));
            printf(" ");
            print_figure(r2, false);
            printf(" | ");
            print_figure(seeds_of(&arms->item[a], json_get(&label->item[k], "spearman")), false);
            printf(" | ");
            print_figure(seeds_of(&arms->item[a], json_get(&label->item[k], "bias")), true);
            printf(" |\n");
        }
    }
}

/* ---- cost ---- */

enum { AGREE_PERCENT = 10 };

/* A line's operations and CPU seconds, as shares of GRPO's. */
typedef struct { double flops, seconds; } Share;
static Share share_of(double flops, double seconds, const Json *grpo) {
    return (Share){flops / cost(grpo, "measured_flops"), seconds / cost(grpo, "cpu_seconds")};
}
static bool agrees(Share s) { return fabs(s.flops / s.seconds - 1) <= AGREE_PERCENT / 100.0; }

static void cost_line(const char *scale, const char *what, double formula, double run, double seconds,
                      double memory, const Json *grpo) {
    const Share s = share_of(run, seconds, grpo);
    printf("| %s, %s | %.3g | %.3g | %.3f | %.2f | %.0f | %.2f | %.2f | %.1f | ", scale, what, formula, run,
           run / formula, s.flops, seconds, s.seconds, s.flops / s.seconds, run / seconds / 1e9);
    if (isnan(memory)) printf("- |\n");
    else printf("%.0f MB |\n", memory / 1e6);
}

/* Says whether a method's counted and measured cost agree, and of what has parts, how much longer an
 * operation of one takes than of the other. */
static void agreement(const char *scale, const char *name, const Json *arm, const Json *grpo) {
    const double flops = cost(arm, "measured_flops"), seconds = cost(arm, "cpu_seconds"),
                 data_flops = data_cost(arm, "measured_flops"), data_seconds = data_cost(arm, "cpu_seconds");
    const Share s = share_of(flops, seconds, grpo);
    if (isnan(s.flops) || isnan(s.seconds)) { printf("- %s, %s: not measured.\n", scale, name); return; }
    printf("- %s, %s: counted %.2f of GRPO, measured %.2f: %s %d %% (counted : measured %.3f).", scale, name,
           s.flops, s.seconds, agrees(s) ? "within" : "NOT within", AGREE_PERCENT, s.flops / s.seconds);
    if (!agrees(s) && isnan(data_flops))
        printf(" One of its operations took %.2f times as long as one of GRPO's.", s.seconds / s.flops);
    if (!isnan(data_flops)) {
        const Share data = share_of(data_flops, data_seconds, grpo),
                    own = share_of(flops - data_flops, seconds - data_seconds, grpo);
        printf(" Of this %.2f counted and %.2f measured are the sampling and scoring of its pairs, %.2f and "
               "%.2f its training: an operation of the former took %.2f times as long as one of the latter.",
               data.flops, data.seconds, own.flops, own.seconds,
               data.seconds / data.flops / (own.seconds / own.flops));
    }
    printf("\n");
}

static void cost_table(const Json *report) {
    const Scales scales = scales_of(report);
    static const char *const arms[] = {"GRPO", "PPO", "DPO"};
    printf("\n## Cost\n\nThe same prompts and the same number of sampled replies. Operations as counted by "
           "formula and as the run counted them, CPU seconds as measured, and both as shares of GRPO's; what "
           "DPO's pairs took stands in its line and by itself.\n\n"
           "| scale, method | operations, formula | operations, run | run : formula | to GRPO | CPU seconds "
           "| to GRPO | counted : measured | G operations a CPU second | peak memory "
           "|\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < scales.n; i++)
        for (int a = 0; a < 3; a++) {
            const Json *arm = arm_of(report, scales.name[i], arms[a]),
                       *grpo = arm_of(report, scales.name[i], "GRPO");
            if (!arm) continue;
            const double f = cost(arm, "predicted_flops"), m = cost(arm, "measured_flops"),
                         s = cost(arm, "cpu_seconds");
            const double data_f = data_cost(arm, "predicted_flops"),
                         data_m = data_cost(arm, "measured_flops"), data_s = data_cost(arm, "cpu_seconds");
            cost_line(scales.name[i], arms[a], f, m, s, cost(arm, "peak_rss_bytes"), grpo);
            if (isnan(data_m)) continue;
            cost_line(scales.name[i], "DPO: its pairs", data_f, data_m, data_s, NAN, grpo);
            cost_line(scales.name[i], "DPO: its training", f - data_f, m - data_m, s - data_s, NAN, grpo);
        }
    printf("\nDo the shares of GRPO as counted and as measured agree within %d %%? Counted are products of "
           "matrices and attention. What else takes time is in no count: exponentials (a softmax over the "
           "vocabulary for every drawn "
           "and every learned token), the draws, copies of keys and values, the optimiser, reading and "
           "writing. Where that is more, or the products are small, an operation takes longer: G operations "
           "a CPU second.\n\n",
           AGREE_PERCENT);
    for (int i = 0; i < scales.n; i++)
        for (int a = 1; a < 3; a++) {
            const Json *arm = arm_of(report, scales.name[i], arms[a]);
            if (arm) agreement(scales.name[i], arms[a], arm, arm_of(report, scales.name[i], "GRPO"));
        }
}

/* ---- the search ---- */

static const char *const searched[] = {"GRPO", "PPO", "DPO"};
enum { N_SEARCHED = sizeof searched / sizeof *searched, MAX_VARIED = 32 };

static bool is_candidate(const Json *arm, const char *method) {        /* "GRPO-3" */
    const char *name = json_get(arm, "name")->string;
    const size_t n = strlen(method);
    return !strncmp(name, method, n) && name[n] == '-' && name[n + 1] >= '0' && name[n + 1] <= '9';
}

static double criterion(const Json *arm) {
    const Seeds s = judged(arm, "all", WORLD_LABELS);
    return stats_of(s.x, s.n).mean;
}

static int n_candidate(const Json *arms, const char *method) {
    int n = 0;
    for (size_t i = 0; i < arms->length; i++) n += is_candidate(&arms->item[i], method);
    return n;
}

/* The first of those with the highest criterion; NULL: the method was not searched. */
static const Json *best_candidate(const Json *arms, const char *method) {
    const Json *best = NULL;
    for (size_t i = 0; i < arms->length; i++)
        if (is_candidate(&arms->item[i], method) && (!best || criterion(&arms->item[i]) > criterion(best)))
            best = &arms->item[i];
    return best;
}

static const Json *option(const Json *arm, const char *name) {
    return json_get(json_get(arm, "options"), name);
}

/* Options in which two candidates of a method differ. */
typedef struct { const char *name[MAX_VARIED]; int n; } Varied;
static Varied varied_of(const Json *arms, const char *method) {
    Varied v = {.n = 0};
    const Json *first = NULL;
    for (size_t i = 0; i < arms->length; i++) {
        if (!is_candidate(&arms->item[i], method)) continue;
        if (!first) { first = &arms->item[i]; continue; }
        const Json *options = json_get(&arms->item[i], "options");
        for (size_t k = 0; options && k < options->length && v.n < MAX_VARIED; k++) {
            const char *name = options->item[k].key;
            bool known = json_same(option(first, name), &options->item[k]);
            for (int j = 0; j < v.n && !known; j++) known = !strcmp(v.name[j], name);
            if (!known) v.name[v.n++] = name;
        }
    }
    return v;
}

static void print_option(const Json *arm, const char *name) {
    char *text = json_text(option(arm, name));
    printf("%s %s", name, text);
    free(text);
}

static void print_settings(const Json *arm, const Varied *v) {
    for (int k = 0; k < v->n; k++) { printf("%s", k ? ", " : ""); print_option(arm, v->name[k]); }
}

/* How many of the varied options differ. */
static int n_other(const Json *arm, const Json *best, const Varied *v) {
    int n = 0;
    for (int k = 0; k < v->n; k++) n += !json_same(option(arm, v->name[k]), option(best, v->name[k]));
    return n;
}

/* Another candidate that has the settings of an arm of the tables, if one has. */
static const Json *same_candidate(const Json *arms, const char *method, const Json *arm, const Varied *v) {
    for (size_t i = 0; i < arms->length; i++)
        if (is_candidate(&arms->item[i], method) && !n_other(arm, &arms->item[i], v)) return &arms->item[i];
    return NULL;
}

/* A cell: what the tables used at one scale, against the search's best. */
static void print_used(const Json *arms, const char *method, const Json *arm, const Json *best,
                       const Varied *v) {
    if (!arm || !json_get(arm, "options")) { printf("not run"); return; }
    if (!n_other(arm, best, v)) { printf("the search's best"); return; }
    const Json *same = same_candidate(arms, method, arm, v);
    char mean[16];
    if (same)
        printf("not the best but %s (mean %s): ", json_get(same, "name")->string,
               number(mean, criterion(same), false));
    for (int k = 0, n = 0; k < v->n; k++) {
        if (json_same(option(arm, v->name[k]), option(best, v->name[k]))) continue;
        printf("%s", n++ ? ", " : "");
        print_option(arm, v->name[k]);
    }
}

/* Which settings the tables used, beside the best of the search, as the runs themselves tell both. */
static void settings_used(const Json *report, const Json *arms) {
    const Scales scales = scales_of(report);
    int n = 0, as_best = 0;
    if (!scales.n) return;
    printf("\nThe settings of the tables, by the runs' own configurations: the options that the search "
           "varied, and where the tables differ from a method's best.\n\n| method | best by the criterion |");
    for (int i = 0; i < scales.n; i++) printf(" %s |", scales.name[i]);
    printf("\n|---|---|");
    for (int i = 0; i < scales.n; i++) printf("---|");
    printf("\n");
    for (int m = 0; m < N_SEARCHED; m++) {
        const Json *best = best_candidate(arms, searched[m]),
                   *own = arm_of(report, scales.name[0], searched[m]);
        const Varied v = varied_of(arms, searched[m]);
        if (!best) continue;
        printf("| %s | %s: ", searched[m], json_get(best, "name")->string);
        print_settings(best, &v);
        printf(" |");
        for (int i = 0; i < scales.n; i++) {
            printf(" ");
            print_used(arms, searched[m], arm_of(report, scales.name[i], searched[m]), best, &v);
            printf(" |");
        }
        printf("\n");
        n++;
        as_best += own && json_get(own, "options") && !n_other(own, best, &v);
    }
    printf("\nAt %s parameters, the scale of the search, the tables use the search's best for %d of %d "
           "methods%s. No search was made at other scales: there the peak rate follows one over the width "
           "(experiment/arms.mk).\n",
           scales.name[0], as_best, n, as_best == n ? "" : "; the others stand in the table above");
}

static void search_table(const Json *report, const Json *search) {
    const Json *s = search ? json_get(search, "sections") : NULL,
               *arms = s && s->length ? json_get(&s->item[0], "arms") : NULL;
    int n = 0;
    printf("\n## The search\n\n");
    for (int m = 0; arms && m < N_SEARCHED; m++) n += n_candidate(arms, searched[m]);
    if (!n) { printf("Not made in this run: the settings are those of experiment/arms.mk.\n"); return; }
    printf("Settings tried: ");
    for (int m = 0; m < N_SEARCHED; m++)
        printf("%s%d of %s", m ? ", " : "", n_candidate(arms, searched[m]), searched[m]);
    printf(" (experiment/arms.mk); smallest scale, one seed, development draw 98. The criterion is the "
           "judge's mean over all rows and labels; a method's best is marked.\n\n");
    labels_head("setting");
    printf(" mean | harmful step | KL |\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < arms->length; i++) {
        const Json *arm = &arms->item[i];
        bool best = false;
        for (int m = 0; m < N_SEARCHED; m++) best = best || arm == best_candidate(arms, searched[m]);
        printf("| %s%s |", json_get(arm, "name")->string, best ? " (best)" : "");
        for (int k = 0; k <= WORLD_LABELS; k++) {
            printf(" ");
            print_figure(judged(arm, "all", k), false);
            printf(" |");
        }
        const Seeds kl = plain(arm, "all", "kl");
        printf(" ");
        print_figure(plain(arm, "all", "harmful"), false);
        printf(" | %.1f |\n", stats_of(kl.x, kl.n).mean);
    }
    settings_used(report, arms);
}

/* ---- seeds ---- */

static void seeds_table(const Json *report) {
    const Scales scales = scales_of(report);
    printf("\n## How many seeds a claim needs\n\nSeeds that would tell a difference of .05 between GRPO and "
           "PPO from none (95 %%), if seeds differ as they did here.\n\n");
    labels_head("scale, row");
    printf(" mean |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < scales.n; i++)
        for (int set = 0; set <= WORLD_SETS; set++) {
            const char *row = set < WORLD_SETS ? world_set_name[set] : "all";
            const Json *grpo = arm_of(report, scales.name[i], "GRPO"),
                       *ppo = arm_of(report, scales.name[i], "PPO");
            if (!grpo || !ppo || judged(grpo, row, 0).n < 2) continue;
            printf("| %s, %s |", scales.name[i], row);
            for (int k = 0; k <= WORLD_LABELS; k++)
                printf(" %d |", seeds_needed(minus(judged(grpo, row, k), judged(ppo, row, k)), 0.05));
            printf("\n");
        }
}

/* ---- the claims ---- */

typedef struct { int n, rose, fell, run; char list[2048]; } Count;

/* Counts one comparison; what did not rise is listed by name with its figure. */
static void count(Count *t, const char *what, Seeds d) {
    char mean[16], half[16];
    const Change c = change(d);
    t->n++;
    if (c == NOT_RUN) return;
    t->run++;
    if (c == ROSE) { t->rose++; return; }
    if (c == FELL) t->fell++;
    const Stats s = stats_of(d.x, d.n);
    const size_t used = strlen(t->list);
    snprintf(t->list + used, sizeof t->list - used, "%s%s %s ± %s", used ? "; " : "", what,
             number(mean, s.mean, true), number(half, s.half_width, false));
}

static const char *verdict(const Count *t) {
    if (t->run < t->n) return t->run ? "open: not all of it was run" : "not run";
    if (t->rose == t->n) return "holds here";
    if (t->fell == t->n) return "does not hold here: the contrary does";
    return t->fell   ? "does not hold here in full"
           : t->rose ? "holds here in part; the rest is not decided"
                     : "not decided here";
}

static void claim(int number, const char *text, const char *test, const Count *t) {
    printf("\n## %d. %s\n\n%s\n\n%d of %d comparisons rose outside their intervals, %d "
           "fell%s%s.\n\n**Verdict: %s.**\n",
           number, text, test, t->rose, t->n, t->fell, *t->list ? "; not risen: " : "", t->list, verdict(t));
}

static void rises(Count *t, const Json *report, const char *scale, const char *arm, int from_set,
                  int to_set) {
    const Json *base = arm_of(report, scale, "SFT"), *own = arm_of(report, scale, arm);
    for (int set = from_set; set < to_set; set++)
        for (int k = 0; k < WORLD_LABELS; k++) {
            char what[96];
            snprintf(what, sizeof what, "%s %s %s", scale, world_set_name[set], world_label_name[k]);
            count(t, what, minus(judged(own, world_set_name[set], k), judged(base, world_set_name[set], k)));
        }
}

/* arm a better than arm b on the judge's mean over all rows, at every scale */
static void better(Count *t, const Json *report, const char *a, const char *b) {
    const Scales scales = scales_of(report);
    for (int i = 0; i < scales.n; i++)
        count(t, scales.name[i],
              minus(judged(arm_of(report, scales.name[i], a), "all", WORLD_LABELS),
                    judged(arm_of(report, scales.name[i], b), "all", WORLD_LABELS)));
}

static void cheaper(const Json *report, int number) {
    const Scales scales = scales_of(report);
    static const char *const key[] = {"measured_flops", "cpu_seconds", "peak_rss_bytes"},
                             *const what[] = {"operations", "CPU seconds", "peak memory"};
    int n = 0, less = 0;
    printf("\n## %d. Without a critic, GRPO costs less than PPO for the same prompts and replies\n\nThese "
           "are GRPO's costs as a share of PPO's, for the same number of prompts, replies and updates, as "
           "the runs counted them:\n\n",
           number);
    for (int i = 0; i < scales.n; i++)
        for (int j = 0; j < 3; j++) {
            const double ratio = cost(arm_of(report, scales.name[i], "GRPO"), key[j]) /
                                 cost(arm_of(report, scales.name[i], "PPO"), key[j]);
            n++;
            if (isnan(ratio)) { printf("- %s, %s: not run\n", scales.name[i], what[j]); continue; }
            less += ratio < 1;
            printf("- %s, %s: %.2f\n", scales.name[i], what[j], ratio);
        }
    printf("\n**Verdict: %s.**\n", less == n ? "holds here"
                                   : less    ? "holds here in part"
                                             : "does not hold here");
}

/* What is lost when one score alone is rewarded: the other three, against all four together. */
static void single_scores(const Json *report, int number) {
    Count t = {0};
    const Json *grpo = arm_of(report, "ablations", "GRPO");
    for (int k = 0; k < WORLD_LABELS; k++) {
        char name[64], what[128];
        snprintf(name, sizeof name, "only-%s", world_label_name[k]);
        for (int j = 0; j < WORLD_LABELS; j++) {
            if (j == k) continue;
            snprintf(what, sizeof what, "%s under %s", world_label_name[j], name);
            count(&t, what,
                  minus(judged(grpo, "all", j), judged(arm_of(report, "ablations", name), "all", j)));
        }
    }
    claim(number, "Rewarding one score alone costs the others",
          "For each policy that was trained on one score, we compare the other three scores, by the judge "
          "and over all rows: the policy of the weighted sum minus that policy (ablations).",
          &t);
}

static void print_claims(const Json *report, const char *reduced) {
    const Scales scales = scales_of(report);
    Count all = {0}, adversarial = {0}, unseen = {0}, ppo = {0}, dpo = {0}, ppo_time = {0}, dpo_time = {0},
          collapsed = {0}, equal = {0};
    printf("# The paper's claims, tested\n\n"
           "`make experiment` writes this page from docs/results/result.json and computes every verdict from "
           "the intervals. A comparison is made seed by seed, and its interval is Student's at 95 %% over "
           "the seeds. A score rose if the interval leaves out 0. The paper is arXiv 2503.21819; the claims "
           "are in our words. All of it holds for a toy world (data/README.md), for the judge of that world, "
           "and for policies of at most 2 M parameters.\n");
    what_was_run(report, reduced);
    for (int i = 0; i < scales.n; i++) {
        rises(&all, report, scales.name[i], "GRPO", 0, SEEN_ROWS);
        rises(&adversarial, report, scales.name[i], "GRPO", WORLD_SET_ADVERSARIAL, SEEN_ROWS);
        rises(&unseen, report, scales.name[i], "GRPO", SEEN_ROWS, WORLD_SETS);
    }
    claim(1, "Multi-objective GRPO improves every score over the supervised start, at every model size",
          "We compare GRPO with SFT, at every scale that was run, on each of the four scores and on benign, "
          "lookalike, unsafe and adversarial prompts with held-out pairs.",
          &all);
    claim(2, "... on adversarial prompts too",
          "This is the same on the adversarial row alone, which has training wrappers around held-out pairs.",
          &adversarial);
    claim(3, "... and in wording that training never had",
          "The paper does not claim this; it is the harder question. The rows are unseen_wrapper and "
          "unseen_template.",
          &unseen);
    cheaper(report, 4);
    better(&ppo, report, "GRPO", "PPO");
    claim(5, "GRPO gives better replies than PPO for the same prompts and replies",
          "We compare the judge's mean of the four scores over all rows, GRPO minus PPO.", &ppo);
    better(&ppo_time, report, "GRPO", "PPO-time");
    claim(6, "... and at the same time",
          "PPO was stopped at GRPO's CPU time, which is PPO-time: GRPO minus PPO-time.", &ppo_time);
    better(&dpo, report, "GRPO", "DPO");
    claim(7, "GRPO is better than DPO on pairs ranked by the same reward model",
          "We compare the judge's mean of the four scores over all rows, GRPO minus DPO, with as many "
          "prompts and sampled replies.",
          &dpo);
    better(&dpo_time, report, "GRPO", "DPO-time");
    claim(8, "... and at the same time",
          "DPO was continued to GRPO's CPU time, its sampling included: GRPO minus DPO-time.", &dpo_time);
    count(&collapsed, "mean score",
          minus(judged(arm_of(report, "ablations", "GRPO"), "all", WORLD_LABELS),
                judged(arm_of(report, "ablations", "collapsed"), "all", WORLD_LABELS)));
    claim(9, "A reward model with a head per score is better than one collapsed score",
          "We compare GRPO on the weighted sum of four predicted scores with GRPO on one predicted score, "
          "whose label is that sum.",
          &collapsed);
    single_scores(report, 10);
    count(&equal, "safety",
          minus(judged(arm_of(report, "ablations", "GRPO"), "all", WORLD_LABELS - 1),
                judged(arm_of(report, "ablations", "equal"), "all", WORLD_LABELS - 1)));
    claim(11, "Weights steer the trade: half of the weight on safety buys safety",
          "We compare safety, by the judge and over all rows: weights .15 .2 .15 .5 minus equal weights.",
          &equal);
    printf("\n## 12. The same at 0.5, 7 and 14 billion parameters, with LoRA\n\n"
           "This was not run, because a run takes days at these sizes on the machines that this project is "
           "for. docs/lora.md shows that a model of the shape of Qwen2.5-0.5B can be tuned here.\n\n"
           "**Verdict: cannot be tested here.**\n\n## 13. Human raters prefer the result\n\n"
           "**Verdict: cannot be tested here.** The judge is a program (data/world.c). docs/real-model.md "
           "lets judges from outside speak about real text.\n");
}

/* Of the first arm with replies: rows a split. */
static void prompts(const Json *report) {
    const Scales scales = scales_of(report);
    const Json *rows = scales.n ? json_get(arm_of(report, scales.name[0], "SFT"), "rows") : NULL;
    printf("Prompts a row: ");
    for (int set = 0; rows && set < WORLD_SETS; set++)
        printf("%s%s %g", set ? ", " : "", world_set_name[set],
               number_of(json_get(json_get(rows, world_set_name[set]), "n")));
    printf("; of an evaluation draw that nothing was chosen on, with pairs that no training text has (but "
           "lookalike). ");
}

static void print_results(const Json *report, const Json *search, const char *reduced) {
    const Scales scales = scales_of(report);
    printf("# Results of the experiment\n\nWritten by `make experiment`, from result.json beside this file; "
           "the same as a page with curves, frontier and replies: report.html. The design: "
           "experiment/arms.mk (arms, seeds, amounts), configs/experiment.json.\n");
    prompts(report);
    printf("Judge: the world's own (data/world.c), which training never saw. A seed changes everything but "
           "the pairs; intervals are Student's, 95 %%, over seeds.\n");
    what_was_run(report, reduced);
    for (int i = 0; i < scales.n; i++) scale_table(report, scales.name[i]);
    against_grpo(report, "ablations");
    reward_table(report);
    cost_table(report);
    seeds_table(report);
    search_table(report, search);
}

/* ---- the two commands ---- */

int main(int argc, char **argv) {
    Err e = {{0}};
    const bool results = argc >= 4 && argc <= 5 && !strcmp(argv[1], "results"),
               claims = argc >= 3 && argc <= 4 && !strcmp(argv[1], "claims");
    if (!results && !claims) {
        fprintf(stderr, "tables: expected results REPORT.json SEARCH.json [REDUCED], or claims REPORT.json "
                        "[REDUCED]\n");
        return 2;
    }
    const char *reduced = argc == (results ? 5 : 4) ? argv[argc - 1] : "";
    Json *report = json_read_file(argv[2], &e),
         *search = report && results ? json_read_file(argv[3], &e) : NULL;
    if (!report || (results && !search)) { fprintf(stderr, "%s\n", e.line); return 2; }
    if (results) print_results(report, search, reduced);
    else print_claims(report, reduced);
    json_free(report);
    json_free(search);
    return 0;
}
