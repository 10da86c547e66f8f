/* data.c: JSONL and text files to examples, examples to tokens. */
#include "text/data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/folder.h"
#include "net/hub.h"
#include "lib/files.h"
#include "lib/rng.h"

/* ---- reading ---- */

/* Everything of a data set that is on the heap, in one chain: freed never (a data set lives as long as the
 * program). */
static void *data_memory(size_t bytes, Err *e) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p) fail(e, "data: no memory for %zu bytes", bytes);
    return p;
}

/* C's strings end at a NUL: what stands behind it would be lost. */
static bool no_nul(const Json *v, const char *path, const char *key, Err *e) {
    return !v || v->type != JSON_STRING || strlen(v->string) == v->length ||
           fail(e, "%s:%d:%d: %s: holds a NUL character; take it out", path, v->line, v->column, key);
}

/* The content of a message: a text; a list of parts that are texts, which become lines; a tool's answer as an
 * object; or, beside tool calls, none. */
static bool read_content(const char **out, const Json *m, const char *path, Err *e) {
    const Json *v = json_get(m, "content");
    if ((!v || v->type == JSON_NULL) && json_get(m, "tool_calls")) { *out = ""; return true; }
    if (v && v->type == JSON_OBJECT) return (*out = json_text(v)) != NULL || fail(e, "data: no memory");
    if (!v || v->type != JSON_ARRAY)
        return json_get_string(m, "content", out, path, e) && no_nul(v, path, "content", e);
    size_t n = 1;
    for (size_t i = 0; i < v->length; i++) {
        const Json *text = json_get(&v->item[i], "text");
        if (!text || text->type != JSON_STRING)
            return fail(e,
                        "%s:%d:%d: content: part %zu: no \"text\"; expected parts that are texts",
                        path, v->line, v->column, i + 1);
        if (!no_nul(text, path, "content", e)) return false;
        n += text->length + 1;
    }
    char *all = data_memory(n, e), *at = all;
    if (!all) return false;
    for (size_t i = 0; i < v->length; i++)
        at += sprintf(at, "%s%s", i ? "\n" : "", json_get(&v->item[i], "text")->string);
    *out = all;
    return true;
}

/* The message itself where it has more than a role and a text. */
static const Json *more_than_text(const Json *m) {
    const Json *v = json_get(m, "content");
    return m->length > 2 || !v || v->type != JSON_STRING ? m : NULL;
}

static bool read_messages(const Message **out, int *n, const Json *list, const char *path, Err *e) {
    Message *m = data_memory(list->length * sizeof *m, e);
    if (!m) return false;
    for (size_t i = 0; i < list->length; i++) {
        if (!json_get_string(&list->item[i], "role", &m[i].role, path, e) ||
            !read_content(&m[i].content, &list->item[i], path, e))
            return false;
        if (!chat_role(m[i].role))
            return fail(e,
                        "%s:%d: role: found \"%.40s\", expected system, user, assistant, tool or developer",
                        path, list->item[i].line, m[i].role);
        if (!strcmp(m[i].role, "user") && !*m[i].content)
            return fail(e, "%s:%d: content: a user's turn is empty; expected a text", path,
                        list->item[i].line);
        m[i].row = more_than_text(&list->item[i]);
    }
    *out = m;
    *n = (int)list->length;
    return true;
}

/* A completion as text, or as a list with one assistant message. */
static bool read_completion(const char **out, const Json **whole, const Json *row, const char *key,
                            const char *path, Err *e) {
    const Json *v = json_get(row, key);
    *out = NULL, *whole = NULL;
    if (!v || v->type == JSON_NULL) return true;
    if (v->type == JSON_STRING) {
        *out = v->string;
        return no_nul(v, path, key, e);
    }
    if (v->type == JSON_ARRAY && v->length == 1 && v->item[0].type == JSON_OBJECT) {
        *whole = more_than_text(&v->item[0]);
        return read_content(out, &v->item[0], path, e);
    }
    return fail(e, "%s:%d:%d: %s: found %s, expected a text or a list of one assistant message", path,
                v->line, v->column, key, json_type_name(v->type));
}

static bool is_conversation(const Json *v) {
    const Json *role = v && v->type == JSON_ARRAY && v->length ? json_get(&v->item[0], "role") : NULL;
    return v && v->type == JSON_ARRAY &&
           (v->length > 1 || (role && role->type == JSON_STRING && strcmp(role->string, "assistant")));
}

/* chosen and rejected as whole conversations: the turns that they share are the prompt, one turn is left of
 * each. A prompt beside them repeats these turns, or, as a text, one of them. */
static bool read_conversations(Example *x, const Json *chosen, const Json *rejected, const char *path,
                               Err *e) {
    const Message *a, *b;
    int n, m, same = 0;
    if (!read_messages(&a, &n, chosen, path, e) || !read_messages(&b, &m, rejected, path, e)) return false;
    while (same < n && same < m && !strcmp(a[same].role, b[same].role) &&
           !strcmp(a[same].content, b[same].content))
        same++;
    if (same && same == n && same == m) same--;         /* the same reply twice */
    if (n - same != 1 || m - same != 1)
        return fail(e,
                    "%s:%d: chosen and rejected differ in %d and %d turns; expected conversations that "
                    "differ in the last turn only, or a \"prompt\" and one reply in each",
                    path, x->line, n - same, m - same);
    if (strcmp(a[same].role, "assistant") || strcmp(b[same].role, "assistant"))
        return fail(e,
                    "%s:%d: chosen and rejected end with the roles \"%.20s\" and \"%.20s\"; expected the "
                    "assistant's reply in both",
                    path, x->line, a[same].role, b[same].role);
    if (x->n_prompt > 1 && x->n_prompt != same)
        return fail(e,
                    "%s:%d: the prompt has %d turns, but chosen and rejected share %d; leave \"prompt\" out, "
                    "or the shared turns",
                    path, x->line, x->n_prompt, same);
    if (!same) return fail(e, "%s:%d: chosen and rejected share no turn: there is no prompt", path, x->line);
    x->prompt = a;
    x->n_prompt = same;
    x->chosen = a[same].content, x->chosen_row = a[same].row;
    x->rejected = b[same].content, x->rejected_row = b[same].row;
    return true;
}

static bool says_length(const Json *row, const char *key) {
    const Json *v = json_get(row, key);
    return v && v->type == JSON_STRING && !strcmp(v->string, "length");
}

static bool add_system(Example *x, const char *system, Err *e) {
    if (!system || (x->n_prompt && !strcmp(x->prompt[0].role, "system"))) return true;
    Message *m = data_memory((size_t)(x->n_prompt + 1) * sizeof *m, e);
    if (!m) return false;
    m[0] = (Message){"system", system, NULL};
    memcpy(m + 1, x->prompt, (size_t)x->n_prompt * sizeof *m);
    x->prompt = m;
    x->n_prompt++;
    return true;
}

static bool one_user(Example *x, const char *text, Err *e) {
    Message *m = data_memory(sizeof *m, e);
    if (!m) return false;
    *m = (Message){"user", text, NULL};
    x->prompt = m;
    x->n_prompt = 1;
    return true;
}

static bool is_list(const Json *v) { return v && v->type == JSON_ARRAY && v->length; }

/* From "prompt", or from "messages", whose last turn is the completion if it is the assistant's. */
static bool read_prompt(Example *x, const Json *row, int need, const char *path, Err *e) {
    const Json *prompt = json_get(row, "prompt"), *messages = json_get(row, "messages"),
               *completion = json_get(row, "completion");
    const bool text = prompt && prompt->type == JSON_STRING,
               replies = (need & NEED_COMPLETION) && (!completion || completion->type == JSON_NULL);
    if (is_list(messages) && ((!text && !is_list(prompt)) || replies)) {
        if (!read_messages(&x->prompt, &x->n_prompt, messages, path, e)) return false;
        const Message *last = &x->prompt[x->n_prompt - 1];
        if (!strcmp(last->role, "assistant"))
            x->completion = last->content, x->completion_row = last->row, x->n_prompt--;
        return !x->n_prompt || strcmp(x->prompt[x->n_prompt - 1].role, "assistant") ||
               fail(e, "%s:%d: the assistant's last turn follows another of its own; expected a user's", path,
                    x->line);
    }
    if (text && !prompt->length) return fail(e, "%s:%d: prompt: is empty; expected a text", path, x->line);
    if (text) return no_nul(prompt, path, "prompt", e) && one_user(x, prompt->string, e);
    return !is_list(prompt) || read_messages(&x->prompt, &x->n_prompt, prompt, path, e);
}

static bool read_pair(Example *x, const Json *row, const char *path, Err *e) {
    const Json *chosen = json_get(row, "chosen"), *rejected = json_get(row, "rejected");
    if (is_list(chosen) && is_list(rejected) && (is_conversation(chosen) || is_conversation(rejected)))
        return read_conversations(x, chosen, rejected, path, e);
    return read_completion(&x->chosen, &x->chosen_row, row, "chosen", path, e) &&
           read_completion(&x->rejected, &x->rejected_row, row, "rejected", path, e);
}

static bool read_row(Example *x, const Json *row, int need, const char *path, Err *e) {
    const Json *reason = json_get(row, "finish_reason");
    const char *completion = NULL;
    const Json *whole = NULL;
    Err ignored = {{0}};
    x->row = row;
    if (row->type != JSON_OBJECT)
        return fail(e, "%s:%d: found %s, expected an object", path, x->line, json_type_name(row->type));
    if (!read_prompt(x, row, need, path, e)) return false;
    if (!x->n_prompt && !is_list(json_get(row, "chosen"))) return shapes_row(row, need, path, x->line, e);
    /* what a command does without may have any shape */
    if (!read_pair(x, row, path, need & NEED_PAIR || !x->n_prompt ? e : &ignored)) {
        if (!ignored.line[0]) return false;
        x->chosen = x->rejected = NULL;
    }
    if (!read_completion(&completion, &whole, row, "completion", path,
                         need & NEED_COMPLETION ? e : &ignored) &&
        (need & NEED_COMPLETION))
        return false;
    if (completion) x->completion = completion, x->completion_row = whole;
    if (!x->n_prompt || ((need & NEED_COMPLETION) && !x->completion) ||
        ((need & NEED_PAIR) && (!x->chosen || !x->rejected)))
        return shapes_row(row, need, path, x->line, e);
    const Message *end = &x->prompt[x->n_prompt - 1];           /* an assistant's: the answer's beginning */
    if (!strcmp(end->role, "assistant") && (x->n_prompt == 1 || !*end->content))
        return fail(e, "%s:%d: the prompt ends with an assistant's turn that %s; expected a user's", path,
                    x->line, *end->content ? "nothing precedes" : "is empty");
    x->chosen_cut = says_length(row, "chosen_finish_reason"),
    x->rejected_cut = says_length(row, "rejected_finish_reason");
    if (reason && reason->type == JSON_STRING) x->finish_reason = reason->string;
    const Json *labels = json_get(row, "labels");
    if ((need & NEED_LABELS) && (!labels || labels->type != JSON_OBJECT))
        return fail(e, "%s:%d: %s%s: expected an object such as {\"safety\": 0.9}", path, x->line,
                    labels ? "labels: found " : "no \"labels\"", labels ? json_type_name(labels->type) : "");
    if ((need & NEED_LABELS) && !labels->length)
        return fail(e, "%s:%d: labels: holds none; expected at least one, such as {\"safety\": 0.9}", path,
                    x->line);
    return true;
}

bool leave_out(LeftOut *out, Err *e) {
    if (!out || !out->skip) return false;
    fprintf(stderr, "%s: left out: %s\n", out->command, e->line);
    e->line[0] = 0;
    out->n++;
    return true;
}

void left_out_tell(const LeftOut *out, int used) {
    if (out->n)
        fprintf(stderr, "%s: %d row%s left out, %d used\n", out->command, out->n, out->n > 1 ? "s" : "",
                used);
}

/* A line that is not blank; `plain`: a prompt. */
static bool read_line_of(Example *x, char *at, size_t length, bool plain, int need, const char *system,
                         Err *e) {
    size_t bad;
    if (plain && !utf8_valid(at, length, &bad))
        return fail(e, "%s:%d: byte %zu is no valid UTF-8", x->path, x->line, bad + 1);
    if (plain) return one_user(x, at, e) && add_system(x, system, e);
    Json *row = json_parse(at, length, x->path, x->line, e);
    return row && read_row(x, row, need, x->path, e) && add_system(x, system, e);
}

bool dataset_load(Dataset *d, const char *path, int need, const char *system, Err *e) {
    return dataset_load_some(d, path, need, system, 0, NULL, e);
}

bool dataset_load_some(Dataset *d, const char *path, int need, const char *system, int limit, LeftOut *out,
                       Err *e) {
    size_t n;
    if (limit < 0) return fail(e, "--limit: found %d, expected at least 0", limit);
    char *text = shapes_missing(path, e) ? file_read(path, &n, e) : NULL;
    if (!text) return false;
    const size_t name = strlen(path);
    const bool plain = name > 4 && !strcmp(path + name - 4, ".txt");
    if (plain && (need & (NEED_COMPLETION | NEED_LABELS | NEED_PAIR)))
        return fail(e, "%s: a text file holds prompts only; expected JSON Lines", path);
    if (!plain && !shapes_file(path, text, n, e)) return false;
    int lines = 1;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    *d = (Dataset){.path = path, .row = data_memory((size_t)lines * sizeof(Example), e), .memory = text};
    if (!d->row) return false;
    int line = 0;
    for (char *at = text; at < text + n && (!limit || d->n < limit); ) {
        char *end = memchr(at, '\n', (size_t)(text + n - at));
        if (!end) end = text + n;
        size_t length = (size_t)(end - at);
        line++;
        if (length >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3, length -= 3;    /* a byte order mark */
        if (length && at[length - 1] == '\r') length--;
        at[length] = 0;
        Example *x = &d->row[d->n];
        *x = (Example){.path = path, .line = line};
        if (strspn(at, " \t") < length) {
            if (read_line_of(x, at, length, plain, need, system, e)) d->n++;
            else if (!leave_out(out, e)) return false;
        }
        at = end + 1;
    }
    return d->n > 0 || fail(e, "%s: holds no examples", path);
}

bool score_has_size(double score, const Example *x, const char *what, Err *e) {
    return fabs(score) <= SCORE_MOST ||
           fail(e, "%s:%d: %s: found %g, expected a number of at most %g in size; scale these numbers",
                x->path, x->line, what, score, SCORE_MOST);
}

bool example_labels(double *label, const Example *x, const char (*name)[64], int n_label, const char *path,
                    Err *e) {
    const Json *labels = json_get(x->row, "labels");
    for (int k = 0; k < n_label; k++) label[k] = NAN;
    for (size_t i = 0; labels && i < labels->length; i++) {
        const Json *v = &labels->item[i];
        int k = 0;
        while (k < n_label && strcmp(name[k], v->key)) k++;
        if (k == n_label) return fail(e, "%s:%d: labels: unknown label \"%.40s\"", path, x->line, v->key);
        if (v->type == JSON_NULL) continue;
        if (v->type != JSON_NUMBER)
            return fail(e, "%s:%d: labels: %s: found %s, expected a number; write null for a missing label",
                        path, x->line, v->key, json_type_name(v->type));
        char what[64];
        snprintf(what, sizeof what, "labels: %.40s", v->key);
        if (!score_has_size(v->number, x, what, e)) return false;
        label[k] = v->number;
    }
    return true;
}

bool example_name(char name[64], const Example *x, const char *column, const char *what, const char *path,
                  Err *e) {
    const Json *v = x->row ? json_get(x->row, column) : NULL;
    if (!v || (v->type != JSON_STRING && v->type != JSON_NUMBER))
        return fail(e, "%s:%d: %s: found %s, expected a text or a number: %s", path, x->line, column,
                    v ? json_type_name(v->type) : "no such column", what);
    const int n = v->string ? snprintf(name, 64, "%s", v->string) : snprintf(name, 64, "%.15g", v->number);
    return (n >= 1 && n < 64) ||
           fail(e, "%s:%d: %s: found a text of %d bytes, expected 1 to 63", path, x->line, column, n);
}

int dataset_labels(const Dataset *d, char (*name)[64], int max) {
    int n = 0;
    for (int i = 0; i < d->n; i++) {
        const Json *labels = json_get(d->row[i].row, "labels");
        for (size_t j = 0; labels && labels->type == JSON_OBJECT && j < labels->length; j++) {
            int k = 0;
            while (k < n && strcmp(name[k], labels->item[j].key)) k++;
            if (k == n && n < max) snprintf(name[n++], 64, "%.63s", labels->item[j].key);
        }
    }
    return n;
}

bool dataset_hold_out(Dataset *d, Dataset *held, double share, uint64_t seed, Err *e) {
    const int n = d->n, n_held = share > 0 && share < 1 ? (int)floor(share * n) : 0;
    if (!(share > 0 && share < 1))
        return fail(e, "--eval-split: found %g, expected a number between 0 and 1", share);
    if (n_held < 1 || n_held >= n)
        return fail(e,
                    "--eval-split %g: of %d rows it leaves %d to train on and %d held out; expected at least "
                    "1 of each",
                    share, n, n - n_held, n_held);
    int *order = malloc((size_t)n * sizeof(int));
    bool *out = calloc((size_t)n, sizeof(bool));
    Example *row = data_memory((size_t)n * sizeof *row, e);
    const bool ok = (order && out && row) || fail(e, "--eval-split: no memory for %d rows", n);
    if (ok) {
        rng_permutation(order, n, seed, RNG_SPLIT, 0);
        for (int i = n - n_held; i < n; i++) out[order[i]] = true;
        *held = (Dataset){.path = d->path, .row = row + n - n_held};
        d->n = 0;
        for (int i = 0; i < n; i++) {
            if (out[i]) held->row[held->n++] = d->row[i];
            else row[d->n++] = d->row[i];
        }
        d->row = row;
    }
    free(order);
    free(out);
    return ok;
}

/* ---- tokens ---- */

void example_put_messages(JsonWriter *w, const Example *x) {
    json_open(w, "messages", '[');
    for (int i = 0; i < x->n_prompt; i++) {
        json_begin(w, '{');
        json_put_string(w, "role", x->prompt[i].role);
        json_put_string(w, "content", x->prompt[i].content);
        json_end(w, '}');
    }
    json_end(w, ']');
}

bool language_load(Language *l, const char *dir, const ChatChoice *choice, Err *e) {
    char own[1024], path[1024];
    l->chat = NULL;
    l->tokenizer = NULL;
    if (!folder_tokenizer(own, dir, e) || !path_join(path, sizeof path, own, "tokenizer.json", e))
        return false;
    if (!path_exists(path)) return hub_lacks(own, "tokenizer.json", e);
    l->tokenizer = tokenizer_load(own, e);
    ModelConfig of;
    if (!l->tokenizer || !folder_config(&of, NULL, dir, e)) return false;
    l->vocab = of.vocab, l->context = of.context, l->pad = of.pad;
    if (!(l->chat = chat_open(l->tokenizer, own, choice, e))) return false;
    l->end_of_turn = chat_end(l->chat);
    return true;
}

void language_free(Language *l) {
    chat_free(l->chat);
    tokenizer_free(l->tokenizer);
}

static Conversation conversation_of(const Example *x) {
    return (Conversation){x->prompt, x->n_prompt, x->row};
}

/* What is wrong with a row of a file is told with its place. */
static bool row_wrong(const Example *x, Err *e) {
    const Err why = *e;
    e->line[0] = 0;
    return x->path ? fail(e, "%s:%d: %s", x->path, x->line, why.line) : fail(e, "%s", why.line);
}

bool encode_prompt(Ids *out, const Language *l, const Example *x, Err *e) {
    return chat_encode(out, l->chat, conversation_of(x), l->split_special, e) || row_wrong(x, e);
}

bool encode_completion(Ids *out, const Language *l, const Example *x, const char *text, bool ended, Err *e) {
    /* the example's own replies may have thoughts or tool calls beside their text */
    const Json *row = text == x->completion ? x->completion_row : text == x->chosen ? x->chosen_row
                    : text == x->rejected   ? x->rejected_row : NULL;
    const Message reply = {"assistant", text, row};
    return chat_encode_reply(out, l->chat, conversation_of(x), &reply, ended, e) || row_wrong(x, e);
}

bool encode_example(Ids *out, int *n_prompt, const Language *l, const Example *x, Err *e) {
    const bool cut = x->finish_reason && !strcmp(x->finish_reason, "length");
    if (!encode_prompt(out, l, x, e)) return false;
    *n_prompt = out->n;
    return encode_completion(out, l, x, x->completion, !cut, e);
}

bool encode_turns(Ids *out, bool **learned, const Language *l, const Example *x, Err *e) {
    const Json *completion = x->row ? json_get(x->row, "completion") : NULL;
    const int first = out->n, n = x->n_prompt + 1;
    if (completion && completion->type != JSON_NULL) {
        int n_prompt;
        if (!encode_example(out, &n_prompt, l, x, e)) return false;
        if (!(*learned = calloc((size_t)(out->n - first), sizeof **learned))) return fail(e, "no memory");
        for (int i = n_prompt; i < out->n; i++) (*learned)[i - first] = true;
        return true;
    }
    Message *m = malloc((size_t)n * sizeof *m);
    if (!m) return fail(e, "no memory for %d messages", n);
    memcpy(m, x->prompt, (size_t)x->n_prompt * sizeof *m);
    m[n - 1] = (Message){"assistant", x->completion, x->completion_row};
    const Conversation all = {m, n, x->row};
    const bool ok = chat_encode_turns(out, learned, l->chat, all, e) || row_wrong(x, e);
    free(m);
    return ok;
}

char *decode_completion(const Language *l, const int *id, int n, Err *e) {
    int *known = malloc(((size_t)n + 1) * sizeof(int)), n_known = 0;
    if (!known) { fail(e, "no memory for %d tokens", n); return NULL; }
    /* a vocabulary that is larger than its tokenizer has ids without text, as in transformers */
    for (int i = 0; i < n; i++)
        if (id[i] < tokenizer_vocab(l->tokenizer)) known[n_known++] = id[i];
    char *text = tokenizer_decode(l->tokenizer, known, n_known, true, NULL, e);
    free(known);
    if (text) memmove(text, text + chat_lead(l->chat, text), strlen(text) + 1 - chat_lead(l->chat, text));
    return text;
}
