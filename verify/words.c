/* words.c: a stage's verdict and the whole report in words. */
#include "verify/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verify/known.h"
#include "verify/profiles.h"

static void add_words(char *out, size_t size, const char *format, ...) {
    const size_t n = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + n, size - n, format, args);
    va_end(args);
}

/* What explains a stage: "epsilon 1e-6 ... [D1-eps-1e-6, as verl (core_algos.py: ...) does] or ...". */
static void add_causes(char *out, size_t size, const StageReport *x, bool who) {
    for (int i = 0; i < x->n_name; i++) {
        const Known *k = who ? known_name(x->name[i]) : NULL;
        add_words(out, size, "%s%s [%s]", i ? ", or " : "", x->text[i], x->name[i]);
        if (k && k->by) add_words(out, size, ", as done by %s", k->by);
    }
    if (x->n_name > 1 && who) add_words(out, size, "; this dump cannot tell them apart");
}

/* What is not right of a stage, without the stage's name; who: and who does so on purpose. */
static void add_fault(char *out, size_t size, const Report *r, Stage s, bool who) {
    const StageReport *x = &r->stage[s];
    if (x->n_name == 0) add_words(out, size, "cause unknown");
    add_causes(out, size, x, who);
}

void report_declared(char *out, size_t size, const Report *r, Stage s) {
    static const struct { Stage stage; ProfileCell first, last; } cells[] =
        {{STAGE_ADVANTAGES, CELL_BASELINE, CELL_DEVIATION}, {STAGE_ISR, CELL_CORRECTION, CELL_CORRECTION},
         {STAGE_RATIO, CELL_RATIO, CELL_RATIO}, {STAGE_KL, CELL_KL, CELL_KL},
         {STAGE_TOKEN_LOSS, CELL_CLIP, CELL_KL}, {STAGE_LOSS, CELL_AGGREGATION, CELL_AGGREGATION},
         {STAGE_DLOGP, CELL_CLIP, CELL_AGGREGATION}};
    const DumpSettings *set = &r->d->set;
    char cell[160];
    *out = 0;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        if (cells[i].stage != s) continue;
        /* without the tokens' losses it is made of all of them */
        const bool of_all = s == STAGE_LOSS && !r->d->tensor[STAGE_TOKEN_LOSS];
        const int first = of_all ? CELL_CLIP : (int)cells[i].first;
        add_words(out, size, "%s does: ", set->label);
        for (int k = first; k <= (int)cells[i].last; k++) {
            profile_cell(cell, set, (ProfileCell)k);
            add_words(out, size, "%s%s %s", k > first ? ", " : "", profile_cells[k].name, cell);
        }
        if (set->profile->source)
            add_words(out, size, " (%.*s)", (int)strcspn(set->profile->source, ";"), set->profile->source);
    }
}

void report_verdict(char *out, size_t size, const Report *r, Stage s) {
    const StageReport *x = &r->stage[s];
    *out = 0;
    switch (x->verdict) {
    case VERDICT_RIGHT: add_words(out, size, "right"); return;
    case VERDICT_RIGHT_AS: add_words(out, size, "right as %s", r->d->set.label); return;
    case VERDICT_DIFFERS: add_words(out, size, "another choice: "); break;
    case VERDICT_WRONG: add_words(out, size, "wrong: "); break;
    case VERDICT_UNKNOWN: add_words(out, size, "wrong, "); break;
    }
    add_fault(out, size, r, s, true);
}

static bool at_fault(const StageReport *x, bool errors) {
    return x->judged && x->verdict >= VERDICT_DIFFERS && (x->verdict != VERDICT_DIFFERS) == errors;
}

/* Stages with the same fault stand together: "loss, dlogp: ...". */
static void add_faults(char *out, size_t size, const Report *r, bool errors) {
    bool told[N_STAGE] = {false}, first = true;
    char fault[1400], other[1400];
    for (int s = 0; s < N_STAGE; s++) {
        if (told[s] || !at_fault(&r->stage[s], errors)) continue;
        *fault = 0;
        add_fault(fault, sizeof fault, r, (Stage)s, false);
        add_words(out, size, "%s%s", first ? "" : "; ", stage_info[s].name);
        first = false;
        for (int k = s + 1; k < N_STAGE; k++) {
            if (!at_fault(&r->stage[k], errors)) continue;
            *other = 0;
            add_fault(other, sizeof other, r, (Stage)k, false);
            if (strcmp(fault, other)) continue;
            add_words(out, size, ", %s", stage_info[k].name);
            told[k] = true;
        }
        add_words(out, size, ": %s", fault);
    }
}

void report_answer(char *out, size_t size, const Report *r) {
    *out = 0;
    bool as = false;
    for (int s = 0; s < N_STAGE; s++)
        as = as || (r->stage[s].judged && r->stage[s].verdict == VERDICT_RIGHT_AS);
    switch (report_outcome(r)) {
    case OUTCOME_RIGHT:
        add_words(out, size, as ? "right, as %s computes it" : "right", r->d->set.label);
        break;
    case OUTCOME_CHOICE:
        add_words(out, size, "right, but as another trainer does: ");
        add_faults(out, size, r, false);
        break;
    case OUTCOME_WRONG:
        add_words(out, size, "wrong: ");
        add_faults(out, size, r, true);
        break;
    }
}
