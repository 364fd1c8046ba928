/* The planner's answers: what it planned a workspace for is what runs. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conv.h"

/* NULL: this GPU is none that is described. */
static const struct engine_device *described(const struct device *device)
{
    const struct cudaDeviceProp *p = &device->properties;
    size_t count;
    const struct engine_device *all = engine_device_entries(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].full_name, p->name) == 0 && all[i].multiprocessors == (uint32_t)p->multiProcessorCount &&
            all[i].capability == (uint32_t)(100 * p->major + 10 * p->minor))
            return &all[i];
    return NULL;
}

static bool is_of(const struct engine_question *a, const struct engine_question *b)
{
    return a->dtype == b->dtype && a->images == b->images;
}

/* The book of a question's batch and type; a file that is damaged or of another description is none. */
static void open_book(struct cuda_convolutions *all, const struct engine_question *question)
{
    char folder[FILES_PATH], path[FILES_PATH];
    struct error unsaid = {0};
    if (all->book.device && is_of(&all->book_of, question)) return;
    engine_book_finish(&all->book);
    all->book.device = described(all->device);
    all->book.cudnn = (uint32_t)all->cudnn->version();
    all->book_of = *question;
    if (!all->book.device || !files_cache("engines", folder)) return;
    if (engines_cache_path(folder, &all->book, question, path) && access(path, R_OK) == 0)
        engine_book_read(&all->book, path, &unsaid);
}

size_t conv_book_find(struct cuda_convolutions *all, const struct engine_question *question,
                      struct found_engine *engines, size_t most)
{
    struct engine_answer answer;
    size_t count = 0;
    open_book(all, question);
    if (!all->book.device || !engine_book_find(&all->book, question, &answer)) return 0;
    for (; count < answer.count && count < most; count++) {
        const struct engine *from = &answer.engines[count];
        struct found_engine *to = &engines[count];
        *to = (struct found_engine){.id = from->id, .workspace_bytes = (int64_t)from->workspace_bytes};
        engine_letters(from->notes, to->notes);
        snprintf(to->knobs, sizeof to->knobs, "%s", from->knobs);
    }
    return count;
}
