/* Pages of eighty columns, and pictures. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan_kit.h"

/* Tags balance, attributes are quoted, nothing is unescaped: as much XML as the drawing uses. */
static void check_xml(const char *text)
{
    const char *open[64];
    size_t depth = 0;
    for (const char *c = strchr(text, '<'); c; c = strchr(c, '<')) {
        const char *end = strchr(c, '>');
        cr_assert(end, "a tag does not end");
        size_t quotes = 0;
        for (const char *q = c; q < end; q++) quotes += *q == '"';
        cr_assert_eq(quotes % 2, 0, "%.60s", c);
        size_t length = strcspn(c + 1 + (c[1] == '/'), " />");
        if (c[1] == '/') {
            cr_assert_gt(depth, 0);
            cr_assert_eq(strncmp(open[--depth], c + 2, length), 0, "%.60s", c);
        } else if (end[-1] != '/') {
            cr_assert_lt(depth, 64);
            open[depth++] = c + 1;
        }
        c = end;
    }
    cr_assert_eq(depth, 0);
    cr_assert_null(strstr(text, "nan"));
    cr_assert_null(strstr(text, "inf,"));
}

/* What is under the pointer is named: tensors with bytes and ops, blocks, parts of the memory, plans of a frontier. */
static void check_titles(const char *text, bool frontier)
{
    size_t titles = 0;
    for (const char *at = text; (at = strstr(at, "<title>")); at++) titles++;
    cr_expect_gt(titles, 5);
    if (frontier) {
        cr_expect(strstr(text, ">this plan</text>"));
        cr_expect(strstr(text, "% more computation, --recompute "));
        return;
    }
    cr_expect(strstr(text, "weights: "));
    cr_expect(strstr(text, "forward: ops 1 to "));
    cr_expect(strstr(text, ": runs backward</title>"));
    cr_expect(strstr(text, "iB, ops "));
}

Test(cli_plan, draws_well_formed_pictures_of_a_sane_size)
{
    static const char *const plans[] = {
        "resnet-8 --gpus cpu",
        "resnet-1001 --gpus 2x12GiB",
        "resnet-1202 --gpus h200 --batch 1024",
        "vgg-d --gpus h100,12GiB",
        "resnet-50 --gpus 4GiB --micro-batches 1",
        "resnet-5000 --gpus h200 --batch 64",
        "resnet-1001 --gpus 2xtitan-x --recompute elementwise",
        "resnet-50 --gpus titan-x --batch 64 --search",
    };
    char folder[] = "/tmp/fathom-draw-XXXXXX", path[64], arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/map.svg", folder);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        snprintf(arguments, sizeof arguments, "plan %s --json --svg %s", plans[i], path);
        const struct cli_run *run = cli_run(arguments);
        cr_assert_leq(run->code, 1, "%s: %s", arguments, run->err);
        static char text[2 << 20];
        cr_assert_eq(access(path, F_OK), 0, "%s", arguments);
        cli_read(path, text, sizeof text);
        cr_expect_lt(strlen(text), sizeof text - 1, "%s is too large", arguments);
        cr_expect_eq(strncmp(text, "<svg ", 5), 0);
        cr_expect(strstr(text, "</svg>"));
        cr_expect(strstr(text, strstr(plans[i], "--search") ? "predicted step" : "lower bound"));
        check_xml(text);
        check_titles(text, strstr(plans[i], "--search"));
    }
    cr_assert_eq(rmdir(folder), 0, "something was left beside the picture");
}

Test(cli_plan, prints_pages_of_eighty_columns)
{
    static const char *const rows[] = {
        "plan resnet-1001 --gpus 2x12GiB",
        "plan resnet-8 --gpus 1GiB,h100,h200,titan-x,a10 --batch 2048 --explain",
        "plan resnet-29 --gpus 200MiB --search",
        "plan resnet-11 --gpus 430MiB,500MiB --search",
        "plan resnet-20 --gpus 16xh200 --scaling --price 2.5 --epochs 90 --explain",
        "plan resnet-164 --gpus 1GiB --recompute none --micro-batches 1",
        "plan resnet-14 --gpus titan-x --batch 32 --budget 20MiB --offload auto --explain",
        "plan resnet-20 --gpus 500MiB --recompute none --max-depth",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) expect_narrow(rows[i]);
}

Test(cli_help, fits_eighty_columns)
{
    static const char *const rows[] = {"help",          "help plan",    "help train", "help top",  "help trace",
                                       "help place",    "help devices", "help data",  "help eval", "help classify",
                                       "help features", "help recipes", "devices"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) expect_narrow(rows[i]);
}
