/* Functions that are compiled for several vector units, of which the loader picks the best at hand: the same sums in the
 * same order, so the same bits. */
#ifndef FATHOM_VECTOR_UNITS_H
#define FATHOM_VECTOR_UNITS_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define FOR_VECTOR_UNITS __attribute__((target_clones("avx2", "default")))
#else
#define FOR_VECTOR_UNITS
#endif

/* What such a function is made of is compiled as it is. */
#ifdef __GNUC__
#define IN_VECTOR_UNITS static inline __attribute__((always_inline))
#else
#define IN_VECTOR_UNITS static inline
#endif

#endif
