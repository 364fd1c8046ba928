#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"
#include "random.h"
#include "spill.h"
#include "trace_samples.h"

struct record {
    uint32_t key, order;
};

static int by_key(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static char beside[SAMPLE_PATH];
static void setup(void) { sample_path(beside); }
static void teardown(void) { unlink(beside); }
TestSuite(spill, .init = setup, .fini = teardown);

static void fill(struct spill *spill, uint32_t count, uint32_t keys, size_t most_bytes)
{
    struct error err = {0};
    struct random random = random_begin(count, RANDOM_SYNTHETIC, keys, 0);
    spill_begin(spill, sizeof(struct record), by_key, beside, most_bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct record record = {(uint32_t)random_below(&random, keys), i};
        cr_assert(spill_add(spill, &record, &err), "%s", err.text);
    }
    cr_assert_eq(spill->total, count);
}

/* All of them, each once. */
static void check_order(struct spill *spill, uint32_t count)
{
    struct error err = {0};
    const void *record;
    struct record before = {0};
    uint64_t sum = 0;
    cr_assert(spill_rewind(spill, &err), "%s", err.text);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert(spill_next(spill, &record, &err), "%s", err.text);
        cr_assert_not_null(record, "ends after %u of %u", i, count);
        struct record now = *(const struct record *)record;
        cr_assert(i == 0 || now.key > before.key || (now.key == before.key && now.order > before.order), "record %u",
                  i);
        sum += now.order;
        before = now;
    }
    cr_assert(spill_next(spill, &record, &err));
    cr_assert_null(record);
    cr_assert_eq(sum, (uint64_t)count * (count - (count > 0)) / 2);
}

Test(spill, hands_out_in_order_what_it_took)
{
    const uint32_t counts[] = {0, 1, 2, 127, 128, 129, 1000, 20000};
    const uint32_t keys[] = {1, 7, UINT32_MAX};
    const size_t sizes[] = {1 /* a record each */, 1024, 0};
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < 3; k++)
            for (size_t s = counts[i] > 1000 ? 1 : 0; s < 3; s++) {
                struct spill spill;
                fill(&spill, counts[i], keys[k], sizes[s]);
                check_order(&spill, counts[i]);
                check_order(&spill, counts[i]);
                size_t fits = sizes[s] < sizeof(struct record) ? 1 : sizes[s] / sizeof(struct record);
                cr_assert_eq(spill.file >= 0, sizes[s] && counts[i] > fits, "what fits stays in memory");
                spill_finish(&spill);
            }
}

Test(spill, takes_no_more_memory_for_more_records)
{
    struct spill spill;
    uint64_t before = mem_current_bytes(MEM_TRACE);
    fill(&spill, 200000, UINT32_MAX, 64 << 10);
    check_order(&spill, 200000);
    cr_expect_leq(mem_current_bytes(MEM_TRACE) - before, 96 << 10);
    spill_finish(&spill);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), before);
    cr_expect_leq(mem_peak_bytes(MEM_TRACE) - before, 160 << 10);
    spill_finish(&spill);
}

Test(spill, a_full_disk_is_an_error)
{
    struct error err = {0};
    struct spill spill;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
    spill_begin(&spill, sizeof(struct record), by_key, beside, 1024);
    bool ok = true;
    for (uint32_t i = 0; ok && i < 10000; i++) ok = spill_add(&spill, &(struct record){i, i}, &err);
    cr_expect_not(ok);
    cr_expect_eq(err.kind, ERROR_FAILED);
    cr_expect(strstr(err.text, beside), "%s", err.text);
    spill_finish(&spill);
}

Test(spill, every_failed_allocation_is_an_error_without_a_leak)
{
    uint64_t before = mem_current_bytes(MEM_TRACE);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct error err = {0};
        struct spill spill;
        const void *record = NULL;
        spill_begin(&spill, sizeof(struct record), by_key, beside, 256);
        mem_fail_at(n);
        done = true;
        for (uint32_t i = 0; done && i < 100; i++) done = spill_add(&spill, &(struct record){i, i}, &err);
        done = done && spill_rewind(&spill, &err) && spill_next(&spill, &record, &err);
        mem_fail_at(0);
        cr_assert(done ? record != NULL : err.kind == ERROR_MEMORY, "allocation %d: %s", (int)n, err.text);
        spill_finish(&spill);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before, "allocation %d leaks", (int)n);
    }
}

Test(spill, scratch_files_have_no_name)
{
    struct error err = {0};
    int fd;
    char folder[] = "/tmp/fathom-scratch-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.trace", folder);
    cr_assert(files_scratch(path, &fd, &err), "%s", err.text);
    cr_expect_eq(write(fd, "x", 1), 1);
    cr_expect_eq(rmdir(folder), 0, "there is nothing in it");
    close(fd);
    cr_assert(files_scratch("/no such folder/file", &fd, &err), "another folder serves: %s", err.text);
    close(fd);
}
