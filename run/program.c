/* run/program.c: an external program that reads JSON lines and answers each with one. */
#include "run/program.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/machine.h"

enum { ANSWER_MOST = 1 << 20, PIECE = 65536 };  /* bytes of an answer's line, and of one read */

bool program_start(Program *p, const char *option, const char *command, int timeout, Err *e) {
    *p = (Program){.option = option, .command = command, .timeout = timeout};
    if (timeout < 1 || timeout > 1000000)
        return fail(e, "--reward-timeout: found %d, expected a number of seconds", timeout);
    if (!(p->buffer = malloc(ANSWER_MOST + PIECE))) return fail(e, "%s: no memory for its answers", option);
    return child_start(&p->child, command, option, e);
}

void program_stop(Program *p) {
    int status;
    if (p->child.guard) child_end(&p->child, &status, p->hangs);
    free(p->buffer);
    p->buffer = NULL;
}

/* ---- a line to it, a line from it ---- */

/* Its output or its input is closed: it ended, or is ended now. */
static bool program_gone(Program *p, Err *e) {
    int status;
    if (!child_end(&p->child, &status, false))
        return fail(e,
                    "%s \"%.80s\": the program closed its input or output and went on, and was ended; "
                    "answer every line until standard input ends",
                    p->option, p->command);
    return fail(e, "%s \"%.80s\": the program ended (%s %d) before it answered every line", p->option,
                p->command, WIFSIGNALED(status) ? "signal" : "exit code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static bool program_slow(Program *p, size_t unread, Err *e) {
    p->hangs = true;
    if (unread)
        return fail(e,
                    "%s \"%.80s\": did not read its line for %d seconds, %zu bytes of it are left; read "
                    "every line to its end. If it only needs longer: --reward-timeout",
                    p->option, p->command, p->timeout, unread);
    if (p->n)
        return fail(e,
                    "%s \"%.80s\": no end of line for %d seconds behind \"%.*s\"; end every answer with a "
                    "line feed",
                    p->option, p->command, p->timeout, (int)(p->n < 60 ? p->n : 60), p->buffer);
    return fail(e,
                "%s \"%.80s\": silent for %d seconds; does it flush its output after every "
                "line (Python: print(..., flush=True))? If it only needs longer: --reward-timeout",
                p->option, p->command, p->timeout);
}

/* Sends n bytes and waits for a line, *length bytes of the buffer without its end. It reads while it writes,
 * so that full pipes on both sides cannot stop the two, and keeps no more than a line may have. */
static bool program_exchange(Program *p, size_t *length, const char *text, size_t n, Err *e) {
    const double deadline = clock_seconds() + p->timeout;
    for (size_t sent = 0; ; ) {
        const char *end = p->n ? memchr(p->buffer, '\n', p->n) : NULL;
        if (end && sent == n) { *length = (size_t)(end - p->buffer); return true; }
        if (!end && p->n > ANSWER_MOST)
            return fail(e, "%s \"%.80s\": wrote %d bytes without the end of a line; expected one line of "
                           "JSON for each that it reads", p->option, p->command, ANSWER_MOST);
        struct pollfd f[] = {{.fd = end ? -1 : p->child.from, .events = POLLIN},
                             {.fd = sent < n ? p->child.to : -1, .events = POLLOUT}};
        const double left = ceil(1000 * (deadline - clock_seconds()));
        if (left <= 0) return program_slow(p, n - sent, e);
        if (poll(f, 2, (int)fmin(left, 1e8)) <= 0) continue;
        if (f[1].revents) {
            const ssize_t wrote = write(p->child.to, text + sent, n - sent);
            if (wrote < 0 && errno != EINTR && errno != EAGAIN) return program_gone(p, e);
            sent += wrote > 0 ? (size_t)wrote : 0;
        }
        if (f[0].revents) {
            const ssize_t got = read(p->child.from, p->buffer + p->n, PIECE);
            if (got == 0 || (got < 0 && errno != EINTR)) return program_gone(p, e);
            p->n += got > 0 ? (size_t)got : 0;
        }
    }
}

/* ---- questions and answers ---- */

/* The id's line: what is ours first, then the columns of the row that have other names. */
static void write_question(JsonWriter *w, long long id, const Example *x, const Told *told, int n_told) {
    json_begin(w, '{');
    json_put_int(w, "id", id);
    json_put_string(w, "prompt", x->prompt[x->n_prompt - 1].content);
    example_put_messages(w, x);
    for (int k = 0; k < n_told; k++) json_put_string(w, told[k].key, told[k].text);
    for (size_t i = 0; x->row && i < x->row->length; i++) {
        const Json *column = &x->row->item[i];
        bool ours = !strcmp(column->key, "id") || !strcmp(column->key, "prompt") ||
                    !strcmp(column->key, "messages");
        for (int k = 0; k < n_told; k++) ours = ours || !strcmp(column->key, told[k].key);
        if (!ours) json_put_value(w, column->key, column);
    }
    json_end(w, '}');
    json_raw(w, "\n");
}

bool program_wrong(const Program *p, const Example *x, Err *e) {
    return fail_also(e, "; this was about line %lld that it got, %s %s:%d", p->next_id - 1,
                     p->trial ? p->trial : "which is of", x->path, x->line);
}

/* What people write in place of JSON, and what to do. */
static bool no_json(const char *line, const Err *why, Err *e) {
    const bool number = strstr(line, "NaN") || strstr(line, "nan") || strstr(line, "Infinity") ||
                        strstr(line, "inf");
    const char *advice = line[strspn(line, " \t")] != '{' ? "print to stderr what is no answer"
                         : strstr(line, "{'")             ? "write JSON (Python: json.dumps)"
                         : number                         ? "write null where there is no score"
                                                          : "write one line of JSON";
    return fail(e, "%s, in \"%.80s\"; %s", why->line, line, advice);
}

static Json *read_answer(const Program *p, const char *line, size_t length, const char *member, JsonType type,
                         const char *shape, Err *e) {
    const long long id = p->next_id - 1;
    char what[64];
    Err why = {{0}};
    snprintf(what, sizeof what, "answer of %s", p->option);
    Json *answer = json_parse(line, length, what, 1, &why);
    if (!answer) { no_json(line, &why, e); return NULL; }
    const Json *value = json_get(answer, member), *got = json_get(answer, "id");
    if (!value || value->type != type || !got || got->type != JSON_NUMBER)
        fail(e, "%s: found \"%.80s\", expected {\"id\": %lld, \"%s\": %s}", p->option, line, id, member,
             shape);
    else if (got->number != (double)id)
        fail(e, "%s: answered id %.0f to line %lld; answer every line, in order", p->option, got->number, id);
    else
        return answer;
    json_free(answer);
    return NULL;
}

Json *program_ask(Program *p, const Example *x, const Told *told, int n_told, const char *member,
                  JsonType type, const char *shape, Err *e) {
    JsonWriter w = {0};
    Json *answer = NULL;
    size_t length = 0;
    write_question(&w, p->next_id++, x, told, n_told);
    const bool written = w.text || fail(e, "%s: no memory for a question", p->option);
    if (written && program_exchange(p, &length, w.text, w.length, e)) {
        p->buffer[length] = 0;
        answer = read_answer(p, p->buffer, length, member, type, shape, e);
        p->n -= length + 1;
        memmove(p->buffer, p->buffer + length + 1, p->n);
    }
    free(w.text);
    if (!answer) program_wrong(p, x, e);
    return answer;
}
