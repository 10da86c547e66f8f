/* step_open.h: what stands before and behind the steps of GRPO, for train, ppo, trace and bench: opening,
 * plan, the end. */
#ifndef STEP_OPEN_H
#define STEP_OPEN_H

#include "run/loop.h"
#include "step.h"

/* of a StepConfig, beside those of its parts */
extern const Setting generation_settings[], step_settings[];

/* Checks all options but those of the run (run_options_check) and loads everything; writes nothing. What is
 * done is counted in *cost. On failure too, step_close frees what there is. */
bool step_open(Step *s, const StepConfig *c, Costs *cost, Err *e);
/* The same for measurements of any model folder: prompts of prompt_length made-up tokens, made-up scores for
 * one label, completions that no token ends. Only the model is read; the options of data and scores are not
 * looked at. */
bool step_open_synthetic(Step *s, const StepConfig *c, int prompt_length, Costs *cost, Err *e);
void step_close(Step *s);
/* What goes into the checkpoints of t; and where the steps go on once t's has been read. */
void step_keep(Step *s, Trainer *t);
void step_seek(Step *s);

/* All completions of a generation, and those of a pass over it in micro-batches, as lengths, if prompts are
 * as the data's and completions have `length` tokens. */
Texts step_planned_drawn(const Step *s, double length);
Texts step_planned_pass(const Step *s, double length);
/* What a reward model reads of `read` generations; and a critic, after the last tokens too. */
Texts step_planned_replies(const Step *s, double length, double read);
Texts step_planned_states(const Step *s, double length, double read);
/* Memory by kind (E195 to E198), and the reward models' passes over `read` generations of completions as long
 * as the policy's, added to c. */
bool step_planned_rest(Cost *c, const Step *s, double length, double read, Err *e);
/* Operations of one generation and all updates on it, without scores. */
double step_planned_flops(const Step *s, double length);
Networks step_networks(const Step *s);
/* What a run will take, nothing loaded but the data: memory by the plan that the run itself makes; seconds of
 * an update from generations like the run's with few tokens, made-up and timed on this machine, and by E190
 * from there to completions of full length. */
bool step_plan(RunPlan *p, const StepConfig *c, Err *e);

/* ---- step_speed.c ---- */

/* Whether a generation like the run's and its updates, with short completions, would take too long to be
 * timed whole. */
bool step_dear(const Step *s);
/* What is said of the seconds then. */
#define STEP_PARTS "parts of a step were timed on this machine, the rest is counted (E199)"
/* Then: seconds of all that c counts, from parts that are timed in a few seconds, with a policy that is
 * loaded anew. Completions have `length` tokens in the mean; generations and updated as in cost_seconds. */
bool step_seconds(double *seconds, const Cost *c, const Step *s, double length, double generations,
                  double updated, Err *e);

/* ---- step_report.c ---- */

/* An update of GRPO: members of its line, and what the progress line says. */
void step_log(JsonWriter *w, Step *s, double tokens);
void step_detail(char text[128], const Step *s);
/* What is watched of the run whose checkpoints are t's, and an evaluation of the held-out prompts. */
bool step_watch(Step *s, Trainer *t, Err *e);
bool step_evaluate(Step *s, Err *e);
/* From here on the networks count what they do in c. */
void step_count(Step *s, Costs *c);
/* means of the generations, and multipliers: members of the line */
void step_log_generation(JsonWriter *w, Step *s);
/* final/, and with held-out prompts eval.json, the table of before and after, their replies and a page. */
bool step_finish(JsonWriter *w, Training *t, Step *s, Err *e);

#endif
