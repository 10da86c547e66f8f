/* critic.c: opening and reading a critic. */
#include "run/critic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


bool critic_shape(Critic *c, const char *dir, const char *policy_dir, const ModelConfig *policy, Err *e) {
    snprintf(c->dir, sizeof c->dir, "%s", dir);
    bool same;
    if (!folder_config(&c->shape, &c->info, dir, e) || !folder_same_tokenizer(&same, dir, policy_dir, e))
        return false;
    if (!same)
        return fail(e,
                    "--value-model %s: its tokenizer.json is not that of %s, but a critic reads the policy's "
                    "tokens; give another --value-model, for instance the policy itself",
                    dir, policy_dir);
    if (!c->frozen && c->info.dropout != 0)
        return fail(e, "--value-model %s: config.json has attention_dropout %g, and dropout is not computed "
                    "here; write 0 there to train without it", dir, c->info.dropout);
    c->shape.checkpointing = policy->checkpointing;
    if (c->frozen && c->shape.n_label != 1)
        return fail(e, "--value-model %s: has %d labels, expected one, as `grpo reward --loss-type value` "
                       "gives: a value is one number", dir, c->shape.n_label);
    if (!c->frozen && c->shape.lora.r)
        return fail(e,
                    "--value-model %s: is an adapter; a critic is trained whole: merge it first (grpo "
                    "merge), or give another --value-model",
                    dir);
    return (c->shape.vocab >= policy->vocab && c->shape.context >= policy->context) ||
           fail(e,
                "--value-model %s: vocabulary %d and context %d, expected at least the policy's %d and %d",
                dir, c->shape.vocab, c->shape.context, policy->vocab, policy->context);
}

/* As it will be: with one output. */
static ModelConfig with_one_output(const Critic *c) {
    ModelConfig shape = c->shape;
    shape.n_label = 1;
    return shape;
}

double critic_bytes(const Critic *c) {
    const ModelConfig shape = with_one_output(c);
    return c->frozen ? (double)model_bytes(&shape) +
                           (double)acts_bytes(&shape, c->max_row, c->max_target, false)
                     : (double)trainer_bytes(&shape, c->max_row, c->max_target);
}

static Model *combined(const Critic *c, const char (*label)[64], const double *weight, int n_label,
                       Err *e) {
    const ModelConfig shape = with_one_output(c);
    const int k = c->shape.n_label, hidden = shape.hidden;
    Model *from = folder_load(c->dir, NULL, e), *m = from ? model_new(&shape, e) : NULL;
    if (m) {
        model_copy(m, from);
        const real *w = from->head->data;
        real *out = m->head->data;
        bool known = false;
        double of[MAX_LABELS];
        for (int i = 0; i < k; i++) {
            of[i] = 0;
            for (int j = 0; j < n_label; j++)
                if (!strcmp(c->info.label[i], label[j])) of[i] = weight[j], known = true;
        }
        for (int j = 0; j < hidden; j++) {
            double sum = 0;
            for (int i = 0; i < k; i++) sum += (known ? of[i] : 1) * (double)w[i * hidden + j];
            out[j] = (real)sum;
        }
        model_pack(m);
    }
    model_free(from);
    return m;
}

bool critic_load(Critic *c, const char (*label)[64], const double *weight, int n_label, uint64_t seed,
                 Err *e) {
    const ModelConfig shape = with_one_output(c);
    c->model = c->frozen || !c->shape.n_label ? folder_load_as(c->dir, &shape, seed, e)
                                              : combined(c, label, weight, n_label, e);
    c->shape = shape;
    if (!c->model) return false;
    if (c->frozen) return (c->acts = acts_new(c->model, c->max_row, c->max_target, false, e)) != NULL;
    return trainer_new(&c->trainer, c->model, c->max_row, c->max_target, e);
}

void critic_close(Critic *c) {
    trainer_free(&c->trainer);
    acts_free(c->acts);
    model_free(c->model);
}

bool critic_values(real *value, const Critic *c, const Window *w, Err *e) {
    if (!window_scores(value, c->frozen ? c->acts : c->trainer.acts, c->max_row, c->max_target, c->model, w,
                       e))
        return false;
    for (int i = 0; c->frozen && i < w->n_target; i++) value[i] = (real)(value[i] + c->info.reward_mean[0]);
    return true;
}

double critic_planned(const Critic *c, int max_row, int max_target) {
    Cost planned = {.prompt = 0};
    if (c->frozen) return cost_asked(&c->shape, max_row, max_target);
    cost_trainer(&planned, &c->shape, max_row, max_target);
    return cost_trained(&planned);
}

void critic_hold(Costs *to, const Critic *c) {
    Cost held = {.prompt = 0};
    if (c->frozen) held.memory[MEM_WEIGHTS] = (double)c->model->held + (double)acts_held(c->acts);
    else cost_trainer_held(&held, &c->trainer);
    cost_memory_most(&to->predicted, MEM_CRITIC, critic_planned(c, c->max_row, c->max_target));
    cost_memory_most(&to->measured, MEM_CRITIC, cost_trained(&held));
}
