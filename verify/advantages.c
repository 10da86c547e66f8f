/* advantages.c: the rows of a dump are put in the order of their groups, computed group by group, and put
 * back.
 *
 * In this order: groups, rewards, advantages. */
#include "verify/advantages.h"

#include <string.h>

#include "verify/network.h"

/* ---- groups ---- */
/* The prompt of row i as a list of ids; how many. */
static size_t prompt_of(int *out, const Case *c, size_t i) {
    const Dump *d = c->d;
    const bool whole = d->whole_rows;
    const size_t w = whole ? d->width : d->prompt_width;
    size_t n = 0;
    for (size_t t = 0; t < w && !(whole && c->real_token[i * w + t]); t++)
        if (whole ? row_prompt_token(d, i, t) : d->prompt_mask[i * w + t])
            out[n++] = (whole ? d->id : d->prompt_id)[i * w + t];
    return n;
}

static size_t common_divisor(size_t a, size_t b) {
    while (b) { const size_t rest = a % b; a = b, b = rest; }
    return a;
}

bool groups_by_prompt(Case *c, Pool *p, Err *e) {
    const Dump *d = c->d;
    const size_t w = d->whole_rows ? d->width : d->prompt_width;
    size_t n_prompt = 0, size = d->set.group_given ? (size_t)d->set.grpo.num_generations : 0;
    c->group = d->group;
    c->n_group = d->n_group;
    if (d->group || !(d->whole_rows ? d->id != NULL : d->prompt_id != NULL)) return true;
    int *all = pool_take(p, d->n * w, sizeof *all, e), *group = pool_take(p, d->n, sizeof *group, e);
    size_t *length = pool_take(p, d->n, sizeof *length, e), *first = pool_take(p, d->n, sizeof *first, e),
           *count = pool_take(p, d->n, sizeof *count, e);
    if (!all || !group || !length || !first || !count) return false;
    for (size_t i = 0; i < d->n; i++) {
        size_t g = 0;
        length[i] = prompt_of(all + i * w, c, i);
        while (g < n_prompt && (length[first[g]] != length[i] ||
                                memcmp(all + first[g] * w, all + i * w, length[i] * sizeof *all)))
            g++;
        if (g == n_prompt) first[n_prompt++] = i;
        count[group[i] = (int)g]++;
    }
    if (size == 0) {
        /* the same prompt may stand in two groups, each of them side by side */
        for (size_t i = 1, start = 0; i <= d->n; i++)
            if (i == d->n || group[i] != group[start]) size = common_divisor(size, i - start), start = i;
        if (size > 1) return true;
        size = count[0];
    }
    bool mixed = false;
    for (size_t g = 0; g < n_prompt; g++) if (count[g] != size) return true;
    for (size_t i = 0; i < d->n; i++) mixed = mixed || group[i] != group[i / size * size];
    if (!mixed || size < 2) return true;
    c->group = group;
    c->n_group = n_prompt;
    c->s.grpo.num_generations = (int)size;
    return c->by_prompt = true;
}

bool groups_of(Groups *g, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, size = (size_t)c->s.grpo.num_generations;
    g->n_group = c->group ? c->n_group : (n + size - 1) / size;
    g->start = pool_take(p, g->n_group + 1, sizeof *g->start, e);
    g->member = pool_take(p, n, sizeof *g->member, e);
    size_t *at = pool_take(p, g->n_group + 1, sizeof *at, e);
    if (!g->start || !g->member || !at) return false;
    const bool apart = c->statistics.interleaved && !c->group;
    for (size_t i = 0; i < n; i++)
        g->start[1 + (c->group ? (size_t)c->group[i] : apart ? i % g->n_group : i / size)]++;
    for (size_t k = 0; k < g->n_group; k++) at[k] = g->start[k], g->start[k + 1] += g->start[k];
    for (size_t i = 0; i < n; i++)
        g->member[at[c->group ? (size_t)c->group[i] : apart ? i % g->n_group : i / size]++] = i;
    return true;
}

/* A batch in the order of its groups. */
typedef struct { Groups g; real *score, *reward, *out; double *length; } Sorted;

static bool sort_rows(Sorted *s, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, k = c->d->n_label;
    if (!groups_of(&s->g, c, p, e)) return false;
    s->score = c->score ? pool_take(p, n * k, sizeof(real), e) : NULL;
    s->reward = pool_take(p, n, sizeof(real), e);
    s->out = pool_take(p, n, sizeof(real), e);
    s->length = pool_take(p, n, sizeof(double), e);
    if (e->line[0]) return false;
    for (size_t j = 0; j < n; j++) {
        const size_t i = s->g.member[j];
        if (s->score) memcpy(s->score + j * k, c->score + i * k, k * sizeof(real));
        s->reward[j] = c->reward ? c->reward[i] : (real)NAN;
        s->length[j] = case_row_count(c, i);
    }
    return true;
}

static void put_back(real *to, const Sorted *s, size_t n) {
    for (size_t j = 0; j < n; j++) to[s->g.member[j]] = s->out[j];
}

/* ---- rewards ---- */
bool compute_rewards(real *reward, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, k = c->d->n_label;
    Sorted s;
    if (!sort_rows(&s, c, p, e)) return false;
    if (c->s.grpo.multi_objective_aggregation == WORST_GROUP)           /* of the whole generation */
        grpo_reward(s.out, s.score, c->weight, n, k, n, &c->s.grpo);
    else
        for (size_t g = 0; g < s.g.n_group; g++) {
            const size_t first = s.g.start[g], size = s.g.start[g + 1] - first;
            grpo_reward(s.out + first, s.score + first * k, c->weight, size, k, size, &c->s.grpo);
        }
    put_back(reward, &s, n);
    return true;
}

/* ---- advantages ---- */
static void from_rewards(Sorted *s, const Case *c) {
    const size_t n = c->d->n;
    const GrpoConfig *f = &c->s.grpo;
    AdvantageRule rule = grpo_advantage_rule(f);
    double mean, std;
    rule.eps_in_root = c->statistics.eps_in_root;
    reward_moments(&mean, &std, s->reward, n, 1, rule.ddof);
    for (size_t g = 0; g < s->g.n_group; g++) {
        const size_t first = s->g.start[g], size = s->g.start[g + 1] - first;
        if (f->scale_rewards != SCALE_BATCH && grpo_advantage_is_plain(f) && !rule.eps_in_root)
            grpo_advantage(s->out + first, NULL, s->reward + first, size, size, f->scale_rewards, f->std_eps);
        else
            variant_advantage(s->out + first, s->reward + first, s->length + first, size, mean, std, &rule);
        double sd;
        reward_moments(NULL, &sd, s->reward + first, size, 1, 1);
        for (size_t i = first; c->statistics.nan_without_spread && sd == 0 && i < first + size; i++)
            s->out[i] = (real)NAN;
    }
}

/* E62 to E64, each group on its own. */
static void from_scores(Sorted *s, const Case *c) {
    const size_t n = c->d->n, k = c->d->n_label;
    const GrpoConfig *f = &c->s.grpo;
    const bool gdpo = f->multi_objective_aggregation == NORMALIZE_THEN_SUM;
    for (size_t g = 0; g < s->g.n_group; g++) {
        const size_t first = s->g.start[g], size = s->g.start[g + 1] - first;
        real *score = s->score + first * k;
        for (size_t i = 0; c->statistics.nan_to_zero && i < size * k; i++) if (isnan(score[i])) score[i] = 0;
        reward_z_sum(s->out + first, score, c->weight, size, k, size, f->std_ddof, f->std_eps);
    }
    for (size_t i = 0; c->statistics.nan_to_zero && i < n; i++) {       /* never scored: no part in it */
        bool any = false;
        for (size_t l = 0; l < k; l++) any = any || !isnan(c->score[s->g.member[i] * k + l]);
        if (!any) s->out[i] = (real)NAN;
    }
    if (gdpo && f->advantage_whitening < WHITEN_TOKENS) reward_whiten(s->out, n, f->std_eps);
}

/* E132: the KL of token j in the reward, between what sampled and the reference. */
static double reward_kl(const Case *c, size_t j) {
    double unused;
    return c->mask[j] ? grpo_kl_estimate(&unused, (c->old ? c->old : c->logp)[j], c->ref[j], &c->s.grpo) : 0;
}

static void take_kl_off(Sorted *s, const Case *c) {
    for (size_t k = 0; k < c->d->n; k++) {
        double sum = 0;
        for (size_t t = 0; t < c->d->width; t++) sum += reward_kl(c, s->g.member[k] * c->d->width + t);
        s->reward[k] = (real)(s->reward[k] - c->s.kl_reward_coef * sum);
    }
}

/* adv [n] to [n, width]: each token's less its KL, or its own and that of all later ones. */
static void by_token(real *adv, const Case *c) {
    const size_t w = c->d->width;
    for (size_t i = c->d->n; i-- > 0;) {
        const double whole = adv[i];
        double sum = 0;
        for (size_t t = w; t-- > 0;) {
            const double k = reward_kl(c, i * w + t);
            sum = c->s.kl_reward == KL_REWARD_TO_GO ? sum + k : k;
            adv[i * w + t] = (real)(whole - c->s.kl_reward_coef * sum);
        }
    }
}

bool compute_advantages(real *adv, const Case *c, Pool *p, Err *e) {
    Sorted s;
    if (!sort_rows(&s, c, p, e)) return false;
    if (c->s.kl_reward_coef != 0 && c->s.kl_reward == KL_REWARD_SEQUENCE) take_kl_off(&s, c);
    if (grpo_from_reward(&c->s.grpo)) from_rewards(&s, c);
    else from_scores(&s, c);
    grpo_whiten_advantage(s.out, s.length, c->d->n, &c->s.grpo);
    for (size_t i = 0; i < c->d->n; i++)
        if (isnan(s.out[i]) && !c->statistics.nan_without_spread) s.out[i] = 0;
    put_back(adv, &s, c->d->n);
    if (c->s.kl_reward_coef != 0 && c->s.kl_reward != KL_REWARD_SEQUENCE) by_token(adv, c);
    return true;
}

/* ---- noise ---- */
/* Whether sums of so many numbers are exact in float, as those of 0 and 1 are. */
static bool sums_are_exact(const real *x, size_t n, size_t stride) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i * stride])) continue;
        sum += x[i * stride];
        if ((double)(float)sum != sum) return false;
    }
    return true;
}

/* What a deviation of equal rewards is: 0, or rounding that std_eps may not hide. own: about the baseline
 * that is subtracted; then no advantage is beyond sqrt(n), whatever rounds. */
static double noise_of(const real *x, size_t n, size_t stride, double deviation, double eps, bool own) {
    double most = 0;
    for (size_t i = 0; i < n; i++) if (fabs((double)x[i * stride]) > most) most = fabs((double)x[i * stride]);
    if (sums_are_exact(x, n, stride) && deviation == 0) return 0;
    const double noise = isnan(deviation) ? 0 : most / (deviation + eps);
    return noise < 4e6 * sqrt((double)n) || !own ? noise : 4e6 * sqrt((double)n);       /* 2^22 */
}

/* The same of reply i beside the others' deviation. NeMo-RL takes their variance as mean square less squared
 * mean, which loses (largest / deviation)^2 roundings of it. */
static double noise_of_others(const real *x, size_t n, size_t i, const GrpoConfig *f) {
    real others[1024] = {0};
    size_t m = 0;
    double mean, std;
    for (size_t j = 0; j < n && m < 1024; j++)
        if (j != i) others[m++] = x[j];
    reward_moments(&mean, &std, others, m, 1, f->std_ddof);
    const double noise = noise_of(x, n, 1, std, f->std_eps, false),
                 own = isnan(std) ? 0 : fabs(x[i] - mean) / (std + f->std_eps);
    return isfinite(own * noise * noise) ? noise + own * noise * noise / 2 : noise;
}

bool advantage_noise(double *noise, const Case *c, Pool *p, Err *e) {
    const size_t n = c->d->n, k = c->d->n_label;
    const GrpoConfig *f = &c->s.grpo;
    const bool scores = !grpo_from_reward(f);
    Sorted s;
    double batch;
    if (!sort_rows(&s, c, p, e)) return false;
    if (!scores) reward_moments(NULL, &batch, s.reward, n, 1, f->std_ddof);
    for (size_t g = 0; g < s.g.n_group; g++) {
        const size_t first = s.g.start[g], size = s.g.start[g + 1] - first;
        double sum = 0, std;
        for (size_t l = 0; scores && l < k; l++) {
            reward_moments(NULL, &std, s.score + first * k + l, size, k, f->std_ddof);
            sum += fabs(c->weight[l]) * noise_of(s.score + first * k + l, size, k, std, f->std_eps, true);
        }
        if (!scores && f->scale_rewards == SCALE_LEAVE_ONE_OUT) {
            for (size_t i = 0; i < size; i++)
                noise[s.g.member[first + i]] = noise_of_others(s.reward + first, size, i, f);
            continue;
        }
        if (!scores) {
            reward_moments(NULL, &std, s.reward + first, size, 1, f->std_ddof);
            sum = noise_of(s.reward + first, size, 1, f->scale_rewards == SCALE_NONE    ? 1
                                                      : f->scale_rewards == SCALE_BATCH ? batch
                                                                                        : std,
                           f->std_eps, f->baseline == BASELINE_GROUP && f->scale_rewards == SCALE_GROUP);
        }
        for (size_t i = first; i < first + size; i++) noise[s.g.member[i]] = sum;
    }
    return true;
}
