/* compute.c: `grpo compute`: the mathematics as a filter: JSON lines in, values and derivatives out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "compute/kinds.h"

static bool compute_line(const char *text, size_t n, int line_no, Err *e) {
    Json *root = json_parse(text, n, "stdin", line_no, e);
    if (!root) return false;
    JsonWriter w = { 0 };
    const char *kind;
    bool ok = json_get_string(root, "kind", &kind, "stdin", e);
    json_begin(&w, '{');
    json_key(&w, "outputs");
    ok = ok && compute_case(&w, kind, json_get(root, "inputs"), e);
    if (ok) {
        json_end(&w, '}');
        ok = json_print(&w, "\n", e);
        fflush(stdout);
    }
    free(w.text);
    json_free(root);
    return ok;
}

static int compute_list(void) {
    char inputs[4096];
    for (int j = 0; compute_tables[j]; j++)
        for (const ComputeKind *k = compute_tables[j]; k->kind; k++) {
            compute_inputs(inputs, sizeof inputs, k);
            printf("%s\n    %s\n    inputs: %s\n", k->kind, k->equations, inputs);
        }
    return 0;
}

/* Its own error lines: they name the line of the input. */
int cmd_compute(int argc, char **argv, Err *error) {
    (void)error;
    for (int a = 1; a < argc; a++) {
        if (!strcmp(argv[a], "--list")) return compute_list();
        if (!strcmp(argv[a], "--help") || !strcmp(argv[a], "-h")) {
            puts("grpo compute [--list] < CASES.jsonl\n"
                 "Each line {\"kind\": ..., \"inputs\": {...}} gives a line {\"outputs\": {...}}. --list: "
                 "kinds, inputs, equations.\n\n"
                 "    echo '{\"kind\": \"rloo_advantages\", \"inputs\": {\"rewards\": [1, 0, 0.5], "
                 "\"num_generations\": 3}}' | grpo compute");
            return 0;
        }
        fprintf(stderr, "grpo compute: unknown option \"%s\", expected --list or --help\n", argv[a]);
        return 2;
    }
    Err e = { "" };
    char *line = NULL;
    size_t n = 0, capacity = 0;
    int line_no = 1, status = 0;
    for (int ch = 0; ch != EOF && status == 0; ) {
        ch = getchar();
        if (n + 1 >= capacity) {
            char *more = realloc(line, capacity = 2 * capacity + 4096);
            if (!more) {
                fail(&e, "stdin:%d: %zu bytes for a line could not be allocated", line_no, capacity);
                status = 2;
                break;
            }
            line = more;
        }
        if (ch != '\n' && ch != EOF) { line[n++] = (char)ch; continue; }
        line[n] = 0;
        if (strspn(line, " \t\r") < n && !compute_line(line, n, line_no, &e)) status = 2;
        n = 0;
        line_no++;
    }
    free(line);
    if (!status && ferror(stdin)) fail(&e, "stdin:%d: could not be read", line_no), status = 2;
    if (status) {
        /* errors of grpo.c and lib name no line of the input */
        if (strncmp(e.line, "stdin:", 6))
            fprintf(stderr, "grpo compute: stdin:%d: %s\n", line_no - 1, e.line);
        else fprintf(stderr, "grpo compute: %s\n", e.line);
    }
    return status;
}
