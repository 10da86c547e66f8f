/* ppo.c: `grpo ppo`: PPO with a critic: generations as `train` makes them, values, token
 * rewards, advantages, updates of policy and critic, the log. The mathematics is in baselines/ppo.c; with a
 * critic that is frozen (DVPO), in baselines/dvpo.c.
 *
 * The critic is a network of its own with one output, read at the row that predicts a token (E151; no bias).
 * A minibatch is whole groups: a prompt and its completions stay together (E31). The critic's trainer counts
 * the updates, since it takes part in all of them; that of the policy, where the critic has none. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/dvpo.h"
#include "baselines/ppo.h"
#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "run/critic.h"
#include "lib/files.h"
#include "text/fit.h"
#include "lib/rng.h"
#include "lib/machine.h"

typedef enum { CRITIC_TRAINED, CRITIC_FROZEN } CriticKind;
static const char *const critic_names[] = {"trained", "frozen", NULL};

typedef struct {
    StepConfig step;
    PpoConfig ppo;
    CriticKind critic;
    DvpoAdvantage advantage;
    const char *value_model, *ptx_dataset;
    double value_learning_rate;
    int critic_warmup_steps;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Proximal policy optimisation"),
    {"num_ppo_epochs", SET_INT, AT(ppo.num_ppo_epochs), "4", NULL,
     "passes over the completions of a generation"},
    {"num_mini_batches", SET_INT, AT(ppo.num_mini_batches), "1", NULL,
     "updates of a pass; each takes batch-size times accumulation-steps completions"},
    {"kl_coef", SET_NUMBER, AT(ppo.kl_coef), "0.05", NULL,
     "weight of the KL to the starting policy in the reward of every token"},
    {"kl_estimator", SET_CHOICE, AT(ppo.kl_estimator), "k1", kl_estimator_names,
     "how the KL of a token is estimated"},
    {"missing_eos_penalty", SET_NUMBER, AT(ppo.missing_eos_penalty), "none", NULL,
     "taken from the score of completions that did not end"},
    {"gamma", SET_NUMBER, AT(ppo.gamma), "1", NULL, "discount"},
    {"lam", SET_NUMBER, AT(ppo.lam), "0.95", NULL, "lambda of generalised advantage estimation"},
    {"whiten_rewards", SET_BOOL, AT(ppo.whiten_rewards), "false", NULL, "token rewards to deviation 1"},
    {"whiten_advantages", SET_BOOL, AT(ppo.whiten_advantages), "true", NULL,
     "advantages to mean 0 and deviation 1"},
    {"cliprange", SET_NUMBER, AT(ppo.cliprange), "0.2", NULL, "clip half-width of the ratio"},
    {"cliprange_value", SET_NUMBER, AT(ppo.cliprange_value), "0.2", NULL, "clip half-width of the value"},
    {"vf_coef", SET_NUMBER, AT(ppo.vf_coef), "0.1", NULL, "weight of the value loss"},
    {"critic", SET_CHOICE, AT(critic), "trained", critic_names,
     "frozen: nothing but the values of --value-model says how good a completion is; no scores (DVPO)"},
    {"advantage", SET_CHOICE, AT(advantage), "td", dvpo_advantage_names,
     "of a frozen critic: q, the value after the token, or td, by lambda what it is above that before"},
    {"value_model", SET_STRING, AT(value_model), NULL, NULL,
     "folder that the critic starts from; none: the first reward folder, else --model"},
    {"value_learning_rate", SET_NUMBER, AT(value_learning_rate), "none", NULL,
     "of the critic; none: learning-rate"},
    {"critic_warmup_steps", SET_INT, AT(critic_warmup_steps), "0", NULL,
     "generations in which the critic alone is trained, before the policy too"},
    {"score_norm", SET_CHOICE, AT(ppo.score_norm), "off", score_norm_names,
     "scores by their running moments"},
    {"score_clip", SET_NUMBER, AT(ppo.score_clip), "none", NULL, "then cut to -clip .. clip"},
    {"ptx_coef", SET_NUMBER, AT(ppo.ptx_coef), "0", NULL,
     "weight of the supervised loss on --ptx-dataset"},
    {"ptx_dataset", SET_STRING, AT(ptx_dataset), NULL, NULL, "JSONL of prompts with completions"},
    SETTINGS_END};
const OptionTable ppo_table = {
    "ppo",
    "PPO with a critic: the policy is improved on scores of its own completions, as `train` does without one",
    "grpo ppo --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final --output-dir "
    "runs/ppo --max-completion-length 64",
    .part = {{run_settings, AT(step.run)}, {adapter_settings, AT(step.run.adapter)},
             {scorer_settings, AT(step.scorer)}, {generation_settings, AT(step)},
             {grpo_group_settings, AT(step.grpo)}, {rows, 0}},
    .own = {{"learning_rate", "3e-6"}, {"num_train_epochs", "3"}, {"num_generations", "1"}}};

enum { PLAN_LENGTH = 32 };              /* tokens of completions that a plan is timed with */
/* means of a minibatch */
enum { PG_LOSS, PG_CLIP, APPROX_KL, ENTROPY, RATIO, VF_LOSS, VF_CLIP, N_STAT };

typedef struct {
    Training t; /* stands first; its trainer is the critic's, which takes part in all updates */
    const Config *c;
    StepConfig step_config;             /* the given one, as Step takes it */
    Step s;
    Critic critic;                      /* its trainer's partner is the policy's */
    PpoMoments moments;
    bool warned;
    real *score;                        /* [n_completion] s_i */
    real *kl, *reward, *values, *adv, *ret;     /* [n_token], flat places of s.gen; of a frozen critic
                                                   a completion has one value more, behind its others */
    real *mb_old, *mb_adv, *mb_value, *mb_ret;  /* [n_target] of the minibatch, in the window's order */
    int *order;                         /* [n_prompt] as they are dealt out to minibatches */
    int64_t generation;
    Texts valued; /* the critic's ledger: of its updates, or of what a frozen one read; s.trained: of the
                     policy's; ptx_read: */
    Texts ptx_read;
    /* of the generation: means over its completions, and means of its minibatches */
    double mean_kl, mean_entropy, mean_non_score, mean_score, stat[N_STAT], ratio_square;
    int n_stat[N_STAT];
    /* E155 */
    Dataset ptx;
    Order ptx_order;
    Window ptx_window;
    Ids ptx_ids;
    double ptx_loss;
} Ppo;

/* ---- the critic ---- */

static bool open_critic(Ppo *p, Err *e) {
    const Config *c = p->c;
    Step *s = &p->s;
    char dir[1024];
    Critic *v = &p->critic;
    const char *from = c->value_model           ? c->value_model
                       : c->step.scorer.folders ? c->step.scorer.folders
                                                : c->step.run.model;
    snprintf(dir, sizeof dir, "%.*s", c->value_model ? (int)strlen(from) : (int)strcspn(from, ","), from);
    v->frozen = c->critic == CRITIC_FROZEN;
    v->max_row = s->learner.rows;
    v->max_target = v->max_row + (v->frozen ? s->group : 0);            /* that of a last row beside */
    if (!critic_shape(v, dir, c->step.run.model, &s->learner.model->config, e)) return false;
    if (v->frozen && !v->info.value_model)
        fprintf(stderr,
                "ppo: --value-model %s: is no value model (grpo reward --loss-type value gives one): a "
                "regression is trained at its last row alone, and what it says before means little\n",
                dir);
    const double need = learner_bytes(&s->learner, &c->step.run, true) + critic_bytes(v);
    if (!memory_plan(c->step.run.plan ? NULL : "ppo, critic included", need, e) ||
        !critic_load(v, s->rewards.label, s->rewards.weight, s->rewards.n_label, (uint64_t)c->step.run.seed,
                     e))
        return false;
    v->model->tally = &p->t.cost.measured.net[NET_VALUE];
    if (v->frozen) return true;
    run_trainer(&v->trainer, &c->step.run, (int)s->learner.trainer.n_step);
    if (!isnan(c->value_learning_rate)) v->trainer.adamw.lr = c->value_learning_rate;
    v->trainer.partner = &s->learner.trainer;
    /* the policy's schedule begins when it does */
    const int64_t left = s->learner.trainer.n_step - (int64_t)c->critic_warmup_steps * p->t.unit;
    s->learner.trainer.n_step = left > 1 ? left : 1;
    return true;
}

/* ---- one generation: scores to advantages ---- */

/* v of E151 for every token, under the critic that the generation meets; under a frozen one, v_n too. */
static bool rollout_values(Ppo *p, Err *e) {
    Step *s = &p->s;
    const Critic *v = &p->critic;
    Window *w = &s->learner.window;
    w->last_row = v->frozen;
    const bool ok = step_window(s, NULL, s->gen.n_prompt, e) && critic_values(p->mb_value, v, w, e);
    w->last_row = false;
    for (int i = 0; ok && i < w->n_target; i++)
        p->values[s->micro.token_of[i] + (v->frozen ? s->micro.completion_of[i] : 0)] = p->mb_value[i];
    return ok;
}

/* All that a frozen critic read: a completion's last row too, and at the prompt's end once for each. */
static Texts read_states(const Step *s) {
    Texts t = {0};
    for (int i = 0; i < s->gen.n_completion; i++) {
        const double prompt = s->gen.prompt[i / s->group].n;
        if (i % s->group == 0) texts_reply_prompt(&t, prompt);
        texts_states(&t, prompt, s->gen.out.length[i]);
    }
    return t;
}

/* The value of the finished text stands where PPO has the score: in what is told, not in a token's reward. */
static void frozen_scores(Ppo *p) {
    Generation *g = &p->s.gen;
    const Texts read = read_states(&p->s);
    texts_add(&p->valued, &read, 1);
    for (int i = 0; i < g->n_completion; i++)
        p->score[i] = p->values[g->offset[i + 1] + (size_t)i];
    reward_moments(&g->stats.reward, NULL, p->score, (size_t)g->n_completion, 1, 1);
}

/* E142, E152, E153. An unscored completion gets the mean of the others: no news, good or bad. */
static bool ppo_scores(Ppo *p, Err *e) {
    const Generation *g = &p->s.gen;
    const PpoConfig *c = &p->c->ppo;
    const size_t n = (size_t)g->n_completion;
    double mean;
    const size_t there = reward_moments(&mean, NULL, g->reward, n, 1, 1);
    if (!there)
        return fail(e, "step %lld: no completion of the generation was scored; look at the source of scores",
                    (long long)p->t.trainer->step + 1);
    if (there < n && !p->warned)
        fprintf(stderr, "ppo: some completions were not scored; they count as the mean of the others\n");
    p->warned = p->warned || there < n;
    for (size_t i = 0; i < n; i++) p->score[i] = isnan(g->reward[i]) ? (real)mean : g->reward[i];
    ppo_missing_eos(p->score, g->ended, n, c->missing_eos_penalty);
    ppo_moments_add(&p->moments, p->score, n);
    ppo_normalise(p->score, p->score, n, &p->moments, c->score_norm, c->score_clip);
    return true;
}

/* E140 to E145 or, frozen, E243 and E245; and what is logged of them. */
static bool ppo_advantages(Ppo *p, Err *e) {
    const Generation *g = &p->s.gen;
    const PpoConfig *c = &p->c->ppo;
    const size_t n = (size_t)g->n_completion, n_token = g->offset[n];
    const bool frozen = p->critic.frozen;
    if (frozen) memset(p->score, 0, n * sizeof(real));
    if ((!frozen && !ppo_scores(p, e)) || !rollout_values(p, e)) return false;
    ppo_token_rewards(p->reward, p->kl, g->old, g->ref, p->score, g->offset, n, c);
    if (frozen) frozen_scores(p);
    double kl = 0, entropy = 0, score = 0;
    for (size_t t = 0; t < n_token; t++) kl += p->kl[t], entropy -= g->old[t];
    for (size_t i = 0; i < n; i++) score += p->score[i];
    p->mean_kl = kl / (double)n, p->mean_entropy = entropy / (double)n,
    p->mean_non_score = -c->kl_coef * kl / (double)n, p->mean_score = score / (double)n;
    if (c->whiten_rewards) ppo_whiten(p->reward, n_token, true);
    if (frozen)
        dvpo_advantages(p->adv, p->reward, p->values, g->offset, n, p->c->advantage, c->gamma, c->lam);
    else ppo_gae(p->adv, p->ret, p->reward, p->values, g->offset, n, c->gamma, c->lam);
    if (c->whiten_advantages) ppo_whiten(p->adv, n_token, false);
    return true;
}

/* ---- one minibatch ---- */

/* E146 to E148 of the window's slices, for the policy; *entropy: the sum. */
static bool policy_slices(PpoPolicySums *sums, double *entropy, Ppo *p, Err *e) {
    Trainer *t = &p->s.learner.trainer;
    const Window *w = &p->s.learner.window;
    const double temperature = p->s.c->sampling.temperature;
    Slice x = trainer_slices(t);
    int more;
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_forward(t, &x, temperature);
        for (int i = 0; i < x.batch.n_target; i++) *entropy += t->entropy[i];
        ppo_policy_loss(sums, t->dlogp, t->logp, p->mb_old + x.first_target, p->mb_adv + x.first_target,
                        (size_t)x.batch.n_target, w->n_target, p->c->ppo.cliprange);
        slice_backward(t, &x, temperature, false);
    }
    return more == 0;
}

/* E149, E150, for the critic. */
static bool value_slices(PpoValueSums *sums, Ppo *p, Err *e) {
    Trainer *t = &p->critic.trainer;
    const Window *w = &p->s.learner.window;
    Slice x = trainer_slices(t);
    int more;
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_scores(t, &x);
        ppo_value_loss(sums, t->dscore, t->score, p->mb_value + x.first_target, p->mb_ret + x.first_target,
                       (size_t)x.batch.n_target, w->n_target, p->c->ppo.cliprange_value, p->c->ppo.vf_coef);
        slice_scores_backward(t, &x);
    }
    return more == 0;
}

/* E155: the supervised loss of the pretraining window. */
static bool pretraining_slices(Ppo *p, Err *e) {
    Trainer *t = &p->s.learner.trainer;
    const double tokens = p->ptx_window.n_target;
    Slice x = trainer_slices(t);
    int more;
    p->ptx_loss = 0;
    while ((more = slice_next(&x, &p->ptx_window, &t->model->config, e)) > 0) {
        slice_forward(t, &x, 1);
        for (int i = 0; i < x.batch.n_target; i++) {
            p->ptx_loss -= t->logp[i] / tokens;
            t->dlogp[i] = (real)(-p->c->ppo.ptx_coef / tokens);
        }
        slice_backward(t, &x, 1, false);
    }
    return more == 0;
}

/* An example of --ptx-dataset in p->ptx_ids, cut where a slice or the context ends: its tokens, or -1. */
static int ptx_encode(Ppo *p, int *n_prompt, const Example *x, Err *e) {
    const Learner *l = &p->s.learner;
    const int limit = l->rows < l->shape.context ? l->rows : l->shape.context;
    Ids *ids = &p->ptx_ids;
    ids->n = 0;
    if (!encode_example(ids, n_prompt, &l->language, x, e) || !fit_ids(ids, &l->language, x, e)) return -1;
    const int length = ids->n < limit ? ids->n : limit;
    if (*n_prompt < length) return length;
    fail(e,
         "%s:%d: the prompt alone has %d tokens, expected fewer than %d; raise --slice-rows, or leave it out",
         x->path, x->line, *n_prompt, limit);
    return -1;
}

/* Before the first step. */
static bool ptx_check(Ppo *p, Err *e) {
    int n_prompt;
    for (int i = 0; i < p->ptx.n; i++)
        if (ptx_encode(p, &n_prompt, &p->ptx.row[i], e) < 0) return false;
    return true;
}

/* E155: as many examples as the minibatch has completions. */
static bool pretraining_text(Ppo *p, Err *e) {
    Step *s = &p->s;
    const int n = s->batch * s->accumulate;
    int64_t at = s->learner.trainer.step * n;
    window_clear(&p->ptx_window);
    for (int i = 0; i < n; i++) {
        int n_prompt;
        const int length = ptx_encode(p, &n_prompt, &p->ptx.row[order_at(&p->ptx_order, at++)], e);
        if (length < 0 || !window_sequence(&p->ptx_window, p->ptx_ids.id, length, n_prompt, e)) return false;
        texts_sequence(&p->ptx_read, n_prompt, length - n_prompt, length - n_prompt);
    }
    p->t.cost.measured.prompt += p->ptx_window.n_row - p->ptx_window.n_target;
    p->t.cost.measured.completion += p->ptx_window.n_target;
    return pretraining_slices(p, e);
}

static void stat_add(Ppo *p, int k, double x) { p->stat[k] += x, p->n_stat[k]++; }
static double stat_mean(const Ppo *p, int k) { return p->n_stat[k] ? p->stat[k] / p->n_stat[k] : NAN; }

/* E146 to E150: one update of the critic and, after its warm-up, of the policy. */
static bool minibatch(Ppo *p, const int *prompt, int n_prompt, bool warm, Err *e) {
    Step *s = &p->s;
    const Generation *g = &s->gen;
    PpoPolicySums a = {0};
    PpoValueSums v = {0};
    double entropy = 0;
    if (!step_window(s, prompt, n_prompt, e)) return false;
    const int n = s->learner.window.n_target;
    const bool learns = !p->critic.frozen;
    for (int i = 0; i < n; i++) {
        const int t = s->micro.token_of[i];
        p->mb_old[i] = g->old[t], p->mb_adv[i] = p->adv[t];
        if (learns) p->mb_value[i] = p->values[t], p->mb_ret[i] = p->ret[t];
    }
    if (learns && !value_slices(&v, p, e)) return false;
    for (int i = 0; i < n_prompt; i++) {
        const Texts one = step_texts(s, prompt[i] * s->group, s->group);
        if (learns) texts_add(&p->valued, &one, 1);
        if (warm) texts_add(&s->trained, &one, 1);
    }
    if (warm && (!policy_slices(&a, &entropy, p, e) || (p->ptx.n && !pretraining_text(p, e)))) return false;
    if (!isfinite(a.loss + v.loss))
        return fail(e,
                    "step %lld: policy loss %g, value loss %g: the step is not applied; lower "
                    "--learning-rate or look at "
                    "the scores of this step",
                    (long long)p->t.trainer->step + 1, a.loss / n, v.loss / n);
    if (learns) stat_add(p, VF_LOSS, v.loss / n), stat_add(p, VF_CLIP, v.clipped / n);
    if (warm) {
        stat_add(p, PG_LOSS, a.loss / n), stat_add(p, PG_CLIP, a.clipped / n),
            stat_add(p, APPROX_KL, a.approxkl / n);
        stat_add(p, ENTROPY, entropy / n), stat_add(p, RATIO, a.ratio / n);
        p->ratio_square += (a.ratio / n - 1) * (a.ratio / n - 1);
        if (!trainer_update(&s->learner.trainer, e)) return false;
    }
    return !learns || trainer_update(&p->critic.trainer, e);
}

static int by_index(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* All epochs: in each, the prompts are dealt out to minibatches anew; within one they keep their order. */
static bool minibatches(Ppo *p, int64_t generation, Err *e) {
    const int n = p->s.gen.n_prompt, m = p->c->ppo.num_mini_batches, epochs = p->c->ppo.num_ppo_epochs,
              size = n / m;
    const bool warm = generation >= p->c->critic_warmup_steps;
    const Trainer *t = p->t.trainer;
    memset(p->stat, 0, sizeof p->stat);
    memset(p->n_stat, 0, sizeof p->n_stat);
    p->ratio_square = 0;
    for (int epoch = 0; epoch < epochs; epoch++) {
        rng_permutation(p->order, n, (uint64_t)p->c->step.run.seed, RNG_MINIBATCH,
                        (uint64_t)generation * (uint64_t)epochs + (uint64_t)epoch);
        for (int k = 0; k < m && t->step < t->n_step; k++) {
            qsort(p->order + k * size, (size_t)size, sizeof(int), by_index);
            if (!minibatch(p, p->order + k * size, size, warm, e)) return false;
        }
    }
    return true;
}

/* ---- the run ---- */

/* TRL 1.10's names; its means over tokens take in padding, ours do not. */
static void ppo_log(JsonWriter *w, void *self) {
    Ppo *p = self;
    Step *s = &p->s;
    const Generation *g = &s->gen;
    const bool policy = p->n_stat[RATIO] > 0, critic = p->n_stat[VF_LOSS] > 0;
    const int n_ratio = p->n_stat[RATIO];
    double ended = 0;
    for (int i = 0; i < g->n_completion; i++) ended += g->ended[i];
    const double off = stat_mean(p, RATIO) - 1;
    json_put_int(w, "episode", p->generation * g->n_completion);
    json_put(w, "loss", (policy ? stat_mean(p, PG_LOSS) : 0) +
                         (critic ? p->c->ppo.vf_coef * stat_mean(p, VF_LOSS) : 0));
    json_put(w, "grad_norm", policy ? s->learner.trainer.grad_norm : NAN);
    json_put(w, "value_grad_norm", critic ? p->critic.trainer.grad_norm : NAN);
    json_put(w, "learning_rate", policy ? s->learner.trainer.lr : 0);
    json_put_int(w, "num_tokens", (long long)p->t.tokens);
    json_put(w, "epoch", (double)p->generation * g->n_prompt / s->prompts.train.n);
    step_log_generation(w, s);
    json_put(w, "objective/kl", p->mean_kl);
    json_put(w, "objective/entropy", p->mean_entropy);
    json_put(w, "objective/non_score_reward", p->mean_non_score);
    json_put(w, "objective/rlhf_reward", p->mean_non_score + p->mean_score);
    json_put(w, "objective/scores", p->mean_score);
    json_put(w, "policy/approxkl_avg", stat_mean(p, APPROX_KL));
    json_put(w, "policy/clipfrac_avg", stat_mean(p, PG_CLIP));
    json_put(w, "policy/entropy_avg", stat_mean(p, ENTROPY));
    json_put(w, "loss/policy_avg", stat_mean(p, PG_LOSS));
    json_put(w, "loss/value_avg", stat_mean(p, VF_LOSS));
    json_put(w, "val/clipfrac_avg", stat_mean(p, VF_CLIP));
    json_put(w, "val/ratio", stat_mean(p, RATIO));
    json_put(w, "val/ratio_var",
             n_ratio > 1 ? (p->ratio_square - n_ratio * off * off) / (n_ratio - 1) : NAN);
    json_put(w, "val/num_eos_tokens", ended);
    if (p->ptx.n && policy) json_put(w, "loss/ptx", p->ptx_loss);
}

/* A generation and all its updates. */
static bool ppo_update(void *self, Err *e) {
    Ppo *p = self;
    const double before = p->s.tokens;
    if (!step_generation(&p->s, p->generation, e) || !ppo_advantages(p, e) ||
        !minibatches(p, p->generation, e))
        return false;
    p->generation++;
    p->t.tokens += p->s.tokens - before;
    return true;
}

static void ppo_detail(char text[128], void *self) {
    const Ppo *p = self;
    const int n = snprintf(text, 128, "%s %.4f  kl %.4f", p->critic.frozen ? "value" : "reward",
                           p->s.gen.stats.reward, p->mean_kl);
    if (!p->critic.frozen) snprintf(text + n, 128 - (size_t)n, "  value loss %.4f", stat_mean(p, VF_LOSS));
}

static Networks ppo_networks(const Ppo *p) {
    Networks net = step_networks(&p->s);
    net.value = p->critic.shape;
    return net;
}

static void ppo_cost(Cost *c, const Ppo *p, const Networks *net, const Texts *drawn, const Texts *trained,
                     const Texts *valued) {
    (p->critic.frozen ? cost_dvpo : cost_ppo)(c, net, drawn, trained, valued);
}

static bool ppo_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    const Ppo *p = self;
    (void)n_step, (void)e;              /* the ledgers have the lengths */
    const Networks net = ppo_networks(p);
    ppo_cost(c, p, &net, &p->s.drawn, &p->s.trained, &p->valued);
    if (p->ptx.n) cost_sft(c, &net, &p->ptx_read);
    return true;
}

static bool ppo_memory(Ppo *p, Err *e) {
    const Generation *g = &p->s.gen;
    const size_t n = (size_t)g->n_completion, n_value = n * ((size_t)g->max_new + 1);
    real **const list[] = {&p->kl,     &p->reward, &p->values,   &p->adv,   &p->ret,
                           &p->mb_old, &p->mb_adv, &p->mb_value, &p->mb_ret};
    Arena a = {0};
    do {                                /* once to count, once to point */
        if (a.used && !(a.base = memory_new(a.used, "values of tokens", e))) return false;
        a.used = 0;
        p->score = arena_take(&a, n, sizeof(real));
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            *list[i] = arena_take(&a, n_value, sizeof(real));
        p->order = arena_take(&a, (size_t)g->n_prompt, sizeof(int));
    } while (!a.base);
    return true;
}

/* Options that are of a critic that learns, or of a frozen one, alone. */
static bool critic_check(const Config *c, Err *e) {
    const ScorerOptions *o = &c->step.scorer;
    PpoConfig d;
    ppo_config_default(&d);
    const struct { bool given; const char *name; } idle[] = {
        {c->critic_warmup_steps != 0, "critic-warmup-steps"},
        {c->ppo.vf_coef != d.vf_coef, "vf-coef"},
        {c->ppo.cliprange_value != d.cliprange_value, "cliprange-value"},
        {!isnan(c->value_learning_rate), "value-learning-rate"},
        {o->folders != NULL, "reward-model"},
        {o->program != NULL, "reward-cmd"},
        {o->weights != NULL, "reward-weights"},
        {c->step.reward_clip != NULL, "reward-clip"},
        {c->ppo.score_norm != d.score_norm, "score-norm"},
        {!isnan(c->ppo.score_clip), "score-clip"},
        {!isnan(c->ppo.missing_eos_penalty), "missing-eos-penalty"},
        {c->ppo.whiten_rewards, "whiten-rewards"},
        {c->step.eval_split != 0, "eval-split"},
        {c->step.eval_dataset != NULL, "eval-dataset"}};
    if (c->critic == CRITIC_TRAINED)
        return c->advantage == ADVANTAGE_TD ||
               fail(e, "--advantage q: is of --critic frozen; a critic that learns gives td");
    if (!c->value_model)
        return fail(e, "--critic frozen: needs --value-model, a folder of `grpo reward --loss-type value`");
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (idle[i].given)
            return fail(e, "--%s: has no effect with --critic frozen, which learns no values and asks nobody "
                           "for scores; leave it out", idle[i].name);
    return true;
}

static bool ppo_check(Ppo *p, Err *e) {
    const Config *c = p->c;
    StepConfig *s = &p->step_config;
    if (!ppo_config_check(&c->ppo, e)) return false;
    if (c->critic_warmup_steps < 0)
        return fail(e, "--critic-warmup-steps: found %d, expected at least 0", c->critic_warmup_steps);
    if (!isnan(c->value_learning_rate) && !(c->value_learning_rate >= 0))
        return fail(e, "--value-learning-rate: found %g, expected at least 0, or none",
                    c->value_learning_rate);
    if ((c->ppo.ptx_coef > 0) != (c->ptx_dataset != NULL))
        return fail(e, "--ptx-coef and --ptx-dataset: expected both or neither");
    if (!critic_check(c, e)) return false;
    *s = c->step;
    s->critic = true;
    s->unscored = c->critic == CRITIC_FROZEN;
    s->steps_per_generation = c->step.run.gradient_accumulation_steps * c->ppo.num_mini_batches;
    s->grpo.num_iterations = c->ppo.num_ppo_epochs;
    p->t.unit = c->ppo.num_ppo_epochs * c->ppo.num_mini_batches;
    if (c->step.run.plan && s->grpo.max_completion_length > PLAN_LENGTH)
        s->grpo.max_completion_length = PLAN_LENGTH;
    const int size = c->step.run.per_device_train_batch_size * c->step.run.gradient_accumulation_steps;
    if (s->grpo.num_generations >= 1 && size % s->grpo.num_generations)
        return fail(e,
                    "--num-generations %d does not divide the %d completions of a minibatch "
                    "(per-device-train-batch-size "
                    "times gradient-accumulation-steps): a prompt's completions stay together",
                    s->grpo.num_generations, size);
    return true;
}

static bool ppo_open(void *self, Err *e) {
    Ppo *p = self;
    const Config *c = p->c = p->t.config;
    const RunOptions *o = &c->step.run;
    if (!ppo_check(p, e)) return false;
    if (c->ptx_dataset && !dataset_load(&p->ptx, c->ptx_dataset, NEED_COMPLETION, o->system, e)) return false;
    if (!order_new(&p->ptx_order, p->ptx.n, (uint64_t)o->seed, e) ||
        !step_open(&p->s, &p->step_config, &p->t.cost, e) || !ptx_check(p, e) || !open_critic(p, e) ||
        !ppo_memory(p, e))
        return false;
    ppo_moments_start(&p->moments);
    Trainer *t = p->t.trainer = p->critic.frozen ? &p->s.learner.trainer : &p->critic.trainer;
    step_keep(&p->s, t);
    texts_keep(t, "valued", &p->valued);
    texts_keep(t, "ptx", &p->ptx_read);
    trainer_keep(t, "score_mean", &p->moments.mean, 1);
    trainer_keep(t, "score_var", &p->moments.var, 1);
    trainer_keep(t, "score_n", &p->moments.n, 1);
    return true;
}

static void ppo_hold(void *self) {
    Ppo *p = self;
    learner_hold(&p->t.cost, &p->s.learner);
    critic_hold(&p->t.cost, &p->critic);
    p->generation = p->t.trainer->step / p->t.unit;
}

/* Numbers that the run's updates change, those of both networks, counted each time. */
static double ppo_updated(const Ppo *p) {
    const double n_step = (double)p->t.trainer->n_step,
                 cold = fmin(n_step, (double)p->c->critic_warmup_steps * p->t.unit),
                 value = p->critic.frozen ? 0 : (double)model_trainable(&p->critic.model->config);
    return (n_step - cold) * (double)model_trainable(&p->s.learner.shape) + n_step * value;
}

/* A generation to warm up and a timed one, with short completions; the time of full ones is to theirs as the
 * operations are. Where that would take long, parts of it are timed (step_seconds). */
static bool ppo_plan(RunPlan *to, void *self, Err *e) {
    Ppo *p = self;
    const Config *c = p->t.config;
    Step *s = &p->s;
    const int full = c->step.grpo.max_completion_length;
    const double length = to->mean_length > 0 ? to->mean_length : full;
    double seconds = 0, operations = 0;
    if (!ppo_open(self, e)) return false;
    ppo_hold(self);
    const bool dear = step_dear(s);
    for (int i = 0; i < 2 && !dear; i++) {
        const double start = clock_seconds(), before = cost_flops(&p->t.cost.measured);
        p->t.trainer->step = 0;
        p->generation = c->critic_warmup_steps;
        if (!ppo_update(self, e)) return false;
        seconds = clock_seconds() - start, operations = cost_flops(&p->t.cost.measured) - before;
    }
    const double n_step = (double)p->t.trainer->n_step, generations = ceil(n_step / p->t.unit);
    const double passes = n_step / c->ppo.num_mini_batches,
                 cold = fmin(passes, (double)c->critic_warmup_steps * c->ppo.num_ppo_epochs);
    const Texts one = step_planned_drawn(s, length);
    const bool frozen = p->critic.frozen;
    Texts drawn = {0}, trained = {0}, valued = {0};
    texts_add(&drawn, &one, generations), texts_add(&trained, &one, passes - cold);
    if (frozen) valued = step_planned_states(s, length, generations);
    else texts_add(&valued, &one, passes);
    const double tree = s->prompts.longest + (double)s->group * full;
    const int rows = c->step.run.slice_rows > (int)tree ? c->step.run.slice_rows : (int)tree;
    Networks net = ppo_networks(p);
    net.logits_anew = !acts_keep_logits(&net.policy, rows);
    StepConfig config = p->step_config;
    config.grpo.max_completion_length = full;
    s->c = &config;
    to->n_step = (int)n_step;
    to->length = length;
    to->how = dear ? STEP_PARTS "; without checkpoints and --ptx-dataset"
                   : "a generation of short completions was timed on this machine, the rest is counted "
                     "(E194); without checkpoints and --ptx-dataset";
    ppo_cost(&to->cost, p, &net, &drawn, &trained, &valued);
    const bool ok =
        step_planned_rest(&to->cost, s, length, generations, e) &&
        (!dear || step_seconds(&seconds, &to->cost, s, length, generations, ppo_updated(p), e));
    s->c = &p->step_config;
    to->cost.memory[MEM_CRITIC] = critic_planned(&p->critic, rows, rows + (frozen ? s->group : 0));
    to->memory =
        cost_memory(&to->cost) +
        (double)(acts_thread_bytes(&net.policy, rows, true) + acts_thread_bytes(&net.value, rows, !frozen)) +
        PROGRAM_BYTES;
    to->step_seconds = (dear ? seconds : seconds / operations * cost_flops(&to->cost)) / n_step;
    return ok;
}

static bool ppo_finish(JsonWriter *w, void *self, Err *e) {
    Ppo *p = self;
    char path[600];
    FolderInfo info = {.label = {"value"}};
    return (p->critic.frozen ||
            (path_join(path, sizeof path, p->t.o->output_dir, "value", e) &&
             folder_save(path, p->critic.model, &info, p->t.o->model, run_store(p->t.o), e))) &&
           step_finish(w, &p->t, &p->s, e);
}

static void ppo_close(void *self) {
    Ppo *p = self;
    memory_free(p->score);              /* and all that lies behind it */
    window_free(&p->ptx_window);
    free(p->ptx_ids.id);
    free(p->ptx_order.order);
    critic_close(&p->critic);
    step_close(&p->s);
}

static void ppo_defaults(void *config) {
    grpo_config_default(&((Config *)config)->step.grpo);
    ppo_config_default(&((Config *)config)->ppo);
}

static const Method method = {
    .table = &ppo_table, .config_size = sizeof(Config), .run_at = AT(step.run), .state_size = sizeof(Ppo),
    .defaults = ppo_defaults, .open = ppo_open, .hold = ppo_hold, .update = ppo_update, .log = ppo_log,
    .detail = ppo_detail, .predict = ppo_predict, .plan = ppo_plan, .finish = ppo_finish, .close = ppo_close};

int plan_ppo(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_ppo(int argc, char **argv, Err *e) { return plan_ppo(NULL, argc, argv, e); }
