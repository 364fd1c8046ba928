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
    return root;
}

static json_t *describe_row(const struct op_row *row)
{
    json_t *line =
        json_pack("{s:o, s:o, s:i, s:I, s:I, s:I, s:I}", "pass", json_text(row->pass), "kind", json_text(row->kind),
                  "ops", (int)row->ops, "count", (json_int_t)row->count, "total_ns", (json_int_t)row->total_ns,
                  "p50_ns", (json_int_t)row->p50_ns, "p99_ns", (json_int_t)row->p99_ns);
    if (line && row->layer) json_object_set_new(line, "layer", json_text(row->layer));
    return line;
}

bool batch_print_json(const struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    json_t *root = describe_run(dashboard, rollup), *ops = json_array();
    for (size_t i = 0; root && ops && i < dashboard->row_count; i++)
        json_array_append_new(ops, describe_row(&dashboard->rows[i]));
    bool ok = root && ops && json_object_set_new(root, "ops", ops) == 0 && json_write(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return ok || error_set(err, ERROR_FAILED, "standard output: the JSON could not be written");
}

static void print_texts(const struct op_row *row)
{
    printable_write_csv_report(stdout, row->pass);
    putchar(',');
    printable_write_csv_report(stdout, row->kind);
    putchar(',');
    printable_write_csv_report(stdout, row->layer ? row->layer : "");
    putchar('\n');
}

bool batch_print_csv(const struct dashboard *dashboard, const struct rollup *rollup)
{
    uint64_t all = rollup_total_ns(rollup);
    printf("time_percent,total_ns,mean_ns,p50_ns,p99_ns,count,flops_per_second,bytes_per_second,pass,kind,layer\n");
    for (size_t i = 0; i < dashboard->row_count; i++) {
        const struct op_row *row = &dashboard->rows[i];
        printf("%.3f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.4g,%.4g,",
               all ? 100 * (double)row->total_ns / (double)all : 0.0, row->total_ns,
               row->count ? row->total_ns / row->count : 0, row->p50_ns, row->p99_ns, row->count, row->flops_per_second,
               row->bytes_per_second);
        print_texts(row);
    }
    return true;
}
