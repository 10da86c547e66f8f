/* declared.c: the rows of what a dump's config may hold. */
#include "verify/declared.h"

#include <stdio.h>
#include <string.h>

#include "lib/words.h"

const char *const precision_names[] = {"float64", "float32", "float16", "bfloat16", NULL};
static const char *const weights_names[] = {"before", "after", NULL},
                  *const kl_reward_names[] = {"sequence", "to_go", "token", NULL},
                  *const advantage_level_names[] = {"reply", "token", NULL},
                  *const rejection_names[] = {"none", "token", "sequence", "geometric", NULL};

#define AT(member) offsetof(DumpSettings, member)
static const Setting own_settings[] = {
    {"temperature", SET_NUMBER, AT(sampling.temperature), "1", NULL, NULL},
    {"top_k", SET_INT, AT(sampling.top_k), "0", NULL, NULL},
    {"top_p", SET_NUMBER, AT(sampling.top_p), "1", NULL, NULL},
    {"min_p", SET_NUMBER, AT(sampling.min_p), "0", NULL, NULL},
    {"gradient_accumulation_steps", SET_INT, AT(window.gradient_accumulation_steps), "1", NULL, NULL},
    {"steps_per_generation", SET_INT, AT(window.steps_per_generation), "0", NULL, NULL},
    {"world_size", SET_INT, AT(window.n_process), "1", NULL, NULL},
    {"num_items_in_batch", SET_NUMBER, AT(window.n_item), "none", NULL, NULL},
    {"num_sequences_in_batch", SET_NUMBER, AT(window.n_sequence), "0", NULL, NULL},
    {"clip_cov_ratio", SET_NUMBER, AT(grpo.clip_cov_ratio), "0", NULL, NULL},
    {"clip_cov_min", SET_NUMBER, AT(grpo.clip_cov_min), "1", NULL, NULL},
    {"clip_cov_max", SET_NUMBER, AT(grpo.clip_cov_max), "5", NULL, NULL},
    {"kl_cov_ratio", SET_NUMBER, AT(grpo.kl_cov_ratio), "0", NULL, NULL},
    {"kl_cov_coef", SET_NUMBER, AT(grpo.kl_cov_coef), "1", NULL, NULL},
    {"kl_reward_coef", SET_NUMBER, AT(kl_reward_coef), "0", NULL, NULL},
    {"kl_reward", SET_CHOICE, AT(kl_reward), "sequence", kl_reward_names, NULL},
    {"advantage_level", SET_CHOICE, AT(advantage_level), "reply", advantage_level_names, NULL},
    {"rejection_mode", SET_CHOICE, AT(rejection), "none", rejection_names, NULL},
    {"rejection_min", SET_NUMBER, AT(rejection_min), "none", NULL, NULL},
    {"rejection_max", SET_NUMBER, AT(rejection_max), "none", NULL, NULL},
    {"learning_rate", SET_NUMBER, AT(adamw.lr), "1e-6", NULL, NULL},
    {"adam_beta1", SET_NUMBER, AT(adamw.beta1), "0.9", NULL, NULL},
    {"adam_beta2", SET_NUMBER, AT(adamw.beta2), "0.999", NULL, NULL},
    {"adam_epsilon", SET_NUMBER, AT(adamw.eps), "1e-8", NULL, NULL},
    {"weight_decay", SET_NUMBER, AT(adamw.weight_decay), "0", NULL, NULL},
    {"weight_decay_all", SET_BOOL, AT(weight_decay_all), "false", NULL, NULL},
    {"max_grad_norm", SET_NUMBER, AT(max_grad_norm), "1", NULL, NULL},
    {"weights", SET_CHOICE, AT(weights_after), "before", weights_names, NULL},
    {"pad_token_id", SET_INT, AT(pad), "-1", NULL, NULL},
    SETTINGS_END};

static const struct { const Setting *rows; size_t base; const char *prefix;
} parts[] = {{grpo_settings, AT(grpo), ""}, {grpo_group_settings, AT(grpo), ""},
             {grpo_other_settings, AT(grpo), ""}, {grpo_sampler_settings, AT(grpo), "vllm_"},
             {own_settings, 0, ""}};
enum { N_PART = sizeof parts / sizeof *parts };

/* What only our loop has. */
static bool is_declared(const Setting *row) {
    static const char *const none_of[] = {"use_adaptive_entropy", "entropy_target", "entropy_coef_delta",
                                          "entropy_coef_min", "entropy_coef_max"};
    return row->kind != SET_HEADING && !name_among(row->name, none_of, 5);
}

bool declared_at(Setting *s, char name[64], int i) {
    for (int k = 0; k < N_PART; k++)
        for (const Setting *row = parts[k].rows; row->name; row++)
            if (is_declared(row) && i-- == 0) {
                *s = *row;
                s->at += parts[k].base;
                snprintf(name, 64, "%s%s", parts[k].prefix, row->name);
                return true;
            }
    return false;
}

bool declared_setting(Setting *s, const char *name) {
    if (!strcmp(name, "vllm_importance_sampling_cap")) name = "vllm_importance_sampling_clip_max";
    if (!strcmp(name, "lr")) name = "learning_rate";
    for (int k = 0; k < N_PART; k++) {
        const size_t n = strlen(parts[k].prefix);
        if (strncmp(name, parts[k].prefix, n)) continue;
        for (const Setting *row = parts[k].rows; row->name; row++)
            if (!strcmp(row->name, name + n) && is_declared(row)) {
                *s = *row;
                s->at += parts[k].base;
                return true;
            }
    }
    return false;
}

void declared_default(DumpSettings *s) {
    *s = (DumpSettings){.window.training = true, .step = 1};
    grpo_config_default(&s->grpo);
    settings_default(s, own_settings);
}
