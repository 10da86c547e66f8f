/* test_known_answers.c: every case of known-answer files against compute_case.
 *
 *     build/f64/tests/test_known_answers [FILE...]        without FILE: tests/data/known_answers.json
 *
 * In the double build the limit is the case's own atol + rtol |expected|. The float build stores inputs and
 * outputs in float: there the limit is 2e-5 + 1e-4 |expected| (a ratio of 5 with logp near -9 has 7 digits
 * less what exp takes). */
#include "compute/kinds.h"
#include "lib/real.h"
#include "tests/test.h"

typedef struct { const char *id; double atol, rtol; } Limits;

/* A null expected is NaN, which is written as null. Returns the number of differences, printed up to four a
 * case. */
static int differ(const Json *got, const Json *want, const Limits *l, const char *path) {
    char below[256];
    int n = 0;
    if (!got) {
        printf("%s %s: absent\n", l->id, path);
        return 1;
    }
    if ((want->type == JSON_NUMBER || want->type == JSON_BOOL) &&
        (got->type == JSON_NUMBER || got->type == JSON_BOOL)) {
        const double limit = l->atol + l->rtol * fabs(want->number), off = fabs(got->number - want->number);
        if (off <= limit) return 0;
        printf("%s %s = %.17g, expected %.17g, off by %.3g\n", l->id, path, got->number, want->number, off);
        return 1;
    }
    if (got->type != want->type || (want->type == JSON_ARRAY && got->length != want->length)) {
        printf("%s %s: found %s of %zu, expected %s of %zu\n", l->id, path, json_type_name(got->type),
               got->length, json_type_name(want->type), want->length);
        return 1;
    }
    if (want->type == JSON_STRING && strcmp(got->string, want->string)) {
        printf("%s %s: found \"%s\", expected \"%s\"\n", l->id, path, got->string, want->string);
        return 1;
    }
    for (size_t i = 0; n < 4 && want->type == JSON_ARRAY && i < want->length; i++) {
        snprintf(below, sizeof below, "%.200s[%zu]", path, i);
        n += differ(&got->item[i], &want->item[i], l, below);
    }
    for (size_t i = 0; n < 4 && want->type == JSON_OBJECT && i < want->length; i++) {
        snprintf(below, sizeof below, "%.120s.%.120s", path, want->item[i].key);
        n += differ(json_get(got, want->item[i].key), &want->item[i], l, below);
    }
    return n;
}

static void one_case(const Json *c, const char *file) {
    Err e = { "" };
    Limits l = { "?", 0, 0 };
    const char *kind = NULL;
    if (!json_get_string(c, "id", &l.id, file, &e) || !json_get_string(c, "kind", &kind, file, &e)
        || !json_get_number(c, "rtol", &l.rtol, file, &e) || !json_get_number(c, "atol", &l.atol, file, &e)) {
        printf("%s\n", e.line);
        failed++;
        return;
    }
    if (sizeof(real) == 4) l.rtol = 1e-4, l.atol = 2e-5;
    if (!compute_find(kind)) {
        printf("%s: kind \"%s\" is not known\n", l.id, kind);
        failed++;
        return;
    }
    JsonWriter w = { 0 };
    Json *got = NULL;
    const Json *want = json_get(c, "expected");
    if (compute_case(&w, kind, json_get(c, "inputs"), &e)) got = json_parse(w.text, w.length, l.id, 1, &e);
    if (!got) printf("%s %s: %s\n", l.id, kind, e.line);
    if (got && want && want->length && differ(got, want, &l, kind) == 0) passed++;
    else failed++;
    json_free(got);
    free(w.text);
}

int main(int argc, char **argv) {
    for (int a = argc > 1 ? 1 : 0; a < (argc > 1 ? argc : 1); a++) {
        const char *file = argc > 1 ? argv[a] : "tests/data/known_answers.json";
        Err e = { "" };
        Json *root = json_read_file(file, &e);
        const Json *cases = json_get(root, "cases");
        if (!cases || cases->length == 0) {
            printf("%s: %s\n", file, root ? "no cases" : e.line);
            failed++;
        }
        for (size_t i = 0; cases && i < cases->length; i++) one_case(&cases->item[i], file);
        json_free(root);
    }
    return test_end();
}
