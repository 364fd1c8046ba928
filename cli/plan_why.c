#include "plan_why.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "page.h"
#include "plan_words.h"
#include "printable.h"
#include "text.h"
#include "units.h"
#include "workspace.h"

#define INDENT 2

/* Prints what was put together, and ends it. */
static bool print_paragraph(struct text *text, FILE *to, struct error *err)
{
    bool ok = !text->failed && text->bytes;
    if (ok) page_wrap(to, INDENT, INDENT, text->bytes);
    text_finish(text);
    return ok || error_memory(err, 0, "the explanation");
}

static uint64_t outside_bytes(const struct plan_device *device)
{
    return device->classes[MEMORY_COMMUNICATION] + device->classes[MEMORY_CONTEXT];
}

static bool print_size(const struct plan *plan, const struct plan_device *device, FILE *to, struct error *err)
{
    struct text text = {0};
    char peak[UNITS_TEXT], memory[UNITS_TEXT], rest[UNITS_TEXT], arena[UNITS_TEXT], outside[UNITS_TEXT];
    uint64_t have = device_usable_bytes(&device->spec), need = device->peak_bytes, apart = outside_bytes(device);
    text_add(&text, "At its fullest moment a step needs %s; %s (%s) has %s, so %s %s.", units_format_bytes(need, peak),
             plan->device_count > 1 ? "the fullest device" : "the device", PRINTABLE(device->spec.name),
             units_format_bytes(have, memory), units_format_bytes(need <= have ? have - need : need - have, rest),
             need <= have ? "stay free" : "are missing");
    text_add(&text, " %s are for tensors, which lie in one block of memory, the arena.",
             units_format_bytes(need - apart, arena));
    if (apart) text_add(&text, " %s are needed outside it.", units_format_bytes(apart, outside));
    if (apart >= have) text_add(&text, " That alone is more than there is: nothing can be trained there.");
    return print_paragraph(&text, to, err);
}

static bool print_moment(const struct plan_variant *variant, const struct breakdown *breakdown, FILE *to,
                         struct error *err)
{
    struct text text = {0};
    char at[UNITS_TEXT], of[UNITS_TEXT], live[UNITS_TEXT];
    const struct plan_op *peak = &variant->train.ops[variant->peak_op];
    const struct op *op = &variant->graph->ops[peak->op];
    text_add(&text, "That moment is op %s of %s, %s: %s at %s. %s tensors are in memory then:",
             units_format_count(variant->peak_op + 1, at), units_format_count(variant->train.op_count, of),
             words_pass(peak->pass), words_op_kind(op->kind), variant->graph->layers[op->layer].path,
             units_format_count(breakdown->live, live));
    return print_paragraph(&text, to, err);
}

/* Below the sizes and shares. */
#define PART_COLUMN 25

static void print_named(const char *name, const char *meaning, FILE *to)
{
    if (PART_COLUMN + strlen(name) + strlen(meaning) + 3 <= PAGE_COLUMNS)
        fprintf(to, "%s (%s)\n", name, meaning);
    else
        fprintf(to, "%s\n%*s(%s)\n", name, PART_COLUMN - 3, "", meaning);
}

static void print_part(const struct breakdown *breakdown, const struct breakdown_part *part,
                       const struct update_needs *update, const struct plan_device *device, FILE *to)
{
    char bytes[UNITS_TEXT];
    fprintf(to, "  %12s %5.1f %%  ", units_format_bytes(part->bytes, bytes),
            100 * (double)part->bytes / (double)device->peak_bytes);
    if (part->gaps)
        fputs("gaps between tensors\n", to);
    else if (part->stage != NO_STAGE)
        fprintf(to, "%s of %s\n", words_memory_class(update, part->class), breakdown->stages[part->stage].name);
    else
        print_named(words_memory_class(update, part->class), words_memory_meaning(part->class, device->spec.kind), to);
}

/* Parts below this share of the peak are told together. */
#define SMALL_PART 0.01

static void print_parts(const struct update_needs *update, const struct plan_device *device,
                        const struct breakdown *breakdown, FILE *to)
{
    uint64_t rest = 0;
    bool kept = false;
    for (size_t i = 0; i < breakdown->part_count; i++) {
        const struct breakdown_part *part = &breakdown->parts[i];
        if ((double)part->bytes < SMALL_PART * (double)device->peak_bytes) {
            rest += part->bytes;
            continue;
        }
        kept |= part->class == MEMORY_KEPT;
        print_part(breakdown, part, update, device, to);
    }
    char bytes[UNITS_TEXT];
    if (rest)
        fprintf(to, "  %12s %5.1f %%  all else\n", units_format_bytes(rest, bytes),
                100 * (double)rest / (double)device->peak_bytes);
    if (kept) fprintf(to, "  Kept activations are %s.\n", words_memory_meaning(MEMORY_KEPT, device->spec.kind));
    fputc('\n', to);
}

static bool print_bound(const struct plan_variant *variant, FILE *to, struct error *err)
{
    struct text text = {0};
    char arena[UNITS_TEXT], bound[UNITS_TEXT], gap[UNITS_TEXT];
    uint64_t above = variant->arena_bytes - variant->lower_bound_bytes;
    units_format_bytes(variant->arena_bytes, arena);
    if (above == 0)
        text_add(&text,
                 "The arena, %s, is exactly as large as the tensors that this moment needs at once: no placement "
                 "of them is smaller. Only other computing changes it: keeping less, or fewer images at a time.",
                 arena);
    else
        text_add(&text, "The arena, %s, is %s larger than the tensors that this moment needs at once, %s%s.", arena,
                 units_format_bytes(above, gap), units_format_bytes(variant->lower_bound_bytes, bound),
                 variant->proved_optimal
                     ? "; it is proved that no placement is smaller"
                     : "; whether a smaller placement exists is open (--search-seconds looks longer)");
    return print_paragraph(&text, to, err);
}

/* "Keeping everything would need 20.2 GiB, 19.2 GiB more than there is." */
static void tell_alternative(struct text *text, const char *doing, const struct plan *other, uint32_t device)
{
    const struct plan_device *of = &other->devices[device];
    char need[UNITS_TEXT], more[UNITS_TEXT];
    uint64_t have = device_usable_bytes(&of->spec);
    text_add(text, "%s would need %s", doing, units_format_bytes(of->peak_bytes, need));
    if (of->peak_bytes > have)
        text_add(text, ", %s more than there is. ", units_format_bytes(of->peak_bytes - have, more));
    else
        text_add(text, ", which would fit, but less was asked for. ");
}

/* How much a schedule of the same form could be faster at most, where that is known. */
static void tell_bound(struct text *text, const struct plan_variant *variant)
{
    if (variant->bound_seconds <= 0) return;
    double above = 100 * (variant->compute_seconds / variant->bound_seconds - 1);
    text_add(text,
             " Its computing takes at most %.1f %% more than the least time that any schedule of this form can have in "
             "this memory: one that keeps blocks' results until their backward pass in the ways that were weighed, and "
             "runs the other blocks again from a kept result, by the same predicted times and by sizes that are "
             "measured block by "
             "block, up to the first whose fastest schedule was placed and did not fit.",
             above);
}

static void tell_cost(struct text *text, const struct plan *plan, const struct plan_variant *variant,
                      const struct breakdown_blocks *blocks)
{
    char more[WORDS_MORE];
    text_add(text, "That is %s computation", words_more(variant->extra_flops_fraction, more));
    if (plan->step_seconds > 0)
        text_add(text, " and %s time (predicted)", words_more(variant->extra_time_fraction, more));
    text_add(text, blocks->reconstructed ? "." : "; the result is the same, bit by bit.");
    tell_bound(text, variant);
}

static const char *verb(uint32_t count, const char *one, const char *many) { return count == 1 ? one : many; }

static void tell_blocks(struct text *text, const struct plan_variant *variant, const struct breakdown_blocks *blocks)
{
    text_add(text, "So, of the network's %" PRIu32 " blocks of layers, ", blocks->count);
    if (blocks->kept)
        text_add(text, "%" PRIu32 " %s all that the backward pass reads, ", blocks->kept,
                 verb(blocks->kept, "keeps", "keep"));
    if (blocks->redone)
        text_add(text, "%" PRIu32 " %s what the convolutions compute and redo what lies between, ", blocks->redone,
                 verb(blocks->redone, "keeps", "keep"));
    text_add(text, "%s%" PRIu32 " %s again from the nearest result kept before, when the backward pass comes to them",
             blocks->kept + blocks->redone ? "and " : "", blocks->rerun, verb(blocks->rerun, "runs", "run"));
    if (blocks->most_runs > 2)
        text_add(text, " (the forward pass of one runs up to %" PRIu32 " times)", blocks->most_runs);
    text_add(text, "; %" PRIu32 " convolutions run again. ", variant->recomputed_convolutions);
}

static void tell_extras(struct text *text, const struct device_spec *device, const struct plan_variant *variant,
                        const struct breakdown_blocks *blocks)
{
    char bytes[UNITS_TEXT];
    uint32_t lean = workspace_count_lean(device, variant);
    if (lean)
        text_add(text,
                 "%" PRIu32 " convolutions do with less workspace than they could use: slower, but there is room for "
                 "more results. ",
                 lean);
    if (blocks->offloaded)
        text_add(text,
                 "What %" PRIu32
                 " %s waits in host memory, %s at most, and comes back before the backward pass needs it. ",
                 blocks->offloaded, verb(blocks->offloaded, "block keeps", "blocks keep"),
                 units_format_bytes(variant->host_bytes, bytes));
    if (blocks->reconstructed)
        text_add(text, "%" PRIu32 " %s made again from the output, exact but for rounding. ", blocks->reconstructed,
                 verb(blocks->reconstructed, "block drops its input, which is", "blocks drop their input, which is"));
}

/* What keeping more would need: why the plan does otherwise. */
static void tell_alternatives(struct text *text, const struct plan_report *report, uint32_t device)
{
    if (report->keep_all) tell_alternative(text, "Keeping everything", report->keep_all, device);
    if (report->redo) tell_alternative(text, "Computing only normalisations and ReLUs again", report->redo, device);
}

static bool print_recomputation(const struct plan_report *report, uint32_t device, const struct breakdown *breakdown,
                                FILE *to, struct error *err)
{
    struct text text = {0};
    const struct plan *plan = report->plan;
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    const struct breakdown_blocks *blocks = &breakdown->blocks;
    bool again = variant->extra_flops_fraction > 0, moved = blocks->offloaded + blocks->reconstructed > 0;
    if (again || moved) tell_alternatives(&text, report, device);
    if (blocks->rerun)
        tell_blocks(&text, variant, blocks);
    else if (blocks->redone)
        text_add(&text, "So results of normalisations, ReLUs and the like are not kept but computed again from the "
                        "convolutions' results; no convolution runs twice. ");
    else
        text_add(&text, "Nothing is computed twice: all that the backward pass reads is kept%s. ",
                 plan->fits && !moved ? ", because there is room for it" : "");
    tell_extras(&text, &plan->devices[device].spec, variant, blocks);
    if (again || moved) tell_cost(&text, plan, variant, blocks);
    return print_paragraph(&text, to, err);
}

static bool print_pieces(const struct plan_report *report, const struct plan_device *device, FILE *to,
                         struct error *err)
{
    struct text text = {0};
    uint32_t pieces = device->micro_batches;
    if (pieces < 2) return true;
    text_add(&text,
             "The %" PRIu32 " images run in %" PRIu32 " parts one after the other (micro-batches), whose gradients "
             "are added up, so that only the activations of %" PRIu32 " images are in memory at once%s.",
             device->images, pieces, device->images / pieces,
             report->pieces_chosen && report->plan->fits ? "; in fewer parts it does not fit" : "");
    return print_paragraph(&text, to, err);
}

/* "+1.2 %"; nothing that would read 0.0. Of a plan made roughly after a word that says so. */
static void format_cost(const struct change *change, const char *about, char *out, size_t size)
{
    double cost = 100 * (change->time_ratio - 1);
    if (fabs(cost) < 0.05 && !change->quick)
        snprintf(out, size, "the same");
    else
        snprintf(out, size, "%s%+.1f %%", change->quick ? about : "", cost);
}

/* Whether the change costs batch normalisation what the plan does not. */
static bool costs_bn(const struct plan_report *report, const struct change *change)
{
    return change->changes_bn && !report->plan->changes_bn;
}

static void print_change(const struct plan_report *report, const struct change *change, FILE *to)
{
    char words[80], peak[UNITS_TEXT], saved[UNITS_TEXT], cost[UNITS_TEXT], difference[UNITS_TEXT + 1];
    int64_t less = change->saved_bytes;
    units_format_bytes((uint64_t)(less < 0 ? -less : less), saved);
    snprintf(difference, sizeof difference, "%s%s", less < 0 ? "-" : "", saved);
    format_cost(change, "~ ", cost, sizeof cost);
    fprintf(to, "  %-33s %4s %11s %11s %11s%s\n", change_words(change, words, sizeof words),
            change->fits ? "yes" : "no", units_format_bytes(change->peak_bytes, peak), difference, cost,
            costs_bn(report, change) ? " *" : "");
}

/* The fastest that fits, with the same devices or with any; NULL when none is faster. */
static const struct change *fastest_change(const struct plan_report *report, bool same_devices)
{
    const struct change *fastest = NULL;
    for (size_t i = 0; i < report->change_count; i++) {
        const struct change *change = &report->changes[i];
        if (!change->fits || (same_devices && change->kind == CHANGE_DEVICES)) continue;
        if (!fastest || change->time_ratio < fastest->time_ratio) fastest = change;
    }
    return fastest && fastest->time_ratio < 0.999 ? fastest : NULL;
}

static void tell_fastest(struct text *text, const struct plan_report *report, const struct change *fastest,
                         const char *what)
{
    const struct change *same = fastest->kind == CHANGE_DEVICES ? fastest_change(report, true) : NULL;
    char words[80], cost[UNITS_TEXT];
    format_cost(fastest, "about ", cost, sizeof cost);
    text_add(text,
             "The plan already uses the memory that it may to save time, so changes buy time: most %s, %s %s for "
             "an image",
             change_words(fastest, words, sizeof words), cost, what);
    if (same) {
        format_cost(same, "about ", cost, sizeof cost);
        text_add(text, "; without further devices %s, %s", change_words(same, words, sizeof words), cost);
    }
    text_add(text, ".");
}

/* The changes come best first (changes_find). */
static void tell_best(struct text *text, const struct plan_report *report)
{
    const struct change *most = &report->changes[0], *fastest = fastest_change(report, false);
    const char *what = report->plan->step_seconds > 0 ? "time (predicted)" : "computation";
    char words[80], saved[UNITS_TEXT], cost[UNITS_TEXT];
    if (change_saves_memory(most)) {
        format_cost(most, "about ", cost, sizeof cost);
        text_add(text, "Most memory comes from %s: %s less, at %s %s for an image.",
                 change_words(most, words, sizeof words), units_format_bytes((uint64_t)most->saved_bytes, saved), cost,
                 what);
    } else if (fastest) {
        tell_fastest(text, report, fastest, what);
    } else {
        text_add(text, "No single change saves more than %.0f %% of the memory.", 100 * CHANGE_WORTH);
    }
}

static bool same_outcome(const struct change *a, const struct change *b)
{
    return a->peak_bytes == b->peak_bytes && fabs(a->time_ratio - b->time_ratio) < 1e-9 &&
           a->changes_bn == b->changes_bn;
}

static bool print_changes(const struct plan_report *report, FILE *to, struct error *err)
{
    struct text text = {0};
    bool bn = false, quick = false;
    fprintf(to, "\nsingle changes, by what they buy\n");
    if (!report->changes) {
        fputs("  They are not planned: ten such plans of so many ops take long.\n", to);
        return true;
    }
    if (report->change_count == 0) {
        fputs("  There is none that can be planned and differs.\n", to);
        return true;
    }
    tell_best(&text, report);
    TRY(print_paragraph(&text, to, err));
    fprintf(to, "  %-33s %4s %11s %11s %11s\n", "", "fits", "peak", "saves",
            report->plan->step_seconds > 0 ? "time" : "computation");
    for (size_t i = 0; i < report->change_count; i++) {
        if (i > 0 && same_outcome(&report->changes[i - 1], &report->changes[i])) continue;
        print_change(report, &report->changes[i], to);
        bn = bn || costs_bn(report, &report->changes[i]);
        quick = quick || report->changes[i].quick;
    }
    if (bn) fputs("  * batch normalisation then sees fewer images\n", to);
    if (quick)
        page_say(to, 2, 4,
                 "~ planned quickly, with blocks kept or run again several at a time: a plan with that flag takes "
                 "about so much memory, and about so much time, mostly less");
    return true;
}

bool plan_why_print(const struct plan_report *report, uint32_t device, const struct breakdown *breakdown, FILE *to,
                    struct error *err)
{
    const struct plan_device *of = &report->plan->devices[device];
    const struct plan_variant *variant = &report->plan->variants[of->variant];
    fprintf(to, "\nwhy it %s\n", report->plan->fits ? "fits" : "does not fit");
    TRY(print_size(report->plan, of, to, err));
    TRY(print_pieces(report, of, to, err));
    TRY(print_moment(variant, breakdown, to, err));
    print_parts(&report->plan->update, of, breakdown, to);
    TRY(print_bound(variant, to, err));
    return print_recomputation(report, device, breakdown, to, err) && print_changes(report, to, err);
}
