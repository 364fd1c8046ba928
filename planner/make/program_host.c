/* Values on their way to host memory and back. */
#include <string.h>

#include "program_private.h"

/* A copy's own start takes about as long as these bytes on a PCIe 3 link: what is smaller stays. */
#define LEAST_COPY_BYTES (64u << 10)

static bool append_copy(struct emitter *e, enum op_pass pass, uint32_t tensor, uint32_t from, uint32_t to)
{
    struct plan_op made =
        emitter_op(e->producer[tensor], pass, pass == PASS_OFFLOAD ? STREAM_TO_HOST : STREAM_FROM_HOST);
    made.in[0] = from;
    made.out[0] = to;
    return emitter_append(e, &made);
}

void program_send(struct emitter *e, uint32_t tensor)
{
    if (tensor == NO_TENSOR || e->producer[tensor] == NO_OP) return;
    if (e->latest[tensor] == NO_TENSOR || emitter_tensor(e, tensor)->bytes < LEAST_COPY_BYTES) return;
    if (e->on_host[tensor] != NO_TENSOR) {
        e->latest[tensor] = NO_TENSOR;
        return;
    }
    for (size_t i = 0; i < e->leaving_count; i++)
        if (e->leaving[i] == tensor) return;
    e->leaving[e->leaving_count++] = tensor;
}

bool program_settle(struct emitter *e, size_t most)
{
    size_t count = most < e->leaving_count ? most : e->leaving_count;
    for (size_t i = 0; i < count; i++) {
        uint32_t tensor = e->leaving[i], from = e->latest[tensor];
        if (from == NO_TENSOR) continue; /* dropped since */
        TRY(emitter_add_instance(e, tensor, emitter_tensor(e, tensor)->bytes, &e->on_host[tensor]));
        e->program->tensors[e->on_host[tensor]].host = true;
        TRY(append_copy(e, PASS_OFFLOAD, tensor, from, e->on_host[tensor]));
        e->latest[tensor] = NO_TENSOR;
    }
    e->leaving_count -= count;
    memmove(e->leaving, e->leaving + count, e->leaving_count * sizeof *e->leaving);
    return true;
}

bool program_recall(struct emitter *e, uint32_t tensor)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->leaving_count; i++)
        if (e->leaving[i] != tensor) e->leaving[kept++] = e->leaving[i];
    e->leaving_count = kept;
    if (e->latest[tensor] != NO_TENSOR || e->on_host[tensor] == NO_TENSOR) return true;
    uint32_t from = e->on_host[tensor];
    return emitter_add_latest(e, tensor) && append_copy(e, PASS_FETCH, tensor, from, e->latest[tensor]);
}
