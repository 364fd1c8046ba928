#include "cudnn_descriptors.h"

#include <string.h>

bool cudnn_check(const struct cudnn_library *cudnn, cudnnStatus_t status, const char *what, struct error *err)
{
    char words[256] = "";
    if (status == CUDNN_STATUS_SUCCESS) return true;
    cudnn->last_error(words, sizeof words);
    words[strcspn(words, "\n")] = '\0';
    return error_set(err, ERROR_FAILED, "%s: %s (%s)", what, cudnn->error_string(status), words);
}

bool cudnn_make(struct cudnn_descriptors *d, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor)
{
    if (d->count == CUDNN_MOST_DESCRIPTORS)
        return error_set(d->err, ERROR_FAILED, "more descriptors than were counted");
    TRY(cudnn_check(d->cudnn, d->cudnn->create(type, descriptor), "a descriptor", d->err));
    d->made[d->count++] = *descriptor;
    return true;
}

bool cudnn_set(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    return cudnn_check(d->cudnn, d->cudnn->set(to, name, type, count, values), "an attribute", d->err);
}

bool cudnn_set_i64(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                   int64_t count, const int64_t *values)
{
    return cudnn_set(d, to, name, CUDNN_TYPE_INT64, count, values);
}

bool cudnn_set_part(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                    cudnnBackendDescriptor_t part)
{
    return cudnn_set(d, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

bool cudnn_finalize(const struct cudnn_descriptors *d, cudnnBackendDescriptor_t descriptor, const char *what)
{
    return cudnn_check(d->cudnn, d->cudnn->finalize(descriptor), what, d->err);
}

void cudnn_descriptors_finish(struct cudnn_descriptors *d)
{
    while (d->count > 0) d->cudnn->destroy(d->made[--d->count]);
}

size_t cudnn_get(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                 cudnnBackendAttributeType_t type, int64_t room, void *values)
{
    int64_t count = 0;
    if (cudnn->get(from, name, type, room, &count, values) != CUDNN_STATUS_SUCCESS || count < 0) return 0;
    return (size_t)(count < room ? count : room);
}
