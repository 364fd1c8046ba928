#include "keep.h"

bool keep_is_elementwise(enum op_kind kind)
{
    return kind == OP_INPUT || kind == OP_BN || kind == OP_BN_APPLY || kind == OP_RELU || kind == OP_MUL ||
           kind == OP_SCALE || kind == OP_SIGMOID || kind == OP_DROPOUT;
}
