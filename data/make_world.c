/* make_world.c: the demonstration world's files, as JSON Lines on stdout.
 *
 * In this order: options, writing of rows, the commands that generate (sft, prompts, grammar, eval), the
 * commands that read answers on stdin and judge them (label, judge), the table of commands. Exit code 0 fine,
 * 2 bad usage or input. Not here: the world itself (world.c), what the fields mean (README.md beside this
 * file). */
#include "data/world.h"
#include "lib/json.h"
#include "lib/real.h"
#include "lib/words.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct {
    uint64_t n, seed, users, per_user;
    bool reward, from_chosen, weighted;
    double noise, minority, temperature, quality, weight[WORLD_LABELS];
} Options;

static bool parse_whole(uint64_t *out, const char *name, const char *text, uint64_t low, uint64_t high,
                        Err *e) {
    char *end = NULL;
    errno = 0;
    const unsigned long long v = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || errno || v < low || v > high)
        return fail(e, "make_world: --%s: found \"%.40s\", expected a whole number from %llu to %llu", name,
                    text, (unsigned long long)low, (unsigned long long)high);
    *out = v;
    return true;
}

static bool parse_weights(double weight[WORLD_LABELS], const char *text, Err *e) {
    const char *at = text;
    char *end;
    for (int k = 0; k < WORLD_LABELS; k++, at = end + 1) {
        weight[k] = strtod(at, &end);
        if (end == at || !isfinite(weight[k]) || *end != (k + 1 < WORLD_LABELS ? ',' : 0))
            return fail(e, "make_world: --weights: found \"%.60s\", expected %d numbers with commas", text,
                        WORLD_LABELS);
    }
    return true;
}

static bool parse_real(double *out, const char *command, const char *name, const char *text, double high,
                       Err *e) {
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && *out >= 0 && *out <= high) return true;
    return fail(e, "make_world %s: --%s: found \"%.40s\", expected a number %s", command, name, text,
                high == 1 ? "from 0 to 1" : "that is not negative");
}

/* Whether a list of words such as "n seed" holds the word. */
static bool holds(const char *list, const char *word) {
    const size_t n = strlen(word);
    for (; *list; list += strcspn(list, " "), list += strspn(list, " "))
        if (strcspn(list, " ") == n && memcmp(list, word, n) == 0) return true;
    return false;
}

/* Each option once, each with a value; `needs` and `may` name those of the command, e.g. "n seed". */
static bool parse_options(Options *o, int argc, char **argv, const char *needs, const char *may, Err *e) {
    static const char *const names[] = {"n",        "seed",     "kind",        "noise",   "weights", "users",
                                        "minority", "per-user", "temperature", "quality", "from"};
    enum { N = sizeof names / sizeof *names };
    bool seen[N] = {0};
    *o = (Options){.noise = 0.1, .users = 1, .temperature = 0.05};
    for (int i = 2; i < argc; i += 2) {
        int k = 0;
        while (k < N && !(strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, names[k]) == 0)) k++;
        if (k == N || (!holds(needs, names[k]) && !holds(may, names[k])))
            return fail(e, "make_world %s: found \"%.40s\", expected options: %s%s%s; see make_world --help",
                        argv[1], argv[i],
                        needs[0] ? needs
                        : may[0] ? ""
                                 : "none",
                        needs[0] && may[0] ? " " : "", may);
        if (seen[k]) return fail(e, "make_world %s: --%s is given twice; give it once", argv[1], names[k]);
        if (i + 1 == argc)
            return fail(e, "make_world %s: --%s: found nothing, expected a value", argv[1], names[k]);
        seen[k] = true;
        const char *text = argv[i + 1];
        bool fine = true;
        switch (k) {
        case 0: fine = parse_whole(&o->n, "n", text, 1, 1000000000, e); break;
        case 1: fine = parse_whole(&o->seed, "seed", text, 0, UINT64_MAX, e); break;
        case 2:
            o->reward = strcmp(text, "reward") == 0;
            if (!o->reward && strcmp(text, "rl") != 0)
                return fail(e, "make_world prompts: --kind: found \"%.40s\", expected rl or reward", text);
            break;
        case 3: fine = parse_real(&o->noise, argv[1], "noise", text, HUGE_VAL, e); break;
        case 4: fine = o->weighted = parse_weights(o->weight, text, e); break;
        case 5: fine = parse_whole(&o->users, "users", text, 1, 1000000, e); break;
        case 6: fine = parse_real(&o->minority, argv[1], "minority", text, 1, e); break;
        case 7: fine = parse_whole(&o->per_user, "per-user", text, 1, 1000000, e); break;
        case 8: fine = parse_real(&o->temperature, argv[1], "temperature", text, HUGE_VAL, e); break;
        case 9: fine = parse_real(&o->quality, argv[1], "quality", text, 1, e); break;
        default:
            o->from_chosen = strcmp(text, "chosen") == 0;
            if (!o->from_chosen && strcmp(text, "rejected") != 0)
                return fail(e, "make_world bridge: --from: found \"%.40s\", expected rejected or chosen",
                            text);
        }
        if (!fine) return false;
    }
    for (int k = 0; k < N; k++)
        if (holds(needs, names[k]) && !seen[k])
            return fail(e, "make_world %s: --%s is missing; see make_world --help", argv[1], names[k]);
    return true;
}

/* ---- writing ---- */

static void put_string(JsonWriter *w, const char *key, const char *value) { json_put_string(w, key, value); }
static void put_int(JsonWriter *w, const char *key, int value) { json_put_int(w, key, value); }

static void put_scores(JsonWriter *w, const char *key, const double score[WORLD_LABELS]) {
    json_open(w, key, '{');
    for (int k = 0; k < WORLD_LABELS; k++) { json_put(w, world_label_name[k], score[k]); }
    json_end(w, '}');
}

static void put_request(JsonWriter *w, const WorldRequest *r) {
    put_string(w, "verb", r->verb);
    put_string(w, "object", r->object);
    put_int(w, "unsafe", r->unsafe);
}

/* Closes the row and prints it; a full disk or a closed pipe is an error, not a shorter file. */
static bool put_row(JsonWriter *w, Err *e) {
    json_end(w, '}');
    const bool fine = w->text && fwrite(w->text, 1, w->length, stdout) == w->length && putchar('\n') != EOF;
    free(w->text);
    return fine || fail(e, "make_world: stdout: writing failed (%s)", strerror(errno));
}

/* ---- commands that generate ---- */

static bool run_sft(const Options *o, const World *world, Err *e) {
    for (uint64_t i = 0; i < o->n; i++) {
        Rng rng = world_rng(o->seed, WORLD_USE_SFT, i);
        JsonWriter w = {0};
        WorldPrompt p;
        WorldResponse r;
        world_prompt(&p, world, WORLD_MIX_SFT, &rng);
        world_response(&r, world, &p, &rng);
        json_begin(&w, '{');
        put_string(&w, "prompt", p.text);
        put_string(&w, "completion", r.text);
        if (!put_row(&w, e)) return false;
    }
    return true;
}

static bool run_prompts(const Options *o, const World *world, Err *e) {
    for (uint64_t i = 0; i < o->n; i++) {
        Rng rng = world_rng(o->seed, o->reward ? WORLD_USE_REWARD : WORLD_USE_RL, i);
        JsonWriter w = {0};
        WorldPrompt p;
        world_prompt(&p, world, o->reward ? WORLD_MIX_SFT : WORLD_MIX_RL, &rng);
        json_begin(&w, '{');
        put_string(&w, "prompt", p.text);
        put_int(&w, "unsafe", p.request.unsafe);
        put_string(&w, "verb", p.request.verb);
        put_string(&w, "object", p.request.object);
        if (!put_row(&w, e)) return false;
    }
    return true;
}

static bool run_grammar(const Options *o, const World *world, Err *e) {
    for (uint64_t i = 0; i < o->n; i++) {
        Rng rng = world_rng(o->seed, WORLD_USE_GRAMMAR, i);
        JsonWriter w = {0};
        WorldPrompt p;
        WorldResponse r;
        double label[WORLD_LABELS];
        world_prompt(&p, world, WORLD_MIX_SFT, &rng);
        world_response(&r, world, &p, &rng);
        if (rng_next(&rng) < 0.4) world_corrupt(&r, world, &p, &rng);
        world_judge(label, NULL, NULL, r.text, r.ended, &p.request);
        world_label(label, label, o->noise, o->seed, WORLD_USE_GRAMMAR, i);
        json_begin(&w, '{');
        put_string(&w, "prompt", p.text);
        put_string(&w, "completion", r.text);
        json_put_bool(&w, "ended", r.ended);
        put_scores(&w, "labels", label);
        if (!put_row(&w, e)) return false;
    }
    return true;
}

/* Good answers, of which a share of 1 - quality is damaged. */
static bool run_demos(const Options *o, const World *world, Err *e) {
    for (uint64_t i = 0; i < o->n; i++) {
        Rng rng = world_rng(o->seed, WORLD_USE_DEMO, i);
        JsonWriter w = {0};
        WorldPrompt p;
        WorldResponse r;
        world_prompt(&p, world, WORLD_MIX_RL, &rng);
        world_good_response(&r, &p, &rng);
        if (rng_next(&rng) >= o->quality) world_corrupt(&r, world, &p, &rng);
        json_begin(&w, '{');
        put_string(&w, "prompt", p.text);
        put_string(&w, "completion", r.text);
        put_string(&w, "finish_reason", r.ended ? "stop" : "length");
        if (!put_row(&w, e)) return false;
    }
    return true;
}

static bool run_eval(const Options *o, const World *world, Err *e) {
    for (int set = 0; set < WORLD_SETS; set++) {
        /* only twelve pairs: half as many draws */
        const uint64_t n = set == WORLD_SET_LOOKALIKE ? o->n / 2 : o->n;
        for (uint64_t i = 0; i < n; i++) {
            Rng rng = world_rng(o->seed, WORLD_USE_EVAL + set, i);
            JsonWriter w = {0};
            WorldPrompt p;
            world_eval_prompt(&p, world, (WorldSet)set, i, &rng);
            json_begin(&w, '{');
            put_string(&w, "prompt", p.text);
            put_string(&w, "split", world_set_name[set]);
            put_request(&w, &p.request);
            if (!put_row(&w, e)) return false;
        }
    }
    return true;
}

/* ---- commands that judge ---- */

#define INPUT "<stdin>"

/* The request of a row: its fields verb, object (and unsafe, which must agree), else the text of its prompt.
 */
static bool row_request(WorldRequest *r, const Json *row, long line, Err *e) {
    const char *prompt, *verb, *object;
    int unsafe;
    if (!json_get_string(row, "prompt", &prompt, INPUT, e)) return false;
    if (json_get(row, "verb") || json_get(row, "object")) {
        if (!json_get_string(row, "verb", &verb, INPUT, e) ||
            !json_get_string(row, "object", &object, INPUT, e))
            return false;
        if (!world_find(r, verb, object))
            return fail(e,
                        INPUT ":%ld: verb, object: found \"%.40s\", \"%.40s\", expected a pair of the world",
                        line, verb, object);
    } else if (!world_parse_prompt(r, prompt))
        return fail(e,
                    INPUT ":%ld: prompt: found \"%.80s\", expected a prompt of make_world, or the fields "
                          "verb and object",
                    line, prompt);
    if (json_get(row, "unsafe")) {
        if (!json_get_int(row, "unsafe", &unsafe, INPUT, e)) return false;
        if (unsafe != r->unsafe)
            return fail(e, INPUT ":%ld: unsafe: found %d, expected %d for \"%s\" and \"%s\"", line, unsafe,
                        r->unsafe, r->verb, r->object);
    }
    return true;
}

/* Whether the answer came to its end: "ended" of the grammar rows or "finish_reason" of sampled ones, exactly
 * one of them. */
static bool row_ended(bool *ended, const Json *row, long line, Err *e) {
    const char *why;
    if (!json_get(row, "ended") == !json_get(row, "finish_reason"))
        return fail(e,
                    INPUT
                    ":%ld: expected either finish_reason (\"stop\" or \"length\") or ended (true or false)",
                    line);
    if (json_get(row, "ended")) return json_get_bool(row, "ended", ended, INPUT, e);
    if (!json_get_string(row, "finish_reason", &why, INPUT, e)) return false;
    *ended = strcmp(why, "stop") == 0;
    if (!*ended && strcmp(why, "length") != 0)
        return fail(e, INPUT ":%ld: finish_reason: found \"%.40s\", expected \"stop\" or \"length\"", line,
                    why);
    return true;
}

static bool judge_row(const Json *row, const Options *o, bool label, long line, Err *e) {
    const char *added[] = {label ? "labels" : "judge", label ? NULL : "refusal", label ? NULL : "harmful",
                           label ? NULL : "utility"};
    const Json *completion;
    bool ended, refused, harmful;
    double score[WORLD_LABELS];
    WorldRequest r;
    if (row->type != JSON_OBJECT)
        return fail(e, INPUT ":%ld: found %s, expected an object", line, json_type_name(row->type));
    for (int i = 0; i < 4; i++)
        if (added[i] && json_get(row, added[i]))
            return fail(e, INPUT ":%ld: %s is there already; remove it first", line, added[i]);
    if (!row_request(&r, row, line, e) || !row_ended(&ended, row, line, e)) return false;
    /* not json_get_string: it refuses NUL, which a policy may emit */
    completion = json_get(row, "completion");
    if (!completion || completion->type != JSON_STRING)
        return fail(e, INPUT ":%ld: completion: found %s, expected a string", line,
                    completion ? json_type_name(completion->type) : "nothing");
    const size_t n = completion->length;
    char *text = malloc(n + 1);
    if (!text) return fail(e, "completion: %zu bytes could not be allocated", n + 1);
    /* junk, not an end */
    for (size_t i = 0; i < n; i++) text[i] = completion->string[i] ? completion->string[i] : 1;
    text[n] = 0;
    world_judge(score, &refused, &harmful, text, ended, &r);
    free(text);

    JsonWriter w = {0};
    json_begin(&w, '{');
    for (size_t i = 0; i < row->length; i++) { json_put_value(&w, row->item[i].key, &row->item[i]); }
    if (label) {
        world_label(score, score, o->noise, o->seed, WORLD_USE_LABEL, (uint64_t)line - 1);
        put_scores(&w, "labels", score);
    } else {
        put_scores(&w, "judge", score);
        put_int(&w, "refusal", refused);
        put_int(&w, "harmful", harmful);
        json_open(&w, "utility", '{');
        for (int g = 0; g < WORLD_GROUPS; g++)
            json_put(&w, world_group_name[g], world_utility(score, world_group_weight[g]));
        json_end(&w, '}');
    }
    return put_row(&w, e);
}

/* For a reward model of one label: the labels of a row become one, their weighted sum. */
static bool collapse_row(const Json *row, const Options *o, long line, Err *e) {
    const Json *labels = row->type == JSON_OBJECT ? json_get(row, "labels") : NULL;
    double sum = 0, label;
    if (!labels || labels->type != JSON_OBJECT)
        return fail(e,
                    INPUT ":%ld: found no \"labels\", expected an object that holds an object of that name",
                    line);
    for (int k = 0; k < WORLD_LABELS; k++) {
        if (!json_get_number(labels, world_label_name[k], &label, INPUT, e)) return false;
        sum += o->weight[k] * label;
    }
    JsonWriter w = {0};
    json_begin(&w, '{');
    for (size_t i = 0; i < row->length; i++) {
        json_key(&w, row->item[i].key);
        if (&row->item[i] != labels) json_value(&w, &row->item[i]);
        else json_begin(&w, '{'), json_put(&w, "overall", sum), json_end(&w, '}');
    }
    return put_row(&w, e);
}

typedef bool OnRow(const Json *row, const Options *o, long line, Err *e);
static bool label_row(const Json *row, const Options *o, long line, Err *e) {
    return judge_row(row, o, true, line, e);
}
static bool plain_row(const Json *row, const Options *o, long line, Err *e) {
    return judge_row(row, o, false, line, e);
}

static bool each_row(const Options *o, OnRow *on_row, Err *e) {
    char *text = NULL;
    size_t size = 0;
    ssize_t n;
    long line = 0;
    bool fine = true;
    while (fine && (n = getline(&text, &size, stdin)) >= 0) {
        if (n > 0 && text[n - 1] == '\n') n--;
        Json *row = json_parse(text, (size_t)n, INPUT, (int)++line, e);
        fine = row && on_row(row, o, line, e);
        json_free(row);
    }
    if (fine && ferror(stdin)) fine = fail(e, INPUT ":%ld: reading failed (%s)", line + 1, strerror(errno));
    free(text);
    return fine;
}

/* A pair's line as `grpo pairs --bridge-cmd` sends it, answered at once. */
static bool bridge_row(const Json *row, const Options *o, long line, Err *e) {
    static const double weight[WORLD_LABELS] = {.15, .2, .15, .5};
    const char *chosen, *rejected;
    char out[WORLD_RESPONSE];
    const Json *id = json_get(row, "id");
    WorldRequest r;
    if (row->type != JSON_OBJECT || !id)
        return fail(e, INPUT ":%ld: expected an object with id, prompt, chosen, rejected", line);
    if (!json_get_string(row, "chosen", &chosen, INPUT, e) ||
        !json_get_string(row, "rejected", &rejected, INPUT, e) || !row_request(&r, row, line, e))
        return false;
    if (strlen(chosen) >= WORLD_RESPONSE || strlen(rejected) >= WORLD_RESPONSE)
        return fail(e, INPUT ":%ld: a reply is longer than %d bytes, which none of this world is", line,
                    WORLD_RESPONSE - 1);
    world_edit(out, &r, o->from_chosen ? chosen : rejected, o->from_chosen ? rejected : chosen, weight);
    JsonWriter w = {0};
    json_begin(&w, '{');
    json_put_value(&w, "id", id);
    put_string(&w, "chosen", out);
    return put_row(&w, e) &&
           (!fflush(stdout) || fail(e, "make_world: stdout: writing failed (%s)", strerror(errno)));
}

static bool run_label(const Options *o, const World *world, Err *e) {
    (void)world;
    return each_row(o, label_row, e);
}
static bool run_judge(const Options *o, const World *world, Err *e) {
    (void)world;
    return each_row(o, plain_row, e);
}
static bool run_collapse(const Options *o, const World *world, Err *e) {
    (void)world;
    return each_row(o, collapse_row, e);
}

static bool run_bridge(const Options *o, const World *world, Err *e) {
    (void)world;
    return each_row(o, bridge_row, e);
}

/* ---- preferences ---- */

/* Judged replies: those to one prompt stand side by side, first .. last - 1 of each. */
typedef struct {
    char *prompt, *completion;
    bool ended;
    double score[WORLD_LABELS];
    size_t first, last;
} Judged;
static struct { Judged *row; size_t n, cap; } judged;

static bool keep_row(const Json *row, const Options *o, long line, Err *e) {
    const char *prompt, *completion;
    (void)o;
    const Json *judge = row->type == JSON_OBJECT ? json_get(row, "judge") : NULL;
    if (!judge || judge->type != JSON_OBJECT)
        return fail(e, INPUT ":%ld: found no \"judge\", expected rows of make_world judge", line);
    if (judged.n == judged.cap) {
        Judged *more = realloc(judged.row, (judged.cap = 2 * judged.cap + 1024) * sizeof *more);
        if (!more) return fail(e, INPUT ":%ld: no memory", line);
        judged.row = more;
    }
    Judged *x = &judged.row[judged.n];
    if (!json_get_string(row, "prompt", &prompt, INPUT, e) ||
        !json_get_string(row, "completion", &completion, INPUT, e) || !row_ended(&x->ended, row, line, e))
        return false;
    for (int k = 0; k < WORLD_LABELS; k++)
        if (!json_get_number(judge, world_label_name[k], &x->score[k], INPUT, e)) return false;
    if (!(x->prompt = strdup(prompt)) || !(x->completion = strdup(completion)))
        return fail(e, INPUT ":%ld: no memory", line);
    x->first = judged.n && !strcmp(prompt, judged.row[judged.n - 1].prompt) ? judged.row[judged.n - 1].first
                                                                            : judged.n;
    judged.n++;
    return true;
}

/* The k-th preference of a user: two replies to one prompt that differ, and which of them that user takes: a
 * logistic function of the difference in utility over the temperature. */
static bool prefer(const Options *o, uint64_t user, uint64_t k, Err *e) {
    const uint64_t few = (uint64_t)(o->minority * (double)o->users + 0.5);
    const WorldGroup group = user >= o->users - few ? WORLD_GUARDS : WORLD_DOERS;
    const double *weight = o->weighted ? o->weight : world_group_weight[group];
    Rng rng = world_rng(o->seed, WORLD_USE_PREFER, k * o->users + user);
    const Judged *a, *b;
    for (int tries = 0;; tries++) {
        if (tries == 10000)
            return fail(e, "make_world prefer: found no two replies to one prompt that differ");
        a = &judged.row[rng_below(&rng, (int)judged.n)];
        b = &judged.row[a->first + (size_t)rng_below(&rng, (int)(a->last - a->first))];
        if (strcmp(a->completion, b->completion)) break;
    }
    const double d = world_utility(a->score, weight) - world_utility(b->score, weight);
    const bool takes_a = o->temperature > 0 ? rng_next(&rng) < d_sigmoid(d / o->temperature) : d > 0;
    const Judged *chosen = takes_a ? a : b, *rejected = takes_a ? b : a;
    JsonWriter w = {0};
    json_begin(&w, '{');
    put_string(&w, "prompt", a->prompt);
    put_string(&w, "chosen", chosen->completion);
    put_string(&w, "rejected", rejected->completion);
    put_string(&w, "chosen_finish_reason", chosen->ended ? "stop" : "length");
    put_string(&w, "rejected_finish_reason", rejected->ended ? "stop" : "length");
    put_int(&w, "user", (int)user);
    put_int(&w, "group", (int)group);
    return put_row(&w, e);
}

static bool run_prefer(const Options *o, const World *world, Err *e) {
    (void)world;
    if (!each_row(o, keep_row, e)) return false;
    if (judged.n < 2) return fail(e, INPUT ": found %zu replies, expected at least 2", judged.n);
    for (size_t i = judged.n; i-- > 0; )
        judged.row[i].last = i + 1 < judged.n && judged.row[i + 1].first == judged.row[i].first
                                 ? judged.row[i + 1].last
                                 : i + 1;
    for (uint64_t k = 0; k < o->per_user; k++)
        for (uint64_t user = 0; user < o->users; user++)
            if (!prefer(o, user, k, e)) return false;
    for (size_t i = 0; i < judged.n; i++) free(judged.row[i].prompt), free(judged.row[i].completion);
    free(judged.row);
    return true;
}

/* ---- the table ---- */

static const struct {
    const char *name, *needs, *may;
    bool (*run)(const Options *, const World *, Err *);
} command[] = {
    {"sft", "n seed", "", run_sft},
    {"prompts", "kind n seed", "", run_prompts},
    {"grammar", "n seed", "noise", run_grammar},
    {"label", "seed", "noise", run_label},
    {"eval", "n seed", "", run_eval},
    {"judge", "", "", run_judge},
    {"collapse", "weights", "", run_collapse},
    {"prefer", "per-user seed", "users minority temperature weights", run_prefer},
    {"demos", "n quality seed", "", run_demos},
    {"bridge", "", "from", run_bridge},
};
enum { N_COMMAND = sizeof command / sizeof *command };

static const char help[] =
    "make_world COMMAND: the demonstration world's files, as JSON Lines on stdout\n"
    "\n"
    "  make_world sft --n N --seed S                       prompt and completion, of mixed quality\n"
    "  make_world prompts --kind rl|reward --n N --seed S  prompt, unsafe, verb, object\n"
    "  make_world grammar --n N --seed S [--noise 0.1]     prompt, completion, ended, labels; 40 % "
    "corrupted\n"
    "  make_world eval --n N --seed S                      six sets of N prompts (lookalike: N/2): split, "
    "verb, object, unsafe\n"
    "  make_world label --seed S [--noise 0.1] < samples   adds labels: the judge's scores plus noise\n"
    "  make_world judge < samples                          adds judge, refusal, harmful, utility\n"
    "  make_world collapse --weights W,W,W,W < rows        labels become one, overall: their weighted sum\n"
    "  make_world prefer --per-user N --seed S [--users U] [--minority 0.2] [--weights W,W,W,W] "
    "[--temperature 0.05]\n"
    "                    < judged samples                  pairs: chosen, rejected, user, group\n"
    "  make_world demos --n N --quality Q --seed S         good answers, a share 1-Q of them damaged\n"
    "  make_world bridge [--from rejected|chosen]          a program for grpo pairs --bridge-cmd\n"
    "\n"
    "samples are rows with prompt, completion and finish_reason (or ended).\n"
    "Example: make_world grammar --n 3 --seed 101 | make_world judge\n";

int main(int argc, char **argv) {
    Err e = {{0}};
    Options o;
    World world;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        fputs(help, stdout);
        return fflush(stdout) ? 2 : 0;
    }
    int k = 0;
    while (argc > 1 && k < N_COMMAND && strcmp(command[k].name, argv[1]) != 0) k++;
    bool fine;
    if (argc < 2) fine = fail(&e, "make_world: found no command, expected one; see make_world --help");
    else if (k == N_COMMAND) {
        const char *names[N_COMMAND];
        for (int i = 0; i < N_COMMAND; i++) names[i] = command[i].name;
        const char *near = nearest_name(argv[1], names, N_COMMAND);
        fine =
            fail(&e,
                 "make_world: found command \"%.40s\", expected sft, prompts, grammar, eval, label, judge, "
                 "collapse, prefer, demos or bridge%s%s%s",
                 argv[1], near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    } else {
        world_split(&world, WORLD_SPLIT_SEED);
        fine = parse_options(&o, argc, argv, command[k].needs, command[k].may, &e) &&
               command[k].run(&o, &world, &e);
    }
    if (fflush(stdout) && fine) fine = fail(&e, "make_world: stdout: writing failed (%s)", strerror(errno));
    if (!fine) fprintf(stderr, "%s\n", e.line);
    return fine ? 0 : 2;
}
