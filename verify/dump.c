/* dump.c: a dump becomes arrays, settings, and one line if anything in it does not fit.
 *
 * In this order: memory, the table of stages, numbers out of tensors, settings, shapes, the whole file. */
#include "verify/dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/words.h"
#include "run/options.h"
#include "verify/profiles.h"

/* ---- memory ---- */
void *pool_take(Pool *p, size_t count, size_t size, Err *e) {
    if (size && count > SIZE_MAX / 4 / size) {
        fail(e, "verify: %zu elements could not be allocated", count);
        return NULL;
    }
    if (p->n == p->capacity) {
        const size_t wanted = p->capacity ? 2 * p->capacity : 64;
        void **more = realloc(p->block, wanted * sizeof *more);
        if (!more) { fail(e, "verify: no memory"); return NULL; }
        p->block = more;
        p->capacity = wanted;
    }
    void *x = memory_new(count * size, "verify", e);
    if (x) p->block[p->n++] = x;
    return x;
}

Model *pool_model(Pool *p, const ModelConfig *c, Err *e) {
    if (p->n_model == POOL_MODELS) {
        fail(e, "verify: more than %d changed models at once", POOL_MODELS);
        return NULL;
    }
    Model *m = model_new(c, e);
    if (m) p->model[p->n_model++] = m;
    return m;
}

void pool_free(Pool *p) {
    for (int i = 0; i < p->n_model; i++) model_free(p->model[i]);
    for (size_t i = 0; i < p->n; i++) memory_free(p->block[i]);
    free(p->block);
    *p = (Pool){0};
}

/* ---- stages ---- */
const StageInfo stage_info[N_STAGE] = {
    [STAGE_MASK] = {"mask", "completion_mask", "E22", SHAPE_MASK},
    [STAGE_LOSS_MASK] = {"loss_mask", "loss_mask", "E119", SHAPE_MASK},
    [STAGE_LOGITS] = {"logits", "logits", "E4", SHAPE_LOGITS},
    [STAGE_LOGPS] = {"logps", "per_token_logps", "E23", SHAPE_TOKENS},
    [STAGE_OLD] = {"old", "old_per_token_logps", "E81", SHAPE_TOKENS},
    [STAGE_REF] = {"ref", "ref_per_token_logps", "E94", SHAPE_TOKENS},
    [STAGE_SAMPLER] = {"sampler", "sampling_per_token_logps", "E23", SHAPE_TOKENS},
    [STAGE_ENTROPIES] = {"entropies", "entropies", "E25", SHAPE_TOKENS},
    [STAGE_REWARDS] = {"rewards", "rewards", "E60", SHAPE_ROWS},
    [STAGE_ADVANTAGES] = {"advantages", "advantages", "E84", SHAPE_TOKENS_OR_ROWS},
    [STAGE_ISR] = {"isr", "importance_sampling_ratio", "E110", SHAPE_TOKENS_OR_ROWS},
    [STAGE_RATIO] = {"ratio", "ratio", "E91", SHAPE_TOKENS_OR_ROWS},
    [STAGE_KL] = {"kl", "per_token_kl", "E96", SHAPE_TOKENS},
    [STAGE_TOKEN_LOSS] = {"per_token_loss", "per_token_loss", "E111", SHAPE_TOKENS_OR_ROWS},
    [STAGE_LOSS] = {"loss", "loss", "E112", SHAPE_ONE},
    [STAGE_DLOGP] = {"dlogp", "grad_per_token_logps", "E113", SHAPE_TOKENS},
    [STAGE_GRAD_NORM] = {"grad_norm", "grad_norm", "E284", SHAPE_ONE},
    [STAGE_GRAD] = {"grad", "grad.", "E6", SHAPE_PARAMETERS},
    [STAGE_STEP] = {"step", "param.", "E282", SHAPE_PARAMETERS},
};

/* ---- numbers out of tensors ---- */
typedef enum { NOT_WHOLE, WHOLE_I64, WHOLE_I32, WHOLE_U8 } Whole;

static Whole whole_kind(const Tensor *t) {
    if (!strcmp(t->dtype, "I64")) return WHOLE_I64;
    if (!strcmp(t->dtype, "I32")) return WHOLE_I32;
    return !strcmp(t->dtype, "U8") || !strcmp(t->dtype, "BOOL") ? WHOLE_U8 : NOT_WHOLE;
}

static int64_t whole_at(const Tensor *t, Whole kind, size_t j) {
    if (kind == WHOLE_I64) return ((const int64_t *)t->data)[j];
    return kind == WHOLE_I32 ? ((const int32_t *)t->data)[j] : ((const unsigned char *)t->data)[j];
}

void tensor_reals(real *out, const Tensor *t, size_t first, size_t n) {
    store_to_real(out, (const char *)t->data + first * store_size(t->store), t->store, n);
}

Precision tensor_precision(const Tensor *t) {
    return t->store == STORE_F64    ? PRECISION_F64
           : t->store == STORE_BF16 ? PRECISION_BF16
           : t->store == STORE_F16  ? PRECISION_F16
                                    : PRECISION_F32;
}

/* "[8,12]" */
static const char *tensor_shape(char out[128], const Tensor *t) {
    size_t at = (size_t)snprintf(out, 128, "[");
    for (int i = 0; i < t->n_dim && at < 100; i++)
        at += (size_t)snprintf(out + at, 128 - at, "%s%zu", i ? "," : "", t->shape[i]);
    snprintf(out + at, 128 - at, "]");
    return out;
}

static bool is_real(const Tensor *t) { return t->store != STORE_REAL; }

static bool want_reals(const Dump *d, const Tensor *t, Err *e) {
    return is_real(t) || fail(e, "%s: tensor %.160s: found dtype %s, expected F64, F32, BF16 or F16", d->path,
                              t->name, t->dtype);
}

/* Ids, or a mask of zeros and ones, as int or unsigned char. */
static bool take_whole(Dump *d, void *out, const Tensor *t, bool mask, Err *e) {
    const Whole kind = whole_kind(t);
    if (kind == NOT_WHOLE)
        return fail(e, "%s: tensor %.160s: found dtype %s, expected I64, I32, U8 or BOOL", d->path, t->name,
                    t->dtype);
    for (size_t j = 0; j < t->count; j++) {
        const int64_t x = whole_at(t, kind, j);
        if (mask && x != 0 && x != 1)
            return fail(e, "%s: tensor %.160s: found %lld at [%zu,%zu], expected 0 or 1", d->path, t->name,
                        (long long)x, j / t->shape[1], j % t->shape[1]);
        if (mask) ((unsigned char *)out)[j] = (unsigned char)x;
        else
            ((int *)out)[j] = x < 0 || x > 1 << 30
                                  ? -1
                                  : (int)x; /* padding may hold anything; real tokens are looked at later */
    }
    return true;
}

/* ---- settings ---- */
static void append_name(char *list, size_t size, const char *name) {
    const size_t at = strlen(list);
    if (at + strlen(name) + 8 < size) snprintf(list + at, size - at, "%s%s", at ? ", " : "", name);
    else if (at && list[at - 1] != '.') snprintf(list + at, size - at, ", ...");
}

static bool wrong_key(const Dump *d, const Json *v, const char *expected, Err *e) {
    return fail(e, "%s: metadata config: %.60s: found %s%s%.40s%s, expected %s", d->path, v->key,
                json_type_name(v->type), v->type == JSON_STRING ? " \"" : "",
                v->type == JSON_STRING ? v->string : "", v->type == JSON_STRING ? "\"" : "", expected);
}

static bool read_key(Dump *d, const Setting *k, const Json *v, Err *e) {
    void *field = (char *)&d->set + k->at;
    const bool optional = !strncmp(v->key, "vllm_", 5) || !k->fallback || !strcmp(k->fallback, "none");
    if (v->type == JSON_NULL && (k->kind == SET_CHOICE || k->kind == SET_INT)) {
        if (k->at == offsetof(DumpSettings, window.steps_per_generation)) *(int *)field = 0;
        return true;
    }
    switch (k->kind) {
    case SET_INT:
        if (v->type != JSON_NUMBER || v->number != floor(v->number) || fabs(v->number) > 1e9)
            return wrong_key(d, v, "a whole number", e);
        *(int *)field = (int)v->number;
        return true;
    case SET_NUMBER: case SET_STEPS:
        if (v->type != JSON_NUMBER && !(optional && v->type == JSON_NULL))
            return wrong_key(d, v, optional ? "a number or null" : "a number", e);
        *(double *)field = v->type == JSON_NULL ? NAN : v->number;
        return true;
    case SET_BOOL:
        if (v->type != JSON_BOOL) return wrong_key(d, v, "true or false", e);
        *(bool *)field = v->number != 0;
        return true;
    case SET_CHOICE: case SET_STRING: case SET_HEADING: break;
    }
    /* TRL's older form: whether to divide at all */
    if (v->type == JSON_BOOL && k->choice == scale_rewards_names) {
        d->set.grpo.scale_rewards = v->number != 0 ? SCALE_GROUP : SCALE_NONE;
        return true;
    }
    if (v->type != JSON_STRING) return wrong_key(d, v, "one of its names", e);
    char option[1200];
    snprintf(option, sizeof option, "%s: metadata config: %s", d->path, v->key);
    return choice_parse(field, k->choice, v->string, option, e);
}

static bool read_step(Dump *d, const Json *v, Err *e) {
    if (v->type != JSON_NUMBER || v->number != floor(v->number) || !(v->number >= 1 && v->number <= 1e12))
        return wrong_key(d, v, "a whole number from 1", e);
    d->set.step = (int64_t)v->number;
    return true;
}

static bool read_stops(Dump *d, const Json *v, Err *e) {
    const size_t n = v->type == JSON_ARRAY ? v->length : 1;
    if (v->type == JSON_NULL) return true;
    if (n > MAX_STOPS) return wrong_key(d, v, "at most 8 ids", e);
    for (size_t i = 0; i < n; i++) {
        const Json *x = v->type == JSON_ARRAY ? &v->item[i] : v;
        if (x->type != JSON_NUMBER || x->number != floor(x->number) || !(x->number >= 0 && x->number <= 1e9))
            return wrong_key(d, v, "a token id or a list of them", e);
        d->set.stop[i] = (int)x->number;
    }
    d->set.n_stop = (int)n;
    return true;
}

/* Weights and names of the labels; how many there are, the scores say. */
static bool dump_labels(Dump *d, const Json *config, Err *e) {
    const size_t k = d->n_label;
    const Json *w = json_get(config, "reward_weights"), *names = json_get(config, "reward_names");
    if (!k) return true;
    if (!(d->weight = pool_take(&d->pool, k, sizeof *d->weight, e)) ||
        !(d->label = pool_take(&d->pool, k, sizeof *d->label, e)))
        return false;
    for (size_t i = 0; i < k; i++)
        d->weight[i] = 1, snprintf(d->label[i], sizeof d->label[i], "label %zu", i);
    if (w && w->type != JSON_NULL) {
        if (w->type != JSON_ARRAY || w->length != k)
            return fail(e, "%s: metadata config: reward_weights: expected a list of %zu numbers, one for "
                        "each column of rewards_per_func", d->path, k);
        for (size_t i = 0; i < k; i++) {
            if (w->item[i].type != JSON_NUMBER)
                return fail(e, "%s: metadata config: reward_weights: item %zu: found %s, expected a number",
                            d->path, i, json_type_name(w->item[i].type));
            d->weight[i] = w->item[i].number;
        }
    }
    if (names && names->type != JSON_NULL) {
        if (names->type != JSON_ARRAY || names->length != k)
            return fail(e, "%s: metadata config: reward_names: expected a list of %zu strings", d->path, k);
        for (size_t i = 0; i < k; i++) {
            if (names->item[i].type != JSON_STRING)
                return fail(e, "%s: metadata config: reward_names: item %zu: found %s, expected a string",
                            d->path, i, json_type_name(names->item[i].type));
            snprintf(d->label[i], sizeof d->label[i], "%.63s", names->item[i].string);
        }
    }
    return true;
}

/* A key that nobody reads is told, for a slip of the pen would else go unnoticed. */
static void told_unused(Dump *d, const Json *v) {
    const char *other;
    char name[128];
    if (profile_knows(d->set.profile, v, &other)) return;
    snprintf(name, sizeof name, other ? "%.60s (an option of %s)" : "%.60s", v->key, other);
    append_name(d->unused_keys, sizeof d->unused_keys, name);
}

/* What the profile does, then what its own options say, then ours, then what follows from ours. */
static bool read_settings(Dump *d, const Json *config, Err *e) {
    DumpSettings *s = &d->set;
    char place[1100];
    snprintf(place, sizeof place, "%s: metadata config", d->path);
    if (!profile_apply(s, s->profile, e) ||
        !profile_read(s, s->profile, s->label, config, false, place, e))
        return false;
    for (size_t i = 0; config && i < config->length; i++) {
        const Json *v = &config->item[i];
        Setting k;
        if (declared_setting(&k, v->key)) {
            if (!read_key(d, &k, v, e)) return false;
        } else if (!strcmp(v->key, "step")) {
            if (!read_step(d, v, e)) return false;
        } else if (!strcmp(v->key, "eos_token_id")) {
            if (!read_stops(d, v, e)) return false;
        } else if (strcmp(v->key, "reward_weights") && strcmp(v->key, "reward_names"))
            told_unused(d, v);
    }
    if (!profile_read(s, s->profile, s->label, config, true, place, e)) return false;
    /* log-probabilities of the sampler may be there for information; that they correct, somebody says */
    bool said = false;
    for (size_t i = 0; config && i < config->length; i++)
        said = said || !strncmp(config->item[i].key, "vllm_importance_sampling_", 25);
    if (!said && safetensors_find(d->file, stage_info[STAGE_ISR].tensor))
        s->grpo.importance_sampling_correction = true;
    else if (!said && !s->profile_given) s->grpo.importance_sampling_correction = false;
    const Json *lr = json_get(config, "lr");            /* the rate of this step, whatever stands before it */
    if (lr) s->adamw.lr = lr->number;
    if (!s->window.steps_per_generation)
        s->window.steps_per_generation = s->window.gradient_accumulation_steps;
    if (s->window.gradient_accumulation_steps < 1 || s->window.steps_per_generation < 1 ||
        s->window.n_process < 1)
        return fail(e, "%s: metadata config: gradient_accumulation_steps, steps_per_generation and "
                    "world_size: found %d, %d and %d, expected at least 1", d->path,
                    s->window.gradient_accumulation_steps, s->window.steps_per_generation,
                    s->window.n_process);
    if (!(s->sampling.temperature > 0))
        return fail(e, "%s: metadata config: temperature: found %g, expected more than 0", d->path,
                    s->sampling.temperature);
    /* a trainer's configuration is given whole: a bound that its loss does not look at says nothing */
    if (!grpo_clips(&s->grpo)) s->grpo.delta = s->grpo.dual_clip = NAN;
    Err inner = {{0}};
    if (!sampling_check(&s->sampling, &inner) || !grpo_config_check(&s->grpo, &inner))
        return fail(e, "%s: metadata config: %s", d->path, inner.line);
    if (!(s->adamw.beta1 >= 0 && s->adamw.beta1 < 1 && s->adamw.beta2 >= 0 && s->adamw.beta2 < 1 &&
          s->adamw.eps >= 0 && s->adamw.lr >= 0))
        return fail(e, "%s: metadata config: learning_rate, adam_beta1, adam_beta2, adam_epsilon: out of "
                    "range", d->path);
    if (!(s->grpo.clip_cov_ratio >= 0 && s->grpo.clip_cov_ratio <= 1 && s->grpo.kl_cov_ratio >= 0 &&
          s->grpo.kl_cov_ratio <= 1 && s->window.n_sequence >= 0))
        return fail(e, "%s: metadata config: clip_cov_ratio, kl_cov_ratio, num_sequences_in_batch: found %g, "
                    "%g and %g, expected numbers from 0 to 1 and one from 0", d->path,
                    s->grpo.clip_cov_ratio, s->grpo.kl_cov_ratio, s->window.n_sequence);
    if (s->rejection_min > s->rejection_max)
        return fail(e, "%s: metadata config: rejection_min: found %g, expected at most rejection_max = %g",
                    d->path, s->rejection_min, s->rejection_max);
    s->window.entropy_coef = s->grpo.entropy_coef;
    return true;
}

void dump_write_settings(JsonWriter *w, const Dump *d) {
    json_begin(w, '{');
    Setting k;
    char name[64];
    for (int i = 0; declared_at(&k, name, i); i++) {
        if (d->group && !strcmp(name, "num_generations")) continue;             /* group_ids say it */
        if (!strcmp(name, "weights") || (!strcmp(name, "pad_token_id") && d->set.pad < 0)) continue;
        json_key(w, name);
        options_write_value(w, &d->set, &k);
    }
    json_put_int(w, "step", d->set.step);
    if (d->set.n_stop) {
        json_open(w, "eos_token_id", '[');
        for (int i = 0; i < d->set.n_stop; i++) json_int(w, d->set.stop[i]);
        json_end(w, ']');
    }
    if (d->n_label) {
        json_put_numbers(w, "reward_weights", d->weight, d->n_label);
        json_open(w, "reward_names", '[');
        for (size_t k = 0; k < d->n_label; k++) json_string(w, d->label[k]);
        json_end(w, ']');
    }
    json_end(w, '}');
}

/* ---- shapes ---- */
static bool dump_has_shape(const Tensor *t, int n_dim, size_t a, size_t b) {
    return t->n_dim == n_dim && (n_dim < 1 || t->shape[0] == a) && (n_dim < 2 || t->shape[1] == b);
}

static bool wrong_shape(const Dump *d, const Tensor *t, const char *expected, Err *e) {
    char found[128];
    return fail(e, "%s: tensor %.160s: found shape %s, expected %s", d->path, t->name, tensor_shape(found, t),
                expected);
}

/* n and width from the first tensor that tells them; all others must agree. */
static bool size_from(Dump *d, const Tensor *t, bool has_width, const char **teller, Err *e) {
    char expected[256], found[128];
    if (!t) return true;
    if (has_width ? t->n_dim != 2 : t->n_dim < 1)
        return wrong_shape(d, t, has_width ? d->whole_rows ? "[B,T]" : "[B,C]" : "[B] or [B,...]", e);
    const bool known_n = teller[0], known_width = teller[1];
    if ((known_n && t->shape[0] != d->n) || (has_width && known_width && t->shape[1] != d->width)) {
        if (has_width && known_width)
            snprintf(expected, sizeof expected, "[%zu,%zu] as of %.80s", d->n, d->width, teller[1]);
        else snprintf(expected, sizeof expected, "%zu rows as in %.80s", d->n, teller[0]);
        return fail(e, "%s: tensor %.160s: found shape %s, expected %s", d->path, t->name,
                    tensor_shape(found, t), expected);
    }
    d->n = t->shape[0];
    if (!known_n) teller[0] = t->name;
    if (has_width && !known_width) d->width = t->shape[1], teller[1] = t->name;
    return true;
}

/* Whether the file has gradients and what became of the parameters: needs no completions. */
static bool has_step(const Safetensors *f) {
    bool grad = false, param = false;
    for (int i = 0; i < safetensors_count(f); i++) {
        const char *name = safetensors_at(f, i)->name;
        grad = grad || !strncmp(name, "grad.", 5);
        param = param || !strncmp(name, "param.", 6);
    }
    return grad && (param || safetensors_find(f, "grad_norm"));
}

static bool take_sizes(Dump *d, Err *e) {
    const Safetensors *f = d->file;
    const char *teller[2] = {NULL, NULL};
    const Tensor *rows = safetensors_find(f, "input_ids"),
                 *completion = safetensors_find(f, "completion_ids");
    if (rows && completion)
        return fail(e, "%s: found both input_ids and completion_ids, expected one of them: [B,T] rows, or "
                    "prompts and completions apart", d->path);
    d->whole_rows = rows != NULL || (!completion && safetensors_find(f, "attention_mask"));
    if (!size_from(d, rows ? rows : completion, true, teller, e) ||
        !size_from(d, safetensors_find(f, "completion_mask"), true, teller, e) ||
        !size_from(d, safetensors_find(f, "loss_mask"), true, teller, e) ||
        !size_from(d, safetensors_find(f, "attention_mask"), true, teller, e))
        return false;
    for (int s = 0; s < N_STAGE; s++)
        if (stage_info[s].shape == SHAPE_TOKENS &&
            !size_from(d, safetensors_find(f, stage_info[s].tensor), true, teller, e))
            return false;
    for (int s = 0; s < N_STAGE; s++)
        if (stage_info[s].shape == SHAPE_ROWS || stage_info[s].shape == SHAPE_TOKENS_OR_ROWS ||
            stage_info[s].shape == SHAPE_LOGITS) {
            const Tensor *t = safetensors_find(f, stage_info[s].tensor);
            if (!size_from(d, t, false, teller, e)) return false;
            if (t && stage_info[s].shape == SHAPE_TOKENS_OR_ROWS && t->n_dim == 2 && t->shape[1] != 1 &&
                !size_from(d, t, true, teller, e))
                return false;
        }
    const Tensor *score = safetensors_find(f, "rewards_per_func");
    if (score && score->n_dim != 2) return wrong_shape(d, score, "[B,K]", e);
    if (!size_from(d, score, false, teller, e)) return false;
    if (score) d->n_label = score->shape[1];
    if (score && !d->n_label) return wrong_shape(d, score, "at least one label", e);
    /* an update on its own: of several micro-batches that stand elsewhere */
    if (!teller[0] && has_step(f)) return true;
    if (!teller[0])
        return fail(e, "%s: found no tensor that verify knows, expected some of docs/verify.md: rewards, "
                    "advantages, per_token_logps, loss ...", d->path);
    if (d->n == 0 || (teller[1] && d->width == 0))
        return fail(e, "%s: tensor %.160s: found no elements, expected at least one completion with one "
                    "column", d->path, teller[d->n ? 1 : 0]);
    if (d->n > 1 << 24 || d->width > 1 << 24)
        return fail(e, "%s: found %zu completions of %zu columns, expected fewer than 2^24", d->path, d->n,
                    d->width);
    return true;
}

/* ---- the file ---- */
static bool take_ids(Dump *d, Err *e) {
    const Tensor *id = safetensors_find(d->file, d->whole_rows ? "input_ids" : "completion_ids"),
                 *prompt = safetensors_find(d->file, "prompt_ids");
    const Tensor *attention = safetensors_find(d->file, "attention_mask"),
                 *prompt_mask = safetensors_find(d->file, "prompt_mask");
    if (id &&
        (!(d->id = pool_take(&d->pool, id->count, sizeof(int), e)) || !take_whole(d, d->id, id, false, e)))
        return false;
    if (attention && !d->whole_rows)
        return fail(e, "%s: tensor attention_mask: found beside completion_ids, expected beside input_ids",
                    d->path);
    if (attention && (!(d->real_token = pool_take(&d->pool, attention->count, 1, e)) ||
                      !take_whole(d, d->real_token, attention, true, e)))
        return false;
    if (d->whole_rows && prompt_mask) {
        if (!dump_has_shape(prompt_mask, 2, d->n, d->width))
            return wrong_shape(d, prompt_mask, "that of input_ids", e);
        return (d->prompt_mask = pool_take(&d->pool, prompt_mask->count, 1, e)) &&
               take_whole(d, d->prompt_mask, prompt_mask, true, e);
    }
    if (d->whole_rows && prompt)
        return fail(e, "%s: tensor prompt_ids: found beside input_ids, expected beside completion_ids",
                    d->path);
    if (!prompt) return !prompt_mask || fail(e, "%s: tensor prompt_mask: found without prompt_ids", d->path);
    if (prompt->n_dim != 2 || prompt->shape[0] != d->n || prompt->shape[1] == 0 || prompt->shape[1] > 1 << 24)
        return wrong_shape(d, prompt, "[B,P]", e);
    d->prompt_width = prompt->shape[1];
    d->prompt_id = pool_take(&d->pool, prompt->count, sizeof(int), e);
    d->prompt_mask = pool_take(&d->pool, prompt->count, 1, e);
    if (!d->prompt_id || !d->prompt_mask || !take_whole(d, d->prompt_id, prompt, false, e)) return false;
    memset(d->prompt_mask, 1, prompt->count);
    if (!prompt_mask) return true;
    if (!dump_has_shape(prompt_mask, 2, d->n, d->prompt_width))
        return wrong_shape(d, prompt_mask, "that of prompt_ids", e);
    return take_whole(d, d->prompt_mask, prompt_mask, true, e);
}

/* What one completion's advantages come to: the first that counts. They may differ among its tokens only
 * where the settings say so. */
static bool take_advantages(Dump *d, Err *e) {
    const real *given = d->value[STAGE_ADVANTAGES];
    const bool by_token = d->set.advantage_level || (d->set.kl_reward_coef != 0 && d->set.kl_reward);
    const unsigned char *mask = d->loss_mask ? d->loss_mask : d->completion_mask;
    if (!given || d->per_row[STAGE_ADVANTAGES]) { d->advantage = given; return true; }
    real *own = pool_take(&d->pool, d->n, sizeof *own, e);
    if (!own) return false;
    for (size_t i = 0; i < d->n; i++) {
        bool found = false;
        for (size_t j = i * d->width; j < (i + 1) * d->width; j++) {
            if (mask && !mask[j]) continue;
            if (!found) own[i] = given[j], found = true;
            const double apart = fabs((double)given[j] - own[i]);
            if (apart > 1e-5 * fabs((double)own[i]) && !by_token)
                return fail(e, "%s: tensor advantages: row %zu: found %g and %g, expected one advantage for "
                            "the whole reply; advantage_level token in the config says that they may differ",
                            d->path, i, (double)own[i], (double)given[j]);
            d->advantage_varies = d->advantage_varies || apart != 0;
        }
    }
    d->advantage = own;
    return true;
}

static bool take_extras(Dump *d, Err *e) {
    const Tensor *weight = safetensors_find(d->file, "row_weights"),
                 *mask = safetensors_find(d->file, "policy_mask");
    if (weight) {
        if (!want_reals(d, weight, e)) return false;
        if (!dump_has_shape(weight, 1, d->n, 0)) return wrong_shape(d, weight, "[B]", e);
        real *x = pool_take(&d->pool, d->n, sizeof *x, e);
        d->row_weight = pool_take(&d->pool, d->n, sizeof *d->row_weight, e);
        if (!x || !d->row_weight) return false;
        tensor_reals(x, weight, 0, d->n);
        for (size_t i = 0; i < d->n; i++) d->row_weight[i] = x[i];
    }
    if (!mask) return true;
    if (!dump_has_shape(mask, 2, d->n, d->width)) return wrong_shape(d, mask, "that of completion_mask", e);
    return (d->policy_mask = pool_take(&d->pool, mask->count, 1, e)) &&
           take_whole(d, d->policy_mask, mask, true, e);
}

static int by_whole(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* group_ids, numbered from 0 in ascending order. given: num_generations as the config has it; 0: it has
 * none. */
static bool take_groups(Dump *d, int given, Err *e) {
    const Tensor *t = safetensors_find(d->file, "group_ids");
    if (!t) return true;
    const Whole kind = whole_kind(t);
    if (kind == NOT_WHOLE)
        return fail(e, "%s: tensor group_ids: found dtype %s, expected I64, I32 or U8", d->path, t->dtype);
    if (!dump_has_shape(t, 1, d->n, 0)) return wrong_shape(d, t, "[B]", e);
    int64_t *id = pool_take(&d->pool, d->n, sizeof *id, e);
    int *size = pool_take(&d->pool, d->n, sizeof *size, e);
    d->group = pool_take(&d->pool, d->n, sizeof *d->group, e);
    if (!id || !size || !d->group) return false;
    for (size_t i = 0; i < d->n; i++) id[i] = whole_at(t, kind, i);
    qsort(id, d->n, sizeof *id, by_whole);
    for (size_t i = 0; i < d->n; i++)
        if (d->n_group == 0 || id[d->n_group - 1] != id[i]) id[d->n_group++] = id[i];
    for (size_t i = 0; i < d->n; i++) {
        const int64_t own = whole_at(t, kind, i);
        const int64_t *at = bsearch(&own, id, d->n_group, sizeof *id, by_whole);
        size[d->group[i] = (int)(at - id)]++;
    }
    for (size_t g = 0; given && g < d->n_group; g++)
        if (size[g] != given)
            return fail(e, "%s: tensor group_ids: found %d completions with %lld, expected %d, for that is "
                        "num_generations in the metadata's config; leave one of them out", d->path, size[g],
                        (long long)id[g], given);
    return true;
}

static bool take_mask(Dump *d, unsigned char **out, Stage s, Err *e) {
    const Tensor *t = d->tensor[s] = safetensors_find(d->file, stage_info[s].tensor);
    return !t || ((*out = pool_take(&d->pool, t->count, 1, e)) && take_whole(d, *out, t, true, e));
}

static bool take_value(Dump *d, Stage s, Err *e) {
    const StageInfo *info = &stage_info[s];
    const Tensor *t = safetensors_find(d->file, info->tensor);
    if (!t) return true;
    if (!want_reals(d, t, e)) return false;
    bool fits = true;
    switch (info->shape) {
    case SHAPE_TOKENS: fits = dump_has_shape(t, 2, d->n, d->width); break;
    case SHAPE_ROWS: fits = dump_has_shape(t, 1, d->n, 0) || dump_has_shape(t, 2, d->n, 1); break;
    case SHAPE_TOKENS_OR_ROWS:
        d->per_row[s] = dump_has_shape(t, 1, d->n, 0) || (dump_has_shape(t, 2, d->n, 1) && d->width != 1);
        fits = d->per_row[s] || dump_has_shape(t, 2, d->n, d->width);
        break;
    case SHAPE_ONE: fits = t->count == 1 && t->n_dim <= 1; break;
    case SHAPE_LOGITS:
        fits = t->n_dim == 3 && t->shape[0] == d->n && t->shape[1] == d->width && t->shape[2] > 0 &&
               t->shape[2] < 1 << 24;
        break;
    case SHAPE_MASK: case SHAPE_PARAMETERS: break;
    }
    if (!fits)
        return wrong_shape(d, t,
                           info->shape == SHAPE_TOKENS   ? "[B,C] (or [B,T]) as of the ids and masks"
                           : info->shape == SHAPE_ROWS   ? "[B]"
                           : info->shape == SHAPE_ONE    ? "[]"
                           : info->shape == SHAPE_LOGITS ? "[B,C,V]"
                                                         : "[B,C] or [B,1]",
                           e);
    d->tensor[s] = t;
    if (info->shape == SHAPE_LOGITS) return true;
    if (!(d->value[s] = pool_take(&d->pool, t->count, sizeof(real), e))) return false;
    tensor_reals(d->value[s], t, 0, t->count);
    return true;
}

/* The mask's tokens of a row lie side by side: nothing padded between two real tokens. */
static bool contiguous(const Dump *d, const unsigned char *mask, size_t width, const char *name, Err *e) {
    for (size_t i = 0; mask && i < d->n; i++) {
        int runs = 0;
        for (size_t t = 0; t < width; t++)
            runs += mask[i * width + t] && (t == 0 || !mask[i * width + t - 1]);
        if (runs > 1)
            return fail(e, "%s: tensor %s: row %zu: found %d stretches of ones, expected one: padding stands "
                        "before or after the tokens, not among them", d->path, name, i, runs);
    }
    return true;
}

static bool take_tensors(Dump *d, const Json *config, Err *e) {
    if (!take_sizes(d, e) || !take_ids(d, e) || !take_mask(d, &d->completion_mask, STAGE_MASK, e) ||
        !take_mask(d, &d->loss_mask, STAGE_LOSS_MASK, e))
        return false;
    if (!contiguous(d, d->completion_mask, d->width, "completion_mask", e) ||
        !contiguous(d, d->real_token, d->width, "attention_mask", e) ||
        !contiguous(d, d->prompt_mask, d->whole_rows ? d->width : d->prompt_width, "prompt_mask", e))
        return false;
    if (d->whole_rows && !d->completion_mask)
        return fail(e, "%s: found input_ids without completion_mask, expected it to say which tokens are the "
                    "completion", d->path);
    for (size_t j = 0; d->whole_rows && d->real_token && d->prompt_mask && j < d->n * d->width; j++)
        if (d->prompt_mask[j] && !d->real_token[j])
            return fail(e, "%s: tensor prompt_mask: row %zu, column %zu: found a token that attention_mask "
                        "calls padding", d->path, j / d->width, j % d->width);
    for (int s = STAGE_LOGITS; s <= STAGE_GRAD_NORM; s++)
        if (!take_value(d, (Stage)s, e)) return false;
    const Tensor *score = safetensors_find(d->file, "rewards_per_func");
    if (score) {
        if (!want_reals(d, score, e) || !(d->score = pool_take(&d->pool, score->count, sizeof(real), e)))
            return false;
        tensor_reals(d->score, score, 0, score->count);
        for (size_t j = 0; j < score->count; j++)
            if (isinf(d->score[j]))
                return fail(e, "%s: tensor rewards_per_func: found an infinite score at [%zu,%zu], expected "
                            "a number, or NaN where there is none", d->path, j / d->n_label, j % d->n_label);
    }
    static const char *const inputs[] = {"input_ids",   "attention_mask", "prompt_ids",
                                         "prompt_mask", "completion_ids", "rewards_per_func",
                                         "group_ids",   "row_weights",    "policy_mask"};
    static const char *const families[] = {"grad.", "param.", "exp_avg.", "exp_avg_sq."};
    for (int i = 0; i < safetensors_count(d->file); i++) {
        const Tensor *t = safetensors_at(d->file, i);
        bool known = false;
        for (int s = 0; s < N_STAGE; s++)
            known =
                known || (stage_info[s].shape != SHAPE_PARAMETERS && !strcmp(stage_info[s].tensor, t->name));
        for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++)
            known = known || !strcmp(inputs[k], t->name);
        for (size_t k = 0; k < sizeof families / sizeof *families; k++)
            if (!strncmp(t->name, families[k], strlen(families[k]))) {
                known = true;
                if (!want_reals(d, t, e)) return false;
                if (k == 0) d->tensor[STAGE_GRAD] = t;
                if (k == 1) d->tensor[STAGE_STEP] = t;
            }
        if (!known) append_name(d->unused_tensors, sizeof d->unused_tensors, t->name);
    }
    if (!take_advantages(d, e) || !take_extras(d, e)) return false;
    if (isnan(d->set.grpo.aggregation_length) && !json_get(config, "max_completion_length") && d->width)
        d->set.grpo.aggregation_length = (double)d->width;
    const Json *given = json_get(config, "num_generations");
    const bool grouped = d->score || d->tensor[STAGE_REWARDS] || d->tensor[STAGE_ADVANTAGES];
    d->set.group_given = given != NULL;
    if (!take_groups(d, given ? d->set.grpo.num_generations : 0, e)) return false;
    if (grouped && given && d->n % (size_t)d->set.grpo.num_generations)
        return fail(e, "%s: metadata config: num_generations: found %d, expected a divisor of the %zu "
                    "completions in the dump; groups of other sizes are told by group_ids", d->path,
                    d->set.grpo.num_generations, d->n);
    return true;
}

bool dump_open(Dump *d, const char *path, const char *profile, Err *e) {
    *d = (Dump){0};
    snprintf(d->path, sizeof d->path, "%s", path);
    declared_default(&d->set);
    if (!(d->file = safetensors_open(path, e))) return false;
    const char *format = safetensors_metadata(d->file, "format"),
               *text = safetensors_metadata(d->file, "config"),
               *compute = safetensors_metadata(d->file, "compute_dtype"),
               *sampler = safetensors_metadata(d->file, "sampler_dtype");
    d->producer = safetensors_metadata(d->file, "producer");
    if (!profile) profile = safetensors_metadata(d->file, "profile");
    if (!profile) profile = safetensors_metadata(d->file, "dialect");
    d->set.profile_given = profile != NULL;
    d->set.compute_given = compute != NULL;
    char place[1100], option[1100];
    snprintf(place, sizeof place, "%s: metadata config", path);
    snprintf(option, sizeof option, "%s: profile", path);
    Json *config = NULL;
    int found = 0;
    bool ok = (format && (!strcmp(format, "grpo-dump-1") || !strcmp(format, "pt"))) ||
              fail(e, "%s: metadata format: found %s%.40s%s, expected \"grpo-dump-1\" (docs/verify.md)", path,
                   format ? "\"" : "nothing", format ? format : "", format ? "\"" : "");
    if (ok) ok = (d->set.profile = profile_find(d->set.label, profile ? profile : "trl", option, e)) != NULL;
    snprintf(option, sizeof option, "%s: metadata compute_dtype", path);
    if (ok && compute && (ok = choice_parse(&found, precision_names, compute, option, e)))
        d->set.compute = (Precision)found;
    d->set.sampler = d->set.compute;
    d->set.sampler_given = d->set.compute_given;
    snprintf(option, sizeof option, "%s: metadata sampler_dtype", path);
    if (ok && sampler && (ok = choice_parse(&found, precision_names, sampler, option, e)))
        d->set.sampler = (Precision)found, d->set.sampler_given = true;
    if (ok && text) ok = (config = json_parse(text, strlen(text), place, 1, e)) != NULL;
    if (ok && config && config->type != JSON_OBJECT)
        ok = fail(e, "%s: found %s, expected an object of options", place, json_type_name(config->type));
    ok = ok && read_settings(d, config, e) && take_tensors(d, config, e) && dump_labels(d, config, e);
    if (ok) profile_plain(&d->plain, &d->set, d->set.profile, config);
    json_free(config);
    if (!ok) dump_close(d);
    return ok;
}

void dump_close(Dump *d) {
    pool_free(&d->pool);
    safetensors_close(d->file);
    d->file = NULL;
}

bool dump_model(Dump *d, const ModelConfig *c, const FolderInfo *info, const char *dir, Err *e) {
    if (!d->set.n_stop) {
        d->set.n_stop = info->n_stop;
        for (int i = 0; i < info->n_stop; i++) d->set.stop[i] = info->stop[i];
    }
    if (d->set.pad < 0) d->set.pad = c->pad;
    const Tensor *z = d->tensor[STAGE_LOGITS];
    if (z && z->shape[2] != (size_t)c->vocab)
        return fail(e, "%s: tensor logits: found a vocabulary of %zu, expected %d as in %s", d->path,
                    z->shape[2], c->vocab, dir);
    for (int i = 0; i < safetensors_count(d->file); i++) {
        const Tensor *t = safetensors_at(d->file, i);
        const char *name = !strncmp(t->name, "grad.", 5)    ? t->name + 5
                           : !strncmp(t->name, "param.", 6) ? t->name + 6
                                                            : NULL;
        if (name && *name == 0)
            return fail(e, "%s: tensor %.160s: found no parameter's name after the point", d->path, t->name);
    }
    return true;
}

static void dump_forget(Dump *d, Stage s) { d->value[s] = NULL, d->tensor[s] = NULL, d->per_row[s] = false; }

void dump_inputs(Dump *to, const Dump *from, bool policy, bool old, bool reference) {
    *to = *from;
    to->inputs_only = true;
    dump_forget(to, STAGE_LOGITS);
    if (policy) dump_forget(to, STAGE_LOGPS), dump_forget(to, STAGE_ENTROPIES);
    if (old) dump_forget(to, STAGE_OLD);
    if (reference) dump_forget(to, STAGE_REF);
    if (to->score) dump_forget(to, STAGE_REWARDS);
    if (to->score || to->value[STAGE_REWARDS]) {
        dump_forget(to, STAGE_ADVANTAGES);
        to->advantage = NULL;
        to->advantage_varies = false;
    }
    if (to->value[STAGE_SAMPLER]) dump_forget(to, STAGE_ISR);
    for (int s = STAGE_RATIO; s < N_STAGE; s++) dump_forget(to, (Stage)s);
    if (to->id && to->set.n_stop && !to->whole_rows) to->completion_mask = to->loss_mask = NULL;
}
