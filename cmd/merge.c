/* merge.c: `grpo merge`: an adapter and its base become one model folder (E292). */
#include <stdio.h>

#include "cmd/commands.h"
#include "run/learner.h"
#include "lib/files.h"

typedef struct { const char *model, *output_dir; int save_dtype; } Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"model", SET_STRING, AT(model), NULL, NULL, "folder of an adapter"},
    {"output_dir", SET_STRING, AT(output_dir), NULL, NULL, "folder to make"},
    {"save_dtype", SET_CHOICE, AT(save_dtype), "real", save_dtype_names, "of the weights"},
    SETTINGS_END};
static const OptionTable table = {
    "merge", "an adapter and its base become one model folder",
    "grpo merge --model runs/lora/final --output-dir models/merged",
    .part = {{rows, 0}}};

static bool merge(const Config *c, Err *e) {
    FolderInfo info;
    if (!c->model) return fail(e, "--model: not given; expected the folder of an adapter");
    if (!c->output_dir) return fail(e, "--output-dir: not given; expected a folder to make");
    if (!folder_is_adapter(c->model))
        return fail(e, "%s: has no adapter_config.json: it is no adapter, there is nothing to merge",
                    c->model);
    if (!folder_is_empty(c->output_dir, NULL))
        return fail(e, "%s: is not empty; give another --output-dir", c->output_dir);
    Model *m = folder_load(c->model, &info, e);
    if (!m) return false;
    model_merge(m);
    Language l;
    Err no_template = {{0}};            /* the adapter's folder has the one that was learned */
    if (!m->config.n_label && language_load(&l, c->model, NULL, &no_template)) {
        learner_stop(&info, l.end_of_turn);
        language_free(&l);
    }
    const bool ok = folder_save(c->output_dir, m, &info, c->model, save_store(c->save_dtype), e);
    if (ok) printf("%s: %s with the adapter %s\n", c->output_dir, info.base, c->model);
    model_free(m);
    return ok;
}

int cmd_merge(int argc, char **argv, Err *e) {
    Config c;
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    return merge(&c, e) ? 0 : -1;
}
