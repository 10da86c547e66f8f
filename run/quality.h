/* quality.h: how good the scores of a reward model are, one label at a time (E46 to E51). */
#ifndef QUALITY_H
#define QUALITY_H

#include "lib/real.h"

typedef struct {
    size_t n;                                           /* rows where the label is there */
    double mse, rmse, mae, bias;                        /* E46, in the label's units */
    double r2, pearson, spearman;                       /* E47 to E49; NaN where undefined */
    double calibration_slope, calibration_intercept;    /* E50 */
    double calibration_error;                           /* E51 */
} Quality;
typedef struct { double x, y, rank; size_t at; } QualityPair;            /* scratch */
typedef struct { double mean_score, mean_label; size_t count; } QualityBin;     /* E51 */

/* Label k of score and label [n, n_label]. scratch: n QualityPair. bin: n_bin entries, or NULL with n_bin > 0
 * still used for calibration_error. With nothing there every number but n is NaN. */
void quality_of(Quality *out, QualityBin *bin, int n_bin, const real *score, const real *label, size_t n,
                size_t n_label, size_t k, QualityPair *scratch);

#endif
