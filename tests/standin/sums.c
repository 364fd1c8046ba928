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

Test(sums, wait_inside_graphs_as_well)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec[2];
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(r));
        OK(cudaStreamBeginCapture(ranks[r].stream, cudaStreamCaptureModeThreadLocal));
        sum(r, COUNT);
        OK(cudaStreamEndCapture(ranks[r].stream, &graph));
        OK(cudaGraphInstantiate(&exec[r], graph, 0));
    }
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
