#include "pace.h"

#include <math.h>

void pace_see_step(struct pace *p, const struct pace_course *course, uint64_t done, double seconds, double top1_hits,
                   double top5_hits, double images)
{
    uint64_t pass = (done - 1) * course->batch / course->images;
    p->each = p->steps++ == 0 ? seconds : p->each + (seconds - p->each) / 20;
    p->spent += seconds;
    if (pass != p->pass) p->top1_hits = p->top5_hits = p->images = 0;
    p->pass = pass;
    p->top1_hits += top1_hits;
    p->top5_hits += top5_hits;
    p->images += images;
}

void pace_see_wait(struct pace *p, double seconds) { p->waited += seconds; }

void pace_see_test(struct pace *p, double seconds) { p->tested = seconds; }

void pace_tell(const struct pace *p, const struct pace_course *course, uint64_t done, bool waits,
               struct train_status *status)
{
    status->epoch = (double)(done * course->batch) / (double)course->images;
    status->pass_top1 = p->images > 0 ? 1 - p->top1_hits / p->images : NAN;
    status->pass_top5 = p->images > 0 ? 1 - p->top5_hits / p->images : NAN;
    status->waited_share = waits && p->spent > 0 ? fmin(1, p->waited / p->spent) : NAN;
}

/* In steps (done, iterations], the last one's among them. */
static uint64_t tests_left(const struct pace_course *c, uint64_t done)
{
    if (c->test_images == 0 || done >= c->iterations) return 0;
    if (c->test_every == 0) return 1;
    uint64_t due = c->iterations / c->test_every - done / c->test_every;
    return due + (c->iterations % c->test_every != 0);
}

double pace_left(const struct pace *p, const struct pace_course *c, uint64_t done)
{
    double steps = done < c->iterations ? (double)(c->iterations - done) : 0;
    double test = p->tested > 0 ? p->tested : p->each / 3 * (double)c->test_images / (double)c->batch;
    return p->each * steps + test * (double)tests_left(c, done);
}
