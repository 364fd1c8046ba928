/* Names in the tables of a trace, each once. */
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "tables.h"

static bool name_is(const char *name, const char *text, size_t length)
{
    return strncmp(name, text, length) == 0 && name[length] == '\0';
}

static bool grow_slots(struct tables *tables)
{
    size_t count = tables->slot_count ? tables->slot_count * 2 : 256;
    uint32_t *slots = mem_zalloc(MEM_TRACE, count, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < tables->name_count; i++) {
        uint64_t at = hash_bytes(tables->names[i], strlen(tables->names[i]), 0);
        while (slots[at & (count - 1)]) at++;
        slots[at & (count - 1)] = (uint32_t)i + 1;
    }
    mem_free(tables->slots);
    tables->slots = slots;
    tables->slot_count = count;
    return true;
}

static bool add_name(struct tables *tables, const char *text, size_t length, uint64_t slot, uint32_t *number)
{
    void *names = tables->names;
    bool grown = mem_grow(MEM_TRACE, &names, &tables->name_capacity, tables->name_count + 1, sizeof(char *));
    tables->names = names;
    char *copy = grown ? mem_alloc(MEM_TRACE, length + 1, 1) : NULL;
    if (!copy) return false;
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';
    tables->names[tables->name_count++] = copy;
    tables->slots[slot] = (uint32_t)tables->name_count;
    *number = (uint32_t)tables->name_count - 1;
    return true;
}

bool tables_add_name(struct tables *tables, const char *text, uint32_t *number)
{
    if (tables->name_count * 2 >= tables->slot_count && !grow_slots(tables)) return false;
    uint32_t none;
    if (tables->name_count == 0 && text && *text && !tables_add_name(tables, "", &none))
        return false; /* 0: of unset ops */
    size_t length = trace_text_length(text, TRACE_TEXT_MOST);
    uint64_t at = hash_bytes(text ? text : "", length, 0), mask = tables->slot_count - 1;
    for (;; at++) {
        uint32_t slot = tables->slots[at & mask];
        if (slot == 0) return add_name(tables, text, length, at & mask, number);
        *number = slot - 1;
        if (name_is(tables->names[slot - 1], text ? text : "", length)) return true;
    }
}
