/* Records of a GPU's work, joined to the ops that started it, over the stand-in for CUDA and CUPTI. No GPU has
 * confirmed them here. */
#include <pthread.h>

#include "profiled_gpu.h"

#ifdef FATHOM_CUDA
#include "scopes.h"

/* ---- Joining ---- */

Test(cupti, replayed_work_belongs_to_the_op_that_was_recorded)
{
    struct profiled p = profiled_begin("seed=1");
    struct recording *recording = record(&p);
    uint32_t ids;
    for (uint64_t step = 0; step < 20; step++) replay(&p, recording, step);
    p.gpu.backend->recording_destroy(recording);
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids), 40);
    cr_expect_eq(ids, 2, "each place of the step has an id");
    cr_expect_eq(records_of(OP_B, &ids), 60);
    cr_expect_eq(ids, 3);
    cr_expect_eq(report.unattributed, 0);
    cr_expect_eq(report.records, 100);
    cr_expect_eq(report.dropped + report.timeless + seen.lost + seen.unordered, 0);
    cr_expect_str_empty(report.fault);
}

Test(cupti, what_is_recorded_again_keeps_its_ids)
{
    struct profiled p = profiled_begin("seed=2");
    uint32_t ids;
    for (int again = 0; again < 5; again++) {
        struct recording *recording = record(&p);
        replay(&p, recording, 0);
        p.gpu.backend->recording_destroy(recording);
    }
    profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids), 10);
    cr_expect_eq(ids, 2);
}

/* A call that is captured is announced too, and its node within it: they are not two things. */
Test(cupti, one_by_one_and_recorded_a_kernel_has_the_same_place)
{
    struct profiled p = profiled_begin("seed=4");
    uint32_t ids;
    p.sink->step_submit(p.sink->context, 0);
    launch(&p, OP_A, "forward", p.gpu.stream, 2);
    gpu_wait(&p.gpu, p.gpu.stream);
    struct recording *recording = record(&p);
    replay(&p, recording, 1);
    p.gpu.backend->recording_destroy(recording);
    profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids), 4);
    cr_expect_eq(ids, 2);
}

Test(cupti, launches_outside_recordings_belong_to_their_op)
{
    struct profiled p = profiled_begin("seed=3");
    uint32_t ids;
    p.sink->step_submit(p.sink->context, 0);
    for (int i = 0; i < 7; i++) launch(&p, OP_A, "forward", p.gpu.stream, 2);
    launch(&p, OP_B, "evaluate", p.gpu.stream, 4);
    gpu_wait(&p.gpu, p.gpu.stream);
    GPU_OK(&p.gpu, p.gpu.backend->fill(p.gpu.device, p.gpu.stream, 0, 64, 1, &p.gpu.err));
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids), 14);
    cr_expect_eq(ids, 2, "the same as in a recording: the how-manieth of the op");
    cr_expect_eq(records_of(OP_B, &ids), 0, "an evaluation's ops are in no table");
    cr_expect_eq(records_of(TRACE_NO_OWNER, &ids), 1);
    cr_expect_eq(report.unattributed, 1);
}

/* As NCCL launches its sums: by a thread of its own, for which the launching one waits. */
struct helper {
    struct profiled *p;
    uint64_t offset;
};

static void *help(void *context)
{
    const struct helper *h = context;
    struct error err = {0};
    cr_assert(h->p->gpu.backend->fill(h->p->gpu.device, h->p->gpu.stream, h->offset, 64, 1, &err), "%s", err.text);
    return NULL;
}

static void launch_with_help(struct profiled *p, uint32_t op)
{
    struct helper h = {p, 4096 * (8 * op + 7)};
    pthread_t thread;
    p->sink->launch_begin(p->sink->context, 0, op, "backward");
    GPU_OK(&p->gpu, p->gpu.backend->fill(p->gpu.device, p->gpu.stream, 8192 * op, 64, 1, &p->gpu.err));
    cr_assert_eq(pthread_create(&thread, NULL, help, &h), 0);
    pthread_join(thread, NULL);
    p->sink->launch_end(p->sink->context, 0);
}

Test(cupti, what_another_thread_launches_meanwhile_belongs_to_the_op)
{
    struct profiled p = profiled_begin("seed=4");
    struct gpu *g = &p.gpu;
    struct recording *recording;
    uint32_t ids;
    p.sink->step_submit(p.sink->context, 0);
    launch_with_help(&p, OP_A);
    GPU_OK(g, g->backend->record_begin(g->device, g->stream, &recording, &g->err));
    launch_with_help(&p, OP_A);
    launch_with_help(&p, OP_B);
    GPU_OK(g, g->backend->record_end(recording, &g->err));
    for (uint64_t step = 1; step < 4; step++) replay(&p, recording, step);
    g->backend->recording_destroy(recording);
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids), 8);
    cr_expect_eq(ids, 2);
    cr_expect_eq(records_of(OP_B, &ids), 6);
    cr_expect_eq(report.unattributed, 0);
}

/* Two threads that launch, each into its graph and with its helper. */
static void *launch_into(void *context)
{
    static const char graphs[2], contexts[2];
    const uint32_t i = *(const uint32_t *)context % 2;
    struct owner owner = {0};
    const bool launches = *(const uint32_t *)context < 2;
    if (launches) scopes_open(i, 10 + i, 0);
    cr_expect(scopes_next(&graphs[i], NULL, &owner));
    cr_expect(owner.device == i && owner.op == 10 + i, "op %u on device %u", (unsigned)owner.op,
              (unsigned)owner.device);
    cr_expect(scopes_next(NULL, &contexts[i], &owner));
    cr_expect(owner.op == 10 + i && owner.place == (launches ? 1 : 3));
    if (!launches) return NULL;
    pthread_t thread;
    uint32_t helper = 2 + i;
    if (i == 0) { /* the second while the first launches */
        uint32_t other = 1;
        cr_assert_eq(pthread_create(&thread, NULL, launch_into, &other), 0);
        pthread_join(thread, NULL);
    }
    cr_assert_eq(pthread_create(&thread, NULL, launch_into, &helper), 0);
    pthread_join(thread, NULL);
    scopes_close();
    cr_expect_not(scopes_next(&graphs[i], &contexts[i], &owner), "it launches nothing now");
    return NULL;
}

Test(cupti, threads_that_launch_side_by_side_keep_what_is_theirs)
{
    pthread_t thread;
    struct owner owner;
    uint32_t first = 0;
    cr_assert_eq(pthread_create(&thread, NULL, launch_into, &first), 0);
    pthread_join(thread, NULL);
    cr_expect_not(scopes_next(&thread, NULL, &owner), "nobody launches");
}

/* Two threads in the part of a step that begins with their sums: the helper's node is the first of its graph, which
 * lies where the first thread's graph was. */
static const char old_graph, new_graph, first_context, second_context;

static void *help_second(void *unused)
{
    struct owner owner = {0};
    cr_expect(scopes_next(&new_graph, &second_context, &owner));
    cr_expect(owner.device == 1 && owner.op == 21 && owner.place == 0);
    cr_expect(scopes_next(&old_graph, &second_context, &owner));
    cr_expect(owner.device == 1 && owner.op == 21 && owner.place == 1, "it is of device %u", (unsigned)owner.device);
    cr_expect(scopes_next(&new_graph, &first_context, &owner));
    cr_expect(owner.device == 0 && owner.op == 11 && owner.place == 0);
    return unused;
}

static void sum_beside(uint32_t device, const void *context, void *(*other)(void *))
{
    struct owner owner;
    pthread_t thread;
    scopes_open(device, 10 + 10 * device, 0);
    cr_expect(scopes_next(device == 0 ? &old_graph : NULL, context, &owner));
    scopes_close();
    scopes_open(device, 11 + 10 * device, 0);
    cr_assert_eq(pthread_create(&thread, NULL, other, NULL), 0);
    pthread_join(thread, NULL);
    scopes_close();
}

static void *launch_second(void *unused)
{
    sum_beside(1, &second_context, help_second);
    return unused;
}

static void *launch_first(void *unused)
{
    sum_beside(0, &first_context, launch_second);
    return unused;
}

Test(cupti, a_helper_that_is_first_in_a_graph_is_known_by_its_context)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, launch_first, NULL), 0);
    pthread_join(thread, NULL);
}

/* Nor is a graph of an earlier step known, where nobody tells of contexts. */
static void *help_without_context(void *unused)
{
    struct owner owner;
    cr_expect_not(scopes_next(&old_graph, NULL, &owner));
    return unused;
}

static void *launch_two_steps(void *unused)
{
    struct owner owner;
    pthread_t thread;
    const bool is_first = unused == NULL;
    scopes_open(is_first ? 0 : 1, 1, 0);
    if (is_first) cr_expect(scopes_next(&old_graph, NULL, &owner));
    scopes_close();
    scopes_open(is_first ? 0 : 1, 1, 1);
    cr_assert_eq(pthread_create(&thread, NULL, is_first ? launch_two_steps : help_without_context, &owner), 0);
    pthread_join(thread, NULL);
    scopes_close();
    return NULL;
}

Test(cupti, a_graph_of_an_earlier_step_is_nobodys)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, launch_two_steps, NULL), 0);
    pthread_join(thread, NULL);
}

/* Uploads, the step block and metrics: each has its place in the step, however many calls bring them. */
Test(cupti, what_the_run_starts_itself_is_its_own)
{
    struct profiled p = profiled_begin("seed=5");
    uint32_t ids;
    for (uint64_t step = 0; step < 3; step++) {
        p.sink->step_submit(p.sink->context, step);
        for (int part = 0; part < 2; part++) {
            p.sink->launch_begin(p.sink->context, 0, TRACE_OF_RUN, TRACE_RUN_PASS);
            GPU_OK(&p.gpu, p.gpu.backend->fill(p.gpu.device, p.gpu.stream, 0, 64, 1, &p.gpu.err));
            p.sink->launch_end(p.sink->context, 0);
            launch(&p, OP_A, "forward", p.gpu.stream, 1);
        }
    }
    p.sink->launch_begin(p.sink->context, 0, TRACE_OF_RUN, "evaluate");
    GPU_OK(&p.gpu, p.gpu.backend->fill(p.gpu.device, p.gpu.stream, 0, 64, 1, &p.gpu.err));
    p.sink->launch_end(p.sink->context, 0);
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(records_of(TRACE_OF_RUN, &ids), 6);
    cr_expect_eq(ids, 2, "two places in a step");
    cr_expect_eq(records_of(OP_A, &ids), 6);
    cr_expect_eq(records_of(TRACE_NO_OWNER, &ids), 0);
    cr_expect_eq(report.unattributed, 0);
}

Test(cupti, steps_that_are_not_timed_leave_no_records)
{
    struct profiled p = profiled_begin("seed=4");
    struct recording *recording = record(&p);
    for (uint64_t step = 0; step < 12; step++) {
        seen.timed = step % 4 == 0;
        cr_expect_not(p.sink->wants_ops(p.sink->context, step), "the run never times ops itself");
        for (uint64_t other = step; other < 12; other++)
            cr_expect_eq(p.sink->records_step(p.sink->context, other), seen.timed, "asking switches nothing");
        if (step > 0)
            cr_expect_eq(p.sink->records_step(p.sink->context, step - 1), step % 4 == 1, "it stays as it was");
        replay(&p, recording, step);
    }
    p.gpu.backend->recording_destroy(recording);
    cr_expect_eq(profiled_end(&p).records, 15);
}

/* ---- Faults ---- */

Test(cupti, another_profiler_has_it)
{
    struct cupti_profiler *profiler;
    struct error err = {0};
    gpu_choose("cupti=taken");
    cr_assert_not(cupti_profiler_open(&sink, &profiler, &err));
    cr_expect(strstr(err.text, "another profiler"), "%s", err.text);
}

Test(cupti, records_that_cannot_be_switched_on_leave_a_mark)
{
    struct profiled p = profiled_begin("cupti=fails");
    p.sink->step_submit(p.sink->context, 0);
    cr_expect(p.sink->wants_ops(p.sink->context, 0), "ops are timed as without it");
    cr_expect_not(p.sink->records_step(p.sink->context, 0));
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect(strstr(seen.mark, "no longer recorded: switching records: CUPTI_ERROR_NOT_INITIALIZED"), "%s", seen.mark);
    cr_expect(strstr(report.fault, "switching records"), "%s", report.fault);
}

Test(cupti, silence_is_said)
{
    struct profiled p = profiled_begin("cupti=silent");
    struct recording *recording = record(&p);
    bool own = false;
    for (uint64_t step = 0; step < 200 && !own; step++) {
        p.sink->step_submit(p.sink->context, step);
        own = p.sink->wants_ops(p.sink->context, step);
        GPU_OK(&p.gpu, p.gpu.backend->replay(recording, p.gpu.stream, &p.gpu.err));
        gpu_wait(&p.gpu, p.gpu.stream);
    }
    p.gpu.backend->recording_destroy(recording);
    profiled_end(&p);
    cr_expect(own);
    cr_expect(strstr(seen.mark, "CUPTI gave no records"), "%s", seen.mark);
}

/* Forty replayed steps of five records each. */
static struct cupti_profiler_report profile_steps(const char *faults)
{
    struct profiled p = profiled_begin(faults);
    struct recording *recording = record(&p);
    for (uint64_t step = 0; step < 40; step++) replay(&p, recording, step);
    p.gpu.backend->recording_destroy(recording);
    return profiled_end(&p);
}

Test(cupti, lost_times_are_counted_and_not_shown_as_zero)
{
    struct cupti_profiler_report report = profile_steps("cupti=lost");
    cr_expect_eq(report.records, 200);
    cr_expect_eq(report.timeless, 4);
    cr_expect_eq(seen.timeless, 4);
}

/* What comes in another shape than it should: each record is there, of its op, with its time, once. */
Test(cupti, records_in_any_shape_are_all_counted)
{
    const char *const faults[] = {"cupti=disorder", "cupti=nulls", "cupti=tails",
                                  "cupti=grows",    "cupti=jumps", "cupti=disorder+nulls+tails+grows"};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint32_t ids;
        if (i > 0) gpu_restart(faults[i]);
        struct cupti_profiler_report report = profile_steps(faults[i]);
        cr_expect_eq(report.records, 200, "%s: %llu", faults[i], (unsigned long long)report.records);
        cr_expect_eq(records_of(OP_A, &ids), 80, "%s", faults[i]);
        cr_expect_eq(records_of(OP_B, &ids), 120, "%s", faults[i]);
        cr_expect_eq(report.unattributed + report.timeless + report.dropped + seen.unordered, 0, "%s", faults[i]);
        cr_expect_str_empty(report.fault, "%s: %s", faults[i], report.fault);
    }
}

Test(cupti, what_cupti_drops_is_counted)
{
    struct cupti_profiler_report report = profile_steps("cupti=drops");
    cr_expect_eq(report.records, 190);
    cr_expect_eq(report.dropped, 10);
    cr_expect_eq(seen.lost, 10);
}

/* In CUPTI 13.0 kernels alone lose their times after millions of records: not where copies and fills are recorded too.
 */
Test(cupti, the_pool_s_fault_does_not_come_where_copies_are_recorded)
{
    struct profiled p = profiled_begin("cupti=pool");
    CUptiResult (*set)(CUpti_ActivityAttribute, size_t *, void *);
    size_t limit = 1, size = sizeof limit;
    *(void **)&set = standin_symbol("cuptiActivitySetAttribute");
    cr_assert_eq(set(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_POOL_LIMIT, &size, &limit), CUPTI_SUCCESS);
    struct recording *recording = record(&p);
    for (uint64_t step = 0; step < 40; step++) replay(&p, recording, step);
    p.gpu.backend->recording_destroy(recording);
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(report.records, 200);
    cr_expect_eq(report.timeless, 0);
}

/* A buffer that comes when its session is over is nobody's, also in the next one. */
Test(cupti, a_late_buffer_is_left_alone)
{
    for (int again = 0; again < 3; again++) {
        struct profiled p = profiled_begin("cupti=late");
        struct recording *recording = record(&p);
        for (uint64_t step = 0; step < 4; step++) replay(&p, recording, step);
        p.gpu.backend->recording_destroy(recording);
        struct cupti_profiler_report report = profiled_end(&p);
        cr_expect_eq(report.records, 20, "%d: %llu", again, (unsigned long long)report.records);
        cr_expect_eq(report.unattributed + report.dropped, 0);
    }
}

/* Its node says another op; the kernel's name says no: it is nobody's rather than the wrong one's. */
Test(cupti, a_join_that_the_kernels_name_denies_is_no_join)
{
    struct profiled p = profiled_begin("seed=5");
    struct gpu *g = &p.gpu;
    struct recording *recording;
    const struct step step = {0};
    uint32_t ids;
    GPU_OK(g, g->backend->record_begin(g->device, g->stream, &recording, &g->err));
    launch(&p, OP_A, "forward", g->stream, 1);
    launch(&p, OP_B, "forward", g->stream, 1);
    GPU_OK(g, g->backend->record_end(recording, &g->err));
    replay(&p, recording, 0);
    gpu_restart("cupti=misjoins");
    GPU_OK(g, g->backend->set_step(g->device, g->stream, &step, &g->err)); /* nobody's kernel */
    replay(&p, recording, 1);
    g->backend->recording_destroy(recording);
    struct cupti_profiler_report report = profiled_end(&p);
    cr_expect_eq(records_of(OP_A, &ids) + records_of(OP_B, &ids) + records_of(TRACE_NO_OWNER, &ids), report.records);
    cr_expect_geq(report.unattributed, 1);
}

Test(cupti, it_can_be_opened_again)
{
    for (int again = 0; again < 3; again++) {
        struct profiled p = profiled_begin("seed=6");
        struct recording *recording = record(&p);
        replay(&p, recording, 0);
        p.gpu.backend->recording_destroy(recording);
        cr_expect_eq(profiled_end(&p).records, 5);
    }
}
#else
Test(cupti, without_cuda) { gpu_choose(""); }
#endif
