/* What is tested instead of the run's own state: averages of weights, statistics taken anew. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <sys/stat.h>

#include "save_kit.h"

TestSuite(averages, .init = run_make_data, .fini = run_remove_data);

static struct small_run make(double average_decay, uint64_t bn_recompute)
{
    return (struct small_run){
        .update = {OPTIMIZER_MOMENTUM, false, average_decay > 0},
        .options = {.average_decay = average_decay, .bn_recompute = bn_recompute, .evaluate_every = 2}};
}

static void go(struct small_run *run)
{
    run_go(run);
    cr_assert(run->ok, "%s", run->err.text);
}

/* Whether tests or not, on one device or two, with micro-batches or not. */
Test(averages, tests_leave_the_run_as_it_was)
{
    static const struct {
        const char *gpus;
        uint32_t micro_batches;
        bool sync_bn;
    } ways[] = {{"cpu", 0, false}, {"2xcpu", 2, false}, {"2xcpu", 0, true}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct small_run tested = make(0.9, 20), plain = make(0.9, 20);
        tested.gpus = plain.gpus = ways[i].gpus;
        tested.micro_batches = plain.micro_batches = ways[i].micro_batches;
        tested.sync_bn = plain.sync_bn = ways[i].sync_bn;
        plain.options.skip_evaluation = true;
        go(&tested);
        go(&plain);
        cr_expect_arr_eq(tested.losses, plain.losses, 5 * sizeof(double), "%s", ways[i].gpus);
        cr_expect(isfinite(tested.last.test_loss));
    }
}

/* An average that forgets all is the weights. */
Test(averages, are_what_is_tested)
{
    struct small_run forgets = make(1e-9, 48), remembers = make(0.999, 48), plain = make(0, 48);
    go(&forgets);
    go(&remembers);
    go(&plain);
    cr_expect_float_eq(forgets.last.test_loss, plain.last.test_loss, 1e-5);
    cr_expect(fabs(remembers.last.test_loss - plain.last.test_loss) > 1e-3, "%g, %g", remembers.last.test_loss,
              plain.last.test_loss);
}

/* What the moving ones were is forgotten: neither their smoothing nor the steps before count. */
Test(averages, statistics_are_taken_anew)
{
    struct small_run slow = make(0, 40), quick = make(0, 40), moving = make(0, 0);
    slow.options.bn_momentum = 0.01;
    quick.options.bn_momentum = 0.5;
    moving.options.bn_momentum = 0.01;
    go(&slow);
    go(&quick);
    go(&moving);
    cr_expect_eq(slow.last.test_loss, quick.last.test_loss);
    cr_expect(fabs(slow.last.test_loss - moving.last.test_loss) > 1e-3, "%g", moving.last.test_loss);
}

static uint64_t launches;

static bool count_launch(struct prepared *prepared, struct stream *stream, struct error *err)
{
    launches++;
    return cpu_backend.op_launch(prepared, stream, err);
}

/* The tensors of a file, behind the header, whose length is in the first 8 bytes. */
static size_t read_tensors(const char *folder, uint64_t step, char **tensors)
{
    char path[512];
    unsigned char begin[8];
    uint64_t header = 0;
    struct stat info;
    snprintf(path, sizeof path, "%s/average-%012llu.safetensors", folder, (unsigned long long)step);
    FILE *file = fopen(path, "rb");
    cr_assert(file && fread(begin, 1, 8, file) == 8 && fstat(fileno(file), &info) == 0, "%s", path);
    for (int i = 7; i >= 0; i--) header = header << 8 | begin[i];
    cr_assert_lt(header + 8, (uint64_t)info.st_size);
    size_t length = (size_t)info.st_size - 8 - (size_t)header;
    *tensors = malloc(length);
    bool ok = *tensors && fseek(file, (long)header, SEEK_CUR) == 0 && fread(*tensors, 1, length, file) == length;
    cr_assert(ok, "%s", path);
    fclose(file);
    return length;
}

static bool same_averages(const char *a, const char *b, uint64_t step) /* but for their headers, which tell the error */
{
    char *of_a, *of_b;
    size_t length = read_tensors(a, step, &of_a);
    bool same = read_tensors(b, step, &of_b) == length && memcmp(of_a, of_b, length) == 0;
    free(of_a);
    free(of_b);
    return same;
}

/* A test and a checkpoint of one step are of one net, which sees images once for both; alone, each sees them. */
Test(averages, statistics_are_taken_once_for_a_test_and_a_file)
{
    enum { TESTED, BOTH, SAVED, WAYS };
    static const char *const names[WAYS] = {"tested", "both", "saved"};
    struct backend counting = cpu_backend;
    uint64_t of[WAYS];
    struct small_run runs[WAYS];
    counting.op_launch = count_launch;
    for (int way = 0; way < WAYS; way++) {
        struct small_run *run = &runs[way];
        *run = make(0.9, 0);
        run->backend = &counting;
        run->options.iterations = 4;
        run->options.save_every = way == TESTED ? 0 : 2;
        run->options.skip_evaluation = way == SAVED;
        launches = 0;
        if (way == TESTED)
            go(run);
        else
            run_go_and_save(run, names[way]);
        of[way] = launches;
    }
    const char *both = runs[BOTH].options.save_folder, *alone = runs[SAVED].options.save_folder;
    cr_expect_eq(of[BOTH], of[TESTED], "%llu, %llu", (unsigned long long)of[BOTH], (unsigned long long)of[TESTED]);
    cr_expect_gt(of[TESTED], of[SAVED]);
    cr_expect(same_averages(both, alone, 2) && same_averages(both, alone, 4));
}

static void count_checkpoints(void *context, uint32_t device, enum trace_gap gap, uint64_t begin_ns, uint64_t end_ns)
{
    (void)device;
    cr_assert_leq(begin_ns, end_ns);
    *(size_t *)context += gap == GAP_CHECKPOINT;
}

/* The file of the average takes statistics anew, for which steps wait as they do for the checkpoint itself. */
Test(averages, what_their_files_take_is_told)
{
    for (size_t averaged = 0; averaged < 2; averaged++) {
        size_t checkpoints = 0;
        struct trace_sink sink = {.context = &checkpoints, .gap = count_checkpoints};
        struct small_run run = make(averaged ? 0.9 : 0, 0);
        run.sink = &sink;
        run.options.iterations = 2;
        run_go_and_save(&run, averaged ? "averaged" : "plain");
        cr_expect_eq(checkpoints, 1 + averaged, "%zu", checkpoints);
    }
}
