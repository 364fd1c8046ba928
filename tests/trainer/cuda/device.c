/* The CUDA backend's device, memory, streams and recordings over the stand-in for CUDA: the very calls that a GPU would
 * get. No GPU has confirmed them here. */
#include "gpu_help.h"

#include "clock.h"
#include "cpu_backend.h"
#include "mem.h"
#include "random.h"

/* ---- Memory ---- */

Test(cuda_device, memory_that_is_not_pinned_has_been_copied_on_return)
{
    const uint64_t bytes = 5 * MIB + 7;
    struct gpu g = gpu_begin("seed=1", 8 * MIB);
    uint8_t *sent = noise(bytes, 1), *kept = noise(bytes, 1), *back = noise(bytes, 2);
    GPU_OK(&g, g.backend->copy_in(g.device, g.stream, 300, sent, bytes, &g.err));
    memset(sent, 0, bytes);
    GPU_OK(&g, g.backend->fill(g.device, g.stream, 4 * MIB, 100, 0xAB, &g.err));
    memset(kept + 4 * MIB - 300, 0xAB, 100);
    GPU_OK(&g, g.backend->copy_out(g.device, g.stream, back, 300, bytes, &g.err));
    cr_expect_arr_eq(back, kept, bytes);
    mem_free(sent), mem_free(kept), mem_free(back);
    gpu_end(&g);
}

Test(cuda_device, the_arena_begins_filled_and_ends_where_it_was_said_to)
{
    struct gpu g = gpu_begin("seed=1", 1000);
    uint8_t back[1000], expected[1000];
    memset(expected, 0xFF, sizeof expected);
    GPU_OK(&g, g.backend->copy_out(g.device, g.stream, back, 0, 1000, &g.err));
    cr_expect_arr_eq(back, expected, 1000);
    cr_expect_not(g.backend->copy_out(g.device, g.stream, back, 1, 1000, &g.err));
    EXPECT_WORDS(g.err.text, "[1, 1001)", "1000 bytes");
    gpu_end(&g);
}

Test(cuda_device, pinned_memory_is_copied_in_stream_order)
{
    struct gpu g = gpu_begin("seed=3", 2 * MIB);
    uint8_t *expected = noise(MIB, 3);
    void *in, *out;
    GPU_OK(&g, g.backend->pinned_create(g.device, MIB, &in, &g.err));
    GPU_OK(&g, g.backend->pinned_create(g.device, MIB, &out, &g.err));
    memcpy(in, expected, MIB);
    memset(expected + 17, 5, 1000);
    GPU_OK(&g, g.backend->copy_in(g.device, g.stream, 256, in, MIB, &g.err));
    GPU_OK(&g, g.backend->fill(g.device, g.stream, 256 + 17, 1000, 5, &g.err));
    GPU_OK(&g, g.backend->copy_out(g.device, g.stream, out, 256, MIB, &g.err));
    gpu_wait(&g, g.stream);
    cr_expect_arr_eq(out, expected, MIB);
    g.backend->pinned_destroy(g.device, in);
    g.backend->pinned_destroy(g.device, out);
    mem_free(expected);
    gpu_end(&g);
}

Test(cuda_device, parameters_come_back_as_they_were)
{
    const struct tensor weights = {.dtype = DTYPE_F32, .dims = {64, 3, 3, 1025}, .bytes = 64 * 9 * 1025 * 4};
    struct gpu g = gpu_begin("seed=1", 4 * MIB);
    float *sent = (float *)(void *)noise(weights.bytes, 4), *back = (float *)(void *)noise(weights.bytes, 5);
    GPU_OK(&g, g.backend->parameter_in(g.device, &weights, 512, sent, &g.err));
    GPU_OK(&g, g.backend->parameter_out(g.device, &weights, 512, back, &g.err));
    cr_expect_arr_eq(back, sent, weights.bytes);
    mem_free(sent), mem_free(back);
    gpu_end(&g);
}

/* As the CPU rounds them, bit for bit. */
static void check_images(struct gpu *g, enum dtype dtype, float *host, uint64_t offset)
{
    struct tensor images = {.role = ROLE_IMAGE, .dtype = dtype, .dims = {37, 32, 32, 3}};
    images.bytes = dtype_bytes(dtype, tensor_elements(&images));
    uint8_t *expected = mem_alloc(MEM_GENERAL, images.bytes, 1), *back = mem_alloc(MEM_GENERAL, images.bytes, 1);
    struct device *cpu;
    GPU_OK(g, cpu_backend.device_create(&(struct device_options){0}, images.bytes, &cpu, &g->err));
    GPU_OK(g, cpu_backend.image_in(cpu, NULL, &images, 0, host, &g->err));
    GPU_OK(g, cpu_backend.copy_out(cpu, NULL, expected, 0, images.bytes, &g->err));
    GPU_OK(g, g->backend->image_in(g->device, g->stream, &images, offset, host, &g->err));
    GPU_OK(g, g->backend->copy_out(g->device, g->stream, back, offset, images.bytes, &g->err));
    cr_expect_arr_eq(back, expected, images.bytes, "%s at %llu", dtype_name(dtype), (unsigned long long)offset);
    cpu_backend.device_destroy(cpu);
    mem_free(expected), mem_free(back);
}

Test(cuda_device, images_are_rounded_as_on_processors)
{
    const uint64_t bytes = 37 * 32 * 32 * 3 * sizeof(float);
    struct gpu g = gpu_begin("seed=1", MIB);
    struct random random = random_begin(6, RANDOM_SYNTHETIC, 0, 0);
    float *pageable = mem_alloc(MEM_GENERAL, bytes, 1);
    void *pinned;
    GPU_OK(&g, g.backend->pinned_create(g.device, bytes + 4, &pinned, &g.err));
    for (uint64_t i = 0; i < bytes / 4; i++) pageable[i] = (float)random_normal(&random);
    pageable[0] = 1e-7f, pageable[1] = 70000, pageable[2] = -0.0f;
    memcpy(pinned, pageable, bytes);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        check_images(&g, dtype, pageable, 256);
        check_images(&g, dtype, pinned, 256);
    }
    memcpy((float *)pinned + 1, pageable, bytes); /* neither address of whole vectors */
    check_images(&g, DTYPE_F16, (float *)pinned + 1, 258);
    g.backend->pinned_destroy(g.device, pinned);
    mem_free(pageable);
    gpu_end(&g);
}

/* Of any number of elements, aligned or not, added to what is there: as the CPU sums them, and the same bits every
 * time. */
static double squares_on_cpu(const void *values, enum dtype dtype, uint64_t count)
{
    struct error err = {0};
    struct device *cpu;
    double sum = 0;
    const uint64_t bytes = dtype_bytes(dtype, count);
    cr_assert(cpu_backend.device_create(&(struct device_options){0}, bytes + 1, &cpu, &err), "%s", err.text);
    cr_assert(cpu_backend.copy_in(cpu, NULL, 0, values, bytes, &err), "%s", err.text);
    cr_assert(cpu_backend.add_squares(cpu, NULL, 0, dtype, count, &sum, &err), "%s", err.text);
    cpu_backend.device_destroy(cpu);
    return sum;
}

static void check_squares(struct gpu *g, const void *values, enum dtype dtype, uint64_t offset, uint64_t count,
                          double *sums)
{
    const double wanted = squares_on_cpu(values, dtype, count);
    GPU_OK(g, g->backend->copy_in(g->device, g->stream, offset, values, dtype_bytes(dtype, count), &g->err));
    sums[0] = sums[1] = 3;
    for (int i = 0; i < 2; i++)
        GPU_OK(g, g->backend->add_squares(g->device, g->stream, offset, dtype, count, &sums[i], &g->err));
    gpu_wait(g, g->stream);
    cr_expect_float_eq(sums[0] - 3, wanted, 1e-9 * wanted + 1e-12, "%llu of %s at %llu: %.12g, not %.12g",
                       (unsigned long long)count, dtype_name(dtype), (unsigned long long)offset, sums[0] - 3, wanted);
    cr_expect_eq(sums[0], sums[1]);
}

Test(cuda_device, squares_are_summed_as_on_processors)
{
    static const uint64_t counts[] = {1, 7, 255, 4099, 70001};
    struct gpu g = gpu_begin("seed=2", MIB);
    struct random random = random_begin(9, RANDOM_SYNTHETIC, 0, 0);
    static float floats[70001];
    static uint16_t halves[70001];
    void *sums;
    GPU_OK(&g, g.backend->pinned_create(g.device, 2 * sizeof(double), &sums, &g.err));
    for (size_t i = 0; i < 70001; i++) {
        floats[i] = (float)random_normal(&random);
        halves[i] = (uint16_t)(0x3c00 | (i * 2654435761u >> 20 & 0x83ff)); /* from 1 to 2 in f16, of either sign */
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check_squares(&g, floats, DTYPE_F32, 256, counts[i], sums);
        check_squares(&g, floats, DTYPE_F32, 260, counts[i], sums);
        check_squares(&g, halves, DTYPE_F16, 512, counts[i], sums);
        check_squares(&g, halves, DTYPE_BF16, 514, counts[i], sums);
    }
    double outside = 0;
    cr_expect_not(g.backend->add_squares(g.device, g.stream, 0, DTYPE_F32, 4, &outside, &g.err), "memory of its own");
    g.backend->pinned_destroy(g.device, sums);
    gpu_give_back(&g);
}

Test(cuda_device, activations_wait_in_host_memory)
{
    const struct tensor tensor = {.dtype = DTYPE_F32, .dims = {1, 1, 1, 25000}, .bytes = 100000};
    const struct op op = {.kind = OP_RELU, .inputs = 1, .outputs = 1};
    struct op_call leave = {.op = &op, .pass = PASS_OFFLOAD, .in = {0}, .out = {4096}, .in_tensor = {&tensor}};
    struct op_call fetch = {.op = &op, .pass = PASS_FETCH, .in = {4096}, .out = {MIB}, .in_tensor = {&tensor}};
    struct gpu g = gpu_begin("seed=1", 2 * MIB);
    uint8_t *sent = noise(tensor.bytes, 7), *back = noise(tensor.bytes, 8);
    struct prepared *out, *in;
    GPU_OK(&g, g.backend->host_create(g.device, MIB, &g.err));
    GPU_OK(&g, g.backend->op_prepare(g.device, &leave, &out, &g.err));
    GPU_OK(&g, g.backend->op_prepare(g.device, &fetch, &in, &g.err));
    GPU_OK(&g, g.backend->copy_in(g.device, g.stream, 0, sent, tensor.bytes, &g.err));
    GPU_OK(&g, g.backend->op_launch(out, g.stream, &g.err));
    GPU_OK(&g, g.backend->host_fill(g.device, g.stream, 4096 + 50, 100, 0xFF, &g.err));
    GPU_OK(&g, g.backend->op_launch(in, g.stream, &g.err));
    GPU_OK(&g, g.backend->copy_out(g.device, g.stream, back, MIB, tensor.bytes, &g.err));
    memset(sent + 50, 0xFF, 100);
    cr_expect_arr_eq(back, sent, tensor.bytes);
    g.backend->op_release(out);
    g.backend->op_release(in);
    mem_free(sent), mem_free(back);
    gpu_end(&g);
}

Test(cuda_device, what_is_in_use_is_known_but_for_the_context)
{
    struct gpu g = gpu_begin("seed=1", 3 * MIB);
    struct device_memory memory;
    GPU_OK(&g, g.backend->memory_used(g.device, &memory, &g.err));
    cr_expect_eq(memory.arena_bytes, 3 * MIB);
    cr_expect_eq(memory.outside, DEVICE_OUTSIDE_BUT_CONTEXT);
    cr_expect_gt(memory.outside_bytes, 0);
    cr_expect_lt(memory.outside_bytes, 64 * MIB);
    gpu_end(&g);
}

/* ---- Streams and events ---- */

Test(cuda_device, events_order_streams)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        char options[32];
        snprintf(options, sizeof options, "seed=%u", seed);
        struct gpu g = gpu_begin("seed=1", MIB);
        gpu_restart(options);
        struct event *written, *never;
        uint8_t back[1000], expected[1000];
        memset(expected, (int)seed, sizeof expected);
        GPU_OK(&g, g.backend->event_create(g.device, &written, &g.err));
        GPU_OK(&g, g.backend->event_create(g.device, &never, &g.err));
        GPU_OK(&g, g.backend->event_wait(never, g.stream, &g.err));
        GPU_OK(&g, g.backend->fill(g.device, g.stream, 0, 1000, (uint8_t)seed, &g.err));
        GPU_OK(&g, g.backend->event_record(written, g.stream, &g.err));
        GPU_OK(&g, g.backend->event_wait(written, g.other, &g.err));
        GPU_OK(&g, g.backend->copy_out(g.device, g.other, back, 0, 1000, &g.err));
        cr_expect_arr_eq(back, expected, 1000);
        bool done = false;
        GPU_OK(&g, g.backend->event_synchronize(never, 0, &done, &g.err));
        cr_expect(done, "an event that was never recorded is not waited for");
        g.backend->event_destroy(written);
        g.backend->event_destroy(never);
        gpu_end(&g);
    }
}

Test(cuda_device, times_between_events_are_of_those_made_for_it)
{
    struct gpu g = gpu_begin("seed=1", MIB);
    struct event *from, *to;
    uint64_t ns = UINT64_MAX;
    GPU_OK(&g, g.backend->event_create_timed(g.device, &from, &g.err));
    GPU_OK(&g, g.backend->event_create_timed(g.device, &to, &g.err));
    GPU_OK(&g, g.backend->event_record(from, g.stream, &g.err));
    GPU_OK(&g, g.backend->fill(g.device, g.stream, 0, MIB, 1, &g.err));
    GPU_OK(&g, g.backend->event_record(to, g.stream, &g.err));
    gpu_wait(&g, g.stream);
    GPU_OK(&g, g.backend->event_elapsed_ns(from, to, &ns, &g.err));
    cr_expect_lt(ns, UINT64_C(1000000000));
    g.backend->event_destroy(from);
    g.backend->event_destroy(to);
    gpu_end(&g);
}

Test(cuda_device, a_device_that_hangs_is_waited_for_so_long_and_left)
{
    struct gpu g = gpu_begin("hang=1", MIB);
    const struct step step = {.number = 1};
    struct event *event;
    bool done = true;
    GPU_OK(&g, g.backend->event_create(g.device, &event, &g.err));
    GPU_OK(&g, g.backend->set_step(g.device, g.stream, &step, &g.err));
    GPU_OK(&g, g.backend->event_record(event, g.stream, &g.err));
    GPU_OK(&g, g.backend->event_synchronize(event, 0, &done, &g.err));
    cr_expect_not(done);
    uint64_t begin = clock_now_ns();
    GPU_OK(&g, g.backend->event_synchronize(event, 20000000, &done, &g.err));
    cr_expect_not(done);
    cr_expect_geq(clock_now_ns() - begin, UINT64_C(20000000));
    g.backend->event_destroy(event);
    cr_expect_not(g.backend->left_behind());
    gpu_give_back(&g); /* returns: what the device holds goes with the process */
    cr_expect(g.backend->left_behind());
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

/* ---- Recordings ---- */

struct recorded {
    struct recording *recording;
    struct event *fork, *join;
    void *in, *out; /* pinned */
};

/* in -> arena in one stream, a fill in another, both -> out. */
static struct recorded record(struct gpu *g)
{
    struct recorded r;
    GPU_OK(g, g->backend->pinned_create(g->device, 1024, &r.in, &g->err));
    GPU_OK(g, g->backend->pinned_create(g->device, 2048, &r.out, &g->err));
    GPU_OK(g, g->backend->event_create(g->device, &r.fork, &g->err));
    GPU_OK(g, g->backend->event_create(g->device, &r.join, &g->err));
    GPU_OK(g, g->backend->record_begin(g->device, g->stream, &r.recording, &g->err));
    GPU_OK(g, g->backend->event_record(r.fork, g->stream, &g->err));
    GPU_OK(g, g->backend->event_wait(r.fork, g->other, &g->err));
    GPU_OK(g, g->backend->copy_in(g->device, g->stream, 0, r.in, 1024, &g->err));
    GPU_OK(g, g->backend->fill(g->device, g->other, 1024, 1024, 0x33, &g->err));
    GPU_OK(g, g->backend->event_record(r.join, g->other, &g->err));
    GPU_OK(g, g->backend->event_wait(r.join, g->stream, &g->err));
    GPU_OK(g, g->backend->copy_out(g->device, g->stream, r.out, 0, 2048, &g->err));
    return r;
}

static void give_back(struct gpu *g, struct recorded *r)
{
    g->backend->recording_destroy(r->recording);
    g->backend->event_destroy(r->fork);
    g->backend->event_destroy(r->join);
    g->backend->pinned_destroy(g->device, r->in);
    g->backend->pinned_destroy(g->device, r->out);
}

Test(cuda_device, a_recording_is_replayed_with_what_is_there_then)
{
    struct gpu g = gpu_begin("seed=1", MIB);
    struct recorded r = record(&g);
    GPU_OK(&g, g.backend->record_end(r.recording, &g.err));
    for (int i = 1; i <= 10; i++) {
        uint8_t expected[2048];
        memset(expected, i, 1024);
        memset(expected + 1024, 0x33, 1024);
        memset(r.in, i, 1024);
        memset(r.out, 0, 2048);
        GPU_OK(&g, g.backend->replay(r.recording, i % 2 ? g.stream : g.other, &g.err));
        gpu_wait(&g, i % 2 ? g.stream : g.other);
        cr_expect_arr_eq(r.out, expected, 2048, "replay %d", i);
    }
    give_back(&g, &r);
    gpu_end(&g);
}

Test(cuda_device, a_recording_that_was_never_ended_is_dropped)
{
    struct gpu g = gpu_begin("seed=1", MIB);
    struct recorded r = record(&g);
    give_back(&g, &r);
    GPU_OK(&g, g.backend->set_step(g.device, g.stream, &(struct step){.number = 3}, &g.err));
    gpu_wait(&g, g.stream);
    gpu_end(&g);
}

Test(cuda_device, what_cannot_be_recorded_is_said_in_one_sentence)
{
    uint8_t host[16] = {0};
    for (int way = 0; way < 3; way++) {
        struct gpu g = gpu_begin("seed=1", MIB);
        struct event *outside;
        struct recording *recording;
        GPU_OK(&g, g.backend->event_create(g.device, &outside, &g.err));
        GPU_OK(&g, g.backend->event_record(outside, g.other, &g.err));
        GPU_OK(&g, g.backend->record_begin(g.device, g.stream, &recording, &g.err));
        bool ok = way == 0   ? g.backend->set_step(g.device, g.stream, &(struct step){0}, &g.err)
                  : way == 1 ? g.backend->copy_in(g.device, g.stream, 0, host, sizeof host, &g.err)
                             : g.backend->event_wait(outside, g.stream, &g.err);
        cr_expect_not(ok, "%d", way);
        EXPECT_WORDS(g.err.text, "while a step was recorded: ",
                     way == 0   ? "a step cannot be set"
                     : way == 1 ? "not pinned"
                                : "cudaErrorStreamCapture");
        g.backend->recording_destroy(recording);
        g.backend->event_destroy(outside);
        gpu_end(&g);
    }
}
