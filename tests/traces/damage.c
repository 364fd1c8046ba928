#include <criterion/criterion.h>
#include <sys/stat.h>

#include "check.h"
#include "clock.h"
#include "codec.h"
#include "export.h"
#include "flow.h"
#include "mem.h"
#include "reader.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH], copy[SAMPLE_PATH];
static unsigned char *bytes;
static size_t length;
static uint64_t blocks;

/* How many blocks a file has, read through the reader alone. */
static uint64_t count_blocks(const char *name, struct trace_reader_stats *stats)
{
    struct error err = {0};
    struct trace_reader *reader;
    if (!trace_reader_open(name, &reader, &err)) return 0;
    struct trace_block block;
    const uint8_t *payload;
    bool found = true;
    uint64_t count = 0;
    while (found) {
        cr_assert(trace_reader_next(reader, &block, &payload, &found, &err), "%s", err.text);
        count += found;
    }
    trace_reader_stats(reader, stats);
    trace_reader_close(reader);
    return count;
}

/* Reads everything; whatever it finds, it ends and fails nothing. */
static void check_readable(const char *name, struct rollup *result)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(name, &err);
    if (!follower) {
        cr_assert_eq(err.kind, ERROR_INPUT, "%s", err.text);
        return;
    }
    if (result) *result = *trace_follow_rollup(follower);
    trace_unfollow(follower);
}

static void setup(void)
{
    sample_path(path);
    sample_path(copy);
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(path, &(struct trace_writer_options){.seal_ms = 5}, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 12);
    struct trace_writer_stats stats = {0};
    for (uint64_t i = 0; i < 6; i++) {
        uint64_t before = stats.blocks;
        sample_steps(sink, 0, 12, i * 2, 2);
        do { /* until they are sealed, however busy the machine is */
            usleep(8000);
            trace_writer_stats(writer, &stats);
        } while (stats.blocks == before);
    }
    trace_writer_close(writer);
    bytes = sample_bytes(path, &length);
    struct trace_reader_stats read;
    blocks = count_blocks(path, &read);
    cr_assert_geq(blocks, 8);
    cr_assert_eq(read.damaged, 0);
    cr_assert_eq(read.tail_bytes, 0);
}

static void teardown(void)
{
    unlink(path);
    unlink(copy);
    free(bytes);
}
TestSuite(trace_damage, .init = setup, .fini = teardown);

Test(trace_damage, any_byte_changed_costs_one_block)
{
    const unsigned char changes[] = {0x01, 0x80, 0xff};
    for (size_t at = 0; at < length; at++) {
        unsigned char was = bytes[at];
        bytes[at] ^= changes[at % 3];
        sample_write(copy, bytes, length);
        bytes[at] = was;
        struct trace_reader_stats stats;
        uint64_t left = count_blocks(copy, &stats);
        if (at >= TRACE_FILE_HEADER) {
            cr_assert_eq(left, blocks - 1, "byte %zu: %llu blocks of %llu", at, (unsigned long long)left,
                         (unsigned long long)blocks);
            cr_assert(stats.damaged > 0 || stats.tail_bytes > 0, "byte %zu goes unseen", at);
        }
        check_readable(copy, NULL);
    }
}

Test(trace_damage, a_file_cut_anywhere_has_its_whole_blocks)
{
    uint64_t before = 0;
    for (size_t cut = 0; cut <= length; cut++) {
        sample_write(copy, bytes, cut);
        struct trace_reader_stats stats;
        uint64_t left = count_blocks(copy, &stats);
        cr_assert(left == before || left == before + 1, "cut at %zu", cut);
        if (cut >= TRACE_FILE_HEADER) {
            cr_assert_eq(stats.damaged, 0);
            cr_assert(left == before || stats.tail_bytes == 0);
        }
        before = left;
        check_readable(copy, NULL);
    }
    cr_assert_eq(before, blocks);
}

Test(trace_damage, strange_bytes_between_blocks_are_passed_over)
{
    unsigned char *wider = malloc(length + 200000);
    for (size_t strange = 1; strange < 200000; strange = strange * 3 + 1) {
        size_t at = TRACE_FILE_HEADER;
        memcpy(wider, bytes, at);
        for (size_t i = 0; i < strange; i++) wider[at + i] = (unsigned char)(i * 2654435761u >> 13);
        memcpy(wider + at + strange, bytes + at, length - at);
        sample_write(copy, wider, length + strange);
        struct trace_reader_stats stats;
        cr_assert_eq(count_blocks(copy, &stats), blocks);
        cr_assert_eq(stats.damaged, 1);
        cr_assert_eq(stats.damaged_bytes, strange);
    }
    free(wider);
}

Test(trace_damage, zeros_over_blocks_are_damage)
{
    unsigned char *zeroed = malloc(length);
    memcpy(zeroed, bytes, length);
    memset(zeroed + TRACE_FILE_HEADER, 0, length / 2);
    sample_write(copy, zeroed, length);
    struct trace_reader_stats stats;
    uint64_t left = count_blocks(copy, &stats);
    cr_assert(left > 0 && left < blocks);
    cr_assert_geq(stats.damaged, 1);
    cr_assert_eq(stats.dropped_segments, 0);
    check_readable(copy, NULL);
    free(zeroed);
}

Test(trace_damage, blocks_of_unknown_types_are_passed_over)
{
    struct rollup before = {0}, after = {0};
    check_readable(path, &before);
    unsigned char *longer = calloc(1, length + TRACE_BLOCK_HEADER + 10);
    memcpy(longer, bytes, length);
    struct trace_block block = {.type = 500, .version = 9, .length = 10, .sequence = blocks};
    trace_put_block_header(&block, longer + length);
    sample_write(copy, longer, length + TRACE_BLOCK_HEADER + 10);
    check_readable(copy, &after);
    cr_assert_eq(after.events, before.events);
    cr_assert_eq(after.damaged_blocks, 0);
    cr_assert(after.ended);
    free(longer);
}

Test(trace_damage, other_files_and_newer_versions_are_refused)
{
    struct error err = {0};
    struct trace_reader *reader;
    sample_write(copy, "id,lower,upper,size\n1,2,3,4\n1,2,3,4\n1,2,3,4\n1,2,3,4\n", 52);
    cr_assert_not(trace_reader_open(copy, &reader, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_not_null(strstr(err.text, "is not a trace"));
    uint8_t header[TRACE_FILE_HEADER];
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION + 1, 1, 2}, header);
    sample_write(copy, header, sizeof header);
    cr_assert_not(trace_reader_open(copy, &reader, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_not_null(strstr(err.text, "version 2"), "%s", err.text);
    cr_assert_not(trace_reader_open("/nonexistent/x", &reader, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_not(trace_reader_open("/tmp", &reader, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
}

Test(trace_damage, a_trace_is_followed_while_it_grows)
{
    struct rollup whole = {0};
    check_readable(path, &whole);
    for (size_t chunk = 1; chunk < length; chunk = chunk * 2 + 1) {
        struct error err = {0};
        struct trace_follower *follower;
        FILE *file = fopen(copy, "wb");
        fwrite(bytes, 1, TRACE_FILE_HEADER, file);
        fflush(file);
        cr_assert(trace_follow(copy, &follower, &err), "%s", err.text);
        uint64_t read, total = 0;
        for (size_t at = TRACE_FILE_HEADER; at < length; at += chunk) {
            fwrite(bytes + at, 1, length - at < chunk ? length - at : chunk, file);
            fflush(file);
            cr_assert(trace_follow_more(follower, 3, &read, &err), "%s", err.text);
            cr_assert_leq(read, 3);
            total += read;
        }
        fclose(file);
        do {
            cr_assert(trace_follow_more(follower, 1, &read, &err), "%s", err.text);
            total += read;
        } while (read);
        const struct rollup *grown = trace_follow_rollup(follower);
        cr_assert_eq(total, whole.events);
        cr_assert_eq(grown->damaged_blocks, 0);
        cr_assert_eq(grown->op_count, whole.op_count);
        cr_assert_eq(grown->mark_count, whole.mark_count);
        cr_assert(grown->ended);
        trace_unfollow(follower);
    }
}

Test(trace_damage, a_file_written_anew_is_said_so)
{
    struct error err = {0};
    struct trace_follower *follower;
    uint64_t read;
    sample_write(copy, bytes, length);
    cr_assert(trace_follow(copy, &follower, &err));
    cr_assert(trace_follow_more(follower, 0, &read, &err));
    sample_write(copy, bytes, length / 2);
    cr_assert_not(trace_follow_more(follower, 0, &read, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    trace_unfollow(follower);
}

/* ---- Files of before there was a past ---- */

static size_t put_block(unsigned char *at, enum trace_block_type type, uint64_t sequence, uint32_t segment,
                        const struct trace_out *payload)
{
    struct trace_block block = {.type = (uint16_t)type,
                                .version = 1,
                                .length = (uint32_t)payload->length,
                                .sequence = sequence,
                                .segment = segment};
    memcpy(at + TRACE_BLOCK_HEADER, payload->bytes, payload->length);
    trace_put_block_header(&block, at);
    return TRACE_BLOCK_HEADER + payload->length;
}

/* A segment that was given back, and the digest of its events behind it. */
Test(trace_damage, digests_of_older_files_are_taken)
{
    static unsigned char file[8192], payload[1000];
    struct trace_out out = {payload, 0, sizeof payload};
    struct trace_event_state state = {500, 0};
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, file);
    size_t end = TRACE_FILE_HEADER + 4096; /* zeros, where blocks 0 to 6 were */
    trace_put_varint(&out, 0);
    trace_put_varint(&out, 6);
    trace_put_varint(&out, 500);
    trace_encode_event(&state, &out, &(struct trace_event){.type = TRACE_STEP_BEGIN, .step = 0, .ns = 600});
    trace_encode_event(&state, &out, &(struct trace_event){.type = TRACE_STEP_END, .step = 0, .ns = 900});
    end += put_block(file + end, TRACE_BLOCK_DIGEST, 7, 0, &out);
    out.length = 0;
    end += put_block(file + end, TRACE_BLOCK_END, 8, 0, &out);
    sample_write(path, file, end);
    struct error err = {0};
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean && report.ended);
    cr_assert_eq(report.stats.reader.dropped_segments, 1);
    struct trace_follower *follower = sample_follow(path, &err);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->step_count, 1);
    cr_assert(r->steps[0].begin_ns == 600 && r->steps[0].end_ns == 900);
    trace_unfollow(follower);
}

/* ---- What is told of bytes that are no block ---- */

/* A file of 4,096 zeros and `strange` other bytes, then a block of that type whose payload begins so. */
static struct trace_reader_stats stats_after_gap(size_t strange, enum trace_block_type type, uint64_t sequence,
                                                 uint64_t first, uint64_t second)
{
    static unsigned char file[8192], payload[100];
    struct trace_out out = {payload, 0, sizeof payload};
    struct trace_reader_stats stats;
    memset(file, 0, sizeof file);
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, file);
    size_t end = TRACE_FILE_HEADER + 4096;
    memset(file + end, 0x55, strange);
    end += strange;
    trace_put_varint(&out, first);
    trace_put_varint(&out, second);
    end += put_block(file + end, type, sequence, 3, &out);
    sample_write(path, file, end);
    cr_assert_eq(count_blocks(path, &stats), 1);
    cr_assert_eq(stats.tail_bytes, 0);
    return stats;
}

static void check_gap(struct trace_reader_stats stats, uint64_t segments, uint64_t dropped, uint64_t places,
                      uint64_t damaged)
{
    cr_expect_eq(stats.dropped_segments, segments, "%d segments", (int)stats.dropped_segments);
    cr_expect_eq(stats.dropped_bytes, dropped, "%d bytes dropped", (int)stats.dropped_bytes);
    cr_expect_eq(stats.damaged, places, "%d places", (int)stats.damaged);
    cr_expect_eq(stats.damaged_bytes, damaged, "%d bytes damaged", (int)stats.damaged_bytes);
}

/* Zeros alone are what a writer gives back, where the block after them tells of all that was there. */
Test(trace_damage, zeros_are_dropped_segments_where_what_follows_says_so)
{
    check_gap(stats_after_gap(0, TRACE_BLOCK_PAST, 7, 7, 0), 3, 4096, 0, 0);
    check_gap(stats_after_gap(8, TRACE_BLOCK_PAST, 7, 7, 0), 0, 0, 1, 4104);
    check_gap(stats_after_gap(0, TRACE_BLOCK_PAST, 7, 6, 0), 0, 0, 1, 4096);
    check_gap(stats_after_gap(0, TRACE_BLOCK_DIGEST, 7, 0, 6), 1, 4096, 0, 0);
    check_gap(stats_after_gap(8, TRACE_BLOCK_DIGEST, 7, 0, 6), 0, 0, 1, 4104);
    check_gap(stats_after_gap(0, TRACE_BLOCK_DIGEST, 8, 0, 6), 0, 0, 1, 4096);
    check_gap(stats_after_gap(0, TRACE_BLOCK_END, 7, 7, 0), 0, 0, 1, 4096);
}

/* Sequence numbers: one that is left out is damage without bytes, one that was there before is passed over. */
Test(trace_damage, blocks_are_counted_by_their_numbers)
{
    static const uint64_t numbers[] = {0, 1, 1, 0, 3, 4};
    static unsigned char file[1024], payload[8];
    struct trace_out out = {payload, 0, sizeof payload};
    struct trace_reader_stats stats;
    size_t end = TRACE_FILE_HEADER;
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, file);
    trace_put_varint(&out, 0);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        end += put_block(file + end, TRACE_BLOCK_END, numbers[i], 0, &out);
    sample_write(path, file, end);
    cr_expect_eq(count_blocks(path, &stats), 4);
    cr_expect_eq(stats.blocks, 4);
    cr_expect_eq(stats.end_offset, end);
    cr_expect_eq(stats.damaged_bytes, 0);
}

/* ---- Numbers that ask for memory ---- */

static uint64_t peak_of_reading(const char *name)
{
    const uint64_t before = mem_current_bytes(MEM_TRACE);
    struct error err = {0};
    struct trace_report report;
    struct flow flow = {0};
    FILE *out = fopen("/dev/null", "w");
    cr_assert(trace_check(name, &report, &err) && trace_export_chrome(name, out, NULL, &err) &&
                  trace_export_perfetto(name, out, NULL, &err) && flow_read(name, &flow, &err),
              "%s", err.text);
    fclose(out);
    flow_finish(&flow);
    trace_unfollow(sample_follow(name, &err));
    cr_assert_eq(mem_current_bytes(MEM_TRACE), before);
    return mem_peak_bytes(MEM_TRACE) - before;
}

/* The last op and kernel that there can be, of every device, in a file of 10 KB. */
Test(trace_damage, entries_without_those_before_take_no_memory)
{
    static unsigned char file[16384], payload[64];
    static const uint16_t types[] = {TRACE_BLOCK_OPS, TRACE_BLOCK_KERNELS};
    uint64_t sequence = 0;
    size_t end = TRACE_FILE_HEADER;
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, file);
    for (int i = 0; i < 2 * TRACE_MOST_DEVICES; i++) {
        struct trace_out out = {payload, 0, sizeof payload};
        trace_put_varint(&out, (uint64_t)i / 2);
        trace_put_varint(&out, TRACE_MOST_OPS - 1);
        for (int number = 0; number < (i % 2 ? 11 : 6); number++) trace_put_varint(&out, 0);
        end += put_block(file + end, types[i % 2], sequence++, 0, &out);
    }
    sample_write(path, file, end);
    cr_expect_leq(peak_of_reading(path), 16u << 20);
    struct error err = {0};
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_expect_eq(report.stats.malformed, 2 * TRACE_MOST_DEVICES);
}

/* One unit's norms of each step, where the table has as many units as there can be. */
Test(trace_damage, norms_that_never_come_take_no_memory)
{
    enum { STEPS = 400 };
    static unsigned char file[1 << 20], payload[TRACE_PAYLOAD_MOST];
    uint64_t sequence = 0;
    size_t end = TRACE_FILE_HEADER;
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, file);
    for (uint32_t unit = 0; unit < TRACE_MOST_UNITS;) {
        struct trace_out out = {payload, 0, sizeof payload};
        trace_put_varint(&out, 0);
        trace_put_varint(&out, unit);
        trace_put_varint(&out, TRACE_MOST_UNITS);
        for (; unit < TRACE_MOST_UNITS && trace_room(&out) > 5 * TRACE_VARINT_MOST; unit++)
            for (int number = 0; number < 5; number++) trace_put_varint(&out, 0);
        end += put_block(file + end, TRACE_BLOCK_UNITS, sequence++, 0, &out);
    }
    for (uint64_t step = 0; step < STEPS; step++) {
        struct trace_out out = {payload, 0, sizeof payload};
        const uint64_t head[] = {0, step, 1, 0, TRACE_MOST_UNITS};
        for (size_t i = 0; i < 5; i++) trace_put_varint(&out, head[i]);
        memset(payload + out.length, 0, TRACE_NORMS * sizeof(float));
        out.length += TRACE_NORMS * sizeof(float);
        end += put_block(file + end, TRACE_BLOCK_NORMS, sequence++, 0, &out);
    }
    sample_write(path, file, end);
    cr_expect_leq(peak_of_reading(path), 64u << 20);
}
