/* cuDNN's backend API, loaded by its absolute path: nothing here is linked to it. */
#ifndef FATHOM_CUDNN_LIBRARY_H
#define FATHOM_CUDNN_LIBRARY_H

#include <stdbool.h>

#include <cudnn.h>

#include "errors.h"

/* The calls that are made, each with the library's own type. */
struct cudnn_library {
    size_t (*version)(void);
    size_t (*cuda_version)(void); /* of CUDA that it was built for: 13000 */
    const char *(*error_string)(cudnnStatus_t status);
    void (*last_error)(char *text, size_t size);
    cudnnStatus_t (*create)(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor);
    cudnnStatus_t (*destroy)(cudnnBackendDescriptor_t descriptor);
    cudnnStatus_t (*finalize)(cudnnBackendDescriptor_t descriptor);
    cudnnStatus_t (*set)(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type, int64_t count, const void *values);
    cudnnStatus_t (*get)(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type, int64_t room, int64_t *count, void *values);
    /* Where there is a GPU. */
    cudnnStatus_t (*handle_create)(cudnnHandle_t *handle);
    cudnnStatus_t (*handle_destroy)(cudnnHandle_t handle);
    cudnnStatus_t (*handle_stream)(cudnnHandle_t handle, cudaStream_t stream);
    cudnnStatus_t (*execute)(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t arguments);
};

/* Whether libraries that cuDNN loads when it first wants them, of the CUDA that it was built for, are where it looks for
 * them; ERROR_FAILED, which names what is missing, if not. Looked for by hand: without NVRTC cuDNN says no more than that it has no engine (of those that it
 * compiles), and without libcublasLt it aborts the process when it is asked about one that uses it (seen with 9.19). */
bool cudnn_can_compile(const struct cudnn_library *library, struct error *err);
bool cudnn_is_whole(const struct cudnn_library *library, struct error *err);

/* Loads the library of that path; NULL: $CUDA_HOME's, else the one of the build. ERROR_FAILED. Stays loaded. */
bool cudnn_load(const char *path, struct cudnn_library *library, struct error *err);

#endif
