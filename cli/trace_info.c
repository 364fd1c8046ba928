/* fathom trace info: which run, process and devices a trace is of, and what lies in their arenas. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "json_print.h"
#include "printable.h"
#include "trace_private.h"

#define SHOWN_TENSORS 10 /* where nobody says how many */
#define MOST_TENSORS  100000

static const struct rollup_op *find_op(const struct rollup *r, uint32_t device, uint32_t id)
{
    for (size_t i = 0; i < r->op_count; i++)
        if (r->ops[i].device == device && r->ops[i].id == id) return &r->ops[i];
    return NULL;
}

static double clock_ahead(const struct rollup_clock *clock)
{
    return (double)(int64_t)(clock->last_other_ns - clock->last_ns);
}

/* A device's tensors: how many where, and the fullest moment. */
struct arena {
    size_t count, in_host;
    uint64_t peak_bytes;
    uint32_t peak_op;
    const struct rollup_op *op; /* there; NULL = in no table */
    const struct rollup_tensor *largest[MOST_TENSORS];
    size_t shown;
};

static void look_at_arena(const struct rollup *r, uint32_t device, size_t most, struct arena *arena)
{
    const struct rollup_tensor *tensors = rollup_tensors(r, device, &arena->count);
    arena->in_host = 0;
    for (size_t i = 0; i < arena->count; i++) arena->in_host += tensors[i].host;
    arena->peak_bytes = rollup_arena_peak(r, device, &arena->peak_op);
    arena->op = find_op(r, device, arena->peak_op);
    arena->shown = rollup_tensors_at(r, device, arena->peak_op, arena->largest, most);
}

/* ---- Text ---- */

static void print_moment(const struct rollup *r)
{
    char when[40] = "unknown";
    time_t seconds = (time_t)((r->first_ns + r->wall_offset_ns) / 1000000000);
    struct tm local;
    if (r->wall_offset_ns && r->first_ns && localtime_r(&seconds, &local))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    printf("begun        %s; step %" PRIu64 " of %" PRIu64 "%s\n", when, rollup_steps_done(r), r->iterations,
           r->ended ? ", ended" : ", not ended");
}

static void print_origin(const struct rollup *r)
{
    if (!r->has_origin) {
        printf("written      on %s; by which of its processes is unknown\n",
               r->host[0] ? PRINTABLE(r->host) : "an unknown host");
        return;
    }
    printf("written      by rank %u of %u on %s, ", r->rank, r->ranks, PRINTABLE(r->origin_host));
    if (r->own_devices == 0)
        puts("no devices");
    else if (r->own_devices == 1)
        printf("device %u\n", r->first_device);
    else
        printf("devices %u to %u\n", r->first_device, r->first_device + r->own_devices - 1);
}

#define DRIFT_TEXT 40
/* Far beyond what quartz does, and what a time service slews (500 ppm): somebody set the clock. */
#define MOST_DRIFT 0.01

static const char *drift_words(const struct rollup_clock *clock, char text[DRIFT_TEXT])
{
    double drift = rollup_clock_drift(clock);
    if (isnan(drift)) return "at an unknown rate";
    snprintf(text, DRIFT_TEXT, "%+.2f ppm", 1e6 * drift);
    return text;
}

static void print_wall(const struct rollup *r)
{
    char drift[DRIFT_TEXT];
    if (r->wall.count < 2) return;
    double apart = rollup_clock_drift(&r->wall);
    if (fabs(apart) > MOST_DRIFT)
        printf("clock        read beside the wall's %" PRIu64 " times, which was set meanwhile\n", r->wall.count);
    else
        printf("clock        read beside the wall's %" PRIu64 " times, which runs %s\n", r->wall.count,
               drift_words(&r->wall, drift));
}

static void print_device(const struct rollup *r, uint32_t number)
{
    const struct rollup_device *d = &r->devices[number];
    char text[UNITS_TEXT], drift[DRIFT_TEXT];
    printf("device %-5u %s%s%s, %u images, %s arena\n", number, d->name[0] ? PRINTABLE(d->name) : "unknown",
           d->slot[0] ? " at " : "", PRINTABLE(d->slot), d->images, units_format_bytes(d->arena_bytes, text));
    if (d->clock.count > 0)
        printf("  clock      %+.0f ns from the host's, read %" PRIu64 " times; runs %s\n", clock_ahead(&d->clock),
               d->clock.count, drift_words(&d->clock, drift));
}

static void print_arena(const struct arena *arena)
{
    char text[3][UNITS_TEXT];
    if (arena->count == 0) {
        puts("  tensors    unknown: the trace does not tell them");
        return;
    }
    printf("  tensors    %zu in the arena", arena->count - arena->in_host);
    if (arena->in_host > 0) printf(", %zu in host memory", arena->in_host);
    printf("; at most %s, at op %u", units_format_bytes(arena->peak_bytes, text[0]), arena->peak_op);
    if (arena->op) printf(" (%s %s)", PRINTABLE(arena->op->layer), PRINTABLE(arena->op->kind));
    puts(":");
    for (size_t i = 0; i < arena->shown; i++) {
        const struct rollup_tensor *t = arena->largest[i];
        printf("  %10s at %-10s ops %5u to %-5u %-10s %s.%s\n", units_format_bytes(t->bytes, text[0]),
               units_format_bytes(t->offset, text[1]), t->first, t->last, PRINTABLE(t->class_name), PRINTABLE(t->layer),
               PRINTABLE(t->role));
    }
}

static void print_info(const struct rollup *r, size_t most, struct arena *arena)
{
    printf("%s on %s, batch %u, %s, %u device%s\n", r->has_run ? PRINTABLE(r->model) : "an unknown model",
           r->dataset[0] ? PRINTABLE(r->dataset) : "unknown data", r->batch, PRINTABLE(r->backend), r->device_count,
           r->device_count == 1 ? "" : "s");
    if (r->command[0]) printf("command      %s\n", PRINTABLE(r->command));
    print_moment(r);
    print_origin(r);
    print_wall(r);
    for (uint32_t i = 0; i < r->device_count && i < ROLLUP_MOST_DEVICES; i++) {
        print_device(r, i);
        look_at_arena(r, i, most, arena);
        print_arena(arena);
    }
}

/* ---- JSON ---- */

static json_t *clock_json(const struct rollup_clock *clock)
{
    if (clock->count == 0) return json_null();
    double drift = rollup_clock_drift(clock);
    return json_pack("{s:I, s:o, s:o}", "readings", (json_int_t)clock->count, "ahead_ns",
                     json_real_or_null(clock_ahead(clock)), "drift", json_real_or_null(drift));
}

static json_t *tensor_json(const struct rollup_tensor *t)
{
    return json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:i, s:i}", "layer", json_text(t->layer), "role",
                     json_text(t->role), "class", json_text(t->class_name), "host", t->host, "offset",
                     (json_int_t)t->offset, "bytes", (json_int_t)t->bytes, "first", (int)t->first, "last",
                     (int)t->last);
}

/* Null where the trace does not tell. */
static json_t *arena_json(const struct arena *arena)
{
    json_t *largest = json_array();
    if (arena->count == 0) {
        json_decref(largest);
        return json_null();
    }
    for (size_t i = 0; i < arena->shown; i++) json_array_append_new(largest, tensor_json(arena->largest[i]));
    return json_pack("{s:I, s:I, s:I, s:i, s:o}", "tensors", (json_int_t)arena->count, "in_host",
                     (json_int_t)arena->in_host, "peak_bytes", (json_int_t)arena->peak_bytes, "peak_op",
                     (int)arena->peak_op, "at_peak", largest);
}

static json_t *device_json(const struct rollup *r, uint32_t number, const struct arena *arena)
{
    const struct rollup_device *d = &r->devices[number];
    return json_pack("{s:i, s:o, s:o, s:i, s:I, s:I, s:o, s:o}", "device", (int)number, "name", json_text(d->name),
                     "slot", d->slot[0] ? json_text(d->slot) : json_null(), "images", (int)d->images, "memory_bytes",
                     (json_int_t)d->memory_bytes, "arena_bytes", (json_int_t)d->arena_bytes, "clock",
                     clock_json(&d->clock), "arena", arena_json(arena));
}

static json_t *origin_json(const struct rollup *r)
{
    if (!r->has_origin) return json_null();
    return json_pack("{s:i, s:i, s:o, s:i, s:i}", "rank", (int)r->rank, "ranks", (int)r->ranks, "host",
                     json_text(r->origin_host), "first_device", (int)r->first_device, "devices", (int)r->own_devices);
}

static bool print_json(const struct rollup *r, size_t most, struct arena *arena, struct error *err)
{
    json_t *devices = json_array();
    for (uint32_t i = 0; i < r->device_count && i < ROLLUP_MOST_DEVICES; i++) {
        look_at_arena(r, i, most, arena);
        json_array_append_new(devices, device_json(r, i, arena));
    }
    double begun = r->wall_offset_ns && r->first_ns ? (double)(r->first_ns + r->wall_offset_ns) * 1e-9 : NAN;
    return json_print(json_pack("{s:o, s:o, s:o, s:i, s:o, s:o, s:I, s:I, s:b, s:o, s:o, s:o}", "model",
                                r->has_run ? json_text(r->model) : json_null(), "dataset",
                                r->has_run ? json_text(r->dataset) : json_null(), "backend",
                                r->has_run ? json_text(r->backend) : json_null(), "batch", (int)r->batch, "command",
                                json_text(r->command), "begun", json_real_or_null(begun), "step",
                                (json_int_t)rollup_steps_done(r), "iterations", (json_int_t)r->iterations, "ended",
                                r->ended, "origin", origin_json(r), "wall", clock_json(&r->wall), "devices", devices),
                      9, stdout, err);
}

bool trace_run_info(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    static struct arena arena;
    struct trace_follower *follower;
    size_t most = options->limit == 0 ? SHOWN_TENSORS : options->limit < MOST_TENSORS ? options->limit : MOST_TENSORS;
    uint64_t read;
    TRY(trace_follow(paths[0], &follower, err));
    bool ok = trace_follow_more(follower, 0, &read, err);
    const struct rollup *r = trace_follow_rollup(follower);
    if (ok && options->json) ok = print_json(r, most, &arena, err);
    if (ok && !options->json) print_info(r, most, &arena);
    trace_unfollow(follower);
    *code = ok ? 0 : 1;
    return ok;
}
