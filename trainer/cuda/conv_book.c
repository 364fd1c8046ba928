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

void conv_book_open(struct cuda_convolutions *all, const struct engine_question *question)
{
    char folder[FILES_PATH], path[FILES_PATH];
    struct error unsaid = {0};
    if (all->book.device && is_of(&all->book_of, question)) return;
    engine_book_finish(&all->book);
    all->book.device = described(all->device);
    all->book.cudnn = (uint32_t)all->cudnn->version();
    all->book_of = *question;
    if (!all->book.device || !files_cache("engines", folder)) return;
    /* A file that is damaged or of another description is none. */
    if (engines_cache_path(folder, &all->book, question, path) && access(path, R_OK) == 0)
        engine_book_read(&all->book, path, &unsaid);
}

void conv_book_check_carried(struct cuda_convolutions *all)
{
    const struct engine_book *carried = all->device->options.carried;
    const struct engine_device *here = described(all->device);
    char there_version[ENGINE_VERSION_TEXT], here_version[ENGINE_VERSION_TEXT];
    if (!carried) return;
    if (!here || here != carried->device) {
        device_tell(all->device, false, "the plans that were carried here are of %s, not of %s: they are built here",
                    carried->device->full_name, all->device->properties.name);
    } else if (carried->cudnn != all->cudnn->version()) {
        device_tell(all->device, false,
                    "the plans that were carried here are of cuDNN %s, and here is %s: they are built here",
                    engine_version_words(carried->cudnn, there_version),
                    engine_version_words((uint32_t)all->cudnn->version(), here_version));
    } else {
        all->carried = carried;
    }
}

static size_t find_in(const struct engine_book *book, const struct engine_question *question,
                      struct conv_candidate *found)
{
    struct engine_answer answer;
    size_t count = 0;
    if (!engine_book_find(book, question, &answer)) return 0;
    for (; count < answer.count && count < CONV_MOST_CANDIDATES; count++) {
        const struct engine *from = &answer.engines[count];
        struct found_engine *to = &found[count].engine;
        found[count] = (struct conv_candidate){.carried = engine_book_plan(book, from)};
        *to = (struct found_engine){.id = from->id, .workspace_bytes = (int64_t)from->workspace_bytes};
        engine_letters(from->notes, to->notes);
        snprintf(to->knobs, sizeof to->knobs, "%s", from->knobs);
    }
    return count;
}

size_t conv_book_find(const struct cuda_convolutions *all, const struct engine_question *question,
                      struct conv_candidate *found)
{
    size_t count = all->carried ? find_in(all->carried, question, found) : 0;
    if (count > 0 || !all->book.device || !is_of(&all->book_of, question)) return count;
    return find_in(&all->book, question, found);
}
