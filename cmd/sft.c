/* sft.c: `grpo sft`: supervised fine-tuning: the mean of -logp over the completion's tokens (E32). */
#include <stdio.h>

#include "cmd/commands.h"
#include "run/loop.h"
#include "run/sequences.h"
#include "text/fit.h"

typedef struct { RunOptions run; int max_length; bool assistant_only_loss; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    SETTINGS_HEADING("Supervised fine-tuning"),
    {"max_length", SET_INT, AT(max_length), "1024", NULL, "longer examples are cut at the end"},
    {"assistant_only_loss", SET_BOOL, AT(assistant_only_loss), "false", NULL,
     "of \"messages\" all of the assistant's turns are learned, not the last alone"},
    SETTINGS_END};
const OptionTable sft_table = {
    "sft", "supervised fine-tuning on prompts with completions",
    "grpo sft --model models/base --dataset pairs.jsonl --output-dir runs/sft",
    .part = {{run_settings, AT(run)}, {adapter_settings, AT(run.adapter)}, {rows, 0}},
    .own = {{"learning_rate", "2e-5"}, {"num_train_epochs", "3"}}};

typedef struct {
    Training t;                         /* stands first */
    const Config *c;
    Learner l;
    SequenceSet seq;
    SequenceSums sums;                  /* of the update */
} Sft;

/* E32: the mean of -logp over the tokens of all completions of the update. */
static bool sft_update(void *self, Err *e) {
    Sft *s = self;
    Window *w = &s->l.window;
    window_clear(w);
    for (int i = 0, n = training_count(&s->t); i < n; i++) {
        const Sequence *x = &s->seq.row[training_example(&s->t, i)];
        if (!sequence_lay(w, x, e)) return false;
    }
    if (!sequences_learn(&s->sums, &s->l.trainer, w, 1, e) || !trainer_update(&s->l.trainer, e)) return false;
    s->t.tokens += w->n_row;
    s->t.cost.measured.prompt += w->n_row - w->n_target;
    s->t.cost.measured.completion += w->n_target;
    training_smooth(&s->t, s->sums.loss / s->sums.n);
    return true;
}

static void sft_log(JsonWriter *w, void *self) {
    const Sft *s = self;
    json_put(w, "loss", s->sums.loss / s->sums.n);
    json_put(w, "entropy", s->sums.entropy / s->sums.n);
    json_put(w, "grad_norm", s->l.trainer.grad_norm);
    json_put(w, "learning_rate", s->l.trainer.lr);
    json_put(w, "epoch", training_epoch(&s->t));
    json_put_int(w, "num_tokens", (long long)s->t.tokens);
}

static void sft_detail(char text[128], void *self) {
    snprintf(text, 128, "loss %.4f", ((Sft *)self)->t.smooth);
}

static bool sft_predict(Cost *c, void *self, int64_t n_step, Err *e) {
    Sft *s = self;
    (void)e;
    const Networks net = learner_networks(&s->l, s->t.o, false);
    const Texts texts = training_texts(&s->t, n_step);
    cost_sft(c, &net, &texts);
    return true;
}

static bool sft_open(void *self, Err *e) {
    Sft *s = self;
    const Config *c = s->c = s->t.config;
    const RunOptions *o = s->t.o;
    Learner *l = &s->l;
    Dataset data;
    int cut = 0;
    if (!learner_shape(l, o, true, e) || !dataset_load(&data, o->dataset, NEED_COMPLETION, o->system, e))
        return false;
    const int max_length = c->max_length < l->shape.context ? c->max_length : l->shape.context;
    if (o->drop_long && !fit_drop_long(&data, &l->language, max_length - 1, "sft", e)) return false;
    const int n = data.n;
    if (!sequences_encode(&s->seq, &data, &l->language, c->assistant_only_loss, max_length, &cut, e))
        return false;
    if (cut)
        fprintf(stderr, "sft: %d of %d examples were longer than %d tokens and cut\n", cut, n, max_length);
    l->rows = o->slice_rows > max_length ? o->slice_rows : max_length;
    if (!run_memory(o, "sft", learner_bytes(l, o, false), e) || !learner_load(l, o, false, e))
        return false;
    s->t.batch = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    if (!order_new(&s->t.order, n, (uint64_t)o->seed, e)) return false;
    s->t.texts_of = sequence_texts, s->t.texts = s->seq.row;
    s->t.trainer = &l->trainer;
    run_trainer(&l->trainer, o, run_steps(o, (double)training_per_epoch(&s->t)));
    l->model->tally = &s->t.cost.measured.net[NET_POLICY];
    return true;
}

static void sft_hold(void *self) { learner_hold(&((Sft *)self)->t.cost, &((Sft *)self)->l); }

static bool sft_finish(JsonWriter *w, void *self, Err *e) {
    Sft *s = self;
    char told[64];
    snprintf(told, sizeof told, "loss %.4f", s->t.smooth);
    if (!training_final(w, &s->t, &s->l, "loss", s->t.smooth, e)) return false;
    training_tell(&s->t, told, "");
    return true;
}

static void sft_close(void *self) {
    Sft *s = self;
    sequences_free(&s->seq);
    learner_close(&s->l);
}

static const Method method = {
    .table = &sft_table, .config_size = sizeof(Config), .run_at = AT(run), .state_size = sizeof(Sft),
    .open = sft_open, .hold = sft_hold, .update = sft_update, .log = sft_log, .detail = sft_detail,
    .predict = sft_predict, .finish = sft_finish, .close = sft_close};

int plan_sft(RunPlan *plan, int argc, char **argv, Err *e) {
    return loop_command(&method, plan, argc, argv, e);
}
int cmd_sft(int argc, char **argv, Err *e) { return plan_sft(NULL, argc, argv, e); }
