/* generation.c: memory of a generation, and the means that are logged of it. */
#include "run/generation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/maxmin.h"
#include "reward.h"

/* Run twice: to count, and to point. */
static void generation_layout(Arena *a, Generation *g) {
    const size_t p = (size_t)g->n_prompt, n = (size_t)g->n_completion, k = (size_t)g->n_label,
                 tokens = n * (size_t)g->max_new;
    g->example = arena_take(a, p, sizeof *g->example);
    g->prompt = arena_take(a, p, sizeof *g->prompt);
    g->prompt_id = arena_take(a, p, sizeof *g->prompt_id);
    g->prompt_length = arena_take(a, p, sizeof(int));
    g->out.id = arena_take(a, tokens, sizeof(int));
    g->out.logp = arena_take(a, tokens, sizeof(real));
    g->out.length = arena_take(a, n, sizeof(int));
    g->out.ended = arena_take(a, n, sizeof(bool));
    g->offset = arena_take(a, n + 1, sizeof(size_t));
    g->text = arena_take(a, n, sizeof *g->text);
    g->token = arena_take(a, tokens, sizeof(int));
    real **const list[] = {&g->logp, &g->old, &g->ref, &g->entropy, &g->dlogp, &g->dentropy};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) *list[i] = arena_take(a, tokens, sizeof(real));
    g->by_target = arena_take(a, 2 * tokens, sizeof(real));
    g->mask = arena_take(a, tokens, 1);
    g->ended = arena_take(a, n, 1);
    g->scratch = arena_take(a, tokens, sizeof(double));
    g->score = arena_take(a, n * k, sizeof(real));
    g->reward = arena_take(a, n, sizeof(real));
    g->adv = arena_take(a, n, sizeof(real));
    g->cost = arena_take(a, n * k, sizeof(real));
    g->share = arena_take(a, p * k, sizeof(double));
}

static Generation generation_shape(int n_prompt, int group, int max_new, int n_label) {
    return (Generation){.n_prompt = n_prompt, .n_completion = n_prompt * group, .n_label = n_label,
                        .max_new = max_new};
}

double generation_bytes(int n_prompt, int group, int max_new, int n_label) {
    Generation g = generation_shape(n_prompt, group, max_new, n_label);
    Arena a = {0};
    generation_layout(&a, &g);
    return (double)a.used;
}

bool generation_new(Generation *g, int n_prompt, int group, int max_new, int n_label, Err *e) {
    Arena a = {0};
    *g = generation_shape(n_prompt, group, max_new, n_label);
    generation_layout(&a, g);
    if (!(g->memory = memory_new(a.used, "completions", e))) return false;
    a = (Arena){.base = g->memory};
    generation_layout(&a, g);
    return true;
}

void generation_free(Generation *g) {
    for (int i = 0; g->memory && i < g->n_prompt; i++) free(g->prompt[i].id);
    for (int i = 0; g->memory && i < g->n_completion; i++) free(g->text[i]);
    memory_free(g->memory);
    g->memory = NULL;
}

/* ---- draw and score ---- */

bool generation_draw(Generation *g, const Model *m, const int *stop, int n_stop, const Sampling *sampling,
                     uint64_t seed, int64_t generation, Err *e) {
    for (int i = 0; i < g->n_prompt; i++)
        g->prompt_id[i] = g->prompt[i].id, g->prompt_length[i] = g->prompt[i].n;
    const RolloutPlan plan = {.prompt = g->prompt_id, .prompt_length = g->prompt_length,
                              .n_prompt = g->n_prompt, .group_size = g->n_completion / g->n_prompt,
                              .max_new = g->max_new, .stop = stop, .n_stop = n_stop, .sampling = *sampling,
                              .seed = seed, .step = (uint64_t)generation};
    if (!rollout(&g->out, m, &plan, e)) return false;
    g->offset[0] = 0;
    for (int i = 0; i < g->n_completion; i++) {
        const size_t n = (size_t)g->out.length[i], at = g->offset[i], from = (size_t)i * (size_t)g->max_new;
        memcpy(g->token + at, g->out.id + from, n * sizeof(int));
        memcpy(g->old + at, g->out.logp + from, n * sizeof(real));
        memset(g->mask + at, 1, n);
        g->ended[i] = g->out.ended[i];
        g->offset[i + 1] = at + n;
    }
    return true;
}

bool generation_score(Generation *g, const Language *l, Scorer *scorer, Err *e) {
    const int group = g->n_completion / g->n_prompt;
    Completion *reply = calloc((size_t)g->n_completion, sizeof *reply);
    bool ok = reply || fail(e, "no memory for %d replies", g->n_completion);
    for (int i = 0; ok && i < g->n_completion; i++) {
        free(g->text[i]);
        g->text[i] = decode_completion(l, g->token + g->offset[i], g->out.length[i], e);
        reply[i] = (Completion){g->example[i / group], g->text[i], g->out.ended[i]};
        ok = g->text[i] != NULL;
    }
    ok = ok && scorer_score(scorer, g->score, reply, g->n_completion, e);
    free(reply);
    return ok;
}

void generation_hold(Costs *c, const Generation *g, const ModelConfig *shape, double acts_predicted,
                     double acts_measured) {
    const int *length = g->prompt_length, n = g->n_prompt, n_seq = g->n_completion;
    cost_memory_most(&c->predicted, MEM_CACHE, cost_cache(shape, length, n, n_seq, g->max_new));
    cost_memory_most(&c->predicted, MEM_ACTIVATIONS,
                     acts_predicted + (double)rollout_acts_bytes(shape, length, n, n_seq));
    cost_memory_most(&c->measured, MEM_CACHE, (double)g->out.cache_held);
    cost_memory_most(&c->measured, MEM_ACTIVATIONS, acts_measured + (double)g->out.acts_held);
}

/* ---- what is logged ---- */

static void log_add(GenerationLog *l, int *at, double x) {
    if (!isnan(x)) l->sum[*at] += x, l->n[*at]++;
    ++*at;
}

void generation_log_add(GenerationLog *l, Generation *g, const double *weight) {
    const size_t n = (size_t)g->n_completion, n_label = (size_t)g->n_label;
    double length = 0, min = INFINITY, max = 0, cut = 0;
    int at = 0;
    if (l->logged) memset(l, 0, sizeof *l);
    for (size_t i = 0; i < n; i++) {
        const double tokens = g->out.length[i];
        length += tokens, cut += !g->out.ended[i];
        min = tokens < min ? tokens : min, max = tokens > max ? tokens : max;
    }
    const double run[LOG_PER_RUN] = {length / g->n_completion,
                                     min,
                                     max,
                                     cut / g->n_completion,
                                     g->stats.reward,
                                     g->stats.reward_std,
                                     g->stats.frac_reward_zero_std,
                                     g->out.truncation_bias};
    for (int i = 0; i < LOG_PER_RUN; i++) log_add(l, &at, run[i]);
    const size_t worst =
        weight ? n_label : maxmin_worst(NULL, g->score, n, n_label); /* told without weights */
    if (weight) reward_label_share(g->share, g->score, weight, n, n_label, n / (size_t)g->n_prompt);
    for (size_t k = 0; k < n_label; k++) {
        double mean, sd, total = 0;
        int there = 0;
        reward_moments(&mean, &sd, g->score + k, n, n_label, 1);
        for (size_t p = 0; p < (size_t)g->n_prompt; p++)
            if (weight && !isnan(g->share[p * n_label + k])) total += g->share[p * n_label + k], there++;
        log_add(l, &at, mean), log_add(l, &at, sd), log_add(l, &at, there ? total / there : NAN);
        log_add(l, &at, k == worst);
    }
}

void generation_log_write(JsonWriter *w, const GenerationLog *l, int n_label, const char (*label)[64],
                          bool filtered, bool worst_off) {
    static const char *const run[LOG_PER_RUN] = {"completions/mean_length",
                                                 "completions/min_length",
                                                 "completions/max_length",
                                                 "completions/clipped_ratio",
                                                 "reward",
                                                 "reward_std",
                                                 "frac_reward_zero_std",
                                                 "sampling/truncation_bias"};
    static const char *const of_label[LOG_PER_LABEL] = {"rewards/%s/mean", "rewards/%s/std",
                                                        "label_share/%s", "worst_group/%s"};
    for (int i = 0; i < LOG_PER_RUN + LOG_PER_LABEL * n_label; i++) {
        char key[96];
        const bool worst = i >= LOG_PER_RUN && (i - LOG_PER_RUN) % LOG_PER_LABEL == LOG_PER_LABEL - 1;
        if ((i == LOG_PER_RUN - 1 && !filtered) || (worst && !worst_off)) continue;
        if (i < LOG_PER_RUN) snprintf(key, sizeof key, "%s", run[i]);
        else
            snprintf(key, sizeof key, of_label[(i - LOG_PER_RUN) % LOG_PER_LABEL],
                     label[(i - LOG_PER_RUN) / LOG_PER_LABEL]);
        json_put(w, key, l->n[i] ? l->sum[i] / l->n[i] : NAN);
    }
}
