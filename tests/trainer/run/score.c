/* `fathom eval` and `fathom classify`: a checkpoint answers as its run did. */
#define _GNU_SOURCE
#include <math.h>

#include "safetensors.h"
#include "score_help.h"

TestSuite(score, .init = trained, .fini = removed);

Test(score, a_checkpoint_has_the_error_that_its_run_had)
{
    char *last = NULL;
    json_t *found = answer("eval run photos --json"), *told = NULL;
    FILE *log = fopen("log", "r");
    size_t room = 0;
    cr_assert(log);
    while (getline(&last, &room, log) > 0) {
        json_decref(told);
        told = json_loads(last, 0, NULL);
    }
    fclose(log);
    free(last);
    cr_assert_eq(number(found, "images"), 12);
    cr_assert_eq(number(found, "step"), 12);
    cr_assert_float_eq(number(found, "loss"), number(told, "test_loss"), 1e-6);
    cr_assert_float_eq(number(found, "top1_error"), number(told, "top1_error"), 1e-6);
    json_decref(found);
    json_decref(told);
    found = answer("eval run/step-000000000012.safetensors --data photos --json --batch 5 --images 6");
    cr_assert_eq(number(found, "images"), 6);
    json_decref(found);
}

/* Training at this batch takes 167 MiB. */
Test(score, what_training_keeps_has_no_room_in_an_evaluation)
{
    json_t *found = answer("eval run photos --json --batch 128");
    cr_assert_lt(number(found, "planned_bytes"), 70 << 20);
    cr_assert_gt(number(found, "planned_bytes"), 16 << 20, "two tensors of the first stage");
    json_decref(found);
}

Test(score, activations_in_16_bits_answer_nearly_the_same)
{
    json_t *exact = answer("eval run photos --json"), *half = answer("eval run photos --json --dtype bf16");
    double loss = number(exact, "loss");
    cr_assert_float_eq(number(half, "loss"), loss, 0.03 * loss);
    cr_assert_neq(number(half, "loss"), loss);
    json_decref(exact);
    json_decref(half);
    has(cli_run("classify run photos/val/ant/0.jpg --dtype bf16 --top 1")->out, "ant/0.jpg");
    const struct cli_run *run = cli_run("classify run photos/val/ant/0.jpg --dtype f64");
    cr_assert_eq(run->code, 2);
    has(run->err, "--dtype");
}

Test(score, other_images_of_the_same_classes_will_do)
{
    make_photos("others", "cat");
    help_write_bytes("others/val/bee/2.jpg", "damaged", 7);
    help_write_jpeg("others/train/bee/6.jpg", (struct help_jpeg){90, 70, 3, true, 30, 0, 0});
    const struct cli_run *run = cli_run("eval run others");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "on 11 test images of");
    has(run->out, "skipped 1 image that cannot be decoded");
    has(run->out, "others/val/bee/2.jpg");
    run = cli_run("eval run others --strict");
    cr_assert_eq(run->code, 1, "%s", run->out);
    make_photos("dogs", "dog");
    run = cli_run("eval run dogs");
    cr_assert_eq(run->code, 2);
    has(run->err, "its class 2 is 'dog'; that of ");
    run = cli_run("data synth synth --train 20 --test 10");
    run = cli_run("eval run synth");
    cr_assert_eq(run->code, 2);
    has(run->err, "has 10 classes; the net of ");
}

/* Classes by picture: as many mistakes as the error says, and each picture by itself has the same probabilities. */
Test(score, pictures_are_classified_as_the_test_set_is)
{
    json_t *error = answer("eval run photos --json");
    json_t *seen = answer("classify run photos/val/ant/0.jpg photos/val/ant/1.jpg photos/val/ant/2.jpg "
                          "photos/val/ant/3.jpg photos/val/bee/0.jpg photos/val/bee/1.jpg photos/val/bee/2.jpg "
                          "photos/val/bee/3.jpg photos/val/cat/0.jpg photos/val/cat/1.jpg photos/val/cat/2.jpg "
                          "photos/val/cat/3.jpg --json --top 9");
    const json_t *images = json_object_get(seen, "images");
    cr_assert_eq(json_array_size(images), 12);
    double wrong = 0;
    for (size_t i = 0; i < 12; i++) {
        const json_t *image = json_array_get(images, i), *classes = json_object_get(image, "classes");
        const char *path = json_string_value(json_object_get(image, "image"));
        double sum = 0, before = 1;
        cr_assert_eq(json_array_size(classes), 3, "there are no more");
        for (size_t k = 0; k < 3; k++) {
            double probability = number(json_array_get(classes, k), "probability");
            cr_assert(probability <= before && probability >= 0, "the most likely comes first");
            before = probability;
            sum += probability;
        }
        cr_assert_float_eq(sum, 1, 1e-4);
        const char *name = json_string_value(json_object_get(json_array_get(classes, 0), "name"));
        wrong += strstr(path, name) == NULL;
    }
    cr_assert_float_eq(wrong / 12, number(error, "top1_error"), 1e-6);
    json_t *alone = answer("classify run photos/val/bee/1.jpg --json --top 9 --data photos");
    const json_t *one = json_object_get(json_array_get(json_object_get(alone, "images"), 0), "classes");
    const json_t *many = json_object_get(json_array_get(images, 5), "classes");
    for (size_t k = 0; k < 3; k++)
        cr_assert_float_eq(number(json_array_get(one, k), "probability"),
                           number(json_array_get(many, k), "probability"), 1e-5);
    json_decref(alone);
    json_decref(seen);
    json_decref(error);
}

/* A folder is its pictures, in the order of names, however many go together and whoever decodes them. */
Test(score, a_folder_is_the_pictures_in_it)
{
    json_t *named = answer("classify run photos/val/ant/0.jpg photos/val/ant/1.jpg photos/val/ant/2.jpg "
                           "photos/val/ant/3.jpg photos/val/bee/0.jpg photos/val/bee/1.jpg photos/val/bee/2.jpg "
                           "photos/val/bee/3.jpg photos/val/cat/0.jpg photos/val/cat/1.jpg photos/val/cat/2.jpg "
                           "photos/val/cat/3.jpg --json");
    const char *const ways[] = {"classify run photos/val --json",
                                "classify run photos/val/ant photos/val/bee/ photos/val/cat --json --loader-threads 3"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        json_t *found = answer(ways[i]);
        cr_assert(json_equal(json_object_get(found, "images"), json_object_get(named, "images")), "%s", ways[i]);
        json_decref(found);
    }
    json_decref(named);
    const struct cli_run *run = cli_run("features run photos/val -o f.npy");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "f.npy: 12 x 64 float32");
    cr_assert_eq(system("test \"$(sed -n 5p f.npy.txt)\" = photos/val/bee/0.jpg"), 0);
    run = cli_run("features run photos/val -o photos/val/ant/1.jpg");
    cr_assert_eq(run->code, 2);
    has(run->err, "ant/1.jpg is what");
    run = cli_run("classify run photos/val none.jpg");
    cr_assert_eq(run->code, 2);
    has(run->err, "none.jpg: cannot be opened");
    cr_assert_str_eq(run->out, "");
    cr_assert_eq(system("mkdir empty"), 0);
    run = cli_run("classify run empty");
    cr_assert_eq(run->code, 2);
    has(run->err, "empty: holds no JPEGs");
}

/* Row `row` of 64 columns of an array: NaN throughout, or nowhere. */
static bool is_nan_row(const char *path, long row)
{
    float values[64];
    int unknown = 0;
    FILE *array = fopen(path, "rb");
    cr_assert(array && fseek(array, 128 + row * (long)sizeof values, SEEK_SET) == 0);
    cr_assert_eq(fread(values, sizeof values, 1, array), 1);
    fclose(array);
    for (int k = 0; k < 64; k++) unknown += isnan(values[k]) != 0;
    cr_assert(unknown == 0 || unknown == 64, "%d of 64", unknown);
    return unknown == 64;
}

/* One picture that ends too early costs no answer of the others. */
Test(score, a_picture_that_cannot_be_decoded_is_left_out)
{
    make_photos("some", "cat");
    json_t *whole = answer("classify run some/val --json"), *images = json_object_get(whole, "images");
    cr_assert_eq(number(whole, "skipped"), 0);
    cr_assert_eq(system("head -c 300 some/val/bee/1.jpg > cut && mv cut some/val/bee/1.jpg"), 0);
    const struct cli_run *run = cli_run("classify run some/val --json --batch 4");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->err, "fathom classify: some/val/bee/1.jpg: cannot be decoded as a JPEG: ");
    has(run->err, "; it is skipped");
    json_t *left = json_loads(run->out, 0, NULL);
    cr_assert_eq(number(left, "skipped"), 1);
    json_array_remove(images, 5);
    cr_expect(json_equal(json_object_get(left, "images"), images), "the others' answers are as they were");
    json_decref(left);
    json_decref(whole);
    run = cli_run("classify run some/val --crops 10 --top 1");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    cr_expect_null(strstr(run->out, "bee/1.jpg"));
    run = cli_run("features run some/val -o f.npy");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "f.npy: 12 x 64 float32");
    has(run->err, "some/val/bee/1.jpg: cannot be decoded as a JPEG: ");
    has(run->err, "; its row is NaN");
    for (long i = 0; i < 12; i++) cr_expect_eq(is_nan_row("f.npy", i), i == 5, "row %ld", i);
    const char *const strict[] = {"classify run some/val --strict", "features run some/val -o g.npy --strict"};
    for (size_t i = 0; i < 2; i++) {
        run = cli_run(strict[i]);
        cr_assert_eq(run->code, 2, "%s: %s%s", strict[i], run->out, run->err);
        has(run->err, "some/val/bee/1.jpg: cannot be decoded as a JPEG: ");
        cr_expect_str_eq(run->out, "");
    }
    cr_expect_neq(access("g.npy", F_OK), 0);
    run = cli_run("classify run some/val/bee/1.jpg log");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "none of the 2 pictures can be decoded; one of them: ");
}

/* Features, then the classifier's weights: the probabilities of `fathom classify`. */
Test(score, features_are_what_the_classifier_reads)
{
    float rows[2][64], weights[3][64], bias[3];
    struct safetensors *file;
    struct safetensors_tensor tensor;
    char header[128];
    const struct cli_run *run = cli_run("features run photos/val/ant/1.jpg photos/val/bee/2.jpg -o f.npy --batch 1");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "f.npy: 2 x 64 float32");
    FILE *array = fopen("f.npy", "rb");
    cr_assert(array && fread(header, 1, sizeof header, array) == sizeof header);
    cr_assert(memcmp(header, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 64), }",
                     70) == 0);
    cr_assert_eq(header[127], '\n');
    cr_assert_eq(fread(rows, sizeof rows, 1, array), 1);
    cr_assert_eq(fgetc(array), EOF);
    fclose(array);
    cr_assert(safetensors_open("run/step-000000000012.safetensors", &file, NULL));
    cr_assert(safetensors_find(file, "fc.weight", &tensor) &&
              safetensors_read(file, "fc.weight", &tensor, weights[0], NULL));
    cr_assert(safetensors_find(file, "fc.bias", &tensor) && safetensors_read(file, "fc.bias", &tensor, bias, NULL));
    safetensors_close(file);
    json_t *seen = answer("classify run photos/val/ant/1.jpg photos/val/bee/2.jpg --json --top 3");
    static const char *const names[] = {"ant", "bee", "cat"};
    for (size_t i = 0; i < 2; i++) {
        double logits[3], sum = 0;
        for (int k = 0; k < 3; k++) {
            logits[k] = bias[k];
            for (int c = 0; c < 64; c++) logits[k] += (double)weights[k][c] * rows[i][c];
            sum += exp(logits[k]);
        }
        const json_t *classes = json_object_get(json_array_get(json_object_get(seen, "images"), i), "classes");
        for (size_t n = 0; n < 3; n++) {
            const json_t *class = json_array_get(classes, n);
            for (int k = 0; k < 3; k++)
                if (strcmp(json_string_value(json_object_get(class, "name")), names[k]) == 0)
                    cr_assert_float_eq(number(class, "probability"), exp(logits[k]) / sum, 1e-5);
        }
    }
    json_decref(seen);
    cr_assert_eq(system("test \"$(cat f.npy.txt | tr '\\n' ' ')\" = 'photos/val/ant/1.jpg photos/val/bee/2.jpg '"), 0);
    cr_assert_eq(system("python3 -c 'import numpy' 2>/dev/null || exit 0; python3 -c 'import numpy; "
                        "assert numpy.load(\"f.npy\").shape == (2, 64)'"),
                 0);
    run = cli_run("features run photos/val/ant/1.jpg");
    cr_assert_eq(run->code, 2);
    has(run->err, "--output");
}

/* Nothing can lie beside a device or a pipe. */
Test(score, features_go_into_a_pipe)
{
    static const char *const commands[] = {"features run photos/val/ant/1.jpg -o /dev/fd/%d --batch 1",
                                           "features run/best.safetensors --data photos -o /dev/fd/%d"};
    for (int i = 0; i < 2; i++) {
        int ends[2];
        char command[128], magic[6];
        cr_assert_eq(pipe(ends), 0);
        snprintf(command, sizeof command, commands[i], ends[1]);
        const struct cli_run *run = cli_run(command);
        cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
        cr_assert_eq(read(ends[0], magic, sizeof magic), (ssize_t)sizeof magic);
        cr_assert_eq(memcmp(magic, "\x93NUMPY", 6), 0);
        close(ends[0]);
        close(ends[1]);
    }
    const struct cli_run *run = cli_run("features run photos/val/ant/1.jpg -o /dev/null --batch 1");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    cr_assert_neq(access("/dev/null.txt", F_OK), 0);
}

static void read_array(const char *path, const char *shape, void *values, size_t bytes)
{
    char header[129] = {0};
    FILE *array = fopen(path, "rb");
    cr_assert(array && fread(header, 1, 128, array) == 128, "%s", path);
    has(header + 10, shape);
    cr_assert_eq(fread(values, 1, bytes, array), bytes);
    cr_assert_eq(fgetc(array), EOF);
    fclose(array);
}

/* A whole dataset, a batch at a time: the same rows as of its pictures one by one. */
Test(score, features_of_a_dataset_are_those_of_its_pictures)
{
    static float rows[12][64], singly[12][64];
    int32_t labels[12];
    help_write_bytes("photos/val/bee/2.jpg", "damaged", 7);
    const struct cli_run *run = cli_run("features run/best.safetensors --data photos -o all.npy --batch 5");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "all.npy: 12 x 64 float32");
    has(run->out, "photos/val/bee/2.jpg");
    read_array("all.npy", "'<f4', 'fortran_order': False, 'shape': (12, 64)", rows, sizeof rows);
    read_array("all.labels.npy", "'<i4', 'fortran_order': False, 'shape': (12,)", labels, sizeof labels);
    run = cli_run("features run/best.safetensors photos/val/ant/*.jpg photos/val/bee/0.jpg photos/val/bee/1.jpg "
                  "photos/val/bee/3.jpg photos/val/cat/*.jpg -o singly.npy");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    read_array("singly.npy", "(11, 64)", singly, 11 * sizeof singly[0]);
    for (int i = 0, k = 0; i < 12; i++) {
        cr_assert_eq(labels[i], i == 6 ? -1 : i / 4);
        for (int c = 0; c < 64; c++)
            if (i == 6)
                cr_assert(isnan(rows[i][c]));
            else
                cr_assert_float_eq(rows[i][c], singly[k][c], 1e-5);
        k += i != 6;
    }
    cr_assert_eq(system("test $(wc -l < all.npy.txt) = 12 && test \"$(sed -n 7p all.npy.txt)\" = photos/val/bee/2.jpg"),
                 0);
    /* A failure leaves nothing. */
    run = cli_run("features run --data photos -o none.npy --strict");
    cr_assert_eq(run->code, 1, "%s", run->out);
    has(run->err, "photos/val/bee/2.jpg");
    cr_assert_eq(system("! ls -A | grep -q none"), 0);
    run = cli_run("features run --data photos --part train -o train.npy --gpus 2xcpu --batch 4");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "train.npy: 18 x 64 float32");
    run = cli_run("data synth synth --train 20 --test 10");
    run = cli_run("features run --data synth -o synth.npy");
    cr_assert_eq(run->code, 0, "other classes do not matter: %s%s", run->out, run->err);
    cr_assert_eq(system("test \"$(sed -n 10p synth.npy.txt)\" = test_batch.bin:9"), 0);
}

/* Lines of a log, as JSON. */
static json_t *read_log(const char *path)
{
    json_t *lines = json_array();
    char *line = NULL;
    size_t room = 0;
    FILE *log = fopen(path, "r");
    cr_assert(log && lines);
    while (getline(&line, &room, log) > 0) json_array_append_new(lines, json_loads(line, 0, NULL));
    fclose(log);
    free(line);
    return lines;
}

/* The average of a checkpoint is the net that was tested, and to write it changes nothing of the run. */
Test(score, averages_are_files_of_their_own)
{
    static const char *const words = "train resnet-20 --data photos --batch 6 --iterations 9 --schedule constant "
                                     "--average-weights 0.8 --evaluate-every 3 %s";
    static const char *const more[] = {"--log saved.log --save av --save-every 1 --keep 2", "--log plain.log"};
    char command[512];
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof command, words, more[i]);
        const struct cli_run *run = cli_run(command);
        cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    }
    json_t *saved = read_log("saved.log"), *plain = read_log("plain.log");
    cr_assert_eq(json_array_size(saved), json_array_size(plain));
    for (size_t i = 0; i < json_array_size(saved); i++)
        cr_assert_eq(number(json_array_get(saved, i), "loss"), number(json_array_get(plain, i), "loss"), "line %zu", i);
    const json_t *last = json_array_get(saved, json_array_size(saved) - 1);
    json_t *average = answer("eval av/average-000000000009.safetensors photos --json");
    json_t *weights = answer("eval av photos --json");
    cr_assert_float_eq(number(average, "loss"), number(last, "test_loss"), 1e-6);
    cr_assert_float_eq(number(average, "top1_error"), number(last, "top1_error"), 1e-6);
    cr_assert_eq(number(average, "step"), 9);
    cr_assert_gt(fabs(number(weights, "loss") - number(average, "loss")), 1e-4);
    json_decref(weights);
    json_decref(average);
    /* The best is an average; of others only the newest stay. */
    double least = 1;
    for (size_t i = 0; i < json_array_size(saved); i++) {
        const json_t *error = json_object_get(json_array_get(saved, i), "top1_error");
        if (json_is_number(error)) least = fmin(least, json_number_value(error));
    }
    cr_assert_eq(system("readlink av/best.safetensors | grep -q '^average-0'"), 0);
    json_t *best = answer("eval av/best.safetensors photos --json");
    cr_assert_float_eq(number(best, "top1_error"), least, 1e-6);
    json_decref(best);
    cr_assert_eq(system("test $(ls av | grep -c '^average-') -le 3 && ! ls av | grep -q average-000000000001"), 0);
    json_decref(saved);
    json_decref(plain);
    const struct cli_run *run = cli_run(
        "train resnet-20 --data photos --batch 6 --iterations 1 --schedule constant --weights av/best.safetensors");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    run = cli_run("train resnet-20 --data photos --batch 6 --iterations 12 --schedule constant --average-weights 0.8 "
                  "--resume av/average-000000000009.safetensors");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "has weights alone, not the state of a run to go on from");
}

/* Three classes become two. */
Test(score, another_classifier_begins_anew_and_the_rest_is_taken)
{
    const char *const remove = "rm -r photos/train/cat photos/val/cat";
    cr_assert_eq(system(remove), 0);
    const struct cli_run *run =
        cli_run("train resnet-20 --data photos --batch 6 --iterations 2 --schedule constant --weights run "
                "--freeze all-but-classifier --save fine --save-every 1 --keep 1");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "weights of run/step-000000000012.safetensors; its classifier has 3 classes: one of 2 begins anew");
    run = cli_run("eval fine photos");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    run = cli_run("train resnet-32 --data photos --batch 6 --iterations 2 --weights run");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "conv1, bn1 match by name and shape, not layer1, layer2, layer3, fc: it has no layer1.3.conv1.weight "
                  "of 16 x 16 x 3 x 3");
    run = cli_run("eval run photos");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "has 2 classes; the net of ");
}

Test(score, a_loss_that_is_not_finite_is_no_answer)
{
    const struct cli_run *run = cli_run("train resnet-20 --data photos --batch 6 --iterations 1 --schedule constant "
                                        "--learning-rate 1000 --weight-decay 1 --save wild");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    const char *told = strstr(run->out, "step 1: the evaluation's loss is not finite"); /* after the step's own line */
    cr_assert(told && !strstr(told, "top-1 error") && !strstr(run->out, "test loss"), "%s", run->out);
    run = cli_run("eval wild photos --json");
    cr_assert_eq(run->code, 1, "%s", run->out);
    has(run->err, "the loss over the 12 test images is not finite");
}

Test(score, mistakes_are_explained)
{
    const struct {
        const char *arguments, *sentence;
    } wrong[] = {
        {"eval run", "a checkpoint and a dataset are wanted"},
        {"eval photos photos", "photos"},
        {"features run --data photos", "--output: a file"},
        {"features run -o f.npy", "a checkpoint and images, or a dataset (--data), are wanted"},
        {"features run --data photos -o f.npy --part half", "--part: found \"half\", expected test or train"},
        {"features run --data photos -o photos/train/f.npy", "would be a part of the dataset"},
        {"features run/best.safetensors --data photos -o run/best.safetensors", "is what fathom features reads"},
        {"features run photos/val/ant/0.jpg -o run/step-000000000012.safetensors", "is what fathom features"},
        {"features run photos/val/ant/0.jpg photos/val/ant/1.jpg -o photos/val/ant/1.jpg", "ant/1.jpg is what"},
        {"features run named.txt -o named", "named.txt is what fathom features reads"},
        {"features run --data photos -o run", "run: "},
        {"classify run", "a checkpoint and images are wanted"},
        {"eval run photos --crops 5", "--crops: found 5; 1 (the middle) or 10 is possible"},
        {"eval run photos --scales 32,x", "--scales: 'x' is not a whole number from 8 to 4096"},
        {"eval run photos --scales 32 --crops 10", "--scales: found beside --crops"},
        {"eval run photos --scales 32 --gpus 2xcpu", "--gpus: found 2 devices; whole images"},
        {"eval run photos --resize 31", "--resize: found 31, less than the net's image size, 32"},
        {"classify run none.jpg", "none.jpg: cannot be opened"},
        {"classify run log", "log: cannot be decoded as a JPEG"},
        {"classify run photos/val/ant/0.jpg --top 0", "--top"},
        {"classify run photos/val/ant/0.jpg photos/val/ant/1.jpg --gpus 2xcpu", "--gpus: found 2 devices"}};
    cr_assert_eq(system("cp photos/val/ant/0.jpg named.txt"), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct cli_run *run = cli_run(wrong[i].arguments);
        cr_assert_eq(run->code, 2, "%s: %s%s", wrong[i].arguments, run->out, run->err);
        has(run->err, wrong[i].sentence);
    }
    help_write_bytes("run/data.json", "{\"format\": \"other\"}", 19);
    const struct cli_run *run = cli_run("classify run photos/val/ant/0.jpg");
    cr_assert_eq(run->code, 2);
    has(run->err, "data.json: is of another format than 'fathom data'");
    cr_assert_eq(remove("run/data.json"), 0);
    run = cli_run("classify run photos/val/ant/0.jpg");
    cr_assert_eq(run->code, 2);
    has(run->err, "has no data.json beside it");
    run = cli_run("classify run photos/val/ant/0.jpg --data photos");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
}

/* torchvision's say neither; its transforms' presets have ImageNet's. */
Test(score, weights_that_say_no_scale_have_imagenets)
{
    const struct cli_run *run = cli_run("train resnet-18 --data photos --batch 6 --image-size 32 --iterations 1 "
                                        "--schedule constant --no-evaluate --save own");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    cr_assert_eq(system("mkdir others said && LC_ALL=C sed 's/\"fathom\":/\"others\":/; s/\"xxh3\":/\"xxhx\":/' "
                        "own/step-000000000001.safetensors "
                        "> others/w.safetensors && cp others/w.safetensors said"),
                 0);
    static const char scale[] = "{\"format\": \"fathom data\", \"version\": 1, \"mean\": [0.485, 0.456, 0.406], "
                                "\"deviation\": [0.229, 0.224, 0.225], \"classes\": [\"ant\", \"bee\", \"cat\"]}";
    help_write_bytes("said/data.json", scale, sizeof scale - 1);
    run = cli_run("classify others/w.safetensors photos/val/ant/0.jpg --image-size 32");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "class 2");
    has(run->out, "taken to be ImageNet's");
    json_t *guessed = answer("classify others/w.safetensors photos/val/ant/0.jpg --image-size 32 --json"),
           *known = answer("classify said/w.safetensors photos/val/ant/0.jpg --image-size 32 --json");
    cr_expect_str_eq(json_string_value(json_object_get(guessed, "scale")), "imagenet");
    cr_expect(json_is_null(json_object_get(known, "scale")));
    const json_t *image = json_array_get(json_object_get(guessed, "images"), 0),
                 *class = json_array_get(json_object_get(image, "classes"), 0);
    cr_expect_eq(strncmp(json_string_value(json_object_get(class, "name")), "class ", 6), 0, "nobody has named it");
    json_decref(guessed);
    json_decref(known);
    run = cli_run("classify said/w.safetensors photos/val/ant/0.jpg --image-size 32");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "cat");
    cr_expect_null(strstr(run->out, "ImageNet"));
    run = cli_run("features others/w.safetensors photos/val/ant/0.jpg --image-size 32 -o a.npy");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    run = cli_run("features said/w.safetensors photos/val/ant/0.jpg --image-size 32 -o b.npy");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    cr_expect_eq(system("cmp a.npy b.npy"), 0);
}
