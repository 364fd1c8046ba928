/* Every allocation of a graph fails once: nothing leaks, the error says so. */
#include <criterion/criterion.h>

#include "graph.h"
#include "mem.h"

static void fail_each_allocation(const char *name, struct graph_options options)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse(name, &MODEL_OPTIONS_DEFAULT, &spec, &err));
    uint64_t before = mem_current_bytes(MEM_GRAPH), n = 1;
    for (;; n++) {
        err = (struct error){0};
        mem_fail_at(n);
        struct graph *graph = graph_build(&spec, &options, &err);
        mem_fail_at(0);
        if (graph) {
            cr_expect_eq(err.kind, ERROR_NONE);
            graph_destroy(graph);
            break;
        }
        cr_expect_eq(err.kind, ERROR_MEMORY, "allocation %lu: %s", (unsigned long)n, err.text);
        cr_expect_eq(mem_current_bytes(MEM_GRAPH), before, "allocation %lu leaks", (unsigned long)n);
    }
    cr_expect_gt(n, 10);
    cr_expect_eq(mem_current_bytes(MEM_GRAPH), before);
}

Test(graph_fault, resnet_20)
{
    fail_each_allocation("resnet-20", (struct graph_options){.batch = 2});
    fail_each_allocation(
        "resnet-20", (struct graph_options){.batch = 2, .micro_batches = 2, .all_reduce = true, .bucket_bytes = 65536});
}

Test(graph_fault, lowered)
{
    fail_each_allocation("resnet-11", (struct graph_options){.batch = 2, .lowering = LOWER_ALL});
}

Test(graph_fault, vgg_a) { fail_each_allocation("vgg-a", (struct graph_options){.batch = 2}); }

Test(graph_fault, destroy_takes_null) { graph_destroy(NULL); }
