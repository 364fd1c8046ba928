/* What is asked of one variant of a plan: a device's part of a request. */
#ifndef FATHOM_VARIANT_REQUEST_H
#define FATHOM_VARIANT_REQUEST_H

#include "plan_request.h"

struct variant_request {
    const struct plan_request *plan;
    const struct device_spec *device;
    uint32_t images;        /* of the step on this device */
    uint32_t micro_batches; /* divides images */
    uint32_t devices;       /* of the step */
    bool first;             /* the device whose process keeps the loader */
};

#endif
