#include "recipe_in_force.h"

/* A recipe's drops rise and lie within the run; what a very short run has at one step, it has one after the other. */
static void take_drops(struct recipe *recipe, const struct schedule *schedule)
{
    uint64_t last = 0;
    recipe->drop_count = 0;
    recipe->drop_factor = schedule->factor;
    for (uint32_t i = 0; i < schedule->drop_count; i++) {
        uint64_t drop = schedule->drops[i] > last ? schedule->drops[i] : last + 1;
        if (drop >= recipe->iterations) break;
        recipe->drops[recipe->drop_count++] = last = drop;
    }
    if (recipe->drop_count == 0) recipe->schedule = SCHEDULE_CONSTANT;
}

static void take_warm_up(struct recipe *recipe, const struct schedule *schedule)
{
    uint64_t most = recipe->iterations - 1;
    recipe->warm_up_iterations = schedule->warm_steps < most ? schedule->warm_steps : most;
    bool warms = recipe->warm_up_iterations > 0 && schedule->warm_rate > 0;
    if (!warms) recipe->warm_up_iterations = 0;
    recipe->warm_up_rate = warms ? schedule->warm_rate : 0;
    recipe->warm_up_until_error = warms ? schedule->warm_until_error : 0;
}

struct recipe recipe_in_force(const struct recipe *base, const struct train_options *o, uint32_t batch,
                              uint64_t training_images)
{
    struct recipe recipe = *base;
    const struct schedule *schedule = &o->schedule;
    recipe.batch = batch;
    recipe.training_images = training_images;
    recipe.iterations = o->iterations;
    recipe.epochs = 0;
    recipe.schedule = schedule->kind;
    recipe.learning_rate = schedule->base;
    recipe.patience = schedule->kind == SCHEDULE_PLATEAU ? schedule->patience : 0;
    recipe.drop_count = 0;
    if (schedule->kind == SCHEDULE_STEPS) take_drops(&recipe, schedule);
    take_warm_up(&recipe, schedule);
    recipe.label_smoothing = o->label_smoothing;
    recipe.bn_momentum = o->bn_momentum;
    recipe.bn_recompute = o->bn_recompute;
    recipe.init = o->init;
    recipe.augment = o->augment;
    recipe.area_crops = o->area_crops;
    recipe.color_jitter = o->colour.jitter;
    recipe.lighting = o->colour.lighting;
    return recipe;
}
