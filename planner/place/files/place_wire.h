/* Protobuf's wire format, read field by field (https://protobuf.dev/programming-guides/encoding). */
#ifndef FATHOM_PLACE_WIRE_H
#define FATHOM_PLACE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire {
    const uint8_t *at, *end;
    bool broken; /* what followed was not a field, or ended before its length */
};

enum wire_type { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;    /* of WIRE_VARINT */
    struct wire bytes; /* of WIRE_BYTES, within the outer bytes */
};

/* The next field, or false at the end or where the bytes are broken; nothing past the end is read. */
bool wire_next(struct wire *wire, struct wire_field *field);
/* As wire_next, passing over everything but byte fields of this number. */
bool wire_find(struct wire *wire, uint32_t number, struct wire_field *field);

#endif
