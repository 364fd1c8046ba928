/* Small traces for the tests of the trace room. */
#ifndef FATHOM_TEST_TRACE_SAMPLES_H
#define FATHOM_TEST_TRACE_SAMPLES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format.h"
#include "rollup.h"
#include "writer.h"

#define SAMPLE_PATH 64
static inline void sample_path(char path[SAMPLE_PATH])
{
    snprintf(path, SAMPLE_PATH, "/tmp/fathom-trace-XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
}

static inline void sample_tables(struct trace_sink *s, uint32_t devices, uint32_t ops)
{
    static const char *const kinds[] = {"conv", "bn", "relu"};
    static const char *const classes[] = {"weight", "activation"};
    static const uint64_t bytes[] = {1000, 2000};
    s->run(s->context,
           &(struct trace_run){"resnet-20", "cifar10", "cpu", "host", "fathom train", 128, 400, 269722, devices, 0});
    struct trace_op *table = calloc(ops, sizeof *table);
    char(*layers)[32] = calloc(ops, sizeof *layers);
    for (uint32_t d = 0; table && layers && d < devices; d++) {
        s->device(s->context, &(struct trace_device){d, "cpu", 1u << 30, 5000, 4000, 64, classes, bytes, 2});
        for (uint32_t i = 0; i < ops; i++) {
            snprintf(layers[i], sizeof layers[i], "stage%u/unit%u", i / 30, i / 3);
            table[i] = (struct trace_op){i, d, layers[i], kinds[i % 3], i < ops / 2 ? "forward" : "backward", i, i, i};
        }
        s->op_table(s->context, table, ops);
    }
    free(table);
    free(layers);
}

/* Until the writer has taken in `events` reports of all, so that a busy machine drops none. */
static inline void sample_catch_up(struct trace_writer *writer, uint64_t events)
{
    struct trace_writer_stats stats;
    do {
        usleep(1000);
        trace_writer_stats(writer, &stats);
    } while (stats.events + stats.dropped < events);
}

/* What sample_steps reports in a step of device 0, without the mark. */
#define SAMPLE_REPORTS(ops) ((ops) + 5u)
/* Steps of 1 ms with all ops timed, a loss, and a mark every tenth step. */
static inline void sample_steps(struct trace_sink *s, uint32_t device, uint32_t ops, uint64_t first, uint64_t count)
{
    for (uint64_t step = first; step < first + count; step++) {
        uint64_t at = 1000000 * (step + 1), each = 1000000 / (ops + 1);
        s->step_begin(s->context, device, step, at);
        for (uint32_t i = 0; i < ops; i++)
            s->op_time(s->context, device, i, at + i * each + 10, at + (i + 1) * each - (step * 7 + i) % (each / 2));
        s->step_end(s->context, device, step, at + 990000);
        if (device != 0) continue;
        s->metric(s->context, METRIC_LOSS, step, 2.0 / (double)(step + 1));
        s->memory(s->context, device, SAMPLE_PROCESS, 1000000 + step, at);
        s->gap(s->context, device, GAP_DATA, at + 990000, at + 995000);
        char text[32];
        snprintf(text, sizeof text, "mark %llu", (unsigned long long)step);
        if (step % 10 == 0) s->mark(s->context, at, text);
    }
}

/* Takes in all that a trace holds. NULL, with the error, when it is none; what is damaged in it is passed over. */
static inline struct trace_follower *sample_follow(const char *path, struct error *err)
{
    struct trace_follower *follower = NULL;
    uint64_t read;
    if (!trace_follow(path, &follower, err)) return NULL;
    if (trace_follow_more(follower, 0, &read, err)) return follower;
    trace_unfollow(follower);
    return NULL;
}

/* The whole file; the caller frees it with free(). */
static inline unsigned char *sample_bytes(const char *path, size_t *length)
{
    *length = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length + 1);
    if (bytes && fread(bytes, 1, *length, file) != *length) *length = 0;
    fclose(file);
    return bytes;
}

static inline void sample_write(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    if (!file) return;
    fwrite(bytes, 1, length, file);
    fclose(file);
}

/* The file with one byte of each block of a type changed, or with another type; how many there are. */
static inline uint64_t sample_change_blocks(const char *path, const char *copy, enum trace_block_type type, bool damage)
{
    size_t length;
    uint64_t changed = 0;
    unsigned char *bytes = sample_bytes(path, &length);
    for (size_t at = TRACE_FILE_HEADER; at < length;) {
        struct trace_block block;
        if (trace_get_block(bytes + at, length - at, &block) != TRACE_BLOCK_GOOD) abort();
        if (block.type == type) {
            changed++;
            block.type = 400;
            if (damage)
                bytes[at + TRACE_BLOCK_HEADER + block.length / 2] ^= 0x20;
            else
                trace_put_block_header(&block, bytes + at);
        }
        at += TRACE_BLOCK_HEADER + block.length;
    }
    sample_write(copy, bytes, length);
    free(bytes);
    return changed;
}

#endif
