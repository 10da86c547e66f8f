/* run.c: a training run's folder, log, checkpoint, order of examples. */
#include "run/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "run/idle.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "lib/rng.h"
#include "lib/say.h"
#include "lib/words.h"
#include "run/events.h"

const char *const save_dtype_names[] = {"real", "float32", "bf16", NULL};
const char *const base_dtype_names[] = {"real", "bf16", NULL};

#define AT(member) offsetof(RunOptions, member)
const Setting run_settings[] = {
    SETTINGS_HEADING("Model, data and the folder of the run"),
    {"model", SET_STRING, AT(model), NULL, NULL, "folder of the model to start from"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL file of examples"},
    {"output_dir", SET_STRING, AT(output_dir), NULL, NULL, "folder of the run; must not hold one already"},
    {"chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template by name, or a FILE.jinja, in place of the folder's own"},
    {"template_date", SET_STRING, AT(chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"eos_token", SET_STRING, AT(chat.end), NULL, NULL,
     "the token that ends a completion; none: the one with which the template closes a turn"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    {"drop_long", SET_BOOL, AT(drop_long), "false", NULL,
     "leave out rows whose prompt leaves no room for a reply, which are refused otherwise; how many is told"},
    {"save_dtype", SET_CHOICE, AT(save_dtype), "real", save_dtype_names, "of final/"},
    {"resume", SET_BOOL, AT(resume), "false", NULL, "go on from the checkpoint in output-dir"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result on stdout as JSON"},
    SETTINGS_HEADING("Steps and schedule"),
    {"per_device_train_batch_size", SET_INT, AT(per_device_train_batch_size), "8", NULL,
     "examples of a micro-batch"},
    {"gradient_accumulation_steps", SET_INT, AT(gradient_accumulation_steps), "1", NULL,
     "micro-batches of an update"},
    {"num_train_epochs", SET_NUMBER, AT(num_train_epochs), "3", NULL,
     "passes over the data, if max-steps is not given"},
    {"max_steps", SET_INT, AT(max_steps), "-1", NULL, "updates; -1: by epochs"},
    {"learning_rate", SET_NUMBER, AT(learning_rate), "1e-6", NULL, "peak rate"},
    {"lr_scheduler_type", SET_CHOICE, AT(lr_scheduler_type), "linear", schedule_names, "schedule"},
    {"warmup_steps", SET_STEPS, AT(warmup_steps), "0", NULL,
     "updates until the peak rate; below 1: a share of all"},
    {"warmup_ratio", SET_NUMBER, AT(warmup_ratio), "0", NULL, "the same as a share"},
    {"min_lr_ratio", SET_NUMBER, AT(min_lr_ratio), "0", NULL,
     "the decay ends at this share of the peak rate"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of everything drawn"},
    SETTINGS_HEADING("Optimiser (AdamW)"),
    {"adam_beta1", SET_NUMBER, AT(adam_beta1), "0.9", NULL, "decay of the mean of gradients"},
    {"adam_beta2", SET_NUMBER, AT(adam_beta2), "0.999", NULL, "decay of the mean of their squares"},
    {"adam_epsilon", SET_NUMBER, AT(adam_epsilon), "1e-8", NULL, "added to the root of that mean"},
    {"weight_decay", SET_NUMBER, AT(weight_decay), "0", NULL,
     "share of a matrix that an update takes away, times the rate"},
    {"max_grad_norm", SET_NUMBER, AT(max_grad_norm), "1", NULL, "clipping of the global norm; 0: off"},
    SETTINGS_HEADING("Log, checkpoints and memory"),
    {"logging_steps", SET_STEPS, AT(logging_steps), "1", NULL,
     "a line of log.jsonl every so many updates, or every such share of all"},
    {"save_steps", SET_STEPS, AT(save_steps), "500", NULL,
     "a checkpoint every so many updates, or every such share of all; 0: none"},
    {"save_total_limit", SET_INT, AT(save_total_limit), "2", NULL,
     "checkpoints that are kept; the oldest goes when a newer one is on disk, best/ never"},
    {"report_to", SET_STRING, AT(report_to), "none", NULL,
     "tensorboard: the numbers of the log also in the folder runs/, as TensorBoard reads them"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL,
     "tokens computed at once: memory only, no bit changes"},
    {"gradient_checkpointing", SET_BOOL, AT(gradient_checkpointing), "false", NULL,
     "keep each layer's input alone and compute the rest again: less memory, one more forward pass, no bit "
     "changes"},
    SETTINGS_END};

#define AT_ADAPTER(member) offsetof(AdapterOptions, member)
const Setting adapter_settings[] = {
    SETTINGS_HEADING("Adapter (LoRA)"),
    {"use_peft", SET_BOOL, AT_ADAPTER(use_peft), "false", NULL,
     "a low-rank adapter beside the model's weights, which stay as they are"},
    {"lora_r", SET_INT, AT_ADAPTER(lora_r), "16", NULL, "rank of the adapter"},
    {"lora_alpha", SET_NUMBER, AT_ADAPTER(lora_alpha), "32", NULL, "its branch is scaled by alpha / r"},
    {"lora_dropout", SET_NUMBER, AT_ADAPTER(lora_dropout), "0", NULL,
     "of the branch's input: 0 only (TRL: 0.05)"},
    {"lora_target_modules", SET_STRING, AT_ADAPTER(lora_target_modules), NULL, NULL,
     "adapted layers, with commas, or all-linear; none: q_proj,v_proj"},
    {"use_rslora", SET_BOOL, AT_ADAPTER(use_rslora), "false", NULL, "scale by alpha / sqrt(r) instead"},
    {"base_dtype", SET_CHOICE, AT_ADAPTER(base_dtype), "real", base_dtype_names,
     "of the weights that stay as they are, in memory"},
    SETTINGS_END};

bool run_options_check(const RunOptions *o, Err *e) {
    if (!o->model || !*o->model) return fail(e, "--model: not given; expected the folder of a model");
    if (!o->dataset || !*o->dataset) return fail(e, "--dataset: not given; expected a JSONL file");
    if (!o->plan && (!o->output_dir || !*o->output_dir))
        return fail(e, "--output-dir: not given; expected a folder for the run");
    if (o->per_device_train_batch_size < 1 || o->gradient_accumulation_steps < 1)
        return fail(e,
                    "--per-device-train-batch-size %d, --gradient-accumulation-steps %d: expected at least 1",
                    o->per_device_train_batch_size, o->gradient_accumulation_steps);
    if ((double)o->per_device_train_batch_size * o->gradient_accumulation_steps > 1e6)
        return fail(e,
                    "--per-device-train-batch-size %d times --gradient-accumulation-steps %d: expected at "
                    "most 1e6 examples an update",
                    o->per_device_train_batch_size, o->gradient_accumulation_steps);
    if (o->max_steps < 1 && !(o->num_train_epochs > 0))
        return fail(e, "--num-train-epochs: found %g, expected more than 0, or --max-steps",
                    o->num_train_epochs);
    if (o->slice_rows < 1) return fail(e, "--slice-rows: found %d, expected at least 1", o->slice_rows);
    if (!(o->warmup_ratio >= 0 && o->warmup_ratio <= 1) || !(o->min_lr_ratio >= 0))
        return fail(e, "--warmup-ratio %g, --min-lr-ratio %g: out of range", o->warmup_ratio,
                    o->min_lr_ratio);
    if (o->save_total_limit < 1)
        return fail(e, "--save-total-limit: found %d, expected at least 1: a run keeps one to go on from",
                    o->save_total_limit);
    if (!(o->logging_steps > 0)) return fail(e, "--logging-steps: found 0, expected more");
    if (!(o->learning_rate >= 0) || !(o->weight_decay >= 0) || !(o->adam_epsilon > 0))
        return fail(e, "--learning-rate %g, --weight-decay %g, --adam-epsilon %g: out of range",
                    o->learning_rate, o->weight_decay, o->adam_epsilon);
    if (!(o->adam_beta1 >= 0 && o->adam_beta1 < 1 && o->adam_beta2 >= 0 && o->adam_beta2 < 1))
        return fail(e, "--adam-beta1 %g, --adam-beta2 %g: expected 0 <= b < 1", o->adam_beta1, o->adam_beta2);
    const AdapterOptions *a = &o->adapter;
    /* the table's defaults */
    if (!a->use_peft && (a->lora_r != 16 || a->lora_alpha != 32 || a->lora_target_modules || a->use_rslora))
        return fail(e, "--lora-r, --lora-alpha, --lora-target-modules, --use-rslora: have no effect without "
                       "--use-peft; add it, or leave them out");
    return true;
}

Store save_store(int save_dtype) {
    return save_dtype == 1 ? STORE_F32 : save_dtype == 2 ? STORE_BF16 : STORE_REAL;
}
Store run_store(const RunOptions *o) { return save_store(o->save_dtype); }

bool run_adapter(ModelConfig *c, FolderInfo *info, const AdapterOptions *o, const char *model, Err *e) {
    if (o->lora_dropout != 0)
        return fail(e, "--lora-dropout: found %g, expected 0: dropout is not computed here", o->lora_dropout);
    if (o->base_dtype && !o->use_peft && !c->lora.r)
        return fail(e,
                    "--base-dtype bf16: all weights of %s are trained, which takes them in real; add "
                    "--use-peft",
                    model);
    c->base_store = o->base_dtype ? STORE_BF16 : STORE_REAL;
    if (!o->use_peft) return true;
    if (c->lora.r)
        return fail(e,
                    "%s: is an adapter already, of rank %d; leave --use-peft out to go on training it, or "
                    "make a whole model of it first with grpo merge",
                    model, c->lora.r);
    c->lora = (Lora){.r = o->lora_r, .alpha = o->lora_alpha, .rslora = o->use_rslora};
    snprintf(info->base, sizeof info->base, "%s", model);
    return lora_targets_parse(&c->lora.target,
                              o->lora_target_modules ? o->lora_target_modules : "q_proj,v_proj",
                              "--lora-target-modules", e) &&
           lora_check(&c->lora, "--lora-r, --lora-alpha", e);
}

int run_steps(const RunOptions *o, double steps_per_epoch) {
    const double n = ceil(o->num_train_epochs * steps_per_epoch);
    return o->max_steps > 0 ? o->max_steps : n < 2e9 ? (int)n : 2000000000;
}

void run_trainer(Trainer *t, const RunOptions *o, int n_step) {
    t->adamw = (AdamW){.lr = o->learning_rate, .beta1 = o->adam_beta1, .beta2 = o->adam_beta2,
                       .eps = o->adam_epsilon, .weight_decay = o->weight_decay};
    t->max_grad_norm = o->max_grad_norm;
    t->schedule = (Schedule)o->lr_scheduler_type;
    t->n_step = n_step;
    t->warmup = o->warmup_steps ? settings_steps(o->warmup_steps, n_step)
                                : (int64_t)ceil(o->warmup_ratio * n_step);
    t->min_lr_ratio = o->min_lr_ratio;
}

static bool resume(Run *r, const OptionTable *table, const void *config, const char *config_path, Trainer *t,
                   Err *e) {
    Json *saved = json_read_file(config_path, e), *now = NULL;
    char *text = saved ? identity_new(table, config, saved, t->n_step, 2, e) : NULL;
    now = text ? json_parse(text, strlen(text), config_path, 1, e) : NULL;
    const int64_t planned = identity_steps(saved);
    bool ok = now && identity_agrees(saved, now, table, config, config_path, e) &&
              (t->n_step >= planned ||
               fail(e, "%s: the run was planned with %lld steps, now with %lld; expected as many or more",
                    config_path, (long long)planned, (long long)t->n_step)) &&
              checkpoint_load(&r->saved, &r->checkpoints, t, table, config, now, &r->log, &r->timing, e);
    if (ok && planned && t->n_step > planned) {
        fprintf(stderr,
                "%s: %lld steps instead of %lld: from here on the %s schedule is that of a run of %lld "
                "steps\n",
                table->command, (long long)t->n_step, (long long)planned, schedule_names[t->schedule],
                (long long)t->n_step);
        ok = file_write(config_path, text, strlen(text), e);
    }
    if (ok) fprintf(stderr, "%s: going on after step %lld\n", table->command, (long long)t->step);
    json_free(saved), json_free(now);
    free(text);
    return ok;
}

static const char config_name[] = "config.json", config_begun[] = "config.json.tmp";      /* by a kill */

/* What differs from the defaults, on one line of stderr: the whole is in config.json. */
static void run_tell_options(const OptionTable *table, const void *config, const char *config_path) {
    Setting s;
    fprintf(stderr, "%s:", table->command);
    for (int i = 0; option_at(&s, table, i); i++) {
        if (s.kind == SET_HEADING) continue;
        JsonWriter value = {0}, fallback = {0};
        options_write_value(&value, config, &s);
        options_write_default(&fallback, &s);
        const bool quoted = value.text && value.text[0] == '"';
        if (value.text && fallback.text && strcmp(value.text, fallback.text))
            fprintf(stderr, " %s=%.*s", s.name, (int)value.length - 2 * quoted, value.text + quoted);
        free(value.text);
        free(fallback.text);
    }
    fprintf(stderr, "; all options: %s\n", config_path);
}

bool run_claim(Run *r, const RunOptions *o, Err *e) {
    char config_path[600];
    if (!path_join(config_path, sizeof config_path, o->output_dir, config_name, e)) return false;
    if (!o->resume)
        return folder_is_empty(o->output_dir, config_begun) ||
               fail(e, "%s: is not empty: it may hold a run; give another --output-dir, or --resume",
                    o->output_dir);
    if (!path_exists(config_path))
        return fail(e, "%s: not found: there is no run to resume; leave --resume out", config_path);
    return folder_lock(&r->lock, o->output_dir, e);
}

/* The folder is made, and is this process's from then on. */
static bool begin_new(Run *r, const OptionTable *table, const void *config, const RunOptions *o,
                      const char *config_path, int64_t n_step, Err *e) {
    char *text = identity_new(table, config, NULL, n_step, 2, e);
    const bool ok = text && folder_make(o->output_dir, e) && folder_lock(&r->lock, o->output_dir, e) &&
                    run_claim(r, o, e) && file_write(config_path, text, strlen(text), e);
    free(text);
    return ok;
}

/* Where else the log goes; who is named and not known here is told, once. */
static bool report_open(Run *r, const RunOptions *o, Err *e) {
    char name[64];
    bool tensorboard = false;
    for (const char *at = o->report_to; at && list_next(name, sizeof name, &at);) {
        if (!strcmp(name, "tensorboard")) tensorboard = true;
        else if (strcmp(name, "none"))
            fprintf(stderr, "%s: --report-to %s: is not written here; log.jsonl has every number\n",
                    r->command, name);
    }
    return !tensorboard || (r->events = events_open(o->output_dir, r->log.path, e)) != NULL;
}

bool run_begin(Run *r, const OptionTable *table, const void *config, const RunOptions *o, Trainer *t,
               Err *e) {
    char config_path[600];
    r->command = table->command, r->started = clock_seconds(), r->saved = -1;
    sha256_begin(&r->log.sum), sha256_begin(&r->timing.sum);
    if (!path_join(r->log.path, sizeof r->log.path, o->output_dir, "log.jsonl", e) ||
        !path_join(config_path, sizeof config_path, o->output_dir, config_name, e) ||
        !path_join(r->timing.path, sizeof r->timing.path, o->output_dir, "timing.jsonl", e) ||
        !checkpoints_at(&r->checkpoints, o->output_dir, o->save_total_limit, e))
        return false;
    snprintf(r->dir, sizeof r->dir, "%s", o->output_dir);
    if (!(o->resume ? resume(r, table, config, config_path, t, e)
                    : begin_new(r, table, config, o, config_path, t->n_step, e)))
        return false;
    Json *saved = json_read_file(config_path, e);
    r->identity = saved ? identity_new(table, config, saved, t->n_step, 0, e) : NULL;
    json_free(saved);
    r->last = clock_seconds();
    run_tell_options(table, config, config_path);
    idle_tell(table, config);
    return r->identity && growing_open(&r->log, e) && growing_open(&r->timing, e) && report_open(r, o, e);
}

bool run_log(Run *r, const JsonWriter *line, Err *e) {
    return growing_put(&r->log, line, e) &&
           (!r->events || events_put(r->events, line->text, (double)time(NULL), e));
}

bool run_time(Run *r, int64_t step, int64_t tokens, Err *e) {
    const double now = clock_seconds(), seconds = now - r->last;
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_int(&w, "step", step);
    json_put(&w, "step_time", seconds);
    json_put(&w, "tokens_per_second", seconds > 0 ? (double)(tokens - r->last_tokens) / seconds : NAN);
    json_end(&w, '}');
    const bool ok = growing_put(&r->timing, &w, e);
    free(w.text);
    r->last = now;
    r->last_tokens = tokens;
    return ok;
}

bool run_cost(Run *r, int64_t step, const Costs *c, Err *e) {
    const double seconds = clock_seconds() - r->started, cpu = machine_cpu_seconds(),
                 peak = machine_memory_most();
    JsonWriter w = {0}, timing = {0};
    if (!(cost_memory(&c->predicted) < (double)(SIZE_MAX / 4))) /* as sizes are told where memory is out */
        return fail(e, "no memory for the plan of the memory");
    json_begin(&w, '{');
    json_put_int(&w, "step", step);
    json_key(&w, "cost"); costs_json(&w, c);
    json_end(&w, '}');
    json_begin(&timing, '{');
    json_put_int(&timing, "step", step);
    json_put(&timing, "train_runtime", seconds);
    json_put(&timing, "cpu_seconds", cpu);
    json_put(&timing, "peak_rss_bytes", peak);
    json_end(&timing, '}');
    const bool ok = run_log(r, &w, e) && growing_put(&r->timing, &timing, e);
    if (ok) costs_say(r->command, c, seconds, cpu, peak);
    free(w.text);
    free(timing.text);
    return ok;
}

void run_tokens(Run *r, int64_t tokens) { r->first_tokens = r->last_tokens = tokens; }

double run_rate(const Run *r, int64_t tokens) {
    return (double)(tokens - r->first_tokens) / (clock_seconds() - r->started);
}

bool run_checkpoint(Run *r, const RunOptions *o, const Trainer *t, bool force, Err *e) {
    const int64_t every = settings_steps(o->save_steps, t->n_step);
    if (t->step == r->saved || (!force && (!every || t->step % every))) return true;
    if (!checkpoint_save(&r->checkpoints, t, r->identity, &r->log, &r->timing, e)) return false;
    r->saved = t->step;
    return true;
}

bool run_failed(const Run *r, Err *e) {
    const size_t n = strlen(e->line);
    if (r->saved < 0)
        snprintf(e->line + n, sizeof e->line - n,
                 "; there is no checkpoint yet: start again in another --output-dir");
    else
        snprintf(e->line + n, sizeof e->line - n,
                 "; the last good checkpoint is %s of step %lld: mend the cause, then --resume",
                 r->checkpoints.path, (long long)r->saved);
    return false;
}

void run_end(Run *r) {
    growing_close(&r->log), growing_close(&r->timing);
    events_close(r->events);
    free(r->identity);
    if (r->lock) close(r->lock);
    r->identity = NULL, r->lock = 0;
}

bool memory_plan(const char *what, double bytes, Err *e) {
    char need[32], have[32];
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    const double memory = pages > 0 && size > 0 ? (double)pages * (double)size : 0;
    human_bytes(need, bytes);
    human_bytes(have, memory);
    if (what)
        fprintf(stderr, "%s: needs %s of memory%s%s\n", what, need, memory > 0 ? " of " : "",
                memory > 0 ? have : "");
    if (memory > 0 && bytes > 0.95 * memory)
        return fail(e,
                    "the run needs %s of memory, but this machine has %s; lower --slice-rows or the lengths, "
                    "add --gradient-checkpointing, or take a smaller model",
                    need, have);
    return true;
}

bool run_memory(const RunOptions *o, const char *what, double bytes, Err *e) {
    if (o->plan) o->plan->memory = bytes + PROGRAM_BYTES;
    return memory_plan(o->plan ? NULL : what, bytes + PROGRAM_BYTES, e);
}

bool order_new(Order *o, int n, uint64_t seed, Err *e) {
    *o = (Order){.n = n, .seed = seed, .epoch = -1, .order = malloc(((size_t)n + 1) * sizeof(int))};
    return o->order || fail(e, "no memory for the order of %d examples", n);
}

int order_at(Order *o, int64_t at) {
    const int64_t epoch = at / o->n;
    if (epoch != o->epoch) {
        o->epoch = epoch;
        rng_permutation(o->order, o->n, o->seed, RNG_SHUFFLE, (uint64_t)epoch);
    }
    return o->order[at % o->n];
}

/* Whole epochs are the same examples in another order. */
Texts order_texts(Order *o, int64_t at, int64_t n, TextsOf *of, const void *data) {
    Texts t = {0};
    const int64_t epochs = n / o->n;
    for (int i = 0; epochs && i < o->n; i++) {
        Texts one = {0};
        of(&one, data, i);
        texts_add(&t, &one, (double)epochs);
    }
    for (int64_t i = epochs * o->n; i < n; i++) of(&t, data, order_at(o, at + i));
    return t;
}
