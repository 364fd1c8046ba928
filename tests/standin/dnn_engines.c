/* Heuristics, engines, plans. Three engines for every graph that is supported:
 *   0  the first choice: a workspace of the size of the result; of f32 with TF32
 *   1  a workspace of an odd size
 *   2  the fallback: no workspace
 * With engines=plain the last alone, of graphs that are one convolution. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dnn.h"

#define ENGINES 3
#define KNOB    CUDNN_KNOB_TYPE_TILE_SIZE

/* ---- What is supported (as cuDNN 9.19 answers for sm_90) ---- */

static const struct dnn_op *convolution_of(const struct dnn_graph *g)
{
    const struct dnn_op *found = NULL;
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind > DNN_WEIGHTS) continue;
        if (found) return NULL;
        found = &g->ops[i];
    }
    return found;
}

static bool has(const struct dnn_graph *g, enum dnn_kind kind)
{
    for (uint32_t i = 0; i < g->op_count; i++)
        if (g->ops[i].kind == kind) return true;
    return false;
}

/* Of what the device holds of the convolution's results and inputs. */
static cudnnDataType_t type_of(const struct dnn_graph *g)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    for (uint32_t i = 0; i < g->tensor_count; i++)
        if (!g->tensors[i].inner && g->tensors[i].type != CUDNN_DATA_FLOAT && g->tensors[i].dims[0] > 1)
            type = g->tensors[i].type;
    return type;
}

static bool is_supported(const struct dnn_graph *g)
{
    const struct dnn_op *c = convolution_of(g);
    bool half = type_of(g) == CUDNN_DATA_HALF;
    if (options.no_engines || (options.plain_engines && g->op_count > 1)) return false;
    if (!c) return !has(g, DNN_STATISTICS) && !has(g, DNN_BN_WEIGHTS) && !has(g, DNN_REDUCTION);
    const struct dnn_tensor *x = &g->tensors[c->in[0]];
    if (x->inner && c->kind == DNN_FORWARD) return x->dims[1] != 3;
    if (x->inner && c->kind == DNN_WEIGHTS) return half && !g->tensors[c->out[0]].inner;
    if (x->inner) return false;
    return half || !has(g, DNN_BN_WEIGHTS);
}

/* ---- Engines ---- */

static bool is_f32(const struct dnn_graph *g) { return type_of(g) == CUDNN_DATA_FLOAT; }

bool dnn_is_tf32(const struct dnn_plan *plan) { return plan->engine == 0 && is_f32(&plan->graph); }

static int64_t workspace_of(const struct dnn_graph *g, int64_t engine)
{
    const struct dnn_op *c = convolution_of(g);
    if (engine == 2 || !c) return 0;
    const int64_t *dims = g->tensors[c->out[0]].dims;
    return engine == 1 ? 131 : dims[0] * dims[1] * dims[2] * dims[3] * 4;
}

static struct dnn_descriptor *graph_of(const struct dnn_descriptor *engine)
{
    return dnn_part(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
}

static void put_notes(struct dnn_descriptor *engine, const struct dnn_graph *g, int64_t index)
{
    cudnnBackendNumericalNote_t numerics[4];
    const cudnnBackendBehaviorNote_t compiles = CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    int64_t count = 0;
    if (index == 0 || !is_f32(g)) numerics[count++] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    if (index == 0 && is_f32(g)) numerics[count++] = CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    if (index == 0 && options.nondeterministic) numerics[count++] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    dnn_put(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, count, numerics);
    dnn_put(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, g->op_count > 1, &compiles);
}

cudnnStatus_t dnn_finalize_engine(struct dnn_descriptor *d)
{
    const struct dnn_graph *g = graph_of(d)->graph;
    int64_t index = dnn_i64(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0, -1);
    if (!g) return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the engine's graph is none");
    if (index < 0 || index >= ENGINES) return dnn_fail(CUDNN_STATUS_BAD_PARAM, "no engine %lld", (long long)index);
    if (!is_supported(g) || (options.plain_engines && index != 2))
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "no engine runs such a graph");
    put_notes(d, g, index);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t dnn_finalize_configuration(struct dnn_descriptor *d)
{
    const struct dnn_descriptor *engine = dnn_part(d, CUDNN_ATTR_ENGINECFG_ENGINE);
    if (engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the configuration's engine is none");
    int64_t bytes = workspace_of(graph_of(engine)->graph, dnn_i64(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0, 0));
    dnn_put(d, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Heuristics ---- */

static struct dnn_descriptor *make_configuration(struct dnn_descriptor *graph, int64_t index)
{
    struct dnn_descriptor *engine = dnn_new(CUDNN_BACKEND_ENGINE_DESCRIPTOR),
                          *choice = dnn_new(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR),
                          *made = dnn_new(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    const cudnnBackendKnobType_t knob = KNOB;
    dnn_put(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    dnn_put(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index);
    put_notes(engine, graph->graph, index);
    dnn_put(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob);
    dnn_put(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &index);
    engine->finalized = choice->finalized = made->finalized = true;
    dnn_put(made, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    dnn_put(made, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &choice);
    dnn_finalize_configuration(made);
    dnn_give(engine);
    dnn_give(choice);
    return made;
}

cudnnStatus_t dnn_finalize_heuristics(struct dnn_descriptor *d)
{
    struct dnn_descriptor *graph = dnn_part(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH), *made[ENGINES];
    bool fallback = dnn_enum(d, CUDNN_ATTR_ENGINEHEUR_MODE, 0) == CUDNN_HEUR_MODE_FALLBACK;
    int64_t count = 0;
    if (!graph->graph) return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the graph is none");
    if (!dnn_find(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE) && !dnn_find(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP))
        return dnn_fail(CUDNN_STATUS_BAD_PARAM, "neither the graph has a handle nor is there a device");
    if (!is_supported(graph->graph) || (options.plain_engines && !fallback))
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "no engine runs such a graph");
    for (int64_t i = fallback ? 2 : 0; i < (fallback ? 3 : 2); i++) made[count++] = make_configuration(graph, i);
    dnn_put(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, made);
    while (count > 0) dnn_give(made[--count]);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- What becomes of engines ---- */

struct dnn_record *dnn_records;

static uint64_t hash(const void *bytes, size_t count, uint64_t h)
{
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

struct dnn_record *dnn_record_of(const struct dnn_graph *g, int64_t engine)
{
    uint64_t graph = hash(g, sizeof *g, UINT64_C(14695981039346656037));
    for (struct dnn_record *r = dnn_records; r; r = r->next)
        if (r->graph == graph && r->engine == engine) return r;
    struct dnn_record *made = NEW(struct dnn_record);
    uint64_t drawn = hash(&engine, sizeof engine, hash(&options.times, sizeof options.times, graph));
    *made = (struct dnn_record){.graph = graph,
                                .engine = engine,
                                .workspace_bytes = workspace_of(g, engine),
                                .ms = 0.05 + (double)(drawn >> 8 & 1023) * 1e-3,
                                .nondeterministic = engine == 0 && options.nondeterministic,
                                .next = dnn_records};
    return dnn_records = made;
}

/* ---- Plans ---- */

void dnn_plan_give(struct dnn_plan *plan)
{
    if (!plan || --plan->users > 0) return;
    dnn_handle_give(plan->handle);
    free(plan);
}

/* The compiler runs beside what other threads do; nobody else is to touch what it works on. */
static void compile(struct dnn_descriptor *d, struct cudnnContext *handle)
{
    const struct timespec time = {(time_t)(options.build_ms / 1000), (long)(options.build_ms % 1000) * 1000000};
    static uint64_t building;
    if (options.build_ms == 0) return;
    if (++building > counts.most_building) counts.most_building = building;
    d->busy = true;
    if (handle) handle->busy = true;
    lock_give();
    nanosleep(&time, NULL);
    lock_take();
    building--;
    d->busy = false;
    if (handle) handle->busy = false;
}

static cudnnStatus_t build(struct dnn_descriptor *d, const struct dnn_descriptor *configuration)
{
    const struct dnn_descriptor *engine = dnn_part(configuration, CUDNN_ATTR_ENGINECFG_ENGINE);
    int64_t index = dnn_i64(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0, 0);
    const bool fuses = graph_of(engine)->graph->op_count > 1;
    if (options.all_fail || (options.build_fails && index == 0) || (options.fusions_unbuilt && fuses))
        return dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "engine %lld cannot be built, as it was asked to",
                        (long long)index);
    d->plan = NEW(struct dnn_plan);
    *d->plan = (struct dnn_plan){.users = 1, .graph = *graph_of(engine)->graph, .engine = index};
    d->plan->workspace_bytes = workspace_of(&d->plan->graph, index);
    d->plan->record = dnn_record_of(&d->plan->graph, index);
    d->plan->record->builds++;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t make(struct dnn_descriptor *d, struct cudnnContext *handle)
{
    const struct dnn_descriptor *configuration = dnn_part(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const struct dnn_attribute *text = dnn_find(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    if (configuration) {
        DNN_TRY(build(d, configuration));
        if (d->plan->graph.op_count > 1) compile(d, handle);
        return CUDNN_STATUS_SUCCESS;
    }
    if (!text || !(d->plan = dnn_plan_read(text->values, (size_t)text->count)))
        return dnn_fail(CUDNN_STATUS_BAD_PARAM, "neither an engine's configuration nor a plan's text");
    d->plan->record = dnn_record_of(&d->plan->graph, d->plan->engine);
    d->plan->record->loads++;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t dnn_finalize_plan(struct dnn_descriptor *d)
{
    const struct dnn_attribute *named = dnn_find(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    struct cudnnContext *handle = named ? *(struct cudnnContext **)named->values : NULL;
    if (!handle && !dnn_find(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP))
        return dnn_fail(CUDNN_STATUS_BAD_PARAM, "neither a handle nor a device");
    if (handle) dnn_handle_touch(handle);
    DNN_TRY(make(d, handle));
    d->plan->handle = handle;
    if (handle) handle->users++;
    dnn_put(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &d->plan->workspace_bytes);
    char *json = dnn_plan_write(d->plan);
    dnn_put(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json);
    free(json);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Plans as text: the graph's bytes, in hexadecimal, of this very build ---- */

#define VERSION "stand-in 1"

char *dnn_plan_write(const struct dnn_plan *plan)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = (const unsigned char *)&plan->graph;
    char *hex = need(malloc(2 * sizeof plan->graph + 1));
    for (size_t i = 0; i < sizeof plan->graph; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * sizeof plan->graph] = '\0';
    json_t *root = json_pack("{s:s, s:I, s:I, s:s}", "version", VERSION, "engine", (json_int_t)plan->engine,
                             "workspace_bytes", (json_int_t)plan->workspace_bytes, "graph", hex);
    char *text = need(json_dumps(root, JSON_COMPACT));
    json_decref(root);
    free(hex);
    return text;
}

static bool read_hex(const char *hex, void *to, size_t bytes)
{
    if (strlen(hex) != 2 * bytes) return false;
    for (size_t i = 0; i < bytes; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'}, *end;
        ((unsigned char *)to)[i] = (unsigned char)strtoul(pair, &end, 16);
        if (*end) return false;
    }
    return true;
}

struct dnn_plan *dnn_plan_read(const char *text, size_t length)
{
    json_int_t engine, workspace;
    const char *version, *hex;
    json_t *root = json_loadb(text, length, 0, NULL);
    struct dnn_plan *plan = NEW(struct dnn_plan);
    bool ok = root &&
              json_unpack(root, "{s:s, s:I, s:I, s:s}", "version", &version, "engine", &engine, "workspace_bytes",
                          &workspace, "graph", &hex) == 0 &&
              strcmp(version, VERSION) == 0 && read_hex(hex, &plan->graph, sizeof plan->graph);
    if (ok) {
        plan->users = 1;
        plan->engine = engine;
        plan->workspace_bytes = workspace;
    } else {
        free(plan);
        plan = NULL;
    }
    json_decref(root);
    return plan;
}
