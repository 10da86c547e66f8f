/* trace.c: `grpo trace`: one GRPO step told in full, for an auditor with a pocket calculator: settings,
 * prompts, completions, scores, rewards, advantages, tokens, loss, gradient norm, each with the number of its
 * equation.
 *
 * It goes through the functions that train goes through (step.h) and makes one value of what they found; the
 * value is printed as JSON, as text or as a page of HTML. Nothing else is written, no update is kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/maxmin.h"
#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "lib/files.h"
#include "lib/optim.h"
#include "lib/say.h"

typedef struct {
    StepConfig step;                    /* stands first: options of a StepConfig */
    int tokens, prompts, completions, update;
    const char *html;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"prompts", SET_INT, AT(prompts), "1", NULL, "prompts that the text shows; -1: all"},
    {"completions", SET_INT, AT(completions), "4", NULL,
     "completions that the text shows of each prompt; -1: all"},
    {"tokens", SET_INT, AT(tokens), "8", NULL, "tokens that text and JSON show of each completion; -1: all"},
    {"update", SET_INT, AT(update), "0", NULL,
     "the update to tell, counted from 1; those before it are made in memory; 0: the next"},
    {"html", SET_STRING, AT(html), NULL, NULL,
     "file to write instead of the text; must not exist: a page of all completions, their tokens coloured by "
     "what the loss asks of them"},
    SETTINGS_END};
static const OptionTable table =
    {"trace", "one GRPO step told in full; takes the options of train, writes nothing",
     "grpo trace --model runs/sft/final --dataset prompts.jsonl --reward-model runs/reward/final --beta 0.08 "
     "--max-completion-length 64",
     .part = {{rows, 0},
              {run_settings, AT(step.run)},
              {adapter_settings, AT(step.run.adapter)},
              {scorer_settings, AT(step.scorer)},
              {generation_settings, AT(step)},
              {grpo_group_settings, AT(step.grpo)},
              {step_settings, AT(step)},
              {grpo_settings, AT(step.grpo)},
              {grpo_other_settings, AT(step.grpo)},
              {watch_settings, AT(step.watch)}}};

/* What the advantages are made of, beside what a Generation holds. */
typedef struct {
    real *z, *z_reward, *sum; /* [n_completion, n_label] E62; [n_completion] the same of R; S of E63 and E64,
                                 NaN where unscored */
    double *share;                      /* [n_prompt, n_label] E73 */
    double sum_mean, sum_std;           /* of S over the batch */
} Parts;

static bool parts_new(Parts *p, const Step *s, Err *e) {
    const Generation *g = &s->gen;
    const size_t n = (size_t)g->n_completion, k = (size_t)g->n_label, group = (size_t)s->group;
    p->z = memory_new(n * k * sizeof(real), "trace", e);
    p->z_reward = memory_new(n * sizeof(real), "trace", e);
    p->sum = memory_new(n * sizeof(real), "trace", e);
    p->share = memory_new((size_t)g->n_prompt * k * sizeof(double), "trace", e);
    if (!p->z || !p->z_reward || !p->sum || !p->share) return false;
    reward_group_z(p->z, g->score, n, k, group, 1, s->c->grpo.std_eps);
    reward_group_z(p->z_reward, g->reward, n, 1, group, 1, s->c->grpo.std_eps);
    reward_mo_grpo(p->sum, g->score, s->rewards.weight, n, k, group, 1, s->c->grpo.std_eps);
    for (size_t i = 0; i < n; i++)
        if (isnan(g->reward[i])) p->sum[i] = (real)NAN;
    reward_moments(&p->sum_mean, &p->sum_std, p->sum, n, 1, 1);
    reward_label_share(p->share, g->score, s->rewards.weight, n, k, group);
    return true;
}

static void parts_free(Parts *p) {
    memory_free(p->z);
    memory_free(p->z_reward);
    memory_free(p->sum);
    memory_free(p->share);
}

/* Whether the advantages are made of the labels' own z-scores. */
static bool by_label(const Step *s) {
    return !grpo_from_reward(&s->c->grpo) || s->rewards.floors;
}

/* ---- the value: settings, completions, scores, advantages ---- */

static void put_settings(JsonWriter *w, const Step *s, const Config *c, int64_t wanted, const char *hex) {
    const GrpoConfig *g = &c->step.grpo;
    json_put_string(w, "command", "trace");
    json_put_string(w, "real", REAL_DTYPE);
    json_put_int(w, "step", wanted + 1);
    json_put_int(w, "updates", s->learner.trainer.n_step);
    json_put_int(w, "made_in_memory", wanted - s->learner.trainer.step);
    json_open(w, "options", '{');
    options_write(w, c, &table);
    json_end(w, '}');
    json_put_string(w, "policy_sha256", hex);
    json_open(w, "weights", '{');
    for (int k = 0; k < s->rewards.n_label; k++) json_put(w, s->rewards.label[k], s->rewards.weight[k]);
    json_end(w, '}');
    json_put(w, "std_eps", g->std_eps);
    json_put(w, "epsilon_high", grpo_epsilon_high(g));
    json_put(w, "entropy_coef", grpo_entropy_coef(&s->control, g));
    json_put_int(w, "prompts", s->gen.n_prompt);
    json_put_int(w, "batch", s->batch);
    json_put_int(w, "accumulate", s->accumulate);
    json_put_int(w, "per_generation", s->per_generation);
    json_put_bool(w, "aligned", grpo_aligned(s->accumulate, s->per_generation, g->num_iterations));
}

/* E221: the label whose score is the reward of completion i. */
static const char *rewarded(const Step *s, int i) {
    const Generation *g = &s->gen;
    const size_t n_label = (size_t)g->n_label;
    size_t k = 0;
    if (s->c->grpo.multi_objective_aggregation == WORST_GROUP)
        k = maxmin_worst(NULL, g->score, (size_t)g->n_completion, n_label);
    else
        while (k + 1 < n_label && g->score[(size_t)i * n_label + k] != g->reward[i]) k++;
    return s->rewards.label[k];
}

static void put_completion(JsonWriter *w, const Step *s, const Parts *p, int i) {
    const Generation *g = &s->gen;
    const size_t at = (size_t)i * (size_t)g->n_label;
    json_begin(w, '{');
    json_put_string(w, "completion", g->text[i]);
    json_put_int(w, "completion_length", g->out.length[i]);
    json_put_string(w, "finish_reason", g->out.ended[i] ? "stop" : "length");
    scores_put(w, "scores", s->rewards.label, g->score + at, s->rewards.n_label);
    json_put(w, "reward", g->reward[i]);
    if (!grpo_weighs(&s->c->grpo)) json_put_string(w, "reward_label", rewarded(s, i));
    if (by_label(s)) {
        scores_put(w, "z", s->rewards.label, p->z + at, s->rewards.n_label);
        if (s->rewards.floors) json_put(w, "z_reward", isnan(p->z_reward[i]) ? 0 : p->z_reward[i]);
        else json_put(w, "z_sum", p->sum[i]);
    }
    json_put(w, "advantage", g->adv[i]);
    json_end(w, '}');
}

static void put_prompt(JsonWriter *w, const Step *s, const Parts *p, int prompt) {
    const Generation *g = &s->gen;
    const Example *x = g->example[prompt];
    const int first = prompt * s->group;
    const size_t at = (size_t)prompt * (size_t)g->n_label;
    double mean, std;
    const size_t n = reward_moments(&mean, &std, g->reward + first, (size_t)s->group, 1, 1);
    json_begin(w, '{');
    json_put_int(w, "line", x->line);
    example_put_messages(w, x);
    json_put_int(w, "prompt_tokens", g->prompt[prompt].n);
    json_put_int(w, "scored", (long long)n);
    json_put(w, "reward_mean", mean);
    json_put(w, "reward_std", std);
    json_open(w, "label_share", '{');
    for (int k = 0; k < g->n_label && grpo_weighs(&s->c->grpo); k++)
        json_put(w, s->rewards.label[k], p->share[at + (size_t)k]);
    json_end(w, '}');
    json_open(w, "label_moments", '{');
    for (int k = 0; k < g->n_label; k++) {
        reward_moments(&mean, &std, g->score + (size_t)first * (size_t)g->n_label + (size_t)k,
                       (size_t)s->group, (size_t)g->n_label, 1);
        json_open(w, s->rewards.label[k], '{');
        json_put(w, "mean", mean);
        json_put(w, "std", std);
        json_end(w, '}');
    }
    json_end(w, '}');
    json_open(w, "completions", '[');
    for (int i = first; i < first + s->group; i++) put_completion(w, s, p, i);
    json_end(w, ']');
    json_end(w, '}');
}

/* Multipliers that act in the generation's advantages, and what its scores make of them (E70, E71). */
static void put_floors(JsonWriter *w, const Step *s) {
    const Generation *g = &s->gen;
    for (int pass = 0; pass < 2; pass++) {
        json_open(w, pass ? "floors" : "multipliers", '{');
        for (int k = 0; k < s->rewards.n_label; k++) {
            double mean;
            if (s->rewards.floor[k] == -INFINITY) continue;
            if (!pass) { json_put(w, s->rewards.label[k], g->multiplier[k]); continue; }
            reward_moments(&mean, NULL, g->score + k, (size_t)g->n_completion, (size_t)g->n_label, 1);
            json_open(w, s->rewards.label[k], '{');
            json_put(w, "floor", s->rewards.floor[k]);
            json_put(w, "multiplier", g->multiplier[k]);
            json_put(w, "mean", mean);
            json_put(w, "next", s->rewards.multiplier[k]);
            json_end(w, '}');
        }
        json_end(w, '}');
    }
}

static bool put_generation(JsonWriter *w, const Step *s, int64_t generation, Err *e) {
    Parts p = {0};
    const bool ok = parts_new(&p, s, e);
    if (ok) {
        json_begin(w, '{');
        json_put_int(w, "generation", generation);
        if (s->rewards.floors) put_floors(w, s);
        json_put(w, "reward_std", s->gen.stats.reward_std);
        json_put(w, "z_sum_mean", p.sum_mean);
        json_put(w, "z_sum_std", p.sum_std);
        json_open(w, "prompts", '[');
        for (int i = 0; i < s->gen.n_prompt; i++) put_prompt(w, s, &p, i);
        json_end(w, ']');
        json_open(w, "micro_batches", '[');
    }
    parts_free(&p);
    return ok;
}

/* ---- the value: tokens, loss, update ---- */

static bool put_told(JsonWriter *w, const Step *s, int i, const GrpoTold *q, const GrpoToken *token,
                       int limit, Err *e) {
    const Generation *g = &s->gen;
    const GrpoConfig *c = &s->c->grpo;
    const int length = g->out.length[i], shown = limit < 0 || limit > length ? length : limit;
    json_begin(w, '{');
    json_put_int(w, "prompt", i / s->group);
    json_put_int(w, "completion", i % s->group);
    json_put(w, "advantage", q->adv);
    json_put(w, "n", q->n);
    json_put(w, "weight", q->weight);
    json_put(w, "mean_log_ratio", q->mean_log_ratio);
    json_put(w, "sequence_ratio", q->rho);
    if (c->loss_type == LOSS_VESPO) json_put(w, "phi", q->phi);
    if (!isnan(c->off_policy_mask_threshold)) json_put(w, "keep", q->keep);
    json_open(w, "tokens", '[');
    for (int t = 0; t < shown; t++) {
        const size_t at = g->offset[i] + (size_t)t;
        const GrpoToken *k = &token[t];
        size_t n;
        char *text = tokenizer_decode(s->learner.language.tokenizer, &g->token[at], 1, false, &n, e);
        if (!text) return false;
        json_begin(w, '{');
        json_put_int(w, "id", g->token[at]);
        json_put_string_n(w, "token", text, n);
        free(text);
        json_put_int(w, "mask", k->counts);
        json_put(w, "logp", g->logp[at]);
        json_put(w, "old", g->old[at]);
        json_put(w, "ref", s->learner.reference ? (double)g->ref[at] : NAN);
        json_put(w, "entropy", g->entropy[at]);
        json_put(w, "ratio", k->counts ? k->ratio : NAN);
        json_put_bool(w, "clipped", k->clipped);
        json_put(w, "k3", k->counts ? k->k3 : NAN);
        json_put(w, "kl", k->counts ? k->kl : NAN);
        json_put(w, "policy_loss", k->counts ? k->ell : NAN);
        json_put(w, "loss", k->counts ? k->loss : NAN);
        json_put(w, "weight", k->weight);
        json_put(w, "dlogp", g->dlogp[at]);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
    return true;
}

static bool put_micro_batch(JsonWriter *w, const Step *s, int i, int limit, Err *e) {
    const int first = step_first_completion(s, i);
    const GrpoIn in = step_input(s, first, s->batch);
    const GrpoConfig *c = &s->c->grpo;
    GrpoToken *token = memory_new((size_t)s->gen.max_new * sizeof *token, "trace", e);
    bool ok = token != NULL;
    json_begin(w, '{');
    json_put(w, "n_item", s->micro.window.n_item);
    json_put(w, "n_token", s->micro.whole.n_token);
    json_put(w, "loss", grpo_loss_value(&s->micro.sums, &s->micro.window, &s->micro.whole));
    json_put(w, "entropy_coef", s->micro.window.entropy_coef);
    json_put(w, "policy_loss", s->micro.sums.policy);
    json_put(w, "kl", s->micro.sums.n_token ? s->micro.sums.kl / s->micro.sums.n_token : 0);
    json_put_int(w, "micro_batch", s->update.n_micro);
    json_put_int(w, "accumulate", s->accumulate);
    json_put_int(w, "batch", s->batch);
    json_put_int(w, "per_generation", s->per_generation);
    json_put_int(w, "max_completion_length", c->max_completion_length);
    if (c->top_entropy_quantile < 1) json_put(w, "entropy_threshold", s->micro.whole.entropy_threshold);
    json_open(w, "completions", '[');
    for (int k = 0; ok && k < s->batch; k++) {
        GrpoTold told;
        grpo_tell(&told, token, &in, (size_t)k, c, &s->micro.window, &s->micro.whole);
        ok = put_told(w, s, first + k, &told, token, limit, e);
    }
    json_end(w, ']');
    json_end(w, '}');
    memory_free(token);
    return ok;
}

static void put_update(JsonWriter *w, const Step *s) {
    const Trainer *t = &s->learner.trainer;
    char hex[65];
    folder_digest(s->learner.model, hex);
    json_open(w, "update", '{');
    json_put(w, "loss", s->update.loss);
    json_put(w, "grad_norm", t->grad_norm);
    json_put(w, "clip_coefficient", clip_coefficient(t->grad_norm, t->max_grad_norm));
    json_put(w, "schedule_factor",
             schedule_factor(t->schedule, t->step - 1, t->warmup, t->n_step, t->min_lr_ratio));
    json_put(w, "learning_rate", t->lr);
    json_put_string(w, "sha256", hex);
    json_end(w, '}');
}

/* ---- as text ---- */

static double number_at(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type == JSON_NUMBER ? v->number : NAN;
}

static size_t up_to(int limit, size_t n) { return limit < 0 || (size_t)limit > n ? n : (size_t)limit; }

/* Each label with its value. */
static void tell_labels(const Json *labels, const char *template) {
    for (size_t k = 0; k < labels->length; k++) {
        fputs(k ? ", " : " ", stdout);
        say(&labels->item[k], template);
    }
}

static void tell_settings(const Config *c, const Json *v) {
    const GrpoConfig *g = &c->step.grpo;
    say(v, "One GRPO step, told in full: update {step} of {updates}. Nothing is written, and the update is "
           "not kept.\nNumbers such as E84 are those of the equations.\n\nSETTINGS\n"
           "  policy       {options.model}, weights {policy_sha256%.16s}");
    if (c->step.run.resume) printf(" as of the checkpoint");
    if (number_at(v, "made_in_memory") > 0) say(v, ", then {made_in_memory} updates made in memory");
    say(v, g->beta != 0 ? "\n  reference    {options.model} (beta {options.beta%g})\n  labels      "
                        : "\n  reference    none: beta is 0, so there is no KL term\n  labels      ");
    for (size_t k = 0; k < json_get(v, "weights")->length; k++)
        say(&json_get(v, "weights")->item[k], k ? "; {@}, weight {%g}" : " {@}, weight {%g}");
    say(v, !c->step.scorer.program  ? "\n  scores       {options.reward_model}"
           : c->step.scorer.folders ? "\n  scores       {options.reward_model}, {options.reward_cmd}"
                                    : "\n  scores       {options.reward_cmd}");
    if (c->step.reward_clip) say(v, "; cut to {options.reward_clip} (E77)");
    say(v, "; a missing label counts {options.missing_labels} (E61)\n"
           "  completions  {prompts} prompts x {options.num_generations}, at most "
           "{options.max_completion_length} tokens; temperature {options.temperature%g} (E23), top_k "
           "{options.top_k}, top_p {options.top_p%g}, min_p {options.min_p%g} (E29); seed {options.seed}\n"
           "  advantage    scale_rewards {options.scale_rewards}, multi_objective_aggregation "
           "{options.multi_objective_aggregation}, std_eps {std_eps%g}\n"
           "  loss         loss_type {options.loss_type}, ratio per {options.importance_sampling_level}, "
           "epsilon {options.epsilon%g}, epsilon_high {epsilon_high%g}, delta {options.delta%g}, dual_clip "
           "{options.dual_clip%g}, beta {options.beta%g}");
    puts(g->beta == 0 ? "" : g->use_bias_correction_kl ? ", KL times ratio (E96)" : ", plain KL (E94)");
    printf("               mask_truncated_completions %s", g->mask_truncated_completions ? "true" : "false");
    say(v, ", top_entropy_quantile {options.top_entropy_quantile%g}, off_policy_mask_threshold "
           "{options.off_policy_mask_threshold%g}, entropy coefficient now {entropy_coef%g}\n"
           "  counts       B = {batch} completions in a micro-batch; micro-batches: GA = {accumulate} in an "
           "update, S = {per_generation} in a generation; mu = {options.num_iterations} passes over it\n"
           "               ");
    puts(json_get(v, "aligned")->number != 0
             ? "old and new log-probabilities come from the same weights: every ratio is 1 (E81)\n"
             : "a generation serves several updates: ratios are 1 in its first and leave 1 afterwards "
               "(E81, E120)\n");
}

/* moments: of the labels, where a missing one counts its group's mean; NULL where it counts 0. */
static void tell_sum(const char *name, const char *letter, const Json *weights, const Json *values,
                     const Json *moments, double total, const char *equation) {
    printf("    %s = sum_k w_k %s_k =", name, letter);
    for (size_t k = 0; k < weights->length; k++) {
        const double mean = moments ? number_at(&moments->item[k], "mean") : 0;
        printf(k ? " + %g*" : " %g*", weights->item[k].number);
        if (values->item[k].type == JSON_NUMBER) say(&values->item[k], "{%.8g}");
        else if (moments) printf("%.8g [missing: the group's mean]", isnan(mean) ? 0 : mean);
        else printf("0 [missing]");
    }
    if (isnan(total)) printf(": every label is missing: unscored (%s)\n", equation);
    else printf(" = %.8g   (%s)\n", total, equation);
}

static void tell_completion(const Config *c, const Json *v, const Json *prompt, size_t p, size_t i) {
    const Json *x = &json_get(prompt, "completions")->item[i];
    printf("  completion %zu.%zu, ", p + 1, i + 1);
    say(x, !strcmp(json_get(x, "finish_reason")->string, "stop") ? "{completion_length} tokens, ended"
           : c->step.grpo.mask_truncated_completions
               ? "{completion_length} tokens, cut off: no loss tokens (E119)"
               : "{completion_length} tokens, cut off");
    say(x, ":\n    {completion%q}\n    scores r_k (E41):");
    tell_labels(json_get(x, "scores"), "{@} {%.8g}");
    putchar('\n');
    if (json_get(x, "reward_label")) {
        say(x, c->step.grpo.multi_objective_aggregation == MIN_LABEL
                   ? "    R = min_k r_k = {reward%.8g}, of {reward_label}   (E221)\n"
                   : "    R = r of {reward_label}, whose mean is lowest, = {reward%.8g}   (E221)\n");
        return;
    }
    tell_sum("R", "r", json_get(v, "weights"), json_get(x, "scores"),
             c->step.grpo.missing_labels == MISSING_MEAN ? json_get(prompt, "label_moments") : NULL,
             number_at(x, "reward"), "E60");
}

/* E70, where floors stand beside the reward. */
static void tell_floored(const Json *v, const Json *generation, const Json *x) {
    const Json *multipliers = json_get(generation, "multipliers");
    say(v, "    Z = (R - mean)/(std + {std_eps%g}) = ");
    say(x, "{z_reward%.8g}   (E62)\n    A = Z + sum_k lambda_k Z_k = {z_reward%.8g}");
    for (size_t k = 0; k < multipliers->length; k++) {
        const double z = number_at(json_get(x, "z"), multipliers->item[k].key);
        printf(" + %g*%.8g", multipliers->item[k].number, isnan(z) ? 0 : z);
    }
    say(x, " = {advantage%.8g}   (E70)\n");
}

static void tell_advantage(const Config *c, const Json *v, const Json *generation, const Json *prompt,
                           size_t p, size_t i) {
    const Json *x = &json_get(prompt, "completions")->item[i], *z = json_get(x, "z");
    const GrpoConfig *g = &c->step.grpo;
    const bool mo = g->multi_objective_aggregation == MO_GRPO, batch = g->scale_rewards == SCALE_BATCH;
    const double r = number_at(x, "reward"), a = number_at(x, "advantage"), eps = number_at(v, "std_eps"),
                 mean = number_at(prompt, "reward_mean"),
                 std = number_at(batch ? generation : prompt, "reward_std");
    printf("  completion %zu.%zu: ", p + 1, i + 1);
    if (z) {
        printf("Z_k = (r_k - mean_k)/(std_k + %g):", eps);
        tell_labels(z, "{@} {%.8g}");
        printf("   (E62)\n");
        if (json_get(x, "z_reward")) { tell_floored(v, generation, x); return; }
        tell_sum(mo ? "A" : "S", "Z", json_get(v, "weights"), z, NULL, number_at(x, "z_sum"),
                 mo ? "E64" : "E63");
        if (mo) return;
        if (isnan(r)) { printf("    A = 0   (E63)\n"); return; }
        say(x, "    A = (S - mean of all S)/(std of all S + ");
        printf("%g) = (%.8g - %.8g)/(%.8g + %g) = %.8g   (E63)\n", eps, number_at(x, "z_sum"),
               number_at(generation, "z_sum_mean"), number_at(generation, "z_sum_std"), eps, a);
    } else if (isnan(r)) printf("A = 0: unscored   (E87)\n");
    else if (g->scale_rewards == SCALE_NONE)
        printf("A = R - mean = %.9g - %.9g = %.8g   (E86)\n", r, mean, a);
    else if (isnan(std)) printf("A = 0: the only scored one of its group   (E87)\n");
    else
        printf("A = (R - mean)/(std + %g) = (%.9g - %.9g)/(%.9g + %g) = %.8g   (%s)\n", eps, r, mean, std,
               eps, a, batch ? "E85" : "E84");
}

static void tell_prompt(const Config *c, const Json *v, const Json *generation, size_t p) {
    const GrpoConfig *g = &c->step.grpo;
    const Json *prompts = json_get(generation, "prompts"), *x = &prompts->item[p],
               *messages = json_get(x, "messages"), *all = json_get(x, "completions"),
               *moments = json_get(x, "label_moments"), *share = json_get(x, "label_share");
    const size_t shown = up_to(c->completions, all->length);
    printf("PROMPT %zu of %zu: %s:", p + 1, prompts->length, c->step.run.dataset);
    say(x, "{line}, {prompt_tokens} tokens\n");
    for (size_t i = 0; i < messages->length; i++) say(&messages->item[i], "  {role}: {content%q}\n");
    for (size_t i = 0; i < shown; i++) tell_completion(c, v, x, p, i);
    say(x, "  group: {scored} scored; mean = (");
    for (size_t i = 0, n = 0; i < all->length; i++)
        if (!isnan(number_at(&all->item[i], "reward")))
            say(&all->item[i], n++ ? " + {reward%.8g}" : "{reward%.8g}");
    say(x, ")/{scored} = {reward_mean%.9g}   (E82)\n");
    if (number_at(x, "scored") > 1) {
        printf("  group: std = square root of (sum of (R - mean)^2 / %g)", number_at(x, "scored") - 1);
        say(x, " = {reward_std%.9g}   (E83)\n");
    }
    if (grpo_from_reward(g) && g->scale_rewards == SCALE_BATCH) {
        printf("  batch: std of all %zu R", prompts->length * all->length);
        say(generation, " = {reward_std%.9g}   (E85)\n");
    }
    for (size_t k = 0; json_get(all->item, "z") && k < moments->length; k++)
        say(&moments->item[k], "  group: {@}: mean_k = {mean%.9g}, std_k = {std%.9g}   (E62)\n");
    for (size_t i = 0; i < shown; i++) tell_advantage(c, v, generation, x, p, i);
    if (shown < all->length) printf("  and %zu completions more (--completions)\n", all->length - shown);
    if (!grpo_weighs(g)) { putchar('\n'); return; }
    printf("  shares of the labels in the advantage%s, w_k Cov(r_k, R)/Var(R):",
           json_get(generation, "floors") ? " but for the floors" : "");
    if (share->item->type == JSON_NUMBER) tell_labels(share, "{@} {%.5g}");
    else printf(" none, Var(R) is 0");
    printf("   (E73)\n\n");
}

/* E112 of each loss, with the numbers of a micro-batch. */
#define BY_COMPLETION "1/(B max(n_i,1) GA) = 1/({batch} n_i {accumulate})"
#define BY_TOKEN "1/(max(N,1)/P GA/S) = 1/({n_item%g}/1*{accumulate}/{per_generation})"
static const char *const weight_rule[] = {
    [LOSS_GRPO] = BY_COMPLETION, [LOSS_SAPO] = BY_COMPLETION, [LOSS_GMPO] = BY_COMPLETION,
    [LOSS_BNPO] = "1/(max(sum of n_i,1) GA) = 1/({n_token%g}*{accumulate})",
    [LOSS_DR_GRPO] =
        "1/(B max_completion_length GA) = 1/({batch}*{max_completion_length}*{accumulate})",
    [LOSS_LUSPO] = "1/(B GA) = 1/({batch}*{accumulate})",
    [LOSS_DAPO] = BY_TOKEN, [LOSS_CISPO] = BY_TOKEN, [LOSS_VESPO] = BY_TOKEN};

static bool shown_of(const Config *c, const Json *x) {
    return (c->prompts < 0 || number_at(x, "prompt") < c->prompts) &&
           (c->completions < 0 || number_at(x, "completion") < c->completions);
}

static void tell_tokens(const Config *c, const Json *x) {
    const Json *tokens = json_get(x, "tokens");
    const size_t shown = up_to(c->tokens, tokens->length);
    printf("  completion %g.%g: ", number_at(x, "prompt") + 1, number_at(x, "completion") + 1);
    say(x, "A = {advantage%.8g}, n = {n%g}, c = {weight%.8g}");
    if (c->step.grpo.importance_sampling_level != LEVEL_TOKEN)
        say(x, ", mean log ratio {mean_log_ratio%.8g}, ratio {sequence_ratio%.8g} (E92)");
    if (json_get(x, "phi")) say(x, ", phi {phi%.8g} (E104)");
    if (json_get(x, "keep")) say(x, ", kept {keep%g} (E108)");
    putchar('\n');
    if (shown > 0)
        printf("     t  %-16s %12s %12s %12s %11s %-4s %12s %12s %12s %13s\n", "token", "logp", "old", "ref",
               "ratio", "clip", "k3", "l", "c", "dlogp");
    for (size_t t = 0; t < shown; t++) {
        const Json *k = &tokens->item[t];
        printf("  %4zu  ", t);
        say(k, "{token%-16q} {logp%12.8g} {old%12.8g} {ref%12.8g}");
        if (number_at(k, "mask") == 0) { printf(" masked: no loss token\n"); continue; }
        say(k, c->step.grpo.beta != 0 ? " {ratio%11.8g} {clipped%-4s} {k3%12.6g}"
                                      : " {ratio%11.8g} {clipped%-4s}            -");
        if (c->step.grpo.loss_type == LOSS_GMPO) printf(" %12s", "E106");
        else say(k, " {loss%12.6g}");
        say(k, " {weight%12.6g} {dlogp%13.6g}\n");
    }
    if (shown < tokens->length) printf("        and %zu tokens more (--tokens)\n", tokens->length - shown);
}

static void tell_micro_batch(const Config *c, const Json *m) {
    const GrpoConfig *g = &c->step.grpo;
    const Json *all = json_get(m, "completions"), *first = all->item, *last = &all->item[all->length - 1];
    const bool by_token = g->importance_sampling_level == LEVEL_TOKEN;
    say(m, "MICRO-BATCH {micro_batch} of {accumulate}: completions ");
    printf("%g.%g to %g.%g", number_at(first, "prompt") + 1, number_at(first, "completion") + 1,
           number_at(last, "prompt") + 1, number_at(last, "completion") + 1);
    say(m, ", {n_token%g} loss tokens; N = {n_item%g} in the generation\n  c_it = ");
    say(m, weight_rule[g->loss_type]);
    printf("   (E112)\n  logp, old, ref: E23; ratio: %s; clip: E100; k3 = exp(d) - d - 1, d = ref - logp: "
           "E94; l: E111; dlogp: %s\n",
           by_token ? "exp(logp - old), E91" : "E92",
           g->loss_type == LOSS_GMPO                        ? "E106"
           : g->importance_sampling_level == LEVEL_SEQUENCE ? "E114"
                                                            : "E113");
    if (g->top_entropy_quantile < 1)
        say(m, "  tokens with entropy below {entropy_threshold%.8g} have no policy term   (E109)\n");
    for (size_t i = 0; i < all->length; i++) if (shown_of(c, &all->item[i])) tell_tokens(c, &all->item[i]);
    say(m, g->loss_type == LOSS_GMPO
               ? "  sum of c l over all {n_token%g} loss tokens = {policy_loss%.9g}   (E106)\n"
               : "  sum of c l over all {n_token%g} loss tokens = {policy_loss%.9g}   (E112)\n");
    if (number_at(m, "entropy_coef") != 0)
        say(m, "  with the entropy bonus, coefficient {entropy_coef%g}: {loss%.9g}   (E115)\n");
    if (g->beta != 0) say(m, "  mean KL of a token = {kl%.8g}   (E122)\n");
    putchar('\n');
}

static void tell_generation(const Config *c, const Json *v, const Json *x) {
    const Json *prompts = json_get(x, "prompts"), *floors = json_get(x, "floors"),
               *micro = json_get(x, "micro_batches");
    const size_t shown = up_to(c->prompts, prompts->length);
    size_t left_out = 0;
    if (floors) {
        say(v, "FLOORS, held by multipliers: rate {options.multiplier_learning_rate%g}, at most "
               "{options.multiplier_max%g}\n");
        for (size_t k = 0; k < floors->length; k++)
            say(&floors->item[k], "  {@} at least {floor%g} on average, multiplier {multiplier%.9g}   (E70); "
                                  "the mean is {mean%.9g}, which makes it {next%.9g}   (E71)\n");
        putchar('\n');
    }
    for (size_t p = 0; p < shown; p++) tell_prompt(c, v, x, p);
    if (shown < prompts->length) printf("and %zu prompts more (--prompts)\n\n", prompts->length - shown);
    for (size_t i = 0; i < micro->length; i++) {
        const Json *all = json_get(&micro->item[i], "completions");
        size_t k = 0;
        while (k < all->length && !shown_of(c, &all->item[k])) k++;
        if (i == 0 || k < all->length) tell_micro_batch(c, &micro->item[i]);
        else left_out++;
    }
    if (left_out) printf("and %zu micro-batches more, of completions that are not shown\n\n", left_out);
}

static void tell_all(const Config *c, const Json *v) {
    const Json *generations = json_get(v, "generations");
    tell_settings(c, v);
    for (size_t i = 0; i < generations->length; i++) tell_generation(c, v, &generations->item[i]);
    say(v, number_at(v, "accumulate") > 1
               ? "UPDATE\n  loss = sum over {accumulate} micro-batches = {update.loss%.9g}   (E117)\n"
               : "UPDATE\n  loss = sum over {accumulate} micro-batch = {update.loss%.9g}   (E117)\n");
    if (json_get(v, "aligned")->number != 0)
        printf("  every ratio is 1, so the loss is about minus a mean of advantages: near 0 is right, its "
               "gradient carries the signal\n");
    say(v, "  gradient norm = {update.grad_norm%.9g}; clip coefficient = ");
    say(v, c->step.run.max_grad_norm > 0
               ? "min(1, {options.max_grad_norm%g}/(norm + 1e-6)) = {update.clip_coefficient%.9g}   (E284)\n"
               : "1, clipping is off   (E284)\n");
    say(v, "  learning rate = {options.learning_rate%g} * {update.schedule_factor%.9g} = "
           "{update.learning_rate%.9g}   (E286 to E288, {options.lr_scheduler_type})\n"
           "  AdamW with beta1 {options.adam_beta1%g}, beta2 {options.adam_beta2%g}, epsilon "
           "{options.adam_epsilon%g}, weight decay {options.weight_decay%g} on matrices   (E280 to E283)\n"
           "  weights after it, not kept: SHA-256 {update.sha256}\n");
    if (c->prompts >= 0 && c->completions >= 0 && c->tokens >= 0)
        printf("\nThis is a page of it: --prompts -1 --completions -1 --tokens -1 leave nothing out, --html "
               "FILE colours every token, --json is for programs.\n");
}

/* ---- as a page ---- */

static const char page_head[] =
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    ":root { color-scheme: light dark }\n"
    "body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem;\n"
    "  -webkit-print-color-adjust: exact; print-color-adjust: exact }\n"
    ".wide { overflow-x: auto }\ntable { border-collapse: collapse; width: 100% }\n"
    "th, td { text-align: right; padding: .2rem .6rem; font-variant-numeric: tabular-nums }\n"
    "th:first-child, td:first-child { text-align: left }\n"
    ".reply td { white-space: pre-wrap; border-bottom: 1px solid gray; padding-bottom: .6rem }\n"
    ".up { background: rgb(37 99 235/var(--a)) }\n.down { background: rgb(220 38 38/var(--a)) }\n"
    ".clip { text-decoration: underline dotted }\n.masked { opacity: .5 }\n"
    ".bar { height: 1.2rem; background: linear-gradient(90deg, rgb(37 99 235/.75), transparent, "
    "rgb(220 38 38/.75)) }\n.ends { display: flex; justify-content: space-between }\n</style>\n";

/* The tokens of a completion, from the micro-batch of the update that has it; NULL: none has. */
static const Json *tokens_of(const Json *generation, size_t p, size_t i) {
    const Json *micro = json_get(generation, "micro_batches");
    for (size_t m = 0; m < micro->length; m++) {
        const Json *all = json_get(&micro->item[m], "completions");
        for (size_t k = 0; k < all->length; k++)
            if (number_at(&all->item[k], "prompt") == (double)p &&
                number_at(&all->item[k], "completion") == (double)i)
                return json_get(&all->item[k], "tokens");
    }
    return NULL;
}

/* The largest |dlogp|, which has the strongest colour. */
static double page_largest(const Json *generation) {
    double largest = 0;
    const Json *micro = json_get(generation, "micro_batches");
    for (size_t i = 0; i < micro->length; i++) {
        const Json *all = json_get(&micro->item[i], "completions");
        for (size_t k = 0; k < all->length; k++) {
            const Json *tokens = json_get(&all->item[k], "tokens");
            for (size_t t = 0; t < tokens->length; t++)
                largest = fmax(largest, fabs(number_at(&tokens->item[t], "dlogp")));
        }
    }
    return largest;
}

static void page_completion(FILE *f, const Json *x, const Json *tokens, double largest, size_t p, size_t i) {
    const Json *scores = json_get(x, "scores");
    fprintf(f, "<tr><td>%zu.%zu</td>", p + 1, i + 1);
    for (size_t k = 0; k < scores->length; k++) say_html(f, &scores->item[k], "<td>{%.4f}</td>");
    say_html(f, x, "<td>{reward%.4f}</td><td>{advantage%+.4f}</td></tr>\n");
    fprintf(f, "<tr class=\"reply\"><td colspan=\"%zu\">", scores->length + 3);
    if (!tokens) say_html(f, x, "<span class=\"masked\">{completion}</span>");
    for (size_t t = 0; tokens && t < tokens->length; t++) {
        const Json *k = &tokens->item[t];
        const double d = number_at(k, "dlogp");
        fprintf(f, "<span class=\"%s%s\" style=\"--a:%.2f\"",
                number_at(k, "mask") == 0 ? "masked" : d < 0 ? "up" : "down",
                json_get(k, "clipped")->number != 0 ? " clip" : "",
                largest > 0 ? 0.75 * fabs(d) / largest : 0);
        say_html(f, k, " title=\"dlogp {dlogp%.4g}, logp {logp%.6g}, old {old%.6g}, ref {ref%.6g}, ratio "
                       "{ratio%.6g}, clipped {clipped}, k3 {k3%.4g}, entropy {entropy%.4g}\">{token}</span>");
    }
    fputs("</td></tr>\n", f);
}

static void page_prompt(FILE *f, const Json *v, const Json *generation, double largest, size_t p) {
    const Json *x = &json_get(generation, "prompts")->item[p], *messages = json_get(x, "messages"),
               *all = json_get(x, "completions"), *weights = json_get(v, "weights");
    fprintf(f, "<h2>Prompt %zu</h2>\n", p + 1);
    for (size_t i = 0; i < messages->length; i++)
        say_html(f, &messages->item[i], "<p><b>{role}</b>: {content}</p>\n");
    say_html(f, x, "<p>Rewards of the group: mean {reward_mean%.4f}, deviation {reward_std%.4f}.</p>\n"
                   "<div class=\"wide\"><table>\n<tr><th>completion</th>");
    for (size_t k = 0; k < weights->length; k++) say_html(f, &weights->item[k], "<th>{@}</th>");
    fputs("<th>reward R</th><th>advantage A</th></tr>\n", f);
    for (size_t i = 0; i < all->length; i++)
        page_completion(f, &all->item[i], tokens_of(generation, p, i), largest, p, i);
    fputs("</table></div>\n", f);
}

static bool write_page(const char *path, const Json *v, Err *e) {
    const Json *generations = json_get(v, "generations");
    double largest = 0;
    for (size_t g = 0; g < generations->length; g++)
        largest = fmax(largest, page_largest(&generations->item[g]));
    FILE *f = fopen(path, "wx");
    if (!f) return fail(e, "%s: could not be written; give --html a new file in a folder that can", path);
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n", f);
    say_html(f, v, "<title>grpo trace: update {step}</title>\n");
    fputs(page_head, f);
    say_html(f, v, "<h1>One GRPO step: update {step} of {updates}</h1>\n<p>Policy {options.model}, loss "
                   "{options.loss_type}, beta {options.beta%g}; loss {update.loss%.6g}, gradient norm "
                   "{update.grad_norm%.6g}. Each token stands on the colour of dlogp, the derivative of the "
                   "loss by its log-probability; the numbers appear over it. Dotted: the ratio is clipped. "
                   "Pale: no loss token.</p>\n<div class=\"bar\"></div>\n<div class=\"ends\">");
    fprintf(f, "<span>%.3g: the update makes it likelier</span><span>0</span>"
               "<span>%.3g: less likely</span></div>\n",
            -largest, largest);
    for (size_t g = 0; g < generations->length; g++) {
        const Json *x = &generations->item[g];
        if (generations->length > 1) say_html(f, x, "<h2>Generation {generation}</h2>\n");
        for (size_t p = 0; p < json_get(x, "prompts")->length; p++) page_prompt(f, v, x, largest, p);
    }
    fputs("</html>\n", f);
    const bool bad = ferror(f);
    if (fclose(f) || bad) {
        remove(path);
        return fail(e, "%s: could not be written whole", path);
    }
    printf("%s: ", path);
    say(v, "update {step} of {updates}, every completion with its tokens in colours\n");
    return true;
}

/* ---- the step ---- */

/* The loop of train; what belongs to the wanted update is put. */
static bool steps(Step *s, JsonWriter *w, int64_t wanted, int limit, Err *e) {
    const int per = step_micro_batches(s);
    for (int64_t generation = s->generation; ; generation++) {
        /* it has micro-batches of that update */
        const bool tell = (generation + 1) * per > wanted * s->accumulate;
        if (!step_generation(s, generation, e) || (tell && !put_generation(w, s, generation, e)))
            return false;
        for (int i = 0; i < per; i++) {
            if (!step_micro_batch(s, i, e) ||
                (s->learner.trainer.step == wanted && !put_micro_batch(w, s, i, limit, e)))
                return false;
            if (s->update.n_micro < s->accumulate) continue;
            if (!step_update(s, e)) return false;
            if (s->learner.trainer.step > wanted) break;
            step_clear(s);
        }
        if (tell) json_end(w, ']'), json_end(w, '}');
        if (s->learner.trainer.step > wanted) return true;
    }
}

static bool trace_checkpoint(Step *s, const char *path, Err *e) {
    Safetensors *from = checkpoint_open(path, e);
    const bool ok = from && trainer_read(&s->learner.trainer, from, path, e);
    safetensors_close(from);
    return ok;
}

static bool trace(Step *s, Costs *cost, JsonWriter *w, const Config *c, Err *e) {
    char hex[65], path[600];
    RunOptions run = c->step.run;
    if (c->html && run.json) return fail(e, "--html, --json: the text is one or the other; leave one out");
    if (c->html && path_exists(c->html)) return fail(e, "%s: exists already; give another --html", c->html);
    if (!run.output_dir) run.output_dir = ".";              /* trace needs none */
    if (!run_options_check(&run, e) || !step_open(s, &c->step, cost, e)) return false;
    step_keep(s, &s->learner.trainer);
    if (run.resume && (!path_join(path, sizeof path, run.output_dir, "checkpoint.safetensors", e) ||
                       !trace_checkpoint(s, path, e)))
        return false;
    step_seek(s);
    const int64_t done = s->learner.trainer.step, wanted = c->update ? c->update - 1 : done;
    if (done >= s->learner.trainer.n_step)
        return fail(e, "%s: the run is over: no update is left to tell; leave --resume out and give --update",
                    path);
    if (wanted < done || wanted >= s->learner.trainer.n_step)
        return fail(e, "--update: found %lld, expected %lld to %lld, the updates of this run%s",
                    (long long)wanted + 1, (long long)done + 1, (long long)s->learner.trainer.n_step,
                    done ? " after its checkpoint" : "");
    folder_digest(s->learner.model, hex);
    json_begin(w, '{');
    put_settings(w, s, c, wanted, hex);
    json_open(w, "generations", '[');
    if (!steps(s, w, wanted, run.json ? c->tokens : -1, e)) return false;
    json_end(w, ']');
    put_update(w, s);
    json_end(w, '}');
    if (run.json) return json_print(w, "\n", e);
    Json *v = json_parse(w->text, w->length, "trace", 1, e);
    const bool ok = v && (!c->html || write_page(c->html, v, e));
    if (v && !c->html) tell_all(c, v);
    json_free(v);
    return ok;
}

int cmd_trace(int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    grpo_config_default(&c.step.grpo);
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    Step s = {.c = &c.step};
    Costs cost = {.predicted = {.prompt = 0}};
    JsonWriter w = {0};
    const bool ok = trace(&s, &cost, &w, &c, e);
    free(w.text);
    step_close(&s);
    return ok ? 0 : -1;
}
