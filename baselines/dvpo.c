/* dvpo.c: DVPO: targets of a value model (E240, E241), its loss (E242), and the advantages that its frozen
 * values give (E243, E245). The policy's loss (E244) is PPO's. Not here: the networks, cmd/reward.c and
 * cmd/ppo.c. */
#include "baselines/dvpo.h"

const char *const dvpo_advantage_names[] = { "q", "td", NULL };

/* y_t = A_t + v_t with A of E143 and E144 is the same as the recursion below; lam 0 is E240. */
void dvpo_targets(real *target, const real *value, const real *score, const size_t *offset, size_t n_reply,
                  double gamma, double lam) {
    for (size_t i = 0; i < n_reply; i++) {
        double y = score[i];
        for (size_t t = offset[i + 1]; t-- > offset[i]; ) {
            if (t + 1 < offset[i + 1]) y = gamma * ((1 - lam) * value[t + 1] + lam * y);
            target[t] = (real)y;
        }
    }
}

void dvpo_value_loss(double *loss, real *dvalue, const real *value, const real *target, size_t n,
                     double n_valid) {
    for (size_t t = 0; t < n; t++) {
        const double d = (double)value[t] - target[t];
        dvalue[t] = (real)(d / n_valid);
        *loss += 0.5 * d * d / n_valid;
    }
}

/* After token t the value is v_{t+1}, and v_n is kept: with a value of 0 behind the last token, as in E144,
 * and no score there, a value that stays at v would give its last tokens an advantage of about -v. */
void dvpo_advantages(real *adv, const real *reward, const real *value, const size_t *offset, size_t n_reply,
                     DvpoAdvantage advantage, double gamma, double lam) {
    for (size_t i = 0; i < n_reply; i++) {
        const real *v = value + offset[i] + i;          /* [n + 1] of this reply */
        double a = 0;
        for (size_t t = offset[i + 1] - offset[i]; t-- > 0; ) {
            const double q = reward[offset[i] + t] + gamma * v[t + 1];
            a = advantage == ADVANTAGE_Q ? q : q - v[t] + gamma * lam * a;
            adv[offset[i] + t] = (real)a;
        }
    }
}
