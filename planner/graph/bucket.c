/* Gradient buckets: parameters whose gradients are made one after the other share one contiguous tensor, so that a
 * collective and an update are one op each. Weights, what optimizers keep of them and their averages lie in buckets of
 * the same layout. */
#include "graph_grow.h"
#include "graph_private.h"

#include "mem.h"

/* Vector loads of host and GPU kernels. Sizes of most parameters are multiples of it: only a classifier's bias leaves a
 * gap, whose bytes mean nothing. */
#define VIEW_ALIGN 64u

static uint32_t new_bucket_tensor(struct graph *graph, struct tensor tensor)
{
    tensor.role = ROLE_BUCKET;
    tensor.dtype = DTYPE_F32;
    tensor.dims[0] = tensor.dims[1] = tensor.dims[2] = 1; /* elements are added with each parameter */
    tensor.view_of = NO_TENSOR;
    return graph_new_tensor(graph, tensor);
}

static bool open_bucket(struct graph *graph, struct bucket_list *list, uint32_t stage)
{
    if (!mem_grow(MEM_GRAPH, (void **)&list->buckets, &list->capacity, list->count + 1, sizeof *list->buckets))
        return graph_fail_memory(graph, (list->count + 1) * sizeof *list->buckets);
    graph_set_layer(graph, stage, "bucket%zu", list->count);
    bool split = graph->options.micro_batches > 1;
    struct bucket bucket = {
        .layer = graph->state->layer, .partial = NO_TENSOR, .average = NO_TENSOR, .state = {NO_TENSOR, NO_TENSOR}};
    bucket.weights =
        new_bucket_tensor(graph, (struct tensor){.class = CLASS_WEIGHT, .persistent = true, .of = NO_TENSOR});
    const struct tensor kept = {.class = CLASS_OPTIMIZER, .persistent = true, .of = bucket.weights};
    for (uint32_t i = 0; i < optimizer_buffers(graph->options.update.optimizer); i++)
        bucket.state[i] = new_bucket_tensor(graph, kept);
    if (graph->options.update.averages) bucket.average = new_bucket_tensor(graph, kept);
    bucket.gradients = new_bucket_tensor(
        graph, (struct tensor){.class = CLASS_GRADIENT, .persistent = split, .gradient = true, .of = bucket.weights});
    if (split)
        bucket.partial = new_bucket_tensor(
            graph, (struct tensor){.class = CLASS_GRADIENT, .gradient = true, .of = bucket.gradients});
    if (graph->state->failed) return false;
    list->buckets[list->count++] = bucket;
    return true;
}

static uint64_t aligned_end(const struct graph *graph, const struct bucket *bucket)
{
    return (graph->tensors[bucket->weights].bytes + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN;
}

static void set_view(struct graph *graph, uint32_t tensor, uint32_t base, uint64_t offset)
{
    graph->tensors[tensor].view_of = base;
    graph->tensors[tensor].view_offset = offset;
}

static void extend(struct graph *graph, uint32_t bucket_tensor, uint64_t bytes)
{
    if (bucket_tensor == NO_TENSOR) return;
    graph->tensors[bucket_tensor].bytes = bytes;
    graph->tensors[bucket_tensor].dims[3] = (uint32_t)(bytes / sizeof(float));
}

static void put_gradient(struct graph *graph, const struct bucket *bucket, uint32_t gradient)
{
    uint64_t offset = aligned_end(graph, bucket), end = offset + graph->tensors[gradient].bytes;
    if (end / sizeof(float) > UINT32_MAX) {
        graph_fail(graph, "bucket bytes: a bucket of %llu bytes is too large, expected less than 16 GiB",
                   (unsigned long long)end);
        return;
    }
    set_view(graph, graph->tensors[gradient].of, bucket->weights, offset);
    set_view(graph, gradient, bucket->partial != NO_TENSOR ? bucket->partial : bucket->gradients, offset);
    extend(graph, bucket->weights, end);
    for (uint32_t i = 0; i < OPTIMIZER_MOST_BUFFERS; i++) extend(graph, bucket->state[i], end);
    extend(graph, bucket->average, end);
    extend(graph, bucket->gradients, end);
    extend(graph, bucket->partial, end);
}

static struct op bucket_op(const struct bucket *bucket, enum op_kind kind, enum op_pass pass)
{
    return (struct op){.kind = kind, .pass = pass, .layer = bucket->layer, .block = NO_OP, .forward = NO_OP};
}

static void append(struct graph *graph, const struct bucket *bucket, struct op op)
{
    graph->state->layer = bucket->layer;
    graph->state->block = NO_OP;
    graph_new_op(graph, op);
}

/* All gradients of the last bucket are made: add them to those of the earlier micro-batches. */
static void bucket_close(struct graph *graph, struct bucket_list *list)
{
    if (list->count == 0) return;
    const struct bucket *bucket = &list->buckets[list->count - 1];
    if (bucket->partial == NO_TENSOR) return;
    struct op op = bucket_op(bucket, OP_ACCUMULATE, PASS_BACKWARD);
    op_add_input(&op, bucket->partial);
    op_add_output(&op, bucket->gradients);
    append(graph, bucket, op);
}

static uint64_t gradient_bytes(const struct graph *graph, const struct op *op)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < op->outputs; i++) {
        if (graph->tensors[op->out[i]].class != CLASS_GRADIENT) continue;
        bytes = (bytes + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN + graph->tensors[op->out[i]].bytes;
    }
    return bytes;
}

static bool fits(const struct graph *graph, const struct bucket_list *list, uint64_t bytes)
{
    if (list->count == 0) return false;
    return graph->options.bucket_bytes == 0 ||
           aligned_end(graph, &list->buckets[list->count - 1]) + bytes <= graph->options.bucket_bytes;
}

bool bucket_take(struct graph *graph, struct bucket_list *list, const struct op *op)
{
    uint64_t bytes = gradient_bytes(graph, op);
    if (bytes == 0) return true;
    if (!fits(graph, list, bytes)) {
        bucket_close(graph, list);
        TRY(open_bucket(graph, list, graph->layers[op->layer].stage));
    }
    for (uint32_t i = 0; i < op->outputs; i++)
        if (graph->tensors[op->out[i]].class == CLASS_GRADIENT)
            put_gradient(graph, &list->buckets[list->count - 1], op->out[i]);
    return !graph->state->failed;
}

/* Weights without gradients, those of frozen layers, are together too. */
void bucket_frozen(struct graph *graph)
{
    struct bucket bucket = {.weights = NO_TENSOR};
    for (size_t i = 0; i < graph->parameter_count && !graph->state->failed; i++) {
        uint32_t parameter = graph->parameters[i];
        if (graph->tensors[parameter].view_of != NO_TENSOR) continue;
        if (bucket.weights == NO_TENSOR) {
            graph_set_layer(graph, 0, "frozen");
            bucket.weights =
                new_bucket_tensor(graph, (struct tensor){.class = CLASS_WEIGHT, .persistent = true, .of = NO_TENSOR});
            if (graph->state->failed) return;
        }
        uint64_t offset = aligned_end(graph, &bucket);
        set_view(graph, parameter, bucket.weights, offset);
        extend(graph, bucket.weights, offset + graph->tensors[parameter].bytes);
    }
}

/* A bucket's gradients in the 16 bits that go between devices. */
static uint32_t new_message(struct graph *graph, const struct bucket *bucket)
{
    const struct tensor gradients = graph->tensors[bucket->gradients];
    struct tensor message = gradients;
    message.class = CLASS_COMM;
    message.dtype = graph->options.reduce_dtype;
    message.bytes = dtype_bytes(message.dtype, tensor_elements(&gradients));
    message.of = bucket->gradients;
    message.persistent = false;
    graph->state->layer = bucket->layer;
    return graph_new_tensor(graph, message);
}

static void append_all_reduce(struct graph *graph, const struct bucket *bucket)
{
    struct op op = bucket_op(bucket, OP_ALL_REDUCE, PASS_COMM);
    op_add_input(&op, bucket->gradients);
    op_add_output(&op, bucket->gradients);
    if (graph->options.reduce_dtype != DTYPE_F32) op_add_output(&op, new_message(graph, bucket));
    if (graph->state->failed) return;
    graph->tensors[ALL_REDUCE_MESSAGE(&op)].apart = graph->options.reduce_apart;
    append(graph, bucket, op);
}

/* Goes over the gradients and adds what it finds to `result`. */
static void append_check(struct graph *graph, const struct bucket *bucket, enum op_kind kind, uint32_t result,
                         bool first)
{
    struct op op = bucket_op(bucket, kind, PASS_UPDATE);
    op.attr.check.first = first;
    op_add_input(&op, bucket->gradients);
    op_add_input(&op, result);
    op_add_output(&op, result);
    append(graph, bucket, op);
}

static void append_scale_update(struct graph *graph)
{
    const struct bucket loss = {.layer = graph->tensors[graph->loss_scale].layer};
    struct op op = bucket_op(&loss, OP_LOSS_SCALE_UPDATE, PASS_UPDATE);
    op_add_input(&op, graph->loss_scale);
    op_add_output(&op, graph->loss_scale);
    append(graph, &loss, op);
}

static void append_update(struct graph *graph, const struct bucket *bucket)
{
    struct op op = bucket_op(bucket, OP_UPDATE, PASS_UPDATE);
    op.attr.update.scaled = graph->loss_scale != NO_TENSOR;
    op.attr.update.clips = graph->gradient_norm != NO_TENSOR;
    op_add_input(&op, bucket->weights);
    op_add_input(&op, bucket->gradients);
    op_add_output(&op, bucket->weights);
    for (uint32_t i = 0; i < OPTIMIZER_MOST_BUFFERS && bucket->state[i] != NO_TENSOR; i++) {
        op_add_input(&op, bucket->state[i]);
        op_add_output(&op, bucket->state[i]);
    }
    if (op.attr.update.scaled) op_add_input(&op, graph->loss_scale);
    if (op.attr.update.clips) op_add_input(&op, graph->gradient_norm);
    append(graph, bucket, op);
}

static void append_average(struct graph *graph, const struct bucket *bucket)
{
    struct op op = bucket_op(bucket, OP_WEIGHTS_AVERAGE, PASS_UPDATE);
    op.attr.update.scaled = graph->loss_scale != NO_TENSOR;
    op_add_input(&op, bucket->weights);
    op_add_input(&op, bucket->average);
    if (op.attr.update.scaled) op_add_input(&op, graph->loss_scale);
    op_add_output(&op, bucket->average);
    append(graph, bucket, op);
}

/* All gradients are looked at before the first weight moves. */
static void append_checks(struct graph *graph, const struct bucket_list *list)
{
    for (size_t i = 0; i < list->count && graph->loss_scale != NO_TENSOR; i++)
        append_check(graph, &list->buckets[i], OP_GRADIENT_CHECK, graph->loss_scale, i == 0);
    for (size_t i = 0; i < list->count && graph->gradient_norm != NO_TENSOR; i++)
        append_check(graph, &list->buckets[i], OP_GRADIENT_NORM, graph->gradient_norm, i == 0);
}

void bucket_finish(struct graph *graph, struct bucket_list *list)
{
    if (graph->state->failed) return;
    bucket_close(graph, list);
    graph->backward_end = (uint32_t)graph->op_count;
    for (size_t i = 0; i < list->count && graph->options.all_reduce; i++) append_all_reduce(graph, &list->buckets[i]);
    graph->comm_end = (uint32_t)graph->op_count;
    append_checks(graph, list);
    for (size_t i = 0; i < list->count; i++) append_update(graph, &list->buckets[i]);
    for (size_t i = 0; i < list->count && graph->options.update.averages; i++) append_average(graph, &list->buckets[i]);
    if (graph->loss_scale != NO_TENSOR) append_scale_update(graph);
}

void bucket_list_finish(struct bucket_list *list)
{
    mem_free(list->buckets);
    *list = (struct bucket_list){0};
}
