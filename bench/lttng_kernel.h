/* A kernel's record as a tracepoint of LTTng-UST: read several times over by its headers. */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER fathom_bench
#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "lttng_kernel.h"

#if !defined(FATHOM_LTTNG_KERNEL_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define FATHOM_LTTNG_KERNEL_H

#include <lttng/tracepoint.h>
#include <stdint.h>

LTTNG_UST_TRACEPOINT_EVENT(
    fathom_bench, kernel, LTTNG_UST_TP_ARGS(uint32_t, id, uint32_t, stream, uint64_t, begin_ns, uint64_t, end_ns),
    LTTNG_UST_TP_FIELDS(lttng_ust_field_integer(uint32_t, id, id) lttng_ust_field_integer(uint32_t, stream, stream)
                            lttng_ust_field_integer(uint64_t, begin_ns, begin_ns)
                                lttng_ust_field_integer(uint64_t, end_ns, end_ns)))

#endif

#include <lttng/tracepoint-event.h>
