/* Weights of others: what a net with PyTorch's names and layouts answers is what PyTorch says. The weights and images
 * are made by a formula; bench/peer/weights_fixture.py has the same one, and printed the figures. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_run.h"
#include "data_help.h"
#include "graph.h"
#include "torch_names.h"

#define PYTORCH_LOSS    2.1321202 /* in float64 */
#define PYTORCH_ERROR   0.5
#define INCEPTION_LOSS  13.611931
#define INCEPTION_ERROR (2 / 3.0)

static char folder[HELP_PATH];

static void begin(void)
{
    help_folder(folder);
    cr_assert_eq(chdir(folder), 0);
}

static void end(void) { help_remove(folder); }

TestSuite(weights, .init = begin, .fini = end);

/* A file of safetensors on its way. */
struct file {
    char header[1 << 16];
    size_t used;
    FILE *data;
    uint64_t bytes;
};

/* Numbers from -0.5 to 0.5, by the name's hash and the place. */
static void add_numbers(struct file *file, const char *name, uint64_t count, double shift, double scale)
{
    uint32_t seed = 0;
    for (const char *c = name; *c; c++) seed = (seed * 31 + (unsigned char)*c) % 65521;
    float values[1024];
    for (uint64_t i = 0; i < count; i++) {
        values[i % 1024] = (float)(shift + scale * ((double)((seed + i * 40503) % 65536) / 65536 - 0.5));
        if (i % 1024 == 1023 || i + 1 == count) fwrite(values, sizeof values[0], i % 1024 + 1, file->data);
    }
}

static void add_tensor(struct file *file, const char *name, const uint32_t *shape, size_t rank, double shift,
                       double scale)
{
    uint64_t count = 1, begin = file->bytes;
    file->used += (size_t)snprintf(file->header + file->used, sizeof file->header - file->used,
                                   "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", begin ? "," : "{", name);
    for (size_t i = 0; i < rank; i++) {
        count *= shape[i];
        file->used += (size_t)snprintf(file->header + file->used, sizeof file->header - file->used, "%s%u",
                                       i ? "," : "", shape[i]);
    }
    file->bytes += count * sizeof(float);
    file->used +=
        (size_t)snprintf(file->header + file->used, sizeof file->header - file->used, "],\"data_offsets\":[%llu,%llu]}",
                         (unsigned long long)begin, (unsigned long long)file->bytes);
    add_numbers(file, name, count, shift, scale);
}

static void add_conv(struct file *file, const char *name, uint32_t out, uint32_t in, uint32_t side)
{
    char weight[64];
    const uint32_t shape[] = {out, in, side, side};
    snprintf(weight, sizeof weight, "%s.weight", name);
    add_tensor(file, weight, shape, 4, 0, sqrt(24.0 / (in * side * side)));
}

static void add_bn(struct file *file, const char *name, uint32_t channels)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    for (int i = 0; i < 4; i++) {
        char part[64];
        snprintf(part, sizeof part, "%s.%s", name, parts[i]);
        add_tensor(file, part, &channels, 1, i == 0 || i == 3 ? 1 : 0, 1);
    }
}

/* "layer2.0" and what is in it. */
static void add_unit(struct file *file, uint32_t stage, uint32_t in, uint32_t out)
{
    char name[64];
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "layer%u.0.conv%d", stage, i);
        add_conv(file, name, out, i == 1 ? in : out, 3);
        snprintf(name, sizeof name, "layer%u.0.bn%d", stage, i);
        add_bn(file, name, out);
    }
    if (in == out) return;
    snprintf(name, sizeof name, "layer%u.0.downsample.0", stage);
    add_conv(file, name, out, in, 1);
    snprintf(name, sizeof name, "layer%u.0.downsample.1", stage);
    add_bn(file, name, out);
}

static struct file *begin_file(void)
{
    static struct file file;
    file = (struct file){.data = tmpfile()};
    cr_assert(file.data);
    return &file;
}

static void end_file(struct file *file, const char *path)
{
    file->header[file->used++] = '}';
    FILE *out = fopen(path, "wb");
    uint64_t length = file->used;
    cr_assert(out);
    for (int i = 0; i < 8; i++) fputc((int)(length >> (8 * i) & 0xFF), out);
    fwrite(file->header, 1, file->used, out);
    rewind(file->data);
    char bytes[1 << 14];
    for (size_t count; (count = fread(bytes, 1, sizeof bytes, file->data)) > 0;) fwrite(bytes, 1, count, out);
    fclose(file->data);
    cr_assert_eq(fclose(out), 0);
}

static void write_weights(const char *path)
{
    struct file *file = begin_file();
    const uint32_t fc[] = {10, 64};
    add_conv(file, "conv1", 16, 3, 3);
    add_bn(file, "bn1", 16);
    add_unit(file, 1, 16, 16);
    add_unit(file, 2, 16, 32);
    add_unit(file, 3, 32, 64);
    add_tensor(file, "fc.weight", fc, 2, 0, 1);
    add_tensor(file, "fc.bias", fc, 1, 0, 1);
    end_file(file, path);
}

/* Four images with labels 8, 1, 2 and 8, in the format of CIFAR-10. */
static void write_images(const char *path)
{
    static const char labels[] = {8, 1, 2, 8};
    uint32_t state = 1;
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    for (int i = 0; i < 4 * 3072; i++) {
        if (i % 3072 == 0) fputc(labels[i / 3072], out);
        state = (state * 1103515245u + 12345u) & 0x7fffffff;
        fputc((int)(state >> 16 & 255), out);
    }
    cr_assert_eq(fclose(out), 0);
}

static void write_scale(void)
{
    FILE *scale = fopen("data.json", "w");
    cr_assert(scale);
    fputs("{\"format\": \"fathom data\", \"version\": 1, \"mean\": [0.5, 0.5, 0.5], \"deviation\": [0.25, 0.25, 0.25], "
          "\"classes\": []}",
          scale);
    cr_assert_eq(fclose(scale), 0);
}

Test(weights, answers_are_those_of_pytorch)
{
    write_scale();
    write_weights("weights.safetensors");
    cr_assert_eq(mkdir("data", 0777), 0);
    write_images("data/data_batch_1.bin");
    write_images("data/test_batch.bin");
    const struct cli_run *run = cli_run("eval weights.safetensors data --json --gpus cpu");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    json_t *object = json_loads(run->out, 0, NULL);
    cr_assert(object, "%s", run->out);
    cr_assert_str_eq(json_string_value(json_object_get(object, "model")), "resnet-8");
    cr_assert(json_is_null(json_object_get(object, "step")));
    cr_assert_float_eq(json_number_value(json_object_get(object, "loss")), PYTORCH_LOSS, 1e-5);
    cr_assert_float_eq(json_number_value(json_object_get(object, "top1_error")), PYTORCH_ERROR, 1e-9);
    json_decref(object);
}

static void expect_torch_name(const char *layer, enum tensor_role role, const char *wanted, const uint64_t *shape)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("inception-v3", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 1}, &err);
    char name[TORCH_NAME];
    uint64_t found[4];
    uint32_t kernel[4], tensor = 0;
    cr_assert(graph, "%s", err.text);
    while (tensor < graph->tensor_count && (graph->tensors[tensor].gradient || graph->tensors[tensor].role != role ||
                                            strcmp(graph->layers[graph->tensors[tensor].layer].path, layer) != 0))
        tensor++;
    cr_assert_lt(tensor, graph->tensor_count, "%s", layer);
    cr_expect_str_eq(torch_name(graph, tensor, name), wanted);
    uint32_t rank = torch_shape(graph, tensor, found, kernel);
    for (uint32_t i = 0; i < rank; i++) cr_expect_eq(found[i], shape[i], "%s, %u: %lu", wanted, i, found[i]);
    graph_destroy(graph);
}

/* As torchvision's inception_v3().state_dict() has them. */
Test(weights, inception_v3_has_torchvisions_names)
{
    expect_torch_name("Conv2d_1a_3x3/conv", ROLE_WEIGHT, "Conv2d_1a_3x3.conv.weight", (uint64_t[]){32, 3, 3, 3});
    expect_torch_name("Mixed_6b/branch7x7_2/conv", ROLE_WEIGHT, "Mixed_6b.branch7x7_2.conv.weight",
                      (uint64_t[]){128, 128, 1, 7});
    expect_torch_name("Mixed_7c/branch3x3dbl_3b/bn", ROLE_RUNNING_VARIANCE, "Mixed_7c.branch3x3dbl_3b.bn.running_var",
                      (uint64_t[]){384});
    expect_torch_name("head/fc", ROLE_WEIGHT, "fc.weight", (uint64_t[]){1000, 2048});
    expect_torch_name("head/fc", ROLE_BIAS, "fc.bias", (uint64_t[]){1000});
}

/* ---- Inception-v3 ---- */

#ifndef FATHOM_PNG
Test(weights, of_inception_v3_are_asked_with_pngs) { cr_skip("libpng was not there when this was built"); }
#else
#include "data_png_help.h"

#define SIDE 75u

/* By its torchvision name and shape. */
static void add_graph_tensor(struct file *file, const struct graph *graph, uint32_t tensor)
{
    char name[TORCH_NAME];
    uint64_t wide[4];
    uint32_t kernel[4], shape[4], rank = torch_shape(graph, tensor, wide, kernel);
    enum tensor_role role = graph->tensors[tensor].role;
    double scale = rank == 4 ? sqrt(24.0 / (double)(wide[1] * wide[2] * wide[3])) : 1;
    for (uint32_t i = 0; i < rank; i++) shape[i] = (uint32_t)wide[i];
    add_tensor(file, torch_name(graph, tensor, name), shape, rank,
               role == ROLE_GAMMA || role == ROLE_RUNNING_VARIANCE ? 1 : 0, scale);
}

static void write_inception(const char *path)
{
    struct model_spec spec;
    struct error err = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.classes = 3;
    cr_assert(model_parse("inception-v3", &options, &spec, &err), "%s", err.text);
    struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 1}, &err);
    struct file *file = begin_file();
    cr_assert(graph, "%s", err.text);
    for (uint32_t i = 0; i < graph->parameter_count; i++) add_graph_tensor(file, graph, graph->parameters[i]);
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        enum tensor_role role = graph->tensors[i].role;
        if (role == ROLE_RUNNING_MEAN || role == ROLE_RUNNING_VARIANCE) add_graph_tensor(file, graph, i);
    }
    graph_destroy(graph);
    end_file(file, path);
}

/* Three pictures, one of each class; channels are drawn one after the other. */
static void write_pictures(void)
{
    static uint8_t pixels[SIDE * SIDE * 3];
    uint32_t state = 1;
    for (int picture = 0; picture < 3; picture++) {
        for (uint32_t i = 0; i < SIDE * SIDE * 3; i++) {
            state = (state * 1103515245u + 12345u) & 0x7fffffff;
            pixels[i % (SIDE * SIDE) * 3 + i / (SIDE * SIDE)] = (uint8_t)(state >> 16 & 255);
        }
        for (int part = 0; part < 2; part++) {
            char path[64], command[128];
            snprintf(path, sizeof path, "photos/%s/%d", part ? "val" : "train", picture);
            snprintf(command, sizeof command, "mkdir -p %s", path);
            cr_assert_eq(system(command), 0);
            snprintf(path + strlen(path), sizeof path - strlen(path), "/0.png");
            help_write_png(path, pixels, SIDE, SIDE);
        }
    }
}

Test(weights, inception_v3_answers_as_torchvisions_does)
{
    write_scale();
    write_inception("weights.safetensors");
    write_pictures();
    const struct cli_run *run = cli_run("eval weights.safetensors photos --json --gpus cpu --image-size 75 --batch 3");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    json_t *object = json_loads(run->out, 0, NULL);
    cr_assert(object, "%s", run->out);
    cr_assert_str_eq(json_string_value(json_object_get(object, "model")), "inception-v3");
    cr_assert_float_eq(json_number_value(json_object_get(object, "loss")), INCEPTION_LOSS, 1e-4 * INCEPTION_LOSS);
    cr_assert_float_eq(json_number_value(json_object_get(object, "top1_error")), INCEPTION_ERROR, 1e-6);
    json_decref(object);
}
#endif
