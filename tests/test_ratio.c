/* test_ratio.c: in the first iteration every ratio is exactly 1, with no correction: the log-probabilities
 * that the sampler met are the bits that the trainer computes, for every architecture, temperature and
 * filter, whatever batch, order, sharing of prompts or slices the trainer works with.
 *
 * The way of `grpo train`: rollout(), a window, accumulate(), grpo_tell(). Counted are the
 * log-probabilities whose bits differ and the ratios that are not 1.0: none. The companion changes the last
 * bit of one weight, and finds some. */
#include "grpo.h"
#include "run/rollout.h"
#include "tests/tiny.h"

enum { N_PROMPT = 3, GROUP = 4, N = N_PROMPT * GROUP, MAX_NEW = 19, MAX_TOKEN = N * MAX_NEW };
static const int prompt_length[N_PROMPT] = {17, 1, 26};

typedef struct {
    int prompt_id[N_PROMPT][26], id[MAX_TOKEN], length[N];
    real old[MAX_TOKEN];
    bool ended[N];
} Sampled;

static void sample(Sampled *s, const Model *m, Sampling sampling) {
    static const int stop[] = {2};
    const int *prompt[N_PROMPT];
    Err e = {{0}};
    for (int i = 0; i < N_PROMPT; i++) {
        prompt[i] = s->prompt_id[i];
        for (int t = 0; t < prompt_length[i]; t++) s->prompt_id[i][t] = tiny_token(m->config.vocab, i, 0, t);
    }
    const RolloutPlan p = {.prompt = prompt, .prompt_length = prompt_length, .n_prompt = N_PROMPT,
                           .group_size = GROUP, .max_new = MAX_NEW, .stop = stop, .n_stop = 1,
                           .sampling = sampling, .seed = 3, .step = 1};
    Rollout out = {.id = s->id, .logp = s->old, .length = s->length, .ended = s->ended};
    CHECK(rollout(&out, m, &p, &e));
}

/* How the trainer meets the completions. */
typedef enum { WHOLE, REVERSED, APART, ALONE, BY_PAIRS, SMALL_SLICES, N_BATCH } Batching;
static const char *const batching_name[] = {"whole batch",        "reversed",
                                            "prompts not shared", "one completion a batch",
                                            "two a batch",        "small slices"};

/* at[target]: its flat place in s */
typedef struct { const Sampled *s; int at[MAX_TOKEN], n; real logp[MAX_TOKEN]; } Trained;

static void derive(void *to, int first, int n, const real *logp, const real *entropy, real *dlogp,
                   real *dentropy) {
    Trained *t = to;
    (void)entropy;
    for (int i = 0; i < n; i++) {
        t->logp[t->at[first + i]] = logp[i];
        dlogp[i] = (real)tiny_number(8, (uint64_t)i);
        if (dentropy) dentropy[i] = 0;
    }
    t->n += n;
}

/* A prompt and some of its completions; only the first token's row is the prompt's. */
static void add_tree(Window *w, Trained *t, int prompt, const int *member, int n) {
    Err e = {{0}};
    const Sampled *s = t->s;
    const int root = window_add(w, s->prompt_id[prompt], prompt_length[prompt], -1, &e), last = w->n_row - 1;
    for (int k = 0; k < n; k++) {
        t->at[w->n_target] = member[k] * MAX_NEW;
        window_target(w, last, s->id[member[k] * MAX_NEW], &e);
    }
    for (int k = 0; k < n; k++) {
        const int q = member[k] * MAX_NEW, length = s->length[member[k]], start = w->n_row;
        if (length > 1) window_add(w, s->id + q, length - 1, root, &e);
        for (int i = 1; i < length; i++) {
            t->at[w->n_target] = q + i;
            window_target(w, start + i - 1, s->id[q + i], &e);
        }
    }
    CHECK_STRING(e.line, "");
}

/* The prompt written anew before the completion, as a single row of tokens. */
static void add_row(Window *w, Trained *t, int member) {
    Err e = {{0}};
    int id[26 + MAX_NEW];
    const int p = member / GROUP, n = prompt_length[p], length = t->s->length[member], start = w->n_row;
    memcpy(id, t->s->prompt_id[p], (size_t)n * sizeof(int));
    memcpy(id + n, t->s->id + member * MAX_NEW, (size_t)length * sizeof(int));
    window_add(w, id, n + length - 1, -1, &e);
    for (int i = 0; i < length; i++) {
        t->at[w->n_target] = member * MAX_NEW + i;
        window_target(w, start + n - 1 + i, id[n + i], &e);
    }
    CHECK_STRING(e.line, "");
}

static void pass(Trained *t, Trainer *trainer, Window *w, double temperature) {
    Err e = {{0}};
    CHECK(accumulate(trainer, w, temperature, derive, t, false, &e));
    CHECK_STRING(e.line, "");
    window_clear(w);
}

static void train(Trained *t, Model *m, const Sampled *s, Batching how, double temperature) {
    *t = (Trained){.s = s};
    Err e = {{0}};
    Window w = {0};
    Trainer trainer;
    const int rows = how == SMALL_SLICES ? 100 : 600;
    CHECK(trainer_new(&trainer, m, rows, rows, &e));
    for (int i = 0; i < N; i++) {
        const int c = how == REVERSED ? N - 1 - i : i,
                  member[GROUP] = {c, how == REVERSED ? c - 1 : c + 1, how == REVERSED ? c - 2 : c + 2,
                                   how == REVERSED ? c - 3 : c + 3};
        if (how == APART) add_row(&w, t, c);
        else if (how == ALONE) add_tree(&w, t, c / GROUP, member, 1), pass(t, &trainer, &w, temperature);
        else if (how == BY_PAIRS && i % 2 == 0)
            add_tree(&w, t, c / GROUP, member, 2), pass(t, &trainer, &w, temperature);
        else if (how != BY_PAIRS && i % GROUP == 0) add_tree(&w, t, c / GROUP, member, GROUP);
    }
    if (w.n_row) pass(t, &trainer, &w, temperature);
    trainer_free(&trainer);
    window_free(&w);
}

typedef struct { long tokens, bits, ratios; } Count;

/* E90, E91 and E92 by the equations that the loss uses. */
static Count compare(const Trained *t) {
    Count n = {0};
    GrpoConfig c;
    grpo_config_default(&c);
    const GrpoWindow w = {.n_item = 1, .n_process = 1, .gradient_accumulation_steps = 1,
                          .steps_per_generation = 1, .training = true};
    const GrpoMicro micro = {.n_completion = N, .n_token = 1, .entropy_threshold = -INFINITY,
                             .n_entropy_token = 1};
    real adv[N];
    for (int i = 0; i < N; i++) {
        const size_t offset[2] = {(size_t)(i * MAX_NEW), (size_t)(i * MAX_NEW + t->s->length[i])};
        const GrpoIn in = {.n_completion = 1, .offset = offset, .logp = t->logp, .old = t->s->old,
                           .advantage = adv};
        adv[0] = 1;
        for (int level = LEVEL_TOKEN; level <= LEVEL_SEQUENCE; level++) {
            GrpoTold whole;
            GrpoToken token[MAX_NEW];
            c.importance_sampling_level = (ImportanceLevel)level;
            grpo_tell(&whole, token, &in, 0, &c, &w, &micro);
            for (int k = 0; k < t->s->length[i]; k++) n.ratios += !(token[k].ratio == 1) || token[k].clipped;
        }
        n.bits += tiny_differ(t->logp + offset[0], t->s->old + offset[0], (size_t)t->s->length[i]);
        n.tokens += t->s->length[i];
    }
    return n;
}

/* The next number above. */
static real next(real x) {
    return sizeof(real) == 4 ? (real)nextafterf((float)x, 10) : (real)nextafter((double)x, 10);
}

static void test_E91_ratio_is_one(void) {
    static const Sampling sampling[] = {{1, 0, 1, 0},
                                        {0.3, 0, 1, 0},
                                        {0.7, 0, 0.9, 0},
                                        {1.7, 5, 1, 0},
                                        {0.9, 8, 0.95, 0.02}};
    long tokens = 0;
    for (int k = 0; k <= TINY_BIG; k++)
        for (size_t i = 0; i < sizeof sampling / sizeof *sampling; i++) {
            Model *m = tiny_model(k);
            Sampled s;
            set_threads(k == TINY_BIG ? 2 : 1);         /* elsewhere no loop is long enough for two */
            sample(&s, m, sampling[i]);
            set_threads(1);
            for (int how = 0; how < N_BATCH; how++) {
                Trained t;
                train(&t, m, &s, (Batching)how, sampling[i].temperature);
                const Count n = compare(&t);
                if (n.bits || n.ratios)
                    printf("model %d, temperature %g, %s: of %ld log-probabilities %ld differ, %ld ratios "
                           "are not 1\n",
                           k, sampling[i].temperature, batching_name[how], n.tokens, n.bits, n.ratios);
                CHECK_INT(n.bits, 0);
                CHECK_INT(n.ratios, 0);
                CHECK_INT(t.n, n.tokens);
                tokens += n.tokens;
            }
            model_free(m);
        }
    CHECK(tokens > 10000);
}

/* The same count after the smallest change there is, so the test above can fail: one weight of the final norm
 * by its last bit. Deeper down a last bit may drown in the rounding of what follows; there one weight of each
 * matrix changes by a thousandth. */
static void test_one_bit_is_noticed(void) {
    for (int k = 0; k <= TINY_BIG; k++) {
        Model *m = tiny_model(k);
        Sampled s;
        Trained t;
        sample(&s, m, (Sampling){1, 0, 1, 0});
        for (int i = 0; i < m->n_param; i++) {
            const Param *p = &m->param[i];
            /* not all rows of the embedding are read */
            if (p != m->norm && (!p->is_matrix || p == m->embed)) continue;
            real *x = (real *)p->data + param_count(p) / 2, before = *x;
            *x = p == m->norm ? next(before) : before * (real)1.001;
            model_pack(m);
            train(&t, m, &s, WHOLE, 1);
            if (!compare(&t).bits) printf("model %d: a change of %s changes nothing\n", k, p->name);
            CHECK(compare(&t).bits > 0);
            *x = before;
        }
        model_pack(m);
        train(&t, m, &s, WHOLE, 1);
        CHECK_INT(compare(&t).bits, 0);
        /* and a temperature that is not quite the sampler's */
        train(&t, m, &s, WHOLE, 1 + 1e-6);
        CHECK(compare(&t).bits > 0 && compare(&t).ratios > 0);
        model_free(m);
    }
}

int main(void) {
    test_E91_ratio_is_one();
    test_one_bit_is_noticed();
    return test_end();
}
