/* Several GPUs in one step, over the stand-in for CUDA and NCCL: against as many virtual devices, and what comes of one
 * that fails. No GPU has confirmed any of it. */
#include "gpu_help.h"

#include <pthread.h>
#include <time.h>

#include "clock.h"
#include "execute_private.h"
#include "hash.h"
#include "train_help.h"

static struct plan *plan_now;
static struct backend watched;
static uint64_t digests[8];
static unsigned digest_count;
static uint64_t buckets;

static void begin(void)
{
    run_make_data();
    alarm(120); /* a deadlock is a failure, not a hang */
}

TestSuite(cuda_group, .init = begin, .fini = run_remove_data);

static void keep_plan(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    (void)request;
    plan_now = plan;
    buckets = 0;
    for (size_t i = 0; i < plan->variants[0].graph->op_count; i++)
        buckets += plan->variants[0].graph->ops[i].kind == OP_ALL_REDUCE;
}

#ifdef FATHOM_CUDA
static const struct backend *watched_gpus; /* what is watched */
static struct device *made[8];
static pthread_mutex_t digest_lock = PTHREAD_MUTEX_INITIALIZER;

/* Of a device's weights and momenta. */
static uint64_t digest_of(struct device *device, uint32_t number)
{
    const struct plan_variant *variant = &plan_now->variants[plan_now->devices[number].variant];
    struct state_entry *entries;
    size_t count;
    uint64_t hash = 0;
    struct error err = {0};
    cr_assert(state_entries_find(variant, &entries, &count, &err), "%s", err.text);
    for (size_t i = 0; i < count; i++) {
        const struct tensor *tensor = &variant->graph->tensors[entries[i].tensor];
        if (entries[i].kind == STATE_STATISTIC) continue;
        float *values = mem_alloc(MEM_GENERAL, tensor_elements(tensor), sizeof *values);
        cr_assert(watched.parameter_out(device, tensor, entries[i].offset, values, &err), "%s", err.text);
        hash = hash_bytes(values, tensor_elements(tensor) * sizeof *values, hash);
        mem_free(values);
    }
    mem_free(entries);
    return hash;
}

static bool create_watched(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                           struct error *err)
{
    bool ok = watched_gpus->device_create(options, arena_bytes, device, err);
    if (ok) made[options->number] = *device;
    return ok;
}

static void destroy_watched(struct device *device)
{
    uint32_t number = 0;
    while (made[number] != device) number++;
    digests[number] = digest_of(device, number);
    pthread_mutex_lock(&digest_lock);
    digest_count++;
    pthread_mutex_unlock(&digest_lock);
    watched_gpus->device_destroy(device);
}
#endif

static struct small_run small(const char *options, const char *gpus, uint32_t batch, uint64_t iterations)
{
    gpu_choose(options);
#ifndef FATHOM_NCCL
    cr_skip_test("this build has no NCCL");
#endif
    struct small_run run = {.gpus = gpus, .batch = batch, .options.iterations = iterations, .change_plan = keep_plan};
    run.backend = CUDA_BACKEND;
    run.options.skip_evaluation = true;
    return run;
}

/* On the GPUs, whose parameters must be the same bits in the end, and on virtual devices. */
static void compare(struct small_run gpu, unsigned devices)
{
    struct small_run cpu = gpu;
    cpu.backend = &cpu_backend;
#ifdef FATHOM_CUDA
    watched_gpus = gpu.backend;
    watched = *gpu.backend;
    watched.device_create = create_watched;
    watched.device_destroy = destroy_watched;
#endif
    gpu.backend = &watched;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    run_go(&cpu);
    cr_assert(cpu.ok, "%s", cpu.err.text);
    for (uint64_t i = 0; i < gpu.steps; i++)
        cr_expect_float_eq(gpu.losses[i], cpu.losses[i], 2e-4 * (double)(1 + i * i), "step %d: %f, not %f", (int)i + 1,
                           gpu.losses[i], cpu.losses[i]);
    cr_assert_eq(digest_count, devices);
    for (unsigned i = 1; i < devices; i++) cr_expect_eq(digests[i], digests[0], "device %u has other parameters", i);
    cr_expect_gt(gpu_report().graph_launches, 0);
    gpu_expect_clean();
}

Test(cuda_group, two_gpus_are_two_virtual_devices)
{
    compare(small("gpus=2,memory=13GiB,refuse=graph", "2x12GiB", 2, 2), 2);
}

/* Every access of these the stand-in sees, at ten times the price. */
static void take_readable_convolutions(struct small_run *run)
{
#ifdef FATHOM_CUDA
    run->backend = &cuda_reference_backend;
#else
    (void)run;
#endif
}

Test(cuda_group, two_gpus_with_readable_convolutions_too)
{
    struct small_run run = small("gpus=2,memory=13GiB,refuse=graph", "2x12GiB", 2, 2);
    take_readable_convolutions(&run);
    compare(run, 2);
}

Test(cuda_group, four_gpus_are_four_virtual_devices)
{
    compare(small("seed=5,gpus=4,memory=13GiB", "4x12GiB", 4, 2), 4);
}

/* So many images that a batch normalisation would have a small GPU to itself. */
Test(cuda_group, small_gpus_have_room_for_sums_beside_norms)
{
    compare(small("seed=21,gpus=2,processors=1,memory=13GiB", "2x12GiB", 20, 2), 2);
}

Test(cuda_group, micro_batches_and_many_buckets)
{
    struct small_run run = small("seed=7,gpus=2,memory=13GiB", "2x12GiB", 4, 2);
    run.micro_batches = 2;
    run.bucket_bytes = 65536;
    compare(run, 2);
}

/* Every sum of gradients is of memory that NCCL has given and knows, at the same place on all ranks, which the stand-in
 * holds it to; and a step sums its buckets and nothing else: metrics go from host to host. */
static void compare_apart(struct small_run run, unsigned devices)
{
    run.reduce_apart = true;
    compare(run, devices);
    cr_expect_eq(gpu_report().sums, 2 * devices * buckets, "each is launched once, and recorded once");
    cr_expect_eq(gpu_report().known_sums, gpu_report().sums);
    bool at_once = buckets > 1; /* of one bucket nothing of the backward pass is left */
    cr_expect_eq(gpu_report().free_sums, at_once ? devices * (buckets - 1) : 0,
                 "beside %d of %d the backward pass goes on", (int)gpu_report().free_sums, (int)buckets);
}

Test(cuda_group, gradients_lie_apart_in_memory_that_nccl_knows)
{
    struct small_run run = small("seed=15,gpus=2,memory=13GiB,refuse=graph", "2x12GiB", 2, 2);
    run.bucket_bytes = 131072;
    compare_apart(run, 2);
}

/* Of unequal arenas, with sums of several micro-batches that stay from one to the next. */
Test(cuda_group, gradients_apart_are_at_the_same_place_on_unequal_gpus)
{
    struct small_run run = small("seed=17,gpus=2,memory=13GiB", "12GiB,6GiB", 6, 2);
    run.micro_batches = 2;
    compare_apart(run, 2);
}

/* Rounded to 16 bits before and after, in another order than on virtual devices. */
static void compare_rounded(enum dtype dtype, bool apart)
{
    struct small_run run = small("seed=19,gpus=2,memory=13GiB", "2x12GiB", 2, 2);
    run.reduce_dtype = dtype;
    run.reduce_apart = apart;
    run.bucket_bytes = 131072;
    compare(run, 2);
}

Test(cuda_group, gradients_in_f16_on_their_way) { compare_rounded(DTYPE_F16, true); }
Test(cuda_group, gradients_in_bf16_on_their_way) { compare_rounded(DTYPE_BF16, false); }

Test(cuda_group, statistics_over_all_devices)
{
    struct small_run run = small("seed=9,gpus=2,memory=13GiB", "2x12GiB", 3, 2);
    run.sync_bn = true;
    run.lowering = LOWER_BN;
    compare(run, 2);
}

Test(cuda_group, whole_bn_is_not_synchronised)
{
    struct small_run run = small("gpus=2,memory=13GiB", "2x12GiB", 2, 1);
    run.sync_bn = true;
    take_readable_convolutions(&run); /* as where GPUs fail */
    run_go(&run);
    cr_assert_not(run.ok);
    cr_expect(strstr(run.err.text, "--sync-bn") && strstr(run.err.text, "--fuse"), "%s", run.err.text);
}

/* Two images here, one there. */
Test(cuda_group, unequal_gpus_take_unequal_shares)
{
    compare(small("seed=11,gpus=2,memory=13GiB", "12GiB,6GiB", 3, 2), 2);
}

Test(cuda_group, goes_on_to_the_same_bits)
{
    struct small_run whole = small("seed=13,gpus=2,memory=13GiB", "2x12GiB", 2, 2), half = whole, rest = whole;
    half.options.iterations = 1;
    half.options.save_folder = rest.options.resume_folder = run_path("saved");
    run_go(&whole);
    run_go(&half);
    run_go(&rest);
    cr_assert(whole.ok && half.ok && rest.ok, "%s%s%s", whole.err.text, half.err.text, rest.err.text);
    cr_expect_eq(rest.losses[0], whole.losses[1]);
    gpu_expect_clean();
}

/* ---- Failures ---- */

/* Of cuDNN's convolutions a device that is left behind would keep what it has, which is no leak to be told of. */
static void expect_failure(struct small_run *run, const char *words, double seconds)
{
    uint64_t begin_ns = clock_now_ns();
    take_readable_convolutions(run);
    run_go(run);
    cr_assert_not(run->ok);
    bool late = strstr(run->err.text, "has not finished step"), remote = strstr(run->err.text, "remote process");
    cr_expect_eq(run->err.kind, late ? ERROR_LATE : remote ? ERROR_PEER : ERROR_FAILED, "%s", run->err.text);
    cr_expect(strstr(run->err.text, words), "%s", run->err.text);
    cr_expect_null(strchr(run->err.text, '\n'), "%s", run->err.text);
    cr_expect_lt((double)(clock_now_ns() - begin_ns) * 1e-9, seconds);
}

Test(cuda_group, a_gpu_that_hangs_ends_all_in_time)
{
    struct small_run run = small("gpus=2,memory=13GiB,hang=40", "2x12GiB", 2, 4);
    run.options.wait_seconds = 1;
    expect_failure(&run, "has not finished step 1 within 1 s", 40);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
    cr_expect(run.backend->left_behind());
}

Test(cuda_group, a_gpu_that_fails_ends_all)
{
    struct small_run run = small("gpus=2,memory=13GiB,illegal=90", "2x12GiB", 2, 4);
    expect_failure(&run, "cudaErrorIllegalAddress", 40);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

/* The second GPU dies in the third step, of which nothing was saved. */
Test(cuda_group, the_last_checkpoint_of_one_that_fails_is_whole)
{
    struct small_run run = small("gpus=2,memory=13GiB,fail=GraphLaunch:9:719", "2x12GiB", 2, 8), rest = run;
    run.options.save_every = 1;
    run.options.save_folder = rest.options.resume_folder = run_path("saved");
    expect_failure(&run, "cudaErrorLaunchFailure", 40);
    cr_assert(run.steps > 0 && run.steps < 8, "%d steps", (int)run.steps);
    rest.backend = &cpu_backend;
    rest.options.iterations = run.steps + 1;
    run_go(&rest);
    cr_assert(rest.ok, "%s", rest.err.text);
    cr_expect_eq(rest.steps, 1);
}

Test(cuda_group, a_call_that_fails_ends_all)
{
    struct small_run run = small("gpus=2,memory=13GiB,fail=AllReduce:2:3", "2x12GiB", 2, 4);
    expect_failure(&run, "a sum over devices: NCCL: internal error", 40);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

Test(cuda_group, what_nccl_finds_later_ends_all)
{
    struct small_run run = small("gpus=2,memory=13GiB,nccl=async", "2x12GiB", 2, 2);
    run.bucket_bytes = 65536;
    expect_failure(&run, "NCCL: remote process exited", 40);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

Test(cuda_group, one_that_never_joins_is_waited_for_no_longer_than_said)
{
    struct small_run run = small("gpus=2,memory=13GiB,nccl=absent", "2x12GiB", 2, 1);
    run.options.wait_seconds = 0.2;
    expect_failure(&run, "the meeting of all devices of the plan has not ended within 0.2 s", 20);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

Test(cuda_group, giving_up_that_never_ends_is_left_behind)
{
    struct small_run run = small("gpus=2,memory=13GiB,nccl=absent+stuck", "2x12GiB", 2, 1);
    run.options.wait_seconds = 0.2;
    expect_failure(&run, "within 0.2 s", 20);
    cr_expect(run.backend->left_behind());
}

Test(cuda_group, memory_that_one_does_not_get_ends_all)
{
    struct small_run run = small("gpus=2,memory=13GiB,fail=HostAlloc:2:2", "2x12GiB", 2, 1);
    expect_failure(&run, "does not give", 20);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

/* ---- One that comes late ---- */

#ifdef FATHOM_CUDA
struct member {
    struct group *group;
    struct device *device;
    uint32_t number;
    uint64_t late_ns, meet_limit_ns; /* late_ns 0: the second comes when the first has given up */
    pthread_barrier_t *ready, *given_up;
    bool ok;
    struct error err;
};

static void *join_late(void *context)
{
    struct member *m = context;
    const struct device_options options = {.number = m->number,
                                           .ordinal = m->number,
                                           .wait_limit_ns = UINT64_C(100000000),
                                           .meet_limit_ns = m->meet_limit_ns};
    m->ok = CUDA_BACKEND->device_create(&options, 1 << 20, &m->device, &m->err);
    pthread_barrier_wait(m->ready);
    if (m->number == 1 && m->late_ns > 0) nanosleep(&(struct timespec){.tv_nsec = (long)m->late_ns}, NULL);
    if (m->number == 1 && m->late_ns == 0) pthread_barrier_wait(m->given_up);
    m->ok = m->ok && CUDA_BACKEND->group_join(m->group, m->device, &m->err);
    if (m->number == 0 && m->late_ns == 0) pthread_barrier_wait(m->given_up);
    CUDA_BACKEND->device_destroy(m->device);
    return NULL;
}

/* Of two members the second comes so long after the first, 0: when that has given up; whether the first had waited so
 * long. */
static bool meet(uint64_t late_ns, uint64_t meet_limit_ns, struct error *err)
{
    struct group_id id;
    struct member members[2];
    pthread_t threads[2];
    pthread_barrier_t ready, given_up;
    cr_assert(pthread_barrier_init(&ready, NULL, 2) == 0 && pthread_barrier_init(&given_up, NULL, 2) == 0);
    cr_assert(CUDA_BACKEND->group_name(&id, err), "%s", err->text);
    for (uint32_t i = 0; i < 2; i++) {
        members[i] = (struct member){
            .number = i, .late_ns = late_ns, .meet_limit_ns = meet_limit_ns, .ready = &ready, .given_up = &given_up};
        cr_assert(CUDA_BACKEND->group_create(&id, i, 2, NULL, &members[i].group, err), "%s", err->text);
        cr_assert_eq(pthread_create(&threads[i], NULL, join_late, &members[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 2; i++) CUDA_BACKEND->group_destroy(members[i].group);
    pthread_barrier_destroy(&ready);
    pthread_barrier_destroy(&given_up);
    *err = members[0].err;
    return members[0].ok;
}

/* What devices wait for each other while they are made ready is not what a step may take. */
Test(cuda_group, one_that_comes_late_is_waited_for)
{
    struct error err = {0};
    small("gpus=2,memory=13GiB", "2x12GiB", 2, 2);
    cr_expect(meet(UINT64_C(500000000), UINT64_C(20000000000), &err), "%s", err.text);
    cr_expect_not(meet(0, UINT64_C(100000000), &err));
    cr_expect(strstr(err.text, "the meeting of all devices of the plan has not ended within 0.1 s"), "%s", err.text);
}
#endif
