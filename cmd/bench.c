/* bench.c: `grpo bench`: how fast this program works on this machine, for any model folder, as a share of
 * what the machine can do.
 *
 * Each work is the very code that runs use, on made-up tokens; its operations are counted by E190 and E192.
 * With --turns the works wait for their names on stdin, so that another program can measure something else in
 * between (bench/bench.py does). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/step_open.h"
#include "lib/files.h"
#include "lib/machine.h"
#include "lib/rng.h"
#include "lib/words.h"
#include "lib/say.h"
#include "lib/threads.h"
#include "net/flops.h"

typedef struct {
    const char *model, *works;
    int batch, length, prompts, num_generations, prompt_length, completion_length, slice_rows, threads,
        repeats, seed;
    double learning_rate, temperature;
    bool gradient_checkpointing, turns, json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"model", SET_STRING, AT(model), NULL, NULL, "folder of a language model"},
    {"works", SET_STRING, AT(works), NULL, NULL,
     "with commas: prefill,decode,decode_one,score,train,optimiser,grpo; none: all"},
    {"batch", SET_INT, AT(batch), "4", NULL, "score, train: sequences of a step"},
    {"length", SET_INT, AT(length), "64", NULL, "score, train: tokens of each"},
    {"prompts", SET_INT, AT(prompts), "8", NULL, "prefill, decode, grpo: prompts of a step"},
    {"num_generations", SET_INT, AT(num_generations), "8", NULL, "decode, grpo: completions of each"},
    {"prompt_length", SET_INT, AT(prompt_length), "32", NULL, "tokens"},
    {"completion_length", SET_INT, AT(completion_length), "64", NULL, "tokens; no completion ends earlier"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens computed at once"},
    {"gradient_checkpointing", SET_BOOL, AT(gradient_checkpointing), "false", NULL,
     "train, grpo: keep each layer's input alone and compute the rest again"},
    {"threads", SET_INT, AT(threads), "0", NULL, "threads; 0: OpenMP's own choice"},
    {"repeats", SET_INT, AT(repeats), "5", NULL,
     "runs of each work, of which the median is told; one more before them is not counted"},
    {"learning_rate", SET_NUMBER, AT(learning_rate), "1e-4", NULL, "of the training steps"},
    {"temperature", SET_NUMBER, AT(temperature), "1", NULL, "decode, grpo"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of the made-up tokens"},
    {"turns", SET_BOOL, AT(turns), "false", NULL,
     "run one work for each line on stdin, and answer with a line of JSON"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result on stdout as JSON"},
    SETTINGS_END};
static const OptionTable table = {
    "bench", "its own speed: tokens per second, share of the machine's measured peaks, memory",
    "grpo bench --model models/SmolLM2-135M-Instruct --prompts 1",
    .part = {{rows, 0}}};

/* What one run of a work did, and in what time. bytes: what it must read from memory at least, 0: not told.
 * span: what it reads again and again. */
typedef struct { double seconds, whole_seconds, tokens, flops, bytes, span, loss, grad_norm; } Result;

typedef struct {
    const Config *o;
    ModelConfig shape;
    int threads;
    Model *model;
    Acts *acts;
    Trainer trainer;
    Window window;
    real *logp;
    StepConfig step_config;
    Step step;
    Costs cost;
    bool trains, steps;                 /* trainer, step are open */
    int64_t generation;
} Bench;

/* ---- what works need, made when the first of them asks ---- */

static int bench_token(const Bench *b, int sequence, int position) {
    return (int)(rng_uniform((uint64_t)b->o->seed, RNG_SAMPLE, 0, (uint64_t)sequence, 0, (uint64_t)position) *
                 b->shape.vocab);
}

static bool need_model(Bench *b, Err *e) {
    return b->model || (b->model = folder_load(b->o->model, NULL, e));
}

static bool need_window(Bench *b, Err *e) {
    if (b->window.n_row) return true;
    int *id = malloc((size_t)b->o->length * sizeof(int));
    bool ok = id || fail(e, "bench: no memory for %d tokens", b->o->length);
    for (int i = 0; ok && i < b->o->batch; i++) {
        for (int t = 0; t < b->o->length; t++) id[t] = bench_token(b, i, t);
        ok = window_sequence(&b->window, id, b->o->length, 1, e);
    }
    free(id);
    return ok && (b->logp = memory_new((size_t)b->window.n_target * sizeof(real), "log-probabilities", e));
}

static int bench_rows(const Bench *b) {
    const int all = b->o->batch * b->o->length,
              rows = b->o->slice_rows > b->o->length ? b->o->slice_rows : b->o->length;
    return rows < all ? rows : all;
}

static bool need_trainer(Bench *b, Err *e) {
    if (b->trains) return true;
    if (!need_model(b, e) || !need_window(b, e)) return false;
    b->model->config.checkpointing = b->o->gradient_checkpointing;
    if (!trainer_new(&b->trainer, b->model, bench_rows(b), bench_rows(b), e)) return false;
    b->trainer.adamw.lr = b->o->learning_rate;
    b->trainer.schedule = SCHEDULE_CONSTANT;
    return b->trains = true;
}

static bool need_step(Bench *b, Err *e) {
    if (b->steps) return true;
    const Config *o = b->o;
    StepConfig *c = &b->step_config;
    *c = (StepConfig){.run = {.model = o->model,
                              .per_device_train_batch_size = o->prompts * o->num_generations,
                              .gradient_accumulation_steps = 1, .max_steps = 1, .slice_rows = o->slice_rows,
                              .gradient_checkpointing = o->gradient_checkpointing,
                              .learning_rate = o->learning_rate, .lr_scheduler_type = SCHEDULE_CONSTANT,
                              .adam_beta1 = 0.9, .adam_beta2 = 0.999, .adam_epsilon = 1e-8,
                              .max_grad_norm = 1, .seed = o->seed},
                      .sampling = {.temperature = o->temperature, .top_p = 1}};
    grpo_config_default(&c->grpo);
    c->grpo.num_generations = o->num_generations;
    c->grpo.max_completion_length = o->completion_length;
    b->steps = true;                    /* to be closed also when it opens only half */
    return step_open_synthetic(&b->step, c, o->prompt_length, &b->cost, e);
}

static void bench_close(Bench *b) {
    if (b->trains) trainer_free(&b->trainer);
    if (b->steps) step_close(&b->step);
    acts_free(b->acts);
    model_free(b->model);
    window_free(&b->window);
    memory_free(b->logp);
    b->acts = NULL;
    b->model = NULL;
    b->logp = NULL;
    b->trains = b->steps = false;
}

/* ---- the works ---- */

static double triangle(double n) { return n * (n + 1) / 2; }

/* Bytes of all matrices that a decoded token passes, and of one position's keys and values in all layers
 * (E193). */
static double weight_bytes(const ModelConfig *c) {
    return sizeof(real) * model_forward_flops(c, 1, 0, 1) / 2;
}
static double key_bytes(const ModelConfig *c) {
    return 2.0 * sizeof(real) * c->n_layer * c->n_kv_head * c->head_dim;
}

static int **made_up_prompts(const Bench *b, int n, Err *e) {
    int **prompt = malloc((size_t)n * (sizeof *prompt + (size_t)b->o->prompt_length * sizeof(int))),
        *id = prompt ? (int *)(prompt + n) : NULL;
    if (!prompt) fail(e, "bench: no memory for %d prompts", n);
    for (int i = 0; prompt && i < n; i++) {
        prompt[i] = id + (size_t)i * (size_t)b->o->prompt_length;
        for (int t = 0; t < b->o->prompt_length; t++) prompt[i][t] = bench_token(b, i, t);
    }
    return prompt;
}

static bool bench_prefill(Bench *b, Result *r, Err *e) {
    const Config *o = b->o;
    if (!need_model(b, e)) return false;
    int **prompt = made_up_prompts(b, o->prompts, e), *length = malloc((size_t)o->prompts * 2 * sizeof(int)),
        *prompt_of = length ? length + o->prompts : NULL;
    real *last = malloc((size_t)o->prompts * (size_t)b->shape.hidden * sizeof(real));
    bool ok = (prompt && length && last) || fail(e, "bench: no memory for %d prompts", o->prompts);
    for (int i = 0; ok && i < o->prompts; i++) length[i] = o->prompt_length, prompt_of[i] = i;
    Cache *cache = ok ? cache_new(b->model, length, o->prompts, prompt_of, o->prompts, 1, e) : NULL;
    const double start = clock_seconds();
    ok = cache && cache_prefill(cache, last, b->model, (const int *const *)prompt, e);
    r->seconds = clock_seconds() - start;
    r->tokens = (double)o->prompts * o->prompt_length;
    r->flops = model_forward_flops(&b->shape, r->tokens, o->prompts * triangle(o->prompt_length), 0);
    cache_free(cache);
    free(last);
    free(length);
    free(prompt);
    return ok;
}

static void first_token_seen(void *to, int done, int active) {
    (void)active;
    if (done == 1) *(double *)to = clock_seconds();
}

/* seconds: from the first tokens of all completions to the last; whole_seconds: with the prompts. */
static bool bench_rollout(Bench *b, Result *r, int n_prompt, int group, Err *e) {
    const Config *o = b->o;
    const size_t n = (size_t)n_prompt * (size_t)group, tokens = n * (size_t)o->completion_length;
    if (!need_model(b, e)) return false;
    int **prompt = made_up_prompts(b, n_prompt, e), *length = malloc((size_t)n_prompt * sizeof(int));
    Rollout out = {.id = memory_new(tokens * sizeof(int), "completions", e),
                   .logp = memory_new(tokens * sizeof(real), "completions", e),
                   .length = memory_new(n * sizeof(int), "completions", e),
                   .ended = memory_new(n * sizeof(bool), "completions", e)};
    bool ok = (prompt && length && out.id && out.logp && out.length && out.ended) ||
              fail(e, "bench: no memory for %zu completions", n);
    for (int i = 0; ok && i < n_prompt; i++) length[i] = o->prompt_length;
    double first = 0;
    const RolloutPlan plan = {.prompt = (const int *const *)prompt, .prompt_length = length,
                              .n_prompt = n_prompt, .group_size = group, .max_new = o->completion_length,
                              .sampling = {.temperature = o->temperature, .top_p = 1},
                              .seed = (uint64_t)o->seed, .progress = first_token_seen, .to = &first};
    const double start = clock_seconds();
    ok = ok && rollout(&out, b->model, &plan, e);
    const double end = clock_seconds(), p = o->prompt_length, steps = o->completion_length - 1.0,
                 attended = steps * p + triangle(steps);
    r->whole_seconds = end - start;
    r->seconds = end - first;
    r->tokens = (double)n * steps;
    r->flops = model_forward_flops(&b->shape, r->tokens, (double)n * attended, r->tokens);
    /* a prompt's keys are counted once: what the other completions read of them is in a cache, or could be */
    r->bytes = steps * weight_bytes(&b->shape) +
               key_bytes(&b->shape) * (n_prompt * steps * p + (double)n * triangle(steps));
    r->span = r->bytes / steps;
    memory_free(out.id);
    memory_free(out.logp);
    memory_free(out.length);
    memory_free(out.ended);
    free(length);
    free(prompt);
    return ok;
}
static bool bench_decode(Bench *b, Result *r, Err *e) {
    return bench_rollout(b, r, b->o->prompts, b->o->num_generations, e);
}
static bool bench_decode_one(Bench *b, Result *r, Err *e) { return bench_rollout(b, r, 1, 1, e); }

static double window_flops(const Bench *b) {
    return model_forward_flops(&b->shape, b->window.n_row, b->o->batch * triangle(b->o->length),
                               b->window.n_target);
}

static bool bench_score(Bench *b, Result *r, Err *e) {
    if (!need_model(b, e) || !need_window(b, e) ||
        !(b->acts || (b->acts = acts_new(b->model, bench_rows(b), bench_rows(b), false, e))))
        return false;
    const double start = clock_seconds();
    const bool ok =
        window_logp(b->logp, NULL, b->acts, bench_rows(b), bench_rows(b), b->model, &b->window, 1, e);
    *r = (Result){.seconds = clock_seconds() - start, .tokens = b->window.n_row, .flops = window_flops(b)};
    return ok;
}

static bool bench_train(Bench *b, Result *r, Err *e) {
    if (!need_trainer(b, e)) return false;
    Trainer *t = &b->trainer;
    const double start = clock_seconds(), n = b->window.n_target;
    double loss = 0;
    int more;
    Slice x = trainer_slices(t);
    while ((more = slice_next(&x, &b->window, &b->model->config, e)) > 0) {
        slice_forward(t, &x, 1);
        /* E32 */
        for (int i = 0; i < x.batch.n_target; i++) loss -= t->logp[i], t->dlogp[i] = (real)(-1.0 / n);
        slice_backward(t, &x, 1, false);
    }
    const bool ok = more == 0 && trainer_update(t, e);
    *r = (Result){.seconds = clock_seconds() - start, .tokens = b->window.n_row, .flops = 3 * window_flops(b),
                  .loss = loss / n, .grad_norm = t->grad_norm};
    return ok;
}

/* Four arrays are read and three written; the gradient's norm, its clearing and the packed copies come on
 * top. */
static bool bench_optimiser(Bench *b, Result *r, Err *e) {
    if (!need_trainer(b, e)) return false;
    const double start = clock_seconds();
    const bool ok = trainer_update(&b->trainer, e);
    *r = (Result){.seconds = clock_seconds() - start, .tokens = (double)b->model->n_trainable,
                  .bytes = 7.0 * sizeof(real) * (double)b->model->n_trainable,
                  .span = 7.0 * sizeof(real) * (double)b->model->n_trainable};
    return ok;
}

static bool bench_grpo(Bench *b, Result *r, Err *e) {
    const Config *o = b->o;
    if (!need_step(b, e)) return false;
    const double start = clock_seconds();
    const bool ok = step_generation(&b->step, b->generation++, e) && step_micro_batch(&b->step, 0, e) &&
                    step_update(&b->step, e);
    const double p = o->prompt_length, c = o->completion_length, g = o->num_generations,
                 attended = triangle(p) + g * ((c - 1) * p + triangle(c - 1));
    *r = (Result){.seconds = clock_seconds() - start, .tokens = o->prompts * g * c,
                  .loss = b->step.update.loss,
                  .grad_norm = b->step.learner.trainer.grad_norm,
                  .flops = 4 * model_forward_flops(&b->shape, o->prompts * (p + g * (c - 1)),
                                                   o->prompts * attended, o->prompts * g * c)};
    step_clear(&b->step);
    return ok;
}

/* In the order in which they run; the names are those of --works. */
typedef bool Work(Bench *b, Result *r, Err *e);
static const struct { const char *name; Work *run; const char *unit; } work[] = {
    {"prefill", bench_prefill, "tokens"}, {"decode", bench_decode, "tokens"},
    {"decode_one", bench_decode_one, "tokens"}, {"score", bench_score, "tokens"},
    {"train", bench_train, "tokens"}, {"optimiser", bench_optimiser, "parameters"},
    {"grpo", bench_grpo, "completion tokens"}};
static const char *const work_names[] = {"prefill", "decode",    "decode_one", "score",
                                         "train",   "optimiser", "grpo",       NULL};
enum { N_WORK = sizeof work / sizeof *work };

/* ---- all works, and what is told of them ---- */

typedef struct { Result median; double low, high, memory, gflops, fma_share, gbs, read_share; } BenchTold;

static int by_seconds(const void *a, const void *b) {
    const double x = ((const Result *)a)->seconds, y = ((const Result *)b)->seconds;
    return (x > y) - (x < y);
}

static bool bench_measure(BenchTold *t, Bench *b, int w, double fma, Err *e) {
    const int n = b->o->repeats;
    Result *r = calloc((size_t)n + 1, sizeof *r);
    bool ok = r || fail(e, "bench: no memory for %d results", n);
    machine_memory_forget();
    for (int i = 0; ok && i <= n; i++) ok = work[w].run(b, &r[i], e);
    if (ok) {
        qsort(r + 1, (size_t)n, sizeof *r, by_seconds);
        *t = (BenchTold){.median = r[1 + (n - 1) / 2], .low = r[1].seconds, .high = r[n].seconds,
                    .memory = machine_memory_most()};
        t->gflops = t->median.flops / t->median.seconds / 1e9;
        t->fma_share = t->gflops * 1e9 / fma;
        t->gbs = t->median.bytes / t->median.seconds / 1e9;
    }
    free(r);
    bench_close(b);
    if (ok && t->median.bytes > 0)
        t->read_share = t->gbs * 1e9 / machine_read_peak(b->threads, t->median.span);
    return ok;
}

/* As JSON, which goes into the whole, and as a line of text at once. */
static bool bench_tell(JsonWriter *w, const char *name, const char *unit, const BenchTold *t, bool json,
                       Err *e) {
    JsonWriter one = {0};
    json_begin(&one, '{');
    json_put(&one, "seconds", t->median.seconds);
    json_put(&one, "seconds_min", t->low);
    json_put(&one, "seconds_max", t->high);
    if (t->median.whole_seconds > 0) json_put(&one, "seconds_with_prompts", t->median.whole_seconds);
    json_put(&one, "tokens_per_second", t->median.tokens / t->median.seconds);
    if (t->median.flops > 0)
        json_put(&one, "gflops", t->gflops), json_put(&one, "share_of_fma_peak", t->fma_share);
    if (t->median.bytes > 0)
        json_put(&one, "gigabytes_per_second", t->gbs), json_put(&one, "share_of_read_peak", t->read_share);
    json_put(&one, "memory_bytes", t->memory);
    json_end(&one, '}');
    json_put_raw(w, name, one.text);
    Json *v = json_parse(one.text, one.length, "bench", 1, e);
    if (v && !json) {
        printf("%-11s", name);
        say(v, " {seconds%9T}  ({seconds_min%9T} to {seconds_max%9T})  {tokens_per_second%10.0f} ");
        printf("%s/s", unit);
        if (json_get(v, "gflops"))
            say(v, "  {gflops%.1f} GFLOP/s, {share_of_fma_peak%.2f} of the peak");
        if (json_get(v, "share_of_read_peak"))
            say(v, "  {gigabytes_per_second%.1f} GB/s, {share_of_read_peak%.2f} of a plain read");
        say(v, "  {memory_bytes%B}\n");
        fflush(stdout);
    }
    json_free(v);
    free(one.text);
    return v != NULL;
}

static bool bench_works(Bench *b, Err *e) {
    const Config *o = b->o;
    const double fma = machine_fma_peak(b->threads), read = machine_read_peak(b->threads, MACHINE_BIG);
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_string(&w, "model", o->model);
    json_put_string(&w, "real", REAL_DTYPE);
    json_put_string(&w, "vectors", machine_vectors());
    json_put_int(&w, "threads", b->threads);
    json_put(&w, "fma_peak_gflops", fma / 1e9);
    json_put(&w, "read_peak_gigabytes_per_second", read / 1e9);
    json_open(&w, "works", '{');
    if (!o->json)
        printf("%s, %s, %d thread%s: multiply-adds %.1f GFLOP/s, memory read %.1f GB/s\n", REAL_DTYPE,
               machine_vectors(), b->threads, b->threads == 1 ? "" : "s", fma / 1e9, read / 1e9);
    bool ok = true;
    for (int i = 0; ok && i < N_WORK; i++) {
        bool wanted = !o->works;
        char name[64];
        for (const char *at = o->works; at && !wanted && list_next(name, sizeof name, &at); )
            wanted = !strcmp(name, work[i].name);
        BenchTold t;
        if (wanted)
            ok = bench_measure(&t, b, i, fma, e) &&
                 bench_tell(&w, work[i].name, work[i].unit, &t, o->json, e);
    }
    json_end(&w, '}');
    json_end(&w, '}');
    if (ok && o->json) ok = json_print(&w, "\n", e);
    free(w.text);
    return ok;
}

/* ---- turns: a line in, a line out ---- */

/* Inputs whose products have exact sums in any order: multiples of 1/8 below 1. */
static void fill(real *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (real)((double)((i * 7 + i / 13) % 15) / 8 - 0.875);
}

/* "KIND m n k copies times": one of gemm.h's products with y (m, n), x (m, k), W (n, k), the weights in turn
 * from as many copies as a model has layers. `check` is a weighted sum of the first result. */
static bool bench_product(JsonWriter *w, const char *line, Err *e) {
    char kind[8];
    int m, n, k, copies, times;
    if (sscanf(line, "product %7s %d %d %d %d %d", kind, &m, &n, &k, &copies, &times) != 6 || m < 1 ||
        n < 1 || k < 1 || copies < 1 || times < 1 ||
        (strcmp(kind, "nt") && strcmp(kind, "nn") && strcmp(kind, "tn")) ||
        (double)copies * ((double)n + 16) * k > 4e9)
        return fail(e, "turn \"%.60s\": expected product nt|nn|tn m n k copies times", line);
    const bool nt = !strcmp(kind, "nt"), nn = !strcmp(kind, "nn");
    const size_t weight = nt ? gemm_packed_count(n, k) : (size_t)n * (size_t)k,
                 y_count = (size_t)m * (size_t)n, x_count = (size_t)m * (size_t)k;
    real *y = memory_new(y_count * sizeof(real), "product", e),
         *x = memory_new(x_count * sizeof(real), "product", e),
         *many = memory_new(weight * (size_t)copies * sizeof(real), "product", e),
         *one = memory_new((size_t)n * (size_t)k * sizeof(real), "product", e);
    const bool ok = y && x && many && one;
    double check = 0, seconds = 0;
    if (ok) {
        fill(x, x_count), fill(y, y_count), fill(one, (size_t)n * (size_t)k);
        for (int i = 0; i < copies && nt; i++) gemm_pack(many + weight * (size_t)i, one, STORE_REAL, n, k);
        for (int i = 0; i < copies && nn; i++) memcpy(many + weight * (size_t)i, one, weight * sizeof(real));
        for (int i = -copies; i < times; i++) {                 /* the first round only warms up */
            real *at = many + weight * (size_t)((i + copies) % copies);
            if (i == 0) seconds = clock_seconds();
            if (nt) gemm_nt(y, n, x, k, at, STORE_REAL, NULL, m, n, k);
            else if (nn) gemm_nn(x, k, y, n, at, STORE_REAL, m, n, k);
            else gemm_tn(at, y, n, x, k, m, n, k);
            if (i != -copies) continue;
            const real *out = nt ? y : nn ? x : at;
            for (size_t j = 0, count = nt ? y_count : nn ? x_count : weight; j < count; j++)
                check += (double)out[j] * (double)(1 + j % 5);
        }
        seconds = (clock_seconds() - seconds) / times;
        json_put(w, "seconds", seconds);
        json_put(w, "gflops", 2.0 * m * n * k / seconds / 1e9);
        json_put(w, "check", check);
    }
    memory_free(one);
    memory_free(many);
    memory_free(x);
    memory_free(y);
    return ok;
}

static void bench_ids(JsonWriter *w, const int *id, int n) {
    json_begin(w, '[');
    for (int t = 0; t < n; t++) json_int(w, id[t]);
    json_end(w, ']');
}

/* What a run of train or grpo was given, so that another program can do the same work and compare loss and
 * norm of the gradient. */
static void bench_batch(JsonWriter *w, const Bench *b) {
    const Generation *g = &b->step.gen;
    const int n = b->steps ? g->n_completion : 0;
    json_open(w, "batch", '[');
    for (int i = 0; b->trains && i < b->o->batch; i++)
        bench_ids(w, b->window.id + (size_t)i * (size_t)b->o->length, b->o->length);
    json_end(w, ']');
    json_open(w, "prompts", '[');
    for (int i = 0; i < n; i++) bench_ids(w, g->prompt[i / b->o->num_generations].id, b->o->prompt_length);
    json_end(w, ']');
    json_open(w, "completions", '[');
    for (int i = 0; i < n; i++) bench_ids(w, g->token + g->offset[i], g->out.length[i]);
    json_end(w, ']');
    json_open(w, "advantages", '[');
    for (int i = 0; i < n; i++) json_number(w, (double)g->adv[i]);
    json_end(w, ']');
}

static bool bench_machine(JsonWriter *w, const char *line, Err *e) {
    int threads;
    double bytes = MACHINE_BIG;         /* that are read again and again */
    if (sscanf(line, "machine %d %lf", &threads, &bytes) < 1 || threads < 1 || !(bytes >= 1 && bytes < 1e12))
        return fail(e, "turn \"%.60s\": expected machine THREADS [BYTES]", line);
    json_put(w, "fma_peak_gflops", machine_fma_peak(threads) / 1e9);
    json_put(w, "read_peak_gigabytes_per_second", machine_read_peak(threads, bytes) / 1e9);
    json_put_string(w, "vectors", machine_vectors());
    machine_memory_forget();            /* the array that was read */
    return true;
}

static bool bench_turn(Bench *b, JsonWriter *w, const char *line, Err *e) {
    const bool told = !strncmp(line, "tell ", 5);
    const char *name = told ? line + 5 : line;
    Result r = {0};
    if (!strncmp(line, "product ", 8)) return bench_product(w, line, e);
    if (!strncmp(line, "machine ", 8)) return bench_machine(w, line, e);
    int i;
    if (!choice_parse(&i, work_names, name, "turn", e) || !work[i].run(b, &r, e)) return false;
    json_put(w, "seconds", r.whole_seconds > 0 ? r.whole_seconds : r.seconds);
    json_put(w, "decode_seconds", r.seconds);
    json_put(w, "tokens", r.tokens);
    json_put(w, "flops", r.flops);
    json_put(w, "bytes", r.bytes);
    json_put(w, "loss", r.loss);
    json_put(w, "grad_norm", r.grad_norm);
    json_put(w, "memory_bytes", machine_memory_most());
    if (told) bench_batch(w, b);
    return true;
}

static bool bench_turns(Bench *b, Err *e) {
    char line[256];
    bool ok = true;
    while (ok && fgets(line, sizeof line, stdin)) {
        JsonWriter w = {0};
        line[strcspn(line, "\n")] = 0;
        json_begin(&w, '{');
        ok = bench_turn(b, &w, line, e);
        json_end(&w, '}');
        if (ok) ok = json_print(&w, "\n", e), fflush(stdout);
        free(w.text);
    }
    bench_close(b);
    return ok;
}

static bool bench_check(const Config *o, const ModelConfig *c, Err *e) {
    if (c->n_label) return fail(e, "%s: is a reward model; expected a language model", o->model);
    if (o->batch < 1 || o->length < 2 || o->prompts < 1 || o->num_generations < 2 || o->prompt_length < 1 ||
        o->completion_length < 2 || (double)o->batch * o->length > 1e8 ||
        (double)o->prompts * (o->prompt_length + (double)o->num_generations * o->completion_length) > 1e8)
        return fail(e,
                    "--batch %d, --length %d, --prompts %d, --num-generations %d, --prompt-length %d, "
                    "--completion-length %d: expected at least 1, 2, 1, 2, 1, 2, and at most 1e8 tokens a "
                    "step",
                    o->batch, o->length, o->prompts, o->num_generations, o->prompt_length,
                    o->completion_length);
    if (o->length > c->context || o->prompt_length + o->completion_length > c->context)
        return fail(e,
                    "--length %d, --prompt-length %d with --completion-length %d: the context of %s holds %d "
                    "tokens; lower them",
                    o->length, o->prompt_length, o->completion_length, o->model, c->context);
    if (o->slice_rows < 1 || o->repeats < 1 || o->repeats > 100000 || o->threads < 0 || o->threads > 256)
        return fail(e,
                    "--slice-rows %d, --repeats %d, --threads %d: expected at least 1, 1 to 100000, 0 to 256",
                    o->slice_rows, o->repeats, o->threads);
    if (!(o->learning_rate >= 0) || !(o->temperature > 0))
        return fail(e, "--learning-rate %g, --temperature %g: out of range", o->learning_rate,
                    o->temperature);
    char name[64];
    int i;
    for (const char *at = o->works; at && list_next(name, sizeof name, &at); )
        if (!choice_parse(&i, work_names, name, "--works", e)) return false;
    return true;
}

int cmd_bench(int argc, char **argv, Err *e) {
    Config o;
    const int r = options_parse(&o, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    if (!o.model) { fail(e, "--model: not given; expected the folder of a model"); return -1; }
    Bench b = {.o = &o};
    if (!folder_config(&b.shape, NULL, o.model, e) || !bench_check(&o, &b.shape, e)) return -1;
    if (o.threads) threads_use(o.threads);
    b.threads = thread_count();
    const bool ok = o.turns ? bench_turns(&b, e) : bench_works(&b, e);
    bench_close(&b);
    return ok ? 0 : -1;
}
