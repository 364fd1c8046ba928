/* Traces of any content as tables of what ops take: what is learned gives times that are numbers, for a model it may be
 * of; what is not gets a sentence. */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>

#include "fuzz_file.h"
#include "mem.h"
#include "model.h"
#include "plan_costs.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(const struct cost_table *table, const struct device_spec *device)
{
    double flops, bandwidth;
    cost_table_rates(table, &flops, &bandwidth);
    if (!(flops >= 0) || isinf(flops) || !(bandwidth >= 0) || isinf(bandwidth)) abort();
    if (!(cost_table_link(table) >= 0) || !cost_table_name(table)[0]) abort();
    (void)cost_table_applies(table, device);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct device_spec device = {.name = "cpu", .kind = DEVICE_CPU, .memory_bytes = UINT64_C(1) << 30};
    struct machine machine = {.devices = &device, .device_count = 1};
    struct plan_request request = {.batch = 2, .machine = &machine};
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct error err = {0};
    struct cost_table *table;
    if (!model_parse("resnet-8", &options, &request.spec, &err)) abort();
    struct fuzz_file file = fuzz_file_make(bytes, length);
    if (plan_costs_read(file.path, &request, &table, &err)) {
        check(table, &device);
        cost_table_destroy(table);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    fuzz_file_finish(&file);
    for (enum mem_purpose p = 0; p < MEM_PURPOSES; p++)
        if (mem_current_bytes(p) != 0) abort();
    return 0;
}
