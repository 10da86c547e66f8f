/* rollout.c: from a prompt to its completions: the sampler (E23, E29, E308), the key/value cache (E14 to E16
 * row by row), and the loop of one generation step, in which all completions of all prompts advance together
 * and each prompt is computed once. Not here: what a completion is worth (reward.c), what is learned from it
 * (grpo.c). */
#include "run/rollout.h"

#include <stdlib.h>
#include <string.h>

#include "baselines/mpo.h"
#include "net/flops.h"
#include "lib/rng.h"
#include "lib/threads.h"

enum {
    LANES = GEMM_PANEL,
    PREFILL_ROWS = 1024,
    LOGIT_ROWS = 64,
    RUN = GEMM_APART,
    EXP_BLOCK = 256,
    MOST_BLOCKS = (1 << 24) / LOGITS_BLOCK + 1
};

/* ---- sampler ---- */

bool sampling_check(const Sampling *s, Err *e) {
    if (!(s->temperature >= 0))
        return fail(e, "--temperature: found %g, expected 0 (greedy) or more", s->temperature);
    if (s->top_k < 0) return fail(e, "--top-k: found %d, expected 0 (off) or more", s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return fail(e, "--top-p: found %g, expected more than 0 and at most 1 (off)", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return fail(e, "--min-p: found %g, expected 0 (off) to 1", s->min_p);
    return true;
}

static bool sampling_filters(const Sampling *s, int vocab) {
    return (s->top_k > 0 && s->top_k < vocab) || s->top_p < 1 || s->min_p > 0;
}

/* Ids by falling logit, ties by the lower id: a heap sort, for qsort has no context argument. */
static bool before(const real *z, int a, int b) { return z[a] > z[b] || (z[a] == z[b] && a < b); }

static void sift(const real *z, int *order, int i, int n) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(z, order[child], order[child + 1])) child++;
        if (!before(z, order[i], order[child])) return;
        const int keep = order[i];
        order[i] = order[child];
        order[child] = keep;
    }
}

static void sort_by_logit(int *order, const real *z, int n) {
    for (int i = 0; i < n; i++) order[i] = i;
    for (int i = n / 2 - 1; i >= 0; i--) sift(z, order, i, n);
    for (int end = n - 1; end > 0; end--) {
        const int keep = order[0];
        order[0] = order[end];
        order[end] = keep;
        sift(z, order, 0, end);
    }
}

/* How many of the ids in order survive top_k, top_p and min_p, in this order (transformers'). */
static int kept_count(const int *order, const real *z, int vocab, real max, const Sampling *s) {
    int n = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab;
    if (s->top_p < 1) {
        double total = 0, mass = 0;
        for (int i = 0; i < n; i++) total += d_exp((double)z[order[i]] - max);
        int k = 0;
        while (k < n && (k == 0 || mass < s->top_p * total)) mass += d_exp((double)z[order[k++]] - max);
        n = k;
    }
    if (s->min_p > 0) {
        int k = 1;
        while (k < n && d_exp((double)z[order[k]] - max) >= s->min_p) k++;
        n = k;
    }
    return n;
}

void sampler_penalise(real *z, const real *plain, const int *id, int n, double penalty) {
    for (int i = 0; i < n; i++)
        z[id[i]] = plain[id[i]] > 0 ? plain[id[i]] / (real)penalty : plain[id[i]] * (real)penalty;
}

/* E308 without filters: the first id whose cumulative sum exceeds u times the total. Of the weights, which
 * logits_totals has just had, only those of the block where that happens are computed again. */
static int draw_from_all(const real *z, int vocab, real max, const double *total_at, double u) {
    const int last_block = (vocab - 1) / LOGITS_BLOCK;
    const double goal = u * total_at[last_block];
    int block = 0, token = 0;
    while (block < last_block && !(total_at[block] > goal)) block++;
    const int first = block * LOGITS_BLOCK, end = vocab - first < LOGITS_BLOCK ? vocab : first + LOGITS_BLOCK;
    double at = block ? total_at[block - 1] : 0;
    for (int from = first; from < end && !(at > goal); from += EXP_BLOCK) {
        real weight[EXP_BLOCK];
        const int n = end - from < EXP_BLOCK ? end - from : EXP_BLOCK;
        r_exp_array(weight, z + from, max, (size_t)n);
        for (int i = 0; i < n && !(at > goal); i++) at += weight[i], token = from + i;
    }
    return token;
}

/* The same over the kept ids: those before `cut_id` in the order by falling logit, and it. */
static int draw_from_kept(const real *z, int vocab, real max, int cut_id, double u, double *kept_sum) {
    const real cut = z[cut_id];
    real weight[EXP_BLOCK];
    double total = 0, at = 0;
    int token = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int first = 0; first < vocab && !(pass && at > u * total); first += EXP_BLOCK) {
            const int n = vocab - first < EXP_BLOCK ? vocab - first : EXP_BLOCK;
            r_exp_array(weight, z + first, max, (size_t)n);
            for (int i = 0; i < n && !(pass && at > u * total); i++) {
                if (!(z[first + i] > cut || (z[first + i] == cut && first + i <= cut_id))) continue;
                *(pass ? &at : &total) += weight[i];
                token = first + i;
            }
        }
    *kept_sum = total;
    return token;
}

int sampler_draw(real *z, int vocab, const Sampling *s, double u, real *logp, real *kept_logp, int *order) {
    const bool greedy = s->temperature == 0, filters = !greedy && sampling_filters(s, vocab);
    double total_at[MOST_BLOCKS], kept_sum = 0;
    const LogitStats t = greedy || filters ? logits_stats(z, vocab, greedy ? 1 : s->temperature, false)
                                           : logits_totals(z, vocab, s->temperature, total_at);
    int token = 0;
    if (greedy) {
        while (token < vocab - 1 && z[token] != t.max) token++;
    } else if (filters) {
        sort_by_logit(order, z, vocab);
        token =
            draw_from_kept(z, vocab, t.max, order[kept_count(order, z, vocab, t.max, s) - 1], u, &kept_sum);
    } else token = draw_from_all(z, vocab, t.max, total_at, u);
    *logp = z[token] - t.max - t.log_sum;
    if (kept_logp)
        *kept_logp = greedy ? 0 : filters ? (real)((double)z[token] - t.max - d_log(kept_sum)) : *logp;
    return token;
}

/* ---- cache ---- */

struct Cache {
    const ModelConfig *config;
    int n_prompt, n_seq, max_new;
    int *prompt_length, *prompt_of, *done;      /* done [n_seq]: tokens in the cache after the prompt */
    size_t *prompt_at;                          /* [n_prompt] within one layer */
    size_t prompt_reals, seq_reals; /* of one layer; of one sequence in one layer: its heads side by side */
    /* [n_layer] as attention.h lays them out */
    real **prompt_key, **prompt_value, **seq_key, **seq_value;
    int n_thread;                               /* that scratch is there for */
    real *score;                                /* [n_thread, longest] */
    size_t held, thread_bytes;                  /* of base; score's part, which grows with the threads */
    size_t score_cap;
    int *position;                              /* [n_seq] */
    const int *active;                          /* of the running step */
    int *run, n_run; /* [n_seq + 1]: rows run[i] .. run[i + 1] - 1 of the step share a prompt and a length */
    int first;                                  /* prefill: prompt of the first segment */
    size_t prefill_held;                        /* most that a prefill's activations took */
    const Batch *batch;
    Acts *acts;
    unsigned char *base;
};

static size_t head_reals(const ModelConfig *c, int max_new) {
    return attention_panels(max_new, c->head_dim) + CACHE_APART;
}

static void cache_layout(Cache *s, Arena *a, const ModelConfig *c, const int *prompt_length) {
    s->prompt_length = arena_take(a, (size_t)s->n_prompt, sizeof(int));
    s->prompt_of = arena_take(a, (size_t)s->n_seq, sizeof(int));
    s->done = arena_take(a, (size_t)s->n_seq, sizeof(int));
    s->position = arena_take(a, (size_t)s->n_seq, sizeof(int));
    s->run = arena_take(a, (size_t)s->n_seq + 1, sizeof(int));
    s->prompt_at = arena_take(a, (size_t)s->n_prompt, sizeof(size_t));
    int longest = 0;
    s->prompt_reals = 0;
    for (int i = 0; i < s->n_prompt; i++) {
        if (a->base) s->prompt_at[i] = s->prompt_reals;
        s->prompt_reals += (size_t)c->n_kv_head * attention_panels(prompt_length[i], c->head_dim);
        longest = prompt_length[i] > longest ? prompt_length[i] : longest;
    }
    s->seq_reals = (size_t)c->n_kv_head * head_reals(c, s->max_new);
    real ***list[] = {&s->prompt_key, &s->prompt_value, &s->seq_key, &s->seq_value};
    const size_t count[] = {s->prompt_reals, s->prompt_reals, (size_t)s->n_seq * s->seq_reals,
                            (size_t)s->n_seq * s->seq_reals};
    for (int k = 0; k < 4; k++) {
        real **layer = arena_take(a, (size_t)c->n_layer, sizeof(real *));
        *list[k] = layer;
        for (int l = 0; l < c->n_layer; l++) {
            real *p = arena_take(a, count[k], sizeof(real));
            if (layer) layer[l] = p;
        }
    }
    s->score_cap = attention_scratch((size_t)longest + (size_t)s->max_new, c->head_dim);
    const size_t before = a->used;
    s->score = arena_take(a, (size_t)s->n_thread * s->score_cap, sizeof(real));
    s->thread_bytes = a->used - before;
}

size_t cache_bytes(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq, int max_new) {
    Cache s = {.n_prompt = n_prompt, .n_seq = n_seq, .max_new = max_new, .n_thread = thread_count()};
    Arena a = {0};
    cache_layout(&s, &a, c, prompt_length);
    return a.used;
}

Cache *cache_new(const Model *m, const int *prompt_length, int n_prompt, const int *prompt_of, int n_seq,
                 int max_new, Err *e) {
    Cache *s = calloc(1, sizeof *s);
    if (!s) { fail(e, "cache: no memory"); return NULL; }
    *s = (Cache){.config = &m->config, .n_prompt = n_prompt, .n_seq = n_seq, .max_new = max_new,
                 .n_thread = thread_count()};
    Arena a = {.base = memory_new(cache_bytes(&m->config, prompt_length, n_prompt, n_seq, max_new),
                                  "key/value cache", e)};
    if (!a.base) { free(s); return NULL; }
    s->base = a.base;
    cache_layout(s, &a, &m->config, prompt_length);
    s->held = a.used;
    memcpy(s->prompt_length, prompt_length, (size_t)n_prompt * sizeof(int));
    memcpy(s->prompt_of, prompt_of, (size_t)n_seq * sizeof(int));
    s->acts = acts_new(m, n_seq, 0, false, e);
    if (!s->acts) { cache_free(s); return NULL; }
    return s;
}

void cache_free(Cache *c) {
    if (!c) return;
    acts_free(c->acts);
    memory_free(c->base);
    free(c);
}

/* Key/value head g of prompt p, and of sequence q with t tokens so far. */
static KeySpan prompt_span(const Cache *s, int layer, int p, int g) {
    const size_t at =
        s->prompt_at[p] + (size_t)g * attention_panels(s->prompt_length[p], s->config->head_dim);
    return (KeySpan){.n = s->prompt_length[p], .key_t = s->prompt_key[layer] + at,
                     .value = s->prompt_value[layer] + at,
                     .value_stride = (size_t)s->prompt_length[p] * LANES};
}

static KeySpan seq_span(const Cache *s, int layer, int q, int g, int t) {
    const size_t at = (size_t)q * s->seq_reals + (size_t)g * head_reals(s->config, s->max_new);
    return (KeySpan){.n = t, .key_t = s->seq_key[layer] + at, .value = s->seq_value[layer] + at,
                     .value_stride = (size_t)s->max_new * LANES};
}

static void store_prompt_keys(void *to, int layer, const real *k, const real *v) {
    Cache *s = to;
    const int d = s->config->head_dim, heads = s->config->n_kv_head, ld = heads * d;
    for (int i = 0; i < s->batch->n_seg; i++) {
        const int p = s->first + i;
        for (int g = 0; g < heads; g++) {
            const KeySpan span = prompt_span(s, layer, p, g);
            const size_t row = (size_t)s->batch->seg[i].start * (size_t)ld + (size_t)(g * d);
            attention_transpose(span.key_t, k + row, span.n, ld, d);
            attention_columns(span.value, span.value_stride, v + row, span.n, ld, d);
        }
    }
}

/* How many of the prompts are computed at once: as many as fit into PREFILL_ROWS, at least one. */
static int prefill_chunk(int *rows, const int *length, int n) {
    int k = 0;
    for (*rows = 0; k < n && (!k || *rows + length[k] <= PREFILL_ROWS); k++) *rows += length[k];
    return k;
}

bool cache_prefill(Cache *c, real *last, const Model *m, const int *const *prompt, Err *e) {
    const size_t h = (size_t)m->config.hidden;
    bool ok = true;
    for (int first = 0, n, rows; ok && first < c->n_prompt; first += n) {
        n = prefill_chunk(&rows, c->prompt_length + first, c->n_prompt - first);
        int *id = malloc((size_t)rows * sizeof(int));
        Segment *seg = malloc((size_t)n * sizeof *seg);
        Acts *acts = id && seg ? acts_new(m, rows, 0, false, e) : NULL;
        ok = acts != NULL || fail(e, "prefill: no memory for %d rows", rows);
        for (int i = 0, at = 0; ok && i < n; at += seg[i++].n_row) {
            seg[i] = (Segment){.start = at, .n_row = c->prompt_length[first + i], .prefix = -1};
            memcpy(id + at, prompt[first + i], (size_t)seg[i].n_row * sizeof(int));
        }
        const Batch b = {.n_row = rows, .n_seg = n, .id = id, .seg = seg};
        if (ok && (ok = batch_check(&b, &m->config, e))) {
            c->first = first;
            c->batch = &b;
            c->prefill_held = acts_held(acts) > c->prefill_held ? acts_held(acts) : c->prefill_held;
            const real *hidden = model_forward_keys(acts, m, &b, store_prompt_keys, c);
            c->batch = NULL;
            tally_forward(m, &b, 0);
            for (int i = 0; i < n; i++)
                memcpy(last + (size_t)(first + i) * h, hidden + (size_t)(seg[i].start + seg[i].n_row - 1) * h,
                       h * sizeof(real));
        }
        acts_free(acts);
        free(seg);
        free(id);
    }
    memset(c->done, 0, (size_t)c->n_seq * sizeof(int));
    return ok;
}

/* E14 to E16 for one new row of each active sequence; parallel over (run of rows with the same prompt,
 * key/value head). */
static void cache_attention(void *context, int layer, const AttentionRows *y) {
    Cache *s = context;
    const ModelConfig *c = s->config;
    const int d = c->head_dim, heads = c->n_kv_head, ld = heads * d, q_ld = c->n_head * d,
              per = c->n_head / heads;
    const size_t work = (size_t)y->n_row * (size_t)q_ld * (s->score_cap / ATTENTION_TILE) / 4;
    (void)work;                         /* without OpenMP nobody asks */
    #pragma omp parallel for schedule(static) num_threads(s->n_thread) if (threads_worth(work))
    for (int unit = 0; unit < s->n_run * heads; unit++) {
        const int g = unit % heads, row = s->run[unit / heads], n = s->run[unit / heads + 1] - row;
        const KeySpan common = prompt_span(s, layer, s->prompt_of[s->active[row]], g);
        KeySpan own[RUN];
        for (int i = 0; i < n; i++) {
            const int q = s->active[row + i], t = s->done[q];
            const size_t at = (size_t)(row + i) * (size_t)ld + (size_t)(g * d);
            own[i] = seq_span(s, layer, q, g, t + 1);
            attention_transpose_one(own[i].key_t, t, y->k + at, d);
            attention_columns_one(own[i].value, own[i].value_stride, t, y->v + at, d);
        }
        for (int j = g * per; j < (g + 1) * per; j++) {
            const size_t at = (size_t)row * (size_t)q_ld + (size_t)(j * d);
            attend_apart(y->o + at, s->score + (size_t)thread_index() * s->score_cap, y->q + at, q_ld, n,
                         &common, own, d);
        }
    }
}

/* The step's rows in runs of at most RUN whose sequences share a prompt and are of one length. */
static void find_runs(Cache *c, const int *seq, int n) {
    c->n_run = 0;
    for (int i = 0; i < n; i++)
        if (!i || i - c->run[c->n_run - 1] == RUN || c->prompt_of[seq[i]] != c->prompt_of[seq[i - 1]] ||
            c->done[seq[i]] != c->done[seq[i - 1]])
            c->run[c->n_run++] = i;
    c->run[c->n_run] = n;
}

const real *decode_step(Cache *c, const Model *m, const int *seq, const int *id, int n) {
    for (int i = 0; i < n; i++) c->position[i] = c->prompt_length[c->prompt_of[seq[i]]] + c->done[seq[i]];
    c->active = seq;
    find_runs(c, seq, n);
    const real *hidden = model_rows(c->acts, m, id, c->position, n, cache_attention, c);
    double attended = 0, begun = 0;
    for (int i = 0; i < n; i++) {
        attended += c->position[i] + 1;
        begun += !c->done[seq[i]]++;
    }
    tally_rows(m, n, begun, attended);
    return hidden;
}

/* ---- one generation step ---- */

/* logits [n_model][LOGIT_ROWS, vocab]; plain: a copy of the first, NULL where there is no penalty */
typedef struct { real *logits, *plain; int *order; double *bias; } DrawScratch;
enum { MAX_MIXED = 16 };

/* The token at `position` of completion q from its logits z. With a penalty it is drawn from other logits
 * than those that logp speaks of. */
static void draw_one(Rollout *out, const RolloutPlan *p, int q, int position, real *z, real *plain, int vocab,
                     int *order, double *bias) {
    const int prompt = q / p->group_size, member = q % p->group_size;
    const size_t first = (size_t)q * (size_t)p->max_new, at = first + (size_t)position;
    const double u = rng_uniform(p->seed, RNG_SAMPLE, p->step, p->first_prompt + (uint64_t)prompt,
                                 (uint64_t)member, (uint64_t)position);
    real kept;
    if (plain) {
        memcpy(plain, z, (size_t)vocab * sizeof(real));
        sampler_penalise(z, plain, p->prompt[prompt], p->prompt_length[prompt], p->repetition_penalty);
        sampler_penalise(z, plain, out->id + first, position, p->repetition_penalty);
    }
    out->id[at] = sampler_draw(z, vocab, &p->sampling, u, &out->logp[at], &kept, order);
    if (plain) {
        const LogitStats t =
            logits_stats(plain, vocab, p->sampling.temperature == 0 ? 1 : p->sampling.temperature, false);
        out->logp[at] = plain[out->id[at]] - t.max - t.log_sum;
    }
    *bias += (double)kept - out->logp[at];
}

/* Logits of n rows: of hidden's rows as they stand, or, completions of one prompt sharing a row, of those
 * that row_of names: computed once, then copied. */
static void rows_logits(real *logits, const Model *m, const real *hidden, const int *row_of, int n) {
    const size_t vocab = (size_t)m->config.vocab, h = (size_t)m->config.hidden;
    int computed = row_of ? 0 : n;
    if (!row_of) head_logits(logits, m, hidden, n);
    else
        for (int i = 0; i < n; i++) {
            real *z = logits + (size_t)i * vocab;
            if (i && row_of[i] == row_of[i - 1]) memcpy(z, z - vocab, vocab * sizeof(real));
            else head_logits(z, m, hidden + (size_t)row_of[i] * h, 1), computed++;
        }
    tally_head(m, computed);
}

/* E250 of row i, in the place of the first policy's logits. */
static void mix_row(real *logits, const Mixture *x, size_t i, size_t vocab) {
    const real *row[MAX_MIXED];
    for (int k = 0; k < x->n; k++) row[k] = logits + ((size_t)k * LOGIT_ROWS + i) * vocab;
    mpo_mixture(logits + i * vocab, row, x->weight, x->n, (int)vocab);
}

/* Draws token `position` of the n sequences from their hidden rows under each policy; row_of (NULL: i) says
 * which row is whose. */
static void draw_all(Rollout *out, const Mixture *x, const RolloutPlan *p, const real *const *hidden,
                     const int *seq, const int *row_of, int n, int position, DrawScratch *s) {
    const size_t vocab = (size_t)x->model[0]->config.vocab;
    /* a prompt's row is computed once: its completions are not cut apart, if they fit */
    const int group = row_of && p->group_size <= LOGIT_ROWS ? p->group_size : 1,
              most = LOGIT_ROWS / group * group;
    for (int first = 0; first < n; first += most) {
        const int rows = n - first < most ? n - first : most;
        for (int k = 0; k < x->n; k++) {
            const Model *m = x->model[k];
            rows_logits(s->logits + (size_t)k * LOGIT_ROWS * vocab, m,
                        hidden[k] + (row_of ? 0 : (size_t)first * (size_t)m->config.hidden),
                        row_of ? row_of + first : NULL, rows);
        }
        #pragma omp parallel for schedule(static) if (threads_worth((size_t)rows * vocab))
        for (int i = 0; i < rows; i++) {
            const int q = seq[first + i];
            const size_t row = (size_t)i * vocab;
            if (p->mixture) mix_row(s->logits, x, (size_t)i, vocab);
            draw_one(out, p, q, position, s->logits + row, s->plain ? s->plain + row : NULL, (int)vocab,
                     s->order + row, &s->bias[q]);
        }
    }
}

static size_t logit_bytes(const ModelConfig *c) {
    return LOGIT_ROWS * (size_t)c->vocab * (sizeof(real) + sizeof(int));
}

static bool is_stop(const RolloutPlan *p, int id) {
    for (int i = 0; i < p->n_stop; i++)
        if (p->stop[i] == id) return true;
    return false;
}

/* Every policy of x takes the prompts, and none of them is another's. */
static bool mixture_fits(const Mixture *x, const RolloutPlan *p, Err *e) {
    if (x->n < 1 || x->n > MAX_MIXED)
        return fail(e, "rollout: %d policies, expected 1 to %d", x->n, MAX_MIXED);
    for (int k = 0; k < x->n; k++) {
        const ModelConfig *c = &x->model[k]->config;
        if (c->vocab != x->model[0]->config.vocab)
            return fail(e, "rollout: policy %d has a vocabulary of %d, the first one of %d", k + 1, c->vocab,
                        x->model[0]->config.vocab);
        for (int i = 0; i < p->n_prompt; i++)
            if (p->prompt_length[i] < 1 || p->prompt_length[i] + p->max_new > c->context)
                return fail(e,
                            "prompt %d: %d tokens and %d new ones, but the context holds %d; shorten the "
                            "prompt or --max-completion-length",
                            i + 1, p->prompt_length[i], p->max_new, c->context);
    }
    return true;
}

bool rollout(Rollout *out, const Model *m, const RolloutPlan *p, Err *e) {
    if (!(p->repetition_penalty >= 0))
        return fail(e, "rollout: repetition penalty %g: expected more than 0, or 0 for none",
                    p->repetition_penalty);
    if (p->n_prompt < 1 || p->group_size < 1 || p->max_new < 1)
        return fail(e,
                    "rollout: %d prompts, %d completions each, of up to %d tokens: expected at least 1 of "
                    "each",
                    p->n_prompt, p->group_size, p->max_new);
    const int n = p->n_prompt * p->group_size;
    const Mixture one = {&m, &(const double){1}, 1}, *x = p->mixture ? p->mixture : &one;
    if (!mixture_fits(x, p, e)) return false;
    const size_t vocab = (size_t)m->config.vocab, n_model = (size_t)x->n;
    bool ok = false;
    int *seq = malloc((size_t)n * 3 * sizeof(int)), *id = seq ? seq + n : NULL,
        *prompt_of = seq ? seq + 2 * n : NULL;
    real *last[MAX_MIXED] = {NULL};
    DrawScratch s = {.logits = memory_new(n_model * LOGIT_ROWS * vocab * sizeof(real), "logits", e),
                     .order = memory_new(LOGIT_ROWS * vocab * sizeof(int), "token order", e),
                     .bias = memory_new((size_t)n * sizeof(double), "rollout", e)};
    const bool penalise = p->repetition_penalty != 0 && p->repetition_penalty != 1;
    if (penalise) s.plain = memory_new(LOGIT_ROWS * vocab * sizeof(real), "logits before the penalty", e);
    Cache *cache[MAX_MIXED] = {NULL};
    if (!seq || !s.logits || !s.order || !s.bias || (penalise && !s.plain)) {
        fail(e, "rollout: no memory for %d completions", n);
        goto done;
    }
    for (int i = 0; i < n; i++)
        prompt_of[i] = i / p->group_size, seq[i] = i, out->length[i] = 0, out->ended[i] = false;
    const real *hidden[MAX_MIXED];
    for (int k = 0; k < x->n; k++) {
        const Model *of = x->model[k];
        hidden[k] = last[k] =
            memory_new((size_t)p->n_prompt * (size_t)of->config.hidden * sizeof(real), "rollout", e);
        cache[k] = last[k] ? cache_new(of, p->prompt_length, p->n_prompt, prompt_of, n, p->max_new, e) : NULL;
        if (!cache[k] || !cache_prefill(cache[k], last[k], of, p->prompt, e)) goto done;
    }

    for (int position = 0, active = n; active; position++) {
        draw_all(out, x, p, hidden, seq, position ? NULL : prompt_of, active, position, &s);
        int left = 0;
        for (int i = 0; i < active; i++) {
            const int q = seq[i], token = out->id[(size_t)q * (size_t)p->max_new + (size_t)position];
            out->length[q] = position + 1;
            out->ended[q] = is_stop(p, token);
            if (out->ended[q] || position + 1 == p->max_new) continue;
            seq[left] = q;
            id[left++] = token;
        }
        active = left;
        if (p->progress) p->progress(p->to, position + 1, active);
        for (int k = 0; active && k < x->n; k++)
            hidden[k] = decode_step(cache[k], x->model[k], seq, id, active);
    }
    double bias = 0, tokens = 0;
    for (int i = 0; i < n; i++) bias += s.bias[i], tokens += out->length[i];
    out->truncation_bias = bias / tokens;
    size_t prefill = 0;
    out->cache_held = 0;
    out->acts_held = logit_bytes(&m->config) + (n_model - 1) * LOGIT_ROWS * vocab * sizeof(real);
    for (int k = 0; k < x->n; k++) {
        out->cache_held += cache[k]->held - cache[k]->thread_bytes;
        out->acts_held += acts_held(cache[k]->acts);
        prefill = cache[k]->prefill_held > prefill ? cache[k]->prefill_held : prefill;
    }
    out->acts_held += prefill;
    ok = true;
done:
    for (int k = 0; k < x->n; k++) cache_free(cache[k]), memory_free(last[k]);
    memory_free(s.bias);
    memory_free(s.order);
    memory_free(s.plain);
    memory_free(s.logits);
    free(seq);
    return ok;
}

size_t rollout_bytes(const ModelConfig *c, int longest, int n_prompt, int group_size, int max_new) {
    const int n = n_prompt * group_size, rows = longest > PREFILL_ROWS ? longest : PREFILL_ROWS;
    int *length = malloc((size_t)n_prompt * sizeof(int));
    if (!length) return SIZE_MAX;
    for (int i = 0; i < n_prompt; i++) length[i] = longest;
    const size_t prefill = acts_bytes(c, rows, 0, false), decode = acts_bytes(c, n, 0, false);
    const size_t all = cache_bytes(c, length, n_prompt, n, max_new) + decode + prefill + logit_bytes(c);
    free(length);
    return all;
}

static size_t without_threads(const ModelConfig *c, int rows) {
    return acts_bytes(c, rows, 0, false) - acts_thread_bytes(c, rows, false);
}

size_t rollout_acts_bytes(const ModelConfig *c, const int *prompt_length, int n_prompt, int n_seq) {
    size_t prefill = 0;
    for (int first = 0, rows; first < n_prompt; ) {
        first += prefill_chunk(&rows, prompt_length + first, n_prompt - first);
        prefill = without_threads(c, rows) > prefill ? without_threads(c, rows) : prefill;
    }
    return without_threads(c, n_seq) + prefill + logit_bytes(c);
}

size_t rollout_more_bytes(const ModelConfig *c, int n_seq) {
    return without_threads(c, n_seq) + LOGIT_ROWS * (size_t)c->vocab * sizeof(real);
}
