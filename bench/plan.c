/* Planning from model to proof, and the plan as a file: medians of wall time, and the arena over its lower bound. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "make.h"
#include "plan_file.h"
#include "verify.h"

#define ROUNDS 11

enum stage { MAKE, VERIFY, WRITE, READ, STAGES };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double milliseconds_since(uint64_t begin) { return (double)(clock_now_ns() - begin) * 1e-6; }

static bool run_round(const struct plan_request *request, const char *path, double times[STAGES], double *ratio,
                      struct error *err)
{
    uint64_t begin = clock_now_ns();
    struct plan *plan = plan_make(request, err);
    if (!plan) return false;
    times[MAKE] = milliseconds_since(begin);
    *ratio = (double)plan->variants[0].arena_bytes / (double)plan->variants[0].lower_bound_bytes;
    begin = clock_now_ns();
    bool ok = plan_verify(plan, NULL, err);
    times[VERIFY] = milliseconds_since(begin);
    begin = clock_now_ns();
    ok = ok && plan_write(plan, path, err);
    times[WRITE] = milliseconds_since(begin);
    plan_destroy(plan);
    begin = clock_now_ns();
    plan = ok ? plan_read(path, err) : NULL;
    times[READ] = milliseconds_since(begin);
    plan_destroy(plan);
    return plan != NULL;
}

static bool bench(const char *model, uint32_t batch, const char *gpus, struct error *err)
{
    static double times[STAGES][ROUNDS];
    struct machine machine;
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = batch, .machine = &machine};
    char path[] = "/tmp/fathom-bench-XXXXXX";
    int file = mkstemp(path);
    if (file < 0) return error_set(err, ERROR_FAILED, "no temporary file");
    close(file);
    TRY(model_parse(model, &options, &request.spec, err) && machine_parse(gpus, &machine, err));
    bool ok = true;
    double ratio = 0;
    for (int round = 0; ok && round < ROUNDS; round++) {
        double once[STAGES];
        ok = run_round(&request, path, once, &ratio, err);
        for (int s = 0; ok && s < STAGES; s++) times[s][round] = once[s];
    }
    for (int s = 0; ok && s < STAGES; s++) qsort(times[s], ROUNDS, sizeof times[s][0], compare);
    if (ok)
        printf("%-12s batch %-4u %-10s make and prove %8.2f ms, prove %7.2f, write %7.2f, read %7.2f; arena / bound "
               "%.5f\n",
               model, batch, gpus, times[MAKE][ROUNDS / 2], times[VERIFY][ROUNDS / 2], times[WRITE][ROUNDS / 2],
               times[READ][ROUNDS / 2], ratio);
    machine_finish(&machine);
    unlink(path);
    return ok;
}

int main(void)
{
    struct error err = {0};
    bool ok = bench("resnet-20", 128, "12GiB", &err) && bench("resnet-50", 256, "2x24GiB", &err) &&
              bench("resnet-164", 128, "12GiB", &err) && bench("resnet-1001", 128, "2x12GiB", &err) &&
              bench("resnet-1001", 128, "12GiB", &err) && bench("resnet-10001", 16, "80GiB", &err);
    if (!ok) fprintf(stderr, "%s\n", err.text);
    return error_exit_code(&err);
}
