/* loop.c: the frame of the commands that train. */
#include "run/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/files.h"
#include "lib/machine.h"
#include "lib/say.h"
#include "run/watch.h"

/* ---- for methods ---- */

void training_smooth(Training *t, double loss) {
    t->smooth = t->smooth == 0 ? loss : 0.95 * t->smooth + 0.05 * loss;
}

int64_t training_per_epoch(const Training *t) { return (t->order.n + (int64_t)t->batch - 1) / t->batch; }

int64_t training_read(const Training *t, int64_t step) {
    const int64_t per_epoch = training_per_epoch(t);
    return step / per_epoch * t->order.n + step % per_epoch * t->batch;
}

int training_count(const Training *t) {
    return (int)(training_read(t, t->trainer->step + 1) - training_read(t, t->trainer->step));
}

int training_example(Training *t, int i) {
    return order_at(&t->order, training_read(t, t->trainer->step) + i);
}

double training_epoch(const Training *t) {
    const int64_t n = t->order.n, size = t->o->per_device_train_batch_size,
                  read = training_read(t, t->trainer->step), all = (n + size - 1) / size;
    return (double)(read / n * all + (read % n + size - 1) / size) / (double)all;
}

Texts training_texts(Training *t, int64_t n_step) {
    return order_texts(&t->order, 0, training_read(t, n_step), t->texts_of, t->texts);
}

bool training_final(JsonWriter *w, Training *t, Learner *l, const char *key, double value, Err *e) {
    if (!path_join(t->final, sizeof t->final, t->o->output_dir, "final", e) ||
        !learner_save(l, t->o, t->final, e))
        return false;
    folder_digest(l->model, t->hex);
    t->updates = l->trainer.step;
    json_put_int(w, "steps", t->updates);
    json_put(w, key, value);
    json_put_string(w, "final", t->final);
    json_put_string(w, "sha256", t->hex);
    return true;
}

void training_tell(const Training *t, const char *told, const char *behind) {
    if (t->o->json) return;
    printf("%s: %lld steps, %s, weights %.16s%s\n", t->final, (long long)t->updates, told, t->hex,
           behind);
}

bool training_held(JsonWriter *w, const Training *t, JsonWriter *table, Err *e) {
    char path[1024];
    json_end(table, '}');
    json_put_raw(w, "held_out", table->text);
    json_raw(table, "\n");
    const bool ok = path_join(path, sizeof path, t->o->output_dir, "eval.json", e) &&
                    json_save(path, table, e);
    free(table->text);
    return ok;
}

/* ---- the plan ---- */

/* One update to warm up and three timed ones on the data's own examples, by the mean length of all. */
static bool plan_by_updates(const Method *m, void *self, Err *e) {
    enum { TIMED = 3 };
    Training *t = self;
    RunPlan *p = t->o->plan;
    double seconds = 0;
    const int64_t n_step = t->trainer->n_step;
    for (int i = 0; i <= TIMED; i++) {
        const double start = clock_seconds();
        if (!m->update(self, e)) return false;
        if (i) seconds += clock_seconds() - start;
    }
    const int64_t first = training_read(t, 1), n = training_read(t, 1 + TIMED) - first;
    const Texts timed = order_texts(&t->order, first, n, t->texts_of, t->texts),
                all = order_texts(&t->order, 0, t->order.n, t->texts_of, t->texts);
    p->step_seconds = seconds / timed.row * all.row / (double)training_per_epoch(t);
    p->n_step = (int)n_step;
    p->how = "three updates of it were timed on this machine; without checkpoints and the table at the end";
    m->hold(self);
    p->cost = t->cost.predicted;
    return m->predict(&p->cost, self, n_step, e);
}

/* ---- the run ---- */

/* Whether the held-out data are due at this line of the log. */
static bool evaluation_due(const Training *t, int64_t line, int64_t lines) {
    const int64_t every = t->watch ? settings_steps(t->watch->o->eval_steps, lines) : 0;
    return every && line % every == 0;
}

/* *stop: what the held-out data say ends the run. */
static bool log_line(bool *stop, const Method *m, void *self, bool due, Err *e) {
    Training *t = self;
    Watch *watch = t->watch;
    JsonWriter w = {0};
    const int64_t step = t->trainer->step;
    json_begin(&w, '{');
    json_put_int(&w, "step", step);
    m->log(&w, self);
    bool ok = !due || (m->evaluate(self, e) && watch_tell(&w, stop, watch, step, e));
    json_end(&w, '}');
    ok = ok && run_log(&t->run, &w, e) && health_look(&t->health, m->table->command, &w, e) &&
         (!watch || !watch->o->log_completions || watch_completions(watch, step, e));
    free(w.text);
    return ok && run_time(&t->run, t->trainer->step, (int64_t)t->tokens, e);
}

/* ---- signals ---- */

static volatile sig_atomic_t caught;

static void on_signal(int number) {
    if (caught) signal(number, SIG_DFL), raise(number);
    caught = number;
}

static const struct { int number; const char *name; } ending[] = {
    {SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}};
enum { N_ENDING = sizeof ending / sizeof *ending };

/* Those that the caller (nohup) lets pass are let pass here, too. */
static void signals_catch(bool on) {
    for (int i = 0; i < N_ENDING; i++) {
        struct sigaction now, ours = {.sa_handler = on ? on_signal : SIG_DFL, .sa_flags = SA_RESTART};
        sigemptyset(&ours.sa_mask);
        if (sigaction(ending[i].number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(ending[i].number, &ours, NULL);
    }
}

static void signal_tell(const Training *t, const char *command) {
    const char *name = "";
    for (int i = 0; i < N_ENDING; i++)
        if (ending[i].number == t->signal) name = ending[i].name;
    fprintf(stderr, "%s: %s: ended after step %lld of %lld; to go on: grpo %s --output-dir %s --resume\n",
            command, name, (long long)t->trainer->step, (long long)t->trainer->n_step, command,
            t->o->output_dir);
}

static bool loop(const Method *m, void *self, Err *e) {
    Training *t = self;
    Trainer *trainer = t->trainer;
    const int unit = t->unit ? t->unit : 1;
    const int64_t lines = (trainer->n_step + unit - 1) / unit,
                  every = settings_steps(t->o->logging_steps, lines);
    Progress p;
    progress_begin(&p, m->table->command, trainer->n_step);
    while (trainer->step < trainer->n_step) {
        if (!m->update(self, e)) return false;
        const int64_t line = (trainer->step + unit - 1) / unit;
        const bool due = evaluation_due(t, line, lines);
        bool stop = false;
        if ((line % every == 0 || due) && !log_line(&stop, m, self, due, e)) return false;
        if (stop) trainer->n_step = trainer->step;
        const bool last = trainer->step == trainer->n_step;
        if (caught && (!t->inside || last)) t->signal = caught;
        const bool must = last || t->signal, may = must || !health_dying(&t->health);
        if ((!t->inside || last) && may && !run_checkpoint(&t->run, t->o, trainer, must, e)) return false;
        char detail[128], all[160];
        const double rate = run_rate(&t->run, (int64_t)t->tokens);
        m->detail(detail, self);
        snprintf(all, sizeof all, rate < 1000 ? "%s  %.0f tokens/s" : "%s  %.1f k tokens/s", detail,
                 rate < 1000 ? rate : rate / 1000);
        progress_at(&p, trainer->step, all);
        if (t->signal) break;
    }
    progress_end(&p);
    if (t->signal) signal_tell(t, m->table->command);
    return true;
}

static bool finish(const Method *m, void *self, Err *e) {
    Training *t = self;
    JsonWriter w = {0};
    json_begin(&w, '{');
    const bool ok = m->finish(&w, self, e);
    json_end(&w, '}');
    const bool told = !t->o->json || !ok || json_print(&w, "\n", e);
    free(w.text);
    return ok && told;
}

static bool run_method(const Method *m, void *self, Err *e) {
    Training *t = self;
    const RunOptions *o = t->o;
    if (!run_options_check(o, e)) return false;
    if (!o->plan && !run_claim(&t->run, o, e)) return false;
    if (o->plan && m->plan) return m->plan(o->plan, self, e);
    if (!m->open(self, e)) return false;
    if (o->plan) return plan_by_updates(m, self, e);
    trainer_keep(t->trainer, "tokens", &t->tokens, 1);
    trainer_keep(t->trainer, "smooth", &t->smooth, 1);
    costs_keep(t->trainer, &t->cost);
    if (!run_begin(&t->run, m->table, t->config, o, t->trainer, e)) return false;
    if (t->watch && !watch_resume(t->watch, t->run.saved, e)) return false;
    if (t->watch && watch_over(t->watch)) t->trainer->n_step = t->trainer->step;
    m->hold(self);
    run_tokens(&t->run, (int64_t)t->tokens);
    signals_catch(true);
    if (!loop(m, self, e)) return run_failed(&t->run, e);
    signals_catch(false);
    return t->signal || (m->predict(&t->cost.predicted, self, t->trainer->step, e) &&
                         run_cost(&t->run, t->trainer->step, &t->cost, e) &&
                         (!t->watch || watch_load_best(t->watch, e)) && finish(m, self, e));
}

int loop_command(const Method *m, RunPlan *plan, int argc, char **argv, Err *e) {
    void *config = calloc(1, m->config_size), *self = calloc(1, m->state_size);
    int code = -1;
    if (!config || !self) { fail(e, "no memory"); goto done; }
    if (m->defaults) m->defaults(config);
    if ((code = options_parse(config, m->table, argc, argv, e)) != 0) {
        code = code < 0 ? -1 : 0;
        goto done;
    }
    RunOptions *o = (RunOptions *)((char *)config + m->run_at);
    o->plan = plan;
    Training *t = self;
    t->config = config, t->o = o;
    code = !run_method(m, self, e) ? -1 : t->signal ? 128 + t->signal : 0;
    run_end(&t->run);
    m->close(self);
    free(t->order.order);
done:
    free(config);
    free(self);
    return code;
}
