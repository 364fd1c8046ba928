/* What the files of this folder share: a virtual device, an op prepared on it, and the table of kernels. */
#ifndef FATHOM_CPU_DEVICE_H
#define FATHOM_CPU_DEVICE_H

#include "backend.h"
#include "convert.h"
#include "cpu_group.h"
#include "onednn.h"

struct prepared;

/* What an op kind does with 16-bit operands: it knows f32 alone, and sees f32 copies of all of them or of some images at a
 * time (widen.c), or it reads and writes 16 bits itself. */
enum half_way { HALF_WHOLE, HALF_IMAGES, HALF_OWN };

/* How one op kind runs. */
struct cpu_kernel {
    bool (*run)(const struct prepared *p, struct error *err);
    /* Scratch beyond the tensors; NULL = none. */
    bool (*workspace)(const struct op_call *call, uint64_t *bytes, struct error *err);
    /* True when the op is a oneDNN primitive, whose *shape it fills; its workspace and preparation are then oneDNN's.
     * NULL = never. */
    bool (*onednn)(const struct op_call *call, struct onednn_shape *shape);
    /* Scratch of the op's own that comes before oneDNN's, a multiple of 64 bytes; NULL = none. */
    uint64_t (*before)(const struct op_call *call);
    /* What runs it where oneDNN does not; NULL = "own". */
    const char *(*own_name)(const struct op_call *call);
    enum half_way half;
    bool (*half_reads)(const struct op_call *call); /* whether itself, of this shape; NULL = always if HALF_OWN, else never */
};

struct cpu_table {
    struct cpu_kernel kernels[OP_KINDS];
    bool (*reconstruct)(const struct prepared *p, struct error *err); /* an OP_ADD turned round: in[0] - in[1] */
    bool blocked_weights; /* parameters are kept in weight_layout's order; else canonical */
};
extern const struct cpu_table cpu_fast_table, cpu_reference_table;

struct device {
    const struct cpu_table *table;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint8_t *host; /* NULL before host_create */
    uint64_t host_bytes;
    struct device_options options;
    uint32_t threads;
    bool halted; /* a loss was not finite: nothing is updated any more */
    struct step step;
    struct group *group; /* NULL before group_join */
    struct onednn *onednn;
};

struct prepared {
    struct op_call call;
    struct device *device;
    bool (*run)(const struct prepared *p, struct error *err);
    struct widened *widened;      /* NULL unless operands of 16 bits are widened for it */
    struct onednn_kernel *onednn; /* shared by all ops of the same shape on the device; NULL for own loops */
};

/* The op's tensors in the arena. */
static inline const void *op_in(const struct prepared *p, unsigned i) { return p->device->arena + p->call.in[i]; }
static inline void *op_out(const struct prepared *p, unsigned i) { return p->device->arena + p->call.out[i]; }
static inline void *op_scratch(const struct prepared *p) { return p->device->arena + p->call.workspace; }

/* Statistics of op p are taken over several devices. */
static inline bool op_synchronised(const struct prepared *p)
{
    return p->call.op->attr.bn.sync && p->device->group && group_count(p->device->group) > 1;
}

/* n elements between f32 and the 16 bits of `dtype`. */
static inline void half_to_floats(const struct conversions *loops, enum dtype dtype, const uint16_t *in, float *out,
                                  uint64_t n)
{
    (dtype == DTYPE_F16 ? loops->from_f16 : loops->from_bf16)(out, in, n);
}
static inline void floats_to_half(const struct conversions *loops, enum dtype dtype, const float *in, uint16_t *out,
                                  uint64_t n)
{
    (dtype == DTYPE_F16 ? loops->to_f16 : loops->to_bf16)(out, in, n);
}

/* Outputs that have a place: when evaluating, only an op's result; the rest is for the backward pass. */
unsigned cpu_outputs(const struct op_call *call);

/* A kernel's own workspace; the op's oneDNN kernel, if it has one, and the workspace it needs (cpu_kernels.c). */
bool cpu_kernel_workspace(const struct cpu_table *table, const struct op_call *call, uint64_t *bytes,
                          struct error *err);
bool cpu_find_kernel(struct prepared *p, uint64_t *needed, struct error *err);

/* Ops whose kernels cannot read their operands (widen.c). Preparing one sets p->widened, p->run and the workspace. */
struct widened;
bool widen_is_needed(const struct cpu_table *table, const struct op_call *call);
/* Here or on processors that multiply less: plans hold on both. */
bool widen_may_be_needed(const struct cpu_table *table, const struct op_call *call);
bool widen_workspace(const struct cpu_table *table, const struct op_call *call, uint64_t *bytes, struct error *err);
bool widen_prepare(struct prepared *p, uint64_t *needed, struct error *err);
void widen_release(struct widened *widened); /* takes NULL */
/* count elements from f32 to the 16 bits of `dtype`, on the calling thread's team. */
void narrow_elements(enum dtype dtype, const float *in, void *half, uint64_t count);
void widen_elements(enum dtype dtype, const void *half, float *out, uint64_t count);

/* The stream of random numbers of dropout op `op_index` in the device's present step (random.h). */
uint64_t dropout_stream(const struct device *device, uint32_t op_index);
/* A word below this drops its element. */
uint32_t dropout_threshold(float drop);
/* The forward op whose mask dropout op p uses. */
uint32_t dropout_op(const struct prepared *p);

/* oneDNN's part of the workspace. */
static inline void *op_onednn_scratch(const struct prepared *p)
{
    const struct cpu_kernel *kernel = &p->device->table->kernels[p->call.op->kind];
    return (uint8_t *)op_scratch(p) + (kernel->before ? kernel->before(&p->call) : 0);
}

/* Ops that both tables share. */
bool cpu_run_all_reduce(const struct prepared *p, struct error *err);
bool cpu_run_softmax_loss(const struct prepared *p, struct error *err);
bool cpu_run_softmax_loss_backward(const struct prepared *p, struct error *err);
bool cpu_run_gradient_check(const struct prepared *p, struct error *err);
bool cpu_run_loss_scale_update(const struct prepared *p, struct error *err);
bool cpu_run_weights_copy(const struct prepared *p, struct error *err);
bool cpu_run_gradients_widen(const struct prepared *p, struct error *err);
bool cpu_run_input(const struct prepared *p, struct error *err);

/* Batch normalisation, naive and fast: both in files of their own. */
bool cpu_reference_bn(const struct prepared *p, struct error *err);
bool cpu_reference_bn_backward(const struct prepared *p, struct error *err);
bool cpu_reference_bn_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);
bool cpu_bn(const struct prepared *p, struct error *err);
bool cpu_bn_backward(const struct prepared *p, struct error *err);
bool cpu_bn_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);
bool cpu_bn_reads_half(const struct op_call *call);

/* Convolutions and parts of batch normalisation as lowered graphs have them: oneDNN's convolutions, own loops around
 * them. */
bool cpu_conv_reads_half(const struct op_call *call); /* no gradient of weights, in bf16 where oneDNN multiplies that */
uint64_t cpu_conv_before(const struct op_call *call);
bool cpu_conv(const struct prepared *p, struct error *err);
bool cpu_conv_backward_data(const struct prepared *p, struct error *err);
bool cpu_conv_backward_weights(const struct prepared *p, struct error *err);
bool cpu_bn_sums(const struct prepared *p, struct error *err);
bool cpu_bn_apply(const struct prepared *p, struct error *err);
bool cpu_bn_backward_sums(const struct prepared *p, struct error *err);
bool cpu_bn_backward_apply(const struct prepared *p, struct error *err);
bool cpu_bn_backward_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);

/* Fully connected layers that are not oneDNN's. */
bool cpu_fc_is_own(const struct tensor *weights);
void cpu_fc(const struct prepared *p);
void cpu_fc_backward_data(const struct prepared *p);
void cpu_fc_backward_weights(const struct prepared *p);

#endif
