/* report_page.c: the page of `grpo report`.
 *
 * In this order: what it rests on; of each section: the verdict, tables of scores, differences and conduct,
 * the judge beside the reward model, an outside judge's verdicts, a reward model's held-out rows, costs,
 * options, replies side by side. Plots are report_plots.c. What the runs' folders do not hold is left out,
 * and it is said. */
#include "report/report_page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/report_plots.h"
#include "run/run.h"
#include "lib/files.h"
#include "lib/stats.h"
#include "lib/say.h"

/* sample prompts; steps of the mean at the end; bytes */
enum { REPLIES_PER_SPLIT = 2, LAST = 10, MAX_HASHED = 64 << 20 };

/* ---- tables --------------------------------------------------------------------------------- */

/* With a caption that the caller goes on with until table_columns: NULL at the end; those of text, a bit
 * each, are left-aligned. */
static void table_begin(Page *p, const char *caption) {
    page_html(p, "<div class=\"wide\"><table>\n<caption><b>%s</b> ", caption);
}

enum { TEXT_1 = 1, TEXT_2 = 3 };        /* the first, the first two */

static void table_columns(Page *p, const char *const *column, unsigned text) {
    page_html(p, "</caption>\n<thead><tr>");
    for (int i = 0; column[i]; i++) {
        page_html(p, "<th scope=\"col\"%s>", text >> i & 1 ? " class=\"text\"" : "");
        page_text(p, column[i]);
        page_html(p, "</th>");
    }
    page_html(p, "</tr></thead>\n");
}

static void table_end(Page *p) { page_html(p, "</table></div>\n"); }

static void row_head(Page *p, const char *text, const char *class, int span) {
    page_html(p, "<th scope=\"%s\"%s", span > 1 ? "rowgroup" : "row", class);
    if (span > 1) page_html(p, " rowspan=\"%d\"", span);
    page_html(p, ">");
    page_text(p, text);
    page_html(p, "</th>");
}

static void cell_text(Page *p, const char *class, const char *text) {
    page_html(p, "<td class=\"%s\">", class);
    page_text(p, text);
    page_html(p, "</td>");
}

static void cell_figure(Page *p, const Figure *f, int decimals, bool difference) {
    page_html(p, "<td>");
    page_number(p, f->mean, decimals, difference);
    if (!isnan(f->half)) {
        page_html(p, "<span class=\"half\"> ± ");
        page_number(p, f->half, decimals, false);
        page_html(p, "</span>");
    }
    if (difference && !isnan(f->mean) && !isnan(f->half)) {
        static const char *const sign[] = {"<span class=\"fell\" title=\"fell\">▼</span>",
                                           "<span class=\"open\" title=\"not decided\">○</span>",
                                           "<span class=\"rose\" title=\"rose\">▲</span>"};
        page_html(p, " %s", sign[figure_verdict(f) + 1]);
    }
    page_html(p, "</td>");
}

static void cell_number(Page *p, double x, int decimals) {
    page_html(p, "<td>");
    page_number(p, x, decimals, false);
    page_html(p, "</td>");
}

/* What the intervals of the section's figures are over. */
static void say_intervals(Page *p, const Section *s) {
    int one = 0, several = 0;
    for (int a = 0; a < s->n_arm; a++)
        if (arm_has_replies(&s->arm[a])) *(s->arm[a].n_run > 1 ? &several : &one) += 1;
    page_html(p, "Mean ± half-width of its 95 %% interval (Student’s t), %s. ",
              !one ? "over seeds"
              : !several
                  ? "over prompts: of one seed, so it says nothing of other seeds"
                  : "over seeds; of an arm with one seed over prompts, which says nothing of other seeds");
}

static void say_differences(Page *p, const Section *s) {
    bool several = false;
    for (int a = 1; a < s->n_arm; a++) several = several || s->arm[a].n_run > 1;
    page_html(p, "Less <i>");
    page_text(p, s->arm[0].name);
    page_html(p,
              "</i>, %s. <span class=\"rose\">▲</span> rose, <span class=\"fell\">▼</span> fell: the "
              "interval leaves out 0; <span class=\"open\">○</span> not decided. ",
              s->arm[0].n_run > 1 ? "run by run of the same seed"
              : several           ? "its only run, so the spread between its seeds is in no interval"
                                  : "prompt by prompt");
}

static int n_with_replies(const Section *s) {
    int n = 0;
    for (int a = 0; a < s->n_arm; a++) n += arm_has_replies(&s->arm[a]);
    return n;
}

static const char *column_name(const Quantity *q) {
    static const char *const own[][2] = {{"refusal", "refusals"},
                                         {"harmful", "harmful step"},
                                         {"completion_length", "length"},
                                         {"kl", "KL to the reference"},
                                         {"distinct", "distinct"}};
    for (size_t i = 0; q->origin == OF_REPLY && i < sizeof own / sizeof *own; i++)
        if (!strcmp(own[i][0], q->name)) return own[i][1];
    return quantity_is_mean(q) ? "mean" : q->name;
}

static int decimals_of(const Quantity *q) {
    return q->origin != OF_REPLY                   ? 3
           : !strcmp(q->name, "completion_length") ? 1
           : !strcmp(q->name, "kl")                ? 2
                                                   : 3;
}

/* Rows: splits and all; within each the arms, without the baseline if they are differences. Columns: the
 * quantities `list`, -1 at the end. */
static void figures_table(Page *p, const Section *s, const int *list, bool difference) {
    const char *column[MAX_QUANTITIES + 3] = {"prompts", "arm"};
    int n = 2;
    for (int i = 0; list[i] >= 0; i++) column[n++] = column_name(&s->quantity[list[i]]);
    table_columns(p, column, TEXT_2);
    const int arms = n_with_replies(s) - difference;
    for (int row = 0; row <= s->n_split; row++) {
        bool first = true;
        if (row == s->n_split && s->n_split == 1) break;                /* "all" would say the same again */
        page_html(p, "<tbody>\n");
        for (int a = difference; a < s->n_arm; a++) {
            if (!arm_has_replies(&s->arm[a])) continue;
            page_html(p, "<tr>");
            if (first) row_head(p, s->split[row], " class=\"head\"", arms);
            row_head(p, s->arm[a].name, " class=\"arm\"", 1);
            for (int i = 0; list[i] >= 0; i++) {
                const Figure f = difference ? arm_difference(s, &s->arm[a], row, list[i])
                                            : arm_figure(s, &s->arm[a], row, list[i]);
                cell_figure(p, &f, decimals_of(&s->quantity[list[i]]), difference);
            }
            page_html(p, "</tr>\n");
            first = false;
        }
        page_html(p, "</tbody>\n");
    }
    table_end(p);
}

static int quantities_of(int *list, const Section *s, Origin origin, int n) {
    for (int q = 0; q < s->n_quantity; q++)
        if (s->quantity[q].origin == origin && section_has(s, q)) list[n++] = q;
    list[n] = -1;
    return n;
}

static void scores(Page *p, const Section *s) {
    int list[MAX_QUANTITIES + 1];
    const Origin told = section_told(s);
    if (!quantities_of(list, s, told, 0)) {
        page_html(p,
                  "<p class=\"note\">The replies have neither a judge’s scores nor a reward model’s.</p>\n");
        return;
    }
    table_begin(p, told == OF_JUDGE ? "Scores by the judge." : "Scores by the reward model.");
    say_intervals(p, s);
    if (told != OF_JUDGE)
        page_html(p, "The replies have no judge’s scores; where training followed this reward model, its own "
                     "scores flatter. ");
    figures_table(p, s, list, false);
}

static void differences(Page *p, const Section *s) {
    int list[MAX_QUANTITIES + 1];
    if (n_with_replies(s) < 2 || !arm_has_replies(&s->arm[0])) return;
    int n = quantities_of(list, s, section_told(s), 0);
    for (int q = 0; q < s->n_quantity; q++)
        if (s->quantity[q].origin == OF_REPLY && section_has(s, q) &&
            (!strcmp(s->quantity[q].name, "refusal") || !strcmp(s->quantity[q].name, "harmful")))
            list[n++] = q;
    list[n] = -1;
    if (!n) return;
    table_begin(p, "Differences.");
    say_differences(p, s);
    say_intervals(p, s);
    figures_table(p, s, list, true);
}

static void conduct(Page *p, const Section *s) {
    int list[MAX_QUANTITIES + 1];
    quantities_of(list, s, OF_REPLY, 0);
    table_begin(p, "Conduct.");
    page_html(p, "Shares of replies that refuse and that hold a harmful step; length in tokens; share of "
                 "completions in the row that "
                 "differ from all others before; KL to the reference in nats a reply. ");
    for (int q = 0, n = 0; q < s->n_quantity; q++)
        if (s->quantity[q].origin == OF_REPLY && !section_has(s, q))
            page_html(p, "%s%s", n++ ? ", " : "Not in the replies: ", column_name(&s->quantity[q]));
    figures_table(p, s, list, false);
}

/* ---- the verdict ---------------------------------------------------------------------------- */

static void verdict_of(Page *p, const Section *s, const Arm *a) {
    const Origin told = section_told(s);
    int n_label = 0, rose_on[MAX_SPLITS + 1] = {0}, count[3] = {0};
    const int rows = s->n_split ? s->n_split : 1;
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != told || quantity_is_mean(&s->quantity[q])) continue;
        n_label++;
        for (int row = 0; row < rows; row++) {
            const Figure f = arm_difference(s, a, row, q);
            rose_on[row] += figure_verdict(&f) > 0;
            count[figure_verdict(&f) + 1]++;
        }
    }
    page_html(p, "<li><b>");
    page_text(p, a->name);
    page_html(p, "</b> against ");
    page_text(p, s->arm[0].name);
    page_html(p, ", %d labels on %d row%s, %d figures: %d rose, %d fell, %d not decided. ", n_label, rows,
              rows == 1 ? "" : "s", n_label * rows, count[2], count[0], count[1]);
    int n = 0;
    for (int row = 0; row < rows; row++)
        if (rose_on[row] == n_label) {
            page_html(p, n++ ? ", " : "All labels rose on: ");
            page_text(p, s->split[row]);
        }
    page_html(p, "%s.", n ? "" : "There is no row on which all labels rose");
    /* what rose or fell that should be watched */
    for (int want = 1, q = 0; want >= -1; want -= 2)
        for (q = 0; q < s->n_quantity; q++) {
            if (s->quantity[q].origin != OF_REPLY ||
                (strcmp(s->quantity[q].name, "refusal") && strcmp(s->quantity[q].name, "harmful")))
                continue;
            n = 0;
            for (int row = 0; row < rows; row++) {
                const Figure f = arm_difference(s, a, row, q);
                if (figure_verdict(&f) != want) continue;
                if (!n++)
                    page_html(p, " Replies with %s %s on: ",
                              !strcmp(s->quantity[q].name, "refusal") ? "a refusal" : "a harmful step",
                              want > 0 ? "rose" : "fell");
                else page_html(p, ", ");
                page_text(p, s->split[row]);
            }
            if (n) page_html(p, ".");
        }
    page_html(p, "</li>\n");
}

static void verdict(Page *p, const Section *s) {
    if (n_with_replies(s) < 2 || !arm_has_replies(&s->arm[0])) return;
    page_html(p,
              "<p>Computed from the differences below, by the %s’s scores (rose or fell: the 95 %% interval "
              "leaves out 0):</p>\n<ul>\n",
              origin_name(section_told(s)));
    for (int a = 1; a < s->n_arm; a++)
        if (arm_has_replies(&s->arm[a])) verdict_of(p, s, &s->arm[a]);
    page_html(p, "</ul>\n");
}

/* ---- judge and reward model ----------------------------------------------------------------- */

static void judge_beside_model(Page *p, const Section *s) {
    int judge[MAX_QUANTITIES], model[MAX_QUANTITIES], n = 0;
    for (int q = 0; q < s->n_quantity; q++) {
        const int other = s->quantity[q].origin == OF_JUDGE && !quantity_is_mean(&s->quantity[q])
                              ? section_find(s, OF_MODEL, s->quantity[q].name)
                              : -1;
        if (other < 0 || !section_has(s, q) || !section_has(s, other)) continue;
        judge[n] = q, model[n++] = other;
    }
    if (!n) return;
    table_begin(p, "The judge beside the reward model.");
    page_html(p, "Means of both, and by how much the reward model’s is above the judge’s. A gap that opens "
                 "beside the baseline’s is the sign of a policy that has learned what the reward "
                 "model gets wrong.</caption>\n<thead><tr><th scope=\"col\" class=\"text\" "
                 "rowspan=\"2\">prompts</th><th scope=\"col\" class=\"text\" rowspan=\"2\">arm</th>");
    for (int k = 0; k < n; k++)
        page_html(p, "<th scope=\"colgroup\" colspan=\"3\" class=\"group\">"),
            page_text(p, s->quantity[judge[k]].name), page_html(p, "</th>");
    page_html(p, "</tr>\n<tr>");
    for (int k = 0; k < n; k++)
        page_html(p, "<th scope=\"col\">judge</th><th scope=\"col\">model</th><th scope=\"col\">gap</th>");
    page_html(p, "</tr></thead>\n");
    for (int row = 0; row <= s->n_split; row++) {
        bool first = true;
        if (row == s->n_split && s->n_split == 1) break;
        page_html(p, "<tbody>\n");
        for (int a = 0; a < s->n_arm; a++) {
            if (!arm_has_replies(&s->arm[a])) continue;
            page_html(p, "<tr>");
            if (first) row_head(p, s->split[row], " class=\"head\"", n_with_replies(s));
            row_head(p, s->arm[a].name, " class=\"arm\"", 1);
            for (int k = 0; k < n; k++) {
                const double x = arm_figure(s, &s->arm[a], row, judge[k]).mean,
                             y = arm_figure(s, &s->arm[a], row, model[k]).mean;
                cell_number(p, x, 2);
                cell_number(p, y, 2);
                page_html(p, "<td>");
                page_number(p, y - x, 2, true);
                page_html(p, "</td>");
            }
            page_html(p, "</tr>\n");
            first = false;
        }
        page_html(p, "</tbody>\n");
    }
    table_end(p);
}

/* ---- an outside judge ----------------------------------------------------------------------- */

static const Json *verdicts_of(const Arm *a) { return a->run[0].verdicts; }

/* An arm's figure for one metric of verdicts.json: over seeds, or the file's own interval where there is one
 * run. */
static Figure verdict_figure(const Arm *a, const char *split, const char *metric) {
    double mean[MAX_RUNS] = {0};
    const Json *own = NULL;
    for (int i = 0; i < a->n_run; i++) {
        own = json_get(json_get(json_get(a->run[i].verdicts, "rows"), split), metric);
        mean[i] = json_path(own, "mean");
    }
    Figure f = figure_of(mean, a->n_run);
    const Json *ci = json_get(own, "ci95");
    if (a->n_run == 1 && ci && ci->type == JSON_ARRAY && ci->length == 2)
        f.half = (ci->item[1].number - ci->item[0].number) / 2;
    return f;
}

static const char *text_member(const Json *v, const char *key, const char *otherwise) {
    const Json *m = json_get(v, key);
    return m && m->type == JSON_STRING ? m->string : otherwise;
}

static void outside_judge(Page *p, const Section *s) {
    const Json *first = NULL;
    int n_arm = 0;
    for (int a = 0; a < s->n_arm; a++)
        if (verdicts_of(&s->arm[a])) first = first ? first : verdicts_of(&s->arm[a]), n_arm++;
    const Json *rows = json_get(first, "rows");
    if (!rows || rows->type != JSON_OBJECT || !rows->length) return;
    const char *column[MAX_QUANTITIES + 3] = {"prompts", "arm"};
    int n = 0;
    for (size_t k = 0; k < rows->item[0].length && n < MAX_QUANTITIES; k++)
        column[2 + n++] = rows->item[0].item[k].key;
    table_begin(p, "An outside judge:");
    page_text(p, text_member(first, "judge", "not named"));
    page_html(p, ". ");
    page_text(p, text_member(first, "what", ""));
    page_html(p, " Mean ± half-width of its 95 %% interval, over seeds where an arm has several, else as the "
                 "judge’s file tells. ");
    table_columns(p, column, TEXT_2);
    for (size_t r = 0; r < rows->length; r++) {
        bool head = true;
        page_html(p, "<tbody>\n");
        for (int a = 0; a < s->n_arm; a++) {
            if (!verdicts_of(&s->arm[a])) continue;
            page_html(p, "<tr>");
            if (head) row_head(p, rows->item[r].key, " class=\"head\"", n_arm);
            row_head(p, s->arm[a].name, " class=\"arm\"", 1);
            for (int k = 0; k < n; k++) {
                const Figure f = verdict_figure(&s->arm[a], rows->item[r].key, column[2 + k]);
                cell_figure(p, &f, 3, false);
            }
            page_html(p, "</tr>\n");
            head = false;
        }
        page_html(p, "</tbody>\n");
    }
    table_end(p);
}

/* ---- a reward model's held-out rows --------------------------------------------------------- */

static void held_out(Page *p, const Section *s) {
    static const struct {
        const char *key, *name;
        int decimals;
    } metric[] = {{"n", "rows", 0},
                  {"r2", "R²", 3},
                  {"mse", "squared error", 4},
                  {"pearson", "Pearson", 3},
                  {"spearman", "Spearman", 3},
                  {"bias", "bias", 3},
                  {"calibration_slope", "slope", 3}};
    enum { N_METRIC = sizeof metric / sizeof *metric };
    const char *column[N_METRIC + 3] = {"arm", "label"};
    bool any = false;
    for (int a = 0; a < s->n_arm; a++) any = any || s->arm[a].run[0].held_out;
    if (!any) return;
    for (int m = 0; m < N_METRIC; m++) column[2 + m] = metric[m].name;
    table_begin(p, "Held-out rows.");
    page_html(p, "How well a reward model says the labels of rows that it was not trained on. Bias: score "
                 "less label; slope: of the label by the score. "
                 "Mean ± half-width of its 95 %% interval over seeds, where an arm has several.");
    table_columns(p, column, TEXT_2);
    for (int a = 0; a < s->n_arm; a++) {
        const Json *label = s->arm[a].run[0].held_out;
        page_html(p, "<tbody>\n");
        for (size_t k = 0; label && k < label->length; k++) {
            page_html(p, "<tr>");
            if (!k) row_head(p, s->arm[a].name, " class=\"head\"", (int)label->length);
            row_head(p, label->item[k].key, " class=\"arm\"", 1);
            for (int m = 0; m < N_METRIC; m++) {
                const Figure f = arm_held_out(&s->arm[a], label->item[k].key, metric[m].key);
                if (m) cell_figure(p, &f, metric[m].decimals, false);
                else cell_number(p, f.mean, 0);
            }
            page_html(p, "</tr>\n");
        }
        page_html(p, "</tbody>\n");
    }
    table_end(p);
}

/* ---- first and last steps ------------------------------------------------------------------- */

static void first_and_last(Page *p, const Section *s) {
    static const char *const column[] = {"quantity", "first", "last", "mean of the last 10", NULL};
    const Arm *a = &s->arm[0];
    const JsonLines *log = &a->run[0].files.log;
    if (s->n_arm > 1 || a->n_run > 1 || !log->n) return;
    table_begin(p, "The log’s first and last lines.");
    table_columns(p, column, TEXT_1);
    page_html(p, "<tbody>\n");
    for (size_t i = 0; i < log->line[0]->length; i++) {
        const char *key = log->line[0]->item[i].key;
        double tail[LAST], last = NAN;
        int n = 0;
        for (int k = log->n - 1; k >= 0 && n < LAST; k--) {
            const double v = json_member(log->line[k], key);
            if (isnan(v)) continue;
            if (!n) last = v;
            tail[n++] = v;
        }
        if (!n || !strcmp(key, "step")) continue;
        page_html(p, "<tr>");
        row_head(p, key, " class=\"arm head\"", 1);
        cell_number(p, json_member(log->line[0], key), 4);
        cell_number(p, last, 4);
        cell_number(p, stats_of(tail, (size_t)n).mean, 4);
        page_html(p, "</tr>\n");
    }
    page_html(p, "</tbody>\n");
    table_end(p);
}

/* ---- costs ---------------------------------------------------------------------------------- */

/* The arm that costs are given in units of: the first that was trained otherwise than by imitation, else the
 * first with a log. */
static const Arm *unit_arm(const Section *s) {
    const Arm *any = NULL;
    for (int a = 0; a < s->n_arm; a++) {
        if (!s->arm[a].run[0].files.log.n) continue;
        if (arm_class(&s->arm[a]) != BY_IMITATION) return &s->arm[a];
        if (!any) any = &s->arm[a];
    }
    return any;
}

static void cell_cost(Page *p, double x, double unit, bool bytes) {
    page_html(p, "<td>");
    char text[32];
    if (bytes && !isnan(x)) human_bytes(text, x), page_text(p, text);
    else page_count(p, x);
    page_html(p, "</td><td class=\"half\">");
    if (isnan(x) || !(unit > 0)) page_html(p, "–");
    else page_number(p, x / unit, 2, false), page_html(p, "×");
    page_html(p, "</td>");
}

static double cost_row(const Arm *a, int row) {
    switch (row) {
    case 0: return arm_cost(a, "predicted.total_flops");
    case 1: return arm_cost(a, "measured.total_flops");
    case 2: return arm_cost(a, "measured.tokens.prompt");
    case 3: return arm_cost(a, "measured.tokens.completion");
    case 4: return arm_cost_total(a, "predicted.memory", memory_kind);
    case 5: return arm_cost_total(a, "measured.memory", memory_kind);
    case 6: return arm_timing(a, "peak_rss_bytes");
    case 7: return arm_seconds(a);
    default: return arm_timing(a, "cpu_seconds");
    }
}

static void cost(Page *p, const Section *s) {
    static const char *const name[] = {"operations, predicted",
                                       "operations, counted",
                                       "prompt tokens",
                                       "completion tokens",
                                       "memory, predicted",
                                       "memory, measured",
                                       "largest resident size",
                                       "seconds",
                                       "CPU seconds"};
    const Arm *unit = unit_arm(s);
    if (!unit) return;
    page_html(p, "<div class=\"wide\"><table>\n<caption><b>Costs.</b> Means over an arm’s runs, and their "
                 "ratios to <i>");
    page_text(p, unit->name);
    page_html(p, "</i>’s. Of training alone; what an arm starts from (an imitating policy, a reward model) "
                 "is not among it. "
                 "Seconds are of the machine that made the runs. A dash: the folders do not tell.</caption>\n"
                 "<thead><tr><th scope=\"col\" class=\"text\">cost</th>");
    for (int a = 0; a < s->n_arm; a++) {
        if (!s->arm[a].run[0].files.log.n) continue;
        page_html(p, "<th scope=\"colgroup\" colspan=\"2\" class=\"group\">");
        page_text(p, s->arm[a].name);
        page_html(p, "</th>");
    }
    page_html(p, "</tr></thead>\n<tbody>\n");
    for (int row = 0; row < (int)(sizeof name / sizeof *name); row++) {
        bool any = false;
        for (int a = 0; a < s->n_arm; a++) any = any || !isnan(cost_row(&s->arm[a], row));
        if (!any) continue;
        page_html(p, "<tr>");
        row_head(p, name[row], " class=\"arm head\"", 1);
        for (int a = 0; a < s->n_arm; a++)
            if (s->arm[a].run[0].files.log.n)
                cell_cost(p, cost_row(&s->arm[a], row), cost_row(unit, row), row >= 4 && row <= 6);
        page_html(p, "</tr>\n");
    }
    page_html(p, "</tbody>\n");
    table_end(p);
}

/* ---- options -------------------------------------------------------------------------------- */

static const Json *option_of(const Arm *a, const char *name) {
    return json_get(json_get(a->run[0].files.config, "options"), name);
}

/* Of arms that were not only taught by imitation: whether an option that two have has two values. */
static bool option_differs(const Section *s, const char *name) {
    const Json *first = NULL;
    for (int a = 0; a < s->n_arm; a++) {
        const Json *v = arm_class(&s->arm[a]) == BY_IMITATION ? NULL : option_of(&s->arm[a], name);
        if (v && first && !json_same(first, v)) return true;
        if (v && !first) first = v;
    }
    return false;
}

static void differing_option(Page *p, const Section *s, const char *name) {
    page_html(p, "<tr>");
    row_head(p, name, " class=\"arm head\"", 1);
    for (int a = 0; a < s->n_arm; a++) {
        if (arm_class(&s->arm[a]) == BY_IMITATION) continue;
        const Json *v = option_of(&s->arm[a], name);
        char *text = v && v->type != JSON_STRING ? json_text(v) : NULL;
        cell_text(p, "path", !v ? "–" : text ? text : v->string);
        free(text);
    }
    page_html(p, "</tr>\n");
}

static void options_that_differ(Page *p, const Section *s) {
    const char *column[64] = {"option"};
    int n = 1, rows = 0;
    for (int a = 0; a < s->n_arm && n < 63; a++)
        if (arm_class(&s->arm[a]) != BY_IMITATION) column[n++] = s->arm[a].name;
    for (int a = 0; a < s->n_arm; a++) {
        const Json *o =
            arm_class(&s->arm[a]) == BY_IMITATION ? NULL : json_get(s->arm[a].run[0].files.config, "options");
        for (size_t i = 0; o && i < o->length; i++) {
            const char *name = o->item[i].key;
            bool known = !run_option_has_effect(name) || !strcmp(name, "seed") || !option_differs(s, name);
            for (int b = 0; b < a && !known; b++)
                known = arm_class(&s->arm[b]) != BY_IMITATION && option_of(&s->arm[b], name);
            if (known) continue;
            if (!rows++) {
                table_begin(p, "Options that differ");
                page_html(p, "between the arms that were trained on rewards or preferences; a dash: the "
                             "method has no such option.");
                table_columns(p, column, ~0u);
                page_html(p, "<tbody>\n");
            }
            differing_option(p, s, name);
        }
    }
    if (rows) page_html(p, "</tbody>\n"), table_end(p);
}

/* ---- replies -------------------------------------------------------------------------------- */

static const ArmRun *first_with_replies(const Section *s) {
    for (int a = 0; a < s->n_arm; a++)
        if (arm_has_replies(&s->arm[a])) return &s->arm[a].run[0];
    return NULL;
}

static void replies_to(Page *p, const Section *s, int i, int mean) {
    const ArmRun *r = first_with_replies(s);
    page_html(p, "<tbody>\n<tr><th scope=\"rowgroup\" class=\"head\">");
    page_text(p, r->reply[i].split < 0 ? "" : s->split[r->reply[i].split]);
    page_html(p, "</th><td class=\"prompt\" colspan=\"%d\">", mean < 0 ? 1 : 2);
    page_text(p, r->reply[i].prompt);
    page_html(p, "</td></tr>\n");
    for (int a = 0; a < s->n_arm; a++) {
        if (!arm_has_replies(&s->arm[a])) continue;
        page_html(p, "<tr>");
        row_head(p, s->arm[a].name, " class=\"arm head\"", 1);
        cell_text(p, "reply", s->arm[a].run[0].reply[i].completion);
        if (mean >= 0) cell_number(p, s->arm[a].run[0].reply[i].value[mean], 2);
        page_html(p, "</tr>\n");
    }
    page_html(p, "</tbody>\n");
}

static void replies(Page *p, const Section *s) {
    const ArmRun *r = first_with_replies(s);
    static const char *const column[] = {"arm", "reply", "mean score", NULL}, *const column_without[] =
                                                                                  {"arm", "reply", NULL};
    const int mean = section_told_mean(s), rows = s->n_split ? s->n_split : 1;
    table_begin(p, "Replies side by side,");
    page_html(p, "of each arm’s first run, to the first prompt of each row and to the one in its middle: not "
                 "chosen by what they say.");
    table_columns(p, mean < 0 ? column_without : column, TEXT_2);
    for (int row = 0; row < rows; row++) {
        const int n = section_n_reply(s, s->n_split ? row : s->n_split);
        for (int k = 0; k < REPLIES_PER_SPLIT && k < n; k++) {
            int left = k * (n / REPLIES_PER_SPLIT), i = 0;
            for (; i < r->n_reply; i++)
                if ((!s->n_split || r->reply[i].split == row) && left-- == 0) break;
            replies_to(p, s, i, mean);
        }
    }
    table_end(p);
}

/* ---- what it rests on ----------------------------------------------------------------------- */

static bool digest(char hex[65], const ArmRun *r) {
    char path[1100];
    Err e = {{0}};
    RunFiles f = {.dir = r->dir};
    FileMap map;
    hex[0] = 0;
    snprintf(path, sizeof path, "%s/final/model.safetensors", r->dir);
    if (!path_exists(path) || !file_map(&map, path, &e)) return false;
    const bool small = map.n <= MAX_HASHED;
    file_unmap(&map);
    if (!small || !run_files_digest(&f, &e)) return false;
    memcpy(hex, f.hex, sizeof f.hex);
    return true;
}

static const char *option_text(const ArmRun *r, const char *key) {
    return text_member(json_get(r->files.config, "options"), key, "–");
}

static const char *reward_source(const ArmRun *r) {
    const char *model = text_member(json_get(r->files.config, "options"), "reward_model", NULL);
    return model ? model : option_text(r, "reward_cmd");
}
static const char *base_model(const ArmRun *r) { return option_text(r, "model"); }
static const char *data_file(const ArmRun *r) { return option_text(r, "dataset"); }

/* One cell for all runs of the arm where they say the same. */
static void cell_of_run(Page *p, const Arm *a, int i, const char *(*of)(const ArmRun *)) {
    bool same = true;
    for (int k = 1; k < a->n_run; k++) same = same && !strcmp(of(&a->run[0]), of(&a->run[k]));
    if (same && i) return;
    page_html(p, "<td class=\"path\"");
    if (same && a->n_run > 1) page_html(p, " rowspan=\"%d\"", a->n_run);
    page_html(p, ">");
    page_text(p, of(&a->run[i]));
    page_html(p, "</td>");
}

static void rests_on_run(Page *p, const Arm *a, int i) {
    const ArmRun *r = &a->run[i];
    char hex[65];
    page_html(p, "<tr>");
    if (i == 0) row_head(p, a->name, " class=\"arm head\"", a->n_run);
    cell_text(p, "path run", r->dir);
    page_html(p, "<td class=\"text\">");
    page_text(p, *arm_command(a) ? arm_command(a) : "replies alone");
    page_html(p, "</td>");
    cell_number(p, r->seed, 0);
    cell_number(p, r->files.log.n ? log_step(r->files.log.line[r->files.log.n - 1]) : NAN, 0);
    cell_of_run(p, a, i, base_model);
    cell_of_run(p, a, i, data_file);
    cell_of_run(p, a, i, reward_source);
    cell_number(p, r->n_reply ? r->n_reply : NAN, 0);
    page_html(p, "<td class=\"hash\">%.16s</td></tr>\n", digest(hex, r) ? hex : "–");
}

static void rests_on(Page *p, const Arms *arms) {
    static const char *const column[] = {"arm",  "run",         "command", "seed",    "steps", "model",
                                         "data", "reward from", "replies", "weights", NULL};
    table_begin(p, "What this page rests on:");
    page_html(p, "these folders and nothing else. Weights: the beginning of their SHA-256 (files above 64 MB "
                 "are not read).");
    table_columns(p, column, 1 | 2 | 4 | 32 | 64 | 128 | 512);
    for (int i = 0; i < arms->n; i++) {
        const Section *s = &arms->section[i];
        page_html(p, "<tbody>\n");
        if (*s->name)
            page_html(p, "<tr><th scope=\"rowgroup\" class=\"head\" colspan=\"10\">"), page_text(p, s->name),
                page_html(p, "</th></tr>\n");
        for (int a = 0; a < s->n_arm; a++)
            for (int k = 0; k < s->arm[a].n_run; k++) rests_on_run(p, &s->arm[a], k);
        page_html(p, "</tbody>\n");
    }
    table_end(p);
}

static void labels_of(Page *p, const Section *s, Origin origin, const char *say) {
    int n = 0;
    for (int q = 0; q < s->n_quantity; q++) {
        if (s->quantity[q].origin != origin || quantity_is_mean(&s->quantity[q])) continue;
        page_html(p, "%s", n++ ? ", " : say);
        page_text(p, s->quantity[q].name);
    }
    if (n) page_html(p, ".");
}

static void rows_of(Page *p, const Section *s) {
    if (!n_with_replies(s)) {
        page_html(p, "<p class=\"note\">No run of this section has a replies.jsonl: there are no tables of "
                     "scores.</p>\n");
        return;
    }
    page_html(p, "<p class=\"note\">%d replies a run", section_n_reply(s, s->n_split));
    for (int row = 0; row < s->n_split; row++)
        page_html(p, row ? ", " : ": "), page_text(p, s->split[row]),
            page_html(p, " %d", section_n_reply(s, row));
    page_html(p, ".");
    labels_of(p, s, OF_JUDGE, " The judge (who it is, the replies do not tell) scored ");
    labels_of(p, s, OF_MODEL, " The reward model scored ");
    page_html(p, "</p>\n");
    for (int a = 0, n = 0; a < s->n_arm; a++)
        if (!arm_has_replies(&s->arm[a])) {
            page_html(p, n++ ? ", " : "<p class=\"note\">Without replies: ");
            page_text(p, s->arm[a].name);
            if (n == s->n_arm - n_with_replies(s)) page_html(p, ".</p>\n");
        }
}

static void section(Page *p, const Section *s) {
    if (*s->name) page_html(p, "<h2>"), page_text(p, s->name), page_html(p, "</h2>\n");
    rows_of(p, s);
    first_and_last(p, s);
    if (n_with_replies(s)) {
        verdict(p, s);
        scores(p, s);
        differences(p, s);
        conduct(p, s);
        judge_beside_model(p, s);
    }
    outside_judge(p, s);
    held_out(p, s);
    if (n_with_replies(s)) report_frontier(p, s);
    report_curves(p, s);
    cost(p, s);
    options_that_differ(p, s);
    if (n_with_replies(s)) replies(p, s);
}

void report_page(Page *p, const Arms *arms, const char *title) {
    page_begin(p, title);
    rests_on(p, arms);
    for (int i = 0; i < arms->n; i++) section(p, &arms->section[i]);
    page_end(p);
}
