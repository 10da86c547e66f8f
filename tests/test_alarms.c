/* test_alarms.c: no false alarm. Random batches as a trainer in float32 would compute them, written down here
 * a second time with libm and plain float sums, without a function of ours; every verdict on them must be
 * right. With one number wrong by a hundredth, one must not be. */
#include "verify/diagnose.h"
#include "verify/words.h"

#include "tests/test.h"

static uint64_t state;
static double unit(void) {                              /* in [0, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}
static int below(int n) { return (int)(unit() * n); }
static float normal(void) { return (float)(sqrt(-2 * log(1 - unit())) * cos(6.283185307179586 * unit())); }

enum { MOST = 48, WIDE = 40 };
static const char *const path = "build/test_alarms.safetensors";

/* What an honest trainer might have chosen. base: the group's mean, that of the others, none, by length;
 * scale: the group's deviation, that of the others, none. */
typedef struct {
    int group, n_group, width, level, term, estimator, sum, base, scale, ga, ranks;
    bool corrected, ddof0, keep, ragged, nonempty, own_token_loss, own_kl, own_ratio, dual, weighed, bonus;
    float eps, beta, low, high, apart, away;
} Way;

/* Mean and deviation of the rewards of group g but for row `without`. */
static float group_moment(const float *r, const int32_t *group, int n, int g, int without, float *std,
                          bool population) {
    float sum = 0, square = 0, count = 0;
    for (int i = 0; i < n; i++) if (group[i] == g && i != without) sum += r[i], count++;
    const float mean = sum / count;
    for (int i = 0; i < n; i++)
        if (group[i] == g && i != without) square += (r[i] - mean) * (r[i] - mean);
    *std = sqrtf(square / (population ? count : count - 1));
    return mean;
}

typedef struct {
    int n, width;
    int32_t group[MOST];
    unsigned char mask[MOST * WIDE];
    float reward[MOST], adv[MOST], row[MOST], entropy[MOST * WIDE], logp[MOST * WIDE], old[MOST * WIDE],
        ref[MOST * WIDE], ratio[MOST * WIDE],
        kl[MOST * WIDE], token[MOST * WIDE], slope[MOST * WIDE], loss[1];
} Numbers;

static Way draw_way(void) {
    static const float eps[] = {1e-4f, 1e-6f, 1e-8f, 1e-9f}, beta[] = {0, 0, 0.001f, 0.04f, 1},
                       apart[] = {1e-5f, 1e-3f, 0.1f, 1}, away[] = {0, 1e-4f, 0.05f, 0.6f};
    const int base = below(2) ? 0 : below(4),           /* others divide by nothing, or leave one out twice */
              scale = base == 0 ? (below(4) ? 0 : 2) : base == 1 ? 1 + below(2) : 2;
    return (Way){.group = 2 + below(7), .n_group = 1 + below(5), .width = 1 + below(WIDE - 1),
                 .level = below(2), .term = below(4), .estimator = below(4), .sum = below(4),
                 .corrected = below(2), .base = base, .scale = scale,
                 .ga = 1 + below(3), .ranks = below(2) ? 1 : 2, .keep = below(3) == 0,
                 .ragged = below(3) == 0, .weighed = below(4) == 0, .bonus = below(4) == 0,
                 .ddof0 = below(3) == 0, .nonempty = below(2),
                 .own_token_loss = below(2), .own_kl = below(2), .own_ratio = below(2), .dual = below(3) == 0,
                 .eps = eps[below(4)], .beta = beta[below(5)], .low = 0.2f, .high = below(2) ? 0.2f : 0.28f,
                 .apart = apart[below(4)], .away = away[below(4)]};
}

static void draw_numbers(Numbers *x, const Way *w) {
    const int kind = below(4);
    x->n = w->group * w->n_group;
    x->width = w->width;
    for (int i = 0; i < x->n; i++) {
        const int length = below(5) ? 1 + below(w->width) : w->width;
        const bool empty = below(12) == 0;
        x->group[i] = w->ragged ? 10 + below(w->n_group) : i / w->group;
        x->row[i] = w->weighed ? (float)(0.5 * below(5)) : 1;
        x->reward[i] = kind == 0 ? (float)below(2) : kind == 1 ? 0.1f * (float)below(4) : normal();
        if (kind == 3) x->reward[i] = 0.7f;             /* no spread, and no binary fraction */
        for (int t = 0; t < w->width; t++) {
            const int j = i * w->width + t;
            x->mask[j] = t < length && !empty;
            x->logp[j] = -fabsf(2 * normal()) - 0.01f;
            x->old[j] = x->logp[j] - w->away * normal();
            x->ref[j] = x->logp[j] + w->apart * normal();
            x->entropy[j] = (float)(3 * unit());
        }
    }
}

static void advantages(Numbers *x, const Way *w) {
    for (int i = 0; i < x->n; i++) {
        float std, others_std, others, length = 0, by_length = 0, tokens;
        const float mean = group_moment(x->reward, x->group, x->n, x->group[i], -1, &std, w->ddof0);
        others = group_moment(x->reward, x->group, x->n, x->group[i], i, &others_std, w->ddof0);
        for (int k = 0; k < x->n; k++) {
            if (x->group[k] != x->group[i]) continue;
            tokens = 0;
            for (int t = 0; t < w->width; t++) tokens += x->mask[k * w->width + t];
            length += tokens, by_length += tokens * x->reward[k];
        }
        const float base[] = {mean, others, 0, by_length / length},
                    divisor = w->scale == 1 ? others_std : std;
        float a = x->reward[i] - base[w->base];
        if (w->scale < 2 && !(divisor == 0 && w->keep)) a /= divisor + w->eps;
        x->adv[i] = isnan(a) ? 0 : a;
    }
}

/* A token's term and its derivative by the log ratio, or by logp (term 2, 3). */
static float policy(float *g, float rho, float a, float logp, const Way *w) {
    if (w->term == 1) { *g = -rho * a; return -rho * a; }
    if (w->term == 2) { *g = -a; return -a * logp; }
    if (w->term == 3) {
        const float weight = fminf(fmaxf(rho, 0.5f), 1.5f);
        *g = -weight * a;
        return -weight * a * logp;
    }
    const float plain = -rho * a, band = -fminf(fmaxf(rho, 1 - w->low), 1 + w->high) * a;
    float ell = fmaxf(plain, band);
    *g = plain >= band ? plain : 0;
    if (w->dual && a < 0 && -a * 3 < ell) ell = -a * 3, *g = 0;
    return ell;
}

static float estimate(float *dk, float d, const Way *w) {
    const float sign = d > 0 ? -1 : d < 0;
    *dk = w->estimator == 0 ? 1 - expf(d) : w->estimator == 1 ? 1 : w->estimator == 2 ? -d : sign;
    if (w->estimator == 0) return expf(d) - d - 1;      /* as they write it: near 0 it is noise */
    return w->estimator == 1 ? -d : w->estimator == 2 ? d * d / 2 : fabsf(d);
}

static void loss_of(Numbers *x, const Way *w) {
    float n_token = 0, rows = 0, total = 0, bonus = 0;
    for (int i = 0; i < x->n; i++) {
        float n = 0;
        for (int t = 0; t < w->width; t++) n += x->mask[i * w->width + t];
        n_token += n;
        rows += n > 0 || !w->nonempty;
    }
    for (int i = 0; i < x->n; i++) {
        float n = 0, mean = 0, shared = 0, sum = 0;
        const int at = i * w->width;
        for (int j = at; j < at + w->width; j++) if (x->mask[j]) n++, mean += x->logp[j] - x->old[j];
        mean /= fmaxf(n, 1);
        const float whole = w->sum == 0   ? 1 / fmaxf(n_token, 1)
                            : w->sum == 1 ? 1 / (fmaxf(rows, 1) * fmaxf(n, 1))
                            : w->sum == 2 ? 1 / fmaxf(rows, 1)
                                          : 1 / (fmaxf(rows, 1) * 100),
                    c = whole * x->row[i] * (w->ranks > 1 ? (float)w->ranks : 1 / (float)w->ga);
        for (int j = at; j < at + w->width; j++) {
            x->ratio[j] = x->kl[j] = x->token[j] = x->slope[j] = 0;
            if (!x->mask[j]) continue;
            const float rho = expf(w->level ? mean : x->logp[j] - x->old[j]);
            float g, dk, ell = policy(&g, rho, x->adv[i], x->logp[j], w),
                         k = estimate(&dk, x->ref[j] - x->logp[j], w);
            x->ratio[j] = rho;
            x->kl[j] = w->corrected ? k * rho : k;
            x->token[j] = ell + w->beta * x->kl[j];
            sum += x->token[j];
            bonus += c * x->entropy[j];
            const bool through = w->term < 2;
            if (w->level && through) shared += c * g;
            else x->slope[j] = c * g;
            if (w->corrected && w->level) shared += c * w->beta * k * rho;
            x->slope[j] += c * w->beta * (w->corrected ? rho * (w->level ? dk : dk + k) : dk);
        }
        for (int j = at; j < at + w->width; j++) if (x->mask[j]) x->slope[j] += shared / fmaxf(n, 1);
        total += c * sum;
    }
    x->loss[0] = total - (w->bonus ? 0.01f * bonus : 0);
}

static void add(TensorOut *t, int *n, const char *name, const void *data, const char *dtype, int n_dim, int a,
                int b) {
    t[(*n)++] = (TensorOut){.name = name, .store = STORE_F32, .n_dim = n_dim, .shape = {(size_t)a, (size_t)b},
                            .data = data, .from = STORE_F32, .dtype = dtype};
}

static bool write_numbers(const Numbers *x, const Way *w, char config[1400], Err *e) {
    static const char *const base[] = {"group", "leave_one_out", "none", "length_weighted"},
                      *const scale[] = {"group", "leave_one_out", "none"};
    static const char *const term[] = {"ratio", "unclipped", "logp", "cispo"},
                      *const level[] = {"token", "sequence"}, *const estimator[] = {"k3", "k1", "k2", "abs"},
                      *const sum[] = {"token_mean", "sequence_mean", "sequence_sum", "fixed_length"};
    TensorOut t[20];
    int n = 0;
    char group[64] = "";
    if (!w->ragged) snprintf(group, sizeof group, "\"num_generations\": %d, ", w->group);
    snprintf(config, 1400,
             "{%s\"baseline\": \"%s\", \"zero_std\": \"%s\", \"gradient_accumulation_steps\": %d, "
             "\"world_size\": %d, \"aggregation_scope\": \"%s\", \"entropy_coef\": %s, "
             "\"entropy_aggregation\": \"policy\", \"num_iterations\": 2, \"std_eps\": %.9g, "
             "\"std_ddof\": %d, "
             "\"scale_rewards\": \"%s\", \"beta\": %.9g, \"epsilon_high\": %.9g, "
             "\"importance_sampling_level\": \"%s\", \"policy_term\": \"%s\", "
             "\"cispo_clip_min\": 0.5, \"cispo_clip_max\": 1.5, \"kl_estimator\": \"%s\", "
             "\"use_bias_correction_kl\": %s, \"loss_type\": \"bnpo\", \"loss_aggregation\": \"%s\", "
             "\"aggregation_length\": 100, \"count_empty_rows\": %s, \"dual_clip\": %s}",
             group, base[w->base], w->keep ? "keep" : "divide", w->ga, w->ranks,
             w->ranks > 1 ? "ranks" : "micro", w->bonus ? "0.01" : "0", (double)w->eps, !w->ddof0,
             scale[w->scale], (double)w->beta,
             (double)w->high, level[w->level], term[w->term], estimator[w->estimator],
             w->corrected ? "true" : "false", sum[w->sum], w->nonempty ? "false" : "true",
             w->dual && w->term == 0 ? "3" : "null");
    add(t, &n, "completion_mask", x->mask, "U8", 2, x->n, x->width);
    add(t, &n, "rewards", x->reward, NULL, 1, x->n, 0);
    add(t, &n, "advantages", x->adv, NULL, 1, x->n, 0);
    add(t, &n, "per_token_logps", x->logp, NULL, 2, x->n, x->width);
    add(t, &n, "old_per_token_logps", x->old, NULL, 2, x->n, x->width);
    add(t, &n, "loss", x->loss, NULL, 0, 0, 0);
    add(t, &n, "grad_per_token_logps", x->slope, NULL, 2, x->n, x->width);
    if (w->ragged) add(t, &n, "group_ids", x->group, "I32", 1, x->n, 0);
    if (w->weighed) add(t, &n, "row_weights", x->row, NULL, 1, x->n, 0);
    if (w->bonus) add(t, &n, "entropies", x->entropy, NULL, 2, x->n, x->width);
    if (w->beta != 0) add(t, &n, "ref_per_token_logps", x->ref, NULL, 2, x->n, x->width);
    if (w->own_token_loss) add(t, &n, "per_token_loss", x->token, NULL, 2, x->n, x->width);
    if (w->own_kl && w->beta != 0) add(t, &n, "per_token_kl", x->kl, NULL, 2, x->n, x->width);
    if (w->own_ratio && !w->level) add(t, &n, "ratio", x->ratio, NULL, 2, x->n, x->width);
    const char *const metadata[] = {"format", "grpo-dump-1", "config", config, NULL};
    return safetensors_write(path, t, n, metadata, e);
}

/* Whether every verdict on the dump is right; told where it ought to be. */
static bool judged_right(const char *config, int seed, bool tell) {
    Err e = {{0}};
    Dump d;
    Report r;
    const Policies none = {NULL, NULL, NULL};
    if (!dump_open(&d, path, NULL, &e) || !report_make(&r, &d, &none, NULL, true, &e)) {
        printf("%s\n", e.line);
        CHECK(!e.line[0]);
        return false;
    }
    const bool right = report_outcome(&r) == OUTCOME_RIGHT;
    for (int s = 0; tell && !right && s < N_STAGE; s++) {
        char text[1400];
        report_verdict(text, sizeof text, &r, (Stage)s);
        if (!r.stage[s].judged || !strcmp(text, "right")) continue;
        const Item *x = &r.item[r.stage[s].first];
        printf("    seed %d: %s: %s: found %.9g, right is %.9g, tolerance %.3g\n      %s\n", seed,
               stage_info[s].name, text, x->worst_given, x->worst_right, x->tolerance, config);
    }
    report_free(&r);
    dump_close(&d);
    return right;
}

/* One thing wrong, where there is enough of it to be seen. */
static bool spoil(Numbers *x, int what, const Way *w) {
    if (what == 0) return fabsf(x->loss[0]) > 5e-2f && (x->loss[0] *= 1.01f, true);
    if (w->scale == 1) return false;                    /* others without spread: rounding alone is large */
    for (int i = 0; i < x->n; i++) {
        for (int k = 0; what == 1 && k < x->n; k++)    /* not one of rounding alone */
            if (x->group[k] == x->group[i] && fabsf(x->reward[k] - x->reward[i]) > 0.05f &&
                fabsf(x->adv[i]) > 0.1f)
                return x->adv[i] *= 1.01f, true;
        for (int j = i * x->width; what == 2 && j < (i + 1) * x->width; j++)
            if (x->mask[j] && fabsf(x->slope[j]) > 1e-3f) return x->slope[j] *= 1.01f, true;
    }
    return false;
}

int main(int argc, char **argv) {
    static Numbers x;
    char config[1400];
    const int from = argc > 1 ? atoi(argv[1]) : 0, to = argc > 2 ? atoi(argv[2]) : argc > 1 ? from + 1 : 300;
    if (sizeof(real) == 4) return test_end();           /* judging is the double build's */
    for (int seed = from; seed < to; seed++) {
        state = (uint64_t)seed * 7919 + 1;
        for (int i = 0; i < 8; i++) unit();
        const Way w = draw_way();
        Err e = {{0}};
        draw_numbers(&x, &w);
        advantages(&x, &w);
        loss_of(&x, &w);
        CHECK(write_numbers(&x, &w, config, &e));
        CHECK(judged_right(config, seed, true));
        if (!spoil(&x, seed % 3, &w)) continue;
        CHECK(write_numbers(&x, &w, config, &e));
        const bool seen = !judged_right(config, seed, false);
        CHECK(seen);
        if (!seen) printf("    seed %d: what was spoilt is not seen\n", seed);
    }
    return test_end();
}
