/* What a trace says of arenas, of the process that wrote it and of clocks: as it was, or unknown. */
#include <math.h>

#include <criterion/criterion.h>

#include "check.h"
#include "codec.h"
#include "mem.h"
#include "reader.h"
#include "trace_pair.h"

TestSuite(trace_arena, .init = pair_setup, .fini = pair_teardown);

#define OPS 40

static struct trace_tensor make_tensor(uint32_t i)
{
    static const char *const layers[] = {"stem/conv", "stage1/unit1/conv1", "stage1/unit1/conv2"};
    return (struct trace_tensor){.layer = layers[i % 3],
                                 .role = i % 2 ? "output" : "output.gradient",
                                 .class_name = i % 7 ? "kept" : "workspace",
                                 .host = i % 11 == 5,
                                 .offset = (uint64_t)i * 25600,
                                 .bytes = 1000 + (uint64_t)i * 77 % 4096,
                                 .first = i * 13 % OPS,
                                 .last = i * 13 % OPS + i % 5};
}

static void tell_tensors(struct trace_sink *sink, uint32_t device, uint32_t count)
{
    struct trace_tensor *tensors = calloc(count, sizeof *tensors);
    for (uint32_t i = 0; i < count; i++) tensors[i] = make_tensor(i);
    sink->tensor_table(sink->context, device, device, tensors, count);
    free(tensors);
}

/* A run on two devices of one plan, the second half of a run of two processes. */
static uint32_t seal_ms = 5; /* short, so that there are several blocks */

static void write_run(uint64_t most_bytes, uint32_t tensors, uint64_t steps)
{
    struct error err = {0};
    struct trace_writer *writer;
    const struct trace_writer_options options = {.most_bytes = most_bytes, .seal_ms = seal_ms};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 2, OPS);
    sink->origin(sink->context, &(struct trace_origin){1, 2, "far", 2, 2});
    sink->hardware(sink->context, 1, "0000:17:00.0");
    sink->peaks(sink->context, 1, 4.5e14, 0);
    tell_tensors(sink, 0, tensors);
    sink->tensor_table(sink->context, 1, 0, NULL, 0);
    for (uint64_t i = 0; i < 5; i++) {
        sink->clock_pair(sink->context, TRACE_OF_HOST, 1000000000 * (i + 1), 50000000000 + 1000001000 * i);
        sink->clock_pair(sink->context, 1, 1000000000 * (i + 1), 1000000000 * (i + 1) - 300);
    }
    for (uint64_t step = 0; step < steps; step += 20) {
        sample_steps(sink, 0, OPS, step, 20);
        sample_catch_up(writer, (step + 20) * SAMPLE_REPORTS(OPS));
    }
    trace_writer_close(writer);
}

static struct trace_follower *follow(const char *name)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(name, &err);
    cr_assert(follower, "%s", err.text);
    return follower;
}

static void check_tensors(const struct rollup *rollup, uint32_t device, uint32_t wanted)
{
    size_t count;
    const struct rollup_tensor *tensors = rollup_tensors(rollup, device, &count);
    cr_assert_eq(count, wanted);
    for (uint32_t i = 0; i < wanted; i++) {
        const struct trace_tensor t = make_tensor(i);
        const struct rollup_tensor *found = &tensors[i];
        cr_assert(strcmp(found->layer, t.layer) == 0 && strcmp(found->role, t.role) == 0 &&
                      strcmp(found->class_name, t.class_name) == 0 && found->host == t.host &&
                      found->offset == t.offset && found->bytes == t.bytes && found->first == t.first &&
                      found->last == t.last,
                  "tensor %u", i);
    }
}

Test(trace_arena, comes_back_as_it_was)
{
    write_run(0, 300, 20);
    struct trace_follower *follower = follow(path);
    const struct rollup *r = trace_follow_rollup(follower);
    check_tensors(r, 0, 300);
    check_tensors(r, 1, 300);
    size_t count;
    cr_expect_null(rollup_tensors(r, 2, &count));
    cr_expect_eq(count, 0);
    cr_expect(r->has_origin && r->rank == 1 && r->ranks == 2 && r->first_device == 2 && r->own_devices == 2);
    cr_expect_str_eq(r->origin_host, "far");
    cr_expect_str_eq(r->devices[1].slot, "0000:17:00.0");
    cr_expect_str_empty(r->devices[0].slot);
    cr_expect(r->devices[1].peak_flops == 4.5e14 && r->devices[1].peak_bandwidth == 0, "unknown is 0");
    cr_expect(r->devices[0].peak_flops == 0 && r->devices[0].peak_bandwidth == 0);
    cr_expect_eq(r->wall.count, 5);
    cr_expect_float_eq(rollup_clock_drift(&r->wall), 1e-6, 1e-12);
    cr_expect_eq(r->devices[0].clock.count, 0, "unknown");
    cr_expect_eq(r->devices[1].clock.last_ns - r->devices[1].clock.last_other_ns, 300);
    cr_expect_float_eq(rollup_clock_drift(&r->devices[1].clock), 0, 1e-15);
    struct rollup_clock brief = {.count = 3, .last_ns = 999999999, .last_other_ns = 999999999};
    cr_expect(isnan(rollup_clock_drift(&brief)) && isnan(rollup_clock_drift(&r->devices[0].clock)), "unknown");
    cr_expect_eq(r->damaged_blocks, 0);
    trace_unfollow(follower);
}

Test(trace_arena, the_largest_at_an_op)
{
    write_run(0, 300, 20);
    struct trace_follower *follower = follow(path);
    const struct rollup *r = trace_follow_rollup(follower);
    const struct rollup_tensor *largest[8];
    uint32_t op;
    cr_expect_eq(rollup_arena_peak(r, 1, &op), OPS - 1, "as the op table says");
    cr_expect_eq(op, OPS - 1);
    cr_assert_eq(rollup_tensors_at(r, 1, 20, largest, 8), 8);
    uint64_t more = 0;
    for (uint32_t i = 0; i < 300; i++) {
        const struct trace_tensor t = make_tensor(i);
        more += !t.host && t.first <= 20 && t.last >= 20 && t.bytes > largest[7]->bytes;
    }
    cr_expect_eq(more, 7);
    for (int i = 0; i < 8; i++) cr_expect(!largest[i]->host && largest[i]->first <= 20 && largest[i]->last >= 20);
    for (int i = 1; i < 8; i++) cr_expect_geq(largest[i - 1]->bytes, largest[i]->bytes);
    trace_unfollow(follower);
}

/* ResNet-1001 has 16,709. */
Test(trace_arena, of_many_tensors_takes_few_bytes_and_several_blocks)
{
    size_t without, with;
    seal_ms = 1000; /* what blocks hold is looked at, not how many a slow machine begins */
    write_run(0, 1, 20);
    free(sample_bytes(path, &without));
    write_run(0, 16709, 20);
    free(sample_bytes(path, &with));
    double each = (double)(with - without) / 16709;
    cr_expect_leq(each, 14, "%.2f bytes a tensor", each);
    struct trace_follower *follower = follow(path);
    check_tensors(trace_follow_rollup(follower), 1, 16709);
    trace_unfollow(follower);
}

Test(trace_arena, is_known_when_old_segments_are_dropped)
{
    write_run(1 << 20, 500, 20000);
    struct trace_follower *follower = follow(path);
    struct trace_report report;
    struct error err = {0};
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert_gt(report.stats.reader.dropped_segments, 0);
    check_tensors(trace_follow_rollup(follower), 1, 500);
    cr_expect(trace_follow_rollup(follower)->has_origin);
    trace_unfollow(follower);
}

/* ---- Damage ---- */

/* What the blocks told is unknown; all else is as it was. */
static void check_without(enum trace_block_type type, bool damage)
{
    uint64_t changed = sample_change_blocks(path, copy, type, damage);
    cr_assert_gt(changed, 0);
    struct trace_follower *whole = follow(path), *follower = follow(copy);
    const struct rollup *w = trace_follow_rollup(whole), *r = trace_follow_rollup(follower);
    size_t count;
    cr_expect_eq(r->damaged_blocks > 0, damage);
    cr_expect_eq(r->step_count, w->step_count);
    cr_expect_eq(r->events, w->events - (type == TRACE_BLOCK_CLOCKS ? 10 : 0));
    cr_expect_eq(rollup_tensors(r, 1, &count) == NULL, type == TRACE_BLOCK_TENSORS);
    cr_expect_eq(r->has_origin, type != TRACE_BLOCK_ORIGIN);
    cr_expect_eq(r->wall.count == 0, type == TRACE_BLOCK_CLOCKS);
    cr_expect(r->ended);
    trace_unfollow(whole);
    trace_unfollow(follower);
}

Test(trace_arena, damaged_blocks_of_each_type_cost_what_they_told)
{
    write_run(0, 300, 20);
    for (int type = TRACE_BLOCK_TENSORS; type <= TRACE_BLOCK_CLOCKS; type++)
        check_without((enum trace_block_type)type, true);
}

Test(trace_arena, readers_that_know_none_of_it_pass_over)
{
    write_run(0, 300, 20);
    for (int type = TRACE_BLOCK_TENSORS; type <= TRACE_BLOCK_CLOCKS; type++)
        check_without((enum trace_block_type)type, false);
}

/* The middle of a table is lost: half a table is none. */
Test(trace_arena, a_table_with_a_hole_is_unknown)
{
    write_run(0, 16709, 20);
    size_t length, count;
    unsigned char *bytes = sample_bytes(path, &length);
    int blocks = 0, most = 0; /* side by side: all is written again when more is told before the writer has rested */
    for (size_t at = TRACE_FILE_HEADER; at < length;) {
        struct trace_block block;
        cr_assert_eq(trace_get_block(bytes + at, length - at, &block), TRACE_BLOCK_GOOD);
        blocks = block.type == TRACE_BLOCK_TENSORS ? blocks + 1 : 0;
        if (blocks == 2) bytes[at + 100] ^= 1;
        if (blocks > most) most = blocks;
        at += TRACE_BLOCK_HEADER + block.length;
    }
    cr_assert_gt(most, 2);
    sample_write(copy, bytes, length);
    free(bytes);
    struct trace_follower *follower = follow(copy);
    cr_expect_null(rollup_tensors(trace_follow_rollup(follower), 0, &count));
    cr_expect_eq(count, 0);
    trace_unfollow(follower);
}

Test(trace_arena, any_allocation_may_fail)
{
    struct error err = {0};
    write_run(0, 300, 20);
    bool done = false;
    for (uint64_t n = 1; !done && n < 5000; n += n < 64 ? 1 : 9) {
        mem_fail_at(n);
        struct trace_follower *follower = sample_follow(path, &err);
        mem_fail_at(0);
        done = follower != NULL;
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        trace_unfollow(follower);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), 0);
    }
    cr_assert(done);
}
