#include <math.h>
#include <string.h>

#include "cost_table_private.h"
#include "hash.h"
#include "mem.h"

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

bool cost_same_name(const char *a, const char *b)
{
    const struct device_spec *known = catalogue_find(a);
    return strcmp(a, b) == 0 || (known && known == catalogue_find(b));
}

bool cost_table_applies(const struct cost_table *table, const struct device_spec *device)
{
    if (table->on_cpu || device->kind == DEVICE_CPU) return table->on_cpu && device->kind == DEVICE_CPU;
    return cost_same_name(table->device, device->name);
}

/* ---- Shapes ---- */

static bool has_images(const struct tensor *t) { return t->class == CLASS_ACTIVATION || t->class == CLASS_INPUT; }

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
        words[1] = op->attr.conv.kernel[0], words[2] = op->attr.conv.stride, words[3] = op->attr.conv.padding[0];
        words[3] |= op->attr.conv.fused << 16; /* what else it does; padding is less than a window */
        if (op->attr.conv.kernel[1] != op->attr.conv.kernel[0]) words[1] |= op->attr.conv.kernel[1] << 16;
        if (op->attr.conv.padding[1] != op->attr.conv.padding[0]) words[2] |= (op->attr.conv.padding[1] + 1) << 16;
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
        words[1] = op->attr.bn.relu, words[2] = op->attr.bn.sync | (uint32_t)op->attr.bn.frozen << 1;
        break;
    case OP_BN_BWD_APPLY:
        words[1] = op->attr.bn.relu, words[2] = op->attr.bn.sync | (uint32_t)op->attr.bn.frozen << 1;
        words[3] = op->attr.bn.whole | (uint32_t)(op->outputs > 3) << 1;
        break;
    case OP_SHORTCUT_PAD:
    case OP_SHORTCUT_PAD_BWD: words[1] = op->attr.shortcut.stride; break;
    default: break;
    }
    return hash_bytes(words, sizeof words, seed);
}

struct entry cost_describe(const struct graph *graph, const struct op *op)
{
    struct entry entry = {.kind = op->kind, .batch = graph->options.batch, .work = cost_work_of(graph, op), .count = 1};
    entry.shape = hash_attributes(op, 0);
    for (uint32_t i = 0; i < op->inputs + op->outputs; i++) {
        const struct tensor *t = &graph->tensors[i < op->inputs ? op->in[i] : op->out[i - op->inputs]];
        if (t->role == ROLE_LOSS_SCALE || t->role == ROLE_GRADIENT_NORM) continue; /* a scalar more, at no cost */
        entry.shape = hash_tensor(t, entry.shape);
        entry.grows = entry.grows || has_images(t);
    }
    return entry;
}

double cost_table_link(const struct cost_table *table)
{
    return table->link_seconds > 0 ? table->link_bytes / table->link_seconds : 0;
}

double cost_table_step_seconds(const struct cost_table *table) { return table->step_seconds; }

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

/* Of the same shape, at the batch that is least far; of several engines there the one that ran more often. NULL: none.
 */
static const struct entry *find_nearest(const struct cost_table *table, const struct entry *wanted)
{
    const struct entry *nearest = NULL;
    double least = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *known = &table->entries[i];
        double apart = fabs(log((double)known->batch / (double)wanted->batch));
        if (known->shape != wanted->shape) continue;
        if (nearest && (apart > least || (apart == least && known->count <= nearest->count))) continue;
        nearest = known;
        least = apart;
    }
    return nearest;
}

double cost_table_seconds(const struct cost_table *table, const struct cost_speed *speed, const struct graph *graph,
                          const struct op *op, enum cost_source *source)
{
    struct entry wanted = cost_describe(graph, op);
    struct line line = {0};
    const struct entry *nearest = find_nearest(table, &wanted);
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *known = &table->entries[i];
        if (known->shape == wanted.shape && known->engine == nearest->engine)
            line_add(&line, known->grows ? known->batch : 1, mean(known));
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
