/* How many launches a training step is, by kind of op, and how many bytes it moves: what there is for a step to wait
 * for on a GPU. Ops are prepared over the stand-in for CUDA, whose cuDNN has the engines of the real one on 9.0. */
#include <dlfcn.h>

#include "conv_help.h"
#include "cuda_device.h"
#include "engine_lowering.h"

#define TYPES 4

struct step_count {
    uint64_t launches[OP_KINDS], ops[OP_KINDS], all_launches, all_ops, bytes_moved, most_bytes;
};

/* All operands lie at the arena's beginning: nothing is launched. */
static void count_op(struct conv_side *side, const struct graph *graph, uint32_t index, struct step_count *count)
{
    const struct op *op = &graph->ops[index];
    struct op_call call = {.graph = graph,
                           .op = op,
                           .op_index = graph_logical_op(graph, index),
                           .pass = op->pass,
                           .workspace_bytes = 2u << 30};
    struct prepared *prepared = NULL;
    struct error err = {0};
    for (unsigned i = 0; i < op->inputs; i++) call.in_tensor[i] = &graph->tensors[op->in[i]];
    for (unsigned i = 0; i < op->outputs; i++) call.out_tensor[i] = &graph->tensors[op->out[i]];
    cr_assert(side->backend->op_prepare(side->device, &call, &prepared, &err), "%s", err.text);
    count->launches[op->kind] += cuda_launches(prepared);
    count->all_launches += cuda_launches(prepared);
    count->ops[op->kind]++;
    count->all_ops++;
    side->backend->op_release(prepared);
}

static struct step_count count_step(const char *model, uint32_t batch, enum dtype dtype, bool tf32, uint32_t lowering)
{
    struct step_count count = {0};
    struct graph *graph = conv_graph(model, batch, 0, dtype, lowering);
    struct conv_side side = conv_side_begin(&cuda_backend, &(struct device_options){.tf32 = tf32});
    const char *why;
    const uint64_t arena_bytes = side.device->arena_bytes;
    side.device->arena_bytes = UINT64_C(1) << 40; /* addresses alone are wanted */
    for (uint32_t i = 0; i < graph->op_count; i++) count_op(&side, graph, i, &count);
    for (uint32_t i = 0; i < graph->op_count; i++) count.bytes_moved += graph->ops[i].bytes_moved;
    cr_expect_eq(cuda_naive_convolutions(side.device, &why), 0, "%s", why);
    side.device->arena_bytes = arena_bytes;
    conv_side_end(&side);
    graph_destroy(graph);
    return count;
}

static void tell(const char *model, const char *type, const char *how, const struct step_count *count)
{
    cr_log_info("%s, %s, %s: %llu ops, %llu launches, %.2f GB moved\n", model, type, how,
                (unsigned long long)count->all_ops, (unsigned long long)count->all_launches,
                (double)count->bytes_moved / 1e9);
    for (int kind = 0; kind < OP_KINDS; kind++)
        if (count->ops[kind])
            cr_log_info("    %-20s %6llu ops %6llu launches\n", op_kind_name((enum op_kind)kind),
                        (unsigned long long)count->ops[kind], (unsigned long long)count->launches[kind]);
}

struct most {
    enum dtype dtype;
    bool tf32;
    uint64_t fused, unfused; /* launches */
};

static void count_steps(const char *model, uint32_t batch, const struct most most[TYPES])
{
    char cache[] = "/tmp/fathom-conv-XXXXXX", command[128];
    gpu_choose("gpus=1");
    cr_assert(mkdtemp(cache));
    setenv("XDG_CACHE_HOME", cache, 1);
    for (size_t i = 0; i < TYPES; i++) {
        const enum dtype dtype = most[i].dtype;
        const bool tf32 = most[i].tf32;
        const char *type = tf32 ? "tf32" : dtype_name(dtype);
        struct step_count fused = count_step(model, batch, dtype, tf32, engine_lowering(900, dtype, tf32)),
                          unfused = count_step(model, batch, dtype, tf32, 0);
        tell(model, type, "fused", &fused);
        tell(model, type, "not fused", &unfused);
        cr_expect_leq(fused.all_launches, most[i].fused, "%llu", (unsigned long long)fused.all_launches);
        cr_expect_leq(unfused.all_launches, most[i].unfused, "%llu", (unsigned long long)unfused.all_launches);
        if (dtype != DTYPE_F32 || tf32) cr_expect_lt(fused.bytes_moved, unfused.bytes_moved);
    }
    snprintf(command, sizeof command, "rm -rf %s", cache);
    cr_expect_eq(system(command), 0);
}

/* Fused and not. The bounds are what it is today: fewer is better, and a change says so here. */
Test(launches, of_a_step_of_resnet_1001, .timeout = 120)
{
    count_steps("resnet-1001", 128,
                (struct most[TYPES]){{DTYPE_F32, false, 5690, 5690},
                                     {DTYPE_F32, true, 5030, 5690},
                                     {DTYPE_F16, false, 5040, 7700},
                                     {DTYPE_BF16, false, 5030, 7700}});
}

/* Whose tensors are so large that sums and what is made of them are two launches. */
Test(launches, of_a_step_of_resnet_50, .timeout = 120)
{
    count_steps("resnet-50", 256,
                (struct most[TYPES]){{DTYPE_F32, false, 500, 500},
                                     {DTYPE_F32, true, 500, 500},
                                     {DTYPE_F16, false, 500, 600},
                                     {DTYPE_BF16, false, 500, 600}});
}

/* ---- What cuDNN wants beside itself ---- */

typedef bool (*find_fn)(const struct cudnn_library *library, struct error *err);

static void touch(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fclose(file);
}

/* `part` of cuDNN loads `name`, which lies beside it or where the loader finds it. */
static void expect_named(const struct cudnn_library *library, find_fn find, const char *folder, const char *part,
                         const char *name)
{
    struct error err = {0};
    cr_expect(find(library, &err), "without %s: %s", part, err.text);
    touch(folder, part);
    if (dlopen(name, RTLD_LAZY))
        cr_expect(find(library, &err), "%s", err.text);
    else
        cr_expect(!find(library, &err) && strstr(err.text, name), "%s", err.text);
    err = (struct error){0};
    touch(folder, name);
    cr_expect(find(library, &err), "%s", err.text);
}

/* A cuDNN in a folder of its own, new. */
static struct cudnn_library begin_alone(char *folder)
{
    struct cudnn_library library;
    struct error err = {0};
    char command[512], path[128];
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/libcudnn.so.9", folder);
    snprintf(command, sizeof command, "cp '%s/lib/libcudnn.so.9' %s", getenv("CUDA_HOME"), path);
    cr_assert_eq(system(command), 0);
    cr_assert(cudnn_load(path, &library, &err), "%s", err.text);
    return library;
}

static void end_alone(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_expect_eq(system(command), 0);
}

Test(launches, what_cudnn_loads_by_itself_is_looked_for)
{
    char folder[] = "/tmp/fathom-cudnn-XXXXXX";
    gpu_choose("gpus=1");
    struct cudnn_library library = begin_alone(folder);
    expect_named(&library, cudnn_is_whole, folder, "libcudnn_engines_precompiled.so.9", "libcublasLt.so.13");
    expect_named(&library, cudnn_can_compile, folder, "libcudnn_engines_runtime_compiled.so.9", "libnvrtc.so.13");
    end_alone(folder);
}

static unsigned asked;
static size_t cuda_12(void)
{
    asked++;
    return 12090;
}

/* What is there for CUDA 13 is none of its. */
Test(launches, what_a_cudnn_for_another_cuda_loads_is_that_ones)
{
    char folder[] = "/tmp/fathom-cudnn-XXXXXX";
    gpu_choose("gpus=1");
    struct cudnn_library library = begin_alone(folder);
    library.cuda_version = cuda_12;
    touch(folder, "libcublasLt.so.13");
    touch(folder, "libnvrtc.so.13");
    expect_named(&library, cudnn_is_whole, folder, "libcudnn_engines_precompiled.so.9", "libcublasLt.so.12");
    expect_named(&library, cudnn_can_compile, folder, "libcudnn_engines_runtime_compiled.so.9", "libnvrtc.so.12");
    end_alone(folder);
}

/* Of many convolutions the first says what cuDNN lacks, by its name, and for the others nobody looks. */
Test(launches, what_cudnn_lacks_is_told_with_the_first_convolution)
{
    char folder[] = "/tmp/fathom-cudnn-XXXXXX";
    const char *why;
    struct step_count count = {0};
    gpu_choose("engines=none");
    gpu_restart("engines=none");
    struct graph *graph = conv_graph("resnet-8", 2, 8, DTYPE_F32, 0);
    struct conv_side side = conv_side_begin(&cuda_backend, &(struct device_options){0});
    struct vendor vendor = *side.device->vendor;
    const struct cudnn_library alone = begin_alone(folder);
    touch(folder, "libcudnn_engines_runtime_compiled.so.9");
    vendor.cudnn.version = alone.version; /* by whose address its folder is found */
    vendor.cudnn.cuda_version = cuda_12;
    side.device->vendor = &vendor;
    const uint64_t arena_bytes = side.device->arena_bytes;
    side.device->arena_bytes = UINT64_C(1) << 40;
    for (uint32_t i = 0; i < graph->op_count; i++) count_op(&side, graph, i, &count);
    cr_expect_gt(cuda_naive_convolutions(side.device, &why), 8);
    cr_expect_eq(asked, 1);
    if (!dlopen("libnvrtc.so.12", RTLD_LAZY)) cr_expect(strstr(why, "for want of libnvrtc.so.12"), "%s", why);
    side.device->arena_bytes = arena_bytes;
    conv_side_end(&side);
    graph_destroy(graph);
    end_alone(folder);
}
