#include "cudnn_engines.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOST_CONFIGURATIONS 64
#define MOST_KNOBS          16
#define MOST_NOTES          16

/* ---- An engine ---- */

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

static void read_notes(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t engine, char *notes)
{
    cudnnBackendBehaviorNote_t behaves[MOST_NOTES];
    cudnnBackendNumericalNote_t computes[MOST_NOTES];
    int values[MOST_NOTES];
    size_t count =
        cudnn_get(cudnn, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, MOST_NOTES, behaves);
    notes[0] = '\0';
    for (size_t i = 0; i < count; i++) values[i] = (int)behaves[i];
    add_letters(notes, behaviours, COUNT(behaviours), values, count);
    count = cudnn_get(cudnn, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES, computes);
    for (size_t i = 0; i < count; i++) values[i] = (int)computes[i];
    add_letters(notes, numerics, COUNT(numerics), values, count);
}

/* False where they are not known whole. */
static bool read_knobs(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t configuration, char *text,
                       size_t size)
{
    cudnnBackendDescriptor_t choices[MOST_KNOBS];
    size_t made = 0, count, length = 0;
    while (made < MOST_KNOBS &&
           cudnn->create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choices[made]) == CUDNN_STATUS_SUCCESS)
        made++;
    count = cudnn_get(cudnn, configuration, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                      (int64_t)made, choices);
    text[0] = '\0';
    for (size_t i = 0; i < count && length < size; i++) {
        cudnnBackendKnobType_t type = 0;
        int64_t value = 0;
        cudnn_get(cudnn, choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        cudnn_get(cudnn, choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
        length += (size_t)snprintf(text + length, size - length, "%s%d=%" PRId64, i ? "," : "", (int)type, value);
    }
    for (size_t i = 0; i < made; i++) cudnn->destroy(choices[i]);
    return length < size && count < MOST_KNOBS;
}

static bool read_engine(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t configuration,
                        struct found_engine *engine)
{
    cudnnBackendDescriptor_t descriptor;
    if (cudnn->create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &descriptor) != CUDNN_STATUS_SUCCESS) return false;
    bool known = cudnn_get(cudnn, configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                           &descriptor) == 1 &&
                 cudnn_get(cudnn, descriptor, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &engine->id) == 1 &&
                 cudnn_get(cudnn, configuration, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                           &engine->workspace_bytes) == 1 &&
                 engine->workspace_bytes >= 0 && read_knobs(cudnn, configuration, engine->knobs, sizeof engine->knobs);
    if (known) read_notes(cudnn, descriptor, engine->notes);
    cudnn->destroy(descriptor);
    return known;
}

/* ---- The answer ---- */

/* The descriptor of a device that is described, or none: then a graph's handle says it. */
static bool make_heuristics(struct cudnn_descriptors *d, cudnnBackendDescriptor_t device,
                            cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode,
                            cudnnBackendDescriptor_t *heuristics)
{
    return cudnn_make(d, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, heuristics) &&
           cudnn_set_part(d, *heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph) &&
           cudnn_set(d, *heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) &&
           (!device || cudnn_set_part(d, *heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device));
}

/* A mode that has nothing to say is no failure: fallbacks may have. */
static bool add_mode(struct cudnn_graph *graph, cudnnBackendDescriptor_t device, cudnnBackendHeurMode_t mode,
                     struct found_engine *engines, size_t most, size_t *count)
{
    const struct cudnn_library *cudnn = graph->descriptors.cudnn;
    cudnnBackendDescriptor_t heuristics, configurations[MOST_CONFIGURATIONS];
    size_t made = 0, found = 0;
    TRY(make_heuristics(&graph->descriptors, device, graph->graph, mode, &heuristics));
    if (cudnn->finalize(heuristics) != CUDNN_STATUS_SUCCESS) return true;
    while (made < MOST_CONFIGURATIONS &&
           cudnn->create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configurations[made]) == CUDNN_STATUS_SUCCESS)
        made++;
    found = cudnn_get(cudnn, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)made,
                      configurations);
    for (size_t i = 0; i < found && *count < most; i++)
        *count += read_engine(cudnn, configurations[i], &engines[*count]);
    for (size_t i = 0; i < made; i++) cudnn->destroy(configurations[i]);
    return true;
}

bool cudnn_find_engines(const struct cudnn_library *cudnn, struct cudnn_target target,
                        const struct convolution *convolution, struct found_engine *engines, size_t most, size_t *count,
                        struct error *err)
{
    struct cudnn_graph graph;
    *count = 0;
    bool ok = cudnn_graph_init(&graph, cudnn, target.handle, convolution, err) &&
              add_mode(&graph, target.device, CUDNN_HEUR_MODE_A, engines, most, count) &&
              add_mode(&graph, target.device, CUDNN_HEUR_MODE_FALLBACK, engines, most, count);
    cudnn_graph_finish(&graph);
    return ok;
}

bool cudnn_describe_device(const struct cudnn_library *cudnn, const char *json, cudnnBackendDescriptor_t *device,
                           struct error *err)
{
    return cudnn_check(cudnn, cudnn->create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, device), "a device's descriptor",
                       err) &&
           cudnn_check(cudnn,
                       cudnn->set(*device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                  (int64_t)strlen(json), json),
                       "the device's description", err) &&
           cudnn_check(cudnn, cudnn->finalize(*device), "the device's description", err);
}
