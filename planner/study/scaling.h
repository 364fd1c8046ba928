/* The same training on 1, 2, 4 ... N devices, on paper: times simulated from the devices' and links' speeds. */
#ifndef FATHOM_SCALING_H
#define FATHOM_SCALING_H

#include "all_reduce.h"
#include "plan_request.h"

#define SCALING_MOST 14 /* 1, 2, 4 ... 4096, and a number between two of these */

struct scaling_point {
    size_t devices;
    uint32_t batch;
    bool fits;
    double step_seconds, images_per_second;
    double of_one, of_node;  /* images per second and device, over those of one device and of one node; 0 = unknown: the
                                row that it refers to is not there */
    enum all_reduce_way way; /* of the largest bucket; several devices */
};

struct scaling {
    struct scaling_point weak[SCALING_MOST];   /* the batch of a device stays */
    struct scaling_point strong[SCALING_MOST]; /* the batch of the step stays */
    size_t weak_count, strong_count;
};

/* Plans of the request on the first 1, 2, 4 ... of its devices and on all of them. Strong scaling leaves out numbers of
 * devices above the batch. ERROR_INPUT when the devices are not alike or a speed is unknown; otherwise as plan_make. */
bool scaling_find(const struct plan_request *request, struct scaling *scaling, struct error *err);

/* A whole training: so many images, in steps of the plan's. */
struct whole_run {
    uint64_t images, steps;
    double epochs, seconds, device_hours;
    double price; /* of all device hours, in the unit of an hour's price; 0 = no price was given */
};

/* images of training (0 = as many as the model's recipe), at
 * hour_price for one device. False when the plan's step time is unknown: *run is then untouched. */
bool whole_run_estimate(const struct plan *plan, uint64_t images, double hour_price, struct whole_run *run);

#endif
