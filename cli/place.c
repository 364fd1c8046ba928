#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "files.h"
#include "mem.h"
#include "outputs.h"
#include "place_fragments.h"
#include "place_report.h"
#include "place_svg.h"
#include "system_limits.h"
#include "printable.h"
#include "units.h"

static atomic_bool interrupted;

static void interrupt(int signal)
{
    (void)signal;
    atomic_store(&interrupted, true);
}

static bool check_aims(const struct place_request *request, struct error *err)
{
    bool chunks = request->chunk_list != NULL;
    if (!chunks && request->chunk_bytes > 0)
        return error_set(err, ERROR_INPUT, "--chunk-size goes with --chunks N, which is missing");
    if (chunks && (request->capacity > 0 || request->minimise))
        return error_set(err, ERROR_INPUT, "--chunks goes without --%s: the chunks are the capacity",
                         request->minimise ? "minimise" : "capacity");
    if (request->check && (request->minimise || request->out || request->svg))
        return error_set(err, ERROR_INPUT, "--check goes without --%s: it places nothing",
                         request->minimise ? "minimise"
                         : request->out    ? "output"
                                           : "svg");
    if (!request->check && !chunks && (request->capacity > 0) == request->minimise)
        return error_set(err, ERROR_INPUT, "%s",
                         request->minimise
                             ? "either --capacity BYTES or --minimise is wanted, not both"
                             : "one of --capacity BYTES, --minimise and --chunks LIST is wanted, and none was given");
    return true;
}

/* A number of chunks with their size, or a list that says both. */
static bool parse_chunks(struct place_request *request, struct error *err)
{
    const char *list = request->chunk_list;
    if (!list) return true;
    if (list[0] != '\0' && list[strspn(list, "0123456789")] == '\0') {
        uint64_t count;
        char text[64];
        if (request->chunk_bytes == 0)
            return error_set(err, ERROR_INPUT, "--chunks %s wants --chunk-size BYTES, or say --chunks %sx256MiB", list,
                             list);
        TRY(units_parse_count(list, "--chunks", 1, FRAGMENTS_MOST, &count, err));
        snprintf(text, sizeof text, "%" PRIu64 "x%" PRIu64, count, request->chunk_bytes);
        TRY(fragments_parse(text, "--chunks", &request->sizes, &request->chunks, err));
    } else if (request->chunk_bytes > 0) {
        return error_set(err, ERROR_INPUT, "--chunks %s has its sizes: --chunk-size goes with a number alone", list);
    } else {
        TRY(fragments_parse(list, "--chunks", &request->sizes, &request->chunks, err));
    }
    request->chunk_bytes = request->sizes[0];
    for (size_t i = 1; i < request->chunks; i++)
        if (request->sizes[i] != request->sizes[0]) request->chunk_bytes = 0;
    return true;
}

static bool take_words(struct place_request *request, const char **words, size_t count, struct error *err)
{
    if (count == 0)
        return error_set(err, ERROR_INPUT, "%s",
                         request->check
                             ? "a placed CSV file is wanted: fathom place --check PLACED.csv [PROBLEM.csv]"
                             : "a CSV file, an ONNX model or a memory snapshot is wanted: fathom place FILE --capacity "
                               "BYTES | --minimise");
    if (count > 1 && !request->check)
        return error_set(err, ERROR_INPUT, "'%s': one FILE is placed at a time", PRINTABLE_CUT(words[1], 60));
    request->path = options_input(words[0]);
    request->problem = count > 1 ? options_input(words[1]) : NULL;
    return true;
}

static bool parse(int argc, char **argv, struct place_request *request, struct error *err)
{
    const struct option_spec specs[] = {
        {"capacity", 0, OPTION_BYTES, &request->capacity, 1, 4.6e18},
        {"minimise", 0, OPTION_FLAG, &request->minimise},
        {"chunks", 0, OPTION_TEXT, &request->chunk_list},
        {"chunk-size", 0, OPTION_BYTES, &request->chunk_bytes, 1, 4.6e18},
        {"check", 0, OPTION_FLAG, &request->check},
        {"time", 0, OPTION_REAL, &request->seconds, 0, 1e9},
        {"memory", 0, OPTION_BYTES, &request->memory, 1, 4.6e18},
        {"output", 'o', OPTION_OUTPUT, &request->out},
        {"svg", 0, OPTION_OUTPUT, &request->svg},
        {"json", 0, OPTION_FLAG, &request->json},
        {"live", 0, OPTION_FLAG, &request->live},
        {"seed", 0, OPTION_COUNT, &request->seed},
        {"threads", 0, OPTION_COUNT, &request->threads, 1, 64},
    };
    const char *words[2];
    size_t count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 2, &count, err));
    TRY(take_words(request, words, count, err));
    TRY(check_aims(request, err));
    return parse_chunks(request, err);
}

/* The table gets its column of chunks. */
static bool solve_chunks(const struct place_request *request, struct place_table *table,
                         const struct place_options *options, struct place_chunks_result *result, struct error *err)
{
    if (!table->chunk) {
        table->chunk = mem_alloc(MEM_GENERAL, table->count, sizeof *table->chunk);
        if (!table->chunk) return error_memory(err, table->count * sizeof *table->chunk, "the chunks");
        for (size_t i = 0; i < table->count; i++) table->chunk[i] = PLACE_UNPLACED;
    }
    return fragments_solve(table->buffers, table->chunk, table->count, request->sizes, request->chunks, options, result,
                           err);
}

static bool list_live(const struct place_request *request, const struct place_table *table,
                      struct place_outcome *outcome, struct error *err)
{
    if (table->clocks.streams > 0) return true; /* the solver has said it */
    uint64_t instant = request->chunks > 0 ? outcome->chunks.peak_instant : outcome->arena.peak_instant;
    outcome->live = mem_alloc(MEM_GENERAL, table->count, sizeof *outcome->live);
    if (!outcome->live) return error_memory(err, table->count * sizeof *outcome->live, "the live buffers");
    return place_live_at(table->buffers, table->count, instant, outcome->live, &outcome->live_count, err);
}

static bool solve_clocks(struct place_table *table, const struct place_options *options, struct place_outcome *outcome,
                         struct error *err)
{
    outcome->live = mem_alloc(MEM_GENERAL, table->count, sizeof *outcome->live);
    if (!outcome->live) return error_memory(err, table->count * sizeof *outcome->live, "the live buffers");
    return place_clocks_solve(table->buffers, &table->clocks, table->count, options, &outcome->arena, outcome->live,
                              &outcome->live_count, err);
}

static bool solve(const struct place_request *request, struct place_table *table, struct place_outcome *outcome,
                  struct error *err)
{
    struct place_progress progress = {.terminal = isatty(STDERR_FILENO) != 0};
    struct place_options options = {.capacity = request->capacity,
                                    .seconds = request->seconds,
                                    .brief = true,
                                    .memory_bytes = request->memory,
                                    .seed = request->seed,
                                    .threads = (uint32_t)request->threads,
                                    .progress = place_progress_show,
                                    .context = &progress,
                                    .stop = &interrupted};
    struct sigaction action = {.sa_handler = interrupt}, before;
    sigaction(SIGINT, &action, &before);
    bool ok = table->clocks.streams > 0 ? solve_clocks(table, &options, outcome, err)
              : request->chunks > 0     ? solve_chunks(request, table, &options, &outcome->chunks, err)
                                        : place_solve(table->buffers, table->count, &options, &outcome->arena, err);
    sigaction(SIGINT, &before, NULL);
    place_progress_end(&progress);
    if (!ok) return error_prefix(err, "%s, buffers counted from 0", request->path);
    return list_live(request, table, outcome, err);
}

/* Chunks are drawn end to end; the table's offsets are addresses afterwards. */
static bool lay_out(const struct place_request *request, struct place_table *table, struct place_result *result,
                    const struct place_chunks_result *chunks, struct error *err)
{
    uint64_t *base = mem_alloc(MEM_GENERAL, chunks->chunks + request->chunks, sizeof *base), end = 0, largest = 0;
    if (!base) return error_memory(err, (chunks->chunks + request->chunks) * sizeof *base, "the picture");
    for (size_t c = 0; c < chunks->chunks + request->chunks; c++) {
        base[c] = end;
        if (c < request->chunks && request->sizes[c] > largest) largest = request->sizes[c];
        end += c < request->chunks ? request->sizes[c] : largest; /* what did not fit is drawn above */
    }
    *result =
        (struct place_result){.lower_bound_bytes = chunks->lower_bound_bytes, .peak_instant = chunks->peak_instant};
    for (size_t i = 0; i < table->count; i++) {
        struct place_buffer *buffer = &table->buffers[i];
        buffer->offset += base[table->chunk[i]];
        if (buffer->size > 0 && buffer->offset + buffer->size > result->arena_bytes)
            result->arena_bytes = buffer->offset + buffer->size;
    }
    mem_free(base);
    return true;
}

static bool write_svg(const struct place_request *request, const struct place_table *table,
                      const struct place_result *result, struct error *err)
{
    struct text text = {0};
    const char *name = strrchr(request->path, '/');
    bool ok =
        place_svg(&text, name ? name + 1 : request->path, table->buffers, table->ids, table->count, result, err) &&
        files_write(request->svg, text.bytes, text.length, err);
    text_finish(&text);
    return ok;
}

static bool answer(const struct place_request *request, struct place_table *table, const struct place_outcome *outcome,
                   struct error *err)
{
    struct place_result drawn = outcome->arena;
    if (request->out) TRY(place_table_write(table, request->out, err));
    if (request->svg && request->chunks > 0) TRY(lay_out(request, table, &drawn, &outcome->chunks, err));
    if (request->svg) TRY(write_svg(request, table, &drawn, err));
    place_report(request, table, outcome);
    return true;
}

static bool check_chunks(const struct place_request *request, const struct place_table *table, struct error *err)
{
    for (size_t i = 0; request->chunks == 0 && table->chunk && i < table->count; i++)
        if (table->chunk[i] != PLACE_UNPLACED)
            return error_set(err, ERROR_INPUT, "%s: its column 'chunk' wants --chunks LIST, the chunks' sizes",
                             request->path);
    return true;
}

static bool check_clocks(const struct place_request *request, const struct place_table *table, struct error *err)
{
    bool goes = table->clocks.streams == 0 || (request->chunks == 0 && !request->svg);
    return goes || error_set(err, ERROR_INPUT, "%s: its lifetimes are clocks of several streams, which go without --%s",
                             request->path, request->svg ? "svg" : "chunks");
}

static int exit_code(const struct place_request *request, const struct place_outcome *outcome)
{
    if (request->chunks > 0) return outcome->chunks.chunks > request->chunks ? 1 : 0;
    return request->capacity > 0 && outcome->arena.arena_bytes > request->capacity ? 1 : 0;
}

static bool check_outputs(const struct place_request *request, struct error *err)
{
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "fathom place", request->path, err));
    TRY(outputs_writes(&outputs, "--output", request->out, err));
    return outputs_writes(&outputs, "--svg", request->svg, err);
}

static int run_place(struct place_request *request, struct error *err)
{
    struct place_table table;
    struct place_outcome outcome = {0};
    if (request->threads == 0) request->threads = limits_processors() < 64 ? limits_processors() : 64;
    if (!check_outputs(request, err)) return 2;
    if (!place_import(&table, &outcome.source, request->path, err)) return 2;
    bool asked = check_chunks(request, &table, err) && check_clocks(request, &table, err);
    bool ok = asked && solve(request, &table, &outcome, err) && answer(request, &table, &outcome, err);
    mem_free(outcome.live);
    place_table_finish(&table);
    if (!asked) return 2;
    return ok ? exit_code(request, &outcome) : 1;
}

static int run_check(const struct place_request *request, struct error *err)
{
    struct place_table placed, problem = {0};
    struct place_source source;
    struct place_claim claim = {.capacity = request->capacity, .sizes = request->sizes, .chunks = request->chunks};
    struct place_judgement judgement;
    if (!place_table_read(&placed, request->path, err)) return 2;
    bool ok = check_chunks(request, &placed, err) && check_clocks(request, &placed, err) &&
              (!request->problem || place_import(&problem, &source, request->problem, err)) &&
              place_judge(&placed, request->path, request->problem ? &problem : NULL, request->problem, &claim,
                          &judgement, err);
    if (ok) place_report_check(request, &placed, &judgement);
    if (!ok && request->json && err->kind == ERROR_UNFIT) place_report_unsound(err);
    place_table_finish(&placed);
    place_table_finish(&problem);
    return ok ? 0 : 1;
}

static int run(int argc, char **argv, struct error *err)
{
    struct place_request request = {.seconds = 10};
    int code = 2;
    if (parse(argc, argv, &request, err)) code = request.check ? run_check(&request, err) : run_place(&request, err);
    mem_free(request.sizes);
    return code;
}

static const char *const manual[] = {
    "NAME\n"
    "    fathom place - offsets for buffers with lifetimes, in the smallest arena\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom place FILE --capacity BYTES | --minimise | --chunks LIST\n"
    "                 [--time S] [-o OUT.csv] [--svg FILE] [--json] [--live]\n"
    "                 [--seed N] [--threads N]\n"
    "    fathom place --check PLACED.csv [PROBLEM.csv]\n"
    "                 [--capacity BYTES | --chunks LIST] [--json]\n"
    "\n",

    "DESCRIPTION\n"
    "    FILE is CSV with a header: id, lower, upper and size in any order,\n"
    "    optionally alignment, offset, chunk and alias. A buffer lives at the\n"
    "    instants lower <= t < upper and takes size bytes, rounded up to its\n"
    "    alignment. A number under offset fixes the buffer there; empty or -1 leaves\n"
    "    it free. Buffers that live together never overlap in the answer. FILE - is\n"
    "    standard input.\n"
    "\n"
    "    Rows of one number under alias are names of one storage, such as views and\n"
    "    results in place: they share one offset and may live at the same time. At\n"
    "    each instant the largest of them counts; the storage's alignment is the\n"
    "    least common multiple of theirs. Empty, -1 or 0 is no alias.\n"
    "\n"
    "    Where lower and upper are clocks of several streams (3:0:7, as many numbers\n"
    "    in every row: the steps of each stream that are known to have happened),\n"
    "    buffers may share bytes when one ends before the other begins by all of\n"
    "    them, and otherwise conflict. The bound is then the heaviest set of buffers\n"
    "    that all conflict: up to 1500 rows the heaviest there is, beyond, of at\n"
    "    most 10000, a heavy one. Such rows go without alias, --chunks and --svg.\n"
    "\n"
    "    FILE may also be an ONNX model, known by its content. Its activations are\n"
    "    the buffers: a graph input from instant 0, what node i makes from instant i,\n"
    "    each until the last node that reads it, outputs to the end. Initializers and\n"
    "    constants are not placed, nodes' workspaces are not known. Every shape must\n"
    "    be in the model (onnx.shape_inference.infer_shapes adds them) and no node\n"
    "    may hold graphs of its own (If, Loop, Scan) or call a local function\n"
    "    (onnx.inliner.inline_local_functions puts those into the graph).\n"
    "\n"
    "    Or a PyTorch memory snapshot (torch.cuda.memory._dump_snapshot; the pickle\n"
    "    is read, never executed): each alloc until its free_completed, in 512 bytes\n"
    "    as PyTorch rounds them, and what was there before. The output then also says\n"
    "    how much was allocated and reserved at most. Of several devices the one with\n"
    "    the most events.\n"
    "\n"
    "    No arena is smaller than the largest sum of sizes that live at one instant:\n"
    "    the bound. Fast placers come first; where they miss the bound, an exact\n"
    "    search follows. A placement at the bound is optimal; so is one below which\n"
    "    the search has looked everywhere.\n"
    "\n"
    "    With --chunks the memory is separate pieces and each buffer lies wholly in\n"
    "    one; offsets count from the piece's start, and a fixed offset needs its\n"
    "    chunk. Of at most 64 storages it is decided whether they fit, given the\n"
    "    time; of more, what placers find is answered, and what the bound of bin\n"
    "    packing at some instant rules out (live sum, and Martello and Toth's L2).\n"
    "    The output says which of the two is proved. Where they do not fit, further\n"
    "    chunks of the largest size take the rest in the answer.\n"
    "\n"
    "    With --check nothing is placed: PLACED.csv has its offsets, and what is\n"
    "    wrong with them is said, by code that the placers share nothing with: an\n"
    "    overlap, an alignment, names of one storage apart, a row or a fixed offset\n"
    "    that is not PROBLEM.csv's, an end above BYTES.\n"
    "\n",

    "OPTIONS\n"
    "    --capacity BYTES  stop at the first placement within BYTES (1048576, 512MiB,\n"
    "                      1.5GiB)\n"
    "    --minimise        look for the smallest arena\n"
    "    --chunks LIST     place into chunks of these sizes (4x256MiB or\n"
    "                      2x256MiB,1GiB); the output file gets a column 'chunk'.\n"
    "                      Or a number, 1 to 1000000, with\n"
    "    --chunk-size BYTES\n"
    "                      of each chunk\n"
    "    --check           judge PLACED.csv\n"
    "    --time S          seconds for all of it (default 10); 0 = one pass of the\n"
    "                      fast placers, which from 100,000 rows on ends once it is\n"
    "                      within a sixteenth of the bound\n"
    "    --memory SIZE     most that the exact search may take (default 1GiB); where\n"
    "                      it needs more, placers alone are used\n"
    "    -o, --output FILE write the rows with their offsets as CSV; - is standard\n"
    "                      output\n"
    "    --svg FILE        draw the arena: time across, address up\n"
    "    --live            name all buffers that live at the peak, not the five\n"
    "                      largest alone\n"
    "    --json            print one JSON object: arena_bytes, lower_bound_bytes,\n"
    "                      proved_optimal, proof (live sum, fixed offsets, search or\n"
    "                      null), gap_bytes, gap_percent, live_bytes, peak_instant\n"
    "                      (null with clocks of streams), live (ids, the largest\n"
    "                      first), seconds, nodes, seed, threads, buffers; with\n"
    "                      --capacity also fits and proved_impossible; with --chunks\n"
    "                      chunks_used, least_chunks, proved_least in place of the\n"
    "                      arena; with --check sound, arena_bytes, lower_bound_bytes,\n"
    "                      peak_instant, or sound (false) and reason\n"
    "    --seed N          restarts differ by seed; the same seed and threads give\n"
    "                      the same answer unless the time runs out (default 0)\n"
    "    --threads N       search threads, 1 to 64 (default: one per core)\n"
    "\n"
    "    Ctrl-C ends the search; the best placement so far is the answer. Bound and\n"
    "    best are shown on standard error while the search runs: in one line on a\n"
    "    terminal, else in a line a second.\n"
    "\n",

    "EXIT STATUS\n"
    "    0  done; with --capacity or --chunks, it fits; with --check, it is sound\n"
    "    1  it was not made to fit (the output says whether that is proved), is not\n"
    "       sound, or writing failed\n"
    "    2  the command or the file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom place problem.csv --capacity 1048576 -o placed.csv\n"
    "    fathom place problem.csv --minimise --time 60 --svg arena.svg\n"
    "    fathom place model.onnx --minimise -o problem.csv\n"
    "    fathom place snapshot.pickle --minimise --svg arena.svg\n"
    "    fathom place problem.csv --chunks 2x512MiB,256MiB -o placed.csv\n"
    "    fathom place --check placed.csv problem.csv --capacity 1048576\n",
    NULL,
};

const struct command command_place = {"place", "offsets for buffers with lifetimes, in the smallest arena", manual,
                                      run};
