/* From the words of `fathom train` to a plan, and to what runs it. */
#include "train_command.h"
#include "train_learning.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "advise.h"
#include "backends.h"
#include "make.h"
#include "mem.h"
#include "plan_engines.h"
#include "plan_file.h"
#include "plan_words.h"
#include "printable.h"
#include "replan.h"

static const struct host_gpus *look_for_gpus(struct train_command *c)
{
    if (!c->looked) host_gpus_find(&c->gpus);
    c->looked = true;
    return &c->gpus;
}

static bool choose_backend(struct train_command *c, const struct plan *plan, struct error *err)
{
    enum device_kind kind = plan->devices[0].spec.kind;
    char names[BACKENDS_NAMES];
    c->runs_on = c->backend ? backends_find(c->backend) : backends_for(kind);
    if (!c->backend && !c->runs_on)
        return error_set(
            err, ERROR_INPUT,
            "the plan is for GPUs (%s) and this build has no CUDA; --backend cpu runs it on virtual devices "
            "of this host",
            plan->devices[0].spec.name);
    if (!c->runs_on)
        return error_set(err, ERROR_INPUT, "--backend: '%s' is not there; there are %s", PRINTABLE(c->backend),
                         backends_names(names));
    backend_check(c->runs_on);
    if (backends_on_host(c->runs_on->name)) return true;
    if (kind == DEVICE_CPU)
        return error_set(err, ERROR_INPUT, "--backend %s: found for a plan for the cpu; plan with --gpus auto",
                         c->runs_on->name);
    const struct host_gpus *found = look_for_gpus(c);
    /* A launcher may show each process its own GPUs alone. */
    bool own = c->ranks && found->count == c->part.count;
    c->options.first_ordinal = own ? 0 : ranks_devices_before(c->ranks);
    TRY(host_gpus_run(found, plan, c->part.first, c->part.count, c->options.first_ordinal, err));
    for (size_t i = 0; i < c->part.count; i++) c->near[i] = found->gpus[c->options.first_ordinal + i].bus_id;
    c->options.near = c->near;
    return true;
}

/* A net for the classes that the images have, when nobody says how many or of which dataset. */
static bool choose_classes(struct train_command *c, struct error *err)
{
    uint32_t classes;
    if (c->flags.classes || c->flags.dataset) return true;
    if (!dataset_count_classes(c->options.data_path, &classes, err)) return error_prefix(err, "--data");
    c->flags.classes = classes;
    return true;
}

/* Where a model is trained when nobody says: on a GPU, where there is one that serves. */
static bool choose_machine(struct train_command *c, const char **gpus, struct error *err)
{
    char has[DEVICE_CAPABILITY];
    bool asked = c->backend && backends_find(c->backend) && !backends_on_host(c->backend);
    *gpus = "cpu";
    if (c->flags.gpus || (c->backend && !asked) || (!asked && !host_gpus_possible())) return true;
    const struct host_gpus *found = look_for_gpus(c);
    if (found->count == 0 && asked)
        return error_set(err, ERROR_INPUT, "--backend %s: %s", c->backend, found->fault.text);
    if (found->count == 0)
        fprintf(stderr, "note: no GPU is used: %s\n", PRINTABLE(found->fault.text));
    else if (found->gpus[0].capability < DEVICE_LEAST_CAPABILITY && !asked)
        fprintf(stderr, "note: %s is not used: it has compute capability %s, and CUDA 13 serves 7.5 and later\n",
                PRINTABLE(found->gpus[0].name), device_capability_words(found->gpus[0].capability, has));
    else
        *gpus = "auto";
    return true;
}

/* One change that helps is named; `fathom plan` tells all. */
static bool say_unfit(const char *name, const struct plan_request *request, const struct plan *plan, struct error *err)
{
    struct advice advice[ADVICE_KINDS];
    struct error unsaid = {0};
    size_t count = 0;
    char devices[160], sentence[256] = "";
    if (advise_unfit(request, plan, advice, &count, &unsaid) && count > 0)
        advise_sentence(&advice[0], sentence, sizeof sentence);
    return error_set(err, ERROR_UNFIT, "%s with batch %u does not fit %s; %s%s%s`fathom plan` says what%s would", name,
                     request->batch, words_devices(plan, devices, sizeof devices), *sentence ? "what would: " : "",
                     sentence, *sentence ? "; " : "", *sentence ? " else" : "");
}

/* Without cuDNN's answers where they could not be had, which is said. */
static struct plan *plan_with_engines(struct train_command *c, struct machine *machine, struct plan_request *request,
                                      struct error *err)
{
    struct plan_engines engines = {.command = "train"};
    struct plan *plan = NULL;
    struct error fault = {0};
    if (plan_engines_begin(c->engines, machine, request, &engines, err)) {
        engines.rules.tf32 = c->options.tf32;
        engines.rules.deterministic = c->options.deterministic;
        plan = plan_make(request, err);
        if (!plan_engines_held(&engines, request, &fault)) {
            plan_destroy(plan);
            plan = NULL;
            *err = fault;
            if (fault.kind == ERROR_NONE) plan = plan_make(request, err);
        }
    }
    if (plan && !plan_engines_save(&engines, err)) {
        plan_destroy(plan);
        plan = NULL;
    }
    if (plan && !plan->fits) {
        say_unfit(c->word, request, plan, err);
        plan_destroy(plan);
        plan = NULL;
    }
    plan_engines_end(&engines);
    return plan;
}

bool train_command_data(struct train_command *c, uint32_t image_size, struct error *err)
{
    if (c->options.dataset) return true;
    TRY(dataset_open(c->options.data_path, &c->options.dataset, err) || error_prefix(err, "--data"));
    return train_command_measure(c, image_size, false, err);
}

bool train_command_measure(struct train_command *c, uint32_t image_size, bool tests_alone, struct error *err)
{
    const struct dataset_views views = {image_size, c->options.shorter_side, c->options.area_crops, tests_alone};
    return dataset_measure(c->options.dataset, &views, NULL, NULL, &c->decoding, err);
}

/* A plan for the cpu has as much memory for decoding as these pictures take. */
static bool plan_decoding(struct train_command *c, struct plan_request *request, struct error *err)
{
    if (request->machine->devices[0].kind != DEVICE_CPU || request->decode_bytes > 0) return true;
    TRY(train_command_data(c, request->spec.image_size, err));
    uint32_t threads = loader_threads(c->options.dataset, c->options.loader_threads);
    request->decode_bytes = dataset_decoding_bytes(&c->decoding, threads);
    return true;
}

static struct plan *make_plan(struct train_command *c, const char *name, struct error *err)
{
    struct plan_request request = {0};
    struct machine machine = {0};
    const struct backend *named = c->backend ? backends_find(c->backend) : NULL;
    bool everywhere = named && backends_on_host(named->name);
    struct plan *plan = NULL;
    const char *gpus;
    if (choose_classes(c, err) && choose_machine(c, &gpus, err)) {
        const struct plan_flags_use use = {.gpus = gpus,
                                           .found = c->looked ? &c->gpus : NULL,
                                           .host = everywhere ? named : backends_for(DEVICE_CPU),
                                           .everywhere = everywhere,
                                           .now = true};
        if (plan_flags_request(&c->flags, name, &use, &machine, &request, err) &&
            train_learning_take(c, &request.spec, err) && plan_decoding(c, &request, err)) {
            request.update = recipe_update_needs(&c->recipe);
            if (c->flags.float_images) request.lowering &= ~(uint32_t)LOWER_INPUT;
            plan = plan_with_engines(c, &machine, &request, err);
        }
    }
    machine_finish(&machine);
    mem_trim(); /* what planning took is not the run's */
    return plan;
}

struct plan *train_command_replan(struct train_command *c, const struct plan *plan, const bool *gone, struct error *err)
{
    struct machine machine = {0};
    struct plan_request request;
    struct plan *made = NULL;
    if (plan_request_without(plan, gone, &machine, &request, err)) {
        if (backends_on_host(c->runs_on->name)) plan_flags_ask(c->runs_on, &request);
        made = plan_with_engines(c, &machine, &request, err);
    }
    machine_finish(&machine);
    mem_trim();
    return made;
}

bool train_command_names_file(const char *word)
{
    struct stat info;
    return strpbrk(word, "/.") || (stat(word, &info) == 0 && S_ISREG(info.st_mode));
}

struct plan *train_command_plan(struct train_command *c, struct error *err)
{
    const char *word = c->word;
    if (!train_command_names_file(word)) return make_plan(c, word, err);
    if (plan_flags_given(&c->flags)) {
        error_set(err, ERROR_INPUT,
                  "%s: is a plan; options that say what to plan (--batch, --gpus ...) go with a model's name", word);
        return NULL;
    }
    if (c->engines && strcmp(c->engines, "auto") == 0) {
        error_set(err, ERROR_INPUT,
                  "--engines auto: %s is a plan, whose workspaces are planned; the file of engines that `fathom plan "
                  "--engines FILE` wrote goes with it, auto with a model's name",
                  word);
        return NULL;
    }
    return plan_read(word, err);
}

bool train_command_carried(struct train_command *c, struct error *err)
{
    if (!c->engines || strcmp(c->engines, "auto") == 0) return true;
    if (!backends_on_host(c->runs_on->name)) {
        TRY(engine_book_read(&c->carried, c->engines, err) || error_prefix(err, "--engines"));
        c->options.carried = &c->carried;
    } else if (train_command_names_file(c->word)) {
        return error_set(err, ERROR_INPUT, "--engines: found for the %s backend, which has no use for plans of cuDNN",
                         c->runs_on->name);
    }
    return true;
}

/* What is said of the device's arithmetic and launches goes with the backend and with the plan. */
static bool check_device_flags(const struct train_command *c, const struct plan *plan, struct error *err)
{
    const struct train_options *o = &c->options;
    const char *name = c->runs_on->name;
    TRY(!o->tf32 || plan_flags_check_tf32(plan->dtype, backends_on_host(name) ? name : NULL, err));
    if (o->tune && !c->runs_on->foresee)
        return error_set(err, ERROR_INPUT,
                         "--tune: found for the %s backend, which has nothing to choose from; it goes with GPUs",
                         c->runs_on->name);
    if (o->no_recordings && !c->runs_on->record_begin)
        return error_set(err, ERROR_INPUT,
                         "--no-graph: found for the %s backend, which makes no graphs; it goes with GPUs",
                         c->runs_on->name);
    return true;
}

bool train_command_backend(struct train_command *c, const struct plan *plan, struct error *err)
{
    return choose_backend(c, plan, err) && check_device_flags(c, plan, err);
}
