#define _GNU_SOURCE
#include <string.h>

#include "dashboard.h"
#include "printable.h"

static void move_line(size_t *selected, size_t count, long by)
{
    long line = (long)*selected + by;
    if (line >= (long)count) line = (long)count - 1;
    *selected = line < 0 ? 0 : (size_t)line;
}

static bool shows_tree(const struct dashboard *dashboard) { return dashboard->view == VIEW_LAYERS; }

/* The list that keys move in, where it is not the tree. */
static struct row_list *shown_list(struct dashboard *dashboard)
{
    return dashboard->view == VIEW_KERNELS ? &dashboard->kernels : &dashboard->ops;
}

static void select_first(struct dashboard *dashboard) { dashboard->ops.selected = dashboard->kernels.selected = 0; }

static void move_selection(struct dashboard *dashboard, long by)
{
    if (shows_tree(dashboard))
        move_line(&dashboard->tree_selected, dashboard->tree.visible_count, by);
    else
        move_line(&shown_list(dashboard)->selected, shown_list(dashboard)->count, by);
}

static void toggle_node(struct dashboard *dashboard)
{
    if (tree_toggle(&dashboard->tree, dashboard->tree_selected)) tree_flatten(&dashboard->tree, NULL);
}

static bool node_is_open(const struct dashboard *dashboard)
{
    const struct tree *tree = &dashboard->tree;
    if (dashboard->tree_selected >= tree->visible_count) return false;
    const struct tree_node *node = &tree->nodes[tree->visible[dashboard->tree_selected]];
    return node->open && node->first_child != TREE_NONE;
}

static void step_cursor(struct dashboard *dashboard, const struct rollup *rollup, long by)
{
    move_line(&dashboard->cursor, rollup->step_count, by);
}

static void go_left(struct dashboard *dashboard, const struct rollup *rollup)
{
    if (!shows_tree(dashboard))
        step_cursor(dashboard, rollup, 1);
    else if (node_is_open(dashboard))
        toggle_node(dashboard);
    else
        dashboard->tree_selected = tree_parent_line(&dashboard->tree, dashboard->tree_selected);
}

static void go_right(struct dashboard *dashboard, const struct rollup *rollup)
{
    if (!shows_tree(dashboard))
        step_cursor(dashboard, rollup, -1);
    else if (!node_is_open(dashboard))
        toggle_node(dashboard);
    else
        move_selection(dashboard, 1);
}

/* Shows a group's ops. */
static void open_group(struct dashboard *dashboard, const struct op_row *row)
{
    const char *kind = dashboard->view == VIEW_KERNELS ? row->name : row->kind;
    const char *name = dashboard->group == GROUP_KIND ? kind : dashboard->group == GROUP_PASS ? row->pass : row->layer;
    size_t length = utf8_whole_length(name, strnlen(name, sizeof dashboard->filter - 1));
    memcpy(dashboard->filter, name, length);
    dashboard->filter[length] = '\0';
    dashboard->group = GROUP_OP;
    select_first(dashboard);
}

/* Opens the layer of an op in the tree. */
static void open_layer(struct dashboard *dashboard, uint32_t op)
{
    struct tree *tree = &dashboard->tree;
    if (op >= tree->op_count) return;
    uint32_t leaf = tree->leaves[op];
    for (uint32_t n = tree->nodes[leaf].parent; n != TREE_NONE; n = tree->nodes[n].parent) tree->nodes[n].open = true;
    tree->touched = true;
    tree_flatten(tree, NULL);
    for (size_t line = 0; line < tree->visible_count; line++)
        if (tree->visible[line] == leaf) dashboard->tree_selected = line;
    dashboard->view = VIEW_LAYERS;
}

/* Index of the op that owns a kernel; TREE_NONE when none does. */
static uint32_t owner_of(const struct rollup *rollup, const struct rollup_kernel *kernel)
{
    for (size_t i = 0; i < rollup->op_count; i++)
        if (rollup->ops[i].id == kernel->op && rollup->ops[i].device == kernel->times.device) return (uint32_t)i;
    return TREE_NONE;
}

static void open_kernels(struct dashboard *dashboard, uint32_t op)
{
    dashboard->only_op = op + 1;
    dashboard->filter[0] = '\0';
    dashboard->kernels.selected = 0;
    dashboard->view = VIEW_KERNELS;
}

/* A group's ops, an op's kernels, and of an op without kernels, and of a kernel, the layer. */
static void drill_down(struct dashboard *dashboard, const struct rollup *rollup)
{
    struct row_list *list = shown_list(dashboard);
    if (shows_tree(dashboard)) {
        toggle_node(dashboard);
        return;
    }
    if (dashboard->view == VIEW_MEMORY || dashboard->view == VIEW_LOSS || list->selected >= list->count) return;
    const struct op_row *row = row_list_show(list, rollup, list->selected, 1);
    if (!row) return;
    if (dashboard->group != GROUP_OP)
        open_group(dashboard, row);
    else if (dashboard->view == VIEW_KERNELS)
        open_layer(dashboard, owner_of(rollup, &rollup->kernels[row->first]));
    else if (rollup->kernel_count > 0)
        open_kernels(dashboard, row->first);
    else
        open_layer(dashboard, row->first);
}

static void filter_key(struct dashboard *dashboard, uint32_t key)
{
    size_t length = strlen(dashboard->filter);
    if (key == DASHBOARD_RETURN) {
        dashboard->filter_open = false;
    } else if (key == DASHBOARD_ESCAPE) {
        dashboard->filter_open = false;
        dashboard->filter[0] = '\0';
    } else if (key == DASHBOARD_ERASE) {
        if (length > 0) dashboard->filter[length - 1] = '\0';
    } else if (key >= 0x20 && key < 0x7F && length + 1 < sizeof dashboard->filter) {
        dashboard->filter[length] = (char)key;
        dashboard->filter[length + 1] = '\0';
    }
    select_first(dashboard);
}

static void escape_key(struct dashboard *dashboard)
{
    if (dashboard->help)
        dashboard->help = false;
    else if (dashboard->filter[0])
        dashboard->filter[0] = '\0';
    else if (dashboard->view == VIEW_KERNELS && dashboard->only_op)
        dashboard->only_op = 0, dashboard->view = VIEW_OPS;
    else
        dashboard->view = VIEW_OVERVIEW;
}

/* The key of the word of the footer that was clicked on; 0 = none. */
static uint32_t clicked_word(const struct dashboard *dashboard)
{
    for (size_t i = 0; i < DASHBOARD_WORDS; i++) {
        const struct dashboard_word *word = &dashboard->words[i];
        if (word->key && dashboard->click_column >= word->begin && dashboard->click_column < word->end)
            return word->key;
    }
    return 0;
}

/* A click selects a line; on the selected line it opens it. */
static void click_line(struct dashboard *dashboard, const struct rollup *rollup)
{
    bool tree = shows_tree(dashboard);
    struct row_list *list = shown_list(dashboard);
    size_t *selected = tree ? &dashboard->tree_selected : &list->selected;
    size_t scroll = tree ? dashboard->tree_scroll : list->scroll;
    size_t count = tree ? dashboard->tree.visible_count : list->count;
    if (dashboard->view == VIEW_MEMORY || dashboard->view == VIEW_LOSS) return;
    if (dashboard->click_row < dashboard->list_row) return;
    size_t line = dashboard->click_row - dashboard->list_row;
    if (line >= dashboard->page_rows || scroll + line >= count) return;
    if (*selected == scroll + line)
        drill_down(dashboard, rollup);
    else
        *selected = scroll + line;
}

/* Past the kernels where there are none. */
static void next_view(struct dashboard *dashboard, const struct rollup *rollup)
{
    dashboard->view = (dashboard->view + 1) % VIEWS;
    dashboard->only_op = 0;
    if (dashboard->view == VIEW_KERNELS && rollup->kernel_count == 0) dashboard->view = VIEW_OVERVIEW;
}

static void change_speed(struct dashboard *dashboard, double factor)
{
    double speed = dashboard->speed * factor;
    bool too_far = factor < 1 ? speed < DASHBOARD_LEAST_SPEED : speed > DASHBOARD_MOST_SPEED;
    if (dashboard->replay && !too_far) dashboard->speed = speed;
}

static void letter_key(struct dashboard *dashboard, const struct rollup *rollup, uint32_t key)
{
    switch (key) {
    case 'q': dashboard->quit = true; break;
    case '?':
    case 'h': dashboard->help = !dashboard->help; break;
    case 'r': dashboard->asks_record = true; break;
    case ' ': dashboard->paused = !dashboard->paused; break;
    case '/': dashboard->filter_open = true; break;
    case 's': dashboard->sort = (dashboard->sort + 1) % OP_SORTS; break;
    case 'S': dashboard->sort = (dashboard->sort + OP_SORTS - 1) % OP_SORTS; break;
    case 'g':
    case 'G':
        dashboard->group = (dashboard->group + (key == 'g' ? 1 : GROUPS - 1)) % GROUPS;
        select_first(dashboard);
        break;
    case 'D':
        dashboard->devices_toggled = !dashboard->devices_toggled;
        select_first(dashboard);
        break;
    case 'd':
        if (rollup->device_count) dashboard->device = (dashboard->device + 1) % rollup->device_count;
        break;
    case '+':
    case '=':
        if (dashboard->zoom < 20) dashboard->zoom++;
        break;
    case '-':
        if (dashboard->zoom > 0) dashboard->zoom--;
        break;
    case '<': change_speed(dashboard, 0.5); break;
    case '>': change_speed(dashboard, 2); break;
    case 'n':
    case 'p':
        if (dashboard->replay) dashboard->asks_steps += key == 'n' ? 1 : -1;
        break;
    case 'k': move_selection(dashboard, -1); break;
    case 'j': move_selection(dashboard, 1); break;
    case '1':
    case '2':
    case '3':
    case '4':
    case '5': dashboard->view = (enum view)(key - '1'); break;
    case '6':
        dashboard->view = VIEW_KERNELS;
        dashboard->only_op = 0;
        break;
    default: break;
    }
}

/* Keys that move, while the help is shown; false for others. */
static bool scroll_help(struct dashboard *dashboard, uint32_t key)
{
    uint32_t *scroll = &dashboard->help_scroll; /* panel_help stops at the end */
    switch (key) {
    case 'k':
    case DASHBOARD_UP: *scroll -= *scroll > 0; return true;
    case 'j':
    case DASHBOARD_DOWN: ++*scroll; return true;
    case DASHBOARD_WHEEL_UP:
    case DASHBOARD_PAGE_UP: *scroll = *scroll > 5 ? *scroll - 5 : 0; return true;
    case DASHBOARD_WHEEL_DOWN:
    case DASHBOARD_PAGE_DOWN: *scroll += 5; return true;
    case DASHBOARD_FIRST: *scroll = 0; return true;
    case DASHBOARD_LAST: *scroll = 1000; return true;
    default: return false;
    }
}

static void click(struct dashboard *dashboard, const struct rollup *rollup)
{
    if (dashboard->click_row != dashboard->words_row)
        click_line(dashboard, rollup);
    else
        dashboard_key(dashboard, rollup, clicked_word(dashboard));
}

#define WHEEL_LINES 3

void dashboard_key(struct dashboard *dashboard, const struct rollup *rollup, uint32_t key)
{
    if (dashboard->filter_open && key < 0x10000) {
        filter_key(dashboard, key);
        return;
    }
    if (dashboard->help && scroll_help(dashboard, key)) return;
    long page = dashboard->page_rows > 1 ? (long)dashboard->page_rows - 1 : 10;
    switch (key) {
    case DASHBOARD_ESCAPE: escape_key(dashboard); break;
    case DASHBOARD_RETURN:
    case '\r': drill_down(dashboard, rollup); break;
    case DASHBOARD_UP: move_selection(dashboard, -1); break;
    case DASHBOARD_DOWN: move_selection(dashboard, 1); break;
    case DASHBOARD_PAGE_UP: move_selection(dashboard, -page); break;
    case DASHBOARD_PAGE_DOWN: move_selection(dashboard, page); break;
    case DASHBOARD_FIRST: move_selection(dashboard, -(1L << 40)); break;
    case DASHBOARD_LAST: move_selection(dashboard, 1L << 40); break;
    case DASHBOARD_LEFT: go_left(dashboard, rollup); break;
    case DASHBOARD_RIGHT: go_right(dashboard, rollup); break;
    case DASHBOARD_F1: dashboard->help = !dashboard->help; break;
    case DASHBOARD_WHEEL_UP: move_selection(dashboard, -WHEEL_LINES); break;
    case DASHBOARD_WHEEL_DOWN: move_selection(dashboard, WHEEL_LINES); break;
    case DASHBOARD_CLICK: click(dashboard, rollup); break;
    case DASHBOARD_TAB: next_view(dashboard, rollup); break;
    default: letter_key(dashboard, rollup, key); break;
    }
}
