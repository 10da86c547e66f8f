/* stages.c: the dump's numbers before a stage go in, what training would make of them comes out.
 *
 * In this order: which tokens count; rewards to advantages; ratios, KL, loss and its derivative; the step;
 * the case that all of them read. What runs the model is network.c. */
#include "verify/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/trainer.h"

/* ---- tokens ---- */
static bool stop_among(const DumpSettings *s, int id) {
    for (int i = 0; i < s->n_stop; i++) if (s->stop[i] == id) return true;
    return false;
}

/* With mask_truncated_completions TRL's own completion_mask, which is its attention mask too, is 0 for a
 * completion that was cut: then its tokens are not there. */
static bool left_out_by_trl(const Dump *d, size_t i, bool ended) {
    return d->set.grpo.mask_truncated_completions && !ended && d->completion_mask &&
           !memchr(d->completion_mask + i * d->width, 1, d->width);
}

/* Whether the stop token at column t ends the model's turn, not the completion: a tool's answer follows,
 * which is there but takes no part in the loss. */
static bool turn_ends(const Dump *d, size_t i, size_t t) {
    const size_t next = i * d->width + t + 1;
    return t + 1 < d->width && d->completion_mask && d->loss_mask && d->completion_mask[next] &&
           !d->loss_mask[next];
}

/* E22: a completion's tokens: from its first column up to and including the first stop token; without one up
 * to the padding. Where ids or stop ids are missing, what the file's mask says. Where padding stands first,
 * the mask says so too. */
static void find_real_tokens(unsigned char *out, const Dump *d) {
    for (size_t i = 0; i < d->n; i++) {
        const int *id = d->id ? d->id + i * d->width : NULL;
        const unsigned char *given = d->completion_mask ? d->completion_mask + i * d->width : NULL;
        unsigned char *to = out + i * d->width;
        if (!d->id || !d->set.n_stop) {
            if (given) memcpy(to, given, d->width);
            else memset(to, 1, d->width);
            continue;
        }
        size_t start = 0, end;
        if (d->whole_rows && d->prompt_mask) {          /* the column after the prompt's last */
            for (size_t t = 0; t < d->width; t++) if (d->prompt_mask[i * d->width + t]) start = t + 1;
            while (start < d->width && d->real_token && !d->real_token[i * d->width + start]) start++;
        } else if (d->whole_rows) while (start < d->width && !given[start]) start++;
        else {
            while (start < d->width && given && !given[start] && id[start] == d->set.pad) start++;
            if (start == d->width) start = 0;
        }
        for (end = start; end < d->width && !(stop_among(&d->set, id[end]) && !turn_ends(d, i, end));) end++;
        if (end < d->width) end++;
        else while (end > start && d->set.pad >= 0 && id[end - 1] == d->set.pad) end--;
        memset(to, 0, d->width);
        if (left_out_by_trl(d, i, end > start && stop_among(&d->set, id[end - 1]))) continue;
        if (end > start) memset(to + start, 1, end - start);
    }
}

/* E119: completions that did not end, if they are to be left out. */
static void find_loss_tokens(unsigned char *out, const Dump *d, const unsigned char *real_token) {
    memcpy(out, real_token, d->n * d->width);
    if (!d->set.grpo.mask_truncated_completions || !d->id || !d->set.n_stop) return;
    for (size_t i = 0; i < d->n; i++) {
        bool ended = false;
        for (size_t t = 0; t < d->width; t++)
            ended = ended || (real_token[i * d->width + t] && stop_among(&d->set, d->id[i * d->width + t]));
        if (!ended) memset(out + i * d->width, 0, d->width);
    }
}

double case_row_count(const Case *c, size_t i) {
    double n = 0;
    for (size_t t = 0; t < c->d->width; t++) n += c->mask[i * c->d->width + t];
    return n;
}

/* ---- from log-probabilities to the loss ---- */
void case_input(GrpoIn *in, size_t *offset, const Case *c) {
    for (size_t i = 0; i <= c->d->n; i++) offset[i] = i * c->d->width;
    *in = (GrpoIn){.n_completion = c->d->n, .offset = offset, .logp = c->logp, .old = c->old, .ref = c->ref,
                   .sampler = c->sampler ? c->sampler : c->old, .mask = c->mask, .entropy = c->entropy,
                   .advantage = c->advantage, .advantage_token = c->advantage_token,
                   .row_weight = c->d->row_weight, .policy_mask = c->policy_mask, .kl_cov = c->kl_cov};
    if (c->isr && c->s.grpo.importance_sampling_correction) {
        if (c->isr_per_row) in->isr_sequence = c->isr;
        else in->isr_token = c->isr;
    }
}

GrpoWindow case_window(const Case *c) {
    GrpoWindow w = c->s.window;
    if (isnan(w.n_item)) {
        w.n_item = 0;
        for (size_t i = 0; i < c->d->n; i++) w.n_item += case_row_count(c, i);
    }
    return w;
}

GrpoMicro case_micro(const Case *c, Pool *p, Err *e) {
    GrpoMicro m = {0};
    GrpoIn in;
    size_t *offset = pool_take(p, c->d->n + 1, sizeof *offset, e);
    double *scratch = pool_take(p, c->d->n * c->d->width, sizeof *scratch, e);
    if (!offset || !scratch) return m;
    case_input(&in, offset, c);
    grpo_micro(&m, &in, &c->s.grpo, scratch);
    return m;
}

double *case_row_weights(const Case *c, Pool *p, Err *e) {
    double *w = pool_take(p, c->d->n, sizeof *w, e);
    if (!w) return NULL;
    if (c->row_weight) { memcpy(w, c->row_weight, c->d->n * sizeof *w); return w; }
    const GrpoMicro m = case_micro(c, p, e);
    const GrpoWindow window = case_window(c);
    for (size_t i = 0; i < c->d->n; i++) {
        w[i] = grpo_token_weight(&c->s.grpo, &window, &m, case_row_count(c, i));
        if (c->d->row_weight) w[i] *= c->d->row_weight[i];
    }
    return e->line[0] ? NULL : w;
}

/* Everything grpo.c tells of every token, as the dump's own ratio would have it where own_ratio. */
typedef struct { GrpoToken *token; GrpoTold *row; } Told;

static bool tell_case(Told *t, const Case *from, bool own_ratio, Pool *p, Err *e) {
    const Dump *d = from->d;
    Case c = *from;
    size_t *offset = pool_take(p, d->n + 1, sizeof *offset, e);
    t->token = pool_take(p, d->n * d->width, sizeof *t->token, e);
    t->row = pool_take(p, d->n, sizeof *t->row, e);
    real *old = pool_take(p, d->n * d->width, sizeof *old, e), *zero = pool_take(p, d->n, sizeof *zero, e);
    if (!offset || !t->token || !t->row || !old || !zero) return false;
    GrpoIn in;
    if (!c.advantage) c.advantage = zero;               /* a ratio needs none */
    case_input(&in, offset, &c);
    if (own_ratio && c.ratio && c.s.grpo.loss_type != LOSS_VESPO && c.s.grpo.loss_type != LOSS_GMPO) {
        for (size_t j = 0; j < d->n * d->width; j++) {
            const double r = c.ratio[c.ratio_per_row ? j / d->width : j];
            old[j] = r > 0 && isfinite(r) ? (real)(c.logp[j] - d_log(r)) : c.old ? c.old[j] : c.logp[j];
        }
        in.old = old;
        /* its values are what they are */
        c.s.grpo.importance_sampling_level = LEVEL_TOKEN;
    }
    const GrpoMicro m = case_micro(&c, p, e);
    const GrpoWindow w = case_window(&c);
    for (size_t i = 0; i < d->n && !e->line[0]; i++)
        grpo_tell(&t->row[i], t->token + i * d->width, &in, i, &c.s.grpo, &w, &m);
    return !e->line[0];
}

/* The loss type whose policy term the case has. */
static LossType case_term(const Case *c) {
    const GrpoConfig *g = &c->s.grpo;
    return g->policy_term == TERM_LOSS_TYPE                               ? g->loss_type
           : g->policy_term == TERM_CISPO || g->policy_term == TERM_LOGP ? LOSS_CISPO
                                                                         : LOSS_GRPO;
}

/* E94, E96: kappa, and its derivative by the token's own logp without what a sequence shares; k and dk from
 * the case's estimator. */
static void case_kl(double *kappa, double *own, const Case *c, size_t j, double ratio, double slope) {
    double k, dk;
    const bool corrected = c->s.grpo.use_bias_correction_kl && c->s.grpo.loss_type != LOSS_GMPO,
               sequence = c->s.grpo.importance_sampling_level == LEVEL_SEQUENCE;
    if (c->kl_formula) c->kl_formula(&k, &dk, c->logp[j], c->ref[j]);
    else k = grpo_kl_estimate(&dk, c->logp[j], c->ref[j], &c->s.grpo);
    *kappa = corrected ? k * ratio : k;
    *own = corrected ? ratio * (sequence ? dk : dk + slope * k) : dk;
}

static bool compute_kl(real *out, const Case *c, Pool *p, Err *e) {
    Told t;
    Case x = *c;
    /* KL itself does not depend on it; grpo.c leaves it out at 0 */
    if (x.s.grpo.beta == 0) x.s.grpo.beta = 1;
    if (!tell_case(&t, &x, true, p, e)) return false;
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        double kappa = t.token[j].kl, slope;
        if (c->kl_formula && c->mask[j]) case_kl(&kappa, &slope, c, j, t.token[j].ratio, 1);
        out[j] = c->mask[j] ? (real)kappa : 0;
    }
    return true;
}

/* E111. The KL is the dump's own where it has it. */
static bool compute_token_loss(real *out, const Case *c, Pool *p, Err *e) {
    Told t;
    Case x = *c;
    const double beta = c->s.grpo.beta, sign = c->policy_sign != 0 ? c->policy_sign : 1;
    x.s.grpo.beta = 0;
    if (!tell_case(&t, &x, true, p, e)) return false;
    real *kl = NULL;
    if (beta != 0 && (!c->kl || c->kl_formula)) {
        if (!(kl = pool_take(p, c->d->n * c->d->width, sizeof *kl, e)) || !compute_kl(kl, c, p, e))
            return false;
    }
    for (size_t j = 0; j < c->d->n * c->d->width; j++)
        out[j] = (real)(c->mask[j] ? sign * t.token[j].loss + (beta != 0 ? beta * (kl ? kl[j] : c->kl[j]) : 0)
                                   : 0);
    return true;
}

/* E112 to E115 completion by completion; dlogp, dentropy may be NULL. What no setting reaches is put in
 * between: a completion's loss and derivatives are proportional to its c_i, and the KL's part is a term of
 * its own. */
static bool loss_by_rows(double *loss, real *dlogp, real *dentropy, const Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const size_t all = d->n * d->width;
    size_t *offset = pool_take(p, d->n + 1, sizeof *offset, e);
    real *own_dlogp = pool_take(p, all, sizeof *own_dlogp, e);
    const double *weight = case_row_weights(c, p, e);
    if (!offset || !own_dlogp || !weight) return false;
    Case x = *c;
    const LossType type = c->s.grpo.loss_type;
    const double beta = c->s.grpo.beta, sign = c->policy_sign != 0 ? c->policy_sign : 1;
    const bool split = (c->kl_formula || sign != 1 || c->ratio_slope || c->policy_slope) && type != LOSS_GMPO,
               through_ratio = case_term(c) != LOSS_CISPO && case_term(c) != LOSS_VESPO;
    const bool sequence =
        c->s.grpo.importance_sampling_level == LEVEL_SEQUENCE && c->s.grpo.use_bias_correction_kl;
    Told told = {0};
    if (split && beta != 0 && !tell_case(&told, &x, false, p, e)) return false;
    if (split) x.s.grpo.beta = 0;
    GrpoIn in;
    case_input(&in, offset, &x);
    const GrpoMicro m = case_micro(&x, p, e);
    const GrpoWindow w = case_window(&x);
    GrpoSums sums;
    grpo_sums_start(&sums);
    for (size_t i = 0; i < d->n; i++) {
        const double n = case_row_count(c, i), factor = c->d->row_weight ? c->d->row_weight[i] : 1,
                     right = grpo_token_weight(&x.s.grpo, &w, &m, n) * factor,
                     scale = weight[i] == right || right == 0 ? 1 : weight[i] / right,
                     share = split && beta != 0 ? told.row[i].kl_share : 1;
        const GrpoIn one = grpo_slice(&in, i, 1);
        const double before = sums.policy;
        double shared = 0;
        sums.policy = 0;
        grpo_loss(&sums, own_dlogp, dentropy, &one, &x.s.grpo, &w, &m);
        sums.policy = before + sums.policy * scale * sign;
        for (size_t t = i * d->width; t < (i + 1) * d->width; t++) {
            const double slope = c->ratio_slope ? c->ratio_slope[t] : 1;
            double g = own_dlogp[t] * scale * sign * (through_ratio ? slope : 1) *
                       (c->policy_slope ? c->policy_slope[t] : 1),
                   kappa, own;
            if (split && beta != 0 && c->mask[t]) {
                case_kl(&kappa, &own, c, t, told.token[t].ratio, slope);
                sums.policy += share * weight[i] * beta * kappa;
                g += share * weight[i] * beta * own;
                if (sequence) shared += share * weight[i] * beta * kappa;
            }
            if (dlogp) dlogp[t] = (real)g;
        }
        for (size_t t = i * d->width; dlogp && shared != 0 && t < (i + 1) * d->width; t++)
            if (c->mask[t])
                dlogp[t] =
                    (real)(dlogp[t] + shared / (n > 1 ? n : 1) * (c->ratio_slope ? c->ratio_slope[t] : 1));
    }
    if (loss) *loss = grpo_loss_value(&sums, &w, &m);
    return !e->line[0];
}

static bool loss_derivative(real *dlogp, real *dentropy, const Case *c, Pool *p, Err *e) {
    return loss_by_rows(NULL, dlogp, dentropy, c, p, e);
}

/* E6 to E21 from the dump's own derivatives by the log-probabilities where it has them. */
static bool compute_gradient(real *grad, const Case *c, Pool *p, Err *e) {
    const size_t all = c->d->n * c->d->width;
    real *dlogp = pool_take(p, all * 2, sizeof *dlogp, e), *dentropy = dlogp ? dlogp + all : NULL;
    if (!dlogp) return false;
    if ((!c->dlogp || c->s.window.entropy_coef != 0) && !loss_derivative(dlogp, dentropy, c, p, e))
        return false;
    if (c->dlogp) for (size_t j = 0; j < all; j++) dlogp[j] = c->mask[j] ? c->dlogp[j] : 0;
    return network_gradient(grad, dlogp, dentropy, c, p, e);
}

/* E112 from the dump's own per-token loss where it has it. */
static bool compute_loss(real *out, const Case *c, Pool *p, Err *e) {
    double loss;
    if (!c->token_loss || c->s.grpo.loss_type == LOSS_GMPO) {
        if (!loss_by_rows(&loss, NULL, NULL, c, p, e)) return false;
        *out = (real)loss;
        return true;
    }
    const double *weight = case_row_weights(c, p, e);
    const GrpoMicro m = case_micro(c, p, e);
    const GrpoWindow w = case_window(c);
    GrpoSums sums;
    grpo_sums_start(&sums);
    if (!weight) return false;
    const GrpoConfig *g = &c->s.grpo;
    const double *factor = c->d->row_weight;
    const real *kl = c->kl;                             /* which is in the loss with weights of its own */
    const bool apart = g->beta != 0 && g->kl_aggregation != SUM_DEFAULT && (kl || c->ref);
    if (apart && !kl) {
        real *own = pool_take(p, c->d->n * c->d->width, sizeof *own, e);
        if (!own || !compute_kl(own, c, p, e)) return false;
        kl = own;
    }
    for (size_t i = 0; i < c->d->n; i++) {
        const double n = case_row_count(c, i), own = factor ? factor[i] : 1,
                     bonus = grpo_entropy_weight(g, &w, &m, n) * own,
                     extra = !apart ? 0
                                    : own * (grpo_kl_weight(g, &w, &m, n) - grpo_token_weight(g, &w, &m, n));
        for (size_t j = i * c->d->width; j < (i + 1) * c->d->width; j++) {
            if (!c->mask[j]) continue;
            sums.policy += weight[i] * c->token_loss[c->d->per_row[STAGE_TOKEN_LOSS] ? i : j];
            if (extra != 0) sums.policy += extra * g->beta * kl[j];
            if (!c->entropy || c->entropy[j] < m.entropy_threshold) continue;
            if (isnan(bonus)) sums.entropy_bonus += c->entropy[j];
            else sums.weighed_bonus += w.entropy_coef * bonus * c->entropy[j];
        }
    }
    *out = (real)grpo_loss_value(&sums, &w, &m);
    return !e->line[0];
}

/* beta times what exp(D) - 1 - D is the difference of, halved: rounding is a half of a unit in the last
 * place. */
static double kl_noise(const Case *c, size_t j, double ratio) {
    if (!c->ref || c->s.grpo.kl_estimator != KL_LOSS_K3) return 0;
    const double times = c->s.grpo.use_bias_correction_kl ? ratio : 1;
    return times * (1 + d_exp(fmin((double)c->ref[j] - c->logp[j], 20))) / 2;
}

/* SAPO's derivative has 1 - sigmoid, which rounds as 1 does: far off policy nothing else is left of it. */
static double sapo_noise(const Case *c, const GrpoToken *k) {
    const GrpoConfig *g = &c->s.grpo;
    if (!grpo_term_is(g, LOSS_SAPO)) return 0;
    const double temperature = k->ell < 0 ? g->sapo_temperature_pos : g->sapo_temperature_neg;
    return fabs(k->factor * k->ell * k->ratio) * temperature / 2;
}

bool case_noise(double *noise, const Case *c, Stage s, Pool *p, Err *e) {
    const size_t width = c->d->width;
    const double beta = c->s.grpo.beta;
    if (s == STAGE_ADVANTAGES) return advantage_noise(noise, c, p, e);
    Told t;
    if (!c->logp || !tell_case(&t, c, s != STAGE_DLOGP, p, e)) return !e->line[0];
    for (size_t i = 0; i < c->d->n; i++) {
        double shared = 0;
        for (size_t j = i * width; j < (i + 1) * width; j++) {
            if (!c->mask[j]) continue;
            const GrpoToken *k = &t.token[j];
            const double kl = kl_noise(c, j, k->ratio),
                         ell = fabs(k->factor * (s == STAGE_DLOGP ? k->g : k->ell));
            noise[j] = s == STAGE_KL ? kl : beta * kl + (isnan(ell) ? 0 : ell / 2);
            if (s == STAGE_DLOGP) noise[j] = (noise[j] + sapo_noise(c, k)) * k->weight;
            shared += noise[j];
        }
        for (size_t j = i * width; s == STAGE_DLOGP && j < (i + 1) * width; j++)        /* E114 */
            noise[j] += shared / fmax(t.row[i].n, 1);
    }
    return true;
}

bool case_loss_scale(double *scale, const Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const double *weight = case_row_weights(c, p, e);
    const GrpoMicro m = case_micro(c, p, e);
    Told t = {0};
    real *own = NULL;
    if (!weight || e->line[0]) return false;
    const bool gmpo = c->s.grpo.loss_type == LOSS_GMPO;
    if (gmpo ? !tell_case(&t, c, false, p, e)
             : !c->token_loss && (!(own = pool_take(p, d->n * d->width, sizeof *own, e)) ||
                                  !compute_token_loss(own, c, p, e)))
        return false;
    double terms = 0, bonus = 0, kl = 0;
    for (size_t j = 0; j < d->n * d->width; j++) {
        const size_t i = j / d->width;
        if (!c->mask[j]) continue;
        const double l = gmpo ? t.row[i].gmpo * t.row[i].adv
                              : (own ? own : c->token_loss)[!own && d->per_row[STAGE_TOKEN_LOSS] ? i : j];
        if (isfinite(l)) terms += fabs(weight[i] * l);
        /* E302: a rounding error of 1 is 2^-24, the tolerance 4e-6 */
        if (c->logp && c->s.grpo.beta != 0) kl += fabs(weight[i]) * c->s.grpo.beta * kl_noise(c, j, 1) / 16;
        if (c->entropy && c->entropy[j] >= m.entropy_threshold) bonus += c->entropy[j];
    }
    const double n = m.n_entropy_token > 1 ? m.n_entropy_token : 1;
    bonus = fabs(c->s.window.entropy_coef * bonus / n) / c->s.window.gradient_accumulation_steps;
    *scale = terms + kl + bonus;
    return true;
}

/* ---- the step ---- */
static double norm_of(const real *grad, const Model *m) {
    double sum = 0;
    for (int i = 0; i < m->n_param; i++)
        if (m->param[i].trainable)
            sum += grad_square_sum(grad + m->param[i].offset, param_count(&m->param[i]));
    return sqrt(sum);
}

/* A tensor of the dump's family `prefix` into out, if it is there. */
static bool family_value(real *out, bool *found, const Dump *d, const char *prefix, const Param *q, Err *e) {
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, q->name);
    const Tensor *t = safetensors_find(d->file, name);
    *found = t != NULL && !(d->inputs_only && !strcmp(prefix, "grad."));
    if (!*found) return true;
    if (t->count != param_count(q) || t->n_dim < 1 || t->n_dim > 2 ||
        (t->n_dim == 2 && t->shape[1] != (size_t)q->cols))
        return fail(e, "%s: tensor %.160s: found %zu numbers in %d dimensions, expected (%d,%d) as the model "
                    "has", d->path, name, t->count, t->n_dim, q->rows, q->cols);
    tensor_reals(out, t, 0, t->count);
    return true;
}

static bool compute_step(real *out, const Case *c, Pool *p, Err *e) {
    const Model *m = c->model.policy;
    real *g = pool_take(p, m->n_trainable, sizeof *g, e),
         *mean = pool_take(p, m->n_trainable, sizeof *mean, e),
         *square = pool_take(p, m->n_trainable, sizeof *square, e);
    if (!g || !mean || !square) return false;
    memcpy(g, c->grad, m->n_trainable * sizeof *g);
    const double norm = isnan(c->grad_norm) ? norm_of(g, m) : c->grad_norm;
    AdamW o = c->s.adamw;
    const double c2 = 1 - d_pow(o.beta2, (double)c->s.step);
    double max = c->s.max_grad_norm;
    if (c->clip_max_factor != 0 && max > 0) max *= (norm + 1e-6) / norm;
    if (c->adam_eps_factor != 0) o.eps /= sqrt(c2);
    grad_scale(g, m->n_trainable, clip_coefficient(norm, max));
    bool found;
    for (int i = 0; i < m->n_param; i++) {
        const Param *q = &m->param[i];
        if (!q->trainable) continue;
        const size_t n = param_count(q);
        real *to = out + q->offset;
        if (!family_value(mean + q->offset, &found, c->d, "exp_avg.", q, e) ||
            !family_value(square + q->offset, &found, c->d, "exp_avg_sq.", q, e))
            return false;
        memcpy(to, q->data, n * sizeof *to);
        AdamW own = o;
        if (!q->is_matrix && !c->adam_decay_all && !c->s.weight_decay_all) own.weight_decay = 0; /* E283 */
        if (c->adam_l2) {
            for (size_t j = 0; j < n; j++) g[q->offset + j] += (real)(own.weight_decay * to[j]);
            own.weight_decay = 0;
        }
        adamw_update(to, mean + q->offset, square + q->offset, g + q->offset, n, &own, c->s.step);
    }
    return true;
}

/* ---- stages ---- */
size_t stage_size(const Case *c, Stage s) {
    switch (stage_info[s].shape) {
    case SHAPE_ONE: return 1;
    case SHAPE_ROWS: return c->d->n;
    case SHAPE_PARAMETERS: return c->model.policy ? c->model.policy->n_trainable : 0;
    case SHAPE_LOGITS:
        return c->count * c->d->width * (c->model.policy ? (size_t)c->model.policy->config.vocab : 0);
    case SHAPE_MASK: case SHAPE_TOKENS: case SHAPE_TOKENS_OR_ROWS: break;
    }
    return c->d->n * (c->d->width ? c->d->width : 1);
}

bool stage_per_row(const Case *c, Stage s) {
    if (s == STAGE_ADVANTAGES) return c->s.kl_reward_coef == 0 || c->s.kl_reward == KL_REWARD_SEQUENCE;
    if (s == STAGE_ISR) return !variant_isr_per_token(c->s.grpo.importance_sampling_mode);
    return s == STAGE_RATIO && c->s.grpo.importance_sampling_level == LEVEL_SEQUENCE;
}

bool case_on_policy(const Case *c) {
    return grpo_aligned(c->s.window.gradient_accumulation_steps, c->s.window.steps_per_generation,
                        c->s.grpo.num_iterations);
}

/* What a stage of log-probabilities is computed with: the dump's own logits, a model, or nothing. */
typedef struct { const Model *model; bool logits; } Source;

static Source source_of(const Case *c, Stage s) {
    const bool own = c->d->tensor[STAGE_LOGITS] && c->d->id;
    if (s == STAGE_LOGITS) return (Source){c->model.policy, false};
    if (s == STAGE_LOGPS || s == STAGE_ENTROPIES) return (Source){c->model.policy, own};
    if (s == STAGE_REF) return (Source){c->model.reference ? c->model.reference : c->model.policy, false};
    if (c->model.old) return (Source){c->model.old, false};
    return case_on_policy(c) ? (Source){c->model.policy, own && s == STAGE_SAMPLER} : (Source){NULL, false};
}

const char *stage_obstacle(const Case *c, Stage s) {
    const Dump *d = c->d;
    const bool ids = d->id && (d->prompt_id || d->whole_rows);
    switch (s) {
    case STAGE_MASK: return d->id && c->s.n_stop ? NULL : d->id ? "no eos_token_id" : "no completion_ids";
    case STAGE_LOSS_MASK: return d->completion_mask || (d->id && c->s.n_stop) ? NULL : "no completion_mask";
    case STAGE_LOGITS:
    case STAGE_LOGPS:
    case STAGE_OLD:
    case STAGE_REF:
    case STAGE_SAMPLER:
    case STAGE_ENTROPIES: {
        const Source from = source_of(c, s);
        if (from.logits) return NULL;
        if (!from.model)
            return s == STAGE_REF                         ? "no --ref-model"
                   : s == STAGE_SAMPLER || s == STAGE_OLD ? "no --old-model"
                                                          : "no --model";
        if (d->set.weights_after && s != STAGE_REF) return "the folder's weights are those after the step";
        return ids ? NULL : "no prompt_ids";
    }
    case STAGE_REWARDS: return c->score ? NULL : "no rewards_per_func";
    case STAGE_ADVANTAGES:
        if (d->advantage_varies && stage_per_row(c, s)) return "they differ from token to token, as declared";
        if (c->s.kl_reward_coef != 0 && !(c->old || c->logp)) return "no per_token_logps";
        if (c->s.kl_reward_coef != 0 && !c->ref) return "no ref_per_token_logps";
        if (grpo_from_reward(&c->s.grpo))
            return c->reward ? NULL : "no rewards";
        return c->score ? NULL : "no rewards_per_func";
    case STAGE_ISR: return c->sampler && (c->old || c->logp) ? NULL : "no sampling_per_token_logps";
    case STAGE_RATIO: return c->logp ? NULL : "no per_token_logps";
    case STAGE_KL: return !c->logp ? "no per_token_logps" : !c->ref ? "no ref_per_token_logps" : NULL;
    case STAGE_TOKEN_LOSS:
        if (c->s.grpo.loss_type == LOSS_GMPO) return "gmpo has a loss per completion";
        /* fall through */
    case STAGE_LOSS: case STAGE_DLOGP:
        if (s == STAGE_LOSS && c->token_loss && c->s.grpo.beta != 0 && !c->kl &&
            c->s.grpo.kl_aggregation != SUM_DEFAULT && !(c->ref && c->logp))
            return "no ref_per_token_logps";
        if (s == STAGE_LOSS && c->token_loss)
            return c->s.window.entropy_coef != 0 && !c->entropy ? "no entropies" : NULL;
        if (!c->logp) return "no per_token_logps";
        if (!c->advantage) return "no advantages";
        if (c->s.grpo.beta != 0 && !c->ref && !(c->kl && s != STAGE_DLOGP)) return "no ref_per_token_logps";
        return (c->s.window.entropy_coef != 0 || c->s.grpo.top_entropy_quantile < 1) && !c->entropy
                   ? "no entropies"
                   : NULL;
    case STAGE_GRAD: case STAGE_STEP: case STAGE_GRAD_NORM:
        if (!c->model.policy) return "no --model";
        if (d->set.weights_after) return "the folder's weights are those after the step";
        if (s == STAGE_STEP || s == STAGE_GRAD_NORM) return c->grad ? NULL : "no gradient";
        if (!ids) return "no prompt_ids";
        return c->dlogp ? NULL : stage_obstacle(c, STAGE_DLOGP);
    case N_STAGE: break;
    }
    return "no such stage";
}

bool stage_compute(real *out, const Case *c, Stage s, Pool *p, Err *e) {
    const Dump *d = c->d;
    const size_t all = d->n * d->width;
    switch (s) {
    case STAGE_MASK: for (size_t j = 0; j < all; j++) out[j] = c->real_token[j]; return true;
    case STAGE_LOSS_MASK: for (size_t j = 0; j < all; j++) out[j] = c->loss_token[j]; return true;
    case STAGE_LOGITS: return network_values(NULL, NULL, out, c, c->model.policy, p, e);
    case STAGE_LOGPS: case STAGE_OLD: case STAGE_REF: case STAGE_SAMPLER: {
        const Source from = source_of(c, s);
        Case x = *c;
        const Sampling *f = &c->s.sampling;
        /* E29 */
        if (s == STAGE_SAMPLER && (f->top_k > 0 || f->top_p < 1 || f->min_p > 0)) x.kept_only = true;
        return from.logits ? logits_values(out, NULL, &x, p, e)
                           : network_values(out, NULL, NULL, &x, from.model, p, e);
    }
    case STAGE_ENTROPIES:
        return source_of(c, s).logits ? logits_values(NULL, out, c, p, e)
                                      : network_values(NULL, out, NULL, c, c->model.policy, p, e);
    case STAGE_REWARDS: return compute_rewards(out, c, p, e);
    case STAGE_ADVANTAGES: return compute_advantages(out, c, p, e);
    case STAGE_ISR: {
        GrpoIn in;
        const GrpoConfig *g = &c->s.grpo;
        size_t *offset = pool_take(p, d->n + 1, sizeof *offset, e);
        if (!offset) return false;
        case_input(&in, offset, c);
        variant_importance_ratio(out, NULL, in.old ? in.old : in.logp, in.sampler, in.mask, offset,
                                 in.n_completion, g->importance_sampling_mode,
                                 g->importance_sampling_clip_min, g->importance_sampling_clip_max);
        return true;
    }
    case STAGE_RATIO: {
        Told t;
        if (!tell_case(&t, c, false, p, e)) return false;
        if (stage_per_row(c, s)) for (size_t i = 0; i < d->n; i++) out[i] = (real)t.row[i].rho;
        else for (size_t j = 0; j < all; j++) out[j] = (real)t.token[j].ratio;
        return true;
    }
    case STAGE_KL: return compute_kl(out, c, p, e);
    case STAGE_TOKEN_LOSS: return compute_token_loss(out, c, p, e);
    case STAGE_LOSS: return compute_loss(out, c, p, e);
    case STAGE_DLOGP: return loss_derivative(out, NULL, c, p, e);
    case STAGE_GRAD: return compute_gradient(out, c, p, e);
    case STAGE_GRAD_NORM: *out = (real)norm_of(c->grad, c->model.policy); return true;
    case STAGE_STEP: return compute_step(out, c, p, e);
    case N_STAGE: break;
    }
    return fail(e, "verify: no such stage");
}

/* ---- the right case ---- */
/* What the dump has of a stage, else what can be computed, else NULL. */
static bool resolve(const real **field, Case *c, Stage s, Pool *p, Err *e) {
    *field = c->d->value[s];
    if (*field || stage_obstacle(c, s)) return true;
    real *x = pool_take(p, stage_size(c, s), sizeof *x, e);
    if (!x || !stage_compute(x, c, s, p, e)) return false;
    *field = x;
    return true;
}

static bool ids_fit(const Case *c, const Model *m, Err *e) {
    const Dump *d = c->d;
    for (size_t j = 0; m && d->id && j < d->n * d->width; j++)
        if ((c->real_token[j] || (d->whole_rows && d->real_token && d->real_token[j])) &&
            (d->id[j] < 0 || d->id[j] >= m->config.vocab))
            return fail(e, "%s: tensor %s: completion %zu, column %zu: found token id %d, expected 0 to %d "
                        "as the model has", d->path, d->whole_rows ? "input_ids" : "completion_ids",
                        j / d->width, j % d->width, d->id[j], m->config.vocab - 1);
    for (size_t j = 0; m && d->prompt_id && j < d->n * d->prompt_width; j++)
        if (d->prompt_mask[j] && (d->prompt_id[j] < 0 || d->prompt_id[j] >= m->config.vocab))
            return fail(e, "%s: tensor prompt_ids: row %zu, column %zu: found token id %d, expected 0 to %d "
                        "as the model has", d->path, j / d->prompt_width, j % d->prompt_width,
                        d->prompt_id[j], m->config.vocab - 1);
    return true;
}

/* The gradients of the dump where all are there, else computed; its own norm where it has it. */
static bool resolve_gradient(Case *c, Pool *p, Err *e) {
    const Model *m = c->model.policy;
    c->grad_norm = c->d->value[STAGE_GRAD_NORM] ? (double)c->d->value[STAGE_GRAD_NORM][0] : NAN;
    if (!m || c->d->set.weights_after) return true;
    /* nobody asks */
    if (!c->d->tensor[STAGE_STEP] && !c->d->tensor[STAGE_GRAD_NORM] && !c->d->inputs_only) return true;
    real *g = pool_take(p, m->n_trainable, sizeof *g, e);
    if (!g) return false;
    bool all = true, found;
    for (int i = 0; i < m->n_param; i++) {
        if (!m->param[i].trainable) continue;
        if (!family_value(g + m->param[i].offset, &found, c->d, "grad.", &m->param[i], e)) return false;
        all = all && found;
    }
    if (!all && (stage_obstacle(c, STAGE_GRAD) || !stage_compute(g, c, STAGE_GRAD, p, e))) return !e->line[0];
    c->grad = g;
    return true;
}

/* How far the advantages are from the dump's when `size` completions are a group; infinite: too far. */
static double group_error(Case *c, size_t size, Pool *p, Err *e) {
    const real *given = c->d->advantage;
    real *own = pool_take(p, c->d->n, sizeof *own, e);
    double error = 0, most = 0;
    c->s.grpo.num_generations = (int)size;
    if (!own || !compute_advantages(own, c, p, e)) return INFINITY;
    for (size_t i = 0; i < c->d->n; i++)
        if (fabs((double)own[i]) > most) most = fabs((double)own[i]);
    for (size_t i = 0; i < c->d->n && error <= 1e-2 * most; i++)
        error = fmax(error, fabs((double)own[i] - given[i]));
    return most > 0 && error <= 1e-2 * most ? error : INFINITY;         /* nor does a NaN tell it */
}

/* The completions of a prompt side by side, where all prompts have as many, else 0. */
static size_t prompts_tell(const Dump *d) {
    size_t size = 0, run = 1;
    const size_t w = d->prompt_width;
    for (size_t i = 1; d->prompt_id && i <= d->n; i++, run++) {
        if (i < d->n && !memcmp(d->prompt_id + i * w, d->prompt_id + (i - 1) * w, w * sizeof *d->prompt_id))
            continue;
        if (size && run != size) return 0;
        size = run;
        run = 0;
    }
    return size;
}

/* num_generations where the config does not say it: by the advantages, by the prompts, or the default. */
static bool find_group(Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const size_t fallback = (size_t)d->set.grpo.num_generations, by_prompt = prompts_tell(d);
    const bool scored = c->reward || c->score;
    if (d->set.group_given || c->group || !(scored || d->value[STAGE_ADVANTAGES])) return true;
    double least = INFINITY;
    const bool tell = d->advantage && stage_per_row(c, STAGE_ADVANTAGES) &&
                      !stage_obstacle(c, STAGE_ADVANTAGES);
    for (size_t size = 2; tell && size <= d->n; size++) {
        const double error = d->n % size ? INFINITY : group_error(c, size, p, e);
        if (error < least) least = error, c->group_found = size;
    }
    if (!c->group_found && by_prompt > 1) c->group_found = by_prompt;
    if (!c->group_found && scored && d->n % fallback)
        return fail(e, "%s: metadata config: num_generations: found nothing, and neither advantages nor "
                    "prompts tell how many of the %zu completions are a group; give it, or group_ids",
                    d->path, d->n);
    c->s.grpo.num_generations = (int)(c->group_found ? c->group_found : fallback);
    return !e->line[0];
}

/* The dump's own advantages, else ours; by token where they differ within a completion. */
static bool find_advantages(Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const real *x;
    c->advantage = d->advantage;
    c->advantage_token = d->advantage_varies ? d->value[STAGE_ADVANTAGES] : NULL;
    if (d->advantage || stage_obstacle(c, STAGE_ADVANTAGES)) return true;
    if (!resolve(&x, c, STAGE_ADVANTAGES, p, e)) return false;
    c->advantage = x;
    if (stage_per_row(c, STAGE_ADVANTAGES)) return true;
    real *first = pool_take(p, d->n, sizeof *first, e);
    for (size_t i = 0; first && i < d->n; i++) first[i] = x[i * d->width];
    c->advantage = first;
    c->advantage_token = x;
    return first != NULL;
}

/* E181: the mask without what the sampler's ratio rejects. */
static bool reject(Case *c, Pool *p, Err *e) {
    static const IsrMode mode[] = {ISR_TOKEN_MASK, ISR_TOKEN_MASK, ISR_SEQUENCE_MASK, ISR_GEOMETRIC_MASK};
    const Dump *d = c->d;
    const bool by_token = c->s.rejection == REJECT_TOKEN;
    if (c->s.rejection == REJECT_NONE || !c->sampler || !(c->old || c->logp)) return true;
    unsigned char *mask = pool_take(p, d->n * d->width, 1, e);
    real *ratio = pool_take(p, d->n * d->width, sizeof *ratio, e);
    size_t *offset = pool_take(p, d->n + 1, sizeof *offset, e);
    if (!mask || !ratio || !offset) return false;
    for (size_t i = 0; i <= d->n; i++) offset[i] = i * d->width;
    variant_importance_ratio(ratio, NULL, c->old ? c->old : c->logp, c->sampler, c->mask, offset, d->n,
                             mode[c->s.rejection], c->s.rejection_min, c->s.rejection_max);
    for (size_t j = 0; j < d->n * d->width; j++)
        mask[j] = c->mask[j] && ratio[by_token ? j : j / d->width] != 0;
    c->mask = mask;
    return true;
}

/* E136, E137: the tokens that they choose, and in E136 the dump's own draw where it draws. */
static bool find_covariances(Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const GrpoConfig *g = &c->s.grpo;
    const size_t all = d->n * d->width;
    c->policy_mask = d->policy_mask;
    if (!(g->clip_cov_ratio > 0 || g->kl_cov_ratio > 0) || !c->logp || !c->advantage) return true;
    double *cov = pool_take(p, all, 2 * sizeof *cov, e), *ratio = cov ? cov + all : NULL;
    real *adv = pool_take(p, all, sizeof *adv, e);
    unsigned char *chosen = pool_take(p, all, 1, e);
    if (!cov || !adv || !chosen) return false;
    for (size_t j = 0; j < all; j++) {
        adv[j] = c->advantage_token ? c->advantage_token[j] : c->advantage[j / d->width];
        ratio[j] = d_exp((double)c->logp[j] - (c->old ? c->old : c->logp)[j]);
    }
    const size_t n = variant_covariance(cov, adv, c->logp, c->mask, all);
    if (g->kl_cov_ratio > 0) {
        variant_kl_cov_tokens(chosen, cov, all, n, g->kl_cov_ratio, ratio);
        c->kl_cov = chosen;
        return true;
    }
    if (c->policy_mask) return true;
    const size_t eligible = variant_clip_cov(chosen, cov, adv, ratio, all, g->clip_cov_min, g->clip_cov_max,
                                             g->epsilon, grpo_epsilon_high(g));
    if (eligible > fmax(1, floor((double)n * g->clip_cov_ratio)))
        return fail(e, "%s: clip_cov_ratio: found %zu tokens to draw %zu from, and no policy_mask that says "
                    "which were drawn", d->path, eligible,
                    (size_t)fmax(1, floor((double)n * g->clip_cov_ratio)));
    for (size_t j = 0; j < all; j++) chosen[j] = !chosen[j];
    c->policy_mask = chosen;
    return true;
}

/* Where the quantile of E109 falls on a token's own entropy, rounding decides whether that token takes part.
 * The dump's token losses say on which side it fell: the quantile moves by a quarter of a token. */
static bool settle_quantile(Case *c, Pool *p, Err *e) {
    const double q = c->s.grpo.top_entropy_quantile;
    if (!(q < 1) || !c->entropy || !c->token_loss || c->d->per_row[STAGE_TOKEN_LOSS]) return true;
    const size_t all = c->d->n * c->d->width;
    real *value = pool_take(p, all, sizeof *value, e);
    size_t n = 0;
    for (size_t j = 0; j < all; j++) n += c->mask[j] != 0;
    if (n < 2 || !value) return value != NULL;
    const double position = (1 - q) * (double)(n - 1), quarter = 0.25 / (double)(n - 1);
    if (fabs(position - round(position)) > 1e-5) return true;
    static const int side_of[] = {0, 1, -1};
    double best = INFINITY, best_q = q;
    for (int side = 0; side < 3; side++) {
        c->s.grpo.top_entropy_quantile = fmin(fmax(q + side_of[side] * quarter, 0), 1 - quarter);
        if (!compute_token_loss(value, c, p, e)) return false;
        double worst = 0;
        for (size_t j = 0; j < all && worst < best; j++) {      /* no further than it can still be the best */
            const double apart = fabs((double)value[j] - (double)c->token_loss[j]);
            if (c->mask[j] && apart > worst) worst = apart;
        }
        if (worst < best) best = worst, best_q = c->s.grpo.top_entropy_quantile;
    }
    c->s.grpo.top_entropy_quantile = best_q;
    return true;
}

bool case_open(Case *c, const Dump *d, const Policies *model, Pool *p, Err *e) {
    *c = (Case){.d = d, .s = d->set, .model = *model, .count = d->n, .score = d->score, .weight = d->weight,
                .grad_norm = NAN};
    unsigned char *real_token = pool_take(p, d->n * d->width, 1, e),
                  *mask = pool_take(p, d->n * d->width, 1, e);
    if (!real_token || !mask) return false;
    find_real_tokens(real_token, d);
    find_loss_tokens(mask, d, d->completion_mask ? d->completion_mask : real_token);
    c->real_token = real_token;
    c->loss_token = mask;
    c->mask = d->loss_mask ? d->loss_mask : mask;
    if (!ids_fit(c, model->policy, e) || !ids_fit(c, model->reference, e) || !ids_fit(c, model->old, e))
        return false;
    c->old = d->value[STAGE_OLD];
    c->sampler = d->value[STAGE_SAMPLER];
    c->ref = d->value[STAGE_REF];
    if (!resolve(&c->logp, c, STAGE_LOGPS, p, e) || (model->old && !resolve(&c->old, c, STAGE_OLD, p, e)) ||
        (model->reference && !resolve(&c->ref, c, STAGE_REF, p, e)))
        return false;
    if (d->inputs_only && model->old && !resolve(&c->sampler, c, STAGE_SAMPLER, p, e)) return false;
    if (!reject(c, p, e)) return false;
    const bool needs_entropy = c->s.window.entropy_coef != 0 || c->s.grpo.top_entropy_quantile < 1;
    c->entropy = d->value[STAGE_ENTROPIES];
    if (needs_entropy && !resolve(&c->entropy, c, STAGE_ENTROPIES, p, e)) return false;
    if (!needs_entropy) c->entropy = NULL;
    c->reward = d->value[STAGE_REWARDS];
    if (d->group) c->s.grpo.num_generations = (int)(d->n > 1 ? d->n : 2);
    if (!groups_by_prompt(c, p, e) || !find_group(c, p, e) ||
        !resolve(&c->reward, c, STAGE_REWARDS, p, e) || !find_advantages(c, p, e))
        return false;
    if (c->s.grpo.importance_sampling_correction && !resolve(&c->isr, c, STAGE_ISR, p, e)) return false;
    c->isr_per_row = d->value[STAGE_ISR] ? d->per_row[STAGE_ISR] : stage_per_row(c, STAGE_ISR);
    c->ratio = d->value[STAGE_RATIO];
    c->ratio_per_row = d->per_row[STAGE_RATIO];
    c->kl = d->value[STAGE_KL];
    c->token_loss = d->value[STAGE_TOKEN_LOSS];
    c->dlogp = d->value[STAGE_DLOGP];
    return find_covariances(c, p, e) && settle_quantile(c, p, e) && resolve_gradient(c, p, e);
}
