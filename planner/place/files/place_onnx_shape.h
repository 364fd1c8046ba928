/* How many bytes an ONNX value takes, as far as its type says. */
#ifndef FATHOM_PLACE_ONNX_SHAPE_H
#define FATHOM_PLACE_ONNX_SHAPE_H

#include "place_onnx_format.h"

/* By rising weight: of two descriptions of one tensor the later in this list counts. */
enum shape_state {
    SHAPE_MISSING,
    SHAPE_SYMBOLIC,
    SHAPE_KNOWN,
    SHAPE_ELEMENT,
    SHAPE_HUGE,
    SHAPE_NO_TENSOR,
    SHAPE_CONTRADICTED
};

struct onnx_shape {
    enum shape_state state;
    struct onnx_name symbol; /* of SHAPE_SYMBOLIC */
    uint64_t element;        /* its code */
    uint64_t bytes;          /* of SHAPE_KNOWN */
    uint64_t other_bytes;    /* of SHAPE_CONTRADICTED, beside bytes */
};

/* Reads a TypeProto. ERROR_INPUT for one that is cut off or has unknown fields. */
bool onnx_read_shape(const char *path, struct wire type, struct onnx_shape *shape, struct error *err);
/* Takes another description of the same tensor into *shape. */
void onnx_merge_shape(struct onnx_shape *shape, const struct onnx_shape *other);

#endif
