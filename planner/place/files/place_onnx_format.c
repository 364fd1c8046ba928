#include "place_onnx_format.h"

#include <inttypes.h>

#define F(number) (UINT64_C(1) << (number))

/* Which fields hold bytes (strings, messages, packed numbers), which numbers, and which stand at most once. */
static const struct {
    const char *name;
    uint64_t bytes, numbers, once;
} formats[] = {
    [ONNX_MODEL] = {"the model", F(2) | F(3) | F(4) | F(6) | F(7) | F(8) | F(14) | F(20) | F(25) | F(26), F(1) | F(5),
                    F(1)},
    [ONNX_GRAPH] = {"the graph", F(1) | F(2) | F(5) | F(10) | F(11) | F(12) | F(13) | F(14) | F(15) | F(16), 0, F(2)},
    [ONNX_NODE] = {"a node", F(1) | F(2) | F(3) | F(4) | F(5) | F(6) | F(7) | F(8) | F(9) | F(10), 0,
                   F(3) | F(4) | F(7) | F(8)},
    [ONNX_ATTRIBUTE] = {"an attribute",
                        F(1) | F(4) | F(5) | F(6) | F(7) | F(8) | F(9) | F(10) | F(11) | F(13) | F(14) | F(15) | F(21) |
                            F(22) | F(23),
                        F(2) | F(3) | F(7) | F(8) | F(20), F(1) | F(5) | F(6) | F(20) | F(21) | F(22)},
    [ONNX_VALUE] = {"a value", F(1) | F(2) | F(3) | F(4), 0, F(1) | F(2)},
    [ONNX_TYPE] = {"a value's type", F(1) | F(4) | F(5) | F(6) | F(7) | F(8) | F(9), 0, F(1)},
    [ONNX_TENSOR_TYPE] = {"a tensor's type", F(2), F(1), F(1) | F(2)},
    [ONNX_SHAPE] = {"a shape", F(1), 0, 0},
    [ONNX_DIM] = {"a dimension", F(2) | F(3), F(1), F(1) | F(2)},
};

bool onnx_broken(const char *path, const char *where, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: not a whole ONNX model: a field of %s is cut off or malformed", path,
                     where);
}

bool onnx_check_fields(const char *path, enum onnx_message message, struct wire wire, struct error *err)
{
    const char *name = formats[message].name;
    uint64_t seen = 0, known = formats[message].bytes | formats[message].numbers;
    struct wire_field field;
    while (wire_next(&wire, &field)) {
        uint64_t bit = field.number < 64 ? F(field.number) : 0;
        if ((known & bit) == 0)
            return error_set(err, ERROR_INPUT,
                             "%s: %s has a field %" PRIu32 ", which ONNX up to IR version %d does not know: what it "
                             "takes in memory is open",
                             path, name, field.number, ONNX_IR_VERSION);
        if (((field.type == WIRE_BYTES ? formats[message].bytes : formats[message].numbers) & bit) == 0)
            return onnx_broken(path, name, err);
        if (formats[message].once & seen & bit)
            return error_set(err, ERROR_INPUT, "%s: %s has two fields %" PRIu32 " where one is wanted", path, name,
                             field.number);
        seen |= bit;
    }
    return !wire.broken || onnx_broken(path, name, err);
}
