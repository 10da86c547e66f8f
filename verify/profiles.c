/* profiles.c: the rows of trainers.c found by name and release, and read into settings.
 *
 * In this order: names and releases, settings as text, options out of a config, ways, words for a page. */
#include "verify/profiles.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/words.h"

/* ---- names and releases ---- */
/* -1, 0, 1 over the numbers that both have: 1.9 is 1.9.1 as well as 1.9.2. */
static int compare_versions(const char *a, const char *b) {
    while (*a && *b) {
        char *end_a, *end_b;
        const long x = strtol(a, &end_a, 10), y = strtol(b, &end_b, 10);
        if (end_a == a || end_b == b) return end_a == a && end_b == b ? strcmp(a, b) : end_a == a ? -1 : 1;
        if (x != y) return x < y ? -1 : 1;
        a = *end_a == '.' ? end_a + 1 : end_a;
        b = *end_b == '.' ? end_b + 1 : end_b;
    }
    return 0;
}

static bool has_release(const char *version, const char *since, const char *until) {
    return (!since || compare_versions(version, since) >= 0) &&
           (!until || compare_versions(version, until) <= 0);
}

/* "trl (0.15.0 to 1.16), verl (...), ..." */
static void name_profiles(char *out, size_t size) {
    out[0] = 0;
    for (int i = 0; i < n_profile; i++) {
        const Profile *p = &profiles[i];
        int last = i;
        while (last + 1 < n_profile && !strcmp(profiles[last + 1].name, p->name)) last++;
        const size_t at = strlen(out);
        if (p->since)
            snprintf(out + at, size - at, "%s%s %s to %s", i ? ", " : "", p->name, p->since,
                     profiles[last].until);
        else snprintf(out + at, size - at, "%s%s", i ? ", " : "", p->name);
        i = last;
    }
}

static bool unknown_profile(const char *name, size_t length, const char *where, Err *e) {
    const char *known[64], *near;
    char all[900], found[40];
    int n = 0;
    for (int i = 0; i < n_profile; i++)
        if (n < 64 && (!n || strcmp(known[n - 1], profiles[i].name))) known[n++] = profiles[i].name;
    name_profiles(all, sizeof all);
    snprintf(found, sizeof found, "%.*s", (int)(length < 39 ? length : 39), name);
    near = nearest_name(found, known, n);
    return fail(e, "%s: found \"%.40s\", expected one of %s%s%s", where, name, all,
                near ? "; did you mean " : "", near ? near : "");
}

/* What a row is called by its newest release. */
static const char *newest_label(char out[48], const Profile *p) {
    snprintf(out, 48, p->until ? "%.24s-%.20s" : "%.24s", p->name, p->until);
    return out;
}

const Profile *profile_find(char label[48], const char *name, const char *where, Err *e) {
    char plain[64];
    size_t length = strlen(name), n = 0;
    const char *version = "";
    for (size_t i = 1; name[i - 1] && name[i]; i++) /* "trl-1.9": from the last dash before a digit */
        if (name[i - 1] == '-' && name[i] >= '0' && name[i] <= '9') length = i - 1, version = name + i;
    for (; n < length && n < sizeof plain - 1; n++)
        plain[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] + 32 : name[n]);
    plain[n] = 0;
    if (!strcmp(plain, "liger")) snprintf(plain, sizeof plain, "liger-kernel");
    const Profile *found = NULL, *newest = NULL;
    for (int i = 0; i < n_profile; i++) {
        const Profile *p = &profiles[i];
        if (!setting_same_name(p->name, plain)) continue;
        newest = p;
        if (*version ? p->since && has_release(version, p->since, p->until) : true) found = p;
    }
    if (!newest) { unknown_profile(name, length, where, e); return NULL; }
    if (!found) {
        const Profile *first = newest;
        while (first > profiles && !strcmp(first[-1].name, newest->name)) first--;
        if (newest->since)
            fail(e,
                 "%s: found \"%.40s\", expected a release of %s from %s to %s; without a number it is the "
                 "newest",
                 where, name, newest->name, first->since, newest->until);
        else fail(e, "%s: found \"%.40s\", expected %s without a release", where, name, newest->name);
        return NULL;
    }
    newest_label(label, found);
    if (*version) snprintf(label, 48, "%.24s-%.20s", found->name, version);
    return found;
}

/* ---- settings as text ---- */
/* The next "KEY VALUE" of a row; false: no more. */
static bool next_item(char key[64], char value[64], const char **at) {
    char item[160];
    if (!list_next(item, sizeof item, at)) return false;
    const char *start = item + strspn(item, " "), *gap = strchr(start, ' ');
    snprintf(key, 64, "%.*s", gap ? (int)(gap - start) : 63, start);
    snprintf(value, 64, "%s", gap ? gap + 1 : "");
    return true;
}

static bool set_text(DumpSettings *s, const char *key, const char *value, const char *where, Err *e) {
    Setting row;
    if (!declared_setting(&row, key)) return fail(e, "%s: no setting is called %.60s", where, key);
    if (row.kind == SET_NUMBER && !strcmp(value, "none")) {             /* a bound that TRL writes as null */
        *(double *)((char *)s + row.at) = NAN;
        return true;
    }
    return setting_set(s, &row, value, where, e);
}

/* What a setting is now, as it is written in a row. */
static const char *row_text(char out[64], const DumpSettings *s, const Setting *row) {
    const void *field = (const char *)s + row->at;
    out[0] = 0;
    switch (row->kind) {
    case SET_NUMBER: case SET_STEPS:
        if (isnan(*(const double *)field)) snprintf(out, 64, "none");
        else snprintf(out, 64, "%g", *(const double *)field);
        break;
    case SET_INT: snprintf(out, 64, "%d", *(const int *)field); break;
    case SET_BOOL: snprintf(out, 64, "%s", *(const bool *)field ? "true" : "false"); break;
    case SET_CHOICE: snprintf(out, 64, "%s", row->choice[*(const int *)field]); break;
    case SET_STRING: case SET_HEADING: break;
    }
    return out;
}

static const char *setting_text(char out[64], const DumpSettings *s, const char *key) {
    Setting row;
    return declared_setting(&row, key) ? row_text(out, s, &row) : strcpy(out, "");
}

bool profile_apply(DumpSettings *s, const Profile *p, Err *e) {
    char key[64], value[64];
    const char *at = p->settings;
    while (next_item(key, value, &at))
        if (!set_text(s, key, value, p->name, e)) return false;
    return true;
}

/* ---- options out of a config ---- */
/* Whether the path is the option, or ends with it behind a dot. */
static bool path_ends(const char *path, const char *option) {
    const size_t n = strlen(path), m = strlen(option);
    if (n < m || !setting_same_name(path + n - m, option)) return false;
    return n == m || path[n - m - 1] == '.' || (n == m + 2 && !strncmp(path, "--", 2));
}

/* Parts of a config that speak of another network, whose options have the same names. */
static bool other_network(const char *key) {
    static const char *const name[] = {"critic", "ref", "reward_model", "reward", "teacher"};
    return name_among(key, name, sizeof name / sizeof *name);
}

/* The member whose path ends with `option`, at any depth; path: where v stands. */
static const Json *find_option(const Json *v, const char *path, const char *option) {
    const Json *found = NULL;
    for (size_t i = 0; v && v->type == JSON_OBJECT && i < v->length && !found; i++) {
        char here[512];
        const Json *x = &v->item[i];
        snprintf(here, sizeof here, "%s%s%.200s", path, *path ? "." : "", x->key);
        if (x->type != JSON_OBJECT) found = path_ends(here, option) ? x : NULL;
        else if (strlen(here) < 300 && !other_network(x->key)) found = find_option(x, here, option);
    }
    return found;
}

/* "0.5_5.0", which is how verl writes two bounds. */
static bool is_pair(const char *text) {
    char *end;
    strtod(text, &end);
    const char *second = end + 1;
    if (end == text || *end != '_') return false;
    strtod(second, &end);
    return end != second && !*end;
}

enum { WHOLE = 2 };
/* A value as text; item: of a list or a pair of bounds, which one. A pair as a whole is "LOWER_UPPER". */
static const char *option_text(char out[64], const Json *v, size_t item) {
    if (v->type == JSON_ARRAY) {
        if (item == WHOLE) item = 0;
        if (item >= v->length) return strcpy(out, "null");
        v = &v->item[item];
    }
    if (v->type == JSON_STRING && is_pair(v->string)) {
        if (item == WHOLE) return strcpy(out, "LOWER_UPPER");
        snprintf(out, 64, "%.63s", item ? strchr(v->string, '_') + 1 : v->string);
        if (!item) out[strcspn(out, "_")] = 0;
    } else if (v->type == JSON_STRING) snprintf(out, 64, "%.63s", v->string);
    else if (v->type == JSON_BOOL) snprintf(out, 64, "%s", v->number != 0 ? "true" : "false");
    else if (v->type == JSON_NUMBER) snprintf(out, 64, "%.17g", v->number);
    else snprintf(out, 64, "null");
    return out;
}

/* "1+2*epsilon" with an option of the config or a setting; false: neither is there. */
static bool computed_text(char out[64], const char *text, const DumpSettings *s, const Json *config) {
    char *end, word[64];
    const double first = strtod(text, &end), factor = strtod(end, &end);
    const Json *option = *end == '*' ? find_option(config, "", end + 1) : NULL;
    if (*end != '*') return false;
    if (option) option_text(word, option, WHOLE);
    else if (!strcmp(end + 1, "epsilon_high"))
        snprintf(word, sizeof word, "%.17g", grpo_epsilon_high(&s->grpo));
    else setting_text(word, s, end + 1);
    char *rest;
    const double x = strtod(word, &rest);
    if (rest == word) return false;
    snprintf(out, 64, "%.17g", first + factor * x);
    return true;
}

typedef struct { DumpSettings *s; const Json *config, *option; const char *where; } Reading;

/* One "KEY VALUE" of an option's row. null, where a setting cannot be none, leaves it as it is. */
static bool apply_item(const Reading *r, const char *key, const char *value, Err *e) {
    char text[64];
    const Json *v = r->option;
    const bool inverse = !strncmp(value, "1/", 2);
    if (inverse) value += 2;
    if (*value == '@' && !(v = find_option(r->config, "", value + 1))) return true;
    if (*value == '@') option_text(text, v, 1);
    else if (*value == '%') option_text(text, v, value[1] == '1' ? 1 : value[1] == '0' ? 0 : WHOLE);
    else if (strchr(value, '*')) {
        if (!computed_text(text, value, r->s, r->config)) return true;
    } else snprintf(text, sizeof text, "%s", value);
    Setting row;
    if (!strcmp(text, "null") && declared_setting(&row, key) && (row.kind != SET_NUMBER || row.fallback) &&
        !(row.fallback && !strcmp(row.fallback, "none")))
        return true;
    if (inverse) snprintf(text, sizeof text, "%.17g", 1 / strtod(text, NULL));
    return set_text(r->s, key, text, r->where, e);
}

/* after: what is computed from other settings, and all that an option with a name of ours brings with it */
static bool apply_option(const Reading *r, const ProfileOption *o, bool ours, bool after, Err *e) {
    char key[64], value[64];
    const char *at = o->settings;
    while (next_item(key, value, &at)) {
        const bool computed = strchr(value, '*') != NULL;
        if ((ours || computed) == after && !apply_item(r, key, value, e)) return false;
    }
    return true;
}

/* Whether two rows are of one option of one program. */
static bool is_row_of(const ProfileOption *x, const ProfileOption *o) {
    return !strcmp(x->name, o->name) && !strcmp(x->option, o->option);
}

/* The releases that have an option, or one of its values: "from 0.26", "from 0.22 to 1.9.0". */
static void releases(char *out, size_t size, const ProfileOption *o, bool with_value) {
    const char *since = NULL, *until = NULL;
    bool first = true;
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *x = &profile_options[i];
        if (!is_row_of(x, o) || (with_value && (!x->value || strcmp(x->value, o->value)))) continue;
        if (first || (since && (!x->since || compare_versions(x->since, since) < 0))) since = x->since;
        if (first || (until && (!x->until || compare_versions(x->until, until) > 0))) until = x->until;
        first = false;
    }
    snprintf(out, size, "%s%s%s%s%s", since ? "from " : "", since ? since : "", since && until ? " " : "",
             until ? "to " : "", until ? until : "");
}

/* Whether saying so changes nothing: the release does it anyway. */
static bool is_so_anyway(const DumpSettings *s, const char *key, const Json *v) {
    char text[64], now[64];
    DumpSettings copy = *s;
    Err none = {{0}};
    if (!set_text(&copy, key, option_text(text, v, WHOLE), "", &none)) return false;
    setting_text(text, &copy, key);
    return !strcmp(text, setting_text(now, s, key));
}

/* The option stands in the config: this release must have it, and the value too. */
static bool check_option(const DumpSettings *s, const Profile *p, const char *version, const ProfileOption *o,
                         const Json *v, bool ours, const char *where, Err *e) {
    bool has = false, value_known = false, value_has = false, any_value = false;
    char text[64], when[80], all[300] = "";
    option_text(text, v, WHOLE);
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *x = &profile_options[i];
        if (strcmp(x->name, p->name) || strcmp(x->option, o->option)) continue;
        const bool now = has_release(version, x->since, x->until);
        has = has || now;
        any_value = any_value || (now && !x->value);
        if (!x->value) continue;
        if (now)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", all[0] ? ", " : "", x->value);
        if (!strcmp(x->value, text)) value_known = true, value_has = value_has || now, o = x;
    }
    if (ours && is_so_anyway(s, o->option, v)) return true;
    if (!has) {
        releases(when, sizeof when, o, false);
        return fail(
            e,
            "%s: %.60s: %s %.20s has no such option, which is there %s; leave it out, or say the release "
            "with --profile",
            where, o->option, p->name, version, when);
    }
    if (value_known && !value_has && !any_value) {
        releases(when, sizeof when, o, true);
        return fail(e, "%s: %.60s: found \"%s\", which %s has %s only, expected a choice of %s %.20s: %s",
                    where, o->option, text, p->name, when, p->name, version, all);
    }
    if (!ours && !any_value && !value_known)
        return fail(e, "%s: %.60s: found \"%s\", expected one of %s", where, o->option, text, all);
    return true;
}

/* Whether a row of the option speaks of this very value. */
static bool has_row_for(const ProfileOption *o, const char *value) {
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *x = &profile_options[i];
        if (is_row_of(x, o) && x->value && !strcmp(x->value, value)) return true;
    }
    return false;
}

bool profile_read(DumpSettings *s, const Profile *p, const char *label, const Json *config, bool after,
                  const char *where, Err *e) {
    const char *version = p->since ? label + strlen(p->name) + 1 : "";
    if (p->until && !strncmp(p->until, version, strlen(version))) version = p->until;   /* 0.9 is 0.9.1 */
    Reading r = {.s = s, .config = config, .where = where};
    char text[64];
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *o = &profile_options[i];
        Setting row;
        if (strcmp(o->name, p->name)) continue;
        const bool ours = declared_setting(&row, o->option);
        r.option = ours ? json_get(config, o->option) : find_option(config, "", o->option);
        if (!after && r.option && !check_option(s, p, version, o, r.option, ours, where, e)) return false;
        if (!o->settings || !has_release(version, o->since, o->until)) continue;
        if (ours) setting_text(text, s, o->option);
        else if (r.option) option_text(text, r.option, WHOLE);
        else continue;
        if (o->value ? strcmp(o->value, text) : has_row_for(o, text)) continue;
        if (!apply_option(&r, o, ours, after, e)) return false;
    }
    return true;
}

static bool holds_option(const Json *v, const char *path, const char *name) {
    char here[512];
    snprintf(here, sizeof here, "%s%s%.200s", path, *path ? "." : "", v->key);
    if (v->type == JSON_OBJECT) {
        for (size_t i = 0; i < v->length && strlen(here) < 300; i++)
            if (holds_option(&v->item[i], here, name)) return true;
        return false;
    }
    for (int i = 0; i < n_profile_option; i++)
        if (!strcmp(profile_options[i].name, name) && path_ends(here, profile_options[i].option)) return true;
    /* options that only others look at */
    for (int i = 0; i < n_profile_option; i++) {
        char key[64], value[64];
        const char *at = profile_options[i].settings ? profile_options[i].settings : "";
        if (strcmp(profile_options[i].name, name)) continue;
        while (next_item(key, value, &at)) {
            const char *star = strchr(value, '*');
            if ((*value == '@' && path_ends(here, value + 1)) || (star && path_ends(here, star + 1)))
                return true;
        }
    }
    return false;
}

bool profile_knows(const Profile *p, const Json *member, const char **other) {
    *other = NULL;
    if (holds_option(member, "", p->name)) return true;
    for (int i = 0; i < n_profile && !*other; i++)
        if (holds_option(member, "", profiles[i].name)) *other = profiles[i].name;
    return false;
}

void profile_plain(DumpSettings *plain, const DumpSettings *s, const Profile *p, const Json *config) {
    DumpSettings newest;
    char key[64], value[64], now[64];
    const char *at = p->settings;
    Err none = {{0}};
    declared_default(&newest);
    *plain = *s;
    while (next_item(key, value, &at)) {
        DumpSettings own = newest;
        if (json_get(config, key) || !strcmp(key, "vllm_importance_sampling_correction") ||
            !set_text(&own, key, value, "", &none))
            continue;
        setting_text(value, &own, key);
        if (!strcmp(value, setting_text(now, s, key)))
            set_text(plain, key, setting_text(value, &newest, key), "", &none);
    }
}

/* ---- settings compared ---- */
/* What belongs to a run and not to a trainer. */
static bool is_of_run(const char *key) {
    static const char *const of_run[] = {"beta", "temperature", "learning_rate", "max_completion_length",
                                         "weight_decay", "num_generations", "steps_per_generation"};
    return name_among(key, of_run, sizeof of_run / sizeof *of_run);
}

bool settings_differ(char *key, char *of_a, char *of_b, int *at, const DumpSettings *a,
                     const DumpSettings *b) {
    Setting row;
    char name[64], x[64], y[64];
    while (declared_at(&row, name, (*at)++)) {
        if (is_of_run(name) || !strcmp(row_text(x, a, &row), row_text(y, b, &row))) continue;
        if (key) strcpy(key, name), strcpy(of_a, x), strcpy(of_b, y);
        return true;
    }
    return false;
}

void setting_copy(DumpSettings *to, const DumpSettings *from, const char *key) {
    static const size_t bytes[] = {[SET_INT] = sizeof(int), [SET_NUMBER] = sizeof(double),
                                   [SET_BOOL] = sizeof(bool), [SET_CHOICE] = sizeof(int),
                                   [SET_STEPS] = sizeof(double)};
    Setting row;
    if (declared_setting(&row, key))
        memcpy((char *)to + row.at, (const char *)from + row.at, bytes[row.kind]);
}

bool profile_instead(DumpSettings *to, const DumpSettings *s, const DumpSettings *plain, const Profile *p) {
    DumpSettings newest;
    char label[48], key[64], value[64], now[64], was[64];
    const char *at = p->settings;
    Err none = {{0}};
    declared_default(&newest);
    *to = *s;
    for (int i = 0; settings_differ(key, now, was, &i, plain, s);) setting_copy(to, plain, key);
    while (next_item(key, value, &at))
        if (!is_of_run(key) && !strcmp(setting_text(now, plain, key), setting_text(was, &newest, key)))
            set_text(to, key, value, "", &none);
    return profile_read(to, p, newest_label(label, p), NULL, true, p->name, &none) &&
           settings_differ(NULL, NULL, NULL, &(int){0}, to, s);
}

bool option_row_check(const ProfileOption *o, Err *e) {
    DumpSettings s;
    Setting row;
    char key[64], value[64];
    declared_default(&s);
    for (const char *at = o->settings; next_item(key, value, &at);) {
        if (!declared_setting(&row, key)) return fail(e, "%s: no setting is called %.60s", o->option, key);
        if (!strpbrk(value, "%@*") && !set_text(&s, key, value, o->option, e)) return false;
    }
    return true;
}

bool option_instead(DumpSettings *s, const ProfileOption *o) {
    const DumpSettings was = *s;
    char key[64], value[64];
    const char *at = o->settings;
    Err none = {{0}};
    if (!o->value || !at || strpbrk(at, "%@*")) return false;
    while (next_item(key, value, &at))
        if (!is_of_run(key) && !set_text(s, key, value, "", &none)) return false;
    return settings_differ(NULL, NULL, NULL, &(int){0}, s, &was);
}

/* ---- words for a page ---- */
bool profile_way(int i, char key[64], char value[64], const Profile **who) {
    DumpSettings newest;
    declared_default(&newest);
    for (int p = 0; p < n_profile; p++) {
        const char *at = profiles[p].settings, *seen_at;
        char own[64];
        while (next_item(key, own, &at)) {
            for (int both = 0; both < 2; both++) { /* TRL's newest value before the first other one */
                bool seen = false;
                char k[64], v[64];
                if (both) snprintf(value, 64, "%s", own);
                else setting_text(value, &newest, key);
                for (int q = 0; q <= p && !seen; q++)
                    for (seen_at = profiles[q].settings; !seen && next_item(k, v, &seen_at);) {
                        if (q == p && seen_at == at) break;
                        seen = !strcmp(k, key) && (!both || !strcmp(v, value));
                    }
                if (seen || !*value || (both && !strcmp(own, setting_text(v, &newest, key))) || i-- > 0)
                    continue;
                *who = &profiles[p];
                for (int q = 0; !both && q < n_profile; q++)
                    if (!strcmp(profiles[q].name, "trl")) *who = &profiles[q];
                return true;
            }
        }
    }
    return false;
}

const ProfileCellInfo profile_cells[N_CELL] = {
    [CELL_BASELINE] = {"baseline", "E82, E126, E128"}, [CELL_DEVIATION] = {"deviation", "E83 to E86, E127"},
    [CELL_RATIO] = {"ratio", "E90 to E93, E135"},      [CELL_CLIP] = {"clip", "E99, E107, E133, E134"},
    [CELL_KL] = {"kl", "E94 to E96, E130, E131"},
    [CELL_AGGREGATION] = {"aggregation", "E112, E138, E139"},
    [CELL_CORRECTION] = {"correction", "E110, E180"},
};

typedef struct { char text[64]; } Word;
static Word cell_word(const DumpSettings *s, const char *key) {
    Word w;
    setting_text(w.text, s, key);
    return w;
}
static bool cell_is(const DumpSettings *s, const char *key, const char *value) {
    return !strcmp(cell_word(s, key).text, value);
}
static bool cell_has(const DumpSettings *s, const char *key) {
    return !cell_is(s, key, "none") && !cell_is(s, key, "");
}

static void tell_kl(char out[160], const DumpSettings *s) {
    const double beta = s->grpo.beta;
    char *at = out;
    at += snprintf(at, 160, beta == 0 ? "beta 0 (%s" : "%s", cell_word(s, "kl_estimator").text);
    if (cell_has(s, "kl_clamp_log_ratio"))
        at += snprintf(at, 90, ", D within %s", cell_word(s, "kl_clamp_log_ratio").text);
    if (cell_has(s, "kl_clamp")) at += snprintf(at, 90, ", within %s", cell_word(s, "kl_clamp").text);
    if (cell_is(s, "kl_gradient", "score_function")) at += snprintf(at, 40, ", with its score-function term");
    if (s->grpo.use_bias_correction_kl) at += snprintf(at, 40, ", times the ratio");
    if (beta == 0) snprintf(at, 40, ")");
    else snprintf(at, 40, ", beta %g", beta);
}

static void tell_aggregation(char out[160], const DumpSettings *s) {
    static const struct { const char *value, *words;
    } how[] = {{"token_mean", "token mean"},
               {"sequence_mean", "mean of the rows' token means"},
               {"sequence_sum", "mean of the rows' sums"},
               {"fixed_length", "rows' sums over a fixed length"},
               {"fixed_total", "sum over a fixed length"},
               {"bnpo", "token mean"},
               {"dapo", "token mean of an update"},
               {"grpo", "mean of the rows' token means"},
               {"dr_grpo", "rows' sums over a fixed length"}};
    const char *key = cell_has(s, "loss_aggregation") && !cell_is(s, "loss_aggregation", "loss_type")
                          ? "loss_aggregation"
                          : "loss_type";
    char *at = out;
    for (size_t i = 0; i < sizeof how / sizeof *how; i++)
        if (cell_is(s, key, how[i].value)) at += snprintf(at, 80, "%s", how[i].words);
    if (cell_is(s, "aggregation_scope", "update")) at += snprintf(at, 40, " of an update");
    if (cell_is(s, "aggregation_scope", "ranks")) at += snprintf(at, 40, " of all ranks");
    if (cell_is(s, "count_empty_rows", "false") && !cell_is(s, "loss_type", "bnpo"))
        snprintf(at, 40, ", empty rows left out");
}

void profile_cell(char out[160], const DumpSettings *s, ProfileCell cell) {
    const GrpoConfig *g = &s->grpo;
    const bool clips = cell_is(s, "policy_term", "loss_type") || cell_is(s, "policy_term", "ratio") ||
                       cell_is(s, "policy_term", "");
    char *at = out;
    out[0] = 0;
    switch (cell) {
    case CELL_BASELINE:
        snprintf(out, 160, "%s", cell_is(s, "baseline", "leave_one_out")     ? "mean of the others"
                                 : cell_is(s, "baseline", "length_weighted") ? "group, weighted by length"
                                 : cell_is(s, "baseline", "batch")           ? "batch"
                                 : cell_is(s, "baseline", "none")            ? "none"
                                                                        : "group's mean");
        if (cell_is(s, "single_reply", "score"))
            snprintf(out + strlen(out), 40, "; a single reply keeps its score");
        return;
    case CELL_DEVIATION:
        if (g->scale_rewards == SCALE_NONE) { snprintf(out, 160, "none"); return; }
        at += snprintf(at, 160, "%s, by %s", cell_is(s, "scale_rewards", "leave_one_out") ? "of the others"
                                                                                   : "group",
                       cell_is(s, "std_ddof", "0") ? "n" : "n - 1");
        if (g->std_eps != 0) at += snprintf(at, 40, ", + %.0e", g->std_eps);
        if (cell_is(s, "zero_std", "keep")) snprintf(at, 40, "; 0: undivided");
        return;
    case CELL_RATIO:
        if (cell_is(s, "policy_term", "logp")) { snprintf(out, 160, "none"); return; }
        at += snprintf(at, 160, "%s", importance_sampling_level_names[g->importance_sampling_level]);
        if (cell_has(s, "log_ratio_max"))
            snprintf(at, 90, ", log within %s", cell_word(s, "log_ratio_max").text);
        return;
    case CELL_CLIP:
        if (!clips) { snprintf(out, 160, "none"); return; }
        at += snprintf(at, 160, "%g, %g", g->epsilon, grpo_epsilon_high(g));
        if (!isnan(g->dual_clip)) snprintf(at, 40, "; dual %g", g->dual_clip);
        return;
    case CELL_KL: tell_kl(out, s); return;
    case CELL_AGGREGATION: tell_aggregation(out, s); return;
    case CELL_CORRECTION:
        if (!g->importance_sampling_correction) { snprintf(out, 160, "off"); return; }
        snprintf(out, 160, "%s, at most %g", importance_sampling_mode_names[g->importance_sampling_mode],
                 g->importance_sampling_clip_max);
        return;
    case N_CELL: return;
    }
}

/* Options of a program in its own words, or rules on settings of ours: each with what it sets, by value;
 * null: whatever the value. */
static void write_options(JsonWriter *w, const char *name, bool ours) {
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *o = &profile_options[i];
        Setting row;
        bool before = false;
        if (strcmp(o->name, name) || !o->settings || declared_setting(&row, o->option) != ours) continue;
        for (int k = 0; k < i; k++)
            before = before || (is_row_of(&profile_options[k], o) && profile_options[k].settings);
        if (before) continue;
        json_open(w, o->option, '[');
        for (int k = i; k < n_profile_option; k++) {
            const ProfileOption *x = &profile_options[k];
            if (!is_row_of(x, o) || !x->settings) continue;
            json_begin(w, '{');
            json_put_string(w, "value", x->value);
            json_put_string(w, "since", x->since);
            json_put_string(w, "until", x->until);
            json_put_string(w, "settings", x->settings);
            json_end(w, '}');
        }
        json_end(w, ']');
    }
}

bool profiles_write(JsonWriter *w, Err *e) {
    json_begin(w, '[');
    for (int i = 0; i < n_profile && !e->line[0]; i++) {
        const Profile *p = &profiles[i];
        DumpSettings s;
        char key[64], value[64], cell[160], label[48];
        const char *at = p->settings;
        declared_default(&s);
        if (!profile_apply(&s, p, e) ||
            !profile_read(&s, p, newest_label(label, p), NULL, true, p->name, e))
            break;
        json_begin(w, '{');
        json_put_string(w, "name", p->name);
        json_put_string(w, "since", p->since);
        json_put_string(w, "until", p->until);
        json_put_string(w, "read", p->read);
        json_put_string(w, "source", p->source);
        for (int k = 0; k < N_CELL; k++) {
            profile_cell(cell, &s, (ProfileCell)k);
            json_put_string(w, profile_cells[k].name, cell);
        }
        json_put_string(w, "note", p->note);
        json_open(w, "equations", '{');
        for (int k = 0; k < N_CELL; k++)
            json_put_string(w, profile_cells[k].name, profile_cells[k].equations);
        json_end(w, '}');
        json_open(w, "settings", '{');
        while (next_item(key, value, &at)) json_put_string(w, key, value);
        json_end(w, '}');
        json_open(w, "options", '{');
        if (i + 1 == n_profile || strcmp(profiles[i + 1].name, p->name)) write_options(w, p->name, false);
        json_end(w, '}');
        json_open(w, "rules", '{');
        if (i + 1 == n_profile || strcmp(profiles[i + 1].name, p->name)) write_options(w, p->name, true);
        json_end(w, '}');
        json_end(w, '}');
    }
    json_end(w, ']');
    return !e->line[0];
}
