#include "cudnn_plan.h"

#include <stdlib.h>

#include "mem.h"

#define MOST_KNOBS 16
#define MOST_TEXT  (16u << 20)

/* ---- From an engine ---- */

static bool make_engine(struct cudnn_plan *p, struct cudnn_target target, int64_t id, cudnnBackendDescriptor_t *engine)
{
    struct cudnn_descriptors *d = &p->graph.descriptors;
    return cudnn_make(d, CUDNN_BACKEND_ENGINE_DESCRIPTOR, engine) &&
           cudnn_set_part(d, *engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, p->graph.graph) &&
           cudnn_set_i64(d, *engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, &id) &&
           (!target.device || cudnn_set_part(d, *engine, CUDNN_ATTR_ENGINE_DEVICEPROP, target.device)) &&
           cudnn_finalize(d, *engine, "an engine");
}

/* One of "type=value,..."; *text moves behind it. */
static bool make_knob(struct cudnn_plan *p, const char **text, cudnnBackendDescriptor_t *knob)
{
    struct cudnn_descriptors *d = &p->graph.descriptors;
    char *end;
    const cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)strtol(*text, &end, 10);
    if (*end != '=') return error_set(d->err, ERROR_FAILED, "an engine's knobs end with '%s'", *text);
    const int64_t value = strtoll(end + 1, &end, 10);
    if (*end && *end != ',') return error_set(d->err, ERROR_FAILED, "an engine's knobs end with '%s'", *text);
    *text = end + (*end == ',');
    return cudnn_make(d, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, knob) &&
           cudnn_set(d, *knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type) &&
           cudnn_set_i64(d, *knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 1, &value) && cudnn_finalize(d, *knob, "a knob");
}

static bool make_configuration(struct cudnn_plan *p, cudnnBackendDescriptor_t engine, const char *knobs,
                               cudnnBackendDescriptor_t *configuration)
{
    struct cudnn_descriptors *d = &p->graph.descriptors;
    cudnnBackendDescriptor_t choices[MOST_KNOBS];
    int64_t count = 0;
    while (*knobs && count < MOST_KNOBS) TRY(make_knob(p, &knobs, &choices[count++]));
    return cudnn_make(d, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, configuration) &&
           cudnn_set_part(d, *configuration, CUDNN_ATTR_ENGINECFG_ENGINE, engine) &&
           (count == 0 || cudnn_set(d, *configuration, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                    count, choices)) &&
           cudnn_finalize(d, *configuration, "an engine's configuration");
}

/* ---- A plan ---- */

static bool begin_plan(struct cudnn_plan *p, struct cudnn_target target)
{
    struct cudnn_descriptors *d = &p->graph.descriptors;
    TRY(cudnn_make(d, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan));
    if (target.device) return cudnn_set_part(d, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target.device);
    return cudnn_set(d, p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
}

bool cudnn_plan_build(struct cudnn_plan *plan, const struct cudnn_library *cudnn, struct cudnn_target target,
                      const struct convolution *convolution, int64_t id, const char *knobs, struct error *err)
{
    cudnnBackendDescriptor_t engine, configuration;
    *plan = (struct cudnn_plan){0};
    return cudnn_graph_init(&plan->graph, cudnn, target.handle, convolution, err) &&
           make_engine(plan, target, id, &engine) && make_configuration(plan, engine, knobs, &configuration) &&
           begin_plan(plan, target) &&
           cudnn_set_part(&plan->graph.descriptors, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                          configuration) &&
           cudnn_finalize(&plan->graph.descriptors, plan->plan, "a plan");
}

bool cudnn_plan_load(struct cudnn_plan *plan, const struct cudnn_library *cudnn, struct cudnn_target target,
                     const char *text, size_t length, struct error *err)
{
    struct cudnn_descriptors *d = &plan->graph.descriptors;
    *plan = (struct cudnn_plan){.graph.descriptors = {.cudnn = cudnn, .err = err}};
    return begin_plan(plan, target) &&
           cudnn_set(d, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)length,
                     text) &&
           cudnn_finalize(d, plan->plan, "a plan");
}

void cudnn_plan_finish(struct cudnn_plan *plan) { cudnn_graph_finish(&plan->graph); }

int64_t cudnn_plan_workspace(const struct cudnn_plan *plan)
{
    int64_t bytes;
    return cudnn_get(plan->graph.descriptors.cudnn, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                     CUDNN_TYPE_INT64, 1, &bytes) == 1
               ? bytes
               : -1;
}

char *cudnn_plan_text(const struct cudnn_plan *plan)
{
    const struct cudnn_library *cudnn = plan->graph.descriptors.cudnn;
    int64_t length = 0, given = 0;
    if (cudnn->get(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &length, NULL) !=
            CUDNN_STATUS_SUCCESS ||
        length <= 0 || length > MOST_TEXT)
        return NULL;
    char *text = mem_zalloc(MEM_KERNEL, (size_t)length + 1, 1);
    if (text && cudnn->get(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length, &given,
                           text) == CUDNN_STATUS_SUCCESS)
        return text;
    mem_free(text);
    return NULL;
}
