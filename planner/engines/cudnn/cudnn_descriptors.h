/* Descriptors of cuDNN's backend API: made one after the other, ended together. */
#ifndef FATHOM_CUDNN_DESCRIPTORS_H
#define FATHOM_CUDNN_DESCRIPTORS_H

#include "cudnn_library.h"

#define CUDNN_MOST_DESCRIPTORS 96
struct cudnn_descriptors {
    const struct cudnn_library *cudnn;
    struct error *err; /* of all calls below */
    cudnnBackendDescriptor_t made[CUDNN_MOST_DESCRIPTORS];
    size_t count;
};

/* All below: false with ERROR_FAILED, "`what`: cuDNN's words". */
bool cudnn_make(struct cudnn_descriptors *d, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor);
bool cudnn_set(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int64_t count, const void *values);
bool cudnn_set_i64(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                   int64_t count, const int64_t *values);
bool cudnn_set_part(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                    cudnnBackendDescriptor_t part);
bool cudnn_finalize(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t descriptor, const char *what);
void cudnn_descriptors_finish(struct cudnn_descriptors *d);

/* The same of any call. */
bool cudnn_check(const struct cudnn_library *cudnn, cudnnStatus_t status, const char *what, struct error *err);
/* How many values it gave, at most `room`; 0 also when it refuses. */
size_t cudnn_get(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                 cudnnBackendAttributeType_t type, int64_t room, void *values);

#endif
