/* The same training on 1, 2, 4 ... N devices, on paper: times simulated from the devices' and links' speeds. */
#ifndef FATHOM_SCALING_H
#define FATHOM_SCALING_H

#include "all_reduce.h"
#include "plan_request.h"

#define SCALING_MOST 14 /* 1, 2, 4 ... 4096, and a number between two of these */

/* What a step takes beside the devices' own work, on paper. */
struct scaling_load {
    double node_images_per_second; /* that a node's processors read and decode; 0 = as many as are wanted */
    double spread;                 /* of the devices' steps: standard deviation over the mean */
    uint64_t test_images, epoch_images; /* so many are evaluated, on all devices, after each pass over so many; 0 = none */
};

/* Pictures: cores of a DGX H100 for each GPU, times what one decodes (libjpeg-turbo 2.1.5, 500 x 375, measured: 1,050 to
 * 1,470 images/s); small images wait for nothing. Devices 1 % apart. test_images are evaluated after each epoch_images. */
struct scaling_load scaling_load_of(const struct plan_request *request, uint64_t test_images, uint64_t epoch_images);

/* The mean of the largest of so many numbers of the standard normal distribution (Blom, "Statistical Estimates and
 * Transformed Beta-Variables", 1958: within 1 % of its value from 10 on). */
double scaling_expected_largest(size_t count);

struct scaling_point {
    size_t devices;
    uint32_t batch;
    bool fits;
    double step_seconds, images_per_second;
    /* A step with all that: its images are decoded beside the step before it, and are waited for where that takes longer;
     * it ends with the slowest of the devices (Chen et al., arXiv:1604.00981, 2.1); and evaluations are shared out to the
     * steps of an epoch. */
    double input_seconds;     /* decoding takes beside it */
    double straggler_seconds; /* devices wait for the slowest, on average */
    double evaluation_seconds;
    double whole_seconds, whole_images_per_second;
    double whole_of_one; /* as of_one */
    double of_one, of_node;  /* images per second and device, over those of one device and of one node; 0 = unknown: the
                                row that it refers to is not there */
    enum all_reduce_way way; /* of the largest bucket; several devices */
};

struct scaling {
    struct scaling_load load;
    struct scaling_point weak[SCALING_MOST];   /* the batch of a device stays */
    struct scaling_point strong[SCALING_MOST]; /* the batch of the step stays */
    size_t weak_count, strong_count;
};

/* Plans of the request on the first 1, 2, 4 ... of its devices and on all of them, with this load. Strong scaling leaves out numbers of
 * devices above the batch. ERROR_INPUT when the devices are not alike or a speed is unknown; otherwise as plan_make. */
bool scaling_find(const struct plan_request *request, const struct scaling_load *load, struct scaling *scaling,
                  struct error *err);

/* A whole training: so many images, in steps of the plan's. */
struct whole_run {
    uint64_t images, steps;
    double epochs, seconds, device_hours;
    double price; /* of all device hours, in the unit of an hour's price; 0 = no price was given */
};

/* images of training, of which there are epoch_images, at hour_price for one device. False when the plan's step time is
 * unknown: *run is then untouched. */
bool whole_run_estimate(const struct plan *plan, uint64_t images, uint64_t epoch_images, double hour_price,
                        struct whole_run *run);

#endif
