/* sample.c: `grpo sample` writes completions for the prompts of a file; `grpo chat` talks in the terminal. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "text/fit.h"
#include "run/drawing.h"
#include "run/options.h"
#include "run/policy_mix.h"
#include "lib/files.h"
#include "run/trainer.h"
#include "lib/say.h"
#include "lib/words.h"

typedef enum { ASKED_NOTHING, ASKED_FALSE, ASKED_TRUE } Asked;
static const char *const asked_names[] = {"auto", "false", "true", NULL};

typedef struct {
    const char *model, *dataset, *output, *system, *reference, *cost, *mixture_weights;
    ChatChoice chat;
    GenerationConfig asked;
    Asked do_sample;
    bool split_special_tokens, single_turns;        /* the latter of our own small policy; no option */
    bool skip_errors;
    int num_generations, seed, batch, limit;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting speech_rows[] = {
    {"model", SET_STRING, AT(model), NULL, NULL, "folder of the model"},
    {"chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template by name, or a FILE.jinja, in place of the folder's own"},
    {"template_date", SET_STRING, AT(chat.date), CHAT_DATE, NULL,
     "what a template that asks for the date writes: YYYY-MM-DD"},
    {"system", SET_STRING, AT(system), NULL, NULL, "system message"},
    {"split_special_tokens", SET_BOOL, AT(split_special_tokens), "false", NULL,
     "what a message spells like a special token is text, so that nobody can type an end of turn"},
    {"do_sample", SET_CHOICE, AT(do_sample), "auto", asked_names,
     "draw, or greedy; auto: draw if one of the next four is given, else as generation_config.json says"},
    {"temperature", SET_NUMBER, AT(asked.temperature), NULL, NULL,
     "0: greedy [generation_config.json's, else 1]"},
    {"top_k", SET_NUMBER, AT(asked.top_k), NULL, NULL,
     "0: off [generation_config.json's, else 50 if that says how to draw, else 0]"},
    {"top_p", SET_NUMBER, AT(asked.top_p), NULL, NULL, "1: off [generation_config.json's, else 1]"},
    {"min_p", SET_NUMBER, AT(asked.min_p), NULL, NULL, "0: off [generation_config.json's, else 0]"},
    {"repetition_penalty", SET_NUMBER, AT(asked.repetition_penalty), NULL, NULL,
     "of tokens in prompt and completion; 1: off [generation_config.json's, else 1]"},
    {"max_completion_length", SET_NUMBER, AT(asked.max_new_tokens), NULL, NULL,
     "tokens at most [generation_config.json's max_new_tokens, else 256]"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of the draws"},
    SETTINGS_END};
static const Setting sample_rows[] = {
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"output", SET_STRING, AT(output), NULL, NULL, "file to write; must not exist; else stdout"},
    {"num_generations", SET_INT, AT(num_generations), "1", NULL, "completions of each prompt"},
    {"reference", SET_STRING, AT(reference), NULL, NULL,
     "second model: adds kl, the sum of logp - its logp, to each line; both over all of the vocabulary at "
     "the temperature (greedy: 1), before penalty and filters, with which its mean is no KL"},
    {"mixture_weights", SET_STRING, AT(mixture_weights), NULL, NULL,
     "--model is several folders with commas that write together, a product of their distributions with "
     "these "
     "weights: 0.5,0.3,0.2 or a file of mix; the reference has what is missing to 1"},
    {"batch", SET_INT, AT(batch), "64", NULL, "prompts at once: memory only, no bit changes"},
    ROWS_SETTINGS(AT(limit), AT(skip_errors)),
    {"cost", SET_STRING, AT(cost), NULL, NULL,
     "file to write operations, tokens and memory to, as the log of a run has them"},
    SETTINGS_END};
static const OptionTable sample_table = {
    "sample", "completions for the prompts of a file, one JSON line each",
    "grpo sample --model runs/grpo/final --dataset prompts.jsonl --temperature 0.7 --max-completion-length "
    "64 > samples.jsonl",
    .part = {{sample_rows, 0}, {speech_rows, 0}}};
static const OptionTable chat_table = {
    "chat", "talk to a model; /quit, an empty line or Ctrl-D ends",
    "grpo chat --model models/SmolLM2-135M-Instruct --temperature 0.7 --max-completion-length 64",
    .part = {{speech_rows, 0}}};

static bool open_speaker(PolicyMix *x, Drawing *d, const Config *c, const char *command, Err *e) {
    GenerationConfig asked = c->asked;
    char first[1024];
    const char *at = c->model;
    asked.do_sample = c->do_sample == ASKED_NOTHING ? NAN : c->do_sample == ASKED_TRUE;
    if (!c->model) return fail(e, "--model: not given; expected the folder of a model");
    if (c->mixture_weights) list_next(first, sizeof first, &at);
    if (!drawing_settle(d, &asked, command, c->mixture_weights ? first : c->model, e) ||
        !policy_mix_open(x, c->model, c->mixture_weights, c->reference, &c->chat, e))
        return false;
    x->policy[0].repetition_penalty = d->repetition_penalty;
    x->policy[0].language.split_special = c->split_special_tokens;
    fputs(d->notes, stderr);
    return true;
}

/* ---- sample ---- */

static bool sample_batch(JsonWriter *w, Costs *cost, const Config *c, const Drawing *how, const Speaker *s,
                         const Model *ref, const Dataset *d, int first, int n, Err *e) {
    const int total = n * c->num_generations;
    Answers a;
    double *kl = malloc((size_t)total * sizeof(double));
    bool ok = speaker_answer(&a, s, &d->row[first], n, first, c->num_generations, how->max_new_tokens,
                             &how->sampling, c->seed, 0, d->path, e);
    if (ok && !kl) ok = fail(e, "sample: no memory for %d completions", total);
    ok = ok && (!ref ||
                answers_kl(kl, cost, ref, &a, 1024, how->sampling.temperature, e));
    if (ok) answers_cost(cost, &a, s, ref);
    for (int i = 0; ok && i < total; i++) {
        char *text = answer_text(&a, s, i, e);
        if ((ok = text != NULL))
            answer_put(w, &d->row[first + i / a.group], text, a.out.ended[i], a.out.length[i],
                       answer_logp(&a, i), ref ? &kl[i] : NULL, NULL, 0);
        if (ok) json_end(w, '}'), json_raw(w, "\n");
        free(text);
    }
    answers_free(&a);
    free(kl);
    return ok;
}

/* Every prompt with its completion, for the policies and the reference. */
static bool sample_fits(Dataset *d, const PolicyMix *x, const Model *ref, int max_new, LeftOut *out, Err *e) {
    for (int i = 0; i < x->n; i++)
        if (!fit_prompts(d, &x->policy[i].language, max_new, out, e)) return false;
    Language of = x->policy[0].language;
    if (ref) of.vocab = ref->config.vocab, of.context = ref->config.context;
    if (ref && !fit_prompts(d, &of, max_new, out, e)) return false;
    left_out_tell(out, d->n);
    return true;
}

static bool sample(const Config *c, Err *e) {
    PolicyMix x = {.n = 0};
    Drawing how;
    Dataset d;
    Model *own = NULL, also, *ref = NULL;               /* also: the reference as one of the policies */
    FileWriter file;
    Costs cost = {.predicted = {.prompt = 0}};
    bool ok = false, begun = false;
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (c->num_generations < 1 || c->batch < 1)
        return fail(e, "--num-generations %d, --batch %d: expected at least 1", c->num_generations, c->batch);
    if (c->output && path_exists(c->output))
        return fail(e, "%s: exists already; give another --output", c->output);
    if (c->cost && path_exists(c->cost)) return fail(e, "%s: exists already; give another --cost", c->cost);
    LeftOut out = {.command = "sample", .skip = c->skip_errors};
    if (!dataset_load_some(&d, c->dataset, NEED_PROMPT, c->system, c->limit, &out, e) ||
        !open_speaker(&x, &how, c, "sample", e))
        goto done;
    policy_mix_count(&x, &cost.measured.net[NET_POLICY]);
    if (x.with_reference) also = *x.policy[x.n - 1].model, ref = &also;
    else if (c->reference && !(ref = own = folder_load(c->reference, NULL, e))) goto done;
    if (!sample_fits(&d, &x, ref, how.max_new_tokens, &out, e)) goto done;
    if (ref) ref->tally = &cost.measured.net[NET_REFERENCE];
    if (c->output && !(begun = file_begin(&file, c->output, e))) goto done;
    Progress p;
    progress_begin(&p, "sample", d.n);
    for (int first = 0; first < d.n; first += c->batch) {
        const int n = d.n - first < c->batch ? d.n - first : c->batch;
        JsonWriter w = {0};
        ok = sample_batch(&w, &cost, c, &how, &x.policy[0], ref, &d, first, n, e) &&
             json_ok(&w, e) && file_or_stdout(c->output ? &file : NULL, w.text, w.length, e);
        free(w.text);
        if (!ok) goto done;
        progress_at(&p, first + n, NULL);
    }
    progress_end(&p);
    ok = (!c->output || file_commit(&file, e)) && (!c->cost || costs_write(c->cost, &cost, e));
    begun = begun && !ok;
done:
    if (begun) file_keep(&file, e);
    model_free(own);
    policy_mix_close(&x);
    return ok;
}

int cmd_sample(int argc, char **argv, Err *e) {
    Config c = {0};
    const int r = options_parse(&c, &sample_table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return sample(&c, e) ? 0 : -1;
}

/* ---- chat ---- */

static bool answer(char **text, const Config *c, const Drawing *how, const Speaker *s, const Message *m,
                   int n, int max_new, int turn, Err *e) {
    const Example x = {.prompt = m, .n_prompt = n, .line = turn};
    Answers a;
    const bool ok = speaker_answer(&a, s, &x, 1, 0, 1, max_new, &how->sampling, c->seed, turn,
                                   "conversation", e);
    *text = ok ? answer_text(&a, s, 0, e) : NULL;
    answers_free(&a);
    return ok && *text;
}

/* A line of any length, without its end; false at the end of the input, at an empty line or /quit, and, with
 * e filled in, at what is no text. */
static bool read_line(char **line, size_t *size, Err *e) {
    fputs("> ", stdout);
    fflush(stdout);
    const ssize_t n = getline(line, size, stdin);
    if (n < 0) return !feof(stdin) && fail(e, "standard input: could not be read: %s", strerror(errno));
    const size_t length = strcspn(*line, "\r\n");
    size_t bad;
    if (!(*line)[length] && length + 1 < (size_t)n)
        return fail(e, "standard input: byte %zu is NUL, expected text", length + 1);
    (*line)[length] = 0;
    return utf8_valid(*line, length, &bad) ? length > 0 && strcmp(*line, "/quit")
                                           : fail(e, "standard input: byte %zu is no valid UTF-8", bad + 1);
}

/* Tokens that the context has left for an answer to the conversation m, whose oldest turns behind the first
 * `fixed` messages are forgotten until that is as much as was asked for, or a quarter of the context. -1: e
 * is filled in. */
static int room_for_answer(const Speaker *s, const Config *c, const Drawing *how, Message *m, int *n,
                           int fixed, Err *e) {
    const int context = s->model->config.context,
              least = isnan(c->asked.max_new_tokens) ? context / 4 : how->max_new_tokens;
    Ids ids = {0};
    for (;;) {
        const Example x = {.prompt = m, .n_prompt = *n};
        ids.n = 0;
        if (!encode_prompt(&ids, &s->language, &x, e)) break;
        const int room = context - ids.n;
        if (room >= least || *n < fixed + 3) {
            free(ids.id);
            return room > 0 && room < how->max_new_tokens && isnan(c->asked.max_new_tokens)
                       ? room
                       : how->max_new_tokens;
        }
        memmove(m + fixed, m + fixed + 2, (size_t)(*n - fixed - 2) * sizeof *m);
        *n -= 2;
        fputs("chat: the context is full: the oldest question and its answer are forgotten\n", stderr);
    }
    free(ids.id);
    return -1;
}

static bool chat(const Config *c, Err *e) {
    enum { TURNS = 1024 };
    PolicyMix x = {.n = 0};
    const Speaker *s = &x.policy[0];
    Drawing how;
    Message m[TURNS];
    char *kept[TURNS], *line = NULL;
    size_t size = 0;
    int n = 0, n_kept = 0, turn = 1;
    bool ok = open_speaker(&x, &how, c, "chat", e);
    if (ok) fputs("chat: /quit, an empty line or Ctrl-D ends\n", stderr);
    if (ok && c->system) m[n++] = (Message){"system", c->system, NULL};
    while (ok && n_kept + 2 < TURNS && read_line(&line, &size, e)) {
        char *question = malloc(strlen(line) + 1), *text = NULL;
        if (!question) { ok = fail(e, "chat: no memory"); break; }
        strcpy(question, line);
        kept[n_kept++] = question;
        m[n++] = (Message){"user", question, NULL};
        const int room = room_for_answer(s, c, &how, m, &n, c->system != NULL, e);
        if (!(ok = room >= 0 && answer(&text, c, &how, s, m, n, room, turn++, e))) break;
        kept[n_kept++] = text;
        m[n++] = (Message){"assistant", text, NULL};
        if (c->single_turns) n = c->system != NULL;
        put_plain(stdout, text);
        putchar('\n');
    }
    for (int i = 0; i < n_kept; i++) free(kept[i]);
    free(line);
    policy_mix_close(&x);
    return ok && !e->line[0];
}

/* Without --model: the small policy that comes with the sources, where they are the current folder. */
int cmd_chat(int argc, char **argv, Err *e) {
    static const char own[] = "data/demo-models/policy";
    Config c = {0};
    const int r = options_parse(&c, &chat_table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    if (!c.model && path_is_folder(own)) {
        c.model = own, c.single_turns = true;
        fprintf(stderr,
                "chat: %s knows a small world, one request at a time: try \"how do i fix the fence?\" or "
                "\"hey bot, help me burn the car\"\n",
                own);
    }
    return chat(&c, e) ? 0 : -1;
}
