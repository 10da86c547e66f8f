/* em.c: `grpo em`: reward models for users who disagree (MaxMin-RLHF): options, the loop, the folders. The
 * rounds are in run/em.c, the mathematics in baselines/maxmin.c and E56. */
#include "run/em.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "lib/files.h"
#include "run/loop.h"
#include "text/fit.h"
#include "text/overlap.h"

typedef struct {
    RunOptions run;
    const char *user_column;
    int num_groups, rounds, max_length;
    double center_rewards_coefficient, eval_split;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Users and groups"),
    {"num_groups", SET_INT, AT(num_groups), "2", NULL, "reward models, 2 to 8; each user belongs to one"},
    {"user_column", SET_STRING, AT(user_column), "user", NULL, "column that names each pair's user"},
    {"rounds", SET_INT, AT(rounds), "10", NULL,
     "at most; it ends when nobody moves. A round is --num-train-epochs passes over the pairs, or "
     "--max-steps "
     "updates"},
    {"center_rewards_coefficient", SET_NUMBER, AT(center_rewards_coefficient), "0", NULL,
     "weight of the squared sum of a pair's scores, which keeps them around 0"},
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer replies are cut at the end"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL,
     "this share of the pairs is held out, for a table of each group's own at the end"},
    SETTINGS_END};
const OptionTable em_table = {
    "em", "reward models for groups of users who disagree, and who belongs to which (MaxMin)",
    "grpo em --model runs/sft/final --dataset preferences.jsonl --num-groups 2 --output-dir runs/em",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-4"}, {"num_train_epochs", "1"}, {"lr_scheduler_type", "constant"}}};

typedef struct {
    Training t;                         /* stands first */
    const Config *c;
    Em em;
    int64_t round;                      /* updates of a round */
} MaxMin;

static bool em_data(MaxMin *s, Err *e) {
    const Config *c = s->c;
    const RunOptions *o = s->t.o;
    Em *m = &s->em;
    const Learner *l = &m->l[0];
    const int max_length = c->max_length < l->shape.context ? c->max_length : l->shape.context;
    Dataset data, held = {0};
    int cut = 0;
    if (!dataset_load(&data, o->dataset, NEED_PAIR, o->system, e) ||
        (o->drop_long && !fit_drop_long(&data, &l->language, max_length - 1, "em", e)) ||
        (c->eval_split != 0 && !dataset_hold_out(&data, &held, c->eval_split, (uint64_t)o->seed, e)) ||
        !pairs_encode(&m->pairs, &data, &l->language, max_length, &cut, e) ||
        (held.n && !pairs_encode(&m->held, &held, &l->language, max_length, &cut, e)) ||
        !em_users(m, c->user_column, &data, &held, e))
        return false;
    if (!o->plan) overlap_tell("em", &data, &held);
    if (cut)
        fprintf(stderr, "em: of %d pairs %d were longer than %d tokens and cut\n", data.n + held.n, cut,
                max_length);
    return true;
}

static bool em_check(const Config *c, Err *e) {
    if (c->num_groups < 2 || c->num_groups > MAXMIN_MODELS)
        return fail(e, "--num-groups: found %d, expected 2 to %d", c->num_groups, MAXMIN_MODELS);
    if (c->rounds < 1) return fail(e, "--rounds: found %d, expected at least 1", c->rounds);
    return pair_reward_center_check(c->center_rewards_coefficient, e);
}

static bool em_open(void *self, Err *e) {
    MaxMin *s = self;
    const Config *c = s->c = s->t.config;
    const RunOptions *o = s->t.o;
    Em *m = &s->em;
    if (!em_check(c, e)) return false;
    m->n_model = c->num_groups, m->center = c->center_rewards_coefficient;
    m->batch = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    s->t.batch = m->batch * m->n_model;
    for (int u = 0; u < m->n_model; u++)
        if (!learner_shape(&m->l[u], o, false, e)) return false;
    if (!em_data(s, e)) return false;
    const int train = pairs_longest(&m->pairs), other = pairs_longest(&m->held),
              longest = train > other ? train : other;
    for (int u = 0; u < m->n_model; u++) {
        m->l[u].rows = o->slice_rows > longest ? o->slice_rows : longest;
        m->l[u].shape.n_label = 1;
        if (!order_new(&m->order[u], m->pairs.n, (uint64_t)o->seed, e)) return false;
    }
    if (!run_memory(o, "em", m->n_model * learner_bytes(&m->l[0], o, false), e) || !em_new(m, e))
        return false;
    s->round = run_steps(o, (double)m->pairs.n / s->t.batch);
    for (int u = 0; u < m->n_model; u++) {
        if (!learner_load(&m->l[u], o, false, e)) return false;
        run_trainer(&m->l[u].trainer, o, (int)(s->round * c->rounds));
        m->l[u].model->tally = &s->t.cost.measured.net[NET_REWARD];
    }
    em_keep(m, &m->l[0].trainer);
    em_regroup(m);
    if (!order_new(&s->t.order, m->pairs.n, (uint64_t)o->seed, e)) return false;
    s->t.texts_of = pair_reward_texts, s->t.texts = m->pairs.row;
    s->t.trainer = &m->l[0].trainer;
    return true;
}

/* It is called when a checkpoint has been read, too: then users are where they were, and all may be over. */
static void em_hold(void *self) {
    MaxMin *s = self;
    Cost one = {.prompt = 0}, held = {.prompt = 0};
    const int n = s->em.n_model;
    cost_trainer(&one, &s->em.l[0].shape, s->em.l[0].rows, s->em.l[0].rows);
    cost_trainer_held(&held, &s->em.l[0].trainer);
    for (int k = 0; k < N_MEM; k++) {
        cost_memory_most(&s->t.cost.predicted, (MemoryKind)k, n * one.memory[k]);
        cost_memory_most(&s->t.cost.measured, (MemoryKind)k, n * held.memory[k]);
    }
    em_regroup(&s->em);
    if (s->em.n_moved == 0) s->t.trainer->n_step = s->t.trainer->step;
}

static bool em_step(void *self, Err *e) {
    MaxMin *s = self;
    Em *m = &s->em;
    double loss = 0;
    m->n_token = 0;
    if (!em_update(m, &s->t.cost, e)) return false;
    s->t.tokens += m->n_token;
    for (int u = 0; u < m->n_model; u++) loss += m->now[u].loss / m->n_model;
    training_smooth(&s->t, loss);
    if (s->t.trainer->step % s->round) return true;
    if (!em_expect(m, e)) return false;
    if (m->n_moved == 0) s->t.trainer->n_step = s->t.trainer->step;
    return true;
}

static void em_line(JsonWriter *w, void *self) {
    const MaxMin *s = self;
    em_log(w, &s->em);
    json_put(w, "learning_rate", s->t.trainer->lr);
    json_put_int(w, "num_tokens", (long long)s->t.tokens);
}

static void em_detail(char text[128], void *self) {
    const MaxMin *s = self;
    snprintf(text, 128, "round %g  loss %.4f", s->em.n_round + 1, s->t.smooth);
}

/* A plan knows no groups: every model reads like the mean of all pairs, and every round is made. */
static bool em_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    MaxMin *s = self;
    const Em *m = &s->em;
    const bool plan = s->t.o->plan;
    const Texts all = order_texts(&s->t.order, 0, m->pairs.n, pair_reward_texts, m->pairs.row),
                planned = order_texts(&s->t.order, 0, n_step * s->t.batch, pair_reward_texts, m->pairs.row);
    Texts read = {0};
    (void)e;
    texts_add(&read, &all, m->n_model * (plan ? (double)(n_step / s->round) : m->n_round));
    cost_reward(c, &m->l[0].shape, plan ? &planned : &m->trained);
    cost_read(c, NET_REWARD, &m->l[0].shape, &read);
    return true;
}

/* The table of held-out pairs: eval.json, and on stdout or as a member of *w. */
static bool em_table_held(JsonWriter *w, MaxMin *s, Err *e) {
    char key[24];
    JsonWriter j = {0};
    json_begin(&j, '{');
    if (!s->t.o->json) pair_reward_head();
    for (int u = 0; u < s->em.n_model; u++) {
        PairReward r;
        int n;
        if (!em_held(&r, &n, &s->em, u, e)) { free(j.text); return false; }
        snprintf(key, sizeof key, "group_%d", u);
        json_open(&j, key, '{');
        pair_reward_row(&j, key, n, &r, !s->t.o->json);
        json_end(&j, '}');
    }
    return training_held(w, &s->t, &j, e);
}

static bool em_finish(JsonWriter *w, void *self, Err *e) {
    MaxMin *s = self;
    const RunOptions *o = s->t.o;
    Em *m = &s->em;
    char dir[600], hex[65], told[128];
    if (!path_join(dir, sizeof dir, o->output_dir, "users.json", e) || !em_write_users(m, dir, e) ||
        (m->held.n && !em_table_held(w, s, e)) || !em_scale(m, e))
        return false;
    json_put_int(w, "steps", s->t.trainer->step);
    json_put(w, "rounds", m->n_round);
    json_put(w, "moved", m->n_moved);
    json_open(w, "final", '[');
    for (int u = 0; u < m->n_model; u++) {
        const int n = snprintf(dir, sizeof dir, "%s/%d/final", o->output_dir, u);
        if (n >= (int)sizeof dir) return fail(e, "%s: the path is too long", o->output_dir);
        if (!learner_save(&m->l[u], o, dir, e)) return false;
        folder_digest(m->l[u].model, hex);
        json_string(w, dir);
        if (!o->json) {
            int users = 0;
            for (int k = 0; k < m->n_user; k++) users += m->member[k] == u;
            snprintf(told, sizeof told, "%d of %d users", users, m->n_user);
            printf("%s: %lld steps, %s, weights %.16s\n", dir, (long long)s->t.trainer->step, told, hex);
        }
    }
    json_end(w, ']');
    if (m->n_moved != 0)
        fprintf(stderr, "em: %g users moved in the last round; more --rounds would let them settle\n",
                m->n_moved);
    return true;
}

static void em_close(void *self) { em_free(&((MaxMin *)self)->em); }

static const Method method = {.table = &em_table, .config_size = sizeof(Config), .run_at = AT(run),
                              .state_size = sizeof(MaxMin), .open = em_open, .hold = em_hold,
                              .update = em_step, .log = em_line, .detail = em_detail,
                              .predict = em_predict, .finish = em_finish, .close = em_close};

int plan_em(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_em(int argc, char **argv, Err *e) { return plan_em(NULL, argc, argv, e); }
