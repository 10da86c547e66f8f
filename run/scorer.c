/* scorer.c: scores of replies from reward folders (section 3.1 of the mathematics: the reward model reads
 * text) and from external programs that answer JSON lines. */
#include "run/scorer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/words.h"
#include "run/program.h"
#include "run/trainer.h"
#include "text/fit.h"

#define AT(member) offsetof(ScorerOptions, member)
const Setting scorer_settings[] = {
    SETTINGS_HEADING("Where scores come from"),
    {"reward_model", SET_STRING, AT(folders), NULL, NULL, "reward folders, with commas"},
    {"reward_cmd", SET_STRING, AT(program), NULL, NULL, "program that scores JSON lines"},
    {"reward_timeout", SET_INT, AT(timeout), "120", NULL, "seconds that the program may be silent"},
    {"reward_chat_template", SET_STRING, AT(chat.template), NULL, NULL,
     "template of the reward models by name, or a FILE.jinja, in place of theirs"},
    {"reward_weights", SET_STRING, AT(weights), NULL, NULL,
     "e.g. politeness=0.4,safety=0.6, or in the labels' order; none: 1 each"},
    SETTINGS_END};

enum { MAX_FOLDERS = 8 };

/* read: by the last call */
typedef struct {
    char dir[1024];
    Model *model;
    FolderInfo info;
    Language language;
    Acts *acts;
    int max_row, max_target;
    bool cut;
    Texts read;
    const Learner *learns;              /* whose model and language these are; NULL: its own */
} RewardFolder;

struct Scorer {
    int n_label, n_folder, n_program_label, slice_rows;
    char label[MAX_LABELS][64];
    RewardFolder folder[MAX_FOLDERS];
    Program program;
    bool has_program;
    Costs *cost;                        /* the caller's, or NULL */
};

int scorer_n_label(const Scorer *s) { return s->n_label; }
const char (*scorer_labels(const Scorer *s))[64] { return (const char (*)[64])s->label; }

void scores_put(JsonWriter *w, const char *key, const char (*label)[64], const real *x, int n_label) {
    json_open(w, key, '{');
    for (int k = 0; k < n_label; k++) json_put(w, label[k], x[k]);
    json_end(w, '}');
}

/* ---- the external program ---- */

/* Which of the program's labels it is, or -1; trial lines take in what is new. */
static int program_label(Scorer *s, const char *name, Err *e) {
    const int first = s->n_label - s->n_program_label;
    for (int k = 0; k < s->n_program_label; k++)
        if (!strcmp(s->label[first + k], name)) return k;
    if (!s->program.trial)
        fail(e, "--reward-cmd: unknown label \"%.40s\", the trial lines did not have it; write null for what "
                "is unscored", name);
    else if (!*name || strlen(name) >= sizeof s->label[0])
        fail(e, "--reward-cmd: label \"%.80s\": expected a name of 1 to 63 bytes", name);
    else if (s->n_label == MAX_LABELS)
        fail(e, "--reward-cmd: label \"%.40s\": more than %d labels", name, MAX_LABELS);
    else {
        snprintf(s->label[s->n_label++], sizeof s->label[0], "%s", name);
        return s->n_program_label++;
    }
    return -1;
}

static bool score_in_range(const Json *v, Err *e) {
    if (v->type == JSON_NULL || (v->type == JSON_NUMBER && fabs(v->number) <= SCORE_MOST)) return true;
    return v->type == JSON_NUMBER
               ? fail(e, "--reward-cmd: label \"%.40s\": found %g, expected a number of at most %g in size; "
                         "scale the score, or write null where there is none", v->key, v->number, SCORE_MOST)
               : fail(e, "--reward-cmd: label \"%.40s\": found %s, expected a number or null", v->key,
                      json_type_name(v->type));
}

/* One reply's scores. */
static bool program_score(Scorer *s, const Completion *r, double *score, Err *e) {
    const Told told[] = {{"completion", r->completion}, {"finish_reason", r->ended ? "stop" : "length"}};
    Json *answer = program_ask(&s->program, r->prompt, told, 2, "scores", JSON_OBJECT,
                               "{\"label\": number or null}", e);
    if (!answer) return false;
    const Json *scores = json_get(answer, "scores");
    bool ok = true;
    for (int k = 0; k < MAX_LABELS; k++) score[k] = NAN;
    for (size_t i = 0; ok && i < scores->length; i++) {
        const Json *v = &scores->item[i];
        const int k = program_label(s, v->key, e);
        ok = k >= 0 && score_in_range(v, e);
        if (ok) score[k] = v->type == JSON_NULL ? NAN : v->number;
    }
    json_free(answer);
    return ok || program_wrong(&s->program, r->prompt, e);
}

/* Two rows of the data with the replies that they hold or made-up ones. */
static bool program_open(Scorer *s, const char *command, int timeout, const Dataset *data, Err *e) {
    static const char *const made_up[] = {"Hello! How can I help you?", "Go away"};
    double score[MAX_LABELS];
    s->has_program = true;
    if (!program_start(&s->program, "--reward-cmd", command, timeout, e)) return false;
    for (int i = 0; i < 2; i++) {
        const Example *x = &data->row[i < data->n ? i : 0];
        s->program.trial = x->completion ? "a trial with" : "a trial with a made-up reply to";
        const Completion trial = {x, x->completion ? x->completion : made_up[i], i == 0};
        if (!program_score(s, &trial, score, e)) return false;
    }
    s->program.trial = NULL;
    return s->n_program_label > 0 || fail(e, "--reward-cmd: its two trial answers hold no label; expected "
                                             "{\"id\": ..., \"scores\": {\"label\": number}}");
}

/* ---- reward folders ---- */

/* The next of the names in a list with commas. */
bool next_folder(char dir[1024], const char **at) {
    if (!*at || !**at) return false;
    const size_t n = strcspn(*at, ",");
    snprintf(dir, 1024, "%.*s", (int)n, *at);
    *at += n + ((*at)[n] == ',');
    return true;
}

static bool label_add(Scorer *s, const char *label, const char *source, Err *e) {
    if (!label_printable(label, source, e)) return false;
    for (int k = 0; k < s->n_label; k++)
        if (!strcmp(s->label[k], label))
            return fail(e, "%s: label \"%s\" comes from another source too; each label needs one source",
                        source, label);
    if (s->n_label == MAX_LABELS) return fail(e, "%s: more than %d labels in all", source, MAX_LABELS);
    snprintf(s->label[s->n_label++], sizeof s->label[0], "%s", label);
    return true;
}

static bool folder_add(Scorer *s, const char *dir, const ChatChoice *chat, Err *e) {
    if (s->n_folder == MAX_FOLDERS) return fail(e, "--reward-model: more than %d folders", MAX_FOLDERS);
    if (!*dir) return fail(e, "--reward-model: a folder's name is empty");
    RewardFolder *f = &s->folder[s->n_folder++];
    snprintf(f->dir, sizeof f->dir, "%s", dir);
    if (!(f->model = folder_load(dir, &f->info, e))) return false;
    if (!f->model->config.n_label)
        return fail(e, "%s: is a language model; expected a reward model (...ForSequenceClassification)",
                    dir);
    if (!language_load(&f->language, dir, chat, e)) return false;
    for (int k = 0; k < f->model->config.n_label; k++)
        if (!label_add(s, f->info.label[k], dir, e)) return false;
    return true;
}

bool scorer_bytes(double *bytes, const char *folders, int slice_rows, Err *e) {
    char dir[1024];
    ModelConfig c;
    for (*bytes = 0; next_folder(dir, &folders);
         *bytes += (double)model_bytes(&c) + (double)acts_bytes(&c, slice_rows, slice_rows, false)) {
        if (!*dir) return fail(e, "--reward-model: a folder's name is empty");
        if (!folder_config(&c, NULL, dir, e)) return false;
    }
    return true;
}

Scorer *scorer_open(const ScorerOptions *o, int slice_rows, const Dataset *data, Err *e) {
    char dir[1024];
    Scorer *s = calloc(1, sizeof *s);
    if (!s) { fail(e, "scorer: no memory"); return NULL; }
    s->slice_rows = slice_rows;
    bool ok = (o->folders && *o->folders) || o->program ||
              fail(e, "no source of scores: give --reward-model DIR[,DIR] or --reward-cmd PROGRAM");
    if (ok && o->program) ok = program_open(s, o->program, o->timeout, data, e);
    /* the program is asked first, its labels stand last */
    Scorer *trial = ok && o->program ? malloc(sizeof *trial) : NULL;
    if (ok && o->program && !trial) ok = fail(e, "scorer: no memory");
    if (trial) *trial = *s;
    s->n_label = 0;
    for (const char *at = o->folders; ok && next_folder(dir, &at);)
        ok = folder_add(s, dir, &o->chat, e);
    for (int k = 0; ok && k < s->n_program_label; k++) ok = label_add(s, trial->label[k], "--reward-cmd", e);
    free(trial);
    if (ok) return s;
    scorer_close(s);
    return NULL;
}

double scorer_learner_bytes(const Learner *l, int slice_rows) {
    return (double)trainer_bytes(&l->shape, l->rows, l->rows) +
           (double)acts_bytes(&l->shape, slice_rows, slice_rows, false);
}

Scorer *scorer_open_learner(const Learner *l, int slice_rows, Err *e) {
    Scorer *s = calloc(1, sizeof *s);
    if (!s) { fail(e, "scorer: no memory"); return NULL; }
    *s = (Scorer){.slice_rows = slice_rows, .n_folder = 1, .n_label = 1};
    s->folder[0] = (RewardFolder){.dir = "the reward model", .model = l->model, .info = l->info,
                                  .language = l->language, .learns = l};
    memcpy(s->label[0], l->info.label[0], sizeof s->label[0]);
    return s;
}

void scorer_count(Scorer *s, Costs *c) {
    s->cost = c;
    for (int i = 0; i < s->n_folder; i++) s->folder[i].model->tally = &c->measured.net[NET_REWARD];
}

/* What a trainer takes beside the weights, which are counted. */
static double beside_weights(const Cost *c) {
    return c->memory[MEM_GRADIENTS] + c->memory[MEM_OPTIMIZER] + c->memory[MEM_ACTIVATIONS];
}
double scorer_asked_bytes(const Scorer *s, int n) {
    double bytes = 0;
    for (int i = 0; i < s->n_folder; i++) {
        const RewardFolder *f = &s->folder[i];
        Cost c = {.prompt = 0};
        if (f->learns) cost_trainer(&c, &f->learns->shape, f->learns->rows, f->learns->rows);
        bytes += cost_asked(&f->model->config, s->slice_rows, n) + beside_weights(&c);
    }
    return bytes;
}
static double held_bytes(const RewardFolder *f) {
    Cost c = {.prompt = 0};
    if (f->learns) cost_trainer_held(&c, &f->learns->trainer);
    return (double)f->model->held + (double)acts_held(f->acts) + beside_weights(&c);
}

typedef struct { const RewardFolder *folder; bool replies; } RowReader;

/* A row as a folder reads it: a prompt that its context holds, and the row's reply where it is scored. */
static bool folder_reads(void *self, const Example *x, Err *e) {
    const RowReader *r = self;
    const RewardFolder *f = r->folder;
    Ids ids = {0};
    bool ok = encode_prompt(&ids, &f->language, x, e);
    if (ok && ids.n > f->language.context)
        ok = fail(e, "%s:%d: the prompt has %d tokens, but the context of %s holds %d; shorten it", x->path,
                  x->line, ids.n, f->dir, f->language.context);
    ok = ok && (!r->replies || encode_completion(&ids, &f->language, x, x->completion, false, e)) &&
         fit_ids(&ids, &f->language, x, e);
    free(ids.id);
    return ok;
}

bool scorer_check(const Scorer *s, Dataset *d, bool replies, LeftOut *out, Err *e) {
    for (int i = 0; i < s->n_folder; i++) {
        RowReader r = {&s->folder[i], replies};
        if (!fit_rows(d, folder_reads, &r, out, e)) return false;
    }
    return true;
}

/* After a call for n replies. */
static void add_cost(Scorer *s, int n) {
    double held = 0;
    if (!s->cost) return;
    for (int i = 0; i < s->n_folder; i++) {
        const RewardFolder *f = &s->folder[i];
        cost_read(&s->cost->predicted, NET_REWARD, &f->model->config, &f->read);
        held += held_bytes(f);
    }
    cost_memory_most(&s->cost->predicted, MEM_REWARD, scorer_asked_bytes(s, n));
    cost_memory_most(&s->cost->measured, MEM_REWARD, held);
}

void scorer_close(Scorer *s) {
    if (!s) return;
    for (int i = 0; i < s->n_folder; i++) {
        acts_free(s->folder[i].acts);
        if (s->folder[i].learns) continue;
        model_free(s->folder[i].model);
        language_free(&s->folder[i].language);
    }
    if (s->has_program) program_stop(&s->program);
    free(s);
}

/* Rows of all replies: a prompt's tokens once, then each reply's own; the score is read at the last row that
 * is no padding (E40): where the template's end token is the padding token too, that is the row before it. */
static bool build_window(Window *w, RewardFolder *f, const Completion *r, int n, Err *e) {
    const int pad = f->model->config.pad;
    Ids ids = {0};
    int *read_at = malloc((size_t)n * sizeof(int));
    bool ok = read_at || fail(e, "scorer: no memory");
    f->read = (Texts){0};
    for (int i = 0; ok && i < n; ) {
        ids.n = 0;
        ok = encode_prompt(&ids, &f->language, r[i].prompt, e);
        const int first = w->n_row, root = ok ? window_add(w, ids.id, ids.n, -1, e) : -1,
                  prompt_end = w->n_row - 1, prompt_read = ok ? head_last_row(ids.id, ids.n, pad) : -1;
        const int context = f->model->config.context, prompt = ids.n;
        texts_reply_prompt(&f->read, prompt);
        int j = i;
        ok = root >= 0 && (prompt <= context || fail(e,
                                                     "%s: the prompt of line %d has %d tokens, but the "
                                                     "reward model's context holds %d; shorten it",
                                                     f->dir, r[i].prompt->line, prompt, context));
        for (; ok && j < n && r[j].prompt == r[i].prompt; j++) {
            ids.n = 0;
            ok = encode_completion(&ids, &f->language, r[j].prompt, r[j].completion, r[j].ended, e);
            if (ok && prompt + ids.n > context) {
                /* a policy that samples bytes at random makes replies that take more tokens to read than to
                 * write */
                if (!f->cut)
                    fprintf(stderr,
                            "%s: line %d: a prompt of %d tokens and a reply of %d, but the reward model's "
                            "context holds %d: such replies are read up to there\n",
                            f->dir, r[j].prompt->line, prompt, ids.n, context);
                f->cut = true;
                ids.n = context - prompt;
            }
            if (ok && ids.n) ok = window_add(w, ids.id, ids.n, root, e) >= 0;
            texts_reply(&f->read, prompt, ids.n);
            const int last = ok ? head_last_row(ids.id, ids.n, pad) : -1;
            read_at[j] = last >= 0 ? w->n_row - ids.n + last : first + prompt_read;
            if (ok && last < 0 && prompt_read < 0)
                ok = fail(e, "reward model: a prompt and its reply hold nothing but pad_token_id %d", pad);
        }
        /* what is read at a row of the prompt comes first in the list of targets */
        for (int pass = 0; ok && pass < 2; pass++)
            for (int k = i; ok && k < j; k++)
                if ((read_at[k] <= prompt_end) == (pass == 0)) ok = window_target(w, read_at[k], k, e);
        i = j;
    }
    free(read_at);
    free(ids.id);
    return ok;
}

static bool folder_score(Scorer *s, RewardFolder *f, real *score, int first_label, const Completion *r, int n,
                         Err *e) {
    Window w = {0};
    const size_t k = (size_t)f->model->config.n_label;
    bool ok = build_window(&w, f, r, n, e);
    int largest = s->slice_rows;
    for (int i = 0; ok && i < w.n_seg; ) {      /* a slice holds at least the largest tree */
        int j = i + 1;
        while (j < w.n_seg && w.seg[j].prefix >= 0) j++;
        const int rows = w.seg[j - 1].start + w.seg[j - 1].n_row - w.seg[i].start;
        largest = rows > largest ? rows : largest;
        i = j;
    }
    if (ok && (largest > f->max_row || n > f->max_target)) {
        acts_free(f->acts);
        f->max_row = largest, f->max_target = n;
        f->acts = acts_new(f->model, f->max_row, f->max_target, false, e);
        ok = f->acts != NULL;
    }
    int *reply_of = malloc((size_t)n * sizeof(int));
    real *raw = malloc((size_t)n * k * sizeof(real));
    if (ok && (!raw || !reply_of)) ok = fail(e, "scorer: no memory for %d scores", n);
    /* targets carried the reply's number as id; ids must be tokens */
    for (int i = 0; ok && i < n; i++) {
        reply_of[i] = w.target_id[i];
        w.target_id[i] = 0;
    }
    ok = ok && window_scores(raw, f->acts, f->max_row, f->max_target, f->model, &w, e);
    for (int i = 0; ok && i < n; i++)
        for (size_t j = 0; ok && j < k; j++) {
            const real v = raw[(size_t)i * k + j] + (real)f->info.reward_mean[j];       /* E45 */
            if (!isfinite((double)v))
                ok = fail(e, "reward model: score of label %s is %g: the step is not applied",
                          f->info.label[j], (double)v);
            score[(size_t)reply_of[i] * (size_t)s->n_label + (size_t)first_label + j] = v;
        }
    free(raw);
    free(reply_of);
    window_free(&w);
    return ok;
}

bool scorer_score(Scorer *s, real *score, const Completion *reply, int n, Err *e) {
    int label = 0;
    for (int i = 0; i < s->n_folder; label += s->folder[i++].model->config.n_label)
        if (!folder_score(s, &s->folder[i], score, label, reply, n, e)) return false;
    add_cost(s, n);
    double answer[MAX_LABELS];
    for (int i = 0; s->has_program && i < n; i++) {
        if (!program_score(s, &reply[i], answer, e)) return false;
        for (int k = 0; k < s->n_program_label; k++)
            score[(size_t)i * (size_t)s->n_label + (size_t)(label + k)] = (real)answer[k];
    }
    return true;
}
