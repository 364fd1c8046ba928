/* Plans of cuDNN on disk, a file each: made again in milliseconds where building one takes seconds. Beside them a list
 * of engines that failed when they ran. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conv.h"
#include "hash.h"
#include "json.h"
#include "mem.h"
#include "printable.h"

#define FORMAT     "fathom-cudnn-plan"
#define VERSION    1
#define MOST_BYTES (32u << 20)

static uint64_t hash_text(const char *text, uint64_t seed) { return hash_bytes(text, strlen(text), seed); }

/* What plans are made for: this very kind of GPU, this cuDNN, and the driver, whose compiler may be in it. */
static uint64_t hash_device(const struct cuda_convolutions *all)
{
    const struct cudaDeviceProp *p = &all->device->properties;
    char text[512];
    int driver = 0;
    all->device->vendor->cuda.DriverGetVersion(&driver);
    snprintf(text, sizeof text, "driver %d, cudnn %zu, %s %d.%d, %d processors, l2 %d, shared %zu", driver,
             all->cudnn->version(), p->name, p->major, p->minor, p->multiProcessorCount, p->l2CacheSize,
             p->sharedMemPerBlockOptin);
    return hash_text(text, 0);
}

void conv_cache_begin(struct cuda_convolutions *all)
{
    char path[FILES_PATH], hash[HASH_TEXT];
    all->device_hash = hash_device(all);
    all->avoided = mem_zalloc(MEM_KERNEL, 1, sizeof *all->avoided);
    if (all->avoided) pthread_mutex_init(&all->avoided->lock, NULL);
    const char *cache = files_cache("cudnn-plans", path);
    if (!cache || (size_t)snprintf(all->folder, sizeof all->folder, "%s/%s", cache,
                                   hash_format(all->device_hash, hash)) >= sizeof all->folder)
        all->folder[0] = '\0';
}

void conv_cache_finish(struct cuda_convolutions *all)
{
    struct conv_avoided *avoided = all->avoided;
    if (!avoided) return;
    for (size_t i = 0; i < avoided->count; i++) mem_free(avoided->notes[i]);
    mem_free(avoided->notes);
    pthread_mutex_destroy(&avoided->lock);
    mem_free(avoided);
}

/* ---- Names ---- */

/* What is asked, under which rules: on one line, and in a file's name as its hash. */
#define KEY 320
static char *key_of(const struct cuda_convolutions *all, const struct conv_plan *plan, char out[KEY])
{
    const struct engine_question *q = &plan->question;
    const struct device_options *options = &all->device->options;
    char fused[ENGINE_FUSED_TEXT], words[ENGINE_QUESTION_TEXT], padding[ENGINE_NUMBER_TEXT];
    snprintf(out, KEY, "%s %s/%s %s padding %s [%s] within %" PRIu64 "%s%s%s",
             engine_pass_name((enum engine_pass)q->pass), dtype_name((enum dtype)q->dtype),
             dtype_name((enum dtype)q->weights), engine_question_words(q, words),
             engine_question_number(q, &engine_question_fields[ENGINE_QUESTION_FIELDS - 1], padding),
             engine_fused_words(q->fused, fused), plan->limit_bytes, options->tf32 ? " tf32" : "",
             options->deterministic ? " deterministic" : "", options->tune ? " tuned" : "");
    return out;
}

static bool path_of(const struct cuda_convolutions *all, const char *key, char path[FILES_PATH])
{
    char hash[HASH_TEXT];
    return all->folder[0] && (size_t)snprintf(path, FILES_PATH, "%s/%s.json", all->folder,
                                              hash_format(hash_text(key, 0), hash)) < FILES_PATH;
}

/* ---- Reading ---- */

static bool copy_text(const json_t *object, const char *field, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text && (size_t)snprintf(to, size, "%s", text) < size;
}

static bool take(struct cuda_convolutions *all, struct conv_plan *plan, const json_t *root, const char *key)
{
    const char *format = json_string_value(json_object_get(root, "format")),
               *asked = json_string_value(json_object_get(root, "question")),
               *text = json_string_value(json_object_get(root, "plan"));
    struct found_engine engine = {0};
    if (!format || strcmp(format, FORMAT) != 0 || json_integer_value(json_object_get(root, "version")) != VERSION)
        return false;
    if (!asked || strcmp(asked, key) != 0 || !text) return false;
    if (json_integer_value(json_object_get(root, "cudnn")) != (json_int_t)all->cudnn->version()) return false;
    engine.id = json_integer_value(json_object_get(root, "engine"));
    engine.workspace_bytes = json_integer_value(json_object_get(root, "workspace_bytes"));
    plan->best_ns = (uint64_t)json_integer_value(json_object_get(root, "best_ns"));
    plan->first_ns = (uint64_t)json_integer_value(json_object_get(root, "first_ns"));
    if (engine.id < 0) return plan->tried = true; /* there is none */
    return copy_text(root, "knobs", engine.knobs, sizeof engine.knobs) &&
           copy_text(root, "notes", engine.notes, sizeof engine.notes) &&
           !conv_cache_avoids(all, &plan->question, &engine) &&
           (plan->tried = plan->there = conv_load(all, plan, &engine, text));
}

bool conv_cache_has(const struct cuda_convolutions *all, const struct conv_plan *plan)
{
    char key[KEY], path[FILES_PATH];
    return path_of(all, key_of(all, plan, key), path) && access(path, R_OK) == 0;
}

bool conv_cache_load(struct cuda_convolutions *all, struct conv_plan *plan)
{
    char key[KEY], path[FILES_PATH], *bytes;
    size_t length;
    struct error unsaid = {0};
    if (!path_of(all, key_of(all, plan, key), path) || access(path, R_OK) != 0) return false;
    if (!files_read(path, MOST_BYTES, &bytes, &length, &unsaid)) return false;
    json_t *root = json_parse(bytes, length, path, &unsaid);
    bool ok = json_is_object(root) && take(all, plan, root, key);
    json_decref(root);
    mem_free(bytes);
    if (!ok) unlink(path);
    return ok;
}

/* ---- Writing: what cannot be written is built again the next time ---- */

bool conv_cache_claim(const struct cuda_convolutions *all, const struct conv_plan *plan, struct folder_lock *claim)
{
    char key[KEY], path[FILES_PATH], lock[FILES_PATH];
    struct error unsaid = {0};
    bool busy;
    *claim = (struct folder_lock){.fd = -1};
    if (!path_of(all, key_of(all, plan, key), path) || !files_make_folder(all->folder, &unsaid)) return true;
    if ((size_t)snprintf(lock, sizeof lock, "%s.lock", path) >= sizeof lock) return true;
    locks_try_file(claim, lock, &busy);
    return !busy;
}

void conv_cache_save(const struct cuda_convolutions *all, const struct conv_plan *plan)
{
    char key[KEY], path[FILES_PATH];
    struct files_writer writer;
    struct error unsaid = {0};
    if (!path_of(all, key_of(all, plan, key), path) || !files_make_folder(all->folder, &unsaid)) return;
    char *text = plan->there ? cudnn_plan_text(&plan->plan) : mem_strdup(MEM_KERNEL, "");
    if (text && files_begin(&writer, path, &unsaid)) {
        fprintf(writer.stream,
                "{\"format\": \"" FORMAT
                "\", \"version\": %d, \"cudnn\": %zu,\n\"question\": \"%s\",\n\"engine\": %" PRId64
                ", \"knobs\": \"%s\", \"notes\": \"%s\", \"workspace_bytes\": %" PRId64 ", \"best_ns\": %" PRIu64
                ", \"first_ns\": %" PRIu64 ",\n\"plan\": ",
                VERSION, all->cudnn->version(), key, plan->there ? plan->engine.id : -1, plan->engine.knobs,
                plan->engine.notes, plan->engine.workspace_bytes, plan->best_ns, plan->first_ns);
        printable_write_json(writer.stream, text, strlen(text));
        fputs("}\n", writer.stream);
        files_commit(&writer, &unsaid);
    }
    mem_free(text);
}

/* ---- Engines that failed ---- */

/* A line of the list. */
#define NOTE 512
static char *note_of(const struct engine_question *question, const struct found_engine *engine, char out[NOTE])
{
    char hash[HASH_TEXT];
    snprintf(out, NOTE, "%s %" PRId64 " %s", hash_format(hash_bytes(question, sizeof *question, 0), hash), engine->id,
             engine->knobs);
    return out;
}

/* Where there is no memory for it what is on disk counts alone. */
static void remember(struct conv_avoided *avoided, const char *note)
{
    if (!avoided) return;
    pthread_mutex_lock(&avoided->lock);
    char *copy =
        mem_grow(MEM_KERNEL, (void **)&avoided->notes, &avoided->capacity, avoided->count + 1, sizeof *avoided->notes)
            ? mem_strdup(MEM_KERNEL, note)
            : NULL;
    if (copy) avoided->notes[avoided->count++] = copy;
    pthread_mutex_unlock(&avoided->lock);
}

static bool is_remembered(struct conv_avoided *avoided, const char *note)
{
    bool found = false;
    if (!avoided) return false;
    pthread_mutex_lock(&avoided->lock);
    for (size_t i = 0; i < avoided->count && !found; i++) found = strcmp(avoided->notes[i], note) == 0;
    pthread_mutex_unlock(&avoided->lock);
    return found;
}

static FILE *open_notes(const struct cuda_convolutions *all, const char *mode)
{
    char path[FILES_PATH];
    if (!all->folder[0] || (size_t)snprintf(path, sizeof path, "%s/failed", all->folder) >= sizeof path) return NULL;
    return fopen(path, mode);
}

static bool is_noted(const struct cuda_convolutions *all, const char *note)
{
    char line[NOTE];
    bool found = false;
    FILE *file = open_notes(all, "re");
    if (!file) return false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, note) == 0;
    }
    fclose(file);
    return found;
}

bool conv_cache_avoids(const struct cuda_convolutions *all, const struct engine_question *question,
                       const struct found_engine *engine)
{
    char note[NOTE];
    note_of(question, engine, note);
    return is_remembered(all->avoided, note) || is_noted(all, note);
}

void conv_cache_avoid(const struct cuda_convolutions *all, const struct conv_plan *plan)
{
    char note[NOTE];
    struct error unsaid = {0};
    note_of(&plan->question, &plan->engine, note);
    remember(all->avoided, note);
    if (is_noted(all, note) || !all->folder[0] || !files_make_folder(all->folder, &unsaid)) return;
    FILE *file = open_notes(all, "ae");
    if (!file) return;
    fprintf(file, "%s\n", note);
    fclose(file);
}
