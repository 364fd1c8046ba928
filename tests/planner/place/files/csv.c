/* Problems as CSV: what is read and written, each fault one sentence with its line, the command's exit codes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "mem.h"
#include "place_check.h"
#include "place_csv.h"
#include "place_svg.h"

static bool parse(struct place_table *table, const char *text, struct error *err)
{
    char *copy = mem_strdup(MEM_GENERAL, text);
    cr_assert(copy);
    return place_table_parse(table, "p.csv", copy, strlen(text), err);
}

/* Some tests and the command run in a folder of their own. */
static char folder[] = "/tmp/fathom-place-XXXXXX";

static void make_folder(void)
{
    cr_assert(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    cr_assert_eq(chdir("/"), 0);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

Test(place_csv, reads_columns_in_any_order)
{
    struct error err = {0};
    struct place_table table;
    cr_assert(
        parse(&table, "size, upper,lower ,id,offset,Alignment\r\n7,3,1,b1,,4\r\n\n5,9,2,b2,16,8\n6,9,2,b3,-1,\n", &err),
        "%s", err.text);
    cr_assert_eq(table.count, 3);
    cr_assert(table.has_alignment);
    const struct place_buffer *b = table.buffers;
    cr_assert(b[0].lower == 1 && b[0].upper == 3 && b[0].size == 7 && b[0].align == 4 && b[0].fixed == PLACE_UNPLACED);
    cr_assert(b[1].lower == 2 && b[1].upper == 9 && b[1].size == 5 && b[1].align == 8 && b[1].fixed == 16);
    cr_assert(b[2].align == 1 && b[2].fixed == PLACE_UNPLACED);
    cr_assert_str_eq(table.ids[2], "b3");
    place_table_finish(&table);
    place_table_finish(&table);
}

Test(place_csv, names_of_one_storage_are_read_and_written, .init = make_folder, .fini = remove_folder)
{
    struct error err = {0};
    struct place_table table, again;
    cr_assert(parse(&table, "id,lower,upper,size,alias\na,0,3,8,7\nb,2,5,4,7\nc,0,5,4,\nd,0,5,4,0\n", &err), "%s",
              err.text);
    cr_assert(table.buffers[0].alias == 7 && table.buffers[1].alias == 7 && table.buffers[2].alias == 0);
    for (size_t i = 0; i < table.count; i++) table.buffers[i].offset = 16 * (i / 2);
    cr_assert(place_table_write(&table, "out.csv", &err), "%s", err.text);
    cr_assert(place_table_read(&again, "out.csv", &err), "%s", err.text);
    cr_assert(again.has_alias && again.buffers[1].alias == 7 && again.buffers[3].fixed == 16);
    place_table_finish(&table);
    place_table_finish(&again);
}

Test(place_csv, clocks_of_streams_are_read_and_written, .init = make_folder, .fini = remove_folder)
{
    struct error err = {0};
    struct place_table table, again;
    cr_assert(parse(&table, "id,lower,upper,size\na,0:0,3:1,8\nb,2:5,2:9,4\n", &err), "%s", err.text);
    cr_assert(table.clocks.streams == 2 && table.clocks.start[2] == 2 && table.clocks.end[3] == 9);
    cr_assert(table.buffers[1].lower == 7 && table.buffers[1].upper == 11);
    for (size_t i = 0; i < table.count; i++) table.buffers[i].offset = 16 * i;
    cr_assert(place_table_write(&table, "out.csv", &err), "%s", err.text);
    cr_assert(place_table_read(&again, "out.csv", &err), "%s", err.text);
    cr_assert(again.clocks.streams == 2 && memcmp(again.clocks.start, table.clocks.start, 32) == 0 &&
              memcmp(again.clocks.end, table.clocks.end, 32) == 0 && again.buffers[1].fixed == 16);
    place_table_finish(&table);
    place_table_finish(&again);
}

Test(place_csv, each_fault_is_named_with_its_line)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"", "empty"},
                {"\n \n", "empty"},
                {"id,lower,upper\n", "p.csv:1: column 'size' is missing"},
                {"id,lower,upper,size,colour\n", "p.csv:1: column 'colour' is not known"},
                {"id,lower,upper,size,id\n", "p.csv:1: column 'id' appears twice"},
                {"a,,,,,,,,,,,,,,,,,,,,\n", "p.csv:1: more than 16 columns"},
                {"id,lower,upper,size\n1,0,5,4\n2,0,-5,4\n", "p.csv:3: upper '-5' is negative"},
                {"id,lower,upper,size\n1,0:0,5:1,4\n2,0:1,5,4\n", "p.csv:3: upper has not the 2 streams"},
                {"id,lower,upper,size\n1,0:0,5:1:2,4\n", "p.csv:2: upper has not the 2 streams"},
                {"id,lower,upper,size\n1,0:3,5:1,4\n", "no clock goes back"},
                {"id,lower,upper,size\n1,0:3,0:3,4\n", "must be later"},
                {"id,lower,upper,size\n1,0:x,5:1,4\n", "p.csv:2: lower 'x' is not a whole number"},
                {"id,lower,upper,size\n1,0:,5:1,4\n", "p.csv:2: lower '' is not a whole number"},
                {"id,lower,upper,size\n1,0:0,5:9999999999999999,4\n", "the most with several streams"},
                {"id,lower,upper,size\n1,0,5,4\n2,0:0,5:1,4\n", "p.csv:3: lower '0:0' is not a whole number"},
                {"id,lower,upper,size\n1,0,5,-4\n", "p.csv:2: size '-4' is negative"},
                {"id,lower,upper,size\n\n1,5,5,4\n", "p.csv:3: upper 5 is not above lower 5"},
                {"id,lower,upper,size,alias\n1,0,5,4,x\n", "p.csv:2: alias 'x' is not a whole number"},
                {"id,lower,upper,size,alias\n1,0,5,4,-2\n", "p.csv:2: alias '-2' is negative"},
                {"id,lower,upper,size\n1,6,5,4\n", "p.csv:2: upper 5 is not above lower 6"},
                {"id,lower,upper,size\n1,0,5,99999999999999999999\n", "p.csv:2: size '99999999999999999999' is above"},
                {"id,lower,upper,size\n1,0,5,4.5\n", "p.csv:2: size '4.5' is not a whole number"},
                {"id,lower,upper,size\n1,0,5,\n", "p.csv:2: size '' is not a whole number"},
                {"id,lower,upper,size\n1,0,5\n", "p.csv:2: 3 fields where the header has 4"},
                {"id,lower,upper,size\n1,0,5,4,4\n", "p.csv:2: 5 fields where the header has 4"},
                {"id,lower,upper,size\n,0,5,4\n", "p.csv:2: the id is empty"},
                {"id,lower,upper,size\nx,0,5,4\ny,0,5,4\nx,0,5,4\n", "id 'x' appears twice, in rows 1 and 3"},
                {"id,lower,upper,size,alignment,offset\n1,0,5,4,8,4\n", "p.csv:2: offset 4 is not a multiple of"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        struct place_table table;
        cr_expect_not(parse(&table, rows[i].text, &err), "row %zu", i);
        cr_expect_eq(err.kind, ERROR_INPUT, "row %zu", i);
        cr_expect(strstr(err.text, rows[i].says), "row %zu: '%s' does not say '%s'", i, err.text, rows[i].says);
        cr_expect_null(table.buffers);
    }
}

Test(place_csv, a_zero_byte_is_refused)
{
    char *text = mem_alloc(MEM_GENERAL, 9, 1);
    memcpy(text, "id,\0ower", 9);
    struct error err = {0};
    struct place_table table;
    cr_assert_not(place_table_parse(&table, "p.csv", text, 8, &err));
    cr_assert(strstr(err.text, "zero byte"), "%s", err.text);
}

Test(place_csv, too_many_rows_are_refused_before_they_are_read)
{
    static const char row[] = "a,0,1,1\n";
    size_t rows = 10000001, length = 20 + rows * 8;
    char *text = mem_alloc(MEM_GENERAL, length + 1, 1);
    memcpy(text, "id,lower,upper,size\n", 20);
    for (size_t i = 0; i < rows; i++) memcpy(text + 20 + 8 * i, row, 8);
    text[length] = '\0';
    struct error err = {0};
    struct place_table table;
    cr_assert_not(place_table_parse(&table, "p.csv", text, length, &err));
    cr_assert_str_eq(err.text, "p.csv: 10000001 rows after the header; the most is 10000000");
    cr_assert_eq(mem_current_bytes(MEM_GENERAL), 0);
    cr_assert_leq(mem_peak_bytes(MEM_GENERAL), length + 1000);
}

Test(place_csv, reading_takes_little_more_than_the_rows)
{
    size_t rows = 200000, length = 0;
    char *text = mem_alloc(MEM_GENERAL, rows * 32, 1);
    length += (size_t)sprintf(text, "\xef\xbb\xbfid,lower,upper,size\r\n\r\n");
    for (size_t i = 0; i < rows; i++) length += (size_t)sprintf(text + length, "%zu,%zu,%zu,64\r\n", i, i, i + 3);
    struct error err = {0};
    struct place_table table;
    cr_assert(place_table_parse(&table, "p.csv", text, length, &err), "%s", err.text);
    cr_assert_eq(table.count, rows);
    cr_assert_leq(mem_peak_bytes(MEM_GENERAL), rows * (32 + 64 + 16 + 8));
    place_table_finish(&table);
}

Test(place_csv, a_picture_of_many_buffers_stays_small)
{
    size_t count = 100000;
    struct place_buffer *buffers = mem_zalloc(MEM_GENERAL, count, sizeof *buffers);
    for (uint64_t i = 0; i < count; i++)
        buffers[i] = (struct place_buffer){i, i + 3, 8, 1, PLACE_UNPLACED, 8 * (i % 3), i % 100 ? 0 : 1 + i};
    struct place_result result = {.arena_bytes = 24, .lower_bound_bytes = 24, .proved_optimal = true};
    struct error err = {0};
    struct text svg = {0};
    cr_assert(place_svg(&svg, "p", buffers, NULL, count, &result, &err), "%s", err.text);
    cr_assert_leq(svg.length, 8u << 20);
    cr_assert(strstr(svg.bytes, "opacity=\"1\""));
    text_finish(&svg);
    mem_free(buffers);
}

Test(place_csv, each_failed_allocation_is_survived)
{
    static const char text[] = "id,lower,upper,size\n1,0,5,4\n2,0,5,4\n";
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    for (uint64_t n = 1;; n++) {
        char *copy = mem_strdup(MEM_GENERAL, text);
        struct error err = {0};
        struct place_table table;
        struct text svg = {0};
        struct place_result result = {8, 8, 0, true, 0, 0};
        mem_fail_at(n);
        bool parsed = place_table_parse(&table, "p.csv", copy, sizeof text - 1, &err);
        bool drawn = parsed && place_svg(&svg, "p", table.buffers, table.ids, table.count, &result, &err);
        mem_fail_at(0);
        place_table_finish(&table);
        text_finish(&svg);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before, "allocation %llu leaks", (unsigned long long)n);
        if (drawn) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 100);
    }
}

static int fathom(const char *arguments)
{
    char command[512];
    snprintf(command, sizeof command, "%s place %s >out 2>err", getenv("FATHOM_BIN"), arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool file_says(const char *path, const char *what)
{
    struct error err = {0};
    char *bytes;
    size_t length;
    cr_assert(files_read(path, 1 << 20, &bytes, &length, &err), "%s", err.text);
    bool says = strstr(bytes, what) != NULL;
    mem_free(bytes);
    return says;
}

static const char example[] = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n";

Test(place_csv, the_command_answers_and_its_exit_code_says_whether_it_fits, .init = make_folder, .fini = remove_folder)
{
    struct error err = {0};
    cr_assert(files_write("p.csv", example, sizeof example - 1, &err), "%s", err.text);
    cr_assert_eq(fathom("p.csv --capacity 12 -o placed.csv --svg p.svg --json"), 0);
    cr_assert(file_says("out", "\"arena_bytes\": 12, \"lower_bound_bytes\": 12, \"proved_optimal\": true"));
    cr_assert(file_says("out", "\"fits\": true"));
    cr_assert(file_says("p.svg", "</svg>"));
    struct place_table table;
    cr_assert(place_table_read(&table, "placed.csv", &err), "%s", err.text);
    for (size_t i = 0; i < table.count; i++) table.buffers[i].offset = table.buffers[i].fixed;
    cr_assert(place_check(table.buffers, table.count, 12, &err), "%s", err.text);
    place_table_finish(&table);
    cr_assert_eq(fathom("p.csv --minimise"), 0);
    cr_assert(file_says("out", "optimal"));
    cr_assert_eq(fathom("p.csv --capacity 11"), 1);
    cr_assert(file_says("out", "impossible in 11 bytes: proved"));
}

Test(place_csv, chunks_come_out_as_a_column_and_go_in_again, .init = make_folder, .fini = remove_folder)
{
    struct error err = {0};
    cr_assert(files_write("p.csv", example, sizeof example - 1, &err), "%s", err.text);
    cr_assert_eq(fathom("p.csv --chunks 2 --chunk-size 8 -o placed.csv --svg p.svg --json"), 0);
    cr_assert(file_says("out", "\"chunks_used\": 2, \"least_chunks\": 2, \"proved_least\": true"));
    cr_assert(file_says("placed.csv", "id,lower,upper,size,chunk,offset\n"));
    cr_assert(file_says("p.svg", "</svg>"));
    struct place_table table;
    cr_assert(place_table_read(&table, "placed.csv", &err), "%s", err.text);
    for (size_t i = 0; i < table.count; i++) table.buffers[i].offset = table.buffers[i].fixed;
    cr_assert(place_check_chunks(table.buffers, table.chunk, table.count, 8, 2, &err), "%s", err.text);
    place_table_finish(&table);
    cr_assert_eq(fathom("placed.csv --chunks 2 --chunk-size 8"), 0);
    cr_assert_eq(fathom("placed.csv --minimise"), 2);
    cr_assert(file_says("err", "column 'chunk' wants --chunks LIST"));
    cr_assert_eq(fathom("p.csv --chunks 1 --chunk-size 8"), 1);
    cr_assert(file_says("out", "impossible in 1 chunk: proved"));
}

Test(place_csv, wrong_commands_and_files_exit_2, .init = make_folder, .fini = remove_folder)
{
    struct error err = {0};
    static const char bad[] = "id,lower,upper,size\nb1,3,3,4\n";
    cr_assert(files_write("p.csv", example, sizeof example - 1, &err), "%s", err.text);
    cr_assert(files_write("bad.csv", bad, sizeof bad - 1, &err), "%s", err.text);
    static const char *const lines[][2] = {{"", "a CSV file, an ONNX model or a memory snapshot is wanted"},
                                           {"p.csv", "--capacity BYTES, --minimise and --chunks LIST"},
                                           {"p.csv --minimise --capacity 4", "not both"},
                                           {"p.csv --capacity 0", "--capacity"},
                                           {"p.csv --chunks 2", "--chunks 2 wants --chunk-size"},
                                           {"p.csv --chunk-size 8", "--chunks N, which is missing"},
                                           {"p.csv --chunks 2 --chunk-size 8 --minimise", "without --minimise"},
                                           {"p.csv --chunks 2 --chunk-size 3", "a chunk has 3"},
                                           {"p.csv --minimise --time -1", "--time"},
                                           {"p.csv --minimise --threads 65", "--threads"},
                                           {"p.csv --minimum", "--minimise"},
                                           {"none.csv --minimise", "none.csv"},
                                           {"bad.csv --minimise", "bad.csv:2"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        cr_expect_eq(fathom(lines[i][0]), 2, "%s", lines[i][0]);
        cr_expect(file_says("err", lines[i][1]), "%s", lines[i][0]);
    }
    cr_assert_eq(fathom("p.csv --minimise -o none/placed.csv"), 2);
}

Test(place_csv, quoted_fields_are_read_and_written, .init = make_folder, .fini = remove_folder)
{
    static const char *const ids[] = {"a,b", "say \"a\"", "two\nlines", " blank ", "\"", "tab\t", "caf\xc3\xa9"};
    struct error err = {0};
    struct place_table table, again;
    cr_assert(parse(&table,
                    "id,\"lower\",upper,size\r\n\"a,b\",0,1,8\r\n \"say \"\"a\"\"\" ,0,\"1\",8\n\"two\nlines\",0,1,8\n"
                    "\" blank \",0,1,8\n\"\"\"\",0,1,8\n\"tab\t\",0,1,8\ncaf\xc3\xa9,0,1,8\n",
                    &err),
              "%s", err.text);
    cr_assert_eq(table.count, 7);
    for (size_t i = 0; i < 7; i++) table.buffers[i].offset = 8 * i;
    cr_assert(place_table_write(&table, "out.csv", &err), "%s", err.text);
    cr_assert(place_table_read(&again, "out.csv", &err), "%s", err.text);
    for (size_t i = 0; i < 7; i++) {
        cr_expect_str_eq(table.ids[i], ids[i]);
        cr_expect_str_eq(again.ids[i], ids[i]);
    }
    place_table_finish(&table);
    place_table_finish(&again);
}

Test(place_csv, faults_after_a_quoted_line_end_name_their_line)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"id,lower,upper,size\n\"a\nb\",0,1,8\nc,0,x,8\n", "p.csv:4: upper 'x'"},
                {"id,lower,upper,size\n\"a\nb,0,1,8\n", "p.csv:2: the quote before 'a\\nb,0,1,8\\n' is not closed"},
                {"id,lower,upper,size\n\"a\"b,0,1,8\n", "p.csv:2: 'b' follows a closing quote"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        struct place_table table;
        cr_expect_not(parse(&table, rows[i].text, &err));
        cr_expect(strstr(err.text, rows[i].says), "%s", err.text);
        cr_expect_eq(err.kind, ERROR_INPUT);
    }
}
