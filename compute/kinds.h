/* kinds.h: the mathematics as a filter: one case in, its values and derivatives out (kinds as in known
 * answers). */
#ifndef KINDS_H
#define KINDS_H

#include "compute/arrays.h"
#include "grpo.h"

/* Writes one JSON object, the outputs, to out. False: nothing useful was written, the line in e names the
 * input. */
typedef bool ComputeRun(JsonWriter *out, const Json *inputs, Err *e);
typedef struct {
    const char *kind, *equations,
        *inputs; /* inputs: names and shapes; ? after a name: may be left out or null */
    ComputeRun *run;
} ComputeKind;

/* Tables end with kind == NULL. PPO and DPO: baselines.c; what reads whole rows of logits: logit_losses.c;
 * the kinds that need the network: model.c. */
extern const ComputeKind compute_kinds[], compute_baseline_kinds[], compute_logit_kinds[],
    compute_model_kinds[];
extern const ComputeKind *const compute_tables[];       /* all of these, then NULL */
const ComputeKind *compute_find(const char *kind);              /* NULL: not known */
bool compute_case(JsonWriter *out, const char *kind, const Json *inputs, Err *e);

/* The loss settings in the object inputs.NAME (absent: the defaults) as grpo_loss takes them; n_item NaN: not
 * given. */
typedef struct {
    GrpoConfig config;                  /* first, so that its rows are rows of this struct too */
    GrpoWindow window;
    double n_item, last_world_entropy;
} LossSettings;
void compute_loss_settings(Call *c, LossSettings *s, const char *name);

/* The inputs of a kind, with the settings of a loss spelt out. */
void compute_inputs(char *out, size_t size, const ComputeKind *k);

#endif
