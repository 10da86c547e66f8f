/* cost_report.c: costs as JSON and as text. */
#include "run/cost_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "run/run.h"
#include "lib/files.h"
#include "lib/say.h"

typedef enum { FLOP, ROW, SEQ } Quantity;

static double part(const Pass *p, Quantity q) { return q == FLOP ? p->flop : q == ROW ? p->row : p->seq; }

static void nets_json(JsonWriter *w, const char *key, const Cost *c, Quantity q) {
    json_open(w, key, '{');
    for (int k = 0; k < N_NET; k++) {
        json_open(w, net_names[k], '{');
        json_put(w, "forward", part(&c->net[k].forward, q));
        json_put(w, "backward", part(&c->net[k].backward, q));
        json_end(w, '}');
    }
    json_end(w, '}');
}

void cost_json(JsonWriter *w, const Cost *c) {
    json_begin(w, '{');
    nets_json(w, "flops", c, FLOP);
    json_put(w, "total_flops", cost_flops(c));
    nets_json(w, "passes", c, ROW);
    nets_json(w, "sequences", c, SEQ);
    json_open(w, "tokens", '{');
    json_put(w, "prompt", c->prompt);
    json_put(w, "completion", c->completion);
    json_end(w, '}');
    json_open(w, "memory", '{');
    for (int k = 0; k < N_MEM; k++) json_put(w, memory_names[k], c->memory[k]);
    json_end(w, '}');
    json_end(w, '}');
}

void costs_json(JsonWriter *w, const Costs *c) {
    json_begin(w, '{');
    json_key(w, "predicted"); cost_json(w, &c->predicted);
    json_key(w, "measured"); cost_json(w, &c->measured);
    json_end(w, '}');
}

void costs_say(const char *command, const Costs *c, double seconds, double cpu_seconds, double peak_bytes) {
    char planned[32], taken[32], peak[32];
    const double all = cost_flops(&c->measured);
    fprintf(stderr, "%s: operations: %.4g predicted, %.4g counted", command, cost_flops(&c->predicted), all);
    for (int k = 0, n = 0; k < N_NET; k++) {
        const Tally *t = &c->measured.net[k];
        if (t->forward.flop > 0)
            fprintf(stderr, "%s%s %.0f %%", n++ ? ", " : " (", net_names[k],
                    100 * (t->forward.flop + t->backward.flop) / all);
    }
    human_bytes(planned, cost_memory(&c->predicted));
    human_bytes(taken, cost_memory(&c->measured));
    human_bytes(peak, peak_bytes);
    fprintf(stderr,
            "%s\n%s: memory: %s predicted, %s taken by weights, gradients, moments, cache, activations",
            all > 0 ? ")" : "", command, planned, taken);
    if (!isnan(peak_bytes)) fprintf(stderr, "; the process held %s at most", peak);
    fprintf(stderr, "\n%s: time: %.3g s, %.3g s of CPU\n", command, seconds, cpu_seconds);
}

bool costs_write(const char *path, const Costs *c, Err *e) {
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_key(&w, "cost"); costs_json(&w, c);
    json_end(&w, '}');
    json_raw(&w, "\n");
    const bool ok = file_write(path, w.text, w.length, e);
    free(w.text);
    return ok;
}
