/* speaker.c: a policy's folder, and completions of prompts. */
#include "run/speaker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/words.h"
#include "run/scorer.h"

#define AT(member) offsetof(SpeakerOptions, member)
const Setting speaker_settings[] = {
    SETTINGS_HEADING("How policies answer"),
    {"num_generations", SET_INT, AT(num_generations), "1", NULL, "completions of each prompt"},
    {"max_completion_length", SET_INT, AT(max_completion_length), "256", NULL, "tokens at most"},
    {"temperature", SET_NUMBER, AT(sampling.temperature), "1", NULL, "0: greedy"},
    {"top_k", SET_INT, AT(sampling.top_k), "0", NULL, "0: off"},
    {"top_p", SET_NUMBER, AT(sampling.top_p), "1", NULL, "1: off"},
    {"min_p", SET_NUMBER, AT(sampling.min_p), "0", NULL, "0: off"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of the draws, the same for every policy"},
    {"chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template of the policies by name, or a FILE.jinja, in place of theirs"},
    {"template_date", SET_STRING, AT(chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message for prompts that have none"},
    SETTINGS_END};

bool speaker_language(Language *l, const char *dir, const ChatChoice *chat, Err *e) {
    ModelConfig c;
    if (!language_load(l, dir, chat, e) || !folder_config(&c, NULL, dir, e)) return false;
    return !c.n_label || fail(e, "%s: is a reward model; expected a language model", dir);
}

bool speaker_open(Speaker *s, const char *dir, const ChatChoice *chat, Err *e) {
    if (!speaker_language(&s->language, dir, chat, e) || !(s->model = folder_load(dir, &s->info, e)))
        return false;
    speaker_stops(s);
    return true;
}

static bool tokenizers_agree(const char *dir, const char *other, Err *e) {
    bool same;
    if (!folder_same_tokenizer(&same, dir, other, e)) return false;
    return same || fail(e, "%s: has another tokenizer than %s; policies that write one text need the same",
                        dir, other);
}

bool speakers_open(Speaker *s, int *n, int max, const char *folders, const ChatChoice *chat, Err *e) {
    char dir[1024], first[1024];
    const char *at = folders;
    for (*n = 0; next_folder(dir, &at); ++*n) {
        if (*n == max) return fail(e, "%s: found more than %d policies", folders, max);
        if (!*n) snprintf(first, sizeof first, "%s", dir);
        if (!speaker_open(&s[*n], dir, chat, e) || (*n && !tokenizers_agree(dir, first, e)))
            return false;
        if (s->model->config.vocab != s[*n].model->config.vocab)
            return fail(e, "%s: has a vocabulary of %d, %s one of %d", dir, s[*n].model->config.vocab, first,
                        s->model->config.vocab);
    }
    return *n > 0 || fail(e, "%s: found no policy, expected folders with commas", folders);
}

void speaker_close(Speaker *s) {
    model_free(s->model);
    language_free(&s->language);
}

void speaker_stops(Speaker *s) {
    s->n_stop = 0;
    for (int i = 0; i < s->info.n_stop; i++) s->stop[s->n_stop++] = s->info.stop[i];
    s->stop[s->n_stop++] = s->language.end_of_turn;
}

bool speaker_answer(Answers *a, const Speaker *s, const Example *x, int n, int first, int group, int max_new,
                    const Sampling *sampling, int seed, int step, const char *path, Err *e) {
    const size_t total = (size_t)n * (size_t)group, tokens = total * (size_t)max_new;
    const int **id = malloc((size_t)n * sizeof *id);
    int *length = malloc((size_t)n * sizeof(int));
    *a =
        (Answers){.n = n, .group = group, .max_new = max_new, .prompt = calloc((size_t)n, sizeof *a->prompt)};
    a->out = (Rollout){.id = malloc(tokens * sizeof(int)), .logp = malloc(tokens * sizeof(real)),
                       .length = malloc(total * sizeof(int)), .ended = malloc(total * sizeof(bool))};
    bool ok = (a->prompt && id && length && a->out.id && a->out.logp && a->out.length && a->out.ended) ||
              fail(e, "no memory for %zu completions", total);
    for (int i = 0; ok && i < n; i++) {
        ok = encode_prompt(&a->prompt[i], &s->language, &x[i], e);
        id[i] = a->prompt[i].id, length[i] = a->prompt[i].n;
        if (ok && length[i] + max_new > s->model->config.context)
            ok = fail(e,
                      "%s:%d: prompt of %d tokens and --max-completion-length %d exceed the context of %d; "
                      "shorten one of them",
                      path, x[i].line, length[i], max_new, s->model->config.context);
    }
    const RolloutPlan plan = {.mixture = s->mixture,
                              .prompt = id,
                              .prompt_length = length,
                              .n_prompt = n,
                              .group_size = group,
                              .max_new = max_new,
                              .stop = s->stop,
                              .n_stop = s->n_stop,
                              .sampling = *sampling,
                              .repetition_penalty = s->repetition_penalty,
                              .seed = (uint64_t)seed,
                              .step = (uint64_t)step,
                              .first_prompt = (uint64_t)first};
    ok = ok && rollout(&a->out, s->model, &plan, e);
    free(id);
    free(length);
    return ok;
}

Texts answers_texts(const Answers *a) {
    Texts t = {0};
    for (int i = 0; i < a->n; i++) {
        texts_prompt(&t, a->prompt[i].n);
        for (int k = i * a->group; k < (i + 1) * a->group; k++)
            texts_completion(&t, a->prompt[i].n, a->out.length[k]);
    }
    return t;
}

void answers_cost(Costs *c, const Answers *a, const Speaker *s, const Model *ref) {
    const ModelConfig *m = &s->model->config;
    const Networks net = {.policy = *m, .reference = ref ? ref->config : *m, .has_reference = ref != NULL};
    int *length = malloc((size_t)a->n * sizeof(int));
    const Texts t = answers_texts(a);
    for (int i = 0; i < a->n; i++) {
        if (length) length[i] = a->prompt[i].n;
        c->measured.prompt += a->prompt[i].n;
    }
    for (int k = 0; k < a->n * a->group; k++) c->measured.completion += a->out.length[k];
    cost_grpo(&c->predicted, &net, &t, &(Texts){0}, 0);
    double planned = 0, held = 0, cache = 0, acts = 0;
    const int n_seq = a->n * a->group, n_model = s->mixture ? s->mixture->n : 1;
    for (int k = 0; k < n_model; k++) {
        const Model *of = k ? s->mixture->model[k] : s->model;
        const bool is_ref = ref && of->memory == ref->memory;           /* whose weights are told there */
        if (k) cost_read(&c->predicted, NET_POLICY, &of->config, &t);
        if (!is_ref) planned += (double)model_bytes(&of->config), held += (double)of->held;
        if (length) cache += cost_cache(&of->config, length, a->n, n_seq, a->max_new);
        if (k) acts += (double)rollout_more_bytes(&of->config, n_seq);
        else if (length) acts += (double)rollout_acts_bytes(m, length, a->n, n_seq);
    }
    cost_memory_most(&c->predicted, MEM_WEIGHTS, planned);
    cost_memory_most(&c->measured, MEM_WEIGHTS, held);
    cost_memory_most(&c->measured, MEM_CACHE, (double)a->out.cache_held);
    cost_memory_most(&c->measured, MEM_ACTIVATIONS, (double)a->out.acts_held);
    cost_memory_most(&c->predicted, MEM_CACHE, cache);
    cost_memory_most(&c->predicted, MEM_ACTIVATIONS, acts);
    free(length);
}

void answers_free(Answers *a) {
    for (int i = 0; a->prompt && i < a->n; i++) free(a->prompt[i].id);
    free(a->prompt);
    free(a->out.id);
    free(a->out.logp);
    free(a->out.length);
    free(a->out.ended);
    *a = (Answers){.n = 0};
}

bool answers_kl(double *kl, Costs *cost, const Model *ref, const Answers *answers, int slice_rows,
                double temperature, Err *e) {
    const int n_prompt = answers->n, group = answers->group, max_new = answers->max_new;
    const Ids *prompt = answers->prompt;
    const Rollout *out = &answers->out;
    Window w = {0};
    const int n = n_prompt * group;
    size_t n_token = 0;
    int rows = slice_rows, at = 0;
    for (int c = 0; c < n; c++) n_token += (size_t)out->length[c];
    int *token = malloc(3 * n_token * sizeof(int)), *token_of = token ? token + n_token : NULL,
        *completion_of = token ? token_of + n_token : NULL;
    size_t *offset = calloc((size_t)n + 1, sizeof *offset);
    real *logp = malloc(2 * n_token * sizeof(real)), *old = logp ? logp + n_token : NULL;
    Acts *a = NULL;
    bool ok = (token && offset && logp) || fail(e, "no memory for %zu tokens", n_token);
    for (int c = 0; ok && c < n; c++) {                 /* without the gaps that Rollout has */
        const size_t length = (size_t)out->length[c];
        memcpy(token + offset[c], out->id + (size_t)c * (size_t)max_new, length * sizeof(int));
        memcpy(old + offset[c], out->logp + (size_t)c * (size_t)max_new, length * sizeof(real));
        offset[c + 1] = offset[c] + length;
    }
    for (int p = 0; ok && p < n_prompt; p++, at = w.n_row) {
        ok = window_group(&w, prompt[p].id, prompt[p].n, token, offset, p * group, group, token_of,
                          completion_of, e);
        rows = w.n_row - at > rows ? w.n_row - at : rows;
    }
    ok = ok && (a = acts_new(ref, rows, rows + n, false, e)) != NULL &&
         window_logp(logp, NULL, a, rows, rows + n, ref, &w, temperature == 0 ? 1 : temperature, e);
    for (int c = 0; c < n; c++) kl[c] = 0;
    for (int i = 0; ok && i < w.n_target; i++) kl[completion_of[i]] += (double)old[token_of[i]] - logp[i];
    if (ok) {
        cost_memory_most(&cost->predicted, MEM_REFERENCE, cost_asked(&ref->config, rows, rows + n));
        cost_memory_most(&cost->measured, MEM_REFERENCE, (double)ref->held + (double)acts_held(a));
    }
    free(token);
    free(offset);
    free(logp);
    acts_free(a);
    window_free(&w);
    return ok;
}

double answer_logp(const Answers *a, int i) {
    double sum = 0;
    for (int t = 0; t < a->out.length[i]; t++) sum += a->out.logp[(size_t)i * (size_t)a->max_new + (size_t)t];
    return sum;
}

char *answer_text(const Answers *a, const Speaker *s, int i, Err *e) {
    return decode_completion(&s->language, a->out.id + (size_t)i * (size_t)a->max_new, a->out.length[i], e);
}

void answer_put(JsonWriter *w, const Example *x, const char *text, bool ended, int length, double logp,
                const double *kl, const char *const *more, size_t n_more) {
    static const char *const ours[] = {"completion", "finish_reason", "completion_length", "logp", "kl"};
    json_begin(w, '{');
    for (size_t i = 0; x->row && i < x->row->length; i++) {
        const Json *v = &x->row->item[i];
        if (!name_among(v->key, ours, sizeof ours / sizeof *ours) && !name_among(v->key, more, n_more))
            json_put_value(w, v->key, v);
    }
    if (!x->row) json_put_string(w, "prompt", x->prompt[x->n_prompt - 1].content);
    json_put_string(w, "completion", text);
    json_put_string(w, "finish_reason", ended ? "stop" : "length");
    json_put_int(w, "completion_length", length);
    json_put(w, "logp", logp);
    if (kl) json_put(w, "kl", *kl);
}
