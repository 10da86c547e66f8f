/* arms.c: reading runs that are compared with each other, and the figures of their replies.
 *
 * In this order: an arm's text, a run's folder, its replies, what must agree between runs and arms, figures,
 * costs. */
#include "report/arms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/stats.h"
#include "report/diversity.h"

enum { MAX_HASHED = 64 << 20 };         /* bytes of weights */

/* The list with a place n more, zeroed; NULL: no memory, and the list is as it was. */
static void *grown(void *list, int n, size_t size, Err *e) {
    char *more = realloc(list, (size_t)(n + 1) * size);
    if (more) memset(more + (size_t)n * size, 0, size);
    else fail(e, "no memory for %d entries", n + 1);
    return more;
}

/* ---- quantities ---- */

static const char *const own_column[] = {"refusal", "harmful", "completion_length", "kl"};
enum { N_OWN = sizeof own_column / sizeof *own_column };
/* Of the replies to one prompt, of a reply's tokens, and, last, of all replies. */
static const char *const derived[] = {"diversity", "entropy", "distinct"};
enum { N_DERIVED = sizeof derived / sizeof *derived };
static const char *const group_column[] = {"judge", "scores"}, *const mean_name[] = {"mean_judge",
                                                                                     "mean_scores"};

int section_find(const Section *s, Origin origin, const char *name) {
    for (int q = 0; q < s->n_quantity; q++)
        if (s->quantity[q].origin == origin && !strcmp(s->quantity[q].name, name)) return q;
    return -1;
}

bool quantity_is_mean(const Quantity *q) {
    return q->origin != OF_REPLY && !strcmp(q->name, mean_name[q->origin]);
}

Origin section_told(const Section *s) {
    return section_find(s, OF_JUDGE, mean_name[OF_JUDGE]) >= 0 ? OF_JUDGE : OF_MODEL;
}

int section_told_mean(const Section *s) {
    return section_find(s, section_told(s), mean_name[section_told(s)]);
}

static bool add_quantity(Section *s, Origin origin, const char *name, const char *file, Err *e) {
    if (s->n_quantity == MAX_QUANTITIES)
        return fail(e, "%s: more than %d quantities in a reply", file, MAX_QUANTITIES);
    Quantity *q = &s->quantity[s->n_quantity++];
    q->origin = origin;
    if (strlen(name) >= sizeof q->name)
        return fail(e, "%s: label \"%.80s...\": expected at most %zu bytes", file, name, sizeof q->name - 1);
    snprintf(q->name, sizeof q->name, "%s", name);
    return true;
}

/* The first reply of a section says which labels there are. */
static bool find_quantities(Section *s, const Json *reply, const char *file, Err *e) {
    for (int g = OF_JUDGE; g <= OF_MODEL; g++) {
        const Json *label = json_get(reply, group_column[g]);
        if (!label || label->type != JSON_OBJECT || !label->length) continue;
        for (size_t k = 0; k < label->length; k++)
            if (!add_quantity(s, (Origin)g, label->item[k].key, file, e)) return false;
        if (!add_quantity(s, (Origin)g, mean_name[g], file, e)) return false;
    }
    for (int i = 0; i < N_OWN; i++)
        if (!add_quantity(s, OF_REPLY, own_column[i], file, e)) return false;
    for (int i = 0; i < N_DERIVED; i++)
        if (!add_quantity(s, OF_REPLY, derived[i], file, e)) return false;
    return true;
}

/* ---- replies ---- */

/* The labels of a reply are those of the section, no more and no fewer; null is a missing value. */
static bool take_labels(double *value, const Section *s, Origin g, const Json *reply, const char *file,
                        Err *e) {
    const Json *label = json_get(reply, group_column[g]);
    double sum = 0;
    size_t n = 0;
    for (int q = 0; q < s->n_quantity; q++) {
        const char *name = s->quantity[q].name;
        if (s->quantity[q].origin != g) continue;
        if (!strcmp(name, mean_name[g])) { value[q] = sum / (double)n; continue; }
        const Json *v = json_get(label, name);
        if (!v)
            return fail(e,
                        "%s:%d: \"%s\" has no label \"%s\", as the section's replies before have: arms with "
                        "different labels cannot be compared",
                        file, reply->line, group_column[g], name);
        if (v->type != JSON_NUMBER && v->type != JSON_NULL)
            return fail(e, "%s:%d: %s: %s: found %s, expected a number or null", file, reply->line,
                        group_column[g], name, json_type_name(v->type));
        value[q] = v->type == JSON_NUMBER ? v->number : NAN;
        sum += value[q];
        n++;
    }
    for (size_t k = 0; label && label->type == JSON_OBJECT && k < label->length; k++)
        if (section_find(s, g, label->item[k].key) < 0)
            return fail(e,
                        "%s:%d: \"%s\" has a label \"%s\", which the section's replies before have not: arms "
                        "with different labels cannot be compared",
                        file, reply->line, group_column[g], label->item[k].key);
    return true;
}

static bool find_split(int *split, Section *s, bool first_run, const char *name, const char *where, Err *e) {
    for (*split = 0; *split < s->n_split && strcmp(s->split[*split], name); ++*split) {}
    if (*split < s->n_split) return true;
    if (!first_run)
        return fail(e,
                    "%s: split \"%.60s\" is not among those of the section's replies before: arms that "
                    "answer other prompts cannot be paired",
                    where, name);
    if (!strcmp(name, "all"))
        return fail(e, "%s: a split is named \"all\", which is the row of all replies; give it another name",
                    where);
    if (s->n_split == MAX_SPLITS) return fail(e, "%s: more than %d splits", where, MAX_SPLITS);
    s->split[s->n_split++] = name;
    s->split[s->n_split] = "all";
    return true;
}

/* messages as their JSON: kept until the program ends */
static const char *text_of(const Json *v) { return v->type == JSON_STRING ? v->string : json_text(v); }

static bool take_reply(ArmReply *r, Section *s, bool first_run, const Json *o, const char *file, Err *e) {
    char where[1200];
    snprintf(where, sizeof where, "%s:%d", file, o->line);
    const Json *prompt = json_get(o, "prompt"), *completion = json_get(o, "completion"),
               *split = json_get(o, "split");
    if (!prompt || !completion)
        return fail(e, "%s: no \"%s\"; expected a reply as `grpo sample` writes it", where,
                    prompt ? "completion" : "prompt");
    r->prompt = text_of(prompt);
    r->completion = text_of(completion);
    r->split = -1;                                              /* of no row but "all" */
    if (split && !find_split(&r->split, s, first_run, text_of(split), where, e)) return false;
    if (!take_labels(r->value, s, OF_JUDGE, o, file, e) || !take_labels(r->value, s, OF_MODEL, o, file, e))
        return false;
    for (int i = 0; i < N_OWN; i++) {
        const Json *v = json_get(o, own_column[i]);
        if (v && v->type != JSON_NUMBER && v->type != JSON_NULL)
            return fail(e, "%s: %s: found %s, expected a number", where, own_column[i],
                        json_type_name(v->type));
        r->value[section_find(s, OF_REPLY, own_column[i])] = v && v->type == JSON_NUMBER ? v->number : NAN;
    }
    for (int i = 0; i < N_DERIVED; i++) r->value[section_find(s, OF_REPLY, derived[i])] = NAN;
    /* the mean over replies of -logp a token is the policy's entropy where it was drawn from as it is */
    const double logp = json_member(o, "logp"), length = json_member(o, "completion_length");
    if (length > 0) r->value[section_find(s, OF_REPLY, "entropy")] = -logp / length;
    return true;
}

/* How many replies from `first` on are to its prompt. */
static int replies_beside(const ArmRun *r, int first) {
    int n = 1;
    while (first + n < r->n_reply && r->reply[first + n].split == r->reply[first].split &&
           !strcmp(r->reply[first + n].prompt, r->reply[first].prompt))
        n++;
    return n;
}

/* E239: the diversity of the replies to a prompt, which stand side by side, is each one's; where some prompt
 * has a single one there is none. */
static bool count_diversity(ArmRun *r, const Section *s, Err *e) {
    const int q = section_find(s, OF_REPLY, "diversity");
    const char **text;
    for (int first = 0, n; first < r->n_reply; first += n)
        if ((n = replies_beside(r, first)) < 2) return true;
    if (!(text = malloc((size_t)r->n_reply * sizeof *text))) return fail(e, "%s: no memory", r->dir);
    for (int i = 0; i < r->n_reply; i++) text[i] = r->reply[i].completion;
    for (int first = 0, n; first < r->n_reply; first += n) {
        n = replies_beside(r, first);
        const double d = texts_diversity(text + first, n);
        for (int i = 0; i < n; i++) r->reply[first + i].value[q] = d;
    }
    free(text);
    return true;
}

static bool reply_in_row(const Section *s, const ArmReply *r, int row) {
    return row == s->n_split || r->split == row;
}

static int completion_order(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool count_distinct(ArmRun *r, const Section *s, Err *e) {
    const char **text = malloc((size_t)r->n_reply * sizeof *text);
    if (!text) return fail(e, "%s: no memory", r->dir);
    for (int row = 0; row <= s->n_split; row++) {
        int n = 0, distinct = 0;
        for (int i = 0; i < r->n_reply; i++)
            if (reply_in_row(s, &r->reply[i], row)) text[n++] = r->reply[i].completion;
        qsort(text, (size_t)n, sizeof *text, completion_order);
        for (int i = 0; i < n; i++) distinct += i == 0 || strcmp(text[i - 1], text[i]);
        r->distinct[row] = n ? (double)distinct / n : NAN;
    }
    free(text);
    return true;
}

const ArmRun *section_pattern(const Section *s) {
    for (int a = 0; a < s->n_arm; a++)
        for (int i = 0; i < s->arm[a].n_run; i++)
            if (s->arm[a].run[i].n_reply) return &s->arm[a].run[i];
    return NULL;
}

static bool same_prompts(const ArmRun *p, const ArmRun *r, const char *file, Err *e) {
    if (p->n_reply != r->n_reply)
        return fail(e,
                    "%s: holds %d replies, %s/replies.jsonl %d: they cannot be paired; sample every arm with "
                    "the same --dataset",
                    file, r->n_reply, p->dir, p->n_reply);
    for (int i = 0; i < r->n_reply; i++)
        if (strcmp(p->reply[i].prompt, r->reply[i].prompt) || p->reply[i].split != r->reply[i].split)
            return fail(e,
                        "%s:%d: replies to \"%.80s\", %s/replies.jsonl:%d to \"%.80s\"%s: they cannot be "
                        "paired; sample every arm with the same --dataset",
                        file, r->reply_lines.line[i]->line, r->reply[i].prompt, p->dir,
                        p->reply_lines.line[i]->line, p->reply[i].prompt,
                        strcmp(p->reply[i].prompt, r->reply[i].prompt) ? "" : " of another split");
    return true;
}

static bool take_replies(ArmRun *r, Section *s, Err *e) {
    char path[1100];
    const ArmRun *first = section_pattern(s);
    if (!path_join(path, sizeof path, r->dir, "replies.jsonl", e)) return false;
    if (!path_exists(path)) return true;
    if (!json_lines_read(&r->reply_lines, path, false, e)) return false;
    if (!r->reply_lines.n) return fail(e, "%s: holds no reply", path);
    if (!first && !find_quantities(s, r->reply_lines.line[0], path, e)) return false;
    s->split[s->n_split] = "all";
    const int n = r->reply_lines.n;
    ArmReply *reply = calloc((size_t)n, sizeof *reply);
    /* behind the values: two for each reply, for over_prompts, which so needs no memory of its own */
    double *value = malloc((size_t)n * ((size_t)s->n_quantity + 2) * sizeof *value);
    if (!reply || !value) {
        free(reply);
        free(value);
        return fail(e, "%s: no memory for %d replies", path, n);
    }
    reply[0].value = value;
    r->reply = reply;
    for (int i = 0; i < n; i++) {
        reply[i].value = value + (size_t)i * (size_t)s->n_quantity;
        if (!take_reply(&reply[i], s, !first, r->reply_lines.line[i], path, e)) return false;
    }
    r->n_reply = n;
    return (!first || same_prompts(first, r, path, e)) && count_distinct(r, s, e) &&
           count_diversity(r, s, e);
}

/* ---- a run's folder ---- */

static bool read_if_there(Json **out, const char *dir, const char *name, Err *e) {
    char path[1100];
    if (!path_join(path, sizeof path, dir, name, e)) return false;
    return !path_exists(path) || (*out = json_read_file(path, e));
}

static bool read_held_out(ArmRun *r, Err *e) {
    if (!read_if_there(&r->held_out, r->dir, "eval.json", e)) return false;
    const Json *label = r->held_out;
    if (label && label->type != JSON_OBJECT)
        return fail(e, "%s/eval.json: found %s, expected an object of labels", r->dir,
                    json_type_name(label->type));
    for (size_t k = 0; label && k < label->length; k++)
        if (label->item[k].type != JSON_OBJECT)
            return fail(e, "%s/eval.json: %s: found %s, expected an object of metrics", r->dir,
                        label->item[k].key, json_type_name(label->item[k].type));
    return true;
}

/* The hash of the weights; a folder without them, with large or with broken ones is shown all the same. */
static bool read_digest(ArmRun *r, Err *told) {
    char path[1100];
    Err e = {{0}};
    FileMap map;
    snprintf(path, sizeof path, "%s/final/model.safetensors", r->dir);
    if (!path_exists(path) || !file_map(&map, path, &e)) return true;
    const bool small = map.n <= MAX_HASHED;
    file_unmap(&map);
    if (small && !run_files_digest(&r->files, &e)) *r->files.hex = 0;
    return !fail_of_memory(&e) || fail(told, "%s", e.line);
}

static bool read_arm_run(ArmRun *r, Section *s, const OptionTable *const *tables, Err *e) {
    char log[1100], timing[1100], replies[1100];
    if (!path_join(log, sizeof log, r->dir, "log.jsonl", e) ||
        !path_join(timing, sizeof timing, r->dir, "timing.jsonl", e) ||
        !path_join(replies, sizeof replies, r->dir, "replies.jsonl", e))
        return false;
    r->seed = NAN;
    r->files.dir = r->dir;
    if (!path_is_folder(r->dir))
        return fail(e, "%s: found no folder, expected that of a run: [SECTION/][NAME=]RUN[,RUN...]", r->dir);
    if (path_exists(log)) {
        if (!run_files_read(&r->files, r->dir, tables, e)) return false;
        if (!json_get(r->files.config, "options") || !json_get(r->files.config, "command"))
            return fail(e, "%s/config.json: no \"command\" or no \"options\": this is no run's", r->dir);
        r->seed = json_path(r->files.config, "options.seed");
    } else if (!path_exists(replies))
        return fail(e, "%s: is no run: found neither log.jsonl nor replies.jsonl", r->dir);
    if (!read_digest(r, e)) return false;
    if (path_exists(timing) && !json_lines_read(&r->timing, timing, true, e)) return false;
    const Json *command = json_get(r->files.config, "command");
    if (command && command->type == JSON_STRING && !strcmp(command->string, "reward") && !read_held_out(r, e))
        return false;
    return read_if_there(&r->verdicts, r->dir, "verdicts.json", e) &&
           read_if_there(&r->data, r->dir, "data.json", e) && take_replies(r, s, e);
}

static void free_arm_run(ArmRun *r) {
    run_files_free(&r->files);
    json_lines_free(&r->timing);
    json_lines_free(&r->reply_lines);
    json_free(r->verdicts);
    json_free(r->data);
    json_free(r->held_out);
    if (r->reply) free(r->reply[0].value);
    free(r->reply);
}

void arms_free(Arms *a) {
    for (int s = 0; s < a->n; s++) {
        for (int i = 0; i < a->section[s].n_arm; i++) {
            for (int k = 0; k < a->section[s].arm[i].n_run; k++) free_arm_run(&a->section[s].arm[i].run[k]);
            free(a->section[s].arm[i].run);
        }
        free(a->section[s].arm);
    }
    free(a->section);
}

/* The last line of a log that is over says what the run cost. */
bool arms_are_over(const Arms *a) {
    for (int s = 0; s < a->n; s++)
        for (int i = 0; i < a->section[s].n_arm; i++)
            for (int k = 0; k < a->section[s].arm[i].n_run; k++) {
                const RunFiles *f = &a->section[s].arm[i].run[k].files;
                if (f->config && !json_get(f->log.line[f->log.n - 1], "cost")) return false;
            }
    return true;
}

/* ---- what must agree ---- */

/* Seeds of one arm differ in the seed and in what was made with it: models and files. */
static bool may_differ(const char *name) {
    static const char *const path[] = {"seed",        "model",        "dataset",     "reward_model",
                                       "value_model", "eval_dataset", "ptx_dataset", "demonstrations",
                                       "preferences", NULL};
    for (int i = 0; path[i]; i++)
        if (!strcmp(path[i], name)) return true;
    return !run_option_has_effect(name);
}

bool arm_shares_option(const char *name) { return !may_differ(name); }

static bool same_option(const ArmRun *a, const ArmRun *b, const char *name, const Json *x, const Json *y,
                        Err *e) {
    if (may_differ(name) || json_same(x, y)) return true;
    char *p = json_text(x), *q = json_text(y);
    fail(e,
         "%s and %s are runs of one arm, but differ in more than the seed: %s: %.60s and %.60s; give them as "
         "two arms",
         a->dir, b->dir, name, p, q);
    free(p);
    free(q);
    return false;
}

static bool same_options(const ArmRun *a, const ArmRun *b, Err *e) {
    const Json *x = json_get(a->files.config, "options"), *y = json_get(b->files.config, "options");
    static const char *const about[] = {"command", "real"};
    for (int i = 0; i < 2; i++)
        if (!same_option(a, b, about[i], json_get(a->files.config, about[i]),
                            json_get(b->files.config, about[i]), e))
            return false;
    for (size_t i = 0; i < x->length; i++)
        if (!same_option(a, b, x->item[i].key, &x->item[i], json_get(y, x->item[i].key), e)) return false;
    for (size_t i = 0; i < y->length; i++)
        if (!json_get(x, y->item[i].key) && !same_option(a, b, y->item[i].key, NULL, &y->item[i], e))
            return false;
    return true;
}

static bool check_seeds(const Arm *a, Err *e) {
    for (int i = 0; a->n_run > 1 && i < a->n_run; i++) {
        if (isnan(a->run[i].seed))
            return fail(e,
                        "%s: found no config.json with a seed, expected one: the runs of an arm differ in "
                        "their seed",
                        a->run[i].dir);
        for (int k = 0; k < i; k++)
            if (a->run[k].seed == a->run[i].seed)
                return fail(e, "%s and %s: both have seed %g; the runs of an arm differ in their seed",
                            a->run[k].dir, a->run[i].dir, a->run[i].seed);
        if (!a->run[i].n_reply != !a->run[0].n_reply)
            return fail(e, "%s: %s replies.jsonl, %s %s; give it to all runs of an arm or to none",
                        a->run[i].dir, a->run[i].n_reply ? "has" : "has no", a->run[0].dir,
                        a->run[0].n_reply ? "has" : "has none");
        if (i && !same_options(&a->run[0], &a->run[i], e)) return false;
    }
    return true;
}

static const ArmRun *partner(const Arm *base,
                             const ArmRun *r) { /* the baseline's run that r is compared with */
    for (int i = 0; i < base->n_run; i++)
        if (base->n_run == 1 || base->run[i].seed == r->seed) return &base->run[i];
    return NULL;
}

static bool check_partners(const Section *s, const Arm *a, Err *e) {
    for (int i = 0; arm_has_replies(a) && arm_has_replies(&s->arm[0]) && i < a->n_run; i++)
        if (!partner(&s->arm[0], &a->run[i]))
            return fail(e,
                        "%s: seed %g: the baseline \"%s\" has no run of it, expected the same seeds (or a "
                        "single run of the baseline): differences are paired by seed",
                        a->run[i].dir, a->run[i].seed, s->arm[0].name);
    return true;
}

/* Verdicts in one table are of one judge, under one description. */
static bool check_judges(const Section *s, const Arm *a, Err *e) {
    static const char *const about[] = {"judge", "what"};
    const ArmRun *first = NULL;
    for (int i = 0; i < s->n_arm && !first; i++)
        for (int k = 0; k < s->arm[i].n_run && !first; k++)
            if (s->arm[i].run[k].verdicts) first = &s->arm[i].run[k];
    for (int k = 0; k < a->n_run; k++)
        for (int i = 0; i < 2; i++) {
            const Json *x = first ? json_get(first->verdicts, about[i]) : NULL,
                       *y = json_get(a->run[k].verdicts, about[i]);
            if (!a->run[k].verdicts || json_same(x, y)) continue;
            char *p = json_text(x), *q = json_text(y);
            fail(e,
                 "%s/verdicts.json: %s: found %.80s, %s/verdicts.json of the same section has %.80s: two "
                 "judges cannot stand in one table; give the arms as two sections",
                 a->run[k].dir, about[i], q, first->dir, p);
            free(p);
            free(q);
            return false;
        }
    return true;
}

/* ---- an arm's text ---- */

static const char *last_part(const char *path) {        /* without its folders */
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool take_name(char *out, const char *text, size_t n, const char *what, const char *whole, Err *e) {
    if (!n || n >= NAME_SIZE)
        return fail(e,
                    "found \"%.80s\": the name of the %s has %zu bytes, expected 1 to %d: "
                    "[SECTION/][NAME=]RUN[,RUN...]",
                    whole, what, n, NAME_SIZE - 1);
    snprintf(out, NAME_SIZE, "%.*s", (int)n, text);
    return true;
}

static Section *section_named(Arms *a, const char *name, Err *e) {
    for (int i = 0; i < a->n; i++)
        if (!strcmp(a->section[i].name, name)) return &a->section[i];
    Section *more = grown(a->section, a->n, sizeof *a->section, e);
    if (!more) return NULL;
    a->section = more;
    snprintf(a->section[a->n].name, NAME_SIZE, "%s", name);
    return &a->section[a->n++];
}

/* between: the character that stands between two of them */
static bool take_runs(Arm *arm, Section *s, const OptionTable *const *tables, const char *list,
                      const char *between, Err *e) {
    for (const char *at = list; ; at++) {
        size_t n = strcspn(at, between);
        const char *next = at + n;
        while (n > 1 && at[n - 1] == '/') n--;
        if (arm->n_run == MAX_RUNS) return fail(e, "arm \"%s\": more than %d runs", arm->name, MAX_RUNS);
        ArmRun *more = grown(arm->run, arm->n_run, sizeof *arm->run, e);
        if (!more) return false;
        arm->run = more;
        ArmRun *r = &arm->run[arm->n_run++];
        if (!n || n >= sizeof r->dir)
            return fail(e, "found \"%.80s\", expected the folder of a run: [SECTION/][NAME=]RUN[,RUN...]",
                        list);
        snprintf(r->dir, sizeof r->dir, "%.*s", (int)n, at);
        if (!read_arm_run(r, s, tables, e)) return false;
        at = next;
        if (!*at) return true;
    }
}

static bool add_arm(Arms *a, const char *section, const char *name, const char *runs, const char *between,
                    const char *text, Err *e) {
    Section *s = section_named(a, section, e);
    if (!s) return false;
    for (int i = 0; i < s->n_arm; i++)
        if (!strcmp(s->arm[i].name, name))
            return fail(e,
                        "found \"%.80s\": section \"%s\" has an arm named \"%s\" already; name it: NAME=RUN",
                        text, section, name);
    Arm *more = grown(s->arm, s->n_arm, sizeof *s->arm, e);
    if (!more) return false;
    s->arm = more;
    Arm *arm = &s->arm[s->n_arm++];
    snprintf(arm->name, NAME_SIZE, "%s", name);
    return take_runs(arm, s, a->tables, runs, between, e) && check_seeds(arm, e) &&
           check_partners(s, arm, e) && check_judges(s, arm, e);
}

bool arms_add_folder(Arms *a, const char *name, const char *dir, Err *e) {
    return add_arm(a, "", name, dir, "", dir, e);
}

bool arms_add(Arms *a, const char *text, Err *e) {
    char section[NAME_SIZE] = "", name[NAME_SIZE];
    const char *equals = strchr(text, '='), *runs = equals ? equals + 1 : text,
               *slash = equals ? memchr(text, '/', (size_t)(equals - text)) : NULL;
    if (equals) {
        if (slash && !take_name(section, text, (size_t)(slash - text), "section", text, e)) return false;
        const char *from = slash ? slash + 1 : text;
        if (!take_name(name, from, (size_t)(equals - from), "arm", text, e)) return false;
    } else {
        char first[1024];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(text, ","), text);
        for (size_t n = strlen(first); n > 1 && first[n - 1] == '/'; n--) first[n - 1] = 0;
        if (!take_name(name, last_part(first), strlen(last_part(first)), "arm", text, e)) return false;
    }
    return add_arm(a, section, name, runs, ",", text, e);
}

const char *arm_command(const Arm *a) {
    const Json *command = json_get(a->run[0].files.config, "command");
    return command && command->type == JSON_STRING ? command->string : "";
}

bool arm_has_replies(const Arm *a) { return a->run[0].n_reply > 0; }

/* ---- figures ---- */

int section_n_reply(const Section *s, int row) {
    const ArmRun *p = section_pattern(s);
    int n = 0;
    for (int i = 0; p && i < p->n_reply; i++) n += reply_in_row(s, &p->reply[i], row);
    return n;
}

Figure figure_of(const double *by_run, int n) {
    const Stats s = stats_of(by_run, (size_t)n);
    Figure f = {.mean = s.mean, .half = s.half_width, .n = n};
    for (int i = 0; i < n; i++) f.by_run[i] = by_run[i];
    return f;
}

/* Of one run, less its partner `base` reply by reply unless that is NULL: the mean over replies, the interval
 * over prompts, whose replies lie side by side. */
static void over_prompts(Figure *f, const Section *s, const ArmRun *r, const ArmRun *base, int row, int q) {
    double *all = r->reply[0].value + (size_t)r->n_reply * (size_t)s->n_quantity, *prompt = all + r->n_reply;
    size_t n_all = 0, n_prompt = 0;
    for (int i = 0; i < r->n_reply; ) {
        const ArmReply *first = &r->reply[i];
        const size_t begin = n_all;
        for (; i < r->n_reply && r->reply[i].split == first->split &&
               !strcmp(r->reply[i].prompt, first->prompt);
             i++)
            if (reply_in_row(s, first, row))
                all[n_all++] = r->reply[i].value[q] - (base ? base->reply[i].value[q] : 0);
        if (n_all > begin) prompt[n_prompt++] = stats_of(all + begin, n_all - begin).mean;
    }
    f->mean = stats_of(all, n_all).mean;
    f->half = stats_of(prompt, n_prompt).half_width;
}

static Figure of_run(const Section *s, const ArmRun *r, const ArmRun *base, int row, int q) {
    Figure f = {.mean = NAN, .half = NAN, .n = 1, .over_prompts = true};
    /* a property of the row: there is no interval over prompts */
    if (q == s->n_quantity - 1) f.mean = r->distinct[row] - (base ? base->distinct[row] : 0);
    else if (r->n_reply) over_prompts(&f, s, r, base, row, q);
    f.by_run[0] = f.mean;
    return f;
}

Figure run_figure(const Section *s, const ArmRun *r, int row, int quantity) {
    return of_run(s, r, NULL, row, quantity);
}

static Figure of_arm(const Section *s, const Arm *a, const Arm *base, int row, int q) {
    double mean[MAX_RUNS] = {0};
    if (a->n_run == 1) return of_run(s, &a->run[0], base ? partner(base, &a->run[0]) : NULL, row, q);
    for (int i = 0; i < a->n_run; i++)
        mean[i] = of_run(s, &a->run[i], base ? partner(base, &a->run[i]) : NULL, row, q).mean;
    return figure_of(mean, a->n_run);
}

Figure arm_figure(const Section *s, const Arm *a, int row, int quantity) {
    return of_arm(s, a, NULL, row, quantity);
}
Figure arm_difference(const Section *s, const Arm *a, int row, int quantity) {
    return of_arm(s, a, &s->arm[0], row, quantity);
}

Figure arm_held_out(const Arm *a, const char *label, const char *metric) {
    double x[MAX_RUNS] = {0};
    for (int i = 0; i < a->n_run; i++) x[i] = json_member(json_get(a->run[i].held_out, label), metric);
    return figure_of(x, a->n_run);
}

int figure_verdict(const Figure *f) { return f->mean - f->half > 0 ? 1 : f->mean + f->half < 0 ? -1 : 0; }

/* ---- costs ---- */

double log_step(const Json *line) { return json_member(line, "step"); }

double json_member(const Json *v, const char *key) {
    const Json *m = json_get(v, key);
    return m && m->type == JSON_NUMBER ? m->number : NAN;
}

double json_path(const Json *v, const char *path) {
    for (const char *at = path; v; ) {
        char key[64];
        const size_t n = strcspn(at, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, at);
        v = json_get(v, key);
        if (!at[n]) return v && v->type == JSON_NUMBER ? v->number : NAN;
        at += n + 1;
    }
    return NAN;
}

static const Json *last_with(const JsonLines *l, const char *key) {
    for (int i = l->n - 1; i >= 0; i--)
        if (json_get(l->line[i], key)) return json_get(l->line[i], key);
    return NULL;
}

static double mean_over(const Arm *a, double (*of)(const ArmRun *, const char *), const char *what) {
    double x[MAX_RUNS] = {0};
    for (int i = 0; i < a->n_run; i++) x[i] = of(&a->run[i], what);
    return stats_of(x, (size_t)a->n_run).mean;
}

/* What it took to make the run's data (data.json) is added to what is spent, operations and seconds, not to
 * what is held at once. */
static double with_data(const ArmRun *r, double own, const char *path) {
    const double more = json_path(r->data, path);
    return isnan(more) ? own : own + more;
}

static double cost_of(const ArmRun *r, const char *path) {
    char whole[80];
    const double own = json_path(last_with(&r->files.log, "cost"), path);
    snprintf(whole, sizeof whole, "cost.%s", path);
    return strstr(path, "memory") ? own : with_data(r, own, whole);
}

static double timing_of(const ArmRun *r, const char *key) {
    const Json *v = last_with(&r->timing, key);
    const double own = v && v->type == JSON_NUMBER ? v->number : NAN;
    return strstr(key, "bytes") ? own : with_data(r, own, key);
}

static double data_cost_of(const ArmRun *r, const char *path) { return json_path(r->data, path); }

static double seconds_of(const ArmRun *r, const char *key) {
    const double whole = timing_of(r, key);
    double sum = 0;
    if (!isnan(whole) || !r->timing.n) return whole;
    for (int i = 0; i < r->timing.n; i++) {
        const double x = json_path(r->timing.line[i], "step_time");
        sum += isnan(x) ? 0 : x;
    }
    return sum;
}

double arm_cost(const Arm *a, const char *path) { return mean_over(a, cost_of, path); }
double arm_timing(const Arm *a, const char *key) { return mean_over(a, timing_of, key); }
double arm_data_cost(const Arm *a, const char *path) { return mean_over(a, data_cost_of, path); }
double arm_seconds(const Arm *a) { return mean_over(a, seconds_of, "train_runtime"); }

const char *const token_kind[] = {"prompt", "completion", NULL};
const char *const memory_kind[] = {"weights",   "gradients", "optimizer", "cache", "activations",
                                   "reference", "reward",    "critic",    NULL};

double arm_cost_total(const Arm *a, const char *part, const char *const *kind) {
    double sum = NAN;
    for (int k = 0; kind[k]; k++) {
        char path[64];
        snprintf(path, sizeof path, "%s.%s", part, kind[k]);
        const double x = arm_cost(a, path);
        if (!isnan(x)) sum = isnan(sum) ? x : sum + x;
    }
    return sum;
}
