/* cuDNN's backend API, loaded by its absolute path: nothing here is linked to it. */
#ifndef FATHOM_CUDNN_LIBRARY_H
#define FATHOM_CUDNN_LIBRARY_H

#include <stdbool.h>

#include <cudnn.h>

#include "errors.h"

/* The calls that are made, each with the library's own type. */
struct cudnn_library {
    size_t (*version)(void);
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

/* Loads the library of that path; NULL: $CUDA_HOME's, else the one of the build. ERROR_FAILED. Stays loaded. */
bool cudnn_load(const char *path, struct cudnn_library *library, struct error *err);

#endif
