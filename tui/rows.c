#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

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
    return !*filter || strcasestr(op->layer, filter) || strcasestr(op->kind, filter) || strcasestr(op->pass, filter);
}

/* The kernel whose times these are. */
static const struct rollup_kernel *kernel_of(const struct rollup_op *times)
{
    return (const struct rollup_kernel *)((const char *)times - offsetof(struct rollup_kernel, times));
}

/* ---- Grouping ---- */

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

static bool add_row(struct row_list *list, struct op_row row, struct error *err)
{
    void *rows = list->rows;
    if (!mem_grow(MEM_SCREEN, &rows, &list->capacity, list->count + 1, sizeof row))
        return error_memory(err, list->count * sizeof row, "the op table");
    list->rows = rows;
    list->rows[list->count++] = row;
    return true;
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

/* One line from ops of one group. */
static bool add_group(struct row_list *list, const struct rollup *rollup, const struct rollup_op *const *ops,
                      size_t count, bool kernels, struct error *err)
{
    const struct rollup_op *first = ops[0];
    struct op_row row = begin_row(rollup, first, kernels);
    struct rollup_times times;
    times.ops = 0;
    if (count > 1) times = (struct rollup_times){0};
    for (size_t i = 0; i < count; i++) {
        merge_op(&row, ops[i]);
        if (kernels) merge_kernel(&row, kernel_of(ops[i]));
        if (count > 1) rollup_times_add(&times, ops[i]);
    }
    row.p50_ns = count > 1 ? rollup_times_percentile_ns(&times, 0.5) : rollup_percentile_ns(first, 0.5);
    row.p99_ns = count > 1 ? rollup_times_percentile_ns(&times, 0.99) : rollup_percentile_ns(first, 0.99);
    fill_rates(&row, rollup);
    return add_row(list, row, err);
}

static bool add_groups(const struct dashboard *dashboard, const struct rollup *rollup, struct row_list *list,
                       bool kernels, struct error *err)
{
    struct grouping by = {dashboard->group, dashboard_devices_apart(dashboard), kernels};
    const struct rollup_op **ops = list->members;
    bool one_by_one = by.group == GROUP_OP && by.devices_apart;
    if (!one_by_one) qsort_r(ops, list->member_count, sizeof *ops, compare_ops, &by);
    for (size_t i = 0, next; i < list->member_count; i = next) {
        next = i + 1;
        while (!one_by_one && next < list->member_count && compare_groups(ops[i], ops[next], &by) == 0) next++;
        TRY(add_group(list, rollup, ops + i, next - i, kernels, err));
    }
    return true;
}

/* ---- Order ---- */

static double mean_ns(const struct op_row *row) { return row->count ? (double)row->total_ns / (double)row->count : 0; }

static int by_number(double a, double b) { return (a < b) - (a > b); /* largest first */ }

/* By the first name that both have. */
static int compare_texts(const char *a, const char *b, const char *a_kind, const char *b_kind)
{
    if (a && b) return strcmp(a, b);
    return a_kind && b_kind ? strcmp(a_kind, b_kind) : 0;
}

enum op_sort dashboard_sort(const struct dashboard *dashboard, bool kernels)
{
    return kernels && dashboard->sort == SORT_RATE ? SORT_TOTAL : dashboard->sort;
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct op_row *x = a, *y = b;
    int order = 0;
    switch (*(const enum op_sort *)context) {
    case SORT_TOTAL: order = by_number((double)x->total_ns, (double)y->total_ns); break;
    case SORT_MEAN: order = by_number(mean_ns(x), mean_ns(y)); break;
    case SORT_P99: order = by_number((double)x->p99_ns, (double)y->p99_ns); break;
    case SORT_COUNT: order = by_number((double)x->count, (double)y->count); break;
    case SORT_RATE: order = by_number(x->flops_per_second, y->flops_per_second); break;
    case SORT_NAME:
        if (x->name && y->name) order = strcmp(x->name, y->name);
        if (order == 0) order = compare_texts(x->layer, y->layer, x->kind, y->kind);
        break;
    case SORT_ORDER:
    case OP_SORTS: break;
    }
    return order ? order : (x->first > y->first) - (x->first < y->first);
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

static bool make_rows(const struct dashboard *dashboard, const struct rollup *rollup, struct row_list *list,
                      bool kernels, struct error *err)
{
    enum op_sort sort = dashboard_sort(dashboard, kernels);
    TRY(add_groups(dashboard, rollup, list, kernels, err));
    if (list->count > 0) qsort_r(list->rows, list->count, sizeof *list->rows, compare_rows, &sort);
    return true;
}

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct row_list *list = &dashboard->ops;
    list->count = 0;
    list->all_ns = rollup_total_ns(rollup);
    if (rollup->op_count == 0) return true;
    TRY(begin_members(list, rollup->op_count, err));
    for (size_t i = 0; i < rollup->op_count; i++)
        if (passes_filter(dashboard->filter, &rollup->ops[i])) list->members[list->member_count++] = &rollup->ops[i];
    return make_rows(dashboard, rollup, list, false, err);
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
    return passes_filter(dashboard->filter, &kernel->times) || strcasestr(kernel->name, dashboard->filter) != NULL;
}

static void count_steps(const struct rollup *rollup, struct row_list *list)
{
    uint64_t steps[ROLLUP_MOST_DEVICES] = {0};
    for (uint32_t d = 0; d < rollup->device_count; d++) steps[d] = rollup_timed_steps(rollup, d);
    for (size_t i = 0; i < list->count; i++)
        for (uint32_t d = 0; d < ROLLUP_MOST_DEVICES; d++)
            if (list->rows[i].devices >> d & 1) list->rows[i].timed_steps += steps[d];
}

bool rows_update_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct row_list *list = &dashboard->kernels;
    list->count = 0;
    list->all_ns = rollup_kernels_ns(rollup);
    if (rollup->kernel_count == 0) return true;
    TRY(begin_members(list, rollup->kernel_count, err));
    for (size_t i = 0; i < rollup->kernel_count; i++)
        if (shows_kernel(dashboard, rollup, &rollup->kernels[i]))
            list->members[list->member_count++] = &rollup->kernels[i].times;
    TRY(make_rows(dashboard, rollup, list, true, err));
    count_steps(rollup, list);
    return true;
}

void rows_finish(struct row_list *list)
{
    mem_free(list->rows);
    mem_free((void *)list->members);
    *list = (struct row_list){0};
}
