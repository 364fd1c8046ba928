#include "cuda_ops.h"
#include "mem.h"

_Static_assert(DTYPE_F32 == 0 && DTYPE_F16 == 1 && DTYPE_BF16 == 2, "kernels of a family are in the order of dtypes");

static bool see_dtype(const struct prepared *p, const struct tensor *tensor, bool *seen, enum dtype *dtype,
                      struct error *err)
{
    if (!tensor) return true;
    if (tensor->dtype > DTYPE_BF16)
        return error_set(err, ERROR_FAILED, "op %s: the cuda backend has no kernel for %s",
                         op_kind_name(p->call.op->kind), dtype_name(tensor->dtype));
    if (*seen && tensor->dtype != *dtype)
        return error_set(err, ERROR_FAILED, "op %s: operands of %s and of %s; the cuda backend wants one type",
                         op_kind_name(p->call.op->kind), dtype_name(*dtype), dtype_name(tensor->dtype));
    *seen = true;
    *dtype = tensor->dtype;
    return true;
}

bool cuda_op_dtype(const struct prepared *p, unsigned inputs, unsigned outputs, enum dtype *dtype, struct error *err)
{
    bool seen = false;
    *dtype = DTYPE_F32;
    for (unsigned i = 0; i < p->call.op->inputs; i++)
        if (inputs >> i & 1) TRY(see_dtype(p, p->call.in_tensor[i], &seen, dtype, err));
    for (unsigned i = 0; i < p->call.op->outputs; i++)
        if (outputs >> i & 1) TRY(see_dtype(p, p->call.out_tensor[i], &seen, dtype, err));
    return true;
}

struct launch_shape cuda_grid(const struct prepared *p, uint64_t items)
{
    const uint64_t most = 8u * (uint64_t)p->device->properties.multiProcessorCount; /* 2,048 threads each */
    uint64_t blocks = (items + KERNEL_THREADS - 1) / KERNEL_THREADS;
    if (blocks == 0) blocks = 1;
    return (struct launch_shape){.blocks = (uint32_t)(blocks < most ? blocks : most), .threads = KERNEL_THREADS};
}

uint64_t cuda_vectors(uint64_t elements, uint64_t element_bytes, const void *a, const void *b, const void *c)
{
    const bool aligned = ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
    return aligned ? elements * element_bytes / 16 : 0;
}

uint32_t cuda_width(uint32_t channels, uint32_t other_channels, const void *a, const void *b, const void *c)
{
    const bool aligned = ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
    return aligned && channels % 8 == 0 && other_channels % 8 == 0 ? 8 : 1;
}

/* Kernels count what they go over in 32 bits. */
static bool check_count(const struct prepared *p, uint64_t count, struct error *err)
{
    if (count < 1u << 31) return true;
    return error_set(err, ERROR_FAILED,
                     "op %s: %llu groups of channels in a tensor, and the cuda backend counts to 2^31",
                     op_kind_name(p->call.op->kind), (unsigned long long)count);
}

bool cuda_pixels(const struct prepared *p, const struct tensor *image, uint32_t width, struct kernel_image *dims,
                 struct launch_shape *shape, struct error *err)
{
    const uint32_t *d = image->dims;
    const uint64_t groups = tensor_elements(image) / width;
    TRY(check_count(p, groups, err));
    *dims = (struct kernel_image){d[0], d[1], d[2], d[3]};
    *shape = cuda_grid(p, groups);
    return true;
}

/* Blocks that sum: the shape alone says how many, so that all GPUs give the same bits. Two for each multiprocessor of a
 * GPU that has 128 have enough loads under way (columns.cuh); with more the last one, which sums what all have, would
 * take longer than they. */
#define MOST_SUMMING 256u
/* Of what is read once and written. */
#define MOST_BLOCKS 1024u

static uint32_t divide_up(uint64_t a, uint64_t b) { return (uint32_t)((a + b - 1) / b); }

/* Of 16 bits a line of 128 bytes: narrow, so that sums of many channels end in several blocks, unless there are too
 * many. */
static uint32_t widest_tile(uint32_t width, uint32_t vectors)
{
    if (width != 8) return KERNEL_THREADS;
    return vectors <= 8 * KERNEL_COUNTERS ? 8 : 32;
}

/* In at most so many blocks. */
static bool cut_columns(const struct prepared *p, const struct tensor *x, uint32_t width, uint32_t blocks_at_most,
                        struct kernel_columns *columns, struct launch_shape *shape, struct error *err)
{
    const uint32_t channels = x->dims[3], vectors = channels / width, widest = widest_tile(width, vectors);
    const uint32_t tiles = divide_up(vectors, widest), tile = divide_up(vectors, tiles), lanes = KERNEL_THREADS / tile;
    const uint64_t rows = tensor_elements(x) / channels;
    const uint32_t most = blocks_at_most / tiles;
    TRY(check_count(p, rows, err));
    if (tiles > KERNEL_COUNTERS)
        return error_set(err, ERROR_FAILED, "op %s: %u channels are more than the cuda backend can sum",
                         op_kind_name(p->call.op->kind), (unsigned)channels);
    /* Four rows a thread, if there are so many: enough to have loads under way. */
    uint32_t blocks = divide_up(rows, 4ull * lanes);
    if (blocks > most) blocks = most ? most : 1;
    const uint32_t chunk = divide_up(divide_up(rows, blocks), lanes) * lanes;
    *columns = (struct kernel_columns){(uint32_t)rows, channels, width, tile, lanes, chunk};
    *shape = (struct launch_shape){.blocks = divide_up(rows, chunk), .blocks_y = tiles, .threads = KERNEL_THREADS};
    return true;
}

bool cuda_columns(const struct prepared *p, const struct tensor *x, uint32_t width, struct kernel_columns *columns,
                  struct launch_shape *shape, struct error *err)
{
    const uint32_t running = 8u * (uint32_t)p->device->properties.multiProcessorCount;
    return cut_columns(p, x, width, running < MOST_BLOCKS ? running : MOST_BLOCKS, columns, shape, err);
}

bool cuda_columns_summed(const struct prepared *p, const struct tensor *x, uint32_t width,
                         struct kernel_columns *columns, struct launch_shape *shape, struct error *err)
{
    TRY(cut_columns(p, x, width, MOST_SUMMING, columns, shape, err));
    shape->shared_bytes = CUDA_COLUMNS_SHARED(width);
    return true;
}

/* A GPU's second cache holds most of it when it is read again. No GPU has been asked where two launches are faster. */
#define TOGETHER_BYTES (40u << 20)

/* How many blocks run at a time, and so begin: of a GPU that sums with others three quarters, as NCCL's run until all
 * have come, and a launch that wants more than the rest would wait for the sum's end. NCCL has a block for each
 * channel, and two channels for each path that it finds between GPUs (ncclTopoPostset in its graph/connect.cc): by its
 * logs 24 on A100 (108 multiprocessors, so 27 are left) and on H100 PCIe with bridges (114), 2 on RTX 4090 and 4 on RTX
 * 5090, which have PCIe alone; of the up to 32 of other H100 (132) the quarter is 33. No GPU has confirmed that so many
 * are left. */
static uint32_t most_together(const struct device *device)
{
    const uint32_t all = device->together, beside = device->has_peers ? all - (all + 3) / 4 : all;
    return beside < MOST_SUMMING ? beside : MOST_SUMMING;
}

bool cuda_columns_together(const struct prepared *p, const struct tensor *x, uint32_t width,
                           struct kernel_columns *columns, struct launch_shape *shape, struct error *err)
{
    const uint32_t most = most_together(p->device);
    *shape = (struct launch_shape){0};
    if (most == 0 || x->bytes > TOGETHER_BYTES) return true;
    TRY(cut_columns(p, x, width, most, columns, shape, err));
    shape->shared_bytes = CUDA_COLUMNS_SHARED(width);
    shape->together = shape->blocks * shape->blocks_y <= most;
    return true;
}

/* ---- Sums over devices ---- */

struct group_summing {
    struct group *group;
    enum group_purpose purpose;
    const void *in;
    void *out;
    uint64_t count;
    enum dtype dtype;
};

static bool sum_over_group(void *context, struct stream *stream, struct error *err)
{
    const struct group_summing *s = context;
    return group_sum(s->group, s->purpose, s->in, s->out, s->count, s->dtype, stream, err);
}

bool cuda_add_group_sum(struct prepared *p, enum group_purpose purpose, const void *in, void *out, uint64_t count,
                        enum dtype dtype, struct error *err)
{
    TRY(group_prepare(p->device->group, purpose, err));
    struct group_summing *s = mem_alloc(MEM_KERNEL, 1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s, "a prepared sum over devices");
    *s = (struct group_summing){p->device->group, purpose, in, out, count, dtype};
    return prepared_call(p, sum_over_group, mem_free, s, err);
}
