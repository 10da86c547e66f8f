/* dpo.c: `grpo dpo`: direct preference optimisation on pairs of replies (MATH section 7): data, windows, the
 * loop, the log. The mathematics is in baselines/dpo.c.
 *
 * The reference is the policy that the run starts from; its sums (E160) are constants of the pairs, and E179
 * computes them all before the first step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/dpo.h"
#include "cmd/commands.h"
#include "text/data.h"
#include "run/run.h"
#include "grpo.h"
#include "lib/files.h"
#include "lib/words.h"
#include "lib/say.h"
#include "lib/machine.h"

typedef struct {
    RunOptions run;
    DpoConfig dpo;
    const char *loss_type, *loss_weights;
    int max_length;
    bool precompute_ref_log_probs;
    double eval_split;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Preference optimisation"),
    {"beta", SET_NUMBER, AT(dpo.beta), "0.1", NULL,
     "inverse temperature: larger stays closer to the reference"},
    {"loss_type", SET_STRING, AT(loss_type), "sigmoid", NULL,
     "one or several, with commas: sigmoid, hinge, ipo, robust, exo_pair, nca_pair, bco_pair, sppo_hard, "
     "aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm"},
    {"loss_weights", SET_STRING, AT(loss_weights), NULL, NULL,
     "a weight for each of several losses, with commas; none: 1 each"},
    {"label_smoothing", SET_NUMBER, AT(dpo.label_smoothing), "0", NULL,
     "robust, aot: share of pairs that are labelled the wrong way round; exo_pair: its epsilon"},
    {"f_divergence_type", SET_CHOICE, AT(dpo.f_divergence_type), "reverse_kl", f_divergence_names,
     "which divergence from the reference the losses are built on"},
    {"f_alpha_divergence_coef", SET_NUMBER, AT(dpo.f_alpha_divergence_coef), "0.5", NULL,
     "alpha of alpha_divergence"},
    {"ld_alpha", SET_NUMBER, AT(dpo.ld_alpha), "none", NULL,
     "weight of the tokens beyond the shorter reply's length (E176)"},
    {"use_weighting", SET_BOOL, AT(dpo.use_weighting), "false", NULL,
     "pairs weighted by how likely the policy finds them (E177)"},
    {"discopop_tau", SET_NUMBER, AT(dpo.discopop_tau), "0.05", NULL, "discopop"},
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer replies are cut at the end"},
    {"precompute_ref_log_probs", SET_BOOL, AT(precompute_ref_log_probs), "false", NULL,
     "the reference's sums of all pairs before the first step: no second copy of the weights, the same bits"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL,
     "this share of the pairs is held out; the run ends with a table of before and after on them"},
    SETTINGS_END};
const OptionTable dpo_table = {"dpo",
                               "direct preference optimisation on pairs of a chosen and a rejected reply",
                               "grpo dpo --model runs/sft/final --dataset preferences.jsonl --output-dir "
                               "runs/dpo --beta 0.1 --learning-rate 1e-5",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-6"}, {"num_train_epochs", "3"}}};

typedef struct {                        /* a pair as tokens */
    int *id, n_prompt, n_w, n_l;        /* prompt, chosen, rejected side by side */
    double ref_w, ref_l;                /* E160: sums under the reference, once known */
} Sequence;
typedef struct { Sequence *row; int n; } Pairs;

typedef struct {
    const Config *c;
    DpoConfig loss_config;              /* its weights are divided by the micro-batches of an update (E117) */
    Pairs train, held;
    Trainer trainer;
    Model *policy, base, *copy;
    const Model *reference; /* a new adapter's base (E293), or a second copy of the weights; NULL with
                               precompute_ref_log_probs */
    int batch, accumulate, longest_tree, rows;
    /* a micro-batch: sequence 2i is the chosen, 2i + 1 the rejected reply of pair i */
    Window window;
    size_t *offset;                     /* [2 batch + 1] */
    int *token, *token_of, *sequence_of; /* [n_token]; [n_target] flat place and sequence of a target */
    real *logp, *dlogp;                 /* [n_token] */
    int n_pair;
    double n_chosen_token;
    DpoPair *pair, *micro;              /* [accumulate * batch] of the update; its micro-batch */
    DpoRank *rank;
    bool ahead;                         /* the sums of all pairs are there before the first slice */
    Networks net;
    Costs cost;                         /* of the run so far, without the table of --eval-split */
    /* of the update */
    double loss, entropy_sum, n_token;
    int64_t tokens;
} Dpo;

/* ---- data -------------------------------------------------------------------------------- */

static bool parse_losses(DpoConfig *d, const Config *c, Err *e) {
    const char *at = c->loss_type;
    d->n_loss = 0;
    do {
        char name[64];
        int k;
        const size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), at);
        if (d->n_loss == N_DPO_LOSS) return fail(e, "--loss-type: found more than %d losses", N_DPO_LOSS);
        if (!choice_parse(&k, dpo_loss_names, name, "loss_type", e)) return false;
        d->loss_type[d->n_loss] = (DpoLoss)k;
        d->loss_weight[d->n_loss++] = 1;
        at += n + (at[n] == ',');
    } while (*at);
    at = c->loss_weights;
    for (int j = 0; at && j < d->n_loss; j++) {
        char *end;
        d->loss_weight[j] = strtod(at, &end);
        const bool last = j + 1 == d->n_loss;
        if (end == at || !isfinite(d->loss_weight[j]) || *end != (last ? 0 : ','))
            return fail(e,
                        "--loss-weights: found \"%s\", expected %d number%s with commas, one for each loss",
                        c->loss_weights, d->n_loss, d->n_loss > 1 ? "s" : "");
        at = end + 1;
    }
    return dpo_config_check(d, e);
}

static bool encode(Pairs *p, const Dataset *d, const Language *l, int max_length, int *cut, Err *e) {
    Ids ids = {0};
    if (!(p->row = calloc((size_t)d->n, sizeof *p->row))) return fail(e, "no memory for %d pairs", d->n);
    for (; p->n < d->n; p->n++) {
        const Example *x = &d->row[p->n];
        Sequence *s = &p->row[p->n];
        ids.n = 0;
        if (!encode_prompt(&ids, l, x, e)) return false;
        s->n_prompt = ids.n;
        if (s->n_prompt >= max_length)
            return fail(e, "%s:%d: the prompt alone has %d tokens, expected fewer than --max-length %d",
                        d->path, x->line, s->n_prompt, max_length);
        const int room = max_length - s->n_prompt;
        bool long_pair = false;
        if (!encode_completion(&ids, l, x->chosen, !x->chosen_cut, e)) return false;
        s->n_w = ids.n - s->n_prompt;
        if (s->n_w > room) s->n_w = room, ids.n = max_length, long_pair = true;
        const int before = ids.n;
        if (!encode_completion(&ids, l, x->rejected, !x->rejected_cut, e)) return false;
        s->n_l = ids.n - before;
        if (s->n_l > room) s->n_l = room, ids.n = before + room, long_pair = true;
        if (!s->n_w || !s->n_l)
            return fail(e, "%s:%d: %s: is empty and was cut; expected at least one token", d->path, x->line,
                        s->n_w ? "rejected" : "chosen");
        *cut += long_pair;
        if (!(s->id = malloc((size_t)ids.n * sizeof(int)))) return fail(e, "no memory for %d tokens", ids.n);
        memcpy(s->id, ids.id, (size_t)ids.n * sizeof(int));
    }
    free(ids.id);
    return true;
}

/* ---- a micro-batch ----------------------------------------------------------------------- */

/* Lays n pairs side by side: tokens, window, and what the loss needs to know of the whole. */
static bool lay(Dpo *d, Sequence *const *s, int n, Err *e) {
    window_clear(&d->window);
    d->n_pair = n;
    d->n_chosen_token = 0;
    for (int i = 0; i < n; i++) {
        const size_t at = d->offset[2 * i], n_w = (size_t)s[i]->n_w, n_l = (size_t)s[i]->n_l;
        memcpy(d->token + at, s[i]->id + s[i]->n_prompt, (n_w + n_l) * sizeof(int));
        d->offset[2 * i + 1] = at + n_w;
        d->offset[2 * i + 2] = at + n_w + n_l;
        d->n_chosen_token += (double)n_w;
        if (!window_group(&d->window, s[i]->id, s[i]->n_prompt, d->token, d->offset, 2 * i, 2, d->token_of,
                          d->sequence_of, e))
            return false;
    }
    return true;
}

/* E23 of every token of the micro-batch under m, to its flat place. */
static bool logps(real *out, Dpo *d, const Model *m, double temperature, Err *e) {
    real *value = malloc((size_t)d->window.n_target * sizeof(real));
    const bool ok =
        value ? window_logp(value, NULL, d->trainer.acts, d->rows, d->rows, m, &d->window, temperature, e)
              : fail(e, "no memory");
    for (int i = 0; ok && i < d->window.n_target; i++) out[d->token_of[i]] = value[i];
    free(value);
    return ok;
}

/* E160 of pairs first .. first + n - 1 from their tokens; the reference's sums stay. */
static void sums(Dpo *d, int first, int n) {
    for (int i = first; i < first + n; i++) {
        const size_t w = d->offset[2 * i], l = d->offset[2 * i + 1];
        dpo_pair(&d->micro[i], d->logp + w, NULL, l - w, d->logp + l, NULL, d->offset[2 * i + 2] - l,
                 &d->loss_config);
    }
}

/* The reference's sums of the micro-batch, kept with the pairs. */
static bool reference_sums(Dpo *d, Sequence *const *s, const Model *reference, Err *e) {
    if (!logps(d->logp, d, reference, 1, e)) return false;
    sums(d, 0, d->n_pair);
    for (int i = 0; i < d->n_pair; i++) s[i]->ref_w = d->micro[i].logp_w, s[i]->ref_l = d->micro[i].logp_l;
    return true;
}

/* E177: log sum_v p_v^2 = 2 logp - logp at temperature 1/2, whatever the token. */
static bool weights(Dpo *d, const Model *m, Err *e) {
    const size_t n = d->offset[2 * d->n_pair];
    real *square = d->dlogp;
    if (!logps(square, d, m, 0.5, e)) return false;
    for (size_t t = 0; t < n; t++) square[t] = (real)(2.0 * d->logp[t] - square[t]);
    for (int i = 0; i < d->n_pair; i++) {
        const size_t w = d->offset[2 * i], l = d->offset[2 * i + 1];
        dpo_weight(&d->micro[i], d->logp + w, square + w, l - w, d->logp + l, square + l,
                   d->offset[2 * i + 2] - l);
    }
    return true;
}

/* Forward only: the sums of all pairs of the micro-batch under m. */
static bool forward(Dpo *d, const Model *m, Err *e) {
    if (!logps(d->logp, d, m, 1, e)) return false;
    sums(d, 0, d->n_pair);
    return !d->loss_config.use_weighting || weights(d, m, e);
}

/* From the values of one slice to their derivatives: E160 to E177, in baselines/dpo.c. */
static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Dpo *d = to;
    int low = d->n_pair, high = -1;
    (void)dentropy;
    for (int i = 0; i < n; i++) {
        const int p = d->sequence_of[first + i] / 2;
        d->logp[d->token_of[first + i]] = logp[i];
        d->entropy_sum += entropy[i];
        low = p < low ? p : low, high = p > high ? p : high;
    }
    d->n_token += n;
    if (!d->ahead) sums(d, low, high - low + 1);
    dpo_loss(&d->loss, d->micro, (size_t)low, (size_t)(high - low + 1), (size_t)d->n_pair, d->n_chosen_token,
             &d->loss_config, d->rank);
    for (int i = low; i <= high; i++)
        dpo_derive(d->dlogp + d->offset[2 * i], d->dlogp + d->offset[2 * i + 1], &d->micro[i],
                   d->n_chosen_token, &d->loss_config);
    for (int i = 0; i < n; i++) dlogp[i] = d->dlogp[d->token_of[first + i]];
}

static void texts_of(Texts *t, const void *sequences, int i) {
    const Sequence *s = (const Sequence *)sequences + i;
    texts_prompt(t, s->n_prompt);
    texts_completion(t, s->n_prompt, s->n_w);
    texts_completion(t, s->n_prompt, s->n_l);
}

static int passes_ahead(const Dpo *d) { return !d->ahead ? 0 : d->loss_config.use_weighting ? 2 : 1; }

static bool micro_batch(Dpo *d, Sequence *const *s, int k, Err *e) {
    Texts texts = {0};
    for (int i = 0; i < d->batch; i++) texts_of(&texts, s[i], 0);
    cost_dpo(&d->cost.predicted, &d->net, d->reference ? &texts : &(Texts){0}, &texts, passes_ahead(d));
    d->micro = d->pair + k * d->batch;
    if (!lay(d, s, d->batch, e) || (d->reference && !reference_sums(d, s, d->reference, e))) return false;
    for (int i = 0; i < d->batch; i++) {
        d->micro[i].ref_w = s[i]->ref_w, d->micro[i].ref_l = s[i]->ref_l;
        d->tokens += 2 * s[i]->n_prompt + s[i]->n_w + s[i]->n_l;
        d->cost.measured.prompt += s[i]->n_prompt;
    }
    d->cost.measured.completion += (double)d->offset[2 * d->batch];
    return (!d->ahead || forward(d, d->policy, e)) &&
           trainer_accumulate(&d->trainer, &d->window, 1, derive, d, false, e);
}

/* ---- all pairs, forward only -------------------------------------------------------------- */

/* For every `batch` pairs: lays them, and calls `each`. */
static bool sweep(Dpo *d, const Pairs *p, bool (*each)(Dpo *d, Sequence *const *s, const Model *m, Err *e),
                  const Model *m, Err *e) {
    Sequence **s = malloc((size_t)d->batch * sizeof *s);
    bool ok = s || fail(e, "no memory");
    d->micro = d->pair;
    for (int at = 0; ok && at < p->n; at += d->batch) {
        const int n = p->n - at < d->batch ? p->n - at : d->batch;
        for (int i = 0; i < n; i++) s[i] = &p->row[at + i];
        ok = lay(d, s, n, e) && each(d, s, m, e);
    }
    free(s);
    return ok;
}

typedef struct { double loss; DpoMetrics m; } Held;     /* E161, E178 */

/* The loss is the mean over batches of --per-device-train-batch-size pairs, as in training. */
static bool evaluate(Held *out, Dpo *d, const Model *m, Err *e) {
    const Pairs *p = &d->held;
    DpoPair *all = calloc((size_t)p->n, sizeof *all);
    Sequence **s = malloc((size_t)d->batch * sizeof *s);
    bool ok = (all && s) || fail(e, "no memory for %d pairs", p->n);
    out->loss = 0;
    d->micro = d->pair;
    for (int at = 0; ok && at < p->n; at += d->batch) {
        const int n = p->n - at < d->batch ? p->n - at : d->batch;
        double loss = 0;
        for (int i = 0; i < n; i++)
            s[i] = &p->row[at + i], d->micro[i].ref_w = s[i]->ref_w, d->micro[i].ref_l = s[i]->ref_l;
        if (!(ok = lay(d, s, n, e) && forward(d, m, e))) break;
        dpo_loss(&loss, d->micro, 0, (size_t)n, (size_t)n, d->n_chosen_token, &d->loss_config, d->rank);
        out->loss += loss * d->accumulate * n / p->n;
        memcpy(all + at, d->micro, (size_t)n * sizeof *all);
    }
    if (ok) dpo_metrics(&out->m, all, (size_t)p->n, &d->loss_config);
    free(all);
    free(s);
    return ok;
}

static void eval_json(JsonWriter *w, const Held *before, const Held *after, int n) {
    const Held *const at[] = {before, after};
    json_begin(w, '{');
    json_put_int(w, "pairs", n);
    for (int k = 0; k < 2; k++) {
        json_open(w, k ? "after" : "before", '{');
        json_put(w, "loss", at[k]->loss);
        for (int j = 0; dpo_metric_names[j]; j++)
            json_put(w, dpo_metric_names[j], dpo_metric(&at[k]->m, j));
        json_end(w, '}');
    }
    json_end(w, '}');
}

static void eval_print(const Held *before, const Held *after, int n) {
    printf("\n%-20s %12s %12s\n%-20s %12.5f %12.5f\n", "held-out pairs", "before", "after", "loss",
           before->loss, after->loss);
    for (int j = 0; dpo_metric_names[j]; j++)
        printf("%-20s %12.5f %12.5f\n", dpo_metric_names[j], dpo_metric(&before->m, j),
               dpo_metric(&after->m, j));
    printf("n = %d; rewards are beta log(policy/reference), 0 before the first step\n", n);
}

/* ---- the run ----------------------------------------------------------------------------- */

static bool log_step(Run *r, const Dpo *d, double epoch, Err *e) {
    const Trainer *t = &d->trainer;
    DpoMetrics m;
    JsonWriter w = {0};
    dpo_metrics(&m, d->pair, (size_t)(d->batch * d->accumulate), &d->loss_config);
    json_begin(&w, '{');
    json_put_int(&w, "step", t->step);
    json_put(&w, "loss", d->loss);
    for (int j = 0; dpo_metric_names[j]; j++) json_put(&w, dpo_metric_names[j], dpo_metric(&m, j));
    json_put(&w, "entropy", d->entropy_sum / d->n_token);
    json_put(&w, "grad_norm", t->grad_norm);
    json_put(&w, "learning_rate", t->lr);
    json_put(&w, "epoch", epoch);
    json_put_int(&w, "num_tokens", d->tokens);
    json_end(&w, '}');
    const bool ok = run_log(r, &w, e);
    free(w.text);
    run_time(r, t->step, d->tokens);
    return ok;
}

static bool update(Dpo *d, Order *order, Err *e) {
    int64_t at = d->trainer.step * d->batch * d->accumulate;
    Sequence **s = malloc((size_t)d->batch * sizeof *s);
    bool ok = s || fail(e, "no memory");
    d->loss = d->entropy_sum = d->n_token = 0;
    for (int k = 0; ok && k < d->accumulate; k++) {
        for (int i = 0; i < d->batch; i++) s[i] = &d->train.row[order_at(order, at++)];
        ok = micro_batch(d, s, k, e);
    }
    free(s);
    if (ok && !isfinite(d->loss))
        ok = fail(e, "step %lld: the loss is %g: the step is not applied; lower --learning-rate",
                  (long long)d->trainer.step + 1, d->loss);
    return ok && trainer_update(&d->trainer, e);
}

static bool loop(Dpo *d, Run *r, Err *e) {
    Trainer *t = &d->trainer;
    Order order = {.n = d->train.n, .seed = (uint64_t)d->c->run.seed};
    Progress p;
    double mean = 0;
    progress_begin(&p, "dpo", t->n_step);
    d->tokens = (int64_t)t->extra[0];
    run_tokens(r, d->tokens);
    while (t->step < t->n_step) {
        if (!update(d, &order, e)) return false;
        t->extra[0] = (double)d->tokens;
        mean = mean == 0 ? d->loss : 0.95 * mean + 0.05 * d->loss;
        if (t->step % d->c->run.logging_steps == 0 &&
            !log_step(r, d, (double)t->step * d->batch * d->accumulate / d->train.n, e))
            return false;
        if (!run_checkpoint(r, &d->c->run, t, t->step == t->n_step, e)) return false;
        char detail[96];
        snprintf(detail, sizeof detail, "loss %.4f  %.1f k tokens/s", mean, run_rate(r, d->tokens));
        progress_at(&p, t->step, detail);
    }
    progress_end(&p);
    free(order.order);
    return true;
}

static bool finish(Dpo *d, FolderInfo *info, const Language *l, const Held *before, Err *e) {
    const RunOptions *o = &d->c->run;
    char final[600], path[600], hex[65];
    Held after;
    JsonWriter eval = {0}, w = {0};
    if (info->n_stop == 0) info->stop[info->n_stop++] = l->end_of_turn;
    bool ok = path_join(final, sizeof final, o->output_dir, "final", e) &&
              folder_save(final, d->policy, info, o->model, run_store(o), e);
    if (ok && d->held.n && (ok = evaluate(&after, d, d->policy, e))) {
        eval_json(&eval, before, &after, d->held.n);
        ok = path_join(path, sizeof path, o->output_dir, "eval.json", e) &&
             file_write(path, eval.text, eval.length, e);
    }
    if (ok) folder_digest(d->policy, hex);
    if (ok && o->json) {
        json_begin(&w, '{');
        json_put_int(&w, "steps", d->trainer.step);
        json_put(&w, "loss", d->loss);
        json_put_string(&w, "final", final);
        json_put_string(&w, "sha256", hex);
        if (d->held.n) json_put_raw(&w, "eval", eval.text);
        json_end(&w, '}');
        puts(w.text);
    } else if (ok) {
        printf("%s: %lld steps, loss of the last %.4f, weights %.16s\n", final, (long long)d->trainer.step,
               d->loss, hex);
        if (d->held.n) eval_print(before, &after, d->held.n);
    }
    free(w.text);
    free(eval.text);
    return ok;
}

static bool memory(Dpo *d, Err *e) {
    /* at least the targets of any micro-batch */
    const size_t n_token = (size_t)d->batch * (size_t)(d->longest_tree + 2);
    d->offset = memory_new((2 * (size_t)d->batch + 1) * sizeof *d->offset, "pairs", e);
    d->token = memory_new(n_token * sizeof(int), "pairs", e);
    d->token_of = memory_new(n_token * sizeof(int), "pairs", e);
    d->sequence_of = memory_new(n_token * sizeof(int), "pairs", e);
    d->logp = memory_new(n_token * sizeof(real), "pairs", e);
    d->dlogp = memory_new(n_token * sizeof(real), "pairs", e);
    d->pair = memory_new((size_t)(d->batch * d->accumulate) * sizeof *d->pair, "pairs", e);
    d->rank = memory_new(2 * (size_t)d->batch * sizeof *d->rank, "pairs", e);
    return d->offset && d->token && d->token_of && d->sequence_of && d->logp && d->dlogp && d->pair &&
           d->rank;
}

static bool open_data(Dpo *d, const Language *l, const ModelConfig *shape, Err *e) {
    const Config *c = d->c;
    Dataset data, held = {.n = 0};
    int cut = 0;
    const int max_length = c->max_length < shape->context ? c->max_length : shape->context;
    if (!dataset_load(&data, c->run.dataset, NEED_PAIR, c->run.system, e)) return false;
    if (c->eval_split != 0 && !dataset_hold_out(&data, &held, c->eval_split, (uint64_t)c->run.seed, e))
        return false;
    if (!encode(&d->train, &data, l, max_length, &cut, e) ||
        (held.n && !encode(&d->held, &held, l, max_length, &cut, e)))
        return false;
    if (cut)
        fprintf(stderr, "dpo: of %d pairs %d were longer than %d tokens and cut\n", data.n + held.n, cut,
                max_length);
    const Pairs *const part[] = {&d->train, &d->held};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < part[k]->n; i++) {
            const Sequence *s = &part[k]->row[i];
            const int rows = s->n_prompt + s->n_w + s->n_l;
            d->longest_tree = rows > d->longest_tree ? rows : d->longest_tree;
        }
    d->rows = c->run.slice_rows > d->longest_tree ? c->run.slice_rows : d->longest_tree;
    return true;
}

/* The sums of all pairs under m, which is the policy that the run starts from. */
static bool precompute(Dpo *d, const Model *m, Err *e) {
    Texts texts = {0};
    for (int i = 0; i < d->train.n; i++) texts_of(&texts, d->train.row, i);
    cost_dpo(&d->cost.predicted, &d->net, &texts, &(Texts){0}, 0);
    return sweep(d, &d->train, reference_sums, m, e);
}

static void memory_cost(Dpo *d, Cost *predicted) {
    cost_trainer(predicted, &d->policy->config, d->rows, d->rows);
    cost_trainer_held(&d->cost.measured, &d->trainer);
    if (!d->copy) return;
    cost_memory_most(predicted, MEM_REFERENCE, (double)model_bytes(&d->net.reference));
    cost_memory_most(&d->cost.measured, MEM_REFERENCE, (double)d->copy->held);
}

/* One update to warm up and three timed ones on the data's own pairs, by the mean length of all. */
static bool plan(RunPlan *p, Dpo *d, Err *e) {
    Order order = {.n = d->train.n, .seed = (uint64_t)d->c->run.seed};
    const int batch = d->batch * d->accumulate;
    const int64_t n_step = d->trainer.n_step;
    double seconds = 0;
    for (int i = 0; i < 4; i++) {
        const double start = clock_seconds();
        if (!update(d, &order, e)) return false;
        if (i) seconds += clock_seconds() - start;
    }
    const Texts all = order_texts(&order, 0, d->train.n, texts_of, d->train.row),
                timed = order_texts(&order, batch, 3 * batch, texts_of, d->train.row),
                trained = order_texts(&order, 0, n_step * batch, texts_of, d->train.row);
    p->step_seconds = seconds / timed.row * batch * all.row / d->train.n;
    p->n_step = (int)n_step;
    p->how = "three updates of it were timed on this machine; without checkpoints and the table at the end";
    cost_dpo(&p->cost, &d->net, d->reference ? &trained : &all, &trained, passes_ahead(d));
    memory_cost(d, &p->cost);
    free(order.order);
    return true;
}

static bool dpo(Dpo *d, const Config *c, Run *r, Language *l, Err *e) {
    FolderInfo info;
    ModelConfig shape;
    Held before = {0};
    *d = (Dpo){.c = c, .loss_config = c->dpo, .batch = c->run.per_device_train_batch_size,
               .accumulate = c->run.gradient_accumulation_steps};
    if (!run_options_check(&c->run, e) || !parse_losses(&d->loss_config, c, e)) return false;
    for (int j = 0; j < d->loss_config.n_loss; j++) d->loss_config.loss_weight[j] /= d->accumulate;
    d->ahead = d->loss_config.use_weighting || dpo_ranked(&d->loss_config);
    if (!c->run.plan && !c->run.resume && !folder_is_empty(c->run.output_dir))
        return fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume",
                    c->run.output_dir);
    if (!language_load(l, c->run.model, c->run.chat_template, e) ||
        !folder_config(&shape, &info, c->run.model, e))
        return false;
    if (shape.n_label) return fail(e, "%s: is a reward model; expected a language model", c->run.model);
    shape.checkpointing = c->run.gradient_checkpointing;
    if (!run_adapter(&shape, &info, &c->run.adapter, c->run.model, e) || !open_data(d, l, &shape, e))
        return false;
    const bool copy = !c->precompute_ref_log_probs && !c->run.adapter.use_peft;
    const double need = (double)trainer_bytes(&shape, d->rows, d->rows) +
                        (copy ? (double)model_bytes(&shape) : 0) + PROGRAM_BYTES;
    if (c->run.plan) c->run.plan->memory = need;
    if (!memory_plan(c->run.plan ? NULL : "dpo", need, e)) return false;
    if (!(d->policy = folder_load_as(c->run.model, &shape, (uint64_t)c->run.seed, e)) ||
        !trainer_new(&d->trainer, d->policy, d->rows, d->rows, e) || !memory(d, e))
        return false;
    if (copy && !(d->copy = folder_load_as(c->run.model, &shape, 0, e))) return false;
    d->base = model_base(d->policy);
    d->net = (Networks){.policy = shape, .reference = shape, .has_reference = true,
                        .logits_anew = !acts_keep_logits(&shape, d->rows)};
    if (c->run.adapter.use_peft && !c->precompute_ref_log_probs) d->net.reference.lora.r = 0;      /* E293 */
    d->base.tally = &d->cost.measured.net[NET_REFERENCE];
    if (copy) d->copy->tally = d->base.tally;
    d->trainer.counts = (double *)&d->cost, d->trainer.n_counts = sizeof d->cost / sizeof(double);
    d->reference = copy ? d->copy : c->precompute_ref_log_probs ? NULL : &d->base;
    /* here the policy still is the one that the run starts from: a new adapter's B is 0 */
    Model start = *d->policy;
    start.tally = d->base.tally;
    if (c->precompute_ref_log_probs && !precompute(d, &start, e)) return false;
    if (d->held.n && !c->run.plan &&
        (!sweep(d, &d->held, reference_sums, d->policy, e) || !evaluate(&before, d, d->policy, e)))
        return false;
    d->policy->tally = &d->cost.measured.net[NET_POLICY];
    run_trainer(&d->trainer, &c->run, run_steps(&c->run, (double)d->train.n / (d->batch * d->accumulate)));
    if (c->run.plan) return plan(c->run.plan, d, e);
    if (!run_begin(r, &dpo_table, c, &c->run, &d->trainer, e)) return false;
    memory_cost(d, &d->cost.predicted);
    return (loop(d, r, e) || run_failed(r, e)) && run_cost(r, d->trainer.step, &d->cost, e) &&
           finish(d, &info, l, &before, e);
}

static void dpo_close(Dpo *d) {
    void *const list[] = {d->offset, d->token, d->token_of, d->sequence_of,
                          d->logp,   d->dlogp, d->pair,     d->rank};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) memory_free(list[i]);
    for (int i = 0; i < d->train.n; i++) free(d->train.row[i].id);
    for (int i = 0; i < d->held.n; i++) free(d->held.row[i].id);
    free(d->train.row);
    free(d->held.row);
    window_free(&d->window);
    trainer_free(&d->trainer);
    model_free(d->copy);
    model_free(d->policy);
}

int plan_dpo(RunPlan *plan, int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    dpo_config_default(&c.dpo);
    const int code = options_parse(&c, &dpo_table, argc, argv, e);
    if (code) return code < 0 ? -1 : 0;
    c.run.plan = plan;
    Dpo d;
    Run r = {.log = NULL};
    Language l = {0};
    const bool ok = dpo(&d, &c, &r, &l, e);
    run_end(&r);
    dpo_close(&d);
    language_free(&l);
    return ok ? 0 : -1;
}

int cmd_dpo(int argc, char **argv, Err *e) { return plan_dpo(NULL, argc, argv, e); }
