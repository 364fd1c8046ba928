/* CUDA's runtime, cuDNN, CUPTI and NCCL without a GPU, at the level of the calls that trainer/cuda makes: a library that is found as
 * libcudart.so.13, libcudnn.so.9, libcupti.so.13 and libnccl.so.2 with CUDA_HOME=build/tests/standin. It never links the product's code, except for the
 * kernels, which are what it runs.
 *
 * What goes to a stream is queued. It is run in the calls that wait for it, as late as possible, in a seeded random order
 * that events allow; graphs are replayed in a random topological order. Vector clocks say for every access (64 bytes a
 * clock) whether it has an ordering edge from the accesses before it that it conflicts with, whatever order it happened to
 * run in. Memory begins as NaN; accesses outside live allocations are seen. What a capture forbids fails with CUDA's own
 * codes. A sum over ranks waits for the streams of all; of what it then knows of other ranks a stream learns nothing, as
 * each GPU's memory is touched by its own streams alone. Not shown: weak memory order inside a kernel, timing, what real engines do.
 *
 * FATHOM_STANDIN, key=value separated by commas:
 *   gpus=1 name=NVIDIA H200 capability=9.0 memory=8GiB processors=132 driver=13000 seed=1
 *   fail=CALL:N:CODE     the N-th call of cudaCALL, cudnnCALL or ncclCALL returns CODE (any number of these)
 *   refuse=graph|N       memory is refused after the first launch of a graph, or after the N-th call
 *   hang=N               the N-th kernel that is run never ends
 *   illegal=N            the N-th kernel that is run makes an illegal access, and all calls after it fail
 *   drop_record=N, drop_wait=N   the N-th cudaEventRecord or cudaStreamWaitEvent does nothing
 *   pace=1               work computes nothing (memory holds some number) and takes as long as pace.c says
 *   engines=KIND+...     build_fails, run_fails: the first engine of every graph; all_fail: every one at building;
 *                        nondeterministic: the first; none: no graph has any; plain: graphs of one op alone have; of those of
 *                        several ops fusions_unbuilt: none can be built, fusions_stop: none runs
 *   build=MS             a plan of an engine that is compiled takes so long to build, in which other threads go on
 *   cudnn=91900          the version that cuDNN says it is
 *   times=SEED           engines take times that are made up of it, which the report tells; events tell nothing else
 *   cupti=KIND+...       taken: another profiler has it; silent: no records; lost: one in 50 without times; fails: records
 *                        cannot be switched on; misjoins: nodes' ids are wrong
 *   nccl=KIND+...        absent: the last rank never comes to the others; async: all ranks fail after three sums; stuck: giving
 *                        up never ends; processes: ranks are processes, and not threads of one; sockets: so they are, on
 *                        hosts that share no memory
 * FATHOM_STANDIN_REPORT names a file that gets a report at exit, JSON lines. Without it a process in which a rule was broken
 * exits with 70. */
#ifndef FATHOM_STANDIN_VENDOR_H
#define FATHOM_STANDIN_VENDOR_H

#include <stdint.h>

struct standin_vendor_report {
    uint64_t violations;
    char first[512];                              /* violation; "" = none */
    uint64_t kernels, executes, graph_launches;   /* that were run; cuDNN's plans; kernels and plans of graphs included */
    uint64_t calls, records, waits;               /* the last two: cudaEventRecord, cudaStreamWaitEvent */
    uint64_t device_bytes, device_peak_bytes;     /* of all devices */
    uint64_t pinned_bytes, pinned_peak_bytes;
    uint64_t most_building; /* plans at once */
    uint64_t sums, known_sums; /* asked for over ranks; of memory that NCCL knows */
    uint64_t free_sums;        /* recorded, with work but updates recorded after them that need not wait for them */
    uint64_t streams, events, graphs, libraries, descriptors, handles; /* that are alive */
};

struct standin_vendor_report standin_report(void);

/* What a run says to its profiler, as a dump tells it (profiler/cupti/cupti_dump.h). */
struct standin_run {
    void *context;
    void (*step)(void *context, uint64_t step, int wanted);
    void (*launch)(void *context, uint32_t device, uint32_t op, const char *pass);
    void (*launched)(void *context);
};
/* Tells the profiler that has subscribed what CUPTI told of a run on a GPU, and what the run said. counts: records, unattributed,
 * timeless and dropped, as they were found there. NULL, or what is wrong with the file. */
const char *standin_replay(const char *path, const struct standin_run *run, uint64_t counts[4]);

/* Other options from here on, with random numbers and counts from the beginning; devices stay as they are. */
void standin_restart(const char *options);

#endif
