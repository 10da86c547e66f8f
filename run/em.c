/* run/em.c: MaxMin's hard EM over users and reward models. */
#include "run/em.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"

/* ---- users ---- */

static int user_of(Em *s, const Dataset *d, const Example *x, const char *column, Err *e) {
    char name[64];
    if (!example_name(name, x, column, "--user-column names the user of every pair", d->path, e)) return -1;
    for (int k = 0; k < s->n_user; k++)
        if (!strcmp(s->user[k], name)) return k;
    memcpy(s->user[s->n_user], name, sizeof name);
    return s->n_user++;
}

static int pairs_of_user(const Em *s, int user) {
    int n = 0;
    for (int j = 0; j < s->pairs.n; j++) n += s->pairs.row[j].group == user;
    return n;
}

bool em_users(Em *s, const char *column, const Dataset *data, const Dataset *held_data, Err *e) {
    int alone = 0;
    if (!(s->user = calloc((size_t)(s->pairs.n + s->held.n), sizeof *s->user)))
        return fail(e, "no memory for the users of %d pairs", s->pairs.n);
    for (int i = 0; i < s->pairs.n; i++)
        if ((s->pairs.row[i].group = user_of(s, data, &data->row[i], column, e)) < 0) return false;
    const int n_user = s->n_user;
    for (int i = 0; i < s->held.n; i++) {
        const int k = s->held.row[i].group = user_of(s, held_data, &held_data->row[i], column, e);
        if (k < 0) return false;
        if (k >= n_user)
            return fail(e, "%s:%d: %s: no pair of \"%s\" is in the training part; lower --eval-split",
                        held_data->path, held_data->row[i].line, column, s->user[k]);
    }
    if (n_user < s->n_model)
        return fail(e, "%s: %s: found %d user%s, expected at least one for each of --num-groups %d",
                    data->path, column, n_user, n_user == 1 ? "" : "s", s->n_model);
    for (int k = 0; k < n_user; k++) alone += pairs_of_user(s, k) == 1;
    if (alone)
        fprintf(stderr, "em: %d of %d users have one pair, which says little of where they belong\n", alone,
                n_user);
    return true;
}

/* ---- memory ---- */

bool em_new(Em *s, Err *e) {
    const size_t n = (size_t)s->pairs.n, u = (size_t)s->n_model, users = (size_t)s->n_user;
    s->likelihood = malloc(users * u * sizeof *s->likelihood);
    s->member = calloc(users, sizeof *s->member);
    s->own = malloc(n * sizeof *s->own);
    s->score = malloc(2 * n * u * sizeof *s->score);
    if (!s->likelihood || !s->member || !s->own || !s->score)
        return fail(e, "no memory for %zu users and %zu pairs", users, n);
    for (size_t i = 0; i < users * u; i++) s->likelihood[i] = i % u == i / u % u ? 0 : -INFINITY;
    s->n_moved = -1;
    return true;
}

void em_keep(Em *s, Trainer *t) {
    trainer_keep(t, "likelihood", s->likelihood, (size_t)(s->n_user * s->n_model));
    trainer_keep(t, "rounds", &s->n_round, 1);
    trainer_keep(t, "moved", &s->n_moved, 1);
    texts_keep(t, "trained", &s->trained);
    for (int u = 0; u + 1 < s->n_model; u++) s->l[u].trainer.partner = &s->l[u + 1].trainer;
}

void em_free(Em *s) {
    for (int u = 0; u < s->n_model; u++) {
        learner_close(&s->l[u]);
        free(s->order[u].order);
    }
    pairs_free(&s->pairs);
    pairs_free(&s->held);
    free(s->user);
    free(s->likelihood);
    free(s->member);
    free(s->own);
    free(s->score);
}

/* ---- the two steps ---- */

void em_regroup(Em *s) {
    int n = 0;
    maxmin_assign(s->member, s->likelihood, (size_t)s->n_user, (size_t)s->n_model);
    for (int u = 0; u < s->n_model; u++) {
        s->first[u] = n;
        for (int j = 0; j < s->pairs.n; j++)
            if (s->member[s->pairs.row[j].group] == u) s->own[n++] = j;
        s->first[u + 1] = n;
        s->order[u].n = n - s->first[u], s->order[u].epoch = -1;
    }
}

/* E220: one update of model u on pairs of its users. */
static bool model_update(Em *s, int u, Costs *c, Err *e) {
    Learner *l = &s->l[u];
    Trainer *t = &l->trainer;
    PairReward *now = &s->now[u];
    int more;
    *now = (PairReward){0};
    if (!s->order[u].n) { t->step++; return true; }
    window_clear(&l->window);
    for (int i = 0; i < s->batch; i++) {
        const int j = s->own[s->first[u] + order_at(&s->order[u], t->step * s->batch + i)];
        if (!pair_reward_lay(&l->window, &s->pairs.row[j], l->shape.pad, e)) return false;
        pair_reward_texts(&s->trained, s->pairs.row, j);
        c->measured.prompt += s->pairs.row[j].n_prompt;
        c->measured.completion += s->pairs.row[j].n_w + s->pairs.row[j].n_l;
    }
    s->n_token += l->window.n_row;
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, &l->window, &l->shape, e)) > 0) {
        slice_scores(t, &x);
        pair_reward_loss(now, t->dscore, t->score, x.batch.n_target / 2, s->center, s->batch);
        slice_scores_backward(t, &x);
    }
    *now = pair_reward_means(*now, s->batch);
    if (more == 0 && !isfinite(now->loss))
        return fail(e,
                    "step %lld: the loss of group %d is %g: the step is not applied; lower --learning-rate",
                    (long long)t->step + 1, u, now->loss);
    return more == 0 && trainer_update(t, e);
}

bool em_update(Em *s, Costs *c, Err *e) {
    for (int u = 0; u < s->n_model; u++)
        if (!model_update(s, u, c, e)) return false;
    return true;
}

static bool score_pairs(Em *s, Err *e) {
    for (int u = 0; u < s->n_model; u++)
        if (!pair_reward_scores(s->score + 2 * u * s->pairs.n, &s->l[u].trainer, &s->pairs, e)) return false;
    return true;
}

bool em_expect(Em *s, Err *e) {
    const int n = s->pairs.n;
    real *margin = malloc((size_t)(n * s->n_model) * sizeof *margin);
    int *user = malloc((size_t)n * sizeof *user);
    const bool ok = ((margin && user) || fail(e, "no memory for %d pairs", n)) && score_pairs(s, e);
    if (ok) {
        for (int j = 0; j < n; j++) user[j] = s->pairs.row[j].group;
        for (int j = 0; j < n * s->n_model; j++)
            margin[j] = (real)((double)s->score[2 * j] - s->score[2 * j + 1]);
        maxmin_likelihoods(s->likelihood, margin, user, (size_t)n, (size_t)s->n_user, (size_t)s->n_model);
        s->n_moved = (double)maxmin_assign(s->member, s->likelihood, (size_t)s->n_user, (size_t)s->n_model);
        s->n_round++;
        em_regroup(s);
        for (int u = 0; u < s->n_model; u++)
            if (!s->order[u].n) fprintf(stderr, "em: group %d has no users; its model stays as it is\n", u);
    }
    free(margin);
    free(user);
    return ok;
}

/* ---- the end ---- */

bool em_scale(Em *s, Err *e) {
    const size_t n = 2 * (size_t)s->pairs.n;
    if (!score_pairs(s, e)) return false;
    for (int u = 0; u < s->n_model; u++) {
        double factor, shift;
        maxmin_scale(&factor, &shift, s->score + (size_t)u * n, n);
        learner_head(&s->l[u], &factor, &shift);
        snprintf(s->l[u].info.label[0], sizeof s->l[u].info.label[0], "group_%d", u);
    }
    return true;
}

bool em_held(PairReward *out, int *n, Em *s, int u, Err *e) {
    PairSet own = {.row = malloc((size_t)s->held.n * sizeof *own.row)};
    real *score = malloc(2 * (size_t)s->held.n * sizeof *score);
    bool ok = (own.row && score) || fail(e, "no memory for %d pairs", s->held.n);
    for (int i = 0; ok && i < s->held.n; i++)
        if (s->member[s->held.row[i].group] == u) own.row[own.n++] = s->held.row[i];
    ok = ok && (!own.n || pair_reward_scores(score, &s->l[u].trainer, &own, e));
    *out = (PairReward){0};
    if (ok) pair_reward_loss(out, NULL, score, own.n, s->center, 1);
    *out = own.n ? pair_reward_means(*out, own.n) : (PairReward){NAN, NAN, NAN};
    *n = own.n;
    free(own.row);
    free(score);
    return ok;
}

void em_log(JsonWriter *w, const Em *s) {
    double likelihood = 0;
    char key[32];
    for (int u = 0; u < s->n_model; u++) {
        const double value[] = {s->now[u].loss, s->now[u].accuracy, s->now[u].margin};
        static const char *const name[] = {"loss", "accuracy", "margin"};
        for (int k = 0; k < 3; k++) {
            snprintf(key, sizeof key, "%s/%d", name[k], u);
            json_put(w, key, s->order[u].n ? value[k] : NAN);
        }
    }
    for (int u = 0; u < s->n_model; u++) {
        int n = 0;
        for (int k = 0; k < s->n_user; k++) n += s->member[k] == u;
        snprintf(key, sizeof key, "users/%d", u);
        json_put_int(w, key, n);
    }
    for (int k = 0; k < s->n_user; k++) likelihood += s->likelihood[k * s->n_model + s->member[k]];
    json_put(w, "round", s->n_round);
    json_put(w, "moved", s->n_round ? s->n_moved : NAN);
    json_put(w, "log_likelihood", s->n_round ? likelihood : NAN);
}

bool em_write_users(const Em *s, const char *path, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    for (int k = 0; k < s->n_user; k++) {
        json_open(&w, s->user[k], '{');
        json_put_int(&w, "group", s->member[k]);
        json_put_int(&w, "pairs", pairs_of_user(s, k));
        json_put_numbers(&w, "log_likelihoods", s->likelihood + k * s->n_model, (size_t)s->n_model);
        json_end(&w, '}');
    }
    json_end(&w, '}');
    json_raw(&w, "\n");
    const bool ok = json_save(path, &w, e);
    free(w.text);
    return ok;
}
