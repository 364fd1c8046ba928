/* What CUPTI told of a run on a GPU, told once more: of a file that a run wrote with FATHOM_CUPTI_DUMP (cupti_dump.h
 * says what is in it). Only the format is shared with the product, not its code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vendor.h"

enum { STEP = 1, LAUNCH, LAUNCHED, NODE, CALL, RECORD, BUFFER, CUT, END };

#define MOST_BYTES  (256u << 20)
#define MOST_RECORD (32u << 10) /* bytes; the smallest buffer has 64 KiB */
#define PATIENCE    5000u       /* ms until the profiler has a buffer */

struct entry {
    uint32_t type, bytes;
    const uint8_t *payload;
};

static uint64_t number(const struct entry *entry, size_t i)
{
    uint64_t value = 0;
    if (8 * i + 8 <= entry->bytes) memcpy(&value, entry->payload + 8 * i, sizeof value);
    return value;
}

/* Behind so many bytes; "" when it does not end. */
static const char *text(const struct entry *entry, uint64_t at)
{
    if (at >= entry->bytes || !memchr(entry->payload + at, 0, entry->bytes - at)) return "";
    return (const char *)entry->payload + at;
}

/* A buffer comes back when the profiler has read it. */
static const char *tell_record(const struct entry *entry)
{
    uint64_t bytes = number(entry, 0);
    if (bytes < 8 || bytes > entry->bytes - 8 || bytes > MOST_RECORD) return "a record of another length than it says";
    for (unsigned ms = 0; !cupti_tell_record(entry->payload + 8, bytes, text(entry, 8 + bytes)); ms++) {
        if (ms == PATIENCE) return "the profiler gives no buffer";
        usleep(1000);
    }
    return NULL;
}

static const char *tell(const struct entry *entry, const struct standin_run *run, uint64_t found[4])
{
    switch (entry->type) {
    case STEP: run->step(run->context, number(entry, 0), number(entry, 1) != 0); return NULL;
    case LAUNCH:
        run->launch(run->context, (uint32_t)number(entry, 0), (uint32_t)number(entry, 1), text(entry, 16));
        return NULL;
    case LAUNCHED: run->launched(run->context); return NULL;
    case NODE: cupti_tell_node((uint32_t)number(entry, 0), number(entry, 1), number(entry, 2)); return NULL;
    case CALL:
        cupti_tell_call((uint32_t)number(entry, 0), (uint32_t)number(entry, 1), (uint32_t)number(entry, 2),
                        (uint32_t)number(entry, 3));
        return NULL;
    case RECORD: return tell_record(entry);
    case BUFFER: cupti_tell_buffer(number(entry, 0)); return NULL;
    case CUT: return "it was cut: there was more than a dump holds";
    case END:
        for (size_t i = 0; i < 4; i++) found[i] = number(entry, i);
        return NULL;
    default: return "an entry of an unknown type";
    }
}

/* Kept: names of kernels stay where they are for as long as the process lives, as CUPTI's do. */
static uint8_t *read_all(const char *path, size_t *length)
{
    static struct kept {
        struct kept *before;
        uint8_t *bytes;
    } * last;
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *bytes = size > 0 && (size_t)size <= MOST_BYTES ? need(malloc((size_t)size)) : NULL;
    *length = bytes ? fread(bytes, 1, (size_t)size, file) : 0;
    fclose(file);
    if (!bytes) return NULL;
    struct kept *kept = NEW(struct kept);
    *kept = (struct kept){last, bytes};
    last = kept;
    return bytes;
}

const char EXPORTED *standin_replay(const char *path, const struct standin_run *run, uint64_t found[4])
{
    size_t length = 0;
    const uint8_t *bytes = read_all(path, &length);
    uint32_t version = 0;
    struct entry entry = {0};
    if (!bytes) return "it cannot be read";
    if (length >= 12) memcpy(&version, bytes + 8, sizeof version);
    if (length < 16 || memcmp(bytes, "FATHOMCD", 8) != 0 || version != 1) return "it is no dump of CUPTI's records";
    for (size_t at = 16; at < length; at += 8 + (entry.bytes + 7) / 8 * 8) {
        if (length - at < 8) return "it ends within an entry";
        memcpy(&entry.type, bytes + at, 4);
        memcpy(&entry.bytes, bytes + at + 4, 4);
        entry.payload = bytes + at + 8;
        if (entry.bytes > length - at - 8) return "it ends within an entry";
        const char *fault = tell(&entry, run, found);
        if (fault) return fault;
    }
    return entry.type == END ? NULL : "it has no end: the run was killed";
}
