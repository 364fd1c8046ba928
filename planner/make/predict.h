/* What a finished plan's programs take on their devices: times, and how a batch is best shared. */
#ifndef FATHOM_PREDICT_H
#define FATHOM_PREDICT_H

#include "cost.h"
#include "plan.h"

/* Fills compute_seconds and extra_time_fraction of every variant and step_seconds of the plan, from cost.h. Devices of
 * one variant may differ in speed: the slowest counts. A step ends with the slowest device; its all-reduces run beside
 * backward, and the update waits for the last; copies to and from host memory run beside both (timeline.h). Times are 0
 * when a device's speed or a needed link's is unknown; fractions are then those of a stand-in. extra_time_fraction counts
 * what runs again and what waits for copies. ERROR_MEMORY. */
bool predict_times(struct plan *plan, const struct machine *machine, const struct cost_table *measured,
                   struct error *err);

/* When one device's part of the step ends, its all-reduces included: the step ends with the latest. A device of unknown
 * speed is given a stand-in's. ERROR_MEMORY. */
bool predict_device_seconds(const struct plan *plan, const struct plan_device *device, const struct machine *machine,
                            const struct cost_table *measured, double *seconds, struct error *err);

/* The forward and backward passes of a step on the plan's only device, without the update; 0 when its speed is unknown.
 * ERROR_MEMORY. */
bool predict_passes_seconds(const struct plan *plan, const struct cost_table *measured, double *seconds, struct error *err);

/* So many images evaluated, shared out to the devices in their micro-batches, in which none but the last may be short: of
 * the slowest device. ERROR_MEMORY. */
bool predict_evaluation_seconds(const struct plan *plan, const struct cost_table *measured, uint64_t images,
                                double *seconds, struct error *err);

/* What one of the devices alone would take for its share, over what the step takes with all: 1 when no communication is
 * left over. 0 when the times are unknown. */
double predict_efficiency(const struct plan *plan);

/* The names of the devices whose speed is unknown, like "8GiB and 24GiB", into out (cut where it is full), each once; ""
 * when all are known. Returns out. */
char *predict_unknown_speeds(const struct plan *plan, const struct cost_table *measured, char *out, size_t size);

/* Bytes of the largest gradient bucket that devices add up; 0 for one device. */
uint64_t predict_largest_bucket(const struct plan *plan);

/* Shares the batch of a plan over unequal devices by split_estimate, from a plan of the same request whose activations are
 * all kept and whose shares are known: fills images[device_count], multiples of unit (the micro-batches of a device),
 * which divides the batch. */
bool predict_shares(const struct plan *plan, uint32_t unit, uint32_t *images, struct error *err);

#endif
