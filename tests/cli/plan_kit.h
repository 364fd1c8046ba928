/* What `fathom plan` says, in JSON and on its pages. */
#ifndef FATHOM_PLAN_KIT_H
#define FATHOM_PLAN_KIT_H

#include <string.h>

#include "cli_run.h"
#include "json.h"

static inline json_t *run_json(const char *arguments, int code)
{
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, code, "%s: %d, %s", arguments, run->code, run->err);
    json_error_t fault;
    json_t *root = json_loads(run->out, JSON_REJECT_DUPLICATES, &fault);
    cr_assert(root, "%s: line %d: %s", arguments, fault.line, fault.text);
    return root;
}

static inline uint64_t number(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    cr_assert(json_is_integer(value), "%s is missing or no whole number", field);
    return (uint64_t)json_integer_value(value);
}

static inline size_t columns(const char *line, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)line[i] & 0xC0) != 0x80;
    return count;
}

static inline void expect_narrow(const char *arguments)
{
    const struct cli_run *run = cli_run(arguments);
    cr_expect(run->code == 0 || run->code == 1, "%s: %s", arguments, run->err);
    cr_expect(*run->out, "%s says nothing: %s", arguments, run->err);
    for (const char *line = run->out; *line;) {
        size_t length = strcspn(line, "\n");
        cr_expect_leq(columns(line, length), 80, "%s: %.*s", arguments, (int)length, line);
        line += length + (line[length] == '\n');
    }
}

#endif
