#include "engine_plans.h"

#include "engine_helper.h"
#include "mem.h"
#include "thread.h"

#define MOST_THREADS   16
#define PLANS_A_HELPER 4 /* fewer are built before another helper has begun */

struct builder {
    struct engine_book *book;
    const struct engine_plans_options *options;
    const struct engine_wish **missing;
    size_t count;
    pthread_mutex_t lock; /* over the book and what follows */
    size_t next;
    struct error first;
};

/* ---- A thread with a helper ---- */

static const struct engine_wish *take(struct builder *b)
{
    const struct engine_wish *wish = NULL;
    pthread_mutex_lock(&b->lock);
    if (b->first.kind == ERROR_NONE && b->next < b->count) {
        wish = b->missing[b->next++];
        if (b->options->tell) b->options->tell(b->options->context, b->next, b->count);
    }
    pthread_mutex_unlock(&b->lock);
    return wish;
}

static void fail(struct builder *b, const struct error *err)
{
    pthread_mutex_lock(&b->lock);
    if (b->first.kind == ERROR_NONE) b->first = *err;
    pthread_mutex_unlock(&b->lock);
}

static bool keep(struct builder *b, const struct engine_wish *wish, char *text, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    bool ok = !text || engine_book_set_plan(b->book, &wish->question, &wish->engine, text, err);
    pthread_mutex_unlock(&b->lock);
    mem_free(text);
    return ok;
}

static bool start(const struct builder *b, struct engine_helper **helper, struct error *err)
{
    char json[ENGINE_DEVICE_TEXT];
    return engine_helper_start(b->options->helper, b->options->helper_seconds, helper, err) &&
           engine_helper_describe(*helper, engine_device_json(b->book->device, json), err);
}

static bool build(struct builder *b, struct engine_helper **helper, struct error *err)
{
    const struct engine_wish *wish;
    while ((wish = take(b))) {
        char *text;
        struct error why = {0};
        if (!*helper) TRY(start(b, helper, err));
        if (engine_helper_plan(*helper, &wish->question, &wish->engine, &text, &why)) {
            TRY(keep(b, wish, text, err));
            continue;
        }
        /* It crashed, or was late: the next plan has another one. */
        if (why.kind == ERROR_MEMORY) *err = why;
        TRY(why.kind != ERROR_MEMORY);
        engine_helper_stop(*helper);
        *helper = NULL;
    }
    return true;
}

static void *builder_main(void *context)
{
    struct builder *b = context;
    struct engine_helper *helper = NULL;
    struct error err = {0};
    if (!build(b, &helper, &err)) fail(b, &err);
    engine_helper_stop(helper);
    return NULL;
}

/* ---- All of them ---- */

static size_t choose_threads(size_t missing)
{
    struct host host;
    struct error unsaid = {0};
    size_t most = host_read(&host, &unsaid) ? host.cores : 1, wanted = (missing + PLANS_A_HELPER - 1) / PLANS_A_HELPER;
    if (most > MOST_THREADS) most = MOST_THREADS;
    return wanted < most ? wanted : most;
}

static bool run_all(struct builder *b, struct error *err)
{
    pthread_t threads[MOST_THREADS];
    size_t wanted = choose_threads(b->count), started = 0;
    pthread_mutex_init(&b->lock, NULL);
    while (started < wanted && thread_start(&threads[started], 0, "plans", builder_main, b) == 0) started++;
    if (started == 0 && wanted > 0) builder_main(b);
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&b->lock);
    if (b->first.kind == ERROR_NONE) return true;
    *err = b->first;
    return false;
}

static bool has_plan(const struct engine_book *book, const struct engine_wish *wish)
{
    struct engine_answer answer;
    if (!engine_book_find(book, &wish->question, &answer)) return true; /* there is nothing to give one to */
    for (size_t i = 0; i < answer.count; i++)
        if (answer.engines[i].plan && engine_same(&answer.engines[i], &wish->engine)) return true;
    return false;
}

bool engine_plans_build(struct engine_book *book, const struct engine_plans_options *options,
                        const struct engine_wish *wishes, size_t count, struct error *err)
{
    struct builder b = {.book = book, .options = options};
    b.missing = mem_alloc(MEM_PLAN, count, sizeof *b.missing);
    if (!b.missing) return error_memory(err, count * sizeof *b.missing, "plans to build");
    for (size_t i = 0; i < count; i++)
        if (!has_plan(book, &wishes[i])) b.missing[b.count++] = &wishes[i];
    bool ok = b.count == 0 || run_all(&b, err);
    mem_free(b.missing);
    return ok;
}
