#include <string.h>

#include "mem.h"
#include "place_search.h"
#include "place_sort.h"

#define LOOK_EVERY 16 /* buffers between two looks at the clock */

/* Members of each section, by counting. */
static bool list_members(struct search_tables *tables, struct error *err)
{
    const struct problem *problem = tables->problem;
    tables->member_start = mem_zalloc(MEM_SEARCH, problem->sections + 2, sizeof *tables->member_start);
    if (!tables->member_start) return error_memory(err, problem->sections * sizeof(size_t), "search tables");
    size_t *start = tables->member_start;
    for (size_t i = 0; i < problem->count; i++)
        for (uint32_t s = problem->first[i]; s < problem->last[i]; s++) start[s + 2]++;
    for (uint32_t s = 2; s <= problem->sections + 1; s++) start[s] += start[s - 1];
    tables->members = mem_alloc(MEM_SEARCH, start[problem->sections + 1], sizeof *tables->members);
    if (!tables->members) return error_memory(err, start[problem->sections + 1] * sizeof(uint32_t), "search tables");
    for (size_t i = 0; i < problem->count; i++)
        for (uint32_t s = problem->first[i]; s < problem->last[i]; s++) tables->members[start[s + 1]++] = (uint32_t)i;
    return true;
}

/* Who begins in each section, by counting: in a deep network's step a section has thousands of members, and few begin
 * in it. */
struct begins {
    size_t *start;
    uint32_t *list;
};

static void begins_finish(struct begins *begins)
{
    mem_free(begins->start);
    mem_free(begins->list);
}

static bool begins_init(struct begins *begins, const struct problem *problem, struct error *err)
{
    *begins = (struct begins){.start = mem_zalloc(MEM_SEARCH, problem->sections + 2, sizeof *begins->start),
                              .list = mem_alloc(MEM_SEARCH, problem->count, sizeof *begins->list)};
    if (!begins->start || !begins->list) return error_memory(err, problem->count * sizeof(size_t), "search tables");
    size_t *start = begins->start;
    for (size_t i = 0; i < problem->count; i++) start[problem->first[i] + 2]++;
    for (uint32_t s = 2; s <= problem->sections + 1; s++) start[s] += start[s - 1];
    for (size_t i = 0; i < problem->count; i++) begins->list[start[problem->first[i] + 1]++] = (uint32_t)i;
    return true;
}

static size_t count_neighbours(const struct search_tables *tables, const struct begins *begins, size_t buffer)
{
    uint32_t first = tables->problem->first[buffer], last = tables->problem->last[buffer];
    size_t members = tables->member_start[first + 1] - tables->member_start[first];
    return members - 1 + begins->start[last] - begins->start[first + 1];
}

/* A neighbour lives in the buffer's first section or begins in a later one of it; each is met once. */
static size_t write_neighbours(const struct search_tables *tables, const struct begins *begins, size_t buffer,
                               uint32_t *out)
{
    uint32_t first = tables->problem->first[buffer], last = tables->problem->last[buffer];
    size_t count = 0;
    for (size_t i = tables->member_start[first]; i < tables->member_start[first + 1]; i++)
        if (tables->members[i] != buffer) out[count++] = tables->members[i];
    size_t later = begins->start[last] - begins->start[first + 1];
    memcpy(out + count, begins->list + begins->start[first + 1], later * sizeof *out);
    return count + later;
}

/* Fixed neighbours first, by rising offset: few, and looked through in that order for every fit. */
static void put_fixed_first(const struct problem *problem, uint32_t *list, size_t count)
{
    size_t fixed = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t other = list[i];
        if (problem->fixed[other] == PLACE_UNPLACED) continue;
        list[i] = list[fixed];
        size_t at = fixed++;
        for (; at > 0 && problem->fixed[list[at - 1]] > problem->fixed[other]; at--) list[at] = list[at - 1];
        list[at] = other;
    }
}

/* Now and then a look at the clock: a buffer may have tens of thousands of neighbours. */
static bool must_stop(struct search_tables *tables, size_t buffer)
{
    if (buffer % LOOK_EVERY == 0 && problem_halted(tables->problem)) tables->stopped = true;
    return tables->stopped;
}

static bool fill_neighbours(struct search_tables *tables, const struct begins *begins, struct error *err)
{
    size_t count = tables->problem->count, total = 0;
    for (size_t i = 0; i < count; i++) {
        tables->neighbour_start[i] = total;
        total += count_neighbours(tables, begins, i);
    }
    tables->neighbour_start[count] = total;
    tables->neighbours = mem_alloc(MEM_SEARCH, total, sizeof *tables->neighbours);
    if (!tables->neighbours) return error_memory(err, total * sizeof(uint32_t), "search tables");
    for (size_t i = 0; i < count; i++) {
        if (must_stop(tables, i)) return true;
        uint32_t *list = tables->neighbours + tables->neighbour_start[i];
        size_t length = write_neighbours(tables, begins, i, list);
        if (tables->problem->any_fixed) put_fixed_first(tables->problem, list, length);
    }
    return true;
}

static bool list_neighbours(struct search_tables *tables, struct error *err)
{
    struct begins begins;
    size_t count = tables->problem->count;
    tables->neighbour_start = mem_alloc(MEM_SEARCH, count + 1, sizeof *tables->neighbour_start);
    if (!tables->neighbour_start) return error_memory(err, (count + 1) * sizeof(size_t), "search tables");
    bool ok = begins_init(&begins, tables->problem, err) && fill_neighbours(tables, &begins, err);
    begins_finish(&begins);
    return ok;
}

static bool identical(const struct problem *problem, size_t a, size_t b)
{
    return problem->size[a] == problem->size[b] && problem->align[a] == problem->align[b] &&
           problem->fixed[a] == PLACE_UNPLACED && problem->fixed[b] == PLACE_UNPLACED;
}

/* Buffers of one lifetime are members of its first section: the latest earlier one decides number and twin. */
static void find_twins(struct search_tables *tables, size_t buffer, uint32_t *spans)
{
    const struct problem *problem = tables->problem;
    uint32_t s = problem->first[buffer];
    tables->twin[buffer] = UINT32_MAX;
    tables->span[buffer] = UINT32_MAX;
    for (size_t i = tables->member_start[s]; tables->members[i] < buffer; i++) {
        uint32_t other = tables->members[i];
        if (problem->first[other] != s || problem->last[other] != problem->last[buffer]) continue;
        tables->span[buffer] = tables->span[other];
        if (identical(problem, other, buffer)) tables->twin[buffer] = other;
    }
    if (tables->span[buffer] == UINT32_MAX) tables->span[buffer] = (*spans)++;
}

static void find_load(struct search_tables *tables, size_t buffer)
{
    const struct problem *problem = tables->problem;
    tables->load[buffer] = 0;
    for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++)
        if (problem->live[s] > tables->load[buffer]) tables->load[buffer] = problem->live[s];
}

static bool list_buffers(struct search_tables *tables, struct error *err)
{
    size_t count = tables->problem->count;
    tables->twin = mem_alloc(MEM_SEARCH, count, sizeof *tables->twin);
    tables->span = mem_alloc(MEM_SEARCH, count, sizeof *tables->span);
    tables->load = mem_alloc(MEM_SEARCH, count, sizeof *tables->load);
    if (!tables->twin || !tables->span || !tables->load) return error_memory(err, count * 16, "search tables");
    uint32_t spans = 0;
    for (size_t i = 0; i < count && !must_stop(tables, i); i++) {
        find_twins(tables, i, &spans);
        find_load(tables, i);
    }
    return true;
}

/* Members of the sections, and those that begin in them: a buffer's neighbours are the members of its first section and
 * those that begin in its others. */
static void count_sections(const struct problem *problem, uint64_t *members, uint64_t *begun)
{
    for (size_t i = 0; i < problem->count; i++) {
        members[problem->first[i]]++;
        members[problem->last[i]]--; /* wraps until it is summed up */
        begun[problem->first[i] + 1]++;
    }
    for (uint32_t s = 0; s < problem->sections; s++) {
        members[s + 1] += members[s];
        begun[s + 1] += begun[s];
    }
}

bool search_tables_measure(const struct problem *problem, uint64_t *table_bytes, uint64_t *search_bytes,
                           struct error *err)
{
    uint64_t count = problem->count, sections = problem->sections, cover = 0, neighbours = 0;
    uint64_t *members = mem_zalloc(MEM_SEARCH, sections + 2, sizeof *members);
    uint64_t *begun = mem_zalloc(MEM_SEARCH, sections + 2, sizeof *begun);
    bool ok = members && begun;
    if (ok) count_sections(problem, members, begun);
    for (size_t i = 0; ok && i < count; i++) {
        cover += problem->last[i] - problem->first[i];
        neighbours += members[problem->first[i]] - 1 + begun[problem->last[i]] - begun[problem->first[i] + 1];
    }
    mem_free(members);
    mem_free(begun);
    if (!ok) return error_memory(err, (sections + 2) * 16, "search tables");
    *table_bytes = 4 * (cover + neighbours) + 8 * (count + sections) + 16 * count;
    *search_bytes = 4 * cover + 66 * count + 72 * sections;
    return true;
}

bool search_tables_init(struct search_tables *tables, const struct problem *problem, struct error *err)
{
    *tables = (struct search_tables){.problem = problem};
    if (list_members(tables, err) && list_neighbours(tables, err) && (tables->stopped || list_buffers(tables, err)))
        return true;
    search_tables_finish(tables);
    return false;
}

void search_tables_finish(struct search_tables *tables)
{
    mem_free(tables->neighbour_start);
    mem_free(tables->neighbours);
    mem_free(tables->member_start);
    mem_free(tables->members);
    mem_free(tables->twin);
    mem_free(tables->span);
    mem_free(tables->load);
    *tables = (struct search_tables){0};
}
