/* drawing.h: how `sample` and `chat` draw: from defaults, then the folder's generation_config.json, then what
 * was asked for.
 *
 * The defaults are transformers' where the file says anything about drawing, so that the folder draws here as
 * it does there: greedy unless do_sample is true, and then top_k 50. Where it says nothing the policy itself
 * is drawn from, at temperature 1 and unfiltered, as in training. */
#ifndef DRAWING_H
#define DRAWING_H

#include "lib/base.h"
#include "run/rollout.h"

/* NaN: not said */
typedef struct {
    double do_sample, temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens;
} GenerationConfig;

typedef struct {
    Sampling sampling;                  /* temperature 0: greedy */
    double repetition_penalty;          /* 1: off */
    int max_new_tokens;
    char notes[2048]; /* lines for stderr: what the file decided, and which of its settings are not known
                         here; "" if none */
} Drawing;
/* asked: from the command line and --config; a temperature or a filter asked for means do_sample. command:
 * for the notes. Errors name the file and place, or the option. An adapter draws as its base's folder says.
 */
bool drawing_settle(Drawing *d, const GenerationConfig *asked, const char *command, const char *dir, Err *e);

#endif
