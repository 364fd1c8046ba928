#include "cost_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "mem.h"

/* Ops of one kind on the same shapes, the batch aside, at one batch. */
struct entry {
    enum op_kind kind;
    uint64_t shape; /* hash */
    uint32_t batch;
    bool grows; /* with the batch: an operand has images */
    struct cost_work work;
    double seconds; /* sum over `count` ops */
    size_t count;
};

struct cost_table {
    struct entry *entries;
    size_t count, capacity;
    size_t runs;
    double beside_seconds; /* of an op: the mean over the runs */
    double link_bytes, link_seconds;
    char name[256], device[DEVICE_NAME];
    bool on_cpu;
    uint32_t devices;
};

struct cost_table *cost_table_create(struct error *err)
{
    struct cost_table *table = mem_zalloc(MEM_PLAN, 1, sizeof *table);
    if (!table) error_memory(err, sizeof *table, "a table of measured times");
    return table;
}

void cost_table_destroy(struct cost_table *table)
{
    if (!table) return;
    mem_free(table->entries);
    mem_free(table);
}

const char *cost_table_name(const struct cost_table *table) { return table->name; }

const char *cost_table_device(const struct cost_table *table, uint32_t *devices)
{
    *devices = table->devices;
    return table->on_cpu ? "cpu" : table->device;
}

/* Names are compared as the catalogue does. */
static bool same_name(const char *a, const char *b)
{
    const struct device_spec *known = catalogue_find(a);
    return strcmp(a, b) == 0 || (known && known == catalogue_find(b));
}

bool cost_table_applies(const struct cost_table *table, const struct device_spec *device)
{
    if (table->on_cpu || device->kind == DEVICE_CPU) return table->on_cpu && device->kind == DEVICE_CPU;
    return same_name(table->device, device->name);
}

/* ---- Shapes ---- */

static bool has_images(const struct tensor *t)
{
    return t->class == CLASS_ACTIVATION || t->class == CLASS_INPUT || t->class == CLASS_COMM;
}

/* Dims without the images, and the size of an element: 16-bit types cost the same. */
static uint64_t hash_tensor(const struct tensor *t, uint64_t seed)
{
    uint32_t words[6] = {has_images(t) ? 0 : t->dims[0],     t->dims[1], t->dims[2], t->dims[3],
                         (uint32_t)dtype_bytes(t->dtype, 8), t->role};
    return hash_bytes(words, sizeof words, seed);
}

/* What of an op's attributes its time depends on. */
static uint64_t hash_attributes(const struct op *op, uint64_t seed)
{
    uint32_t words[4] = {op->kind, 0, 0, 0};
    switch (op->kind) {
    case OP_CONV:
    case OP_CONV_BWD_DATA:
    case OP_CONV_BWD_WEIGHTS:
        words[1] = op->attr.conv.kernel, words[2] = op->attr.conv.stride, words[3] = op->attr.conv.padding;
        words[3] |= op->attr.conv.fused << 16; /* what else it does; padding is less than a window */
        break;
    case OP_MAXPOOL:
    case OP_MAXPOOL_BWD:
    case OP_AVGPOOL:
    case OP_AVGPOOL_BWD:
        words[1] = op->attr.pool.kernel, words[2] = op->attr.pool.stride, words[3] = op->attr.pool.padding;
        break;
    case OP_BN:
    case OP_BN_BWD:
    case OP_BN_FINALIZE:
    case OP_BN_APPLY:
    case OP_BN_BWD_SUMS:
    case OP_BN_BWD_FINALIZE:
    case OP_BN_BWD_APPLY: words[1] = op->attr.bn.relu, words[2] = op->attr.bn.sync; break;
    case OP_SHORTCUT_PAD:
    case OP_SHORTCUT_PAD_BWD: words[1] = op->attr.shortcut.stride; break;
    default: break;
    }
    return hash_bytes(words, sizeof words, seed);
}

static struct entry describe(const struct graph *graph, const struct op *op)
{
    struct entry entry = {.kind = op->kind, .batch = graph->options.batch, .work = cost_work_of(graph, op), .count = 1};
    entry.shape = hash_attributes(op, 0);
    for (uint32_t i = 0; i < op->inputs + op->outputs; i++) {
        const struct tensor *t = &graph->tensors[i < op->inputs ? op->in[i] : op->out[i - op->inputs]];
        if (t->role == ROLE_LOSS_SCALE) continue; /* a scalar more in f16, at no cost */
        entry.shape = hash_tensor(t, entry.shape);
        entry.grows = entry.grows || has_images(t);
    }
    return entry;
}

/* ---- Learning ---- */

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
        if (there->shape != entry->shape || there->batch != entry->batch) continue;
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

/* Returns how much of the run's time was found in the graph, 0..1; below 0 when memory is short. */
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
        all += s->seconds;
        if (!row) continue;
        struct entry entry = describe(graph, &graph->ops[row->op]);
        entry.seconds = s->seconds;
        found += s->seconds;
        ok = add_entry(table, &entry, err);
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

static struct graph *build(const struct model_spec *spec, uint32_t batch, enum dtype dtype, uint32_t lowering,
                           struct error *err)
{
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = lowering};
    return graph_build(spec, &options, err);
}

static bool check_timed(const struct cost_run *run, struct error *err)
{
    for (size_t i = 0; i < run->count; i++)
        if (is_wanted(&run->samples[i])) return true;
    return error_set(err, ERROR_INPUT, "%s: no op of %s was timed; a trace with timed steps is wanted (--time-every 1)",
                     run->name, run->model);
}

static bool refuse_run(const struct cost_run *run, const char *why, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "%s: %s %s in the form that is planned or in its default one; a trace of that form is wanted",
                     run->name, why, run->model);
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

static double learn_graph(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                          uint32_t batch, enum dtype dtype, uint32_t lowering, struct error *err)
{
    struct graph *graph = build(spec, batch, dtype, lowering, err);
    if (!graph) return -1;
    table->count = 0;
    double found = learn_ops(table, run, graph, err);
    graph_destroy(graph);
    return found;
}

/* As learn_ops, from the graph of one lowering; *batch is 0 when its convolutions are not the run's. A trace does not
 * say the type of activations: the bytes moved tell 32 bits from 16, and bf16 from f16, which has a loss scale. */
static double learn_lowered(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                            uint32_t lowering, uint32_t *batch, struct error *err)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    double most = 0, found = 0;
    size_t best = 0, last = 0;
    struct graph *graph = build(spec, 1, DTYPE_F32, lowering, err);
    if (!graph) return -1;
    *batch = find_batch(run, graph);
    graph_destroy(graph);
    for (size_t i = 0; i < 3 && *batch > 0 && !(i == 1 && most >= 0.5); i++) {
        found = learn_graph(table, run, spec, *batch, dtypes[last = i], lowering, err);
        if (found < 0) return found;
        if (found > most) best = i;
        if (found > most) most = found;
    }
    return best == last ? found : learn_graph(table, run, spec, *batch, dtypes[best], lowering, err);
}

/* Nor does it say what was fused: nothing, all, what the plans of some devices leave out, or what GPUs do. Whether
 * weights were copied shows in 16-bit runs alone. */
#define GPUS  (LOWER_BN | LOWER_BN_ADD | LOWER_INPUT | LOWER_WEIGHTS)
#define READS (GPUS | LOWER_SUMS | LOWER_NORMALIZE)
static const uint32_t lowerings[] = {0,
                                     LOWER_ALL,
                                     LOWER_ALL & ~LOWER_ADD,
                                     LOWER_ALL & ~(LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT),
                                     GPUS,
                                     READS | LOWER_ADD,
                                     READS | LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT_SUMS,
                                     READS | LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT_SUMS | LOWER_ADD,
                                     (LOWER_BN_PARTS & ~LOWER_BN_ADD) | LOWER_ADD};
#define LEARNT_LOWERINGS (sizeof lowerings / sizeof lowerings[0])
#define WELL_FOUND       0.99

/* Learns from the lowering in whose graph most of the run's time is found, or the first with nearly all. */
static double learn_best(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                         uint32_t *batch, struct error *err)
{
    double most = 0;
    size_t best = 0;
    for (size_t i = 0; i < LEARNT_LOWERINGS; i++) {
        double found = learn_lowered(table, run, spec, lowerings[i], batch, err);
        if (found < 0 || found >= WELL_FOUND) return found;
        if (found > most) best = i;
        if (found > most) most = found;
    }
    return learn_lowered(table, run, spec, lowerings[best], batch, err);
}

static bool learn_run(struct cost_table *table, const struct cost_run *run, const struct model_spec *spec,
                      struct error *err)
{
    uint32_t batch = 0;
    double found = learn_best(table, run, spec, &batch, err);
    if (found < 0) return false;
    if (batch == 0) return refuse_run(run, "its convolutions are not those of", err);
    if (found < 0.5) return refuse_run(run, "most of its ops are not those of", err);
    table->beside_seconds = find_beside(run, batch);
    return true;
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
    bool same = table->on_cpu == run->on_cpu && (run->on_cpu || same_name(table->device, run->device)) &&
                (!run->on_cpu || table->devices == run->devices);
    return same || error_set(err, ERROR_INPUT,
                             "%s: measured on %" PRIu32 " x %s, but %s on %" PRIu32
                             " x %s; runs on one sort of device are wanted",
                             run->name, run->devices, run->device, table->name, table->devices, table->device);
}

/* An all-reduce reads and writes its bucket: bytes_moved counts it twice. */
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

double cost_table_link(const struct cost_table *table)
{
    return table->link_seconds > 0 ? table->link_bytes / table->link_seconds : 0;
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
    bool ok = learn_run(&fresh, run, &spec, err);
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
    }
    mem_free(fresh.entries);
    return ok;
}

static bool is_product(enum op_kind kind)
{
    return kind == OP_CONV || kind == OP_CONV_BWD_DATA || kind == OP_CONV_BWD_WEIGHTS || kind == OP_FC ||
           kind == OP_FC_BWD_DATA || kind == OP_FC_BWD_WEIGHTS;
}

void cost_table_rates(const struct cost_table *table, double *flops_per_second, double *bytes_per_second)
{
    double flops = 0, products = 0, bytes = 0, others = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *entry = &table->entries[i];
        double times = (double)entry->count;
        if (is_product(entry->kind)) {
            flops += times * (double)entry->work.flops;
            products += entry->seconds;
        } else {
            bytes += times * (double)entry->work.bytes_moved;
            others += entry->seconds;
        }
    }
    *flops_per_second = products > 0 ? flops / products : 0;
    *bytes_per_second = others > 0 ? bytes / others : 0;
}

/* ---- Looking up ---- */

static double mean(const struct entry *entry) { return entry->seconds / (double)entry->count; }

/* The line through the measured points of one shape, by least squares; neither its slope nor what it takes without
 * images is below zero. */
struct line {
    double points, x, y, xx, xy;
};

static void line_add(struct line *line, double x, double y)
{
    line->points++;
    line->x += x;
    line->y += y;
    line->xx += x * x;
    line->xy += x * y;
}

static double line_at(const struct line *line, double x)
{
    double spread = line->points * line->xx - line->x * line->x;
    if (spread <= 0) return x * line->xy / line->xx;
    double slope = (line->points * line->xy - line->x * line->y) / spread;
    double fixed = (line->y - slope * line->x) / line->points;
    if (slope < 0) return line->y / line->points;
    return fixed > 0 ? fixed + slope * x : x * line->xy / line->xx;
}

/* How unlike two ops are: the distance of what they do for one image, in logarithms. */
static double distance(const struct entry *a, const struct entry *b)
{
    double an = a->grows ? a->batch : 1, bn = b->grows ? b->batch : 1;
    double flops = log(((double)a->work.flops / an + 1) / ((double)b->work.flops / bn + 1));
    double bytes = log(((double)a->work.bytes_moved / an + 1) / ((double)b->work.bytes_moved / bn + 1));
    return sqrt(flops * flops + bytes * bytes);
}

/* Roofline times are scaled by inverse distance weighting (Shepard, Proc. 23rd ACM National Conference, 1968). */
struct ratio {
    double weights, sum;
};

static void ratio_add(struct ratio *ratio, const struct cost_speed *speed, const struct entry *wanted,
                      const struct entry *known)
{
    double apart = distance(wanted, known), weight = 1 / (apart * apart + 0.01);
    ratio->weights += weight;
    ratio->sum += weight * log(mean(known) / cost_roofline_seconds(speed, &known->work));
}

double cost_table_seconds(const struct cost_table *table, const struct cost_speed *speed, const struct graph *graph,
                          const struct op *op, enum cost_source *source)
{
    struct entry wanted = describe(graph, op);
    struct line line = {0};
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *known = &table->entries[i];
        if (known->shape == wanted.shape) line_add(&line, known->grows ? known->batch : 1, mean(known));
    }
    *source = COST_MEASURED;
    if (line.points > 0) return table->beside_seconds + line_at(&line, wanted.grows ? wanted.batch : 1);
    struct ratio ratios[2] = {0}; /* of its kind, of all */
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *known = &table->entries[i];
        ratio_add(&ratios[known->kind != wanted.kind], speed, &wanted, known);
    }
    *source = ratios[0].weights > 0 ? COST_SCALED : COST_ROOFLINE;
    const struct ratio *used = &ratios[*source == COST_ROOFLINE];
    return table->beside_seconds + cost_roofline_seconds(speed, &wanted.work) * exp(used->sum / used->weights);
}
