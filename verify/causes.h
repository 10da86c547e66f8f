/* causes.h: causes with a number in them: a setting that is not what the config says, a constant factor. */
#ifndef VERIFY_CAUSES_H
#define VERIFY_CAUSES_H

#include "verify/judge.h"

/* Each looks for what makes `base` give the numbers of a stage that nothing explains yet, and names all that
 * do. What costs too much on a large dump is left out. */

/* "your config says epsilon_high 0.2; these numbers fit 0.28" */
bool causes_fit(Report *r, Stage s, const Case *base, Err *e);
/* Settings that an earlier stage was found to have, where they explain this one too. */
bool causes_before(Report *r, Stage s, const Case *base, Err *e);
/* "12 times too large: 12 = completions"; row: a mistake of the catalogue beside it, or NULL. */
bool causes_factor(Report *r, Stage s, const Case *base, const Mistake *row, Err *e);
/* The same where the factor equals nothing that the dump tells. */
bool causes_any_factor(Report *r, Stage s, Err *e);

#endif
