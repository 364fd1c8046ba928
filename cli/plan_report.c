#include "plan_report.h"

#include <inttypes.h>

#include "all_reduce.h"
#include "certainty.h"
#include "cost_table.h"
#include "engine_book.h"
#include "invertible.h"
#include "lower.h"
#include "page.h"
#include "plan_deepest.h"
#include "plan_frontier.h"
#include "plan_memory.h"
#include "plan_scaling.h"
#include "plan_words.h"
#include "predict.h"
#include "printable.h"
#include "topology.h"
#include "units.h"
#include "workspace.h"

static void print_arena(const struct plan *plan, FILE *to)
{
    for (size_t v = 0; v < plan->variant_count && v < PLAN_MEMORY_COLUMNS; v++) {
        const struct plan_variant *variant = &plan->variants[v];
        struct text text = {0};
        char arena[UNITS_TEXT], bound[UNITS_TEXT];
        double gap = variant->lower_bound_bytes
                         ? 100.0 * ((double)variant->arena_bytes / (double)variant->lower_bound_bytes - 1)
                         : 0;
        text_add(&text, "%s", units_format_bytes(variant->arena_bytes, arena));
        if (variant->arena_bytes == variant->lower_bound_bytes)
            text_add(&text, ", equal to its lower bound: no smaller one exists");
        else
            text_add(&text, ", %.2f %% above its lower bound of %s%s", gap,
                     units_format_bytes(variant->lower_bound_bytes, bound),
                     variant->proved_optimal ? "; proved the smallest" : "");
        page_row_text(to, v ? "" : "arena", &text);
    }
}

static void print_recomputed(const struct plan *plan, FILE *to)
{
    struct text text = {0};
    char more[WORDS_MORE];
    double extra = 0, slower = 0;
    uint32_t convolutions = 0;
    for (size_t v = 0; v < plan->variant_count; v++) {
        if (plan->variants[v].extra_flops_fraction > extra) extra = plan->variants[v].extra_flops_fraction;
        if (plan->variants[v].extra_time_fraction > slower) slower = plan->variants[v].extra_time_fraction;
        if (plan->variants[v].recomputed_convolutions > convolutions)
            convolutions = plan->variants[v].recomputed_convolutions;
    }
    if (extra <= 0) {
        page_row(to, "recomputed", "nothing");
        return;
    }
    if (convolutions)
        text_add(&text, "%" PRIu32 " convolutions and what lies between them: ", convolutions);
    else
        text_add(&text, "normalisations and ReLUs, no convolution: ");
    text_add(&text, "%s computation", words_more(extra, more));
    if (plan->step_seconds > 0) text_add(&text, ", %.1f %% more time (predicted)", 100 * slower);
    page_row_text(to, "recomputed", &text);
}

void plan_report_fused(uint32_t lowering, struct text *text)
{
    for (unsigned bit = 0, count = 0; bit < LOWERINGS; bit++)
        if (lowering >> bit & 1) text_add(text, "%s%s", count++ ? ", " : "", graph_lowering_name(bit));
}

static void print_fused(const struct plan *plan, FILE *to)
{
    struct text text = {0};
    if (!plan->lowering) return;
    plan_report_fused(plan->lowering, &text);
    page_row_text(to, "fused", &text);
}

/* Whether a device's micro-batch has several groups of images with statistics of their own. */
static bool has_groups(const struct plan *plan)
{
    for (size_t i = 0; i < plan->device_count; i++)
        if (plan->bn_group > 0 && plan->devices[i].images / plan->devices[i].micro_batches > plan->bn_group)
            return true;
    return false;
}

static void print_bn_groups(const struct plan *plan, FILE *to)
{
    struct text text = {0};
    if (plan->bn_group == 0) return;
    text_add(&text, "by statistics of %" PRIu32 " image%s", plan->bn_group, plan->bn_group == 1 ? "" : "s");
    if (has_groups(plan)) text_add(&text, " each; whole, not taken apart: --fuse has no sums over groups");
    page_row_text(to, "normalisation", &text);
}

static void print_frozen_bn(const struct plan *plan, FILE *to)
{
    struct text text = {0};
    if (plan->freeze_bn == BN_TRAINED) return;
    text_add(&text, "by running statistics, which stay; gamma and beta %s",
             plan->freeze_bn == BN_FROZEN ? "stay too" : "are trained");
    page_row_text(to, "normalisation", &text);
}

static void print_frozen(const struct plan *plan, FILE *to)
{
    const struct graph *graph = plan->variants[0].graph;
    char layers[WORDS_FROZEN], trained[UNITS_TEXT], all[UNITS_TEXT];
    struct text text = {0};
    uint64_t count = 0;
    if (plan->frozen == 0) return;
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == OP_UPDATE) count += tensor_elements(&graph->tensors[graph->ops[i].in[0]]);
    text_add(&text, "%s; %s of %s parameters are trained", words_frozen(plan->frozen, layers),
             units_format_count(count, trained), units_format_count(graph->parameter_elements, all));
    page_row_text(to, "frozen", &text);
}

static void print_lean(const struct plan *plan, FILE *to)
{
    uint32_t most = 0;
    for (size_t d = 0; d < plan->device_count; d++) {
        uint32_t count = workspace_count_lean(&plan->devices[d].spec, &plan->variants[plan->devices[d].variant]);
        if (count > most) most = count;
    }
    if (most > 0)
        page_row(to, "small workspace", "%" PRIu32 " convolutions do with less than they could use, and are slower",
                 most);
}

/* Of the device with the least left. */
static void print_certainty(const struct plan *plan, FILE *to)
{
    struct certainty c = certainty_of(plan);
    char modelled[UNITS_TEXT], error[UNITS_TEXT];
    units_format_bytes(c.modelled_bytes, modelled);
    units_format_bytes(c.error_bytes, error);
    if (c.measured)
        page_row(to, "certainty", "within %.0f %% (%s) of what runs held", 100 * CERTAINTY_CPU_ERROR, error);
    else
        page_row(to, "certainty", "within %s: exact but for %s, not measured yet", error, modelled);
}

static void print_engines(const struct plan *plan, FILE *to)
{
    const struct device_spec *spec = &plan->devices[0].spec;
    char version[ENGINE_VERSION_TEXT];
    if (spec->cudnn_version)
        page_row(to, "workspaces", "of cuDNN %s's engines for %s", engine_version_words(spec->cudnn_version, version),
                 spec->name);
}

/* Not part of any device's memory, but for a host's own, where it is counted with what is kept. */
static void print_offloaded(const struct plan *plan, FILE *to)
{
    uint64_t most = 0, copied = 0;
    double slower = 0;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_variant *variant = &plan->variants[plan->devices[d].variant];
        if (variant->host_bytes <= most) continue;
        most = variant->host_bytes;
        copied = plan_offloaded_bytes(&variant->train) * plan->devices[d].micro_batches;
        slower = variant->extra_flops_fraction > 0 ? 0 : variant->extra_time_fraction;
    }
    struct text text = {0};
    char bytes[UNITS_TEXT], step[UNITS_TEXT];
    if (most == 0) return;
    text_add(&text, "%s%s; a step copies %s there and back", units_format_bytes(most, bytes),
             plan->device_count > 1 ? " per device" : "", units_format_bytes(copied, step));
    if (slower > 0 && plan->step_seconds > 0) text_add(&text, ", %.1f %% more time (predicted)", 100 * slower);
    page_row_text(to, "pinned host memory", &text);
}

static void print_time(const struct plan *plan, const struct cost_table *measured, FILE *to)
{
    char seconds[UNITS_TEXT], rate[UNITS_TEXT], names[120];
    if (plan->step_seconds > 0)
        page_row(to, "step", "%s, %s images/s (predicted%s%s)", units_format_seconds(plan->step_seconds, seconds),
                 units_format_rate(plan->batch / plan->step_seconds, rate), measured ? " from " : "",
                 measured ? cost_table_name(measured) : "");
    else if (predict_unknown_speeds(plan, measured, names, sizeof names)[0])
        page_row(to, "step", "time unknown: the speed of %s is not known", PRINTABLE(names));
    else
        page_row(to, "step", "time unknown: the speed of a link is not known");
}

/* How gradients are added up, by the largest bucket. */
static void print_all_reduce(const struct plan *plan, const struct machine *machine, FILE *to)
{
    struct text text = {0};
    char bytes[UNITS_TEXT], link[UNITS_TEXT], network[UNITS_TEXT];
    enum all_reduce_way way;
    uint64_t largest = predict_largest_bucket(plan);
    size_t count = plan->device_count, node = machine->node_devices;
    all_reduce_seconds(machine, count, largest, &way);
    const struct graph_options *options = &plan->variants[0].graph->options;
    text_add(&text, "%s, of gradients in buckets of up to %s", all_reduce_name(way),
             units_format_bytes(largest, bytes));
    if (options->reduce_dtype != DTYPE_F32) text_add(&text, " as %s", dtype_name(options->reduce_dtype));
    if (options->reduce_apart) text_add(&text, ", in memory apart that NCCL knows");
    text_add(&text, "; simulated, not measured, from %sB/s inside a node",
             units_format_si(machine->link_bandwidth, link));
    if (machine->link_path > 0)
        text_add(&text, ", over %s", topology_path_words((enum topology_path)(machine->link_path - 1)));
    if (node < count)
        text_add(&text, " of %zu and %sB/s from each of %zu nodes to others", node,
                 units_format_si(machine->network_bandwidth, network), (count + node - 1) / node);
    page_row_text(to, "all-reduce", &text);
}

static void print_scaling(const struct plan *plan, const struct machine *machine, FILE *to)
{
    if (plan->device_count < 2 || plan->step_seconds <= 0) return;
    page_row(to, "scaling efficiency", "%.1f %% of what %zu devices with this share each would do alone",
             100 * predict_efficiency(plan), plan->device_count);
    if (machine) print_all_reduce(plan, machine, to);
}

static void print_largest(const struct plan_report *report, FILE *to)
{
    char batch[UNITS_TEXT];
    if (!report->plan->fits) return;
    if (!report->largest_searched)
        page_row(to, "largest batch", "--max-batch searches for it");
    else if (report->largest_batch == ADVICE_MOST_BATCH)
        page_row(to, "largest batch", "%s or more: fathom plans no larger ones",
                 units_format_count(report->largest_batch, batch));
    else
        page_row(to, "largest batch", "%s%s%s%s", report->largest_exact ? "" : "at least ",
                 units_format_count(report->largest_batch, batch), report->largest_whole ? " in one piece" : "",
                 report->largest_quick ? " without running convolutions again (--max-batch looks further)" : "");
}

/* Figures from the guide: a first step of ResNet-164 and 1001 against the plan that keeps the inputs. */
static void print_rounding(const struct plan *plan, FILE *to)
{
    size_t most = 0;
    for (size_t v = 0; v < plan->variant_count; v++) {
        size_t count = invertible_reconstructed(&plan->variants[v].train);
        if (count > most) most = count;
    }
    if (most == 0) return;
    fputc('\n', to);
    page_say(to, 0, 2,
             "note: the inputs of %zu blocks are made again as output minus branch, exact only to rounding. In f32 "
             "gradients move by 2 (ResNet-164) to 350 (ResNet-1001) parts in a million%s; losses are not those of "
             "other plans to the bit.",
             most, plan->dtype == DTYPE_F32 ? "" : ", in 16 bits by more (not measured)");
}

static bool shares_are_equal(const struct plan *plan)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t i = 0; i < plan->device_count; i++) {
        if (plan->devices[i].images < least) least = plan->devices[i].images;
        if (plan->devices[i].images > most) most = plan->devices[i].images;
    }
    return most - least <= plan->devices[0].micro_batches;
}

/* Why unequal devices get the shares that they do. */
static void print_shares(const struct plan *plan, const struct cost_table *measured, FILE *to)
{
    char names[120];
    if (shares_are_equal(plan) || !predict_unknown_speeds(plan, measured, names, sizeof names)[0]) return;
    fputc('\n', to);
    page_say(to, 0, 2,
             "note: the batch is shared by memory, as the speed of %s is not known. `fathom devices --gpus SPEC -o "
             "mine.json` writes a machine file: give %s its flops_f32, flops_f16 and bandwidth there, and plan with "
             "--gpus mine.json.",
             PRINTABLE(names), PRINTABLE(names));
}

static void print_bn(const struct plan *plan, FILE *to)
{
    if (!plan->changes_bn || plan->bn_group > 0) return; /* that was asked for */
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < plan->device_count; i++) {
        uint32_t images = plan->devices[i].images / plan->devices[i].micro_batches;
        if (images < least) least = images;
    }
    bool pieces = plan->devices[0].micro_batches > 1;
    fputc('\n', to);
    page_say(to, 0, 2,
             "note: batch normalisation takes its statistics over as few as %" PRIu32
             " image%s, not the batch's %" PRIu32 ".%s%s",
             least, least == 1 ? "" : "s", plan->batch,
             pieces ? " Micro-batches do that; recomputation would not." : "",
             plan->device_count > 1 && !plan->sync_bn ? " --sync-bn takes them over all devices." : "");
}

static void print_untrainable(const struct plan *plan, FILE *to)
{
    char words[WORDS_UNTRAINABLE];
    if (!*words_untrainable(plan, words)) return;
    fputc('\n', to);
    page_say(to, 0, 2, "note: %s.", PRINTABLE(words));
}

static void print_advice(const struct plan_report *report, FILE *to)
{
    bool mild = report->advice_count > 0;
    if (report->plan->fits) return;
    for (size_t i = 0; i < report->advice_count; i++) mild = mild && report->advice[i].mild;
    if (report->advice_count == 0)
        fputs("\nNothing that fathom can change makes it fit.\n", to);
    else
        fprintf(to, "\nwhat would fit%s:\n", mild ? " without running convolutions again" : "");
    for (size_t i = 0; i < report->advice_count; i++) {
        char sentence[256];
        page_say(to, 2, 4, "%s%s", advise_sentence(&report->advice[i], sentence, sizeof sentence),
                 report->advice[i].mild && !mild ? "; no convolution runs again" : "");
    }
}

void plan_report_print(const struct plan_report *report, FILE *to)
{
    char seconds[UNITS_TEXT];
    fputc('\n', to);
    plan_memory_print(report->plan, to);
    fputc('\n', to);
    print_arena(report->plan, to);
    print_recomputed(report->plan, to);
    print_frozen(report->plan, to);
    print_frozen_bn(report->plan, to);
    print_bn_groups(report->plan, to);
    print_fused(report->plan, to);
    print_lean(report->plan, to);
    print_engines(report->plan, to);
    print_certainty(report->plan, to);
    print_offloaded(report->plan, to);
    print_time(report->plan, report->measured, to);
    print_scaling(report->plan, report->machine, to);
    if (report->run) plan_run_print(report->run, to);
    print_largest(report, to);
    if (report->deepest) plan_deepest_print(report->deepest, to);
    page_row(to, "planned in", "%s", units_format_seconds(report->plan->plan_seconds, seconds));
    if (report->frontier) plan_frontier_print(report->frontier, to);
    if (report->scaling) plan_scaling_print(report->scaling, to);
    print_rounding(report->plan, to);
    print_shares(report->plan, report->measured, to);
    print_bn(report->plan, to);
    print_untrainable(report->plan, to);
    if (report->machine && report->machine->note) {
        fputc('\n', to);
        page_say(to, 0, 2, "note: %s.", report->machine->note);
    }
    print_advice(report, to);
}
