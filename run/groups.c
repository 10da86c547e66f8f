/* run/groups.c: groups of preference pairs. */
#include "run/groups.h"

#include <stdio.h>
#include <string.h>

/* The group that a row's column names, or -1 with e filled in; `add`: a new one is taken in. */
static int group_of(Groups *g, const Dataset *d, const Example *x, const char *column, bool add, Err *e) {
    char name[64];
    if (!example_name(name, x, column, "--group-column names the group of every pair", d->path, e)) return -1;
    for (int k = 0; k < g->n; k++) if (!strcmp(g->name[k], name)) return k;
    if (!add)
        fail(e, "%s:%d: %s: no pair of group \"%s\" is in the training part", d->path, x->line, column, name);
    else if (g->n == GROUPS_MOST)
        fail(e, "%s:%d: %s: found more than %d groups", d->path, x->line, column, GROUPS_MOST);
    else {
        memcpy(g->name[g->n], name, sizeof name);
        return g->n++;
    }
    return -1;
}

bool groups_read(Groups *g, const char *column, PairSet *train, const Dataset *data, PairSet *held,
                 const Dataset *held_data, Err *e) {
    for (int i = 0; i < train->n; i++) {
        if ((train->row[i].group = group_of(g, data, &data->row[i], column, true, e)) < 0) return false;
        g->count[train->row[i].group]++;
    }
    for (int i = 0; i < held->n; i++)
        if ((held->row[i].group = group_of(g, held_data, &held_data->row[i], column, false, e)) < 0)
            return false;
    for (int k = 0; k < g->n; k++)
        if (g->count[k] < 2)
            return fail(e, "%s: %s: group \"%s\" has %g training pair, expected at least 2", data->path,
                        column, g->name[k], g->count[k]);
    robust_start(g->q, g->count, g->n, g->config.weights);
    return true;
}

void groups_log(JsonWriter *w, const Groups *g, const GroupSums *sums) {
    char name[96];
    double value;
    for (int k = 0; k < 2 * g->n && groups_row(name, &value, g, sums, k); k++) json_put(w, name, value);
    for (int k = 0; k < g->n; k++) {
        snprintf(name, sizeof name, "weight/%s", g->name[k]);
        json_put(w, name, g->q[k]);
    }
}

bool groups_row(char name[96], double *value, const Groups *g, const GroupSums *sums, int k) {
    const int group = k / 2, of_accuracy = k % 2;
    double worst[2];
    if (!g->n || group > g->n) return false;
    robust_worst(&worst[0], &worst[1], sums, g->n);
    const GroupSums *s = &sums[group];
    snprintf(name, 96, "%s/%s", of_accuracy ? "accuracy" : "loss",
             group < g->n ? g->name[group] : "worst group");
    *value = group == g->n ? worst[of_accuracy] : s->n ? (of_accuracy ? s->right : s->loss) / s->n : NAN;
    return true;
}
