#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "files.h"
#include "mem.h"
#include "place.h"
#include "place_chunks.h"
#include "place_import.h"
#include "place_svg.h"
#include "units.h"

#define PROGRESS_TERMINAL_SECONDS 0.1
#define PROGRESS_LINE_SECONDS     10.0

struct request {
    const char *path, *out, *svg;
    uint64_t capacity, chunks, chunk_bytes, seed, threads;
    double seconds;
    bool minimise, json;
};

/* One of the two is filled: chunks where --chunks was given. */
struct outcome {
    struct place_source source;
    struct place_result arena;
    struct place_chunks_result chunks;
};

struct progress {
    bool terminal, shown;
    double last;
};

static atomic_bool interrupted;

static void interrupt(int signal)
{
    (void)signal;
    atomic_store(&interrupted, true);
}

static bool check_aims(const struct request *request, struct error *err)
{
    if ((request->chunks > 0) != (request->chunk_bytes > 0))
        return error_set(err, ERROR_INPUT, "--chunks N and --chunk-size BYTES go together; --chunk%s is missing",
                         request->chunks > 0 ? "-size" : "s");
    if (request->chunks > 0 && (request->capacity > 0 || request->minimise))
        return error_set(err, ERROR_INPUT, "--chunks goes without --%s: the chunks are the capacity",
                         request->minimise ? "minimise" : "capacity");
    if (request->chunks == 0 && (request->capacity > 0) == request->minimise)
        return error_set(err, ERROR_INPUT, "either --capacity BYTES or --minimise is wanted, %s",
                         request->minimise ? "not both" : "and neither was given");
    return true;
}

static bool parse(int argc, char **argv, struct request *request, struct error *err)
{
    const struct option_spec specs[] = {
        {"capacity", 0, OPTION_BYTES, &request->capacity, 1, 4.6e18},
        {"minimise", 0, OPTION_FLAG, &request->minimise},
        {"chunks", 0, OPTION_COUNT, &request->chunks, 1, 1e6},
        {"chunk-size", 0, OPTION_BYTES, &request->chunk_bytes, 1, 4.6e18},
        {"time", 0, OPTION_REAL, &request->seconds, 0, 1e9},
        {"out", 'o', OPTION_TEXT, &request->out},
        {"svg", 0, OPTION_TEXT, &request->svg},
        {"json", 0, OPTION_FLAG, &request->json},
        {"seed", 0, OPTION_COUNT, &request->seed},
        {"threads", 0, OPTION_COUNT, &request->threads, 1, 64},
    };
    const char *words[1];
    size_t word_count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 1, &word_count, err));
    if (word_count == 0)
        return error_set(err, ERROR_INPUT,
                         "a CSV file, an ONNX model or a memory snapshot is wanted: fathom place FILE --capacity BYTES "
                         "| --minimise");
    TRY(check_aims(request, err));
    request->path = words[0];
    return true;
}

static void show_progress(void *context, uint64_t bound, uint64_t best, double seconds)
{
    struct progress *progress = context;
    double every = progress->terminal ? PROGRESS_TERMINAL_SECONDS : PROGRESS_LINE_SECONDS;
    if (seconds - progress->last < every) return;
    progress->last = seconds;
    progress->shown = true;
    double gap = bound > 0 ? 100.0 * ((double)best / (double)bound - 1) : 0;
    fprintf(stderr, "%sbound %" PRIu64 "  best %" PRIu64 "  gap %.2f %%  %.1f s%s", progress->terminal ? "\r" : "",
            bound, best, gap, seconds, progress->terminal ? "   " : "\n");
}

/* The table gets its column of chunks. */
static bool solve_chunks(const struct request *request, struct place_table *table, const struct place_options *options,
                         struct place_chunks_result *result, struct error *err)
{
    if (!table->chunk) {
        table->chunk = mem_alloc(MEM_GENERAL, table->count, sizeof *table->chunk);
        if (!table->chunk) return error_memory(err, table->count * sizeof *table->chunk, "the chunks");
        for (size_t i = 0; i < table->count; i++) table->chunk[i] = PLACE_UNPLACED;
    }
    return place_chunks_solve(table->buffers, table->chunk, table->count, request->chunk_bytes, request->chunks,
                              options, result, err);
}

static bool solve(const struct request *request, struct place_table *table, struct outcome *outcome, struct error *err)
{
    struct progress progress = {.terminal = isatty(STDERR_FILENO) != 0};
    struct place_options options = {.capacity = request->capacity,
                                    .seconds = request->seconds,
                                    .seed = request->seed,
                                    .threads = (uint32_t)request->threads,
                                    .progress = show_progress,
                                    .context = &progress,
                                    .stop = &interrupted};
    struct sigaction action = {.sa_handler = interrupt}, before;
    sigaction(SIGINT, &action, &before);
    bool ok = request->chunks > 0 ? solve_chunks(request, table, &options, &outcome->chunks, err)
                                  : place_solve(table->buffers, table->count, &options, &outcome->arena, err);
    sigaction(SIGINT, &before, NULL);
    if (progress.shown && progress.terminal) fputs("\r\033[K", stderr);
    return ok || error_prefix(err, "%s, buffers counted from 0", request->path);
}

/* Chunks are drawn end to end. */
static void lay_out(const struct request *request, struct place_table *table, struct place_result *result,
                    const struct place_chunks_result *chunks)
{
    for (size_t i = 0; i < table->count; i++) table->buffers[i].offset += table->chunk[i] * request->chunk_bytes;
    *result = (struct place_result){.arena_bytes = chunks->chunks * request->chunk_bytes,
                                    .lower_bound_bytes = chunks->lower_bound_bytes,
                                    .peak_instant = chunks->peak_instant};
}

static bool write_svg(const struct request *request, const struct place_table *table, const struct place_result *result,
                      struct error *err)
{
    struct text text = {0};
    const char *name = strrchr(request->path, '/');
    bool ok =
        place_svg(&text, name ? name + 1 : request->path, table->buffers, table->ids, table->count, result, err) &&
        files_write(request->svg, text.bytes, text.length, err);
    text_finish(&text);
    return ok;
}

static void print_source(const struct place_source *source)
{
    char text[UNITS_TEXT], human[UNITS_TEXT];
    if (!source->snapshot) return;
    printf("recorded   device %" PRIu64 ", %s events\n", source->device, units_format_count(source->events, text));
    printf("allocated  %s bytes at most (%s)\n", units_format_count(source->peak_bytes, text),
           units_format_bytes(source->peak_bytes, human));
    if (source->reserved_bytes > 0)
        printf("reserved   %s bytes at most (%s)\n", units_format_count(source->reserved_bytes, text),
               units_format_bytes(source->reserved_bytes, human));
}

static void print_saving(const struct place_source *source, uint64_t arena_bytes)
{
    char text[UNITS_TEXT], human[UNITS_TEXT];
    if (!source->snapshot || source->reserved_bytes <= arena_bytes) return;
    uint64_t saved = source->reserved_bytes - arena_bytes;
    printf("saved      %s bytes (%s), %.1f %% of what was reserved\n", units_format_count(saved, text),
           units_format_bytes(saved, human), 100.0 * (double)saved / (double)source->reserved_bytes);
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

static void print_json(const struct request *request, const struct place_table *table, const struct outcome *outcome)
{
    const struct place_result *result = &outcome->arena;
    printf("{\"buffers\": %zu, ", table->count);
    print_source_json(&outcome->source);
    if (request->capacity > 0)
        printf("\"capacity_bytes\": %" PRIu64 ", \"fits\": %s, \"proved_impossible\": %s, ", request->capacity,
               result->arena_bytes <= request->capacity ? "true" : "false",
               result->lower_bound_bytes > request->capacity ? "true" : "false");
    printf("\"arena_bytes\": %" PRIu64 ", \"lower_bound_bytes\": %" PRIu64 ", \"proved_optimal\": %s, "
           "\"peak_instant\": %" PRIu64 ", \"seconds\": %.6f, \"nodes\": %" PRIu64 "}\n",
           result->arena_bytes, result->lower_bound_bytes, result->proved_optimal ? "true" : "false",
           result->peak_instant, result->seconds, result->nodes);
}

static void print_capacity(const struct request *request, const struct place_result *result)
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

static void print_plain(const struct request *request, const struct place_table *table, const struct outcome *outcome)
{
    const struct place_result *result = &outcome->arena;
    print_source(&outcome->source);
    char text[UNITS_TEXT], human[UNITS_TEXT];
    printf("buffers    %s\n", units_format_count(table->count, text));
    printf("arena      %s bytes (%s)\n", units_format_count(result->arena_bytes, text),
           units_format_bytes(result->arena_bytes, human));
    printf("bound      %s bytes (%s), peak at instant %" PRIu64 "\n",
           units_format_count(result->lower_bound_bytes, text), units_format_bytes(result->lower_bound_bytes, human),
           result->peak_instant);
    if (result->proved_optimal)
        printf("optimal    no smaller arena exists\n");
    else if (result->lower_bound_bytes > 0)
        printf("gap        %.3f %%\n", 100.0 * ((double)result->arena_bytes / (double)result->lower_bound_bytes - 1));
    if (request->capacity > 0) print_capacity(request, result);
    printf("time       %s, %s search nodes\n", units_format_seconds(result->seconds, human),
           units_format_count(result->nodes, text));
    print_saving(&outcome->source, result->arena_bytes);
}

static void print_chunks_json(const struct request *request, const struct place_table *table,
                              const struct place_chunks_result *result)
{
    printf("{\"buffers\": %zu, \"chunks\": %" PRIu64 ", \"chunk_bytes\": %" PRIu64 ", \"fits\": %s, "
           "\"proved_impossible\": %s, \"chunks_used\": %" PRIu64 ", \"least_chunks\": %" PRIu64
           ", \"proved_least\": %s, \"lower_bound_bytes\": %" PRIu64 ", \"peak_instant\": %" PRIu64
           ", \"seconds\": %.6f}\n",
           table->count, request->chunks, request->chunk_bytes, result->chunks <= request->chunks ? "true" : "false",
           result->least_chunks > request->chunks ? "true" : "false", result->chunks, result->least_chunks,
           result->proved_least ? "true" : "false", result->lower_bound_bytes, result->peak_instant, result->seconds);
}

static void print_chunks(const struct request *request, const struct place_table *table,
                         const struct place_chunks_result *result)
{
    char text[UNITS_TEXT], human[UNITS_TEXT];
    printf("buffers    %s\n", units_format_count(table->count, text));
    printf("chunks     %" PRIu64 " of %s bytes (%s) used\n", result->chunks,
           units_format_count(request->chunk_bytes, text), units_format_bytes(request->chunk_bytes, human));
    printf("bound      %" PRIu64 " chunks%s; the live sum peaks at %s bytes (%s), instant %" PRIu64 "\n",
           result->least_chunks, result->proved_least ? ": proved that fewer do not suffice" : " at least",
           units_format_count(result->lower_bound_bytes, text), units_format_bytes(result->lower_bound_bytes, human),
           result->peak_instant);
    if (result->chunks <= request->chunks)
        printf("fits       in %" PRIu64 " chunks\n", request->chunks);
    else if (result->least_chunks > request->chunks)
        printf("impossible in %" PRIu64 " chunks: proved\n", request->chunks);
    else
        printf("not found  in %" PRIu64 " chunks; it may still exist\n", request->chunks);
    printf("time       %s\n", units_format_seconds(result->seconds, human));
}

/* The table's offsets are those of one arena afterwards where it was drawn. */
static bool answer_chunks(const struct request *request, struct place_table *table,
                          const struct place_chunks_result *result, struct error *err)
{
    struct place_result drawn;
    if (request->out) TRY(place_table_write(table, request->out, err));
    if (request->svg) {
        lay_out(request, table, &drawn, result);
        TRY(write_svg(request, table, &drawn, err));
    }
    if (request->json)
        print_chunks_json(request, table, result);
    else
        print_chunks(request, table, result);
    return true;
}

static bool answer(const struct request *request, struct place_table *table, const struct outcome *outcome,
                   struct error *err)
{
    if (request->chunks > 0) return answer_chunks(request, table, &outcome->chunks, err);
    if (request->out) TRY(place_table_write(table, request->out, err));
    if (request->svg) TRY(write_svg(request, table, &outcome->arena, err));
    if (request->json)
        print_json(request, table, outcome);
    else
        print_plain(request, table, outcome);
    return true;
}

static bool check_chunks(const struct request *request, const struct place_table *table, struct error *err)
{
    for (size_t i = 0; request->chunks == 0 && table->chunk && i < table->count; i++)
        if (table->chunk[i] != PLACE_UNPLACED)
            return error_set(err, ERROR_INPUT, "%s: its column 'chunk' wants --chunks N and --chunk-size BYTES",
                             request->path);
    return true;
}

static int run(int argc, char **argv, struct error *err)
{
    struct request request = {.seconds = 10};
    struct place_table table;
    struct outcome outcome;
    if (!parse(argc, argv, &request, err)) return 2;
    if (!place_import(&table, &outcome.source, request.path, err)) return 2;
    bool ok = check_chunks(&request, &table, err) && solve(&request, &table, &outcome, err) &&
              answer(&request, &table, &outcome, err);
    place_table_finish(&table);
    if (!ok) return 1;
    if (request.chunks > 0) return outcome.chunks.chunks > request.chunks ? 1 : 0;
    return request.capacity > 0 && outcome.arena.arena_bytes > request.capacity ? 1 : 0;
}

static const char manual[] =
    "NAME\n"
    "    fathom place - offsets for buffers with lifetimes, in the smallest arena\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom place FILE --capacity BYTES | --minimise | --chunks N --chunk-size BYTES\n"
    "                 [--time S] [-o OUT.csv] [--svg FILE] [--json] [--seed N] [--threads N]\n"
    "\n"
    "DESCRIPTION\n"
    "    FILE is CSV with a header: id, lower, upper and size in any order, optionally alignment,\n"
    "    offset and chunk. A buffer lives at the instants lower <= t < upper and takes size bytes, rounded\n"
    "    up to its alignment. A number under offset fixes the buffer there; empty or -1 leaves it\n"
    "    free. Buffers that live together never overlap in the answer.\n"
    "\n"
    "    FILE may also be an ONNX model, known by its content. Its activations are the buffers: a\n"
    "    graph input from instant 0, what node i makes from instant i, each until the last node that\n"
    "    reads it, outputs to the end. Initializers and constants are not placed, nodes' workspaces\n"
    "    are not known. Every shape must be in the model (onnx.shape_inference.infer_shapes adds\n"
    "    them) and no node may hold graphs of its own (If, Loop, Scan).\n"
    "\n"
    "    Or a PyTorch memory snapshot (torch.cuda.memory._dump_snapshot; the pickle is read, never\n"
    "    executed): each alloc until its free_completed, in 512 bytes as PyTorch rounds them, and\n"
    "    what was there before. The output then also says how much was allocated and reserved at\n"
    "    most. Of several devices the one with the most events.\n"
    "\n"
    "    No arena is smaller than the largest sum of sizes that live at one instant: the bound. Fast\n"
    "    placers come first; where they miss the bound, an exact search follows. A placement at the\n"
    "    bound is optimal; so is one below which the search has looked everywhere.\n"
    "\n"
    "    With --chunks the memory is N separate pieces of one size and each buffer lies wholly in\n"
    "    one; offsets count from the piece's start, and a fixed offset needs its chunk. The number\n"
    "    of chunks found is proved least only where it meets the bound of bin packing at some\n"
    "    instant (live sum, and Martello and Toth's L2); otherwise the output does not claim it.\n"
    "\n"
    "OPTIONS\n"
    "    --capacity BYTES  stop at the first placement within BYTES (1048576, 512MiB, 1.5GiB)\n"
    "    --minimise        look for the smallest arena\n"
    "    --chunks N        place into N chunks, 1 to 1000000; the out file gets a column 'chunk'\n"
    "    --chunk-size BYTES  of each chunk\n"
    "    --time S          seconds for the exact search; 0 = fast placers only (default 10)\n"
    "    -o, --out FILE    write the rows with their offsets as CSV\n"
    "    --svg FILE        draw the arena: time across, address up\n"
    "    --json            print one JSON object: arena_bytes, lower_bound_bytes, proved_optimal,\n"
    "                      seconds, nodes, peak_instant, buffers; with --capacity also fits and\n"
    "                      proved_impossible; with --chunks chunks_used, least_chunks,\n"
    "                      proved_least in place of the arena\n"
    "    --seed N          restarts differ by seed; the same seed and threads give the same answer\n"
    "                      unless the time runs out (default 0)\n"
    "    --threads N       search threads, 1 to 64 (default: one per core)\n"
    "\n"
    "    Ctrl-C ends the search; the best placement so far is the answer.\n"
    "\n"
    "EXIT STATUS\n"
    "    0  done; with --capacity or --chunks, it fits\n"
    "    1  it was not made to fit (the output says whether that is proved), or writing failed\n"
    "    2  the command or the file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom place problem.csv --capacity 1048576 -o placed.csv\n"
    "    fathom place problem.csv --minimise --time 60 --svg arena.svg\n"
    "    fathom place model.onnx --minimise -o problem.csv\n"
    "    fathom place snapshot.pickle --minimise --svg arena.svg\n"
    "    fathom place problem.csv --chunks 3 --chunk-size 512MiB -o placed.csv\n";

const struct command command_place = {"place", "offsets for buffers with lifetimes, in the smallest arena", manual,
                                      run};
