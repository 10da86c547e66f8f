/* dpo.c: `grpo dpo`: direct preference optimisation on pairs of replies: options, data, the loop, the log. A
 * micro-batch is in run/pair_batch.c, the mathematics in baselines/.
 *
 * The reference is the policy that the run starts from; its values are constants of the pairs, and E179
 * computes them all before the first step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/loop.h"
#include "run/changed.h"
#include "run/pair_batch.h"
#include "run/sequences.h"
#include "grpo.h"
#include "lib/files.h"
#include "text/fit.h"
#include "text/overlap.h"
#include "lib/words.h"

typedef struct {
    RunOptions run;
    DpoConfig dpo;
    BmcConfig bmc;
    RobustConfig robust;
    FlowConfig flow;
    const char *loss_type, *loss_weights, *bmc_stop_words, *group_column, *demonstrations;
    int max_length;
    bool precompute_ref_log_probs;
    double eval_split, demonstration_weight;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Preference optimisation"),
    {"beta", SET_NUMBER, AT(dpo.beta), "0.1", NULL,
     "inverse temperature: larger stays closer to the reference"},
    {"loss_type", SET_STRING, AT(loss_type), "sigmoid", NULL,
     "one or several, with commas: sigmoid, hinge, ipo, robust, exo_pair, nca_pair, bco_pair, sppo_hard, "
     "aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm, ipo_sum, tdpo1, tdpo2, "
     "flow_db, flow_subtb, flow_tb"},
    {"loss_weights", SET_STRING, AT(loss_weights), NULL, NULL,
     "a weight for each of several losses, with commas; none: 1 each"},
    {"label_smoothing", SET_NUMBER, AT(dpo.label_smoothing), "0", NULL,
     "robust, aot: share of pairs that are labelled the wrong way round; exo_pair: its epsilon"},
    {"f_divergence_type", SET_CHOICE, AT(dpo.f_divergence_type), "reverse_kl", f_divergence_names,
     "which divergence from the reference the losses are built on"},
    {"f_alpha_divergence_coef", SET_NUMBER, AT(dpo.f_alpha_divergence_coef), "0.5", NULL,
     "alpha of alpha_divergence"},
    {"ld_alpha", SET_NUMBER, AT(dpo.ld_alpha), "none", NULL,
     "weight of the tokens beyond the shorter reply's length"},
    {"use_weighting", SET_BOOL, AT(dpo.use_weighting), "false", NULL,
     "pairs weighted by how likely the policy finds them"},
    {"discopop_tau", SET_NUMBER, AT(dpo.discopop_tau), "0.05", NULL, "discopop"},
    {"tdpo_alpha", SET_NUMBER, AT(dpo.tdpo_alpha), "0.5", NULL,
     "tdpo2: weight of what the rejected reply diverges more than the chosen one"},
    {"bmc_delta", SET_NUMBER, AT(bmc.delta), "0", NULL,
     "tokens where the two replies differ weigh more, 1 + min(1/p, this); 0: all weigh the same"},
    {"bmc_reference", SET_CHOICE, AT(bmc.reference), "reference", bmc_reference_names,
     "whose probabilities weigh the reference's tokens: its own (as the authors' program) or the policy's"},
    {"bmc_stop_words", SET_STRING, AT(bmc_stop_words), NULL, NULL,
     "file of words, one a line, that never count as different"},
    {"group_column", SET_STRING, AT(group_column), NULL, NULL,
     "column that names each pair's group: the losses of groups are weighed (GR-DPO); none: of pairs"},
    {"group_step_size", SET_NUMBER, AT(robust.step_size), "0.01", NULL,
     "how fast the weight of a group grows with its loss"},
    {"group_loss", SET_CHOICE, AT(robust.loss), "sum", group_loss_names,
     "of a group in a micro-batch: the sum over its pairs, scaled by its share of the data; or their mean"},
    {"group_weights", SET_CHOICE, AT(robust.weights), "adaptive", group_weights_names,
     "adaptive: growing with the loss; fixed: all alike; counts: fixed, in proportion to 1/pairs; none: of "
     "pairs, and groups are only told"},
    {"flow_reward", SET_CHOICE, AT(flow.reward), "theory", flow_reward_names,
     "flow_...: of a text: what the reference and its score say of the whole of it, or the authors' program"},
    {"flow_scores", SET_CHOICE, AT(flow.scores), "pair", flow_scores_names,
     "of a text: 0 and -8 for chosen and rejected, or the columns score_chosen and score_rejected"},
    {"flow_alpha", SET_NUMBER, AT(flow.alpha), "0.1", NULL, "weight of a text's score; 1/beta of DPO"},
    {"flow_gamma", SET_NUMBER, AT(flow.gamma), "0.1", NULL,
     "flow_reward program: temperature of the reference's closing token"},
    {"subtb_lambda", SET_NUMBER, AT(flow.lambda), "0.9", NULL,
     "flow_subtb: a piece of a text that is one token longer counts this much less"},
    {"demonstrations", SET_STRING, AT(demonstrations), NULL, NULL,
     "file of prompts with completions: the loss of sft on as many of them as pairs is added (AIHF)"},
    {"demonstration_weight", SET_NUMBER, AT(demonstration_weight), "1", NULL, "what that loss counts"},
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer replies are cut at the end"},
    {"precompute_ref_log_probs", SET_BOOL, AT(precompute_ref_log_probs), "false", NULL,
     "the reference's values of all pairs before the first step: no second copy of the weights, same bits"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL,
     "this share of the pairs is held out; the run ends with a table of before and after on them"},
    SETTINGS_END};
const OptionTable dpo_table = {
    "dpo", "direct preference optimisation on pairs of a chosen and a rejected reply",
    "grpo dpo --model runs/sft/final --dataset preferences.jsonl --output-dir runs/dpo --beta 0.1 "
    "--learning-rate 1e-5",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-6"}, {"num_train_epochs", "3"}}};

typedef struct { double loss; DpoMetrics m; GroupSums sums[GROUPS_MOST]; } HeldPairs;   /* E161, E178, E217 */

typedef struct {
    Training t;                         /* stands first */
    const Config *c;
    Learner l;                          /* its reference is NULL with precompute_ref_log_probs */
    PairSet train, held;
    PairBatch b;
    double loss_weight[N_DPO_LOSS];     /* as they were given */
    int count;                          /* pairs of the update */
    SequenceSet demo;                   /* demonstrations, in an order of their own */
    Order demo_order;
    SequenceSums demo_sums;             /* of the update */
    HeldPairs before;
} Dpo;

/* ---- data ---- */

static bool groups_check(const DpoConfig *d, const Config *c, Err *e) {
    static const DpoLoss other[] = {DPO_AOT, DPO_AOT_UNPAIRED, DPO_SFT,     DPO_TDPO1,
                                    DPO_TDPO2, DPO_FLOW_DB,   DPO_FLOW_SUBTB, DPO_FLOW_TB};
    const char *found = dpo_loss_among(d, other, sizeof other / sizeof *other);
    if (found)
        return fail(e, "--group-column: loss_type %s is not weighed by groups; expected a mean over pairs "
                       "(sigmoid, ipo_sum)",
                    found);
    return robust_config_check(&c->robust, e);
}

static bool parse_losses(DpoConfig *d, const Config *c, Err *e) {
    char name[64];
    const char *at = c->loss_type;
    d->n_loss = 0;
    do {                                /* also of an empty list: an error line then */
        int k;
        if (!list_next(name, sizeof name, &at)) *name = 0;
        if (d->n_loss == N_DPO_LOSS) return fail(e, "--loss-type: found more than %d losses", N_DPO_LOSS);
        if (!choice_parse(&k, dpo_loss_names, name, "loss_type", e)) return false;
        d->loss_type[d->n_loss] = (DpoLoss)k;
        d->loss_weight[d->n_loss++] = 1;
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
    if (!dpo_config_check(d, e) || !bmc_config_check(&c->bmc, d, e)) return false;
    if (dpo_wants_kl(d) && c->precompute_ref_log_probs)
        return fail(e, "--precompute-ref-log-probs: tdpo1 and tdpo2 need all logits of the reference every "
                       "step, not only those of the tokens");
    if (dpo_is_flow(d) && !flow_config_check(&c->flow, e)) return false;
    return !c->group_column || groups_check(d, c, e);
}

/* ---- an update ---- */

static void dpo_texts(Texts *t, const void *sequences, int i) {
    const PairTokens *s = (const PairTokens *)sequences + i;
    texts_prompt(t, s->n_prompt);
    texts_completion(t, s->n_prompt, s->n_w + s->open);
    texts_completion(t, s->n_prompt, s->n_l + s->open);
}

/* E117: the losses of an update's micro-batches count 1/n_micro each, of which the last of an epoch may have
 * fewer. */
static void share_weights(Dpo *d, int n_micro) {
    PairBatch *b = &d->b;
    for (int j = 0; j < b->config.n_loss; j++) b->config.loss_weight[j] = d->loss_weight[j] / n_micro;
    b->n_micro = n_micro;
}

/* The k-th of the update. */
static bool micro_batch(Dpo *d, int k, Err *e) {
    PairBatch *b = &d->b;
    const int left = d->count - k * b->size, n = left < b->size ? left : b->size;
    for (int i = 0; i < n; i++) b->now[i] = &d->train.row[training_example(&d->t, k * b->size + i)];
    if (!pair_batch_lay(b, k, n, e) ||
        (d->l.reference && !b->second.model && !pair_batch_refer(b, d->l.reference, false, e)))
        return false;
    for (int i = 0; i < n; i++) {
        const PairTokens *s = b->now[i];
        d->t.tokens += 2 * s->n_prompt + s->n_w + s->n_l + 2 * s->open;
        d->t.cost.measured.prompt += s->n_prompt;
        d->t.cost.measured.completion += s->n_w + s->n_l + 2 * s->open;
    }
    return pair_batch_learn(b, e);
}

/* E229: the supervised loss on as many demonstrations as the update has pairs is added. */
static bool demonstrate(Dpo *d, Err *e) {
    Trainer *t = &d->l.trainer;
    Window *w = &d->l.window;
    const double weight = d->c->demonstration_weight;
    window_clear(w);
    for (int i = 0; i < d->count; i++) {
        const Sequence *x = &d->demo.row[order_at(&d->demo_order, training_read(&d->t, t->step) + i)];
        if (!window_sequence(w, x->id, x->n, x->n_prompt, e)) return false;
    }
    SecondModel *second = t->second;
    t->second = NULL;                   /* a reference that runs beside the policy does so on pairs only */
    const bool ok = sequences_learn(&d->demo_sums, t, w, weight, e);
    t->second = second;
    d->b.loss += weight * d->demo_sums.loss / d->demo_sums.n;
    d->t.tokens += w->n_row;
    d->t.cost.measured.prompt += w->n_row - w->n_target;
    d->t.cost.measured.completion += w->n_target;
    return ok;
}

static bool dpo_update(void *self, Err *e) {
    Dpo *d = self;
    pair_batch_start(&d->b);
    d->count = training_count(&d->t);
    const int n_micro = (d->count + d->b.size - 1) / d->b.size;
    share_weights(d, n_micro);
    for (int k = 0; k < n_micro; k++)
        if (!micro_batch(d, k, e)) return false;
    if (d->demo.n && !demonstrate(d, e)) return false;
    if (!isfinite(d->b.loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied; lower --learning-rate",
                    (long long)d->l.trainer.step + 1, d->b.loss);
    if (!trainer_update(&d->l.trainer, e)) return false;
    training_smooth(&d->t, d->b.loss);
    return true;
}

/* ---- all pairs, forward only ---- */

/* The next pairs from `at` on side by side, a micro-batch at most; how many, or -1. */
static int pairs_next(PairBatch *b, const PairSet *p, int at, Err *e) {
    const int n = p->n - at < b->size ? p->n - at : b->size;
    for (int i = 0; i < n; i++) b->now[i] = &p->row[at + i];
    return pair_batch_lay(b, 0, n, e) ? n : -1;
}

/* The values under m, which is the policy that the run starts from, kept with the pairs. */
static bool precompute(PairBatch *b, const PairSet *p, const Model *m, Err *e) {
    for (int at = 0; at < p->n; at += b->size)
        if (pairs_next(b, p, at, e) < 0 || !pair_batch_refer(b, m, true, e)) return false;
    return true;
}

/* The loss is the mean over batches of --per-device-train-batch-size pairs, as in training. */
static bool held_evaluate(HeldPairs *out, Dpo *d, const Model *m, Err *e) {
    const PairSet *p = &d->held;
    PairBatch *b = &d->b;
    DpoPair *all = calloc((size_t)p->n, sizeof *all);
    bool ok = all || fail(e, "no memory for %d pairs", p->n);
    *out = (HeldPairs){.loss = 0};
    share_weights(d, b->accumulate);
    for (int at = 0, n; ok && at < p->n; at += n) {
        double loss = 0;
        if ((n = pairs_next(b, p, at, e)) < 0 || !pair_batch_forward(b, m, e)) { ok = false; break; }
        pair_batch_loss(b, &loss);
        out->loss += loss * b->accumulate * n / p->n;
        memcpy(all + at, b->micro, (size_t)n * sizeof *all);
        if (b->groups.n) pair_batch_by_group(out->sums, b);
    }
    if (ok) dpo_metrics(&out->m, all, (size_t)p->n, &b->config);
    free(all);
    return ok;
}

/* Row k of the table: the loss, the metrics, the groups; false behind the last. */
static bool held_row(char name[96], double *value, const Dpo *d, const HeldPairs *h, int k) {
    const char *const *metric = dpo_metric_names(&d->b.config);
    int n = 0;
    while (metric[n]) n++;
    if (k > n) return groups_row(name, value, &d->b.groups, h->sums, k - n - 1);
    snprintf(name, 96, "%s", k ? metric[k - 1] : "loss");
    *value = k ? dpo_metric(&h->m, k - 1) : h->loss;
    return true;
}

static void held_json(JsonWriter *w, const Dpo *d, const HeldPairs *before, const HeldPairs *after) {
    const HeldPairs *const at[] = {before, after};
    char name[96];
    double value;
    json_begin(w, '{');
    json_put_int(w, "pairs", d->held.n);
    for (int k = 0; k < 2; k++) {
        json_open(w, k ? "after" : "before", '{');
        for (int j = 0; held_row(name, &value, d, at[k], j); j++) json_put(w, name, value);
        json_end(w, '}');
    }
    json_end(w, '}');
}

static void held_print(const Dpo *d, const HeldPairs *before, const HeldPairs *after) {
    char name[96];
    double x, y;
    printf("\n%-20s %12s %12s\n", "held-out pairs", "before", "after");
    for (int j = 0; held_row(name, &x, d, before, j) && held_row(name, &y, d, after, j); j++)
        printf("%-20s %12.5f %12.5f\n", name, x, y);
    printf("n = %d; rewards are beta log(policy/reference), 0 before the first step\n", d->held.n);
}

/* ---- the run ---- */

static void dpo_log(JsonWriter *w, void *self) {
    const Dpo *d = self;
    DpoMetrics m;
    dpo_metrics(&m, d->b.pair, (size_t)d->count, &d->b.config);
    json_put(w, "loss", d->b.loss);
    const char *const *name = dpo_metric_names(&d->b.config);
    for (int j = 0; name[j]; j++) json_put(w, name[j], dpo_metric(&m, j));
    groups_log(w, &d->b.groups, d->b.sums);
    if (dpo_is_flow(&d->b.config)) json_put(w, "log_flow", d->b.flow.log_flow / (2.0 * d->count));
    if (d->demo.n) json_put(w, "demonstrations/loss", d->demo_sums.loss / d->demo_sums.n);
    json_put(w, "entropy", d->b.entropy_sum / d->b.n_token);
    json_put(w, "grad_norm", d->l.trainer.grad_norm);
    json_put(w, "learning_rate", d->l.trainer.lr);
    json_put(w, "epoch", training_epoch(&d->t));
    json_put_int(w, "num_tokens", (long long)d->t.tokens);
}

static void dpo_detail(char text[128], void *self) {
    snprintf(text, 128, "loss %.4f", ((Dpo *)self)->t.smooth);
}

static bool dpo_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    Dpo *d = self;
    (void)e;
    Networks net = learner_networks(&d->l, d->t.o, true);
    /* the policy as it starts, adapter and all */
    if (d->c->precompute_ref_log_probs) net.reference = d->l.shape;
    const Texts trained = training_texts(&d->t, n_step),
                all = order_texts(&d->t.order, 0, d->train.n, dpo_texts, d->train.row);
    Texts referred = {0};               /* E235 reads every text twice, at two temperatures */
    texts_add(&referred, d->l.reference ? &trained : &all,
              dpo_is_flow(&d->b.config) && d->c->flow.reward == REWARD_PROGRAM ? 2 : 1);
    const int ahead = !d->b.ahead ? 0 : d->b.config.use_weighting ? 2 : 1;
    cost_dpo(c, &net, &referred, &trained, ahead);
    if (dpo_wants_kl(&d->b.config)) cost_logits_again(c, &net, &trained);
    if (!d->demo.n) return true;
    const Texts shown = order_texts(&d->demo_order, 0, training_read(&d->t, n_step), sequence_texts,
                                    d->demo.row);
    cost_sft(c, &net, &shown);
    return true;
}

static bool demo_data(Dpo *d, int max_length, Err *e) {
    const Config *c = d->c;
    Dataset data;
    int cut = 0;
    if (!(c->demonstration_weight > 0) || isinf(c->demonstration_weight))
        return fail(e, "--demonstration-weight: found %g, expected more than 0", c->demonstration_weight);
    if (!dataset_load(&data, c->demonstrations, NEED_COMPLETION, d->t.o->system, e) ||
        (d->t.o->drop_long && !fit_drop_long(&data, &d->l.language, max_length - 1, "dpo", e)) ||
        !sequences_encode(&d->demo, &data, &d->l.language, false, max_length, &cut, e))
        return false;
    if (cut)
        fprintf(stderr, "dpo: of %d demonstrations %d were longer than %d tokens and cut\n", data.n, cut,
                max_length);
    for (int i = 0; i < d->demo.n; i++)
        d->l.rows = d->demo.row[i].n > d->l.rows ? d->demo.row[i].n : d->l.rows;
    return order_new(&d->demo_order, d->demo.n, (uint64_t)d->t.o->seed, e);
}

static bool dpo_data(Dpo *d, int *longest_tree, Err *e) {
    const Config *c = d->c;
    const RunOptions *o = d->t.o;
    Dataset data, held = {.n = 0};
    int cut = 0;
    const int max_length = c->max_length < d->l.shape.context ? c->max_length : d->l.shape.context;
    if (!dataset_load(&data, o->dataset, NEED_PAIR, o->system, e) ||
        (o->drop_long && !fit_drop_long(&data, &d->l.language, max_length - 1, "dpo", e)))
        return false;
    if (c->eval_split != 0 && !dataset_hold_out(&data, &held, c->eval_split, (uint64_t)o->seed, e))
        return false;
    if (!o->plan) overlap_tell("dpo", &data, &held);
    const bool flow = dpo_is_flow(&d->b.config);
    int left_out = 0;
    if (flow && (!flow_texts(&data, &left_out, e) || (held.n && !flow_texts(&held, &left_out, e))))
        return false;
    if (left_out) fprintf(stderr, "dpo: %d pairs with an empty reply are left out\n", left_out);
    if (!pairs_encode(&d->train, &data, &d->l.language, max_length, &cut, e) ||
        (held.n && !pairs_encode(&d->held, &held, &d->l.language, max_length, &cut, e)))
        return false;
    double held_lowest = 0;             /* not looked at */
    if (flow && (!flow_scores(&d->train, &d->b.flow.lowest_score, &data, c->flow.scores, e) ||
                 !flow_scores(&d->held, &held_lowest, &held, c->flow.scores, e)))
        return false;
    if (c->bmc.delta != 0 &&
        (!pairs_changed(&d->train, &data, &d->l.language, c->bmc_stop_words, e) ||
         !pairs_changed(&d->held, &held, &d->l.language, c->bmc_stop_words, e)))
        return false;
    if (c->group_column && !groups_read(&d->b.groups, c->group_column, &d->train, &data, &d->held, &held, e))
        return false;
    if (cut)
        fprintf(stderr, "dpo: of %d pairs %d were longer than %d tokens and cut\n", data.n + held.n, cut,
                max_length);
    const int train = pairs_longest(&d->train), other = pairs_longest(&d->held);
    *longest_tree = train > other ? train : other;
    if (flow) *longest_tree = 2 * *longest_tree + 2;            /* targets */
    d->l.rows = o->slice_rows > *longest_tree ? o->slice_rows : *longest_tree;
    return !c->demonstrations || demo_data(d, max_length, e);
}

static bool dpo_open(void *self, Err *e) {
    Dpo *d = self;
    const Config *c = d->c = d->t.config;
    const RunOptions *o = d->t.o;
    Learner *l = &d->l;
    const bool reference = !c->precompute_ref_log_probs;
    Tally *referred = &d->t.cost.measured.net[NET_REFERENCE];
    PairBatch *b = &d->b;
    int longest_tree = 0;
    b->l = l, b->config = c->dpo, b->bmc = c->bmc;
    b->size = o->per_device_train_batch_size, b->accumulate = o->gradient_accumulation_steps;
    d->t.batch = b->size * b->accumulate;
    if (!parse_losses(&b->config, c, e)) return false;
    memcpy(d->loss_weight, b->config.loss_weight, sizeof d->loss_weight);
    b->ahead = b->config.use_weighting || dpo_ranked(&b->config) ||
               (c->group_column && c->robust.weights != GROUP_NONE);
    b->groups.config = c->robust, b->flow.config = c->flow;
    if (dpo_is_flow(&b->config)) {
        b->config.beta = 1 / c->flow.alpha;     /* E237: of the rewards that are told */
        b->flow.lowest_score = INFINITY;
        if (c->flow.reward == REWARD_PROGRAM)
            fprintf(stderr, "dpo: --flow-reward program: the authors' formula, whose minimum is not the "
                            "reference tilted by the scores; theory has that\n");
    }
    if (!learner_shape(l, o, true, e) || !dpo_data(d, &longest_tree, e) ||
        !run_memory(o, "dpo", learner_bytes(l, o, reference) + pair_batch_bytes(b), e) ||
        !learner_load(l, o, reference, e) || !pair_batch_new(b, longest_tree, e))
        return false;
    /* here the policy still is the one that the run starts from: a new adapter's B is 0 */
    Model start = *l->model;
    start.tally = referred;
    if (!reference && !precompute(b, &d->train, &start, e)) return false;
    if (d->held.n && !o->plan &&
        ((!b->second.model && !precompute(b, &d->held, l->model, e)) ||
         !held_evaluate(&d->before, d, l->model, e)))
        return false;
    l->model->tally = &d->t.cost.measured.net[NET_POLICY];
    l->base.tally = referred;
    if (l->copy) l->copy->tally = referred;
    if (!order_new(&d->t.order, d->train.n, (uint64_t)o->seed, e)) return false;
    d->t.texts_of = dpo_texts, d->t.texts = d->train.row;
    d->t.trainer = &l->trainer;
    trainer_keep(&l->trainer, "loss", &b->loss, 1);             /* of the last update, told at the end */
    if (b->groups.n) trainer_keep(&l->trainer, "group_weights", b->groups.q, (size_t)b->groups.n);
    run_trainer(&l->trainer, o, run_steps(o, (double)training_per_epoch(&d->t)));
    return true;
}

static void dpo_hold(void *self) {
    Dpo *d = self;
    learner_hold(&d->t.cost, &d->l);
    pair_batch_hold(&d->t.cost, &d->b);
}

/* The table on held-out pairs: eval.json, and on stdout or as a member of *w. */
static bool dpo_held(JsonWriter *w, Dpo *d, Err *e) {
    char path[600];
    HeldPairs after;
    JsonWriter eval = {0};
    if (!held_evaluate(&after, d, d->l.model, e)) return false;
    held_json(&eval, d, &d->before, &after);
    json_put_raw(w, "eval", eval.text);
    const bool ok = path_join(path, sizeof path, d->t.o->output_dir, "eval.json", e) &&
                    json_save(path, &eval, e);
    free(eval.text);
    if (ok && !d->t.o->json) held_print(d, &d->before, &after);
    return ok;
}

static bool dpo_finish(JsonWriter *w, void *self, Err *e) {
    Dpo *d = self;
    char told[64];
    if (!training_final(w, &d->t, &d->l, "loss", d->b.loss, e)) return false;
    snprintf(told, sizeof told, "loss of the last %.4f", d->b.loss);
    training_tell(&d->t, told, "");
    return !d->held.n || dpo_held(w, d, e);
}

static void dpo_close(void *self) {
    Dpo *d = self;
    pair_batch_free(&d->b);
    pairs_free(&d->train);
    pairs_free(&d->held);
    sequences_free(&d->demo);
    free(d->demo_order.order);
    learner_close(&d->l);
}

static void dpo_defaults(void *config) { dpo_config_default(&((Config *)config)->dpo); }

static const Method method = {
    .table = &dpo_table, .config_size = sizeof(Config), .run_at = AT(run), .state_size = sizeof(Dpo),
    .defaults = dpo_defaults, .open = dpo_open, .hold = dpo_hold, .update = dpo_update, .log = dpo_log,
    .detail = dpo_detail, .predict = dpo_predict, .finish = dpo_finish, .close = dpo_close};

int plan_dpo(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_dpo(int argc, char **argv, Err *e) { return plan_dpo(NULL, argc, argv, e); }
