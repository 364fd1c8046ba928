/* The half of the stand-in that is cuDNN: descriptors, graphs of ops, plans that interpret them. */
#ifndef FATHOM_STANDIN_DNN_H
#define FATHOM_STANDIN_DNN_H

#include <cudnn.h>

#include "vendor.h"

/* ---- Numbers of the device ---- */

/* A type's rounding of a float, to nearest, ties to even. */
float dnn_round(cudnnDataType_t type, float value);
/* `count` numbers that lie together, of f32, f16, bf16, or booleans of a byte. */
void dnn_load(cudnnDataType_t type, const void *from, float *to, size_t count);
void dnn_store(cudnnDataType_t type, const float *from, void *to, size_t count);
size_t dnn_type_bytes(cudnnDataType_t type); /* 0: not a type that is known here */

/* ---- Graphs of ops ---- */

#define MOST_TENSORS 64u
#define MOST_OPS     32u
#define MOST_IN      5u
#define MOST_OUT     5u
#define NONE         UINT32_MAX

struct dnn_tensor {
    int64_t id, dims[4], strides[4], alignment; /* N C H W */
    cudnnDataType_t type;
    bool inner; /* virtual */
};

enum dnn_kind { DNN_FORWARD, DNN_DATA, DNN_WEIGHTS, DNN_POINTWISE, DNN_STATISTICS, DNN_BN_WEIGHTS, DNN_REDUCTION };

/* Operands by kind, NONE where there is none:
 * FORWARD x w -> y; DATA dy w -> dx; WEIGHTS x dy -> dw; POINTWISE x b t dy -> y; STATISTICS x -> sum, squares;
 * BN_WEIGHTS mean deviation scale x dy -> dscale dbias, and of dx = A dy + B x + C: A B C; REDUCTION x -> y. */
struct dnn_op {
    enum dnn_kind kind;
    int mode; /* pointwise, reduction */
    uint32_t in[MOST_IN], out[MOST_OUT];
    int64_t padding[2], stride[2], dilation[2];
    float alpha, beta;
};

struct dnn_graph {
    struct dnn_tensor tensors[MOST_TENSORS];
    struct dnn_op ops[MOST_OPS]; /* each after those whose results it reads */
    uint32_t tensor_count, op_count;
};

/* Of one engine for one graph: what became of its plans, and how long it takes where that is made up. */
struct dnn_record {
    uint64_t graph;
    int64_t engine, workspace_bytes;
    double ms;
    bool nondeterministic;
    uint64_t builds, loads, executes;
    struct dnn_record *next;
};
struct dnn_record *dnn_record_of(const struct dnn_graph *graph, int64_t engine);
extern struct dnn_record *dnn_records;

struct cudnnContext {
    unsigned users; /* plans, and who made it while it is alive */
    bool alive, busy;
    cudaStream_t stream;
    struct device *device;
};
void dnn_handle_give(struct cudnnContext *handle);
/* Who uses it has it for itself. */
void dnn_handle_touch(const struct cudnnContext *handle);

struct dnn_plan {
    unsigned users;
    struct dnn_graph graph;
    int64_t engine, workspace_bytes;
    bool executed;
    struct cudnnContext *handle; /* that it was made with; NULL: for a described device */
    struct dnn_record *record;
};

/* Interprets the graph; data: of each tensor, NULL for inner ones. Tells what it reads and writes. */
void dnn_run(const struct dnn_plan *plan, void *const *data, void *workspace);
/* `engine` computes with TF32. */
bool dnn_is_tf32(const struct dnn_plan *plan);

struct dnn_window {
    int64_t images, height, width, channels, rows, columns, filters, kernel[2], padding[2], stride[2], dilation[2];
};
/* NHWC, weights KRSC; results are written whole. */
void dnn_forward(const struct dnn_window *g, const float *x, const float *w, float *y);
void dnn_data(const struct dnn_window *g, const float *dy, const float *w, float *dx);
void dnn_weights(const struct dnn_window *g, const float *x, const float *dy, float *dw);

/* ---- Descriptors ---- */

struct dnn_attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    void *values; /* descriptors: a use of each */
};

struct dnn_descriptor {
    cudnnBackendDescriptorType_t type;
    unsigned users;
    bool finalized, busy; /* busy: another thread is finalizing it */
    struct dnn_attribute *attributes;
    unsigned attribute_count;
    struct dnn_graph *graph; /* of an op graph */
    struct dnn_plan *plan;   /* of a plan */
};

/* Fails with `status` and these words, which cudnnGetLastErrorString gives. */
__attribute__((format(printf, 2, 3))) cudnnStatus_t dnn_fail(cudnnStatus_t status, const char *format, ...);
#define DNN_TRY(call)                                                                                                  \
    do {                                                                                                               \
        cudnnStatus_t tried = (call);                                                                                  \
        if (tried != CUDNN_STATUS_SUCCESS) return tried;                                                               \
    } while (0)

struct dnn_descriptor *dnn_new(cudnnBackendDescriptorType_t type);
void dnn_give(struct dnn_descriptor *d); /* one use less */
const struct dnn_attribute *dnn_find(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name);
/* The n-th value, as it was set; `otherwise` where it was not. */
int64_t dnn_i64(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, unsigned n, int64_t otherwise);
int dnn_enum(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, int otherwise);
bool dnn_bool(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name);
double dnn_real(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, double otherwise);
struct dnn_descriptor *dnn_part(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name);
/* Whatever the rules say; values are copied, descriptors get a use more. */
void dnn_put(struct dnn_descriptor *d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
             int64_t count, const void *values);
size_t dnn_value_bytes(cudnnBackendAttributeType_t type);

/* What may be set, of which type, how often; what has to be. */
cudnnStatus_t dnn_rule_set(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name,
                           cudnnBackendAttributeType_t type, int64_t count);
cudnnStatus_t dnn_rule_finalize(const struct dnn_descriptor *d);
bool dnn_type_known(cudnnBackendDescriptorType_t type);

/* By kind of descriptor, at finalize. */
cudnnStatus_t dnn_finalize_graph(struct dnn_descriptor *d);
cudnnStatus_t dnn_finalize_heuristics(struct dnn_descriptor *d);
cudnnStatus_t dnn_finalize_engine(struct dnn_descriptor *d);
cudnnStatus_t dnn_finalize_configuration(struct dnn_descriptor *d);
cudnnStatus_t dnn_finalize_plan(struct dnn_descriptor *d);
void dnn_plan_give(struct dnn_plan *plan);

/* A plan as JSON, and again; the text is the caller's. NULL: it is none. */
char *dnn_plan_write(const struct dnn_plan *plan);
struct dnn_plan *dnn_plan_read(const char *text, size_t length);

#endif
