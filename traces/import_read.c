#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "import_private.h"
#include "mem.h"

/* ---- Names and threads ---- */

/* Of two names that a trace has no room for, the first part and what tells them apart. */
static void cut_name(char *copy, struct kineto_text text)
{
    size_t length = trace_text_length(copy, TRACE_TEXT_MOST - 12);
    snprintf(copy + length, 12, "...%08x", (unsigned)hash_bytes(text.at, text.length, 0));
}

/* Of an op of the backward pass what it differentiates, without the engine's words. */
static bool name_of(struct import *import, struct kineto_text text, uint32_t *number, struct error *err)
{
    static const char engine[] = "autograd::engine::evaluate_function: ";
    if (kineto_begins(text, engine))
        text = (struct kineto_text){text.at + sizeof engine - 1, text.length - sizeof engine + 1};
    char copy[TRACE_TEXT_MOST + 8];
    kineto_copy(text, copy, sizeof copy);
    if (text.length > TRACE_TEXT_MOST) cut_name(copy, text);
    return import_add_name(import, copy, number, err);
}

static bool thread_of(struct import *import, const struct kineto_event *event, uint32_t *thread, struct error *err)
{
    uint64_t process = hash_bytes(event->process.at, event->process.length, 0);
    uint64_t hash = hash_bytes(event->thread.at, event->thread.length, process);
    if (key_map_find(&import->threads, hash, thread)) return true;
    *thread = (uint32_t)import->threads.count;
    return key_map_add(&import->threads, hash, *thread) || error_memory(err, sizeof hash, "a trace's threads");
}

/* ---- GPUs, launches, modules ---- */

static bool is_launch(struct kineto_text name)
{
    static const char *const parts[] = {"aunch", "emcpy", "emset"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (size_t at = 0; at + 5 <= name.length; at++)
            if (memcmp(name.at + at, parts[i], 5) == 0) return true;
    return false;
}

static bool is_runtime(const struct kineto_event *event)
{
    return kineto_is(event->category, "cuda_runtime") || kineto_is(event->category, "cuda_driver");
}

static bool is_of_gpu(const struct kineto_event *event)
{
    return kineto_is(event->category, "kernel") || kineto_is(event->category, "gpu_memcpy") ||
           kineto_is(event->category, "gpu_memset");
}

static bool is_gpu_annotation(const struct kineto_event *event)
{
    return kineto_is(event->category, "gpu_user_annotation");
}

static bool is_op(const struct kineto_event *event) { return kineto_is(event->category, "cpu_op"); }

static bool wants(void *context, const struct kineto_event *event)
{
    (void)context;
    return event->category.length == 0 || is_op(event) || is_of_gpu(event) || is_gpu_annotation(event) ||
           (is_runtime(event) && is_launch(event->name));
}

static bool find_shape(struct import *import, const struct kineto_event *event, uint32_t *number, struct error *err)
{
    char key[TRACE_TEXT_MOST];
    struct import_shape shape = {.registers = (uint32_t)event->registers, .bytes = event->shared_bytes};
    if (kineto_is(event->category, "gpu_memcpy")) shape.work = WORK_COPY;
    if (kineto_is(event->category, "gpu_memset")) shape.work = WORK_FILL;
    if (shape.work != WORK_KERNEL) shape.bytes = event->bytes;
    memcpy(shape.grid, event->grid, sizeof shape.grid);
    memcpy(shape.block, event->block, sizeof shape.block);
    TRY(name_of(import, event->name, &shape.name, err));
    snprintf(key, sizeof key, "%u %d %u,%u,%u %u,%u,%u %u %llu", (unsigned)shape.name, (int)shape.work, shape.grid[0],
             shape.grid[1], shape.grid[2], shape.block[0], shape.block[1], shape.block[2], shape.registers,
             (unsigned long long)shape.bytes);
    if (!tables_add_name(&import->shape_keys, key, number)) return error_memory(err, sizeof key, "a trace's kernels");
    if (--*number == import->shapes.count)
        IMPORT_ADD(import->shapes, shape, err); /* number 0 is that of the empty text */
    return true;
}

/* What the args say goes before pid and tid, which need not be numbers. */
static bool device_of(const struct kineto_event *event, uint64_t *device)
{
    *device = event->device;
    return event->has_device || kineto_whole(event->process, device);
}

static bool stream_of(const struct kineto_event *event, uint64_t *stream)
{
    *stream = event->stream;
    return (event->has_stream || kineto_whole(event->thread, stream)) && *stream <= UINT32_MAX;
}

static bool take_run(struct import *import, const struct kineto_event *event, struct error *err)
{
    uint64_t device, stream;
    bool known = device_of(event, &device);
    if (known && device >= TRACE_MOST_DEVICES)
        return error_set(err, ERROR_INPUT, "%s: has an event of GPU %llu, and a trace has at most %d devices",
                         import->path, (unsigned long long)device, TRACE_MOST_DEVICES);
    if (!known || !stream_of(event, &stream)) {
        import->stats->nowhere++;
        return true;
    }
    struct import_run run = {.begin_ns = event->begin_ns,
                             .end_ns = event->begin_ns + event->duration_ns,
                             .key = event->correlation,
                             .external = event->external,
                             .stream = (uint32_t)stream,
                             .device = (uint32_t)device};
    TRY(find_shape(import, event, &run.shape, err));
    import->gpu = true;
    return spill_add(&import->runs, &run, err);
}

static bool take_runtime(struct import *import, const struct kineto_event *event, struct error *err)
{
    uint64_t end = event->begin_ns + event->duration_ns;
    if (event->has_correlation) {
        struct import_launch launch = {.begin_ns = event->begin_ns, .end_ns = end, .key = event->correlation};
        TRY(thread_of(import, event, &launch.thread, err) && name_of(import, event->name, &launch.name, err));
        return launch.key == 0 || spill_add(&import->launches, &launch, err);
    }
    if (event->name.length < 11 || memcmp(event->name.at + event->name.length - 11, "Synchronize", 11) != 0)
        return true;
    struct import_span wait = {event->begin_ns, end, HOST_WAIT, NONE};
    return spill_add(&import->hosts, &wait, err);
}

static bool take_module(struct import *import, const struct kineto_event *event, const char *prefix, struct error *err)
{
    struct import_module module = {.begin_ns = event->begin_ns, .end_ns = event->begin_ns + event->duration_ns};
    size_t cut = strlen(prefix);
    struct kineto_text name = {event->name.at + cut, event->name.length - cut};
    const char *hash = cut == 0 ? memchr(name.at, '#', name.length) : NULL; /* Optimizer.step#SGD.step */
    if (hash) name.length = (size_t)(hash - name.at);
    TRY(name_of(import, name, &module.name, err));
    TRY(thread_of(import, event, &module.thread, err));
    return spill_add(&import->modules, &module, err);
}

/* ---- Annotations ---- */

static bool take_step(struct import *import, const struct kineto_event *event, struct kineto_text number,
                      struct error *err)
{
    struct import_span step = {event->begin_ns, event->begin_ns + event->duration_ns, kineto_number(number), NONE};
    if (is_gpu_annotation(event)) {
        if (!device_of(event, &step.device) || step.device >= TRACE_MOST_DEVICES) return true;
        import->devices[step.device].tells_steps = true;
    }
    if (step.what == 0) import->from_zero = true;
    return spill_add(&import->steps, &step, err);
}

static bool take_annotation(struct import *import, const struct kineto_event *event, struct error *err)
{
    static const char step[] = "ProfilerStep#", loader[] = "enumerate(DataLoader)";
    if (kineto_begins(event->name, step)) {
        struct kineto_text number = {event->name.at + sizeof step - 1, event->name.length - (sizeof step - 1)};
        return take_step(import, event, number, err);
    }
    if (is_gpu_annotation(event)) return true;
    struct import_span span = {event->begin_ns, event->begin_ns + event->duration_ns, HOST_LOAD, NONE};
    if (kineto_begins(event->name, loader)) TRY(spill_add(&import->hosts, &span, err));
    return !kineto_begins(event->name, "Optimizer.") || take_module(import, event, "", err);
}

/* ---- Ops ---- */

static bool take_op(struct import *import, const struct kineto_event *event, struct error *err)
{
    struct import_cpu_op op = {.begin_ns = event->begin_ns,
                               .end_ns = event->begin_ns + event->duration_ns,
                               .order = import->cpu_ops.total,
                               .external = event->has_external ? event->external : 0,
                               .sequence = event->has_sequence ? event->sequence + 1 : 0};
    op.backward = op.sequence && event->forward_thread != 0;
    TRY(name_of(import, event->name, &op.name, err) && thread_of(import, event, &op.thread, err));
    return spill_add(&import->cpu_ops, &op, err);
}

/* Ends are sums of what is read, and within 63 bits like their parts. */
static bool is_timed(const struct kineto_event *event)
{
    return event->has_begin && event->has_duration && event->begin_ns + event->duration_ns < INT64_MAX;
}

static bool take_event(void *context, const struct kineto_event *event, struct error *err)
{
    static const char module[] = "nn.Module: ";
    struct import *import = context;
    if (import_is_stopped(import, err)) return false;
    if (!kineto_is(event->phase, "X")) return true;
    if (!is_timed(event)) {
        import->stats->untimed++;
        return true;
    }
    if (is_op(event)) return take_op(import, event, err);
    if (kineto_is(event->category, "python_function"))
        return !kineto_begins(event->name, module) || take_module(import, event, module, err);
    if (is_of_gpu(event)) return take_run(import, event, err);
    if (is_runtime(event)) return take_runtime(import, event, err);
    if (kineto_is(event->category, "user_annotation") || is_gpu_annotation(event))
        return take_annotation(import, event, err);
    return true;
}

/* ---- Orders ---- */

static int by_run_key(const void *a, const void *b)
{
    const struct import_run *x = a, *y = b;
    return x->key != y->key ? import_compare(x->key, y->key) : import_compare(x->begin_ns, y->begin_ns);
}

static int by_launch_key(const void *a, const void *b)
{
    const struct import_launch *x = a, *y = b;
    return x->key != y->key ? import_compare(x->key, y->key) : import_compare(x->begin_ns, y->begin_ns);
}

/* The longer of two that begin together is the outer one, then the earlier one in the file. */
static int by_op_nesting(const void *a, const void *b)
{
    const struct import_cpu_op *x = a, *y = b;
    if (x->thread != y->thread) return import_compare(x->thread, y->thread);
    if (x->begin_ns != y->begin_ns) return import_compare(x->begin_ns, y->begin_ns);
    return x->end_ns != y->end_ns ? import_compare(y->end_ns, x->end_ns) : import_compare(x->order, y->order);
}

static int by_module_nesting(const void *a, const void *b)
{
    const struct import_module *x = a, *y = b;
    if (x->thread != y->thread) return import_compare(x->thread, y->thread);
    if (x->begin_ns != y->begin_ns) return import_compare(x->begin_ns, y->begin_ns);
    return import_compare(y->end_ns, x->end_ns);
}

static int by_span_begin(const void *a, const void *b)
{
    const struct import_span *x = a, *y = b;
    return x->begin_ns != y->begin_ns ? import_compare(x->begin_ns, y->begin_ns) : import_compare(x->what, y->what);
}

bool import_read(struct import *import, struct error *err)
{
    spill_begin(&import->runs, sizeof(struct import_run), by_run_key, import->out, 0);
    spill_begin(&import->launches, sizeof(struct import_launch), by_launch_key, import->out, 0);
    spill_begin(&import->cpu_ops, sizeof(struct import_cpu_op), by_op_nesting, import->out, 0);
    spill_begin(&import->modules, sizeof(struct import_module), by_module_nesting, import->out, 0);
    spill_begin(&import->steps, sizeof(struct import_span), by_span_begin, import->out, 0);
    spill_begin(&import->hosts, sizeof(struct import_span), by_span_begin, import->out, 0);
    TRY(kineto_read(import->path, &import->head, wants, take_event, import, err));
    import->stats->json_bytes = import->head.bytes;
    import->stats->events = import->head.events;
    return true;
}
