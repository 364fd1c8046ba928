#define _GNU_SOURCE
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ascii.h"
#include "dashboard.h"
#include "mem.h"
#include "rows.h"

uint64_t rollup_total_ns(const struct rollup *rollup)
{
    uint64_t total = 0;
    for (size_t i = 0; i < rollup->op_count; i++) total += rollup->ops[i].total_ns;
    return total;
}

uint64_t rollup_kernels_ns(const struct rollup *rollup)
{
    uint64_t total = 0;
    for (size_t i = 0; i < rollup->kernel_count; i++) total += rollup->kernels[i].times.total_ns;
    return total;
}

static bool passes_filter(const char *filter, const struct rollup_op *op)
{
    return !*filter || ascii_holds(op->layer, filter) || ascii_holds(op->kind, filter) || ascii_holds(op->pass, filter);
}

/* The kernel whose times these are. */
static const struct rollup_kernel *kernel_of(const struct rollup_op *times)
{
    return (const struct rollup_kernel *)((const char *)times - offsetof(struct rollup_kernel, times));
}

/* ---- Grouping ---- */

bool dashboard_devices_apart(const struct dashboard *dashboard)
{
    return (dashboard->group == GROUP_OP) != dashboard->devices_toggled;
}

/* Which lines are one. */
struct grouping {
    enum row_group group;
    bool devices_apart;
    bool kernels; /* of which the kind is the name */
};

static int compare_names(const struct rollup_op *a, const struct rollup_op *b, const struct grouping *by)
{
    int order = 0;
    switch (by->group) {
    case GROUP_KIND: return by->kernels ? strcmp(kernel_of(a)->name, kernel_of(b)->name) : strcmp(a->kind, b->kind);
    case GROUP_PASS: return strcmp(a->pass, b->pass);
    case GROUP_LAYER: return strcmp(a->layer, b->layer);
    case GROUP_OP: /* of several devices */
    case GROUPS: order = strcmp(a->layer, b->layer); break;
    }
    if (order == 0) order = strcmp(a->kind, b->kind);
    if (order == 0) order = strcmp(a->pass, b->pass);
    return order || !by->kernels ? order : strcmp(kernel_of(a)->name, kernel_of(b)->name);
}

static int compare_groups(const struct rollup_op *a, const struct rollup_op *b, const struct grouping *by)
{
    int order = compare_names(a, b, by);
    if (order == 0 && by->devices_apart) order = (a->device > b->device) - (a->device < b->device);
    return order;
}

/* Ops of one group stay in their order. */
static int compare_ops(const void *a, const void *b, void *context)
{
    const struct rollup_op *x = *(const struct rollup_op *const *)a, *y = *(const struct rollup_op *const *)b;
    int order = compare_groups(x, y, context);
    return order ? order : (x > y) - (x < y);
}

/* What an op does not share with its group becomes unknown. Amounts add up here; fill_rates makes rates of them. */
static void merge_op(struct op_row *into, const struct rollup_op *op)
{
    if (into->layer && strcmp(into->layer, op->layer) != 0) into->layer = NULL;
    if (into->kind && strcmp(into->kind, op->kind) != 0) into->kind = NULL;
    if (into->pass && strcmp(into->pass, op->pass) != 0) into->pass = NULL;
    if (into->device != op->device) into->device = ROW_DEVICES;
    into->ops++;
    into->count += op->count;
    into->total_ns += op->total_ns;
    if (op->most_ns > into->most_ns) into->most_ns = op->most_ns;
    into->devices |= UINT64_C(1) << op->device;
    into->flops_per_second += (double)op->flops * (double)op->count;
    into->bytes_per_second += (double)op->bytes_moved * (double)op->count;
}

static void merge_kernel(struct op_row *into, const struct rollup_kernel *kernel)
{
    if (into->name && strcmp(into->name, kernel->name) != 0) into->name = NULL;
    if (into->stream != kernel->stream) into->stream = ROW_STREAMS;
    if (memcmp(into->grid, kernel->grid, sizeof into->grid) != 0) memset(into->grid, 0, sizeof into->grid);
}

static void fill_rates(struct op_row *row, const struct rollup *rollup)
{
    double seconds = (double)row->total_ns * 1e-9;
    row->flops_per_second = seconds > 0 ? row->flops_per_second / seconds : 0;
    row->bytes_per_second = seconds > 0 ? row->bytes_per_second / seconds : 0;
    const struct summary_row second = {.flops = (uint64_t)row->flops_per_second,
                                       .bytes_moved = (uint64_t)row->bytes_per_second};
    const struct roofline r = roofline_of(rollup, &second, 1e9);
    row->bound = r.bound;
    row->peak_share = r.share;
}

static struct op_row begin_row(const struct rollup *rollup, const struct rollup_op *first, bool kernels)
{
    struct op_row row = {.layer = first->layer,
                         .kind = first->kind,
                         .pass = first->pass,
                         .device = first->device,
                         .stream = ROW_STREAMS};
    row.first = (uint32_t)(kernels ? kernel_of(first) - rollup->kernels : first - rollup->ops);
    if (!kernels) return row;
    const struct rollup_kernel *kernel = kernel_of(first);
    row.name = kernel->name;
    row.stream = kernel->stream;
    memcpy(row.grid, kernel->grid, sizeof row.grid);
    return row;
}

/* From the times of several ops, or of one alone. */
static uint64_t percentile_of(const struct rollup_op *const *ops, size_t count, const struct rollup_times *times,
                              double fraction)
{
    return count > 1 ? rollup_times_percentile_ns(times, fraction) : rollup_percentile_ns(ops[0], fraction);
}

static void put_together(struct rollup_times *times, const struct rollup_op *const *ops, size_t count)
{
    *times = (struct rollup_times){0};
    for (size_t i = 0; i < count; i++) rollup_times_add(times, ops[i]);
}

/* What some ops or kernels take of a step on one device. */
struct in_step {
    uint64_t steps;   /* timed ones, of all devices */
    double ns, count; /* NAN = unknown */
};

/* Kernels may run in some steps and not in others. */
static struct in_step kernels_in_step(uint64_t steps, const struct rollup_op *const *kernels, size_t count)
{
    uint64_t ns = 0, runs = 0;
    for (size_t i = 0; i < count; i++) {
        ns += kernels[i]->total_ns;
        runs += kernels[i]->count;
    }
    if (steps == 0 || runs == 0) return (struct in_step){steps, (double)NAN, (double)NAN};
    return (struct in_step){steps, (double)ns / (double)steps, (double)runs / (double)steps};
}

/* Ops run in all steps. */
static struct in_step ops_in_step(const struct row_list *list, const struct rollup *rollup, uint64_t steps,
                                  uint32_t devices, const struct rollup_op *const *ops, size_t count)
{
    double ns = 0, runs = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->count == 0) continue;
        double mine = (double)rollup_runs_a_step(rollup, ops[i], list->timed_steps[ops[i]->device]);
        ns += mine > 0 ? mine * (double)ops[i]->total_ns / (double)ops[i]->count : (double)NAN;
        runs += mine;
    }
    if (steps == 0 || runs == 0 || !isfinite(ns)) return (struct in_step){steps, (double)NAN, (double)NAN};
    return (struct in_step){steps, ns / devices, runs / devices};
}

static struct in_step measure_step(const struct row_list *list, const struct rollup *rollup,
                                   const struct rollup_op *const *ops, size_t count)
{
    uint64_t devices = 0, steps = 0;
    for (size_t i = 0; i < count; i++) devices |= UINT64_C(1) << ops[i]->device;
    for (uint64_t left = devices; left; left &= left - 1) steps += list->timed_steps[__builtin_ctzll(left)];
    if (list->kernels) return kernels_in_step(steps, ops, count);
    return ops_in_step(list, rollup, steps, (uint32_t)__builtin_popcountll(devices), ops, count);
}

static void fill_steps(struct op_row *row, const struct row_list *list, const struct in_step *step)
{
    row->timed_steps = step->steps;
    row->step_ns = step->ns;
    row->step_count = step->count;
    row->step_share = row_list_share(list, row->step_ns, row->total_ns);
}

/* One line from ops of one group. */
static struct op_row make_row(const struct row_list *list, const struct rollup *rollup, const struct row_line *line)
{
    const struct rollup_op *const *ops = list->members + line->begin;
    struct op_row row = begin_row(rollup, ops[0], list->kernels);
    struct rollup_times times;
    if (line->members > 1) put_together(&times, ops, line->members);
    for (size_t i = 0; i < line->members; i++) {
        merge_op(&row, ops[i]);
        if (list->kernels) merge_kernel(&row, kernel_of(ops[i]));
    }
    row.p50_ns = percentile_of(ops, line->members, &times, 0.5);
    row.p99_ns = percentile_of(ops, line->members, &times, 0.99);
    fill_rates(&row, rollup);
    const struct in_step step = measure_step(list, rollup, ops, line->members);
    fill_steps(&row, list, &step);
    return row;
}

/* What lines are compared with. */
static void take_totals(struct row_list *list, const struct rollup *rollup)
{
    list->events = rollup->events;
    list->all_ns = list->kernels ? rollup_kernels_ns(rollup) : rollup_total_ns(rollup);
    list->step_ns = rollup->parts.steps ? (uint64_t)rollup->parts.ns : 0;
    rollup_timed_steps(rollup, list->timed_steps);
}

/* ---- Lines ---- */

/* By what a line is sorted where that is a number. By time: by that of a step, where it is known. */
static double key_of(const struct row_list *list, const struct rollup *rollup, const struct rollup_op *const *ops,
                     size_t count, enum op_sort sort)
{
    struct rollup_times times;
    uint64_t runs = 0, ns = 0;
    double flops = 0;
    if (sort == SORT_ORDER || sort == SORT_NAME) return 0;
    for (size_t i = 0; i < count; i++) {
        runs += ops[i]->count;
        ns += ops[i]->total_ns;
        flops += (double)ops[i]->flops * (double)ops[i]->count;
    }
    if (sort == SORT_TOTAL) {
        double step_ns = measure_step(list, rollup, ops, count).ns;
        return isfinite(step_ns) ? step_ns : (double)ns;
    }
    if (sort == SORT_COUNT) return (double)runs;
    if (sort == SORT_MEAN) return runs ? (double)ns / (double)runs : 0;
    if (sort == SORT_RATE) return ns ? flops / (double)ns : 0;
    if (count > 1) put_together(&times, ops, count);
    return (double)percentile_of(ops, count, &times, 0.99);
}

static bool add_line(struct row_list *list, struct row_line line, struct error *err)
{
    void *lines = list->lines;
    if (!mem_grow(MEM_SCREEN, &lines, &list->capacity, list->count + 1, sizeof line))
        return error_memory(err, list->count * sizeof line, "the op table");
    list->lines = lines;
    list->lines[list->count++] = line;
    return true;
}

static bool add_lines(const struct dashboard *dashboard, const struct rollup *rollup, struct row_list *list,
                      struct error *err)
{
    struct grouping by = {dashboard->group, dashboard_devices_apart(dashboard), list->kernels};
    const struct rollup_op **ops = list->members;
    bool one_by_one = by.group == GROUP_OP && by.devices_apart;
    enum op_sort sort = dashboard_sort(dashboard, list->kernels);
    if (!one_by_one) qsort_r(ops, list->member_count, sizeof *ops, compare_ops, &by);
    for (size_t i = 0, next; i < list->member_count; i = next) {
        next = i + 1;
        while (!one_by_one && next < list->member_count && compare_groups(ops[i], ops[next], &by) == 0) next++;
        double key = key_of(list, rollup, ops + i, next - i, sort);
        const struct row_line line = {key, (uint32_t)i, (uint32_t)(next - i)};
        TRY(add_line(list, line, err));
    }
    return true;
}

/* ---- Order ---- */

/* What all ops of a line have in common; NULL where they differ. */
static const char *common(const struct row_list *list, const struct row_line *line,
                          const char *(*name_of)(const struct rollup_op *op))
{
    const char *name = name_of(list->members[line->begin]);
    for (size_t i = 1; name && i < line->members; i++) {
        const char *other = name_of(list->members[line->begin + i]);
        if (other != name && strcmp(other, name) != 0) name = NULL;
    }
    return name;
}

static const char *layer_of(const struct rollup_op *op) { return op->layer; }
static const char *kind_of(const struct rollup_op *op) { return op->kind; }
static const char *name_of(const struct rollup_op *times) { return kernel_of(times)->name; }

/* By the first name that both have: a kernel's own, the layer, the kind. */
static int compare_lines_by_name(const struct row_list *list, const struct row_line *a, const struct row_line *b)
{
    const char *(*const names[])(const struct rollup_op *) = {name_of, layer_of, kind_of};
    for (size_t i = list->kernels ? 0 : 1; i < sizeof names / sizeof names[0]; i++) {
        const char *x = common(list, a, names[i]), *y = common(list, b, names[i]);
        int order = x && y ? strcmp(x, y) : 0;
        if (order != 0 || (x && y && i > 0)) return order;
    }
    return 0;
}

enum op_sort dashboard_sort(const struct dashboard *dashboard, bool kernels)
{
    return kernels && dashboard->sort == SORT_RATE ? SORT_TOTAL : dashboard->sort;
}

/* Whether a line comes before another. Equal ones stay in the order of their ops. */
static bool comes_before(const struct row_list *list, const struct row_line *a, const struct row_line *b)
{
    int order = (a->key < b->key) - (a->key > b->key);
    if (order == 0 && list->by_name) order = compare_lines_by_name(list, a, b);
    return order ? order < 0 : list->members[a->begin] < list->members[b->begin];
}

static void swap_lines(struct row_list *list, size_t a, size_t b)
{
    const struct row_line line = list->lines[a];
    list->lines[a] = list->lines[b];
    list->lines[b] = line;
}

/* Of the lines that wait none comes before the one at (i - 1) / 2, where i is its own place. */
static void sift_down(struct row_list *list, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < list->waiting; at = child) {
        if (child + 1 < list->waiting && comes_before(list, &list->lines[child + 1], &list->lines[child])) child++;
        if (!comes_before(list, &list->lines[child], &list->lines[at])) return;
        swap_lines(list, child, at);
    }
}

static void order_lines(struct row_list *list, size_t rows)
{
    while (list->waiting > 0 && list->count < rows + list->waiting) {
        swap_lines(list, 0, --list->waiting);
        sift_down(list, 0);
    }
}

const struct op_row *row_list_show(struct row_list *list, const struct rollup *rollup, size_t first, size_t count)
{
    void *rows = list->shown;
    if (list->shown_count == count && list->shown_first == first && rows) return rows;
    list->shown_count = 0;
    if (!mem_grow(MEM_SCREEN, &rows, &list->shown_capacity, count ? count : 1, sizeof *list->shown)) return NULL;
    list->shown = rows;
    if (list->events != rollup->events) take_totals(list, rollup);
    order_lines(list, first + count);
    for (size_t i = 0; i < count; i++)
        list->shown[i] = make_row(list, rollup, &list->lines[list->count - 1 - (first + i)]);
    list->shown_first = first;
    list->shown_count = count;
    return list->shown;
}

/* Room for that many members, none of them there yet. */
static bool begin_members(struct row_list *list, size_t most, struct error *err)
{
    void *members = (void *)list->members;
    list->count = list->member_count = 0;
    if (!mem_grow(MEM_SCREEN, &members, &list->member_capacity, most, sizeof *list->members))
        return error_memory(err, most * sizeof *list->members, "the op table");
    list->members = members;
    return true;
}

/* Lines that nobody sees have no place in the order: there may be tens of thousands. */
static bool make_lines(const struct dashboard *dashboard, const struct rollup *rollup, struct row_list *list,
                       struct error *err)
{
    TRY(add_lines(dashboard, rollup, list, err));
    list->by_name = dashboard_sort(dashboard, list->kernels) == SORT_NAME;
    list->waiting = list->count;
    for (size_t i = list->count / 2; i-- > 0;) sift_down(list, i);
    order_lines(list, list->scroll + dashboard->page_rows);
    return true;
}

static void begin_list(struct row_list *list, const struct rollup *rollup, bool kernels)
{
    list->count = list->waiting = list->shown_count = 0;
    list->kernels = kernels;
    take_totals(list, rollup);
}

double row_list_share(const struct row_list *list, double step_ns, uint64_t total_ns)
{
    if (list->step_ns) return step_ns / (double)list->step_ns;
    return list->all_ns ? (double)total_ns / (double)list->all_ns : (double)NAN;
}

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct row_list *list = &dashboard->ops;
    begin_list(list, rollup, false);
    if (rollup->op_count == 0) return true;
    TRY(begin_members(list, rollup->op_count, err));
    for (size_t i = 0; i < rollup->op_count; i++)
        if (passes_filter(dashboard->filter, &rollup->ops[i])) list->members[list->member_count++] = &rollup->ops[i];
    return make_lines(dashboard, rollup, list, err);
}

/* ---- Kernels ---- */

static bool is_of_op(const struct rollup_op *times, const struct rollup_op *op, bool devices_apart)
{
    return strcmp(times->layer, op->layer) == 0 && strcmp(times->kind, op->kind) == 0 &&
           strcmp(times->pass, op->pass) == 0 && (!devices_apart || times->device == op->device);
}

static bool shows_kernel(const struct dashboard *dashboard, const struct rollup *rollup,
                         const struct rollup_kernel *kernel)
{
    const struct rollup_op *op =
        dashboard->only_op && dashboard->only_op <= rollup->op_count ? &rollup->ops[dashboard->only_op - 1] : NULL;
    if (kernel->times.count == 0) return false;
    if (op && !is_of_op(&kernel->times, op, dashboard_devices_apart(dashboard))) return false;
    return passes_filter(dashboard->filter, &kernel->times) || ascii_holds(kernel->name, dashboard->filter);
}

bool rows_update_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct row_list *list = &dashboard->kernels;
    begin_list(list, rollup, true);
    if (rollup->kernel_count == 0) return true;
    TRY(begin_members(list, rollup->kernel_count, err));
    for (size_t i = 0; i < rollup->kernel_count; i++)
        if (shows_kernel(dashboard, rollup, &rollup->kernels[i]))
            list->members[list->member_count++] = &rollup->kernels[i].times;
    return make_lines(dashboard, rollup, list, err);
}

void rows_finish(struct row_list *list)
{
    mem_free(list->lines);
    mem_free(list->shown);
    mem_free((void *)list->members);
    *list = (struct row_list){0};
}
