/* Whole screens, cell by cell. */
#include <stdlib.h>

#include "tui_dashboard.h"

/* tests/tui/golden/NAME.txt; FATHOM_UPDATE_GOLDEN=1 writes them anew. */
static void compare_golden(const char *name, const struct text *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/tui/golden/%s.txt", getenv("FATHOM_SOURCE"), name);
    if (getenv("FATHOM_UPDATE_GOLDEN")) {
        FILE *file = fopen(path, "w");
        cr_assert(file);
        fwrite(text->bytes, 1, text->length, file);
        fclose(file);
    }
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s is missing", path);
    static char expected[100000];
    size_t length = fread(expected, 1, sizeof expected - 1, file);
    fclose(file);
    expected[length] = '\0';
    cr_assert_str_eq(text->bytes, expected, "%s differs; the screen is now\n%s", name, text->bytes);
}

static void check_screen_of(const struct rollup *rollup, const char *name, enum view view, uint32_t rows,
                            uint32_t columns, bool ascii, bool help)
{
    struct dashboard dashboard = ready_in(view, rollup);
    dashboard.help = help;
    struct text text = draw_as(&dashboard, rollup, rows, columns, ascii);
    compare_golden(name, &text);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

static void check_screen(const char *name, enum view view, uint32_t rows, uint32_t columns, bool ascii, bool help)
{
    check_screen_of(example_rollup(), name, view, rows, columns, ascii, help);
}

static void check_gpu_screen(const char *name, enum view view, uint32_t rows, uint32_t columns)
{
    struct rollup *rollup = example_gpu_rollup();
    example_gpu_counters(rollup);
    check_screen_of(rollup, name, view, rows, columns, false, false);
}

Test(screens, kernels_80x24) { check_gpu_screen("top-kernels-80x24", VIEW_KERNELS, 24, 80); }
Test(screens, kernels_120x40) { check_gpu_screen("top-kernels-120x40", VIEW_KERNELS, 40, 120); }
Test(screens, kernels_200x50) { check_gpu_screen("top-kernels-200x50", VIEW_KERNELS, 50, 200); }
Test(screens, gpu_overview_80x24) { check_gpu_screen("top-gpu-overview-80x24", VIEW_OVERVIEW, 24, 80); }
Test(screens, gpu_overview_120x40) { check_gpu_screen("top-gpu-overview-120x40", VIEW_OVERVIEW, 40, 120); }
Test(screens, gpu_overview_200x50) { check_gpu_screen("top-gpu-overview-200x50", VIEW_OVERVIEW, 50, 200); }

Test(screens, peaks_80x24)
{
    check_screen_of(example_peaks(2e12, 40e9), "top-peaks-80x24", VIEW_OPS, 24, 80, false, false);
}
Test(screens, peaks_120x40)
{
    check_screen_of(example_peaks(2e12, 4e9), "top-peaks-120x40", VIEW_OPS, 40, 120, false, false);
}
Test(screens, overview_80x24) { check_screen("top-overview-80x24", VIEW_OVERVIEW, 24, 80, false, false); }
Test(screens, overview_200x50) { check_screen("top-overview-200x50", VIEW_OVERVIEW, 50, 200, false, false); }
Test(screens, overview_ascii) { check_screen("top-overview-ascii", VIEW_OVERVIEW, 24, 80, true, false); }
Test(screens, ops) { check_screen("top-ops", VIEW_OPS, 24, 120, false, false); }
Test(screens, layers) { check_screen("top-layers", VIEW_LAYERS, 24, 100, false, false); }
Test(screens, memory) { check_screen("top-memory", VIEW_MEMORY, 24, 100, false, false); }
Test(screens, loss) { check_screen("top-loss", VIEW_LOSS, 24, 100, false, false); }
Test(screens, help) { check_screen("top-help", VIEW_OVERVIEW, 24, 80, false, true); }
