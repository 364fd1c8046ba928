/* Pictures that are named one by one, or by the folders that they are in. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "dataset.h"
#include "folder_names.h"
#include "image.h"
#include "mem.h"

#define MOST_DEEP 32 /* folders in folders: a link to one above has no end */

static bool add_files(const char *folder, struct folder_names *files, struct folder_names *pictures, struct error *err)
{
    char path[DATASET_PATH];
    struct folder_others others;
    TRY(folder_names_list(folder, false, files, &others, err));
    for (size_t i = 0; i < files->count; i++)
        TRY(dataset_join(path, folder, folder_names_at(files, i), err) && folder_names_add(pictures, path, err));
    return true;
}

static bool add_folder(const char *folder, unsigned depth, struct folder_names *pictures, struct error *err);

static bool add_folders(const char *folder, unsigned depth, struct folder_names *folders, struct folder_names *pictures,
                        struct error *err)
{
    char path[DATASET_PATH];
    struct folder_others others;
    TRY(folder_names_list(folder, true, folders, &others, err));
    for (size_t i = 0; i < folders->count; i++)
        TRY(dataset_join(path, folder, folder_names_at(folders, i), err) && add_folder(path, depth, pictures, err));
    return true;
}

static bool add_folder(const char *folder, unsigned depth, struct folder_names *pictures, struct error *err)
{
    struct folder_names files = {0}, folders = {0};
    bool ok = depth < MOST_DEEP || error_set(err, ERROR_INPUT, "%s: is more than %d folders deep", folder, MOST_DEEP);
    ok = ok && add_files(folder, &files, pictures, err) && add_folders(folder, depth + 1, &folders, pictures, err);
    folder_names_finish(&files);
    folder_names_finish(&folders);
    return ok;
}

/* What is no folder is taken for a picture, whatever its name. */
static bool add_word(const char *word, struct folder_names *pictures, struct error *err)
{
    struct stat info;
    size_t before = pictures->count;
    if (stat(word, &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", word);
    if (!S_ISDIR(info.st_mode)) return folder_names_add(pictures, word, err);
    char folder[DATASET_PATH];
    size_t length = strlen(word);
    while (length > 1 && word[length - 1] == '/') length--;
    if (length >= sizeof folder) return error_set(err, ERROR_INPUT, "%.200s...: the path is too long", word);
    memcpy(folder, word, length);
    folder[length] = '\0';
    TRY(add_folder(folder, 0, pictures, err));
    if (pictures->count > before) return true;
    return error_set(err, ERROR_INPUT, "%s: holds no %s, nor do the folders in it", folder, image_kinds());
}

bool dataset_of_pictures(const char *const *paths, size_t count, struct dataset **dataset, struct error *err)
{
    struct folder_names pictures = {0};
    struct dataset *made = dataset_create("", err);
    if (!made) return false;
    made->info.format = DATA_FOLDERS;
    made->folders = mem_zalloc(MEM_INPUT, 1, sizeof *made->folders);
    bool ok = made->folders || error_memory(err, sizeof *made->folders, "a dataset");
    for (size_t i = 0; ok && i < count; i++) ok = add_word(paths[i], &pictures, err);
    if (!ok) {
        folder_names_finish(&pictures);
        dataset_close(made);
        return false;
    }
    struct folder_list *list = &made->folders->lists[DATASET_TEST];
    list->names = pictures.bytes;
    list->name_offsets = pictures.offsets;
    list->images = made->info.test_images = pictures.count;
    *dataset = made;
    return true;
}

const char *dataset_picture_path(const struct dataset *pictures, uint64_t image)
{
    const struct folder_list *list = &pictures->folders->lists[DATASET_TEST];
    return list->names + list->name_offsets[image];
}
