#include "plan_compare.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "command.h"
#include "draw.h"
#include "invertible.h"
#include "json.h"
#include "json_print.h"
#include "page.h"
#include "plan_file.h"
#include "plan_report.h"
#include "plan_words.h"
#include "printable.h"
#include "text.h"
#include "units.h"

#define CELL 20

struct side {
    const struct plan *plan;
    const struct plan_device *device; /* the fullest */
    const struct plan_variant *variant;
};

static struct side side_of(const struct plan *plan)
{
    const struct plan_device *device = &plan->devices[draw_fullest_device(plan)];
    return (struct side){plan, device, &plan->variants[device->variant]};
}

/* In what b is better: negative = a is; 0 = neither. */
struct outcome {
    int fits, memory, cost;
    double cost_ratio; /* b's time or computation of an image over a's; 0 = cannot be compared */
    bool timed;
};

/* Below these the plans are told as equal. */
#define SAME_BYTES (1u << 16)
#define SAME_COST  0.0005

/* Times of an image; else, of the same network, the computation. */
static void compare_cost(const struct side *a, const struct side *b, struct outcome *outcome)
{
    const struct plan *p = a->plan, *q = b->plan;
    outcome->timed = p->step_seconds > 0 && q->step_seconds > 0;
    if (outcome->timed)
        outcome->cost_ratio = (q->step_seconds / q->batch) / (p->step_seconds / p->batch);
    else if (strcmp(p->spec.name, q->spec.name) == 0)
        outcome->cost_ratio = (1 + b->variant->extra_flops_fraction) / (1 + a->variant->extra_flops_fraction);
    else
        return;
    if (fabs(outcome->cost_ratio - 1) >= SAME_COST) outcome->cost = outcome->cost_ratio < 1 ? 1 : -1;
}

static struct outcome compare_sides(const struct side *a, const struct side *b)
{
    struct outcome outcome = {.fits = (int)b->plan->fits - (int)a->plan->fits};
    uint64_t p = a->device->peak_bytes, q = b->device->peak_bytes;
    if ((p > q ? p - q : q - p) >= SAME_BYTES) outcome.memory = q < p ? 1 : -1;
    compare_cost(a, b, &outcome);
    return outcome;
}

static void tell_memory(struct text *text, const struct side *a, const struct side *b)
{
    uint64_t p = a->device->peak_bytes, q = b->device->peak_bytes, least = p < q ? p : q, most = p < q ? q : p;
    char less[UNITS_TEXT];
    text_add(text, "%s on the fullest device, %.1f %% less", units_format_bytes(most - least, less),
             100 * (double)(most - least) / (double)most);
}

static void tell_cost(struct text *text, const struct outcome *outcome)
{
    double ratio = outcome->cost_ratio < 1 ? outcome->cost_ratio : 1 / outcome->cost_ratio;
    text_add(text, "%.1f %% less %s for an image", 100 * (1 - ratio),
             outcome->timed ? "time (predicted)" : "computation");
}

static const char *better(int side) { return side > 0 ? "b" : "a"; }

/* What neither memory nor time shows. */
static void tell_price(struct text *text, const struct side *a, const struct side *b)
{
    uint64_t p = a->variant->host_bytes, q = b->variant->host_bytes;
    bool left = invertible_reconstructed(&a->variant->train) > 0,
         right = invertible_reconstructed(&b->variant->train) > 0;
    char more[UNITS_TEXT];
    if (p != q)
        text_add(text, " %s takes %s more of host memory.", better(q > p ? 1 : -1),
                 units_format_bytes(p > q ? p - q : q - p, more));
    if (left != right) text_add(text, " %s is exact only to rounding.", better(right ? 1 : -1));
}

/* "a is better in memory (4.70 GiB on the fullest device, 45.6 % less), b in time (1.2 % less computation for an
 * image)."
 */
static void tell_outcome(struct text *text, const struct side *a, const struct side *b)
{
    struct outcome o = compare_sides(a, b);
    if (o.fits) text_add(text, "%s fits and %s does not; ", better(o.fits), better(-o.fits));
    if (o.memory && o.memory == o.cost)
        text_add(text, "%s is better in memory and in time (", better(o.memory));
    else if (o.memory)
        text_add(text, "%s is better in memory (", better(o.memory));
    if (o.memory) tell_memory(text, a, b);
    if (o.memory && o.cost) text_add(text, o.memory == o.cost ? "; " : "), %s in time (", better(o.cost));
    if (!o.memory && o.cost) text_add(text, "%s is better in time (", better(o.cost));
    if (o.cost) tell_cost(text, &o);
    text_add(text, o.memory || o.cost ? ")" : "neither is better in memory or time");
    if (o.memory && !o.cost)
        text_add(text, o.cost_ratio > 0 ? ", and neither in time" : "; their times cannot be compared");
    if (!o.memory && o.cost) text_add(text, ", and neither in memory");
    text_add(text, ".");
    tell_price(text, a, b);
}

static void print_words(const char *label, const char *a, const char *b, FILE *to)
{
    bool same = strcmp(a, b) == 0;
    struct printable left, right;
    fprintf(to, "  %-22s %s %s%s\n", label, printable_fit(a, CELL, true, &left), printable_fit(b, CELL, true, &right),
            same ? "" : "   differs");
}

/* "+12.3 %" of the first. */
static void print_change(double a, double b, FILE *to)
{
    if (a == b)
        fputc('\n', to);
    else if (a > 0)
        fprintf(to, "   %+.1f %%\n", 100 * (b / a - 1));
    else
        fputs("   differs\n", to);
}

static void print_bytes(const char *label, uint64_t a, uint64_t b, FILE *to)
{
    char text[2][UNITS_TEXT];
    if (a == 0 && b == 0) return;
    fprintf(to, "  %-22s %20s %20s", label, units_format_bytes(a, text[0]), units_format_bytes(b, text[1]));
    print_change((double)a, (double)b, to);
}

static void print_count(const char *label, uint64_t a, uint64_t b, FILE *to)
{
    char text[2][UNITS_TEXT];
    fprintf(to, "  %-22s %20s %20s", label, units_format_count(a, text[0]), units_format_count(b, text[1]));
    print_change((double)a, (double)b, to);
}

static void print_seconds(const char *label, double a, double b, FILE *to)
{
    char text[2][UNITS_TEXT] = {"unknown", "unknown"};
    if (a > 0) units_format_seconds(a, text[0]);
    if (b > 0) units_format_seconds(b, text[1]);
    fprintf(to, "  %-22s %20s %20s", label, text[0], text[1]);
    if (a > 0 && b > 0)
        print_change(a, b, to);
    else
        fputs(a > 0 || b > 0 ? "   differs\n" : "\n", to);
}

/* Percentages are told apart by their difference: a part of a part would mislead. */
static void print_share(const char *label, double a, double b, FILE *to)
{
    fprintf(to, "  %-22s %18.1f %% %18.1f %%", label, 100 * a, 100 * b);
    fputs(a == b ? "\n" : "   differs\n", to);
}

/* What either model was told beside the kinds. */
static void print_form(const struct model_spec *p, const struct model_spec *q, FILE *to)
{
    if (p->bottleneck && q->bottleneck && p->stride_in != q->stride_in)
        print_words("stride in", stride_place_name(p->stride_in), stride_place_name(q->stride_in), to);
    for (int i = 0; i < MODEL_NUMBERS; i++) {
        const enum model_number number = (enum model_number)i;
        char text[2][32] = {"none", "none"};
        if (!model_number_is_told(p, number) && !model_number_is_told(q, number)) continue;
        if (model_has_number(p, number)) snprintf(text[0], sizeof text[0], "%g", p->number[i]);
        if (model_has_number(q, number)) snprintf(text[1], sizeof text[1], "%g", q->number[i]);
        print_words(model_number_info(number)->flag + 2, text[0], text[1], to);
    }
}

static void print_request(const struct side *a, const struct side *b, FILE *to)
{
    const struct plan *p = a->plan, *q = b->plan;
    char devices[2][160];
    print_words("model", p->spec.name, q->spec.name, to);
    print_words("dataset", dataset_kind_name(p->spec.dataset), dataset_kind_name(q->spec.dataset), to);
    print_words("unit", unit_kind_name(p->spec.unit), unit_kind_name(q->spec.unit), to);
    print_words("shortcut", shortcut_kind_name(p->spec.shortcut), shortcut_kind_name(q->spec.shortcut), to);
    print_form(&p->spec, &q->spec, to);
    if (p->freeze_bn || q->freeze_bn)
        print_words("frozen normalisation", bn_freeze_name(p->freeze_bn), bn_freeze_name(q->freeze_bn), to);
    if (p->bn_group || q->bn_group) print_count("images a BN group", p->bn_group, q->bn_group, to);
    print_words("dtype", dtype_name(p->dtype), dtype_name(q->dtype), to);
    print_words("optimizer", optimizer_name(p->update.optimizer), optimizer_name(q->update.optimizer), to);
    print_words("devices", words_devices(p, devices[0], sizeof devices[0]),
                words_devices(q, devices[1], sizeof devices[1]), to);
    print_count("batch", p->batch, q->batch, to);
    print_count("images", a->device->images, b->device->images, to);
    print_count("micro-batches", a->device->micro_batches, b->device->micro_batches, to);
}

static void print_memory(const struct side *a, const struct side *b, FILE *to)
{
    const struct update_needs *update = &a->plan->update;
    if (!update_needs_same(update, &b->plan->update)) update = NULL;
    for (int c = 0; c < MEMORY_CLASSES; c++)
        print_bytes(words_memory_class(update, (enum memory_class)c), a->device->classes[c], b->device->classes[c], to);
    print_bytes("peak", a->device->peak_bytes, b->device->peak_bytes, to);
    print_bytes("reserve", a->device->spec.reserve_bytes, b->device->spec.reserve_bytes, to);
    print_bytes("memory", a->device->spec.memory_bytes, b->device->spec.memory_bytes, to);
    print_bytes("arena", a->variant->arena_bytes, b->variant->arena_bytes, to);
    print_bytes("lower bound", a->variant->lower_bound_bytes, b->variant->lower_bound_bytes, to);
}

/* Names of what is fused are too long for a cell where several are: those that both have are only counted. */
static void print_fused(uint32_t a, uint32_t b, FILE *to)
{
    static const char *const whose[] = {"a alone", "b alone"};
    const uint32_t only[] = {a & ~b, b & ~a};
    fprintf(to, "  %-22s %20d %20d%s\n", "ways of fusing ops", __builtin_popcount(a), __builtin_popcount(b),
            a == b ? "" : "   differs");
    for (int i = 0; i < 2; i++) {
        struct text text = {0};
        if (!only[i]) continue;
        text_add(&text, "%s: ", whose[i]);
        plan_report_fused(only[i], &text);
        page_text(to, 4, 6, &text);
    }
}

static void print_cost(const struct side *a, const struct side *b, FILE *to)
{
    print_fused(a->plan->lowering, b->plan->lowering, to);
    print_words("recompute", recompute_policy_name(a->plan->recompute), recompute_policy_name(b->plan->recompute), to);
    print_bytes("host memory", a->variant->host_bytes, b->variant->host_bytes, to);
    size_t left = invertible_reconstructed(&a->variant->train), right = invertible_reconstructed(&b->variant->train);
    if (left + right > 0) print_count("inputs made again", left, right, to);
    print_count("convolutions again", a->variant->recomputed_convolutions, b->variant->recomputed_convolutions, to);
    print_share("more computation", a->variant->extra_flops_fraction, b->variant->extra_flops_fraction, to);
    print_seconds("step (predicted)", a->plan->step_seconds, b->plan->step_seconds, to);
}

static void print_table(const struct plan *first, const struct plan *second, const char *paths[2], const char *sentence,
                        FILE *to)
{
    struct side a = side_of(first), b = side_of(second);
    char verdict[WORDS_VERDICT];
    fprintf(to, "a: %s\n", PRINTABLE(paths[0]));
    page_wrap(to, 3, 3, PRINTABLE(words_verdict(first, verdict, sizeof verdict)));
    fprintf(to, "b: %s\n", PRINTABLE(paths[1]));
    page_wrap(to, 3, 3, PRINTABLE(words_verdict(second, verdict, sizeof verdict)));
    fputc('\n', to);
    page_wrap(to, 0, 0, sentence);
    fputc('\n', to);
    fprintf(to, "  %-22s %20s %20s   b against a\n", "", "a", "b");
    print_request(&a, &b, to);
    fputs("\n  of the fullest device\n", to);
    print_memory(&a, &b, to);
    fputc('\n', to);
    print_cost(&a, &b, to);
}

/* How long planning took says nothing of the plan. */
static json_t *find_differences(json_t *a, json_t *b)
{
    json_t *names = json_array(), *value;
    const char *key;
    json_object_foreach(a, key, value) if (!json_object_get(b, key)) json_array_append_new(names, json_string(key));
    json_object_foreach(b, key, value)
    {
        if (strcmp(key, "plan_seconds") == 0 || json_equal(json_object_get(a, key), value)) continue;
        json_array_append_new(names, json_string(key));
    }
    return names;
}

static json_t *better_json(int side) { return side ? json_string(better(side)) : json_null(); }

static json_t *outcome_json(const struct plan *first, const struct plan *second)
{
    struct side a = side_of(first), b = side_of(second);
    struct outcome o = compare_sides(&a, &b);
    return json_pack("{s:o, s:o, s:o}", "fits", better_json(o.fits), "memory", better_json(o.memory), "time",
                     better_json(o.cost));
}

static bool print_json(const struct plan *first, const struct plan *second, const char *sentence, FILE *to,
                       struct error *err)
{
    struct plan_report reports[2] = {{.plan = first}, {.plan = second}};
    json_t *a = plan_report_object(&reports[0], err), *b = a ? plan_report_object(&reports[1], err) : NULL;
    if (!b) {
        json_decref(a);
        return false;
    }
    json_t *differs = find_differences(a, b);
    json_t *root = json_pack("{s:s, s:o, s:o, s:o, s:o}", "sentence", sentence, "better", outcome_json(first, second),
                             "differs", differs, "a", a, "b", b);
    return json_print(root, 0, to, err);
}

static bool tell_both(const struct plan *first, const struct plan *second, const char *paths[2], bool json, FILE *to,
                      struct error *err)
{
    struct side a = side_of(first), b = side_of(second);
    struct text sentence = {0};
    tell_outcome(&sentence, &a, &b);
    bool ok = !sentence.failed || error_memory(err, 256, "the comparison");
    if (ok && json) ok = print_json(first, second, sentence.bytes, to, err);
    if (ok && !json) print_table(first, second, paths, sentence.bytes, to);
    text_finish(&sentence);
    return ok;
}

bool plan_compare(const char *a, const char *b, bool json, FILE *to, struct error *err)
{
    const char *paths[2] = {options_input(a), options_input(b)};
    if (strcmp(a, "-") == 0 && strcmp(b, "-") == 0)
        return error_set(err, ERROR_INPUT, "--compare: both plans are -; standard input holds one");
    a = paths[0];
    b = paths[1];
    struct plan *first = plan_read(a, err), *second = first ? plan_read(b, err) : NULL;
    bool ok = second && tell_both(first, second, paths, json, to, err);
    plan_destroy(first);
    plan_destroy(second);
    return ok;
}
