#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "files.h"
#include "place.h"
#include "place_csv.h"
#include "place_svg.h"
#include "units.h"

#define PROGRESS_TERMINAL_SECONDS 0.1
#define PROGRESS_LINE_SECONDS     10.0

struct request {
    const char *path, *out, *svg;
    uint64_t capacity, seed, threads;
    double seconds;
    bool minimise, json;
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

static bool parse(int argc, char **argv, struct request *request, struct error *err)
{
    const struct option_spec specs[] = {
        {"capacity", 0, OPTION_BYTES, &request->capacity, 1, 4.6e18},
        {"minimise", 0, OPTION_FLAG, &request->minimise},
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
        return error_set(err, ERROR_INPUT, "a CSV file is wanted: fathom place FILE --capacity BYTES | --minimise");
    if ((request->capacity > 0) == request->minimise)
        return error_set(err, ERROR_INPUT, "either --capacity BYTES or --minimise is wanted, %s",
                         request->minimise ? "not both" : "and neither was given");
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

static bool solve(const struct request *request, struct place_table *table, struct place_result *result,
                  struct error *err)
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
    bool ok = place_solve(table->buffers, table->count, &options, result, err);
    sigaction(SIGINT, &before, NULL);
    if (progress.shown && progress.terminal) fputs("\r\033[K", stderr);
    return ok || error_prefix(err, "%s, buffers counted from 0", request->path);
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

static void print_json(const struct request *request, const struct place_table *table,
                       const struct place_result *result)
{
    printf("{\"buffers\": %zu, ", table->count);
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

static void print_plain(const struct request *request, const struct place_table *table,
                        const struct place_result *result)
{
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
}

static bool answer(const struct request *request, const struct place_table *table, const struct place_result *result,
                   struct error *err)
{
    if (request->out) TRY(place_table_write(table, request->out, err));
    if (request->svg) TRY(write_svg(request, table, result, err));
    if (request->json)
        print_json(request, table, result);
    else
        print_plain(request, table, result);
    return true;
}

static int run(int argc, char **argv, struct error *err)
{
    struct request request = {.seconds = 10};
    struct place_table table;
    struct place_result result;
    if (!parse(argc, argv, &request, err)) return 2;
    if (!place_table_read(&table, request.path, err)) return 2;
    bool ok = solve(&request, &table, &result, err) && answer(&request, &table, &result, err);
    place_table_finish(&table);
    if (!ok) return 1;
    return request.capacity > 0 && result.arena_bytes > request.capacity ? 1 : 0;
}

static const char manual[] =
    "NAME\n"
    "    fathom place - offsets for buffers with lifetimes, in the smallest arena\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom place FILE --capacity BYTES | --minimise [--time S] [-o OUT.csv] [--svg FILE]\n"
    "                 [--json] [--seed N] [--threads N]\n"
    "\n"
    "DESCRIPTION\n"
    "    FILE is CSV with a header: id, lower, upper and size in any order, optionally alignment\n"
    "    and offset. A buffer lives at the instants lower <= t < upper and takes size bytes, rounded\n"
    "    up to its alignment. A number under offset fixes the buffer there; empty or -1 leaves it\n"
    "    free. Buffers that live together never overlap in the answer.\n"
    "\n"
    "    No arena is smaller than the largest sum of sizes that live at one instant: the bound. Fast\n"
    "    placers come first; where they miss the bound, an exact search follows. A placement at the\n"
    "    bound is optimal; so is one below which the search has looked everywhere.\n"
    "\n"
    "OPTIONS\n"
    "    --capacity BYTES  stop at the first placement within BYTES (1048576, 512MiB, 1.5GiB)\n"
    "    --minimise        look for the smallest arena\n"
    "    --time S          seconds for the exact search; 0 = fast placers only (default 10)\n"
    "    -o, --out FILE    write the rows with their offsets as CSV\n"
    "    --svg FILE        draw the arena: time across, address up\n"
    "    --json            print one JSON object: arena_bytes, lower_bound_bytes, proved_optimal,\n"
    "                      seconds, nodes, peak_instant, buffers; with --capacity also fits and\n"
    "                      proved_impossible\n"
    "    --seed N          restarts differ by seed; the same seed and threads give the same answer\n"
    "                      unless the time runs out (default 0)\n"
    "    --threads N       search threads, 1 to 64 (default: one per core)\n"
    "\n"
    "    Ctrl-C ends the search; the best placement so far is the answer.\n"
    "\n"
    "EXIT STATUS\n"
    "    0  done; with --capacity, it fits\n"
    "    1  it was not made to fit (the output says whether that is proved), or writing failed\n"
    "    2  the command or the file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom place problem.csv --capacity 1048576 -o placed.csv\n"
    "    fathom place problem.csv --minimise --time 60 --svg arena.svg\n";

const struct command command_place = {"place", "offsets for buffers with lifetimes, in the smallest arena", manual,
                                      run};
