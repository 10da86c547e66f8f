/* diagnose.c: verdicts, and the search for what explains them.
 *
 * In this order: the search, the sampler's table, the whole. */
#include "verify/diagnose.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/causes.h"
#include "verify/known.h"
#include "verify/profiles.h"

/* ---- the search ---- */
static void name_mistake(StageReport *x, const Mistake *m) {
    stage_name(x, m->name, m->line, name_is_choice(m->name));
}

static bool any_choice(const StageReport *x) {
    for (int i = 0; i < x->n_name; i++) if (x->choice[i]) return true;
    return false;
}

static size_t worst_row(const Report *r, Stage s) {
    const StageReport *x = &r->stage[s];
    if (!x->n) return 0;
    const Item *it = &r->item[x->first];
    long row, position;
    item_place(&row, &position, r, it, it->worst);
    return row < 0 ? 0 : (size_t)row;
}

static size_t shortest_row(const Report *r) {
    size_t best = 0;
    double least = INFINITY;
    for (size_t i = 0; i < r->d->n; i++) {
        double n = 0;
        for (size_t t = 0; t < r->d->width; t++) n += r->right.real_token[i * r->d->width + t];
        if (n > 0 && n < least) least = n, best = i;
    }
    return best;
}

/* By the size of the errors (throughout-bf16): how far apart, as a logarithm, the dump's mean error and that
 * of ours with everything rounded are; infinite where the dump errs by little more than its own precision. */
static double size_apart(const Report *r, Stage s, const real *out, const Distance *ours) {
    const Item *it = &r->item[r->stage[s].first];
    double sum = 0, n = 0;
    for (size_t j = 0; j < it->count; j++) {
        const size_t k = item_right_index(r, it, false, j);
        if (k == SIZE_MAX) continue;
        sum += value_gap(out[k], r->stage[s].right[k]);
        n++;
    }
    if (!(sum > 0) || !(ours->mean > 0) || !isfinite(ours->mean) || ours->excess < 10) return INFINITY;
    return fabs(d_log(ours->mean / (sum / n)));
}

/* Multiply-adds of a pass over one completion from which on a network is not changed only to see whether the
 * dump would show it. */
#define WORK_UNTRIED 1e9

typedef struct { const Mistake *m[80]; int n; } Candidates;    /* those that change something on this dump */

static bool search_singles(Report *r, Stage s, const Case *base, bool want_names, Candidates *found, Err *e) {
    StageReport *x = &r->stage[s];
    const bool wrong = x->verdict == VERDICT_UNKNOWN, model = stage_runs_model(s);
    const double work = model_work(r, true);
    real *out = malloc(stage_out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    const bool one_row = model && s != STAGE_GRAD && work > 2e9;
    r->only_row = one_row ? wrong ? worst_row(r, s) : shortest_row(r) : SIZE_MAX;
    Distance ours = stage_distance(r, s, x->right, stage_per_row(&r->right, s), false);
    const Mistake *by_size = NULL;
    double closest = INFINITY;
    for (int i = 0; i < n_mistake && !e->line[0]; i++) {
        const Mistake *m = &mistakes[i];
        if (!(m->stages >> s & 1)) continue;
        /* the dump's own dlogp says it already */
        if (s == STAGE_GRAD && !(m->stages == 1u << STAGE_GRAD) &&
            (r->right.dlogp && !(m->stages >> STAGE_LOGPS & 1)))
            continue;
        if (s == STAGE_GRAD && !wrong && m->stages != 1u << STAGE_GRAD && work > 3e7) continue;
        if (!wrong && r->visible[i] == SHOWS) continue;
        if (!wrong && model && work / (double)r->d->n > WORK_UNTRIED && mistake_changes_model(m)) {
            if (!r->visible[i]) r->visible[i] = UNTRIED;
            continue;
        }
        if (r->visible[i] != SHOWS) r->visible[i] = HIDDEN;
        Pool p = {0};
        Case c = *base;
        /* a backward pass only to see that it shows: the tied gradient does */
        if (s == STAGE_GRAD && !wrong && work > 3e7) {
            const Model *net = r->right.model.policy;
            for (int k = 0; k < x->n && mistake_apply(m, &c, s, &p, e); k++)
                if (r->item[x->first + k].at == net->embed->offset) r->visible[i] = SHOWS;
            continue;
        }
        if (one_row) c.first = r->only_row, c.count = 1;
        if (mistake_apply(m, &c, s, &p, e) && !e->line[0]) {
            if (stage_obstacle(&c, s)) { pool_free(&p); continue; }
            if (stage_under(out, r, &c, s, e)) {
                if (stage_shows(r, s, &c, out)) {
                    r->visible[i] = SHOWS;
                    if (found && !m->by_size && found->n < 80) found->m[found->n++] = m;
                }
                if (wrong && want_names && m->by_size) {
                    const double apart = size_apart(r, s, out, &ours);
                    /* the two types are a factor of 8 apart */
                    if (apart < 1.4 && apart < closest) by_size = m, closest = apart;
                } else if (wrong && want_names && stage_explains(r, s, &c, out, &ours))
                    name_mistake(x, m);
            }
        }
        pool_free(&p);
    }
    if (wrong && want_names && x->n_name == 0 && by_size) name_mistake(x, by_size);
    r->only_row = SIZE_MAX;
    free(out);
    return !e->line[0];
}

/* Tokens over which pairs are tried: some tenths of a second. */
#define PAIRS_MOST 6e6

/* One mistake on top of the other; the second one may be what gives the first a meaning. */
static bool apply_both(Case *c, const Mistake *a, const Mistake *b, Stage s, Pool *p, Err *e) {
    Case x = *c, y = *c;
    if (mistake_apply(a, &x, s, p, e) && mistake_apply(b, &x, s, p, e)) { *c = x; return !e->line[0]; }
    if (e->line[0] || !mistake_apply(b, &y, s, p, e) || !mistake_apply(a, &y, s, p, e)) return false;
    *c = y;
    return !e->line[0];
}

static bool search_pairs(Report *r, Stage s, const Case *base, const Candidates *found, Err *e) {
    StageReport *x = &r->stage[s];
    real *out = malloc(stage_out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    if (stage_runs_model(s)) r->only_row = worst_row(r, s);
    Distance ours = stage_distance(r, s, x->right, stage_per_row(&r->right, s), false);
    for (int i = 0; i < found->n; i++)
        for (int j = i + 1; j < found->n && r->work < PAIRS_MOST && !e->line[0]; j++) {
            r->work += (double)(r->d->n * r->d->width);
            if (!strcmp(found->m[i]->name, found->m[j]->name)) continue;
            Pool p = {0};
            Case c = *base;
            if (stage_runs_model(s)) c.first = r->only_row, c.count = 1;
            if (apply_both(&c, found->m[i], found->m[j], s, &p, e) && !stage_obstacle(&c, s) &&
                stage_under(out, r, &c, s, e) && stage_explains(r, s, &c, out, &ours)) {
                char both[64], both_lines[200];
                snprintf(both, sizeof both, "%.30s + %.30s", found->m[i]->name, found->m[j]->name);
                snprintf(both_lines, sizeof both_lines, "%.95s; and %.95s", found->m[i]->line,
                         found->m[j]->line);
                stage_name(x, both, both_lines, name_is_choice(both));
            }
            pool_free(&p);
        }
    r->only_row = SIZE_MAX;
    free(out);
    return !e->line[0];
}

#define NOISE_MOST 2e-2                 /* what another kernel or batch does to a log-probability */

/* Its place among the mistakes, which is seen here and not by the search. */
static int recomputed(void) {
    int i = 0;
    while (strcmp(mistakes[i].name, RECOMPUTED_OLD)) i++;
    return i;
}
static void name_recomputed(Report *r) {
    name_mistake(&r->stage[STAGE_OLD], &mistakes[recomputed()]);
}

/* E81: old beside the policy's own, on policy: the very same numbers, rounding noise, or another policy. */
static void judge_old(Report *r) {
    StageReport *x = &r->stage[STAGE_OLD];
    const Dump *d = r->d;
    /* TRL alone takes old from the same pass; others compute it again as a matter of course */
    if (strcmp(d->set.profile->name, "trl")) return;
    if (x->judged && case_on_policy(&r->right)) r->visible[recomputed()] = SHOWS;
    if (!x->present || x->judged || !d->value[STAGE_LOGPS] || !case_on_policy(&r->right)) return;
    const Item probe = {.stage = STAGE_LOGPS, .precision = tensor_precision(d->tensor[STAGE_OLD])};
    double most = 0, sum = 0;
    size_t n = 0;
    for (size_t j = 0; j < d->n * d->width; j++)
        if (r->right.mask[j]) {
            const double gap = value_gap(d->value[STAGE_OLD][j], d->value[STAGE_LOGPS][j]);
            most = gap > most ? gap : most;
            sum += gap;
            n++;
        }
    const double noise = fmax(NOISE_MOST, item_tolerance(r, &probe, SIZE_MAX, 1, 0));
    if (n == 0 || most > noise) return;                 /* another policy's, and so it may be */
    x->judged = true;
    x->obstacle = NULL;
    x->verdict = most == 0 ? VERDICT_RIGHT : VERDICT_DIFFERS;
    snprintf(x->note, sizeof x->note,
             most == 0 ? "the policy's own numbers, bit for bit"
                       : "off from per_token_logps by %.3g at most, %.3g on average",
             most, sum / (double)n);
    r->visible[recomputed()] = SHOWS;
    if (most != 0) name_recomputed(r);
}

/* Whether the case, with the settings of `from` for one key, still explains the stage. */
static bool does_without(Report *r, Stage s, Case *c, const DumpSettings *from, const char *key, real *out,
                         const Distance *ours, Err *e) {
    Case less = *c;
    setting_copy(&less.s, from, key);
    if (!stage_under(out, r, &less, s, e) || !stage_explains(r, s, &less, out, ours)) return false;
    *c = less;
    return true;
}

/* A case with another trainer's settings, by `who`: if it explains the stage, its settings are named, no more
 * of them than it takes. */
static void try_trainer(Report *r, Stage s, Case c, const char *who, real *out, const Distance *ours,
                        Err *e) {
    char key[64], theirs[64], own[64], name[300] = "", text[500] = "";
    if (stage_obstacle(&c, s) || !stage_under(out, r, &c, s, e) || !stage_explains(r, s, &c, out, ours))
        return;
    for (int i = 0; settings_differ(key, theirs, own, &i, &c.s, &r->right.s);)
        if (does_without(r, s, &c, &r->right.s, key, out, ours, e)) i--;
    for (int i = 0; settings_differ(key, theirs, own, &i, &c.s, &r->right.s);) {
        const size_t n = strlen(name), t = strlen(text);
        snprintf(name + n, sizeof name - n, "%s%s=%s", n ? " + " : "", key, theirs);
        snprintf(text + t, sizeof text - t, "%s%s %s (%s: %s)", t ? ", " : "", key, theirs,
                 r->d->set.label, own);
    }
    const size_t t = strlen(text);
    snprintf(text + t, sizeof text - t, ", as does %s", who);
    if (*name) stage_name(&r->stage[s], name, text, true);
}

/* What other trainers do where the declared one does something else: as a whole, or by one of their options.
 */
static bool search_trainers(Report *r, Stage s, const Distance *ours, Err *e) {
    real *out = malloc(stage_out_size(r, s) * sizeof *out);
    if (!out) return fail(e, "verify: no memory");
    for (int k = 0; k < n_profile && !e->line[0]; k++) {
        Case c = r->right;
        if (profile_instead(&c.s, &r->d->set, &r->d->plain, &profiles[k]))
            try_trainer(r, s, c, profiles[k].name, out, ours, e);
    }
    for (int k = 0; k < n_profile_option && !e->line[0]; k++) {
        Case c = r->right;
        char who[120];
        const ProfileOption *o = &profile_options[k];
        snprintf(who, sizeof who, "%s with %s %s", o->name, o->option, o->value);
        if (option_instead(&c.s, o)) try_trainer(r, s, c, who, out, ours, e);
    }
    free(out);
    return !e->line[0];
}

/* A loss mask that leaves out some of the tokens that it might have, as an agent's does with what its tools
 * answered; none of them is a stop token or the first of all completions, which the search has looked at. */
static bool leaves_out(Report *r) {
    const size_t all = r->d->n * r->d->width;
    size_t left = 0;
    for (size_t j = 0; j < all; j++) {
        if (r->d->loss_mask[j] > r->right.loss_token[j]) return false;
        left += r->d->loss_mask[j] < r->right.loss_token[j];
    }
    StageReport *x = &r->stage[STAGE_LOSS_MASK];
    x->verdict = VERDICT_RIGHT;
    snprintf(x->note, sizeof x->note, "leaves %zu of the completions' tokens out of the loss", left);
    return true;
}

/* Where log-probabilities of the sampler lie beyond the tolerance by no more than a coarser type explains,
 * that is its type: it need not be the trainer's. */
static void excuse_sampler(Report *r) {
    StageReport *x = &r->stage[STAGE_SAMPLER];
    for (int i = 0; i < x->n_name; i++)
        if (!strstr(x->name[i], "bf16") && !strstr(x->name[i], "fp16")) return;
    if (x->n_name == 0 || r->d->set.sampler_given) return;
    snprintf(x->note, sizeof x->note, "as %s has it; sampler_dtype says so beforehand", x->name[0]);
    x->verdict = VERDICT_RIGHT;
    x->n_name = 0;
}

/* What no row explains: a setting, a factor, two rows, a row and a factor. */
static bool search_numbers(Report *r, Stage s, const Case *base, const Candidates *found, bool quick,
                           Err *e) {
    const StageReport *x = &r->stage[s];
    r->work = 0;
    bool ok = causes_fit(r, s, base, e) && causes_factor(r, s, base, NULL, e);
    if (ok && x->n_name == 0 && !quick && s != STAGE_GRAD && s != STAGE_STEP &&
        !(stage_runs_model(s) && model_work(r, true) > 1e8))
        ok = search_pairs(r, s, base, found, e);
    r->work = 0;
    for (int i = 0; ok && !quick && x->n_name == 0 && i < found->n; i++)
        ok = causes_factor(r, s, base, found->m[i], e);
    return ok && (x->n_name || causes_any_factor(r, s, e));
}

/* A NaN where a number belongs, and one in the padding of what the stage is made of: 0 * NaN is NaN. */
static void name_padding(Report *r, Stage s) {
    StageReport *x = &r->stage[s];
    const Dump *d = r->d;
    if (x->n == 0 || !isnan(r->item[x->first].worst_given) || isnan(r->item[x->first].worst_right)) return;
    for (int from = STAGE_LOGPS; from < (int)s; from++) {
        const bool by_token =
            stage_info[from].shape == SHAPE_TOKENS || stage_info[from].shape == SHAPE_TOKENS_OR_ROWS;
        if (!by_token || !d->value[from] || d->per_row[from] || from == STAGE_SAMPLER) continue;
        for (size_t j = 0; j < d->n * d->width; j++) {
            if (r->right.mask[j] || isfinite(d->value[from][j])) continue;
            char text[200];
            snprintf(text, sizeof text,
                     "%.40s has a NaN or an infinity in padding (completion %zu, column %zu), and 0 times it "
                     "is NaN", stage_info[from].tensor, j / d->width, j % d->width);
            x->n_name = 0;                              /* what else gives NaN does it by the same token */
            stage_name(x, "nan-in-padding", text, false);
            return;
        }
    }
}

static bool judge_stage(Report *r, Stage s, bool quick, Err *e) {
    StageReport *x = &r->stage[s];
    const bool right_per_row = stage_per_row(&r->right, s);
    const Distance ours = stage_distance(r, s, x->right, right_per_row, true);
    Case plain = r->right;
    char key[64], own[64], newest[64];
    bool other = false;
    for (int i = 0; settings_differ(key, newest, own, &i, &r->d->plain, &r->d->set); other = true)
        setting_copy(&plain.s, &r->d->plain, key);
    real *out = other ? malloc(stage_out_size(r, s) * sizeof *out) : NULL;
    x->verdict = ours.excess <= 1 ? VERDICT_RIGHT : VERDICT_UNKNOWN;
    /* right for the declared trainer, and not what TRL's newest would give */
    if (out && ours.excess <= 1 && !stage_runs_model(s) && !stage_obstacle(&plain, s) &&
        stage_under(out, r, &plain, s, e) && stage_shows(r, s, &plain, out))
        x->verdict = VERDICT_RIGHT_AS;
    free(out);
    Candidates found = {.n = 0};
    unsigned char visible[256] = {0};
    memcpy(visible, r->visible, n_mistake < 256 ? (size_t)n_mistake : 256);
    bool ok = !e->line[0];
    if (ok) ok = search_singles(r, s, &r->right, x->verdict == VERDICT_UNKNOWN, &found, e);
    if (ok && x->verdict == VERDICT_UNKNOWN && x->n_name == 0 && !stage_runs_model(s))
        ok = search_trainers(r, s, &ours, e) &&
             (x->n_name == 0 || s < STAGE_LOSS || causes_factor(r, s, &r->right, NULL, e));
    if (s == STAGE_LOSS_MASK && x->verdict == VERDICT_UNKNOWN && x->n_name == 0) leaves_out(r);
    if (s == STAGE_SAMPLER && x->verdict == VERDICT_UNKNOWN) excuse_sampler(r);
    if (x->verdict == VERDICT_UNKNOWN) name_padding(r, s);
    if (ok && x->verdict == VERDICT_UNKNOWN && x->n_name) ok = causes_before(r, s, &r->right, e);
    else if (ok && x->verdict == VERDICT_UNKNOWN) ok = search_numbers(r, s, &r->right, &found, quick, e);
    if (x->verdict == VERDICT_UNKNOWN && x->n_name == 0 && s == STAGE_OLD && case_on_policy(&r->right) &&
        r->item[x->first].max_abs <= NOISE_MOST)
        name_recomputed(r);
    if (x->verdict == VERDICT_UNKNOWN && x->n_name == 0 &&
        (((s == STAGE_OLD || s == STAGE_SAMPLER) && !r->right.model.old) ||
         (s == STAGE_REF && !r->right.model.reference))) {
        x->judged = false;                              /* another policy's numbers are no mistake */
        x->obstacle = s == STAGE_REF ? "not --model's; give --ref-model" : "not --model's; give --old-model";
        memcpy(r->visible, visible, n_mistake < 256 ? (size_t)n_mistake : 256);
    }
    if (x->verdict == VERDICT_UNKNOWN && x->n_name)
        x->verdict = any_choice(x) ? VERDICT_DIFFERS : VERDICT_WRONG;
    return ok;
}

/* A gradient beside the loss that it ought to be the derivative of. */
static void judge_gradient(Report *r) {
    static const Stage losses[] = {STAGE_TOKEN_LOSS, STAGE_LOSS};
    StageReport *x = &r->stage[STAGE_DLOGP];
    bool right = true, judged = false;
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        const StageReport *loss = &r->stage[losses[i]];
        judged = judged || loss->judged;
        right = right && (!loss->judged || loss->verdict <= VERDICT_RIGHT_AS);
    }
    if (!x->judged || !judged || *x->note || (x->verdict > VERDICT_RIGHT_AS) != right) return;
    snprintf(x->note, sizeof x->note,
             right ? "the loss is right, and this is not its derivative"
                   : "the derivative of the right loss, not of the loss that is here");
}

/* ---- sampler against trainer ---- */
static void gap_of(Gap *g, const Case *c, const real *a, const real *b, double low, double high,
                   double *scratch) {
    size_t n = 0, outside = 0;
    double sum = 0, square = 0;
    *g = (Gap){0};
    for (size_t j = 0; j < c->d->n * c->d->width; j++) {
        const double d = c->mask[j] ? (double)a[j] - b[j] : NAN;
        if (isnan(d)) continue;
        scratch[n++] = d;
        sum += d;
        const double ratio = d_exp(d);
        outside += ratio < low || ratio > high;
    }
    if (n == 0) return;
    g->n = n;
    g->mean = sum / (double)n;
    for (size_t k = 0; k < n; k++)
        square += (scratch[k] - g->mean) * (scratch[k] - g->mean), scratch[k] = fabs(scratch[k]);
    g->sd = n > 1 ? sqrt(square / (double)(n - 1)) : NAN;
    g->p95 = variant_quantile(scratch, n, 0.95);        /* which sorts */
    g->max = scratch[n - 1];
    g->outside = (double)outside / (double)n;
}

static bool sampler_table(Report *r, Err *e) {
    const Case *c = &r->right;
    const real *trainer = r->d->value[STAGE_OLD] ? r->d->value[STAGE_OLD] : r->d->value[STAGE_LOGPS];
    if (!c->sampler || !trainer) return true;
    double *scratch = pool_take(&r->pool, r->d->n * r->d->width, sizeof *scratch, e);
    if (!scratch) return false;
    SamplerTable *t = &r->table;
    t->there = true;
    t->low = 1 - c->s.grpo.epsilon;
    t->high = 1 + grpo_epsilon_high(&c->s.grpo);
    gap_of(&t->both, c, trainer, c->sampler, t->low, t->high, scratch);
    const real *oracle = r->stage[STAGE_SAMPLER].right;
    if (!oracle) return true;
    t->oracle = true;
    gap_of(&t->trainer, c, trainer, oracle, t->low, t->high, scratch);
    gap_of(&t->sampler, c, c->sampler, oracle, t->low, t->high, scratch);
    return true;
}

/* ---- the whole ---- */
static bool compare_ours(Report *r, const char *path, Err *e) {
    Safetensors *f = safetensors_open(path, e);
    if (!f) return false;
    for (int i = 0; i < r->n_item; i++) {
        Item *x = &r->item[i];
        const Tensor *t = safetensors_find(f, x->name);
        const bool per_row = stage_per_row(&r->right, x->stage),
                   family = stage_info[x->stage].shape == SHAPE_PARAMETERS;
        const size_t size = family                     ? x->count
                            : x->stage == STAGE_LOGITS ? x->count
                            : per_row                  ? r->d->n
                                                       : stage_size(&r->right, x->stage);
        if (!t || t->store == STORE_REAL || t->count < size || stage_info[x->stage].shape == SHAPE_MASK)
            continue;
        real *ours = malloc(size * sizeof *ours);
        if (!ours) continue;
        tensor_reals(ours, t, 0, size);
        x->ours = 0;
        for (size_t j = 0; j < x->count; j++) {
            const size_t k = item_right_index(r, x, per_row, j);
            if (k == SIZE_MAX) continue;
            const double error = value_gap(ours[family ? k - x->at : k], r->stage[x->stage].right[k]);
            x->ours = error > x->ours ? error : x->ours;
        }
        free(ours);
    }
    safetensors_close(f);
    return true;
}

bool report_make(Report *r, const Dump *d, const Policies *model, const char *ours, bool quick, Err *e) {
    *r = (Report){.d = d, .only_row = SIZE_MAX};
    if (!case_open(&r->right, d, model, &r->pool, e) || !report_items(r, e) ||
        !(r->visible = pool_take(&r->pool, (size_t)n_mistake, 1, e)))
        return false;
    for (int k = 0; k < N_STAGE; k++) {
        StageReport *x = &r->stage[k];
        if (!x->judged) continue;
        if (!(x->right = pool_take(&r->pool, stage_out_size(r, (Stage)k), sizeof(real), e))) return false;
        Case c = r->right;
        Pool p = {0};
        if (k == STAGE_LOGITS) c.count = x->count_rows;
        const bool ok = stage_compute(x->right, &c, (Stage)k, &p, e);
        pool_free(&p);
        if (!ok) return false;
    }
    static const Stage noisy[] = {STAGE_ADVANTAGES, STAGE_KL, STAGE_TOKEN_LOSS, STAGE_DLOGP};
    for (int i = 0; i < 4; i++)
        if (r->stage[noisy[i]].judged &&
            (!(r->noise[noisy[i]] =
                   pool_take(&r->pool, stage_size(&r->right, noisy[i]), sizeof(double), e)) ||
             !case_noise(r->noise[noisy[i]], &r->right, noisy[i], &r->pool, e)))
            return false;
    if (r->stage[STAGE_LOSS].judged && !case_loss_scale(&r->loss_scale, &r->right, &r->pool, e)) return false;
    for (int k = 0; k < N_STAGE; k++)
        if (r->stage[k].judged && !judge_stage(r, (Stage)k, quick, e)) return false;
    judge_old(r);
    judge_gradient(r);
    if (r->right.by_prompt)
        snprintf(r->stage[STAGE_ADVANTAGES].note, sizeof r->stage[0].note,
                 "its groups are the prompts, whose replies do not stand side by side");
    if (r->right.group_found)
        snprintf(r->stage[STAGE_ADVANTAGES].note, sizeof r->stage[0].note,
                 "num_generations is not in the config: %zu by the dump itself", r->right.group_found);
    return sampler_table(r, e) && (!ours || compare_ours(r, ours, e));
}

void report_free(Report *r) { pool_free(&r->pool); }

Outcome report_outcome(const Report *r) {
    Outcome worst = OUTCOME_RIGHT;
    for (int k = 0; k < N_STAGE; k++) {
        const StageReport *x = &r->stage[k];
        if (!x->judged || x->verdict == VERDICT_RIGHT || x->verdict == VERDICT_RIGHT_AS) continue;
        if (x->verdict != VERDICT_DIFFERS) return OUTCOME_WRONG;
        worst = OUTCOME_CHOICE;
    }
    return worst;
}

void blind_counts(const Report *r, int *blind, int *all) {
    *blind = *all = 0;
    for (int i = 0; i < n_mistake; i++) {
        *all += r->visible[i] == SHOWS || r->visible[i] == HIDDEN;
        *blind += r->visible[i] == HIDDEN;
    }
}
