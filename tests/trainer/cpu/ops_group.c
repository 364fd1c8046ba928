/* Devices that reduce together, each on a thread of its own; runs under ThreadSanitizer. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "cpu_group.h"
#include "half.h"
#include "ops_world.h"

static int failures;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fprintf(stderr, "\n");                                                                                         \
        failures++;                                                                                                    \
    } while (0)

#define MOST_MEMBERS 3

struct member {
    pthread_t thread;
    struct group *group;
    uint32_t rank, count;
    struct world world;
    bool ok;
    struct error err;
    float *values;
    uint64_t length;
    uint64_t limit_ns; /* the first member's is all devices' */
};

static void run_members(struct member *members, uint32_t count, void *(*body)(void *))
{
    for (uint32_t i = 0; i < count; i++) pthread_create(&members[i].thread, NULL, body, &members[i]);
    for (uint32_t i = 0; i < count; i++) pthread_join(members[i].thread, NULL);
}

static void make_members(struct member *members, uint32_t count)
{
    struct error err = {0};
    struct group_id id;
    CHECK(cpu_backend.group_name(&id, &err), "%s", err.text);
    for (uint32_t i = 0; i < count; i++) {
        members[i] = (struct member){.rank = i, .count = count};
        CHECK(cpu_backend.group_create(&id, i, count, NULL, &members[i].group, &err), "%s", err.text);
    }
}

static void drop_groups(struct member *members, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) cpu_backend.group_destroy(members[i].group);
}

/* ---- All-reduce through the op ---- */

static struct ops_case bucket_case(uint64_t length)
{
    return (struct ops_case){.name = "bucket", .kind = OP_ALL_REDUCE, .x = {1, 1, 1, (uint32_t)length}};
}

static void *reduce_bucket(void *argument)
{
    struct member *m = argument;
    m->world.group = m->group;
    m->world.threads = 1;
    m->world.rank = m->rank;
    m->ok = world_run(&m->world, OP_ALL_REDUCE, PASS_COMM, &m->err);
    return NULL;
}

static void test_all_reduce(uint32_t count, uint64_t length)
{
    struct member members[MOST_MEMBERS];
    struct ops_case c = bucket_case(length);
    make_members(members, count);
    float *expected = calloc(length, sizeof *expected);
    for (uint32_t i = 0; i < count; i++) {
        world_init(&members[i].world, &cpu_backend, &c);
        world_randomize(&members[i].world, i + 1);
        for (uint64_t k = 0; k < length; k++)
            expected[k] =
                i == 0 ? world_f32(&members[i].world, X)[k] : expected[k] + world_f32(&members[i].world, X)[k];
    }
    run_members(members, count, reduce_bucket);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(members[i].ok, "%s", members[i].err.text);
        CHECK(memcmp(members[i].world.values[X], expected, length * sizeof *expected) == 0,
              "device %u of %u: not the sum in rank order", (unsigned)i, (unsigned)count);
        world_finish(&members[i].world);
    }
    drop_groups(members, count);
    free(expected);
}

static void give_devices(struct member *members, uint32_t count)
{
    const struct device_options options = {.threads = 1, .wait_limit_ns = members[0].limit_ns};
    for (uint32_t i = 0; i < count; i++)
        CHECK(cpu_backend.device_create(&options, 4096, &members[i].world.device, &members[i].err), "%s",
              members[i].err.text);
}

static void take_devices(struct member *members, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) cpu_backend.device_destroy(members[i].world.device);
    drop_groups(members, count);
}

/* ---- 16 bits: added up in f32 in rank order, and rounded once ---- */

#define HALVES 1500u
static uint16_t halves[MOST_MEMBERS][HALVES];

static void *reduce_halves(void *argument)
{
    struct member *m = argument;
    m->ok =
        cpu_backend.group_join(m->group, m->world.device, &m->err) &&
        group_sum_half(m->group, m->length ? DTYPE_F16 : DTYPE_BF16, halves[m->rank], halves[m->rank], HALVES, &m->err);
    return NULL;
}

static void test_halves(uint32_t count, bool f16)
{
    struct member members[MOST_MEMBERS];
    uint16_t expected[HALVES];
    make_members(members, count);
    give_devices(members, count);
    for (uint32_t k = 0; k < HALVES; k++) {
        float sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            float value = (float)(k * (i + 7) % 1013) / 97 - 5;
            halves[i][k] = f16 ? f16_from_float(value) : bf16_from_float(value);
            sum += f16 ? float_from_f16(halves[i][k]) : float_from_bf16(halves[i][k]);
        }
        expected[k] = f16 ? f16_from_float(sum) : bf16_from_float(sum);
    }
    for (uint32_t i = 0; i < count; i++) members[i].length = f16;
    run_members(members, count, reduce_halves);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(members[i].ok, "%s", members[i].err.text);
        CHECK(memcmp(halves[i], expected, sizeof expected) == 0, "device %u: not the rounded sum", (unsigned)i);
    }
    take_devices(members, count);
}

/* ---- Many rounds, with sums that feed the next ---- */

static void *reduce_often(void *argument)
{
    struct member *m = argument;
    m->ok = cpu_backend.group_join(m->group, m->world.device, &m->err);
    for (int round = 0; m->ok && round < 300; round++) {
        for (uint64_t i = 0; i < m->length; i++) m->values[i] += (float)m->rank + 1;
        m->ok = group_sum_f32(m->group, m->values, m->values, m->length, &m->err);
        for (uint64_t i = 0; i < m->length; i++) m->values[i] /= (float)m->count;
    }
    return NULL;
}

static void test_many_rounds(uint32_t count)
{
    struct member members[MOST_MEMBERS];
    make_members(members, count);
    give_devices(members, count);
    for (uint32_t i = 0; i < count; i++) {
        members[i].length = 7;
        members[i].values = calloc(7, sizeof(float));
    }
    run_members(members, count, reduce_often);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(members[i].ok, "%s", members[i].err.text);
        CHECK(memcmp(members[i].values, members[0].values, 7 * sizeof(float)) == 0, "device %u differs", (unsigned)i);
        CHECK(fabsf(members[i].values[3] - 300 * (1 + (float)count) / 2) < 0.5f, "%g", (double)members[i].values[3]);
    }
    for (uint32_t i = 0; i < count; i++) free(members[i].values);
    take_devices(members, count);
}

/* ---- Failures ---- */

static void *join_and_reduce_own_length(void *argument)
{
    struct member *m = argument;
    m->ok = cpu_backend.group_join(m->group, m->world.device, &m->err) &&
            group_sum_f32(m->group, m->values, m->values, m->length, &m->err);
    return NULL;
}

static void test_disagreement(uint32_t count)
{
    struct member members[MOST_MEMBERS];
    float values[MOST_MEMBERS][8] = {{0}};
    make_members(members, count);
    give_devices(members, count);
    for (uint32_t i = 0; i < MOST_MEMBERS; i++) { /* more than take part does no harm */
        members[i].values = values[i];
        members[i].length = i == 1 ? 7 : 8;
    }
    run_members(members, count, join_and_reduce_own_length);
    for (uint32_t i = 0; i < count; i++)
        CHECK(!members[i].ok && members[i].err.kind == ERROR_FAILED, "device %u reduced another length", (unsigned)i);
    take_devices(members, count);
}

static void *fail_before_reducing(void *argument)
{
    struct member *m = argument;
    if (m->rank != 1) return join_and_reduce_own_length(argument);
    m->ok = cpu_backend.group_join(m->group, m->world.device, &m->err);
    usleep(20000);
    cpu_backend.group_abort(m->group);
    return NULL;
}

static void *fail_before_joining(void *argument)
{
    struct member *m = argument;
    if (m->rank != 1) return join_and_reduce_own_length(argument);
    usleep(20000);
    cpu_backend.group_abort(m->group);
    return NULL;
}

static void test_abort(uint32_t count, void *(*body)(void *))
{
    struct member members[MOST_MEMBERS];
    float values[MOST_MEMBERS][8] = {{0}};
    make_members(members, count);
    give_devices(members, count);
    for (uint32_t i = 0; i < MOST_MEMBERS; i++) { /* more than take part does no harm */
        members[i].values = values[i];
        members[i].length = 8;
    }
    run_members(members, count, body);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 1) continue;
        CHECK(!members[i].ok && members[i].err.kind == ERROR_FAILED, "device %u went on", (unsigned)i);
        CHECK(strstr(members[i].err.text, "abort"), "\"%s\"", members[i].err.text);
        struct error err = {0};
        CHECK(!group_sum_f32(members[i].group, values[i], values[i], 8, &err), "an aborted group works again");
    }
    take_devices(members, count);
}

static void test_wrong_ids(void)
{
    struct error err = {0};
    struct group *group = NULL, *other = NULL;
    struct group_id id, foreign = {.bytes = {1, 2, 3}};
    CHECK(cpu_backend.group_name(&id, &err), "%s", err.text);
    CHECK(!cpu_backend.group_create(&id, 0, 0, NULL, &group, &err) && !group, "a group of nobody");
    CHECK(!cpu_backend.group_create(&id, 1, 1, NULL, &group, &err) && !group, "rank 1 of 1");
    CHECK(!cpu_backend.group_create(&foreign, 0, 1, NULL, &group, &err) && !group, "another process's group");
    CHECK(cpu_backend.group_create(&id, 0, 2, NULL, &group, &err), "%s", err.text);
    CHECK(!cpu_backend.group_create(&id, 0, 2, NULL, &other, &err) && !other, "rank 0 twice");
    CHECK(!cpu_backend.group_create(&id, 1, 3, NULL, &other, &err) && !other, "of 2 and of 3");
    cpu_backend.group_destroy(group);
}

/* A peer that does not come is named, and nobody waits for it longer. */
static void *come_too_late(void *argument)
{
    struct member *m = argument;
    if (m->rank == 1) return NULL;
    m->ok = cpu_backend.group_join(m->group, m->world.device, &m->err);
    return NULL;
}

static void test_time_limit(void)
{
    struct member members[3];
    make_members(members, 3);
    members[0].limit_ns = 20000000;
    give_devices(members, 3);
    run_members(members, 3, come_too_late);
    int told = 0;
    for (uint32_t i = 0; i < 3; i += 2) {
        CHECK(!members[i].ok && members[i].err.kind == ERROR_FAILED, "device %u went on", (unsigned)i);
        told += strstr(members[i].err.text, "waited 0.02 s for device 1") != NULL;
    }
    CHECK(told >= 1, "\"%s\", \"%s\"", members[0].err.text, members[2].err.text);
    take_devices(members, 3);
}

/* ---- Synchronised batch normalisation: several devices equal one that has all images ---- */

static void *normalize_together(void *argument)
{
    struct member *m = argument;
    struct world *w = &m->world;
    struct rig rig;
    w->rank = m->rank;
    w->sync = true;
    m->ok = rig_init(&rig, w, OP_BN, PASS_FORWARD, &m->err) && world_device(w, 2 * rig.arena_bytes, 1, &m->err) &&
            w->backend->group_join(m->group, w->device, &m->err) && rig_run(w, &rig, &m->err) &&
            rig_init(&rig, w, OP_BN_BWD, PASS_BACKWARD, &m->err) && rig_run(w, &rig, &m->err);
    w->backend->device_destroy(w->device);
    return NULL;
}

/* Parts of a slot, image after image. */
static void compare_part(struct world *all, struct world *part, enum slot slot, uint64_t first, const char *what)
{
    uint64_t count = tensor_elements(&part->tensors[slot]);
    double worst = worst_error(world_f32(part, slot), world_f32(all, slot) + first, count);
    CHECK(worst < 5e-6, "%s on %s: relative error %g", what, part->backend->name, worst);
}

static void compare_gradient_sums(struct world *all, struct member *members, uint32_t count, enum slot slot)
{
    for (uint32_t c = 0; c < all->c.x[3]; c++) {
        double sum = 0, expected = (double)world_f32(all, slot)[c];
        for (uint32_t i = 0; i < count; i++) sum += (double)world_f32(&members[i].world, slot)[c];
        CHECK(fabs(sum - expected) < 1e-4 * (fabs(expected) + 1), "channel %u: %g, one device %g", (unsigned)c, sum,
              expected);
    }
}

static void test_sync_bn(const struct backend *backend, uint32_t count, uint32_t channels)
{
    const uint32_t images[MOST_MEMBERS] = {2, 5, 3};
    struct ops_case whole = {.name = "sync", .kind = OP_BN, .x = {0, 9, 9, channels}, .relu = true};
    for (uint32_t i = 0; i < count; i++) whole.x[0] += images[i];
    struct world all;
    struct error err = {0};
    world_init(&all, backend, &whole);
    all.threads = 1;
    world_randomize(&all, 9);
    struct member members[MOST_MEMBERS];
    make_members(members, count);
    uint64_t image = 81ull * channels, first = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct ops_case part = whole;
        part.x[0] = images[i];
        world_init(&members[i].world, backend, &part);
        world_randomize(&members[i].world, 9);
        memcpy(members[i].world.values[X], world_f32(&all, X) + first, images[i] * image * sizeof(float));
        memcpy(members[i].world.values[DY], world_f32(&all, DY) + first, images[i] * image * sizeof(float));
        first += images[i] * image;
    }
    CHECK(world_run(&all, OP_BN, PASS_FORWARD, &err), "%s", err.text);
    CHECK(world_run(&all, OP_BN_BWD, PASS_BACKWARD, &err), "%s", err.text);
    run_members(members, count, normalize_together);
    first = 0;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(members[i].ok, "%s", members[i].err.text);
        CHECK(members[i].world.canaries_held, "bytes outside were written");
        compare_part(&all, &members[i].world, Y, first, "y");
        compare_part(&all, &members[i].world, DX, first, "dx");
        compare_part(&all, &members[i].world, MEAN, 0, "mean");
        compare_part(&all, &members[i].world, VARIANCE, 0, "variance");
        compare_part(&all, &members[i].world, RUNNING_MEAN, 0, "running mean");
        compare_part(&all, &members[i].world, RUNNING_VARIANCE, 0, "running variance");
        first += images[i] * image;
    }
    compare_gradient_sums(&all, members, count, DGAMMA);
    compare_gradient_sums(&all, members, count, DBETA);
    for (uint32_t i = 0; i < count; i++) world_finish(&members[i].world);
    world_finish(&all);
    drop_groups(members, count);
}

int main(void)
{
    /* Every device has one thread. */
    alarm(200); /* a deadlock is a failure */
    for (uint32_t count = 1; count <= MOST_MEMBERS; count++) {
        test_all_reduce(count, 1);
        test_all_reduce(count, 1001);
        test_many_rounds(count);
        test_halves(count, false);
        test_halves(count, true);
    }
    for (uint32_t count = 2; count <= MOST_MEMBERS; count++) {
        test_disagreement(count);
        test_abort(count, fail_before_reducing);
        test_abort(count, fail_before_joining);
        test_sync_bn(&cpu_backend, count, 16);
        test_sync_bn(&cpu_backend, count, 12);
        test_sync_bn(&cpu_reference_backend, count, 5);
    }
    test_wrong_ids();
    test_time_limit();
    if (failures) fprintf(stderr, "%d failures\n", failures);
    return failures != 0;
}
