/* What a device did in each nanosecond of a step: a sweep over the moments at which something began or ended. */
#include <stdlib.h>

#include "step_times_private.h"
#include "mem.h"

const char *step_part_name(enum step_part part)
{
    static const char *const names[STEP_PARTS] = {"kernels", "copy", "data", "launch", "sync", "dependency"};
    return part < STEP_PARTS ? names[part] : "?";
}

bool step_times_add_stretch(struct stretch_list *list, struct stretch stretch, struct error *err)
{
    void *stretches = list->stretches;
    if (!mem_grow(MEM_TRACE, &stretches, &list->capacity, list->count + 1, sizeof stretch))
        return error_memory(err, (list->count + 1) * sizeof stretch, "a step's kernels");
    list->stretches = stretches;
    list->stretches[list->count++] = stretch;
    return true;
}

static int compare_begins(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;
    return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ---- The step's window ---- */

struct window {
    uint64_t begin_ns, end_ns;
    uint64_t first_ns, last_ns; /* of what the device did in it */
};

/* A step begins where its images were loaded, when that was after the step before. */
static struct window find_window(const struct stretch_list *host, const struct step_time *step, uint64_t before_ns)
{
    struct window window = {step->begin_ns, step->end_ns, step->end_ns, step->begin_ns};
    size_t low = 0, high = host->count;
    while (low < high) { /* the first that begins after the step does */
        size_t middle = low + (high - low) / 2;
        if (host->stretches[middle].begin_ns < step->begin_ns)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0 && host->stretches[low].begin_ns >= before_ns) {
        const struct stretch *stretch = &host->stretches[low];
        if (stretch->part == PART_DATA && stretch->end_ns <= step->begin_ns) window.begin_ns = stretch->begin_ns;
    }
    return window;
}

/* ---- The sweep ---- */

/* Ends and begins of one part that has been seen so far: a part is active while more have begun than ended. */
struct edges {
    uint64_t *begins, *ends;
    size_t count, begun, ended;
};

struct sweep {
    uint64_t *times; /* all of the edges' in one block */
    struct edges parts[PART_LAUNCH + 1];
};

static uint64_t clip(uint64_t ns, const struct window *window)
{
    return ns < window->begin_ns ? window->begin_ns : ns > window->end_ns ? window->end_ns : ns;
}

static void add_edges(struct sweep *sweep, const struct stretch *stretch, struct window *window)
{
    struct edges *edges = &sweep->parts[stretch->part];
    uint64_t begin = clip(stretch->begin_ns, window), end = clip(stretch->end_ns, window);
    if (end <= begin) return;
    edges->begins[edges->count] = begin;
    edges->ends[edges->count++] = end;
    if (stretch->part > PART_COPY) return;
    if (begin < window->first_ns) window->first_ns = begin;
    if (end > window->last_ns) window->last_ns = end;
}

/* The next moment after `now` at which a part begins or ends. */
static uint64_t next_edge(struct sweep *sweep, uint64_t now, uint64_t end)
{
    for (int part = 0; part <= PART_LAUNCH; part++) {
        struct edges *edges = &sweep->parts[part];
        while (edges->begun < edges->count && edges->begins[edges->begun] <= now) edges->begun++;
        while (edges->ended < edges->count && edges->ends[edges->ended] <= now) edges->ended++;
        if (edges->begun < edges->count && edges->begins[edges->begun] < end) end = edges->begins[edges->begun];
        if (edges->ended < edges->count && edges->ends[edges->ended] < end) end = edges->ends[edges->ended];
    }
    return end;
}

static enum step_part part_now(const struct sweep *sweep, const struct window *window, uint64_t now)
{
    for (int part = 0; part <= PART_LAUNCH; part++)
        if (sweep->parts[part].begun > sweep->parts[part].ended) return (enum step_part)part;
    if (now < window->first_ns) return PART_LAUNCH;
    return now >= window->last_ns ? PART_SYNC : PART_DEPENDENCY;
}

static void run_sweep(struct sweep *sweep, const struct window *window, uint64_t parts[STEP_PARTS])
{
    for (int part = 0; part <= PART_LAUNCH; part++) {
        struct edges *edges = &sweep->parts[part];
        if (edges->count == 0) continue;
        qsort(edges->begins, edges->count, sizeof *edges->begins, compare_times);
        qsort(edges->ends, edges->count, sizeof *edges->ends, compare_times);
    }
    for (uint64_t now = window->begin_ns, next; now < window->end_ns; now = next) {
        next = next_edge(sweep, now, window->end_ns);
        parts[part_now(sweep, window, now)] += next - now;
    }
}

static bool divide(const struct stretch_list *device, const struct stretch_list *host, struct window *window,
                   uint64_t parts[STEP_PARTS])
{
    size_t count = device->count + host->count;
    struct sweep sweep = {.times = mem_alloc(MEM_TRACE, count * 2 * (PART_LAUNCH + 1), sizeof *sweep.times)};
    if (!sweep.times) return false;
    for (size_t part = 0; part <= PART_LAUNCH; part++) {
        sweep.parts[part].begins = sweep.times + count * 2 * part;
        sweep.parts[part].ends = sweep.parts[part].begins + count;
    }
    for (size_t i = 0; i < device->count; i++) add_edges(&sweep, &device->stretches[i], window);
    for (size_t i = 0; i < host->count; i++) add_edges(&sweep, &host->stretches[i], window);
    run_sweep(&sweep, window, parts);
    mem_free(sweep.times);
    return true;
}

/* The part of a list, which is in order of begins, that may reach into the window. Loads and launches do not overlap
 * those of their own kind. */
static struct stretch_list near_window(const struct stretch_list *host, const struct window *window, size_t *from)
{
    while (*from < host->count && host->stretches[*from].end_ns <= window->begin_ns) ++*from;
    size_t end = *from;
    while (end < host->count && host->stretches[end].begin_ns < window->end_ns) end++;
    return (struct stretch_list){.stretches = host->stretches + *from, .count = end - *from};
}

/* Of one stream they come in order, and are most of what there is. */
static bool is_sorted(const struct stretch_list *list)
{
    for (size_t i = list->sorted > 1 ? list->sorted : 1; i < list->count; i++)
        if (list->stretches[i].begin_ns < list->stretches[i - 1].begin_ns) return false;
    return true;
}

void step_times_sort(struct stretch_list *list)
{
    if (!is_sorted(list)) qsort(list->stretches, list->count, sizeof *list->stretches, compare_begins);
    list->sorted = list->count;
}

bool step_times_divide(const struct stretch_list *device, const struct stretch_list *host, const struct step_time *step,
                       uint64_t before_ns, size_t *from, uint64_t *ns, uint64_t parts[STEP_PARTS])
{
    struct window window = find_window(host, step, before_ns);
    struct stretch_list near = near_window(host, &window, from);
    *ns = window.end_ns - window.begin_ns;
    for (int part = 0; part < STEP_PARTS; part++) parts[part] = 0;
    return divide(device, &near, &window, parts);
}

static bool divide_device(struct maker_device *device, struct step_times *b, const double *devices)
{
    struct stretch_list *host = &device->host;
    uint64_t before = 0;
    size_t from = 0;
    step_times_sort(host);
    for (size_t i = 0; i < device->steps.count; i++) {
        const struct step_time *step = &device->steps.steps[i];
        uint64_t ns, parts[STEP_PARTS];
        if (step->slot != NO_SLOT) {
            struct step_times_step *result = &b->steps[step->slot];
            if (!step_times_divide(&device->slots[step->slot], host, step, before, &from, &ns, parts)) return false;
            result->ns += (double)ns / devices[step->slot];
            for (int part = 0; part < STEP_PARTS; part++)
                result->part_ns[part] += (double)parts[part] / devices[step->slot];
        }
        if (step->end_ns > before) before = step->end_ns;
    }
    return true;
}

bool step_times_divide_steps(struct maker *maker, struct step_times *b, const double *devices, struct error *err)
{
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++)
        if (!divide_device(&maker->devices[d], b, devices)) return error_memory(err, 0, "a step's kernels");
    return true;
}
