/* robust.c: losses by group and the weights of groups: E212 to E217. */
#include "baselines/robust.h"

const char *const group_loss_names[] = {"sum", "mean", NULL};
const char *const group_weights_names[] = {"adaptive", "fixed", "counts", "none", NULL};

bool robust_config_check(const RobustConfig *c, Err *e) {
    return (c->step_size >= 0 && !isinf(c->step_size)) ||
           fail(e, "group_step_size: found %g, expected 0 or more", c->step_size);
}

void robust_start(double *q, const double *count, int n_group, GroupWeights weights) {
    double sum = 0;
    for (int g = 0; g < n_group; g++)
        sum += q[g] = weights == GROUP_COUNTS ? 1 / count[g] : weights == GROUP_NONE ? count[g] : 1;
    for (int g = 0; g < n_group; g++) q[g] /= sum;
}

/* What a pair's loss counts in E212: N / N_g, or 1 / (pairs of its group in the micro-batch). */
static void group_scales(double *scale, const int *group, size_t n, const double *count, int n_group,
                         GroupLoss loss) {
    double total = 0;
    for (int g = 0; g < n_group; g++) total += count[g], scale[g] = 0;
    for (size_t i = 0; i < n; i++) scale[group[i]]++;
    for (int g = 0; g < n_group; g++)
        scale[g] = loss == GROUP_SUM ? total / count[g] : scale[g] ? 1 / scale[g] : 0;
}

/* sum: loss_g = N sum ell_i / N_g;   mean: the mean of ell_i over the group's pairs; 0 if there are none */
void robust_group_losses(double *group_loss, const double *ell, const int *group, size_t n,
                         const double *count, int n_group, GroupLoss loss) {
    double scale[GROUPS_MOST];
    group_scales(scale, group, n, count, n_group, loss);
    for (int g = 0; g < n_group; g++) group_loss[g] = 0;
    for (size_t i = 0; i < n; i++) group_loss[group[i]] += ell[i];
    for (int g = 0; g < n_group; g++) group_loss[g] *= scale[g];
}

/* q_g <- q_g exp(eta loss_g) / sum; the largest loss is taken out first, which changes no quotient */
void robust_step(double *q, const double *group_loss, int n_group, double step_size) {
    double largest = group_loss[0], sum = 0;
    for (int g = 1; g < n_group; g++) largest = group_loss[g] > largest ? group_loss[g] : largest;
    for (int g = 0; g < n_group; g++) sum += q[g] *= d_exp(step_size * (group_loss[g] - largest));
    for (int g = 0; g < n_group; g++) q[g] /= sum;
}

/* L = sum_g q_g loss_g;   dell_i = q_g N / N_g, or q_g / (pairs of g) */
double robust_loss(double *dell, const double *group_loss, const int *group, size_t n, const double *q,
                   const double *count, int n_group, GroupLoss loss) {
    double scale[GROUPS_MOST], sum = 0;
    group_scales(scale, group, n, count, n_group, loss);
    for (int g = 0; g < n_group; g++) sum += q[g] * group_loss[g];
    for (size_t i = 0; i < n; i++) dell[i] = q[group[i]] * scale[group[i]];
    return sum;
}

void robust_worst(double *loss, double *accuracy, const GroupSums *sums, int n_group) {
    *loss = *accuracy = NAN;
    for (int g = 0; g < n_group; g++) {
        const GroupSums *s = &sums[g];
        if (s->n && !(*loss >= s->loss / s->n)) *loss = s->loss / s->n;
        if (s->n && !(*accuracy <= s->right / s->n)) *accuracy = s->right / s->n;
    }
}
