#include "dataset_features.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "npy.h"
#include "train_private.h"

struct features {
    struct training *run;
    bool train;
    uint64_t images;
    uint32_t columns;
    struct batch batch;
    float *rows; /* of a batch: as the devices give them */
    struct npy_writer array, labels;
    struct files_writer names;
};

/* ---- The files ---- */

bool features_labels_path(const char *output, char path[FEATURES_PATH], struct error *err)
{
    size_t length = strlen(output), end = length > 4 && strcmp(output + length - 4, ".npy") == 0 ? length - 4 : length;
    if (snprintf(path, FEATURES_PATH, "%.*s.labels.npy", (int)end, output) < FEATURES_PATH) return true;
    return error_set(err, ERROR_INPUT, "--output: the path is too long");
}

static bool begin_files(struct features *f, const char *output, struct error *err)
{
    char labels[FEATURES_PATH];
    TRY(features_labels_path(output, labels, err) && npy_begin(&f->array, output, f->images, f->columns, err));
    return !npy_has_beside(&f->array) ||
           (npy_begin_integers(&f->labels, labels, f->images, err) && npy_begin_names(&f->names, output, err));
}

/* All or none: they get their names once all are on disk. */
static bool end_files(struct features *f, bool ok, struct error *err)
{
    bool beside = npy_has_beside(&f->array);
    ok = ok && files_flush(&f->array.file, err);
    if (beside) ok = ok && files_flush(&f->labels.file, err) && files_flush(&f->names, err);
    if (beside) ok = ok && files_commit(&f->labels.file, err) && files_commit(&f->names, err);
    ok = ok && files_commit(&f->array.file, err);
    if (ok) return true;
    files_abandon(&f->array.file);
    files_abandon(&f->labels.file);
    files_abandon(&f->names);
    return false;
}

static bool write_rows(struct features *f, uint64_t first, struct error *err)
{
    char name[DATA_IMAGE_NAME];
    for (uint32_t i = 0; i < f->batch.count; i++) {
        float *row = f->rows + (size_t)i * f->columns;
        for (uint32_t k = 0; f->batch.labels[i] < 0 && k < f->columns; k++) row[k] = NAN;
        npy_add(&f->array, row, f->columns);
        if (!npy_has_beside(&f->array)) continue;
        npy_add_integer(&f->labels, f->batch.labels[i]);
        TRY(dataset_image_name(f->run->dataset, f->train, first + i, name, err));
        npy_add_name(&f->names, name);
    }
    return true;
}

/* ---- The net ---- */

static bool look(void *context, uint32_t rank, struct error *err)
{
    struct features *f = context;
    struct training *run = f->run;
    size_t first = run_evaluated_before(run, rank);
    struct step_input share = run_share(run, &f->batch, first);
    return executor_features(run->executors[rank], &run->step, &share, f->rows + first * f->columns, err);
}

static bool look_at_all(struct features *f, struct loader *loader, uint32_t batch, struct error *err)
{
    for (uint64_t first = 0; first < f->images; first += batch) {
        if (run_is_stopped(f->run)) return error_set(err, ERROR_FAILED, "stopped before its end");
        TRY(loader_next(loader, &f->batch, err));
        TRY(team_run(f->run->team, look, f, err));
        TRY(write_rows(f, first, err));
    }
    return true;
}

static bool write_features(struct features *f, const char *output, struct error *err)
{
    struct training *run = f->run;
    uint32_t batch = run_evaluated_before(run, run->device_count);
    const struct loader_options options = {.batch = batch,
                                           .image_size = run->plan->spec.image_size,
                                           .of_training = f->train,
                                           .as_bytes = run_loads_bytes(run),
                                           .threads = run->options->loader_threads,
                                           .broken = run->options->broken,
                                           .decode_bytes = run_decode_bytes(run->plan)};
    struct loader *loader;
    f->rows = mem_alloc(MEM_INPUT, batch, f->columns * sizeof *f->rows);
    if (!f->rows) return error_memory(err, (uint64_t)batch * f->columns * sizeof *f->rows, "features");
    run_set_normalisation(run);
    TRY(loader_create(run->dataset, &options, &loader, err));
    bool ok = begin_files(f, output, err) && look_at_all(f, loader, batch, err);
    ok = end_files(f, ok, err);
    loader_destroy(loader);
    return ok;
}

bool score_dataset_features(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                            bool train, const char *output, struct error *err)
{
    struct training run = run_for_answers(plan, backend, options);
    const struct dataset_info *info = dataset_info(options->dataset);
    struct features f = {.run = &run,
                         .train = train,
                         .images = train ? info->train_images : info->test_images,
                         .columns = score_feature_count(plan)};
    bool ok =
        run_take_devices(&run, err) && run_take_weights(&run, options->weights, err) && write_features(&f, output, err);
    mem_free(f.rows);
    return run_end(&run, ok, err);
}
