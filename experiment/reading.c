/* reading.c: figures of a report by section, arm and seed, their differences, and the words for them. */
#include "experiment/reading.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reading: section -> arm -> rows ---- */

const Json *named(const Json *list, const char *name) {
    for (size_t i = 0; list && i < list->length; i++) {
        const Json *own = json_get(&list->item[i], "name");
        if (own && own->type == JSON_STRING && !strcmp(own->string, name)) return &list->item[i];
    }
    return NULL;
}

const Json *arm_of(const Json *report, const char *section, const char *arm) {
    const Json *s = named(json_get(report, "sections"), section);
    return s ? named(json_get(s, "arms"), arm) : NULL;
}

/* A figure of an arm's row: metric "judge" or "scores" with a label, or a plain one ("harmful") with label
 * NULL. */
const Json *cell(const Json *arm, const char *row, const char *metric, const char *label) {
    const Json *rows = arm ? json_get(arm, "rows") : NULL, *r = rows ? json_get(rows, row) : NULL,
               *m = r ? json_get(r, metric) : NULL;
    return m && label ? json_get(m, label) : m;
}

/* ---- figures ---- */

double number_of(const Json *v) { return v && v->type == JSON_NUMBER ? v->number : NAN; }

/* A figure of an arm by its seeds. */
Seeds seeds_of(const Json *arm, const Json *figure) {
    Seeds s = {.n = 0};
    const Json *by_seed = json_get(figure, "by_seed"), *seeds = json_get(arm, "seeds");
    for (size_t i = 0; by_seed && i < by_seed->length && s.n < MAX_SEEDS; i++, s.n++) {
        s.x[i] = number_of(&by_seed->item[i]);
        s.seed[i] = seeds && i < seeds->length ? number_of(&seeds->item[i]) : NAN;
    }
    return s;
}

/* Of a, the seeds that b has too. */
Seeds shared(Seeds a, Seeds b) {
    Seeds s = {.n = 0};
    for (size_t i = 0; i < a.n; i++)
        for (size_t k = 0; k < b.n; k++)
            if (a.seed[i] == b.seed[k]) { s.x[s.n] = a.x[i]; s.seed[s.n++] = a.seed[i]; break; }
    return s;
}

/* a - b, seed by seed: what only one of them has is left out. */
Seeds minus(Seeds a, Seeds b) {
    Seeds d = shared(a, b);
    for (size_t i = 0; i < d.n; i++)
        for (size_t k = 0; k < b.n; k++)
            if (d.seed[i] == b.seed[k]) { d.x[i] -= b.x[k]; break; }
    return d;
}

Seeds plain(const Json *arm, const char *row, const char *metric) {
    return seeds_of(arm, cell(arm, row, metric, NULL));
}

/* One label of the judge, or the mean of all four (label WORLD_LABELS). */
Seeds judged(const Json *arm, const char *row, int label) {
    return label < WORLD_LABELS ? seeds_of(arm, cell(arm, row, "judge", world_label_name[label]))
                                : plain(arm, row, "mean_judge");
}

Change change(Seeds d) {
    const Stats s = stats_of(d.x, d.n);
    if (!s.n) return NOT_RUN;
    if (!(s.half_width >= 0)) return NOT_DECIDED;       /* one seed has no interval */
    return s.mean - s.half_width > 0 ? ROSE : s.mean + s.half_width < 0 ? FELL : NOT_DECIDED;
}

double cost(const Json *arm, const char *key) {
    return number_of(json_get(json_get(arm, "cost"), key));
}
/* ---- words ---- */

/* ".49", "+.37", "-.08 ± .03": two places, no leading zero. */
const char *number(char out[16], double x, bool sign) {
    if (isnan(x)) return "-";
    char text[16];
    snprintf(text, sizeof text, sign ? "%+.2f" : "%.2f", x);
    char *dot = strchr(text, '.');
    if (fabs(x) < 0.995 && dot > text && dot[-1] == '0') memmove(dot - 1, dot, strlen(dot) + 1);
    snprintf(out, 16, "%s", text);
    return out;
}

void print_figure(Seeds s, bool sign) {
    char mean[16], half[16];
    const Stats st = stats_of(s.x, s.n);
    if (!st.n) { printf("-"); return; }
    printf("%s", number(mean, st.mean, sign));
    if (st.half_width >= 0) printf(" ± %s", number(half, st.half_width, false));
}

/* ---- what was run ---- */

size_t n_seed(const Json *arm) { return judged(arm, "all", 0).n; }

/* "0.25M, 3 seeds: SFT, GRPO, PPO (2)." */
static void section_run(const Json *section) {
    const Json *arms = json_get(section, "arms");
    size_t most = 0, n = 0;
    for (size_t i = 0; arms && i < arms->length; i++)
        most = n_seed(&arms->item[i]) > most ? n_seed(&arms->item[i]) : most;
    if (!most) return;
    printf("%s, %zu seed%s: ", json_get(section, "name")->string, most, most == 1 ? "" : "s");
    for (size_t i = 0; i < arms->length; i++) {
        const size_t own = n_seed(&arms->item[i]);
        if (!own) continue;
        printf("%s%s", n++ ? ", " : "", json_get(&arms->item[i], "name")->string);
        if (own != most) printf(" (%zu)", own);
    }
    printf(". ");
}

void what_was_run(const Json *report, const char *reduced) {
    const Json *list = json_get(report, "sections");
    if (*reduced)
        printf("\n**This is not the whole experiment.** Set otherwise than in experiment/arms.mk: %s.\n",
               reduced);
    printf("\n**What was run:** ");
    for (size_t i = 0; list && i < list->length; i++) section_run(&list->item[i]);
    printf("All that is said speaks of these alone.\n");
}

/* ---- tables ---- */

void labels_head(const char *first) {
    printf("| %s |", first);
    for (int k = 0; k < WORLD_LABELS; k++) printf(" %s |", world_label_name[k]);
}
