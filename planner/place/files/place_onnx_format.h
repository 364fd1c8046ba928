/* ONNX's messages by their field numbers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), up to IR version 14.
 * What these numbers do not know is refused: it may change what a model keeps in memory. */
#ifndef FATHOM_PLACE_ONNX_FORMAT_H
#define FATHOM_PLACE_ONNX_FORMAT_H

#include <string.h>

#include "errors.h"
#include "place_wire.h"
#include "printable.h"

#define ONNX_IR_VERSION 14 /* the newest that is known */

enum { MODEL_IR_VERSION = 1, MODEL_GRAPH = 7, MODEL_TRAINING = 20, MODEL_FUNCTION = 25 };
enum {
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE = 13,
    GRAPH_ANNOTATION = 14,
    GRAPH_SPARSE = 15
};
enum {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    NODE_DEVICES = 10
};
enum { ATTRIBUTE_GRAPH = 6, ATTRIBUTE_GRAPHS = 11, ATTRIBUTE_TYPE = 20, ATTRIBUTE_REFERENCE = 21 };
enum { FUNCTION_NAME = 1, FUNCTION_DOMAIN = 10 };
enum { TENSOR_NAME = 8, SPARSE_VALUES = 1, ANNOTATION_ENTRY = 2, ENTRY_VALUE = 2 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TYPE_DENOTATION = 6, ELEMENT_TYPE = 1, ELEMENT_SHAPE = 2 };
enum { SHAPE_DIM = 1, DIM_VALUE = 1, DIM_PARAM = 2 };

enum onnx_message {
    ONNX_MODEL,
    ONNX_GRAPH,
    ONNX_NODE,
    ONNX_ATTRIBUTE,
    ONNX_VALUE,
    ONNX_TYPE,
    ONNX_TENSOR_TYPE,
    ONNX_SHAPE,
    ONNX_DIM
};

/* A string in the model's bytes. */
struct onnx_name {
    const uint8_t *bytes;
    size_t length;
};

#define ONNX_SHOWN 60 /* characters of a name in a message */
/* Arguments for %.*s. */
#define ONNX_SHOW(name) \
    (int)((name).length <= ONNX_SHOWN ? (name).length : utf8_whole_length((const char *)(name).bytes, ONNX_SHOWN)), \
        (const char *)(name).bytes

static inline struct onnx_name onnx_name_of(const struct wire_field *field)
{
    return (struct onnx_name){field->bytes.at, (size_t)(field->bytes.end - field->bytes.at)};
}

static inline bool onnx_same_name(struct onnx_name a, struct onnx_name b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

static inline bool onnx_name_is(struct onnx_name name, const char *text)
{
    return name.length == strlen(text) && (name.length == 0 || memcmp(name.bytes, text, name.length) == 0);
}

/* ERROR_INPUT: a field of `where` is cut off. */
bool onnx_broken(const char *path, const char *where, struct error *err);
/* Whether a message is whole and has nothing but fields that ONNX knows, each with its type and as often as it may:
 * ERROR_INPUT names the first that is not so. Messages inside are not looked into. */
bool onnx_check_fields(const char *path, enum onnx_message message, struct wire wire, struct error *err);

#endif
