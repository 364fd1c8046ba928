/* Advice in words. */
#include <inttypes.h>
#include <stdio.h>

#include "advise.h"

/* A step that takes more than three times as long fits, and is of no use. */
#define IMPRACTICAL 2.0

/* "1.2 % more computation"; nothing where it would read 0.0 %. */
static const char *describe_more(const struct advice *advice, char out[64])
{
    out[0] = '\0';
    if (advice->extra_flops_fraction >= 0.0005)
        snprintf(out, 64, "%.1f %% more computation%s", 100 * advice->extra_flops_fraction,
                 advice->extra_flops_fraction > IMPRACTICAL ? ": impractical" : "");
    return out;
}

/* ", with 1.2 % more computation" */
static const char *describe_cost(const struct advice *advice, char out[80])
{
    char more[64];
    snprintf(out, 80, "%s%s", *describe_more(advice, more) ? ", with " : "", more);
    return out;
}

/* "the largest that fits (1.2 % more computation)" */
static void describe_limit(const struct advice *advice, const char *what, char *out, size_t size)
{
    char more[64];
    bool some = *describe_more(advice, more) != '\0';
    snprintf(out, size, "the %s that %s%s%s%s", what, advice->rough ? "was found to fit" : "fits", some ? " (" : "",
             more, some ? ")" : "");
}

char *advise_sentence(const struct advice *advice, char *out, size_t size)
{
    static const char *const limits[ADVICE_KINDS] = {"", "largest", "smallest number", "least", "smallest number", "",
                                                     "", ""};
    const bool fewer = advice->changes_bn && advice->bn_group == 0; /* with groups BN sees one at a time anyway */
    char limit[160], cost[80];
    describe_limit(advice, limits[advice->kind], limit, sizeof limit);
    switch (advice->kind) {
    case ADVICE_RECOMPUTE: snprintf(out, size, "--recompute auto%s", describe_cost(advice, cost)); break;
    case ADVICE_BATCH: snprintf(out, size, "--batch %" PRIu32 ", %s", advice->value, limit); break;
    case ADVICE_MICRO_BATCHES:
        snprintf(out, size, "--micro-batches %" PRIu32 ", %s%s", advice->value, limit,
                 fewer ? "; batch normalisation then sees smaller batches" : "");
        break;
    case ADVICE_MEMORY: snprintf(out, size, "%" PRIu32 " GiB per device, %s", advice->value, limit); break;
    case ADVICE_DEVICES:
        snprintf(out, size, "%" PRIu32 " devices, %s%s", advice->value, limit,
                 fewer ? "; without --sync-bn each normalises over its own images" : "");
        break;
    case ADVICE_OFFLOAD: snprintf(out, size, "--offload auto, into host memory%s", describe_cost(advice, cost)); break;
    case ADVICE_RECONSTRUCT:
        snprintf(out, size, "--reconstruct, exact to rounding%s", describe_cost(advice, cost));
        break;
    case ADVICE_WORKSPACE:
        snprintf(out, size, "--workspace %" PRIu32 "MiB, where convolutions are slower", advice->value);
        break;
    case ADVICE_KINDS: break;
    }
    return out;
}
