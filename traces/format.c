#define _GNU_SOURCE
#include "format.h"

#include <inttypes.h>
#include <string.h>

#include "hash.h"

#define FILE_MAGIC "FATHOMTR"
#define ORDER_MARK 0x0a0b0c0du
static const uint8_t block_magic[4] = {0xF7, 'b', 'l', 0xA3};

static void put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)value;
    out[1] = (uint8_t)(value >> 8);
}

static void put_u32(uint8_t *out, uint32_t value)
{
    put_u16(out, (uint16_t)value);
    put_u16(out + 2, (uint16_t)(value >> 16));
}

static void put_u64(uint8_t *out, uint64_t value)
{
    put_u32(out, (uint32_t)value);
    put_u32(out + 4, (uint32_t)(value >> 32));
}

static uint16_t get_u16(const uint8_t *in) { return (uint16_t)(in[0] | in[1] << 8); }
static uint32_t get_u32(const uint8_t *in) { return get_u16(in) | (uint32_t)get_u16(in + 2) << 16; }
static uint64_t get_u64(const uint8_t *in) { return get_u32(in) | (uint64_t)get_u32(in + 4) << 32; }

void trace_put_file_header(const struct trace_file_header *header, uint8_t out[TRACE_FILE_HEADER])
{
    memset(out, 0, TRACE_FILE_HEADER);
    memcpy(out, FILE_MAGIC, 8);
    put_u32(out + 8, header->version);
    put_u32(out + 12, ORDER_MARK);
    put_u64(out + 16, header->clock_ns);
    put_u64(out + 24, header->wall_ns);
    put_u64(out + 40, hash_bytes(out, 40, 0));
}

bool trace_get_file_header(const uint8_t *bytes, size_t length, const char *name, struct trace_file_header *header,
                           struct error *err)
{
    if (length < TRACE_FILE_HEADER || memcmp(bytes, FILE_MAGIC, 8) != 0)
        return error_set(err, ERROR_INPUT, "%s: is not a trace; `fathom train --trace FILE` writes one", name);
    uint32_t version = get_u32(bytes + 8);
    if (version > TRACE_VERSION)
        return error_set(err, ERROR_INPUT,
                         "%s: is a trace of version %" PRIu32 ", and this program reads versions up to %d: use a newer "
                         "fathom",
                         name, version, TRACE_VERSION);
    if (version == 0 || get_u32(bytes + 12) != ORDER_MARK || get_u64(bytes + 40) != hash_bytes(bytes, 40, 0))
        return error_set(err, ERROR_INPUT, "%s: its first %d bytes are damaged: they do not match their checksum", name,
                         TRACE_FILE_HEADER);
    *header = (struct trace_file_header){version, get_u64(bytes + 16), get_u64(bytes + 24)};
    return true;
}

static uint64_t block_checksum(const uint8_t *bytes, size_t length)
{
    uint64_t seed = hash_bytes(bytes, TRACE_BLOCK_HEADER - 8, 0);
    return hash_bytes(bytes + TRACE_BLOCK_HEADER, length, seed);
}

void trace_put_block_header(const struct trace_block *block, uint8_t *bytes)
{
    memcpy(bytes, block_magic, 4);
    put_u16(bytes + 4, block->type);
    put_u16(bytes + 6, block->version);
    put_u32(bytes + 8, block->length);
    put_u32(bytes + 12, block->events);
    put_u64(bytes + 16, block->sequence);
    put_u64(bytes + 24, block->first_ns);
    put_u64(bytes + 32, block->last_ns);
    put_u64(bytes + 40, block->dropped);
    put_u64(bytes + 48, block->segment);
    put_u64(bytes + 56, block_checksum(bytes, block->length));
}

enum trace_block_state trace_get_block(const uint8_t *bytes, size_t length, struct trace_block *block)
{
    size_t magic = length < 4 ? length : 4;
    if (memcmp(bytes, block_magic, magic) != 0) return TRACE_BLOCK_BAD;
    if (length < TRACE_BLOCK_HEADER) return TRACE_BLOCK_PARTIAL;
    uint32_t payload = get_u32(bytes + 8);
    if (payload > TRACE_PAYLOAD_MOST) return TRACE_BLOCK_BAD;
    if (length - TRACE_BLOCK_HEADER < payload) return TRACE_BLOCK_PARTIAL;
    if (get_u64(bytes + 56) != block_checksum(bytes, payload)) return TRACE_BLOCK_BAD;
    *block = (struct trace_block){
        .type = get_u16(bytes + 4),
        .version = get_u16(bytes + 6),
        .length = payload,
        .events = get_u32(bytes + 12),
        .sequence = get_u64(bytes + 16),
        .first_ns = get_u64(bytes + 24),
        .last_ns = get_u64(bytes + 32),
        .dropped = get_u64(bytes + 40),
        .segment = get_u64(bytes + 48),
    };
    return TRACE_BLOCK_GOOD;
}

size_t trace_find_block(const uint8_t *bytes, size_t length, size_t from)
{
    while (from < length) {
        const uint8_t *found = memchr(bytes + from, block_magic[0], length - from);
        if (!found) return length;
        from = (size_t)(found - bytes);
        size_t left = length - from;
        if (memcmp(found, block_magic, left < 4 ? left : 4) == 0) return from;
        from++;
    }
    return length;
}

void trace_put_double(struct trace_out *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    put_u64(out->bytes + out->length, bits);
    out->length += 8;
}

size_t trace_text_length(const char *text, size_t most)
{
    size_t length = text ? strnlen(text, most + 1) : 0;
    if (length <= most) return length;
    length = most;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--; /* not inside a UTF-8 character */
    return length;
}

void trace_put_text(struct trace_out *out, const char *text)
{
    size_t length = trace_text_length(text, TRACE_TEXT_MOST);
    trace_put_varint(out, length);
    if (length) memcpy(out->bytes + out->length, text, length);
    out->length += length;
}

uint64_t trace_get_varint_slowly(struct trace_in *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint64_t byte = *in->at++;
        if (shift == 63 && byte > 1) break; /* does not fit 64 bits */
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    in->bad = true;
    in->at = in->end;
    return 0;
}

double trace_get_double(struct trace_in *in)
{
    double value = 0;
    if (in->end - in->at < 8) {
        in->bad = true;
        in->at = in->end;
        return 0;
    }
    uint64_t bits = get_u64(in->at);
    memcpy(&value, &bits, 8);
    in->at += 8;
    return value;
}

const char *trace_get_text(struct trace_in *in, size_t *length)
{
    uint64_t wanted = trace_get_varint(in);
    if (in->bad || wanted > TRACE_TEXT_MOST || wanted > (uint64_t)(in->end - in->at)) {
        in->bad = true;
        in->at = in->end;
        *length = 0;
        return "";
    }
    const char *text = (const char *)in->at;
    *length = (size_t)wanted;
    in->at += wanted;
    return text;
}
