/* Plans that offload, to a file and back; files that say wrong things of it; memory that runs out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keep.h"
#include "offload_kit.h"
#include "plan_file.h"
#include "plan_request.h"
#include "planner_kit.h"
#include "verify.h"

static uint32_t keep(uint32_t block) { return block % 2 ? KEEP_ALL | KEEP_ON_HOST : KEEP_CONVOLUTIONS | KEEP_ON_HOST; }

static struct plan *sound(void)
{
    struct plan *plan = kit_make(.model = "resnet-8", .batch = 32, .gpus = "2x16GiB", .recompute = RECOMPUTE_NONE);
    struct plan_request request = {.spec = plan->spec, .batch = plan->batch};
    struct chain_schedule schedule = offload_save_all(plan->variants[0].graph->block_count, keep);
    offload_follow(plan, &request, &schedule);
    chain_schedule_finish(&schedule);
    return plan;
}

static char path[64];

static void make_path(void)
{
    strcpy(path, "/tmp/fathom-offload-XXXXXX");
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
}

static void remove_path(void) { unlink(path); }

TestSuite(offload_file, .init = make_path, .fini = remove_path);

static char *read_text(void)
{
    FILE *file = fopen(path, "r");
    cr_assert(file);
    static char text[1 << 20];
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

Test(offload_file, reads_back_as_it_was)
{
    struct plan *plan = sound();
    struct error err = {0};
    cr_assert(plan_write(plan, path, &err), "%s", err.text);
    struct plan *read = plan_read(path, &err);
    cr_assert(read, "%s", err.text);
    const struct plan_variant *a = &plan->variants[0], *b = &read->variants[0];
    cr_assert_eq(a->host_bytes, b->host_bytes);
    cr_assert_gt(a->host_bytes, 0);
    cr_assert_eq(a->train.op_count, b->train.op_count);
    cr_assert_eq(memcmp(a->train.ops, b->train.ops, a->train.op_count * sizeof a->train.ops[0]), 0);
    for (size_t t = 0; t < a->train.tensor_count; t++) {
        const struct plan_tensor *x = &a->train.tensors[t], *y = &b->train.tensors[t];
        cr_assert(x->host == y->host && x->offset == y->offset && x->first == y->first && x->last == y->last);
    }
    plan_destroy(plan);
    plan_destroy(read);
}

/* The file with its first `from` replaced is refused, with `says` in the sentence. */
static void refuse(const char *from, const char *to, const char *says)
{
    struct plan *plan = sound();
    struct error err = {0};
    cr_assert(plan_write(plan, path, &err), "%s", err.text);
    plan_destroy(plan);
    char *text = read_text(), *at = strstr(text, from);
    cr_assert(at, "%s is not there", from);
    FILE *file = fopen(path, "w");
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(file);
    struct plan *read = plan_read(path, &err);
    cr_assert_null(read, "%s for %s was read", to, from);
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, says), "%s for %s: %s", to, from, err.text);
}

Test(offload_file, wrong_fields_are_refused_by_name)
{
    refuse(", \"host\"]", ", \"guest\"]", "host");
    refuse(", \"host\"]", ", 1]", "host");
    refuse(", \"host\"]", ", \"host\", 1]", "7");
    refuse(", \"host\"]", "]", "verify");
    refuse("\"host_bytes\": ", "\"host_bytes\": -", "host_bytes");
    refuse("\"host_bytes\": ", "\"host_byte\": ", "host_byte");
    refuse("[\"offload\"", "[\"fetch\"", "verify");
    refuse("[\"offload\"", "[\"forward\"", "operand");
}

Test(offload_file, memory_that_runs_out_leaves_nothing)
{
    struct plan *plan = sound();
    struct plan_program *train = &plan->variants[0].train;
    struct error err = {0};
    size_t before = mem_current_bytes(MEM_PLAN), attempts = 0;
    uint64_t bytes = 7;
    for (uint64_t n = 1;; n++, attempts++) {
        err = (struct error){0};
        mem_fail_at(n);
        bool ok = layout_place_host(train, SHARING_FULL, &bytes, &err);
        bool fired = mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before, "at allocation %d", (int)n);
        if (!fired) cr_assert(ok, "%s", err.text);
        if (!fired) break;
        cr_assert_not(ok);
        cr_assert_eq(err.kind, ERROR_MEMORY);
    }
    cr_assert_gt(attempts, 2);
    cr_assert_eq(bytes, plan->variants[0].host_bytes);
    plan_destroy(plan);
}

/* Emission with its copies, at every allocation. */
Test(offload_file, memory_that_runs_out_while_emitting_leaves_nothing)
{
    struct plan *plan = sound();
    struct chain_schedule schedule = offload_random_schedule(plan->variants[0].graph->block_count, KEEP_ON_HOST, 5);
    size_t before = mem_current_bytes(MEM_PLAN);
    for (uint64_t n = 1;; n++) {
        struct plan_program program = {0};
        struct error err = {0};
        mem_fail_at(n);
        bool ok = program_emit_train(plan->variants[0].graph, schedule.steps, schedule.count, &program, &err);
        bool fired = mem_fail_at(0);
        plan_program_finish(&program);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
        cr_assert_eq(ok, !fired);
        if (!fired) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
    }
    chain_schedule_finish(&schedule);
    plan_destroy(plan);
}
