/* machine.c: peak rates of arithmetic and of memory, and this process's largest size. */
#include "machine.h"

#include <stdio.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "base.h"
#include "vector.h"

/* ---- peaks ---- */

/* Chains enough to hide the latency of a multiply-add on every unit (4 or 5 cycles on 2), and few enough for
 * 16 registers. */
#define EACH_CHAIN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
enum { N_CHAIN = 12, TRIES = 8, FMA_STEPS = 1 << 21 };

static real fma_loop(real x) {
    const Vector y = { 1, 1 };
#define START(i) Vector p##i = { (real)i };
#define STEP(i)  p##i = vector_fma(x, p##i, y);         /* p -> x p + y with x < 1: stays finite and normal */
#define ADD(i)   sum += p##i;
    EACH_CHAIN(START)
    for (int k = 0; k < FMA_STEPS; k++) { EACH_CHAIN(STEP) }
    Vector sum = { 0 };
    EACH_CHAIN(ADD)
#undef START
#undef STEP
#undef ADD
    return sum[0];
}

double machine_fma_peak(int n_thread) {
    real used[256];
    double best = 0;
    n_thread = n_thread < 1 ? 1 : n_thread > 256 ? 256 : n_thread;
    for (int i = 0; i < TRIES; i++) {
        const double start = clock_seconds();
        #pragma omp parallel for schedule(static) num_threads(n_thread)
        for (int t = 0; t < n_thread; t++) used[t] = fma_loop((real)0.75 + (real)t / 1024);
        const double rate = 2.0 * N_CHAIN * VECTOR_LANES * FMA_STEPS * n_thread / (clock_seconds() - start);
        if (rate > best && used[0] > 0) best = rate;
    }
    return best;
}

/* Several streams, so that no chain of additions waits for the one before it. */
static real read_all(const real *x, size_t n) {
    Vector sum[8] = { { 0 } };
    for (size_t i = 0; i + 8 * (size_t)VECTOR_LANES <= n; i += 8 * (size_t)VECTOR_LANES)
        for (int k = 0; k < 8; k++) sum[k] += vector_load(x + i + (size_t)k * (size_t)VECTOR_LANES);
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0][0];
}

double machine_read_peak(int n_thread, double bytes) {
    const size_t part = (size_t)64 << 10, n_part = bytes > (double)part ? (size_t)(bytes / (double)part) : 1,
                 sweeps = ((size_t)MACHINE_BIG / part - 1) / n_part + 1;
    Err ignored = {{0}};
    real *x = memory_new(n_part * part, "memory to read", &ignored), used[256] = {0};
    double best = 0;
    if (!x) return 0;
    n_thread = n_thread < 1 ? 1 : n_thread > 256 ? 256 : n_thread;
    for (int i = 0; i < TRIES; i++) {
        const double start = clock_seconds();
        #pragma omp parallel for schedule(static) num_threads(n_thread)
        /* each its own stretch: what it read is in its own caches */
        for (int t = 0; t < n_thread; t++)
            for (size_t s = 0; s < sweeps; s++)
                for (size_t p = n_part * (size_t)t / (size_t)n_thread;
                     p < n_part * (size_t)(t + 1) / (size_t)n_thread; p++)
                    used[t] += read_all(x + p * (part / sizeof(real)), part / sizeof(real));
        const double rate = (double)(n_part * part * sweeps) / (clock_seconds() - start);
        if (rate > best && used[0] == 0) best = rate;
    }
    memory_free(x);
    return best;
}

const char *machine_vectors(void) {
#if defined(__AVX512F__)
    return "AVX-512";
#elif defined(__AVX2__)
    return "AVX2";
#elif defined(__AVX__)
    return "AVX";
#elif defined(__SSE2__)
    return "SSE2";
#elif defined(__ARM_NEON)
    return "NEON";
#else
    return "128 bits";
#endif
}

/* ---- this process ---- */

double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double machine_cpu_seconds(void) {
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) ? NAN : (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double machine_memory_most(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    double kib = NAN;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return 1024 * kib;
}

void machine_memory_forget(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);                      /* proc(5): the peak starts anew from what is held now */
    fclose(f);
}
