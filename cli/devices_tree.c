#include "devices_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "page.h"
#include "printable.h"
#include "units.h"

#define DEEPEST       32 /* levels of a tree that are drawn */
#define MOST_IN_TABLE 14 /* GPUs, on a page of 80 columns */

/* ---- The tree ---- */

struct tree {
    const struct topology *topology;
    const struct host_gpus *gpus;
    bool last[DEEPEST]; /* whether a level's line has come to its end */
};

static uint32_t next_child(const struct topology *t, uint32_t parent, uint32_t after)
{
    for (uint32_t i = after + 1; i < t->count; i++)
        if (t->places[i].parent == parent) return i;
    return TOPOLOGY_NONE;
}

/* A port that has one thing behind it says nothing: that thing is drawn in its place. */
static uint32_t drawn_of(const struct topology *t, uint32_t place)
{
    while (t->places[place].kind == TOPOLOGY_SWITCH) {
        uint32_t child = next_child(t, place, place);
        if (child == TOPOLOGY_NONE || next_child(t, place, child) != TOPOLOGY_NONE) break;
        place = child;
    }
    return place;
}

/* CUDA's number of it, or its slot's. */
static uint32_t number_of(const struct host_gpus *gpus, const struct topology_place *gpu)
{
    for (size_t i = 0; i < gpus->count; i++)
        if (ascii_same(gpus->gpus[i].bus_id, gpu->bus_id)) return (uint32_t)i;
    return gpu->number;
}

static void add_rate(struct text *text, const char *before, double rate)
{
    char number[UNITS_TEXT];
    if (rate > 0) text_add(text, "%s%sB/s", before, units_format_si(rate, number));
}

static void add_cores(struct text *text, const struct topology_place *place)
{
    if (place->cores > 0) text_add(text, ", %" PRIu32 " core%s", place->cores, place->cores == 1 ? "" : "s");
}

static void describe(const struct tree *tree, const struct topology_place *place, struct text *text)
{
    char bytes[UNITS_TEXT];
    switch (place->kind) {
    case TOPOLOGY_HOST: text_add(text, "host"); break;
    case TOPOLOGY_PACKAGE:
        text_add(text, "package %" PRIu32 ": %s", place->number,
                 *place->name ? PRINTABLE_CUT(place->name, 36) : "a processor");
        add_cores(text, place);
        break;
    case TOPOLOGY_NODE:
        text_add(text, "NUMA node %" PRIu32, place->number);
        if (place->memory_bytes > 0) text_add(text, ": %s", units_format_bytes(place->memory_bytes, bytes));
        add_cores(text, place);
        break;
    case TOPOLOGY_BRIDGE: text_add(text, "PCIe %s", place->bus_id); break;
    case TOPOLOGY_SWITCH:
        text_add(text, "switch %s", place->bus_id);
        add_rate(text, ", ", place->link);
        break;
    case TOPOLOGY_GPU:
        text_add(text, "GPU %" PRIu32 ": %s%s%s", number_of(tree->gpus, place), PRINTABLE_CUT(place->name, 24),
                 *place->name ? ", " : "", place->bus_id);
        add_rate(text, ", ", place->link);
        break;
    case TOPOLOGY_NIC:
        text_add(text, "network %s%s%s", PRINTABLE_CUT(place->name, 20), *place->name ? ": " : "", place->bus_id);
        add_rate(text, ", ", place->link);
        add_rate(text, ", to the network ", place->rate);
        break;
    }
}

static void print_branch(struct tree *tree, uint32_t place, unsigned depth)
{
    const struct topology *t = tree->topology;
    struct text text = {0};
    place = drawn_of(t, place);
    describe(tree, &t->places[place], &text);
    fputs("  ", stdout);
    for (unsigned i = 1; i < depth; i++) fputs(tree->last[i] ? "   " : "│  ", stdout);
    if (depth > 0) fputs(tree->last[depth] ? "└─ " : "├─ ", stdout);
    puts(text.failed ? "" : text.bytes);
    text_finish(&text);
    if (depth + 1 == DEEPEST) return;
    for (uint32_t child = next_child(t, place, place), next; child != TOPOLOGY_NONE; child = next) {
        next = next_child(t, place, child);
        tree->last[depth + 1] = next == TOPOLOGY_NONE;
        print_branch(tree, child, depth + 1);
    }
}

/* ---- Between GPUs ---- */

static void print_row(const struct topology *t, const struct host_gpus *gpus, uint32_t a)
{
    printf("  GPU %-4" PRIu32, number_of(gpus, &t->places[t->gpus[a]]));
    for (uint32_t b = 0; b < t->gpu_count; b++) {
        char cell[24] = "-";
        struct topology_link link = {0};
        if (a != b) {
            link = topology_between_gpus(t, a, b, 0);
            snprintf(cell, sizeof cell, "%s", topology_path_name(link.path));
        }
        if (a != b && link.path == PATH_NVLINK) snprintf(cell, sizeof cell, "NV%" PRIu32, link.nvlinks);
        printf(" %4s", cell);
    }
    uint32_t nic = topology_nic_of(t, a);
    printf("%s%s\n", nic == TOPOLOGY_NONE ? "" : "  ",
           nic == TOPOLOGY_NONE ? "" : PRINTABLE_CUT(t->places[nic].name, 14));
}

static void print_table(const struct topology *t, const struct host_gpus *gpus)
{
    if (t->gpu_count < 2) return;
    if (t->gpu_count > MOST_IN_TABLE) {
        page_say(stdout, 2, 2, "what lies between its %" PRIu32 " GPUs is in --json", t->gpu_count);
        return;
    }
    printf("\n  between   ");
    for (uint32_t b = 0; b < t->gpu_count; b++)
        printf(b ? " %4" PRIu32 : "%" PRIu32, number_of(gpus, &t->places[t->gpus[b]]));
    puts("  nearest network card");
    for (uint32_t a = 0; a < t->gpu_count; a++) print_row(t, gpus, a);
    page_say(
        stdout, 2, 2,
        "NV: so many NVLinks%s; PIX, PXB: a PCIe switch, several; PHB: the processor's PCIe bridge; NODE: several of "
        "one NUMA node; SYS: between NUMA nodes or processors",
        t->nvlinks_known ? "" : " (not known: NVML is not there)");
}

void devices_tree_print(const struct topology *topology, const struct host_gpus *gpus)
{
    struct tree tree = {.topology = topology, .gpus = gpus};
    puts("\ntopology");
    print_branch(&tree, 0, 0);
    print_table(topology, gpus);
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *text) { return *text ? json_text(text) : json_null(); }

static json_t *rate_or_null(double rate) { return rate > 0 ? json_real(rate) : json_null(); }

static json_t *whole_or_null(uint64_t number, bool known)
{
    return known ? json_integer((json_int_t)number) : json_null();
}

json_t *devices_tree_json(const struct topology *topology)
{
    static const char *const kinds[] = {"host", "package", "numa_node", "bridge", "switch", "gpu", "network"};
    json_t *list = json_array();
    for (size_t i = 0; i < topology->count; i++) {
        const struct topology_place *p = &topology->places[i];
        bool numbered = p->kind == TOPOLOGY_PACKAGE || p->kind == TOPOLOGY_NODE || p->kind == TOPOLOGY_GPU;
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kind", kinds[p->kind],
                                              "parent", whole_or_null(p->parent, p->parent != TOPOLOGY_NONE), "number",
                                              whole_or_null(p->number, numbered), "name", text_or_null(p->name),
                                              "bus_id", text_or_null(p->bus_id), "cores",
                                              whole_or_null(p->cores, p->cores > 0), "memory_bytes",
                                              whole_or_null(p->memory_bytes, p->memory_bytes > 0), "link_bandwidth",
                                              rate_or_null(p->link), "network_bandwidth", rate_or_null(p->rate)));
    }
    return list;
}

/* Of one NVLink of a GPU, by the capability that CUDA tells or that cards of its name have; 0 = unknown. */
static double nvlink_rate(const struct host_gpus *gpus, const struct topology_place *gpu)
{
    const struct device_spec *known = catalogue_find(gpu->name);
    for (size_t i = 0; i < gpus->count; i++)
        if (ascii_same(gpus->gpus[i].bus_id, gpu->bus_id)) return topology_nvlink_rate(gpus->gpus[i].capability);
    return known ? topology_nvlink_rate(known->capability) : 0;
}

json_t *devices_links_json(const struct topology *topology, const struct host_gpus *gpus)
{
    json_t *list = json_array();
    for (uint32_t a = 0; a < topology->gpu_count; a++)
        for (uint32_t b = a + 1; b < topology->gpu_count; b++) {
            double rate = nvlink_rate(gpus, &topology->places[topology->gpus[a]]);
            struct topology_link link = topology_between_gpus(topology, a, b, rate);
            json_array_append_new(list,
                                  json_pack("{s:I, s:I, s:s, s:o, s:o}", "from",
                                            (json_int_t)number_of(gpus, &topology->places[topology->gpus[a]]), "to",
                                            (json_int_t)number_of(gpus, &topology->places[topology->gpus[b]]), "path",
                                            topology_path_word(link.path), "nvlinks",
                                            whole_or_null(link.nvlinks, topology->nvlinks_known), "link_bandwidth",
                                            rate_or_null(link.bandwidth)));
        }
    return list;
}
