/* shapes.c: what people bring in place of a data set, and the command that makes one of it. */
#include "text/shapes.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/files.h"

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"

/* ---- files ---- */

static bool shape_begins(const char *text, size_t n, const char *with, size_t length) {
    return n >= length && !memcmp(text, with, length);
}

static bool shape_ends(const char *path, const char *with) {
    const size_t n = strlen(path), k = strlen(with);
    return n > k && !strcmp(path + n - k, with);
}

/* The head of a table: a line of words, of which one is a column that is known here. */
static bool names_columns(const char *text, size_t n) {
    static const char *const known[] = {"prompt", "completion", "chosen", "question", "answer",
                                        "instruction", "output", "query", "response", "text"};
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        if (!strchr(PLAIN "\"\t\r, -", text[i])) return false;
    while (at < n) {
        const size_t from = at + (text[at] == '"');
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            const size_t length = strlen(known[k]);
            if (from + length <= n && !memcmp(text + from, known[k], length) &&
                (from + length == n || strchr("\"\t\r,", text[from + length])))
                return true;
        }
        while (at < n && text[at] != ',' && text[at] != '\t') at++;
        at++;
    }
    return false;
}

static bool is_table(const char *path, const char *text, size_t n, bool tabs) {
    const char *end = memchr(text, '\n', n);
    const size_t first = end ? (size_t)(end - text) : n;
    return shape_ends(path, tabs ? ".tsv" : ".csv") ||
           (names_columns(text, first) && memchr(text, tabs ? '\t' : ',', first));
}

/* true, false and null are JSON. */
static bool is_word(const char *at, size_t left) {
    return shape_begins(at, left, "true", 4) || shape_begins(at, left, "false", 5) ||
           shape_begins(at, left, "null", 4);
}

bool shapes_file(const char *path, const char *text, size_t n, Err *e) {
    size_t blank = shape_begins(text, n, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (blank < n && text[blank] && strchr(" \t\r\n", text[blank])) blank++;
    const char *const at = text + blank;
    const size_t left = n - blank;
    const bool tabs = is_table(path, at, left, true);
    if (shape_begins(text, n, "PAR1", 4) || shape_ends(path, ".parquet"))
        return fail(e, "%s: is Parquet, expected JSON Lines: python3 -c 'import json, pyarrow.parquet as p; "
                       "[print(json.dumps(r, default=str)) for r in p.read_table(\"%s\").to_pylist()]' > "
                       "converted.jsonl", path, path);
    if (shape_begins(text, n, "\x1f\x8b", 2))
        return fail(e, "%s: is compressed, expected JSON Lines: gzip -dc '%s' > converted.jsonl", path, path);
    if (shape_begins(text, n, "(\xb5/\xfd", 4))
        return fail(e, "%s: is compressed, expected JSON Lines: zstd -dc '%s' > converted.jsonl", path, path);
    if (shape_begins(text, n, "\xff\xfe", 2) || shape_begins(text, n, "\xfe\xff", 2))
        return fail(e, "%s: is UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8 '%s' > converted.jsonl", path,
                    path);
    if (left && *at == '[')
        return fail(e, "%s: is a JSON array, expected one object a line: jq -c '.[]' '%s' > converted.jsonl",
                    path, path);
    if (shape_begins(at, left, "{\n", 2) || shape_begins(at, left, "{\r\n", 3))
        return fail(e, "%s: has JSON over several lines, expected one object a line: jq -c . '%s' > "
                       "converted.jsonl", path, path);
    if (shape_begins(text, n, "PK\x03\x04", 4))
        return fail(e, "%s: is a zip archive, a workbook perhaps; expected JSON Lines: save it as CSV first",
                    path);
    if (left && (tabs || is_table(path, at, left, false)))
        return fail(e, "%s: is a table with %s, expected JSON Lines: python3 -c 'import csv, json; "
                       "[print(json.dumps(r)) for r in csv.DictReader(open(\"%s\", encoding=\"utf-8-sig\", "
                       "newline=\"\")%s)]' > converted.jsonl",
                    path, tabs ? "tabs" : "commas", path, tabs ? ", delimiter=\"\\t\"" : "");
    if (left > 1 && isalpha((unsigned char)*at) && isalpha((unsigned char)at[1]) && !is_word(at, left))
        return fail(e, "%s: is text, expected JSON Lines; a file of prompts, one a line, has a name that "
                       "ends with .txt", path);
    return true;
}

bool shapes_missing(const char *path, Err *e) {
    const char *slash = strchr(path, '/');
    if (path_exists(path) || !slash || slash == path || !slash[1] || strchr(slash + 1, '/') ||
        strspn(path, PLAIN "-./") != strlen(path) || *path == '.' || shape_ends(path, ".jsonl") ||
        shape_ends(path, ".json") || shape_ends(path, ".txt"))
        return true;
    return fail(e, "%s: is no file; if it is a data set of the Hugging Face hub: python3 -c 'from datasets "
                   "import load_dataset; load_dataset(\"%s\", split=\"train\").to_json(\"converted.jsonl\")'",
                path, path);
}

/* ---- rows ---- */

/* The first of the names that is a column with a text, or NULL. */
static const char *text_among(const Json *row, const char *const *name) {
    for (; *name; name++) {
        const Json *v = json_get(row, *name);
        if (v && v->type == JSON_STRING) return *name;
    }
    return NULL;
}

static bool is_plain(const char *name) { return strspn(name, PLAIN) == strlen(name); }

/* The first column with a list of objects that have both members, or NULL. A name that the shell or jq would
 * take apart is passed over: what is told here is typed by somebody. */
static const char *list_with(const Json *row, const char *one, const char *other) {
    for (size_t i = 0; row->type == JSON_OBJECT && i < row->length; i++) {
        const Json *v = &row->item[i];
        if (v->type == JSON_ARRAY && v->length && is_plain(v->key) && json_get(&v->item[0], one) &&
            json_get(&v->item[0], other))
            return v->key;
    }
    return NULL;
}

static bool is_prompt(const Json *v) {
    return v && (v->type == JSON_STRING || (v->type == JSON_ARRAY && v->length));
}

static const char *lacking(const Json *row, int need) {
    const bool prompt = is_prompt(json_get(row, "prompt")) || is_prompt(json_get(row, "messages"));
    return !prompt                  ? "no \"prompt\" (a text or a list of messages) and no \"messages\""
           : need & NEED_COMPLETION ? "no \"completion\" (a text), and no \"messages\" that end with the "
                                      "assistant"
           : json_get(row, "chosen") ? "no \"rejected\": expected a pair of replies, \"chosen\" and "
                                       "\"rejected\""
                                     : "no \"chosen\": expected a pair of replies, \"chosen\" and "
                                       "\"rejected\"";
}

/* One of jq's programs that makes a row of ours from one with these columns; "" if none is known. */
static void jq_program(char *jq, size_t size, const Json *row, int need) {
    static const char *const questions[] = {"prompt", "instruction", "question", "query", "problem", "input",
                                            "text", NULL},
                      *const replies[] = {"output", "response", "answer",
                                          "solution", "target", "reply", NULL};
    static const char turns[] =
        "[.%s[] | {role: ({human: \"user\", gpt: \"assistant\"}[.from] // .from), content: .value}]";
    const char *from = list_with(row, "from", "value"), *role = list_with(row, "role", "content"),
               *question = text_among(row, questions), *reply = text_among(row, replies);
    const Json *chosen = json_get(row, "chosen"), *input = json_get(row, "input");
    char list[256] = "", input_too[96] = "";
    *jq = 0;
    if (from) snprintf(list, sizeof list, turns, from);
    if (question && !strcmp(question, "instruction") && input && input->type == JSON_STRING)
        snprintf(input_too, sizeof input_too,
                 " + (if (.input // \"\") == \"\" then \"\" else \"\\n\\n\" + .input end)");
    if (need & NEED_PAIR) {
        if (from && chosen && chosen->type == JSON_OBJECT)
            snprintf(jq, size, "{prompt: %s, chosen: .chosen.value, rejected: .rejected.value}", list);
        else if (!question && chosen && chosen->type == JSON_STRING && strstr(chosen->string, "\n\nHuman: "))
            snprintf(jq, size,
                     "def turns: [split(\"\\n\\nHuman: \")[1:][] | split(\"\\n\\nAssistant: \") | {role: "
                     "\"user\", content: .[0]}, (.[1:][] | {role: \"assistant\", content: .})]; {chosen: "
                     "(.chosen | turns), rejected: (.rejected | turns)}");
        else if (question && strcmp(question, "prompt") && chosen)
            snprintf(jq, size, ". + {prompt: (.%s%s)}", question, input_too);
    } else if (from) snprintf(jq, size, ". + {messages: %s}", list);
    else if (role && strcmp(role, "messages") && strcmp(role, "prompt"))
        snprintf(jq, size, ". + {messages: .%s}", role);
    else if (question && !(need & NEED_COMPLETION))
        snprintf(jq, size, ". + {prompt: (.%s%s)}", question, input_too);
    else if (question && reply && strcmp(question, reply) && strcmp(question, "text"))
        snprintf(jq, size, ". + {prompt: (.%s%s), completion: .%s}", question, input_too, reply);
}

bool shapes_row(const Json *row, int need, const char *path, int line, Err *e) {
    char jq[512];
    jq_program(jq, sizeof jq, row, need);
    return *jq ? fail(e, "%s:%d: %s; from its other columns: jq -c '%s' '%s' > converted.jsonl", path, line,
                      lacking(row, need), jq, path)
               : fail(e, "%s:%d: %s", path, line, lacking(row, need));
}
