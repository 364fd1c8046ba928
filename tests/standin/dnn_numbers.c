#include <string.h>

#include "dnn.h"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3FFu;
    if (exponent == 31) return float_of(sign | 0x7F800000u | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    return float_of(sign | bits_of((float)fraction * 0x1p-24f));
}

static uint16_t to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7FFFFFFFu;
    if (size > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);
    if (size >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);
    if (size >= 0x38800000u) return (uint16_t)(sign | (size - 0x38000000u + 0xFFFu + (size >> 13 & 1u)) >> 13);
    return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
}

static uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

size_t dnn_type_bytes(cudnnDataType_t type)
{
    switch (type) {
    case CUDNN_DATA_FLOAT: return 4;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16: return 2;
    case CUDNN_DATA_BOOLEAN: return 1;
    default: return 0;
    }
}

float dnn_round(cudnnDataType_t type, float value)
{
    switch (type) {
    case CUDNN_DATA_HALF: return from_f16(to_f16(value));
    case CUDNN_DATA_BFLOAT16: return float_of((uint32_t)to_bf16(value) << 16);
    case CUDNN_DATA_BOOLEAN: return value != 0;
    default: return value;
    }
}

void dnn_load(cudnnDataType_t type, const void *from, float *to, size_t count)
{
    const uint16_t *halves = from;
    switch (type) {
    case CUDNN_DATA_HALF:
        for (size_t i = 0; i < count; i++) to[i] = from_f16(halves[i]);
        break;
    case CUDNN_DATA_BFLOAT16:
        for (size_t i = 0; i < count; i++) to[i] = float_of((uint32_t)halves[i] << 16);
        break;
    case CUDNN_DATA_BOOLEAN:
        for (size_t i = 0; i < count; i++) to[i] = ((const uint8_t *)from)[i];
        break;
    default: memcpy(to, from, count * sizeof *to);
    }
}

void dnn_store(cudnnDataType_t type, const float *from, void *to, size_t count)
{
    uint16_t *halves = to;
    switch (type) {
    case CUDNN_DATA_HALF:
        for (size_t i = 0; i < count; i++) halves[i] = to_f16(from[i]);
        break;
    case CUDNN_DATA_BFLOAT16:
        for (size_t i = 0; i < count; i++) halves[i] = to_bf16(from[i]);
        break;
    case CUDNN_DATA_BOOLEAN:
        for (size_t i = 0; i < count; i++) ((uint8_t *)to)[i] = from[i] != 0;
        break;
    default: memcpy(to, from, count * sizeof *from);
    }
}
