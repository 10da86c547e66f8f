/* test_json.c: what the reader takes and refuses, word for word; what the writer writes; both against each
 * other; and a reader fed with damaged text, which may refuse but not crash (worth most under
 * -fsanitize=address,undefined). */
#include "test.h"
#include "lib/json.h"
#include "lib/words.h"

#include <float.h>
#include <limits.h>
#include <stdint.h>
#include <time.h>

static Err e;

/* From memory of exactly n bytes without a NUL: reading behind the end is seen by a sanitizer. */
static Json *parse_n(const char *text, size_t n) {
    char *exact = malloc(n ? n : 1);
    memcpy(exact, text, n);
    Json *root = json_parse(exact, n, "f", 1, &e);
    free(exact);
    return root;
}
static Json *parse(const char *text) { return parse_n(text, strlen(text)); }

/* The whole tree on one line, or NULL; the caller frees. */
static char *again(const char *text) {
    Json *root = parse(text);
    JsonWriter w = {0};
    if (root) json_value(&w, root);
    json_free(root);
    return w.text;
}

static void test_values(void) {
    Json *r = parse(" {\"a\" : [1, -2.5e3, true, false, null],\n\t\"b\":{\"c\":\"x\\u0000y\"}, \"\":{}}\r\n");
    CHECK(r != NULL);
    if (!r) { printf("%s\n", e.line); return; }
    CHECK_INT(r->type, JSON_OBJECT);
    CHECK_INT(r->length, 3);
    CHECK(r->key == NULL);
    const Json *a = json_get(r, "a"), *b = json_get(r, "b"), *c = json_get(b, "c");
    CHECK(a && b && c && json_get(r, "") && !json_get(r, "x") && !json_get(a, "x") && !json_get(NULL, "x"));
    CHECK_STRING(a->key, "a");
    CHECK_INT(a->length, 5);
    CHECK_INT(a->item[0].type, JSON_NUMBER);
    CHECK_NEAR(a->item[1].number, -2500, 0);
    CHECK_INT(a->item[2].type, JSON_BOOL);
    CHECK_NEAR(a->item[2].number, 1, 0);
    CHECK_INT(a->item[3].type, JSON_BOOL);
    CHECK_NEAR(a->item[3].number, 0, 0);
    CHECK_INT(a->item[4].type, JSON_NULL);
    CHECK(a->item[4].key == NULL);
    CHECK_INT(a->item[1].line, 1);
    CHECK_INT(a->item[1].column, 13);
    CHECK_INT(b->line, 2);
    CHECK_INT(b->column, 6);
    CHECK_INT(c->length, 3);                            /* a NUL inside counts */
    CHECK(memcmp(c->string, "x\0y", 4) == 0);
    json_free(r);
    json_free(NULL);
    r = json_parse("[x]", 3, "g.jsonl", 17, &e);        /* the line of a JSONL file */
    CHECK_ERROR(!r, e, "g.jsonl:17:2: found x, expected a value");
}

static void test_strings(void) {
    static const struct { const char *in, *out; } cases[] = {
        {"\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"", "\" \\ / \b \f \n \r \t"},
        {"\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"", "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\"\\uD7FF\\uE000\\uFFFF\\uDBFF\\uDFFF\"", "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf"},
        {"\"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf \x7f\"",
         "\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf \x7f"},
        {"\"\"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json *r = parse(cases[i].in);
        CHECK_STRING(r ? r->string : NULL, cases[i].out);
        CHECK(r && r->length == strlen(cases[i].out));
        json_free(r);
    }
}

static void test_numbers(void) {
    static const struct { const char *in; double out;
    } cases[] = {{"0", 0},
                 {"-0", 0},
                 {"123456789012345", 123456789012345.0},
                 {"1234567890123456789", 1234567890123456789.0},
                 {"9007199254740993", 9007199254740992.0},
                 {"0.1", 0.1},
                 {"1E+2", 100},
                 {"1e-2", 0.01},
                 {"-1.5", -1.5},
                 {"1.7976931348623157e308", DBL_MAX},
                 {"4.9406564584124654e-324", 4.9406564584124654e-324},
                 {"1e-999", 0},
                 {"0.1000000000000000055511151231257827021181583404541015625000000000000000000000000000000",
                  0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json *r = parse(cases[i].in);
        CHECK(r && r->type == JSON_NUMBER);
        if (r) CHECK_NEAR(r->number, cases[i].out, 0);
        json_free(r);
    }
    Json *r = parse("-0");
    CHECK(r && signbit(r->number));
    json_free(r);
}

static void test_refused(void) {
    static const struct { const char *text, *error;
    } cases[] = {{"", "f:1:1: found the end of the text, expected a value"},
                 {" \n ", "f:2:2: found the end of the text, expected a value"},
                 {"\xef\xbb\xbf{}", "f:1:1: found a byte order mark, expected a value"},
                 {"{} {}", "f:1:4: found '{', expected nothing more behind the value"},
                 {"[1,]", "f:1:4: found ']', expected a value"},
                 {"[,1]", "f:1:2: found ',', expected a value"},
                 {"[1 2]", "f:1:4: found 2, expected ',' or ']'"},
                 {"[1", "f:1:3: found the end of the text, expected ',' or ']'"},
                 {"[1}", "f:1:3: found '}', expected ',' or ']'"},
                 {"]", "f:1:1: found ']', expected a value"},
                 {"{\"a\":1,}", "f:1:8: found '}', expected a key in double quotes"},
                 {"{\"a\":1]", "f:1:7: found ']', expected ',' or '}'"},
                 {"{\"a\" 1}", "f:1:6: found 1, expected ':' behind a key"},
                 {"{\"a\"", "f:1:5: found the end of the text, expected ':' behind a key"},
                 {"{\"a\":", "f:1:6: found the end of the text, expected a value"},
                 {"{", "f:1:2: found the end of the text, expected a key in double quotes or '}'"},
                 {"{a:1}", "f:1:2: found a, expected a key in double quotes or '}'"},
                 {"{'a':1}", "f:1:2: found ''', expected a key"},
                 {"{1:1}", "f:1:2: found 1, expected a key"},
                 {"{\"a\\u0000\":1}", "f:1:2: found \\u0000 in a key"},
                 {"// no", "f:1:1: found '/', expected a value"},
                 {"[1, /* no */ 2]", "f:1:5: found '/', expected a value"},
                 {"NaN", "f:1:1: found NaN, expected a value"},
                 {"Infinity", "f:1:1: found Infinity, expected a value"},
                 {"-Infinity", "f:1:1: found '-', expected a number: a digit behind '-'"},
                 {"nul", "f:1:1: found nul, expected a value"},
                 {"True", "f:1:1: found True, expected a value"},
                 {"nullx", "f:1:5: found x, expected nothing more"},
                 {"'a'", "f:1:1: found ''', expected a value"},
                 {"01", "f:1:1: found 01, expected a number without a leading zero"},
                 {"-01", "f:1:1: found '-', expected a number without a leading zero"},
                 {"+1", "f:1:1: found '+', expected a value"},
                 {".5", "f:1:1: found '.', expected a value"},
                 {"1.", "f:1:3: found the end of the text, expected a digit behind the decimal point"},
                 {"1.e3", "f:1:3: found e3, expected a digit behind the decimal point"},
                 {"1e", "f:1:3: found the end of the text, expected a digit in the exponent"},
                 {"1e+", "f:1:4: found the end of the text, expected a digit in the exponent"},
                 {"0x10", "f:1:2: found x10, expected nothing more"},
                 {"1e309", "f:1:1: found 1e309, expected a number that a double can hold"},
                 {"\"abc", "f:1:5: found the end of the text, expected the rest of a string and '\"'"},
                 {"\"abc\\", "f:1:6: found the end of the text, expected the rest of a string and '\"'"},
                 {"\"abc\\\"", "f:1:7: found the end of the text, expected the rest of a string and '\"'"},
                 {"\"a\nb\"", "f:1:3: found byte 0x0a, expected no control character"},
                 {"\"a\tb\"", "f:1:3: found byte 0x09, expected no control character"},
                 {"\"\\x41\"", "f:1:3: found x41, expected one of"},
                 {"\"\\u12g4\"", "f:1:4: found 12g4, expected four hexadecimal digits"},
                 {"\"\\u12", "f:1:4: found 12, expected four hexadecimal digits"},
                 {"\"\\u", "f:1:4: found the end of the text, expected four hexadecimal digits"},
                 {"\"\\ud800\"", "f:1:2: found \\ud800 alone, expected a pair of surrogates"},
                 {"\"\\udc00\\ud800\"", "f:1:2: found \\udc00 alone"},
                 {"\"\\ud800\\u0041\"", "f:1:2: found \\ud800 alone"},
                 {"\"\\ud800\\ud800\"", "f:1:2: found \\ud800 alone"},
                 {"\"\x80\"", "f:1:2: found byte 0x80, expected UTF-8"},
                 {"\"\xc0\xaf\"", "f:1:2: found byte 0xc0, expected UTF-8"},
                 {"\"\xc1\xbf\"", "f:1:2: found byte 0xc1, expected UTF-8"},
                 {"\"\xc3\"", "f:1:2: found byte 0xc3, expected UTF-8"},
                 {"\"\xe0\x9f\xbf\"", "f:1:2: found byte 0xe0, expected UTF-8"},
                 {"\"\xed\xa0\x80\"", "f:1:2: found byte 0xed, expected UTF-8"},
                 {"\"\xf0\x8f\xbf\xbf\"", "f:1:2: found byte 0xf0, expected UTF-8"},
                 {"\"\xf4\x90\x80\x80\"", "f:1:2: found byte 0xf4, expected UTF-8"},
                 {"\"\xf5\x80\x80\x80\"", "f:1:2: found byte 0xf5, expected UTF-8"},
                 {"\"\xe2\x82", "f:1:2: found byte 0xe2, expected UTF-8"},
                 {"[\xc3\xa4]", "f:1:2: found byte 0xc3, expected a value"},
                 {"[\x01]", "f:1:2: found byte 0x01, expected a value"},
                 {"{\"a\":1,\n \"b\":2, \"a\":3}",
                  "f:2:13: found the key \"a\" again, expected every key once; its first value is at 1:6"},
                 {"{\"a\":1, \"\\u0061\":3}", "f:1:18: found the key \"a\" again"},
                 {"[{\"x\":{\"\":1,\"\":1}}]", "f:1:16: found the key \"\" again"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json *r = parse(cases[i].text);
        CHECK_ERROR(!r, e, cases[i].error);
        json_free(r);
    }
    Json *r = parse_n("[1]\0", 4);
    CHECK_ERROR(!r, e, "f:1:4: found byte 0x00, expected nothing more");
    r = parse_n("\"\0\"", 3);
    CHECK_ERROR(!r, e, "f:1:2: found byte 0x00, expected no control character");
    r = json_read_file("tests/data/no such file.json", &e);
    CHECK_ERROR(!r, e, "tests/data/no such file.json: could not be read");
}

static void test_depth(void) {
    char text[256];
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth), memset(text + depth, ']', (size_t)depth);
        Json *r = parse_n(text, 2 * (size_t)depth);
        if (depth == 64) CHECK(r != NULL);
        else CHECK_ERROR(!r, e, "f:1:65: found brackets 65 deep, expected at most 64");
        json_free(r);
    }
    char *p = text + 1;                                 /* depth is what is open now: 64 deep twice */
    for (int i = 0; i < 2; i++) memset(p, '[', 63), memset(p + 63, ']', 63), p += 126, *p++ = ',';
    text[0] = '[', p[-1] = ']';
    Json *r = parse_n(text, (size_t)(p - text));
    CHECK(r != NULL);
    json_free(r);
}

/* A vocabulary of 150000 entries, twice: whole, and with one name repeated near the end. All pairs compared
 * would be 10^10. */
static void test_many_keys(void) {
    enum { N = 150000 };
    for (int repeated = 0; repeated < 2; repeated++) {
        JsonWriter w = {0};
        json_begin(&w, '{');
        for (int i = 0; i < N; i++) {
            char key[32];
            snprintf(key, sizeof key, "word %d", repeated && i == N - 3 ? 7 : i);
            json_put_int(&w, key, i);
        }
        json_end(&w, '}');
        const clock_t start = clock();
        Json *r = json_parse(w.text, w.length, "f", 1, &e);
        /* some 0.05 s; wide, for slow machines and sanitizers */
        CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 5);
        if (repeated) CHECK_ERROR(!r, e, "found the key \"word 7\" again");
        else CHECK(r && r->length == N && json_get(r, "word 149999")->number == 149999);
        json_free(r);
        free(w.text);
    }
    /* of several repetitions the first in the text is reported, in large and in small objects */
    Json *r =
        parse("{\"z\":1,\"y\":1,\"x\":1,\"w\":1,\"v\":1,\"u\":1,\"t\":1,\"s\":1,\"y\":1,\"a\":1,\"z\":1}");
    CHECK_ERROR(!r, e,
                "f:1:54: found the key \"y\" again, expected every key once; its first value is at 1:12");
    r = parse("{\"z\":1,\"y\":1,\"y\":1,\"z\":1}");
    CHECK_ERROR(!r, e, "f:1:18: found the key \"y\" again");
}

static void test_typed(void) {
    Json *r = parse("{\"s\":\"text\",\"n\":1.5,\"i\":-7,\"t\":true,\"f\":false,\"z\":\"a\\u0000b\",\"big\":"
                    "2147483648,\"a\":[],\n\"null\":null,\"huge\":1e+300,\"exact\":9007199254740993}");
    CHECK(r != NULL);
    const char *s = NULL;
    double x = 0;
    int i = 0;
    bool b = false;
    CHECK(json_get_string(r, "s", &s, "f", &e) && strcmp(s, "text") == 0);
    CHECK(json_get_number(r, "n", &x, "f", &e) && x == 1.5);
    CHECK(json_get_int(r, "i", &i, "f", &e) && i == -7);
    CHECK(json_get_bool(r, "t", &b, "f", &e) && b);
    CHECK(json_get_bool(r, "f", &b, "f", &e) && !b);
    CHECK(json_get_string(r, "s", NULL, "f", &e) && json_get_number(r, "n", NULL, "f", &e) &&
          json_get_int(r, "i", NULL, "f", &e) && json_get_bool(r, "t", NULL, "f", &e));
    CHECK_ERROR(!json_get_string(r, "x", &s, "f", &e), e, "f:1:1: x: found nothing, expected a string");
    CHECK_ERROR(!json_get_string(r, "n", &s, "f", &e), e, "f:1:17: n: found 1.5, expected a string");
    CHECK_ERROR(!json_get_string(r, "z", &s, "f", &e), e,
                "z: found the string \"a\", expected a string without \\u0000");
    CHECK_ERROR(!json_get_string(r, "null", &s, "f", &e), e, "f:2:8: null: found null, expected a string");
    CHECK_ERROR(!json_get_number(r, "s", &x, "f", &e), e,
                "f:1:6: s: found the string \"text\", expected a number");
    CHECK_ERROR(!json_get_number(r, "t", &x, "f", &e), e, "t: found true, expected a number");
    CHECK_ERROR(!json_get_int(r, "n", &i, "f", &e), e, "n: found 1.5, expected a whole number");
    CHECK_ERROR(!json_get_int(r, "big", &i, "f", &e), e, "big: found 2147483648, expected a whole number");
    CHECK_ERROR(!json_get_int(r, "huge", &i, "f", &e), e, "huge: found 1e+300, expected a whole number");
    CHECK_ERROR(!json_get_int(r, "exact", &i, "f", &e), e, "exact: found 9007199254740993, expected");
    CHECK_ERROR(!json_get_int(r, "a", &i, "f", &e), e, "a: found array, expected a whole number");
    CHECK_ERROR(!json_get_bool(r, "i", &b, "f", &e), e, "i: found -7, expected true or false");
    CHECK_ERROR(!json_get_bool(NULL, "i", &b, "f", &e), e, "f: i: found nothing, expected true or false");
    CHECK_STRING(s, "text");                            /* outputs stay as they were */
    CHECK_INT(i, -7);
    json_free(r);
}

static void test_writer(void) {
    JsonWriter w = {.indent = 2};
    json_begin(&w, '{');
    json_open(&w, "a", '['), json_int(&w, LLONG_MIN), json_bool(&w, true), json_null(&w), json_end(&w, ']');
    json_open(&w, "e", '{'), json_end(&w, '}');
    json_put_raw(&w, "r", "[1,2]");
    json_put_string(&w, "s", "\"\\\b\f\n\r\t\x01\x7f/\xc3\xa4");
    json_end(&w, '}');
    CHECK_STRING(w.text, "{\n  \"a\": [\n    -9223372036854775808,\n    true,\n    null\n  ],\n  \"e\": "
                         "{},\n  \"r\": [1,2],\n"
                         "  \"s\": \"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f/\xc3\xa4\"\n}");
    CHECK_INT(w.length, strlen(w.text));
    free(w.text);

    w = (JsonWriter){0};                                /* JSON lines; what is not UTF-8; what is no number */
    json_begin(&w, '['), json_string_n(&w, "a\0\xff\xe2\x82z", 6), json_number(&w, NAN),
        json_number(&w, -INFINITY), json_end(&w, ']');
    json_raw(&w, "\n");
    json_begin(&w, '{'), json_put_bool(&w, "\xff\n", false), json_end(&w, '}');
    json_raw(&w, "\n");
    CHECK_STRING(w.text, "[\"a\\u0000\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\",null,null]\n{"
                         "\"\xef\xbf\xbd\\n\":false}\n");
    free(w.text);
}

static void test_number_text(void) {
    static const struct { double x; const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {0.1, "0.1"},
                 {1e21, "1e+21"},
                 {123456789012345678.0, "1.2345678901234568e+17"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {2.0 / 3, "0.6666666666666666"},
                 {5e-324, "4.94065645841247e-324"},
                 {DBL_MAX, "1.7976931348623157e+308"},
                 {9007199254740993.0, "9007199254740992"},
                 {(double)0.1f, "0.10000000149011612"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        JsonWriter w = {0};
        json_number(&w, cases[i].x);
        CHECK_STRING(w.text, cases[i].text);
        free(w.text);
    }
    uint64_t state = 1;
    long bad = 0;
    for (int i = 0; i < 20000; i++) {                   /* any bits that are a finite double come back */
        double x;
        state = state * 6364136223846793005u + 1442695040888963407u;
        const uint64_t bits = state ^ state >> 29;
        memcpy(&x, &bits, 8);
        if (!isfinite(x)) continue;
        JsonWriter w = {0};
        json_number(&w, x);
        Json *r = json_parse(w.text, w.length, "f", 1, &e);
        bad += !r || memcmp(&r->number, &x, 8) != 0;
        json_free(r);
        free(w.text);
    }
    CHECK_INT(bad, 0);
}

static void test_copy(void) {
    static const char *const texts[] = {"{\"a\":[1,2.5,\"x\\n\",{\"b\":null}],\"c\":{},\"d\":[],\"e\":true}",
                                        "\"\"", "[[[]]]", "-1e-300", "false"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *copy = again(texts[i]);
        CHECK_STRING(copy, texts[i]);
        free(copy);
    }
    /* an id of 64 bits lost its last digits on the way through, and 1.10 became 1.1 */
    static const char *const numbers[] = {"9007199254740993", "-12345678901234567890", "1.10", "1e5", "-0",
                                          "0.1000000000000000055511151231257827"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char *copy = again(numbers[i]);
        CHECK_STRING(copy, numbers[i]);
        free(copy);
    }
}

static void test_same(void) {
    static const char *const pairs[][2] = {{"[1.0,{\"a\":1e2}]", "[1,{\"a\":100}]"},
                                           {"\"1\"", "1"}, {"1", "true"},
                                           {"[1]", "[1,2]"}, {"{\"a\":1}", "{\"b\":1}"}, {"[0]", "[-0]"},
                                           {"[\"x\"]", "[\"y\"]"}, {"[]", "{}"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        Json *a = parse(pairs[i][0]), *b = parse(pairs[i][1]);
        CHECK_INT(json_same(a, b), i == 0 || i == 8);
        json_free(a), json_free(b);
    }
    CHECK(json_same(NULL, NULL));
}

static void test_utf8(void) {
    size_t bad = 99;
    CHECK(utf8_valid("a\0\xc3\xa4", 4, &bad) && utf8_valid("", 0, NULL));
    CHECK_INT(bad, 99);
    CHECK(!utf8_valid("ab\xe2\x82", 4, &bad));
    CHECK_INT(bad, 2);
    CHECK(!utf8_valid("\xff", 1, NULL));
    CHECK(!utf8_valid("\xe2\x82\xac", 2, NULL));        /* the rest of the character is there, but not ours */
}

/* One to four bytes of a good text replaced, removed or doubled, or its end cut off. What is accepted must
 * come out of the writer and in again as the same text. */
static void test_damage(void) {
    static const char good[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\\u0120b\":1,"
                               "\"\xc4\xa0\xf0\x9f\x98\x80\":2},\"merges\":[[\"a\",\"b\"],\"c d\"]},"
                               "\n\"x\":[1.5e-7,-0,12345678901234567890,true,false,null,"
                               "\"\\ud83d\\ude00\\\\\\\"\"],\"y\":{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,"
                               "\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"l1\":[]}}";
    /* with the NUL */
    static const char bytes[] = "\"\\{}[],:0123456789.eE+-utfn \n/\x80\xbf\xc3\xe2\xed\xf0\xf4\xff\x1f\x7f";
    uint64_t state = 42;
    long accepted = 0, refused = 0, different = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof good + 8];
        size_t n = sizeof good - 1;
        memcpy(text, good, n);
        for (int k = round % 4; k >= 0 && n > 0; k--) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const size_t at = (size_t)(state >> 33) % n;
            const char byte = bytes[(state >> 20) % sizeof bytes];
            switch ((state >> 17) & 7) {
            case 0: n = at; break;
            case 1: memmove(text + at, text + at + 1, n - at - 1); n--; break;
            case 2: memmove(text + at + 1, text + at, n - at); n++; break;
            case 3: text[at] = (char)(text[at] ^ (1 << (state >> 20 & 7))); break;
            default: text[at] = byte;
            }
        }
        Json *r = parse_n(text, n);
        if (!r) { refused += e.line[0] && strncmp(e.line, "f:", 2) == 0; e.line[0] = 0; continue; }
        JsonWriter w = {0};
        json_value(&w, r);
        char *copy = again(w.text);
        different += !copy || strcmp(copy, w.text) != 0;
        accepted++;
        free(copy), free(w.text), json_free(r);
    }
    CHECK_INT(accepted + refused, 20000);
    CHECK(accepted > 1000 && refused > 1000);
    CHECK_INT(different, 0);
}

/* lib/base.c has no test of its own. */
static void test_base(void) {
    static const char *const names[] = {"learning_rate", "beta", "num_generations", "lr"};
    Err err = {0};
    CHECK(!fail(&err, "%s: found %s", "a\nb", "\x1b[2J"));
    CHECK_STRING(err.line, "a?b: found ?[2J");
    CHECK(!fail(&err, "second"));
    CHECK_STRING(err.line, "a?b: found ?[2J");
    CHECK(!fail(NULL, "nobody listens"));
    CHECK_STRING(nearest_name("lerning_rate", names, 4), "learning_rate");
    CHECK_STRING(nearest_name("num_generation", names, 4), "num_generations");
    CHECK_STRING(nearest_name("beat", names, 4), "beta");
    CHECK(!nearest_name("epsilon", names, 4) && !nearest_name("", names, 4) && !nearest_name("zz", names, 4));

    Arena a = {0};
    CHECK(arena_take(&a, 3, 8) == NULL);
    CHECK_INT(a.used, 64);
    arena_take(&a, 9, 8);
    CHECK_INT(a.used, 192);
    unsigned char *p = memory_new(a.used, "arena", &err);
    CHECK(p && (uintptr_t)p % 64 == 0 && p[0] == 0 && p[191] == 0);
    a = (Arena){.base = p};
    CHECK(arena_take(&a, 3, 8) == p && arena_take(&a, 9, 8) == p + 64 && a.used == 192);
    memory_free(p);
    a = (Arena){0};
    arena_take(&a, SIZE_MAX / 4, 8);
    CHECK(a.used == SIZE_MAX);
    arena_take(&a, 1, 1);
    CHECK(a.used == SIZE_MAX);                          /* refused once, refused for good */
    err.line[0] = 0;
    CHECK_ERROR(!memory_new(SIZE_MAX - 100, "everything", &err), err,
                "everything: 18446744073709551515 bytes could not be allocated");
}

/* A writer out of memory: its text is NULL, and every output says so. */
static void test_no_memory(void) {
    Err e = {{0}};
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put(&w, "x", 1);
    CHECK(json_ok(&w, &e) && w.text);
    json_put_raw(&w, "y", NULL);                        /* the text of another one that ran out */
    json_end(&w, '}');
    CHECK(!w.text);
    CHECK_ERROR(!json_ok(&w, &e), e, "no memory for a text of JSON");
    CHECK_ERROR(!json_print(&w, "\n", &e), e, "no memory for a text of JSON");
    CHECK_ERROR(!json_save("build/never.json", &w, &e), e, "no memory for a text of JSON");
    CHECK_ERROR(!json_parse(w.text, 0, "it", 1, &e), e, "it: no memory for its text");
}

int main(void) {
    test_values();
    test_strings();
    test_numbers();
    test_refused();
    test_depth();
    test_many_keys();
    test_typed();
    test_writer();
    test_no_memory();
    test_number_text();
    test_copy();
    test_same();
    test_utf8();
    test_damage();
    test_base();
    return test_end();
}
