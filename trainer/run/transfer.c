/* The tensors of a run on their way between its devices and a checkpoint. */
#include "transfer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "torch_names.h"

uint64_t transfer_elements(const struct transfer *k, size_t entry)
{
    return tensor_elements(&k->graph->tensors[k->entries[entry].tensor]);
}

/* A plan may have room for more than this run keeps; what is left goes on saying where executors have it. */
static void leave_out_unused(struct transfer *k)
{
    const struct train_options *o = k->run->options;
    size_t kept = 0;
    for (size_t i = 0; i < k->entry_count; i++) {
        const struct state_entry *entry = &k->entries[i];
        bool unused = (entry->kind == STATE_OPTIMIZER && entry->buffer >= optimizer_buffers(o->optimizer)) ||
                      (entry->kind == STATE_AVERAGE && o->average_decay <= 0);
        if (!unused) k->entries[kept++] = *entry;
    }
    k->entry_count = kept;
}

bool transfer_begin(struct transfer *k, struct training *run, uint32_t devices, struct error *err)
{
    const struct plan_variant *variant = &run->plan->variants[run->plan->devices[run->first_device].variant];
    *k = (struct transfer){.run = run, .graph = variant->graph, .devices = devices};
    TRY(state_entries_find(variant, &k->entries, &k->entry_count, err));
    leave_out_unused(k);
    while (k->parameters < k->entry_count && k->entries[k->parameters].kind == STATE_PARAMETER) k->parameters++;
    k->shared = k->parameters;
    while (k->shared < k->entry_count && k->entries[k->shared].kind != STATE_STATISTIC) k->shared++;
    return true;
}

void transfer_finish(struct transfer *k)
{
    mem_free(k->entries);
    mem_free(k->sums);
}

static bool put_on_device(void *context, uint32_t rank, struct error *err)
{
    struct transfer *k = context;
    return executor_state_in(k->run->executors[rank], k->entries[k->entry].index, k->source, err);
}

static bool get_from_device(void *context, uint32_t rank, struct error *err)
{
    struct transfer *k = context;
    return executor_state_out(k->run->executors[rank], k->entries[k->entry].index, k->values, err);
}

bool transfer_put(struct transfer *k, size_t entry, const float *values, struct error *err)
{
    k->entry = entry;
    k->source = values;
    return team_run(k->run->team, put_on_device, k, err);
}

/* ---- Tensors of a checkpoint ---- */

/* A tensor of a checkpoint. */
struct place {
    size_t entry;
    uint32_t device;
    bool mean;  /* over all devices, of a statistic */
    bool state; /* in the second file */
};

static size_t statistics_of(const struct transfer *k) { return k->entry_count - k->shared; }

/* First what the net is: parameters and statistics. Then the optimiser's state, and statistics where devices have their
 * own. */
static struct place place_of(const struct transfer *k, size_t i)
{
    size_t statistics = statistics_of(k);
    uint32_t good = k->run->good_device;
    if (i < k->parameters) return (struct place){i, good, false, false};
    i -= k->parameters;
    if (i < statistics) return (struct place){k->shared + i, 0, k->devices > 1, false};
    i -= statistics;
    if (i < k->shared - k->parameters) return (struct place){k->parameters + i, good, false, true};
    i -= k->shared - k->parameters;
    return (struct place){k->shared + i % statistics, (uint32_t)(i / statistics), false, true};
}

static void name_tensor(const struct transfer *k, const struct place *place, struct checkpoint_tensor *tensor)
{
    const struct state_entry *entry = &k->entries[place->entry];
    char own[TENSOR_NAME], name[TORCH_NAME];
    graph_tensor_name(k->graph, entry->tensor, own);
    torch_name(k->graph, entry->tensor, name);
    const enum optimizer optimizer = k->run->options->optimizer;
    char more[32] = "", device[16] = "";
    if (entry->kind == STATE_OPTIMIZER)
        snprintf(more, sizeof more, ".%s", optimizer_buffer_name(optimizer, entry->buffer));
    if (entry->kind == STATE_AVERAGE) snprintf(more, sizeof more, ".average");
    if (entry->kind == STATE_STATISTIC) snprintf(device, sizeof device, "@%u", place->device);
    snprintf(tensor->name, sizeof tensor->name, "%.140s%s%s", name, more, place->state ? device : "");
    bool momentum = entry->kind == STATE_OPTIMIZER && optimizer == OPTIMIZER_MOMENTUM;
    if (!place->mean)
        snprintf(tensor->old_name, sizeof tensor->old_name, "%.140s%s%s", own, momentum ? ".momentum" : more, device);
}

/* Where as many devices go on each has its own statistics again; else, and for weights alone, all have the mean. */
static bool is_unused(const struct transfer *k, const struct place *place)
{
    if (k->entries[place->entry].kind != STATE_STATISTIC) return place->state && k->weights_alone;
    bool own = k->devices == k->run->plan->device_count && !k->weights_alone;
    return place->mean ? own || k->old : place->state && !own && !k->old;
}

/* Weights and bias of the last fully connected layer. */
static bool is_classifier(const struct transfer *k, const struct place *place)
{
    const struct graph *graph = k->graph;
    uint32_t layer = graph->tensors[k->entries[place->entry].tensor].layer, last = NO_TENSOR;
    for (size_t i = 0; i < graph->forward_end; i++)
        if (graph->ops[i].kind == OP_FC) last = graph->ops[i].layer;
    return layer == last;
}

static void describe_tensor(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    const struct transfer *k = context;
    struct place place = place_of(k, i);
    *tensor = (struct checkpoint_tensor){.state = place.state,
                                         .unused = is_unused(k, &place),
                                         .optional = k->fresh_classifier && is_classifier(k, &place)};
    tensor->rank = torch_shape(k->graph, k->entries[place.entry].tensor, tensor->shape, tensor->kernel);
    name_tensor(k, &place, tensor);
}

bool transfer_is_here(const struct training *run, uint32_t device)
{
    return device - run->first_device < run->device_count;
}

/* From the rank that has the device to rank 0, which writes. */
bool transfer_bring(struct training *run, uint32_t device, void *bytes, uint64_t count, struct error *err)
{
    return ranks_pass(run->ranks, ranks_of_device(run->ranks, device), 0, bytes, count, err);
}

static bool get_entry(struct transfer *k, const struct place *place, float *values, struct error *err)
{
    struct training *run = k->run;
    k->entry = place->entry;
    k->values = values;
    if (transfer_is_here(run, place->device))
        TRY(team_run_one(run->team, place->device - run->first_device, get_from_device, k, err));
    return transfer_bring(run, place->device, values, transfer_elements(k, k->entry) * sizeof *values, err);
}

static bool get_mean(struct transfer *k, struct place place, float *values, struct error *err)
{
    uint64_t count = transfer_elements(k, place.entry);
    memset(k->sums, 0, count * sizeof *k->sums);
    for (; place.device < k->devices; place.device++) {
        TRY(get_entry(k, &place, values, err));
        for (uint64_t i = 0; i < count; i++) k->sums[i] += values[i];
    }
    for (uint64_t i = 0; i < count; i++) values[i] = k->sums[i] / (float)k->devices;
    return true;
}

bool transfer_get(struct transfer *k, size_t i, float *values, struct error *err)
{
    struct place place = place_of(k, i);
    return place.mean ? get_mean(k, place, values, err) : get_entry(k, &place, values, err);
}

static bool get_tensor(void *context, size_t i, float *values, struct error *err)
{
    struct transfer *k = context;
    TRY(transfer_get(k, i, values, err));
    for (uint64_t at = 0; k->must_be_finite && at < transfer_elements(k, k->entry); at++)
        if (!isfinite(values[at])) return error_set(err, ERROR_FAILED, "what was learned is not finite");
    return true;
}

/* Old checkpoints: adds device d's statistics; the last one's turn puts the mean everywhere. */
static bool put_sum(struct transfer *k, size_t entry, uint32_t device, const float *values, struct error *err)
{
    size_t first = 0;
    for (size_t i = k->shared; i < entry; i++) first += transfer_elements(k, i);
    float *sums = k->sums + first;
    uint64_t count = transfer_elements(k, entry);
    for (uint64_t i = 0; i < count; i++) sums[i] += values[i];
    if (device + 1 < k->devices) return true;
    for (uint64_t i = 0; i < count; i++) sums[i] /= (float)k->devices;
    return transfer_put(k, entry, sums, err);
}

/* The average of a parameter begins as the parameter does, where it is averaged. */
static bool begin_average(struct transfer *k, size_t parameter, const float *values, struct error *err)
{
    for (size_t i = k->parameters; i < k->shared && parameter < k->parameters; i++)
        if (k->entries[i].kind == STATE_AVERAGE && k->entries[i].parameter == k->entries[parameter].parameter)
            return transfer_put(k, i, values, err);
    return true;
}

static bool put_tensor(void *context, size_t i, const float *values, struct error *err)
{
    struct transfer *k = context;
    struct place place = place_of(k, i);
    bool own = k->entries[place.entry].kind == STATE_STATISTIC && k->devices == k->run->plan->device_count;
    if (k->old && place.state && k->sums && k->entries[place.entry].kind == STATE_STATISTIC)
        return put_sum(k, place.entry, place.device, values, err);
    if (k->weights_alone) TRY(begin_average(k, place.entry, values, err));
    if (!own || place.mean) return transfer_put(k, place.entry, values, err);
    k->entry = place.entry;
    k->source = values;
    if (!transfer_is_here(k->run, place.device)) return true;
    return team_run_one(k->run->team, place.device - k->run->first_device, put_on_device, k, err);
}

struct checkpoint_tensors transfer_tensors(struct transfer *k)
{
    size_t count = k->entry_count + (k->devices > 1 ? k->devices * statistics_of(k) : 0);
    return (struct checkpoint_tensors){k, count, describe_tensor, get_tensor, put_tensor};
}

size_t transfer_net_tensors(const struct transfer *k) { return k->parameters + statistics_of(k); }

/* Room for sums of statistics: of one after the other as a checkpoint is written, of all as an old one is read. */
bool transfer_make_sums(struct transfer *k, struct error *err)
{
    uint64_t count = 0;
    for (size_t i = k->shared; i < k->entry_count; i++) count += transfer_elements(k, i);
    k->sums = mem_zalloc(MEM_GENERAL, count, sizeof *k->sums);
    return k->sums || error_memory(err, count * sizeof *k->sums, "running statistics");
}
