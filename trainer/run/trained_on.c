#define _GNU_SOURCE
#include "trained_on.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "json.h"
#include "json_tables.h"
#include "mem.h"

#define FORMAT     "fathom data"
#define VERSION    1
#define MOST_BYTES (UINT64_C(1) << 24)

static json_t *to_json(const struct dataset *dataset)
{
    const struct dataset_info *info = dataset_info(dataset);
    json_t *names = json_array();
    for (uint32_t i = 0; i < info->classes; i++)
        json_array_append_new(names, json_text(dataset_class_name(dataset, i)));
    return json_pack("{s:s, s:i, s:[f,f,f], s:[f,f,f], s:o}", "format", FORMAT, "version", VERSION, "mean",
                     (double)info->mean[0], (double)info->mean[1], (double)info->mean[2], "deviation",
                     (double)info->deviation[0], (double)info->deviation[1], (double)info->deviation[2], "classes",
                     names);
}

bool trained_on_write(const char *folder, const struct dataset *dataset, struct error *err)
{
    char path[PATH_MAX];
    struct files_writer writer = {0};
    if (snprintf(path, sizeof path, "%s/%s", folder, TRAINED_ON_NAME) >= (int)sizeof path)
        return error_set(err, ERROR_INPUT, "--save: the path is too long");
    json_t *object = to_json(dataset);
    if (!object) return error_memory(err, dataset_info(dataset)->classes, "the names of classes");
    bool ok = files_begin(&writer, path, err);
    if (ok) {
        json_write(object, writer.stream, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        fputc('\n', writer.stream);
        ok = files_commit(&writer, err);
    }
    json_decref(object);
    return ok;
}

static bool read_three(const json_t *root, const char *field, const char *path, float out[3], struct error *err)
{
    const json_t *list = json_get_array(root, field, path, err);
    if (!list) return false;
    for (size_t i = 0; i < 3; i++) {
        double value = json_number_value(json_array_get(list, i));
        bool good = json_array_size(list) == 3 && json_is_number(json_array_get(list, i)) && fabs(value) <= 1;
        if (!good || (*field == 'd' && value <= 0))
            return error_set(err, ERROR_INPUT, "%s: field '%s' is not three numbers of pixels as 0 to 1", path, field);
        out[i] = (float)value;
    }
    return true;
}

static bool read_names(const json_t *root, const char *path, struct trained_on *trained, struct error *err)
{
    const json_t *list = json_get_array(root, "classes", path, err);
    if (!list) return false;
    size_t count = json_array_size(list);
    trained->names = mem_zalloc(MEM_GENERAL, count, sizeof *trained->names);
    if (!trained->names) return error_memory(err, count * sizeof *trained->names, "the names of classes");
    for (; trained->classes < count; trained->classes++) {
        const char *name = json_string_value(json_array_get(list, trained->classes));
        if (!name) return error_set(err, ERROR_INPUT, "%s: field 'classes' is not a list of names", path);
        char *copy = mem_strdup(MEM_GENERAL, name);
        if (!copy) return error_memory(err, strlen(name), "the names of classes");
        trained->names[trained->classes] = copy;
    }
    return true;
}

static bool from_json(const json_t *root, const char *path, struct trained_on *trained, struct error *err)
{
    const char *format;
    uint64_t version;
    TRY(json_get_string(root, "format", path, &format, err));
    if (strcmp(format, FORMAT) != 0)
        return error_set(err, ERROR_INPUT, "%s: is of another format than '%s'", path, FORMAT);
    TRY(json_get_u64(root, "version", path, UINT32_MAX, &version, err));
    if (version != VERSION) return error_set(err, ERROR_INPUT, "%s: is of a later version; %d is read", path, VERSION);
    return read_three(root, "mean", path, trained->mean, err) &&
           read_three(root, "deviation", path, trained->deviation, err) && read_names(root, path, trained, err);
}

bool trained_on_read(const char *checkpoint, struct trained_on *trained, bool *found, struct error *err)
{
    static const char *const no_tables[] = {NULL};
    const struct json_limits limits = {MOST_BYTES, 1 << 20, no_tables};
    char path[PATH_MAX];
    const char *slash = strrchr(checkpoint, '/');
    struct json_document document;
    *trained = (struct trained_on){0};
    int length = slash ? (int)(slash - checkpoint) : 1;
    snprintf(path, sizeof path, "%.*s/%s", length, slash ? checkpoint : ".", TRAINED_ON_NAME);
    *found = access(path, F_OK) == 0;
    if (!*found) return true;
    bool ok = json_document_read(path, &limits, &document, err) && from_json(document.root, path, trained, err);
    json_document_finish(&document);
    return ok;
}

void trained_on_imagenet(struct trained_on *trained)
{
    *trained = (struct trained_on){.mean = {0.485f, 0.456f, 0.406f}, .deviation = {0.229f, 0.224f, 0.225f}};
}

void trained_on_finish(struct trained_on *trained)
{
    for (uint32_t i = 0; i < trained->classes; i++) mem_free(trained->names[i]);
    mem_free(trained->names);
    *trained = (struct trained_on){0};
}
