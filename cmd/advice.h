/* advice.h: settings of `train` that were measured, beside those of a run that is planned. */
#ifndef ADVICE_H
#define ADVICE_H

#include "lib/json.h"
#include "run/run.h"

/* The member "advice" of a plan that asks for it: the row of the table whose model is nearest in size, and as
 * lines of text how far the run's own options are from it. */
void advice_put(JsonWriter *w, const RunPlan *p);

#endif
