/* Runs a fuzz target over a corpus, as a test: each file as it is, then with bytes changed, cut out, doubled and cut
 * off in ways that depend on the file's own content alone. With clang, the same target without this file is a real
 * fuzzer: -fsanitize=fuzzer,address,undefined. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES 65536
#define MUTATIONS  150

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static uint64_t state;

/* xorshift64* (Vigna, 2016) */
static uint32_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * UINT64_C(0x2545F4914F6CDD1D) >> 32);
}

static size_t mutate(uint8_t *bytes, size_t length)
{
    for (uint32_t left = 1 + next() % 4; left > 0 && length > 0; left--) {
        size_t at = next() % length, span = next() % 16;
        if (span > length - at) span = length - at;
        switch (next() % 6) {
        case 0: bytes[at] = (uint8_t)next(); break;
        case 1: bytes[at] ^= (uint8_t)(1u << next() % 8); break;
        case 2: memset(bytes + at, next() % 2 ? 0xff : 0, span); break;
        case 3: length = at; break;
        case 4:
            memmove(bytes + at, bytes + at + span, length - at - span);
            length -= span;
            break;
        default: memmove(bytes + at + span, bytes + at, length - at); length += span;
        }
    }
    return length;
}

/* The target gets a block of exactly the input's length, so that a sanitizer sees every byte read past its end. */
static void run(const uint8_t *bytes, size_t length)
{
    uint8_t *exact = malloc(length ? length : 1);
    if (!exact) abort();
    memcpy(exact, bytes, length);
    LLVMFuzzerTestOneInput(exact, length);
    free(exact);
}

static int run_file(const char *path)
{
    static uint8_t original[MOST_BYTES], changed[MOST_BYTES + 64];
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        perror(path);
        return 1;
    }
    size_t length = fread(original, 1, MOST_BYTES, stream);
    fclose(stream);
    run(original, length);
    state = UINT64_C(0x9E3779B97F4A7C15) ^ length;
    for (size_t i = 0; i < length; i++) state = (state ^ original[i]) * UINT64_C(0x100000001B3) + 1;
    for (int i = 0; i < MUTATIONS; i++) {
        memcpy(changed, original, length);
        run(changed, mutate(changed, length));
    }
    return 0;
}

int main(int argc, char **argv)
{
    int files = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            perror(argv[i]);
            return 1;
        }
        const struct dirent *entry;
        while ((entry = readdir(folder))) {
            char path[4096];
            if (entry->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            failed += run_file(path);
            files++;
        }
        closedir(folder);
    }
    printf("%d files, %d failed\n", files, failed);
    return failed || files == 0;
}
