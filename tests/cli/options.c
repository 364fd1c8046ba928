#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "command.h"

struct parsed {
    bool flag;
    const char *text;
    uint64_t count, bytes;
    double real;
    const char *words[2];
    size_t word_count;
};

static bool parse(struct parsed *parsed, struct error *err, const char *line)
{
    static char copy[256];
    char *argv[32], *next = copy;
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strsep(&next, " "));) argv[argc++] = word;
    argv[argc] = NULL;
    *parsed = (struct parsed){0};
    const struct option_spec specs[] = {
        {"quick", 'q', OPTION_FLAG, &parsed->flag, 0, 0},    {"output", 'o', OPTION_TEXT, &parsed->text, 0, 0},
        {"batch", 0, OPTION_COUNT, &parsed->count, 1, 1024}, {"budget", 0, OPTION_BYTES, &parsed->bytes, 0, 0},
        {"rate", 0, OPTION_REAL, &parsed->real, 0, 1},
    };
    return options_parse(argc, argv, specs, 5, parsed->words, 2, &parsed->word_count, err);
}

Test(options, come_in_any_order)
{
    struct parsed parsed;
    struct error err = {0};
    cr_assert(parse(&parsed, &err, "plan a --batch 128 -o x.json b --budget=2GiB -q --rate 0.5"), "%s", err.text);
    cr_assert(parsed.flag);
    cr_assert_str_eq(parsed.text, "x.json");
    cr_assert_eq(parsed.count, 128);
    cr_assert_eq(parsed.bytes, 2ull << 30);
    cr_assert_eq(parsed.real, 0.5);
    cr_assert_eq(parsed.word_count, 2);
    cr_assert_str_eq(parsed.words[0], "a");
    cr_assert_str_eq(parsed.words[1], "b");
}

Test(options, end_at_two_dashes)
{
    struct parsed parsed;
    struct error err = {0};
    cr_assert(parse(&parsed, &err, "plan -- --batch"), "%s", err.text);
    cr_assert_str_eq(parsed.words[0], "--batch");
}

static void expect_refusal(const char *part, const char *line)
{
    struct parsed parsed;
    struct error err = {0};
    cr_assert_not(parse(&parsed, &err, line));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, part), "'%s' does not say '%s'", err.text, part);
}

Test(options, plain_spellings_are_taken)
{
    struct parsed parsed;
    struct error err = {0};
    cr_assert(parse(&parsed, &err, "plan --batch-size 12 --out x.json"), "%s", err.text);
    cr_assert_eq(parsed.count, 12);
    cr_assert_str_eq(parsed.text, "x.json");
    cr_assert(parse(&parsed, &err, "plan --bat 7"), "%s", err.text);
    cr_assert_eq(parsed.count, 7);
}

/* In one command --top is a number, in another it is a flag, and no number comes after that. */
Test(options, a_spelling_with_a_value_is_no_flag)
{
    uint64_t count = 0;
    bool flag = false;
    size_t words;
    struct error err = {0};
    char words_of[3][16] = {"classify", "--topk", "5"};
    char *argv[] = {words_of[0], words_of[1], words_of[2], NULL};
    const struct option_spec number = {"top", 0, OPTION_COUNT, &count, 1, 10},
                             dashboard = {"top", 0, OPTION_FLAG, &flag, 0, 0};
    cr_assert(options_parse(3, argv, &number, 1, NULL, 0, &words, &err), "%s", err.text);
    cr_assert_eq(count, 5);
    cr_assert_not(options_parse(3, argv, &dashboard, 1, NULL, 0, &words, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "there is no option --topk"), "%s", err.text);
    cr_assert_not(flag);
}

Test(options, refusals_say_what_is_right)
{
    expect_refusal("did you mean --batch", "plan --bacth 3");
    expect_refusal("there is no option --frobnicate; --help", "plan --frobnicate");
    expect_refusal("did you mean --budget", "plan --memory-limit 3");
    expect_refusal("did you mean --output", "plan --file x");
    expect_refusal("did you mean --batch, with two dashes", "plan -batch 3");
    expect_refusal("it takes none", "plan --quick=3");
    expect_refusal("did you mean one of --batch, --budget?", "plan --b 3");
    expect_refusal("--batch: '0'", "plan --batch 0");
    expect_refusal("--batch: '-3'", "plan --batch=-3");
    expect_refusal("from 1 to 1024", "plan --batch 1e9");
    expect_refusal("--budget: 'lots'", "plan --budget lots");
    expect_refusal("a value is wanted", "plan --batch");
    expect_refusal("one word too many", "plan a b c");
    expect_refusal("--rate: 'nan'", "plan --rate nan");
}
