/* test_jinja.c: the language of chat templates against what jinja2 writes (tests/data/jinja.jsonl, written by
 * tests/make_jinja_vectors.py), what is refused and with which line, where marks go, and the limits. */
#include "test.h"

#include "lib/json.h"
#include "text/jinja.h"

static char *rendered(const char *template, const JinjaVariable *v, int n, Err *e) {
    Jinja *j = jinja_parse(template, strlen(template), "template", e);
    JinjaText t = {0};
    if (j) jinja_render(&t, j, v, n, "2024-07-26", e);
    jinja_free(j);
    return t.text;
}

static void test_vectors(void) {
    Err e = {0};
    JsonLines l = {0};
    JinjaVariable v[16];
    CHECK(json_lines_read(&l, "tests/data/jinja.jsonl", false, &e) && l.n > 70);
    if (!l.n) return;
    const Json *input = json_get(l.line[0], "input");
    for (size_t i = 0; i < input->length; i++)
        v[i] = (JinjaVariable){input->item[i].key, &input->item[i], true};
    for (int i = 1; i < l.n; i++) {
        const Json *template = json_get(l.line[i], "template"), *text = json_get(l.line[i], "text");
        char *s = rendered(template->string, v, (int)input->length, &e);
        if (!text) {
            CHECK_ERROR(!s, e, "template, line 1: ");
            continue;
        }
        CHECK_STRING(s, text->string);
        if (!s) printf("%s: %s\n", template->string, e.line);
        e.line[0] = 0;
        free(s);
    }
    json_lines_free(&l);
}

/* What is not known is named with its line: the third here. */
static void test_refused(void) {
    static const char *const refused[][2] = {
        {"{% include 'x' %}", "{% include %}: not known here"},
        {"{{ 1|wordwrap }}", "filter wordwrap: not known here"},
        {"{{ 1 is escaped }}", "test escaped: not known here"},
        {"{{ 'a'.encode() }}", "encode(): not known here"},
        {"{% if 1 %}{{ 1|wordwrap }}{% endif %}", "filter wordwrap: not known here"},
        {"{{ '{:>3}'.format(1) }}", "format: {:>3}: not known here"},
        {"{{ cycler(1) }}", "cycler(): not known here"},
        {"{{ 'a'|trim('b', 'c') }}", "trim: argument 2 is not known here"},
        {"{{ [1]|tojson(default=2) }}", "tojson: argument 1, default is not known here"},
        {"{{ 2 ** 3 }}", "**: not known here"},
        {"{% for a in [1] %}{{ loop.cycle }}{% endfor %}", "loop.cycle: not known here"},
        {"{{ none + 1 }}", "+ of none and integer"},
        {"{{ missing.part }}", "'missing' is undefined"},
        {"{{ '\xE1\xBA\x9E'|lower }}", "U+1E9E: not known here"},
        {"{{ raise_exception('Only user and assistant roles!') }}", "Only user and assistant roles!"},
        {"{% break %}", "break outside of a loop"},
        {"{{ 'a }}", "a text without its closing '"},
        {"{# never closed", "a comment is not closed"},
        {"{{ 9223372036854775807 }}", "too many digits"},
        {"{% if 1 %}", "if is not closed"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char text[256];
        Err e = {0};
        snprintf(text, sizeof text, "one\n{# two #}\n%s", refused[i][0]);
        char *s = rendered(text, NULL, 0, &e);
        CHECK(strstr(e.line, "template, line 3: ") == e.line);
        CHECK_ERROR(!s, e, refused[i][1]);
    }
    Err e = {0};
    CHECK_ERROR(!jinja_parse("a\xff", 2, "template", &e), e, "template: byte 2 is no valid UTF-8");
}

static char *repeated(const char *s, int n, const char *middle, const char *t) {
    char *all = malloc((strlen(s) + strlen(t)) * (size_t)n + strlen(middle) + 1), *at = all;
    if (!all) exit(2);
    for (int i = 0; i < n; i++) at += sprintf(at, "%s", s);
    at += sprintf(at, "%s", middle);
    for (int i = 0; i < n; i++) at += sprintf(at, "%s", t);
    return all;
}

/* A template that works, nests or builds without end is stopped. */
static void test_limits(void) {
    static const char *const endless[][2] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "builds too much"},
        {"{% set s = 'a' * 999999 %}{% for i in range(99999) %}{{ 'b' in s }}{% endfor %}", "without end"},
        {"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
         "builds too much"},
        {"{{ 'a'|indent(1000000000) }}", "builds too much"},
        {"{{ range(100001) }}", "at most 100000 numbers"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests too deep"},
        {"{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
         "nests too deep"}};
    static const char *const nested[][3] = {{"{% if 1 %}", "", "{% endif %}"}, {"(", "1", ")"},
                                {"[", "", "]"}, {"-", "1", ""}, {"not ", "1", ""},
                                            {"1 + ", "1", ""}, {"", "'a'", "|trim"},
                                            {"1 if 1 else ", "1", ""}};
    Err e = {0};
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        char *s = rendered(endless[i][0], NULL, 0, &e);
        CHECK_ERROR(!s, e, endless[i][1]);
    }
    for (size_t i = 0; i < sizeof nested / sizeof *nested; i++) {
        char *text = repeated(nested[i][0], 10000, nested[i][1], nested[i][2]), *whole = text;
        if (i) {
            if (!(whole = malloc(strlen(text) + 7))) exit(2);
            sprintf(whole, "{{ %s }}", text);
        }
        char *s = rendered(whole, NULL, 0, &e);
        CHECK_ERROR(!s, e, "nests too deep");
        if (whole != text) free(whole);
        free(text);
    }
}

/* D: a byte of a message; G: of the assistant's turn; B: both; a dot: the template's own. A role is no
 * data. */
static void test_marks(void) {
    static const char *const marks[][3] = {
        {"<{{ m.role }}>{{ m.content }}</>", "<user> a|b </>", "......DDDDD..."},
        {"{{ '[' + m.content|trim + ']' }}", "[a|b]", ".DDD."},
        {"{{ m.content.split('|')[1] ~ '!' }}", "b !", "DD."},
        {"{{ m.content|replace('|', '<x>')|upper }}", " A<X>B ", "DD...DD"},
        {"{{ m.content|tojson }}{{ (m.content * 2)[::-2] }}", "\" a|b \" | ba", ".DDDDD.DDDDD"},
        {"{% set s %}-{{ m.content }}{% endset %}{{ s[1:] }}", " a|b ", "DDDDD"},
        {"{% generation %}x{{ m.content|trim }}{% endgeneration %}y", "xa|by", "GBBB."},
        {"{{ m|tojson }}", "{\"role\": \"user\", \"content\": \" a|b \"}",
         "..DDDD............DDDDDDD....DDDDD.."}};
    Err e = {0};
    const char *text = "{\"role\": \"user\", \"content\": \" a|b \"}";
    Json *m = json_parse(text, strlen(text), "m", 1, &e);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const JinjaVariable v = {"m", m, true};
        Jinja *j = jinja_parse(marks[i][0], strlen(marks[i][0]), "template", &e);
        JinjaText t = {0};
        char found[64] = "";
        CHECK(j && jinja_render(&t, j, &v, 1, NULL, &e) && t.n < sizeof found);
        CHECK_STRING(t.text, marks[i][1]);
        for (size_t k = 0; t.text && k < t.n; k++) found[k] = ".DGB"[t.mark[k]];
        CHECK_STRING(found, marks[i][2]);
        CHECK(j && jinja_marks_generation(j) == (strstr(marks[i][0], "generation") != NULL));
        free(t.text), jinja_free(j);
    }
    json_free(m);
    char *s = rendered("{{ strftime_now('%Y') }}", NULL, 0, &e);
    CHECK_STRING(s, "2024");
    free(s);
    Jinja *j = jinja_parse("{{ strftime_now('%Y') }}", 24, "template", &e);
    JinjaText t;
    CHECK_ERROR(j && !jinja_render(&t, j, NULL, 0, NULL, &e), e, "asks for the date");
    jinja_free(j);
}

int main(void) {
    test_vectors();
    test_refused();
    test_limits();
    test_marks();
    return test_end();
}
