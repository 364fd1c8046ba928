#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <math.h>
#include <sys/wait.h>

#include "check.h"
#include "export.h"
#include "format.h"
#include "json.h"
#include "mem.h"
#include "summary.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH], other[SAMPLE_PATH];

static struct trace_writer *begin(const char *name)
{
    struct error err = {0};
    struct trace_writer *writer = NULL;
    cr_assert(trace_writer_open(name, NULL, &writer, &err), "%s", err.text);
    return writer;
}

static void setup(void)
{
    sample_path(path);
    sample_path(other);
    struct trace_writer *writer = begin(path);
    sample_tables(trace_writer_sink(writer), 2, 9);
    sample_steps(trace_writer_sink(writer), 0, 9, 0, 20);
    sample_steps(trace_writer_sink(writer), 1, 9, 0, 20);
    trace_writer_close(writer);
}

static void teardown(void)
{
    unlink(path);
    unlink(other);
}
TestSuite(trace_export, .init = setup, .fini = teardown);

static struct trace_follower *follow(const char *name)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(name, &err);
    cr_assert(follower, "%s", err.text);
    return follower;
}

static json_t *export_chrome(const char *name)
{
    struct error err = {0};
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    cr_assert(trace_export_chrome(name, out, NULL, &err), "%s", err.text);
    fclose(out);
    json_error_t where;
    json_t *json = json_loads(text, 0, &where);
    cr_assert_not_null(json, "%d:%d %s", where.line, where.column, where.text);
    free(text);
    return json;
}

static size_t count_phase(const json_t *events, const char *phase)
{
    size_t count = 0, i;
    json_t *event;
    json_array_foreach(events, i, event) count += strcmp(json_string_value(json_object_get(event, "ph")), phase) == 0;
    return count;
}

Test(trace_export, chrome_json_holds_every_event)
{
    json_t *json = export_chrome(path), *events = json_object_get(json, "traceEvents");
    cr_assert_eq(count_phase(events, "X"), 2 * 20 * 9 + 2 * 20 + 20); /* ops, steps, gaps */
    cr_assert_eq(count_phase(events, "C"), 20 + 20);
    cr_assert_eq(count_phase(events, "i"), 2);
    cr_assert_eq(count_phase(events, "M"), 8);
    size_t i;
    json_t *event, *op = NULL;
    json_array_foreach(events, i, event) if (!op && json_integer_value(json_object_get(event, "tid")) == 2 &&
                                             json_object_get(event, "dur")) op = event;
    cr_assert_str_eq(json_string_value(json_object_get(op, "name")), "conv");
    cr_assert_str_eq(json_string_value(json_object_get(op, "cat")), "forward");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(op, "args"), "layer")), "stage0/unit0");
    cr_assert_float_eq(json_real_value(json_object_get(op, "dur")), 99.99, 1e-9);
    json_decref(json);
}

Test(trace_export, chrome_json_is_json_whatever_the_names)
{
    struct trace_writer *writer = begin(other);
    struct trace_sink *s = trace_writer_sink(writer);
    struct trace_op op = {0, 0, "quote\" back\\slash \n tab\t \xff\xc0\xaf end \xe2\x82", "k\x01ind", "p\"ss", 1, 2, 3};
    s->op_table(s->context, &op, 1);
    s->op_time(s->context, 0, 0, 1000, 2000);
    s->op_time(s->context, 0, 77, 3000, 4000);
    s->metric(s->context, METRIC_LOSS, 0, NAN);
    s->metric(s->context, METRIC_LOSS, 0, INFINITY);
    s->mark(s->context, 5000, "caf\xc3\xa9 \xed\xa0\x80");
    trace_writer_close(writer);
    json_t *json = export_chrome(other), *events = json_object_get(json, "traceEvents");
    cr_assert_eq(json_array_size(events), 3);
    const char *layer = json_string_value(json_object_get(json_object_get(json_array_get(events, 1), "args"), "layer"));
    if (!layer) layer = json_string_value(json_object_get(json_object_get(json_array_get(events, 0), "args"), "layer"));
    cr_assert_not_null(strstr(layer ? layer : "", "quote\" back\\slash \n tab\t ??? end ??"), "%s", layer);
    json_decref(json);
}

/* Protocol buffers, read by the book: what fields of a message hold. */
struct proto_field {
    uint64_t number, value; /* of varints; of the rest: the length */
    const uint8_t *bytes;
};

static bool next_field(struct trace_in *in, struct proto_field *field)
{
    if (in->at >= in->end) return false;
    uint64_t key = trace_get_varint(in);
    *field = (struct proto_field){.number = key >> 3};
    switch (key & 7) {
    case 0: field->value = trace_get_varint(in); break;
    case 1:
        field->bytes = in->at;
        trace_get_double(in);
        break;
    case 2:
        field->value = trace_get_varint(in);
        field->bytes = in->at;
        cr_assert_leq(field->value, (uint64_t)(in->end - in->at));
        in->at += field->value;
        break;
    default: cr_assert_fail("wire type %d", (int)(key & 7));
    }
    cr_assert_not(in->bad);
    return true;
}

static uint64_t find_number(const uint8_t *bytes, uint64_t length, uint64_t number)
{
    struct trace_in in = {bytes, bytes + length, false};
    struct proto_field field;
    while (next_field(&in, &field))
        if (field.number == number) return field.value;
    return 0;
}

Test(trace_export, perfetto_holds_every_event)
{
    struct error err = {0};
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    cr_assert(trace_export_perfetto(path, out, NULL, &err), "%s", err.text);
    fclose(out);
    struct trace_in trace = {(const uint8_t *)text, (const uint8_t *)text + length, false};
    struct proto_field packet, field;
    uint64_t types[5] = {0}, tracks = 0, names = 0;
    while (next_field(&trace, &packet)) {
        cr_assert_eq(packet.number, 1);
        struct trace_in in = {packet.bytes, packet.bytes + packet.value, false};
        cr_assert_eq(find_number(packet.bytes, packet.value, 10), 1, "the sequence of each packet");
        while (next_field(&in, &field)) {
            tracks += field.number == 60;
            names += field.number == 12;
            if (field.number != 11) continue;
            uint64_t type = find_number(field.bytes, field.value, 9);
            cr_assert(type >= 1 && type <= 4);
            cr_assert_geq(find_number(packet.bytes, packet.value, 8), 1000000, "the time of each event");
            cr_assert_neq(find_number(field.bytes, field.value, 11), 0, "the track of each event");
            types[type]++;
        }
    }
    cr_assert_eq(types[1], 2 * 20 * 9 + 2 * 20 + 20);
    cr_assert_eq(types[2], types[1]);
    cr_assert_eq(types[3], 2);
    cr_assert_eq(types[4], 40);
    cr_assert_eq(names, 2 * 9);
    cr_assert_eq(tracks, 2 * 4 + 1 + 2);
    free(text);
}

Test(trace_export, summaries_add_up)
{
    struct error err = {0};
    struct trace_follower *follower = follow(path);
    const struct rollup *r = trace_follow_rollup(follower);
    const size_t rows[] = {9, 3, 3, 2};
    uint64_t total = 0;
    for (size_t i = 0; i < r->op_count; i++) total += r->ops[i].total_ns;
    for (int by = SUMMARY_OP; by <= SUMMARY_PASS; by++) {
        struct summary summary = {0};
        cr_assert(summary_make(r, (enum summary_by)by, SUMMARY_TOTAL, &summary, &err));
        cr_assert_eq(summary.count, rows[by]);
        cr_assert_eq(summary.total_ns, total);
        cr_assert_eq(summary.instances, 2 * 20 * 9);
        double share = 0, step = 0;
        for (size_t i = 0; i < summary.count; i++) {
            const struct summary_row *row = &summary.rows[i];
            share += row->share;
            step += row->step_ns;
            if (i) cr_assert_leq(row->total_ns, row[-1].total_ns);
            cr_assert((double)row->least_ns <= row->median_ns && row->median_ns <= (double)row->most_ns);
            cr_assert_float_eq(row->mean_ns * (double)row->instances, (double)row->total_ns, 1e-3);
        }
        cr_assert_float_eq(share, 1, 1e-9);
        cr_assert_float_eq(step, (double)total / 40, (double)total / 40 * 0.03);
        summary_finish(&summary);
    }
    struct summary_steps steps;
    cr_assert(summary_time_steps(r, &steps, &err));
    cr_assert_eq(steps.count, 20);
    cr_assert_eq(steps.median_ns, 990000);
    trace_unfollow(follower);
}

/* A copy has the same layer and kind as its way back, a turned addition as the addition itself. */
Test(trace_export, rows_of_ops_have_different_names)
{
    static const char *const kinds[] = {"add", "add", "add", "copy", "copy"};
    static const char *const passes[] = {"forward", "reconstruct", "recompute", "offload", "fetch"};
    struct error err = {0};
    struct rollup_op ops[5] = {0};
    struct rollup rollup = {.device_count = 1, .ops = ops, .op_count = 5};
    struct summary summary = {0};
    for (size_t i = 0; i < 5; i++)
        ops[i] = (struct rollup_op){.id = (uint32_t)i,
                                    .layer = "stage1/unit1/add",
                                    .kind = kinds[i],
                                    .pass = passes[i],
                                    .count = 1,
                                    .total_ns = 9};
    cr_assert(summary_make(&rollup, SUMMARY_OP, SUMMARY_TOTAL, &summary, &err), "%s", err.text);
    cr_assert_eq(summary.count, 5);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < i; k++) cr_assert_str_neq(summary.rows[i].name, summary.rows[k].name);
    summary_finish(&summary);
}

Test(trace_export, deviation_is_the_sample_one)
{
    struct error err = {0};
    struct trace_writer *writer = begin(other);
    struct trace_sink *s = trace_writer_sink(writer);
    sample_tables(s, 1, 1);
    const uint64_t times[] = {1000, 2000, 4000, 9000};
    for (size_t i = 0; i < 4; i++) s->op_time(s->context, 0, 0, 100000, 100000 + times[i]);
    trace_writer_close(writer);
    struct trace_follower *follower = follow(other);
    struct summary summary = {0};
    cr_assert(summary_make(trace_follow_rollup(follower), SUMMARY_OP, SUMMARY_NAME, &summary, &err));
    cr_assert_float_eq(summary.rows[0].deviation_ns, 3559.026084, 1e-3);
    summary_finish(&summary);
    trace_unfollow(follower);
}

Test(trace_export, csv_has_the_columns_of_nsys)
{
    struct error err = {0};
    struct trace_follower *follower = follow(path);
    struct summary summary = {0};
    cr_assert(summary_make(trace_follow_rollup(follower), SUMMARY_LAYER, SUMMARY_NAME, &summary, &err));
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    mem_free(summary.rows[0].name);
    summary.rows[0].name = mem_strdup(MEM_TRACE, "a,\"b\"");
    trace_export_csv(&summary, NULL, out);
    fclose(out);
    const char head[] = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name\n";
    cr_assert_eq(strncmp(text, head, sizeof head - 1), 0);
    cr_assert_not_null(strstr(text, ",\"a,\"\"b\"\"\"\n"));
    size_t lines = 0;
    for (char *c = text; *c; c++) lines += *c == '\n';
    cr_assert_eq(lines, 1 + summary.count);
    free(text);
    summary_finish(&summary);
    trace_unfollow(follower);
}

Test(trace_export, a_whole_trace_is_clean_and_a_damaged_one_is_not)
{
    struct error err = {0};
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean && report.ended);
    cr_assert_eq(report.events[TRACE_OP], 360);
    cr_assert_eq(report.events[TRACE_MARK], 2);
    size_t length;
    unsigned char *bytes = sample_bytes(path, &length);
    bytes[length / 2] ^= 4;
    sample_write(other, bytes, length);
    cr_assert(trace_check(other, &report, &err));
    cr_assert_not(report.clean);
    sample_write(other, bytes, length - 3);
    bytes[length / 2] ^= 4;
    sample_write(other, bytes, length - 3);
    cr_assert(trace_check(other, &report, &err));
    cr_assert(!report.clean && !report.ended && report.stats.reader.tail_bytes == TRACE_BLOCK_HEADER - 3);
    sample_write(other, bytes, length - TRACE_BLOCK_HEADER); /* a killed run: all blocks whole, none says the end */
    cr_assert(trace_check(other, &report, &err));
    cr_assert(report.clean && !report.ended);
    free(bytes);
}

Test(trace_export, everything_survives_any_failed_allocation)
{
    uint64_t before = mem_current_bytes(MEM_TRACE), n = 0;
    for (bool done = false; !done; n++) {
        struct error err = {0};
        struct trace_report report;
        FILE *out = fopen("/dev/null", "w");
        mem_fail_at(n + 1);
        done = trace_export_chrome(path, out, NULL, &err) && trace_export_perfetto(path, out, NULL, &err) &&
               trace_check(path, &report, &err);
        mem_fail_at(0);
        fclose(out);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before);
    }
    cr_assert_gt(n, 20);
    struct trace_follower *follower = follow(path);
    before = mem_current_bytes(MEM_TRACE);
    for (bool done = false, first = true; !done; first = false) {
        struct error err = {0};
        struct summary summary = {0};
        static uint64_t at;
        at = first ? 1 : at + 1;
        mem_fail_at(at);
        done = summary_make(trace_follow_rollup(follower), SUMMARY_OP, SUMMARY_TOTAL, &summary, &err);
        mem_fail_at(0);
        if (!done) cr_assert(err.kind == ERROR_MEMORY && summary.rows == NULL && summary.count == 0);
        summary_finish(&summary);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before);
    }
    trace_unfollow(follower);
}

/* The command's exit code; its output into text. */
static int run_command(const char *arguments, char *text, size_t size)
{
    char command[512];
    snprintf(command, sizeof command, "%s trace %s 2>&1", getenv("FATHOM_BIN"), arguments);
    FILE *pipe = popen(command, "r");
    size_t length = fread(text, 1, size - 1, pipe);
    text[length] = '\0';
    while (fgetc(pipe) != EOF) {
    }
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

Test(trace_export, the_command_answers)
{
    char text[20000], arguments[300];
    snprintf(arguments, sizeof arguments, "stats --json --by layer %s", path);
    cr_assert_eq(run_command(arguments, text, sizeof text), 0, "%s", text);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert_eq(json_array_size(json_object_get(json, "rows")), 3);
    cr_assert_str_eq(json_string_value(json_object_get(json, "model")), "resnet-20");
    json_decref(json);
    snprintf(arguments, sizeof arguments, "diff --json %s %s", path, path);
    cr_assert_eq(run_command(arguments, text, sizeof text), 0, "%s", text);
    json = json_loads(text, 0, NULL);
    cr_assert_eq(json_real_value(json_object_get(json_array_get(json_object_get(json, "rows"), 0), "change_ns")), 0);
    json_decref(json);
    snprintf(arguments, sizeof arguments, "check %s", path);
    cr_assert_eq(run_command(arguments, text, sizeof text), 0, "%s", text);
    snprintf(arguments, sizeof arguments, "export --csv %s -o %s", path, other);
    cr_assert_eq(run_command(arguments, text, sizeof text), 0, "%s", text);
    snprintf(arguments, sizeof arguments, "stats %s", other);
    cr_assert_eq(run_command(arguments, text, sizeof text), 2, "a CSV is no trace: %s", text);
}

Test(trace_export, the_command_says_what_is_wrong)
{
    char text[4000], arguments[300];
    size_t length;
    unsigned char *bytes = sample_bytes(path, &length);
    bytes[length / 2] ^= 1;
    sample_write(other, bytes, length);
    free(bytes);
    snprintf(arguments, sizeof arguments, "check %s", other);
    cr_assert_eq(run_command(arguments, text, sizeof text), 1, "%s", text);
    const char *const wrong[] = {"",
                                 "sum x",
                                 "stats",
                                 "stats /nonexistent",
                                 "stats /tmp",
                                 "diff /tmp/only-one",
                                 "export /tmp/x",
                                 "stats --by colour /tmp/x",
                                 "stats --sort colour /tmp/x",
                                 "stats --limit 0 /tmp/x",
                                 "check a b"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_eq(run_command(wrong[i], text, sizeof text), 2, "%s: %s", wrong[i], text);
        char *newline = strchr(text, '\n');
        cr_assert(newline && newline[1] == '\0', "one sentence: %s", text);
    }
}

/* Two kernels of an op and one of none, on two streams; counters; what the host did. */
static void write_kernels(void)
{
    struct trace_writer *writer = begin(other);
    struct trace_sink *s = trace_writer_sink(writer);
    const struct trace_kernel kernels[] = {
        {.id = 0, .op = 1, .name = "gemm \"x\"", .grid = {3, 2, 1}, .block = {64, 1, 1}, .registers = 40, .bytes = 77},
        {.id = 1, .op = TRACE_NO_OWNER, .name = "copy", .work = WORK_COPY, .bytes = 4096}};
    const struct trace_kernel_time times[] = {
        {0, 7, 1000, 1500}, {1, 13, 1100, 1900}, {0, 7, 2000, 2400}, {9, 7, 2500, 2600}};
    sample_tables(s, 1, 4);
    s->kernel_table(s->context, kernels, 2);
    s->counter_table(s->context, (struct trace_counter[]){{3, "power", "W"}}, 1);
    s->kernels(s->context, 0, times, 4);
    s->counter(s->context, 0, 3, 250, 1200);
    s->span(s->context, 0, HOST_LAUNCH, 900, 1000);
    trace_writer_close(writer);
}

static const json_t *find_event(const json_t *events, const char *name)
{
    size_t i;
    json_t *event;
    json_array_foreach(events, i,
                       event) if (strcmp(json_string_value(json_object_get(event, "name")), name) == 0) return event;
    return NULL;
}

Test(trace_export, chrome_json_has_kernels_by_stream)
{
    write_kernels();
    json_t *json = export_chrome(other), *events = json_object_get(json, "traceEvents");
    cr_assert_eq(count_phase(events, "X"), 4 + 1);
    cr_assert_eq(count_phase(events, "C"), 1);
    const json_t *gemm = find_event(events, "gemm \"x\""), *copy = find_event(events, "copy");
    const json_t *args = json_object_get(gemm, "args");
    cr_assert_str_eq(json_string_value(json_object_get(gemm, "cat")), "kernel");
    cr_assert_str_eq(json_string_value(json_object_get(copy, "cat")), "gpu_memcpy");
    cr_assert_str_eq(json_string_value(json_object_get(args, "layer")), "stage0/unit0");
    cr_assert_eq(json_integer_value(json_array_get(json_object_get(args, "grid"), 0)), 3);
    cr_assert_eq(json_integer_value(json_object_get(gemm, "tid")), 107);
    cr_assert_eq(json_integer_value(json_object_get(copy, "tid")), 113);
    cr_assert_float_eq(json_real_value(json_object_get(gemm, "dur")), 0.5, 1e-9);
    cr_assert_not_null(find_event(events, "power, W"));
    cr_assert_not_null(find_event(events, "launch"));
    cr_assert_not_null(find_event(events, "kernel 9"), "one that is in no table");
    json_decref(json);
}

Test(trace_export, perfetto_has_kernels_by_stream)
{
    write_kernels();
    struct error err = {0};
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    cr_assert(trace_export_perfetto(other, out, NULL, &err), "%s", err.text);
    fclose(out);
    struct trace_in trace = {(const uint8_t *)text, (const uint8_t *)text + length, false};
    struct proto_field packet, field;
    uint64_t begins = 0, categories = 0, stages = 0, launches = 0, durations = 0, copies = 0;
    while (next_field(&trace, &packet)) {
        struct trace_in in = {packet.bytes, packet.bytes + packet.value, false};
        while (next_field(&in, &field)) {
            if (field.number == 53) { /* what Perfetto shows as a GPU's own */
                stages++;
                durations += find_number(field.bytes, field.value, 2);
                launches += find_number(field.bytes, field.value, 21) != 0;
                copies += find_number(field.bytes, field.value, 14) == 2;
                cr_assert(find_number(field.bytes, field.value, 5) == 1 && find_number(field.bytes, field.value, 20));
                cr_assert_geq(find_number(field.bytes, field.value, 13), 16);
            }
            if (field.number != 11 || find_number(field.bytes, field.value, 9) != 1) continue;
            begins++;
            categories += find_number(field.bytes, field.value, 3) != 0;
        }
    }
    cr_assert_eq(begins, 4 + 1);
    cr_assert(stages == 3 && copies == 1 && launches == 2, "%lu stages, %lu copies, %lu launches",
              (unsigned long)stages, (unsigned long)copies, (unsigned long)launches);
    cr_assert_eq(durations, 500 + 800 + 400);
    cr_assert_not_null(memmem(text, length, "registers_per_thread", 20));
    cr_assert_eq(categories, 2, "the layer of both runs of the kernel that has an op");
    cr_assert_not_null(memmem(text, length, "stream 13", 9));
    cr_assert_not_null(memmem(text, length, "power, W", 8));
    free(text);
}

Test(trace_export, what_is_stopped_says_so)
{
    volatile sig_atomic_t stop = 15;
    struct error err = {0};
    FILE *out = fopen("/dev/null", "w");
    cr_assert_not(trace_export_chrome(path, out, &stop, &err));
    cr_assert(err.kind == ERROR_FAILED && strstr(err.text, "stopped"), "%s", err.text);
    cr_assert_not(trace_export_perfetto(path, out, &stop, &err));
    fclose(out);
}
