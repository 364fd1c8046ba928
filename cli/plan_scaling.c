#include "plan_scaling.h"

#include <inttypes.h>

#include "page.h"
#include "predict.h"
#include "topology.h"
#include "units.h"

static void print_share(double share, FILE *to)
{
    if (share > 0)
        fprintf(to, " %7.1f %%", 100 * share);
    else
        fprintf(to, " %9s", "-");
}

/* An asterisk for what the devices cannot hold. */
static bool print_points(const char *title, const struct scaling_point *points, size_t count, FILE *to)
{
    bool over = false;
    fprintf(to, "\n  %s\n  %7s %9s %10s %11s %9s %9s  %s\n", title, "devices", "batch", "step", "images/s", "of one",
            "of a node", "all-reduce");
    for (size_t i = 0; i < count; i++) {
        const struct scaling_point *p = &points[i];
        char devices[UNITS_TEXT], batch[UNITS_TEXT], step[UNITS_TEXT], rate[UNITS_TEXT];
        fprintf(to, "  %7s %9s %10s %11s", units_format_count(p->devices, devices), units_format_count(p->batch, batch),
                units_format_seconds(p->step_seconds, step), units_format_rate(p->images_per_second, rate));
        print_share(p->of_one, to);
        print_share(p->of_node, to);
        fprintf(to, "%s%s%s\n", p->devices > 1 ? "  " : "", p->devices > 1 ? all_reduce_name(p->way) : "",
                p->fits ? "" : "  *");
        over = over || !p->fits;
    }
    return over;
}

/* The same with what is beside the devices' work. */
static void print_whole(const char *title, const struct scaling_point *points, size_t count, FILE *to)
{
    fprintf(to, "\n  %s, with input, stragglers and evaluation\n  %7s %10s %10s %10s %10s %11s %9s\n", title, "devices",
            "step", "input", "slowest", "evaluation", "images/s", "of one");
    for (size_t i = 0; i < count; i++) {
        const struct scaling_point *p = &points[i];
        char devices[UNITS_TEXT], step[UNITS_TEXT], input[UNITS_TEXT], wait[UNITS_TEXT], evaluation[UNITS_TEXT],
            rate[UNITS_TEXT];
        fprintf(to, "  %7s %10s %10s %10s %10s %11s", units_format_count(p->devices, devices),
                units_format_seconds(p->whole_seconds, step),
                p->input_seconds > 0 ? units_format_seconds(p->input_seconds, input) : "-",
                p->straggler_seconds > 0 ? units_format_seconds(p->straggler_seconds, wait) : "-",
                units_format_seconds(p->evaluation_seconds, evaluation),
                units_format_rate(p->whole_images_per_second, rate));
        print_share(p->whole_of_one, to);
        fputc('\n', to);
    }
}

static void say_load(const struct scaling_load *load, FILE *to)
{
    char rate[UNITS_TEXT], tested[UNITS_TEXT];
    struct text text = {0};
    text_add(&text, "input: decoded beside the step before, ");
    if (load->node_images_per_second > 0)
        text_add(&text, "%s images/s by a node (--input)", units_format_rate(load->node_images_per_second, rate));
    else
        text_add(&text, "as fast as is wanted (--input)");
    text_add(
        &text,
        "; slowest: a step ends with it, of devices whose steps are %g %% apart (--spread, an assumption: `fathom top` "
        "shows a run's); evaluation: of %s test images after each epoch, shared out to its steps",
        100 * load->spread, units_format_count(load->test_images, tested));
    page_text(to, 2, 2, &text);
}

/* More devices are faster each. */
static bool gains(const struct scaling *scaling)
{
    for (size_t i = 0; i < scaling->strong_count; i++)
        if (scaling->strong[i].of_one > 1.0005) return true;
    return false;
}

void plan_scaling_print(const struct scaling *scaling, FILE *to)
{
    bool over = print_points("weak scaling: the batch of a device stays", scaling->weak, scaling->weak_count, to);
    print_whole("weak scaling", scaling->weak, scaling->weak_count, to);
    over |= print_points("strong scaling: the batch of the step stays", scaling->strong, scaling->strong_count, to);
    print_whole("strong scaling", scaling->strong, scaling->strong_count, to);
    page_say(to, 2, 2,
             "images/s per device, over those of one device and of one node; simulated from the devices' and links' "
             "speeds, not measured");
    say_load(&scaling->load, to);
    if (gains(scaling))
        page_say(to, 2, 2,
                 "above 100 %%: larger shares take more time per image, most often because more is computed twice");
    if (over) fputs("  * more than the devices have\n", to);
}

void plan_run_print(const struct whole_run *run, FILE *to)
{
    char images[UNITS_TEXT], steps[UNITS_TEXT], seconds[UNITS_TEXT];
    struct text text = {0};
    text_add(&text, "%s: %s steps, %s images (%.1f epochs); %.1f device hours",
             units_format_seconds(run->seconds, seconds), units_format_count(run->steps, steps),
             units_format_count(run->images, images), run->epochs, run->device_hours);
    if (run->price > 0) text_add(&text, ", a price of %.2f at %g an hour", run->price, run->price / run->device_hours);
    page_row_text(to, "whole run", &text);
}

static json_t *share_json(double share) { return share > 0 ? json_real(share) : json_null(); }

static json_t *whole_json(const struct scaling_point *p)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:o}", "step_seconds", p->whole_seconds, "input_seconds",
                     p->input_seconds, "straggler_seconds", p->straggler_seconds, "evaluation_seconds",
                     p->evaluation_seconds, "images_per_second", p->whole_images_per_second, "of_one",
                     share_json(p->whole_of_one));
}

static json_t *points_json(const struct scaling_point *points, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct scaling_point *p = &points[i];
        json_t *way = p->devices > 1 ? json_string(all_reduce_name(p->way)) : json_null();
        json_t *point = json_pack("{s:I, s:I, s:b, s:f, s:f, s:o, s:o, s:o, s:o}", "devices", (json_int_t)p->devices,
                                  "batch", (json_int_t)p->batch, "fits", p->fits, "step_seconds", p->step_seconds,
                                  "images_per_second", p->images_per_second, "of_one", share_json(p->of_one), "of_node",
                                  share_json(p->of_node), "all_reduce", way, "whole", whole_json(p));
        json_array_append_new(list, point);
    }
    return list;
}

json_t *plan_scaling_json(const struct scaling *scaling)
{
    const struct scaling_load *load = &scaling->load;
    return json_pack("{s:o, s:o, s:o, s:f, s:I}", "weak", points_json(scaling->weak, scaling->weak_count), "strong",
                     points_json(scaling->strong, scaling->strong_count), "node_images_per_second",
                     share_json(load->node_images_per_second), "spread", load->spread, "test_images",
                     (json_int_t)load->test_images);
}

json_t *plan_all_reduce_json(const struct plan *plan, const struct machine *machine)
{
    enum all_reduce_way way;
    uint64_t bucket = predict_largest_bucket(plan);
    double seconds = all_reduce_seconds(machine, plan->device_count, bucket, &way);
    json_t *path = machine->link_path ? json_string(topology_path_word((enum topology_path)(machine->link_path - 1)))
                                      : json_null();
    const struct graph_options *options = &plan->variants[0].graph->options;
    return json_pack("{s:s, s:b, s:s, s:I, s:f, s:f, s:o, s:I, s:f}", "dtype", dtype_name(options->reduce_dtype),
                     "apart", (int)options->reduce_apart, "way", all_reduce_name(way), "bucket_bytes",
                     (json_int_t)bucket, "seconds", seconds, "link_bandwidth", machine->link_bandwidth, "link_path",
                     path, "node_devices", (json_int_t)machine->node_devices, "network_bandwidth",
                     machine->network_bandwidth);
}

json_t *plan_run_json(const struct whole_run *run)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:o}", "images", (json_int_t)run->images, "steps",
                     (json_int_t)run->steps, "epochs", run->epochs, "seconds", run->seconds, "device_hours",
                     run->device_hours, "price", run->price > 0 ? json_real(run->price) : json_null());
}
