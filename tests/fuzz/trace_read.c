/* Traces of any content. Checksums would stop nearly every change of a file, so the input is taken apart into blocks
 * that get good ones: type, length (two bytes), payload, again and again. An input that begins with 0xff is a file as
 * it is after its header. Whatever comes, it is read to the end, checked, put together and exported. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "export.h"
#include "flow.h"
#include "mem.h"
#include "summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void write_all(int fd, const uint8_t *bytes, size_t length)
{
    if (write(fd, bytes, length) != (ssize_t)length) abort();
}

static void write_blocks(int fd, const uint8_t *bytes, size_t length)
{
    static uint8_t block[TRACE_BLOCK_MOST];
    for (uint64_t sequence = 0; length >= 3; sequence++) {
        size_t payload = (size_t)(bytes[1] | bytes[2] << 8);
        if (payload > length - 3) payload = length - 3;
        if (payload > TRACE_PAYLOAD_MOST) payload = TRACE_PAYLOAD_MOST;
        struct trace_block header = {.type = bytes[0] & 0x3f,
                                     .version = bytes[0] & 0x40 ? 2 : 1,
                                     .length = (uint32_t)payload,
                                     .sequence = sequence + (bytes[0] & 0x80 ? 5 : 0)};
        memcpy(block + TRACE_BLOCK_HEADER, bytes + 3, payload);
        trace_put_block_header(&header, block);
        write_all(fd, block, TRACE_BLOCK_HEADER + payload);
        bytes += 3 + payload;
        length -= 3 + payload;
    }
}

/* In steps of a few events, as a dashboard would. */
static void follow(const char *path, FILE *out)
{
    struct error err = {0};
    struct trace_follower *follower;
    struct summary summary = {0};
    uint64_t read = 0;
    if (!trace_follow(path, &follower, &err)) abort();
    do {
        if (!trace_follow_more(follower, 7, &read, &err)) abort();
    } while (read > 0);
    for (uint32_t device = 0; device < ROLLUP_MOST_DEVICES; device++) {
        const struct rollup *rollup = trace_follow_rollup(follower);
        const struct rollup_tensor *largest[5];
        uint32_t op;
        rollup_arena_peak(rollup, device, &op);
        rollup_tensors_at(rollup, device, op, largest, 5);
        rollup_clock_drift(&rollup->devices[device].clock);
    }
    if (!summary_make(trace_follow_rollup(follower), SUMMARY_OP, SUMMARY_MEDIAN, &summary, &err)) abort();
    trace_export_csv(&summary, NULL, out);
    summary_finish(&summary);
    trace_unfollow(follower);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char path[64];
    uint8_t header[TRACE_FILE_HEADER];
    int fd = memfd_create("trace", MFD_CLOEXEC);
    FILE *out = fopen("/dev/null", "w");
    if (fd < 0 || !out) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, 1, 2}, header);
    write_all(fd, header, sizeof header);
    if (length > 0 && bytes[0] == 0xff)
        write_all(fd, bytes + 1, length - 1);
    else
        write_blocks(fd, bytes, length);
    struct error err = {0};
    struct trace_report report;
    if (!trace_check(path, &report, &err) || !trace_export_chrome(path, out, NULL, &err) ||
        !trace_export_perfetto(path, out, NULL, &err))
        abort();
    follow(path, out);
    struct flow flow = {0};
    if (!flow_read(path, &flow, &err)) abort();
    for (size_t i = 0; i < flow.step_count; i++) flow_range(&flow, i, NORM_GRADIENT);
    flow_finish(&flow);
    fclose(out);
    close(fd);
    if (mem_current_bytes(MEM_TRACE) != 0) abort();
    return 0;
}
