/* How many images a loader delivers: bench_data_loader DIR [THREADS [SIZE [SECONDS]]]. Prints the median over repeats
 * of images per second on the wall and of processor time, training order with augmentation. */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "data.h"

#define REPEATS 5
#define BATCH   128

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool measure(struct loader *loader, double seconds, double *wall, double *processor, struct error *err)
{
    struct batch batch;
    uint64_t images = 0, begin = clock_now_ns(), used = clock_process_cpu_ns(), passed;
    do {
        TRY(loader_next(loader, &batch, err));
        images += batch.count;
        passed = clock_now_ns() - begin;
    } while ((double)passed < seconds * 1e9);
    *wall = (double)images * 1e9 / (double)passed;
    *processor = (double)images * 1e9 / (double)(clock_process_cpu_ns() - used);
    return true;
}

static bool run(struct loader *loader, double seconds, struct error *err)
{
    double wall[REPEATS], processor[REPEATS];
    for (int i = 0; i < REPEATS; i++) TRY(measure(loader, seconds, &wall[i], &processor[i], err));
    qsort(wall, REPEATS, sizeof *wall, compare);
    qsort(processor, REPEATS, sizeof *processor, compare);
    printf("%.0f images/s, %.0f images for each second of processor time (medians of %d)\n", wall[REPEATS / 2],
           processor[REPEATS / 2], REPEATS);
    return true;
}

int main(int argc, char **argv)
{
    struct loader_options options = {.batch = BATCH, .train = true, .augment = true, .seed = 1};
    options.threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1;
    options.image_size = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 32;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;
    struct dataset *dataset = NULL;
    struct loader *loader = NULL;
    struct error err = {0};
    bool ok = argc > 1 ? dataset_open(argv[1], &dataset, &err) : error_set(&err, ERROR_INPUT, "a dataset is wanted");
    ok = ok && loader_create(dataset, &options, &loader, &err) && run(loader, seconds, &err);
    if (!ok) fprintf(stderr, "%s\n", err.text);
    loader_destroy(loader);
    dataset_close(dataset);
    return error_exit_code(&err);
}
