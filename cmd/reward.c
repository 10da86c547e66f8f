/* reward.c: `grpo reward`: trains the K-label regression head and the trunk below it (E40 to E45), and
 * reports its quality on held-out data (E46 to E50). */
#include "reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "text/data.h"
#include "run/quality.h"
#include "run/run.h"
#include "lib/files.h"
#include "lib/rng.h"
#include "lib/say.h"
#include "lib/machine.h"

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
const OptionTable reward_table =
    {"reward", "train a multi-label reward regression on labelled replies",
     "grpo reward --model runs/sft/final --dataset labelled.jsonl --output-dir runs/reward",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "1e-4"}, {"num_train_epochs", "3"}}};

typedef struct { int *id, n, n_prompt; } Sequence;
typedef struct { Sequence *seq; real *label; int n; } Items;

static bool encode(Items *out, const Dataset *d, const Language *l, const char (*name)[64], int n_label,
                   int max_length, Err *e) {
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
static bool split(Items *all, Items *held, int n_label, double share, uint64_t seed, Err *e) {
    const int n_held = (int)floor(share * all->n), n = all->n - n_held;
    if (n_held < 2 || n < 1)
        return fail(e, "--eval-split %g: leaves %d for training and %d held out; expected at least 1 and 2",
                    share, n, n_held);
    int *order = malloc((size_t)all->n * sizeof(int));
    Items out = {calloc((size_t)n, sizeof(Sequence)), malloc((size_t)(n * n_label) * sizeof(real)), n};
    *held = (Items){calloc((size_t)n_held, sizeof(Sequence)),
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

typedef struct { double loss, weight_sum; const real *label; const double *label_weight; int n_label; } Loss;

static void derive(void *to, int first, int n, const real *score, real *dscore) {
    Loss *l = to;
    reward_regression_loss(&l->loss, dscore, score, l->label + (size_t)first * (size_t)l->n_label,
                           l->label_weight, (size_t)n, (size_t)l->n_label, l->weight_sum);
}

/* E40: read at the last token that is not padding, which is not the last one where the end token is the
 * padding token too (D12). */
static bool add_example(Window *w, const Sequence *s, int pad, Err *e) {
    const int row = w->n_row, last = head_last_row(s->id, s->n, pad);
    if (last < 0) return fail(e, "an example holds nothing but pad_token_id %d; expected another token", pad);
    return window_add(w, s->id, s->n, -1, e) >= 0 && window_target(w, row + last, 0, e);
}

static void texts_of(Texts *t, const void *items, int i) {
    const Sequence *x = &((const Items *)items)->seq[i];
    texts_sequence(t, x->n_prompt, x->n - x->n_prompt, 1);
}

static bool step(Loss *loss, Trainer *t, Window *w, real *label, const Items *items, Order *order,
                 int64_t *at, int batch, Err *e) {
    const size_t k = (size_t)loss->n_label;
    window_clear(w);
    for (int i = 0; i < batch; i++) {
        const int x = order_at(order, (*at)++);
        if (!add_example(w, &items->seq[x], t->model->config.pad, e)) return false;
        memcpy(label + (size_t)i * k, items->label + (size_t)x * k, k * sizeof(real));
    }
    loss->loss = 0;
    loss->label = label;
    loss->weight_sum = reward_label_weight_sum(label, loss->label_weight, (size_t)batch, k);    /* E44 */
    if (!trainer_accumulate_scores(t, w, derive, loss, e)) return false;
    if (!isfinite(loss->loss))
        return fail(e, "step %lld: the loss is %g: the step is not applied; lower --learning-rate",
                    (long long)t->step + 1, loss->loss);
    return trainer_update(t, e);
}

/* One step to warm up and three timed ones on the data's own examples, by the mean length of all. */
static bool plan(RunPlan *p, Trainer *t, Window *w, real *label, const Loss *like, const Items *items,
                 const RunOptions *o, int batch, Err *e) {
    Order order = {.n = items->n, .seed = (uint64_t)o->seed};
    double tokens = 0, seconds = 0, timed = 0;
    int64_t at = 0;
    for (int i = 0; i < items->n; i++) tokens += items->seq[i].n;
    for (int i = 0; i < 4; i++) {
        Loss loss = *like;
        const double start = clock_seconds();
        if (!step(&loss, t, w, label, items, &order, &at, batch, e)) return false;
        if (i) seconds += clock_seconds() - start, timed += w->n_row;
    }
    p->step_seconds = seconds / timed * batch * tokens / items->n;
    p->n_step = (int)t->n_step;
    p->how = "three steps of it were timed on this machine; without checkpoints and the table at the end";
    const Texts texts = order_texts(&order, 0, t->n_step * batch, texts_of, items);
    cost_reward(&p->cost, &t->model->config, &texts);
    cost_trainer(&p->cost, &t->model->config, t->max_row, t->max_target);
    free(order.order);
    return true;
}

static bool log_step(Run *r, const Trainer *t, const Loss *l, double epoch, int64_t tokens, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_int(&w, "step", t->step);
    json_put(&w, "loss", l->loss);
    json_put(&w, "grad_norm", t->grad_norm);
    json_put(&w, "learning_rate", t->lr);
    json_put(&w, "epoch", epoch);
    json_put_int(&w, "num_tokens", tokens);
    json_end(&w, '}');
    const bool ok = run_log(r, &w, e);
    free(w.text);
    run_time(r, t->step, tokens);
    return ok;
}

static void fold(Model *m, FolderInfo *info, const double *mean, const double *sd) {      /* E45 */
    real *w = m->head->data;
    for (int k = 0; k < m->config.n_label; k++) {
        info->reward_mean[k] = mean[k];
        for (int j = 0; j < m->config.hidden; j++) w[k * m->config.hidden + j] *= (real)sd[k];
    }
    model_pack(m);
}

/* The table of held-out items: on stdout (or as a member of *w), and as eval.json. */
static bool evaluate(JsonWriter *w, const Trainer *t, const FolderInfo *info, const Items *held,
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

static bool finish(const Config *c, Trainer *t, const FolderInfo *info, const Items *held, double loss,
                   Err *e) {
    char final[600], hex[65];
    JsonWriter w = {0};
    if (!path_join(final, sizeof final, c->run.output_dir, "final", e) ||
        !folder_save(final, t->model, info, c->run.model, run_store(&c->run), e))
        return false;
    folder_digest(t->model, hex);
    json_begin(&w, '{');
    json_put_int(&w, "steps", t->step);
    json_put(&w, "loss", loss);
    json_put_string(&w, "final", final);
    json_put_string(&w, "sha256", hex);
    const bool ok = !held->n || evaluate(&w, t, info, held, c->run.output_dir, c->run.json, e);
    json_end(&w, '}');
    if (ok && c->run.json) puts(w.text);
    if (ok && !c->run.json)
        printf("%s: %lld steps, %d labels, loss %.4f%s, weights %.16s%s\n", final, (long long)t->step,
               t->model->config.n_label, loss, c->normalize_labels ? " (standardised)" : "", hex,
               held->n ? "" : "; nothing was held out: --eval-split or --eval-dataset tells how good it is");
    free(w.text);
    return ok;
}

static bool label_names(FolderInfo *info, int *n_label, const Config *c, const Dataset *d, Err *e) {
    *n_label = 0;
    for (const char *at = c->labels; at && *at; ) {
        const size_t n = strcspn(at, ",");
        if (*n_label == MAX_LABELS) return fail(e, "--labels: more than %d", MAX_LABELS);
        snprintf(info->label[(*n_label)++], 64, "%.*s", (int)(n < 63 ? n : 63), at);
        for (int k = 0; k + 1 < *n_label; k++)
            if (!strcmp(info->label[k], info->label[*n_label - 1]))
                return fail(e, "--labels: \"%s\" stands there twice", info->label[k]);
        at += n + (at[n] == ',');
    }
    if (!c->labels) *n_label = dataset_labels(d, info->label, MAX_LABELS);
    return *n_label > 0 || fail(e, "%s: no labels in the data", d->path);
}

static bool reward(const Config *c, Err *e) {
    FolderInfo info = {.n_stop = 0}, base;
    Language l = {0};
    Dataset d, held_data;
    Items items, held = {0};
    Trainer t = {0};
    Window w = {0};
    Run r = {.log = NULL};
    Costs cost = {.predicted = {.prompt = 0}};
    Model *m = NULL;
    ModelConfig shape;
    int n_label;
    real *label = NULL;
    double weight[MAX_LABELS], mean[MAX_LABELS] = {0}, sd[MAX_LABELS];
    bool ok = false;
    if (!run_options_check(&c->run, e) || !language_load(&l, c->run.model, c->run.chat_template, e))
        return false;
    if (!dataset_load(&d, c->run.dataset, NEED_COMPLETION | NEED_LABELS, c->run.system, e) ||
        !label_names(&info, &n_label, c, &d, e))
        return false;
    if (!(c->eval_split >= 0 && c->eval_split < 1))
        return fail(e, "--eval-split: found %g, expected a number from 0 (none) to less than 1",
                    c->eval_split);
    if (c->eval_dataset && c->eval_split != 0)
        return fail(e, "--eval-dataset and --eval-split %g: both hold data out; give one of them",
                    c->eval_split);
    if (!parse_weights(weight, c->label_weights, (const char(*)[64])info.label, n_label, "--label-weights",
                       e) ||
        !folder_config(&shape, &base, c->run.model, e))
        return false;
    const int max_length = c->max_length < shape.context ? c->max_length : shape.context;
    if (!encode(&items, &d, &l, (const char (*)[64])info.label, n_label, max_length, e)) return false;
    if (c->eval_dataset &&
        (!dataset_load(&held_data, c->eval_dataset, NEED_COMPLETION | NEED_LABELS, c->run.system, e) ||
         !encode(&held, &held_data, &l, (const char(*)[64])info.label, n_label, max_length, e)))
        return false;
    if (c->eval_split > 0 && !split(&items, &held, n_label, c->eval_split, (uint64_t)c->run.seed, e))
        return false;
    for (int k = 0; k < n_label; k++) sd[k] = 1;
    for (int k = 0; k < n_label; k++)
        if (!reward_moments(NULL, NULL, items.label + k, (size_t)items.n, (size_t)n_label, 1))
            return fail(e, "%s: no row has a value for label %s; leave it out with --labels", d.path,
                        info.label[k]);
    if (c->normalize_labels) {
        reward_label_moments(mean, sd, items.label, (size_t)items.n, (size_t)n_label);
        reward_standardise(items.label, mean, sd, (size_t)items.n, (size_t)n_label);
    }
    const int rows = c->run.slice_rows > max_length ? c->run.slice_rows : max_length,
              batch = c->run.per_device_train_batch_size * c->run.gradient_accumulation_steps;
    shape.n_label = n_label;
    shape.checkpointing = c->run.gradient_checkpointing;
    if (!run_adapter(&shape, &base, &c->run.adapter, c->run.model, e)) return false;
    const double memory = (double)trainer_bytes(&shape, rows, rows) + PROGRAM_BYTES;
    if (c->run.plan) c->run.plan->memory = memory;
    if (!memory_plan(c->run.plan ? NULL : "reward", memory, e)) return false;
    if (!(m = folder_load_as(c->run.model, &shape, (uint64_t)c->run.seed, e)) ||
        !trainer_new(&t, m, rows, rows, e))
        goto done;
    if (!(label = malloc((size_t)batch * (size_t)n_label * sizeof(real)))) {
        fail(e, "no memory");
        goto done;
    }
    const int n_step = run_steps(&c->run, (double)items.n / batch);
    run_trainer(&t, &c->run, n_step);
    m->tally = &cost.measured.net[NET_REWARD];
    t.counts = (double *)&cost, t.n_counts = sizeof cost / sizeof(double);
    if (c->run.plan) {
        ok = plan(c->run.plan, &t, &w, label, &(Loss){.label_weight = weight, .n_label = n_label}, &items,
                  &c->run, batch, e);
        goto done;
    }
    if (!run_begin(&r, &reward_table, c, &c->run, &t, e)) goto done;
    Order order = {.n = items.n, .seed = (uint64_t)c->run.seed};
    Progress p;
    double smooth = 0;
    progress_begin(&p, "reward", n_step);
    int64_t tokens = (int64_t)t.extra[0];
    run_tokens(&r, tokens);
    cost_trainer(&cost.predicted, &shape, rows, rows);
    cost_trainer_held(&cost.measured, &t);
    for (int64_t at = t.step * batch; t.step < n_step; ) {
        Loss loss = {.label_weight = weight, .n_label = n_label};
        const Texts texts = order_texts(&order, at, batch, texts_of, &items);
        if (!step(&loss, &t, &w, label, &items, &order, &at, batch, e)) { run_failed(&r, e); goto done; }
        tokens += w.n_row;
        cost.measured.prompt += texts.prompt;
        cost.measured.completion += w.n_row - texts.prompt;
        cost_reward(&cost.predicted, &shape, &texts);
        t.extra[0] = (double)tokens;
        smooth = smooth == 0 ? loss.loss : 0.95 * smooth + 0.05 * loss.loss;
        if (t.step % c->run.logging_steps == 0 && !log_step(&r, &t, &loss, (double)at / items.n, tokens, e))
            goto done;
        if (!run_checkpoint(&r, &c->run, &t, t.step == n_step, e)) { run_failed(&r, e); goto done; }
        char detail[96];
        snprintf(detail, sizeof detail, "loss %.4f  %.1f k tokens/s", smooth, run_rate(&r, tokens));
        progress_at(&p, t.step, detail);
    }
    progress_end(&p);
    if (!run_cost(&r, t.step, &cost, e)) goto done;
    fold(m, &info, mean, sd);
    info.n_stop = base.n_stop;
    memcpy(info.stop, base.stop, sizeof info.stop);
    memcpy(info.base, base.base, sizeof info.base);
    ok = finish(c, &t, &info, &held, smooth, e);
done:
    run_end(&r);
    window_free(&w);
    trainer_free(&t);
    model_free(m);
    language_free(&l);
    free(label);
    return ok;
}

int plan_reward(RunPlan *plan, int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    const int r = options_parse(&c, &reward_table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    c.run.plan = plan;
    return reward(&c, e) ? 0 : -1;
}

int cmd_reward(int argc, char **argv, Err *e) { return plan_reward(NULL, argc, argv, e); }
