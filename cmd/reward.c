/* reward.c: `grpo reward`: trains the K-label regression head and the trunk below it (E40 to E45), and
 * reports its quality on held-out data (E46 to E50). */
#include "reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "run/loop.h"
#include "run/quality.h"
#include "lib/words.h"
#include "lib/files.h"
#include "lib/rng.h"

typedef struct {
    RunOptions run;
    const char *eval_dataset, *labels, *label_weights;
    int max_length;
    double eval_split;
    bool normalize_labels;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Reward model"),
    {"eval_dataset", SET_STRING, AT(eval_dataset), NULL, NULL, "held-out JSONL for the table at the end"},
    {"eval_split", SET_NUMBER, AT(eval_split), "0", NULL, "or: this share of the data set is held out"},
    {"labels", SET_STRING, AT(labels), NULL, NULL,
     "names in order, with commas; else as they occur in the data"},
    {"label_weights", SET_STRING, AT(label_weights), NULL, NULL,
     "weights of the labels in the loss, e.g. safety=2,politeness=1"},
    {"normalize_labels", SET_BOOL, AT(normalize_labels), "true", NULL,
     "train on standardised labels (folded back on saving)"},
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer examples are cut at the end"},
    SETTINGS_END};
const OptionTable reward_table = {
    "reward", "train a multi-label reward regression on labelled replies",
    "grpo reward --model runs/sft/final --dataset labelled.jsonl --output-dir runs/reward",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-4"}, {"num_train_epochs", "3"}}};

typedef struct { int *id, n, n_prompt; } Labelled;
typedef struct { Labelled *seq; real *label; int n; } Items;

static bool reward_encode(Items *out, const Dataset *d, const Language *l, const char (*name)[64],
                          int n_label, int max_length, Err *e) {
    Ids ids = {0};
    out->n = d->n;
    out->seq = calloc((size_t)d->n, sizeof *out->seq);
    out->label = malloc((size_t)d->n * (size_t)n_label * sizeof(real));
    if (!out->seq || !out->label) return fail(e, "no memory for %d examples", d->n);
    for (int i = 0; i < d->n; i++) {
        const Example *x = &d->row[i];
        double label[MAX_LABELS];
        const Json *ended = json_get(x->row, "ended");
        const bool cut = (x->finish_reason && !strcmp(x->finish_reason, "length")) ||
                         (ended && ended->type == JSON_BOOL && ended->number == 0);
        ids.n = 0;
        if (!encode_prompt(&ids, l, x, e)) return false;
        const int n_prompt = ids.n;
        if (!encode_completion(&ids, l, x->completion, !cut, e) ||
            !example_labels(label, x, name, n_label, d->path, e))
            return false;
        out->seq[i].n = ids.n < max_length ? ids.n : max_length;
        out->seq[i].n_prompt = n_prompt < max_length ? n_prompt : max_length;
        out->seq[i].id = malloc((size_t)out->seq[i].n * sizeof(int));
        if (!out->seq[i].id) return fail(e, "no memory for %d tokens", ids.n);
        memcpy(out->seq[i].id, ids.id, (size_t)out->seq[i].n * sizeof(int));
        for (int k = 0; k < n_label; k++) out->label[i * n_label + k] = (real)label[k];
    }
    free(ids.id);
    return true;
}

/* Moves the last `share` of a keyed permutation into held. */
static bool items_split(Items *all, Items *held, int n_label, double share, uint64_t seed, Err *e) {
    const int n_held = (int)floor(share * all->n), n = all->n - n_held;
    if (n_held < 2 || n < 1)
        return fail(e, "--eval-split %g: leaves %d for training and %d held out; expected at least 1 and 2",
                    share, n, n_held);
    int *order = malloc((size_t)all->n * sizeof(int));
    Items out = {calloc((size_t)n, sizeof(Labelled)), malloc((size_t)(n * n_label) * sizeof(real)), n};
    *held = (Items){calloc((size_t)n_held, sizeof(Labelled)),
                    malloc((size_t)(n_held * n_label) * sizeof(real)), n_held};
    if (!order || !out.seq || !out.label || !held->seq || !held->label)
        return fail(e, "no memory to split %d examples", all->n);
    rng_permutation(order, all->n, seed, RNG_SPLIT, 0);
    for (int i = 0; i < all->n; i++) {
        Items *to = i < n ? &out : held;
        const int at = i < n ? i : i - n;
        to->seq[at] = all->seq[order[i]];
        memcpy(to->label + at * n_label, all->label + order[i] * n_label, (size_t)n_label * sizeof(real));
    }
    free(order);
    free(all->seq);
    free(all->label);
    *all = out;
    return true;
}

/* E40: read at the last token that is not padding, which is not the last one where the end token is the
 * padding token too. */
static bool add_example(Window *w, const Labelled *s, int pad, Err *e) {
    const int row = w->n_row, last = head_last_row(s->id, s->n, pad);
    if (last < 0) return fail(e, "an example holds nothing but pad_token_id %d; expected another token", pad);
    return window_add(w, s->id, s->n, -1, e) >= 0 && window_target(w, row + last, 0, e);
}

typedef struct {
    Training t;                         /* stands first */
    const Config *c;
    Learner l;
    FolderInfo info;                    /* of final/: labels, their means */
    Items items, held;
    int n_label;
    double weight[MAX_LABELS], mean[MAX_LABELS], sd[MAX_LABELS];
    real *label;                        /* [batch, n_label] of the update */
    double loss;
} Reward;

static void reward_texts(Texts *t, const void *items, int i) {
    const Labelled *x = &((const Items *)items)->seq[i];
    texts_sequence(t, x->n_prompt, x->n - x->n_prompt, 1);
}

/* E43, E44: the weighted mean of squared errors over the labels that are there. */
static bool reward_update(void *self, Err *e) {
    Reward *s = self;
    Trainer *t = &s->l.trainer;
    Window *w = &s->l.window;
    const size_t k = (size_t)s->n_label, n = (size_t)s->t.batch;
    double prompt = 0;
    int more;
    window_clear(w);
    for (size_t i = 0; i < n; i++) {
        const int x = training_example(&s->t, (int)i);
        if (!add_example(w, &s->items.seq[x], t->model->config.pad, e)) return false;
        memcpy(s->label + i * k, s->items.label + (size_t)x * k, k * sizeof(real));
        prompt += s->items.seq[x].n_prompt;
    }
    s->loss = 0;
    const double weight_sum = reward_label_weight_sum(s->label, s->weight, n, k);
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, w, &t->model->config, e)) > 0) {
        slice_scores(t, &x);
        reward_regression_loss(&s->loss, t->dscore, t->score, s->label + (size_t)x.first_target * k,
                               s->weight, (size_t)x.batch.n_target, k, weight_sum);
        slice_scores_backward(t, &x);
    }
    if (more < 0) return false;
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
    const Texts texts = order_texts(&s->t.order, 0, n_step * s->t.batch, reward_texts, &s->items);
    cost_reward(c, &s->l.shape, &texts);
    return true;
}

/* E45: the labels were standardised, the folder gives them as they were. */
static void head_unstandardise(Model *m, FolderInfo *info, const double *mean, const double *sd) {
    real *w = m->head->data;
    for (int k = 0; k < m->config.n_label; k++) {
        info->reward_mean[k] = mean[k];
        for (int j = 0; j < m->config.hidden; j++) w[k * m->config.hidden + j] *= (real)sd[k];
    }
    model_pack(m);
}

/* The table of held-out items: on stdout (or as a member of *w), and as eval.json. */
static bool held_table(JsonWriter *w, const Trainer *t, const FolderInfo *info, const Items *held,
                       const char *dir, bool json, Err *e) {
    const int n_label = t->model->config.n_label;
    Window window = {0};
    bool ok = true;
    real *score = malloc((size_t)held->n * (size_t)n_label * sizeof(real));
    QualityPair *scratch = malloc((size_t)held->n * sizeof *scratch);
    if (!score || !scratch) ok = fail(e, "no memory for %d scores", held->n);
    for (int i = 0; ok && i < held->n; i++) ok = add_example(&window, &held->seq[i], t->model->config.pad, e);
    ok = ok && window_scores(score, t->acts, t->max_row, t->max_target, t->model, &window, e);
    for (int i = 0; ok && i < held->n * n_label; i++) score[i] += (real)info->reward_mean[i % n_label];
    JsonWriter j = {0};
    json_begin(&j, '{');
    if (ok && !json)
        printf("%-16s %6s %8s %8s %8s %8s %8s %8s\n", "held-out", "n", "MSE", "R2", "Pearson", "Spearman",
               "bias", "slope");
    for (int k = 0; ok && k < n_label; k++) {
        Quality r;
        quality_of(&r, NULL, 10, score, held->label, (size_t)held->n, (size_t)n_label, (size_t)k,
                       scratch);
        if (!json)
            printf("%-16s %6zu %8.4f %8.3f %8.3f %8.3f %8.4f %8.3f\n", info->label[k], r.n, r.mse, r.r2,
                   r.pearson, r.spearman, r.bias, r.calibration_slope);
        json_open(&j, info->label[k], '{');
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
    json_end(&j, '}');
    json_put_raw(w, "held_out", j.text);
    json_raw(&j, "\n");
    char path[1024];
    ok = ok && path_join(path, sizeof path, dir, "eval.json", e) && file_write(path, j.text, j.length, e);
    free(j.text);
    free(score);
    free(scratch);
    window_free(&window);
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
    return *n_label > 0 || fail(e, "%s: no labels in the data", d->path);
}

/* The items to train on and those held out, with labels as the data have them. */
static bool reward_data(Reward *s, int max_length, Err *e) {
    const Config *c = s->c;
    const RunOptions *o = s->t.o;
    const int need = NEED_COMPLETION | NEED_LABELS;
    const char (*name)[64] = (const char (*)[64])s->info.label;
    Dataset d, held;
    if (!(c->eval_split >= 0 && c->eval_split < 1))
        return fail(e, "--eval-split: found %g, expected a number from 0 (none) to less than 1",
                    c->eval_split);
    if (c->eval_dataset && c->eval_split != 0)
        return fail(e, "--eval-dataset and --eval-split %g: both hold data out; give one of them",
                    c->eval_split);
    if (!dataset_load(&d, o->dataset, need, o->system, e) || !label_names(&s->info, &s->n_label, c, &d, e) ||
        !parse_weights(s->weight, c->label_weights, name, s->n_label, "--label-weights", e) ||
        !reward_encode(&s->items, &d, &s->l.language, name, s->n_label, max_length, e))
        return false;
    if (c->eval_dataset && (!dataset_load(&held, c->eval_dataset, need, o->system, e) ||
                            !reward_encode(&s->held, &held, &s->l.language, name, s->n_label, max_length, e)))
        return false;
    if (c->eval_split > 0 &&
        !items_split(&s->items, &s->held, s->n_label, c->eval_split, (uint64_t)o->seed, e))
        return false;
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
    const size_t n = (size_t)s->items.n, k = (size_t)s->n_label;
    for (size_t i = 0; i < k; i++) s->sd[i] = 1;
    if (c->normalize_labels) {
        reward_label_moments(s->mean, s->sd, s->items.label, n, k);
        reward_standardise(s->items.label, s->mean, s->sd, n, k);
    }
    l->rows = o->slice_rows > max_length ? o->slice_rows : max_length;
    l->shape.n_label = s->n_label;
    s->t.batch = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    if (!(s->label = malloc((size_t)s->t.batch * k * sizeof(real)))) return fail(e, "no memory for labels");
    if (!run_memory(o, "reward", learner_bytes(l, o, false), e) || !learner_load(l, o, false, e))
        return false;
    s->t.order = (Order){.n = s->items.n, .seed = (uint64_t)o->seed};
    s->t.texts_of = reward_texts, s->t.texts = &s->items;
    s->t.trainer = &l->trainer;
    run_trainer(&l->trainer, o, run_steps(o, (double)n / s->t.batch));
    l->model->tally = &s->t.cost.measured.net[NET_REWARD];
    return true;
}

static void reward_hold(void *self) { learner_hold(&((Reward *)self)->t.cost, &((Reward *)self)->l); }

static bool reward_finish(JsonWriter *w, void *self, Err *e) {
    Reward *s = self;
    const Config *c = s->c;
    char told[96];
    head_unstandardise(s->l.model, &s->info, s->mean, s->sd);
    memcpy(s->l.info.label, s->info.label, sizeof s->info.label);
    memcpy(s->l.info.reward_mean, s->info.reward_mean, sizeof s->info.reward_mean);
    snprintf(told, sizeof told, "%d labels, loss %.4f%s", s->n_label, s->t.smooth,
             c->normalize_labels ? " (standardised)" : "");
    if (!training_final(w, &s->t, &s->l, "loss", s->t.smooth, e) ||
        (s->held.n && !held_table(w, &s->l.trainer, &s->info, &s->held, s->t.o->output_dir, s->t.o->json, e)))
        return false;
    training_tell(&s->t, told,
                  s->held.n ? ""
                            : "; nothing was held out: --eval-split or --eval-dataset tells how good "
                              "it is");
    return true;
}

static void items_free(Items *x) {
    for (int i = 0; x->seq && i < x->n; i++) free(x->seq[i].id);
    free(x->seq);
    free(x->label);
}

static void reward_close(void *self) {
    Reward *s = self;
    items_free(&s->items);
    items_free(&s->held);
    free(s->label);
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
