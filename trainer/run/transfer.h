/* The tensors of a run on their way between its devices and a checkpoint, one by one. */
#ifndef FATHOM_TRANSFER_H
#define FATHOM_TRANSFER_H

#include "train_private.h"

/* Everything in a checkpoint: parameters, what batch normalisations count with, the optimizer's state and averages of
 * weights, which are the same on all devices, and each device's own running statistics. When a run goes on with another
 * number of devices, all of them get the mean of the saved statistics. */
struct transfer {
    struct training *run;
    const struct graph *graph;
    struct state_entry *entries; /* of the first device's plan: parameters, the optimiser's, statistics */
    size_t entry_count;
    size_t parameters, shared; /* entries before the optimiser's, before the statistics */
    uint32_t devices;          /* whose statistics the checkpoint has */
    bool old;                  /* of version 1 or 2, which has no means of statistics */
    bool weights_alone;        /* nothing else is wanted */
    bool fresh_classifier;     /* and a classifier of other classes is not */
    float *sums;               /* of statistics over devices, or of one of them; NULL where nothing is summed */
    float *values;             /* of the transfer going on */
    const float *source;
    size_t entry;
    bool must_be_finite;
};

/* For a checkpoint with statistics of so many devices. Takes a zeroed object; ended by transfer_finish, also after a failure. */
bool transfer_begin(struct transfer *k, struct training *run, uint32_t devices, struct error *err);
void transfer_finish(struct transfer *k);
/* Room for sums of statistics: of one after the other as a checkpoint is written, of all as an old one is read. */
bool transfer_make_sums(struct transfer *k, struct error *err);

/* Numbers of an entry. */
uint64_t transfer_elements(const struct transfer *k, size_t entry);
/* Onto all devices of this process. */
bool transfer_put(struct transfer *k, size_t entry, const float *values, struct error *err);
/* The tensors as checkpoints want them; borrows k. */
struct checkpoint_tensors transfer_tensors(struct transfer *k);
/* How many of them, the first ones, are what the net is. */
size_t transfer_net_tensors(const struct transfer *k);
/* Tensor i of those, brought to rank 0: all ranks call it. */
bool transfer_get(struct transfer *k, size_t i, float *values, struct error *err);

/* Whether this process drives a device of the plan, and bytes from the rank that does to rank 0. */
bool transfer_is_here(const struct training *run, uint32_t device);
bool transfer_bring(struct training *run, uint32_t device, void *bytes, uint64_t count, struct error *err);

#endif
