#include "place_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "page.h"
#include "printable.h"
#include "text.h"
#include "units.h"

#define LABEL                     11 /* columns of what a row begins with */
#define PEAK_NAMES                5  /* of the largest buffers at the peak, where not all are asked for */
#define PROGRESS_TERMINAL_SECONDS 0.1
#define PROGRESS_LINE_SECONDS     1.0

void place_progress_show(void *context, uint64_t bound, uint64_t best, double seconds)
{
    struct place_progress *progress = context;
    double every = progress->terminal ? PROGRESS_TERMINAL_SECONDS : PROGRESS_LINE_SECONDS;
    if (seconds - progress->last < every) return;
    progress->last = seconds;
    progress->shown = true;
    double gap = bound > 0 ? 100.0 * ((double)best / (double)bound - 1) : 0;
    fprintf(stderr, "%sbound %" PRIu64 "  best %" PRIu64 "  gap %.3f %%  %.1f s%s", progress->terminal ? "\r" : "",
            bound, best, gap, seconds, progress->terminal ? "   " : "\n");
}

void place_progress_end(struct place_progress *progress)
{
    if (progress->shown && progress->terminal) fputs("\r\033[K", stderr);
    progress->shown = false;
}

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

/* "12 bytes", of a kibibyte and more also "1,048,576 bytes (1.00 MiB)". */
static void add_bytes(struct text *line, uint64_t bytes)
{
    char text[UNITS_TEXT], human[UNITS_TEXT];
    text_add(line, "%s byte%s", units_format_count(bytes, text), plural(bytes));
    if (bytes >= 1024) text_add(line, " (%s)", units_format_bytes(bytes, human));
}

static void print_bytes(uint64_t bytes)
{
    struct text line = {0};
    add_bytes(&line, bytes);
    fputs(line.failed ? "" : line.bytes, stdout);
    text_finish(&line);
}

/* What makes the bound one: sums of live bytes, a fixed offset, or a search that ended. */
static const char *proof_of(const struct place_result *result)
{
    if (!result->proved_optimal) return NULL;
    if (result->arena_bytes == result->live_bytes) return "live sum";
    return result->arena_bytes == result->first_bound_bytes ? "fixed offsets" : "search";
}

static double percent_above(uint64_t value, uint64_t base)
{
    return base > 0 ? 100.0 * ((double)value / (double)base - 1) : 0;
}

static void print_source(const struct place_source *source)
{
    char text[UNITS_TEXT];
    if (!source->snapshot) return;
    printf("recorded   device %" PRIu64 ", %s event%s\n", source->device, units_format_count(source->events, text),
           plural(source->events));
    printf("allocated  at most ");
    print_bytes(source->peak_bytes);
    if (source->reserved_bytes > 0) {
        printf("\nreserved   at most ");
        print_bytes(source->reserved_bytes);
    }
    printf("\n");
}

/* What the plan takes of the two figures that the recording program reports of itself. */
static void print_saving(const struct place_source *source, uint64_t arena_bytes)
{
    if (!source->snapshot) return;
    if (source->peak_bytes > 0)
        printf("against    the peak of allocated bytes: %+.2f %%\n", percent_above(arena_bytes, source->peak_bytes));
    if (source->reserved_bytes == 0) return;
    if (source->reserved_bytes <= arena_bytes) {
        printf("saved      nothing: no more than the arena was reserved\n");
        return;
    }
    uint64_t saved = source->reserved_bytes - arena_bytes;
    printf("saved      ");
    print_bytes(saved);
    printf(", %.1f %% of what was reserved\n", 100.0 * (double)saved / (double)source->reserved_bytes);
}

static void print_source_json(const struct place_source *source)
{
    if (!source->snapshot) return;
    printf("\"recorded_device\": %" PRIu64 ", \"recorded_events\": %" PRIu64 ", \"recorded_peak_bytes\": %" PRIu64
           ", \"recorded_reserved_bytes\": ",
           source->device, source->events, source->peak_bytes);
    if (source->reserved_bytes > 0)
        printf("%" PRIu64 ", ", source->reserved_bytes);
    else
        printf("null, ");
}

static void print_live_json(const struct place_table *table, const struct place_outcome *outcome)
{
    printf("\"live\": [");
    for (size_t i = 0; i < outcome->live_count; i++) {
        if (i > 0) printf(", ");
        printable_write_json(stdout, table->ids[outcome->live[i]], strlen(table->ids[outcome->live[i]]));
    }
    printf("]");
}

static void print_live(const struct place_request *request, const struct place_table *table,
                       const struct place_outcome *outcome)
{
    char text[UNITS_TEXT];
    struct text line = {0};
    size_t named = request->live || outcome->live_count < PEAK_NAMES ? outcome->live_count : PEAK_NAMES;
    bool clocks = table->clocks.streams > 0;
    text_add(&line, clocks ? "%s buffer%s that all conflict" : "%s buffer%s at the peak",
             units_format_count(outcome->live_count, text), plural(outcome->live_count));
    for (size_t i = 0; i < named; i++) {
        const struct place_buffer *buffer = &table->buffers[outcome->live[i]];
        text_add(&line, "%s%s (%s)", i > 0 ? ", " : ": ", table->ids[outcome->live[i]],
                 units_format_bytes(buffer->size, text));
    }
    if (named < outcome->live_count) text_add(&line, " and %zu more (--live names all)", outcome->live_count - named);
    fputs("live       ", stdout);
    page_rest(stdout, LABEL, &line);
}

/* Clocks of several streams know no instant of all. */
static void print_instant_json(const struct place_table *table, uint64_t instant)
{
    if (table->clocks.streams > 0)
        printf("\"peak_instant\": null");
    else
        printf("\"peak_instant\": %" PRIu64, instant);
}

static void print_arena_json(const struct place_request *request, const struct place_table *table,
                             const struct place_outcome *outcome)
{
    const struct place_result *result = &outcome->arena;
    const char *proof = proof_of(result);
    printf("{\"buffers\": %zu, ", table->count);
    print_source_json(&outcome->source);
    if (request->capacity > 0)
        printf("\"capacity_bytes\": %" PRIu64 ", \"fits\": %s, \"proved_impossible\": %s, ", request->capacity,
               result->arena_bytes <= request->capacity ? "true" : "false",
               result->lower_bound_bytes > request->capacity ? "true" : "false");
    printf("\"arena_bytes\": %" PRIu64 ", \"lower_bound_bytes\": %" PRIu64 ", \"proved_optimal\": %s, ",
           result->arena_bytes, result->lower_bound_bytes, result->proved_optimal ? "true" : "false");
    printf("\"proof\": %s%s%s, ", proof ? "\"" : "", proof ? proof : "null", proof ? "\"" : "");
    printf("\"gap_bytes\": %" PRIu64 ", \"gap_percent\": %.6f, \"live_bytes\": %" PRIu64 ", ",
           result->arena_bytes - result->lower_bound_bytes,
           percent_above(result->arena_bytes, result->lower_bound_bytes), result->live_bytes);
    print_instant_json(table, result->peak_instant);
    printf(", ");
    printf("\"seconds\": %.6f, \"nodes\": %" PRIu64 ", \"seed\": %" PRIu64 ", \"threads\": %" PRIu64 ", ",
           result->seconds, result->nodes, request->seed, request->threads);
    if (outcome->source.reserved_bytes > result->arena_bytes)
        printf("\"saved_bytes\": %" PRIu64 ", ", outcome->source.reserved_bytes - result->arena_bytes);
    print_live_json(table, outcome);
    printf("}\n");
}

static void print_capacity(const struct place_request *request, const struct place_result *result)
{
    char capacity[UNITS_TEXT], seconds[UNITS_TEXT];
    units_format_count(request->capacity, capacity);
    if (result->arena_bytes <= request->capacity)
        printf("fits       in %s bytes\n", capacity);
    else if (result->lower_bound_bytes > request->capacity)
        printf("impossible in %s bytes: proved\n", capacity);
    else
        printf("not found  in %s bytes within %s; it may still exist\n", capacity,
               units_format_seconds(result->seconds, seconds));
}

static void print_gap(const struct place_result *result)
{
    char text[UNITS_TEXT];
    const char *proof = proof_of(result);
    if (!proof)
        printf("gap        %s bytes, %.3f %% above the bound\n",
               units_format_count(result->arena_bytes - result->lower_bound_bytes, text),
               percent_above(result->arena_bytes, result->lower_bound_bytes));
    else if (strcmp(proof, "live sum") == 0)
        printf("optimal    no smaller arena exists: so much lives at once\n");
    else if (strcmp(proof, "search") == 0)
        printf("optimal    no smaller arena exists: the search has been everywhere\n");
    else
        printf("optimal    no smaller arena exists: a fixed buffer ends there\n");
}

static void print_arena_bound(const struct place_table *table, uint64_t arena, uint64_t bound, uint64_t peak_instant)
{
    printf("arena      ");
    print_bytes(arena);
    printf("\nbound      ");
    print_bytes(bound);
    if (table->clocks.streams > 0)
        printf(", of buffers that all conflict\n");
    else
        printf(", peak at instant %" PRIu64 "\n", peak_instant);
}

static void print_arena(const struct place_request *request, const struct place_table *table,
                        const struct place_outcome *outcome)
{
    const struct place_result *result = &outcome->arena;
    char text[UNITS_TEXT], seconds[UNITS_TEXT];
    print_source(&outcome->source);
    printf("buffers    %s\n", units_format_count(table->count, text));
    print_arena_bound(table, result->arena_bytes, result->lower_bound_bytes, result->peak_instant);
    print_live(request, table, outcome);
    print_gap(result);
    if (request->capacity > 0) print_capacity(request, result);
    printf("time       %s, %s search node%s, seed %" PRIu64 ", %" PRIu64 " thread%s\n",
           units_format_seconds(result->seconds, seconds), units_format_count(result->nodes, text),
           plural(result->nodes), request->seed, request->threads, plural(request->threads));
    print_saving(&outcome->source, result->arena_bytes);
}

static bool chunks_are_alike(const struct place_request *request) { return request->chunk_bytes > 0; }

static void print_chunks_json(const struct place_request *request, const struct place_table *table,
                              const struct place_outcome *outcome)
{
    const struct place_chunks_result *result = &outcome->chunks;
    printf("{\"buffers\": %zu, \"chunks\": %zu, ", table->count, request->chunks);
    if (chunks_are_alike(request))
        printf("\"chunk_bytes\": %" PRIu64 ", ", request->chunk_bytes);
    else
        printf("\"chunk_bytes\": null, ");
    printf("\"fits\": %s, \"proved_impossible\": %s, ", result->chunks <= request->chunks ? "true" : "false",
           result->least_chunks > request->chunks ? "true" : "false");
    printf("\"chunks_used\": %" PRIu64 ", \"least_chunks\": %" PRIu64 ", \"proved_least\": %s, "
           "\"lower_bound_bytes\": %" PRIu64 ", \"peak_instant\": %" PRIu64 ", \"seconds\": %.6f, \"nodes\": %" PRIu64
           ", \"seed\": %" PRIu64 ", ",
           result->chunks, result->least_chunks, result->proved_least ? "true" : "false", result->lower_bound_bytes,
           result->peak_instant, result->seconds, result->nodes, request->seed);
    print_live_json(table, outcome);
    printf("}\n");
}

static void print_chunks_bound(const struct place_request *request, const struct place_chunks_result *result)
{
    struct text line = {0};
    if (chunks_are_alike(request))
        text_add(&line, "%" PRIu64 " chunk%s%s; ", result->least_chunks, plural(result->least_chunks),
                 result->proved_least ? ": proved that fewer do not suffice" : " at least");
    text_add(&line, "the live sum peaks at ");
    add_bytes(&line, result->lower_bound_bytes);
    text_add(&line, ", instant %" PRIu64, result->peak_instant);
    fputs("bound      ", stdout);
    page_rest(stdout, LABEL, &line);
}

static void print_chunks(const struct place_request *request, const struct place_table *table,
                         const struct place_outcome *outcome)
{
    const struct place_chunks_result *result = &outcome->chunks;
    char text[UNITS_TEXT], human[UNITS_TEXT];
    printf("buffers    %s\n", units_format_count(table->count, text));
    if (chunks_are_alike(request)) {
        printf("chunks     %" PRIu64 " of ", result->chunks);
        print_bytes(request->chunk_bytes);
        printf(" used\n");
    } else if (result->chunks <= request->chunks) {
        struct text line = {0};
        text_add(&line, "%" PRIu64 " of %zu used: ", result->chunks, request->chunks);
        for (const char *at = request->chunk_list; *at; at++) text_add(&line, "%c%s", *at, *at == ',' ? " " : "");
        fputs("chunks     ", stdout);
        page_rest(stdout, LABEL, &line);
    }
    print_chunks_bound(request, result);
    print_live(request, table, outcome);
    if (result->chunks <= request->chunks)
        printf("fits       in %zu chunk%s\n", request->chunks, plural(request->chunks));
    else if (result->least_chunks > request->chunks)
        printf("impossible in %zu chunk%s: proved\n", request->chunks, plural(request->chunks));
    else
        printf("not found  in %zu chunk%s; it may still exist\n", request->chunks, plural(request->chunks));
    printf("time       %s, %s search node%s\n", units_format_seconds(result->seconds, human),
           units_format_count(result->nodes, text), plural(result->nodes));
}

void place_report(const struct place_request *request, const struct place_table *table,
                  const struct place_outcome *outcome)
{
    if (request->chunks > 0)
        (request->json ? print_chunks_json : print_chunks)(request, table, outcome);
    else
        (request->json ? print_arena_json : print_arena)(request, table, outcome);
}

void place_report_check(const struct place_request *request, const struct place_table *table,
                        const struct place_judgement *judgement)
{
    char text[UNITS_TEXT];
    uint64_t bound =
        judgement->live_bytes > judgement->fixed_end_bytes ? judgement->live_bytes : judgement->fixed_end_bytes;
    const char *what = request->chunks > 0 ? "chunks_used" : "arena_bytes";
    if (request->json) {
        printf("{\"sound\": true, \"buffers\": %zu, \"%s\": %" PRIu64 ", \"lower_bound_bytes\": %" PRIu64 ", ",
               table->count, what, judgement->arena_bytes, bound);
        print_instant_json(table, judgement->peak_instant);
        printf("}\n");
        return;
    }
    printf("sound      %s buffer%s, none overlaps another%s\n", units_format_count(table->count, text),
           plural(table->count), request->problem ? ", as the problem has them" : "");
    if (request->chunks > 0) {
        printf("chunks     %" PRIu64 " of %zu used\n", judgement->arena_bytes, request->chunks);
        return;
    }
    print_arena_bound(table, judgement->arena_bytes, bound, judgement->peak_instant);
    if (judgement->arena_bytes == bound)
        printf("optimal    no smaller arena exists: it ends at the bound\n");
    else if (judgement->arena_bytes > bound)
        printf("gap        %s bytes, %.3f %% above what this file shows to be needed\n",
               units_format_count(judgement->arena_bytes - bound, text), percent_above(judgement->arena_bytes, bound));
}

void place_report_unsound(const struct error *why)
{
    printf("{\"sound\": false, \"reason\": ");
    printable_write_json(stdout, why->text, strlen(why->text));
    printf("}\n");
}
