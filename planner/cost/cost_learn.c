/* From the ops of a run to a table of times. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost_kernels.h"
#include "cost_table_private.h"
#include "hash.h"
#include "mem.h"

/* Finds ops of the graph by what a trace says of them. */
struct index_row {
    uint64_t hash;
    uint32_t op;
};

static uint64_t hash_sample(const char *layer, const char *kind, uint64_t flops, uint64_t bytes_moved)
{
    uint64_t counts[2] = {flops, bytes_moved};
    uint64_t hash = hash_bytes(layer, strlen(layer), 0);
    hash = hash_bytes(kind, strlen(kind), hash);
    return hash_bytes(counts, sizeof counts, hash);
}

static int compare_rows(const void *left, const void *right)
{
    const struct index_row *a = left, *b = right;
    return (a->hash > b->hash) - (a->hash < b->hash);
}

static struct index_row *index_graph(const struct graph *graph, struct error *err)
{
    struct index_row *rows = mem_alloc(MEM_PLAN, graph->op_count, sizeof *rows);
    if (!rows) {
        error_memory(err, graph->op_count * sizeof *rows, "the ops of a trace");
        return NULL;
    }
    for (uint32_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        const char *layer = graph->layers[op->layer].path;
        rows[i] = (struct index_row){hash_sample(layer, op_kind_name(op->kind), op->flops, op->bytes_moved), i};
    }
    qsort(rows, graph->op_count, sizeof *rows, compare_rows);
    return rows;
}

/* Recomputed ops are timed in their first run: normalisations find their statistics the second time. */
static bool is_wanted(const struct cost_sample *sample)
{
    static const char *const passes[] = {"forward", "backward", "update"};
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (strcmp(sample->pass, passes[i]) == 0) return sample->seconds > 0;
    return false;
}

static bool add_entry(struct cost_table *table, const struct entry *entry, struct error *err)
{
    for (size_t i = 0; i < table->count; i++) {
        struct entry *there = &table->entries[i];
        if (there->shape != entry->shape || there->batch != entry->batch || there->engine != entry->engine) continue;
        there->seconds += entry->seconds;
        there->count++;
        return true;
    }
    void *entries = table->entries;
    if (!mem_grow(MEM_PLAN, &entries, &table->capacity, table->count + 1, sizeof *table->entries))
        return error_memory(err, (table->count + 1) * sizeof *table->entries, "a table of measured times");
    table->entries = entries;
    table->entries[table->count++] = *entry;
    return true;
}

/* Ops over a bucket of parameters are no model's: how many buckets there are, how large, with what kept of each
 * parameter, is the plan's choice, for its devices. What they do says enough. */
static bool is_of_bucket(const struct cost_sample *s, struct entry *entry)
{
    static const enum op_kind kinds[] = {OP_UPDATE, OP_GRADIENT_NORM, OP_GRADIENT_CHECK};
    const uint64_t counts[] = {s->flops, s->bytes_moved};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(s->kind, op_kind_name(kinds[i])) != 0) continue;
        *entry = (struct entry){.kind = kinds[i],
                                .shape = hash_bytes(counts, sizeof counts, (uint64_t)kinds[i]),
                                .batch = 1,
                                .work = {.flops = s->flops, .bytes_moved = s->bytes_moved},
                                .count = 1};
        return true;
    }
    return false;
}

static bool add_sample(struct cost_table *table, const struct cost_sample *s, struct entry entry, struct error *err)
{
    entry.seconds = s->seconds;
    entry.engine = s->engine ? hash_bytes(s->engine, strlen(s->engine), 1) : 0;
    return add_entry(table, &entry, err);
}

/* Returns how much of the run's time was found in the graph, 0..1, that over buckets left out; below 0 when memory is
 * short. */
static double learn_ops(struct cost_table *table, const struct cost_run *run, const struct graph *graph,
                        struct error *err)
{
    double all = 0, found = 0;
    struct index_row *rows = index_graph(graph, err);
    bool ok = rows != NULL;
    for (size_t i = 0; ok && i < run->count; i++) {
        const struct cost_sample *s = &run->samples[i];
        if (!is_wanted(s)) continue;
        const struct index_row key = {hash_sample(s->layer, s->kind, s->flops, s->bytes_moved), 0};
        const struct index_row *row = bsearch(&key, rows, graph->op_count, sizeof *rows, compare_rows);
        struct entry entry;
        bool of_bucket = is_of_bucket(s, &entry);
        if (row) entry = cost_describe(graph, &graph->ops[row->op]);
        if (!of_bucket) all += s->seconds;
        if (!of_bucket && row) found += s->seconds;
        if (of_bucket || row) ok = add_sample(table, s, entry, err);
    }
    mem_free(rows);
    return !ok ? -1 : all > 0 ? found / all : 0;
}

/* Of a damaged trace too, graphs stay of a size that can be planned. */
#define MOST_IMAGES (1u << 20)

/* The images that an op of the run had at a time: its first convolution's FLOPs over those of one image. 0 = it is not
 * the model's. */
static uint32_t find_batch(const struct cost_run *run, const struct graph *one)
{
    const struct op *conv = NULL;
    for (uint32_t i = 0; i < one->forward_end && !conv; i++)
        if (one->ops[i].kind == OP_CONV) conv = &one->ops[i];
    for (size_t i = 0; conv && i < run->count; i++) {
        const struct cost_sample *s = &run->samples[i];
        if (strcmp(s->kind, op_kind_name(OP_CONV)) != 0 || strcmp(s->layer, one->layers[conv->layer].path) != 0)
            continue;
        uint64_t images = conv->flops ? s->flops / conv->flops : 0;
        bool whole = images > 0 && s->flops == images * conv->flops;
        return whole && images <= run->images && images <= MOST_IMAGES ? (uint32_t)images : 0;
    }
    return 0;
}

static bool check_timed(const struct cost_run *run, struct error *err)
{
    for (size_t i = 0; i < run->count; i++)
        if (is_wanted(&run->samples[i])) return true;
    return error_set(err, ERROR_INPUT, "%s: no op of %s was timed; a trace with timed steps is wanted (--time-every 1)",
                     run->name, run->model);
}

/* Whether the form that is planned has images or classes of its own. */
static bool is_own(const struct model_spec *spec)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec usual;
    struct error none = {0};
    options.dataset = (int)spec->dataset;
    return model_parse(spec->name, &options, &usual, &none) &&
           (usual.classes != spec->classes || usual.image_size != spec->image_size ||
            usual.image_width != spec->image_width);
}

static bool refuse_run(const struct cost_run *run, const struct model_spec *spec, const char *why, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: %s %s in any form that fathom builds; a trace of %s is wanted", run->name,
                     why, run->model,
                     is_own(spec) ? "the images and classes that are planned, or of its usual ones,"
                                  : "its usual images and classes");
}

/* Time beside the ops, of one op: of those once per micro-batch and of the rest. */
static double find_beside(const struct cost_run *run, uint32_t batch)
{
    double inside = 0, ops = 0, parts = batch ? (double)run->images / batch : 1;
    for (size_t i = 0; i < run->count; i++) {
        const char *pass = run->samples[i].pass;
        double times = strcmp(pass, "update") == 0 || strcmp(pass, "comm") == 0 ? 1 : parts;
        inside += times * run->samples[i].seconds;
        ops += times;
    }
    return run->step_seconds > inside && ops > 0 ? (run->step_seconds - inside) / ops : 0;
}

/* ---- What a trace does not say ---- */

/* Of which graph a run's ops are: the model's form, the images of an op, the type of activations, what was fused. */
struct guess {
    struct model_spec spec;
    uint32_t batch; /* 0 = the model's convolutions are not the run's */
    uint32_t lowering;
    enum dtype dtype;
};

static struct graph *build(const struct guess *guess, uint32_t batch, enum dtype dtype, struct error *err)
{
    const struct graph_options options = {
        .batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = guess->lowering};
    return graph_build(&guess->spec, &options, err);
}

/* As learn_ops, of this graph and no other. */
static double learn_guess(struct cost_table *table, const struct cost_run *run, const struct guess *guess,
                          struct error *err)
{
    struct graph *graph = build(guess, guess->batch, guess->dtype, err);
    if (!graph) return -1;
    table->count = 0;
    double found = learn_ops(table, run, graph, err);
    graph_destroy(graph);
    return found;
}

/* The bytes moved tell 32 bits from 16, and bf16 from f16, which has a loss scale. Like those below returns how much of
 * the run's time the graph has then, below 0 when memory is short. */
static double guess_dtype(struct cost_table *table, const struct cost_run *run, struct guess *guess, struct error *err)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    double most = 0;
    enum dtype best = DTYPE_F32;
    struct graph *graph = build(guess, 1, DTYPE_F32, err);
    if (!graph) return -1;
    guess->batch = find_batch(run, graph);
    graph_destroy(graph);
    for (size_t i = 0; i < 3 && guess->batch > 0 && !(i == 1 && most >= 0.5); i++) {
        guess->dtype = dtypes[i];
        double found = learn_guess(table, run, guess, err);
        if (found < 0) return found;
        if (found > most) best = dtypes[i];
        if (found > most) most = found;
    }
    guess->dtype = best;
    return most;
}

/* What was fused: nothing, what CPUs do, all, what CPUs did, what the plans of some devices leave out, or what GPUs do.
 * Whether weights were copied shows in 16-bit runs alone. */
#define GPUS  (LOWER_BN | LOWER_BN_ADD | LOWER_INPUT | LOWER_WEIGHTS)
#define READS (GPUS | LOWER_SUMS | LOWER_NORMALIZE)
#define HALF  (LOWER_NORMALIZE_WEIGHTS | LOWER_HALF_GRADIENTS)
static const uint32_t lowerings[] = {0,
                                     LOWER_EXACT & ~LOWER_GRADIENT,
                                     LOWER_EXACT,
                                     LOWER_EXACT & ~(LOWER_GRADIENT | LOWER_GRADIENT_ADD | LOWER_GRADIENT_KEEP),
                                     LOWER_EXACT & ~LOWER_ADD,
                                     LOWER_EXACT & ~(LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT),
                                     GPUS,
                                     READS | LOWER_ADD,
                                     READS | HALF | LOWER_GRADIENT_SUMS,
                                     READS | HALF | LOWER_GRADIENT_SUMS | LOWER_ADD,
                                     (LOWER_BN_PARTS & ~(LOWER_BN_ADD | LOWER_GRADIENT_KEEP)) | LOWER_ADD};
#define LEARNT_LOWERINGS (sizeof lowerings / sizeof lowerings[0])
#define WELL_FOUND       0.99

/* The lowering in whose graph most of the run's time is found, or the first with nearly all. */
static double guess_lowering(struct cost_table *table, const struct cost_run *run, struct guess *guess,
                             struct error *err)
{
    double most = -1;
    struct guess best = *guess, other = *guess;
    for (size_t i = 0; i < LEARNT_LOWERINGS && most < WELL_FOUND; i++) {
        other.lowering = lowerings[i];
        double found = guess_dtype(table, run, &other, err);
        if (found < 0) return found;
        if (found > most) best = other;
        if (found > most) most = found;
    }
    *guess = best;
    return most;
}

/* Takes this form where the graph of it has more of the run: at the same lowering, or at any. */
static bool try_form(struct cost_table *table, const struct cost_run *run, const struct model_options *form,
                     bool any_lowering, struct guess *best, double *most, struct error *err)
{
    struct guess other = *best;
    struct error no_such = {0};
    if (!model_parse(best->spec.name, form, &other.spec, &no_such)) return true;
    if (strcmp(other.spec.name, best->spec.name) != 0) return true; /* without shortcuts it is another model */
    double found = any_lowering ? guess_lowering(table, run, &other, err) : learn_guess(table, run, &other, err);
    if (found > *most) *best = other;
    if (found > *most) *most = found;
    return found >= 0;
}

static struct model_options options_of(const struct model_spec *spec)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.dataset = (int)spec->dataset;
    options.unit = (int)spec->unit;
    options.shortcut = (int)spec->shortcut;
    if (spec->bottleneck) options.stride_in = (int)spec->stride_in;
    options.classes = spec->classes;
    options.image_size = spec->image_size;
    options.image_width = spec->image_width;
    return options;
}

/* The form, from the one that is given: the unit, which decides what is fused, then the shortcut, then where the stride
 * is, each as most of the run is found. Ops of another form would else be taken for those at their place, or be lost.
 */
static double guess_form(struct cost_table *table, const struct cost_run *run, struct guess *guess, struct error *err)
{
    double most = guess_lowering(table, run, guess, err);
    if (most < 0 || most >= WELL_FOUND || guess->batch == 0 || guess->spec.family != FAMILY_RESNET) return most;
    const int kinds[] = {UNIT_KINDS, SHORTCUT_KINDS, STRIDE_PLACES};
    for (size_t part = 0; part < sizeof kinds / sizeof kinds[0]; part++) {
        struct model_options form = options_of(&guess->spec);
        int *choice = part == 0 ? &form.unit : part == 1 ? &form.shortcut : &form.stride_in;
        for (*choice = 0; *choice < kinds[part]; ++*choice)
            if (!try_form(table, run, &form, part == 0, guess, &most, err)) return -1;
    }
    return guess_lowering(table, run, guess, err);
}

static bool learn_run(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                      struct error *err)
{
    struct guess guess = {.spec = *spec};
    double found = guess_form(table, run, &guess, err);
    if (found < 0) return false;
    if (guess.batch == 0) return refuse_run(run, spec, "its convolutions are not those of", err);
    if (found < 0.5) return refuse_run(run, spec, "most of its ops are not those of", err);
    if (learn_guess(table, run, &guess, err) < 0) return false;
    table->beside_seconds = run->has_kernels ? 0 : find_beside(run, guess.batch);
    return true;
}

/* As learn_run; what a step takes once stands apart where kernels tell it. */
static bool learn_kernels(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                          struct error *err)
{
    struct cost_kernels kernels = {0};
    struct cost_run divided = *run;
    if (!run->has_kernels) return learn_run(table, run, spec, err);
    TRY(cost_kernels_divide(run, &kernels, err));
    divided.samples = kernels.samples;
    bool ok = learn_run(table, &divided, spec, err);
    table->step_seconds = kernels.step_seconds;
    cost_kernels_finish(&kernels);
    return ok;
}

static bool run_spec(const struct cost_run *run, const struct model_spec *like, struct model_spec *spec,
                     struct error *err)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    enum dataset_kind dataset;
    if (!dataset_kind_parse(run->dataset, &dataset, err)) return error_prefix(err, "%s: its dataset", run->name);
    if (like && strcmp(like->name, run->model) == 0 && like->dataset == dataset) {
        *spec = *like;
        return true;
    }
    options.dataset = (int)dataset;
    return model_parse(run->model, &options, spec, err) || error_prefix(err, "%s", run->name);
}

static bool check_device(const struct cost_table *table, const struct cost_run *run, struct error *err)
{
    if (table->runs == 0) return true;
    bool same = table->on_cpu == run->on_cpu && (run->on_cpu || cost_same_name(table->device, run->device)) &&
                (!run->on_cpu || table->devices == run->devices);
    return same || error_set(err, ERROR_INPUT,
                             "%s: measured on %" PRIu32 " x %s, but %s on %" PRIu32
                             " x %s; runs on one sort of device are wanted",
                             run->name, run->devices, run->device, table->name, table->devices, table->device);
}

/* An all-reduce reads and writes what goes between devices: bytes_moved counts it twice. */
static void learn_link(struct cost_table *table, const struct cost_run *run)
{
    double ranks = run->devices;
    for (size_t i = 0; i < run->count; i++) {
        const struct cost_sample *s = &run->samples[i];
        if (strcmp(s->kind, op_kind_name(OP_ALL_REDUCE)) != 0 || s->seconds <= 0 || ranks < 2) continue;
        table->link_bytes += 2 * (ranks - 1) / ranks * (double)s->bytes_moved / 2;
        table->link_seconds += s->seconds;
    }
}

bool cost_table_learn(struct cost_table *table, const struct cost_run *run, const struct model_spec *like,
                      struct error *err)
{
    struct model_spec spec;
    struct cost_table fresh = {0};
    TRY(check_device(table, run, err));
    TRY(check_timed(run, err));
    TRY(run_spec(run, like, &spec, err));
    size_t before = table->count;
    bool ok = learn_kernels(&fresh, run, &spec, err);
    void *entries = table->entries;
    if (ok && !mem_grow(MEM_PLAN, &entries, &table->capacity, before + fresh.count, sizeof *table->entries))
        ok = error_memory(err, (before + fresh.count) * sizeof *table->entries, "a table of measured times");
    if (ok) {
        table->entries = entries;
        for (size_t i = 0; i < fresh.count; i++) table->entries[table->count++] = fresh.entries[i];
        size_t used = strlen(table->name);
        snprintf(table->name + used, sizeof table->name - used, "%s%s", used ? ", " : "", run->name);
        snprintf(table->device, sizeof table->device, "%s", run->device);
        table->on_cpu = run->on_cpu;
        learn_link(table, run);
        table->devices = run->devices;
        table->beside_seconds += (fresh.beside_seconds - table->beside_seconds) / (double)++table->runs;
        if (run->has_kernels)
            table->step_seconds += (fresh.step_seconds - table->step_seconds) / (double)++table->kernel_runs;
    }
    mem_free(fresh.entries);
    return ok;
}
