/* sft.c: `grpo sft`: supervised fine-tuning: the mean of -logp over the completion's tokens (E32). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "text/data.h"
#include "run/run.h"
#include "lib/files.h"
#include "lib/say.h"
#include "lib/machine.h"

typedef struct { RunOptions run; int max_length; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Supervised fine-tuning"),
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer examples are cut at the end"},
    SETTINGS_END};
const OptionTable sft_table = {"sft", "supervised fine-tuning on prompts with completions",
                               "grpo sft --model models/base --dataset pairs.jsonl --output-dir runs/sft",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "2e-5"}, {"num_train_epochs", "3"}}};

typedef struct { int *id, n, n_prompt; } Sequence;

static bool encode(Sequence *s, const Dataset *d, const Language *l, int max_length, int64_t *cut, Err *e) {
    Ids ids = {0};
    for (int i = 0; i < d->n; i++) {
        ids.n = 0;
        if (!encode_prompt(&ids, l, &d->row[i], e)) return false;
        s[i].n_prompt = ids.n;
        if (!encode_completion(&ids, l, d->row[i].completion,
                               !d->row[i].finish_reason || strcmp(d->row[i].finish_reason, "length"), e))
            return false;
        if (s[i].n_prompt >= max_length)
            return fail(e, "%s:%d: the prompt alone has %d tokens, expected fewer than --max-length %d",
                        d->path, d->row[i].line, s[i].n_prompt, max_length);
        s[i].n = ids.n;
        if (s[i].n > max_length) s[i].n = max_length, (*cut)++;
        if (!(s[i].id = malloc((size_t)s[i].n * sizeof(int))))
            return fail(e, "no memory for %d tokens", s[i].n);
        memcpy(s[i].id, ids.id, (size_t)s[i].n * sizeof(int));
    }
    free(ids.id);
    return true;
}

typedef struct { double loss, entropy, right; int n; } Loss;

/* E32 */
static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Loss *s = to;
    (void)first, (void)dentropy;
    for (int i = 0; i < n; i++) {
        s->loss -= logp[i];
        s->entropy += entropy[i];
        dlogp[i] = (real)(-1.0 / s->n);
    }
}

static void texts_of(Texts *t, const void *sequences, int i) {
    const Sequence *x = (const Sequence *)sequences + i;
    texts_sequence(t, x->n_prompt, x->n - x->n_prompt, x->n - x->n_prompt);
}

static bool step(Loss *loss, Trainer *t, Window *w, const Sequence *s, Order *order, int64_t *at, int batch,
                 Err *e) {
    window_clear(w);
    *loss = (Loss){0};
    for (int i = 0; i < batch; i++) {
        const Sequence *x = &s[order_at(order, (*at)++)];
        const int row = w->n_row;
        if (window_add(w, x->id, x->n, -1, e) < 0) return false;
        for (int k = x->n_prompt; k < x->n; k++)
            if (!window_target(w, row + k - 1, x->id[k], e)) return false;      /* E22 */
    }
    loss->n = w->n_target;
    return trainer_accumulate(t, w, 1, derive, loss, false, e) && trainer_update(t, e);
}

/* One step to warm up and three timed ones on the data's own examples, by the mean length of all. */
static bool plan(RunPlan *p, Trainer *t, Window *w, const Sequence *s, int n, const RunOptions *o, int batch,
                 const Networks *net, Err *e) {
    Order order = {.n = n, .seed = (uint64_t)o->seed};
    double tokens = 0, seconds = 0, timed = 0;
    int64_t at = 0;
    for (int i = 0; i < n; i++) tokens += s[i].n;
    for (int i = 0; i < 4; i++) {
        Loss loss;
        const double start = clock_seconds();
        if (!step(&loss, t, w, s, &order, &at, batch, e)) return false;
        if (i) seconds += clock_seconds() - start, timed += w->n_row;
    }
    p->step_seconds = seconds / timed * batch * tokens / n;
    p->n_step = (int)t->n_step;
    p->how = "three steps of it were timed on this machine; without checkpoints";
    const Texts texts = order_texts(&order, 0, t->n_step * batch, texts_of, s);
    cost_sft(&p->cost, net, &texts);
    cost_trainer(&p->cost, &net->policy, t->max_row, t->max_target);
    free(order.order);
    return true;
}

static bool log_step(Run *r, const Trainer *t, const Loss *l, double epoch, int64_t tokens, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_int(&w, "step", t->step);
    json_put(&w, "loss", l->loss / l->n);
    json_put(&w, "entropy", l->entropy / l->n);
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

static bool sft(const Config *c, Err *e) {
    FolderInfo info;
    Language l = {0};
    Dataset d;
    Trainer t = {0};
    Window w = {0};
    Run r = {.log = NULL};
    Costs cost = {.predicted = {.prompt = 0}};
    int64_t cut = 0, tokens = 0;
    bool ok = false;
    Model *m = NULL;
    if (!run_options_check(&c->run, e) || !language_load(&l, c->run.model, c->run.chat_template, e))
        return false;
    if (!dataset_load(&d, c->run.dataset, NEED_COMPLETION, c->run.system, e)) return false;
    Sequence *s = calloc((size_t)d.n, sizeof *s);
    ModelConfig shape;
    if (!s || !folder_config(&shape, &info, c->run.model, e)) goto done;
    if (shape.n_label) {
        fail(e, "%s: is a reward model; expected a language model", c->run.model);
        goto done;
    }
    shape.checkpointing = c->run.gradient_checkpointing;
    if (!run_adapter(&shape, &info, &c->run.adapter, c->run.model, e)) goto done;
    const int max_length = c->max_length < shape.context ? c->max_length : shape.context;
    if (!encode(s, &d, &l, max_length, &cut, e)) goto done;
    if (cut)
        fprintf(stderr, "sft: %lld of %d examples were longer than %d tokens and cut\n", (long long)cut, d.n,
                max_length);
    const int rows = c->run.slice_rows > max_length ? c->run.slice_rows : max_length,
              batch = c->run.per_device_train_batch_size * c->run.gradient_accumulation_steps;
    const double memory = (double)trainer_bytes(&shape, rows, rows) + PROGRAM_BYTES;
    if (c->run.plan) c->run.plan->memory = memory;
    if (!memory_plan(c->run.plan ? NULL : "sft", memory, e)) goto done;
    if (!(m = folder_load_as(c->run.model, &shape, (uint64_t)c->run.seed, e))) goto done;
    if (!trainer_new(&t, m, rows, rows, e)) goto done;
    const int n_step = run_steps(&c->run, (double)d.n / batch);
    run_trainer(&t, &c->run, n_step);
    const Networks net = {.policy = shape, .logits_anew = !acts_keep_logits(&shape, rows)};
    m->tally = &cost.measured.net[NET_POLICY];
    t.counts = (double *)&cost, t.n_counts = sizeof cost / sizeof(double);
    if (c->run.plan) {
        ok = plan(c->run.plan, &t, &w, s, d.n, &c->run, batch, &net, e);
        goto done;
    }
    if (!run_begin(&r, &sft_table, c, &c->run, &t, e)) goto done;
    Order order = {.n = d.n, .seed = (uint64_t)c->run.seed};
    Progress p;
    double mean = 0;
    progress_begin(&p, "sft", n_step);
    tokens = (int64_t)t.extra[0];
    run_tokens(&r, tokens);
    cost_trainer(&cost.predicted, &shape, rows, rows);
    cost_trainer_held(&cost.measured, &t);
    for (int64_t at = t.step * batch; t.step < n_step; ) {
        Loss loss;
        const Texts texts = order_texts(&order, at, batch, texts_of, s);
        if (!step(&loss, &t, &w, s, &order, &at, batch, e)) { run_failed(&r, e); goto done; }
        tokens += w.n_row;
        cost.measured.prompt += w.n_row - w.n_target;
        cost.measured.completion += w.n_target;
        cost_sft(&cost.predicted, &net, &texts);
        t.extra[0] = (double)tokens;
        mean = t.step == 1 || mean == 0 ? loss.loss / loss.n : 0.95 * mean + 0.05 * loss.loss / loss.n;
        if (t.step % c->run.logging_steps == 0 && !log_step(&r, &t, &loss, (double)at / d.n, tokens, e))
            goto done;
        if (!run_checkpoint(&r, &c->run, &t, t.step == n_step, e)) { run_failed(&r, e); goto done; }
        char detail[96];
        snprintf(detail, sizeof detail, "loss %.4f  %.1f k tokens/s", mean, run_rate(&r, tokens));
        progress_at(&p, t.step, detail);
    }
    progress_end(&p);
    if (!run_cost(&r, t.step, &cost, e)) goto done;
    char final[600], hex[65];
    if (info.n_stop == 0) info.stop[info.n_stop++] = l.end_of_turn;
    if (!path_join(final, sizeof final, c->run.output_dir, "final", e) ||
        !folder_save(final, m, &info, c->run.model, run_store(&c->run), e))
        goto done;
    folder_digest(m, hex);
    if (c->run.json) {
        JsonWriter j = {0};
        json_begin(&j, '{');
        json_put_int(&j, "steps", n_step);
        json_put(&j, "loss", mean);
        json_put_string(&j, "final", final);
        json_put_string(&j, "sha256", hex);
        json_end(&j, '}');
        puts(j.text);
        free(j.text);
    } else printf("%s: %d steps, loss %.4f, weights %.16s\n", final, n_step, mean, hex);
    ok = true;
done:
    run_end(&r);
    window_free(&w);
    trainer_free(&t);
    model_free(m);
    language_free(&l);
    return ok;
}

int plan_sft(RunPlan *plan, int argc, char **argv, Err *e) {
    Config c;
    memset(&c, 0, sizeof c);
    const int r = options_parse(&c, &sft_table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    c.run.plan = plan;
    return sft(&c, e) ? 0 : -1;
}

int cmd_sft(int argc, char **argv, Err *e) { return plan_sft(NULL, argc, argv, e); }
