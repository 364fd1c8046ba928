/* Copies beside the computing: hidden where the link is fast enough, and never shorter than the link allows. */
#include "all_reduce.h"
#include "keep.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "planner_kit.h"
#include "timeline.h"

static uint32_t all_on_host(uint32_t block)
{
    (void)block;
    return KEEP_ALL | KEEP_ON_HOST;
}

static struct timeline time_plan(const struct plan *plan, double host_bandwidth)
{
    struct cost_speed speed = cost_speed_of(&plan->devices[0].spec, plan->dtype, NULL);
    struct timeline_request request = {.graph = plan->variants[0].graph,
                                       .program = &plan->variants[0].train,
                                       .speed = &speed,
                                       .host_bandwidth = host_bandwidth};
    struct timeline times;
    struct error err = {0};
    cr_assert(timeline_make(&request, &times, &err), "%s", err.text);
    return times;
}

static uint64_t sum_copies(const struct plan *plan, enum op_pass pass)
{
    const struct plan_program *train = &plan->variants[0].train;
    uint64_t sum = 0;
    for (size_t i = 0; i < train->op_count; i++)
        if (train->ops[i].pass == pass) sum += train->tensors[train->ops[i].in[0]].bytes;
    return sum;
}

static struct plan *make(bool offloads)
{
    struct plan *plan = kit_make(.model = "resnet-110", .batch = 128, .gpus = "titan-x", .recompute = RECOMPUTE_NONE);
    struct plan_request request = {.spec = plan->spec, .batch = plan->batch};
    struct chain_schedule schedule = offload_save_all(plan->variants[0].graph->block_count, all_on_host);
    if (offloads) offload_follow(plan, &request, &schedule);
    chain_schedule_finish(&schedule);
    return plan;
}

Test(timeline, without_copies_the_ops_follow_each_other)
{
    struct plan *plan = make(false);
    struct cost_speed speed = cost_speed_of(&plan->devices[0].spec, plan->dtype, NULL);
    struct timeline times = time_plan(plan, 1);
    const struct plan_variant *variant = &plan->variants[0];
    double sum = 0;
    for (size_t i = 0; i < variant->train.op_count; i++)
        sum += cost_op_seconds(&speed, variant->graph, &variant->graph->ops[variant->train.ops[i].op]);
    cr_assert_float_eq(times.body + times.rest, sum, 1e-12 + sum * 1e-9);
    cr_assert_float_eq(plan->step_seconds, sum, 1e-12 + sum * 1e-9);
    cr_assert_eq(times.stalled, 0);
    plan_destroy(plan);
}

Test(timeline, what_runs_again_and_what_updates_is_told)
{
    struct plan *plan =
        kit_make(.model = "resnet-110", .batch = 128, .gpus = "titan-x", .recompute = RECOMPUTE_ELEMENTWISE);
    struct cost_speed speed = cost_speed_of(&plan->devices[0].spec, plan->dtype, NULL);
    struct timeline times = time_plan(plan, 1);
    const struct plan_variant *variant = &plan->variants[0];
    double again = 0, updates = 0;
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        double seconds = cost_op_seconds(&speed, variant->graph, &variant->graph->ops[op->op]);
        if (plan_op_repeats(op)) again += seconds;
        if (op->pass == PASS_UPDATE) updates += seconds;
    }
    cr_assert(again > 0 && updates > 0);
    cr_expect_float_eq(times.recompute, again, again * 1e-9);
    cr_expect_float_eq(times.update, updates, updates * 1e-9);
    plan_destroy(plan);
}

Test(timeline, a_fast_link_hides_all_copies_and_a_slow_one_bounds_the_step)
{
    struct plan *kept = make(false), *plan = make(true);
    double before = time_plan(kept, 0).body;
    struct timeline fast = time_plan(plan, 1e15), usual = time_plan(plan, 12.6e9), slow = time_plan(plan, 1e9);
    uint64_t out = sum_copies(plan, PASS_OFFLOAD), back = sum_copies(plan, PASS_FETCH);
    cr_assert_eq(out, back, "%zu out, %zu back", (size_t)out, (size_t)back);
    cr_assert_geq(fast.body, before * (1 - 1e-9));
    cr_assert_leq(fast.body, before * 1.02, "%g over %g", fast.body, before);
    cr_assert_gt(usual.body, fast.body);
    cr_assert_gt(slow.body, usual.body);
    cr_assert_geq(slow.body, (double)(out + back) / 1e9, "out before back, each at the link's rate");
    cr_assert_leq(slow.body, (double)(out + back) / 1e9 + fast.body, "no more than all after each other");
    cr_assert_float_eq(slow.body - slow.stalled, before, before * 1e-9);
    plan_destroy(plan);
    plan_destroy(kept);
}

Test(timeline, the_rate_of_an_unknown_link_is_a_slot_s)
{
    struct plan *plan = make(true);
    cr_assert_eq(time_plan(plan, 0).body, time_plan(plan, 12.6e9).body);
    plan_destroy(plan);
}

Test(timeline, a_copy_takes_no_less_than_a_start)
{
    struct plan_tensor places[] = {{.bytes = 8}, {.bytes = 8, .host = true}};
    struct plan_op offload = {.pass = PASS_OFFLOAD, .stream = STREAM_TO_HOST, .workspace = NO_TENSOR};
    for (size_t i = 0; i < OP_MOST_INPUTS; i++) offload.in[i] = i == 0 ? 0 : NO_TENSOR;
    for (size_t i = 0; i < OP_MOST_OUTPUTS; i++) offload.out[i] = i == 0 ? 1 : NO_TENSOR;
    struct plan_program program = {&offload, 1, 1, places, 2};
    struct cost_speed speed = {.launch_seconds = 5e-6};
    struct timeline_request request = {.program = &program, .speed = &speed, .host_bandwidth = 1e9};
    struct timeline times;
    struct error err = {0};
    cr_assert(timeline_make(&request, &times, &err), "%s", err.text);
    cr_expect_float_eq(times.body, 5e-6, 1e-12);
    places[0].bytes = 1000000;
    cr_assert(timeline_make(&request, &times, &err), "%s", err.text);
    cr_expect_float_eq(times.body, 1e-3, 1e-12);
    cr_expect_float_eq(times.stalled, 1e-3, 1e-12);
}

/* Of f32, which is not converted before and after. */
static double sum_messages(const struct timeline_request *request)
{
    double seconds = 0;
    for (size_t i = 0; i < request->program->op_count; i++) {
        const struct op *op = &request->graph->ops[request->program->ops[i].op];
        if (op->kind != OP_ALL_REDUCE) continue;
        seconds += all_reduce_seconds(request->machine, request->ranks, request->graph->tensors[op->in[0]].bytes, NULL);
    }
    return seconds;
}

/* Of two devices, as GPUs and as virtual ones, over a link that takes a while. */
Test(timeline, sums_are_beside_the_computing_on_gpus_alone)
{
    struct plan *plan = kit_make(.model = "resnet-110", .batch = 128, .gpus = "2xtitan-x", .bucket_bytes = 1 << 20,
                                 .recompute = RECOMPUTE_NONE);
    struct cost_speed speed = cost_speed_of(&plan->devices[0].spec, plan->dtype, NULL);
    struct device_spec devices[] = {plan->devices[0].spec, plan->devices[1].spec};
    struct machine machine = {.devices = devices, .device_count = 2, .node_devices = 2, .link_bandwidth = 1e9};
    struct timeline_request request = {.graph = plan->variants[0].graph,
                                       .program = &plan->variants[0].train,
                                       .speed = &speed,
                                       .machine = &machine,
                                       .ranks = 2};
    struct timeline beside, inside, slow;
    struct error err = {0};
    cr_assert(timeline_make(&request, &beside, &err), "%s", err.text);
    machine.link_bandwidth = 1e6;
    cr_assert(timeline_make(&request, &slow, &err), "%s", err.text);
    cr_expect_geq(slow.messages, sum_messages(&request), "one after the other");
    machine.link_bandwidth = 1e9;
    devices[0].kind = devices[1].kind = DEVICE_CPU;
    cr_assert(timeline_make(&request, &inside, &err), "%s", err.text);
    cr_expect_eq(beside.summing, 0);
    cr_expect_gt(inside.summing, (double)plan->variants[0].graph->parameter_elements * sizeof(float) / 1e9);
    double messages = sum_messages(&request);
    cr_expect_float_eq(inside.summing, messages, 1e-9);
    cr_expect_float_eq(inside.body + inside.rest, beside.body + beside.rest + inside.summing, 1e-9);
    plan_destroy(plan);
}

Test(timeline, memory_that_runs_out_is_reported)
{
    struct plan *plan = make(true);
    struct cost_speed speed = cost_speed_of(&plan->devices[0].spec, plan->dtype, NULL);
    struct timeline_request request = {
        .graph = plan->variants[0].graph, .program = &plan->variants[0].train, .speed = &speed};
    struct timeline times = {.body = 7};
    struct error err = {0};
    size_t before = mem_current_bytes(MEM_PLAN);
    mem_fail_at(1);
    cr_assert_not(timeline_make(&request, &times, &err));
    mem_fail_at(0);
    cr_assert_eq(err.kind, ERROR_MEMORY);
    cr_assert_eq(times.body, 7);
    cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
    plan_destroy(plan);
}
