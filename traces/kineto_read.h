/* The events of a Chrome trace as PyTorch's profiler (Kineto) writes it, one by one: JSON, plain or compressed with gzip,
 * of any size. Only what an import asks of an event is taken out of it. */
#ifndef FATHOM_KINETO_READ_H
#define FATHOM_KINETO_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "kineto_json.h"

struct kineto_event {
    struct kineto_text phase, category, name, process, thread;
    uint64_t begin_ns, duration_ns; /* exactly, of the decimal microseconds; what is below a nanosecond is cut off */
    bool has_begin, has_duration; /* from 0 on, and within 63 bits */
    /* args */
    uint64_t correlation, external, sequence, forward_thread, bytes, registers, shared_bytes,
        device, stream;
    bool has_correlation, has_external, has_sequence, has_device, has_stream;
    uint32_t grid[3], block[3];
};

struct kineto_device {
    uint32_t id;
    char name[48];
    uint64_t memory_bytes; /* 0 = unknown */
};

#define KINETO_DEVICES 64

struct kineto_head {
    uint64_t base_ns; /* added to all times */
    struct kineto_device devices[KINETO_DEVICES];
    size_t device_count;
    uint64_t events, bytes; /* seen in all; bytes of JSON */
};

/* Whether the args of an event, of which all that stands before them is known, are wanted. */
typedef bool (*kineto_wants)(void *context, const struct kineto_event *event);
typedef bool (*kineto_take)(void *context, const struct kineto_event *event, struct error *err);
/* Hands out every event with a name. ERROR_INPUT, with the byte, when the file is no such trace or ends early. */
bool kineto_read(const char *path, struct kineto_head *head, kineto_wants wants, kineto_take take, void *context,
                 struct error *err);

#endif
