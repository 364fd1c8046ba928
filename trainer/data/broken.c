/* Images that could not be decoded, each once however often it was tried. */
#include <pthread.h>
#include <string.h>

#include "data.h"
#include "hash.h"
#include "mem.h"

#define MOST_KEPT   1000u
#define LEAST_SLOTS 64u

struct broken_images {
    pthread_mutex_t lock; /* over what follows */
    uint64_t count;
    uint64_t *hashes;     /* of all texts, each in the first free slot from its own on; 0 = free */
    size_t slots, hashed; /* a power of two; at most half of them are taken */
    size_t kept, capacity;
    char **texts; /* what was wrong with each of the first; it begins with the file's name */
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
    mem_free(broken->hashes);
    pthread_mutex_destroy(&broken->lock);
    mem_free(broken);
}

/* Where a hash is, or would be. */
static uint64_t *find_slot(uint64_t *hashes, size_t slots, uint64_t hash)
{
    size_t at = hash & (slots - 1);
    while (hashes[at] != 0 && hashes[at] != hash) at = (at + 1) & (slots - 1);
    return &hashes[at];
}

static bool make_room(struct broken_images *broken)
{
    if (2 * (broken->hashed + 1) <= broken->slots) return true;
    size_t slots = broken->slots ? 2 * broken->slots : LEAST_SLOTS;
    uint64_t *hashes = mem_zalloc(MEM_INPUT, slots, sizeof *hashes);
    if (!hashes) return false;
    for (size_t i = 0; i < broken->slots; i++)
        if (broken->hashes[i] != 0) *find_slot(hashes, slots, broken->hashes[i]) = broken->hashes[i];
    mem_free(broken->hashes);
    broken->hashes = hashes;
    broken->slots = slots;
    return true;
}

/* Whether it was not there. Where memory is short, none is new: fewer are counted than there are. */
static bool is_new(struct broken_images *broken, const char *text)
{
    uint64_t hash = hash_bytes(text, strlen(text), 0);
    if (hash == 0) hash = 1;
    if (!make_room(broken)) return false;
    uint64_t *slot = find_slot(broken->hashes, broken->slots, hash);
    if (*slot == hash) return false;
    *slot = hash;
    broken->hashed++;
    return true;
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

void broken_images_add(struct broken_images *broken, const char *text)
{
    pthread_mutex_lock(&broken->lock);
    if (is_new(broken, text)) {
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
