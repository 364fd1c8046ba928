/* What a checkpoint's tensors are of: whether they are a model's, which parts are, and which model others' weights are
 * of. */
#include "checkpoint_private.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

#define MOST_PARTS 64

/* ---- One tensor ---- */

static bool old_has(const struct old_checkpoint *old, const struct checkpoint_tensor *t)
{
    uint32_t dims[4];
    return old_checkpoint_tensor(old, t->old_name, dims) &&
           (uint64_t)dims[0] * dims[1] * dims[2] * dims[3] == checkpoint_elements(t) &&
           (t->rank == 1 || dims[0] == t->kernel[0]);
}

bool checkpoint_has(const struct checkpoint_file *file, const struct checkpoint_tensor *t)
{
    struct safetensors_tensor found;
    if (file->old) return old_has(file->old, t);
    return safetensors_find(file->model, t->name, &found) && found.rank == t->rank &&
           memcmp(found.shape, t->shape, t->rank * sizeof found.shape[0]) == 0;
}

static void format_shape(const uint64_t *shape, uint32_t rank, char out[96])
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < rank && i < SAFETENSORS_MOST_RANK && used < 96; i++)
        used += (size_t)snprintf(out + used, 96 - used, "%s%llu", i ? " x " : "", (unsigned long long)shape[i]);
}

static void describe_difference(const struct checkpoint_file *file, const struct checkpoint_tensor *t, char *out,
                                size_t size)
{
    struct safetensors_tensor found;
    char here[96], there[96];
    format_shape(t->shape, t->rank, here);
    if (file->old || !safetensors_find(file->model, t->name, &found)) {
        snprintf(out, size, "it has no %s of %s", t->name, here);
        return;
    }
    format_shape(found.shape, found.rank, there);
    snprintf(out, size, "%s is %s and not %s", t->name, there, here);
}

/* ---- All of them ---- */

/* What PyTorch has beside a model's tensors: batches that a BN saw, and the auxiliary classifier of Inception-v3. */
static bool is_beside(const char *name)
{
    const char *last = strrchr(name, '.');
    return (last && strcmp(last, ".num_batches_tracked") == 0) || strncmp(name, "AuxLogits.", 10) == 0;
}

static size_t count_in_file(const struct checkpoint_file *file)
{
    size_t count = 0;
    const char *name;
    for (size_t n = 0; (name = safetensors_name(file->model, n)); n++) count += !is_beside(name);
    return count;
}

static bool is_wanted(const struct checkpoint_tensors *tensors, const char *name)
{
    struct checkpoint_tensor t;
    for (size_t i = 0; i < tensors->count; i++) {
        tensors->describe(tensors->context, i, &t);
        if (!t.state && strcmp(t.name, name) == 0) return true;
    }
    return false;
}

/* The first tensor of the model's file that the model has not; NULL = there is none. */
static const char *find_surplus(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors)
{
    const char *name = NULL;
    for (size_t n = 0; file->model && (name = safetensors_name(file->model, n)); n++)
        if (!is_beside(name) && !is_wanted(tensors, name)) break;
    return name;
}

bool checkpoint_check_tensors(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors,
                              struct error *err)
{
    struct checkpoint_tensor t;
    char words[768];
    size_t found = 0;
    bool same = true;
    if (file->old) return true; /* its table is walked as it is read */
    for (size_t i = 0; i < tensors->count && same; i++) {
        struct safetensors_tensor there;
        tensors->describe(tensors->context, i, &t);
        if (t.state) continue;
        same = t.optional || checkpoint_has(file, &t);
        found += safetensors_find(file->model, t.name, &there);
    }
    if (same && count_in_file(file) <= found) return true;
    checkpoint_compare(file, tensors, words, sizeof words);
    return error_set(err, ERROR_INPUT, "%s: is of another model: %s", file->path, words);
}

/* ---- Parts ---- */

/* What is before the first dot of a name: conv1, layer2, fc. */
struct part {
    char name[64];
    bool same;
};

struct parts {
    struct part list[MOST_PARTS];
    size_t count;
    char difference[3 * CHECKPOINT_NAME]; /* the first */
};

static struct part *find_part(struct parts *parts, const char *name)
{
    char part[64];
    snprintf(part, sizeof part, "%.*s", (int)strcspn(name, "."), name);
    for (size_t i = 0; i < parts->count; i++)
        if (strcmp(parts->list[i].name, part) == 0) return &parts->list[i];
    if (parts->count == MOST_PARTS) return &parts->list[MOST_PARTS - 1];
    struct part *added = &parts->list[parts->count++];
    memcpy(added->name, part, sizeof part);
    added->same = true;
    return added;
}

static size_t list_parts(const struct parts *parts, bool same, struct text *text)
{
    size_t count = 0;
    for (size_t i = 0; i < parts->count; i++)
        if (parts->list[i].same == same) text_add(text, "%s%s", count++ ? ", " : "", parts->list[i].name);
    return count;
}

void checkpoint_compare(const struct checkpoint_file *file, const struct checkpoint_tensors *tensors, char *words,
                        size_t size)
{
    struct parts parts = {0};
    struct text text = {0};
    for (size_t i = 0; i < tensors->count; i++) {
        struct checkpoint_tensor t;
        tensors->describe(tensors->context, i, &t);
        if (t.state || (file->old && !t.old_name[0])) continue;
        bool same = checkpoint_has(file, &t);
        struct part *part = find_part(&parts, t.name);
        part->same = part->same && same;
        if (!same && !parts.difference[0]) describe_difference(file, &t, parts.difference, sizeof parts.difference);
    }
    const char *surplus = find_surplus(file, tensors);
    size_t same = list_parts(&parts, true, &text);
    text_add(&text, "%s by name and shape", same == 0 ? "nothing matches" : same == 1 ? " matches" : " match");
    if (same < parts.count) text_add(&text, ", not ");
    list_parts(&parts, false, &text);
    if (parts.difference[0])
        text_add(&text, ": %s", parts.difference);
    else if (surplus)
        text_add(&text, ", and it has %.160s too", surplus);
    snprintf(words, size, "%s", text.failed ? "" : text.bytes);
    text_finish(&text);
}

/* ---- Weights of others ---- */

static bool has_name(const struct checkpoint_file *file, const char *name)
{
    struct safetensors_tensor found;
    return safetensors_find(file->model, name, &found);
}

/* How many of layerN.0, layerN.1, ... there are. */
static uint32_t count_units(const struct checkpoint_file *file, uint32_t stage)
{
    char name[64];
    uint32_t units = 0;
    do snprintf(name, sizeof name, "layer%u.%u.conv1.weight", stage, units++);
    while (has_name(file, name));
    return units - 1;
}

static bool find_classifier(const struct checkpoint_file *file, struct safetensors_tensor *fc)
{
    return file->model && safetensors_find(file->model, "fc.weight", fc) && fc->rank == 2;
}

static bool guess_inception(const struct checkpoint_file *file, struct model_spec *spec)
{
    struct safetensors_tensor fc;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct error unused = {0};
    if (!find_classifier(file, &fc) || !has_name(file, "Mixed_7c.branch3x3dbl_3b.conv.weight")) return false;
    options.classes = (uint32_t)fc.shape[0];
    return model_parse("inception-v3", &options, spec, &unused);
}

static bool guess_resnet(const struct checkpoint_file *file, struct model_spec *spec)
{
    char name[MODEL_NAME];
    uint32_t units = 0, stages = 0, count;
    struct safetensors_tensor fc;
    struct error unused = {0};
    for (; file->model && (count = count_units(file, stages + 1)) > 0; stages++) units += count;
    bool resnet = (stages == 3 || stages == 4) && find_classifier(file, &fc);
    uint32_t convs = resnet && has_name(file, "layer1.0.conv3.weight") ? 3 : 2;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.dataset = stages == 4 ? DATASET_IMAGENET : DATASET_CIFAR10;
    if (resnet) options.classes = (uint32_t)fc.shape[0];
    options.unit = resnet && has_name(file, "norm.weight") ? UNIT_PREACT : UNIT_ORIGINAL;
    if (stages == 3) options.shortcut = has_name(file, "layer2.0.downsample.0.weight") ? SHORTCUT_B : SHORTCUT_A;
    snprintf(name, sizeof name, "resnet-%u", units * convs + 2);
    return resnet && model_parse(name, &options, spec, &unused);
}

bool checkpoint_guess(const struct checkpoint_file *file, struct model_spec *spec, struct error *err)
{
    if (guess_resnet(file, spec) || guess_inception(file, spec)) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: does not say which model it is of, and its tensors are not named as those of a ResNet are "
                     "(layer1.0.conv1.weight, fc.weight), or of Inception-v3",
                     file->path);
}
