/* A trace on its way to Perfetto's format. Field numbers from github.com/google/perfetto, protos/perfetto/trace. */
#ifndef FATHOM_PERFETTO_PRIVATE_H
#define FATHOM_PERFETTO_PRIVATE_H

#include <stdio.h>

#include "perfetto_message.h"
#include "stream.h"

enum { /* TracePacket */
       PACKET_TIMESTAMP = 8,
       PACKET_SEQUENCE = 10,
       PACKET_TRACK_EVENT = 11,
       PACKET_INTERNED = 12,
       PACKET_SEQUENCE_FLAGS = 13,
       PACKET_RENDER_STAGE = 53,
       PACKET_TRACK_DESCRIPTOR = 60,
};
enum { INTERNED_CATEGORIES = 1, INTERNED_EVENT_NAMES = 2, INTERNED_CONTEXTS = 23, INTERNED_SPECIFICATIONS = 24 };

/* Tracks: a device's, and under it its lanes. */
enum lane { LANE_DEVICE, LANE_STEPS, LANE_OPS, LANE_GAPS, LANE_HOST, LANE_MARKS, LANE_METRICS };
#define LANE_MEMORY   (LANE_METRICS + TRACE_METRICS)
#define LANE_COUNTERS (LANE_MEMORY + TRACE_SAMPLES)
#define LANE_STREAMS  (LANE_COUNTERS + TRACE_MOST_COUNTERS)
#define MOST_STREAMS  256 /* of a device; the rest share the last one */
#define LANES         (LANE_STREAMS + MOST_STREAMS)

struct interned {
    uint64_t name, category; /* numbers; 0 = none yet */
    const char *layer;       /* of an op, or of a kernel's; belongs to the stream */
    struct trace_kernel kernel;
};

struct device_names {
    struct interned *ids; /* of ops or kernels */
    size_t count, capacity;
};

struct device_streams {
    uint32_t numbers[MOST_STREAMS];
    size_t count;
};

struct perfetto {
    FILE *out;
    struct message packet, body, name;
    bool begun;
    bool described[TRACE_MOST_DEVICES][LANES];
    struct device_names names[TRACE_MOST_DEVICES], kernels[TRACE_MOST_DEVICES];
    struct device_streams streams[TRACE_MOST_DEVICES];
    struct trace_counter counters[TRACE_MOST_COUNTERS]; /* names belong to the stream; NULL = none */
    uint64_t name_count;
    uint64_t step_ns; /* the last time seen of a step: metrics have none */
    uint64_t pid;     /* of the run; 0 = unknown */
    uint64_t stage_count;
};

/* Ends the packet: every one belongs to our one sequence. */
void perfetto_write_packet(struct perfetto *p);

/* Before the first of a stream's kernels; `lane` is the stream's. */
void perfetto_describe_queue(struct perfetto *p, uint32_t device, int lane, const char *name);
void perfetto_write_stage(struct perfetto *p, const struct trace_event *event, int lane, const struct interned *ids);

#endif
