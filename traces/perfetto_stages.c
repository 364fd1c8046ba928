/* Kernels as a GPU's stages, beside the tracks of our own, for the views of GPUs that Perfetto has: streams are its
 * queues, and what a kernel was launched with is shown with it. */
#include <string.h>

#include "perfetto_private.h"

/* GpuRenderStageEvent, and what it names: one context, the stages, the streams. */
enum {
    STAGE_EVENT = 1,
    STAGE_DURATION = 2,
    STAGE_CONTEXT = 5,
    STAGE_EXTRA = 6,
    STAGE_GPU = 11,
    STAGE_QUEUE = 13,
    STAGE_STAGE = 14,
    STAGE_NAME = 20,
    STAGE_LAUNCH = 21
};
enum { CONTEXT_ID = 1, CONTEXT_PROCESS = 2, CONTEXT_API = 3, API_CUDA = 4 };
enum {
    SPECIFICATION_ID = 1,
    SPECIFICATION_NAME = 2,
    SPECIFICATION_CATEGORY = 4,
    CATEGORY_OTHER = 0,
    CATEGORY_COMPUTE = 2
};
enum { EXTRA_NAME = 1, EXTRA_VALUE = 2 };
enum { LAUNCH_GRID = 1, LAUNCH_BLOCK = 2, LAUNCH_ARGUMENT = 3, ARGUMENT_NAME = 2, ARGUMENT_NUMBER = 4 };
#define THE_CONTEXT    1u
#define FIRST_QUEUE    16u /* of specifications; stages come before them */
#define STAGE_OF(work) ((uint64_t)(work) + 1)

static void put_specification(struct perfetto *p, uint64_t id, const char *name, uint64_t category)
{
    struct message inner;
    message_begin(&inner);
    message_put_number(&inner, SPECIFICATION_ID, id);
    message_put_bytes(&inner, SPECIFICATION_NAME, name, strlen(name));
    message_put_number(&inner, SPECIFICATION_CATEGORY, category);
    message_put_message(&p->body, INTERNED_SPECIFICATIONS, &inner);
}

/* Before the first one. */
static void describe_stages(struct perfetto *p)
{
    message_begin(&p->packet);
    message_begin(&p->body);
    message_begin(&p->name);
    message_put_number(&p->name, CONTEXT_ID, THE_CONTEXT);
    if (p->pid > 0 && p->pid <= INT32_MAX) message_put_number(&p->name, CONTEXT_PROCESS, p->pid);
    message_put_number(&p->name, CONTEXT_API, API_CUDA);
    message_put_message(&p->body, INTERNED_CONTEXTS, &p->name);
    put_specification(p, STAGE_OF(WORK_KERNEL), "kernels", CATEGORY_COMPUTE);
    put_specification(p, STAGE_OF(WORK_COPY), "copies", CATEGORY_OTHER);
    put_specification(p, STAGE_OF(WORK_FILL), "fills", CATEGORY_OTHER);
    message_put_message(&p->packet, PACKET_INTERNED, &p->body);
    perfetto_write_packet(p);
}

static uint64_t queue_of(uint32_t device, int lane)
{
    return FIRST_QUEUE + (uint64_t)device * MOST_STREAMS + (uint64_t)(lane - LANE_STREAMS);
}

void perfetto_describe_queue(struct perfetto *p, uint32_t device, int lane, const char *name)
{
    if (p->stage_count++ == 0) describe_stages(p);
    message_begin(&p->packet);
    message_begin(&p->body);
    put_specification(p, queue_of(device, lane), name, CATEGORY_OTHER);
    message_put_message(&p->packet, PACKET_INTERNED, &p->body);
    perfetto_write_packet(p);
}

static void put_sizes(struct message *to, uint64_t field, const uint32_t sizes[3])
{
    struct message inner;
    message_begin(&inner);
    for (uint64_t i = 0; i < 3; i++) message_put_number(&inner, i + 1, sizes[i]);
    message_put_message(to, field, &inner);
}

static void put_argument(struct message *to, const char *name, uint64_t value)
{
    struct message inner;
    message_begin(&inner);
    message_put_bytes(&inner, ARGUMENT_NAME, name, strlen(name));
    message_put_number(&inner, ARGUMENT_NUMBER, value);
    message_put_message(to, LAUNCH_ARGUMENT, &inner);
}

static void put_launch(struct perfetto *p, const struct trace_kernel *kernel)
{
    struct message launch;
    message_begin(&launch);
    put_sizes(&launch, LAUNCH_GRID, kernel->grid);
    put_sizes(&launch, LAUNCH_BLOCK, kernel->block);
    if (kernel->registers) put_argument(&launch, "registers_per_thread", kernel->registers);
    if (kernel->bytes) put_argument(&launch, "shared_mem", kernel->bytes);
    message_put_message(&p->body, STAGE_LAUNCH, &launch);
}

static void put_layer(struct perfetto *p, const char *layer)
{
    message_begin(&p->name);
    message_put_bytes(&p->name, EXTRA_NAME, "layer", 5);
    message_put_bytes(&p->name, EXTRA_VALUE, layer, strlen(layer));
    message_put_message(&p->body, STAGE_EXTRA, &p->name);
}

void perfetto_write_stage(struct perfetto *p, const struct trace_event *event, int lane, const struct interned *ids)
{
    message_begin(&p->packet);
    message_begin(&p->body);
    message_put_number(&p->packet, PACKET_TIMESTAMP, event->begin_ns);
    message_put_number(&p->body, STAGE_EVENT, p->stage_count++);
    message_put_number(&p->body, STAGE_DURATION, event->end_ns - event->begin_ns);
    message_put_number(&p->body, STAGE_CONTEXT, THE_CONTEXT);
    message_put_number(&p->body, STAGE_GPU, event->device);
    message_put_number(&p->body, STAGE_QUEUE, queue_of(event->device, lane));
    message_put_number(&p->body, STAGE_STAGE, STAGE_OF(ids->kernel.work));
    message_put_number(&p->body, STAGE_NAME, ids->name);
    if (ids->kernel.grid[0]) put_launch(p, &ids->kernel);
    if (ids->layer && ids->layer[0]) put_layer(p, ids->layer);
    message_put_message(&p->packet, PACKET_RENDER_STAGE, &p->body);
    perfetto_write_packet(p);
}
