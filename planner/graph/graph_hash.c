/* Field by field, never over a struct's padding; options by their resolved values. */
#include <string.h>

#include "graph_private.h"
#include "hash.h"

struct words {
    uint64_t hash;
    size_t count;
    uint64_t word[64];
};

static void flush(struct words *words)
{
    words->hash = hash_bytes(words->word, words->count * sizeof words->word[0], words->hash);
    words->count = 0;
}

static void put(struct words *words, uint64_t word)
{
    if (words->count == sizeof words->word / sizeof words->word[0]) flush(words);
    words->word[words->count++] = word;
}

static void put_spec(struct words *words, const struct model_spec *spec)
{
    flush(words);
    words->hash = hash_bytes(spec->name, strlen(spec->name), words->hash);
    put(words, (uint64_t)spec->family << 48 | (uint64_t)spec->dataset << 32 | (uint64_t)spec->unit << 16 |
                   (uint64_t)spec->shortcut);
    put(words, (uint64_t)spec->bottleneck << 32 | spec->depth);
    for (size_t i = 0; i < 4; i++) put(words, spec->units[i]);
    put(words, (uint64_t)spec->image_size << 32 | spec->classes);
    if (spec->image_width) put(words, (uint64_t)1 << 33 | spec->image_width);
    if (spec->bottleneck && (spec->stride_in == STRIDE_IN_3X3) != (spec->dataset == DATASET_IMAGENET))
        put(words, (uint64_t)1 << 35 | spec->stride_in);
    for (uint32_t i = 0; i < MODEL_NUMBERS; i++) {
        if (!model_number_is_told(spec, (enum model_number)i)) continue;
        uint64_t bits;
        memcpy(&bits, &spec->number[i], sizeof bits);
        put(words, (uint64_t)1 << 34 | i);
        put(words, bits);
    }
}

static void put_options(struct words *words, const struct graph_options *options)
{
    put(words, (uint64_t)options->batch << 32 | options->micro_batches);
    put(words, options->step_images);
    put(words, (uint64_t)options->dtype << 32 | (uint64_t)options->all_reduce << 1 | (uint64_t)options->sync_bn);
    put(words, options->bucket_bytes);
    if (options->lowering) put(words, options->lowering);
    if (options->frozen) put(words, (uint64_t)1 << 32 | options->frozen);
    if (options->freeze_bn) put(words, (uint64_t)1 << 33 | options->freeze_bn);
    if (options->bn_group) put(words, (uint64_t)1 << 36 | options->bn_group);
    if (options->reduce_dtype != DTYPE_F32 || options->reduce_apart)
        put(words, (uint64_t)options->reduce_dtype << 1 | (uint64_t)options->reduce_apart);
    const struct update_needs *update = &options->update;
    if (update->optimizer || update->clips || update->averages)
        put(words, (uint64_t)update->optimizer << 2 | (uint64_t)update->clips << 1 | (uint64_t)update->averages);
}

static void put_tensor(struct words *words, const struct tensor *t)
{
    put(words, (uint64_t)t->class << 48 | (uint64_t)t->role << 32 | (uint64_t)t->dtype << 16 |
                   (uint64_t)t->persistent << 1 | (uint64_t)t->gradient);
    put(words, (uint64_t)t->dims[0] << 32 | t->dims[1]);
    put(words, (uint64_t)t->dims[2] << 32 | t->dims[3]);
    put(words, (uint64_t)t->of << 32 | t->view_of);
    put(words, t->view_offset);
    put(words, t->bytes);
}

static uint64_t real_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* What is square has one word less. */
static void put_convolution(struct words *words, const struct op *op)
{
    const uint32_t *kernel = op->attr.conv.kernel, *padding = op->attr.conv.padding;
    put(words, (uint64_t)kernel[0] << 32 | op->attr.conv.stride);
    put(words, padding[0]);
    if (kernel[1] != kernel[0] || padding[1] != padding[0]) put(words, (uint64_t)kernel[1] << 32 | padding[1]);
    if (op->attr.conv.fused) put(words, op->attr.conv.fused);
}

static void put_attr(struct words *words, const struct op *op)
{
    switch (op->kind) {
    case OP_CONV:
    case OP_CONV_BWD_DATA:
    case OP_CONV_BWD_WEIGHTS: put_convolution(words, op); break;
    case OP_MAXPOOL:
    case OP_MAXPOOL_BWD:
    case OP_AVGPOOL:
    case OP_AVGPOOL_BWD:
        put(words, (uint64_t)op->attr.pool.kernel << 32 | op->attr.pool.stride);
        put(words, op->attr.pool.padding | (uint64_t)op->attr.pool.ceil << 32);
        break;
    case OP_BN_FINALIZE:
    case OP_BN_BWD_FINALIZE:
    case OP_BN_BWD_APPLY: put(words, op->attr.bn.rows << 1 | (uint64_t)op->attr.bn.whole); /* fall through */
    case OP_BN_APPLY:
    case OP_BN_BWD_SUMS:
    case OP_BN:
    case OP_BN_BWD:
        put(words, real_bits(op->attr.bn.epsilon) << 2 | (uint64_t)op->attr.bn.relu << 1 | (uint64_t)op->attr.bn.sync);
        break;
    case OP_SCALE:
    case OP_SCALE_BWD: put(words, real_bits(op->attr.scale.alpha) << 32 | real_bits(op->attr.scale.beta)); break;
    case OP_DROPOUT:
    case OP_DROPOUT_BWD: put(words, real_bits(op->attr.dropout.drop)); break;
    case OP_SHORTCUT_PAD:
    case OP_SHORTCUT_PAD_BWD: put(words, op->attr.shortcut.stride); break;
    case OP_SOFTMAX_LOSS:
    case OP_SOFTMAX_LOSS_BWD: put(words, op->attr.loss.images); break;
    case OP_CONCAT_BWD: put(words, op->attr.concat.first); break;
    case OP_GRADIENT_NORM:
    case OP_GRADIENT_CHECK: put(words, op->attr.check.first); break;
    default: break;
    }
}

static void put_op(struct words *words, const struct op *op)
{
    put(words, (uint64_t)op->kind << 32 | (uint64_t)op->pass << 24 | (uint64_t)op->inputs << 16 |
                   (uint64_t)op->outputs << 8 | op->in_place);
    put(words, (uint64_t)op->block << 32 | op->forward);
    for (uint32_t i = 0; i < op->inputs; i++) put(words, op->in[i]);
    for (uint32_t i = 0; i < op->outputs; i++) put(words, op->out[i]);
    put_attr(words, op);
}

uint64_t graph_hash(const struct graph *graph)
{
    struct words words = {0};
    put_spec(&words, &graph->spec);
    put_options(&words, &graph->options);
    for (size_t i = 0; i < graph->tensor_count; i++) put_tensor(&words, &graph->tensors[i]);
    for (size_t i = 0; i < graph->op_count; i++) put_op(&words, &graph->ops[i]);
    for (size_t i = 0; i < graph->block_count; i++)
        put(&words, (uint64_t)graph->blocks[i].first << 32 | graph->blocks[i].last);
    flush(&words);
    return words.hash;
}
