/* tokenizer_tool.c: the tokenizer as a filter for tests/parity/test_tokenizer.py: JSON lines on stdin, JSON
 * lines on stdout.
 *
 *     tokenizer_tool encode DIR          "text"                                -> {"all": [ids], "text":
 * [ids]}: with and without added tokens tokenizer_tool decode DIR          [ids] -> {"all": "text", "text":
 * "..."}: with and without special tokens tokenizer_tool chat DIR [NAME]     {"messages": [...], "prompt":
 * bool}   -> {"family": "...", "text": "...", "ids": [...]} tokenizer_tool train DIR VOCAB     "text" ->
 * files in DIR A line that fails gives {"error": "..."}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "text/chat.h"
#include "text/jinja.h"
#include "lib/machine.h"

static void put_ids(JsonWriter *w, const char *key, const Ids *ids) {
    json_open(w, key, '[');
    for (int i = 0; i < ids->n; i++) json_int(w, ids->id[i]);
    json_end(w, ']');
}

static bool encode_line(JsonWriter *w, const Tokenizer *t, const Json *v, Err *e) {
    Ids all = {0}, text = {0};
    const bool ok = v->type == JSON_STRING ? tokenizer_encode(&all, t, v->string, v->length, true, e) &&
                                                 tokenizer_encode(&text, t, v->string, v->length, false, e)
                                           : fail(e, "expected a string");
    if (ok) put_ids(w, "all", &all), put_ids(w, "text", &text);
    free(all.id), free(text.id);
    return ok;
}

static bool decode_line(JsonWriter *w, const Tokenizer *t, const Json *v, Err *e) {
    Ids ids = {0};
    bool ok = v->type == JSON_ARRAY || fail(e, "expected an array");
    for (size_t i = 0; ok && i < v->length; i++) ok = ids_add(&ids, (int)v->item[i].number, e);
    for (int skip = 0; ok && skip < 2; skip++) {
        size_t n;
        char *s = tokenizer_decode(t, ids.id, ids.n, skip, &n, e);
        ok = s != NULL;
        if (s) json_put_string_n(w, skip ? "text" : "all", s, n);
        free(s);
    }
    free(ids.id);
    return ok;
}

static bool chat_line(JsonWriter *w, const Chat *c, const Tokenizer *t, const Json *v, Err *e) {
    const Json *list = json_get(v, "messages");
    bool prompt;
    if (!list || list->type != JSON_ARRAY || !json_get_bool(v, "prompt", &prompt, "stdin", e))
        return fail(e, "expected messages and prompt");
    Message *m = calloc(list->length + 1, sizeof *m);
    bool ok = m || fail(e, "no memory");
    for (size_t i = 0; ok && i < list->length; i++)
        if ((ok = json_get_string(m[i].row = &list->item[i], "role", &m[i].role, "stdin", e))) {
            const Json *content = json_get(m[i].row, "content");
            m[i].content = content && content->type == JSON_STRING ? content->string : "";
        }
    char *s = ok ? chat_render(c, (Conversation){m, (int)list->length, v}, prompt, e) : NULL;
    Ids ids = {0};
    /* behind an assistant's turn a prompt would go on with it */
    if (s && prompt && list->length && strcmp(m[list->length - 1].role, "assistant"))
        ok = chat_encode(&ids, c, (Conversation){m, (int)list->length, v}, false, e);
    else ok = s && tokenizer_encode(&ids, t, s, strlen(s), ENCODE_SPECIAL, e);
    if (ok)
        json_put_string(w, "family", chat_name(c)), json_put_string(w, "text", s), put_ids(w, "ids", &ids);
    free(s), free(ids.id), free(m);
    return ok;
}

/* {"template", "input"} to the text that it writes and a letter for each byte: . D G B, as in test_jinja. */
static bool jinja_line(JsonWriter *w, const char *date, const Json *v, Err *e) {
    const Json *template = json_get(v, "template"), *input = json_get(v, "input");
    JinjaVariable all[64];
    JinjaText t = {0};
    if (!template || !input || input->length > 64) return fail(e, "expected template and input");
    for (size_t i = 0; i < input->length; i++)
        all[i] = (JinjaVariable){input->item[i].key, &input->item[i], input->item[i].type == JSON_ARRAY};
    Jinja *j = jinja_parse(template->string, template->length, "template", e);
    const bool ok = j && jinja_render(&t, j, all, (int)input->length, date, e);
    for (size_t i = 0; i < t.n; i++) t.mark[i] = (unsigned char)".DGB"[t.mark[i]];
    if (ok) json_put_string_n(w, "text", t.text, t.n), json_put_string_n(w, "marks", (char *)t.mark, t.n);
    free(t.text), jinja_free(j);
    return ok;
}

static char *read_all(FILE *f, size_t *n) {
    size_t capacity = 1 << 16;
    char *s = malloc(capacity);
    for (*n = 0; s; ) {
        *n += fread(s + *n, 1, capacity - *n, f);
        if (*n < capacity) return s;
        char *more = realloc(s, capacity *= 2);
        if (!more) free(s);
        s = more;
    }
    return NULL;
}

int main(int argc, char **argv) {
    Err e = {0};
    size_t n;
    if (argc < 3)
        return fprintf(stderr, "tokenizer_tool encode|decode|chat|train DIR [NAME|VOCAB], jinja DATE\n"), 2;
    const bool train = strcmp(argv[1], "train") == 0, jinja = strcmp(argv[1], "jinja") == 0;
    const char **text = NULL;
    size_t *length = NULL;
    Json **tree = NULL;
    int n_line = 0;
    const double start = clock_seconds();
    Tokenizer *t = train || jinja ? NULL : tokenizer_load(argv[2], &e);
    if (!train && !jinja && !t) return fprintf(stderr, "%s\n", e.line), 2;
    if (t)
        fprintf(stderr, "load %.3f s, vocab %d, bos %d, eos %d, pad %d\n", clock_seconds() - start,
                tokenizer_vocab(t), tokenizer_bos(t), tokenizer_eos(t), tokenizer_pad(t));
    const ChatChoice choice = {.template = argc > 3 ? argv[3] : NULL};
    Chat *c = strcmp(argv[1], "chat") == 0 ? chat_open(t, argv[2], &choice, &e) : NULL;
    if (strcmp(argv[1], "chat") == 0 && !c) return fprintf(stderr, "%s\n", e.line), 2;
    char *all = read_all(stdin, &n), *end = all ? all + n : NULL;
    for (char *p = all, *next; p && p < end; p = next) {
        char *stop = memchr(p, '\n', (size_t)(end - p));
        next = stop ? stop + 1 : end;
        Json *v = json_parse(p, (size_t)((stop ? stop : end) - p), "stdin", ++n_line, &e);
        if (train && v && v->type == JSON_STRING) {
            const size_t k = (size_t)n_line;
            if ((k & (k - 1)) == 0) {
                text = realloc(text, 2 * k * sizeof *text), length = realloc(length, 2 * k * sizeof *length),
                tree = realloc(tree, 2 * k * sizeof *tree);
                if (!text || !length || !tree) return 2;
            }
            text[k - 1] = v->string, length[k - 1] = v->length, tree[k - 1] = v;
            continue;
        }
        JsonWriter w = {0};
        json_begin(&w, '{');
        const bool ok =
            v && (strcmp(argv[1], "encode") == 0   ? encode_line(&w, t, v, &e)
                  : strcmp(argv[1], "decode") == 0 ? decode_line(&w, t, v, &e)
                  : c                              ? chat_line(&w, c, t, v, &e)
                  : jinja                          ? jinja_line(&w, argv[2], v, &e)
                                                   : fail(&e, "%s: unknown command", argv[1]));
        if (!ok)
            free(w.text), w = (JsonWriter){0}, json_begin(&w, '{'), json_put_string(&w, "error", e.line),
                          e.line[0] = 0;
        json_end(&w, '}');
        puts(w.text);
        free(w.text), json_free(v);
    }
    const double begin = clock_seconds();
    const bool ok =
        !train || tokenizer_train(argv[2], text, length, n_line, argc > 3 ? atoi(argv[3]) : 0, &e);
    if (train) fprintf(stderr, "train %.3f s\n", clock_seconds() - begin);
    if (!ok) fprintf(stderr, "%s\n", e.line);
    for (int i = 0; tree && i < n_line; i++) json_free(tree[i]);
    free(all), free(text), free(length), free(tree), chat_free(c), tokenizer_free(t);
    return ok ? 0 : 2;
}
