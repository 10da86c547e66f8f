/* machine.h: what this machine can do, measured, so that a speed can be told as a share of it; and what this
 * process takes of it.
 *
 * Timings, unlike everything else here, differ from run to run; nothing that a result depends on may come
 * from this file. */
#ifndef MACHINE_H
#define MACHINE_H

/* Operations per second in real, multiplication and addition counted apart, of fused multiply-adds on
 * registers alone with n_thread threads: the best of several tries of a few milliseconds. */
double machine_fma_peak(int n_thread);
/* Bytes per second of reading an array of that many bytes from its first to its last, again and again: the
 * best of several tries. An array that fits a cache is read from there; MACHINE_BIG fits none. 0 if there is
 * no memory for it. */
enum { MACHINE_BIG = 256 << 20 };
double machine_read_peak(int n_thread, double bytes);

const char *machine_vectors(void);      /* what the compiler made vectors of, "AVX2" for instance */

double clock_seconds(void);             /* monotonic */
/* of this process, all its threads together, since it began; NaN where the system does not tell */
double machine_cpu_seconds(void);

/* The most memory that this process has held at once, in bytes, since its start or since
 * machine_memory_forget (which needs Linux; elsewhere it does nothing). NaN where the system does not tell.
 */
double machine_memory_most(void);
void machine_memory_forget(void);

#endif
