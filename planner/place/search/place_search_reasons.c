/* Why a section is too high, why a floor rises. */
#include <string.h>

#include "place_search_private.h"

void search_blame_section(struct search *search, uint32_t s)
{
    const uint64_t *least = search->least, *size = search->problem->size;
    const uint32_t *members = search->members + search->tables->member_start[s];
    size_t count = search->tables->member_start[s + 1] - search->tables->member_start[s], first = 0, end = 0;
    for (uint64_t finish = 0; end < count && least[members[end]] != UINT64_MAX; end++) {
        if (least[members[end]] > finish) {
            finish = least[members[end]];
            first = end;
        }
        finish += size[members[end]];
    }
    struct blame *blame = &search->blame;
    memset(blame->failure, 0, blame->words * sizeof *blame->failure);
    for (size_t i = first; i < end; i++) blame_add(blame, blame->failure, search->cause[members[i]]);
}

void search_blame_lift(struct search *search, uint32_t s, size_t refuted)
{
    const struct search_tables *tables = search->tables;
    struct blame *blame = &search->blame;
    memcpy(blame->failure, blame->sets + refuted, blame->words * sizeof *blame->failure);
    for (size_t i = tables->member_start[s]; i < tables->member_start[s + 1]; i++)
        if (!search->placed[tables->members[i]]) blame_add(blame, blame->failure, search->cause[tables->members[i]]);
    search->raiser = blame_push_failure(blame);
}
