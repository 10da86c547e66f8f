/* run/idle.c: options that were given and have no effect beside the others. */
#include "run/idle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/words.h"

/* The option acts only where the other is one of these values (with commas; of a list: has one of them), none
 * of them behind "!", or "default", which is where nobody gave it. Each row is of the commands that have both
 * options. */
static const struct { const char *option, *other, *values; } rule[] = {
    {"num_train_epochs", "max_steps", "default"},
    {"warmup_ratio", "warmup_steps", "default"},
    {"warmup_ratio", "lr_scheduler_type", "!constant"},
    {"warmup_steps", "lr_scheduler_type", "!constant"},
    {"min_lr_ratio", "lr_scheduler_type", "!constant,constant_with_warmup"},
    {"save_total_limit", "save_steps", "!0"},
    {"reward_timeout", "reward_cmd", "!default"},
    {"reward_chat_template", "reward_model", "!default"},
    {"label_smoothing", "loss_type", "robust,aot,aot_unpaired,exo_pair"},
    {"f_alpha_divergence_coef", "f_divergence_type", "alpha_divergence"},
    {"discopop_tau", "loss_type", "discopop"},
    {"tdpo_alpha", "loss_type", "tdpo2"},
    {"beta", "loss_type", "!flow_db,flow_subtb,flow_tb"},
    {"bmc_reference", "bmc_delta", "!0"},
    {"bmc_stop_words", "bmc_delta", "!0"},
    {"group_step_size", "group_column", "!default"},
    {"group_step_size", "group_weights", "adaptive"},
    {"group_loss", "group_column", "!default"},
    {"group_weights", "group_column", "!default"},
    {"flow_reward", "loss_type", "flow_db,flow_subtb,flow_tb"},
    {"flow_scores", "loss_type", "flow_db,flow_subtb,flow_tb"},
    {"flow_alpha", "loss_type", "flow_db,flow_subtb,flow_tb"},
    {"flow_gamma", "flow_reward", "program"},
    {"subtb_lambda", "loss_type", "flow_subtb"},
    {"demonstration_weight", "demonstrations", "!default"},
    {"normalize_labels", "loss_type", "!bradley_terry"},
    {"kl_estimator", "beta", "!0"},
    {"kl_estimator", "kl_coef", "!0"},
    {"kl_clamp_log_ratio", "beta", "!0"},
    {"kl_clamp", "beta", "!0"},
    {"kl_gradient", "beta", "!0"},
    {"kl_aggregation", "beta", "!0"},
    {"use_bias_correction_kl", "beta", "!0"},
    {"entropy_target", "use_adaptive_entropy", "true"},
    {"entropy_coef_delta", "use_adaptive_entropy", "true"},
    {"entropy_coef_min", "use_adaptive_entropy", "true"},
    {"entropy_coef_max", "use_adaptive_entropy", "true"},
    {"sapo_temperature_pos", "loss_type", "sapo"},
    {"sapo_temperature_neg", "loss_type", "sapo"},
    {"vespo_k_pos", "loss_type", "vespo"},
    {"vespo_lambda_pos", "loss_type", "vespo"},
    {"vespo_k_neg", "loss_type", "vespo"},
    {"vespo_lambda_neg", "loss_type", "vespo"}};

/* An option's value, or its default, as text without quotes; false if the command has no such option. */
static bool idle_value(char text[256], char fallback[256], const OptionTable *t, const void *config,
                       const char *name) {
    Setting s;
    for (int i = 0; option_at(&s, t, i); i++) {
        if (s.kind == SET_HEADING || strcmp(s.name, name)) continue;
        char *const to[] = {text, fallback};
        for (int k = 0; k < 2; k++) {
            JsonWriter w = {0};
            if (k) options_write_default(&w, &s);
            else options_write_value(&w, config, &s);
            const bool quoted = w.text && w.text[0] == '"';
            snprintf(to[k], 256, "%.*s", (int)w.length - 2 * quoted, w.text ? w.text + quoted : "");
            free(w.text);
        }
        return true;
    }
    return false;
}

/* Whether two lists with commas have an item in common. */
static bool lists_meet(const char *a, const char *b) {
    char x[64], y[64];
    while (list_next(x, sizeof x, &a))
        for (const char *at = b; list_next(y, sizeof y, &at);)
            if (!strcmp(x, y)) return true;
    return false;
}

void idle_tell(const OptionTable *table, const void *config) {
    char given[256], usual[256], other[256], fallback[256], why[256], line[384];
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
        if (!idle_value(given, usual, table, config, rule[i].option) || !strcmp(given, usual) ||
            !idle_value(other, fallback, table, config, rule[i].other))
            continue;
        const bool not = rule[i].values[0] == '!';
        const char *values = rule[i].values + not;
        const bool met = !strcmp(values, "default") ? !strcmp(other, fallback) : lists_meet(other, values);
        if (met != not) continue;
        if (!strcmp(values, "default"))
            snprintf(why, sizeof why,
                     not ? "it acts with --%s, which is not given" : "it acts without --%s", rule[i].other);
        else if (not) snprintf(why, sizeof why, "it does not act with --%s %.60s", rule[i].other, other);
        else
            snprintf(why, sizeof why, "it acts with --%s %s, and that is %.60s", rule[i].other, values,
                     other);
        snprintf(line, sizeof line, "--%s %.60s: %s", rule[i].option, given, why);
        for (char *c = line; *c && *c != ' '; c++)
            if (*c == '_') *c = '-';
        fprintf(stderr, "%s: accepted without effect: %s\n", table->command, line);
    }
}
