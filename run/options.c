/* options.c: defaults, --config, command line, --help, and the resolved configuration as JSON. */
#include "run/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "run/trl_keys.h"
#include "lib/words.h"

bool option_at(Setting *s, const OptionTable *t, int i) {
    for (const OptionPart *part = t->part; part->rows; part++)
        for (const Setting *row = part->rows; row->name; row++)
            if (i-- == 0) {
                *s = *row;
                s->at += part->base;
                for (int k = 0; k < OWN_DEFAULTS && t->own[k].name; k++)
                    if (!strcmp(t->own[k].name, s->name)) s->fallback = t->own[k].fallback;
                return true;
            }
    return false;
}

/* The row of that name; false: none. */
static bool option_find(Setting *s, const OptionTable *t, const char *name) {
    for (int i = 0; option_at(s, t, i); i++)
        if (s->kind != SET_HEADING && setting_same_name(s->name, name)) return true;
    return false;
}

static bool unknown(const OptionTable *t, const char *name, const char *where, Err *e) {
    const char *names[128];
    char plain[128];
    int n = 0;
    Setting s;
    for (int i = 0; option_at(&s, t, i) && n < 128; i++)
        if (s.kind != SET_HEADING) names[n++] = s.name;
    snprintf(plain, sizeof plain, "%.120s", name);
    for (char *c = plain; *c; c++)
        if (*c == '-') *c = '_';
    const char *near = nearest_name(plain, names, n);
    return fail(e, "%s: unknown option \"%.80s\"%s%s%s; see grpo %s --help", where, name,
                near ? ", did you mean \"" : "", near ? near : "", near ? "\"" : "", t->command);
}

/* A value of a JSON file as text, a list as its items with commas: kept, for strings point into it. NULL: no
 * such value. */
static const char *value_text(const Json *v) {
    if (v->type == JSON_STRING) return v->string;
    if (v->type == JSON_BOOL) return v->number != 0 ? "true" : "false";
    if (v->type == JSON_OBJECT || v->type == JSON_NULL) return NULL;
    if (v->type == JSON_ARRAY && !v->length) return "";
    JsonWriter w = {0};
    if (v->type == JSON_NUMBER) json_number(&w, v->number);
    for (size_t i = 0; v->type == JSON_ARRAY && i < v->length; i++) {
        const char *item = v->item[i].type == JSON_ARRAY ? NULL : value_text(&v->item[i]);
        if (!item) return NULL;
        if (i) json_raw(&w, ",");
        json_raw(&w, item);
    }
    return w.text;
}

/* The value of a long option on the command line, NULL if it is not there. */
static const char *given(int argc, char **argv, const char *name) {
    const size_t n = strlen(name);
    const char *last = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2)) continue;
        char plain[64];
        snprintf(plain, sizeof plain, "%.*s", (int)strcspn(argv[i] + 2, "="), argv[i] + 2);
        if (!setting_same_name(plain, name)) continue;
        if (argv[i][2 + n] == '=') last = argv[i] + 3 + n;
        else last = i + 1 < argc && strncmp(argv[i + 1], "--", 2) ? argv[i + 1] : "true";
    }
    return last;
}

/* A configuration may come from anywhere, and what it names as a program is run: only where it is the run's
 * own (argv NULL), or the command line says the option too. */
static bool may_name_program(const Json *v, const Setting *s, int argc, char **argv, const char *where,
                             Err *e) {
    const size_t n = strlen(s->name);
    char option[64];
    if (!argv || n < 4 || strcmp(s->name + n - 4, "_cmd") || given(argc, argv, s->name)) return true;
    snprintf(option, sizeof option, "%s", s->name);
    for (char *c = option; *c; c++)
        if (*c == '_') *c = '-';
    return fail(e,
                "%s: %s: found the program \"%.200s\": a configuration starts no program by itself; give "
                "--%s on the command line if it is to run, or take it out of the file",
                where, s->name, v->type == JSON_STRING ? v->string : "", option);
}

static bool from_file(void *config, const OptionTable *t, const char *path, int argc, char **argv, Err *e) {
    Json *root = json_read_file(path, e);           /* kept: strings point into it */
    if (!root) return false;
    if (root->type != JSON_OBJECT)
        return fail(e, "%s: found %s, expected an object of options", path, json_type_name(root->type));
    /* one file may hold a recipe: an object per command; or it is a run's own config.json */
    const Json *own = json_get(root, t->command), *of_run = json_get(root, "options"),
               *command = json_get(root, "command");
    const bool tells = !strcmp(t->command, "trace");        /* a step of `train` */
    if (!own && tells) own = json_get(root, "train");
    if (of_run && command && command->type == JSON_STRING &&
        strcmp(command->string, tells ? "train" : t->command))
        return fail(e, "%s: is of a run of grpo %.20s; expected one of grpo %s", path, command->string,
                    tells ? "train" : t->command);
    const Json *o = own && own->type == JSON_OBJECT         ? own
                    : of_run && of_run->type == JSON_OBJECT ? of_run
                                                            : root;
    int n_listed = 0;
    for (size_t i = 0; i < o->length; i++) {
        const Json *v = &o->item[i];
        Setting option;
        char where[1200];
        snprintf(where, sizeof where, "%s:%d:%d", path, v->line, v->column);
        if (!option_find(&option, t, v->key)) {
            const TrlKey key = trl_key(v, value_text(v), where, e);
            if (key == TRL_UNKNOWN) unknown(t, v->key, where, e);
            if (key == TRL_UNKNOWN || key == TRL_REFUSED) break;
            if (key == TRL_IDLE && v->type != JSON_NULL)
                fprintf(stderr, n_listed++ ? ", %s" : "grpo: accepted without effect: %s", v->key);
            continue;
        }
        if (v->type == JSON_NULL) continue;
        if (!may_name_program(v, &option, argc, argv, where, e)) break;
        const char *text = v->type == JSON_ARRAY && option.kind != SET_STRING ? NULL : value_text(v);
        if (!text)
            fail(e, "%s: %s: found %s, expected a single value", where, v->key, json_type_name(v->type));
        if (!text || !setting_set(config, &option, text, where, e)) break;
    }
    if (n_listed) fputc('\n', stderr);
    return !e->line[0];
}

static void add_text(char *text, size_t size, const char *a, const char *b) {
    const size_t n = strlen(text);
    snprintf(text + n, size - n, "%s%s", a, b);
}

/* Wrapped at 100 columns, below itself. */
static void help_line(const char *name, const char *text) {
    enum { INDENT = 35, WIDTH = 100 };
    printf("  --%-31s", name);
    for (int column = INDENT; *text; ) {
        const int n = (int)strcspn(text + 1, " ") + 1;          /* a word with the blank before it */
        if (column + n > WIDTH) {
            printf("\n%*s", INDENT - (*text == ' '), "");
            column = INDENT;
        }
        printf("%.*s", n, text);
        column += n;
        text += n;
    }
    putchar('\n');
}

/* Headings stand above their options; a heading whose options another table lacks is not told. */
static void help(const OptionTable *t) {
    Setting s, next;
    printf("grpo %s: %s\n", t->command, t->summary);
    for (int i = 0; option_at(&s, t, i); i++) {
        if (s.kind == SET_HEADING) {
            if (option_at(&next, t, i + 1) && next.kind != SET_HEADING) printf("\n%s\n", s.name);
            continue;
        }
        char name[64], text[1024];
        if (i == 0) putchar('\n');
        snprintf(name, sizeof name, "%s", s.name);
        for (char *c = name; *c; c++)
            if (*c == '_') *c = '-';
        snprintf(text, sizeof text, "%s", s.help);
        for (int k = 0; s.choice && s.choice[k]; k++)
            add_text(text, sizeof text, k ? " | " : ": ", s.choice[k]);
        if (s.fallback) add_text(text, sizeof text, " [", s.fallback), add_text(text, sizeof text, "]", "");
        help_line(name, text);
    }
    help_line("config FILE", "options from a JSON file: an object of them, or its member named like the "
                             "command, or a run's config.json");
    printf("\nexample: %s\n", t->example);
}

int options_parse(void *config, const OptionTable *t, int argc, char **argv, Err *e) {
    Setting s;
    const char *file = given(argc, argv, "config");
    for (int i = 0; option_at(&s, t, i); i++)
        if (s.kind != SET_HEADING) setting_default(config, &s);
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) { help(t); return 1; }
    if (file && (!*file || !strcmp(file, "true"))) {
        fail(e, "--config: expected the name of a JSON file (YAML is not read)");
        return -1;
    }
    static char of_run[1100];                       /* --resume takes the run's own configuration */
    const char *resume = given(argc, argv, "resume"), *dir = given(argc, argv, "output_dir");
    if (!file && option_find(&s, t, "resume") && resume && dir &&
        (!strcmp(resume, "true") || !strcmp(resume, "1"))) {
        snprintf(of_run, sizeof of_run, "%.1000s/config.json", dir);
        if (path_exists(of_run)) file = of_run;
    }
    if (file && !from_file(config, t, file, argc, file == of_run ? NULL : argv, e)) return -1;
    for (int i = 1; i < argc; i++) {
        char name[128];
        const char *value = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2)) {
            fail(e, "found \"%.80s\", expected an option; see grpo %s --help", argv[i], t->command);
            return -1;
        }
        snprintf(name, sizeof name, "%.*s", (int)(value ? value - argv[i] - 2 : (long)strlen(argv[i]) - 2),
                 argv[i] + 2);
        if (!strcmp(name, "config")) { if (!value) i++; continue; }
        if (!option_find(&s, t, name)) { unknown(t, name, "command line", e); return -1; }
        if (value) value++;
        else if (s.kind == SET_BOOL && (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))) value = "true";
        else if (i + 1 < argc && strncmp(argv[i + 1], "--", 2)) value = argv[++i];
        else {
            fail(e, "--%s: expected a value; write --%s=VALUE if it begins with --", name, name);
            return -1;
        }
        if (!setting_set(config, &s, value, "command line", e)) return -1;
    }
    return 0;
}

void options_write_value(JsonWriter *w, const void *config, const Setting *o) {
    const void *field = (const char *)config + o->at;
    if (o->kind == SET_STRING) {
        if (*(const char *const *)field) json_string(w, *(const char *const *)field);
        else json_null(w);
    } else if (o->kind == SET_INT) json_int(w, *(const int *)field);
    else if (o->kind == SET_NUMBER || o->kind == SET_STEPS) json_number(w, *(const double *)field);
    else if (o->kind == SET_BOOL) json_bool(w, *(const bool *)field);
    else json_string(w, o->choice[*(const int *)field]);
}

void options_write(JsonWriter *w, const void *config, const OptionTable *t) {
    Setting s;
    for (int i = 0; option_at(&s, t, i); i++) {
        if (s.kind == SET_HEADING) continue;
        json_key(w, s.name);
        options_write_value(w, config, &s);
    }
}

void options_write_default(JsonWriter *w, const Setting *o) {
    union { const char *string; int i; double number; bool b; } value;
    Setting alone = *o;
    alone.at = 0;
    setting_default(&value, &alone);
    options_write_value(w, &value, &alone);
}

/* Whether one option is as it was saved. */
static bool option_agrees(const void *config, const Setting *s, const Json *saved, const char *file, Err *e) {
    JsonWriter a = {0}, b = {0};
    options_write_value(&a, config, s);
    const Json *v = json_get(saved, s->name);
    if (v && v->type == JSON_NUMBER) json_number(&b, v->number);        /* in whatever way it is written */
    else if (v) json_value(&b, v);
    else options_write_default(&b, s);
    const bool same = json_ok(&a, e) && json_ok(&b, e) &&
                      (!strcmp(a.text, b.text) ||
                       fail(e,
                            "%s: %s: the run was started with %.60s, now it is %.60s; resume with the same "
                            "options or start a new run",
                            file, s->name, b.text, a.text));
    free(a.text);
    free(b.text);
    return same;
}

bool options_agree(const void *config, const OptionTable *t, const Json *saved, const char *const *free_names,
                   const char *file, Err *e) {
    Setting s;
    for (int i = 0; option_at(&s, t, i); i++) {
        bool is_free = s.kind == SET_HEADING;
        for (int k = 0; free_names[k]; k++) is_free = is_free || !strcmp(free_names[k], s.name);
        if (!is_free && !option_agrees(config, &s, saved, file, e)) return false;
    }
    return true;
}

/* A number for each label, `absent` for those that are not named; what: "weight". */
static bool parse_labelled(double *value, const char *text, double absent, const char *what,
                           const char (*label)[64], int n_label, const char *option, Err *e) {
    const bool named = strchr(text, '=') != NULL;
    bool given[64] = {false};
    for (int k = 0; k < n_label; k++) value[k] = absent;
    int n = 0;
    for (const char *at = text; *at; n++) {
        const size_t length = strcspn(at, ",");
        char item[128], *end;
        snprintf(item, sizeof item, "%.*s", (int)(length < 127 ? length : 127), at);
        int k = n;
        char *number = item;
        if (named) {
            number = strchr(item, '=');
            if (!number) return fail(e, "%s: found \"%s\", expected LABEL=NUMBER", option, item);
            *number++ = 0;
            const char *names[64];
            for (int i = 0; i < n_label && i < 64; i++) names[i] = label[i];
            for (k = 0; k < n_label && strcmp(label[k], item); k++) {}
            if (k == n_label) {
                const char *near = nearest_name(item, names, n_label);
                return fail(e, "%s: unknown label \"%s\"%s%s", option, item,
                            near ? ", did you mean " : ", the scores have other labels", near ? near : "");
            }
        }
        if (named && given[k]) return fail(e, "%s: label \"%s\" stands there twice", option, item);
        if (k >= n_label)
            return fail(e, "%s: found more than %d %ss, expected one for each label", option, n_label, what);
        if (k < 64) given[k] = true;
        value[k] = strtod(number, &end);
        if (end == number || *end || !isfinite(value[k]))
            return fail(e, "%s: found \"%s\", expected a number", option, number);
        at += length + (at[length] == ',');
    }
    return named || n == n_label ||
           fail(e, "%s: found %d %ss, expected %d, one for each label", option, n, what, n_label);
}

bool parse_weights(double *weight, const char *text, const char (*label)[64], int n_label, const char *option,
                   Err *e) {
    for (int k = 0; k < n_label; k++) weight[k] = 1;
    if (text && !parse_labelled(weight, text, 0, "weight", label, n_label, option, e)) return false;
    for (int k = 0; k < n_label; k++)
        if (weight[k] != 0) return true;
    return fail(e, "%s: all weights are 0: there would be no reward; give at least one label a weight",
                option);
}

bool parse_floors(double *floor, const char *text, const char (*label)[64], int n_label, const char *option,
                  Err *e) {
    return parse_labelled(floor, text, -INFINITY, "floor", label, n_label, option, e);
}

bool parse_range(double *low, double *high, const char *text, const char *option, Err *e) {
    char *end, *last = NULL;
    *low = strtod(text, &end);
    if (end != text && *end == ',') *high = strtod(end + 1, &last);
    if (!last || last == end + 1 || *last || !(*low < *high))
        return fail(e, "%s: found \"%.60s\", expected LOW,HIGH such as 0,1", option, text);
    return true;
}
