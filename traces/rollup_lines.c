/* Lines of memory in which times wait to be counted (rollup_bulk.c). */
#include "mem.h"
#include "rollup_private.h"

void rollup_settle_line(struct rollup_pool *pool, struct rollup_waiting *line, struct rollup_op *times)
{
    for (uint32_t i = 0; i < line->count; i++) rollup_count_time(pool, times, line->ns[i]);
    line->count = 0;
}

void rollup_count_kernel(struct trace_follower *follower, size_t position, uint64_t ns)
{
    struct rollup_lines *lines = &follower->kernel_lines;
    struct rollup_op *times = &follower->rollup.kernels[position].times;
    if (position < lines->count) rollup_settle_line(&follower->pool, &lines->lines[position], times);
    rollup_count_time(&follower->pool, times, ns);
}

void rollup_count_op(struct trace_follower *follower, size_t position, uint64_t ns)
{
    struct rollup_op *times = &follower->rollup.ops[position];
    if (rollup_wait(&follower->pool, &follower->op_lines, position, times, ns)) return;
    if (position < follower->op_lines.count)
        rollup_settle_line(&follower->pool, &follower->op_lines.lines[position], times);
    rollup_count_time(&follower->pool, times, ns);
}

static void settle(struct rollup_lines *lines, struct trace_follower *follower, bool kernels)
{
    for (size_t i = 0; i < lines->listed_count; i++) {
        uint32_t at = lines->listed[i];
        rollup_settle_line(&follower->pool, &lines->lines[at],
                           kernels ? &follower->rollup.kernels[at].times : &follower->rollup.ops[at]);
        lines->lines[at].listed = false;
    }
    lines->listed_count = 0;
}

void rollup_settle(struct trace_follower *follower)
{
    settle(&follower->kernel_lines, follower, true);
    settle(&follower->op_lines, follower, false);
}

void rollup_forget_kernel(struct trace_follower *follower, size_t position)
{
    if (position < follower->kernel_lines.count) follower->kernel_lines.lines[position].known = false;
}

static void finish(struct rollup_lines *lines)
{
    mem_free(lines->lines);
    mem_free(lines->listed);
}

void rollup_finish_lines(struct trace_follower *follower)
{
    finish(&follower->kernel_lines);
    finish(&follower->op_lines);
}

void rollup_grow_lines(struct rollup_lines *lines, size_t count)
{
    void *grown = lines->lines, *listed = lines->listed;
    if (count <= lines->count) return;
    bool ok = mem_grow(MEM_TRACE, &grown, &lines->capacity, count, sizeof *lines->lines);
    lines->lines = grown;
    ok = ok && mem_grow(MEM_TRACE, &listed, &lines->listed_capacity, count, sizeof *lines->listed);
    lines->listed = listed;
    while (ok && lines->count < count) lines->lines[lines->count++] = (struct rollup_waiting){.count = 0};
}
