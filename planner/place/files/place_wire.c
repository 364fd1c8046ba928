#include "place_wire.h"

static bool fail(struct wire *wire)
{
    wire->broken = true;
    wire->at = wire->end;
    return false;
}

static bool read_varint(struct wire *wire, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (wire->at == wire->end) return fail(wire);
        uint8_t byte = *wire->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return fail(wire);
}

static bool skip(struct wire *wire, uint64_t bytes)
{
    if (bytes > (uint64_t)(wire->end - wire->at)) return fail(wire);
    wire->at += bytes;
    return true;
}

bool wire_next(struct wire *wire, struct wire_field *field)
{
    uint64_t tag, length;
    if (wire->at == wire->end || !read_varint(wire, &tag)) return false;
    if (tag >> 3 == 0 || tag >> 3 >= 1u << 29) return fail(wire);
    *field = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    switch (field->type) {
    case WIRE_VARINT: return read_varint(wire, &field->value);
    case WIRE_FIXED64: return skip(wire, 8);
    case WIRE_FIXED32: return skip(wire, 4);
    case WIRE_BYTES:
        if (!read_varint(wire, &length)) return false;
        field->bytes.at = wire->at;
        if (!skip(wire, length)) return false;
        field->bytes.end = wire->at;
        return true;
    }
    return fail(wire); /* groups (3, 4) have been given up since proto3; ONNX has none */
}

bool wire_find(struct wire *wire, uint32_t number, struct wire_field *field)
{
    while (wire_next(wire, field))
        if (field->number == number && field->type == WIRE_BYTES) return true;
    return false;
}
