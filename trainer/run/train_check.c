/* What is asked of a plan, a dataset and a command before a run begins. */
#include "train_private.h"
#include "units.h"
#include "verify.h"

bool train_check_dataset(const struct plan *plan, const struct train_options *o, const struct dataset *dataset,
                         struct error *err)
{
    const struct dataset_info *info = dataset_info(dataset);
    const struct model_spec *spec = &plan->spec;
    if (info->classes != spec->classes)
        return error_set(err, ERROR_INPUT, "--data: %s has %u classes; %s in this plan has %u", o->data_path,
                         info->classes, spec->name, spec->classes);
    if (o->schedule.kind == SCHEDULE_PLATEAU && info->test_images == 0)
        return error_set(err, ERROR_INPUT,
                         "--data: %s has no test images, whose error says when the rate falls (--schedule plateau, as "
                         "in the paper of ImageNet's nets); --schedule cosine does without",
                         o->data_path);
    if (spec->image_width)
        return error_set(err, ERROR_INPUT, "the plan is for images of %u x %u; a run has square ones",
                         spec->image_width, spec->image_size);
    if (info->height && (info->height != spec->image_size || info->width != spec->image_size))
        return error_set(err, ERROR_INPUT, "--data: %s has images of %ux%u; the plan is for %ux%u", o->data_path,
                         info->width, info->height, spec->image_size, spec->image_size);
    return true;
}

bool train_check_decoding(const struct plan *plan, const struct train_options *options,
                          const struct dataset_decoding *decoding, const struct dataset *dataset, struct error *err)
{
    uint32_t threads = loader_threads(dataset, options->loader_threads);
    uint64_t most = dataset_decoding_room(run_decode_bytes(plan), threads, plan->spec.image_size);
    char needed[UNITS_TEXT], given[UNITS_TEXT], wanted[UNITS_TEXT];
    if (decoding->largest_bytes <= most) return true;
    return error_set(err, ERROR_INPUT,
                     "--data: %s takes %s to decode; the plan leaves %s for it: plan again with --decode-memory %s",
                     decoding->largest, units_format_bytes(decoding->largest_bytes, needed),
                     units_format_bytes(most, given),
                     units_format_bytes(dataset_decoding_bytes(decoding, threads), wanted));
}

bool run_open_dataset(struct training *run, struct error *err)
{
    const struct train_options *o = run->options;
    run->dataset = o->dataset;
    if (!run->dataset) TRY(dataset_open(o->data_path, &run->dataset, err));
    return train_check_dataset(run->plan, o, run->dataset, err);
}

static bool check_plan(const struct plan *plan, const struct backend *backend, struct error *err)
{
    TRY(plan_verify(plan, NULL, err));
    if (!plan->fits) return error_set(err, ERROR_UNFIT, "the plan says that it does not fit its devices");
    uint32_t dtypes = backend->activation_dtypes ? backend->activation_dtypes() : 1u << DTYPE_F32;
    if (dtypes & (1u << plan->dtype)) return true;
    return error_set(err, ERROR_INPUT,
                     "the plan keeps activations in %s, which the %s backend does not know: plan again with "
                     "--dtype f32",
                     dtype_name(plan->dtype), backend->name);
}

bool train_check_options(const struct train_options *o, struct error *err)
{
    if (o->iterations == 0) return error_set(err, ERROR_INPUT, "--iterations: is 0; at least 1 is wanted");
    if (o->schedule.kind != SCHEDULE_PLATEAU || !o->skip_evaluation) return true;
    return error_set(err, ERROR_INPUT,
                     "--no-evaluate: the rate falls when the test error does no longer (--schedule plateau, as in the "
                     "paper of ImageNet's nets), so evaluations or another --schedule are wanted");
}

bool train_try_outputs(const struct train_options *o, struct error *err)
{
    if (ranks_place(o->ranks).rank > 0) return true; /* rank 0 writes */
    if (o->save_folder && !o->resume_folder && checkpoint_exists(o->save_folder))
        return error_set(
            err, ERROR_INPUT,
            "--save: %s has checkpoints of another run: go on from them with --resume %s, or name another folder",
            o->save_folder, o->save_folder);
    const char *flag = o->save_flag ? o->save_flag : "--save";
    if (o->save_folder && !checkpoint_try(o->save_folder, err)) return error_prefix(err, "%s", flag);
    return log_try(o->log_path, err);
}

bool run_check_room(const struct training *run, struct error *err)
{
    TRY(check_plan(run->plan, run->backend, err));
    struct train_part part = train_part(run->plan, run->ranks);
    return train_check_memory(run->plan, run->backend, &part, err);
}
