/* The calls of NCCL that the trainer makes, as a table that is filled when the library is loaded: at the first plan with
 * several GPUs. Names and meanings are NCCL's; libraries that stand in for it have these calls. */
#ifndef FATHOM_NCCL_CALLS_H
#define FATHOM_NCCL_CALLS_H

#include <nccl.h>

#include "errors.h"

/* CALL(name without its prefix) */
#define NCCL_CALLS(CALL)                                                                                               \
    CALL(GetVersion) CALL(GetUniqueId) CALL(CommInitRankConfig) CALL(CommSplit) CALL(CommFinalize) CALL(CommDestroy)   \
    CALL(CommAbort) CALL(CommGetAsyncError) CALL(AllReduce) CALL(GetErrorString) CALL(GetLastError)

#define NCCL_CALLS_FIELD(name) __typeof__(&nccl##name) name;
struct nccl_calls {
    NCCL_CALLS(NCCL_CALLS_FIELD)
    /* Of 2.19 and later, all or none; NULL: this NCCL has no memory of its own to give. */
    ncclResult_t (*MemAlloc)(void **memory, size_t bytes);
    ncclResult_t (*MemFree)(void *memory);
    ncclResult_t (*CommRegister)(const ncclComm_t comm, void *memory, size_t bytes, void **handle);
    ncclResult_t (*CommDeregister)(const ncclComm_t comm, void *handle);
};
#undef NCCL_CALLS_FIELD

/* Loaded once, at the first call, from where CUDA is looked for (cuda_calls.h). NULL: ERROR_FAILED with what was looked for.
 * Any thread. */
const struct nccl_calls *nccl_load(struct error *err);

#endif
