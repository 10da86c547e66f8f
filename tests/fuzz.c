/* fuzz.c: the reader of tests/parsers.h that READER names, as libFuzzer's target. READER_FOLDER is made for
 * the files that it reads. tests/fuzz.sh runs them all. */
#include "tests/parsers.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

static const Parser *reader;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *name = getenv("READER"), *folder = getenv("READER_FOLDER");
    Err e = {{0}};
    (void)argc, (void)argv;
    for (int i = 0; name && i < N_PARSER; i++)
        if (!strcmp(parsers[i].name, name)) reader = &parsers[i];
    if (!reader || !folder || !parsers_open(folder, &e)) {
        fprintf(stderr, "READER=%s: %s\n", name ? name : "", e.line);
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n) {
    reader->read((const char *)bytes, n);
    if (failed) abort();                /* what a CHECK has told */
    return 0;
}
