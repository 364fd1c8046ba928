/* What a step reads: images and labels from the caller, by way of pinned memory, to the arena. */
#include <string.h>

#include "execute_private.h"

struct step_input_bytes input_arena_bytes(const struct graph *graph)
{
    bool made = graph->pixels != NO_TENSOR;
    return (struct step_input_bytes){.images = graph->tensors[made ? graph->pixels : graph->images].bytes,
                                     .placements = made ? graph->tensors[graph->placements].bytes : 0,
                                     .labels = graph->tensors[graph->labels].bytes};
}

/* As the caller has it: f32, whatever the images' tensor is, or bytes. */
struct step_input_bytes input_host_bytes(const struct graph *graph)
{
    struct step_input_bytes bytes = input_arena_bytes(graph);
    if (graph->pixels == NO_TENSOR) bytes.images = tensor_elements(&graph->tensors[graph->images]) * sizeof(float);
    return bytes;
}

/* Micro-batch number i. */
struct step_input input_part(const struct graph *graph, const struct step_input *input, uint32_t i)
{
    struct step_input_bytes bytes = input_host_bytes(graph);
    return (struct step_input){
        .images = (const uint8_t *)input->images + i * bytes.images,
        .placements = input->placements ? input->placements + i * bytes.placements / sizeof(int32_t) : NULL,
        .labels = input->labels + i * bytes.labels / sizeof(int32_t)};
}

/* The input's bytes are free after the last op that has anything to do with them: as a rule in the body. */
bool executor_tail_touches_input(const struct executor *ex)
{
    const struct bound_program *train = &ex->train;
    const struct graph *graph = train->graph;
    const struct step_input_bytes bytes = input_arena_bytes(graph);
    const struct byte_range input[] = {{.offset = train->images, .bytes = bytes.images},
                                       {.offset = train->placements, .bytes = bytes.placements},
                                       {.offset = train->labels, .bytes = bytes.labels}};
    for (size_t i = train->plan->body_count; i < train->plan->op_count; i++)
        if (op_touches(graph, train->plan, train->dead.first ? &train->dead : NULL, (uint32_t)i, input, 3)) return true;
    return false;
}

/* So many micro-batches where their copies can go on while the caller fills the next. */
struct step_input executor_stage(const struct executor *ex, const struct slot *slot, uint32_t parts,
                                 const struct step_input *input)
{
    struct step_input_bytes bytes = input_host_bytes(ex->variant->graph);
    if (!ex->backend->pinned_create) return *input;
    memcpy(slot->images, input->images, parts * bytes.images);
    if (bytes.placements) memcpy(slot->placements, input->placements, parts * bytes.placements);
    memcpy(slot->labels, input->labels, parts * bytes.labels);
    return (struct step_input){slot->images, slot->placements, slot->labels};
}

/* Images and labels of one micro-batch, on a stream of their own: it waits for the input's bytes alone. */
static bool upload(struct executor *ex, const struct bound_program *bound, const struct step_input *input,
                   struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct graph *graph = bound->graph;
    struct stream *stream = ex->streams[STREAM_UPLOAD];
    TRY(backend->event_wait(ex->input_free, stream, err));
    struct step_input_bytes bytes = input_arena_bytes(graph);
    if (graph->pixels == NO_TENSOR) {
        TRY(backend->image_in(ex->device, stream, &graph->tensors[graph->images], bound->images, input->images, err));
    } else {
        TRY(backend->copy_in(ex->device, stream, bound->images, input->images, bytes.images, err));
        TRY(backend->copy_in(ex->device, stream, bound->placements, input->placements, bytes.placements, err));
    }
    TRY(backend->copy_in(ex->device, stream, bound->labels, input->labels, bytes.labels, err));
    TRY(backend->event_record(ex->uploaded, stream, err));
    return backend->event_wait(ex->uploaded, ex->streams[STREAM_COMPUTE], err);
}

/* What a micro-batch needs before its ops. */
bool executor_feed(struct executor *ex, const struct bound_program *bound, const struct step *step,
                   const struct step_input *input, const char *pass, struct error *err)
{
    executor_own_begin(ex, pass);
    bool ok =
        ex->backend->set_step(ex->device, ex->streams[STREAM_COMPUTE], step, err) && upload(ex, bound, input, err);
    executor_own_end(ex);
    return ok;
}

bool executor_free_input(struct executor *ex, struct error *err)
{
    return ex->backend->event_record(ex->input_free, ex->streams[STREAM_COMPUTE], err);
}
