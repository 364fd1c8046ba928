/* The calls of CUPTI that are made, as a table that is filled when a run is to be profiled: nothing of it is loaded before. */
#ifndef FATHOM_CUPTI_CALLS_H
#define FATHOM_CUPTI_CALLS_H

#include <cupti.h>

#include "errors.h"

/* CALL(name without its prefix). The first generation of activity calls alone: it does not mix with the second. */
#define CUPTI_CALLS(CALL)                                                                                              \
    CALL(GetVersion) CALL(GetResultString) CALL(Subscribe) CALL(Unsubscribe) CALL(EnableCallback) CALL(Finalize)       \
    CALL(ActivityRegisterTimestampCallback) CALL(ActivityRegisterCallbacks) CALL(ActivityEnable) CALL(ActivityDisable) \
    CALL(ActivityFlushAll) CALL(ActivityGetNextRecord) CALL(ActivityGetNumDroppedRecords) CALL(GetGraphNodeId)     \
    CALL(GetTimestamp)

#define CUPTI_CALLS_FIELD(name) __typeof__(&cupti##name) name;
struct cupti_calls {
    CUPTI_CALLS(CUPTI_CALLS_FIELD)
};
#undef CUPTI_CALLS_FIELD

/* Loads libcupti from $CUDA_HOME, /usr/local/cuda, where the build found CUDA, or by the loader's own search. ERROR_FAILED.
 * Stays loaded. */
bool cupti_load(struct cupti_calls *calls, struct error *err);

#endif
