/* eval.c: `grpo eval`: policies side by side on the same prompts, with 95 % intervals: its options; the work
 * is run/evaluate.c's. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "run/evaluate.h"
#include "run/options.h"
#include "lib/words.h"
#include "text/fit.h"

typedef struct {
    const char *policies, *dataset, *reward_clip, *group_by;
    ScorerOptions scorer;
    SpeakerOptions speak;
    int slice_rows, missing, limit;
    bool json, skip_errors;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"policies", SET_STRING, AT(policies), NULL, NULL,
     "folders of language models, with commas; differences are to the first"},
    {"dataset", SET_STRING, AT(dataset), NULL, NULL, "JSONL or text file of prompts"},
    {"reward_clip", SET_STRING, AT(reward_clip), NULL, NULL,
     "LOW,HIGH: scores are cut to it before they are weighted"},
    {"missing_labels", SET_CHOICE, AT(missing), "zero", missing_labels_names,
     "what an unscored label counts in the reward"},
    {"group_by", SET_STRING, AT(group_by), NULL, NULL,
     "column of the data set, such as split: a row for each of its values"},
    {"slice_rows", SET_INT, AT(slice_rows), "1024", NULL, "tokens scored at once: memory only"},
    ROWS_SETTINGS(AT(limit), AT(skip_errors)),
    {"json", SET_BOOL, AT(json), "false", NULL, "the tables as JSON"},
    SETTINGS_END};
static const OptionTable table = {
    "eval", "policies side by side on the same prompts, with 95 % intervals",
    "grpo eval --policies runs/sft/final,runs/grpo/final --dataset eval.jsonl --reward-model "
    "runs/reward/final --group-by split --max-completion-length 64",
    .part = {{rows, 0}, {scorer_settings, AT(scorer)}, {speaker_settings, AT(speak)}},
    .own = {{"num_generations", "1"}}};

static bool add_policies(Eval *v, const Config *c, Err *e) {
    char dir[1024];
    bool ok = true;
    for (const char *at = c->policies; ok && list_next(dir, sizeof dir, &at); ) {
        Speaker s = {0};
        ok = speaker_open(&s, dir, &c->speak.chat, e) && eval_add(v, dir, &s, NULL, e);
        speaker_close(&s);
    }
    return ok;
}

/* What every policy must be able to answer, before the first one does. */
static bool eval_fits(Dataset *d, const Config *c, LeftOut *out, Err *e) {
    char dir[1024];
    bool ok = true;
    for (const char *at = c->policies; ok && list_next(dir, sizeof dir, &at); ) {
        Language l = {0};
        ok = speaker_language(&l, dir, &c->speak.chat, e) &&
             fit_prompts(d, &l, c->speak.max_completion_length, out, e);
        language_free(&l);
    }
    return ok;
}

static bool eval(const Config *c, Err *e) {
    Dataset d;
    LeftOut out = {.command = "eval", .skip = c->skip_errors};
    double weight[MAX_LABELS], low[MAX_LABELS], high[MAX_LABELS];
    if (!c->policies || !*c->policies)
        return fail(e, "--policies: not given; expected folders of models, with commas");
    if (!c->dataset) return fail(e, "--dataset: not given; expected a JSONL or text file of prompts");
    if (c->speak.num_generations < 1 || c->speak.max_completion_length < 1 || c->slice_rows < 1)
        return fail(e,
                    "--num-generations %d, --max-completion-length %d, --slice-rows %d: expected at least 1",
                    c->speak.num_generations, c->speak.max_completion_length, c->slice_rows);
    if (!sampling_check(&c->speak.sampling, e) ||
        !dataset_load_some(&d, c->dataset, NEED_PROMPT, c->speak.system, c->limit, &out, e) ||
        !eval_fits(&d, c, &out, e))
        return false;
    if (c->reward_clip && !parse_range(&low[0], &high[0], c->reward_clip, "--reward-clip", e)) return false;
    for (int k = 1; c->reward_clip && k < MAX_LABELS; k++) low[k] = low[0], high[k] = high[0];
    Scorer *s = scorer_open(&c->scorer, c->slice_rows, &d, e);
    if (!s || !scorer_check(s, &d, false, &out, e)) {
        scorer_close(s);
        return false;
    }
    left_out_tell(&out, d.n);
    const EvalPlan plan = {.data = &d, .scorer = s, .weight = weight, .clip_low = c->reward_clip ? low : NULL,
                           .clip_high = high, .missing = (MissingLabels)c->missing,
                           .sampling = c->speak.sampling,
                           .num_generations = c->speak.num_generations,
                           .max_completion_length = c->speak.max_completion_length,
                           .seed = c->speak.seed,
                           .group_by = c->group_by,
                           .left_out = out.n};
    Eval *v =
        parse_weights(weight, c->scorer.weights, scorer_labels(s), scorer_n_label(s), "--reward-weights", e)
            ? eval_new(&plan, e)
            : NULL;
    bool ok = v && add_policies(v, c, e);
    if (ok && c->json) {
        JsonWriter w = {.indent = 2};
        eval_json(&w, v);
        ok = json_print(&w, "\n", e);
        free(w.text);
    } else if (ok) eval_print(v);
    eval_free(v);
    scorer_close(s);
    return ok;
}

int cmd_eval(int argc, char **argv, Err *e) {
    Config c = {0};
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return eval(&c, e) ? 0 : -1;
}
