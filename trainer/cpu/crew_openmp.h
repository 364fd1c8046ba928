/* The calls of GCC's OpenMP runtime (libgomp) that oneDNN makes, as its ABI has them. The program defines them itself
 * (crew.c), and exports them, so that the library finds these. */
#ifndef FATHOM_CREW_OPENMP_H
#define FATHOM_CREW_OPENMP_H

void GOMP_parallel(void (*work)(void *), void *context, unsigned threads, unsigned flags);
void GOMP_barrier(void);
int omp_get_max_threads(void);
int omp_get_num_threads(void);
int omp_get_thread_num(void);
int omp_in_parallel(void);

#endif
