#include "scopes.h"

#include <pthread.h>

#include "sink.h"

#define MOST_OPEN 64 /* threads that launch at a time */

struct scope {
    bool open;
    struct owner owner;          /* place counts on */
    uint32_t runs_own;           /* things that the run itself has started in this step */
    uint64_t step;               /* the last one that was submitted when it did */
    const void *graph, *context; /* that its thread has launched into last */
};
static _Thread_local struct scope own;
static _Thread_local bool launches; /* this thread has opened one */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of open scopes */
static struct scope *open[MOST_OPEN];
static unsigned open_count;

void scopes_open(uint32_t device, uint32_t op, uint64_t step)
{
    pthread_mutex_lock(&lock);
    launches = true;
    own.open = true;
    own.owner = (struct owner){.device = device, .op = op, .kernel = OWNER_NO_KERNEL};
    if (own.step != step) {
        own.runs_own = 0;
        own.graph = NULL; /* it is gone, and another may lie where it did */
    }
    own.step = step;
    if (op == TRACE_OF_RUN) own.owner.place = own.runs_own;
    if (open_count < MOST_OPEN) open[open_count++] = &own;
    pthread_mutex_unlock(&lock);
}

void scopes_close(void)
{
    pthread_mutex_lock(&lock);
    own.open = false;
    if (own.owner.op == TRACE_OF_RUN) own.runs_own = own.owner.place;
    for (unsigned i = 0; i < open_count; i++)
        if (open[i] == &own) open[i] = open[--open_count];
    pthread_mutex_unlock(&lock);
}

bool scopes_is_open(void) { return own.open; }

/* A thread launches into one context, that of its GPU, but into a graph for each part of a step: a helper's node may be
 * the first of such a graph, which then tells nothing, or lies where another thread's was. So a graph counts only where
 * no context is known. */
static bool launches_into(const struct scope *scope, const void *graph, const void *context)
{
    if (context && scope->context) return scope->context == context;
    return graph && scope->graph == graph;
}

static struct scope *find(const void *graph, const void *context)
{
    if (launches) return own.open ? &own : NULL;
    for (unsigned i = 0; i < open_count; i++)
        if (launches_into(open[i], graph, context)) return open[i];
    return open_count == 1 ? open[0] : NULL;
}

bool scopes_next(const void *graph, const void *context, struct owner *owner)
{
    pthread_mutex_lock(&lock);
    struct scope *scope = find(graph, context);
    if (scope) *owner = scope->owner;
    if (scope) scope->owner.place++;
    if (scope == &own && graph) own.graph = graph;
    if (scope == &own && context) own.context = context;
    pthread_mutex_unlock(&lock);
    return scope != NULL;
}

void scopes_see_graph(const void *graph)
{
    pthread_mutex_lock(&lock);
    if (own.open && graph) own.graph = graph;
    pthread_mutex_unlock(&lock);
}
