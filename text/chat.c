/* chat.c: conversations as text, exactly as transformers' apply_chat_template renders them for the families
 * known here.
 *
 * In this order: the known templates by the SHA-256 of their text, names, a growing text, the rendering of
 * each family, encoding. A template is a program in Jinja's language; instead of running it, its text is
 * recognised and what it writes for messages of the roles system, user and assistant, without tools, is
 * written here. tests/parity/test_tokenizer.py compares with transformers. Not here: tokens (tokenizer.c). */
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unicode.h"
#include "lib/words.h"

const char chat_plain_template[] =
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.s = "
    "m['content'] + '\n' %}"
    "{% elif m['role'] == 'user' %}{{ '<user> ' + ns.s + m['content'] }}{% set ns.s = '' %}"
    "{% else %}{{ '<bot> ' + m['content'] + '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}";

/* ---- known templates (one line end at the close left out, which Jinja ignores) ---- */

static const struct { const char *sha256; ChatTemplate family;
} known[] = {
    {"84819a89270de9de04799a65cefcbf02d1e1d0d69ade793989dcf4a4f49b755a",
     CHAT_PLAIN}, /* the tokenizers trained by grpo init */
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
     CHAT_CHATML_SMOLLM2}, /* SmolLM2-Instruct */
    {"de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221",
     CHAT_CHATML_SMOLLM2}, /* the same, line ends written as escapes */
    {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb", CHAT_QWEN2}, /* Qwen2-Instruct */
    {"f0206845c9ebc3abb4735d44f286eb81ce99238ad2accc710c6fc60e6cb8ccc8",
     CHAT_QWEN2}, /* the same, line ends written as escapes */
    {"55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a", CHAT_QWEN25}, /* Qwen2.5-Instruct */
    {"f3714f7117c9d447db80ceb3fcb67a64ba08d149dd4434fe53add9c7f1dd344b",
     CHAT_QWEN25}, /* the same, with TRL's marks for loss masks */
    {"a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8", CHAT_QWEN3}, /* Qwen3, later text */
    {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5", CHAT_QWEN3}, /* Qwen3, first text */
    {"64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326",
     CHAT_QWEN3_2507}, /* Qwen3-Instruct-2507 */
    {"48e17aa3caf5bf20075b6e7366864ee943e00b6f0752aadfe8b670c2ab0291a5",
     CHAT_QWEN3_2507}, /* the same, with TRL's marks for loss masks */
    {"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122", CHAT_LLAMA3}, /* Llama-3-Instruct */
    {"bc213ef03ac49e40c58b11933b109235e63d25f13e7cd4df966c577966d2345e",
     CHAT_LLAMA3}, /* the same, with TRL's marks for loss masks */
    {"b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2",
     CHAT_LLAMA3_OPEN}, /* Llama-3, first text: always opens the assistant's turn */
};

static const char *const name[CHAT_UNKNOWN] = {[CHAT_PLAIN] = "plain",
                                               [CHAT_CHATML_SMOLLM2] = "smollm2",
                                               [CHAT_QWEN2] = "qwen2",
                                               [CHAT_QWEN25] = "qwen2.5",
                                               [CHAT_QWEN3] = "qwen3",
                                               [CHAT_QWEN3_NO_THINK] = "qwen3-no-think",
                                               [CHAT_QWEN3_2507] = "qwen3-2507",
                                               [CHAT_LLAMA3] = "llama3",
                                               [CHAT_LLAMA3_OPEN] = "llama3-open"};

static const char *choices(char *out, size_t size) {
    size_t k = 0;
    for (int i = 0; i < CHAT_UNKNOWN && k < size; i++)
        k += (size_t)snprintf(out + k, size - k, "%s%s",
                              i == 0                 ? ""
                              : i + 1 < CHAT_UNKNOWN ? ", "
                                                     : " or ",
                              name[i]);
    return out;
}

bool chat_template_parse(ChatTemplate *c, const char *text, Err *e) {
    char all[256];
    for (int i = 0; i < CHAT_UNKNOWN; i++)
        if (strcmp(text, name[i]) == 0) {
            *c = (ChatTemplate)i;
            return true;
        }
    const char *near = nearest_name(text, name, CHAT_UNKNOWN);
    return fail(e, "--chat-template: found %.60s, expected %s%s%s%s", text, choices(all, sizeof all),
                near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

const char *chat_template_name(ChatTemplate c) {
    return (int)c >= 0 && c < CHAT_UNKNOWN ? name[c] : "unknown";
}

bool chat_template_find(ChatTemplate *c, const Tokenizer *t, Err *e) {
    const char *hash = tokenizer_template_hash(t);
    char all[256];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(hash, known[i].sha256) == 0) {
            *c = known[i].family;
            return true;
        }
    *c = CHAT_UNKNOWN;
    if (!*hash)
        return fail(e,
                    "chat template: none found in the tokenizer's folder; choose one with --chat-template: "
                    "%s",
                    choices(all, sizeof all));
    return fail(e,
                "chat template: the folder's (SHA-256 %.12s...) is none of those known; choose one with "
                "--chat-template: %s",
                hash, choices(all, sizeof all));
}

int chat_end_of_turn(ChatTemplate c, const Tokenizer *t) {
    switch (c) {
    case CHAT_PLAIN: return tokenizer_id(t, "<end>");
    case CHAT_LLAMA3: case CHAT_LLAMA3_OPEN: return tokenizer_id(t, "<|eot_id|>");
    case CHAT_UNKNOWN: return -1;
    default: return tokenizer_id(t, "<|im_end|>");
    }
}

/* ---- a growing text ---- */

/* mark: where each of the template's own special tokens begins and ends, if they are tokens of t; NULL: not
 * wanted. */
typedef struct { char *s; size_t n, capacity, *mark; int n_mark; const Tokenizer *t; bool failed; } Text;

static void text_add_n(Text *w, const char *s, size_t n) {
    if (w->failed) return;
    if (n >= w->capacity - w->n) {                              /* a place for the NUL too */
        const size_t more = 2 * (w->n + n) + 256;
        char *p = realloc(w->s, more);
        if (!p) { w->failed = true; return; }
        w->s = p, w->capacity = more;
    }
    memcpy(w->s + w->n, s, n);
    w->s[w->n += n] = 0;
}

static void text_add(Text *w, const char *s) { text_add_n(w, s, strlen(s)); }

static void text_special(Text *w, const char *token) {
    const bool marked = w->mark && tokenizer_id(w->t, token) >= 0;
    if (marked) w->mark[w->n_mark++] = w->n;
    text_add(w, token);
    if (marked) w->mark[w->n_mark++] = w->n;
}

static bool is_role(const Message *m, const char *role) { return strcmp(m->role, role) == 0; }

/* ---- plain ---- */

/* A system message stands before the next user message, on a line of its own. */
static void render_plain(Text *w, const Message *m, int n, bool generation_prompt) {
    const char *system = NULL;
    for (int i = 0; i < n; i++) {
        if (is_role(&m[i], "system")) { system = m[i].content; continue; }
        const bool user = is_role(&m[i], "user");
        text_special(w, user ? "<user>" : "<bot>"), text_add(w, " ");
        if (user && system) text_add(w, system), text_add(w, "\n"), system = NULL;
        text_add(w, m[i].content);
        if (!user) text_special(w, "<end>");
    }
    if (generation_prompt) text_special(w, "<bot>");
}

/* ---- ChatML: SmolLM2, Qwen ---- */

static void text_turn(Text *w, const char *role, const char *content) {
    text_special(w, "<|im_start|>"), text_add(w, role), text_add(w, "\n"), text_add(w, content);
    text_special(w, "<|im_end|>"), text_add(w, "\n");
}

static void open_assistant(Text *w) { text_special(w, "<|im_start|>"), text_add(w, "assistant\n"); }

/* Without a system message in the first place, the family's own; NULL: none. */
static void render_chatml(Text *w, const Message *m, int n, bool generation_prompt, const char *system) {
    if (system && !is_role(&m[0], "system")) text_turn(w, "system", system);
    for (int i = 0; i < n; i++) text_turn(w, m[i].role, m[i].content);
    if (generation_prompt) open_assistant(w);
}

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }
static bool ends(const char *s, const char *with) {
    return strlen(s) >= strlen(with) && strcmp(s + strlen(s) - strlen(with), with) == 0;
}

static const char *last_of(const char *s, const char *end,
                           const char *what) { /* its last place within s..end, or NULL */
    const size_t n = strlen(what);
    for (const char *p = end; (size_t)(p - s) >= n; p--) if (memcmp(p - n, what, n) == 0) return p - n;
    return NULL;
}

/* Qwen3: an answer before the last question loses its thoughts; one after it shows them in one form, if there
 * are any or it is the last message. A user's turn that holds a tool's response is no question. */
static void render_qwen3(Text *w, const Message *m, int n, bool generation_prompt, bool think) {
    static const char open[] = "<think>", close[] = "</think>";
    int question = n - 1;
    for (int i = n; i-- > 0; )
        if (is_role(&m[i], "user") &&
            !(begins(m[i].content, "<tool_response>") && ends(m[i].content, "</tool_response>"))) {
            question = i;
            break;
        }
    for (int i = 0; i < n; i++) {
        if (!is_role(&m[i], "assistant")) { text_turn(w, m[i].role, m[i].content); continue; }
        const char *content = m[i].content, *thought = "", *thought_end = thought,
                   *first = strstr(content, close);
        if (first) {
            thought_end = first;
            const char *opened = last_of(content, thought_end, open);
            thought = opened ? opened + strlen(open) : content;
            while (thought < thought_end && *thought == '\n') thought++;
            content = last_of(content, content + strlen(content), close) + strlen(close);
            while (*content == '\n') content++;
        }
        open_assistant(w);
        if (i > question && (i + 1 == n || thought < thought_end)) {
            while (thought_end > thought && thought_end[-1] == '\n') thought_end--;
            while (*content == '\n') content++;
            text_special(w, "<think>"), text_add(w, "\n");
            text_add_n(w, thought, (size_t)(thought_end - thought));
            text_add(w, "\n"), text_special(w, "</think>"), text_add(w, "\n\n");
        }
        text_add(w, content), text_special(w, "<|im_end|>"), text_add(w, "\n");
    }
    if (generation_prompt) open_assistant(w);
    if (generation_prompt && !think)
        text_special(w, "<think>"), text_add(w, "\n\n"), text_special(w, "</think>"), text_add(w, "\n\n");
}

/* ---- Llama-3 ---- */

/* what str.strip() removes */
static bool python_space(uint32_t c) { return unicode_space(c) || (c >= 0x1C && c <= 0x1F); }

/* The content without blanks at either end. */
static void text_trimmed(Text *w, const char *s) {
    size_t n = strlen(s), used, first = 0, end = 0;
    while (first < n && python_space(utf8_next(s + first, n - first, &used))) first += used;
    for (size_t i = first; i < n; i += used)
        if (!python_space(utf8_next(s + i, n - i, &used))) end = i + used;
    if (end > first) text_add_n(w, s + first, end - first);
}

static bool render_llama3(Text *w, const Tokenizer *t, const Message *m, int n, bool open, Err *e) {
    const int bos = tokenizer_bos(t);
    if (bos < 0)
        return fail(e, "chat template llama3: the tokenizer names no bos_token, which the template writes "
                       "first");
    char *s = tokenizer_decode(t, &bos, 1, false, NULL, e);
    if (!s) return false;
    text_special(w, s);
    free(s);
    for (int i = 0; i < n + open; i++) {
        text_special(w, "<|start_header_id|>"), text_add(w, i < n ? m[i].role : "assistant");
        text_special(w, "<|end_header_id|>"), text_add(w, "\n\n");
        if (i < n) text_trimmed(w, m[i].content), text_special(w, "<|eot_id|>");
    }
    return true;
}

/* ---- text and ids ---- */

static bool render(Text *w, ChatTemplate c, const Tokenizer *t, const Message *m, int n,
                   bool generation_prompt, Err *e) {
    bool ok = true;
    if (n < 1) return fail(e, "chat: no message, expected at least one");
    for (int i = 0; i < n; i++)
        if (!is_role(&m[i], "system") && !is_role(&m[i], "user") && !is_role(&m[i], "assistant"))
            return fail(e, "chat: message %d: role: found %.40s, expected system, user or assistant", i,
                        m[i].role);
    text_add(w, "");
    switch (c) {
    case CHAT_PLAIN: render_plain(w, m, n, generation_prompt); break;
    case CHAT_CHATML_SMOLLM2:
        render_chatml(w, m, n, generation_prompt,
                      "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
        break;
    case CHAT_QWEN2: render_chatml(w, m, n, generation_prompt, "You are a helpful assistant."); break;
    case CHAT_QWEN25:
        render_chatml(w, m, n, generation_prompt,
                      "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
        break;
    case CHAT_QWEN3:
    case CHAT_QWEN3_NO_THINK: render_qwen3(w, m, n, generation_prompt, c == CHAT_QWEN3); break;
    case CHAT_QWEN3_2507: render_chatml(w, m, n, generation_prompt, NULL); break;
    case CHAT_LLAMA3:
    case CHAT_LLAMA3_OPEN:
        ok = render_llama3(w, t, m, n, generation_prompt || c == CHAT_LLAMA3_OPEN, e);
        break;
    case CHAT_UNKNOWN: ok = fail(e, "chat template: unknown; choose one with --chat-template"); break;
    }
    if (ok && w->failed) ok = fail(e, "chat: a text of more than %zu bytes could not be allocated", w->n);
    return ok;
}

char *chat_render(ChatTemplate c, const Tokenizer *t, const Message *m, int n, bool generation_prompt,
                  Err *e) {
    Text w = {0};
    if (render(&w, c, t, m, n, generation_prompt, e)) return w.s;
    free(w.s);
    return NULL;
}

/* Between the template's own special tokens stands text in which, when they are split, no other is seen. */
bool chat_encode(Ids *out, const Tokenizer *t, ChatTemplate c, const Message *m, int n,
                 bool generation_prompt, bool split_special, Err *e) {
    Text w = {.t = t};
    /* a message has at most 4 special tokens; what stands before and after all of them, fewer than 12 */
    bool ok = !split_special || (w.mark = malloc((8 * (size_t)n + 24) * sizeof *w.mark)) ||
              fail(e, "chat: no memory for %d messages", n);
    ok = ok && render(&w, c, t, m, n, generation_prompt, e);
    size_t from = 0;
    for (int k = 0; ok && k <= w.n_mark; k++) {
        const size_t to = k < w.n_mark ? w.mark[k] : w.n;
        const int how = (!split_special || k % 2 ? ENCODE_SPECIAL : 0) | (k ? ENCODE_BEHIND : 0);
        ok = tokenizer_encode(out, t, w.s + from, to - from, how, e);
        from = to;
    }
    free(w.mark), free(w.s);
    return ok;
}
