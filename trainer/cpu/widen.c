/* Ops on 16-bit activations by kernels that know f32 alone: operands are widened into the op's workspace, results
 * rounded back from there, a piece of the batch at a time where the op allows. A whole copy in f32 of the largest
 * tensors would cost what 16 bits save; and a piece stays in the processor's cache. */
#include "convert.h"
#include "cpu_device.h"
#include "loops.h"
#include "mem.h"
#include "parallel.h"

#define ALIGN         64u
#define PIECE_BYTES   (4u << 20) /* of f32 copies, about what two cores' caches hold */
#define MOST_OPERANDS (OP_MOST_INPUTS + OP_MOST_OUTPUTS)

/* ---- Elements ---- */

struct conversion {
    const struct conversions *loops;
    enum dtype dtype;
    const void *in;
    void *out;
};

static void widen_range(const void *context, uint64_t first, uint64_t last)
{
    const struct conversion *c = context;
    half_to_floats(c->loops, c->dtype, (const uint16_t *)c->in + first, (float *)c->out + first, last - first);
}

static void narrow_range(const void *context, uint64_t first, uint64_t last)
{
    const struct conversion *c = context;
    floats_to_half(c->loops, c->dtype, (const float *)c->in + first, (uint16_t *)c->out + first, last - first);
}

void widen_elements(enum dtype dtype, const void *half, float *out, uint64_t count)
{
    struct conversion c = {conversions_best(), dtype, half, out};
    parallel_run(count, count, widen_range, &c);
}

void narrow_elements(enum dtype dtype, const float *in, void *half, uint64_t count)
{
    struct conversion c = {conversions_best(), dtype, in, half};
    parallel_run(count, count, narrow_range, &c);
}

/* ---- Which operands go by images ---- */

/* Bit i = operand i has the batch's images; other outputs are sums over them. Zero = the op wants the whole batch. */
struct by_images {
    uint8_t in, out;
};

static struct by_images images_of(const struct cpu_table *table, const struct op *op)
{
    bool conv = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
    if (table->kernels[op->kind].half != HALF_IMAGES || (conv && op->attr.conv.fused)) return (struct by_images){0, 0};
    switch (op->kind) {
    case OP_CONV: return (struct by_images){1, 1};
    case OP_CONV_BWD_DATA: return (struct by_images){1, 1};
    case OP_CONV_BWD_WEIGHTS: return (struct by_images){3, 0};
    case OP_MAXPOOL: return (struct by_images){1, 3};
    case OP_MAXPOOL_BWD: return (struct by_images){3, 1};
    default: return (struct by_images){1, 1};
    }
}

/* ---- Pieces ---- */

/* How an operand looks to the kernel. */
struct piece_operand {
    struct tensor tensor; /* in f32, with the images of a piece */
    enum dtype dtype;     /* as it is in the arena */
    uint64_t step;        /* bytes from image to image there; 0: all pieces have the same */
    uint64_t scratch;     /* where in the workspace the kernel finds it; IN_PLACE: where it is */
    bool sum;             /* an output to which every piece adds */
};
#define IN_PLACE UINT64_MAX

struct piece {
    uint32_t images;
    struct piece_operand operands[MOST_OPERANDS]; /* inputs, then outputs from OP_MOST_INPUTS on */
    uint64_t scratch_bytes;
    struct prepared kernel;
};

struct widened {
    uint32_t images;        /* of the batch */
    struct piece pieces[2]; /* of `pieces[0].images`, and of the images that are left */
};

static bool is_half(const struct tensor *tensor) { return tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16; }

static bool has_half(const struct op_call *call)
{
    for (unsigned i = 0; i < call->op->inputs; i++)
        if (is_half(call->in_tensor[i])) return true;
    for (unsigned i = 0; i < cpu_outputs(call); i++)
        if (is_half(call->out_tensor[i])) return true;
    return false;
}

bool widen_is_needed(const struct cpu_table *table, const struct op_call *call)
{
    const struct cpu_kernel *kernel = &table->kernels[call->op->kind];
    if (call->pass == PASS_OFFLOAD || call->pass == PASS_FETCH || !has_half(call)) return false;
    if (call->pass == PASS_RECONSTRUCT) return table->kernels[OP_ADD].half != HALF_OWN;
    return kernel->half_reads ? !kernel->half_reads(call) : kernel->half != HALF_OWN;
}

bool widen_may_be_needed(const struct cpu_table *table, const struct op_call *call)
{
    const bool computes = call->pass != PASS_OFFLOAD && call->pass != PASS_FETCH && call->pass != PASS_RECONSTRUCT;
    return computes && has_half(call) && table->kernels[call->op->kind].half != HALF_OWN;
}

/* Bytes in f32 of one image of everything that is widened. */
static uint64_t copied_bytes(const struct op_call *call, struct by_images by)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < call->op->inputs; i++)
        if ((by.in >> i & 1) && is_half(call->in_tensor[i])) bytes += tensor_elements(call->in_tensor[i]);
    for (unsigned i = 0; i < cpu_outputs(call); i++)
        if ((by.out >> i & 1) && is_half(call->out_tensor[i])) bytes += tensor_elements(call->out_tensor[i]);
    return bytes * sizeof(float) / call->in_tensor[0]->dims[0];
}

/* Pieces of about equal size. They depend on shapes alone, so that sums over them have the same bits everywhere. */
static uint32_t piece_images(const struct op_call *call, struct by_images by)
{
    uint32_t images = call->in_tensor[0]->dims[0];
    if (by.in == 0) return images;
    uint64_t most = PIECE_BYTES / (copied_bytes(call, by) + 1);
    if (most >= images) return images;
    if (most == 0) return 1;
    uint64_t pieces = (images + most - 1) / most;
    return (uint32_t)((images + pieces - 1) / pieces);
}

static uint64_t take_scratch(struct piece *piece, const struct tensor *tensor)
{
    uint64_t at = piece->scratch_bytes;
    piece->scratch_bytes += (tensor_elements(tensor) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static void lay_operand(struct piece *piece, unsigned i, const struct tensor *tensor, uint32_t images, bool by_image,
                        bool adds)
{
    struct piece_operand *o = &piece->operands[i];
    *o = (struct piece_operand){.tensor = *tensor, .dtype = tensor->dtype, .scratch = IN_PLACE, .sum = adds};
    if (by_image) {
        o->tensor.dims[0] = piece->images;
        o->step = tensor->bytes / images;
    }
    if (is_half(tensor)) o->tensor.dtype = DTYPE_F32;
    o->tensor.bytes = dtype_bytes(o->tensor.dtype, tensor_elements(&o->tensor));
    if (is_half(tensor) || adds) o->scratch = take_scratch(piece, &o->tensor);
}

/* The kernel's call for a piece; its addresses are set when it runs. The piece must not move any more. What all pieces
 * read comes first, so that it is at the same place for each and is widened once. */
static void lay_piece(struct piece *piece, const struct op_call *call, struct by_images by, uint32_t images)
{
    uint32_t batch = call->in_tensor[0]->dims[0];
    struct op_call *inner = &piece->kernel.call;
    *piece = (struct piece){.images = images};
    *inner = *call;
    for (unsigned by_image = 0; by_image < 2; by_image++)
        for (unsigned i = 0; i < call->op->inputs; i++) {
            if ((by.in >> i & 1) != by_image) continue;
            lay_operand(piece, i, call->in_tensor[i], batch, by_image, false);
            inner->in_tensor[i] = &piece->operands[i].tensor;
        }
    for (unsigned i = 0; i < cpu_outputs(call); i++) {
        unsigned at = OP_MOST_INPUTS + i;
        bool by_image = by.out >> i & 1;
        lay_operand(piece, at, call->out_tensor[i], batch, by_image, by.in && !by_image && images < batch);
        inner->out_tensor[i] = &piece->operands[at].tensor;
    }
}

/* Sizes of the two pieces; the second is 0 when the first divides the batch. */
static void size_pieces(const struct cpu_table *table, const struct op_call *call, struct by_images *by,
                        uint32_t images[2])
{
    *by = images_of(table, call->op);
    images[0] = piece_images(call, *by);
    images[1] = call->in_tensor[0]->dims[0] % images[0];
}

bool widen_workspace(const struct cpu_table *table, const struct op_call *call, uint64_t *bytes, struct error *err)
{
    struct by_images by;
    uint32_t images[2];
    size_pieces(table, call, &by, images);
    *bytes = 0;
    for (int i = 0; i < 2 && images[i]; i++) {
        struct piece piece;
        uint64_t own = 0;
        lay_piece(&piece, call, by, images[i]);
        TRY(cpu_kernel_workspace(table, &piece.kernel.call, &own, err));
        if (piece.scratch_bytes + own > *bytes) *bytes = piece.scratch_bytes + own;
    }
    return true;
}

/* ---- Running ---- */

static uint8_t *scratch_of(const struct prepared *p, const struct piece_operand *o)
{
    return p->device->arena + p->call.workspace + o->scratch;
}

static void bring_inputs(const struct prepared *p, const struct piece *piece, uint32_t image, struct op_call *call)
{
    for (unsigned i = 0; i < call->op->inputs; i++) {
        const struct piece_operand *o = &piece->operands[i];
        uint64_t from = p->call.in[i] + image * o->step;
        call->in[i] = o->scratch == IN_PLACE ? from : p->call.workspace + o->scratch;
        if (o->scratch != IN_PLACE && (o->step || image == 0))
            widen_elements(o->dtype, p->device->arena + from, (float *)scratch_of(p, o), tensor_elements(&o->tensor));
    }
}

/* The first piece's sums go to their place at once. */
static bool is_placed(const struct piece_operand *o, uint32_t image)
{
    return o->scratch == IN_PLACE || (o->sum && image == 0);
}

static void place_outputs(const struct prepared *p, const struct piece *piece, uint32_t image, struct op_call *call)
{
    for (unsigned i = 0; i < cpu_outputs(&p->call); i++) {
        const struct piece_operand *o = &piece->operands[OP_MOST_INPUTS + i];
        call->out[i] = is_placed(o, image) ? p->call.out[i] + image * o->step : p->call.workspace + o->scratch;
    }
}

struct sum {
    float *sum;
    const float *part;
};

static void add_range(const void *context, uint64_t first, uint64_t last)
{
    const struct sum *s = context;
    loops_best()->add(s->sum + first, s->sum + first, s->part + first, last - first);
}

static void take_outputs(const struct prepared *p, const struct piece *piece, uint32_t image)
{
    for (unsigned i = 0; i < cpu_outputs(&p->call); i++) {
        const struct piece_operand *o = &piece->operands[OP_MOST_INPUTS + i];
        uint8_t *to = p->device->arena + p->call.out[i] + image * o->step;
        uint64_t count = tensor_elements(&o->tensor);
        if (is_placed(o, image)) continue;
        const float *made = (const float *)scratch_of(p, o);
        if (o->sum)
            parallel_run(count, count, add_range, &(struct sum){(float *)to, made});
        else
            narrow_elements(o->dtype, made, to, count);
    }
}

static bool run_widened(const struct prepared *p, struct error *err)
{
    const struct widened *w = p->widened;
    for (uint32_t image = 0; image < w->images;) {
        const struct piece *piece = &w->pieces[w->images - image < w->pieces[0].images];
        struct prepared kernel = piece->kernel;
        bring_inputs(p, piece, image, &kernel.call);
        place_outputs(p, piece, image, &kernel.call);
        TRY(kernel.run(&kernel, err));
        take_outputs(p, piece, image);
        image += piece->images;
    }
    return true;
}

bool widen_prepare(struct prepared *p, uint64_t *needed, struct error *err)
{
    struct by_images by;
    uint32_t images[2];
    struct widened *w = p->widened = mem_zalloc(MEM_KERNEL, 1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, "an op on 16-bit activations");
    size_pieces(p->device->table, &p->call, &by, images);
    w->images = p->call.in_tensor[0]->dims[0];
    *needed = 0;
    for (int i = 0; i < 2 && images[i]; i++) {
        struct piece *piece = &w->pieces[i];
        uint64_t own = 0;
        lay_piece(piece, &p->call, by, images[i]);
        piece->kernel.device = p->device;
        piece->kernel.run = p->run;
        piece->kernel.call.workspace = p->call.workspace + piece->scratch_bytes;
        TRY(cpu_find_kernel(&piece->kernel, &own, err));
        if (piece->scratch_bytes + own > *needed) *needed = piece->scratch_bytes + own;
    }
    p->run = run_widened;
    p->onednn = w->pieces[0].kernel.onednn;
    return true;
}

void widen_release(struct widened *widened) { mem_free(widened); }
