/* policy_mix.c: weights from a list or a file, and the policies that they are of. */
#include "run/policy_mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/words.h"

static int count_words(const char *list) {
    int n = 1;
    for (; *list; list++) n += *list == ',';
    return n;
}

/* "0.5,0.3,0.2" */
static bool weights_listed(double *weight, int *n, const char *text, Err *e) {
    char word[64], *end;
    for (*n = 0; list_next(word, sizeof word, &text); ++*n) {
        const double x = strtod(word, &end);
        if (*n == MAX_POLICIES)
            return fail(e, "--mixture-weights: expected at most %d weights", MAX_POLICIES);
        if (end == word || *end)
            return fail(e, "--mixture-weights: found \"%s\", expected numbers with commas, or a file of mix",
                        word);
        weight[*n] = x;
    }
    return true;
}

/* {"models": [...], "weights": [...]} of these very folders, in this order */
static bool weights_saved(double *weight, int *n, const char *path, const char *folders, Err *e) {
    char dir[1024];
    Json *o = json_read_file(path, e);
    if (!o) return false;
    const Json *w = json_get(o, "weights"), *m = json_get(o, "models");
    bool ok =
        (w && w->type == JSON_ARRAY && w->length <= MAX_POLICIES && m && m->type == JSON_ARRAY &&
         m->length == w->length) ||
        fail(e, "%s: expected \"models\" and \"weights\", lists of one length, as mix writes them", path);
    for (*n = 0; ok && (size_t)*n < w->length; ++*n) {
        if (w->item[*n].type != JSON_NUMBER || m->item[*n].type != JSON_STRING)
            ok = fail(e, "%s: weights: expected a name and a number for each policy", path);
        else if (!list_next(dir, sizeof dir, &folders) || strcmp(dir, m->item[*n].string))
            ok = fail(e, "%s: weight %d is that of %s; expected the same in --model", path, *n + 1,
                      m->item[*n].string);
        else weight[*n] = w->item[*n].number;
    }
    json_free(o);
    return ok;
}

static bool weights_open(PolicyMix *x, const char *folders, const char *weights, const char *reference,
                         Err *e) {
    const int n_folder = count_words(folders);
    double sum = 0;
    if (!(path_exists(weights) ? weights_saved(x->weight, &x->n, weights, folders, e)
                               : weights_listed(x->weight, &x->n, weights, e)))
        return false;
    if (x->n != n_folder)
        return fail(e, "--mixture-weights: found %d, expected one for each of %d policies", x->n, n_folder);
    for (int k = 0; k < x->n; k++) {
        if (!(x->weight[k] >= 0 && isfinite(x->weight[k])))
            return fail(e, "--mixture-weights: found %g, expected a number that is not negative",
                        x->weight[k]);
        sum += x->weight[k];
    }
    x->with_reference = fabs(sum - 1) > 1e-6;
    if (x->with_reference && !reference)
        return fail(e,
                    "--mixture-weights: they sum to %g; give --reference, which has what is missing to 1, or "
                    "weights that sum to 1",
                    sum);
    if (x->with_reference) x->weight[x->n] = 1 - sum;
    return true;
}

bool policy_mix_open(PolicyMix *x, const char *folders, const char *weights, const char *reference,
                     const ChatChoice *chat, Err *e) {
    char all[8192];
    if (!weights) return speaker_open(&x->policy[x->n++], folders, chat, e);
    if (!weights_open(x, folders, weights, reference, e)) return false;
    if (snprintf(all, sizeof all, "%s%s%s", folders, x->with_reference ? "," : "",
                 x->with_reference ? reference : "") >= (int)sizeof all)
        return fail(e, "--model: expected at most %zu bytes", sizeof all - 1);
    if (!speakers_open(x->policy, &x->n, MAX_POLICIES + 1, all, chat, e)) return false;
    for (int k = 0; k < x->n; k++) x->model[k] = x->policy[k].model;
    x->mixture = (Mixture){x->model, x->weight, x->n};
    x->policy[0].mixture = &x->mixture;
    return true;
}

void policy_mix_close(PolicyMix *x) {
    for (int k = 0; k <= MAX_POLICIES; k++) speaker_close(&x->policy[k]);
}

void policy_mix_count(PolicyMix *x, Tally *t) {
    for (int k = 0; k < x->n; k++) x->policy[k].model->tally = t;
}
