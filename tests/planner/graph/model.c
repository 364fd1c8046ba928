/* Names, depths, defaults and overrides. */
#include <criterion/criterion.h>
#include <string.h>

#include "model.h"

static struct model_spec parse(const char *name, struct model_options options)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse(name, &options, &spec, &err), "%s: %s", name, err.text);
    return spec;
}

static void expect_refused(const char *name, struct model_options options, const char *part)
{
    struct model_spec spec, untouched;
    memset(&spec, 0x5a, sizeof spec);
    untouched = spec;
    struct error err = {0};
    cr_expect_not(model_parse(name, &options, &spec, &err), "%s", name);
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect_not_null(strstr(err.text, part), "%s: \"%s\" lacks \"%s\"", name, err.text, part);
    cr_expect_eq(memcmp(&spec, &untouched, sizeof spec), 0);
}

Test(graph_model, depths_imply_dataset_unit_and_shortcut)
{
    static const struct {
        const char *name;
        enum dataset_kind dataset;
        enum unit_kind unit;
        enum shortcut_kind shortcut;
        bool bottleneck;
        uint32_t first_units;
    } rows[] = {
        {"resnet-8", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 1},
        {"resnet-11", DATASET_CIFAR10, UNIT_PREACT, SHORTCUT_B, true, 1},
        {"resnet-20", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 3},
        {"resnet-29", DATASET_CIFAR10, UNIT_PREACT, SHORTCUT_B, true, 3},
        {"resnet-32", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 5},
        {"resnet-44", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 7},
        {"resnet-56", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 9},
        {"resnet-110", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 18},
        {"resnet-164", DATASET_CIFAR10, UNIT_PREACT, SHORTCUT_B, true, 18},
        {"resnet-1001", DATASET_CIFAR10, UNIT_PREACT, SHORTCUT_B, true, 111},
        {"resnet-1202", DATASET_CIFAR10, UNIT_ORIGINAL, SHORTCUT_A, false, 200},
        {"resnet-10001", DATASET_CIFAR10, UNIT_PREACT, SHORTCUT_B, true, 1111},
        {"resnet-18", DATASET_IMAGENET, UNIT_ORIGINAL, SHORTCUT_B, false, 2},
        {"resnet-50", DATASET_IMAGENET, UNIT_ORIGINAL, SHORTCUT_B, true, 3},
        {"resnet-200", DATASET_IMAGENET, UNIT_PREACT, SHORTCUT_B, true, 3},
        {"plain-20", DATASET_CIFAR10, UNIT_PLAIN, SHORTCUT_A, false, 3},
        {"plain-34", DATASET_IMAGENET, UNIT_PLAIN, SHORTCUT_A, false, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_spec spec = parse(rows[i].name, MODEL_OPTIONS_DEFAULT);
        cr_expect_str_eq(spec.name, rows[i].name);
        cr_expect_eq(spec.dataset, rows[i].dataset, "%s", rows[i].name);
        cr_expect_eq(spec.unit, rows[i].unit, "%s", rows[i].name);
        cr_expect_eq(spec.shortcut, rows[i].shortcut, "%s", rows[i].name);
        cr_expect_eq(spec.bottleneck, rows[i].bottleneck, "%s", rows[i].name);
        cr_expect_eq(spec.units[0], rows[i].first_units, "%s", rows[i].name);
        bool imagenet = rows[i].dataset == DATASET_IMAGENET;
        cr_expect_eq(spec.image_size, imagenet ? 224u : 32u);
        cr_expect_eq(spec.classes, imagenet ? 1000u : 10u);
        cr_expect_eq(spec.units[3] != 0, imagenet);
    }
}

Test(graph_model, options_override_the_defaults)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.dataset = DATASET_CIFAR100;
    options.unit = UNIT_PREACT;
    options.shortcut = SHORTCUT_C;
    options.image_size = 48;
    struct model_spec spec = parse("resnet-50", options);
    cr_expect_eq(spec.dataset, DATASET_CIFAR100);
    cr_expect_eq(spec.units[0], 8);
    cr_expect_eq(spec.units[3], 0);
    cr_expect_eq(spec.unit, UNIT_PREACT);
    cr_expect_eq(spec.shortcut, SHORTCUT_C);
    cr_expect_eq(spec.classes, 100);
    cr_expect_eq(spec.image_size, 48);
    options = MODEL_OPTIONS_DEFAULT;
    options.classes = 37;
    cr_expect_eq(parse("vgg-a", options).classes, 37);
    options = MODEL_OPTIONS_DEFAULT;
    options.unit = UNIT_PLAIN;
    cr_expect_str_eq(parse("resnet-20", options).name, "plain-20");
}

Test(graph_model, unknown_depths_name_the_nearest)
{
    struct model_options cifar = MODEL_OPTIONS_DEFAULT, imagenet = MODEL_OPTIONS_DEFAULT;
    cifar.dataset = DATASET_CIFAR10;
    imagenet.dataset = DATASET_IMAGENET;
    expect_refused("resnet-1000", MODEL_OPTIONS_DEFAULT, "resnet-998 and resnet-1001");
    expect_refused("resnet-19", MODEL_OPTIONS_DEFAULT, "resnet-18 and resnet-20");
    expect_refused("resnet-19", cifar, "resnet-14 and resnet-20");
    expect_refused("plain-33", MODEL_OPTIONS_DEFAULT, "plain-32 and plain-34");
    expect_refused("resnet-3", MODEL_OPTIONS_DEFAULT, "resnet-8");
    expect_refused("resnet-4294967298", MODEL_OPTIONS_DEFAULT, "the nearest: resnet-99998");
    expect_refused("resnet-20", imagenet, "18, 34, 50, 101, 152 or 200");
    expect_refused("resnet-18", cifar, "resnet-14 and resnet-20");
}

Test(graph_model, wrong_names_are_refused)
{
    static const char *const names[] = {"",           "resnet",     "resnet-",   "resnet-020", "resnet--20",
                                        "resnet-20x", "resnet- 20", "ResNet-2O", "vgg-b",      "vgg",
                                        "plain-",     "resnet-0",   "resnet-+20"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_refused(names[i], MODEL_OPTIONS_DEFAULT, "resnet-<depth>");
}

Test(graph_model, names_are_taken_as_people_write_them)
{
    static const char *const rows[][2] = {{"ResNet-50", "resnet-50"},
                                          {"resnet1001", "resnet-1001"},
                                          {"RESNET_20", "resnet-20"},
                                          {"resnet 110", "resnet-110"},
                                          {"Plain34", "plain-34"},
                                          {"vgg16", "vgg-d"},
                                          {"BN_Inception", "bn-inception"},
                                          {"InceptionV3", "inception-v3"},
                                          {"inception_v3", "inception-v3"},
                                          {"VGG-16", "vgg-d"},
                                          {"vgg_11", "vgg-a"},
                                          {"VGGD", "vgg-d"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_spec spec = parse(rows[i][0], MODEL_OPTIONS_DEFAULT),
                          same = parse(rows[i][1], MODEL_OPTIONS_DEFAULT);
        cr_expect_str_eq(spec.name, rows[i][1]);
        cr_expect_eq(spec.depth, same.depth);
        cr_expect_eq(spec.dataset, same.dataset);
    }
    expect_refused("resnext-50", MODEL_OPTIONS_DEFAULT, "did you mean resnet-50?");
    expect_refused("resnet-v2-152", MODEL_OPTIONS_DEFAULT, "did you mean resnet-152?");
    expect_refused("googlenet", MODEL_OPTIONS_DEFAULT, "did you mean inception-v3 or bn-inception?");
    expect_refused("inception-v4", MODEL_OPTIONS_DEFAULT, "did you mean inception-v3");
    expect_refused("vgg-19", MODEL_OPTIONS_DEFAULT, "did you mean vgg-d (16 layers)");
}

Test(graph_model, options_that_cannot_be_are_refused)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.unit = UNIT_PREACT;
    expect_refused("plain-20", options, "--unit");
    expect_refused("vgg-d", options, "--unit");
    options = MODEL_OPTIONS_DEFAULT;
    options.shortcut = SHORTCUT_C;
    expect_refused("plain-20", options, "--shortcut");
    expect_refused("vgg-a", options, "--shortcut");
    options = MODEL_OPTIONS_DEFAULT;
    options.image_size = 31;
    expect_refused("resnet-18", options, "image size: found 31, expected 32");
    options.image_size = 8193;
    expect_refused("resnet-20", options, "image size");
    options = MODEL_OPTIONS_DEFAULT;
    options.classes = 1;
    expect_refused("resnet-20", options, "classes: found 1");
}

Test(graph_model, numbers_of_a_form)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct text flags = {0};
    struct model_spec spec = parse("resnet-110", options);
    for (size_t i = 0; i < MODEL_NUMBERS; i++) cr_expect_eq(spec.number[i], 0);
    options.shortcut = SHORTCUT_SCALING;
    spec = parse("resnet-110", options);
    cr_expect(spec.number[NUMBER_SHORTCUT_SCALE] == 0.5 && spec.number[NUMBER_BRANCH_SCALE] == 0.5);
    options.number[NUMBER_SHORTCUT_SCALE] = 0;
    options.number[NUMBER_BRANCH_SCALE] = 1;
    spec = parse("resnet-110", options);
    cr_expect(spec.number[NUMBER_SHORTCUT_SCALE] == 0 && spec.number[NUMBER_BRANCH_SCALE] == 1);
    model_add_flags(&spec, &flags);
    cr_expect_str_eq(flags.bytes, " --shortcut scaling --shortcut-scale 0 --branch-scale 1");
    text_finish(&flags);
    options = MODEL_OPTIONS_DEFAULT;
    options.shortcut = SHORTCUT_DROPOUT;
    cr_expect_eq(parse("resnet-20", options).number[NUMBER_DROPOUT], 0.5);
    options.shortcut = SHORTCUT_EXCLUSIVE_GATE;
    options.number[NUMBER_GATE_BIAS] = -6;
    cr_expect_eq(parse("resnet-20", options).number[NUMBER_GATE_BIAS], -6);
    options = MODEL_OPTIONS_DEFAULT;
    options.stride_in = STRIDE_IN_1X1;
    options.dataset = DATASET_IMAGENET;
    spec = parse("resnet-50", options);
    flags = (struct text){0};
    model_add_flags(&spec, &flags);
    cr_expect_str_eq(flags.bytes, " --stride-in 1x1");
    text_finish(&flags);
    cr_expect_eq(parse("resnet-164", MODEL_OPTIONS_DEFAULT).stride_in, STRIDE_IN_1X1);
    cr_expect_eq(parse("resnet-50", MODEL_OPTIONS_DEFAULT).stride_in, STRIDE_IN_3X3);
}

Test(graph_model, numbers_that_do_not_go_with_a_form_are_refused)
{
    static const struct {
        const char *model;
        int unit, shortcut;
        enum model_number number;
        double value;
        const char *part;
    } rows[] = {
        {"resnet-20", -1, -1, NUMBER_SHORTCUT_SCALE, 0.5,
         "--shortcut-scale: found for resnet-20, whose shortcuts are identity-a"},
        {"resnet-20", -1, SHORTCUT_DROPOUT, NUMBER_BRANCH_SCALE, 0.5, "it goes with --shortcut scaling"},
        {"resnet-20", -1, SHORTCUT_SCALING, NUMBER_GATE_BIAS, -6,
         "it goes with --shortcut exclusive-gate or shortcut-gate"},
        {"plain-20", -1, -1, NUMBER_DROPOUT, 0.5, "--dropout: found for plain-20, which has no shortcuts"},
        {"vgg-a", -1, -1, NUMBER_DROPOUT, 0.5, "--dropout: found for vgg-a, which has no shortcuts"},
        {"resnet-20", -1, SHORTCUT_SCALING, NUMBER_BRANCH_SCALE, 0, "--branch-scale: found 0, expected 1e-06 to 10"},
        {"resnet-20", -1, SHORTCUT_SCALING, NUMBER_SHORTCUT_SCALE, -1, "--shortcut-scale: found -1, expected 0 to 10"},
        {"resnet-20", -1, SHORTCUT_DROPOUT, NUMBER_DROPOUT, 1, "--dropout: found 1, expected 0 to 0.999"},
        {"resnet-20", -1, SHORTCUT_SHORTCUT_GATE, NUMBER_GATE_BIAS, INFINITY, "--gate-bias: found inf"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_options options = MODEL_OPTIONS_DEFAULT;
        options.unit = rows[i].unit;
        options.shortcut = rows[i].shortcut;
        options.number[rows[i].number] = rows[i].value;
        expect_refused(rows[i].model, options, rows[i].part);
    }
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    options.stride_in = STRIDE_IN_3X3;
    expect_refused("resnet-20", options, "--stride-in: found 3x3 for resnet-20, which has no bottlenecks");
    expect_refused("vgg-d", options, "--stride-in");
}

Test(graph_model, choices_are_parsed_by_their_names)
{
    struct error err = {0};
    for (int i = DATASET_CIFAR10; i <= DATASET_IMAGENET; i++) {
        enum dataset_kind kind;
        cr_expect(dataset_kind_parse(dataset_kind_name((enum dataset_kind)i), &kind, &err) && (int)kind == i);
    }
    for (int i = UNIT_ORIGINAL; i < UNIT_KINDS; i++) {
        enum unit_kind kind;
        cr_expect(unit_kind_parse(unit_kind_name((enum unit_kind)i), &kind, &err) && (int)kind == i);
    }
    for (int i = SHORTCUT_A; i <= SHORTCUT_DROPOUT; i++) {
        enum shortcut_kind kind;
        cr_expect(shortcut_kind_parse(shortcut_kind_name((enum shortcut_kind)i), &kind, &err) && (int)kind == i);
    }
    enum unit_kind unit;
    enum dataset_kind dataset;
    cr_expect_not(unit_kind_parse("pre", &unit, &err));
    cr_expect_not_null(strstr(err.text, "--unit: found \"pre\", expected original, preact,"), "%s", err.text);
    cr_expect_not(dataset_kind_parse("mnist", &dataset, &err));
    cr_expect_str_eq(err.text, "--dataset: found \"mnist\", expected cifar10, cifar100 or imagenet");
}
