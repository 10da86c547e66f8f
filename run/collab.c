/* collab.c: the search of Collab: at each token every agent's likely candidates are continued greedily to the
 * end, the scorer reads the texts, and the token whose text is best is taken (E254 to E257). All prompts go
 * in step. */
#include "run/collab.h"

#include <stdlib.h>
#include <string.h>

#include "baselines/collab.h"
#include "net/flops.h"
#include "net/logits.h"
#include "net/window.h"
#include "reward.h"

typedef struct {
    int prompt, agent, token;
    double logp, kl, q; /* of the agent's distribution: its logp, its divergence; the text's reward */
    double log_ratio;                   /* logp less the reference's */
    int *id, n;                         /* the text from the first token to the end of its continuation */
    bool ended;
    char *text;
} Candidate;

typedef struct {
    const CollabPlan *plan;
    const Example *x;
    CollabReply *reply;
    Ids *prompt;                        /* [n] */
    int *alive, n_alive;                /* prompts whose reply goes on */
    Candidate *candidate;               /* of a prompt side by side, agent by agent: the order of ties */
    int n_candidate;
    real *logp, *reference;             /* [n, vocab] of the states, under an agent and the reference */
} Search;

/* ---- distributions ---- */

/* The prompt and the reply so far. */
static bool state_ids(Ids *out, const Search *s, int i, Err *e) {
    const CollabReply *r = &s->reply[i];
    out->n = 0;
    for (int t = 0; t < s->prompt[i].n + r->n; t++)
        if (!ids_add(out, t < s->prompt[i].n ? s->prompt[i].id[t] : r->token[t - s->prompt[i].n], e))
            return false;
    return true;
}

/* States that a network read: one row of each gave logits. */
static void note_states(Costs *c, Net net, const Model *m, const Texts *t, const Acts *a, const Slice *x) {
    if (!c) return;
    cost_read(&c->predicted, net, &m->config, t);
    const double planned =
        cost_asked(&m->config, x->max_row, x->max_target) - (double)model_bytes(&m->config);
    cost_memory_most(&c->predicted, MEM_ACTIVATIONS, planned);
    cost_memory_most(&c->measured, MEM_ACTIVATIONS, (double)acts_held(a));
}

/* Log-probabilities of the next token in every state, [n_alive, vocab]. */
static bool next_logp(real *logp, const Search *s, Net net, const Model *m, Err *e) {
    const size_t vocab = (size_t)m->config.vocab;
    Window w = {0};
    Ids ids = {0};
    Slice x = {.max_row = 1024, .max_target = s->n_alive};
    Texts read = {0};
    Acts *a = NULL;
    int more = -1;
    bool ok = true;
    for (int i = 0; ok && i < s->n_alive; i++) {
        ok = state_ids(&ids, s, s->alive[i], e) && window_add(&w, ids.id, ids.n, -1, e) >= 0 &&
             window_target(&w, w.n_row - 1, 0, e);
        if (ids.n > x.max_row) x.max_row = ids.n;
        texts_sequence(&read, 0, ids.n, 1);
    }
    if (ok && (a = acts_new(m, x.max_row, x.max_target, false, e)))
        while ((more = slice_next(&x, &w, &m->config, e)) > 0) {
            const real *hidden = model_forward(a, m, &x.batch);
            tally_forward(m, &x.batch, x.batch.n_target);
            for (int i = 0; i < x.batch.n_target; i++) {
                real *z = logp + (size_t)(x.first_target + i) * vocab;
                head_logits(z, m, hidden + (size_t)x.batch.target_row[i] * (size_t)m->config.hidden, 1);
                logits_logp(z, m->config.vocab);
            }
        }
    if (more == 0) note_states(s->plan->cost, net, m, &read, a, &x);
    acts_free(a);
    window_free(&w);
    free(ids.id);
    return more == 0;
}

/* ---- candidates ---- */

/* E256: those of one agent; they lie at stride n_agent * top_k per prompt until candidates_pack closes the
 * gaps. */
static bool agent_proposes(Search *s, int agent, Err *e) {
    const CollabPlan *p = s->plan;
    const Model *m = p->agent[agent].model;
    const size_t vocab = (size_t)m->config.vocab;
    int token[256];
    if (!next_logp(s->logp, s, NET_POLICY, m, e)) return false;
    for (int i = 0; i < s->n_alive; i++) {
        const real *logp = s->logp + (size_t)i * vocab,
                   *reference = p->reference ? s->reference + (size_t)i * vocab : NULL;
        const double kl = reference ? collab_kl(logp, reference, m->config.vocab) : 0;
        const int n = collab_candidates(token, logp, m->config.vocab, p->top_k, p->top_p);
        for (int k = 0; k < n; k++)
            s->candidate[(i * p->n_agent + agent) * p->top_k + k] =
                (Candidate){.prompt = s->alive[i],
                            .agent = agent,
                            .token = token[k],
                            .logp = logp[token[k]],
                            .kl = kl,
                            .log_ratio = reference ? (double)logp[token[k]] - reference[token[k]] : 0,
                            .n = 1};
    }
    return true;
}

static void candidates_pack(Search *s) {
    const int places = s->n_alive * s->plan->n_agent * s->plan->top_k;
    s->n_candidate = 0;
    for (int i = 0; i < places; i++)
        if (s->candidate[i].n) s->candidate[s->n_candidate++] = s->candidate[i];
}

static bool ends_reply(const Speaker *a, int token) {
    for (int k = 0; k < a->n_stop; k++) if (a->stop[k] == token) return true;
    return false;
}

/* The reply so far and the candidate's token; what follows comes behind them. */
static bool begin_text(Candidate *c, const Search *s, Err *e) {
    const CollabReply *r = &s->reply[c->prompt];
    if (!(c->id = malloc((size_t)s->plan->max_new * sizeof(int))))
        return fail(e, "collab: no memory for a candidate");
    memcpy(c->id, r->token, (size_t)r->n * sizeof(int));
    c->id[r->n] = c->token;
    c->n = r->n + 1;
    c->ended = ends_reply(&s->plan->agent[c->agent], c->token);
    return true;
}

/* Texts that an agent continued, and what that took. */
static void note_continued(Costs *c, const Model *m, const Rollout *out, const int *n_id, int n, int room) {
    const ModelConfig *shape = &m->config;
    Texts t = {0};
    if (!c) return;
    for (int i = 0; i < n; i++) texts_prompt(&t, n_id[i]), texts_completion(&t, n_id[i], out->length[i]);
    cost_read(&c->predicted, NET_POLICY, shape, &t);
    cost_memory_most(&c->predicted, MEM_CACHE, cost_cache(shape, n_id, n, n, room));
    cost_memory_most(&c->predicted, MEM_ACTIVATIONS, (double)rollout_acts_bytes(shape, n_id, n, n));
    cost_memory_most(&c->measured, MEM_CACHE, (double)out->cache_held);
    cost_memory_most(&c->measured, MEM_ACTIVATIONS, (double)out->acts_held);
}

/* E255: the agent's own greedy continuation of its candidates, to the end. */
static bool continue_greedily(Search *s, int agent, int length, Err *e) {
    const Speaker *a = &s->plan->agent[agent];
    const int room = s->plan->max_new - length;
    Candidate **of = malloc((size_t)s->n_candidate * sizeof *of);
    const int **id = malloc((size_t)s->n_candidate * sizeof *id);
    int *n_id = malloc((size_t)s->n_candidate * sizeof(int)), n = 0;
    Ids *text = calloc((size_t)s->n_candidate, sizeof *text);
    Rollout out = {0};
    bool ok = (of && id && n_id && text) || fail(e, "collab: no memory for %d candidates", s->n_candidate);
    for (int i = 0; ok && room > 0 && i < s->n_candidate; i++) {
        Candidate *c = &s->candidate[i];
        if (c->agent != agent || c->ended) continue;
        of[n] = c;
        ok = state_ids(&text[n], s, c->prompt, e) && ids_add(&text[n], c->token, e);
        id[n] = text[n].id, n_id[n] = text[n].n;
        n++;
    }
    if (ok && n) {
        out = (Rollout){.id = malloc((size_t)n * (size_t)room * sizeof(int)),
                        .logp = malloc((size_t)n * (size_t)room * sizeof(real)),
                        .length = malloc((size_t)n * sizeof(int)),
                        .ended = malloc((size_t)n * sizeof(bool))};
        const RolloutPlan plan = {.prompt = id,
                                  .prompt_length = n_id,
                                  .n_prompt = n,
                                  .group_size = 1,
                                  .max_new = room,
                                  .stop = a->stop,
                                  .n_stop = a->n_stop,
                                  .sampling = {.top_p = 1}};
        ok = (out.id && out.logp && out.length && out.ended) ||
             fail(e, "collab: no memory for %d continuations", n);
        ok = ok && rollout(&out, a->model, &plan, e);
        if (ok) note_continued(s->plan->cost, a->model, &out, n_id, n, room);
    }
    for (int i = 0; ok && i < n; i++) {
        memcpy(of[i]->id + of[i]->n, out.id + (size_t)i * (size_t)room, (size_t)out.length[i] * sizeof(int));
        of[i]->n += out.length[i];
        of[i]->ended = out.ended[i];
    }
    for (int i = 0; text && i < s->n_candidate; i++) free(text[i].id);
    free(of), free(id), free(n_id), free(text);
    free(out.id), free(out.logp), free(out.length), free(out.ended);
    return ok;
}

/* The reward of every candidate's text. */
static bool read_texts(Search *s, Err *e) {
    const CollabPlan *p = s->plan;
    const size_t n = (size_t)s->n_candidate, n_label = (size_t)scorer_n_label(p->scorer);
    Completion *c = malloc(n * sizeof *c);
    real *score = malloc(n * (n_label + 1) * sizeof(real)), *q = score ? score + n * n_label : NULL;
    bool ok = (c && score) || fail(e, "collab: no memory for %zu scores", n);
    for (size_t i = 0; ok && i < n; i++) {
        Candidate *k = &s->candidate[i];
        ok = (k->text = decode_completion(&p->agent[k->agent].language, k->id, k->n, e)) != NULL;
        c[i] = (Completion){&s->x[k->prompt], k->text, k->ended};
    }
    ok = ok && scorer_score(p->scorer, score, c, (int)n, e);
    if (ok) reward_weighted_sum(q, score, p->weight, n, n_label, 1, MISSING_ZERO);
    for (size_t i = 0; ok && i < n; i++) s->candidate[i].q = q[i];
    free(c);
    free(score);
    return ok;
}

/* ---- a step ---- */

static void take(CollabReply *r, const Candidate *c, bool stop) {
    r->token[r->n] = c->token, r->agent[r->n] = c->agent;
    r->q[r->n] = c->q, r->logp[r->n] = c->logp, r->kl[r->n] = c->log_ratio;
    r->n++;
    r->ended = stop;
}

/* E257 for every prompt; those whose reply is complete fall out. */
static bool choose_tokens(Search *s, Err *e) {
    const CollabPlan *p = s->plan;
    double *promise = malloc((size_t)s->n_candidate * sizeof *promise);
    if (!promise) return fail(e, "collab: no memory for %d candidates", s->n_candidate);
    int left = 0;
    for (int first = 0, n; first < s->n_candidate; first += n) {
        const Candidate *c = &s->candidate[first];
        CollabReply *r = &s->reply[c->prompt];
        const int prompt = c->prompt;
        for (n = 0; first + n < s->n_candidate && c[n].prompt == prompt; n++) {
            promise[n] = collab_promise(c[n].q, p->alpha, c[n].kl);
            r->decoded += c[n].n - r->n;
        }
        c += collab_choose(promise, (size_t)n);
        take(r, c, ends_reply(&p->agent[c->agent], c->token));
        if (!r->ended && r->n < p->max_new) s->alive[left++] = prompt;
    }
    s->n_alive = left;
    free(promise);
    return true;
}

static void candidates_free(Search *s) {
    for (int i = 0; i < s->n_candidate; i++) free(s->candidate[i].id), free(s->candidate[i].text);
    s->n_candidate = 0;
}

static bool search_step(Search *s, Err *e) {
    const CollabPlan *p = s->plan;
    const int length = s->reply[s->alive[0]].n + 1;            /* all alive are as long */
    memset(s->candidate, 0, (size_t)s->n_alive * (size_t)(p->n_agent * p->top_k) * sizeof *s->candidate);
    if (p->reference && !next_logp(s->reference, s, NET_REFERENCE, p->reference, e)) return false;
    for (int k = 0; k < p->n_agent; k++) if (!agent_proposes(s, k, e)) return false;
    candidates_pack(s);
    for (int i = 0; i < s->n_candidate; i++) if (!begin_text(&s->candidate[i], s, e)) return false;
    for (int k = 0; k < p->n_agent; k++) if (!continue_greedily(s, k, length, e)) return false;
    return read_texts(s, e) && choose_tokens(s, e);
}

void collab_free(CollabReply *r) {
    free(r->token);
    free(r->q);
    *r = (CollabReply){.n = 0};
}

static bool reply_new(CollabReply *r, int max_new, Err *e) {
    const size_t n = (size_t)max_new;
    *r = (CollabReply){.token = malloc(2 * n * sizeof(int)), .q = malloc(3 * n * sizeof(double))};
    if (!r->token || !r->q) return fail(e, "collab: no memory for a reply of %d tokens", max_new);
    r->agent = r->token + n, r->logp = r->q + n, r->kl = r->q + 2 * n;
    return true;
}

static bool prompt_fits(const CollabPlan *p, const Example *x, int n, const char *path, Err *e) {
    for (int k = 0; k < p->n_agent; k++) {
        const int context = p->agent[k].model->config.context;
        if (n + p->max_new > context)
            return fail(
                e,
                "%s:%d: prompt of %d tokens and --max-completion-length %d exceed the context of %d; shorten "
                "one of them",
                path, x->line, n, p->max_new, context);
    }
    return true;
}

/* The networks, and the tokens of prompts and finished replies. */
static void note_held(const CollabPlan *p, const Search *s, int n) {
    Costs *c = p->cost;
    double planned = 0, held = 0, prompt = 0, completion = 0;
    for (int k = 0; k < p->n_agent; k++)
        planned += (double)model_bytes(&p->agent[k].model->config), held += (double)p->agent[k].model->held;
    for (int i = 0; i < n; i++) prompt += s->prompt[i].n, completion += s->reply[i].n;
    Cost *const both[] = {&c->predicted, &c->measured};
    for (int i = 0; i < 2; i++) {
        both[i]->prompt += prompt, both[i]->completion += completion;
        cost_memory_most(both[i], MEM_WEIGHTS, i ? held : planned);
        if (p->reference)
            cost_memory_most(both[i], MEM_REFERENCE,
                             i ? (double)p->reference->held : (double)model_bytes(&p->reference->config));
    }
}

bool collab(CollabReply *out, const CollabPlan *p, const Example *x, int n, const char *path,
            Progress *progress, Err *e) {
    const size_t vocab = (size_t)p->agent[0].model->config.vocab;
    Search s = {.plan = p,
                .x = x,
                .reply = out,
                .n_alive = n,
                .prompt = calloc((size_t)n, sizeof *s.prompt),
                .alive = malloc((size_t)n * sizeof(int)),
                .candidate = malloc((size_t)n * (size_t)(p->n_agent * p->top_k) * sizeof *s.candidate),
                .logp = memory_new((size_t)n * vocab * sizeof(real), "log-probabilities", e),
                .reference = p->reference
                                 ? memory_new((size_t)n * vocab * sizeof(real), "log-probabilities", e)
                                 : NULL};
    bool ok = s.prompt && s.alive && s.candidate && s.logp && (!p->reference || s.reference);
    if (!ok && !e->line[0]) fail(e, "collab: no memory for %d prompts", n);
    memset(out, 0, (size_t)n * sizeof *out);
    for (int i = 0; ok && i < n; i++) {
        s.alive[i] = i;
        ok = reply_new(&out[i], p->max_new, e) &&
             encode_prompt(&s.prompt[i], &p->agent[0].language, &x[i], e) &&
             prompt_fits(p, &x[i], s.prompt[i].n, path, e);
    }
    for (int t = 0; ok && s.n_alive; t++) {
        ok = search_step(&s, e);
        candidates_free(&s);
        if (progress) progress_at(progress, t + 1, NULL);
    }
    if (ok && p->cost) note_held(p, &s, n);
    for (int i = 0; s.prompt && i < n; i++) free(s.prompt[i].id);
    free(s.prompt), free(s.alive), free(s.candidate);
    memory_free(s.logp), memory_free(s.reference);
    return ok;
}
