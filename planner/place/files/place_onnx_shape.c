#include "place_onnx_shape.h"

/* TensorProto.DataType, each element packed; 0 = not a type of fixed size. */
static uint64_t element_bits(uint64_t code)
{
    static const uint8_t bits[] = {0,   32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64,
                                   128, 16, 8, 8, 8,  8,  4,  4,  4, 8, 2,  2,  6,  6};
    return code < sizeof bits ? bits[code] : 0;
}

static bool read_dim(const char *path, struct wire dim, struct onnx_shape *shape, uint64_t *count, struct error *err)
{
    struct wire_field field;
    enum shape_state state = SHAPE_MISSING;
    uint64_t value = 0;
    TRY(onnx_check_fields(path, ONNX_DIM, dim, err));
    while (wire_next(&dim, &field)) {
        if (field.number == DIM_VALUE) {
            value = field.value;
            state = value <= INT64_MAX ? SHAPE_KNOWN : SHAPE_MISSING; /* a negative one stands for unknown */
        } else if (field.number == DIM_PARAM) {
            shape->symbol = onnx_name_of(&field);
            state = SHAPE_SYMBOLIC;
        }
    }
    if (state == SHAPE_KNOWN && __builtin_mul_overflow(*count, value, count)) state = SHAPE_HUGE;
    if (shape->state == SHAPE_KNOWN) shape->state = state;
    return true;
}

static bool read_dims(const char *path, struct wire dims, struct onnx_shape *shape, uint64_t *count, struct error *err)
{
    struct wire_field field;
    TRY(onnx_check_fields(path, ONNX_SHAPE, dims, err));
    shape->state = SHAPE_KNOWN;
    *count = 1;
    while (wire_next(&dims, &field)) TRY(read_dim(path, field.bytes, shape, count, err));
    return true;
}

static bool read_tensor(const char *path, struct wire tensor, struct onnx_shape *shape, struct error *err)
{
    struct wire_field field;
    uint64_t count = 0, bits;
    TRY(onnx_check_fields(path, ONNX_TENSOR_TYPE, tensor, err));
    *shape = (struct onnx_shape){.state = SHAPE_MISSING};
    while (wire_next(&tensor, &field)) {
        if (field.number == ELEMENT_TYPE) shape->element = field.value;
        if (field.number == ELEMENT_SHAPE) TRY(read_dims(path, field.bytes, shape, &count, err));
    }
    if (shape->state != SHAPE_KNOWN) return true;
    if (element_bits(shape->element) == 0)
        shape->state = SHAPE_ELEMENT;
    else if (__builtin_mul_overflow(count, element_bits(shape->element), &bits))
        shape->state = SHAPE_HUGE;
    else
        shape->bytes = bits / 8 + (bits % 8 != 0);
    return true;
}

/* Sequences, maps, optional values, sparse and opaque ones are no dense tensors, whatever else the type says. */
bool onnx_read_shape(const char *path, struct wire type, struct onnx_shape *shape, struct error *err)
{
    struct wire_field field;
    bool other = true;
    TRY(onnx_check_fields(path, ONNX_TYPE, type, err));
    for (struct wire rest = type; wire_next(&rest, &field);) {
        if (field.number == TYPE_DENOTATION) continue;
        other = field.number != TYPE_TENSOR;
        if (other) break;
        TRY(read_tensor(path, field.bytes, shape, err));
    }
    if (other) *shape = (struct onnx_shape){.state = SHAPE_NO_TENSOR};
    return true;
}

void onnx_merge_shape(struct onnx_shape *shape, const struct onnx_shape *other)
{
    if (other->state == SHAPE_KNOWN && shape->state == SHAPE_KNOWN && other->bytes != shape->bytes) {
        shape->state = SHAPE_CONTRADICTED;
        shape->other_bytes = other->bytes;
    }
    if (other->state > shape->state) *shape = *other;
}
