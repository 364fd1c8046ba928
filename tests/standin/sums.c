/* What the stand-in's NCCL keeps to: sums wait for the streams of all ranks, and ranks that do not agree are told. */
#include <nccl.h>

#include "runtime_test.h"

#define COUNT 64u

struct rank {
    ncclComm_t comm;
    cudaStream_t stream;
    float *in, *out;
};

static struct rank ranks[2];

static void begin(void)
{
    standin_restart("gpus=2");
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t state;
    config.blocking = 0;
    OK((cudaError_t)ncclGetUniqueId(&id));
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(r));
        cr_assert_eq(ncclCommInitRankConfig(&ranks[r].comm, 2, id, r, &config), ncclInProgress);
        ncclCommGetAsyncError(ranks[r].comm, &state);
        cr_assert_eq(state, r == 0 ? ncclInProgress : ncclSuccess);
        ranks[r].stream = new_stream();
        ranks[r].in = new_memory(COUNT * sizeof(float));
        ranks[r].out = new_memory(COUNT * sizeof(float));
        float values[COUNT];
        for (unsigned i = 0; i < COUNT; i++) values[i] = (float)(i + 1000 * (unsigned)r);
        OK(cudaMemcpyAsync(ranks[r].in, values, sizeof values, cudaMemcpyDefault, ranks[r].stream));
    }
}

TestSuite(sums, .init = begin);

static void sum(int r, size_t count)
{
    cr_assert_eq(ncclAllReduce(ranks[r].in, ranks[r].out, count, ncclFloat32, ncclSum, ranks[r].comm, ranks[r].stream),
                 ncclSuccess);
}

static void expect_sums(void)
{
    float values[COUNT];
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(r));
        OK(cudaMemcpyAsync(values, ranks[r].out, sizeof values, cudaMemcpyDefault, ranks[r].stream));
        for (unsigned i = 0; i < COUNT; i++) cr_expect_eq(values[i], (float)(2 * i + 1000));
    }
    expect_clean();
}

Test(sums, wait_for_the_other_rank)
{
    sum(0, COUNT);
    for (int i = 0; i < 20; i++) IS(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
    sum(1, COUNT);
    expect_sums();
}

/* Each rank's sum as a graph. */
static void record_sums(cudaGraphExec_t exec[2])
{
    cudaGraph_t graph;
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(r));
        OK(cudaStreamBeginCapture(ranks[r].stream, cudaStreamCaptureModeThreadLocal));
        sum(r, COUNT);
        OK(cudaStreamEndCapture(ranks[r].stream, &graph));
        OK(cudaGraphInstantiate(&exec[r], graph, 0));
        OK(cudaGraphDestroy(graph));
    }
}

Test(sums, wait_inside_graphs_as_well)
{
    cudaGraphExec_t exec[2];
    record_sums(exec);
    OK(cudaGraphLaunch(exec[0], ranks[0].stream));
    for (int i = 0; i < 20; i++) IS(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
    OK(cudaGraphLaunch(exec[1], ranks[1].stream));
    expect_sums();
}

Test(sums, of_other_sizes_are_told)
{
    sum(0, COUNT);
    sum(1, COUNT - 1);
    for (int i = 0; i < 20; i++) cudaStreamQuery(ranks[1].stream);
    expect_violation("rank 1 sums 63 elements");
}

Test(sums, of_what_nothing_orders_are_told)
{
    cudaStream_t other = new_stream();
    OK(cudaMemsetAsync(ranks[1].in, 0, COUNT * sizeof(float), other));
    sum(0, COUNT);
    sum(1, COUNT);
    OK(cudaStreamSynchronize(other));
    OK(cudaStreamSynchronize(ranks[1].stream));
    expect_violation("nothing between them");
}

/* ---- Memory that communicators know ---- */

static void *take_known(int r, void **handle)
{
    void *memory = NULL;
    OK(cudaSetDevice(r));
    cr_assert_eq(ncclMemAlloc(&memory, 4096), ncclSuccess);
    cr_assert_eq(ncclCommRegister(ranks[r].comm, memory, 4096, handle), ncclSuccess);
    return memory;
}

Test(sums, of_known_memory)
{
    void *handles[2], *memory[2];
    for (int r = 0; r < 2; r++) {
        memory[r] = take_known(r, &handles[r]);
        OK(cudaMemcpyAsync(memory[r], ranks[r].in, COUNT * sizeof(float), cudaMemcpyDefault, ranks[r].stream));
        ranks[r].in = ranks[r].out = memory[r];
        sum(r, COUNT);
    }
    expect_sums();
    cr_expect_eq(standin_report().known_sums, 2);
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(r));
        cr_assert_eq(ncclCommDeregister(ranks[r].comm, handles[r]), ncclSuccess);
        cr_assert_eq(ncclMemFree(memory[r]), ncclSuccess);
    }
    expect_clean();
}

Test(sums, of_known_memory_at_unlike_offsets_are_told)
{
    void *handles[2];
    for (int r = 0; r < 2; r++) {
        uint8_t *memory = take_known(r, &handles[r]);
        ranks[r].in = ranks[r].out = (float *)(void *)(memory + 256 * r);
        OK(cudaMemsetAsync(memory, 0, 4096, ranks[r].stream));
        sum(r, COUNT);
    }
    for (int i = 0; i < 20; i++) cudaStreamQuery(ranks[1].stream);
    expect_violation("one offset on all ranks");
}

Test(sums, of_memory_that_one_rank_alone_knows_are_told)
{
    void *handle;
    ranks[0].in = ranks[0].out = take_known(0, &handle);
    OK(cudaMemsetAsync(ranks[0].in, 0, 4096, ranks[0].stream));
    sum(0, COUNT);
    sum(1, COUNT);
    for (int i = 0; i < 20; i++) cudaStreamQuery(ranks[1].stream);
    expect_violation("one offset on all ranks");
}

Test(sums, memory_of_cuda_is_not_made_known)
{
    void *handle;
    OK(cudaSetDevice(0));
    cr_expect_eq(ncclCommRegister(ranks[0].comm, ranks[0].in, 64, &handle), ncclInvalidArgument);
    expect_violation("that ncclMemAlloc did not give");
}

Test(sums, memory_that_is_known_is_not_given_back)
{
    void *handle;
    cr_expect_eq(ncclMemFree(take_known(0, &handle)), ncclSuccess);
    expect_violation("still know");
}

Test(sums, memory_of_nccl_is_not_given_back_to_cuda)
{
    void *handle, *memory = take_known(0, &handle);
    cudaFree(memory);
    expect_violation("that ncclMemAlloc gave");
}

Test(sums, communicators_end_without_memory_that_they_know)
{
    void *handle;
    take_known(0, &handle);
    ncclCommFinalize(ranks[0].comm);
    expect_violation("still knows 4096 bytes");
}

/* As each hop of a ring rounds. */
Test(sums, of_16_bits_are_rounded)
{
    const uint16_t one[2] = {0x3C00, 0x3F80},
                   small[2] = {0x1000, 0x3B00}; /* f16, bf16: below half of the last place of 1 */
    const ncclDataType_t types[2] = {ncclFloat16, ncclBfloat16};
    for (int t = 0; t < 2; t++) {
        uint16_t sum[2] = {0};
        for (int r = 0; r < 2; r++) {
            OK(cudaSetDevice(r));
            OK(cudaMemcpyAsync(ranks[r].in, r ? &small[t] : &one[t], 2, cudaMemcpyDefault, ranks[r].stream));
            cr_assert_eq(ncclAllReduce(ranks[r].in, ranks[r].out, 1, types[t], ncclSum, ranks[r].comm, ranks[r].stream),
                         ncclSuccess);
        }
        for (int r = 0; r < 2; r++) {
            OK(cudaSetDevice(r));
            OK(cudaMemcpyAsync(&sum[r], ranks[r].out, 2, cudaMemcpyDefault, ranks[r].stream));
            OK(cudaStreamSynchronize(ranks[r].stream));
            cr_expect_eq(sum[r], one[t], "%x", sum[r]);
        }
    }
    expect_clean();
}

Test(sums, that_are_given_up_end)
{
    sum(0, COUNT);
    cr_assert_eq(ncclCommAbort(ranks[0].comm), ncclSuccess);
    OK(cudaStreamSynchronize(ranks[0].stream));
    expect_clean();
    ncclResult_t state;
    cr_assert_eq(ncclCommGetAsyncError(ranks[0].comm, &state), ncclInvalidArgument);
    expect_violation("none any more");
}

static ncclResult_t state_of(int r)
{
    ncclResult_t state;
    cr_assert_eq(ncclCommGetAsyncError(ranks[r].comm, &state), ncclSuccess);
    return state;
}

Test(sums, communicators_end_after_the_graphs_that_sum)
{
    cudaGraphExec_t exec[2];
    record_sums(exec);
    for (int r = 0; r < 2; r++) cr_assert_eq(ncclCommFinalize(ranks[r].comm), ncclInProgress);
    cr_expect_eq(state_of(0), ncclInProgress);
    OK(cudaGraphExecDestroy(exec[0]));
    cr_expect_eq(state_of(0), ncclSuccess);
    cr_expect_eq(state_of(1), ncclInProgress);
    OK(cudaGraphExecDestroy(exec[1]));
    cr_expect_eq(state_of(1), ncclSuccess);
}

/* It begins when there is room for all of its blocks: beside a sum that waits for other ranks a full one never would.
 */
Test(sums, cooperative_launches_leave_them_room)
{
    const cudaKernel_t add = probe_kernel("probe_add_one");
    const unsigned all = 2 * 132;
    struct probe_arguments none = {.count = 0};
    void *parameters[] = {&none};
    OK(cudaSetDevice(0));
    OK(cudaLaunchCooperativeKernel((const void *)add, (dim3){all - all / 4, 1, 1}, (dim3){1, 1, 1}, parameters, 0,
                                   ranks[0].stream));
    expect_clean();
    OK(cudaLaunchCooperativeKernel((const void *)add, (dim3){all, 1, 1}, (dim3){1, 1, 1}, parameters, 0,
                                   ranks[0].stream));
    expect_violation("would wait for the end of sums");
}
