/* checkpoint.c: a run's identity, its growing files, and its checkpoints. */
#include "run/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/files.h"
#include "net/hub.h"

static const char program_version[] = "grpo.c 2";       /* of the format of checkpoints */

/* ---- files that grow ---- */

/* Never through a link: a run's folder may be somebody else's, and what it links to is not the run's to cut.
 */
static int growing_descriptor(const GrowingFile *g, Err *e) {
    const int fd = open(g->path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0)
        fail(e, "%s: cannot be opened for writing: %s", g->path,
             errno == ELOOP ? "it is a link, expected a file" : strerror(errno));
    return fd;
}

bool growing_open(GrowingFile *g, Err *e) {
    const int fd = growing_descriptor(g, e);
    if (fd < 0) return false;
    if ((g->file = fdopen(fd, "a"))) return true;
    close(fd);
    return fail(e, "%s: cannot be opened for writing: %s", g->path, strerror(errno));
}

bool growing_put(GrowingFile *g, const JsonWriter *line, Err *e) {
    if (!json_ok(line, e)) return false;
    if (fwrite(line->text, 1, line->length, g->file) != line->length || fputc('\n', g->file) == EOF ||
        fflush(g->file) != 0)
        return fail(e, "%s: could not be written: %s", g->path, strerror(errno));
    sha256_add(&g->sum, line->text, line->length);
    sha256_add(&g->sum, "\n", 1);
    g->bytes += line->length + 1, g->lines++;
    return true;
}

void growing_close(GrowingFile *g) {
    if (g->file) fclose(g->file);
    g->file = NULL;
}

static bool growing_sync(GrowingFile *g, Err *e) {
    return fsync(fileno(g->file)) == 0 || errno == EINVAL ||
           fail(e, "%s: could not be synced: %s", g->path, strerror(errno));
}

/* "BYTES SHA-256" of what is in it. */
static void growing_mark(char mark[96], const GrowingFile *g) {
    Sha256 sum = g->sum;
    char hex[65];
    sha256_end(&sum, hex);
    snprintf(mark, 96, "%zu %s", g->bytes, hex);
}

/* Whether the file begins as the mark says; its bytes and sum are then those of this beginning. */
static bool growing_is(GrowingFile *g, const char *mark, Err *e) {
    FileMap m = {.base = (const unsigned char *)""};
    char found[96];
    const unsigned long long n = strtoull(mark, NULL, 10);
    if (path_exists(g->path) && !file_map(&m, g->path, e)) return false;
    g->bytes = n < m.n ? (size_t)n : m.n;
    sha256_begin(&g->sum);
    sha256_add(&g->sum, m.base, g->bytes);
    growing_mark(found, g);
    file_unmap(&m);
    return !strcmp(mark, found);
}

/* Cuts the file to its first *n lines, and before that where a line is not whole or holds a NUL, which is
 * what a power failure leaves; *n: lines that are there now. */
static bool growing_cut(GrowingFile *g, int64_t *n, Err *e) {
    FileMap m = {.base = (const unsigned char *)""};
    int64_t lines = 0;
    size_t keep = 0;
    if (path_exists(g->path) && !file_map(&m, g->path, e)) return false;
    for (size_t at = 0; at < m.n && lines < *n && m.base[at]; at++)
        if (m.base[at] == '\n') keep = at + 1, lines++;
    sha256_begin(&g->sum);
    sha256_add(&g->sum, m.base, keep);
    file_unmap(&m);
    g->bytes = keep, *n = lines;
    const int fd = growing_descriptor(g, e);
    if (fd < 0) return false;
    const bool ok = ftruncate(fd, (off_t)keep) == 0 ||
                    fail(e, "%s: could not be cut to %zu bytes: %s", g->path, keep, strerror(errno));
    close(fd);
    return ok;
}

/* ---- identity ---- */

/* How a run is computed and shown, but no number of it; where it lies; how long it is. */
static const char *const may_differ[] = {
    "output_dir",   "resume",    "json",           "slice_rows", "gradient_checkpointing", "save_steps",
    "save_dtype",   "logging_steps", "reward_timeout", "max_steps",  "num_train_epochs",       "report_to",
    "save_total_limit", "log_completions", "load_best_model_at_end", NULL};

static bool is_one_of(const char *name, const char *const *list) {
    while (*list && strcmp(*list, name)) list++;
    return *list != NULL;
}

/* A hash for each option that names a file or a model, and for each item where it names several. A reward
 * program is none of them: it may be mended while the run waits. */
static bool inputs_write(JsonWriter *w, const OptionTable *t, const void *config, Err *e) {
    static const char *const no_input[] = {"output_dir", "system", "reward_cmd", "report_to", NULL};
    Setting s;
    json_open(w, "inputs", '{');
    for (int i = 0; option_at(&s, t, i); i++) {
        if (s.kind != SET_STRING || is_one_of(s.name, no_input)) continue;
        const char *at = *(const char *const *)((const char *)config + s.at);
        char item[1024], home[1024], hex[65];
        JsonWriter list = {0};
        bool any = false, ok = true;
        for (json_begin(&list, '['); ok && at && *at; at += *at == ',') {
            const size_t n = strcspn(at, ",");
            snprintf(item, sizeof item, "%.*s", (int)(n < sizeof item ? n : 0), at);
            hub_folder(home, item);
            ok = sha256_path(home, hex, e);
            json_string(&list, hex);
            any = any || hex[0];
            at += n;
        }
        json_end(&list, ']');
        if (ok && any) json_put_raw(w, s.name, list.text);
        free(list.text);
        if (!ok) return false;
    }
    json_end(w, '}');
    return true;
}

char *identity_new(const OptionTable *t, const void *config, const Json *former, int64_t n_step, int indent,
                   Err *e) {
    JsonWriter w = {.indent = indent};
    json_begin(&w, '{');
    json_put_string(&w, "command", t->command);
    json_put_string(&w, "real", REAL_DTYPE);
    const Json *steps = json_get(former, "steps");
    json_open(&w, "steps", '[');
    for (size_t i = 0; steps && i < steps->length; i++)
        if (steps->item[i].number != (double)n_step) json_value(&w, &steps->item[i]);
    json_int(&w, n_step);
    json_end(&w, ']');
    const bool ok = inputs_write(&w, t, config, e);
    json_open(&w, "options", '{');
    options_write(&w, config, t);
    json_end(&w, '}');
    json_end(&w, '}');
    if (indent) json_raw(&w, "\n");
    if (ok && w.text) return w.text;
    fail(e, "no memory for the options of the run");
    free(w.text);
    return NULL;
}

int64_t identity_steps(const Json *identity) {
    const Json *steps = json_get(identity, "steps");
    return steps && steps->type == JSON_ARRAY && steps->length
               ? (int64_t)steps->item[steps->length - 1].number
               : 0;
}

static bool inputs_agree(const Json *saved, const Json *now, const OptionTable *t, const void *config,
                         const char *file, Err *e) {
    Setting s;
    for (int i = 0; option_at(&s, t, i); i++) {
        const Json *a = json_get(saved, s.name), *b = json_get(now, s.name);
        if (s.kind != SET_STRING || !a || !b || json_same(a, b)) continue;
        return fail(e,
                    "%s: --%s %.200s has changed since the run began: its content is other than that whose "
                    "SHA-256 stands there; put the former one back, or start a new run with the data of now",
                    file, s.name, *(const char *const *)((const char *)config + s.at));
    }
    return true;
}

bool identity_agrees(const Json *saved, const Json *now, const OptionTable *t, const void *config,
                     const char *file, Err *e) {
    const char *free_names[128];
    int n = 0;
    const Json *options = json_get(saved, "options"), *inputs = json_get(saved, "inputs");
    for (int k = 0; k < 2; k++) {
        const char *key = k ? "real" : "command";
        const Json *a = json_get(saved, key), *b = json_get(now, key);
        if (!a || !json_same(a, b))
            return fail(e, "%s: is of a run of another %s: found %.40s, expected %.40s", file,
                        k ? "build" : "command", a && a->type == JSON_STRING ? a->string : "none", b->string);
    }
    if (!options || options->type != JSON_OBJECT) return fail(e, "%s: holds no \"options\"", file);
    while (may_differ[n]) free_names[n] = may_differ[n], n++;
    /* a path is its content, not its spelling */
    for (size_t i = 0; inputs && inputs->type == JSON_OBJECT && i < inputs->length && n < 127; i++)
        if (json_get(json_get(now, "inputs"), inputs->item[i].key)) free_names[n++] = inputs->item[i].key;
    free_names[n] = NULL;
    return inputs_agree(inputs, json_get(now, "inputs"), t, config, file, e) &&
           options_agree(config, t, options, free_names, file, e);
}

/* ---- checkpoints ---- */

bool checkpoints_at(Checkpoints *c, const char *dir, int limit, Err *e) {
    c->limit = limit, c->step = -1;
    return path_join(c->dir, sizeof c->dir, dir, "", e) &&
           path_join(c->path, sizeof c->path, dir, "checkpoint.safetensors", e) &&
           path_join(c->before, sizeof c->before, dir, "checkpoint.before.safetensors", e) &&
           path_join(c->fresh, sizeof c->fresh, dir, "checkpoint.safetensors.new", e);
}

static bool checkpoint_older(char path[640], const Checkpoints *c, int64_t step, Err *e) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint.before.%lld.safetensors", (long long)step);
    return path_join(path, 640, c->dir, name, e);
}

/* The step in the name of an older one; -1: the file is something else. */
static int64_t older_step(const char *name) {
    char again[64];
    const size_t n = strlen("checkpoint.before.");
    const long long step = strncmp(name, "checkpoint.before.", n) ? -1 : strtoll(name + n, NULL, 10);
    snprintf(again, sizeof again, "checkpoint.before.%lld.safetensors", step);
    return strcmp(name, again) ? -1 : step;
}

static int latest_first(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps of the older ones, the latest first, to be freed; their number, -1: e is filled in. A folder may
 * be written but not read, and then there are none. */
static int older_steps(int64_t **step, const Checkpoints *c, Err *e) {
    DIR *d = opendir(c->dir);
    int n = 0;
    *step = NULL;
    for (const struct dirent *entry; d && n >= 0 && (entry = readdir(d));) {
        const int64_t found = older_step(entry->d_name);
        if (found < 0) continue;
        int64_t *more = realloc(*step, ((size_t)n + 1) * sizeof *more);
        if (more) *step = more, more[n++] = found;
        else fail(e, "%s: no memory for a list of its checkpoints", c->dir), n = -1;
    }
    if (d) closedir(d);
    if (n > 0) qsort(*step, (size_t)n, sizeof **step, latest_first);
    return n;
}

/* The one before the last becomes an older one, where so many are kept; what cannot be read goes. */
static bool older_keep(const Checkpoints *c, Err *e) {
    char path[640];
    Err why = {{0}};
    Safetensors *s = c->limit > 2 && path_exists(c->before) ? safetensors_open(c->before, &why) : NULL;
    const Tensor *x = s ? safetensors_find(s, "step") : NULL;
    const double step = x && x->count == 1 && x->store == STORE_F64 ? *(const double *)x->data : -1;
    safetensors_close(s);
    if (!(step >= 0 && step < 9e15)) return true;
    return checkpoint_older(path, c, (int64_t)step, e) &&
           (rename(c->before, path) == 0 ||
            fail(e, "%s: could not become %s: %s", c->before, path, strerror(errno)));
}

static bool checkpoint_drop(const char *path, Err *e) {
    return unlink(path) == 0 || errno == ENOENT ||
           fail(e, "%s: could not be removed: %s", path, strerror(errno));
}

/* What is more than the limit goes, and what a run that went back to an earlier one has left ahead of it. */
static bool older_drop(const Checkpoints *c, Err *e) {
    char path[640];
    int64_t *step;
    const int n = older_steps(&step, c, e);
    int kept = path_exists(c->before) ? 2 : 1;
    bool ok = n >= 0;
    for (int i = 0; ok && i < n; i++) {
        if (step[i] <= c->step && kept < c->limit) kept++;
        else ok = checkpoint_older(path, c, step[i], e) && checkpoint_drop(path, e);
    }
    free(step);
    return ok;
}

bool checkpoint_save(Checkpoints *c, const Trainer *t, const char *identity, GrowingFile *log,
                     GrowingFile *timing, Err *e) {
    char mark[96], lines[48];
    if (!growing_sync(log, e) || !growing_sync(timing, e)) return false;
    growing_mark(mark, log);
    snprintf(lines, sizeof lines, "%lld %lld", (long long)log->lines, (long long)timing->lines);
    const char *const metadata[] = {"program", program_version, "run", identity, "log",
                                    mark,      "lines",         lines, NULL};
    const bool one = c->limit == 1;
    if (!trainer_save(t, c->fresh, metadata, e) || !older_keep(c, e) ||
        !file_replace(c->fresh, c->path, one || c->spoiled ? NULL : c->before, e))
        return false;
    const bool ok = (!one || checkpoint_drop(c->before, e)) && older_drop(c, e);
    c->spoiled = false, c->step = t->step;
    return ok;
}

Safetensors *checkpoint_open(const char *path, Err *e) {
    Safetensors *s = safetensors_open(path, e);
    const char *program = s ? safetensors_metadata(s, "program") : NULL;
    if (!s) return NULL;
    if (!program || strcmp(program, program_version))
        fail(e, "%s: is a checkpoint of \"%.20s\", expected \"%s\": another version of the program wrote it",
             path, program ? program : "an earlier version", program_version);
    else if (!safetensors_sealed(s))
        fail(e, "%s: is damaged: its SHA-256 is not the one that it ends with", path);
    else return s;
    safetensors_close(s);
    return NULL;
}

/* Whether a plan of updates is one that the run has or had. */
static bool is_plan(const Json *identity, int64_t n_step) {
    const Json *steps = json_get(identity, "steps");
    for (size_t i = 0; steps && steps->type == JSON_ARRAY && i < steps->length; i++)
        if (steps->item[i].number == (double)n_step) return true;
    return false;
}

typedef struct { char path[640]; Safetensors *file; bool foreign, log_is_its; Err why; } Candidate;

/* Opens the checkpoint at c->path; the rest of *c is zero: file is NULL where it is not good, foreign where
 * it is good but another run's. */
static void candidate_open(Candidate *c, const OptionTable *table, const void *config, const Json *identity,
                           GrowingFile *log) {
    const char *path = c->path;
    Err *e = &c->why;
    c->file = checkpoint_open(path, e);
    const char *text = c->file ? safetensors_metadata(c->file, "run") : NULL,
               *mark = c->file ? safetensors_metadata(c->file, "log") : NULL;
    if (!text || !mark) return;
    Json *saved = json_parse(text, strlen(text), path, 1, e);
    c->foreign =
        saved && (!identity_agrees(saved, identity, table, config, path, e) ||
                  (!is_plan(identity, identity_steps(saved)) &&
                   !fail(e, "%s: is of a run of %lld steps", path, (long long)identity_steps(saved))));
    json_free(saved);
    c->log_is_its = growing_is(log, mark, e) ||
                    fail(e,
                         "%s: its first %llu bytes are not those that %s speaks of: its end was lost, or it "
                         "was changed",
                         log->path, strtoull(mark, NULL, 10), path);
}

/* Both files as they were at the time of the checkpoint; what they lack is told. */
static bool cut_files(const Candidate *x, const char *command, GrowingFile *log, GrowingFile *timing,
                      Err *e) {
    const char *const text = x ? safetensors_metadata(x->file, "lines") : NULL;
    char *at = NULL;
    for (int i = 0; i < 2; i++) {
        GrowingFile *g = i ? timing : log;
        const int64_t wanted = text ? strtoll(i ? at : text, &at, 10) : 0;
        g->lines = wanted;
        if (!growing_cut(g, &g->lines, e)) return false;
        if (g->lines < wanted || (!i && x && !x->log_is_its))
            fprintf(stderr,
                    "%s: %s: its end was lost, or it was changed: lines of steps before the checkpoint are "
                    "missing or others\n",
                    command, g->path);
    }
    return true;
}

/* Where a run may go on from, the last one first; it stands there also where it is missing. Their number, -1:
 * e is filled in; to be freed. */
static int candidates_new(Candidate **x, const Checkpoints *c, Err *e) {
    int64_t *step;
    const int older = older_steps(&step, c, e);
    int n = 0;
    *x = older < 0 ? NULL : calloc((size_t)older + 2, sizeof **x);
    bool ok = *x || (older >= 0 && fail(e, "%s: no memory for a list of its checkpoints", c->dir));
    if (ok) snprintf((*x)[n++].path, sizeof (*x)->path, "%s", c->path);
    if (ok && path_exists(c->before)) snprintf((*x)[n++].path, sizeof (*x)->path, "%s", c->before);
    for (int i = 0; ok && i < older; i++) ok = checkpoint_older((*x)[n++].path, c, step[i], e);
    free(step);
    return ok ? n : -1;
}

/* Which of them it is: the first good one that the log belongs to, else, as a log that is damaged loses no
 * run, the first good one. -1: e is filled in. */
static int candidate_choose(Candidate *x, int n, const OptionTable *table, const void *config,
                            const Json *identity, GrowingFile *log, Err *e) {
    int best = -1;
    for (int i = 0; i < n && best < 0 && !(i && x[0].foreign); i++) {
        candidate_open(&x[i], table, config, identity, log);
        if (x[i].file && x[i].log_is_its) best = i;
    }
    for (int i = 0; i < n && best < 0; i++)
        if (x[i].file) best = i;
    char others[48] = "nor is the one before it good";
    if (n > 2) snprintf(others, sizeof others, "nor is any of the %d before it good", n - 1);
    if (best < 0)
        fail(e, "%s; %s: start again in another --output-dir", x[0].why.line,
             n == 1 ? "there is none before it" : others);
    else if (x[best].foreign) fail(e, "%s; it is of another run", x[best].why.line), best = -1;
    return best;
}

bool checkpoint_load(int64_t *step, Checkpoints *c, Trainer *t, const OptionTable *table, const void *config,
                     const Json *identity, GrowingFile *log, GrowingFile *timing, Err *e) {
    Candidate *x;
    const int n = candidates_new(&x, c, e);
    *step = -1;
    bool ok = n > 0;
    if (n == 1 && !path_exists(c->path)) ok = cut_files(NULL, table->command, log, timing, e);
    else if (ok) {
        const int best = candidate_choose(x, n, table, config, identity, log, e);
        ok = best >= 0;
        if (best > 0) {
            c->spoiled = true;
            fprintf(stderr, "%s: %s; going on from %s\n", table->command, x[0].why.line,
                    strcmp(x[best].path, c->before) ? x[best].path : "the one before it");
        }
        ok = ok && trainer_read(t, x[best].file, x[best].path, e) &&
             cut_files(&x[best], table->command, log, timing, e);
        if (ok) *step = c->step = t->step;
    }
    for (int i = 0; i < n; i++) safetensors_close(x[i].file);
    free(x);
    return ok;
}
