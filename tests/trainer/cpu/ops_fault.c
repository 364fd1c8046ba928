/* Calls that cannot work: each must say why, and leave nothing behind. */
#include <criterion/criterion.h>

#include "mem.h"
#include "ops_world.h"

static const struct ops_case conv = {"3x3", OP_CONV, {2, 8, 8, 16}, 16, 3, 1, 1, false, false};

struct stage {
    struct world world;
    struct rig rig;
};

static void set_up(struct stage *s, const struct backend *backend)
{
    struct error err = {0};
    world_init(&s->world, backend, &conv);
    world_randomize(&s->world, 1);
    cr_assert(rig_init(&s->rig, &s->world, OP_CONV_BWD_DATA, PASS_BACKWARD, &err), "%s", err.text);
    cr_assert(world_device(&s->world, s->rig.arena_bytes, 1, &err), "%s", err.text);
}

static void tear_down(struct stage *s)
{
    s->world.backend->device_destroy(s->world.device);
    world_finish(&s->world);
}

static void expect_refusal(struct stage *s, const struct op_call *call, const char *words)
{
    struct error err = {0};
    struct prepared *prepared = NULL;
    cr_expect_not(s->world.backend->op_prepare(s->world.device, call, &prepared, &err));
    cr_expect_null(prepared);
    cr_expect_eq(err.kind, ERROR_FAILED);
    cr_expect(strstr(err.text, words), "\"%s\" should speak of \"%s\"", err.text, words);
}

Test(ops_fault, refuses_wrong_calls)
{
    struct stage s;
    set_up(&s, &cpu_backend);
    struct op_call call = s.rig.call;
    cr_assert_gt(call.workspace_bytes, 0);
    call.workspace_bytes = 16;
    expect_refusal(&s, &call, "workspace");
    call = s.rig.call;
    call.in[1] = s.rig.arena_bytes - 4;
    expect_refusal(&s, &call, "outside the arena");
    call = s.rig.call;
    call.out[0] = UINT64_MAX - 100;
    expect_refusal(&s, &call, "outside the arena");
    call = s.rig.call;
    call.workspace = s.rig.arena_bytes - 64;
    expect_refusal(&s, &call, "outside the arena");
    struct tensor half = s.world.tensors[W];
    half.dtype = DTYPE_F16;
    call = s.rig.call;
    call.in_tensor[1] = &half;
    expect_refusal(&s, &call, "f16");
    tear_down(&s);
}

Test(ops_fault, refuses_copies_outside_the_arena)
{
    struct stage s;
    set_up(&s, &cpu_backend);
    struct error err = {0};
    char bytes[16] = {0};
    struct device *d = s.world.device;
    cr_expect_not(cpu_backend.copy_in(d, NULL, s.rig.arena_bytes - 8, bytes, 16, &err));
    cr_expect(strstr(err.text, "outside the arena"));
    cr_expect_not(cpu_backend.copy_out(d, NULL, bytes, UINT64_MAX, 16, &err));
    cr_expect_not(cpu_backend.fill(d, NULL, 1, s.rig.arena_bytes, 0, &err));
    cr_expect_not(cpu_backend.parameter_in(d, &s.world.tensors[W], s.rig.arena_bytes - 8, s.world.values[W], &err));
    cr_expect_not(cpu_backend.parameter_out(d, &s.world.tensors[W], s.rig.arena_bytes - 8, s.world.values[W], &err));
    tear_down(&s);
}

static uint64_t all_current(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < MEM_PURPOSES; i++) sum += mem_current_bytes((enum mem_purpose)i);
    return sum;
}

/* A device, its stream, an event, a group and a prepared op; returns whether all were made. Nothing stays. */
static bool make_everything(const struct backend *b, const struct rig *rig, struct error *err)
{
    struct device *device = NULL;
    struct stream *stream = NULL;
    struct event *event = NULL;
    struct group *group = NULL;
    struct prepared *prepared = NULL;
    struct group_id id;
    const struct device_options options = {.threads = 1};
    bool ok = b->device_create(&options, rig->arena_bytes, &device, err) && b->stream_create(device, &stream, err) &&
              b->event_create(device, &event, err) && b->group_name(&id, err) &&
              b->group_create(&id, 0, 1, NULL, &group, err) && b->group_join(group, device, err) &&
              b->op_prepare(device, &rig->call, &prepared, err);
    if (prepared) b->op_release(prepared);
    if (stream) b->stream_destroy(stream);
    if (event) b->event_destroy(event);
    b->device_destroy(device);
    b->group_destroy(group);
    return ok;
}

Test(ops_fault, survives_every_failed_allocation)
{
    const struct backend *backends[] = {&cpu_backend, &cpu_reference_backend};
    for (int k = 0; k < 2; k++) {
        struct stage s;
        set_up(&s, backends[k]);
        uint64_t before = all_current(), n = 0;
        bool fired = true;
        while (fired) {
            struct error err = {0};
            mem_fail_at(++n);
            bool ok = make_everything(backends[k], &s.rig, &err);
            fired = mem_fail_at(0);
            cr_expect_eq(ok, !fired, "allocation %u", (unsigned)n);
            cr_expect_eq(err.kind, fired ? ERROR_MEMORY : ERROR_NONE, "allocation %u: %s", (unsigned)n, err.text);
            cr_expect_eq(all_current(), before, "allocation %u leaves bytes behind", (unsigned)n);
        }
        cr_expect_gt(n, 6);
        tear_down(&s);
    }
}

/* The step's ops are prepared once: what one costs beyond the kernel it shares. */
Test(ops_fault, prepared_ops_are_small_and_share_kernels)
{
    struct stage s;
    set_up(&s, &cpu_backend);
    struct error err = {0};
    struct prepared *prepared[100];
    cr_assert(cpu_backend.op_prepare(s.world.device, &s.rig.call, &prepared[0], &err));
    uint64_t before = mem_current_bytes(MEM_KERNEL);
    for (int i = 1; i < 100; i++) cr_assert(cpu_backend.op_prepare(s.world.device, &s.rig.call, &prepared[i], &err));
    cr_expect_leq(mem_current_bytes(MEM_KERNEL) - before, 99 * 512);
    for (int i = 0; i < 100; i++) cpu_backend.op_release(prepared[i]);
    tear_down(&s);
}

/* A label that is no class marks an image that fills up a batch. */
Test(ops_fault, images_without_a_label_do_not_count)
{
    const struct ops_case c = {"loss", OP_SOFTMAX_LOSS, {4, 1, 1, 6}, 0, 0, 0, 0, false, false};
    struct world w;
    struct error err = {0};
    world_init(&w, &cpu_backend, &c);
    for (int i = 0; i < 24; i++) world_f32(&w, X)[i] = i % 6 == 2 ? 3 : 0;
    const int32_t labels[4] = {2, -1, 6, 0};
    memcpy(w.values[LABELS], labels, sizeof labels);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS, PASS_FORWARD, &err), "%s", err.text);
    const float *metrics = world_f32(&w, METRICS);
    double total = log(exp(3) + 5);
    cr_expect_float_eq(metrics[0], (float)(2 * total - 3), 1e-5);
    cr_expect(metrics[1] == 1 && metrics[2] == 2 && metrics[3] == 2);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS_BWD, PASS_BACKWARD, &err), "%s", err.text);
    for (int i = 6; i < 18; i++) cr_expect(world_f32(&w, DX)[i] == 0);
    cr_expect_float_eq(world_f32(&w, DX)[2], (float)((exp(3 - total) - 1) / 4), 1e-6);
    w.step.micro_batch = 1;
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS, PASS_FORWARD, &err), "%s", err.text);
    cr_expect(metrics[1] == 2 && metrics[2] == 4 && metrics[3] == 4, "later micro-batches add");
    world_finish(&w);
}

/* Targets of 1 - 0.3 for the label and 0.3 / 6 for all, itself too; evaluation's loss is the plain one. */
Test(ops_fault, smoothed_labels_are_for_training)
{
    const struct ops_case c = {"loss", OP_SOFTMAX_LOSS, {1, 1, 1, 6}, 0, 0, 0, 0, false, false};
    struct world w;
    struct error err = {0};
    world_init(&w, &cpu_backend, &c);
    w.step.label_smoothing = 0.3f;
    const float logits[6] = {1, -2, 0.5f, 3, 0, -1};
    const int32_t label = 2;
    double sum = 0, wanted = 0;
    memcpy(world_f32(&w, X), logits, sizeof logits);
    memcpy(w.values[LABELS], &label, sizeof label);
    for (int k = 0; k < 6; k++) sum += exp((double)logits[k]);
    for (int k = 0; k < 6; k++) wanted += (0.05 + (k == label ? 0.7 : 0)) * (log(sum) - (double)logits[k]);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS, PASS_FORWARD, &err), "%s", err.text);
    cr_expect_float_eq(world_f32(&w, METRICS)[0], (float)wanted, 1e-5);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS_BWD, PASS_BACKWARD, &err), "%s", err.text);
    for (int k = 0; k < 6; k++)
        cr_expect_float_eq(world_f32(&w, DX)[k], (float)(exp((double)logits[k]) / sum - 0.05 - (k == label ? 0.7 : 0)),
                           1e-6);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS, PASS_EVALUATE, &err), "%s", err.text);
    cr_expect_float_eq(world_f32(&w, METRICS)[0], (float)(log(sum) - 0.5), 1e-5);
    world_finish(&w);
}

/* A net that has diverged, or that gives every class the same, hits nothing by chance. */
Test(ops_fault, ties_and_wrong_numbers_are_no_hits)
{
    const struct ops_case c = {"loss", OP_SOFTMAX_LOSS, {2, 1, 1, 10}, 0, 0, 0, 0, false, false};
    struct world w;
    struct error err = {0};
    world_init(&w, &cpu_backend, &c);
    for (int i = 0; i < 20; i++) world_f32(&w, X)[i] = i < 10 ? 1 : NAN;
    const int32_t labels[2] = {5, 0};
    memcpy(w.values[LABELS], labels, sizeof labels);
    cr_assert(world_run(&w, OP_SOFTMAX_LOSS, PASS_FORWARD, &err), "%s", err.text);
    cr_expect(world_f32(&w, METRICS)[1] == 0 && world_f32(&w, METRICS)[2] == 0);
    cr_expect(isnan(world_f32(&w, METRICS)[0]));
    world_finish(&w);
}

Test(ops_fault, micro_batches_accumulate)
{
    const struct ops_case c = {"bucket", OP_ACCUMULATE, {1, 1, 1, 10000}, 0, 0, 0, 0, false, false};
    const struct backend *backends[] = {&cpu_backend, &cpu_reference_backend};
    for (int k = 0; k < 2; k++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[k], &c);
        world_randomize(&w, 3);
        cr_assert(world_run(&w, OP_ACCUMULATE, PASS_BACKWARD, &err), "%s", err.text);
        cr_expect(memcmp(w.values[X], w.values[Y], w.tensors[X].bytes) == 0, "the first micro-batch copies");
        w.step.micro_batch = 1;
        cr_assert(world_run(&w, OP_ACCUMULATE, PASS_BACKWARD, &err), "%s", err.text);
        for (int i = 0; i < 10000; i++) cr_assert(world_f32(&w, Y)[i] == 2 * world_f32(&w, X)[i]);
        world_finish(&w);
    }
}

/* Dropout: the same mask forward, recomputed and backward; another one each step, micro-batch and device. */
Test(ops_fault, dropout_draws_by_step)
{
    const struct ops_case c = {"dropout", OP_DROPOUT, {1, 1, 1, 1000}, 0, 0, 0, 0, false, false};
    struct world a, b;
    struct error err = {0};
    world_init(&a, &cpu_backend, &c);
    world_init(&b, &cpu_backend, &c);
    for (int i = 0; i < 1000; i++) world_f32(&a, X)[i] = world_f32(&b, X)[i] = world_f32(&a, DY)[i] = 1;
    cr_assert(world_run(&a, OP_DROPOUT, PASS_FORWARD, &err) && world_run(&b, OP_DROPOUT, PASS_RECOMPUTE, &err));
    cr_assert(world_run(&a, OP_DROPOUT_BWD, PASS_BACKWARD, &err));
    cr_expect(memcmp(a.values[Y], b.values[Y], a.tensors[Y].bytes) == 0);
    cr_expect(memcmp(a.values[Y], a.values[DX], a.tensors[Y].bytes) == 0);
    int kept = 0;
    for (int i = 0; i < 1000; i++) kept += world_f32(&a, Y)[i] == 2;
    cr_expect(kept > 430 && kept < 570, "%d of 1000 kept", kept);
    b.step.number++;
    cr_assert(world_run(&b, OP_DROPOUT, PASS_FORWARD, &err));
    cr_expect(memcmp(a.values[Y], b.values[Y], a.tensors[Y].bytes) != 0);
    b.step = a.step;
    b.step.micro_batch++;
    cr_assert(world_run(&b, OP_DROPOUT, PASS_FORWARD, &err));
    cr_expect(memcmp(a.values[Y], b.values[Y], a.tensors[Y].bytes) != 0);
    b.step = a.step;
    b.rank = 1;
    cr_assert(world_run(&b, OP_DROPOUT, PASS_FORWARD, &err));
    cr_expect(memcmp(a.values[Y], b.values[Y], a.tensors[Y].bytes) != 0);
    world_finish(&a);
    world_finish(&b);
}

/* Parameters go in and come out unchanged whatever order they are kept in. */
Test(ops_fault, parameters_come_back)
{
    const uint32_t shapes[][4] = {{16, 3, 3, 3},  {16, 3, 3, 16}, {64, 1, 1, 32}, {10, 1, 1, 64},
                                  {20, 3, 3, 12}, {1, 1, 1, 64},  {48, 5, 5, 8},  {4096, 1, 1, 2048}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct tensor t = {.role = ROLE_WEIGHT, .dtype = DTYPE_F32};
        memcpy(t.dims, shapes[i], sizeof t.dims);
        uint64_t count = tensor_elements(&t);
        t.bytes = 4 * count;
        float *in = malloc(t.bytes), *out = malloc(t.bytes), *stored = malloc(t.bytes);
        for (uint64_t k = 0; k < count; k++) in[k] = (float)k;
        struct device *device;
        struct error err = {0};
        const struct device_options options = {.threads = 1};
        cr_assert(cpu_backend.device_create(&options, t.bytes, &device, &err), "%s", err.text);
        cr_assert(cpu_backend.parameter_in(device, &t, 0, in, &err));
        cr_assert(cpu_backend.parameter_out(device, &t, 0, out, &err));
        cr_assert(cpu_backend.copy_out(device, NULL, stored, 0, t.bytes, &err));
        cr_expect(memcmp(in, out, t.bytes) == 0);
        double sum = 0;
        for (uint64_t k = 0; k < count; k++) sum += (double)stored[k];
        cr_expect_float_eq(sum, (double)count * (double)(count - 1) / 2, 1e-6 * sum,
                           "the same values in another order");
        cpu_backend.device_destroy(device);
        free(in);
        free(out);
        free(stored);
    }
}
