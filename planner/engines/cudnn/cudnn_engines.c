#include "cudnn_engines.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOST_CONFIGURATIONS 64
#define MOST_KNOBS          16
#define MOST_NOTES          16

/* What a question makes, ended together. */
struct asking {
    const struct cudnn_library *cudnn;
    cudnnBackendDescriptor_t device;
    cudnnBackendDescriptor_t made[16];
    size_t count;
    struct error *err;
};

/* ---- Calls ---- */

static bool check(const struct asking *a, cudnnStatus_t status, const char *what)
{
    char words[256] = "";
    if (status == CUDNN_STATUS_SUCCESS) return true;
    a->cudnn->last_error(words, sizeof words);
    words[strcspn(words, "\n")] = '\0';
    return error_set(a->err, ERROR_FAILED, "%s: %s (%s)", what, a->cudnn->error_string(status), words);
}

static bool make(struct asking *a, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor)
{
    TRY(check(a, a->cudnn->create(type, descriptor), "a descriptor"));
    a->made[a->count++] = *descriptor;
    return true;
}

static bool set(const struct asking *a, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    return check(a, a->cudnn->set(to, name, type, count, values), "an attribute");
}

static bool set_i64(const struct asking *a, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                    int64_t count, const int64_t *values)
{
    return set(a, to, name, CUDNN_TYPE_INT64, count, values);
}

static bool set_part(const struct asking *a, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                     cudnnBackendDescriptor_t part)
{
    return set(a, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

static bool finalize(const struct asking *a, cudnnBackendDescriptor_t descriptor, const char *what)
{
    return check(a, a->cudnn->finalize(descriptor), what);
}

/* ---- A convolution ---- */

/* Dimensions in cuDNN's order, N C H W, and NHWC in memory. */
static bool make_tensor(struct asking *a, int64_t id, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w,
                        cudnnBackendDescriptor_t *tensor)
{
    const int64_t dims[4] = {n, c, h, w}, strides[4] = {c * h * w, 1, c * w, c}, alignment = 16;
    return make(a, CUDNN_BACKEND_TENSOR_DESCRIPTOR, tensor) &&
           set_i64(a, *tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id) &&
           set(a, *tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
           set_i64(a, *tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment) &&
           set_i64(a, *tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims) &&
           set_i64(a, *tensor, CUDNN_ATTR_TENSOR_STRIDES, 4, strides) && finalize(a, *tensor, "a tensor");
}

static bool make_window(struct asking *a, const struct convolution *c, cudnnBackendDescriptor_t *window)
{
    const int64_t spatial = 2, padding[2] = {c->padding, c->padding}, stride[2] = {c->stride, c->stride},
                  dilation[2] = {1, 1};
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    return make(a, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, window) &&
           set_i64(a, *window, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &spatial) &&
           set(a, *window, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums) &&
           set(a, *window, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
           set_i64(a, *window, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, padding) &&
           set_i64(a, *window, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, padding) &&
           set_i64(a, *window, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dilation) &&
           set_i64(a, *window, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, stride) && finalize(a, *window, "a window");
}

/* How cuDNN names the parts of each pass: x, w, y, window, alpha, beta. */
static const struct pass_names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
} pass_names[] = {
    [PASS_OF_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [PASS_OF_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [PASS_OF_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static bool make_operation(struct asking *a, const struct convolution *c, cudnnBackendDescriptor_t *operation)
{
    const struct pass_names *names = &pass_names[c->pass];
    cudnnBackendDescriptor_t x, w, y, window;
    const int64_t h = (c->height + 2 * c->padding - c->kernel) / c->stride + 1,
                  v = (c->width + 2 * c->padding - c->kernel) / c->stride + 1;
    const float one = 1, zero = 0;
    return make_tensor(a, 1, c->type, c->images, c->channels, c->height, c->width, &x) &&
           make_tensor(a, 2, c->type, c->filters, c->channels, c->kernel, c->kernel, &w) &&
           make_tensor(a, 3, c->type, c->images, c->filters, h, v, &y) && make_window(a, c, &window) &&
           make(a, names->operation, operation) && set_part(a, *operation, names->x, x) &&
           set_part(a, *operation, names->w, w) && set_part(a, *operation, names->y, y) &&
           set_part(a, *operation, names->window, window) &&
           set(a, *operation, names->alpha, CUDNN_TYPE_FLOAT, 1, &one) &&
           set(a, *operation, names->beta, CUDNN_TYPE_FLOAT, 1, &zero) && finalize(a, *operation, "the convolution");
}

static bool make_graph(struct asking *a, const struct convolution *c, cudnnBackendDescriptor_t *graph)
{
    cudnnBackendDescriptor_t operation;
    return make_operation(a, c, &operation) && make(a, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, graph) &&
           set_part(a, *graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation) && finalize(a, *graph, "the graph");
}

/* ---- An engine ---- */

static size_t get(const struct asking *a, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t room, void *values)
{
    int64_t count = 0;
    if (a->cudnn->get(from, name, type, room, &count, values) != CUDNN_STATUS_SUCCESS || count < 0) return 0;
    return (size_t)(count < room ? count : room);
}

static const struct note {
    int value;
    char letter;
} behaviours[] = {{CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION, 'R'},
                  {CUDNN_BEHAVIOR_NOTE_SUPPORTS_CUDA_GRAPH_NATIVE_API, 'g'}},
  numerics[] = {{CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 'n'},
                {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 'T'},
                {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 'D'},
                {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 'p'},
                {CUDNN_NUMERICAL_NOTE_FFT, 'F'},
                {CUDNN_NUMERICAL_NOTE_WINOGRAD, 'W'}};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void add_letters(char *notes, const struct note *known, size_t known_count, const int *found, size_t count)
{
    size_t length = strlen(notes);
    for (size_t k = 0; k < known_count; k++)
        for (size_t i = 0; i < count; i++)
            if (found[i] == known[k].value) {
                notes[length++] = known[k].letter;
                break;
            }
    notes[length] = '\0';
}

static void read_notes(const struct asking *a, cudnnBackendDescriptor_t engine, char *notes)
{
    cudnnBackendBehaviorNote_t behaves[MOST_NOTES];
    cudnnBackendNumericalNote_t computes[MOST_NOTES];
    int values[MOST_NOTES];
    size_t count = get(a, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, MOST_NOTES, behaves);
    notes[0] = '\0';
    for (size_t i = 0; i < count; i++) values[i] = (int)behaves[i];
    add_letters(notes, behaviours, COUNT(behaviours), values, count);
    count = get(a, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES, computes);
    for (size_t i = 0; i < count; i++) values[i] = (int)computes[i];
    add_letters(notes, numerics, COUNT(numerics), values, count);
}

/* False where they are not known whole. */
static bool read_knobs(const struct asking *a, cudnnBackendDescriptor_t configuration, char *text, size_t size)
{
    cudnnBackendDescriptor_t choices[MOST_KNOBS];
    size_t made = 0, count, length = 0;
    while (made < MOST_KNOBS &&
           a->cudnn->create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choices[made]) == CUDNN_STATUS_SUCCESS)
        made++;
    count =
        get(a, configuration, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)made, choices);
    text[0] = '\0';
    for (size_t i = 0; i < count && length < size; i++) {
        cudnnBackendKnobType_t type = 0;
        int64_t value = 0;
        get(a, choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        get(a, choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
        length += (size_t)snprintf(text + length, size - length, "%s%d=%" PRId64, i ? "," : "", (int)type, value);
    }
    for (size_t i = 0; i < made; i++) a->cudnn->destroy(choices[i]);
    return length < size && count < MOST_KNOBS;
}

static bool read_engine(const struct asking *a, cudnnBackendDescriptor_t configuration, struct found_engine *engine)
{
    cudnnBackendDescriptor_t descriptor;
    if (a->cudnn->create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &descriptor) != CUDNN_STATUS_SUCCESS) return false;
    bool known =
        get(a, configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &descriptor) == 1 &&
        get(a, descriptor, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &engine->id) == 1 &&
        get(a, configuration, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &engine->workspace_bytes) ==
            1 &&
        engine->workspace_bytes >= 0 && read_knobs(a, configuration, engine->knobs, sizeof engine->knobs);
    if (known) read_notes(a, descriptor, engine->notes);
    a->cudnn->destroy(descriptor);
    return known;
}

/* ---- The answer ---- */

/* A mode that has nothing to say is no failure: fallbacks may have. */
static bool add_mode(struct asking *a, cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode,
                     struct found_engine *engines, size_t most, size_t *count)
{
    cudnnBackendDescriptor_t heuristics, configurations[MOST_CONFIGURATIONS];
    size_t made = 0, found = 0;
    TRY(make(a, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics) &&
        set_part(a, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph) &&
        set(a, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) &&
        set_part(a, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, a->device));
    if (a->cudnn->finalize(heuristics) != CUDNN_STATUS_SUCCESS) return true;
    while (made < MOST_CONFIGURATIONS &&
           a->cudnn->create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configurations[made]) == CUDNN_STATUS_SUCCESS)
        made++;
    found =
        get(a, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)made, configurations);
    for (size_t i = 0; i < found && *count < most; i++) *count += read_engine(a, configurations[i], &engines[*count]);
    for (size_t i = 0; i < made; i++) a->cudnn->destroy(configurations[i]);
    return true;
}

bool cudnn_find_engines(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t device,
                        const struct convolution *convolution, struct found_engine *engines, size_t most, size_t *count,
                        struct error *err)
{
    struct asking a = {.cudnn = cudnn, .device = device, .err = err};
    cudnnBackendDescriptor_t graph;
    *count = 0;
    bool ok = make_graph(&a, convolution, &graph) && add_mode(&a, graph, CUDNN_HEUR_MODE_A, engines, most, count) &&
              add_mode(&a, graph, CUDNN_HEUR_MODE_FALLBACK, engines, most, count);
    while (a.count > 0) cudnn->destroy(a.made[--a.count]);
    return ok;
}

bool cudnn_describe_device(const struct cudnn_library *cudnn, const char *json, cudnnBackendDescriptor_t *device,
                           struct error *err)
{
    const struct asking a = {.cudnn = cudnn, .err = err};
    return check(&a, cudnn->create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, device), "a device's descriptor") &&
           check(&a,
                 cudnn->set(*device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json),
                            json),
                 "the device's description") &&
           finalize(&a, *device, "the device's description");
}
