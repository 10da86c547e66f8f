/* lora.c: a low-rank adapter beside a frozen linear layer.
 *
 * In this order: names of targets, the branch forward (E290) and backward (E291), merging and the start
 * (E292). Which layers have one, and whether a call uses it, is model.c's; files are folder.c's. */
#include "net/lora.h"

#include <stdio.h>
#include <string.h>

#include "lib/gemm.h"
#include "lib/rng.h"
#include "lib/words.h"
#include "lib/threads.h"

#define SOME_TARGETS "expected some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
const char *const lora_target_names[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                         "down_proj", NULL};

bool lora_check(const Lora *c, const char *where, Err *e) {
    if (c->r < 1 || c->r > 1 << 16)
        return fail(e, "%s: rank r: found %d, expected 1 to %d", where, c->r, 1 << 16);
    if (!(c->alpha > 0 && c->alpha < 1e9))
        return fail(e, "%s: lora_alpha: found %g, expected more than 0", where, c->alpha);
    return c->target != 0 || fail(e, "%s: target_modules: none, " SOME_TARGETS, where);
}

bool lora_targets_parse(unsigned *target, const char *text, const char *where, Err *e) {
    char name[41];
    *target = 0;
    if (strcmp(text, "all-linear") == 0) { *target = (1u << LORA_TARGETS) - 1; return true; }
    while (list_next(name, sizeof name, &text)) {
        int t = 0;
        while (t < LORA_TARGETS && strcmp(lora_target_names[t], name)) t++;
        if (t == LORA_TARGETS) {
            const char *near = nearest_name(name, lora_target_names, LORA_TARGETS);
            return fail(e, "%s: target module \"%s\"%s%s: " SOME_TARGETS " with commas, or all-linear", where,
                        name, near ? ", did you mean " : "", near ? near : "");
        }
        *target |= 1u << t;
    }
    return *target || fail(e, "%s: no target module; " SOME_TARGETS " with commas, or all-linear", where);
}

const char *lora_targets_text(char out[96], unsigned target) {
    size_t n = 0;
    out[0] = 0;
    for (int t = 0; t < LORA_TARGETS; t++)
        if (target >> t & 1)
            n += (size_t)snprintf(out + n, 96 - n, "%s%s", n ? "," : "", lora_target_names[t]);
    return out;
}

real lora_scale(const Lora *c) { return (real)(c->alpha / (c->rslora ? sqrt((double)c->r) : (double)c->r)); }

/* ---- E290, E291: the branch ---- */

void lora_forward(real *y, real *u, real *scratch, const real *a, const real *b, const real *x, int n,
                  const LoraShape *c) {
    const size_t count = (size_t)n * (size_t)c->n_out;
    gemm_nt(u, c->r, x, c->n_in, a, STORE_REAL, NULL, n, c->r, c->n_in);
    gemm_nt(scratch, c->n_out, u, c->r, b, STORE_REAL, NULL, n, c->n_out, c->r);
    #pragma omp parallel for simd schedule(static) if (threads_worth(count / 4))
    for (size_t i = 0; i < count; i++) y[i] = r_fma(c->s, scratch[i], y[i]);
}

void lora_backward(real *dx, real *du, real *scratch, const real *dy, const real *a, const real *b, int n,
                   const LoraShape *c) {
    const size_t rank_count = (size_t)n * (size_t)c->r, count = (size_t)n * (size_t)c->n_in;
    /* forward: y += s B u */
    gemm_nn(du, c->r, dy, c->n_out, b, STORE_REAL, n, c->n_out, c->r);
    for (size_t i = 0; i < rank_count; i++) du[i] *= c->s;
    /* forward: u = A x */
    gemm_nn(scratch, c->n_in, du, c->r, a, STORE_REAL, n, c->r, c->n_in);
    #pragma omp parallel for simd schedule(static) if (threads_worth(count / 4))
    for (size_t i = 0; i < count; i++) dx[i] += scratch[i];
}

void lora_backward_weights(real *da, real *db, real *su, const real *dy, const real *x, const real *u,
                           const real *du, int n, const LoraShape *c) {
    const size_t rank_count = (size_t)n * (size_t)c->r;
    for (size_t i = 0; i < rank_count; i++) su[i] = c->s * u[i];
    gemm_tn(db, dy, c->n_out, su, c->r, n, c->n_out, c->r);
    gemm_tn(da, du, c->r, x, c->n_in, n, c->r, c->n_in);
}

/* ---- E292 ---- */

void lora_merge(real *w, const real *a, const real *b, const LoraShape *c) {
    const size_t n_in = (size_t)c->n_in, r = (size_t)c->r;
    #pragma omp parallel for schedule(static)
    for (int o = 0; o < c->n_out; o++)
        for (size_t k = 0; k < n_in; k++) {
            real chain = 0;
            for (size_t j = 0; j < r; j++) chain = r_fma(b[(size_t)o * r + j], a[j * n_in + k], chain);
            w[(size_t)o * n_in + k] = r_fma(c->s, chain, w[(size_t)o * n_in + k]);
        }
}

void lora_init(real *a, real *b, const LoraShape *c, uint64_t seed, int layer, LoraTarget t) {
    const double bound = 1 / sqrt((double)c->n_in);
    const size_t n_a = (size_t)c->r * (size_t)c->n_in;
    for (size_t j = 0; j < n_a; j++)
        a[j] = (real)(bound * (2 * rng_uniform(seed, RNG_ADAPTER, (uint64_t)layer, (uint64_t)t, j, 0) - 1));
    memset(b, 0, (size_t)c->n_out * (size_t)c->r * sizeof *b);
}
