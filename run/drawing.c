/* drawing.c: generation_config.json of a folder, and what of it holds. */
#include "run/drawing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run/options.h"
#include "net/folder.h"
#include "lib/files.h"
#include "lib/json.h"
#include "lib/words.h"

static const struct DrawSetting {
    const char *name, *option;
    size_t offset;
    bool draws, whole,
        above; /* says something about drawing; a whole number; more than low, not equal to it */
    double low, high, transformers, silent;
    const char *expected;
} setting[] = {
#define AT(field) offsetof(GenerationConfig, field)
    {"do_sample", "--do-sample", AT(do_sample), true, true, false, 0, 1, 0, 1, "true or false"},
    {"temperature", "--temperature", AT(temperature), true, false, false, 0, INFINITY, 1, 1,
     "0 (greedy) or more"},
    {"top_k", "--top-k", AT(top_k), true, true, false, 0, 2e9, 50, 0, "0 (off) or a whole number above"},
    {"top_p", "--top-p", AT(top_p), true, false, true, 0, 1, 1, 1, "more than 0 and at most 1 (off)"},
    {"min_p", "--min-p", AT(min_p), true, false, false, 0, 1, 0, 0, "0 (off) to 1"},
    {"repetition_penalty", "--repetition-penalty", AT(repetition_penalty), true, false, true, 0, INFINITY, 1,
     1, "more than 0 (1: off)"},
    {"max_new_tokens", "--max-completion-length", AT(max_new_tokens), false, true, false, 1, 1e9, 256, 256,
     "a whole number from 1 on"},
#undef AT
};
enum { N_SETTING = sizeof setting / sizeof *setting };

static double *field(GenerationConfig *g, const struct DrawSetting *s) {
    return (double *)(void *)((char *)g + s->offset);
}

static bool allowed(const struct DrawSetting *s, double v) {
    return v >= s->low && v <= s->high && isfinite(v) && !(s->above && v == s->low) &&
           !(s->whole && v != floor(v));
}

/* What changes nothing that is drawn: ids that are read elsewhere, how it is computed, what else is returned,
 * what only beams and encoders know, other ways to the same distribution. */
static const char *const without_effect[] = {"_commit_hash",
                                             "_from_model_config",
                                             "assistant_*",
                                             "bos_token_id",
                                             "cache_*",
                                             "compile_config",
                                             "continuous_batching_config",
                                             "decoder_start_token_id",
                                             "disable_compile",
                                             "early_stopping",
                                             "encoder_*",
                                             "eos_token_id",
                                             "is_assistant",
                                             "length_penalty",
                                             "low_memory",
                                             "max_cache_len",
                                             "max_length",
                                             "max_matching_ngram_size",
                                             "num_assistant_*",
                                             "output_*",
                                             "pad_token_id",
                                             "prefill_chunk_size",
                                             "prompt_lookup_num_tokens",
                                             "remove_invalid_values",
                                             "renormalize_logits",
                                             "return_dict_in_generate",
                                             "speculation_type",
                                             "target_lookbehind",
                                             "transformers_version",
                                             "trust_remote_code",
                                             "use_*"};
/* Settings of transformers that are off at this value. */
static const struct { const char *name; double off;
} known_off[] = {{"begin_suppress_tokens", 0}, {"diversity_penalty", 0},
                 {"epsilon_cutoff", 0},        {"eta_cutoff", 0},
                 {"guidance_scale", 1},        {"min_length", 0},
                 {"min_new_tokens", 0},        {"no_repeat_ngram_size", 0},
                 {"num_beam_groups", 1},       {"num_beams", 1},
                 {"num_return_sequences", 1},  {"penalty_alpha", 0},
                 {"token_healing", 0},         {"typical_p", 1}};

static bool may_matter(const Json *v) {
    if (v->type == JSON_NULL ||
        name_among(v->key, without_effect, sizeof without_effect / sizeof *without_effect))
        return false;
    for (size_t i = 0; i < sizeof known_off / sizeof *known_off; i++)
        if (!strcmp(known_off[i].name, v->key))
            return (v->type != JSON_NUMBER && v->type != JSON_BOOL) || v->number != known_off[i].off;
    return true;
}

static void note(char *to, size_t size, const char *separator, const char *text) {
    const size_t n = strlen(to);
    snprintf(to + n, size - n, "%s%.60s", n ? separator : "", text);
}

/* What the file says, and the names of what it says in vain. */
static bool read_generation(GenerationConfig *g, char ignored[1024], const char *path, Err *e) {
    Json *o = json_read_file(path, e);
    if (!o) return false;
    bool ok =
        o->type == JSON_OBJECT || fail(e, "%s: found %s, expected an object", path, json_type_name(o->type));
    for (size_t i = 0; ok && i < o->length; i++) {
        const Json *v = &o->item[i];
        const struct DrawSetting *s = setting;
        while (s < setting + N_SETTING && strcmp(s->name, v->key)) s++;
        if (s == setting + N_SETTING) {
            if (may_matter(v)) note(ignored, 1024, ", ", v->key);
            continue;
        }
        if (v->type == JSON_NULL) continue;
        const JsonType wanted = s == setting ? JSON_BOOL : JSON_NUMBER;
        if (v->type != wanted)
            ok = fail(e, "%s:%d:%d: %s: found %s, expected %s", path, v->line, v->column, v->key,
                      json_type_name(v->type), s->expected);
        else if (!allowed(s, v->number))
            ok = fail(e, "%s:%d:%d: %s: found %g, expected %s", path, v->line, v->column, v->key, v->number,
                      s->expected);
        *field(g, s) = v->number;
    }
    json_free(o);
    return ok;
}

/* The settings in force, as words. */
static void describe(char *to, size_t size, const Drawing *d) {
    const Sampling *s = &d->sampling;
    char filters[160] = "";
    const struct {
        const char *name;
        double value, off;
    } filter[] = {{"top_k", s->top_k, 0},
                  {"top_p", s->top_p, 1},
                  {"min_p", s->min_p, 0},
                  {"repetition_penalty", d->repetition_penalty, 1}};
    for (int i = 0; i < 4; i++) {
        char one[64];
        snprintf(one, sizeof one, "%s %g", filter[i].name, filter[i].value);
        if (filter[i].value != filter[i].off) note(filters, sizeof filters, ", ", one);
    }
    char first[64] = "greedy";
    if (s->temperature != 0) snprintf(first, sizeof first, "temperature %g", s->temperature);
    snprintf(to, size, "%s%s%s, at most %d tokens", first, *filters ? ", " : "", filters, d->max_new_tokens);
}

bool drawing_settle(Drawing *d, const GenerationConfig *asked, const char *command, const char *dir, Err *e) {
    GenerationConfig file = {NAN, NAN, NAN, NAN, NAN, NAN, NAN}, use = *asked;
    char base[1024], path[1024], ignored[1024] = "", taken[256] = "", words[256];
    *d = (Drawing){.repetition_penalty = 1};
    if (!folder_base(base, dir, e) || !path_join(path, sizeof path, base, "generation_config.json", e))
        return false;
    if (path_exists(path) && !read_generation(&file, ignored, path, e)) return false;
    bool says = false;
    for (int i = 0; i < N_SETTING; i++) {
        const double a = *field(&use, &setting[i]);
        if (!isnan(a) && !allowed(&setting[i], a))
            return fail(e, "%s: found %g, expected %s", setting[i].option, a, setting[i].expected);
        says = says || (setting[i].draws && !isnan(*field(&file, &setting[i])));
    }
    if (isnan(use.do_sample) &&
        !(isnan(use.temperature) && isnan(use.top_k) && isnan(use.top_p) && isnan(use.min_p)))
        use.do_sample = 1;
    for (int i = 0; i < N_SETTING; i++) {
        double *u = field(&use, &setting[i]);
        const double f = *field(&file, &setting[i]);
        if (!isnan(*u)) continue;
        if (!isnan(f)) note(taken, sizeof taken, ", ", setting[i].name);
        *u = !isnan(f) ? f : says ? setting[i].transformers : setting[i].silent;
    }
    d->sampling = use.do_sample != 0 ? (Sampling){use.temperature, (int)use.top_k, use.top_p, use.min_p}
                                     : (Sampling){0, 0, 1, 0};
    d->repetition_penalty = use.repetition_penalty;
    d->max_new_tokens = (int)use.max_new_tokens;
    describe(words, sizeof words, d);
    size_t n = 0;
    if (*taken)
        n = (size_t)snprintf(d->notes, sizeof d->notes, "%s: %s; %.600s says: %s\n", command, words, path,
                             taken);
    if (*ignored)
        snprintf(d->notes + n, sizeof d->notes - n,
                 "%s: %.600s: not known here, ignored although it may change what is said: %.600s\n", command,
                 path, ignored);
    return true;
}
