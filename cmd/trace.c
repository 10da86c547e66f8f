/* trace.c: `grpo trace`: one GRPO step told in full, for an auditor with a pocket calculator: settings,
 * prompts, completions, scores, rewards, advantages, tokens, loss, gradient norm, each with the number of its
 * equation.
 *
 * It goes through the functions that train goes through (grpo_step.h) and only prints. Nothing is written, no
 * update is kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "lib/files.h"
#include "lib/optim.h"

typedef struct { StepConfig step; int tokens, update; } Config;          /* step stands first: STEP_OPTIONS */

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"tokens", SET_INT, AT(tokens), "8", NULL, "tokens shown of each completion; -1: all"},
    {"update", SET_INT, AT(update), "0", NULL,
     "the update to tell, counted from 1; those before it are made in memory; 0: the next"},
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
              {grpo_settings, AT(step.grpo)}}};

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
    return s->c->grpo.multi_objective_aggregation != SUM_THEN_NORMALIZE || s->rewards.floors;
}

/* The text between quotation marks, as JSON writes it: control characters and bad bytes become visible. To be
 * freed. */
static char *quoted(const char *text, size_t n) {
    JsonWriter w = {0};
    json_string_n(&w, text, n);
    return w.text;
}

static void put_quoted(const char *text) {
    char *q = quoted(text, strlen(text));
    fputs(q, stdout);
    free(q);
}

static char *token_text(const Step *s, int id, Err *e) {
    size_t n;
    char *text = tokenizer_decode(s->learner.language.tokenizer, &id, 1, false, &n, e),
         *q = text ? quoted(text, n) : NULL;
    free(text);
    return q;
}

/* ---- settings ---------------------------------------------------------------------------- */

static void tell_number(const char *name, double x) {
    if (isnan(x)) printf(", %s none", name);
    else printf(", %s %g", name, x);
}

static void tell_settings(const Step *s, int64_t wanted, const char *hex) {
    const StepConfig *c = s->c;
    const GrpoConfig *g = &c->grpo;
    printf("One GRPO step, told in full: update %lld of %lld. Nothing is written, and the update is not "
           "kept.\n"
           "Numbers such as E84 are those of the equations.\n\nSETTINGS\n",
           (long long)wanted + 1, (long long)s->learner.trainer.n_step);
    printf("  policy       %s, weights %.16s%s", c->run.model, hex,
           c->run.resume ? " as of the checkpoint" : "");
    if (wanted > s->learner.trainer.step)
        printf(", then %lld updates made in memory", (long long)(wanted - s->learner.trainer.step));
    putchar('\n');
    if (s->learner.reference) printf("  reference    %s (beta %g)\n", c->run.model, g->beta);
    else printf("  reference    none: beta is 0, so there is no KL term\n");
    printf("  labels      ");
    for (int k = 0; k < s->rewards.n_label; k++)
        printf("%s %s, weight %g", k ? ";" : "", s->rewards.label[k], s->rewards.weight[k]);
    printf("\n  scores       %s%s%s", c->scorer.folders ? c->scorer.folders : "",
           c->scorer.folders && c->scorer.program ? ", " : "", c->scorer.program ? c->scorer.program : "");
    if (s->rewards.clip) printf("; cut to %g .. %g (E77)", s->rewards.clip_low[0], s->rewards.clip_high[0]);
    printf("; a missing label counts %s (E61)\n", missing_labels_names[g->missing_labels]);
    printf("  completions  %d prompts x %d, at most %d tokens; temperature %g (E23), top_k %d, top_p %g, "
           "min_p %g (E29); seed %d\n",
           s->gen.n_prompt, s->group, s->gen.max_new, c->sampling.temperature, c->sampling.top_k,
           c->sampling.top_p, c->sampling.min_p, c->run.seed);
    printf("  advantage    scale_rewards %s, multi_objective_aggregation %s, std_eps %g\n",
           scale_rewards_names[g->scale_rewards],
           multi_objective_aggregation_names[g->multi_objective_aggregation], g->std_eps);
    printf("  loss         loss_type %s, ratio per %s, epsilon %g, epsilon_high %g",
           loss_type_names[g->loss_type], importance_sampling_level_names[g->importance_sampling_level],
           g->epsilon, grpo_epsilon_high(g));
    tell_number("delta", g->delta);
    tell_number("dual_clip", g->dual_clip);
    printf(", beta %g%s\n", g->beta,
           g->beta == 0                ? ""
           : g->use_bias_correction_kl ? ", KL times ratio (E96)"
                                       : ", plain KL (E94)");
    printf("               mask_truncated_completions %s, top_entropy_quantile %g",
           g->mask_truncated_completions ? "true" : "false", g->top_entropy_quantile);
    tell_number("off_policy_mask_threshold", g->off_policy_mask_threshold);
    printf(", entropy coefficient now %g\n", grpo_entropy_coef(&s->control, g));
    printf("  counts       B = %d completions in a micro-batch; micro-batches: GA = %d in an update, S = %d "
           "in a generation; mu = %d passes over it\n",
           s->batch, s->accumulate, s->per_generation, g->num_iterations);
    printf("               %s\n\n",
           grpo_aligned(s->accumulate, s->per_generation, g->num_iterations)
               ? "old and new log-probabilities come from the same weights: every ratio is 1 (E81)"
               : "a generation serves several updates: ratios are 1 in its first and leave 1 afterwards "
                 "(E81, E120)");
}

static void json_settings(JsonWriter *w, const Step *s, const Config *c, int64_t wanted, const char *hex) {
    json_put_string(w, "command", "trace");
    json_put_string(w, "real", REAL_DTYPE);
    json_put_int(w, "step", wanted + 1);
    json_open(w, "options", '{');
    options_write(w, c, &table);
    json_end(w, '}');
    json_put_string(w, "policy_sha256", hex);
    json_open(w, "weights", '{');
    for (int k = 0; k < s->rewards.n_label; k++) json_put(w, s->rewards.label[k], s->rewards.weight[k]);
    json_end(w, '}');
    json_open(w, "generations", '[');
}

/* ---- completions, scores, advantages ------------------------------------------------------ */

static void tell_sum(const char *name, const char *letter, const Step *s, const real *value,
                     const real *group, double total, const char *equation) {
    printf("    %s = sum_k w_k %s_k =", name, letter);
    for (int k = 0; k < s->rewards.n_label; k++) {
        printf("%s%g*", k ? " + " : " ", s->rewards.weight[k]);
        if (!isnan(value[k])) printf("%.8g", (double)value[k]);
        else if (group && s->c->grpo.missing_labels == MISSING_MEAN) {
            double mean;
            reward_moments(&mean, NULL, group + k, (size_t)s->group, (size_t)s->rewards.n_label, 1);
            printf("%.8g [missing: the group's mean]", isnan(mean) ? 0 : mean);
        } else printf("0 [missing]");
    }
    if (isnan(total)) printf(": every label is missing: unscored (%s)\n", equation);
    else printf(" = %.8g   (%s)\n", total, equation);
}

static void tell_completion(const Step *s, int i) {
    const Generation *g = &s->gen;
    const real *score = g->score + (size_t)i * (size_t)g->n_label;
    const int group = i / s->group;
    printf("  completion %d.%d, %d tokens, %s:\n    ", group + 1, i % s->group + 1, g->out.length[i],
           g->out.ended[i]                         ? "ended"
           : s->c->grpo.mask_truncated_completions ? "cut off: no loss tokens (E119)"
                                                   : "cut off");
    put_quoted(g->text[i]);
    printf("\n    scores r_k (E41):");
    for (int k = 0; k < g->n_label; k++) {
        printf("%s %s ", k ? "," : "", s->rewards.label[k]);
        if (isnan(score[k])) printf("missing");
        else printf("%.8g", (double)score[k]);
    }
    putchar('\n');
    tell_sum("R", "r", s, score, g->score + (size_t)group * (size_t)s->group * (size_t)g->n_label,
             g->reward[i], "E60");
}

/* E70, where floors stand beside the reward. */
static void tell_floored(const Step *s, const Parts *p, int i) {
    const Generation *g = &s->gen;
    const double z = isnan(p->z_reward[i]) ? 0 : p->z_reward[i];
    printf("    Z = (R - mean)/(std + %g) = %.8g%s   (E62)\n    A = Z + sum_k lambda_k Z_k = %.8g",
           s->c->grpo.std_eps, z, isnan(p->z_reward[i]) ? " [missing]" : "", z);
    for (int k = 0; k < g->n_label; k++) {
        const double zk = p->z[(size_t)i * (size_t)g->n_label + (size_t)k];
        if (s->rewards.floor[k] > -INFINITY) printf(" + %g*%.8g", g->multiplier[k], isnan(zk) ? 0 : zk);
    }
    printf(" = %.8g   (E70)\n", (double)g->adv[i]);
}

static void tell_advantage(const Step *s, const Parts *p, int i, double mean, double std) {
    const Generation *g = &s->gen;
    const GrpoConfig *c = &s->c->grpo;
    const double r = g->reward[i], a = g->adv[i];
    printf("  completion %d.%d: ", i / s->group + 1, i % s->group + 1);
    if (by_label(s)) {
        const real *z = p->z + (size_t)i * (size_t)g->n_label;
        printf("Z_k = (r_k - mean_k)/(std_k + %g):", c->std_eps);
        for (int k = 0; k < g->n_label; k++)
            printf("%s %s %.8g", k ? "," : "", s->rewards.label[k], isnan(z[k]) ? 0 : (double)z[k]);
        printf("   (E62)\n");
        if (s->rewards.floors) { tell_floored(s, p, i); return; }
        tell_sum(c->multi_objective_aggregation == MO_GRPO ? "A" : "S", "Z", s, z, NULL, p->sum[i],
                 c->multi_objective_aggregation == MO_GRPO ? "E64" : "E63");
        if (c->multi_objective_aggregation == MO_GRPO) return;
        if (isnan(r)) printf("    A = 0   (E63)\n");
        else
            printf("    A = (S - mean of all S)/(std of all S + %g) = (%.8g - %.8g)/(%.8g + %g) = %.8g   "
                   "(E63)\n",
                   c->std_eps, (double)p->sum[i], p->sum_mean, p->sum_std, c->std_eps, a);
        return;
    }
    if (c->scale_rewards == SCALE_BATCH) std = g->stats.reward_std;
    if (isnan(r)) printf("A = 0: unscored   (E87)\n");
    else if (c->scale_rewards == SCALE_NONE)
        printf("A = R - mean = %.9g - %.9g = %.8g   (E86)\n", r, mean, a);
    else if (isnan(std)) printf("A = 0: the only scored one of its group   (E87)\n");
    else
        printf("A = (R - mean)/(std + %g) = (%.9g - %.9g)/(%.9g + %g) = %.8g   (%s)\n", c->std_eps, r, mean,
               std, c->std_eps, a, c->scale_rewards == SCALE_BATCH ? "E85" : "E84");
}

static void tell_group(const Step *s, const Parts *p, int prompt) {
    const Generation *g = &s->gen;
    const GrpoConfig *c = &s->c->grpo;
    const Example *x = g->example[prompt];
    const int first = prompt * s->group;
    double mean, std;
    printf("PROMPT %d of %d: %s:%d, %d tokens\n", prompt + 1, g->n_prompt, s->prompts.train.path, x->line,
           g->prompt[prompt].n);
    for (int i = 0; i < x->n_prompt; i++) {
        printf("  %s: ", x->prompt[i].role);
        put_quoted(x->prompt[i].content);
        putchar('\n');
    }
    for (int i = first; i < first + s->group; i++) tell_completion(s, i);
    const size_t n = reward_moments(&mean, &std, g->reward + first, (size_t)s->group, 1, 1);
    printf("  group: %zu scored; mean = (", n);
    for (int i = first, shown = 0; i < first + s->group; i++)
        if (!isnan(g->reward[i])) printf("%s%.8g", shown++ ? " + " : "", (double)g->reward[i]);
    printf(")/%zu = %.9g   (E82)\n", n, mean);
    if (n > 1)
        printf("  group: std = square root of (sum of (R - mean)^2 / %zu) = %.9g   (E83)\n", n - 1, std);
    if (c->multi_objective_aggregation == SUM_THEN_NORMALIZE && c->scale_rewards == SCALE_BATCH)
        printf("  batch: std of all %d R = %.9g   (E85)\n", g->n_completion, g->stats.reward_std);
    if (by_label(s))
        for (int k = 0; k < g->n_label; k++) {
            reward_moments(&mean, &std, g->score + (size_t)first * (size_t)g->n_label + (size_t)k,
                           (size_t)s->group, (size_t)g->n_label, 1);
            printf("  group: %s: mean_k = %.9g, std_k = %.9g   (E62)\n", s->rewards.label[k], mean, std);
        }
    reward_moments(&mean, &std, g->reward + first, (size_t)s->group, 1, 1);
    for (int i = first; i < first + s->group; i++) tell_advantage(s, p, i, mean, std);
    printf("  shares of the labels in the advantage%s, w_k Cov(r_k, R)/Var(R):",
           s->rewards.floors ? " but for the floors" : "");
    const double *share = p->share + (size_t)prompt * (size_t)g->n_label;
    if (isnan(share[0])) printf(" none, Var(R) is 0");
    else
        for (int k = 0; k < g->n_label; k++)
            printf("%s %s %.5g", k ? "," : "", s->rewards.label[k], share[k]);
    printf("   (E73)\n\n");
}

static void json_group(JsonWriter *w, const Step *s, const Parts *p, int prompt) {
    const Generation *g = &s->gen;
    const int first = prompt * s->group;
    double mean, std;
    reward_moments(&mean, &std, g->reward + first, (size_t)s->group, 1, 1);
    json_begin(w, '{');
    json_put_int(w, "line", g->example[prompt]->line);
    json_open(w, "messages", '[');
    for (int i = 0; i < g->example[prompt]->n_prompt; i++) {
        json_begin(w, '{');
        json_put_string(w, "role", g->example[prompt]->prompt[i].role);
        json_put_string(w, "content", g->example[prompt]->prompt[i].content);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_put_int(w, "prompt_tokens", g->prompt[prompt].n);
    json_put(w, "reward_mean", mean);
    json_put(w, "reward_std", std);
    json_open(w, "label_share", '{');
    for (int k = 0; k < g->n_label; k++)
        json_put(w, s->rewards.label[k], p->share[(size_t)prompt * (size_t)g->n_label + (size_t)k]);
    json_end(w, '}');
    json_open(w, "completions", '[');
    for (int i = first; i < first + s->group; i++) {
        json_begin(w, '{');
        json_put_string(w, "completion", g->text[i]);
        json_put_int(w, "completion_length", g->out.length[i]);
        json_put_string(w, "finish_reason", g->out.ended[i] ? "stop" : "length");
        json_open(w, "scores", '{');
        for (int k = 0; k < g->n_label; k++)
            json_put(w, s->rewards.label[k], g->score[(size_t)i * (size_t)g->n_label + (size_t)k]);
        json_end(w, '}');
        json_put(w, "reward", g->reward[i]);
        if (by_label(s)) {
            json_open(w, "z", '{');
            for (int k = 0; k < g->n_label; k++)
                json_put(w, s->rewards.label[k], p->z[(size_t)i * (size_t)g->n_label + (size_t)k]);
            json_end(w, '}');
            if (!s->rewards.floors) json_put(w, "z_sum", p->sum[i]);
        }
        json_put(w, "advantage", g->adv[i]);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_end(w, '}');
}

/* ---- a micro-batch: tokens and loss ------------------------------------------------------- */

static void tell_weight_rule(const Step *s) {
    const GrpoConfig *c = &s->c->grpo;
    const int b = s->batch, ga = s->accumulate;
    switch (c->loss_type) {
    case LOSS_GRPO:
    case LOSS_SAPO:
    case LOSS_GMPO: printf("c_it = 1/(B max(n_i,1) GA) = 1/(%d n_i %d)   (E112)\n", b, ga); break;
    case LOSS_BNPO:
        printf("c_it = 1/(max(sum of n_i,1) GA) = 1/(%g*%d)   (E112)\n", s->micro.whole.n_token, ga);
        break;
    case LOSS_DR_GRPO:
        printf("c_it = 1/(B max_completion_length GA) = 1/(%d*%d*%d)   (E112)\n", b, c->max_completion_length,
               ga);
        break;
    case LOSS_LUSPO: printf("c_it = 1/(B GA) = 1/(%d*%d)   (E112)\n", b, ga); break;
    case LOSS_DAPO:
    case LOSS_CISPO:
    case LOSS_VESPO:
        printf("c_it = 1/(max(N,1)/P GA/S) = 1/(%g/1*%d/%d)   (E112)\n", s->micro.window.n_item, ga,
               s->per_generation);
        break;
    }
}

/* Pads to `width` characters; continuation bytes of UTF-8 take no place. */
static void put_padded(const char *text, int width) {
    int n = 0;
    for (const char *c = text; *c; c++) n += ((unsigned char)*c & 0xC0) != 0x80;
    fputs(text, stdout);
    for (; n < width; n++) putchar(' ');
}

static bool tell_tokens(const Step *s, int i, const GrpoTold *q, const GrpoToken *token, int limit, Err *e) {
    const Generation *g = &s->gen;
    const GrpoConfig *c = &s->c->grpo;
    const int length = g->out.length[i], shown = limit < 0 || limit > length ? length : limit;
    printf("  completion %d.%d: A = %.8g, n = %g, c = %.8g", i / s->group + 1, i % s->group + 1, q->adv, q->n,
           q->weight);
    if (c->importance_sampling_level != LEVEL_TOKEN)
        printf(", mean log ratio %.8g, ratio %.8g (E92)", q->mean_log_ratio, q->rho);
    if (c->loss_type == LOSS_VESPO) printf(", phi %.8g (E104)", q->phi);
    if (!isnan(c->off_policy_mask_threshold)) printf(", kept %g (E108)", q->keep);
    putchar('\n');
    if (shown > 0)
        printf("     t  %-16s %12s %12s %12s %11s %-4s %12s %12s %12s %13s\n", "token", "logp", "old", "ref",
               "ratio", "clip", "k3", "l", "c", "dlogp");
    for (int t = 0; t < shown; t++) {
        const size_t at = g->offset[i] + (size_t)t;
        const GrpoToken *k = &token[t];
        char *text = token_text(s, g->token[at], e);
        if (!text) return false;
        printf("  %4d  ", t);
        put_padded(text, 16);
        free(text);
        printf(" %12.8g %12.8g", (double)g->logp[at], (double)g->old[at]);
        if (s->learner.reference) printf(" %12.8g", (double)g->ref[at]);
        else printf(" %12s", "-");
        if (!k->counts) { printf(" masked: no loss token\n"); continue; }
        printf(" %11.8g %-4s", k->ratio, k->clipped ? "yes" : "no");
        if (s->learner.reference) printf(" %12.6g", k->k3);
        else printf(" %12s", "-");
        if (c->loss_type == LOSS_GMPO) printf(" %12s", "E106");
        else printf(" %12.6g", k->loss);
        printf(" %12.6g %13.6g\n", k->weight, (double)g->dlogp[at]);
    }
    if (shown < length) printf("        and %d tokens more (--tokens)\n", length - shown);
    return true;
}

static void json_tokens(JsonWriter *w, const Step *s, int i, const GrpoTold *q, const GrpoToken *token,
                        int limit, Err *e) {
    const Generation *g = &s->gen;
    const int length = g->out.length[i], shown = limit < 0 || limit > length ? length : limit;
    json_begin(w, '{');
    json_put_int(w, "prompt", i / s->group);
    json_put_int(w, "completion", i % s->group);
    json_put(w, "advantage", q->adv);
    json_put(w, "n", q->n);
    json_put(w, "weight", q->weight);
    json_put(w, "mean_log_ratio", q->mean_log_ratio);
    json_put(w, "sequence_ratio", q->rho);
    json_open(w, "tokens", '[');
    for (int t = 0; t < shown; t++) {
        const size_t at = g->offset[i] + (size_t)t;
        const GrpoToken *k = &token[t];
        char *text = token_text(s, g->token[at], e);
        json_begin(w, '{');
        json_put_int(w, "id", g->token[at]);
        json_put_raw(w, "token", text ? text : "null");
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
}

static bool tell_micro_batch(const Step *s, JsonWriter *w, int i, int limit, Err *e) {
    const int first = step_first_completion(s, i);
    const GrpoIn in = step_input(s, first, s->batch);
    const GrpoConfig *c = &s->c->grpo;
    const double loss = grpo_loss_value(&s->micro.sums, &s->micro.window, &s->micro.whole);
    GrpoToken *token = memory_new((size_t)s->gen.max_new * sizeof *token, "trace", e);
    bool ok = token != NULL;
    if (w) {
        json_begin(w, '{');
        json_put(w, "n_item", s->micro.window.n_item);
        json_put(w, "n_token", s->micro.whole.n_token);
        json_put(w, "loss", loss);
        json_put(w, "entropy_coef", s->micro.window.entropy_coef);
        json_open(w, "completions", '[');
    } else {
        printf("MICRO-BATCH %d of %d: completions %d.%d to %d.%d, %g loss tokens; N = %g in the generation\n",
               s->update.n_micro, s->accumulate, first / s->group + 1, first % s->group + 1,
               (first + s->batch - 1) / s->group + 1, (first + s->batch - 1) % s->group + 1,
               s->micro.whole.n_token, s->micro.window.n_item);
        printf("  ");
        tell_weight_rule(s);
        printf("  logp, old, ref: E23; ratio: %s; clip: E100; k3 = exp(d) - d - 1, d = ref - logp: E94; l: "
               "E111; dlogp: %s\n",
               c->importance_sampling_level == LEVEL_TOKEN ? "exp(logp - old), E91" : "E92",
               c->loss_type == LOSS_GMPO                        ? "E106"
               : c->importance_sampling_level == LEVEL_SEQUENCE ? "E114"
                                                                : "E113");
        if (c->top_entropy_quantile < 1)
            printf("  tokens with entropy below %.8g have no policy term   (E109)\n",
                   s->micro.whole.entropy_threshold);
    }
    for (int k = 0; ok && k < s->batch; k++) {
        GrpoTold told;
        grpo_tell(&told, token, &in, (size_t)k, c, &s->micro.window, &s->micro.whole);
        if (w) json_tokens(w, s, first + k, &told, token, limit, e);
        else ok = tell_tokens(s, first + k, &told, token, limit, e);
    }
    if (w) {
        json_end(w, ']');
        json_end(w, '}');
    } else {
        printf("  sum of c l over all %g loss tokens = %.9g   (%s)\n", s->micro.whole.n_token,
               s->micro.sums.policy, c->loss_type == LOSS_GMPO ? "E106" : "E112");
        if (s->micro.window.entropy_coef != 0)
            printf("  with the entropy bonus, coefficient %g: %.9g   (E115)\n", s->micro.window.entropy_coef,
                   loss);
        if (c->beta != 0)
            printf("  mean KL of a token = %.8g   (E122)\n",
                   s->micro.sums.n_token ? s->micro.sums.kl / s->micro.sums.n_token : 0);
        putchar('\n');
    }
    memory_free(token);
    return ok && !e->line[0];
}

/* ---- the update --------------------------------------------------------------------------- */

static void tell_update(const Step *s, JsonWriter *w) {
    const Trainer *t = &s->learner.trainer;
    const double clip = clip_coefficient(t->grad_norm, t->max_grad_norm);
    char hex[65];
    folder_digest(s->learner.model, hex);
    if (w) {
        json_open(w, "update", '{');
        json_put(w, "loss", s->update.loss);
        json_put(w, "grad_norm", t->grad_norm);
        json_put(w, "clip_coefficient", clip);
        json_put(w, "learning_rate", t->lr);
        json_put_string(w, "sha256", hex);
        json_end(w, '}');
        return;
    }
    printf("UPDATE\n  loss = sum over %d micro-batch%s = %.9g   (E117)\n", s->accumulate,
           s->accumulate > 1 ? "es" : "", s->update.loss);
    if (grpo_aligned(s->accumulate, s->per_generation, s->c->grpo.num_iterations))
        printf("  every ratio is 1, so the loss is about minus a mean of advantages: near 0 is right, its "
               "gradient carries the signal\n");
    printf("  gradient norm = %.9g; clip coefficient = ", t->grad_norm);
    if (t->max_grad_norm > 0) printf("min(1, %g/(norm + 1e-6)) = %.9g   (E284)\n", t->max_grad_norm, clip);
    else printf("1, clipping is off   (E284)\n");
    printf("  learning rate = %g * %.9g = %.9g   (E286 to E288, %s)\n", t->adamw.lr,
           schedule_factor(t->schedule, t->step - 1, t->warmup, t->n_step, t->min_lr_ratio), t->lr,
           schedule_names[t->schedule]);
    printf("  AdamW with beta1 %g, beta2 %g, epsilon %g, weight decay %g on matrices   (E280 to E283)\n",
           t->adamw.beta1, t->adamw.beta2, t->adamw.eps, t->adamw.weight_decay);
    printf("  weights after it, not kept: SHA-256 %s\n", hex);
}

/* ---- the step ----------------------------------------------------------------------------- */

/* Multipliers that act in the generation's advantages, and what its scores make of them. */
static void tell_floors(const Step *s, JsonWriter *w) {
    const Generation *g = &s->gen;
    if (!s->rewards.floors) return;
    if (w) json_open(w, "multipliers", '{');
    else
        printf("FLOORS, held by multipliers: rate %g, at most %g\n", s->c->multiplier_learning_rate,
               s->c->multiplier_max);
    for (int k = 0; k < s->rewards.n_label; k++) {
        double mean;
        if (s->rewards.floor[k] == -INFINITY) continue;
        reward_moments(&mean, NULL, g->score + k, (size_t)g->n_completion, (size_t)g->n_label, 1);
        if (w) json_put(w, s->rewards.label[k], g->multiplier[k]);
        else
            printf("  %s at least %g on average, multiplier %.9g   (E70); the mean is %.9g, which makes it "
                   "%.9g   (E71)\n",
                   s->rewards.label[k], s->rewards.floor[k], g->multiplier[k], mean,
                   s->rewards.multiplier[k]);
    }
    if (w) json_end(w, '}');
    else putchar('\n');
}

static bool tell_generation(const Step *s, JsonWriter *w, int64_t generation, Err *e) {
    Parts p = {0};
    const bool ok = parts_new(&p, s, e);
    if (ok && w) {
        json_begin(w, '{');
        json_put_int(w, "generation", generation);
        tell_floors(s, w);
        json_open(w, "prompts", '[');
    } else if (ok) tell_floors(s, NULL);
    for (int i = 0; ok && i < s->gen.n_prompt; i++) {
        if (w) json_group(w, s, &p, i);
        else tell_group(s, &p, i);
    }
    if (ok && w) json_end(w, ']'), json_open(w, "micro_batches", '[');
    parts_free(&p);
    return ok;
}

/* The loop of train; what belongs to the wanted update is told. */
static bool steps(Step *s, JsonWriter *w, int64_t wanted, int limit, Err *e) {
    const int per = step_micro_batches(s);
    for (int64_t generation = s->generation; ; generation++) {
        /* it has micro-batches of that update */
        const bool tell = (generation + 1) * per > wanted * s->accumulate;
        if (!step_generation(s, generation, e) || (tell && !tell_generation(s, w, generation, e)))
            return false;
        for (int i = 0; i < per; i++) {
            if (!step_micro_batch(s, i, e) ||
                (s->learner.trainer.step == wanted && !tell_micro_batch(s, w, i, limit, e)))
                return false;
            if (s->update.n_micro < s->accumulate) continue;
            if (!step_update(s, e)) return false;
            if (s->learner.trainer.step > wanted) break;
            step_clear(s);
        }
        if (tell && w) json_end(w, ']'), json_end(w, '}');
        if (s->learner.trainer.step > wanted) return true;
    }
}

static bool trace(Step *s, Costs *cost, JsonWriter *w, const Config *c, Err *e) {
    char hex[65], path[600];
    RunOptions run = c->step.run;
    if (!run.output_dir) run.output_dir = ".";              /* trace needs none */
    if (!run_options_check(&run, e) || !step_open(s, &c->step, cost, e)) return false;
    step_keep(s, &s->learner.trainer);
    if (run.resume && (!path_join(path, sizeof path, run.output_dir, "checkpoint.safetensors", e) ||
                       !trainer_load(&s->learner.trainer, path, e)))
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
    if (w) json_begin(w, '{'), json_settings(w, s, c, wanted, hex);
    else tell_settings(s, wanted, hex);
    if (!steps(s, w, wanted, c->tokens, e)) return false;
    if (w) json_end(w, ']');
    tell_update(s, w);
    if (w) json_end(w, '}'), json_raw(w, "\n"), fputs(w->text, stdout);
    return true;
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
    const bool ok = trace(&s, &cost, c.step.run.json ? &w : NULL, &c, e);
    free(w.text);
    step_close(&s);
    return ok ? 0 : -1;
}
