/* The backend's slots but for the ops (backend.h says what each does), and what their files share.
 *
 * Errors stick: a slot begins with device_usable and ends with device_settle, between which errors go to device->first. */
#ifndef FATHOM_CUDA_SLOTS_H
#define FATHOM_CUDA_SLOTS_H

#include "cuda_device.h"

/* ---- cuda_probe.c ---- */

/* Whether the driver serves this build's runtime: else ERROR_FAILED with both versions. *count: how many GPUs. */
bool cuda_count_devices(const struct vendor *vendor, int *count, struct error *err);
/* Adds to the devices of this process that use a GPU: while there are some no probe takes its context away. */
void cuda_probe_hold(uint32_t ordinal, int change);

/* ---- device_use.c ---- */

/* Whether no call on it has failed; else false with the first error. */
bool device_usable(const struct device *device, struct error *err);
/* The end of a use whose error, if any, is in device->first, which loses the device where it has not spoilt a
 * recording alone. Returns ok. */
bool device_settle(struct device *device, bool ok, struct error *err);
/* "device 0, NVIDIA H100 PCIe", into out; returns out. */
#define CUDA_DEVICE_NAME 320
char *device_name(const struct device *device, char out[CUDA_DEVICE_NAME]);

/* ---- device.c ---- */

/* The arena and scratch as device_create leaves them, in the order of device->own. */
bool device_fill(const struct device *device, struct error *err);
bool cuda_device_create(const struct cuda_table *table, const struct device_options *options, uint64_t arena_bytes,
                        struct device **device, struct error *err);
void cuda_device_destroy(struct device *device);
bool cuda_left_behind(void);
bool cuda_set_step(struct device *device, struct stream *stream, const struct step *step, struct error *err);

/* ---- conv_foresee.c ---- */

bool cuda_foresee(struct device *device, const struct op_call *const *calls, size_t count, struct error *err);

/* ---- usage.c ---- */

/* Around the making of a GPU's context: what was free before this process used it is kept, of the first time. */
void usage_before_context(const struct device *device);
bool usage_after_context(const struct device *device, struct error *err);
bool cuda_memory_used(struct device *device, struct device_memory *memory, struct error *err);

/* ---- memory.c ---- */

bool bounce_create(struct device *device, struct error *err);
/* Gives back the bounce buffer and host_create's memory; takes zeroed ones. */
void memory_destroy(struct device *device);
bool check_arena_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes, struct error *err);
bool check_host_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes, struct error *err);

bool cuda_copy_in(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                  struct error *err);
bool cuda_image_in(struct device *device, struct stream *stream, const struct tensor *tensor, uint64_t offset,
                   const float *host, struct error *err);
bool cuda_copy_out(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                   struct error *err);
bool cuda_add_squares(struct device *device, struct stream *stream, uint64_t offset, enum dtype dtype, uint64_t count,
                      double *sum, struct error *err);
bool cuda_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
               struct error *err);
bool cuda_parameter_in(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                       struct error *err);
bool cuda_parameter_out(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                        struct error *err);
bool cuda_pinned_create(struct device *device, uint64_t bytes, void **memory, struct error *err);
void cuda_pinned_destroy(struct device *device, void *memory);
bool cuda_host_create(struct device *device, uint64_t bytes, struct error *err);
bool cuda_host_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                    struct error *err);

/* ---- stream.c ---- */

/* The calling thread waits for a CUDA event, at most so long (0 = it only asks, UINT64_MAX = for ever). */
bool cuda_wait(struct device *device, cudaEvent_t event, uint64_t limit_ns, bool *done, struct error *err);

bool cuda_stream_create(struct device *device, struct stream **stream, struct error *err);
void cuda_stream_destroy(struct stream *stream);
bool cuda_event_create(struct device *device, struct event **event, struct error *err);
bool cuda_event_create_timed(struct device *device, struct event **event, struct error *err);
void cuda_event_destroy(struct event *event);
bool cuda_event_record(struct event *event, struct stream *stream, struct error *err);
bool cuda_event_wait(struct event *event, struct stream *stream, struct error *err);
bool cuda_event_synchronize(struct event *event, uint64_t limit_ns, bool *done, struct error *err);
bool cuda_event_elapsed_ns(struct event *from, struct event *to, uint64_t *ns, struct error *err);

/* ---- recording.c ---- */

bool cuda_record_begin(struct device *device, struct stream *stream, struct recording **recording, struct error *err);
bool cuda_record_end(struct recording *recording, struct error *err);
bool cuda_replay(struct recording *recording, struct stream *stream, struct error *err);
void cuda_recording_destroy(struct recording *recording);
bool cuda_recording_is_spoilt(const struct recording *recording);

/* ---- group.c ---- */

bool cuda_group_name(struct group_id *id, struct error *err);
bool cuda_group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks, struct group **group,
                       struct error *err);
bool cuda_group_join(struct group *group, struct device *device, struct error *err);
void cuda_group_abort(struct group *group);
void cuda_group_destroy(struct group *group);

#endif
