/* test_files.c: whole files or the former ones, also on a full disk; folders; SHA-256 of FIPS 180-4's
 * examples; the progress line as a pipe sees it. Works in build/test_files, which it removes. */
#include "test.h"
#include "lib/files.h"
#include "lib/say.h"
#include "lib/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_ "build/test_files"

static Err e;

static void check_content(const char *path, const char *want) {
    size_t n = 0;
    char *text = file_read(path, &n, &e);
    CHECK_STRING(text, want);
    CHECK_INT(n, strlen(want));
    free(text);
}

static void test_read(void) {
    FileMap m;
    size_t n = 9;
    CHECK(file_write(DIR_ "/empty", "", 0, &e));
    CHECK(file_write(DIR_ "/nul", "a\0b", 3, &e));
    check_content(DIR_ "/empty", "");
    char *text = file_read(DIR_ "/nul", &n, &e);
    CHECK(text && n == 3 && memcmp(text, "a\0b", 4) == 0);
    free(text);
    CHECK(file_map(&m, DIR_ "/nul", &e) && m.n == 3 && memcmp(m.base, "a\0b", 3) == 0);
    file_unmap(&m);
    CHECK(m.n == 0 && m.base[0] == 0);
    file_unmap(&m);                                     /* a second time does nothing */
    CHECK(file_map(&m, DIR_ "/empty", &e) && m.n == 0 && m.base[0] == 0);
    file_unmap(&m);
    CHECK_ERROR(!file_read(DIR_ "/none", &n, &e), e, DIR_ "/none: could not be read: No such file");
    CHECK_ERROR(!file_read(DIR_, &n, &e), e, DIR_ ": found a folder, expected a file");
    CHECK_ERROR(!file_map(&m, DIR_ "/none", &e), e, DIR_ "/none: could not be read");
    CHECK_ERROR(!file_map(&m, DIR_, &e), e, "found a folder, expected a file");
    CHECK_ERROR(!file_map(&m, "/dev/null", &e), e, "/dev/null: found a pipe or device, expected a file");
    text = file_read("/dev/null", &n, &e);              /* reading it whole is fine */
    CHECK(text && n == 0);
    free(text);
    /* what has no end, and what nobody writes to: once they filled the memory, and waited for ever */
    CHECK_ERROR(!file_read("/dev/zero", &n, &e), e, "/dev/zero: found a device, expected a file");
    CHECK(mkfifo(DIR_ "/pipe", 0600) == 0);
    CHECK_ERROR(!file_read(DIR_ "/pipe", &n, &e), e, "pipe: found a named pipe, expected a file");
    CHECK_ERROR(!file_map(&m, DIR_ "/pipe", &e), e, "pipe: found a named pipe, expected a file");
    CHECK(remove(DIR_ "/pipe") == 0);
    int pipe_[2];                                       /* larger than the first guess, and no size known */
    CHECK(pipe(pipe_) == 0);
    char name[40];
    snprintf(name, sizeof name, "/dev/fd/%d", pipe_[0]);
    if (path_exists(name)) {
        static char long_text[10001];
        memset(long_text, 'x', 10000);
        CHECK(write(pipe_[1], long_text, 10000) == 10000);
        close(pipe_[1]);
        check_content(name, long_text);
    } else close(pipe_[1]);
    close(pipe_[0]);
}

static void test_write(void) {
    FileWriter w;
    CHECK(file_begin(&w, DIR_ "/a", &e) && file_append(&w, "one ", 4, &e) && file_append(&w, "", 0, &e) &&
          file_append(&w, "two", 3, &e));
    /* nothing under its name before it is whole */
    CHECK(!path_exists(DIR_ "/a") && path_exists(DIR_ "/a.tmp"));
    CHECK(file_commit(&w, &e) && !path_exists(DIR_ "/a.tmp"));
    check_content(DIR_ "/a", "one two");
    CHECK(file_begin(&w, DIR_ "/a", &e) && file_append(&w, "three", 5, &e));
    check_content(DIR_ "/a", "one two");
    file_abandon(&w);
    file_abandon(&w);
    CHECK(!path_exists(DIR_ "/a.tmp"));
    check_content(DIR_ "/a", "one two");
    CHECK_ERROR(!file_append(&w, "x", 1, &e), e, "a: is not open for writing");
    CHECK_ERROR(!file_commit(&w, &e), e, "a: is not open for writing");
    /* what a crash left is no hindrance */
    CHECK(file_write(DIR_ "/a.tmp", "left behind", 11, &e));
    CHECK(file_write(DIR_ "/a", "four", 4, &e) && !path_exists(DIR_ "/a.tmp"));
    check_content(DIR_ "/a", "four");

    CHECK_ERROR(!file_write(DIR_, "x", 1, &e), e, DIR_ ": found a folder, expected a file or nothing");
    CHECK_ERROR(!file_write("/dev/null", "x", 1, &e), e,
                "/dev/null: found a pipe or device, expected a file or nothing");
    CHECK_ERROR(!file_write(DIR_ "/no/a", "x", 1, &e), e,
                DIR_ "/no/a.tmp: could not be created: No such file");
    char path[1200];
    memset(path, 'x', sizeof path - 1), path[sizeof path - 1] = 0;
    CHECK_ERROR(!file_write(path, "x", 1, &e), e, "a path of 1199 bytes, expected at most 1023");
    CHECK(symlink("a", DIR_ "/l.tmp") == 0);            /* a link in the way is not followed: a stays */
    CHECK_ERROR(!file_write(DIR_ "/l", "x", 1, &e), e, "l.tmp: could not be created");
    check_content(DIR_ "/a", "four");
    unlink(DIR_ "/l.tmp");

    CHECK(file_copy(DIR_ "/a", DIR_ "/b", &e));
    check_content(DIR_ "/b", "four");
    CHECK(file_copy(DIR_ "/b", DIR_ "/b", &e));         /* onto itself */
    check_content(DIR_ "/b", "four");
    CHECK_ERROR(!file_copy(DIR_ "/none", DIR_ "/b", &e), e, "none: could not be read");
    CHECK_ERROR(!file_copy(DIR_ "/a", DIR_ "/no/b", &e), e, "b.tmp: could not be created");
    check_content(DIR_ "/b", "four");
}

/* A disk that is full after 100000 bytes, played by the limit on a file's size. */
static void test_full_disk(void) {
#ifdef SIGXFSZ
    struct rlimit former;
    static char large[300000];
    memset(large, 'y', sizeof large - 1);
    CHECK(getrlimit(RLIMIT_FSIZE, &former) == 0);
    CHECK(file_write(DIR_ "/large", large, sizeof large - 1, &e));
    CHECK(file_write(DIR_ "/keep", "former", 6, &e));
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 100000, .rlim_max = former.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const bool wrote = file_write(DIR_ "/keep", large, sizeof large - 1, &e);
    const Err write_error = e;
    e.line[0] = 0;
    const bool copied = file_copy(DIR_ "/large", DIR_ "/keep", &e);
    const Err copy_error = e;
    e.line[0] = 0;
    CHECK(setrlimit(RLIMIT_FSIZE, &former) == 0);
    signal(SIGXFSZ, handler);
    CHECK(!wrote && !copied);
    CHECK(strstr(write_error.line, "keep: could not be written: ") &&
          strstr(write_error.line, "what was there before is unchanged"));
    CHECK(strstr(copy_error.line, "keep: could not be written: "));
    CHECK(!path_exists(DIR_ "/keep.tmp"));
    check_content(DIR_ "/keep", "former");
    check_content(DIR_ "/large", large);
    CHECK(file_write(DIR_ "/keep", "latter", 6, &e));
    check_content(DIR_ "/keep", "latter");
#endif
}

static void test_folders(void) {
    char path[32];
    CHECK(path_is_folder(DIR_) && !path_is_folder(DIR_ "/a") && path_exists(DIR_ "/a") &&
          !path_exists(DIR_ "/none"));
    CHECK(folder_is_empty(DIR_ "/none", NULL) && !folder_is_empty(DIR_, NULL));
    CHECK(!folder_is_empty(DIR_ "/a", NULL));
    CHECK(folder_make(DIR_ "/x/y//z/", &e) && folder_make(DIR_ "/x/y/z", &e) &&
          folder_is_empty(DIR_ "/x/y/z", NULL));
    CHECK_ERROR(!folder_make(DIR_ "/a/b", &e), e, DIR_ "/a: could not be made: a file has that name");
    CHECK_ERROR(!folder_make("", &e), e, "a path of 0 bytes");
    CHECK(path_join(path, sizeof path, "a", "b", &e) && strcmp(path, "a/b") == 0);
    CHECK(path_join(path, sizeof path, "a/", "b", &e) && strcmp(path, "a/b") == 0);
    CHECK(path_join(path, sizeof path, "", "b", &e) && strcmp(path, "b") == 0);
    CHECK(path_join(path, 4, "a", "b", &e));
    CHECK_ERROR(!path_join(path, 3, "a", "b", &e), e, "a path of 3 bytes, expected at most 2");

    CHECK(file_write(DIR_ "/x/y/z/f", "x", 1, &e) && file_write(DIR_ "/x/.hidden", "x", 1, &e));
    CHECK(symlink("../a", DIR_ "/x/link") == 0 && symlink("x", DIR_ "/to_x") == 0 &&
          symlink("..", DIR_ "/x/up") == 0);
    CHECK_ERROR(!folder_remove(DIR_ "/to_x", &e), e, "to_x: found a link, expected a folder to remove");
    CHECK_ERROR(!folder_remove(DIR_ "/a", &e), e, "a: found a file, expected a folder to remove");
    /* Called where a broken guard would remove our own scratch only; "/", for the same reason, not at all. */
    static const char *const never[] = {".",     "./",   "..",         "../",   "../.",
                                        "../z/", "../z", "../../y/..", "z2/..", "z2/."};
    char here[1024];
    CHECK(getcwd(here, sizeof here) != NULL && folder_make(DIR_ "/x/y/z/z2", &e) &&
          chdir(DIR_ "/x/y/z") == 0);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        CHECK_ERROR(!folder_remove(never[i], &e), e, "is not removed");
    if (chdir(here) != 0) exit(1);
    CHECK(path_exists(DIR_ "/x/y/z/f"));
    for (int i = 0; i < 300; i++) {
        char name[64];
        snprintf(name, sizeof name, DIR_ "/x/file %d", i);
        const int fd = open(name, O_CREAT | O_WRONLY, 0666);
        if (fd >= 0) close(fd);
    }
    CHECK(folder_remove(DIR_ "/x/", &e) && !path_exists(DIR_ "/x"));
    check_content(DIR_ "/a", "four");                   /* the link went, not what it points at */
    CHECK(folder_remove(DIR_ "/x", &e));                /* nothing there */
}

static void test_sha256(void) {
    static const struct { const char *text; int times; const char *hex;
    } cases[] = {{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                 {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                 {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
                 {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
                  "nopqrsmnopqrstnopqrstu",
                  1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
                 {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 20000,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
    char hex[65], other[65];
    Sha256 s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sha256_begin(&s);
        for (int k = 0; k < cases[i].times; k++) sha256_add(&s, cases[i].text, strlen(cases[i].text));
        sha256_end(&s, hex);
        CHECK_STRING(hex, cases[i].hex);
    }
    static unsigned char data[300];                     /* cut anywhere, the same */
    for (int i = 0; i < 300; i++) data[i] = (unsigned char)(i * 7);
    long different = 0;
    for (size_t n = 0; n <= 300; n += 5) {
        sha256_begin(&s), sha256_add(&s, data, n), sha256_end(&s, hex);
        for (size_t cut = 0; cut <= n; cut += 13) {
            sha256_begin(&s), sha256_add(&s, data, cut), sha256_add(&s, data + cut, n - cut),
                sha256_end(&s, other);
            different += strcmp(hex, other) != 0;
        }
    }
    CHECK_INT(different, 0);
    CHECK(file_write(DIR_ "/abc", "abc", 3, &e) && sha256_file(DIR_ "/abc", hex, &e));
    CHECK_STRING(hex, cases[1].hex);
    CHECK_ERROR(!sha256_file(DIR_ "/none", hex, &e), e, "none: could not be read");
}

/* stderr into a file meanwhile: a pipe's view. */
static void test_progress(void) {
    Progress p;
    fflush(stderr);
    const int keep = dup(STDERR_FILENO), to = open(DIR_ "/err", O_CREAT | O_TRUNC | O_WRONLY, 0666);
    CHECK(keep >= 0 && to >= 0 && dup2(to, STDERR_FILENO) >= 0);
    progress_begin(&p, "sft", 1000);
    for (int i = 1; i <= 1000; i++) progress_at(&p, i, i < 1000 ? "loss 2" : "loss 1");
    progress_end(&p);
    /* total unknown; stopped early: the last line is shown by the end */
    progress_begin(&p, "read", 0);
    for (int i = 1; i <= 77; i++) progress_at(&p, i, NULL);
    progress_end(&p);
    progress_end(&p);
    progress_begin(&p, "silent", 10);
    p.quiet = true;
    progress_at(&p, 10, "x");
    progress_end(&p);
    progress_begin(&p, "none", 10);
    progress_end(&p);
    fflush(stderr);
    dup2(keep, STDERR_FILENO);
    close(keep), close(to);
    check_content(DIR_ "/err", "sft      1/1000  loss 2  0:00 left\nsft   1000/1000  loss 1  0:00\nread      "
                               "1  0:00\nread     77  0:00\n");
    const double t = clock_seconds();
    CHECK(clock_seconds() >= t);
}

int main(void) {
    folder_remove(DIR_, &e);
    CHECK(folder_make(DIR_, &e));
    test_read();
    test_write();
    test_full_disk();
    test_folders();
    test_sha256();
    test_progress();
    CHECK(folder_remove(DIR_, &e) && !path_exists(DIR_));
    if (e.line[0]) printf("%s\n", e.line);
    return test_end();
}
