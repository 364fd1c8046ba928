#define _GNU_SOURCE
#include "summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice.h"
#include "mem.h"

bool summary_parse_by(const char *word, enum summary_by *by, struct error *err)
{
    static const char *const words[] = {"op", "layer", "kind", "pass", "unit", "stage", "kernel", "stream"};
    size_t found;
    TRY(choice_parse(word, "--by", words, sizeof words / sizeof words[0], NULL, 0, &found, err));
    *by = (enum summary_by)found;
    return true;
}

bool summary_parse_sort(const char *word, enum summary_sort *sort, struct error *err)
{
    static const char *const words[] = {"total", "instances", "avg", "med", "min", "max", "stddev", "name"};
    size_t found;
    TRY(choice_parse(word, "--sort", words, sizeof words / sizeof words[0], NULL, 0, &found, err));
    *sort = (enum summary_sort)found;
    return true;
}

/* ---- Names ---- */

/* Forward and backward ops differ in kind; these are of the same layer and kind as another one. */
static bool needs_pass(const char *pass)
{
    static const char *const passes[] = {"recompute", "evaluate", "offload", "fetch", "reconstruct"};
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (strcmp(pass, passes[i]) == 0) return true;
    return false;
}

static int unit_length(const char *layer)
{
    const char *last = strrchr(layer, '/');
    return (int)(last ? (size_t)(last - layer) : strlen(layer));
}

static void format_op_name(const struct summary_key *key, char *out, size_t size)
{
    snprintf(out, size, needs_pass(key->pass) ? "%s %s (%s)" : "%s %s", key->layer, key->kind, key->pass);
}

void summary_format_name(enum summary_by by, const struct summary_key *key, char *out, size_t size)
{
    bool owned = key->layer[0] || key->kind[0] || key->pass[0];
    if (by == SUMMARY_KERNEL)
        snprintf(out, size, "%s", key->kernel);
    else if (by == SUMMARY_STREAM)
        snprintf(out, size, "device %u stream %u", (unsigned)key->device, (unsigned)key->stream);
    else if (!owned)
        snprintf(out, size, "%s", SUMMARY_NO_OP);
    else if (strcmp(key->pass, TRACE_RUN_PASS) == 0)
        snprintf(out, size, "%s", SUMMARY_OF_RUN);
    else if (by == SUMMARY_OP)
        format_op_name(key, out, size);
    else if (by == SUMMARY_UNIT)
        snprintf(out, size, "%.*s", unit_length(key->layer), key->layer);
    else if (by == SUMMARY_STAGE)
        snprintf(out, size, "%.*s", (int)strcspn(key->layer, "/"), key->layer);
    else
        snprintf(out, size, "%s", by == SUMMARY_LAYER ? key->layer : by == SUMMARY_KIND ? key->kind : key->pass);
}

/* ---- Entries ---- */

/* Times and the name they are put under. */
struct entry {
    const struct rollup_op *times;
    const struct rollup_op *work; /* whose planned work it does: itself, of a kernel its op alone; NULL = unknown */
    char *name;
};

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool add_entry(struct entry *entries, size_t *count, enum summary_by by, const struct rollup_op *times,
                      const struct rollup_kernel *kernel)
{
    char name[SUMMARY_NAME_MOST];
    struct summary_key key = {times->layer, times->kind, times->pass, "", times->device, 0};
    if (times->count == 0) return true;
    if (kernel) {
        key.kernel = kernel->name;
        key.stream = kernel->stream;
    }
    summary_format_name(by, &key, name, sizeof name);
    entries[*count] = (struct entry){times, kernel ? NULL : times, mem_strdup(MEM_TRACE, name)};
    return entries[(*count)++].name != NULL;
}

/* ---- Kernels that are the only ones of their ops ---- */

struct owned {
    const struct rollup_op *op;
    uint32_t kernels;
};

static int compare_owned(const void *a, const void *b)
{
    const struct rollup_op *x = ((const struct owned *)a)->op, *y = ((const struct owned *)b)->op;
    if (x->device != y->device) return x->device < y->device ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct owned *find_owned(struct owned *owned, size_t count, const struct rollup_kernel *kernel)
{
    const struct rollup_op op = {.id = kernel->op, .device = kernel->times.device};
    if (kernel->op >= TRACE_OF_RUN || count == 0) return NULL;
    return bsearch(&(struct owned){.op = &op}, owned, count, sizeof *owned, compare_owned);
}

/* Sorted; NULL without memory. */
static struct owned *count_kernels(const struct rollup *rollup)
{
    struct owned *owned = mem_zalloc(MEM_TRACE, rollup->op_count + 1, sizeof *owned);
    for (size_t i = 0; owned && i < rollup->op_count; i++) owned[i].op = &rollup->ops[i];
    if (owned) qsort(owned, rollup->op_count, sizeof *owned, compare_owned);
    for (size_t i = 0; owned && i < rollup->kernel_count; i++) {
        struct owned *found = find_owned(owned, rollup->op_count, &rollup->kernels[i]);
        if (found && rollup->kernels[i].times.count > 0) found->kernels++;
    }
    return owned;
}

static bool add_kernels(const struct rollup *rollup, enum summary_by by, struct entry *entries, size_t *count)
{
    struct owned *owned = count_kernels(rollup);
    bool ok = owned != NULL;
    for (size_t i = 0; ok && i < rollup->kernel_count; i++) {
        size_t before = *count;
        ok = add_entry(entries, count, by, &rollup->kernels[i].times, &rollup->kernels[i]);
        const struct owned *found = find_owned(owned, rollup->op_count, &rollup->kernels[i]);
        if (*count > before && found && found->kernels == 1) entries[before].work = found->op;
    }
    mem_free(owned);
    return ok;
}

/* Ops whose times are told, and of those whose kernels are told the rest: what no op owns. */
static bool add_entries(const struct rollup *rollup, enum summary_by by, struct entry *entries, size_t *count)
{
    bool kernels = summary_is_of_kernels(by), ok = true;
    for (size_t i = 0; ok && !kernels && i < rollup->op_count; i++)
        ok = add_entry(entries, count, by, &rollup->ops[i], NULL);
    for (size_t i = 0; ok && !kernels && i < rollup->kernel_count; i++) {
        const struct rollup_kernel *kernel = &rollup->kernels[i];
        bool rest = kernel->op >= TRACE_OF_RUN && !rollup->devices[kernel->times.device].ops_timed;
        if (rest) ok = add_entry(entries, count, by, &kernel->times, kernel);
    }
    return ok && kernels ? add_kernels(rollup, by, entries, count) : ok;
}

static void free_entries(struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) mem_free(entries[i].name);
    mem_free(entries);
}

/* ---- Rows ---- */

static double deviation(uint64_t count, double total_ns, double sum_of_squares)
{
    if (count < 2) return 0;
    double n = (double)count, variance = (sum_of_squares * 1e18 - total_ns * total_ns / n) / (n - 1);
    return variance > 0 ? sqrt(variance) : 0;
}

static void add_op(struct summary_row *row, const struct rollup_op *op, uint32_t devices, double *squares)
{
    if (row->instances == 0 || op->least_ns < row->least_ns) row->least_ns = op->least_ns;
    if (op->most_ns > row->most_ns) row->most_ns = op->most_ns;
    row->instances += op->count;
    row->total_ns += op->total_ns;
    row->step_ns += (double)rollup_percentile_ns(op, 0.5) / devices;
    *squares += op->sum_of_squares;
}

/* Planned work of device 0's, where that of all is known. */
static void add_work(struct summary_row *row, const struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!entries[i].work) return;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].times->device != 0) continue;
        row->flops += entries[i].work->flops;
        row->bytes_moved += entries[i].work->bytes_moved;
    }
}

/* One row from entries of one name. */
static bool fill_row(struct summary_row *row, const struct entry *entries, size_t count, uint32_t devices)
{
    struct rollup_times times = {0};
    double squares = 0;
    *row = (struct summary_row){.name = mem_strdup(MEM_TRACE, entries->name)};
    if (!row->name) return false;
    for (size_t i = 0; i < count; i++) {
        add_op(row, entries[i].times, devices, &squares);
        rollup_times_add(&times, entries[i].times);
    }
    add_work(row, entries, count);
    row->mean_ns = (double)row->total_ns / (double)row->instances;
    row->median_ns = (double)rollup_times_percentile_ns(&times, 0.5);
    row->deviation_ns = deviation(row->instances, (double)row->total_ns, squares);
    return true;
}

static bool fill_rows(struct summary *summary, const struct entry *entries, size_t count, uint32_t devices)
{
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && compare_entries(&entries[i], &entries[next]) == 0; next++) {
        }
        struct summary_row *row = &summary->rows[summary->count];
        if (!fill_row(row, entries + i, next - i, devices)) return false;
        summary->count++;
        summary->total_ns += row->total_ns;
        summary->instances += row->instances;
    }
    for (size_t i = 0; i < summary->count; i++)
        summary->rows[i].share = summary->total_ns ? (double)summary->rows[i].total_ns / (double)summary->total_ns : 0;
    return true;
}

static double sort_value(const struct summary_row *row, enum summary_sort sort)
{
    switch (sort) {
    case SUMMARY_TOTAL: return (double)row->total_ns;
    case SUMMARY_INSTANCES: return (double)row->instances;
    case SUMMARY_MEAN: return row->mean_ns;
    case SUMMARY_MEDIAN: return row->median_ns;
    case SUMMARY_LEAST: return (double)row->least_ns;
    case SUMMARY_MOST: return (double)row->most_ns;
    case SUMMARY_DEVIATION: return row->deviation_ns;
    case SUMMARY_NAME: break;
    }
    return 0;
}

static int compare_rows(const void *a, const void *b, void *sort)
{
    const struct summary_row *x = a, *y = b;
    double p = sort_value(x, *(enum summary_sort *)sort), q = sort_value(y, *(enum summary_sort *)sort);
    if (p != q) return p < q ? 1 : -1;
    return strcmp(x->name, y->name);
}

bool summary_make(const struct rollup *rollup, enum summary_by by, enum summary_sort sort, struct summary *summary,
                  struct error *err)
{
    size_t count = 0, most = rollup->op_count + rollup->kernel_count;
    uint32_t devices = 1;
    struct entry *entries = mem_alloc(MEM_TRACE, most, sizeof *entries);
    summary->rows = mem_alloc(MEM_TRACE, most, sizeof *summary->rows);
    bool ok = entries && summary->rows && add_entries(rollup, by, entries, &count);
    for (size_t i = 0; i < count; i++)
        if (entries[i].times->device >= devices) devices = entries[i].times->device + 1;
    if (ok) qsort(entries, count, sizeof *entries, compare_entries);
    ok = ok && fill_rows(summary, entries, count, devices);
    free_entries(entries, count);
    if (!ok) {
        summary_finish(summary);
        return error_memory(err, most * sizeof *summary->rows, "a trace's summary");
    }
    qsort_r(summary->rows, summary->count, sizeof *summary->rows, compare_rows, &sort);
    return true;
}

void summary_finish(struct summary *summary)
{
    for (size_t i = 0; i < summary->count; i++) mem_free(summary->rows[i].name);
    mem_free(summary->rows);
    *summary = (struct summary){0};
}

const struct summary_row *summary_find(const struct summary *summary, const char *name)
{
    for (size_t i = 0; i < summary->count; i++)
        if (strcmp(summary->rows[i].name, name) == 0) return &summary->rows[i];
    return NULL;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool summary_time_steps(const struct rollup *rollup, struct summary_steps *steps, struct error *err)
{
    double *times = mem_alloc(MEM_TRACE, rollup->step_count, sizeof *times);
    if (!times) return error_memory(err, rollup->step_count * sizeof *times, "a trace's steps");
    size_t count = 0;
    for (size_t i = 0; i < rollup->step_count; i++) {
        const struct rollup_step *step = &rollup->steps[i];
        if (step->end_ns > step->begin_ns) times[count++] = (double)(step->end_ns - step->begin_ns);
    }
    qsort(times, count, sizeof *times, compare_times);
    *steps = (struct summary_steps){.count = count};
    if (count > 0) {
        steps->median_ns = count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
        steps->p99_ns = times[(count * 99 + 99) / 100 - 1]; /* the nearest rank: of few steps the longest */
    }
    mem_free(times);
    return true;
}
