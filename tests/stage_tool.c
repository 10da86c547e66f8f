/* stage_tool.c: every stage of one GRPO step in this build's real, and the errors of the float build against
 * the double build (`make errors`).
 *
 *     build/fNN/tests/stage_tool MODEL TEXT LAYERS LENGTH N OUT.safetensors
 *     build/f64/tests/stage_tool compare FLOAT.safetensors DOUBLE.safetensors
 *     build/f64/tests/stage_tool row FLOAT.safetensors DOUBLE.safetensors          the same numbers in one
 * line, held against no limit
 *
 * The folder's first LAYERS layers (0: all) under its own final norm and head. N sequences of LENGTH tokens,
 * cut from TEXT one after the other, are the completions of one group; every token but the first is a target.
 * The reference is the model itself; the sampler's and the policy's weights are a little off it, by numbers
 * keyed by place and rounded to float, so that both builds start from the same bits and no ratio is 1. A
 * reward head of four labels is drawn. Of each parameter's gradient at most 65536 elements are written,
 * evenly spaced, and of the logits the last 32 rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/folder.h"
#include "grpo.h"
#include "lib/files.h"
#include "lib/safetensors.h"
#include "tokenizer.h"
#include "tests/tiny.h"

enum { LOGIT_TAIL = 32, SAMPLE = 65536, MAX_OUT = 8192 };
static const double LEARNING_RATE = 1e-3, TEMPERATURE = 0.9;

/* ---- one build ---------------------------------------------------------------------------- */

typedef struct { TensorOut list[MAX_OUT]; int n; } Out;

static void put(Out *o, const char *name, const void *data, Store from, size_t n) {
    const Store store = from == STORE_F64 || sizeof(real) == 8 ? STORE_F64 : STORE_F32;
    if (o->n < MAX_OUT)
        o->list[o->n++] =
            (TensorOut){.name = name, .store = store, .n_dim = 1, .shape = {n}, .data = data, .from = from};
}

/* A number in [-1, 1) that depends on its place only. */
static double spread(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t z = seed * 0x632be59bd9b4e019u + a * 0xd1b54a32d192ed03u + b * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u, z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)(int64_t)(z ^ (z >> 31)) * 0x1p-63;
}

/* Every parameter times 1 + 2^-8 u, rounded to float. */
static void nudge(Model *m, uint64_t seed) {
    for (int i = 0; i < m->n_param; i++) {
        real *w = m->param[i].data;
        #pragma omp parallel for schedule(static)
        for (size_t j = 0; j < param_count(&m->param[i]); j++)
            w[j] = (real)(float)((double)w[j] * (1 + 0x1p-8 * spread(seed, (uint64_t)i, j)));
    }
    model_pack(m);
}

/* The first n_layer layers of m (0: all), with n_label labels instead of the vocabulary if not 0; a model of
 * its own. */
static Model *part_of(const Model *m, int n_layer, int n_label, Err *e) {
    ModelConfig c = m->config;
    if (n_layer > 0 && n_layer < c.n_layer) c.n_layer = n_layer;
    c.n_label = n_label;
    Model *part = model_new(&c, e);
    if (!part) return NULL;
    model_copy(part, m);
    for (size_t j = 0; n_label && j < param_count(part->head); j++)
        ((real *)part->head->data)[j] = (real)(float)(0.03 * spread(3, 0, j));
    model_pack(part);
    return part;
}

typedef struct {
    const char *dir, *out;
    int n_layer, length, n;
    Window window;
    size_t n_target, *offset;
    real *logp, *old, *ref, *entropy, *dlogp, *ratio, *kl, *adv;
    double loss;
} Stage;

static void *take(size_t n, size_t size) {
    void *p = calloc(n + 1, size);
    if (!p) fprintf(stderr, "stage_tool: no memory\n"), exit(2);
    return p;
}

static bool read_text(Stage *s, const char *path, Err *e) {
    size_t size;
    Tokenizer *t = tokenizer_load(s->dir, e);
    char *text = t ? file_read(path, &size, e) : NULL;
    Ids ids = {0};
    if (!text || !tokenizer_encode(&ids, t, text, size, false, e)) return false;
    if (ids.n < s->length * s->n)
        return fail(e, "%s: %d tokens, but %d sequences of %d were asked for", path, ids.n, s->n, s->length);
    s->offset = take((size_t)s->n + 1, sizeof *s->offset);
    for (int i = 0; i < s->n; i++) {
        const int row = s->window.n_row, *id = ids.id + i * s->length;
        if (window_add(&s->window, id, s->length - 1, -1, e) < 0) return false;
        for (int k = 1; k < s->length; k++)
            if (!window_target(&s->window, row + k - 1, id[k], e)) return false;
        s->offset[i + 1] = s->offset[i] + (size_t)s->length - 1;
    }
    s->n_target = (size_t)s->window.n_target;
    real **list[] = {&s->logp, &s->old, &s->ref, &s->entropy, &s->dlogp, &s->ratio, &s->kl, &s->adv};
    for (int i = 0; i < 8; i++) *list[i] = take(s->n_target, sizeof(real));
    tokenizer_free(t);
    free(text);
    return true;
}

/* E60, E82 to E84, E90 to E117 on the slice, which is the whole window; ratio and KL as the loss has them. */
static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Stage *s = to;
    GrpoConfig c;
    grpo_config_default(&c);
    c.beta = 0.05;
    real *score = take((size_t)s->n, 4 * sizeof(real)), *reward = take((size_t)s->n, sizeof(real));
    for (int i = 0; i < 4 * s->n; i++) score[i] = (real)(float)((1 + spread(5, 0, (uint64_t)i)) / 2);
    grpo_score_advantage(s->adv, reward, NULL, score, (const double[]){0.15, 0.2, 0.15, 0.5}, NULL,
                         (size_t)s->n, 4, (size_t)s->n, &c);
    memcpy(s->logp + first, logp, (size_t)n * sizeof(real));
    memcpy(s->entropy + first, entropy, (size_t)n * sizeof(real));
    const GrpoIn in = {.n_completion = (size_t)s->n, .offset = s->offset, .logp = s->logp, .old = s->old,
                       .ref = s->ref, .entropy = s->entropy, .advantage = s->adv};
    const GrpoWindow w = {.n_item = (double)s->n_target, .n_process = 1, .gradient_accumulation_steps = 1,
                          .steps_per_generation = 1, .training = true};
    GrpoMicro micro;
    GrpoSums sums;
    grpo_micro(&micro, &in, &c, NULL);
    grpo_sums_start(&sums);
    grpo_loss(&sums, s->dlogp, NULL, &in, &c, &w, &micro);
    s->loss = grpo_loss_value(&sums, &w, &micro);
    memcpy(dlogp, s->dlogp, s->n_target * sizeof(real));
    if (dentropy) memset(dentropy, 0, (size_t)n * sizeof(real));
    GrpoToken *token = take((size_t)s->length, sizeof *token);
    for (int i = 0; i < s->n; i++) {
        GrpoTold whole;
        grpo_tell(&whole, token, &in, (size_t)i, &c, &w, &micro);
        for (size_t t = s->offset[i]; t < s->offset[i + 1]; t++)
            s->ratio[t] = (real)token[t - s->offset[i]].ratio, s->kl[t] = (real)token[t - s->offset[i]].k3;
    }
    free(token), free(score), free(reward);
}

static real *scores_of(Stage *s, const Model *policy, Err *e) {
    Model *m = part_of(policy, 0, 4, e);
    real *score = take(s->n_target, 4 * sizeof(real));
    Acts *a = m ? acts_new(m, s->window.n_row, s->window.n_target, false, e) : NULL;
    if (!a || !window_scores(score, a, s->window.n_row, s->window.n_target, m, &s->window, e)) return NULL;
    acts_free(a);
    model_free(m);
    return score;
}

static bool stages(Stage *s, Err *e) {
    static Out out;
    static char name[2 * MAX_OUT][128];
    Window *w = &s->window;
    Model *whole = folder_load(s->dir, NULL, e), *m = whole;
    if (whole && s->n_layer > 0 && s->n_layer < whole->config.n_layer) {
        m = part_of(whole, s->n_layer, 0, e);
        model_free(whole);
    }
    const real *score = m ? scores_of(s, m, e) : NULL;
    Trainer t;
    if (!score || !trainer_new(&t, m, w->n_row, w->n_target, e)) return false;
    if (!window_logp(s->ref, NULL, t.acts, w->n_row, w->n_target, m, w, TEMPERATURE, e)) return false;
    nudge(m, 1);
    if (!window_logp(s->old, NULL, t.acts, w->n_row, w->n_target, m, w, TEMPERATURE, e)) return false;
    nudge(m, 2);
    Slice slice = trainer_slices(&t);
    if (slice_next(&slice, w, &m->config, e) <= 0) return false;
    const size_t h = (size_t)m->config.hidden, rows = (size_t)w->n_row,
                 tail = rows < LOGIT_TAIL ? rows : LOGIT_TAIL, vocab = (size_t)m->config.vocab;
    real *hidden = take(rows * h, sizeof(real)), *logits = take(tail * vocab, sizeof(real));
    memcpy(hidden, model_forward(t.acts, m, &slice.batch), rows * h * sizeof(real));
    head_logits(logits, m, hidden + (rows - tail) * h, (int)tail);
    t.adamw.lr = LEARNING_RATE, t.schedule = SCHEDULE_CONSTANT, t.n_step = 1;
    if (!accumulate(&t, w, TEMPERATURE, derive, s, false, e)) return false;
    put(&out, "hidden", hidden, STORE_REAL, rows * h);
    put(&out, "logits", logits, STORE_REAL, tail * vocab);
    real *const value[] = {s->logp, s->entropy, s->ratio, s->kl, s->adv, s->dlogp};
    static const char *const value_name[] = {"logp", "entropy", "ratio", "kl", "advantage", "dlogp"};
    for (int i = 0; i < 6; i++)
        put(&out, value_name[i], value[i], STORE_REAL, i == 4 ? (size_t)s->n : s->n_target);
    put(&out, "loss", &s->loss, STORE_F64, 1);
    put(&out, "score", score, STORE_REAL, 4 * s->n_target);
    /* gradients as they will be stepped with, and what the step did, in units of the learning rate */
    real *grad[MAX_OUT], *step[MAX_OUT];
    model_grad_finish(t.grad, t.acts, m);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < m->n_param && i < MAX_OUT / 2 - 16; i++) {
            const Param *p = &m->param[i];
            const size_t stride = (param_count(p) - 1) / SAMPLE + 1, n = (param_count(p) - 1) / stride + 1;
            const real *x = p->data;
            if (pass == 0) grad[i] = take(n, sizeof(real)), step[i] = take(n, sizeof(real));
            for (size_t k = 0; k < n; k++) {
                if (pass == 0) grad[i][k] = t.grad[p->offset + k * stride], step[i][k] = x[k * stride];
                else step[i][k] = (real)(((double)x[k * stride] - (double)step[i][k]) / LEARNING_RATE);
            }
            if (pass == 0) continue;
            snprintf(name[2 * i], sizeof *name, "grad.%s", p->name),
                snprintf(name[2 * i + 1], sizeof *name, "step.%s", p->name);
            put(&out, name[2 * i], grad[i], STORE_REAL, n);
            put(&out, name[2 * i + 1], step[i], STORE_REAL, n);
        }
        if (pass == 0 && !trainer_update(&t, e)) return false;
    }
    return safetensors_write(s->out, out.list, out.n, (const char *const[]){NULL}, e);
}

/* ---- two builds ---------------------------------------------------------------------------- */

/* worst: largest |f - d|; scale: largest |d|; rms: of the differences over that of d. */
typedef struct { double worst, scale, rms; size_t n; char at[128]; } Gap;

static double *doubles(const Tensor *t) {
    double *x = take(t->count, sizeof *x);
    if (t->store == STORE_F64) memcpy(x, t->data, t->count * sizeof *x);
    else
        for (size_t i = 0; i < t->count; i++) {
            float f;
            memcpy(&f, (const char *)t->data + 4 * i, 4);
            x[i] = (double)f;
        }
    return x;
}

/* Of one tensor; where a gradient is named, only elements count in which it exceeds a hundred times its own
 * largest error: AdamW's first steps follow signs. */
static bool gap(Gap *g, const Safetensors *a, const Safetensors *b, const char *name, const char *gradient,
                Err *e) {
    const Tensor *f = safetensors_find(a, name), *d = safetensors_find(b, name),
                 *given = gradient ? safetensors_find(b, gradient) : NULL;
    if (!f || !d || f->count != d->count) return fail(e, "%s: not in both files, or of another size", name);
    double *x = doubles(f), *y = doubles(d), *w = given ? doubles(given) : NULL, square = 0, size = 0,
           limit = 0;
    *g = (Gap){.n = 0};
    snprintf(g->at, sizeof g->at, "%s", name);
    if (w) {
        Gap own;
        if (!gap(&own, a, b, gradient, NULL, e)) return false;
        limit = 100 * own.worst;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (w && !(fabs(w[i]) > limit)) continue;
        const double off = fabs(x[i] - y[i]);
        if (!(off <= g->worst)) g->worst = off;                     /* a NaN stays */
        g->scale = fmax(g->scale, fabs(y[i])), square += off * off, size += y[i] * y[i], g->n++;
    }
    g->rms = size > 0 ? sqrt(square / size) : 0;
    free(x), free(y), free(w);
    return true;
}

/* Over all parameters: the one that is worst relative to its own largest element (gradients), or outright
 * (steps). */
static bool worst_parameter(Gap *most, const Safetensors *a, const Safetensors *b, bool steps, Err *e) {
    *most = (Gap){.worst = -1, .scale = 1};
    for (int i = 0; i < safetensors_count(b); i++) {
        const char *name = safetensors_at(b, i)->name;
        char gradient[128];
        Gap g;
        if (strncmp(name, steps ? "step." : "grad.", 5)) continue;
        snprintf(gradient, sizeof gradient, "grad.%s", name + 5);
        if (!gap(&g, a, b, name, steps ? gradient : NULL, e)) return false;
        if (steps ? g.worst > most->worst : g.worst / g.scale > most->worst / most->scale) *most = g;
    }
    return true;
}

/* What is compared, in the order of the computation, and what a well-conditioned network keeps
 * (docs/numerics.md): absolute, or relative to the largest magnitude. */
static const struct { const char *name, *title; bool relative; double limit;
} line[] = {{"hidden", "hidden rows after the final norm", true, 2e-5},
            {"logits", "logits", true, 2e-5},
            {"logp", "log-probabilities", false, 2e-5},
            {"entropy", "entropies", false, 2e-5},
            {"score", "reward scores", true, 2e-5},
            {"advantage", "advantages", true, 1e-6},
            {"ratio", "ratios", false, 3e-5},
            {"kl", "KL per token (k3)", true, 5e-5},
            {"loss", "loss", false, 1e-6},
            {"dlogp", "d loss / d logp", true, 5e-5},
            {"grad", "gradients, worst parameter", true, 5e-5},
            {"step", "AdamW step, in learning rates", false, 1e-2}};

static bool compare(const char *float_path, const char *double_path, bool row, bool *within, Err *e) {
    Safetensors *a = safetensors_open(float_path, e), *b = a ? safetensors_open(double_path, e) : NULL;
    if (!b) return false;
    *within = true;
    if (!row)
        printf("%-34s %10s %10s %10s %10s   %s\n", "stage", "worst", "largest", "relative", "rms", "guide");
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        const bool grad = !strcmp(line[i].name, "grad"), step = !strcmp(line[i].name, "step");
        Gap g;
        if (!(grad || step ? worst_parameter(&g, a, b, step, e) : gap(&g, a, b, line[i].name, NULL, e)))
            return false;
        const double relative = g.worst / g.scale, value = line[i].relative ? relative : g.worst;
        const bool ok = value <= line[i].limit;
        *within &= ok;
        if (row) printf(" %8.1e", value);
        else
            printf("%-34s %10.2e %10.2e %10.2e %10.2e   %.0e %s%s%s%s\n", line[i].title, g.worst, g.scale,
                   relative, g.rms, line[i].limit, line[i].relative ? "relative" : "absolute",
                   ok ? "" : "  above", grad || step ? "  " : "", grad || step ? g.at + 5 : "");
    }
    if (row) puts("");
    safetensors_close(a), safetensors_close(b);
    return true;
}

int main(int argc, char **argv) {
    Err e = {{0}};
    bool ok, within = true;
    if (argc == 4 && (!strcmp(argv[1], "compare") || !strcmp(argv[1], "row")))
        ok = compare(argv[2], argv[3], argv[1][0] == 'r', &within, &e);
    else if (argc == 7) {
        static Stage s;
        s.dir = argv[1], s.out = argv[6], s.n_layer = atoi(argv[3]), s.length = atoi(argv[4]),
        s.n = atoi(argv[5]);
        ok = s.length > 1 && s.n > 1 ? read_text(&s, argv[2], &e) && stages(&s, &e)
                                     : fail(&e, "LENGTH and N: expected at least 2");
    } else
        return fprintf(stderr, "stage_tool MODEL TEXT LAYERS LENGTH N OUT | compare FLOAT DOUBLE | row FLOAT "
                               "DOUBLE\n"),
               2;
    if (!ok) return fprintf(stderr, "stage_tool: %s\n", e.line), 2;
    return within || argv[1][0] == 'r' ? 0 : 1;
}
