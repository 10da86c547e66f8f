/* ppo.c: `grpo ppo`: PPO with a critic: generations as `train` makes them, values, token
 * rewards, advantages, updates of policy and critic, the log. The mathematics is in baselines/ppo.c.
 *
 * The critic is a network of its own with one output, read at the row that predicts a token (E151; no bias).
 * A minibatch is whole groups: a prompt and its completions stay together (E31). The critic's trainer counts
 * the updates, since it takes part in all of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/ppo.h"
#include "cmd/commands.h"
#include "step.h"
#include "lib/files.h"
#include "lib/rng.h"
#include "lib/say.h"
#include "lib/machine.h"

typedef struct {
    StepConfig step;                    /* stands first: GENERATION_OPTIONS */
    PpoConfig ppo;
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
    {"value_model", SET_STRING, AT(value_model), NULL, NULL,
     "folder that the critic starts from; none: the first reward folder, else --model"},
    {"value_learning_rate", SET_NUMBER, AT(value_learning_rate), "none", NULL,
     "of the critic; none: learning-rate"},
    {"critic_warmup_steps", SET_INT, AT(critic_warmup_steps), "0", NULL,
     "generations in which the critic alone is trained (E154)"},
    {"score_norm", SET_CHOICE, AT(ppo.score_norm), "off", score_norm_names,
     "scores by their running moments (E153)"},
    {"score_clip", SET_NUMBER, AT(ppo.score_clip), "none", NULL, "then cut to -clip .. clip"},
    {"ptx_coef", SET_NUMBER, AT(ppo.ptx_coef), "0", NULL,
     "weight of the supervised loss on --ptx-dataset "},
    {"ptx_dataset", SET_STRING, AT(ptx_dataset), NULL, NULL, "JSONL of prompts with completions"},
    SETTINGS_END};
const OptionTable ppo_table = {"ppo",
                               "PPO with a critic: the policy is improved on scores of its own completions, "
                               "as `train` does without one",
                               "grpo ppo --model runs/sft/final --dataset prompts.jsonl --reward-model "
                               "runs/reward/final --output-dir runs/ppo --max-completion-length 64",
    .part = {{run_settings, AT(step.run)}, {adapter_settings, AT(step.run.adapter)},
             {scorer_settings, AT(step.scorer)}, {generation_settings, AT(step)},
             {grpo_group_settings, AT(step.grpo)}, {rows, 0}},
    .own = {{"learning_rate", "3e-6"}, {"num_train_epochs", "3"}, {"num_generations", "1"}}};

enum { PLAN_LENGTH = 32 };              /* tokens of completions that a plan is timed with */
/* means of a minibatch */
enum { PG_LOSS, PG_CLIP, APPROX_KL, ENTROPY, RATIO, VF_LOSS, VF_CLIP, N_STAT };

typedef struct {
    const Config *c;
    StepConfig step_config;             /* the given one, as Step takes it */
    Step s;
    Model *critic;
    Trainer value;                      /* the critic's; its partner is s.trainer, the policy's */
    int updates;                        /* of a generation */
    PpoMoments moments;
    bool warned;
    real *score;                        /* [n_completion] s_i */
    real *kl, *reward, *values, *adv, *ret;     /* [n_token], flat places of s.gen */
    real *mb_old, *mb_adv, *mb_value, *mb_ret;  /* [n_target] of the minibatch, in the window's order */
    PpoPolicySums policy_sums;
    PpoValueSums value_sums;
    double entropy_sum;
    /* of the generation: means over its completions, and means of its minibatches */
    double mean_kl, mean_entropy, mean_non_score, mean_score, stat[N_STAT], ratio_square;
    int n_stat[N_STAT];
    /* E155 */
    Dataset ptx;
    Order ptx_order;
    Window ptx_window;
    Ids ptx_ids;
    double ptx_tokens, ptx_loss;
} Ppo;

/* ---- the critic --------------------------------------------------------------------------- */

static bool same_tokenizer(const char *a, const char *b, Err *e) {
    char dir[2][1024], path[1100];
    char *text[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    const char *const given[] = {a, b};
    bool ok = true;
    for (int k = 0; ok && k < 2; k++)
        ok = folder_tokenizer(dir[k], given[k], e) &&
             path_join(path, sizeof path, dir[k], "tokenizer.json", e) &&
             (text[k] = file_read(path, &n[k], e));
    ok = ok && ((n[0] == n[1] && !memcmp(text[0], text[1], n[0])) ||
                fail(e,
                     "--value-model %s: its tokenizer.json is not that of %s, but a critic reads the "
                     "policy's tokens; give another --value-model, for instance the policy itself",
                     a, b));
    free(text[0]);
    free(text[1]);
    return ok;
}

/* E154: of a reward model the output is its weighted score, R of E60 without the constant; a language model's
 * output is drawn. */
static Model *critic_of(const char *dir, ModelConfig shape, const FolderInfo *info, const Step *s, Err *e) {
    const int k = shape.n_label, hidden = shape.hidden;
    shape.n_label = 1;
    if (!k) return folder_load_as(dir, &shape, (uint64_t)s->c->run.seed, e);
    Model *from = folder_load(dir, NULL, e), *m = from ? model_new(&shape, e) : NULL;
    if (m) {
        model_copy(m, from);
        const real *w = from->head->data;
        real *out = m->head->data;
        bool known = false;
        double weight[MAX_LABELS];
        for (int i = 0; i < k; i++) {
            weight[i] = 0;
            for (int j = 0; j < s->n_label; j++)
                if (!strcmp(info->label[i], s->label[j])) weight[i] = s->weight[j], known = true;
        }
        for (int j = 0; j < hidden; j++) {
            double sum = 0;
            for (int i = 0; i < k; i++) sum += (known ? weight[i] : 1) * (double)w[i * hidden + j];
            out[j] = (real)sum;
        }
        model_pack(m);
    }
    model_free(from);
    return m;
}

static bool open_critic(Ppo *p, Err *e) {
    const Config *c = p->c;
    Step *s = &p->s;
    char dir[1024];
    ModelConfig shape;
    FolderInfo info;
    const char *from = c->value_model           ? c->value_model
                       : c->step.scorer.folders ? c->step.scorer.folders
                                                : c->step.run.model;
    snprintf(dir, sizeof dir, "%.*s", c->value_model ? (int)strlen(from) : (int)strcspn(from, ","), from);
    if (!folder_config(&shape, &info, dir, e) || !same_tokenizer(dir, c->step.run.model, e)) return false;
    shape.checkpointing = c->step.run.gradient_checkpointing;
    if (shape.lora.r)
        return fail(e,
                    "--value-model %s: is an adapter; a critic is trained whole: merge it first (grpo "
                    "merge), or give another --value-model",
                    dir);
    if (shape.vocab < s->policy->config.vocab || shape.context < s->policy->config.context)
        return fail(e,
                    "--value-model %s: vocabulary %d and context %d, expected at least the policy's %d and "
                    "%d",
                    dir, shape.vocab, shape.context, s->policy->config.vocab, s->policy->config.context);
    ModelConfig one = shape;
    one.n_label = 1;
    if (!memory_plan(c->step.run.plan ? NULL : "ppo, critic included",
                     (double)trainer_bytes(&s->policy->config, s->rows, s->rows) +
                         (s->copy ? (double)model_bytes(&s->policy->config) : 0) +
                         (double)trainer_bytes(&one, s->rows, s->rows),
                     e))
        return false;
    if (!(p->critic = critic_of(dir, shape, &info, s, e)) ||
        !trainer_new(&p->value, p->critic, s->rows, s->rows, e))
        return false;
    run_trainer(&p->value, &c->step.run, (int)s->trainer.n_step);
    if (!isnan(c->value_learning_rate)) p->value.adamw.lr = c->value_learning_rate;
    p->value.partner = &s->trainer;
    p->value.counts = s->trainer.counts;
    p->value.n_counts = s->trainer.n_counts;
    p->critic->tally = &s->cost.measured.net[NET_VALUE];
    s->net.value = one;
    /* the policy's schedule begins when it does */
    const int64_t left = s->trainer.n_step - (int64_t)c->critic_warmup_steps * p->updates;
    s->trainer.n_step = left > 1 ? left : 1;
    return true;
}

/* ---- one generation: scores to advantages -------------------------------------------------- */

/* The window of n prompts (NULL: all) with their completions; returns its loss tokens, or -1. */
static int lay(Ppo *p, const int *prompt, int n, Err *e) {
    Step *s = &p->s;
    const Generation *g = &s->gen;
    window_clear(&s->window);
    for (int i = 0; i < n; i++) {
        const int k = prompt ? prompt[i] : i;
        if (!window_group(&s->window, g->prompt[k].id, g->prompt[k].n, g->token, g->offset, k * s->group,
                          s->group, s->token_of, s->completion_of, e))
            return -1;
    }
    return s->window.n_target;
}

/* v of E151 for every token, under the critic that the generation meets. */
static bool rollout_values(Ppo *p, Err *e) {
    Step *s = &p->s;
    const int n = lay(p, NULL, s->gen.n_prompt, e);
    if (n < 0 || !window_scores(p->mb_value, p->value.acts, s->rows, s->rows, p->critic, &s->window, e))
        return false;
    const Texts drawn = step_texts(s, 0, s->gen.n_completion);
    cost_ppo(&s->cost.predicted, &s->net, &drawn, &(Texts){0}, &(Texts){0});
    for (int i = 0; i < n; i++) p->values[s->token_of[i]] = p->mb_value[i];
    return true;
}

/* E142, E152, E153. An unscored completion gets the mean of the others: no news, good or bad. */
static bool scores(Ppo *p, Err *e) {
    const Generation *g = &p->s.gen;
    const PpoConfig *c = &p->c->ppo;
    const size_t n = (size_t)g->n_completion;
    double mean;
    const size_t there = reward_moments(&mean, NULL, g->reward, n, 1, 1);
    if (!there)
        return fail(e, "step %lld: no completion of the generation was scored; look at the source of scores",
                    (long long)p->value.step + 1);
    if (there < n && !p->warned)
        fprintf(stderr, "ppo: some completions were not scored; they count as the mean of the others\n");
    p->warned = p->warned || there < n;
    for (size_t i = 0; i < n; i++) p->score[i] = isnan(g->reward[i]) ? (real)mean : g->reward[i];
    ppo_missing_eos(p->score, g->ended, n, c->missing_eos_penalty);
    ppo_moments_add(&p->moments, p->score, n);
    ppo_normalise(p->score, p->score, n, &p->moments, c->score_norm, c->score_clip);
    return true;
}

/* E140 to E145, and what is logged of them. */
static bool advantages(Ppo *p, Err *e) {
    const Generation *g = &p->s.gen;
    const PpoConfig *c = &p->c->ppo;
    const size_t n = (size_t)g->n_completion, n_token = g->offset[n];
    if (!scores(p, e) || !rollout_values(p, e)) return false;
    ppo_token_rewards(p->reward, p->kl, g->old, g->ref, p->score, g->offset, n, c);
    double kl = 0, entropy = 0, score = 0;
    for (size_t t = 0; t < n_token; t++) kl += p->kl[t], entropy -= g->old[t];
    for (size_t i = 0; i < n; i++) score += p->score[i];
    p->mean_kl = kl / (double)n, p->mean_entropy = entropy / (double)n,
    p->mean_non_score = -c->kl_coef * kl / (double)n, p->mean_score = score / (double)n;
    if (c->whiten_rewards) ppo_whiten(p->reward, n_token, true);
    ppo_gae(p->adv, p->ret, p->reward, p->values, g->offset, n, c->gamma, c->lam);
    if (c->whiten_advantages) ppo_whiten(p->adv, n_token, false);
    return true;
}

/* ---- one minibatch ------------------------------------------------------------------------- */

static void derive_policy(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                          real *dentropy) {
    Ppo *p = to;
    (void)dentropy;
    for (int i = 0; i < n; i++) p->entropy_sum += entropy[i];
    ppo_policy_loss(&p->policy_sums, dlogp, logp, p->mb_old + first, p->mb_adv + first, (size_t)n,
                    p->s.window.n_target, p->c->ppo.cliprange);
}

static void derive_value(void *to, int first, int n, const real *score, real *dscore) {
    Ppo *p = to;
    ppo_value_loss(&p->value_sums, dscore, score, p->mb_value + first, p->mb_ret + first, (size_t)n,
                   p->s.window.n_target, p->c->ppo.cliprange_value, p->c->ppo.vf_coef);
}

static void derive_ptx(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                       real *dentropy) {
    Ppo *p = to;
    (void)first, (void)entropy, (void)dentropy;
    for (int i = 0; i < n; i++) {
        p->ptx_loss -= logp[i] / p->ptx_tokens;
        dlogp[i] = (real)(-p->c->ppo.ptx_coef / p->ptx_tokens);
    }
}

/* E155: as many examples as the minibatch has completions, cut where a slice or the context ends. */
static bool pretraining_text(Ppo *p, Err *e) {
    Step *s = &p->s;
    const int n = s->batch * s->accumulate,
              limit = s->rows < s->policy->config.context ? s->rows : s->policy->config.context;
    int64_t at = s->trainer.step * n;
    Texts texts = {0};
    window_clear(&p->ptx_window);
    for (int i = 0; i < n; i++) {
        const Example *x = &p->ptx.row[order_at(&p->ptx_order, at++)];
        Ids *ids = &p->ptx_ids;
        ids->n = 0;
        if (!encode_prompt(ids, &s->language, x, e)) return false;
        const int n_prompt = ids->n, row = p->ptx_window.n_row;
        if (!encode_completion(ids, &s->language, x->completion,
                               !x->finish_reason || strcmp(x->finish_reason, "length"), e))
            return false;
        const int length = ids->n < limit ? ids->n : limit;
        if (n_prompt >= length)
            return fail(e,
                        "%s:%d: the prompt alone has %d tokens, expected fewer than %d; raise --slice-rows, "
                        "or leave it out",
                        p->ptx.path, x->line, n_prompt, limit);
        if (window_add(&p->ptx_window, ids->id, length, -1, e) < 0) return false;
        texts_sequence(&texts, n_prompt, length - n_prompt, length - n_prompt);
        for (int t = n_prompt; t < length; t++)
            if (!window_target(&p->ptx_window, row + t - 1, ids->id[t], e)) return false;
    }
    p->ptx_tokens = p->ptx_window.n_target;
    p->ptx_loss = 0;
    s->cost.measured.prompt += p->ptx_window.n_row - p->ptx_window.n_target;
    s->cost.measured.completion += p->ptx_window.n_target;
    cost_sft(&s->cost.predicted, &s->net, &texts);
    return trainer_accumulate(&s->trainer, &p->ptx_window, 1, derive_ptx, p, false, e);
}

static Texts minibatch_texts(const Step *s, const int *prompt, int n) {
    Texts t = {0};
    for (int i = 0; i < n; i++) {
        const Texts one = step_texts(s, prompt[i] * s->group, s->group);
        texts_add(&t, &one, 1);
    }
    return t;
}

static void stat(Ppo *p, int k, double x) { p->stat[k] += x, p->n_stat[k]++; }
static double mean(const Ppo *p, int k) { return p->n_stat[k] ? p->stat[k] / p->n_stat[k] : NAN; }

/* E146 to E150: one update of the critic and, after its warm-up, of the policy. */
static bool update(Ppo *p, const int *prompt, int n_prompt, bool warm, Err *e) {
    Step *s = &p->s;
    const Generation *g = &s->gen;
    const int n = lay(p, prompt, n_prompt, e);
    if (n < 0) return false;
    for (int i = 0; i < n; i++) {
        const int t = s->token_of[i];
        p->mb_old[i] = g->old[t], p->mb_adv[i] = p->adv[t], p->mb_value[i] = p->values[t],
        p->mb_ret[i] = p->ret[t];
    }
    p->policy_sums = (PpoPolicySums){0};
    p->value_sums = (PpoValueSums){0};
    p->entropy_sum = 0;
    if (!trainer_accumulate_scores(&p->value, &s->window, derive_value, p, e)) return false;
    const Texts valued = minibatch_texts(s, prompt, n_prompt);
    cost_ppo(&s->cost.predicted, &s->net, &(Texts){0}, warm ? &valued : &(Texts){0}, &valued);
    if (warm && (!trainer_accumulate(&s->trainer, &s->window, s->c->sampling.temperature, derive_policy, p,
                                     false, e) ||
                 (p->ptx.n && !pretraining_text(p, e))))
        return false;
    const PpoPolicySums *a = &p->policy_sums;
    const PpoValueSums *v = &p->value_sums;
    if (!isfinite(a->loss + v->loss))
        return fail(e,
                    "step %lld: policy loss %g, value loss %g: the step is not applied; lower "
                    "--learning-rate or look at the scores of this step",
                    (long long)p->value.step + 1, a->loss / n, v->loss / n);
    stat(p, VF_LOSS, v->loss / n), stat(p, VF_CLIP, v->clipped / n);
    if (warm) {
        stat(p, PG_LOSS, a->loss / n), stat(p, PG_CLIP, a->clipped / n), stat(p, APPROX_KL, a->approxkl / n),
            stat(p, ENTROPY, p->entropy_sum / n), stat(p, RATIO, a->ratio / n);
        p->ratio_square += (a->ratio / n - 1) * (a->ratio / n - 1);
        if (!trainer_update(&s->trainer, e)) return false;
    }
    return trainer_update(&p->value, e);
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* All epochs: in each, the prompts are dealt out to minibatches anew; within one they keep their order. */
static bool updates(Ppo *p, int64_t generation, Err *e) {
    const int n = p->s.gen.n_prompt, m = p->c->ppo.num_mini_batches, epochs = p->c->ppo.num_ppo_epochs,
              size = n / m;
    const bool warm = generation >= p->c->critic_warmup_steps;
    int *order = malloc((size_t)n * sizeof(int));
    bool ok = order || fail(e, "no memory for %d prompts", n);
    memset(p->stat, 0, sizeof p->stat);
    memset(p->n_stat, 0, sizeof p->n_stat);
    p->ratio_square = 0;
    for (int epoch = 0; ok && epoch < epochs; epoch++) {
        rng_permutation(order, n, (uint64_t)p->c->step.run.seed, RNG_MINIBATCH,
                        (uint64_t)generation * (uint64_t)epochs + (uint64_t)epoch);
        for (int k = 0; ok && k < m && p->value.step < p->value.n_step; k++) {
            qsort(order + k * size, (size_t)size, sizeof(int), ascending);
            ok = update(p, order + k * size, size, warm, e);
        }
    }
    free(order);
    return ok;
}

/* ---- the run ------------------------------------------------------------------------------- */

/* TRL 1.10's names; its means over tokens take in padding, ours do not. */
static bool log_generation(Ppo *p, Run *run, const GenerationLog *l, int64_t generation, Err *e) {
    const Step *s = &p->s;
    const Generation *g = &s->gen;
    const bool policy = p->n_stat[RATIO] > 0;
    const int n_ratio = p->n_stat[RATIO];
    double ended = 0;
    JsonWriter w = {0};
    for (int i = 0; i < g->n_completion; i++) ended += g->ended[i];
    const double off = mean(p, RATIO) - 1;
    json_begin(&w, '{');
    json_put_int(&w, "step", p->value.step);
    json_put_int(&w, "episode", (generation + 1) * g->n_completion);
    json_put(&w, "loss", (policy ? mean(p, PG_LOSS) : 0) + p->c->ppo.vf_coef * mean(p, VF_LOSS));
    json_put(&w, "grad_norm", policy ? s->trainer.grad_norm : NAN);
    json_put(&w, "value_grad_norm", p->value.grad_norm);
    json_put(&w, "learning_rate", policy ? s->trainer.lr : 0);
    json_put_int(&w, "num_tokens", s->tokens);
    json_put(&w, "epoch", (double)(generation + 1) * g->n_prompt / s->data.n);
    generation_log_write(&w, l, s);
    json_put(&w, "objective/kl", p->mean_kl);
    json_put(&w, "objective/entropy", p->mean_entropy);
    json_put(&w, "objective/non_score_reward", p->mean_non_score);
    json_put(&w, "objective/rlhf_reward", p->mean_non_score + p->mean_score);
    json_put(&w, "objective/scores", p->mean_score);
    json_put(&w, "policy/approxkl_avg", mean(p, APPROX_KL));
    json_put(&w, "policy/clipfrac_avg", mean(p, PG_CLIP));
    json_put(&w, "policy/entropy_avg", mean(p, ENTROPY));
    json_put(&w, "loss/policy_avg", mean(p, PG_LOSS));
    json_put(&w, "loss/value_avg", mean(p, VF_LOSS));
    json_put(&w, "val/clipfrac_avg", mean(p, VF_CLIP));
    json_put(&w, "val/ratio", mean(p, RATIO));
    json_put(&w, "val/ratio_var",
             n_ratio > 1 ? (p->ratio_square - n_ratio * off * off) / (n_ratio - 1) : NAN);
    json_put(&w, "val/num_eos_tokens", ended);
    if (p->ptx.n && policy) json_put(&w, "loss/ptx", p->ptx_loss);
    json_end(&w, '}');
    const bool ok = run_log(run, &w, e);
    free(w.text);
    run_time(run, p->value.step, s->tokens);
    return ok;
}

static bool loop(Ppo *p, Run *run, Err *e) {
    Step *s = &p->s;
    Trainer *t = &p->value;
    GenerationLog l = {.logged = false};
    Progress progress;
    progress_begin(&progress, "ppo", t->n_step);
    for (int64_t generation = t->step / p->updates; t->step < t->n_step; generation++) {
        if (!step_generation(s, generation, e) || !advantages(p, e) || !updates(p, generation, e))
            return false;
        generation_log_add(&l, s);
        s->trainer.extra[2] = (double)s->tokens;
        t->extra[0] = p->moments.mean, t->extra[1] = p->moments.var, t->extra[2] = p->moments.n;
        if ((generation + 1) % p->c->step.run.logging_steps == 0) {
            if (!log_generation(p, run, &l, generation, e)) return false;
            l.logged = true;
        }
        char detail[128];
        snprintf(detail, sizeof detail, "reward %.4f  kl %.4f  value loss %.4f  %.1f k tokens/s",
                 s->gen.stats.reward, p->mean_kl, mean(p, VF_LOSS), run_rate(run, s->tokens));
        progress_at(&progress, t->step, detail);
        if (!run_checkpoint(run, &p->c->step.run, t, t->step == t->n_step, e)) return false;
    }
    progress_end(&progress);
    return true;
}

static bool memory(Ppo *p, Err *e) {
    const size_t n = (size_t)p->s.gen.n_completion, n_token = n * (size_t)p->s.gen.max_new;
    real **const list[] = {&p->kl,     &p->reward, &p->values,   &p->adv,   &p->ret,
                           &p->mb_old, &p->mb_adv, &p->mb_value, &p->mb_ret};
    bool ok = (p->score = memory_new(n * sizeof(real), "scores", e)) != NULL;
    for (size_t i = 0; ok && i < sizeof list / sizeof *list; i++)
        ok = (*list[i] = memory_new(n_token * sizeof(real), "tokens", e)) != NULL;
    return ok;
}

static bool check(Ppo *p, Err *e) {
    const Config *c = p->c;
    StepConfig *s = &p->step_config;
    if (!run_options_check(&c->step.run, e) || !ppo_config_check(&c->ppo, e)) return false;
    if (c->critic_warmup_steps < 0)
        return fail(e, "--critic-warmup-steps: found %d, expected at least 0", c->critic_warmup_steps);
    if (!isnan(c->value_learning_rate) && !(c->value_learning_rate >= 0))
        return fail(e, "--value-learning-rate: found %g, expected at least 0, or none",
                    c->value_learning_rate);
    if ((c->ppo.ptx_coef > 0) != (c->ptx_dataset != NULL))
        return fail(e, "--ptx-coef and --ptx-dataset: expected both or neither");
    *s = c->step;
    s->critic = true;
    s->steps_per_generation = c->step.run.gradient_accumulation_steps * c->ppo.num_mini_batches;
    s->grpo.num_iterations = c->ppo.num_ppo_epochs;
    p->updates = c->ppo.num_ppo_epochs * c->ppo.num_mini_batches;
    if (c->step.run.plan && s->grpo.max_completion_length > PLAN_LENGTH)
        s->grpo.max_completion_length = PLAN_LENGTH;
    const int size = c->step.run.per_device_train_batch_size * c->step.run.gradient_accumulation_steps;
    if (s->grpo.num_generations >= 1 && size % s->grpo.num_generations)
        return fail(e,
                    "--num-generations %d does not divide the %d completions of a minibatch "
                    "(per-device-train-batch-size times gradient-accumulation-steps): a prompt's completions "
                    "stay together",
                    s->grpo.num_generations, size);
    return c->step.run.plan || c->step.run.resume || folder_is_empty(c->step.run.output_dir) ||
           fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume",
                c->step.run.output_dir);
}

static bool finish(Ppo *p, Err *e) {
    char path[600];
    FolderInfo info = {.label = {"value"}};
    return path_join(path, sizeof path, p->c->step.run.output_dir, "value", e) &&
           folder_save(path, p->critic, &info, p->c->step.run.model, run_store(&p->c->step.run), e) &&
           step_finish(&p->s, e);
}

/* A generation to warm up and a timed one, with short completions; the time of full ones is to theirs as the
 * operations are. */
static bool plan(Ppo *p, Err *e) {
    const Config *c = p->c;
    Step *s = &p->s;
    RunPlan *to = c->step.run.plan;
    const int full = c->step.grpo.max_completion_length;
    const double length = to->mean_length > 0 ? to->mean_length : full;
    double seconds = 0, operations = 0;
    step_resume(s);
    for (int i = 0; i < 2; i++) {
        const double start = clock_seconds(), before = cost_flops(&s->cost.measured);
        p->value.step = 0;
        if (!step_generation(s, c->critic_warmup_steps, e) || !advantages(p, e) ||
            !updates(p, c->critic_warmup_steps, e))
            return false;
        seconds = clock_seconds() - start, operations = cost_flops(&s->cost.measured) - before;
    }
    const double n_step = (double)p->value.n_step, generations = ceil(n_step / p->updates);
    const double passes = n_step / c->ppo.num_mini_batches,
                 cold = fmin(passes, (double)c->critic_warmup_steps * c->ppo.num_ppo_epochs);
    const Texts one = step_planned_drawn(s, length);
    Texts drawn = {0}, trained = {0}, valued = {0};
    texts_add(&drawn, &one, generations), texts_add(&trained, &one, passes - cold),
        texts_add(&valued, &one, passes);
    const double tree = s->longest + (double)s->group * full;
    const int rows = c->step.run.slice_rows > (int)tree ? c->step.run.slice_rows : (int)tree;
    s->net.logits_anew = !acts_keep_logits(&s->net.policy, rows);
    Cost critic = {.prompt = 0};
    StepConfig config = p->step_config;
    config.grpo.max_completion_length = full;
    s->c = &config;
    to->n_step = (int)n_step;
    to->length = length;
    to->how = "a generation of short completions was timed on this machine, the rest is counted (E194); "
              "without checkpoints and --ptx-dataset";
    cost_ppo(&to->cost, &s->net, &drawn, &trained, &valued);
    const bool ok = step_planned_rest(&to->cost, s, length, generations, e);
    s->c = &p->step_config;
    cost_trainer(&critic, &s->net.value, rows, rows);
    to->cost.memory[MEM_CRITIC] = cost_trained(&critic);
    to->memory = cost_memory(&to->cost) +
                 (double)(acts_thread_bytes(&s->net.policy, rows, true) +
                          acts_thread_bytes(&s->net.value, rows, true)) +
                 PROGRAM_BYTES;
    to->step_seconds = seconds / operations * cost_flops(&to->cost) / n_step;
    return ok;
}

static bool ppo(Ppo *p, Run *run, Err *e) {
    const Config *c = p->c;
    Step *s = &p->s;
    if (!check(p, e)) return false;
    if (c->ptx_dataset && !dataset_load(&p->ptx, c->ptx_dataset, NEED_COMPLETION, c->step.run.system, e))
        return false;
    p->ptx_order = (Order){.n = p->ptx.n, .seed = (uint64_t)c->step.run.seed};
    if (!step_open(s, &p->step_config, e) || !open_critic(p, e) || !memory(p, e)) return false;
    ppo_moments_start(&p->moments);
    if (c->step.run.plan) return plan(p, e);
    if (!run_begin(run, &ppo_table, c, &c->step.run, &p->value, e)) return false;
    if (p->value.step) p->moments = (PpoMoments){p->value.extra[0], p->value.extra[1], p->value.extra[2]};
    step_resume(s);
    Cost planned = {.prompt = 0}, held = planned;
    cost_trainer(&planned, &s->net.value, s->rows, s->rows);
    cost_trainer_held(&held, &p->value);
    cost_memory_most(&s->cost.predicted, MEM_CRITIC, cost_trained(&planned));
    cost_memory_most(&s->cost.measured, MEM_CRITIC, cost_trained(&held));
    run_tokens(run, s->tokens);
    return (loop(p, run, e) || run_failed(run, e)) && run_cost(run, p->value.step, &s->cost, e) &&
           finish(p, e);
}

static void ppo_close(Ppo *p) {
    void *const list[] = {p->score, p->kl,     p->reward, p->values,   p->adv,
                          p->ret,   p->mb_old, p->mb_adv, p->mb_value, p->mb_ret};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) memory_free(list[i]);
    window_free(&p->ptx_window);
    free(p->ptx_ids.id);
    free(p->ptx_order.order);
    trainer_free(&p->value);
    model_free(p->critic);
    step_close(&p->s);
}

int plan_ppo(RunPlan *plan, int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.step.grpo);
    ppo_config_default(&c.ppo);
    const int code = options_parse(&c, &ppo_table, argc, argv, e);
    if (code) return code < 0 ? -1 : 0;
    c.step.run.plan = plan;
    Ppo p = {.c = &c};
    Run run = {.log = NULL};
    const bool ok = ppo(&p, &run, e);
    run_end(&run);
    ppo_close(&p);
    return ok ? 0 : -1;
}

int cmd_ppo(int argc, char **argv, Err *e) { return plan_ppo(NULL, argc, argv, e); }
