/* chat.c: conversations as text and as tokens, as transformers' apply_chat_template gives them.
 *
 * In this order: the named templates, opening a folder's, messages as the template sees them, rendering, what
 * the template does around a reply, tokens. The language of templates is text/jinja.c's; tokens are made by
 * tokenizer.c. */
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/words.h"
#include "text/jinja.h"

/* ---- the named templates ---- */

const char chat_plain_template[] =
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.s = "
    "m['content'] + '\n' %}"
    "{% elif m['role'] == 'user' %}{{ '<user> ' + ns.s + m['content'] }}{% set ns.s = '' %}"
    "{% else %}{{ '<bot> ' + m['content'] + '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}";

#define CHATML                                                                                              \
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"   \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define CHATML_SYSTEM(text)                                                                                 \
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\n" text "<|im_end|>\n' }}{% endif %}" CHATML

/* An answer before the last question loses its thoughts; one after it shows them in one form, if there are
 * any or it is the last message. A user's turn that holds a tool's response is no question. */
#define QWEN3(think)                                                                                        \
    "{% set ns = namespace(question=messages|length - 1) %}{% for m in messages %}{% if m.role == 'user' "   \
    "and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}"        \
    "{% set ns.question = loop.index0 %}{% endif %}{% endfor %}"                                             \
    "{% for m in messages %}{% set text = m.content %}{% if m.role == 'assistant' %}"                        \
    "{% set thought = '' %}{% if '</think>' in text %}"                                                      \
    "{% set thought = text.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"           \
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"                                    \
    "{% if loop.index0 > ns.question and (loop.last or thought) %}"                                          \
    "{% set text = '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + text.lstrip('\n') %}"              \
    "{% endif %}{% endif %}{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{% endfor %}"         \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n" think "' }}{% endif %}"

#define LLAMA3(if_asked, end)                                                                               \
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"                                   \
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content|trim + '<|eot_id|>' }}"         \
    "{% endfor %}" if_asked "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}" end

/* end: the token that closes a turn; NULL: the tokenizer's end of text */
static const struct { const char *name, *end, *text; } named[] = {
    {"plain", "<end>", chat_plain_template},
    {"chatml", "<|im_end|>", CHATML},
    {"smollm2", "<|im_end|>",
     CHATML_SYSTEM("You are a helpful AI assistant named SmolLM, trained by Hugging Face")},
    {"qwen2", "<|im_end|>", CHATML_SYSTEM("You are a helpful assistant.")},
    {"qwen2.5", "<|im_end|>",
     CHATML_SYSTEM("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")},
    {"qwen3", "<|im_end|>", QWEN3("")},
    {"qwen3-no-think", "<|im_end|>", QWEN3("<think>\n\n</think>\n\n")},
    {"qwen3-2507", "<|im_end|>", CHATML},
    {"llama3", "<|eot_id|>", LLAMA3("{% if add_generation_prompt %}", "{% endif %}")},
    {"llama3-open", "<|eot_id|>", LLAMA3("", "")},
    {"zephyr", NULL,
     "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"}};
enum { N_NAMED = sizeof named / sizeof *named };

const char *chat_names(void) {
    static char all[256];
    size_t k = 0;
    for (int i = 0; i < N_NAMED; i++)
        k += (size_t)snprintf(all + k, sizeof all - k, "%s%s", !i ? "" : i + 1 < N_NAMED ? ", " : " or ",
                              named[i].name);
    return all;
}

const char *chat_named(const char *name) {
    for (int i = 0; i < N_NAMED; i++) if (strcmp(name, named[i].name) == 0) return named[i].text;
    return NULL;
}

/* ---- opening ---- */

enum { MAX_FIXED = 24, MAX_GIVEN = 16 };
struct Chat {
    const Tokenizer *t;
    Jinja *template;
    Json *config, *map;                 /* tokenizer_config.json and special_tokens_map.json */
    JinjaVariable fixed[MAX_FIXED];     /* the special tokens' names */
    int n_fixed, end, apart;
    size_t n_lead;
    char lead[16], date[11], name[80];
    bool parts;                         /* it reads content that is a list */
    char *text;
};

void chat_free(Chat *c) {
    if (!c) return;
    jinja_free(c->template);
    json_free(c->config), json_free(c->map);
    free(c->text), free(c);
}
const char *chat_text(const Chat *c) { return c->text; }
const char *chat_name(const Chat *c) { return c->name; }
int chat_end(const Chat *c) { return c->end; }

static bool keep_text(Chat *c, const char *s, size_t n, const char *name, Err *e) {
    if (!(c->text = malloc(n + 1))) return fail(e, "%s: no memory for %zu bytes", name, n);
    memcpy(c->text, s, n);
    c->text[n] = 0;
    snprintf(c->name, sizeof c->name, "%.79s", name);
    for (int i = 0; i < N_NAMED; i++)
        if (strcmp(c->text, named[i].text) == 0) snprintf(c->name, sizeof c->name, "%s", named[i].name);
    return true;
}

static bool read_extra(Json **out, const char *dir, const char *file, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, file, e)) return false;
    return !path_exists(path) || (*out = json_read_file(path, e)) != NULL;
}

static bool read_jinja(Chat *c, const char *path, const char *name, Err *e) {
    size_t n;
    char *s = file_read(path, &n, e);
    const bool ok = s && keep_text(c, s, n, name, e);
    free(s);
    return ok;
}

/* chat_template.jinja, or in tokenizer_config.json a text or a list of named ones, of which "default" counts.
 */
static bool read_own(Chat *c, const char *dir, Err *e) {
    char path[1024];
    if (!path_join(path, sizeof path, dir, "chat_template.jinja", e)) return false;
    if (path_exists(path)) return read_jinja(c, path, "the folder's own", e);
    const Json *v = json_get(c->config, "chat_template");
    for (size_t i = 0; v && v->type == JSON_ARRAY && i < v->length; i++) {
        const Json *name = json_get(&v->item[i], "name");
        if (name && name->type == JSON_STRING && strcmp(name->string, "default") == 0)
            v = json_get(&v->item[i], "template");
    }
    return !v || v->type != JSON_STRING || keep_text(c, v->string, v->length, "the folder's own", e);
}

/* A base model has no template: which one suits follows from the tokens that its tokenizer has. */
static bool none_there(const Chat *c, const char *dir, Err *e) {
    static const char *const suits[][2] = {{"<|im_end|>", "chatml"}, {"<|eot_id|>", "llama3"},
                                           {"<end>", "plain"}};
    const char *name = "zephyr", *token = NULL;
    for (int i = 2; i >= 0; i--)
        if (tokenizer_id(c->t, suits[i][0]) >= 0) token = suits[i][0], name = suits[i][1];
    return fail(e,
                "%s: chat template: none found, as with a base model; choose one with --chat-template %s "
                "(%s%s), or another: %s, or a FILE.jinja",
                dir, name,
                token ? "its tokenizer has " : "which needs no tokens of its own, only an end of text",
                token ? token : "", chat_names());
}

static bool read_choice(Chat *c, const char *dir, const char *choice, Err *e) {
    const char *names[N_NAMED];
    const size_t n = choice ? strlen(choice) : 0;
    if (n > 6 && strcmp(choice + n - 6, ".jinja") == 0) return read_jinja(c, choice, choice, e);
    for (int i = 0; choice && i < N_NAMED; i++) {
        names[i] = named[i].name;
        if (strcmp(choice, named[i].name)) continue;
        const char *end = named[i].end;
        if (end && tokenizer_id(c->t, end) < 0)
            return fail(e, "%s: the tokenizer lacks %s, with which template %s closes a turn; choose another "
                           "--chat-template", dir, end, choice);
        const bool ok = keep_text(c, named[i].text, strlen(named[i].text), choice, e);
        snprintf(c->name, sizeof c->name, "%s", choice);
        return ok;
    }
    if (!choice) return read_own(c, dir, e) && (c->text || none_there(c, dir, e));
    const char *near = nearest_name(choice, names, N_NAMED);
    return fail(e, "--chat-template: found %.60s, expected %s, or a FILE.jinja%s%s%s", choice, chat_names(),
                near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* bos_token and its like: texts, or objects with the text as content. */
static void add_tokens(Chat *c, const Json *file) {
    for (size_t i = 0; file && file->type == JSON_OBJECT && i < file->length; i++) {
        const Json *v = &file->item[i];
        const char *key = v->key;
        const size_t n = strlen(key);
        if (n < 6 || strcmp(key + n - 6, "_token")) continue;
        if (v->type == JSON_OBJECT) v = json_get(v, "content");
        if (v && v->type == JSON_STRING && c->n_fixed < MAX_FIXED)
            c->fixed[c->n_fixed++] = (JinjaVariable){key, v, false};
    }
}

static bool is_date(const char *s) {
    int y, m, d;
    return strlen(s) == 10 && sscanf(s, "%4d-%2d-%2d", &y, &m, &d) == 3 && y > 0 && m > 0 && m < 13 &&
           d > 0 && d < 32;
}

static bool find_end(Chat *c, const char *dir, const char *token, Err *e);
Chat *chat_open(const Tokenizer *t, const char *dir, const ChatChoice *choice, Err *e) {
    const ChatChoice own = {NULL, NULL, NULL}, *o = choice ? choice : &own;
    const char *date = o->date ? o->date : CHAT_DATE;
    char name[1100];
    Chat *c = calloc(1, sizeof *c);
    if (!c) { fail(e, "chat: no memory"); return NULL; }
    c->t = t, c->end = -1;
    snprintf(c->date, sizeof c->date, "%.10s", date);
    bool ok = is_date(date) || fail(e, "--template-date: found %.40s, expected a date as YYYY-MM-DD", date);
    ok = ok && read_extra(&c->map, dir, "special_tokens_map.json", e) &&
         read_extra(&c->config, dir, "tokenizer_config.json", e);
    add_tokens(c, c->map), add_tokens(c, c->config);
    ok = ok && read_choice(c, dir, o->template, e);
    snprintf(name, sizeof name, "%s: chat template%s%s", dir, o->template ? " " : "",
             o->template ? c->name : "");
    ok = ok && (c->template = jinja_parse(c->text, strlen(c->text), name, e)) && find_end(c, dir, o->end, e);
    if (ok) return c;
    chat_free(c);
    return NULL;
}

/* ---- messages as the template sees them ---- */

bool chat_role(const char *role) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function",
                                        "ipython"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) if (strcmp(role, roles[i]) == 0) return true;
    return false;
}
static bool is_role(const Message *m, const char *role) { return strcmp(m->role, role) == 0; }
static Json json_of(const char *key, const char *s) {
    return (Json){.type = JSON_STRING, .key = key, .string = s, .length = strlen(s)};
}

/* The thoughts go by several names: transformers gives a template all of them. */
static const Json *thoughts_of(const Json *row) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (int i = 0; i < 3; i++) {
        const Json *v = json_get(row, names[i]);
        if (v && v->type != JSON_NULL) return v;
    }
    return NULL;
}

/* Into item, which has room for the row's members and four more. `content` counts where the row's is no text
 * that the template reads. */
static Json message_json(const Chat *c, const Message *m, Json *item) {
    const Json *row = m->row, *thoughts = row ? thoughts_of(row) : NULL;
    Json v = {.type = JSON_OBJECT, .item = item};
    if (thoughts && !json_get(row, "thinking"))
        item[v.length] = *thoughts, item[v.length++].key = "thinking";
    for (size_t i = 0; row && i < row->length; i++) {
        const char *key = row->item[i].key;
        const bool content = strcmp(key, "content") == 0, list = row->item[i].type == JSON_ARRAY;
        if (thoughts && strcmp(key, "reasoning_content") == 0) continue;
        item[v.length++] = content && (list ? !c->parts : row->item[i].type == JSON_STRING)
                               ? json_of("content", m->content) : row->item[i];
    }
    if (thoughts) item[v.length] = *thoughts, item[v.length++].key = "reasoning_content";
    if (!row) item[v.length++] = json_of("role", m->role), item[v.length++] = json_of("content", m->content);
    return v;
}

/* ---- rendering ---- */

static int add_given(JinjaVariable *v, int n, const Json *row) {
    static const Json null = {.type = JSON_NULL};
    static const char *const lists[] = {"tools", "documents"};
    const Json *more = row ? json_get(row, "chat_template_kwargs") : NULL;
    for (int i = 0; i < 2; i++) {
        const Json *list = row ? json_get(row, lists[i]) : NULL;
        v[n++] = (JinjaVariable){lists[i], list && list->type == JSON_ARRAY ? list : &null, true};
    }
    for (size_t i = 0; more && more->type == JSON_OBJECT && i < more->length && i < MAX_GIVEN; i++)
        v[n++] = (JinjaVariable){more->item[i].key, &more->item[i], false};
    return n;
}

/* The messages, and `last` (NULL: none) behind them. */
static bool render(JinjaText *out, const Chat *c, Conversation v, const Message *last, bool generation_prompt,
                   Err *e) {
    size_t room = 0;
    const int n = v.n + (last != NULL);
    for (int i = 0; i < n; i++) {
        const Message *m = i < v.n ? &v.message[i] : last;
        room += (m->row ? m->row->length : 0) + 4;
        if (!chat_role(m->role))
            return fail(e, "chat: message %d: role: found \"%.40s\", expected user or another", i, m->role);
    }
    if (n < 1) return fail(e, "chat: no message, expected at least one");
    Json *list = malloc(((size_t)n + room) * sizeof *list);
    if (!list) return fail(e, "chat: no memory for %d messages", n);
    Json *item = list + n;
    for (int i = 0; i < n; i++) {
        list[i] = message_json(c, i < v.n ? &v.message[i] : last, item);
        item += list[i].length;
    }
    const Json messages = {.type = JSON_ARRAY, .item = list, .length = (size_t)n},
               flag = {.type = JSON_BOOL, .number = generation_prompt};
    JinjaVariable all[MAX_FIXED + MAX_GIVEN + 4];
    memcpy(all, c->fixed, sizeof c->fixed);
    int k = add_given(all, c->n_fixed, v.row);
    all[k++] = (JinjaVariable){"messages", &messages, true};
    all[k++] = (JinjaVariable){"add_generation_prompt", &flag, false};
    const bool ok = jinja_render(out, c->template, all, k, c->date, e);
    free(list);
    return ok;
}

char *chat_render(const Chat *c, Conversation v, bool generation_prompt, Err *e) {
    JinjaText t = {0};
    return render(&t, c, v, NULL, generation_prompt, e) ? t.text : NULL;
}

/* Behind the last byte that came from the messages. */
static size_t data_end(const JinjaText *t, size_t from) {
    size_t n = t->n;
    while (n > from && !(t->mark[n - 1] & JINJA_DATA)) n--;
    return n;
}

static bool is_prefill(Conversation v) {
    return v.n > 1 && is_role(&v.message[v.n - 1], "assistant") && *v.message[v.n - 1].content;
}

/* The text that a reply follows. */
static bool render_prompt(JinjaText *out, const Chat *c, Conversation v, Err *e) {
    if (!is_prefill(v)) return render(out, c, v, NULL, true, e);
    if (!render(out, c, v, NULL, false, e)) return false;
    out->n = data_end(out, 0);
    return true;
}

/* The whole, with the reply; after a prefill both are one message. */
static bool render_whole(JinjaText *out, const Chat *c, Conversation v, const Message *reply, Err *e) {
    if (!is_prefill(v)) return render(out, c, v, reply, false, e);
    const char *begun = v.message[--v.n].content;
    const size_t n = strlen(begun) + strlen(reply->content) + 1;
    char *content = malloc(n);
    if (!content) return fail(e, "chat: no memory for %zu bytes", n);
    snprintf(content, n, "%s%s", begun, reply->content);
    const Message both = {"assistant", content, NULL};
    const bool ok = render(out, c, v, &both, false, e);
    free(content);
    return ok;
}

/* ---- what the template does around a reply ---- */

/* The first added token that the template itself writes at or behind `from`: its place (or `to`), its id (or
 * -1) and how many bytes it has. */
static size_t own_token(const Tokenizer *t, const JinjaText *x, size_t from, size_t to, int *id, size_t *n) {
    for (; from < to; from++)
        if ((*id = tokenizer_added_at(t, x->text + from, to - from, n)) >= 0) {
            size_t k = 0;
            while (k < *n && !(x->mark[from + k] & JINJA_DATA)) k++;
            if (k == *n) return from;
        }
    *id = -1, *n = 0;
    return to;
}

/* The token that closes the turn, likewise. */
static size_t own_end(const Chat *c, const JinjaText *x, size_t from, size_t *n) {
    int id = -1;
    for (*n = 0;; ) {
        from = own_token(c->t, x, from + *n, x->n, &id, n);
        if (id < 0 || id == c->end) return from;
    }
}

/* Whether of content that is a list the template writes the text, and nothing else that was in it. */
static bool reads_parts(Chat *c) {
    Json part[] = {json_of("type", "text"), json_of("text", "x")},
         one = {.type = JSON_OBJECT, .item = part, .length = 2},
         list = {.type = JSON_ARRAY, .key = "content", .item = &one, .length = 1},
         item[] = {json_of("role", "user"), list},
         row = {.type = JSON_OBJECT, .item = item, .length = 2};
    const Message m = {"user", "x", &row};
    JinjaText t = {0};
    Err ignored = {{0}};
    c->parts = true;
    bool ok = render(&t, c, (Conversation){&m, 1, NULL}, NULL, true, &ignored);
    size_t n = 0;
    for (size_t i = 0; ok && i < t.n; i++) if (t.mark[i] & JINJA_DATA) n++, ok = t.text[i] == 'x';
    free(t.text);
    return ok && n == 1;
}

/* The token that closes the assistant's turn, and the blanks before its text, as the template writes them in
 * a small conversation; one that refuses it ends with the end of text. */
static bool find_end(Chat *c, const char *dir, const char *token, Err *e) {
    const Message question = {"user", "a", NULL}, answer = {"assistant", "b", NULL};
    const Conversation v = {&question, 1, NULL};
    JinjaText prompt = {0}, whole = {0};
    Err ignored = {{0}};
    size_t n;
    if (token && strcmp(token, "<EOS_TOKEN>") == 0) token = NULL;       /* TRL's word for none */
    if (token && (c->end = tokenizer_id(c->t, token)) < 0)
        return fail(e, "--eos-token: found %.60s, which the tokenizer of %s does not have", token, dir);
    if (render(&prompt, c, v, NULL, true, &ignored) && render(&whole, c, v, &answer, false, &ignored)) {
        if (!token) own_token(c->t, &whole, data_end(&whole, 0), whole.n, &c->end, &n);
        if (whole.n > prompt.n && memcmp(whole.text, prompt.text, prompt.n) == 0) {
            n = strspn(whole.text + prompt.n, " \t\n");
            if (whole.text[prompt.n + n] == 'b' && n < sizeof c->lead)
                memcpy(c->lead, whole.text + prompt.n, c->n_lead = n);
        }
    }
    free(prompt.text), free(whole.text);
    c->parts = reads_parts(c);
    if (c->end < 0) c->end = tokenizer_eos(c->t);
    return c->end >= 0 ||
           fail(e,
                "%s: chat template: closes a turn with no token, and the tokenizer names no eos_token; "
                "choose another --chat-template",
                dir);
}

size_t chat_lead(const Chat *c, const char *text) {
    return strncmp(text, c->lead, c->n_lead) == 0 ? c->n_lead : 0;
}

/* ---- tokens ---- */

/* A piece of the text is the beginning of it, stands behind an added token, or goes on. */
static int piece_place(const Tokenizer *t, const JinjaText *x, size_t from) {
    for (int k = 0; from && k < t->n_added; k++) {
        const size_t n = (size_t)t->added[k].n;
        if (n <= from && memcmp(x->text + from - n, t->added[k].text, n) == 0) return ENCODE_BEHIND;
    }
    return from ? ENCODE_INSIDE : 0;
}

static bool encode_piece(Ids *out, const Tokenizer *t, const JinjaText *x, size_t from, size_t to,
                         int special, Err *e) {
    return from == to ||
           tokenizer_encode(out, t, x->text + from, to - from, special | piece_place(t, x, from), e);
}

/* Between the template's own added tokens stands text in which no special one is seen. */
static bool encode_split(Ids *out, const Chat *c, const JinjaText *x, size_t from, size_t to, Err *e) {
    bool ok = true;
    while (ok && from < to) {
        int id;
        size_t n;
        const size_t at = own_token(c->t, x, from, to, &id, &n);
        ok = encode_piece(out, c->t, x, from, at, 0, e);
        from = at + n;
        if (id >= 0) ok = ok && ids_add(out, id, e);
    }
    return ok;
}

bool chat_encode(Ids *out, const Chat *c, Conversation v, bool split_special, Err *e) {
    JinjaText x = {0};
    bool ok = render_prompt(&x, c, v, e);
    ok = ok && (split_special ? encode_split(out, c, &x, 0, x.n, e)
                              : encode_piece(out, c->t, &x, 0, x.n, ENCODE_SPECIAL, e));
    free(x.text);
    return ok;
}

static bool only_blanks(const char *s, size_t n) { return strspn(s, " \t\n") >= n; }

int chat_apart(const Chat *c) { return c->apart; }

bool chat_encode_reply(Ids *out, Chat *c, Conversation v, const Message *reply, bool ended, Err *e) {
    JinjaText prompt = {0}, whole = {0};
    bool ok = render_prompt(&prompt, c, v, e) && render_whole(&whole, c, v, reply, e);
    if (ok && whole.n >= prompt.n && memcmp(whole.text, prompt.text, prompt.n) == 0) {
        const size_t from = prompt.n, text_end = data_end(&whole, from);
        size_t n, to = ended ? own_end(c, &whole, text_end, &n) : text_end;
        /* nothing said: nothing is learned but to end, whatever blanks the template writes */
        if (text_end == from && only_blanks(whole.text + from, to - from)) to = from;
        ok = encode_split(out, c, &whole, from, to, e);
    } else if (ok) {
        c->apart++;
        ok = tokenizer_encode(out, c->t, reply->content, strlen(reply->content),
                              piece_place(c->t, &prompt, prompt.n), e);
    }
    free(prompt.text), free(whole.text);
    return ok && (!ended || ids_add(out, c->end, e));
}

/* Marks the assistant's turns of the whole text by where each one's prompt ends. */
static bool mark_turns(JinjaText *whole, const Chat *c, Conversation v, Err *e) {
    bool ok = true;
    for (int i = 0; ok && i < v.n; i++) {
        JinjaText prompt = {0};
        const Conversation before = {v.message, i, v.row};
        if (!is_role(&v.message[i], "assistant")) continue;
        if (!i || !render(&prompt, c, before, NULL, true, e))
            return fail(e, "chat: an assistant's turn stands first; expected a user's before it");
        ok = (prompt.n <= whole->n && memcmp(prompt.text, whole->text, prompt.n) == 0) ||
             fail(e, "chat: turn %d: the template writes the conversation otherwise once it has gone on; "
                     "expected one that marks its turns with {%% generation %%}", i + 1);
        size_t n = 0, to = ok ? own_end(c, whole, prompt.n, &n) : 0;
        for (size_t k = prompt.n; k < to + n; k++) whole->mark[k] |= JINJA_GENERATION;
        free(prompt.text);
    }
    return ok;
}

bool chat_encode_turns(Ids *out, bool **learned, const Chat *c, Conversation v, Err *e) {
    JinjaText x = {0};
    const int first = out->n;
    bool ok = render(&x, c, v, NULL, false, e) &&
              (jinja_marks_generation(c->template) || mark_turns(&x, c, v, e));
    *learned = ok ? calloc(x.n + 1, sizeof **learned) : NULL;   /* a token stands for a byte at least */
    ok = ok && (*learned || fail(e, "chat: no memory for %zu tokens", x.n));
    for (size_t from = 0, to = 0; ok && from < x.n; from = to) {
        const bool own = x.mark[from] & JINJA_GENERATION;
        const int before = out->n;
        while (to < x.n && !(x.mark[to] & JINJA_GENERATION) == !own) to++;
        ok = own ? encode_split(out, c, &x, from, to, e)
                 : encode_piece(out, c->t, &x, from, to, ENCODE_SPECIAL, e);
        for (int i = before; own && i < out->n; i++) (*learned)[i - first] = true;
    }
    free(x.text);
    return ok;
}
