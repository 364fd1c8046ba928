/* Which attributes descriptors have: cuDNN refuses what is not here. */
#include <stdlib.h>

#include "dnn.h"

enum need_of { MAY, MUST, READ }; /* READ: only the library writes it */

static const struct rule {
    cudnnBackendDescriptorType_t of;
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t most;
    enum need_of needed;
} rules[] = {
#define OF(descriptor) CUDNN_BACKEND_##descriptor##_DESCRIPTOR
#define R(descriptor, name, type, most, needed)                                                                        \
    {                                                                                                                  \
        OF(descriptor), CUDNN_ATTR_##name, CUDNN_TYPE_##type, most, needed                                             \
    }
    R(TENSOR, TENSOR_UNIQUE_ID, INT64, 1, MUST),
    R(TENSOR, TENSOR_DATA_TYPE, DATA_TYPE, 1, MUST),
    R(TENSOR, TENSOR_BYTE_ALIGNMENT, INT64, 1, MUST),
    R(TENSOR, TENSOR_DIMENSIONS, INT64, 8, MUST),
    R(TENSOR, TENSOR_STRIDES, INT64, 8, MUST),
    R(TENSOR, TENSOR_IS_VIRTUAL, BOOLEAN, 1, MAY),
    R(CONVOLUTION, CONVOLUTION_COMP_TYPE, DATA_TYPE, 1, MUST),
    R(CONVOLUTION, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, 1, MUST),
    R(CONVOLUTION, CONVOLUTION_DILATIONS, INT64, 3, MUST),
    R(CONVOLUTION, CONVOLUTION_FILTER_STRIDES, INT64, 3, MUST),
    R(CONVOLUTION, CONVOLUTION_POST_PADDINGS, INT64, 3, MUST),
    R(CONVOLUTION, CONVOLUTION_PRE_PADDINGS, INT64, 3, MUST),
    R(CONVOLUTION, CONVOLUTION_SPATIAL_DIMS, INT64, 1, MUST),
    R(POINTWISE, POINTWISE_MODE, POINTWISE_MODE, 1, MUST),
    R(POINTWISE, POINTWISE_MATH_PREC, DATA_TYPE, 1, MUST),
    R(REDUCTION, REDUCTION_OPERATOR, REDUCTION_OPERATOR_TYPE, 1, MUST),
    R(REDUCTION, REDUCTION_COMP_TYPE, DATA_TYPE, 1, MUST),
#define CONVOLUTION_RULES(kind, prefix, a, b, c)                                                                       \
    R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_ALPHA, FLOAT, 1, MUST),                           \
        R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_BETA, FLOAT, 1, MUST),                        \
        R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_CONV_DESC, BACKEND_DESCRIPTOR, 1, MUST),      \
        R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_##a, BACKEND_DESCRIPTOR, 1, MUST),            \
        R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_##b, BACKEND_DESCRIPTOR, 1, MUST),            \
        R(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_##c, BACKEND_DESCRIPTOR, 1, MUST)
    CONVOLUTION_RULES(FORWARD, FORWARD, X, W, Y),
    CONVOLUTION_RULES(BACKWARD_DATA, BWD_DATA, DY, W, DX),
    CONVOLUTION_RULES(BACKWARD_FILTER, BWD_FILTER, X, DY, DW),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_PW_DESCRIPTOR, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_XDESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_BDESC, BACKEND_DESCRIPTOR, 1, MAY),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_TDESC, BACKEND_DESCRIPTOR, 1, MAY),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_YDESC, BACKEND_DESCRIPTOR, 1, MAY),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_DYDESC, BACKEND_DESCRIPTOR, 1, MAY),
    R(OPERATION_POINTWISE, OPERATION_POINTWISE_DXDESC, BACKEND_DESCRIPTOR, 1, MAY),
    R(OPERATION_GEN_STATS, OPERATION_GENSTATS_MODE, GENSTATS_MODE, 1, MUST),
    R(OPERATION_GEN_STATS, OPERATION_GENSTATS_MATH_PREC, DATA_TYPE, 1, MUST),
    R(OPERATION_GEN_STATS, OPERATION_GENSTATS_XDESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_GEN_STATS, OPERATION_GENSTATS_SUMDESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_GEN_STATS, OPERATION_GENSTATS_SQSUMDESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_REDUCTION, OPERATION_REDUCTION_DESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_REDUCTION, OPERATION_REDUCTION_XDESC, BACKEND_DESCRIPTOR, 1, MUST),
    R(OPERATION_REDUCTION, OPERATION_REDUCTION_YDESC, BACKEND_DESCRIPTOR, 1, MUST),
#define BN_RULE(name) R(OPERATION_BN_BWD_WEIGHTS, OPERATION_BN_BWD_WEIGHTS_##name, BACKEND_DESCRIPTOR, 1, MUST)
    R(OPERATION_BN_BWD_WEIGHTS, OPERATION_BN_BWD_WEIGHTS_MATH_PREC, DATA_TYPE, 1, MUST),
    BN_RULE(MEAN_DESC),
    BN_RULE(INVSTD_DESC),
    BN_RULE(BN_SCALE_DESC),
    BN_RULE(X_DESC),
    BN_RULE(DY_DESC),
    BN_RULE(DBN_SCALE_DESC),
    BN_RULE(DBN_BIAS_DESC),
    BN_RULE(EQ_DY_SCALE_DESC),
    BN_RULE(EQ_X_SCALE_DESC),
    BN_RULE(EQ_BIAS),
    R(OPERATIONGRAPH, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, MOST_OPS, MUST),
    R(OPERATIONGRAPH, OPERATIONGRAPH_HANDLE, HANDLE, 1, MAY),
    R(OPERATIONGRAPH, OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, INT64, 1, READ),
    R(DEVICEPROP, DEVICEPROP_JSON_REPRESENTATION, CHAR, 1 << 20, MAY),
    R(DEVICEPROP, DEVICEPROP_HANDLE, HANDLE, 1, MAY),
    R(DEVICEPROP, DEVICEPROP_DEVICE_ID, INT32, 1, MAY),
    R(ENGINEHEUR, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, MUST),
    R(ENGINEHEUR, ENGINEHEUR_MODE, HEUR_MODE, 1, MUST),
    R(ENGINEHEUR, ENGINEHEUR_DEVICEPROP, BACKEND_DESCRIPTOR, 1, MAY),
    R(ENGINEHEUR, ENGINEHEUR_RESULTS, BACKEND_DESCRIPTOR, 64, READ),
    R(ENGINE, ENGINE_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, MUST),
    R(ENGINE, ENGINE_GLOBAL_INDEX, INT64, 1, MUST),
    R(ENGINE, ENGINE_DEVICEPROP, BACKEND_DESCRIPTOR, 1, MAY),
    R(ENGINE, ENGINE_NUMERICAL_NOTE, NUMERICAL_NOTE, 16, READ),
    R(ENGINE, ENGINE_BEHAVIOR_NOTE, BEHAVIOR_NOTE, 16, READ),
    R(KNOB_CHOICE, KNOB_CHOICE_KNOB_TYPE, KNOB_TYPE, 1, MUST),
    R(KNOB_CHOICE, KNOB_CHOICE_KNOB_VALUE, INT64, 1, MUST),
    R(ENGINECFG, ENGINECFG_ENGINE, BACKEND_DESCRIPTOR, 1, MUST),
    R(ENGINECFG, ENGINECFG_KNOB_CHOICES, BACKEND_DESCRIPTOR, 32, MAY),
    R(ENGINECFG, ENGINECFG_WORKSPACE_SIZE, INT64, 1, READ),
    R(EXECUTION_PLAN, EXECUTION_PLAN_ENGINE_CONFIG, BACKEND_DESCRIPTOR, 1, MAY),
    R(EXECUTION_PLAN, EXECUTION_PLAN_HANDLE, HANDLE, 1, MAY),
    R(EXECUTION_PLAN, EXECUTION_PLAN_DEVICEPROP, BACKEND_DESCRIPTOR, 1, MAY),
    R(EXECUTION_PLAN, EXECUTION_PLAN_WORKSPACE_SIZE, INT64, 1, READ),
    R(EXECUTION_PLAN, EXECUTION_PLAN_JSON_REPRESENTATION, CHAR, 1 << 24, MAY),
    R(VARIANT_PACK, VARIANT_PACK_UNIQUE_IDS, INT64, MOST_TENSORS, MUST),
    R(VARIANT_PACK, VARIANT_PACK_DATA_POINTERS, VOID_PTR, MOST_TENSORS, MUST),
    R(VARIANT_PACK, VARIANT_PACK_WORKSPACE, VOID_PTR, 1, MAY),
};
#define RULES (sizeof rules / sizeof rules[0])

bool dnn_type_known(cudnnBackendDescriptorType_t type)
{
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].of == type) return true;
    return false;
}

cudnnStatus_t dnn_rule_set(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name,
                           cudnnBackendAttributeType_t type, int64_t count)
{
    for (size_t i = 0; i < RULES; i++) {
        const struct rule *r = &rules[i];
        if (r->of != d->type || r->name != name) continue;
        bool real = r->type == CUDNN_TYPE_FLOAT && type == CUDNN_TYPE_DOUBLE;
        if (r->needed == READ) return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "attribute %d is only read", (int)name);
        if (r->type != type && !real)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute %d has another type than %d", (int)name,
                            (int)type);
        if (count < 1 || count > r->most)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d has at most %lld values, not %lld", (int)name,
                            (long long)r->most, (long long)count);
        return CUDNN_STATUS_SUCCESS;
    }
    return dnn_fail(CUDNN_STATUS_BAD_PARAM, "descriptors of type %d have no attribute %d", (int)d->type, (int)name);
}

/* ---- At finalize ---- */

static cudnnStatus_t check_mandatory(const struct dnn_descriptor *d)
{
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].of == d->type && rules[i].needed == MUST && !dnn_find(d, rules[i].name))
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d is missing", (int)rules[i].name);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_tensor(const struct dnn_descriptor *d)
{
    const struct dnn_attribute *dims = dnn_find(d, CUDNN_ATTR_TENSOR_DIMENSIONS),
                               *strides = dnn_find(d, CUDNN_ATTR_TENSOR_STRIDES);
    int64_t alignment = dnn_i64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0, 0);
    cudnnDataType_t type = (cudnnDataType_t)dnn_enum(d, CUDNN_ATTR_TENSOR_DATA_TYPE, -1);
    if (dims->count != strides->count) return dnn_fail(CUDNN_STATUS_BAD_PARAM, "as many strides as dimensions, please");
    for (int64_t i = 0; i < dims->count; i++)
        if (((const int64_t *)dims->values)[i] < 1 || ((const int64_t *)strides->values)[i] < 1)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "a dimension or stride below 1");
    if (alignment < 1 || alignment & (alignment - 1))
        return dnn_fail(CUDNN_STATUS_BAD_PARAM, "an alignment of %lld bytes", (long long)alignment);
    if (dims->count != 4 || dnn_type_bytes(type) == 0)
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in knows tensors of four dimensions, of f32, f16, bf16");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_window(const struct dnn_descriptor *d)
{
    static const cudnnBackendAttributeName_t pairs[] = {
        CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS,
        CUDNN_ATTR_CONVOLUTION_POST_PADDINGS};
    int64_t spatial = dnn_i64(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0, 0);
    for (size_t i = 0; i < 4; i++)
        if (dnn_find(d, pairs[i])->count != spatial)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d has not as many values as there are dimensions",
                            (int)pairs[i]);
    if (spatial != 2 || dnn_enum(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, -1) != CUDNN_CROSS_CORRELATION)
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in knows correlations in two dimensions");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_pack(const struct dnn_descriptor *d)
{
    const struct dnn_attribute *ids = dnn_find(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    if (ids->count != dnn_find(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->count)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM, "as many pointers as ids, please");
    for (int64_t i = 0; i < ids->count; i++)
        for (int64_t k = 0; k < i; k++)
            if (((const int64_t *)ids->values)[i] == ((const int64_t *)ids->values)[k])
                return dnn_fail(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two pointers for tensor %lld",
                                (long long)((const int64_t *)ids->values)[i]);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t dnn_rule_finalize(const struct dnn_descriptor *d)
{
    DNN_TRY(check_mandatory(d));
    switch (d->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return check_tensor(d);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return check_window(d);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return check_pack(d);
    default: return CUDNN_STATUS_SUCCESS;
    }
}
