#define _GNU_SOURCE
#include "import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "import_private.h"
#include "mem.h"

/* ---- Lists and names ---- */

static bool grow(void **items, size_t *capacity, size_t count, size_t size, struct error *err)
{
    return mem_grow(MEM_TRACE, items, capacity, count + 1, size) ||
           error_memory(err, (count + 1) * size, "what is read of a trace");
}

/* Adds a copy of `item`. */
#define ADD(list, item, err)                                                                                           \
    do {                                                                                                               \
        void *items = (list).items;                                                                                    \
        bool grown = grow(&items, &(list).capacity, (list).count, sizeof *(list).items, err);                          \
        (list).items = items;                                                                                          \
        if (!grown) return false;                                                                                      \
        (list).items[(list).count++] = item;                                                                           \
    } while (0)

static bool add_name(struct import *import, const char *text, uint32_t *number, struct error *err)
{
    return tables_add_name(&import->names, text, number) || error_memory(err, strlen(text), "a name of a trace");
}

/* Of an op of the backward pass what it differentiates, without the engine's words. */
static bool name_of(struct import *import, struct kineto_text text, uint32_t *number, struct error *err)
{
    static const char engine[] = "autograd::engine::evaluate_function: ";
    if (kineto_begins(text, engine))
        text = (struct kineto_text){text.at + sizeof engine - 1, text.length - sizeof engine + 1};
    char copy[TRACE_TEXT_MOST + 8];
    kineto_copy(text, copy, sizeof copy);
    return add_name(import, copy, number, err);
}

static bool thread_of(struct import *import, const struct kineto_event *event, uint32_t *thread, struct error *err)
{
    uint64_t process = hash_bytes(event->process.at, event->process.length, 0);
    uint64_t hash = hash_bytes(event->thread.at, event->thread.length, process);
    if (import->last_thread < import->threads.count && import->threads.items[import->last_thread] == hash) {
        *thread = import->last_thread;
        return true;
    }
    for (*thread = 0; *thread < import->threads.count; ++*thread)
        if (import->threads.items[*thread] == hash) break;
    if (*thread == import->threads.count) ADD(import->threads, hash, err);
    import->last_thread = *thread;
    return true;
}

/* ---- First pass: GPUs, launches, modules, steps ---- */

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

static bool wants_first(void *context, const struct kineto_event *event)
{
    (void)context;
    return event->category.length == 0 || is_of_gpu(event) || (is_runtime(event) && is_launch(event->name));
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
    if (--*number == import->shapes.count) ADD(import->shapes, shape, err); /* number 0 is that of the empty text */
    return true;
}

static bool take_run(struct import *import, const struct kineto_event *event, struct error *err)
{
    struct import_run run = {.begin_ns = event->begin_ns,
                             .end_ns = event->begin_ns + event->duration_ns,
                             .key = (uint32_t)event->correlation,
                             .external = (uint32_t)event->external,
                             .stream = (uint32_t)kineto_number(event->thread),
                             .device = (uint32_t)kineto_number(event->process),
                             .launch = NONE,
                             .op = NONE};
    if (run.device >= TRACE_MOST_DEVICES)
        return error_set(err, ERROR_INPUT, "%s: has an event of GPU %u, and a trace has at most %d devices",
                         import->path, (unsigned)run.device, TRACE_MOST_DEVICES);
    TRY(find_shape(import, event, &run.shape, err));
    import->gpu = true;
    ADD(import->runs, run, err);
    return true;
}

static bool take_runtime(struct import *import, const struct kineto_event *event, struct error *err)
{
    uint64_t end = event->begin_ns + event->duration_ns;
    if (event->has_correlation) {
        struct import_launch launch = {.begin_ns = event->begin_ns, .end_ns = end, .op = NONE};
        launch.key = (uint32_t)event->correlation;
        TRY(thread_of(import, event, &launch.thread, err));
        ADD(import->launches, launch, err);
        return true;
    }
    if (event->name.length < 11 || memcmp(event->name.at + event->name.length - 11, "Synchronize", 11) != 0)
        return true;
    struct import_span wait = {event->begin_ns, end, HOST_WAIT, NONE};
    ADD(import->hosts, wait, err);
    return true;
}

static bool take_module(struct import *import, const struct kineto_event *event, const char *prefix, struct error *err)
{
    struct import_module module = {
        .begin_ns = event->begin_ns, .end_ns = event->begin_ns + event->duration_ns, .parent = NONE, .path = NONE};
    size_t cut = strlen(prefix);
    struct kineto_text name = {event->name.at + cut, event->name.length - cut};
    const char *hash = cut == 0 ? memchr(name.at, '#', name.length) : NULL; /* Optimizer.step#SGD.step */
    if (hash) name.length = (size_t)(hash - name.at);
    TRY(name_of(import, name, &module.name, err));
    TRY(thread_of(import, event, &module.thread, err));
    ADD(import->modules, module, err);
    return true;
}

static bool take_annotation(struct import *import, const struct kineto_event *event, struct error *err)
{
    static const char step[] = "ProfilerStep#", loader[] = "enumerate(DataLoader)";
    struct import_span span = {event->begin_ns, event->begin_ns + event->duration_ns, HOST_LOAD, NONE};
    bool gpu = kineto_is(event->category, "gpu_user_annotation");
    if (kineto_begins(event->name, step)) {
        struct kineto_text number = {event->name.at + sizeof step - 1, event->name.length - (sizeof step - 1)};
        span.what = kineto_number(number);
        if (gpu) span.device = (uint32_t)kineto_number(event->process);
        if (!gpu || span.device < TRACE_MOST_DEVICES) ADD(import->steps, span, err);
        return true;
    }
    if (gpu) return true;
    if (kineto_begins(event->name, loader)) ADD(import->hosts, span, err);
    if (!kineto_begins(event->name, "Optimizer.")) return true;
    return take_module(import, event, "", err);
}

static bool is_stopped(struct import *import, struct error *err)
{
    if (++import->seen % 1024 != 0 || !import->stop || !*import->stop) return false;
    error_set(err, ERROR_FAILED, "%s: stopped; nothing was written", import->path);
    return true;
}

static bool take_first(void *context, const struct kineto_event *event, struct error *err)
{
    static const char module[] = "nn.Module: ";
    struct import *import = context;
    if (is_stopped(import, err)) return false;
    if (!kineto_is(event->phase, "X")) return true;
    if (kineto_is(event->category, "cpu_op")) return true;
    if (kineto_is(event->category, "python_function"))
        return !kineto_begins(event->name, module) || take_module(import, event, module, err);
    if (is_of_gpu(event)) return take_run(import, event, err);
    if (is_runtime(event)) return take_runtime(import, event, err);
    if (kineto_is(event->category, "user_annotation") || kineto_is(event->category, "gpu_user_annotation"))
        return take_annotation(import, event, err);
    return true;
}

/* ---- Between the passes: who launched what, which module is in which ---- */

static int compare_u64(uint64_t x, uint64_t y) { return (x > y) - (x < y); }

static int by_key(const void *a, const void *b)
{
    const struct import_launch *x = a, *y = b;
    return compare_u64(x->key, y->key);
}

static int by_run_key(const void *a, const void *b)
{
    const struct import_run *x = a, *y = b;
    int order = compare_u64(x->key, y->key);
    return order ? order : compare_u64(x->begin_ns, y->begin_ns);
}

static int by_thread(const void *a, const void *b)
{
    const struct import_launch *x = a, *y = b;
    return x->thread != y->thread ? compare_u64(x->thread, y->thread) : compare_u64(x->begin_ns, y->begin_ns);
}

/* The longer of two that begin together is the outer one. */
static int by_nesting(const void *a, const void *b)
{
    const struct import_module *x = a, *y = b;
    if (x->thread != y->thread) return compare_u64(x->thread, y->thread);
    if (x->begin_ns != y->begin_ns) return compare_u64(x->begin_ns, y->begin_ns);
    return compare_u64(y->end_ns, x->end_ns);
}

static void sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *))
{
    if (count > 1) qsort(items, count, size, compare);
}

/* Launches that nothing came of go; the others are numbered anew in the order of their threads, which runs take over.
 */
static bool join_launches(struct import *import, struct error *err)
{
    struct import_launch *launches = import->launches.items;
    size_t kept = 0, at = 0, runs = import->runs.count;
    sort(launches, import->launches.count, sizeof *launches, by_key);
    sort(import->runs.items, runs, sizeof *import->runs.items, by_run_key);
    for (size_t i = 0; i < import->launches.count; i++) {
        while (at < runs && import->runs.items[at].key < launches[i].key) at++;
        bool used = launches[i].key != 0 && at < runs && import->runs.items[at].key == launches[i].key;
        bool again = kept > 0 && launches[kept - 1].key == launches[i].key;
        if (used && !again) launches[kept++] = launches[i];
    }
    import->launches.count = kept;
    uint32_t *first = mem_alloc(MEM_TRACE, kept, sizeof *first); /* the first run of each launch */
    if (!first) return error_memory(err, kept * sizeof *first, "a trace's launches");
    at = 0;
    for (size_t i = 0; i < kept; i++) {
        while (import->runs.items[at].key < launches[i].key) at++;
        first[i] = (uint32_t)at;
        launches[i].op_begin_ns = i; /* for a moment: what it was before it is sorted */
    }
    sort(launches, kept, sizeof *launches, by_thread);
    for (size_t i = 0; i < kept; i++) {
        uint32_t key = launches[i].key;
        for (size_t run = first[launches[i].op_begin_ns]; run < runs && import->runs.items[run].key == key; run++)
            import->runs.items[run].launch = (uint32_t)i;
        launches[i].op_begin_ns = 0;
    }
    mem_free(first);
    return true;
}

static bool list_externals(struct import *import, struct error *err)
{
    for (size_t i = 0; i < import->runs.count; i++) {
        const struct import_run *run = &import->runs.items[i];
        if (run->launch == NONE && run->external != 0) ADD(import->externals, (uint32_t)i, err);
    }
    return true;
}

static void nest_modules(struct import *import)
{
    struct import_module *modules = import->modules.items;
    sort(modules, import->modules.count, sizeof *modules, by_nesting);
    for (size_t i = 1; i < import->modules.count; i++) {
        uint32_t outer = (uint32_t)i - 1;
        while (outer != NONE &&
               (modules[outer].thread != modules[i].thread || modules[outer].end_ns < modules[i].end_ns))
            outer = modules[outer].parent;
        modules[i].parent = outer;
    }
}

/* The innermost module that a thread was in; NONE when in none. */
static uint32_t find_module(const struct import *import, uint32_t thread, uint64_t ns)
{
    const struct import_module *modules = import->modules.items;
    size_t low = 0, high = import->modules.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct import_module *module = &modules[middle];
        if (module->thread < thread || (module->thread == thread && module->begin_ns <= ns))
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t found = low > 0 && modules[low - 1].thread == thread ? (uint32_t)low - 1 : NONE;
    while (found != NONE && modules[found].end_ns < ns) found = modules[found].parent;
    return found;
}

/* ---- Second pass: ops ---- */

static struct import_sequence *find_sequence(struct import_sequence *table, size_t capacity, uint32_t number)
{
    size_t at = number * 2654435761u & (capacity - 1);
    while (table[at].number != 0 && table[at].number != number) at = (at + 1) & (capacity - 1);
    return &table[at];
}

static bool grow_sequences(struct import *import, struct error *err)
{
    size_t capacity = import->sequence_capacity ? import->sequence_capacity * 2 : 1024;
    struct import_sequence *table = mem_zalloc(MEM_TRACE, capacity, sizeof *table);
    if (!table) return error_memory(err, capacity * sizeof *table, "a trace's forward ops");
    for (size_t i = 0; i < import->sequence_capacity; i++)
        if (import->sequences[i].number)
            *find_sequence(table, capacity, import->sequences[i].number) = import->sequences[i];
    mem_free(import->sequences);
    import->sequences = table;
    import->sequence_capacity = capacity;
    return true;
}

/* Of several ops of one number the last one made the node of the graph that runs backward. */
static bool note_forward(struct import *import, uint32_t number, uint32_t thread, uint64_t begin_ns, struct error *err)
{
    uint32_t module = find_module(import, thread, begin_ns);
    if (module == NONE) return true;
    if (import->sequence_count * 2 >= import->sequence_capacity) TRY(grow_sequences(import, err));
    struct import_sequence *entry = find_sequence(import->sequences, import->sequence_capacity, number);
    if (entry->number == 0) import->sequence_count++;
    if (entry->number == 0 || entry->begin_ns <= begin_ns) *entry = (struct import_sequence){begin_ns, number, module};
    return true;
}

static bool wants_second(void *context, const struct kineto_event *event)
{
    (void)context;
    return event->category.length == 0 || kineto_is(event->category, "cpu_op");
}

/* All launches in [begin, end] of a thread: the op is theirs when it begins later than the one that they have. */
static bool own_launches(struct import *import, const struct kineto_event *event, uint32_t thread, uint32_t backward,
                         struct error *err)
{
    struct import_launch *launches = import->launches.items;
    uint64_t begin = event->begin_ns, end = begin + event->duration_ns;
    size_t low = 0, high = import->launches.count;
    uint32_t name = NONE;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (launches[middle].thread < thread ||
            (launches[middle].thread == thread && launches[middle].begin_ns < begin))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < import->launches.count && launches[low].thread == thread && launches[low].begin_ns <= end; low++) {
        struct import_launch *launch = &launches[low];
        if (backward) launch->sequence = backward;
        if (begin < launch->op_begin_ns) continue;
        if (name == NONE) TRY(name_of(import, event->name, &name, err));
        launch->op = name;
        launch->op_begin_ns = begin;
    }
    return true;
}

static int compare_external(const struct import *import, uint32_t run, uint32_t external)
{
    return compare_u64(import->runs.items[run].external, external);
}

/* Runs whose launch is not in the trace: a launch is made up for them where the op stood. */
static bool own_externals(struct import *import, const struct kineto_event *event, uint32_t thread, uint32_t backward,
                          struct error *err)
{
    size_t low = 0, high = import->externals.count;
    uint32_t external = (uint32_t)event->external;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_external(import, import->externals.items[middle], external) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t made = (uint32_t)import->launches.count;
    for (; low < import->externals.count && compare_external(import, import->externals.items[low], external) == 0;
         low++)
        import->runs.items[import->externals.items[low]].launch = made;
    if (low == 0 || compare_external(import, import->externals.items[low - 1], external) != 0) return true;
    struct import_launch launch = {.begin_ns = event->begin_ns, .op_begin_ns = event->begin_ns, .thread = thread};
    launch.sequence = backward;
    TRY(name_of(import, event->name, &launch.op, err));
    ADD(import->launches, launch, err);
    return true;
}

static bool take_second(void *context, const struct kineto_event *event, struct error *err)
{
    struct import *import = context;
    uint32_t thread, sequence = event->has_sequence ? (uint32_t)event->sequence + 1 : 0;
    bool backward = sequence && event->forward_thread != 0;
    if (is_stopped(import, err)) return false;
    if (!kineto_is(event->phase, "X") || !kineto_is(event->category, "cpu_op")) return true;
    TRY(thread_of(import, event, &thread, err));
    if (sequence && !backward) TRY(note_forward(import, sequence, thread, event->begin_ns, err));
    if (!import->gpu) {
        struct import_run run = {.begin_ns = event->begin_ns,
                                 .end_ns = event->begin_ns + event->duration_ns,
                                 .stream = thread,
                                 .launch = backward ? sequence : 0,
                                 .op = NONE};
        TRY(name_of(import, event->name, &run.shape, err));
        ADD(import->runs, run, err);
        return true;
    }
    if (event->has_external && import->externals.count > 0 && event->external != 0)
        TRY(own_externals(import, event, thread, backward ? sequence : 0, err));
    return own_launches(import, event, thread, backward ? sequence : 0, err);
}

/* ---- Ops of the table ---- */

/* "layer1/BasicBlock_0/Conv2d_0": without the outermost module, which all are in, unless it is the only one. */
static bool make_path(struct import *import, uint32_t module, uint32_t *path, struct error *err)
{
    char text[TRACE_TEXT_MOST + 1];
    size_t at = sizeof text - 1;
    struct import_module *modules = import->modules.items;
    if (modules[module].path == NONE) {
        text[at] = '\0';
        for (uint32_t m = module; m != NONE; m = modules[m].parent) {
            if (modules[m].parent == NONE && m != module) break;
            const char *name = import->names.names[modules[m].name];
            size_t length = strlen(name), slash = m != module;
            if (length + slash > at) break;
            if (slash) text[--at] = '/';
            at -= length;
            memcpy(text + at, name, length);
        }
        TRY(add_name(import, text + at, &modules[module].path, err));
    }
    *path = modules[module].path;
    return true;
}

static const char *pass_of(const struct import *import, uint32_t module, bool backward, const char *kernel)
{
    if (kernel && strncmp(kernel, "nccl", 4) == 0) return "comm";
    if (backward) return "backward";
    if (module == NONE) return "";
    return strncmp(import->names.names[import->modules.items[module].name], "Optimizer.", 10) == 0 ? "update"
                                                                                                   : "forward";
}

/* Of a name, a place and, in the backward pass, the forward op's number. */
static bool find_op(struct import *import, uint32_t kind, uint32_t thread, uint64_t ns, uint32_t sequence,
                    const char *kernel, uint32_t *op, struct error *err)
{
    char key[64];
    struct import_op made = {.kind = kind};
    uint32_t module = find_module(import, thread, ns);
    if (sequence && import->sequence_capacity) {
        const struct import_sequence *forward = find_sequence(import->sequences, import->sequence_capacity, sequence);
        if (forward->number) module = forward->module;
    }
    if (module == NONE)
        TRY(add_name(import, "(no module)", &made.layer, err));
    else
        TRY(make_path(import, module, &made.layer, err));
    TRY(add_name(import, pass_of(import, module, sequence != 0, kernel), &made.pass, err));
    snprintf(key, sizeof key, "%u %u %u", (unsigned)made.layer, (unsigned)made.kind, (unsigned)made.pass);
    if (!tables_add_name(&import->op_keys, key, op)) return error_memory(err, sizeof key, "a trace's ops");
    if (--*op == import->ops.count) ADD(import->ops, made, err);
    return true;
}

static bool own_runs(struct import *import, struct error *err)
{
    for (size_t i = 0; i < import->runs.count; i++) {
        struct import_run *run = &import->runs.items[i];
        const struct import_launch *launch = run->launch == NONE ? NULL : &import->launches.items[run->launch];
        const char *name = import->names.names[import->shapes.items[run->shape].name];
        if (launch && launch->op != NONE)
            TRY(find_op(import, launch->op, launch->thread, launch->begin_ns, launch->sequence, name, &run->op, err));
    }
    return true;
}

static int by_outer(const void *a, const void *b)
{
    const struct import_run *x = a, *y = b;
    if (x->stream != y->stream) return compare_u64(x->stream, y->stream);
    if (x->begin_ns != y->begin_ns) return compare_u64(x->begin_ns, y->begin_ns);
    return compare_u64(y->end_ns, x->end_ns);
}

/* Without GPUs: what no other op is around. */
static bool keep_outer(struct import *import, struct error *err)
{
    struct import_run *runs = import->runs.items;
    size_t kept = 0;
    sort(runs, import->runs.count, sizeof *runs, by_outer);
    for (size_t i = 0; i < import->runs.count; i++) {
        bool inner = kept > 0 && runs[kept - 1].stream == runs[i].stream && runs[i].end_ns <= runs[kept - 1].end_ns;
        if (!inner) runs[kept++] = runs[i];
    }
    import->runs.count = kept;
    for (size_t i = 0; i < kept; i++)
        TRY(find_op(import, runs[i].shape, runs[i].stream, runs[i].begin_ns, runs[i].launch, NULL, &runs[i].op, err));
    return true;
}

/* ---- All of it ---- */

static int by_external(const void *a, const void *b, void *runs)
{
    const struct import_run *all = runs;
    return compare_u64(all[*(const uint32_t *)a].external, all[*(const uint32_t *)b].external);
}

static bool gather(struct import *import, struct trace_import_stats *stats, struct error *err)
{
    TRY(kineto_read(import->path, &import->head, wants_first, take_first, import, err));
    stats->json_bytes = import->head.bytes;
    stats->events = import->head.events;
    TRY(join_launches(import, err) && list_externals(import, err));
    if (import->externals.count > 1)
        qsort_r(import->externals.items, import->externals.count, sizeof(uint32_t), by_external, import->runs.items);
    nest_modules(import);
    TRY(kineto_read(import->path, &import->head, wants_second, take_second, import, err));
    TRY(import->gpu ? own_runs(import, err) : keep_outer(import, err));
    if (import->runs.count > 0) return true;
    return error_set(err, ERROR_INPUT, "%s: has neither kernels nor ops of PyTorch: nothing to import", import->path);
}

static void finish(struct import *import)
{
    mem_free(import->runs.items);
    mem_free(import->launches.items);
    mem_free(import->modules.items);
    mem_free(import->steps.items);
    mem_free(import->hosts.items);
    mem_free(import->shapes.items);
    mem_free(import->ops.items);
    mem_free(import->threads.items);
    mem_free(import->externals.items);
    mem_free(import->sequences);
    tables_finish(&import->names);
    tables_finish(&import->shape_keys);
    tables_finish(&import->op_keys);
    mem_free(import);
}

bool trace_import(const char *path, const char *out, const volatile sig_atomic_t *stop,
                  struct trace_import_stats *stats, struct error *err)
{
    struct import *import = mem_zalloc(MEM_TRACE, 1, sizeof *import);
    if (!import) return error_memory(err, sizeof *import, path);
    *stats = (struct trace_import_stats){0};
    import->path = path;
    import->stop = stop;
    bool ok = gather(import, stats, err) && import_write(import, out, stats, err);
    finish(import);
    return ok;
}
