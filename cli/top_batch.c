#include "top_batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "json.h"
#include "printable.h"

static const char *const metric_names[TRACE_METRICS] = {"loss",        "learning_rate", "images_per_second",
                                                        "train_error", "test_loss",     "top1_error",
                                                        "top5_error",  "profiler_cost"};

static void add_metrics(json_t *root, const struct rollup *rollup)
{
    for (int metric = 0; metric < TRACE_METRICS; metric++)
        for (size_t i = rollup->step_count; i-- > 0;) {
            double value = (double)rollup->steps[i].metric[metric];
            if (!isfinite(value)) continue;
            json_object_set_new(root, metric_names[metric], json_real(value));
            break;
        }
}

/* As `fathom trace stats --json` names them; null before a timed step is over. */
static json_t *describe_parts(const struct rollup_parts *parts)
{
    if (parts->steps == 0) return json_null();
    json_t *object = json_object();
    for (int part = 0; part < STEP_PARTS; part++)
        json_object_set_new(object, step_part_name((enum step_part)part), json_real(parts->part_ns[part]));
    return object;
}

static const struct {
    enum trace_gpu_counter counter;
    const char *name;
} gpu_numbers[] = {{COUNTER_GPU_BUSY, "busy_percent"},
                   {COUNTER_GPU_MEMORY_USED, "memory_used_bytes"},
                   {COUNTER_GPU_POWER, "power_watts"},
                   {COUNTER_GPU_POWER_LIMIT, "power_limit_watts"},
                   {COUNTER_GPU_TEMPERATURE, "temperature_celsius"},
                   {COUNTER_GPU_CLOCK, "clock_hz"},
                   {COUNTER_GPU_MEMORY_CLOCK, "memory_clock_hz"},
                   {COUNTER_GPU_SM_ACTIVE, "sm_active_percent"},
                   {COUNTER_GPU_OCCUPANCY, "sm_occupancy_percent"},
                   {COUNTER_GPU_TENSOR_ACTIVE, "tensor_active_percent"},
                   {COUNTER_GPU_DRAM_ACTIVE, "dram_active_percent"}};

json_t *batch_held_back(double bits)
{
    const char *words[DASHBOARD_REASONS];
    json_t *all = json_array();
    size_t count = dashboard_held_back(bits, words);
    for (size_t i = 0; i < count; i++) json_array_append_new(all, json_text(words[i]));
    return all;
}

/* GPUs of which something is known now; what is not is null. */
static json_t *describe_gpus(const struct rollup *rollup)
{
    uint32_t devices[ROLLUP_MOST_DEVICES];
    json_t *all = json_array();
    size_t count = dashboard_gpus(rollup, devices);
    for (size_t i = 0; i < count; i++) {
        json_t *gpu = json_object();
        double value;
        json_object_set_new(gpu, "device", json_integer(devices[i]));
        for (size_t n = 0; n < sizeof gpu_numbers / sizeof gpu_numbers[0]; n++)
            json_object_set_new(gpu, gpu_numbers[n].name,
                                dashboard_gpu_now(rollup, devices[i], gpu_numbers[n].counter, &value) ? json_real(value)
                                                                                                      : json_null());
        json_object_set_new(gpu, "held_back_by",
                            dashboard_gpu_now(rollup, devices[i], COUNTER_GPU_THROTTLED, &value)
                                ? batch_held_back(value)
                                : json_null());
        json_array_append_new(all, gpu);
    }
    return all;
}

static json_t *describe_run(const struct dashboard *dashboard, const struct rollup *rollup)
{
    uint64_t step = rollup_steps_done(rollup);
    json_t *root = json_pack(
        "{s:o, s:o, s:o, s:i, s:i, s:I, s:I, s:b, s:b, s:I, s:I, s:I}", "model", json_text(rollup->model), "dataset",
        json_text(rollup->dataset), "backend", json_text(rollup->backend), "batch", (int)rollup->batch, "devices",
        (int)rollup->device_count, "step", (json_int_t)step, "iterations", (json_int_t)rollup->iterations, "ended",
        rollup->ended, "crashed", dashboard->crashed, "events", (json_int_t)rollup->events, "dropped",
        (json_int_t)rollup->dropped, "damaged_blocks", (json_int_t)rollup->damaged_blocks);
    if (root) add_metrics(root, rollup);
    uint64_t until;
    bool records = dashboard_recording(dashboard, rollup, &until);
    if (root) json_object_set_new(root, "recording_until", records ? json_integer((json_int_t)until) : json_null());
    double most = rollup_host_counter(rollup, COUNTER_COST_MOST) / 100;
    if (root) json_object_set_new(root, "profiler_cost_most", json_real_or_null(most));
    if (root) json_object_set_new(root, "gpus", describe_gpus(rollup));
    if (root) json_object_set_new(root, "timed_step_parts_ns", describe_parts(&rollup->parts));
    return root;
}

static json_t *text_or_null(const char *text) { return text ? json_text(text) : json_null(); }

/* Times of an op that was never timed are unknown. */
static json_t *time_or_null(const struct op_row *row, uint64_t ns)
{
    return row->count ? json_integer((json_int_t)ns) : json_null();
}

/* What the ops of a group do not share is null. */
static json_t *describe_row(const struct op_row *row)
{
    json_t *line = json_pack(
        "{s:o, s:o, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "pass", text_or_null(row->pass), "kind",
        text_or_null(row->kind), "ops", (int)row->ops, "count", (json_int_t)row->count, "total_ns",
        (json_int_t)row->total_ns, "p50_ns", time_or_null(row, row->p50_ns), "p99_ns", time_or_null(row, row->p99_ns),
        "device", row->device == ROW_DEVICES ? json_null() : json_integer((json_int_t)row->device), "step_ns",
        json_real_or_null(row->step_ns), "step_count", json_real_or_null(row->step_count));
    if (line && row->layer) json_object_set_new(line, "layer", json_text(row->layer));
    return line;
}

/* What kernels of a group do not share is null, and so is an unknown grid. */
static json_t *describe_kernel(const struct op_row *row)
{
    json_t *grid = row->grid[0] ? json_pack("[I, I, I]", (json_int_t)row->grid[0], (json_int_t)row->grid[1],
                                            (json_int_t)row->grid[2])
                                : json_null();
    json_t *stream = row->stream == ROW_STREAMS ? json_null() : json_integer((json_int_t)row->stream);
    json_t *line = describe_row(row);
    json_t *more = json_pack("{s:o, s:I, s:o, s:o}", "kernel", text_or_null(row->name), "max_ns",
                             (json_int_t)row->most_ns, "grid", grid, "stream", stream);
    json_object_update(line, more);
    json_decref(more);
    if (line) json_object_del(line, "ops");
    if (line) json_object_set_new(line, "kernels", json_integer(row->ops));
    return line;
}

static bool no_rows(struct error *err) { return error_memory(err, 0, "the lines of a table"); }

static bool add_rows(json_t *root, const char *name, struct row_list *list, const struct rollup *rollup,
                     struct error *err)
{
    json_t *all = json_array();
    const struct op_row *rows = row_list_show(list, rollup, 0, list->count);
    for (size_t i = 0; all && rows && i < list->count; i++)
        json_array_append_new(all, list->kernels ? describe_kernel(&rows[i]) : describe_row(&rows[i]));
    bool ok = all && rows && json_object_set(root, name, all) == 0;
    json_decref(all);
    return ok || no_rows(err);
}

bool batch_print_json(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    json_t *root = describe_run(dashboard, rollup);
    bool ok = root ? add_rows(root, "ops", &dashboard->ops, rollup, err) &&
                         add_rows(root, "kernels", &dashboard->kernels, rollup, err)
                   : no_rows(err);
    if (ok && !json_write(root, stdout, JSON_COMPACT))
        ok = error_set(err, ERROR_FAILED, "standard output: the JSON could not be written");
    if (ok) putchar('\n');
    json_decref(root);
    return ok;
}

/* Unknown numbers are empty fields. */
static void print_time(const struct op_row *row, uint64_t ns)
{
    if (row->count) printf("%" PRIu64, ns);
    putchar(',');
}

static void print_rate(double rate)
{
    if (rate > 0) printf("%.4g", rate);
    putchar(',');
}

static void print_text(const char *text)
{
    printable_write_csv_report(stdout, text ? text : "");
    putchar(',');
}

static void print_steps(const struct op_row *row)
{
    if (isfinite(row->step_ns)) printf("%.0f", row->step_ns);
    putchar(',');
    if (isfinite(row->step_count)) printf("%.6g", row->step_count);
}

static void print_row(const struct op_row *row, uint64_t all_ns)
{
    printf("%.3f,%" PRIu64 ",", all_ns ? 100 * (double)row->total_ns / (double)all_ns : 0.0, row->total_ns);
    print_time(row, row->count ? row->total_ns / row->count : 0);
    print_time(row, row->p50_ns);
    print_time(row, row->p99_ns);
    printf("%" PRIu64 ",", row->count);
    print_rate(row->flops_per_second);
    print_rate(row->bytes_per_second);
    print_text(row->pass);
    print_text(row->kind);
    print_text(row->layer);
    if (row->device != ROW_DEVICES) printf("%" PRIu32, row->device);
    putchar(',');
    print_steps(row);
    putchar('\n');
}

static void print_kernel(const struct op_row *row, uint64_t all_ns)
{
    printf("%.3f,%" PRIu64 ",", all_ns ? 100 * (double)row->total_ns / (double)all_ns : 0.0, row->total_ns);
    print_steps(row);
    printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", row->total_ns / row->count, row->p50_ns, row->most_ns,
           row->count);
    if (row->grid[0]) printf("%" PRIu32 "x%" PRIu32 "x%" PRIu32, row->grid[0], row->grid[1], row->grid[2]);
    putchar(',');
    if (row->stream != ROW_STREAMS) printf("%" PRIu32, row->stream);
    putchar(',');
    print_text(row->name);
    print_text(row->pass);
    print_text(row->kind);
    print_text(row->layer);
    if (row->device != ROW_DEVICES) printf("%" PRIu32, row->device);
    putchar('\n');
}

bool batch_print_csv(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    struct row_list *list = dashboard->view == VIEW_KERNELS ? &dashboard->kernels : &dashboard->ops;
    const struct op_row *rows = row_list_show(list, rollup, 0, list->count);
    if (!rows) return no_rows(err);
    puts(
        dashboard->view == VIEW_KERNELS
            ? "time_percent,total_ns,step_ns,step_count,mean_ns,p50_ns,max_ns,count,grid,stream,kernel,pass,kind,layer,"
              "device"
            : "time_percent,total_ns,mean_ns,p50_ns,p99_ns,count,flops_per_second,bytes_per_second,pass,kind,layer,"
              "device,step_ns,step_count");
    for (size_t i = 0; i < list->count; i++)
        if (list == &dashboard->kernels)
            print_kernel(&rows[i], list->all_ns);
        else
            print_row(&rows[i], list->all_ns);
    return true;
}
