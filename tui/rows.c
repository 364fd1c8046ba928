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

static double per_second(uint64_t amount, uint64_t count, uint64_t total_ns)
{
    return total_ns ? (double)amount * (double)count / ((double)total_ns * 1e-9) : 0;
}

static struct op_row row_of(const struct rollup_op *op)
{
    return (struct op_row){.layer = op->layer,
                           .kind = op->kind,
                           .pass = op->pass,
                           .first = op->id,
                           .ops = 1,
                           .count = op->count,
                           .total_ns = op->total_ns,
                           .p50_ns = rollup_percentile_ns(op, 0.5),
                           .p99_ns = rollup_percentile_ns(op, 0.99),
                           .most_ns = op->most_ns,
                           .flops_per_second = per_second(op->flops, op->count, op->total_ns),
                           .bytes_per_second = per_second(op->bytes_moved, op->count, op->total_ns)};
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

/* Rates of a group add up as amounts over its whole time; its percentiles are its largest op's. */
static void merge_row(struct op_row *into, const struct op_row *row)
{
    double before = (double)into->total_ns, added = (double)row->total_ns, sum = before + added;
    if (sum > 0) {
        into->flops_per_second = (into->flops_per_second * before + row->flops_per_second * added) / sum;
        into->bytes_per_second = (into->bytes_per_second * before + row->bytes_per_second * added) / sum;
    }
    into->ops += row->ops;
    into->count += row->count;
    into->total_ns += row->total_ns;
    if (row->p50_ns > into->p50_ns) into->p50_ns = row->p50_ns;
    if (row->p99_ns > into->p99_ns) into->p99_ns = row->p99_ns;
    if (row->most_ns > into->most_ns) into->most_ns = row->most_ns;
    into->layer = NULL;
}

static bool add_to_group(struct dashboard *dashboard, struct op_row row, struct error *err)
{
    for (size_t i = 0; i < dashboard->row_count; i++) {
        struct op_row *found = &dashboard->rows[i];
        if (strcmp(found->kind, row.kind) != 0 || strcmp(found->pass, row.pass) != 0) continue;
        merge_row(found, &row);
        return true;
    }
    return add_row(dashboard, row, err);
}

static double mean_ns(const struct op_row *row) { return row->count ? (double)row->total_ns / (double)row->count : 0; }

static int by_number(double a, double b) { return (a < b) - (a > b); /* largest first */ }

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
    case SORT_NAME: order = x->layer && y->layer ? strcmp(x->layer, y->layer) : strcmp(x->kind, y->kind); break;
    case SORT_ORDER:
    case OP_SORTS: break;
    }
    return order ? order : (x->first > y->first) - (x->first < y->first);
}

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    dashboard->row_count = 0;
    for (size_t i = 0; i < rollup->op_count; i++) {
        const struct rollup_op *op = &rollup->ops[i];
        if (!passes_filter(dashboard->filter, op)) continue;
        struct op_row row = row_of(op);
        TRY(dashboard->group_kinds ? add_to_group(dashboard, row, err) : add_row(dashboard, row, err));
    }
    if (dashboard->row_count == 0) return true;
    qsort_r(dashboard->rows, dashboard->row_count, sizeof *dashboard->rows, compare_rows, &dashboard->sort);
    return true;
}
