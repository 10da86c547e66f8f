/* learner.c: opening what a run trains. */
#include "run/learner.h"

#include <stdio.h>
#include <string.h>

#include "lib/files.h"

void learner_stop(FolderInfo *info, int end) {
    int k = 0;
    while (k < info->n_stop && info->stop[k] != end) k++;
    if (k < info->n_stop) return;
    if (info->n_stop < MAX_STOPS) info->n_stop++;
    for (k = info->n_stop - 1; k > 0; k--) info->stop[k] = info->stop[k - 1];
    info->stop[0] = end;
}

bool learner_shape(Learner *l, const RunOptions *o, bool policy, Err *e) {
    if (!language_load(&l->language, o->model, &o->chat, e) ||
        !folder_config(&l->shape, &l->info, o->model, e))
        return false;
    if (l->info.dropout != 0)
        return fail(e, "%s: config.json has attention_dropout %g, and dropout is not computed here; write 0 "
                    "there to train without it", o->model, l->info.dropout);
    if (l->info.whole_matrices)
        return fail(e, "%s: is an adapter with whole matrices beside it (modules_to_save), which would not "
                    "be trained; make a whole model of it first with grpo merge", o->model);
    if (policy && l->shape.n_label)
        return fail(e, "%s: is a reward model; expected a language model", o->model);
    if (policy) learner_stop(&l->info, l->language.end_of_turn);
    l->shape.checkpointing = o->gradient_checkpointing;
    return run_adapter(&l->shape, &l->info, &o->adapter, o->model, e);
}

/* With an adapter the reference is the policy without it (E293), and takes nothing. */
static bool has_copy(const RunOptions *o, bool reference) { return reference && !o->adapter.use_peft; }

double learner_bytes(const Learner *l, const RunOptions *o, bool reference) {
    return (double)trainer_bytes(&l->shape, l->rows, l->rows) +
           (has_copy(o, reference) ? (double)model_bytes(&l->shape) : 0);
}

bool learner_load(Learner *l, const RunOptions *o, bool reference, Err *e) {
    if (chat_apart(l->language.chat))
        fprintf(stderr,
                "%s: the chat template writes %d prompts otherwise once a reply follows; these replies are "
                "learned as they stand\n",
                o->model, chat_apart(l->language.chat));
    if (!(l->model = folder_load_as(o->model, &l->shape, (uint64_t)o->seed, e)) ||
        !trainer_new(&l->trainer, l->model, l->rows, l->rows, e))
        return false;
    if (has_copy(o, reference) && !(l->copy = folder_load_as(o->model, &l->shape, 0, e))) return false;
    l->base = model_base(l->model);
    l->reference = l->copy ? l->copy : reference ? &l->base : NULL;
    return true;
}

void learner_head(Learner *l, const double *sd, const double *mean) {
    Model *m = l->model;
    real *w = m->head->data;
    for (int k = 0; k < m->config.n_label; k++) {
        l->info.reward_mean[k] = mean[k];
        for (int j = 0; j < m->config.hidden; j++) w[k * m->config.hidden + j] *= (real)sd[k];
    }
    model_pack(m);
}

bool learner_save(const Learner *l, const RunOptions *o, const char *dir, Err *e) {
    char path[1024];
    const char *text = chat_text(l->language.chat);
    return folder_save(dir, l->model, &l->info, o->model, run_store(o), e) &&
           (!o->chat.template || (path_join(path, sizeof path, dir, "chat_template.jinja", e) &&
                                  file_write(path, text, strlen(text), e)));
}

void learner_close(Learner *l) {
    trainer_free(&l->trainer);
    model_free(l->copy);
    model_free(l->model);
    window_free(&l->window);
    language_free(&l->language);
}

void learner_hold(Costs *c, const Learner *l) {
    cost_trainer(&c->predicted, &l->shape, l->rows, l->rows);
    cost_trainer_held(&c->measured, &l->trainer);
    if (!l->copy) return;
    cost_memory_most(&c->predicted, MEM_REFERENCE, (double)model_bytes(&l->shape));
    cost_memory_most(&c->measured, MEM_REFERENCE, (double)l->copy->held);
}

Networks learner_networks(const Learner *l, const RunOptions *o, bool reference) {
    Networks n = {.policy = l->shape, .reference = l->shape, .has_reference = reference,
                  .logits_anew = !acts_keep_logits(&l->shape, l->rows)};
    if (o->adapter.use_peft) n.reference.lora.r = 0;                    /* E293 */
    return n;
}
