/* Capture: what is forbidden fails with CUDA's own codes, and graphs run in every order that their edges allow. */
#include "runtime_test.h"

#define COUNT 64u
#define BYTES (COUNT * sizeof(uint32_t))

static cudaStream_t capture(enum cudaStreamCaptureMode mode)
{
    cudaStream_t s = new_stream();
    OK(cudaStreamBeginCapture(s, mode));
    return s;
}

static void ends_with(cudaStream_t s, cudaError_t status)
{
    cudaGraph_t graph;
    IS(cudaStreamEndCapture(s, &graph), status);
    cr_assert_eq(graph == NULL, status != cudaSuccess);
}

/* ---- What is forbidden ---- */

Test(capture, memory_cannot_be_taken)
{
    void *memory, *host;
    char *at = new_memory(64);
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    IS(cudaMalloc(&memory, 64), cudaErrorStreamCaptureUnsupported);
    IS(cudaMemsetAsync(at, 0, 64, s), cudaErrorStreamCaptureInvalidated);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
    OK(cudaMalloc(&memory, 64));
    s = capture(cudaStreamCaptureModeThreadLocal);
    IS(cudaHostAlloc(&host, 64, 0), cudaErrorStreamCaptureUnsupported);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
}

Test(capture, relaxed_threads_may)
{
    void *memory;
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    cr_assert_eq(mode, cudaStreamCaptureModeGlobal);
    OK(cudaMalloc(&memory, 64));
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    ends_with(s, cudaSuccess);
}

Test(capture, nothing_can_be_waited_for)
{
    cudaEvent_t event = new_event();
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    IS(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
    s = capture(cudaStreamCaptureModeThreadLocal);
    IS(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
    s = capture(cudaStreamCaptureModeThreadLocal);
    OK(cudaEventRecord(event, s));
    IS(cudaEventQuery(event), cudaErrorCapturedEvent);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
    s = capture(cudaStreamCaptureModeThreadLocal);
    OK(cudaEventRecord(event, s));
    IS(cudaEventSynchronize(event), cudaErrorCapturedEvent);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
}

Test(capture, events_from_outside_cannot_be_waited_for)
{
    cudaEvent_t event = new_event();
    cudaStream_t outside = new_stream();
    OK(cudaEventRecord(event, outside));
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    IS(cudaStreamWaitEvent(s, event, 0), cudaErrorStreamCaptureIsolation);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
}

Test(capture, events_of_a_capture_cannot_be_waited_for_after_it)
{
    cudaEvent_t event = new_event();
    cudaStream_t outside = new_stream(), s = capture(cudaStreamCaptureModeThreadLocal);
    OK(cudaEventRecord(event, s));
    ends_with(s, cudaSuccess);
    IS(cudaStreamWaitEvent(outside, event, 0), cudaErrorCapturedEvent);
    OK(cudaEventRecord(event, outside));
    OK(cudaStreamWaitEvent(s, event, 0));
}

Test(capture, two_captures_cannot_merge)
{
    cudaStream_t a = capture(cudaStreamCaptureModeThreadLocal), b = capture(cudaStreamCaptureModeThreadLocal);
    cudaEvent_t event = new_event();
    OK(cudaEventRecord(event, a));
    IS(cudaStreamWaitEvent(b, event, 0), cudaErrorStreamCaptureMerge);
    ends_with(a, cudaErrorStreamCaptureInvalidated);
    ends_with(b, cudaErrorStreamCaptureInvalidated);
}

Test(capture, streams_that_forked_must_join)
{
    char *at = new_memory(64);
    cudaStream_t side = new_stream(), s = capture(cudaStreamCaptureModeThreadLocal);
    order(s, side);
    OK(cudaMemsetAsync(at, 0, 64, side));
    ends_with(s, cudaErrorStreamCaptureUnjoined);
    OK(cudaMemsetAsync(at, 0, 64, side)); /* an ordinary stream again */
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    order(s, side);
    OK(cudaMemsetAsync(at, 0, 64, side));
    order(side, s);
    ends_with(s, cudaSuccess);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    order(s, side);
    order(side, s);
    OK(cudaMemsetAsync(at, 0, 64, side)); /* after the join */
    ends_with(s, cudaErrorStreamCaptureUnjoined);
}

Test(capture, only_the_stream_that_began_ends_it)
{
    cudaStream_t side = new_stream(), s = capture(cudaStreamCaptureModeThreadLocal);
    order(s, side);
    ends_with(side, cudaErrorStreamCaptureUnmatched);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
    ends_with(s, cudaErrorIllegalState);
    IS(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeThreadLocal), cudaErrorStreamCaptureUnsupported);
}

Test(capture, blocking_streams_forbid_the_legacy_one)
{
    cudaStream_t blocking;
    char *at = new_memory(64);
    OK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault));
    OK(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
    IS(cudaMemsetAsync(at, 0, 64, NULL), cudaErrorStreamCaptureImplicit);
    ends_with(blocking, cudaErrorStreamCaptureInvalidated);
}

Test(capture, only_pinned_memory_is_copied)
{
    char host[64], *at = new_memory(64), *fixed = new_pinned(64);
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    OK(cudaMemcpyAsync(at, fixed, 64, cudaMemcpyDefault, s));
    IS(cudaMemcpyAsync(at, host, 64, cudaMemcpyDefault, s), cudaErrorStreamCaptureUnsupported);
    ends_with(s, cudaErrorStreamCaptureInvalidated);
}

Test(capture, a_kernel_is_launched_once_before)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    uint32_t *at = new_memory(BYTES);
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    OK(launch(add, (struct probe_arguments){at, at, COUNT}, s));
    ends_with(s, cudaSuccess);
    expect_violation("before it was ever launched");
}

/* ---- Graphs ---- */

static cudaGraphExec_t instantiate(cudaStream_t s)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    OK(cudaStreamEndCapture(s, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    return exec;
}

Test(graphs, copy_arguments_and_run_nothing_while_captured)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    uint32_t *at = new_memory(BYTES), got[COUNT];
    cudaStream_t s = new_stream();
    struct probe_arguments arguments = {at, at, COUNT};
    OK(launch(add, (struct probe_arguments){at, at, 0}, s));
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(launch(add, arguments, s));
    OK(launch(add, arguments, s));
    arguments.count = 0;
    cudaGraphExec_t exec = instantiate(s);
    OK(cudaMemcpyAsync(got, at, BYTES, cudaMemcpyDefault, s));
    cr_assert_eq(got[COUNT - 1], 0);
    for (unsigned i = 0; i < 3; i++) OK(cudaGraphLaunch(exec, s));
    OK(cudaMemcpyAsync(got, at, BYTES, cudaMemcpyDefault, s));
    cr_assert_eq(got[COUNT - 1], 6);
    OK(cudaGraphExecDestroy(exec));
    expect_clean();
}

Test(graphs, know_their_nodes)
{
    char *at = new_memory(64), *fixed = new_pinned(64);
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    cudaGraph_t graph;
    cudaGraphNode_t nodes[4];
    enum cudaGraphNodeType type;
    size_t count = 0;
    OK(cudaMemsetAsync(at, 0, 64, s));
    OK(cudaMemcpyAsync(fixed, at, 64, cudaMemcpyDefault, s));
    OK(cudaStreamEndCapture(s, &graph));
    OK(cudaGraphGetNodes(graph, NULL, &count));
    cr_assert_eq(count, 2);
    OK(cudaGraphGetNodes(graph, nodes, &count));
    OK(cudaGraphNodeGetType(nodes[0], &type));
    cr_assert_eq(type, cudaGraphNodeTypeMemset);
    OK(cudaGraphNodeGetType(nodes[1], &type));
    cr_assert_eq(type, cudaGraphNodeTypeMemcpy);
}

/* Two branches that write one number, joined or not by an edge: what is left, and whether it is told. */
static uint32_t branches(uint64_t seed, bool ordered)
{
    uint32_t *at = new_memory(BYTES), got;
    cudaStream_t side = new_stream(), s = new_stream();
    restart_with(seed);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    order(s, side);
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    if (ordered) order(s, side);
    OK(cudaMemsetAsync(at, 1, BYTES, side));
    order(side, s);
    cudaGraphExec_t exec = instantiate(s);
    OK(cudaGraphLaunch(exec, s));
    OK(cudaMemcpyAsync(&got, at, sizeof got, cudaMemcpyDefault, s));
    if (ordered)
        expect_clean();
    else
        expect_violation("nothing between them");
    OK(cudaStreamDestroy(s));
    OK(cudaStreamDestroy(side));
    OK(cudaFree(at));
    return got;
}

Test(graphs, run_in_any_order_that_edges_allow)
{
    unsigned first = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        cr_assert_eq(branches(seed, true), 0x01010101u);
        first += branches(seed, false) == 0;
    }
    cr_assert(first > 3 && first < 37, "%u of 40", first);
}

Test(graphs, are_ordered_with_the_stream_around_them)
{
    uint32_t *at = new_memory(BYTES);
    cudaStream_t other = new_stream(), s = new_stream();
    OK(cudaMemsetAsync(at, 2, BYTES, s));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    cudaGraphExec_t exec = instantiate(s);
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphLaunch(exec, s));
    order(s, other);
    OK(cudaMemsetAsync(at, 1, BYTES, other));
    OK(cudaDeviceSynchronize());
    expect_clean();
    OK(cudaGraphLaunch(exec, s)); /* the host has waited */
    OK(cudaMemsetAsync(at, 1, BYTES, other));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
}

Test(graphs, may_be_destroyed_while_they_wait_to_run)
{
    uint32_t *at = new_memory(BYTES), got = 7;
    cudaStream_t s = new_stream();
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    cudaGraphExec_t exec = instantiate(s);
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphExecDestroy(exec));
    IS(cudaGraphExecDestroy(exec), cudaErrorInvalidValue);
    OK(cudaMemcpyAsync(&got, at, sizeof got, cudaMemcpyDefault, s));
    cr_assert_eq(got, 0);
}

Test(graphs, memory_is_refused_after_the_first_launch)
{
    void *memory;
    standin_restart("refuse=graph");
    cudaStream_t s = capture(cudaStreamCaptureModeThreadLocal);
    cudaGraphExec_t exec = instantiate(s);
    OK(cudaMalloc(&memory, 64));
    OK(cudaGraphLaunch(exec, s));
    IS(cudaMalloc(&memory, 64), cudaErrorMemoryAllocation);
}
