/* Images that could not be decoded, each once however often it was tried. */
#include <pthread.h>
#include <string.h>

#include "data.h"
#include "mem.h"

#define MOST_KEPT 1000u

struct broken_images {
    pthread_mutex_t lock; /* over what follows */
    uint64_t count;
    size_t kept, capacity;
    char **texts; /* what was wrong with each; it begins with the file's name */
};

struct broken_images *broken_images_create(struct error *err)
{
    struct broken_images *broken = mem_zalloc(MEM_INPUT, 1, sizeof *broken);
    if (broken)
        pthread_mutex_init(&broken->lock, NULL);
    else
        error_memory(err, sizeof *broken, "a list of broken images");
    return broken;
}

void broken_images_destroy(struct broken_images *broken)
{
    if (!broken) return;
    for (size_t i = 0; i < broken->kept; i++) mem_free(broken->texts[i]);
    mem_free(broken->texts);
    pthread_mutex_destroy(&broken->lock);
    mem_free(broken);
}

static bool is_known(const struct broken_images *broken, const char *text)
{
    for (size_t i = 0; i < broken->kept; i++)
        if (strcmp(broken->texts[i], text) == 0) return true;
    return false;
}

static void keep(struct broken_images *broken, const char *text)
{
    void *texts = broken->texts;
    char *copy = mem_strdup(MEM_INPUT, text);
    bool room = copy && mem_grow(MEM_INPUT, &texts, &broken->capacity, broken->kept + 1, sizeof *broken->texts);
    broken->texts = texts;
    if (room)
        broken->texts[broken->kept++] = copy;
    else
        mem_free(copy);
}

/* Beyond those that are kept, one that is met again counts again. */
void broken_images_add(struct broken_images *broken, const char *text)
{
    pthread_mutex_lock(&broken->lock);
    if (!is_known(broken, text)) {
        broken->count++;
        if (broken->kept < MOST_KEPT) keep(broken, text);
    }
    pthread_mutex_unlock(&broken->lock);
}

void broken_images_add_unnamed(struct broken_images *broken, uint64_t count)
{
    pthread_mutex_lock(&broken->lock);
    broken->count += count;
    pthread_mutex_unlock(&broken->lock);
}

uint64_t broken_images_count(const struct broken_images *broken) { return broken ? broken->count : 0; }

const char *broken_images_text(const struct broken_images *broken, size_t index)
{
    return broken && index < broken->kept ? broken->texts[index] : NULL;
}
