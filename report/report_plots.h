/* report_plots.h: the plots of `grpo report`. */
#ifndef REPORT_PLOTS_H
#define REPORT_PLOTS_H

#include "report/arms.h"
#include "report/page.h"

/* Runs of one class share panels, for their steps mean the same. */
typedef enum { BY_IMITATION, BY_PREFERENCE, BY_REWARD, N_CLASS } ArmClass;
ArmClass arm_class(const Arm *a);               /* by its command; whatever else it is: BY_IMITATION */
void report_frontier(Page *p, const Section *s);        /* nothing where replies have no KL or no score */
void report_curves(Page *p, const Section *s);

#endif
