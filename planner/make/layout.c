#include "layout.h"

#include <math.h>
#include <string.h>

#include "gradinput.h"
#include "mem.h"
#include "sharing.h"

uint64_t layout_round(uint64_t bytes) { return (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN; }

static bool is_apart(const struct graph *graph, const struct plan_tensor *tensor)
{
    return tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].apart;
}

static bool is_persistent(const struct graph *graph, const struct plan_tensor *tensor)
{
    return tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].persistent && !is_apart(graph, tensor);
}

static uint64_t stack_persistent(const struct graph *graph, struct plan_program *program, const uint32_t *home)
{
    uint64_t top = 0;
    for (size_t t = 0; t < program->tensor_count; t++) {
        if (home[t] != t || !is_persistent(graph, &program->tensors[t])) continue;
        program->tensors[t].offset = top;
        top += layout_round(program->tensors[t].bytes);
    }
    return top;
}

struct placing {
    struct place_buffer *buffers;
    uint32_t *buffer_of; /* per plan tensor that is its own home, or NO_TENSOR */
    size_t count;
    uint64_t persistent_bytes;
};

static void placing_finish(struct placing *placing)
{
    mem_free(placing->buffers);
    mem_free(placing->buffer_of);
}

static struct place_buffer make_buffer(const struct plan_tensor *tensor)
{
    return (struct place_buffer){.lower = tensor->first,
                                 .upper = (uint64_t)tensor->last + 1,
                                 .size = layout_round(tensor->bytes),
                                 .align = PLAN_ALIGN,
                                 .fixed = PLACE_UNPLACED,
                                 .offset = PLACE_UNPLACED};
}

/* One buffer per home of the tensors that are not persistent, living as long as all that take its bytes. */
static bool gather(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                   struct placing *placing, struct error *err)
{
    *placing = (struct placing){0};
    placing->buffers = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *placing->buffers);
    placing->buffer_of = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *placing->buffer_of);
    if (!placing->buffers || !placing->buffer_of)
        return error_memory(err, program->tensor_count * sizeof *placing->buffers, "placement");
    for (size_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        placing->buffer_of[t] = NO_TENSOR;
        if (home[t] != t || tensor->host || is_apart(graph, tensor)) continue;
        if (is_persistent(graph, tensor)) {
            placing->persistent_bytes += layout_round(tensor->bytes);
            continue;
        }
        placing->buffer_of[t] = (uint32_t)placing->count;
        placing->buffers[placing->count++] = make_buffer(tensor);
    }
    for (size_t t = 0; t < program->tensor_count; t++) {
        if (home[t] == t || placing->buffer_of[home[t]] == NO_TENSOR) continue;
        struct place_buffer *buffer = &placing->buffers[placing->buffer_of[home[t]]];
        if (program->tensors[t].first < buffer->lower) buffer->lower = program->tensors[t].first;
        if (program->tensors[t].last >= buffer->upper) buffer->upper = (uint64_t)program->tensors[t].last + 1;
    }
    return true;
}

static uint64_t stack_buffers(struct placing *placing)
{
    uint64_t top = 0;
    for (size_t b = 0; b < placing->count; b++) {
        placing->buffers[b].offset = top;
        top += placing->buffers[b].size;
    }
    return top;
}

/* A gap of more than this part of the bound is searched even when no search was asked for: at most so many nodes (a few
 * tenths of a second), on one thread and by no clock, so that the same request gives the same plan on every machine,
 * however busy. */
#define GAP_DIVISOR 1000
#define FREE_NODES  2000

static bool place_buffers(struct placing *placing, uint64_t enough, double search_seconds, struct place_result *result,
                          struct error *err)
{
    struct place_options options = {.enough = enough, .seconds = search_seconds};
    TRY(place_solve(placing->buffers, placing->count, &options, result, err));
    uint64_t gap = result->arena_bytes - result->lower_bound_bytes;
    bool content = result->arena_bytes <= enough || gap <= result->lower_bound_bytes / GAP_DIVISOR;
    if (search_seconds > 0 || content) return true;
    options = (struct place_options){.enough = enough, .seconds = INFINITY, .nodes = FREE_NODES, .threads = 1};
    return place_solve(placing->buffers, placing->count, &options, result, err);
}

/* The search may prove a higher bound than the sum of live bytes; a plan states the sum, at its instant. */
static uint64_t sum_live(const struct placing *placing, uint64_t instant)
{
    uint64_t sum = 0;
    for (size_t b = 0; b < placing->count; b++)
        if (placing->buffers[b].lower <= instant && instant < placing->buffers[b].upper)
            sum += placing->buffers[b].size;
    return sum;
}

static bool solve(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                  struct placing *placing, enum sharing_policy sharing, uint64_t enough_bytes, double search_seconds,
                  struct place_result *result, struct error *err)
{
    if (sharing == SHARING_FULL) {
        uint64_t rest = placing->persistent_bytes + plan_apart_bytes(graph);
        TRY(place_buffers(placing, enough_bytes > rest ? enough_bytes - rest : 0, search_seconds, result, err));
        result->lower_bound_bytes = sum_live(placing, result->peak_instant);
        return true;
    }
    TRY(place_lower_bound(placing->buffers, placing->count, &result->lower_bound_bytes, &result->peak_instant, err));
    if (sharing == SHARING_NONE)
        result->arena_bytes = stack_buffers(placing);
    else
        TRY(gradinput_place(graph, program, home, placing->buffer_of, placing->buffers, placing->count,
                            &result->arena_bytes, err));
    result->proved_optimal = result->arena_bytes == result->lower_bound_bytes;
    return true;
}

static void store_offsets(const struct graph *graph, struct plan_program *program, const uint32_t *home,
                          const struct placing *placing)
{
    for (size_t t = 0; t < program->tensor_count; t++)
        if (placing->buffer_of[t] != NO_TENSOR)
            program->tensors[t].offset = placing->persistent_bytes + placing->buffers[placing->buffer_of[t]].offset;
    for (size_t t = 0; t < program->tensor_count; t++) {
        if (home[t] == t) continue;
        const struct tensor *origin = &graph->tensors[program->tensors[t].origin];
        program->tensors[t].offset = program->tensors[home[t]].offset + origin->view_offset;
    }
}

bool layout_place(const struct graph *graph, struct plan_program *program, const uint32_t *home,
                  enum sharing_policy sharing, uint64_t enough_bytes, double search_seconds,
                  struct place_result *result, struct error *err)
{
    struct placing placing;
    *result = (struct place_result){0};
    bool ok = gather(graph, program, home, &placing, err) &&
              solve(graph, program, home, &placing, sharing, enough_bytes, search_seconds, result, err);
    if (ok) {
        stack_persistent(graph, program, home);
        store_offsets(graph, program, home, &placing);
        result->arena_bytes += placing.persistent_bytes + plan_apart_bytes(graph);
        result->lower_bound_bytes += placing.persistent_bytes + plan_apart_bytes(graph);
    }
    placing_finish(&placing);
    return ok;
}

void layout_place_apart(const struct graph *graph, struct plan_program *program, uint64_t arena_bytes)
{
    uint64_t offset = arena_bytes - plan_apart_bytes(graph);
    for (uint32_t origin = 0; origin < graph->tensor_count; origin++) {
        if (!graph->tensors[origin].apart) continue;
        for (size_t t = 0; t < program->tensor_count; t++) {
            struct plan_tensor *tensor = &program->tensors[t];
            if (tensor->origin == origin) tensor->offset = offset;
            if (tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].view_of == origin)
                tensor->offset = offset + graph->tensors[tensor->origin].view_offset;
        }
        offset += layout_round(graph->tensors[origin].bytes);
    }
}

static void gather_host(const struct plan_program *program, struct placing *placing)
{
    for (size_t t = 0; t < program->tensor_count; t++) {
        placing->buffer_of[t] = NO_TENSOR;
        if (!program->tensors[t].host) continue;
        placing->buffer_of[t] = (uint32_t)placing->count;
        placing->buffers[placing->count++] = make_buffer(&program->tensors[t]);
    }
}

/* Host memory is plenty: no search beyond the fast placers. */
static bool solve_host(struct placing *placing, enum sharing_policy sharing, uint64_t *bytes, struct error *err)
{
    struct place_options options = {.seconds = 0};
    struct place_result result = {0};
    if (sharing == SHARING_NONE)
        result.arena_bytes = stack_buffers(placing);
    else
        TRY(place_solve(placing->buffers, placing->count, &options, &result, err));
    *bytes = result.arena_bytes;
    return true;
}

bool layout_place_host(struct plan_program *program, enum sharing_policy sharing, uint64_t *bytes, struct error *err)
{
    size_t count = 0;
    for (size_t t = 0; t < program->tensor_count; t++) count += program->tensors[t].host;
    *bytes = 0;
    if (count == 0) return true;
    struct placing placing = {.buffers = mem_alloc(MEM_PLAN, count, sizeof *placing.buffers),
                              .buffer_of = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *placing.buffer_of)};
    bool ok = placing.buffers && placing.buffer_of;
    if (!ok) error_memory(err, count * sizeof *placing.buffers, "placement in host memory");
    if (ok) gather_host(program, &placing);
    ok = ok && solve_host(&placing, sharing, bytes, err);
    for (size_t t = 0; ok && t < program->tensor_count; t++)
        if (program->tensors[t].host) program->tensors[t].offset = placing.buffers[placing.buffer_of[t]].offset;
    placing_finish(&placing);
    return ok;
}

bool layout_bound(const struct graph *graph, const struct plan_program *program, const uint32_t *home, uint64_t *bytes,
                  struct error *err)
{
    struct placing placing;
    uint64_t bound, instant;
    bool ok = gather(graph, program, home, &placing, err) &&
              place_lower_bound(placing.buffers, placing.count, &bound, &instant, err);
    if (ok) *bytes = bound + placing.persistent_bytes + plan_apart_bytes(graph);
    placing_finish(&placing);
    return ok;
}

/* Bytes handed over in place at this very instant are counted once, for the tensor that takes them. */
bool layout_classes(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                    uint32_t instant, uint64_t arena_bytes, uint64_t classes[MEMORY_CLASSES], struct error *err)
{
    uint32_t *holder = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *holder);
    if (!holder) return error_memory(err, program->tensor_count * sizeof *holder, "memory classes");
    memset(holder, 0xff, program->tensor_count * sizeof *holder);
    memset(classes, 0, MEMORY_CLASSES * sizeof *classes);
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        bool view = tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].view_of != NO_TENSOR;
        if (view || tensor->host || tensor->first > instant || tensor->last < instant) continue;
        uint32_t before = holder[home[t]];
        if (before == NO_TENSOR || program->tensors[before].first < tensor->first) holder[home[t]] = t;
    }
    uint64_t sum = 0;
    for (size_t t = 0; t < program->tensor_count; t++) {
        if (holder[t] == NO_TENSOR) continue;
        const struct plan_tensor *tensor = &program->tensors[holder[t]];
        classes[tensor->class] += layout_round(tensor->bytes);
        sum += layout_round(tensor->bytes);
    }
    classes[MEMORY_TRANSIENT] += arena_bytes - sum;
    mem_free(holder);
    return true;
}
