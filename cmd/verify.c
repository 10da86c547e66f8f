/* verify.c: `grpo verify`: options, the models, the double build as judge, and the report as text, JSON and
 * JUnit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "run/options.h"
#include "verify/data.h"
#include "lib/files.h"
#include "tokenizer.h"
#include "verify/diagnose.h"
#include "verify/write.h"

typedef struct {
    const char *dump, *model, *old_model, *ref_model, *dialect, *junit, *write, *dataset, *settings,
        *float_values;
    bool json, list, sharp, quick;
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
    {"dialect", SET_STRING, AT(dialect), NULL, NULL,
     "what the other program means to be: trl-1.16, trl-1.10, verl, openrlhf, dr_grpo, paper; the dump's "
     "own if not given"},
    {"quick", SET_BOOL, AT(quick), "false", NULL, "do not look for two mistakes at once"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the report as JSON"},
    {"junit", SET_STRING, AT(junit), NULL, NULL, "the report as JUnit XML too, into this file"},
    {"list", SET_BOOL, AT(list), "false", NULL, "print the catalogue of dialects and mistakes"},
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
    "grpo verify --dump step1.safetensors --model models/policy --dialect trl-1.16",
    .part = {{rows, 0}}};

/* ---- models --------------------------------------------------------------------------------- */
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

static bool load(Loaded *l, Dump *d, const VerifyConfig *c, Err *e) {
    FolderInfo other;
    if (!load_one(&l->policy, &l->info, c->model, d, e) || !load_one(&l->old, &other, c->old_model, d, e) ||
        !load_one(&l->reference, &other, c->ref_model, d, e))
        return false;
    Err none = {{0}};
    /* for the token's text only */
    if (c->model) l->tokenizer = tokenizer_load(c->model, &none);
    return !c->model || dump_model(d, &l->policy->config, &l->info, c->model, e);
}

/* ---- the catalogue -------------------------------------------------------------------------- */
static int list_catalogue(bool json) {
    JsonWriter w = {.indent = 1};
    if (json) json_begin(&w, '[');
    else printf("%-24s %-6s %-40s %s\n", "name", "", "stages", "what is done instead of ours");
    for (int i = 0; i < n_mistake; i++) {
        const Mistake *m = &mistakes[i];
        char stages[200] = "";
        for (int s = 0; s < N_STAGE; s++)
            if (m->stages >> s & 1)
                snprintf(stages + strlen(stages), sizeof stages - strlen(stages), "%s%s", *stages ? "," : "",
                         stage_info[s].name);
        if (!json) { printf("%-24s %-6s %-40s %s\n", m->name, m->equation, stages, m->line); continue; }
        json_begin(&w, '{');
        json_put_string(&w, "name", m->name);
        json_put_string(&w, "equation", m->equation);
        json_open(&w, "stages", '[');
        for (int s = 0; s < N_STAGE; s++) if (m->stages >> s & 1) json_string(&w, stage_info[s].name);
        json_end(&w, ']');
        json_put_string(&w, "explanation", m->line);
        json_open(&w, "dialects", '[');
        for (int k = 0; dialect_names[k]; k++)
            if (dialect_has((Dialect)k, m->name)) json_string(&w, dialect_names[k]);
        json_end(&w, ']');
        json_end(&w, '}');
    }
    if (json) {
        json_end(&w, ']');
        printf("%s\n", w.text);
        free(w.text);
        return 0;
    }
    printf("\nwhat a dump of a GRPO step cannot hold:\n");
    for (const Absent *a = absent_mistakes; a->name; a++)
        printf("%-24s %s: %s\n", a->name, a->line, a->reason);
    return 0;
}

/* ---- the report ----------------------------------------------------------------------------- */
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

static const char *const verdict_kinds[] = {"right", "right-as", "differs", "wrong", "unknown"};

static const Item *worst_item(const Report *r, const StageReport *x) {
    const Item *worst = &r->item[x->first];
    for (int i = 1; i < x->n; i++) {
        const Item *it = &r->item[x->first + i];
        if ((it->tolerance > 0 ? it->max_abs / it->tolerance : it->max_abs) >
            (worst->tolerance > 0 ? worst->max_abs / worst->tolerance : worst->max_abs))
            worst = it;
    }
    return worst;
}

static void print_gap(const char *what, const Gap *g) {
    printf("  %-28s %10.3g %10.3g %10.3g %10.3g %9.2f %%  (%zu tokens)\n", what, g->mean, g->sd, g->p95,
           g->max, 100 * g->outside, g->n);
}

static void print_blind(const Report *r) {
    int blind, all;
    blind_counts(r, &blind, &all);
    if (all == 0) return;
    printf("\nblind to %d of %d mistakes that could stand in these stages%s\n", blind, all,
           blind ? ":" : "; every one of them would have shown");
    bool *done = calloc((size_t)n_mistake, sizeof *done);
    for (int i = 0; done && i < n_mistake; i++) {
        if (r->visible[i] != HIDDEN || done[i]) continue;
        printf("  %s:", mistakes[i].hidden[0] ? mistakes[i].hidden : "no difference beyond the tolerance");
        int n = 0;
        for (int k = i; k < n_mistake; k++)
            if (r->visible[k] == HIDDEN && !strcmp(mistakes[k].hidden, mistakes[i].hidden))
                printf("%s %s", n++ ? "," : "", mistakes[k].name), done[k] = true;
        printf("\n");
    }
    free(done);
    int n = 0;
    for (int i = 0; i < n_mistake; i++)
        if (r->visible[i] == UNTRIED)
            printf("%s %s",
                   n++ ? "," : "not tried on a model of this size while all is right:", mistakes[i].name);
    if (n) printf("\n");
}

static void print_report(const Report *r, const Loaded *l) {
    const Dump *d = r->d;
    const GrpoConfig *g = &d->set.grpo;
    int right = 0, wrong = 0;
    printf("%s: %zu completions", d->path, d->n);
    if (d->width)
        printf(", %zu columns%s", d->width, d->whole_rows ? " (prompt and completion in one row)" : "");
    if (d->n_label) printf(", %zu labels", d->n_label);
    if (d->producer) printf("; by %.60s", d->producer);
    printf("\ndeclared: %s%s, loss_type %s, ratio per %s, scale_rewards %s, %s, beta %g, temperature %g\n",
           dialect_names[d->set.dialect], d->set.dialect_given ? "" : " (not said)",
           loss_type_names[g->loss_type], importance_sampling_level_names[g->importance_sampling_level],
           scale_rewards_names[g->scale_rewards],
           multi_objective_aggregation_names[g->multi_objective_aggregation], g->beta,
           d->set.sampling.temperature);
    if (*d->unused_keys) printf("not used, of config: %s\n", d->unused_keys);
    if (*d->unused_tensors) printf("not used, of tensors: %s\n", d->unused_tensors);
    printf("\n%-15s %-8s %9s %9s %9s %9s %9s %9s  %s\n", "stage", "type", "max error", "mean", "relative",
           "ulps", "tolerance", "our float", "worst at");
    for (int s = 0; s < N_STAGE; s++) {
        const StageReport *x = &r->stage[s];
        char verdict[1400], place[128] = "", many[32] = "";
        if (!x->judged) continue;
        report_verdict(verdict, sizeof verdict, r, (Stage)s);
        if (x->n) {
            const Item *it = worst_item(r, x);
            place_text(place, sizeof place, r, it, l);
            if (x->n > 1) snprintf(many, sizeof many, " (%d tensors)", x->n);
            printf("%-15s %-8s %9.2g %9.2g %9.2g %9.3g %9.2g ", stage_info[s].name,
                   stage_info[s].shape == SHAPE_MASK ? "mask" : precision_names[it->precision], it->max_abs,
                   it->mean_abs, it->max_rel, it->ulps, it->tolerance);
            if (isnan(it->ours)) printf("%9s", "-");
            else printf("%9.2g", it->ours);
            printf("  %s%s%s%s\n", x->n > 1 ? it->name : "", x->n > 1 ? " " : "", place, many);
            if (x->verdict != VERDICT_RIGHT && it->worst_given == it->worst_given)
                printf("%15s found %.9g, right is %.9g\n", "", it->worst_given, it->worst_right);
        } else printf("%-15s\n", stage_info[s].name);
        printf("%15s %s%s%s\n", "", verdict, *x->note ? "; " : "", x->note);
        if (x->verdict == VERDICT_RIGHT || x->verdict == VERDICT_RIGHT_AS) right++;
        else wrong++;
    }
    for (int s = 0; s < N_STAGE; s++)
        if (r->stage[s].present && !r->stage[s].judged)
            printf("%-15s not judged: %s\n", stage_info[s].name, r->stage[s].obstacle);
    if (r->table.there) {
        const SamplerTable *t = &r->table;
        printf("\nlog-probabilities: %-9s %10s %10s %10s %10s %s\n", "", "mean", "sd", "p95", "max",
               "ratio outside the clip band");
        print_gap("trainer - sampler", &t->both);
        if (t->oracle)
            print_gap("trainer - double precision", &t->trainer),
                print_gap("sampler - double precision", &t->sampler);
    }
    print_blind(r);
    printf("\n%d of %d stages right%s\n", right, right + wrong,
           wrong ? "" : ", as far as this dump can show");
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

static void print_json(const Report *r, const Loaded *l) {
    JsonWriter w = {.indent = 1};
    int blind, all;
    json_begin(&w, '{');
    json_put_string(&w, "dump", r->d->path);
    json_put_string(&w, "dialect", dialect_names[r->d->set.dialect]);
    json_put_bool(&w, "right", report_all_right(r));
    json_open(&w, "stages", '[');
    for (int s = 0; s < N_STAGE; s++) {
        const StageReport *x = &r->stage[s];
        char verdict[1400];
        if (!x->judged) continue;
        report_verdict(verdict, sizeof verdict, r, (Stage)s);
        json_begin(&w, '{');
        json_put_string(&w, "stage", stage_info[s].name);
        json_put_string(&w, "equation", stage_info[s].equation);
        json_put_string(&w, "kind", verdict_kinds[x->verdict]);
        json_put_string(&w, "verdict", verdict);
        json_open(&w, "names", '[');
        for (int i = 0; i < x->n_name; i++) json_string(&w, x->name[i]);
        json_end(&w, ']');
        if (*x->note) json_put_string(&w, "note", x->note);
        json_open(&w, "tensors", '[');
        for (int i = 0; i < x->n; i++) json_item(&w, r, &r->item[x->first + i], l);
        json_end(&w, ']');
        json_end(&w, '}');
    }
    json_end(&w, ']');
    json_open(&w, "not_judged", '[');
    for (int s = 0; s < N_STAGE; s++) {
        if (!r->stage[s].present || r->stage[s].judged) continue;
        json_begin(&w, '{');
        json_put_string(&w, "stage", stage_info[s].name);
        json_put_string(&w, "reason", r->stage[s].obstacle);
        json_end(&w, '}');
    }
    json_end(&w, ']');
    if (r->table.there) {
        json_open(&w, "sampler", '{');
        json_gap(&w, "trainer_minus_sampler", &r->table.both);
        if (r->table.oracle)
            json_gap(&w, "trainer_minus_double", &r->table.trainer),
                json_gap(&w, "sampler_minus_double", &r->table.sampler);
        json_end(&w, '}');
    }
    blind_counts(r, &blind, &all);
    json_open(&w, "blind", '{');
    json_put_int(&w, "count", blind);
    json_put_int(&w, "of", all);
    json_open(&w, "mistakes", '[');
    for (int i = 0; i < n_mistake; i++) {
        if (r->visible[i] != HIDDEN) continue;
        json_begin(&w, '{');
        json_put_string(&w, "name", mistakes[i].name);
        json_put_string(&w, "reason", mistakes[i].hidden);
        json_end(&w, '}');
    }
    json_end(&w, ']');
    json_open(&w, "untried", '[');
    for (int i = 0; i < n_mistake; i++) if (r->visible[i] == UNTRIED) json_string(&w, mistakes[i].name);
    json_end(&w, ']'), json_end(&w, '}');
    json_end(&w, '}');
    printf("%s\n", w.text ? w.text : "");
    free(w.text);
}

/* ---- JUnit ---------------------------------------------------------------------------------- */
static void xml(FILE *f, const char *text) {
    for (const char *c = text; *c; c++)
        switch (*c) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        case '"': fputs("&quot;", f); break;
        default: fputc((unsigned char)*c < 0x20 ? ' ' : *c, f);
        }
}

static bool write_junit(const char *path, const Report *r, const Loaded *l, Err *e) {
    FILE *f = fopen(path, "w");
    if (!f) return fail(e, "%s: could not be written", path);
    int n = 0, failures = 0, skipped = 0, blind, all;
    for (int s = 0; s < N_STAGE; s++) {
        n += r->stage[s].present;
        skipped += r->stage[s].present && !r->stage[s].judged;
        failures += r->stage[s].judged && r->stage[s].verdict != VERDICT_RIGHT &&
                    r->stage[s].verdict != VERDICT_RIGHT_AS;
    }
    fprintf(f,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"grpo verify\" tests=\"%d\" "
            "failures=\"%d\" skipped=\"%d\">\n",
            n, failures, skipped);
    for (int s = 0; s < N_STAGE; s++) {
        const StageReport *x = &r->stage[s];
        char verdict[1400], place[128] = "";
        if (!x->present) continue;
        fprintf(f, "  <testcase classname=\""), xml(f, r->d->path),
            fprintf(f, "\" name=\"%s\">", stage_info[s].name);
        if (!x->judged) fprintf(f, "<skipped message=\"%s\"/>", x->obstacle);
        else if (x->verdict != VERDICT_RIGHT && x->verdict != VERDICT_RIGHT_AS) {
            report_verdict(verdict, sizeof verdict, r, (Stage)s);
            fprintf(f, "<failure message=\""), xml(f, verdict), fprintf(f, "\">");
            if (x->n) {
                const Item *it = worst_item(r, x);
                place_text(place, sizeof place, r, it, l);
                fprintf(f, "%s: largest error %g, tolerance %g; ", it->name, it->max_abs, it->tolerance),
                    xml(f, place),
                    fprintf(f, ": found %.9g, right is %.9g", it->worst_given, it->worst_right);
            }
            fprintf(f, "</failure>");
        }
        fprintf(f, "</testcase>\n");
    }
    blind_counts(r, &blind, &all);
    fprintf(f, "  <system-out>blind to %d of %d mistakes</system-out>\n</testsuite>\n", blind, all);
    if (fclose(f)) return fail(e, "%s: could not be written whole", path);
    return true;
}

/* ---- float and double ----------------------------------------------------------------------- */
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
    int code = -1;
    if (report_make(&r, d, model, c->float_values, c->quick, e) && something_judged(&r, e) &&
        (!c->junit || write_junit(c->junit, &r, l, e))) {
        if (c->json) print_json(&r, l);
        else print_report(&r, l);
        code = report_all_right(&r) ? 0 : 1;
    }
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
    if (!dump_open(&d, path, c->dialect, e)) return -1;
    if (load(&l, &d, c, e)) {
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
    if (c.list) return list_catalogue(c.json);
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
