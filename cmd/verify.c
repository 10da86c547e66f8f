/* verify.c: `grpo verify`: options, the models, the double build as judge, and the report as text, JSON and
 * JUnit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "run/options.h"
#include "verify/data.h"
#include "lib/files.h"
#include "lib/say.h"
#include "tokenizer.h"
#include "verify/known.h"
#include "verify/profiles.h"
#include "verify/words.h"
#include "verify/write.h"

typedef struct {
    const char *dump, *model, *old_model, *ref_model, *profile, *junit, *write, *dataset, *settings,
        *float_values;
    bool json, list, profiles, sharp, quick, strict;
} VerifyConfig;

#define AT(member) offsetof(VerifyConfig, member)
static const Setting rows[] = {
    {"dump", SET_STRING, AT(dump), NULL, NULL,
     "what another program computed for one batch (docs/verify.md)"},
    {"model", SET_STRING, AT(model), NULL, NULL,
     "folder of the policy, for logits, log-probabilities, gradients and the step"},
    {"old_model", SET_STRING, AT(old_model), NULL, NULL,
     "folder of the policy that generated, if it is another"},
    {"ref_model", SET_STRING, AT(ref_model), NULL, NULL, "folder of the reference policy"},
    {"profile", SET_STRING, AT(profile), NULL, NULL,
     "what the other program means to be, and its release: trl-1.16, verl-0.9, openrlhf, ... (--profiles); "
     "the dump's own if not given"},
    {"dialect", SET_STRING, AT(profile), NULL, NULL, "the same"},
    {"quick", SET_BOOL, AT(quick), "false", NULL, "do not look for two mistakes at once"},
    {"strict", SET_BOOL, AT(strict), "false", NULL,
     "exit code 1, not 3, for what another trainer does on purpose but the declared one does not"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the report as JSON"},
    {"junit", SET_STRING, AT(junit), NULL, NULL, "the report as JUnit XML too, into this file"},
    {"list", SET_BOOL, AT(list), "false", NULL, "print the catalogue of mistakes"},
    {"profiles", SET_BOOL, AT(profiles), "false", NULL, "print what each trainer does, and its options"},
    {"write", SET_STRING, AT(write), NULL, NULL,
     "write right values for the dump's inputs into this file; with --sharp a folder"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL,
     "with --write and --model: JSONL of prompt, completion and labels instead of a dump's inputs"},
    {"settings", SET_STRING, AT(settings), NULL, NULL,
     "with --dataset: JSON file with the options of the step (loss_type, beta, ...)"},
    {"sharp", SET_BOOL, AT(sharp), "false", NULL,
     "with --write: tiny cases of our own on which every mistake shows"},
    {"float_values", SET_STRING, AT(float_values), NULL, NULL,
     "values of the float build, which passes them to the double one"},
    SETTINGS_END};
static const OptionTable table = {
    "verify", "whether another program's numbers are right, by how much not, and why",
    "grpo verify --dump step1.safetensors --model models/policy --profile trl-1.16",
    .part = {{rows, 0}}};

/* ---- models ---- */
typedef struct { Model *policy, *old, *reference; FolderInfo info; Tokenizer *tokenizer; } Loaded;

static bool load_one(Model **m, FolderInfo *info, const char *dir, const Dump *d, Err *e) {
    if (!dir) return true;
    if (!(*m = folder_load(dir, info, e))) return false;
    if ((*m)->config.n_label) return fail(e, "%s: found a reward model, expected a language model", dir);
    if ((size_t)(*m)->config.context < d->width + (d->whole_rows ? 0 : d->prompt_width))
        return fail(e, "%s: found a context of %d tokens, expected at least the dump's %zu columns", dir,
                    (*m)->config.context, d->width + d->prompt_width);
    return true;
}

static void unload(Loaded *l) {
    model_free(l->policy);
    model_free(l->old);
    model_free(l->reference);
    if (l->tokenizer) tokenizer_free(l->tokenizer);
}

static bool verify_load(Loaded *l, Dump *d, const VerifyConfig *c, Err *e) {
    FolderInfo other;
    if (!load_one(&l->policy, &l->info, c->model, d, e) || !load_one(&l->old, &other, c->old_model, d, e) ||
        !load_one(&l->reference, &other, c->ref_model, d, e))
        return false;
    Err none = {{0}};
    /* for the token's text only */
    if (c->model) l->tokenizer = tokenizer_load(c->model, &none);
    return !c->model || dump_model(d, &l->policy->config, &l->info, c->model, e);
}

/* ---- the catalogue ---- */
static void tell_catalogue(const Json *v) {
    printf("%-24s %-6s %-40s %s\n", "name", "", "stages", "what is done, and below it the formula");
    for (size_t i = 0; i < v->length; i++) {
        const Json *m = &v->item[i], *all = json_get(m, "stages");
        char stages[200] = "";
        for (size_t s = 0; s < all->length; s++)
            snprintf(stages + strlen(stages), sizeof stages - strlen(stages), s ? ",%s" : "%s",
                     all->item[s].string);
        say(m, "{name%-24s} {equation%-6s} ");
        printf("%-40s ", stages);
        say(m, "{explanation}\n");
        say(m, json_get(m, "done_by")->type == JSON_STRING ? "    {formula}; done by {done_by}\n"
                                                           : "    {formula}\n");
    }
    printf("\nwhat a dump of a GRPO step cannot hold:\n");
    for (const Absent *a = absent_mistakes; a->name; a++)
        printf("%-24s %s: %s\n", a->name, a->line, a->reason);
}

static int list_catalogue(bool json, Err *e) {
    JsonWriter w = {.indent = 1};
    json_begin(&w, '[');
    for (int i = 0; i < n_mistake; i++) {
        const Mistake *m = &mistakes[i];
        json_begin(&w, '{');
        json_put_string(&w, "name", m->name);
        json_put_string(&w, "equation", m->equation);
        json_open(&w, "stages", '[');
        for (int s = 0; s < N_STAGE; s++) if (m->stages >> s & 1) json_string(&w, stage_info[s].name);
        json_end(&w, ']');
        const Known *k = known_name(m->name);
        json_put_string(&w, "explanation", m->line);
        json_put_string(&w, "formula", k ? k->formula : NULL);
        json_put_string(&w, "done_by", k ? k->by : NULL);
        json_end(&w, '}');
    }
    json_end(&w, ']');
    return say_result(&w, json, tell_catalogue, e) ? 0 : -1;
}

/* ---- the trainers ---- */
static void tell_profiles(const Json *v) {
    for (size_t i = 0; i < v->length; i++) {
        const Json *p = &v->item[i], *note = json_get(p, "note");
        say(p, json_get(p, "since")->type == JSON_NULL ? "{name}" : "{name} {since} to {until}");
        say(p, " (read: {read}; {source})\n");
        for (int k = 0; k < N_CELL; k++) {
            const Json *cell = json_get(p, profile_cells[k].name);
            printf("  %-12s %s\n", profile_cells[k].name, cell->string);
        }
        if (note->type != JSON_NULL) say(p, "  {note}\n");
    }
}

static int list_profiles(bool json, Err *e) {
    JsonWriter w = {.indent = 1};
    return profiles_write(&w, e) && say_result(&w, json, tell_profiles, e) ? 0 : -1;
}

/* ---- the report ---- */
/* "reply 3, token 7 \"ly\"", or the element of a parameter. */
static void place_text(char *out, size_t size, const Report *r, const Item *x, const Loaded *l) {
    long row, position;
    item_place(&row, &position, r, x, x->worst);
    *out = 0;
    if (row < 0) {
        if (x->count > 1) snprintf(out, size, "element %zu", x->worst);
        return;
    }
    if (position < 0) { snprintf(out, size, "completion %ld", row); return; }
    snprintf(out, size, "completion %ld, token %ld", row, position);
    const size_t at = stage_info[x->stage].shape == SHAPE_LOGITS
                          ? x->worst / r->d->tensor[STAGE_LOGITS]->shape[2]
                          : x->worst;
    if (!l->tokenizer || !r->d->id || r->d->id[at] < 0 || r->d->id[at] >= tokenizer_vocab(l->tokenizer))
        return;
    Err none = {{0}};
    char *text = tokenizer_decode(l->tokenizer, &r->d->id[at], 1, false, NULL, &none);
    for (char *c = text; c && *c; c++) if ((unsigned char)*c < 0x20) *c = ' ';
    if (text) snprintf(out + strlen(out), size - strlen(out), " \"%.24s\"", text);
    free(text);
}

static void json_item(JsonWriter *w, const Report *r, const Item *x, const Loaded *l) {
    long row, position;
    char place[128];
    item_place(&row, &position, r, x, x->worst);
    place_text(place, sizeof place, r, x, l);
    json_begin(w, '{');
    json_put_string(w, "name", x->name);
    json_put_string(w, "dtype",
                    stage_info[x->stage].shape == SHAPE_MASK ? "mask" : precision_names[x->precision]);
    json_put_int(w, "elements", (long long)x->n_judged);
    json_put_bool(w, "within", x->within);
    json_put(w, "max_abs_error", x->max_abs), json_put(w, "mean_abs_error", x->mean_abs),
        json_put(w, "max_rel_error", x->max_rel), json_put(w, "max_ulps", x->ulps);
    json_put(w, "tolerance", x->tolerance), json_put(w, "our_float_error", x->ours);
    json_open(w, "worst", '{');
    json_put_string(w, "place", place);
    if (row >= 0) json_put_int(w, "completion", row);
    if (position >= 0) json_put_int(w, "position", position);
    json_put_int(w, "element", (long long)x->worst);
    json_put(w, "found", x->worst_given), json_put(w, "right", x->worst_right);
    json_end(w, '}');
    json_end(w, '}');
}

static void json_gap(JsonWriter *w, const char *key, const Gap *g) {
    json_open(w, key, '{');
    json_put_int(w, "tokens", (long long)g->n);
    json_put(w, "mean", g->mean), json_put(w, "sd", g->sd), json_put(w, "p95", g->p95),
        json_put(w, "max", g->max), json_put(w, "share_outside", g->outside);
    json_end(w, '}');
}

/* What explains a stage, each with its words, its formula and who does so on purpose. */
static void json_causes(JsonWriter *w, const StageReport *x) {
    json_open(w, "names", '[');
    for (int i = 0; i < x->n_name; i++) json_string(w, x->name[i]);
    json_end(w, ']');
    json_open(w, "causes", '[');
    for (int i = 0; i < x->n_name; i++) {
        const Known *k = known_name(x->name[i]);
        json_begin(w, '{');
        json_put_string(w, "name", x->name[i]);
        json_put_string(w, "explanation", x->text[i]);
        json_put_string(w, "formula", k ? k->formula : NULL);
        json_put_string(w, "done_by", k ? k->by : NULL);
        json_end(w, '}');
    }
    json_end(w, ']');
}

static void put_report(JsonWriter *w, const Report *r, const Loaded *l, bool strict) {
    static const char *const verdict_kinds[] = {"right", "right-as", "differs", "wrong", "unknown"},
                      *const outcomes[] = {"right", "choice", "wrong"};
    char answer[6000];
    const Dump *d = r->d;
    const GrpoConfig *g = &d->set.grpo;
    int blind, all;
    json_begin(w, '{');
    json_put_string(w, "dump", d->path);
    json_put_string(w, "dialect", d->set.label);
    report_answer(answer, sizeof answer, r);
    json_put_string(w, "answer", answer);
    json_put_string(w, "outcome", outcomes[report_outcome(r)]);
    json_put_bool(w, "right", report_outcome(r) == OUTCOME_RIGHT);
    json_put_bool(w, "strict", strict);
    json_put_int(w, "completions", (long long)d->n);
    json_put_int(w, "columns", (long long)d->width);
    json_put_bool(w, "whole_rows", d->whole_rows);
    json_put_int(w, "labels", (long long)d->n_label);
    json_put_string(w, "producer", d->producer);
    json_open(w, "declared", '{');
    json_put_string(w, "dialect", d->set.profile_given ? "" : " (not said)");
    json_put_string(w, "loss_type", loss_type_names[g->loss_type]);
    json_put_string(w, "level", importance_sampling_level_names[g->importance_sampling_level]);
    json_put_string(w, "scale_rewards", scale_rewards_names[g->scale_rewards]);
    json_put_string(w, "aggregation", multi_objective_aggregation_names[g->multi_objective_aggregation]);
    json_put(w, "beta", g->beta);
    json_put(w, "temperature", d->set.sampling.temperature);
    json_put_string(w, "unused_keys", d->unused_keys);
    json_put_string(w, "unused_tensors", d->unused_tensors);
    json_end(w, '}');
    json_open(w, "stages", '[');
    for (int s = 0; s < N_STAGE; s++) {
        const StageReport *x = &r->stage[s];
        char verdict[2000], declares[600];
        if (!x->judged) continue;
        report_verdict(verdict, sizeof verdict, r, (Stage)s);
        json_begin(w, '{');
        json_put_string(w, "stage", stage_info[s].name);
        json_put_string(w, "equation", stage_info[s].equation);
        json_put_string(w, "kind", verdict_kinds[x->verdict]);
        json_put_string(w, "verdict", verdict);
        json_causes(w, x);
        report_declared(declares, sizeof declares, r, (Stage)s);
        if (x->verdict >= VERDICT_DIFFERS && *declares) json_put_string(w, "declared", declares);
        if (*x->note) json_put_string(w, "note", x->note);
        json_open(w, "tensors", '[');
        for (int i = 0; i < x->n; i++) json_item(w, r, &r->item[x->first + i], l);
        json_end(w, ']');
        json_end(w, '}');
    }
    json_end(w, ']');
    json_open(w, "not_judged", '[');
    for (int s = 0; s < N_STAGE; s++) {
        if (!r->stage[s].present || r->stage[s].judged) continue;
        json_begin(w, '{');
        json_put_string(w, "stage", stage_info[s].name);
        json_put_string(w, "reason", r->stage[s].obstacle);
        json_end(w, '}');
    }
    json_end(w, ']');
    if (r->table.there) {
        json_open(w, "sampler", '{');
        json_gap(w, "trainer_minus_sampler", &r->table.both);
        if (r->table.oracle)
            json_gap(w, "trainer_minus_double", &r->table.trainer),
                json_gap(w, "sampler_minus_double", &r->table.sampler);
        json_end(w, '}');
    }
    blind_counts(r, &blind, &all);
    json_open(w, "blind", '{');
    json_put_int(w, "count", blind);
    json_put_int(w, "of", all);
    json_open(w, "mistakes", '[');
    for (int i = 0; i < n_mistake; i++) {
        if (r->visible[i] != HIDDEN) continue;
        json_begin(w, '{');
        json_put_string(w, "name", mistakes[i].name);
        json_put_string(w, "reason", mistakes[i].hidden);
        json_end(w, '}');
    }
    json_end(w, ']');
    json_open(w, "untried", '[');
    for (int i = 0; i < n_mistake; i++) if (r->visible[i] == UNTRIED) json_string(w, mistakes[i].name);
    json_end(w, ']');
    json_end(w, '}');
    json_end(w, '}');
}

/* ---- the report as text ---- */
static double beyond(const Json *tensor) {      /* its error, in tolerances where it has one */
    const Json *error = json_get(tensor, "max_abs_error"), *tolerance = json_get(tensor, "tolerance");
    if (error->type != JSON_NUMBER) return INFINITY;
    return tolerance->number > 0 ? error->number / tolerance->number : error->number;
}

/* Of a stage's tensors the one that is farthest off; NULL where it has none. */
static const Json *worst_tensor(const Json *stage) {
    const Json *all = json_get(stage, "tensors"), *worst = all->length ? all->item : NULL;
    for (size_t i = 1; i < all->length; i++) if (beyond(&all->item[i]) > beyond(worst)) worst = &all->item[i];
    return worst;
}

static bool stage_right(const Json *stage) { return !strncmp(json_get(stage, "kind")->string, "right", 5); }
/* Whether it makes the exit code 1: another trainer's choice does so only with --strict. */
static bool stage_fails(const Json *stage, const Json *report) {
    const bool strict = json_get(report, "strict")->number != 0;
    return !stage_right(stage) && (strict || strcmp(json_get(stage, "kind")->string, "differs"));
}

static void tell_blind(const Json *blind) {
    const Json *all = json_get(blind, "mistakes"), *untried = json_get(blind, "untried");
    if (json_get(blind, "of")->number == 0) return;
    say(blind, "\nblind to {count} of {of} mistakes that could stand in these stages");
    puts(all->length ? ":" : "; every one of them would have shown");
    for (size_t i = 0; i < all->length; i++) {          /* those of one reason together */
        const char *reason = json_get(&all->item[i], "reason")->string;
        size_t k = 0;
        while (strcmp(json_get(&all->item[k], "reason")->string, reason)) k++;
        if (k < i) continue;
        printf("  %s:", *reason ? reason : "no difference beyond the tolerance");
        for (; k < all->length; k++)
            if (!strcmp(json_get(&all->item[k], "reason")->string, reason))
                say(&all->item[k], k > i ? ", {name}" : " {name}");
        putchar('\n');
    }
    for (size_t i = 0; i < untried->length; i++)
        printf("%s %s", i ? "," : "not tried on a model of this size while all is right:",
               untried->item[i].string);
    if (untried->length) putchar('\n');
}

static void tell_stage(const Json *x) {
    static const char *const error_name[] = {"max_abs_error", "mean_abs_error", "max_rel_error", "max_ulps"};
    const Json *worst = worst_tensor(x);
    const size_t n = json_get(x, "tensors")->length;
    say(x, worst ? "{stage%-15s} " : "{stage%-15s}\n");
    if (worst) {
        say(worst, "{dtype%-8s} ");
        for (int k = 0; k < 4; k++) {                   /* JSON has no infinity: null */
            const Json *error = json_get(worst, error_name[k]);
            printf(k < 3 ? "%9.2g " : "%9.3g ", error->type == JSON_NUMBER ? error->number : INFINITY);
        }
        say(worst, "{tolerance%9.2g} {our_float_error%9.2g}  ");
        say(worst, n > 1 ? "{name} {worst.place}" : "{worst.place}");
        if (n > 1) printf(" (%zu tensors)", n);
        putchar('\n');
        if (strcmp(json_get(x, "kind")->string, "right") &&
            json_get(json_get(worst, "worst"), "found")->type == JSON_NUMBER)
            say(worst, "                found {worst.found%.9g}, right is {worst.right%.9g}\n");
    }
    say(x, json_get(x, "note") ? "                {verdict}; {note}\n" : "                {verdict}\n");
    for (size_t i = 0; i < json_get(x, "causes")->length; i++)
        if (json_get(&json_get(x, "causes")->item[i], "formula")->type == JSON_STRING)
            say(&json_get(x, "causes")->item[i], "                {name}: {formula}\n");
    if (json_get(x, "declared")) say(x, "                {declared}\n");
}

static void tell_report(const Json *v) {
    const Json *stages = json_get(v, "stages"), *not_judged = json_get(v, "not_judged"),
               *gaps = json_get(v, "sampler"), *declared = json_get(v, "declared");
    static const char *const gap_name[] = {"trainer - sampler", "trainer - double precision",
                                           "sampler - double precision"};
    int right = 0;
    say(v, "{answer}\n{dump}: {completions} completions");
    if (json_get(v, "columns")->number > 0)
        say(v, json_get(v, "whole_rows")->number != 0
                   ? ", {columns} columns (prompt and completion in one row)"
                   : ", {columns} columns");
    if (json_get(v, "labels")->number > 0) say(v, ", {labels} labels");
    if (json_get(v, "producer")->type == JSON_STRING) say(v, "; by {producer%.60s}");
    say(v, "\ndeclared: {dialect}{declared.dialect}, loss_type {declared.loss_type}, ratio per "
           "{declared.level}, scale_rewards {declared.scale_rewards}, {declared.aggregation}, beta "
           "{declared.beta%g}, temperature {declared.temperature%g}\n");
    if (json_get(declared, "unused_keys")->length) say(v, "not used, of config: {declared.unused_keys}\n");
    if (json_get(declared, "unused_tensors")->length)
        say(v, "not used, of tensors: {declared.unused_tensors}\n");
    printf("\n%-15s %-8s %9s %9s %9s %9s %9s %9s  %s\n", "stage", "type", "max error", "mean", "relative",
           "ulps", "tolerance", "our float", "worst at");
    for (size_t i = 0; i < stages->length; i++) {
        tell_stage(&stages->item[i]);
        right += stage_right(&stages->item[i]);
    }
    for (size_t i = 0; i < not_judged->length; i++)
        say(&not_judged->item[i], "{stage%-15s} not judged: {reason}\n");
    if (gaps)
        printf("\nlog-probabilities: %-9s %10s %10s %10s %10s %s\n", "", "mean", "sd", "p95", "max",
               "ratio outside the clip band");
    for (size_t i = 0; gaps && i < gaps->length; i++) {
        printf("  %-28s", gap_name[i]);
        say(&gaps->item[i], " {mean%10.3g} {sd%10.3g} {p95%10.3g} {max%10.3g} ");
        printf("%9.2f %%", 100 * json_get(&gaps->item[i], "share_outside")->number);
        say(&gaps->item[i], "  ({tokens} tokens)\n");
    }
    tell_blind(json_get(v, "blind"));
    printf("\n%d of %zu stages right%s\n", right, stages->length,
           right < (int)stages->length ? "" : ", as far as this dump can show");
}

/* ---- JUnit ---- */
static bool write_junit(const char *path, const Json *v, Err *e) {
    const Json *stages = json_get(v, "stages"), *not_judged = json_get(v, "not_judged");
    FILE *f = fopen(path, "w");
    if (!f) return fail(e, "%s: could not be written", path);
    size_t failures = stages->length;
    for (size_t i = 0; i < stages->length; i++) failures -= !stage_fails(&stages->item[i], v);
    fprintf(f,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"grpo verify\" tests=\"%zu\" "
            "failures=\"%zu\" skipped=\"%zu\">\n",
            stages->length + not_judged->length, failures, not_judged->length);
    for (size_t i = 0; i < stages->length + not_judged->length; i++) {
        const bool judged = i < stages->length;
        const Json *x = judged ? &stages->item[i] : &not_judged->item[i - stages->length];
        say_html(f, v, "  <testcase classname=\"{dump}\"");
        say_html(f, x, " name=\"{stage}\">");
        if (!judged) say_html(f, x, "<skipped message=\"{reason}\"/>");
        else if (stage_fails(x, v)) {
            say_html(f, x, "<failure message=\"{verdict}\">");
            if (worst_tensor(x))
                say_html(f, worst_tensor(x),
                         "{name}: largest error {max_abs_error%g}, tolerance {tolerance%g}; {worst.place}: "
                         "found {worst.found%.9g}, right is {worst.right%.9g}");
            fputs("</failure>", f);
        }
        fputs("</testcase>\n", f);
    }
    say_html(f, v, "  <system-out>blind to {blind.count} of {blind.of} mistakes</system-out>\n"
                   "</testsuite>\n");
    return !fclose(f) || fail(e, "%s: could not be written whole", path);
}

/* ---- float and double ---- */
/* `grpo64` beside the running program; where that cannot be known, the one on PATH. */
static void double_build(char *path, size_t size) {
    const ssize_t n = readlink("/proc/self/exe", path, size - 8);
    char *slash = NULL;
    if (n > 0) path[n] = 0, slash = strrchr(path, '/');
    if (slash) strcpy(slash + 1, "grpo64");
    else snprintf(path, size, "grpo64");
}

/* The same command in the double build, which reads our float values from a file. Returns its exit code, or
 * -1. */
static int judge_in_double(int argc, char **argv, const char *values, Err *e) {
    char program[1100];
    double_build(program, sizeof program);
    if (strchr(program, '/') && access(program, X_OK)) {
        fail(e,
             "%s: not found; the dump is judged in double precision: `make grpo64` builds it, beside this "
             "program",
             program);
        return -1;
    }
    char **args = calloc((size_t)argc + 4, sizeof *args);
    if (!args) { fail(e, "no memory"); return -1; }
    args[0] = program;
    for (int i = 0; i < argc; i++) args[i + 1] = argv[i];
    args[argc + 1] = "--float-values";
    args[argc + 2] = (char *)values;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        execvp(program, args);
        fprintf(stderr, "grpo verify: %s: could not be started; `make grpo64` builds it\n", program);
        _exit(2);
    }
    free(args);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        fail(e, "%s: could not be started", program);
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* A dump of which nothing can be judged is no dump that is right: the line names what its first stage lacks.
 */
static bool something_judged(const Report *r, Err *e) {
    const char *lacks = NULL, *stage = NULL;
    for (int s = 0; s < N_STAGE; s++) {
        if (r->stage[s].judged) return true;
        if (r->stage[s].present && !lacks) lacks = r->stage[s].obstacle, stage = stage_info[s].name;
    }
    return stage ? fail(e, "%s: nothing could be judged; %s: %s", r->d->path, stage, lacks)
                 : fail(e, "%s: nothing could be judged: it holds inputs only, and no results", r->d->path);
}

static int judge_here(const VerifyConfig *c, Dump *d, const Policies *model, const Loaded *l, Err *e) {
    Report r;
    JsonWriter w = {.indent = 1};
    Json *v = NULL;
    int code = -1;
    if (report_make(&r, d, model, c->float_values, c->quick, e) && something_judged(&r, e)) {
        put_report(&w, &r, l, c->strict);
        v = json_parse(w.text, w.length, "the report", 1, e);
    }
    if (v && (!c->junit || write_junit(c->junit, v, e))) {
        const Outcome outcome = report_outcome(&r);
        const bool told = !c->json || json_print(&w, "\n", e);
        if (!c->json) tell_report(v);
        code = !told ? -1 : outcome == OUTCOME_RIGHT ? 0 : outcome == OUTCOME_WRONG || c->strict ? 1 : 3;
    }
    json_free(v);
    free(w.text);
    report_free(&r);
    return code;
}

static bool with_case(const char *to, const Dump *d, const Policies *model,
                      bool (*write)(const char *, const Case *, Err *), Err *e) {
    Pool p = {0};
    Case c;
    const bool ok = case_open(&c, d, model, &p, e) && write(to, &c, e);
    pool_free(&p);
    return ok;
}

/* A file of our own that is removed when done with. */
static bool scratch_file(char path[1100], Err *e) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, 1100, "%.1000s/grpo-verify-XXXXXX", folder && *folder ? folder : "/tmp");
    const int fd = mkstemp(path);
    if (fd < 0) return fail(e, "%s: could not be written; set TMPDIR to a folder that can", path);
    close(fd);
    return true;
}

static int judge_float(Dump *d, const Policies *model, int argc, char **argv, Err *e) {
    char values[1100];
    if (!scratch_file(values, e)) return -1;
    const int code =
        with_case(values, d, model, write_values, e) ? judge_in_double(argc, argv, values, e) : -1;
    remove(values);
    return code;
}

static int verify_dump(const VerifyConfig *c, const char *path, int argc, char **argv, Err *e) {
    Dump d;
    Loaded l = {0};
    int code = -1;
    if (!dump_open(&d, path, c->profile, e)) return -1;
    if (verify_load(&l, &d, c, e)) {
        const Policies model = {l.policy, l.old, l.reference};
        if (c->write) {
            Dump inputs;
            dump_inputs(&inputs, &d, l.policy != NULL, l.old != NULL, l.reference != NULL);
            code = with_case(c->write, &inputs, &model, write_golden, e) ? 0 : -1;
        } else
            code =
                sizeof(real) == 4 ? judge_float(&d, &model, argc, argv, e) : judge_here(c, &d, &model, &l, e);
    }
    unload(&l);
    dump_close(&d);
    return code;
}

int cmd_verify(int argc, char **argv, Err *e) {
    VerifyConfig c;
    const int parsed = options_parse(&c, &table, argc, argv, e);
    if (parsed) return parsed < 0 ? -1 : 0;
    if (c.list) return list_catalogue(c.json, e);
    if (c.profiles) return list_profiles(c.json, e);
    if (c.sharp && !c.write) { fail(e, "--sharp: expected --write FOLDER beside it"); return -1; }
    if (c.sharp) return write_sharp(c.write, e) ? 0 : -1;
    if (c.dataset) {
        char inputs[1100];
        if (c.dump || !c.write || !c.model) {
            fail(e, "--dataset: expected --write FILE and --model FOLDER beside it, and no --dump");
            return -1;
        }
        if (!scratch_file(inputs, e)) return -1;
        const int code = verify_data(inputs, c.dataset, c.settings, c.model, e)
                             ? verify_dump(&c, inputs, argc, argv, e)
                             : -1;
        remove(inputs);
        return code;
    }
    if (!c.dump) { fail(e, "--dump: expected a file; grpo verify --help tells more"); return -1; }
    return verify_dump(&c, c.dump, argc, argv, e);
}
