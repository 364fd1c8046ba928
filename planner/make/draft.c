#include "draft.h"

#include "liveness.h"
#include "mem.h"
#include "plan_request.h"
#include "variant_request.h"
#include "workspace.h"

void draft_finish(struct draft *draft)
{
    plan_program_finish(&draft->program);
    mem_free(draft->home);
    *draft = (struct draft){0};
}

static bool draft_complete(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                           struct error *err)
{
    const struct plan_request *plan = request->plan;
    struct plan_program *program = &draft->program;
    struct workspace_tier tier = {request->device, plan->workspace_cap_bytes};
    if (plan->workspace_bytes)
        TRY(program_add_workspaces(graph, program, plan->workspace_bytes, plan->workspace_bytes,
                                   plan->workspace_context, err));
    else
        TRY(program_add_workspaces(graph, program, workspace_estimate, workspace_estimate_lean, &tier, err));
    draft->home = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *draft->home);
    if (!draft->home) return error_memory(err, program->tensor_count * sizeof *draft->home, "lifetimes");
    return liveness_find(graph, program, plan->sharing, draft->home, err);
}

bool draft_train(const struct variant_request *request, const struct graph *graph,
                 const struct chain_schedule *schedule, struct draft *draft, struct error *err)
{
    return program_emit_train(graph, schedule->steps, schedule->count, &draft->program, err) &&
           draft_complete(request, graph, draft, err);
}

bool draft_evaluate(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                    struct error *err)
{
    return program_emit_evaluate(graph, &draft->program, err) && draft_complete(request, graph, draft, err);
}
