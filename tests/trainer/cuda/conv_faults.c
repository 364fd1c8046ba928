/* Engines that cannot be built, that fail when they run, and plans on disk. */
#include <unistd.h>

#include "conv_help.h"
#include "engines.h"

#ifdef FATHOM_CUDA
#define CUDNN_VERSION 91900 /* the stand-in's */

static char cache[64];

static void begin_cache(void)
{
    snprintf(cache, sizeof cache, "/tmp/fathom-conv-XXXXXX");
    cr_assert(mkdtemp(cache));
    setenv("XDG_CACHE_HOME", cache, 1);
}

static void end_cache(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", cache);
    cr_assert_eq(system(command), 0);
}

/* The second convolution of a small net, on a new device with these options; *naive of it. */
struct attempt {
    const char *standin;
    struct device_options options;
    enum dtype dtype;
    uint64_t workspace_bytes;
    bool ok;
    uint64_t naive;
    struct error err;
    char why[256], told[600]; /* told: while it ran */
};

static void hear(void *context, uint32_t device, const char *text, bool passing)
{
    struct attempt *a = context;
    cr_expect_eq(device, 0);
    if (!passing) snprintf(a->told, sizeof a->told, "%s", text);
}

/* Whether cuDNN's first engine was taken, of which it is known that it fails. */
static bool took_first(const struct attempt *a)
{
    return strstr(a->told, "stage1/unit1/conv1") && strstr(a->told, "engine 0 of cuDNN failed when it ran") &&
           strstr(a->told, "runs in its place");
}

static void attempt(struct attempt *a)
{
    const struct teller teller = {hear, a};
    struct graph *graph = conv_graph("resnet-8", 2, 8, a->dtype, 0);
    uint32_t index = 1;
    while (graph->ops[index].kind != OP_CONV) index++;
    gpu_choose(a->standin);
    gpu_restart(a->standin);
    a->options.teller = &teller;
    struct conv_side side = conv_side_begin(&cuda_backend, &a->options);
    a->err = (struct error){0};
    a->told[0] = '\0';
    a->ok = conv_run(&side, graph, index, PASS_FORWARD, a->workspace_bytes, 1, &a->err);
    const char *why;
    a->naive = cuda_naive_convolutions(side.device, &why);
    snprintf(a->why, sizeof a->why, "%s", why);
    conv_side_end(&side);
    graph_destroy(graph);
    cr_expect_eq(gpu_report().descriptors + gpu_report().handles, 0);
}

Test(conv_faults, an_engine_that_cannot_be_built_gives_way_to_the_next, .init = begin_cache, .fini = end_cache)
{
    struct attempt a = {.standin = "engines=build_fails", .dtype = DTYPE_BF16, .workspace_bytes = 1u << 20};
    attempt(&a);
    cr_expect(a.ok, "%s", a.err.text);
    cr_expect_eq(a.naive, 0, "%s", a.why);
}

Test(conv_faults, without_any_engine_the_naive_kernels_run_and_it_is_told, .init = begin_cache, .fini = end_cache)
{
    static const char *const ways[] = {"engines=all_fail", "engines=none"};
    for (size_t i = 0; i < 2; i++) {
        struct attempt a = {.standin = ways[i], .workspace_bytes = 1u << 20};
        attempt(&a);
        cr_expect(a.ok, "%s", a.err.text);
        cr_expect_eq(a.naive, 1, "%s", ways[i]);
        cr_expect(strstr(a.why, "stage1/unit1/conv1"), "%s", a.why);
    }
}

Test(conv_faults, an_engine_that_fails_when_it_runs_is_named_and_another_runs, .init = begin_cache, .fini = end_cache)
{
    struct attempt a = {.standin = "engines=run_fails", .dtype = DTYPE_F16, .workspace_bytes = 1u << 20};
    attempt(&a);
    cr_expect(a.ok && took_first(&a), "%s%s", a.err.text, a.told);
    attempt(&a);
    cr_expect(a.ok, "%s", a.err.text);
    cr_expect_str_empty(a.told);
    cr_expect_eq(a.naive, 0, "%s", a.why);
}

/* The first engine is TF32's, and fails here. */
Test(conv_faults, tf32_is_taken_when_it_may_be, .init = begin_cache, .fini = end_cache)
{
    struct attempt a = {.standin = "engines=run_fails", .workspace_bytes = 1u << 20}, tf32 = a;
    tf32.options.tf32 = true;
    attempt(&a);
    cr_expect(a.ok && !*a.told, "%s%s", a.err.text, a.told);
    attempt(&tf32);
    cr_expect(tf32.ok && took_first(&tf32), "%s%s", tf32.err.text, tf32.told);
}

Test(conv_faults, deterministic_engines_are_taken_when_asked_for, .init = begin_cache, .fini = end_cache)
{
    struct attempt any = {.standin = "engines=run_fails+nondeterministic",
                          .dtype = DTYPE_F16,
                          .workspace_bytes = 1u << 20},
                   same = any;
    same.options.deterministic = true;
    attempt(&same);
    cr_expect(same.ok && !*same.told, "%s%s", same.err.text, same.told);
    attempt(&any);
    cr_expect(any.ok && took_first(&any), "%s%s", any.err.text, any.told);
}

/* The planner was told of the last engine alone; the first would fail when it runs. */
Test(conv_faults, what_the_planner_was_answered_is_what_runs, .init = begin_cache, .fini = end_cache)
{
    struct attempt a = {.standin = "engines=run_fails", .dtype = DTYPE_F16, .workspace_bytes = 1u << 20};
    struct graph *graph = conv_graph("resnet-8", 2, 8, a.dtype, 0);
    struct engine_book book = {.device = engine_device_find(catalogue_find("h200"))};
    const struct engine last = {.id = 2, .notes = ENGINE_TENSOR_CORES};
    struct engine_answer answer = {.engines = &last, .count = 1};
    char folder[128], path[FILES_PATH];
    struct error err = {0};
    uint32_t index = 1;
    while (graph->ops[index].kind != OP_CONV) index++;
    cr_assert(engine_question_of(graph, &graph->ops[index], PASS_FORWARD, &answer.question));
    for (book.cudnn = 80000; book.cudnn; book.cudnn = book.cudnn == 80000 ? CUDNN_VERSION : 0) {
        snprintf(folder, sizeof folder, "%s/fathom/engines", cache);
        cr_assert(files_make_folder(folder, &err) && engines_cache_path(folder, &book, &answer.question, path));
        cr_assert(engine_book_add(&book, &answer, &err) && engine_book_write(&book, NULL, path, &err), "%s", err.text);
        attempt(&a);
        cr_expect_eq(took_first(&a), book.cudnn == 80000, "%s", a.told); /* another version's are not asked */
        cr_expect(a.ok, "%s", a.err.text);
        end_cache();
        begin_cache();
    }
    engine_book_finish(&book);
    graph_destroy(graph);
}

/* ---- On disk ---- */

/* Calls `change` with each plan that is kept; how many. */
static size_t each_plan(void (*change)(const char *path))
{
    char folder[512], command[600], path[1024];
    size_t count = 0;
    snprintf(folder, sizeof folder, "%s/fathom/cudnn-plans", cache);
    snprintf(command, sizeof command, "ls %s/*/*.json", folder);
    FILE *list = popen(command, "r");
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = '\0';
        if (change) change(path);
        count++;
    }
    pclose(list);
    return count;
}

/* No engine can be built the second time: what runs was kept. */
static struct attempt run_twice(void (*change)(const char *path))
{
    struct attempt a = {.standin = "gpus=1", .dtype = DTYPE_F16, .workspace_bytes = 1u << 20};
    attempt(&a);
    cr_assert(a.ok && a.naive == 0, "%s%s", a.err.text, a.why);
    cr_expect_eq(each_plan(change), 1);
    a.standin = "engines=all_fail";
    attempt(&a);
    cr_assert(a.ok, "%s", a.err.text);
    return a;
}

Test(conv_faults, plans_are_kept_and_made_again_without_building, .init = begin_cache, .fini = end_cache)
{
    cr_expect_eq(run_twice(NULL).naive, 0);
}

static void rewrite(const char *path, const char *from, const char *to)
{
    char command[2048];
    snprintf(command, sizeof command, "sed -i 's/%s/%s/' %s", from, to, path);
    cr_assert_eq(system(command), 0);
}
static void truncate_plan(const char *path) { cr_assert_eq(truncate(path, 100), 0); }
static void change_version(const char *path) { rewrite(path, "\"cudnn\": 9", "\"cudnn\": 8"); }
static void change_question(const char *path) { rewrite(path, "forward", "backward"); }
static void change_plan(const char *path) { rewrite(path, "stand-in 1", "stand-in 0"); }

Test(conv_faults, plans_that_are_broken_or_of_another_version_are_not_believed, .init = begin_cache, .fini = end_cache)
{
    void (*const changes[])(const char *) = {truncate_plan, change_version, change_question, change_plan};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        cr_expect_eq(run_twice(changes[i]).naive, 1, "change %zu", i);
        end_cache();
        begin_cache();
    }
}

Test(conv_faults, an_engine_is_taken_that_fits_the_workspace, .init = begin_cache, .fini = end_cache)
{
    /* The first engine needs as much as the result has in f32, the second 131 bytes, the last none. */
    struct attempt a = {.standin = "engines=run_fails", .options = {.tf32 = true}};
    for (a.workspace_bytes = 0; a.workspace_bytes <= 256; a.workspace_bytes += 256) {
        attempt(&a);
        cr_expect(a.ok, "%s", a.err.text);
        cr_expect_eq(a.naive, 0, "%s", a.why);
    }
}

#else
Test(conv_faults, cuda_is_not_built) { cr_skip_test("this build has no CUDA"); }
#endif
