#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "codec.h"
#include "encoder.h"
#include "mem.h"
#include "past.h"
#include "random.h"
#include "stream.h"
#include "trace_samples.h"

static uint64_t any_number(struct random *random)
{
    uint64_t bits = (uint64_t)random_next(random) << 32 | random_next(random);
    return bits >> random_below(random, 64);
}

Test(trace_codec, numbers_come_back)
{
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 1, 0);
    static uint8_t bytes[TRACE_BLOCK_MOST];
    for (int round = 0; round < 200; round++) {
        uint64_t numbers[100];
        struct trace_out out = {bytes, 0, sizeof bytes};
        for (int i = 0; i < 100; i++) {
            numbers[i] = i == 0 ? UINT64_MAX : any_number(&random);
            trace_put_varint(&out, numbers[i]);
            trace_put_signed(&out, (int64_t)numbers[i]);
        }
        struct trace_in in = {bytes, bytes + out.length, false};
        for (int i = 0; i < 100; i++) {
            cr_assert_eq(trace_get_varint(&in), numbers[i]);
            cr_assert_eq(trace_get_signed(&in), (int64_t)numbers[i]);
        }
        cr_assert(!in.bad && in.at == in.end);
    }
}

Test(trace_codec, malformed_numbers_are_bad)
{
    const uint8_t endless[] = {0x80, 0x80, 0x80}, wide[] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 2};
    struct trace_in in = {endless, endless + sizeof endless, false};
    cr_assert_eq(trace_get_varint(&in), 0);
    cr_assert(in.bad && in.at == in.end);
    in = (struct trace_in){wide, wide + sizeof wide, false};
    cr_assert_eq(trace_get_varint(&in), 0);
    cr_assert(in.bad);
    in = (struct trace_in){wide, wide, false};
    cr_assert_eq(trace_get_varint(&in), 0);
    cr_assert(in.bad);
    size_t length = 7;
    const uint8_t cut[] = {5, 'x', 'y'};
    in = (struct trace_in){cut, cut + sizeof cut, false};
    trace_get_text(&in, &length);
    cr_assert(in.bad && length == 0);
}

static bool same_event(const struct trace_event *a, const struct trace_event *b)
{
    if (a->type != b->type || a->device != b->device || a->kind != b->kind || a->id != b->id) return false;
    if (a->type == TRACE_MARK) return a->ns == b->ns && memcmp(a->text, b->text, a->id) == 0;
    return a->begin_ns == b->begin_ns && a->end_ns == b->end_ns;
}

static struct trace_event any_event(struct random *random)
{
    static const char text[] = "some text of a mark, cut anywhere";
    struct trace_event event = {.type = (uint8_t)(1 + random_below(random, TRACE_EVENT_TYPES - 1))};
    if (event.type == TRACE_KERNEL) event.type = TRACE_COUNTER; /* has blocks of its own, as ops */
    event.end_ns = any_number(random);
    if (event.type != TRACE_LOST) event.begin_ns = any_number(random);
    if (event.type == TRACE_METRIC) {
        event.kind = (uint8_t)random_below(random, TRACE_METRICS);
        event.value = random_normal(random);
    } else if (event.type == TRACE_MARK) {
        event.text = text;
        event.id = random_below(random, sizeof text);
    } else {
        event.device = (uint16_t)random_below(random, TRACE_MOST_DEVICES);
    }
    if (event.type == TRACE_COUNTER) {
        event.id = random_below(random, TRACE_MOST_COUNTERS);
        event.value = random_normal(random);
    }
    if (event.type == TRACE_MEMORY || event.type == TRACE_GAP || event.type == TRACE_SPAN)
        event.kind = (uint8_t)random_below(random, 3);
    return event;
}

Test(trace_codec, any_events_come_back)
{
    struct random random = random_begin(2, RANDOM_SYNTHETIC, 2, 0);
    static uint8_t bytes[TRACE_BLOCK_MOST];
    for (int round = 0; round < 200; round++) {
        struct trace_event events[200], event;
        struct trace_out out = {bytes, 0, sizeof bytes};
        uint64_t base = any_number(&random);
        struct trace_event_state state = {base, 0};
        for (int i = 0; i < 200; i++) {
            events[i] = any_event(&random);
            size_t before = out.length;
            trace_encode_event(&state, &out, &events[i]);
            cr_assert_leq(out.length - before, TRACE_EVENT_ROOM + (events[i].type == TRACE_MARK ? events[i].id : 0));
        }
        struct trace_in in = {bytes, bytes + out.length, false};
        state = (struct trace_event_state){base, 0};
        for (int i = 0; i < 200; i++) {
            cr_assert(trace_decode_event(&state, &in, &event));
            cr_assert(same_event(&event, &events[i]), "round %d event %d type %d", round, i, events[i].type);
        }
        cr_assert_not(trace_decode_event(&state, &in, &event));
        cr_assert_not(in.bad);
    }
}

#define OPS 50
Test(trace_codec, any_ops_come_back_whatever_the_template)
{
    struct random random = random_begin(3, RANDOM_SYNTHETIC, 3, 0);
    static uint8_t bytes[TRACE_BLOCK_MOST];
    for (int round = 0; round < 300; round++) {
        struct trace_expected expected[OPS];
        for (uint32_t i = 0; i < OPS; i++)
            expected[i] = (struct trace_expected){random_below(&random, OPS + 5), (int32_t)any_number(&random),
                                                  (uint32_t)any_number(&random)};
        struct trace_template template = {expected, random_below(&random, OPS + 1)};
        struct trace_out out = {bytes, 0, sizeof bytes};
        uint64_t base = any_number(&random), times[200][2];
        uint32_t ids[200];
        struct trace_op_state state = {TRACE_NO_OP, base};
        for (int i = 0; i < 200; i++) {
            bool follows = i > 0 && random_below(&random, 4) > 0;
            ids[i] = follows ? trace_expect(&template, ids[i - 1]).next : random_below(&random, TRACE_MOST_OPS);
            if (ids[i] >= TRACE_MOST_OPS) ids[i] = 0;
            times[i][0] = any_number(&random);
            times[i][1] = any_number(&random);
            trace_encode_op(&state, &template, &out, ids[i], times[i][0], times[i][1]);
        }
        struct trace_in in = {bytes, bytes + out.length, false};
        state = (struct trace_op_state){TRACE_NO_OP, base};
        uint32_t id;
        uint64_t begin, end;
        for (int i = 0; i < 200; i++) {
            cr_assert(trace_decode_op(&state, &template, &in, &id, &begin, &end));
            cr_assert(id == ids[i] && begin == times[i][0] && end == times[i][1], "round %d op %d", round, i);
        }
        cr_assert_not(trace_decode_op(&state, &template, &in, &id, &begin, &end));
    }
}

Test(trace_codec, learns_the_step)
{
    struct trace_expected expected[3];
    for (int i = 0; i < 3; i++) expected[i] = (struct trace_expected){TRACE_NO_OP, 0, 0};
    struct trace_learned learned = {expected, 3, TRACE_NO_OP, 0};
    for (uint64_t step = 0; step < 40; step++) { /* in the order 2, 0, 1 */
        trace_learn(&learned, 2, step * 1000 + 100, step * 1000 + 200);
        trace_learn(&learned, 0, step * 1000 + 210, step * 1000 + 300 + step % 2);
        trace_learn(&learned, 1, step * 1000 + 290, step * 1000 + 400);
    }
    cr_assert(expected[2].next == 0 && expected[0].next == 1 && expected[1].next == 2);
    cr_assert_eq(expected[2].duration_ns, 100);
    cr_assert(abs((int)expected[0].duration_ns - 90) <= 2);
    cr_assert(abs(expected[1].gap_ns + 10) <= 3, "overlapping ops: %d", expected[1].gap_ns);
}

/* The busiest case there is: the 8,000 kernels of a ResNet-1001 step, each of a few microseconds, 3 % of noise. */
Test(trace_codec, takes_four_bytes_an_op)
{
    enum { ops = 8000, steps = 60 };
    char path[SAMPLE_PATH];
    sample_path(path);
    static struct trace_output output;
    static struct encoder encoder;
    static struct tables tables;
    struct error err = {0};
    cr_assert(trace_output_open(&output, path, 64 << 20, &err), "%s", err.text);
    encoder_init(&encoder, &output);
    cr_assert(encoder_expect(&encoder.devices[0].ops, ops));
    struct random random = random_begin(4, RANDOM_SYNTHETIC, 4, 0);
    uint64_t at = 1u << 30;
    static uint32_t usual[ops];
    for (int i = 0; i < ops; i++) usual[i] = 2000 + random_below(&random, 12000);
    for (int step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < ops; i++) {
            uint64_t begin = at + 900 + random_below(&random, 120);
            at = begin + (uint64_t)(usual[i] * (1 + 0.03 * random_normal(&random)));
            encoder_take(&encoder, &(struct trace_event){.type = TRACE_OP, .id = i, .begin_ns = begin, .end_ns = at});
            if (i % 2000 == 1999) encoder_flush(&encoder, &tables);
        }
    }
    encoder_end(&encoder);
    double each = (double)output.bytes / ((double)ops * steps);
    encoder_finish(&encoder);
    trace_output_close(&output);
    cr_assert_leq(each, 4.0, "%.2f bytes", each);

    struct trace_stream *stream;
    struct trace_item item;
    uint64_t count = 0;
    cr_assert(trace_stream_open(path, &stream, &err), "%s", err.text);
    while (trace_stream_next(stream, &item, &err) && item.type != TRACE_ITEM_NONE)
        if (item.type == TRACE_ITEM_EVENT) cr_assert_eq(item.event.id, count++ % ops);
    cr_assert_eq(count, (uint64_t)ops * steps);
    trace_stream_close(stream);
    unlink(path);
}

static struct trace_past any_past(struct random *random)
{
    static const char text[] = "what a mark says";
    struct trace_past past = {.type = (uint8_t)random_below(random, TRACE_PAST_TYPES)};
    if (past.type == PAST_STEP) {
        past.step = (struct rollup_step){.step = any_number(random), .begin_ns = any_number(random)};
        if (random_below(random, 4)) past.step.end_ns = past.step.begin_ns + any_number(random) / 4;
        for (int i = 0; i < TRACE_METRICS; i++)
            past.step.metric[i] = random_below(random, 2) ? NAN : (float)random_below(random, 3);
        return past;
    }
    if (past.type == PAST_MARK) {
        past.mark.ns = any_number(random);
        past.mark.text = text;
        past.mark.length = random_below(random, sizeof text);
        return past;
    }
    past.kind = (uint8_t)random_below(random, 2);
    past.device = random_below(random, TRACE_MOST_DEVICES);
    if (past.type == PAST_COUNTER) {
        past.id = random_below(random, TRACE_MOST_COUNTERS);
        past.value = (struct rollup_value){any_number(random), any_number(random), 1, -2, 3, random_normal(random)};
    } else if (past.type == PAST_MEMORY) {
        past.memory.used_bytes = any_number(random);
        past.memory.peak_bytes = any_number(random);
    } else {
        past.total = any_number(random);
    }
    return past;
}

static void check_same_past(const struct trace_past *a, const struct trace_past *b)
{
    cr_assert(a->type == b->type && a->kind == b->kind && a->device == b->device && a->id == b->id);
    if (a->type == PAST_STEP) {
        cr_assert(a->step.step == b->step.step && a->step.begin_ns == b->step.begin_ns);
        cr_assert_eq(a->step.end_ns, b->step.end_ns);
        for (int i = 0; i < TRACE_METRICS; i++)
            cr_assert(isnan(a->step.metric[i]) ? isnan(b->step.metric[i]) : a->step.metric[i] == b->step.metric[i]);
    } else if (a->type == PAST_MARK) {
        cr_assert(a->mark.ns == b->mark.ns && a->mark.length == b->mark.length);
        cr_assert_eq(memcmp(a->mark.text, b->mark.text, a->mark.length), 0);
    } else if (a->type == PAST_COUNTER) {
        cr_assert(a->value.count == b->value.count && a->value.last_ns == b->value.last_ns);
        cr_assert(a->value.last == 1 && b->value.least == -2 && b->value.most == 3 && a->value.sum == b->value.sum);
    } else if (a->type == PAST_MEMORY) {
        cr_assert(a->memory.used_bytes == b->memory.used_bytes && a->memory.peak_bytes == b->memory.peak_bytes);
    } else {
        cr_assert_eq(a->total, b->total);
    }
}

Test(trace_codec, any_past_comes_back)
{
    struct random random = random_begin(6, RANDOM_SYNTHETIC, 6, 0);
    static uint8_t bytes[TRACE_BLOCK_MOST];
    for (int round = 0; round < 200; round++) {
        static struct trace_past pasts[200];
        struct trace_past past;
        struct trace_out out = {bytes, 0, sizeof bytes};
        struct trace_past_state state = {0};
        for (int i = 0; i < 200; i++) {
            size_t before = out.length;
            pasts[i] = any_past(&random);
            trace_encode_past(&state, &out, &pasts[i]);
            cr_assert_leq(out.length - before, TRACE_PAST_ROOM);
        }
        struct trace_in in = {bytes, bytes + out.length, false};
        state = (struct trace_past_state){0};
        for (int i = 0; i < 200; i++) {
            cr_assert(trace_decode_past(&state, &in, &past));
            check_same_past(&pasts[i], &past);
        }
        cr_assert_not(trace_decode_past(&state, &in, &past));
        cr_assert_not(in.bad);
    }
}
