/* Where a loss that is no number comes from: the forward pass of its step once more, op by op. */
#include <inttypes.h>
#include <math.h>

#include "execute_private.h"
#include "mem.h"

/* ---- Numbers ---- */

static bool all_finite_f32(const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

/* exponent: its bits, which are all set where a number is not finite. */
static bool all_finite_16(const uint16_t *values, uint64_t count, uint16_t exponent)
{
    for (uint64_t i = 0; i < count; i++)
        if ((values[i] & exponent) == exponent) return false;
    return true;
}

static bool all_finite(const void *values, const struct tensor *tensor)
{
    switch (tensor->dtype) {
    case DTYPE_F32: return all_finite_f32(values, tensor_elements(tensor));
    case DTYPE_F16: return all_finite_16(values, tensor_elements(tensor), 0x7C00);
    case DTYPE_BF16: return all_finite_16(values, tensor_elements(tensor), 0x7F80);
    default: return true;
    }
}

/* ---- Ops ---- */

struct search {
    struct executor *ex;
    uint8_t *values; /* room for the largest result */
    bool together;   /* other devices do the same ops, and wait for this one in some */
    uint32_t *first;
};

/* What an op of the forward pass makes of activations; NULL for others, whose results may have bytes that nobody
 * writes. Frozen layers evaluate. */
static const struct tensor *result_of(const struct bound_program *bound, size_t i)
{
    const struct tensor *result = bound->calls[i].out_tensor[0];
    enum op_pass pass = bound->plan->ops[i].pass;
    bool forward = pass == PASS_FORWARD || pass == PASS_EVALUATE;
    return forward && result && result->class == CLASS_ACTIVATION ? result : NULL;
}

static bool look(void *context, size_t i, bool *enough, struct error *err)
{
    struct search *search = context;
    struct executor *ex = search->ex;
    const struct bound_program *bound = &ex->train;
    const struct tensor *result = result_of(bound, i);
    if (!result || *search->first != NO_OP) return true;
    TRY(ex->backend->copy_out(ex->device, ex->streams[bound->ops[i].stream], search->values, bound->calls[i].out[0],
                              result->bytes, err));
    if (all_finite(search->values, result)) return true;
    *search->first = bound->plan->ops[i].op;
    *enough = !search->together;
    return true;
}

/* The ops up to the loss. */
static struct part forward_of(const struct executor *ex)
{
    const struct bound_program *bound = &ex->train;
    struct part part;
    size_t end = ex->body.from;
    while (end < ex->body.to && bound->calls[end].op->kind != OP_SOFTMAX_LOSS) end++;
    part_init(&part, bound, ex->body.from, end < ex->body.to ? end + 1 : end);
    return part;
}

static uint64_t most_bytes(const struct part *part)
{
    uint64_t most = 1;
    for (size_t i = part->from; i < part->to; i++) {
        const struct tensor *result = result_of(part->bound, i);
        if (result && result->bytes > most) most = result->bytes;
    }
    return most;
}

static bool run_forward(struct search *search, const struct part *part, const struct slot *slot,
                        const struct step_input *input, struct error *err)
{
    struct executor *ex = search->ex;
    struct step step = slot->step;
    for (uint32_t m = 0; m < ex->micro_batches && (search->together || *search->first == NO_OP); m++) {
        struct step_input share = input_part(part->bound->graph, input, m);
        step.micro_batch = m;
        TRY(executor_feed(ex, part->bound, &step, &share, TRACE_RUN_PASS, err));
        TRY(part_launch_watched(ex, part, look, search, err));
        TRY(executor_free_input(ex, err));
    }
    return true;
}

static const struct slot *slot_of_step(const struct executor *ex, uint64_t number)
{
    for (uint32_t i = 0; i < ex->options.in_flight; i++)
        if (ex->slots[i].step.number == number) return &ex->slots[i];
    return NULL;
}

/* Whoever looks at weights next must find a device at rest: other streams may have work beyond the op that was found.
 */
static bool wait_for_all(struct executor *ex, const struct slot *slot, struct error *err)
{
    for (int i = 0; i < EXECUTOR_STREAMS; i++) {
        TRY(ex->backend->event_record(slot->done, ex->streams[i], err));
        TRY(executor_wait(ex, slot->done, slot->step.number, err));
    }
    return true;
}

bool executor_find_not_finite(struct executor *ex, uint64_t number, const struct step_input *given, uint32_t *op,
                              struct error *err)
{
    const struct part part = forward_of(ex);
    const struct slot *slot = slot_of_step(ex, number);
    struct search search = {.ex = ex, .together = ex->options.group != NULL, .first = op};
    *op = NO_OP;
    TRY(executor_usable(ex, err));
    if (!slot) return error_set(err, ERROR_FAILED, "step %" PRIu64 " is not known any more", number + 1);
    const struct step_input input =
        slot->images ? (struct step_input){slot->images, slot->placements, slot->labels} : *given;
    search.values = mem_alloc(MEM_GENERAL, most_bytes(&part), 1);
    if (!search.values) return error_memory(err, most_bytes(&part), "an op's result");
    bool ok = executor_drain(ex, &ex->first) && run_forward(&search, &part, slot, &input, &ex->first) &&
              wait_for_all(ex, slot, &ex->first);
    mem_free(search.values);
    return executor_settle(ex, ok, err);
}
