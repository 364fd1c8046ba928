/* A program's tables: prepared, filled and given back. Rows are filled by tiles, so many s by as many t: a row of s..t is
 * made of all that begin at s and all that end at t, which a tile's others read too, and finds them in the cache. Tiles
 * at one distance from the diagonal are independent, and are shared among threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "chain_rows.h"
#include "mem.h"
#include "system_limits.h"
#include "thread.h"

#define MOST_THREADS 8
#define FEW_UNITS    48 /* below, threads cost more than they give */

static bool begin_groups(struct program *program, uint32_t *single, struct error *err)
{
    const struct unit_list *list = &program->list;
    program->groups = mem_zalloc(MEM_SEARCH, list->count, sizeof *program->groups);
    if (!program->groups) return error_memory(err, list->count * sizeof *program->groups, mem_purpose_name(MEM_SEARCH));
    for (size_t i = 0; i < list->count; i++) {
        size_t blocks = list->units[i].last - list->units[i].first + 1;
        struct unit_cut cut = {.first = list->units[i].first, .count = blocks, .size = 1, .scale = list->inner};
        TRY(chain_program_begin(&program->groups[i], list->chain, &cut, err));
        program->groups[i].part = true;
        uint64_t least = (uint64_t)chain_program_least(&program->groups[i]) * list->inner;
        single[i] = (uint32_t)(least / list->scale + (least % list->scale != 0));
    }
    return true;
}

static bool begin_tables(struct program *program, struct error *err)
{
    size_t count = program->list.count, pairs = pair_count(count), states = state_count(&program->list);
    program->least = mem_alloc(MEM_SEARCH, states, sizeof *program->least);
    program->enough = mem_alloc(MEM_SEARCH, pairs, sizeof *program->enough);
    uint32_t *single = mem_alloc(MEM_SEARCH, count, sizeof *single);
    bool ok = program->least && program->enough && single;
    if (!ok) error_memory(err, (states + pairs) * sizeof *program->least, mem_purpose_name(MEM_SEARCH));
    if (ok && program->list.grouped) ok = begin_groups(program, single, err);
    if (ok) {
        chain_least_fill(&program->list, program->list.grouped ? single : NULL, program->least);
        chain_enough_fill(&program->list, program->enough);
    }
    mem_free(single);
    return ok;
}

bool chain_program_begin(struct program *program, const struct chain *chain, const struct unit_cut *cut,
                         struct error *err)
{
    *program = (struct program){0};
    if (chain_units_make(chain, cut, &program->list, err) && begin_tables(program, err)) return true;
    chain_program_finish(program);
    return false;
}

uint32_t chain_program_least(const struct program *program)
{
    return program->least[state_index(&program->list, 0, 0, program->list.count - 1)];
}

static void store_destroy(struct store *store)
{
    if (!store) return;
    mem_unmap(MEM_SEARCH, store->floats, store->bytes);
    mem_free(store);
}

static void finish_tables(struct program *program)
{
    mem_free(program->least);
    mem_free(program->enough);
    mem_free(program->floor);
    mem_free(program->rows);
    mem_free(program->across);
    chain_units_finish(&program->list);
}

void chain_program_finish(struct program *program)
{
    if (program->groups)
        for (size_t i = 0; i < program->list.count; i++) finish_tables(&program->groups[i]);
    mem_free(program->groups);
    store_destroy(program->store);
    finish_tables(program);
    *program = (struct program){0};
}

#define TILE 12 /* s, and as many t */

/* Threads take tiles of one distance in turn, and wait for each other between distances. */
struct crew {
    struct program *program;
    _Atomic size_t *next; /* of each distance: the next tile to take */
    float *scratch;       /* `width` floats of each thread */
    size_t width, threads;
    pthread_mutex_t gate;      /* held until all threads that could be started are */
    pthread_barrier_t barrier; /* of them all */
};

struct worker {
    struct crew *crew;
    float *scratch;
    pthread_t thread;
};

static size_t tiles_of(size_t count) { return (count + TILE - 1) / TILE; }

/* Shorter stretches first. */
static void fill_tile(struct program *program, size_t tile_s, size_t tile_t, float *scratch)
{
    size_t count = program->list.count, s_end = (tile_s + 1) * TILE < count ? (tile_s + 1) * TILE : count;
    for (size_t t = tile_t * TILE; t < (tile_t + 1) * TILE && t < count; t++)
        for (size_t s = s_end; s-- > tile_s * TILE;)
            if (s <= t) chain_rows_fill(program, s, t, scratch);
}

static void fill_rows(struct crew *crew, float *scratch)
{
    size_t tiles = tiles_of(crew->program->list.count);
    for (size_t distance = 0; distance < tiles; distance++) {
        for (size_t s; (s = atomic_fetch_add(&crew->next[distance], 1)) + distance < tiles;)
            fill_tile(crew->program, s, s + distance, scratch);
        if (crew->threads > 1) pthread_barrier_wait(&crew->barrier);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    pthread_mutex_lock(&worker->crew->gate);
    pthread_mutex_unlock(&worker->crew->gate);
    fill_rows(worker->crew, worker->scratch);
    return NULL;
}

static size_t choose_threads(const struct program *program)
{
    size_t processors = limits_processors();
    if (program->list.count < FEW_UNITS) return 1;
    return processors < MOST_THREADS ? processors : MOST_THREADS;
}

/* A thread that cannot be started is done without. */
static void run_crew(struct crew *crew, size_t wanted)
{
    struct worker workers[MOST_THREADS];
    crew->threads = 1;
    pthread_mutex_init(&crew->gate, NULL);
    pthread_mutex_lock(&crew->gate);
    while (crew->threads < wanted) {
        struct worker *worker = &workers[crew->threads];
        *worker = (struct worker){.crew = crew, .scratch = crew->scratch + crew->threads * crew->width};
        if (thread_start(&worker->thread, 0, "recompute", work, worker) != 0) break;
        crew->threads++;
    }
    pthread_barrier_init(&crew->barrier, NULL, (unsigned)crew->threads);
    pthread_mutex_unlock(&crew->gate);
    fill_rows(crew, crew->scratch);
    for (size_t i = 1; i < crew->threads; i++) pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&crew->barrier);
    pthread_mutex_destroy(&crew->gate);
}

static size_t row_width(const struct program *program)
{
    size_t width = 0;
    for (size_t i = 0; i < pair_count(program->list.count); i++)
        if (program->enough[i] > width) width = program->enough[i];
    return (program->high < width ? program->high : width) + 1;
}

static bool fill_program(struct program *program, struct error *err)
{
    size_t count = program->list.count, threads = choose_threads(program), width = row_width(program);
    struct crew crew = {.program = program, .width = width};
    crew.next = mem_zalloc(MEM_SEARCH, tiles_of(count), sizeof *crew.next);
    crew.scratch = mem_alloc(MEM_SEARCH, width * threads, sizeof *crew.scratch);
    program->rows = mem_alloc(MEM_SEARCH, state_count(&program->list), sizeof *program->rows);
    program->across = mem_alloc(MEM_SEARCH, pair_count(count), sizeof *program->across);
    bool ok = crew.next && crew.scratch && program->rows && program->across;
    if (ok)
        run_crew(&crew, threads);
    else
        error_memory(err, state_count(&program->list) * sizeof *program->rows, mem_purpose_name(MEM_SEARCH));
    mem_free(crew.next);
    mem_free(crew.scratch);
    return ok;
}

uint64_t chain_program_inner_bytes(const struct program *program, uint32_t high)
{
    uint64_t bytes = 0;
    for (size_t i = 0; program->groups && i < program->list.count; i++)
        bytes += chain_program_row_bytes(&program->groups[i], 0, chain_group_limit(program, high));
    return bytes;
}

static bool solve_groups(struct program *program, struct error *err)
{
    for (size_t i = 0; program->groups && i < program->list.count; i++) {
        struct program *group = &program->groups[i];
        group->high = chain_group_limit(program, program->high);
        group->store = program->store;
        TRY(chain_rows_floor(group, err));
        TRY(fill_program(group, err));
    }
    return true;
}

bool chain_program_solve(struct program *program, uint32_t low, uint32_t high, struct error *err)
{
    program->low = low;
    program->high = high;
    program->store = mem_zalloc(MEM_SEARCH, 1, sizeof *program->store);
    if (!program->store) return error_memory(err, sizeof *program->store, mem_purpose_name(MEM_SEARCH));
    uint64_t bytes = chain_program_row_bytes(program, low, high) + chain_program_inner_bytes(program, high);
    program->store->bytes = bytes += sizeof(float); /* never none */
    program->store->floats = mem_map(MEM_SEARCH, bytes);
    if (!program->store->floats) return error_memory(err, bytes, mem_purpose_name(MEM_SEARCH));
    return chain_streaks_make(&program->list, err) && chain_rows_floor(program, err) && solve_groups(program, err) &&
           fill_program(program, err);
}
