/* test_safetensors.c: what is written is read, byte for byte as the format says; every lie in a header is
 * named; shards and their index; damaged files, which may be refused but not crash. Works in
 * build/test_safetensors, which it removes. tests/data/tiny.safetensors was written by the Python library:
 * tests/data/tiny_safetensors.py. */
#include "test.h"
#include "lib/safetensors.h"
#include "lib/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define DIR_ "build/test_safetensors"

static Err e;

/* A file of this header and n_data bytes 0, 1, 2, ... The header's length is as claimed, or its own if < 0.
 */
static void put_file(const char *path, const char *header, long long claimed, size_t n_data) {
    unsigned char size[8], byte;
    const unsigned long long n = claimed < 0 ? strlen(header) : (unsigned long long)claimed;
    FILE *f = fopen(path, "wb");
    if (!f) { printf("%s: could not be written\n", path); exit(1); }
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)(n >> (8 * i));
    fwrite(size, 1, 8, f);
    fwrite(header, 1, strlen(header), f);
    for (size_t i = 0; i < n_data; i++) byte = (unsigned char)i, fwrite(&byte, 1, 1, f);
    fclose(f);
}

static void test_python_file(void) {
    Safetensors *s = safetensors_open("tests/data/tiny.safetensors", &e);
    CHECK(s != NULL);
    if (!s) { printf("%s\n", e.line); return; }
    static const struct {
        const char *name, *dtype;
        int n_dim;
        size_t shape[3], bytes;
        Store store;
    } want[] = {{"double", "F64", 0, {0}, 8, STORE_F64},     {"count", "I64", 1, {3}, 24, STORE_REAL},
                {"matrix", "F32", 2, {2, 3}, 24, STORE_F32}, {"none", "F32", 2, {0, 4}, 0, STORE_F32},
                {"brain", "BF16", 1, {3}, 6, STORE_BF16},    {"half", "F16", 3, {1, 2, 2}, 8, STORE_F16},
                {"flag", "BOOL", 1, {3}, 3, STORE_REAL}};
    CHECK_INT(safetensors_count(s), 7);
    size_t sum = 0;
    for (int i = 0; i < safetensors_count(s); i++) sum += safetensors_at(s, i)->bytes;
    CHECK_INT(sum, 73);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const Tensor *t = safetensors_find(s, want[i].name);
        CHECK(t != NULL);
        if (!t) continue;
        CHECK_STRING(t->name, want[i].name);
        CHECK_STRING(t->dtype, want[i].dtype);
        CHECK_INT(t->n_dim, want[i].n_dim);
        for (int k = 0; k < t->n_dim; k++) CHECK_INT(t->shape[k], want[i].shape[k]);
        CHECK_INT(t->bytes, want[i].bytes);
        CHECK_INT(t->store, want[i].store);
    }
    CHECK(!safetensors_find(s, "matri") && !safetensors_find(s, "") && !safetensors_find(s, "__metadata__"));
    CHECK(!safetensors_at(s, -1) && !safetensors_at(s, 7));
    CHECK_STRING(safetensors_metadata(s, "format"), "pt");
    CHECK_STRING(safetensors_metadata(s, "made by"), "Python");
    CHECK(!safetensors_metadata(s, "absent"));
    real x[6];
    const Tensor *t = safetensors_find(s, "matrix");
    store_to_real(x, t->data, t->store, t->count);
    for (int i = 0; i < 6; i++) CHECK_NEAR(x[i], i - 2.5, 0);
    t = safetensors_find(s, "brain");
    store_to_real(x, t->data, t->store, t->count);
    CHECK_NEAR(x[0], 1, 0);
    CHECK_NEAR(x[1], -0.15625, 0);
    CHECK_NEAR(x[2], 3.38953138925153547590e38, 0);     /* the largest bfloat16 */
    t = safetensors_find(s, "half");
    store_to_real(x, t->data, t->store, t->count);
    CHECK_NEAR(x[0], 65504, 0);
    CHECK_NEAR(x[1], 5.9604644775390625e-08, 0);
    CHECK_NEAR(x[2], -2, 0);
    CHECK_NEAR(x[3], 0.25, 0);
    const long long *count = safetensors_find(s, "count")->data;
    CHECK(count[0] == 1 && count[1] == -2 && count[2] == 1LL << 40);
    CHECK(*(const double *)safetensors_find(s, "double")->data == 0.1);
    CHECK(memcmp(safetensors_find(s, "flag")->data, "\1\0\1", 3) == 0);
    safetensors_close(s);
    safetensors_close(NULL);
}

static const float values[5] = {0, 1, -2.5f, 65504, 1e-5f};
static const double third = 1.0 / 3;

static void test_write_read(void) {
    const char *path = DIR_ "/written.safetensors";
    const TensorOut out[] =
        {{.name = "z", .store = STORE_F16, .n_dim = 2, .shape = {1, 5}, .data = values, .from = STORE_F32},
         {.name = "a", .store = STORE_F32, .n_dim = 1, .shape = {5}, .data = values,
          .from = STORE_F32}, /* begins at 10 */
         {.name = "\xc3\xa4\"", .store = STORE_F64, .data = &third, .from = STORE_F64},
         {.name = "none", .store = STORE_F32, .n_dim = 2, .shape = {0, (size_t)1 << 40}},
         {.name = "b", .store = STORE_BF16, .n_dim = 1, .shape = {5}, .data = values, .from = STORE_F32}};
    const char *const metadata[] = {"format", "other", "note", "\xc3\xa4\n", NULL};
    CHECK(safetensors_write(path, out, 5, metadata, &e) && !path_exists(DIR_ "/written.safetensors.tmp"));
    size_t n = 0;
    char *bytes = file_read(path, &n, &e);
    const char *want = "{\"__metadata__\":{\"format\":\"other\",\"note\":\"\xc3\xa4\\n\"},"
                       "\"z\":{\"dtype\":\"F16\",\"shape\":[1,5],\"data_offsets\":[0,10]},"
                       "\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[10,30]},"
                       "\"\xc3\xa4\\\"\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[30,38]},"
                       "\"none\":{\"dtype\":\"F32\",\"shape\":[0,1099511627776],\"data_offsets\":[38,38]},"
                       "\"b\":{\"dtype\":\"BF16\",\"shape\":[5],\"data_offsets\":[38,48]}}";
    const size_t length = strlen(want), padded = (length + 7) / 8 * 8;
    CHECK(bytes && n == 8 + padded + 48);
    if (!bytes) return;
    CHECK_INT((unsigned char)bytes[0] + 256 * (unsigned char)bytes[1], padded);
    CHECK(memcmp(bytes + 2, "\0\0\0\0\0", 6) == 0);
    CHECK(memcmp(bytes + 8, want, length) == 0);
    CHECK(length < padded);                             /* or the next line checks nothing */
    for (size_t i = length; i < padded; i++) CHECK_INT(bytes[8 + i], ' ');
    free(bytes);

    Safetensors *s = safetensors_open(path, &e);
    CHECK(s && safetensors_count(s) == 5);
    if (!s) { printf("%s\n", e.line); return; }
    CHECK_STRING(safetensors_at(s, 0)->name, "z");
    CHECK_STRING(safetensors_at(s, 3)->name, "none");   /* empty: before what begins at the same place */
    CHECK_STRING(safetensors_at(s, 4)->name, "b");
    const Tensor *a = safetensors_find(s, "a"), *z = safetensors_find(s, "z"), *b = safetensors_find(s, "b"),
                 *d = safetensors_find(s, "\xc3\xa4\"");
    CHECK(a && z && b && d && (uintptr_t)a->data % 4 == 0 && (uintptr_t)d->data % 8 == 0);
    CHECK(memcmp(a->data, values, sizeof values) == 0);
    CHECK(memcmp(d->data, &third, 8) == 0 && d->count == 1);
    CHECK(memcmp(z->data, "\0\0\0\x3c\0\xc1\xff\x7b\xa8\0", 10) == 0);
    CHECK(memcmp(b->data, "\0\0\x80\x3f\x20\xc0\x80\x47\x28\x37", 10) == 0);
    CHECK_STRING(safetensors_metadata(s, "note"), "\xc3\xa4\n");
    safetensors_close(s);

    CHECK(safetensors_write(path, NULL, 0, NULL, &e));  /* no tensors at all */
    s = safetensors_open(path, &e);
    CHECK(s && safetensors_count(s) == 0);
    safetensors_close(s);
}

/* More elements than the writer converts at a time. */
static void test_write_large(void) {
    enum { N = 150001 };
    static float x[N];
    /* a prime: no piece looks like the one before */
    for (int i = 0; i < N; i++) x[i] = (float)(i % 2039) / 8;
    const TensorOut out =
        {.name = "x", .store = STORE_F16, .n_dim = 1, .shape = {N}, .data = x, .from = STORE_F32};
    CHECK(safetensors_write(DIR_ "/large.safetensors", &out, 1, NULL, &e));
    Safetensors *s = safetensors_open(DIR_ "/large.safetensors", &e);
    static real back[N];
    long bad = 0;
    CHECK(s && safetensors_at(s, 0)->count == N);
    if (!s) return;
    store_to_real(back, safetensors_at(s, 0)->data, STORE_F16, N);
    for (int i = 0; i < N; i++) bad += back[i] != (real)x[i];
    CHECK_INT(bad, 0);
    safetensors_close(s);

    const TensorOut raw =
        {.name = "x", .store = STORE_REAL, .n_dim = 1, .shape = {N}, .data = back, .from = STORE_REAL};
    CHECK(safetensors_write(DIR_ "/large.safetensors", &raw, 1, NULL, &e));
    s = safetensors_open(DIR_ "/large.safetensors", &e);
    CHECK(s && strcmp(safetensors_at(s, 0)->dtype, REAL_DTYPE) == 0 &&
          memcmp(safetensors_at(s, 0)->data, back, sizeof back) == 0);
    safetensors_close(s);

#ifdef SIGXFSZ
    struct rlimit former; /* the disk is full in the middle: the former file stays */
    char before[65], after[65];
    CHECK(sha256_file(DIR_ "/large.safetensors", before, &e) && getrlimit(RLIMIT_FSIZE, &former) == 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 100000, .rlim_max = former.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const bool wrote = safetensors_write(DIR_ "/large.safetensors", &out, 1, NULL, &e);
    CHECK(setrlimit(RLIMIT_FSIZE, &former) == 0);
    signal(SIGXFSZ, handler);
    CHECK_ERROR(!wrote, e, "large.safetensors: could not be written: ");
    CHECK(!path_exists(DIR_ "/large.safetensors.tmp") && sha256_file(DIR_ "/large.safetensors", after, &e));
    CHECK_STRING(after, before);
#endif
}

static void test_write_refused(void) {
    const char *path = DIR_ "/refused.safetensors";
    char long_name[520];
    memset(long_name, 'n', 519), long_name[519] = 0;
    const TensorOut twice[] = {{.name = "a", .store = STORE_F32},
                               {.name = "b", .store = STORE_F32},
                               {.name = "a", .store = STORE_F32}};
    const TensorOut reserved = {.name = "__metadata__"}, empty = {.name = ""}, bytes = {.name = "\xff"},
                    lengthy = {.name = long_name};
    const TensorOut deep = {.name = "a", .n_dim = 9},
                    huge = {.name = "a", .n_dim = 3, .shape = {1u << 31, 1u << 31, 8}};
    CHECK_ERROR(!safetensors_write(path, twice, 3, NULL, &e), e, "tensor a: found twice, expected once");
    CHECK_ERROR(!safetensors_write(path, &reserved, 1, NULL, &e), e,
                "tensor 0: found the name \"__metadata__\"");
    CHECK_ERROR(!safetensors_write(path, &empty, 1, NULL, &e), e,
                "tensor 0: found the name \"\", expected 1 to 512 bytes");
    CHECK_ERROR(!safetensors_write(path, &bytes, 1, NULL, &e), e, "tensor 0: found the name");
    CHECK_ERROR(!safetensors_write(path, &lengthy, 1, NULL, &e), e, "tensor 0: found the name \"nnn");
    CHECK_ERROR(!safetensors_write(path, &deep, 1, NULL, &e), e,
                "tensor a: found 9 dimensions, expected at most 8");
    CHECK_ERROR(!safetensors_write(path, &huge, 1, NULL, &e), e, "tensor a: its size overflows");
    CHECK(!path_exists(path) && !path_exists(DIR_ "/refused.safetensors.tmp"));
    CHECK_ERROR(!safetensors_write(DIR_ "/no/x", twice, 2, NULL, &e), e, "no/x.tmp: could not be created");
}

/* {"a":{dtype, shape, offsets}} over so many bytes of data. */
#define ONE(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(a, b) \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" a \
    "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" b "}}"

static void test_refused(void) {
    static const struct { const char *header; size_t n_data; const char *error;
    } cases[] =
        {{"", 0, "header: found nothing, expected '{' as its first byte"},
         {" {}", 0, "header: found another byte, expected '{' as its first byte"},
         {"[]", 0, "header: found another byte, expected '{' as its first byte"},
         {"{}", 4, "found 4 bytes of data, expected 0, where the last tensor ends"},
         {"{", 0, "header:1:2: found the end of the text, expected a key"},
         {"{} x", 0, "header:1:4: found x, expected nothing more"},
         {"{\"a\":1,}", 0, "header:1:8: found '}', expected a key"},
         {"{\"\xff\":1}", 0, "header:1:3: found byte 0xff, expected UTF-8"},
         {"{\"a\":1,\"a\":2}", 0, "header:1:12: found the key \"a\" again"},
         {"{\"__metadata__\":1}", 0, "header: __metadata__: found number, expected an object of strings"},
         {"{\"__metadata__\":{\"x\":1}}", 0, "header: __metadata__: x: found number, expected a string"},
         {"{\"a\":[]}", 0, "tensor a: found array, expected an object"},
         {"{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4,
          "tensor a:1:6: dtype: found nothing, expected a string"},
         {"{\"a\":{\"dtype\":4,\"shape\":[],\"data_offsets\":[0,4]}}", 4,
          "tensor a:1:15: dtype: found 4, expected a string"},
         {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
          "tensor a: shape: found nothing, expected an array of at most 8 sizes"},
         {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4,
          "tensor a: data_offsets: expected two whole numbers"},
         {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"scale\":2}}", 4,
          "tensor a: found the key \"scale\", expected dtype, shape and"},
         {ONE("F33", "[]", "[0,4]"), 4, "tensor a: found the dtype \"F33\", expected F64"},
         {ONE("f32", "[]", "[0,4]"), 4, "tensor a: found the dtype \"f32\", expected F64"},
         {ONE("", "[]", "[0,4]"), 4, "tensor a: found the dtype \"\", expected F64"},
         {ONE("F32\\u0000", "[]", "[0,4]"), 4, "dtype: found the string \"F32\", expected a string without"},
         {ONE("F32", "1", "[0,4]"), 4, "tensor a: shape: found number, expected an array"},
         {ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4,
          "tensor a: shape: found a longer array, expected an array of at most 8 sizes"},
         {ONE("F32", "[-1]", "[0,4]"), 4, "tensor a: shape: item 0: expected a whole number from 0 to 2^53"},
         {ONE("F32", "[1,1.5]", "[0,4]"), 4, "tensor a: shape: item 1: expected a whole number"},
         {ONE("F32", "[\"1\"]", "[0,4]"), 4, "tensor a: shape: item 0: expected a whole number"},
         {ONE("F32", "[1e30]", "[0,4]"), 4, "tensor a: shape: item 0: expected a whole number"},
         {ONE("F32", "[4294967296,4294967296]", "[0,0]"), 0,
          "tensor a: shape: the number of bytes overflows"},
         {ONE("F64", "[2305843009213693952,1]", "[0,0]"), 0,
          "tensor a: shape: item 0: expected a whole number"},
         {ONE("F64", "[2147483648,2147483648]", "[0,0]"), 0,
          "tensor a: shape: the number of bytes overflows"},
         {ONE("F32", "[1]", "4"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[4]"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[0,4,4]"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[0,-1]"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[-4,0]"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[0,18446744073709551615]"), 4,
          "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[0.5,4.5]"), 4, "tensor a: data_offsets: expected two whole numbers"},
         {ONE("F32", "[1]", "[4,0]"), 4,
          "tensor a: data_offsets: found [4, 0), expected them ascending within the file's 4 bytes of data"},
         {ONE("F32", "[2]", "[0,8]"), 4,
          "tensor a: data_offsets: found [0, 8), expected them ascending within the file's 4 bytes of data"},
         {ONE("F32", "[1]", "[0,9007199254740992]"), 4,
          "expected them ascending within the file's 4 bytes of data"},
         {ONE("F32", "[2]", "[0,4]"), 4,
          "tensor a: data_offsets: found 4 bytes, expected 8: the shape's 2 elements of F32"},
         {ONE("F16", "[1]", "[0,4]"), 4,
          "tensor a: data_offsets: found 4 bytes, expected 2: the shape's 1 elements of F16"},
         {ONE("F32", "[1,0]", "[0,4]"), 4, "tensor a: data_offsets: found 4 bytes, expected 0"},
         {ONE("F32", "[1]", "[0,4]"), 5, "found 5 bytes of data, expected 4, where the last tensor ends"},
         {ONE("F32", "[1]", "[4,8]"), 8,
          "tensor a: data_offsets: found 4 as begin, expected 0, where the one before ends (a hole is "
          "between them)"},
         {ONE("F32", "[0]", "[4,4]"), 4, "tensor a: data_offsets: found 4 as begin, expected 0"},
         {TWO("[0,8]", "[4,12]"), 12,
          "tensor b: data_offsets: found 4 as begin, expected 8, where the one before ends (they overlap)"},
         {TWO("[0,8]", "[0,8]"), 8,
          "tensor b: data_offsets: found 0 as begin, expected 8, where the one before ends (they overlap)"},
         {TWO("[12,20]", "[0,8]"), 20,
          "tensor a: data_offsets: found 12 as begin, expected 8, where the one before ends (a hole"},
         {"{\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
          "found a name of 0 bytes, expected 1 to 512"}};
    const char *path = DIR_ "/bad.safetensors";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_file(path, cases[i].header, -1, cases[i].n_data);
        Safetensors *s = safetensors_open(path, &e);
        CHECK(!e.line[0] || strncmp(e.line, path, strlen(path)) == 0);          /* the file comes first */
        CHECK_ERROR(!s, e, cases[i].error);
        safetensors_close(s);
    }
    static const struct { long long claimed; const char *error; } lengths[] = {
        {3, "found a header of 3 bytes, expected at most 2 (the rest of the file)"},
        {0x7fffffffffffffff, "found a header of 9223372036854775807 bytes, expected at most 2"},
        {1, "header:1:2: found the end of the text"},
        {0, "header: found nothing, expected '{'"}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put_file(path, "{}", lengths[i].claimed, 0);
        Safetensors *s = safetensors_open(path, &e);
        CHECK_ERROR(!s, e, lengths[i].error);
        safetensors_close(s);
    }
    char header[700], name[600];
    memset(name, 'n', 513), name[513] = 0;
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", name);
    put_file(path, header, -1, 1);
    CHECK_ERROR(!safetensors_open(path, &e), e, "found a name of 513 bytes, expected 1 to 512");
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
             name + 1);
    put_file(path, header, -1, 1);
    Safetensors *s = safetensors_open(path, &e);
    CHECK(s && safetensors_find(s, name + 1));
    safetensors_close(s);
    CHECK(file_write(path, "1234567", 7, &e));
    CHECK_ERROR(!safetensors_open(path, &e), e, "found 7 bytes, expected a safetensors file");
    CHECK(file_write(path, "", 0, &e));
    CHECK_ERROR(!safetensors_open(path, &e), e, "found 0 bytes, expected a safetensors file");
    CHECK_ERROR(!safetensors_open(DIR_ "/none", &e), e, "none: could not be read");
}

/* Order in the header is no order of the data; empty tensors; blanks behind the header; data at odd
 * addresses. */
static void test_accepted(void) {
    const char *path = DIR_ "/good.safetensors";
    put_file(path,
             "{\"b\":{\"data_offsets\":[3,11],\"dtype\":\"F32\",\"shape\":[2]},\"e\":{\"dtype\":\"F64\","
             "\"shape\":[4398046511104,4398046511104,0],"
             "\"data_offsets\":[3,3]},\"a\":{\"shape\":[3],\"dtype\":\"U8\",\"data_offsets\":[0,3]}}   ",
             -1, 11);
    Safetensors *s = safetensors_open(path, &e);
    CHECK(s && safetensors_count(s) == 3);
    if (!s) { printf("%s\n", e.line); return; }
    CHECK_STRING(safetensors_at(s, 0)->name, "a");
    CHECK_STRING(safetensors_at(s, 1)->name, "e");
    CHECK_INT(safetensors_at(s, 1)->count, 0);
    const Tensor *b = safetensors_at(s, 2);
    CHECK_STRING(b->name, "b");
    CHECK((uintptr_t)b->data % 4 == 0 && memcmp(b->data, "\3\4\5\6\7\10\11\12", 8) == 0);
    CHECK(safetensors_metadata(s, "format") == NULL);
    safetensors_close(s);
    put_file(path, "{\"__metadata__\":null,\"a\":{\"shape\":[3],\"dtype\":\"U8\",\"data_offsets\":[0,3]}}",
             -1, 3);
    s = safetensors_open(path, &e);                     /* null is none */
    CHECK(s && safetensors_count(s) == 1 && safetensors_metadata(s, "format") == NULL);
    safetensors_close(s);
}

static void put_index(const char *map) {
    char text[2000];
    const int n = snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":16},\n\"weight_map\":%s}", map);
    CHECK(file_write(DIR_ "/sharded/model.safetensors.index.json", text, (size_t)n, &e));
}

static void test_shards(void) {
    const char *dir = DIR_ "/sharded";
    CHECK(folder_make(dir, &e));
    CHECK_ERROR(!safetensors_open(dir, &e), e,
                "sharded: found neither model.safetensors nor model.safetensors.index.json");
    put_file(DIR_ "/sharded/m-1.safetensors",
             "{\"__metadata__\":{\"k\":\"first\"},\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,"
             "2]},"
             "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
             -1, 4);
    put_file(DIR_ "/sharded/m-2.safetensors",
             "{\"__metadata__\":{\"k\":\"second\",\"l\":\"only\"},\"x\":{\"dtype\":\"U8\",\"shape\":[3],"
             "\"data_offsets\":[0,3]}}",
             -1, 3);
    put_index("{\"x\":\"m-2.safetensors\",\"y\":\"m-1.safetensors\",\"z\":\"m-1.safetensors\"}");
    Safetensors *s = safetensors_open(dir, &e);
    CHECK(s && safetensors_count(s) == 3);
    if (!s) { printf("%s\n", e.line); return; }
    CHECK_STRING(safetensors_at(s, 0)->name, "z");
    CHECK_STRING(safetensors_at(s, 1)->name, "y");
    CHECK_STRING(safetensors_at(s, 2)->name, "x");
    CHECK_INT(*(const unsigned char *)safetensors_find(s, "y")->data, 2);
    CHECK_INT(*(const unsigned char *)safetensors_find(s, "x")->data, 0);
    CHECK_STRING(safetensors_metadata(s, "k"), "first");
    CHECK_STRING(safetensors_metadata(s, "l"), "only");
    safetensors_close(s);

    static const struct { const char *map, *error;
    } cases[] = {{"1", "index.json: weight_map: found number, expected an object"},
                 {"{}", "index.json: weight_map: found no entries, expected an object"},
                 {"{\"x\":1}", "index.json:2:19: x: found 1, expected a string"},
                 {"{\"x\":\"../m-2.safetensors\"}",
                  "index.json:2:19: x: found \"../m-2.safetensors\", expected the plain name"},
                 {"{\"x\":\"/etc/passwd\"}", "x: found \"/etc/passwd\", expected the plain name"},
                 {"{\"x\":\"..\"}", "x: found \"..\", expected the plain name"},
                 {"{\"x\":\"\"}", "x: found \"\", expected the plain name"},
                 {"{\"x\":\"a\\\\b\"}", "x: found \"a\\b\", expected the plain name"},
                 {"{\"x\":\"m-3.safetensors\"}", "sharded/m-3.safetensors: could not be read"},
                 {"{\"x\":\"m-2.safetensors\",\"w\":\"m-2.safetensors\"}",
                  "index.json:2:41: tensor w: not found in m-2.safetensors, where the index says"},
                 {"{\"x\":\"m-1.safetensors\",\"y\":\"m-2.safetensors\"}",
                  "index.json:2:19: tensor x: not found in m-1.safetensors"},
                 {"{\"x\":\"m-2.safetensors\",\"z\":\"m-2.safetensors\",\"y\":\"m-1.safetensors\"}",
                  "tensor z: not found in m-2.safetensors"},
                 {"{\"x\":\"m-2.safetensors\",\"x\":\"m-2.safetensors\"}",
                  "index.json:2:41: found the key \"x\" again"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_index(cases[i].map);
        s = safetensors_open(dir, &e);
        CHECK_ERROR(!s, e, cases[i].error);
        safetensors_close(s);
    }
    put_file(DIR_ "/sharded/m-3.safetensors",
             "{\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", -1, 1);
    put_index("{\"x\":\"m-2.safetensors\",\"y\":\"m-1.safetensors\",\"z\":\"m-1.safetensors\",\"y2\":\"m-3."
              "safetensors\"}");
    CHECK_ERROR(!safetensors_open(dir, &e), e, "sharded: tensor y: found in two shards, expected in one");
    put_file(DIR_ "/sharded/m-3.safetensors",
             "{\"y2\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1]}}", -1, 1);
    CHECK_ERROR(!safetensors_open(dir, &e), e,
                "m-3.safetensors: tensor y2: data_offsets: found 1 bytes, expected 4");
    CHECK(file_write(DIR_ "/sharded/model.safetensors.index.json", "{", 1, &e));
    CHECK_ERROR(!safetensors_open(dir, &e), e, "model.safetensors.index.json:1:2: found the end of the text");
    /* one file goes before an index */
    CHECK(file_copy("tests/data/tiny.safetensors", DIR_ "/sharded/model.safetensors", &e));
    s = safetensors_open(dir, &e);
    CHECK(s && safetensors_count(s) == 7);
    safetensors_close(s);
}

/* Bytes of the length and header replaced, numbers rewritten, the end cut off. What is accepted must hold its
 * promises. */
static void test_damage(void) {
    const char *path = DIR_ "/damaged.safetensors";
    size_t n_good = 0;
    char *good = file_read("tests/data/tiny.safetensors", &n_good, &e);
    CHECK(good != NULL);
    if (!good) return;
    const size_t n_header = (size_t)(unsigned char)good[0] + 256u * (unsigned char)good[1];
    char *text = malloc(n_good);
    /* one file, rewritten: a new one each time keeps some disks busy for a minute */
    const int fd = open(path, O_CREAT | O_RDWR, 0666);
    static const char bytes[] = "0123456789-.eE\"{}[],:\\FBIU\x80\xff";
    uint64_t state = 7;
    long accepted = 0, refused = 0, broken = 0;
    for (int round = 0; round < 20000; round++) {
        size_t n = n_good;
        memcpy(text, good, n);
        for (int k = round % 3; k >= 0; k--) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            size_t at = 8 + (size_t)(state >> 33) % n_header;
            switch ((state >> 17) & 7) {
            case 0: if (at % 4 == 0) n = (size_t)(state >> 40) % (n_good + 1); break;
            case 1: text[(state >> 24) & 7] = (char)(state >> 40); break;       /* the header's length */
            case 2: text[at] = (char)(text[at] ^ (1 << (state >> 24 & 7))); break;
            case 3: text[at] = bytes[(state >> 24) % (sizeof bytes - 1)]; break;
            default: /* a digit for a digit: the likeliest way to a plausible lie */
                while (at < 8 + n_header && !(text[at] >= '0' && text[at] <= '9')) at++;
                if (at < 8 + n_header) text[at] = (char)('0' + (state >> 24) % 10);
            }
        }
        if (pwrite(fd, text, n, 0) != (ssize_t)n || ftruncate(fd, (off_t)n) != 0) {
            printf("%s: could not be written\n", path);
            exit(1);
        }
        Safetensors *s = safetensors_open(path, &e);
        if (!s) { refused += strncmp(e.line, path, strlen(path)) == 0; e.line[0] = 0; continue; }
        size_t sum = 0;
        unsigned touched = 0;
        for (int i = 0; i < safetensors_count(s); i++) {
            const Tensor *t = safetensors_at(s, i);
            sum += t->bytes;
            for (size_t b = 0; b < t->bytes; b++) touched += ((const unsigned char *)t->data)[b];
            broken += safetensors_find(s, t->name) != t || strlen(t->dtype) < 2;
        }
        broken += sum > n || touched > 255 * sum;
        accepted++;
        safetensors_close(s);
    }
    CHECK_INT(accepted + refused, 20000);
    CHECK(accepted > 200 && refused > 1000);
    CHECK_INT(broken, 0);
    free(good), free(text), close(fd);
}

int main(void) {
    folder_remove(DIR_, &e);
    CHECK(folder_make(DIR_, &e));
    test_python_file();
    test_write_read();
    test_write_large();
    test_write_refused();
    test_refused();
    test_accepted();
    test_shards();
    test_damage();
    CHECK(folder_remove(DIR_, &e));
    if (e.line[0]) printf("%s\n", e.line);
    return test_end();
}
