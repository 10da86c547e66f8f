/* run/program.c: an external program that reads JSON lines and answers each with one. */
#include "run/program.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool program_start(Program *p, const char *option, const char *command, int timeout, Err *e) {
    int in[2], out[2];
    if (timeout < 1 || timeout > 1000000)
        return fail(e, "--reward-timeout: found %d, expected a number of seconds", timeout);
    if (pipe(in) || pipe(out)) return fail(e, "%s: no pipe: %s", option, strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    *p = (Program){.option = option, .command = command, .timeout = timeout, .pid = fork()};
    if (p->pid < 0) return fail(e, "%s: cannot be started: %s", option, strerror(errno));
    if (p->pid == 0) {
        setpgid(0, 0);                          /* so that what it starts can be ended with it */
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    p->to = in[1], p->from = out[0];
    return true;
}

static bool program_died(Program *p, Err *e) {
    int status = 0;
    waitpid(p->pid, &status, 0);
    p->pid = 0;
    return fail(e, "%s \"%.80s\": the program ended (%s %d) before it answered every line", p->option,
                p->command, WIFSIGNALED(status) ? "signal" : "exit code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Its input ends; a program that goes on all the same is ended after two seconds. */
void program_stop(Program *p) {
    close(p->to);
    close(p->from);
    for (int i = 0; p->pid > 0 && i < 200 && waitpid(p->pid, NULL, WNOHANG) == 0; i++) {
        if (i == 100) kill(-p->pid, SIGTERM);
        if (i == 199) kill(-p->pid, SIGKILL), waitpid(p->pid, NULL, 0);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    free(p->buffer);
}

static bool program_line(Program *p, char **line, Err *e) {
    for (;;) {
        char *end = p->n ? memchr(p->buffer, '\n', p->n) : NULL;
        if (end) { *end = 0; *line = p->buffer; return true; }
        struct pollfd f = {.fd = p->from, .events = POLLIN};
        const int ready = poll(&f, 1, p->timeout * 1000);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0)
            return fail(e,
                        "%s \"%.80s\": silent for %d seconds; does it flush its output after every "
                        "line (Python: print(..., flush=True))? If it only needs longer: --reward-timeout",
                        p->option, p->command, p->timeout);
        if (p->capacity - p->n < 65536) {
            char *more = realloc(p->buffer, p->capacity = p->capacity * 2 + 131072);
            if (!more) return fail(e, "%s: no memory for its answer", p->option);
            p->buffer = more;
        }
        const ssize_t got = read(p->from, p->buffer + p->n, 65536);
        if (got <= 0) return program_died(p, e);
        p->n += (size_t)got;
    }
}

static void program_drop_line(Program *p) {
    const size_t used = strlen(p->buffer) + 1;
    memmove(p->buffer, p->buffer + used, p->n - used);
    p->n -= used;
}

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

static bool program_send(Program *p, const JsonWriter *w, Err *e) {
    for (size_t sent = 0; sent < w->length;) {
        const ssize_t n = write(p->to, w->text + sent, w->length - sent);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return program_died(p, e);
        sent += (size_t)n;
    }
    return true;
}

Json *program_ask(Program *p, const Example *x, const Told *told, int n_told, const char *member,
                  JsonType type, const char *shape, Err *e) {
    JsonWriter w = {0};
    const long long id = p->next_id++;
    char *line = NULL;
    write_question(&w, id, x, told, n_told);
    const bool sent = program_send(p, &w, e);
    free(w.text);
    if (!sent || !program_line(p, &line, e)) return NULL;
    char what[64];
    snprintf(what, sizeof what, "answer of %s", p->option);
    Json *answer = json_parse(line, strlen(line), what, 1, e);
    if (!answer) return NULL;
    const Json *value = json_get(answer, member), *got = json_get(answer, "id");
    bool ok = true;
    if (!value || value->type != type || !got || got->type != JSON_NUMBER)
        ok = fail(e, "%s: found \"%.80s\", expected {\"id\": %lld, \"%s\": %s}", p->option, line, id, member,
                  shape);
    else if (got->number != (double)id)
        ok = fail(e, "%s: answered id %.0f to line %lld; answer every line, in order", p->option, got->number,
                  id);
    program_drop_line(p);
    if (ok) return answer;
    json_free(answer);
    return NULL;
}
