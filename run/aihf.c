/* run/aihf.c: a reward model that learns while the policy does. */
#include "run/aihf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/aihf.h"
#include "lib/rng.h"
#include "run/sequences.h"
#include "text/fit.h"

const char *const demo_loss_names[] = {"pair", "difference", NULL};

/* ---- data ---- */

/* Longest demonstration, and longest of their prompts, as the reward model reads them. */
static bool demos_measure(int *longest, int *longest_prompt, const Aihf *a, Err *e) {
    SequenceSet s = {0};
    int cut = 0;
    const int most = a->reward.shape.context;
    const bool ok = sequences_encode(&s, &a->demos, &a->reward.language, false, most, &cut, e);
    for (int i = 0; ok && i < s.n; i++) {
        *longest = s.row[i].n > *longest ? s.row[i].n : *longest;
        *longest_prompt = s.row[i].n_prompt > *longest_prompt ? s.row[i].n_prompt : *longest_prompt;
    }
    if (ok && cut)
        fprintf(stderr, "aihf: of %d demonstrations %d were longer than %d tokens and cut\n", a->demos.n, cut,
                a->reward.shape.context);
    sequences_free(&s);
    return ok;
}

/* The policy must be able to answer every demonstration's prompt. */
static bool demos_fit(Aihf *a, const Language *policy, int max_new, Err *e) {
    Ids ids = {0};
    bool ok = true;
    for (int i = 0; ok && i < a->demos.n; i++) {
        ok = fit_prompt(&ids, policy, &a->demos.row[i], max_new, e);
        a->longest = ids.n > a->longest ? ids.n : a->longest;
        texts_prompt(&a->lengths, ids.n);
    }
    free(ids.id);
    return ok;
}

bool aihf_data(Aihf *a, const char *demonstrations, const char *preferences, const char *system,
               const Language *policy, bool drop_long, int max_new, int slice_rows, Err *e) {
    const Learner *l = &a->reward;
    int longest = 0, longest_prompt = 0, cut = 0;
    if (demonstrations && (!dataset_load(&a->demos, demonstrations, NEED_COMPLETION, system, e) ||
                           (drop_long && !fit_drop_long(&a->demos, policy, policy->context - max_new, "aihf",
                                                        e)) ||
                           !demos_fit(a, policy, max_new, e) ||
                           !demos_measure(&longest, &longest_prompt, a, e)))
        return false;
    /* a policy's reply has this many tokens where both write alike, and is cut where it has more */
    const int replied = longest_prompt + max_new + 1, both = longest > replied ? longest : replied;
    a->max_length = both < l->shape.context ? both : l->shape.context;
    if (preferences) {
        Dataset d;
        if (!dataset_load(&d, preferences, NEED_PAIR, system, e) ||
            !pairs_encode(&a->preferences, &d, &l->language, l->shape.context, &cut, e))
            return false;
        if (cut)
            fprintf(stderr, "aihf: of %d preferences %d were longer than %d tokens and cut\n", d.n, cut,
                    l->shape.context);
    }
    const int pair = pairs_longest(&a->preferences),
              rows = demonstrations && 2 * a->max_length > pair ? 2 * a->max_length : pair;
    a->reward.rows = slice_rows > rows ? slice_rows : rows;
    return order_new(&a->demo_order, a->demos.n, a->seed, e) &&
           order_new(&a->preference_order, a->preferences.n, a->seed, e);
}

/* ---- memory ---- */

static size_t replies_of_round(const Aihf *a) { return (size_t)a->n_update * (size_t)a->batch; }

bool aihf_new(Aihf *a, int max_new, Err *e) {
    a->kept_rounds = a->loss == DEMO_PAIR ? a->n_round : 1;
    if (!a->demos.n) return true;
    const size_t n = (size_t)a->kept_rounds * replies_of_round(a);
    if (!(a->token = memory_new((n * (size_t)max_new + 2 * n) * sizeof(double), "replies", e))) return false;
    a->length = a->token + n * (size_t)max_new;
    a->ended = a->length + n;
    return generation_new(&a->drawn, a->batch, 1, max_new, 1, e);
}

void aihf_keep(Aihf *a, Trainer *t) {
    const size_t n = (size_t)a->kept_rounds * replies_of_round(a);
    trainer_keep(t, "aihf_tells", a->tells, sizeof a->tells / sizeof *a->tells);
    texts_keep(t, "answered", &a->answered);
    texts_keep(t, "taught", &a->taught);
    if (!a->demos.n || a->loss != DEMO_PAIR) return; /* a round draws its own before anything else */
    trainer_keep(t, "replies", a->token, n * (size_t)a->drawn.max_new);
    trainer_keep(t, "replies_length", a->length, n);
    trainer_keep(t, "replies_ended", a->ended, n);
}

void aihf_free(Aihf *a) {
    generation_free(&a->drawn);
    memory_free(a->token);
    pairs_free(&a->preferences);
    free(a->demo_order.order);
    free(a->preference_order.order);
    learner_close(&a->reward);
}

/* ---- what the policy says where somebody has shown what to say ---- */

/* Place of the i-th reply of an update among those that are kept; updates count through all rounds. */
static size_t reply_at(const Aihf *a, int64_t update, int i) {
    return ((size_t)update * (size_t)a->batch + (size_t)i) % ((size_t)a->kept_rounds * replies_of_round(a));
}

static const Example *demo_at(Aihf *a, int64_t update, int i) {
    return &a->demos.row[order_at(&a->demo_order, update * a->batch + i)];
}

/* The policy's replies to one update's demonstrations. Draws of the policy's own steps count from 0 up, these
 * from -1 down. */
static bool answer_demos(Aihf *a, int64_t update, const Learner *policy, const Sampling *sampling, Costs *c,
                         Err *e) {
    Generation *g = &a->drawn;
    Texts drawn = {0};
    for (int i = 0; i < a->batch; i++) {
        g->prompt[i].n = 0;
        if (!encode_prompt(&g->prompt[i], &policy->language, demo_at(a, update, i), e)) return false;
    }
    if (!generation_draw(g, policy->model, policy->info.stop, policy->info.n_stop, sampling, a->seed,
                         -1 - update, e))
        return false;
    for (int i = 0; i < a->batch; i++) {
        const size_t at = reply_at(a, update, i);
        a->length[at] = g->out.length[i];
        a->ended[at] = g->out.ended[i];
        for (int t = 0; t < g->out.length[i]; t++)
            a->token[at * (size_t)g->max_new + (size_t)t] = g->token[g->offset[i] + (size_t)t];
        texts_prompt(&drawn, g->prompt[i].n);
        texts_completion(&drawn, g->prompt[i].n, g->out.length[i]);
    }
    texts_add(&a->answered, &drawn, 1);
    a->n_token += drawn.prompt + drawn.token;
    c->measured.prompt += drawn.prompt;
    c->measured.completion += drawn.token;
    return true;
}

/* ---- an update of the reward model ---- */

/* A demonstration beside a kept reply to its prompt, as a row of pairs whose texts are in *x; reply: to be
 * freed. */
static bool demo_pair(Example *x, char **reply, const Aihf *a, const Example *demo, size_t at,
                      const Language *language, Err *e) {
    const int n = (int)a->length[at], max_new = a->drawn.max_new;
    int *id = malloc((size_t)max_new * sizeof *id);
    if (!id) return fail(e, "no memory for a reply of %d tokens", max_new);
    for (int t = 0; t < n; t++) id[t] = (int)a->token[at * (size_t)max_new + (size_t)t];
    *reply = decode_completion(language, id, n, e);
    free(id);
    *x = *demo;
    x->chosen = demo->completion;
    x->chosen_cut = demo->finish_reason && !strcmp(demo->finish_reason, "length");
    x->rejected = *reply;
    x->rejected_cut = *reply && **reply && a->ended[at] == 0;   /* a text of nothing at least ends */
    return *reply != NULL;
}

/* The demonstrations of an update beside the replies of this round and, from the second round on, as many
 * pairs of earlier ones, evenly drawn (E228: they stay in the data). */
static bool demo_pairs(PairSet *p, Aihf *a, int64_t round, int64_t update, const Language *language, Err *e) {
    const uint64_t earlier = (uint64_t)round * replies_of_round(a);
    const int n = a->batch, all = a->loss == DEMO_PAIR && earlier ? 2 * n : n;
    Dataset d = {.path = a->demos.path, .n = all, .row = calloc((size_t)all, sizeof *d.row)};
    char **reply = calloc((size_t)all, sizeof *reply);
    bool ok = (d.row && reply) || fail(e, "no memory for %d pairs", all);
    int cut = 0;
    for (int i = 0; ok && i < all; i++) {
        int64_t from = update;
        int k = i;
        if (i >= n) {
            const uint64_t at =
                (uint64_t)(rng_uniform(a->seed, RNG_REPLAY, (uint64_t)update, (uint64_t)i, 0, 0) *
                           (double)earlier);
            from = (int64_t)(at / (uint64_t)n), k = (int)(at % (uint64_t)n);
        }
        ok = demo_pair(&d.row[i], &reply[i], a, demo_at(a, from, k), reply_at(a, from, k), language, e);
    }
    ok = ok && pairs_encode(p, &d, &a->reward.language, a->max_length, &cut, e);
    for (int i = 0; reply && i < all; i++) free(reply[i]);
    free(reply);
    free(d.row);
    return ok;
}

static bool lay_pair(Aihf *a, const PairTokens *s, Costs *c, Err *e) {
    pair_reward_texts(&a->taught, s, 0);
    c->measured.prompt += s->n_prompt;
    c->measured.completion += s->n_w + s->n_l;
    return pair_reward_lay(&a->reward.window, s, a->reward.shape.pad, e);
}

/* Scores of a pair to their derivatives: E224 or E228 of one of n_demo pairs with demonstrations, E225 of one
 * of the other n_preference. The loss is what the log says of that part, by its own weight. */
static void demo_pair_loss(Aihf *a, real d[2], const real s[2], int part, int n) {
    const double weight = part == AIHF_DEMO ? a->demo_weight : a->preference_weight;
    const bool apart = part == AIHF_DEMO && a->loss == DEMO_DIFFERENCE;
    double *told = a->tells + 3 * part;
    const double loss =
        apart ? aihf_difference(&d[0], &d[1], &s[0], 1, &s[1], 1, a->beta, a->center, weight / n)
              : aihf_pairs(&d[0], &d[1], &s[0], &s[1], 1, a->center, weight / n);
    told[0] += loss / weight / a->n_update;
    told[1] += (s[0] > s[1] ? 1.0 : s[0] == s[1] ? 0.5 : 0) / n / a->n_update;
    told[2] += ((double)s[0] - s[1]) / n / a->n_update;
}

/* E226: one update on n_demo pairs with demonstrations, which stand first in the window, and on the rest. */
static bool reward_step(Aihf *a, int n_demo, Err *e) {
    Trainer *t = &a->reward.trainer;
    const Window *w = &a->reward.window;
    const real mean = (real)a->reward.info.reward_mean[0];      /* E45, of a model that had one */
    const int n = w->n_target / 2;
    int more;
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_scores(t, &x);
        for (int i = 0; i < x.batch.n_target / 2; i++) {
            const bool demo = x.first_target / 2 + i < n_demo;
            const real s[2] = {t->score[2 * i] + mean, t->score[2 * i + 1] + mean};
            demo_pair_loss(a, t->dscore + 2 * i, s, demo ? AIHF_DEMO : AIHF_PREFERENCE,
                           demo ? n_demo : n - n_demo);
        }
        slice_scores_backward(t, &x);
    }
    return more == 0 && trainer_update(t, e);
}

static bool update_reward(Aihf *a, int64_t round, int64_t update, const Language *language, Costs *c,
                          Err *e) {
    PairSet demos = {0};
    window_clear(&a->reward.window);
    bool ok = !a->demos.n || demo_pairs(&demos, a, round, update, language, e);
    for (int i = 0; ok && i < demos.n; i++) ok = lay_pair(a, &demos.row[i], c, e);
    for (int i = 0; ok && a->preferences.n && i < a->batch; i++)
        ok = lay_pair(a, &a->preferences.row[order_at(&a->preference_order, update * a->batch + i)], c, e);
    a->n_token += a->reward.window.n_row;
    ok = ok && reward_step(a, demos.n, e);
    pairs_free(&demos);
    return ok;
}

bool aihf_round(Aihf *a, int64_t round, const Learner *policy, const Sampling *sampling, Costs *c, Err *e) {
    a->n_token = 0;
    memset(a->tells, 0, sizeof a->tells);
    for (int k = 0; a->demos.n && k < a->n_update; k++)
        if (!answer_demos(a, round * a->n_update + k, policy, sampling, c, e)) return false;
    for (int k = 0; k < a->n_update; k++)
        if (!update_reward(a, round, round * a->n_update + k, &policy->language, c, e)) return false;
    a->tells[3 * AIHF_PARTS] = a->reward.trainer.grad_norm;
    a->tells[3 * AIHF_PARTS + 1] = a->reward.trainer.lr;
    return true;
}

/* ---- what is told ---- */

void aihf_log(JsonWriter *w, const Aihf *a) {
    static const char *const part[AIHF_PARTS] = {"demonstrations", "preferences"},
                                         *const of[3] = {"loss", "accuracy", "margin"};
    const bool there[AIHF_PARTS] = {a->demos.n > 0, a->preferences.n > 0};
    char key[64];
    for (int i = 0; i < 3 * AIHF_PARTS; i++) {
        if (!there[i / 3]) continue;
        snprintf(key, sizeof key, "reward_model/%s/%s", part[i / 3], of[i % 3]);
        json_put(w, key, a->tells[i]);
    }
    json_put(w, "reward_model/grad_norm", a->tells[3 * AIHF_PARTS]);
    json_put(w, "reward_model/learning_rate", a->tells[3 * AIHF_PARTS + 1]);
}

void aihf_planned(Texts *answered, Texts *taught, const Aihf *a, double length) {
    const double updates = (double)a->n_round * a->n_update, n = updates * a->batch;
    *answered = *taught = (Texts){0};
    if (a->demos.n) {
        const double prompt = a->lengths.prompt / a->demos.n;
        Texts one = {0}, pair = {0};
        texts_completion(&one, prompt, length);
        texts_add(answered, &a->lengths, n / a->demos.n);
        texts_add(answered, &one, n);
        const PairTokens like = {.n_prompt = (int)prompt, .n_w = (int)length, .n_l = (int)length};
        pair_reward_texts(&pair, &like, 0);
        texts_add(taught, &pair, a->loss == DEMO_PAIR ? n * (2 - 1.0 / a->n_round) : n);
    }
    for (int i = 0; i < a->preferences.n; i++) {
        Texts pair = {0};
        pair_reward_texts(&pair, &a->preferences.row[i], 0);
        texts_add(taught, &pair, n / a->preferences.n);
    }
}
