/* test_say.c: numbers told to people, and a value of JSON told by a template, as text and as HTML. */
#include "lib/say.h"

#include <unistd.h>

#include "tests/test.h"

/* What the template says of the value, as text or as HTML. */
static void check_say(bool html, const char *json, const char *template, const char *expected) {
    Err e = {{0}};
    char found[512] = "";
    Json *v = json_parse(json, strlen(json), "test", 1, &e);
    FILE *f = tmpfile();
    const int out = dup(STDOUT_FILENO);
    CHECK(v && f && out >= 0);
    if (!v || !f || out < 0) return;
    fflush(stdout);
    if (html) say_html(f, v, template);
    else {
        dup2(fileno(f), STDOUT_FILENO);
        say(v, template);
        fflush(stdout);
        dup2(out, STDOUT_FILENO);
    }
    close(out);
    rewind(f);
    found[fread(found, 1, sizeof found - 1, f)] = 0;
    fclose(f);
    json_free(v);
    CHECK_STRING(found, expected);
}

static void test_say(void) {
    static const char v[] =
        "{\"n\": 7, \"x\": 0.1, \"s\": \"a<b\", \"none\": null, \"yes\": true, \"in\": {\"y\": -2.5}, "
        "\"list\": [1, \"b\"], \"utf8\": \"\xc3\xa4\", \"bytes\": 2500000, \"seconds\": 90}";
    check_say(false, v, "{n} of {x}", "7 of 0.1");
    check_say(false, v, "{x%8.3f}|{x%+.2f}|{in.y%g}", "   0.100|+0.10|-2.5");
    check_say(false, v, "{s}|{s%5}|{s%-5s}|{s%.2s}|{s%q}", "a<b|  a<b|a<b  |a<|\"a<b\"");
    check_say(false, v, "{none}|{none%6.2f}|{absent.deeper%-3s}|{yes}", "none|     -|-  |yes");
    check_say(false, v, "{s%8.3g}|{list}", "     a<b|[1,\"b\"]");         /* a text in a column of numbers */
    check_say(false, v, "{utf8%-3s}|{utf8%3s}|", "\xc3\xa4  |  \xc3\xa4|");       /* places, not bytes */
    check_say(false, v, "{bytes%B} {bytes%9B} {seconds%T}", "2.5 MB    2.5 MB 90 s");
    check_say(false, "[1]", "{}", "[1]");
    check_say(true, v, "<b>{s}</b>{in.y%.1f}", "<b>a&lt;b</b>-2.5");
    check_say(true, "{\"a\": \"\\u0001\\\"&\"}", "{a}", " &quot;&amp;");
}

/* A member knows its name, which is told as {@} and can be no markup either. */
static void test_name(void) {
    Err e = {{0}};
    const char *json = "{\"<i>\": 1}";
    Json *v = json_parse(json, strlen(json), "test", 1, &e);
    FILE *f = tmpfile();
    char found[64] = "";
    CHECK(v && f);
    if (!v || !f) return;
    say_html(f, v->item, "{@} {}");
    rewind(f);
    found[fread(found, 1, sizeof found - 1, f)] = 0;
    CHECK_STRING(found, "&lt;i&gt; 1");
    fclose(f);
    json_free(v);
}

/* What steers a terminal comes from a file: a title that is set, a screen that is cleared, the C1 characters
 * that xterm knows. Letters of other alphabets, line feed and tab pass. */
static void test_plain(void) {
    char *plain = plain_text("a\x1b]0;x\x07\t\xc3\xa9\xc2\x9b\xc2\xa0\x7f\n");
    CHECK_STRING(plain, "a\\u001b]0;x\\u0007\t\xc3\xa9\\u009b\xc2\xa0\\u007f\n");
    free(plain);
}

int main(void) {
    test_plain();
    test_say();
    test_name();
    return test_end();
}
