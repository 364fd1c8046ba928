#define _GNU_SOURCE
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

static bool passes_filter(const char *filter, const struct rollup_op *op)
{
    return !*filter || strcasestr(op->layer, filter) || strcasestr(op->kind, filter) || strcasestr(op->pass, filter);
}

/* ---- Grouping ---- */

/* Which lines are one. */
struct grouping {
    enum row_group group;
    bool devices_apart;
};

static int compare_names(const struct rollup_op *a, const struct rollup_op *b, enum row_group group)
{
    int order = 0;
    switch (group) {
    case GROUP_KIND: return strcmp(a->kind, b->kind);
    case GROUP_PASS: return strcmp(a->pass, b->pass);
    case GROUP_LAYER: return strcmp(a->layer, b->layer);
    case GROUP_OP: /* of several devices */
    case GROUPS: order = strcmp(a->layer, b->layer); break;
    }
    if (order == 0) order = strcmp(a->kind, b->kind);
    return order ? order : strcmp(a->pass, b->pass);
}

static int compare_groups(const struct rollup_op *a, const struct rollup_op *b, const struct grouping *by)
{
    int order = compare_names(a, b, by->group);
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

static bool add_row(struct dashboard *dashboard, struct op_row row, struct error *err)
{
    void *rows = dashboard->rows;
    if (!mem_grow(MEM_SCREEN, &rows, &dashboard->row_capacity, dashboard->row_count + 1, sizeof row))
        return error_memory(err, dashboard->row_count * sizeof row, "the op table");
    dashboard->rows = rows;
    dashboard->rows[dashboard->row_count++] = row;
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
    into->flops_per_second += (double)op->flops * (double)op->count;
    into->bytes_per_second += (double)op->bytes_moved * (double)op->count;
}

static void fill_rates(struct op_row *row)
{
    double seconds = (double)row->total_ns * 1e-9;
    row->flops_per_second = seconds > 0 ? row->flops_per_second / seconds : 0;
    row->bytes_per_second = seconds > 0 ? row->bytes_per_second / seconds : 0;
}

/* One line from ops of one group. */
static bool add_group(struct dashboard *dashboard, const struct rollup *rollup, const struct rollup_op *const *ops,
                      size_t count, struct error *err)
{
    const struct rollup_op *first = ops[0];
    struct op_row row = {.layer = first->layer,
                         .kind = first->kind,
                         .pass = first->pass,
                         .device = first->device,
                         .first = (uint32_t)(first - rollup->ops)};
    struct rollup_times times;
    times.ops = 0;
    if (count > 1) times = (struct rollup_times){0};
    for (size_t i = 0; i < count; i++) {
        merge_op(&row, ops[i]);
        if (count > 1) rollup_times_add(&times, ops[i]);
    }
    row.p50_ns = count > 1 ? rollup_times_percentile_ns(&times, 0.5) : rollup_percentile_ns(first, 0.5);
    row.p99_ns = count > 1 ? rollup_times_percentile_ns(&times, 0.99) : rollup_percentile_ns(first, 0.99);
    fill_rates(&row);
    return add_row(dashboard, row, err);
}

static bool add_groups(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct grouping by = {dashboard->group, dashboard_devices_apart(dashboard)};
    const struct rollup_op **ops = dashboard->ops;
    if (by.group != GROUP_OP || !by.devices_apart) qsort_r(ops, dashboard->op_count, sizeof *ops, compare_ops, &by);
    for (size_t i = 0, next; i < dashboard->op_count; i = next) {
        next = i + 1;
        if (by.group != GROUP_OP || !by.devices_apart)
            while (next < dashboard->op_count && compare_groups(ops[i], ops[next], &by) == 0) next++;
        TRY(add_group(dashboard, rollup, ops + i, next - i, err));
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
    case SORT_NAME: order = compare_texts(x->layer, y->layer, x->kind, y->kind); break;
    case SORT_ORDER:
    case OP_SORTS: break;
    }
    return order ? order : (x->first > y->first) - (x->first < y->first);
}

static bool find_ops(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    void *ops = (void *)dashboard->ops;
    if (!mem_grow(MEM_SCREEN, &ops, &dashboard->op_capacity, rollup->op_count, sizeof *dashboard->ops))
        return error_memory(err, rollup->op_count * sizeof *dashboard->ops, "the op table");
    dashboard->ops = ops;
    dashboard->op_count = 0;
    for (size_t i = 0; i < rollup->op_count; i++)
        if (passes_filter(dashboard->filter, &rollup->ops[i])) dashboard->ops[dashboard->op_count++] = &rollup->ops[i];
    return true;
}

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    dashboard->row_count = 0;
    if (rollup->op_count == 0) return true;
    TRY(find_ops(dashboard, rollup, err));
    TRY(add_groups(dashboard, rollup, err));
    if (dashboard->row_count == 0) return true;
    qsort_r(dashboard->rows, dashboard->row_count, sizeof *dashboard->rows, compare_rows, &dashboard->sort);
    return true;
}
