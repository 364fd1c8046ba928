/* What the files of this folder share: a GPU with its arena, streams, and an op prepared on it. */
#ifndef FATHOM_CUDA_DEVICE_H
#define FATHOM_CUDA_DEVICE_H

#include "backend.h"
#include "cuda_calls.h"
#include "kernel_image.h"

/* Beside the arena every device has this much for partial sums of its own kernels. One for all of them: only ops of the
 * computing stream use it, one after the other. In the plan as part of what the context holds (overheads.h). */
#define CUDA_SCRATCH_BYTES (8u << 20)
#define CUDA_SUMS_BYTES    (4u << 20) /* at most, of what a kernel's blocks sum (cuda_columns); behind it is room */

struct prepared;
struct cuda_convolutions; /* conv.c: cuDNN's handle and plans on a device */

/* How a backend prepares an op: adds to p what a launch does. */
typedef bool (*cuda_prepare_fn)(struct prepared *p, struct error *err);
struct cuda_table {
    const char *name;
    cuda_prepare_fn prepare[OP_KINDS]; /* NULL: the backend does not know it */
    bool naive; /* convolutions and products by own loops; never cuDNN */
};
extern const struct cuda_table cuda_fast_table, cuda_reference_table;

/* What pageable memory goes through, pinned: two halves in turn. */
#define CUDA_BOUNCE_BYTES (2u << 20) /* of a half */
struct cuda_bounce {
    uint8_t *memory;
    cudaEvent_t free[2]; /* recorded behind the last copy from or to a half */
    unsigned next;
};

struct pinned_block { const uint8_t *memory; uint64_t bytes; };

struct device {
    const struct vendor *vendor;
    const struct cuda_table *table;
    struct device_options options;
    struct cudaDeviceProp properties;
    uint8_t *arena; /* addresses on the device, as all of the following; one allocation with scratch and step */
    uint8_t *apart; /* the arena's last options.apart_bytes, where those are not zero: an allocation of NCCL's */
    bool apart_of_nccl; /* not of CUDA's, as where NCCL has none to give */
    uint64_t arena_bytes;
    uint8_t *host;  /* pinned; NULL before host_create */
    uint64_t host_bytes;
    struct step_block *step;
    uint8_t *scratch;
    cudaLibrary_t library;
    cudaKernel_t kernels[KERNELS];
    uint32_t together;                      /* blocks of such kernels that run at a time; 0: none are launched so */
    struct cuda_convolutions *convolutions; /* NULL until the first is prepared */
    struct group *group;                    /* NULL before group_join */
    bool has_peers;                         /* of the group: it reduces together with others */
    cudaStream_t own;                       /* what is not in stream order goes here */
    struct cuda_bounce bounce;
    struct pinned_block *pinned;            /* what pinned_create gave */
    size_t pinned_count, pinned_capacity;
    struct recording *recording;            /* that is being made; else NULL */
    bool spoilt;                            /* a call that failed has spoilt that, and nothing else */
    bool lost;                              /* a call failed: all others fail with the first error */
    bool busy;                              /* it may never end its work: what it holds is left to the process's end */
    struct error first;
};

struct stream {
    struct device *device;
    cudaStream_t handle;
};

/* Shared memory of a kernel that sums columns, `width` channels to a thread: two floats for each, then two doubles a
 * thread. */
#define CUDA_COLUMNS_SHARED(width) (KERNEL_THREADS * 8u * ((width) > 2 ? (width) : 2u))
#define CUDA_COLUMNS_WIDEST        8u

/* ---- A prepared op: what a launch does, in this order, on one stream ---- */

struct launch_shape {
    uint32_t blocks, blocks_y, threads; /* blocks_y 0 = 1 */
    uint32_t shared_bytes;              /* beside what the kernel declares */
    bool together;                      /* its blocks wait for each other: all run at a time, or the launch fails */
};

enum action_kind { ACTION_KERNEL, ACTION_COPY, ACTION_FILL, ACTION_CALL };
struct action {
    enum action_kind kind;
    union {
        struct { enum kernel_id id; struct launch_shape shape; void *arguments; } kernel; /* the last owned */
        struct { void *to; const void *from; uint64_t bytes; } copy;
        struct { void *at; uint64_t bytes; int byte; } fill;
        struct {
            bool (*run)(void *context, struct stream *stream, struct error *err);
            void (*release)(void *context);
            void *context; /* owned */
        } call;
    };
};

struct prepared {
    struct device *device;
    struct op_call call;
    struct action *actions;
    size_t count, capacity;
};

/* Each adds one action; what is passed is copied, or owned (context, also when it fails). ERROR_MEMORY. */
bool prepared_kernel(struct prepared *p, enum kernel_id id, struct launch_shape shape, const void *arguments,
                     size_t bytes, struct error *err);
bool prepared_copy(struct prepared *p, void *to, const void *from, uint64_t bytes, struct error *err);
bool prepared_fill(struct prepared *p, void *at, int byte, uint64_t bytes, struct error *err);
bool prepared_call(struct prepared *p, bool (*run)(void *context, struct stream *stream, struct error *err),
                   void (*release)(void *context), void *context, struct error *err);
/* Launches p's actions; releases them. */
bool prepared_launch(struct prepared *p, struct stream *stream, struct error *err);
/* Releases all but the first `count`; an action that runs may cut what comes after itself, which then does not run. */
void prepared_cut(struct prepared *p, size_t count);
void prepared_release(struct prepared *p);

/* Where a byte of the arena is. */
static inline uint8_t *device_at(const struct device *device, uint64_t offset)
{
    const uint64_t before = device->arena_bytes - device->options.apart_bytes;
    return device->apart && offset >= before ? device->apart + (offset - before) : device->arena + offset;
}

/* Its operands on the device; NULL where it has none in this pass. */
static inline void *op_in(const struct prepared *p, unsigned i)
{
    return i < p->call.op->inputs && p->call.in_tensor[i] ? device_at(p->device, p->call.in[i]) : NULL;
}
static inline void *op_out(const struct prepared *p, unsigned i)
{
    return i < p->call.op->outputs && p->call.out_tensor[i] ? device_at(p->device, p->call.out[i]) : NULL;
}
static inline void *op_workspace(const struct prepared *p)
{
    return p->call.workspace_bytes ? device_at(p->device, p->call.workspace) : NULL;
}

/* A kernel outside any op, at once. */
bool cuda_launch(struct device *device, enum kernel_id id, struct launch_shape shape, const void *arguments,
                 cudaStream_t stream, struct error *err);

/* Whether a convolution writes these sums (bn_layout.h): then they are f32. */
bool bn_sums_are_single(const struct graph *graph, uint32_t sums);

/* Whether somebody asked for an end (backend.h); any thread. */
bool device_is_stopped(const struct device *device);
/* Tells who hears of the device, a printf of a sentence; passing: that others follow. */
__attribute__((format(printf, 3, 4))) void device_tell(const struct device *device, bool passing, const char *format, ...);

/* conv.c */
bool cuda_prepare_convolution(struct prepared *p, struct error *err);
void cuda_convolutions_destroy(struct cuda_convolutions *convolutions); /* takes NULL */

#endif
