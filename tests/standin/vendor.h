/* What the files of the stand-in for CUDA share. All state is behind one lock, which every exported call takes. */
#ifndef FATHOM_STANDIN_VENDOR_PRIVATE_H
#define FATHOM_STANDIN_VENDOR_PRIVATE_H

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clocks.h"
#include "host_kernels.h"
#include "standin_vendor.h"

#define EXPORTED     __attribute__((visibility("default")))
#define GRANULE      64u
#define MOST_DEVICES 8u

/* ---- Options ---- */

struct failure {
    char call[64];
    uint64_t number;
    int code;
};

struct vendor_options {
    unsigned gpus, major, minor, processors;
    char name[128];
    uint64_t memory_bytes, seed;
    int driver; /* 0: none */
    struct failure failures[16];
    unsigned failure_count;
    bool refuse_after_graph;
    uint64_t refuse_after_call, hang, illegal, drop_record, drop_wait, pace;
    uint64_t build_ms, times, cudnn; /* 0 = at once; as they are; the headers' version */
    bool build_fails, run_fails, all_fail, nondeterministic, no_engines, plain_engines;
    bool fusions_unbuilt, fusions_stop, capture_fails;
    bool nccl_absent, nccl_async, nccl_stuck, nccl_processes, nccl_sockets; /* sockets: of processes */
    bool cupti_taken, cupti_silent, cupti_lost, cupti_fails, cupti_misjoins;
    bool cupti_disorder, cupti_nulls, cupti_tails, cupti_late, cupti_grows, cupti_pool, cupti_jumps, cupti_drops;
};
extern struct vendor_options options;
void options_parse(const char *text);

/* ---- Report ---- */

extern struct standin_vendor_report counts;
__attribute__((format(printf, 1, 2))) void violate(const char *format, ...);
void report_begin(void);

/* ---- Calls ---- */

struct call {
    const char *name;
    uint64_t count;
    struct call *next;
};
extern struct call *all_calls;

enum call_manner { CALL_USUAL, CALL_WITHOUT_DEVICE }; /* the second works whatever has become of the device */

/* Every exported call begins and ends so. The lock is held between the two, also after a failure. */
cudaError_t call_enter(struct call *call, enum call_manner manner);
cudaError_t call_leave(cudaError_t status);
int call_count(struct call *call); /* the code that this call is to fail with; for cuDNN's */
#define BEGIN(text, manner)                                                                                            \
    static struct call call = {.name = text};                                                                          \
    const cudaError_t entered = call_enter(&call, manner);                                                             \
    if (entered != cudaSuccess) return call_leave(entered)

void lock_take(void);
void lock_give(void);
uint64_t draw(uint64_t below);
void *need(void *memory); /* aborts for NULL */
#define NEW(type) ((type *)need(calloc(1, sizeof(type))))

/* ---- Memory ---- */

struct allocation {
    struct allocation *next;
    uint64_t offset, bytes, device_writes;
    bool of_nccl;        /* ncclMemAlloc's */
    unsigned registered; /* with so many communicators */
};

struct region {
    uint8_t *base;
    uint64_t bytes;
    struct shadow shadow;
    struct allocation *allocations;
    uint64_t taken, peak;
};
extern struct region pinned;

void region_create(struct region *region, uint64_t bytes);
/* NULL: no room under `limit`. */
void *region_take(struct region *region, uint64_t bytes, uint64_t limit);
bool region_give(struct region *region, void *memory);
struct allocation *region_find(struct region *region, const void *at, uint64_t bytes);
/* Device memory of any device, or pinned; NULL = other memory. */
struct region *region_of(const void *at);
bool memory_is_pinned(const void *at);
bool memory_is_device(const void *at);

/* The command that is being run; NULL fields outside. */
struct access {
    const struct clock *clock;
    uint8_t lane;
    const char *what;
    pthread_t thread;
};
extern struct access access_now;

/* What the command that is run now reads or writes. Memory of the process that is not pinned is not followed. */
void memory_touch(const void *at, uint64_t bytes, bool writes);
void memory_tell(const struct region *region, const struct conflict *conflict);
/* Where kernels begin and end: between the two, their own memory accesses come in through instrument.c. */
void instrument_begin(struct region *device);
void instrument_end(void);

/* ---- Work: what a command or a node of a graph does ---- */

struct device {
    bool made;
    struct region memory;
    struct CUstream_st *legacy;
    cudaError_t sticky;
    double ms;        /* with made-up times: what plans of cuDNN took that it has run */
    uint64_t free_ns; /* with a pace: until then it has work */
};
extern struct device devices[MOST_DEVICES];
struct device *device_now(void);
unsigned shared_bytes_at_most(void); /* a block's, when it asks for more than it has anyway */
extern const struct host_kernel probe_kernels[];
extern const size_t probe_kernel_count;

struct CUgraphNode_st;
struct CUkern_st {
    const struct host_kernel *host;
    struct CUlib_st *library;
    unsigned dynamic_shared_bytes; /* at most */
    bool launched;
};

enum work_kind { WORK_KERNEL, WORK_COPY, WORK_FILL, WORK_CALL, WORK_SUM };
struct nccl_sum;
struct work {
    enum work_kind kind;
    unsigned users;
    uint32_t correlation; /* of the call that it came with; 0 = recorded */
    const char *name;
    struct {
        struct CUkern_st *kernel;
        unsigned grid_x, grid_y, threads, shared_bytes;
        bool together;   /* cooperative */
        void *arguments; /* owned */
    } launch;
    struct {
        uint8_t *to;
        const uint8_t *from;
        uint64_t bytes;
        void *owned;                    /* a copy of what was there, else NULL */
        uint64_t device_writes, digest; /* of pinned memory when the copy was asked for */
    } copy;
    int byte; /* WORK_FILL: into copy.to */
    struct nccl_sum *sum; /* owned */
    struct {
        void (*run)(void *context);
        void (*release)(void *context);
        void *context;
        double flops; /* for pace.c */
    } call;
};
struct work *work_new(enum work_kind kind, const char *name);
void work_give(struct work *work); /* one user less */
void work_restart(void);
/* Of a copy: what its pinned source holds now. */
void work_note_source(struct work *work);
/* WAITS: for other ranks; it is to be run again. */
enum outcome { DONE, HANGS, WAITS };
/* node: of the graph that it belongs to, or NULL. */
enum outcome work_run(struct work *work, const struct CUgraphNode_st *node, struct device *device,
                      const struct clock *clock, uint8_t lane);

/* ---- Streams ---- */

enum command_kind { COMMAND_WORK, COMMAND_RECORD, COMMAND_WAIT, COMMAND_GRAPH };
#define MOST_GRAPH_LANES 16u

struct command {
    enum command_kind kind;
    struct clock clock;
    struct work *work;
    struct CUevent_st *event; /* COMMAND_RECORD */
    uint64_t record;
    struct CUstream_st *stream; /* COMMAND_WAIT: what is waited for */
    uint64_t sequence;
    struct CUgraphExec_st *graph;
    uint64_t submitted_ns; /* with a pace */
    uint32_t graph_at[MOST_GRAPH_LANES]; /* of its lanes, before it */
};

struct node_set {
    struct CUgraphNode_st **nodes;
    size_t count, capacity;
};

struct CUstream_st {
    struct CUstream_st *next;
    bool alive, blocking, hung;
    bool waits; /* its first command, for other ranks */
    uint64_t waited; /* progress then */
    struct replay *replay; /* of a graph that is its first command; NULL before it has begun */
    struct device *device;
    uint8_t lane, graph_lanes[MOST_GRAPH_LANES]; /* of graphs launched into it; [0] = lane */
    unsigned graph_lane_count;
    struct clock clock;
    struct command *commands;
    size_t first, count, capacity;
    uint64_t submitted, done, legacy_seen;
    uint64_t needed, scanned; /* while something is waited for */
    struct capture *capture;
    unsigned capture_lane;
    struct node_set leaves; /* what its next node follows */
};
extern struct CUstream_st *all_streams;

struct CUevent_st {
    struct CUevent_st *next;
    bool alive, timed;
    struct device *device;      /* that was the thread's when it was made */
    struct CUstream_st *stream; /* of its last record; NULL = none */
    uint64_t sequence, records;
    struct clock clock;
    double ms; /* when that record was reached */
    struct capture *capture; /* recorded there last */
    struct node_set nodes;
};

extern uint32_t lane_time[CLOCK_LANES];
uint8_t lane_take(void);

struct CUstream_st *stream_new(struct device *device, bool blocking);
/* NULL = the legacy stream; `stream` is NULL where the handle is none. */
struct CUstream_st *stream_find(cudaStream_t handle);
/* Owns one use of the work. Captured, where the stream is. */
cudaError_t stream_work(struct CUstream_st *stream, struct work *work);
void stream_push(struct CUstream_st *stream, const struct command *command);
/* What a command submitted now has to wait for because of the legacy stream. */
void stream_order_legacy(struct CUstream_st *stream);
/* Runs until the stream has come so far. False: it never will (it hangs, or the device is lost). */
bool stream_drive(struct CUstream_st *stream, uint64_t sequence);
/* The calling thread waits; what it then knows was before. */
cudaError_t stream_wait(struct CUstream_st *stream, uint64_t sequence, const struct clock *clock);
cudaError_t device_wait(struct device *device);
extern struct clock host_clock;

/* ---- Capture and graphs ---- */

struct capture;

struct CUgraphNode_st {
    struct work *work;
    uint64_t id; /* the graph's in the high half */
    size_t number;
    unsigned lane;
    struct node_set before;
};

struct CUgraph_st {
    bool alive;
    uint64_t id;
    struct node_set nodes; /* owned; as they were captured, which is a topological order */
    unsigned lanes;
};

struct CUgraphExec_st {
    bool alive;
    struct node_set nodes; /* owned */
    unsigned lanes;
    struct CUstream_st *last; /* where it was launched last */
    uint64_t last_sequence;
};

extern bool graph_was_launched;
/* The node is added, or the capture is no longer valid. */
cudaError_t capture_add(struct CUstream_st *stream, struct work *work);
cudaError_t capture_record(struct CUstream_st *stream, struct CUevent_st *event);
/* *captured: the wait was one of a capture. */
cudaError_t capture_wait(struct CUstream_st *stream, struct CUevent_st *event, bool *captured);
/* For calls that a thread may not make while one captures: cudaErrorStreamCaptureUnsupported, and what it captures is lost. */
cudaError_t capture_forbids(void);
/* Of a call on this stream that cannot be captured; invalidates. */
cudaError_t capture_refuses(struct CUstream_st *stream, cudaError_t status);
bool event_is_captured(const struct CUevent_st *event);
cudaError_t capture_spoil(struct capture *capture, cudaError_t status);
void node_set_add(struct node_set *set, struct CUgraphNode_st *node);
/* ---- CUPTI (cupti.c): is told what happens ---- */

struct cupti_run {
    uint64_t node, begin, end;
    uint32_t device, stream, correlation;
};
void cupti_node_created(const struct CUgraphNode_st *node, const struct CUgraph_st *graph);
void cupti_node_cloned(const struct CUgraphNode_st *node, const struct CUgraphNode_st *original);
void cupti_node_destroyed(const struct CUgraphNode_st *node);
/* A call that is not recorded; its correlation id. */
/* Around a call that starts work, or records it: the node is announced between the two. The latter returns the call's
 * correlation id. */
void cupti_call_begins(const struct work *work, const struct device *device);
uint32_t cupti_call_ends(const struct work *work, const struct device *device);
uint64_t cupti_now(void);
/* Of a dump (cupti_replay.c), in place of what is run. */
void cupti_tell_node(uint32_t id, uint64_t node, uint64_t original);
void cupti_tell_call(uint32_t domain, uint32_t id, uint32_t site, uint32_t correlation);
bool cupti_tell_record(const void *record, size_t bytes, const char *name);
void cupti_tell_buffer(uint64_t dropped_before);
void cupti_ran(const struct work *work, const struct cupti_run *run);

/* ---- A made-up GPU's time (pace.c) ---- */

struct dnn_graph;
void pace_note_plan(struct work *work, const struct dnn_graph *graph);
/* These do nothing without a pace. */
void pace_submitted(struct command *command);
void pace_begin(struct device *device, const struct command *command);
void pace_wait(const struct device *device);
/* Instead of running the work. */
void pace_run(const struct work *work, struct device *device, struct cupti_run *ran);

/* Runs its nodes in a random order, but for what waits for other ranks. */
enum outcome graph_run(const struct command *command, struct CUstream_st *stream);

/* ---- NCCL (nccl.c) ---- */

extern bool nccl_is_used;
extern uint64_t progress; /* grows with all that is done, and whenever a rank comes to a sum or gives one up */
/* Its rank has come to it. False: others have not. */
bool nccl_sum_run(struct nccl_sum *sum, const struct clock *clock, uint8_t lane);
/* Takes NULL. */
void nccl_sum_free(struct nccl_sum *sum);
/* Whether the device sums with others: what runs beside that leaves it room. */
bool nccl_sums_on(const struct device *device);

#endif
