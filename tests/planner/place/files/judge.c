/* The judge of answers against every pair of buffers compared by hand; chunks of different sizes. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_fragments.h"
#include "place_judge.h"
#include "random.h"

#define MOST 40

static bool overlap(const struct place_buffer *a, const struct place_buffer *b)
{
    if (a->alias > 0 && a->alias == b->alias) return a->offset != b->offset;
    return a->size > 0 && b->size > 0 && a->lower < b->upper && b->lower < a->upper &&
           a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static bool sound_by_hand(const struct place_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].align > 1 && buffers[i].offset % buffers[i].align) return false;
        for (size_t j = 0; j < i; j++)
            if (overlap(&buffers[i], &buffers[j])) return false;
    }
    return true;
}

static size_t make(struct random *random, struct place_buffer *buffers)
{
    size_t count = 2 + random_below(random, MOST - 2);
    bool aligned = random_below(random, 2);
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = random_below(random, 20), upper = lower + 1 + random_below(random, 9);
        uint64_t size = random_below(random, 20), align = aligned ? 4 : 1;
        buffers[i] = (struct place_buffer){lower,
                                           upper,
                                           (size + align - 1) / align * align,
                                           align,
                                           PLACE_UNPLACED,
                                           0,
                                           random_below(random, 4) ? 0 : 1 + random_below(random, 5)};
    }
    return count;
}

Test(place_judge, agrees_with_every_pair_compared_by_hand)
{
    size_t sound = 0, unsound = 0;
    for (uint32_t seed = 0; seed < 4000; seed++) {
        static const struct place_options options = {.threads = 1};
        struct random random = random_begin(seed, RANDOM_SEARCH, 9, 9);
        struct place_buffer buffers[MOST];
        struct place_result result;
        struct error err = {0};
        size_t count = make(&random, buffers);
        cr_assert(place_solve(buffers, count, &options, &result, &err), "%s", err.text);
        cr_assert(sound_by_hand(buffers, count), "seed %" PRIu32, seed);
        for (uint32_t left = random_below(&random, 3); left > 0; left--)
            buffers[random_below(&random, (uint32_t)count)].offset = random_below(&random, 60);
        uint64_t arena, fixed_end;
        bool says = place_check_arena(buffers, count, &arena, &fixed_end, &err), is = sound_by_hand(buffers, count);
        cr_assert_eq(says, is, "seed %" PRIu32 ": %s", seed, err.text);
        sound += is;
        unsound += !is;
    }
    cr_assert(sound > 1000 && unsound > 1000);
}

/* What a buffer takes: its size rounded up to its alignment, a name's to the alignment that all names of its storage
 * have. */
static uint64_t taken_by_hand(const struct place_buffer *buffers, size_t count, size_t of)
{
    uint64_t align = 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t common = align;
        if (i != of && (buffers[of].alias == 0 || buffers[i].alias != buffers[of].alias)) continue;
        while (buffers[i].align > 1 && common % buffers[i].align != 0) common += align;
        align = common;
    }
    return (buffers[of].size + align - 1) / align * align;
}

/* Few buffers of any sizes and alignments, anywhere. */
Test(place_judge, sizes_count_as_rounded_up_to_alignments)
{
    static const uint64_t aligns[] = {0, 1, 2, 3, 4, 6};
    size_t sound = 0, unsound = 0;
    for (uint32_t seed = 0; seed < 4000; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 9, 7);
        struct place_buffer buffers[4], rounded[4];
        size_t count = 2 + random_below(&random, 3);
        uint64_t most = 0, arena, fixed_end;
        struct error err = {0};
        for (size_t i = 0; i < count; i++) {
            uint64_t lower = random_below(&random, 6), align = aligns[random_below(&random, 6)];
            buffers[i] = (struct place_buffer){.lower = lower,
                                               .upper = lower + 1 + random_below(&random, 4),
                                               .size = random_below(&random, 12),
                                               .align = align,
                                               .offset = 12 * random_below(&random, 4),
                                               .fixed = PLACE_UNPLACED,
                                               .alias = random_below(&random, 3)};
            if (random_below(&random, 2)) buffers[i].offset += random_below(&random, 6) * (align > 1 ? align : 1);
            for (size_t j = 0; j < i; j++)
                if (buffers[i].alias > 0 && buffers[j].alias == buffers[i].alias) buffers[i].offset = buffers[j].offset;
        }
        for (size_t i = 0; i < count; i++) {
            rounded[i] = buffers[i];
            rounded[i].size = taken_by_hand(buffers, count, i);
            if (rounded[i].size > 0 && rounded[i].offset + rounded[i].size > most)
                most = rounded[i].offset + rounded[i].size;
        }
        bool is = sound_by_hand(rounded, count), says = place_check_arena(buffers, count, &arena, &fixed_end, &err);
        cr_assert_eq(says, is, "seed %" PRIu32 ": %s", seed, err.text);
        if (is) cr_assert_eq(arena, most, "seed %" PRIu32, seed);
        sound += is;
        unsound += !is;
    }
    cr_assert(sound > 1000 && unsound > 1000, "%zu sound, %zu not", sound, unsound);
}

Test(place_judge, what_lives_at_no_instant_is_refused)
{
    struct place_buffer buffer = {.lower = 5, .upper = 5, .size = 1, .fixed = PLACE_UNPLACED};
    uint64_t arena, fixed_end;
    struct error err = {0};
    cr_assert_not(place_check_arena(&buffer, 1, &arena, &fixed_end, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "buffer 0: lives from 5 to 5"), "%s", err.text);
    buffer.upper = 6;
    cr_assert(place_check_arena(&buffer, 1, &arena, &fixed_end, &err), "%s", err.text);
}

Test(place_judge, the_live_sum_is_that_of_every_instant)
{
    for (uint32_t seed = 0; seed < 1000; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 9, 8);
        struct place_buffer buffers[MOST];
        size_t count = make(&random, buffers);
        uint64_t most = 0, live, instant;
        struct error err = {0};
        for (uint64_t t = 0; t < 32; t++) {
            uint64_t sum = 0, largest[6] = {0};
            for (size_t i = 0; i < count; i++) {
                if (t < buffers[i].lower || buffers[i].upper <= t) continue;
                if (buffers[i].alias == 0) sum += buffers[i].size;
                if (buffers[i].alias > 0 && buffers[i].size > largest[buffers[i].alias])
                    largest[buffers[i].alias] = buffers[i].size;
            }
            for (size_t a = 1; a < 6; a++) sum += largest[a];
            if (sum > most) most = sum;
        }
        cr_assert(place_check_live(buffers, count, &live, &instant, &err), "%s", err.text);
        cr_assert_eq(live, most, "seed %" PRIu32, seed);
        cr_assert(place_lower_bound(buffers, count, &live, &instant, &err), "%s", err.text);
        cr_assert_eq(live, most, "seed %" PRIu32, seed);
    }
}

Test(place_judge, fixed_offsets_are_refused_exactly_where_they_overlap)
{
    size_t refused = 0;
    for (uint32_t seed = 0; seed < 4000; seed++) {
        static const struct place_options options = {.threads = 1};
        struct random random = random_begin(seed, RANDOM_SEARCH, 9, 6);
        struct place_buffer buffers[MOST];
        size_t count = make(&random, buffers);
        if (count > 12) count = 12;
        for (size_t i = 0; i < count; i++) {
            buffers[i].fixed = buffers[i].offset = 4 * random_below(&random, 60);
            for (size_t j = 0; j < i; j++)
                if (buffers[i].alias > 0 && buffers[j].alias == buffers[i].alias)
                    buffers[i].fixed = buffers[i].offset = buffers[j].offset;
        }
        struct place_result result;
        struct error err = {0};
        bool sound = sound_by_hand(buffers, count);
        cr_assert_eq(place_solve(buffers, count, &options, &result, &err), sound, "seed %" PRIu32 " %s", seed,
                     err.text);
        refused += !sound;
    }
    cr_assert(refused > 400 && refused < 3600, "%zu", refused);
}

static struct place_table table_of(const char *text)
{
    struct place_table table;
    struct error err = {0};
    char *copy = mem_strdup(MEM_GENERAL, text);
    cr_assert(copy);
    cr_assert(place_table_parse(&table, "t.csv", copy, strlen(text), &err), "%s", err.text);
    return table;
}

Test(place_judge, each_fault_of_an_answer_is_named)
{
    static const uint64_t sizes[] = {8, 4};
    static const char problem[] =
        "id,lower,upper,size,alignment,offset,alias\na,0,4,8,4,,\nb,2,6,4,1,8,\nc,0,3,4,1,,3\n"
        "d,2,5,4,1,,3\n";
    static const struct {
        const char *placed, *says;
        uint64_t capacity;
        size_t chunks;
    } rows[] = {
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n", NULL, 16, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n", "above the capacity of 15", 15,
         0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,\n", "'d' has no offset", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\n", "'d' is in p.csv and not in t.csv", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nx,2,5,4,12\n", "'d' is in p.csv and not in", 0,
         0},
        {"id,lower,upper,size,offset\na,0,4,7,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n", "'a' lives from 0 to 4 with 7",
         0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,9\nc,0,3,4,13\nd,2,5,4,13\n",
         "'b' is at 9; p.csv fixes it at 8", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,2\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n",
         "offset 2 is not a multiple of 4", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,4\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n", "overlap while both live", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,16\n",
         "alias group 3 is at 12 and at 16", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,18446744073709551612\nd,2,5,4,"
         "18446744073709551612\n",
         "beyond 64 bits", 0, 0},
        {"id,lower,upper,size,offset\na,0,4,8,0\nb,2,6,4,8\nc,0,3,4,12\nd,2,5,4,12\n", "column 'chunk' is wanted", 0,
         2},
        {"id,lower,upper,size,offset,chunk\na,0,4,8,0,0\nb,2,6,4,8,1\nc,0,3,4,0,1\nd,2,5,4,0,1\n",
         "end above the arena of 4", 0, 2},
        {"id,lower,upper,size,offset,chunk\na,0,4,8,0,2\nb,2,6,4,8,1\nc,0,3,4,0,1\nd,2,5,4,0,1\n",
         "chunk 2 where there are 2", 0, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place_table placed = table_of(rows[i].placed), asked = table_of(problem);
        struct place_claim claim = {rows[i].capacity, rows[i].chunks ? sizes : NULL, rows[i].chunks};
        struct place_judgement judgement;
        struct error err = {0};
        bool ok = place_judge(&placed, "t.csv", &asked, "p.csv", &claim, &judgement, &err);
        cr_expect_eq(ok, rows[i].says == NULL, "row %zu: %s", i, err.text);
        if (rows[i].says) {
            cr_expect(strstr(err.text, rows[i].says), "row %zu: %s", i, err.text);
            cr_expect_eq(err.kind, ERROR_UNFIT);
        } else {
            cr_expect(judgement.arena_bytes == 16 && judgement.live_bytes == 16 && judgement.fixed_end_bytes == 12);
        }
        place_table_finish(&placed);
        place_table_finish(&asked);
    }
}

Test(place_judge, each_failed_allocation_is_survived)
{
    static const char text[] = "id,lower,upper,size,offset,alias\na,0,4,8,0,\nb,2,6,4,8,1\nc,2,6,4,8,1\n";
    for (uint64_t n = 1;; n++) {
        struct place_table placed = table_of(text), asked = table_of(text);
        struct place_claim claim = {0};
        struct place_judgement judgement;
        struct error err = {0};
        uint64_t before = mem_current_bytes(MEM_GENERAL);
        mem_fail_at(n);
        bool ok = place_judge(&placed, "t.csv", &asked, "p.csv", &claim, &judgement, &err);
        mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before, "allocation %" PRIu64 " leaks", n);
        place_table_finish(&placed);
        place_table_finish(&asked);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 50);
    }
}

Test(place_judge, lists_of_chunks_are_read)
{
    uint64_t *sizes;
    size_t count;
    struct error err = {0};
    cr_assert(fragments_parse("2x4KiB,12,3x1MiB", "--chunks", &sizes, &count, &err), "%s", err.text);
    cr_assert(count == 6 && sizes[1] == 4096 && sizes[2] == 12 && sizes[5] == 1 << 20);
    mem_free(sizes);
    static const char *const wrong[] = {"",    "4x",        "x4",           "2x4,", ",4",   "0x4",
                                        "2x0", "2000000x4", "999999x4,2x4", "2x-4", "2xx4", "1x2x3"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        err = (struct error){0};
        cr_expect_not(fragments_parse(wrong[i], "--chunks", &sizes, &count, &err), "'%s'", wrong[i]);
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect(strstr(err.text, "--chunks"), "'%s': %s", wrong[i], err.text);
    }
}

/* Whether the buffers fit into two chunks, from every way to put them there. */
static bool fits_by_hand(const struct place_buffer *buffers, size_t count, const uint64_t *sizes, size_t at,
                         uint64_t used[2][8])
{
    if (at == count) return true;
    const struct place_buffer *buffer = &buffers[at];
    for (size_t c = 0; c < 2; c++)
        for (uint64_t offset = 0; offset + buffer->size <= sizes[c]; offset++) {
            uint64_t mine = ((UINT64_C(1) << buffer->size) - 1) << offset;
            bool clear = true;
            for (uint64_t t = buffer->lower; t < buffer->upper; t++) clear &= (used[c][t] & mine) == 0;
            if (!clear) continue;
            for (uint64_t t = buffer->lower; t < buffer->upper; t++) used[c][t] ^= mine;
            bool fits = fits_by_hand(buffers, count, sizes, at + 1, used);
            for (uint64_t t = buffer->lower; t < buffer->upper; t++) used[c][t] ^= mine;
            if (fits) return true;
        }
    return false;
}

Test(place_judge, chunks_of_different_sizes_are_decided_as_by_hand)
{
    size_t possible = 0, impossible = 0;
    for (uint32_t seed = 0; seed < 1500; seed++) {
        static const struct place_options options = {.threads = 1, .seconds = 30};
        struct random random = random_begin(seed, RANDOM_SEARCH, 9, 7);
        uint64_t sizes[2] = {3 + random_below(&random, 6), 3 + random_below(&random, 6)}, used[2][8] = {{0}}, chunk[8];
        uint64_t most = sizes[0] > sizes[1] ? sizes[0] : sizes[1];
        struct place_buffer buffers[8];
        size_t count = 3 + random_below(&random, 5);
        for (size_t i = 0; i < count; i++) {
            uint64_t lower = random_below(&random, 5);
            buffers[i] = (struct place_buffer){lower,
                                               lower + 1 + random_below(&random, 3),
                                               1 + random_below(&random, (uint32_t)most),
                                               1,
                                               PLACE_UNPLACED,
                                               0,
                                               0};
            chunk[i] = PLACE_UNPLACED;
        }
        struct place_chunks_result result;
        struct error err = {0};
        cr_assert(fragments_solve(buffers, chunk, count, sizes, 2, &options, &result, &err), "%s", err.text);
        bool fits = fits_by_hand(buffers, count, sizes, 0, used);
        cr_assert_eq(result.chunks <= 2, fits, "seed %" PRIu32, seed);
        cr_assert_eq(result.least_chunks > 2, !fits, "seed %" PRIu32, seed);
        if (fits) cr_assert(place_check_fragments(buffers, chunk, count, sizes, 2, &err), "%s", err.text);
        possible += fits;
        impossible += !fits;
    }
    cr_assert(possible > 100 && impossible > 100);
}

static struct place_table parse(const char *text)
{
    struct place_table table;
    struct error err = {0};
    char *copy = mem_strdup(MEM_GENERAL, text);
    cr_assert(copy && place_table_parse(&table, "t.csv", copy, strlen(text), &err), "%s", err.text);
    return table;
}

Test(place_judge, clocks_of_streams_are_judged)
{
    static const struct {
        const char *placed, *problem, *says; /* NULL: sound */
    } rows[] = {{"a,0:0,3:0,8,0\nb,0:0,0:4,8,8\nc,3:4,5:4,4,0\n", "a,0:0,3:0,8\nb,0:0,0:4,8\nc,3:4,5:4,4\n", NULL},
                {"a,0:0,3:0,8,0\nb,0:0,0:4,8,4\n", "a,0:0,3:0,8\nb,0:0,0:4,8\n", "neither ends before"},
                {"a,0:0,3:0,8,0\n", "a,0:0,2:1,8\n", "lives by other clocks"},
                {"a,0:0,3:0,8,0\n", "a,0,3,8\n", "lives by other clocks"}};
    static const struct place_claim claim = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[2][256];
        struct error err = {0};
        struct place_judgement judgement;
        snprintf(text[0], sizeof text[0], "id,lower,upper,size,offset\n%s", rows[i].placed);
        snprintf(text[1], sizeof text[1], "id,lower,upper,size\n%s", rows[i].problem);
        struct place_table placed = parse(text[0]), problem = parse(text[1]);
        bool ok = place_judge(&placed, "t.csv", &problem, "p.csv", &claim, &judgement, &err);
        cr_assert_eq(ok, rows[i].says == NULL, "row %zu: %s", i, err.text);
        if (ok) cr_assert(judgement.arena_bytes == 16 && judgement.live_bytes == 16);
        if (!ok) cr_assert(err.kind == ERROR_UNFIT && strstr(err.text, rows[i].says), "row %zu: %s", i, err.text);
        place_table_finish(&placed);
        place_table_finish(&problem);
    }
}
