/* reward.c: `grpo reward`: trains the K-label regression head and the trunk below it (E40 to E45), by
 * labels or by pairs (E56), or a value model (E240 to E242), and reports its quality on held-out data (E46 to
 * E50).
 *
 * One loop for all losses: a loss is which rows of a reply are read (ReplySet, pair_reward_lay), and what
 * becomes of the scores there (scores_loss). */
#include "reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baselines/dvpo.h"
#include "cmd/commands.h"
#include "run/loop.h"
#include "text/fit.h"
#include "text/overlap.h"
#include "run/pair_reward.h"
#include "run/quality.h"
#include "run/replies.h"
#include "lib/words.h"
#include "lib/files.h"

typedef enum { LOSS_REGRESSION, LOSS_PAIRS, LOSS_VALUE } LossType;
static const char *const loss_names[] = {"regression", "bradley_terry", "value", NULL};

typedef struct {
    RunOptions run;
    LossType loss_type;
    const char *eval_dataset, *labels, *label_weights, *reward_weights;
    int max_length;
    double eval_split, center_rewards_coefficient, gamma, lam;
    bool normalize_labels;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Reward model"),
    {"loss_type", SET_CHOICE, AT(loss_type), "regression", loss_names,
     "regression: labels, read at the last token; bradley_terry: one score, by which the chosen reply of a "
     "pair wins over the rejected one; value: one score (\"reward\", labels with "
     "--reward-weights, "
     "or 1 and -1 of pairs), expected before every token and after the last, for ppo --critic frozen"},
    {"eval_dataset", SET_STRING, AT(eval_dataset), NULL, NULL, "held-out JSONL for the table at the end"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL, "or: this share of the data set is held out"},
    {"labels", SET_STRING, AT(labels), NULL, NULL,
     "names in order, with commas; else as they occur in the data"},
    {"label_weights", SET_STRING, AT(label_weights), NULL, NULL,
     "weights of the labels in the loss, e.g. safety=2,politeness=1"},
    {"normalize_labels", SET_BOOL, AT(normalize_labels), "true", NULL,
     "train on standardised labels (folded back on saving)"},
    {"center_rewards_coefficient", SET_NUMBER, AT(center_rewards_coefficient), "0", NULL,
     "of pairs: weight of the squared sum of a pair's scores, which keeps them around 0"},
    {"reward_weights", SET_STRING, AT(reward_weights), NULL, NULL,
     "of a value: weights of the labels in the score, e.g. safety=2,politeness=1"},
    {"gamma", SET_NUMBER, AT(gamma), "1", NULL, "of a value: discount"},
    {"lam", SET_NUMBER, AT(lam), "0.95", NULL,
     "of a value: lambda of its targets; 0: the next value, 1: the score"},
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer examples are cut at the end"},
    SETTINGS_END};
const OptionTable reward_table = {
    "reward", "train a multi-label reward regression on labelled replies",
    "grpo reward --model runs/sft/final --dataset labelled.jsonl --output-dir runs/reward",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-4"}, {"num_train_epochs", "3"}}};

typedef struct {
    Training t;                         /* stands first */
    const Config *c;
    Learner l;
    FolderInfo info;                    /* of final/: labels, their means */
    ReplySet items, held;
    PairSet pairs, held_pairs;          /* in their place */
    int n_label;
    double weight[MAX_LABELS], mean[MAX_LABELS], sd[MAX_LABELS];
    real *label;                        /* [batch, n_label] of the update */
    real *target;                       /* [rows] of a slice's values, and where those of a reply begin: */
    size_t *offset;                     /* [batch + 1] */
    double loss;
    PairReward pair;                    /* of the update */
} Reward;

/* E240 to E242 of the slice's replies, the first of which is reply `first` of the update; total: values of
 * all. */
static void value_loss(Reward *s, const Slice *x, int first, double total) {
    Trainer *t = &s->l.trainer;
    const Batch *b = &x->batch;
    for (int i = 0, at = 0; i <= b->n_seg; i++) {
        s->offset[i] = (size_t)at;
        while (i < b->n_seg && at < b->n_target && b->target_row[at] < b->seg[i].start + b->seg[i].n_row)
            at++;
    }
    dvpo_targets(s->target, t->score, s->label + first, s->offset, (size_t)b->n_seg, s->c->gamma, s->c->lam);
    dvpo_value_loss(&s->loss, t->dscore, t->score, s->target, (size_t)b->n_target, total);
}

static bool of_pairs(const Reward *s) { return s->c->loss_type == LOSS_PAIRS; }

/* The i-th example of the update goes into the window; *prompt += tokens of its prompt. */
static bool lay(Reward *s, size_t i, double *prompt, Err *e) {
    const int x = training_example(&s->t, (int)i), pad = s->l.shape.pad;
    const size_t k = (size_t)s->n_label;
    *prompt += of_pairs(s) ? s->pairs.row[x].n_prompt : s->items.seq[x].n_prompt;
    if (of_pairs(s)) return pair_reward_lay(&s->l.window, &s->pairs.row[x], pad, e);
    memcpy(s->label + i * k, s->items.label + (size_t)x * k, k * sizeof(real));
    return replies_lay(&s->l.window, &s->items, x, pad, e);
}

/* E43, E44: the weighted mean of squared errors over the labels that are there; or E56; or the value's loss.
 */
static void scores_loss(Reward *s, const Slice *x, int first, double weight_sum) {
    Trainer *t = &s->l.trainer;
    const int n = x->batch.n_target;
    const double all = s->l.window.n_target;
    if (of_pairs(s))
        pair_reward_loss(&s->pair, t->dscore, t->score, n / 2, s->c->center_rewards_coefficient, all / 2);
    else if (s->items.states) value_loss(s, x, first, all);
    else
        reward_regression_loss(&s->loss, t->dscore, t->score, s->label + (size_t)(first * s->n_label),
                               s->weight, (size_t)n, (size_t)s->n_label, weight_sum);
}

static bool reward_update(void *self, Err *e) {
    Reward *s = self;
    Trainer *t = &s->l.trainer;
    Window *w = &s->l.window;
    const size_t n = (size_t)training_count(&s->t);
    double prompt = 0;
    int more, first = 0;
    window_clear(w);
    for (size_t i = 0; i < n; i++)
        if (!lay(s, i, &prompt, e)) return false;
    s->loss = 0, s->pair = (PairReward){0};
    const double weight_sum =
        of_pairs(s) ? 0 : reward_label_weight_sum(s->label, s->weight, n, (size_t)s->n_label);
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_scores(t, &x);
        scores_loss(s, &x, first, weight_sum);
        slice_scores_backward(t, &x);
        first += x.batch.n_seg;
    }
    if (more < 0) return false;
    if (of_pairs(s)) s->pair = pair_reward_means(s->pair, (double)n), s->loss = s->pair.loss;
    if (!isfinite(s->loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied; lower --learning-rate",
                    (long long)t->step + 1, s->loss);
    if (!trainer_update(t, e)) return false;
    s->t.tokens += w->n_row;
    s->t.cost.measured.prompt += prompt;
    s->t.cost.measured.completion += w->n_row - prompt;
    training_smooth(&s->t, s->loss);
    return true;
}

static void reward_log(JsonWriter *w, void *self) {
    const Reward *s = self;
    json_put(w, "loss", s->loss);
    if (of_pairs(s)) json_put(w, "accuracy", s->pair.accuracy), json_put(w, "margin", s->pair.margin);
    json_put(w, "grad_norm", s->l.trainer.grad_norm);
    json_put(w, "learning_rate", s->l.trainer.lr);
    json_put(w, "epoch", training_epoch(&s->t));
    json_put_int(w, "num_tokens", (long long)s->t.tokens);
}

static void reward_detail(char text[128], void *self) {
    snprintf(text, 128, "loss %.4f", ((Reward *)self)->t.smooth);
}

static bool reward_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    Reward *s = self;
    (void)e;
    const Texts texts = training_texts(&s->t, n_step);
    cost_reward(c, &s->l.shape, &texts);
    return true;
}

/* What becomes of pairs that were held out. */
static bool held_pairs_table(JsonWriter *w, Reward *s, Err *e) {
    const int n = s->held_pairs.n;
    real *score = malloc(2 * (size_t)n * sizeof *score);
    PairReward r = {0};
    JsonWriter j = {0};
    const bool ok = (score || fail(e, "no memory for %d scores", 2 * n)) &&
                    pair_reward_scores(score, &s->l.trainer, &s->held_pairs, e);
    if (ok) pair_reward_loss(&r, NULL, score, n, s->c->center_rewards_coefficient, n);
    free(score);
    if (!ok) return false;
    r = pair_reward_means(r, n);
    if (!s->t.o->json) pair_reward_head();
    json_begin(&j, '{');
    pair_reward_row(&j, "pairs", n, &r, !s->t.o->json);
    return training_held(w, &s->t, &j, e);
}

/* Where the table looks at a value: how much of the score is known by then. */
static const struct { const char *name; double share; } place[] = {
    {"start", 0}, {"quarter", 0.25}, {"half", 0.5}, {"end", 1}};
enum { N_PLACE = sizeof place / sizeof *place };

/* What the table compares, [held->n, n_column] each: scores and labels, or a value at several places and the
 * score.
 */
static bool held_scores(real *score, real *label, const Trainer *t, const FolderInfo *info,
                        const ReplySet *held, int n_column, Err *e) {
    Window w = {0};
    bool ok = true;
    for (int i = 0; ok && i < held->n; i++) ok = replies_lay(&w, held, i, t->model->config.pad, e);
    real *read = malloc((size_t)w.n_target * (size_t)held->n_label * sizeof(real)), *at = read;
    ok = ok && (read || fail(e, "no memory for %d scores", w.n_target)) &&
         window_scores(read, t->acts, t->max_row, t->max_target, t->model, &w, e);
    for (int i = 0; ok && i < held->n; at += replies_values(held, i++) * held->n_label)
        for (int k = 0; k < n_column; k++) {
            const int of = held->states ? 0 : k,
                      row = held->states ? (int)(place[k].share * (replies_values(held, i) - 1)) : k;
            score[i * n_column + k] = at[row] + (real)info->reward_mean[of];
            label[i * n_column + k] = held->label[i * held->n_label + of];
        }
    free(read);
    window_free(&w);
    return ok;
}

/* The table of held-out replies: on stdout (or as a member of *w), and as eval.json. */
static bool held_table(JsonWriter *w, const Reward *s, Err *e) {
    const ReplySet *held = &s->held;
    const bool json = s->t.o->json;
    const int n_column = held->states ? N_PLACE : held->n_label;
    const size_t n = (size_t)held->n * (size_t)n_column;
    real *score = malloc(n * sizeof(real)), *label = malloc(n * sizeof(real));
    QualityPair *scratch = malloc((size_t)held->n * sizeof *scratch);
    bool ok = (score && label && scratch) || fail(e, "no memory for %zu scores", n);
    ok = ok && held_scores(score, label, &s->l.trainer, &s->l.info, held, n_column, e);
    JsonWriter j = {0};
    json_begin(&j, '{');
    if (ok && !json)
        printf("%-16s %6s %8s %8s %8s %8s %8s %8s\n", "held-out", "n", "MSE", "R2", "Pearson", "Spearman",
               "bias", "slope");
    for (int k = 0; ok && k < n_column; k++) {
        const char *name = held->states ? place[k].name : s->l.info.label[k];
        Quality r;
        quality_of(&r, NULL, 10, score, label, (size_t)held->n, (size_t)n_column, (size_t)k, scratch);
        if (!json)
            printf("%-16s %6zu %8.4f %8.3f %8.3f %8.3f %8.4f %8.3f\n", name, r.n, r.mse, r.r2, r.pearson,
                   r.spearman, r.bias, r.calibration_slope);
        json_open(&j, name, '{');
        json_put_int(&j, "n", (long long)r.n);
        json_put(&j, "mse", r.mse);
        json_put(&j, "r2", r.r2);
        json_put(&j, "pearson", r.pearson);
        json_put(&j, "spearman", r.spearman);
        json_put(&j, "bias", r.bias);
        json_put(&j, "calibration_slope", r.calibration_slope);
        json_put(&j, "calibration_intercept", r.calibration_intercept);
        json_put(&j, "calibration_error", r.calibration_error);
        json_end(&j, '}');
    }
    ok = training_held(w, &s->t, &j, e) && ok;
    free(score);
    free(label);
    free(scratch);
    return ok;
}

static bool label_names(FolderInfo *info, int *n_label, const Config *c, const Dataset *d, Err *e) {
    *n_label = 0;
    char name[64];
    for (const char *at = c->labels; at && list_next(name, sizeof name, &at); ) {
        if (*n_label == MAX_LABELS) return fail(e, "--labels: more than %d", MAX_LABELS);
        for (int k = 0; k < *n_label; k++)
            if (!strcmp(info->label[k], name)) return fail(e, "--labels: \"%s\" stands there twice", name);
        memcpy(info->label[(*n_label)++], name, sizeof name);
    }
    if (!c->labels) *n_label = dataset_labels(d, info->label, MAX_LABELS);
    for (int k = 0; k < *n_label; k++)
        if (!label_printable(info->label[k], c->labels ? "--labels" : d->path, e)) return false;
    return *n_label > 0 || fail(e, "%s: no labels in the data", d->path);
}

/* Options that belong to one of the losses. */
static bool loss_check(const Config *c, Err *e) {
    const bool value = c->loss_type == LOSS_VALUE;
    if (!(c->gamma >= 0 && c->gamma <= 1) || !(c->lam >= 0 && c->lam <= 1))
        return fail(e, "--gamma %g, --lam %g: expected 0 to 1", c->gamma, c->lam);
    if (!pair_reward_center_check(c->center_rewards_coefficient, e)) return false;
    if (c->loss_type != LOSS_PAIRS && c->center_rewards_coefficient != 0)
        return fail(e, "--center-rewards-coefficient: is of --loss-type bradley_terry; leave it out");
    if (c->loss_type == LOSS_PAIRS && c->label_weights)
        return fail(e, "--label-weights: weighs labels in a regression's loss; pairs have one score");
    if (!value && (c->gamma != 1 || c->lam != 0.95 || c->reward_weights))       /* the table's defaults */
        return fail(e, "--gamma, --lam, --reward-weights: are of --loss-type value; leave them out");
    return !value || !c->label_weights ||
           fail(e, "--label-weights: weighs labels in a regression's loss; a value has one score: give "
                   "--reward-weights");
}

/* The replies of d, as the loss wants them. */
static bool reward_encode(ReplySet *to, Reward *s, const Dataset *d, int max_length, Err *e) {
    const Config *c = s->c;
    const char (*name)[64] = (const char (*)[64])s->info.label;
    return c->loss_type == LOSS_VALUE
               ? replies_scored(to, d, &s->l.language, c->reward_weights ? s->weight : NULL, name, s->n_label,
                                max_length, e)
               : replies_labelled(to, d, &s->l.language, name, s->n_label, max_length, e);
}

/* The pairs to train on and those held out; what they teach is one label. */
static bool pair_data(Reward *s, Dataset *d, Dataset *held, int max_length, Err *e) {
    const Config *c = s->c;
    int cut = 0;
    if ((c->eval_split > 0 && !dataset_hold_out(d, held, c->eval_split, (uint64_t)s->t.o->seed, e)) ||
        !pairs_encode(&s->pairs, d, &s->l.language, max_length, &cut, e) ||
        (held->n && !pairs_encode(&s->held_pairs, held, &s->l.language, max_length, &cut, e)))
        return false;
    if (!s->t.o->plan) overlap_tell("reward", d, held);
    if (cut)
        fprintf(stderr, "reward: of %d pairs %d were longer than %d tokens and cut\n", d->n + held->n, cut,
                max_length);
    if (c->labels && !label_names(&s->info, &s->n_label, c, d, e)) return false;
    if (!c->labels) s->n_label = 1, snprintf(s->info.label[0], sizeof s->info.label[0], "reward");
    return s->n_label == 1 || fail(e, "--labels: found %d, expected one: pairs teach one score", s->n_label);
}

/* The replies to train on and those held out, with labels as the data have them. */
static bool reward_data(Reward *s, int max_length, Err *e) {
    const Config *c = s->c;
    const RunOptions *o = s->t.o;
    const bool value = c->loss_type == LOSS_VALUE;
    const char(*name)[64] = (const char(*)[64])s->info.label,
          *option = value ? "--reward-weights" : "--label-weights";
    const int need = of_pairs(s) ? NEED_PAIR : value ? NEED_PROMPT : NEED_COMPLETION | NEED_LABELS;
    Dataset d, held = {0};
    if (!(c->eval_split >= 0 && c->eval_split < 1))
        return fail(e, "--eval-split: found %g, expected a number from 0 (none) to less than 1",
                    c->eval_split);
    if (c->eval_dataset && c->eval_split != 0)
        return fail(e, "--eval-dataset and --eval-split %g: both hold data out; give one of them",
                    c->eval_split);
    if (!loss_check(c, e) || !dataset_load(&d, o->dataset, need, o->system, e) ||
        (c->eval_dataset && !dataset_load(&held, c->eval_dataset, need, o->system, e)))
        return false;
    if (o->drop_long && (!fit_drop_long(&d, &s->l.language, max_length - 1, "reward", e) ||
                         (held.n && !fit_drop_long(&held, &s->l.language, max_length - 1, "reward", e))))
        return false;
    if (of_pairs(s)) return pair_data(s, &d, &held, max_length, e);
    if (((!value || c->reward_weights) &&
         (!label_names(&s->info, &s->n_label, c, &d, e) ||
          !parse_weights(s->weight, value ? c->reward_weights : c->label_weights, name, s->n_label, option,
                         e))))
        return false;
    /* the replies of a pair stay together */
    if (value && c->eval_split > 0 && !dataset_hold_out(&d, &held, c->eval_split, (uint64_t)o->seed, e))
        return false;
    if (!reward_encode(&s->items, s, &d, max_length, e) ||
        (held.n && !reward_encode(&s->held, s, &held, max_length, e)))
        return false;
    if (!o->plan) overlap_tell("reward", &d, &held);
    const int cut = s->items.cut + s->held.cut, all = s->items.n + s->held.n;
    if (cut)
        fprintf(stderr, "reward: of %d replies %d were longer than %d tokens and cut\n", all, cut,
                max_length);
    if (!value && c->eval_split > 0 &&
        !replies_split(&s->items, &s->held, c->eval_split, (uint64_t)o->seed, e))
        return false;
    if (value) s->n_label = 1, snprintf(s->info.label[0], sizeof s->info.label[0], "value");
    for (int k = 0; k < s->n_label; k++)
        if (!reward_moments(NULL, NULL, s->items.label + k, (size_t)s->items.n, (size_t)s->n_label, 1))
            return fail(e, "%s: no row has a value for label %s; leave it out with --labels", d.path,
                        s->info.label[k]);
    return true;
}

static bool reward_open(void *self, Err *e) {
    Reward *s = self;
    const Config *c = s->c = s->t.config;
    const RunOptions *o = s->t.o;
    Learner *l = &s->l;
    if (!learner_shape(l, o, false, e)) return false;
    const int max_length = c->max_length < l->shape.context ? c->max_length : l->shape.context;
    if (!reward_data(s, max_length, e)) return false;
    const size_t n = (size_t)(of_pairs(s) ? s->pairs.n : s->items.n), k = (size_t)s->n_label;
    for (size_t i = 0; i < k; i++) s->sd[i] = 1;
    if (c->normalize_labels && !of_pairs(s)) {
        reward_label_moments(s->mean, s->sd, s->items.label, n, k);
        reward_standardise(s->items.label, s->mean, s->sd, n, k);
    }
    const int train = pairs_longest(&s->pairs), other = pairs_longest(&s->held_pairs),
              longest = !of_pairs(s) ? max_length : train > other ? train : other;
    l->rows = o->slice_rows > longest ? o->slice_rows : longest;
    l->shape.n_label = s->n_label;
    s->t.batch = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    s->label = malloc((size_t)s->t.batch * k * sizeof(real));
    s->target = malloc((size_t)l->rows * sizeof(real));
    s->offset = malloc(((size_t)s->t.batch + 1) * sizeof(size_t));
    if (!s->label || !s->target || !s->offset) return fail(e, "no memory for labels");
    if (!run_memory(o, "reward", learner_bytes(l, o, false), e) || !learner_load(l, o, false, e))
        return false;
    if (!order_new(&s->t.order, (int)n, (uint64_t)o->seed, e)) return false;
    s->t.texts_of = of_pairs(s) ? pair_reward_texts : replies_texts;
    s->t.texts = of_pairs(s) ? (const void *)s->pairs.row : &s->items;
    s->t.trainer = &l->trainer;
    run_trainer(&l->trainer, o, run_steps(o, (double)training_per_epoch(&s->t)));
    l->model->tally = &s->t.cost.measured.net[NET_REWARD];
    return true;
}

static void reward_hold(void *self) { learner_hold(&((Reward *)self)->t.cost, &((Reward *)self)->l); }

static bool reward_finish(JsonWriter *w, void *self, Err *e) {
    Reward *s = self;
    const Config *c = s->c;
    char told[96];
    learner_head(&s->l, s->sd, s->mean);        /* E45: as the labels were */
    memcpy(s->l.info.label, s->info.label, sizeof s->info.label);
    s->l.info.value_model = s->items.states;
    const int n = s->items.states ? snprintf(told, sizeof told, "values")
                  : of_pairs(s)   ? snprintf(told, sizeof told, "pairs")
                                  : snprintf(told, sizeof told, "%d labels", s->n_label);
    snprintf(told + n, sizeof told - (size_t)n, ", loss %.4f%s", s->t.smooth,
             c->normalize_labels && !of_pairs(s) ? " (standardised)" : "");
    if (!training_final(w, &s->t, &s->l, "loss", s->t.smooth, e) ||
        (s->held_pairs.n && !held_pairs_table(w, s, e)) ||
        (s->held.n &&
         !held_table(w, s, e)))
        return false;
    training_tell(&s->t, told,
                  s->held.n || s->held_pairs.n ? ""
                            : "; nothing was held out: --eval-split or --eval-dataset tells how good "
                              "it is");
    return true;
}

static void reward_close(void *self) {
    Reward *s = self;
    replies_free(&s->items);
    replies_free(&s->held);
    pairs_free(&s->pairs);
    pairs_free(&s->held_pairs);
    free(s->label);
    free(s->target);
    free(s->offset);
    learner_close(&s->l);
}

static const Method method = {.table = &reward_table, .config_size = sizeof(Config), .run_at = AT(run),
                              .state_size = sizeof(Reward), .open = reward_open, .hold = reward_hold,
                              .update = reward_update, .log = reward_log, .detail = reward_detail,
                              .predict = reward_predict, .finish = reward_finish, .close = reward_close};

int plan_reward(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_reward(int argc, char **argv, Err *e) { return plan_reward(NULL, argc, argv, e); }
