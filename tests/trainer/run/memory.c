/* The promise: what was planned is what is used, and a step allocates nothing. A plain program, so that the process
 * holds nothing but the run, and malloc can be watched. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "sanitizers.h"
#include "train_help.h"

#define WATCHED !UNDER_SANITIZER

static void check(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "failed: %s\n", what);
    run_remove_data();
    exit(1);
}

static atomic_bool watching;
static atomic_int allocations;

#if WATCHED
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t bytes);

static void note(void)
{
    if (atomic_load(&watching)) atomic_fetch_add(&allocations, 1);
}

void *malloc(size_t bytes)
{
    note();
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t size)
{
    note();
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t bytes)
{
    note();
    return __libc_realloc(block, bytes);
}
#endif

static uint64_t project_bytes(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < MEM_PURPOSES; i++) sum += mem_current_bytes((enum mem_purpose)i);
    return sum;
}

static uint64_t held_bytes;
static size_t heap_bytes;

/* From the third step to the end of the eighth, loader, log and all. */
static void watch(struct small_run *run, uint64_t step)
{
    (void)run;
    if (step == 3) {
        held_bytes = project_bytes();
        heap_bytes = mallinfo2().uordblks;
        atomic_store(&watching, true);
    }
    if (step != 8) return;
    atomic_store(&watching, false);
    check(project_bytes() == held_bytes, "steps hold more and more memory");
    /* oneDNN makes and frees small tables in each call; none may stay. */
    check(mallinfo2().uordblks < heap_bytes + 4096, "the heap grows from step to step");
}

static void check_steps(const struct backend *backend, bool none_at_all)
{
    struct small_run run = {.batch = 4, .backend = backend, .after_step = watch};
    run.options.iterations = 9;
    run.options.skip_evaluation = true;
    run.options.log_path = run_path("log");
    atomic_store(&allocations, 0);
    run_go(&run);
    check(run.ok, run.err.text);
    if (none_at_all) check(atomic_load(&allocations) == 0, "a step allocates");
}

/* First in its process, so that VmHWM is of this run. */
static void check_peak(enum dtype dtype)
{
    struct small_run run = {.model = "resnet-20", .batch = 128, .dtype = dtype};
    run.options.iterations = 2;
    run_go(&run);
    check(run.ok, run.err.text);
    double ratio = (double)run.result.peak_bytes / (double)run.result.planned_bytes;
    fprintf(stderr, "%s: planned %.2f MiB, peak %.2f MiB\n", dtype_name(dtype),
            (double)run.result.planned_bytes / 0x1p20, (double)run.result.peak_bytes / 0x1p20);
    check(!WATCHED || (ratio > 0.97 && ratio < 1.03), "the peak is not what was planned");
}

/* The arena is the plan's to the byte. */
static void check_arena(void)
{
    check(mem_current_bytes(MEM_ARENA) == 0, "an arena is left");
    struct small_run run = {.model = "resnet-20", .batch = 128};
    run_fill_defaults(&run);
    struct plan *plan = run_plan(&run);
    check(plan != NULL, run.err.text);
    check(train_planned_bytes(plan, NULL, &(struct train_part){0, 1, 1, 1, NULL}) == plan->devices[0].peak_bytes,
          "a run plans with another figure than its plan");
    check(mem_peak_bytes(MEM_ARENA) == plan->variants[0].arena_bytes, "the arena is not the plan's");
    plan_destroy(plan);
}

/* In a process of its own: what making the data takes is not the run's. */
static void make_data_elsewhere(void)
{
    int status;
    strcpy(run_data, "/tmp/fathom-train-XXXXXX");
    check(mkdtemp(run_data) != NULL, "a temporary folder");
    pid_t child = fork();
    if (child == 0) _exit(!data_synthesize(run_data, 40, 24, 1, NULL, NULL, NULL));
    check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the dataset");
}

static void check_peak_elsewhere(enum dtype dtype)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        check_peak(dtype);
        _exit(0);
    }
    check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the peak in 16 bits");
}

int main(void)
{
    make_data_elsewhere();
    check_peak_elsewhere(DTYPE_BF16);
    check_peak_elsewhere(DTYPE_F16);
    check_peak(DTYPE_F32);
    check_arena();
    check_steps(&cpu_reference_backend, true);
    check_steps(&cpu_backend, false);
    run_remove_data();
    return 0;
}
