#include "place_search_private.h"

#include <math.h>
#include <string.h>

#include "mem.h"
#include "random.h"

#define MOST_JUMP 4096 /* buffers: a set has a bit for each, and there may be a few for each */

/* Smaller keys are tried first. Twins share their noise, so that they keep their order. */
static uint64_t order_key(const struct search *search, uint32_t buffer, struct random *random)
{
    const struct problem *problem = search->problem;
    double size = (double)problem->size[buffer], length = problem->last[buffer] - problem->first[buffer];
    double load = (double)search->tables->load[buffer] / (double)problem->bound, value = size;
    double crowded = pow(load, 8); /* buffers of nearly full sections first: steep enough to outweigh the rest */
    switch (search->job->order) {
    case SEARCH_BY_AREA: value = 1e6 * crowded * size * length; break;
    case SEARCH_BY_LENGTH: value = 1e6 * crowded * sqrt(size) * length; break;
    case SEARCH_BY_LOAD: value = 1e6 * load; break;
    default: break;
    }
    value *= 1 + search->job->noise * (2 * random_real(random) - 1);
    return UINT64_MAX - (uint64_t)fmin(value, 9e18);
}

static void rank_buffers(struct search *search)
{
    size_t count = search->problem->count;
    struct random random = random_begin(search->job->seed, RANDOM_SEARCH, search->job->order, 0);
    struct sort_pair *pairs = search->pairs;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t twin = search->tables->twin[i];
        uint64_t key = order_key(search, i, &random);
        search->least[i] = twin == NO_BUFFER ? key : search->least[twin];
        pairs[i] = (struct sort_pair){search->least[i], i};
    }
    sort_pairs(pairs, pairs + count, count);
    for (uint32_t i = 0; i < count; i++) search->rank[pairs[i].index] = i;
}

static void reset_section(struct search *search, uint32_t s)
{
    const struct search_tables *tables = search->tables;
    struct section *section = &search->sections[s];
    *section = (struct section){.ceiling = search->job->capacity, .occupant = NO_BUFFER};
    for (size_t i = tables->member_start[s]; i < tables->member_start[s + 1]; i++) {
        uint32_t buffer = tables->members[i];
        if (search->placed[buffer]) continue;
        section->rest += search->problem->size[buffer];
        section->waiting++;
        if (s + 1 < search->problem->last[buffer]) section->crossing++;
    }
    search->dirty[s] = 1;
    search->stamp[s] = 0;
}

uint64_t search_fit_from(const struct search *search, uint32_t buffer, uint64_t at)
{
    const struct problem *problem = search->problem;
    uint64_t align = problem->align[buffer], size = problem->size[buffer];
    if (problem->mixed_align || problem->any_fixed) at = align_up(at, align);
    if (!problem->any_fixed) return at;
    const struct search_tables *tables = search->tables;
    for (size_t i = tables->neighbour_start[buffer]; i < tables->neighbour_start[buffer + 1]; i++) {
        uint32_t other = tables->neighbours[i];
        uint64_t low = problem->fixed[other];
        if (low == PLACE_UNPLACED || low >= at + size) break; /* the fixed ones come first, by rising offset */
        if (low < at + size && at < low + problem->size[other]) at = align_up(low + problem->size[other], align);
    }
    return at;
}

void search_reset(struct search *search, const struct search_job *job)
{
    const struct problem *problem = search->problem;
    search->job = job;
    rank_buffers(search);
    memcpy(search->members, search->tables->members,
           search->tables->member_start[problem->sections] * sizeof *search->members);
    search->step = 1;
    search->recent = 0;
    memset(search->suspects, 0, sizeof search->suspects);
    search->nodes = search->section_count = search->buffer_count = search->branch_count = search->part_count = 0;
    search->stopped = search->out_of_memory = false;
    search->jumps = job->jump && problem->count <= MOST_JUMP;
    search->level = 0;
    search->blame.count = 0;
    memset(search->cause, 0, problem->count * sizeof *search->cause);
    for (uint32_t i = 0; i < problem->count; i++) {
        bool fixed = problem->fixed[i] != PLACE_UNPLACED;
        search->placed[i] = fixed;
        search->least[i] = search->offset[i] = fixed ? problem->fixed[i] : search_fit_from(search, i, 0);
    }
    for (uint32_t s = 0; s < problem->sections; s++) reset_section(search, s);
}

struct search *search_create(const struct search_tables *tables, struct error *err)
{
    size_t count = tables->problem->count, sections = tables->problem->sections;
    struct search *search = mem_zalloc(MEM_SEARCH, 1, sizeof *search);
    if (!search) goto fail;
    search->tables = tables;
    search->problem = tables->problem;
    search->sections = mem_alloc(MEM_SEARCH, sections, sizeof *search->sections);
    search->stamp = mem_alloc(MEM_SEARCH, sections, sizeof *search->stamp);
    search->dirty = mem_zalloc(MEM_SEARCH, sections, 1);
    search->least = mem_alloc(MEM_SEARCH, count, sizeof *search->least);
    search->offset = mem_alloc(MEM_SEARCH, count, sizeof *search->offset);
    search->rank = mem_alloc(MEM_SEARCH, count, sizeof *search->rank);
    search->placed = mem_alloc(MEM_SEARCH, count, 1);
    search->cause = mem_alloc(MEM_SEARCH, count, sizeof *search->cause);
    search->blame.words = (count + 63) / 64;
    search->blame.failure = mem_alloc(MEM_SEARCH, search->blame.words, sizeof *search->blame.failure);
    search->pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *search->pairs);
    search->members = mem_alloc(MEM_SEARCH, tables->member_start[sections], sizeof *search->members);
    if (search->sections && search->stamp && search->dirty && search->least && search->offset && search->rank &&
        search->placed && search->pairs && search->members && search->cause && search->blame.failure)
        return search;
fail:
    search_destroy(search);
    error_memory(err, count * 64 + sections * 80, "the placement search");
    return NULL;
}

void search_destroy(struct search *search)
{
    if (!search) return;
    mem_free(search->sections);
    mem_free(search->stamp);
    mem_free(search->dirty);
    mem_free(search->least);
    mem_free(search->offset);
    mem_free(search->rank);
    mem_free(search->placed);
    mem_free(search->pairs);
    mem_free(search->members);
    mem_free(search->section_trail);
    mem_free(search->buffer_trail);
    mem_free(search->branch);
    mem_free(search->parts);
    mem_free(search->cause);
    mem_free(search->blame.sets);
    mem_free(search->blame.failure);
    mem_free(search);
}
