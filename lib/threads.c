/* threads.c: the only place that asks OpenMP anything; parallel loops themselves are pragmas where the work
 * is. */
#include "threads.h"

#ifdef _OPENMP
#include <omp.h>

int thread_count(void) { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
int thread_index(void) { return omp_get_thread_num(); }
void threads_use(int n) { omp_set_num_threads(n); }
bool threads_limit(int *asked) {
    enum { EACH = 8, LEAST = 64 };
    const int most = EACH * omp_get_num_procs() > LEAST ? EACH * omp_get_num_procs() : LEAST;
    *asked = omp_get_max_threads();
    if (*asked <= most) return false;
    omp_set_num_threads(most);
    return true;
}
#else
int thread_count(void) { return 1; }
int thread_index(void) { return 0; }
void threads_use(int n) { (void)n; }
bool threads_limit(int *asked) { *asked = 1; return false; }
#endif

bool threads_worth(size_t work) { return work > 1 << 13 && thread_count() > 1; }
