#define _GNU_SOURCE
#include "curves.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "json.h"
#include "mem.h"

#define LINE_MOST 1024

/* ---- Adding ---- */

static void merge(struct curve_bin *into, const struct curve_bin *next)
{
    into->last = next->last;
    into->count += next->count;
    into->loss += next->loss;
    into->error += next->error;
}

/* Twice as wide bins, half as many. */
static void widen(struct curves *c)
{
    for (size_t i = 0; i < CURVES_BINS / 2; i++) {
        c->bins[i] = c->bins[2 * i];
        if (2 * i + 1 < c->bin_count) merge(&c->bins[i], &c->bins[2 * i + 1]);
    }
    c->bin_count = (c->bin_count + 1) / 2;
    c->width *= 2;
}

static void add_to_bin(struct curves *c, const struct train_status *s)
{
    struct curve_bin own = {.first = s->step, .last = s->step};
    if (isfinite(s->loss)) own = (struct curve_bin){s->step, s->step, 1, s->loss, s->train_error};
    if (c->width == 0) c->width = 1;
    bool fresh = c->bin_count == 0 || s->step - c->bins[c->bin_count - 1].first >= c->width;
    if (fresh && c->bin_count == CURVES_BINS) {
        widen(c);
        fresh = s->step - c->bins[c->bin_count - 1].first >= c->width;
    }
    if (fresh)
        c->bins[c->bin_count++] = own;
    else
        merge(&c->bins[c->bin_count - 1], &own);
}

static void see_loss(struct curves *c, const struct train_status *s)
{
    if (c->last_step == 0) c->best_loss = NAN;
    c->last_step = s->step;
    c->last_loss = isfinite(s->loss) ? s->loss : NAN;
    if (isfinite(s->loss) && !(c->best_loss <= s->loss)) c->best_loss = s->loss;
}

bool curves_add(struct curves *c, const struct train_status *s, struct error *err)
{
    if (s->evaluated) {
        if (!mem_grow(MEM_GENERAL, (void **)&c->tests, &c->test_capacity, c->test_count + 1, sizeof *c->tests))
            return error_memory(err, (c->test_count + 1) * sizeof *c->tests, "the curves of a run");
        c->tests[c->test_count++] = (struct curve_test){s->step, s->test_loss, s->top1_error, s->top5_error};
    }
    add_to_bin(c, s);
    see_loss(c, s);
    return true;
}

void curves_finish(struct curves *c)
{
    mem_free(c->tests);
    *c = (struct curves){0};
}

/* ---- Reading ---- */

struct reading {
    const char *path;
    uint64_t line;
    float *speeds;
    size_t count, capacity;
};

/* null = not finite; what is not there is not known either. */
static double number_or_nan(const json_t *object, const char *field)
{
    const json_t *found = json_object_get(object, field);
    return json_is_number(found) ? json_number_value(found) : NAN;
}

static bool read_line(struct reading *r, const char *bytes, size_t length, struct train_status *s, struct error *err)
{
    char where[FILES_PATH + 64];
    snprintf(where, sizeof where, "%s: line %" PRIu64, r->path, r->line);
    json_t *object = json_parse_line(bytes, length, r->path, r->line, err);
    bool ok = object && json_get_u64(object, "step", where, UINT64_MAX / 4, &s->step, err);
    if (ok && s->step == 0) ok = error_set(err, ERROR_INPUT, "%s: step 0; steps are counted from 1", where);
    *s = (struct train_status){.step = s->step,
                               .loss = number_or_nan(object, "loss"),
                               .train_error = number_or_nan(object, "train_error"),
                               .images_per_second = number_or_nan(object, "images_per_second"),
                               .evaluated = json_object_get(object, "test_loss") != NULL,
                               .test_loss = number_or_nan(object, "test_loss"),
                               .top1_error = number_or_nan(object, "top1_error"),
                               .top5_error = number_or_nan(object, "top5_error")};
    json_decref(object);
    return ok;
}

static bool note_speed(struct reading *r, double speed, struct error *err)
{
    if (!(speed > 0)) return true;
    if (!mem_grow(MEM_GENERAL, (void **)&r->speeds, &r->capacity, r->count + 1, sizeof *r->speeds))
        return error_memory(err, (r->count + 1) * sizeof *r->speeds, "the speeds of a run");
    r->speeds[r->count++] = (float)speed;
    return true;
}

static bool take_line(struct reading *r, const char *line, uint64_t last, struct curves *c, struct error *err)
{
    struct train_status s = {0};
    TRY(read_line(r, line, strlen(line), &s, err));
    if (s.step > last) return true;
    if (s.step <= c->last_step)
        return error_set(err, ERROR_INPUT, "%s: line %" PRIu64 ": step %" PRIu64 " after step %" PRIu64, r->path,
                         r->line, s.step, c->last_step);
    return note_speed(r, s.images_per_second, err) && curves_add(c, &s, err);
}

static int compare_speeds(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(struct reading *r)
{
    if (r->count == 0) return 0;
    qsort(r->speeds, r->count, sizeof *r->speeds, compare_speeds);
    return (double)r->speeds[r->count / 2];
}

bool curves_read(const char *path, uint64_t last, struct curves *c, struct error *err)
{
    struct reading r = {.path = path};
    char line[LINE_MOST];
    int fd;
    TRY(files_open(path, FILES_REGULAR, &fd, err));
    FILE *from = fdopen(fd, "r");
    if (!from) {
        close(fd);
        return error_set(err, ERROR_INPUT, "%s: cannot be read", path);
    }
    bool ok = true;
    while (ok && fgets(line, sizeof line, from)) {
        r.line++;
        if (strchr(line, '\n'))
            ok = take_line(&r, line, last, c, err);
        else if (!feof(from))
            ok = error_set(err, ERROR_INPUT, "%s: line %" PRIu64 " is too long for a log's", path, r.line);
    }
    fclose(from);
    if (ok) c->images_per_second = median(&r);
    mem_free(r.speeds);
    return ok;
}

/* ---- Tests ---- */

const struct curve_test *curves_best_test(const struct curves *c)
{
    const struct curve_test *best = NULL;
    for (size_t i = 0; i < c->test_count; i++)
        if (isfinite(c->tests[i].top1_error) && (!best || c->tests[i].top1_error < best->top1_error))
            best = &c->tests[i];
    return best;
}

const struct curve_test *curves_last_test(const struct curves *c)
{
    const struct curve_test *last = c->test_count ? &c->tests[c->test_count - 1] : NULL;
    return last && isfinite(last->top1_error) ? last : NULL;
}
