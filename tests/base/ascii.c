/* Words that people write are read alike under every locale. */
#include <locale.h>
#include <stdio.h>

#include <criterion/criterion.h>

#include "ascii.h"
#include "choice.h"
#include "units.h"

Test(ascii, knows_the_letters_of_ascii_alone)
{
    for (int byte = -128; byte < 128; byte++) {
        bool capital = byte >= 'A' && byte <= 'Z', small = byte >= 'a' && byte <= 'z',
             digit = byte >= '0' && byte <= '9';
        cr_expect_eq(ascii_lower((char)byte), capital ? byte + 32 : byte, "%d", byte);
        cr_expect_eq(ascii_is_alnum((char)byte), capital || small || digit, "%d", byte);
    }
}

Test(ascii, compares_without_case)
{
    cr_expect(ascii_same("TITAN-X", "titan-x"));
    cr_expect(ascii_same("", ""));
    cr_expect_not(ascii_same("titan", "titan-x"));
    cr_expect_not(ascii_same("titan-x", "titan"));
    cr_expect_not(ascii_same("@", "`"), "32 apart, and no letters");
    cr_expect_not(ascii_same("\xdd", "i"), "Latin-5's capital with a dot");
    cr_expect(ascii_same_first("ResNet-50", "resnet", 6));
    cr_expect_not(ascii_same_first("Res", "resnet", 6));
    cr_expect(ascii_same_first("RES", "res", 6));
    cr_expect(ascii_same_first("a", "b", 0));
}

Test(ascii, finds_words)
{
    cr_expect(ascii_holds("stage1/unit2/CONV", "conv"));
    cr_expect(ascii_holds("stage1", "STAGE1"));
    cr_expect(ascii_holds("aab", "ab"));
    cr_expect(ascii_holds("x", ""));
    cr_expect(ascii_holds("", ""));
    cr_expect_not(ascii_holds("stage1", "stage12"));
    cr_expect_not(ascii_holds("", "a"));
}

static void expect_words(void)
{
    struct error err = {0};
    uint64_t bytes = 0;
    cr_expect(ascii_same("TITAN-X", "titan-x"));
    cr_expect(choice_same("BN-INCEPTION", "bn-inception"));
    cr_expect(units_parse_bytes("8GIB", "--gpus", &bytes, &err), "%s", err.text);
    cr_expect_eq(bytes, UINT64_C(8) << 30);
}

/* Where I is the capital of a dotless letter, and of a locale of 8 bits, where more bytes are letters. */
Test(ascii, no_locale_changes_words)
{
    static const char *const names[] = {"C", "tr_TR.UTF-8", "az_AZ.UTF-8", "tr_TR.ISO-8859-9"};
    size_t tried = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!setlocale(LC_CTYPE, names[i])) continue;
        expect_words();
        cr_expect_not(ascii_is_alnum('\xdd'), "%s", names[i]);
        tried += i > 0;
    }
    setlocale(LC_CTYPE, "C");
    if (tried == 0) cr_skip_test("no Turkish locale");
}
