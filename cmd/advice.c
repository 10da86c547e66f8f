/* advice.c: the table of settings that were measured with `train`, and what is said of a run beside it. */
#include "cmd/advice.h"

#include <math.h>
#include <stdio.h>

/* A row is a run that visibly moved its scores. lora_rate: of adapters (--use-peft); 0: not measured. steps
 * are updates, of so many completions each. */
typedef struct {
    double parameters, rate, lora_rate, beta;
    int steps, completions;
    const char *where;
} Measured;
static const Measured measured[] = {
    /* make demo; README.md, "The demo", has its scores before and after */
    {0.25e6, 6e-4, 0, 0.08, 220, 128, "configs/demo.json"},
    /* make real, SmolLM2-135M-Instruct; docs/real/README.md tells which scores rose and which fell */
    {135e6, 5e-5, 5e-4, 0.05, 40, 32, "docs/real/README.md"},
};

static const Measured *measured_nearest(double parameters) {
    const Measured *best = measured;
    for (size_t i = 1; i < sizeof measured / sizeof *measured; i++)
        if (fabs(log(measured[i].parameters / parameters)) < fabs(log(best->parameters / parameters)))
            best = &measured[i];
    return best;
}

static bool far_apart(double yours, double theirs) { return !(yours >= theirs / 2 && yours <= theirs * 2); }

/* ", 1/30 of that" or ", 4.5 times that", behind a number of the run's own. */
static const char *of_that(char out[32], double yours, double theirs) {
    const double times = yours > theirs ? yours / theirs : theirs / yours;
    if (!(yours > 0)) *out = '\0';
    else snprintf(out, 32, yours > theirs ? ", %.*f times that" : ", 1/%.*f of that", times < 10, times);
    return out;
}

enum { LINE = 320 };

/* What was measured. rate 0: is not spoken of. */
static void tell_measured(char line[LINE], const RunPlan *p, const Measured *m, double rate) {
    char size[32] = "", rate_text[64] = "";
    if (far_apart(p->asked.parameters, m->parameters)) of_that(size, p->asked.parameters, m->parameters);
    if (rate > 0)
        snprintf(rate_text, sizeof rate_text, "rate %g%s and ", rate,
                 p->asked.adapter ? " of an adapter" : "");
    snprintf(line, LINE,
             "with %.3g M parameters (yours: %.3g M%s), %sbeta %g moved the scores in %d updates of %d "
             "completions (%s)",
             m->parameters / 1e6, p->asked.parameters / 1e6, size, rate_text, m->beta, m->steps,
             m->completions, m->where);
}

/* "; NAME YOURS, 1/30 of that" into line from `at` on, if the two are more than a factor of 2 apart; where it
 * ends. */
static int tell_apart(char line[LINE], int at, const char *name, double yours, double theirs) {
    char times[32];
    if (!far_apart(yours, theirs)) return at;
    return at + snprintf(line + at, LINE - (size_t)at, "%s %s %g%s", at ? ";" : "yours:", name, yours,
                         of_that(times, yours, theirs));
}

/* The run's own options that differ; false: none does. */
static bool tell_yours(char line[LINE], const RunPlan *p, const Measured *m, double rate) {
    int at = rate > 0 ? tell_apart(line, 0, "rate", p->asked.rate, rate) : 0;
    at = tell_apart(line, at, "beta", p->asked.beta, m->beta);
    at = tell_apart(line, at, "updates", p->n_step, m->steps);
    /* small steps go about as far as their rates add up to */
    if (rate > 0 && p->asked.rate * p->n_step < rate * m->steps / 10)
        snprintf(line + at, LINE - (size_t)at, ": expect nothing to be seen in %d updates", p->n_step);
    return at > 0;
}

void advice_put(JsonWriter *w, const RunPlan *p) {
    if (!(p->asked.parameters > 0)) return;
    const Measured *m = measured_nearest(p->asked.parameters);
    const double rate = p->asked.adapter ? m->lora_rate : m->rate;
    char yours[LINE], theirs[LINE], all[LINE + 48];
    json_open(w, "advice", '{');
    json_put(w, "parameters", m->parameters);
    json_put(w, "your_parameters", p->asked.parameters);
    json_put(w, "learning_rate", rate > 0 ? rate : NAN);
    json_put(w, "beta", m->beta);
    json_put_int(w, "steps", m->steps);
    json_put_int(w, "completions", m->completions);
    json_put_string(w, "measured_in", m->where);
    json_open(w, "text", '[');
    tell_measured(theirs, p, m, rate);
    const bool differ = tell_yours(yours, p, m, rate);
    snprintf(all, sizeof all, "%s%s", differ ? "" : "your settings are within a factor of 2: ", theirs);
    json_string(w, all);
    if (differ) json_string(w, yours);
    json_end(w, ']');
    json_end(w, '}');
}
