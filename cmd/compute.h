/* compute.h: the mathematics as a filter: one case in, its values and derivatives out (kinds as in known answers). */
#ifndef COMPUTE_H
#define COMPUTE_H

#include "lib/base.h"
#include "lib/json.h"

/* Writes one JSON object, the outputs, to out. False: nothing useful was written, the line in e names the input. */
typedef bool ComputeRun(JsonWriter *out, const Json *inputs, Err *e);
typedef struct {
    const char *kind, *equations, *inputs;      /* inputs: names and shapes; ? after a name: may be left out or null */
    ComputeRun *run;
} ComputeKind;

/* Tables end with kind == NULL. The kinds that need the network are in compute_model.c. */
extern const ComputeKind compute_kinds[], compute_model_kinds[];
const ComputeKind *compute_find(const char *kind);              /* NULL: not known */
bool compute_case(JsonWriter *out, const char *kind, const Json *inputs, Err *e);

int cmd_compute(int argc, char **argv);

#endif
