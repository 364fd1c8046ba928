/* Recordings: what streams are given is captured, and replayed as one graph. */
#include "cuda_slots.h"
#include "mem.h"

struct recording {
    struct device *device;
    cudaStream_t stream;  /* captured, until the end */
    cudaGraphExec_t exec; /* NULL before the end */
};

/* ---- Capture ---- */

/* Other threads drive other devices, which may do what a capture forbids. */
static bool record_begin(struct device *device, struct stream *stream, struct recording **recording, struct error *err)
{
    const struct vendor *vendor = device->vendor;
    if (device->recording) return error_set(err, ERROR_FAILED, "a recording is being made already");
    struct recording *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a recording");
    made->device = device;
    made->stream = stream->handle;
    if (!cuda_check(vendor, vendor->cuda.StreamBeginCapture(stream->handle, cudaStreamCaptureModeThreadLocal), err,
                    "a recording cannot begin")) {
        mem_free(made);
        return false;
    }
    *recording = device->recording = made;
    return true;
}

bool cuda_record_begin(struct device *device, struct stream *stream, struct recording **recording, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, record_begin(device, stream, recording, &device->first), err);
}

/* *graph stays NULL where CUDA drops what was captured. After a failure recording_destroy tries once more: no stream is
 * to be left capturing. */
static cudaError_t end_capture(struct recording *recording, cudaGraph_t *graph)
{
    *graph = NULL;
    cudaError_t status = recording->device->vendor->cuda.StreamEndCapture(recording->stream, graph);
    if (status == cudaSuccess) recording->device->recording = NULL;
    return status;
}

/* The graph goes to the device now, not with its first replay. */
static bool instantiate(struct recording *recording, cudaGraph_t graph, struct error *err)
{
    const struct vendor *vendor = recording->device->vendor;
    TRY(cuda_check(vendor, vendor->cuda.GraphInstantiate(&recording->exec, graph, 0), err, "a recording"));
    return cuda_check(vendor, vendor->cuda.GraphUpload(recording->exec, recording->stream), err, "a recording");
}

static bool record_end(struct recording *recording, struct error *err)
{
    const struct vendor *vendor = recording->device->vendor;
    cudaGraph_t graph;
    cudaError_t status = end_capture(recording, &graph);
    bool ok = cuda_check(vendor, status, err, "its end") && instantiate(recording, graph, err);
    if (graph) vendor->cuda.GraphDestroy(graph);
    return ok;
}

bool cuda_record_end(struct recording *recording, struct error *err)
{
    struct device *device = recording->device;
    TRY(device_usable(device, err));
    return device_settle(device, record_end(recording, &device->first), err);
}

/* ---- Replay ---- */

bool cuda_replay(struct recording *recording, struct stream *stream, struct error *err)
{
    struct device *device = recording->device;
    TRY(device_usable(device, err));
    cudaError_t status = device->vendor->cuda.GraphLaunch(recording->exec, stream->handle);
    return device_settle(device, cuda_check(device->vendor, status, &device->first, "a replay"), err);
}

void cuda_recording_destroy(struct recording *recording)
{
    if (!recording) return;
    struct device *device = recording->device;
    cudaGraph_t graph;
    if (device->recording == recording) {
        /* What spoilt it stays in the thread, for whoever asks for the last error: cuDNN does. */
        if (end_capture(recording, &graph) != cudaSuccess) device->vendor->cuda.GetLastError();
        device->recording = NULL;
        device->spoilt = false;
        if (graph) device->vendor->cuda.GraphDestroy(graph);
    }
    if (recording->exec && !device->busy) device->vendor->cuda.GraphExecDestroy(recording->exec);
    mem_free(recording);
}

bool cuda_recording_is_spoilt(const struct recording *recording)
{
    return recording->device->recording == recording && recording->device->spoilt;
}
