#define _GNU_SOURCE
#include "folder_names.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image.h"
#include "mem.h"
#include "printable.h"

bool folder_names_add(struct folder_names *list, const char *name, struct error *err)
{
    size_t length = strlen(name) + 1;
    void *bytes = list->bytes, *offsets = list->offsets;
    bool ok = mem_grow(MEM_INPUT, &bytes, &list->byte_capacity, list->used + length, 1) &&
              mem_grow(MEM_INPUT, &offsets, &list->offset_capacity, list->count + 1, sizeof *list->offsets);
    list->bytes = bytes;
    list->offsets = offsets;
    if (!ok) return error_memory(err, list->used + length, "file names");
    memcpy(list->bytes + list->used, name, length);
    list->offsets[list->count++] = list->used;
    list->used += length;
    return true;
}

static int compare_names(const void *a, const void *b, void *bytes)
{
    return strcmp((const char *)bytes + *(const uint64_t *)a, (const char *)bytes + *(const uint64_t *)b);
}

static void sort_names(struct folder_names *list, size_t from)
{
    if (list->count - from < 2) return; /* there may be no array yet */
    qsort_r(list->offsets + from, list->count - from, sizeof *list->offsets, compare_names, list->bytes);
}

void folder_names_finish(struct folder_names *list)
{
    mem_free(list->bytes);
    mem_free(list->offsets);
}

const char *folder_names_at(const struct folder_names *list, size_t index)
{
    return list->bytes + list->offsets[index];
}

/* ---- Reading folders ---- */

static bool is_folder(int folder, const struct dirent *entry)
{
    struct stat info;
    if (entry->d_type == DT_DIR) return true;
    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) return false;
    return fstatat(folder, entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static bool take_entry(DIR *stream, const struct dirent *entry, bool folders, struct folder_names *list,
                       struct folder_others *others, struct error *err)
{
    if (entry->d_name[0] == '.') return true;
    bool folder = is_folder(dirfd(stream), entry);
    if (folder == folders && (folder || image_names_one(entry->d_name)))
        return folder_names_add(list, entry->d_name, err);
    if (others->count++ == 0) snprintf(others->sample, sizeof others->sample, "%s", entry->d_name);
    return true;
}

bool folder_names_list(const char *path, bool folders, struct folder_names *list, struct folder_others *others,
                       struct error *err)
{
    size_t from = list->count;
    *others = (struct folder_others){0};
    DIR *stream = opendir(path);
    if (!stream) return error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be opened", path);
    bool ok = true;
    const struct dirent *entry;
    while (ok && (errno = 0, entry = readdir(stream))) ok = take_entry(stream, entry, folders, list, others, err);
    if (ok && errno) ok = error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be read", path);
    closedir(stream);
    if (ok) sort_names(list, from);
    return ok;
}

bool folder_refuse_empty(const char *path, const char *wanted, const struct folder_others *others, struct error *err)
{
    if (others->count == 0) return error_set(err, ERROR_INPUT, "%s: is empty; %s are wanted in it", path, wanted);
    return error_set(err, ERROR_INPUT, "%s: holds no %s, but %" PRIu64 " other %s such as '%s'", path, wanted,
                     others->count, others->count == 1 ? "entry" : "entries", PRINTABLE_CUT(others->sample, 200));
}
