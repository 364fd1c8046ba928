#include "engines.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine_helper.h"
#include "files.h"
#include "locks.h"
#include "mem.h"

#define MOST_CRASHES 16 /* more of them than of answers: it is the helper that is broken, not a question */
#define LOCK_TRIES   100
#define LOCK_MILLIS  10

struct engines {
    struct engines_options options; /* with strings of its own */
    struct engine_helper *helper;   /* NULL = not to be asked */
    bool described;
    unsigned crashes;
    struct engine_book book;
    struct error fault;
    struct engines_counts counts;
    bool changed; /* beside what the carried file has */
};

/* ---- Beginning and end ---- */

static void set_fault(struct engines *engines, const struct error *why)
{
    if (engines->fault.kind == ERROR_NONE) engines->fault = *why;
    engine_helper_stop(engines->helper);
    engines->helper = NULL;
}

/* A carried file that is read first says which version the helper must have. */
static bool read_carried(struct engines *engines, struct error *err)
{
    const char *path = engines->options.carried;
    if (!path || access(path, F_OK) != 0) return true;
    TRY(engine_book_read(&engines->book, path, err));
    engines->counts.carried = engines->book.count;
    return true;
}

static bool start_helper(struct engines *engines, struct error *err)
{
    struct error why = {0};
    char here[ENGINE_VERSION_TEXT], there[ENGINE_VERSION_TEXT];
    if (!engines->options.helper) {
        error_set(&why, ERROR_FAILED, "this build of fathom was made without cuDNN");
    } else if (engine_helper_start(engines->options.helper, engines->options.helper_seconds, &engines->helper, &why)) {
        uint32_t cudnn = engine_helper_cudnn(engines->helper);
        if (engines->book.cudnn && engines->book.cudnn != cudnn)
            return error_set(err, ERROR_INPUT,
                             "%s: has the engines of cuDNN %s, and here is %s; remove it and let it be made again",
                             engines->options.carried, engine_version_words(engines->book.cudnn, there),
                             engine_version_words(cudnn, here));
        engines->book.cudnn = cudnn;
        return true;
    }
    /* What is carried may be all that is needed. */
    if (!engines->book.cudnn) set_fault(engines, &why);
    return true;
}

/* A copy of a string that may be missing. */
static bool own(const char **text, struct error *err)
{
    if (!*text) return true;
    size_t length = strlen(*text);
    *text = mem_strdup(MEM_PLAN, *text);
    return *text || error_memory(err, length, "a path");
}

static bool own_options(struct engines *engines, const struct engines_options *options, struct error *err)
{
    engines->options = *options;
    bool ok = own(&engines->options.helper, err);
    TRY_CONTINUE(ok, own(&engines->options.cache, err));
    TRY_CONTINUE(ok, own(&engines->options.carried, err));
    return ok;
}

struct engines *engines_create(const struct engines_options *options, struct error *err)
{
    struct engines *engines = mem_zalloc(MEM_PLAN, 1, sizeof *engines);
    if (!engines) {
        error_memory(err, sizeof *engines, "engines");
        return NULL;
    }
    engines->book.device = options->device;
    if (own_options(engines, options, err) && read_carried(engines, err) && start_helper(engines, err)) return engines;
    engines_destroy(engines);
    return NULL;
}

void engines_destroy(struct engines *engines)
{
    if (!engines) return;
    engine_helper_stop(engines->helper);
    engine_book_finish(&engines->book);
    mem_free((void *)(uintptr_t)engines->options.helper);
    mem_free((void *)(uintptr_t)engines->options.cache);
    mem_free((void *)(uintptr_t)engines->options.carried);
    mem_free(engines);
}

uint32_t engines_cudnn(const struct engines *engines) { return engines->book.cudnn; }
const struct engine_device *engines_device(const struct engines *engines) { return engines->options.device; }
struct engines_counts engines_counts(const struct engines *engines) { return engines->counts; }

const struct error *engines_fault(const struct engines *engines)
{
    return engines->fault.kind == ERROR_NONE ? NULL : &engines->fault;
}

/* ---- On disk ---- */

bool engines_cache_path(const char *folder, const struct engine_book *book, const struct engine_question *question,
                        char path[FILES_PATH])
{
    return snprintf(path, FILES_PATH, "%s/cudnn-%" PRIu32 "-%s-%s-%" PRIu32 ".json", folder, book->cudnn,
                    book->device->name, dtype_name((enum dtype)question->dtype), question->images) < FILES_PATH;
}

static bool cache_path(const struct engines *engines, const struct engine_question *question, char path[FILES_PATH])
{
    return engines_cache_path(engines->options.cache, &engines->book, question, path);
}

/* What is damaged or was described otherwise is asked for again, and written over. */
static void read_cache(struct engines *engines, const struct engine_question *question)
{
    struct engine_book *book = &engines->book;
    char path[FILES_PATH];
    struct error unsaid = {0};
    size_t before = book->count;
    if (!engines->options.cache || !cache_path(engines, question, path) || access(path, R_OK) != 0) return;
    engine_book_read(book, path, &unsaid);
    engines->counts.cached += book->count - before;
    if (book->count > before) engines->changed = true;
}

static bool lock_cache(const struct engines *engines, struct folder_lock *lock)
{
    struct error unsaid = {0};
    if (access(engines->options.cache, W_OK) != 0) return false;
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (locks_enter_folder(lock, engines->options.cache, &unsaid)) return true;
        poll(NULL, 0, LOCK_MILLIS);
    }
    return false;
}

/* With what other processes wrote meanwhile. A cache that cannot be written is none. */
static void write_cache(struct engines *engines, const struct engine_question *question)
{
    char path[FILES_PATH];
    struct folder_lock lock;
    struct error unsaid = {0};
    if (!engines->options.cache || !cache_path(engines, question, path)) return;
    if (!files_make_folder(engines->options.cache, &unsaid) || !lock_cache(engines, &lock)) return;
    if (access(path, R_OK) == 0) engine_book_read(&engines->book, path, &unsaid);
    engine_book_write(&engines->book, question, path, &unsaid);
    locks_leave_folder(&lock);
}

/* ---- Asking ---- */

static bool describe(struct engines *engines, struct error *err)
{
    char json[ENGINE_DEVICE_TEXT];
    if (engines->described) return true;
    TRY(engine_helper_describe(engines->helper, engine_device_json(engines->options.device, json), err));
    engines->described = true;
    return true;
}

/* A question over which cuDNN crashes is one without engines; another helper takes the next. */
static bool take_crash(struct engines *engines, const struct engine_question *question, struct engine_answer *answer,
                       struct error *err)
{
    struct engine_helper *next;
    struct error unsaid = {0};
    TRY(engine_helper_crashed(engines->helper) && 2 * ++engines->crashes <= MOST_CRASHES + engines->counts.asked);
    TRY(engine_helper_start(engines->options.helper, engines->options.helper_seconds, &next, &unsaid));
    engine_helper_stop(engines->helper);
    engines->helper = next;
    engines->described = false;
    *answer = (struct engine_answer){.question = *question};
    *err = (struct error){0};
    return true;
}

static bool ask(struct engines *engines, const struct engine_question *question, struct error *err)
{
    struct engine_answer answer;
    char words[ENGINE_QUESTION_TEXT];
    if (!engines->helper)
        return error_set(err, ERROR_INPUT, "%s: has no answer for %s (%s, %s), and cuDNN is not here to be asked",
                         engines->options.carried, engine_question_words(question, words),
                         engine_pass_name((enum engine_pass)question->pass), dtype_name((enum dtype)question->dtype));
    TRY(describe(engines, err));
    if (!engine_helper_ask(engines->helper, question, &answer, err)) TRY(take_crash(engines, question, &answer, err));
    TRY(engine_book_add(&engines->book, &answer, err));
    engines->counts.asked++;
    engines->changed = true;
    return true;
}

/* What is not known of an op's questions is asked. */
static bool ask_all_of(struct engines *engines, struct engine_question *question, struct error *err)
{
    struct engine_answer answer;
    do {
        if (!engine_book_find(&engines->book, question, &answer)) TRY(ask(engines, question, err));
    } while (engine_question_next(question));
    return true;
}

/* As it runs in the plan: first, and again or in evaluation. */
static bool ask_missing(struct engines *engines, const struct graph *graph, struct error *err)
{
    static const enum op_pass passes[] = {PASS_FORWARD, PASS_EVALUATE};
    for (size_t i = 0; i < graph->op_count; i++)
        for (size_t k = 0; k < 2; k++) {
            struct engine_question question;
            if (engine_question_of(graph, &graph->ops[i], passes[k], &question))
                TRY(ask_all_of(engines, &question, err));
        }
    return true;
}

/* All convolutions of a graph have its images and its dtype, so one file of the cache has them. */
static void prepare(struct engines *engines, const struct graph *graph, const struct engine_question *first)
{
    struct error why = {0};
    uint64_t asked = engines->counts.asked;
    if (engines->helper) read_cache(engines, first);
    bool ok = ask_missing(engines, graph, &why);
    if (engines->counts.asked > asked) write_cache(engines, first);
    if (!ok) set_fault(engines, &why);
}

/* False where one is not known. */
static bool find_answer(const struct engines *engines, struct engine_question question,
                        const struct engine_rules *rules, struct engine_answer *answer)
{
    do TRY(engine_book_find(&engines->book, &question, answer));
    while (!engines_choose(answer, rules) && engine_question_next(&question));
    return true;
}

bool engines_answer(struct engines *engines, const struct graph *graph, const struct op *op, enum op_pass pass,
                    const struct engine_rules *rules, struct engine_answer *answer)
{
    struct engine_question question;
    if (engines->fault.kind != ERROR_NONE || !engine_question_of(graph, op, pass, &question)) return false;
    if (!find_answer(engines, question, rules, answer)) prepare(engines, graph, &question);
    return engines->fault.kind == ERROR_NONE && find_answer(engines, question, rules, answer);
}

bool engines_answer_questions(struct engines *engines, const struct engine_question *questions, size_t count,
                              struct engine_answer *answer)
{
    struct error why = {0};
    uint64_t asked = engines->counts.asked;
    bool ok = true;
    if (engines->fault.kind != ERROR_NONE) return false;
    if (engine_book_find(&engines->book, &questions[0], answer)) return true;
    if (engines->helper) read_cache(engines, &questions[0]);
    for (size_t i = 0; ok && i < count; i++)
        ok = engine_book_find(&engines->book, &questions[i], answer) || ask(engines, &questions[i], &why);
    if (engines->counts.asked > asked) write_cache(engines, &questions[0]);
    if (!ok) set_fault(engines, &why);
    return ok && engine_book_find(&engines->book, &questions[0], answer);
}

bool engines_build_plans(struct engines *engines, const struct engine_wish *wishes, size_t count,
                         void (*tell)(void *context, size_t done, size_t all), void *context, struct error *err)
{
    const size_t before = engines->book.plan_count;
    const struct engine_plans_options options = {.helper = engines->options.helper,
                                                 .helper_seconds = engines->options.helper_seconds,
                                                 .tell = tell,
                                                 .context = context};
    if (!engines->helper) return true;
    bool ok = engine_plans_build(&engines->book, &options, wishes, count, err);
    if (engines->book.plan_count > before) engines->changed = true;
    return ok;
}

bool engines_save(struct engines *engines, struct error *err)
{
    if (!engines->options.carried || !engines->changed || engines->book.count == 0) return true;
    TRY(engine_book_write(&engines->book, NULL, engines->options.carried, err));
    engines->changed = false;
    return true;
}

/* ---- Choosing ---- */

static bool is_allowed(const struct engine_answer *answer, const struct engine *engine,
                       const struct engine_rules *rules)
{
    const uint32_t inexact = ENGINE_TENSOR_CORES | ENGINE_DOWN_CONVERTS;
    if (rules->deterministic && engine->notes & ENGINE_NONDETERMINISTIC) return false;
    if (answer->question.dtype == DTYPE_F32 && !rules->tf32 && engine->notes & inexact) return false;
    return rules->most_workspace_bytes == 0 || engine->workspace_bytes <= rules->most_workspace_bytes;
}

const struct engine *engines_choose(const struct engine_answer *answer, const struct engine_rules *rules)
{
    for (size_t i = 0; i < answer->count; i++)
        if (is_allowed(answer, &answer->engines[i], rules)) return &answer->engines[i];
    return NULL;
}

uint64_t engines_least_workspace(const struct engine_answer *answer, const struct engine_rules *rules)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < answer->count; i++)
        if (is_allowed(answer, &answer->engines[i], rules) && answer->engines[i].workspace_bytes < least)
            least = answer->engines[i].workspace_bytes;
    return least;
}
