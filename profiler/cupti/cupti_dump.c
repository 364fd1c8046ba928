#include "cupti_dump.h"

#include <pthread.h>
#include <string.h>

#include "files.h"
#include "mem.h"

struct cupti_dump {
    const struct cupti_calls *calls;
    struct files_writer file;
    pthread_mutex_t lock;
    uint64_t bytes;
    bool cut;
    size_t record_bytes[CUPTI_ACTIVITY_KIND_COUNT]; /* as this CUPTI has them; 0 = not seen yet */
};

/* ---- Entries ---- */

struct part {
    const void *bytes;
    size_t length;
};

/* Errors are found when the file is closed. */
static void put(struct cupti_dump *dump, enum cupti_dump_type type, const struct part *parts, size_t count)
{
    static const uint8_t zeros[8];
    uint32_t head[2] = {(uint32_t)type, 0};
    for (size_t i = 0; i < count; i++) head[1] += (uint32_t)parts[i].length;
    fwrite(head, sizeof head, 1, dump->file.stream);
    for (size_t i = 0; i < count; i++) fwrite(parts[i].bytes, 1, parts[i].length, dump->file.stream);
    fwrite(zeros, 1, (8 - head[1] % 8) % 8, dump->file.stream);
    dump->bytes += sizeof head + head[1];
}

/* Begins what is written at once; false once the file is full. */
static bool begin(struct cupti_dump *dump)
{
    if (!dump) return false;
    pthread_mutex_lock(&dump->lock);
    if (!dump->cut && dump->bytes >= CUPTI_DUMP_MOST) {
        put(dump, CUPTI_DUMP_CUT, NULL, 0);
        dump->cut = true;
    }
    if (dump->cut) pthread_mutex_unlock(&dump->lock);
    return !dump->cut;
}

static void put_numbers(struct cupti_dump *dump, enum cupti_dump_type type, const uint64_t *numbers, size_t count,
                        const char *text)
{
    const struct part parts[] = {{numbers, count * sizeof *numbers}, {text, text ? strlen(text) + 1 : 0}};
    if (!begin(dump)) return;
    put(dump, type, parts, text ? 2 : 1);
    pthread_mutex_unlock(&dump->lock);
}

void cupti_dump_step(struct cupti_dump *dump, uint64_t step, bool wanted)
{
    put_numbers(dump, CUPTI_DUMP_STEP, (uint64_t[]){step, wanted}, 2, NULL);
}

void cupti_dump_launch(struct cupti_dump *dump, uint32_t device, uint32_t op, const char *pass)
{
    put_numbers(dump, CUPTI_DUMP_LAUNCH, (uint64_t[]){device, op}, 2, pass);
}

void cupti_dump_launched(struct cupti_dump *dump) { put_numbers(dump, CUPTI_DUMP_LAUNCHED, NULL, 0, NULL); }

void cupti_dump_node(struct cupti_dump *dump, CUpti_CallbackId id, uint64_t node, uint64_t original)
{
    put_numbers(dump, CUPTI_DUMP_NODE, (uint64_t[]){id, node, original}, 3, NULL);
}

void cupti_dump_call(struct cupti_dump *dump, CUpti_CallbackDomain domain, CUpti_CallbackId id,
                     const CUpti_CallbackData *call)
{
    put_numbers(dump, CUPTI_DUMP_CALL,
                (uint64_t[]){(uint64_t)domain, id, (uint64_t)call->callbackSite, call->correlationId}, 4, NULL);
}

/* ---- Records ---- */

/* The name is a pointer of this process: zeros stand for it, and its text behind the record. */
static void put_record(struct cupti_dump *dump, const CUpti_Activity *record, size_t bytes)
{
    static const uint8_t no_name[sizeof(char *)];
    const uint8_t *from = (const uint8_t *)record;
    const char *name = NULL;
    const uint64_t length = bytes;
    size_t at = offsetof(CUpti_ActivityKernel10, name), end = at + sizeof name;
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL && bytes >= end)
        memcpy(&name, from + at, sizeof name);
    else
        at = end = bytes;
    if (!name) name = "";
    const struct part parts[] = {
        {&length, sizeof length}, {from, at}, {no_name, end - at}, {from + end, bytes - end}, {name, strlen(name) + 1}};
    put(dump, CUPTI_DUMP_RECORD, parts, sizeof parts / sizeof parts[0]);
}

/* How far it is to the next one says how long a record is; of a buffer's last one what others of its kind say. */
static size_t length_of(struct cupti_dump *dump, const CUpti_Activity *record, const CUpti_Activity *next,
                        const uint8_t *end)
{
    size_t *known = (size_t)record->kind < CUPTI_ACTIVITY_KIND_COUNT ? &dump->record_bytes[record->kind] : NULL;
    if (next && known) *known = (size_t)((const uint8_t *)next - (const uint8_t *)record);
    size_t left = (size_t)(end - (const uint8_t *)record);
    return known && *known > 0 && *known < left ? *known : left;
}

void cupti_dump_buffer(struct cupti_dump *dump, uint8_t *bytes, size_t valid, uint64_t dropped)
{
    const uint8_t *end = bytes + valid;
    CUpti_Activity *next = NULL;
    if (!begin(dump)) return;
    bool more = dump->calls->ActivityGetNextRecord(bytes, valid, &next) == CUPTI_SUCCESS;
    while (more) {
        const CUpti_Activity *record = next;
        more = dump->calls->ActivityGetNextRecord(bytes, valid, &next) == CUPTI_SUCCESS;
        put_record(dump, record, length_of(dump, record, more ? next : NULL, end));
    }
    put(dump, CUPTI_DUMP_BUFFER, &(struct part){&dropped, sizeof dropped}, 1);
    pthread_mutex_unlock(&dump->lock);
}

/* ---- The file ---- */

bool cupti_dump_open(const char *path, const struct cupti_calls *calls, struct cupti_dump **out, struct error *err)
{
    uint32_t versions[2] = {CUPTI_DUMP_VERSION, 0};
    struct cupti_dump *dump = mem_zalloc(MEM_TRACE, 1, sizeof *dump);
    if (!dump) return error_memory(err, sizeof *dump, "a dump of CUPTI's records");
    dump->calls = calls;
    if (!files_begin(&dump->file, path, err)) {
        mem_free(dump);
        return false;
    }
    calls->GetVersion(&versions[1]);
    pthread_mutex_init(&dump->lock, NULL);
    fwrite(CUPTI_DUMP_MAGIC, 1, 8, dump->file.stream);
    fwrite(versions, sizeof versions, 1, dump->file.stream);
    *out = dump;
    return true;
}

static void destroy(struct cupti_dump *dump)
{
    pthread_mutex_destroy(&dump->lock);
    mem_free(dump);
}

bool cupti_dump_close(struct cupti_dump *dump, struct cupti_dump_counts counts, struct error *err)
{
    if (!dump) return true;
    put_numbers(dump, CUPTI_DUMP_END,
                (uint64_t[]){counts.records, counts.unattributed, counts.timeless, counts.dropped}, 4, NULL);
    bool ok = files_commit(&dump->file, err);
    destroy(dump);
    return ok;
}

void cupti_dump_abandon(struct cupti_dump *dump)
{
    if (!dump) return;
    files_abandon(&dump->file);
    destroy(dump);
}
