/* data.c: text to ids, labels to scores, and both to a file that verify reads like any other dump. */
#include "verify/data.h"

#include <stdlib.h>
#include <string.h>

#include "text/fit.h"
#include "net/folder.h"
#include "lib/safetensors.h"

/* The settings as given, and what only the data know. */
static bool config_text(JsonWriter *w, const char *settings, const char (*label)[64], int n_label, int group,
                        Err *e) {
    Json *given = settings ? json_read_file(settings, e) : NULL;
    if (settings && !given) return false;
    if (given && given->type != JSON_OBJECT) {
        fail(e, "%s: found %s, expected an object of options", settings, json_type_name(given->type));
        json_free(given);
        return false;
    }
    json_begin(w, '{');
    for (size_t i = 0; given && i < given->length; i++)
        json_put_value(w, given->item[i].key, &given->item[i]);
    if (!json_get(given, "num_generations")) json_put_int(w, "num_generations", group);
    if (n_label && !json_get(given, "reward_names")) {
        json_open(w, "reward_names", '[');
        for (int k = 0; k < n_label; k++) json_string(w, label[k]);
        json_end(w, ']');
    }
    json_end(w, '}');
    json_free(given);
    return true;
}

static int longest(const Ids *ids, int n) {
    int most = 1;
    for (int i = 0; i < n; i++) most = ids[i].n > most ? ids[i].n : most;
    return most;
}

/* Rows of ids, padded on their left (prompts) or right, and the mask of what is real. */
static bool pad(int32_t **id, unsigned char **mask, const Ids *ids, int n, int width, bool left, int fill,
                Err *e) {
    *id = memory_new((size_t)n * (size_t)width * sizeof **id, "ids", e);
    *mask = memory_new((size_t)n * (size_t)width, "mask", e);
    for (int i = 0; *id && *mask && i < n; i++)
        for (int t = 0; t < width; t++) {
            const int from = left ? t - (width - ids[i].n) : t;
            (*mask)[i * width + t] = from >= 0 && from < ids[i].n;
            (*id)[i * width + t] = from >= 0 && from < ids[i].n ? ids[i].id[from] : fill;
        }
    return *id && *mask;
}

bool verify_data(const char *path, const char *dataset, const char *settings, const char *model, Err *e) {
    Dataset d = {0};
    Language l = {0};
    ModelConfig config;
    char label[MAX_LABELS][64];
    if (!dataset_load(&d, dataset, NEED_COMPLETION, NULL, e) || !language_load(&l, model, NULL, e))
        return false;
    const int n = d.n, n_label = dataset_labels(&d, label, MAX_LABELS);
    Ids *prompt = calloc((size_t)n + 1, sizeof *prompt),
        *completion = calloc((size_t)n + 1, sizeof *completion);
    real *score = calloc((size_t)n * (size_t)(n_label + 1), sizeof *score);
    int32_t *prompt_id = NULL, *id = NULL;
    unsigned char *prompt_mask = NULL, *mask = NULL;
    bool ok = folder_config(&config, NULL, model, e) &&
              ((prompt && completion && score) || fail(e, "%s: no memory for %d lines", dataset, n));
    for (int i = 0; ok && i < n; i++) {
        const Example *x = &d.row[i];
        double y[MAX_LABELS];
        ok = encode_prompt(&prompt[i], &l, x, e) &&
             encode_completion(&completion[i], &l, x, x->completion,
                               !x->finish_reason || strcmp(x->finish_reason, "length"), e) &&
             fit_ids(&prompt[i], &l, x, e) && fit_ids(&completion[i], &l, x, e) &&
             (!n_label || example_labels(y, x, (const char(*)[64])label, n_label, dataset, e));
        for (int k = 0; ok && k < n_label; k++) score[i * n_label + k] = (real)y[k];
    }
    if (ok) {
        int group = 1;
        while (group < n && prompt[group].n == prompt[0].n &&
               !memcmp(prompt[group].id, prompt[0].id, (size_t)prompt[0].n * sizeof(int)))
            group++;
        const int p = longest(prompt, n), c = longest(completion, n), fill = config.pad >= 0 ? config.pad : 0;
        const Store store = sizeof(real) == 4 ? STORE_F32 : STORE_F64;
        JsonWriter w = {0};
        ok = config_text(&w, settings, (const char(*)[64])label, n_label, group, e) &&
             pad(&prompt_id, &prompt_mask, prompt, n, p, true, fill, e) &&
             pad(&id, &mask, completion, n, c, false, fill, e);
        const size_t rows = (size_t)n;
        const TensorOut t[] =
            {{.name = "prompt_ids", .dtype = "I32", .n_dim = 2, .shape = {rows, (size_t)p},
              .data = prompt_id},
             {.name = "prompt_mask", .dtype = "U8", .n_dim = 2, .shape = {rows, (size_t)p},
              .data = prompt_mask},
             {.name = "completion_ids", .dtype = "I32", .n_dim = 2, .shape = {rows, (size_t)c}, .data = id},
             {.name = "completion_mask", .dtype = "U8", .n_dim = 2, .shape = {rows, (size_t)c}, .data = mask},
             {.name = "rewards_per_func", .store = store, .n_dim = 2, .shape = {rows, (size_t)n_label},
              .data = score, .from = STORE_REAL}};
        const char *const metadata[] = {"format", "grpo-dump-1", "config", w.text, NULL};
        ok = ok && json_ok(&w, e) && safetensors_write(path, t, n_label ? 5 : 4, metadata, e);
        free(w.text);
    }
    for (int i = 0; prompt && completion && i < n; i++) free(prompt[i].id), free(completion[i].id);
    free(prompt), free(completion), free(score);
    memory_free(prompt_id), memory_free(prompt_mask), memory_free(id), memory_free(mask);
    language_free(&l);
    return ok;
}
