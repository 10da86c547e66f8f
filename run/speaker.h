/* speaker.h: a policy that answers prompts: what sample, chat and eval share. */
#ifndef SPEAKER_H
#define SPEAKER_H

#include "text/data.h"
#include "run/cost.h"
#include "net/folder.h"
#include "run/rollout.h"
#include "lib/settings.h"

typedef struct {
    int num_generations, max_completion_length, seed;
    Sampling sampling;
    ChatChoice chat;
    const char *system;
} SpeakerOptions;
extern const Setting speaker_settings[];

typedef struct {
    Model *model;
    FolderInfo info;
    Language language;
    int stop[MAX_STOPS + 1], n_stop;    /* ids that end a completion */
    double repetition_penalty;          /* 0: none; the opener's to set */
    const Mixture *mixture;             /* NULL: alone; else it is the first of these, the opener's too */
} Speaker;
/* chat NULL: the folder's own template. A reward model is refused. speaker_language: what can be known
 * without the weights; to be freed, also after a failure. */
bool speaker_language(Language *l, const char *dir, const ChatChoice *chat, Err *e);
bool speaker_open(Speaker *s, const char *dir, const ChatChoice *chat, Err *e);
void speaker_close(Speaker *s);
/* Several, from folders with commas: *n of at most max, all with the same tokenizer.json and as many entries
 * in their vocabulary. Each is to be closed, also after a failure. */
bool speakers_open(Speaker *s, int *n, int max, const char *folders, const ChatChoice *chat, Err *e);
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
/* The prompts with their answers, as the cost's formulas see them. */
Texts answers_texts(const Answers *a);
/* Adds to c what the answers took, by formula and as taken; their passes are counted where s->model->tally
 * points to. ref: another network that read them, or NULL. */
void answers_cost(Costs *c, const Answers *a, const Speaker *s, const Model *ref);
/* kl[i]: the sum over answer i's tokens of its logp less ref's, at the temperature (0: at 1). What ref takes
 * in memory is told as the reference's. */
bool answers_kl(double *kl, Costs *cost, const Model *ref, const Answers *answers, int slice_rows,
                double temperature, Err *e);
/* Opens a line for a reply: the columns of its data (of a text file the prompt) but those that the line
 * itself has, then completion, finish_reason, completion_length, logp, and kl unless it is NULL. The caller
 * adds the columns `more` and ends the object. */
void answer_put(JsonWriter *w, const Example *x, const char *text, bool ended, int length, double logp,
                const double *kl, const char *const *more, size_t n_more);
/* The sum over its tokens, in nats. */
double answer_logp(const Answers *a, int i);
/* Without its closing token; to be freed. */
char *answer_text(const Answers *a, const Speaker *s, int i, Err *e);

#endif
