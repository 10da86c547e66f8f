/* test_attention.c: tiles of queries, bit for bit, against one query and one position after the other. */
#include "net/attention.h"

#include "lib/gemm.h"
#include "tests/test.h"

static uint32_t state = 1;
static real unit(void) { state = state * 1664525u + 1013904223u; return (real)(state / 2147483648.0 - 1); }
static real *numbers(size_t n) {
    real *p = malloc((n + 1) * sizeof(real));
    for (size_t i = 0; i < n; i++) p[i] = 2 * unit();
    return p;
}
static long differing(const real *a, const real *b, size_t n) {
    long d = 0;
    for (size_t i = 0; i < n; i++) d += !(a[i] == b[i]);            /* a NaN differs */
    return d;
}

/* E14 to E17 as written: query x, its positions k, v [n, d]; o and dq are written, dk and dv added to, dk
 * without its scale. */
static void plain(real *o, real *dq, real *dk, real *dv, const real *q, const real *d_o, const real *k,
                  const real *v, int n, int d) {
    const real scale = (real)(1 / sqrt((double)d));
    real *p = numbers((size_t)n);
    for (int u = 0; u < n; u++) {
        p[u] = 0;
        for (int j = 0; j < d; j++) p[u] = r_fma(q[j], k[u * d + j], p[u]);
        p[u] *= scale;
    }
    const real max = r_max(p, (size_t)n);
    r_exp_array(p, p, max, (size_t)n);
    const real sum = r_sum(p, (size_t)n);
    for (int u = 0; u < n; u++) p[u] /= sum;
    for (int j = 0; j < d; j++) {
        o[j] = 0;
        for (int u = 0; u < n; u++) o[j] = r_fma(p[u], v[u * d + j], o[j]);
    }
    const real drow = r_dot(d_o, o, (size_t)d);
    for (int j = 0; j < d; j++) dq[j] = 0;
    for (int u = 0; u < n; u++) {
        real dp = 0;
        for (int j = 0; j < d; j++) dp = r_fma(d_o[j], v[u * d + j], dp);
        const real ds = p[u] * (dp - drow);
        for (int j = 0; j < d; j++) {
            dq[j] = r_fma(ds, k[u * d + j], dq[j]);
            dk[u * d + j] = r_fma(ds, q[j], dk[u * d + j]);
            dv[u * d + j] = r_fma(p[u], d_o[j], dv[u * d + j]);
        }
    }
    for (int j = 0; j < d; j++) dq[j] *= scale;
    free(p);
}

static KeySpan lay_out(const real *k, const real *v, real *dk, real *dv, int n, int d) {
    const size_t size = attention_panels(n, d), stride = (size_t)n * GEMM_PANEL;
    real *p = numbers(4 * size);
    const KeySpan s = {.n = n, .key_t = p, .value = p + size, .value_stride = stride, .value_t = p + 2 * size,
                       .key = p + 3 * size, .dk = dk, .dv = dv};
    attention_transpose(s.key_t, k, n, d, d);
    attention_transpose(s.value_t, v, n, d, d);
    attention_columns(s.value, stride, v, n, d, d);
    attention_columns(s.key, stride, k, n, d, d);
    return s;
}

/* A prompt of n_prompt positions (0: none) and n rows after it; differing reals of all results. */
static long rows_differ(int n_prompt, int n, int d) {
    const int all = n_prompt + n;
    const size_t nq = (size_t)(n * d), nk = (size_t)(all * d), scratch = attention_scratch((size_t)all, d);
    real *q = numbers(nq), *d_o = numbers(nq), *k = numbers(nk), *v = numbers(nk), *o = numbers(nq),
         *dq = numbers(nq), *dk = numbers(2 * nk), *dv = dk + nk;
    real *want = numbers(2 * nq + 2 * nk), *want_dq = want + nq, *want_dk = want_dq + nq,
         *max = numbers(2 * (size_t)n), *sum = max + n;
    real *p = numbers(scratch), *ds = numbers(scratch);
    memcpy(want_dk, dk, 2 * nk * sizeof(real));                     /* gradients go on from what is there */
    for (int t = 0; t < n; t++)
        plain(want + t * d, want_dq + t * d, want_dk, want_dk + nk, q + t * d, d_o + t * d, k, v,
              n_prompt + t + 1, d);
    KeySpan span[2];
    int n_span = 0;
    if (n_prompt) span[n_span++] = lay_out(k, v, dk, dv, n_prompt, d);
    const int at = n_prompt * d;
    span[n_span++] = lay_out(k + at, v + at, dk + at, dv + at, n, d);
    attend(o, max, sum, 1, p, q, d, n, span, n_span, 0, d);
    attend_backward(dq, p, ds, q, o, d_o, d, max, sum, 1, n, span, n_span, 0, d, d);
    long bad = differing(o, want, nq) + differing(dq, want_dq, nq) + differing(dk, want_dk, 2 * nk);

    const KeySpan other = n_prompt ? lay_out(d_o, o, NULL, NULL, n, d) : (KeySpan){0};
    /* a row alone, and as one of several that share the prompt only */
    for (int t = 0; t < n && n_prompt; t++) {
        real row_q[GEMM_APART * 128], row_o[GEMM_APART * 128];
        for (int rows = 1; rows <= GEMM_APART; rows++) {
            KeySpan own[GEMM_APART];
            /* every other row has keys of its own that are not these */
            for (int i = 0; i < rows; i++) {
                own[i] = i % 2 ? other : span[1];
                own[i].n = t + 1;
                memcpy(row_q + i * d, q + t * d, (size_t)d * sizeof(real));
            }
            attend_apart(row_o, p, row_q, d, rows, &span[0], own, d);
            for (int i = 0; i < rows; i += 2) bad += differing(row_o + i * d, want + t * d, (size_t)d);
        }
        attend(o, NULL, NULL, 0, p, q + t * d, d, 1, span, 2, t, d);
        bad += differing(o, want + t * d, (size_t)d);
    }
    for (int i = 0; i < n_span; i++) free(span[i].key_t);
    free(other.key_t);
    free(q), free(d_o), free(k), free(v), free(o), free(dq), free(dk), free(want), free(max), free(p),
        free(ds);
    return bad;
}

static void test_E14_to_E17_tiles(void) {
    static const int shape[][3] = {
        /* prompt, rows, head_dim */
        {0, 1, 16}, {0, 2, 6},    {0, 12, 16},  {0, 13, 20},  {0, 40, 32},  {1, 1, 64},
        {5, 7, 16}, {16, 31, 48}, {17, 25, 20}, {33, 6, 128}, {70, 70, 16},
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        const long bad = rows_differ(shape[i][0], shape[i][1], shape[i][2]);
        if (bad) printf("prompt %d, rows %d, head_dim %d\n", shape[i][0], shape[i][1], shape[i][2]);
        CHECK_INT(bad, 0);
    }
}

int main(void) {
    test_E14_to_E17_tiles();
    return test_end();
}
