#include "scaling.h"

#include <math.h>
#include <string.h>

#include "make.h"
#include "predict.h"

static bool alike(const struct device_spec *a, const struct device_spec *b)
{
    return strcmp(a->name, b->name) == 0 && device_same_memory(a, b) && device_same_speed(a, b);
}

static bool check_devices(const struct machine *machine, struct error *err)
{
    for (size_t i = 1; i < machine->device_count; i++)
        if (!alike(&machine->devices[0], &machine->devices[i]))
            return error_set(err, ERROR_INPUT, "--scaling: found %s beside %s, expected devices that are alike",
                             machine->devices[i].name, machine->devices[0].name);
    if (machine->devices[0].kind == DEVICE_CPU)
        return error_set(err, ERROR_INPUT,
                         "--scaling: found cpu, expected GPUs: virtual devices share the host's cores");
    return true;
}

/* ---- Beside the step ---- */

#define CORES_PER_GPU   14u   /* DGX H100: 112 for 8 */
#define IMAGES_PER_CORE 1050. /* a second */
#define ASSUMED_SPREAD  0.01

struct scaling_load scaling_load_of(const struct plan_request *request, uint64_t test_images, uint64_t epoch_images)
{
    bool pictures = request->spec.image_size != PLAN_PICTURE_SIDE;
    return (struct scaling_load){.node_images_per_second =
                                     pictures ? IMAGES_PER_CORE * CORES_PER_GPU * request->machine->node_devices : 0,
                                 .spread = ASSUMED_SPREAD,
                                 .test_images = test_images,
                                 .epoch_images = epoch_images};
}

/* x of which a share p of all is below: by halves. */
static double normal_quantile(double p)
{
    double low = -9, high = 9;
    for (unsigned i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

double scaling_expected_largest(size_t count)
{
    return count > 1 ? normal_quantile(((double)count - 0.375) / ((double)count + 0.25)) : 0;
}

static bool add_load(const struct plan_request *request, const struct scaling_load *load, const struct plan *plan,
                     struct scaling_point *point, struct error *err)
{
    double devices = (double)point->devices, node = request->machine->node_devices, evaluation;
    if (node > devices) node = devices;
    if (load->node_images_per_second > 0)
        point->input_seconds = point->batch * node / devices / load->node_images_per_second;
    point->straggler_seconds = scaling_expected_largest(point->devices) * load->spread * point->step_seconds;
    if (load->epoch_images > 0) {
        TRY(predict_evaluation_seconds(plan, request->measured, load->test_images, &evaluation, err));
        point->evaluation_seconds = evaluation * point->batch / (double)load->epoch_images;
    }
    point->whole_seconds =
        fmax(point->step_seconds + point->straggler_seconds, point->input_seconds) + point->evaluation_seconds;
    point->whole_images_per_second = point->batch / point->whole_seconds;
    return true;
}

/* ---- Points ---- */

static bool plan_point(const struct plan_request *request, const struct scaling_load *load, size_t devices,
                       uint64_t batch, struct scaling_point *point, struct error *err)
{
    struct plan_request changed = *request;
    struct machine machine = *request->machine;
    machine.device_count = devices;
    changed.machine = &machine;
    changed.batch = (uint32_t)batch;
    struct plan *plan = plan_make(&changed, err);
    if (!plan) return error_prefix(err, "--scaling: %zu devices", devices);
    *point = (struct scaling_point){
        .devices = devices, .batch = (uint32_t)batch, .fits = plan->fits, .step_seconds = plan->step_seconds};
    if (plan->step_seconds > 0) point->images_per_second = (double)batch / plan->step_seconds;
    all_reduce_seconds(&machine, devices, predict_largest_bucket(plan), &point->way);
    bool known = point->step_seconds > 0, ok = !known || add_load(request, load, plan, point, err);
    plan_destroy(plan);
    if (known) return ok;
    return error_set(err, ERROR_INPUT,
                     "--scaling: the speed of %zu x %s or of its links is not known; a name of the catalogue or a "
                     "machine file with speeds is wanted",
                     devices, machine.devices[0].name);
}

static double each(const struct scaling_point *point) { return point->images_per_second / (double)point->devices; }

/* Against the row of one device, and that of one node's. */
static void compare(struct scaling_point *points, size_t count, size_t node)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            double ratio = each(&points[i]) / each(&points[k]);
            double whole = points[i].whole_images_per_second / (double)points[i].devices;
            if (points[k].devices == 1) points[i].of_one = ratio;
            if (points[k].devices == 1) points[i].whole_of_one = whole / points[k].whole_images_per_second;
            if (points[k].devices == node) points[i].of_node = ratio;
        }
}

/* 1, 2, 4 ... and the last. */
static size_t next_count(size_t devices, size_t last)
{
    if (devices >= last) return 0;
    return 2 * devices < last ? 2 * devices : last;
}

bool scaling_find(const struct plan_request *request, const struct scaling_load *load, struct scaling *scaling,
                  struct error *err)
{
    size_t last = request->machine->device_count, node = request->machine->node_devices;
    uint32_t unit = plan_request_unit(request), units = request->batch / unit, share = units / (uint32_t)last * unit;
    *scaling = (struct scaling){.load = *load};
    TRY(check_devices(request->machine, err));
    for (size_t n = 1; n; n = next_count(n, last)) {
        uint64_t batch = n == last ? request->batch : (uint64_t)share * n;
        TRY(plan_point(request, load, n, batch, &scaling->weak[scaling->weak_count++], err));
    }
    for (size_t n = 1; n && n <= units; n = next_count(n, last))
        TRY(plan_point(request, load, n, request->batch, &scaling->strong[scaling->strong_count++], err));
    compare(scaling->weak, scaling->weak_count, node);
    compare(scaling->strong, scaling->strong_count, node);
    return true;
}

bool whole_run_estimate(const struct plan *plan, uint64_t images, uint64_t epoch_images, double hour_price,
                        struct whole_run *run)
{
    if (plan->step_seconds <= 0) return false;
    uint64_t steps = images / plan->batch + (images % plan->batch != 0);
    double seconds = (double)steps * plan->step_seconds;
    double hours = seconds / 3600 * (double)plan->device_count;
    *run = (struct whole_run){.images = images,
                              .steps = steps,
                              .epochs = (double)images / (double)epoch_images,
                              .seconds = seconds,
                              .device_hours = hours,
                              .price = hours * hour_price};
    return true;
}
