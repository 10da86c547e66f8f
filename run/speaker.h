/* speaker.h: a policy that answers prompts: what sample, chat and eval share. */
#ifndef SPEAKER_H
#define SPEAKER_H

#include "text/data.h"
#include "run/cost.h"
#include "net/folder.h"
#include "run/rollout.h"

/* Rows of an option table (cmd/options.h) for a struct with these members; group: the default of
 * num_generations. */
#define SPEAKER_OPTIONS(Struct, group) \
    {"num_generations", \
     OPT_INT, \
     offsetof(Struct, num_generations), \
     group, \
     "completions of each prompt", \
     NULL}, \
        {"max_completion_length", OPT_INT, offsetof(Struct, max_completion_length), "256", \
         "tokens at most",        NULL}, \
        {"temperature", OPT_NUMBER, offsetof(Struct, sampling.temperature), "1", "0: greedy", NULL}, \
        {"top_k", OPT_INT, offsetof(Struct, sampling.top_k), "0", "0: off", NULL}, \
        {"top_p", OPT_NUMBER, offsetof(Struct, sampling.top_p), "1", "1: off", NULL}, \
        {"min_p", OPT_NUMBER, offsetof(Struct, sampling.min_p), "0", "0: off", NULL}, \
        {"seed", OPT_INT, offsetof(Struct, seed), "42", "of the draws, the same for every policy", NULL}, \
        {"chat_template", \
         OPT_STRING, \
         offsetof(Struct, chat_template), \
         NULL, \
         "template of the policies, if theirs is unknown", \
         NULL}, \
    { \
        "system", OPT_STRING, offsetof(Struct, system), NULL, "system message for prompts that have none", \
            NULL \
    }

typedef struct {
    Model *model;
    FolderInfo info;
    Language language;
    int stop[MAX_STOPS + 1], n_stop;    /* ids that end a completion */
    double repetition_penalty;          /* 0: none; the opener's to set */
} Speaker;
/* chat_template NULL: the folder's own. A reward model is refused. */
bool speaker_open(Speaker *s, const char *dir, const char *chat_template, Err *e);
void speaker_close(Speaker *s);
/* The ids that end a completion, from info and language; speaker_open has done it. */
void speaker_stops(Speaker *s);

/* The answers to n prompts: completion i belongs to prompt i / group. Owned; answers_free also after a
 * failure. */
typedef struct { int n, group, max_new; Ids *prompt; Rollout out; } Answers;
/* first: number of x[0] in its data set, for the draws: keyed by (seed, step, first + prompt, completion,
 * position). path: for messages. */
bool speaker_answer(Answers *a, const Speaker *s, const Example *x, int n, int first, int group, int max_new,
                    const Sampling *sampling, int seed, int step, const char *path, Err *e);
void answers_free(Answers *a);
/* Adds to c what the answers took, by formula and as taken; their passes are counted where s->model->tally
 * points to. ref: another network that read them, or NULL. */
void answers_cost(Costs *c, const Answers *a, const Speaker *s, const Model *ref);
/* Without its closing token; to be freed. */
char *answer_text(const Answers *a, const Speaker *s, int i, Err *e);

#endif
