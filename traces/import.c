#include "import.h"

#include "import_private.h"
#include "mem.h"

static bool gather(struct import *import, struct error *err)
{
    TRY(import_read(import, err) && import_find_owners(import, err) && import_place_runs(import, err));
    if (import->placed.total > 0) return true;
    if (import->stats->untimed + import->stats->nowhere > 0)
        return error_set(
            err, ERROR_INPUT,
            "%s: nothing to import: %llu events have no usable ts and dur, %llu of GPUs tell no device or stream",
            import->path, (unsigned long long)import->stats->untimed, (unsigned long long)import->stats->nowhere);
    return error_set(err, ERROR_INPUT, "%s: has neither kernels nor ops of PyTorch: nothing to import", import->path);
}

void import_finish(struct import *import)
{
    struct spill *const spills[] = {&import->runs,          &import->launches, &import->cpu_ops, &import->modules,
                                    &import->steps,         &import->hosts,    &import->orphans, &import->by_key,
                                    &import->used_launches, &import->forwards, &import->placed,  &import->by_external,
                                    &import->by_sequence};
    for (size_t i = 0; i < sizeof spills / sizeof spills[0]; i++) spill_finish(spills[i]);
    mem_free(import->shapes.items);
    mem_free(import->ops.items);
    key_map_finish(&import->threads);
    tables_finish(&import->names);
    tables_finish(&import->shape_keys);
    tables_finish(&import->op_keys);
    tables_finish(&import->tables);
    kernel_ids_destroy(import->kernels);
}

bool trace_import(const char *path, const char *out, const volatile sig_atomic_t *stop,
                  struct trace_import_stats *stats, struct error *err)
{
    struct import *import = mem_zalloc(MEM_TRACE, 1, sizeof *import);
    if (!import) return error_memory(err, sizeof *import, path);
    *stats = (struct trace_import_stats){0};
    *import = (struct import){.path = path, .out = out, .stop = stop, .stats = stats, .model = NONE};
    bool ok = gather(import, err) && import_write(import, err);
    import_finish(import);
    mem_free(import);
    return ok;
}
